"""`reserve`: reserve files by pattern, look at what is reserved, keep it, give it back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mbox.reservations import guard
from mbox.reservations import reserving as reservations
from mbox.agents import registry as agents
from mbox.format import patterns
from mbox.cli.context import Context
from mbox.cli.options import (
    DURATION,
    ID,
    LINE,
    argument,
    changes,
    command,
    lists,
    option,
    shows,
    words,
)
from mbox.errors import MboxError, NotFound, NotYours, Usage
from mbox.reservations.reserving import Wanted
from mbox.store.store import Actor


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
@option("--task", "task_id", type=ID, metavar="ID", help="a task that you hold; ends with it")
@option("--wait", type=DURATION, default=0, metavar="D", help="wait that long for what is held")
def add(
    context: Context, wanted: tuple[str, ...], shared: bool, ttl: float | None, reason: str | None,
    task_id: str | None, wait: float,
) -> int | None:  # fmt: skip
    """Reserve all PATTERNs or none, so that nobody else does; again renews. With CMD: hold, renew, release.

    Quote patterns: `*` `?` `[a-z]` `{a,b}` `**`. `src` is src and all below, `*.py` the top level only. The
    exit status is CMD's (128+N where signal N ended it).
    """
    if ttl == 0:
        raise Usage("--ttl: a reservation needs some time; say 90s, 15m or 2h")
    actor, config = context.actor(), context.store.config
    _hint_at_shell(context, wanted)
    _hint_at_verb(context, wanted[0])
    by_hand = config.renewed_lease if context.tail else config.reservation_ttl
    seconds = ttl or agents.lease_time(context.store, actor, by_hand)
    asked = Wanted(context.patterns(wanted), seconds, shared, reason or "", task_id, bool(context.tail))
    if wait and not context.dry_run:
        from mbox.reservations.waiting import wait_and_reserve

        doc = wait_and_reserve(context.store, actor, asked, wait)
    else:
        doc = reservations.reserve(context.store, actor, asked, context.dry_run)
    if not shared:
        _hint_at_lfs(context, doc["patterns"])
    if context.tail and not context.dry_run:
        return _run(context, actor, doc["reservation_id"], min(config.renew_every, seconds / 3))
    shown = ("reservation_id", "patterns", "task_id", "token", "expires_at", "already")
    context.emit({name: doc[name] for name in shown if name in doc})
    return None


def _run(context: Context, actor: Actor, rid: str, every: float) -> int:
    """Run the command under the reservation ``rid``: renew it in time, release it after."""
    from mbox.system import command as child

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
        return child.run(context.tail, lambda: attempt(reservations.renew), every)
    finally:
        if not lost:
            attempt(reservations.release)


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


def _hint_at_verb(context: Context, word: str) -> None:
    """Say that a word which is nearly a verb of `reserve`, and no file, is reserved as a file."""
    places = (context.cwd, context.store.root)
    if not word.isalpha() or any(os.path.lexists(f"{folder}/{word}") for folder in places):
        return
    from difflib import get_close_matches

    from mbox.cli.main import TABLES

    for verb in get_close_matches(word.lower(), TABLES["reserve"], 1, 0.75):
        context.say(f"{word} is taken as a file, which is not there (yet); the verb is `reserve {verb}`")


def _hint_at_shell(context: Context, wanted: Sequence[str]) -> None:
    """Say that the shell expanded a pattern, where the words are exactly the visible entries of a folder."""
    folders = {os.path.dirname(word.rstrip("/")) for word in wanted}
    if len(wanted) < 2 or len(folders) > 1:
        return
    folder = folders.pop()
    try:
        names = os.listdir(os.path.join(context.cwd, folder))
    except OSError:
        return
    if sorted(name for name in names if name[0] != ".") == sorted(
        os.path.basename(w.rstrip("/")) for w in wanted
    ):
        plain = context.cwd != context.store.root and folder.split("/")[0] not in ("", ".", "..")
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
@option("--staged", is_flag=True, help="the paths staged in git")
def check(context: Context, paths: tuple[str, ...], mine: bool, staged: bool) -> int:
    """Whether PATHs may be changed: each is free, your own, or held by somebody else."""
    if not paths and not staged:
        raise Usage("which paths? name them, - for stdin, or --staged")
    who = context.actor(required=mine)
    texts = context.patterns(paths)
    if staged:
        from mbox.root import worktrees
        from mbox.git.staged import staged as staged_paths

        root = context.store.root
        texts += map(patterns.escape, staged_paths(root, worktrees(root), context.cwd))
    rows = guard.check(context.store, who, texts)
    for row in rows:
        if row["state"] == "held":
            context.say(f"{row['path']} is held: {row.pop('who')}")
        elif mine and row["state"] == "free":
            context.say(f"{row['path']} is not yours: `reserve {_quoted(row['path'])}`")
    context.emit(rows)
    return int(any(row["state"] == "held" or (mine and row["state"] == "free") for row in rows))


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
    """Keep reservations for another while.

    Every command of yours renews all that you hold; this is for when you call none.
    """
    context.emit(
        reservations.renew(
            context.store, context.actor(), *_ids_and_patterns(context, given), context.dry_run
        )
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
    context.emit(reservations.release(context.store, context.actor(), ids, texts, every, context.dry_run))


@command(examples=["reserve show r7"], exits={3: "no such reservation"})
@shows
@argument("rid", metavar="ID", type=ID)
def show(context: Context, rid: str) -> None:
    """One reservation, with how long it has."""
    doc = guard.show(context.store, rid)
    if not context.full:
        left = guard.left(context.store, doc)
        doc |= {"left": reservations.span(left)} if left > 0 else {"state": "expired"}
    context.emit(doc, "reservation")
