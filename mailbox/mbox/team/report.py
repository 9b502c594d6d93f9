"""What a team did, from the journal alone: by member and by stage, counted and timed.

Times are wall times of records: *waiting* is from the moment a task was ready (queued, not on hold, the last of its
dependencies done) to its claim, *working* from the claim to whatever ended that hold (done, submitted, failed, released,
lost).  *conflicts* are holds that were lost: a lease that ran out, or a holder that was gone.  What a reviewer decides
counts for both: the author has it as *approved* or *rejected*, the reviewer as *approvals* or *rejections*.  Not looked at
is who could have claimed a task, and what was reserved meanwhile.

Rows are sums (`SUMS` says of what) over the records since the team was called together (the record ``team.up`` that began
it, found by its number: clocks may be set back), or since another place.  Of what happened before that place only the
beginning of tasks is known: they wait since they were made, or since the start where they had been claimed before; when a
dependency was done its document says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mbox.format import operations, places
from mbox.format.documents import ACTIVE, Document
from mbox.journal.record import Record
from mbox.report import history
from mbox.report.history import RecordFilter
from mbox.system.clock import seconds, span

if TYPE_CHECKING:
    from mbox.store.store import Store

COUNTED = {
    operations.TASK_CLAIM: "claimed",
    operations.TASK_SUBMIT: "submitted",
    operations.TASK_DONE: "done",
    operations.TASK_APPROVE: "done",
    operations.TASK_FAIL: "failed",
    operations.TASK_RELEASE: "released",
}
"""Operations that count as what, for the member who made them or whose task it was."""


BOTH = {
    operations.TASK_APPROVE: ("approved", "approvals"),
    operations.TASK_REJECT: ("rejected", "rejections"),
}
"""What a reviewer's verb counts as for the author, and for the reviewer."""

SUMS = {
    "claimed": "tasks taken",
    "submitted": "tasks handed in for review",
    "done": "tasks of the member's that were finished, by itself or by an approval",
    "approved": "reviews of the member's tasks that accepted",
    "rejected": "reviews of the member's tasks that sent them back",
    "approvals": "tasks of others that the member accepted",
    "rejections": "tasks of others that the member sent back",
    "failed": "tasks given up with a reason",
    "released": "tasks put back in the queue",
    "retried": "tasks that went back to the queue because they were lost",
    "dead": "tasks that were lost for the last time",
    "conflicts": "tasks that were lost: the lease ran out, or the holder was gone",
    "mails": "messages sent",
    "waiting": "the time from ready to claimed, of each claim",
    "working": "the time from claimed to handed in, finished, given up or lost, of each claim",
}
"""What each number of a row is a sum of."""

COUNTS = tuple(SUMS)[:-2]
"""Those that count, in the order in which they are told."""

LOST = (operations.TASK_EXPIRE, operations.AGENT_END, operations.AGENT_DEAD)
"""Operations by which a holder loses a task."""

ENDS = (operations.TASK_DONE, operations.TASK_SUBMIT, operations.TASK_FAIL, operations.TASK_RELEASE)
"""Operations by which a holder ends its hold."""


