"""Reservations: no two agents hold what one path can be, unless both only share it.

Promised: of two reservations that stand and whose patterns some path could match both, either both are of
one agent or both are shared; several patterns are taken together or not at all.  A reservation stands while
its document is there and its lease is live.  Not promised: that anybody keeps to it.  Files are not locked;
`guard` answers whether a path may be changed.

Files: ``reservations/<id>.json`` is made and removed by a transaction together with its lease,
``leases/<id>.json``; what a crash in between leaves is told in `store`.  Renewing writes the lease file
only. Who gives back one pattern of several rewrites the document without it, under the same lease and
token.

Decisions ask the index for the patterns whose literal prefix lies on the same way, and believe only the
document and its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mbox.agents import registry
from mbox.errors import LeftAlone, MboxError, NotFound, NotYours, Refused, meant_id
from mbox.format import documents, operations, patterns, places
from mbox.format.documents import Document
from mbox.format.lease import Lease
from mbox.index.answers import Held
from mbox.store.store import Actor, Store, Transaction
from mbox.system.clock import span, stamp

from .conflicts import (
    EXCLUSIVE,
    SHARED,
    Blocked,
    blocked,
    blocker,
    canonical,
    check,
    describe,
    each_once,
    holder_in_words,
    is_of,
    stands,
    stored,
    time_left,
)

HELD = 10_000
"""Patterns that one agent may hold in all its reservations: what it takes a second to end at once."""

RESERVATIONS = 2_000
"""Reservations that one agent may have, and that may be tied to one task: with a task all of them end in one record."""

RENEWED = 256
"""Reservations that are renewed before the lock is given up in between: renewing is not journaled, so it need not be one."""

_FEWER = "`reserve release` some, or take several paths in one"

_SHOWN = 40
"""Patterns that a message repeats at most."""


class ReservationGone(NotFound):
    """The reservation ``rid`` is not there: it ended, or there never was one."""

    def __init__(self, rid: str, message: str) -> None:
        super().__init__(message)
        self.rid = rid


class ReservationRequest(NamedTuple):
    """What an agent asks for.  ``seconds`` is the lease; ``fresh``: not one that it holds already."""

    patterns: list[str]
    seconds: float
    shared: bool = False
    reason: str = ""
    task_id: str | None = None
    fresh: bool = False

    @property
    def mode(self) -> str:
        return SHARED if self.shared else EXCLUSIVE

    def command(self) -> str:
        """The command line that asks for it."""
        from shlex import join

        shown = self.patterns if len(self.patterns) <= _SHOWN else [*self.patterns[:_SHOWN], "…"]
        words = ["reserve", *shown, *(["--shared"] if self.shared else [])]
        return join([*words, *(["--task", self.task_id] if self.task_id else [])])


# -- inside a transaction ----------------------------------------------------------------------------------


def take(tx: Transaction, holder: Actor, wanted: Iterable[str], mode: str, reason: str, task_id: str | None,
         seconds: float, command: str = "reserve …", is_free: bool = False) -> Document:  # fmt: skip
    """Reserve all of ``wanted`` for ``holder``, or raise `Blocked`; the document.  ``is_free``: the caller has seen to it.

    Takes a number and then the transaction's token: the caller takes its own numbers before, and records.
    """
    texts = each_once(tx.store, wanted, tx.effort)
    held = None if is_free else blocker(tx, holder.name, texts, mode == SHARED)
    if held is not None:
        raise blocked(tx, held, command)
    _refuse_more(tx, holder.name, len(texts), task_id)
    rid = f"r{tx.take()}"
    doc = documents.new(
        "reservation", reservation_id=rid, agent=holder.name, incarnation=holder.incarnation, patterns=texts,
        mode=mode, reason=reason, task_id=task_id, lease_s=seconds, created_at=tx.now,
        token=tx.grant(places.lease(rid), holder, seconds), expires_at=stamp(tx.wall + seconds),
    )  # fmt: skip
    tx.put(doc, places.reservation(rid))
    return doc


def _refuse_more(tx: Transaction, holder: str, more: int, task_id: str | None) -> None:
    """`Refused` where one reservation of so many patterns more would be more than ``holder`` may have, or the task."""
    patterns_, count = tx.index.count_held(holder)
    if patterns_ + more > HELD:
        raise Refused(f"{holder} holds {patterns_} patterns, at most {HELD} at a time: `reserve release` some, or name folders")
    if count >= RESERVATIONS:
        raise Refused(f"{holder} has {count} reservations, the most at a time: {_FEWER}")
    if task_id and (tied := tx.index.count_tied(task_id)) >= RESERVATIONS:
        raise Refused(f"{task_id} has {tied} reservations, the most at a time: {_FEWER}")


def again(tx: Transaction, wanted: ReservationRequest, rids: Iterable[str]) -> Document | None:
    """The live one among the actor's ``rids`` that holds every wanted pattern in that mode (and for that task), renewed."""
    keys: set[Any] | None = None
    for rid in rids:
        if tx.effort.is_spent:
            break
        doc = stands(tx, rid)
        if doc is None or not is_of(doc, tx.actor) or doc["mode"] != wanted.mode or wanted.task_id not in (None, doc["task_id"]):
            continue
        keys = keys or {stored(tx.store, one, tx.effort).key for one in each_once(tx.store, wanted.patterns, tx.effort)}
        if keys <= set(_keys(tx, doc)):
            return doc if tx.actor.dry_run else {**doc, **_renewed(tx, doc, wanted.seconds)}
    return None


