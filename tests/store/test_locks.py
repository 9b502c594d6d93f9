"""Named locks on both back ends, by hazard: together, too late, killed, left running, nested, deleted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox.store import mutex as locks
from mbox.format import places
from mbox.errors import Refused, TimedOut
from mbox.opening import OpenStore, init, open_store

PROGRAM = str(Path(sys.executable).parent / "mbox")


@pytest.fixture(params=["flock", "portalocker"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with the kernel's flock and through portalocker."""
    name = str(request.param)
    monkeypatch.setenv("MBOX_LOCK", name)
    return name


@pytest.fixture
def made(repo: Path) -> Path:
    """A repository with a store."""
    init(str(repo)).store.close()
    return repo


@pytest.fixture
def store(made: Path, backend: str) -> Iterator[OpenStore]:
    """The store, with that back end."""
    opened = open_store(str(made), str(made))
    yield opened
    opened.close()


class Holder:
    """A process that holds the lock ``port`` until `end`; ready when made."""

    def __init__(self, folder: Path, *options: str, script: str = "echo held; read line") -> None:
        command = ["mbox", "lock", "port", *options, "--", "sh", "-c", script]
        self.process = subprocess.Popen(
            command, executable=PROGRAM, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def end(self) -> int:
        """Let its command end; the status."""
        self.process.communicate("go\n", timeout=30)
        return self.process.returncode


def test_one_at_a_time(made: Path, backend: str, tmp_path: Path) -> None:
    """Six at once, three times each: a folder that each makes while it holds the lock is never there."""
    marked = f"{PROGRAM} lock db -- sh -c 'mkdir {tmp_path}/in && rmdir {tmp_path}/in'"
    script = f"for i in 1 2 3; do {marked} || exit 1; done"
    racing = [subprocess.Popen(["sh", "-c", script], cwd=made) for _ in range(6)]
    assert [one.wait(timeout=200) for one in racing] == [0] * 6


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [("", "", False), ("--shared", "", False), ("", "--shared", False), ("--shared", "--shared", True)],
)
def test_only_who_shares_is_in_together(
    made: Path, backend: str, run: Run, first: str, second: str, together: bool
) -> None:
    """Two hold a lock at once exactly when both share it."""
    holder = Holder(made, *first.split())
    done = run(PROGRAM, "lock", "port", *second.split(), "--wait", "0", "--", "echo", "in", cwd=made)
    assert (done.returncode, done.stdout) == ((0, "in\n") if together else (4, ""))
    holder.end()


def test_too_late_names_the_holder(made: Path, backend: str, run: Run) -> None:
    """After ``--wait`` it is exit 4, with the pid of whoever holds the lock; the command never ran."""
    holder = Holder(made)
    late = run(PROGRAM, "lock", "port", "--wait", "0.2s", "--", "touch", "ran", cwd=made)
    assert late.returncode == 4
    assert f"lock port was not had in time: held by pid {holder.process.pid}" in late.stderr
    assert not (made / "ran").exists()
    assert run(PROGRAM, "lock", "other", "--wait", "0", "--", "true", cwd=made).returncode == 0
    assert holder.end() == 0


