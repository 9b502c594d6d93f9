"""What a record changes in the index: the writing half of it.

Promised: taking in a record twice changes nothing; what is taken in is one SQLite transaction, and fails as `Damaged`.
A record that only delivers mail (`can_wait`) may be noted and taken in later, in the order of the journal.  An index
that is built anew (`Updates.fill`) holds what one that followed every record would hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from mbox.format import documents, operations, places
from mbox.format.documents import ACTIVE, FINAL, Document
from mbox.format.fields import WORD, WORDS
from mbox.format.lease import Lease
from mbox.system.clock import seconds
from mbox.system.host import Host

from .answers import Damaged
from .tables import UNFIT, Tables

NONE: Mapping[str, str] = {}

LAG = 64
"""Numbers by which the index may be behind while all that it misses is mail that was delivered."""

SPREAD = 50_000
"""Tasks and dependencies that a change of urgency in one record is followed through: less than a second."""

CHANGES = 64
"""How often one change may bring another urgency to one task: more than there are priorities, up and down."""

_LENT = "FROM dep JOIN task ON task.id = dep.dep WHERE status NOT IN ({})".format(", ".join(map(repr, sorted(FINAL))))
"""What is lent to tasks that are not final."""

_LATER = frozenset((*operations.SENDING, operations.MAIL_REFUSED, operations.STORE_SEGMENT, operations.STORE_CHECKPOINT))


def clipped(text: str) -> str:
    """A stage, label or capability as it stands here: longer than any may be if it is, and no longer than that."""
    return documents.composed(text)[: WORD + 1]


def can_wait(record: Document) -> bool:
    """Whether the index may take a record in later: it brings mail or nothing; no lease, nothing that runs out."""
    if record["op"] not in _LATER or record["lease"] or record["mv"] or record["del"]:
        return False
    return not [doc for doc, _ in record["put"] if doc["expires_at"]]


class Updates:
    """Brings ``tables`` from record to record.  ``prefix`` gives a pattern's literal prefix (`patterns`)."""

    __slots__ = ("_from", "_host", "_left", "_noted", "_prefix", "tables")

    def __init__(self, tables: Tables, host: Host, prefix: Callable[[str], str]) -> None:
        self.tables = tables
        self._host = host
        self._prefix = prefix
        self._left = SPREAD
        self._from, self._noted = -1, list[Document]()

    # -- following the journal -----------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Read again how far the file is: another process may have caught it up since.  False if it cannot be read."""
        seq = self.tables.read_seq()
        if seq is not None and seq != self.tables.seq:  # somebody took in what was noted here
            self.tables.seq, self._noted = seq, []
        return seq is not None

    def close(self) -> None:
        """Close the file, and drop what was noted."""
        self.tables.close()
        self._noted = []

    def forget(self) -> None:
        """Likewise, of a file that a fork has copied: `Tables.forget`."""
        self.tables.forget()
        self._noted = []

    def apply(self, records: Iterable[Document], files: Mapping[str, str] = NONE) -> None:
        """Take in records that follow ``seq``, in one SQLite transaction; `Damaged` if that fails.

        ``files`` names the files that were just written, by path (`mbox.store.files.print_of`).
        """
        import sqlite3

        try:
            self.tables.sql.execute("BEGIN IMMEDIATE")
            for record in records:
                self._take(record, files)
                self.tables.seq = record["seq"]
            self.tables.sql.execute("UPDATE meta SET value = ? WHERE name = 'seq'", (self.tables.seq,))
            self.tables.sql.execute("COMMIT")
        except (sqlite3.Error, Damaged, *UNFIT) as error:
            self.close()
            raise Damaged(str(error)) from error

    def note(self, record: Document, before: int) -> None:
        """Keep a record that follows the one numbered ``before``, so that `take_noted` need not read it again."""
        if (self._noted[-1]["seq"] if self._noted else self.tables.seq) == before:
            self._from = self.tables.seq
            self._noted.append(record)
        else:
            self._noted = []

    def take_noted(self, seq: int) -> bool:
        """Take in what was noted, if that reaches from where the file is to ``seq``; whether it did."""
        noted, self._noted = self._noted, []
        if not noted or noted[-1]["seq"] != seq or self._from != self.tables.seq:
            return False
        self.apply(noted)
        return True

    def fill(self, documents: Iterable[tuple[str, Document, int]], leases: Iterable[tuple[str, Document]],
             records: Iterable[Document], seq: int) -> None:  # fmt: skip
        """Fill an empty index from the documents, the lease files, and the records that it has to know (`indexing`).

        With each document comes the number of the record that put it there; 0 if that is not known.
        """
        import sqlite3

        try:
            self.tables.sql.execute("BEGIN IMMEDIATE")
            self._left = 0
            for path, doc, put in documents:
                self._stands(path, put, None)
                self._put(path, doc, counting=False)
            self.tables.sql.execute(
                "UPDATE task SET waiting = (SELECT count(*) FROM dep LEFT JOIN task d ON d.id = dep.dep "
                "WHERE dep.task = task.id AND d.status IS NOT 'done')"
            )
            self._raise_all()
            for path, lease in leases:
                self.grant(path, lease)
            for record in records:
                self._keys(record)
                self._holdings(record)
            self.tables.sql.execute("UPDATE meta SET value = ? WHERE name = 'seq'", (seq,))
            self.tables.sql.execute("COMMIT")
            self.tables.seq = seq
        except (sqlite3.Error, Damaged, *UNFIT) as error:
            self.close()
            raise Damaged(str(error)) from error

    # -- what a record changes -----------------------------------------------------------------------------------

    def _take(self, record: Document, files: Mapping[str, str]) -> None:
        self._left = SPREAD
        for source, target in record["mv"]:
            self.delete(source)
            self._stands(target, record["seq"], None)
            if target.startswith(places.INBOX):
                self._deliver(target, None)
        for doc, paths in record["put"]:
            for path in paths:
                self._stands(path, record["seq"], files.get(path))
                self._put(path, doc)
        for path in record["del"]:
            self.delete(path)
        for path, lease in record["lease"]:
            if lease is None:
                self.tables.sql.execute("DELETE FROM lease WHERE path = ?", (path,))
            else:
                self.grant(path, lease)
        self._keys(record)
        self._holdings(record)

    def _keys(self, record: Document) -> None:
        op, on, by = record["op"], record["on"], record["by"]
        if record["key"]:
            key, fingerprint = record["key"]
            at = seconds(record["ts"])
            self.tables.sql.execute("DELETE FROM key WHERE agent = ? AND key = ?", (by, key))
            row = (by, key, fingerprint, on[0] if on else "", record["seq"], at)
            self.tables.sql.execute("INSERT INTO key VALUES(?, ?, ?, ?, ?, ?)", row)
        if op not in operations.SENDING:
            return
        minute = int(seconds(record["ts"]) // 60)
        counted = self.tables.one("SELECT minute, count, before FROM rate WHERE agent = ?", by)
        now, count, before = counted or (minute, 0, 0)
        if minute != now:
            before, count = (count if minute == now + 1 else 0), 0
        self.tables.sql.execute("INSERT OR REPLACE INTO rate VALUES(?, ?, ?, ?)", (by, minute, count + 1, before))

    def _holdings(self, record: Document) -> None:
        """Note who was granted a task's lease, and which operations its holder made under it."""
        if not record["op"].startswith(operations.TASK):
            return
        for path, lease in record["lease"]:
            if lease is not None and path.startswith(places.TASK_LEASES):
                task, at, _ = places.ident(path).partition("@")
                row = (task, lease["holder"], bool(at), lease["token"], lease["incarnation"])
                self.tables.sql.execute("INSERT OR IGNORE INTO holding VALUES(?, ?, ?, ?, ?, '')", row)
        op, by, inc = record["op"], record["by"], record["inc"]
        if (review := op in operations.BY_REVIEWER) or op in operations.BY_HOLDER:
            rows = [(f"{op} ", task, by, review, inc, task, by, review, inc) for task in record["on"]]
            same = "task = ? AND agent = ? AND review = ? AND incarnation = ?"
            sql = f"UPDATE holding SET made = made || ? WHERE {same} AND token = "
            self.tables.sql.executemany(sql + f"(SELECT max(token) FROM holding WHERE {same})", rows)

    def _expect(self, path: str, holder: str, incarnation: int) -> None:
        """Note that ``path`` should be a lease: due at once if there is none, so that the sweep gives it its time."""
        sql = "INSERT OR IGNORE INTO lease VALUES(?, ?, ?, 0, 1e300)"
        self.tables.sql.execute(sql, (path, holder, incarnation))

    def _stands(self, path: str, seq: int, file: str | None) -> None:
        """Note that record ``seq`` put what stands at ``path``."""
        if places.is_indexed(path):
            self.tables.do("INSERT OR REPLACE INTO document VALUES(?, ?, ?)", path, seq, file)

    def _put(self, path: str, doc: Document, counting: bool = True) -> None:
        if path.startswith(places.INBOX):
            self._deliver(path, doc)
        elif path.startswith(places.RESERVATIONS):
            self._reserve(doc)
        elif path.startswith(places.AGENTS):
            self._register(doc)
        elif path.startswith(places.TASKS) and path.count("/") == 1:
            self._task(doc, counting)

    def _deliver(self, path: str, doc: Document | None) -> None:
        _, _, agent, folder, name = path.split("/")
        if folder == "new":
            rank = min(max(9 - (doc["priority"] if doc else 5), 0), 9)  # a person can write any number
            number = places.number(places.ident(name))
            if not number:
                return
            self.tables.do("INSERT OR IGNORE INTO inbox VALUES(?, ?, ?)", agent, rank, number)
            if doc and doc.get("expires_at"):
                self.deliver_until(path, doc["expires_at"])
        elif doc is not None:
            lease = places.read_lease(agent, places.ident(name))
            self.tables.do("INSERT OR IGNORE INTO lease VALUES(?, '', 0, 0, 0)", lease)

    def deliver_until(self, path: str, at: str) -> None:
        """Note that the unread message at ``path`` expires at the time stamp ``at``."""
        until = self._host.mono() + seconds(at) - self._host.wall()
        self.tables.do("INSERT OR REPLACE INTO lease VALUES(?, '', 0, ?, ?)", path, until, until)

    def delete(self, path: str) -> None:
        """Drop what the index has of the document at ``path``."""
        if places.is_indexed(path):
            self.tables.do("DELETE FROM document WHERE path = ?", path)
        if path.startswith(places.INBOX):
            _, _, agent, folder, name = path.split("/")
            if folder == "new":
                number = places.number(places.ident(name))
                for rank in range(10):
                    sql = "DELETE FROM inbox WHERE agent = ? AND rank = ? AND num = ?"
                    if self.tables.do(sql, agent, rank, number):
                        break
        elif path.startswith(places.AGENTS):
            self.tables.sql.execute("DELETE FROM agent WHERE name = ?", (places.ident(path),))
        elif path.startswith(places.RESERVATIONS):
            rid = places.ident(path)
            self.tables.sql.execute("DELETE FROM pattern WHERE rid = ?", (rid,))
            self.tables.sql.execute("UPDATE task SET parked = NULL WHERE parked = ?", (rid,))
        elif path.startswith(places.TASKS) and path.count("/") == 1:
            ident = places.ident(path)
            deps = self._dependencies(ident)
            if self.tables.one("SELECT 1 FROM task WHERE id = ? AND status = 'done'", ident):
                self._counted(ident, 1)
            for table in ("task WHERE id", "dep WHERE task", "label WHERE task"):
                self.tables.sql.execute(f"DELETE FROM {table} = ?", (ident,))
            self._spread(deps)

    def _register(self, doc: Document) -> None:
        self.tables.sql.execute("DELETE FROM agent WHERE name = ?", (doc["agent"],))
        if not doc["retired_at"]:
            row = (doc["agent"], clipped(doc["team"] or ""), clipped(doc["role"]))
            self.tables.sql.execute("INSERT INTO agent VALUES(?, ?, ?)", row)

    def _reserve(self, doc: Document) -> None:
        rid, shared = doc["reservation_id"], doc["mode"] == "shared"
        self.tables.sql.execute("DELETE FROM pattern WHERE rid = ?", (rid,))
        self.tables.sql.execute("UPDATE task SET parked = NULL WHERE parked = ?", (rid,))
        self._expect(places.lease(rid), doc["agent"], doc["incarnation"])
        rows = [
            (rid, n, doc["agent"], shared, doc["task_id"], self._prefix(pattern), pattern)
            for n, pattern in enumerate(doc["patterns"])
        ]
        self.tables.sql.executemany("INSERT INTO pattern VALUES(?, ?, ?, ?, ?, ?, ?)", rows)

    def _task(self, doc: Document, counting: bool) -> None:
        ident, status = doc["task_id"], doc["status"]
        sql = "SELECT status, waiting, priority, urgency FROM task WHERE id = ?"
        before = self.tables.one(sql, ident) if counting else None
        urgency = self._urgency(ident, status, doc["priority"], before)
        same = self._depends(ident, doc["depends_on"], None if status in FINAL else urgency, before)
        if before:
            self.tables.sql.execute("DELETE FROM label WHERE task = ?", (ident,))
        self.tables.sql.executemany(
            "INSERT OR IGNORE INTO label VALUES(?, ?)", [(ident, clipped(text)) for text in doc["labels"][:WORDS]]
        )
        requires = json.dumps(sorted(set(map(clipped, doc["requires"])))[:WORDS]) if doc["requires"] else "[]"
        age = f"{doc['created_at']} {places.number(ident):012d}"
        row = (ident, age, status, bool(doc["hold"]), clipped(doc["stage"]), requires, doc["priority"], urgency,
               before[1] if before and same else 0, None,
               doc["owner"])  # fmt: skip
        self.tables.sql.execute("INSERT OR REPLACE INTO task VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if status in ACTIVE:
            self._expect(places.task_lease(ident), doc["owner"] or "", doc["incarnation"])
        elif status == "review" and doc["token"]:
            self._expect(places.review_lease(ident), doc["reviewer"] or "", 0)
        if counting:
            if doc["depends_on"] and not same:
                self._count_waiting([ident])
            if (before[0] if before else "") != status and "done" in (before and before[0], status):
                self._counted(ident, -1 if status == "done" else 1)

    def _counted(self, task_id: str, change: int) -> None:
        """Let all that depend on ``task_id`` wait for one task more, or less: a few microseconds each, however many others."""
        sql = "UPDATE task SET waiting = waiting + ? WHERE id IN (SELECT task FROM dep WHERE dep = ?)"
        self.tables.sql.execute(sql, (change, task_id))

    def _depends(self, ident: str, depends_on: list[str], lent: int | None, before: tuple[str, int, int, int] | None) -> bool:
        """Note what a task waits for, and what it lends to it; whether it waits for the same as ``before``."""
        deps, known = set(depends_on), set[str]()
        was: int | None = None
        if before:
            known = set(self._dependencies(ident))
            was = None if before[0] in FINAL else before[3]
        if before and known == deps:
            if lent != was and deps:
                self.tables.sql.execute("UPDATE dep SET lent = ? WHERE task = ?", (lent, ident))
                self._told(ident, lent, was)
            return True
        if known:
            self.tables.sql.execute("DELETE FROM dep WHERE task = ?", (ident,))
        self.tables.sql.executemany("INSERT INTO dep VALUES(?, ?, ?)", [(ident, dep, lent) for dep in deps])
        self._told(ident, lent, was)
        self._spread(known - deps)
        return False

    def _dependencies(self, task_id: str) -> list[str]:
        return [row[0] for row in self.tables.rows("SELECT dep FROM dep WHERE task = ?", task_id)]

    # -- urgency: a task that a more urgent one waits for is as urgent as that one ---------------------------------

    def _urgency(self, ident: str, status: str, priority: int, before: tuple[str, int, int, int] | None) -> int:
        """How urgent a task is: by its own priority once it is final, else by that of what waits for it as well."""
        if status in FINAL:
            return priority
        if before and before[0] not in FINAL and before[2] == priority:
            return before[3]  # what others lend to it has not changed by what it says itself
        return self._raised(ident, priority)

    def _raised(self, ident: str, priority: int) -> int:
        lent = self.tables.one("SELECT max(lent) FROM dep WHERE dep = ?", ident)[0]
        return priority if lent is None else max(priority, lent)

    def _told(self, ident: str, lent: int | None, was: int | None) -> None:
        """Have those look that ``ident`` depends on and whose urgency may be another, now that it lends ``lent``, not ``was``."""
        if self._left <= 0:
            return
        sql = f"SELECT dep {_LENT} AND dep.task = ? AND (urgency < ? OR urgency = ?)"
        self._spread(row[0] for row in self.tables.rows(sql, ident, lent, was))

    def _spread(self, tasks: Iterable[str]) -> None:
        """Bring the urgency of ``tasks`` up to date, and where it changes that of what they wait for, and so on.

        Ends in a circle, too, which only a hand can make, and when a record has come to `SPREAD` tasks and dependencies:
        beyond them an urgency stays as it is, which is an order and no more.
        """
        changes: dict[str, int] = {}
        queue = list(tasks)
        coming = set(queue)
        for task in queue:  # grows while it is read
            coming.discard(task)
            self._left -= 1
            if self._left < 0:
                return
            row = self.tables.one("SELECT status, priority, urgency FROM task WHERE id = ?", task)
            if row is None or row[0] in FINAL:
                continue
            urgency = self._raised(task, row[1])
            if urgency != row[2] and changes.get(task, 0) < CHANGES:
                changes[task] = changes.get(task, 0) + 1
                self.tables.sql.execute("UPDATE task SET urgency = ? WHERE id = ?", (urgency, task))
                self.tables.sql.execute("UPDATE dep SET lent = ? WHERE task = ?", (urgency, task))
                deps = self._dependencies(task)
                self._left -= len(deps)
                queue += [dep for dep in deps if dep not in coming]
                coming.update(deps)

    def _raise_all(self) -> None:
        """The urgency of every task, the most urgent first, so that each task and dependency is looked at once."""
        finals = ", ".join(map(repr, sorted(FINAL)))
        sql = f"SELECT id, priority, urgency FROM task WHERE status NOT IN ({finals}) ORDER BY priority DESC"
        rows = self.tables.rows(sql)
        known = {ident: urgency for ident, _, urgency in rows}
        changed: list[tuple[int, str]] = []
        for ident, priority, _ in rows:
            queue = [ident] if ident in known else []
            while queue:
                task = queue.pop()
                if task not in known:
                    continue
                if known.pop(task) != priority:
                    changed.append((priority, task))
                queue += self._dependencies(task)
        self.tables.sql.executemany("UPDATE task SET urgency = ? WHERE id = ?", changed)
        self.tables.sql.executemany("UPDATE dep SET lent = ? WHERE task = ?", changed)

    def dependents(self, task_id: str) -> list[str]:
        """Tasks that depend on ``task_id``."""
        return [row[0] for row in self.tables.rows("SELECT task FROM dep WHERE dep = ? ORDER BY task", task_id)]

    def _count_waiting(self, tasks: list[str]) -> None:
        self.tables.sql.executemany(
            "UPDATE task SET waiting = (SELECT count(*) FROM dep LEFT JOIN task d ON d.id = dep.dep "
            "WHERE dep.task = task.id AND d.status IS NOT 'done') WHERE id = ?",
            [(task,) for task in tasks],
        )

    def grant(self, path: str, doc: Document) -> tuple[float, float]:
        """Note the lease at ``path``: when it runs out, and is to be renewed."""
        lease = Lease.of(doc)
        until = self._host.mono() + lease.left(self._host)
        row = (path, lease.holder, lease.incarnation, until, until - lease.seconds * 2 / 3)
        self.tables.do("INSERT OR REPLACE INTO lease VALUES(?, ?, ?, ?, ?)", *row)
        return row[3], row[4]
