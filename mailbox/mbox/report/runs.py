"""What is told of workflows' runs: how one stands, why it went where it went, what it cost; from the documents alone.

Promised: nothing here takes the lock or changes anything; what an agent wrote is a value and never a part of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mbox.engine import budget, control, course, runs
from mbox.errors import NotFound, did_you_mean
from mbox.format import places
from mbox.format.documents import Document

if TYPE_CHECKING:
    from mbox.store.store import Store

Row = dict[str, Any]


def rows(store: Store, everything: bool = False) -> list[Row]:
    """``run workflow status step dispatches usd started_at reason`` of each run that goes on or stands; the newest first."""
    found = []
    for name in runs.known(store):
        doc = store.glance(places.run(name))
        if doc is None or (doc["status"] in runs.ENDED and not everything):
            continue
        spent, at = doc["spent"] or {}, doc["at"] or {}
        found.append({
            "run": name, "workflow": doc["workflow"], "status": status(store, doc), "step": at.get("step"),
            "visit": at.get("visit"), "dispatches": spent.get("dispatches"), "usd": spent.get("cost_usd") or None,
            "started_at": doc["started_at"], "reason": doc["reason"],
        })  # fmt: skip
    return sorted(found, key=lambda row: row["started_at"], reverse=True)


def status(store: Store, doc: Document) -> str:
    """The status, ``waiting`` where somebody is asked, ``stalled`` where nobody drives it."""
    from mbox.engine.engine import engine_lives

    if doc["status"] != "running":
        return str(doc["status"])
    if control.questions(store, doc):
        return "waiting"
    return "running" if engine_lives(store, runs.root_of(doc)) else "stalled"


def seats(store: Store, run: str) -> list[Document]:
    """Every seat's document, in the order in which they were entered; the items of a step behind it."""
    folder = places.step_folder(run)
    docs = [doc for name in store.names(folder) if (doc := store.glance(f"{folder}/{name}")) is not None]

    def place(doc: Document) -> tuple[int, int]:
        return doc["nth"], -1 if doc["item"] is None else doc["item"]

    return sorted(docs, key=place)


def shown(store: Store, run: str) -> Row:
    """The shape of ``workflow show``: how the run stands, each step that was visited, what it cost."""
    doc = runs.require(store, run)
    spent = {**budget.BLANK, **(doc["spent"] or {})}
    waiting = control.questions(store, doc)
    return {
        "run": run, "workflow": doc["workflow"], "status": status(store, doc), "reason": doc["reason"],
        "waiting": waiting, "at": (doc["at"] or {}).get("step"), "inputs": doc["inputs"], "tree": (doc["tree"] or {}).get("path"),
        "base": (doc["tree"] or {}).get("base"), "parent": (doc["parent"] or {}).get("run"),
        "steps": [_step(store, seat) for seat in seats(store, run)],
        "cost": {"dispatches": spent["dispatches"], "usd": spent["cost_usd"], "tokens": spent["tokens"],
                 "unknown": spent["unknown"], "seconds": spent["seconds"]},
        "limits": (doc["settings"] or {}).get("limits"), "failure": doc["failure"], "output": doc["output"],
        "started_at": doc["started_at"], "ended_at": doc["ended_at"],
    }  # fmt: skip


def _step(store: Store, seat: Document) -> Row:
    task = store.glance(places.task(seat["task"])) if seat["task"] else None
    question = (seat["state"] or {}).get("question")
    return {
        "step": seat["step"], "visit": seat["visit"], "item": seat["item"], "kind": seat["kind"], "task": seat["task"],
        "status": task["status"] if task and seat["status"] == "open" else seat["status"],
        "by": seat["by"] or (task["owner"] if task else None) or ((seat["attempts"] or [{}])[-1].get("host") or None),
        "attempts": len(seat["attempts"]) or None, "rounds": seat["rounds"] or None, "failed": seat["failed"],
        "detail": seat["detail"] or (question or {}).get("text") or None, "edge": seat["edge"], "output": seat["output"],
        "cost": seat["cost"], "seconds": seat["seconds"] or None, "child": (seat["state"] or {}).get("child"),
    }  # fmt: skip


def explained(store: Store, run: str, step: str | None) -> list[Row]:
    """Why each visit of a step (of every step) ended as it did, and where it led."""
    doc = runs.require(store, run)
    workflow = runs.workflow(store.read, run)
    if step is not None and step not in workflow.steps:
        raise NotFound(f"{run} has no step {step!r}{did_you_mean(step, [*workflow.steps])}")
    found = [_why(doc, seat) for seat in seats(store, run) if step in (None, seat["step"])]
    if step is not None and not found:
        raise NotFound(f"{run} has not come to {step}")
    return found


def _why(doc: Document, seat: Document) -> Row:
    edge = seat["edge"] or {}
    rule = f"rule {edge['rule']}, line {edge['line']}: {edge['when']}" if edge.get("rule") else edge.get("when") or ""
    return {
        "step": seat["step"], "visit": seat["visit"], "item": seat["item"], "ended": seat["failed"] or seat["status"],
        "detail": seat["detail"], "attempts": [_attempt(row) for row in seat["attempts"]],
        "gates": [f"{row['gate']}: {'green' if row['ok'] else _red(row)}" for row in seat["gates"]],
        "go": edge.get("go"), "rule": rule, "values": edge.get("values"), "file": doc["file"],
    }  # fmt: skip


