"""Redress: what is done about a document that is not as the journal says (`drift`).

One that is gone, or is not what its record says, is put back as the journal has it, and what stood there is kept `aside`.  So
is one that is older than its last record.  What people may edit (`format.ownership`) is adopted by a record that names the
fields, unless the command that sets it would refuse it.  A document that the journal does not know, or knows to be gone, is
kept aside too: it takes no part, and numbers go on above what it shows.  But for the adoption no record is made: the
journal says it already.

Promised, with the lock held: each is said in one line, with where to find what stood there; a death in between leaves it to be
found out and done again.  Not promised: that what cannot be read at all is told from what is foreign; that is `quarantine`'s.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

from mbox.errors import StoreError
from mbox.format import documents, operations, ownership, places
from mbox.format.documents import Newer, Unfit
from mbox.journal.projection import last_state
from mbox.journal.record import Tail, skim
from mbox.system.disk import exists

from . import quarantine
from .aside import keep, move, put_back
from .bootstrap import number
from .commit import Again, commit
from .drift import GONE, OTHER
from .earlier import earlier
from .files import Damage
from .state import State
from .transaction import SWEEP, Transaction

TRIES = 3
"""How often a record is made that a new segment came before."""


class Found(NamedTuple):
    """What stands at a path, read once: others may go on changing it."""

    data: bytes
    doc: Any
    """The valid document that it is, or None."""


def found(state: State, path: str) -> Found | None:
    """What stands at ``path``; None where nothing does that can be read."""
    try:
        data = state.bytes_of(path)
    except OSError:
        return None
    kind = places.kind(path)
    try:
        return Found(data, documents.decode(kind, data, "" if kind == "deadletter" else places.ident(path)))
    except (Unfit, Newer):
        return Found(data, None)


def mend(state: State, damage: Damage, warnings: list[str]) -> None:
    """What a decision found, settled likewise; what cannot be read at all is `quarantine`'s."""
    path = damage.path
    doc = last_state(state.journal, path, state.tail)[1]
    there = found(state, path)
    if (there is None or there.doc is None) and os.path.lexists(state.absolute(path)):
        quarantine.mend(state, damage, warnings)
    elif there and is_edited(path, doc, there) and not earlier(state.journal, {path: there.data}, state.tail):
        warnings.append(adopted(state, path, doc, there, damage.detail))
    else:
        warnings.append(put_right(state, path, doc, damage.detail))
        recall_copies(state, path)


def recall_copies(state: State, path: str) -> None:
    """What was sent may be the same file as the letter at ``path``."""
    if path.startswith(f"{places.INBOX}/"):
        recall(state, {places.ident(path)})


def missed(state: State, idents: Collection[str], end: Tail) -> dict[str, Any]:
    """What the journal up to ``end`` says stands of the documents called ``idents``, by path, where the file is not that.

    For what is not known to be gone (sent and archived mail).  Of ids of the toolkit's the journal is read once, from the
    record on that made the first of them; of others nothing is found.  Nothing is changed, and the lock need not be held.
    """
    numbers = [number for ident in idents if 0 < (number := places.number(ident)) <= end.seq]
    last: dict[str, Any] = {}
    for segment, offset, line in state.journal.between(state.journal.find(min(numbers) - 1, end), end) if numbers else ():
        if not _names_any(line, idents):
            continue
        record = state.journal.decoded(segment, offset, line)
        for doc, paths in record["put"]:
            last.update((path, doc) for path in paths if places.ident(path) in idents)
        for source, target in record["mv"]:
            if source in last:
                last[target], last[source] = last[source], None
        last.update((path, None) for path in record["del"] if places.ident(path) in idents)
    return {path: doc for path, doc in last.items() if doc is not None and not _stands(state, path, doc)}


def _names_any(line: bytes, idents: Collection[str]) -> bool:
    """Whether the record in ``line`` may change a document called one of ``idents``."""
    if len(idents) == 1:
        return any(f"/{ident}.json".encode() in line for ident in idents)
    told = skim(line.rstrip(b"\n"))
    return told is None or any(places.ident(path) in idents for path in (*told[1], *told[2]))


def recall(state: State, idents: Collection[str]) -> bool:
    """Put back what of the documents called ``idents`` was `missed`; whether there was any.  With the lock held."""
    state.recalled.update(idents)
    wrong = missed(state, idents, state.tail)
    for path, doc in wrong.items():
        problem = OTHER if exists(state.absolute(path)) else GONE
        state.say(put_right(state, path, doc, problem))
    return bool(wrong)


def _stands(state: State, path: str, doc: Any) -> bool:
    there = found(state, path)
    return there is not None and there.data == documents.encode(places.kind(path), doc)


def is_edited(path: str, doc: Any, there: Found) -> bool:
    """Whether ``there`` differs from ``doc``, which the journal has, in what people may edit (`ownership`)."""
    return doc is not None and there.doc is not None and bool(ownership.differing(places.kind(path), doc, there.doc)[0])


def adopted(state: State, path: str, doc: Any, there: Found, problem: str) -> str:
    """Adopt of ``there``, at ``path``, what people may edit, by a record that names it, and put the rest back; in words."""
    judged = ownership.adoptable(places.kind(path), doc, there.doc, state.folds(), partial(_dependencies, state))
    if not judged.adopted:
        return put_right(state, path, doc, problem)
    what = ", ".join(judged.adopted)
    kept = keep(state, path) if judged.refused else ""
    for _ in range(TRIES):
        tx = Transaction(state, SWEEP)
        tx.put(judged.doc, path)
        tx.record(operations.STORE_ADOPT, [places.ident(path)], f"{path}: {what}")
        try:
            commit(state, tx)
            break
        except Again:  # a segment was begun first
            continue
    said = f"{state.absolute(path)}: edited by hand; adopted {what}"
    if kept:
        said += f"; {', '.join(judged.refused)} put back from the journal; what stood there is kept as {kept}"
    return said


def _dependencies(state: State, task_id: str) -> list[str] | None:
    return state.index.dependencies(task_id) if state.index.standing(places.task(task_id)) else None


def taken_out(state: State, path: str, problem: str) -> str:
    """Take what the journal does not know out of the store, durable once that is settled; what was done, in words."""
    if not exists(state.absolute(path)):
        return f"{state.absolute(path)}: {problem}; it is gone"
    state.go_on_above(number(state, path))
    try:
        kept = move(state, path)
    except StoreError:  # across a mount, or without the right to
        return put_right(state, path, None, problem)
    return _told(state, path, problem, "taken out of the store", kept)


def put_right(state: State, path: str, doc: Any, problem: str) -> str:
    """Bring ``path`` to ``doc``, which the journal has, or to nothing; what was done, in words."""
    if doc is None and os.path.lexists(state.absolute(path)):
        state.go_on_above(number(state, path))
    kept = keep(state, path)
    if doc is not None or exists(state.absolute(path)):
        put_back(state, path, doc)
    done = "put back from the journal" if doc is not None else "taken out of the store"
    return _told(state, path, problem, done, kept)


def _told(state: State, path: str, problem: str, done: str, kept: str) -> str:
    return f"{state.absolute(path)}: {problem}; {done}" + (f"; what stood there is kept as {kept}" if kept else "")
