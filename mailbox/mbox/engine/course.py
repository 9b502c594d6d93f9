"""The course of a run: what its expressions see, which edge is taken, when a role climbs.  Pure functions of documents.

Promised: an edge is chosen by the rules of the page alone (``docs/workflows.md``): first match, ``else`` last; of a step that
failed only rules that mention ``failed`` are looked at, then ``on_failure``, once; what a rule looked at comes along, for
``explain``.  Not promised: anything about text that an agent wrote, but that it is only ever compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mbox.format import places
from mbox.format.documents import Document, compact

from . import runs

if TYPE_CHECKING:
    from mbox.workflow.definition import Step, Workflow

    from .runs import Read

TARGETS = ("succeeded", "failed", "needs_human")
KEPT = 3
"""Prints of the tree that are remembered for each step: this visit's and the two before."""


SHORT = 1000
"""Letters of a value, as JSON, that an edge keeps."""


class Sight(Protocol):
    """Who says whether a file is there: `Facts`, or what was written down."""

    def exists(self, path: str) -> bool:
        """Whether ``path``, relative to the tree, is there."""
        ...


class Edge(NamedTuple):
    """Which way a step was left: where to, by which rule (from 1; 0: none), in which line, and what that looked at."""

    go: str
    rule: int = 0
    when: str = ""
    line: int = 0
    values: Mapping[str, Any] = {}

    def doc(self) -> dict[str, Any]:
        values = {name: _short(value) for name, value in self.values.items()}
        return {"go": self.go, "rule": self.rule, "when": self.when, "line": self.line, "values": values}


def _short(value: Any) -> Any:
    """A value as an edge keeps it: of a long one only what it is, for the step's output has it whole."""
    size = len(compact(value))
    return value if size <= SHORT else f"({type(value).__name__}, {size} letters)"


class Steps(Mapping[str, Any]):
    """``steps.ID``: what the last visit of each step came to; None of one that has not run."""

    def __init__(self, read: Read, run: Document, workflow: Workflow, fresh: Mapping[str, Document]) -> None:
        self._read, self._run, self._workflow, self._fresh = read, run, workflow, fresh

    def __getitem__(self, name: str) -> Any:
        if name not in self._workflow.steps:
            raise KeyError(name)
        visit = (self._run["last"] or {}).get(name)
        if not visit:
            return None
        at = runs.seat(name, visit)
        doc = self._fresh.get(at) or self._read(places.step(self._run["run"], at))
        if doc is None:
            return None
        return {"output": doc["output"], "exit": doc["exit"], "failed": doc["failed"], "visits": visit}

    def __iter__(self) -> Iterator[str]:
        return iter(self._workflow.steps)

    def __len__(self) -> int:
        return len(self._workflow.steps)


class GitFacts(Mapping[str, Any]):
    """``git.NAME``, looked up when it is asked for."""

    def __init__(self, get: Callable[[str], Any]) -> None:
        self._get = get

    def __getitem__(self, name: str) -> Any:
        from .facts import NAMES

        if name not in NAMES:
            raise KeyError(name)
        return self._get(name)

    def __iter__(self) -> Iterator[str]:
        from .facts import NAMES

        return iter(NAMES)

    def __len__(self) -> int:
        return 4


def names(run: Document, steps: Mapping[str, Any], get: Callable[[str], Any], **more: Any) -> dict[str, Any]:
    """What expressions and templates see; ``more``: output, exit, failed, visits, stuck of the step, and its item."""
    blank = {"output": None, "exit": None, "failed": None, "visits": 0, "stuck": False, "item": None}
    return {**blank, "inputs": run["inputs"] or {}, "steps": steps, "git": GitFacts(get), "failure": run["failure"], **more}


def text(template: Any, seen: Mapping[str, Any]) -> str:
    """A template as text; empty where there is none."""
    from mbox.workflow import templates

    return "" if template is None else templates.render(template, seen)


def mentions(expression: Any, name: str) -> bool:
    """Whether an expression looks at ``name``."""
    return any(path == name or path.startswith(f"{name}.") for path in expression.names)


def edge(workflow: Workflow, step: Step, seen: Mapping[str, Any], facts: Sight) -> Edge | None:
    """Which way ``step`` is left, after what is ``seen``; None where it failed and no rule says where to."""
    from mbox.workflow import expressions

    failed, asked = seen["failed"], dict[str, Any]()

    def exists(path: str) -> bool:
        return asked.setdefault(f"exists({path!r})", facts.exists(path)) is True

    for number, rule in enumerate(step.next, 1):
        if rule.when is None:
            if failed is None:
                return Edge(rule.go, number if len(step.next) > 1 else 0, "else" if len(step.next) > 1 else "", rule.line)
            continue
        if failed is not None and not mentions(rule.when, "failed"):
            continue
        asked.clear()
        is_so, values = expressions.decide(rule.when, seen, exists)
        if is_so:
            return Edge(rule.go, number, rule.when.text, rule.line, {**values, **asked})
    return None if failed is not None else Edge(workflow.below(step.id))


def takes_exit(step: Step) -> bool:
    """Whether a rule of the step looks at the command's exit status: then no status is a failure."""
    return any(rule.when is not None and mentions(rule.when, "exit") for rule in step.next)


def cycle_of(workflow: Workflow, step_id: str) -> str:
    """The name of the cycle that a step is on: the first of its steps; empty where it is on none."""
    reach = {one: _reached(workflow, one) for one in workflow.steps}
    own = [one for one in workflow.steps if step_id in reach[one] and one in reach[step_id]]
    return own[0] if own else ""


def _reached(workflow: Workflow, start: str) -> set[str]:
    found, ahead = set[str](), [start]
    while ahead:
        step = workflow.steps[ahead.pop()]
        targets = [rule.go for rule in step.next] or [workflow.below(step.id)]
        for target in targets:
            if target in workflow.steps and target not in found:
                found.add(target)
                ahead.append(target)
    return found


def climbs(step: Step, visit: int, stuck: int) -> int:
    """How many rungs a step's role stands above its first: one a visit from ``visits.stronger`` on, one each time it stuck."""
    start = step.visits.stronger
    return (max(0, visit - start + 1) if start else 0) + stuck


def is_stuck(prints: list[str], reds: list[str]) -> bool:
    """Whether the tree is as it was two visits ago, or the same gate failed twice with the same last line."""
    same = len(prints) >= KEPT and prints[-1] == prints[-KEPT]
    return same or (len(reds) >= 2 and bool(reds[-1]) and reds[-1] == reds[-2])
