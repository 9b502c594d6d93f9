"""Replay: what is done once the machine has died, the lock file is another one, or there is no mark.

Every record since the last checkpoint is folded to the last state of each path (`fold`) and written where it differs.
A power cut leaves recent documents at length zero and may leave a hole in the journal's last page, so here a bad line
ends the journal; whole lines that are cut off are kept beside it.  In ``fast`` a record may be lost while its documents
are there: they are set aside, and numbering goes on far above whatever was found, so that no number is given twice.
A copy of a store drops the leases, for nobody there is alive.
"""

from __future__ import annotations

import os
from binascii import crc32
from typing import TYPE_CHECKING

from mbox.format import documents
from mbox.format import places
from mbox.errors import Corrupt
from mbox.store.files import every_document
from mbox.journal.projection import Fold, fold
from mbox.system.host import seconds
from mbox.journal.segments import WINDOW, Journal, Tail, decode
from mbox.format.lease import Lease
from mbox.store.mark import Mark
from mbox.store.quarantine import envelop
from mbox.publishing import remove, unlink, write
from mbox.store.recovery import at_place, cut, none_left, went_back
from mbox.store.transaction import SWEEP, Transaction

if TYPE_CHECKING:
    from mbox.store.store import Store


def replay(store: Store, mark: Mark | None) -> Mark:
    """Replay the journal since the last checkpoint, as after a power cut."""
    journal = store.journal
    segments = journal.segments()
    if not segments:
        raise went_back(store, mark, -1) if mark else none_left(journal)
    same_file = mark is not None and mark.inode == store.lock.inode
    unsynced = mark is not None and mark.synced_seq < mark.tail.seq
    if mark and same_file and not unsynced and store.settings.durability == "full":
        size = journal.size(mark.tail.segment)
        if size < mark.tail.offset:
            raise went_back(store, mark, size)
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
        keep_cut(store, segment, 0)
        store.disk.unlink(store.journal.path(segment))
    keep_cut(store, tail.segment, tail.offset)
    cut(store, tail)


def keep_cut(store: Store, segment: int, offset: int, why: str = "") -> None:
    """Keep beside the journal what is about to be cut, if a person could want it, and say so."""
    path = store.journal.path(segment)
    with store.journal.opened(segment) as file:
        file.seek(offset)
        data = file.read()
    if b',"crc":"' not in data:
        return  # torn bytes, a hole: nothing that a person could want
    kept = f"{path[: -len('.jsonl')]}.cut-{crc32(data):08x}"
    store.disk.discard(kept)
    store.disk.create(kept, data)
    why = why or f"is damaged at byte {offset}"
    store.say(f"{path} {why}; {len(data)} bytes from there on were cut off and kept as {kept}")


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
        with at_place(store.journal, segment, offset):
            documents.check_at(places.kind(path), doc)
        write(store, path, doc)
    for path in folded.gone():
        remove(store, path)
    for path, lease in folded.leases.items():
        if lease is None:
            store.check_folder(path.rpartition("/")[0])
            unlink(store, path)
            continue
        if not leases:
            continue
        with at_place(store.journal, *folded.granted[path]):
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
