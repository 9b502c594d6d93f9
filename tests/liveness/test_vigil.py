"""The watchdog sees a wrapper die, and ends itself when there is nobody to watch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox import opening
from mbox.errors import NoStore
from mbox.format import places
from mbox.liveness.watchdog import Watchdog, keep, serve
from teamkit import end_all, environment, ours, until, watchdogs

BIN = Path(sys.executable).parent
CONFIG = "heartbeat: 5s\ndead_after: 100s\nwatchdog_scan: 100s\nrenewed_lease: 100s\nstop_grace: 0.5s\n"


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Iterator[Path]:
    """A store whose watchdog scans seldom, with a task."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    (tmp_path / places.CONFIG).write_text(CONFIG, encoding="utf-8")
    run("mbox", "agent", "add", "ann", cwd=tmp_path, check=True)
    run("task", "add", "one", "--id", "one", cwd=tmp_path, check=True)
    yield tmp_path
    if tmp_path.exists():
        end_all(tmp_path)


def status(root: Path) -> str:
    """How the task stands."""
    return str(json.loads((root / ".tasks/one.json").read_text())["status"])


def wrapper(root: Path, then: str, *options: str, **more: str) -> subprocess.Popen[bytes]:
    """Ann's, over a program that claims the task and goes on."""
    words = [str(BIN / "mbox"), "run", "--as", "ann", *options, "--", "bash", "-c", f"task claim --start >/dev/null; {then}"]
    return subprocess.Popen(words, cwd=root, env={**environment(), **more}, start_new_session=True)


def watched(dog: int) -> int:
    """How many wrappers a watchdog has under watch; none if it has ended."""
    try:
        return sum("pidfd" in os.readlink(fd) for fd in Path(f"/proc/{dog}/fd").iterdir())
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("how", ["inotify", "watchfiles", "poll"])
def test_what_a_killed_wrapper_held_is_free_in_seconds(root: Path, how: str) -> None:
    """Its death is an event, whatever tells of the others; the next scan would be 100 s later."""
    dog = subprocess.Popen([str(BIN / "mbox"), "watchdog"], cwd=root, env={**environment(), "MBOX_WATCH": how})
    until((root / places.WATCHDOG).exists, "a first scan")
    one = wrapper(root, "sleep 1000", "--no-watchdog")
    until(lambda: status(root) == "running", lambda: status(root))
    until(lambda: watched(dog.pid), "the wrapper under watch")
    one.kill()
    start = time.monotonic()
    until(lambda: status(root) == "queued", lambda: status(root))
    assert time.monotonic() - start < 5
    one.wait()
    assert dog.poll() is None, "one that a person started stays"
    dog.send_signal(signal.SIGTERM)
    assert dog.wait(timeout=20) == 0


@pytest.mark.parametrize("killed", [False, True])
def test_a_watchdog_ends_with_the_last_wrapper(root: Path, killed: bool) -> None:
    """It settles, ends, and leaves no trace in a folder that is removed then."""
    one = wrapper(root, "sleep 1000")
    until(lambda: status(root) == "running" and watchdogs(root), lambda: status(root))
    if killed:
        one.kill()
    else:
        one.terminate()
    one.wait(timeout=20)
    until(lambda: not watchdogs(root), lambda: watchdogs(root))
    assert status(root) == "queued"
    shutil.rmtree(root)
    until(lambda: not ours(root), lambda: ours(root))  # who would write there
    assert not root.exists()


def test_a_watchdog_ends_when_the_last_team_is_down(root: Path, run: Run) -> None:
    """And not before: a team that is up may have to be started again."""
    member = {"name": "ann", "host": "shell", "command": ["sleep", "1000"]}
    (root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [member]}))
    run("team", "up", "blue.yaml", "--no-tmux", cwd=root, env={"PATH": environment()["PATH"]}, check=True)
    until(lambda: any(map(watched, watchdogs(root))), "no watchdog")
    os.kill(json.loads((root / places.heartbeat("ann")).read_text())["pid"], signal.SIGTERM)
    until(lambda: "agent.end" in run("mbox", "log", cwd=root).stdout, "an end")
    until(lambda: len(watchdogs(root)) == 1, "of two that were started one goes")
    (dog,) = watchdogs(root)
    until(lambda: not watched(dog), "it has seen that")
    assert watchdogs(root) == [dog]
    run("team", "down", "--force", cwd=root, check=True)
    until(lambda: not watchdogs(root), lambda: watchdogs(root))


# -- a death between two looks -------------------------------------------------------------------------------------------


class Hands:
    """Hands that do nothing but what a test makes of `left`, in the middle of a round, and of `audit`, at its end."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def left(self, _agent: str) -> bool:
        """Nothing was left."""
        return False

    def audit(self) -> str:
        """Nothing is new."""
        return ""

    def see(self, *_: object) -> None:
        """Nothing is noted."""

    def end_program(self, agent: str, _beat: object) -> list[int]:
        """Note it."""
        self.calls.append(agent)
        return []

    def _never(self, *_: object) -> str:
        raise AssertionError("nobody has a pane or a team")

    nudge = look = tidy = may_respawn = respawn = _never


def beaten(root: Path) -> float:
    """When ann's wrapper beat; 0 if it never did."""
    try:
        return float(json.loads((root / places.heartbeat("ann")).read_text())["mono"])
    except OSError:
        return 0.0


@pytest.mark.parametrize("round_", [1, 2])
def test_a_wrapper_that_dies_after_the_dead_were_looked_for_is_seen_at_once(root: Path, round_: int) -> None:
    """In the first round, before it was ever under watch, and in a later one."""
    one = wrapper(root, "sleep 1000", "--no-watchdog")
    until(lambda: status(root) == "running", lambda: status(root))

    class Kill(Hands):
        rounds = 0

        def left(self, _agent: str) -> bool:
            self.rounds += 1
            if self.rounds == round_:
                one.kill()
                one.wait()
                self.at = time.monotonic()
            return False

        def end_program(self, agent: str, _beat: object) -> list[int]:
            raise NoStore(f"{time.monotonic() - self.at < 5} {agent}")

    (root / places.CONFIG).write_text(CONFIG.replace("watchdog_scan: 100s", "watchdog_scan: 8s"))
    store = opening.open_store(None, str(root))
    with pytest.raises(NoStore, match="True ann"):
        serve(store, Watchdog(store, Kill()))
    store.close()


def test_who_comes_while_a_watchdog_is_about_to_end_keeps_it(root: Path) -> None:
    """It had looked whether it is needed, and the new wrapper sees that there is one."""
    (root / places.CONFIG).write_text(CONFIG.replace("heartbeat: 5s", "heartbeat: 0.3s"))
    started: list[subprocess.Popen[bytes]] = []

    class Late(Hands):
        def audit(self) -> str:
            if not started:
                started.append(wrapper(root, "sleep 1000", "--no-watchdog"))
                first = until(lambda: beaten(root), "a beat")
                until(lambda: beaten(root) > first, "a second beat, which comes after the look for a watchdog")
            return ""

        def left(self, _agent: str) -> bool:
            if started and started[0].poll() is None:
                started[0].kill()
                started[0].wait()
            return False

    hands, store = Late(), opening.open_store(None, str(root))
    try:
        keep(store, hands)
    finally:
        started[0].kill()
        started[0].wait()
    assert hands.calls == ["ann"] and status(root) == "queued"
    store.close()
