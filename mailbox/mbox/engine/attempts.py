"""Attempts: an agent's step as a task, tried again, judged, taken.  Inside a move.

One attempt is one dispatch: who is asked is decided before, with the reason, and counted before it is started.  An attempt that
ended without a result leaves a row in the step's document that says how.  The prompt of the next says so too, and names what is
changed in the tree.  An attempt that a quota refused is charged to nobody: its host is closed until the reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.errors import Usage
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.tasks import lifecycle, orders

from . import budget, course, runs, staff
from .staff import Decision
from .standing import Result

if TYPE_CHECKING:
    from mbox.workflow.definition import Role, Step

    from .standing import Move

MOST_PATHS = 40
"""Changed paths that a prompt names at most."""


def opened(move: Move, step: Step, doc: Document) -> None:
    """Give the step out: a task, and who is asked first."""
    role = move.role_of(step, doc["value"])
    names = move.seen(doc)
    prompt = "\n\n".join(part for part in (role.persona, role.policy, role.knowledge, course.text(step.prompt, names)) if part)
    if told := move.memory.get("told", {}).get(step.id):
        prompt += "\n\nFrom a person:\n" + "\n".join(told)
    reserve = _patterns(move, step, doc)
    decision = decide(move, step, role, doc["visit"])
    if not decision.host and not is_by_others(move) and not decision.until:
        raise Usage(decision.why)
    at = runs.seat_of(doc)
    ident = runs.task_id(move.run["run"], at)
    while move.tx.read(places.task(ident)) is not None:  # somebody's own task is called that
        ident = runs.fitted(f"{move.run['run']}.{at}-{move.tx.take()}")
    doc.update(task=ident, attempts=[_row(1, decision)], state={"deaths": 0, "role": role.name, "prompt": prompt})
    if access(step, role) == "read" and move.facts.base:
        doc["state"]["print"] = move.facts.get("print")
    if access(step, role) == "write" and reserve:
        move.shared["reserved"] = sorted({*move.shared.get("reserved", ()), *reserve})
    move.put_task(_task(move, step, role, doc, prompt, reserve, _spend(move, doc)))
    move.put(doc)


def access(step: Step, role: Role) -> str:
    """Whether the step's worker may change the tree."""
    return step.access or role.access


def is_by_others(move: Move) -> bool:
    """Whether a team or people do the run's tasks, and no worker of its own."""
    settings = move.run["settings"]
    return bool(settings.get("team")) or settings.get("workers") == 0


def _patterns(move: Move, step: Step, doc: Document) -> list[str]:
    from mbox.format import patterns
    from mbox.workflow import expressions

    if not step.reserve:
        return []
    found: Any
    if isinstance(step.reserve, expressions.Expression):
        found = expressions.evaluate(step.reserve, move.seen(doc), move.facts.exists) or []
    else:
        found = list(step.reserve)
    if not documents.is_strs(found):
        raise Usage(f"{step.id}: reserve is no list of patterns")
    patterns.check(found, move.tx.store.folds())
    return list(found)


def _task(move: Move, step: Step, role: Role, doc: Document, prompt: str, reserve: list[str],
          nth: list[int]) -> Document:  # fmt: skip
    run, settings = move.run["run"], move.run["settings"]
    label = orders.label(run)
    retry = step.retry
    order = {
        "run": run, "step": step.id, "visit": doc["visit"], "item": doc["item"], "role": role.name, "access": access(step, role),
        "gates": bool(step.gates), "schema": step.output.schema() if step.output else None, "attempt": 1,
        "team": settings.get("team"), "shunned": staff.shuns(role, move.memory.get("families", {})),
        "timeout": step.timeout.start_to_close, "session": step.session, "nth": nth, **_asked(doc["attempts"][-1]),
    }  # fmt: skip
    requires = [*role.capabilities, *([] if is_by_others(move) else [label])]
    return documents.new(
        "task", task_id=doc["task"], title=f"{move.workflow.name}: {runs.seat_of(doc)}", description=prompt, stage=step.id,
        touched_paths=reserve, requires=requires, labels=[label], created_at=move.tx.now, order=order,
        max_attempts=2 + max(retry.get("killed", 0), retry.get("lost", 0)),
    )  # fmt: skip


