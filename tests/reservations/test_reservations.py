"""Reservations by promise: conflicts, all or nothing, leases, giving back, the guard, waiting, commands."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Run
from kit import ANN, BOB, USER, FakeHost, journaled, make, register
from mbox.agents import presence, registry
from mbox.errors import NotFound, NotYours, Refused, TimedOut, Usage
from mbox.format import documents, globs, patterns, places
from mbox.liveness import departure
from mbox.opening import assemble, init, open_store
from mbox.reservations import conflicts, guard, reserving, waiting
from mbox.reservations.conflicts import Blocked
from mbox.reservations.reserving import ReservationRequest
from mbox.store.store import Actor, Store, Transaction
from mbox.system.disk import Disk
from mbox.tasks import planning
from mbox.tasks.drafts import TaskDraft
from teamkit import until

CYD = Actor("cyd", 1)
PROGRAM = str(Path(sys.executable).parent / "reserve")
Row = dict[str, Any]


def opened(root: Path, host: FakeHost) -> Store:
    """The store in ``root`` as a command has it: with configuration, sweep, and patterns in the index."""
    store = assemble(str(root), Disk(), host)
    said: list[str] = []
    store.say = said.append
    return store


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Iterator[Store]:
    """A store with ann, bob and cyd."""
    make(tmp_path, host).close()
    made = opened(tmp_path, host)
    made.transact(register("cyd"), USER)
    yield made
    made.close()


def reserve(store: Store, who: Actor, *texts: str, seconds: float = 600, **more: Any) -> Row:
    """Reserve ``texts``; the document."""
    return reserving.reserve(store, who, ReservationRequest(list(texts), seconds, **more))


def state(store: Store, who: Actor, *paths: str) -> list[str]:
    """What the guard says of each path."""
    return [row["state"] for row in guard.check(store, who, paths)]


def task(store: Store, ident: str, owner: Actor, seconds: float = 600) -> None:
    """A task that ``owner`` has claimed."""

    def decide(tx: Transaction) -> None:
        doc = documents.new(
            "task", task_id=ident, title="t", status="claimed", owner=owner.name, created_at=tx.now,
            incarnation=owner.incarnation, token=tx.grant(places.task_lease(ident), owner, seconds),
        )  # fmt: skip
        tx.put(doc, places.task(ident))
        tx.record("task.claim", [ident])

    store.transact(decide, owner)


# -- conflicts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "wanted", "meet"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/**", "src/x/y.py", True),
        ("src", "src/x/y.py", True),
        ("src/*.py", "src/?.p*", True),
        ("**/test_*.py", "src/deep/test_a.py", True),
        ("{docs,src}/*.md", "src/a.*", True),
        ("src/[a-m]*", "src/b", True),
        ("src/*", "src/x/y.py", False),
        ("src/[a-m]*", "src/z", False),
        ("*.py", "src/a.py", False),
        ("src/a.py", "src/a.pyc", False),
        ("docs/**", "src/**", False),
    ],
)
def test_two_agents_never_hold_what_one_path_can_be(
    store: Store, held: str, wanted: str, meet: bool
) -> None:
    """Exclusive patterns of two agents conflict exactly when a path can match both, either way round."""
    for first, second in ((held, wanted), (wanted, held)):
        rid = reserve(store, ANN, first)["reservation_id"]
        if meet:
            with pytest.raises(Blocked):
                reserve(store, BOB, second)
        else:
            other = reserve(store, BOB, second)["reservation_id"]
            reserving.release(store, BOB, [other], [])
        reserving.release(store, ANN, [rid], [])


def test_nothing_lies_below_a_file(store: Store) -> None:
    """``**/*.md`` keeps nobody from a file that is there; what is a folder, or nothing yet, may hold such."""
    Path(store.absolute("a.py")).write_text("")
    Path(store.absolute("docs")).mkdir()
    reserve(store, ANN, "**/*.md")
    reserve(store, BOB, "a.py")
    for folder in ("docs", "new"):
        with pytest.raises(Blocked):
            reserve(store, BOB, folder)
    reserving.release(store, ANN, [], [], every=True)
    reserve(store, ANN, "**/*.md")
    with pytest.raises(Blocked):
        reserve(store, ANN, "**/*.py")


def test_a_wrong_row_in_the_index_costs_time_and_never_truth(store: Store) -> None:
    """A pattern that the index has and the document has not is in nobody's way."""
    rid = reserve(store, ANN, "docs")["reservation_id"]

    def spoil(tx: Transaction) -> None:
        row = (rid, 9, "ann", False, None, "src", "src/**")
        tx.index.tables.sql.execute("INSERT INTO pattern VALUES(?, ?, ?, ?, ?, ?, ?)", row)
        row = ("r900", 0, "ann", False, None, "src", "src/**")
        tx.index.tables.sql.execute("INSERT INTO pattern VALUES(?, ?, ?, ?, ?, ?, ?)", row)

    store.transact(spoil, USER)
    reserve(store, BOB, "src/a.py")


