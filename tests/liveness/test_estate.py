"""What an agent leaves goes back in one record; what a newer incarnation holds does not; twice is once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbox.agents import presence, registry
from mbox.doctor import survey
from mbox.format import documents, operations, places
from mbox.liveness import departure
from mbox.mail import reading, sending
from mbox.mail.sending import MailDraft
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store.store import Actor
from taskkit import ANN, BOB, RAE, USER, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store in which the agents hold nothing."""
    return World(tmp_path)


def settle(world: World, name: str = "ann", incarnation: int = 1, op: str = operations.AGENT_DEAD) -> departure.Settled | None:
    """Settle as somebody else would."""
    return world.store.transact(lambda tx: departure.settle(tx, name, incarnation, op, "it was killed"), USER)


def held(world: World, name: str = "ann", incarnation: int = 1) -> bool:
    """Whether the agent holds anything."""
    return world.store.transact(lambda tx: departure.holds(tx, name, incarnation), USER.trial())


def send(world: World, to: str, who: Actor = BOB) -> str:
    """A message that wants to be acknowledged."""
    return str(sending.send(world.store, who, [to], MailDraft(body="x", needs_ack=True))["msg_id"])


def test_everything_goes_back_in_one_record(world: World) -> None:
    """A claimed and a running task, a review, a reservation and a read message, and the record names all of it."""
    one, two = world.add("one", "a/**"), world.add("two")
    reviewed = world.add("three")
    world.claim(BOB, reviewed)
    world.verb("submit", BOB, reviewed)
    first = world.claim(ANN, one)
    world.claim(ANN, two, start=True)
    world.verb("review", ANN, reviewed)
    rid = reserving.reserve(world.store, ANN, ReservationRequest(["b/**"], 60, False, "", None))["reservation_id"]
    msg_id = send(world, "ann")
    assert [doc["msg_id"] for doc in reading.read(world.store, ANN)] == [msg_id]
    assert held(world)
    before = world.records()

    settled = settle(world)

    assert world.records() == before + 1
    assert settled == departure.Settled([one, two], [], [reviewed], [first["reservation_id"], rid], [msg_id], [])
    record = world.last()
    assert (record["op"], record["why"]) == ("agent.dead", "it was killed")
    assert set(record["on"]) == {"ann", one, two, reviewed, first["reservation_id"], rid, msg_id}
    for task in (one, two):
        assert (world.status(task), world.doc(task)["attempt_count"], world.is_leased(task)) == ("queued", 1, False)
    assert (world.status(reviewed), world.doc(reviewed)["reviewer"]) == ("review", None)
    assert world.reserved() == []
    back = world.store.read(places.new("ann", msg_id))
    assert back is not None and (back["state"], back["deliveries"]) == ("unread", 1)
    assert not held(world)
    assert survey.survey(world.store).clean
    assert settle(world) is None and world.records() == before + 1


def test_after_the_last_attempt_and_the_last_delivery_it_is_dead(world: World) -> None:
    """The dead letters say whose end it was."""
    task = world.add("hard", max_attempts=1)
    world.claim(ANN, task)
    msg_id = send(world, "ann")
    object.__setattr__(world.store.config, "max_deliveries", 1)
    reading.read(world.store, ANN)
    settled = settle(world)
    assert settled == departure.Settled([], [task], [], [], [], [msg_id])
    doc = world.doc(task)
    assert (doc["status"], doc["reason"]) == ("deadletter", "ann is gone: it was killed (attempt 1 of 1)")
    (letter,) = world.store.documents(places.DEADLETTER)
    assert letter["original"]["msg_id"] == msg_id and "ann is gone: it was killed" in letter["detail"]
    assert survey.survey(world.store).clean


def test_a_newer_incarnation_keeps_what_it_holds(world: World) -> None:
    """Settling the first incarnation leaves the second alone; and the first one's verbs are refused."""
    old = world.add("old")
    world.claim(ANN, old)
    registry.add(world.store, USER, "ann", {}, new=True)
    second = Actor("ann", 2)
    new, msg_id = world.add("new", "n/**"), send(world, "ann")
    world.claim(second, new)
    reading.read(world.store, second)
    settled = settle(world)
    assert settled is not None and settled.ids == [old]
    assert (world.status(old), world.status(new), len(world.reserved())) == ("queued", "claimed", 1)
    assert world.store.read(places.cur("ann", msg_id)) is not None
    assert not held(world, incarnation=1) and held(world, incarnation=2)
    assert world.exit_of("done", ANN, old) == 5


def test_others_are_not_touched(world: World) -> None:
    """What bob and rae hold stays."""
    theirs = world.add("theirs", "t/**")
    world.claim(BOB, theirs)
    reserving.reserve(world.store, RAE, ReservationRequest(["r/**"], 60, False, "", None))
    assert not held(world)
    assert settle(world) is None
    assert world.status(theirs) == "claimed" and len(world.reserved()) == 2


def test_an_end_is_recorded_also_when_nothing_was_held(world: World) -> None:
    """The journal says how a wrapped program ended."""
    settled = settle(world, op=operations.AGENT_END)
    assert settled is not None and settled.ids == []
    assert (world.last()["op"], world.last()["on"]) == ("agent.end", ["ann"])


def test_a_reservation_kept_by_submit_goes_back_too(world: World) -> None:
    """``submit --keep`` leaves a reservation; its agent's death ends it."""
    from mbox.tasks import lifecycle

    task = world.add("kept", "k/**")
    world.claim(ANN, task)
    lifecycle.submit(world.store, ANN, task, keep=True)
    assert len(world.reserved()) == 1
    settled = settle(world)
    assert settled is not None and len(settled.released) == 1 and not settled.requeued
    assert world.status(task) == "review"


def test_under_a_live_wrapper_leases_are_short(world: World) -> None:
    """A heartbeat that names a program of this incarnation: 60 s instead of 30 m; without one, or a stale one, not."""
    import os

    from mbox.system.processes import identity

    store = world.store
    assert presence.lease_time(store, ANN, 1800) == 1800
    presence.beat(store, ANN, os.getpid())
    assert presence.lease_time(store, ANN, 1800) == 1800
    presence.beat(store, ANN, os.getpid(), identity(os.getpid()))
    assert presence.lease_time(store, ANN, 1800) == 60
    assert presence.lease_time(store, Actor("ann", 2), 1800) == 1800
    assert world.claim(ANN, world.add())["left"] == "60s"
    world.host.advance(46)
    assert presence.lease_time(store, ANN, 1800) == 1800
    beat = documents.new(
        "heartbeat", pid=os.getpid(), start_ticks=1, machine=world.host.machine, incarnation=1,
        mono=world.host.mono(), child=os.getpid(), child_ticks=1,
    )  # fmt: skip
    store.disk.replace(store.absolute(places.heartbeat("ann")), documents.encode("heartbeat", beat))
    assert presence.alive(store, "ann") is False, "another process has that pid"