def _asked(row: Document) -> dict[str, Any]:
    return {"host": row["host"], "model": row["model"], "family": row["family"]}


def decide(move: Move, step: Step, role: Role, visit: int) -> Decision:
    """Who is asked next."""
    settings = move.run["settings"]
    if is_by_others(move):
        return Decision(why=f"team {settings['team']}" if settings.get("team") else "whoever claims it")
    closed = move.shared.get("closed", {})
    climbed = course.climbs(step, visit, move.memory.get("stuck", {}).get(step.id, 0))
    if settings.get("scripted"):
        until = closed.get(staff.SCRIPTED, 0.0)
        shut = until > move.tx.wall
        why = f"the scenario answers{f', climbed {climbed}' if climbed else ''}"
        return Decision("" if shut else staff.SCRIPTED, "", staff.SCRIPTED, why, until if shut else 0.0, climbed)
    if why := staff.may_be_paid(role, move.ladders, move.limits):
        raise Usage(why)
    return staff.choose(role, move.ladders, climbed, move.memory.get("families", {}), closed, move.tx.wall)


def _row(number: int, decision: Decision) -> dict[str, Any]:
    return {"n": number, **decision.doc(), **({"until": decision.until} if decision.until else {})}


def _spend(move: Move, doc: Document) -> list[int]:
    """Count one dispatch; how many there were before, of the step and of this item: what a scenario answers by."""
    spent = {**budget.BLANK, **(move.root["spent"] or {})}
    spent["dispatches"] += 1
    move.root["spent"] = spent
    made = dict(move.memory.get("dispatched", {}))
    keys = (doc["step"], f"{doc['step']}/{doc['item']}")
    before = [made.get(key, 0) for key in keys]
    for key, count in zip(keys if doc["item"] is not None else keys[:1], before, strict=False):
        made[key] = count + 1
    move.memory["dispatched"] = made
    return before


# -- how an attempt ended ------------------------------------------------------------------------------------------------


def again(move: Move, doc: Document, task: Document, kind: str, detail: str) -> None:
    """Try once more: who, and what the next prompt says of the one before.  Stops the run where that cannot be paid."""
    step = move.workflow.steps[doc["step"]]
    role = move.role_of(step, doc["value"])
    doc = _ended(move, doc, task, kind, detail)
    if _is_unpaid(move, doc, task, kind, detail):
        return
    decision = decide(move, step, role, doc["visit"])
    if not decision.host and not decision.until and not is_by_others(move):
        move.leave(doc, Result(failed="config", detail=decision.why, more=_paid(doc)))
        return
    attempt = doc["attempts"][-1]["n"] + 1
    doc["attempts"] = [*doc["attempts"], _row(attempt, decision)]
    doc["state"] = {**doc["state"], "deaths": task["attempt_count"]}
    if kind == "gate":
        doc["rounds"] += 1
    order = {**task["order"], "attempt": attempt, "nth": _spend(move, doc), **_asked(doc["attempts"][-1])}
    order.pop("outcome", None)
    task.update(order=order, hold="", description=f"{doc['state']['prompt']}\n\n{_said(move, attempt, kind, detail)}")
    move.put_task(task)
    move.put(doc)
    move.is_made = True
    move.why.append(f"{runs.seat_of(doc)}: {kind}, tried again by {decision.host or decision.why}")


def _is_unpaid(move: Move, doc: Document, task: Document, kind: str, detail: str) -> bool:
    """Whether one dispatch more cannot be paid: then the run stops, the task is held, and it is tried again when it can."""
    why = budget.refusal(move.limits, move.root["spent"] or {}, {"dispatches": 1})
    if not why:
        return False
    outcome = {**(task["order"].get("outcome") or {}), "kind": kind, "detail": detail}
    task.update(order={**task["order"], "outcome": outcome}, hold=orders.HOLD)
    move.put_task(task)
    move.put(doc)
    move.stop("exceeded", f"{runs.seat_of(doc)}: {why}")
    return True


