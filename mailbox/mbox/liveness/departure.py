"""The estate: what an agent leaves when it ends goes back, all of it in one transaction.

Promised (decision 8): every task that the agent held in that incarnation, or an older one, is queued again with one
attempt more, or goes to the dead letters with the reason; a task that it reviewed is open to other reviewers; its
reservations end; what it had read and not acknowledged comes back unread, or goes to the dead letters after its last
delivery.  What a newer incarnation holds is not touched.  One record, ``agent.end`` (its wrapper saw the end) or
``agent.dead`` (somebody else noticed), names all of it and says why; the journal then needs no other word.

Repeating it changes nothing: a decision that finds nothing held makes no record, but for ``agent.end``, which says how
the program ended also where it left nothing.  A crash before the commit leaves all of it held, to be settled by the
next who looks; after the commit, recovery publishes all of it.

Not promised: that the program is gone.  Whoever settles has ended it first (`processes.end_group`).
"""

from __future__ import annotations

from typing import NamedTuple

from mbox.tasks import lifecycle as tasks
from mbox.reservations import reserving as reservations
from mbox.mail import reading
from mbox.format import places
from mbox.format.lease import Lease
from mbox.store.transaction import Transaction

END = "agent.end"
"""The operation of a wrapper that saw its program end."""

DEAD = "agent.dead"
"""The operation of whoever found an agent dead."""


class Settled(NamedTuple):
    """Ids: tasks queued again, tasks that died, reviews that are open, reservations ended, mail back, mail that died."""

    requeued: list[str]
    dead: list[str]
    reviews: list[str]
    released: list[str]
    returned: list[str]
    dead_mail: list[str]

    @property
    def ids(self) -> list[str]:
        return [ident for found in self for ident in found]


def holds(tx: Transaction, name: str, incarnation: int) -> bool:
    """Whether ``name`` holds anything in ``incarnation`` or an older one."""
    return bool(_tasks(tx, name, incarnation) or _reservations(tx, name, incarnation) or _leases(tx, name, incarnation))


def settle(tx: Transaction, name: str, incarnation: int, op: str, why: str) -> Settled | None:
    """Give back all that ``name`` holds in ``incarnation`` or an older one, with the record ``op``; None if nothing is."""
    found = Settled([], [], [], [], [], [])
    for task_id in _tasks(tx, name, incarnation):
        doc = tasks.find(tx, task_id)
        tied = tx.index.reservations_of(task=task_id)
        tasks.attempt_ended(tx, doc, f"{name} is gone: {why}")
        (found.requeued if doc["status"] == "queued" else found.dead).append(task_id)
        found.released.extend(rid for rid in tied if tx.read(places.reservation(rid)) is None)
    for rid in _reservations(tx, name, incarnation):
        reservations.end(tx, rid)
        found.released.append(rid)
    for path in _leases(tx, name, incarnation):
        first, _, reader = places.ident(path).partition("@")
        if places.lease_kind(path) == "review":
            tasks.review_ended(tx, tasks.find(tx, first))
            found.reviews.append(first)
        elif (back := reading.reader_gone(tx, reader, first, f"{name} is gone: {why}")) is not None:
            (found.returned if back else found.dead_mail).append(first)
    if not found.ids and op != END:
        return None
    tx.record(op, list(dict.fromkeys([name, *found.ids])), why)
    return found


def _tasks(tx: Transaction, name: str, incarnation: int) -> list[str]:
    """Tasks in work of ``name``, of ``incarnation`` or older."""
    docs = [tx.read(places.task(task_id)) for task_id in tx.index.active_tasks(name)]
    return [
        doc["task_id"] for doc in docs
        if doc and doc["status"] in tasks.ACTIVE and doc["owner"] == name and doc["incarnation"] <= incarnation
    ]  # fmt: skip


def _reservations(tx: Transaction, name: str, incarnation: int) -> list[str]:
    """Reservations of ``name``, of ``incarnation`` or older, that still stand."""
    docs = [tx.read(places.reservation(rid)) for rid in tx.index.reservations_of(name)]
    return [
        doc["reservation_id"] for doc in docs
        if doc and doc["agent"] == name and doc["incarnation"] <= incarnation
    ]  # fmt: skip


def _leases(tx: Transaction, name: str, incarnation: int) -> list[str]:
    """The leases of ``name`` on reviews and read messages, of ``incarnation`` or older, whose documents carry them."""
    paths = [path for path in tx.index.leases_of(name) if places.lease_kind(path) in ("review", "read")]
    return [path for path in paths if _carried(tx, path, name, incarnation)]


def _carried(tx: Transaction, path: str, name: str, incarnation: int) -> bool:
    lease: Lease | None = tx.lease(path)
    if lease is not None and lease.incarnation > incarnation:
        return False
    first, _, reader = places.ident(path).partition("@")
    if places.lease_kind(path) == "read":
        return reader == name and tx.read(places.cur(name, first)) is not None
    doc = tx.read(places.task(first))
    return bool(doc and doc["status"] == "review" and doc["token"] and doc["reviewer"] == name)
