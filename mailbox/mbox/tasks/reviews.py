"""Reviews: a task that was submitted, judged by somebody else under a lease of its own.

Promised: only the live reviewer approves or rejects, and never the task's owner; a workflow's task nobody, for its gates do.
Whoever did the task gets mail that says which, in the same transaction.  A rejection puts the task back in the queue in its
next round, with its reason.  A review whose lease runs out is anybody's again (`lifecycle.review_ran_out`); it costs the task
no attempt.

Not promised: that the reviewer is another mind.  Agents of one user can pretend to be each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mbox.agents import presence, registry
from mbox.errors import Nothing, NotYours, Refused
from mbox.format import operations, places
from mbox.format.documents import Document
from mbox.store.transaction import Actor, Transaction
from mbox.system import clock

from . import lifecycle
from .lifecycle import Answer
from .orders import is_of_run

if TYPE_CHECKING:
    from mbox.store.store import Store


def take(store: Store, actor: Actor, task_id: str | None = None, seconds: float | None = None) -> Answer:
    """Take the review of a task (without an id: the first by priority, then age) that the actor did not do.

    `Nothing` if there is none to take; for a given task `NotYours` where somebody else reviews it.
    """

    def decide(tx: Transaction) -> Answer:
        registry.still_current(tx)
        if task_id is not None:
            doc = lifecycle.find(tx, task_id)
            if is_reviewer(tx, doc, None):
                return {**_answer(tx, doc), "already": True}
            _refuse(tx, doc)
            return _take(tx, doc, seconds or presence.lease_time(store, actor, store.config.lease))
        for found in tx.index.in_review(actor.name):
            other = tx.glance(places.task(found))
            if other is None:
                continue
            if is_reviewer(tx, other, None):
                return {**_answer(tx, other), "already": True}
            try:
                _refuse(tx, other)
            except (Nothing, NotYours, Refused):
                continue
            return _take(tx, other, seconds or presence.lease_time(store, actor, store.config.lease))
        raise Nothing("nothing to review that somebody else did")

    return store.transact(decide, actor)


def _refuse(tx: Transaction, doc: Document) -> None:
    """Raise what stands in the way of taking the review."""
    ident, reviewer = doc["task_id"], doc["reviewer"]
    if doc["status"] != "review":
        raise Nothing(f"{ident} is {doc['status']}, not in review")
    if doc["owner"] == tx.actor.name:
        raise Refused(f"{ident}: nobody reviews what they did")
    if is_of_run(doc):
        raise Refused(f"{ident} is judged by the run {doc['order']['run']}, by its gates and by nobody else")
    if not doc["token"] or not tx.live(places.review_lease(ident), doc["token"]):
        return
    lease = tx.lease(places.review_lease(ident))
    if reviewer == tx.actor.name and lease and lease.incarnation < tx.actor.incarnation:
        return  # what an older incarnation was asked is asked of this one
    left = f", {clock.span(lease.left(tx.store.host))} left" if lease else ""
    raise NotYours(f"{ident} is reviewed by {reviewer} ({presence.liveness(tx.store, reviewer or '')}{left})")


def _take(tx: Transaction, doc: Document, seconds: float) -> Answer:
    ident = doc["task_id"]
    doc.update(reviewer=tx.actor.name, token=tx.grant(places.review_lease(ident), tx.actor, seconds))
    lifecycle.put(tx, doc)
    tx.record(operations.TASK_REVIEW, [ident])
    return _answer(tx, doc)


def _answer(tx: Transaction, doc: Document) -> Answer:
    lease = tx.lease(places.review_lease(doc["task_id"]))
    return {
        "task_id": doc["task_id"],
        "status": doc["status"],
        "title": doc["title"],
        "owner": doc["owner"],
        "token": doc["token"],
        "left": clock.span(lease.left(tx.store.host) if lease else tx.store.config.lease),
        "touched_paths": doc["touched_paths"],
        "round": doc["round"] if doc["round"] > 1 else None,
        "reason": doc["reason"],
        "result": doc["result"],
    }


def is_reviewer(tx: Transaction, doc: Document, token: int | None) -> bool:
    """Whether the actor holds the live lease of the task's review, with that token if one is given."""
    if doc["status"] != "review" or doc["reviewer"] != tx.actor.name or token not in (None, doc["token"]):
        return False
    path = places.review_lease(doc["task_id"])
    lease = tx.lease(path)
    return tx.live(path, doc["token"]) and (lease is None or lease.incarnation == tx.actor.incarnation)


