"""Filling an empty store from the audit ref: after ``git clean -fdx``, or in a fresh clone.

Promised: the restored store is the one that the ref's newest commit is of, every document byte for byte as its journal
has it; nothing that is there is written over; what stands on the ref is checked like input before anything is made
(paths, modes, gaps, checksums, numbers).  Not promised: what was recorded after that commit; so that no number of that
time is given again, numbering goes on `WINDOW` above, as after a machine's death (``store.md``, Recovery).

In this order, and what a death after each step leaves:

1.  Read the ref and check it; ask whether what a person wrote there (settings, programs to start) may come.  *Nothing.*
2.  Make the folders, ``config.yaml`` and ``hosts.yaml``; take the lock.  *No journal: no command uses such a store.*
3.  Put the journal together in ``cache/restore/``, and before that note in ``cache/restore.of`` of which lock file and
    which life of this machine that is.  *Both: a restore broke off here, and documents without a journal are its own:
    the next one goes on.  A folder that a clone brought says nothing.*
4.  Write the documents and leases.  *The same.*
5.  Sync the file system, rename the folder to ``logs``: from here on there is a store.  *No mark: it is replayed.*
6.  Write the checkpoint and the mark, release the lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, NamedTuple

from mbox.config import file as configuration
from mbox.config.settings import Config, build
from mbox.errors import Corrupt, NoStore, Nothing, Refused, StoreError
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.format.lease import Lease
from mbox.journal.projection import Fold
from mbox.journal.record import WRITER, Record, Tail, decode, encode
from mbox.journal.segments import WINDOW, Journal, segment_name
from mbox.root import refuse_gone
from mbox.store import bootstrap, checkpoint
from mbox.store.files import Along, check_documents, is_folder, remove, straight, write
from mbox.store.mark import Mark
from mbox.store.state import State
from mbox.store.store import Actor, Store, Transaction
from mbox.system.database import discard
from mbox.system.disk import Disk, disk_for, read_bytes
from mbox.system.host import Host

from . import audit
from .commits import Commit, other_line, slice_path, tip
from .objects import Objects
from .placement import exclude, init_place
from .plumbing import Git
from .reminder import Reminder

SHADOW = f"{places.MAILBOX}/cache/restore"
SHADOW_OF = f"{places.MAILBOX}/cache/restore.of"
MOST_SLICES = 500_000
"""Parts of the journal on a ref: a commit makes one, or one for each `changes.BLOCK` of bytes."""

Say = Callable[[str], None]
Agree = Callable[[list[str]], bool]
"""Told in lines what of a person's would be brought; whether it may."""
Unbegun = Callable[[str, Config, Disk], Store]


class Saved(NamedTuple):
    """What the ref holds, checked: the commit, the slices of the journal in order, the person's files."""

    commit: Commit
    slices: list[tuple[int, int, str]]
    """Segment, first byte, object."""
    persons: dict[str, str]


# -- what is on the ref ----------------------------------------------------------------------------------------------


def saved(git: Git, objects: Objects, ref: str) -> Saved:
    """What ``ref`` holds; `Nothing` if it is not there, `Corrupt` if something is on it that audit never writes."""
    commit = tip(git, objects, ref)
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
            if len(slices) > MOST_SLICES:
                raise Corrupt(f"{ref}: its journal is in more than {MOST_SLICES:,} parts; refused")
        elif path in audit.PERSONS:
            persons[path] = oid
        else:
            places.kind(path)
    return Saved(commit, sorted(slices), persons)


def _slice(ref: str, path: str) -> tuple[int, int]:
    """Segment and first byte in the name of a slice."""
    segment, _, offset = path.removeprefix(f"{places.LOGS}/").removesuffix(".jsonl").partition("/")
    if segment.isdecimal() and offset.isdecimal() and slice_path(int(segment), int(offset)) == path:
        return int(segment), int(offset)
    raise Corrupt(f"{ref}: {path!r} is no slice of the journal; refused")


