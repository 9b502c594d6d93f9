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
6.  Bring the index up to the record, unless all it does is to deliver mail (`intake.LAG`).  *The index is caught up.*
7.  Write the mark, release the lock.  *The record is redone, which changes nothing.*

The bounds in the mark (`mark`) save asking the index: every record that changes a lease brings them up to date in 7, and
one that was redone for the dead makes them unknown.

An error before 4 takes everything back (exit 6, nothing happened); an error after 4 is said on stderr and the command
succeeds, because the record stands and the files will follow.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from mbox import publishing
from mbox.store import recovery
from mbox.format import documents
from mbox.format import places
from mbox.system.disk import Disk, exists, temporary
from mbox.format.documents import Newer
from mbox.errors import Corrupt, MboxError, NoStore, StoreError, Unknown, WentBack
from mbox.faults import failure, said
from mbox.store.files import Damage, Files, is_folder
from mbox.system.host import Host, stamp
from mbox.index.queries import Damaged, Index
from mbox.index.updates import LAG, can_wait
from mbox.journal.segments import WINDOW, WRITER, Journal, Moved, Record, Tail
from mbox.format.lease import Lease
from mbox.store.lock import Lock, held_back
from mbox.store.mark import Mark
from mbox.store.transaction import SWEEP, Actor, Transaction

__all__ = ["SWEEP", "Actor", "Settings", "Store", "Transaction"]

T = TypeVar("T")

STORE = Actor("store")
"""Who makes checkpoints: a record that must not ask for the next one."""

RENEWALS = 64
"""Leases renewed by one command at most; the rest by the next."""

SWEEPS = 64
"""Expiries that one command handles at most, a record each (``store.md``, Long work)."""


class _Again(Exception):
    """The ground moved under a decision that was sound; decide again."""


_KEPT_INSIDE = (places.LOGS, places.CACHE)
"""Folders that are written in before any document's path is looked at."""


class Settings(NamedTuple):
    """What the store needs of the configuration."""

    durability: str = "full"
    lock_wait: float = 10.0
    segment_size: int = 16 << 20
    lease: float = 1800.0
    lock_backend: str = ""
    dead_after: float = 45.0
    """Seconds without a heartbeat after which an agent counts as dead."""


