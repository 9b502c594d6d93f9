"""Comparing the files with the journal, and mending what has one right answer.

`survey` reads the whole journal and every document, without the lock: what a concurrent command changed meanwhile is
looked at again before it is reported.  `repair` mends under the lock, in records of its own, what it finds again
there: missing and damaged documents come back from the journal, a valid document edited by hand is adopted as
``store.adopt``, what nobody knows goes into the dead letters, left-overs of crashes are removed.  `rebuild` makes
every document again from the journal alone, in a shadow folder, and moves what differs into place under the lock; it
is done file by file, so that a death in between leaves only documents that the journal knows.  (``store.md``, Long
work.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from mbox import publishing
from mbox.format import documents
from mbox.format import places
from mbox.system.disk import TEMP
from mbox.format.documents import Newer, Unfit
from mbox.errors import Corrupt, MboxError, Refused, StoreError
from mbox.store.files import is_folder
from mbox.journal.projection import Fold, fold
from mbox.journal.segments import Record, Tail
from mbox.store.lock import Lock
from mbox.store.quarantine import envelop
from mbox.store.store import Actor, Store, Transaction

BATCH = 200
"""Documents mended in one record at most."""


class Finding(NamedTuple):
    """One thing that is not as it should be.

    ``kind``: missing, damaged, edited, foreign, newer (documents); lease, leftover (harmless); journal, place, mode,
    config, link.  ``bad``: whether `doctor` says no because of it.
    """

    kind: str
    path: str
    problem: str
    bad: bool = True

    def row(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path, "problem": self.problem, "bad": self.bad}


class Survey(NamedTuple):
    """What `survey` saw: how much, up to where, and what was wrong."""

    records: int
    documents: int
    tail: Tail
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        return not any(finding.bad for finding in self.findings)


def survey(store: Store) -> Survey:
    """Read everything and compare.  Raises only where the journal itself cannot be read at all."""
    return _surveyed(store)[0]


def _surveyed(store: Store) -> tuple[Survey, Fold]:
    """What `survey` says, and the journal folded up to there."""
    tail = store.end()
    try:
        folded = _folded(store, tail)
        findings = [*_journal(store), *_documents(store, folded), *_strangers(store, folded), *_leases(store)]
        tail, findings = _settled(store, folded, tail, findings)
    except MboxError as error:
        return Survey(0, 0, tail, [Finding("journal", "", str(error))]), Fold()
    standing = sum(1 for place in folded.states.values() if place)
    return Survey(folded.records, standing, tail, findings), folded


TRIES = 200
"""How often, a millisecond apart, what looks wrong is looked at again while others write."""

_OF_DOCUMENTS = frozenset(["missing", "damaged", "edited", "foreign", "newer", "place"])


def _settled(store: Store, folded: Fold, tail: Tail, findings: list[Finding]) -> tuple[Tail, list[Finding]]:
    """``findings`` looked at again until nobody wrote meanwhile: a record's documents stand before the mark says so."""
    for _ in range(TRIES):
        now = store.end()
        folded.extend(store.journal, tail, now)
        tail = now
        findings = list(_still(store, folded, findings))
        if not any(finding.bad for finding in findings) or (not store.is_behind() and store.end() == tail):
            break
        time.sleep(0.001)
    return tail, findings


def _still(store: Store, folded: Fold, findings: list[Finding]) -> Iterator[Finding]:
    """What is still so of ``findings``, by the journal as it is folded now."""
    for finding in findings:
        once = finding.kind not in _OF_DOCUMENTS or finding.path.startswith(_ELSEWHERE)
        fresh = finding if once else _look(store, folded, finding.path)
        if fresh:
            yield fresh


def _look(store: Store, folded: Fold, path: str) -> Finding | None:
    """What is wrong at ``path``, if anything."""
    doc = folded.document(store.journal, path)
    if doc is not None:
        return compare(store, path, doc)
    if not os.path.lexists(store.absolute(path)):
        return None
    return Finding("foreign", path, "the journal says that it was removed") if path in folded.states else _stranger(path)


