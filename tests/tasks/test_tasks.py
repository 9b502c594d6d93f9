"""Tasks by promise: the transition table, leases and tokens, planning, what is ready, several at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kit import journaled, tree
from mbox.agents import registry
from mbox.errors import MboxError, NotFound, Nothing, NotYours, Refused, TimedOut, Usage
from mbox.format import documents, globs, places
from mbox.mail import inbox, sending
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store import transaction
from mbox.store.store import Actor, Store, Transaction
from mbox.tasks import batches, claims, lifecycle, notes, planfile, planning, ready, reviews
from mbox.tasks.beads import parse_beads
from mbox.tasks.drafts import TaskDraft
from taskkit import ANN, BOB, LEASE, RAE, USER, World, opened

Row = dict[str, Any]


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    """A store with ann, bob and rae."""
    world = World(tmp_path)
    yield world
    world.store.close()


# -- the transition table ----------------------------------------------------------------------------------------------

STATES = ("queued", "held", "claimed", "running", "review", "reviewing", "done", "failed", "deadletter", "cancelled")
VERBS = ("claim", "start", "done", "submit", "fail", "release", "review", "approve", "reject", "requeue", "cancel")
ACTORS = {"ann": ANN, "bob": BOB, "rae": RAE}


def bring(w: World, state: str) -> str:
    """A task in ``state``; its holder is, or was, ann, and its reviewer rae."""
    task_id = w.add("a task", "src/*.py")
    if state == "held":
        planning.update(w.store, USER, task_id, {"hold": "not yet"})
    elif state == "deadletter":
        for _ in range(3):
            w.claim(ANN, task_id)
            w.pass_time(LEASE + 1)
    elif state == "cancelled":
        w.verb("cancel", USER, task_id)
    elif state != "queued":
        w.claim(ANN, task_id)
        steps = {
            "running": [("start", ANN)],
            "review": [("submit", ANN)],
            "reviewing": [("submit", ANN), ("review", RAE)],
            "done": [("done", ANN)],
            "failed": [("fail", ANN)],
        }.get(state, [])
        for verb, who in steps:
            w.verb(verb, who, task_id)
    found = w.status(task_id)
    assert found == {"held": "queued", "reviewing": "review"}.get(state, state)
    return task_id


ALREADY = {
    ("claimed", "claim", "ann"), ("running", "claim", "ann"), ("running", "start", "ann"), ("done", "done", "ann"),
    ("review", "submit", "ann"), ("reviewing", "submit", "ann"), ("failed", "fail", "ann"),
    ("reviewing", "review", "rae"),
    *((state, "requeue", who) for state in ("queued", "held") for who in ACTORS),
    *(("cancelled", "cancel", who) for who in ACTORS),
}  # fmt: skip
"""What changes nothing and says so with exit 0."""


def outcome(state: str, verb: str, who: str) -> str:
    """The design's table: the status that ``verb`` by ``who`` leads to, "" where it is refused."""
    if verb in ("claim", "review") and (state, verb) in (("queued", "claim"), ("review", "review")):
        return "claimed" if verb == "claim" else "review" if who != "ann" else ""
    if verb in ("start", "done", "submit", "fail", "release"):
        if who != "ann" or state not in ("claimed", "running") or (state, verb) == ("running", "start"):
            return ""
        return {"start": "running", "done": "done", "submit": "review", "fail": "failed", "release": "queued"}[verb]
    if verb in ("approve", "reject") and state == "reviewing" and who == "rae":
        return "done" if verb == "approve" else "queued"
    if verb == "requeue" and state in ("failed", "deadletter", "cancelled"):
        return "queued"
    if verb == "cancel" and state not in ("done", "failed", "deadletter", "cancelled"):
        return "cancelled"
    return ""


@pytest.mark.parametrize("state", STATES)
def test_table(w: World, state: str, tmp_path: Path) -> None:
    """Every verb by every agent leads from this state where the table says, or is refused and changes nothing."""
    for verb, (name, who) in product(VERBS, ACTORS.items()):
        task_id = bring(w, state)
        before, count, doc = tree(tmp_path), w.records(), w.doc(task_id)
        wanted = outcome(state, verb, name)
        told = f"{state} {verb} {name}"
        if wanted:
            answer = w.verb(verb, who, task_id)
            assert (w.status(task_id), answer["status"]) == (wanted, wanted), told
            assert "already" not in answer, told
            assert w.records() == count + 1, told
            check_fields(w, doc, w.doc(task_id), verb, who)
        else:
            if (state, verb, name) in ALREADY:
                assert w.verb(verb, who, task_id)["already"] is True, told
            else:
                assert w.exit_of(verb, who, task_id) in (1, 2, 5), told
                if verb in ("start", "done", "submit", "fail", "release", "approve", "reject"):
                    assert w.exit_of(verb, who, task_id) == 5, told
            assert tree(tmp_path) == before, told
            assert w.records() == count, told
        if w.status(task_id) not in documents.FINAL:
            w.verb("cancel", USER, task_id)
        assert w.reserved() == [], told


def check_fields(w: World, before: Row, after: Row, verb: str, who: Actor) -> None:
    """The columns of the table: attempts, round, owner, token, lease, reservations, reason."""
    ident = after["task_id"]
    leased = after["status"] in ("claimed", "running")
    assert w.is_leased(ident) == leased
    assert (after["token"] > 0) == (leased or verb == "review")
    assert bool(w.reserved()) == leased
    assert after["attempt_count"] == (0 if verb == "requeue" else before["attempt_count"])
    assert after["round"] == before["round"] + (verb == "reject")
    assert (after["finished_at"] is not None) == (after["status"] in documents.FINAL)
    if after["status"] == "queued":
        assert (after["owner"], after["incarnation"], after["reviewer"]) == (None, 0, None)
    elif verb == "claim":
        assert (after["owner"], after["incarnation"]) == who.who
    else:
        assert (after["owner"], after["incarnation"]) == (before["owner"], before["incarnation"])
    said = {"fail": "too hard", "reject": "no tests", "cancel": "not wanted"}
    assert after["reason"] == said.get(verb, "" if after["status"] == "done" else before["reason"])


@pytest.mark.parametrize("verb", ["start", "done", "submit", "fail", "release", "renew"])
def test_token_must_match(w: World, verb: str) -> None:
    """With --token the token must be the lease's; without, name and incarnation are enough."""
    task_id = w.add()
    token = w.claim(ANN, task_id)["token"]
    assert w.exit_of(verb, ANN, task_id, token - 1) == 5
    assert w.status(task_id) == "claimed"
    assert w.verb(verb, ANN, task_id, token)["task_id"] == task_id
    if verb != "renew":
        assert w.verb(verb, ANN, task_id, token)["already"]
        assert w.exit_of(verb, ANN, task_id, token - 1) == 5


@pytest.mark.parametrize("verb", ["claim", "start", "done", "submit", "fail", "release", "review", "cancel", "requeue"])
def test_older_incarnation(w: World, verb: str, tmp_path: Path) -> None:
    """A process of an older incarnation changes nothing (exit 5), and a newer one does not hold what the older held."""
    task_id = bring(w, {"review": "review", "requeue": "failed"}.get(verb, "claimed"))
    registry.add(w.store, USER, "ann", {}, new=True)
    before = tree(tmp_path)
    assert w.exit_of(verb, ANN, task_id) == 5
    assert tree(tmp_path) == before
    if verb in ("claim", "start", "done", "submit", "fail", "release"):
        with pytest.raises(NotYours, match="older incarnation of you"):
            w.verb(verb, Actor("ann", 2), task_id)


def test_a_later_incarnation_is_called_one(w: World) -> None:
    """A store that went back, or a lost file, can leave a task to an incarnation that is yet to come: it is not called older."""
    task_id = w.add()
    w.claim(ANN, task_id)

    def decide(tx: Transaction) -> None:
        lifecycle.put(tx, {**lifecycle.find(tx, task_id), "incarnation": 2})
        tx.record("store.adopt", [task_id])

    w.store.transact(decide, USER)
    with pytest.raises(NotYours, match=r"a later incarnation of you \(2, you are 1\)"):
        w.verb("done", ANN, task_id)


@pytest.mark.parametrize("verb", ["start", "done", "submit", "fail", "release", "renew"])
def test_lost_lease(w: World, verb: str) -> None:
    """Whoever comes back after its lease ran out is refused, also when the task is another's by then."""
    task_id = w.add()
    w.claim(ANN, task_id)
    w.host.advance(LEASE + 1)
    assert w.exit_of(verb, ANN, task_id) == 5
    assert w.doc(task_id)["attempt_count"] == 1
    w.claim(BOB, task_id)
    assert w.exit_of(verb, ANN, task_id) == 5
    assert (w.status(task_id), w.doc(task_id)["owner"]) == ("claimed", "bob")


def test_lease_runs_out(w: World) -> None:
    """A lease that runs out costs an attempt and frees the paths; the last one makes a dead letter; each says why."""
    task_id = w.add("a task", "a.py", max_attempts=2)
    w.claim(ANN, task_id)
    w.pass_time(LEASE - 1)
    assert w.status(task_id) == "claimed"
    w.pass_time(2)
    doc = w.doc(task_id)
    assert (doc["status"], doc["attempt_count"], doc["owner"], doc["token"]) == ("queued", 1, None, 0)
    assert w.reserved() == []
    w.claim(BOB, task_id)
    w.pass_time(LEASE + 1)
    doc = w.doc(task_id)
    assert (doc["status"], doc["attempt_count"], doc["owner"]) == ("deadletter", 2, "bob")
    assert doc["finished_at"]
    record = [r for r in journaled(w.store) if r["op"] == "task.expire"][-1]
    assert (record["by"], record["on"], record["why"]) == ("sweep", [task_id], doc["reason"])
    assert "bob" in record["why"]
    w.verb("requeue", USER, task_id)
    assert w.doc(task_id)["attempt_count"] == 0


def test_every_command_renews(w: World) -> None:
    """A holder that does anything now and then keeps its lease; one that does nothing loses it."""
    mine, other = w.add(), w.add()
    w.claim(ANN, mine)
    w.claim(BOB, other)
    for _ in range(5):
        w.host.advance(LEASE * 0.8)
        notes.add(w.store, ANN, mine, "still here")
    assert w.status(mine) == "claimed"
    assert w.status(other) == "queued"


