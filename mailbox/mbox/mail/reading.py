"""Reading: a message is leased to its reader, and archived when that acknowledges it; else it comes back.

Promised: each message is shown to one of any number of simultaneous readers of an inbox; shown again only if it was
not acknowledged in time.  What needs no explicit ack is acknowledged in a second transaction (`finish`), after the
caller has what was printed: a reader that dies in between leaves it leased, and the lease runs out.

| operation | documents, in one record |
|---|---|
| mail.read | ``new/`` → ``cur/``, and a read lease |
| mail.ack | ``cur/`` → ``archive/R/yyyy-mm/``, the lease ends |
| mail.return, mail.dead | a lease ran out: ``cur/`` → ``new/``, its old place; or into a dead letter |
| mail.expire | ``new/`` → ``archive/`` with state ``expired`` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mbox.agents import presence, registry
from mbox.errors import LeftAlone, MboxError, NotFound, NotYours, StoreError, Usage
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.format.lease import Lease
from mbox.store.store import Actor, Store, Transaction

from . import inbox, lookup
from .inbox import MailFilter
from .lookup import DocumentReader, nearest_ids, sent

BATCH = 64
"""Messages read or acknowledged in one record at most."""

BATCH_BYTES = 1 << 20
"""The text that one record reads, after which it takes no further message."""


def read(
    store: Store, actor: Actor, ids: Iterable[str] = (), limit: int = 1, wanted: MailFilter = inbox.ANY
) -> list[Document]:
    """Take messages out of the inbox under a lease: ``ids``, or the ``limit`` next (at most `BATCH`) ``wanted`` ones.

    Each document with its ``token``; ``already`` for one of ``ids`` that the caller has read before, which is shown
    and not changed.  `finish` acknowledges them once the caller has them.
    """
    names = tuple(dict.fromkeys(ids))
    if names:
        docs = store.transact(lambda tx: _read(tx, lambda me: [_named(tx, me, one) for one in names]), actor)
    elif wanted == inbox.ANY:
        docs = store.transact(lambda tx: _read(tx, lambda me: _next(tx, me, min(limit, BATCH))), actor)
    else:
        docs = _read_wanted(store, actor, wanted, min(limit, BATCH))
    return [lookup.annotated(store, doc) for doc in docs]


def read_many(store: Store, actor: Actor, limit: int, wanted: MailFilter = inbox.ANY) -> list[Document]:
    """As `read`, up to any ``limit`` (0: all), in as many transactions as that takes."""
    out: list[Document] = []
    while not limit or len(out) < limit:
        docs = read(store, actor, limit=limit - len(out) if limit else BATCH, wanted=wanted)
        out += docs
        if not docs or actor.dry_run:
            break
    return out


def _read_wanted(store: Store, actor: Actor, wanted: MailFilter, limit: int) -> list[Document]:
    """Looking for what is wanted may take long, so it is done without the lock; what was found is checked under it."""
    while True:
        found = [doc["msg_id"] for doc in inbox.unread(store, actor.name, wanted)][:limit]
        if not found and store.is_in_order():
            return []
        if not found:
            store.catch_up()
            found = [doc["msg_id"] for doc in inbox.unread(store, actor.name, wanted)][:limit]
        if not found:
            return []
        docs = store.transact(_taking(found), actor)
        if docs:
            return docs


def _taking(ids: list[str]) -> Callable[[Transaction], list[Document]]:
    return lambda tx: _read(tx, lambda agent: _still(tx, agent, ids))


def _read(tx: Transaction, choose: Callable[[str], list[Document]]) -> list[Document]:
    """Put what ``choose`` chose in ``cur/`` under a lease, but for what it marked as ``already`` read."""
    me = registry.still_current(tx)
    agent, since = me["agent"], me["incarnation_since"] or ""
    out: list[Document] = []
    for doc in choose(agent):
        if not doc.get("already"):
            doc = _hand_over(tx, agent, doc)
        out.append({**doc, "before_you": True} if doc["created_at"] < since else doc)
    taken = [doc["msg_id"] for doc in out if not doc.get("already")]
    if taken:
        tx.record(operations.MAIL_READ, taken)
    return out


def _hand_over(tx: Transaction, agent: str, doc: Document) -> Document:
    """Lease a message to its reader.  What needs no `ack` is leased to the one command that prints it, incarnation 0:
    nobody renews that lease, so that the message comes back if the command dies."""
    msg_id = doc["msg_id"]
    fresh = {**doc, "state": "read", "read_by": agent, "read_at": tx.now, "deliveries": doc["deliveries"] + 1}
    tx.put(fresh, places.cur(agent, msg_id))
    if tx.read(places.new(agent, msg_id)):
        tx.delete(places.new(agent, msg_id))
    holder = Actor(agent, tx.actor.incarnation if doc["needs_ack"] else 0)
    token = tx.grant(places.read_lease(agent, msg_id), holder, tx.store.config.read_lease)
    return {**fresh, "token": token}


def _next(tx: Transaction, agent: str, limit: int) -> list[Document]:
    """Unread messages by priority, then age; what has expired is left to the sweep."""
    found: list[Document] = []
    skip, size = 0, 0
    while len(found) < limit and size < BATCH_BYTES and not tx.is_laden:
        msg_id = tx.index.next_message(agent, skip)
        if msg_id is None:
            break
        try:
            doc = tx.read(places.new(agent, msg_id))
        except LeftAlone as error:
            tx.pass_over(error)
            skip += 1
            continue
        if doc is None:
            tx.recall(msg_id)
            tx.forget_message(agent, msg_id)
            continue
        skip += 1
        if not lookup.is_expired(doc, tx.now):
            found.append(doc)
            size += len(doc["body"])
    return found


def _still(tx: Transaction, agent: str, ids: list[str]) -> list[Document]:
    """Those of ``ids`` that are still unread."""
    docs = (tx.glance(places.new(agent, msg_id)) for msg_id in ids if not tx.is_laden)
    return [doc for doc in docs if doc and not lookup.is_expired(doc, tx.now)]


def _named(tx: Transaction, agent: str, msg_id: str) -> Document:
    """The caller's copy of a message, marked ``already`` if it is read and not to be read again."""
    doc = tx.read(places.new(agent, msg_id))
    if doc:
        return doc
    doc = tx.read(places.cur(agent, msg_id))
    if doc:
        if lost(tx, doc, None):
            return doc
        lease = tx.lease(places.read_lease(agent, msg_id))
        return {**doc, "token": lease.token if lease else 0, "already": True}
    doc = lookup.archived(tx, agent, msg_id)
    if doc:
        return {**doc, "already": True}
    raise missing(tx, agent, msg_id)


