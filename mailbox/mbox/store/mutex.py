"""Named locks: at most one command runs under a name at a time (or any number that only share it).

Promised: kernel locks, flock(2) on ``locks/<name>``; a lock is given up when its holder's process ends,
however it ends, and never by age.  The command that runs under it does not inherit it: the lock lives
exactly as long as the process that took it, so nothing that the command leaves running keeps it locked.
Not promised: that the command ends with its holder (if that alone is killed with SIGKILL, the lock is free
and the command goes on); an order among those who wait, beyond the kernel's queue; and that circles of
locks are found, but for the smallest: a command that waits for the lock under which it runs.

Files: ``locks/<name>`` is made by the first who wants it and never deleted, renamed or broken.  Its line
names the last who took it, for people, and whether that gave it up in order; nothing depends on it.  One that
did not died (by SIGKILL, or with the machine), or what it ran was killed, and something may be half done: the
next is told.  Of several who share a lock only the last who came is known.  Whoever has got the lock checks
that its file is still the one at that path, because git can delete or replace it, and starts over if it is not.
The toolkit's own locks (`exclusively`: the watchdog, who rings, who starts a team) have names that no named lock can have.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mbox.errors import MboxError, Refused, TimedOut
from mbox.format import places
from mbox.system import flock
from mbox.system.clock import inf
from mbox.system.proc import start_ticks, stat

from .store import Store

PATIENCE = 2.0
"""Seconds of waiting after which it is said for whom."""

LINE = 256
"""Bytes of the line that names the holder."""

LONGEST = 64
"""Characters of an agent or a program in that line."""


class Turn:
    """One time under a lock.  ``broken``: what ran under it was killed, and may have left something half done."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False


@contextmanager
def held(
    store: Store,
    name: str,
    shared: bool = False,
    wait: float = inf,
    say: Callable[[str], None] = lambda text: None,
    agent: str = "",
    runs: str = "",
) -> Iterator[Turn]:
    """Hold the lock ``name``; `TimedOut`, naming the holder, if it is not had within ``wait`` seconds.

    It is said where the last holder died under it.  Whoever sets ``broken`` of what this yields leaves it as one that died.
    ``agent`` and ``runs``, the name of a program without its arguments, tell others who has it.
    """
    end = store.host.mono() + wait

    def take(fd: int) -> None:
        _take(store, fd, name, shared, end, say)

    with _locked(store, places.named_lock(name), take) as fd:
        if died := _died(fd):
            say(f"lock {name}: its last holder{died} died; look at what that left half done")
        said = _sign(store, fd, agent, runs)
        turn = Turn()
        try:
            yield turn
        finally:
            if not turn.broken and _said(fd) == said:
                _write(store, fd, {**said, "ended": True})


@contextmanager
def exclusively(store: Store, path: str, wait: float, refusal: Callable[[], MboxError]) -> Iterator[int]:
    """Hold the lock on the toolkit's own file at ``path``, whose descriptor this is.

    Raises what ``refusal`` makes if another has it for ``wait`` seconds.
    """

    def take(fd: int) -> None:
        if not flock.acquire(fd, wait, store.host, portable=flock.is_portable(store.locking)):
            raise refusal()

    with _locked(store, path, take) as fd:
        yield fd


@contextmanager
def _locked(store: Store, path: str, take: Callable[[int], None]) -> Iterator[int]:
    """The descriptor of the lock file at ``path``, made if it is missing, once ``take`` has locked it."""
    store.check_folder(places.LOCKS)
    store.disk.folders(store.absolute(places.LOCKS))
    while True:
        fd = store.disk.open(store.absolute(path), os.O_RDWR | os.O_CREAT)
        try:
            take(fd)
            if _is_at(fd, store.absolute(path)):
                yield fd
                return
        finally:
            os.close(fd)


