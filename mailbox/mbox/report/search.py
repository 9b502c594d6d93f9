"""Full-text search over messages and tasks, by an index that can be deleted at any time.

Promised: a hit is in the journal, and everything in the journal up to its mark is looked through; words are words,
whatever they contain (no query syntax; a word of several, quoted in the shell, is a phrase; a ``*`` at its end means
any ending).  Not promised: that what was found still stands (a dead letter may have been purged).

Files: ``cache/search.sqlite`` (SQLite FTS5) holds the text of each message (subject, body, payload) and of each task
(title, description), and the place in the journal up to which it is complete.  A search catches it up first.  It is
thrown away and made again when it is missing, damaged, of another store or version, or ahead of the journal.  A crash
leaves SQLite's own journal, which the next search rolls back.  Where the folder cannot be written, the index is made
in memory, for this one search.
"""

from __future__ import annotations

import re
from binascii import crc32
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mbox.format import places
from mbox.format.documents import Document, compact
from mbox.errors import Corrupt, StoreError, Usage
from mbox.journal.segments import Tail, decode
from mbox.store.store import Store

if TYPE_CHECKING:
    from sqlite3 import Connection

VERSION = "2"
"""Of the tables; another one on disk is thrown away."""

BATCH = 20_000
"""Records between commits of a catch-up, so that an interrupted one need not start over."""

CONTEXT = 16
"""Words of context around a hit."""

_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE item(id TEXT PRIMARY KEY, kind TEXT, crc INT, place INT) WITHOUT ROWID;
CREATE INDEX by_place ON item(place);
CREATE VIRTUAL TABLE word USING fts5(said, tokenize = 'unicode61');
"""

_OP = re.compile(rb'"op":"([^"]*)"')

_SILENT = re.compile(
    rb"mail\.(read|ack|return|expire|dead|refused|retry|purge)|reserve\..*|agent\..*|"
    rb"store\.(init|segment|checkpoint|aside)|task\.(claim|start|renew|done|fail|release|expire|review|"
    rb"review-expire|approve|requeue|cancel|note|checkpoint)"
)
"""Operations that put no text that is not known already: their lines are not parsed."""


class Item(NamedTuple):
    """One thing that can be found."""

    id: str
    kind: str
    text: str


class _Stale(Exception):
    """The index is damaged, or of another store, version or time; make it again."""


def search(store: Store, words: Iterable[str], limit: int = 100) -> tuple[list[Document], int]:
    """The best ``limit`` (0: all) hits for all of ``words``, and how many more there are.

    A hit has ``id``, ``kind`` (message or task) and one line of context, ``text``.
    """
    import sqlite3

    wanted = query(words)
    for path in (places.SEARCH, places.SEARCH, ""):
        try:
            db = _opened(store, path)
            try:
                _catch_up(store, db)
                return _hits(db, wanted, limit)
            finally:
                db.close()
        except (sqlite3.Error, _Stale) as error:
            if "no such module" in str(error):
                raise StoreError(f"this Python's SQLite has no full-text search ({error}); use grep -r") from None
            if path:
                _drop(store)
            problem = error
    raise StoreError(f"{store.absolute(places.SEARCH)}: {problem}; delete it and search again")


def query(words: Iterable[str]) -> str:
    """The FTS5 query for all of ``words``, each of them quoted; `Usage` if there is nothing to look for."""
    terms = []
    for word in words:
        if any(map(str.isalnum, word)):
            stem = word.rstrip("*")
            terms.append(f'"{stem.replace(chr(34), chr(34) * 2)}"{"*" if stem != word else ""}')
    if not terms:
        raise Usage("search for what? name at least one word")
    return " AND ".join(terms)


def _hits(db: Connection, wanted: str, limit: int) -> tuple[list[Document], int]:
    sql = (
        "SELECT item.id, item.kind, snippet(word, 0, '', '', '…', ?) FROM word JOIN item ON item.place = word.rowid "
        "WHERE word MATCH ? ORDER BY rank, word.rowid DESC LIMIT ?"
    )
    rows = db.execute(sql, (CONTEXT, wanted, limit or -1)).fetchall()
    every = len(rows)
    if limit and every == limit:
        every = db.execute("SELECT count(*) FROM word WHERE word MATCH ?", (wanted,)).fetchone()[0]
    found = [{"id": ident, "kind": kind, "text": " ".join(said.split())} for ident, kind, said in rows]
    return found, every - len(rows)


# -- the index ---------------------------------------------------------------------------------------------------


def _drop(store: Store) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        store.disk.discard(store.absolute(places.SEARCH + suffix))


def _opened(store: Store, path: str) -> Connection:
    """The index at ``path`` (in memory if that is empty), with its tables."""
    import sqlite3

    db = sqlite3.connect(store.absolute(path) if path else ":memory:", isolation_level=None, timeout=30)
    try:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _TABLES.strip().split(";\n"):
                db.execute(statement)
            values = {"version": VERSION, "store": _store_id(store), "seq": 0, "segment": 0, "offset": 0}
            db.executemany("INSERT INTO meta VALUES(?, ?)", values.items())
        db.execute("COMMIT")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _store_id(store: Store) -> str:
    segments = store.journal.segments()
    return str(store.journal.header(segments[-1])["store"]) if segments else ""


def _catch_up(store: Store, db: Connection) -> None:
    """Take in what the journal has since the index's place; `_Stale` if that place is not in it."""
    end = store.end()
    db.execute("BEGIN IMMEDIATE")
    meta = dict(db.execute("SELECT name, value FROM meta"))
    place = Tail(meta["seq"], meta["segment"], meta["offset"])
    if (meta["version"], meta["store"]) != (VERSION, _store_id(store)) or place[1:] > end[1:]:
        raise _Stale("it is not of this store as it is now")
    if place[1:] == end[1:]:
        db.execute("COMMIT")
        return
    items: list[Item] = []
    for count, (segment, behind, line) in enumerate(_lines(store, place, end), 1):
        if not _is_silent(line):
            items += _items(line)
        if count % BATCH == 0:
            _take(db, items, Tail(place.seq, segment, behind))
            items = []
            db.execute("COMMIT")
            db.execute("BEGIN IMMEDIATE")
    _take(db, items, end)
    db.execute("COMMIT")


