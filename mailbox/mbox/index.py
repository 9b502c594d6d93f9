"""The rebuildable index that deciders use under the lock: what would otherwise need a walk over many documents.

Promised: caught up (`recovery.bring_index`), it says what the journal says up to ``seq``; it is thrown away and built again
missing, damaged, of another store or of another machine's life.  Not promised: that it is right.  Whoever takes a
decision from it checks the document; a wrong row costs time, never truth.

A record that only delivers mail (`can_wait`) is not taken in when it is made, but with the next that is not, when a
question is asked, or when `LAG` numbers are missing, whichever comes first: a send opens no database.  The store's
mark says how far the index is, and until when nothing runs out and nothing is to be renewed, so that nobody has to ask.

It is one SQLite file in ``cache/``, written only under the store's lock, after the documents were published.  A
process killed between its commit and the mark leaves it ahead of the mark by the record that recovery applies again;
applying a record twice changes nothing.  ``synchronous`` is off: after a machine's death it is not believed.

| table | for |
|---|---|
| inbox | ``read --next``: what stands in each ``new/`` by priority and number |
| task, dep, label | ``claim``: what is queued, not held and waits for nothing, by class (stage, capabilities) |
| task.parked | the reservation that kept a task from being claimed, so that it is not looked at again while it stands |
| pattern | conflicts of reservations, by literal prefix |
| lease | what has run out (``due``), what is to be renewed (``renewable``) |
| holding | each lease on a task: who had it, under which token, what it was used for |
| key | idempotency keys |
| rate | messages sent, by sender and minute |
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from . import places
from .documents import FINAL, Document
from .host import Host, seconds
from .lease import Lease

if TYPE_CHECKING:
    import sqlite3  # imported where it is used: `inbox` and `reserve check` never do

VERSION = "4"
"""Of the tables; another one on disk is thrown away."""

SEND_OPS = ("mail.send", "mail.reply", "mail.ask", "mail.broadcast")
"""Operations that count against a sender's rate."""

LAG = 64
"""Numbers by which the index may be behind while all that it misses is mail that was delivered."""

NEVER = 1e300
"""A time that does not come."""

_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE inbox(agent TEXT, rank INT, num INT, PRIMARY KEY(agent, rank, num)) WITHOUT ROWID;
CREATE TABLE task(id TEXT PRIMARY KEY, age TEXT, status TEXT, held INT, stage TEXT, requires TEXT, priority INT,
    waiting INT, parked TEXT, owner TEXT) WITHOUT ROWID;
CREATE INDEX ready ON task(stage, requires, priority DESC, age, id)
    WHERE status = 'queued' AND held = 0 AND waiting = 0 AND parked IS NULL;
CREATE INDEX parked ON task(parked) WHERE parked IS NOT NULL;
CREATE INDEX owned ON task(owner) WHERE owner IS NOT NULL;
CREATE INDEX active ON task(status) WHERE status IN ('claimed', 'running', 'review');
CREATE TABLE dep(task TEXT, dep TEXT, PRIMARY KEY(task, dep)) WITHOUT ROWID;
CREATE INDEX dependents ON dep(dep);
CREATE TABLE label(task TEXT, label TEXT, PRIMARY KEY(task, label)) WITHOUT ROWID;
CREATE TABLE pattern(rid TEXT, n INT, agent TEXT, shared INT, task TEXT, prefix TEXT, pattern TEXT,
    PRIMARY KEY(rid, n)) WITHOUT ROWID;
CREATE INDEX by_prefix ON pattern(prefix);
CREATE INDEX by_agent ON pattern(agent);
CREATE INDEX by_task ON pattern(task) WHERE task IS NOT NULL;
CREATE TABLE lease(path TEXT PRIMARY KEY, holder TEXT, incarnation INT, until REAL, renew_at REAL) WITHOUT ROWID;
CREATE INDEX due ON lease(until);
CREATE INDEX renewable ON lease(holder, renew_at);
CREATE INDEX renewal ON lease(renew_at) WHERE holder > '';
CREATE TABLE holding(task TEXT, agent TEXT, review INT, token INT, incarnation INT, made TEXT,
    PRIMARY KEY(task, agent, review, token)) WITHOUT ROWID;
