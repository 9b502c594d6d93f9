"""The only module that writes files.  Every system call that changes the store goes through a `Disk`.

Promised: whole documents appear under their final name or not at all (write to a temporary file beside the place,
check every write and the close, then rename); an append lands whole at the offset that was expected or raises; no
path is followed through a symlink below the root, and no file is written that has another name (a hard link may lead
anywhere; whatever is replaced by a rename leaves the other name alone).  Not promised: that anything but what was passed
to `sync` survives a power cut; the journal is what makes the rest come back.

A store belongs to one user, whoever calls: root on another's makes, moves and removes everything *as* that user
(`OwnersDisk`, which `disk_for` chooses), so that the owner can go on with it, and root changes nothing for a store's sake
that its owner could not have changed.

A test hands in a subclass that counts, refuses or dies at any of these calls: the methods are the fault points.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TEMP = ".tmp-"
"""Temporary files start with this; listings skip them, and `doctor --repair` removes those that a crash left."""

TRIED, TRIED_SIZE = 4, 4 << 10
"""Files, and bytes in each, for which there must be room: a document and the index, with the two that SQLite lays beside it."""

LARGEST = 64 << 20
"""Bytes that a document can have; a larger file is none, and is not read."""

NO_DOCUMENT = frozenset([errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.ENXIO])
"""What `read_bytes` raises where a symlink, FIFO, device, socket or something huge stands in a document's place."""


CAREFUL = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""How the store's files are opened: never through a symlink, never waiting for the other end of a FIFO."""


class Disk:
    """System calls that change files, by absolute path or descriptor.  ``private``: 0700 and 0600, else umask's."""

    __slots__ = ("dir_mode", "file_mode")

    owner: Owner | None = None
    """As whom root changes things here; None: whoever calls is the one."""

    def __init__(self, private: bool = True) -> None:
        self.dir_mode = 0o700 if private else 0o777
        self.file_mode = 0o600 if private else 0o666

    # -- one system call each; the fault points ------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        """open(2) of a regular file with `CAREFUL` and the store's file mode; anything else in its place raises OSError.

        So does, to be written, a file that has another name (EMLINK): what is written would appear there too.
        """
        fd = os.open(path, flags | CAREFUL, self.file_mode)
        if not flags & os.O_EXCL:
            _check_opened(fd, path, alone=bool(flags & (os.O_WRONLY | os.O_RDWR)))
        return fd

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

    def symlink(self, leads_to: str, path: str) -> None:
        os.symlink(leads_to, path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, self.dir_mode)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def date(self, where: str | int, ns: int) -> None:
        """Give the file or folder at a path, or open as a descriptor, a time, in nanoseconds since the epoch."""
        if isinstance(where, int):
            os.utime(where, ns=(ns, ns))
        else:
            os.utime(where, ns=(ns, ns), follow_symlinks=False)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

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

    def replace_synced(self, path: str, data: bytes) -> None:
        """`replace` by a file that is synced before the rename, in a folder that is synced after it."""
        temp = f"{temporary(path)}.{os.getpid()}"
        self.discard(temp)
        fd = self.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            try:
                self.write(fd, data)
                self.sync(fd)
            finally:
                self.close(fd)
            self.rename(temp, path)
        except BaseException:
            self.discard(temp)
            raise
        self.sync_folder(os.path.dirname(path))

    def rewrite(self, path: str, data: bytes, mode: int | None = None) -> None:
        """`replace` for a person's own file, which is there: it keeps its mode, or has ``mode``; a symlink to it stays one."""
        real = os.path.realpath(path)
        temp = f"{temporary(real)}.{os.getpid()}"
        mode = stat.S_IMODE(os.stat(real).st_mode) if mode is None else mode
        self.discard(temp)
        self.create(temp, data)
        try:
            self.chmod(temp, mode)
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
            self.rmdir(path)
        except OSError:
            pass

    def remove_tree(self, path: str) -> None:
        """Remove what is at ``path``, with all below it; no symlink is followed, and what cannot go stays."""
        below = () if is_link(path) else os.walk(path, topdown=False)
        for folder, folders, names in below:
            for name in names:
                self.discard(f"{folder}/{name}")
            for name in folders:
                self.discard(f"{folder}/{name}")
                self.remove_empty(f"{folder}/{name}")
        self.discard(path)
        self.remove_empty(path)

    def try_room(self, folder: str) -> None:
        """Make `TRIED` files in ``folder`` and remove them; OSError as whoever writes there would get it."""
        temps = [f"{folder}/{TEMP}try{n}.{os.getpid()}" for n in range(TRIED)]
        try:
            for temp in temps:
                self.discard(temp)
                self.create(temp, b"\0" * TRIED_SIZE)
        finally:
            for temp in temps:
                self.discard(temp)

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

    def sync_path(self, path: str) -> None:
        """fsync the regular file at ``path``."""
        fd = open_regular(path)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

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