def pending(store: Store, agent: str) -> dict[str, str]:
    """What ``agent`` has read and not acknowledged, oldest first: id → time left to do it, or ``expired``.

    Without the lock.  What is expired comes back with the next command that writes; reading it again takes it anew.
    """
    from mbox.system.clock import span

    found = {}
    for msg_id in sorted(places.idents(store.names(places.cur_folder(agent))), key=places.number):
        lease = store.load_lease(places.read_lease(agent, msg_id))
        left = lease.left(store.host) if lease else store.config.read_lease
        found[msg_id] = span(left) if left > 0 else "expired"
    return found


def finish(store: Store, actor: Actor, docs: Iterable[Document]) -> None:
    """Acknowledge what `read` returned and the caller now has, but for what wants an explicit `ack`.

    What was lost meanwhile, or cannot be acknowledged, comes back to the inbox; that is said, and is no error, for the
    reading stands.
    """
    mine = [doc for doc in docs if doc["state"] == "read" and doc.get("token") and not doc["needs_ack"]]
    while mine:
        batch = mine[:BATCH]

        def decide(tx: Transaction, batch: list[Document] = batch) -> int:
            agent = registry.still_current(tx)["agent"]
            acked, seen = [], 0
            for doc in batch:
                if tx.is_laden and seen:
                    break
                seen += 1
                there = tx.read(places.cur(agent, doc["msg_id"]))
                gone = lost(tx, there, doc["token"]) if there else "it is no longer there"
                if there is None or gone:
                    tx.warn(f"{doc['msg_id']} was not acknowledged: {gone}")
                    continue
                archive(tx, agent, there, "acked")
                acked.append(doc["msg_id"])
            if acked:
                tx.record(operations.MAIL_ACK, acked)
            return seen

        try:
            mine = mine[store.transact(decide, actor) :]
        except StoreError as error:
            mine = mine[len(batch) :]
            store.say(f"{', '.join(doc['msg_id'] for doc in batch)}: read, but not acknowledged, and so comes back: {error}")


