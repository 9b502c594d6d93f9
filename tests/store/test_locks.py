"""Named locks on both back ends, by hazard: together, too late, killed, left running, nested, deleted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Run
from kit import FakeHost, make
from mbox.errors import Corrupt, Refused, TimedOut
from mbox.format import places
from mbox.opening import init, open_store
from mbox.store import mutex
from mbox.store.store import Store
from mbox.system import flock

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
def store(made: Path, backend: str) -> Iterator[Store]:
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


def test_the_holder_is_named(store: Store, run: Run) -> None:
    """By agent and program, without arguments or environment; and only where the line is that of who holds it."""
    path = Path(store.absolute(places.named_lock("port")))
    with mutex.held(store, "port", agent="ann", runs="make"):
        fd = os.open(path, os.O_RDWR)
        try:
            assert mutex._holder(fd) == f"held by pid {os.getpid()} (ann runs make)"
            assert set(json.loads(path.read_text())) == {"pid", "pidns", "start", "since", "agent", "runs"}
            os.pwrite(fd, b'{"pid": 1, "agent": "bob"}'.ljust(mutex.LINE), 0)
            assert mutex._holder(fd) == f"held by pid {os.getpid()}"
            os.pwrite(fd, b"no line at all".ljust(mutex.LINE), 0)
            assert mutex._holder(fd) == f"held by pid {os.getpid()}"
        finally:
            os.close(fd)
    with mutex.held(store, "port", agent="a" * 70, runs="\u2028" * 70):
        assert len(path.read_bytes()) == mutex.LINE
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_holder_that_cannot_be_seen_is_nobody(store: Store) -> None:
    """The kernel names none and the file no process that runs: none is named, and nobody is refused for it."""
    with mutex.held(store, "port"):
        pass
    fd = os.open(store.absolute(places.named_lock("port")), os.O_RDWR)
    try:
        for line in (b"", b"no line at all", b'{"pid": 77}', b'{"pid": [77], "start": 1}'):
            os.pwrite(fd, line.ljust(mutex.LINE), 0)
            mutex._refuse_own(fd, "port")
            assert mutex._holder(fd) == "held by a process that cannot be seen from here", line
    finally:
        os.close(fd)


def test_who_waits_long_is_told_for_whom(
    store: Store, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--wait`` it waits as long as it takes, and says after a while for which process."""
    monkeypatch.setattr(mutex, "PATIENCE", 0.01)
    holder = Holder(made)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        assert holder.end() == 0

    with mutex.held(store, "port", say=say):
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
    holder = Holder(made, script="trap 'exit 9' TERM; echo held; while :; do sleep 0.05; done")
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


KILLED = {
    "command": "echo held; read line; kill -KILL $$",
    "what its shell ran": "echo held; read line; sh -c 'kill -KILL $$'",
    "what a shell of its shell ran": "echo held; read line; bash -c 'set -e; bash -c \"kill -SEGV \\$\\$\"; true'",
}
"""What is killed under a lock, and with which signal."""


@pytest.mark.parametrize("how", ["holder", *KILLED])
def test_who_comes_after_a_dead_holder_is_told(made: Path, backend: str, run: Run, how: str) -> None:
    """What ran may be half done: by whom and what is said, once; an end in order, or a SIGTERM, is none."""
    holder = Holder(made, script=KILLED.get(how, "echo held; read line"))
    if how in KILLED:
        assert holder.end() == 128 + (signal.SIGSEGV if "SEGV" in KILLED[how] else signal.SIGKILL)
    else:
        holder.process.kill()
        holder.process.wait()
        assert holder.process.stdin is not None
        holder.process.stdin.close()
    asked = (PROGRAM, "lock", "port", "--", "true")
    line = f"lock port: its last holder, pid {holder.process.pid} (runs sh), died; look at what that left half done"
    assert line in run(*asked, cwd=made).stderr
    assert run(*asked, cwd=made).stderr == ""
    assert run(PROGRAM, "lock", "port", "--", "sh", "-c", "exit 128", cwd=made).returncode == 128  # as git says a mistake
    assert run(*asked, cwd=made).stderr == ""
    stopped = Holder(made, script="echo held; exec sleep 1000")
    stopped.process.terminate()
    assert stopped.process.wait(timeout=30) == 128 + signal.SIGTERM
    assert run(*asked, cwd=made).stderr == ""


def test_others_that_share_a_lock_have_not_died(made: Path, backend: str, run: Run) -> None:
    """The line of one that still holds it is no sign."""
    first = Holder(made, "--shared")
    assert run(PROGRAM, "lock", "port", "--shared", "--", "true", cwd=made).stderr == ""
    assert first.end() == 0


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


def test_a_file_that_git_deleted_is_locked_anew(store: Store, made: Path) -> None:
    """The file goes while somebody waits for it: the waiter, and who comes after, take the new one."""
    path = Path(store.absolute(places.named_lock("port")))
    holder = Holder(made)
    said: list[str] = []

    def say(text: str) -> None:
        path.unlink()
        holder.end()

    patience, mutex.PATIENCE = mutex.PATIENCE, 0.01
    try:
        with mutex.held(store, "port", say=say):
            second = open_store(str(made), str(made))
            with pytest.raises(TimedOut), mutex.held(second, "port", wait=0, say=said.append):
                pass
    finally:
        mutex.PATIENCE = patience


def test_the_file_stays_and_says_who_came_last(store: Store) -> None:
    """The lock file is never removed; its line is for people."""
    path = Path(store.absolute(places.named_lock("port")))
    for _ in range(2):
        with mutex.held(store, "port"):
            inode = path.stat().st_ino
    assert path.stat().st_ino == inode
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_full_disk_does_not_keep_anybody_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder's line cannot be written: the lock holds all the same."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(store.disk), "pwrite", full)
    with mutex.held(store, "port"), pytest.raises((TimedOut, Refused)), mutex.held(store, "port", wait=0):
        pass


