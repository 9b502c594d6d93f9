"""A transaction as a decision sees it: what it reads, and what it wants changed.

Promised: what a decision wants changed is collected while it runs, and is either committed whole by the store or dropped.
Only what is ephemeral is done at once, by the methods named under that head: leases renewed or looked at for the first
time, what the index is told of things that are not as it thought, left-overs of dead processes.  A decision
is a pure function of what it reads through it, because it may run twice: when a document had to be mended, the index
built anew, or a journal segment begun.

Promised, too: it ends.  What it reads is counted in bytes, never in seconds, so that it comes out the same when it runs again:
past `LADEN` whoever can go on in the next transaction does, past `MOST` it is `Refused`, and so is a record that would write
more than `ROOM`; nothing happened then.  Not promised: that what a decision does beside reading is short; whoever loops over
what an agent may make many of bounds that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.errors import LeftAlone, MboxError, Refused, Usage
from mbox.format import documents, places
from mbox.format.documents import Document
from mbox.format.lease import Lease
from mbox.journal.record import RECORD, Record
from mbox.system.clock import inf, stamp

from .files import FILE, Recall

if TYPE_CHECKING:
    from mbox.format.globs import Effort
    from mbox.index.queries import Index

    from .state import State


MOST = 64 << 20
"""Bytes that one decision may look at, a file counting as `files.FILE` more: less than a second."""

ROOM = 64 << 20
"""Bytes that one record may write, of each document `COPIES` times its own and `files.FILE` more: about a second."""

COPIES = 3
"""Times that a byte of a document is counted: it is encoded, written to the journal and its place, and synced."""

LADEN = 8 << 20
"""Bytes looked at after which a decision that can go on in the next transaction does."""

DEEPEST = documents.DEEPEST - 10
"""How deep a document may be nested: less than what can be read, for it may have to go into a dead letter."""


class Actor(NamedTuple):
    """Who calls, and how: an agent in an incarnation, ``user:<login>`` or ``sweep``; in a ``dry_run`` nothing is changed."""

    name: str
    incarnation: int = 0
    dry_run: bool = False

    @property
    def who(self) -> tuple[str, int]:
        """Name and incarnation, as documents have them."""
        return self.name, self.incarnation

    def trial(self) -> Actor:
        """The same caller, who only wants to know what would be."""
        return self._replace(dry_run=True)


SWEEP = Actor("sweep")


class Transaction:
    """What a decision reads, and what it wants changed.  Made anew for every try; discarded if the decision raises."""

    __slots__ = (
        "_before", "_effort", "_ends", "_frozen", "_grants", "_looked", "_most", "_puts", "_seen", "actor", "deletions",
        "error", "header", "left_alone", "mono", "moves", "now", "room", "seq", "store", "wall", "warnings",
    )  # fmt: skip

    def __init__(self, store: State, actor: Actor) -> None:
        self.store = store
        self.actor = actor
        self.wall = store.host.wall()
        self.mono = store.host.mono()
        self.now = stamp(self.wall)
        self.seq = self._before = store.last
        self.moves: list[tuple[str, str]] = []
        self.deletions: dict[str, None] = {}
        self.header: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.left_alone: list[LeftAlone] = []
        self.error: MboxError | None = None
        self._puts: list[tuple[Document, list[str]]] = []
        self._seen: dict[str, Document | None] = {}
        self._grants: dict[str, Lease] = {}
        self._ends: dict[str, None] = {}
        self._frozen = False
        self._effort: Effort | None = None
        self._looked = store.looked
        self._most: float = store.looked + MOST
        self.room: float = ROOM
        """Bytes that may be written (`commit`)."""

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def index(self) -> Index:
        """The index, caught up to the journal."""
        return self.store.caught_up_index()

    @property
    def effort(self) -> Effort:
        """What this decision may still do to compare patterns."""
        if self._effort is None:
            from mbox.format.globs import Effort

            self._effort = Effort()
        return self._effort

    def read(self, path: str) -> Document | None:
        """A copy of the document at ``path``, or None; sees what this transaction has put and deleted.

        A damaged document is restored from the journal or quarantined, and the decision starts over.
        """
        if path in self._seen:
            doc = self._seen[path]
            return dict(doc) if doc is not None else None
        found = self.store.load(path)
        self.count(0)
        return found

    def recall(self, ident: str) -> bool:
        """Before it is said that there is no ``ident``: ask the journal, once; then the decision starts over, or False."""
        if ident in self.store.recalled:
            return False
        raise Recall(ident)

    def made(self, ident: str) -> list[tuple[Any, list[str]]]:
        """As `State.made`."""
        self.count(FILE)
        return self.store.made(ident)

    def stands(self, path: str) -> bool:
        """Whether a document is at ``path``, whatever is in it."""
        return self._seen[path] is not None if path in self._seen else self.store.stands(path)

    def is_untouched(self, path: str) -> bool:
        """Whether nobody but the store has written the document at ``path``: what the index says of it is so."""
        return path not in self._seen and self.store.is_untouched(path)

    def status(self, task_id: str) -> str:
        """The status of a task, "" if there is none; cheaper than to `read` it."""
        path = places.task(task_id)
        if path in self._seen:
            return str((self._seen[path] or {}).get("status", ""))
        found = self.store.load_status(task_id)
        self.count(0)
        return found

    @property
    def is_laden(self) -> bool:
        """Whether enough was looked at for one transaction: whoever can go on in the next stops here."""
        return self.store.looked - self._looked > LADEN

    def count(self, size: int) -> None:
        """Count ``size`` bytes that were looked at elsewhere than in documents: in the index, in the cache."""
        self.store.looked += size
        if self.store.looked > self._most:
            raise _too_much()

    def unbounded(self) -> None:
        """Let this decision look at and write whatever there is: where nobody else can wait for the lock yet."""
        self._most, self.room = inf, inf

    def glance(self, path: str) -> Document | None:
        """`read` for a choice among many: what is left alone is said, once the lock is free, and counts as not there."""
        try:
            return self.read(path)
        except LeftAlone as error:
            self.pass_over(error)
            return None

    def pass_over(self, error: LeftAlone) -> None:
        """Say, whatever the decision comes to, that a document is left alone."""
        self.left_alone.append(error)

    def notes(self, path: str) -> list[Document]:
        """The entries of a notes file; empty if there is none."""
        found: Any = self._seen.get(path) or self.read(path)
        return list(found or [])

    def names(self, folder: str) -> list[str]:
        """File names in ``folder`` as on disk, without temporary files; empty if there is no such folder."""
        return self.store.names(folder)

    def lease(self, path: str) -> Lease | None:
        """The lease at ``path`` as on disk or as granted here; None if there is none that can be read."""
        return self._grants.get(path) or self.store.load_lease(path)

    def live(self, path: str, token: int) -> bool:
        """Whether the document that carries ``token`` is leased now.

        A missing lease counts as live: it is granted the default time from the first look (`sweep`).
        """
        lease = self.lease(path)
        if path in self._ends:
            return False
        if lease is None:
            return token > 0
        return lease.token == token and lease.left(self.store.host) > 0

    # -- changing ------------------------------------------------------------------------------------------------

    def take(self) -> int:
        """The next number of the journal, for an id."""
        if self._frozen:
            raise AssertionError("numbers are taken before the token is used")
        self.seq = max(self.seq, self.store.last) + 1  # which an index that was built meanwhile may have raised
        return self.seq

    @property
    def token(self) -> int:
        """The sequence that the record will have, which is the token of the leases it grants; no number after it."""
        self._frozen = True
        return max(self.seq, self._before + 1)

    def go_on(self) -> None:
        """In a trial: what is taken from here on is of a record after this one."""
        self.seq = self._before = self.token
        self._frozen = False

    def put(self, doc: Any, *paths: str) -> None:
        """Write ``doc``, whole, at each of ``paths``."""
        ready: Any = doc if isinstance(doc, list) else documents.ordered(places.kind(paths[0]), doc)
        if documents.is_deep(ready, DEEPEST) and not paths[0].startswith(places.DEADLETTER):
            raise Usage(f"{places.ident(paths[0])}: JSON nested deeper than {DEEPEST} cannot be kept")
        if not self._seen.keys().isdisjoint(paths):
            self._puts = [(d, left) for d, ps in self._puts if (left := [p for p in ps if p not in paths])]
            for path in paths:
                self.deletions.pop(path, None)
        self._puts.append((ready, list(paths)))
        for path in paths:
            self._seen[path] = ready

    def delete(self, path: str) -> None:
        if path in self._seen:
            self._puts = [(d, left) for d, ps in self._puts if (left := [p for p in ps if p != path])]
        self.deletions[path] = None
        self._seen[path] = None

    def move(self, source: str, target: str) -> None:
        """Move a document as it is."""
        self._seen[target], self._seen[source] = self.read(source), None
        self.moves.append((source, target))

    def grant(self, path: str, holder: Actor, seconds: float) -> int:
        """Grant the lease at ``path`` for ``seconds``; the token."""
        ident = places.ident(path)
        lease = Lease.granted(ident, holder.name, holder.incarnation, self.token, seconds, self.store.host)
        self._grants[path] = lease
        self._ends.pop(path, None)
        return lease.token

    def end(self, path: str) -> None:
        """End the lease at ``path``."""
        self._grants.pop(path, None)
        self._ends[path] = None

    # -- ephemera: done at once and not journaled; doing it twice, or losing it, changes no decision -----------------------

    def first_look(self, path: str, holder: str, incarnation: int, token: int) -> None:
        """Give a leased document whose lease file is gone the default time from now."""
        store = self.store
        ident = places.ident(path)
        lease = Lease.granted(ident, holder, incarnation, token, store.config.lease, store.host)
        store.write_lease(path, lease)
        store.note_lease(path, lease)

    def renew(self, path: str, lease: Lease) -> Lease:
        """Let ``lease`` run from now; as it is then."""
        return self.store.renew_lease(path, lease)

    def still_runs(self, path: str, lease: Lease) -> None:
        """Tell the index when a lease really runs out that it took for due."""
        self.store.note_lease(path, lease)

    def spare(self, path: str, lease: Lease, seconds: float) -> None:
        """Let a lease that has run out run for ``seconds`` from now, and no renewal's time."""
        last = lease.spared(self.store.host, seconds)
        self.store.write_lease(path, last)
        self.store.note_lease(path, last)

    def postpone(self, path: str) -> None:
        """Look at what is due at ``path`` a lease later again."""
        self.index.postpone(path, self.store.config.lease)

    def forget_lease(self, path: str) -> None:
        """A lease is void, or there is nothing under it: neither its file nor the index is to remember it."""
        if not path.startswith(places.INBOX):
            self.discard(path)
        self.index.forget_lease(path)

    def forget_message(self, agent: str, msg_id: str) -> None:
        """A message is not where the index says."""
        self.index.forget_message(agent, msg_id)

    def expires(self, path: str, at: str) -> None:
        """Tell the index when an unread message really expires."""
        self.index.expires(path, at)

    def park(self, parked: list[tuple[str, str]]) -> None:
        """Ready tasks that a reservation is in the way of are not looked at again before it ends: ``(task, reservation)``."""
        self.index.park(parked)

    def post(self, path: str, data: bytes) -> None:
        """Write an ephemeral file that tells others what this process does."""
        self.store.put_ephemeral(path, data)

    def discard(self, path: str) -> None:
        """Remove an ephemeral file that belongs to nobody any more."""
        self.store.disk.discard(self.store.absolute(path))

    # -- what it comes to ------------------------------------------------------------------------------------------

    def record(self, op: str, on: list[str], why: str = "", key: list[str] | None = None) -> None:
        """Name what the record is: the operation, what it is about, the reason, the idempotency key."""
        self.header = {"op": op, "on": on, "why": why, "key": key}

    def refuse(self, error: MboxError, op: str, on: list[str]) -> None:
        """Journal a refusal by a limit, and raise ``error`` after the record is durable."""
        self.error = error
        self.record(op, on, str(error))

    def warn(self, text: str) -> None:
        """A line for stderr after the commit."""
        self.warnings.append(text)

    def as_record(self) -> Record:
        return {
            "v": RECORD,
            "seq": self.token,
            "ts": self.now,
            "by": self.actor.name,
            "inc": self.actor.incarnation,
            **self.header,
            "put": [[doc, paths] for doc, paths in self._puts],
            "mv": [list(pair) for pair in self.moves],
            "del": list(self.deletions),
            "lease": [
                *([path, lease.doc()] for path, lease in self._grants.items()),
                *([path, None] for path in self._ends),
            ],
        }


def _too_much() -> Refused:
    return Refused(
        f"too much for one transaction, which looks at {MOST >> 20} MiB, each document counting as {FILE >> 10} KiB more: "
        "name fewer at a time"
    )
