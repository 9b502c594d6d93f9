"""Agents that are alive and get nowhere: at a question, or at a limit.  Who is told, and what of it.

At each scan the watchdog looks at the screen of everybody who has a pane, also of those who have no mail:

    (moves) --a question or a limit is seen--> noted --seen again at the next scan--> told
    noted, told --idle or busy is seen, or the program has ended--> (moves)
    (moves) --idle is seen--> its bell is rung at once, if there is mail

*Noted* stands in the watchdog's memory, so that `mbox status` says it; *told* is one message to the superior, with the words
on the screen.  Its key is when the question was first seen, or which limit it is: a watchdog that is killed between
message and memory does not send it twice, and a limit that is met again at each bell is told once.  A limit is the same as long
as its reset is, whatever else comes and goes beside it.

At a limit nothing is rung for until the reset that the screen names, else for the longest time between two bells; while the
screen still says so after that, at that longest time, also where each bell starts a turn that ends at the limit again.

Functions of their arguments.  Not promised: that the words on the screen are the program's; they are data, as mail is.
"""

from __future__ import annotations

from binascii import crc32
from typing import Any, NamedTuple

from mbox.system.clock import stamp

DIALOG, LIMIT = "dialog", "limit"
"""States of a screen at which an agent gets nowhere."""

IDLE = "idle"

MOVES = (IDLE, "busy")
"""States that show that it goes on; any other says nothing about it."""

OVER = 7200.0
"""Seconds for which a reset may be over that is named by a screen which was seen to come."""

LONGEST = 600
"""Characters of a screen that are told, its last ones."""


class Stuck(NamedTuple):
    """What was seen of one agent.  ``until`` is on the caller's monotonic clock, 0 but at a limit."""

    state: str
    words: str
    since: str
    """When it was first seen."""
    about: str
    """What tells it from another question or limit."""
    until: float = 0.0
    scans: int = 1
    told: bool = False

    def doc(self, now: float) -> dict[str, Any]:
        """For a file: times as seconds from ``now``."""
        return {**self._asdict(), "until": round(self.until - now, 3)}

    @classmethod
    def of(cls, doc: dict[str, Any], now: float) -> Stuck:
        """The inverse of `doc`; ValueError, TypeError or LookupError if it is none."""
        state, words, since, about = (str(doc[name]) for name in ("state", "words", "since", "about"))
        return cls(state, words, since, about, now + float(doc["until"]), int(doc["scans"]), bool(doc["told"]))

    def what(self) -> str:
        """What it is, for people."""
        return "waits at a question" if self.state == DIALOG else "has come to a limit"


def seen(before: Stuck | None, state: str, words: str, wall: float, mono: float, longest: float, moved: bool) -> Stuck:
    """What is known after a scan that saw ``state``, `DIALOG` or `LIMIT`, with ``words`` on the screen.

    ``moved``: whether the agent was seen to move before, so that a reset without a day is one that comes.
    """
    from mbox.hosts import limits

    words = words[-LONGEST:]
    reset = limits.phrase(words) if state == LIMIT else ""
    if before is not None and before.state == state and (
        state == DIALOG or before.words == words or (reset and reset == limits.phrase(before.words))
    ):
        return before._replace(words=words, scans=before.scans + 1)
    since = stamp(wall)
    if state == DIALOG:
        return Stuck(state, words, since, since)
    left = limits.left(words, wall, OVER if moved else limits.AGO)
    day = stamp(wall + (left or 0))[:10]
    about = f"{crc32((reset or words).encode()):08x}-{day}"
    return Stuck(state, words, since, about, mono + (longest if left is None else left))


def lines(memory: dict[str, Any]) -> list[str]:
    """Who gets nowhere by the memory of the last watchdog, for people; nothing where it cannot be read."""
    try:
        found = {name: Stuck.of(doc, 0.0) for name, doc in memory.get("stuck", {}).items()}
        deaf = {name: str(words) for name, words in memory.get("deaf", {}).items() if name not in found}
    except (LookupError, TypeError, ValueError, AttributeError):
        return []
    return [
        *(f"{name} {at.what()} since {at.since}: {short(at.words)}" for name, at in found.items()),
        *(f"{name} does not react to its doorbell, look at its pane: {short(words)}" for name, words in deaf.items()),
    ]


def short(text: str, most: int = 200) -> str:
    """At most the last ``most`` characters of what a screen says."""
    return text if len(text) <= most else f"…{text[-most:]}"
