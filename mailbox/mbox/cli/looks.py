"""How what a person reads looks on a terminal: a colour for states, for what is urgent, for who is dead.

Promised: only whole cells are coloured, their texts unchanged, and each colour ends where its cell does.  The sixteen
colours of every terminal, by what they mean in its own palette; what is said by colour stands there as a word, too.
Loaded only where a terminal shows colours (`output.is_coloured`).
"""

from __future__ import annotations

from typing import Any

RED, GREEN, YELLOW, BLUE, MAGENTA = "31", "32", "33", "34", "35"
BOLD, DIM = "1", "2"

WORDS = {
    **dict.fromkeys(("alive", "running", "ready", "up", "done", "free", "own", "taken"), GREEN),
    **dict.fromkeys(("claimed", "busy", "waiting", "draining", "no heartbeat", "unread", "held", "reserved"), YELLOW),
    **dict.fromkeys(("dead", "failed", "deadletter", "expired", "blocked", "broken", "incapable", "gone", "stranded"), RED),
    "review": MAGENTA,
    **dict.fromkeys(("cancelled", "acked", "down", "ended", "idle"), DIM),
}
"""What a state's word is coloured with."""

STATES = frozenset(["status", "state", "alive", "doing", "reason", "outcome", "left"])
"""Fields that hold such a word."""

URGENT = 8
"""The least priority that counts as urgent."""


def tinted(text: str, colour: str) -> str:
    """``text`` in that colour."""
    return f"\x1b[{colour}m{text}\x1b[0m" if text and colour else text


def paint(name: str, value: Any, text: str) -> str:
    """A cell of the field ``name``; see `output.Paint`."""
    if name in STATES and isinstance(value, str):
        return tinted(text, WORDS.get(value, ""))
    if name in ("priority", "urgency") and isinstance(value, int) and value >= URGENT:
        return tinted(text, RED)
    if (name == "expired" and value) or (name in ("clean",) and value is False):
        return tinted(text, RED)
    return text
