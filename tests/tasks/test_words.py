"""Words of tasks and agents: so many and no more on every way in, and those that stand already hold nobody up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import ANN, BOB, looked, make
from mbox.agents import registry
from mbox.errors import NotFound, Nothing, Usage
from mbox.format import documents, operations, ownership, places
from mbox.format.fields import WORD, WORDS
from mbox.index import queries
from mbox.store import transaction
from mbox.store.store import Store, Transaction
from mbox.system.host import Host
from mbox.tasks import beads, planfile, planning
from mbox.tasks.drafts import TaskDraft
from mbox.team import teamfile
from taskkit import USER, World

MANY = tuple(f"w{n}" for n in range(WORDS + 1))
LONG = ("x" * (WORD + 1),)
BIN = Path(sys.executable).parent


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann (who can py and gpu), bob and rae."""
    return World(tmp_path)


def forge(store: Store, ident: str, **fields: Any) -> None:
    """Put a task as an older version, or somebody's journal, may have it: nothing of it is checked."""

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("task", task_id=ident, title="t", created_at=tx.now, **fields), places.task(ident))
        tx.record(operations.TASK_ADD, [ident])

    store.transact(decide, USER)


def planned(words: tuple[str, ...], field: str) -> Any:
    """A plan with one task that has ``words``, read."""
    plan = json.dumps({"tasks": [{"title": "t", field: list(words)}]}).encode()
    return planfile.parse_plan(plan, "plan.json")


@pytest.mark.parametrize("words", [MANY, LONG], ids=["many", "long"])
@pytest.mark.parametrize("field", ["requires", "labels"])
def test_a_task_has_so_many_words_and_no_more(w: World, field: str, words: tuple[str, ...]) -> None:
    """However it comes: added, changed, imported, from a plan, or edited by hand."""
    task = w.add()
    ways: list[Callable[[], Any]] = [
        lambda: w.add("t", **{field: words}),
        lambda: planning.update(w.store, USER, task, {field: list(words)}),
        lambda: planning.import_drafts(w.store, USER, [TaskDraft("x", "t", **{field: words})]),
        lambda: planned(words, field),
    ]
    for way in ways:
        with pytest.raises(Usage, match=f"{field}.* at most {WORDS}"):
            way()
    doc = w.doc(task)
    assert field in ownership.adoptable("task", doc, {**doc, field: list(words)}).refused
    assert planned(MANY[:WORDS], field) and w.add("t", **{field: MANY[:WORDS]})


@pytest.mark.parametrize("words", [MANY, LONG], ids=["many", "long"])
def test_an_agent_can_do_so_much_and_no_more(w: World, words: tuple[str, ...]) -> None:
    """Registered, of a team, or edited by hand."""
    with pytest.raises(Usage, match=f"capabilities has .* at most {WORDS}"):
        registry.add(w.store, USER, "zed", {"capabilities": list(words)})
    doc = w.store.read(places.agent("ann"))
    assert doc and "capabilities" in ownership.adoptable("agent", doc, {**doc, "capabilities": list(words)}).refused
    team = json.dumps({"team": "blue", "members": [{"name": "a", "capabilities": list(words)}]})
    with pytest.raises(Usage, match=f"capabilities .*{WORDS}"):
        teamfile.parse(team, "team.yaml")
    assert registry.add(w.store, USER, "zed", {"capabilities": list(MANY[:WORDS])})


def test_labels_of_beads_are_bounded_too(w: World) -> None:
    """An import of another tool's issues is a way in like any other."""
    line = {"id": "bd-1", "title": "t", "status": "open", "issue_type": "task", "labels": list(MANY)}
    with pytest.raises(Usage, match=f"labels has {len(MANY)} items"):
        planning.import_drafts(w.store, USER, beads.parse_beads(json.dumps(line).encode(), "issues.jsonl"))


def test_the_commands_refuse_it_in_one_line(tmp_path: Path) -> None:
    """Exit 2 and nothing happened."""
    make(tmp_path, Host()).close()
    env = {**os.environ, "MBOX_ROOT": str(tmp_path)}
    for words in (["task", "add", "t", "--requires"], ["mbox", "agent", "add", "zed", "--can"]):
        more = [part for word in MANY for part in (words[-1], word)]
        done = subprocess.run([BIN / words[0], *words[1:-1], *more], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"at most {WORDS}" in done.stderr


def test_what_stands_already_is_kept_short_in_the_index(w: World) -> None:
    """Of a task with a million words it has no more than of any other; the document says who can take it."""
    words = [f"w{n:06}" for n in range(20_000)]
    forge(w.store, "big", requires=words, labels=words, stage="s" * 100_000)
    longest = w.store.transact(lambda tx: tx.index.tables.one("SELECT max(length(requires) + length(stage)) FROM task")[0], USER)
    labels = w.store.transact(lambda tx: tx.index.tables.one("SELECT count(*) FROM label")[0], USER)
    assert longest < (WORDS + 1) * (WORD + 8) and labels == WORDS
    with pytest.raises(Nothing):
        w.claim(ANN)
    with pytest.raises(Nothing) as refused:
        w.claim(ANN, "big")
    assert len(str(refused.value)) < 300
    with w.store.locked():
        w.store.drop_index()
    assert w.store.transact(lambda tx: list(tx.index.candidates(words[:WORDS], None, None, "ann")), USER) == ["big"]


def test_who_can_do_more_than_anybody_may_still_takes_what_wants_it(w: World) -> None:
    """A task and an agent of an older version; what is not in the index, the document decides."""
    words = [f"w{n:03}" for n in range(WORDS + 2)] + ["y" * (WORD + 20)]
    forge(w.store, "old", requires=words, labels=["l"])
    with pytest.raises(Nothing):
        w.claim(ANN)

    def able(tx: Transaction) -> None:
        tx.put({**(tx.read(places.agent("ann")) or {}), "capabilities": words}, places.agent("ann"))
        tx.record(operations.AGENT_ADD, ["ann"])

    w.store.transact(able, USER)
    assert w.claim(ANN, label="l")["task_id"] == "old"


def test_a_walk_over_very_many_kinds_gives_up_the_lock(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is walked over counts like what is read: the next transaction goes on where the last one stopped."""
    from mbox.index import answers

    monkeypatch.setattr(queries, "CLASSES", 3)
    monkeypatch.setattr(answers, "PAUSE", 2000)
    monkeypatch.setattr(transaction, "LADEN", 9000)
    for n in range(60):
        w.add("t", requires=tuple(f"{n:02}-{word}" for word in MANY[:8]), priority=n % 3 + 5)
    free = w.add("t", priority=1, labels=("l",))
    sizes = looked(monkeypatch)
    assert w.claim(BOB)["task_id"] == free
    assert len(sizes) > 2 and max(sizes) < 25_000, sizes
    with pytest.raises(Nothing):
        w.claim(ANN, label="other")


def test_many_dependencies_are_taken_away_in_one_pass(w: World) -> None:
    """However many are named, whether they are there or not."""
    task = w.add("t", after=[w.add() for _ in range(3)])
    answer = planning.update(w.store, USER, task, {}, rm_deps=[f"n{n}" for n in range(60_000)])
    assert answer["already"]
    with pytest.raises(NotFound):
        planning.update(w.store, USER, task, {}, add_deps=["nowhere"])
