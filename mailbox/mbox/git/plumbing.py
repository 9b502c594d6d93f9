"""The repository around a root, by git's plumbing alone: objects in, one ref moved, nothing of the user's touched.

Promised: no index, work tree, branch, ``HEAD``, hook or setting of the user's is read for a decision or changed; git
is called by argument list, with none of the caller's ``GIT_*`` variables (a hook that calls us has its own index in
them) and with hooks off; replaced objects (git-replace(1)) are seen as they were written.  Nothing is signed, and
nothing is sent or fetched.  Not promised: that the user's configuration has no say in how objects are stored.

Contents go in through ``git fast-import``, as blobs only; folders are written by ``git mktree``, only those that
changed.  fast-import's own commits are not used: they need a ref of their own, which a crash would leave behind, and
its search through a folder is linear, so that 60,000 documents in one folder took 25 s and 1,000,000 would take hours.

A crash leaves objects that nothing refers to, which git's own ``gc`` removes in time (and perhaps git's report of a
stream that broke off, ``fast_import_crash_PID``); the ref moves in one step or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from mbox import root as roots
from mbox.system.disk import Disk
from mbox.errors import Refused, StoreError

if TYPE_CHECKING:
    from subprocess import CompletedProcess, Popen

FILE = b"100644"
FOLDER = b"40000"

MOST = 500
"""Questions that are sent to a git process before its answers are read, so that neither waits for the other."""

Changes = dict[bytes, "Changes | bytes | None"]
"""What becomes of a folder: each name's new object (as git spells it), the changes in that folder, or None: gone."""


class Entry(NamedTuple):
    """What stands under one name in a folder."""

    mode: bytes
    oid: bytes


class Git:
    """The repository whose common directory is ``folder``; ``root`` is where its processes run."""

    __slots__ = ("folder", "root")

    def __init__(self, root: str, folder: str) -> None:
        self.root = root
        self.folder = folder

    @classmethod
    def around(cls, root: str) -> Git:
        """The repository that ``root`` is in, or stands beside; `Refused` where there is none."""
        folder = repository(root)
        if folder is None:
            raise Refused(
                f"{root} is in no git repository, so there is nowhere to keep an audit ref; "
                "the record is the journal, .mailbox/logs/ (`mbox log`)"
            )
        return cls(root, folder)

    def start(self, *words: str) -> Popen[bytes]:
        """A git process with pipes to its stdin, stdout and stderr."""
        from subprocess import PIPE, Popen

        command = ["git", "--no-replace-objects", f"--git-dir={self.folder}", "-c", f"core.hooksPath={os.devnull}"]
        try:
            return Popen(
                [*command, *words], stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=self.root, env=environment(os.environ)
            )
        except FileNotFoundError:
            raise Refused(
                "git is not installed, so there is nowhere to keep an audit ref; "
                "the record is the journal, .mailbox/logs/ (`mbox log`)"
            ) from None

    def run(self, *words: str, given: bytes = b"", fine: tuple[int, ...] = (0,)) -> CompletedProcess[bytes]:
        """Run git to its end; `StoreError` with its last word if the exit status is not one of ``fine``."""
        from subprocess import CompletedProcess

        with self.start(*words) as process:
            out, err = process.communicate(given)
            status = process.returncode
        if status not in fine:
            raise failed(words[0], err)
        return CompletedProcess(words, status, out, err)

    def lines(self, *words: str, fine: tuple[int, ...] = (0,)) -> Iterator[bytes]:
        """The lines that git prints, as they come."""
        with self.start(*words) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdin.close()
            yield from process.stdout
            err = process.stderr.read()
        if process.returncode not in fine:
            raise failed(words[0], err)

    # -- the ref ---------------------------------------------------------------------------------------------------

    def ref(self, name: str) -> str | None:
        """The object that the ref of exactly this name points to."""
        lines = self.run("for-each-ref", "--format=%(objectname) %(refname)", name).stdout.decode().splitlines()
        return next((oid for oid, _, found in (line.partition(" ") for line in lines) if found == name), None)

    def move(self, name: str, new: str, old: str | None) -> str:
        """Point the ref at ``new`` if it still points at ``old`` (None: if there is no such ref); else, why not."""
        words = ("update-ref", "--no-deref", "-m", "mbox audit", name, new, old or "")
        done = self.run(*words, fine=(0, 1, 128))
        return "" if done.returncode == 0 else last_line(done.stderr) or "git update-ref failed"

    def commit(self, tree: str, parent: str | None, who: str, seconds: int, message: str) -> str:
        """Write a commit object, byte by byte ours: no identity, encoding or signature from the user's settings."""
        parents = f"parent {parent}\n" if parent else ""
        text = f"tree {tree}\n{parents}author {who} {seconds} +0000\ncommitter {who} {seconds} +0000\n\n{message}"
        done = self.run("hash-object", "-t", "commit", "-w", "--stdin", given=text.encode())
        return done.stdout.decode().strip()

    def listing(self, commit: str) -> Iterator[tuple[str, str, str]]:
        """``(mode, oid, path)`` of every file of ``commit``."""
        for line in self.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout.split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _kind, oid = about.decode().split(" ")
            yield mode, oid, path.decode("utf-8", "surrogateescape")


def repository(root: str) -> str | None:
    """The common directory of the repository that ``root`` is in, or of the bare one that it stands beside."""
    found = roots._repository(root)
    if found:
        return found[1]
    return next(iter(sorted(roots._bare_in(root))), None)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would tell git of another repository, index, identity or language."""
    kept = {name: value for name, value in given.items() if not name.startswith("GIT_") and name != "LANGUAGE"}
    return {**kept, "LC_ALL": "C.UTF-8"}


def last_line(err: bytes) -> str:
    """The line of git's stderr that says what went wrong."""
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (fatal or lines or [""])[0].strip()


def failed(what: str, err: bytes) -> StoreError:
    return StoreError(f"git {what}: {last_line(err) or 'ended without a word'}; nothing was changed")


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
            raise failed(self.words[0], err) from None

    def line(self) -> bytes:
        """The next line of the answer; EOFError if there is none, which the end of the ``with`` explains."""
        line = self.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line[:-1]


class Objects(Process):
    """Reads objects."""

    words = ("cat-file", "--batch")

    def get(self, name: str) -> bytes | None:
        """The content of the object ``name``; None if the repository does not have it."""
        self.stdin.write(f"{name}\n".encode())
        self.stdin.flush()
        about = self.line().rsplit(b" ", 2)
        if len(about) != 3 or not about[2].isdigit():
            return None
        content = self.stdout.read(int(about[2]))
        self.stdout.read(1)
        return content

    def need(self, name: str) -> bytes:
        """The content of an object that must be there; `StoreError` if it is not."""
        content = self.get(name)
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
