"""Indexing: bringing the index up to the journal's end, or building it anew from the files.

Promised: after `bring` or `build` the index follows the journal to its tail.  It is built anew where it is missing,
damaged, of another store or another machine's life, ahead of the journal, or so far behind that this is cheaper.  It is
built from the journal alone, 4 µs a record: files may have been moved behind its back while there was no index.

Not promised: that building it is short.  It takes as long as the journal and what stands is, with the lock held; a signal
ends it at any step, and the next who asks begins again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from mbox.errors import Corrupt, StoreError, Unindexed
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.index.answers import Damaged
from mbox.index.queries import Index
from mbox.journal.projection import standing
from mbox.journal.record import KEYED, Record, Tail, op_needle, stamp_of
from mbox.journal.segments import Journal
from mbox.system.clock import stamp
from mbox.system.database import Foreign, explained

from .files import Files, folders_in

CATCH_UP = 50_000
"""Numbers by which an index may be behind before building it anew is cheaper."""

KEY_AGE = 60 * 86400.0
"""Segments not written for this long are not read for idempotency keys (kept at least 30 days)."""


def bring(index: Index, journal: Journal, tail: Tail, identity: tuple[str, str]) -> bool:
    """Open the index of ``identity`` (store, `State.whose`) and catch it up to ``tail``; False where it is to be built anew.

    `Damaged` if what stands in it cannot be used.
    """
    opened = index.updates.refresh() if index.seq >= 0 else index.tables.open(*identity)
    if opened and (index.seq == tail.seq or index.updates.take_noted(tail.seq)):
        return True
    if opened and tail.seq - CATCH_UP < index.seq < tail.seq:
        start = journal.find(index.seq, tail)
        index.updates.apply(record for _, record in journal.records(start, tail) if record["seq"] > index.seq)
        return True
    return False


def build(index: Index, files: Files, journal: Journal, tail: Tail, identity: tuple[str, str]) -> None:
    """Make the index anew, in place of none; `StoreError` if it cannot be made."""
    import sqlite3

    try:
        files.disk.folders(os.path.dirname(index.tables.path))
        index.tables.create(*identity, files.disk)
        index.updates.fill(_live(files, journal, tail), _lease_files(files), _keyed(files, journal, tail), tail.seq)
    except (sqlite3.Error, Foreign, Damaged, OSError) as error:
        why = explained(files.disk, index.tables.path, error)
        raise Unindexed(f"{index.tables.path}: the index could not be built: {why}; nothing happened") from error


def _live(files: Files, journal: Journal, tail: Tail) -> Iterator[tuple[str, Document, int]]:
    """What stands of the documents that the index is made of, and the record that put each there.

    By the journal, whatever the files say.  Where an old part of it cannot be read, by the files, loosely, and nothing is
    known of the records: the store goes on, and `doctor` says what is wrong.
    """
    try:
        folded = standing(journal, tail)
    except StoreError as error:
        files.say(f"{error}; the index is made of the files")
        yield from ((path, doc, 0) for path, doc in _loosely(files))
        return
    live = {path for path in folded.states if places.is_indexed(path) or _is_unread(path)}
    for record, n, paths in folded.puts(journal, live):
        files.strike()
        for path in paths:
            yield path, record["put"][n][0], record["seq"]


def _is_unread(path: str) -> bool:
    return path.startswith(places.INBOX) and "/new/" in path


def _loosely(files: Files) -> Iterator[tuple[str, Document]]:
    """The documents that the index is made of, as they stand in the files."""
    for folder in (places.TASKS, places.RESERVATIONS):
        for name in files.names(folder):
            path = f"{folder}/{name}"
            files.strike()
            if not name.endswith(".json"):
                continue
            try:
                yield path, documents.decode(places.kind(path), files.bytes_of(path))
            except (OSError, ValueError, StoreError):
                continue
    for agent in folders_in(files, places.INBOX):
        if not places.is_name(agent):
            continue
        for folder in (places.new_folder(agent), places.cur_folder(agent)):
            for name in files.names(folder):
                path = f"{folder}/{name}"
                files.strike()
                if not places.is_place(path):
                    continue
                try:
                    data = files.bytes_of(path) if folder.endswith("/new") else b""
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


def highest(files: Files) -> int:
    """The highest number in the id of what stands there, whether or not the journal knows it; what is archived apart."""
    folders = [places.TASKS, places.RESERVATIONS, places.DEADLETTER]
    for agent in filter(places.is_name, folders_in(files, places.INBOX)):
        folders += [places.new_folder(agent), places.cur_folder(agent)]
    return max((places.shown(name) for folder in folders for name in files.names(folder)), default=0)


def _lease_files(files: Files) -> Iterator[tuple[str, Document]]:
    for folder in (places.TASK_LEASES, places.LEASES):
        for name in files.names(folder):
            path = f"{folder}/{name}"
            files.strike()
            try:
                lease = files.load_lease(path)
            except Corrupt:
                continue
            if lease:
                yield path, lease.doc()


def _keyed(files: Files, journal: Journal, tail: Tail) -> Iterable[Record]:
    """The records from segments young enough that carry keys or what holders of tasks did, and what was sent lately."""
    wanted = (KEYED, op_needle(operations.TASK, prefix=True))
    now = files.host.wall()
    lately = stamp(now - 120).encode()
    oldest = now - KEY_AGE
    for segment in journal.segments():
        if segment != tail.segment and os.stat(journal.path(segment)).st_mtime < oldest:
            continue
        stop = tail.offset if segment == tail.segment else None
        for offset, line in journal.lines(segment, 0, stop):
            files.strike()
            if stamp_of(line) >= lately or any(word in line for word in wanted):
                yield journal.decoded(segment, offset, line)
