"""Urgency: a task that a more urgent one waits for is as urgent as that one, however the graph came to be as it is."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mbox.doctor import repair
from mbox.errors import MboxError, Nothing
from mbox.format import places
from mbox.format.documents import FINAL, Document
from mbox.tasks import graph, planfile, planning, ready, reviews
from taskkit import ANN, BOB, RAE, USER, World


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    """A store with ann, bob and rae."""
    world = World(tmp_path)
    yield world
    world.store.close()


def indexed(w: World) -> dict[str, int]:
    """What the index has of every task that is not final."""
    with sqlite3.connect(w.store.absolute(places.INDEX)) as db:
        where = f"status NOT IN ({', '.join(map(repr, sorted(FINAL)))})"
        return dict(db.execute(f"SELECT id, urgency FROM task WHERE {where}"))


def naive(docs: dict[str, Document]) -> dict[str, int]:
    """The same, by its definition."""
    live = {ident: doc for ident, doc in docs.items() if doc["status"] not in FINAL}
    found = {ident: int(doc["priority"]) for ident, doc in live.items()}
    for _ in live:
        for ident, doc in live.items():
            for dep in doc["depends_on"]:
                if dep in found:
                    found[dep] = max(found[dep], found[ident])
    return found


def test_a_low_task_that_a_high_one_waits_for_is_claimed_first(w: World) -> None:
    """Through a chain, before what is more urgent by itself; among the same, age decides as ever."""
    other = w.add("other", priority=7)
    low = w.add("low", priority=1)
    middle = w.add("middle", priority=2, after=[low])
    w.add("high", priority=9, after=[middle])
    same = w.add("same", priority=9)
    assert [row["task_id"] for row in ready.ready(w.store)] == [low, same, other]
    assert [w.claim(BOB)["task_id"] for _ in range(3)] == [low, same, other]
    w.verb("done", BOB, low)
    assert w.claim(BOB)["task_id"] == middle


def test_it_ends_with_what_lent_it(w: World) -> None:
    """The high task is cancelled, made low, or waits no longer: the low one is as low as it was; requeued, it lends again."""
    low, other = w.add("low", priority=1), w.add("other", priority=5)
    high = w.add("high", priority=9, after=[low])
    first = lambda: ready.ready(w.store)[0]["task_id"]  # noqa: E731 - said seven times
    assert first() == low
    w.verb("cancel", USER, high)
    assert (first(), indexed(w)[low]) == (other, 1)
    w.verb("requeue", USER, high)
    assert (first(), indexed(w)[low]) == (low, 9)
    planning.update(w.store, USER, high, {"priority": 3})
    assert (first(), indexed(w)[low]) == (other, 3)
    planning.update(w.store, USER, high, {"priority": 8})
    assert (first(), indexed(w)[low]) == (low, 8)
    planning.update(w.store, USER, high, {}, rm_deps=[low])
    assert (first(), indexed(w)[low]) == (high, 1)


def test_ready_says_its_place(w: World) -> None:
    """Its number among what is ready, how urgent it is and for which task; nothing of it where the task is not ready."""
    low = w.add("low", priority=1)
    middle = w.add("middle", priority=2, after=[low])
    high = w.add("high", priority=9, after=[middle])
    other = w.add("other", priority=4)
    told = ready.explain_one(w.store, low)
    assert told == {"task_id": low, "status": "queued", "ready": True, "why": [], "place": 1, "urgency": 9, "urgent_for": high}
    assert ready.explain_one(w.store, other)["place"] == 2
    told = ready.explain_one(w.store, middle)
    assert (told["ready"], told["urgency"], told["urgent_for"], "place" in told) == (False, 9, high, False)
    rows = {row["task_id"]: row for row in ready.rows(w.store)}
    assert [row["task_id"] for row in ready.rows(w.store)] == [low, middle, high, other]
    assert (rows[low]["priority"], rows[low]["urgency"], "urgency" in rows[high]) == (1, 9, False)
    assert ready.ready(w.store)[0]["urgency"] == 9


def test_reviews_too(w: World) -> None:
    """What others wait for is reviewed first."""
    first, low = w.add("first", priority=5), w.add("low", priority=1)
    w.add("high", priority=9, after=[low])
    for task_id in (first, low):
        w.claim(ANN, task_id)
        w.verb("submit", ANN, task_id)
    assert reviews.take(w.store, RAE)["task_id"] == low


def test_a_plan_brings_it(w: World) -> None:
    """Whatever order a plan names its tasks in; and again without the index, made anew from the documents."""
    plan = b"""tasks:
  - {id: high, title: H, depends_on: [mid], priority: 9}
  - {id: low, title: L, priority: 0}
  - {id: mid, title: M, depends_on: [low, side], priority: 1}
  - {id: side, title: S, priority: 2}
