"""The fold of a journal: the last state of each path that it names.

Promised: after `fold` its states are what publishing every record in turn would leave; only places in the journal are
kept, so that a journal of any length folds in little memory.  `Corrupt`, naming segment and byte, at what is no record.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import Corrupt
from mbox.journal.segments import LAST, BadLine, Journal, Record, Tail, Unsound, decode, sound


class Fold:
    """The last state of each path: where its document stands in the journal, or that it is gone."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[int, int, int] | None] = {}
        self.leases: dict[str, Document | None] = {}
        self.granted: dict[str, tuple[int, int]] = {}
        self.records = 0
        self.seq = 0

    def take(self, segment: int, offset: int, record: Record) -> None:
        """Take in the record at ``offset`` of ``segment``; `Corrupt` if it names a path that is no place."""
        if record["mv"] or record["del"] or record["lease"]:
            places.check_record(record)
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
