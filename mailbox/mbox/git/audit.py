"""The journal and the documents on a git ref of their own, from which they can be searched, and brought back.

Promised: each commit on the ref is the store as it was after some record: every record up to it, and every document as
these records left it; each adds only what is new.  Two commits at once make one line of history; two stores that began as
one (restored, or copied) and write to one ref make a line each, and every commit leads back to all before it (`commits`).
The lock is never taken and no document is read: the records since the last commit are folded, up to the mark
(``store.md``, Long work).  The user's side of the repository stays as it is (`plumbing`), and nothing is pushed.  Not
promised: that what was recorded after the last commit can be brought back.

| on the ref | |
|---|---|
| ``.mailbox/…``, ``.tasks/…`` | the documents, at their paths |
| ``.mailbox/logs/000001/000000012345.jsonl`` | a slice of a journal segment, from that byte on |
| ``.mailbox/config.yaml``, ``hosts.yaml`` | the person's files, as they are |

The end of a commit's message says how far it reaches (`Commit`): the next one goes on from there.

Files: ``.mailbox/cache/audit`` (`reminder`) is written after the ref has moved; a crash before that leaves the old one, and
the next reminder comes too early.  ``.mailbox/cache/auditing`` is there while the ref is moved, and after a failure (`reflock`).
"""

from __future__ import annotations

import json
from functools import partial
from typing import NamedTuple

from mbox.errors import Corrupt, MboxError, StoreError, Usage
from mbox.format import documents, places
from mbox.format.documents import Document
from mbox.journal.record import Tail, is_costly
from mbox.store.store import Store

from . import reflock
from .changes import Delta, blocks
from .commits import Commit, Wanted, goes_on, joined, message, slice_path, tip
from .objects import COMMIT, Blobs, Objects, Trees, nested
from .plumbing import Git
from .reminder import Reminder

PERSONS = (places.CONFIG, f"{places.MAILBOX}/hosts.yaml")
"""The files that a person writes: put on the ref as they are."""

WHO = "mbox audit <mbox@localhost>"
TRIES = 10
"""How often a commit starts over because another one was faster."""

TEXT = 200
"""Characters that `grep` shows around what was found."""


# -- commit ----------------------------------------------------------------------------------------------------------


def commit(store: Store, dry_run: bool = False) -> Document:
    """Put what is new on the ref: the commit, how far it reaches, how many records and documents it adds.

    Without anything new ``already`` is true and nothing is written.  `Refused` where there is no git, or the ref
    belongs to something else; `WentBack` where the ref knows more than the journal.  Where another store that began as this one
    wrote to the ref, both stay on it, and that is said.
    Why it failed is noted for `mbox status`.
    """
    try:
        made = _commit(store, dry_run)
    except MboxError as error:
        if not dry_run:
            reflock.failed(store, str(error))
        raise
    if not dry_run:
        reflock.ended(store)
    return made


def _commit(store: Store, dry_run: bool) -> Document:
    git, ref = Git.around(store.root), store.config.audit_ref
    git.moving = partial(reflock.moving, store, git.folder)
    why = ""
    for _ in range(TRIES):
        with Objects(git) as objects:
            last = tip(git, objects, ref)
            end = store.end()
            name = _store_id(store, end)
            base = goes_on(store, objects, Wanted(ref, name, end), last)
            start = base.tail if base else _beginning(store)
            persons = _persons(store, objects, base)
            if base and start == end and not persons:
                _noted(store, end, dry_run)
                return _answer(base, ref, 0, 0, already=True)
            delta = Delta()
            if (store.config.durability == "fast" or store.view is not None) and not dry_run:
                store.journal.sync(end.segment)  # what the ref says must not outlive the journal
            delta.read(store.journal, start, end)
            if dry_run:
                return {"ref": ref, "seq": end.seq, "records": delta.records, "documents": delta.fold.count}
            tree = _tree(store, objects, base, delta, persons)
        subject = delta.subject(end.seq) if delta.records else f"{', '.join(persons)} changed"
        said = message(subject, name, end, delta.records, delta.crc or (base.crc if base else ""))
        parents = [one.oid for one in dict.fromkeys((base, last)) if one]
        oid = git.commit(tree, parents, WHO, int(store.host.wall()), said)
        why = git.move(ref, oid, last.oid if last else None)
        if not why:
            _noted(store, end, dry_run)
            if last and base != last:
                store.say(joined(ref, last))
            made = Commit(oid, tree, 0, subject, name, end, delta.records, delta.crc)
            return _answer(made, ref, delta.records, delta.fold.count)
    raise StoreError(f"{ref} could not be moved: {why}; try again")


def _answer(made: Commit, ref: str, records: int, count: int, already: bool = False) -> Document:
    told = {"commit": made.oid, "ref": ref, "seq": made.tail.seq, "records": records, "documents": count}
    return {**told, "already": True} if already else told


def _store_id(store: Store, end: Tail) -> str:
    name: str = store.journal.header(end.segment)["store"]
    return name


def _beginning(store: Store) -> Tail:
    first = store.journal.segments()[0]
    if first != 1:
        raise Corrupt(f"{store.journal.path(1)} is missing: the journal does not start at its beginning")
    return Tail(0, 1, 0)