def test_renew_at_once(w: World) -> None:
    """`task renew` lets lease and reservation run from now, whatever is left of them, and journals nothing."""
    task_id = w.add("a task", "a.py")
    w.claim(ANN, task_id)
    w.host.advance(60)
    count = w.records()
    assert lifecycle.renew(w.store, ANN.trial(), task_id)["status"] == "claimed"
    lease = w.store.load_lease(places.task_lease(task_id))
    assert lease and lease.left(w.host) == LEASE - 60
    assert w.verb("renew", ANN, task_id)["left"] == "30m"
    short = w.add()
    w.claim(ANN, short, lease=60)
    assert w.verb("renew", ANN, short)["left"] == "60s", "what is left of its own lease, not of the usual one"
    count = w.records()
    for path in (places.task_lease(task_id), places.lease(w.reserved()[0])):
        lease = w.store.load_lease(path)
        assert lease and lease.left(w.host) == LEASE
    assert w.records() == count


def test_missing_lease(w: World, tmp_path: Path) -> None:
    """A claimed task whose lease file is gone counts as leased for the default time from the first look."""
    task_id = w.add()
    token = w.claim(ANN, task_id, lease=60)["token"]
    (tmp_path / places.task_lease(task_id)).unlink()
    w.store.drop_index()
    w.pass_time(LEASE / 2)
    assert w.status(task_id) == "claimed"
    assert w.exit_of("claim", BOB, task_id) == 5
    w.pass_time(LEASE * 0.8)
    assert w.status(task_id) == "claimed"
    w.pass_time(LEASE)
    assert w.status(task_id) == "queued"
    w.claim(ANN, task_id)
    (tmp_path / places.task_lease(task_id)).unlink()
    assert w.exit_of("done", ANN, task_id, token) == 5
    assert w.verb("done", ANN, task_id)["status"] == "done"


def test_void_lease(w: World) -> None:
    """A lease file with another token than the document's is void: it neither holds the task nor ends it."""
    task_id = w.add()
    w.claim(ANN, task_id)
    lease = w.store.load_lease(places.task_lease(task_id))
    assert lease
    w.store.write_lease(places.task_lease(task_id), lease._replace(token=lease.token - 1, mono_until=0.0))
    assert w.exit_of("done", ANN, task_id) == 5
    w.store.drop_index()
    w.pass_time(1)
    assert w.verb("done", ANN, task_id)["status"] == "done"


def test_void_lease_with_time_left(w: World) -> None:
    """A lease under an older token holds nothing, however long it runs; when it comes due the attempt is not over."""
    task_id = w.add()
    w.claim(ANN, task_id)
    path = places.task_lease(task_id)
    lease = w.store.load_lease(path)
    assert lease
    w.store.write_lease(path, lease._replace(token=lease.token - 1))
    w.store.drop_index()
    for verb in ("start", "done", "release", "claim"):
        assert w.exit_of(verb, ANN, task_id) == 5, verb
    w.pass_time(LEASE + 1)
    found = w.store.load_lease(path)
    assert found and (found.token, found.holder, round(found.left(w.host))) == (lease.token, "ann", LEASE)
    assert (w.status(task_id), w.doc(task_id)["attempt_count"]) == ("claimed", 0)
    assert w.verb("done", ANN, task_id)["status"] == "done"


def test_void_review_lease(w: World) -> None:
    """The same for the reviewer's: under an older token it holds nothing, and its end ends no review."""
    task_id = w.add()
    w.claim(ANN, task_id)
    w.verb("submit", ANN, task_id)
    w.verb("review", RAE, task_id)
    path = places.review_lease(task_id)
    lease = w.store.load_lease(path)
    assert lease
    w.store.write_lease(path, lease._replace(token=lease.token - 1))
    w.store.drop_index()
    assert w.exit_of("approve", RAE, task_id) == 5
    w.pass_time(LEASE + 1)
    found = w.store.load_lease(path)
    assert found and (found.token, found.holder) == (lease.token, "rae")
    assert w.verb("approve", RAE, task_id)["status"] == "done"


def test_the_holder_claims_again_without_queueing(w: World) -> None:
    """A claim that would wait and is the holder's own already is answered at once: it stands in no line for itself."""
    task_id = w.add("a task", "src/**")
    token = w.claim(ANN, task_id)["token"]
    stood: list[tuple[str, list[str]]] = []
    wish = claims.ClaimRequest()
    for given in (None, token):
        again = claims.claim_id(w.store, ANN, task_id, wish, given, lambda tx, paths: stood.append((tx.actor.name, paths)))
        assert (again["token"], again["already"], stood) == (token, True, [])
    with pytest.raises(NotYours):
        claims.claim_id(w.store, BOB, task_id, wish, None, lambda tx, paths: stood.append((tx.actor.name, paths)))
    assert stood == [("bob", ["src/**"])]


def test_cancelled_holder_is_told(w: World) -> None:
    """The holder of a cancelled task gets exit 5 with the reason at its next command."""
    task_id = w.add()
    w.claim(ANN, task_id)
    w.verb("cancel", BOB, task_id)
    for verb in ("renew", "done", "release"):
        with pytest.raises(NotYours, match="cancelled: not wanted"):
            w.verb(verb, ANN, task_id)


# -- claims ------------------------------------------------------------------------------------------------------------


def test_claim_by_priority_then_age(w: World) -> None:
    """The highest priority is first, then the oldest, across stages and capabilities."""
    low, old, new, high = (
        w.add("low", priority=1), w.add("old", stage="impl"), w.add("new", requires=("gpu",)), w.add("x", priority=9),
    )  # fmt: skip
    assert [w.claim(ANN)["task_id"] for _ in range(4)] == [high, old, new, low]


def test_same_age(w: World) -> None:
    """Tasks of one microsecond go by number, as people count."""
    made = [w.add(f"{n}") for n in range(12)]
    assert [row["task_id"] for row in ready.ready(w.store)] == made
    assert [w.claim(ANN)["task_id"] for _ in made] == made


def test_claim_what_one_can(w: World) -> None:
    """Stage, label and capability narrow what a claim finds; nothing left is exit 1 with the counts."""
    gpu, impl, labelled = w.add("gpu", requires=("gpu",)), w.add("b", stage="impl"), w.add("c", labels=("ui",))
    assert w.claim(BOB, stage="impl")["task_id"] == impl
    assert w.claim(BOB, label="ui")["task_id"] == labelled
    with pytest.raises(Nothing, match="2 in work, 1 incapable"):
        w.claim(BOB)
    assert w.claim(ANN)["task_id"] == gpu


def test_claim_says_what_does_not_fit(w: World) -> None:
    """Ready tasks of another stage or label are counted as such, with theirs; a stage that no task has is named."""
    w.add("a", stage="design", labels=("ui",))
    impl = w.add("b", stage="impl")
    w.add("c", stage="test", after=[impl])

    def said(**wish: Any) -> str:
        with pytest.raises(Nothing) as none:
            w.claim(BOB, **wish)
        return str(none.value)

    assert said(stage="nope") == "nothing ready: no task has stage 'nope'; stages are design, impl, test"
    assert said(label="nope") == "nothing ready: no task has label 'nope'; labels are ui"
    assert said(stage="test") == "nothing ready: 2 ready do not fit (stage design, impl), 1 waiting"
    assert said(stage="impl", label="ui") == "nothing ready: 2 ready do not fit (stage design), 1 waiting"
    w.claim(BOB, stage="impl")
    assert said(stage="impl") == "nothing ready: 1 ready does not fit (stage design), 1 in work, 1 waiting"
    w.claim(BOB, stage="design")
    w.verb("submit", BOB, impl)
    w.verb("cancel", USER, impl)
    assert said(stage="impl") == "nothing ready: 1 in work, 1 blocked", "a stage that a final task has is no mistake"


def test_claim_counts_as_explain_does(w: World) -> None:
    """The refusal of a claim has the words and numbers of `ready --explain`; a task in review is in work."""
    for state in ("claimed", "running", "review", "held", "done"):
        w.add("waits", after=[bring(w, state)])
    w.add("gpu", requires=("gpu",))
    while True:
        try:
            w.claim(BOB)
        except Nothing as error:
            said = str(error)
            break
    rows = ready.explain(w.store, "bob")
    assert said == "nothing ready: " + ", ".join(f"{row['count']} {row['reason']}" for row in rows)
    with pytest.raises(Nothing, match="no task is open"):
        batches.cancel(w.store, USER, where=batches.TaskFilter())
        w.claim(BOB)


