"""Recovery: bringing the files to what the journal says.

Promised: after `recover` returns, every document is what the journal's last record of it says, or the command has
ended with exit 6 and a line that names what happened.  Not promised: anything about files the journal never named;
`doctor` is for those.

- *A process died* (this machine, this lock file, a mark): the journal ends behind the mark by what was committed and
  not yet published, at most a new segment's header and one record.  The journal is synced first, with the entry of a
  segment that was begun, so that nothing is published that a power cut could take back; then each record is published
  again, which is idempotent.  A last record whose number another took (its lock file was gone as it wrote, and it was
  told so) is kept beside the journal and cut.
- *The machine died* (another boot id), or the lock file is another one, or there is no mark: every record since the
  last checkpoint is folded to the last state of each path and written where it differs.  A power cut leaves recent
  documents at length zero and may leave a hole in the journal's last page, so here a bad line ends the journal.
- *The journal is shorter than the mark*: something took the store back in time.  Exit 6; nothing is touched.  (That both went
  back is found out before: `witness`.)
- *A mark of another machine that is younger than this machine's boot*: two kernels share the folder.  Exit 6.

A document that cannot be read is put back as the journal has it, and what stood there is kept `aside`; what the journal
does not know is moved into the dead letters with the reason (`quarantine`).  (``store.md``, Recovery.)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mbox.errors import StoreError
from mbox.format import places
from mbox.journal.record import Record, Tail
from mbox.journal.segments import at_place, cut_after, keep_cut, scan_end

from .files import check_documents, publish
from .mark import Mark
from .state import State, went_back

FRESH = 60.0
"""Seconds for which a mark of another machine counts as that of a living one."""

# -- finding out what happened -----------------------------------------------------------------------------------


def recover(state: State) -> Mark:
    """Called with the lock just taken: bring the files to the journal's end; the mark that is then true."""
    mark, is_of_this_life = _met(state)
    if mark and is_of_this_life:
        return mark if _is_end(state, mark) else _redo(state, mark)
    from .replay import replay

    return replay(state, mark)


def foreseen(state: State) -> tuple[Mark, bool]:
    """The mark that `recover` would leave, and whether the files follow up to it already; nothing is changed.

    Raises what `recover` would raise before it changes anything.  Not promised after the machine's death: what a replay finds
    wrong in the middle of the journal; here that ends before it.
    """
    mark, is_of_this_life = _met(state)
    if mark and is_of_this_life:
        if _is_end(state, mark):
            return mark, True
        end = mark.tail
        for _at, place, record in _after(state, mark):
            end = place if record is not None else end
    else:
        end = scan_end(state.journal)
    from . import checkpoint

    store = state.check_writer(end.segment)["store"]
    floor = max(checkpoint.floor(state, store), mark.floor if mark and mark.store == store else 0)
    return Mark(end, state.host.machine, state.lock.inode, store, state.host.wall(), 0.0, end.seq, floor=floor), False


def _met(state: State) -> tuple[Mark | None, bool]:
    """The mark as it stood when the lock was taken, and whether it was made in this life of this machine, in this lock file.

    Raises where another machine writes here.
    """
    mark = state.lock.mark_taken()
    if mark and mark.machine == state.host.machine and mark.inode == state.lock.inode:
        return mark, True
    if mark and mark.machine != state.host.machine:
        _refuse_two_kernels(state, mark)
    return mark, False


def _is_end(state: State, mark: Mark) -> bool:
    """Whether nothing stands in the journal after the mark, and this version may go on; raises where it is shorter."""
    size = state.journal.size(mark.tail.segment)
    if size < mark.tail.offset:
        raise went_back(state, mark, size)
    state.check_writer(mark.tail.segment)
    return size == mark.tail.offset and state.journal.is_last(mark.tail.segment)


def _refuse_two_kernels(state: State, mark: Mark) -> None:
    age = state.host.wall() - mark.wall
    if mark.wall > state.host.booted_at() + 5 and abs(age) < FRESH:
        raise StoreError(
            f"{state.root}: this folder is shared by two kernels; the lock does not reach "
            f"(another machine wrote {max(age, 0):.0f} s ago)"
        )


# -- a process died ------------------------------------------------------------------------------------------------


def _redo(state: State, mark: Mark) -> Mark:
    """Publish what stands in the journal after the mark, cut a torn tail, write the mark."""
    state.ahead, tail = mark, mark.tail
    state.journal.sync_from(tail.segment)
    for at, place, record in _after(state, mark):
        if record is None:
            _keep_aside(state, place, at)
            break
        publish(state, record)
        tail = place
    cut_after(state.journal, tail)
    state.tail = tail
    state.forget_ahead()
    state.write_mark(tail, True)
    return state.ahead


def _after(state: State, mark: Mark) -> Iterator[tuple[int, Tail, Record | None]]:
    """``(where it begins, where it ends, the record)`` for each after the mark, checked; None for a last one that is to be cut.

    That one has the number of the one before: its writer lost the lock file between its last look at it and the write, and was
    told that the outcome is unknown.  `Corrupt` for any other whose number does not follow.
    """
    journal, tail = state.journal, mark.tail
    for place, record in journal.records(tail):
        if place.segment != tail.segment:
            state.check_writer(place.segment)
        at = tail.offset if place.segment == tail.segment else 0
        if place.seq <= tail.seq:
            is_last = place.offset == journal.size(place.segment) and journal.is_last(place.segment)
            before = [journal.decoded(*found)["seq"] for found in islice(journal.backwards(tail), 2)]
            if not is_last or place.seq <= before[-1]:
                raise journal.corrupt(place.segment, at, f"number {place.seq} does not follow {tail.seq}")
            yield at, place, None
            return
        with at_place(journal, place.segment, at):
            places.check_record(record)
            check_documents(record)
        yield at, place, record
        tail = place


def _keep_aside(state: State, place: Tail, at: int) -> None:
    """Keep the journal's last record, which is to be cut, beside it."""
    said = keep_cut(state.journal, place.segment, at, f"holds a record without a number of its own at byte {at}")
    if said:
        state.say(said)
