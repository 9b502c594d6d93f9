"""Tasks: what their holder does with them, and what happens when a lease runs out.

Promised: the transition table of ``docs/format.md``, each transition one record.  Whoever is not the live holder (the
name, the incarnation and, if given, the token of the lease) changes nothing and gets `NotYours`; repeating what this
holder and token already did changes nothing and answers ``already``.  A task that leaves its holder's hands leaves no
lease and no reservation tied to it behind, ``submit --keep`` and `reviews` apart.

Not promised: that the holder still works.  A lease says who may write the outcome, not who is busy.

``token`` is the token of the live lease: the holder's while claimed or running, the reviewer's while in review, else
0, so that a lease file left behind anywhere is void.  ``owner`` stays on a final task: it is who did it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mbox.agents import presence, registry
from mbox.errors import NotFound, NotYours, Refused, meant_id
from mbox.format import operations, places
from mbox.format.documents import ACTIVE, Document
from mbox.format.lease import Lease
from mbox.reservations import conflicts, reserving
from mbox.store.transaction import Actor, Transaction
from mbox.system import clock

if TYPE_CHECKING:
    from mbox.store.state import State
    from mbox.store.store import Store


_ANY = 1 << 62
"""A token above all others."""

_PRINTED = "use the one that the claim printed"

Answer = dict[str, Any]
Change = Callable[[Transaction, Document], Answer]


# -- finding, and who may ----------------------------------------------------------------------------------------------


def find(tx: Transaction, task_id: str) -> Document:
    """The document of a task; `NotFound` with the nearest ids."""
    doc = tx.read(places.task(task_id))
    if doc is None:
        raise missing(tx.store, task_id)
    return doc


def missing(store: State, task_id: str) -> NotFound:
    """That there is no such task, with the nearest ids."""
    return NotFound(f"no task {task_id!r}{nearest(store, task_id)}")


def nearest(store: State, task_id: str) -> str:
    """``; did you mean …?`` for the ids that are nearest to one that is not there."""
    ids = places.idents(store.names(places.TASKS))
    close = [name for name in ids if abs(len(name) - len(task_id)) < 3 and (name[0] == task_id[0] or places.number(name))]
    return meant_id(task_id, close[:5000]) or "; `task list --all` shows them"


def acting(tx: Transaction) -> None:
    """An agent must still be who it was when the command began; ``user:…`` always is."""
    if tx.actor.incarnation:
        registry.still_current(tx)


def is_holder(tx: Transaction, doc: Document, token: int | None) -> bool:
    """Whether the actor holds the task's live lease, with that token if one is given."""
    return bool(
        doc["status"] in ACTIVE
        and (doc["owner"], doc["incarnation"]) == tx.actor.who
        and token in (None, doc["token"])
        and tx.live(places.task_lease(doc["task_id"]), doc["token"])
    )


def held(tx: Transaction, task_id: str, token: int | None, op: str = "") -> Document | None:
    """The task, if the actor is its live holder; None if it already made ``op`` under its lease; else `NotYours`."""
    registry.still_current(tx)
    doc = find(tx, task_id)
    if is_holder(tx, doc, token):
        return doc
    if op and tx.index.made(task_id, tx.actor.name, tx.actor.incarnation, token, op):
        return None
    raise NotYours(why_not(tx, doc, token))


def why_not(tx: Transaction, doc: Document, token: int | None) -> str:
    """Why the actor does not hold the task, as one line."""
    ident, status = doc["task_id"], doc["status"]
    mine = (doc["owner"], doc["incarnation"]) == tx.actor.who
    if status == "cancelled":
        return f"{ident} was cancelled: {doc['reason']}"
    had = tx.index.held_before(ident, tx.actor.name, doc["token"] or _ANY)
    if status in ACTIVE and mine and token is not None and token != doc["token"]:
        since = had and token < doc["token"]
        return f"{ident}: token {token} is not its lease's; {'it was taken again since' if since else _PRINTED}"
    if status in ACTIVE and mine:
        return f"{ident}: your lease has run out"
    if status in ACTIVE:
        return f"{ident} is held by {holder(tx, doc)}"
    if status == "queued":
        why = "you hold it no longer (it ran out, was given back or rejected)" if had else "you have not claimed it"
        return f"{ident} is queued: {why}; `task claim {ident}` takes it"
    return f"{ident} is {_in_review(tx, doc) if status == 'review' else status}"


