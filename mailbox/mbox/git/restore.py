"""Filling an empty store from the audit ref: after ``git clean -fdx``, or in a fresh clone.

Promised: the restored store is the one that the ref's newest commit is of, every document byte for byte as its journal
has it; nothing that is there is written over; what stands on the ref is checked like input before anything is made
(paths, modes, gaps, checksums, numbers).  Not promised: what was recorded after that commit; so that no number of that
time is given again, numbering goes on `WINDOW` above, as after a machine's death (``store.md``, Recovery).

In this order, and what a death after each step leaves:

1.  Read the ref and check it.  *Nothing.*
2.  Make the folders, ``config.yaml`` and ``hosts.yaml``; take the lock.  *No journal: no command uses such a store.*
3.  Put the journal together in ``cache/restore/``.  *That folder, which says that a restore broke off here, and that
    documents without a journal are its own: the next one goes on.*
4.  Write the documents and leases.  *The same.*
5.  Sync the file system, rename the folder to ``logs``: from here on there is a store.  *No mark: it is replayed.*
6.  Write the mark, release the lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from mbox import opening, publishing, root
from mbox.git import audit
from mbox.format import documents
from mbox.format import places
from mbox.config import file as configuration
from mbox.system.disk import Disk
from mbox.format.documents import Document
from mbox.errors import Corrupt, NoStore, Nothing, Refused, StoreError
from mbox.journal.projection import Fold
from mbox.git.plumbing import Git, Objects
from mbox.journal.segments import WINDOW, WRITER, Journal, Record, Tail, decode, encode, segment_name
from mbox.format.lease import Lease
from mbox.store.mark import Mark
from mbox.opening import OpenStore
from mbox.git.reminder import Reminder
from mbox.store.store import Actor, Settings, Transaction

SHADOW = f"{places.MAILBOX}/cache/restore"
Say = Callable[[str], None]


class Saved(NamedTuple):
    """What the ref holds, checked: the commit, the slices of the journal in order, the person's files."""

    commit: audit.Commit
    slices: list[tuple[int, int, str]]
    """Segment, first byte, object."""
    persons: dict[str, str]


# -- what is on the ref ----------------------------------------------------------------------------------------------


def saved(git: Git, objects: Objects, ref: str) -> Saved:
    """What ``ref`` holds; `Nothing` if it is not there, `Corrupt` if something is on it that audit never writes."""
    commit = audit.tip(git, objects, ref)
    if commit is None:
        raise Nothing(
            f"no {ref} in this repository; a clone does not bring it: "
            f"`git fetch origin {ref}:{ref}`, then `mbox audit restore`"
        )
    slices, persons = [], {}
    for mode, oid, path in git.listing(commit.oid):
        if mode != "100644":
            raise Corrupt(f"{ref}: {path!r} is no plain file (mode {mode}); refused")
        if path.startswith(f"{places.LOGS}/"):
            slices.append((*_slice(ref, path), oid))
        elif path in audit.PERSONS:
            persons[path] = oid
        else:
            places.kind(path)
    return Saved(commit, sorted(slices), persons)


def _slice(ref: str, path: str) -> tuple[int, int]:
    """Segment and first byte in the name of a slice."""
    segment, _, offset = path.removeprefix(f"{places.LOGS}/").removesuffix(".jsonl").partition("/")
    if segment.isdecimal() and offset.isdecimal() and audit.slice_path(int(segment), int(offset)) == path:
        return int(segment), int(offset)
    raise Corrupt(f"{ref}: {path!r} is no slice of the journal; refused")


