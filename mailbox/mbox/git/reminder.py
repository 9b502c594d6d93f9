"""The reminder that an audit commit is due, where no watchdog makes them: every so many records, once.

Promised: the command whose record is the ``audit.every``-th since the last audit commit is told, and no other.  Not
promised: that through the loss of ``.mailbox/cache/audit``, the one file; then it counts from the journal's start, or
in a long journal from there on.
"""

from __future__ import annotations

from typing import NamedTuple

from mbox.errors import StoreError
from mbox.format.places import AUDITED
from mbox.journal.record import Tail
from mbox.store.store import Store

from .changes import blocks
from .repository import around

SIZE = 256
"""Bytes of the file at most."""


class Reminder(NamedTuple):
    """The place that the ref reaches, how many records behind it were mentioned already, and the sequence before
    which no further mention can be due.
    """

    seq: int
    segment: int
    offset: int
    said: int
    due: int

    @classmethod
    def load(cls, store: Store) -> Reminder | None:
        try:
            return cls(*map(int, store.bytes_of(AUDITED, SIZE).split()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, store: Store) -> None:
        """Write it; where that fails, the next mention comes at another time, no more."""
        try:
            store.put_ephemeral(AUDITED, (" ".join(map(str, self)) + "\n").encode())
        except (OSError, StoreError):
            pass

    @classmethod
    def begin(cls, store: Store, end: Tail) -> Reminder:
        """Count from ``end`` on."""
        made = cls(*end, 0, end.seq + store.config.audit_every)
        made.save(store)
        return made


def remind(store: Store) -> tuple[int, str]:
    """Under the lock, when it may be due: the sequence at which to ask again, and what to say now, or nothing.

    A record may take many numbers, so that what was counted in numbers is now counted in records.
    """
    every, tail = store.config.audit_every, store.tail
    known = Reminder.load(store)
    since = known or Reminder(0, 1, 0, 0, every)
    try:
        count = sum(block.count(b"\n") for _, _, block in blocks(store.journal, Tail(*since[:3]), tail))
    except (OSError, StoreError):
        count = -1
    if count < 0 or (known is None and count >= 2 * every):
        return Reminder.begin(store, tail).due, ""
    if count < since.said + every:
        since = since._replace(due=tail.seq + since.said + every - count)
        since.save(store)
        return since.due, ""
    said = count - count % every
    since = since._replace(said=said, due=tail.seq + said + every - count)
    since.save(store)
    if around(store.root) is None:
        return since.due, ""
    return since.due, f"{count} records since the last audit commit; it is time for `mbox audit commit`"
