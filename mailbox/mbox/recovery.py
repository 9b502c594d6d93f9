"""Recovery: bringing the files to what the journal says, and the index to what the files say.

Promised: after `recover` returns, every document is what the journal's last record of it says, or the command has
ended with exit 6 and a line that names what happened.  Not promised: anything about files the journal never named;
`doctor` is for those.

- *A process died* (this machine, this lock file, a mark): the journal ends behind the mark by what was committed and
  not yet published, at most a new segment's header and one record.  The journal is synced first, so that nothing is
  published that a power cut could take back; then each record is published again, which is idempotent.
- *The machine died* (another boot id), or the lock file is another one, or there is no mark: every record since the
  last checkpoint is folded to the last state of each path and written where it differs.  A power cut leaves recent
  documents at length zero and may leave a hole in the journal's last page, so here a bad line ends the journal.
- *The journal is shorter than the mark*: something took the store back in time.  Exit 6; nothing is touched.
- *A mark of another machine that is younger than this machine's boot*: two kernels share the folder.  Exit 6.

A document that cannot be read is restored from the journal where the journal has it, else moved into the dead letters
with the reason (`mend`); what a person had written into it is kept there too.  (``store.md``, Recovery.)
"""

from __future__ import annotations

import errno
import os
import stat
from binascii import crc32
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from . import documents, places
from .disk import temporary
from .documents import Document, Unfit
from .errors import Corrupt, StoreError, WentBack
from .host import seconds, stamp
from .index import Damaged
from .journal import LAST, WINDOW, BadLine, Journal, Record, Tail, Unsound, decode, sound
from .lease import Lease
from .mark import Mark
from .transaction import SWEEP, Transaction

if TYPE_CHECKING:
    from .store import Store

FRESH = 60.0
"""Seconds for which a mark of another machine counts as that of a living one."""

CATCH_UP = 50_000
"""Numbers by which an index may be behind before building it anew is cheaper."""

KEY_AGE = 60 * 86400.0
"""Segments not written for this long are not read for idempotency keys (kept at least 30 days)."""


class Damage(Exception):
    """A document under a decision is unfit; the store mends it and decides again."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail


# -- finding out what happened -----------------------------------------------------------------------------------


def recover(store: Store) -> Mark:
    """Called with the lock just taken: bring the files to the journal's end; the mark that is then true."""
    mark = store.lock.mark_taken()
    if mark and mark.machine == store.host.machine and mark.inode == store.lock.inode:
        size = store.journal.size(mark.tail.segment)
        if size < mark.tail.offset:
            raise _went_back(store, mark, size)
        if size == mark.tail.offset and store.journal.is_last(mark.tail.segment):
            store.check_writer(mark.tail.segment)
            return mark
        return _redo(store, mark)
    if mark and mark.machine != store.host.machine:
        _refuse_two_kernels(store, mark)
    return _replay(store, mark)


def _went_back(store: Store, mark: Mark, size: int) -> WentBack:
    path = store.journal.path(mark.tail.segment)
    what = "is gone" if size < 0 else f"has {size} bytes where {mark.tail.offset} were written"
    return WentBack(
        f"{path} {what}: git checkout, clean or stash, or a restored copy, took the store back in time; "
        "undo that, or run `mbox audit restore` in an emptied store"
    )


def _none_left(journal: Journal) -> WentBack:
    return WentBack(
        f"{journal.folder}: no journal segment is left (git clean, checkout or stash?); "
        "`mbox audit restore` brings the store back"
    )


def _refuse_two_kernels(store: Store, mark: Mark) -> None:
    age = store.host.wall() - mark.wall
    if mark.wall > store.host.booted_at() + 5 and age < FRESH:
        raise StoreError(
            f"{store.root}: this folder is shared by two kernels; the lock does not reach "
            f"(another machine wrote {max(age, 0):.0f} s ago)"
        )


def scan_end(journal: Journal, strict: bool = True) -> Tail:
    """Where the journal ends, read from its last segment: behind the last whole line."""
    segments = journal.segments()
    if not segments:
        raise _none_left(journal)
    tail = Tail(0, segments[-1], 0)
    try:
        for place, _ in journal.records(tail):
            tail = place
    except Corrupt:
        if strict:
            raise
    return tail


# -- a process died ------------------------------------------------------------------------------------------------


