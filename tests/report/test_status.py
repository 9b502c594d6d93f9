"""`status`: it names what does not move, and nothing that does, whatever agents and tasks are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mbox.agents import presence, registry
from mbox.format import places
from mbox.report.status import status
from mbox.reservations import reserving
from mbox.store.store import Actor
from mbox.tasks import ready
from taskkit import ANN, LEASE, USER, World

NAMES = ("dead-eye", "nobody", "no-heartbeat", "waits-for-x", "in-work")


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann, bob and a reviewer."""
    return World(tmp_path)


def at_work(w: World, name: str) -> Actor:
    """A reviewer called ``name`` that is registered and alive."""
    registry.add(w.store, USER, name, {"role": "reviewer", "team": name})
    who = Actor(name, 1)
    presence.beat(w.store, who, os.getpid())
    return who


def why(w: World) -> list[str]:
    """What `status` says does not move."""
    return list(status(w.store)["why"])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_reason(w: World, name: str) -> None:
    """Who is alive and at work, or reviewing, is not reported for its name, nor its task for its id or title."""
    who = at_work(w, name)
    claimed = w.add(f"{name} has run out", f"src/{name}", id=f"{name}-task", stage=name)
    w.claim(who, claimed)
    assert why(w) == []
    reviewed = w.add("to review")
    w.verb("submit", ANN, reviewed, w.claim(ANN, reviewed)["token"])
    w.verb("review", who, reviewed)
    assert why(w) == []


def test_what_nobody_moves_is_named(w: World) -> None:
    """Work whose holder is dead, whose lease ran out, or which no reviewer took; and what can be claimed."""
    eve = at_work(w, "eve")
    left, late, untaken, free = (w.add(title) for title in ("left", "late", "untaken", "free"))
    w.claim(eve, left)
    w.host.advance(w.store.config.dead_after + 1)
    assert why(w)[0] == f"{left}: claimed by eve (dead)"
    presence.beat(w.store, eve, os.getpid())
    w.verb("submit", eve, untaken, w.claim(eve, untaken)["token"])
    w.claim(eve, late)
    assert why(w) == [f"{untaken}: in review; nobody has taken it", f"{free}: ready, and nobody claims it"]
    w.host.advance(LEASE + 1)
    presence.beat(w.store, eve, os.getpid())
    said = f"{left}, {late}: the lease of eve has run out; the next command that writes gives the task back"
    assert why(w)[0] == said


def test_a_reason_says_what_it_is_about(w: World) -> None:
    """The kind, who or what is in the way, and how that stands: what decides asks these, and not the words."""
    dead = at_work(w, "dead-eye")
    first = w.add("first", "src/a.py")
    w.claim(dead, first)
    second = w.add("second", "src/a.py", after=[first], hold="not dead yet", requires=("gpu", "magic"))
    view = ready.View(w.store)
    assert [tuple(one[:3]) for one in view.why(view.tasks[first])] == [("in work", "dead-eye", "alive")]
    (held,) = w.store.names(places.RESERVATIONS)
    assert [tuple(one[:3]) for one in view.why(view.tasks[second])] == [
        ("held", "", ""), ("waiting", first, "claimed"), ("incapable", "magic", ""), ("reserved", places.ident(held), "alive"),
    ]  # fmt: skip


def test_reservations_are_oldest_first_whatever_order_the_folder_has(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system lists names as it likes; a screen that is drawn again and again stays as it is."""
    for number in range(12):
        reserving.reserve(w.store, ANN, reserving.ReservationRequest([f"src/{number}.py"], 60))
    names = w.store.names
    for order in (sorted, lambda found: sorted(found, reverse=True)):
        monkeypatch.setattr(w.store, "names", lambda folder, order=order: order(names(folder)))
        shown = [row["patterns"] for row in status(w.store)["reservations"]]
        assert shown == [[f"src/{number}.py"] for number in range(12)]
