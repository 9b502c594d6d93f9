"""The commit: one decision made durable and published, with the lock held.

In the order of its system calls, and what a death after each leaves (the numbers are those of `store`):

3.  Stage each new document as ``.tmp-NAME`` beside its place.  *Temporary files, taken over by the next try.*
4.  Append one record and fsync it: the commit.  *Torn bytes, cut by the next writer; or the whole record, redone.*
5.  Publish: rename the temporary files, then moves, then deletions, then leases.  *The record is redone.*
6.  Bring the index up to the record, unless all it does is to deliver mail (`updates.LAG`).  *The index is caught up.*
7.  Write the mark.  *The record is redone, which changes nothing.*

An error before 4 takes everything back (exit 6, nothing happened); an error after 4 is said on stderr and the command
succeeds, because the record stands and the files will follow.

A segment that is full, or of an older format, is followed by a new one before the record: its header is a record as
well, and the decision is taken again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from mbox.errors import Corrupt, Refused, StoreError, Unknown, doing, failure, told
from mbox.format import documents, places
from mbox.format.documents import FREE
from mbox.index.updates import LAG, NONE, can_wait
from mbox.journal.record import FORMAT, LONGEST, Moved, Record, encode, is_costly
from mbox.journal.segments import WINDOW
from mbox.system.disk import exists, temporary

from .files import FILE, is_folder, publish, publish_rest
from .stamps import Touched, is_stamped_file, stamp_once
from .state import State
from .transaction import COPIES, ROOM, Transaction

MANY = 64
"""Files that are staged between two looks whether a signal came, for which all of it is taken back: a file may cost 0.4 ms."""


class Again(Exception):
    """The ground moved under a decision that was sound; decide again."""


def commit(state: State, tx: Transaction) -> Record:
    """Make ``tx`` durable and publish it, with the lock held: steps 3 to 7; the record that it is now.

    `Again` where the decision must be taken anew, `Moved` where another kernel has written, and `StoreError` where
    nothing happened or, as `Unknown`, where that cannot be told.
    """
    if state.behind:
        raise StoreError(f"{state.root}: the files could not follow the journal; nothing more was done")
    _roll_if_due(state)
    record = tx.as_record()
    if not can_wait(record) or state.tail.seq - state.ahead.indexed >= LAG:
        state.caught_up_index()
    places.check_record(record)
    line = _fitting(record)
    touched = Touched(state, state.whose)
    staged = _stage(state, record, touched, tx.room)
    try:
        with doing("appending to the journal", state.journal.path(state.tail.segment)):
            state.lock.check()
            sync = _sync_now(state, record["seq"])
            _order(state, record, line)
            tail = state.journal.append(state.tail, record["seq"], line, sync)
            _check_kept(state, record)
        state.witness.note(state.ahead.store, record["seq"], state.config.durability == "fast")
    except BaseException:
        for temp, _ in staged:
            state.disk.discard(temp)
        raise
    state.tail = tail
    _follow(state, record, staged, touched, tx.warnings, sync)
    return record


def _fitting(record: Record) -> bytes:
    """The line of ``record``; `Refused` if it is longer than any may be."""
    line = encode(record)
    if len(line) > LONGEST:
        raise Refused(f"a record of {len(line) >> 20} MiB; one holds {LONGEST >> 20} MiB at most: do it in parts")
    if len(line) > FREE and is_costly(line):
        raise Refused(f"a record of {len(line) >> 20} MiB that would take more memory than one may: do it in parts")
    return line


def _order(state: State, record: Record, line: bytes) -> None:
    """Let ``record``, of which this is the ``line``, come next in the order of the store.

    Here, and only here, a log in front of the journal (`Log`) is asked first: once it has taken the line, that is the
    commit, and the journal gets the same line.  Where it has moved on, what was decided is not true any more: `Again`.
    """
    if state.log is not None:
        try:
            state.log.append(state.tail.seq, record["seq"], line)
        except Moved:
            raise Again from None


def _check_kept(state: State, record: Record) -> None:
    """Raise `Unknown` if the lock was replaced while the record was written.

    Whoever took the new lock may have cut the record off, or never have seen it.
    """
    if loss := state.lock.loss():
        raise Unknown(
            f"{loss}; whether record {record['seq']} stands is unknown; "
            "repeating the command with the same --key or --token is safe"
        )


def _sync_now(state: State, seq: int) -> bool:
    """Whether this record is made durable: always in ``full``; in ``fast`` once a second and `WINDOW` numbers."""
    if state.config.durability == "full" or seq - state.ahead.synced_seq >= WINDOW:
        return True
    return not 0 <= state.host.mono() - state.ahead.synced < 1.0


def _stage(state: State, record: Record, touched: Touched, room: float) -> list[tuple[str, str]]:
    """Write every document as a temporary file; ``(temporary, final)`` pairs.  A failure takes all back, as a signal does.

    `Refused` where they have more than ``room`` bytes, counted as `transaction.ROOM` is.
    """
    staged: list[tuple[str, str]] = []
    path = ""
    try:
        for path in record["del"]:
            touched.enter(path.rpartition("/")[0])
            _check_replaceable(state, path)
        for path in (name for pair in record["mv"] for name in pair):
            touched.enter(path.rpartition("/")[0])
        for path in (*(target for _, target in record["mv"]), *(path for path, lease in record["lease"] if lease)):
            _check_enterable(state, path)
        for doc, paths in state.along(record["put"], "documents written", len(record["put"])):
            data = documents.render(doc)
            room = _room_left(room, len(data), len(paths))
            first = ""
            for path in paths:
                target = state.absolute(path)
                if exists(target):
                    _check_replaceable(state, path)
                folder = path.rpartition("/")[0]
                state.check_folder(folder)  # first: what is taken back is not looked for through a link
                touched.enter(folder, staging=True)
                temp = temporary(target)
                staged.append((temp, target))
                if not len(staged) % MANY and state.is_struck():
                    raise Again
                _stage_one(state, path, temp, data, first, touched)
                first = first or temp
    except OSError as error:
        for temp, _ in staged:
            state.disk.discard(temp)
        raise StoreError(f"{state.absolute(path)}: {failure(error)}; nothing happened") from error
    except BaseException:
        for temp, _ in staged:
            state.disk.discard(temp)
        raise
    touched.staged()
    return staged


def _room_left(room: float, size: int, copies: int) -> float:
    """What is left of ``room`` when a document of ``size`` bytes is written so many times; `Refused` for less than nothing."""
    room -= (size * COPIES + FILE) * copies
    if room < 0:
        raise Refused(
            f"too much for one transaction, which writes {ROOM // COPIES >> 20} MiB, a document counting as "
            f"{FILE // COPIES} bytes more: do it in parts"
        )
    return room


def _check_replaceable(state: State, path: str) -> None:
    """Refuse to commit to what no rename and no unlink can do: a folder stands in the place."""
    try:
        mode = os.lstat(state.absolute(path)).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise Corrupt(f"{state.absolute(path)} is a folder where a document should be; move it away; nothing happened")


def _check_enterable(state: State, path: str) -> None:
    """Refuse to commit to what would have to be made in a folder in whose place a file stands."""
    folder = state.absolute(path.rpartition("/")[0])
    if not is_folder(folder) and exists(folder):
        raise Corrupt(f"{folder} is a file where a folder should be; move it away; nothing happened")


def _stage_one(state: State, path: str, temp: str, data: bytes, first: str, touched: Touched) -> None:
    """Write ``data`` at ``temp``, or link it to the ``first`` copy; `Again` where others take away what is made here."""
    link = bool(first) and path.startswith(places.OUTBOX)
    for _ in range(3):
        try:
            if link:
                state.disk.link(first, temp)
            else:
                state.disk.create(temp, data)
            return
        except FileNotFoundError:
            touched.lost(path.rpartition("/")[0])
            state.disk.folders(os.path.dirname(temp))
        except FileExistsError:
            state.disk.unlink(temp)
        except OSError as error:
            if not link or error.errno not in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV):
                raise
            link = False
    raise Again


def _follow(state: State, record: Record, staged: list[tuple[str, str]], touched: Touched, warnings: list[str],
            sync: bool) -> None:  # fmt: skip
    """After the commit: publish, index, mark.  A failure is said; the next command that takes the lock redoes."""
    remade = state.remade
    try:
        touched.look()
        try:
            prints = _publish_staged(state, staged, touched.whose)
            publish_rest(state, record)
        except FileNotFoundError:  # somebody took it away just then: made anew from the record, and not stamped
            publish(state, record)
            remade, prints = -1, {}
        if state.remade != remade:
            touched.look()
        touched.published()
        advance(state, record, sync, prints)
    except (OSError, Corrupt) as error:
        state.index.close()
        state.behind = True
        why = told(error, state.lock.path)
        warnings.append(f"it is done and in the journal, but the files do not follow yet: {why}")


def _publish_staged(state: State, staged: list[tuple[str, str]], whose: str) -> dict[str, str]:
    """Move the staged files to their places, and stamp them; by path, what the index knows each by from then on."""
    prints, at = dict[str, str](), len(state.root) + 1
    for temp, target in staged:
        path = target[at:]
        if not is_stamped_file(path):
            state.disk.rename(temp, target)
            continue
        fd = state.disk.open(temp, os.O_RDONLY)  # it is this file that is stamped, whatever stands at its place by then
        try:
            state.disk.rename(temp, target)
            prints[path] = stamp_once(state, fd, whose)
        finally:
            os.close(fd)
    return prints


def advance(state: State, record: Record, synced: bool, prints: Mapping[str, str] = NONE) -> None:
    """Note that the files follow the journal up to ``record``; `commit` has seen to it that the index can follow."""
    if can_wait(record):
        state.index.updates.note(record, state.ahead.tail.seq)
    elif state.index.seq == state.ahead.tail.seq:
        state.take_in(record, prints)
    else:
        state.forget_ahead()
    state.write_mark(state.tail, synced)


def _roll_if_due(state: State) -> None:
    """Begin a new segment where this one is full, or of an older format; the decision starts over: its numbers moved."""
    header = state.check_writer(state.tail.segment)
    older = header["format"] < FORMAT
    if not older and (state.tail.offset < state.config.segment_size or state.tail.seq == header["seq"]):
        return
    if older:
        from . import checkpoint

        checkpoint.take_over(state)
    if state.config.durability == "fast":
        state.journal.sync(state.tail.segment)
    advance(state, begin_segment(state), True)
    raise Again


def begin_segment(state: State) -> Record:
    """Begin the segment after this one, durable; its header.  The mark does not follow yet."""
    segment = state.tail.segment + 1
    header = state.segment_header(state.tail.seq + 1, segment, state.ahead.store)
    with doing("beginning a journal segment", state.journal.path(segment)):
        line = _fitting(header)
        _order(state, header, line)
        state.tail = state.journal.begin(segment, header["seq"], line)
    state.begun = segment
    return header
