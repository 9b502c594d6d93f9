"""Entering a step: what each kind leaves for the engine, or somebody else, to do.  Inside a move.

| kind | what its entry leaves |
|---|---|
| ``agent`` | a task for each seat (`attempts.opened`) |
| ``run``, ``git`` | the open step; the engine does it |
| ``ask`` | the question, and mail to who is asked |
| ``wait`` | until when |
| ``call`` | a run of its own, which the same engine takes on |
| ``send`` | nothing: the mail is sent in the same record |

What cannot be rendered or evaluated here is a failure of kind ``config``, for lint should have said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.errors import Usage
from mbox.format import documents, places
from mbox.format.documents import Document
from mbox.workflow.parts import USER

from . import attempts, course, items, runs
from .inputs import checked
from .standing import Result, blank

if TYPE_CHECKING:
    from mbox.workflow.definition import Step, Workflow

    from .standing import Move



def opened(move: Move, step: Step, visit: int) -> None:
    """Open the visit of a step that the run has just come to."""
    if step.each:
        items.opened(move, step, visit)
    else:
        open_seat(move, step, visit, None, None)


def open_seat(move: Move, step: Step, visit: int, number: int | None, item: Any) -> None:
    """Open one seat; ``number`` and ``item`` where it is one of several."""
    doc = blank(move.run, step, visit, move.tx.now, number)
    doc["value"] = item
    try:
        _KINDS[step.kind](move, step, doc)
    except Usage as error:
        move.leave(doc, Result(failed="config", detail=str(error)))


def _command(move: Move, step: Step, doc: Document) -> None:
    """The engine runs it; of a step that is alone only whether it has started has to be remembered."""
    if doc["item"] is not None:
        move.put(doc)
    elif move.starts and step.kind == "run" and not step.idempotent:
        move.run["at"] = {**move.at, "started": True}


def _ask(move: Move, step: Step, doc: Document) -> None:
    names = move.seen(doc)
    said = course.text(step.text, names)
    doc["state"] = {"question": {"text": said, "choices": list(step.choices or ())}, "asked_at": move.tx.wall}
    move.put(doc)
    name = runs.seat(step.id, doc["visit"], doc["item"])
    if step.to and step.to != USER:
        choices = " | ".join(step.choices or ("TEXT",))
        body = f"{said}\n\nA person answers: workflow answer {move.run['run']} {step.id} {choices}"
        _mail(move, step.to, f"{move.run['run']}: {name} asks", body, "run_question")


def _wait(move: Move, step: Step, doc: Document) -> None:
    doc["state"] = {"until": move.tx.wall + step.seconds}
    move.put(doc)


def _send(move: Move, step: Step, doc: Document) -> None:
    names = move.seen(doc)
    to = _receiver(move, step.to or USER)
    subject, body = course.text(step.subject, names), course.text(step.body, names)
    thread = course.text(step.thread, names).strip()
    parent = _parent(move, thread)
    sent = _mail(move, to, subject or f"{move.run['run']}: {step.id}", body, "run_mail", parent) if to else ""
    if to and not sent:
        move.leave(doc, Result(failed="config", detail=f"no agent {to!r} to send to"))
        return
    detail = sent or "whoever started the run has no mailbox: `workflow show` has the text"
    if sent and thread and parent is None:
        detail += f", in a thread of its own: there is no message {thread!r}"
    move.leave(doc, Result(detail=detail, more={"state": {"subject": subject, "body": body[:4000], "to": to or USER}}))


def _receiver(move: Move, to: str) -> str:
    """An agent's name: for `USER` whoever started the run, if that is an agent; else empty."""
    if to != USER:
        return to
    by = str(move.run["by"])
    agent = move.tx.glance(places.agent(by)) if places.is_name(by) else None
    return by if agent is not None and not agent["retired_at"] else ""


def _parent(move: Move, thread: str) -> Document | None:
    """The message of which ``thread`` is the id; None where there is none."""
    from mbox.mail import lookup

    return lookup.sent(move.tx, thread) if places.is_name(thread) else None


def _mail(move: Move, to: str, subject: str, body: str, kind: str, parent: Document | None = None) -> str:
    from mbox.mail import sending

    sent = sending.system(move.tx, to, subject[:200], body, type=kind, parent=parent)
    if sent:
        move.on.append(sent)
    return sent


def _call(move: Move, step: Step, doc: Document) -> None:
    """Begin the called run, standing before its first step; the engine makes its tree and goes on with it."""
    from mbox.workflow import templates

    called, names = move.workflow.calls[step.id], move.seen(doc)
    given = {
        name: templates.value(value, names) if hasattr(value, "names") else value for name, value in (step.with_ or {}).items()
    }
    inputs = checked(called, given, f"{step.id}: with")
    ident = runs.child_id(move.run["run"], runs.seat_of(doc))
    while move.tx.read(places.run(ident)) is not None:  # somebody's own run is called that
        ident = f"w{move.tx.take()}"
    settings = {**move.run["settings"], "root": runs.root_of(move.run)}
    child = documents.new(
        "run", run=ident, workflow=called.name, file=called.file, by=move.run["by"], settings=settings, inputs=inputs,
        tree=dict(move.run["tree"]), memory=_of_starter(move, called),
        parent={"run": move.run["run"], "seat": runs.seat_of(doc)}, started_at=move.tx.now,
        at={"step": next(iter(called.steps)), "visit": 1, "state": "pending", "since": move.tx.wall},
    )  # fmt: skip
    whole = move.tx.read(places.definition(move.run["run"]))
    assert whole is not None
    move.tx.put(child, places.run(ident))
    move.tx.put(documents.new("definition", run=ident, main=called.file, files=whole["files"]), places.definition(ident))
    doc["state"] = {"child": ident}
    move.on.append(ident)
    move.put(doc)


def _of_starter(move: Move, called: Workflow) -> dict[str, Any]:
    """What a called run remembers of who started the first."""
    families = move.memory.get("families", {})
    return {"families": {USER: families[USER]}} if USER in families and USER not in called.roles else {}


_KINDS = {
    "agent": attempts.opened, "run": _command, "git": _command, "ask": _ask, "wait": _wait, "send": _send, "call": _call,
}  # fmt: skip
