"""The file system under a folder: its kind, whether it is on a network, whether two folders share it, how it compares names.

Promised: nothing is written, and no folder is entered; what cannot be found out is said as the careful answer (another
file system, names compared letter by letter).  Not promised: that a mount stays what it was when it was asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator


def upward(folder: str) -> Iterator[str]:
    """``folder`` and every folder above it."""
    while True:
        yield folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return
        folder = parent


def names(folder: str) -> list[str]:
    """What stands in ``folder``; nothing where it cannot be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


NETWORK = frozenset((
    "9p", "drvfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs",  # shared with the host of a virtual machine
    "afs", "cifs", "coda", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs",
    "acfs", "beegfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "panfs", "pvfs2",
    "fuse.ceph", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.grpcfuse",
    "fuse.mfs", "fuse.osxfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.vmhgfs-fuse",
))  # fmt: skip
"""File systems that another kernel may share: neither its locks nor its changes need reach this one."""


def is_network(fstype: str) -> bool:
    """Whether a file system of this type can be shared with another machine, or with the host of this one."""
    return fstype in NETWORK


def filesystem(path: str, mountinfo_text: str | None = None) -> str:
    """The type of the file system that ``path`` is on, such as ``ext4``; empty where no mount table tells."""
    return _mount(path, mountinfo_text)[1]


def _mount(path: str, mountinfo_text: str | None = None) -> tuple[str, str]:
    """Mount point and type for ``path``: of the mounts above it the longest, of equal ones the last."""
    if mountinfo_text is None:
        path = os.path.realpath(path)
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo_text = file.read()
        except OSError:
            return "", ""
    best = ("", "")
    for line in mountinfo_text.splitlines():
        fields, _, source = line.partition(" - ")
        point = _unescaped(fields.split(" ")[4])
        if len(point) >= len(best[0]) and within(path, point):
            best = (point, source.split(" ")[0])
    return best


def _unescaped(text: str) -> str:
    """``text`` with the octal escapes of the mount table (blank, tab, newline, backslash) resolved."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def same_filesystem(a: str, b: str) -> bool:
    """Whether a file can be renamed from ``a`` to ``b``; of what is not there yet the nearest folder counts.

    The same device under two mount points is not enough: rename(2) does not cross mounts.
    """
    a, b = _standing(a), _standing(b)
    return os.stat(a).st_dev == os.stat(b).st_dev and _mount(a) == _mount(b)


def _standing(path: str) -> str:
    return next(folder for folder in upward(os.path.realpath(path)) if os.path.exists(folder))


def case_folds(path: str) -> bool:
    """Whether ``README`` and ``readme`` are one file in the folder ``path``.

    Asked of a name that is there, in the other case; nothing is written.
    """
    for name in names(path):
        if name.isascii() and name != name.swapcase() and os.path.lexists(f"{path}/{name}"):
            try:
                return os.path.samestat(os.lstat(f"{path}/{name}"), os.lstat(f"{path}/{name.swapcase()}"))
            except OSError:
                return False
    return False
