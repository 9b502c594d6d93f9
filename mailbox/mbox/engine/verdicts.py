"""What the state of an agent's task means for its step: a pure function of the task and of how the step stands.

| the task is | the verdict |
|---|---|
| done | `Took`: the step's seat is done |
| in review | `Judge`: the gates are run |
| queued, held, with an outcome | `Closed` (a quota), `Again` while ``retry`` has tries of that kind left, else `Failed` |
| queued, one attempt more than is known | `Again`: whoever held it is gone |
| queued | `Start`: a worker is to be started, where the run has workers |
| claimed, running | `Wait` |
| failed / deadletter / cancelled, gone | `Failed`: ``gave_up`` / ``killed`` or ``lost`` / ``lost`` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mbox.format.documents import ACTIVE, Document
from mbox.tasks.orders import HOLD

FREE = frozenset(["rate_limited"])
"""Ends of an attempt that are charged to nobody."""


class Verdict(NamedTuple):
    """What is to be done: ``act`` is one of took, judge, closed, again, failed, start, wait."""

    act: str
    kind: str = ""
    detail: str = ""
    reset: float = 0.0


def verdict(task: Document | None, step: Document, retry: Mapping[str, int]) -> Verdict:
    """What the ``task`` of the open seat ``step`` comes to now."""
    if task is None:
        return Verdict("failed", "lost", "its task is gone")
    status = task["status"]
    if status == "done":
        return Verdict("took")
    if status == "review":
        return Verdict("judge")
    if status in ACTIVE:
        return Verdict("wait")
    if status == "failed":
        return Verdict("failed", "gave_up", task["reason"])
    if status == "cancelled":
        return Verdict("failed", "lost", f"its task was cancelled{': ' + task['reason'] if task['reason'] else ''}")
    if status == "deadletter":
        return Verdict("failed", _vanished(step), task["reason"])
    return _queued(task, step, retry)


def _queued(task: Document, step: Document, retry: Mapping[str, int]) -> Verdict:
    deaths = (step["state"] or {}).get("deaths", 0)
    if task["attempt_count"] > deaths:
        kind = _vanished(step)
        if tried(step, kind) >= retry.get(kind, 0):
            return Verdict("failed", kind, f"whoever had it is gone (attempt {task['attempt_count']})")
        return Verdict("again", kind, "whoever had it is gone before it was finished")
    outcome: dict[str, Any] | None = (task.get("order") or {}).get("outcome")
    if task["hold"] != HOLD or outcome is None:
        return Verdict("start") if not task["hold"] else Verdict("wait")
    kind, detail = outcome["kind"], outcome.get("detail", "")
    if kind == "rate_limited":
        return Verdict("closed", kind, detail, float(outcome.get("reset_at") or 0.0))
    if tried(step, kind) >= retry.get(kind, 0):
        return Verdict("failed", kind, detail)
    return Verdict("again", kind, detail)


def _vanished(step: Document) -> str:
    """``killed`` where the run's own worker died; ``lost`` where a member's or a person's lease ran out."""
    attempts = step["attempts"] or [{}]
    return "killed" if attempts[-1].get("host") else "lost"


def tried(step: Document, kind: str) -> int:
    """How many attempts of the seat ended as ``kind`` and were tried again: all but the last, of which that is asked."""
    return sum(1 for row in step["attempts"][:-1] if row.get("ended") == kind)