class _Tally:
    """Sums of one member or one stage."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.waiting = 0.0
        self.working = 0.0

    def row(self) -> dict[str, Any]:
        """For people: what is zero is left out."""
        row: dict[str, Any] = {name: self.counts[name] for name in COUNTS if self.counts[name]}
        if self.waiting:
            row["waiting"] = span(self.waiting)
        if self.working:
            row["working"] = span(self.working)
        return row


class Report:
    """Reads records in order; `doc` says what they amount to."""

    def __init__(self, members: list[str], finished: Callable[[str], float]) -> None:
        """``finished``: when a task was done that was done before the first record; 0 if it was not."""
        self._finished = finished
        self._done: dict[str, float] = {}
        self._on_hold: set[str] = set()
        self.by_member: dict[str, _Tally] = {name: _Tally() for name in members}
        self.by_stage: dict[str, _Tally] = {}
        self._queued: dict[str, float] = {}
        self._held: dict[str, tuple[str, float]] = {}
        self._start = 0.0

    def take(self, record: Record) -> None:
        """Take the next record in."""
        at = seconds(record["ts"])
        self._start = self._start or at
        if record["op"] in operations.SENDING:
            self._count([record["by"]], None, "mails")
        for doc, paths in record["put"]:
            if paths and paths[0].startswith(f"{places.TASKS}/") and places.kind(paths[0]) == "task":
                self._task(record, doc, at)

    def _task(self, record: Record, doc: Document, at: float) -> None:
        task, op, status = doc["task_id"], record["op"], doc["status"]
        held = self._held.pop(task, None)
        lost = op in LOST and status != "review"
        who, since = held or (doc["owner"] or record["by"], self._start if lost or op in ENDS else at)
        self._note_readiness(doc, at)
        if op == operations.TASK_CLAIM:
            who = doc["owner"] or record["by"]
            made = self._start if doc["attempt_count"] or doc["round"] > 1 else seconds(doc["created_at"])
            self._count([who], doc, "claimed")
            self._time(who, doc, "waiting", at - max(self._queued.pop(task, made), self._freed(doc)))
            self._held[task] = (who, at)
            return
        if status in ACTIVE:
            self._held[task] = held or (who, self._start)
            return
        if status == "queued":
            self._queued.setdefault(task, at)
        if op in (operations.TASK_ADD, operations.TASK_IMPORT, operations.TEAM_UP, operations.TASK_UPDATE):
            return
        if status != "queued":
            self._queued.pop(task, None)
        owner = _author(record, doc) or who if op in operations.BY_REVIEWER else who
        self._time(who, doc, "working", at - since)
        if op in BOTH:
            for name, what, stage in ((owner, BOTH[op][0], doc), (record["by"], BOTH[op][1], None)):
                self._count([name], stage, what)
        if lost:
            self._count([owner], doc, "conflicts")
            self._count([owner], doc, "dead" if status == "deadletter" else "retried")
        elif op in COUNTED:
            self._count([owner], doc, COUNTED[op])

    def _note_readiness(self, doc: Document, at: float) -> None:
        """Remember when the task was done, and begin its wait anew where it is no longer on hold."""
        task = doc["task_id"]
        if doc["status"] == "done":
            self._done[task] = at
        else:
            self._done.pop(task, None)
        if doc["hold"]:
            self._on_hold.add(task)
        elif task in self._on_hold:
            self._on_hold.discard(task)
            if doc["status"] == "queued":
                self._queued[task] = at

    def _freed(self, doc: Document) -> float:
        """When the last dependency of a task was done."""
        return max((self._done.get(dep) or self._finished(dep) for dep in doc["depends_on"]), default=0.0)

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


def _author(record: Record, doc: Document) -> str:
    """Whose task was reviewed: its owner, or, where it has none any more, who is told of the rejection in the same record."""
    told = (message["to"][0] for message, _ in record["put"] if message.get("type") == "review_result")
    return str(doc["owner"] or next(told, ""))


def report(store: Store, team: Document, since: RecordFilter | None = None) -> dict[str, Any]:
    """What the members of ``team`` did since it was called together, or from where ``since`` begins."""

    def finished(task: str) -> float:
        doc = store.glance(places.task(task))
        return seconds(doc["finished_at"]) if doc and doc["status"] == "done" and doc["finished_at"] else 0.0

    made = Report([row["name"] for row in team["members"] or []], finished)
    records, _ = history.newest(store, since or RecordFilter(since_seq=_began(store, team)), 0)
    for record in records:
        made.take(record)
    passed = seconds(records[-1]["ts"]) - seconds(records[0]["ts"]) if records else 0.0
    members = [{"member": name, **tally.row()} for name, tally in made.by_member.items()]
    return {
        "team": team["team"], "state": team["state"], "took": span(passed) if passed > 0 else "",
        "members": members,
        "stages": [{"stage": name, **tally.row()} for name, tally in sorted(made.by_stage.items())],
        "sums": [f"{name}: {what}" for name, what in SUMS.items() if any(name in row for row in members)],
    }  # fmt: skip


def _began(store: Store, team: Document) -> int:
    """The number before that of the record which called the team together; 0 if it is not in the journal."""
    wanted = RecordFilter(task=team["team"], op=operations.TEAM_UP)
    for segment, offset, line in store.journal.backwards(store.end()):
        if wanted.may_want(line):
            record = store.journal.decoded(segment, offset, line)
            if wanted.wants(record) and record["ts"] == team["created_at"]:
                return int(record["seq"]) - 1
    return 0
