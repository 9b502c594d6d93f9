"""The cache is input: what a repository brings in it is neither followed, nor opened, nor believed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places

BIN = Path(sys.executable).parent
MAGIC = bytes.fromhex("d9d505f920a163d7")
"""What a rollback journal of SQLite begins with, and ends with where it names the journal of several files."""


@pytest.fixture
def root(staffed: Path, run: Run) -> Path:
    """A store that found something once, so that it has both indexes."""
    run("mbox", "send", "bob", "--as", "ann", "--body", "a turnip", cwd=staffed, check=True)
    run("task", "add", "peel it", cwd=staffed, check=True)
    run("mbox", "search", "turnip", cwd=staffed, check=True)
    return staffed


def clone(root: Path) -> Path:
    """What another person's repository would have brought: everything, the lock and the cache too."""
    there = root.parent / "clone"
    shutil.copytree(root, there)
    return there


def outside(root: Path) -> dict[str, bytes]:
    """What stands beside the root."""
    found = {path.relative_to(root.parent).as_posix(): path for path in root.parent.rglob("*")}
    return {
        name: path.read_bytes() if path.is_file() else b""
        for name, path in found.items()
        if not name.startswith(f"{root.name}/")
    }


def commands(run: Run, root: Path) -> None:
    """What a person does who looks around, works and presses Tab; each ends, in words, and soon."""
    for words in (
        ["mbox", "search", "turnip"], ["mbox", "status"], ["mbox", "inbox", "--as", "bob"], ["mbox", "doctor"],
        ["task", "claim", "--as", "bob"], ["mbox", "send", "bob", "--as", "ann", "--body", "x"],
        ["mbox", "watchdog", "--once"], ["mbox", "rebuild"],
    ):  # fmt: skip
        done = run(*words, cwd=root, timeout=20)
        assert done.returncode in (0, 1, 2, 5, 6), (words, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
    run("mbox", cwd=root, env={"_MBOX_COMPLETE": "bash_complete", "COMP_WORDS": "mbox show ", "COMP_CWORD": "2"})


def _hot_journal(path: Path, victim: Path) -> None:
    """A rollback journal that names ``victim`` as the journal of several files, which SQLite then deletes."""
    name = str(victim).encode()
    size = 512
    head = MAGIC + bytes(4) + os.urandom(4) + (1).to_bytes(4, "big") + size.to_bytes(4, "big") + (4096).to_bytes(4, "big")
    tail = (2**31).to_bytes(4, "big") + name + len(name).to_bytes(4, "big")
    tail += (sum(name) & 0xFFFFFFFF).to_bytes(4, "big") + MAGIC
    path.write_bytes(head.ljust(size, b"\0") + tail)


@pytest.mark.parametrize("index", [places.SEARCH, places.INDEX])
@pytest.mark.parametrize("cloned", [True, False], ids=["cloned", "pulled"])
def test_a_hot_journal_deletes_nothing(root: Path, run: Run, index: str, cloned: bool) -> None:
    """A rollback journal beside an index names a file elsewhere: it stays."""
    root = clone(root) if cloned else root
    victim = root.parent / "precious-mj"
    victim.write_text("precious")
    (root / index).unlink(missing_ok=True)
    db = sqlite3.connect(root / index)
    db.execute("CREATE TABLE meta(name TEXT PRIMARY KEY, value)")
    db.commit()
    db.close()
    _hot_journal(root / f"{index}-journal", victim)
    commands(run, root)
    assert victim.read_text() == "precious"
    assert not (root / f"{index}-journal").exists()


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("index", [places.SEARCH, places.INDEX])
def test_a_link_in_an_index_s_place_makes_nothing(root: Path, run: Run, index: str, suffix: str) -> None:
    """A symlink to a file that is not there, or is, or another name of one: nothing is made, nothing changed behind it."""
    there = root.parent / "there"
    there.write_bytes(b"mine")
    path = root / (index + suffix)
    links = partial(path.symlink_to, root.parent / "not-there"), partial(path.symlink_to, there), partial(path.hardlink_to, there)
    for link in links:
        path.unlink(missing_ok=True)
        link()
        before = outside(root)
        commands(run, root)
        assert outside(root) == before
    assert json.loads(run("mbox", "search", "turnip", cwd=root, check=True).stdout)


def _view(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE VIEW meta AS WITH RECURSIVE c(name, value) AS (SELECT 1, 1 UNION ALL SELECT name + 1, "
               "hex(zeroblob(1000000)) FROM c) SELECT name, value FROM c")  # fmt: skip
    db.commit()
    db.close()


def _trigger(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TRIGGER t AFTER UPDATE ON meta BEGIN INSERT INTO meta SELECT hex(randomblob(100000000)), 1; END")
    db.commit()
    db.close()


def _emptied(path: Path) -> None:
    path.unlink()
    _view(path)


@pytest.mark.parametrize("index", [places.SEARCH, places.INDEX])
@pytest.mark.parametrize("spoil", [_emptied, _trigger], ids=["a view", "a trigger in ours"])
def test_another_schema_is_never_asked(root: Path, run: Run, index: str, spoil: Callable[[Path], None]) -> None:
    """A view called ``meta`` that never ends, a trigger in a file of ours: the file is made anew, nothing of it runs."""
    spoil(root / index)
    commands(run, root)
    db = sqlite3.connect(root / index)
    kinds = {row[0] for row in db.execute("SELECT type FROM sqlite_master")}
    db.close()
    assert kinds <= {"table", "index"}


def test_what_another_machine_found_is_not_shown(root: Path, run: Run) -> None:
    """A clone's own lock, mark and index agree with each other: they are dropped all the same."""
    db = sqlite3.connect(root / places.SEARCH)
    db.execute("INSERT INTO word(rowid, said) VALUES(99, 'turnip ghost')")
    db.execute("INSERT INTO item VALUES('m99', 'message', 0, 99)")
    db.commit()
    db.close()
    there = clone(root)
    found = json.loads(run("mbox", "search", "turnip", cwd=there, check=True).stdout)
    assert [row["id"] for row in found] == ["m4"]


@pytest.mark.parametrize("to", ["folder", "nothing"])
def test_a_cache_that_is_a_link_is_not_followed(root: Path, run: Run, to: str) -> None:
    """Not by Tab, not by whoever only looks, not by who writes: nothing appears behind it."""
    shutil.rmtree(root / places.CACHE)
    elsewhere = root.parent / "elsewhere"
    if to == "folder":
        elsewhere.mkdir()
    (root / places.CACHE).symlink_to(elsewhere)
    before = outside(root)
    commands(run, root)
    assert outside(root) == before


@pytest.mark.parametrize("name", ["agents", "reservations", "team", "deadletter"])
def test_tab_offers_nothing_from_behind_a_link(root: Path, run: Run, name: str) -> None:
    """The names of files elsewhere are nobody's to offer."""
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.json").write_text("{}")
    (root / places.TASKS / "secret.json").unlink(missing_ok=True)
    shutil.rmtree(root / places.MAILBOX / name)
    (root / places.MAILBOX / name).symlink_to(elsewhere)
    for line in ("mbox send ", "reserve show ", "team down ", "mbox deadletter show "):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()))}
        program = line.split()[0]
        done = run(program, cwd=root, env={f"_{program.upper()}_COMPLETE": "bash_complete", **words})
        assert "secret" not in done.stdout and "Traceback" not in done.stderr


