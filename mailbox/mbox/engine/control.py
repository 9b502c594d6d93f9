"""What people say to a run: pause, go on, cancel, answer, tell.  Each is one record, made by who says it.

Promised: an agent's answer is refused, for a question is a person's; a limit is only raised above what is spent; who answers
twice, or too late, is told and changes nothing; a run that was cancelled leaves no task open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mbox.errors import NotFound, Nothing, Refused, Usage, did_you_mean
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.store.transaction import Actor
from mbox.tasks import lifecycle, orders

from . import budget, runs, staffing
from .moves import move
from .standing import Move, Result

if TYPE_CHECKING:
    from mbox.store.store import Store

UNKNOWN = ("again", "done", "failed")
"""Answers to whether a command that was killed midway has happened."""


def pause(store: Store, by: Actor, run: str) -> Document:
    """running → paused: nothing more is started; what is under way is finished."""
    doc = _going(store, run)

    def change(made: Move) -> None:
        if made.run["status"] == "running":
            made.stop("paused", f"by {by.name}")

    move(store, doc, change, operations.RUN_PAUSE, by, gives_out=False)
    return runs.require(store, run)


def resume(store: Store, by: Actor, run: str, limits: Mapping[str, str] | None = None, detached: bool | None = None,
           unattended: bool | None = None) -> Document:  # fmt: skip
    """paused, needs_human, exceeded → running, with limits raised; of an ended run its document, unchanged.

    `Refused` where a question has to be answered first.
    """
    doc = runs.require(store, run)
    if doc["status"] in runs.ENDED:
        if not by.dry_run:
            staffing.retire(store, runs.root_of(doc))  # which an engine that was killed then had not done
        return doc
    if doc["parent"]:
        raise Usage(f"{run} was called by {doc['parent']['run']}: resume that")

    _revive(store, by, doc)

    def change(made: Move) -> None:
        settings = made.run["settings"]
        more = budget.raised(made.limits, made.root["spent"] or {}, limits or {})
        wanted = {"limits": more, "detached": detached, "unattended": unattended}
        fresh = {**settings, **{name: value for name, value in wanted.items() if value is not None}}
        _go_on(made)
        if fresh != settings:
            made.run["settings"] = fresh
            made.is_made = True

    move(store, doc, change, operations.RUN_RESUME, by)
    return runs.require(store, run)


def _revive(store: Store, by: Actor, root: Document) -> None:
    """Runs of the same budget that stand, however deep they were called, go on too, and before who called them.

    What they had open while the ``root`` stood took no time meanwhile.
    """
    for ident in runs.known(store):
        child = store.glance(places.run(ident))
        if not child or not child["parent"] or runs.root_of(child) != root["run"]:
            continue
        if child["status"] in runs.STOPPED:
            move(store, child, _go_on, operations.RUN_RESUME, by)
        elif child["status"] == "running" and root["status"] in runs.STOPPED:
            move(store, child, _awake, operations.RUN_RESUME, by)


def _awake(made: Move) -> None:
    """Count the time of what is open from now on."""
    if made.run["status"] == "running" and made.at:
        made.run["at"] = {**made.at, "since": made.tx.wall}
        made.is_made = True


def _go_on(made: Move) -> None:
    """The run goes on at the step where it stands; `Refused` where a question has to be answered first."""
    question = made.at.get("question")
    if made.run["status"] == "needs_human" and question and "answer" not in made.at:
        run, choices = made.run["run"], " | ".join(question["choices"])
        raise Refused(f"{run}: {question['text']} First: workflow answer {run} {made.at['step']} {choices}")
    if made.run["status"] in runs.STOPPED:
        made.run.update(status="running", reason="")
        made.run["at"] = {**made.at, "since": made.tx.wall}
        _take_answer(made)
        made.is_made = True


def _take_answer(made: Move) -> None:
    """What was answered before the run went on: to whether it goes on round its cycle."""
    at = dict(made.at)
    answer = at.pop("answer", None)
    question = at.pop("question", None)
    if question and answer and at.get("state") in ("pending", "asked"):
        if answer["choice"] == "go":
            allowed = made.memory.get("allowed", {})
            made.memory["allowed"] = {**allowed, at["step"]: at["visit"]}
            if at.get("cycle"):
                made.memory["asked"] = [*made.memory.get("asked", ()), at["cycle"]]
        at["state"] = "pending"
        made.run["at"] = at


def cancel(store: Store, by: Actor, run: str, reason: str) -> Document:
    """Any run that has not ended → cancelled, with its open tasks, and the runs that it called; its workers are retired.

    Killed midway: what the run called still stands; cancelling it once more ends that too.
    """
    doc = runs.require(store, run)
    if doc["status"] in runs.ENDED:
        if doc["status"] == "cancelled":
            _cancel_called(store, by, run)
        raise Nothing(f"{run} is {doc['status']} already")

    def change(made: Move) -> None:
        if made.run["status"] in runs.ENDED:
            return
        made.run.update(status="cancelled", reason=reason or f"by {by.name}", at=None, ended_at=made.tx.now)
        for task_id in made.tx.index.tasks_where(label=orders.label(run)):
            task = made.tx.glance(places.task(task_id))
            if task and task["status"] not in documents.FINAL and orders.is_of_run(task):
                lifecycle.finish(made.tx, task, "cancelled", f"run {run} was cancelled")
                made.on.append(task_id)
        made.is_made = True

    move(store, doc, change, operations.RUN_CANCEL, by, gives_out=False)
    _cancel_called(store, by, run)
    staffing.retire(store, run)
    return runs.require(store, run)


def _cancel_called(store: Store, by: Actor, run: str) -> None:
    """Cancel the runs that ``run`` called, and that have not ended."""
    for ident in runs.known(store):
        child = store.glance(places.run(ident))
        if child and child["parent"] and child["parent"]["run"] == run and child["status"] not in runs.ENDED:
            cancel(store, by, ident, f"{run} was cancelled")


def _going(store: Store, run: str) -> Document:
    doc = runs.require(store, run)
    if doc["status"] in runs.ENDED:
        raise Nothing(f"{run} is {doc['status']} already")
    return doc


# -- questions ---------------------------------------------------------------------------------------------------------


def questions(store: Store, run: Document) -> list[dict[str, Any]]:
    """What a run waits to be told, each ``{step, ask, choices}``; what a run that it called asks has that one's id as ``run``."""
    at = run["at"] or {}
    found = []
    if at.get("question") and "answer" not in at:
        found.append({"step": at["step"], "ask": at["question"]["text"], "choices": at["question"]["choices"]})
    if at.get("state") != "open":
        return found
    for doc in open_seats(store, run):
        state = doc["state"] or {}
        if state.get("question") and "answer" not in state:
            name = doc["step"] if doc["item"] is None else f"{doc['step']}/{doc['item']}"
            found.append({"step": name, "ask": state["question"]["text"], "choices": state["question"]["choices"]})
        child = store.read(places.run(state["child"])) if "child" in state else None
        if child is not None:
            found += [{"run": child["run"], **one} for one in questions(store, child)]
    return found


