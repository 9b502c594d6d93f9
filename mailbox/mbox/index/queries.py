"""The rebuildable index that deciders use under the lock: what would otherwise need a walk over many documents.

Promised: caught up (`indexing.bring`), it says what the journal says up to ``seq``; it is thrown away and built again
missing, damaged, of another store or of another machine's life.  Not promised: that it is right.  Whoever takes a
decision from it checks the document; a wrong row costs time, never truth.

A record that only delivers mail (`can_wait`) is not taken in when it is made, but with the next that is not, when a
question is asked, or when `LAG` numbers are missing, whichever comes first: a send opens no database.  The store's
mark says how far the index is, and until when nothing runs out and nothing is to be renewed, so that nobody has to ask.

It is one SQLite file in ``cache/``, written only under the store's lock, after the documents were published.  A
process killed between its commit and the mark leaves it ahead of the mark by the record that recovery applies again;
applying a record twice changes nothing.  ``synchronous`` is off: after a machine's death it is not believed.

`tables` is its file, `updates` what a record changes in it; here are the questions, and the little that is noted in it
without a record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from mbox.format import operations, places
from mbox.format.documents import ACTIVE, FINAL
from mbox.format.lease import Lease
from mbox.system.host import Host

from .answers import Damaged, Held, Key, Walk
from .tables import Tables
from .updates import Updates, clipped

if TYPE_CHECKING:
    from mbox.system.disk import Owner

__all__ = ["NEVER", "Damaged", "Held", "Index", "Key"]

NEWEST = (1 << 63) - 1
"""An incarnation that none comes after."""

CLASSES = 256
"""Kinds of ready tasks that are asked one by one; where there are more, all ready tasks are walked over."""

ROW = 256
"""Bytes that a row that is walked over counts as, beside the words in it."""

NEVER = 1e300
"""A time that does not come."""

_ACTIVE = "status IN ({})".format(", ".join(map(repr, ACTIVE)))
_READY = "status = 'queued' AND held = 0 AND waiting = 0 AND parked IS NULL"


class Index:
    """What deciders ask, under the lock, of an index that was caught up.  ``prefix``: as in `Updates`; ``owner``: `Tables`."""

    __slots__ = ("_host", "_prefix", "tables", "updates")

    def __init__(self, path: str, host: Host, prefix: Callable[[str], str], owner: Owner | None = None) -> None:
        self.tables = Tables(path, owner)
        self.updates = Updates(self.tables, host, prefix)
        self._host = host
        self._prefix = prefix

    @property
    def seq(self) -> int:
        """The number of the record up to which it follows the journal; -1 where it is not open."""
        return self.tables.seq

    def close(self) -> None:
        """Close the file; the next one who needs it opens it again."""
        self.updates.close()

    def forget(self) -> None:
        """Let go of a file that a fork has copied, without closing it."""
        self.updates.forget()

    def standing(self, path: str) -> tuple[int, str] | None:
        """The record that put what stands at ``path``, and the file that it wrote, if that is known; None: there is nothing."""
        row: tuple[int, str] | None = self.tables.one("SELECT seq, file FROM document WHERE path = ?", path)
        return row

    def standing_in(self, folder: str) -> dict[str, tuple[int, str]]:
        """The same of every document right in ``folder``."""
        low, high = f"{folder}/", f"{folder}0"
        rows = self.tables.rows("SELECT path, seq, file FROM document WHERE path > ? AND path < ?", low, high)
        return {path: (seq, file) for path, seq, file in rows if "/" not in path[len(low) :]}

    def is_file(self, path: str, file: str | None) -> None:
        """Note that ``file`` was looked at and is what the journal says stands at ``path``; None: that is not known."""
        self.tables.do("UPDATE document SET file = ? WHERE path = ?", file, path)

    def with_mail(self) -> list[str]:
        """Every agent in whose inbox something stands."""
        low, high = f"{places.INBOX}/", f"{places.INBOX}0"
        read = self.tables.rows("SELECT path FROM document WHERE path > ? AND path < ?", low, high)
        unread = self.tables.rows("SELECT DISTINCT agent FROM inbox")
        return sorted({row[0] for row in unread} | {row[0].split("/")[2] for row in read})

    def agents(self, team: str | None = None, role: str | None = None) -> list[str]:
        """Names of the agents that are not retired (of ``team``, with ``role``), sorted."""
        sql = "SELECT name FROM agent WHERE team = coalesce(?, team) AND role = coalesce(?, role) ORDER BY name"
        return [row[0] for row in self.tables.rows(sql, team, role)]

    def next_message(self, agent: str, skip: int = 0) -> str | None:
        """The id of the unread message of ``agent`` that is next by priority, then number."""
        row = self.tables.one("SELECT num FROM inbox WHERE agent = ? ORDER BY rank, num LIMIT 1 OFFSET ?", agent, skip)
        return f"m{row[0]}" if row else None

    def unread(self, agent: str, most: int) -> list[str]:
        """The ids of up to ``most`` (0: all) unread messages of ``agent``, by priority, then number."""
        sql = "SELECT num FROM inbox WHERE agent = ? ORDER BY rank, num LIMIT ?"
        return [f"m{row[0]}" for row in self.tables.rows(sql, agent, most or -1)]

    def expires(self, path: str, at: str) -> None:
        """Note again when the unread message at ``path`` expires: the clock on the wall says that it is not yet."""
        self.updates.deliver_until(path, at)

    def forget_message(self, agent: str, msg_id: str) -> None:
        """Drop a row whose document is not there."""
        self.updates.delete(places.new(agent, msg_id))

    def candidates(self, capabilities: Iterable[str], stage: str | None, label: str | None, agent: str,
                   walk: Walk | None = None) -> Iterator[str]:  # fmt: skip
        """Ids of queued tasks that ``agent`` could take, by urgency, then age; lazily, so that few are looked at.

        Tasks parked under a reservation are left out, but for those under the agent's own.  Where the words of a task are
        more, or longer, than they may be, those that stand here do not decide: the document does.  Where all that is ready is
        walked over, that goes on where ``walk`` is, with an empty id now and then.
        """
        import heapq

        able, walk = set(map(clipped, capabilities)), walk or Walk()
        classes = list(islice(self._classes(), CLASSES + 1))
        if len(classes) > CLASSES:
            cursors = [self._walked(able, stage, label, walk)]
        else:
            fit = [found for found in classes if stage in (None, found[0]) and able.issuperset(found[2])]
            cursors = [self._queue(_READY + " AND stage = ? AND requires = ?", label, one[0], one[1]) for one in fit]
        own = "SELECT DISTINCT rid FROM pattern WHERE agent = ? AND EXISTS (SELECT 1 FROM task WHERE parked = rid)"
        for (rid,) in self.tables.rows(own, agent):
            cursors.append(self._parked(rid, able, stage, label))
        last = None
        for row in heapq.merge(*cursors):
            walk.after = row[:2]
            if not row[2] or row[2] != last:
                last = row[2]
                yield last

    def _classes(self) -> Iterator[tuple[str, str, list[str]]]:
        """The distinct (stage, requires) among ready tasks, an index seek or two each.

        Not by one comparison of row values: SQLite seeks to the first row of the class and then walks over all of it.
        """
        find = f"SELECT stage, requires FROM task WHERE {_READY} "
        row = self.tables.one(find + "ORDER BY stage, requires LIMIT 1")
        while row:
            yield row[0], row[1], json.loads(row[1])
            in_stage = find + "AND stage = ? AND requires > ? ORDER BY requires LIMIT 1"
            after = find + "AND stage > ? ORDER BY stage, requires LIMIT 1"
            row = self.tables.one(in_stage, *row) or self.tables.one(after, row[0])

    def _walked(self, able: set[str], stage: str | None, label: str | None, walk: Walk) -> Iterator[tuple[int, str, str]]:
        """What is ready and can be taken by who is ``able``, found by walking over all that is ready.

        A row without an id is a pause: nothing was found so far.
        """
        for urgency, age, ident, requires, at in self._in_order(walk.after):
            is_pause = walk.step(len(requires) + ROW)
            if stage in (None, at) and able.issuperset(json.loads(requires)) and (label is None or self._bears(ident, label)):
                yield urgency, age, ident
            elif is_pause:
                yield urgency, age, ""

    def _in_order(self, after: tuple[int, str] | None) -> Iterator[tuple[int, str, str, str, str]]:
        """All that is ready, by urgency, then age, from the place ``after`` on.

        Not by one comparison of row values, which would be no seek.
        """
        sql = f"SELECT -urgency, age, id, requires, stage FROM task INDEXED BY in_order WHERE {_READY}{{}} " \
               "ORDER BY urgency DESC, age, id"
        if after is None:
            yield from self.tables.each(sql.format(""))
            return
        yield from self.tables.each(sql.format(" AND urgency = ? AND age >= ?"), -after[0], after[1])
        yield from self.tables.each(sql.format(" AND urgency < ?"), -after[0])

    def _bears(self, task_id: str, label: str) -> bool:
        return self.tables.one("SELECT 1 FROM label WHERE task = ? AND label = ?", task_id, label) is not None

    def _queue(self, where: str, label: str | None, *values: Any) -> Iterator[tuple[int, str, str]]:
        if label is not None:
            where += " AND EXISTS (SELECT 1 FROM label WHERE label.task = task.id AND label.label = ?)"
            values = (*values, label)
        sql = f"SELECT -urgency, age, id FROM task WHERE {where} ORDER BY urgency DESC, age, id LIMIT ? OFFSET ?"
        size, skip = 4, 0
        while rows := self.tables.rows(sql, *values, size, skip):
            yield from rows
            skip += len(rows)
            size = 256

    def _parked(self, rid: str, able: set[str], stage: str | None, label: str | None) -> Iterator[tuple[int, str, str]]:
        sql = "SELECT requires, stage FROM task WHERE id = ?"
        for row in self._queue("parked = ? AND status = 'queued' AND held = 0 AND waiting = 0", label, rid):
            requires, at = self.tables.one(sql, row[2])
            if stage in (None, at) and able.issuperset(json.loads(requires)):
                yield row

    def park(self, parked: list[tuple[str, str]]) -> None:
        """Remember ``(task, reservation)`` pairs: these tasks cannot be claimed while the reservation stands."""
        import sqlite3

        try:
            self.tables.sql.execute("BEGIN IMMEDIATE")
            self.tables.sql.executemany(
                "UPDATE task SET parked = ? WHERE id = ?", [(rid, task) for task, rid in parked]
            )
            self.tables.sql.execute("COMMIT")
        except sqlite3.Error as error:
            raise Damaged(str(error)) from error

    def open_counts(self) -> tuple[int, int]:
        """Number of tasks in work (claimed, running, review), and number queued."""
        active = "SELECT count(*) FROM task WHERE status IN ('claimed', 'running', 'review')"
        return self.tables.one(active)[0], self.tables.one("SELECT count(*) FROM task WHERE status = 'queued'")[0]

    def dependencies(self, task_id: str) -> list[str]:
        return [row[0] for row in self.tables.rows("SELECT dep FROM dep WHERE task = ? ORDER BY dep", task_id)]

    def dependents(self, task_id: str) -> list[str]:
        """Tasks that depend on ``task_id``."""
        return self.updates.dependents(task_id)

    def urgency(self, task_id: str) -> int:
        """How urgent a task is: its priority, or that of what waits for it, if that is higher."""
        row = self.tables.one("SELECT urgency FROM task WHERE id = ?", task_id)
        return int(row[0]) if row else 0

    def unmet(self, task_id: str) -> list[tuple[str, str | None]]:
        """What a task depends on that is not done, each with its status, None for one that is gone; by id."""
        sql = (
            "SELECT dep.dep, d.status FROM dep LEFT JOIN task d ON d.id = dep.dep "
            "WHERE dep.task = ? AND d.status IS NOT 'done' ORDER BY dep.dep"
        )
        return self.tables.rows(sql, task_id)

    def open_dependents(self, task_id: str) -> list[str]:
        """Those of them that are not final."""
        finals = ", ".join("?" * len(FINAL))
        sql = f"SELECT task FROM dep JOIN task ON task.id = dep.task WHERE dep = ? AND status NOT IN ({finals}) ORDER BY task"
        return [row[0] for row in self.tables.rows(sql, task_id, *sorted(FINAL))]

    def count_dependents(self, task_id: str) -> int:
        """How many there are."""
        found: int = self.tables.one("SELECT count(*) FROM dep WHERE dep = ?", task_id)[0]
        return found

    def freed_by(self, task_id: str) -> list[str]:
        """Tasks that wait for ``task_id`` alone, oldest first: what its end makes ready."""
        sql = (
            "SELECT id FROM dep JOIN task ON task.id = dep.task WHERE dep.dep = ? AND status = 'queued' "
            "AND held = 0 AND waiting = 1 ORDER BY age, id"
        )
        return [row[0] for row in self.tables.rows(sql, task_id)]

    def in_review(self, agent: str) -> Iterator[str]:
        """Ids of tasks in review that ``agent`` neither did nor sees under another's lease, by urgency, then age."""
        sql = (
            "SELECT id FROM task WHERE status = 'review' AND owner IS NOT ? AND NOT EXISTS (SELECT 1 FROM lease "
            "WHERE path = ? || task.id || '@review.json' AND holder != ?) ORDER BY urgency DESC, age, id"
        )
        return (row[0] for row in self.tables.rows(sql, agent, f"{places.TASK_LEASES}/", agent))

    def active_tasks(self, owner: str, incarnation: int = NEWEST) -> list[str]:
        """Tasks that ``owner`` claimed or runs, in ``incarnation`` or an older one, by id."""
        sql = (
            f"SELECT id FROM task LEFT JOIN lease ON path = ? || id || '.json' WHERE owner = ? AND {_ACTIVE} "
            "AND coalesce(lease.incarnation, 0) <= ? ORDER BY id"
        )
        return [row[0] for row in self.tables.rows(sql, f"{places.TASK_LEASES}/", owner, incarnation)]

    def tasks_where(self, owner: str | None = None, stage: str | None = None, label: str | None = None,
                    states: Sequence[str] | None = None) -> list[str]:  # fmt: skip
        """Ids of tasks in ``states`` (None: not final), filtered, by priority, then age."""
        where, values = ["1"], []
        for column, value in (("owner", owner), ("stage", stage)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if label is not None:
            where.append("EXISTS (SELECT 1 FROM label WHERE label.task = task.id AND label.label = ?)")
            values.append(label)
        among = sorted(FINAL) if states is None else states
        where.append(f"status {'NOT ' if states is None else ''}IN ({', '.join('?' * len(among))})")
        values.extend(among)
        sql = f"SELECT id FROM task WHERE {' AND '.join(where)} ORDER BY priority DESC, age, id"
        return [row[0] for row in self.tables.rows(sql, *values)]

    def near(self, pattern: str, agent: str, others: bool = True, shared: bool = True) -> Iterator[Held]:
        """Every pattern of ``agent``, or of all ``others``, whose literal prefix is above, at or below that of ``pattern``.

        Lazily, for there may be very many, in an order that depends on nothing but them.  Not ``shared``: exclusive ones.
        """
        sql = "SELECT rid, agent, shared, task, pattern FROM pattern WHERE agent {} ? AND shared <= ? AND {} ORDER BY {}rid, n"
        is_wanted, values = "!=" if others else "=", (agent, shared)
        prefix = self._prefix(pattern)
        if not prefix:
            yield from self._held(sql.format(is_wanted, "1", ""), *values)
            return
        parts = prefix.split("/")
        above = ["", *("/".join(parts[:n]) for n in range(1, len(parts) + 1))]
        one_of = f"prefix IN ({', '.join('?' * len(above))})"
        yield from self._held(sql.format(is_wanted, one_of, "prefix, "), *values, *above)
        yield from self._held(
            sql.format(is_wanted, "prefix > ? AND prefix < ?", "prefix, "), *values, prefix + "/", prefix + "0"
        )

    def _held(self, sql: str, *values: Any) -> Iterator[Held]:
        return (Held(*row) for row in self.tables.each(sql, *values))

    def reservations_of(self, agent: str | None = None, task: str | None = None) -> list[str]:
        """Ids of the reservations of an agent, or tied to a task, by number."""
        column, value = ("agent", agent) if task is None else ("task", task)
        rows = self.tables.rows(f"SELECT DISTINCT rid FROM pattern WHERE {column} = ?", value)
        return sorted((row[0] for row in rows), key=places.number)

    def count_held(self, agent: str) -> tuple[int, int]:
        """How many patterns the reservations of an agent have, and how many reservations those are."""
        found: tuple[int, int] = self.tables.one("SELECT count(*), count(DISTINCT rid) FROM pattern WHERE agent = ?", agent)
        return found

    def count_tied(self, task_id: str) -> int:
        """How many reservations are tied to a task."""
        found: int = self.tables.one("SELECT count(DISTINCT rid) FROM pattern WHERE task = ?", task_id)[0]
        return found

    def due(self, limit: int) -> list[str]:
        """Paths of leases, and of unread mail with a time to live, whose time may have run out, oldest first.

        The lease file, or the message, decides.
        """
        sql = "SELECT path FROM lease WHERE until <= ? ORDER BY until LIMIT ?"
        return [row[0] for row in self.tables.rows(sql, self._host.mono(), limit)]

    def postpone(self, path: str, seconds_: float) -> None:
        """Let ``path`` be due ``seconds_`` from now."""
        self.tables.do("UPDATE lease SET until = ? WHERE path = ?", self._host.mono() + seconds_, path)

    def next_due(self) -> float | None:
        """CLOCK_MONOTONIC at which the next lease or message may run out; None if there is none."""
        found: float | None = self.tables.one("SELECT min(until) FROM lease")[0]
        return found

    def bounds(self) -> tuple[float, float]:
        """For the mark: CLOCK_MONOTONIC of `next_due`, and of the next renewal of anybody's lease; `NEVER` for none."""
        due, renew = self.next_due(), self.tables.one("SELECT min(renew_at) FROM lease WHERE holder > ''")[0]
        return NEVER if due is None else due, NEVER if renew is None else renew

    def renewable(self, holder: str, incarnation: int, limit: int) -> list[str]:
        """Paths of leases of ``holder`` that have used a third of their time."""
        sql = "SELECT path FROM lease WHERE holder = ? AND renew_at <= ? AND incarnation = ? LIMIT ?"
        return [row[0] for row in self.tables.rows(sql, holder, self._host.mono(), incarnation, limit)]

    def leases_of(self, holder: str, incarnation: int) -> list[str]:
        """Paths of every lease of ``holder``, in ``incarnation`` or an older one."""
        sql = "SELECT path FROM lease WHERE holder = ? AND incarnation <= ? ORDER BY path"
        return [row[0] for row in self.tables.rows(sql, holder, incarnation)]

    def renewed(self, path: str, lease: Lease) -> tuple[float, float]:
        """Note a renewal, which no record carries: `State.note_lease`.  When it runs out, and is to be renewed."""
        return self.updates.grant(path, lease.doc())

    def forget_lease(self, path: str) -> None:
        self.tables.do("DELETE FROM lease WHERE path = ?", path)

    def key(self, agent: str, key: str, newer_than: float) -> Key | None:
        """What ``agent`` made with ``key`` after the wall time ``newer_than``."""
        row = self.tables.one("SELECT print, id, seq, at FROM key WHERE agent = ? AND key = ?", agent, key)
        return Key(*row[:3]) if row and row[3] >= newer_than else None

    def made(self, task: str, agent: str, incarnation: int, token: int | None, op: str) -> bool:
        """Whether ``agent`` has made ``op`` under its lease on ``task`` with ``token`` (None: its latest)."""
        which = "" if token is None else "AND token = ?"
        values = () if token is None else (token,)
        row = self.tables.one(
            f"SELECT made FROM holding WHERE task = ? AND agent = ? AND review = ? AND incarnation = ? {which} "
            "ORDER BY token DESC LIMIT 1", task, agent, op in operations.BY_REVIEWER, incarnation, *values,
        )  # fmt: skip
        return row is not None and op in row[0].split()

    def held_before(self, task: str, agent: str, token: int) -> bool:
        """Whether ``agent`` had ``task`` under an earlier token than ``token``."""
        sql = "SELECT 1 FROM holding WHERE task = ? AND agent = ? AND review = 0 AND token < ? LIMIT 1"
        return self.tables.one(sql, task, agent, token) is not None

    def rate(self, agent: str, wall: float) -> float:
        """Messages that ``agent`` sent in the last 60 seconds, by a sliding window of two minutes' counts."""
        row = self.tables.one("SELECT minute, count, before FROM rate WHERE agent = ?", agent)
        if row is None:
            return 0.0
        minute, count, before = row
        now, into = int(wall // 60), (wall % 60) / 60
        if now == minute:
            return float(count + before * (1 - into))
        return float(count * (1 - into)) if now == minute + 1 else 0.0