def _said(move: Move, attempt: int, kind: str, detail: str) -> str:
    """What the prompt of an attempt says of the one before."""
    words = {"killed": "was killed midway", "lost": "was lost", "gate": "did not pass its gates"}.get(kind, f"ended as {kind}")
    lines = [f"This is attempt {attempt}; the one before {words}{f': {detail}' if detail else '.'}"]
    if kind != "gate" and move.facts.base:
        changed = move.facts.get("changed")
        if changed:
            more = f" and {len(changed) - MOST_PATHS} more" if len(changed) > MOST_PATHS else ""
            lines.append(f"Changed in the tree since {move.facts.base[:12]}: {', '.join(changed[:MOST_PATHS])}{more}.")
    return "\n".join(lines)


def _ended(move: Move, doc: Document, task: Document, kind: str, detail: str) -> Document:
    """The seat with the last attempt's end noted, and what that cost counted: once, if that was noted before it could be paid."""
    if "ended" in doc["attempts"][-1]:
        return {**doc, "state": dict(doc["state"] or {})}
    outcome: dict[str, Any] = (task.get("order") or {}).get("outcome") or {}
    usage = {name: outcome.get(name) for name in ("cost_usd", "tokens") if outcome.get(name) is not None}
    rows = [dict(row) for row in doc["attempts"]]
    rows[-1] |= {"ended": kind, "detail": detail[:600], "by": task["owner"] or outcome.get("by"), **usage}
    if outcome.get("seconds") is not None:
        rows[-1]["seconds"] = outcome["seconds"]
    if kind != "rate_limited":
        worker = move.ladders.hosts.get(rows[-1].get("host") or "")
        spent = {**budget.BLANK, **(move.root["spent"] or {})}
        move.root["spent"] = budget.settled(spent, usage, worker.assume_usd if worker else None)
    return {**doc, "attempts": rows, "state": dict(doc["state"] or {})}


def _paid(doc: Document) -> dict[str, Any]:
    """What all attempts of a seat cost."""
    rows = doc["attempts"]
    cost: dict[str, Any] = {"dispatches": len(rows)}
    for name in ("cost_usd", "tokens"):
        known = [row[name] for row in rows if name in row]
        if known:
            cost[name] = sum(known)
    if unknown := sum(1 for row in rows if "cost_usd" not in row and "tokens" not in row):
        cost["unknown"] = unknown
    return {"attempts": rows, "rounds": doc["rounds"], "state": doc["state"], "cost": cost}


def closed(move: Move, doc: Document, task: Document, detail: str, reset: float) -> None:
    """A quota refused the attempt: its host is closed until the reset; the next who is open is asked, or it waits for that."""
    step = move.workflow.steps[doc["step"]]
    doc = _ended(move, doc, task, "rate_limited", detail)
    host = doc["attempts"][-1]["host"] or ""
    move.shared["closed"] = {**move.shared.get("closed", {}), host: reset}
    if _is_unpaid(move, doc, task, "rate_limited", detail):
        return
    reassign(move, step, doc, task)
    move.why.append(f"{runs.seat_of(doc)}: {host} is closed by its quota")


def reassign(move: Move, step: Step, doc: Document, task: Document) -> None:
    """Ask who is open now for an attempt that was refused, or that was never started because its host has closed."""
    decision = decide(move, step, move.role_of(step, doc["value"]), doc["visit"])
    if not decision.host and not decision.until:
        move.leave(doc, Result(failed="config", detail=decision.why, more=_paid(doc)))
        return
    rows, last = doc["attempts"], doc["attempts"][-1]
    nth = task["order"]["nth"]
    if "ended" in last:
        rows = [*rows, _row(last["n"] + 1, decision)]
        nth = _spend(move, doc)
    else:
        rows = [*rows[:-1], _row(last["n"], decision)]
    doc = {**doc, "attempts": rows}
    order = {**task["order"], "attempt": rows[-1]["n"], "nth": nth, **_asked(rows[-1])}
    order.pop("outcome", None)
    task.update(order=order, hold="")
    move.put_task(task)
    move.put(doc)
    move.is_made = True