def _red(row: Mapping[str, Any]) -> str:
    return f"red ({row['exit']}): {row['last']}"


def _attempt(row: Mapping[str, Any]) -> str:
    who = f"{row['host']}{'/' + row['model'] if row.get('model') else ''}" if row.get("host") else "nobody yet"
    ended = f" → {row['ended']}" if row.get("ended") else ""
    cost = f", ${row['cost_usd']:.2f}" if row.get("cost_usd") is not None else ""
    by = f" as {row['by']}" if row.get("by") and row.get("host") else ""
    return f"{row['n']}: {who if row.get('host') else row.get('by') or who}{by} ({row.get('why') or who}){ended}{cost}"


def path(store: Store, run: str) -> Iterator[Row]:
    """The steps in the order in which they were left, each with the rule that led on."""
    for seat in seats(store, run):
        if seat["item"] is None and seat["edge"]:
            edge = seat["edge"]
            yield {"step": seat["step"], "visit": seat["visit"], "ended": seat["failed"] or seat["status"], "go": edge["go"],
                   "rule": edge["when"] or ("the step below" if not edge["rule"] else "else")}  # fmt: skip


def happened(store: Store, run: str) -> dict[str, Row]:
    """By step, how its last visit stands and how many there were: for a picture."""
    found: dict[str, Row] = {}
    for seat in seats(store, run):
        if seat["item"] is None:
            found[seat["step"]] = {"status": "running" if seat["status"] == "open" else seat["status"], "visits": seat["visit"]}
    doc = runs.require(store, run)
    if doc["at"]:
        visits = doc["at"]["visit"]
        state = "waiting" if control.questions(store, doc) else "running" if doc["status"] == "running" else "waiting"
        found[doc["at"]["step"]] = {"status": state, "visits": visits}
    return found


def report(store: Store, run: str | None = None) -> list[Row]:
    """By workflow and step, over all runs or of one: visits, how many failed, rounds, what they cost."""
    if run is not None:
        runs.require(store, run)
    found: dict[tuple[str, str], Row] = {}
    for name in [run] if run else sorted(runs.known(store)):
        doc = store.glance(places.run(name))
        for seat in seats(store, name) if doc else ():
            if seat["status"] == "open" or seat["items"] is not None:
                continue
            row = found.setdefault((doc["workflow"] if doc else "", seat["step"]), {
                "workflow": doc["workflow"] if doc else "", "step": seat["step"], "n": 0, "failed": 0, "rounds": 0, "attempts": 0,
                "usd": 0.0, "tokens": 0, "unknown": 0, "seconds": 0.0,
            })  # fmt: skip
            cost = seat["cost"] or {}
            row["n"] += 1
            row["failed"] += seat["failed"] is not None
            row["rounds"] += seat["rounds"]
            row["attempts"] += len(seat["attempts"])
            row["usd"] = round(row["usd"] + cost.get("cost_usd", 0.0), 6)
            row["tokens"] += cost.get("tokens", 0)
            row["unknown"] += cost.get("unknown", 0)
            row["seconds"] = round(row["seconds"] + seat["seconds"], 3)
    return [*found.values()]


def replayed(store: Store, run: str) -> list[Row]:
    """Every edge decided once more from what is written: ``ok`` says whether it is the one that was taken.

    What a rule looked at in git or among the files is taken from what was written then.
    """
    doc = runs.require(store, run)
    workflow = runs.workflow(store.read, run)
    out, last = [], dict[str, Document]()
    for seat in seats(store, run):
        if seat["item"] is not None or not seat["edge"]:
            continue
        last[seat["step"]] = seat
        edge, step = seat["edge"], workflow.steps[seat["step"]]
        steps = {name: _seen(last.get(name)) for name in workflow.steps}
        known = _Noted(edge["values"])
        names = course.names(doc, steps, known.get, output=seat["output"], exit=seat["exit"], failed=seat["failed"],
                             visits=seat["visit"], stuck=edge["values"].get("stuck", False))  # fmt: skip
        made = course.edge(workflow, step, names, known)
        again = made.go if made else workflow.on_failure if edge["when"] == "on_failure" else "failed"
        out.append({"step": seat["step"], "visit": seat["visit"], "go": edge["go"], "again": again, "ok": again == edge["go"]})
    return out


def _seen(seat: Document | None) -> Any:
    if seat is None:
        return None
    return {"output": seat["output"], "exit": seat["exit"], "failed": seat["failed"], "visits": seat["visit"]}


class _Noted:
    """What a decision knew of the world, from the values that it wrote down."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def get(self, name: str) -> Any:
        return self.values.get(f"git.{name}")

    def exists(self, path: str) -> bool:
        return self.values.get(f"exists({path!r})") is True
