"""What a field of a person's file may hold, one checker a kind: of plans, teams, hosts and the configuration.  Pure functions.

Promised: a checker gets a field's name and its value as `parsing` read it, and returns what the caller keeps, or raises
`Usage` with the field, what it must be, what it is, and the mend.  Nothing is coerced: ``title: yes`` is no text.  What
stands inside a mapping or list of YAML is refused with its own line and column (`Misfit`).
Not promised: that a path is a good pattern, or that what an id names exists.

On the path of every command, for the configuration: nothing is imported here that is not loaded anyway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import Usage, did_you_mean
from mbox.system.clock import parse_duration

from . import checks
from .checks import TITLE, shown
from .documents import composed

if TYPE_CHECKING:
    from .parsing import Place

WORD = 64
"""The most characters of a stage, label or capability."""

WORDS = 64
"""The most words that a task may require, labels that it may bear, and capabilities that an agent may have."""

DEPENDENCIES = 500
"""Tasks that one task may depend on at most; more are said by a task between."""

Check = Callable[[str, Any], Any]
"""A checker: the name of a field and its value → what is kept."""


class Misfit(Usage):
    """What stands at ``place`` (None: nobody knows) is not what it must be; ``problem`` says what it must be."""

    def __init__(self, problem: str, place: Place | None = None) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place


def placed(field: str, value: Any, check: Check, place: Place | None) -> Any:
    """What ``check`` makes of ``value``, which stands at ``place``; `Misfit` says so, or names a place further inside."""
    try:
        return check(field, value)
    except Usage as error:
        if isinstance(error, Misfit) and error.place:
            raise
        raise Misfit(str(error), place) from None


def place_in(holder: Any, key: Any, table: str = "at") -> Place | None:
    """Where ``holder[key]`` stands, or with ``key_at`` its key; None of what is not from YAML."""
    places = getattr(holder, table, None)
    return places[key] if places else None


# -- text -------------------------------------------------------------------------------------------------------------


def plain_text(field: str, value: Any) -> str:
    """A text, whatever it says."""
    if isinstance(value, str):
        return value
    mend = "write some, or leave the field out" if value is None else "write it in quotes"
    raise Usage(f"{field} must be text, not {shown(value)}" + ("" if isinstance(value, dict | list) else f": {mend}"))


def text(field: str, value: Any) -> str:
    """A text of any length that a document takes."""
    return checks.text(field, plain_text(field, value))


def line(field: str, value: Any) -> str:
    """A title: one line."""
    return checks.line(field, text(field, value), TITLE)


COMMAND = 1000
"""Characters of a command's line at most."""


def command(field: str, value: Any) -> str:
    """A line that a shell will run."""
    said = plain_text(field, value)
    if not said.strip() or len(said) > COMMAND or not said.isprintable():
        raise Usage(f"{field} must be a command on one line of 1 to {COMMAND} printable characters, not {shown(said)}")
    return said


def word(field: str, value: Any) -> str:
    """One word of a filter: a stage, label or capability, in NFC."""
    said = checks.line(field, text(field, value), WORD)
    if re.search(r"[\s,]", said):
        raise Usage(f"{field} {checks.quoted(said)} is not one word: use - for spaces and commas")
    return composed(said)


def label(field: str, value: Any) -> str:
    """A short text that is shown: a role, a capability, the name of a stage; in NFC."""
    said = plain_text(field, value)
    if not 0 < len(said) <= WORD or not said.isprintable():
        raise Usage(f"{field} must be 1 to {WORD} printable characters, not {shown(said)}")
    return composed(said)


def check_words(said: Mapping[str, Any]) -> None:
    """`Usage` where one of the lists of words in ``said``, fields of a task or an agent, is longer than any may be."""
    for field in ("requires", "labels", "capabilities"):
        words = said.get(field) or ()
        _check_count(field, words, WORDS)
        longest = max(map(len, words), default=0)
        if longest > WORD:
            raise Usage(f"{field} has a word of {longest} characters: at most {WORD}")


def path(field: str, value: Any) -> str:
    """A pattern, as it stands there."""
    if not text(field, value):
        raise Usage(f"{field} has an empty pattern")
    return str(value)


def expression(field: str, value: Any) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(text(field, value))
    except re.error as error:
        raise Usage(f"{field} must be a regular expression, not {shown(value)}: {error}") from None


def _by(rule: Callable[[str], str]) -> Callable[[str, Any], str]:
    def checked(field: str, value: Any) -> str:
        said = text(field, value)
        try:
            return rule(said)
        except Usage as error:
            raise Usage(f"{field}: {error}") from None

    return checked


given_id = _by(checks.given_task_id)
known_id = _by(checks.ident)


def name(kind: str) -> Callable[[str, Any], str]:
    """The name of a ``kind``: an agent, a team."""
    return _by(lambda said: checks.name(kind, said))


# -- numbers, words of a closed list ----------------------------------------------------------------------------------