def end(tx: Transaction, rid: str) -> None:
    """End a reservation: its document, which need not be readable, and its lease.  One that is gone stays gone."""
    try:
        is_there = tx.stands(places.reservation(rid))
    except LeftAlone as error:
        tx.pass_over(error)
        is_there = True
    if is_there:
        tx.delete(places.reservation(rid))
        tx.end(places.lease(rid))


def lease_ran_out(tx: Transaction, rid: str, lease: Lease | None) -> bool:
    """Called by the sweep: end what has run out; False if nothing is reserved under it.

    A lease of another token ends nothing; it counts as a missing one.
    """
    doc = tx.read(places.reservation(rid))
    if doc is None:
        return False
    if lease is None or lease.token != doc["token"]:
        tx.first_look(places.lease(rid), doc["agent"], doc["incarnation"], doc["token"])
        return True
    end(tx, rid)
    tx.record(operations.RESERVE_EXPIRE, [rid], f"the lease of {doc['agent']} ran out")
    return True


# -- what an agent does ------------------------------------------------------------------------------------


def reserve(store: Store, actor: Actor, wanted: ReservationRequest,
            waiting: Callable[[Transaction], None] | None = None) -> Document:  # fmt: skip
    """Reserve what is ``wanted``; the document, with ``already`` where it was held before and is renewed.

    `Blocked` if another agent holds any of it.  Who will wait then has ``waiting`` called first, locked.
    """
    wanted = wanted._replace(patterns=canonical(store, wanted.patterns))

    def decide(tx: Transaction) -> Document:
        registry.still_current(tx)
        if wanted.task_id:
            _require_task(tx, wanted.task_id)
        near = tx.index.near(wanted.patterns[0], actor.name, others=False) if not wanted.fresh else ()
        held = again(tx, wanted, dict.fromkeys(held.rid for held in near))
        if held is not None:
            return {**held, "already": True}
        try:
            doc = take(
                tx, actor, wanted.patterns, wanted.mode, wanted.reason, wanted.task_id, wanted.seconds,
                wanted.command(),
            )  # fmt: skip
        except Blocked:
            if waiting is not None:
                waiting(tx)
            raise
        tx.record(operations.RESERVE_ADD, [doc["reservation_id"], *filter(None, [wanted.task_id])], wanted.reason)
        return doc

    return store.transact(decide, actor)


