"""Departure: what an agent leaves when it ends goes back, in one transaction unless it is very much.

Promised (decision 8): every task that the agent held in that incarnation, or an older one, is queued again with one
attempt more, or goes to the dead letters with the reason; a task that it reviewed is open to other reviewers; its
reservations end; what it had read and not acknowledged comes back unread, or goes to the dead letters after its last
delivery.  What a newer incarnation holds is not touched.  One record, ``agent.end`` (its wrapper saw the end) or
``agent.dead`` (somebody else noticed), names all of it and says why; the journal then needs no other word.  Of what is
more than a transaction takes (`Transaction.is_laden`: a thousand tasks, or 8 MiB of them) there are several such records.

Repeating it changes nothing: a decision that finds nothing held makes no record, but for ``agent.end``, which says how
the program ended also where it left nothing.  A crash before a commit leaves what it was about held, to be settled by
the next who looks; after the commit, recovery publishes all of it.

Not promised: that the program is gone.  Whoever settles has ended it first (`processes.end_group`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mbox.agents.registry import governs, known, still_current
from mbox.errors import NotFound, Refused, did_you_mean
from mbox.format import operations, places
from mbox.format.documents import ACTIVE, Document
from mbox.format.lease import Lease
from mbox.mail import reading
from mbox.reservations import reserving
from mbox.store.store import Actor, Store, Transaction
from mbox.tasks import lifecycle

NAMED = 20
"""Tasks that a refusal names at most."""


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
    return any(True for held in (_tasks, _reservations, _leases) for _ in held(tx, name, incarnation))


def give_back(store: Store, by: Actor, name: str, incarnation: int, op: str, why: str,
              stays: Callable[[Transaction], bool] = lambda tx: False) -> Settled:  # fmt: skip
    """`settle` in as many transactions as it takes; all that went back.  Where ``name`` ``stays`` nothing more does."""
    whole, again = Settled([], [], [], [], [], []), True

    def decide(tx: Transaction) -> tuple[Settled | None, bool]:
        return (None, False) if stays(tx) else (settle(tx, name, incarnation, op, why), tx.is_laden)

    while again:
        part, again = store.transact(decide, by)
        for ids, more in zip(whole, part or (), strict=False):
            ids += more
        again = again and part is not None and bool(part.ids)
    return whole


def settle(tx: Transaction, name: str, incarnation: int, op: str, why: str) -> Settled | None:
    """Give back what ``name`` holds in ``incarnation`` or an older one, with the record ``op``; None if nothing is.

    It is not all where the transaction is laden then.
    """
    found = Settled([], [], [], [], [], [])
    for doc in _tasks(tx, name, incarnation):
        task_id = doc["task_id"]
        tied = tx.index.reservations_of(task=task_id)
        lifecycle.attempt_ended(tx, doc, f"{name} is gone: {why}")
        (found.requeued if doc["status"] == "queued" else found.dead).append(task_id)
        found.released.extend(rid for rid in tied if tx.read(places.reservation(rid)) is None)
    for rid in _reservations(tx, name, incarnation):
        reserving.end(tx, rid)
        found.released.append(rid)
    for path in _leases(tx, name, incarnation):
        first, _, reader = places.ident(path).partition("@")
        if places.lease_kind(path) == "review":
            lifecycle.review_ended(tx, lifecycle.find(tx, first))
            found.reviews.append(first)
        elif (back := reading.reader_gone(tx, reader, first, f"{name} is gone: {why}")) is not None:
            (found.returned if back else found.dead_mail).append(first)
    if not found.ids and op != operations.AGENT_END:
        return None
    tx.record(op, list(dict.fromkeys([name, *found.ids])), why)
    return found


def _tasks(tx: Transaction, name: str, incarnation: int) -> Iterator[Document]:
    """Tasks in work of ``name``, of ``incarnation`` or older, until the transaction is laden."""
    for task_id in tx.index.active_tasks(name, incarnation):
        if tx.is_laden:
            return
        doc = tx.glance(places.task(task_id))
        if doc and doc["status"] in ACTIVE and doc["owner"] == name and doc["incarnation"] <= incarnation:
            yield doc


def _reservations(tx: Transaction, name: str, incarnation: int) -> Iterator[str]:
    """Reservations of ``name``, of ``incarnation`` or older, that still stand, until the transaction is laden."""
    for rid in tx.index.reservations_of(name):
        if tx.is_laden:
            return
        doc = tx.glance(places.reservation(rid))
        if doc and doc["agent"] == name and doc["incarnation"] <= incarnation:
            yield rid


def _leases(tx: Transaction, name: str, incarnation: int) -> Iterator[str]:
    """The leases of ``name`` on reviews and read messages, of ``incarnation`` or older, whose documents carry them.

    Until the transaction is laden.
    """
    for path in tx.index.leases_of(name, incarnation):
        if tx.is_laden:
            return
        if places.lease_kind(path) in ("review", "read") and _carried(tx, path, name, incarnation):
            yield path


def _carried(tx: Transaction, path: str, name: str, incarnation: int) -> bool:
    lease: Lease | None = tx.lease(path)
    if lease is not None and lease.incarnation > incarnation:
        return False
    first, _, reader = places.ident(path).partition("@")
    if places.lease_kind(path) == "read":
        return reader == name and tx.glance(places.cur(name, first)) is not None
    doc = tx.glance(places.task(first))
    return bool(doc and doc["status"] == "review" and doc["token"] and doc["reviewer"] == name)


def retire(store: Store, by: Actor, name: str, nobody: bool = False) -> Document:
    """Take ``name`` out of the game: no mail, no claims, no reservations; its other documents stay.

    Refused while it holds tasks, and to another agent that is no orchestrator, or that is ``nobody`` yet.
    """
    def decide(tx: Transaction) -> Document:
        if by.incarnation:
            still_current(tx)
        doc = tx.read(places.agent(name))
        if doc is None:
            raise NotFound(f"agent {name!r} is not registered{did_you_mean(name, known(store))}")
        if doc["retired_at"]:
            return {**doc, "already": True}
        if name != by.name and not governs(tx, nobody):
            raise Refused(f"{'an agent that is not registered' if nobody else by.name} cannot retire {name}: only itself, an "
                          "orchestrator, or a person (without MBOX_AGENT and --as) does")  # fmt: skip
        held = tx.index.active_tasks(name)
        if held:
            more = f" and {len(held) - NAMED} more" if len(held) > NAMED else ""
            raise Refused(f"{name} still holds {', '.join(held[:NAMED])}{more}; release or cancel them first")
        doc["retired_at"] = tx.now
        tx.put(doc, places.agent(name))
        given_back = tx.index.reservations_of(name)
        for rid in given_back:
            reserving.end(tx, rid)
        tx.record(operations.AGENT_RETIRE, [name, *given_back])
        return doc

    return store.transact(decide, by)