CREATE TABLE key(agent TEXT, key TEXT, print TEXT, id TEXT, seq INT, at REAL, PRIMARY KEY(agent, key)) WITHOUT ROWID;
CREATE TABLE rate(agent TEXT PRIMARY KEY, minute INT, count INT, before INT) WITHOUT ROWID;
"""

HELD_OPS = frozenset(
    f"task.{verb}" for verb in ("start", "submit", "done", "fail", "release", "approve", "reject")
)
"""Operations that the holder of a task's lease makes, and (`REVIEW_OPS`) its reviewer."""

REVIEW_OPS = frozenset(["task.approve", "task.reject"])

_LATER = frozenset((*SEND_OPS, "mail.refused", "store.segment", "store.checkpoint"))


def can_wait(record: Document) -> bool:
    """Whether the index may take a record in later: it brings mail or nothing; no lease, nothing that runs out."""
    if record["op"] not in _LATER or record["lease"] or record["mv"] or record["del"]:
        return False
    return not [doc for doc, _ in record["put"] if doc["expires_at"]]


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


class Damaged(Exception):
    """The index cannot be used; build it again."""


_UNFIT = (LookupError, TypeError, ValueError, OverflowError)
"""What a record or document raises whose fields are not what they should be: the index is worth no traceback."""

_COPIES: list[Any] = []
"""Connections of a parent process, kept so that nobody closes them."""


