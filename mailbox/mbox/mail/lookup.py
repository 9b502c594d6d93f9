"""Letters: finding and listing messages, wherever they stand.

Promised: everything here changes nothing.  Functions that take a `Reader` serve decisions (a transaction) and display
(the store) alike; the others are for display, without the lock.  A listing reads ``new/`` before ``cur/``, so that a
message that is being read meanwhile is seen at least once, and names it once.  Not promised: that what was listed is
still there when it is taken; whoever takes it looks again under the lock.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Protocol

from mbox.format import places
from mbox.format.documents import Document, compact
from mbox.errors import MboxError, NotFound, meant_id
from mbox.system.host import seconds, stamp
from mbox.journal.segments import Record, Tail, decode
from mbox.store.store import Store

FEW = 500
"""An inbox of up to this many messages is sorted by reading them all; a larger one by the index, if that is current."""

JOURNAL_LOOK = 8 << 20
"""Bytes of journal searched for a record about a message's task; beyond that its file's mtime is believed."""


class Reader(Protocol):
    """What a `Store` and a `Transaction` have in common."""

    def read(self, path: str) -> Document | None: ...
    def names(self, folder: str) -> list[str]: ...


class Wanted(NamedTuple):
    """Which messages are wanted; an empty field wants all."""

    sender: str = ""
    type: str = ""
    thread: str = ""

    def fits(self, doc: Document) -> bool:
        return (
            (not self.sender or doc["from"] == self.sender)
            and (not self.type or doc["type"] == self.type)
            and (not self.thread or doc["thread_id"] == self.thread)
        )


ANY = Wanted()


def is_expired(doc: Document, now: str) -> bool:
    """Whether an unread message's time to live has passed at the time stamp ``now``."""
    return bool(doc["expires_at"]) and doc["expires_at"] <= now


# -- finding one -------------------------------------------------------------------------------------------------


def archived(reader: Reader, agent: str, msg_id: str) -> Document | None:
    """The copy of a message in an agent's archive, looked for from the newest month."""
    for month in sorted(reader.names(places.archive_folder(agent)), reverse=True):
        doc = reader.read(places.archive(agent, month, msg_id))
        if doc:
            return doc
    return None


def copy(reader: Reader, agent: str, msg_id: str) -> Document | None:
    """An agent's own copy of a message: unread, read or archived."""
    for path in (places.new(agent, msg_id), places.cur(agent, msg_id)):
        doc = reader.read(path)
        if doc:
            return doc
    return archived(reader, agent, msg_id)


def sent(reader: Reader, msg_id: str) -> Document | None:
    """A message as it was sent, from its sender's outbox."""
    for sender in reader.names(places.OUTBOX):
        if places.is_name(sender):
            doc = reader.read(places.outbox(sender, msg_id))
            if doc:
                return doc
    return None


def find(reader: Reader, msg_id: str, agent: str | None = None) -> Document:
    """A message: the copy of ``agent`` if it has one, else as it was sent; `NotFound` if nobody ever sent it."""
    doc = copy(reader, agent, msg_id) if agent else None
    doc = doc or sent(reader, msg_id)
    if doc is None:
        raise NotFound(f"no message {msg_id}{_nearest(reader, msg_id, agent)}")
    return doc


def missing(reader: Reader, agent: str, msg_id: str) -> MboxError:
    """Why ``agent`` has no copy of a message that it asked for."""
    from mbox.mail.deadletters import holds

    if holds(reader, agent, msg_id):
        return NotFound(f"{msg_id} is in the dead letters; `mbox deadletter retry {msg_id}` delivers it again")
    if sent(reader, msg_id):
        return NotFound(f"{msg_id} was not sent to {agent}; `mbox show {msg_id}` shows it")
    return NotFound(f"no message {msg_id} in the inbox of {agent}{_nearest(reader, msg_id, agent)}")


def _nearest(reader: Reader, msg_id: str, agent: str | None) -> str:
    """The messages that may have been meant: one of that number anywhere, or what stands in the agent's inbox."""
    known = standing(reader, agent) if agent else []
    other = f"m{msg_id if msg_id.isdecimal() else msg_id[1:]}"  # 12, M12 and t12 may mean m12
    if other != msg_id and places.number(other) and other not in known and sent(reader, other):
        known = [*known, other]
    return meant(msg_id, known)


