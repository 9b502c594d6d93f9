"""The guard: what is reserved and whether a path may be changed, as seen without the lock.

Promised: `check` first waits for a record that is committed and not published yet, counts only what is live
at this moment, and refuses to answer (exit 6) where a reservation cannot be read, so that a hook can rely on
it.  Not promised: that the answer holds a moment later; only a reservation of one's own keeps others out.

Reads ``reservations/*.json`` and, of those that matter, ``leases/<id>.json``; writes nothing, and does
without the index, whose opening would cost more than the rest of ``reserve check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import patterns, places
from .documents import Document
from .errors import NotFound, StoreError, did_you_mean
from .index import Held
from .patterns import Pattern
from .reservations import (
    SHARED,
    covered,
    ended,
    is_of,
    is_one_path,
    meet,
    parsed,
    said,
    span,
    stored,
    time_left,
    told,
)
from .store import Actor, Store


def left(store: Store, doc: Document) -> float:
    """Seconds that a reservation still stands; 0 or less if it has run out."""
    return time_left(store, doc, store.load_lease(places.lease(doc["reservation_id"])))


def is_held(store: Store, held: Held) -> bool:
    """Whether a pattern is still held.  Not, where it cannot be read: a transaction mends that."""
    try:
        doc = store.read(places.reservation(held.rid))
    except StoreError:
        return False
    return doc is not None and held.pattern in doc["patterns"] and left(store, doc) > 0


def listed(store: Store) -> list[Document]:
    """Every reservation as a header row, oldest first; those that have run out as expired."""
    rows = []
    for doc in store.documents(places.RESERVATIONS):
        time = left(store, doc)
        row = {name: doc[name] for name in ("reservation_id", "agent", "mode", "patterns")}
        row |= {"left": span(time)} if time > 0 else {"state": "expired"}
        rows.append({**row, "task_id": doc["task_id"], "reason": doc["reason"]})
    return sorted(rows, key=lambda row: places.number(row["reservation_id"]))


def show(store: Store, rid: str) -> Document:
    """A reservation's document; `NotFound`, with how it ended."""
    doc = store.read(places.reservation(rid))
    if doc is None:
        record = ended(store, rid)
        known = [places.ident(name) for name in store.names(places.RESERVATIONS)]
        how = told(record) if record else f"is no reservation{did_you_mean(rid, known)}"
        raise NotFound(f"{rid} {how}")
    return doc


def check(store: Store, who: Actor, texts: Iterable[str]) -> list[Document]:
    """A row for each path or pattern; its ``state`` is own, held or free.

    own: ``who`` holds all of it.  held: somebody else holds some of it (the row says who, of the first).
    """
    if store.is_behind():
        store.catch_up()
    held = [(doc, text, stored(store, text)) for doc in _readable(store) for text in doc["patterns"]]
    rows = []
    for text in texts:
        pattern = parsed(store, text)
        meets = _meets(store, pattern)
        meet = [one for one in held if meets(one[2]) and left(store, one[0]) > 0]
        mine = [one for one in meet if is_of(one[0], who)]
        others = [one for one in meet if one[0]["agent"] != who.name]
        row: Document = {"path": text if patterns.has_wildcard(text) else unescaped(text), "state": "free"}
        if covered(store, [one[2] for one in mine], pattern):
            row |= {"state": "own", "reservation_id": mine[0][0]["reservation_id"]}
        elif others:
            row |= _holder(store, *others[0][:2])
        rows.append(row)
    return rows


def _meets(store: Store, wanted: Pattern) -> Callable[[Pattern], bool]:
    """What tells whether a reserved pattern is about ``wanted``: a path, or a folder or pattern and all in it."""
    if is_one_path(store, wanted):
        return lambda pattern: pattern.matches(wanted.prefix)
    return lambda pattern: meet(store, pattern, wanted)


def _readable(store: Store) -> list[Document]:
    """Every reservation, oldest first; `Corrupt` where one is unfit: it may be what is asked for."""
    names = sorted(store.names(places.RESERVATIONS), key=lambda name: places.number(name[:-5]))
    docs = [store.read(f"{places.RESERVATIONS}/{name}") for name in names if name.endswith(".json")]
    return [doc for doc in docs if doc is not None]


def _holder(store: Store, doc: Document, pattern: str) -> Document:
    time = left(store, doc)
    held = Held(doc["reservation_id"], doc["agent"], doc["mode"] == SHARED, doc["task_id"], pattern)
    return {
        "state": "held", "reservation_id": held.rid, "agent": held.agent, "mode": doc["mode"],
        "pattern": pattern, "left": span(time), "reason": doc["reason"],
        "who": said(store, held, doc["reason"], time),
    }  # fmt: skip


def unescaped(text: str) -> str:
    """The path that a pattern without wildcards means."""
    letters = iter(text)
    return "".join(next(letters, "") if letter == "\\" else letter for letter in letters)
