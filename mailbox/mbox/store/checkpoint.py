"""The checkpoint: from which segment on this machine's disk may lack what the journal says.

``.mailbox/checkpoint`` is one line of JSON with its checksum: the store, the lock file, the *segment* at whose start a
replay begins, and the *floor* above which numbers are given.  It is of this disk alone: no record says the same, for
what one disk has synced says nothing of another's.

Promised: every record before that segment is in the files, and they are synced: the file system is synced first, the
file is written after that, synced and renamed, and then its folder is synced.  What is written without a record is
synced by whoever writes it (`aside`), or the checkpoint is dropped first (a rebuild).  Not promised: that there is one.  A
death before the rename leaves the one before; one that is lost, torn, or of another store or lock file (a copy) counts as
none, and a replay begins with the first segment.  The floor is believed of another lock file too.

Before a segment is begun nothing is known of it: a checkpoint is made after each new segment, outside the lock.
The floor is raised by a replay in ``fast``, before anything else is changed (`replay`).

A store of format 1 has its checkpoints as numbered records (``store.checkpoint``).  They are believed for as long as
its last segment is of that format; `take_over` puts the last of them into the file before a segment of this format is begun.
"""

from __future__ import annotations

from typing import NamedTuple

from mbox.errors import Corrupt, doing
from mbox.format import operations, places
from mbox.format.documents import compact
from mbox.journal.record import LAST, decode, op_needle
from mbox.journal.segments import Journal
from mbox.system.disk import read_bytes

from . import mark
from .state import State

RECORDED = 1
"""The format in which checkpoints were numbered records."""

SIZE = 128

_CHECKPOINT = op_needle(operations.STORE_CHECKPOINT)
"""What stands in the line of every such record."""


class Checkpoint(NamedTuple):
    """What the file says."""

    store: str
    inode: int
    segment: int = 0
    floor: int = 0


def load(state: State, store: str) -> Checkpoint:
    """The checkpoint of ``store`` on this disk; one that knows nothing where there is none that can be believed."""
    found = _read(state, store)
    return found if found and found.inode == state.lock.inode else Checkpoint(store, state.lock.inode)


def floor(state: State, store: str) -> int:
    """The number up to which may have been given in ``store``; also of another lock file, for it only makes them higher."""
    found = _read(state, store)
    return found.floor if found else 0


def _read(state: State, store: str) -> Checkpoint | None:
    """What the file says of ``store``; None where it is none of that."""
    try:
        found = mark.parsed(read_bytes(state.absolute(places.CHECKPOINT), SIZE))
    except OSError:
        return None
    if found is None or found.keys() != set(Checkpoint._fields) or found["store"] != store:
        return None
    told = Checkpoint(**found)
    numbers = (told.inode, told.segment, told.floor)
    return told if all(type(number) is int and 0 <= number < LAST for number in numbers) else None


def first(state: State, segments: list[int], same_file: bool) -> int:
    """The segment at whose start a replay begins; ``same_file``: the mark is of this very lock file."""
    for segment in reversed(segments):
        try:
            header = state.journal.header(segment)
        except Corrupt:
            continue  # it was never finished, or its page is lost: the replay tells
        known = load(state, header["store"]).segment
        if header["format"] <= RECORDED and not known and same_file:
            known = recorded(state.journal, segments)
        return known if known in segments else segments[0]
    return segments[0]


def note(state: State, segment: int) -> None:
    """Note that everything published before ``segment`` was begun is synced; with the lock held.

    Two that note theirs in the other order leave the later one.  `StoreError` where it fails: the one before it stands.
    """
    known = load(state, state.ahead.store)
    if segment > known.segment:
        _write(state, known._replace(segment=segment))


def raise_floor(state: State, store: str, floor: int) -> None:
    """Note that numbers up to ``floor`` may have been given; with the lock held."""
    known = load(state, store)
    if floor > known.floor:
        _write(state, known._replace(floor=floor))


def begin(state: State, store: str, segment: int, floor: int = 0) -> None:
    """Note the first checkpoint of a store with this lock file: everything before ``segment`` is synced."""
    _write(state, Checkpoint(store, state.lock.inode, segment, floor))


def drop(state: State) -> None:
    """Know nothing any more of what is synced, before documents are written that no record names; with the lock held."""
    known = load(state, state.ahead.store)
    if known.segment:
        _write(state, known._replace(segment=0))


def _write(state: State, known: Checkpoint) -> None:
    path = state.absolute(places.CHECKPOINT)
    with doing("noting the checkpoint", path):
        state.disk.replace_synced(path, mark.line(compact(known._asdict()), SIZE))


# -- format 1 ------------------------------------------------------------------------------------------------------


def take_over(state: State) -> None:
    """Put the last recorded checkpoint into the file, before a segment is begun in which none is recorded.

    Not where the file stands already: it was put there, or this store is a copy that lies on another disk.
    """
    known = _read(state, state.ahead.store)
    if known is None or known.inode != state.lock.inode:
        begin(state, state.ahead.store, recorded(state.journal, state.journal.segments()), state.ahead.floor)


def recorded(journal: Journal, segments: list[int]) -> int:
    """The segment named by the newest checkpoint record; 0 if there is none."""
    for segment in reversed(segments):
        found = 0
        for _, line in journal.lines(segment):
            if _CHECKPOINT in line:
                found = max(found, _named(line))
        if found in segments:
            return found
    return 0


def _named(line: bytes) -> int:
    """The segment that a checkpoint record names; 0 for another record in whose document those words stand."""
    try:
        record = decode(line)
        return int(record["on"][0]) if record["op"] == operations.STORE_CHECKPOINT else 0
    except (ValueError, LookupError):
        return 0