@pytest.mark.parametrize(
    ("first", "second", "fits"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_shared_reservations_stand_beside_each_other_only(
    store: Store, first: bool, second: bool, fits: bool
) -> None:
    """Two conflict unless both are shared."""
    reserve(store, ANN, "src/**", shared=first)
    if fits:
        reserve(store, BOB, "src/a.py", shared=second)
    else:
        with pytest.raises(NotYours):
            reserve(store, BOB, "src/a.py", shared=second)


def test_one_agent_never_conflicts_with_itself(store: Store) -> None:
    """What an agent holds does not keep it from taking more, in whatever mode."""
    reserve(store, ANN, "src/**")
    reserve(store, ANN, "src/a.py", shared=True)
    reserve(store, ANN, "src/a.py")
    assert len(guard.listed(store)) == 3


def test_several_patterns_are_taken_together_or_not_at_all(store: Store) -> None:
    """One blocked pattern of three: nothing is taken, and the journal does not move."""
    reserve(store, ANN, "b")
    before = len(journaled(store))
    with pytest.raises(NotYours):
        reserve(store, BOB, "a", "b", "c")
    assert len(journaled(store)) == before
    assert state(store, CYD, "a", "b", "c") == ["free", "held", "free"]


def test_a_refusal_says_who_whether_alive_how_long_why_and_how_to_wait(
    store: Store, host: FakeHost
) -> None:
    """The one line names everything that the refused agent needs to decide what to do next."""
    reserve(store, ANN, "src/**", seconds=720, reason="rename of x")
    presence.beat(store, ANN, os.getpid())
    with pytest.raises(NotYours) as refused:
        reserve(store, BOB, "src/a b.py", "doc", shared=True)
    assert str(refused.value) == (
        "held: r5 of ann (alive, 12m left): src/**, 'rename of x'; "
        "`reserve 'src/a b.py' doc --shared --wait 12m`"
    )
    assert refused.value.exit == 5
    host.advance(100)
    with pytest.raises(NotYours, match=r"r5 of ann \(dead, 10m left\)"):
        reserve(store, BOB, "src/a.py")


def test_what_one_holds_is_renewed_under_the_same_id(store: Store, host: FakeHost) -> None:
    """Reserving again prints the same id and ``already``, journals nothing, and the time runs from now."""
    first = reserve(store, ANN, "a", "src/**", seconds=600)
    before = len(journaled(store))
    host.advance(400)
    again = reserve(store, ANN, "src/**", seconds=600)
    assert (again["reservation_id"], again["token"], again["already"]) == (
        first["reservation_id"], first["token"], True,
    )  # fmt: skip
    assert len(journaled(store)) == before
    host.advance(500)
    assert state(store, BOB, "src/a.py", "a") == ["held", "held"]


@pytest.mark.parametrize("more", [{"shared": True}, {"fresh": True}, {"task_id": "t9"}])
def test_another_mode_task_or_a_command_of_its_own_is_another_reservation(
    store: Store, more: Row
) -> None:
    """Only what is held in that mode (for that task) is the same reservation; under ``-- CMD`` never."""
    task(store, "t9", ANN)
    first = reserve(store, ANN, "src/**")
    second = reserve(store, ANN, "src/**", **more)
    assert second["reservation_id"] != first["reservation_id"]
    assert "already" not in second


def test_a_pattern_that_only_covers_is_not_the_same(store: Store) -> None:
    """Holding ``src/**`` and asking for ``src/a.py`` makes a reservation that outlives the first."""
    wide = reserve(store, ANN, "src/**")
    reserve(store, ANN, "src/a.py")
    reserving.release(store, ANN, [wide["reservation_id"]], [])
    assert state(store, BOB, "src/a.py", "src/b.py") == ["held", "free"]


def test_letters_are_compared_composed_and_folded_as_the_file_system_does(
    store: Store, tmp_path: Path, host: FakeHost
) -> None:
    """é typed in two ways is one path; README and readme are one where the configuration says so."""
    doc = reserve(store, ANN, "caf\u0065\u0301.txt", "README")
    assert doc["patterns"][0] == "caf\u00e9.txt"
    assert state(store, BOB, "caf\u00e9.txt", "caf\u0065\u0301.txt", "readme") == ["held", "held", "free"]
    (tmp_path / ".mailbox/config.yaml").write_text("case_fold: true\n")
    store.drop_index()
    folding = opened(tmp_path, host)
    assert state(folding, BOB, "readme") == ["held"]
    with pytest.raises(NotYours):
        reserve(folding, BOB, "ReadMe")


def test_a_pattern_that_is_none_stops_nobody(store: Store) -> None:
    """In a document of another version it means the path of that name, and every other command goes on."""
    place = places.reservation(reserve(store, ANN, "src/[a]")["reservation_id"])

    def spoil(tx: Transaction) -> None:
        tx.put({**(tx.read(place) or {}), "patterns": ["src/[a"]}, place)
        tx.record("reserve.add", [places.ident(place)])

    store.transact(spoil, ANN)
    store.drop_index()
    reserve(store, BOB, "docs/**")
    assert state(store, BOB, r"src/\[a", "src/a") == ["held", "free"]


# -- leases ------------------------------------------------------------------------------------------------


def test_what_has_run_out_is_free_for_everybody(store: Store, host: FakeHost) -> None:
    """After the lease another agent takes it; the journal says that it expired; its holder is told, 5."""
    rid = reserve(store, ANN, "src/**", seconds=60)["reservation_id"]
    host.advance(59.9)
    assert state(store, BOB, "src/a.py") == ["held"]
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")
    host.advance(0.2)
    assert state(store, BOB, "src/a.py") == ["free"]
    assert guard.listed(store)[0]["state"] == "expired"
    reserve(store, BOB, "src/a.py")
    expired = [record for record in journaled(store) if record["op"] == "reserve.expire"]
    assert [(record["by"], record["on"]) for record in expired] == [("sweep", [rid])]
    for verb in (reserving.renew, reserving.release):
        with pytest.raises(NotYours, match=r"reserve\.expire by sweep"):
            verb(store, ANN, [rid], [])


def test_what_has_run_out_counts_for_nothing_before_it_is_swept(store: Store, host: FakeHost) -> None:
    """A decision judges the lease itself: nobody has to sweep first, and the holder cannot use it either."""
    rid = reserve(store, ANN, "src/**", seconds=60)["reservation_id"]
    store.sweep = None
    host.advance(61)
    assert not store.transact(lambda tx: conflicts.covers(tx, "ann", ["src/a.py"]), USER)
    with pytest.raises(NotYours, match="ran out"):
        reserving.renew(store, ANN, [rid], [])
    with pytest.raises(NotFound):
        reserving.release(store, ANN, [], ["src/**"])
    assert reserve(store, ANN, "src/**")["reservation_id"] != rid
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")


def test_every_command_of_the_holder_renews(store: Store, host: FakeHost) -> None:
    """Any transaction of the holder renews a reservation that has used a third of its time."""
    reserve(store, ANN, "src/**", seconds=60)
    for _ in range(5):
        host.advance(40)
        store.transact(registry.still_current, ANN)
    assert state(store, BOB, "src/a.py") == ["held"]


def test_a_missing_lease_counts_from_the_first_look(store: Store, host: FakeHost) -> None:
    """Lease file and index lost: it stands for the default time from the first look, then ends."""
    rid = reserve(store, ANN, "src/**", seconds=60)["reservation_id"]
    os.unlink(store.absolute(places.lease(rid)))
    store.drop_index()
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")
    host.advance(store.config.lease - 1)
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")
    host.advance(2)
    reserve(store, BOB, "src/a.py")


@pytest.mark.parametrize("left", [0.0, 100.0])
def test_a_lease_of_an_older_token_ends_nothing_and_holds_nothing(store: Store, host: FakeHost, left: float) -> None:
    """A void lease file counts as a missing one once it comes due: the default time from then, and then it is over."""
    rid = reserve(store, ANN, "src/**", seconds=60)["reservation_id"]
    path = places.lease(rid)
    lease = store.load_lease(path)
    assert lease
    store.write_lease(path, lease._replace(token=lease.token - 1, mono_until=host.mono() + left))
    store.drop_index()
    if left:
        with pytest.raises(NotYours, match="ran out"):
            reserving.renew(store, ANN, [rid], [])
    host.advance(left + 1)
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")
    found = store.load_lease(path)
    assert found and (found.token, found.holder) == (lease.token, "ann")
    host.advance(store.config.lease + 1)
    reserve(store, BOB, "src/a.py")


def test_a_reboot_keeps_the_reservation_and_judges_it_by_wall_time(store: Store, host: FakeHost) -> None:
    """After the machine's death the lease is made again from the journal and ends by the wall clock."""
    reserve(store, ANN, "src/**", seconds=600)
    os.unlink(store.absolute(places.lease("r5")))
    host.reboot()
    host.advance(300)
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")
    host.advance(310)
    reserve(store, BOB, "src/a.py")


def test_renew_lets_the_time_run_from_now(store: Store, host: FakeHost) -> None:
    """By id or by pattern, without a record; somebody else's is refused."""
    rid = reserve(store, ANN, "src/**", "docs", seconds=60)["reservation_id"]
    before = len(journaled(store))
    for ids, texts in (([rid], []), ([], ["docs"])):
        host.advance(50)
        rows = reserving.renew(store, ANN, ids, texts)
        assert [row["reservation_id"] for row in rows] == [rid]
    assert len(journaled(store)) == before
    host.advance(50)
    assert state(store, BOB, "docs") == ["held"]
    with pytest.raises(NotYours, match="of ann"):
        reserving.renew(store, BOB, [rid], [])


# -- giving back -------------------------------------------------------------------------------------------


def test_one_pattern_of_several_is_given_back(store: Store, host: FakeHost) -> None:
    """The others stay held under the same id, token and lease; recovery and a new index agree."""
    doc = reserve(store, ANN, "a", "src/**", seconds=600)
    rows = reserving.release(store, ANN, [], ["src/**"])
    assert rows == [{"reservation_id": doc["reservation_id"], "released": ["src/**"], "kept": ["a"]}]
    reserve(store, BOB, "src/a.py")
    store.drop_index()
    with pytest.raises(NotYours):
        reserve(store, BOB, "a")
    kept = store.read(places.reservation(doc["reservation_id"]))
    assert kept is not None
    assert (kept["patterns"], kept["token"]) == (["a"], doc["token"])
    host.advance(601)
    reserve(store, BOB, "a")


def test_what_is_given_back_frees_the_tasks_it_kept(store: Store) -> None:
    """A task that was parked under a reservation is looked at again when one pattern of it goes."""

    def add(tx: Transaction) -> None:
        doc = documents.new("task", task_id="t9", title="t", touched_paths=["a"], created_at=tx.now)
        tx.put(doc, places.task("t9"))
        tx.record("task.add", ["t9"])

    def found(tx: Transaction) -> list[str]:
        return list(tx.index.candidates([], None, None, "bob"))

    store.transact(add, USER)
    rid = reserve(store, ANN, "a", "b")["reservation_id"]
    store.transact(lambda tx: tx.index.park([("t9", rid)]), USER)
    assert store.transact(found, USER) == []
    reserving.release(store, ANN, [], ["a"])
    assert store.transact(found, USER) == ["t9"]


def test_a_path_with_wildcards_is_given_back_after_it_is_gone(store: Store) -> None:
    """``app/[id].tsx`` was reserved while it was there, so escaped; the same words give it back after."""
    rid = reserve(store, ANN, r"app/\[id].tsx")["reservation_id"]
    rows = reserving.release(store, ANN, [], ["app/[id].tsx"])
    assert rows == [{"reservation_id": rid, "released": [r"app/\[id].tsx"], "kept": []}]


def test_giving_back_twice_is_harmless(store: Store) -> None:
    """Of two ids one was given back before: it says so, and the other is given back now."""
    first, second = (reserve(store, ANN, name)["reservation_id"] for name in ("a", "b"))
    reserving.release(store, ANN, [first], [])
    rows = reserving.release(store, ANN, [first, second], [])
    assert rows == [
        {"reservation_id": first, "already": True},
        {"reservation_id": second, "released": ["b"], "kept": []},
    ]
    assert guard.listed(store) == []


def test_only_the_holder_gives_back(store: Store) -> None:
    """Another agent is refused (5) by id and by pattern; what never was is 3, with the nearest id."""
    rid = reserve(store, ANN, "src/**")["reservation_id"]
    with pytest.raises(NotYours, match="of ann"):
        reserving.release(store, BOB, [rid], [])
    with pytest.raises(NotYours, match="of ann"):
        reserving.release(store, BOB, [], ["src/**"])
    with pytest.raises(NotFound, match=rf"did you mean {rid}\?"):
        reserving.release(store, ANN, [f"x{rid[1:]}"], [])
    with pytest.raises(NotFound, match=f"no reservation {rid}5$"):
        reserving.release(store, ANN, [f"{rid}5"], [])
    with pytest.raises(NotFound, match="docs"):
        reserving.release(store, ANN, [], ["docs"])
    assert reserving.release(store, BOB, [], [], every=True) == []
    assert state(store, BOB, "src/a.py") == ["held"]


def test_release_all_gives_back_all_of_the_caller_in_one_record(store: Store) -> None:
    """Everything of ann goes, nothing of bob."""
    mine = [reserve(store, ANN, name)["reservation_id"] for name in ("a", "b")]
    reserve(store, BOB, "c")
    reserving.release(store, ANN, [], [], every=True)
    assert journaled(store)[-1]["on"] == mine
    assert [row["agent"] for row in guard.listed(store)] == ["bob"]


def test_a_dry_run_changes_nothing(store: Store, host: FakeHost) -> None:
    """It answers as the real call would, and neither journal, documents nor leases move."""
    rid = reserve(store, ANN, "a", seconds=60)["reservation_id"]
    before, lease = len(journaled(store)), store.load_lease(places.lease(rid))
    host.advance(30)
    assert reserving.reserve(store, ANN.trial(), ReservationRequest(["a"], 60))["already"]
    assert reserving.reserve(store, BOB.trial(), ReservationRequest(["b"], 60))["patterns"] == ["b"]
    assert reserving.renew(store, ANN.trial(), [rid], [])
    assert reserving.release(store, ANN.trial(), [rid], [])[0]["released"] == ["a"]
    with pytest.raises(NotYours):
        reserving.reserve(store, BOB.trial(), ReservationRequest(["a"], 60))
    assert (len(journaled(store)), store.load_lease(places.lease(rid))) == (before, lease)


# -- incarnations and tasks ---------------------------------------------------------------------------------


def test_an_older_incarnation_changes_nothing(store: Store) -> None:
    """The process that lost its name is refused (5); the new one does not hold what the old one took."""
    rid = reserve(store, ANN, "src/**")["reservation_id"]
    registry.add(store, USER, "ann", {}, new=True)
    for step in (
        lambda: reserve(store, ANN, "docs"),
        lambda: reserving.renew(store, ANN, [rid], []),
        lambda: reserving.release(store, ANN, [rid], []),
    ):
        with pytest.raises(NotYours, match="incarnation 2"):
            step()
    newer = Actor("ann", 2)
    assert not store.transact(lambda tx: conflicts.covers(tx, "ann", ["src/a.py"]), newer)
    assert state(store, newer, "src/a.py") == ["free"]
    assert state(store, BOB, "src/a.py") == ["held"]
    with pytest.raises(NotYours, match="your incarnation 1"):
        reserving.release(store, newer, [rid], [])


def test_a_task_must_be_held_to_reserve_for_it(store: Store, host: FakeHost) -> None:
    """Unknown is 3; another's, or one whose lease ran out, is 5."""
    task(store, "t9", ANN, seconds=600)
    with pytest.raises(NotFound, match="t99"):
        reserve(store, ANN, "a", task_id="t99")
    with pytest.raises(NotYours, match="claimed by ann"):
        reserve(store, BOB, "a", task_id="t9")
    doc = reserve(store, ANN, "a", task_id="t9", seconds=6000)
    assert journaled(store)[-1]["on"] == [doc["reservation_id"], "t9"]
    store.sweep = None
    host.advance(601)
    with pytest.raises(NotYours, match="not held by you"):
        reserve(store, ANN, "b", task_id="t9")


def test_a_reservation_ends_with_its_task(store: Store) -> None:
    """`task done` gives back what is tied to the task, and nothing else."""
    from mbox.tasks import lifecycle

    task(store, "t9", ANN)
    tied = reserve(store, ANN, "a", task_id="t9")["reservation_id"]
    reserve(store, ANN, "b")
    lifecycle.done(store, ANN, "t9")
    assert state(store, BOB, "a", "b") == ["free", "held"]
    assert reserving.release(store, ANN, [tied], []) == [{"reservation_id": tied, "already": True}]


def test_who_retires_gives_everything_back(store: Store) -> None:
    """The reservations of a retired agent end with it."""
    reserve(store, ANN, "src/**")
    departure.retire(store, USER, "ann")
    assert guard.listed(store) == []
    reserve(store, BOB, "src/**")


# -- covering ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "mine"),
    [
        (["src/a.py", "src/x/y"], True),
        (["src/**"], True),
        (["src/*.py", "src/x/**/[ab]?"], True),
        (["src"], False),
        (["**/a.py"], False),
        (["docs/index.md"], True),
        (["docs/*.md"], True),
        (["docs/sub/a.md"], False),
        (["docs"], False),
        (["src/a.py", "README"], False),
        ([], True),
    ],
)
def test_covers_is_true_only_if_all_is_held(store: Store, wanted: list[str], mine: bool) -> None:
    """``src/**`` and ``docs/*`` cover what lies in them, and not the folders themselves."""
    reserve(store, ANN, "src/**")
    reserve(store, ANN, "docs/*", shared=True)
    assert store.transact(lambda tx: conflicts.covers(tx, "ann", wanted), USER) is mine
    assert not wanted or not store.transact(lambda tx: conflicts.covers(tx, "bob", wanted), USER)


SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "?", "[ab]", "[!a]", "{a,b}", "**"])
TEXTS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
PATHS = ["/".join(names) for n in (1, 2, 3, 4) for names in product(["a", "b", "ab"], repeat=n)]


