"""Finding messages, wherever they stand, and what is to be told of them; lists of an inbox are made in `inbox`.

Promised: everything here changes nothing.  Functions that take a `DocumentReader` serve decisions (a transaction) and
display (the store) alike; the others are for display, without the lock.  What stands in an inbox is asked of ``new/``
before ``cur/``, so that a message that is being read meanwhile is seen at least once, and named once.  Not promised:
that what was found is still there when it is taken; whoever takes it looks again under the lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

from mbox.errors import NotFound, meant_id
from mbox.format import documents, operations, places
from mbox.format.documents import MESSAGE_STATES, Document
from mbox.journal.record import Record, Tail, decode, field_needle, text_needle
from mbox.store.store import Store
from mbox.system.clock import inf, seconds, stamp

FEW = 500
"""An inbox of up to this many messages is sorted by reading them all; a larger one by the index, if that is current."""

SENT = MESSAGE_STATES[0]
"""How every copy of a message stands when it was sent."""

JOURNAL_LOOK = 8 << 20
"""Bytes of journal searched for a record about a message's task; beyond that its file's mtime is believed."""


class DocumentReader(Protocol):
    """What a `Store` and a `Transaction` have in common."""

    def read(self, path: str) -> Document | None: ...
    def glance(self, path: str) -> Document | None: ...
    def names(self, folder: str) -> list[str]: ...
    def recall(self, ident: str, /) -> bool: ...
    def made(self, ident: str) -> list[tuple[Any, list[str]]]: ...


def is_expired(doc: Document, now: str) -> bool:
    """Whether an unread message's time to live has passed at the time stamp ``now``."""
    return bool(doc["expires_at"]) and doc["expires_at"] <= now


# -- finding one -------------------------------------------------------------------------------------------------


def archived(reader: DocumentReader, agent: str, msg_id: str) -> Document | None:
    """The copy of a message in an agent's archive, looked for from the newest month."""
    for month in places.months(reader.names(places.archive_folder(agent))):
        doc = reader.read(places.archive(agent, month, msg_id))
        if doc:
            return doc
    return None


def copy(reader: DocumentReader, agent: str, msg_id: str) -> Document | None:
    """An agent's own copy of a message: unread, read or archived."""
    for path in (places.new(agent, msg_id), places.cur(agent, msg_id)):
        doc = reader.read(path)
        if doc:
            return doc
    return archived(reader, agent, msg_id)


def sent(reader: DocumentReader, msg_id: str) -> Document | None:
    """A message as it was sent: by the record that sent it, and no file is asked; None if nobody ever sent it."""
    for doc, paths in reader.made(msg_id):
        if any(path.startswith(f"{places.OUTBOX}/") for path in paths):
            return documents.check("message", doc)
    return None


def find(reader: DocumentReader, msg_id: str, agent: str | None = None) -> Document:
    """A message: the copy of ``agent`` if it has one, else as it was sent; `NotFound` if nobody ever sent it."""
    doc = copy(reader, agent, msg_id) if agent else None
    if doc is None:
        first = sent(reader, msg_id)
        if first is None:
            raise NotFound(f"no message {msg_id}{nearest_ids(reader, msg_id, agent)}")
        if agent and agent in first["to"] and reader.recall(msg_id):
            doc = copy(reader, agent, msg_id)
        doc = doc or first
    return doc


def nearest_ids(reader: DocumentReader, msg_id: str, agent: str | None) -> str:
    """The messages that may have been meant: one of that number anywhere, or what stands in the agent's inbox."""
    known = standing(reader, agent) if agent else []
    other = f"m{msg_id if msg_id.isdecimal() else msg_id[1:]}"  # 12, M12 and t12 may mean m12
    if other != msg_id and places.number(other) and other not in known and sent(reader, other):
        known = [*known, other]
    return meant(msg_id, known)


def meant(ident: str, known: list[str]) -> str:
    """As `meant_id`, of a number of ids that can be compared in no time."""
    return meant_id(ident, known) if len(known) < FEW else ""


def standing(reader: DocumentReader, agent: str) -> list[str]:
    """The ids of what stands in an inbox, read or not; ``new/`` is listed before ``cur/``."""
    names = [*reader.names(places.new_folder(agent)), *reader.names(places.cur_folder(agent))]
    return list(dict.fromkeys(places.idents(names)))


def show(store: Store, msg_id: str, agent: str | None = None) -> Document:
    """Any message again, with the state of each receiver's copy as ``receivers``; changes nothing.

    Its own ``state`` is that of the copy of ``agent``, or, where that has none, of the receiver's that is least far.
    """
    doc = find(store, msg_id, agent)
    states = receivers(store, doc)
    return annotated(store, {**doc, "state": states.get(agent or "") or least(states), "receivers": states})


def receivers(store: Store, doc: Document) -> dict[str, str]:
    """The state of each receiver's copy of a message; one that stands nowhere any more is among the dead letters."""
    return receivers_of(store, [doc])[0]


