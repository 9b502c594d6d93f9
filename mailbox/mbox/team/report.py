"""What a team did, from the journal alone: by member and by stage, counted and timed.

Times are wall times of records: *waiting* is from the moment a task was queued to its claim, *working* from the claim to
whatever ended that hold (done, submitted, failed, released, lost).  *conflicts* are holds that were lost: a lease that
ran out, or a holder that was gone.  Rows are sums over the records since the team was called together (the record
``team.up`` that began it, found by its number: clocks may be set back), or since another place.  Of what happened before
that place only the beginning of tasks is known: they wait since they were made, or since the start where they had been
claimed before.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mbox.report import history
from mbox.format import places
from mbox.format.documents import Document
from mbox.report.history import Filter
from mbox.system.host import seconds
from mbox.index.updates import SEND_OPS
from mbox.journal.segments import Record
from mbox.reservations.reserving import span

if TYPE_CHECKING:
    from mbox.opening import OpenStore

COUNTED = {
    "task.claim": "claimed", "task.done": "done", "task.approve": "done", "task.submit": "submitted",
    "task.fail": "failed", "task.release": "released", "task.reject": "rejected",
}  # fmt: skip
"""Operations that count as what, for the member who made them or whose task it was."""


LOST = ("task.expire", "agent.end", "agent.dead")
"""Operations by which a holder loses a task."""

ENDS = ("task.done", "task.submit", "task.fail", "task.release")
"""Operations by which a holder ends its hold."""


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
        self._start = 0.0

    def take(self, record: Record) -> None:
        """Take the next record in."""
        at = seconds(record["ts"])
        self._start = self._start or at
        if record["op"] in SEND_OPS:
            self._count([record["by"]], None, "mails")
        for doc, paths in record["put"]:
            if paths and paths[0].startswith(f"{places.TASKS}/") and places.kind(paths[0]) == "task":
                self._task(record, doc, at)

    def _task(self, record: Record, doc: Document, at: float) -> None:
        task, op, status = doc["task_id"], record["op"], doc["status"]
        held = self._held.pop(task, None)
        lost = op in LOST and status != "review"
        who, since = held or (doc["owner"] or record["by"], self._start if lost or op in ENDS else at)
        if op == "task.claim":
            who = doc["owner"] or record["by"]
            made = self._start if doc["attempt_count"] or doc["round"] > 1 else seconds(doc["created_at"])
            self._count([who], doc, "claimed")
            self._time(who, doc, "waiting", at - self._queued.pop(task, made))
            self._held[task] = (who, at)
            return
        if status in ("claimed", "running"):
            self._held[task] = held or (who, self._start)
            return
        if status == "queued":
            self._queued.setdefault(task, at)
        if op in ("task.add", "task.import", "team.up", "task.update"):
            return
        if status != "queued":
            self._queued.pop(task, None)
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


def report(store: OpenStore, team: Document, since: Filter | None = None) -> dict[str, Any]:
    """What the members of ``team`` did since it was called together, or from where ``since`` begins."""
    made = Report([row["name"] for row in team["members"] or []])
    records, _ = history.newest(store, since or Filter(since_seq=_began(store, team)), 0)
    for record in records:
        made.take(record)
    passed = seconds(records[-1]["ts"]) - seconds(records[0]["ts"]) if records else 0.0
    return {
        "team": team["team"], "state": team["state"], "took": span(passed) if passed > 0 else "",
        "members": [{"member": name, **tally.row()} for name, tally in made.by_member.items()],
        "stages": [{"stage": name, **tally.row()} for name, tally in sorted(made.by_stage.items())],
    }  # fmt: skip


def _began(store: OpenStore, team: Document) -> int:
    """The number before that of the record which called the team together; 0 if it is not in the journal."""
    wanted = Filter(task=team["team"], op="team.up")
    for segment, offset, line in store.journal.backwards(store.end()):
        if wanted.may_want(line):
            record = store.journal.decoded(segment, offset, line)
            if wanted.wants(record) and record["ts"] == team["created_at"]:
                return int(record["seq"]) - 1
    return 0
