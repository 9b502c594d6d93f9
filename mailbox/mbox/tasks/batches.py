"""Several tasks at once, by id or by filter: requeue, cancel, release.

Promised: up to `BATCH` tasks are changed in one record, more, or larger ones (`Transaction.is_laden`), in several; each
that cannot be changed is told with its reason and the others go on.  A filter takes only tasks that the verb applies to,
and that still are what it asks for when their turn comes.  What depends on what is asked of the index in slices, with the
lock free in between.

Not promised: that what a filter found in its first look is all there is when the last record is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mbox.errors import MboxError, NotFound, Nothing, NotYours, Refused
from mbox.format import operations, places
from mbox.format.documents import ACTIVE, FINAL, Document
from mbox.store.transaction import Actor, Transaction

from . import lifecycle
from .lifecycle import Answer
from .orders import is_of_run

if TYPE_CHECKING:
    from mbox.store.store import Store

BATCH = 256
"""Tasks changed in one record at most."""

SLICE = 20_000
"""Dependants that are asked for before the lock is given up in between."""

REQUEUED = ("failed", "deadletter", "cancelled")
"""States from which a task is queued again."""


class TaskFilter(NamedTuple):
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


def requeue(store: Store, actor: Actor, ids: Sequence[str] = (), where: TaskFilter | None = None,
            states: tuple[str, ...] = REQUEUED) -> Outcome:  # fmt: skip
    """failed, deadletter, cancelled → queued, with all its attempts again.  A filter finds those in ``states``."""

    def one(tx: Transaction, task_id: str) -> Answer:
        doc = lifecycle.find(tx, task_id)
        if doc["status"] == "queued":
            return lifecycle.answer(doc, already=True)
        if doc["status"] not in REQUEUED:
            raise Refused(f"{task_id} is {doc['status']}; only {', '.join(REQUEUED)} tasks are requeued")
        if is_of_run(doc):
            run = doc["order"]["run"]
            raise Refused(f"{task_id} is of the run {run}, which tries by itself; see `workflow explain {run}`")
        lifecycle.back_to_queue(tx, doc, attempt_count=0)
        return lifecycle.answer(doc)

    return _each(store, actor, operations.TASK_REQUEUE, one, ids, where, states, "")


def cancel(store: Store, actor: Actor, ids: Sequence[str] = (), where: TaskFilter | None = None, reason: str = "",
           cascade: bool = False) -> Outcome:  # fmt: skip
    """Not final → cancelled; with ``cascade`` also everything that depends on it."""
    why = reason or f"cancelled by {actor.name}"

    def one(tx: Transaction, task_id: str) -> Answer:
        doc = lifecycle.find(tx, task_id)
        if doc["status"] == "cancelled":
            return lifecycle.answer(doc, already=True)
        if doc["status"] in FINAL:
            raise Refused(f"{task_id} is {doc['status']}, which is final")
        lifecycle.finish(tx, doc, "cancelled", why)
        return lifecycle.answer(doc)

    return _each(store, actor, operations.TASK_CANCEL, one, ids, where, None, why, cascade)


def release(store: Store, actor: Actor, ids: Sequence[str] = (), where: TaskFilter | None = None,
            token: int | None = None) -> Outcome:  # fmt: skip
    """claimed, running → queued, each by its live holder."""

    def one(tx: Transaction, task_id: str) -> Answer:
        return lifecycle.released(tx, task_id, token)

    return _each(store, actor, operations.TASK_RELEASE, one, ids, where, ACTIVE, "")


def _each(store: Store, actor: Actor, op: str, one: One, ids: Sequence[str], where: TaskFilter | None,
          states: tuple[str, ...] | None, why: str, cascade: bool = False) -> Outcome:  # fmt: skip
    """Do ``one`` to every id, and to what ``where`` finds in ``states`` (None: not final), a record a batch."""
    found: dict[str, None] = {}
    if where is not None:
        found = dict.fromkeys(store.transact(lambda tx: tx.index.tasks_where(*where, states=states), actor.trial()))
    left = list(dict.fromkeys([*ids, *found]))
    if cascade:
        _add_dependents(store, actor, left)
    wanted = {task_id: where for task_id in found if where is not None and task_id not in ids}
    changed: list[Answer] = []
    errors: list[MboxError] = []
    while left:
        batch = left[:BATCH]
        done, refused, seen = store.transact(lambda tx: _batch(tx, op, one, batch, wanted, why), actor)  # noqa: B023
        left = left[seen:]
        changed += done
        errors += refused
    return Outcome(changed, errors)


def _add_dependents(store: Store, actor: Actor, ids: list[str]) -> None:
    """Add to ``ids`` all that is not final and depends on one of them, however far."""
    known, at = set(ids), 0

    def some(tx: Transaction) -> tuple[list[str], int]:
        fresh, here = dict[str, None](), at
        while here < len(ids) and len(fresh) < SLICE:
            fresh |= dict.fromkeys(one for one in tx.index.open_dependents(ids[here]) if one not in known)
            here += 1
        return list(fresh), here

    while at < len(ids):
        fresh, at = store.transact(some, actor.trial())
        known.update(fresh)
        ids += fresh


def _batch(tx: Transaction, op: str, one: One, batch: list[str], wanted: Mapping[str, TaskFilter],
           why: str) -> tuple[list[Answer], list[MboxError], int]:  # fmt: skip
    """What was changed, what could not be, and how many of ``batch`` that took care of: at least one.

    What is ``wanted`` by a filter must still be what it wants.
    """
    lifecycle.acting(tx)
    seen = 0
    changed: list[Answer] = []
    errors: list[MboxError] = []
    for task_id in batch:
        if tx.is_laden and seen:
            break
        seen += 1
        where = wanted.get(task_id)
        if where and not ((doc := tx.glance(places.task(task_id))) and where.wants(doc)):
            continue
        try:
            changed.append(one(tx, task_id))
        except (NotFound, NotYours, Nothing, Refused) as error:
            errors.append(error)
    touched = [answer["task_id"] for answer in changed if "already" not in answer]
    if touched:
        tx.record(op, touched, why)
    return changed, errors, seen
