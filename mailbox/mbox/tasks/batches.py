"""Several tasks at once, by id or by filter: requeue, cancel, release.

Promised: up to `BATCH` tasks are changed in one record, more in several; each that cannot be changed is told with its
reason and the others go on.  A filter takes only tasks that the verb applies to.

Not promised: that what a filter found in its first look is all there is when the last record is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mbox.tasks import lifecycle as tasks
from mbox.format import places
from mbox.format.documents import FINAL, Document
from mbox.errors import MboxError, NotFound, Nothing, NotYours, Refused
from mbox.tasks.lifecycle import Answer
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.store.store import Store

BATCH = 256
"""Tasks changed in one record at most."""

REQUEUED = ("failed", "deadletter", "cancelled")
"""States from which a task is queued again."""


class Filter(NamedTuple):
    """Which tasks; what is None wants all."""

    owner: str | None = None
    stage: str | None = None
    label: str | None = None

    def wants(self, doc: Document) -> bool:
        return (
            self.owner in (None, doc["owner"])
            and self.stage in (None, doc["stage"])
            and (self.label is None or self.label in doc["labels"])
        )


class Outcome(NamedTuple):
    """What was changed, an answer each, and what could not be."""

    changed: list[Answer]
    errors: list[MboxError]

    def worst(self) -> int:
        """The exit status."""
        return max((error.exit for error in self.errors), default=0)


One = Callable[[Transaction, str], Answer]


def requeue(store: Store, actor: Actor, ids: Sequence[str] = (), where: Filter | None = None,
            states: tuple[str, ...] = REQUEUED, dry_run: bool = False) -> Outcome:  # fmt: skip
    """failed, deadletter, cancelled → queued, with all its attempts again.  A filter finds those in ``states``."""

    def one(tx: Transaction, task_id: str) -> Answer:
        doc = tasks.find(tx, task_id)
        if doc["status"] == "queued":
            return tasks.said(doc, already=True)
        if doc["status"] not in REQUEUED:
            raise Refused(f"{task_id} is {doc['status']}; only {', '.join(REQUEUED)} tasks are requeued")
        tasks.back_to_queue(tx, doc, attempt_count=0)
        return tasks.said(doc)

    return _each(store, actor, "task.requeue", one, ids, where, states, "", dry_run)


def cancel(store: Store, actor: Actor, ids: Sequence[str] = (), where: Filter | None = None, reason: str = "",
           cascade: bool = False, dry_run: bool = False) -> Outcome:  # fmt: skip
    """Not final → cancelled; with ``cascade`` also everything that depends on it."""
    why = reason or f"cancelled by {actor.name}"

    def one(tx: Transaction, task_id: str) -> Answer:
        doc = tasks.find(tx, task_id)
        if doc["status"] == "cancelled":
            return tasks.said(doc, already=True)
        if doc["status"] in FINAL:
            raise Refused(f"{task_id} is {doc['status']}, which is final")
        tasks.finish(tx, doc, "cancelled", why)
        return tasks.said(doc)

    return _each(store, actor, "task.cancel", one, ids, where, None, why, dry_run, cascade)


def release(store: Store, actor: Actor, ids: Sequence[str] = (), where: Filter | None = None,
            token: int | None = None, dry_run: bool = False) -> Outcome:  # fmt: skip
    """claimed, running → queued, each by its live holder."""

    def one(tx: Transaction, task_id: str) -> Answer:
        return tasks.released(tx, task_id, token)

    return _each(store, actor, "task.release", one, ids, where, tuple(tasks.ACTIVE), "", dry_run)


def _each(store: Store, actor: Actor, op: str, one: One, ids: Sequence[str], where: Filter | None,
          states: tuple[str, ...] | None, why: str, dry_run: bool, cascade: bool = False) -> Outcome:  # fmt: skip
    """Do ``one`` to every id, and to what ``where`` finds in ``states`` (None: not final), a record a batch."""
    left = list(dict.fromkeys(ids))
    if where is not None or cascade:
        left = store.transact(lambda tx: _found(tx, left, where, states, cascade), actor, dry_run=True)
    changed: list[Answer] = []
    errors: list[MboxError] = []
    while left:
        batch, left = left[:BATCH], left[BATCH:]
        done, refused = store.transact(lambda tx: _batch(tx, op, one, batch, why), actor, dry_run)  # noqa: B023
        changed += done
        errors += refused
    return Outcome(changed, errors)


def _found(tx: Transaction, ids: list[str], where: Filter | None, states: tuple[str, ...] | None,
           cascade: bool) -> list[str]:  # fmt: skip
    """The ids, what the filter finds, and with ``cascade`` every task not final that depends on one of them."""
    found = dict.fromkeys(ids)
    if where is not None:
        for state in states or (None,):
            for task_id in tx.index.tasks_where(*where, status=state):
                doc = tx.read(places.task(task_id))
                if doc is not None and where.wants(doc):
                    found[task_id] = None
    queue = list(found) if cascade else []
    for task_id in queue:  # grows while it is read
        for dependent in tx.index.dependents(task_id):
            doc = tx.read(places.task(dependent)) if dependent not in found else None
            if doc is not None and doc["status"] not in FINAL:
                found[dependent] = None
                queue.append(dependent)
    return list(found)


def _batch(tx: Transaction, op: str, one: One, batch: list[str], why: str) -> tuple[list[Answer], list[MboxError]]:
    tasks.acting(tx)
    changed: list[Answer] = []
    errors: list[MboxError] = []
    for task_id in batch:
        try:
            changed.append(one(tx, task_id))
        except (NotFound, NotYours, Nothing, Refused) as error:
            errors.append(error)
    touched = [answer["task_id"] for answer in changed if "already" not in answer]
    if touched:
        tx.record(op, touched, why)
    return changed, errors
