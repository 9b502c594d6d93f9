"""A workflow as a graph: its steps, where each may lead and by which rule.  Pure functions.

Promised: every way that the file says is drawn, once, with its rule; of a run also how each step ended and how often it was
visited.  Not promised: a picture of what is called (`call` is one box).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mbox.format import drawing
from mbox.format.checks import one_line
from mbox.format.drawing import Box, Sign

from .parts import Step, Workflow
from .templates import Template

FORMATS = ("text", "mermaid", "dot")
"""What `render` draws; ``svg`` is `drawing.svg` of ``dot``."""

KINDS = {
    "agent": Sign("*", "#cfe2ff", "#0a58ca", "box"),
    "run": Sign("$", "#fff3cd", "#b8860b", "parallelogram"),
    "ask": Sign("?", "#e2d9f3", "#6f42c1", "hexagon"),
    "git": Sign("+", "#d1e7dd", "#146c43", "cds"),
    "send": Sign("@", "#f8f9fa", "#adb5bd", "note"),
    "call": Sign("&", "#ffe5d0", "#ca6510", "box3d"),
    "wait": Sign("~", "#e9ecef", "#6c757d", "octagon"),
    "ending": Sign("=", "#ffffff", "#000000", "ellipse"),
}
"""How each kind of step looks, and the ends."""

STATUSES = {
    "done": Sign("x", "#d1e7dd", "#146c43", "ellipse"),
    "failed": Sign("!", "#f8d7da", "#b02a37", "invhouse"),
    "running": Sign(">", "#cfe2ff", "#0a58ca", "cds"),
    "waiting": Sign("?", "#e2d9f3", "#6f42c1", "hexagon"),
    "not-reached": Sign(" ", "#ffffff", "#adb5bd", "box"),
}
"""How a step of a run looks, by what became of it."""

_FAILURE = "on failure"  # no step's name holds a blank
_RULE = 60  # characters of a rule at an arrow


def graph(workflow: Workflow, happened: Mapping[str, Mapping[str, Any]] | None = None, fmt: str = "text") -> str:
    """The workflow as ``text``, ``mermaid`` or ``dot``, ending in a newline.

    ``happened`` has for each step that a run came to its ``status`` (of `STATUSES`) and ``visits``.
    """
    draw = {"text": _text, "mermaid": _mermaid, "dot": _dot}.get(fmt)
    if draw is None:
        raise ValueError(f"no format {fmt!r}: {', '.join(FORMATS)}")
    return "".join(f"{line}\n" for line in draw(workflow, happened))


Happened = Mapping[str, Mapping[str, Any]] | None


def data(workflow: Workflow) -> dict[str, Any]:
    """The graph as nodes and edges, for programs."""
    nodes = [{"id": step.id, "kind": step.kind, "does": does(step)} for step in workflow.steps.values()]
    edges = [
        {"from": step.id, "to": go, **({"when": said} if said else {})}
        for step in workflow.steps.values() for go, said in ways(workflow, step)
    ]  # fmt: skip
    failing = {"on_failure": workflow.on_failure} if workflow.on_failure else {}
    return {"nodes": nodes, "edges": edges, **failing}


def ways(workflow: Workflow, step: Step) -> Iterator[tuple[str, str]]:
    """Where a step may lead, and by which rule: its expression, ``else``, or nothing where it always goes there."""
    if not step.next:
        yield workflow.below(step.id), ""
    for rule in step.next:
        only = len(step.next) == 1 and rule.when is None
        yield rule.go, "" if only else one_line(rule.when.text, _RULE) if rule.when else "else"


def does(step: Step) -> str:
    """What a step does, in a few words."""
    each = f" for each of {one_line(step.each.items.text, 40)}" if step.each else ""
    role = step.role.text if isinstance(step.role, Template) else step.role
    words = {
        "agent": role, "run": f"run {step.command.shown() if step.command else ''}",
        "ask": f"ask: {step.text.text if step.text else ''}", "git": f"git {step.action}", "send": f"send {step.to}",
        "call": f"call {step.file}", "wait": f"wait {step.seconds:g} s",
    }  # fmt: skip
    return one_line(words[step.kind], 48) + each


def _text(workflow: Workflow, happened: Happened) -> Iterator[str]:
    """A line a step, and below it a line for each way that does not just lead to the next step below."""
    looks, status = _looks(happened)
    wide = max(map(len, workflow.steps))
    for step in workflow.steps.values():
        visits = _visits(step, happened)
        yield f"[{looks[status(step)].sign}] {step.id:{wide}}  {does(step)}{f' ({visits})' if visits else ''}"
        for go, said in ways(workflow, step):
            if said or go == "succeeded" or go != workflow.below(step.id):
                yield f"    {'':{wide}}    → {go}{f' if {said}' if said not in ('', 'else') else ' else' if said else ''}"
    if workflow.on_failure:
        yield f"{_FAILURE} → {workflow.on_failure}"
    seen = {status(step) for step in workflow.steps.values()}
    yield "signs: " + "  ".join(f"[{look.sign}] {name}" for name, look in looks.items() if name in seen)


def _looks(happened: Happened) -> tuple[Mapping[str, Sign], Any]:
    """How steps look, and by what: their kind, or what became of them."""
    if happened is None:
        return KINDS, lambda step: step.kind
    return STATUSES, lambda step: str(happened.get(step.id, {}).get("status", "not-reached"))


def _visits(step: Step, happened: Happened) -> str:
    count = (happened or {}).get(step.id, {}).get("visits", 0)
    return f"{count} visits" if isinstance(count, int) and count > 1 else ""


def _drawn(workflow: Workflow, happened: Happened) -> tuple[dict[str, Box], dict[tuple[str, str], str]]:
    _, status = _looks(happened)
    boxes = {}
    arrows: dict[tuple[str, str], str] = {}
    for step in workflow.steps.values():
        visits = _visits(step, happened)
        boxes[step.id] = Box([step.id, does(step), *([visits] if visits else [])], status(step))
        for go, said in ways(workflow, step):
            before = arrows.get((step.id, go))
            arrows[step.id, go] = f"{before} / {said}" if before and said else said or before or ""
    for _, go in [*arrows]:
        boxes.setdefault(go, Box([go], "ending"))
    if workflow.on_failure in workflow.steps:
        boxes[_FAILURE] = Box([_FAILURE], "ending")
        arrows[_FAILURE, str(workflow.on_failure)] = ""
    return boxes, arrows


def _mermaid(workflow: Workflow, happened: Happened) -> Iterator[str]:
    return drawing.mermaid(*_drawn(workflow, happened), _looks(happened)[0])


def _dot(workflow: Workflow, happened: Happened) -> Iterator[str]:
    return drawing.dot("workflow", *_drawn(workflow, happened), _looks(happened)[0])