def _redo(store: Store, mark: Mark) -> Mark:
    """Publish what stands in the journal after the mark, cut a torn tail, write the mark."""
    store._mark, tail = mark, mark.tail
    store.check_writer(tail.segment)
    store.journal.sync(tail.segment)
    for place, record in store.journal.records(mark.tail):
        if place.segment != tail.segment:
            store.check_writer(place.segment)
        at = tail.offset if place.segment == tail.segment else 0
        if place.seq <= tail.seq:
            raise store.journal.corrupt(place.segment, at, f"number {place.seq} does not follow {tail.seq}")
        with _at(store.journal, place.segment, at):
            check_places(record)
            check_documents(record)
        publish(store, record)
        tail = place
    _cut(store, tail)
    store.tail = tail
    store.forget_ahead()
    store.write_mark(tail, True)
    return store._mark


@contextmanager
def _at(journal: Journal, segment: int, offset: int) -> Iterator[None]:
    """Say of an error in what a record holds where in the journal it stands."""
    try:
        yield
    except (Unfit, Corrupt) as error:
        raise journal.corrupt(segment, offset, str(error)) from None


def check_places(record: Record) -> None:
    """Raise `Corrupt` if ``record`` names a path that is no place of the layout: before anything of it is done."""
    for _doc, paths in record["put"]:
        for path in paths:
            places.kind(path)
    for pair in record["mv"]:
        for path in pair:
            places.kind(path)
    for path in record["del"]:
        places.kind(path)
    for path, _lease in record["lease"]:
        places.lease_kind(path)


def check_documents(record: Record) -> None:
    """Raise `Unfit` if a document or lease in ``record`` is not what its place holds."""
    for doc, paths in record["put"]:
        for path in paths:
            documents.check_at(places.kind(path), doc)
    for _path, lease in record["lease"]:
        if lease is not None:
            documents.check("lease", lease)


def _cut(store: Store, tail: Tail) -> None:
    """Cut what stands behind the last whole record: torn bytes, or a segment whose header was never finished."""
    if store.journal.size(tail.segment + 2) >= 0:
        raise store.journal.corrupt(tail.segment + 1, 0, "it holds no record and is not the last segment")
    if store.journal.size(tail.segment) > tail.offset:
        store.journal.cut(tail.segment, tail.offset)
    if store.journal.size(tail.segment + 1) >= 0:
        store.disk.unlink(store.journal.path(tail.segment + 1))


def publish(store: Store, record: Record) -> None:
    """Bring the files to what ``record`` says; doing it twice changes nothing."""
    for doc, paths in record["put"]:
        for path in paths:
            write(store, path, doc)
    publish_rest(store, record)


def write(store: Store, path: str, doc: Any) -> bool:
    """Put ``doc`` at ``path`` if it is not there already; whether it was written."""
    kind = places.kind(path)
    data = documents.encode(kind, documents.ordered(kind, doc) if isinstance(doc, dict) else doc)
    try:
        if store.bytes_of(path) == data:
            return False
    except OSError:
        pass
    target = store.absolute(path)
    store.disk.folders(os.path.dirname(target))
    _unlink(store, temporary(path))
    store.disk.create(temporary(target), data)
    store.disk.rename(temporary(target), target)
    return True


def publish_rest(store: Store, record: Record) -> None:
    """The steps of publishing after the documents: moves, deletions, leases."""
    for source, target in record["mv"]:
        _move(store, source, target)
    for path in record["del"]:
        remove(store, path)
    for path, lease in record["lease"]:
        if lease is None:
            places.lease_kind(path)
            store.check_folder(path.rpartition("/")[0])
            _unlink(store, path)
        else:
            store.write_lease(path, Lease.of(documents.check("lease", lease)))


def _move(store: Store, source: str, target: str) -> None:
    for path in (source, target):
        places.kind(path)
        store.check_folder(path.rpartition("/")[0])
    store.disk.folders(os.path.dirname(store.absolute(target)))
    try:
        store.disk.rename(store.absolute(source), store.absolute(target))
    except FileNotFoundError:
        if not os.path.lexists(store.absolute(target)):
            store.say(f"{store.absolute(source)} and {target} are both gone, though the journal moves one to the other")


def remove(store: Store, path: str) -> None:
    """Remove the document at ``path`` if it is there."""
    places.kind(path)
    store.check_folder(path.rpartition("/")[0])
    _unlink(store, path)


