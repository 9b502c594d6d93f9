"""When to ring an agent's doorbell: pure decisions about which mail was rung for, and when to look again.

States of one agent's bell, keyed on *which* messages are unread, never on how many:

    silent --unread mail--> due --rung--> waiting --time--> due … --too often--> held --the longest time--> due
                             due --busy, typing, dialog, copy-mode, gone--> postponed --time--> due
    any state --a message was read, or nothing is unread any more--> silent (or due, if other mail is unread)
    waiting, held --a message that was not rung for--> due at once
    silent --all that is unread was shown to the agent by its hooks--> waiting

A bell that was *taken* stands for every message that was unread then.  If none of them is read, it is rung again after
``nudge_again``, then after twice as long, up to ``nudge_longest``; after ``nudge_tries`` bells for the same mail the
agent is *held*: it is rung for at the longest time only.  That it does not react is told once, after `TOLD` bells.  A bell
that could not be rung is no try; it is only looked at again, after the same growing times.

A function of its arguments: nothing here knows a clock or a store.  What is kept of a bell between two processes may be
lost; then the agent is rung once more than it had to be.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

TAKEN = "taken"
"""The outcome of a bell that was seen to be taken."""

TOLD = 2
"""Bells that were taken, for mail of which none was read, after which it is told: by then two scans have seen it."""

LEFT = frozenset({"@line"})
"""Stands for unread mail where there is none, but the line of an earlier bell may still have to be taken away."""


def reason(ids: Collection[str]) -> str:
    """What a bell is for, in words."""
    return "a line that was left" if set(ids) == LEFT else f"{len(ids)} unread"


class Rules(NamedTuple):
    """Seconds until the first look again, the longest such time, and how often the same mail is rung for."""

    again: float
    longest: float
    tries: int


class Bell(NamedTuple):
    """What is known of one agent's bell.  ``next_at`` is on the caller's monotonic clock."""

    ids: frozenset[str] = frozenset()
    """The messages it was rung for, or could not be."""
    tries: int = 0
    delay: float = 0.0
    next_at: float = 0.0
    held: bool = False
    outcome: str = ""

    def doc(self, now: float) -> dict[str, Any]:
        """For a file: times as seconds from ``now``."""
        return {**self._asdict(), "ids": sorted(self.ids), "next_at": round(self.next_at - now, 3)}

    @classmethod
    def of(cls, doc: dict[str, Any], now: float) -> Bell:
        """The inverse of `doc`; ValueError, TypeError or LookupError if it is none."""
        return cls(
            frozenset(map(str, doc["ids"])), int(doc["tries"]), float(doc["delay"]), now + float(doc["next_at"]),
            bool(doc["held"]), str(doc["outcome"]),
        )  # fmt: skip


def seen(bell: Bell, unread: frozenset[str]) -> Bell:
    """``bell`` after a look at what is unread: a fresh one as soon as any message it stood for was read."""
    return bell if bell.ids <= unread else Bell()


def offered(unread: frozenset[str], now: float, rules: Rules) -> Bell:
    """The bell for mail that the agent's own hooks have shown it already: it has as long to read it as after a bell."""
    return Bell(unread, 0, rules.again, now + rules.again)


def is_due(bell: Bell, unread: frozenset[str], now: float) -> bool:
    """Whether to ring now; ``bell`` has `seen` what is unread."""
    if not unread:
        return False
    if unread - bell.ids:
        return bell.outcome in ("", TAKEN) or now >= bell.next_at
    return now >= bell.next_at


def rung(bell: Bell, unread: frozenset[str], outcome: str, now: float, rules: Rules) -> Bell:
    """``bell`` after it was rung, or could not be, for what is unread."""
    same = bool(bell.ids) and not unread - bell.ids
    delay = min(bell.delay * 2, rules.longest) if bell.delay and (same or outcome == bell.outcome != TAKEN) else rules.again
    tries = (bell.tries if same else 0) + (outcome == TAKEN)
    if tries >= rules.tries:
        delay = rules.longest
    return Bell(unread, tries, delay, now + delay, tries >= rules.tries, outcome)


def next_at(bell: Bell, unread: frozenset[str]) -> float | None:
    """When to look again if nothing changes; None if only a change can make it ring."""
    return bell.next_at if unread else None