@given(outer=TEXTS, inner=TEXTS)
def test_contains_never_claims_too_much(outer: str, inner: str) -> None:
    """Where one pattern is said to contain another, every path of the other matches it."""
    big, small = patterns.parse(outer), patterns.parse(inner)
    if patterns.contains(big, small):
        assert [path for path in PATHS if small.matches(path) and not big.matches(path)] == []
    if outer == inner or outer == "**":
        assert patterns.contains(big, small)


# -- the guard ---------------------------------------------------------------------------------------------


def test_the_guard_says_own_held_or_free(store: Store) -> None:
    """One's own wins over another's share; a pattern or folder is held if anything in it is."""
    reserve(store, ANN, "src/*.py", shared=True)
    reserve(store, BOB, "src/a.py", shared=True)
    Path(store.absolute("src")).mkdir()
    assert state(store, ANN, "src/a.py", "src/*.py", "src", "src/x") == ["own", "own", "held", "free"]
    assert state(store, BOB, "src/a.py", "src/b.py", "docs") == ["own", "held", "free"]
    assert state(store, USER, "src/a.py", "docs") == ["held", "free"]


def test_the_guard_takes_a_file_for_a_file(store: Store) -> None:
    """Nothing is below a path that is no folder: another's ``**/*.md`` holds ``docs`` and not ``new.py``."""
    reserve(store, ANN, "**/*.md")
    Path(store.absolute("old.py")).write_text("")
    Path(store.absolute("docs")).mkdir()
    assert state(store, BOB, "old.py", "new.py", "docs", "docs/a.md") == ["free", "free", "held", "held"]


