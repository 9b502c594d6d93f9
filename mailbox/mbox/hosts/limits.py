"""When a program's limit is reset, by the words on its screen.

Known: a time from now (``try again in 2 days 17 hours``, ``reset after 3h20m``, ``in about an hour``), a time of day
(``resets 8:30pm (Asia/Tokyo)``, ``try again at 3:04 PM PDT``, ``at midnight``) and a day with one, in any order: ``resets Jul
26, 5:59am``, ``again at Jul 5th, 2026 8:19 PM``, ``21 July 03:00``, ``2026-07-21T03:00:00Z``, ``tomorrow``, ``Tuesday 9am``.
Without a zone it is this machine's.  A time without a day, or with a day of the week, is the first that is not ``ago``
already: a screen may have stood for hours.  A day without a year is the nearest one.

What may mean two things (``3/4/2026``), or a word that is not known (another language's month, a zone), is no time at all:
then the caller waits for as long as where nothing is named.

Promised: a pure function of the words and of now.  Not promised: that the program keeps its word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

LONGEST = 35 * 86400.0
"""Seconds; what is further away is not believed."""

AGO = 43200.0
"""Seconds for which a reset may be over, where nobody saw the limit come."""

_NAMED = re.compile(r"\b(?:again|reset(?:s|ting)?|retry|back|until|automatically)\b:?", re.I)
_UNITS = "weeks?|days?|hours?|hrs?|minutes?|mins?|seconds?|secs?|[wdhms]"
_SPAN = re.compile(
    r" (?:in|after|within) (?:(?:about|around|approximately|less than|under|~) ?)?"
    rf"((?:(?:an? |[0-9]+(?:\.[0-9]+)? ?)(?:{_UNITS})(?![a-z])[ ,]*(?:and )?)+)",
    re.I,
)
_PART = re.compile(r"(an?(?= )|[0-9.]+) ?([wdhms])", re.I)
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = {"midnight": 0, "noon": 12}
_OFFSETS = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
"""Short names that programs show in American English; everywhere else these show an offset."""

_NAME = rf"(?P<name>{'|'.join(_MONTHS)})[a-z]*\.?"
_YEAR = r"(?:,? (?P<year>20[0-9]{2})\b)?"
_PIECES = [re.compile(rf"[ ,.·]*(?:(?:at|on|by|the|next) )?{piece}", re.I) for piece in (
    r"(?P<year>20[0-9]{2})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})T?",
    rf"{_NAME} (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?\b(?!:){_YEAR}",
    rf"(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th|\.)? {_NAME}{_YEAR}",
    r"(?P<one>[0-9]{1,2})/(?P<other>[0-9]{1,2})(?:/(?P<year>20[0-9]{2}))?\b",
    r"(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?P<year>20[0-9]{2})?",
    r"(?P<near>today|tomorrow)\b",
    rf"(?P<week>{'|'.join(_WEEK)})[a-z]*\b",
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))?(?::[0-9]{2})? ?(?P<half>[ap])\.?m\b\.?",
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::[0-9.]+)?",
    rf"(?P<hour>{'|'.join(_HOURS)})\b",
    r"\((?P<zone>[A-Za-z_+/0-9 :-]+)\)",
    rf"(?P<zone>(?-i:(?:UTC|GMT)?[+-][0-9]{{1,2}}(?::?[0-9]{{2}})?|UTC|GMT|Z|[A-Z][a-z]+/[A-Z]\w+|{'|'.join(_OFFSETS)}))\b",
)]  # fmt: skip


def left(words: str, wall: float, ago: float = AGO) -> float | None:
    """Seconds from ``wall`` until the reset that ``words`` name, 0 if it is over; None where they name none."""
    when = moment(words, wall, ago)
    return None if when is None else max(when - wall, 0.0)


def moment(words: str, wall: float, ago: float = AGO) -> float | None:
    """When the reset is that ``words`` name, on the clock of ``wall``; None where they name none."""
    text = phrase(words)
    try:
        if span := _SPAN.match(text):
            when = wall + sum(_number(count) * _SECONDS[unit.lower()] for count, unit in _PART.findall(span[1]))
        elif said := _said(text)[0]:
            when = _when(said, wall, ago)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return when if when - wall <= LONGEST else None


def phrase(words: str) -> str:
    """The part of ``words`` that names a reset; empty where there is none."""
    text = " ".join(words.replace(" / ", " ").split())
    for found in _NAMED.finditer(text):
        rest = text[found.end():]
        if named := span[0] if (span := _SPAN.match(rest)) else rest[:_said(rest)[1]]:
            return named
    return ""


def _number(word: str) -> float:
    return 1.0 if word.lower() in ("a", "an") else float(word)


def _said(text: str) -> tuple[dict[str, str], int]:
    """The pieces of a date and a time that stand at the beginning of ``text``, and where they end."""
    said: dict[str, str] = {}
    at = 0
    while found := next((match for piece in _PIECES if (match := piece.match(text, at))), None):
        new = {name: word for name, word in found.groupdict().items() if word}
        if new.keys() & said.keys():
            break
        said |= new
        at = found.end()
    return (said, at) if said.keys() - {"zone"} else ({}, 0)


def _when(said: dict[str, str], wall: float, ago: float) -> float:
    """The moment that is meant; ValueError where it is none, or could be another."""
    from datetime import datetime, timedelta

    now = datetime.fromtimestamp(wall, _zone(said.get("zone")))
    at = now.replace(hour=_hour(said), minute=int(said.get("minute", 0)), second=0, microsecond=0)
    if date := _date(said):
        month, day = date
        years = [int(said["year"])] if "year" in said else [now.year - 1, now.year, now.year + 1]
        return min((_on(at, year, month, day).timestamp() for year in years), key=lambda when: abs(when - wall))
    if near := said.get("near"):
        return (at + timedelta(days=near.lower() == "tomorrow")).timestamp()
    step, first = 1, -1
    if week := said.get("week"):
        step, first = 7, _WEEK.index(week.lower()) - now.weekday() - 7
    times = [(at + timedelta(days=first + step * number)).timestamp() for number in range(4)]
    return next(when for when in times if when - wall > -ago)


def _on(at: datetime, year: int, month: int, day: int) -> datetime:
    return at.replace(year=year, month=month, day=day)


def _hour(said: dict[str, str]) -> int:
    """The hour of a day; its first where only a day is named."""
    word = said.get("hour", "0").lower()
    hour = _HOURS[word] if word in _HOURS else int(word)
    if "half" not in said:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(hour)
    return hour % 12 + 12 * (said["half"].lower() == "p")


def _date(said: dict[str, str]) -> tuple[int, int] | None:
    """Month and day, where both are named; ValueError where one could be the other."""
    if "one" in said:
        one, other = int(said["one"]), int(said["other"])
        if one <= 12 and other <= 12 and one != other:
            raise ValueError(said)
        return (one, other) if one <= 12 else (other, one)
    if "day" not in said:
        return None
    return int(said.get("month") or _MONTHS.index(said["name"].lower()) + 1), int(said["day"])


def _zone(name: str | None) -> tzinfo | None:
    """The zone of that name; None, this machine's own, where none is said."""
    from datetime import UTC, timedelta, timezone
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name is None:
        return None
    name = name.replace(" ", "")
    if name in ("Z", "UTC", "GMT"):
        return UTC
    if name in _OFFSETS:
        return timezone(timedelta(hours=_OFFSETS[name]))
    if found := re.fullmatch(r"(?:UTC|GMT)?([+-])([0-9]{1,2}):?([0-9]{2})?", name):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return timezone(-offset if found[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(name) from None
