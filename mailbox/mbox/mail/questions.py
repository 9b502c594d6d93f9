"""Questions that wait for an answer: those that an agent asked, and those that it was asked.

For display, without the lock, from the documents alone; nothing is changed.  A question is answered by a message to its
asker that is a reply to it or, where it began its thread, a later one of that thread (as `asks.Answers` counts); its
asker has done with it once ``gather --send`` has handed the answers out.  That somebody merely stopped waiting is known
to nobody.

The bound: of what an agent has sent, of its unread mail, of its read mail and of its archive (by month), the newest
`LOOKED` each are looked at.  A question from before what was looked at for its answer is passed over, so that none is
named that was answered long ago.
"""

from __future__ import annotations

from collections.abc import Iterator

from mbox.agents import registry as agents
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import MboxError
from mbox.store.store import Store

LOOKED = 200
"""Files looked at, of the newest, in each of outbox, unread, read and archived mail."""


def asked_by(store: Store, name: str) -> dict[str, list[str]]:
    """Questions of ``name`` that still wait, oldest first: its thread → who has not answered."""
    sent, _ = _sent(store, name)
    found = {doc["thread_id"]: doc for doc in _holding(store, sent, "question") if doc["type"] == "question"}
    if not found:
        return {}
    missing = {thread: set(doc["to"]) for thread, doc in found.items()}
    for doc in _holding(store, sent, *(f"gather-{doc['msg_id']}-" for doc in found.values())):
        if (question := found.get(doc["thread_id"])) and _hands_out(doc, question):
            missing[doc["thread_id"]].clear()
    got, since = _got(store, name)
    for doc in _holding(store, got, *found):
        if (question := found.get(doc["thread_id"])) and _answers(doc, question):
            missing[doc["thread_id"]].discard(doc["from"])
    waiting = sorted((thread for thread, names in missing.items() if names), key=places.number)
    return {one: sorted(missing[one]) for one in waiting if places.number(found[one]["msg_id"]) > since}


def asked_of(store: Store, name: str) -> tuple[list[str], list[str]]:
    """Questions to ``name`` that it has not answered, oldest first: those that are unread, and those that it has read."""
    got, _ = _got(store, name)
    sent, since = _sent(store, name)
    found = {
        doc["msg_id"]: doc for doc in _holding(store, got, "question")
        if doc["type"] == "question" and doc["state"] != "expired" and places.number(doc["msg_id"]) > since
    }  # fmt: skip
    if not found:
        return [], []
    open_ = set(found)
    for doc in _holding(store, sent, *(doc["thread_id"] for doc in found.values())):
        open_ -= {ident for ident in open_ if _answers(doc, found[ident])}
    for doc in _holding(store, got, *(f"gather-{ident}-" for ident in found)):
        open_ -= {ident for ident in open_ if _hands_out(doc, found[ident])}
    here = set(agents.active(store))
    left = sorted((ident for ident in open_ if found[ident]["from"] in here), key=places.number)
    unread = [ident for ident in left if found[ident]["state"] == "unread"]
    return unread, [ident for ident in left if ident not in unread]


def _answers(doc: Document, question: Document) -> bool:
    """Whether a message of whoever was asked answers ``question``."""
    if question["from"] not in doc["to"] or places.number(doc["msg_id"]) <= places.number(question["msg_id"]):
        return False
    first = question["thread_id"] == question["msg_id"]
    return bool(doc["parent_id"] == question["msg_id"] or (first and doc["thread_id"] == question["thread_id"]))


def _hands_out(doc: Document, question: Document) -> bool:
    """Whether this is what ``gather --send`` sent (`asks.share`)."""
    return doc["from"] == question["from"] and (doc["key"] or "").startswith(f"gather-{question['msg_id']}-")


def _sent(store: Store, name: str) -> tuple[list[str], int]:
    """The newest paths of an outbox, and the number up to which others were left out (0: none)."""
    return _newest(store, [places.outbox_folder(name)])


def _got(store: Store, name: str) -> tuple[list[str], int]:
    """The newest paths of an inbox and of its archive, and the number up to which others were left out (0: none)."""
    folder = places.archive_folder(name)
    months = [f"{folder}/{month}" for month in sorted(store.names(folder), reverse=True)]
    looked = [_newest(store, some) for some in ([places.new_folder(name)], [places.cur_folder(name)], months)]
    return [path for paths, _ in looked for path in paths], max(since for _, since in looked)


def _newest(store: Store, folders: list[str]) -> tuple[list[str], int]:
    """Of folders, the newest first: the newest `LOOKED` paths, and the highest number that was left out (0: none)."""
    found: list[tuple[int, str]] = []
    for folder in folders:
        found += [(places.number(file[:-5]), f"{folder}/{file}") for file in store.names(folder) if file.endswith(".json")]
        if len(found) > LOOKED:
            break
    found.sort(reverse=True)
    return [path for _, path in found[:LOOKED]], found[LOOKED][0] if len(found) > LOOKED else 0


def _holding(store: Store, paths: list[str], *words: str) -> Iterator[Document]:
    """The messages at ``paths`` in whose bytes one of ``words`` stands; only these are parsed."""
    needles = [word.encode() for word in words]
    for path in paths:
        try:
            data = store.bytes_of(path)
        except (MboxError, OSError):
            continue
        if any(needle in data for needle in needles) and (doc := store.glance(path)):
            yield doc