def _unlink(store: Store, path: str) -> None:
    try:
        store.disk.unlink(store.absolute(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTDIR:
            raise


# -- the machine died ----------------------------------------------------------------------------------------------


class Fold:
    """The last state of each path that the journal names: where its document stands in the journal, or that it is gone.

    Only places are kept, so that a journal of any length folds in little memory.
    """

    def __init__(self) -> None:
        self.states: dict[str, tuple[int, int, int] | None] = {}
        self.leases: dict[str, Document | None] = {}
        self.granted: dict[str, tuple[int, int]] = {}
        self.records = 0
        self.seq = 0

    def take(self, segment: int, offset: int, record: Record) -> None:
        """Take in the record at ``offset`` of ``segment``; `Corrupt` if it names a path that is no place."""
        if record["mv"] or record["del"] or record["lease"]:
            check_places(record)
        if not self.seq < record["seq"] < LAST:
            raise Corrupt(f"number {record['seq']} does not follow {self.seq}")
        self.records += 1
        self.seq = record["seq"]
        for n, (_doc, paths) in enumerate(record["put"]):
            for path in paths:
                if path not in self.states:
                    places.kind(path)
                self.states[path] = (segment, offset, n)
        for source, target in record["mv"]:
            if source in self.states:
                self.states[target] = self.states[source]
            self.states[source] = None
        for path in record["del"]:
            self.states[path] = None
        for path, lease in record["lease"]:
            self.leases[path], self.granted[path] = lease, (segment, offset)

    def extend(self, journal: Journal, start: Tail, end: Tail) -> None:
        """Take in the records between two places."""
        at = start
        for place, record in journal.records(start, end):
            self.take(place.segment, at.offset if place.segment == at.segment else 0, record)
            at = place

    def document(self, journal: Journal, path: str) -> Any:
        """The document that stands at ``path``; None if the journal does not know it, or that it is gone."""
        place = self.states.get(path)
        if place is None:
            return None
        segment, offset, n = place
        return record_at(journal, segment, offset)["put"][n][0]

    def documents(self, journal: Journal) -> Iterator[tuple[str, Any]]:
        """``(path, document)`` of what stands, read from the journal in its order."""
        live = sorted((place, path) for path, place in self.states.items() if place is not None)
        for segment, found in groupby(live, key=lambda one: one[0][0]):
            at, record = -1, {}
            with journal.opened(segment) as file:
                for (_, offset, n), path in found:
                    if at != offset:
                        file.seek(offset)
                        record, at = journal.decoded(segment, offset, file.readline()), offset
                    yield path, record["put"][n][0]

    def gone(self) -> list[str]:
        return [path for path, place in self.states.items() if place is None]


def record_at(journal: Journal, segment: int, offset: int) -> Record:
    """The record that starts at ``offset`` of ``segment``."""
    for _, line in journal.lines(segment, offset):
        return journal.decoded(segment, offset, line)
    raise Corrupt(f"{journal.path(segment)} has nothing at byte {offset}")


def fold(journal: Journal, first: int, end: Tail | None = None, replay: bool = False) -> tuple[Fold, Tail]:
    """Fold every record from segment ``first`` on; in a ``replay`` a bad line in the last segment ends the journal.

    Otherwise only what is folded is looked at in a record: this reads whole journals.
    """
    folded = Fold()
    last = end.segment if end else max(journal.segments(), default=first)
    tail = Tail(0, first, 0)
    for segment in range(first, last + 1):
        stop = end.offset if end and segment == end.segment else None
        for offset, line in journal.lines(segment, 0, stop):
            if not line.endswith(b"\n"):
                if segment == last:
                    break
                raise journal.corrupt(segment, offset, "it ends in the middle of a line")
            try:
                record = sound(decode(line)) if replay else decode(line)
                folded.take(segment, offset, record)
            except (BadLine, Corrupt, LookupError, TypeError, ValueError, AttributeError) as error:
                if replay and segment == last and isinstance(error, BadLine) and not isinstance(error, Unsound):
                    return folded, tail
                raise journal.corrupt(segment, offset, f"not a record: {error}") from None
            tail = Tail(record["seq"], segment, offset + len(line))
    return folded, tail


def _replay(store: Store, mark: Mark | None) -> Mark:
    """Replay the journal since the last checkpoint, as after a power cut."""
    journal = store.journal
    segments = journal.segments()
    if not segments:
        raise _went_back(store, mark, -1) if mark else _none_left(journal)
    same_file = mark is not None and mark.inode == store.lock.inode
    unsynced = mark is not None and mark.synced_seq < mark.tail.seq
    if mark and same_file and not unsynced and store.settings.durability == "full":
        size = journal.size(mark.tail.segment)
        if size < mark.tail.offset:
            raise _went_back(store, mark, size)
    first = _last_checkpoint(journal, segments)
    folded, tail = fold(journal, first, replay=True)
    if not folded.records:
        raise Corrupt(f"{journal.path(first)} holds no record; `mbox init` begins the journal if none was ever there")
    header = store.check_writer(tail.segment)
    store.drop_index()
    _cut_after(store, tail)
    journal.sync(tail.segment)
    store.tail = tail
    store._mark = Mark(tail, store.host.machine, store.lock.inode, header["store"], store.host.wall(), 0.0, tail.seq, first)
    copied = mark is not None and mark.store == header["store"] and not same_file
    dropped = bool(copied and mark and mark.machine == store.host.machine)
    if dropped:
        _drop_leases(store)
    _write_fold(store, folded, leases=not dropped)
    if store.settings.durability == "fast" or unsynced:
        _set_aside(store, folded, journal.header(first)["ts"])
    else:
        store.write_mark(tail, False)
    return store._mark


def _cut_after(store: Store, tail: Tail) -> None:
    """Cut what follows the last good record; whole lines among it are kept beside the journal, for people."""
    for segment in [number for number in store.journal.segments() if number > tail.segment]:
        _keep_cut(store, segment, 0)
        store.disk.unlink(store.journal.path(segment))
    _keep_cut(store, tail.segment, tail.offset)
    _cut(store, tail)


def _keep_cut(store: Store, segment: int, offset: int) -> None:
    path = store.journal.path(segment)
    with store.journal.opened(segment) as file:
        file.seek(offset)
        data = file.read()
    if b',"crc":"' not in data:
        return  # torn bytes, a hole: nothing that a person could want
    kept = f"{path[: -len('.jsonl')]}.cut-{crc32(data):08x}"
    store.disk.discard(kept)
    store.disk.create(kept, data)
    store.say(f"{path} is damaged at byte {offset}; {len(data)} bytes from there on were cut off and kept as {kept}")


def _last_checkpoint(journal: Journal, segments: list[int]) -> int:
    """The segment at whose start a replay begins: named by the newest checkpoint record, else the first one."""
    for segment in reversed(segments):
        found = 0
        for _, line in journal.lines(segment):
            if b'"op":"store.checkpoint"' in line:
                found = max(found, _checkpointed(line))
        if found in segments:
            return found
    return segments[0]


def _checkpointed(line: bytes) -> int:
    """The segment that a checkpoint record names; 0 for another record in whose document those words stand."""
    try:
        record = decode(line)
        return int(record["on"][0]) if record["op"] == "store.checkpoint" else 0
    except (ValueError, LookupError):
        return 0


def _write_fold(store: Store, folded: Fold, leases: bool = True) -> None:
    """Bring the files to the folded state, and with ``leases`` those too that were granted and are not there."""
    for path, doc in folded.documents(store.journal):
        segment, offset, _ = folded.states[path] or (0, 0, 0)
        with _at(store.journal, segment, offset):
            documents.check_at(places.kind(path), doc)
        write(store, path, doc)
    for path in folded.gone():
        remove(store, path)
    for path, lease in folded.leases.items():
        if lease is None:
            store.check_folder(path.rpartition("/")[0])
            _unlink(store, path)
            continue
        if not leases:
            continue
        with _at(store.journal, *folded.granted[path]):
            granted = Lease.of(documents.check("lease", lease))
        there = store.load_lease(path)
        if there is None or there.token != granted.token:
            store.write_lease(path, granted)


def _drop_leases(store: Store) -> None:
    """A copied store: what was leased is leased in the original, and nobody here is alive."""
    for folder in (places.LEASES, places.TASK_LEASES, places.HEARTBEATS):
        for name in store.names(folder):
            store.disk.discard(store.absolute(f"{folder}/{name}"))
    store.say(f"{store.root}: this store is a copy; its leases and heartbeats were dropped")


def _below(store: Store, folder: str) -> list[str]:
    """The folders in ``folder``, whatever else a person has put there."""
    names = sorted(store.names(folder))
    return [name for name in names if is_folder(store.absolute(f"{folder}/{name}"))]


def is_folder(path: str) -> bool:
    """Whether a folder, and no symlink to one, stands at ``path``."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def every_document(store: Store) -> Iterator[str]:
    """The path of every file that stands where a document can stand."""
    folders = [places.AGENTS, places.RESERVATIONS, places.DEADLETTER, places.TASKS, places.NOTES, ".mailbox/team"]
    for agent in _below(store, places.INBOX):
        folders += [f"{places.INBOX}/{agent}/new", f"{places.INBOX}/{agent}/cur"]
    for agent in _below(store, places.OUTBOX):
        folders.append(f"{places.OUTBOX}/{agent}")
    for agent in _below(store, places.ARCHIVE):
        folders += [f"{places.ARCHIVE}/{agent}/{month}" for month in _below(store, f"{places.ARCHIVE}/{agent}")]
    for folder in folders:
        if is_folder(store.absolute(folder)):
            for name in store.names(folder):
                if places.is_place(f"{folder}/{name}") and not is_folder(store.absolute(f"{folder}/{name}")):
                    yield f"{folder}/{name}"


def _set_aside(store: Store, folded: Fold, since: str) -> None:
    """In ``fast``: what the machine's death took from the journal is set aside, and numbering goes on far above it.

    Documents whose records are lost are those numbered above the journal, and those written since the checkpoint that
    no record since names; the latter go back to the journal's older state where it has one.
    """
    odd = _unknown(store, folded, seconds(since) - 1)
    if odd:
        older, _ = fold(store.journal, store.journal.segments()[0], store.tail)
        for path, doc in older.documents(store.journal):
            if path in odd and documents.encode(places.kind(path), doc) == odd[path]:
                del odd[path]
    tx = Transaction(store, SWEEP)
    tx.seq = max([store.tail.seq, *(places.number(places.ident(path)) for path in odd)]) + WINDOW
    for path, data in odd.items():
        if data:
            envelop(tx, path, "lost record", "written in `fast` shortly before the machine died", data)
        known = older.document(store.journal, path)
        if known is None:
            tx.delete(path)
        else:
            tx.put(known, path)
    why = f"the machine died in durability fast; numbers go on {WINDOW} above the highest that was found"
    tx.record("store.aside", sorted({places.ident(path) for path in odd}), why)
    tx.take()
    # Not before this record does a mark say that the machine's death is dealt with; so no new segment now.
    store.commit(tx, roll=False)


def _unknown(store: Store, folded: Fold, oldest: float) -> dict[str, bytes]:
    """What stands in files that no record since the checkpoint names, written since then or numbered above it."""
    found = {}
    for path in every_document(store):
        if path not in folded.states:
            above = places.number(places.ident(path)) > store.tail.seq
            if above or os.lstat(store.absolute(path)).st_mtime >= oldest:
                try:
                    found[path] = store.bytes_of(path)
                except OSError:
                    found[path] = b""
    return found


# -- damaged documents ---------------------------------------------------------------------------------------------


def last_state(journal: Journal, path: str, end: Tail) -> tuple[bool, Any]:
    """Whether the journal names ``path``, and the last document there (None if it was deleted or moved away)."""
    needle = documents.compact(path).encode()
    for segment, offset, line in journal.backwards(end):
        if needle not in line:
            continue
        record = journal.decoded(segment, offset, line)
        if path in record["del"] or any(path == source for source, _ in record["mv"]):
            return True, None
        for doc, paths in record["put"]:
            if path in paths:
                return True, doc
        for source, target in record["mv"]:
            if target == path:
                return last_state(journal, source, Tail(record["seq"], segment, offset))
    return False, None


def envelop(tx: Transaction, path: str, reason: str, detail: str, data: bytes) -> None:
    """Put what stood at ``path`` into the dead letters."""
    text = data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    envelope = documents.new(
        "deadletter", reason=reason, detail=detail, from_path=path, first_at=tx.now, original=text
    )
    tx.put(envelope, places.deadletter(f"d{tx.take()}"))


def mend(store: Store, damage: Damage, warnings: list[str]) -> None:
    """Restore a damaged document from the journal, or quarantine it; one record says which."""
    path = damage.path
    named, doc = last_state(store.journal, path, store.tail)
    tx = Transaction(store, SWEEP)
    try:
        original = store.bytes_of(path)
    except OSError:
        original = b""
    if original or doc is None:
        envelop(tx, path, "damaged document", damage.detail, original)
    if named and doc is not None:
        tx.put(doc, path)
        done = "restored from the journal"
    else:
        tx.delete(path)
        done = "moved to the dead letters"
    tx.record("store.quarantine", [places.ident(path)], f"{damage.detail}; {done}")
    store.commit(tx)
    warnings.append(f"{store.absolute(path)}: {damage.detail}; {done}" + (" (your text is in the dead letters)"
                    if original and doc is not None else ""))  # fmt: skip


# -- the index -----------------------------------------------------------------------------------------------------


def bring_index(store: Store) -> None:
    """Open the index and catch it up to the journal's end, or build it anew."""
    import sqlite3

    assert store._mark is not None
    index, tail = store.index, store.tail
    opened = index.refresh() if index.seq >= 0 else index.open(store._mark.store, store.host.machine)
    if opened and (index.seq == tail.seq or index.take_noted(tail.seq)):
        return
    if opened and tail.seq - CATCH_UP < index.seq < tail.seq:
        start = store.journal.find(index.seq, tail)
        index.apply(record for _, record in store.journal.records(start, tail) if record["seq"] > index.seq)
        return
    store.drop_index()
    try:
        store.disk.folders(os.path.dirname(index.path))
        index.create(store._mark.store, store.host.machine)
        index.fill(_indexed(store), _lease_files(store), _keyed(store), tail.seq)
    except (sqlite3.Error, Damaged, OSError) as error:
        store.drop_index()
        raise StoreError(f"{index.path}: the index could not be built: {error}; nothing happened") from error


def _indexed(store: Store) -> Iterator[tuple[str, Document]]:
    """The documents that the index is made of, loosely read: what it says is checked against them later."""
    for folder in (places.TASKS, places.RESERVATIONS):
        for name in store.names(folder):
            path = f"{folder}/{name}"
            if not name.endswith(".json"):
                continue
            try:
                yield path, documents.decode(places.kind(path), store.bytes_of(path))
            except (OSError, ValueError, StoreError):
                continue
    for agent in _below(store, places.INBOX):
        if not places.is_name(agent):
            continue
        for folder in (places.new_folder(agent), places.cur_folder(agent)):
            for name in store.names(folder):
                path = f"{folder}/{name}"
                if not places.is_place(path):
                    continue
                try:
                    data = store.bytes_of(path) if folder.endswith("/new") else b""
                except OSError:
                    continue
                yield path, {"priority": priority(data), "expires_at": _expiry(data)}


def priority(data: bytes) -> int:
    """The priority in a message's bytes, found by its line: parsing 100,000 bodies would take seconds."""
    at = data.find(b'\n  "priority": ')
    digit = data[at + 15 : at + 16]
    return int(digit) if at >= 0 and digit.isdigit() else 5


def _expiry(data: bytes) -> str | None:
    """Likewise the time at which it expires."""
    at = data.rfind(b'\n  "expires_at": "')
    text = data[at + 18 : at + 45].decode("ascii", "replace") if at >= 0 else None
    return text if documents.is_time(text) else None


def _lease_files(store: Store) -> Iterator[tuple[str, Document]]:
    for folder in (places.TASK_LEASES, places.LEASES):
        for name in store.names(folder):
            path = f"{folder}/{name}"
            try:
                lease = store.load_lease(path)
            except Corrupt:
                continue
            if lease:
                yield path, lease.doc()


def _keyed(store: Store) -> Iterable[Record]:
    """The records from segments young enough that carry keys or what holders of tasks did, and what was sent lately."""
    wanted = (b'"key":["', b'"op":"task.')
    lately = stamp(store.host.wall() - 120).encode()
    oldest = store.host.wall() - KEY_AGE
    for segment in store.journal.segments():
        if segment != store.tail.segment and os.stat(store.journal.path(segment)).st_mtime < oldest:
            continue
        stop = store.tail.offset if segment == store.tail.segment else None
        for offset, line in store.journal.lines(segment, 0, stop):
            at = line.find(b',"ts":"') + 7
            if line[at : at + 27] >= lately or any(word in line for word in wanted):
                yield store.journal.decoded(segment, offset, line)
