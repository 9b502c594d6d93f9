"""Replay: what is done once the machine has died, the lock file is another one, or there is no mark.

Every record since the last `checkpoint` is folded to the last state of each path and written where it differs.  A power
cut leaves recent documents at length zero and may leave a hole in the journal's last page, so here a bad line ends the
journal; whole lines that are cut off are kept beside it.  In ``fast`` a record may be lost while its documents are
there: they are set `aside`, and numbering goes on far above whatever was found, so that no number is given twice.
None of this makes a record: it is about this disk.  A death in the middle leaves no mark, and it is done again.
A copy of a store drops the leases, for nobody there is alive.  The cache of another lock file is dropped unread: it may
be somebody else's, and came with a clone.
"""

from __future__ import annotations

import os

from mbox.errors import Corrupt
from mbox.format import documents, places
from mbox.format.lease import Lease
from mbox.journal.projection import Fold, fold
from mbox.journal.record import FORMAT, Tail
from mbox.journal.segments import WINDOW, at_place, cut_after, keep_cut, none_left
from mbox.system.clock import seconds

from . import checkpoint
from .aside import keep, put_back
from .commit import begin_segment
from .files import every_document, is_folder, remove, unlink, write
from .mark import Mark
from .state import State, went_back


def replay(state: State, mark: Mark | None) -> Mark:
    """Replay the journal since the last checkpoint, as after a power cut."""
    journal = state.journal
    segments = journal.segments()
    if not segments:
        raise went_back(state, mark, -1) if mark else none_left(journal)
    same_file = mark is not None and mark.inode == state.lock.inode
    unsynced = mark is not None and mark.synced_seq < mark.tail.seq
    if mark and same_file and not unsynced and state.config.durability == "full":
        size = journal.size(mark.tail.segment)
        if size < mark.tail.offset:
            raise went_back(state, mark, size)
    first = checkpoint.first(state, segments, same_file)
    folded, tail = fold(journal, first, replay=True)
    if not folded.records:
        raise Corrupt(f"{journal.path(first)} holds no record; `mbox init` begins the journal if none was ever there")
    header = state.check_writer(tail.segment)
    if same_file:
        state.drop_index()
    else:
        drop_cache(state)
    _cut_after(state, tail)
    journal.sync_from(tail.segment)
    state.tail = tail
    store = header["store"]
    floor = max(checkpoint.floor(state, store), mark.floor if mark and mark.store == store else 0)
    state.ahead = Mark(tail, state.host.machine, state.lock.inode, store, state.host.wall(), 0.0, tail.seq, floor=floor)
    copied = mark is not None and mark.store == store and not same_file
    dropped = bool(copied and mark and mark.machine == state.host.machine)
    if dropped:
        _drop_leases(state)
    _write_fold(state, folded, leases=not dropped)
    if not same_file:
        checkpoint.begin(state, store, 0, floor)  # what another disk, or another lock file, has synced says nothing of this
    if state.config.durability == "fast" or unsynced:
        if header["format"] < FORMAT:  # a version that does not know the floor must not write beside it
            begin_segment(state)
        _set_aside(state, folded, journal.header(first)["ts"])
    state.write_mark(state.tail, False)
    return state.ahead


def drop_cache(state: State) -> None:
    """Remove what is remembered in the cache, but for what programs wrote there, which nobody reads but people."""
    state.drop_index()
    cache = state.absolute(places.CACHE)
    for name in os.listdir(cache) if is_folder(cache) else ():
        if name != "logs":
            state.disk.remove_tree(f"{cache}/{name}")


def _cut_after(state: State, tail: Tail) -> None:
    """Cut what follows the last good record; whole lines among it are kept beside the journal, for people."""
    journal = state.journal
    told = []
    for segment in [number for number in journal.segments() if number > tail.segment]:
        told.append(keep_cut(journal, segment, 0))
        journal.drop(segment)
    told.append(keep_cut(journal, tail.segment, tail.offset))
    cut_after(journal, tail)
    for line in filter(None, told):
        state.say(line)


def _write_fold(state: State, folded: Fold, leases: bool = True) -> None:
    """Bring the files to the folded state, and with ``leases`` those too that were granted and are not there."""
    for path, doc in folded.documents(state.journal):
        state.strike()
        with at_place(state.journal, *folded.at(path)):
            documents.check_at(places.kind(path), doc)
        write(state, path, doc)
    for path in folded.gone():
        state.strike()
        remove(state, path)
    for path, lease in folded.leases.items():
        if lease is None:
            state.check_folder(path.rpartition("/")[0])
            unlink(state, path)
            continue
        if not leases:
            continue
        with at_place(state.journal, *folded.granted[path]):
            granted = Lease.of(documents.check("lease", lease))
        there = state.load_lease(path)
        if there is None or there.token != granted.token:
            state.write_lease(path, granted)


def _drop_leases(state: State) -> None:
    """A copied store: what was leased is leased in the original, and nobody here is alive."""
    for folder in (places.LEASES, places.TASK_LEASES, places.HEARTBEATS):
        for name in state.names(folder):
            state.disk.discard(state.absolute(f"{folder}/{name}"))
    state.say(f"{state.root}: this store is a copy; its leases and heartbeats were dropped")


def _set_aside(state: State, folded: Fold, since: str) -> None:
    """In ``fast``: what the machine's death took from the journal is set aside, and numbering goes on far above it.

    Documents whose records are lost are those numbered above the journal, and those written since the checkpoint that
    no record since names; the latter go back to the journal's older state where it has one.  The floor of the numbers
    comes first: whatever a death in the middle of this leaves, no number of those is given again.
    """
    odd = _unknown(state, folded, seconds(since) - 1)
    if odd:
        older, _ = fold(state.journal, state.journal.segments()[0], state.tail)
        for path, doc in older.documents(state.journal):
            if path in odd and documents.encode(places.kind(path), doc) == odd[path]:
                del odd[path]
    highest = max([state.tail.seq, *(places.number(places.ident(path)) for path in odd)])
    checkpoint.raise_floor(state, state.ahead.store, highest + WINDOW)
    state.ahead = state.ahead._replace(floor=max(state.ahead.floor, highest + WINDOW))
    for path in odd:
        kept = keep(state, path)
        if kept:
            state.say(f"{state.absolute(path)}: written in `fast` shortly before the machine died, and no record "
                      f"names it; kept as {kept}")  # fmt: skip
        put_back(state, path, older.document(state.journal, path))


def _unknown(state: State, folded: Fold, oldest: float) -> dict[str, bytes]:
    """What stands in files that no record since the checkpoint names, written since then or numbered above it."""
    found = {}
    for path in every_document(state):
        if path not in folded.states:
            above = places.number(places.ident(path)) > state.tail.seq
            if above or os.lstat(state.absolute(path)).st_mtime >= oldest:
                try:
                    found[path] = state.bytes_of(path)
                except OSError:
                    found[path] = b""
    return found
