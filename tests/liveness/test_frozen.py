"""Everything stands still for longer than the dead may be silent: afterwards the living have lost nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.agents import presence, registry
from mbox.format import places
from mbox.liveness.watchdog import Watchdog
from mbox.system.processes import identity
from taskkit import ANN, USER, World
from teamkit import until

BIN = Path(sys.executable).parent
CONFIG = """
heartbeat: 1s
dead_after: 3s
renew_every: 0.5s
renewed_lease: 3s
watchdog_scan: 0.5s
stop_grace: 0.5s
"""
AS_ANN = "task claim --start >claimed && while :; do sleep 0.2; done"


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store whose times are short, with a task."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    (tmp_path / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=tmp_path, check=True)
    run("task", "add", "one", "--id", "one", cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def frozen(root: Path) -> Iterator[list[int]]:
    """A wrapper, its program, which holds the task, and a watchdog; stopped all together for longer than ``dead_after``.

    The wrapper comes last.
    """
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    words = [str(BIN / "mbox"), "run", "--as", "ann", "--no-watchdog", "--", "bash", "-c", AS_ANN]
    dog = subprocess.Popen([str(BIN / "mbox"), "watchdog"], cwd=root, start_new_session=True)
    wrapper = subprocess.Popen(words, cwd=root, env=environ, start_new_session=True)
    until(lambda: (root / "claimed").exists() and (root / "claimed").read_text(), "no claim")
    until((root / places.WATCHDOG).exists, "no watchdog")
    child = told(root)["child"]
    try:
        for pid in (wrapper.pid, child, dog.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)  # this is what is tried: CLOCK_MONOTONIC goes on
        yield [dog.pid, child, wrapper.pid]
    finally:
        for one in (dog, wrapper):
            one.send_signal(signal.SIGCONT)
            one.terminate()
        for one in (dog, wrapper):
            one.wait(timeout=20)


def told(root: Path) -> dict[str, Any]:
    """The heartbeat."""
    beat: dict[str, Any] = json.loads((root / ".mailbox/heartbeat/ann").read_text())
    return beat


def holds_still(root: Path, run: Run, before: dict[str, Any]) -> None:
    """Ann beats again, under the same token, and nobody has given anything back."""
    at = told(root)["mono"]
    until(lambda: told(root)["mono"] >= at + 3, "no beats after the pause")
    beat = told(root)
    assert [beat[name] for name in ("pid", "child", "incarnation")] == [before[name] for name in ("pid", "child", "incarnation")]
    task = json.loads((root / ".tasks/one.json").read_text())
    assert (task["status"], task["owner"], task["attempt_count"]) == ("running", "ann", 0)
    said = run("mbox", "log", "--limit", "0", cwd=root, check=True).stdout
    assert "agent.dead" not in said and "task.expire" not in said


def test_a_watchdog_that_wakes_first_ends_nobody(root: Path, run: Run, frozen: list[int]) -> None:
    """It gives those who stood still with it the time for a beat."""
    before = told(root)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    holds_still(root, run, before)


def test_a_command_that_writes_first_takes_nothing(root: Path, run: Run, frozen: list[int]) -> None:
    """It sweeps, and leaves what a wrapper holds that has not woken yet; so does a watchdog that has just been started."""
    before = told(root)
    run("mbox", "agent", "beat", "bob", cwd=root)
    run("mbox", "send", "bob", "--body", "x", "--as", "bob", cwd=root, check=True)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    holds_still(root, run, before)


def test_a_second_wrapper_waits_for_a_beat_before_it_takes_a_name(root: Path, run: Run, frozen: list[int]) -> None:
    """The first is there, and only has not come to beat yet."""
    before = told(root)
    second = subprocess.Popen(
        [str(BIN / "mbox"), "run", "--as", "ann", "--no-watchdog", "--", "true"], cwd=root, stderr=subprocess.PIPE, text=True
    )
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert "runs already" in second.communicate(timeout=20)[1] and second.returncode == 5
    holds_still(root, run, before)


# -- with a clock that stands still ------------------------------------------------------------------------------------


class NoHands:
    """Hands that start nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def nudge(self, *_: object) -> str:
        """Never typed into."""
        return ""

    def left(self, *_: object) -> bool:
        """Nothing was left."""
        return False

    def tidy(self, *_: object) -> str:
        """Nothing to do."""
        return "idle"

    def see(self, *_: object) -> None:
        """Nothing is noted."""

    def may_respawn(self, *_: object) -> bool:
        """Anybody."""
        return True

    def respawn(self, _team: object, member: dict[str, Any]) -> str:
        """It cannot be started."""
        self.calls.append(member["name"])
        return "there is no such folder"

    def end_program(self, agent: str, _beat: object) -> list[int]:
        """Note it."""
        self.calls.append(agent)
        return []

    def audit(self) -> str:
        """Nothing is new."""
        return ""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store with agents."""
    return World(tmp_path)


def wrapped(world: World) -> str:
    """Ann beats as this very process, and holds a task by it; the task."""
    task = world.add("one")
    beat(world)
    world.claim(ANN, task)
    return task


def beat(world: World) -> None:
    """A wrapper's heartbeat."""
    presence.beat(world.store, registry.actor(world.store, "ann", 1), os.getpid(), identity(os.getpid()))


def test_a_lease_is_spared_once_and_then_it_has_run_out(world: World) -> None:
    """A wrapper that stays silent loses what it holds a heartbeat later."""
    task = wrapped(world)
    world.host.advance(100)
    world.store.transact(lambda tx: None, USER)
    assert world.status(task) == "claimed"
    world.host.advance(world.store.config.heartbeat + 0.1)
    world.store.transact(lambda tx: None, USER)
    assert world.status(task) == "queued"


def test_who_beats_and_does_not_renew_is_not_spared(world: World) -> None:
    """Only silence tells of a pause."""
    task = wrapped(world)
    for _ in range(7):
        world.host.advance(10)
        beat(world)
    world.store.transact(lambda tx: None, USER)
    assert world.status(task) == "queued"


def test_a_new_watchdog_judges_silence_only_after_a_heartbeat(world: World) -> None:
    """It cannot know whether everything stood still just before it was started."""
    wrapped(world)
    world.host.advance(100)
    hands = NoHands()
    dog = Watchdog(world.store, hands)
    due = dog.scan()
    assert hands.calls == [] and due - world.host.mono() <= world.store.config.heartbeat
    world.host.advance(world.store.config.heartbeat)
    dog.scan()
    assert hands.calls == ["ann"]


def test_one_round_judges_silence_too(world: World) -> None:
    """It waits until that counts: nobody may come after it."""
    wrapped(world)
    world.host.advance(100)
    hands = NoHands()
    Watchdog(world.store, hands).once()
    assert hands.calls == ["ann"]


def test_tries_that_started_nothing_are_no_respawns(world: World) -> None:
    """A member whose program could not be started is not broken; it is tried again, and said once why it cannot be."""
    from mbox.format import documents

    row = {"name": "ann", "respawn": {"times": 2}}
    doc = documents.new("team", team="blue", state="up", members=[row], created_at="2026-01-01T00:00:00.000000Z")

    def decide(tx: Any) -> None:
        tx.put(doc, places.team("blue"))
        tx.record("team.up", ["blue"])

    world.store.transact(decide, USER)
    hands = NoHands()
    dog = Watchdog(world.store, hands)
    for _ in range(5):
        world.host.advance(30)
        dog.scan()
    assert hands.calls == ["ann"] * 5 and dog.broken == {}
    assert [deed.why for deed in dog.did] == ["there is no such folder"]