def test_the_guard_waits_for_what_is_committed_and_not_published(store: Store, tmp_path: Path) -> None:
    """A process died between its commit and its rename: the guard still sees the reservation."""
    reserve(store, ANN, "src/**")
    mark = Path(store.absolute(places.LOCK)).read_bytes()[:512]
    rid = reserve(store, ANN, "docs")["reservation_id"]
    os.unlink(store.absolute(places.reservation(rid)))
    with open(store.absolute(places.LOCK), "r+b") as file:
        file.write(mark)
    assert state(opened(tmp_path, FakeHost()), BOB, "docs") == ["held"]


def test_the_guard_does_not_answer_from_what_it_cannot_read(store: Store) -> None:
    """A damaged document is put back by whoever looks first, and never "free"."""
    rid = reserve(store, ANN, "src/**")["reservation_id"]
    path = Path(store.absolute(places.reservation(rid)))
    path.write_text("{")
    assert state(store, BOB, "src/a.py") == ["held"]
    path.write_text("{")
    with pytest.raises(NotYours):
        reserve(store, BOB, "src/a.py")
    assert state(store, BOB, "src/a.py") == ["held"]


def test_show_tells_how_one_ended(store: Store) -> None:
    """A reservation that is gone is 3, with who ended it and when; one that never was, with the nearest."""
    rid = reserve(store, ANN, "a")["reservation_id"]
    assert guard.show(store, rid)["patterns"] == ["a"]
    reserving.release(store, ANN, [rid], [])
    with pytest.raises(NotFound, match=r"reserve\.release by ann"):
        guard.show(store, rid)
    with pytest.raises(NotFound, match="is no reservation"):
        guard.show(store, "r900")


def test_a_decision_looks_at_neighbours_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many reservations only those whose literal prefix is on the same way are compared."""
    for n in range(60):
        reserve(store, ANN, f"pkg{n}/**")
    compared = []

    def intersect(a: patterns.Pattern, b: patterns.Pattern, effort: object) -> bool:
        compared.append(b.text)
        return False

    monkeypatch.setattr(patterns, "intersect", intersect)
    reserve(store, BOB, "other/a.py")
    reserve(store, BOB, "pkg7/sub/a.py")
    assert compared == ["pkg7/**"]


# -- what patterns may cost ----------------------------------------------------------------------------------


def nasty(last: str, count: int = 40) -> list[str]:
    """So many patterns, all within the bounds, of which each takes long to tell from those with another ``last``."""
    return [f"{{*a*b,*c*d}}{'{*a?,*b?}' * 4}{'*a?[b-d]' * 12}*{n}{last}" for n in range(count)]


def steps_of(store: Store, who: Actor, wanted: list[str]) -> tuple[float, int]:
    """The steps that it takes to tell whether ``wanted`` are free, and how many patterns are in the way."""
    def decide(tx: Transaction) -> tuple[float, int]:
        found = list(conflicts.blockers(tx, who.name, wanted))
        return globs.STEPS - tx.effort.left, len(found)

    return store.transact(decide, USER.trial())


OVER = patterns.LARGEST
"""Steps past the last one at most: one pattern that is read."""


def test_the_worst_patterns_of_a_call_stay_within_the_budget(store: Store) -> None:
    """Forty of the worst patterns against forty like them end with the budget; they count as meeting, which is said."""
    reserve(store, ANN, *nasty("x"))
    steps, _ = steps_of(store, BOB, nasty("y"))
    assert globs.STEPS < steps <= globs.STEPS + OVER
    with pytest.raises(Blocked, match=f"counts as meeting, because comparing .* more than {globs.STEPS} steps"):
        reserve(store, BOB, *nasty("y"))
    assert reserve(store, BOB, nasty("y")[0])["reservation_id"], "one of them is told apart from all"


def test_ordinary_patterns_by_the_hundred_are_exact(store: Store) -> None:
    """Forty ordinary patterns against forty, and a thousand plain paths in one call, come nowhere near the budget."""
    mine = [f"src/{name}/**/*.{end}" for name in "abcdefghij" for end in ("py", "ts", "md", "{c,h}")]
    theirs = [f"**/test_{name}*.{end}" for name in "abcdefghij" for end in ("js", "go", "rs", "[x-z]")]
    reserve(store, ANN, *mine)
    steps, found = steps_of(store, BOB, theirs)
    assert (found, steps < globs.STEPS / 10) == (0, True)
    assert reserve(store, BOB, *theirs)["reservation_id"]
    many = [f"lib/package_{n % 30}/module_{n}.py" for n in range(1000)]
    steps, found = steps_of(store, CYD, many)
    assert (found, steps < globs.STEPS / 2) == (40 * 1000, True), "what is no file yet may become a folder"
    Path(store.root, "lib").mkdir()
    for n in range(30):
        Path(store.root, f"lib/package_{n}").mkdir()
    for path in many:
        Path(store.root, path).touch()
    steps, found = steps_of(store, CYD, many)
    assert (found, steps < globs.STEPS) == (0, True)
    assert len(reserve(store, CYD, *many)["patterns"]) == 1000


@pytest.mark.parametrize(
    ("texts", "number"),
    [
        ([f"a{n}" for n in range(1001)], "1001 patterns, at most 1000"),
        (["{a,b}" * 8 + "c" * 100 + str(n) for n in range(12)], f"over {patterns.LETTERS} letters"),
        (["{a,b}" * 9], "more than 256 alternatives"),
        (["a" * 1025], "1025 characters, at most 1024"),
    ],
)
def test_what_is_beyond_the_bounds_is_refused_with_the_number(store: Store, texts: list[str], number: str) -> None:
    """Patterns in a call, their letters with braces expanded, alternatives and length are bounded, for tasks too."""
    with pytest.raises(Usage, match=number):
        reserve(store, ANN, *texts)
    with pytest.raises(Usage, match=number):
        planning.add(store, ANN, TaskDraft(None, "t", touched_paths=tuple(texts)))
    assert store.names(places.RESERVATIONS) == places.idents(store.names(places.TASKS)) == []


def kept(store: Store, who: Actor, texts: list[str]) -> str:
    """A reservation as an older version, which had no bounds, kept it."""
    def decide(tx: Transaction) -> str:
        rid = f"r{tx.take()}"
        doc = documents.new(
            "reservation", reservation_id=rid, agent=who.name, incarnation=who.incarnation, patterns=texts,
            mode="exclusive", lease_s=600, created_at=tx.now, expires_at=tx.now,
            token=tx.grant(places.lease(rid), who, 600),
        )  # fmt: skip
        tx.put(doc, places.reservation(rid))
        tx.record("reserve.add", [rid])
        return rid

    return store.transact(decide, who)


def test_what_an_older_version_kept_beyond_the_bounds_counts_as_meeting(store: Store) -> None:
    """It meets what may be there, and nothing that is surely elsewhere; its holder can name it and give it back."""
    beyond = "src/" + "{a,b}" * 9
    longest = "src/" + "x" * 5000
    rid = kept(store, ANN, [longest, beyond])
    with pytest.raises(Blocked, match=r"src/x+…; "):
        reserve(store, BOB, "src/other.py")
    assert reserve(store, BOB, "lib/a.py")["reservation_id"]
    assert state(store, BOB, "src/b.py", "docs") == ["held", "free"]
    assert state(store, ANN, "src/b.py") == ["free"], "whether it is covered is not known"
    assert reserving.release(store, ANN, [rid], [])[0]["released"] == [longest, beyond]


def test_a_thousand_reservations_from_before_the_bounds(store: Store) -> None:
    """Very many patterns stand: a question that meets them all ends with the budget."""
    for n in range(25):
        kept(store, Actor(("ann", "cyd")[n % 2], 1), [f"{{*a*b,*c*d}}*{n}*{k}x" for k in range(2000)])
    steps, _ = steps_of(store, BOB, [f"*a?{n}y" for n in range(1000)])
    assert steps > globs.STEPS
    with pytest.raises(Blocked, match="counts as meeting"):
        reserve(store, BOB, *[f"*a?{n}y" for n in range(1000)])


def test_the_guard_counts_what_it_cannot_tell_as_held(store: Store) -> None:
    """A check, too, ends with its steps; what it says then is said to be a guess."""
    reserve(store, ANN, *nasty("x"))
    said: list[str] = []
    store.say = said.append
    assert state(store, BOB, "q" * 30 + "0z") == ["free"]
    assert set(state(store, BOB, *nasty("y"))) >= {"held"}
    assert [line for line in said if "counts as meeting" in line]


# -- waiting -----------------------------------------------------------------------------------------------


class Others:
    """Wakes who waits after other agents acted, a step each time; nobody sleeps when all steps are done."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)

    def wait(self, seconds: float) -> bool:
        """Instead of time, the next step passes."""
        assert self.steps, "still waiting"
        self.steps.pop(0)()
        return True