class Reader:
    """Checks the journal on the ref, slice by slice, and folds it."""

    def __init__(self, ref: str, commit: audit.Commit) -> None:
        self.ref = ref
        self.commit = commit
        self.fold = Fold()
        self.leases: dict[str, Document | None] = {}
        self.tail = Tail(0, 1, 0)

    def read(self, objects: Objects, slices: Iterable[tuple[int, int, str]]) -> None:
        """Take all ``slices``; `Corrupt` at a gap, a bad record, or where the commit says otherwise."""
        for segment, offset, oid in slices:
            here, begins = self.tail, offset == 0 and self.tail.offset > 0
            if (segment, offset) != ((here.segment + 1, 0) if begins else (here.segment, here.offset)):
                raise self._wrong(f"the journal has a gap before byte {offset} of segment {segment:06d}")
            self._take(segment, offset, objects.need(oid))
        if self.tail != self.commit.tail:
            raise self._wrong(f"the journal ends at {tuple(self.tail)}, the commit says {tuple(self.commit.tail)}")

    def _take(self, segment: int, offset: int, content: bytes) -> None:
        *lines, torn = content.split(b"\n")
        if torn or not lines:
            raise self._wrong(f"segment {segment:06d} at byte {offset}: not whole records")
        for line in lines:
            try:
                record = decode(line)
                self._check(record, offset == 0)
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise self._wrong(f"segment {segment:06d} at byte {offset}: not a record: {error}") from None
            self.fold.take(segment, offset, record)
            self.leases.update(record["lease"])
            offset += len(line) + 1
            self.tail = Tail(record["seq"], segment, offset)

    def _check(self, record: Record, first: bool) -> None:
        """Raise unless ``record`` is one that may be replayed here.  ``first``: it begins a segment."""
        documents.check("record", record)
        if record["seq"] <= self.tail.seq or (first and record["seq"] != self.tail.seq + 1):
            raise ValueError(f"its number is {record['seq']}, after {self.tail.seq}: something is missing")
        if first and record["store"] != self.commit.store:
            raise ValueError(f"it begins a segment of another store, {record['store']!r}")
        if first and int(record["writer_min"]) > WRITER:
            raise StoreError(f"{self.ref} was written by format {record['format']}, not {WRITER}; update the toolkit")
        places.check_record(record)
        publishing.check_documents(record)

    def _wrong(self, what: str) -> Corrupt:
        return Corrupt(f"{self.ref} at {self.commit.oid[:12]}: {what}; refused, nothing was restored")


# -- where it goes ---------------------------------------------------------------------------------------------------


def place(named: str | None, cwd: str) -> str:
    """The folder to restore into: the ``named`` one, else where `init` would make the store."""
    if named is None:
        return root.init_place(cwd, here=False)
    folder = os.path.realpath(os.path.join(cwd, named))
    if not os.path.isdir(folder):
        raise NoStore(f"{named}: no such folder; name the one that is to hold .mailbox/")
    return folder


def _refuse_full(folder: str) -> None:
    """Refuse where something would be written over: a journal, or documents that no broken-off restore left."""
    there = [name for name in (places.MAILBOX, places.TASKS) if os.path.lexists(f"{folder}/{name}")]
    away = f"move them away first: `{' && '.join(f'mv {name} {name}.old' for name in there)}`"
    for path in (places.MAILBOX, *places.FOLDERS):
        if os.path.islink(f"{folder}/{path}"):
            raise Refused(f"{folder}/{path} is a symlink; the store is never followed out of its root")
    logs = f"{folder}/{places.LOGS}"
    if os.path.isdir(logs) and os.listdir(logs):
        raise Refused(f"{folder} has a journal already, and restore fills an empty store only; {away}")
    standing = next(_documents(folder), None)
    if standing and not os.path.isdir(f"{folder}/{SHADOW}"):
        raise Refused(
            f"{folder}/{standing} stands there without a journal; to restore, {away}, then `mbox audit restore`; "
            "`mbox init` adopts such documents, and what is not among them is lost to it"
        )


def _documents(folder: str) -> Iterator[str]:
    """Every file that stands where a document can stand."""
    for top in (places.MAILBOX, places.TASKS):
        for at, _, names in os.walk(f"{folder}/{top}"):
            for name in names:
                path = f"{at}/{name}".removeprefix(f"{folder}/")
                try:
                    places.kind(path)
                except Corrupt:
                    continue
                yield path


# -- restore ---------------------------------------------------------------------------------------------------------


def restore(folder: str, by: Actor, ref: str | None, dry_run: bool, say: Say) -> Document:
    """Fill the empty store in ``folder`` from ``ref`` (None: what a ``config.yaml`` there says, else the usual one).

    How far it reaches, and what was restored.  `Refused` where there is no git, or something is there already.
    """
    git = Git.around(folder)
    _refuse_full(folder)
    ref = ref or configuration.load(f"{folder}/{places.MAILBOX}", Disk()).audit_ref
    with Objects(git) as objects:
        found = saved(git, objects, ref)
        reader = Reader(ref, found.commit)
        reader.read(objects, found.slices)
        count = sum(1 for state in reader.fold.states.values() if state)
        told = {"root": folder, "ref": ref, "commit": found.commit.oid, "seq": reader.tail.seq,
                "records": reader.fold.records, "documents": count}  # fmt: skip
        if dry_run:
            return told
        store = _begun(folder, objects, found, say)
        try:
            store.lock.take(store.settings.lock_wait)
            _refuse_full(folder)
            _fill(store, by, objects, found, reader)
        finally:
            store.close()
    say(f"restored up to record {reader.tail.seq} of {found.commit.row()['ts']}: what came later is lost, "
        f"and numbers go on {WINDOW} above")  # fmt: skip
    return told


