"""Tools for tests of the store: a clock that stands still, a disk that fails or dies on cue, a store made by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbox.format import documents
from mbox.format import places
from mbox.system.disk import Disk
from mbox.system.host import Host
from mbox.store.store import Actor, Settings, Store, Transaction

ANN = Actor("ann", 1)
BOB = Actor("bob", 1)
USER = Actor("user:tess")


class FakeHost(Host):
    """A host whose clocks move only when told, and which can be rebooted."""

    __slots__ = ("boot", "m", "started", "w")

    def __init__(self, wall: float = 1_800_000_000.0, mono: float = 1000.0, boot: str = "boot-1") -> None:
        super().__init__()
        self.w, self.m, self.boot, self.started = wall, mono, boot, wall - mono

    def wall(self) -> float:
        """The set wall time."""
        return self.w

    def mono(self) -> float:
        """The set monotonic time."""
        return self.m

    @property
    def machine(self) -> str:
        """The set boot id."""
        return f"{self.boot}:0"

    def booted_at(self) -> float:
        """When this machine was booted, by the set clocks."""
        return self.started

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self.w += seconds
        self.m += seconds

    def reboot(self, boot: str = "boot-2") -> None:
        """Another boot id, the monotonic clock at zero, booted now."""
        self.boot, self.m = boot, 5.0
        self.w += 1
        self.started = self.w


class Killed(BaseException):
    """The process of a `FaultyDisk` died; nothing more of it reaches the disk."""


class FaultyDisk(Disk):
    """A disk that counts its calls and, at the ``at``-th, raises ``error`` once or dies for good.

    ``only`` restricts the count to one method; ``half`` lets a dying write put half of its bytes down first.
    """

    __slots__ = ("at", "calls", "dead", "error", "half", "log", "only")

    def __init__(self, at: int = -1, error: OSError | None = None, only: str = "", half: bool = False) -> None:
        super().__init__()
        self.at, self.error, self.only, self.half = at, error, only, half
        self.calls, self.dead = 0, False
        self.log: list[str] = []

    def point(self, name: str, undone: Callable[[], None] | None = None) -> None:
        """Count a call; fail or die if it is the one."""
        if self.dead:
            raise Killed
        if self.only and name != self.only:
            return
        self.log.append(name)
        self.calls += 1
        if self.calls - 1 != self.at:
            return
        if self.error is not None:
            raise self.error
        self.dead = True
        if undone:
            undone()
        raise Killed


def _faulty(name: str) -> Any:
    plain = getattr(Disk, name)

    def method(self: FaultyDisk, *args: Any) -> Any:
        def half() -> None:
            if self.half and name == "write":
                plain(self, args[0], bytes(args[1])[: len(args[1]) // 2])

        self.point(name, half)
        return plain(self, *args)

    return method


for _name in ("open", "write", "pwrite", "sync", "rename", "link", "unlink", "truncate", "mkdir"):
    setattr(FaultyDisk, _name, _faulty(_name))


def make(root: Path, host: Host | None = None, disk: Disk | None = None, **settings: Any) -> Store:
    """A new, empty store in ``root``, with agents ann and bob."""
    plain = Disk()
    for path in (places.MAILBOX, *places.FOLDERS):
        plain.folders(f"{root}/{path}")
    first = Store(str(root), Settings(**settings), host or FakeHost(), plain)
    first.lock.open(create=True)
    first.journal.begin(1, first.segment_header(1, 1, "store-of-the-tests"))
    first.close()
    opened = reopen(root, host, disk, **settings)
    for name in ("ann", "bob"):
        opened.transact(register(name), USER)
    return opened


def reopen(root: Path, host: Host | None = None, disk: Disk | None = None, **settings: Any) -> Store:
    """The store in ``root`` as another process would open it."""
    store = Store.open(str(root), Settings(**settings), host or FakeHost(), disk or Disk())
    said: list[str] = []
    store.say = said.append
    return store


def register(name: str) -> Callable[[Transaction], None]:
    """A decision that registers an agent."""

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("agent", agent=name, registered_at=tx.now), places.agent(name))
        tx.record("agent.add", [name])

    return decide


def send(body: str, to: str = "bob", key: str = "") -> Callable[[Transaction], str]:
    """A decision that sends a message from ann; with ``key`` it is sent once."""

    def decide(tx: Transaction) -> str:
        if key and (known := tx.index.key("ann", key, 0.0)):
            return known.id
        ident = f"m{tx.take()}"
        message = documents.new(
            "message", msg_id=ident, thread_id=ident, from_="ann", to=[to], body=body, created_at=tx.now
        )
        tx.put(message, places.new(to, ident), places.outbox("ann", ident))
        tx.record("mail.send", [ident], key=[key, "print"] if key else None)
        return ident

    return decide


def read(name: str = "bob", seconds: float = 600) -> Callable[[Transaction], str | None]:
    """A decision that reads the next message of ``name`` under a lease."""

    def decide(tx: Transaction) -> str | None:
        ident = tx.index.next_message(name)
        if ident is None:
            return None
        doc = tx.read(places.new(name, ident))
        assert doc is not None
        tx.put({**doc, "state": "read", "read_by": name, "read_at": tx.now}, places.cur(name, ident))
        tx.delete(places.new(name, ident))
        tx.grant(places.read_lease(name, ident), Actor(name, 1), seconds)
        tx.record("mail.read", [ident])
        return ident

    return decide


def bodies(store: Store, name: str = "bob") -> list[str]:
    """The bodies in ``name``'s ``new/``, by number."""
    found = {
        places.number(doc["msg_id"]): str(doc["body"]) for doc in store.documents(places.new_folder(name))
    }
    return [found[number] for number in sorted(found)]


def journaled(store: Store) -> list[dict[str, Any]]:
    """Every whole record in the journal, whatever the mark says."""
    from mbox.journal.segments import Tail

    return [record for _, record in store.journal.records(Tail(0, store.journal.segments()[0], 0))]


def tree(root: Path) -> dict[str, bytes]:
    """Every document below ``root``, without what is ephemeral."""
    found = {}
    for top in (places.MAILBOX, places.TASKS):
        for folder, _, names in os.walk(root / top):
            for name in names:
                path = Path(folder) / name
                relative = path.relative_to(root).as_posix()
                if relative.endswith(".json") and "/leases/" not in relative and "/cache/" not in relative:
                    found[relative] = path.read_bytes()
    return found
