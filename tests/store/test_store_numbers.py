"""No number is given twice: new ids are above whatever a document shows, though the journal does not know it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Run
from kit import ANN, USER, FakeHost, make, reopen, send
from mbox.doctor import repair
from mbox.format import documents, places
from mbox.store.store import Store, Transaction
from taskkit import World

AT = "2027-01-15T08:00:00.000000Z"


def bring(root: Path, path: str, text: str = "") -> None:
    """Put a document there that no record names, as a branch brings it."""
    kind, ident = places.kind(path), places.ident(path)
    doc = {
        "task": lambda: documents.new("task", task_id=ident, title="theirs", created_at=AT),
        "message": lambda: documents.new("message", msg_id=ident, thread_id=ident, from_="x", to=["bob"], created_at=AT),
        "reservation": lambda: documents.new("reservation", reservation_id=ident, agent="x", patterns=["a"], created_at=AT),
        "deadletter": lambda: documents.new("deadletter", reason="r", first_at=AT),
    }[kind]()
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(text.encode() or documents.encode(kind, doc))


def take(tx: Transaction) -> int:
    """A decision that makes a message, and so takes a number."""
    return places.number(send("x")(tx))


def look(tx: Transaction) -> None:
    """A decision that asks the index and makes no record."""
    assert tx.index


FOREIGN = [places.task("t900"), places.reservation("r900"), places.new("bob", "m900"), places.cur("bob", "m900"),
           places.deadletter("d900")]  # fmt: skip


@pytest.mark.parametrize("path", FOREIGN)
@pytest.mark.parametrize("by", ["index", "repair"])
def test_numbers_go_on_above_what_a_branch_brought(tmp_path: Path, path: str, by: str) -> None:
    """Once it is noticed, in this process or an earlier one, also through a reboot; without a record in between."""
    host = FakeHost()
    store = make(tmp_path, host)
    bring(tmp_path, path)
    if by == "index":
        with store.locked():
            store.drop_index()
        store.transact(look, USER)
    else:
        repair.repair(store, USER)
    store.close()
    for boot in ("boot-1", "boot-2"):
        if boot != host.boot:
            host.reboot(boot)
        again = reopen(tmp_path, host)
        assert again.transact(take, ANN) > 900
        again.close()


def test_an_index_built_in_the_middle_of_a_decision_counts(tmp_path: Path) -> None:
    """A number that is taken after it is above, and the record too."""
    store = make(tmp_path)
    bring(tmp_path, places.task("t900"))
    with store.locked():
        store.drop_index()

    def decide(tx: Transaction) -> tuple[int, int]:
        before = tx.take()
        assert tx.index
        return before, take(tx)

    before, after = store.transact(decide, ANN)
    assert before < 900 < after and store.tail.seq >= after


@pytest.mark.parametrize("text", ["", '{"schema": 9}', "{"])
def test_what_cannot_be_read_shows_its_id(tmp_path: Path, text: str) -> None:
    """A newer schema, or half a file: its name is enough."""
    store = make(tmp_path)
    bring(tmp_path, places.task("t900"), text)
    repair.repair(store, USER)
    assert store.transact(take, ANN) > 900


def test_a_number_that_nobody_came_to_is_none(tmp_path: Path) -> None:
    """One that is too high for any store does not use the numbers up."""
    store = make(tmp_path)
    bring(tmp_path, places.task(f"t{10**15}"))
    repair.repair(store, USER)
    assert store.transact(take, ANN) < 900


def test_what_is_put_back_shows_nothing(tmp_path: Path) -> None:
    """A token that somebody wrote into a document which the journal has is undone, and uses no numbers up."""
    w = World(tmp_path)
    task = w.add()
    path = tmp_path / places.task(task)
    doc = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**doc, "token": 900, "state_version": 900}))
    w.store.catch_up()
    assert w.doc(task) == doc
    assert places.number(w.add()) < 900


def test_an_id_that_stands_there_is_not_given(tmp_path: Path, run: Run) -> None:
    """Before anybody noticed: the next free one is taken, for a task and for each of a plan."""
    run("mbox", "init", cwd=tmp_path, check=True)
    first = places.number(json.loads(run("task", "add", "a", cwd=tmp_path, check=True).stdout)["task_id"])
    theirs = [f"t{first + n}" for n in range(1, 4)]
    for ident in theirs:
        bring(tmp_path, places.task(ident))
    made = [json.loads(run("task", "add", "b", cwd=tmp_path, check=True).stdout)["task_id"]]
    (tmp_path / "plan.jsonl").write_text('{"title": "c"}\n{"title": "d"}\n')
    made += json.loads(run("task", "import", "plan.jsonl", cwd=tmp_path, check=True).stdout)["task_ids"]
    assert not {*made} & {*theirs, f"t{first}"} and len({*made}) == 3
    for ident in theirs:
        assert json.loads((tmp_path / places.ASIDE / f"{ident}-1.json").read_text())["title"] == "theirs"


def test_a_store_of_the_usual_kind_is_numbered_as_before(tmp_path: Path) -> None:
    """What the journal made itself raises nothing: building the index leaves no gap."""
    store: Store = make(tmp_path)
    first = store.transact(take, ANN)
    with store.locked():
        store.drop_index()
    store.transact(look, USER)
    assert store.transact(take, ANN) == first + 1