def _in_review(tx: Transaction, doc: Document) -> str:
    """``in review``, with who is to go on, and how."""
    ident, reviewer = doc["task_id"], doc["reviewer"]
    if reviewer == tx.actor.name:
        return f"in review, by you; `task approve {ident}` or `task reject {ident} --reason …` ends that"
    if reviewer:
        return f"in review; {reviewer} approves or rejects it"
    return f"in review; somebody else than {doc['owner'] or 'its owner'} takes that: `task review {ident}`"


def holder(tx: Transaction, doc: Document) -> str:
    """``bob (alive, 12m left)``, for people."""
    name = doc["owner"] or "nobody"
    if name == tx.actor.name:
        age = "an older" if doc["incarnation"] < tx.actor.incarnation else "a later"
        name = f"{age} incarnation of you ({doc['incarnation']}, you are {tx.actor.incarnation})"
    lease = tx.lease(places.task_lease(doc["task_id"]))
    left = lease.left(tx.store.host) if lease and lease.token == doc["token"] else tx.store.config.lease
    alive = presence.liveness(tx.store, doc["owner"]) if doc["owner"] else "unknown"
    return f"{name} ({alive}, {clock.span(left)} left)"


# -- what transitions share --------------------------------------------------------------------------------------------


def put(tx: Transaction, doc: Document) -> None:
    """Write the task."""
    tx.put(doc, places.task(doc["task_id"]))


def end_lease(tx: Transaction, doc: Document, keep: bool = False) -> None:
    """End the lease of the task's holder or reviewer and, unless told to ``keep`` them, the reservations tied to it."""
    ident = doc["task_id"]
    if doc["token"]:
        tx.end(places.review_lease(ident) if doc["status"] == "review" else places.task_lease(ident))
        doc["token"] = 0
    if not keep:
        for rid in tx.index.reservations_of(task=ident):
            reserving.end(tx, rid)


def finish(tx: Transaction, doc: Document, status: str, reason: str = "") -> None:
    """Bring the task to a final ``status``."""
    end_lease(tx, doc)
    doc.update(status=status, reason=reason, finished_at=tx.now)
    put(tx, doc)


def back_to_queue(tx: Transaction, doc: Document, keep: bool = False, **changes: Any) -> None:
    """Queue the task again; nobody's any more."""
    end_lease(tx, doc, keep)
    doc.update(status="queued", owner=None, incarnation=0, reviewer=None, finished_at=None, **changes)
    put(tx, doc)


def unmet(tx: Transaction, doc: Document) -> list[str]:
    """What the task still waits for, though it was begun: dependencies came to it since; warned of."""
    waits = [f"depends on {dep} ({status or 'gone'})" for dep, status in tx.index.unmet(doc["task_id"])]
    if waits:
        tx.warn(f"{doc['task_id']} is {doc['status']}, but {', '.join(waits)}, which came to it after it was claimed")
    return waits


def answer(doc: Document, **more: Any) -> Answer:
    """The short answer of a transition."""
    return {"task_id": doc["task_id"], "status": doc["status"], **more}


def _by_holder(store: Store, actor: Actor, task_id: str, token: int | None, op: str, change: Change) -> Answer:
    """Run ``change`` on the task if ``actor`` is its live holder; ``already`` if it made ``op`` before."""

    def decide(tx: Transaction) -> Answer:
        doc = held(tx, task_id, token, op)
        return change(tx, doc) if doc is not None else answer(find(tx, task_id), already=True)

    return store.transact(decide, actor)


def want_reservation(store: Store, tx: Transaction, doc: Document) -> None:
    """`Refused` where the task's stage is in ``require_reservation`` and the actor holds no live reservation for it."""
    if doc["stage"] not in store.config.require_reservation:
        return
    paths, ident = doc["touched_paths"], doc["task_id"]
    if paths and conflicts.covers(tx, tx.actor.name, paths):
        return
    tied = (conflicts.stands(tx, rid) for rid in tx.index.reservations_of(task=ident))
    if not paths and any(doc is not None and (doc["agent"], doc["incarnation"]) == tx.actor.who for doc in tied):
        return
    what = " ".join(f"'{path}'" for path in paths) or "PATTERN"
    raise Refused(f"stage {doc['stage']} wants a live reservation; `reserve --task {ident} {what}`")


# -- the holder's verbs ------------------------------------------------------------------------------------------------


