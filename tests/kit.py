"""Tools for tests of the store: a clock that stands still, a disk that fails or dies on cue, a store made by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbox.config.settings import Config, build
from mbox.format import documents, places
from mbox.journal.record import encode
from mbox.store import stamps
from mbox.store.store import Actor, Store, Transaction
from mbox.system.disk import Disk
from mbox.system.host import Host

ANN = Actor("ann", 1)
BOB = Actor("bob", 1)
USER = Actor("user:tess")


def configured(**fields: Any) -> Config:
    """The default configuration, but for ``fields``."""
    usual = build({})
    return Config({**{name: getattr(usual, name) for name in usual.__slots__}, **fields})


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

    def sleep(self, seconds: float, /) -> None:
        """Return at once; ``seconds`` have passed."""
        self.advance(seconds)

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


class RecordingDisk(FaultyDisk):
    """A disk that writes down what was done, in order: ``(call, path)``; ``made`` is an open that made the file.

    A ``done`` that is handed from one disk to the next is what one kernel saw of several processes.
    """

    __slots__ = ("done", "paths")

    def __init__(self, done: list[tuple[str, str]] | None = None, at: int = -1, half: bool = False) -> None:
        super().__init__(at, half=half)
        self.done: list[tuple[str, str]] = [] if done is None else done
        self.paths: dict[int, str] = {}

    def open(self, path: str, flags: int) -> int:
        """Open, and remember of which file the descriptor is."""
        fd = super().open(path, flags)
        self.paths[fd] = path
        self.done.append(("made" if flags & os.O_EXCL else "open", path))
        return fd

    def write(self, fd: int, data: bytes) -> None:
        """Write, also what a dying write puts down."""
        self.done.append(("write", self.paths[fd]))
        super().write(fd, data)

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write the mark, or the holder behind it."""
        super().pwrite(fd, data, offset)
        self.done.append(("mark" if offset == 0 else "holder", self.paths.get(fd, "")))

    def truncate(self, fd: int, size: int) -> None:
        """Cut."""
        super().truncate(fd, size)
        self.done.append(("cut", self.paths[fd]))

    def sync(self, fd: int) -> None:
        """fsync of a file."""
        super().sync(fd)
        self.done.append(("sync", self.paths[fd]))

    def sync_path(self, path: str) -> None:
        """fsync of a file that is not open."""
        self.point("sync")
        self.done.append(("sync", path))

    def sync_folder(self, path: str) -> None:
        """fsync of a folder."""
        self.point("sync")
        self.done.append(("sync", path))

    def sync_filesystem(self, fd: int) -> None:
        """syncfs."""
        self.point("sync")
        self.done.append(("syncfs", ""))

    def rename(self, source: str, target: str) -> None:
        """Put in place."""
        super().rename(source, target)
        self.done.append(("rename", target))

    def link(self, source: str, target: str) -> None:
        """Give a second name."""
        super().link(source, target)
        self.done.append(("link", target))

    def unlink(self, path: str) -> None:
        """Remove."""
        super().unlink(path)
        self.done.append(("unlink", path))


def make(root: Path, host: Host | None = None, disk: Disk | None = None, **settings: Any) -> Store:
    """A new, empty store in ``root``, with agents ann and bob."""
    plain = Disk()
    for path in (places.MAILBOX, *places.FOLDERS):
        plain.folders(f"{root}/{path}")
    lock = settings.pop("lock_backend", "")
    first = Store(str(root), configured(**settings), host or FakeHost(), plain, lock)
    first.lock.open(create=True)
    first.journal.begin(1, 1, encode(first.segment_header(1, 1, "store-of-the-tests")))
    stamps.stamp(first, stamps.KEPT, first.whose)
    first.close()
    opened = reopen(root, host, disk, lock_backend=lock, **settings)
    for name in ("ann", "bob"):
        opened.transact(register(name), USER)
    return opened


def reopen(root: Path, host: Host | None = None, disk: Disk | None = None, **settings: Any) -> Store:
    """The store in ``root`` as another process would open it."""
    lock = settings.pop("lock_backend", "")
    store = Store.open(str(root), configured(**settings), host or FakeHost(), disk or Disk(), lock)
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
    from mbox.journal.record import Tail

    return [record for _, record in store.journal.records(Tail(0, store.journal.segments()[0], 0))]


def set_aside(root: Path) -> dict[str, str]:
    """What is kept in ``.mailbox/aside/``: name → text."""
    folder = root / places.ASIDE
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}


def tree(root: Path) -> dict[str, bytes]:
    """Every document below ``root``, without what is ephemeral."""
    found = {}
    for top in (places.MAILBOX, places.TASKS):
        for folder, _, names in os.walk(root / top):
            for name in names:
                path = Path(folder) / name
                relative = path.relative_to(root).as_posix()
                if relative.endswith(".json") and not {"leases", "cache", "aside"} & set(Path(relative).parts):
                    found[relative] = path.read_bytes()
    return found


def everything(root: Path) -> dict[str, bytes]:
    """Every document, and the journal."""
    return {**tree(root), **{path.name: path.read_bytes() for path in sorted((root / places.LOGS).iterdir())}}


def looked(patch: pytest.MonkeyPatch) -> list[int]:
    """How much each transaction has looked at, from now on."""
    found: list[int] = []
    plain = Store.transact

    def transact(self: Store, *args: Any) -> Any:
        before = self.looked
        try:
            return plain(self, *args)
        finally:
            found.append(self.looked - before)

    patch.setattr(Store, "transact", transact)
    return found
