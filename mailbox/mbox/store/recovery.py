"""Recovery: bringing the files to what the journal says.

Promised: after `recover` returns, every document is what the journal's last record of it says, or the command has
ended with exit 6 and a line that names what happened.  Not promised: anything about files the journal never named;
`doctor` is for those.

- *A process died* (this machine, this lock file, a mark): the journal ends behind the mark by what was committed and
  not yet published, at most a new segment's header and one record.  The journal is synced first, so that nothing is
  published that a power cut could take back; then each record is published again, which is idempotent.  A last record
  whose number another took (its lock file was gone as it wrote, and it was told so) is kept beside the journal and cut.
- *The machine died* (another boot id), or the lock file is another one, or there is no mark: every record since the
  last checkpoint is folded to the last state of each path and written where it differs.  A power cut leaves recent
  documents at length zero and may leave a hole in the journal's last page, so here a bad line ends the journal.
- *The journal is shorter than the mark*: something took the store back in time.  Exit 6; nothing is touched.
- *A mark of another machine that is younger than this machine's boot*: two kernels share the folder.  Exit 6.

A document that cannot be read is restored from the journal where the journal has it, else moved into the dead letters
with the reason (`mending`); what a person had written into it is kept there too.  (``store.md``, Recovery.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from mbox.format import places
from mbox.format.documents import Unfit
from mbox.errors import Corrupt, StoreError, WentBack
from mbox.journal.segments import Journal, Tail
from mbox.store.mark import Mark
from mbox.publishing import check_documents, publish

if TYPE_CHECKING:
    from mbox.store.store import Store

FRESH = 60.0
"""Seconds for which a mark of another machine counts as that of a living one."""

# -- finding out what happened -----------------------------------------------------------------------------------


def recover(store: Store) -> Mark:
    """Called with the lock just taken: bring the files to the journal's end; the mark that is then true."""
    mark = store.lock.mark_taken()
    if mark and mark.machine == store.host.machine and mark.inode == store.lock.inode:
        size = store.journal.size(mark.tail.segment)
        if size < mark.tail.offset:
            raise went_back(store, mark, size)
        if size == mark.tail.offset and store.journal.is_last(mark.tail.segment):
            store.check_writer(mark.tail.segment)
            return mark
        return _redo(store, mark)
    if mark and mark.machine != store.host.machine:
        _refuse_two_kernels(store, mark)
    from mbox.store.replay import replay

    return replay(store, mark)


def went_back(store: Store, mark: Mark, size: int) -> WentBack:
    path = store.journal.path(mark.tail.segment)
    what = "is gone" if size < 0 else f"has {size} bytes where {mark.tail.offset} were written"
    return WentBack(
        f"{path} {what}: git checkout, clean or stash, or a restored copy, took the store back in time; "
        "undo that, or run `mbox audit restore` in an emptied store"
    )


def none_left(journal: Journal) -> WentBack:
    return WentBack(
        f"{journal.folder}: no journal segment is left (git clean, checkout or stash?); "
        "`mbox audit restore` brings the store back"
    )


def _refuse_two_kernels(store: Store, mark: Mark) -> None:
    age = store.host.wall() - mark.wall
    if mark.wall > store.host.booted_at() + 5 and abs(age) < FRESH:
        raise StoreError(
            f"{store.root}: this folder is shared by two kernels; the lock does not reach "
            f"(another machine wrote {max(age, 0):.0f} s ago)"
        )


def scan_end(journal: Journal, strict: bool = True) -> Tail:
    """Where the journal ends, read from its last segment: behind the last whole line."""
    segments = journal.segments()
    if not segments:
        raise none_left(journal)
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
            _keep_aside(store, place, at, tail)
            break
        with at_place(store.journal, place.segment, at):
            places.check_record(record)
            check_documents(record)
        publish(store, record)
        tail = place
    cut(store, tail)
    store.tail = tail
    store.forget_ahead()
    store.write_mark(tail, True)
    return store._mark


def _keep_aside(store: Store, place: Tail, at: int, tail: Tail) -> None:
    """Keep the journal's last record, which is to be cut, beside it; `Corrupt` unless its number was the one before's.

    Its writer lost the lock file between its last look at it and the write, and was told that the outcome is unknown.
    """
    journal = store.journal
    is_last = place.offset == journal.size(place.segment) and journal.is_last(place.segment)
    before = [journal.decoded(*found)["seq"] for found in islice(journal.backwards(tail), 2)]
    if not is_last or place.seq <= before[-1]:
        raise journal.corrupt(place.segment, at, f"number {place.seq} does not follow {tail.seq}")
    from mbox.store.replay import keep_cut

    keep_cut(store, place.segment, at, f"holds a record without a number of its own at byte {at}")


@contextmanager
def at_place(journal: Journal, segment: int, offset: int) -> Iterator[None]:
    """Say of an error in what a record holds where in the journal it stands."""
    try:
        yield
    except (Unfit, Corrupt) as error:
        raise journal.corrupt(segment, offset, str(error)) from None


def cut(store: Store, tail: Tail) -> None:
    """Cut what stands behind the last whole record: torn bytes, or a segment whose header was never finished."""
    if store.journal.size(tail.segment + 2) >= 0:
        raise store.journal.corrupt(tail.segment + 1, 0, "it holds no record and is not the last segment")
    if store.journal.size(tail.segment) > tail.offset:
        store.journal.cut(tail.segment, tail.offset)
    if store.journal.size(tail.segment + 1) >= 0:
        store.disk.unlink(store.journal.path(tail.segment + 1))
