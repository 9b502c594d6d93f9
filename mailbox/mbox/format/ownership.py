"""Whose a field of a document is: what people may edit in the file, and what comes from the journal whatever a file says.

Promised: `adoptable` takes from a file only what `EDITABLE` names, each value as the command that sets it would take it, and
says by name what it took and what it refused; all else is as the journal has it.  Pure: what it cannot know of the store
it is handed.  Not promised: that a document which differs was edited; one that is older than its last record is a state
that the journal had (`store.earlier`), and no edit.

What people may edit is what they write: what a task is about, what it touches and needs, and how soon.  What the toolkit
owns is everything that somebody relies on who did not write it: who holds a task, under which token, in which round; where
a letter stands and what its sender said in it; which incarnation an agent is in, its role (roles are given by commands
alone), and its team; which paths a reservation holds; what a team may start.  A task's stage, hold and attempts are changed by
``task update``, which tells its holder; notes are history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mbox.errors import Usage

from . import checks, documents, fields, patterns
from .documents import FINAL, Document

OWNED = "the toolkit's own"
"""Why a field is not taken from a file."""

Dependencies = Callable[[str], Iterable[str] | None]
"""What the task of an id depends on, by the journal; None if there is no such task."""


class Judged(NamedTuple):
    """What comes of a file that differs from the journal: the document, the fields taken from the file, and, each with the
    reason, those that were not."""

    doc: Any
    adopted: list[str]
    refused: dict[str, str]


def adoptable(kind: str, journaled: Any, found: Any, folds: bool = False, dependencies: Dependencies | None = None) -> Judged:
    """What of ``found``, the valid document in a file, may go into ``journaled``, the last state that the journal has.

    ``folds``: names that differ in case only are one name here.  Without ``dependencies`` no new dependency is adopted.
    """
    edited, owned = differing(kind, journaled, found)
    refused = dict.fromkeys(owned, OWNED)
    if kind == "notes" or not edited:
        return Judged(journaled, [], refused)
    merged = documents.ordered(kind, journaled)
    adopted = []
    for name in edited:
        try:
            value = EDITABLE[kind][name](name, found[name])
            if kind == "task":
                value = _of_task(merged, name, value, folds, dependencies)
        except Usage as error:
            refused[name] = str(error).removeprefix(f"{name}: ")
            continue
        merged[name] = list(value) if isinstance(value, tuple) else value
        adopted.append(name)
    return Judged(merged, adopted, refused)


def differing(kind: str, journaled: Any, found: Any) -> tuple[list[str], list[str]]:
    """The fields in which they differ, in their order: what people may edit, and what is the toolkit's own."""
    if kind == "notes":
        return [], ([] if journaled == found else ["entries"])
    ours, theirs = documents.ordered(kind, journaled), documents.ordered(kind, found)
    names = [name for name in {**ours, **theirs} if not _same(ours, theirs, name)]
    editable = EDITABLE.get(kind, {})
    return [name for name in names if name in editable], [name for name in names if name not in editable]


def _same(ours: Document, theirs: Document, name: str) -> bool:
    if (name in ours) != (name in theirs):
        return False
    return documents.compact(ours[name]) == documents.compact(theirs[name])  # 1, 1.0 and true are three things


# -- the checks of the commands that set them -------------------------------------------------------------------------


def _or_nothing(check: fields.Check) -> fields.Check:
    return lambda field, value: value if value == "" else check(field, value)


def _pattern(field: str, value: Any) -> str:
    """A pattern relative to the root; in a file there is nowhere else to start from."""
    said = fields.path(field, value)
    if said.split("/")[0] in ("", ".."):
        raise Usage(f"{field}: {checks.quoted(said)} does not start at the root: name it relative to that")
    try:
        return checks.pattern(said, "/", "/", (), lambda path: False)
    except Usage as error:
        raise Usage(f"{field}: {error}") from None


_WORDS = fields.list_of(fields.word, most=fields.WORDS)

EDITABLE: Mapping[str, Mapping[str, fields.Check]] = {
    "task": {
        "title": fields.line, "description": fields.text, "depends_on": fields.list_of(fields.known_id),
        "touched_paths": fields.list_of(_pattern), "requires": _WORDS, "labels": _WORDS, "priority": fields.number(0, 9),
        "payload": fields.payload,
    },
    "agent": {"host": _or_nothing(fields.line), "model": _or_nothing(fields.line), "capabilities": _WORDS},
    "reservation": {"reason": _or_nothing(fields.line)},
    "message": {}, "team": {}, "deadletter": {}, "notes": {}, "run": {}, "definition": {}, "step": {},
}  # fmt: skip
"""By kind, the fields that people may edit in the file, each with the check of the command that sets it."""


def _of_task(doc: Document, name: str, value: Any, folds: bool, dependencies: Dependencies | None) -> Any:
    """``value``, if `task update` would take it for the field ``name`` of the task ``doc``; else `Usage`."""
    ident = doc["task_id"]
    if doc["status"] in FINAL:
        raise Usage(f"{ident} is {doc['status']}; `task requeue` first")
    if name == "touched_paths":
        patterns.check(value, folds)
    if name == "depends_on":
        _check_dependencies(ident, doc["depends_on"], value, dependencies or (lambda task_id: None))
    return value


def _check_dependencies(ident: str, before: list[str], now: tuple[str, ...], dependencies: Dependencies) -> None:
    if len(now) > fields.DEPENDENCIES:
        raise Usage(f"{len(now)} tasks, at most {fields.DEPENDENCIES}: put a task between that stands for a part of them")
    fresh = [dep for dep in now if dep not in before]
    for dep in fresh:
        if dep != ident and dependencies(dep) is None:
            raise Usage(f"no task {dep!r}")
    seen, ahead = set[str](), fresh
    while ahead:
        here = ahead.pop()
        if here == ident:
            raise Usage(f"{ident} would wait for itself")
        if here not in seen:
            seen.add(here)
            ahead.extend(dependencies(here) or ())
