"""The report of a team: from the journal alone, from the record that called it together, whatever the clocks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mbox.agents import roster
from mbox.format import operations
from mbox.liveness import departure
from mbox.mail import sending
from mbox.mail.sending import MailDraft
from mbox.report.history import RecordFilter
from mbox.store.store import Actor
from mbox.store.transaction import SWEEP
from mbox.tasks.drafts import TaskDraft as Task
from mbox.team import lifecycle, report, teamfile
from taskkit import USER, World

W1, W2 = Actor("w1", 1), Actor("w2", 1)
TEXT = "team: blue\nmembers: [{name: boss, role: orchestrator, host: x}, {name: w1, host: x}, {name: w2, host: x}]"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


def up(world: World, *tasks: Task) -> None:
    """Call the team together."""
    lifecycle.up(world.store, USER, teamfile.parse(TEXT, "/blue.yaml"), tasks, {}, "")


def rows(world: World, since: RecordFilter | None = None, by: str = "member") -> dict[str, dict[str, Any]]:
    """The rows of the report."""
    team = roster.require(world.store, world.store.read, "blue")
    return {row.pop(by): row for row in report.report(world.store, team, since)[f"{by}s"]}


def test_what_was_before_the_team_is_not_counted(world: World) -> None:
    """Tasks wait since they were made; mail and claims of before do not count, nor does work before the start."""
    up(world)
    lifecycle.change_state(world.store, USER, "blue", "down")
    world.add("old", id="old")
    world.claim(W1, "old")
    sending.send(world.store, W1, ["w2"], MailDraft(body="x"))
    world.add("waits", id="waits")
    world.host.advance(100)
    up(world)
    assert rows(world)["w1"] == {}
    world.host.advance(20)
    world.verb("done", W1, "old")
    world.claim(W2, "waits")
    found = rows(world)
    assert found["w1"] == {"done": 1, "working": "20s"}
    assert found["w2"] == {"claimed": 1, "waiting": "2m"}


def test_a_clock_that_is_set_back_hides_nothing(world: World) -> None:
    """The beginning is a record, not a time; times are never below nothing."""
    up(world, Task(id="a", title="A"), Task(id="b", title="B"))
    world.host.w -= 3600
    world.claim(W1, "a")
    world.verb("done", W1, "a")
    assert rows(world)["w1"] == {"claimed": 1, "done": 1}


def test_who_is_gone_loses_and_review_is_no_work(world: World) -> None:
    """`agent.dead` is a conflict and a retry, or a death, of who held; time in review is not working time."""
    up(world, Task(id="a", title="A", stage="impl"), Task(id="b", title="B", stage="impl", max_attempts=1),
       Task(id="c", title="C", stage="impl"))  # fmt: skip
    for ident in ("a", "b"):
        world.claim(W1, ident)
    world.claim(W2, "c")
    world.host.advance(10)
    world.verb("submit", W2, "c")
    world.verb("review", W1, "c")
    world.host.advance(50)
    world.store.transact(lambda tx: departure.settle(tx, "w1", 1, operations.AGENT_DEAD, "gone"), SWEEP)
    world.host.advance(5)
    world.verb("review", Actor("boss", 1), "c")
    world.verb("approve", Actor("boss", 1), "c")
    found = rows(world)
    assert found["w1"] == {"claimed": 2, "retried": 1, "dead": 1, "conflicts": 2, "working": "2m"}
    assert found["w2"] == {"claimed": 1, "submitted": 1, "done": 1, "approved": 1, "working": "10s"}
    assert found["boss"] == {"approvals": 1}
    assert rows(world, by="stage")["impl"]["conflicts"] == 2


def test_a_change_while_it_waits_does_not_begin_the_wait_anew(world: World) -> None:
    """But a task that failed and was queued again waits from then on."""
    from mbox.tasks import planning

    up(world, Task(id="a", title="A"))
    world.host.advance(30)
    planning.update(world.store, USER, "a", {"title": "B"})
    world.host.advance(30)
    world.claim(W1, "a")
    assert rows(world)["w1"]["waiting"] == "60s"
    world.verb("fail", W1, "a")
    world.host.advance(100)
    world.verb("requeue", USER, "a")
    world.host.advance(7)
    world.claim(W2, "a")
    assert rows(world)["w2"]["waiting"] == "7s"


def test_since_another_place(world: World) -> None:
    """A number, or a time."""
    up(world, Task(id="a", title="A"), Task(id="b", title="B"))
    world.claim(W1, "a")
    world.verb("done", W1, "a")
    seq = world.store.end().seq
    world.host.advance(60)
    world.claim(W1, "b")
    assert rows(world)["w1"]["claimed"] == 2
    assert rows(world, RecordFilter(since_seq=seq))["w1"] == {"claimed": 1, "waiting": "60s"}


def test_a_large_plan_is_in_the_record(world: World) -> None:
    """Each of more than a hundred tasks is found by `mbox log --task`."""
    up(world, *(Task(id=f"j{n}", title="J") for n in range(150)))
    assert len(world.last()["on"]) == 1 + 3 + 150


def test_a_task_waits_from_when_it_is_ready(world: World) -> None:
    """Not while it is behind another, nor while it is on hold; of several dependencies the last one counts."""
    from mbox.tasks import planning

    alone = (Task(id=name, title=name) for name in "abd")
    up(world, *alone, Task(id="c", title="C", depends_on=("a", "b")))
    world.host.advance(10)
    for ident in ("a", "b"):
        world.claim(W1, ident)
    world.host.advance(100)
    world.verb("done", W1, "a")
    world.host.advance(100)
    world.verb("done", W1, "b")
    world.host.advance(5)
    world.claim(W2, "c")
    found = rows(world)
    assert found["w1"]["waiting"] == "20s" and found["w2"]["waiting"] == "5s"
    planning.update(world.store, USER, "d", {"hold": "later"})
    world.host.advance(500)
    planning.update(world.store, USER, "d", {"hold": ""})
    world.host.advance(2)
    world.claim(W2, "d")
    assert rows(world)["w2"]["waiting"] == "7s"


def test_a_dependency_that_was_done_before_the_start_counts_from_its_end(world: World) -> None:
    """Where the report begins later, the document says when the dependency was done."""
    up(world, Task(id="a", title="A"), Task(id="b", title="B", depends_on=("a",)))
    world.claim(W1, "a")
    world.host.advance(100)
    world.verb("done", W1, "a")
    seq = world.store.end().seq
    world.host.advance(30)
    world.claim(W2, "b")
    assert rows(world, RecordFilter(since_seq=seq))["w2"]["waiting"] == "30s"


def test_approvals_and_rejections_count_for_both(world: World) -> None:
    """The author has them as `approved` and `rejected`, the reviewer as `approvals` and `rejections`; a stage once."""
    up(world, Task(id="a", title="A", stage="impl"))
    boss = Actor("boss", 1)
    for verb in ("reject", "approve"):
        world.claim(W1, "a")
        world.verb("submit", W1, "a")
        world.verb("review", boss, "a")
        world.verb(verb, boss, "a")
    found = rows(world)
    assert found["w1"] == {"claimed": 2, "submitted": 2, "done": 1, "approved": 1, "rejected": 1}
    assert found["boss"] == {"approvals": 1, "rejections": 1}
    assert rows(world, by="stage")["impl"] == found["w1"]


def test_it_says_what_each_sum_is_a_sum_of(world: World) -> None:
    """A line for each column that is there."""
    up(world, Task(id="a", title="A"))
    world.host.advance(3)
    world.claim(W1, "a")
    team = roster.require(world.store, world.store.read, "blue")
    said = {line.partition(":")[0] for line in report.report(world.store, team)["sums"]}
    assert said == {"claimed", "waiting"}
    assert set(report.SUMS) == {*report.COUNTS, "waiting", "working"}
