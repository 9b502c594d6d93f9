"""The one lock of a store, and its mark.

Promised: at most one process holds the lock of the file that stands at ``.mailbox/lock``; the kernel gives it up when
the process ends, however it ends; waiting is first come, first served as far as the kernel's queue is, and lasts
longer while that queue moves (`MOVES`).  Not promised: that it reaches another kernel; the mark is what notices that.

The file exists for ever: it is never deleted, renamed or broken by age.  Whoever has taken the lock checks that the
descriptor is still the file at that path, because git can delete or replace it (`Lock.check`).

The file's first 512 bytes are the *mark*: how far the files follow the journal.  The next 256 name the holder, for
people.  Both are one line of JSON padded with spaces, so that one ``pwrite`` replaces them; a reader without the lock
may see a torn line, which its CRC tells, and reads again.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from mbox.errors import LockTimeout, WentBack
from mbox.format.documents import compact
from mbox.system import flock
from mbox.system.disk import Disk, check_regular
from mbox.system.host import Host

from . import mark
from .mark import Mark

HOLDER_SIZE = 256

MOVES = 6
"""How many times over a wait is waited while the lock goes from hand to hand: a queue that moves is not one that is stuck,
and who left it would begin at its end."""

signal: Any = sys.modules.get("_signal") or __import__("signal")
"""The interpreter's own module of signals, loaded at every start; the library's around it costs half a millisecond."""

HELD_BACK = {
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
}
"""Signals that stop or end a process: held back while the lock is held."""


class Lock:
    """The lock file at ``path`` (absolute).  Opened once a process; not for use from two threads at a time."""

    __slots__ = ("_disk", "_fd", "_file", "_holder", "_host", "_known", "_pid", "_portable", "_refused", "_taken", "path")

    def __init__(self, path: str, disk: Disk, host: Host, backend: str = "") -> None:
        self.path = path
        self._disk = disk
        self._host = host
        self._portable = flock.is_portable(backend)
        self._fd = -1
        self._file = (0, 0)
        self._pid = 0
        self._refused: OSError | None = None
        self._known: tuple[bytes, Mark | None] = (b"", None)
        self._holder: tuple[dict[str, object], bytes] = ({}, b"")
        self._taken = b""

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
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EMLINK):
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

    def loss(self) -> str:
        """What happened to the file at the lock's path, in words; empty while it is the one that is locked."""
        if self._is_ours():
            return ""
        return f"{self.path} was deleted or replaced while it was locked (git clean, checkout or stash?)"

    def check(self) -> None:
        """Raise `WentBack` if the file at the lock's path is no longer the one that is locked."""
        if loss := self.loss():
            raise WentBack(f"{loss}; nothing was written")

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def inode(self) -> int:
        return self._file[0]

    # -- taking and giving up ------------------------------------------------------------------------------------

    def take(self, wait: float, moves: int = MOVES) -> None:
        """Take the lock, or raise `LockTimeout` naming the holder: after ``wait`` seconds in which it went through no
        other hands, or after ``moves`` times as many.
        """
        if self._refused:
            raise self._refused
        if not flock.attempt(self._fd, portable=self._portable):
            self._wait(wait, moves)
        try:
            self._taken = self._head()
        except BaseException:
            self.give_up()
            raise

    def _wait(self, wait: float, moves: int) -> None:
        waited = 0.0
        for _ in range(moves):
            before = self._head()
            if flock.acquire(self._fd, wait, self._host, portable=self._portable):
                return
            waited += wait
            if self._head() == before:
                break
        raise LockTimeout(f"{self.path}: not had within {waited:g} s; {self.holder()}")

    def _head(self) -> bytes:
        """The mark and the holder as they stand: something else after each who had the lock and changed anything."""
        return os.pread(self._fd, mark.SIZE + HOLDER_SIZE, 0)

    def tell_holder(self) -> None:
        """Write down who has the lock, for whoever waits for it."""
        who = self._host.process()
        if who is not self._holder[0]:
            self._holder = (who, mark.line(compact(who), HOLDER_SIZE))
        if self._taken[mark.SIZE :] != self._holder[1]:
            self._disk.pwrite(self._fd, self._holder[1], mark.SIZE)

    def give_up(self) -> None:
        """Release the lock; the descriptor stays open for the next time."""
        if self._fd < 0:
            return
        flock.release(self._fd, self._portable)

    def holder(self) -> str:
        """Who holds the lock, in words for an error."""
        held = mark.parsed(os.pread(self._fd, HOLDER_SIZE, mark.SIZE))
        if not held:
            return "its holder has not said who it is"
        pid = held.get("pid")
        same = held.get("pidns") == self._host.process()["pidns"]
        state = _state(pid) if same and isinstance(pid, int) else ""
        advice = f"; `kill -CONT {pid}` lets it go on" if state == "stopped" else ""
        return f"held by pid {pid}{' (' + state + ')' if state else ''}{advice}"

    # -- the mark ------------------------------------------------------------------------------------------------

    def mark(self) -> Mark | None:
        """The mark, or None where there is none that can be read: then the journal must be replayed."""
        for _ in range(3):
            if self._knows(os.pread(self._fd, mark.SIZE, 0)):
                return self._known[1]
        return None

    def mark_taken(self) -> Mark | None:
        """As `mark`, as it stood when the lock was taken."""
        return self._known[1] if self._knows(self._taken[: mark.SIZE]) else None

    def _knows(self, data: bytes) -> bool:
        """Whether ``data`` holds something sound, which is then known."""
        if data == self._known[0]:
            return True
        found = mark.parsed(data)
        if found:
            self._known = (data, mark.of(found))
        return bool(found)

    @property
    def told(self) -> Mark | None:
        """The mark as it was last read or written here."""
        return self._known[1]

    def drop_mark(self) -> None:
        """Take the mark back: of a journal that is no more."""
        self._disk.pwrite(self._fd, b"\0" * mark.SIZE, 0)

    def set_mark(self, new: Mark) -> None:
        """Write the mark.  Not synced: after a power cut recovery does not believe it."""
        data = new.line()
        self._disk.pwrite(self._fd, data, 0)
        self._known = (data, new)


def _state(pid: int) -> str:
    """``stopped``, ``running`` or ``gone``: what the kernel says of ``pid``."""
    from mbox.system.proc import stat

    found = stat(pid)
    if found is None:
        return "gone"
    return "stopped" if found.is_stopped else "running"


_sigmask: Any = getattr(signal, "pthread_sigmask", None)
"""Where the module is the interpreter's own: the library's spends 30 µs on making enumerations of the result."""


class held_back:
    """Hold back the signals that stop or end a process until the block is left; those for this thread, that is.

    Long work that any death leaves to be done again (an index, a replay) calls `strike` at every step of it.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> held_back:
        if _sigmask is not None:
            self._before = _sigmask(signal.SIG_BLOCK, HELD_BACK)
        return self

    def strike(self) -> None:
        """Let the signals that came meanwhile do what they do: end the process, raise KeyboardInterrupt, or nothing."""
        if _sigmask is not None:
            try:
                _sigmask(signal.SIG_SETMASK, self._before)
            finally:
                _sigmask(signal.SIG_BLOCK, HELD_BACK)

    def is_struck(self) -> bool:
        """Whether a signal has come meanwhile."""
        return _sigmask is not None and not HELD_BACK.isdisjoint(signal.sigpending())

    def __exit__(self, *_: object) -> None:
        if _sigmask is not None:
            _sigmask(signal.SIG_SETMASK, self._before)
