"""Notes and checkpoints: what whoever goes on with a task must know, a line each in ``notes/<task>.jsonl``.

Promised: a note by anybody, a checkpoint by the task's live holder alone, each in one record.  A checkpoint is at most
``checkpoint_limit`` bytes and the file `LARGEST`; what does not fit is refused, but checkpoints older than the last
make room for a new one (they stay in the journal).

Not promised: order among agents that write at the same moment, beyond that of the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.errors import NotYours, Refused
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.store.store import Store

    from .lifecycle import Answer


LARGEST = 256 * 1024
"""Bytes of one task's notes."""


def add(store: Store, actor: Actor, task_id: str, text: str) -> Answer:
    """Leave a note on a task."""
    from . import lifecycle  # most who load this only read notes

    def decide(tx: Transaction) -> Answer:
        lifecycle.acting(tx)
        doc = lifecycle.find(tx, task_id)
        entries = [*tx.notes(places.notes(task_id)), _entry(tx, "note", text=text)]
        _put(tx, task_id, entries)
        tx.record(operations.TASK_NOTE, [task_id])
        return lifecycle.answer(doc, notes=len(entries))

    return store.transact(decide, actor)


def checkpoint(store: Store, actor: Actor, task_id: str, state: Any, token: int | None = None) -> Answer:
    """Save the state of the work, by the task's live holder."""
    from . import lifecycle

    size = len(documents.compact(state).encode())
    if size > store.config.checkpoint_limit:
        raise too_large(store, str(size))

    def decide(tx: Transaction) -> Answer:
        doc = lifecycle.held(tx, task_id, token)
        if doc is None:
            raise NotYours(f"{task_id} is not yours")
        entries = [*tx.notes(places.notes(task_id)), _entry(tx, "checkpoint", state=state)]
        while _size(entries) > LARGEST and _older(entries) is not None:
            del entries[_older(entries) or 0]
        _put(tx, task_id, entries)
        tx.record(operations.TASK_CHECKPOINT, [task_id])
        return lifecycle.answer(doc, notes=len(entries))

    return store.transact(decide, actor)


def too_large(store: Store, size: str) -> Refused:
    """That a state of so many bytes is over the limit of a checkpoint."""
    limit = store.config.checkpoint_limit
    return Refused(f"the state has {size} bytes, checkpoint_limit is {limit}: put it in a file and save the path")


def last(store: Store, task_id: str, count: int) -> list[Document]:
    """The newest ``count`` notes and checkpoints of a task, oldest first; without the lock."""
    found: Any = store.glance(places.notes(task_id)) or []
    return [shown(entry) for entry in found[-count:]] if count > 0 else []


def newest(store: Store, task_id: str) -> dict[str, str]:
    """The last note and the last checkpoint of a task as texts, for `mbox me`: a note does not hide a checkpoint."""
    found: dict[str, str] = {}
    entries: Any = store.glance(places.notes(task_id)) or []
    for entry in entries:
        found[entry["kind"]] = entry["text"] or documents.compact(entry["state"])
    return found


def last_checkpoint(entries: list[Document]) -> Document | None:
    """The last checkpoint, where something else was noted after it."""
    found = [entry for entry in entries if entry["kind"] == "checkpoint"]
    return shown(found[-1]) if found and found[-1] is not entries[-1] else None


def shown(entry: Document) -> Document:
    """A note without what is empty."""
    return {name: value for name, value in entry.items() if value not in ("", None)}


def _entry(tx: Transaction, kind: str, **content: Any) -> Document:
    return documents.ordered("note", {"ts": tx.now, "by": tx.actor.name, "kind": kind, **content})


def _size(entries: list[Document]) -> int:
    return len(documents.encode("notes", entries))


def _older(entries: list[Document]) -> int | None:
    """Where the oldest checkpoint stands that is not the last."""
    found = [at for at, entry in enumerate(entries) if entry["kind"] == "checkpoint"]
    return found[0] if len(found) > 1 else None


def _put(tx: Transaction, task_id: str, entries: list[Document]) -> None:
    if _size(entries) > LARGEST:
        raise Refused(
            f"the notes of {task_id} would be over {LARGEST >> 10} KiB: put the rest in a file and note its path"
        )
    tx.put(entries, places.notes(task_id))
