"""The files: a store's documents and leases as they stand on disk.

Promised: no path is followed through a symlink below the root; a document is whole and of its kind, or an error that
names its file; an old document is parsed once (`Files.load`) and looked at by a stat from then on.  Not promised: that
the files already follow the journal; whoever needs that has the lock (`store`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from mbox.format import documents
from mbox.format import places
from mbox.system.disk import NO_DOCUMENT, TEMP, Disk, is_link, read_bytes
from mbox.format.documents import Document, Newer, Unfit
from mbox.errors import Corrupt, MboxError, StoreError
from mbox.faults import failure
from mbox.system.host import Host
from mbox.format.lease import Lease

TICK, COARSE = 0.1, 2.0
"""Seconds after which a change to a file shows in its time: ten ticks of a kernel's clock, or FAT's two seconds."""


class Damage(Exception):
    """A document under a decision is unfit; the store mends it (`mending`) and decides again."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail


class Files:
    """The documents below ``root``, an absolute path."""

    def __init__(self, root: str, host: Host, disk: Disk) -> None:
        self.root = root
        self.host = host
        self.disk = disk
        self.say: Callable[[str], None] = lambda text: None
        """Where warnings go; the command line points it at stderr."""
        self._inside = False
        """Whether the lock is had: then no folder is looked at twice."""
        self._safe: set[str] = set()
        self._cache: dict[str, tuple[tuple[int, int, int], Document]] = {}

    def absolute(self, path: str) -> str:
        return f"{self.root}/{path}"

    # -- without the lock, for display ---------------------------------------------------------------------------

    def names(self, folder: str) -> list[str]:
        """File names in ``folder``, no temporary files; empty if there is no such folder."""
        if not self._inside:  # what is read next is looked at anew
            self._safe.clear()
        try:
            return [name for name in os.listdir(self.absolute(folder)) if not name.startswith(".")]
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise Corrupt(f"{self.absolute(folder)} should be a folder; `mbox doctor` says more") from None
        except OSError as error:
            raise StoreError(f"{self.absolute(folder)}: {failure(error)}") from None

    def read(self, path: str) -> Document | None:
        """The document at ``path`` as on disk, or None; `Corrupt` or `Newer`, naming the file, if it is unfit."""
        try:
            return self._decoded(path, self.bytes_of(path))
        except FileNotFoundError:
            return None
        except Unfit as error:
            raise Corrupt(f"{self.absolute(path)}: {error}; `mbox doctor --repair` mends it") from None
        except OSError as error:
            raise StoreError(f"{self.absolute(path)}: {failure(error)}") from None

    def documents(self, folder: str) -> Iterator[Document]:
        """Every readable document in ``folder``; each that is not is said and passed over."""
        for name in self.names(folder):
            doc = self.glance(f"{folder}/{name}")
            if doc is not None:
                yield doc

    def glance(self, path: str) -> Document | None:
        """`read` for a listing: a document that is unfit is said and passed over, and everything else goes on."""
        try:
            return self.read(path)
        except MboxError as error:
            self.say(str(error))
            return None

    def bytes_of(self, path: str) -> bytes:
        """The bytes at ``path``, which is never reached through a symlink."""
        self.check_folder(path.rpartition("/")[0])
        return read_bytes(self.absolute(path))

    def _decoded(self, path: str, data: bytes) -> Document:
        kind = places.kind(path)
        try:
            doc: Document = documents.decode(kind, data, "" if kind == "deadletter" else places.ident(path))
        except Newer as error:
            raise Newer(f"{self.absolute(path)}: {error}") from None
        return doc

    def check_folder(self, folder: str) -> None:
        """Refuse a folder that is, or lies behind, a symlink below the root; looked at once a transaction, or listing."""
        if folder in self._safe or not folder:
            return
        at = self.root
        for name in folder.split("/"):
            at = f"{at}/{name}"
            if at in self._safe:
                continue
            if is_link(at):
                raise Corrupt(f"{at} is a symlink; the store is never followed out of itself")
            self._safe.add(at)
        self._safe.add(folder)

    def load_lease(self, path: str) -> Lease | None:
        """The lease file at ``path``; None if it is missing or unreadable (it is ephemeral)."""
        places.lease_kind(path)
        try:
            return Lease.of(documents.decode("lease", self.bytes_of(path)))
        except (OSError, Unfit):
            return None

    # -- with the lock -------------------------------------------------------------------------------------------

    def load(self, path: str) -> Document | None:
        """The document at ``path`` for a decision; `Damage` if it is unfit."""
        absolute = self.absolute(path)
        try:
            info = os.stat(absolute, follow_symlinks=False)
        except FileNotFoundError:
            return None
        state = (info.st_ino, info.st_size, info.st_mtime_ns)
        cached = self._cache.get(path)
        if cached and cached[0] == state:
            return dict(cached[1])
        try:
            data = self.bytes_of(path)
            doc = self._decoded(path, data)
        except FileNotFoundError:
            return None
        except Unfit as error:
            raise Damage(path, str(error)) from None
        except OSError as error:
            if error.errno in NO_DOCUMENT:
                raise Damage(path, error.strerror or str(error)) from None
            if error.errno == errno.EISDIR:
                raise Corrupt(f"{absolute} is a folder where a document should be; move it away") from None
            raise StoreError(f"{absolute}: {failure(error)}; nothing happened") from None
        if path.endswith(".json") and self.host.wall() - info.st_mtime > (TICK if info.st_mtime_ns % 1000 else COARSE):
            if len(self._cache) > 4096:
                self._cache.clear()
            self._cache[path] = (state, doc)
            return dict(doc)
        return doc

    def write_lease(self, path: str, lease: Lease) -> None:
        places.lease_kind(path)
        folder = path.rpartition("/")[0]
        self.check_folder(folder)
        self.disk.folders(self.absolute(folder))
        self.disk.replace(self.absolute(path), documents.encode("lease", lease.doc()))


def is_temporary(name: str) -> bool:
    """Whether a file name is one that a crash left in the middle of staging."""
    return name.startswith(TEMP)


def folders_in(files: Files, folder: str) -> list[str]:
    """The folders in ``folder``, whatever else a person has put there."""
    names = sorted(files.names(folder))
    return [name for name in names if is_folder(files.absolute(f"{folder}/{name}"))]


def is_folder(path: str) -> bool:
    """Whether a folder, and no symlink to one, stands at ``path``."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def every_document(files: Files) -> Iterator[str]:
    """The path of every file that stands where a document can stand."""
    folders = [places.AGENTS, places.RESERVATIONS, places.DEADLETTER, places.TASKS, places.NOTES, ".mailbox/team"]
    for agent in folders_in(files, places.INBOX):
        folders += [f"{places.INBOX}/{agent}/new", f"{places.INBOX}/{agent}/cur"]
    for agent in folders_in(files, places.OUTBOX):
        folders.append(f"{places.OUTBOX}/{agent}")
    for agent in folders_in(files, places.ARCHIVE):
        folders += [f"{places.ARCHIVE}/{agent}/{month}" for month in folders_in(files, f"{places.ARCHIVE}/{agent}")]
    for folder in folders:
        if is_folder(files.absolute(folder)):
            for name in files.names(folder):
                if places.is_place(f"{folder}/{name}") and not is_folder(files.absolute(f"{folder}/{name}")):
                    yield f"{folder}/{name}"