def receivers_of(store: Store, docs: list[Document]) -> list[dict[str, str]]:
    """The same of several messages: what is missed of them is looked for once."""
    return [_states(store, copies) for copies in _copies(store, docs)]


def _copies(store: Store, docs: list[Document]) -> list[dict[str, Document | None]]:
    """Of each message each receiver's copy; the journal is asked, once, for those that are not there."""

    def look() -> list[dict[str, Document | None]]:
        return [{name: copy(store, name, doc["msg_id"]) for name in doc["to"]} for doc in docs]

    found = look()
    gone = [doc["msg_id"] for doc, there in zip(docs, found, strict=True) if not all(there.values())]
    return look() if gone and store.recall(*gone) else found


def _states(store: Store, copies: dict[str, Document | None]) -> dict[str, str]:
    now = stamp(store.host.wall())
    return {name: state(there, now) if there else "dead" for name, there in copies.items()}


def least(states: dict[str, str]) -> str:
    """The state that is least far of some: as a message stands that several got."""
    return min(states.values(), key=MESSAGE_STATES.index, default="unread")


def in_one_state(store: Store, doc: Document) -> dict[str, str]:
    """``state`` of a message, if that is one for all who got it."""
    found = set(receivers(store, doc).values())
    return {"state": found.pop()} if len(found) == 1 else {}


def state(doc: Document, now: str) -> str:
    """A copy's state; what has expired and not been swept yet is said to be."""
    return "expired" if doc["state"] == "unread" and is_expired(doc, now) else str(doc["state"])


# -- what a reader is told besides -------------------------------------------------------------------------------


def annotated(store: Store, doc: Document) -> Document:
    """``doc`` with ``stale`` where a newer record is about its task, and ``reply_with`` if it is a question."""
    out = dict(doc)
    if doc["task_id"] and is_stale(store, doc):
        out["stale"] = True
    if doc["type"] == "question":
        out["reply_with"] = f"mbox reply {doc['msg_id']} --body TEXT"
    return out


def is_stale(store: Store, doc: Document) -> bool:
    """Whether a record about the message's task is newer than what its sender had seen.

    A task's files are written at each such record, so that their mtimes rule most out at the cost of a stat (with a
    second of slack for a coarse clock); the journal, from the message's place on, tells for sure.
    """
    task, since = doc["task_id"], seconds(doc["created_at"]) - 1.0
    if not places.is_name(task) or all(_mtime(store, path) < since for path in (places.task(task), places.notes(task))):
        return False
    end = store.end()
    needle, looked = text_needle(task), 0
    for line in lines(store, doc["state_version"], end):
        looked += len(line)
        if looked > JOURNAL_LOOK:
            return True
        if needle in line:
            record = decode(line)
            on = record["seq"] > doc["state_version"] and task in record["on"]
            if on and record["op"].startswith(operations.TASK) and not _carries(record, doc["msg_id"]):
                return True
    return False


def _carries(record: Record, msg_id: str) -> bool:
    """Whether the message was sent by this very record (a submission, a rejection): then it is no later news."""
    return any(isinstance(put, dict) and put.get("msg_id") == msg_id for put, _ in record["put"])


def _mtime(store: Store, path: str) -> float:
    if store.view is not None:  # the files do not follow, nor do their times
        return inf
    try:
        return os.stat(store.absolute(path), follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


# -- threads -----------------------------------------------------------------------------------------------------


def lines(store: Store, seq: int, end: Tail) -> Iterator[bytes]:
    """The raw lines of the journal from shortly before the record after ``seq`` up to ``end``."""
    return (line for _, _, line in store.journal.between(store.journal.find(seq, end), end))


def in_thread(store: Store, thread_id: str, end: Tail, after: Tail | None = None) -> Iterator[Document]:
    """The messages of a thread as they were sent, oldest first, from the journal up to ``end``; ``after`` skips.

    A thread is named by its first message, so that nothing before that one's record is read.
    """
    seq = after.seq if after else places.number(thread_id) - 1
    needle = field_needle("thread_id", thread_id)
    for line in lines(store, seq, end):
        if needle not in line:
            continue
        record = decode(line)
        if record["seq"] <= seq:
            continue
        for doc, paths in record["put"]:
            if any(path.startswith(places.OUTBOX) for path in paths) and doc.get("thread_id") == thread_id:
                yield doc


def thread(store: Store, msg_id: str) -> list[Document]:
    """The headers of the conversation that ``msg_id`` belongs to, oldest first."""
    first = find(store, msg_id)
    rows = []
    docs = list(in_thread(store, first["thread_id"], store.end()))
    for doc, states in zip(docs, receivers_of(store, docs), strict=True):
        row: dict[str, Any] = {name: doc[name] for name in ("msg_id", "parent_id", "from", "to", "type", "subject")}
        rows.append({**row, "state": least(states), "created_at": doc["created_at"]})
    return rows
