"""The fold of a journal: the last state of each path that it names, by one rule for whoever folds.

Promised: after `fold` its states are what publishing every record in turn would leave, from whichever segment it began;
only places in the journal are kept, so that a journal of any length folds in little memory.  `Corrupt`, naming segment
and byte, at what is no record.

The rule: a record's documents are put, then it moves, then it removes.  What is moved from a path that the fold has not
seen is the document that stood there before the fold began: the target's state is then that path, as text.  The audit
ref has such a document in its last commit; `fold` finds it in the journal before (`Fold.settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from mbox.errors import Corrupt
from mbox.format import places
from mbox.format.documents import Document

from .record import LAST, LONGEST, BadLine, Record, Tail, Unsound, decode, skim, sound, text_needle
from .segments import Journal, Overlong

PathState = tuple[int, int, int] | str | None
"""Of a path: segment and byte of the record, and the number of its document there; the path it came from; gone."""


class Fold:
    """The last state of each path, and of each lease."""

    __slots__ = ("granted", "leases", "records", "seq", "states")

    def __init__(self) -> None:
        self.states: dict[str, PathState] = {}
        self.leases: dict[str, Document | None] = {}
        self.granted: dict[str, tuple[int, int]] = {}
        self.records = 0
        self.seq = 0

    # -- taking in -----------------------------------------------------------------------------------------------

    def take(self, segment: int, offset: int, record: Record) -> None:
        """Take in the record at ``offset`` of ``segment``.

        `Corrupt` if it names a path that is no place, or if its number does not follow.
        """
        if record["mv"] or record["del"] or record["lease"]:
            places.check_record(record)
        if not self.seq < record["seq"] < LAST:
            raise Corrupt(f"number {record['seq']} does not follow {self.seq}")
        for _doc, paths in record["put"]:
            for path in paths:
                if path not in self.states:
                    places.kind(path)
        self.seq = record["seq"]
        self.records += 1
        self._change(segment, offset, record)
        for path, lease in record["lease"]:
            self.leases[path], self.granted[path] = lease, (segment, offset)

    def take_line(self, segment: int, offset: int, line: bytes) -> bytes:
        """Take in the documents of the record in ``line``, which is without its newline; the record's operation.

        Most lines are not decoded (`skim`).  Only their checksum is looked at: `BadLine`.
        """
        self.records += 1
        found = skim(line)
        if found is None:
            record = decode(line)
            self._change(segment, offset, record)
            return str(record["op"]).encode()
        op, puts, gone = found
        place = (segment, offset, 0)
        for path in puts:
            self.states[path] = place
        for path in gone:
            self.states[path] = None
        return op

    def _change(self, segment: int, offset: int, record: Record) -> None:
        states = self.states
        for n, (_doc, paths) in enumerate(record["put"]):
            for path in paths:
                states[path] = (segment, offset, n)
        for source, target in record["mv"]:
            states[target] = states.get(source, source)
            states[source] = None
        for path in record["del"]:
            states[path] = None

    def extend(self, journal: Journal, start: Tail, end: Tail) -> None:
        """Take in the records between two places."""
        at = start
        for place, record in journal.records(start, end):
            self.take(place.segment, at.offset if place.segment == at.segment else 0, record)
            at = place

    def settle(self, earlier: Mapping[str, PathState]) -> None:
        """Find what was moved from before this fold in the states that it goes on from.

        What they do not know either is in no record: it is forgotten, source and target, so that neither is taken for
        removed.
        """
        for path, source in [(path, state) for path, state in self.states.items() if isinstance(state, str)]:
            state = earlier.get(source, source)
            if not isinstance(state, str):
                self.states[path] = state
                continue
            del self.states[path]
            if self.states.get(source, source) is None:
                del self.states[source]

    # -- asking --------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many paths have a document."""
        return sum(1 for state in self.states.values() if state is not None)

    def gone(self) -> list[str]:
        """The paths whose last document was removed, or moved away."""
        return [path for path, state in self.states.items() if state is None]

    def at(self, path: str) -> tuple[int, int]:
        """Segment and byte of the record that put what stands at ``path``; zeros where that is not known."""
        state = self.states.get(path)
        return state[:2] if isinstance(state, tuple) else (0, 0)

    def document(self, journal: Journal, path: str) -> Any:
        """The document that stands at ``path``; None if the journal does not know it, or that it is gone."""
        state = self.states.get(path)
        if not isinstance(state, tuple):
            return None
        segment, offset, n = state
        return record_at(journal, segment, offset)["put"][n][0]

    def standing(self, journal: Journal) -> Iterator[tuple[Any, list[str]]]:
        """Each document that stands, once, with its paths, read from the journal in its order."""
        for record, n, paths in self.puts(journal, self.states):
            yield record["put"][n][0], paths

    def puts(self, journal: Journal, wanted: Iterable[str]) -> Iterator[tuple[Record, int, list[str]]]:
        """Of what stands at the ``wanted`` paths: its record, the number of its document there, its paths; in order."""
        found: dict[tuple[int, int, int], list[str]] = {}
        for path in wanted:
            state = self.states.get(path)
            if isinstance(state, tuple):
                found.setdefault(state, []).append(path)
        for segment, live in groupby(sorted(found), key=lambda state: state[0]):
            at, record = -1, {}
            with journal.opened(segment) as file:
                for state in live:
                    if at != state[1]:
                        at = state[1]
                        file.seek(at)
                        record = journal.decoded(segment, at, file.readline(LONGEST))
                    yield record, state[2], found[state]

    def documents(self, journal: Journal) -> Iterator[tuple[str, Any]]:
        """``(path, document)`` of what stands, read from the journal in its order."""
        for doc, paths in self.standing(journal):
            for path in sorted(paths):
                yield path, doc


