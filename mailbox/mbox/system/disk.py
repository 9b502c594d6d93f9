"""The only module that writes files.  Every system call that changes the store goes through a `Disk`.

Promised: whole documents appear under their final name or not at all (write to a temporary file beside the place,
check every write and the close, then rename); an append lands whole at the offset that was expected or raises; no
path is followed through a symlink below the root.  Not promised: that anything but what was passed to `sync` survives
a power cut; the journal is what makes the rest come back.

A test hands in a subclass that counts, refuses or dies at any of these calls: the methods are the fault points.
"""

from __future__ import annotations

import errno
import os
import stat

TEMP = ".tmp-"
"""Temporary files start with this; listings skip them, and `doctor --repair` removes those that a crash left."""

LARGEST = 64 << 20
"""Bytes that a document can have; a larger file is none, and is not read."""

NO_DOCUMENT = frozenset([errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.ENXIO])
"""What `read_bytes` raises where a symlink, FIFO, device, socket or something huge stands in a document's place."""


class Disk:
    """System calls that change files, by absolute path or descriptor.  ``private``: 0700 and 0600, else umask's."""

    __slots__ = ("dir_mode", "file_mode")

    def __init__(self, private: bool = True) -> None:
        self.dir_mode = 0o700 if private else 0o777
        self.file_mode = 0o600 if private else 0o666

    # -- one system call each; the fault points ------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        """open(2) with O_CLOEXEC and O_NOFOLLOW and the store's file mode."""
        return os.open(path, flags | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), self.file_mode)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data`` or raise; a short write (a full disk, a signal) is continued, never believed."""
        done = os.write(fd, data)
        while done < len(data):
            more = os.write(fd, memoryview(data)[done:])
            if more <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += more

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset`` or raise."""
        if os.pwrite(fd, data, offset) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self, fd: int) -> None:
        os.close(fd)

    def sync(self, fd: int) -> None:
        """fsync(2), once: a failure is never retried as proof."""
        os.fsync(fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, self.dir_mode)

    # -- composed of the above -----------------------------------------------------------------------------------

    def create(self, path: str, data: bytes) -> None:
        """Make ``path`` with ``data``; FileExistsError if it is there.  On any failure nothing is left."""
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            try:
                self.write(fd, data)
            finally:
                self.close(fd)
        except BaseException:
            self.discard(path)
            raise

    def replace(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path`` by way of a temporary file and a rename.  For files outside a transaction."""
        temp = f"{temporary(path)}.{os.getpid()}"
        self.discard(temp)
        self.create(temp, data)
        try:
            self.rename(temp, path)
        except BaseException:
            self.discard(temp)
            raise

    def rewrite(self, path: str, data: bytes) -> None:
        """`replace` for a person's own file, which is there: it keeps its mode, and a symlink to it stays one."""
        real = os.path.realpath(path)
        temp = f"{temporary(real)}.{os.getpid()}"
        mode = stat.S_IMODE(os.stat(real).st_mode)
        self.discard(temp)
        self.create(temp, data)
        try:
            os.chmod(temp, mode)
            self.rename(temp, real)
        except BaseException:
            self.discard(temp)
            raise

    def append(self, path: str, data: bytes) -> None:
        """Append ``data`` to ``path``, which is made when missing."""
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            self.write(fd, data)
        finally:
            self.close(fd)

    def discard(self, path: str) -> None:
        """Remove ``path`` if it is there; failures are passed over, for it is always a left-over."""
        try:
            self.unlink(path)
        except OSError:
            pass

    def remove_empty(self, path: str) -> None:
        """Remove the folder at ``path`` if there is nothing in it; it may be gone, and it may stay."""
        try:
            os.rmdir(path)
        except OSError:
            pass

    def folders(self, path: str) -> None:
        """Make the folder ``path`` and those above it that are missing."""
        try:
            self.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        except FileNotFoundError:
            self.folders(os.path.dirname(path))
            self.folders(path)

    def sync_folder(self, path: str) -> None:
        """fsync the folder itself, so that names made in it survive a power cut."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def sync_filesystem(self, fd: int) -> None:
        """syncfs(2) of the file system that ``fd`` is on; sync(2) where there is no such call."""
        import ctypes

        call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if call is None:
            os.sync()
        elif call(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def temporary(path: str) -> str:
    """The temporary file beside ``path``: always the same one, so that what a crash left is taken by the next try."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{TEMP}{name}"


def exists(path: str) -> bool:
    """Whether anything can be seen at ``path``, a symlink to nothing too; a name that is free costs no exception."""
    if _LOOKS_AT_LINKS:
        return os.access(path, os.F_OK, follow_symlinks=False)
    return os.path.lexists(path)


_LOOKS_AT_LINKS = os.access in os.supports_follow_symlinks and os.access("/", os.F_OK, follow_symlinks=False)
"""Whether access(2) takes AT_SYMLINK_NOFOLLOW here: some systems have the call and refuse it."""


def is_link(path: str) -> bool:
    """Whether a symlink stands at ``path``."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


def open_regular(path: str) -> int:
    """A descriptor to read the regular file ``path``; never waits for a FIFO, never follows a symlink."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    try:
        check_regular(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_regular(fd: int, path: str) -> None:
    """Raise OSError unless ``fd`` is a regular file."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "a folder where a file should be", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def read_bytes(path: str) -> bytes:
    """The bytes of the regular file ``path``; anything else in its place raises OSError (`NO_DOCUMENT`, EISDIR)."""
    fd = open_regular(path)
    try:
        info = os.fstat(fd)
        if info.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"{info.st_size} bytes are no document", path)
        data = os.read(fd, info.st_size + 1)
        while True:
            more = os.read(fd, 1 << 20) if len(data) > info.st_size or len(data) < info.st_size else b""
            if not more:
                return data
            data += more
    finally:
        os.close(fd)
