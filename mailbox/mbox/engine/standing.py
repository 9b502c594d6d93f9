"""Where a run stands, and the one decision that changes it: a `Move` inside a transaction.

A move reads the run, its definition and the documents that these name, and leaves a seat, enters the next step, tries again, asks
or stops; several steps that need nobody (mail, an ``each`` without items, a step that nobody can do) are passed in one record, at
most `HOPS`.  A move is safe to run again: whoever comes with a result for a seat that is not open any more changes nothing.

What each kind of step does when it is entered, and what the end of an item means, is handed in (`Ways`), so that the modules
of the kinds can be built on this one.  What a task means is `verdicts`; where an edge leads is `course`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.errors import Usage
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.store.transaction import Transaction
from mbox.system import clock

from . import budget, course, runs
from .course import Edge
from .facts import Facts

if TYPE_CHECKING:
    from mbox.hosts.ladder import Ladders
    from mbox.workflow.definition import Role, Step

HOPS = 64
"""Steps that one record passes at most."""


class Result(NamedTuple):
    """What a seat came to.  ``failed`` is a kind of the page's list, or None."""

    output: Any = None
    failed: str | None = None
    detail: str = ""
    exit: int | None = None
    more: Mapping[str, Any] = {}
    """Other fields of the step's document."""


class World(NamedTuple):
    """What a move may know besides the store."""

    facts: Facts
    ladders: Ladders


class Ways(NamedTuple):
    """What the kinds of steps do inside a move."""

    open_step: Callable[[Move, Step, int], None]
    open_seat: Callable[[Move, Step, int, int | None, Any], None]
    item_ended: Callable[[Move, Document], None]