def renew(
    store: Store, actor: Actor, ids: list[str], texts: list[str]
) -> list[Document]:
    """Renew the actor's reservations with these ``ids``, and those that hold these patterns.

    If one is not the actor's, none is renewed; where there are many, one that ends meanwhile stops the rest.
    """
    check(store, texts)
    left: list[str] | None = None
    rows: list[Document] = []

    def decide(tx: Transaction) -> tuple[list[Document], list[str]]:
        registry.still_current(tx)
        found = [_own(tx, rid) for rid in (ids if left is None else left[:RENEWED])]
        if left is None:
            found += [doc for doc, _ in _holding(tx, texts)]
        docs = {doc["reservation_id"]: doc for doc in found}
        part = docs if actor.dry_run else list(docs)[:RENEWED]
        new = [docs[rid] if actor.dry_run else {**docs[rid], **_renewed(tx, docs[rid])} for rid in part]
        later = [*docs, *(left or [])[RENEWED:]][len(part) :]
        return [{name: doc[name] for name in ("reservation_id", "expires_at")} for doc in new], later

    while left is None or left:
        try:
            fresh, left = store.transact(decide, actor)
        except ReservationGone as gone:
            raise _ended(store, gone) from None
        rows += fresh
    return rows


def release(
    store: Store, actor: Actor, ids: list[str], texts: list[str], every: bool = False
) -> list[Document]:
    """Give back the reservations with these ``ids``, these patterns of any, or ``every`` one of the actor's.

    A row for each that is touched: what of it is ``released``, and what is ``kept``; ``already`` for one that
    the actor gave back before.
    """
    check(store, texts)
    given, before = list(dict.fromkeys(ids)), list[Document]()

    def decide(tx: Transaction) -> list[Document]:
        registry.still_current(tx)
        docs = [*(_own(tx, rid) for rid in given), *(_all_of(tx) if every else [])]
        whole = {doc["reservation_id"]: (doc, doc["patterns"]) for doc in docs}
        parts = {doc["reservation_id"]: (doc, held) for doc, held in _holding(tx, texts)}
        rows = [_shrunk(tx, doc, gone) for doc, gone in {**parts, **whole}.values()]
        if rows:
            tx.record(operations.RESERVE_RELEASE, [row["reservation_id"] for row in rows])
        return rows

    while True:
        try:
            return [*before, *store.transact(decide, actor)]
        except ReservationGone as gone:
            record = ended(store, gone.rid)
            if record is None or (record["by"], record["inc"]) != actor.who:
                raise _ended(store, gone, record) from None
            given.remove(gone.rid)
            before.append({"reservation_id": gone.rid, "already": True})


def _require_task(tx: Transaction, task_id: str) -> None:
    """`NotYours` unless the acting agent holds the task live, `NotFound` if there is none."""
    doc = tx.read(places.task(task_id))
    if doc is None:
        known = places.idents(tx.names(places.TASKS))
        raise NotFound(f"no task {task_id}{meant_id(task_id, known)}")
    mine = (doc["owner"], doc["incarnation"]) == (tx.actor.name, tx.actor.incarnation)
    leased = doc["status"] in documents.ACTIVE and tx.live(places.task_lease(task_id), doc["token"])
    if not (mine and leased):
        owner = f" by {doc['owner']}" if doc["owner"] else ""
        raise NotYours(f"{task_id} is {doc['status']}{owner}, not held by you; `task claim {task_id}` first")


def _keys(tx: Transaction, doc: Document) -> dict[Any, str]:
    """The patterns of ``doc`` by what tells whether two are the same, letter by letter."""
    return {stored(tx.store, text, tx.effort).key: text for text in doc["patterns"]}


def _renewed(tx: Transaction, doc: Document, seconds: float = 0) -> Document:
    """Renew the lease of ``doc`` (for ``seconds``, if given); when it ends now, never sooner than before."""
    path, host = places.lease(doc["reservation_id"]), tx.store.host
    lease = tx.lease(path)
    if lease is None:
        lease = Lease.granted(
            doc["reservation_id"], doc["agent"], doc["incarnation"], doc["token"], doc["lease_s"], host
        )
    lease = tx.renew(path, lease._replace(seconds=seconds or lease.seconds))
    return {"expires_at": stamp(host.wall() + lease.left(host))}