def _folded(store: Store, tail: Tail) -> Fold:
    segments = store.journal.segments()
    if segments and segments[0] != 1:
        raise Corrupt(f"{store.journal.path(1)} is missing: the journal does not start at its beginning")
    folded, _ = fold(store.journal, segments[0], tail)
    return folded


def _paths(record: Record) -> Iterator[str]:
    for _doc, paths in record["put"]:
        yield from paths
    yield from record["del"]
    for pair in record["mv"]:
        yield from pair
    for path, _lease in record["lease"]:
        yield path


def _journal(store: Store) -> Iterator[Finding]:
    mark = store.mark()
    if mark and store.journal.size(mark.tail.segment) < mark.tail.offset:
        path = f"{places.LOGS}/{mark.tail.segment:06d}.jsonl"
        yield Finding("journal", path, "shorter than what was written: the store was taken back in time")
    elif store.is_behind():
        yield Finding("journal", places.LOGS, "the files do not follow the journal yet; the next command does it", False)
    seq = 0
    for segment in store.journal.segments():
        try:
            header = store.journal.header(segment)
        except StoreError as error:
            yield Finding("journal", places.LOGS, str(error))
            continue
        if header["seq"] <= seq:
            yield Finding("journal", places.LOGS, f"segment {segment:06d} starts at {header['seq']}, behind {seq}")
        seq = header["seq"]


def _documents(store: Store, folded: Fold) -> Iterator[Finding]:
    """Every document that the journal says stands: there, readable, the same."""
    for path, doc in folded.documents(store.journal):
        finding = compare(store, path, doc)
        if finding:
            yield finding
    for path in folded.gone():
        if os.path.lexists(store.absolute(path)):
            yield Finding("foreign", path, "the journal says that it was removed")


def compare(store: Store, path: str, doc: Any) -> Finding | None:
    """How the file at ``path`` differs from ``doc``, which the journal says is there."""
    try:
        kind = places.kind(path)
        data = store.bytes_of(path)
    except FileNotFoundError:
        return Finding("missing", path, "the journal has it, the folder does not")
    except Corrupt as error:
        return Finding("place", path, str(error))
    except OSError as error:
        return Finding("damaged", path, error.strerror or str(error))
    if data == documents.encode(kind, doc):
        return None
    try:
        documents.decode(kind, data, "" if kind == "deadletter" else places.ident(path))
    except Newer as error:
        return Finding("newer", path, str(error), False)
    except Unfit as error:
        return Finding("damaged", path, str(error))
    return Finding("edited", path, "a valid document that differs from the journal: edited by hand")


def _strangers(store: Store, folded: Fold) -> Iterator[Finding]:
    """Files that the journal does not know: documents nobody wrote, other files, left-overs, symlinks."""
    for folder in (places.MAILBOX, places.TASKS):
        for path, is_dir, is_link in _walk(store, folder):
            name = path.rpartition("/")[2]
            if is_link:
                yield Finding("link", path, "a symlink; the store is never followed out of itself")
            elif not is_dir and name.startswith(TEMP):
                yield Finding("leftover", path, "a temporary file that a crash left", False)
            elif not is_dir and path not in folded.states:
                finding = _stranger(path)
                if finding:
                    yield finding


_ELSEWHERE = (
    *(f".mailbox/{name}/" for name in ("logs", "leases", "heartbeat", "status", "locks", "cache", "runs")),
    ".tasks/leases/", ".tasks/index/",
)  # fmt: skip
_KNOWN = frozenset([places.CONFIG, places.LOCK, ".mailbox/hosts.yaml", ".mailbox/.gitignore", ".tasks/.gitignore"])


def _stranger(path: str) -> Finding | None:
    """A file that the journal does not name, unless it is one that it never names."""
    if path in _KNOWN or path.startswith(_ELSEWHERE):
        return None
    known = places.is_place(path)
    return Finding("foreign", path, "a document that the journal does not know" if known else "not a file of the store's layout")


