"""The rebuildable index that deciders use under the lock: what would otherwise need a walk over many documents.

Promised: caught up (`indexing.bring_index`), it says what the journal says up to ``seq``; it is thrown away and built again
missing, damaged, of another store or of another machine's life.  Not promised: that it is right.  Whoever takes a
decision from it checks the document; a wrong row costs time, never truth.

A record that only delivers mail (`can_wait`) is not taken in when it is made, but with the next that is not, when a
question is asked, or when `LAG` numbers are missing, whichever comes first: a send opens no database.  The store's
mark says how far the index is, and until when nothing runs out and nothing is to be renewed, so that nobody has to ask.

It is one SQLite file in ``cache/``, written only under the store's lock, after the documents were published.  A
process killed between its commit and the mark leaves it ahead of the mark by the record that recovery applies again;
applying a record twice changes nothing.  ``synchronous`` is off: after a machine's death it is not believed.

`database` is its file and tables, `intake` what a record changes; here are the questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mbox.format import places
from mbox.index.tables import Damaged
from mbox.format.documents import FINAL
from mbox.index.updates import REVIEW_OPS, Intake
from mbox.format.lease import Lease

__all__ = ["NEVER", "Damaged", "Held", "Index", "Key"]

NEVER = 1e300
"""A time that does not come."""

_READY = "status = 'queued' AND held = 0 AND waiting = 0 AND parked IS NULL"


class Key(NamedTuple):
    """What a caller's key made: the fingerprint of its content, the id, and the record's sequence."""

    print: str
    id: str
    seq: int


class Held(NamedTuple):
    """One pattern of a reservation."""

    rid: str
    agent: str
    shared: bool
    task: str | None
    pattern: str


class Index(Intake):
    """What deciders ask, under the lock, of an index that was caught up."""

    __slots__ = ()

    def next_message(self, agent: str, skip: int = 0) -> str | None:
        """The id of the unread message of ``agent`` that is next by priority, then number."""
        row = self._one("SELECT num FROM inbox WHERE agent = ? ORDER BY rank, num LIMIT 1 OFFSET ?", agent, skip)
        return f"m{row[0]}" if row else None

    def unread(self, agent: str, most: int) -> list[str]:
        """The ids of up to ``most`` (0: all) unread messages of ``agent``, by priority, then number."""
        sql = "SELECT num FROM inbox WHERE agent = ? ORDER BY rank, num LIMIT ?"
        return [f"m{row[0]}" for row in self._rows(sql, agent, most or -1)]

    def expires(self, path: str, at: str) -> None:
        """Note again when the unread message at ``path`` expires: the clock on the wall says that it is not yet."""
        self._deliver_until(path, at)

    def forget_message(self, agent: str, msg_id: str) -> None:
        """Drop a row whose document is not there."""
        self._delete(places.new(agent, msg_id))

    def candidates(self, capabilities: Iterable[str], stage: str | None, label: str | None,
                   agent: str) -> Iterator[str]:  # fmt: skip
        """Ids of queued tasks that ``agent`` could take, by priority, then age; lazily, so that few are looked at.

        Tasks parked under a reservation are left out, but for those under the agent's own.
        """
        import heapq

        able = set(capabilities)
        classes = [found for found in self._classes() if stage in (None, found[0]) and able.issuperset(found[2])]
        cursors = [self._queue(_READY + " AND stage = ? AND requires = ?", label, c[0], c[1]) for c in classes]
        own = "SELECT DISTINCT rid FROM pattern WHERE agent = ? AND EXISTS (SELECT 1 FROM task WHERE parked = rid)"
        for (rid,) in self._rows(own, agent):
            cursors.append(self._parked(rid, able, stage, label))
        last = None
        for row in heapq.merge(*cursors):
            if row[2] != last:
                last = row[2]
                yield last

    def _classes(self) -> list[tuple[str, str, list[str]]]:
        """The distinct (stage, requires) among ready tasks, an index seek or two each.

        Not by one comparison of row values: SQLite seeks to the first row of the class and then walks over all of it.
        """
        find = f"SELECT stage, requires FROM task WHERE {_READY} "
        found: list[tuple[str, str, list[str]]] = []
        row = self._one(find + "ORDER BY stage, requires LIMIT 1")
        while row:
            found.append((row[0], row[1], json.loads(row[1])))
            row = self._one(find + "AND stage = ? AND requires > ? ORDER BY requires LIMIT 1", *row) or self._one(
                find + "AND stage > ? ORDER BY stage, requires LIMIT 1", row[0]
            )
        return found

    def _queue(self, where: str, label: str | None, *values: Any) -> Iterator[tuple[int, str, str]]:
        if label is not None:
            where += " AND EXISTS (SELECT 1 FROM label WHERE label.task = task.id AND label.label = ?)"
            values = (*values, label)
        sql = f"SELECT -priority, age, id FROM task WHERE {where} ORDER BY priority DESC, age, id LIMIT ? OFFSET ?"
        size, skip = 4, 0
        while rows := self._rows(sql, *values, size, skip):
            yield from rows
            skip += len(rows)
            size = 256

    def _parked(self, rid: str, able: set[str], stage: str | None, label: str | None) -> Iterator[tuple[int, str, str]]:
        sql = "SELECT requires, stage FROM task WHERE id = ?"
        for row in self._queue("parked = ? AND status = 'queued' AND held = 0 AND waiting = 0", label, rid):
            requires, at = self._one(sql, row[2])
            if stage in (None, at) and able.issuperset(json.loads(requires)):
                yield row

    def park(self, parked: list[tuple[str, str]]) -> None:
        """Remember ``(task, reservation)`` pairs: these tasks cannot be claimed while the reservation stands."""
        import sqlite3

        try:
            self._sql.execute("BEGIN IMMEDIATE")
            self._sql.executemany("UPDATE task SET parked = ? WHERE id = ?", [(rid, task) for task, rid in parked])
            self._sql.execute("COMMIT")
        except sqlite3.Error as error:
            raise Damaged(str(error)) from error

    def counts(self) -> dict[str, int]:
        """Number of tasks by status."""
        return dict(self._rows("SELECT status, count(*) FROM task GROUP BY status"))

    def open_counts(self) -> tuple[int, int]:
        """Number of tasks in work (claimed, running, review), and number queued."""
        active = "SELECT count(*) FROM task WHERE status IN ('claimed', 'running', 'review')"
        return self._one(active)[0], self._one("SELECT count(*) FROM task WHERE status = 'queued'")[0]

    def dependencies(self, task_id: str) -> list[str]:
        return [row[0] for row in self._rows("SELECT dep FROM dep WHERE task = ? ORDER BY dep", task_id)]

    def ready_among(self, tasks: list[str]) -> list[str]:
        """Those of ``tasks`` that are queued, not held, and wait for nothing."""
        sql = "SELECT id FROM task WHERE id = ? AND status = 'queued' AND held = 0 AND waiting = 0"
        return [task for task in tasks if self._one(sql, task)]

    def freed_by(self, task_id: str) -> list[str]:
        """Tasks that wait for ``task_id`` alone, oldest first: what its end makes ready."""
        sql = (
            "SELECT id FROM dep JOIN task ON task.id = dep.task WHERE dep.dep = ? AND status = 'queued' "
            "AND held = 0 AND waiting = 1 ORDER BY age, id"
        )
        return [row[0] for row in self._rows(sql, task_id)]

    def in_review(self, agent: str) -> Iterator[str]:
        """Ids of tasks in review that ``agent`` neither did nor sees under another's lease, by priority, then age."""
        sql = (
            "SELECT id FROM task WHERE status = 'review' AND owner IS NOT ? AND NOT EXISTS (SELECT 1 FROM lease "
            "WHERE path = ? || task.id || '@review.json' AND holder != ?) ORDER BY priority DESC, age, id"
        )
        return (row[0] for row in self._rows(sql, agent, f"{places.TASK_LEASES}/", agent))

    def active_tasks(self, owner: str | None = None) -> list[str]:
        """Tasks claimed or running (by ``owner``), by id."""
        if owner is None:
            rows = self._rows("SELECT id FROM task WHERE status IN ('claimed', 'running') ORDER BY id")
        else:
            sql = "SELECT id FROM task WHERE owner = ? AND status IN ('claimed', 'running') ORDER BY id"
            rows = self._rows(sql, owner)
        return [row[0] for row in rows]

    def tasks_where(self, owner: str | None = None, stage: str | None = None, label: str | None = None,
                    status: str | None = None) -> list[str]:  # fmt: skip
        """Ids of tasks that are not final (or of ``status``), filtered, oldest first."""
        where, values = ["1"], []
        for column, value in (("owner", owner), ("stage", stage), ("status", status)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if label is not None:
            where.append("EXISTS (SELECT 1 FROM label WHERE label.task = task.id AND label.label = ?)")
            values.append(label)
        if status is None:
            where.append(f"status NOT IN ({', '.join('?' * len(FINAL))})")
            values.extend(sorted(FINAL))
        rows = self._rows(f"SELECT id FROM task WHERE {' AND '.join(where)} ORDER BY age, id", *values)
        return [row[0] for row in rows]

    def near(self, pattern: str) -> list[Held]:
        """Every reserved pattern whose literal prefix is above, at or below that of ``pattern``."""
        columns = "SELECT rid, agent, shared, task, pattern FROM pattern"
        prefix = self._prefix(pattern)
        if not prefix:
            return [Held(*row) for row in self._rows(f"{columns} ORDER BY rid, n")]
        parts = prefix.split("/")
        above = ["", *("/".join(parts[:n]) for n in range(1, len(parts) + 1))]
        sql = f"{columns} WHERE prefix IN ({', '.join('?' * len(above))}) OR (prefix > ? AND prefix < ?)"
        return [Held(*row) for row in self._rows(sql, *above, prefix + "/", prefix + "0")]

    def reservations_of(self, agent: str | None = None, task: str | None = None) -> list[str]:
        """Ids of the reservations of an agent, or tied to a task, by number."""
        column, value = ("agent", agent) if task is None else ("task", task)
        rows = self._rows(f"SELECT DISTINCT rid FROM pattern WHERE {column} = ?", value)
        return sorted((row[0] for row in rows), key=places.number)

    def due(self, limit: int) -> list[str]:
        """Paths of leases, and of unread mail with a time to live, whose time may have run out, oldest first.

        The lease file, or the message, decides.
        """
        sql = "SELECT path FROM lease WHERE until <= ? ORDER BY until LIMIT ?"
        return [row[0] for row in self._rows(sql, self._host.mono(), limit)]

    def postpone(self, path: str, seconds_: float) -> None:
        """Let ``path`` be due ``seconds_`` from now."""
        self._do("UPDATE lease SET until = ? WHERE path = ?", self._host.mono() + seconds_, path)

    def next_due(self) -> float | None:
        """CLOCK_MONOTONIC at which the next lease or message may run out; None if there is none."""
        found: float | None = self._one("SELECT min(until) FROM lease")[0]
        return found

    def bounds(self) -> tuple[float, float]:
        """For the mark: CLOCK_MONOTONIC of `next_due`, and of the next renewal of anybody's lease; `NEVER` for none."""
        due, renew = self.next_due(), self._one("SELECT min(renew_at) FROM lease WHERE holder > ''")[0]
        return NEVER if due is None else due, NEVER if renew is None else renew

    def renewable(self, holder: str, incarnation: int, limit: int) -> list[str]:
        """Paths of leases of ``holder`` that have used a third of their time."""
        sql = "SELECT path FROM lease WHERE holder = ? AND renew_at <= ? AND incarnation = ? LIMIT ?"
        return [row[0] for row in self._rows(sql, holder, self._host.mono(), incarnation, limit)]

    def leases_of(self, holder: str) -> list[str]:
        """Paths of every lease of ``holder``."""
        return [row[0] for row in self._rows("SELECT path FROM lease WHERE holder = ? ORDER BY path", holder)]

    def renewed(self, path: str, lease: Lease) -> tuple[float, float]:
        """Note a renewal, which no record carries: `Store.note_lease`.  When it runs out, and is to be renewed."""
        return self._grant(path, lease.doc())

    def forget_lease(self, path: str) -> None:
        self._do("DELETE FROM lease WHERE path = ?", path)

    def key(self, agent: str, key: str, newer_than: float) -> Key | None:
        """What ``agent`` made with ``key`` after the wall time ``newer_than``."""
        row = self._one("SELECT print, id, seq, at FROM key WHERE agent = ? AND key = ?", agent, key)
        return Key(*row[:3]) if row and row[3] >= newer_than else None

    def made(self, task: str, agent: str, incarnation: int, token: int | None, op: str) -> bool:
        """Whether ``agent`` has made ``op`` under its lease on ``task`` with ``token`` (None: its latest)."""
        which = "" if token is None else "AND token = ?"
        values = () if token is None else (token,)
        row = self._one(
            f"SELECT made FROM holding WHERE task = ? AND agent = ? AND review = ? AND incarnation = ? {which} "
            "ORDER BY token DESC LIMIT 1", task, agent, op in REVIEW_OPS, incarnation, *values,
        )  # fmt: skip
        return row is not None and op in row[0].split()

    def held_before(self, task: str, agent: str, token: int) -> bool:
        """Whether ``agent`` had ``task`` under an earlier token than ``token``."""
        sql = "SELECT 1 FROM holding WHERE task = ? AND agent = ? AND review = 0 AND token < ? LIMIT 1"
        return self._one(sql, task, agent, token) is not None

    def rate(self, agent: str, wall: float) -> float:
        """Messages that ``agent`` sent in the last 60 seconds, by a sliding window of two minutes' counts."""
        row = self._one("SELECT minute, count, before FROM rate WHERE agent = ?", agent)
        if row is None:
            return 0.0
        minute, count, before = row
        now, into = int(wall // 60), (wall % 60) / 60
        if now == minute:
            return float(count + before * (1 - into))
        return float(count * (1 - into)) if now == minute + 1 else 0.0
