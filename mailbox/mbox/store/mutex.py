"""Named locks: at most one command runs under a name at a time (or any number that only share it).

Promised: kernel locks, flock(2) on ``locks/<name>``; a lock is given up when its holder's process ends,
however it ends, and never by age.  The command that runs under it does not inherit it: the lock lives
exactly as long as the process that took it, so nothing that the command leaves running keeps it locked.
Not promised: that the command ends with its holder (if that alone is killed with SIGKILL, the lock is free
and the command goes on); an order among those who wait, beyond the kernel's queue; and that circles of
locks are found, but for the smallest: a command that waits for the lock under which it runs.

Files: ``locks/<name>`` is made by the first who wants it and never deleted, renamed or broken.  Its line
names the last who took it, for people; nothing depends on it.  Whoever has got the lock checks that its
file is still the one at that path, because git can delete or replace it, and starts over if it is not.
The toolkit's own locks (`alone`: the watchdog, who rings, who starts a team) have names that no named lock can have.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from mbox.format import places
from mbox.system import flock
from mbox.errors import MboxError, Refused, TimedOut
from mbox.system.host import start_ticks
from mbox.store.store import Store

PATIENCE = 2.0
"""Seconds of waiting after which it is said for whom."""

LINE = 256
"""Bytes of the line that names the holder."""

LONGEST = 64
"""Characters of an agent or a program in that line."""


@contextmanager
def held(
    store: Store,
    name: str,
    shared: bool = False,
    wait: float = inf,
    say: Callable[[str], None] = lambda text: None,
    agent: str = "",
    runs: str = "",
) -> Iterator[None]:
    """Hold the lock ``name``; `TimedOut`, naming the holder, if it is not had within ``wait`` seconds.

    ``agent`` and ``runs``, the name of a program without its arguments, tell others who has it.
    """
    end = time.monotonic() + wait

    def take(fd: int) -> None:
        _take(fd, name, shared, end, _is_portable(store), say)

    with _locked(store, places.named_lock(name), take) as fd:
        _sign(store, fd, agent, runs)
        yield


@contextmanager
def alone(store: Store, path: str, wait: float, refusal: Callable[[], MboxError]) -> Iterator[int]:
    """Hold the lock on the toolkit's own file at ``path``, whose descriptor this is.

    Raises what ``refusal`` makes if another has it for ``wait`` seconds.
    """

    def take(fd: int) -> None:
        if not flock.acquire(fd, wait, portable=_is_portable(store)):
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
        return not flock.attempt(fd, shared=True, portable=_is_portable(store))
    finally:
        os.close(fd)


def _is_portable(store: Store) -> bool:
    return store.settings.lock_backend == "portalocker" or not flock.HAVE_FLOCK


def _take(fd: int, name: str, shared: bool, end: float, portable: bool, say: Callable[[str], None]) -> None:
    if flock.attempt(fd, shared, portable):
        return
    _refuse_own(fd, name)
    soon = time.monotonic() + PATIENCE
    if flock.acquire(fd, min(soon, end) - time.monotonic(), shared, portable):
        return
    if soon < end:
        say(f"lock {name}: waiting, {_holder(fd)}")
        if flock.acquire(fd, end - time.monotonic(), shared, portable):
            return
    raise TimedOut(f"lock {name} was not had in time: {_holder(fd)}")


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


# -- who holds it ------------------------------------------------------------------------------------------


def _sign(store: Store, fd: int, agent: str, runs: str) -> None:
    """Write into the lock's file who has it.  Only for people, so a full disk does not matter."""
    said = {**store.host.process(), "since": round(store.host.wall(), 3)}
    line = json.dumps({**said, "agent": agent[:LONGEST], "runs": runs[:LONGEST]})
    if len(line) >= LINE:  # a program's name of characters that JSON escapes
        line = json.dumps({**said, "agent": agent[:LONGEST]})
    try:
        store.disk.pwrite(fd, line.ljust(LINE - 1).encode() + b"\n", 0)
    except OSError:
        pass


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
    agent, runs = (str(said.get(field) or "")[:LONGEST] for field in ("agent", "runs"))
    words = " ".join(word for word in (agent, f"runs {runs}" if runs else "") if word)
    known = f" ({words})" if words and said.get("pid") in pids else ""
    return f"held by pid {', '.join(map(str, pids))}{known}"


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
        pid = _parent(pid)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, LookupError, ValueError):
        return 0
