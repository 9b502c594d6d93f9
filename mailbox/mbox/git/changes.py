"""What a stretch of the journal changed: which documents, and where in the journal each now stands.

Promised: after `Delta.read` its states are what recovery's fold of the same records makes of every path they name, and
every line has passed its checksum.  Nothing but the journal is read, and only places are kept, so that a long journal
takes little memory.  Not promised: that a path is one of the layout's; whoever writes there checks it.
"""

from __future__ import annotations

import json
import re
from binascii import crc32
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from mbox.format import documents
from mbox.format.documents import Document
from mbox.errors import Corrupt
from mbox.journal.segments import Journal, Tail, decode

BLOCK = 4 << 20
"""The most bytes of the journal that are read at once, a longer record apart."""

SUBJECT_OPS = 4
"""Kinds of records that a summary names."""


class Delta:
    """The last state of each path, and the stretches of the journal that were read."""

    GONE = -1
    COUNT = 24
    """Bits for the number of the document in its record."""
    OFFSET = 48
    """Bits for the byte in the segment."""

    def __init__(self) -> None:
        self.states: dict[str, int | str] = {}
        """By path: the place of the document, `GONE`, or the path on the ref from which it was moved here."""
        self.ops: Counter[bytes] = Counter()
        self.slices: list[tuple[int, int, int]] = []
        """Segment, first byte and the byte behind the last."""
        self.records = 0
        self.crc = ""

    def read(self, journal: Journal, start: Tail, end: Tail) -> None:
        """Take what stands in the journal from ``start`` to ``end``; `Corrupt` at a bad line."""
        states, ops = self.states, self.ops
        for segment, offset, block in blocks(journal, start, end):
            self.slices.append((segment, offset, offset + len(block)))
            base = segment << self.OFFSET
            for line in block.split(b"\n")[:-1]:
                sound = line[-18:] == b',"crc":"%08x"}' % crc32(line[:-18])
                found = cut(line) if sound else None
                if found is None:
                    self._take(_parsed(journal, segment, offset, line), base | offset)
                else:
                    op, puts, gone = found
                    ops[op] += 1
                    place = (base | offset) << self.COUNT
                    for path in puts:
                        states[path] = place
                    for path in gone:
                        states[path] = self.GONE
                offset += len(line) + 1
                self.crc = line[-10:-2].decode()
        self.records = ops.total()

    def _take(self, record: Document, at: int) -> None:
        self.ops[record["op"].encode()] += 1
        for n, (_doc, paths) in enumerate(record["put"]):
            for path in paths:
                self.states[path] = at << self.COUNT | n
        for source, target in record["mv"]:
            self.states[target] = self.states.get(source, source)
            self.states[source] = self.GONE
        for path in record["del"]:
            self.states[path] = self.GONE

    def documents(self, journal: Journal) -> Iterator[tuple[bytes, list[str]]]:
        """The bytes of every document that was written, as on disk, with the paths where it stands; in their order."""
        standing: dict[int, list[str]] = {}
        for path, state in self.states.items():
            if isinstance(state, int) and state != self.GONE:
                standing.setdefault(state, []).append(path)
        for segment, states in groupby(sorted(standing), lambda state: state >> self.COUNT + self.OFFSET):
            with journal.opened(segment) as file:
                at, puts = -1, list[Any]()
                for state in states:
                    if state >> self.COUNT != at:
                        at = state >> self.COUNT
                        file.seek(at & (1 << self.OFFSET) - 1)
                        puts = json.loads(file.readline())["put"]
                    yield documents.render(puts[state & (1 << self.COUNT) - 1][0]), standing[state]

    @property
    def count(self) -> int:
        """How many documents are new or different."""
        return sum(1 for state in self.states.values() if state != self.GONE)

    def subject(self, seq: int) -> str:
        """What happened, in a line."""
        most = [one for one in self.ops.most_common(SUBJECT_OPS) if re.fullmatch(rb"[a-z.-]+", one[0])]
        named = [f"{count} {op.decode()}" for op, count in most]
        rest = self.records - sum(count for _, count in most)
        s = "" if self.records == 1 else "s"
        return f"{self.records} record{s} to {seq}: {', '.join([*named, *([f'{rest} others'] if rest else [])])}"


def _parsed(journal: Journal, segment: int, offset: int, line: bytes) -> Document:
    try:
        return decode(line)
    except ValueError as error:
        raise Corrupt(f"{journal.path(segment)} at byte {offset}: not a record: {error}") from None


def cut(line: bytes) -> tuple[bytes, Sequence[str], Sequence[str]] | None:
    """The operation of a record, and the paths that it puts and deletes, without parsing it; None: it must be parsed.

    It is cut where only its own fields can be.  No text can contain an unescaped quote, so ``,"mv":[`` stands outside
    of all texts; its last occurrence is the record's own field, because behind it come only paths and leases.  A record
    with two documents has ``]],[`` between them, and so at least four closing brackets.
    """
    if line[:13] != b'{"v":1,"seq":':
        return None
    op = line.find(b',"op":"') + 7
    puts = line.find(b',"put":[', op) + 8
    moves = line.rfind(b',"mv":[')
    if not 7 < op < puts < moves or line[moves : moves + 16] != b',"mv":[],"del":[':
        return None
    put, gone = line[puts : moves - 1], line[moves + 16 : line.find(b'],"lease":[', moves)]
    paths: Sequence[str] = ()
    if put:
        names = put.rfind(b',["')
        if names < 0 or put[-3:] != b'"]]' or (put.count(b"]") > 3 and b"]],[" in put):
            return None
        paths = put[names + 3 : -3].decode().split('","')
    return line[op : line.find(b'"', op)], paths, gone[1:-1].decode().split('","') if gone else ()


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
                    block += file.readline()
                if not block.endswith(b"\n"):
                    raise Corrupt(f"{path} ends at byte {at + len(block)} in the middle of a record")
                yield segment, at, block
                at += len(block)