def _persons(store: Store, objects: Objects, last: Commit | None) -> dict[str, bytes | None]:
    """The person's files that are not as on the ref; None for one that is gone."""
    changed: dict[str, bytes | None] = {}
    for path in PERSONS:
        try:
            now: bytes | None = store.bytes_of(path)
        except FileNotFoundError:
            now = None
        except OSError as error:
            store.say(f"{store.absolute(path)}: {error.strerror}; left out")
            continue
        if now != (objects.get(f"{last.tree}:{path}") if last else None):
            changed[path] = now
    return changed


def _tree(store: Store, objects: Objects, last: Commit | None, delta: Delta,
          persons: dict[str, bytes | None]) -> str:  # fmt: skip
    """Write what is new; the new top folder."""
    marks: dict[str, int] = {}
    with Blobs(objects.git) as blobs:
        for segment, offset, stop in delta.slices:
            for _, at, block in blocks(store.journal, Tail(0, segment, offset), Tail(0, segment, stop)):
                marks[slice_path(segment, at)] = blobs.add(block)
        for path, content in persons.items():
            if content is not None:
                marks[path] = blobs.add(content)
        for content, paths in delta.documents(store.journal):
            mark = blobs.add(content)
            marks.update((path, mark) for path in paths if places.kind(path))
        names = blobs.names()
    changes: dict[str, bytes | None] = dict.fromkeys((path for path, state in persons.items() if state is None))
    changes |= {path: names[mark - 1] for path, mark in marks.items()}
    with Trees(objects.git, objects) as trees:
        old = last.tree.encode() if last else None
        for path, state in delta.fold.states.items():
            if isinstance(state, str):
                entry = trees.find(old, state) if old else None
                if entry and places.kind(path):
                    changes[path] = entry.oid
            elif state is None:
                changes[path] = None
        tree = trees.write(old, nested(changes))
    assert tree
    return tree.decode()


def _noted(store: Store, end: Tail, dry_run: bool) -> None:
    if not dry_run:
        Reminder.begin(store, end)


# -- looking ---------------------------------------------------------------------------------------------------------


def log(store: Store, limit: int) -> tuple[list[Document], int]:
    """The newest ``limit`` commits (0: all), newest last, and how many older ones there are."""
    git = Git.around(store.root)
    oid = git.ref(store.config.audit_ref)
    if oid is None:
        return [], 0
    oids = git.run("rev-list", oid, "--").stdout.decode().split()
    with Objects(git) as objects:
        found = [Commit.of(one, objects.need(one, COMMIT)) for one in oids[: limit or None]]
    return [commit.row() for commit in reversed(found) if commit], len(oids) - len(found)


class GrepQuery(NamedTuple):
    """What `grep` looks for: all of ``words`` in one line, of the documents or (``history``) of the journal."""

    words: tuple[str, ...]
    history: bool = False
    regexp: bool = False
    ignore_case: bool = False

    def arguments(self, oid: str) -> list[str]:
        """The arguments of git-grep(1).  Plain words are looked for as JSON spells them."""
        asked = self.words if self.regexp else [documents.compact(word)[1:-1] for word in self.words]
        if not asked or any(not word or "\n" in word or "\0" in word for word in asked):
            raise Usage("search for one or more words, each in one line")
        terms = [part for word in asked for part in ("--and", "-e", word)][1:]
        where = [places.LOGS] if self.history else [places.MAILBOX, places.TASKS, f":(exclude){places.LOGS}"]
        how = ["-E" if self.regexp else "-F", *(["-i"] if self.ignore_case else [])]
        return ["--no-color", "--full-name", "--null", "-n", "-a", "--no-column", *how, *terms, oid, "--", *where]


def grep(store: Store, wanted: GrepQuery, limit: int, full: bool = False) -> tuple[list[Document], int]:
    """The first ``limit`` (0: all) lines on the ref that are ``wanted``, and how many more there are.

    Rows are ``path line text``; of the journal ``seq ts by op on text``.  Texts are cut to `TEXT` characters unless
    ``full``.
    """
    git = Git.around(store.root)
    oid = git.ref(store.config.audit_ref)
    rows: list[Document] = []
    left = 0
    if oid:
        git.refuse_endless(oid)
    try:
        for line in git.lines("grep", *wanted.arguments(oid), fine=(0, 1)) if oid else ():
            if limit and len(rows) == limit:
                left += 1
            else:
                rows.append(_found(line, wanted, full))
    except StoreError as error:
        if wanted.regexp:
            raise Usage(str(error)) from None  # most likely no regular expression
        raise
    return rows, left


def _found(line: bytes, wanted: GrepQuery, full: bool) -> Document:
    name, _, rest = line.decode("utf-8", "replace").rstrip("\n").partition("\0")
    number = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    text = rest[len(number) + 1 :].strip()
    shown = text if full else excerpt(text, wanted.words[0])
    if not wanted.history:
        return {"path": name.partition(":")[2], "line": int(number), "text": shown}
    if is_costly(text.encode()):
        raise Corrupt(f"{name}: a record there would take more memory than one may; `--history` cannot show it")
    record = json.loads(text)
    return {**{field: record[field] for field in ("seq", "ts", "by", "op", "on")}, "text": shown}


def excerpt(text: str, word: str) -> str:
    """About `TEXT` characters of ``text`` around ``word``."""
    if len(text) <= TEXT:
        return text
    at = max(0, text.lower().find(word.lower()))
    start = max(0, min(at - TEXT // 3, len(text) - TEXT))
    return f"{'…' if start else ''}{text[start : start + TEXT]}{'…' if start + TEXT < len(text) else ''}"
