"""Mending what the survey found, and making every document anew from the journal.

`repair` mends under the lock what it finds again there, and says of each document what was done.  Missing and damaged
documents come back as the journal has them, and what the journal says was removed goes, without a record.  Of a valid
document that differs, what people may edit (`format.ownership`) is adopted by ``store.adopt``, which names the fields, if
the command that sets it would take it; everything else is put back, and a document that is older than its last record
(`store.earlier`) is put back whole.  What nobody knows goes into the dead letters, a record for `BATCH` of them
(``store.repair`` where there are such).  Left-overs of crashes and void leases are removed, folders that git did not keep are
made.  Leases come last, for a wrong document makes a good one look void.

`rebuild` makes every document again from the journal alone, in a shadow folder, and moves what differs into place under
the lock, `SWAPPED` documents at a time; it is done file by file, so that a death in between leaves only documents that
the journal knows.  Both are long work of a person's: the lock is free in between, and a signal ends them as soon as it is.

Promised: `repair` throws no document's bytes away: they are in the journal, or kept `aside`; no field that is the toolkit's
own is ever taken from a file; and where the journal itself is damaged nothing is mended.  Not promised: that everything
can be mended; what cannot is found by the next survey.  (``store.md``, Long work.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mbox.errors import Corrupt, Refused, StoreError
from mbox.format import documents, operations, ownership, places
from mbox.format.ownership import Judged
from mbox.journal.projection import Fold
from mbox.journal.record import Tail
from mbox.store import aside, bootstrap, checkpoint, files
from mbox.store.earlier import earlier
from mbox.store.files import is_folder
from mbox.store.lock import Lock
from mbox.store.quarantine import envelop
from mbox.store.state import State
from mbox.store.store import Actor, Store, Transaction

from .survey import (
    Finding,
    Survey,
    compare,
    folded_journal,
    lease_findings,
    missing_folders,
    paths_of,
    still_wrong,
    survey,
    surveyed,
)  # fmt: skip

BATCH = 200
"""Documents mended in one record at most, or put back or removed before the lock is given up in between."""

SWAPPED = 1000
"""Documents that `rebuild` moves into place before it gives up the lock in between."""

RESTORED, REMOVED = "restored as the journal has it", "removed, as the journal says"
OLDER = "it was older than its last record"


class Mended(NamedTuple):
    """What was wrong (`Finding.kind`) with the file at ``path``, and what was done to it."""

    kind: str
    path: str
    did: str

    def row(self) -> dict[str, str]:
        return self._asdict()


def repair(store: Store, by: Actor) -> list[Mended]:
    """Mend what `survey` finds; what was done to each.  What it cannot mend is found by the next `survey`."""
    with store.locked():
        pass  # the files follow the journal; what people edited in them stays until it is looked at here
    found, folded = surveyed(store)
    _refuse_damage(found)
    mended = _make_folders(store)
    known = _Known(folded, found.tail)
    known.look_back(store, found.findings)
    _go_on_above(store, [f.path for f in found.findings if f.kind in ("foreign", "newer") and places.is_place(f.path)])
    mended += _put_back(store, known, [f for f in found.findings if f.kind in ("missing", "damaged", "removed")])
    wrong = [f for f in found.findings if f.kind in ("edited", "foreign")]


    def decide(tx: Transaction) -> tuple[list[Mended], int]:
        known.follow(tx.store)
        return _mend(tx, known, wrong[:BATCH])

    while wrong:
        some, seen = store.transact(decide, by)
        mended += some
        wrong = wrong[seen:]
    mended += _sweep_up(store, [f for f in found.findings if f.kind in ("leftover", "lease")])
    with store.locked():
        store.drop_index()
    store.catch_up()  # the folders are stamped again, so that nobody has to look at them once more
    return mended


def _go_on_above(store: Store, paths: list[str]) -> None:
    """Give no number that a document shows which the journal does not know."""
    if paths:
        with store.locked():
            store.go_on_above(max(bootstrap.number(store, path) for path in paths))


def foreseen(store: Store) -> list[Finding]:
    """What `repair` would mend now; changes nothing."""
    found = survey(store)
    _refuse_damage(found)
    return [finding for finding in found.findings if _can_mend(store, finding)]


def _refuse_damage(found: Survey) -> None:
    if any(finding.kind == "journal" and finding.bad for finding in found.findings):
        raise Corrupt("; ".join(f.problem for f in found.findings if f.kind == "journal") + "; nothing was mended")


def _can_mend(store: Store, finding: Finding) -> bool:
    path = store.absolute(finding.path)
    match finding.kind:
        case "edited" | "folder":
            return True
        case "leftover" | "lease":
            return not (finding.path.startswith(_UNLOCKED) and _age(store, path) < UNDER_WAY)
        case "missing" | "damaged" | "removed":
            return not is_folder(path)
        case "foreign":
            return places.is_place(finding.path) and not is_folder(path)
    return False


class _Known:
    """The journal folded, and up to where; and which files hold what it had earlier."""

    def __init__(self, folded: Fold, tail: Tail) -> None:
        self.folded, self.tail = folded, tail
        self._older: dict[str, bytes] = {}

    def follow(self, store: State) -> None:
        """Fold what was written since, with the lock held."""
        self.folded.extend(store.journal, self.tail, store.tail)
        self.tail = store.tail

    def look_back(self, store: State, findings: Iterable[Finding]) -> None:
        """Find which of the files are older than their last record."""
        standing = {f.path: _bytes(store, f.path) for f in findings if f.kind in ("edited", "removed")}
        found = {path: data for path, data in standing.items() if data and places.is_place(path)}
        self._older = {path: found[path] for path in earlier(store.journal, found, self.tail)}

    def is_older(self, store: State, path: str) -> bool:
        """Whether what stands at ``path`` now is what the journal had there earlier."""
        return path in self._older and _bytes(store, path) == self._older[path]

    def document(self, store: State, path: str) -> Any:
        return self.folded.document(store.journal, path)


def _bytes(store: State, path: str) -> bytes:
    """What stands at ``path``; nothing where it cannot be read."""
    try:
        return store.bytes_of(path)
    except (OSError, StoreError):
        return b""


def _make_folders(store: Store) -> list[Mended]:
    """Make the folders that git, which keeps no empty ones, has not kept."""
    missing = list(missing_folders(store))
    if missing:
        with store.locked():
            for finding in missing:
                store.check_folder(finding.path)
                store.disk.folders(store.absolute(finding.path))
    return [Mended(finding.kind, finding.path, "made") for finding in missing]


def _put_back(store: Store, known: _Known, findings: list[Finding]) -> list[Mended]:
    """Bring the documents to what the journal has, without a record; what stood there is kept aside."""
    mended = []
    for at in range(0, len(findings), BATCH):
        with store.locked():
            known.follow(store)
            for finding in still_wrong(store, known.folded, findings[at : at + BATCH]):
                if is_folder(store.absolute(finding.path)):
                    continue
                try:
                    mended.append(_restored(store, known, finding))
                except StoreError as error:  # what cannot be kept stays, and keeps nothing else from being mended
                    store.say(str(error))
    return mended


def _restored(store: State, known: _Known, finding: Finding, because: str = "") -> Mended:
    """Bring one document to what the journal has; its bytes are kept unless the journal has those too."""
    path, doc = finding.path, known.document(store, finding.path)
    older = known.is_older(store, path)
    kept = "" if older else aside.keep(store, path)
    aside.put_back(store, path, doc)
    did = RESTORED if doc is not None else REMOVED
    why = OLDER if older else because
    did += (f": {why}" if why else "") + (f"; what stood there is kept as {kept}" if kept else "")
    return Mended(finding.kind, path, did)


def _sweep_up(store: Store, findings: list[Finding]) -> list[Mended]:
    """Remove left-overs of crashes and void leases, with the lock held: then no writer is in the middle of anything.

    The documents come first: by one that is wrong a lease that holds would look void.  Some files are written without the
    lock; what may still be under way for those is left.
    """
    removed = []
    for at in range(0, len(findings), BATCH):
        with store.locked():
            some = findings[at : at + BATCH]
            void = {finding.path for finding in lease_findings(store, [finding.path for finding in some])}
            for finding in some:
                path = store.absolute(finding.path)
                fresh = finding.path.startswith(_UNLOCKED) and _age(store, path) < UNDER_WAY
                if not fresh and (finding.kind == "leftover" or finding.path in void):
                    store.disk.discard(path)
                    removed.append(Mended(finding.kind, finding.path, "removed"))
    return removed


UNDER_WAY = 60.0
"""Seconds for which a temporary file outside the lock may belong to somebody alive."""


_UNLOCKED = tuple(f".mailbox/{name}/" for name in ("heartbeat", "status", "locks", "cache", "runs"))


def _age(store: Store, path: str) -> float:
    try:
        return store.host.wall() - os.lstat(path).st_mtime
    except OSError:
        return UNDER_WAY


def _mend(tx: Transaction, known: _Known, findings: list[Finding]) -> tuple[list[Mended], int]:
    """One record that adopts what people edited and takes what the journal does not know to the dead letters.

    What was done, and how many of ``findings`` it came to until the transaction was laden.
    """
    mended, said, seen = list[Mended](), list[str](), 0
    settled: dict[str, Judged] = {}
    for found in findings:
        if tx.is_laden and seen:
            break
        seen += 1
        finding = next(still_wrong(tx.store, known.folded, [found]), None)
        if finding is None:
            continue
        path = finding.path
        if finding.kind == "edited":
            done = _settle(tx, known, finding, settled)
            said += [f"{path}: {', '.join(settled[path].adopted)}"] if path in settled else []
        elif finding.kind == "foreign" and places.is_place(path) and _keep(tx, path, finding):
            tx.delete(path)
            done = Mended(finding.kind, path, "moved to the dead letters")
            said.append(f"{path}: to the dead letters")
        else:
            continue
        mended.append(done)
    if said:
        op = operations.STORE_REPAIR if any(done.kind == "foreign" for done in mended) else operations.STORE_ADOPT
        on = {places.ident(done.path) for done in mended if done.kind == "foreign" or done.path in settled}
        tx.record(op, sorted(on), "; ".join(said)[:2000])
    return mended, seen


def _settle(tx: Transaction, known: _Known, finding: Finding, settled: dict[str, Judged]) -> Mended:
    """Adopt of an edited document what people may edit, noted in ``settled``, and put the rest back."""
    store, path = tx.store, finding.path
    if known.is_older(store, path):
        return _restored(store, known, finding)

    def dependencies(task_id: str) -> list[str] | None:
        place = places.task(task_id)
        doc = settled[place].doc if place in settled else known.document(store, place)
        return list(doc["depends_on"]) if doc else None

    kind, data = places.kind(path), store.bytes_of(path)
    store.looked += len(data)
    found = documents.decode(kind, data)
    judged = ownership.adoptable(kind, known.document(store, path), found, store.folds(), dependencies)
    if not judged.adopted:
        return _restored(store, known, finding, _refusals(judged))
    settled[path] = judged
    tx.put(judged.doc, path)
    did = f"adopted {', '.join(judged.adopted)}"
    if judged.refused:
        did += f"; put back {_refusals(judged)}; what stood there is kept as {aside.keep(store, path)}"
    return Mended(finding.kind, path, did)


def _refusals(judged: Judged) -> str:
    """The fields that were not taken, those that are the toolkit's own together."""
    owned = [name for name, why in judged.refused.items() if why == ownership.OWNED]
    said = [f"{', '.join(owned)} ({ownership.OWNED})"] if owned else []
    return "; ".join([*said, *(f"{name} ({why})" for name, why in judged.refused.items() if name not in owned)])


