"""What the fields of a task from a file may hold, one function a kind.  Pure functions.

Promised: a function here gets a field's name and its value as `notation` read it, and returns what a draft keeps, or
raises `Usage` with the field and the mend.  Nothing is coerced: ``title: yes`` is no text.
Not promised: that a touched path is a good pattern, or that a dependency exists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mbox.format import checks
from mbox.tasks.drafts import TITLE
from mbox.errors import Usage
from mbox.format.parsing import DEEPEST, shown

WORD = 64
"""The most characters of a stage, label or capability."""


def text(field: str, value: Any) -> str:
    """A text of any length that a document takes."""
    if isinstance(value, str):
        return checks.text(field, value)
    mend = "write some, or leave the field out" if value is None else "write it in quotes"
    raise Usage(f"{field} is {shown(value)}, not text" + ("" if isinstance(value, dict | list) else f": {mend}"))


def line(field: str, value: Any) -> str:
    """A title: one line."""
    return checks.line(field, text(field, value), TITLE)


def word(field: str, value: Any) -> str:
    """One word of a filter: a stage, label or capability."""
    said = checks.line(field, text(field, value), WORD)
    if re.search(r"[\s,]", said):
        raise Usage(f"{field} {checks.quoted(said)} is not one word: use - for spaces and commas")
    return said


def _id_by(rule: Callable[[str], str]) -> Callable[[str, Any], str]:
    def checked(field: str, value: Any) -> str:
        said = text(field, value)
        try:
            return rule(said)
        except Usage as error:
            raise Usage(f"{field}: {error}") from None

    return checked


given_id = _id_by(checks.given_task_id)
known_id = _id_by(checks.ident)


def path(field: str, value: Any) -> str:
    """A pattern, as it stands there."""
    if not text(field, value):
        raise Usage(f"{field} has an empty pattern")
    return str(value)


def list_of(check: Callable[[str, Any], str]) -> Callable[[str, Any], tuple[str, ...]]:
    """A list whose items ``check`` takes, none of them twice."""

    def checked(field: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise Usage(f"{field} is {shown(value)}, not a list" + (": put it in [ ]" if value else ""))
        items = [check(field, item) for item in value]
        if len(set(items)) < len(items):
            raise Usage(f"{field} has {shown(next(item for item in items if items.count(item) > 1))} twice")
        return tuple(items)

    return checked


def number(low: int, high: int, hint: str = "") -> Callable[[str, Any], int]:
    """A whole number from ``low`` to ``high``; no boolean."""

    def checked(field: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Usage(f"{field} is {shown(value)}, not a number from {low} to {high}{hint}")
        return value

    return checked


def payload(field: str, value: Any) -> Any:
    """Any JSON value of a sane size and depth."""
    if not _shallow(value, DEEPEST):
        raise Usage(f"{field} is nested deeper than {DEEPEST}: put it in a file and name its path")
    try:
        checks.text(field, json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValueError:
        raise Usage(f"{field} has a number that JSON has not (infinite, or none at all)") from None
    return value


def _shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(item, levels - 1) for item in inner)
