"""Git's last word: a commit or a push that brings what another agent holds is refused by git itself.

It stands behind what an agent program's own hooks do before a tool, and is all there is where a program has none.  The hooks
`pre-commit` and `pre-push` ask it, and for agents (`MBOX_AGENT`) `prepare-commit-msg`, which ``--no-verify`` does not skip;
how they come into a repository is `githooks`.

Promised: where no store is found it is silent and lets everything pass.  Whoever calls, agent or person, is refused what
another agent holds, and is told who, how long, and what waits.  Who says ``MBOX_OVERRIDE=reason`` passes, with a record
(``guard.override``).  Of a merge count the paths that are as on no side of it; a rebase, which makes anew what was committed
before, is not held up.  What cannot be judged is refused, unless ``guard.fail`` is open.

Not promised: anything against ``git -c core.hooksPath``, plumbing and `git am`, which run none of these hooks: what they
commit is found when it is pushed.  Of a push the newest `caller.MOST_COMMITS` commits are looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from os import fsencode
from typing import TYPE_CHECKING, NamedTuple

from mbox import root as roots
from mbox.agents import registry
from mbox.errors import MboxError, NoStore, NotFound, Refused, StoreError, Usage, failure
from mbox.format import checks, operations, patterns, places
from mbox.git.caller import MOST_COMMITS, REFS, Caller
from mbox.git.staged import within_root
from mbox.opening import assemble
from mbox.reservations import guard
from mbox.store.store import Actor, Store, Transaction
from mbox.system.clock import patience

if TYPE_CHECKING:
    from typing import Protocol

    from mbox.format.documents import Document

    class Readable(Protocol):
        """Where a hook's standard input is read from."""

        def read(self, size: int, /) -> bytes: ...


class Asked(NamedTuple):
    """One call by git: the hook, the agent or "", the reason of an override, what git set, where it stands, what it told."""

    event: str
    agent: str
    override: str
    environ: Mapping[str, str]
    cwd: str
    given: bytes


COMMIT, PUSH, MESSAGE = "pre-commit", "pre-push", "prepare-commit-msg"
"""The hooks of git that ask."""

SHOWN = 3
"""Paths that a refusal names."""

NAMED = 200
"""Paths that a record of an override names."""


def run(event: str, argv: Sequence[str], environ: Mapping[str, str], cwd: str, stdin: Readable | None) -> int:
    """The exit status of git's hook ``event``, called in ``cwd`` with ``argv`` behind its name: 0 lets git go on."""
    agent, override = environ.get("MBOX_AGENT", ""), environ.get("MBOX_OVERRIDE", "")
    if event == MESSAGE and not agent:
        return 0
    if event not in (COMMIT, PUSH, MESSAGE):
        _say(f"{event[:40]!r} is no hook of git that mbox knows")
        return 0
    given = stdin.read(REFS) if stdin is not None and event == PUSH else b""
    store = None
    try:
        store = _opened(environ, cwd)
        return 0 if store is None else _judged(store, Asked(event, agent, override, environ, cwd, given))
    except (StoreError, OSError) as error:
        why = str(error) if isinstance(error, StoreError) else failure(error)
        if override or (store is not None and store.config.guard_fail == "open"):
            _say(f"it passes unchecked and without a record: {why}")
            return 0
        _say(f"this cannot be checked, so it is refused: {why}")
        _say(_way(event, agent))
    except MboxError as error:
        _say(f"this is refused: {error}")
    finally:
        if store is not None:
            store.close()
    return 1


def _opened(environ: Mapping[str, str], cwd: str) -> Store | None:
    """The store around ``cwd``; None where there is none."""
    try:
        found = roots.find(None, environ.get("MBOX_ROOT") or None, cwd)
    except NoStore:
        return None
    store = assemble(found.path)
    store.say = _say
    return store


