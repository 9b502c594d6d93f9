"""Agents: registering, incarnations, heartbeats, and the commands on top."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kit import ANN, USER, FakeHost, journaled, make
from mailkit import configure
from mbox.agents import presence, registry
from mbox.errors import NotFound, NotYours, Refused, Usage
from mbox.format import places
from mbox.liveness import departure
from mbox.opening import init
from mbox.reservations.reserving import ReservationRequest, reserve
from mbox.store.store import Actor, Store


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Iterator[Store]:
    """A store with ann and bob."""
    made = make(tmp_path, host)
    yield made
    made.close()


# -- registering -------------------------------------------------------------------------------------------


def test_registering_again_changes_what_is_said(store: Store) -> None:
    """Only what is given changes; the same again is ``already`` and no record."""
    registry.add(store, USER, "ann", {"role": "reviewer", "capabilities": ["gpu"]})
    doc = registry.add(store, USER, "ann", {"model": "m1"})
    assert (doc["role"], doc["capabilities"], doc["model"], doc["incarnation"]) == (
        "reviewer",
        ["gpu"],
        "m1",
        1,
    )
    before = len(journaled(store))
    assert registry.add(store, USER, "ann", {"model": "m1"})["already"]
    assert len(journaled(store)) == before


def test_a_new_incarnation_locks_the_older_process_out(store: Store) -> None:
    """``new`` counts up; whoever still acts as the older one is refused (5) and changes nothing."""
    assert registry.add(store, USER, "ann", {}, new=True)["incarnation"] == 2
    assert journaled(store)[-1]["op"] == "agent.new"
    with pytest.raises(NotYours, match="incarnation 2 now, you are 1"):
        registry.actor(store, "ann", 1)
    assert registry.actor(store, "ann") == Actor("ann", 2)
    before = len(journaled(store))
    steps: list[Callable[[], object]] = [
        lambda: store.transact(registry.still_current, ANN),
        lambda: registry.add(store, ANN, "ann", {"role": "x"}),
        lambda: registry.add(store, ANN, "cyd", {}),
        lambda: departure.retire(store, ANN, "bob"),
    ]
    for step in steps:
        with pytest.raises(NotYours):
            step()
    assert len(journaled(store)) == before


def test_an_older_incarnation_keeps_nothing_alive(store: Store, host: FakeHost) -> None:
    """A refused command of the older process does not renew what it held; one of the current one does."""
    reserve(store, ANN, ReservationRequest(["a"], 60))
    path = places.lease("r4")
    host.advance(30)
    with pytest.raises(NotFound):
        reserve(store, ANN, ReservationRequest(["b"], 60, task_id="t99"))
    lease = store.load_lease(path)
    assert lease is not None
    assert lease.left(host) == pytest.approx(60)
    registry.add(store, USER, "ann", {}, new=True)
    host.advance(30)
    with pytest.raises(NotYours):
        reserve(store, ANN, ReservationRequest(["b"], 60))
    lease = store.load_lease(path)
    assert lease is not None
    assert lease.left(host) == pytest.approx(30)


def test_an_unknown_name_is_3_with_the_nearest(store: Store) -> None:
    """Not registered, or retired: `NotFound` with names that are meant perhaps; no name at all is `Usage`."""
    with pytest.raises(NotFound, match="did you mean bob"):
        registry.actor(store, "bobb")
    departure.retire(store, USER, "bob")
    with pytest.raises(NotFound, match="is retired"):
        registry.actor(store, "bob")
    with pytest.raises(Usage):
        registry.add(store, USER, "../x", {})


def test_who_holds_a_task_cannot_retire(store: Store) -> None:
    """Its tasks would be nobody's: refused, with their ids.  Twice is harmless; adding brings it back."""
    from mbox.format import documents
    from mbox.store.transaction import Transaction

    def claim(tx: Transaction) -> None:
        doc = documents.new("task", task_id="t9", title="t", status="running", owner="ann", incarnation=1,
                            token=tx.grant(places.task_lease("t9"), ANN, 60), created_at=tx.now)  # fmt: skip
        tx.put(doc, places.task("t9"))
        tx.record("task.claim", ["t9"])

    store.transact(claim, ANN)
    with pytest.raises(Refused, match="still holds t9"):
        departure.retire(store, USER, "ann")
    departure.retire(store, USER, "bob")
    assert departure.retire(store, USER, "bob")["already"]
    back = registry.add(store, USER, "bob", {})
    assert (back["retired_at"], back["incarnation"]) == (None, 2)


# -- heartbeats --------------------------------------------------------------------------------------------


def test_alive_is_a_fresh_beat_of_a_process_that_is_there(store: Store, host: FakeHost) -> None:
    """Dead after ``dead_after`` seconds, at once when the process is gone, and after a reboot."""
    assert presence.liveness(store, "ann") == "no heartbeat"
    presence.beat(store, ANN, os.getpid())
    host.advance(44)
    assert presence.alive(store, "ann") is True
    configure(store, dead_after=10)
    assert presence.alive(store, "ann") is False
    configure(store, dead_after=45)
    host.advance(2)
    assert presence.alive(store, "ann") is False
    presence.beat(store, ANN, os.getpid())
    path = Path(store.absolute(places.heartbeat("ann")))
    beat = json.loads(path.read_text())
    path.write_text(json.dumps({**beat, "start_ticks": beat["start_ticks"] + 1}))
    assert presence.alive(store, "ann") is False
    presence.beat(store, ANN, 0)
    assert presence.alive(store, "ann") is True
    host.reboot()
    assert presence.alive(store, "ann") is False
    path.write_text("{")
    assert presence.alive(store, "ann") is None


