"""The files: a store's documents and leases as they stand on disk.

Promised: no path is followed through a symlink below the root; a document is whole and of its kind, or an error that
names its file; an old document is parsed once (`Files.load`) and looked at by a stat from then on.  Not promised: that
the files already follow the journal; whoever needs that has the lock (`store`).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mbox.errors import Corrupt, LeftAlone, MboxError, StoreError, failure
from mbox.format import documents, places
from mbox.format.documents import Document, Newer, Unfit
from mbox.format.lease import Lease
from mbox.journal.record import Record
from mbox.system.disk import LARGEST, NO_DOCUMENT, Disk, exists, is_link, read_bytes, temporary
from mbox.system.host import Host

if TYPE_CHECKING:
    from .view import JournalView

REMEMBERED = 1 << 20
"""Bytes that what is remembered in the cache can have; more is not read."""

FILE = 4096
"""Bytes that looking at a file, or making one, counts as, beside those that stand in it."""

TRIES = 3
"""How often a folder is made that others take away."""

TICK, COARSE = 0.1, 2.0
"""Seconds after which a change to a file shows in its time: ten ticks of a kernel's clock, or FAT's two seconds."""


class Damage(Exception):
    """A document under a decision is unfit; the store mends it (`quarantine`) and decides again."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail


class Recall(Exception):
    """A decision finds no document ``ident``: the store looks whether the journal has one, and decides again."""

    def __init__(self, ident: str) -> None:
        super().__init__(ident)
        self.ident = ident


T = TypeVar("T")


class Along(Protocol):
    """Goes through the steps of long work, and may tell a person how far it is: ``what`` is counted, up to ``total``."""

    def __call__(self, items: Iterable[T], what: str, total: int, /) -> Iterable[T]: ...


