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

from . import attempts, course, items, runs
from .inputs import checked
from .standing import Result, blank

if TYPE_CHECKING:
    from mbox.workflow.definition import Step

    from .standing import Move

PERSON = "user"
"""Who is meant by ``to: user``: whoever started the run."""


def opened(move: Move, step: Step, visit: int) -> None:
    """Open the visit of a step that the run has just come to."""
    if step.each:
        items.opened(move, step, visit)
    else:
        open_seat(move, step, visit, None, None)


def open_seat(move: Move, step: Step, visit: int, number: int | None, item: Any) -> None:
    """Open one seat; ``number`` and ``item`` where it is one of several."""
    doc = blank(move.run["run"], step, visit, move.tx.now, number)
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
    if step.to and step.to != PERSON:
        choices = " | ".join(step.choices or ("TEXT",))
        body = f"{said}\n\nA person answers: workflow answer {move.run['run']} {step.id} {choices}"
        _mail(move, step.to, f"{move.run['run']}: {name} asks", body, "run_question")


def _wait(move: Move, step: Step, doc: Document) -> None:
    doc["state"] = {"until": move.tx.wall + step.seconds}
    move.put(doc)


def _send(move: Move, step: Step, doc: Document) -> None:
    names = move.seen(doc)
    to = _receiver(move, step.to or PERSON)
    subject, body = course.text(step.subject, names), course.text(step.body, names)
    sent = _mail(move, to, subject or f"{move.run['run']}: {step.id}", body, "run_mail") if to else ""
    if to and not sent:
        move.leave(doc, Result(failed="config", detail=f"no agent {to!r} to send to"))
        return
    detail = sent or "whoever started the run has no mailbox: `workflow show` has the text"
    move.leave(doc, Result(detail=detail, more={"state": {"subject": subject, "body": body[:4000], "to": to or PERSON}}))


def _receiver(move: Move, to: str) -> str:
    """An agent's name: for `PERSON` whoever started the run, if that is an agent; else empty."""
    if to != PERSON:
        return to
    by = str(move.run["by"])
    return by if places.is_name(by) and move.tx.glance(places.agent(by)) else ""


def _mail(move: Move, to: str, subject: str, body: str, kind: str) -> str:
    from mbox.mail import sending

    sent = sending.system(move.tx, to, subject[:200], body, type=kind)
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
    settings = {**move.run["settings"], "root": runs.root_of(move.run)}
    child = documents.new(
        "run", run=ident, workflow=called.name, file=called.file, by=move.run["by"], settings=settings, inputs=inputs,
        tree=dict(move.run["tree"]), parent={"run": move.run["run"], "seat": runs.seat_of(doc)}, started_at=move.tx.now,
        at={"step": next(iter(called.steps)), "visit": 1, "state": "pending", "since": move.tx.wall},
    )  # fmt: skip
    whole = move.tx.read(places.definition(move.run["run"]))
    assert whole is not None
    move.tx.put(child, places.run(ident))
    move.tx.put(documents.new("definition", run=ident, main=called.file, files=whole["files"]), places.definition(ident))
    doc["state"] = {"child": ident}
    move.on.append(ident)
    move.put(doc)


_KINDS = {
    "agent": attempts.opened, "run": _command, "git": _command, "ask": _ask, "wait": _wait, "send": _send, "call": _call,
}  # fmt: skip