def renew(store: Store, actor: Actor, task_id: str, token: int | None = None) -> Answer:
    """Let the lease on a task, and on the reservations tied to it, run from now.  Not journaled.

    Of many reservations some at a time, with the lock free in between; who loses the task meanwhile gets `NotYours`.
    """
    seen, goes_on = set[str](), True

    def change(tx: Transaction, doc: Document) -> Answer:
        nonlocal goes_on
        rids = [rid for rid in tx.index.reservations_of(task=task_id) if rid not in seen]
        part = [] if actor.dry_run else rids[: reserving.RENEWED]
        lease = None if actor.dry_run else _renewed(tx, places.task_lease(task_id), doc)
        for rid in part:
            if reserved := conflicts.stands(tx, rid):
                _renewed(tx, places.lease(rid), reserved)
        seen.update(part)
        goes_on = len(part) == reserving.RENEWED
        left = lease.left(store.host) if lease else store.config.lease
        return answer(doc, token=doc["token"], left=clock.span(left))

    while goes_on:
        renewed = _by_holder(store, actor, task_id, token, "", change)
    return renewed


def _renewed(tx: Transaction, path: str, doc: Document) -> Lease | None:
    lease = tx.lease(path)
    if lease is None:
        tx.first_look(path, tx.actor.name, tx.actor.incarnation, doc["token"])
        return tx.lease(path)
    return tx.renew(path, lease)


def start(store: Store, actor: Actor, task_id: str, token: int | None = None) -> Answer:
    """claimed → running."""

    def change(tx: Transaction, doc: Document) -> Answer:
        if doc["status"] == "running":
            return answer(doc, already=True)
        want_reservation(store, tx, doc)
        doc["status"] = "running"
        put(tx, doc)
        tx.record(operations.TASK_START, [task_id])
        return answer(doc)

    return _by_holder(store, actor, task_id, token, operations.TASK_START, change)


def done(store: Store, actor: Actor, task_id: str, result: Any = None, token: int | None = None,
         then: Callable[[Transaction, list[str]], None] | None = None,
         usage: dict[str, Any] | None = None) -> Answer:  # fmt: skip
    """claimed or running → done; ``unblocked`` names the tasks that are ready now.

    A workflow's task whose result is to pass gates goes to review instead; `Usage` where its order refuses the result
    (`orders`).  ``usage`` is what the try cost, as far as that is known.

    ``then`` is called with them in the same transaction; in a call that is only tried it sees what comes after.
    """

    def change(tx: Transaction, doc: Document) -> Answer:
        want_reservation(store, tx, doc)
        if doc.get("order"):
            _take_result(doc, result, usage)
            if doc["order"].get("gates"):
                return _hand_in(tx, doc, result)
        doc["result"] = result
        finish(tx, doc, "done")
        tx.record(operations.TASK_DONE, [task_id])
        freed = tx.index.freed_by(task_id)
        made = answer(doc, unblocked=freed, waits_for=unmet(tx, doc))
        if then:
            then(tx, freed)
        return made

    return _by_holder(store, actor, task_id, token, operations.TASK_DONE, change)


def _take_result(doc: Document, result: Any, usage: dict[str, Any] | None = None) -> None:
    """Check a result against the order of its task, and note what it cost."""
    from . import orders

    orders.check_result(doc, result)
    if usage is not None:
        doc["order"] = {**doc["order"], "outcome": {"kind": "done", **usage}}


def _hand_in(tx: Transaction, doc: Document, result: Any) -> Answer:
    """claimed or running → review by the gates of its run; its paths stay reserved."""
    end_lease(tx, doc, keep=True)
    doc.update(status="review", result=result, reviewer=None)
    put(tx, doc)
    tx.record(operations.TASK_SUBMIT, [doc["task_id"]])
    return answer(doc, unblocked=[], waits_for=unmet(tx, doc))


def hand_back(store: Store, actor: Actor, task_id: str, outcome: dict[str, Any], token: int) -> Answer:
    """claimed or running → queued and held, for a workflow's task: how the try ended stands in its order (`orders`)."""
    from .orders import HOLD

    def change(tx: Transaction, doc: Document) -> Answer:
        doc["order"] = {**(doc.get("order") or {}), "outcome": {**outcome, "by": actor.name}}
        back_to_queue(tx, doc, hold=HOLD)
        tx.record(operations.TASK_RELEASE, [task_id], f"{outcome['kind']}: {outcome.get('detail', '')}"[:400])
        return answer(doc)

    return _by_holder(store, actor, task_id, token, operations.TASK_RELEASE, change)