def took(move: Move, doc: Document, task: Document, gates: list[dict[str, Any]] | None = None) -> None:
    """The task is done: so is the seat, unless the tree changed under ``access: read``."""
    step = move.workflow.steps[doc["step"]]
    role = doc["state"]["role"]
    doc = _ended(move, doc, task, "done", "")
    _note_family(move, role, doc, task)
    more = {**_paid(doc), "by": task["owner"], **({"gates": gates} if gates is not None else {})}
    before = doc["state"].get("print")
    if before is not None and move.facts.get("print") != before:
        changed = ", ".join(move.facts.get("changed")[:MOST_PATHS])
        detail = f"the tree changed under access: read{': ' + changed if changed else ''}"
        move.leave(doc, Result(failed="gate", detail=detail, more=more))
        return
    move.leave(doc, Result(task["result"] if step.output else None, more=more))


def _note_family(move: Move, role: str, doc: Document, task: Document) -> None:
    """Remember the family of who worked for a role."""
    family = doc["attempts"][-1].get("family")
    if family is None and task["owner"]:
        agent = move.tx.glance(places.agent(task["owner"]))
        family = move.ladders.family(agent["host"]) if agent else None
    known = move.memory.get("families", {})
    if family and family not in known.get(role, ()):
        move.memory["families"] = {**known, role: sorted({*known.get(role, ()), family})}


def gated(move: Move, doc: Document, task: Document, gates: list[dict[str, Any]]) -> None:
    """The gates have judged what was handed in: it is accepted, sent back in its next round, or the step has failed."""
    from mbox.mail import sending

    step = move.workflow.steps[doc["step"]]
    red = next((row for row in gates if not row["ok"]), None)
    owner, ident = task["owner"], task["task_id"]
    told = owner if is_by_others(move) else None  # a worker of the run's own has ended, or gets it as its next prompt
    if red is None:
        if told:
            sending.system(move.tx, told, f"approved {ident}: {task['title']}", f"task show {ident}", ident, "review_result")
        lifecycle.finish(move.tx, task, "done")
        move.on.append(ident)
        took(move, doc, task, gates)
        return
    reason = f"gate {red['gate']} exited with {red['exit']}: {red['last']} (log: {red['log']})"
    body = f"{reason}\n\n{red['tail']}\n\ntask claim {ident}"
    if told:
        sending.system(move.tx, told, f"rejected {ident}: {task['title']}", body, ident, "review_result")
    if doc["rounds"] >= step.retry.get("gate", 0):
        doc = _ended(move, doc, task, "gate", reason)
        _note_family(move, doc["state"]["role"], doc, task)
        lifecycle.finish(move.tx, task, "failed", reason[:400])
        move.on.append(ident)
        move.leave(doc, Result(failed="gate", detail=reason, more={**_paid(doc), "gates": gates, "by": owner}))
        return
    _note_family(move, doc["state"]["role"], doc, task)
    task["order"] = {**task["order"], "outcome": {**(task["order"].get("outcome") or {}), "by": owner}}
    lifecycle.back_to_queue(move.tx, task, keep=True, round=task["round"] + 1, reason=reason[:400])
    again(move, {**doc, "gates": gates}, task, "gate", f"{reason}\n{red['tail']}")


def failed(move: Move, doc: Document, task: Document | None, kind: str, detail: str) -> None:
    """No try is left, or there is none."""
    if task is not None:
        doc = _ended(move, doc, task, kind, detail)
        _note_family(move, (doc["state"] or {}).get("role", ""), doc, task)
        if task["status"] not in documents.FINAL:
            lifecycle.finish(move.tx, task, "failed", f"{kind}: {detail}"[:400])
            move.on.append(task["task_id"])
    move.leave(doc, Result(failed=kind, detail=detail, more=_paid(doc)))


OPERATIONS = {"again": operations.RUN_RETRY, "closed": operations.RUN_RETRY}
"""What the records are called of moves that leave no step."""
