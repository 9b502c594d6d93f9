"""Comparing the files with the journal: what is missing, damaged, edited or foreign.

`survey` reads the whole journal and every document, without the lock: what a concurrent command changed meanwhile is
looked at again, up to `TRIES` times, before it is reported.

Promised: no document is changed.  Not promised: one moment for all of it, where others never stop writing.  What is found
is mended by `repair`, which looks at it once more.  (``store.md``, Long work.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mbox.errors import Corrupt, MboxError, StoreError, WentBack
from mbox.format import documents, ownership, places
from mbox.format.documents import Newer, Unfit
from mbox.journal.projection import Fold, fold
from mbox.journal.record import Record, Tail
from mbox.store.files import Files
from mbox.store.mark import Mark
from mbox.store.state import State, check_witness
from mbox.store.store import Store
from mbox.system.disk import TEMP


class Finding(NamedTuple):
    """One thing that is not as it should be.

    ``kind``: missing, damaged, edited, removed, foreign, newer (documents); lease, leftover, aside, folder (harmless);
    journal, place, mode, config, link; room (no writer works); ref (git's lock on the audit ref).  ``bad``: whether `doctor`
    says no because of it.
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
    return surveyed(store)[0]


def surveyed(store: Store) -> tuple[Survey, Fold]:
    """What `survey` says, and the journal folded up to there."""
    store.view = None  # it is the files that are compared, also where others are answered without them
    tail = store.end()
    try:
        folded = folded_journal(store, tail)
        findings = [*_journal(store), *_documents(store, folded), *missing_folders(store), *_strangers(store, folded)]
        findings += lease_findings(store)
        tail, findings = _settled(store, folded, tail, findings)
    except MboxError as error:
        return Survey(0, 0, tail, [Finding("journal", "", str(error))]), Fold()
    return Survey(folded.records, folded.count, tail, findings), folded


TRIES = 200
"""How often, a millisecond apart, what looks wrong is looked at again while others write."""

_OF_DOCUMENTS = frozenset(["missing", "damaged", "edited", "removed", "foreign", "newer", "place"])


def _settled(store: Store, folded: Fold, tail: Tail, findings: list[Finding]) -> tuple[Tail, list[Finding]]:
    """``findings`` looked at again until nobody wrote meanwhile: a record's documents stand before the mark says so."""
    for _ in range(TRIES):
        now = store.end()
        folded.extend(store.journal, tail, now)
        tail = now
        findings = list(still_wrong(store, folded, findings))
        if not any(finding.bad for finding in findings) or (_is_at_rest(store) and store.end() == tail):
            break
        store.host.sleep(0.001)
    return tail, findings


def _is_at_rest(store: State) -> bool:
    """Whether no record is in the middle of being published, whatever else is wrong with the files."""
    mark = store.mark()
    return mark is not None and (
        store.journal.size(mark.tail.segment) == mark.tail.offset and store.journal.is_last(mark.tail.segment)
    )


def still_wrong(store: State, folded: Fold, findings: list[Finding]) -> Iterator[Finding]:
    """What is still so of ``findings``, by the journal as it is folded now."""
    for finding in findings:
        once = finding.kind not in _OF_DOCUMENTS or finding.path.startswith(_ELSEWHERE)
        fresh = finding if once else _look(store, folded, finding.path)
        if fresh:
            yield fresh


def _look(store: State, folded: Fold, path: str) -> Finding | None:
    """What is wrong at ``path``, if anything."""
    doc = folded.document(store.journal, path)
    if doc is not None:
        return compare(store, path, doc)
    if not os.path.lexists(store.absolute(path)):
        return None
    return Finding("removed", path, _REMOVED) if path in folded.states else _stranger(path)


_REMOVED = "the journal says that it was removed, or moved away"


def folded_journal(store: Store, tail: Tail) -> Fold:
    segments = store.journal.segments()
    if segments and segments[0] != 1:
        raise Corrupt(f"{store.journal.path(1)} is missing: the journal does not start at its beginning")
    folded, _ = fold(store.journal, segments[0], tail, along=store.along)
    return folded


def paths_of(record: Record) -> Iterator[str]:
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
    elif why := _went_back(store, mark):
        yield Finding("journal", places.LOGS, why)
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


def _went_back(store: Store, mark: Mark | None) -> str:
    """What is wrong where journal and mark were put back together."""
    try:
        check_witness(store, mark)
    except WentBack as error:
        return str(error)
    return ""


def _documents(store: Store, folded: Fold) -> Iterator[Finding]:
    """Every document that the journal says stands: there, readable, the same."""
    for path, doc in folded.documents(store.journal):
        finding = compare(store, path, doc)
        if finding:
            yield finding
    for path in folded.gone():
        if os.path.lexists(store.absolute(path)):
            yield Finding("removed", path, _REMOVED)


def compare(store: State, path: str, doc: Any) -> Finding | None:
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
        found = documents.decode(kind, data, "" if kind == "deadletter" else places.ident(path))
    except Newer as error:
        return Finding("newer", path, str(error), False)
    except Unfit as error:
        return Finding("damaged", path, str(error))
    edited, owned = ownership.differing(kind, doc, found)
    said = [f"in {', '.join(edited)}: edited by hand"] if edited else []
    said += [f"in {', '.join(owned)}, which is {ownership.OWNED}"] if owned else []
    return Finding("edited", path, f"differs from the journal {'; '.join(said) or 'in its form alone'}")


def missing_folders(store: Store) -> Iterator[Finding]:
    """Folders of the layout that are not there."""
    for path in places.FOLDERS:
        if not os.path.lexists(store.absolute(path)):
            yield Finding("folder", path, "missing: git keeps no empty folder", False)


def _strangers(store: Store, folded: Fold) -> Iterator[Finding]:
    """Files that the journal does not know: documents nobody wrote, other files, left-overs, symlinks."""
    for folder in (places.MAILBOX, places.TASKS):
        for path, is_dir, is_link in _walk(store, folder):
            name = path.rpartition("/")[2]
            if is_link and not _is_work(path):
                yield Finding("link", path, "a symlink; the store is never followed out of itself")
            elif not is_dir and name.startswith(TEMP):
                yield Finding("leftover", path, "a temporary file that a crash left", False)
            elif not is_dir and path not in folded.states:
                finding = _stranger(path)
                if finding:
                    yield finding


_ELSEWHERE = (
    *(f".mailbox/{name}/" for name in ("logs", "leases", "heartbeat", "status", "locks", "cache")),
    ".tasks/leases/", ".tasks/index/",
)  # fmt: skip
_KNOWN = frozenset(
    [places.CONFIG, places.LOCK, places.CHECKPOINT, ".mailbox/hosts.yaml", ".mailbox/.gitignore", ".tasks/.gitignore"]
)


def _stranger(path: str) -> Finding | None:
    """A file that the journal does not name, unless it is one that it never names."""
    if path in _KNOWN or path.startswith(_ELSEWHERE):
        return None
    if _is_work(path):
        return None
    if path.startswith(f"{places.ASIDE}/"):
        return Finding("aside", path, "kept when the journal's state was put back; remove it once looked at", False)
    known = places.is_place(path)
    return Finding("foreign", path, "a document that the journal does not know" if known else "not a file of the store's layout")


def _is_work(path: str) -> bool:
    """Whether it is something that a run's programs have left; nobody relies on it."""
    return path.startswith(f"{places.RUNS}/") and path.split("/")[3:4] == ["work"] and path.count("/") > 3


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


def lease_findings(store: Store, paths: Iterable[str] | None = None) -> Iterator[Finding]:
    """Leases, of those at ``paths`` or all, whose document does not carry their token, and files that are no leases."""
    folders = (places.LEASES, places.TASK_LEASES)
    every = (f"{folder}/{name}" for folder in folders for name in store.names(folder))
    for path in every if paths is None else [path for path in paths if path.rpartition("/")[0] in folders]:
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
        doc = Files.read(store, where)  # as it stands: whoever surveys changes nothing
    except MboxError:
        return True
    if doc is None:
        return False
    if kind == "task":
        return bool(doc["token"] == token and doc["status"] in documents.ACTIVE)
    if kind == "reservation":
        return bool(doc["token"] == token)
    return True