HOSTILE = [b"[" * 500_000, b"{", b"\0" * 100, b"[" + b"[]," * 6_000_000 + b"[]]", b'{"did":[],"mono":"x","pid":{}}']
SMALL = ["config.json", "audit", "watchdog.json", "waits/ann@1.json"]


MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
"""A small program between: a child of the tests' own process counts that process's memory as its own until it begins."""


@pytest.mark.parametrize("kind", [*range(len(HOSTILE)), "fifo", "folder", "sparse", "link"])
@pytest.mark.parametrize("name", SMALL)
def test_small_files_of_the_cache_are_read_as_input(root: Path, run: Run, name: str, kind: int | str) -> None:
    """Nested without end, far too long, a FIFO, a folder: every command ends soon, in little memory, without a traceback."""
    path = root / places.CACHE / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(60 << 20)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        assert isinstance(kind, int)
        data = HOSTILE[kind]
        if name == "config.json":
            about = os.stat(root / places.CONFIG)
            told = [about.st_size, about.st_mtime_ns, about.st_ino]
            data = b'{"stamp":%b,"texts":{"lease":%b}}' % (json.dumps(told).encode(), data)
        path.write_bytes(data)
    for words in (["mbox", "status"], ["mbox", "watchdog", "--status"], ["reserve", "x.py", "--as", "bob"],
                  ["mbox", "watchdog", "--once"]):  # fmt: skip
        done = run(sys.executable, "-c", MEASURED, BIN / words[0], *words[1:], cwd=root, timeout=20)
        assert done.returncode in (0, 1, 6) and "Traceback" not in done.stderr, (words, done.stderr[-400:])
        assert int(done.stderr.splitlines()[-1]) < 200_000, words


def test_both_indexes_are_for_their_owner_alone(root: Path) -> None:
    """Whatever the umask is."""
    for index in (places.SEARCH, places.INDEX):
        assert stat.S_IMODE(os.stat(root / index).st_mode) == 0o600, index


def test_an_index_of_another_user_is_not_opened(root: Path, run: Run) -> None:
    """It is made anew."""
    if os.geteuid():
        pytest.skip("giving a file away needs root")
    for index in (places.SEARCH, places.INDEX):
        os.chown(root / index, 1234, -1)
    run("mbox", "search", "turnip", cwd=root, check=True)
    run("task", "claim", "--as", "bob", cwd=root, check=True)
    for index in (places.SEARCH, places.INDEX):
        assert os.stat(root / index).st_uid == 0, index


def test_a_search_that_was_killed_leaves_what_the_next_takes_in(root: Path, run: Run) -> None:
    """The write-ahead log of a process that died is ours: the index is not made anew for it."""
    killed = (
        "import sys, os; sys.path.insert(0, sys.argv[1]);"
        "from mbox.report import search; from mbox import opening;"
        "search._hits = lambda *_: os._exit(9);"
        "search.search(opening.open_store(None, os.getcwd()), ['turnip'])"
    )
    run("mbox", "send", "bob", "--as", "ann", "--body", "another turnip", cwd=root, check=True)
    subprocess.run([sys.executable, "-c", killed, str(Path(__file__).parents[2] / "mailbox")], cwd=root, check=False)
    assert (root / f"{places.SEARCH}-wal").exists()
    inode = os.stat(root / places.SEARCH).st_ino
    assert len(json.loads(run("mbox", "search", "turnip", cwd=root, check=True).stdout)) == 2
    assert os.stat(root / places.SEARCH).st_ino == inode