def _lines(store: Store, place: Tail, end: Tail) -> Iterator[tuple[int, int, bytes]]:
    """The journal's lines from ``place`` on, each with its segment and the offset behind it.

    `_Stale` if what stands at ``place`` is not the record that follows it.
    """
    first = place.segment or store.journal.segments()[0]
    known = place.seq
    for segment in range(first, end.segment + 1):
        offset = place.offset if segment == place.segment else 0
        for at, line in store.journal.lines(segment, offset, end.offset if segment == end.segment else None):
            if known:
                _check(line, known)
                known = 0
            yield segment, at + len(line), line


def _check(line: bytes, known: int) -> None:
    try:
        follows = decode(line)["seq"] > known
    except ValueError:
        follows = False
    if not follows:
        raise _Stale("its place is not one in this journal")


_silent: dict[bytes, bool] = {}


def _is_silent(line: bytes) -> bool:
    """Whether a line's operation, which stands near its beginning, is one that puts no new text."""
    found = _OP.search(line, 0, 400)
    op = found[1] if found else b""
    if op not in _silent:
        _silent[op] = _SILENT.fullmatch(op) is not None
    return _silent[op]


def _items(line: bytes) -> list[Item]:
    """What can be found of a record: messages as they were sent, tasks as they are described."""
    try:
        record = decode(line)
    except ValueError as error:
        raise Corrupt(f"the journal has a line that is no record: {error}; `mbox doctor` says where") from None
    found = []
    for doc, paths in record["put"]:
        if paths[-1].startswith(places.OUTBOX) or (record["op"] == "store.adopt" and "msg_id" in doc):
            payload = "" if doc["payload"] is None else compact(doc["payload"])
            text = "\n".join(part for part in (doc["subject"], doc["body"], payload) if part)
            found.append(Item(doc["msg_id"], "message", text))
        elif paths[0].startswith(places.TASKS) and paths[0].count("/") == 1:
            text = f"{doc['title']}\n{doc['description']}" if doc["description"] else doc["title"]
            found.append(Item(doc["task_id"], "task", text))
    return found


def _take(db: Connection, items: list[Item], place: Tail) -> None:
    """Put items into the index, and the place up to which it is complete."""
    last = {item.id: item for item in items}
    known = _known(db, list(last))
    row = db.execute("SELECT coalesce(max(rowid), 0) FROM word").fetchone()[0]
    texts, rows = [], []
    for item in last.values():
        crc = crc32(item.text.encode())
        if item.id in known:
            if known[item.id][0] == crc:
                continue
            db.execute("DELETE FROM word WHERE rowid = ?", (known[item.id][1],))
        row += 1
        texts.append((row, item.text))
        rows.append((item.id, item.kind, crc, row))
    db.executemany("INSERT INTO word(rowid, said) VALUES(?, ?)", texts)
    db.executemany("INSERT OR REPLACE INTO item VALUES(?, ?, ?, ?)", rows)
    values = (("seq", place.seq), ("segment", place.segment), ("offset", place.offset))
    db.executemany("UPDATE meta SET value = ?2 WHERE name = ?1", values)


def _known(db: Connection, ids: list[str]) -> dict[str, tuple[int, int]]:
    """The CRC and the row of those of ``ids`` that are in the index."""
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        sql = f"SELECT id, crc, place FROM item WHERE id IN ({', '.join('?' * len(some))})"
        found.update((ident, (crc, row)) for ident, crc, row in db.execute(sql, some))
    return found
