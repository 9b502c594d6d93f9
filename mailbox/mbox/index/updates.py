"""What a record changes in the index: the writing half of it.

Promised: taking in a record twice changes nothing; what is taken in is one SQLite transaction, and fails as `Damaged`.
A record that only delivers mail (`can_wait`) may be noted and taken in later, in the order of the journal.  An index
that is built anew (`Intake.fill`) holds what one that followed every record would hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from mbox.format import places
from mbox.index.tables import UNFIT, Damaged, Database
from mbox.format.documents import Document
from mbox.system.host import Host, seconds
from mbox.format.lease import Lease

SEND_OPS = ("mail.send", "mail.reply", "mail.ask", "mail.broadcast")
"""Operations that count against a sender's rate."""

LAG = 64
"""Numbers by which the index may be behind while all that it misses is mail that was delivered."""

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


class Intake(Database):
    """The index as a record finds it.  ``prefix`` gives a pattern's literal prefix (`patterns`)."""

    __slots__ = ("_from", "_host", "_noted", "_prefix")

    def __init__(self, path: str, host: Host, prefix: Callable[[str], str]) -> None:
        super().__init__(path)
        self._host = host
        self._prefix = prefix
        self._from, self._noted = -1, list[Document]()

    # -- following the journal -----------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Read again how far the file is: another process may have caught it up since.  False if it cannot be read."""
        seq = self.read_seq()
        if seq is not None and seq != self.seq:  # somebody took in what was noted here
            self.seq, self._noted = seq, []
        return seq is not None

    def close(self) -> None:
        super().close()
        self._noted = []

    def forget(self) -> None:
        super().forget()
        self._noted = []

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
        except (sqlite3.Error, Damaged, *UNFIT) as error:
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
        """Fill an empty index from the documents, the lease files, and the records that it has to know (`indexing`)."""
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
        except (sqlite3.Error, Damaged, *UNFIT) as error:
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

    def dependents(self, task_id: str) -> list[str]:
        """Tasks that depend on ``task_id``."""
        return [row[0] for row in self._rows("SELECT task FROM dep WHERE dep = ? ORDER BY task", task_id)]

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