def number(low: int, high: int | None = None, hint: str = "") -> Callable[[str, Any], int]:
    """A whole number from ``low`` to ``high``; no boolean."""
    right = f"a whole number, at least {low}" if high is None else f"a number from {low} to {high}"

    def checked(field: str, value: Any) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise Usage(f"{field} must be {right}{hint}, not {shown(value)}")
        return value

    return checked


def duration(field: str, value: Any) -> float:
    """Seconds, more than 0: ``90s``, ``15m``, ``2h``, ``1d``, or a bare number of them."""
    said = value if isinstance(value, str) else shown(value)
    try:
        seconds = parse_duration(said, bare=True)
    except ValueError as error:
        raise Usage(f"{field} {error}") from None
    if not seconds:
        raise Usage(f"{field} must be a duration such as 90s, 15m, 2h or 30d, more than 0, not {said!r}")
    return seconds


def flag(field: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Usage(f"{field} must be true or false, not {shown(value)}")
    return value


def choice(words: Collection[str]) -> Callable[[str, Any], str]:
    """One of ``words``."""

    def checked(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            near = did_you_mean(value, [*words]) if isinstance(value, str) else ""
            raise Usage(f"{field} must be {' or '.join(words)}, not {shown(value)}{near}")
        return value

    return checked


# -- lists and mappings -----------------------------------------------------------------------------------------------


def plain_list(field: str, value: Any, such: str = "such as [a, b]", least: int = 0) -> list[Any]:
    """A list of at least so many items, whatever they are."""
    if not isinstance(value, list) or len(value) < least:
        raise Usage(f"{field} must be a list {such}, not {'empty' if value == [] else shown(value)}")
    return value


def _check_count(field: str, values: Collection[Any], most: int) -> None:
    if len(values) > most:
        raise Usage(f"{field} has {len(values)} items: at most {most}")


def list_of(
    check: Check, least: int = 0, repeats: bool = False, such: str = "such as [a, b]", item: str = "", most: int = 0
) -> Callable[[str, Any], tuple[Any, ...]]:
    """A list, of at most so many (0: any number), whose items ``check`` takes, none twice unless it ``repeats``.

    An item is called ``item`` or as the field.
    """

    def checked(field: str, value: Any) -> tuple[Any, ...]:
        values = plain_list(field, value, such, least)
        _check_count(field, values, most or len(values))
        items = tuple(placed(item or field, one, check, place_in(value, n)) for n, one in enumerate(values))
        if not repeats and len(set(items)) < len(items):
            seen = set[Any]()
            twice = next(n for n, one in enumerate(items) if one in seen or seen.add(one))  # type: ignore[func-returns-value]
            raise Misfit(f"{field} has {shown(values[twice])} twice", place_in(value, twice))
        return items

    return checked


def plain_mapping(field: str, value: Any, such: str = "of keys and values") -> dict[str, Any]:
    """A mapping, whatever it says."""
    if not isinstance(value, dict):
        raise Usage(f"{field} must be a mapping {such}, not {shown(value)}")
    return value


def mapping(
    known: dict[str, Check], required: Collection[str] = (), such: str = "of keys and values"
) -> Callable[[str, Any], dict[str, Any]]:
    """A mapping with some of the ``known`` keys, and all that are ``required``; each value is as its checker says."""

    def checked(field: str, value: Any) -> dict[str, Any]:
        plain_mapping(field, value, such)
        for key in value:
            if key not in known:
                raise Misfit(unknown(key, known), place_in(value, key, "key_at"))
        for key in required:
            if key not in value:
                raise Misfit(f"{key} is missing", getattr(value, "start", None))
        return {key: placed(key, item, known[key], place_in(value, key)) for key, item in value.items()}

    return checked


def mapping_of(key: Check, check: Check, such: str = "of names and values") -> Callable[[str, Any], dict[str, Any]]:
    """A mapping of any keys that ``key`` takes to values that ``check`` takes."""

    def checked(field: str, value: Any) -> dict[str, Any]:
        plain_mapping(field, value, such)
        return {
            placed(field, one, key, place_in(value, one, "key_at")): placed(one, item, check, place_in(value, one))
            for one, item in value.items()
        }

    return checked


def unknown(key: str, known: Collection[str], otherwise: str = "") -> str:
    """What is said of a key that is not ``known``: the nearest; else ``otherwise``, or all."""
    return f"unknown key {shown(key)}{did_you_mean(key, [*known]) or otherwise or '; known: ' + ', '.join(known)}"


def payload(field: str, value: Any) -> Any:
    """Any JSON value of a sane size and depth, as plain dicts and lists."""
    from .parsing import DEEPEST, why_not

    if not _shallow(value, DEEPEST):
        raise Usage(f"{field} is nested deeper than {DEEPEST}: put it in a file and name its path")
    try:
        checks.text(field, json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValueError as error:
        raise Usage(f"{field} has {why_not(error)}") from None
    return _plain(value)


def _shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(item, levels - 1) for item in inner)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
