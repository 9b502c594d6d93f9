"""A transaction as a decision sees it: what it reads, and what it wants changed.

Promised: nothing here changes the store (the one exception is `first_look`, which writes an ephemeral lease); a
`Transaction` is collected while the decision runs and is either committed whole by the store or dropped.  A decision
is a pure function of what it reads through it, because it may run twice: when a document had to be mended, the index
built anew, or a journal segment begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.format import documents
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import MboxError, Usage
from mbox.system.host import stamp
from mbox.index.queries import Index
from mbox.journal.segments import WRITER, Record
from mbox.format.lease import Lease

if TYPE_CHECKING:
    from mbox.store.store import Store


DEEPEST = documents.DEEPEST - 10
"""How deep a document may be nested: less than what can be read, for it may have to go into a dead letter."""


class Actor(NamedTuple):
    """On whose behalf a transaction is made: an agent, ``user:<login>`` or ``sweep``."""

    name: str
    incarnation: int = 0


SWEEP = Actor("sweep")


class Transaction:
    """What a decision reads, and what it wants changed.  Made anew for every try; discarded if the decision raises."""

    __slots__ = (
        "_ends", "_frozen", "_grants", "_puts", "_seen", "actor", "deletions", "error", "header", "mono", "moves",
        "now", "seq", "store", "wall", "warnings",
    )  # fmt: skip

    def __init__(self, store: Store, actor: Actor) -> None:
        self.store = store
        self.actor = actor
        self.wall = store.host.wall()
        self.mono = store.host.mono()
        self.now = stamp(self.wall)
        self.seq = store.tail.seq
        self.moves: list[tuple[str, str]] = []
        self.deletions: list[str] = []
        self.header: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.error: MboxError | None = None
        self._puts: list[tuple[Document, list[str]]] = []
        self._seen: dict[str, Document | None] = {}
        self._grants: dict[str, Lease] = {}
        self._ends: list[str] = []
        self._frozen = False

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def index(self) -> Index:
        """The index, caught up to the journal."""
        return self.store.caught_up_index()

    def read(self, path: str) -> Document | None:
        """A copy of the document at ``path``, or None; sees what this transaction has put and deleted.

        A damaged document is restored from the journal or quarantined, and the decision starts over.
        """
        if path in self._seen:
            doc = self._seen[path]
            return dict(doc) if doc is not None else None
        return self.store.load(path)

    def notes(self, path: str) -> list[Document]:
        """The entries of a notes file; empty if there is none."""
        found: Any = self._seen.get(path) or self.store.load(path)
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

    def first_look(self, path: str, holder: str, incarnation: int, token: int) -> None:
        """Give a leased document whose lease file is gone the default time from now; ephemeral, not journaled."""
        store = self.store
        ident = places.ident(path)
        lease = Lease.granted(ident, holder, incarnation, token, store.settings.lease, store.host)
        store.write_lease(path, lease)
        store.note_lease(path, lease)

    # -- changing ------------------------------------------------------------------------------------------------

    def take(self) -> int:
        """The next number of the journal, for an id."""
        if self._frozen:
            raise AssertionError("numbers are taken before the token is used")
        self.seq += 1
        return self.seq

    @property
    def token(self) -> int:
        """The sequence that the record will have, which is the token of the leases it grants; no number after it."""
        self._frozen = True
        return max(self.seq, self.store.tail.seq + 1)

    def put(self, doc: Any, *paths: str) -> None:
        """Write ``doc``, whole, at each of ``paths``."""
        ready: Any = doc if isinstance(doc, list) else documents.ordered(places.kind(paths[0]), doc)
        if documents.is_deep(ready, DEEPEST) and not paths[0].startswith(places.DEADLETTER):
            raise Usage(f"{places.ident(paths[0])}: JSON nested deeper than {DEEPEST} cannot be kept")
        if not self._seen.keys().isdisjoint(paths):
            self._puts = [(d, left) for d, ps in self._puts if (left := [p for p in ps if p not in paths])]
            self.deletions = [path for path in self.deletions if path not in paths]
        self._puts.append((ready, list(paths)))
        for path in paths:
            self._seen[path] = ready

    def delete(self, path: str) -> None:
        if path in self._seen:
            self._puts = [(d, left) for d, ps in self._puts if (left := [p for p in ps if p != path])]
        if path not in self.deletions:
            self.deletions.append(path)
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
        if path in self._ends:
            self._ends.remove(path)
        return lease.token

    def end(self, path: str) -> None:
        """End the lease at ``path``."""
        self._grants.pop(path, None)
        if path not in self._ends:
            self._ends.append(path)

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
            "v": WRITER,
            "seq": self.token,
            "ts": self.now,
            "by": self.actor.name,
            "inc": self.actor.incarnation,
            **self.header,
            "put": [[doc, paths] for doc, paths in self._puts],
            "mv": [list(pair) for pair in self.moves],
            "del": self.deletions,
            "lease": [
                *([path, lease.doc()] for path, lease in self._grants.items()),
                *([path, None] for path in self._ends),
            ],
        }