def record_at(journal: Journal, segment: int, offset: int) -> Record:
    """The record that starts at ``offset`` of ``segment``."""
    for _, line in journal.lines(segment, offset):
        return journal.decoded(segment, offset, line)
    raise Corrupt(f"{journal.path(segment)} has nothing at byte {offset}")


def fold(journal: Journal, first: int, end: Tail | None = None, replay: bool = False,
         along: Callable[[Iterable[int], str, int], Iterable[int]] | None = None) -> tuple[Fold, Tail]:  # fmt: skip
    """Fold every record from segment ``first`` on; in a ``replay`` a bad line in the last segment ends the journal.

    Otherwise only what is folded is looked at in a record: this reads whole journals.  The journal before ``first`` is
    read if something was moved here from there.  ``along``: what the segments are gone through with, to say how far it is.
    """
    folded = Fold()
    last = end.segment if end else max(journal.segments(), default=first)
    segments: Iterable[int] = range(first, last + 1)
    if along:
        segments = along(segments, "parts of the journal read", last + 1 - first)
    tail = _take_all(folded, journal, segments, Tail(0, first, 0), last, end, replay)
    if any(isinstance(state, str) for state in folded.states.values()):
        folded.settle(_states_before(journal, first))
    return folded, tail


def _take_all(folded: Fold, journal: Journal, segments: Iterable[int], tail: Tail, last: int, end: Tail | None,
              replay: bool) -> Tail:  # fmt: skip
    """Take in what `fold` is to; where that ends."""
    for segment in segments:
        stop = end.offset if end and segment == end.segment else None
        for offset, line in _lines(journal, segment, stop, lenient=replay and segment == last):
            if not line.endswith(b"\n"):
                if segment == last:
                    break
                raise journal.corrupt(segment, offset, "it ends in the middle of a line")
            try:
                record = sound(decode(line)) if replay else decode(line)
                folded.take(segment, offset, record)
            except (BadLine, Corrupt, LookupError, TypeError, ValueError, AttributeError) as error:
                if replay and segment == last and isinstance(error, BadLine) and not isinstance(error, Unsound):
                    return tail
                raise journal.corrupt(segment, offset, f"not a record: {error}") from None
            tail = Tail(record["seq"], segment, offset + len(line))
    return tail


def _lines(journal: Journal, segment: int, stop: int | None, lenient: bool) -> Iterator[tuple[int, bytes]]:
    """The lines of a segment; where it is ``lenient`` one that no record can have ends them."""
    try:
        yield from journal.lines(segment, 0, stop)
    except Overlong:
        if not lenient:
            raise


def _states_before(journal: Journal, first: int) -> dict[str, PathState]:
    """The state of each path when segment ``first`` began."""
    return standing(journal, Tail(0, first, 0)).states


def standing(journal: Journal, end: Tail, before: Fold | None = None, known: Tail | None = None) -> Fold:
    """What stands at each path at ``end``, by the whole journal; of a line only its checksum is looked at.

    ``before`` is what stood at ``known``: then only what came after is read, and taken into it.
    """
    folded, start = (before, known) if before and known else (Fold(), Tail(0, journal.segments()[0], 0))
    for segment, offset, line in journal.between(start, end):
        try:
            folded.take_line(segment, offset, line[:-1])
        except BadLine as error:
            raise journal.corrupt(segment, offset, f"not a record: {error}") from None
    return folded


def last_state(journal: Journal, path: str, end: Tail) -> tuple[bool, Any]:
    """Whether the journal names ``path``, and the last document there (None if it was deleted or moved away)."""
    needle = text_needle(path)
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