def test_many_open_tasks_are_counted_and_not_looked_at(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that asks again and again does not read ten thousand documents each time."""
    first = w.add("first")
    for name in ("second", "third"):
        w.add(name, depends_on=[first])
    w.claim(ANN)
    monkeypatch.setattr(claims, "LOOKED", 2)
    monkeypatch.setattr(ready, "why_none", None)
    with pytest.raises(Nothing, match=r"^nothing ready: 1 in work, 2 queued; `task ready --explain` says why$"):
        w.claim(BOB)



def test_why_a_task_is_not_yours(w: World) -> None:
    """Never claimed is not lost; a token that never was is not an older one; in review says what is next."""
    task_id = w.add()
    with pytest.raises(NotYours, match=f"{task_id} is queued: you have not claimed it; `task claim {task_id}`"):
        w.verb("done", BOB, task_id)
    old = w.claim(BOB, task_id)["token"]
    for never in (old - 1, 999):
        with pytest.raises(NotYours, match=f"token {never} is not its lease's; use the one that the claim printed"):
            w.verb("done", BOB, task_id, never)
    w.verb("release", BOB, task_id)
    with pytest.raises(NotYours, match="you hold it no longer"):
        w.verb("submit", BOB, task_id)
    with pytest.raises(NotYours, match="you have not claimed it"):
        w.verb("submit", ANN, task_id)
    token = w.claim(BOB, task_id)["token"]
    with pytest.raises(NotYours, match=f"token {old} is not its lease's; it was taken again since"):
        w.verb("done", BOB, task_id, old)
    w.verb("submit", BOB, task_id, token)
    with pytest.raises(NotYours, match=f"in review; somebody else than bob takes that: `task review {task_id}`"):
        w.verb("done", BOB, task_id)
    w.verb("review", RAE, task_id)
    with pytest.raises(NotYours, match="in review; rae approves or rejects it"):
        w.verb("done", BOB, task_id)
    with pytest.raises(NotYours, match=f"in review, by you; `task approve {task_id}`"):
        w.verb("done", RAE, task_id)


def test_claim_takes_all_at_once(w: World) -> None:
    """Owner, token, lease and reservation come in one record; the answer has what the claimer needs."""
    task_id = w.add("Parse", "src/*.py", stage="impl", description="do it")
    count = w.records()
    answer = w.claim(ANN, start=True)
    assert w.records() == count + 1
    record = w.last()
    assert record["op"] == "task.claim"
    assert record["on"] == [task_id, answer["reservation_id"]]
    assert {path for path, _ in record["lease"]} == {
        places.task_lease(task_id), places.lease(answer["reservation_id"])
    }  # fmt: skip
    assert answer["token"] == record["seq"] == w.doc(task_id)["token"]
    assert (answer["title"], answer["description"], answer["left"]) == ("Parse", "do it", "30m")
    assert w.status(task_id) == "running"
    held = w.store.read(places.reservation(answer["reservation_id"]))
    assert held
    assert (held["agent"], held["patterns"], held["task_id"]) == ("ann", ["src/*.py"], task_id)


def test_no_reserve(w: World) -> None:
    """--no-reserve takes no reservation, and is still kept out by somebody else's."""
    w.add("a", "a.py")
    w.claim(ANN, reserve=False)
    assert w.reserved() == []
    other = w.add("b", "b.py")
    reserving.reserve(w.store, BOB, ReservationRequest(["b.py"], 600))
    with pytest.raises(Nothing):
        w.claim(ANN, reserve=False)
    assert w.exit_of("claim", ANN, other) == 5


def test_claim_by_id(w: World) -> None:
    """`claim ID`: 3 unknown, 5 if it or its paths are held, 1 if a dependency, a capability or the state is missing."""
    first = w.add("first", "a.py")
    second = w.add("second", "a.py")
    third = w.add("third", after=[first])
    gpu = w.add("gpu", requires=("gpu",))
    held = bring(w, "held")
    done = bring(w, "done")
    with pytest.raises(NotFound, match=f"did you mean {first}"):
        w.claim(BOB, "x" + first[1:])
    with pytest.raises(NotFound, match="task list --all"):
        w.claim(BOB, "t" + first[1:] + "9")
    w.claim(ANN, first)
    with pytest.raises(NotYours, match=f"{first} is held by ann"):
        w.claim(BOB, first)
    with pytest.raises(NotYours, match=r"of ann .*a\.py.*task claim"):
        w.claim(BOB, second)
    for task_id, why in ((third, f"depends on {first}"), (gpu, "gpu"), (held, "on hold: not yet"), (done, "is done")):
        with pytest.raises(Nothing, match=why):
            w.claim(BOB, task_id)


def test_claim_again(w: World) -> None:
    """The live holder gets the same token again; where it had an earlier one, only with --token."""
    task_id = w.add("a task", "a.py")
    first = w.claim(ANN, task_id)
    again = w.claim(ANN, task_id)
    assert again == {**first, "already": True}
    w.pass_time(LEASE + 1)
    second = w.claim(ANN, task_id)["token"]
    assert second > first["token"]
    for _ in range(2):
        assert w.exit_of("claim", ANN, task_id) == 2
        assert w.exit_of("claim", ANN, task_id, first["token"]) == 5
        assert w.verb("claim", ANN, task_id, second)["token"] == second
        w.store.drop_index()  # the second time from the journal


def test_reclaimed_task_shows_what_was_left(w: World) -> None:
    """Who takes a task over sees the last note or checkpoint, the attempts and the reason."""
    task_id = w.add()
    w.claim(ANN, task_id)
    notes.checkpoint(w.store, ANN, task_id, {"step": 3})
    w.pass_time(LEASE + 1)
    answer = w.claim(BOB)
    assert answer["attempt_count"] == 1
    assert answer["last_note"]["state"] == {"step": 3}


def test_more_expired_than_a_command_sweeps(w: World) -> None:
    """A claim goes on sweeping until it finds what it asks for, or there is nothing more to sweep."""
    planning.import_drafts(w.store, USER, [TaskDraft(None, f"{n}") for n in range(150)])
    made = [row["task_id"] for row in ready.rows(w.store)]
    for n, task_id in enumerate(made):
        w.claim(BOB, task_id, lease=10 + n)
    w.host.advance(1000)
    assert w.claim(ANN, made[149])["task_id"] == made[149]
    w.host.advance(LEASE + 1)
    last = w.add("last", stage="late")
    for task_id in made[:100]:
        w.claim(BOB, task_id, lease=1)
    w.claim(BOB, last, lease=2)
    w.host.advance(3)
    assert w.claim(ANN, stage="late")["task_id"] == last


def test_dependencies(w: World) -> None:
    """A task is ready when every dependency is done; `done` and `approve` name what they freed."""
    first, second = w.add("first"), w.add("second")
    both, held = w.add("both", after=[first, second]), w.add("held", after=[first])
    planning.update(w.store, USER, held, {"hold": "not yet"})
    w.claim(ANN, first)
    w.claim(BOB, second)
    with pytest.raises(Nothing):
        w.claim(ANN)
    assert w.verb("done", ANN, first)["unblocked"] == []
    w.verb("submit", BOB, second)
    w.verb("review", RAE, second)
    assert w.verb("approve", RAE, second)["unblocked"] == [both]
    assert w.claim(ANN)["task_id"] == both


@pytest.mark.parametrize("end", ["failed", "deadletter", "cancelled"])
def test_dead_dependency_blocks(w: World, end: str) -> None:
    """A dependency that ends failed, dead or cancelled blocks its dependents, and the explanation says so."""
    first = bring(w, end)
    second = w.add("second", after=[first])
    with pytest.raises(Nothing, match=r"nothing ready: 1 blocked$"):
        w.claim(ANN)
    assert w.exit_of("claim", ANN, second) == 1
    rows = {row["reason"]: row for row in ready.explain(w.store)}
    assert rows["blocked"]["examples"] == [f"{second}: depends on {first} ({end})"]
    w.verb("requeue", USER, first)
    w.claim(BOB, first)
    w.verb("done", BOB, first)
    assert w.claim(ANN)["task_id"] == second


def test_a_file_that_says_otherwise_than_the_journal_is_not_believed(w: World, tmp_path: Path) -> None:
    """What the toolkit keeps comes from the journal: the file is put back, and what stood there is kept."""
    first, second = w.add("first"), w.add("second")
    path = tmp_path / places.task(first)
    before = path.read_text()
    path.write_text(before.replace('"hold": ""', '"hold": "by hand"'))
    assert w.claim(ANN)["task_id"] == first
    (kept,) = (tmp_path / places.ASIDE).iterdir()
    assert "by hand" in kept.read_text() and "by hand" not in path.read_text()
    path.write_text(before)
    assert w.claim(BOB)["task_id"] == second and w.exit_of("claim", BOB, first) == 5


# -- parked tasks ------------------------------------------------------------------------------------------------------


def count_reads(w: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that are read from now on."""
    found: list[str] = []
    load = type(w.store).load

    def counting(self: Any, path: str) -> Any:
        if path.startswith(places.TASKS):
            found.append(path)
        return load(self, path)

    monkeypatch.setattr(type(w.store), "load", counting)
    return found


def test_parked_tasks(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks under somebody's reservation are looked at once, not at every claim, and are free when it ends."""
    planning.import_drafts(w.store, USER, [TaskDraft(None, f"task {n}", touched_paths=(f"src/{n}.py",)) for n in range(40)])
    free = w.add("free", priority=0)
    rid = reserving.reserve(w.store, BOB, ReservationRequest(["src"], 600))["reservation_id"]
    reads = count_reads(w, monkeypatch)
    assert w.claim(ANN)["task_id"] == free
    assert len(set(reads)) >= 41
    w.verb("release", ANN, free)
    reads.clear()
    assert w.claim(ANN)["task_id"] == free
    assert len(set(reads)) < 4
    reserving.release(w.store, BOB, [rid], [])
    assert w.claim(ANN)["title"] == "task 0"


def test_holder_claims_what_it_parked(w: World) -> None:
    """Who holds the reservation can claim the tasks that are parked under it, in their order."""
    w.add("one", "src/1.py"), w.add("two", "src/2.py", priority=7)
    reserving.reserve(w.store, BOB, ReservationRequest(["src"], 600))
    with pytest.raises(Nothing):
        w.claim(ANN)
    assert w.claim(BOB)["title"] == "two"
    assert w.claim(BOB)["title"] == "one"


def test_parked_until_expiry(w: World) -> None:
    """Parked tasks are free when the reservation's lease runs out, when a task ends it, and when their paths change."""
    one, two = w.add("one", "src/1.py"), w.add("two", "src/1.py")
    reserving.reserve(w.store, BOB, ReservationRequest(["src"], 600))
    with pytest.raises(Nothing):
        w.claim(ANN)
    planning.update(w.store, USER, two, {"touched_paths": ["lib/1.py"]})
    assert w.claim(ANN)["task_id"] == two
    with pytest.raises(Nothing):
        w.claim(ANN)
    w.host.advance(601)
    assert w.claim(ANN)["task_id"] == one


def test_parked_under_what_shrinks(w: World) -> None:
    """Tasks parked under a reservation are free when it gives their paths back and keeps others."""
    one = w.add("one", "src/1.py")
    reserving.reserve(w.store, BOB, ReservationRequest(["src", "lib"], 600))
    with pytest.raises(Nothing):
        w.claim(ANN)
    reserving.release(w.store, BOB, [], ["src"])
    assert len(w.reserved()) == 1
    assert w.claim(ANN)["task_id"] == one


def test_parked_under_a_task(w: World) -> None:
    """A task parked under another task's reservation is free when that task is done."""
    one, two = w.add("one", "a.py"), w.add("two", "a.py")
    w.claim(ANN, one)
    with pytest.raises(Nothing):
        w.claim(BOB)
    w.verb("done", ANN, one)
    assert w.claim(BOB)["task_id"] == two


def test_many_parked(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More parked tasks than one transaction looks at: the search goes on in the next, and finds what is behind."""
    monkeypatch.setattr(claims, "PARKED", 8)
    planning.import_drafts(w.store, USER, [TaskDraft(None, f"task {n}", touched_paths=("src/a.py",)) for n in range(30)])
    free = w.add("free", priority=0)
    reserving.reserve(w.store, BOB, ReservationRequest(["src"], 600))
    assert claims.claim(w.store, ANN.trial(), claims.ClaimRequest())["task_id"] == free
    assert w.claim(ANN)["task_id"] == free
    with pytest.raises(Nothing, match="1 in work, 30 reserved"):
        w.claim(ANN)


# -- what very many may cost --------------------------------------------------------------------------------------------


def test_a_search_gives_up_the_lock_when_its_steps_are_spent(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that are hard to tell from what is reserved are parked over several decisions; an honest one is found exactly."""
    hard = "{*a*b,*c*d}" + "{*a?,*b?}" * 4 + "*a?[b-d]" * 12
    reserving.reserve(w.store, BOB, ReservationRequest([f"{hard}{n}x" for n in range(4)], 600))
    for n in range(5):
        w.add("hard", f"{hard}{n}y")
    free = w.add("free", "src/a.py", priority=0)
    monkeypatch.setattr(globs.Effort, "__init__", with_steps(20_000))
    tries = count_decisions(w.store, monkeypatch)
    assert claims.claim(w.store, ANN.trial(), claims.ClaimRequest())["task_id"] == free
    assert w.claim(ANN)["task_id"] == free
    assert len(tries) > 4


def with_steps(steps: int) -> Callable[[globs.Effort], None]:
    """Efforts that have so many steps."""
    made = globs.Effort.__init__
    return lambda effort: made(effort, steps)


def count_decisions(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Actor]:
    """The actors of every decision from now on."""
    found, transact = list[Actor](), store.transact

    def counted(decide: Callable[[Transaction], Any], actor: Actor) -> Any:
        found.append(actor)
        return transact(decide, actor)

    monkeypatch.setattr(store, "transact", counted)
    return found


@pytest.mark.parametrize(
    ("bound", "drafts", "said"),
    [
        ("TASKS", [TaskDraft(f"x{n}", "t") for n in range(4)], "4 tasks, at most 3"),
        ("EDGES", [TaskDraft(f"x{n}", "t", depends_on=("a",)) for n in range(4)], "4 dependencies, at most 3"),
        ("DEPENDENCIES", [TaskDraft("x", "t", depends_on=tuple("abcd"))], "4 tasks, at most 3"),
    ],
)
def test_a_plan_beyond_the_bounds_is_refused_with_the_number(
    w: World, monkeypatch: pytest.MonkeyPatch, bound: str, drafts: list[TaskDraft], said: str
) -> None:
    """Tasks and dependencies of one plan, and of one task, are bounded, before the lock is taken."""
    w.add("a", id="a")
    monkeypatch.setattr(planning, bound, 3)
    tries = count_decisions(w.store, monkeypatch)
    with pytest.raises(Usage, match=said):
        planning.import_drafts(w.store, USER, drafts)
    assert not tries


def test_a_plan_reads_each_dependency_once(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks that depend on the same few cost a reading for each of these, not for each dependency."""
    deps = tuple(w.add("first") for _ in range(3))
    reads: list[str] = []
    plain = Transaction.status
    monkeypatch.setattr(Transaction, "status", lambda tx, task_id: (reads.append(task_id), plain(tx, task_id))[1])
    planning.import_drafts(w.store, USER, [TaskDraft(f"x{n}", "t", depends_on=deps) for n in range(20)])
    assert sorted(task_id for task_id in reads if task_id in deps) == sorted(deps)


def test_a_batch_ends_with_its_bytes(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tasks are changed over several records, every one of them."""
    ids = [w.add("large", description="x" * 1000) for _ in range(5)]
    monkeypatch.setattr(transaction, "LADEN", 8000)
    count = w.records()
    done = batches.cancel(w.store, USER, ["nothing", *ids])
    assert ([row["task_id"] for row in done.changed], len(done.errors)) == (ids, 1)
    assert w.records() == count + 3


# -- reviews -----------------------------------------------------------------------------------------------------------


def subjects(w: World, name: str) -> list[str]:
    """The subjects of what is unread for ``name``."""
    return [doc["subject"] for doc in w.store.documents(places.new_folder(name))]


def test_submit_to(w: World) -> None:
    """`submit --to` makes that agent the live reviewer and tells it, in one record; not oneself, nor a stranger."""
    task_id = w.add("Parse", "a.py")
    w.claim(ANN, task_id)
    with pytest.raises(Refused):
        lifecycle.submit(w.store, ANN, task_id, "ann")
    with pytest.raises(NotFound):
        lifecycle.submit(w.store, ANN, task_id, "ray")
    count = w.records()
    lifecycle.submit(w.store, ANN, task_id, "rae", result={"commit": "1f"})
    assert w.records() == count + 1
    assert subjects(w, "rae") == [f"review {task_id}: Parse"]
    assert w.reserved() == []
    assert w.exit_of("review", BOB, task_id) == 5
    assert w.verb("review", RAE, task_id)["already"]
    assert w.verb("approve", RAE, task_id)["status"] == "done"
    assert w.doc(task_id)["result"] == {"commit": "1f"}
    assert w.verb("approve", RAE, task_id)["already"]
    assert w.exit_of("reject", RAE, task_id) == 5


def test_a_claim_renews_what_was_kept(w: World) -> None:
    """`submit --keep`, reject, claim by the same owner: the reservation it has goes on, under its id, with the new lease."""
    task_id = w.add("a task", "src/*.py", "lib/**")
    rid = w.claim(ANN, task_id)["reservation_id"]
    for _ in range(3):
        lifecycle.submit(w.store, ANN, task_id, keep=True)
        w.pass_time(LEASE - 60)
        reviews.take(w.store, RAE, task_id)
        reviews.reject(w.store, RAE, task_id, "no tests")
        tried = claims.claim_id(w.store, ANN.trial(), task_id, claims.ClaimRequest())
        assert tried["reservation_id"] == rid
        assert w.claim(ANN)["reservation_id"] == rid
        assert w.store.names(places.RESERVATIONS) == [f"{rid}.json"]
        assert journaled(w.store)[-1]["on"] == [task_id, rid]
        lease = w.store.load_lease(places.lease(rid))
        assert lease and lease.left(w.store.host) > LEASE - 1
    w.verb("done", ANN, task_id)
    assert w.store.names(places.RESERVATIONS) == []


def test_a_claim_renews_only_what_is_enough(w: World) -> None:
    """Paths that came to the task since are reserved; what is another's, untied, shared or run out is left alone."""
    task_id = w.add("a task", "src/*.py")
    first = w.claim(ANN, task_id)["reservation_id"]
    lifecycle.submit(w.store, ANN, task_id, keep=True)
    planning.update(w.store, USER, task_id, {"touched_paths": ["src/*.py", "lib/**"]})
    reviews.take(w.store, RAE, task_id)
    reviews.reject(w.store, RAE, task_id, "no tests")
    second = w.claim(ANN, task_id)["reservation_id"]
    assert first != second
    other = w.add("another", "doc/**")
    own = reserving.reserve(w.store, ANN, ReservationRequest(["doc/**"], LEASE))["reservation_id"]
    assert w.claim(ANN, other)["reservation_id"] != own


def test_submit_keep(w: World) -> None:
    """`submit --keep` keeps the reservation through review and rejection; it ends with the task."""
    task_id = w.add("Parse", "a.py")
    w.claim(ANN, task_id)
    lifecycle.submit(w.store, ANN, task_id, keep=True)
    kept = w.reserved()
    assert kept
    w.verb("review", RAE, task_id)
    w.verb("reject", RAE, task_id)
    assert w.reserved() == kept
    w.claim(ANN, task_id)
    lifecycle.submit(w.store, ANN, task_id, keep=True)
    w.verb("review", RAE, task_id)
    w.verb("approve", RAE, task_id)
    assert w.reserved() == []


def test_reject(w: World) -> None:
    """A rejection is a round, not an attempt; its reason goes to the task and as mail to its owner, in one record."""
    task_id = bring(w, "reviewing")
    count = w.records()
    assert w.verb("reject", RAE, task_id)["round"] == 2
    assert w.records() == count + 1
    doc = w.doc(task_id)
    assert (doc["status"], doc["round"], doc["attempt_count"], doc["reason"]) == ("queued", 2, 0, "no tests")
    (letter,) = w.store.documents(places.new_folder("ann"))
    assert (letter["from"], letter["type"], letter["task_id"]) == ("rae", "review_result", task_id)
    assert letter["body"].startswith("no tests")
    assert w.verb("reject", RAE, task_id)["already"]
    answer = w.claim(ANN, task_id)
    assert (answer["round"], answer["reason"]) == (2, "no tests")


def test_reject_again_for_another_reason(w: World) -> None:
    """A repeated rejection changes nothing; that its reason was not kept is said, with the one that was."""
    said: list[str] = []
    w.store.say = said.append
    task_id = bring(w, "review")
    w.verb("review", RAE, task_id)
    w.verb("reject", RAE, task_id)
    assert w.verb("reject", RAE, task_id)["already"] is True
    assert said == []
    assert reviews.reject(w.store, RAE, task_id, "too slow")["already"] is True
    assert len(said) == 1
    assert f"{task_id} was rejected before, for 'no tests': this reason was not kept" in said[0]
    assert w.doc(task_id)["reason"] == "no tests"


def test_review_picks(w: World) -> None:
    """`task review` takes the first by priority, then age, that the caller did not do and nobody reviews."""
    low, high, own = w.add("low"), w.add("high", priority=8), w.add("own", priority=9)
    for who, task_id in ((ANN, low), (ANN, high), (RAE, own)):
        w.claim(who, task_id)
        w.verb("submit", who, task_id)
    from mbox.tasks import reviews

    assert reviews.take(w.store, RAE)["task_id"] == high
    assert reviews.take(w.store, RAE)["already"]
    assert reviews.take(w.store, BOB)["task_id"] == own
    w.verb("approve", RAE, high)
    assert reviews.take(w.store, RAE)["task_id"] == low
    with pytest.raises(Nothing):
        reviews.take(w.store, ANN)
    with pytest.raises(Refused):
        w.verb("review", ANN, low)


def test_review_runs_out(w: World) -> None:
    """A review whose lease runs out is anybody's again, costs no attempt, and its reviewer is told."""
    task_id = bring(w, "reviewing")
    w.pass_time(LEASE + 1)
    doc = w.doc(task_id)
    assert (doc["status"], doc["reviewer"], doc["token"], doc["attempt_count"]) == ("review", None, 0, 0)
    assert w.last()["op"] == "task.review-expire"
    assert w.exit_of("approve", RAE, task_id) == 5
    w.verb("review", BOB, task_id)
    assert w.exit_of("approve", RAE, task_id) == 5
    assert w.verb("approve", BOB, task_id)["status"] == "done"


def test_review_whose_lease_ran_out_is_taken_before_it_is_swept(w: World) -> None:
    """A decision judges the lease itself; a token that is not the review's is named as such."""
    task_id = w.add()
    w.claim(ANN, task_id)
    w.verb("submit", ANN, task_id)
    token = w.verb("review", RAE, task_id)["token"]
    with pytest.raises(NotYours, match=f"token {token + 1} is not its review's"):
        w.verb("approve", RAE, task_id, token + 1)
    assert w.exit_of("review", BOB, task_id) == 5
    w.store.sweep = None
    w.host.advance(LEASE + 1)
    with pytest.raises(NotYours, match=r"is not yours \(or ran out\)"):
        w.verb("approve", RAE, task_id, token)
    assert w.verb("review", BOB, task_id)["token"] > token


def test_review_lease_file_lost(w: World, tmp_path: Path) -> None:
    """A review whose lease file is gone has the default time from the first look."""
    task_id = bring(w, "reviewing")
    (tmp_path / places.review_lease(task_id)).unlink()
    w.store.drop_index()
    w.pass_time(LEASE / 2)
    assert w.doc(task_id)["reviewer"] == "rae"
    w.pass_time(LEASE + 1)
    assert w.doc(task_id)["reviewer"] is None


def test_reviewer_in_new_incarnation(w: World) -> None:
    """What an older incarnation of the reviewer was asked, the new one can take; nobody else can."""
    task_id = w.add()
    w.claim(ANN, task_id)
    lifecycle.submit(w.store, ANN, task_id, "rae")
    registry.add(w.store, USER, "rae", {}, new=True)
    newer = Actor("rae", 2)
    assert w.exit_of("approve", newer, task_id) == 5
    assert w.exit_of("review", BOB, task_id) == 5
    w.verb("review", newer, task_id)
    assert w.verb("approve", newer, task_id)["status"] == "done"


# -- require_reservation -----------------------------------------------------------------------------------------------


def test_require_reservation(tmp_path: Path) -> None:
    """Tasks of a stage in require_reservation are started and done only under a live reservation of their paths."""
    w = World(tmp_path, "require_reservation: [impl]\n")
    task_id, bare = w.add("a", "a.py", stage="impl"), w.add("b", stage="impl")
    plain = w.add("c", "c.py", stage="plan")
    w.claim(ANN, task_id, reserve=False)
    with pytest.raises(Refused, match=r"reserve --task .* 'a\.py'"):
        w.verb("start", ANN, task_id)
    reserving.reserve(w.store, ANN, ReservationRequest(["*.py"], 60))
    assert w.verb("start", ANN, task_id)["status"] == "running"
    w.host.advance(61)
    assert w.exit_of("done", ANN, task_id) == 2
    assert w.exit_of("fail", ANN, task_id) == 0
    w.claim(ANN, plain, reserve=False)
    assert w.verb("start", ANN, plain)["status"] == "running"
    w.claim(BOB, bare)
    assert w.exit_of("start", BOB, bare) == 2
    reserving.reserve(w.store, BOB, ReservationRequest(["x.py"], 600, task_id=bare))
    assert w.verb("done", BOB, bare)["status"] == "done"
    again = w.add("d", "d.py", stage="impl")
    with pytest.raises(Refused):
        w.claim(BOB, again, reserve=False, start=True)
    assert w.claim(BOB, again, start=True)["status"] == "running"
    w.store.close()


# -- planning ----------------------------------------------------------------------------------------------------------


def test_add_key(w: World) -> None:
    """The same key and content is the same task; other content is refused; another caller's key is another key."""
    draft = TaskDraft(None, "Nightly", labels=("cron",))
    made = planning.add(w.store, ANN, draft, "k1")
    again = planning.add(w.store, ANN, draft, "k1")
    assert again == {**made, "already": True}
    with pytest.raises(Usage, match=made["task_id"]):
        planning.add(w.store, ANN, draft._replace(priority=6), "k1")
    assert planning.add(w.store, BOB, draft, "k1")["task_id"] != made["task_id"]
    w.store.drop_index()
    assert planning.add(w.store, ANN, draft, "k1")["already"]
    w.host.advance(31 * 86400)
    assert "already" not in planning.add(w.store, ANN, draft, "k1")


def test_add_refuses(w: World, tmp_path: Path) -> None:
    """An id that is taken, a dependency that is nowhere or itself, and a bad pattern are refused; nothing changes."""
    w.add("first", id="first")
    before = tree(tmp_path)
    for fields, error, why in (
        ({"id": "first"}, Usage, "there already"),
        ({"after": ["firts"]}, NotFound, "did you mean first"),
        ({"id": "self", "after": ["self"]}, Refused, "itself"),
    ):
        with pytest.raises(error, match=why):
            w.add("x", **fields)
    with pytest.raises(Usage):
        w.add("x", "a//b")
    assert tree(tmp_path) == before


PLAN = """
tasks:
  - {id: parse, title: Write the parser, touched_paths: [src/parser.py], stage: impl, priority: 7}
  - {title: Test it, depends_on: [parse, docs], requires: [py]}
  - {id: docs, title: Write it up, labels: [text], max_attempts: 1, payload: {words: 300}}
"""


def drafts(text: str = PLAN) -> list[TaskDraft]:
    """The drafts of a plan."""
    return planfile.parse_plan(text.encode(), "plan.yaml")


def test_import_plan(w: World) -> None:
    """A plan is imported in one record, with a number for each task, and age follows the file."""
    count, seq = w.records(), w.last()["seq"]
    answer = planning.import_drafts(w.store, USER, drafts())
    assert w.records() == count + 1
    assert w.last()["seq"] == seq + 3
    assert answer["task_ids"] == ["parse", f"t{seq + 2}", "docs"]
    assert (answer["imported"], answer["ready"]) == (3, 2)
    docs = [w.doc(task_id) for task_id in answer["task_ids"]]
    ages = [doc["created_at"] for doc in docs]
    assert ages == sorted(set(ages))
    assert [doc["max_attempts"] for doc in docs] == [3, 3, 1]
    assert docs[1]["depends_on"] == ["parse", "docs"]
    assert docs[2]["payload"] == {"words": 300}


def test_import_in_file_order(w: World) -> None:
    """A thousand tasks of one import are claimed in the order of the file."""
    planning.import_drafts(w.store, USER, [TaskDraft(None, f"{n}") for n in range(1000)])
    docs = ready.by_rank(ready.every(w.store).values())
    assert [doc["title"] for doc in docs] == [str(n) for n in range(1000)]
    assert [w.claim(ANN)["title"] for _ in range(12)] == [str(n) for n in range(12)]


def test_import_is_all_or_nothing(w: World, tmp_path: Path) -> None:
    """One task that is wrong, there already, or depends on nothing known, and none is imported."""
    w.add("there", id="docs")
    before = tree(tmp_path)
    with pytest.raises(Usage, match=r"task 3: task docs is there already; --skip-existing passes it over"):
        planning.import_drafts(w.store, USER, drafts())
    with pytest.raises(Usage, match=r"task 2: depends on pars.*did you mean parse"):
        planning.import_drafts(w.store, USER, drafts(PLAN.replace("[parse, docs]", "[pars]")), skip_existing=True)
    with pytest.raises(Usage, match="touched_paths"):
        planning.import_drafts(w.store, USER, drafts(PLAN.replace("src/parser.py", "a//b")), skip_existing=True)
    assert tree(tmp_path) == before
    answer = planning.import_drafts(w.store, USER, drafts(), skip_existing=True)
    assert (answer["imported"], answer["skipped"]) == (2, 1)
    with pytest.raises(Usage, match=r"task 1: task parse and 1 more are there already; --skip-existing passes them"):
        planning.import_drafts(w.store, USER, drafts())
    answer = planning.import_drafts(w.store, USER, drafts("tasks: [{id: parse, title: x}]"), skip_existing=True)
    assert (answer["imported"], answer["skipped"]) == (0, 1)


def test_import_cycle(w: World) -> None:
    """A cycle is refused with its members named; --drop-cycles drops what closes it and says so."""
    text = PLAN.replace("labels: [text]", "depends_on: [parse]").replace("stage: impl", "depends_on: [docs]")
    with pytest.raises(Refused, match=r"plan.yaml: task \d is in a cycle: docs → parse → docs"):
        planning.import_drafts(w.store, USER, drafts(text))
    assert w.records() == len(journaled(w.store))
    answer = planning.import_drafts(w.store, USER, drafts(text), drop_cycles=True)
    assert len(answer["dropped"]) == 1
    assert answer["ready"] == 1


def test_update(w: World) -> None:
    """Fields and dependencies change in one record; nothing to change is `already`; final tasks are refused."""
    first, second = w.add("first"), w.add("second")
    answer = planning.update(w.store, USER, second, {"title": "2nd", "priority": 7}, [first])
    assert answer["changed"] == ["title", "depends_on", "priority"]
    assert planning.update(w.store, USER, second, {"title": "2nd"}, [first])["already"]
    assert w.claim(ANN)["task_id"] == first
    planning.update(w.store, USER, second, {}, [], [first])
    assert w.claim(BOB)["task_id"] == second
    w.verb("done", ANN, first)
    with pytest.raises(Refused, match="is done"):
        planning.update(w.store, USER, first, {"title": "x"})


def test_update_hold(w: World) -> None:
    """A held task is not claimed; --no-hold lets it go."""
    task_id = w.add()
    planning.update(w.store, USER, task_id, {"hold": "the vendor"})
    with pytest.raises(Nothing):
        w.claim(ANN)
    planning.update(w.store, USER, task_id, {"hold": ""})
    assert w.claim(ANN)["task_id"] == task_id


def test_a_dependency_added_under_a_claim(w: World) -> None:
    """Its holder is told by mail in the same record, `show` says what it waits for, and so does `done`."""
    told: list[str] = []
    w.store.say = told.append
    task_id, met, dep = w.add("mine"), w.add("met"), w.add("first")
    w.claim(BOB, met)
    w.verb("done", BOB, met)
    w.claim(ANN, task_id)
    assert not planning.update(w.store, USER, task_id, {}, [met])["msg_id"]
    count = w.records()
    answer = planning.update(w.store, USER, task_id, {}, [dep])
    assert w.records() == count + 1
    (mail,) = inbox.unread(w.store, "ann")
    assert mail["msg_id"] == answer["msg_id"]
    assert (mail["type"], mail["task_id"], mail["from"]) == ("task_update", task_id, "system")
    assert dep in mail["subject"] and "queued" in mail["subject"]
    assert ready.show(w.store, task_id, 0)["waits_for"] == [f"depends on {dep} (queued)"]
    told.clear()
    done = lifecycle.done(w.store, ANN, task_id)
    assert (done["status"], done["waits_for"]) == ("done", [f"depends on {dep} (queued)"])
    assert len(told) == 1 and f"depends on {dep} (queued)" in told[0]


def test_a_dependency_that_the_holder_adds_itself(w: World) -> None:
    """Nobody writes to themselves; a review says it too."""
    task_id, dep = w.add("mine"), w.add("first")
    w.claim(ANN, task_id)
    assert not planning.update(w.store, ANN, task_id, {}, [dep])["msg_id"]
    assert inbox.unread(w.store, "ann") == []
    assert lifecycle.submit(w.store, ANN, task_id)["waits_for"] == [f"depends on {dep} (queued)"]
    w.verb("review", RAE, task_id)
    assert ready.show(w.store, task_id, 0)["waits_for"] == [f"depends on {dep} (queued)"]
    assert w.verb("approve", RAE, task_id)["waits_for"] == [f"depends on {dep} (queued)"]


@pytest.mark.parametrize("other", [None, 5, 6, 7])
def test_done_and_next_tried(w: World, other: int | None) -> None:
    """What `task done --next --dry-run` says is what it then does: what it frees, by urgency; ids and tokens too."""
    mine = w.add("mine", "src/**")
    w.claim(ANN, mine)
    if other is not None:
        w.add("after", "src/a.py", after=[mine], priority=6)
        w.add("other", priority=other)
    tried = claims.done_and_next(w.store, ANN.trial(), mine)
    assert w.status(mine) == "claimed"
    done = claims.done_and_next(w.store, ANN, mine)
    if other is None:
        assert [str(one[1]) for one in (tried, done)] == ["nothing ready", "nothing ready: no task is open"]
        return
    assert tried == done
    assert isinstance(done[1], dict) and done[1]["title"] == ("other" if other == 7 else "after")


def test_update_cycle(w: World, tmp_path: Path) -> None:
    """A dependency that would close a cycle is refused with the cycle named; so is one that is nowhere."""
    a = w.add("a", id="a")
    b = w.add("b", id="b", after=[a])
    w.add("c", id="c", after=[b])
    before = tree(tmp_path)
    with pytest.raises(Refused, match="a → c → b → a"):
        planning.update(w.store, USER, a, {}, ["c"])
    with pytest.raises(Refused, match="itself"):
        planning.update(w.store, USER, a, {}, ["a"])
    with pytest.raises(NotFound):
        planning.update(w.store, USER, a, {}, ["zz"])
    assert tree(tmp_path) == before


def test_beads(w: World, shared_data: Path) -> None:
    """Real issue files: counts, ready set and the cycle are as their index says."""
    expected = {
        "beads_2026-01-14_3003.jsonl": (3003, 132, 2664), "beads_rust_2026-01-28_513.jsonl": (513, 8, 495),
        "vscode-beads_2025-11-29_63.jsonl": (63, 30, 29), "beads_viewer_2025-11-27_39.jsonl": (39, 9, 24),
    }  # fmt: skip
    for name, (count, open_ready, done) in expected.items():
        found = parse_beads((shared_data / "beads" / name).read_bytes(), name)
        answer = planning.import_drafts(w.store, USER, found, hold_missing=True)
        assert (answer["imported"], answer["ready"], answer["done"]) == (count, open_ready, done), name
        ids = {draft.id for draft in found}
        assert len([row for row in ready.ready(w.store) if row["task_id"] in ids]) == open_ready, name


def test_beads_cycle(w: World, shared_data: Path) -> None:
    """The real file with a cycle is refused with its members named, and imported with --drop-cycles."""
    name = "agent-relay_2026-02-16_439_cycle.jsonl"
    found = parse_beads((shared_data / "beads" / name).read_bytes(), name)
    with pytest.raises(Refused, match="agent-relay-515") as refused:
        planning.import_drafts(w.store, USER, found, hold_missing=True)
    assert "agent-relay-520" in str(refused.value)
    answer = planning.import_drafts(w.store, USER, found, drop_cycles=True, hold_missing=True)
    assert answer["imported"] == 439
    assert answer["dropped"]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_list(w: World) -> None:
    """Rows by priority, then age, of tasks that are not final unless said, filtered."""
    done, low = bring(w, "done"), w.add("low", priority=1, stage="impl", labels=("ui",))
    high = w.add("high", priority=9)
    w.claim(ANN, high)
    assert [row["task_id"] for row in ready.rows(w.store)] == [high, low]
    assert list(ready.rows(w.store)[0]) == ["task_id", "status", "stage", "owner", "priority", "title"]
    assert [row["task_id"] for row in ready.rows(w.store, everything=True)] == [high, done, low]
    for wanted, filters in (([done], {"statuses": ["done", "failed"]}), ([high], {"owner": "ann"}),
                            ([low], {"stage": "impl"}), ([low], {"label": "ui"}), ([], {"label": "no"})):  # fmt: skip
        assert [row["task_id"] for row in ready.rows(w.store, **filters)] == wanted


def test_looking_changes_nothing(w: World, tmp_path: Path) -> None:
    """What only looks shows a lease that has run out as expired, and neither sweeps nor takes the lock."""
    task_id = bring(w, "claimed")
    w.add("b", "src/a.py")
    w.host.advance(LEASE + 1)
    count = w.records()
    inode = (tmp_path / places.LOCK).stat().st_mtime_ns
    assert ready.rows(w.store)[0]["expired"] is True
    assert ready.show(w.store, task_id, 3)["expired"] is True
    assert "run out" in ready.explain_one(w.store, task_id)["why"][0]
    ready.explain(w.store, "ann")
    ready.graph(w.store, "mermaid")
    assert w.records() == count
    assert (tmp_path / places.LOCK).stat().st_mtime_ns == inode
    assert w.status(task_id) == "claimed"


def test_explain(w: World) -> None:
    """Every reason is counted, with five examples at most; `--explain ID` names all that stand in the way."""
    claimed = w.add("claimed", "src/a.py")
    w.claim(ANN, claimed)
    waiting = [w.add("waiting", after=[claimed]) for _ in range(7)]
    held = bring(w, "held")
    dead = w.add("dead", after=[bring(w, "failed")])
    gpu, blocked, free = w.add("gpu", requires=("gpu",)), w.add("blocked", "src"), w.add("free")
    rows = {row["reason"]: row for row in ready.explain(w.store, "bob")}
    assert {reason: row["count"] for reason, row in rows.items()} == {
        "ready": 1, "in work": 1, "held": 1, "blocked": 1, "waiting": 7, "incapable": 1, "reserved": 1
    }  # fmt: skip
    assert len(rows["waiting"]["examples"]) == 5
    assert rows["ready"]["examples"] == [free]
    assert rows["held"]["examples"] == [f"{held}: on hold: not yet"]
    assert rows["blocked"]["examples"][0].startswith(f"{dead}: ")
    assert rows["incapable"]["examples"] == [f"{gpu}: bob cannot gpu"]
    assert "of ann" in rows["reserved"]["examples"][0]
    assert rows["reserved"]["examples"][0].startswith(f"{blocked}: r")
    assert [row["task_id"] for row in ready.ready(w.store, "bob")] == [free]
    assert {row["task_id"] for row in ready.ready(w.store, "ann")} == {free, gpu, blocked}
    planning.update(w.store, USER, waiting[0], {"hold": "h", "touched_paths": ["src/a.py"], "requires": ["gpu"]})
    one = ready.explain_one(w.store, waiting[0], "bob")
    assert one["ready"] is False
    assert len(one["why"]) == 4
    assert ready.explain_one(w.store, free)["ready"] is True
    with pytest.raises(NotFound):
        ready.explain_one(w.store, "t999")


def test_ready_is_what_claim_takes(w: World) -> None:
    """`ready` lists exactly what claims then take, in that order."""
    planning.import_drafts(w.store, USER, drafts())
    w.add("x", "src/parser.py"), w.add("y", priority=9, requires=("gpu",)), w.add("z", "**/*.md")
    reserving.reserve(w.store, BOB, ReservationRequest(["docs/**"], 600))
    listed = [row["task_id"] for row in ready.ready(w.store, "ann")]
    taken = []
    while True:
        try:
            taken.append(w.claim(ANN)["task_id"])
        except Nothing:
            break
    assert taken == listed


def test_standing_finds_every_conflict(w: World) -> None:
    """The look at reservations by prefix finds what comparing with every one finds."""
    from mbox.format import patterns

    texts = ["src", "src/a.py", "src/*.py", "*.py", "**/x.py", "src/b/c.py", "lib/**", "src0/a.py", "{src,lib}/q.py"]
    for text in texts:
        try:
            reserving.reserve(w.store, BOB, ReservationRequest([text], 600, shared=True))
        except MboxError as error:
            raise AssertionError(text) from error
    standing = ready.Standing(w.store, "ann")
    for text in [*texts, "src/b", "lib", "a.py", "docs/a.md", "src/zz/x.py", "x", "lib/q.py", "src0"]:
        wanted = patterns.parse(text)
        truth = any(patterns.intersect(wanted, patterns.parse(other)) for other in texts)
        assert (standing.blocker([text]) is not None) == truth, text


def test_show(w: World) -> None:
    """`show` has the document, the time left, what a queued task waits for, and the newest notes."""
    first = w.add("first")
    second = w.add("second", after=[first])
    assert ready.show(w.store, second, 3)["waits_for"] == [f"depends on {first} (queued)"]
    w.claim(ANN, first)
    for n in range(5):
        notes.add(w.store, BOB, first, f"note {n}")
    shown = ready.show(w.store, first, 2)
    assert shown["left"] == "30m"
    assert [note["text"] for note in shown["notes"]] == ["note 3", "note 4"]
    assert ready.show(w.store, first, 0)["notes"] == []


def test_graph(w: World) -> None:
    """The graph has the tasks that are not final, or all."""
    done = bring(w, "done")
    queued = w.add("queued", after=[done])
    assert queued in ready.graph(w.store, "text")
    assert f"] {done}" not in ready.graph(w.store, "text")
    assert f"] {done}" in ready.graph(w.store, "text", everything=True)
    assert ready.graph(w.store, "mermaid").startswith("graph TD")


def test_graph_as_data(w: World) -> None:
    """Nodes are rows of tasks, edges each say who depends on what; what is not shown as a node may end an edge."""
    done = bring(w, "done")
    first = w.add("first", after=[done], stage="impl")
    second = w.add("second", after=[first])
    found = ready.nodes(w.store)
    row = {"task_id": first, "status": "queued", "stage": "impl", "priority": 5, "title": "first"}
    assert found["nodes"] == [row, {"task_id": second, "status": "queued", "priority": 5, "title": "second"}]
    edges = [{"task_id": first, "depends_on": done}, {"task_id": second, "depends_on": first}]
    assert found["edges"] == edges
    assert [node["task_id"] for node in ready.nodes(w.store, everything=True)["nodes"]] == [done, first, second]


# -- notes -------------------------------------------------------------------------------------------------------------


def test_notes(w: World) -> None:
    """Notes by anybody, checkpoints by the live holder; both keep their text as it is."""
    task_id = w.add()
    text = "it's C:\\new\\table\n\x1b[31m {{x}} $HOME 100% \u2028"
    notes.add(w.store, USER, task_id, text)
    with pytest.raises(NotYours):
        notes.checkpoint(w.store, ANN, task_id, {"a": 1})
    w.claim(ANN, task_id)
    notes.checkpoint(w.store, ANN, task_id, {"a": [1, "ü"]})
    found = notes.last(w.store, task_id, 9)
    assert [entry.get("text") or entry["state"] for entry in found] == [text, {"a": [1, "ü"]}]
    with pytest.raises(NotFound):
        notes.add(w.store, USER, "t999", "x")


def test_note_limits(w: World) -> None:
    """A checkpoint over 16 KiB and notes over 256 KiB are refused, saying what to do; old checkpoints make room."""
    task_id = w.add()
    w.claim(ANN, task_id)
    with pytest.raises(Refused, match="put it in a file"):
        notes.checkpoint(w.store, ANN, task_id, "x" * (16 << 10))
    for n in range(30):
        notes.checkpoint(w.store, ANN, task_id, [n, "x" * (15 << 10)])
    found = notes.last(w.store, task_id, 99)
    assert [entry["state"][0] for entry in found] == list(range(30 - len(found), 30))
    notes.add(w.store, USER, task_id, "y" * (10 << 10))
    with pytest.raises(Refused, match="file"):
        for _ in range(30):
            notes.add(w.store, USER, task_id, "y" * (15 << 10))
    notes.checkpoint(w.store, ANN, task_id, "still")
    assert (w.root / places.notes(task_id)).stat().st_size <= notes.LARGEST


# -- several at once ---------------------------------------------------------------------------------------------------


def test_several_in_one_record(w: World) -> None:
    """Several ids are one record; what cannot be changed is told and the others go on, with the worst status."""
    good = [w.add() for _ in range(3)]
    done = bring(w, "done")
    count = w.records()
    result = batches.cancel(w.store, USER, [good[0], done, "t999", *good[1:], good[0]])
    assert [row["task_id"] for row in result.changed] == good
    assert sorted(error.exit for error in result.errors) == [2, 3]
    assert result.worst() == 3
    assert w.records() == count + 1
    assert w.last()["on"] == good
    again = batches.cancel(w.store, USER, good)
    assert all(row["already"] for row in again.changed)
    assert w.records() == count + 1


def test_in_batches(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one batch goes in several records, and none is left out."""
    monkeypatch.setattr(batches, "BATCH", 4)
    made = planning.import_drafts(w.store, USER, [TaskDraft(None, f"{n}", labels=("v1",)) for n in range(10)])
    other = w.add()
    count = w.records()
    result = batches.cancel(w.store, USER, where=batches.TaskFilter(label="v1"))
    assert [row["task_id"] for row in result.changed] == made["task_ids"]
    assert w.records() == count + 3
    assert w.status(other) == "queued"


def test_by_filter(w: World) -> None:
    """A filter takes the tasks that the verb applies to, and no others."""
    mine, others = [w.add("a", stage="impl") for _ in range(2)], w.add("b", stage="impl")
    for task_id in mine:
        w.claim(ANN, task_id)
    w.claim(BOB, others)
    assert batches.release(w.store, ANN, where=batches.TaskFilter(stage="impl")).worst() == 5
    assert [w.status(task_id) for task_id in (*mine, others)] == ["queued", "queued", "claimed"]
    w.claim(ANN, mine[0])
    assert [r["task_id"] for r in batches.release(w.store, ANN, where=batches.TaskFilter("ann")).changed] == [mine[0]]
    failed, dead = bring(w, "failed"), bring(w, "deadletter")
    done = bring(w, "done")
    result = batches.requeue(w.store, USER, where=batches.TaskFilter("ann"), states=("deadletter",))
    assert [row["task_id"] for row in result.changed] == [dead]
    result = batches.requeue(w.store, USER, where=batches.TaskFilter("ann"))
    assert [row["task_id"] for row in result.changed] == [failed]
    assert w.status(done) == "done"


def test_cascade(w: World) -> None:
    """`cancel --cascade` cancels everything that depends on it, near and far, claimed or not; final tasks stay."""
    first = w.add("first", "a.py")
    second, other = w.add("second", after=[first]), w.add("other")
    third = w.add("third", after=[second, other])
    w.claim(ANN, first)
    result = batches.cancel(w.store, USER, [first], cascade=True)
    assert [row["task_id"] for row in result.changed] == [first, second, third]
    assert w.status(other) == "queued"
    assert w.reserved() == []
    one, two = w.add("one"), w.add("two")
    planning.update(w.store, USER, two, {}, [one])
    batches.cancel(w.store, USER, [one])
    assert w.status(two) == "queued"


def test_dry_run(w: World, tmp_path: Path) -> None:
    """--dry-run answers as the real call and changes nothing, not even the parking."""
    task_id, parked = w.add("a", "a.py"), w.add("b", "b.py", priority=9)
    reserving.reserve(w.store, BOB, ReservationRequest(["b.py"], 600))
    before, count = tree(tmp_path), w.records()
    assert claims.claim(w.store, ANN.trial(), claims.ClaimRequest())["task_id"] == task_id
    assert claims.claim_id(w.store, ANN.trial(), task_id, claims.ClaimRequest())["status"] == "claimed"
    assert batches.cancel(w.store, USER.trial(), [task_id]).changed[0]["status"] == "cancelled"
    assert planning.import_drafts(w.store, USER.trial(), drafts())["imported"] == 3
    assert planning.update(w.store, USER.trial(), parked, {"title": "c"})["changed"] == ["title"]
    assert (tree(tmp_path), w.records()) == (before, count)


# -- waiting -----------------------------------------------------------------------------------------------------------


class Script:
    """A watcher that does the next thing of a script instead of sleeping, and lets time pass when there is none."""

    def __init__(self, world: World, *steps: Any) -> None:
        self.world, self.steps, self.waits = world, list(steps), 0

    def __call__(self, *args: Any) -> Script:
        return self

    def close(self) -> None:
        """Nothing is held."""

    def wait(self, timeout: float | None) -> bool:
        """What would be slept through."""
        self.waits += 1
        if self.steps:
            self.steps.pop(0)()
            return True
        assert timeout is not None
        self.world.host.advance(timeout)
        return False


def waiting(w: World, monkeypatch: pytest.MonkeyPatch, seconds: float, task_id: str | None, *steps: Any) -> Row:
    """What a waiting claim of ann gets while ``steps`` happen."""
    script = Script(w, *steps)
    monkeypatch.setattr("mbox.system.watch.Watcher", script)
    wish = claims.ClaimRequest()

    def attempt() -> Row:
        if task_id is None:
            return claims.claim(w.store, ANN, wish)
        return claims.claim_id(w.store, ANN, task_id, wish)

    answer = claims.wait(w.store, attempt, ANN, seconds, task_id is not None)
    return {**answer, "waits": script.waits}


def elsewhere(w: World) -> World:
    """The same store as another process has it."""
    other = object.__new__(World)
    other.root, other.host = w.root, w.host
    other.store = opened(w.root, w.host)
    return other


def test_wait_nothing_to_wait_for(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing queued or in work a waiting claim ends at once with exit 1."""
    bring(w, "done")
    with pytest.raises(Nothing):
        waiting(w, monkeypatch, 60, None)


def test_wait_times_out(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that runs out is exit 4, after the time and not before."""
    bring(w, "held")
    start = w.host.mono()
    with pytest.raises(TimedOut, match=r"nothing ready: 1 held \(after 60s\)"):
        waiting(w, monkeypatch, 60, None)
    assert w.host.mono() - start == 60


def test_wait_is_woken(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting claim looks again after records about tasks, and sleeps through mail."""
    first = w.add("first")
    second = w.add("second", after=[first])
    other = elsewhere(w)
    other.claim(BOB, first)
    answer = waiting(
        w, monkeypatch, 600, None,
        lambda: sending.send(other.store, BOB, ["ann"], sending.MailDraft("hello")),
        lambda: other.verb("start", BOB, first),
        lambda: other.verb("done", BOB, first),
    )  # fmt: skip
    assert (answer["task_id"], answer["waits"]) == (second, 3)


def test_wait_for_expiry(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting claim takes the task of a dead agent when its lease runs out, without any other command."""
    task_id = w.add()
    w.claim(BOB, task_id, lease=100)
    start = w.host.mono()
    assert waiting(w, monkeypatch, 600, None)["task_id"] == task_id
    assert w.host.mono() - start == pytest.approx(100, abs=1)


def test_wait_renews(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a task keeps what it holds, for hours, though nothing happens."""
    mine = w.add()
    w.claim(ANN, mine, lease=60)
    bring(w, "held")
    with pytest.raises(TimedOut):
        waiting(w, monkeypatch, 4 * 3600, None)
    assert w.verb("done", ANN, mine)["status"] == "done"


def test_wait_for_a_task(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`claim ID --wait` waits for its holder, its paths and its dependencies, but not for what is final."""
    task_id = w.add("a", "a.py")
    other = elsewhere(w)
    other.claim(BOB, task_id)
    assert waiting(w, monkeypatch, 600, task_id, lambda: other.verb("release", BOB, task_id))["task_id"] == task_id
    with pytest.raises(Nothing, match="is done"):
        waiting(w, monkeypatch, 600, bring(w, "done"))


# -- the index is rebuilt ----------------------------------------------------------------------------------------------


def test_already_after_rebuild(w: World) -> None:
    """What a holder did is known from the journal too: a repeated transition says `already` with a new index."""
    token = {}
    for verb in ("done", "fail", "submit", "release"):
        task_id = w.add(verb)
        token[verb] = task_id, w.claim(ANN, task_id)["token"]
        w.verb(verb, ANN, task_id)
    w.claim(BOB, token["release"][0])
    w.store.drop_index()
    for verb, (task_id, number) in token.items():
        assert w.verb(verb, ANN, task_id)["already"], verb
        assert w.verb(verb, ANN, task_id, number)["already"], verb
        assert w.exit_of(verb, BOB, task_id) == (0 if verb == "release" else 5)


def test_rebuilt_index_says_the_same(w: World) -> None:
    """An index built from documents and journal answers as the one that followed every record."""
    for state in STATES:
        bring(w, state)
    planning.import_drafts(w.store, USER, drafts())

    def answers() -> Row:
        return w.store.transact(
            lambda tx: {
                "candidates": list(tx.index.candidates(["py"], None, None, "bob")),
                "review": list(tx.index.in_review("bob")),
                "counts": tx.index.tables.rows("SELECT status, count(*) FROM task GROUP BY status"),
                "made": [tx.index.made(name[:-5], "ann", 1, None, op) for name in sorted(w.store.names(places.TASKS))
                         for op in ("task.done", "task.fail", "task.submit")],
                "due": tx.index.next_due(),
            },
            USER,
        )  # fmt: skip

    before = answers()
    w.store.drop_index()
    assert answers() == before


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def task(repo: Path, run: Run) -> Any:
    """Run ``task …`` in a scratch repository with ann, bob and rae; ``(status, parsed stdout, stderr)``."""
    run("mbox", "init", cwd=repo, check=True)
    for name in ("ann", "bob", "rae"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)

    def call(*words: str, stdin: str = "", text: bool = False) -> tuple[int, Any, str]:
        done = run("task", *words, cwd=repo, stdin=stdin)
        out = done.stdout if text or not done.stdout else json.loads(done.stdout)
        return done.returncode, out, done.stderr

    return call


def test_issues_of_beads_become_tasks(task: Any) -> None:
    """``import --from beads`` reads issues, not a plan: each is a task under its own id, with what it waits for."""
    first = {"id": "bd-1", "title": "Parse", "status": "open", "priority": 1, "issue_type": "bug"}
    needs = [{"issue_id": "bd-2", "depends_on_id": "bd-1", "type": "blocks"}]
    issues = [first, {**first, "id": "bd-2", "title": "Test", "dependencies": needs}]
    status, answer, err = task("import", "-", "--from", "beads", stdin="".join(json.dumps(one) + "\n" for one in issues))
    assert (status, answer["imported"]) == (0, 2), err
    assert [row["task_id"] for row in task("ready")[1]] == ["bd-1"]


def test_command_line(task: Any, repo: Path) -> None:
    """The commands as an agent would call them, from add to approve, with their exit statuses and answers."""
    (repo / "plan.yaml").write_text(PLAN)
    status, answer, _ = task("import", "plan.yaml")
    assert (status, answer["imported"]) == (0, 3)
    status, answer, _ = task("add", "Tidy up", "--path", "*.md", "--priority", "urgent", "--label", "ui")
    tidy = answer["task_id"]
    assert [row["task_id"] for row in task("ready")[1]] == [tidy, "parse", "docs"]
    status, out, _ = task("claim", "--as", "ann", "-o", "env", text=True)
    assert f"TASK_ID='{tidy}'" in out
    assert "TASK_TOKEN='" in out
    assert task("claim", "--as", "bob")[1]["task_id"] == "parse"
    assert task("claim", tidy, "--as", "bob")[0] == 5
    assert task("claim")[0] == 2
    assert task("claim", "--as", "anne")[0] == 3
    assert task("checkpoint", tidy, "--state", '{"at":1}', "--as", "ann")[0] == 0
    assert task("note", tidy, "-", stdin="from stdin\n")[0] == 0
    assert task("show", tidy)[1]["notes"][-1]["text"] == "from stdin\n"
    status, answer, _ = task("done", tidy, "--as", "ann", "--next", "--result", '{"n":1}')
    assert (answer["status"], answer["next"]["task_id"]) == ("done", "docs")
    status, answer, err = task("done", "docs", "--as", "ann", "--next")
    assert (status, answer["status"]) == (0, "done")
    assert "1 in work, 1 waiting" in err
    status, _, err = task("claim", "--as", "ann")
    assert (status, err) == (1, "task: nothing ready: 1 in work, 1 waiting\n")
    assert task("submit", "parse", "--to", "rae", "--as", "bob")[1]["reviewer"] == "rae"
    assert task("approve", "parse", "--as", "bob")[0] == 5
    assert task("approve", "parse", "--as", "rae")[1]["unblocked"]
    assert task("approve", "parse", "--as", "rae")[1]["already"] is True
    assert {row["status"] for row in task("list", "--all")[1]} == {"done", "queued"}
    assert set(task("graph", "-o", "json")[1]) == {"nodes", "edges"}
    assert task("graph", text=True)[1].startswith("[ ] ")


def test_command_line_several(task: Any) -> None:
    """Ids from stdin, filters, and the worst status of several."""
    made = [task("add", f"task {n}", "--label", "v1")[1]["task_id"] for n in range(3)]
    status, rows, err = task("cancel", "-", stdin="\n".join([*made[:2], "t999"]))
    assert (status, [row["task_id"] for row in rows]) == (3, made[:2])
    assert "t999" in err
    assert task("cancel", made[0])[1]["already"] is True
    status, rows, _ = task("requeue", "--label", "v1")
    assert (status, len(rows)) == (0, 2)
    assert task("cancel")[0] == 2
    assert task("deadletter", "list")[1] == []
    status, rows, err = task("deadletter", "retry", "--label", "v1")
    assert (status, rows) == (0, [])


def test_command_line_refuses(task: Any, repo: Path) -> None:
    """Wrong input is exit 2 with one line that says what would be right."""
    task("add", "first")
    for words, hint in (
        (("add", "a $HOME task"), "HOME"),
        (("add", "x", "--id", "t9"), "given out by the toolkit"),
        (("add", "x", "--stage", "two words"), "one word"),
        (("add", "x", "--path", "../../etc"), "outside"),
        (("add", "x", "--max-attempts", "0"), "1 to 1000"),
        (("list", "--status", "finished"), "no such status"),
        (("import", "nowhere.yaml"), "nowhere.yaml"),
        (("import", "-", "--from", "jira"), "beads"),
        (("update", "t4"), "what is to change"),
        (("graph", "--format", "png"), "mermaid"),
        (("graph", "--format", "dot", "-o", "json"), "not both"),
        (("graph", "-o", "env"), "json"),
        (("list", "--limit", "x"), "--limit: 'x' is no number of rows"),
        (("checkpoint", "t4", "--state", "-", "--as", "ann"), "over 262144 bytes, checkpoint_limit is 16384"),
        (("claim", "t4", "--stage", "x", "--as", "ann"), "not both"),
    ):
        status, out, err = task(*words, stdin='"' + "x" * 300_000 + '"')
        assert (status, out) == (2, ""), (words, err)
        assert hint in err, (words, err)
        assert err.count("\n") == 1, err
    assert task("show", "t44")[0] == 3
    assert task("checkpoint", "t44", "--state", "{", "--as", "ann")[0] == 2


def test_an_issue_file_of_beads_is_imported_from_the_command_line(task: Any) -> None:
    """--from beads reads issues, each a line of JSON; a plan's reader would refuse their fields."""
    status, answer, err = task("import", "-", "--from", "beads", stdin='{"id": "bd-1", "title": "T", "issue_type": "bug"}\n')
    assert (status, answer["imported"]) == (0, 1), err
    assert task("show", "bd-1")[1]["title"] == "T"


def test_what_the_log_says(task: Any, repo: Path, run: Run) -> None:
    """A start that is none names all three kinds."""
    done = run("mbox", "log", "--since", "yesterday", cwd=repo)
    known = "a duration (2h), a sequence (1200) or a time (2026-01-02T03:04:05Z)"
    assert (done.returncode, done.stderr) == (2, f"mbox: --since 'yesterday' is none of {known}\n")


def test_wait_wakes_for_real(task: Any, repo: Path, run: Run) -> None:
    """A waiting command, asleep on the journal, takes a task that another process adds."""
    import subprocess
    import sys

    held = task("add", "held")[1]["task_id"]
    task("update", held, "--hold", "for ever")
    script = (
        "import os, sys; sys.path[:0] = sys.argv[1:2]\n"
        "from mbox.tasks import claims\n"
        "from mbox.opening import open_store\n"
        "from mbox.store.store import Actor\n"
        "from mbox.errors import Nothing\n"
        "store, ann = open_store(None, os.getcwd()), Actor('ann', 1)\n"
        "def attempt():\n"
        "    try:\n"
        "        return claims.claim(store, ann, claims.ClaimRequest())\n"
        "    except Nothing:\n"
        "        print('asleep', flush=True)\n"
        "        raise\n"
        "print(claims.wait(store, attempt, ann, 60)['task_id'], flush=True)\n"
    )
    import mbox

    source = str(Path(mbox.__file__).parents[1])
    child = subprocess.Popen([sys.executable, "-c", script, source], cwd=repo, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        assert child.stdout.readline() == "asleep\n"
        fresh = task("add", "fresh")[1]["task_id"]
        assert child.stdout.read().split() == [fresh]
        assert child.wait(30) == 0
    finally:
        child.kill()


def test_what_a_selection_finds_is_taken_by_priority_then_age(w: World) -> None:
    """Whatever states the tasks are in: the order is that of every list, and the record names them in it."""
    made = [w.add("low", priority=1), w.add("old"), w.add("young"), w.add("high", priority=9)]
    for task_id in made:
        claims.claim_id(w.store, ANN, task_id, claims.ClaimRequest(start=task_id in made[::2]))
    outcome = batches.release(w.store, ANN, [], batches.TaskFilter(owner="ann"))
    assert [answer["task_id"] for answer in outcome.changed] == [made[3], made[1], made[2], made[0]]
