"""Stores in which something else stands where a file or a folder should: at each place of the format, and of git's."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hostile.world import World, remove

FILES = (
    *(".mailbox/config.yaml", ".mailbox/hosts.yaml", ".mailbox/.gitignore", ".mailbox/lock", ".mailbox/checkpoint"),
    *(".mailbox/logs/000001.jsonl", ".mailbox/agents/ann.json", ".mailbox/inbox/bob/new/m10.json"),
    *(".mailbox/inbox/bob/cur/m9.json", ".mailbox/archive/bob/2026-11/m8.json", ".mailbox/outbox/ann/m10.json"),
    *(".mailbox/deadletter/m7.json", ".mailbox/reservations/r28.json", ".mailbox/leases/r28.json"),
    *(".mailbox/leases/m9@bob.json", ".mailbox/heartbeat/ann", ".mailbox/status/ann.json", ".mailbox/locks/web"),
    *(".mailbox/locks/@watchdog", ".mailbox/team/crew.json", ".mailbox/cache/config.json"),
    *(".mailbox/cache/index.sqlite", ".mailbox/cache/search.sqlite", ".mailbox/cache/search.sqlite-journal"),
    *(".mailbox/cache/index.sqlite-wal", ".mailbox/cache/audit", ".mailbox/cache/watchdog.json"),
    *(".mailbox/cache/waits/bob@1.json", ".tasks/t-one.json", ".tasks/notes/t-one.jsonl", ".tasks/leases/t-one.json"),
    *(".git/config", ".git/HEAD", ".git/index", ".git/info/exclude", ".git/commondir", ".git/packed-refs"),
    *(".git/refs/mbox/audit", ".git/objects/info/alternates", "team.yaml", "plan.json", "note.txt"),
)
"""A file of every kind, whether the template has it or not."""

FOLDERS = (
    *(".mailbox", ".tasks", ".mailbox/logs", ".mailbox/agents", ".mailbox/inbox", ".mailbox/inbox/bob"),
    *(".mailbox/inbox/bob/new", ".mailbox/inbox/bob/cur", ".mailbox/archive", ".mailbox/archive/bob"),
    *(".mailbox/outbox", ".mailbox/outbox/ann", ".mailbox/deadletter", ".mailbox/reservations", ".mailbox/leases"),
    *(".mailbox/heartbeat", ".mailbox/status", ".mailbox/locks", ".mailbox/team", ".mailbox/runs", ".mailbox/cache"),
    *(".mailbox/cache/waits", ".mailbox/cache/logs", ".mailbox/aside", ".tasks/notes", ".tasks/leases"),
    *(".git", ".git/info", ".git/objects", ".git/refs/mbox", ".git/worktrees", "src"),
)


def link(to: Callable[[World], object], world: World, path: Path) -> None:
    """A symlink."""
    path.symlink_to(str(to(world)))


def socket_at(world: World, path: Path) -> None:
    """A socket that nobody listens at."""
    os.mknod(path, 0o600 | 0o140000)


def device(world: World, path: Path) -> None:
    """/dev/zero by another name; where only root may make one, a link to it."""
    if os.geteuid():
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


def sparse(size: int, world: World, path: Path) -> None:
    """A file of holes."""
    with open(path, "wb") as file:
        file.truncate(size)


def folder(world: World, path: Path) -> None:
    """A folder with something in it."""
    path.mkdir()
    (path / "x").write_text("x")


def bare(mode: int, world: World, path: Path) -> None:
    """What stood there, with other modes."""
    os.chmod(path, mode)


def foreign(world: World, path: Path) -> None:
    """What stood there, somebody else's."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345, follow_symlinks=False)