class Passing(Others):
    """Lets the time pass, and when ``passed`` of it has, the next step; nothing wakes by itself."""

    def __init__(self, host: FakeHost, passed: float = 0, *steps: Callable[[], object]) -> None:
        super().__init__(*steps)
        self.host, self.at = host, host.mono() + passed

    def wait(self, seconds: float) -> bool:
        """As if nobody told of any change."""
        self.host.advance(seconds)
        if self.steps and self.host.mono() >= self.at:
            self.steps.pop(0)()
        return False


def looked(store: Store) -> list[float]:
    """From now on: after how many seconds the store was asked under the lock."""
    times: list[float] = []
    began, asked = store.host.mono(), store.transact

    def transact(*given: Any, **more: Any) -> Any:
        times.append(store.host.mono() - began)
        return asked(*given, **more)

    store.transact = transact  # type: ignore[method-assign]
    return times


def wait(store: Store, who: Actor, *texts: str, waker: Others, timeout: float = 600, **more: Any) -> Row:
    """Reserve ``texts``, waiting up to ``timeout``."""
    doc: Row = waiting.wait_and_reserve(store, who, ReservationRequest(list(texts), 600, **more), timeout, waker)
    return doc


def registered(store: Store) -> list[str]:
    """The agents that others see waiting."""
    return [wish.agent for wish in store.transact(waiting.waiting, USER)]


def test_waiting_ends_when_the_reservation_does(store: Store) -> None:
    """The waiter is seen by others while it waits, gets what it wanted, and is seen no more."""
    rid = reserve(store, ANN, "src/**")["reservation_id"]
    seen = []
    others = Others(
        lambda: seen.extend(registered(store)), lambda: reserving.release(store, ANN, [rid], [])
    )
    assert wait(store, BOB, "src/a.py", waker=others)["agent"] == "bob"
    assert (seen, registered(store)) == (["bob"], [])
    assert store.names(places.WAITS) == []


def test_waiting_ends_when_the_lease_runs_out(store: Store, host: FakeHost) -> None:
    """A waiter asks to be woken at the moment when the holder's lease ends, not later."""
    reserve(store, ANN, "src/**", seconds=15)
    times = looked(store)
    wait(store, BOB, "src/a.py", waker=Passing(host))
    assert times == pytest.approx([0, 15.001], abs=0.01)


def test_waiting_gives_up_in_time_and_names_the_holder(store: Store, host: FakeHost) -> None:
    """After ``--wait`` it is exit 4, with who holds it; nothing is left of the waiter."""
    reserve(store, ANN, "src/**", seconds=600, reason="refactoring")
    times = looked(store)
    with pytest.raises(TimedOut, match=r"45s: r5 of ann .*'refactoring'") as late:
        wait(store, BOB, "src/a.py", waker=Passing(host), timeout=45)
    assert late.value.exit == 4
    assert times == pytest.approx([0, 20, 40, 45])
    assert store.names(places.WAITS) == []


def test_a_waiter_sleeps_until_something_is_due(store: Store, host: FakeHost) -> None:
    """While nothing changes it is awake as often as its looks are due, or the mark is compared, and no oftener."""
    reserve(store, ANN, "src/**", seconds=600)
    asleep: list[float] = []

    class Sleeping(Passing):
        def wait(self, seconds: float) -> bool:
            asleep.append(seconds)
            return super().wait(seconds)

    with pytest.raises(TimedOut):
        wait(store, BOB, "src/a.py", waker=Sleeping(host), timeout=45)
    assert asleep == pytest.approx([5.0] * 9)


