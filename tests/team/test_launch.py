"""The call and the end of a team as a program has them, without a command line: what is told, on a clock that stands still."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit import journaled
from mbox.errors import Refused, Usage
from mbox.format import documents, places
from mbox.format.documents import Document
from mbox.format.lease import Lease
from mbox.team import dismissal, launch, panes, teamfile
from taskkit import ANN, USER, World


class Programs:
    """The members' programs, as `panes` sees them: none is real; whoever is ``slow`` never beats."""

    def __init__(self, patch: pytest.MonkeyPatch, *slow: str) -> None:
        self.up: dict[str, int] = {}
        self.told: list[str] = []
        self.watched: list[str] = []
        self.slow = slow
        for name in ("start", "is_up", "incarnation", "tell_to_stop", "close"):
            patch.setattr(panes, name, getattr(self, name))
        patch.setattr(launch, "start_watchdog", self.watched.append)

    def start(self, store: Any, team: Document, rows: list[Document], server: Any) -> dict[str, str]:
        """Who is started has no pane."""
        fresh = [row["name"] for row in rows if row["name"] not in self.up]
        self.up.update({name: int(name not in self.slow) for name in fresh})
        return dict.fromkeys(fresh, "")

    def is_up(self, store: Any, name: str) -> bool:
        """Whether it was started and not told to stop."""
        return name in self.up

    def incarnation(self, store: Any, name: str) -> int:
        """1 once it has beaten."""
        return self.up.get(name, 0)

    def tell_to_stop(self, store: Any, name: str) -> bool:
        """It ends at once."""
        self.told.append(name)
        return self.up.pop(name, None) is not None

    def close(self, store: Any, team: Document, server: Any) -> None:
        """There is no session."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


def spec(world: World, *names: str) -> teamfile.Team:
    """A team whose file stands in the root; the first leads it."""
    roles = ["orchestrator", *["worker"] * len(names)]
    members = [{"name": name, "role": role, "command": ["sleep", "9"]} for name, role in zip(names, roles, strict=False)]
    path = world.root / "blue.yaml"
    path.write_text(json.dumps({"team": "blue", "members": members}))
    return teamfile.load(str(path))


def called(world: World, *names: str) -> tuple[launch.Launch, list[str]]:
    """Call the team together, detached; what came of it and what was said."""
    said: list[str] = []
    return launch.up(world.store, USER, spec(world, *names), [], said.append, detached=True), said


@pytest.mark.parametrize("ticks", [0, 1])
def test_a_heartbeat_that_came_with_the_store_has_nobody_killed(world: World, ticks: int) -> None:
    """It names a process of the person's, for this machine, without the start time or with a wrong one."""
    victim = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        fields = {"pid": victim.pid, "child": victim.pid, "start_ticks": ticks, "child_ticks": ticks}
        doc = documents.new("heartbeat", **fields, machine=world.host.machine, mono=world.host.mono(), incarnation=1)
        world.store.put_ephemeral(places.heartbeat("ann"), documents.encode("heartbeat", doc))
        panes.tell_to_stop(world.store, "ann")
        panes.kill(world.store, "ann")
        dismissal.end(world.store, ["ann"], 0.1)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_lease_does_not_tell_what_the_machine_is(world: World) -> None:
    """Journals are pushed: what stands in them is another word than heartbeats and the mark have; both words are judged."""
    lease = Lease.granted("r1", "ann", 1, 1, 60, world.host)
    assert "boot" not in lease.machine and lease.machine != world.host.machine
    assert lease.left(world.host) == lease._replace(machine=world.host.machine, wall_until=0).left(world.host) == 60
    world.host.boot = "boot-2"
    assert lease._replace(wall_until=world.host.wall() - 1).left(world.host) == pytest.approx(-1)


