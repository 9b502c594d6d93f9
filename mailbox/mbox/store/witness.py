"""The witness: how far the journal was, remembered where it does not move with the store.

A branch onto which ``.mailbox`` was forced whole, or a copy of yesterday, brings journal, mark and lock file back together:
they agree with each other, and nothing in them says that more was promised since.  So the last number is noted in git's own
folder as well, where no checkout, stash, clean or reset writes: in the root's ``.git``, or where the root has none, in that of
the work tree around it (`mbox.root.git_folder`), under a name that tells which folder of it the root is.  Of a linked
worktree and of a submodule that is the folder that git keeps for it, outside the root, and only where that names it back.

Promised: a journal of the same store that ends before the number noted there is found out by whoever looks or takes the
lock next: `WentBack`, exit 6, and nothing is touched.  It is noted after the record is in the journal (durable, in ``full``) and
before the command says so; a death between leaves it lower, which is no harm, for it says *at least*.  In ``fast`` a
machine's death may take the end of the journal, so what was noted in that machine's earlier life is not believed.

Not promised: anything outside of git, where that folder may not be written, is another owner's, was put back too, or went with
a worktree that was pruned or moved by hand.  Two roots whose long names end alike share a file, in which the last writer
stands: it names its store, and the other's is not known then.
"""

from __future__ import annotations

import errno
import os

from mbox.format.documents import compact
from mbox.system.disk import Disk
from mbox.system.host import Host

from . import mark
from .files import is_folder

SIZE = 256

NAME = "mbox-seen"

LONGEST = 200
"""Bytes of a root's place in its work tree that its file's name has at most: the last ones."""


class Witness:
    """The file of a store in ``root``.  One line, replaced by one write; opened once a process."""

    __slots__ = ("_disk", "_fd", "_folder", "_host", "_root", "path")

    def __init__(self, root: str, disk: Disk, host: Host) -> None:
        self._root = root
        self._folder = f"{root}/.git"
        self.path = f"{self._folder}/{NAME}"
        self._disk = disk
        self._host = host
        self._fd = -1

    def seen(self) -> tuple[str, int]:
        """A store, and the number that its journal had reached at least; no name and 0 where nothing is known."""
        if self._fd < 0 and not self._open(0):
            return "", 0
        found = mark.parsed(os.pread(self._fd, SIZE, 0)) or {}
        store, seq, life = found.get("store"), found.get("seq"), found.get("life")
        if not isinstance(store, str) or type(seq) is not int or life not in ("", self._host.machine):
            return "", 0
        return store, seq

    def note(self, store: str, seq: int, fast: bool) -> None:
        """Note that the journal of ``store`` has reached ``seq``; a failure is passed over, for it is only a help."""
        if self._fd < 0 and not self._open(os.O_CREAT):
            return
        seen = {"store": store, "seq": seq, "life": self._host.machine if fast else ""}
        try:
            self._disk.pwrite(self._fd, mark.line(compact(seen), SIZE), 0)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, flags: int) -> bool:
        """Open the file to be written, or else to be read; whether that went."""
        try:
            if not is_folder(self._folder) and not self._find():
                return False
            try:
                self._fd = self._disk.open(self.path, os.O_RDWR | flags)
            except OSError as error:
                if flags or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    return False
                self._fd = self._disk.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        return True

    def _find(self) -> bool:
        """Where there is no folder at the place looked in: look for another; whether there is one."""
        from mbox.root import git_folder

        found = git_folder(self._root)
        if found is None:
            return False
        self._folder, inside = found
        self.path = f"{self._folder}/{NAME}{_ending(inside)}"
        return True


def _ending(inside: str) -> str:
    """What tells the root that stands ``inside`` a work tree, in the name of its file; nothing for the work tree's top."""
    if inside == ".":
        return ""
    escaped = inside.replace("%", "%25").replace("/", "%2F")
    return f".{os.fsencode(escaped)[-LONGEST:].decode('utf-8', 'ignore')}"