def test_a_real_waiter_is_not_woken_by_itself(made: Path) -> None:
    """Its own registration, and what it looks at, change nothing that it watches: it takes no time while it waits."""
    held = subprocess.Popen([PROGRAM, "a", "--as", "ann", "--", "sh", "-c", "echo held; read line"], cwd=made,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    code = (
        "import sys\nfrom mbox.opening import open_store\nfrom mbox.reservations import reserving, waiting\n"
        "from mbox.store.store import Actor\nfrom mbox.errors import TimedOut\n"
        "store, looks = open_store(sys.argv[1], '/'), 0\ncompared = store.is_behind\n"
        "def counted():\n    global looks\n    looks += 1\n    return compared()\nstore.is_behind = counted\n"
        "try:\n    waiting.wait_and_reserve(store, Actor('bob', 1), reserving.ReservationRequest(['a'], 60), 2)\n"
        "except TimedOut:\n    print(looks)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True, text=True, check=True)
    held.communicate("go\n", timeout=30)
    assert int(done.stdout) <= 6, done.stdout


def test_who_waits_keeps_what_it_holds(store: Store, host: FakeHost) -> None:
    """The looks of a waiter are commands of its agent: they renew its own reservations."""
    reserve(store, BOB, "mine", seconds=30)
    rid = reserve(store, ANN, "src/**", seconds=600)["reservation_id"]
    wait(store, BOB, "src/a.py", waker=Passing(host, 100, lambda: reserving.release(store, ANN, [rid], [])))
    assert state(store, BOB, "mine") == ["own"]


def test_two_that_wait_for_each_other_are_refused(store: Store) -> None:
    """The second to wait closes the circle: refused with every step named, and the first gets its turn."""
    reserve(store, ANN, "a/**")
    rid = reserve(store, BOB, "b/**")["reservation_id"]

    def bob_waits() -> None:
        with pytest.raises(Refused) as refused:
            wait(store, BOB, "a/x", waker=Others())
        assert refused.value.exit == 2
        assert str(refused.value) == (
            "refused: a circular wait: bob waits for r5 of ann (a/**), ann waits for r6 of bob (b/**); "
            "release what the others wait for, then try again"
        )
        reserving.release(store, BOB, [rid], [])

    assert wait(store, ANN, "b/y", waker=Others(bob_waits))["agent"] == "ann"


def test_a_circle_of_three_through_a_task_is_refused(store: Store) -> None:
    """ann → bob → cyd → ann, where bob's reservation came with a task: the last is refused, in order."""
    task(store, "t9", BOB)
    reserve(store, ANN, "a")
    reserve(store, BOB, "b", task_id="t9")
    rid = reserve(store, CYD, "c")["reservation_id"]
    waits_for = "waits for .* of"

    def cyd_waits() -> None:
        with pytest.raises(
            Refused, match=rf"cyd {waits_for} ann .*, ann {waits_for} bob .*, bob {waits_for} cyd"
        ):
            wait(store, CYD, "a", waker=Others())
        reserving.release(store, CYD, [rid], [])

    def bob_waits() -> None:
        wait(store, BOB, "c", waker=Others(cyd_waits))
        reserving.release(store, BOB, [], [], every=True)

    assert wait(store, ANN, "b", waker=Others(bob_waits))["agent"] == "ann"


def test_waiting_in_a_row_is_no_circle(store: Store) -> None:
    """Two that wait for the same holder, and one that shares what is waited for, are not refused."""
    rid = reserve(store, ANN, "a")["reservation_id"]
    reserve(store, BOB, "b", shared=True)

    def cyd_waits() -> None:
        wait(store, CYD, "a", waker=Others(lambda: reserving.release(store, ANN, [rid], [])))
        reserving.release(store, CYD, [], [], every=True)

    wait(store, BOB, "a", waker=Others(cyd_waits))
    wait(store, ANN, "b", shared=True, waker=Others())


def test_a_circle_that_closes_later_is_found_at_the_next_look(store: Store) -> None:
    """ann waits for bob; bob waits for nothing of ann's until ann's other process takes it."""
    reserve(store, BOB, "b")
    held = reserve(store, CYD, "c")["reservation_id"]

    def bob_waits() -> None:
        def ann_takes_more() -> None:
            reserving.release(store, CYD, [held], [])
            reserve(store, ANN, "c")

        with pytest.raises(Refused, match=r"bob waits for .* of ann .*, ann waits for .* of bob"):
            wait(store, BOB, "c", waker=Others(ann_takes_more))
        reserving.release(store, BOB, [], ["b"])

    wait(store, ANN, "b", waker=Others(bob_waits))


@pytest.mark.parametrize("change", ["start", "machine", "mono", "patterns", "torn"])
def test_a_dead_waiter_closes_no_circle(store: Store, change: str) -> None:
    """A registration of a process that is gone, of another machine, without a look for long, or damaged."""
    reserve(store, ANN, "a")
    reserve(store, BOB, "b")
    line = waiting.Line(store, waiting.Waiter("bob", ["a"], False), Others())
    store.transact(line.stand, BOB)
    with pytest.raises(Refused, match="circular"):
        wait(store, ANN, "b", waker=Others())
    path = Path(store.absolute(places.waits("bob", os.getpid())))
    dead = {"start": 1, "machine": "other:0", "mono": -1e6, "patterns": 7}
    doc = json.loads(path.read_text())
    path.write_text("{" if change == "torn" else json.dumps({**doc, change: dead[change]}))
    wait(store, ANN, "b", waker=Others(lambda: reserving.release(store, BOB, [], ["b"])))
    assert not path.exists()


# -- real processes ----------------------------------------------------------------------------------------

NAMES = ("ann", "bob", "cyd", "dan")


@pytest.fixture
def made(repo: Path) -> Path:
    """A git repository with a store and four agents."""
    registered_in(init(str(repo)).store, *NAMES)
    for path in ("src/a.py", "src/b.py", "app/[id]/page.tsx", "list"):
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text("")
    return repo


def registered_in(store: Store, *names: str) -> None:
    """Register agents, and close the store."""
    for name in names:
        registry.add(store, USER, name, {})
    store.close()


def told(text: str) -> Any:
    """What a command printed as JSON."""
    return json.loads(text)


WORKER = r"""
import os, random, sys
from mbox.cli.context import Context
from mbox.errors import NotYours
from mbox.reservations.reserving import ReservationRequest, release, reserve
from mbox.store.store import Actor

# pattern -> the paths of this small world that it matches, worked out by hand
WORLD = {
    "a/x.py": ["a/x.py"], "a/*.py": ["a/x.py", "a/y.py"], "a": ["a/x.py", "a/y.py", "a/z/w.md"],
    "**/w.md": ["a/z/w.md", "b/w.md"], "{a,b}/**": ["a/x.py", "a/y.py", "a/z/w.md", "b/w.md"],
    "b/?.md": ["b/w.md"],
}
name, seed, detector = sys.argv[1:]
random.seed(int(seed))
store = Context().store
had = overlaps = refused = 0
while had < 12:
    chosen = random.sample(sorted(WORLD), random.choice([1, 1, 2]))
    try:
        doc = reserve(store, Actor(name, 1), ReservationRequest(chosen, 60, fresh=True))
    except NotYours:
        refused += 1
        continue
    had += 1
    marks = []
    for path in sorted({path for pattern in chosen for path in WORLD[pattern]}):
        mark = os.path.join(detector, path.replace("/", ","))
        try:
            os.mkdir(mark)
            marks.append(mark)
        except FileExistsError:
            overlaps += 1
    for mark in marks:
        os.rmdir(mark)
    release(store, Actor(name, 1), [doc["reservation_id"]], [])
print(had, refused, overlaps)
"""


def test_sixteen_processes_never_hold_one_path_at_once(made: Path, tmp_path: Path, run: Run) -> None:
    """16 agents take overlapping patterns at once; a second detector, a folder per path, sees no two."""
    detector = tmp_path / "detector"
    detector.mkdir()
    names = [f"w{n}" for n in range(16)]
    registered_in(open_store(str(made), str(made)), *names)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, name, str(n), detector], cwd=made, stdout=subprocess.PIPE
        )
        for n, name in enumerate(names)
    ]
    counts = [tuple(map(int, worker.communicate(timeout=240)[0].split())) for worker in workers]
    assert [count[0] for count in counts] == [12] * 16
    assert sum(count[1] for count in counts) > 0, "nobody was ever refused: they did not meet"
    assert sum(count[2] for count in counts) == 0
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


def test_waiters_get_it_one_after_the_other(made: Path, tmp_path: Path) -> None:
    """`reserve --wait -- CMD` by four agents at once: each runs, and no two together (a folder tells)."""
    script = f"mkdir {tmp_path}/in || exit 9; echo $0 >> {tmp_path}/log; rmdir {tmp_path}/in"
    waiters = [
        subprocess.Popen(
            ["reserve", "src/**", "--as", name, "--wait", "2m", "--", "sh", "-c", script, name],
            cwd=made, executable=PROGRAM, stderr=subprocess.PIPE,
        )
        for name in NAMES
    ]  # fmt: skip
    assert [waiter.wait(timeout=120) for waiter in waiters] == [0] * 4, [
        w.stderr and w.stderr.read() for w in waiters
    ]
    assert sorted((tmp_path / "log").read_text().split()) == sorted(NAMES)