"""
    planning.import_drafts(w.store, USER, planfile.parse_plan(plan, "plan.yaml"))
    want = {"high": 9, "low": 9, "mid": 9, "side": 9}
    w.store.transact(lambda tx: tx.index.open_counts(), USER)
    assert indexed(w) == want
    with w.store.locked():
        w.store.drop_index()
    w.store.transact(lambda tx: tx.index.open_counts(), USER)
    assert indexed(w) == want


@pytest.mark.parametrize("seed", range(4))
def test_at_random(w: World, seed: int) -> None:
    """Tasks that are added, changed, tied, untied, finished, requeued: index and documents agree, also after a rebuild."""
    dice = random.Random(seed)
    known: list[str] = []
    for step in range(120):
        act = dice.choice(("add", "add", "priority", "tie", "tie", "untie", "finish", "cancel", "requeue"))
        one = dice.choice(known) if known else ""
        other = dice.choice(known) if known else ""
        try:
            if act == "add" or not known:
                after = dice.sample(known, min(len(known), dice.randrange(3)))
                known.append(w.add("a task", priority=dice.randrange(10), after=after))
            elif act == "priority":
                planning.update(w.store, USER, one, {"priority": dice.randrange(10)})
            elif act == "tie":
                planning.update(w.store, USER, one, {}, add_deps=[other])
            elif act == "untie":
                planning.update(w.store, USER, one, {}, rm_deps=w.doc(one)["depends_on"][:1])
            elif act == "finish":
                w.verb("done", ANN, w.claim(ANN)["task_id"])
            else:
                w.verb(act, USER, one)
        except Nothing:
            pass
        except MboxError as error:
            assert error.exit in (2, 5), error
        if step % 10 == 9:
            docs = ready.every(w.store)
            want = naive(docs)
            assert indexed(w) == want
            assert {ident: one.priority for ident, one in ready.urgencies(docs).items()} == want
    order = [row["task_id"] for row in ready.ready(w.store, "ann")]
    repair.rebuild(w.store)
    w.store.transact(lambda tx: tx.index.open_counts(), USER)
    assert indexed(w) == want
    found = w.store.transact(lambda tx: list(tx.index.candidates(["py", "gpu"], None, None, "ann")), USER)
    assert found == order


def test_a_circle_ends(w: World) -> None:
    """Only a hand can make one; the index is brought up to it all the same, and a drawing's answer is one and the same."""
    one, two = w.add("one", priority=3), w.add("two", priority=9)

    def decide(tx: object) -> None:
        for ident, dep in ((one, two), (two, one)):
            doc = {**w.doc(ident), "depends_on": [dep]}
            tx.put(doc, places.task(ident))  # type: ignore[attr-defined]
        tx.record("store.adopt", [one, two])  # type: ignore[attr-defined]

    w.store.transact(decide, USER)
    planning.update(w.store, USER, two, {"priority": 0})
    assert set(indexed(w)) == {one, two}
    assert graph.urgencies({"a": 3, "b": 9}, {"a": ["b"], "b": ["a"]})["a"] == (9, "b")
