"""`reserve`: reserve files by pattern, look at what is reserved, keep it, give it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from mbox.agents import presence
from mbox.errors import MboxError, NotFound, NotYours, Usage
from mbox.format import checks, patterns
from mbox.format.documents import Document
from mbox.reservations import guard, reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store.store import Actor
from mbox.system import clock

from .context import Context
from .options import argument, changes, command, lists, option, shows, words
from .table import TABLES
from .values import DURATION, LINE, RESERVATION, TASK


@command(
    examples=[
        "reserve src/a.py 'docs/**' --reason 'rename of x'",
        "reserve src/a.py --wait 10m",
        "reserve 'src/**' -- make format",
        "reserve 'src/**' --task t45",
    ],
    exits={3: "no such task", 4: "time ran out", 5: "held by somebody else, or the task is not yours"},
    tail="CMD...",
)
@changes
@words("wanted", "PATTERN")
@option("--shared", is_flag=True, help="others may share it too")
@option("--ttl", type=DURATION, metavar="D", help="how long without a command of yours (30m; with CMD 60s)")
@option("--reason", type=LINE, metavar="R", help="what for")
@option("--task", "task_id", type=TASK, metavar="ID", help="a task that you hold; ends with it")
@option("--wait", type=DURATION, default=0, metavar="D", help="wait that long for what is held")
def add(
    context: Context, wanted: tuple[str, ...], shared: bool, ttl: float | None, reason: str | None,
    task_id: str | None, wait: float,
) -> int | None:  # fmt: skip
    """Reserve all PATTERNs or none, so that nobody else can; a second time renews. With CMD: hold, renew, release.

    Quote patterns: `*` `?` `[a-z]` `{a,b}` `**`. `src` is src and all below, `*.py` the top level only. The
    exit status is CMD's (128+N where signal N ended it).
    """
    if ttl == 0:
        raise Usage("--ttl: a reservation needs some time; say 90s, 15m or 2h")
    actor, config = context.actor(), context.store.config
    _hint_at_shell(context, wanted)
    _refuse_verb(context, wanted[0])
    by_hand = config.renewed_lease if context.tail else config.reservation_ttl
    seconds = ttl or presence.lease_time(context.store, actor, by_hand)
    asked = ReservationRequest(context.patterns(wanted), seconds, shared, reason or "", task_id, bool(context.tail))
    if wait and not context.dry_run:
        from mbox.reservations.waiting import wait_and_reserve

        doc = wait_and_reserve(context.store, actor, asked, wait)
    else:
        doc = reserving.reserve(context.store, actor, asked)
    if not shared:
        _hint_at_lfs(context, doc["patterns"])
    if context.tail and not context.dry_run:
        return _run(context, actor, doc["reservation_id"], min(config.renew_every, seconds / 3))
    shown = ("reservation_id", "patterns", "task_id", "token", "expires_at", "already")
    context.emit({name: doc[name] for name in shown if name in doc})
    return None


def _run(context: Context, actor: Actor, rid: str, every: float) -> int:
    """Run the command under the reservation ``rid``: renew it in time, release it after."""
    from mbox.system.command import run

    lost: list[MboxError] = []

    def attempt(step: Any) -> None:
        try:
            step(context.store, actor, [rid], [])
        except (NotYours, NotFound) as error:
            if not lost:
                context.say(f"{rid} is lost, others may change the files now: {error}")
            lost.append(error)
        except MboxError as error:
            context.say(f"{rid}: {error}; it ends by itself")

    try:
        return run(context.tail, context.store.host, lambda: attempt(reserving.renew), every)
    finally:
        if not lost:
            attempt(reserving.release)


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


def _refuse_verb(context: Context, word: str) -> None:
    """`Usage` where what was reserved without a verb is one of another tool's, and no file; said, where it is nearly ours."""
    if not context.verbless or not word.replace("-", "").isalpha():
        return
    if any(os.path.lexists(f"{folder}/{word}") for folder in (context.stand or context.store.root, context.store.root)):
        return
    from . import meanings

    elsewhere = f"task {word}" if word in TABLES["task"] else ""
    if meant := meanings.verb(word, "reserve", TABLES["reserve"]) or elsewhere:
        raise Usage(f"no such command '{word}', and no such file; did you mean {meant}? `reserve add {word}` takes it as a file")
    for verb in meanings.misspelt(word.lower(), TABLES["reserve"]):
        context.say(f"{word} is taken as a file, which is not there (yet); the verb is `reserve {verb}`")


def _hint_at_shell(context: Context, wanted: Sequence[str]) -> None:
    """Say that the shell expanded a pattern, where the words are exactly the visible entries of a folder."""
    folders = {os.path.dirname(word.rstrip("/")) for word in wanted}
    if len(wanted) < 2 or len(folders) > 1:
        return
    folder = folders.pop()
    try:
        names = os.listdir(os.path.join(context.stand, folder))
    except OSError:
        return
    if sorted(name for name in names if name[0] != ".") == sorted(
        os.path.basename(w.rstrip("/")) for w in wanted
    ):
        plain = context.stand != context.store.root and folder.split("/")[0] not in ("", ".", "..")
        start = "./" if plain or not folder else ""
        said = f"these are all visible entries of {folder or 'this folder'}: the shell has expanded a pattern"
        context.say(f"{said}; quote it: {_quoted(start + os.path.join(folder, '*'))}")


