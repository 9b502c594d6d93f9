"""The write guard: whether a tool may write the paths of its call, and for whom they are reserved then.

States of one path, for the agent that is about to write it, and what comes of each (``guard.mode`` ``conflict``):

    outside the repository ──▶ no opinion
    the toolkit's, git's, or a file with our hooks' lines ──▶ denied, whoever asks
    held by another ──▶ denied, with the holder, until when, and the command that waits
    its own, exclusively ──▶ no opinion
    free, the caller has a name ──reserved in one transaction with the other free paths of the call──▶ no opinion
                                 └─somebody was first──▶ denied, as held
    free, the caller has none ──▶ no opinion

``strict`` denies a named caller what is free, too; ``warn`` denies nothing and tells after the tool; ``off`` is silent.

Promised: of two agents that write one free file at once exactly one is let through.  A denial has at most `DENIAL`
bytes.  What was reserved here is known by its reason (`BY_WRITE`) and given back when the turn ends.  A crash after the
reservation leaves one for ``guard.ttl``.  Not promised: that the tool does write then; nor anything about a person who
edits.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from mbox import root as roots
from mbox.errors import Refused, Usage
from mbox.format import patterns, places
from mbox.format.documents import Document
from mbox.reservations import guard, reserving
from mbox.reservations.conflicts import Blocked
from mbox.reservations.reserving import ReservationRequest
from mbox.store.store import Actor, Store
from mbox.system.disk import read_bytes

from . import denials, quick
from .denials import command, cut
from .spelling import Ground

BY_WRITE = "by writing it"
"""The reason of a reservation that an agent got by writing the file first."""

MOST = 200
"""Paths of one call that are reserved at most: a call that writes more is a tool's that makes files, not an agent's."""


class Wish(NamedTuple):
    """A path that a call would write, as it is spelt there, and what it can mean in the repository."""

    text: str
    places: list[str]


def ground(store: Store, home: str) -> Ground:
    """The worktrees of the store's repository."""
    return Ground([store.root, *roots.worktrees(store.root)], home)


def wishes(store: Store, texts: list[str], where: str, home: str, follows: bool = True) -> list[Wish]:
    """The paths ``texts`` of a call in the folder ``where``; `Usage` for one that cannot be read.

    ``follows``: whether it writes through symlinks.
    """
    known = ground(store, home)
    found = []
    for text in texts:
        if known.is_launcher(text, where):
            raise Refused("the launcher of the hooks is a person's to change: ask the one you work for")
        try:
            found.append(Wish(text, known.places(text, where, follows)))
        except ValueError as error:
            raise Usage(f"{cut(repr(text))}: {error}") from None
    return found


def refusal(store: Store, who: Actor | None, mode: str, wanted: list[Wish]) -> str:
    """Why the paths may not be written; empty where they may, and then they are reserved for ``who``."""
    for wish in wanted:
        if why := _is_ours(store, wish.places):
            return why
    if mode in ("off", "warn"):
        return ""
    asked = list(dict.fromkeys(place for wish in wanted for place in wish.places))
    rows = check(store, who, asked)
    for row in rows:
        if row["state"] == "held":
            return held(store, row["path"], row["reservation_id"], row["agent"])
    free = [row["path"] for row in rows if row["state"] == "free"]
    if who is None or not free:
        return ""
    if mode == "strict":
        return (f"{cut(free[0])} is not reserved by {who.name}, and this repository wants it to be before it is written. "
                f"Nothing was written. `{command(free[0])}` reserves it.")  # fmt: skip
    return _reserved(store, who, free)


def check(store: Store, who: Actor | None, paths: list[str]) -> list[Document]:
    """How each of ``paths`` stands for ``who``: own, held or free; `Usage` for what cannot be asked for."""
    rows = guard.check(store, who or Actor(""), [patterns.escape(path) for path in paths if path])
    for row, path in zip(rows, filter(None, paths), strict=True):
        if row["state"] == guard.BAD:
            raise Usage(row["reason"])
        row["path"] = path
    return rows


def _reserved(store: Store, who: Actor, free: list[str]) -> str:
    """Reserve ``free`` for ``who``; why it cannot be, where somebody was first."""
    wanted = [patterns.escape(path) for path in free[:MOST]]
    try:
        reserving.reserve(store, who, ReservationRequest(wanted, store.config.guard_ttl, reason=BY_WRITE))
    except Blocked as error:
        return held(store, free[0] if len(free) == 1 else error.held.pattern, error.held.rid, error.held.agent)
    except Refused as error:  # it holds all that one may hold
        store.say(f"not reserved: {error}")
    return ""


def held(store: Store, path: str, rid: str, agent: str) -> str:
    """The denial of a path that another holds."""
    doc = store.read(places.reservation(rid))
    return denials.held(path, agent, rid, guard.left(store, doc) if doc else 0.0, store.host.wall())


def _is_ours(store: Store, found: list[str]) -> str:
    """Why nobody writes one of these paths by a tool; empty where they are no such paths."""
    for path in found:
        if quick.is_protected(path):
            name = cut(path) or "the whole repository"
            return f"{name} is written by the toolkit and git only. `mbox --help` lists the commands that change what they keep."
        if quick.is_settings([path]) and _has_hooks(store, path):
            return f"{cut(path)} keeps the hooks of this repository in force, and no agent changes it: ask the person to do it."
    return ""


def _has_hooks(store: Store, path: str) -> bool:
    """Whether ``path`` is, or holds, settings of a host in which our lines stand, in whichever worktree and file of it."""
    from .entries import PLACES

    tops = [store.root, *roots.worktrees(store.root)]
    for place in PLACES.values():
        files = (place.local, place.shared)
        is_meant = any(f"{file}/".startswith(f"{path}/") for file in files)
        if is_meant and any(_has_lines(f"{top}/{file}") for top in tops for file in files):
            return True
    return False


def _has_lines(path: str) -> bool:
    try:
        data = read_bytes(os.path.realpath(path), 4 << 20).replace(b"\\/", b"/")
    except OSError:
        return False
    return b"/.local/share/mbox/hook" in data


def given_back(store: Store, who: Actor) -> list[str]:
    """Give back what ``who`` got by writing; the ids."""
    mine = [doc["reservation_id"] for doc in guard.every(store)
            if doc["agent"] == who.name and doc["reason"] == BY_WRITE and not doc["task_id"]]  # fmt: skip
    if mine:
        reserving.release(store, who, mine, [])
    return mine