def _own(tx: Transaction, rid: str) -> Document:
    """The actor's own live reservation ``rid``; `ReservationGone`, or `NotYours` with who holds it."""
    doc = tx.read(places.reservation(rid))
    if doc is None:
        known = places.idents(tx.names(places.RESERVATIONS))
        raise ReservationGone(rid, f"no reservation {rid}{meant_id(rid, known)}")
    left = time_left(tx.store, doc, tx.lease(places.lease(rid)))
    if doc["agent"] != tx.actor.name:
        held = Held(rid, doc["agent"], doc["mode"] == SHARED, doc["task_id"], ", ".join(doc["patterns"]))
        raise NotYours(f"not yours: {holder_in_words(tx.store, held, doc['reason'], left)}")
    if not is_of(doc, tx.actor):
        raise NotYours(
            f"{rid} is of your incarnation {doc['incarnation']}, you are {tx.actor.incarnation}; "
            f"it ends by itself in {span(left)}"
        )
    if left <= 0:
        raise NotYours(f"the lease of {rid} ran out; reserve again")
    return doc


def _all_of(tx: Transaction) -> list[Document]:
    """Every reservation of the actor."""
    docs = [tx.glance(places.reservation(rid)) for rid in tx.index.reservations_of(tx.actor.name)]
    return [doc for doc in docs if doc is not None and is_of(doc, tx.actor)]


def _holding(tx: Transaction, texts: list[str]) -> list[tuple[Document, list[str]]]:
    """The actor's live reservations that hold any of ``texts`` letter by letter, and which of them.

    A text also means the path of that name, which was reserved as such while it was there.  `NotFound` if one
    is held by none of them, `NotYours` where it is somebody else who holds it.
    """
    store, effort = tx.store, tx.effort
    wanted = {
        text: {stored(store, one, effort).key for one in (text, patterns.escape(text))} for text in texts
    }
    keys = set[Any]().union(*wanted.values())
    found, met = [], set[Any]()
    for doc in _all_of(tx) if texts else []:
        held = {key: text for key, text in _keys(tx, doc).items() if key in keys}
        if held and tx.live(places.lease(doc["reservation_id"]), doc["token"]):
            found.append((doc, list(held.values())))
            met |= held.keys()
    for text, meant in wanted.items():
        if met.isdisjoint(meant):
            other = blocker(tx, tx.actor.name, [text])
            if other is not None:
                raise NotYours(f"you do not hold {text}; {describe(tx, other)}")
            raise NotFound(f"you hold no reservation of {text}; `reserve list` shows what is held")
    return found


def _shrunk(tx: Transaction, doc: Document, gone: list[str]) -> Document:
    """Take the patterns ``gone`` out of a reservation; nothing left ends it."""
    kept = [text for text in doc["patterns"] if text not in gone]
    if kept:
        tx.put({**doc, "patterns": kept}, places.reservation(doc["reservation_id"]))
    else:
        end(tx, doc["reservation_id"])
    return {"reservation_id": doc["reservation_id"], "released": gone, "kept": kept}


# -- what the journal says of one that is gone --------------------------------------------------------------


def ended(store: Store, rid: str) -> Document | None:
    """The journal's record that ended ``rid``, or None.  Reads the journal from its end; for errors only."""
    from mbox.journal.record import decode, text_needle

    path = places.reservation(rid)
    needle = text_needle(path)
    for _, _, line in store.journal.backwards(store.end()):
        if needle in line:
            record = decode(line)
            if path in record["del"]:
                return record
    return None


def how_it_ended(record: Document) -> str:
    """How a reservation ended, in words."""
    why = f" ({record['why']})" if record["why"] else ""
    return f"ended at {record['ts']}: {record['op']} by {record['by']}{why}"


def _ended(store: Store, gone: ReservationGone, record: Document | None = None) -> MboxError:
    """What to raise for a reservation that is gone: that it ended, and how, or that it never was."""
    record = record or ended(store, gone.rid)
    return NotYours(f"{gone.rid} {how_it_ended(record)}; reserve again") if record else gone