def fail(store: Store, actor: Actor, task_id: str, reason: str, token: int | None = None) -> Answer:
    """claimed or running → failed."""

    def change(tx: Transaction, doc: Document) -> Answer:
        finish(tx, doc, "failed", reason)
        tx.record(operations.TASK_FAIL, [task_id], reason)
        return answer(doc)

    return _by_holder(store, actor, task_id, token, operations.TASK_FAIL, change)


def submit(store: Store, actor: Actor, task_id: str, to: str | None = None, keep: bool = False,
           result: Any = None, token: int | None = None, why: str = "") -> Answer:  # fmt: skip
    """claimed or running → review.  ``to`` gets the reviewer's lease at once, and a message that says so.

    ``why`` stands in the record.  ``keep`` keeps the reservations until the task is final, or their lease runs out.
    """

    def change(tx: Transaction, doc: Document) -> Answer:
        if to == actor.name:
            raise Refused(f"{task_id}: nobody reviews what they did; submit it to somebody else, or to nobody")
        if to and doc.get("order"):
            raise Refused(f"{task_id} is judged by its run, and by no reviewer: `task done {task_id}` hands it in")
        reviewer = registry.require(store, tx.read, to) if to else None
        if doc.get("order"):
            _take_result(doc, result)
        end_lease(tx, doc, keep)
        doc.update(status="review", result=result, reviewer=to or None)
        made = answer(doc, waits_for=unmet(tx, doc))
        if reviewer:
            from mbox.mail import sending

            from .results import request

            subject = f"review {task_id}: {doc['title']}"
            who = Actor(reviewer["agent"], reviewer["incarnation"])
            msg_id = sending.system(tx, who.name, subject, request(doc), task_id, "review_request")
            made.update(reviewer=who.name, msg_id=msg_id)
            doc["token"] = tx.grant(places.review_lease(task_id), who, presence.lease_time(store, who, store.config.lease))
        put(tx, doc)
        tx.record(operations.TASK_SUBMIT, [task_id], why)
        return made

    return _by_holder(store, actor, task_id, token, operations.TASK_SUBMIT, change)


def released(tx: Transaction, task_id: str, token: int | None = None) -> Answer:
    """claimed or running → queued, inside a transaction that makes the record ``task.release``."""
    doc = held(tx, task_id, token, operations.TASK_RELEASE)
    if doc is None:
        return answer(find(tx, task_id), already=True)
    back_to_queue(tx, doc)
    return answer(doc)


# -- leases that run out: called by the sweep --------------------------------------------------------------------------


def lease_ran_out(tx: Transaction, task_id: str, lease: Lease | None) -> bool:
    """The holder's lease has run out, or (None) its file is gone; False if the task is nobody's."""
    doc = tx.read(places.task(task_id))
    if doc is None or doc["status"] not in ACTIVE:
        return False
    if lease is None or lease.token != doc["token"]:
        tx.first_look(places.task_lease(task_id), doc["owner"] or "", doc["incarnation"], doc["token"])
        return True
    tx.record(operations.TASK_EXPIRE, [task_id], attempt_ended(tx, doc, f"the lease of {doc['owner']} ran out"))
    return True


def attempt_ended(tx: Transaction, doc: Document, what: str) -> str:
    """A holder is gone: queue the task again, or dead after its last attempt.  ``what`` with the count, as a reason."""
    attempts = doc["attempt_count"] + 1
    why = f"{what} (attempt {attempts} of {doc['max_attempts']})"
    if attempts < doc["max_attempts"]:
        back_to_queue(tx, doc, attempt_count=attempts)
    else:
        doc["attempt_count"] = attempts
        finish(tx, doc, "deadletter", why)
    return why


def review_ran_out(tx: Transaction, task_id: str, lease: Lease | None) -> bool:
    """The reviewer's lease has run out, or its file is gone; False if nobody reviews the task."""
    doc = tx.read(places.task(task_id))
    if doc is None or doc["status"] != "review" or not doc["token"]:
        return False
    reviewer = doc["reviewer"] or ""
    if lease is None or lease.token != doc["token"]:
        known = tx.read(places.agent(reviewer)) if reviewer else None
        tx.first_look(places.review_lease(task_id), reviewer, known["incarnation"] if known else 0, doc["token"])
        return True
    review_ended(tx, doc)
    tx.record(operations.TASK_REVIEW_EXPIRE, [task_id], f"the review lease of {reviewer} ran out")
    return True


def review_ended(tx: Transaction, doc: Document) -> None:
    """Nobody reviews the task any more; it stays in review."""
    end_lease(tx, doc, keep=True)
    doc["reviewer"] = None
    put(tx, doc)