def _hint_at_lfs(context: Context, texts: Sequence[str]) -> None:
    """Say which paths `git lfs lock` would hold on the server as well."""
    from mbox.git.staged import lockable

    found = lockable(context.store.root, [patterns.parse(text) for text in texts])
    for path in found[:5]:
        context.say(f"{path} is lockable: `git lfs lock {_quoted(path)}` would hold it on the server")
    if found[5:]:
        context.say(f"{len(found) - 5} more are lockable")


@command(examples=["reserve list", "reserve list -o table"])
@lists(100)
def list_(context: Context) -> None:
    """Who holds what, how long, and why."""
    context.emit(guard.listed(context.store))


@command(
    examples=[
        "reserve check src/a.py",
        "reserve check --mine --staged",
        "git diff --name-only | reserve check -",
    ],
    exits={1: "somebody else holds one (--mine: you do not hold them all)"},
)
@words("paths", "PATH", required=False)
@option("--mine", is_flag=True, help="say no unless you hold them all")
@option("--staged", "in_git", is_flag=True, help="the paths staged in git")
@option("-z", "nul", is_flag=True, help="names on stdin end with NUL, as git -z has them")
def check(context: Context, paths: tuple[str, ...], mine: bool, in_git: bool, nul: bool) -> int:
    """Whether PATHs may be changed: each is free, your own, held by somebody else, or bad (it says why).

    On stdin names are one a line, as git quotes them, or end with NUL.
    """
    if not paths and not in_git:
        raise Usage("which paths? name them, - for stdin, or --staged")
    who = context.actor(required=mine)
    asked = [_asked(word, lambda: context.patterns([word])[0]) for word in paths]  # noqa: B023 - called at once
    if in_git:
        from mbox.git.staged import staged
        from mbox.root import worktrees

        root = context.store.root
        names = staged(root, worktrees(root), context.stand or root)
        asked += [_asked(name, lambda: patterns.escape(checks.shown_whole("path", name))) for name in names]  # noqa: B023
    answers = iter(guard.check(context.store, who, [text for text, bad in asked if bad is None]))
    rows = [bad or next(answers) for _, bad in asked]
    if len(rows) == 1 and rows[0]["state"] == guard.BAD:
        raise Usage(rows[0]["reason"])
    for row in rows:
        if row["state"] == guard.BAD:
            context.say(f"reserve: {row['reason']}")
        elif row["state"] == "held":
            context.say(f"{row['path']} is held: {row.pop('who')}")
        elif mine and row["state"] == "free":
            context.say(f"{row['path']} is not yours: `reserve {_quoted(row['path'])}`")
    context.emit(rows)
    if any(row["state"] == guard.BAD for row in rows):
        return Usage.exit
    return int(any(row["state"] == "held" or (mine and row["state"] == "free") for row in rows))


def _asked(word: str, read: Callable[[], str]) -> tuple[str, Document | None]:
    """The pattern that ``read`` makes of ``word``, or the row that says why it is none."""
    try:
        return read(), None
    except Usage as error:
        return word, guard.bad(word, error)


def _ids_and_patterns(context: Context, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are ids (r7), and the others as patterns; a file of such a name is ``./r7``."""
    ids = [word for word in given if word[0] == "r" and word[1:].isascii() and word[1:].isdecimal()]
    return ids, context.patterns(word for word in given if word not in ids)


@command(
    examples=["reserve renew r7", "reserve renew 'src/**'"],
    exits={3: "no such reservation", 5: "not yours any more"},
)
@changes
@words("given", "ID|PATTERN")
def renew(context: Context, given: tuple[str, ...]) -> None:
    """Keep reservations for longer.

    Every command of yours renews all that you hold; this is for when you call none.
    """
    context.emit(
        reserving.renew(context.store, context.actor(), *_ids_and_patterns(context, given))
    )


@command(
    examples=["reserve release r7", "reserve release 'src/**'", "reserve release --all"],
    exits={3: "no such reservation", 5: "not yours any more"},
)
@changes
@words("given", "ID|PATTERN", required=False)
@option("--all", "every", is_flag=True, help="all that you hold")
def release(context: Context, given: tuple[str, ...], every: bool) -> None:
    """Give reservations back, or single patterns of them."""
    if not given and not every:
        raise Usage("which? name ids or patterns, or --all")
    ids, texts = _ids_and_patterns(context, given)
    context.emit(reserving.release(context.store, context.actor(), ids, texts, every))


@command(examples=["reserve show r7"], exits={3: "no such reservation"})
@shows
@argument("rid", metavar="ID", type=RESERVATION)
def show(context: Context, rid: str) -> None:
    """One reservation, and the time it has left."""
    doc = guard.show(context.store, rid)
    if not context.full:
        left = guard.left(context.store, doc)
        doc |= {"left": clock.span(left)} if left > 0 else {"state": "expired"}
    context.emit(doc, "reservation")
