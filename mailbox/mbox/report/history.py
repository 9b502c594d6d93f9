"""The journal as people ask for it: filtered, newest first or followed.

Reads without the lock, up to the mark only, so that a record is never shown before its documents follow; `follow` takes
it for what is committed and not published yet (`mbox.store.waiting`).  Starting points are found from the end
(``--limit``) or by bisection (``--since``), never by reading the journal from its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mbox.errors import Usage
from mbox.format import places
from mbox.journal.record import Record, Tail, decode, op_needle, text_needle
from mbox.store.store import Store
from mbox.system.clock import parse_duration, seconds

if TYPE_CHECKING:
    from mbox.store.waiting import Waker


class RecordFilter(NamedTuple):
    """Which records are wanted; an empty field wants all.  ``op`` ending in ``.`` or ``*`` is a prefix."""

    agent: str = ""
    task: str = ""
    op: str = ""
    since_seq: int = 0
    since_time: str = ""
    run: str = ""
    """A run of a workflow: its own records, and those of its tasks and workers."""

    def wants(self, record: Record) -> bool:
        """Whether ``record`` passes."""
        op = self.op.rstrip("*")
        return (
            (not self.agent or record["by"] == self.agent or self.agent in record["on"])
            and (not self.task or self.task in record["on"])
            and (not self.run or any(one == self.run or one.startswith(f"{self.run}.") for one in (record["by"], *record["on"])))
            and (not op or record["op"] == op or ((op != self.op or op.endswith(".")) and record["op"].startswith(op)))
        )

    def may_want(self, line: bytes) -> bool:
        """A cheap look at the raw line: False only if `wants` would be False."""
        return all(word in line for word in self._words())

    @lru_cache(1)  # noqa: B019 - a tuple, not an instance with a life of its own
    def _words(self) -> tuple[bytes, ...]:
        """What stands in the line of every record that passes."""
        words = [text_needle(word) for word in (self.agent, self.task) if word]
        if self.run:
            words.append(text_needle(self.run)[1:-1])
        if op := self.op.rstrip("*"):
            words.append(op_needle(op, prefix=op != self.op or op.endswith(".")))
        return tuple(words)

    def is_over(self, record: Record) -> bool:
        """Whether ``record`` and everything before it lies before the start."""
        return bool(record["seq"] <= self.since_seq or (self.since_time and record["ts"] < self.since_time))


def since(text: str, wall: float) -> RecordFilter:
    """A filter that starts at a sequence (``1200``), a duration ago (``2h``), or a UTC time (``2026-01-02T03:04:05Z``)."""
    from mbox.system.clock import stamp

    if text.isdecimal():
        return RecordFilter(since_seq=int(text))
    if (text[:1].isdecimal() and "T" in text) or text.count("-") == 2:
        return RecordFilter(since_time=_time(text))
    try:
        return RecordFilter(since_time=stamp(wall - parse_duration(text)))
    except ValueError:
        known = "a duration (2h), a sequence (1200) or a time (2026-01-02T03:04:05Z)"
        raise Usage(f"--since {text!r} is none of {known}") from None


def _time(text: str) -> str:
    from datetime import UTC, datetime

    from mbox.system.clock import stamp

    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise Usage(f"--since {text!r}: not a time; write it like 2026-01-02T03:04:05Z") from None
    return stamp((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def newest(store: Store, wanted: RecordFilter, limit: int) -> tuple[list[Record], bool]:
    """The newest ``limit`` records that pass (0: all), oldest first; and whether older ones were left out."""
    found: list[Record] = []
    for segment, offset, line in store.journal.backwards(store.end()):
        if not wanted.may_want(line) and not (wanted.since_seq or wanted.since_time):
            continue
        try:
            record = decode(line)
            over, passes = wanted.is_over(record), wanted.wants(record)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise store.journal.corrupt(segment, offset, f"not a record: {error}") from None
        if over:
            break
        if passes:
            if limit and len(found) == limit:
                return found[::-1], True
            found.append(record)
    return found[::-1], False


def follow(store: Store, wanted: RecordFilter, place: Tail, waker: Waker) -> Iterator[Record]:
    """Records after ``place`` that pass, without end; ``waker`` wakes when the journal may have grown."""
    from mbox.store.waiting import until

    def grown() -> Tail | None:
        end = store.end()
        return end if end > place else None

    while True:
        end = until(store, waker, grown) or place
        yield from (record for _, record in store.journal.records(place, end) if wanted.wants(record))
        place = end


def row(record: Record) -> dict[str, object]:
    """The short form of a record: ``seq ts by op on why``."""
    return {name: record[name] for name in ("seq", "ts", "by", "op", "on", "why")}


class Titles:
    """What the tasks and messages that records are about are called, each looked up once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, str] = {}

    def of(self, record: Record) -> str:
        """The title of the first task, or the subject of the first message, that ``record`` is about; empty if there is none."""
        for doc, paths in record["put"]:
            if paths and places.kind(paths[0]) in ("task", "message"):
                self._known.setdefault(places.ident(paths[0]), doc.get("title") or doc.get("subject") or "")
        return next(filter(None, map(self._title, record["on"])), "")

    def _title(self, ident: str) -> str:
        if ident not in self._known:
            self._known[ident] = self._found(ident) if places.is_name(ident) else ""
        return self._known[ident]

    def _found(self, ident: str) -> str:
        store = self._store
        if task := store.glance(places.task(ident)):
            return str(task["title"])
        if ident[:1] != "m" or not places.number(ident):
            return ""
        return next((str(doc.get("subject") or "") for doc, _ in store.made(ident)), "")


def age(store: Store, when: str) -> float:
    """Seconds since the time stamp ``when``, never negative."""
    return max(0.0, store.host.wall() - seconds(when))