def _walk(store: Store, folder: str) -> Iterator[tuple[str, bool, bool]]:
    """``(path, is folder, is symlink)`` of everything below ``folder``; symlinks are not followed."""
    try:
        with os.scandir(store.absolute(folder)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:  # a shadow folder, a cache: gone while we looked
        return
    for entry in found:
        path = f"{folder}/{entry.name}"
        is_dir = entry.is_dir(follow_symlinks=False)
        yield path, is_dir, entry.is_symlink()
        if is_dir:
            yield from _walk(store, path)


def _leases(store: Store) -> Iterator[Finding]:
    """Leases whose document does not carry their token, and files that are no leases."""
    for folder in (places.LEASES, places.TASK_LEASES):
        for name in store.names(folder):
            path = f"{folder}/{name}"
            try:
                lease = store.load_lease(path)
            except Corrupt as error:
                yield Finding("foreign", path, str(error))
                continue
            if lease is None:
                yield Finding("lease", path, "cannot be read; ephemeral, made anew at the next look", False)
            elif not _carried(store, path, lease.token):
                yield Finding("lease", path, "its document is not leased under this token: void", False)


def _carried(store: Store, path: str, token: int) -> bool:
    """Whether the document that the lease at ``path`` belongs to is leased under ``token``."""
    first, _, second = places.ident(path).partition("@")
    kind = places.lease_kind(path)
    where = {
        "task": lambda: places.task(first),
        "review": lambda: places.task(first),
        "reservation": lambda: places.reservation(first),
        "read": lambda: places.cur(second, first),
    }[kind]()
    try:
        doc = store.read(where)
    except MboxError:
        return True
    if doc is None:
        return False
    if kind == "task":
        return bool(doc["token"] == token and doc["status"] in ("claimed", "running"))
    if kind == "reservation":
        return bool(doc["token"] == token)
    return True


# -- mending -------------------------------------------------------------------------------------------------------


def repair(store: Store, by: Actor) -> list[Finding]:
    """Mend what `survey` finds; what was mended.  What it cannot mend is found by the next `survey`."""
    store.catch_up()
    found, folded = _surveyed(store)
    if any(finding.kind == "journal" and finding.bad for finding in found.findings):
        raise Corrupt("; ".join(f.problem for f in found.findings if f.kind == "journal") + "; nothing was mended")
    mended = _sweep_up(store, [f for f in found.findings if f.kind in ("leftover", "lease")])
    state = _State(folded, found.tail)
    wrong = [f for f in found.findings if f.kind in ("missing", "damaged", "edited", "foreign")]
    for at in range(0, len(wrong), BATCH):
        batch = wrong[at : at + BATCH]

        def decide(tx: Transaction, batch: list[Finding] = batch) -> list[Finding]:
            state.follow(tx.store)
            return _mend(tx, list(_still(tx.store, state.folded, batch)), state.folded)

        mended += store.transact(decide, by)
    with store.locked():
        store.drop_index()
    return mended


class _State:
    """The journal folded, and up to where."""

    def __init__(self, folded: Fold, tail: Tail) -> None:
        self.folded, self.tail = folded, tail

    def follow(self, store: Store) -> None:
        """Fold what was written since, with the lock held."""
        self.folded.extend(store.journal, self.tail, store.tail)
        self.tail = store.tail


def _sweep_up(store: Store, findings: list[Finding]) -> list[Finding]:
    """Remove left-overs of crashes and void leases, with the lock held: then no writer is in the middle of anything.

    Some files are written without the lock; what may still be under way for those is left.
    """
    removed = []
    if findings:
        with store.locked():
            void = {finding.path for finding in _leases(store)}
            for finding in findings:
                path = store.absolute(finding.path)
                fresh = finding.path.startswith(_UNLOCKED) and _age(store, path) < UNDER_WAY
                if not fresh and (finding.kind == "leftover" or finding.path in void):
                    store.disk.discard(path)
                    removed.append(finding)
            store.drop_index()
    return removed


UNDER_WAY = 60.0
"""Seconds for which a temporary file outside the lock may belong to somebody alive."""

_UNLOCKED = tuple(f".mailbox/{name}/" for name in ("heartbeat", "status", "locks", "cache", "runs"))


def _age(store: Store, path: str) -> float:
    try:
        return store.host.wall() - os.lstat(path).st_mtime
    except OSError:
        return UNDER_WAY


def _mend(tx: Transaction, findings: list[Finding], folded: Fold) -> list[Finding]:
    """One record that mends ``findings``."""
    mended, said = [], []
    for finding in findings:
        path = finding.path
        if finding.kind == "edited":
            doc: Any = tx.notes(path) if path.startswith(places.NOTES) else tx.read(path)
            tx.put(doc, path)
            said.append(f"{path}: adopted")
        elif finding.kind in ("missing", "damaged") and not is_folder(tx.store.absolute(path)):
            _keep(tx, path, finding) if finding.kind == "damaged" else None
            tx.put(folded.document(tx.store.journal, path), path)
            said.append(f"{path}: restored")
        elif finding.kind not in ("damaged", "foreign") or not places.is_place(path) or not _keep(tx, path, finding):
            continue
        else:
            tx.delete(path)
            said.append(f"{path}: to the dead letters")
        mended.append(finding)
    if mended:
        op = "store.adopt" if all(f.kind == "edited" for f in mended) else "store.repair"
        tx.record(op, sorted({places.ident(f.path) for f in mended}), "; ".join(said)[:2000])
    return mended


def _keep(tx: Transaction, path: str, finding: Finding) -> bool:
    """Put what stands at ``path`` into the dead letters; whether it could be read."""
    try:
        data = tx.store.bytes_of(path)
    except (OSError, StoreError):
        return False
    envelop(tx, path, f"{finding.kind} document", finding.problem, data)
    return True


class Rebuilt(NamedTuple):
    """What `rebuild` did: records read, documents the journal says stand, files written, files removed."""

    records: int
    documents: int
    written: int
    removed: int


def rebuild(store: Store, drop_edits: bool = False) -> Rebuilt:
    """Make every document again from the journal alone.

    Refused while valid edits by hand stand, unless ``drop_edits``.  Files that the journal does not know stay.
    """
    store.check_folder(places.CACHE)
    shadow = store.absolute(f"{places.CACHE}/rebuild")
    store.disk.folders(shadow)
    alone = Lock(store.absolute(f"{places.CACHE}/rebuild.lock"), store.disk, store.host, store.settings.lock_backend)
    alone.open(create=True)
    try:
        alone.take(0)
        return _rebuild(store, shadow, drop_edits)
    finally:
        alone.close()


def _rebuild(store: Store, shadow: str, drop_edits: bool) -> Rebuilt:
    _clear(store, shadow)
    tail = store.end()
    folded = _folded(store, tail)
    staged, edited = _stage(store, folded, shadow)
    gone = [path for path in folded.gone() if os.path.lexists(store.absolute(path))]
    try:
        with store.locked():
            changed = {path for _, record in store.journal.records(tail, store.tail) for path in _paths(record)}
            _refuse_edits([path for path in edited if path not in changed and not drop_edits])
            for path in [path for path in staged if path not in changed]:
                store.check_folder(os.path.dirname(path))
                store.disk.folders(os.path.dirname(store.absolute(path)))
                store.disk.rename(staged[path], store.absolute(path))
            for path in [path for path in gone if path not in changed]:
                publishing.remove(store, path)
            store.drop_index()
    finally:
        _clear(store, shadow)
    return Rebuilt(folded.records, sum(1 for place in folded.states.values() if place), len(staged), len(gone))


def _refuse_edits(edited: list[str]) -> None:
    if edited:
        raise Refused(
            f"{len(edited)} documents were edited by hand ({', '.join(edited[:3])}); "
            "`mbox doctor --repair` adopts them, `mbox rebuild --drop-edits` drops them"
        )


def _stage(store: Store, folded: Fold, shadow: str) -> tuple[dict[str, str], list[str]]:
    """Write what differs into the shadow folder: path → file there; and which paths were edited by hand."""
    staged: dict[str, str] = {}
    edited = []
    for path, doc in folded.documents(store.journal):
        finding = compare(store, path, doc)
        if finding is None or finding.kind in ("newer", "place"):
            continue
        if finding.kind == "edited":
            edited.append(path)
        temp = f"{shadow}/{len(staged)}"
        store.disk.create(temp, documents.encode(places.kind(path), doc))
        staged[path] = temp
    return staged, edited


def _clear(store: Store, folder: str) -> None:
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            store.disk.discard(f"{folder}/{name}")
