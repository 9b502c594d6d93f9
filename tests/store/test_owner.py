"""A store is one user's, whoever calls: root leaves that user's files, and who may not write changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from conftest import CHECKOUT
from mbox.format import places

OWNER, OTHER = 54321, 54322
PYTHONS = (sys.executable, *(f"{folder}/python3" for folder in os.get_exec_path()))
MODULES = os.pathsep.join([str(CHECKOUT / "mailbox"), str(Path(click.__file__).parents[1])])

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can call as another user")

EVERYTHING = (
    ("mbox", "agent", "add", "{0}"),
    ("mbox", "agent", "beat", "--as", "{0}"),
    ("mbox", "send", "ann", "--as", "{0}", "--body", "a turnip"),
    ("mbox", "send", "{0}", "--as", "ann", "--body", "thanks"),
    ("mbox", "read", "--as", "{0}"),
    ("task", "add", "peel", "--id", "peel-{0}", "--path", "src/{0}/**"),
    ("task", "claim", "peel-{0}", "--as", "{0}"),
    ("task", "note", "peel-{0}", "x", "--as", "{0}"),
    ("reserve", "add", "docs/{0}.md", "--as", "{0}"),
    ("mbox", "lock", "lock-{0}", "--", "true"),
    ("mbox", "search", "turnip"),
    ("mbox", "config", "set", "poll", "2s"),
    ("mbox", "watchdog", "--once"),
    ("mbox", "audit", "commit"),
    ("mbox", "run", "--no-watchdog", "--as", "{0}", "--", "true"),
    ("mbox", "rebuild"),
    ("mbox", "doctor", "--repair"),
)
"""Calls that change something, each for an agent named in it."""


class World:
    """A repository of `OWNER`, and processes of any user in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "repo"
        self.python = ""

    def call(self, uid: int, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``words`` as ``uid``, at home in its own folder, as ``sudo`` would."""
        own = {"HOME": str(self.home / f"home-{uid}"), "PYTHONPATH": MODULES, "PYTHONDONTWRITEBYTECODE": "1"}
        line = [self.python, "-m", "mbox.cli", *words] if words[0] in ("mbox", "task", "reserve") else words
        return subprocess.run(
            line, cwd=self.root, env={**os.environ, **own, **environment}, capture_output=True, text=True, check=False,
            timeout=60, user=uid, group=uid, extra_groups=[], umask=0o077 if uid == 0 else 0o022, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def can_be_called(self) -> bool:
        """Whether there is a Python that every user of this machine can run the toolkit with."""
        for self.python in PYTHONS:
            try:
                if self.call(OTHER, "mbox", "--version").returncode == 0:
                    return True
            except OSError:
                continue
        return False

    def fine(self, uid: int, *words: str, **environment: str) -> str:
        """The same, which must succeed."""
        done = self.call(uid, *words, **environment)
        assert done.returncode == 0, f"{words}: {done.returncode} {done.stderr}"
        return done.stdout

    def strange(self) -> list[str]:
        """What is not the owner's."""
        found = [self.root, *self.root.rglob("*")]
        return [str(path) for path in found if (os.lstat(path).st_uid, os.lstat(path).st_gid) != (OWNER, OWNER)]

    def everything(self) -> dict[str, tuple[Any, ...]]:
        """Every file with its owner, mode and bytes."""
        found = {}
        for path in self.root.rglob("*"):
            info = os.lstat(path)
            data = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
            found[str(path)] = (info.st_uid, info.st_mode, data)
        return found


@pytest.fixture
def world() -> Iterator[World]:
    """A store of `OWNER` in a repository of the same; skipped where others cannot start the commands."""
    home = Path(tempfile.mkdtemp(prefix="mbox-owner-"))
    try:
        home.chmod(0o755)
        made = World(home)
        for uid in (0, OWNER, OTHER):
            (home / f"home-{uid}").mkdir()
            os.chown(home / f"home-{uid}", uid, uid)
        made.root.mkdir()
        os.chown(made.root, OWNER, OWNER)
        if not made.can_be_called():
            pytest.skip("no Python here with which another user can run the toolkit")
        made.fine(OWNER, "git", "init", "--quiet")
        yield made
    finally:
        shutil.rmtree(home)


def begin(world: World, uid: int = OWNER, *more: str) -> None:
    """Make the store, with an agent ann."""
    world.fine(uid, "mbox", "init", *more, SUDO_UID=str(OWNER))
    world.fine(OWNER, "mbox", "agent", "add", "ann")


def named(words: tuple[str, ...], agent: str) -> list[str]:
    """The call for ``agent``, on the store that ``--root`` names."""
    line = [word.format(agent) for word in words]
    at = line.index("--") if "--" in line else len(line)
    return [*line[:at], "--root", ".", *line[at:]]


def loose(root: Path, more: int = 0) -> list[str]:
    """What of the store has not the modes of a private one, or, with ``more``, of an open one."""
    paths = [path for top in (places.MAILBOX, places.TASKS) for path in (root / top, *(root / top).rglob("*"))]
    wanted = {True: 0o700 | more, False: 0o600 | more & 0o666}
    return [str(path) for path in paths if stat.S_IMODE(os.lstat(path).st_mode) != wanted[path.is_dir()]]


def test_what_root_does_is_the_owners(world: World) -> None:
    """Every verb by root on another's store, with root's tight umask: owner, group and modes are the store's, git's too."""
    begin(world)
    for words in EVERYTHING:
        world.fine(0, *named(words, "bob"), SUDO_UID=str(OWNER))
        assert world.strange() == [], words
    assert loose(world.root) == []
    for words in EVERYTHING:
        world.fine(OWNER, *(word.format("cyd") for word in words))
    assert json.loads(world.fine(OWNER, "mbox", "doctor"))["clean"]


def test_what_the_owner_must_do_after_root(world: World) -> None:
    """The one call by root that stopped everybody: read, claim, status and doctor go on."""
    begin(world)
    world.fine(OWNER, "mbox", "agent", "add", "bob")
    world.fine(OWNER, "task", "add", "peel")
    world.fine(0, "mbox", "send", "bob", "--as", "ann", "--body", "x", "--root", ".")
    world.fine(0, "mbox", "search", "x", "--root", ".")
    for words in (("mbox", "read", "--as", "bob"), ("task", "claim", "--as", "bob"), ("mbox", "status"),
                  ("mbox", "search", "x"), ("mbox", "doctor", "--repair"), ("mbox", "rebuild")):  # fmt: skip
        world.fine(OWNER, *words)


def test_a_store_that_root_makes_is_the_folders_owners(world: World) -> None:
    """``sudo mbox init``, and what it tells git; and what is brought back from git by root is the owner's as well."""
    world.fine(0, "mbox", "init", SUDO_UID=str(OWNER))
    assert world.strange() == []
    assert ".mailbox/" in (world.root / ".git/info/exclude").read_text()
    world.fine(OWNER, "mbox", "agent", "add", "ann")
    world.fine(OWNER, "mbox", "send", "ann", "--as", "ann", "--body", "x")
    world.fine(OWNER, "mbox", "audit", "commit")
    for top in (places.MAILBOX, places.TASKS):
        shutil.rmtree(world.root / top)
    world.fine(0, "mbox", "audit", "restore", SUDO_UID=str(OWNER))
    assert (world.strange(), loose(world.root)) == ([], [])
    world.fine(OWNER, "mbox", "read", "--as", "ann")


def test_an_open_store_keeps_its_modes(world: World) -> None:
    """With `private: false` root's files are as open as the store's folder, whatever root's umask is."""
    begin(world)
    open_up(world)
    for words in EVERYTHING:
        world.fine(0, *named(words, "bob"), SUDO_UID=str(OWNER))
        assert world.strange() == [], words
    assert [path for path in loose(world.root, 0o055) if not path.endswith("cache/config.json")] == []


def open_up(world: World) -> None:
    """Let everybody look at the store, and write new files so."""
    world.fine(OWNER, "mbox", "config", "set", "private", "false")
    for top in (places.MAILBOX, places.TASKS):
        for path in (world.root / top, *(world.root / top).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("is_open", [False, True], ids=["private", "open"])
def test_who_may_not_write_changes_nothing(world: World, is_open: bool) -> None:
    """Another user's call on a store: one line, exit 6, and every file as it was; an open one can be looked at."""
    begin(world)
    world.fine(OWNER, "mbox", "agent", "add", "bob")
    for words in (("mbox", "send", "bob", "--as", "ann", "--body", "x"), ("task", "add", "peel", "--id", "peel")):
        world.fine(OWNER, *words)
    if is_open:
        open_up(world)
        world.fine(OWNER, "mbox", "status")
    before = world.everything()
    calls = [named(words, "bob") for words in EVERYTHING]
    calls += [[word for word in line if word not in ("--root", ".")] for line in calls]
    for line in calls:
        done = world.call(OTHER, *line)
        assert world.everything() == before, line
        looks = is_open and "--root" in line and {"search", "audit"} & set(line)
        if not looks:
            assert (done.returncode, done.stderr.count("\n")) == (6, 1), (line, done.stdout, done.stderr)
    for line in (("mbox", "inbox", "--as", "bob"), ("task", "list"), ("mbox", "status"), ("reserve", "check", "a.py")):
        done = world.call(OTHER, *line, "--root", ".")
        assert (done.returncode, done.stderr.count("\n")) == ((0, 0) if is_open else (6, 1)), (line, done.stderr)
    assert world.everything() == before


def test_files_of_roots_that_stand_there_already(world: World) -> None:
    """What an older version left of root's, 0600: it is left alone and said, the owner is served everything else."""
    begin(world)
    world.fine(OWNER, "mbox", "agent", "add", "bob")
    first = json.loads(world.fine(OWNER, "mbox", "send", "bob", "--as", "ann", "--body", "x"))["msg_id"]
    world.fine(OWNER, "mbox", "send", "bob", "--as", "ann", "--body", "y")
    held = json.loads(world.fine(OWNER, "reserve", "src/**", "--as", "ann"))["reservation_id"]
    for name, priority in (("bad", "9"), ("good", "5")):
        world.fine(OWNER, "task", "add", name, "--id", name, "--priority", priority)
    for path in (places.new("bob", first), places.reservation(held), places.task("bad")):
        os.chown(world.root / path, 0, 0)
    for words, said, code in (
        (("mbox", "read", "--as", "bob"), first, 0), (("task", "claim", "--as", "bob"), "bad.json", 0),
        (("mbox", "inbox", "--as", "bob"), first, 0), (("task", "list"), "bad.json", 0),
        (("reserve", "check", "src/a.py", "--as", "bob"), held, 1), (("reserve", "src/a.py", "--as", "bob"), held, 5),
        (("mbox", "status"), "bad.json", 0), (("mbox", "me", "--as", "bob"), "bad.json", 0),
        (("mbox", "search", "peel"), "", 0), (("mbox", "doctor"), "", 1), (("mbox", "audit", "commit"), "", 0),
    ):  # fmt: skip
        done = world.call(OWNER, *words)
        assert (done.returncode, said in done.stderr) == (code, True), (words, done.stdout, done.stderr)


@pytest.mark.parametrize("mend", [("mbox", "doctor", "--repair"), ("mbox", "rebuild")])
def test_files_of_roots_are_mended(world: World, mend: tuple[str, ...]) -> None:
    """The owner's own doctor brings back what the journal has, and keeps root's files aside, unread."""
    begin(world)
    world.fine(OWNER, "task", "add", "x", "--id", "x")
    first = json.loads(world.fine(OWNER, "mbox", "send", "ann", "--as", "ann", "--body", "x"))["msg_id"]
    spoilt = (places.task("x"), places.new("ann", first))
    for path in spoilt:
        (world.root / path).write_text("root's own")
        os.chown(world.root / path, 0, 0)
    world.fine(OWNER, *mend)
    assert sorted(path.read_text() for path in (world.root / places.ASIDE).iterdir()) == ["root's own"] * 2
    world.fine(OWNER, "mbox", "read", "--as", "ann")
    world.fine(OWNER, "task", "claim", "--as", "ann")
    assert json.loads(world.fine(OWNER, "mbox", "doctor"))["clean"]


def test_a_file_of_roots_that_no_journal_knows(world: World) -> None:
    """It takes no part, is kept aside, and everybody is served."""
    begin(world)
    world.fine(OWNER, "task", "add", "x", "--id", "x")
    stray = world.root / places.task("stray")
    stray.write_bytes((world.root / places.task("x")).read_bytes())
    stray.chmod(0o600)
    for words in (("task", "list"), ("task", "claim", "--as", "ann"), ("mbox", "status")):
        world.fine(OWNER, *words)
    assert not stray.exists()
    assert [path.name for path in (world.root / places.ASIDE).iterdir()] == ["stray-1.json"]