def _keep(tx: Transaction, path: str, finding: Finding) -> bool:
    """Put what stands at ``path`` into the dead letters; whether it could be read."""
    try:
        data = tx.store.bytes_of(path)
    except (OSError, StoreError):
        return False
    tx.store.looked += len(data)
    envelop(tx, path, f"{finding.kind} document", finding.problem, data)
    return True


class Rebuilt(NamedTuple):
    """What `rebuild` did: records read, documents the journal says stand, files written, files removed; and to each, what."""

    records: int
    documents: int
    written: int
    removed: int
    did: list[Mended]


def rebuild(store: Store, drop_edits: bool = False) -> Rebuilt:
    """Make every document again from the journal alone.

    Refused while edits of people stand, unless ``drop_edits``: then they are lost.  What else stood in a file and the
    journal never had is kept aside.  Files that the journal does not know stay.
    """
    store.check_folder(f"{places.CACHE}/rebuild")
    shadow = store.absolute(f"{places.CACHE}/rebuild")
    store.disk.folders(shadow)
    alone = Lock(store.absolute(f"{places.CACHE}/rebuild.lock"), store.disk, store.host, store.locking)
    alone.open(create=True)
    try:
        alone.take(store.config.lock_wait)  # another one is on its way: what it leaves is looked at anew
        alone.tell_holder()
        return _rebuild(store, shadow, drop_edits)
    finally:
        alone.close()


