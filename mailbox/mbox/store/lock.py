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
import os
import signal
import sys
from typing import Any

from mbox.store import mark
from mbox.system import flock
from mbox.system.disk import Disk, check_regular
from mbox.format.documents import compact
from mbox.errors import LockTimeout, WentBack
from mbox.system.host import Host
from mbox.store.mark import Mark

HOLDER_SIZE = 256

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
        self._portable = backend == "portalocker" or not flock.HAVE_FLOCK
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
        try:
            if who is not self._holder[0]:
                self._holder = (who, mark.line(compact(who), HOLDER_SIZE))
            data = os.pread(self._fd, mark.SIZE + HOLDER_SIZE, 0)
            if data[mark.SIZE :] != self._holder[1]:
                self._disk.pwrite(self._fd, self._holder[1], mark.SIZE)
        except BaseException:
            self.give_up()
            raise
        self._taken = data[: mark.SIZE]

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
        return self._known[1] if self._knows(self._taken) else None

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
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            letter = file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return "gone"
    return "stopped" if letter in b"Tt" else "running"


_sigmask: Any = getattr(sys.modules.get("_signal", signal), "pthread_sigmask", None)
"""The call itself; the library's wrapper spends 30 µs on making enumerations of the result."""


class held_back:
    """Hold back the signals that stop or end a process until the block is left; those for this thread, that is."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        if _sigmask is not None:
            self._before = _sigmask(signal.SIG_BLOCK, HELD_BACK)

    def __exit__(self, *_: object) -> None:
        if _sigmask is not None:
            _sigmask(signal.SIG_SETMASK, self._before)