def test_a_dead_holder_is_waited_out(made: Path, run: Run) -> None:
    """`reserve -- CMD` is killed with SIGKILL: it ends with its lease, and the waiter gets it then."""
    holder = subprocess.Popen(
        ["reserve", "src/**", "--as", "ann", "--ttl", "1s", "--", "sh", "-c", "echo held; exec cat"],
        cwd=made, executable=PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    refused = run("reserve", "src/a.py", "--as", "bob", cwd=made)
    assert refused.returncode == 5
    assert "ann" in refused.stderr
    taken = run("reserve", "src/a.py", "--as", "bob", "--wait", "30s", cwd=made)
    assert (taken.returncode, told(taken.stdout)["patterns"]) == (0, ["src/a.py"])
    assert holder.stdin is not None
    holder.stdin.close()


def test_a_circle_through_a_claim_that_waits_is_refused(made: Path, run: Run) -> None:
    """ann holds a and waits to claim a task on b, which bob holds: bob, who wants a, is refused."""
    for name, path in (("ann", "a"), ("bob", "b")):
        run("reserve", path, "--as", name, cwd=made, check=True)
    run("task", "add", "on b", "--id", "on-b", "--path", "b", cwd=made, check=True)
    waits = made / places.WAITS
    waits.mkdir(exist_ok=True)
    first = subprocess.Popen(
        ["task", "claim", "on-b", "--as", "ann", "--wait", "60s"], cwd=made, executable=PROGRAM.replace("reserve", "task")
    )
    until(lambda: list(waits.glob("ann@*.json")), lambda: f"ann does not wait; status {first.poll()}", at=waits)
    second = run("reserve", "a", "--as", "bob", "--wait", "60s", cwd=made)
    assert second.returncode == 2
    assert "refused: a circular wait: bob waits for" in second.stderr and "ann waits for" in second.stderr
    run("reserve", "release", "--all", "--as", "bob", cwd=made, check=True)
    assert first.wait(timeout=30) == 0
    assert not list(waits.glob("*.json"))


def test_a_circle_of_real_waiters_is_refused(made: Path, run: Run) -> None:
    """ann and bob hold one path each and wait for the other's: one is refused, the other gets both."""
    for name, path in (("ann", "a"), ("bob", "b")):
        run("reserve", path, "--as", name, cwd=made, check=True)
    first = subprocess.Popen(
        ["reserve", "b", "--as", "ann", "--wait", "60s"], cwd=made, executable=PROGRAM, stderr=subprocess.PIPE
    )
    assert first.stderr is not None
    assert b"waiting for" in first.stderr.readline()
    second = run("reserve", "a", "--as", "bob", "--wait", "60s", cwd=made)
    assert second.returncode == 2
    assert "refused: a circular wait: bob waits for" in second.stderr
    assert "ann waits for" in second.stderr
    run("reserve", "release", "--all", "--as", "bob", cwd=made, check=True)
    assert first.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_status_is_that_of_the_command(made: Path, run: Run, script: str, status: int) -> None:
    """Whatever the command ends with is what `reserve` ends with, and the reservation is given back."""
    done = run("reserve", "src/**", "--as", "ann", "--", "sh", "-c", script, cwd=made)
    assert done.returncode == status
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


def test_a_command_that_cannot_run_gives_back(made: Path, run: Run) -> None:
    """127 where it is not there and 126 where it cannot be run, in one line, as shells have it."""
    for word, status in (("no-such-command", 127), ("./README.md", 126)):
        done = run("reserve", "src/**", "--as", "ann", "--", word, cwd=made)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


def test_while_the_command_runs_others_are_refused(made: Path, run: Run) -> None:
    """Inside: held for others, own for the agent.  The command's output is all there is on stdout."""
    script = "reserve check src/a.py --as bob -o jsonl; reserve check src/a.py --mine -o jsonl; echo $?"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "MBOX_AGENT": "ann"}
    done = run("reserve", "src/**", "--", "sh", "-c", script, cwd=made, env=env, check=True)
    lines = done.stdout.splitlines()
    assert [told(line)["state"] for line in lines[:2]] == ["held", "own"]
    assert lines[2:] == ["0"]


