"""The index's file: one SQLite database in ``cache/``, its tables, and how it is opened, made and let go.

Promised: `Tables.open` says no to a file that is missing, damaged, or of another store, another version of the
tables, another machine's life or another lock file (`mbox.system.database`); every failure of SQLite is
`Damaged`, which says that the file is worth nothing and is to be built again.
``synchronous`` is off: after a machine's death the file is not believed.  A connection that a
fork has copied is neither used nor closed.

| table | for |
|---|---|
| inbox | ``read --next``: what stands in each ``new/`` by priority and number |
| task, dep, label | ``claim``: what is queued, not held and waits for nothing, by class (stage, capabilities) |
| task.urgency | its priority, or the urgency of what waits for it, if that is higher (`updates`) |
| dep.lent | the urgency of who depends, NULL once it is final |
| task.parked | the reservation that kept a task from being claimed, so that it is not looked at again while it stands |
| agent | who gets a broadcast: those that are not retired |
| pattern | conflicts of reservations, by literal prefix |
| lease | what has run out (``due``), what is to be renewed (``renewable``) |
| holding | each lease on a task: who had it, under which token, what it was used for |
| key | idempotency keys |
| rate | messages sent, by sender and minute |
| document | what stands, by the record that put it there: whether a file is the journal's (`mbox.store.drift`) |
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mbox.system import database

from .answers import Damaged

if TYPE_CHECKING:
    import sqlite3  # imported where it is used: `inbox` and `reserve check` never do
    from collections.abc import Iterator

    from mbox.system.disk import Disk, Owner

VERSION = "7"
"""Of the tables; another one on disk is thrown away."""

_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE inbox(agent TEXT, rank INT, num INT, PRIMARY KEY(agent, rank, num)) WITHOUT ROWID;
CREATE TABLE task(id TEXT PRIMARY KEY, age TEXT, status TEXT, held INT, stage TEXT, requires TEXT, priority INT,
    urgency INT, waiting INT, parked TEXT, owner TEXT) WITHOUT ROWID;
CREATE INDEX ready ON task(stage, requires, urgency DESC, age, id)
    WHERE status = 'queued' AND held = 0 AND waiting = 0 AND parked IS NULL;
CREATE INDEX in_order ON task(urgency DESC, age, id)
    WHERE status = 'queued' AND held = 0 AND waiting = 0 AND parked IS NULL;
CREATE INDEX parked ON task(parked) WHERE parked IS NOT NULL;
CREATE INDEX owned ON task(owner) WHERE owner IS NOT NULL;
CREATE INDEX active ON task(status) WHERE status IN ('claimed', 'running', 'review');
CREATE TABLE dep(task TEXT, dep TEXT, lent INT, PRIMARY KEY(task, dep)) WITHOUT ROWID;
CREATE INDEX dependents ON dep(dep, lent);
CREATE TABLE label(task TEXT, label TEXT, PRIMARY KEY(task, label)) WITHOUT ROWID;
CREATE TABLE agent(name TEXT PRIMARY KEY, team TEXT, role TEXT) WITHOUT ROWID;
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
CREATE TABLE document(path TEXT PRIMARY KEY, seq INT, file TEXT) WITHOUT ROWID;
CREATE TABLE rate(agent TEXT PRIMARY KEY, minute INT, count INT, before INT) WITHOUT ROWID;
"""


UNFIT = (LookupError, TypeError, ValueError, OverflowError)
"""What a record or document raises whose fields are not what they should be: the index is worth no traceback."""

_COPIES: list[Any] = []
"""Connections of a parent process, kept so that nobody closes them."""


class Tables:
    """The SQLite file at ``path`` (absolute), following the journal up to ``seq``; -1 where it is not open.

    ``owner``: of the disk that it is on.
    """

    __slots__ = ("_db", "_is", "_owner", "path", "seq")

    def __init__(self, path: str, owner: Owner | None = None) -> None:
        self.path = path
        self._owner = owner
        self.seq = -1
        self._db: sqlite3.Connection | None = None
        self._is = (0, 0)

    def open(self, store: str, whose: str) -> bool:
        """Open what is there; False if it is missing, damaged, or of another store, version or life (``whose``)."""
        import sqlite3

        try:
            if self._db is None:
                self._db = database.opened(self.path, _stamp(store, whose), _TABLES, owner=self._owner)
            meta = dict(self._db.execute("SELECT name, value FROM meta"))
            self._is = self._file()
        except (database.Foreign, sqlite3.Error, OSError):
            self.close()
            return False
        self.seq = meta.get("seq", -1)
        if (meta.get("store"), meta.get("machine"), meta.get("version")) == (store, whose, VERSION):
            return True
        self.close()
        return False

    def create(self, store: str, whose: str, disk: Disk) -> None:
        """Make an empty index in place of whatever is there, and open it; `Foreign` where that stays."""
        rows = [("store", store), ("machine", whose), ("version", VERSION), ("seq", 0)]

        def fill(db: sqlite3.Connection) -> None:
            db.executemany("INSERT INTO meta VALUES(?, ?)", rows)

        database.discard(disk, self.path)
        stamp = _stamp(store, whose)
        database.make(disk, self.path, stamp, _TABLES, fill)
        self._db = database.opened(self.path, stamp, _TABLES, owner=self._owner)
        self._is = self._file()
        self.seq = 0

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self.seq = -1

    def forget(self) -> None:
        """Let go of a connection that a fork has copied: to use or to close it here would spoil the parent's."""
        if self._db is not None:
            _COPIES.append(self._db)
            self._db = None
        self.seq = -1

    def _file(self) -> tuple[int, int]:
        info = os.stat(self.path)
        return info.st_ino, info.st_dev

    def stands(self) -> bool:
        """Whether there is an index at its path, and where one is open here, that very one."""
        try:
            return self._file() == self._is or self._db is None
        except OSError:
            return False

    def read_seq(self) -> int | None:
        """How far the file is now: another process may have caught it up.  None, and closed, if it cannot be read."""
        import sqlite3

        try:
            seq: int = self.sql.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0]
        except (sqlite3.Error, TypeError):
            self.close()
            return None
        return seq

    @property
    def sql(self) -> sqlite3.Connection:
        """The connection; `Damaged` where there is none."""
        if self._db is None:
            raise Damaged("the index is closed")
        return self._db

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """The rows that a question finds."""
        import sqlite3

        try:
            return self.sql.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise Damaged(str(error)) from error

    def each(self, sql: str, *values: Any) -> Iterator[Any]:
        """The rows that a question finds, one by one as they are asked for."""
        import sqlite3

        try:
            yield from self.sql.execute(sql, values)
        except sqlite3.Error as error:
            raise Damaged(str(error)) from error

    def do(self, sql: str, *values: Any) -> int:
        """Change rows; how many.  `Damaged` where that cannot be done."""
        import sqlite3

        try:
            return self.sql.execute(sql, values).rowcount
        except (sqlite3.Error, OverflowError) as error:
            raise Damaged(str(error)) from error

    def one(self, sql: str, *values: Any) -> Any:
        """The first of them, or None."""
        rows = self.rows(sql, *values)
        return rows[0] if rows else None


def _stamp(store: str, whose: str) -> tuple[int, int]:
    return database.stamp(whose, store, VERSION)