def meant(ident: str, known: list[str]) -> str:
    """As `meant_id`, of a number of ids that can be compared in no time."""
    return meant_id(ident, known) if len(known) < FEW else ""


def standing(reader: Reader, agent: str) -> list[str]:
    """The ids of what stands in an inbox, read or not; ``new/`` is listed before ``cur/``."""
    names = [*reader.names(places.new_folder(agent)), *reader.names(places.cur_folder(agent))]
    return list(dict.fromkeys(name[:-5] for name in names if name.endswith(".json")))


def show(store: Store, msg_id: str, agent: str | None = None) -> Document:
    """Any message again, with the state of each receiver's copy as ``receivers``; changes nothing."""
    doc = find(store, msg_id, agent)
    states = {}
    for name in doc["to"]:
        there = copy(store, name, msg_id)
        states[name] = state(there, stamp(store.host.wall())) if there else "dead"
    return annotated(store, {**doc, "receivers": states})


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
    needle, looked = compact(task).encode(), 0
    for line in lines(store, doc["state_version"], end):
        looked += len(line)
        if looked > JOURNAL_LOOK:
            return True
        if needle in line:
            record = decode(line)
            on = record["seq"] > doc["state_version"] and task in record["on"]
            if on and record["op"].startswith("task.") and not _carries(record, doc["msg_id"]):
                return True
    return False


def _carries(record: Record, msg_id: str) -> bool:
    """Whether the message was sent by this very record (a submission, a rejection): then it is no later news."""
    return any(isinstance(put, dict) and put.get("msg_id") == msg_id for put, _ in record["put"])


