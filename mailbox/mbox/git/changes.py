"""What a stretch of the journal changed: which documents, and where in the journal each now stands.

Promised: after `Delta.read` its fold is the one of these records alone (`projection`), and every line has passed its
checksum.  Nothing but the journal is read, and only places are kept, so that a long journal takes little memory.  Not
promised: that a path is one of the layout's; whoever writes there checks it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from mbox.errors import Corrupt
from mbox.format import documents
from mbox.journal.projection import Fold
from mbox.journal.record import LONGEST, Tail, crc_of
from mbox.journal.segments import Journal

BLOCK = 4 << 20
"""The most bytes of the journal that are read at once, a longer record apart."""

SUBJECT_OPS = 4
"""Kinds of records that a summary names."""


class Delta:
    """The fold of the records since the last commit on the ref, and what the next one says of them.

    A state that is a path is a document of the last commit, which was moved.
    """

    __slots__ = ("crc", "fold", "ops", "slices")

    def __init__(self) -> None:
        self.fold = Fold()
        self.ops: Counter[bytes] = Counter()
        self.slices: list[tuple[int, int, int]] = []
        """Segment, first byte and the byte behind the last."""
        self.crc = ""

    def read(self, journal: Journal, start: Tail, end: Tail) -> None:
        """Take what stands in the journal from ``start`` to ``end``; `Corrupt` at a bad line."""
        take, ops = self.fold.take_line, self.ops
        for segment, offset, block in blocks(journal, start, end):
            self.slices.append((segment, offset, offset + len(block)))
            self.crc = crc_of(block)
            for line in block.split(b"\n")[:-1]:
                try:
                    ops[take(segment, offset, line)] += 1
                except ValueError as error:
                    raise journal.corrupt(segment, offset, f"not a record: {error}") from None
                offset += len(line) + 1

    def documents(self, journal: Journal) -> Iterator[tuple[bytes, list[str]]]:
        """The bytes of every document that was written, as on disk, with the paths where it stands; in their order."""
        return ((documents.render(doc), paths) for doc, paths in self.fold.standing(journal))

    @property
    def records(self) -> int:
        return self.fold.records

    def subject(self, seq: int) -> str:
        """What happened, in a line."""
        most = [one for one in self.ops.most_common(SUBJECT_OPS) if re.fullmatch(rb"[a-z.-]+", one[0])]
        named = [f"{count} {op.decode()}" for op, count in most]
        rest = self.records - sum(count for _, count in most)
        s = "" if self.records == 1 else "s"
        return f"{self.records} record{s} to {seq}: {', '.join([*named, *([f'{rest} others'] if rest else [])])}"


def blocks(journal: Journal, start: Tail, end: Tail) -> Iterator[tuple[int, int, bytes]]:
    """``(segment, offset, whole lines)`` of the journal from ``start`` to ``end``, about `BLOCK` bytes at a time."""
    for segment in range(start.segment, end.segment + 1):
        path = journal.path(segment)
        at = start.offset if segment == start.segment else 0
        stop = end.offset if segment == end.segment else journal.size(segment)
        with journal.opened(segment) as file:
            file.seek(at)
            while at < stop:
                block = file.read(min(BLOCK, stop - at))
                if at + len(block) < stop and not block.endswith(b"\n"):
                    block += file.readline(LONGEST)
                if not block.endswith(b"\n"):
                    raise Corrupt(f"{path} ends at byte {at + len(block)} in the middle of a record")
                yield segment, at, block
                at += len(block)
