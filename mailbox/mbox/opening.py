"""Putting a store together: which root, its configuration, the real clocks and disk, the sweep.

The one place that knows all the parts; commands get a `Store` from `open_store` and a new one from `init`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from mbox.config import file as configuration
from mbox import root
from mbox.format import documents
from mbox.format import places
from mbox.system.disk import Disk, read_bytes
from mbox.errors import MboxError, Refused, StoreError, Usage
from mbox.store.files import Damage, every_document
from mbox.system.host import Host
from mbox.journal.segments import WINDOW, Journal, Record
from mbox.store.lock import held_back
from mbox.config.settings import Config
from mbox.store.store import Actor, Settings, Store, Transaction

T = TypeVar("T")


AUDITED = f"{places.MAILBOX}/cache/audit"
"""How far the audit ref reaches, and, last, from which sequence on a commit may be due: `reminder.Reminder`."""


class OpenStore(Store):
    """A `Store` that knows its configuration and how its root was found."""

    config: Config
    found: root.Root
    watch_backend: str = "auto"
    """``MBOX_WATCH``: how waiting commands learn of changes."""

    def begin_here(self) -> None:
        """As `Store.begin_here`; refused on a network file system unless the configuration allows it."""
        _check_filesystem(self.root, self.config)
        super().begin_here()

    def transact(self, decide: Callable[[Transaction], T], actor: Actor, dry_run: bool = False) -> T:
        """As `Store.transact`; the one whose record makes an audit commit due says so afterwards."""
        try:
            return super().transact(decide, actor, dry_run)
        finally:
            reminder, self._reminder = self._reminder, ""
            if reminder:
                self.say(reminder)

    def advance(self, record: Record, synced: bool) -> None:
        super().advance(record, synced)
        if record["seq"] >= self._audit_due and self.config.audit_every:
            self._audit_due, self._reminder = _audit_due(self)

    _audit_due = 0
    _reminder = ""


def _audit_due(store: OpenStore) -> tuple[int, str]:
    """From which sequence on an audit commit may be due, and what is to be said now.  A file is read, git is not asked.

    Only where it may be due now `audit` looks closer.
    """
    try:
        due = int(read_bytes(store.absolute(AUDITED)).split()[-1])
    except (OSError, ValueError, LookupError):
        due = store.config.audit_every
    if store.tail.seq < due:
        return due, ""
    from mbox.git.reminder import remind

    return remind(store)


def _environment(name: str) -> str:
    return os.environ.get(name, "")


def host() -> Host:
    """The real host; ``MBOX_BOOT_ID`` replaces its boot id (for tests)."""
    return Host(_environment("MBOX_BOOT_ID") or None)


def assemble(found: root.Root, disk: Disk | None = None, clock: Host | None = None) -> OpenStore:
    """The store in a root that was found; `StoreError` if it cannot be used."""
    mailbox = f"{found.path}/{places.MAILBOX}"
    config = configuration.load(mailbox, disk or Disk())
    disk = disk or Disk(config.private)
    settings = Settings(
        durability=config.durability, lock_wait=config.lock_wait, segment_size=config.segment_size,
        lease=config.lease, lock_backend=_environment("MBOX_LOCK"), dead_after=config.dead_after,
    )  # fmt: skip
    store = OpenStore.open(found.path, settings, clock or host(), disk, Prefix(config, found.path))
    assert isinstance(store, OpenStore)
    store.config, store.found = config, found
    store.sweep = _sweep
    store.watch_backend = _environment("MBOX_WATCH") or "auto"
    return store


class Prefix:
    """The literal prefix of a pattern, as the index wants it; knows how this file system compares names."""

    __slots__ = ("_config", "_fold", "_root")

    def __init__(self, config: Config, folder: str) -> None:
        self._config = config
        self._root = folder
        self._fold: bool | None = config.case_fold

    @property
    def fold(self) -> bool:
        """Whether names that differ in case only are one name here."""
        if self._fold is None:
            self._fold = root.case_folds(f"{self._root}/{places.MAILBOX}")
        return self._fold

    def __call__(self, pattern: str) -> str:
        from mbox.format import patterns

        try:
            return patterns.parse(pattern, self.fold).prefix
        except Usage:  # a person has spoilt it in a document: every question meets it
            return ""


def _sweep(tx: Transaction) -> bool:
    due = tx.index.due(1)
    if not due:
        return False
    from mbox.liveness.sweep import sweep

    return sweep(tx)


def open_store(root_arg: str | None, cwd: str) -> OpenStore:
    """The store that a command means: ``--root``, ``MBOX_ROOT``, the nearest parent; see `root.find`."""
    return assemble(root.find(root_arg, _environment("MBOX_ROOT") or None, cwd))


class Made(NamedTuple):
    """What `init` did."""

    store: OpenStore
    fresh: bool
    adopted: int
    excluded: list[str]


def init(
    cwd: str, here: bool = False, track: bool = False, disk: Disk | None = None, say: Callable[[str], None] | None = None
) -> Made:
    """Make ``.mailbox/`` and ``.tasks/`` in the repository's root (``here``: in ``cwd``); twice is harmless.

    Where documents are there without a journal (a clone of a tracked store), one record adopts them all; ``say`` is told
    of each that could not be read, and is among the dead letters now.
    """
    folder = root.init_place(cwd, here)
    disk = disk or Disk()
    _folders(folder, disk)
    fresh = not Journal(f"{folder}/{places.LOGS}", disk).is_begun()
    if not os.path.lexists(f"{folder}/{places.CONFIG}"):
        from mbox.config.text import default_text

        disk.replace(f"{folder}/{places.CONFIG}", default_text().encode())
    config = configuration.load(f"{folder}/{places.MAILBOX}", disk)
    _check_place(folder, config)
    _ignore(folder, disk, track)
    excluded = root.exclude(folder, disk, track)
    if fresh:
        _first_segment(folder, disk, host())
    store = assemble(root.Root(folder, "init", []), disk)
    store.say = say or store.say
    adopted = store.transact(_adopt, Actor("store")) if store.end().seq == 1 else 0  # also after a death before this
    return Made(store, fresh, adopted, excluded)


def _folders(folder: str, disk: Disk) -> None:
    for path in (places.MAILBOX, *places.FOLDERS):
        if os.path.islink(f"{folder}/{path}"):
            raise Refused(f"{folder}/{path} is a symlink; the store is never followed out of its root")
        disk.folders(f"{folder}/{path}")


def _check_place(folder: str, config: Config) -> None:
    if not root.same_filesystem(f"{folder}/{places.MAILBOX}", f"{folder}/{places.TASKS}"):
        raise Usage(f"{folder}: .tasks is on another file system than .mailbox; a rename could not be one step")
    _check_filesystem(folder, config)


def _check_filesystem(folder: str, config: Config) -> None:
    if config.network_fs:
        return
    kind = root.filesystem(folder)
    if root.is_network(kind):
        raise StoreError(
            f"{folder} is on a network file system ({kind}), where the lock does not reach every machine; "
            "use a local folder, or set `network_fs: true` in .mailbox/config.yaml if one machine only writes"
        )


def _ignore(folder: str, disk: Disk, track: bool) -> None:
    path = f"{folder}/{places.MAILBOX}/.gitignore"
    lines = ["# ephemeral: safe to lose, never in git", *(f"/{name}" for name in places.EPHEMERAL), ".tmp-*"]
    if not os.path.lexists(path):
        disk.replace(path, ("\n".join(lines) + "\n").encode())
    tasks = f"{folder}/{places.TASKS}/.gitignore"
    if track and not os.path.lexists(tasks):
        disk.replace(tasks, b"/leases/\n.tmp-*\n")


def _first_segment(folder: str, disk: Disk, clock: Host) -> None:
    """Begin the journal; two at once: the one that makes the lock file's first holder wins, the other finds it."""
    store = Store(folder, Settings(), clock, disk)
    store.lock.open(create=True)
    store.lock.take(10.0)
    with held_back():
        try:
            if not store.journal.is_begun():
                store.lock.drop_mark()
                header = store.segment_header(1, 1, os.urandom(8).hex())
                store.journal.begin(1, header)
        finally:
            store.lock.give_up()
            store.close()