def _judged(store: Store, asked: Asked) -> int:
    mode = store.config.guard_mode
    strict = mode == "strict" and bool(asked.agent) and asked.event != PUSH
    if mode == "off" or not (strict or store.names(places.RESERVATIONS)):
        return 0
    reason = checks.line("MBOX_OVERRIDE", asked.override) if asked.override else ""
    paths = _paths(store, asked)
    if not paths:
        return 0
    who = _actor(store, asked)
    bad = [row for row in _rows(store, who, paths) if row["state"] == "held" or (strict and row["state"] == "free")]
    if not bad:
        return 0
    if reason:
        if asked.event != COMMIT or not asked.agent:  # an agent's commit comes by once more, as prepare-commit-msg
            _journal(store, who, [row["path"] for row in bad], reason)
        return 0
    for row in bad[:SHOWN]:
        _say(_told(store, row, asked.agent))
    if len(bad) > SHOWN:
        _say(f"and {len(bad) - SHOWN} more")
    if mode == "warn":
        return 0
    if not asked.agent:
        _say(_way(asked.event, asked.agent))
    return 1


def _paths(store: Store, asked: Asked) -> list[str]:
    """The paths that the commit or the push would change, relative to the root."""
    git = Caller(asked.environ, asked.cwd)
    if asked.event == MESSAGE and not asked.override and git.is_rebasing():
        return []
    names, whole = git.pushed(asked.given) if asked.event == PUSH else (git.staged(), True)
    if not whole:
        _say(f"only the newest {MOST_COMMITS} commits of this push were looked at")
    return within_root(store.root, roots.worktrees(store.root), git.top() or store.root, names) if names else []


def _rows(store: Store, who: Actor, paths: Sequence[str]) -> list[Document]:
    """What `reserve check` says of each path; a name that no pattern can be (over 1024 letters) is of nobody."""
    return guard.check(store, who, map(patterns.escape, paths))


def _actor(store: Store, asked: Asked) -> Actor:
    """Who calls: the agent in its incarnation, as nobody who holds anything where it is not registered; else the person."""
    agent = asked.agent
    if not agent:
        return Actor(f"user:{_login(asked.environ)}")
    said = asked.environ.get("MBOX_INCARNATION", "")
    if said and not (said.isascii() and said.isdecimal()):
        raise Usage(f"MBOX_INCARNATION is {checks.quoted(said)}, not a number: unset it")
    try:
        return registry.actor(store, agent, int(said) if said else None)
    except NotFound:
        return Actor(agent)


def _login(environ: Mapping[str, str]) -> str:
    try:
        from pwd import getpwuid

        return getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return environ.get("USER") or environ.get("USERNAME") or "unknown"


def _journal(store: Store, who: Actor, paths: Sequence[str], reason: str) -> None:
    """Record that ``paths`` were committed or pushed although others hold them, and say so."""
    shown = [fsencode(path).decode("utf-8", "backslashreplace") for path in paths[:NAMED]]
    why = f"{reason} ({len(paths)} paths)" if len(paths) > NAMED else reason

    def decide(tx: Transaction) -> None:
        if who.incarnation:
            registry.still_current(tx)
        tx.record(operations.GUARD_OVERRIDE, shown, why)

    store.transact(decide, who)
    _say(f"MBOX_OVERRIDE: {len(paths)} held by others pass, and are recorded (`mbox log`)")


# -- what is said ----------------------------------------------------------------------------------------------------


def _told(store: Store, row: Document, agent: str) -> str:
    """The refusal of one path: who holds it, how long, and, for an agent, the command that waits."""
    from shlex import quote

    path = checks.on_one_line(row["path"])
    if row["state"] == "free":
        return str(Refused(f"{path} is not reserved by {agent}, and the guard is strict: `reserve {quote(path)}`"))
    waits = f"; `reserve {quote(path)} --wait {_wait(store, row['reservation_id'])}`" if agent else ""
    return str(Refused(f"{path} is held: {row['who']}{waits}"))


def _wait(store: Store, rid: str) -> str:
    """How long to wait for a reservation's end, as a value of ``--wait``."""
    try:
        return patience(guard.left(store, guard.show(store, rid)))
    except MboxError:
        return "1m"  # it has ended meanwhile, or cannot be read


def _way(event: str, agent: str) -> str:
    if agent:
        return "ask a person, or the agent that leads you"
    command = "git push" if event == PUSH else "git commit"
    return f"wait, or ask; `MBOX_OVERRIDE='why' {command} …` passes, and is recorded"


def _say(text: str) -> None:
    """A line for whoever called git."""
    if sys.stderr is not None:
        print(f"mbox: {text}", file=sys.stderr, flush=True)