class SliceReader:
    """Checks the journal on the ref, slice by slice, and folds it."""

    def __init__(self, ref: str, commit: Commit) -> None:
        self.ref = ref
        self.commit = commit
        self.fold = Fold()
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
        self.fold.settle({})

    def _take(self, segment: int, offset: int, content: bytes) -> None:
        if not content.endswith(b"\n"):
            raise self._wrong(f"segment {segment:06d} at byte {offset}: not whole records")
        for line in BytesIO(content):
            try:
                record = decode(line.rstrip(b"\n"))
                self._check(record, offset == 0)
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise self._wrong(f"segment {segment:06d} at byte {offset}: not a record: {error}") from None
            self.fold.take(segment, offset, record)
            offset += len(line)
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
        check_documents(record)

    def _wrong(self, what: str) -> Corrupt:
        return Corrupt(f"{self.ref} at {self.commit.oid[:12]}: {what}; refused, nothing was restored")


# -- where it goes ---------------------------------------------------------------------------------------------------


def place(named: str | None, cwd: str) -> str:
    """The folder to restore into: the ``named`` one, else where `init` would make the store."""
    if named is None or not os.path.isabs(named):
        refuse_gone(cwd)
    if named is None:
        return init_place(cwd, here=False)
    folder = os.path.realpath(os.path.join(cwd, named))
    if not os.path.isdir(folder):
        raise NoStore(f"{named}: no such folder; name the one that is to hold .mailbox/")
    return folder


def _refuse_full(folder: str, machine: str) -> None:
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
    if standing and not _broke_off(folder, machine):
        raise Refused(
            f"{folder}/{standing} stands there without a journal; to restore, {away}, then `mbox audit restore`; "
            "`mbox init` adopts such documents, and what is not among them is lost to it"
        )


def _broke_off(folder: str, machine: str) -> bool:
    """Whether a restore broke off in ``folder``, under the lock file that is there, in this life of the machine."""
    try:
        lock = os.lstat(f"{folder}/{places.LOCK}")
        told = read_bytes(f"{folder}/{SHADOW_OF}", 256).decode()
    except (OSError, ValueError):
        return False
    return told == f"{machine}:{lock.st_ino}" and is_folder(f"{folder}/{SHADOW}")


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


def restore(
    folder: str, by: Actor, ref: str | None, say: Say, unbegun: Unbegun, agree: Agree = lambda lines: True,
    along: Along = straight,
) -> Document:  # fmt: skip
    """Fill the empty store in ``folder`` from ``ref`` (None: what a ``config.yaml`` there says, else the usual one).

    How far it reaches, and what was restored.  ``unbegun`` makes a `Store` where there is no journal yet.  ``agree`` is
    asked before anything is made, if a person's files on the ref say more than the defaults; else they stay away.
    `Refused` where there is no git, or something is there already.
    """
    git = Git.around(folder)
    disk = disk_for(f"{folder}/{places.MAILBOX}")
    machine = unbegun(folder, build({}), disk).host.machine
    _refuse_full(folder, machine)
    ref = ref or configuration.load(f"{folder}/{places.MAILBOX}", disk, Host().wall()).audit_ref
    with Objects(git) as objects:
        found = saved(git, objects, ref)
        reader = SliceReader(ref, found.commit)
        reader.read(objects, along(found.slices, "parts of the journal read", len(found.slices)))
        told = {"root": folder, "ref": ref, "commit": found.commit.oid, "seq": reader.tail.seq,
                "records": reader.fold.records, "documents": reader.fold.count}  # fmt: skip
        persons = _brought(folder, objects, found)
        other = other_line(git, objects, found.commit)
        lines = _said(persons, ref)
        if lines and not agree(lines):
            persons = {}
        if by.dry_run:
            return told
        store = _begun(folder, persons, say, unbegun)
        store.along = along
        try:
            store.lock.take(store.config.lock_wait)
            store.lock.tell_holder()
            _refuse_full(folder, machine)
            _fill(store, by, objects, found, reader)
        finally:
            store.close()
    if other:
        say(f"{ref} also holds another store that began as this one, up to record {other.tail.seq} of {other.row()['ts']}: "
            f"`git update-ref refs/mbox/other {other.oid}`, and --ref refs/mbox/other restores that one")  # fmt: skip
    say(f"restored up to record {reader.tail.seq} of {found.commit.row()['ts']}: what came later is lost, "
        f"and numbers go on {WINDOW} above")  # fmt: skip
    return told