def _adopt(tx: Transaction) -> int:
    """Take documents that stand there without a journal into it, in one record."""
    adopted: list[str] = []
    unfit: list[str] = []
    every = list(every_document(tx.store))
    highest = WINDOW + max((_number(tx.store, path) for path in every), default=0)
    tx.seq = max(tx.seq, highest if every else 0)
    for path in every:
        try:
            doc = tx.notes(path) if path.startswith(places.NOTES) else tx.read(path)
        except documents.Newer as error:
            tx.warn(f"left as it is: {error}")
            continue
        except Damage as damage:
            _quarantine(tx, path, damage.detail)
            unfit.append(path)
            continue
        if doc:
            tx.put(doc, path)
            adopted.append(path)
    if adopted or unfit:
        tx.seq = max(tx.seq, highest)
        tx.record("store.adopt", sorted({places.ident(path) for path in adopted + unfit}), "found without a journal")
    return len(adopted)


def _number(store: Store, path: str) -> int:
    """The highest number that the document at ``path`` shows: in its id (a dead letter's too), as token or version.

    Nothing that is numbered from now on may be mistaken for it.  A number that nobody can have come to is none.
    """
    name = places.ident(path)
    found = [int(name[1:]) if name[:1] in "mtrd" and name[1:].isdecimal() and name.isascii() else 0]
    try:
        doc = store.read(path)
    except MboxError:
        doc = None
    if isinstance(doc, dict):
        found += [doc.get("token", 0), doc.get("state_version", 0)]
    return max(number if number < places.HIGHEST else 0 for number in found)


def _quarantine(tx: Transaction, path: str, detail: str) -> None:
    """Move what is no document, and is in no journal, to the dead letters."""
    from mbox.store.quarantine import envelop

    try:
        data = tx.store.bytes_of(path)
    except OSError:
        data = b""
    envelop(tx, path, "damaged document", detail, data)
    tx.delete(path)
    tx.warn(f"{tx.store.absolute(path)}: {detail}; moved to the dead letters")
