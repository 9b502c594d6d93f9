"""Time as text: a moment as the documents carry it, a duration as people write and read it.

Promised: pure functions; the clock itself is `host`'s and is handed in.

A duration is written ``90s 15m 2h 1d``, and one parser reads it wherever it stands: a command line, a file.  It is printed
for two purposes.  `format_duration` is exact: what `parse_duration` makes of it is the same number.  `span` and `patience`
are rounded, because a person who reads ``12m left`` wants no more: `span` to the nearest, `patience` up, for whoever waits
so long must not wait in vain.  What any of the three prints of a known time, `parse_duration` reads.
"""

from __future__ import annotations

import time
from functools import lru_cache

SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""The units of a duration."""

inf = float("inf")
"""For ever, in seconds.  Not from the library's `math`, which is a file of its own to load."""

LONGEST_DURATION = 3650 * 86400.0
"""Ten years, in seconds; nobody here knows a longer time."""


def parse_duration(text: str, bare: bool = False) -> float:
    """``90s``, ``15m``, ``2h``, ``1.5d`` in seconds, and ``0``; ValueError says what would be right.

    ``bare`` also takes what a file may say: seconds without a unit, and spaces before one (``7``, ``15 m``).  Never taken:
    signs, exponents, two units, digits other than 0 to 9, and more than ten years.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in SECONDS_OF else (text, "s" if bare or text == "0" else "")
    if bare:
        number = number.rstrip(" ")
    right = "must be a duration such as 90s, 15m, 2h or 30d"
    if not unit or not number.isascii() or not number.replace(".", "", 1).isdecimal():
        raise ValueError(f"{right}, not {text[:60]!r}")
    value = float(number) * SECONDS_OF[unit]
    if value > LONGEST_DURATION:
        raise ValueError(f"{right}, at most ten years, not {text[:60]!r}")
    return value


def format_duration(seconds: float) -> str:
    """The shortest text of which `parse_duration` makes exactly ``seconds``: ``1h``, ``90s``, ``0.5s``, ``0s``."""
    for unit, size in reversed(SECONDS_OF.items()):
        if seconds % size == 0 and (seconds or unit == "s"):
            return f"{int(seconds // size)}{unit}"
    from decimal import Decimal

    return f"{Decimal(repr(seconds)):f}s"


def span(seconds: float) -> str:
    """A time as people say it, rounded: ``45s``, ``12m``, ``3h``; longer than `LONGEST_DURATION` is not known."""
    if seconds > LONGEST_DURATION:
        return "an unknown time"
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)}{unit}"
    return f"{max(0, _up(seconds))}s"


def patience(left: float) -> str:
    """How long to wait for what has ``left`` seconds, rounded up, as the value of ``--wait``: at least ``1s``."""
    return f"{_up(left / 60)}m" if left > 90 else f"{max(1, _up(left))}s"


def stamp(seconds: float) -> str:
    """Wall time ``seconds`` since the epoch as RFC 3339 in UTC with microseconds: ``2026-01-02T03:04:05.000006Z``."""
    whole = int(seconds // 1)
    micro = round((seconds - whole) * 1e6)
    if micro == 1_000_000:
        whole, micro = whole + 1, 0
    return f"{_second(whole)}.{micro:06d}Z"


@lru_cache(16)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def seconds(text: str) -> float:
    """The inverse of `stamp`; ValueError for anything else."""
    from datetime import UTC, datetime

    if not text.endswith("Z"):
        raise ValueError(f"not a UTC time: {text!r}")
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC).timestamp()


def _up(number: float) -> int:
    """``number``, rounded up."""
    return -int(-number // 1)
