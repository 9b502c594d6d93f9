"""Headers of what is unread, read or archived, by priority and age.

Promised: nothing here changes anything or takes the lock.  ``new/`` is listed before ``cur/``, so that a message that is
being read meanwhile is seen at least once; what has left the inbox meanwhile is passed over, what is damaged there is
said.  Of an inbox of more than `FEW` messages the foremost are found by the index where it is current, else by one line
of each file: no body is parsed for it.  Not promised: that what was listed is still there when it is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from mbox.format import places
from mbox.format.documents import Document
from mbox.store.store import Store
from mbox.system.clock import stamp

from .lookup import FEW, is_expired, standing, state


class MailFilter(NamedTuple):
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


ANY = MailFilter()


def _documents(store: Store, agent: str, ids: list[str]) -> Iterator[Document]:
    """The copies with ``ids`` in an inbox; what has left it meanwhile is passed over, what is damaged is said."""
    for msg_id in ids:
        doc = store.glance(places.new(agent, msg_id)) or store.glance(places.cur(agent, msg_id))
        if doc:
            yield doc


def unread(store: Store, agent: str, wanted: MailFilter = ANY, but: Collection[str] = (), limit: int = 0) -> list[Document]:
    """The unread messages of ``agent`` that are ``wanted``, by priority, then age; none that has expired.

    Those with an id in ``but`` are not looked at.  ``limit`` is how many the caller needs (0: all).
    """
    now = stamp(store.host.wall())
    ids = [msg_id for msg_id in places.idents(store.names(places.new_folder(agent))) if msg_id not in but]

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
        store.doubt(*older[:room])
        docs, left = docs + [doc for path in older[:room] if (doc := store.glance(path))], left + len(older[room:])
    if limit and len(docs) > limit:
        docs, left = docs[:limit], left + len(docs) - limit
    return [header(doc, now, since) for doc in docs], left


def _foremost(store: Store, agent: str, ids: list[str], limit: int) -> list[str]:
    """Those of ``ids`` that come first in a large inbox: by the index if it is current, else by each file's priority.

    ``ids`` is all that is unread, with or without what is read.  What was delivered since the index was brought up to
    date, a few messages at most, is looked at in the files.
    """
    from mbox.index.answers import Damaged
    from mbox.index.queries import Index

    mark = store.mark() if store.view is None else None  # what is answered from the journal, the index may not know yet
    store.check_folder(places.CACHE)
    index = Index(store.absolute(places.INDEX), store.host, store.prefix, store.disk.owner)
    try:
        if mark and mark.indexed and index.tables.open(mark.store, store.whose) and index.seq >= mark.indexed:
            there = set(ids)
            read = places.idents(store.names(places.cur_folder(agent)))
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
    store.whole(folder)
    paths = []
    for month in places.months(store.names(folder)):
        idents = sorted(places.idents(store.names(f"{folder}/{month}")), key=places.number, reverse=True)
        paths += [f"{folder}/{month}/{ident}.json" for ident in idents]
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
