"""Drafts: tasks that are not yet tasks, and the graph of several.  Pure functions.

Promised: what comes back is new, a draft that is handed in never changes.
Not promised: that dependencies outside the drafts exist (`outside` names them), that there is no cycle (`cycle_of`), or
that a touched path is a good pattern; only the caller knows the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from . import graph

TASKS = 10_000
"""Tasks in one plan at most."""


class TaskDraft(NamedTuple):
    """A task that is not yet one.  ``where`` is the file and entry it came from, to start an error message with."""

    id: str | None
    title: str
    description: str = ""
    stage: str = ""
    depends_on: tuple[str, ...] = ()
    touched_paths: tuple[str, ...] = ()
    priority: int = 5
    requires: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    max_attempts: int | None = None
    payload: Any = None
    status: str = "queued"  # or done
    hold: str = ""
    reason: str = ""
    created_at: str | None = None
    finished_at: str | None = None
    where: str = ""
    gates: tuple[str, ...] = ()


def cycle_of(drafts: Iterable[TaskDraft]) -> list[str] | None:
    """One cycle ``[a, b, c, a]`` among the drafts, or None."""
    return graph.cycle(_edges(drafts))


def without_cycles(drafts: Sequence[TaskDraft]) -> tuple[list[TaskDraft], list[tuple[str, str]]]:
    """The drafts without cycles, and the dropped edges ``(task, dependency)``; see `graph.all_cycles_broken`."""
    _, dropped = graph.all_cycles_broken(_edges(drafts))
    gone = set(dropped)
    kept = [
        draft._replace(depends_on=tuple(dep for dep in draft.depends_on if (draft.id, dep) not in gone))
        for draft in drafts
    ]
    return kept, dropped


def _edges(drafts: Iterable[TaskDraft]) -> dict[str, tuple[str, ...]]:
    return {draft.id: draft.depends_on for draft in drafts if draft.id}


def outside(drafts: Sequence[TaskDraft]) -> list[tuple[TaskDraft, str]]:
    """``(draft, dependency)`` for each dependency that is no draft's id: it must exist already."""
    ids = {draft.id for draft in drafts}
    return [(draft, dep) for draft in drafts for dep in draft.depends_on if dep not in ids]