class Owner:
    """Another user as whom root acts: the numbers of user and group."""

    __slots__ = ("gid", "uid")

    def __init__(self, uid: int, gid: int) -> None:
        self.uid, self.gid = uid, gid

    @classmethod
    def of(cls, path: str) -> Owner | None:
        """Whose ``path`` is, or the nearest folder above it that is there; None unless root calls and it is another's."""
        if os.geteuid() != 0:
            return None
        while True:
            try:
                info = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                path = os.path.dirname(path)
                continue
            return cls(info.st_uid, info.st_gid) if info.st_uid else None

    def do(self, call: Callable[..., Any], *words: Any) -> Any:
        """What ``call`` of ``words`` returns, made with that user's rights, in no other group; then the process is root again.

        OSError where the kernel does not let root act as another (a container without that right).  Not to be nested.
        """
        group, groups, mask = os.getegid(), os.getgroups(), os.umask(0)
        try:
            if groups:
                os.setgroups([])
            os.setegid(self.gid)
            os.seteuid(self.uid)
            return call(*words)
        finally:
            os.seteuid(0)
            os.setegid(group)
            os.umask(mask)
            _join(groups)


def _join(groups: list[int]) -> None:
    """Be in ``groups`` again; in none where a container does not know them all."""
    try:
        if groups:
            os.setgroups(groups)
    except OSError:
        pass


class OwnersDisk(Disk):
    """Root's disk for a store of ``owner``: each system call is made with that user's rights, and leaves that user's files.

    Between two calls the process is root again; a death at any instruction leaves nothing of root's.  Not ``private``: the
    modes are those of the store's ``folder``, for root's umask is not its owner's.  OSError as of `Owner.do`.  What is open
    already is written with root's rights.
    """

    __slots__ = ("owner",)

    def __init__(self, owner: Owner, folder: str, private: bool) -> None:
        super().__init__(private)
        self.owner: Owner = owner
        if not private:
            self.dir_mode = stat.S_IMODE(os.lstat(folder).st_mode) & 0o777 | 0o700
            self.file_mode = self.dir_mode & 0o666

    def open(self, path: str, flags: int) -> int:
        fd: int = self.owner.do(super().open, path, flags)
        return fd

    def rename(self, source: str, target: str) -> None:
        self.owner.do(super().rename, source, target)

    def link(self, source: str, target: str) -> None:
        self.owner.do(super().link, source, target)

    def symlink(self, leads_to: str, path: str) -> None:
        self.owner.do(super().symlink, leads_to, path)

    def unlink(self, path: str) -> None:
        self.owner.do(super().unlink, path)

    def mkdir(self, path: str) -> None:
        self.owner.do(super().mkdir, path)

    def chmod(self, path: str, mode: int) -> None:
        self.owner.do(super().chmod, path, mode)

    def date(self, where: str | int, ns: int) -> None:
        self.owner.do(super().date, where, ns)

    def rmdir(self, path: str) -> None:
        self.owner.do(super().rmdir, path)


def disk_for(folder: str, private: bool = True) -> Disk:
    """The disk for what stands in ``folder``, an absolute path, or will: its owner's where root calls on another's."""
    owner = Owner.of(folder)
    return Disk(private) if owner is None else OwnersDisk(owner, folder, private)


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
    fd = os.open(path, os.O_RDONLY | CAREFUL)
    _check_opened(fd, path)
    return fd


def _check_opened(fd: int, path: str, alone: bool = False) -> None:
    """`check_regular`, which closes what is none; ``alone``: it has this name and no other."""
    try:
        check_regular(fd, path)
        if alone and os.fstat(fd).st_nlink > 1:
            name = os.path.basename(path)
            raise OSError(errno.EMLINK, f"has another name (a hard link), where all that is written would appear too; "
                          f"make it one of its own: cp -p {name} {name}.own && mv {name}.own {name}", path)  # fmt: skip
    except BaseException:
        os.close(fd)
        raise


def check_regular(fd: int, path: str) -> None:
    """Raise OSError unless ``fd`` is a regular file."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "a folder where a file should be", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def read_bytes(path: str, most: int = LARGEST) -> bytes:
    """The bytes of the regular file ``path``; anything else in its place raises OSError (`NO_DOCUMENT`, EISDIR).

    So does a file of more than ``most`` bytes.
    """
    fd = open_regular(path)
    try:
        return read_open(fd, path, most)
    finally:
        os.close(fd)


def read_open(fd: int, path: str, most: int = LARGEST) -> bytes:
    """The bytes of the regular file open at its beginning as ``fd``; OSError that names ``path`` for more than ``most``."""
    info = os.fstat(fd)
    if info.st_size > most:
        raise OSError(errno.EFBIG, f"{info.st_size} bytes are no document", path)
    data = os.read(fd, info.st_size + 1)
    while True:
        more = os.read(fd, 1 << 20) if len(data) > info.st_size or len(data) < info.st_size else b""
        if not more:
            return data
        data += more
