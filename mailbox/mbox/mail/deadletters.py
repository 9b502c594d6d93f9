"""Dead letters: mail that nobody acknowledged, and documents that could not be read.

An envelope says why, since when and from where, and holds the original: a message as it was, or a damaged
document's text.  ``mail`` and ``recovery`` put them there; here they are listed, delivered again, or removed for good.
A message can be named by its envelope (``d12``) or by its own id (``m5``: every receiver's copy that is dead).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mbox.agents import registry as agents
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import NotFound, Usage, meant_id
from mbox.mail.lookup import Reader, is_expired
from mbox.store.store import Actor, Store, Transaction


def _envelopes(reader: Reader) -> Iterator[tuple[str, Document]]:
    """``(id, envelope)`` of every dead letter, oldest first."""
    names = [name[:-5] for name in reader.names(places.DEADLETTER) if name.endswith(".json")]
    for ident in sorted(filter(places.is_name, names), key=lambda name: (len(name), name)):
        path = places.deadletter(ident)
        doc = reader.glance(path) if isinstance(reader, Store) else reader.read(path)
        if doc:
            yield ident, doc


def is_mail(envelope: Document) -> bool:
    """Whether a dead letter is a message that can be delivered again."""
    return isinstance(envelope["original"], dict) and "msg_id" in envelope["original"] and bool(_receiver(envelope))


def _receiver(envelope: Document) -> str:
    parts = envelope["from_path"].split("/")
    return parts[2] if len(parts) == 5 and parts[1] == "inbox" and places.is_name(parts[2]) else ""


def holds(reader: Reader, agent: str, msg_id: str) -> bool:
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


def _named(reader: Reader, ident: str) -> list[tuple[str, Document]]:
    every = list(_envelopes(reader))
    found = [
        (name, envelope)
        for name, envelope in every
        if name == ident or (is_mail(envelope) and envelope["original"]["msg_id"] == ident)
    ]
    if not found:
        raise NotFound(f"no dead letter {ident}{meant_id(ident, [name for name, _ in every])}")
    return found


def retry(store: Store, actor: Actor, ids: Iterable[str], dry_run: bool = False) -> list[Document]:
    """Deliver dead mail again, to its old place in the inbox, with its deliveries counted anew."""
    names = tuple(ids)
    return store.transact(lambda tx: _each(tx, names, "mail.retry"), actor, dry_run)


def purge(store: Store, actor: Actor, ids: Iterable[str], dry_run: bool = False) -> list[Document]:
    """Remove dead letters for good; the journal still knows them."""
    names = tuple(ids)
    return store.transact(lambda tx: _each(tx, names, "mail.purge"), actor, dry_run)


def _each(tx: Transaction, ids: Iterable[str], op: str) -> list[Document]:
    if tx.actor.incarnation:
        agents.still_current(tx)
    chosen = {name: envelope for ident in ids for name, envelope in _named(tx, ident)}
    out: list[Document] = []
    on: list[str] = []
    for name, envelope in chosen.items():
        row = _deliver(tx, name, envelope) if op == "mail.retry" else {"id": name, "purged": True}
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
    agents.require(tx.store, tx.read, to)
    msg_id = original["msg_id"]
    if tx.read(places.new(to, msg_id)) or tx.read(places.cur(to, msg_id)):
        raise Usage(f"{msg_id} stands in the inbox of {to} already; `mbox deadletter purge {name}` drops this copy")
    fresh = {**original, "state": "unread", "deliveries": 0, "done_at": None}
    if is_expired(original, tx.now):
        fresh["expires_at"] = None
    tx.put(fresh, places.new(to, msg_id))
    return {"id": name, "msg_id": msg_id, "to": to, "state": "unread"}
