"""Putting a store together: which root, its configuration, the real clocks and disk, the sweep, the audit's reminder.

The one place that knows all the parts; commands get a `Store` from `open_store` and a new one from `init`.

Promised: what the environment says of root, boot id, lock and watch is read here, and handed on as values.  Not promised:
that the store is whole; the first command that takes the lock sees to that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mbox.config import file as configuration
from mbox.config.settings import Config
from mbox.format import places
from mbox.format.places import AUDITED
from mbox.journal.record import Record
from mbox.journal.segments import Journal
from mbox.store.store import Actor, Store, Transaction
from mbox.system.disk import Disk, disk_for, read_bytes
from mbox.system.host import Host

from . import root

if TYPE_CHECKING:
    from mbox.store.bootstrap import Undo


class _AuditReminder:
    """Says it after the one record that makes an audit commit due.  A file is read, git is not asked."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due = 0

    def __call__(self, store: Store, record: Record) -> str:
        """What to say now; only where it may be due the audit's own `reminder` looks closer."""
        if record["seq"] < self._due or not store.config.audit_every:
            return ""
        try:
            self._due = int(read_bytes(store.absolute(AUDITED), 256).split()[-1])
        except (OSError, ValueError, LookupError):
            self._due = store.config.audit_every
        if store.tail.seq < self._due:
            return ""
        from mbox.git.reminder import remind

        self._due, line = remind(store)
        return line


def _environment(name: str) -> str:
    return os.environ.get(name, "")


def host() -> Host:
    """The real host; ``MBOX_BOOT_ID`` replaces its boot id (for tests)."""
    return Host(_environment("MBOX_BOOT_ID") or None)


def find(root_arg: str | None, cwd: str) -> root.Root:
    """The root that a command means: ``--root``, ``MBOX_ROOT``, the nearest parent; see `root.find`."""
    return root.find(root_arg, _environment("MBOX_ROOT") or None, cwd)


def assemble(folder: str, disk: Disk | None = None, clock: Host | None = None) -> Store:
    """The store in the root ``folder``; `StoreError` if it cannot be used."""
    clock = clock or host()
    mailbox = f"{folder}/{places.MAILBOX}"
    config = configuration.load(mailbox, disk or disk_for(mailbox), clock.wall())
    store = Store.open(folder, config, clock, disk or disk_for(mailbox, config.private), *_backends())
    store.sweep, store.after = _sweep, _AuditReminder()
    return store


def unbegun(folder: str, config: Config, disk: Disk) -> Store:
    """A store that need not have a journal yet: to begin one, or to put one back."""
    return Store(folder, config, host(), disk, *_backends())


def _backends() -> tuple[str, str]:
    """``MBOX_LOCK`` and ``MBOX_WATCH``."""
    return _environment("MBOX_LOCK"), _environment("MBOX_WATCH")


def _sweep(tx: Transaction) -> bool:
    due = tx.index.due(1)
    if not due:
        return False
    from mbox.liveness.sweep import sweep

    return sweep(tx)


def open_store(root_arg: str | None, cwd: str) -> Store:
    """The store in the root that is found (`find`); what a `Root` warns of is the caller's to say."""
    return assemble(find(root_arg, cwd).path)


class Made(NamedTuple):
    """What `init` did.  ``fresh``: it was this one that made the store, of however many at once."""

    store: Store
    fresh: bool
    adopted: int
    excluded: list[str]


def init(cwd: str, here: bool = False, disk: Disk | None = None, say: Callable[[str], None] | None = None) -> Made:
    """Make ``.mailbox/`` and ``.tasks/`` in the repository's root (``here``: in ``cwd``); twice is harmless.

    A failure leaves nothing that was made here (`bootstrap.Undo`).  Where documents are there without a journal (a clone
    whose branch holds them), one record adopts them all; ``say`` is told of each that could not be read, and is among the dead
    letters now.
    """
    from mbox.git.placement import init_place
    from mbox.store.bootstrap import Undo

    folder = init_place(cwd, here)
    disk = disk or disk_for(f"{folder}/{places.MAILBOX}")
    with Undo(folder, disk) as undo:
        return _make(folder, disk, say, undo)


def _make(folder: str, disk: Disk, say: Callable[[str], None] | None, undo: Undo) -> Made:
    """`init` in ``folder``."""
    from mbox.git.placement import exclude, include
    from mbox.store.bootstrap import adopt, begin_journal, check_place, make_folders, write_ignores

    make_folders(folder, disk)
    fresh = not Journal(f"{folder}/{places.LOGS}", disk).is_begun()
    if not os.path.lexists(f"{folder}/{places.CONFIG}"):
        from mbox.config.text import default_text

        disk.replace(f"{folder}/{places.CONFIG}", default_text().encode())
    config = configuration.load(f"{folder}/{places.MAILBOX}", disk, host().wall())
    check_place(folder, config)
    write_ignores(folder, disk)
    excluded = exclude(folder, disk, say or (lambda text: None))
    undo.then(lambda: include(folder, disk, excluded))
    if fresh:
        begun = unbegun(folder, config, disk)
        try:
            begin_journal(begun, undo)
        finally:
            begun.close()
    store = assemble(folder, disk)
    store.say = say or store.say
    adopted = store.transact(adopt, Actor("store")) if store.end().seq == 1 else 0  # also after a death before this
    return Made(store, undo.begun, adopted, excluded)
