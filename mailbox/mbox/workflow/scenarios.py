"""Scenarios: what a run's agents and people answer where no model is asked.  Pure functions.

Promised: `load` takes a file that answers steps of this workflow and nothing else, or raises `Usage` with line and column;
paths that it writes stay in the tree.  The n-th dispatch of a step always gets the same answer.  Not promised: that an answer
fits the step's output: a scenario may well say what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mbox.errors import Usage, did_you_mean
from mbox.format import checks, fields
from mbox.format.parsing import PlacedMapping, yaml_document

from .parts import ITEMS, KINDS_OF_FAILURE, Step, Workflow

KEYS = ("write", "text", "seconds", "output", "usage", "fail", "reset", "choice", "exit")
ANSWERED = ("agent", "ask", "run")
"""Kinds of steps that a scenario answers."""

LONGEST = 3600.0
"""Seconds that an answer may take."""


class Scenario(NamedTuple):
    """The answers, by step or ``step/item``."""

    answers: Mapping[str, tuple[dict[str, Any], ...]]

    def answer(self, step: str, item: int | None, nth: int) -> dict[str, Any] | None:
        """The answer to the ``nth`` dispatch (from 0) of a step, or of an item of it; the last repeats, None without any."""
        own = self.answers.get(f"{step}/{item}") if item is not None else None
        many = own if own is not None else self.answers.get(step, ())
        return many[min(nth, len(many) - 1)] if many else None


def load(text: str, file: str, workflow: Workflow) -> Scenario:
    """The scenario that ``text`` is, for ``workflow``; steps of the workflows that it calls are named as they are there."""
    top, start = yaml_document(text, file, core=True)
    if not isinstance(top, PlacedMapping):
        raise fields.Misfit("a scenario is a mapping of steps to their answers", start)
    known = _steps(workflow)
    found = {}
    for key in top:
        step, slash, item = key.partition("/")
        at = top.key_at[key]
        if step not in known:
            raise fields.Misfit(f"no step {checks.quoted(step)}{did_you_mean(step, [*known])}", at)
        if known[step].kind not in ANSWERED:
            itself = f"{step} is {known[step].kind}: the engine does that itself"
            raise fields.Misfit(f"{itself}; answered are {', '.join(ANSWERED)}", at)
        if slash and (not re.fullmatch("0|[1-9][0-9]{0,3}", item) or int(item) >= ITEMS or known[step].each is None):
            raise fields.Misfit(f"{checks.quoted(key)}: an item is a number from 0 on, of a step with each", at)
        found[key] = fields.placed(key, top[key], _answers, top.at[key])
    return Scenario(found)


def _steps(workflow: Workflow) -> dict[str, Step]:
    found: dict[str, Step] = {}
    for called in workflow.calls.values():
        found |= _steps(called)
    return found | workflow.steps


def _inside(field: str, value: Any) -> str:
    """A path that stays in the tree."""
    text = fields.text(field, value)
    parts = text.split("/")
    if not text or text.startswith(("/", "~")) or ".." in parts or ".git" in parts or "\\" in text or not text.isprintable():
        raise Usage(f"{field} {checks.quoted(text)} must be a path in the tree, such as src/a.py")
    return text


def _number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise Usage(f"{field} must be a number from 0 to {LONGEST:g}, not {checks.shown(value)}")
    return float(value)


def _cost(field: str, value: Any) -> float | None:
    return None if value is None else _number(field, value)


def _tokens(field: str, value: Any) -> int | None:
    return None if value is None else fields.number(0)(field, value)


_answer = fields.mapping({
    "write": fields.mapping_of(_inside, fields.text, "of paths to texts"), "text": fields.text, "seconds": _number,
    "output": fields.payload, "usage": fields.mapping({"cost_usd": _cost, "tokens": _tokens}),
    "fail": fields.choice(KINDS_OF_FAILURE), "reset": fields.duration, "choice": fields.label,
    "exit": fields.number(0, 255),
})  # fmt: skip


def _one(field: str, value: Any) -> dict[str, Any]:
    said: dict[str, Any] = _answer(field, value)
    if "reset" in said and said.get("fail") != "rate_limited":
        where = fields.place_in(value, "reset", "key_at")
        raise fields.Misfit("reset: is when a limit ends; say fail: rate_limited with it", where)
    return said


def _answers(field: str, value: Any) -> tuple[dict[str, Any], ...]:
    such = fields.plain_list(field, value, "of answers such as [{text: done}]", 1)
    return tuple(fields.placed("an answer", one, _one, fields.place_in(such, n)) for n, one in enumerate(such))