def test_an_idle_machine_kills_nobody(store: Store, host: FakeHost) -> None:
    """A suspend moves the wall clock only: a heartbeat is as old as the monotonic clock says."""
    presence.beat(store, ANN, os.getpid())
    host.w += 36000
    assert presence.alive(store, "ann") is True


# -- the commands ------------------------------------------------------------------------------------------


@pytest.fixture
def made(repo: Path) -> Path:
    """A repository with an empty store."""
    init(str(repo)).store.close()
    return repo


def agent(run: Run, made: Path, *words: str, **env: str) -> Any:
    """`mbox agent …`, which must succeed, and what it printed."""
    done = run("mbox", "agent", *words, cwd=made, env=env, check=True)
    return json.loads(done.stdout)


def test_add_list_show_beat_retire(made: Path, run: Run) -> None:
    """One agent's life by the commands."""
    added = agent(
        run, made, "add", "ann", "--role", "reviewer", "--can", "gpu", "--can", "py", "--model", "m1"
    )
    assert added == {
        "agent": "ann", "incarnation": 1, "role": "reviewer", "model": "m1", "capabilities": ["gpu", "py"],
    }  # fmt: skip
    assert agent(run, made, "add", "ann", "--role", "worker")["role"] == "worker"
    assert agent(run, made, "list")[0]["state"] == "no heartbeat"
    assert agent(run, made, "beat", MBOX_AGENT="ann")["agent"] == "ann"
    row = agent(run, made, "list")[0]
    assert (row["agent"], row["state"], row["capabilities"]) == ("ann", "alive", ["gpu", "py"])
    assert agent(run, made, "show", MBOX_AGENT="ann")["state"] == "alive"
    full = run("mbox", "agent", "show", "ann", "--full", cwd=made, check=True).stdout
    assert full == (made / ".mailbox/agents/ann.json").read_text()
    agent(run, made, "retire", "ann")
    assert agent(run, made, "list") == []
    assert agent(run, made, "list", "--all")[0]["state"] == "retired"


def test_a_beat_names_the_process_if_it_is_told_to(made: Path, run: Run) -> None:
    """``--pid``: alive as long as that process is; without one, for ``dead_after``."""
    agent(run, made, "add", "ann")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "mbox agent beat --pid $$ --as ann; mbox agent show ann"
    done = run("sh", "-c", script, cwd=made, env={"PATH": path})
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "alive"
    assert agent(run, made, "show", "ann")["state"] == "dead"


def test_a_name_can_be_set_before_it_is_registered(made: Path, run: Run) -> None:
    """With MBOX_AGENT set already, the first `agent add` is recorded as the user's, the second as its own."""
    agent(run, made, "add", "ann", MBOX_AGENT="ann")
    agent(run, made, "add", "ann", "--model", "m1", MBOX_AGENT="ann")
    log = [json.loads(line) for line in (made / ".mailbox/logs/000001.jsonl").read_text().splitlines()]
    assert [record["by"].partition(":")[0] for record in log if record["op"] == "agent.add"] == [
        "user",
        "ann",
    ]


def test_an_older_incarnation_exits_5(made: Path, run: Run) -> None:
    """MBOX_INCARNATION of the process that lost its name: every changing command is refused."""
    agent(run, made, "add", "ann")
    assert agent(run, made, "add", "ann", "--new")["incarnation"] == 2
    old = {"MBOX_AGENT": "ann", "MBOX_INCARNATION": "1"}
    for words in (["agent", "beat"], ["agent", "add", "cyd"], ["reserve", "a"], ["agent", "retire", "ann"]):
        done = run("mbox", *words, cwd=made, env=old)
        assert (done.returncode, "incarnation 2" in done.stderr) == (5, True), words
    assert run("mbox", "agent", "beat", cwd=made, env={**old, "MBOX_INCARNATION": "2"}).returncode == 0


def test_who_is_not_there_is_3(made: Path, run: Run) -> None:
    """An unregistered agent, shown, retired, or acting, is 3 with the nearest name; none at all is 2."""
    agent(run, made, "add", "ann")
    for words in (["show", "anne"], ["retire", "anne"], ["beat", "--as", "anne"]):
        done = run("mbox", "agent", *words, cwd=made)
        assert (done.returncode, "did you mean ann" in done.stderr) == (3, True), words
    assert run("mbox", "agent", "beat", cwd=made).returncode == 2


def test_dry_run_registers_nobody(made: Path, run: Run) -> None:
    """The answer as it would be, and no document."""
    assert agent(run, made, "add", "ann", "--dry-run")["agent"] == "ann"
    assert agent(run, made, "list") == []