class Move:
    """One decision about a run, as it is made; `close` puts what it came to into the transaction."""

    def __init__(self, tx: Transaction, run: str, around: World, ways: Ways) -> None:
        self.tx = tx
        self.ways = ways
        self.run = runs.require(tx.store, run, tx.read)
        for name in ("settings", "inputs", "tree", "visits", "last", "memory", "spent"):
            self.run[name] = dict(self.run[name] or {})
        root = runs.root_of(self.run)
        self.root = self.run if root == run else runs.require(tx.store, root, tx.read)
        self.workflow = runs.workflow(tx.read, run)
        self.facts, self.ladders = around
        self.fresh: dict[str, Document] = {}
        """Seats that were changed, by name."""
        self.on: list[str] = [run]
        self.why: list[str] = []
        self.is_made = False
        self.is_opening = False
        """Whether items of a step are being opened, one after the other."""
        self.starts = False
        """Whether whoever makes this move runs the command of the step that it enters, at once: then it has *started*."""
        self._left = False
        """Whether a step was left or entered, and not only an item of one."""
        self._next = ""

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def at(self) -> dict[str, Any]:
        return self.run["at"] or {}

    @property
    def memory(self) -> dict[str, Any]:
        memory: dict[str, Any] = self.run["memory"]
        return memory

    @property
    def shared(self) -> dict[str, Any]:
        """What all runs of one budget remember together."""
        if self.root is not self.run:
            self.root["memory"] = dict(self.root["memory"] or {})
        shared: dict[str, Any] = self.root["memory"]
        return shared

    def seat(self, step: str, visit: int, item: int | None = None) -> Document | None:
        """The document of a seat, as this move has it."""
        name = runs.seat(step, visit, item)
        return self.fresh.get(name) or self.tx.read(places.step(self.run["run"], name))

    def names(self, **more: Any) -> dict[str, Any]:
        """What expressions and templates see here."""
        steps = course.Steps(self.tx.read, self.run, self.workflow, self.fresh)
        return course.names(self.run, steps, self.facts.get, **more)

    def seen(self, doc: Document) -> dict[str, Any]:
        """What templates and expressions of a seat see."""
        return self.names(item=doc["value"], visits=doc["visit"])

    def is_here(self, step: str, visit: int) -> bool:
        """Whether the run stands at this visit, open."""
        here = tuple(self.at.get(name) for name in ("step", "visit", "state"))
        return self.run["status"] not in runs.ENDED and here == (step, visit, "open")

    def role_of(self, step: Step, item: Any = None) -> Role:
        """The role that does an agent's step; a host's name is a role of that host alone."""
        from mbox.workflow import definition, templates

        word = step.role
        if not isinstance(word, str):
            word = str(templates.value(word, self.names(item=item)))
        known = self.workflow.roles.get(word)
        return known or definition.Role(
            name=word, phase=None, hosts=(word,), family=(), access="write", persona="", policy="", knowledge="", capabilities=()
        )

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, doc: Document) -> None:
        """Keep what a seat came to."""
        self.fresh[runs.seat_of(doc)] = doc

    def put_task(self, doc: Document) -> None:
        """Write a task of the run."""
        self.tx.put(doc, places.task(doc["task_id"]))
        if doc["task_id"] not in self.on:
            self.on.append(doc["task_id"])

    def close(self, op: str) -> bool:
        """Put everything into the transaction; whether there was anything."""
        self._go_on()
        if not self.is_made:
            return False
        run = self.run["run"]
        for name, doc in self.fresh.items():
            self.tx.put(doc, places.step(run, name))
            self.on.insert(1, name)
        self.tx.put(self.run, places.run(run))
        if self.root is not self.run:
            self.tx.put(self.root, places.run(self.root["run"]))
        ended = self.run["status"] in runs.ENDED
        named = op
        if op == operations.RUN_STEP:
            named = operations.RUN_END if ended else op if self._left else operations.RUN_ITEM
        self.tx.record(named, list(dict.fromkeys(self.on)), "; ".join(self.why)[:1000])
        return True

    def begin(self) -> None:
        """Enter the first step."""
        self.is_made = True
        self._next = next(iter(self.workflow.steps))

    def enter_pending(self) -> None:
        """Enter the step before which the run stands."""
        if self.run["status"] == "running" and self.at.get("state") == "pending":
            self.is_made = True
            self._next = self.at["step"]

    # -- leaving -------------------------------------------------------------------------------------------------

    def leave(self, seat: Document, result: Result) -> None:
        """A seat is over: the step too, unless it is one item of several."""
        step, visit, item = seat["step"], seat["visit"], seat["item"]
        now = self.seat(step, visit, item)
        if not self.is_here(step, visit) or (now is not None and now["status"] != "open"):
            return
        self.is_made = True
        doc = {**(now or seat), **result.more}
        doc.update(
            status="failed" if result.failed else "done", failed=result.failed, detail=result.detail[:2000], output=result.output,
            exit=result.exit, ended_at=self.tx.now, seconds=round(self.tx.wall - clock.seconds(doc["entered_at"]), 3),
        )  # fmt: skip
        self.put(doc)
        if item is None:
            self.left(doc)
        else:
            self.ways.item_ended(self, doc)

    def left(self, doc: Document) -> None:
        """The step of ``doc`` is over: note it, and take the edge."""
        step = self.workflow.steps[doc["step"]]
        self.run["last"] = {**self.run["last"], step.id: doc["visit"]}
        self._account(doc)
        stuck = self._note_stuck(step, doc)
        seen = self.names(output=doc["output"], exit=doc["exit"], failed=doc["failed"], visits=doc["visit"], stuck=stuck)
        try:
            edge = course.edge(self.workflow, step, seen, self.facts)
        except Usage as error:
            doc.update(status="failed", failed="config", detail=str(error))
            edge = None
        if doc["failed"] and edge is None:
            edge = self._failure(doc)
        assert edge is not None
        doc["edge"] = edge.doc()
        self.why.append(self._told(doc, edge))
        self._next = edge.go

    def _failure(self, doc: Document) -> Edge:
        """Where a failure goes that no rule took: ``on_failure``, once; else the run has failed."""
        self.run["failure"] = {"step": doc["step"], "kind": doc["failed"], "detail": doc["detail"]}
        target = self.workflow.on_failure
        if target and not self.memory.get("failed_over"):
            self.memory["failed_over"] = True
            return Edge(target, when="on_failure")
        return Edge("failed")

    def _told(self, doc: Document, edge: Edge) -> str:
        how = f"failed ({doc['failed']})" if doc["failed"] else "done"
        by = f" by rule {edge.rule}: {edge.when}" if edge.rule else " by on_failure" if edge.when == "on_failure" else ""
        return f"{runs.seat_of(doc)} {how} → {edge.go}{by}"

    def _account(self, doc: Document) -> None:
        """Count the time of the step, and remember what its visit took."""
        self.count_time()
        cost = doc["cost"] or {}
        if cost.get("dispatches"):
            self.memory["prices"] = {**self.memory.get("prices", {}), doc["step"]: cost}

    def count_time(self) -> None:
        """Count what the open step took since it was entered, or since this was counted last; those that wait take nothing."""
        spent, since = {**budget.BLANK, **(self.root["spent"] or {})}, self.at.get("since", self.tx.wall)
        if self.at.get("state") == "open" and self.workflow.steps[self.at["step"]].kind not in ("ask", "wait", "call"):
            spent["seconds"] = round(spent["seconds"] + max(0.0, self.tx.wall - since), 3)
            self.run["at"] = {**self.at, "since": self.tx.wall}
        self.root["spent"] = spent

    def _note_stuck(self, step: Step, doc: Document) -> bool:
        """Whether the step goes in circles: only asked of those that climb by it, or whose rules look."""
        asked = any(rule.when is not None and course.mentions(rule.when, "stuck") for rule in step.next)
        if not asked and not (step.kind == "agent" and step.visits.stronger):
            return False
        before = self.memory.get("prints", {}).get(step.id, [])
        prints = [*before, self.facts.get("print") if self.facts.base else ""][-course.KEPT:]
        last = next((row["last"] for row in reversed(doc["gates"]) if not row["ok"]), "")
        reds = [*self.memory.get("reds", {}).get(step.id, []), last][-2:]
        self.memory["prints"] = {**self.memory.get("prints", {}), step.id: prints}
        self.memory["reds"] = {**self.memory.get("reds", {}), step.id: reds}
        stuck = course.is_stuck(prints, reds) and bool(self.facts.base)
        if stuck:
            self.memory["stuck"] = {**self.memory.get("stuck", {}), step.id: self.memory.get("stuck", {}).get(step.id, 0) + 1}
        return stuck

    # -- entering ------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Enter what is next, until the run waits for somebody, stands or has ended."""
        for _ in range(HOPS):
            target, self._next = self._next, ""
            if not target:
                return
            self._left = True
            if target in course.TARGETS:
                self.end(target)
            elif self._may_enter(target):
                visit = self.run["visits"].get(target, 0) + 1
                self.run["visits"] = {**self.run["visits"], target: visit}
                self.run["at"] = {"step": target, "visit": visit, "state": "open", "since": self.tx.wall}
                self.ways.open_step(self, self.workflow.steps[target], visit)
        if self._next:
            self._stand(self._next)

    def _stand(self, step: str) -> None:
        """Stand before a step; the engine enters it with the next record."""
        self.run["at"] = {"step": step, "visit": self.run["visits"].get(step, 0) + 1, "state": "pending", "since": self.tx.wall}

    def _may_enter(self, target: str) -> bool:
        """Whether the step may be entered now: else the run asks, or stops before it."""
        step, visit = self.workflow.steps[target], self.run["visits"].get(target, 0) + 1
        need = budget.price(self.memory.get("prices", {}).get(target)) if visit > 1 else {}
        if step.kind == "agent" and not step.each:
            need = {**need, "dispatches": max(1, need.get("dispatches", 0))}
        if why := budget.refusal(self.limits, self.root["spent"] or {}, need):
            self._stand(target)
            self.stop("exceeded", f"{target}: {why}")
            return False
        if self.memory.get("allowed", {}).get(target, 0) >= visit:
            return True
        if step.visits.stop and visit >= step.visits.stop:
            self._stand(target)
            self.run["at"]["question"] = _question(f"{target} was visited {visit - 1} times: once more?", ("go", "stop"))
            self.stop("needs_human", f"{target} was visited {visit - 1} times")
            return False
        return not self._asks_of_cycle(step, visit)

    def _asks_of_cycle(self, step: Step, visit: int) -> bool:
        cycle = course.cycle_of(self.workflow, step.id) if step.visits.ask and visit >= step.visits.ask else ""
        if not cycle or cycle in self.memory.get("asked", ()):
            return False
        self._stand(step.id)
        self.run["at"].update(
            state="asked", cycle=cycle,
            question=_question(f"{step.id} was visited {visit - 1} times: go on round its cycle?", ("go", "stop")),
        )  # fmt: skip
        if (self.root["settings"] or {}).get("unattended"):
            self.stop("needs_human", f"{step.id} was visited {visit - 1} times, and nobody attends")
        return True

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of the budget."""
        return dict((self.root["settings"] or {}).get("limits") or {})

    def stop(self, status: str, reason: str) -> None:
        """The run stands still, and goes on at that step when it is resumed."""
        self.count_time()
        self.run.update(status=status, reason=reason)
        self.why.append(f"{status}: {reason}")
        self.is_made = True
        self._tell()

    def end(self, target: str) -> None:
        """The run has ended, or (``needs_human``) stands still by an edge to that."""
        if target == "needs_human":
            last = self.at.get("step")
            self._stand(last or next(iter(self.workflow.steps)))
            self.stop("needs_human", f"{last} leads there")
            return
        if target == "succeeded" and self.memory.get("failed_over"):
            target = "failed"
        self.run.update(status=target, at=None, ended_at=self.tx.now)
        failure = self.run["failure"]
        if target == "failed" and not self.run["reason"]:
            said = f"{failure['step']}: {failure['kind']}: {failure['detail']}" if failure else "an edge leads there"
            self.run["reason"] = said
        if target == "succeeded":
            self.run["reason"] = ""
            self.run["output"] = self._output()
        self._tell()

    def _tell(self) -> None:
        """Mail to the agent that sent the run into the background: it has ended, or stands still."""
        run, by = self.run["run"], str(self.run["by"])
        is_heard = self.run["settings"].get("detached") and not self.run["parent"]
        if not is_heard or not places.is_name(by) or self.tx.glance(places.agent(by)) is None:
            return
        from mbox.mail import sending

        body = f"{self.run['reason']}\n\nworkflow show {run}".strip()
        if sent := sending.system(self.tx, by, f"{run}: {self.run['status']}", body, type="run_mail"):
            self.on.append(sent)

    def _output(self) -> Any:
        from mbox.workflow import expressions

        seen = self.names()
        try:
            return {
                name: expressions.evaluate(one, seen, self.facts.exists) for name, one in self.workflow.output.items()
            } or None
        except Usage as error:
            self.run.update(status="failed", reason=f"output: {error}")
            return None


def _question(text: str, choices: tuple[str, ...]) -> dict[str, Any]:
    return {"text": text, "choices": list(choices)}


def blank(run: Document, step: Step, visit: int, entered_at: str, item: int | None = None) -> Document:
    """The document of a seat of ``run``, which has just come to it, that nothing was said of yet."""
    said = {"run": run["run"], "step": step.id, "visit": visit, "item": item, "nth": sum((run["visits"] or {}).values())}
    return documents.new("step", kind_=step.kind, entered_at=entered_at, **said)
