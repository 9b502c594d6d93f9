"""Holding the lock of a store, with the files following the journal: step 1 of its transaction (`store`), and giving it up.

In order: look that the folders written in first are ours; ``flock``; see that the lock file is still the one at its path, and
that the store did not go back in time as a whole (`witness`), before anything is written; say who holds it; recover.  From
the lock on, signals that end a process wait, but for `State.strike`.  A death anywhere leaves what `recovery` says.

In a call that is only tried (`Holding.dry_run`) nothing of the store is changed, not even for somebody who died: where the
files do not follow the journal, documents are read from that as far as it goes.  Written are only the line of who holds the lock,
the lock file where it was gone, and the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mbox.config.settings import Config
from mbox.errors import MboxError, StoreError, WentBack, doing
from mbox.format import places
from mbox.journal.record import Tail
from mbox.journal.segments import scan_end
from mbox.system.disk import Disk
from mbox.system.host import Host

from .lock import held_back
from .state import State, check_filesystem, check_witness

_KEPT_INSIDE = (places.LOGS, places.CACHE)
"""Folders that are written in before any document's path is looked at."""


class Holding(State):
    """A state whose lock can be held."""

    def __init__(self, root: str, config: Config, host: Host, disk: Disk, locking: str = "") -> None:
        super().__init__(root, config, host, disk, locking)
        self._pid = 0
        self.dry_run = False
        """Whether whoever calls only tries: then nothing is brought up, nor put back, and the lock is taken to decide under."""

    @contextmanager
    def locked(self, wait: float | None = None) -> Iterator[None]:
        """Hold the lock, with the files following the journal; signals that end a process wait.

        It is waited for ``wait`` seconds and no more, or as configured, and longer while it goes from hand to hand.
        """
        if self._inside:
            raise AssertionError("a transaction inside a transaction")
        if self._pid != os.getpid():
            self.begin_here()
        self._safe.clear()
        for folder in _KEPT_INSIDE:
            self.check_folder(folder)
        self._inside = True
        try:
            with doing("taking the lock", self.lock.path):
                self.open_lock()
                if wait is None:
                    self.lock.take(self.config.lock_wait)
                else:
                    self.lock.take(wait, moves=1)
            with held_back() as held:
                self.strike, self.is_struck = held.strike, held.is_struck
                try:
                    self._come_up()
                    try:
                        yield
                    except MboxError as refused:
                        if not isinstance(refused, StoreError) and not self.dry_run:
                            self.tell_ahead()
                        raise
                    if not self.dry_run:
                        self.tell_ahead()
                finally:
                    self.lock.give_up()
        except BaseException as error:
            self.lock.give_up()  # an interrupt may strike after the lock is had and before that is known
            if type(error) is StoreError and self.lock.is_open:
                self._check_there()
            raise
        finally:
            self._inside = False

    def _come_up(self) -> None:
        """With the lock just taken: see that it is the store that was left, and bring the files to what the journal says."""
        from . import recovery  # who only looks needs neither this nor the commit

        self.lock.check()
        was, self.view = self.view, None
        check_witness(self, self.lock.mark_taken())
        self.lock.tell_holder()
        with doing("bringing the files to what the journal says"):
            if self.dry_run:
                self.ahead, follow = recovery.foreseen(self)
                if was or not follow:
                    self.answer_from_journal()
            else:
                self.ahead = recovery.recover(self)
        self.tail, self.behind = self.ahead.tail, False
        if not self.index.tables.stands():
            self.index.close()
            self.forget_ahead()

    def answer_from_journal(self) -> Tail:
        """Read documents from the journal, as far as it is now, from here on; up to where that is."""
        from .view import JournalView

        end, mark = scan_end(self.journal), self.mark()
        if self.view is None or self.view.end != end:
            self.view = JournalView(self.journal, end, mark.tail if mark else None)
        return end

    def _check_there(self) -> None:
        """Raise `WentBack` if the store is being taken away, which makes whoever writes fail in many ways: name that one."""
        self.lock.check()
        if not os.path.lexists(logs := self.absolute(places.LOGS)):
            raise WentBack(f"{logs} is gone (git clean, checkout or stash?); nothing happened")

    def begin_here(self) -> None:
        """Before this process takes the lock for the first time.

        In a forked child, what belongs to the parent's open files is dropped, not closed.  What a clone left open to
        others is closed (`modes`).  `StoreError` on a network file system, unless the configuration allows it.
        """
        check_filesystem(self.root, self.config)
        if not self.dry_run:
            self.close_to_others()
        if self._index is not None:
            self._index.forget()
        self._pid = os.getpid()

    def close_to_others(self, thoroughly: bool = False) -> None:
        """Make every file of a private store its owner's alone, where others can get in; ``thoroughly``: look at each."""
        if thoroughly or (self.config.private and any(map(self._is_open, (places.MAILBOX, places.TASKS)))):
            from .modes import tighten

            tighten(self)

    def _is_open(self, folder: str) -> bool:
        """Whether others can get into a folder at the top; who cannot, gets at nothing below it."""
        try:
            return bool(os.lstat(self.absolute(folder)).st_mode & 0o077)
        except FileNotFoundError:
            return False
