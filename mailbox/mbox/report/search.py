"""Full-text search over messages and tasks, by an index that can be deleted at any time.

Promised: a hit is in the journal, and everything in the journal up to its mark is looked through; words are words,
whatever they contain (no query syntax; a word of several, quoted in the shell, is a phrase; a ``*`` at its end means
any ending), and text without spaces is found by any piece of it (`pairs`).  Not promised: that what was found still
stands (a dead letter may have been purged).

Files: ``cache/search.sqlite`` (SQLite FTS5) holds the text of each message (subject, body, payload) and of each task
(title, description), and the place in the journal up to which it is complete.  A search catches it up first.  It is
thrown away and made again when it is missing, damaged, ahead of the journal, or not made by this store, this version and
in this life of the machine (`mbox.system.database`: it is not opened then).  A crash leaves SQLite's write-ahead log,
which the next search takes in.  Where the folder cannot be written, the index is made
in memory, for this one search.
"""

from __future__ import annotations

import re
from binascii import crc32
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.errors import Corrupt, StoreError, Usage
from mbox.format import operations, places
from mbox.format.documents import Document, Newer, check, compact, composed
from mbox.journal.record import Tail, decode, op_of, sound
from mbox.mail import lookup
from mbox.store.store import Store
from mbox.system import database

from . import pairs

if TYPE_CHECKING:
    from sqlite3 import Connection

VERSION = "3"
"""Of the tables; another one on disk is thrown away."""

BATCH = 20_000
"""Records between commits of a catch-up, so that an interrupted one need not start over."""

PATIENCE = 30.0
"""Seconds to wait for another search that writes."""

WORDS = 32
LETTERS = 500
"""Words in one search at most, and their letters together: each of them is looked for in every text."""

CONTEXT, LINE = 16, 190
"""Words of context around a hit, and its letters, at most."""

_TABLES = f"""
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE item(id TEXT PRIMARY KEY, kind TEXT, crc INT, place INT) WITHOUT ROWID;
CREATE INDEX by_place ON item(place);
CREATE VIRTUAL TABLE word USING fts5(said, tokenize = "unicode61 separators '{pairs.SEAM}'");
"""

_SILENT = frozenset(
    op.encode()
    for op in (
        *(operations.MAIL_READ, operations.MAIL_ACK, operations.MAIL_RETURN, operations.MAIL_EXPIRE),
        *(operations.MAIL_DEAD, operations.MAIL_REFUSED, operations.MAIL_RETRY, operations.MAIL_PURGE),
        *(operations.TASK_CLAIM, operations.TASK_START, operations.TASK_DONE, operations.TASK_FAIL),
        *(operations.TASK_RELEASE, operations.TASK_EXPIRE, operations.TASK_REVIEW, operations.TASK_REVIEW_EXPIRE),
        *(operations.TASK_APPROVE, operations.TASK_REQUEUE, operations.TASK_CANCEL),
        *(operations.TASK_NOTE, operations.TASK_CHECKPOINT),
        *(operations.STORE_SEGMENT, operations.STORE_CHECKPOINT, operations.STORE_ASIDE),
    )
)
"""Operations that put no text that is not known already: their lines are not parsed."""

_SILENT_NOUNS = (operations.RESERVE.encode(), operations.AGENT.encode())
"""So are those of all operations on these."""


class Item(NamedTuple):
    """One thing that can be found."""

    id: str
    kind: str
    text: str


class _Stale(Exception):
    """The index is damaged, or of another store, version or time; make it again."""


