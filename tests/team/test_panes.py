"""Ending a member at once: its wrapper and its program's whole group, and nothing that only has their numbers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbox.agents import presence
from mbox.format import documents, places
from mbox.system.processes import Identity, identity, is_running
from mbox.team import panes
from taskkit import ANN, World

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs in groups of their own; what is left of them is killed afterwards."""
    begun: list[subprocess.Popen[str]] = []

    def start(script: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(["bash", "-c", f"{script}; echo up; read line"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
        begun.append(one)
        assert one.stdout is not None
        one.stdout.readline()
        return one

    yield start
    for one in begun:
        one.kill()
        one.wait()


def beat(world: World, wrapper: int, child: Identity) -> None:
    """A heartbeat of ann's wrapper over a program."""
    presence.beat(world.store, ANN, wrapper, child)


def test_wrapper_and_program_are_ended_however_stubborn(world: World, start: Start) -> None:
    """Both ignore what can be ignored, the wrapper is stopped: when `kill` returns, neither runs."""
    wrapper, program = start("trap '' TERM HUP"), start("trap '' TERM HUP; (trap '' TERM; sleep 1000) & echo $!")
    assert program.stdout is not None
    os.kill(wrapper.pid, 19)
    beat(world, wrapper.pid, identity(program.pid))
    assert panes.is_up(world.store, "ann")
    panes.kill(world.store, "ann")
    assert wrapper.wait(10) == -9
    assert not is_running(identity(program.pid))
    assert not panes.is_up(world.store, "ann")
    panes.kill(world.store, "ann")


@pytest.mark.parametrize("change", ["ticks", "machine", "none"])
def test_nobody_else_is_killed(world: World, start: Start, change: str) -> None:
    """A pid that was given out again, a beat of another machine, no beat at all: everybody lives."""
    wrapper, program = start(":"), start(":")
    child = identity(program.pid)
    if change != "none":
        beat(world, wrapper.pid, child._replace(ticks=child.ticks + 1) if change == "ticks" else child)
        doc = presence.heartbeat(world.store, "ann")
        assert doc is not None
        other = {"start_ticks": doc["start_ticks"] + 1} if change == "ticks" else {"machine": "another:0"}
        world.store.put_ephemeral(places.heartbeat("ann"), documents.encode("heartbeat", {**doc, **other}))
    panes.kill(world.store, "ann")
    assert not panes.tell_to_stop(world.store, "ann")
    for one in (wrapper, program):
        one.communicate("end\n", timeout=20)
        assert one.returncode == 0


def test_a_wrapper_that_is_gone_leaves_its_program_to_be_ended(world: World, start: Start) -> None:
    """The wrapper died before: what it left running is ended all the same."""
    wrapper, program = start(":"), start("trap '' TERM")
    beat(world, wrapper.pid, identity(program.pid))
    wrapper.kill()
    wrapper.wait()
    panes.kill(world.store, "ann")
    assert not is_running(identity(program.pid))
