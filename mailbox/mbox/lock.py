"""The one lock of a store, and its mark.

Promised: at most one process holds the lock of the file that stands at ``.mailbox/lock``; the kernel gives it up when
the process ends, however it ends; waiting is first come, first served as far as the kernel's queue is.  Not promised:
that it reaches another kernel; the mark is what notices that.

The file exists for ever: it is never deleted, renamed or broken by age.  Whoever has taken the lock checks that the
descriptor is still the file at that path, because git can delete or replace it (`Lock.check`).

The file's first 512 bytes are the *mark*: how far the files follow the journal.  The next 256 name the holder, for
people.  Both are one line of JSON padded with spaces, so that one ``pwrite`` replaces them; a reader without the lock
may see a torn line, which its CRC tells, and reads again.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import flock
from .disk import Disk, check_regular
from .documents import compact
from .errors import LockTimeout, WentBack
from .host import Host
from .journal import Tail

MARK_SIZE = 512
HOLDER_SIZE = 256

HELD_BACK = {
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
}
"""Signals that stop or end a process: held back while the lock is held."""


class Mark(NamedTuple):
    """How far the files follow the journal, who wrote that, and what recovery needs."""

    tail: Tail
    machine: str
    inode: int
    store: str
    wall: float
    synced: float
    """CLOCK_MONOTONIC of the last fsync of the journal (durability ``fast``)."""
    synced_seq: int
    """The last sequence that fsync covered."""
    checkpoint: int
    """The segment whose every earlier record is known to be on disk in the files."""
    indexed: int = 0
    """The index follows the journal up to here, and what comes after only delivers mail; 0: not known."""
    due: float = 0.0
    """CLOCK_MONOTONIC before which nothing runs out; 0: not known."""
    renew: float = 0.0
    """Likewise before which no lease is to be renewed, whoever holds it; 0: not known."""
    minute: int = 0
    """The minute of the wall clock (since the epoch) in which the last record was made."""
    numbers: tuple[int, int] = (0, 0)
    """The last sequence before that minute, and before the one before it: no more than what follows was sent since."""


def _line(text: str, size: int) -> bytes:
    data = text.encode()
    return (b"%b %08x" % (data, crc32(data))).ljust(size - 1) + b"\n"


def _parsed(data: bytes) -> dict[str, Any] | None:
    text, _, crc = data.rstrip().rpartition(b" ")
    if not text or crc != b"%08x" % crc32(text):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


_SHAPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("machine", "store"), (str,)),
    **dict.fromkeys(("wall", "synced", "due", "renew"), (int, float)),
    **dict.fromkeys(("inode", "synced_seq", "checkpoint", "indexed", "minute"), (int,)),
}


def _mark_of(found: dict[str, Any]) -> Mark | None:
    """The mark in a line with a right checksum, or None if another program wrote it.

    What a newer version added is left, and what an older one did not know yet is not known.
    """
    found = {name: found[name] for name in Mark._fields if name in found} | {"numbers": found.get("numbers", [0, 0])}
    for name, length in (("tail", 3), ("numbers", 2)):
        value = found.get(name)
        if not isinstance(value, list) or len(value) != length or any(type(number) is not int for number in value):
            return None
    if any(type(found[name]) not in types for name, types in _SHAPES.items() if name in found):
        return None
    try:
        return Mark(**{**found, "tail": Tail(*found["tail"]), "numbers": tuple(found["numbers"])})
    except TypeError:  # a field is missing
        return None


class Lock:
    """The lock file at ``path`` (absolute).  Opened once a process; not for use from two threads at a time."""

    __slots__ = ("_disk", "_fd", "_file", "_holder", "_host", "_known", "_pid", "_portable", "_refused", "path")

    def __init__(self, path: str, disk: Disk, host: Host, backend: str = "") -> None:
        self.path = path
        self._disk = disk
        self._host = host
        self._portable = backend == "portalocker" or not flock.HAVE_FLOCK
        self._fd = -1
        self._file = (0, 0)
        self._pid = 0
        self._refused: OSError | None = None
        self._known: tuple[bytes, Mark | None] = (b"", None)
        self._holder: tuple[dict[str, object], str] = ({}, "")

    def open(self, create: bool = False) -> bool:
        """Open the lock file; with ``create`` make it if it is missing.  Whether it was made.

        Where it may not be written it is opened to be read; `take` then raises what writing was refused with.
        """
        if self._fd >= 0 and self._pid == os.getpid() and self._is_ours():
            return False
        self.close()
        self._refused, made = None, False
        try:
            fd = self._disk.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            if not create:
                raise
            fd, made = self._disk.open(self.path, os.O_RDWR | os.O_CREAT), True
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            fd, self._refused = self._disk.open(self.path, os.O_RDONLY), error
        # A forked child that kept its parent's descriptor would share its lock: it opens the file anew.
        self._fd, self._pid = fd, os.getpid()
        check_regular(fd, self.path)
        info = os.fstat(fd)
        self._file = (info.st_ino, info.st_dev)
        return made

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_ours(self) -> bool:
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        return self._file == (there.st_ino, there.st_dev)

    def check(self) -> None:
        """Raise `WentBack` if the file at the lock's path is no longer the one that is locked."""
        if not self._is_ours():
            raise WentBack(
                f"{self.path} was deleted or replaced while it was locked (git clean, checkout or stash?); "
                "nothing was written"
            )

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def inode(self) -> int:
        return self._file[0]

    # -- taking and giving up ------------------------------------------------------------------------------------

    def take(self, wait: float) -> None:
        """Take the lock within ``wait`` seconds or raise `LockTimeout` naming the holder."""
        if self._refused:
            raise self._refused
        taken = flock.acquire(self._fd, wait, portable=self._portable)
        if not taken:
            raise LockTimeout(f"{self.path}: not had within {wait:g} s; {self.holder()}")
        who = self._host.process()
        if who is not self._holder[0]:
            self._holder = (who, compact(who)[:-1])
        holder = f'{self._holder[1]},"since":{self._host.wall():.3f}}}'
        try:
            self._disk.pwrite(self._fd, _line(holder, HOLDER_SIZE), MARK_SIZE)
        except BaseException:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Release the lock; the descriptor stays open for the next time."""
        if self._fd < 0:
            return
        flock.release(self._fd, self._portable)

    def holder(self) -> str:
        """Who holds the lock, in words for an error."""
        held = self._read(HOLDER_SIZE, MARK_SIZE)
        if not held:
            return "its holder has not said who it is"
        pid = held.get("pid")
        same = held.get("pidns") == self._host.process()["pidns"]
        state = _state(pid) if same and isinstance(pid, int) else ""
        advice = f"; `kill -CONT {pid}` lets it go on" if state == "stopped" else ""
        return f"held by pid {pid}{' (' + state + ')' if state else ''}{advice}"

    # -- the mark ------------------------------------------------------------------------------------------------

    def _read(self, size: int, offset: int) -> dict[str, Any] | None:
        return _parsed(os.pread(self._fd, size, offset))

    def mark(self) -> Mark | None:
        """The mark, or None where there is none that can be read: then the journal must be replayed."""
        for _ in range(3):
            data = os.pread(self._fd, MARK_SIZE, 0)
            if data == self._known[0]:
                return self._known[1]
            found = _parsed(data)
            if found:
                self._known = (data, _mark_of(found))
                return self._known[1]
        return None

    @property
    def told(self) -> Mark | None:
        """The mark as it was last read or written here."""
        return self._known[1]

    def drop_mark(self) -> None:
        """Take the mark back: of a journal that is no more."""
        self._disk.pwrite(self._fd, b"\0" * MARK_SIZE, 0)

    def set_mark(self, mark: Mark) -> None:
        """Write the mark.  Not synced: after a power cut recovery does not believe it."""
        data = _line(compact(dict(zip(Mark._fields, mark, strict=True))), MARK_SIZE)
        self._disk.pwrite(self._fd, data, 0)
        self._known = (data, mark)


def _state(pid: int) -> str:
    """``stopped``, ``running`` or ``gone``: what the kernel says of ``pid``."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            letter = file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return "gone"
    return "stopped" if letter in b"Tt" else "running"


_sigmask: Any = getattr(sys.modules.get("_signal", signal), "pthread_sigmask", None)
"""The call itself; the library's wrapper spends 30 µs on making enumerations of the result."""


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back the signals that stop or end a process until the block is left; those for this thread, that is."""
    if _sigmask is None:
        yield
        return
    before = _sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        _sigmask(signal.SIG_SETMASK, before)