def approve(store: Store, actor: Actor, task_id: str, token: int | None = None) -> Answer:
    """review → done, said by mail to who did it; ``unblocked`` names the tasks that are ready now."""

    def change(tx: Transaction, doc: Document) -> Answer:
        told = _tell(tx, doc, "approved", f"task show {task_id}")
        lifecycle.finish(tx, doc, "done")
        tx.record(operations.TASK_APPROVE, [task_id])
        freed, waits = tx.index.freed_by(task_id), lifecycle.unmet(tx, doc)
        return lifecycle.answer(doc, unblocked=freed, waits_for=waits, msg_id=told)

    return _by_reviewer(store, actor, task_id, token, operations.TASK_APPROVE, change)


def reject(store: Store, actor: Actor, task_id: str, reason: str, token: int | None = None) -> Answer:
    """review → queued, in the next round, with the reason on the task and as mail to who did it."""

    def change(tx: Transaction, doc: Document) -> Answer:
        owner, number = doc["owner"], doc["round"] + 1
        told = _tell(tx, doc, "rejected", f"{reason}\n\ntask claim {task_id}")
        lifecycle.back_to_queue(tx, doc, keep=True, round=number, reason=reason)
        tx.record(operations.TASK_REJECT, [task_id], reason)
        return lifecycle.answer(doc, round=number, owner=owner, msg_id=told)

    def again(tx: Transaction, doc: Document) -> None:
        if doc["reason"] != reason:
            kept = f", for {doc['reason']!r}" if doc["reason"] else ""
            tx.warn(f"{task_id} was rejected before{kept}: this reason was not kept; `task note {task_id} …` adds to it")

    return _by_reviewer(store, actor, task_id, token, operations.TASK_REJECT, change, again)


def _tell(tx: Transaction, doc: Document, judged: str, body: str) -> str:
    """Tell who did the task how it was judged; the id of that message, empty where nobody is there to get it."""
    if not doc["owner"]:
        return ""
    from mbox.mail import sending

    return sending.system(tx, doc["owner"], f"{judged} {doc['task_id']}: {doc['title']}", body, doc["task_id"], "review_result")


def _by_reviewer(store: Store, actor: Actor, task_id: str, token: int | None, op: str,
                 change: Callable[[Transaction, Document], Answer],
                 again: Callable[[Transaction, Document], None] = lambda tx, doc: None) -> Answer:  # fmt: skip
    """Run ``change`` if ``actor`` is the live reviewer; ``already`` if it made ``op`` before; else `NotYours`."""

    def decide(tx: Transaction) -> Answer:
        registry.still_current(tx)
        doc = lifecycle.find(tx, task_id)
        if is_reviewer(tx, doc, token):
            return change(tx, doc)
        if tx.index.made(task_id, actor.name, actor.incarnation, token, op):
            again(tx, doc)
            return lifecycle.answer(doc, already=True)
        raise NotYours(_why_not(tx, doc, token))

    return store.transact(decide, actor)


def _why_not(tx: Transaction, doc: Document, token: int | None) -> str:
    ident, reviewer = doc["task_id"], doc["reviewer"]
    if doc["status"] == "cancelled":
        return f"{ident} was cancelled: {doc['reason']}"
    if doc["status"] != "review":
        return f"{ident} is {doc['status']}, not in review"
    if doc["owner"] == tx.actor.name:
        return f"{ident}: nobody reviews what they did"
    if reviewer == tx.actor.name and token not in (None, doc["token"]):
        return f"{ident}: token {token} is not its review's"
    if reviewer and reviewer != tx.actor.name:
        return f"{ident} is reviewed by {reviewer}"
    return f"{ident}: its review is not yours (or ran out); `task review {ident}` takes it"