def acknowledge(store: Store, actor: Actor, ids: Iterable[str], token: int | None = None) -> list[Document]:
    """Acknowledge what the caller has read, all of ``ids`` or none; `NotYours` where its lease is lost."""
    names = list(dict.fromkeys(ids))

    def decide(tx: Transaction) -> list[Document]:
        agent = registry.still_current(tx)["agent"]
        out = [_ack(tx, agent, msg_id, token) for msg_id in names]
        acked = [row["msg_id"] for row in out if "already" not in row]
        if acked:
            tx.record(operations.MAIL_ACK, acked)
        return out

    return store.transact(decide, actor)


def _ack(tx: Transaction, agent: str, msg_id: str, token: int | None) -> Document:
    doc = tx.read(places.cur(agent, msg_id))
    if doc:
        gone = lost(tx, doc, token)
        if gone:
            raise NotYours(f"{msg_id}: {gone}; `mbox read {msg_id}` shows it again, with its token")
        archive(tx, agent, doc, "acked")
        return {"msg_id": msg_id, "state": "acked"}
    doc = tx.read(places.new(agent, msg_id)) or lookup.archived(tx, agent, msg_id)
    if doc is None:
        raise missing(tx, agent, msg_id)
    if doc["state"] == "acked":
        return {"msg_id": msg_id, "state": "acked", "already": True}
    if doc["read_by"]:
        where = "expired" if doc["state"] == "expired" else "is unread again"
        raise NotYours(f"{msg_id}: its read lease ran out and it {where}; `mbox read {msg_id}` shows it")
    raise Usage(f"{msg_id} is {doc['state']} and was never read; `mbox read {msg_id}` first")


def lost(tx: Transaction, doc: Document, token: int | None) -> str:
    """Why the caller does not hold the lease on a message it has read; empty if it does.

    A missing lease counts as live; so does the one that a first look gave (token 0), whatever token is shown.
    """
    lease = tx.lease(places.read_lease(tx.actor.name, doc["msg_id"]))
    if lease is None:
        return ""
    if lease.left(tx.store.host) <= 0:
        return "its read lease ran out"
    if token is not None and lease.token and token != lease.token:
        if token < lease.token and doc["deliveries"] > 1:
            return f"it was read again since, under token {lease.token}"
        return f"token {token} is not its read lease's"
    if lease.incarnation and lease.incarnation != tx.actor.incarnation:
        return f"it was read by incarnation {lease.incarnation} of {tx.actor.name}, you are {tx.actor.incarnation}"
    return ""


def archive(tx: Transaction, agent: str, doc: Document, state: str) -> None:
    """Move a receiver's copy to its archive; a lease on it ends."""
    msg_id = doc["msg_id"]
    tx.put({**doc, "state": state, "done_at": tx.now}, places.archive(agent, tx.now, msg_id))
    for path in (places.new(agent, msg_id), places.cur(agent, msg_id)):
        if tx.read(path):
            tx.delete(path)
    if doc["state"] == "read":
        tx.end(places.read_lease(agent, msg_id))


# -- what the sweep decides --------------------------------------------------------------------------------------


