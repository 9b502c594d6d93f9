"""SQLite files that are caches: made whole, and opened only where this store made them.

Promised: SQLite is never given a file that came from elsewhere.  Before it opens one, the file is looked at as documents
are (no symlink, a regular file, ours), its header has the *stamp* of whoever asks, and beside it lies no rollback journal
(none of ours has one: a journal can name any file, which SQLite then deletes) and no write-ahead log that is not a plain
file of ours, of no other name.  Then, before the first question: the schema is not trusted, nothing is longer than
`LONGEST`, and what is declared in it is, statement by statement, what this version declares.  Whatever is wrong is
`Foreign`: the caller throws the file away and makes another.  Not promised: that what stands in the rows is right; who asks
checks that.

Between that look and SQLite's own the owner of the folder can put anything there, a journal that names a file of root's too.
So in another user's store root's SQLite has that user's rights in each call, from the opening to the closing
(`OwnersConnection`), and does nothing that the owner could not do.

The stamp is made from what only this machine in this life can know (the boot id, the lock file's inode), so that a file
that was cloned, copied or pulled into the store has another one.  It stands in the two numbers that SQLite's header keeps
for applications (https://sqlite.org/fileformat2.html, "application_id" and "user_version").

Order of system calls in `make`: an empty file of the store's mode beside the place, everything declared in it, closed, so
that its write-ahead log is in it; then a link to its place, then the other name is removed.  A death leaves a temporary
file, or a second name of the file.  Of two at once the first one's file stays.
"""

from __future__ import annotations

import os
import stat
import sys
from binascii import crc32
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from mbox.errors import failure, translated

from .disk import Disk, Owner, open_regular, temporary

if TYPE_CHECKING:
    import sqlite3  # imported where it is used: small commands never do

LONGEST = 16 << 20
"""Bytes of a value, a row or a statement at most."""

BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file: a rollback journal, the write-ahead log, that log's index."""

_HEADER = 100
_USER_VERSION, _APPLICATION_ID = slice(60, 64), slice(68, 72)


class Foreign(Exception):
    """There is no such file that this store made, or what it holds is not what this version makes."""


def stamp(*facts: object) -> tuple[int, int]:
    """The two numbers of a file that is about ``facts``, among which must be one that no repository can know."""
    text = "\n".join(map(str, facts)).encode()
    return crc32(text) & 0x7FFFFFFF, crc32(text[::-1]) & 0x7FFFFFFF