def straight(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """The steps, and nobody is told."""
    return items


class Files:
    """The documents below ``root``, an absolute path."""

    def __init__(self, root: str, host: Host, disk: Disk) -> None:
        self.root = root
        self.host = host
        self.disk = disk
        self.say: Callable[[str], None] = lambda text: None
        """Where warnings go; the command line points it at stderr."""
        self.along: Along = straight
        """What long work goes along with; the command line points it at a terminal."""
        self.view: JournalView | None = None
        """What documents are read from where the files could not be brought to the journal."""
        self.strike: Callable[[], None] = lambda: None
        """With the lock held, at every step of work that may be long and that any death leaves to be done again: `held_back`."""
        self.is_struck: Callable[[], bool] = lambda: False
        """Whether `strike` would let a signal through: for work that is taken back first."""
        self._inside = False
        """Whether the lock is had: then no folder is looked at twice."""
        self._safe: set[str] = set()
        self._passed_over: set[str] = set()
        self._cache: dict[str, tuple[tuple[int, int, int], Document]] = {}
        self.recalled: set[str] = set()
        """What the journal was asked for because no file was found."""
        self.remade = 0
        """How often a folder was made anew to put something in it."""
        self.looked = 0
        """Bytes that decisions have looked at so far, `FILE` more for each file: what bounds them (`transaction`)."""

    def absolute(self, path: str) -> str:
        return f"{self.root}/{path}"

    # -- without the lock, for display ---------------------------------------------------------------------------

    def names(self, folder: str) -> list[str]:
        """File names in ``folder``, no temporary files; empty if there is no such folder."""
        if not self._inside:  # what is read next is looked at anew
            self._safe.clear()
        self.check_folder(folder)
        try:
            there = [name for name in os.listdir(self.absolute(folder)) if not name.startswith(".")]
            return self.view.names(folder, there) if self.view else there
        except FileNotFoundError:
            return self.view.names(folder, []) if self.view else []
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
            raise unreadable(self.absolute(path), error) from None

    def documents(self, folder: str) -> Iterator[Document]:
        """Every readable document in ``folder``; each that is not is said and passed over."""
        for name in self.names(folder):
            doc = self.glance(f"{folder}/{name}")
            if doc is not None:
                yield doc

    def glance(self, path: str) -> Document | None:
        """`read` for a listing: a document that is unfit is said, once, and passed over, and everything else goes on."""
        try:
            return self.read(path)
        except MboxError as error:
            self.pass_over(error)
            return None

    def pass_over(self, error: MboxError) -> None:
        """Say what is left alone, once a process."""
        if str(error) not in self._passed_over:
            self._passed_over.add(str(error))
            self.say(f"left alone: {error}" if isinstance(error, LeftAlone) else str(error))

    def unseen(self, path: str) -> str:
        """Why nothing was read at ``path``: it is unreadable, or gone."""
        return "unreadable" if exists(self.absolute(path)) else "gone"

    def bytes_of(self, path: str, most: int = LARGEST) -> bytes:
        """The bytes at ``path``, which is never reached through a symlink; OSError for more than ``most``."""
        self.check_folder(path.rpartition("/")[0])
        if self.view and places.is_place(path):
            return self.view.bytes_of(path)
        return read_bytes(self.absolute(path), most)

    def remembered(self, path: str) -> dict[str, Any] | None:
        """The JSON object at a ``path`` in the cache, or None: whoever wrote it may write it again at any time."""
        try:
            found = json.loads(self.bytes_of(path, REMEMBERED))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def put_ephemeral(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``, which no record names; its folder is made where it is missing."""
        folder = path.rpartition("/")[0]
        self.check_folder(folder)
        target = self.absolute(path)
        self.placing(target, lambda: self.disk.replace(target, data))

    def placing(self, target: str, make: Callable[[], None]) -> None:
        """Do ``make``, which makes the absolute path ``target``; its folder may be missing, or be taken away meanwhile."""
        for _ in range(TRIES):
            try:
                return make()
            except FileNotFoundError:
                self.disk.folders(os.path.dirname(target))
                self.remade += 1
        make()

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
        if self.view and path in self.view.leases:
            doc = self.view.leases[path]
            return Lease.of(doc) if doc else None
        try:
            return Lease.of(documents.decode("lease", self.bytes_of(path)))
        except (OSError, Unfit):
            return None

    # -- with the lock -------------------------------------------------------------------------------------------

    def load(self, path: str) -> Document | None:
        """The document at ``path`` for a decision; `Damage` if it is unfit, `LeftAlone` where it is to stay as it is."""
        absolute = self.absolute(path)
        self.looked += FILE
        try:
            info = os.stat(absolute, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(absolute, error, "; nothing happened") from None
        self.looked += info.st_size
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
            raise unreadable(absolute, error, "; nothing happened") from None
        if path.endswith(".json") and self.host.wall() - info.st_mtime > (TICK if info.st_mtime_ns % 1000 else COARSE):
            if len(self._cache) > 4096:
                self._cache.clear()
            self._cache[path] = (state, doc)
            return dict(doc)
        return doc

    def stands(self, path: str) -> bool:
        """Whether a document is at ``path``, whatever is in it."""
        return exists(self.absolute(path))

    def load_status(self, task_id: str) -> str:
        """The status of a task for a decision, "" if there is none; not parsed where its line shows it."""
        path = places.task(task_id)
        try:
            found = documents.status_in(self.bytes_of(path), task_id)
        except (MboxError, OSError):
            found = ""
        if found:
            self.looked += FILE
            return found
        return str((self.load(path) or {}).get("status", ""))

    def write_lease(self, path: str, lease: Lease) -> None:
        places.lease_kind(path)
        self.put_ephemeral(path, documents.encode("lease", lease.doc()))


def print_of(info: os.stat_result) -> str:
    """By what a file is known again: its inode, size and time."""
    return f"{info.st_ino} {info.st_size} {info.st_mtime_ns}"


def unreadable(absolute: str, error: OSError, more: str = "") -> StoreError:
    """What to raise for a document that cannot be read: `LeftAlone` where that is for this one alone.

    ``more`` is said where it is for all of them.
    """
    if error.errno == errno.EISDIR:
        return LeftAlone(f"{absolute} is a folder where a document should be; move it away")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
        return LeftAlone(f"{absolute}: {failure(error)}")
    return StoreError(f"{absolute}: {failure(error)}{more}")


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
    for run in folders_in(files, places.RUNS):
        folders += [places.run_folder(run), places.step_folder(run)] if places.is_name(run) else []
    for folder in folders:
        if is_folder(files.absolute(folder)):
            for name in files.names(folder):
                if places.is_place(f"{folder}/{name}") and not is_folder(files.absolute(f"{folder}/{name}")):
                    yield f"{folder}/{name}"


# -- publishing: bringing the files to what one record says -----------------------------------------------------------
#
# Doing it twice changes nothing; a document is written beside its place and renamed.  The order is that of the store's
# commit: documents, moves, deletions, leases.  A record's places were checked before (`places.check_record`).


def check_documents(record: Record) -> None:
    """Raise `Unfit` if a document or lease in ``record`` is not what its place holds."""
    for doc, paths in record["put"]:
        for path in paths:
            documents.check_at(places.kind(path), doc)
    for _path, lease in record["lease"]:
        if lease is not None:
            documents.check("lease", lease)


def publish(files: Files, record: Record) -> None:
    """Bring the files to what ``record`` says; doing it twice changes nothing."""
    for doc, paths in record["put"]:
        for path in paths:
            write(files, path, doc)
    publish_rest(files, record)


def write(files: Files, path: str, doc: Any) -> bool:
    """Put ``doc`` at ``path`` if it is not there already; whether it was written."""
    kind = places.kind(path)
    data = documents.encode(kind, documents.ordered(kind, doc) if isinstance(doc, dict) else doc)
    try:
        if files.bytes_of(path) == data:
            return False
    except OSError:
        pass
    target = files.absolute(path)

    def make() -> None:
        unlink(files, temporary(path))
        files.disk.create(temporary(target), data)
        files.disk.rename(temporary(target), target)

    files.placing(target, make)
    return True


def publish_rest(files: Files, record: Record) -> None:
    """The steps of publishing after the documents: moves, deletions, leases."""
    for source, target in record["mv"]:
        _move(files, source, target)
    for path in record["del"]:
        remove(files, path)
    for path, lease in record["lease"]:
        if lease is None:
            places.lease_kind(path)
            files.check_folder(path.rpartition("/")[0])
            unlink(files, path)
        else:
            files.write_lease(path, Lease.of(documents.check("lease", lease)))


def _move(files: Files, source: str, target: str) -> None:
    for path in (source, target):
        places.kind(path)
        files.check_folder(path.rpartition("/")[0])
    there, at = files.absolute(source), files.absolute(target)

    def make() -> None:
        if exists(there):
            files.disk.rename(there, at)
        elif not exists(at):
            files.say(f"{there} and {target} are both gone, though the journal moves one to the other")

    files.placing(at, make)


def remove(files: Files, path: str) -> None:
    """Remove the document at ``path`` if it is there."""
    places.kind(path)
    files.check_folder(path.rpartition("/")[0])
    unlink(files, path)


def unlink(files: Files, path: str) -> None:
    """Remove whatever file is at ``path``; not even a folder has to be there."""
    try:
        files.disk.unlink(files.absolute(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTDIR:
            raise