def open_seats(store: Store, run: Document) -> list[Document]:
    """The documents of the seats that are open; of a step that is alone and needs none, nothing."""
    at = run["at"] or {}
    if at.get("state") != "open":
        return []
    own = store.read(places.step(run["run"], runs.seat(at["step"], at["visit"])))
    if own is None:
        return []
    if own["items"] is None:
        return [own] if own["status"] == "open" else []
    numbers = [n for n, state in enumerate(own["items"]) if state == "open"]
    found = (store.read(places.step(run["run"], runs.seat(at["step"], at["visit"], n))) for n in numbers)
    return [doc for doc in found if doc is not None and doc["status"] == "open"]


def answer(store: Store, by: Actor, run: str, step: str, choice: str, text: str = "") -> Document:
    """Answer what a run asks at ``step`` (``STEP/ITEM`` of one item); `Refused` for an agent, `Usage` for no such choice."""
    if by.incarnation:
        raise Refused(f"{by.name} is an agent, and a person is asked: answer without MBOX_AGENT and --as")
    doc = _going(store, run)
    asked = questions(store, doc)
    wanted = next((one for one in asked if one["step"] == step and "run" not in one), None)
    if wanted is None:
        raise NotFound(f"{run} asks nothing at {step!r}{_asked_instead(run, step, asked)}")
    if wanted["choices"] and choice not in wanted["choices"]:
        raise Usage(f"{choice!r} is none of {', '.join(wanted['choices'])}{did_you_mean(choice, wanted['choices'])}")
    given = {"choice": choice, "text": text, "by": by.name}

    def change(made: Move) -> None:
        if made.at.get("question") and step == made.at.get("step") and "answer" not in made.at:
            made.run["at"] = {**made.at, "answer": given}
            if made.run["status"] == "running":
                _take_answer(made)
                if choice == "stop":
                    made.stop("needs_human", f"{by.name} says stop")
                else:
                    made.enter_pending()
            made.is_made = True
            return
        _answer_seat(made, step, given)

    if not move(store, doc, change, operations.RUN_ANSWER, by):
        raise Nothing(f"{run}: {step} was answered already")
    return runs.require(store, run)