def _begun(folder: str, objects: Objects, found: Saved, say: Say) -> OpenStore:
    """Make what stands around documents and journal; the store, which has no journal yet."""
    disk = Disk()
    opening._folders(folder, disk)
    for path, oid in found.persons.items():
        if not os.path.lexists(f"{folder}/{path}"):
            disk.replace(f"{folder}/{path}", objects.need(oid))  # whole, whatever dies
            if path != places.CONFIG:
                say(f"{folder}/{path} came from the ref and names programs to start: read it before you use it")
    config = configuration.load(f"{folder}/{places.MAILBOX}", disk)
    opening._check_place(folder, config)
    track = os.path.lexists(f"{folder}/{places.TASKS}/.gitignore")
    opening._ignore(folder, disk, track)
    root.exclude(folder, disk, track)
    settings = Settings(durability=config.durability, lock_wait=config.lock_wait, lease=config.lease)
    store = OpenStore(folder, settings, opening.host(), Disk(config.private), opening.Prefix(config, folder))
    store.config, store.say = config, say
    store.lock.open(create=True)
    return store


def _fill(store: OpenStore, by: Actor, objects: Objects, found: Saved, reader: Reader) -> None:
    """With the lock held: journal, documents and leases, and then the one rename that makes them a store."""
    disk, shadow = store.disk, store.absolute(SHADOW)
    if os.path.isdir(shadow):  # one broke off here, perhaps from an older commit
        for path in reader.fold.gone():
            publishing.remove(store, path)
    disk.folders(shadow)
    for name in os.listdir(shadow):
        disk.unlink(f"{shadow}/{name}")
    for segment, _offset, oid in found.slices:
        disk.append(f"{shadow}/{segment_name(segment)}", objects.need(oid))
    store.tail = reader.tail
    record = _record(store, by, found, reader.ref)
    line = encode(record)
    disk.append(f"{shadow}/{segment_name(store.tail.segment)}", line)
    staged = Journal(shadow, disk)
    _forget(store)
    _write_all(store, reader.fold.documents(staged))
    for path, lease in reader.leases.items():
        if lease:
            store.write_lease(path, Lease.of(documents.check("lease", lease)))
    _sync(store)
    disk.rename(shadow, store.absolute(places.LOGS))
    disk.sync_folder(store.absolute(places.MAILBOX))
    tail = Tail(record["seq"], store.tail.segment, store.tail.offset + len(line))
    store.lock.set_mark(_mark(store, found.commit.store, tail))
    Reminder.begin(store, found.commit.tail)


def _write_all(store: OpenStore, standing: Iterable[tuple[str, Any]]) -> None:
    """Write documents, straight to their places: where a death leaves half of one, the next restore writes it again."""
    last: Any = None
    data = b""
    for path, doc in standing:
        if doc is not last:
            last, data = doc, documents.encode(places.kind(path), doc)
        folder = path.rpartition("/")[0]
        store.check_folder(folder)
        try:
            store.disk.create(store.absolute(path), data)
        except FileNotFoundError:
            store.disk.folders(store.absolute(folder))
            store.disk.create(store.absolute(path), data)
        except FileExistsError:
            publishing.write(store, path, doc)


def _record(store: OpenStore, by: Actor, found: Saved, ref: str) -> Record:
    """The record of the restore itself, numbered far above those that may have been lost."""
    tx = Transaction(store, by)
    tx.seq += WINDOW - 1
    tx.take()
    why = f"from {ref} at {found.commit.oid[:12]}; numbers go on {WINDOW} above the last there"
    tx.record("store.restore", [], why)
    return tx.as_record()


def _forget(store: OpenStore) -> None:
    """Remove what is ephemeral and of an earlier store."""
    store.drop_index()
    store.disk.discard(store.absolute(places.SEARCH))
    for folder in (places.LEASES, places.TASK_LEASES, places.HEARTBEATS):
        for name in store.names(folder):
            store.disk.discard(store.absolute(f"{folder}/{name}"))


def _sync(store: OpenStore) -> None:
    fd = os.open(store.absolute(places.MAILBOX), os.O_RDONLY | os.O_CLOEXEC)
    try:
        store.disk.sync_filesystem(fd)
    finally:
        os.close(fd)


def _mark(store: OpenStore, name: str, tail: Tail) -> Mark:
    mono, wall = round(store.host.mono(), 3), round(store.host.wall(), 3)
    fields: dict[str, Any] = {"synced": mono, "synced_seq": tail.seq, "checkpoint": tail.segment}
    return Mark(tail=tail, machine=store.host.machine, inode=store.lock.inode, store=name, wall=wall, **fields)
