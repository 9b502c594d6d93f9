"""The mark: how far the files follow the journal, and until when nobody has to ask.

It stands in the first `SIZE` bytes of the lock file, one line of JSON and its CRC-32, and is written by whoever has the
lock after every record.  Beside what recovery needs it carries *bounds*, so that a small command need not open the
index: until when nothing runs out, until when no lease is to be renewed, and how many numbers were given out lately.
A bound may say too little, never too much.  Where it is not known (0), or reached, the index is asked, which is exact.
(Decision 10.)
"""

from __future__ import annotations

import json
from binascii import crc32
from functools import lru_cache
from typing import Any, NamedTuple

from mbox.format.documents import compact
from mbox.journal.record import Tail

SIZE = 512

AHEAD = 60
"""Minutes by which a clock may be set back before what was sent at the later time no longer counts against anybody."""


class Mark(NamedTuple):
    """How far the files follow the journal, who wrote that, what recovery needs, and the bounds."""

    tail: Tail
    machine: str
    inode: int
    store: str
    wall: float
    synced: float
    """CLOCK_MONOTONIC of the last fsync of the journal (durability ``fast``)."""
    synced_seq: int
    """The last sequence that fsync covered."""
    indexed: int = 0
    """The index follows the journal up to here, and what comes after only delivers mail; 0: not known."""
    due: float = 0.0
    """CLOCK_MONOTONIC before which nothing runs out; 0: not known."""
    renew: float = 0.0
    """Likewise before which no lease is to be renewed, whoever holds it; 0: not known."""
    minute: int = 0
    """The latest minute of the wall clock (since the epoch) in which a mark was written; 0: not known."""
    numbers: tuple[int, int] = (0, 0)
    """The last sequence before that minute, and before the one before it."""
    floor: int = 0
    """Numbers are given above this: a machine's death in ``fast`` may have lost those up to it (`checkpoint`)."""

    def moved(self, tail: Tail, wall: float, machine: str, inode: int, synced: float | None = None) -> Mark:
        """The mark once the files follow up to ``tail``, written at ``wall`` on ``machine`` into the file ``inode``.

        ``synced`` is CLOCK_MONOTONIC of an fsync that covered all of it; None if there was none.
        """
        _, _, _, store, _, before, synced_seq, indexed, due, renew, last, numbers, floor = self
        if synced is not None:
            before, synced_seq = round(synced, 3), tail.seq
        minute = int(wall // 60)
        if minute > last or minute < last - AHEAD:  # a clock that was set back a little comes to this minute again
            first = self.tail.seq if last else 0
            numbers, last = (first, numbers[0] if minute == last + 1 else first), minute
        return Mark(tail, machine, inode, store, round(wall, 3), before, synced_seq, indexed, due, renew, last, numbers,
                    floor)  # fmt: skip

    def unknowing(self) -> Mark:
        """The mark where it is not known how far the index is and what is due next."""
        return self._replace(indexed=0, due=0.0, renew=0.0)

    def made_lately(self, wall: float, seq: int) -> int:
        """How many of the numbers up to ``seq`` were given out in this minute of ``wall`` and the one before, at most."""
        gone = int(wall // 60) - self.minute
        if gone < 0 or not self.minute:
            return seq
        return seq - self.numbers[1 - gone] if gone < 2 else 0

    def line(self) -> bytes:
        """The bytes that stand for it."""
        tail, machine, inode, store, wall, synced, synced_seq, indexed, due, renew, minute, numbers, floor = self
        return line(
            f'{{"tail":[{tail.seq},{tail.segment},{tail.offset}],"machine":{_text(machine)},"inode":{inode},'
            f'"store":{_text(store)},"wall":{wall},"synced":{synced},"synced_seq":{synced_seq},'
            f'"indexed":{indexed},"due":{due},"renew":{renew},"minute":{minute},'
            f'"numbers":[{numbers[0]},{numbers[1]}],"floor":{floor}}}',
            SIZE,
        )  # by hand: it is written with every record


_text = lru_cache(8)(compact)


def line(text: str, size: int) -> bytes:
    """``text``, its checksum, and as many spaces as make it ``size`` bytes, so that one write replaces all of it."""
    data = text.encode()
    return (b"%b %08x" % (data, crc32(data))).ljust(size - 1) + b"\n"


def parsed(data: bytes) -> dict[str, Any] | None:
    """The object in such a line, or None: torn, empty or foreign."""
    text, _, crc = data.rstrip().rpartition(b" ")
    if not text or crc != b"%08x" % crc32(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_SHAPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("machine", "store"), (str,)),
    **dict.fromkeys(("wall", "synced", "due", "renew"), (int, float)),
    **dict.fromkeys(("inode", "synced_seq", "indexed", "minute", "floor"), (int,)),
}


def of(found: dict[str, Any]) -> Mark | None:
    """The mark in what was parsed, or None if another program wrote it.

    What a newer version added is left, and what an older one did not know yet is not known.
    """
    fields = {name: found[name] for name in Mark._fields if name in found}
    fields["tail"] = _numbers(found.get("tail"), 3)
    fields["numbers"] = _numbers(found.get("numbers", [0, 0]), 2)
    shaped = all(type(fields[name]) in types for name, types in _SHAPES.items() if name in fields)
    if not shaped or not fields["tail"] or not fields["numbers"] or not all(_is_ascii(value) for value in fields.values()):
        return None
    try:
        return Mark(**{**fields, "tail": Tail(*fields["tail"])})
    except TypeError:  # a field is missing
        return None


def _is_ascii(value: Any) -> bool:
    """Whether no text stands there that cannot be written."""
    return type(value) is not str or value.isascii()


def _numbers(value: Any, length: int) -> tuple[int, ...]:
    """``value`` if it is a list of so many numbers, else nothing."""
    right = isinstance(value, list) and len(value) == length and all(type(number) is int and number >= 0 for number in value)
    return tuple(value) if right else ()