def test_a_call_starts_who_is_missing_and_a_watchdog(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has who was started; again there is nobody to start; no time passes where all beat at once."""
    running, began = Programs(monkeypatch), world.host.mono()
    made, said = called(world, "boss", "w1")
    assert (made.answer["started"], made.late, said) == ({"boss": "", "w1": ""}, [], [])
    assert running.watched == [world.store.root] and world.host.mono() == began
    again, _ = called(world, "boss", "w1")
    assert (again.answer["started"], again.answer["already"]) == ({}, True)


def test_who_was_started_again_was_not_there_already(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that starts somebody did something: it does not say `already`."""
    running = Programs(monkeypatch)
    called(world, "boss", "w1")
    del running.up["w1"]
    again, _ = called(world, "boss", "w1")
    assert list(again.answer["started"]) == ["w1"] and "already" not in again.answer


def test_who_does_not_beat_is_late_after_its_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`UP` seconds of the store's clock, and not more; the others are up."""
    Programs(monkeypatch, "w1")
    began = world.host.mono()
    made, _ = called(world, "boss", "w1")
    assert made.late == ["w1"] and set(made.answer["started"]) == {"boss", "w1"}
    assert launch.UP <= world.host.mono() - began < launch.UP + 0.2


def test_what_is_wrong_begins_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there, a team of that name from another file: nobody is registered, nobody started."""
    running = Programs(monkeypatch)
    wrong = spec(world, "boss")
    wrong = wrong._replace(members=[wrong.members[0]._replace(command=["no-such-program"])])
    with pytest.raises(Usage, match="no program no-such-program on the PATH"):
        launch.up(world.store, USER, wrong, [], str, detached=True)
    assert not running.up and world.store.read(places.team("blue")) is None
    called(world, "boss")
    (world.root / "other.yaml").write_text((world.root / "blue.yaml").read_text())
    with pytest.raises(Refused, match=r"team blue is up from .*blue\.yaml"):
        launch.up(world.store, USER, teamfile.load(str(world.root / "other.yaml")), [], str, detached=True)


def test_a_member_that_runs_as_before_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is no longer in the file still runs: said, not ended."""
    running = Programs(monkeypatch)
    called(world, "boss", "w1")
    made, said = called(world, "boss")
    assert made.answer["not_in_file"] == ["w1"] and "w1" in running.up
    assert said == ["w1: are not in the file any more, and still run; `team remove` ends a member"]


def test_an_added_member_is_in_the_file_and_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started alone; of a team that is down it is only written, which is said."""
    running, said = Programs(monkeypatch), list[str]()
    called(world, "boss")
    made = launch.add(world.store, USER, "blue", {"name": "eve", "command": ["sleep", "9"]}, said.append)
    assert (made.answer["started"], made.late, said) == ({"eve": ""}, [], [])
    dismissal.down(world.store, USER, [team(world)], 0, said.append)
    made = launch.add(world.store, USER, "blue", {"name": "zed", "command": ["sleep", "9"]}, said.append)
    assert not made.answer["started"] and "zed" not in running.up
    assert said[-1] == "team blue is down: zed starts with the next `team up`"
    assert [one.name for one in teamfile.load(str(world.root / "blue.yaml")).members] == ["boss", "eve", "zed"]


def team(world: World) -> Document:
    """The team's document."""
    doc = world.store.read(places.team("blue"))
    assert doc is not None
    return doc


def test_draining_tells_who_is_done_the_orchestrator_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that holds nothing is told at once, the orchestrator after everybody; nothing is said of them."""
    running, said = Programs(monkeypatch), list[str]()
    called(world, "boss", "w1", "w2")
    made = dismissal.drain(world.store, USER, team(world), 60, said.append)
    assert (made.left, running.told, said) == ([], ["w1", "w2", "boss"], [])
    assert team(world)["state"] == "draining"


def test_draining_waits_by_the_clock_of_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is at work is waited for, named once, and still there at the time limit."""
    running, said = Programs(monkeypatch), list[str]()
    called(world, "ann", "w1")
    world.add()
    world.claim(ANN)
    began = world.host.mono()
    made = dismissal.drain(world.store, USER, team(world), 60, said.append)
    assert (made.left, running.told) == (["ann"], ["w1"])
    assert 60 <= world.host.mono() - began < 60 + 2 * dismissal.STEP
    assert len(said) == 1 and said[0].endswith(" for ann (at work)")


def test_the_end_gives_back_what_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended within its time; its task is queued again and named; the record ``team.down`` says who was at work."""
    Programs(monkeypatch)
    called(world, "ann", "w1")
    held = world.add()
    world.claim(ANN)
    (answer,) = dismissal.down(world.store, USER, [team(world)], 1, str)
    assert answer["requeued"] == [held] and team(world)["state"] == "down"
    (record,) = [one for one in journaled(world.store) if one["op"] == "team.down"]
    assert record["why"] == "stopped at work: ann"
    assert dismissal.down(world.store, USER, [team(world)], 1, str) == [{"team": "blue", "state": "down", "already": True}]


def test_a_dry_run_ends_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who would be stopped; the team stays up."""
    running = Programs(monkeypatch)
    called(world, "boss", "w1")
    before = world.store.end().seq
    assert dismissal.down(world.store, USER.trial(), [team(world)], 9, str) == [
        {"team": "blue", "state": "down", "stopped": ["boss", "w1"]}
    ]
    assert {*running.up} == {"boss", "w1"} and world.store.end().seq == before


def test_a_removed_member_ends_and_leaves_the_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others stay; a second time it is out already."""
    running = Programs(monkeypatch)
    called(world, "boss", "w1")
    assert dismissal.remove(world.store, USER, "blue", "w1")["removed"] == "w1"
    assert {*running.up} == {"boss"} and running.told == ["w1"]
    assert [one.name for one in teamfile.load(str(world.root / "blue.yaml")).members] == ["boss"]
    assert dismissal.remove(world.store, USER, "blue", "w1")["already"]
