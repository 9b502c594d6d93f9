"""Git's objects: asked for, and made, by git processes that answer many questions.

Contents go in through ``git fast-import``, as blobs only; folders are written by ``git mktree``, only those that
changed.  fast-import's own commits are not used: they need a ref of their own, which a crash would leave behind, and
its search through a folder is linear, so that 60,000 documents in one folder took 25 s and 1,000,000 would take hours.

A crash leaves objects that nothing refers to, which git's own ``gc`` removes in time (and perhaps git's report of a
stream that broke off, ``fast_import_crash_PID``); the ref moves in one step or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import IO, NamedTuple, Self

from mbox.errors import Corrupt, Refused, StoreError
from mbox.system.disk import Disk

from .plumbing import Git, failed

FILE = b"100644"
FOLDER = b"40000"

LARGEST, COMMIT = 64 << 20, 1 << 20
"""Bytes of an object, and of a commit, at most: a folder of a million documents has 45 million."""

MOST = 500
"""Questions that are sent to a git process before its answers are read, so that neither waits for the other."""

Changes = dict[bytes, "Changes | bytes | None"]
"""What becomes of a folder: each name's new object (as git spells it), the changes in that folder, or None: gone."""


class Entry(NamedTuple):
    """What stands under one name in a folder."""

    mode: bytes
    oid: bytes


class Process:
    """A git process that answers questions; ended, whatever happens, at the end of a ``with``."""

    words: tuple[str, ...] = ()

    def __init__(self, git: Git) -> None:
        self.git = git
        self.process = git.start(*self.words)
        assert self.process.stdin and self.process.stdout
        self.stdin: IO[bytes] = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in (self.stdin, self.stdout):
            try:
                pipe.close()
            except OSError:
                pass
        with self.process:
            err = self.process.stderr.read() if self.process.stderr else b""
        if self.process.returncode and (kind is None or isinstance(error, (OSError, EOFError))):
            raise failed(self.words[0], err, self.git.folder) from None

    def line(self) -> bytes:
        """The next line of the answer; EOFError if there is none, which the end of the ``with`` explains."""
        line = self.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line[:-1]


class Objects(Process):
    """Reads objects."""

    words = ("cat-file", "--batch")

    def get(self, name: str, most: int = LARGEST) -> bytes | None:
        """The content of the object ``name``; None if the repository does not have it.  `Corrupt` over ``most`` bytes."""
        self.stdin.write(f"{name}\n".encode())
        self.stdin.flush()
        about = self.line().rsplit(b" ", 2)
        if len(about) != 3 or not about[2].isdigit():
            return None
        if int(about[2]) > most:
            raise Corrupt(f"{self.git.folder}: object {name} has {int(about[2]):,} bytes, more than audit writes; refused")
        content = self.stdout.read(int(about[2]))
        self.stdout.read(1)
        return content

    def need(self, name: str, most: int = LARGEST) -> bytes:
        """The content of an object that must be there; `StoreError` if it is not, or as `get`."""
        content = self.get(name, most)
        if content is None:
            raise StoreError(f"{self.git.folder}: object {name} is missing; `git fsck` says more")
        return content


class Blobs(Process):
    """Writes contents; each gets a number at once, and its object's name at the end."""

    words = ("fast-import", "--quiet", "--big-file-threshold=64k")

    def __init__(self, git: Git) -> None:
        super().__init__(git)
        self.count = 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, at)
        finally:
            if self.process.returncode:
                Disk().discard(f"{self.git.folder}/fast_import_crash_{self.process.pid}")

    def add(self, content: bytes) -> int:
        """Hand over ``content``; its number."""
        self.count += 1
        self.stdin.write(b"blob\nmark :%d\ndata %d\n%s\n" % (self.count, len(content), content))
        return self.count

    def names(self) -> list[bytes]:
        """The names of all that was added: that of number n stands at n - 1."""
        found: list[bytes] = []
        while len(found) < self.count:
            numbers = range(len(found) + 1, min(len(found) + MOST, self.count) + 1)
            self.stdin.write(b"".join(b"get-mark :%d\n" % number for number in numbers))
            self.stdin.flush()
            found += [self.line() for _ in numbers]
        return found


class Trees(Process):
    """Reads folders through ``objects``, and writes those that change."""

    words = ("mktree", "-z", "--batch", "--missing")

    def __init__(self, git: Git, objects: Objects) -> None:
        super().__init__(git)
        self.objects = objects

    def entries(self, tree: bytes) -> dict[bytes, Entry]:
        """What stands in the folder ``tree``, by name."""
        content, width = self.objects.need(tree.decode()), len(tree) // 2
        found, at = {}, 0
        while at < len(content):
            space = content.index(b" ", at)
            end = content.index(b"\0", space)
            name = content[space + 1 : end]
            found[name] = Entry(content[at:space], content[end + 1 : end + 1 + width].hex().encode())
            at = end + 1 + width
        return found

    def find(self, tree: bytes, path: str) -> Entry | None:
        """The entry at ``path`` below the folder ``tree``."""
        *folders, name = path.encode().split(b"/")
        for folder in folders:
            entry = self.entries(tree).get(folder)
            if entry is None or entry.mode != FOLDER:
                return None
            tree = entry.oid
        return self.entries(tree).get(name)

    def write(self, tree: bytes | None, changes: Changes) -> bytes | None:
        """The folder ``tree`` (None: an empty one) with ``changes``; None if nothing is left in it."""
        entries = self.entries(tree) if tree else {}
        for name, change in changes.items():
            mode, oid = FILE, change
            if isinstance(change, dict):
                before = entries.get(name)
                mode, oid = FOLDER, self.write(before.oid if before and before.mode == FOLDER else None, change)
            if isinstance(oid, bytes):
                entries[name] = Entry(mode, oid)
            else:
                entries.pop(name, None)
        return self._made(entries) if entries else None

    def _made(self, entries: dict[bytes, Entry]) -> bytes:
        kinds = {FOLDER: b"tree", FILE: b"blob"}
        if any(mode not in kinds for mode, _ in entries.values()):
            raise Refused("the audit ref holds a link or a program, which audit never writes")
        lines = [b"%s %s %s\t%s\0" % (mode, kinds[mode], oid, name) for name, (mode, oid) in entries.items()]
        self.stdin.write(b"".join(lines) + b"\0")
        self.stdin.flush()
        return self.line()


def nested(changes: Mapping[str, bytes | None]) -> Changes:
    """`Changes` of the top folder, from the paths of files."""
    top: Changes = {}
    folders: dict[str, Changes] = {"": top}

    def folder(path: str) -> Changes:
        found = folders.get(path)
        if found is None:
            above, _, name = path.rpartition("/")
            found = folders[path] = {}
            folder(above)[name.encode()] = found
        return found

    for path, oid in changes.items():
        above, _, name = path.rpartition("/")
        folder(above)[name.encode()] = oid
    return top
