"""What a team did, from the journal alone: by member and by stage, counted and timed.

Times are wall times of records: *waiting* is from the moment a task was queued to its claim, *working* from the claim to
whatever ended that hold (done, submitted, failed, released, lost).  *conflicts* are holds that were lost: a lease that
ran out, or a holder that was gone.  Rows are sums over the records since the team was called together, or since a
given sequence.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from . import places
from .documents import Document
from .host import seconds
from .index import SEND_OPS
from .journal import Record, Tail
from .reservations import span

if TYPE_CHECKING:
    from .opening import OpenStore

COUNTED = {
    "task.claim": "claimed", "task.done": "done", "task.approve": "done", "task.submit": "submitted",
    "task.fail": "failed", "task.release": "released", "task.reject": "rejected",
}  # fmt: skip
"""Operations that count as what, for the member who made them or whose task it was."""


class _Tally:
    """Sums of one member or one stage."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.waiting = 0.0
        self.working = 0.0

    def row(self) -> dict[str, Any]:
        """For people: what is zero is left out."""
        names = ("claimed", "submitted", "done", "failed", "rejected", "released", "retried", "dead", "conflicts", "mails")
        row: dict[str, Any] = {name: self.counts[name] for name in names if self.counts[name]}
        if self.waiting:
            row["waiting"] = span(self.waiting)
        if self.working:
            row["working"] = span(self.working)
        return row


class Report:
    """Reads records in order; `doc` says what they amount to."""

    def __init__(self, members: list[str]) -> None:
        self.by_member: dict[str, _Tally] = {name: _Tally() for name in members}
        self.by_stage: dict[str, _Tally] = {}
        self._queued: dict[str, float] = {}
        self._held: dict[str, tuple[str, float]] = {}

    def take(self, record: Record, counts: bool) -> None:
        """Take one record in; those before the report's start only say since when tasks wait."""
        at = seconds(record["ts"])
        if counts and record["op"] in SEND_OPS:
            self._count([record["by"]], None, "mails")
        for doc, paths in record["put"]:
            if paths and paths[0].startswith(f"{places.TASKS}/") and places.kind(paths[0]) == "task":
                self._task(record, doc, at, counts)

    def _task(self, record: Record, doc: Document, at: float, counts: bool) -> None:
        task, op, status = doc["task_id"], record["op"], doc["status"]
        who, since = self._held.pop(task, (doc["owner"] or record["by"], at))
        if op == "task.claim":
            who = doc["owner"] or record["by"]
            if counts:
                self._count([who], doc, "claimed")
                self._time(who, doc, "waiting", at - self._queued.pop(task, at))
            self._held[task] = (who, at)
            return
        if status in ("claimed", "running"):
            self._held[task] = (who, since)
            return
        if status == "queued":
            self._queued[task] = at
        if not counts or op in ("task.add", "task.import", "team.up"):
            return
        lost = op in ("task.expire", "agent.end", "agent.dead")
        owner = doc["owner"] if op in ("task.approve", "task.reject") and doc["owner"] else who
        self._time(who, doc, "working", at - since)
        if lost:
            self._count([owner], doc, "conflicts")
            self._count([owner], doc, "dead" if status == "deadletter" else "retried")
        elif op in COUNTED:
            self._count([owner], doc, COUNTED[op])

    def _stage(self, doc: Document) -> _Tally:
        return self.by_stage.setdefault(doc["stage"] or "(no stage)", _Tally())

    def _count(self, who: list[str], doc: Document | None, what: str) -> None:
        mine = [name for name in who if name in self.by_member]
        for name in mine:
            self.by_member[name].counts[what] += 1
        if mine and doc is not None:
            self._stage(doc).counts[what] += 1

    def _time(self, who: str, doc: Document, what: str, passed: float) -> None:
        if who in self.by_member and passed > 0:
            for tally in (self.by_member[who], self._stage(doc)):
                setattr(tally, what, getattr(tally, what) + passed)


def report(store: OpenStore, team: Document, since: int | None = None) -> dict[str, Any]:
    """What the members of ``team`` did since it was called together (or after the sequence ``since``)."""
    made = Report([row["name"] for row in team["members"] or []])
    begin, first, last = seconds(team["created_at"]), None, None
    for _, record in store.journal.records(Tail(0, 1, 0), store.end()):
        counts = record["seq"] > since if since is not None else seconds(record["ts"]) >= begin
        made.take(record, counts)
        if counts:
            first, last = first or record["ts"], record["ts"]
    passed = seconds(last) - seconds(first) if first and last else 0.0
    return {
        "team": team["team"], "state": team["state"], "took": span(passed) if passed else "",
        "members": [{"member": name, **tally.row()} for name, tally in made.by_member.items()],
        "stages": [{"stage": name, **tally.row()} for name, tally in sorted(made.by_stage.items())],
    }  # fmt: skip
