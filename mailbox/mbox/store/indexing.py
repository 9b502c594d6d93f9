"""Indexing: bringing the index up to the journal's end, or building it anew from the files.

Promised: after `bring_index` the index follows the journal to the store's tail.  It is built anew where it is missing,
damaged, of another store or another machine's life, ahead of the journal, or so far behind that this is cheaper.  What
it is built from is read loosely: what the index says is checked against the documents by whoever asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mbox.format import documents
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import Corrupt, StoreError
from mbox.store.files import folders_in
from mbox.system.host import stamp
from mbox.index.queries import Damaged
from mbox.journal.segments import Record

if TYPE_CHECKING:
    from mbox.store.store import Store

CATCH_UP = 50_000
"""Numbers by which an index may be behind before building it anew is cheaper."""

KEY_AGE = 60 * 86400.0
"""Segments not written for this long are not read for idempotency keys (kept at least 30 days)."""


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
    for agent in folders_in(store, places.INBOX):
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
