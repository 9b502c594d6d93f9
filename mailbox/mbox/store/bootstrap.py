"""What a store is begun with: its folders, what git is to ignore in them, the first segment, what stands there already.

Promised: each step is done whole or not at all and may be repeated; the journal comes last, and until it stands no
command uses the store.  Two at once make one journal: whoever has the lock begins it, the other finds it begun.  Where a
step fails, or is interrupted, what was made is removed again (`Undo`): what stood there before stays as it was.  Only
a death in the middle leaves folders, ``config.yaml`` and the lock, without a journal; the next `mbox init` goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from mbox.config.settings import Config
from mbox.errors import MboxError, Refused, Usage
from mbox.format import documents, operations, places
from mbox.journal.record import Tail, encode
from mbox.journal.segments import WINDOW, Journal
from mbox.system import filesystem
from mbox.system.disk import Disk, exists, is_link

from . import stamps
from .files import Damage, Files, every_document, is_folder
from .lock import held_back
from .state import State, check_filesystem
from .transaction import Transaction


class Undo:
    """Around making a store in ``folder``: when that fails, nothing of it is left.

    What is there afterwards and was not before is removed, unless by then somebody else's journal stands there: then it
    is theirs.  Not promised: anything to a second `init` that is not so far yet; it fails, and may be repeated.
    """

    def __init__(self, folder: str, disk: Disk) -> None:
        self.begun = False
        """Whether the journal that stands was begun here."""
        self._folder = folder
        self._disk = disk
        self._steps: list[Callable[[], None]] = []
        self._before = set(self._standing())

    def then(self, step: Callable[[], None]) -> None:
        """What more is to be done to take it all back."""
        self._steps.append(step)

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None or not self._is_mine():
            return
        for step in self._steps:
            try:
                step()
            except OSError:
                pass  # it was refused before; what failed first is what is said
        for path in self._standing():
            if path not in self._before:
                self._disk.discard(path)
                self._disk.remove_empty(path)

    def _is_mine(self) -> bool:
        """Whether no journal stands here but one that was begun here and holds nothing yet."""
        journal = Journal(f"{self._folder}/{places.LOGS}", self._disk)
        try:
            held = sum(1 for _ in journal.records(Tail(0, 1, 0))) if journal.is_begun() else 0
        except (MboxError, OSError):
            return f"{self._folder}/{places.LOGS}" in self._before  # it could not be read before either
        return held <= (1 if self.begun else 0)

    def _standing(self) -> Iterator[str]:
        """Every path of the two folders, what is in a folder before the folder."""
        for top in (places.MAILBOX, places.TASKS):
            at = f"{self._folder}/{top}"
            if not is_folder(at):
                continue
            for folder, folders, names in os.walk(at, topdown=False):
                yield from (f"{folder}/{name}" for name in names)
                yield from (f"{folder}/{name}" for name in folders)
            yield at


def make_folders(folder: str, disk: Disk) -> None:
    """Every folder of the format that is to be there; `Refused`, before any is made, where something else stands."""
    paths = [f"{folder}/{path}" for path in (places.MAILBOX, *places.FOLDERS)]
    for path in paths:
        if is_link(path):
            raise Refused(f"{path} is a symlink; the store is never followed out of its root")
        if exists(path) and not is_folder(path):
            raise Refused(f"{path} is no folder, and one belongs there: move it away")
    for path in paths:
        disk.folders(path)


def check_place(folder: str, config: Config) -> None:
    """Refuse a place where a rename could not be one step, or the lock could not reach everybody."""
    if not filesystem.same_filesystem(f"{folder}/{places.MAILBOX}", f"{folder}/{places.TASKS}"):
        raise Usage(f"{folder}: .tasks is on another file system than .mailbox; a rename could not be one step")
    check_filesystem(folder, config)


def write_ignores(folder: str, disk: Disk) -> None:
    """Name what is ephemeral in ``.gitignore``, unless a person has one there."""
    path = f"{folder}/{places.MAILBOX}/.gitignore"
    lines = ["# ephemeral: safe to lose, never in git", *(f"/{name}" for name in places.EPHEMERAL), ".tmp-*"]
    if not os.path.lexists(path):
        disk.replace(path, ("\n".join(lines) + "\n").encode())


def begin_journal(store: State, undo: Undo) -> None:
    """Begin the journal of a ``store`` that has none, in its first segment; nothing if another process was first."""
    store.lock.open(create=True)
    store.lock.take(store.config.lock_wait)
    store.lock.tell_holder()
    with held_back():
        try:
            if store.journal.is_begun():
                return
            undo.begun = True
            store.lock.drop_mark()
            header = store.segment_header(1, 1, os.urandom(8).hex())
            store.journal.begin(1, header["seq"], encode(header))
            stamps.stamp(store, stamps.KEPT + stamps.AT_REST, store.whose)
        finally:
            store.lock.give_up()


def adopt(tx: Transaction) -> int:
    """Take documents that stand there without a journal into it, in its first record; how many."""
    if tx.store.tail.seq > 1:
        return 0  # another `mbox init` was first
    tx.unbounded()
    adopted: list[str] = []
    unfit: list[str] = []
    every = list(every_document(tx.store))
    highest = WINDOW + max((number(tx.store, path) for path in every), default=0)
    tx.seq = max(tx.seq, highest if every else 0)
    for path in every:
        try:
            doc = Files.load(tx.store, path)
        except documents.Newer as error:
            tx.warn(f"left as it is: {error}")
            continue
        except Damage as damage:
            _quarantine(tx, path, damage.detail)
            unfit.append(path)
            continue
        if doc:
            tx.put(doc, path)
            adopted.append(path)
    if adopted or unfit:
        tx.seq = max(tx.seq, highest)
        tx.record(operations.STORE_ADOPT, sorted({places.ident(path) for path in adopted + unfit}), "found without a journal")
    return len(adopted)


def number(store: State, path: str) -> int:
    """The highest number that the document at ``path`` shows (`places.shown`), as far as it can be read."""
    try:
        doc = store.read(path)
    except MboxError:
        doc = None
    return places.shown(path, doc)


def _quarantine(tx: Transaction, path: str, detail: str) -> None:
    """Move what is no document, and is in no journal, to the dead letters."""
    from .quarantine import envelop

    try:
        data = tx.store.bytes_of(path)
    except OSError:
        data = b""
    envelop(tx, path, "damaged document", detail, data)
    tx.delete(path)
    tx.warn(f"{tx.store.absolute(path)}: {detail}; moved to the dead letters")
