"""Tasks against a simple model in memory: random commands, time that passes, agents that start anew, lost indexes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kit import journaled, tree
from mbox.agents import registry
from mbox.errors import MboxError, Nothing
from mbox.format import patterns, places
from mbox.format.documents import ACTIVE, FINAL
from mbox.store.store import Actor
from mbox.tasks import batches, claims, planning, ready
from mbox.tasks.drafts import TaskDraft
from taskkit import LEASE, USER, World, opened

NAMES = ("ann", "bob", "rae")
PATHS = ("src/a.py", "src/*.py", "src", "lib/b.py")
MEET = {
    (a, b) for a in PATHS for b in PATHS if patterns.intersect(patterns.parse(a), patterns.parse(b))
}  # fmt: skip
HELD = ("start", "done", "submit", "fail", "release")

who = st.sampled_from(NAMES)
some = st.integers(min_value=0, max_value=30)


class Task:
    """What the model knows of a task."""

    def __init__(self, number: int, after: list[str], path: str | None, needs: bool, priority: int) -> None:
        self.number, self.after, self.path, self.needs, self.priority = number, after, path, needs, priority
        self.status, self.hold = "queued", False
        self.attempts, self.round = 0, 1
        self.owner: Actor | None = None
        self.reviewer: Actor | None = None
        self.until = 0.0
        self.reserved_until = 0.0
        """When the reservation made with the claim runs out; 0 if there is none."""

    def is_held(self) -> bool:
        return self.status in ACTIVE

    def end(self) -> None:
        """The lease and the reservation end."""
        self.until = self.reserved_until = 0.0


class TaskMachine(RuleBasedStateMachine):
    """Each command is done to the store and to the model; then both must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="mbox-tasks-"))
        self.model: dict[str, Task] = {}
        self.incarnation = dict.fromkeys(NAMES, 1)
        self.boots = 1
        self.older: dict[Path, bytes] = {}
        """Each document as it was first seen, for git to bring back."""

    @initialize()
    def begin(self) -> None:
        """An empty store with three agents; only ann can gpu."""
        self.w = World(self.root, "durability: fast\n")

    def teardown(self) -> None:
        """The journal tells the same story as the documents; the folder goes."""
        if hasattr(self, "w"):
            self.agree_after_rebuild()
            self.w.store.close()
        shutil.rmtree(self.root)

    # -- the model -----------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.w.host.mono()

    def actor(self, name: str) -> Actor:
        return Actor(name, self.incarnation[name])

    def pick(self, number: int) -> str | None:
        ids = list(self.model)
        return ids[number % len(ids)] if ids else None

    def sweep(self) -> None:
        """What the store does before every command."""
        for task in self.model.values():
            if task.reserved_until and task.reserved_until <= self.now():
                task.reserved_until = 0.0
            if task.is_held() and task.until <= self.now():
                task.attempts += 1
                task.end()
                if task.attempts < 2:
                    task.status, task.owner = "queued", None
                else:
                    task.status = "deadletter"
            elif task.status == "review" and task.reviewer and task.until <= self.now():
                task.reviewer, task.until = None, 0.0

    def renew(self, actor: Actor) -> None:
        """What the store does after every command of an agent, refused ones too: what it holds and has used a third of
        runs anew.
        """
        for task in self.model.values():
            mine = (task.is_held() and task.owner == actor) or (task.status == "review" and task.reviewer == actor)
            if mine and task.until - self.now() <= LEASE * 2 / 3:
                task.until = self.now() + LEASE
            if task.reserved_until and task.owner == actor and task.reserved_until - self.now() <= LEASE * 2 / 3:
                task.reserved_until = self.now() + LEASE

    def blocked(self, name: str, task: Task) -> bool:
        """Whether somebody else's reservation meets the task's path."""
        return task.path is not None and any(
            other.reserved_until and other.owner and other.owner.name != name and (task.path, other.path) in MEET
            for other in self.model.values()
        )

    def claimable(self, name: str, task: Task) -> bool:
        return (
            task.status == "queued"
            and not task.hold
            and all(self.model[dep].status == "done" for dep in task.after)
            and not (task.needs and name != "ann")
            and not self.blocked(name, task)
        )

    def take(self, actor: Actor, task: Task) -> None:
        task.status, task.owner, task.reviewer = "claimed", actor, None
        task.until = self.now() + LEASE
        task.reserved_until = task.until if task.path else 0.0

    def urgency(self, task_id: str) -> int:
        """The priority of the most urgent task that waits for it, or its own."""
        waiting = (ident for ident, task in self.model.items() if task_id in task.after and task.status not in FINAL)
        return max(self.model[task_id].priority, *map(self.urgency, waiting), 0)

    # -- commands ------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model) < 12)
    @rule(
        deps=st.lists(some, max_size=2), path=st.sampled_from((None, *PATHS)), needs=st.booleans(),
        priority=st.integers(4, 6),
    )  # fmt: skip
    def add(self, deps: list[int], path: str | None, needs: bool, priority: int) -> None:
        """Add a task that may depend on others."""
        after = list(dict.fromkeys(dep for number in deps if (dep := self.pick(number))))
        draft = TaskDraft(
            None, "a task", depends_on=tuple(after), touched_paths=(path,) if path else (), priority=priority,
            requires=("gpu",) if needs else (), max_attempts=2,
        )  # fmt: skip
        task_id = planning.add(self.w.store, USER, draft)["task_id"]
        self.sweep()
        self.model[task_id] = Task(len(self.model), after, path, needs, priority)

    @rule(name=who)
    def claim(self, name: str) -> None:
        """Claim the next task."""
        actor = self.actor(name)
        self.sweep()
        ready = [item for item in self.model.items() if self.claimable(name, item[1])]
        ready.sort(key=lambda item: (-self.urgency(item[0]), item[1].number))
        try:
            got = claims.claim(self.w.store, actor, claims.ClaimRequest())["task_id"]
        except Nothing:
            got = None
        assert got == (ready[0][0] if ready else None)
        if ready:
            self.take(actor, ready[0][1])
        self.renew(actor)

    @rule(name=who, number=some)
    def claim_id(self, name: str, number: int) -> None:
        """Claim a given task."""
        if (task_id := self.pick(number)) is None:
            return
        task, actor = self.model[task_id], self.actor(name)
        self.sweep()
        mine = task.is_held() and task.owner == actor
        token = self.w.doc(task_id)["token"] if mine else None
        status = self.tried("claim", name, task_id, token)
        assert (status == 0) == (mine or self.claimable(name, task))
        if status == 0 and not mine:
            self.take(actor, task)
        self.renew(actor)

    def tried(self, verb: str, name: str, task_id: str, token: int | None = None) -> int:
        """The exit status of a command; one that fails changes no document."""
        self.w.store.transact(lambda tx: None, USER)  # sweeps
        before = tree(self.root)
        status = self.w.exit_of(verb, self.actor(name), task_id, token)
        assert status == 0 or tree(self.root) == before
        return status

    @rule(name=who, number=some, verb=st.sampled_from(HELD), wrong=st.booleans())
    def holder(self, name: str, number: int, verb: str, wrong: bool) -> None:
        """A holder's verb, by anybody, with no token or a wrong one."""
        if (task_id := self.pick(number)) is None:
            return
        task, actor = self.model[task_id], self.actor(name)
        self.sweep()
        count = self.w.records()
        status = self.tried(verb, name, task_id, 1 if wrong else None)
        allowed = task.is_held() and task.owner == actor and not wrong
        if allowed:
            assert status == 0
            self.holder_did(verb, task)
        else:
            assert status in (0, 5)
            assert self.w.records() - count <= self.swept(count)
        self.renew(actor)

    def swept(self, count: int) -> int:
        """How many of the records after the first ``count`` are the sweep's."""
        return sum(record["by"] == "sweep" for record in journaled(self.w.store)[count:])

    def holder_did(self, verb: str, task: Task) -> None:
        if verb == "start":
            task.status = "running"
            return
        task.end()
        task.status = {"done": "done", "submit": "review", "fail": "failed", "release": "queued"}[verb]
        if verb == "release":
            task.owner = None

    @rule(name=who, number=some, verb=st.sampled_from(("review", "approve", "reject")))
    def reviewer(self, name: str, number: int, verb: str) -> None:
        """A reviewer's verb, by anybody."""
        if (task_id := self.pick(number)) is None:
            return
        task, actor = self.model[task_id], self.actor(name)
        self.sweep()
        status = self.tried(verb, name, task_id)
        live = task.status == "review" and task.reviewer == actor
        if verb == "review":
            older = task.reviewer is not None and task.reviewer.name == name
            free = task.status == "review" and (task.reviewer is None or older) and (task.owner or actor).name != name
            assert (status == 0) == free
            if free and not live:
                task.reviewer, task.until = actor, self.now() + LEASE
        elif live:
            assert status == 0
            task.end()
            task.status, task.owner = ("done", task.owner) if verb == "approve" else ("queued", None)
            task.round += verb == "reject"
            task.reviewer = task.reviewer if verb == "approve" else None
        else:
            assert status in (0, 5)
        self.renew(actor)

    @rule(number=some, verb=st.sampled_from(("requeue", "cancel")))
    def mend(self, number: int, verb: str) -> None:
        """Requeue or cancel, by a person."""
        if (task_id := self.pick(number)) is None:
            return
        task = self.model[task_id]
        self.sweep()
        self.tried(verb, "bob", task_id)
        self.renew(self.actor("bob"))
        if verb == "cancel" and task.status not in FINAL:
            task.end()
            task.status = "cancelled"
        elif verb == "requeue" and task.status in batches.REQUEUED:
            task.status, task.owner, task.reviewer, task.attempts = "queued", None, None, 0

    @rule(number=some, hold=st.booleans())
    def hold(self, number: int, hold: bool) -> None:
        """Hold a task back, or let it go."""
        if (task_id := self.pick(number)) is None:
            return
        self.sweep()
        try:
            planning.update(self.w.store, USER, task_id, {"hold": "wait" if hold else ""})
        except MboxError:
            assert self.model[task_id].status in FINAL
            assert self.model[task_id].hold != hold
        else:
            self.model[task_id].hold = hold

    @rule(number=some, other=some)
    def depend(self, number: int, other: int) -> None:
        """Let a task depend on another; what would be a cycle is refused."""
        task_id, dep = self.pick(number), self.pick(other)
        if task_id is None or dep is None:
            return
        self.sweep()
        task = self.model[task_id]
        try:
            planning.update(self.w.store, USER, task_id, {}, [dep])
        except MboxError:
            assert task.status in FINAL or self.reaches(dep, task_id)
        else:
            assert dep in task.after or not self.reaches(dep, task_id)
            task.after = list(dict.fromkeys([*task.after, dep]))

    def reaches(self, start: str, goal: str) -> bool:
        """Whether ``start`` is ``goal`` or depends on it."""
        return start == goal or any(self.reaches(dep, goal) for dep in self.model[start].after)

    @rule(seconds=st.sampled_from((1.0, 700.0, 1300.0, 1801.0)))
    def time_passes(self, seconds: float) -> None:
        """Time passes; nobody does anything."""
        self.w.host.advance(seconds)

    @rule(name=who)
    def start_anew(self, name: str) -> None:
        """A new process takes a name over; what the older one held is nobody's until it runs out."""
        self.sweep()
        self.incarnation[name] += 1
        registry.add(self.w.store, USER, name, {}, new=True)

    @rule()
    def lose_the_index(self) -> None:
        """The index is deleted, and the store opened anew."""
        self.w.store.drop_index()
        self.w.store.close()
        self.w.store = opened(self.root, self.w.host)

    @rule(number=some, name=who, how=st.sampled_from(("gone", "older", "older in its place", "all gone")), decides=st.booleans())
    def git_moves_documents(self, number: int, name: str, how: str, decides: bool) -> None:
        """Documents vanish, or come back as they were: a decision, or whoever reads, sees what the journal says."""
        path = self.root / places.task(self.pick(number) or "t0")
        if not path.exists():
            return
        if how != "older in its place":
            path.unlink()
        if how.startswith("older"):
            path.write_bytes(self.older[path])
        elif how == "all gone":
            for folder in (places.TASKS, places.RESERVATIONS, places.AGENTS):
                for other in (self.root / folder).glob("*.json"):
                    other.unlink()
        if decides:
            self.claim(name)

    @rule()
    def reboot(self) -> None:
        """The machine starts anew: leases go on by the clock on the wall."""
        before, self.boots = self.now(), self.boots + 1
        self.w.host.reboot(f"boot-{self.boots}")
        gone = before + 1 - self.now()  # of the clock that starts again
        for task in self.model.values():
            task.until -= gone if task.until else 0
            task.reserved_until -= gone if task.reserved_until else 0
        self.w.store.close()
        self.w.store = opened(self.root, self.w.host)

    # -- agreement -----------------------------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        """After what has run out is swept, every task is as the model says, and so is what is ready."""
        if not hasattr(self, "w"):
            return
        self.w.store.bring_up()
        self.w.store.transact(lambda tx: None, USER)
        self.sweep()
        for path in (self.root / places.TASKS).glob("*.json"):
            self.older.setdefault(path, path.read_bytes())
        for task_id, task in self.model.items():
            doc = self.w.doc(task_id)
            assert (doc["status"], doc["attempt_count"], doc["round"]) == (task.status, task.attempts, task.round)
            assert (Actor(doc["owner"], doc["incarnation"]) if doc["owner"] else None) == task.owner
            assert doc["depends_on"] == task.after
            assert bool(doc["token"]) == self.is_leased(task)
            assert self.w.is_leased(task_id) == task.is_held()
            if task.status == "review":
                assert doc["reviewer"] == (task.reviewer.name if task.reviewer else None)
        reserved = [task for task in self.model.values() if task.reserved_until]
        assert len(self.w.reserved()) == len(reserved)
        for name in NAMES:
            wanted = {task_id for task_id, task in self.model.items() if self.claimable(name, task)}
            assert {row["task_id"] for row in ready.ready(self.w.store, name)} == wanted

    @staticmethod
    def is_leased(task: Task) -> bool:
        return task.is_held() or (task.status == "review" and task.reviewer is not None)

    def agree_after_rebuild(self) -> None:
        """Candidates from a new index are those of the one that followed along."""

        def candidates() -> Any:
            return self.w.store.transact(
                lambda tx: [
                    (name, sorted(task_id for task_id in tx.index.candidates(["gpu"], None, None, name)
                                  if not claims.obstacle(tx, tx.read(places.task(task_id)) or {}, ["gpu"])
                                  and not claims.blocker(tx, name, tx.read(places.task(task_id)) or {})))
                    for name in NAMES
                ],
                USER,
            )  # fmt: skip

        before = candidates()
        self.w.store.drop_index()
        assert candidates() == before


SETTINGS = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip


def test_tasks() -> None:
    """Forty random histories."""
    run_state_machine_as_test(TaskMachine, settings=SETTINGS)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_tasks_long() -> None:
    """A thousand longer ones."""
    run_state_machine_as_test(TaskMachine, settings=settings(SETTINGS, max_examples=1000, stateful_step_count=60))
