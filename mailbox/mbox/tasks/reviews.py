"""Reviews: a task that was submitted, judged by somebody else under a lease of its own.

Promised: only the live reviewer approves or rejects, and never the task's owner.  A rejection puts the task back in
the queue in its next round, and its reason goes to the task and, as mail, to whoever did it, in the same transaction.
A review whose lease runs out is anybody's again (`tasks.review_ran_out`); it costs the task no attempt.

Not promised: that the reviewer is another mind.  Agents of one user can pretend to be each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mbox.tasks import lifecycle as tasks
from mbox.reservations import reserving as reservations
from mbox.agents import registry as agents
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import Nothing, NotYours, Refused
from mbox.tasks.lifecycle import Answer
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore
    from mbox.store.store import Store


def take(store: OpenStore, actor: Actor, task_id: str | None = None, seconds: float | None = None,
         dry_run: bool = False) -> Answer:  # fmt: skip
    """Take the review of a task (without an id: the first by priority, then age) that the actor did not do.

    `Nothing` if there is none to take; for a given task `NotYours` where somebody else reviews it.
    """

    def decide(tx: Transaction) -> Answer:
        agents.still_current(tx)
        if task_id is not None:
            doc = tasks.find(tx, task_id)
            if is_reviewer(tx, doc, None):
                return {**_answer(tx, doc), "already": True}
            _refuse(tx, doc)
            return _take(tx, doc, seconds or agents.lease_time(store, actor, store.config.lease))
        for found in tx.index.in_review(actor.name):
            doc = tasks.find(tx, found)
            if is_reviewer(tx, doc, None):
                return {**_answer(tx, doc), "already": True}
            try:
                _refuse(tx, doc)
            except (Nothing, NotYours, Refused):
                continue
            return _take(tx, doc, seconds or agents.lease_time(store, actor, store.config.lease))
        raise Nothing("nothing to review that somebody else did")

    return store.transact(decide, actor, dry_run)


def _refuse(tx: Transaction, doc: Document) -> None:
    """Raise what stands in the way of taking the review."""
    ident, reviewer = doc["task_id"], doc["reviewer"]
    if doc["status"] != "review":
        raise Nothing(f"{ident} is {doc['status']}, not in review")
    if doc["owner"] == tx.actor.name:
        raise Refused(f"{ident}: nobody reviews what they did")
    if not doc["token"] or not tx.live(places.review_lease(ident), doc["token"]):
        return
    lease = tx.lease(places.review_lease(ident))
    if reviewer == tx.actor.name and lease and lease.incarnation < tx.actor.incarnation:
        return  # what an older incarnation was asked is asked of this one
    left = f", {reservations.span(lease.left(tx.store.host))} left" if lease else ""
    raise NotYours(f"{ident} is reviewed by {reviewer} ({agents.liveness(tx.store, reviewer or '')}{left})")


def _take(tx: Transaction, doc: Document, seconds: float) -> Answer:
    ident = doc["task_id"]
    doc.update(reviewer=tx.actor.name, token=tx.grant(places.review_lease(ident), tx.actor, seconds))
    tasks.put(tx, doc)
    tx.record("task.review", [ident])
    return _answer(tx, doc)


def _answer(tx: Transaction, doc: Document) -> Answer:
    lease = tx.lease(places.review_lease(doc["task_id"]))
    return {
        "task_id": doc["task_id"],
        "status": doc["status"],
        "title": doc["title"],
        "owner": doc["owner"],
        "token": doc["token"],
        "left": reservations.span(lease.left(tx.store.host) if lease else tx.store.settings.lease),
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


def approve(store: Store, actor: Actor, task_id: str, token: int | None = None, dry_run: bool = False) -> Answer:
    """review → done; ``unblocked`` names the tasks that are ready now."""

    def change(tx: Transaction, doc: Document) -> Answer:
        tasks.finish(tx, doc, "done")
        tx.record("task.approve", [task_id])
        return tasks.said(doc, unblocked=tx.index.freed_by(task_id))

    return _by_reviewer(store, actor, task_id, token, "task.approve", change, dry_run)


def reject(store: Store, actor: Actor, task_id: str, reason: str, token: int | None = None,
           dry_run: bool = False) -> Answer:  # fmt: skip
    """review → queued, in the next round, with the reason on the task and as mail to who did it."""

    def change(tx: Transaction, doc: Document) -> Answer:
        from mbox.mail import sending as mail

        owner, number, told = doc["owner"], doc["round"] + 1, ""
        if owner:
            body = f"{reason}\n\ntask claim {task_id}"
            told = mail.system(tx, owner, f"rejected {task_id}: {doc['title']}", body, task_id, "review_result")
        tasks.back_to_queue(tx, doc, keep=True, round=number, reason=reason)
        tx.record("task.reject", [task_id], reason)
        return tasks.said(doc, round=number, owner=owner, msg_id=told)

    def again(tx: Transaction, doc: Document) -> None:
        if doc["reason"] != reason:
            kept = f", for {doc['reason']!r}" if doc["reason"] else ""
            tx.warn(f"{task_id} was rejected before{kept}: this reason was not kept; `task note {task_id} …` adds to it")

    return _by_reviewer(store, actor, task_id, token, "task.reject", change, dry_run, again)


def _by_reviewer(store: Store, actor: Actor, task_id: str, token: int | None, op: str,
                 change: Callable[[Transaction, Document], Answer], dry_run: bool,
                 again: Callable[[Transaction, Document], None] = lambda tx, doc: None) -> Answer:  # fmt: skip
    """Run ``change`` if ``actor`` is the live reviewer; ``already`` if it made ``op`` before; else `NotYours`."""

    def decide(tx: Transaction) -> Answer:
        agents.still_current(tx)
        doc = tasks.find(tx, task_id)
        if is_reviewer(tx, doc, token):
            return change(tx, doc)
        if tx.index.made(task_id, actor.name, actor.incarnation, token, op):
            again(tx, doc)
            return tasks.said(doc, already=True)
        raise NotYours(_why_not(tx, doc, token))

    return store.transact(decide, actor, dry_run)


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
