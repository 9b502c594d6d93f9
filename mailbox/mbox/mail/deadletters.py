"""Dead letters: mail that nobody acknowledged, and documents that could not be read.

An envelope says why, since when and from where, and holds the original: a message as it was, or a damaged document's
text.  `reading`, and in the store `quarantine`, put them there; here they are listed, delivered again, or removed for
good.  A message can be named by its envelope (``d12``) or by its own id (``m5``: every receiver's copy that is dead).

Promised: of several that are named all are delivered or removed, or none, in one record.  Not promised: that a document's
text can be mended here; that is a person's to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mbox.agents import registry
from mbox.errors import NotFound, Usage, meant_id
from mbox.format import operations, places
from mbox.format.documents import Document
from mbox.store.store import Actor, Store, Transaction

from .lookup import DocumentReader, is_expired


def _envelopes(reader: DocumentReader) -> Iterator[tuple[str, Document]]:
    """``(id, envelope)`` of every dead letter, oldest first."""
    names = places.idents(reader.names(places.DEADLETTER))
    for ident in sorted(filter(places.is_name, names), key=lambda name: (len(name), name)):
        path = places.deadletter(ident)
        doc = reader.glance(path)
        if doc:
            yield ident, doc


def is_mail(envelope: Document) -> bool:
    """Whether a dead letter is a message that can be delivered again."""
    return isinstance(envelope["original"], dict) and "msg_id" in envelope["original"] and bool(_receiver(envelope))


def _receiver(envelope: Document) -> str:
    parts = envelope["from_path"].split("/")
    return parts[2] if len(parts) == 5 and parts[1] == "inbox" and places.is_name(parts[2]) else ""


def holds(reader: DocumentReader, agent: str, msg_id: str) -> bool:
    """Whether ``agent``'s copy of a message is in the dead letters."""
    mail = (envelope for _, envelope in _envelopes(reader) if is_mail(envelope))
    return any(one["original"]["msg_id"] == msg_id and _receiver(one) == agent for one in mail)


def headers(store: Store) -> list[Document]:
    """A row for each dead letter, oldest first."""
    rows = []
    for ident, envelope in _envelopes(store):
        row: dict[str, Any] = {"id": ident, "reason": envelope["reason"]}
        if is_mail(envelope):
            original = envelope["original"]
            row |= {"msg_id": original["msg_id"], "to": _receiver(envelope)}
            row |= {name: original[name] for name in ("from", "type", "subject") if original.get(name)}
        else:
            row["from_path"] = envelope["from_path"]
        rows.append({**row, "count": envelope["count"], "first_at": envelope["first_at"]})
    return rows


def show(store: Store, ident: str) -> list[Document]:
    """The envelopes that ``ident`` names, whole."""
    return [{"id": name, **envelope} for name, envelope in _named(store, ident)]


def _named(reader: DocumentReader, ident: str) -> list[tuple[str, Document]]:
    every = list(_envelopes(reader))
    found = [
        (name, envelope)
        for name, envelope in every
        if name == ident or (is_mail(envelope) and envelope["original"]["msg_id"] == ident)
    ]
    if not found:
        raise NotFound(f"no dead letter {ident}{meant_id(ident, [name for name, _ in every])}")
    return found


def retry(store: Store, actor: Actor, ids: Iterable[str]) -> list[Document]:
    """Deliver dead mail again, to its old place in the inbox, with its deliveries counted anew."""
    names = _chosen(store, ids)
    return store.transact(lambda tx: _each(tx, names, operations.MAIL_RETRY), actor)


def purge(store: Store, actor: Actor, ids: Iterable[str]) -> list[Document]:
    """Remove dead letters for good; the journal still knows them."""
    names = _chosen(store, ids)
    return store.transact(lambda tx: _each(tx, names, operations.MAIL_PURGE), actor)


def _chosen(store: Store, ids: Iterable[str]) -> list[str]:
    """The dead letters that ``ids`` name, each once; looked for without the lock, since all may have to be read."""
    store.bring_up()
    there = set(places.idents(store.names(places.DEADLETTER)))
    of_message: dict[str, list[str]] | None = None
    found: dict[str, None] = {}
    for ident in ids:
        names = [ident] if ident in there else []
        if not names:
            if of_message is None:
                of_message = _of_messages(store)
            names = of_message.get(ident, [ident])  # what is none is refused under the lock
        found |= dict.fromkeys(names)
    return list(found)


def _of_messages(store: Store) -> dict[str, list[str]]:
    """The dead letters of each message."""
    found: dict[str, list[str]] = {}
    for name, envelope in _envelopes(store):
        if is_mail(envelope):
            found.setdefault(envelope["original"]["msg_id"], []).append(name)
    return found


def _each(tx: Transaction, names: Iterable[str], op: str) -> list[Document]:
    if tx.actor.incarnation:
        registry.still_current(tx)
    out: list[Document] = []
    on: list[str] = []
    for name in names:
        envelope = tx.read(places.deadletter(name))
        if envelope is None:
            there = sorted(places.idents(tx.names(places.DEADLETTER)))
            raise NotFound(f"no dead letter {name}{meant_id(name, there)}")
        row = _deliver(tx, name, envelope) if op == operations.MAIL_RETRY else {"id": name, "purged": True}
        tx.delete(places.deadletter(name))
        out.append(row)
        on.append(str(row.get("msg_id", name)))
    if out:
        tx.record(op, on)
    return out


def _deliver(tx: Transaction, name: str, envelope: Document) -> Document:
    if not is_mail(envelope):
        where = tx.store.absolute(places.deadletter(name))
        raise Usage(f"{name} is no message ({envelope['reason']}); its text is in {where}, mend it by hand")
    original, to = envelope["original"], _receiver(envelope)
    registry.require(tx.store, tx.read, to)
    msg_id = original["msg_id"]
    if tx.read(places.new(to, msg_id)) or tx.read(places.cur(to, msg_id)):
        raise Usage(f"{msg_id} stands in the inbox of {to} already; `mbox deadletter purge {name}` drops this copy")
    fresh = {**original, "state": "unread", "deliveries": 0, "done_at": None}
    if is_expired(original, tx.now):
        fresh["expires_at"] = None
    tx.put(fresh, places.new(to, msg_id))
    return {"id": name, "msg_id": msg_id, "to": to, "state": "unread"}