def search(store: Store, words: Iterable[str], limit: int = 100) -> tuple[list[Document], int]:
    """The best ``limit`` (0: all) hits for all of ``words``, and how many more there are.

    A hit has ``id``, ``kind`` (message or task) and one line of context, ``text``; how it stands, `standing` tells.
    """
    import sqlite3

    words = tuple(words)
    wanted, near = query(words), _first_place(words)
    for path in (places.SEARCH, places.SEARCH, ""):
        try:
            db = _opened(store, path)
            try:
                _catch_up(store, db)
                return _hits(db, wanted, near, limit)
            finally:
                db.close()
        except (sqlite3.Error, database.Foreign, OSError, _Stale) as error:
            if "no such module" in str(error):
                raise StoreError(f"this Python's SQLite has no full-text search ({error}); use grep -r") from None
            if path:
                database.discard(store.disk, store.absolute(path))
            problem = error
    why = database.explained(store.disk, store.absolute(places.SEARCH), problem)
    raise StoreError(f"{store.absolute(places.SEARCH)}: {why}; delete it and search again")


def standing(store: Store, hits: list[Document]) -> list[Document]:
    """``hits`` with the ``status`` of a task, or the ``state`` of a message for the receiver that is least far.

    Without either, where it stands no more.
    """
    letters = [letter for hit in hits if hit["kind"] != "task" and (letter := lookup.sent(store, hit["id"]))]
    found = zip(letters, lookup.receivers_of(store, letters), strict=True)
    stands = {letter["msg_id"]: {"state": lookup.least(states)} for letter, states in found}
    for hit in hits:
        if hit["kind"] == "task" and (task := store.glance(places.task(hit["id"]))):
            stands[hit["id"]] = {"status": task["status"]}
    return [{"id": hit["id"], "kind": hit["kind"], **stands.get(hit["id"], {}), "text": hit["text"]} for hit in hits]


def query(words: Iterable[str]) -> str:
    """The FTS5 query for all of ``words``, each of them quoted; `Usage` if there is nothing to look for."""
    terms, letters = [], 0
    for word in dict.fromkeys(words):
        if any(map(str.isalnum, word)):
            stem, goes_on = pairs.asked(word.rstrip("*"))
            letters += len(word)
            terms.append(f'"{stem.replace(chr(34), chr(34) * 2)}"{"*" if goes_on or word[-1] == "*" else ""}')
    if not terms:
        raise Usage("search for what? name at least one word")
    if len(terms) > WORDS or letters > LETTERS:
        raise Usage(f"search for at most {WORDS} words, of {LETTERS} letters together")
    return " AND ".join(terms)


def _hits(db: Connection, wanted: str, near: re.Pattern[str], limit: int) -> tuple[list[Document], int]:
    sql = (
        "SELECT item.id, item.kind, word.said FROM word JOIN item ON item.place = word.rowid "
        "WHERE word MATCH ? ORDER BY rank, word.rowid DESC LIMIT ?"
    )
    found = [
        {"id": ident, "kind": kind, "text": _context(pairs.whole(said), near)}
        for ident, kind, said in db.execute(sql, (wanted, limit or -1))
    ]
    every = len(found)
    if limit and every == limit:
        every = db.execute("SELECT count(*) FROM word WHERE word MATCH ?", (wanted,)).fetchone()[0]
    return found, every - len(found)


def _first_place(words: Iterable[str]) -> re.Pattern[str]:
    """Finds the first of ``words``, as far as letters tell: where a word begins, as pairs of it do wherever they stand."""
    first = next(word for word in words if any(map(str.isalnum, word)))
    phrase = r"\W++".join(re.findall(r"\w+", composed(first)))
    return re.compile(phrase if pairs.cut(phrase) != phrase else rf"(?<!\w){phrase}", re.IGNORECASE)