def _asked_instead(run: str, step: str, asked: Sequence[Mapping[str, Any]]) -> str:
    """What to answer instead of ``step``; empty where nothing is asked."""
    calls = [f"workflow answer {one.get('run', run)} {one['step']} …" for one in asked]
    near = did_you_mean(step, [one["step"] for one in asked if "run" not in one])
    return f"{near}; it waits for {', '.join(calls)}" if calls else ""


def _answer_seat(made: Move, name: str, given: dict[str, Any]) -> None:
    step, _, item = name.partition("/")
    seat = made.seat(step, made.at.get("visit", 0), int(item) if item else None)
    if seat is None or seat["status"] != "open" or "answer" in (seat["state"] or {}):
        return
    if seat["kind"] == "ask":
        made.leave(seat, Result({"choice": given["choice"], "text": given["text"]}, more={"by": given["by"]}))
        return
    state = {**seat["state"], "answer": given}
    state.pop("question", None)
    if given["choice"] == "again":
        state.pop("started", None)
    made.put({**seat, "state": state})
    if made.run["status"] == "needs_human":
        made.run["reason"] = f"answered {given['choice']}: workflow resume {runs.root_of(made.run)}"
    made.is_made = True


def tell(store: Store, by: Actor, run: str, step: str, text: str) -> Document:
    """Say something to whoever does ``step``: now, by mail and a note, where it is under way; and in its next prompt."""
    doc = _going(store, run)
    workflow = runs.workflow(store.read, run)
    if step not in workflow.steps or workflow.steps[step].kind != "agent":
        agents = [name for name, one in workflow.steps.items() if one.kind == "agent"]
        raise NotFound(f"{run} has no agent's step {step!r}{did_you_mean(step, agents)}; it has {', '.join(agents)}")

    def change(made: Move) -> None:
        from mbox.mail import sending

        told = made.memory.get("told", {})
        made.memory["told"] = {**told, step: [*told.get(step, ()), text][-20:]}
        for seat in open_seats(store, made.run):
            task = made.tx.glance(places.task(seat["task"])) if seat["task"] and seat["step"] == step else None
            if task is None or task["status"] in documents.FINAL:
                continue
            if task["owner"] and (sent := sending.system(made.tx, task["owner"], f"{task['task_id']}: from a person", text,
                                                         task["task_id"], "run_told")):  # fmt: skip
                made.on.append(sent)
            task["description"] += f"\n\nFrom a person:\n{text}"
            made.put_task(task)
        made.is_made = True

    move(store, doc, change, operations.RUN_TELL, by, gives_out=False)
    return runs.require(store, run)