def make(disk: Disk, path: str, stamp: tuple[int, int], declared: str, fill: Callable[[sqlite3.Connection], object]) -> None:
    """Put a new file at ``path``, with what is ``declared`` and what ``fill`` puts in; where one is now, that one stays.

    OSError and sqlite3.Error where it cannot be made; nothing is left then.
    """
    temp = f"{temporary(path)}.{os.getpid()}"
    discard(disk, temp)
    disk.create(temp, b"")
    try:
        db = _connected(temp, 0.0, disk.owner)
        try:
            db.execute(f"PRAGMA application_id = {stamp[0]}")
            db.execute(f"PRAGMA user_version = {stamp[1]}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            declare(db, declared)
            fill(db)
        finally:
            db.close()
        try:
            disk.link(temp, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            disk.rename(temp, path)
    finally:
        discard(disk, temp)


def opened(
    path: str, stamp: tuple[int, int], declared: str, timeout: float = 5.0, owner: Owner | None = None
) -> sqlite3.Connection:
    """A connection to the file at ``path``, which `make` made with this ``stamp`` and what is ``declared``.

    ``owner``: the one of the disk that made it.  `Foreign` where it is another, or none; sqlite3.Error where it is damaged,
    or held for ``timeout`` seconds.
    """
    _check_file(path, stamp)
    db = _connected(path, timeout, owner)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        found = [row[0] for row in db.execute("SELECT sql FROM sqlite_master ORDER BY rowid LIMIT 100")]
        if found != _statements(declared) and found != _as_made(declared):
            raise Foreign(f"{path}: its schema is not this version's")
        db.execute("PRAGMA synchronous = OFF")
    except BaseException:
        db.close()
        raise
    return db


def declare(db: sqlite3.Connection, declared: str) -> None:
    """Make what is ``declared``: SQL statements, each ended by ``;`` and the line's end."""
    db.execute("BEGIN")
    for statement in _statements(declared):
        db.execute(statement)
    db.execute("COMMIT")


def explained(disk: Disk, path: str, error: Exception) -> str:
    """Why a file at ``path`` could not be made or written: SQLite says little of the system's refusal, so that is asked for."""
    if isinstance(error, OSError):
        return failure(error, path)
    if why := translated(str(error), path):
        return why
    try:
        disk.try_room(os.path.dirname(path))
    except OSError as refused:
        return failure(refused, path)
    return str(error)


def discard(disk: Disk, path: str) -> None:
    """Remove the file at ``path`` and what lies beside it, unread; failures are passed over."""
    for suffix in ("", *BESIDE):
        disk.discard(path + suffix)


class OwnersConnection:
    """Root's connection to another user's file: each call is made with that user's rights, and rows are read whole.

    What a statement left undone, and what closing does, is done with these rights too.
    """

    __slots__ = ("_db", "_owner")

    def __init__(self, db: sqlite3.Connection, owner: Owner) -> None:
        self._db, self._owner = db, owner

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Answer:
        answer: Answer = self._owner.do(lambda: Answer(self._db.execute(sql, values)))
        return answer

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Answer:
        every = list(rows)  # whoever makes them may do so by calls of the disk
        answer: Answer = self._owner.do(lambda: Answer(self._db.executemany(sql, every)))
        return answer

    def close(self) -> None:
        self._owner.do(self._db.close)

    def __del__(self) -> None:
        self.close()


class Answer:
    """What a cursor has, when all is read."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._rows = iter(cursor.fetchall())
        self.rowcount = cursor.rowcount
        cursor.close()

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)


def _connected(path: str, timeout: float, owner: Owner | None) -> sqlite3.Connection:
    import sqlite3  # by root: who it acts as may not be able to read this Python

    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quoted}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=timeout
        )

    db = connect() if owner is None else owner.do(connect)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    if sys.version_info >= (3, 12):
        db.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    return db if owner is None else cast("sqlite3.Connection", OwnersConnection(db, owner))


def _check_file(path: str, stamp: tuple[int, int]) -> None:
    """Raise `Foreign` unless SQLite may be given ``path``."""
    try:
        fd = open_regular(path)
    except OSError as error:
        raise Foreign(str(error)) from None
    try:
        header, owner = os.pread(fd, _HEADER, 0), os.fstat(fd).st_uid
    finally:
        os.close(fd)
    told = tuple(int.from_bytes(header[where], "big") for where in (_APPLICATION_ID, _USER_VERSION))
    if not header.startswith(b"SQLite format 3\0") or told != stamp:
        raise Foreign(f"{path} was not made here")
    if owner not in _ours(path):
        raise Foreign(f"{path} belongs to another user")
    for suffix in BESIDE:
        try:
            beside = os.lstat(path + suffix)
        except FileNotFoundError:
            continue
        plain = stat.S_ISREG(beside.st_mode) and beside.st_nlink == 1 and beside.st_uid == owner
        if suffix == "-journal" or not plain:
            raise Foreign(f"{path}{suffix} was not made here")


def _ours(path: str) -> tuple[int, int]:
    """Whose files may lie in the folder of ``path``: the caller's, and those of whom the folder is."""
    return os.geteuid(), os.stat(os.path.dirname(path)).st_uid


def _statements(declared: str) -> list[str]:
    return [statement for statement in declared.strip().removesuffix(";").split(";\n") if statement]


def _as_made(declared: str) -> list[str]:
    """What SQLite notes of what is ``declared``: virtual tables bring tables of their own, which it alone knows."""
    import sqlite3

    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        declare(db, declared)
        return [row[0] for row in db.execute("SELECT sql FROM sqlite_master ORDER BY rowid")]
    finally:
        db.close()
