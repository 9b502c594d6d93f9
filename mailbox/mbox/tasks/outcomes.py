"""Waiting until tasks have ended, and how they did.

Promised: `wait` sees each task in a state that it has while all are looked at; it ends when every one is final (or in the
wished state) at the same look, within milliseconds of the record that made it so (`mbox.store.waiting`).  Nothing here
writes or takes the lock.

Not promised: that a lease that ran out ends a wait.  A wait sweeps nothing; the next command that writes, or the watchdog,
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mbox.errors import Nothing, TimedOut
from mbox.format import places
from mbox.format.checks import few
from mbox.format.documents import FINAL
from mbox.system.clock import inf

if TYPE_CHECKING:
    from mbox.store.store import Store

    from .lifecycle import Answer

def rows(store: Store, ids: Sequence[str]) -> list[Answer]:
    """How each task stands now; `NotFound` with the nearest ids for one that is not there."""
    found = []
    for task_id in ids:
        doc = store.glance(places.task(task_id))
        if doc is None:
            from .lifecycle import missing

            raise missing(store, task_id)
        row = {name: doc[name] for name in ("task_id", "status", "title", "reason", "result")}
        found.append({name: value for name, value in row.items() if value not in (None, "")})
    return found


def wait(store: Store, ids: Sequence[str], seconds: float, status: str | None = None) -> tuple[list[Answer], bool]:
    """How each task stands once all are final, or in ``status``; and whether that was within ``seconds`` (0: for ever)."""
    from mbox.store.waiting import Watch, journal_paths, until

    def look() -> list[Answer] | None:
        there = rows(store, ids)
        return there if all(_ended(row, status) for row in there) else None

    with Watch(store, lambda: journal_paths(store)) as watch:
        found = until(store, watch, look, seconds or inf)
    return (found, True) if found is not None else (rows(store, ids), False)


def _ended(row: Answer, status: str | None) -> bool:
    return row["status"] in FINAL or row["status"] == status


def refuse(found: Sequence[Answer], in_time: bool, status: str | None = None) -> None:
    """`TimedOut` where a task has not ended in time; `Nothing` where one ended otherwise than in ``status`` (done)."""
    wanted = status or "done"
    late = [f"{row['task_id']} ({row['status']})" for row in found if not _ended(row, status)]
    if not in_time and late:
        raise TimedOut(f"time ran out; not ended: {few(late)}")
    other = [f"{row['task_id']} {row['status']}" for row in found if row["status"] != wanted]
    if other:
        raise Nothing(f"not {wanted}: {few(other)}")