def test_the_holder_is_named(store: OpenStore, run: Run) -> None:
    """By agent and program, without arguments or environment; and only where the line is that of who holds it."""
    path = Path(store.absolute(places.named_lock("port")))
    with locks.held(store, "port", agent="ann", runs="make"):
        fd = os.open(path, os.O_RDWR)
        try:
            assert locks._holder(fd) == f"held by pid {os.getpid()} (ann runs make)"
            assert set(json.loads(path.read_text())) == {"pid", "pidns", "start", "since", "agent", "runs"}
            os.pwrite(fd, b'{"pid": 1, "agent": "bob"}'.ljust(locks.LINE), 0)
            assert locks._holder(fd) == f"held by pid {os.getpid()}"
            os.pwrite(fd, b"no line at all".ljust(locks.LINE), 0)
            assert locks._holder(fd) == f"held by pid {os.getpid()}"
        finally:
            os.close(fd)
    with locks.held(store, "port", agent="a" * 70, runs="\u2028" * 70):
        assert len(path.read_bytes()) == locks.LINE
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_who_waits_long_is_told_for_whom(
    store: OpenStore, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--wait`` it waits as long as it takes, and says after a while for which process."""
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    holder = Holder(made)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        assert holder.end() == 0

    with locks.held(store, "port", say=say):
        pass
    assert said == [f"lock port: waiting, held by pid {holder.process.pid} (runs sh)"]


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_status_is_that_of_the_command(
    made: Path, backend: str, run: Run, script: str, status: int
) -> None:
    """The exit status is the command's, 128+N where a signal ended it, and the lock is free after."""
    assert run(PROGRAM, "lock", "port", "--", "sh", "-c", script, cwd=made).returncode == status
    assert run(PROGRAM, "lock", "port", "--wait", "0", "--", "true", cwd=made).returncode == 0


def test_signals_reach_the_command(made: Path, backend: str) -> None:
    """SIGTERM goes to the command, which decides; the lock is held until it has ended."""
    holder = Holder(made, script="trap 'exit 9' TERM; echo held; while :; do read line; done")
    holder.process.send_signal(signal.SIGTERM)
    assert holder.process.wait(timeout=30) == 9


def test_the_lock_ends_with_its_holder(made: Path, backend: str, run: Run) -> None:
    """The wrapper alone is killed: the lock is free at once, though its command still runs."""
    holder = Holder(made)
    holder.process.kill()
    holder.process.wait()
    assert run(PROGRAM, "lock", "port", "--wait", "0", "--", "true", cwd=made).returncode == 0
    assert holder.process.stdin is not None
    holder.process.stdin.close()


def test_what_a_command_leaves_running_holds_nothing(
    made: Path, backend: str, run: Run, tmp_path: Path
) -> None:
    """A process that the command leaves in the background does not inherit the lock."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"(exec >/dev/null 2>&1; read line < {fifo}) & echo started"
    assert run(PROGRAM, "lock", "port", "--", "sh", "-c", script, cwd=made).stdout == "started\n"
    done = run(PROGRAM, "lock", "port", "--wait", "0", "--", "true", cwd=made)
    fifo.write_text("end\n")
    assert done.returncode == 0


def test_a_lock_inside_itself_is_refused(made: Path, backend: str, run: Run) -> None:
    """A command that waits for the lock under which it runs would wait for ever: exit 2, at once."""
    nested = run(PROGRAM, "lock", "port", "--", PROGRAM, "lock", "port", "--", "true", cwd=made)
    assert nested.returncode == 2
    assert "refused: lock port is held by pid" in nested.stderr


def test_a_file_that_git_deleted_is_locked_anew(store: OpenStore, made: Path) -> None:
    """The file goes while somebody waits for it: the waiter, and who comes after, take the new one."""
    path = Path(store.absolute(places.named_lock("port")))
    holder = Holder(made)
    said: list[str] = []

    def say(text: str) -> None:
        path.unlink()
        holder.end()

    patience, locks.PATIENCE = locks.PATIENCE, 0.01
    try:
        with locks.held(store, "port", say=say):
            second = open_store(str(made), str(made))
            with pytest.raises(TimedOut), locks.held(second, "port", wait=0, say=said.append):
                pass
    finally:
        locks.PATIENCE = patience


def test_the_file_stays_and_says_who_came_last(store: OpenStore) -> None:
    """The lock file is never removed; its line is for people."""
    path = Path(store.absolute(places.named_lock("port")))
    for _ in range(2):
        with locks.held(store, "port"):
            inode = path.stat().st_ino
    assert path.stat().st_ino == inode
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_full_disk_does_not_keep_anybody_out(store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder's line cannot be written: the lock holds all the same."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(store.disk), "pwrite", full)
    with locks.held(store, "port"), pytest.raises((TimedOut, Refused)), locks.held(store, "port", wait=0):
        pass


def test_names_are_checked(made: Path, backend: str, run: Run) -> None:
    """A lock has a name, never a path, and a command."""
    for words in (["../x", "--", "true"], ["A", "--", "true"], ["port"], ["port", "--"], ["port", "true"]):
        assert run(PROGRAM, "lock", *words, cwd=made).returncode == 2, words
    assert run(PROGRAM, "lock", "port", "--", "no-such-command", cwd=made).returncode == 127