def lease_ran_out(tx: Transaction, agent: str, msg_id: str, lease: Lease | None) -> bool:
    """A message was read and not acknowledged in time: it comes back, or goes to the dead letters.

    False if there is no such message: the lease is void.  A reader that is alive did not fail, and is not counted.
    """
    doc = tx.read(places.cur(agent, msg_id))
    if doc is None:
        return False
    path = places.read_lease(agent, msg_id)
    if lease is None:
        tx.first_look(path, agent, 0, 0)
        return True
    config = tx.store.config
    if _reader_lives(tx, agent, lease.incarnation):
        doc["deliveries"] = max(0, doc["deliveries"] - 1)
        why = f"{agent} read it and is alive, but did not acknowledge it in time; not counted"
    else:
        why = f"delivery {doc['deliveries']} of {config.max_deliveries} to {agent} was not acknowledged in time"
        if doc["deliveries"] >= config.max_deliveries:
            _bury(tx, agent, doc, why)
            tx.record(operations.MAIL_DEAD, [msg_id], why)
            return True
    _return(tx, agent, doc)
    tx.record(operations.MAIL_RETURN, [msg_id], why)
    return True


def reader_gone(tx: Transaction, agent: str, msg_id: str, what: str) -> bool | None:
    """The reader of a message that is not acknowledged is gone: True if it came back, False if it died; None if none."""
    doc = tx.read(places.cur(agent, msg_id))
    if doc is None:
        return None
    limit = tx.store.config.max_deliveries
    if doc["deliveries"] >= limit:
        _bury(tx, agent, doc, f"{what} (delivery {doc['deliveries']} of {limit})")
        return False
    _return(tx, agent, doc)
    return True


def _return(tx: Transaction, agent: str, doc: Document) -> None:
    """Put a read message back where it was unread."""
    msg_id = doc["msg_id"]
    tx.put({**doc, "state": "unread"}, places.new(agent, msg_id))
    tx.delete(places.cur(agent, msg_id))
    tx.end(places.read_lease(agent, msg_id))


def _reader_lives(tx: Transaction, agent: str, incarnation: int) -> bool:
    now = tx.read(places.agent(agent))
    replaced = incarnation and now and now["incarnation"] != incarnation
    return not replaced and presence.alive(tx.store, agent) is True


def _bury(tx: Transaction, agent: str, doc: Document, why: str) -> None:
    msg_id = doc["msg_id"]
    envelope = documents.new(
        "deadletter", reason="max_deliveries", detail=why, from_path=places.cur(agent, msg_id), first_at=tx.now,
        count=doc["deliveries"], original={**doc, "state": "dead", "done_at": tx.now},
    )  # fmt: skip
    tx.put(envelope, places.deadletter(f"d{tx.take()}"))
    tx.delete(places.cur(agent, msg_id))
    tx.end(places.read_lease(agent, msg_id))


def expire(tx: Transaction, agent: str, msg_id: str) -> bool:
    """Archive an unread message whose time to live has passed; False if there is no such message."""
    path = places.new(agent, msg_id)
    doc = tx.read(path)
    if doc is None or not doc["expires_at"]:
        return False
    if not lookup.is_expired(doc, tx.now):
        tx.expires(path, doc["expires_at"])
        return True
    archive(tx, agent, doc, "expired")
    tx.record(operations.MAIL_EXPIRE, [msg_id], f"unread by {agent} until {doc['expires_at']}, its time to live")
    return True


def missing(reader: DocumentReader, agent: str, msg_id: str) -> MboxError:
    """Why ``agent`` has no copy of a message that it asked for; the journal was asked first."""
    from .deadletters import holds

    reader.recall(msg_id)
    if holds(reader, agent, msg_id):
        return NotFound(f"{msg_id} is in the dead letters; `mbox deadletter retry {msg_id}` delivers it again")
    if sent(reader, msg_id):
        return NotFound(f"{msg_id} was not sent to {agent}; `mbox show {msg_id}` shows it")
    return NotFound(f"no message {msg_id} in the inbox of {agent}{nearest_ids(reader, msg_id, agent)}")
