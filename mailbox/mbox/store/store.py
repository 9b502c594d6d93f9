"""The store: one lock, one journal, then the files.

Promised: a transaction happens completely or not at all, whatever dies at whatever instruction; what a command
reported as done is in the journal and durable (durability ``full``); the next command that takes the lock brings the
files to what the journal says.  Not promised: that the files already follow while a transaction runs; whoever reads
without the lock sees each document whole, but perhaps not yet all documents of one record.

A transaction (``store.md``), in the order of its system calls, and what a death after each leaves:

1.  ``flock`` the lock file, check that it is still the file at its path, read the mark; recover if the journal does
    not end where the mark says (`recovery`).  *Nothing.*
2.  Decide: a pure function of what it reads through a `Transaction`.  Signals that end a process are held back from
    here to 7.  *Nothing.*
3.  Stage each new document as ``.tmp-NAME`` beside its place.  *Temporary files, taken over by the next try.*
4.  Append one record and fsync it: the commit.  *Torn bytes, cut by the next writer; or the whole record, redone.*
5.  Publish: rename the temporary files, then moves, then deletions, then leases.  *The record is redone.*
6.  Bring the index up to the record, unless all it does is to deliver mail (`updates.LAG`).  *The index is caught up.*
7.  Write the mark, release the lock.  *The record is redone, which changes nothing.*

The bounds in the mark (`mark`) save asking the index: every record that changes a lease brings them up to date in 7, and
one that was redone for the dead makes them unknown.

An error before 4 takes everything back (exit 6, nothing happened); an error after 4 is said on stderr and the command
succeeds, because the record stands and the files will follow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from mbox.config.settings import Config
from mbox.errors import Corrupt, LeftAlone, MboxError, NoStore, StoreError, Unindexed, WentBack, doing, failure, told
from mbox.format import places
from mbox.format.documents import Document
from mbox.index.answers import Damaged
from mbox.journal.record import Moved, Record
from mbox.system.disk import Disk
from mbox.system.host import Host

from . import stamps
from .files import Damage, Recall, print_of
from .holding import Holding
from .transaction import LADEN, SWEEP, Actor, Transaction

__all__ = ["SWEEP", "Actor", "Store", "Transaction"]

T = TypeVar("T")

RENEWALS = 64
"""Leases renewed by one command at most; the rest by the next."""

PATIENCE = 2.0
"""Seconds that a reader waits for the lock before it answers from the journal."""

TRIES = 64
"""How often a decision is taken before it is given up."""

SWEEPS = 64
"""Expiries that one command handles at most, a record each (``store.md``, Long work)."""

TURN = 0.002
"""Seconds for which the lock stays free between two parts: whoever waits for it is woken only when it is free."""

ASK_JOURNAL = "not looked at closer: a dry run asks the journal"

_VERIFIED = (f"{places.TASKS}/", f"{places.RESERVATIONS}/")
_ARCHIVE = f"{places.ARCHIVE}/"
_MAIL = (f"{places.INBOX}/", _ARCHIVE)
_STAMPED = (*_VERIFIED, *_MAIL, f"{places.AGENTS}/", f"{places.TEAMS}/", f"{places.RUNS}/", f"{places.DEADLETTER}/")


class Store(Holding):
    """One root's store: its state, and the transactions that change it.  Open it with `Store.open`."""

    def __init__(self, root: str, config: Config, host: Host, disk: Disk, locking: str = "", watching: str = "") -> None:
        super().__init__(root, config, host, disk, locking)
        self.watching = watching or "auto"
        """``MBOX_WATCH``: how waiting commands learn of changes."""
        self.sweep: Callable[[Transaction], bool] | None = None
        """Decides on one thing that has run out, False if there is none; runs before every other transaction."""
        self.after: Callable[[Store, Record], str] = lambda store, record: ""
        """Asked, with the lock held, after each record: a line to be said once the lock is free."""
        self.doubts = True
        """Whether who reads a file that was changed in its place has it compared with the journal first."""
        self._only_tried = False
        self._doubted: set[tuple[str, int, int]] = set()
        self._verified: set[tuple[str, str]] = set()
        """What a decision has found to be the journal's: paths, and what the files are known by."""
        self._left_alone: list[LeftAlone] = []

    @classmethod
    def open(cls, root: str, config: Config, host: Host, disk: Disk, locking: str = "", watching: str = "") -> Store:
        """The store in ``root``, an absolute path; `NoStore` if there is none that can be used."""
        store = cls(root, config, host, disk, locking, watching)
        if not os.path.isdir(store.absolute(places.MAILBOX)):
            raise NoStore(f"{root}: no .mailbox/ here; run `mbox init`")
        try:
            begun = [name for name in os.listdir(store.absolute(places.LOGS)) if name.endswith(".jsonl")]
        except (FileNotFoundError, NotADirectoryError):
            begun = []
        except OSError as error:
            raise StoreError(f"{store.absolute(places.LOGS)}: {failure(error)}") from None
        if not begun:
            raise NoStore(
                f"{root}/.mailbox has no journal (a fresh clone, or git clean, checkout or stash took it); "
                "run `mbox init` to start one from the documents, or `mbox audit restore`"
            )
        return store

    # -- transactions --------------------------------------------------------------------------------------------

    def transact(self, decide: Callable[[Transaction], T], actor: Actor) -> T:
        """Run ``decide`` under the lock and make what it wants durable; what it returned.

        In a call that is a ``dry_run`` nothing of it is made.  Raises what ``decide`` raises, and `StoreError` where nothing
        happened or, as `Unknown`, where that cannot be told.
        """
        warnings: list[str] = []
        self._left_alone = []
        self.recalled.clear()
        try:
            with self.locked():
                self._only_tried = actor.dry_run
                if not actor.dry_run:
                    self._sweep(warnings)
                elif stamps.unstamped(self, self.whose):
                    self._put_nothing_back()
                held = actor.incarnation and not actor.dry_run
                try:
                    result, error = self._run(decide, actor, warnings)
                except MboxError as refused:
                    if held and not isinstance(refused, StoreError) and self._is_current(actor):
                        self._renew(actor, warnings)
                    raise
                if held:
                    self._renew(actor, warnings)
        finally:
            for line in warnings:
                self.say(line)
            for document in self._left_alone:
                self.pass_over(document)
        if self.begun:
            self._checkpoint()
        if error is not None:
            raise error
        return result

    def _put_nothing_back(self) -> None:
        """In a call that is only tried: where files are not what the journal says, read that."""
        if self.view is None:
            end = self.answer_from_journal()
            self.say(f"files are not what the journal says, and a dry run puts nothing back: answered from the journal, as of "
                     f"record {end.seq}")  # fmt: skip

    def _is_current(self, actor: Actor) -> bool:
        """Whether a refused agent still has its name; one that lost it keeps nothing alive."""
        doc = self.load(places.agent(actor.name))
        return doc is not None and doc["incarnation"] == actor.incarnation

    def _sweep(self, warnings: list[str]) -> None:
        """Handle what has run out; a document that cannot be read is said, and looked at again a lease later."""
        if self.sweep is None or self.host.mono() < self.ahead.due:
            return
        before = self.looked
        for _ in range(SWEEPS):
            if self.looked - before > LADEN:
                break
            try:
                if not self._run(self.sweep, SWEEP, warnings)[0]:
                    break
            except (LeftAlone, Corrupt) as error:
                warnings.append(f"what ran out was left as it is: {error}")
                self._run(_postpone, SWEEP.trial(), warnings)
        try:
            self.look_ahead()
        except Damaged:
            self.drop_index()

    def catch_up(self, wait: float | None = None, folder: str = "", decides: bool = False,
                 letters: Iterable[str] = ()) -> None:  # fmt: skip
        """Take the lock, within ``wait`` seconds (as configured; `patience` of a second try), so that the files are what the
        journal says.

        Taken once, but where very much was moved: then it is given up after each part, and taken again.  Who ``decides``
        leaves some of that to others (`reconciliation`).  The files of ``folder`` are compared too, though nobody may have been
        in the folder itself, and so are archived ``letters``.  Where there is no room for the index that this takes, or in a
        `dry_run`, documents are read from the journal from here on.
        """
        from .reconciliation import ASKED, Round, reconcile

        if self.dry_run:
            self._put_nothing_back()
            return
        if wait is None and self.view is not None:
            wait = self.patience
        this, goes_on = Round(folder, letters), True
        try:
            while goes_on:
                with self.locked(wait), doing("bringing back what was moved behind the journal's back"):
                    try:
                        left = reconcile(self, this)
                    except Damaged:
                        self.drop_index()
                        left = reconcile(self, this)
                goes_on = bool(left) and not (decides and f"{left}/".startswith(ASKED))
                if goes_on:
                    self.host.sleep(TURN)
        except Unindexed as error:
            self.say(f"{error}; answered from the journal, as of record {self.answer_from_journal().seq}")
        finally:
            this.say_rest(self)

    def bring_up(self, decides: bool = False) -> None:
        """Before a command looks, or ``decides``: bring the files to what the journal says, where they may not be that.

        In a store that is in order nothing is locked and nothing written.  Where it cannot be written, or the lock is not
        had within `PATIENCE`, documents are read from the journal from here on (`view`), and a line says up to where.
        """
        if self.view is None and not self.is_in_order():
            self._bring_up(decides=decides)

    def whole(self, folder: str) -> None:
        """Before the letters in an agent's archive or outbox, ``folder``, are listed: bring its names to what the journal says.

        As `bring_up`, which does not look there: a command that lists none of them does not wait for it.
        """
        if self.doubts and self.view is None and not stamps.are_names_ours(self, folder, self.whose):
            self._bring_up(folder)

    def _bring_up(self, folder: str = "", decides: bool = False, letters: Iterable[str] = ()) -> None:
        try:
            self.catch_up(self.patience, folder, decides, letters)
        except StoreError as error:
            self._answer_instead(error)

    def _answer_instead(self, error: StoreError) -> None:
        """Read documents from the journal from here on, for ``error`` is in the way of more."""
        if isinstance(error, (WentBack, Corrupt, NoStore)):  # then the journal itself is in question
            raise error
        self.say(f"{error}; answered from the journal, as of record {self.answer_from_journal().seq}")

    @property
    def patience(self) -> float:
        """Seconds that a reader waits for the lock."""
        return min(PATIENCE, self.config.lock_wait)

    def read(self, path: str) -> Document | None:
        """As `Files.read`; a file that was changed in its place is compared with the journal first."""
        if self.doubts and not self._inside and self.view is None and path.startswith(_STAMPED) and stamps.is_stamped_file(path):
            self.doubt(path)
        return super().read(path)

    def doubt(self, *paths: str) -> None:
        """Before the files at ``paths``, all live or all archived mail, are read: compare those that were changed in their place.

        Of what is live all in its folder is compared: who reads one reads others.  An archive is large, and what was archived
        in an earlier life of the machine bears no stamp of this one: there only what is asked for.
        """
        changed = list(filter(self._is_doubtful, paths)) if self.doubts and self.view is None else []
        if changed and changed[0].startswith(_ARCHIVE):
            self._bring_up(letters=changed)
            return
        for folder in dict.fromkeys(path.rpartition("/")[0] for path in changed):
            self._bring_up(folder)

    def _is_doubtful(self, path: str) -> bool:
        """Whether the file at ``path`` bears no stamp, and was not compared before."""
        try:
            info = os.lstat(self.absolute(path))
        except OSError:
            return False
        seen = (path, info.st_ino, info.st_ctime_ns)
        if stamps.is_stamped(self, info, self.whose) or seen in self._doubted:
            return False
        self._doubted.add(seen)
        return True

    def load(self, path: str) -> Document | None:
        """As `Files.load`; `Damage` too where a decision would act on what is not what the journal says (`drift`).

        The index knows the file that was written for each task and reservation; another file is compared with the record.
        A letter that bears no stamp is compared as well.  Of agents and teams only those are asked for that are not there:
        that somebody else was in their folder is seen before a command begins.
        """
        if self.view is not None:
            return self.read(path)
        if self._inside and path.startswith(_MAIL):
            return self._letter(path)
        if not self._inside or not path.startswith(_VERIFIED) or not places.is_indexed(path):
            doc = super().load(path)
            if doc is None and self._inside and places.is_indexed(path):
                self._verify(path, "")
            return doc
        return self._verified_read(path, partial(super().load, path), None)

    def load_status(self, task_id: str) -> str:
        """As `Files.load_status`; `Damage` too, as `load`."""
        if self.view is not None:
            return super().load_status(task_id)
        return self._verified_read(places.task(task_id), partial(super().load_status, task_id), "")

    def _verified_read(self, path: str, read: Callable[[], T], absent: T) -> T:
        """What ``read`` finds in the file at ``path`` that `_verify` took; ``absent`` where there is to be none."""
        for _ in range(TRIES):
            known = self._known(path)
            self._verify(path, known)
            if not known:
                return absent
            found = read()
            if self._known(path) == known:  # what was read is what was verified
                return found
        raise StoreError(f"{self.absolute(path)}: somebody else changes it all the time; nothing happened")

    def _letter(self, path: str) -> Document | None:
        """The letter at ``path``; `Damage` unless it bears a stamp, or is what its last record says."""
        known = self._known(path)
        if known and (path, known) not in self._verified:
            if self._only_tried and not self.is_untouched(path):
                raise Damage(path, ASK_JOURNAL)
            from .drift import judge_letter

            judge_letter(self, path)
            known = self._known(path)
            self._verified.add((path, known))
        elif not known and places.is_indexed(path):
            self._verify(path, "")
        return super().load(path)

    def recall(self, *idents: str) -> bool:
        """Before it is said that there is no document called so: put back what is not as the journal says; whether any was.

        The lock is taken only where something is missed.  Where it cannot be put back, documents are read from the journal
        from here on.
        """
        fresh = set(idents) - self.recalled
        if not fresh or self.view is not None:
            return False
        from .redress import missed, recall

        if not missed(self, fresh, self.end()):
            self.recalled |= fresh
            return False
        if self.dry_run:
            self._put_nothing_back()
            return True
        try:
            with self.locked(self.patience), doing("bringing back what was gone"):
                return recall(self, fresh)
        except StoreError as error:
            self._answer_instead(error)
            return True

    def _known(self, path: str) -> str:
        """What the file at ``path`` is known by; nothing where there is none."""
        try:
            return print_of(os.lstat(self.absolute(path)))
        except OSError:
            return ""

    def _verify(self, path: str, known: str) -> None:
        """Raise `Damage` unless the file ``known`` so is the one that the record of ``path`` wrote, or one like it."""
        if (path, known) in self._verified:
            return
        row = self.caught_up_index().standing(path)
        if (known or row) and not (row and known and row[1] == known):
            if self._only_tried:
                raise Damage(path, ASK_JOURNAL)
            from .drift import judge

            judge(self, path, bool(known), row)
        self._verified.add((path, known))

    def _run(
        self, decide: Callable[[Transaction], T], actor: Actor, warnings: list[str]
    ) -> tuple[T, MboxError | None]:
        """Decide and commit; decide again where a document had to be mended or the index built anew."""
        from .commit import Again, commit

        why = ""
        for _ in range(TRIES):
            tx = Transaction(self, actor)
            self._verified.clear()
            try:
                result = decide(tx)
                record = commit(self, tx) if tx.header and not actor.dry_run else None
            except Damage as damage:
                self._mend(damage, warnings)
                why = "documents are damaged faster than they are mended; run `mbox doctor`"
            except Recall as asked:
                self._recall(asked.ident)
                why = "documents vanish faster than they are brought back; run `mbox doctor`"
            except Damaged:
                self.drop_index()
                why = f"{self.index.tables.path} is damaged faster than it is built"
            except Again:
                self.strike()
                why = why or "somebody else wrote first each time; nothing happened, try again"
            except Moved as moved:
                raise StoreError(
                    f"{moved}: somebody wrote without the lock; "
                    "this folder is shared by two kernels; the lock does not reach; nothing happened"
                ) from None
            else:
                warnings.extend(tx.warnings)
                if record and not self.behind and (line := self.after(self, record)):
                    warnings.append(line)
                return result, tx.error
            finally:
                self._left_alone += tx.left_alone
        raise StoreError(f"{self.root}: {why}")

    def _mend(self, damage: Damage, warnings: list[str]) -> None:
        from .commit import Again
        from .redress import mend

        if self._only_tried:
            self._put_nothing_back()
            return
        try:
            mend(self, damage, warnings)
        except Damaged:
            self.drop_index()
        except Again:
            pass  # a segment was begun first

    def _recall(self, ident: str) -> None:
        from .redress import recall

        recall(self, {ident})

    def _renew(self, actor: Actor, warnings: list[str]) -> None:
        """Renew what ``actor`` holds and has used a third of; a failure is said, for nothing else depends on it."""
        if self.behind or self.host.mono() < self.ahead.renew:
            return
        try:
            index = self.caught_up_index()
            for path in index.renewable(actor.name, actor.incarnation, RENEWALS):
                lease = self.load_lease(path)
                if lease is None or not lease.is_here(self.host) or lease.left(self.host) <= 0 or lease.holder != actor.name:
                    continue
                self.renew_lease(path, lease)
            self.look_ahead()
        except (Damaged, StoreError, OSError) as error:
            warnings.append(f"leases could not be renewed: {told(error)}")

    def _checkpoint(self) -> None:
        """Note that everything before the segment begun here is on this disk; failing is said and harmless."""
        from . import checkpoint

        segment, self.begun = self.begun, 0
        try:
            self.sync_files()
            with self.locked():
                checkpoint.note(self, segment)
        except OSError as error:
            self.say(f"no checkpoint was made: {failure(error)}")
        except StoreError as error:
            self.say(f"no checkpoint was made: {error}")


def _postpone(tx: Transaction) -> None:
    """What is due first is looked at again a lease later."""
    for path in tx.index.due(1):
        tx.postpone(path)
