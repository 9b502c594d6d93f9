"""``each``: a step made once for each item.  Inside a move.

The step's own document has its items and how each stands: ``waiting open done failed skipped``; an item that was begun has a
document of its own.  Begun is what ``after`` lets begin, at most ``parallel`` at a time; when ``need`` is out of reach nothing
more is, and the rest is *skipped*.  The last item that ends ends the step, in the same record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.errors import Usage
from mbox.format.documents import Document

from . import budget, runs
from .standing import Result, blank

if TYPE_CHECKING:
    from mbox.workflow.definition import Step

    from .standing import Move

WORKERS = 4
"""Workers that work at once, unless a person says how many."""


def opened(move: Move, step: Step, visit: int) -> None:
    """Open the visit of a step with items, and its first ones."""
    from mbox.workflow import expressions

    doc = blank(move.run, step, visit, move.tx.now)
    assert step.each is not None
    try:
        found = expressions.evaluate(step.each.items, move.names(visits=visit), move.facts.exists)
        _check(step, found)
    except Usage as error:
        move.leave(doc, Result(failed="config", detail=str(error)))
        return
    doc.update(value=found, items=["waiting"] * len(found or ()))
    move.put(doc)
    if found:
        _start(move, step, doc)
    _end_if_over(move, step, move.seat(step.id, visit) or doc)


def _check(step: Step, found: Any) -> None:
    """`Usage` for what is no list, too long a one, or one whose items wait for each other in a circle."""
    assert step.each is not None
    if found is not None and not isinstance(found, list):
        raise Usage(f"{step.id}: each is no list")
    found = found or []
    if len(found) > step.each.max:
        raise Usage(f"{step.id}: each has {len(found)} items, at most {step.each.max} (each.max)")
    if step.each.after and found:
        before = _before(step, found)
        done: set[int] = set()
        while ready := [n for n in range(len(found)) if n not in done and before[n] <= done]:
            done.update(ready)
        if len(done) < len(found):
            left = next(n for n in range(len(found)) if n not in done)
            raise Usage(f"{step.id}: item {left} waits for itself, in a circle (each.after)")


def _before(step: Step, found: list[Any]) -> list[set[int]]:
    """By the number of each item, those that it waits for; `Usage` for an id that no item has."""
    assert step.each is not None
    field = step.each.after or ""
    ids = {item.get("id"): n for n, item in enumerate(found) if isinstance(item, dict)}
    out = []
    for n, item in enumerate(found):
        wanted = (item.get(field) if isinstance(item, dict) else None) or []
        wanted = wanted if isinstance(wanted, list) else [wanted]
        unknown = next((one for one in wanted if not isinstance(one, str | int) or one not in ids), None)
        if unknown is not None:
            raise Usage(f"{step.id}: item {n} waits for {unknown!r}, which no item is (each.after)")
        out.append({ids[one] for one in wanted})
    return out


def _start(move: Move, step: Step, doc: Document) -> None:
    """Open as many items as may be open now."""
    assert step.each is not None
    before = _before(step, doc["value"]) if step.each.after else [set[int]() for _ in doc["value"]]
    most = step.each.parallel or move.run["settings"].get("workers") or WORKERS
    if move.run["settings"].get("team") or move.run["settings"].get("workers") == 0:
        most = step.each.parallel or len(doc["value"])
    move.is_opening = True
    while doc["status"] == "open" and not _is_lost(step, doc):
        states = doc["items"]
        blocked = [n for n, state in enumerate(states) if state == "waiting"
                   and any(states[one] in ("failed", "skipped") for one in before[n])]  # fmt: skip
        can = next((n for n, state in enumerate(states) if state == "waiting"
                    and all(states[one] == "done" for one in before[n])), None)  # fmt: skip
        if blocked:
            doc = {**doc, "items": ["skipped" if n in blocked else state for n, state in enumerate(states)]}
            move.put(doc)
        elif can is None or states.count("open") >= most or _unpaid(move, step):
            break
        else:
            move.put({**doc, "items": [*states[:can], "open", *states[can + 1 :]]})
            move.ways.open_seat(move, step, doc["visit"], can, doc["value"][can])
            doc = move.seat(step.id, doc["visit"]) or doc  # the item may have ended at once
    move.is_opening = False


def _unpaid(move: Move, step: Step) -> str:
    """Why one item more cannot be paid: none is begun then, and the run stops when those that were are over (`go_on`)."""
    return budget.refusal(move.limits, move.root["spent"] or {}, {"dispatches": 1} if step.kind == "agent" else {})


def go_on(move: Move) -> None:
    """Begin what could not be paid before."""
    at = move.at
    step, doc = move.workflow.steps[at["step"]], move.seat(at["step"], at["visit"])
    if move.run["status"] != "running" or not at.get("short") or doc is None:
        return
    move.run["at"] = {name: value for name, value in at.items() if name != "short"}
    move.is_made = True
    _start(move, step, doc)
    _end_if_over(move, step, move.seat(step.id, doc["visit"]) or doc)


def _need(step: Step, doc: Document) -> int:
    assert step.each is not None
    return len(doc["items"]) if step.each.need is None else step.each.need


def _is_lost(step: Step, doc: Document) -> bool:
    """Whether so many items failed that ``need`` is out of reach."""
    gone = sum(1 for state in doc["items"] if state in ("failed", "skipped"))
    return len(doc["items"]) - gone < _need(step, doc)


def ended(move: Move, seat: Document) -> None:
    """An item is over: begin others, or end the step."""
    step = move.workflow.steps[seat["step"]]
    doc = move.seat(step.id, seat["visit"])
    if doc is None:
        return
    doc = {**doc, "items": [*doc["items"]]}
    doc["items"][seat["item"]] = seat["status"]
    move.put(doc)
    move.why.append(f"{runs.seat_of(seat)} {seat['failed'] or seat['status']}")
    if move.is_opening:  # whoever opens items goes on by itself
        return
    if "waiting" in doc["items"]:
        _start(move, step, doc)
    _end_if_over(move, step, move.seat(step.id, seat["visit"]) or doc)


def _end_if_over(move: Move, step: Step, doc: Document) -> None:
    if doc["status"] != "open" or "open" in doc["items"]:
        return
    if "waiting" in doc["items"] and not _is_lost(step, doc) and (why := _unpaid(move, step)):
        move.run["at"] = {**move.at, "short": True}
        move.stop("exceeded", f"{step.id}: {why}")
        return
    states = ["skipped" if state == "waiting" else state for state in doc["items"]]
    rows, first, cost = [], None, dict[str, Any]()
    for n, state in enumerate(states):
        one = move.seat(step.id, doc["visit"], n)
        failed = "skipped" if state == "skipped" else (one["failed"] if one else "lost")
        is_ok = state == "done"
        rows.append({"item": doc["value"][n], "ok": is_ok, "output": one["output"] if one and is_ok else None,
                     "failed": None if is_ok else failed})  # fmt: skip
        if not is_ok and failed != "skipped":
            first = first or (failed, one["detail"] if one else "")
        for name, value in ((one or {}).get("cost") or {}).items():
            cost[name] = cost.get(name, 0) + (value or 0)
    enough = not states or sum(1 for state in states if state == "done") >= _need(step, doc)
    kind, detail = (None, "") if enough else (first or ("skipped", "no item could begin"))
    move.leave({**doc, "items": states}, Result(rows, kind, detail, more={"items": states, "cost": cost or None}))