class Store(Files):
    """One root's store.  Open it with `Store.open`; not for use from two threads at a time."""

    def __init__(self, root: str, settings: Settings, host: Host, disk: Disk,
                 prefix: Callable[[str], str] = lambda pattern: "") -> None:  # fmt: skip
        super().__init__(root, host, disk)
        self.settings = settings
        self.tail = Tail(0, 1, 0)
        self.sweep: Callable[[Transaction], bool] | None = None
        """Decides on one thing that has run out, False if there is none; runs before every other transaction."""
        self.journal = Journal(self.absolute(places.LOGS), disk)
        self.lock = Lock(self.absolute(places.LOCK), disk, host, settings.lock_backend)
        self.index = Index(self.absolute(places.INDEX), host, prefix)
        self.prefix = prefix
        self._mark: Mark | None = None
        self._behind = False
        self._rolled = 0
        self._header: tuple[int, Record] = (0, {})
        self._pid = 0

    @classmethod
    def open(cls, root: str, settings: Settings | None = None, host: Host | None = None, disk: Disk | None = None,
             prefix: Callable[[str], str] = lambda pattern: "") -> Store:  # fmt: skip
        """The store in ``root``, an absolute path; `NoStore` if there is none that can be used."""
        store = cls(root, settings or Settings(), host or Host(), disk or Disk(), prefix)
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

    def close(self) -> None:
        self.index.close()
        self.journal.close()
        self.lock.close()

    def mark(self) -> Mark | None:
        """The mark, read without the lock; `WentBack` if the lock file is gone."""
        with said("reading the mark", self.lock.path):
            self._open_lock()
            return self.lock.mark()

    def end(self) -> Tail:
        """How far the journal may be read without the lock: up to the mark, or to its end where there is none."""
        mark = self.mark()
        if mark:
            return mark.tail
        return recovery.scan_end(self.journal, strict=False)

    def is_behind(self) -> bool:
        """Whether the files may not follow the journal yet, so that a waiting reader must take the lock once."""
        mark = self.mark()
        return mark is None or (
            self.journal.size(mark.tail.segment) != mark.tail.offset
            or not self.journal.is_last(mark.tail.segment)
        )

    # -- transactions --------------------------------------------------------------------------------------------

    def transact(self, decide: Callable[[Transaction], T], actor: Actor, dry_run: bool = False) -> T:
        """Run ``decide`` under the lock and make what it wants durable; what it returned.

        With ``dry_run`` nothing of it is made.  Raises what ``decide`` raises, and `StoreError` where nothing
        happened or, as `Unknown`, where that cannot be told.
        """
        warnings: list[str] = []
        try:
            with self.locked():
                if not dry_run:
                    self._sweep(warnings)
                held = actor.incarnation and not dry_run
                try:
                    result, error = self._run(decide, actor, warnings, dry_run)
                except MboxError as refused:
                    if held and not isinstance(refused, StoreError) and self._is_current(actor):
                        self._renew(actor, warnings)
                    raise
                if held:
                    self._renew(actor, warnings)
        finally:
            for line in warnings:
                self.say(line)
        if self._rolled and actor != STORE:
            self._checkpoint()
        if error is not None:
            raise error
        return result

    def _is_current(self, actor: Actor) -> bool:
        """Whether a refused agent still has its name; one that lost it keeps nothing alive."""
        doc = self.load(places.agent(actor.name))
        return doc is not None and doc["incarnation"] == actor.incarnation

    def _sweep(self, warnings: list[str]) -> None:
        """Handle what has run out; a document that cannot be read is said, and looked at again a lease later."""
        if self.sweep is None or self.host.mono() < self.ahead.due:
            return
        for _ in range(SWEEPS):
            try:
                if not self._run(self.sweep, SWEEP, warnings, False)[0]:
                    break
            except (Newer, Corrupt) as error:
                warnings.append(f"what ran out was left as it is: {error}")
                self._run(_postpone, SWEEP, warnings, True)
        try:
            self._look_ahead()
        except Damaged:
            self.drop_index()

    def catch_up(self) -> None:
        """Take the lock once, so that the files follow the journal."""
        with self.locked():
            pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, with the files following the journal; signals that end a process wait."""
        if self._inside:
            raise AssertionError("a transaction inside a transaction")
        if self._pid != os.getpid():
            self.begin_here()
        self._safe.clear()
        for folder in _KEPT_INSIDE:
            self.check_folder(folder)
        self._inside = True
        try:
            with said("taking the lock", self.lock.path):
                self._open_lock()
                self.lock.take(self.settings.lock_wait)
            with held_back():
                try:
                    self.lock.check()
                    with said("bringing the files to what the journal says"):
                        self._mark = recovery.recover(self)
                    self.tail = self._mark.tail
                    self._behind = False
                    if not self.index.stands():
                        self.index.close()
                        self.forget_ahead()
                    try:
                        yield
                    except MboxError as refused:
                        if not isinstance(refused, StoreError):
                            self._tell_ahead()
                        raise
                    self._tell_ahead()
                finally:
                    self.lock.give_up()
        except BaseException as error:
            self.lock.give_up()  # an interrupt may strike after the lock is had and before that is known
            if type(error) is StoreError and self.lock.is_open:
                self.lock.check()  # a store that is being taken away fails in many ways: name that one
            raise
        finally:
            self._inside = False

    def begin_here(self) -> None:
        """Before this process takes the lock for the first time.

        In a forked child, what belongs to the parent's open files is dropped, not closed.
        """
        self.index.forget()
        self._pid = os.getpid()

    def _open_lock(self) -> None:
        try:
            self.lock.open()
        except FileNotFoundError:
            if not self.journal.segments():
                raise WentBack(
                    f"{self.root}/.mailbox lost its lock and its journal (git clean, checkout or stash?); "
                    "`mbox audit restore` brings the store back"
                ) from None
            self.say(f"{self.lock.path} was gone; made anew, and the journal is replayed")
            self.lock.open(create=True)

    def _run(self, decide: Callable[[Transaction], T], actor: Actor, warnings: list[str],
             dry_run: bool) -> tuple[T, MboxError | None]:  # fmt: skip
        """Decide and commit; decide again where a document had to be mended or the index built anew."""
        for _ in range(64):
            tx = Transaction(self, actor)
            try:
                try:
                    result = decide(tx)
                    if tx.header and not dry_run:
                        self.commit(tx)
                except Damage as damage:
                    from mbox.store.quarantine import mend

                    mend(self, damage, warnings)
                    continue
            except Damaged:
                self.drop_index()
            except _Again:
                continue
            except Moved as moved:
                raise StoreError(
                    f"{moved}: somebody wrote without the lock; "
                    "this folder is shared by two kernels; the lock does not reach; nothing happened"
                ) from None
            else:
                warnings.extend(tx.warnings)
                return result, tx.error
        raise StoreError(f"{self.root}: documents are damaged faster than they are mended; run `mbox doctor`")

    def caught_up_index(self) -> Index:
        """The index, opened, built or caught up as it needs; only under the lock."""
        index = self.index
        if self._behind:  # an index built now would be made of documents that do not follow
            raise StoreError(f"{self.root}: the files could not follow the journal; nothing more was done")
        if index.seq != self.tail.seq:
            from mbox.store.indexing import bring_index

            bring_index(self)
            self._mark = self.ahead._replace(indexed=self.tail.seq)
        return index

    def drop_index(self) -> None:
        """Remove the index; the next question builds it again, and until then the mark knows no bounds."""
        self.index.close()
        if self._mark:
            self.forget_ahead()
        for suffix in ("", "-wal", "-shm", "-journal"):
            self.disk.discard(self.index.path + suffix)

    # -- the steps of a commit -----------------------------------------------------------------------------------

    def commit(self, tx: Transaction, roll: bool = True) -> None:
        """Make ``tx`` durable and publish it, with the lock held: steps 3 to 7."""
        if self._behind:
            raise StoreError(f"{self.root}: the files could not follow the journal; nothing more was done")
        if roll:
            self._roll_if_full()
        record = tx.as_record()
        if not can_wait(record) or self.tail.seq - self.ahead.indexed >= LAG:
            self.caught_up_index()
        places.check_record(record)
        staged = self._stage(record)
        try:
            with said("appending to the journal", self.journal.path(self.tail.segment)):
                self.lock.check()
                sync = self._sync_now(record["seq"])
                tail = self.journal.append(self.tail, record, sync)
                self._check_kept(record)
        except BaseException:
            for temp, _ in staged:
                self.disk.discard(temp)
            raise
        self.tail = tail
        self._follow(record, staged, tx.warnings, sync)

    def _check_kept(self, record: Record) -> None:
        """Raise `Unknown` if the lock was replaced while the record was written.

        Whoever took the new lock may have cut the record off, or never have seen it.
        """
        try:
            self.lock.check()
        except WentBack as error:
            raise Unknown(
                f"{str(error).partition(';')[0]}; whether record {record['seq']} stands is unknown; "
                "repeating the command with the same --key or --token is safe"
            ) from None

    def _sync_now(self, seq: int) -> bool:
        """Whether this record is made durable: always in ``full``; in ``fast`` once a second and `WINDOW` numbers."""
        if self.settings.durability == "full" or self._mark is None or seq - self._mark.synced_seq >= WINDOW:
            return True
        return not 0 <= self.host.mono() - self._mark.synced < 1.0

    def _stage(self, record: Record) -> list[tuple[str, str]]:
        """Write every document as a temporary file; ``(temporary, final)`` pairs.  A failure takes all back."""
        staged: list[tuple[str, str]] = []
        path = ""
        try:
            for path in record["del"]:
                self._check_replaceable(path)
            for path in (*(target for _, target in record["mv"]), *(path for path, lease in record["lease"] if lease)):
                self._check_enterable(path)
            for doc, paths in record["put"]:
                data = documents.render(doc)
                first = ""
                for path in paths:
                    target = self.absolute(path)
                    if exists(target):
                        self._check_replaceable(path)
                    temp = temporary(target)
                    staged.append((temp, target))
                    self._stage_one(path, temp, data, first)
                    first = first or temp
        except OSError as error:
            for temp, _ in staged:
                self.disk.discard(temp)
            raise StoreError(f"{self.absolute(path)}: {failure(error)}; nothing happened") from error
        except BaseException:
            for temp, _ in staged:
                self.disk.discard(temp)
            raise
        return staged

    def _check_replaceable(self, path: str) -> None:
        """Refuse to commit to what no rename and no unlink can do: a folder stands in the place."""
        try:
            mode = os.lstat(self.absolute(path)).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise Corrupt(f"{self.absolute(path)} is a folder where a document should be; move it away; nothing happened")

    def _check_enterable(self, path: str) -> None:
        """Refuse to commit to what would have to be made in a folder in whose place a file stands."""
        folder = self.absolute(path.rpartition("/")[0])
        if not is_folder(folder) and exists(folder):
            raise Corrupt(f"{folder} is a file where a folder should be; move it away; nothing happened")

    def _stage_one(self, path: str, temp: str, data: bytes, first: str) -> None:
        self.check_folder(path.rpartition("/")[0])
        link = bool(first) and path.startswith(places.OUTBOX)
        for _ in range(3):
            try:
                if link:
                    self.disk.link(first, temp)
                else:
                    self.disk.create(temp, data)
                return
            except FileNotFoundError:
                self.disk.folders(os.path.dirname(temp))
            except FileExistsError:
                self.disk.unlink(temp)
            except OSError as error:
                if not link or error.errno not in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV):
                    raise
                link = False
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), temp)

    def _follow(self, record: Record, staged: list[tuple[str, str]], warnings: list[str], sync: bool) -> None:
        """After the commit: publish, index, mark.  A failure is said; the next command that takes the lock redoes."""
        try:
            for temp, target in staged:
                self.disk.rename(temp, target)
            publishing.publish_rest(self, record)
            self.advance(record, sync)
        except (OSError, Corrupt) as error:
            self.index.close()
            self._behind = True
            why = str(error)
            if isinstance(error, OSError):
                why = f"{error.filename2 or error.filename or self.lock.path}: {failure(error)}"
            warnings.append(f"it is done and in the journal, but the files do not follow yet: {why}")

    def advance(self, record: Record, synced: bool) -> None:
        """Note that the files follow the journal up to ``record``; `commit` has seen to it that the index can follow."""
        if can_wait(record):
            self.index.note(record, self.ahead.tail.seq)
        elif self.index.seq == self.ahead.tail.seq:
            self._take_in(record)
        else:
            self.forget_ahead()
        self.write_mark(self.tail, synced)

    def _take_in(self, record: Record) -> None:
        """Bring the index up to ``record``, and note what is due next."""
        try:
            self.index.apply([record])
            self._mark = self.ahead._replace(indexed=record["seq"])
            self._look_ahead()
        except Damaged:
            self.drop_index()

    def _look_ahead(self) -> None:
        """Note in the mark what the index says is due next; `Damaged` makes that unknown."""
        due, renew = self.caught_up_index().bounds()
        self._mark = self.ahead._replace(due=due, renew=renew)

    def note_lease(self, path: str, lease: Lease) -> None:
        """Note a lease that no record carries, with the lock held: the index knows it, and the bounds are not above it."""
        until, renew_at = self.caught_up_index().renewed(path, lease)
        self._mark = self.ahead._replace(due=min(self.ahead.due, until), renew=min(self.ahead.renew, renew_at))

    @property
    def ahead(self) -> Mark:
        """The mark as it will be written next; with the lock held."""
        assert self._mark is not None
        return self._mark

    def forget_ahead(self) -> None:
        """How far the index is and what is due next are not known any more: whoever needs it asks."""
        self._mark = self.ahead.unknowing()

    def _tell_ahead(self) -> None:
        """Write the mark if something was found out that the next transaction need not ask for again."""
        if self.ahead is not self.lock.told and not self._behind:
            try:
                self.write_mark(self.tail, False)
            except OSError:  # it is only a help
                pass

    def made_lately(self) -> int:
        """How many numbers this minute of the clock and the one before took, at most; with the lock held."""
        return self.ahead.made_lately(self.host.wall(), self.tail.seq)

    def write_mark(self, tail: Tail, synced: bool) -> None:
        host, at = self.host, self.host.mono() if synced else None
        self._mark = self.ahead.moved(tail, host.wall(), host.machine, self.lock.inode, at)
        self.lock.set_mark(self._mark)

    def _renew(self, actor: Actor, warnings: list[str]) -> None:
        """Renew what ``actor`` holds and has used a third of; a failure is said, for nothing else depends on it."""
        if self._behind or self.host.mono() < self.ahead.renew:
            return
        try:
            index = self.caught_up_index()
            for path in index.renewable(actor.name, actor.incarnation, RENEWALS):
                lease = self.load_lease(path)
                if lease is None or lease.left(self.host) <= 0 or lease.holder != actor.name:
                    continue
                self.renew_lease(path, lease)
            self._look_ahead()
        except (Damaged, StoreError, OSError) as error:
            warnings.append(f"leases could not be renewed: {error}")

    def renew_lease(self, path: str, lease: Lease) -> Lease:
        """Write a lease that runs from now; not journaled."""
        fresh = lease.renewed(self.host)
        self.write_lease(path, fresh)
        self.note_lease(path, fresh)
        return fresh

    # -- segments and checkpoints --------------------------------------------------------------------------------

    def segment_header(self, seq: int, segment: int, store_id: str) -> Record:
        return {
            "v": WRITER, "seq": seq, "ts": stamp(self.host.wall()), "by": "store", "inc": 0, "op": "store.segment",
            "on": [f"{segment:06d}"], "why": "", "key": None, "put": [], "mv": [], "del": [], "lease": [],
            "format": documents.FORMAT, "writer_min": WRITER, "store": store_id,
        }  # fmt: skip

    def check_writer(self, segment: int) -> Record:
        """The header of ``segment``, read once; `StoreError` if it asks for a newer writer than this one."""
        if self._header[0] != segment:
            self._header = (segment, self.journal.header(segment))
        return self._header[1]

    def _roll_if_full(self) -> None:
        """Begin a new segment when this one is full; the decision starts over, for its numbers have moved."""
        header = self.check_writer(self.tail.segment)
        if self.tail.offset < self.settings.segment_size or self.tail.seq == header["seq"]:
            return
        assert self._mark is not None
        if self.settings.durability == "fast":
            self.journal.sync(self.tail.segment)
        segment = self.tail.segment + 1
        header = self.segment_header(self.tail.seq + 1, segment, self._mark.store)
        with said("beginning a journal segment", self.journal.path(segment)):
            self.tail = self.journal.begin(segment, header)
            self.advance(header, True)
        self._rolled = segment
        raise _Again

    def _checkpoint(self) -> None:
        """Make everything published before the last new segment durable, without the lock, and then record that.

        From then on a replay after a machine's death starts at that segment.  A death before the record leaves the
        checkpoint before it in force.  Failing is said and harmless.
        """
        segment, self._rolled = self._rolled, 0
        try:
            fd = os.open(self.absolute(places.MAILBOX), os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.disk.sync_filesystem(fd)
            finally:
                os.close(fd)
            self.transact(lambda tx: tx.record("store.checkpoint", [f"{segment:06d}"]), STORE)
        except (OSError, StoreError) as error:
            self.say(f"no checkpoint was made: {error}")


def _postpone(tx: Transaction) -> None:
    """What is due first is looked at again a lease later."""
    for path in tx.index.due(1):
        tx.index.postpone(path, tx.store.settings.lease)