def _context(said: str, near: re.Pattern[str]) -> str:
    """`CONTEXT` words around the first place that ``near`` finds, or from the beginning, on one line.

    Not SQLite's ``snippet``: that compares every hit in a text with every other, which of one word 100,000 times takes minutes.
    """
    place = near.search(said)
    at = place.start() if place else 0
    line = LINE if any(map(str.isspace, said[at : at + LINE])) else 3 * CONTEXT
    lead = _LEAD.search(said[max(0, at - line // 4) : at])
    start, stop = at - len(lead[0] if lead else ""), at + line * 3 // 4
    words = said[start:stop].split()
    ends = stop >= len(said) and len(words) <= CONTEXT
    return f"{'…' if start else ''}{' '.join(words[:CONTEXT])}{'' if ends else '…'}"


_LEAD = re.compile(rf"(?:\S+\s+){{0,{CONTEXT // 4}}}\S*$")
"""Of what stands before a hit, what is shown of it."""


# -- the index ---------------------------------------------------------------------------------------------------


def _opened(store: Store, path: str) -> Connection:
    """The index at ``path`` (in memory if that is empty), made where there is none that this store made."""
    import sqlite3

    name = _store_id(store)
    values = {"version": VERSION, "store": name, "seq": 0, "segment": 0, "offset": 0}

    def fill(db: Connection) -> None:
        db.executemany("INSERT INTO meta VALUES(?, ?)", values.items())

    if not path:
        db = sqlite3.connect(":memory:", isolation_level=None)
        database.declare(db, _TABLES)
        fill(db)
        return db
    file, stamp = store.absolute(path), database.stamp(store.whose, name, VERSION)
    store.check_folder(places.CACHE)
    try:
        return database.opened(file, stamp, _TABLES, PATIENCE, store.disk.owner)
    except database.Foreign:
        database.discard(store.disk, file)
    store.disk.folders(store.absolute(places.CACHE))
    database.make(store.disk, file, stamp, _TABLES, fill)
    return database.opened(file, stamp, _TABLES, PATIENCE, store.disk.owner)


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
    start = place if place.segment else Tail(0, store.journal.segments()[0], 0)
    known = place.seq
    for segment, at, line in store.journal.between(start, end):
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


def _is_silent(line: bytes) -> bool:
    """Whether a line's operation is one that puts no new text."""
    op = op_of(line)
    return op in _SILENT or op.startswith(_SILENT_NOUNS)


def _items(line: bytes) -> list[Item]:
    """What can be found of a record: messages as they were sent, tasks as they are described; `Corrupt` if it is none."""
    try:
        record = sound(decode(line))
        return [item for doc, paths in record["put"] for item in _found(record["op"], doc, paths[-1])]
    except (ValueError, LookupError) as error:
        raise Corrupt(f"the journal has a line that is no record: {error}; `mbox doctor` says where") from None


def _found(op: str, doc: Any, path: str) -> Iterator[Item]:
    kind = places.kind(path)
    try:
        if kind == "message" and (path.startswith(places.OUTBOX) or op == operations.STORE_ADOPT):
            doc = check(kind, doc)
            payload = "" if doc["payload"] is None else compact(doc["payload"])
            yield Item(doc["msg_id"], kind, "\n".join(part for part in (doc["subject"], doc["body"], payload) if part))
        elif kind == "task":
            doc = check(kind, doc)
            yield Item(doc["task_id"], kind, f"{doc['title']}\n{doc['description']}" if doc["description"] else doc["title"])
    except Newer:
        pass  # what a newer version wrote, it finds


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
        texts.append((row, pairs.cut(item.text)))
        rows.append((item.id, item.kind, crc, row))
    db.executemany("INSERT INTO word(rowid, said) VALUES(?, ?)", texts)
    db.executemany("INSERT OR REPLACE INTO item VALUES(?, ?, ?, ?)", rows)
    values = ((place.seq, "seq"), (place.segment, "segment"), (place.offset, "offset"))
    db.executemany("UPDATE meta SET value = ? WHERE name = ?", values)


def _known(db: Connection, ids: list[str]) -> dict[str, tuple[int, int]]:
    """The CRC and the row of those of ``ids`` that are in the index."""
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        sql = f"SELECT id, crc, place FROM item WHERE id IN ({', '.join('?' * len(some))})"
        found.update((ident, (crc, row)) for ident, crc, row in db.execute(sql, some))
    return found
