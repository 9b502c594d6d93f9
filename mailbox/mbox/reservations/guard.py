"""The guard: what is reserved and whether a path may be changed, as seen without the lock.

Promised: `check` first waits for a record that is committed and not published yet, counts only what is live
at this moment, and refuses to answer (exit 6) where a reservation is damaged, so that a hook can rely on it; one that
cannot be read and is left alone counts as the journal has it.  Not promised: that the answer holds a moment later;
only a reservation of one's own keeps others out.

Reads ``reservations/*.json`` and, of those that matter, ``leases/<id>.json``; writes nothing, and does
without the index, whose opening would cost more than the rest of ``reserve check``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from os import fsencode

from mbox.errors import LeftAlone, NotFound, StoreError, Usage, meant_id
from mbox.format import patterns, places
from mbox.format.documents import Document
from mbox.format.globs import Effort
from mbox.format.patterns import Pattern
from mbox.index.answers import Held
from mbox.store.store import Actor, Store
from mbox.system.clock import span

from .conflicts import (
    READING,
    SHARED,
    covered,
    guessed,
    holder_in_words,
    is_of,
    is_one_path,
    journaled,
    meet,
    parsed,
    stored,
    time_left,
)

BAD = "bad"
"""The state of a row about what is no path or pattern."""

_WILD = frozenset("*?[{\\")


def left(store: Store, doc: Document) -> float:
    """Seconds that a reservation still stands; 0 or less if it has run out."""
    return time_left(store, doc, store.load_lease(places.lease(doc["reservation_id"])))


def is_held(store: Store, held: Held) -> bool:
    """Whether a pattern is still held.  Not, where it cannot be read: a transaction mends that."""
    try:
        doc = _document(store, held.rid)
    except StoreError:
        return False
    return doc is not None and held.pattern in doc["patterns"] and left(store, doc) > 0


def listed(store: Store) -> list[Document]:
    """Every reservation as a header row, oldest first; those that have run out as expired."""
    rows = []
    for doc in every(store):
        time = left(store, doc)
        row = {name: doc[name] for name in ("reservation_id", "agent", "mode", "patterns")}
        row |= {"left": span(time)} if time > 0 else {"state": "expired"}
        rows.append({**row, "task_id": doc["task_id"], "reason": doc["reason"]})
    return rows


def show(store: Store, rid: str) -> Document:
    """A reservation's document; `NotFound`, with how it ended."""
    doc = store.read(places.reservation(rid))
    if doc is None:
        from .reserving import ended, how_it_ended

        record = ended(store, rid)
        known = places.idents(store.names(places.RESERVATIONS))
        how = how_it_ended(record) if record else f"is no reservation{meant_id(rid, known)}"
        raise NotFound(f"{rid} {how}")
    return doc


def check(store: Store, who: Actor, texts: Iterable[str]) -> list[Document]:
    """A row for each path or pattern; its ``state`` is own, held, free or bad.

    own: ``who`` holds all of it.  held: somebody else holds some of it (the row says who, of the first), or what cannot
    be told apart from it in `READING` steps, which is said.  bad: it is no pattern, for the ``reason`` in the row.
    """
    store.bring_up()
    reserved = Reserved(store)
    rows = []
    for text in texts:
        try:
            pattern = parsed(store, text)
        except Usage as error:
            rows.append(bad(text, error))
            continue
        live = [one for one in reserved.about(pattern) if left(store, one[0]) > 0]
        mine = [one for one in live if is_of(one[0], who)]
        others = [one for one in live if one[0]["agent"] != who.name]
        row: Document = {"path": text if patterns.has_wildcard(text) else unescaped(text), "state": "free"}
        if covered(store, [held for _, held in mine], pattern, reserved.effort):
            row |= {"state": "own", "reservation_id": mine[0][0]["reservation_id"]}
        elif others:
            row |= _holder(store, others[0][0], others[0][1].text)
        rows.append(row)
    if guess := guessed(reserved.effort, READING):
        store.say(f"what is reserved {guess}")
    return rows


def bad(text: str, error: Usage) -> Document:
    """The row of what is no path or pattern; its bytes that are no UTF-8 are shown as ``\\xe9``."""
    return {"path": fsencode(text).decode("utf-8", "backslashreplace"), "state": BAD, "reason": str(error)}


class Reserved:
    """Every reserved pattern, by its literal head: most of them are never even parsed."""

    __slots__ = ("_by_head", "_store", "effort")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.effort = Effort(READING)
        self._by_head: dict[str, list[tuple[Document, str]]] = {}
        for doc in every(store, strict=True):
            for text in doc["patterns"]:
                self._by_head.setdefault(self._head(text), []).append((doc, text))

    def _head(self, text: str) -> str:
        """A path at or above all that the pattern matches."""
        if not text.isascii() or parsed(self._store, "**").fold:
            return stored(self._store, text, self.effort).prefix
        return "/".join(takewhile(_WILD.isdisjoint, text.split("/")))

    def about(self, wanted: Pattern) -> list[tuple[Document, Pattern]]:
        """The patterns that are about ``wanted``: one path, or all in a folder or pattern; oldest first."""
        names, one = wanted.prefix.split("/"), is_one_path(self._store, wanted)
        heads = {"", *("/".join(names[:n]) for n in range(1, len(names) + 1))}
        if not one:
            below = f"{wanted.prefix}/" if wanted.prefix else ""
            heads.update(head for head in self._by_head if head.startswith(below))
        found = []
        for doc, text in (each for head in heads for each in self._by_head.get(head, ())):
            held = stored(self._store, text, self.effort)
            if held.matches(wanted.prefix, self.effort) if one else meet(self._store, held, wanted, self.effort):
                found.append((doc, held))
        return sorted(found, key=lambda each: places.number(each[0]["reservation_id"]))


def every(store: Store, strict: bool = False) -> Iterator[Document]:
    """Every reservation, oldest first, one that cannot be read and is left alone too, as the journal has it.

    What is damaged, and may be mended, is said and passed over; ``strict``: `Corrupt`, for it may be what is asked for.
    """
    for rid in sorted(places.idents(store.names(places.RESERVATIONS)), key=places.number):
        try:
            doc = _document(store, rid)
        except StoreError as error:
            if strict:
                raise
            store.pass_over(error)
            continue
        if doc is not None:
            yield doc


def _document(store: Store, rid: str) -> Document | None:
    """As `conflicts.document`, without the lock."""
    try:
        return store.read(places.reservation(rid))
    except LeftAlone as error:
        store.pass_over(error)
        return journaled(store, rid, store.end())


def _holder(store: Store, doc: Document, pattern: str) -> Document:
    time = left(store, doc)
    held = Held(doc["reservation_id"], doc["agent"], doc["mode"] == SHARED, doc["task_id"], pattern)
    return {
        "state": "held", "reservation_id": held.rid, "agent": held.agent, "mode": doc["mode"],
        "pattern": pattern, "left": span(time), "reason": doc["reason"],
        "who": holder_in_words(store, held, doc["reason"], time),
    }  # fmt: skip


def unescaped(text: str) -> str:
    """The path that a pattern without wildcards means."""
    letters = iter(text)
    return "".join(next(letters, "") if letter == "\\" else letter for letter in letters)
