"""The state of a store: its files, its journal, its lock, its mark and its index, and how far each of them is.

Promised: without the lock everything here only looks, and what it says of the journal's end is true of the moment it
was asked; with the lock held (`store`), the mark that is written next is `State.ahead`, and the index answers as of the
journal's end or raises.  Not promised: that the files follow the journal (`State.is_behind` asks); that is recovery's.

Nothing here decides and nothing here makes a record: a decision is a `Transaction`, a record is made by `commit`, and
what brings the files back after a death (`recovery`, `replay`, `quarantine`) works on a `State` alone.

The bounds in the mark save asking the index: every record that changes a lease brings them up to date, and one that was
redone for the dead makes them unknown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mbox.config.settings import Config
from mbox.errors import StoreError, WentBack, doing
from mbox.format import operations, places
from mbox.format.lease import Lease
from mbox.index.answers import Damaged
from mbox.journal import segments
from mbox.journal.record import FORMAT, RECORD, WRITER, Record, Tail, seq_of
from mbox.journal.segments import Journal
from mbox.system.clock import stamp
from mbox.system.disk import Disk
from mbox.system.filesystem import case_folds, filesystem, is_network
from mbox.system.host import Host

from . import stamps
from .files import Files
from .lock import Lock
from .mark import Mark
from .witness import Witness

if TYPE_CHECKING:
    from mbox.index.queries import Index
    from mbox.journal.log import Log



class State(Files):
    """What stands in ``root``, an absolute path, and how far it is.  Not for use from two threads at a time."""

    def __init__(self, root: str, config: Config, host: Host, disk: Disk, locking: str = "") -> None:
        super().__init__(root, host, disk)
        self.config = config
        self.locking = locking
        """``MBOX_LOCK``: how the lock is taken."""
        self.tail = Tail(0, 1, 0)
        """Where the journal ends, with the lock held."""
        self.behind = False
        """Whether a record stands that the files could not be brought to: nobody appends before they have."""
        self.journal = Journal(self.absolute(places.LOGS), disk)
        self.lock = Lock(self.absolute(places.LOCK), disk, host, locking)
        self.witness = Witness(root, disk, host)
        self._index: Index | None = None
        self.log: Log | None = None
        """What the commit asks before the journal; a store that lives on one machine has none."""
        self.begun = 0
        """The segment that was begun here and before which no checkpoint was made yet; 0 for none."""
        self._ahead: Mark | None = None
        self._header: tuple[int, Record] = (0, {})
        self._folds = config.case_fold

    def folds(self) -> bool:
        """Whether names that differ in case only are one name here: as configured, else as this file system says."""
        if self._folds is None:
            self._folds = case_folds(self.absolute(places.MAILBOX))
        return self._folds

    def prefix(self, pattern: str) -> str:
        """The literal prefix of a pattern, as the index wants it."""
        from mbox.format.patterns import literal_prefix

        return literal_prefix(pattern, self.folds())

    @property
    def index(self) -> Index:
        """The index; who only looks at documents neither makes nor loads it."""
        if self._index is None:
            from mbox.index.queries import Index

            self.check_folder(places.CACHE)
            self._index = Index(self.absolute(places.INDEX), self.host, self.prefix, self.disk.owner)
        return self._index

    def close(self) -> None:
        if self._index is not None:
            self._index.close()
        self.journal.close()
        self.lock.close()
        self.witness.close()

    @property
    def whose(self) -> str:
        """This machine's life and this lock file in one word: a cache that is of another is dropped unread."""
        if not self._inside:  # with the lock held it is this file, whatever stands at its path by now
            self.open_lock()
        return f"{self.host.machine}:{self.lock.inode}"

    def mark(self) -> Mark | None:
        """The mark, read without the lock; `WentBack` if the lock file is gone."""
        with doing("reading the mark", self.lock.path):
            self.open_lock()
            return self.lock.mark()

    def end(self) -> Tail:
        """How far the journal may be read without the lock: up to the mark, or to its end where there is none.

        Where it answers in place of the files, up to where it does.
        """
        if self.view is not None:
            return self.view.end
        mark = self.mark()
        if mark:
            return mark.tail
        return segments.scan_end(self.journal)

    def made(self, ident: str) -> list[tuple[Any, list[str]]]:
        """What the record that took the number of ``ident`` put under that id, each document with its paths, oldest first.

        Nothing for an id of somebody's own, and one that was never given.  By it a letter is known as it was sent, whatever
        stands in the files.
        """
        end, number = self.tail if self._inside else self.end(), places.number(ident)
        if 0 < number <= end.seq:
            for segment, offset, line in self.journal.between(self.journal.find(number - 1, end), end):
                if seq_of(line) >= number:
                    put = self.journal.decoded(segment, offset, line)["put"]
                    return [(doc, paths) for doc, paths in put if any(places.ident(path) == ident for path in paths)]
        return []

    def is_behind(self) -> bool:
        """Whether the files may not follow the journal yet, so that whoever reads must take the lock once.

        The mark is none, or of another life of this machine, or of another lock file; or the journal does not end where the
        mark says, or ended later once.
        """
        store, seq = self.witness.seen()  # first: it is noted before the mark is written
        mark = self.mark()
        return (
            mark is None
            or mark.machine != self.host.machine
            or mark.inode != self.lock.inode
            or self.journal.size(mark.tail.segment) != mark.tail.offset
            or not self.journal.is_last(mark.tail.segment)
            or (mark.store == store and mark.tail.seq < seq)
        )

    def is_in_order(self) -> bool:
        """Whether the files follow the journal, and nobody else has been in a folder (`stamps`): reading needs no lock."""
        return not self.is_behind() and not stamps.unstamped(self, self.whose)

    def is_untouched(self, path: str) -> bool:
        """Whether the file at ``path`` bears the store's stamp: it is what the index says, and need not be read for that."""
        try:
            return stamps.is_stamped(self, os.lstat(self.absolute(path)), self.whose)
        except OSError:
            return False

    def open_lock(self) -> None:
        try:
            self.lock.open()
        except FileNotFoundError:
            if not self.journal.segments():
                raise WentBack(
                    f"{self.root}/.mailbox lost its lock and its journal (git clean, checkout or stash?); "
                    "`mbox audit restore` brings the store back"
                ) from None
            try:
                self.lock.open(create=True)
            except FileNotFoundError:
                raise WentBack(
                    f"{self.root}/.mailbox was taken away just now (git clean, checkout or stash?); nothing happened"
                ) from None
            self.say(f"{self.lock.path} was gone; made anew, and the journal is replayed")

    def caught_up_index(self) -> Index:
        """The index, opened, built or caught up as it needs; only under the lock."""
        index = self.index
        if self.behind:  # an index built now would be made of documents that do not follow
            raise StoreError(f"{self.root}: the files could not follow the journal; nothing more was done")
        if index.seq != self.tail.seq:
            self._bring_index()
            self.ahead = self.ahead._replace(indexed=self.tail.seq)
        return index

    def _bring_index(self) -> None:
        from . import indexing

        index, identity = self.index, (self.ahead.store, self.whose)
        if indexing.bring(index, self.journal, self.tail, identity):
            return
        self.drop_index()
        try:
            indexing.build(index, self, self.journal, self.tail, identity)
        except StoreError:
            self.drop_index()
            raise
        self.go_on_above(indexing.highest(self))

    def drop_index(self) -> None:
        """Remove the index; the next question builds it again, and until then the mark knows no bounds."""
        from mbox.system.database import discard

        self.index.close()
        if self._ahead:
            self.forget_ahead()
        discard(self.disk, self.index.tables.path)

    def take_in(self, record: Record, prints: Mapping[str, str]) -> None:
        """Bring the index up to ``record``, and note what is due next."""
        try:
            self.index.updates.apply([record], prints)
            self.ahead = self.ahead._replace(indexed=record["seq"])
            self.look_ahead()
        except Damaged:
            self.drop_index()

    def look_ahead(self) -> None:
        """Note in the mark what the index says is due next; `Damaged` makes that unknown."""
        due, renew = self.caught_up_index().bounds()
        self.ahead = self.ahead._replace(due=due, renew=renew)

    def note_lease(self, path: str, lease: Lease) -> None:
        """Note a lease that no record carries, with the lock held: the index knows it, and the bounds are not above it."""
        until, renew_at = self.caught_up_index().renewed(path, lease)
        self.ahead = self.ahead._replace(due=min(self.ahead.due, until), renew=min(self.ahead.renew, renew_at))

    @property
    def ahead(self) -> Mark:
        """The mark as it will be written next; with the lock held."""
        assert self._ahead is not None
        return self._ahead

    @ahead.setter
    def ahead(self, mark: Mark) -> None:
        self._ahead = mark

    @property
    def last(self) -> int:
        """The number above which the next one is given; with the lock held."""
        return max(self.tail.seq, self._ahead.floor if self._ahead else 0)

    def go_on_above(self, number: int) -> None:
        """Give no number up to ``number``, which a document shows, from now on; with the lock held.

        The journal need not know that document: a branch brought it, or a copy.  The mark keeps it until a record is made,
        whose own number is above it then.
        """
        if number > self.last:
            self.ahead = self.ahead._replace(floor=number)

    def forget_ahead(self) -> None:
        """How far the index is and what is due next are not known any more: whoever needs it asks."""
        self.ahead = self.ahead.unknowing()

    def tell_ahead(self) -> None:
        """Write the mark if something was found out that the next transaction need not ask for again."""
        if self.ahead is not self.lock.told and not self.behind:
            try:
                self.write_mark(self.tail, False)
            except OSError:  # it is only a help
                pass

    def made_lately(self) -> int:
        """How many numbers this minute of the clock and the one before took, at most; with the lock held."""
        return self.ahead.made_lately(self.host.wall(), self.tail.seq)

    def write_mark(self, tail: Tail, synced: bool) -> None:
        host, at = self.host, self.host.mono() if synced else None
        self.ahead = self.ahead.moved(tail, host.wall(), host.machine, self.lock.inode, at)
        self.lock.set_mark(self.ahead)

    def renew_lease(self, path: str, lease: Lease) -> Lease:
        """Write a lease that runs from now; not journaled."""
        fresh = lease.renewed(self.host)
        self.write_lease(path, fresh)
        self.note_lease(path, fresh)
        return fresh

    def sync_files(self) -> None:
        """Make everything in the store's file system durable; without the lock, for it can take long."""
        fd = os.open(self.absolute(places.MAILBOX), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.disk.sync_filesystem(fd)
        finally:
            os.close(fd)

    def segment_header(self, seq: int, segment: int, store_id: str) -> Record:
        return {
            "v": RECORD, "seq": seq, "ts": stamp(self.host.wall()), "by": "store", "inc": 0, "op": operations.STORE_SEGMENT,
            "on": [f"{segment:06d}"], "why": "", "key": None, "put": [], "mv": [], "del": [], "lease": [],
            "format": FORMAT, "writer_min": WRITER, "store": store_id,
        }  # fmt: skip

    def check_writer(self, segment: int) -> Record:
        """The header of ``segment``, read once; `StoreError` if it asks for a newer writer than this one."""
        if self._header[0] != segment:
            self._header = (segment, self.journal.header(segment))
        return self._header[1]


def check_filesystem(folder: str, config: Config) -> None:
    """Refuse a network file system, where the lock does not reach every machine, unless the configuration allows it."""
    if config.network_fs:
        return
    kind = filesystem(folder)
    if is_network(kind):
        raise StoreError(
            f"{folder} is on a network file system ({kind}), where the lock does not reach every machine; "
            "use a local folder, or set `network_fs: true` in .mailbox/config.yaml if one machine only writes"
        )


def check_witness(state: State, mark: Mark | None) -> None:
    """Raise `WentBack` if the journal ended later once: it, the ``mark`` and the lock were put back together (`witness`)."""
    store, seq = state.witness.seen()
    if not store or (mark and mark.store == store and mark.tail.seq >= seq) or not state.journal.segments():
        return
    end = segments.scan_end(state.journal)
    if end.seq < seq and state.check_writer(end.segment)["store"] == store:
        raise WentBack(
            f"{state.root}/.mailbox ends with record {end.seq}, and had record {seq} before: git checkout or stash, or a "
            f"restored copy, took the store back in time; undo that, or remove {state.witness.path} to go on without what "
            "came after"
        )


def went_back(state: State, mark: Mark, size: int) -> WentBack:
    """The error for a journal that is shorter than the ``mark`` says: ``size`` bytes of its segment, -1 for none."""
    path = state.journal.path(mark.tail.segment)
    what = "is gone" if size < 0 else f"has {size} bytes where {mark.tail.offset} were written"
    return WentBack(
        f"{path} {what}: git checkout, clean or stash, or a restored copy, took the store back in time; "
        "undo that, or run `mbox audit restore` in an emptied store"
    )