def rebuilt(store: Store, drop_edits: bool = False) -> Rebuilt:
    """What `rebuild` would do now, refused as it would be; changes nothing."""
    tail = store.end()
    known = _Known(folded_journal(store, tail), tail)
    found = list(_differing(store, known))
    gone = _gone(store, known)
    known.look_back(store, [*found, *gone])
    edits = [finding for finding in found if _is_edit(store, known, finding)]
    _refuse_edits([finding.path for finding in edits if not drop_edits])
    did = []
    for finding in [*found, *gone]:
        lost = known.is_older(store, finding.path) or finding in edits
        kept = "" if lost else aside.foreseen(store, finding.path)
        did.append(_deed(store, known, finding, finding in edits, kept))
    return Rebuilt(known.folded.records, known.folded.count, len(found), len(gone), did)


def _gone(store: State, known: _Known) -> list[Finding]:
    """What stands there though the journal says that it was removed."""
    return [Finding("removed", path, "") for path in known.folded.gone() if os.path.lexists(store.absolute(path))]


def _rebuild(store: Store, shadow: str, drop_edits: bool) -> Rebuilt:
    _clear(store, shadow)
    tail = store.end()
    known = _Known(folded_journal(store, tail), tail)
    staged, found = _stage(store, known, shadow)
    gone = _gone(store, known)
    wrong = [*found, *gone]
    known.look_back(store, wrong)
    edits = {finding for finding in found if _is_edit(store, known, finding)}
    did = _make_folders(store)
    try:
        for at in range(0, len(wrong) or 1, SWAPPED):
            with store.locked():
                changed = {path for _, record in store.journal.records(tail, store.tail) for path in paths_of(record)}
                if at == 0:
                    _refuse_edits([one.path for one in found if one in edits and one.path not in changed and not drop_edits])
                checkpoint.drop(store)  # what is made anew is not synced yet
                for finding in wrong[at : at + SWAPPED]:
                    if finding.path not in changed:
                        did.append(_replace(store, known, finding, staged.get(finding.path), finding in edits))
                if at + SWAPPED >= len(wrong):
                    store.drop_index()
                segment = store.tail.segment
    finally:
        _clear(store, shadow)
    store.sync_files()
    with store.locked():
        checkpoint.note(store, segment)
    removed = sum(done.kind == "removed" for done in did)
    written = sum(done.kind not in ("removed", "folder") for done in did)
    return Rebuilt(known.folded.records, known.folded.count, written, removed, did)


