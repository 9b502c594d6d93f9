"""Drift: documents that moved behind the journal's back, and how that is found out.

Git takes documents away, brings older ones, or ones of another branch; a restored copy does, and people do.  What the
toolkit keeps (status, owner, token, where a letter stands) comes from the journal, whatever a file says.

Two ways find it out, by the one rule that stands here (`judge`, `judge_letter`):

- *A decision* asks the index of each task and reservation that it reads which record put it there, and which file that
  wrote (`Store.load`).  Another file is compared with the record, and remembered if it is the same.
- *Whoever reads* sees by the stamps of the folders that somebody else has been there (`stamps`), and has them compared
  (`reconciliation`).

What is then done about a document says `redress`.  Promised: nothing is changed here but a stamp, and what the index remembers
of a file that was seen to be the journal's.  Not promised: that a change is seen that comes while a decision is made; it is
seen by the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mbox.errors import LeftAlone
from mbox.format import documents, places
from mbox.format.documents import Newer, Unfit
from mbox.journal.projection import last_state
from mbox.system.disk import open_regular, read_open

from . import stamps
from .files import Damage, unreadable
from .state import State

UNKNOWN, GONE, OTHER = "the journal does not know it", "it was gone", "it was not what the journal says"
"""What can be wrong with a document."""

Row = tuple[int, str]
"""What the index has of a document: the record that put it there, and the file that it wrote, if that is known."""


def judge(state: State, path: str, stands: bool, row: Row | None) -> None:
    """Raise `Damage` unless the file that ``stands`` at ``path`` is what its record says; with the lock held.

    What may not be read here, or is of a newer version, is left alone.
    """
    if row is None:
        if stands:
            raise Damage(path, UNKNOWN)
        return
    if not stands:
        raise Damage(path, GONE)
    file = _compared_file(state, path, recorded(state, path, row[0]) if row[0] else None)
    if file is not None:
        state.index.is_file(path, file or None)


def judge_letter(state: State, path: str, known: Callable[[str], Any] | None = None) -> None:
    """The same of the letter that stands at ``path``; ``known`` finds what the journal has, where many are asked for."""
    try:
        if stamps.is_stamped(state, os.lstat(state.absolute(path)), state.whose):
            return
    except FileNotFoundError:
        raise Damage(path, GONE) from None
    doc = known(path) if known else last_state(state.journal, path, state.tail)[1]
    if doc is None:
        raise Damage(path, UNKNOWN)
    file = _compared_file(state, path, doc)
    if file is not None and places.is_indexed(path):
        state.index.is_file(path, file or None)


def _compared_file(state: State, path: str, doc: Any) -> str | None:
    """What the file at ``path`` is known by once it was seen to hold ``doc`` (None: whatever it does); "" if that cannot be told.

    None where it is left alone; `Damage` where something else stands there.
    """
    try:
        fd = open_regular(state.absolute(path))
        try:
            stamps.begin(state, fd)
            return stamps.finish(state, fd, state.whose) if _holds(fd, path, doc) else None
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise Damage(path, GONE) from None
    except OSError as error:
        if not isinstance(unreadable(path, error), LeftAlone):
            raise Damage(path, OTHER) from None
    return None


def _holds(fd: int, path: str, doc: Any) -> bool:
    """Whether ``doc`` (None: whatever it is) stands in an open file; not what is of a newer version.  `Damage` else."""
    kind = places.kind(path)
    data = read_open(fd, path)
    if doc is None or data == documents.encode(kind, doc):
        return True
    try:
        documents.decode(kind, data, "" if kind == "deadletter" else places.ident(path))
    except Newer:
        return False
    except Unfit:
        pass
    raise Damage(path, OTHER)


def recorded(state: State, path: str, seq: int) -> Any:
    """The document that record ``seq`` put at ``path``; None if it did not."""
    start = state.journal.find(seq - 1, state.tail)
    for _, record in state.journal.records(start, state.tail):
        if record["seq"] == seq:
            for doc, paths in record["put"]:
                if path in paths:
                    return doc
            break
    return last_state(state.journal, path, state.tail)[1]