@pytest.mark.parametrize("kind", ["named", "own"])
def test_a_folder_of_locks_that_is_a_link_is_refused(store: Store, tmp_path: Path, kind: str) -> None:
    """Nothing is made behind it, and nobody believes to have a lock that others do not know."""
    folder = Path(store.absolute(places.LOCKS))
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    own = mutex.exclusively(store, places.WATCHDOG_LOCK, 0, lambda: Refused("somebody has it"))
    with pytest.raises(Corrupt, match="symlink"), mutex.held(store, "port") if kind == "named" else own:
        pass
    assert not os.listdir(tmp_path / "outside")


def test_names_are_checked(made: Path, backend: str, run: Run) -> None:
    """A lock has a name, never a path, and a command."""
    for words in (["../x", "--", "true"], ["A", "--", "true"], ["port"], ["port", "--"], ["port", "true"]):
        assert run(PROGRAM, "lock", *words, cwd=made).returncode == 2, words
    assert run(PROGRAM, "lock", "port", "--", "no-such-command", cwd=made).returncode == 127


# -- by a clock that is handed in ----------------------------------------------------------------------------------


class Times(FakeHost):
    """A clock that goes on only when somebody sleeps, and what happens meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.slept = self.mono(), 0
        self.plan: dict[float, Callable[[], object]] = {}

    @property
    def passed(self) -> float:
        """Seconds since it was made."""
        return self.mono() - self.began

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass; what is planned for this time happens."""
        self.slept += 1
        self.advance(seconds)
        for when in [when for when in self.plan if when <= self.passed]:
            self.plan.pop(when)()


@pytest.fixture
def polled(tmp_path: Path) -> Iterator[tuple[Store, Times, int]]:
    """A store whose locks are polled for by a scripted clock; and a descriptor by which another holds the lock ``x``."""
    times = Times()
    store = make(tmp_path, times, lock_backend="portalocker")
    with mutex.held(store, "x"):
        pass
    fd = os.open(store.absolute(places.named_lock("x")), os.O_RDWR)
    assert flock.attempt(fd, portable=True)
    yield store, times, fd
    os.close(fd)
    store.close()


def test_a_wait_ends_at_its_time_and_says_once_for_whom(polled: tuple[Store, Times, int]) -> None:
    """After `PATIENCE` seconds a line, after ``wait`` `TimedOut`; looked for 50 times a second, and no oftener."""
    store, times, _ = polled
    said: list[tuple[float, str]] = []
    with (
        pytest.raises(TimedOut, match="lock x was not had in time"),
        mutex.held(store, "x", wait=60, say=lambda text: said.append((times.passed, text))),
    ):
        pass
    assert times.passed == pytest.approx(60, abs=0.05)
    ((when, text),) = said
    assert when == pytest.approx(mutex.PATIENCE, abs=0.05)
    assert "lock x: waiting" in text
    assert times.slept <= 60 * 50 + 20


def test_a_short_wait_says_nothing(polled: tuple[Store, Times, int]) -> None:
    """Who waits less than `PATIENCE` is told only that it was not had."""
    store, times, _ = polled
    said: list[str] = []
    with pytest.raises(TimedOut), mutex.held(store, "x", wait=1, say=said.append):
        pass
    assert (said, times.passed) == ([], pytest.approx(1, abs=0.05))


def test_a_lock_that_comes_free_is_had_soon(polled: tuple[Store, Times, int]) -> None:
    """Within 20 ms of its release, however long that took."""
    store, times, fd = polled
    times.plan[7.0] = lambda: flock.release(fd, portable=True)
    with mutex.held(store, "x"):
        assert 7 <= times.passed <= 7.05


def test_giving_up_what_was_never_had_imports_nothing(tmp_path: Path) -> None:
    """On the way out of an interrupted import the same import, half done, ends in an error of its own."""
    script = (
        "import os, sys\nfrom mbox.system import flock\n"
        "flock.release(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), portable=True)\n"
        "assert 'portalocker' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "lock")], check=True)


# -- which back end ------------------------------------------------------------------------------------------------


CALLED = """
import sys
from mbox.store import mutex
from mbox.store.store import Actor
from mbox.opening import open_store
store = open_store(sys.argv[1], "/")
exec(sys.argv[2])
print("portalocker" if "portalocker" in sys.modules else "flock")
"""


@pytest.mark.parametrize(
    "doing",
    [
        "store.catch_up()", "mutex.held(store, 'x').__enter__()", "mutex.is_held(store, '.mailbox/lock')",
        "mutex.exclusively(store, '.mailbox/locks/x', 1, TimeoutError).__enter__()",
    ],
)
def test_what_is_asked_for_is_what_locks(made: Path, backend: str, doing: str) -> None:
    """``MBOX_LOCK`` reaches the store's own lock, a named lock, and the look at whether one is held."""
    done = subprocess.run([sys.executable, "-c", CALLED, str(made), doing], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == backend


@pytest.mark.parametrize("words", [["mbox", "inbox", "--as", "ann"], ["mbox", "lock", "x", "--", "true"], ["mbox", "init"]])
def test_a_back_end_that_there_is_not_is_refused(made: Path, run: Run, words: list[str]) -> None:
    """A word that is none of them is a mistake, not the usual one: exit 2, with those there are."""
    if words == ["mbox", "init"]:
        for path in (made / places.LOGS).iterdir():
            path.unlink()
    done = run(*words, cwd=made, env={"MBOX_LOCK": "portalocked"})
    assert done.returncode == 2
    assert "MBOX_LOCK=portalocked: must be flock or portalocker" in done.stderr