INSTEAD: dict[str, Callable[[World, Path], object]] = {
    "a link to a key": partial(link, lambda world: world.keys),
    "a link to nothing yet": partial(link, lambda world: world.home / ".ssh/new"),
    "a link to a folder": partial(link, lambda world: world.sibling),
    "a link to itself": partial(link, lambda world: "."),
    "a link to zero": partial(link, lambda world: "/dev/zero"),
    "a FIFO": lambda world, path: os.mkfifo(path),
    "a socket": socket_at,
    "a device": device,
    "nothing": lambda world, path: None,
}
FILES_INSTEAD = {
    **INSTEAD, "a folder": folder, "all holes": partial(sparse, 1 << 33), "empty": lambda world, path: path.touch(),
    "rubbish": lambda world, path: path.write_bytes(bytes(range(256)) * 40),
    "one line": lambda world, path: path.write_bytes(b'{"a":' * 300_000),
}  # fmt: skip
FOLDERS_INSTEAD = {**INSTEAD, "a file": lambda world, path: path.write_text("x")}
STILL: dict[str, Callable[[World, Path], object]] = {
    "without modes": partial(bare, 0), "for all": partial(bare, 0o777), "somebody else's": foreign,
}  # fmt: skip


def put(path: str, make: Callable[[World, Path], object], still: bool, world: World) -> None:
    """Have ``make`` put something at ``path``, beside what stood there if it stays."""
    place = world.root / path
    if still and not os.path.lexists(place):
        return
    if not still:
        remove(place)
        place.parent.mkdir(parents=True, exist_ok=True)
    make(world, place)


PLACES = {
    f"{path} is {what}": partial(put, path, make, kinds is STILL)
    for paths, several in ((FILES, (FILES_INSTEAD, STILL)), (FOLDERS, (FOLDERS_INSTEAD, STILL)))
    for kinds in several
    for path in paths
    for what, make in kinds.items()
}


# -- databases -------------------------------------------------------------------------------------------------------

PAGE, SECTOR = 4096, 512
MAGIC = bytes.fromhex("d9d505f920a163d7")


def hot(victim: Path) -> bytes:
    """A journal of SQLite that a crash could have left, whose super-journal is ``victim``: rolled back, that is deleted."""
    name = os.fsencode(victim)
    head = MAGIC + struct.pack(">IIIII", 0, 7, 1, SECTOR, PAGE)
    lock_page = 0x40000000 // PAGE + 1
    return (head.ljust(SECTOR, b"\0") + struct.pack(">I", lock_page) + name
            + struct.pack(">II", len(name), sum(name)) + MAGIC)  # fmt: skip


def hot_journal(which: str, world: World) -> None:
    """A hot journal beside an index."""
    path = world.root / f".mailbox/cache/{which}.sqlite"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        db.close()
    Path(f"{path}-journal").write_bytes(hot(world.keys))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
SCHEMAS = {
    "a view for meta": f"DROP TABLE meta; CREATE VIEW meta AS {ENDLESS} 'version' AS name, i AS value FROM n",
    "a view for everything": f"DROP TABLE IF EXISTS item; CREATE VIEW item AS {ENDLESS} i AS id, 'task' AS kind, i AS crc, "
                             "i AS place FROM n",
    "a heavy view": f"DROP TABLE meta; CREATE VIEW meta AS {ENDLESS} 'a' AS name, "
                    "zeroblob(900000000) AS value FROM n",
    "a trigger": "CREATE TRIGGER t BEFORE INSERT ON meta BEGIN SELECT randomblob(900000000); END",
    "an endless default": "CREATE TABLE other(a DEFAULT (hex(zeroblob(400000000))))",
    "another module": "CREATE VIRTUAL TABLE evil USING fts5(a, content='nowhere')",
}  # fmt: skip


def schema(which: str, script: str, fresh: bool, world: World) -> None:
    """An index with another schema; a ``fresh`` one is not the store's but made by hand."""
    path = world.root / f".mailbox/cache/{which}.sqlite"
    path.parent.mkdir(exist_ok=True)
    if fresh or not path.exists():
        remove(path)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        db.executescript(script)
    db.close()


DATABASES = {
    **{f"{which}.sqlite has a hot journal": partial(hot_journal, which) for which in ("search", "index")},
    **{
        f"{which}.sqlite has {what}{' only' if fresh else ''}": partial(schema, which, script, fresh)
        for which in ("search", "index")
        for what, script in SCHEMAS.items()
        for fresh in (False, True)
    },
}

ENTRIES = {**PLACES, **DATABASES}
