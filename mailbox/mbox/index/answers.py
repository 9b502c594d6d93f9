"""What the index answers with, for whoever handles the answers and asks nothing: no question and no table is loaded."""

from __future__ import annotations

from typing import NamedTuple

PAUSE = 1 << 20
"""Bytes walked over after which whoever asks may break off, though nothing was found."""


class Key(NamedTuple):
    """What a caller's key made: the fingerprint of its content, the id, and the record's sequence."""

    print: str
    id: str
    seq: int


class Held(NamedTuple):
    """One pattern of a reservation."""

    rid: str
    agent: str
    shared: bool
    task: str | None
    pattern: str


class Walk:
    """How far somebody has walked over all that is ready, who may break off and go on later: with the lock free in between."""

    __slots__ = ("_seen", "after")

    def __init__(self) -> None:
        self.after: tuple[int, str] | None = None
        """The urgency, negative, and the age of the last task that was found; it is found again."""
        self._seen = 0

    def step(self, size: int) -> bool:
        """Note that a row was looked at; whether it is time for a pause."""
        before = self._seen // PAUSE
        self._seen += size
        return self._seen // PAUSE > before

    def taken(self) -> int:
        """The bytes looked at since the last time."""
        seen, self._seen = self._seen, 0
        return seen


class Damaged(Exception):
    """The index cannot be used; build it again."""