def _mtime(store: Store, path: str) -> float:
    try:
        return os.stat(store.absolute(path), follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


# -- the inbox ---------------------------------------------------------------------------------------------------


def _documents(store: Store, agent: str, ids: list[str]) -> Iterator[Document]:
    """The copies with ``ids`` in an inbox; what has left it meanwhile is passed over, what is damaged is said."""
    for msg_id in ids:
        try:
            doc = store.read(places.new(agent, msg_id)) or store.read(places.cur(agent, msg_id))
        except MboxError as error:
            store.say(str(error))
            continue
        if doc:
            yield doc


def unread(store: Store, agent: str, wanted: Wanted = ANY, but: Collection[str] = (), limit: int = 0) -> list[Document]:
    """The unread messages of ``agent`` that are ``wanted``, by priority, then age; none that has expired.

    Those with an id in ``but`` are not looked at.  ``limit`` is how many the caller needs (0: all).
    """
    now = stamp(store.host.wall())
    names = store.names(places.new_folder(agent))
    ids = [name[:-5] for name in names if name.endswith(".json") and name[:-5] not in but]

    def look(some: list[str]) -> list[Document]:
        docs = (doc for doc in _documents(store, agent, some) if doc["state"] == "unread" and wanted.fits(doc))
        return sorted((doc for doc in docs if not is_expired(doc, now)), key=rank)[: limit or None]

    if wanted == ANY and not but and 0 < limit < len(ids) > FEW:
        found = look(_foremost(store, agent, ids, limit))
        if len(found) == limit:
            return found
    return look(ids)


def rank(doc: Document) -> tuple[int, int]:
    """Sorts by priority, then age."""
    return -doc["priority"], places.number(doc["msg_id"])


def inbox(store: Store, agent: str, limit: int = 20, everything: bool = False) -> tuple[list[Document], int]:
    """Headers of what stands in the inbox, by priority, then age, and how many were left out.

    ``everything``: also what has expired, and behind all that what is archived, newest first.  0 is no limit.
    """
    since = (store.read(places.agent(agent)) or {}).get("incarnation_since") or ""
    now = stamp(store.host.wall())
    ids = standing(store, agent)

    def look(some: list[str]) -> list[Document]:
        docs = sorted(_documents(store, agent, some), key=rank)
        return docs if everything else [doc for doc in docs if state(doc, now) != "expired"]

    shown = _foremost(store, agent, ids, limit) if 0 < limit < len(ids) > FEW else ids
    docs = look(shown)
    if len(docs) < limit and len(shown) < len(ids):
        shown = ids
        docs = look(shown)
    left = len(ids) - len(shown)
    if everything:
        older = archive(store, agent)
        room = max(0, limit - len(docs)) if limit else len(older)
        docs, left = docs + [doc for path in older[:room] if (doc := store.read(path))], left + len(older[room:])
    if limit and len(docs) > limit:
        docs, left = docs[:limit], left + len(docs) - limit
    return [header(doc, now, since) for doc in docs], left


def _foremost(store: Store, agent: str, ids: list[str], limit: int) -> list[str]:
    """Those of ``ids`` that come first in a large inbox: by the index if it is current, else by each file's priority.

    ``ids`` is all that is unread, with or without what is read.  What was delivered since the index was brought up to
    date, a few messages at most, is looked at in the files.
    """
    from mbox.index.queries import Damaged, Index

    mark = store.mark()
    index = Index(store.absolute(places.INDEX), store.host, store.prefix)
    try:
        if mark and mark.indexed and index.open(mark.store, mark.machine) and index.seq >= mark.indexed:
            there = set(ids)
            read = [name[:-5] for name in store.names(places.cur_folder(agent))]
            late = [msg_id for msg_id in ids if places.number(msg_id) > index.seq]
            first = dict.fromkeys(msg_id for msg_id in (*index.unread(agent, limit), *late, *read) if msg_id in there)
            return _by_priority(store, agent, list(first))[:limit]
    except Damaged:
        pass
    finally:
        index.close()
    return _by_priority(store, agent, ids)[:limit]


def _by_priority(store: Store, agent: str, ids: list[str]) -> list[str]:
    """``ids`` sorted as `rank` does, each priority found by its line: no body is parsed."""
    from mbox.store.indexing import priority

    found = []
    for msg_id in ids:
        for path in (places.new(agent, msg_id), places.cur(agent, msg_id)):
            try:
                found.append((-priority(store.bytes_of(path)), places.number(msg_id), msg_id))
                break
            except OSError:
                continue
    return [msg_id for _, _, msg_id in sorted(found)]


def archive(store: Store, agent: str) -> list[str]:
    """Paths of an agent's archived messages, newest month first, in it the newest message."""
    folder = places.archive_folder(agent)
    paths = []
    for month in sorted(store.names(folder), reverse=True):
        names = sorted(store.names(f"{folder}/{month}"), key=lambda name: places.number(name[:-5]), reverse=True)
        paths += [f"{folder}/{month}/{name}" for name in names if name.endswith(".json")]
    return paths


def header(doc: Document, now: str = "", since: str = "") -> Document:
    """The row of a message in a list: never its body.

    ``now`` tells what has expired, ``since`` (the start of the agent's incarnation) what was sent before.
    """
    row = {name: doc[name] for name in ("msg_id", "from", "type", "subject", "priority", "task_id")}
    if doc["thread_id"] != doc["msg_id"]:
        row["thread_id"] = doc["thread_id"]
    row["state"] = state(doc, now) if now else doc["state"]
    row |= {name: doc[name] for name in ("needs_ack", "created_at")}
    if doc["created_at"] < since:
        row["before_you"] = True
    return row


# -- threads -----------------------------------------------------------------------------------------------------


def lines(store: Store, seq: int, end: Tail) -> Iterator[bytes]:
    """The raw lines of the journal from shortly before the record after ``seq`` up to ``end``."""
    start = store.journal.find(seq, end)
    for segment in range(start.segment, end.segment + 1):
        offset = start.offset if segment == start.segment else 0
        for _, line in store.journal.lines(segment, offset, end.offset if segment == end.segment else None):
            yield line


def in_thread(store: Store, thread_id: str, end: Tail, after: Tail | None = None) -> Iterator[Document]:
    """The messages of a thread as they were sent, oldest first, from the journal up to ``end``; ``after`` skips.

    A thread is named by its first message, so that nothing before that one's record is read.
    """
    seq = after.seq if after else places.number(thread_id) - 1
    needle = f'"thread_id":{compact(thread_id)}'.encode()
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
    for doc in in_thread(store, first["thread_id"], store.end()):
        row: dict[str, Any] = {name: doc[name] for name in ("msg_id", "parent_id", "from", "to", "type", "subject")}
        rows.append({**row, "created_at": doc["created_at"]})
    return rows