def is_held(store: Store, path: str) -> bool:
    """Whether somebody holds the kernel lock on the file at ``path``; not if there is none.  Nothing waits."""
    try:
        fd = store.disk.open(store.absolute(path), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not flock.attempt(fd, shared=True, portable=flock.is_portable(store.locking))
    finally:
        os.close(fd)


def _take(store: Store, fd: int, name: str, shared: bool, end: float, say: Callable[[str], None]) -> None:
    host, portable = store.host, flock.is_portable(store.locking)
    if flock.attempt(fd, shared, portable):
        return
    _refuse_own(fd, name)
    soon = host.mono() + PATIENCE
    if flock.acquire(fd, min(soon, end) - host.mono(), host, shared, portable):
        return
    if soon < end:
        say(f"lock {name}: waiting, {_holder(fd)}")
        if flock.acquire(fd, end - host.mono(), host, shared, portable):
            return
    raise TimedOut(f"lock {name} was not had in time: {_holder(fd)}")


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


# -- who holds it ------------------------------------------------------------------------------------------


def _sign(store: Store, fd: int, agent: str, runs: str) -> dict[str, Any]:
    """Write into the lock's file who has it; what was written."""
    who = {**store.host.process(), "since": round(store.host.wall(), 3)}
    said = {**who, "agent": agent[:LONGEST], "runs": runs[:LONGEST]}
    if len(json.dumps({**said, "ended": True})) >= LINE:  # a program's name of characters that JSON escapes
        said = {**who, "agent": agent[:LONGEST]}
    _write(store, fd, said)
    return said


def _write(store: Store, fd: int, said: dict[str, Any]) -> None:
    """Write the line of a lock's file.  Only for people, so a full disk does not matter."""
    try:
        store.disk.pwrite(fd, json.dumps(said).ljust(LINE - 1).encode() + b"\n", 0)
    except OSError:
        pass


def _died(fd: int) -> str:
    """Of a holder that did not give the lock up in order, and is not one that shares it, ``, pid 77 (ann runs git),``."""
    said = _said(fd)
    if "pid" not in said or said.get("ended") or said["pid"] in _holders(fd):
        return ""
    return f", pid {said['pid']}{_named(said)},"


def _holders(fd: int) -> list[int]:
    """Which processes hold the lock: those the kernel names, else the one in the file if it is there."""
    info = os.fstat(fd)
    place = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as file:
            words = [line.split() for line in file]
        found = [int(word[4]) for word in words if word[1] == "FLOCK" and word[5] == place and word[4] != "0"]
    except (OSError, LookupError, ValueError):
        found = []
    if found:
        return found
    try:
        said = _said(fd)
        return [said["pid"]] if start_ticks(said["pid"]) == said["start"] else []
    except (LookupError, TypeError):
        return []


def _said(fd: int) -> dict[str, Any]:
    """What the last who took the lock wrote into its file; nothing where that cannot be read."""
    try:
        said = json.loads(os.pread(fd, LINE, 0))
    except (ValueError, OSError):
        return {}
    return said if isinstance(said, dict) else {}


def _holder(fd: int) -> str:
    """``held by pid 77 (ann runs git)``, for people."""
    pids = _holders(fd)
    if not pids:
        return "held by a process that cannot be seen from here"
    said = _said(fd)
    return f"held by pid {', '.join(map(str, pids))}{_named(said) if said.get('pid') in pids else ''}"


def _named(said: dict[str, Any]) -> str:
    """`` (ann runs git)``; empty where neither is said."""
    agent, runs = (str(said.get(field) or "")[:LONGEST] for field in ("agent", "runs"))
    words = " ".join(word for word in (agent, f"runs {runs}" if runs else "") if word)
    return f" ({words})" if words else ""


def _refuse_own(fd: int, name: str) -> None:
    """Refuse to wait for a lock under which this very process runs: it would wait for itself."""
    pid, seen = os.getppid(), set[int]()
    holders = _holders(fd)
    while pid > 1 and pid not in seen:
        if pid in holders:
            raise Refused(
                f"lock {name} is held by pid {pid}, under which this command runs: it would wait for itself"
            )
        seen.add(pid)
        found = stat(pid)
        pid = found.parent if found else 0