def test_signals_reach_the_command(made: Path, run: Run) -> None:
    """SIGTERM to `reserve` ends the command as it likes, and the reservation after it."""
    script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    holder = subprocess.Popen(
        ["reserve", "src/**", "--as", "ann", "--", "bash", "-c", script], cwd=made, stdin=subprocess.PIPE,
        executable=PROGRAM, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    holder.send_signal(signal.SIGTERM)
    assert holder.communicate(timeout=30)[0] == "got it\n"
    assert holder.returncode == 9
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


ROUNDS = 12
COUNTING = f"""
import os, signal
both = {{signal.SIGINT, signal.SIGUSR1}}
signal.pthread_sigmask(signal.SIG_BLOCK, both)
twice = 0
for _ in range({ROUNDS}):
    print("ready", flush=True)
    assert signal.sigwait(both) == signal.SIGINT
    os.kill(os.getppid(), signal.SIGUSR1)  # is passed on after all that came before it
    while signal.sigwait(both) == signal.SIGINT:
        twice += 1
print("twice", twice, flush=True)
"""


def test_a_key_on_the_terminal_is_not_sent_twice(made: Path, run: Run) -> None:
    """^C reaches the command once, from the terminal itself; `reserve` goes on, and gives back at the end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(made)
        os.execv(PROGRAM, ["reserve", "src/**", "--as", "ann", "--", sys.executable, "-c", COUNTING])
    with open(terminal, "r+b", buffering=0) as file:

        def until(word: bytes) -> bytes:
            seen = b""
            while word not in seen:
                seen += file.read(1)
            return seen

        for _ in range(ROUNDS):  # two signals that come close together are one: it may not show at once
            until(b"ready")
            file.write(b"\x03")
        until(b"twice ")
        assert until(b"\n") == b"0\r\n"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


RENEWALS = r"""
import glob, json
seen = set()
while len(seen) < 4:  # the grant and three renewals
    seen.add(json.load(open(glob.glob(".mailbox/leases/r*.json")[0]))["mono_until"])
"""


def test_the_wrapper_renews_in_time(made: Path, run: Run) -> None:
    """A command that outlasts the lease several times keeps it: it is renewed at a third of its time."""
    done = run("reserve", "src/**", "--as", "ann", "--ttl", "1s", "--",
               sys.executable, "-c", RENEWALS, cwd=made)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_lost_lease_is_said(made: Path, run: Run) -> None:
    """Given back under the wrapper: it says so once, and the command goes on to its own end."""
    holder = subprocess.Popen(
        ["reserve", "src/**", "--as", "ann", "--ttl", "1s", "--", "sh", "-c", "echo held; read line; exit 3"],
        cwd=made, executable=PROGRAM, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stderr is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    run("reserve", "release", "--all", "--as", "ann", cwd=made, check=True)
    assert "is lost, others may change the files now" in holder.stderr.readline()
    assert holder.communicate("go\n", timeout=30)[1] == ""
    assert holder.returncode == 3


# -- the command line --------------------------------------------------------------------------------------


def test_paths_are_read_as_the_contract_says(made: Path, run: Run) -> None:
    """From the root; ``./`` from where one stands; what exists letter by letter means itself; else a hint."""
    env = {"MBOX_AGENT": "ann"}

    def patterns_of(*words: str, cwd: Path = made) -> list[str]:
        done = run("reserve", *words, "--dry-run", cwd=cwd, env=env, check=True)
        found: list[str] = told(done.stdout)["patterns"]
        return found

    assert patterns_of("app/[id]/page.tsx") == [r"app/\[id]/page.tsx"]
    assert patterns_of("app/[ab]/page.tsx") == ["app/[ab]/page.tsx"]
    assert patterns_of("./a.py", "../README.md", str(made / "src/b.py"), cwd=made / "src") == [
        "src/a.py", "README.md", "src/b.py",
    ]  # fmt: skip
    assert patterns_of("./list") == ["list"]
    refused = run("reserve", "a.py", cwd=made / "src", env=env)
    assert refused.returncode == 2
    assert "did you mean src/a.py?" in refused.stderr
    assert run("reserve", "/etc/passwd", cwd=made, env=env).returncode == 2
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


def test_an_expanded_pattern_is_noticed(made: Path, run: Run) -> None:
    """The words are exactly what ``src/*`` expands to: stderr says so and how to quote; else it is silent."""
    env = {"MBOX_AGENT": "ann"}
    (made / "src/.hidden").write_text("")
    said = run("reserve", "src/a.py", "src/b.py", cwd=made, env=env, check=True).stderr
    assert "the shell has expanded a pattern; quote it: 'src/*'" in said
    said = run("reserve", "./a.py", "./b.py", cwd=made / "src", env=env, check=True).stderr
    assert "quote it: './*'" in said
    (made / "src/c.py").write_text("")
    assert run("reserve", "src/a.py", "src/b.py", cwd=made, env=env, check=True).stderr == ""


def test_a_verb_that_is_misspelt_is_noticed(made: Path, run: Run) -> None:
    """`reserve chek x` reserves two files, and says which verb is near; not where such a file is there."""
    env = {"MBOX_AGENT": "ann"}
    done = run("reserve", "chek", "x", cwd=made, env=env, check=True)
    assert told(done.stdout)["patterns"] == ["chek", "x"]
    assert done.stderr == "chek is taken as a file, which is not there (yet); the verb is `reserve check`\n"
    (made / "relase").write_text("")
    for word in ("relase", "notes", "src/chek"):
        assert run("reserve", word, cwd=made, env=env, check=True).stderr == ""


def test_check_answers_with_its_status(made: Path, run: Run) -> None:
    """0 free or own, 1 held by somebody else; ``--mine``: 1 unless all are the caller's; ``-`` is stdin."""
    run("reserve", "src/**", "--as", "ann", "--reason", "rename", cwd=made, check=True)

    def status(*words: str, stdin: str = "") -> int:
        return run("reserve", "check", *words, cwd=made, stdin=stdin).returncode

    assert status("README.md") == 0
    assert status("README.md", "src/a.py") == 1
    assert status("src/a.py", "--as", "ann") == 0
    assert status("src/a.py", "--as", "ann", "--mine") == 0
    assert status("src/a.py", "README.md", "--as", "ann", "--mine") == 1
    assert status("-", stdin="README.md\nsrc/b.py\n") == 1
    assert status("README.md", "--mine") == 2
    held = run("reserve", "check", "src/a.py", "--as", "bob", cwd=made)
    assert told(held.stdout)[0]["agent"] == "ann"
    assert "src/a.py is held: r6 of ann (no heartbeat, 30m left): src/**, 'rename'" in held.stderr


def test_check_staged_sees_what_git_is_about_to_commit(made: Path, run: Run) -> None:
    """Staged paths only, both names of a rename, from any folder and any worktree; never the store's own."""
    env = {"MBOX_AGENT": "bob"}

    def status(*words: str, cwd: Path = made) -> int:
        return run("reserve", "check", "--staged", *words, cwd=cwd, env=env).returncode

    run("git", "add", "src", cwd=made, check=True)
    run("git", "commit", "--quiet", "--message=Add", cwd=made, check=True)
    run("reserve", "src/**", "--as", "ann", cwd=made, check=True)
    (made / "src/a.py").write_text("1")
    assert status() == 0
    run("git", "mv", "src/b.py", "moved.py", cwd=made, check=True)
    assert status(cwd=made / "app") == 1
    run("git", "reset", "--quiet", "--hard", cwd=made, check=True)
    tree = made.parent / "tree"
    run("git", "worktree", "add", "--quiet", tree, cwd=made, check=True)
    (tree / "new.py").write_text("")
    run("git", "add", "new.py", cwd=tree, check=True)
    assert (status(cwd=tree), status("--mine", cwd=tree), status(cwd=made)) == (0, 1, 0)
    (tree / "src/a.py").write_text("2")
    run("git", "add", "src/a.py", cwd=tree, check=True)
    assert status(cwd=tree) == 1
    run("git", "add", "--force", ".mailbox", cwd=made, check=True)
    assert status("--mine") == 0


def test_what_git_marks_lockable_is_said(made: Path, run: Run) -> None:
    """For a path and for a pattern, not for others; and git is not asked without ``.gitattributes``."""
    env = {"MBOX_AGENT": "ann"}
    for name in ("art/a b.psd", "art/b.txt"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text("")
    run("git", "add", "art", cwd=made, check=True)
    trap = made / "trap"
    trap.mkdir()
    (trap / "git").write_text("#!/bin/sh\necho asked >&2\nexit 1\n")
    (trap / "git").chmod(0o755)
    quiet = {**env, "PATH": f"{trap}:{os.environ['PATH']}"}
    assert run("reserve", "art/a b.psd", cwd=made, env=quiet, check=True).stderr == ""
    (made / ".gitattributes").write_text("*.psd lockable\n")
    said = run("reserve", "art/a b.psd", cwd=made, env=env, check=True).stderr
    assert said == "art/a b.psd is lockable: `git lfs lock 'art/a b.psd'` would hold it on the server\n"
    assert run("reserve", "art/**", cwd=made, env=env, check=True).stderr == said
    assert run("reserve", "art/b.txt", "src/**", cwd=made, env=env, check=True).stderr == ""


def test_ids_and_patterns_are_told_apart(made: Path, run: Run) -> None:
    """``r6`` is an id and ``./r6`` a file; the words can come from stdin."""
    env = {"MBOX_AGENT": "ann"}
    (made / "r6").write_text("")
    rid = told(run("reserve", "src/**", cwd=made, env=env, check=True).stdout)["reservation_id"]
    run("reserve", "./r6", "docs", cwd=made, env=env, check=True)
    assert rid == "r6"
    assert run("reserve", "release", "./r6", cwd=made, env=env, check=True).stdout.count("kept") == 1
    assert (
        run("reserve", "renew", "src/**", "docs", cwd=made, env=env, check=True).stdout.count("expires_at")
        == 2
    )
    run("reserve", "release", "-", cwd=made, env=env, stdin="r6\ndocs\n", check=True)
    assert told(run("reserve", "list", cwd=made, check=True).stdout) == []


def test_check_imports_little(made: Path, run: Run) -> None:
    """`reserve check` opens no index: nothing of SQLite, YAML, processes or threads is imported."""
    run("reserve", "src/**", "--as", "ann", cwd=made, check=True)
    code = (
        "import sys\nfrom mbox.cli.main import group, run\n"
        "run(group('reserve'), 'reserve', ['check', 'docs/a.md', 'src/a.py'])\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = run(sys.executable, "-c", code, cwd=made, check=True)
    heavy = {"sqlite3", "yaml", "ruamel", "subprocess", "portalocker", "watchfiles", "inotify_simple"}
    heavy |= {"asyncio", "hashlib", "tempfile", "pathlib", "dataclasses", "shlex"}
    heavy |= {"mbox.reservations.waiting", "mbox.store.mutex", "mbox.system.command", "mbox.git.staged"}
    assert heavy.intersection(done.stderr.split()) == set()