def _brought(folder: str, objects: Objects, found: Saved) -> dict[str, bytes]:
    """What of a person's the ref has and the folder has not; `StoreError` if it is no configuration."""
    missing = {path: oid for path, oid in found.persons.items() if not os.path.lexists(f"{folder}/{path}")}
    return {path: objects.need(oid) for path, oid in missing.items()}


def _said(persons: dict[str, bytes], ref: str) -> list[str]:
    """What those files say beyond the defaults, and beyond that ``ref`` is the ref, a line each.

    `StoreError` for a configuration that is broken.
    """
    lines = []
    for path, data in persons.items():
        if path == places.CONFIG:
            lines += [f"{path}: {setting}" for setting in configuration.differing(configuration.checked(path, data))
                      if setting != f"audit.ref: {ref}"]  # fmt: skip
        else:
            lines.append(f"{path}: {len(data.splitlines())} lines, which name programs to start")
    return lines


def _begun(folder: str, persons: dict[str, bytes], say: Say, unbegun: Unbegun) -> Store:
    """Make what stands around documents and journal; the store, which has no journal yet."""
    mailbox = f"{folder}/{places.MAILBOX}"
    disk = disk_for(mailbox)
    bootstrap.make_folders(folder, disk)
    for path, data in persons.items():
        if not os.path.lexists(f"{folder}/{path}"):
            disk.replace(f"{folder}/{path}", data)  # whole, whatever dies
            if path != places.CONFIG:
                say(f"{folder}/{path} came from the ref and names programs to start: read it before you use it")
    config = configuration.load(mailbox, disk, Host().wall())
    bootstrap.check_place(folder, config)
    bootstrap.write_ignores(folder, disk)
    exclude(folder, disk, say)
    store = unbegun(folder, config, disk_for(mailbox, config.private))
    store.say = say
    store.lock.open(create=True)
    return store


def _fill(store: Store, by: Actor, objects: Objects, found: Saved, reader: SliceReader) -> None:
    """With the lock held: journal, documents and leases, and then the one rename that makes them a store."""
    disk, shadow = store.disk, store.absolute(SHADOW)
    if _broke_off(store.root, store.host.machine):  # perhaps from an older commit
        for path in reader.fold.gone():
            remove(store, path)
    else:
        disk.remove_tree(shadow)
    store.put_ephemeral(SHADOW_OF, store.whose.encode())
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
    _write_all(store, store.along(reader.fold.documents(staged), "documents written", reader.fold.count))
    for path, lease in reader.fold.leases.items():
        if lease:
            store.write_lease(path, Lease.of(documents.check("lease", lease)))
    store.sync_files()
    disk.rename(shadow, store.absolute(places.LOGS))
    disk.sync_folder(store.absolute(places.MAILBOX))
    disk.discard(store.absolute(SHADOW_OF))
    tail = Tail(record["seq"], store.tail.segment, store.tail.offset + len(line))
    checkpoint.begin(store, found.commit.store, tail.segment)
    store.lock.set_mark(_mark(store, found.commit.store, tail))
    Reminder.begin(store, found.commit.tail)


def _write_all(store: Store, standing: Iterable[tuple[str, Any]]) -> None:
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
            write(store, path, doc)


def _record(store: Store, by: Actor, found: Saved, ref: str) -> Record:
    """The record of the restore itself, numbered far above those that may have been lost, and those that were seen."""
    tx = Transaction(store, by)
    known, seen = store.witness.seen()
    tx.seq = max(tx.seq + WINDOW - 1, seen if known == found.commit.store else 0)
    tx.take()
    why = f"from {ref} at {found.commit.oid[:12]}; numbers go on {WINDOW} above the last there"
    tx.record(operations.STORE_RESTORE, [], why)
    return tx.as_record()


def _forget(store: State) -> None:
    """Remove what is ephemeral and of an earlier store."""
    store.drop_index()
    discard(store.disk, store.absolute(places.SEARCH))
    for folder in (places.LEASES, places.TASK_LEASES, places.HEARTBEATS):
        for name in store.names(folder):
            store.disk.discard(store.absolute(f"{folder}/{name}"))


def _mark(store: Store, name: str, tail: Tail) -> Mark:
    mono, wall = round(store.host.mono(), 3), round(store.host.wall(), 3)
    return Mark(tail, store.host.machine, store.lock.inode, name, wall, mono, tail.seq)