def _refuse_edits(edited: list[str]) -> None:
    if edited:
        raise Refused(
            f"{len(edited)} documents were edited by hand ({', '.join(edited[:3])}); "
            "`mbox doctor --repair` adopts them, `mbox rebuild --drop-edits` drops them"
        )


def _is_edit(store: State, known: _Known, finding: Finding) -> bool:
    """Whether a person changed there what people may edit."""
    path = finding.path
    if finding.kind != "edited" or known.is_older(store, path):
        return False
    kind = places.kind(path)
    found = documents.decode(kind, _bytes(store, path))
    return bool(ownership.differing(kind, known.document(store, path), found)[0])


def _replace(store: State, known: _Known, finding: Finding, staged: str | None, dropped: bool) -> Mended:
    """Move what was ``staged`` (None: nothing is to stand there) into its place."""
    path = finding.path
    kept = "" if dropped or known.is_older(store, path) else aside.keep(store, path)
    deed = _deed(store, known, finding, dropped, kept)  # before it is done: then what stood there is seen no more
    if staged is None:
        files.remove(store, path)
    else:
        store.check_folder(os.path.dirname(path))
        store.disk.folders(os.path.dirname(store.absolute(path)))
        store.disk.rename(staged, store.absolute(path))
    return deed


def _deed(store: State, known: _Known, finding: Finding, dropped: bool, kept: str) -> Mended:
    """What is done to a document that is made anew, and to what stood there."""
    did = REMOVED if finding.kind == "removed" else RESTORED
    older = known.is_older(store, finding.path)
    why = OLDER if older else "the edit is dropped" if dropped else f"what stood there is kept as {kept}" if kept else ""
    return Mended(finding.kind, finding.path, f"{did}: {why}" if why else did)


def _stage(store: Store, known: _Known, shadow: str) -> tuple[dict[str, str], list[Finding]]:
    """Write what differs into the shadow folder: path → file there; and how each differs."""
    staged: dict[str, str] = {}
    found = list(_differing(store, known))
    for finding in store.along(found, "documents written", len(found)):
        staged[finding.path] = f"{shadow}/{len(staged)}"
        doc = known.document(store, finding.path)
        store.disk.create(staged[finding.path], documents.encode(places.kind(finding.path), doc))
    return staged, found


def _differing(store: State, known: _Known) -> Iterator[Finding]:
    """How each file differs that is not as the journal has it, but for what is left alone."""
    standing = known.folded.documents(store.journal)
    for path, doc in store.along(standing, "documents compared", known.folded.count):
        finding = compare(store, path, doc)
        if finding is not None and finding.kind not in ("newer", "place") and not is_folder(store.absolute(path)):
            yield finding


def _clear(store: Store, folder: str) -> None:
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            store.disk.discard(f"{folder}/{name}")