class Index:
    """The SQLite file at ``path`` (absolute).  ``prefix`` gives a pattern's literal prefix (`patterns`)."""

    __slots__ = ("_db", "_from", "_host", "_is", "_noted", "_prefix", "path", "seq")

    def __init__(self, path: str, host: Host, prefix: Callable[[str], str]) -> None:
        self.path = path
        self.seq = -1
        self._host = host
        self._prefix = prefix
        self._db: sqlite3.Connection | None = None
        self._from, self._noted = -1, list[Document]()
        self._is = (0, 0)

    # -- opening, catching up ------------------------------------------------------------------------------------

    def open(self, store: str, machine: str) -> bool:
        """Open what is there; False if it is missing, damaged, or of another store, version or machine."""
        import sqlite3

        try:
            if self._db is None:
                self._db = sqlite3.connect(f"file:{_quoted(self.path)}?mode=rw", uri=True, isolation_level=None)
                self._db.execute("PRAGMA synchronous = OFF")
            meta = dict(self._db.execute("SELECT name, value FROM meta"))
            self._is = self._file()
        except (sqlite3.Error, OSError):
            self.close()
            return False
        self.seq = meta.get("seq", -1)
        if (meta.get("store"), meta.get("machine"), meta.get("version")) == (store, machine, VERSION):
            return True
        self.close()
        return False

    def create(self, store: str, machine: str) -> None:
        """Make an empty index in place of whatever is there (its files were removed before)."""
        import sqlite3

        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript("BEGIN;" + _TABLES)
        rows = [("store", store), ("machine", machine), ("version", VERSION), ("seq", 0)]
        self._db.executemany("INSERT INTO meta VALUES(?, ?)", rows)
        self._db.execute("COMMIT")
        self._is = self._file()
        self.seq = 0

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self.seq = -1
        self._noted = []

    def forget(self) -> None:
        """Let go of a connection that a fork has copied: to use or to close it here would spoil the parent's."""
        if self._db is not None:
            _COPIES.append(self._db)
            self._db = None
        self.seq = -1
        self._noted = []

    def _file(self) -> tuple[int, int]:
        info = os.stat(self.path)
        return info.st_ino, info.st_dev

    def stands(self) -> bool:
        """Whether there is an index at its path, and where one is open here, that very one."""
        try:
            return self._file() == self._is or self._db is None
        except OSError:
            return False

    def refresh(self) -> bool:
        """Read again how far the file is: another process may have caught it up since.  False if it cannot be read."""
        import sqlite3

        try:
            seq = self._sql.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0]
        except (sqlite3.Error, TypeError):
            self.close()
            return False
        if seq != self.seq:  # somebody took in what was noted here
            self.seq, self._noted = seq, []
        return True

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._db is None:
            raise Damaged("the index is closed")
        return self._db

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        import sqlite3

        try:
            return self._sql.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise Damaged(str(error)) from error

    def _do(self, sql: str, *values: Any) -> int:
        """Change rows; how many.  `Damaged` where that cannot be done."""
        import sqlite3

        try:
            return self._sql.execute(sql, values).rowcount
        except (sqlite3.Error, OverflowError) as error:
            raise Damaged(str(error)) from error

    def _one(self, sql: str, *values: Any) -> Any:
        rows = self._rows(sql, *values)
        return rows[0] if rows else None

    def apply(self, records: Iterable[Document]) -> None:
        """Take in records that follow ``seq``, in one SQLite transaction; `Damaged` if that fails."""
        import sqlite3

        try:
            self._sql.execute("BEGIN IMMEDIATE")
            for record in records:
                self._take(record)
                self.seq = record["seq"]
            self._sql.execute("UPDATE meta SET value = ? WHERE name = 'seq'", (self.seq,))
            self._sql.execute("COMMIT")
        except (sqlite3.Error, Damaged, *_UNFIT) as error:
            self.close()
            raise Damaged(str(error)) from error

    def note(self, record: Document, before: int) -> None:
        """Keep a record that follows the one numbered ``before``, so that `take_noted` need not read it again."""
        if (self._noted[-1]["seq"] if self._noted else self.seq) == before:
            self._from = self.seq
            self._noted.append(record)
        else:
            self._noted = []

    def take_noted(self, seq: int) -> bool:
        """Take in what was noted, if that reaches from where the file is to ``seq``; whether it did."""
        noted, self._noted = self._noted, []
        if not noted or noted[-1]["seq"] != seq or self._from != self.seq:
            return False
        self.apply(noted)
        return True

    def fill(self, documents: Iterable[tuple[str, Document]], leases: Iterable[tuple[str, Document]],
             records: Iterable[Document], seq: int) -> None:  # fmt: skip
        """Fill an empty index from the documents, the lease files, and the records that it has to know (`recovery`)."""
        import sqlite3

        try:
            self._sql.execute("BEGIN IMMEDIATE")
            for path, doc in documents:
                self._put(path, doc, counting=False)
            self._sql.execute(
                "UPDATE task SET waiting = (SELECT count(*) FROM dep LEFT JOIN task d ON d.id = dep.dep "
                "WHERE dep.task = task.id AND d.status IS NOT 'done')"
            )
            for path, lease in leases:
                self._grant(path, lease)
            for record in records:
                self._keys(record)
                self._holdings(record)
            self._sql.execute("UPDATE meta SET value = ? WHERE name = 'seq'", (seq,))
            self._sql.execute("COMMIT")
            self.seq = seq
        except (sqlite3.Error, Damaged, *_UNFIT) as error:
            self.close()
            raise Damaged(str(error)) from error

    # -- what a record changes -----------------------------------------------------------------------------------

    def _take(self, record: Document) -> None:
        for source, target in record["mv"]:
            self._delete(source)
            if target.startswith(places.INBOX):
                self._deliver(target, None)
        for doc, paths in record["put"]:
            for path in paths:
                self._put(path, doc)
        for path in record["del"]:
            self._delete(path)
        for path, lease in record["lease"]:
            if lease is None:
                self._sql.execute("DELETE FROM lease WHERE path = ?", (path,))
            else:
                self._grant(path, lease)
        self._keys(record)
        self._holdings(record)

    def _keys(self, record: Document) -> None:
        op, on, by = record["op"], record["on"], record["by"]
        if record["key"]:
            key, fingerprint = record["key"]
            at = seconds(record["ts"])
            self._sql.execute("DELETE FROM key WHERE agent = ? AND key = ?", (by, key))
            row = (by, key, fingerprint, on[0] if on else "", record["seq"], at)
            self._sql.execute("INSERT INTO key VALUES(?, ?, ?, ?, ?, ?)", row)
        if op not in SEND_OPS:
            return
        minute = int(seconds(record["ts"]) // 60)
        now, count, before = self._one("SELECT minute, count, before FROM rate WHERE agent = ?", by) or (minute, 0, 0)
        if minute != now:
            before, count = (count if minute == now + 1 else 0), 0
        self._sql.execute("INSERT OR REPLACE INTO rate VALUES(?, ?, ?, ?)", (by, minute, count + 1, before))

    def _holdings(self, record: Document) -> None:
        """Note who was granted a task's lease, and which operations its holder made under it."""
        if not record["op"].startswith("task."):
            return
        for path, lease in record["lease"]:
            if lease is not None and path.startswith(places.TASK_LEASES):
                task, at, _ = places.ident(path).partition("@")
                row = (task, lease["holder"], bool(at), lease["token"], lease["incarnation"])
                self._sql.execute("INSERT OR IGNORE INTO holding VALUES(?, ?, ?, ?, ?, '')", row)
        op, by, inc = record["op"], record["by"], record["inc"]
        if op in HELD_OPS:
            review = op in REVIEW_OPS
            rows = [(f"{op} ", task, by, review, inc, task, by, review, inc) for task in record["on"]]
            same = "task = ? AND agent = ? AND review = ? AND incarnation = ?"
            sql = f"UPDATE holding SET made = made || ? WHERE {same} AND token = "
            self._sql.executemany(sql + f"(SELECT max(token) FROM holding WHERE {same})", rows)

    def _expect(self, path: str, holder: str, incarnation: int) -> None:
        """Note that ``path`` should be a lease: due at once if there is none, so that the sweep gives it its time."""
        sql = "INSERT OR IGNORE INTO lease VALUES(?, ?, ?, 0, 1e300)"
        self._sql.execute(sql, (path, holder, incarnation))

    def _put(self, path: str, doc: Document, counting: bool = True) -> None:
        if path.startswith(places.INBOX):
            self._deliver(path, doc)
        elif path.startswith(places.RESERVATIONS):
            self._reserve(doc)
        elif path.startswith(places.TASKS) and path.count("/") == 1:
            self._task(doc, counting)

    def _deliver(self, path: str, doc: Document | None) -> None:
        _, _, agent, folder, name = path.split("/")
        if folder == "new":
            rank = min(max(9 - (doc["priority"] if doc else 5), 0), 9)  # a person can write any number
            number = places.number(name[:-5])
            if not number:
                return
            self._do("INSERT OR IGNORE INTO inbox VALUES(?, ?, ?)", agent, rank, number)
            if doc and doc.get("expires_at"):
                self._deliver_until(path, doc["expires_at"])
        elif doc is not None:
            lease = places.read_lease(agent, name[:-5])
            self._do("INSERT OR IGNORE INTO lease VALUES(?, '', 0, 0, 0)", lease)

    def _deliver_until(self, path: str, at: str) -> None:
        until = self._host.mono() + seconds(at) - self._host.wall()
        self._do("INSERT OR REPLACE INTO lease VALUES(?, '', 0, ?, ?)", path, until, until)

    def _delete(self, path: str) -> None:
        if path.startswith(places.INBOX):
            _, _, agent, folder, name = path.split("/")
            if folder == "new":
                number = places.number(name[:-5])
                for rank in range(10):
                    sql = "DELETE FROM inbox WHERE agent = ? AND rank = ? AND num = ?"
                    if self._do(sql, agent, rank, number):
                        break
        elif path.startswith(places.RESERVATIONS):
            rid = places.ident(path)
            self._sql.execute("DELETE FROM pattern WHERE rid = ?", (rid,))
            self._sql.execute("UPDATE task SET parked = NULL WHERE parked = ?", (rid,))
        elif path.startswith(places.TASKS) and path.count("/") == 1:
            ident = places.ident(path)
            for table in ("task WHERE id", "dep WHERE task", "label WHERE task"):
                self._sql.execute(f"DELETE FROM {table} = ?", (ident,))

    def _reserve(self, doc: Document) -> None:
        rid, shared = doc["reservation_id"], doc["mode"] == "shared"
        self._sql.execute("DELETE FROM pattern WHERE rid = ?", (rid,))
        self._sql.execute("UPDATE task SET parked = NULL WHERE parked = ?", (rid,))
        self._expect(places.lease(rid), doc["agent"], doc["incarnation"])
        rows = [
            (rid, n, doc["agent"], shared, doc["task_id"], self._prefix(pattern), pattern)
            for n, pattern in enumerate(doc["patterns"])
        ]
        self._sql.executemany("INSERT INTO pattern VALUES(?, ?, ?, ?, ?, ?, ?)", rows)

    def _task(self, doc: Document, counting: bool) -> None:
        ident, status = doc["task_id"], doc["status"]
        before = self._one("SELECT status FROM task WHERE id = ?", ident) if counting else None
        if before:
            self._sql.execute("DELETE FROM dep WHERE task = ?", (ident,))
            self._sql.execute("DELETE FROM label WHERE task = ?", (ident,))
        self._sql.executemany("INSERT OR IGNORE INTO dep VALUES(?, ?)", [(ident, dep) for dep in doc["depends_on"]])
        self._sql.executemany("INSERT OR IGNORE INTO label VALUES(?, ?)", [(ident, text) for text in doc["labels"]])
        requires = json.dumps(sorted(set(doc["requires"]))) if doc["requires"] else "[]"
        age = f"{doc['created_at']} {places.number(ident):012d}"
        row = (ident, age, status, bool(doc["hold"]), doc["stage"], requires, doc["priority"], 0, None,
               doc["owner"])  # fmt: skip
        self._sql.execute("INSERT OR REPLACE INTO task VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if status in ("claimed", "running"):
            self._expect(places.task_lease(ident), doc["owner"] or "", doc["incarnation"])
        elif status == "review" and doc["token"]:
            self._expect(places.review_lease(ident), doc["reviewer"] or "", 0)
        if counting:
            if doc["depends_on"]:
                self._count_waiting([ident])
            if (before[0] if before else "") != status and "done" in (before and before[0], status):
                self._count_waiting(self.dependents(ident))

    def _count_waiting(self, tasks: list[str]) -> None:
        self._sql.executemany(
            "UPDATE task SET waiting = (SELECT count(*) FROM dep LEFT JOIN task d ON d.id = dep.dep "
            "WHERE dep.task = task.id AND d.status IS NOT 'done') WHERE id = ?",
            [(task,) for task in tasks],
        )

    def _grant(self, path: str, doc: Document) -> tuple[float, float]:
        lease = Lease.of(doc)
        until = self._host.mono() + lease.left(self._host)
        row = (path, lease.holder, lease.incarnation, until, until - lease.seconds * 2 / 3)
        self._do("INSERT OR REPLACE INTO lease VALUES(?, ?, ?, ?, ?)", *row)
        return row[3], row[4]

    # -- questions -----------------------------------------------------------------------------------------------

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

    def dependents(self, task_id: str) -> list[str]:
        """Tasks that depend on ``task_id``."""
        return [row[0] for row in self._rows("SELECT task FROM dep WHERE dep = ? ORDER BY task", task_id)]

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


def _quoted(path: str) -> str:
    """``path`` for a ``file:`` URI."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
