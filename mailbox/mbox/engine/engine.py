"""The engine of one run: it looks what is to be done, does it, and waits.

Promised: one engine a run (a kernel lock; the second is `NotYours`); every look begins from the documents alone; what cannot be
done now is waited for without work in between; a run that is paused or cancelled is left as it is within a second, a command
that it runs is ended.  Not promised: that an engine which is killed said anything; the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import MboxError, NotYours, Usage
from mbox.format import operations, places
from mbox.format.documents import ACTIVE, Document
from mbox.store import mutex
from mbox.store.transaction import Actor
from mbox.store.waiting import Watch, journal_paths, until
from mbox.system.clock import inf

from . import attempts, beginning, budget, commands, control, deeds, items, runs, staffing, verdicts
from .moves import move
from .standing import Move, Result, blank

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.workflow.definition import Step, Workflow
    from mbox.workflow.scenarios import Scenario

LOOK = 5.0
"""Seconds between two looks while nothing happens."""

SOON = 0.2
"""Seconds until it is looked again whether a worker of an attempt before has ended."""

FAR = 300.0
"""Seconds to a quota's reset from which an unattended run is paused, and not waited for."""

PATIENCE = 0.5
"""Seconds that an engine waits for the lock of its run."""

Ask = Callable[[dict[str, Any]], tuple[str, str] | None]
"""Asks the person at the terminal: a question (``run step text choices``, and ``until``, wall time, where it ends by itself) to
the choice and a text; None where nobody is there, or it is not asked any more."""


def nobody(_question: dict[str, Any]) -> tuple[str, str] | None:
    """There is no terminal."""
    return None


def engine_lives(store: Store, run: str) -> bool:
    """Whether an engine works on the run now."""
    return mutex.is_held(store, places.run_lock(run))


class Engine:
    """Drives one run, and those that it calls; not to be used twice."""

    def __init__(self, store: Store, run: str, environ: Mapping[str, str], ask: Ask = nobody,
                 seen: Callable[[Document], None] = lambda run: None) -> None:  # fmt: skip
        self.store, self.run, self.environ, self.ask, self.seen = store, run, environ, ask, seen
        self.staff = staffing.Staffing(store, environ)
        self.due = inf
        self.answers: Scenario | None = None
        self.mine: set[str] = set()
        """Commands and gates that this engine began, by key."""

    def drive(self) -> Document:
        """Go on until the run has ended or stands still; its document."""

        def refusal() -> NotYours:
            return NotYours(f"{self.run} has an engine already; `workflow watch {self.run}` shows what it does")

        with mutex.exclusively(self.store, places.run_lock(self.run), PATIENCE, refusal):
            return self._drive()

    def _drive(self) -> Document:
        store = self.store
        with Watch(store, lambda: journal_paths(store)) as watch:
            while True:
                at = store.end().seq
                doc = runs.require(store, self.run)
                self.seen(doc)
                if doc["status"] != "running":
                    if doc["status"] in runs.ENDED:
                        staffing.retire(store, self.run)
                    self._not_started(doc)
                    return runs.require(store, self.run)
                self.due = store.host.mono() + LOOK
                if not self.round(doc):
                    self._rest(watch, at)

    def _rest(self, watch: Watch, at: int) -> None:
        """Sleep until something was recorded, or is due."""
        store = self.store

        def look() -> bool | None:
            return True if store.end().seq != at or store.host.mono() >= self.due else None

        until(store, watch, look, max(0.0, self.due - store.host.mono()), due=lambda: self.due)

    def at(self, seconds: float) -> None:
        """Look again in so many seconds at the latest."""
        self.due = min(self.due, self.store.host.mono() + max(0.0, seconds))

    # -- one look ------------------------------------------------------------------------------------------------

    def round(self, run: Document) -> bool:
        """Do what can be done now for ``run``; whether anything was."""
        workflow = runs.workflow(self.store.read, run["run"])
        at = run["at"] or {}
        if self._is_over_time(run, workflow, at):
            return True
        if at.get("state") == "pending":
            beginning.prepared(self.store, run)
            return move(self.store, run, Move.enter_pending, operations.RUN_STEP)
        if at.get("short"):
            return move(self.store, run, items.go_on, operations.RUN_STEP)
        if at.get("state") == "asked":
            return self._ask_person(run, at["step"], at["question"])
        step = workflow.steps[at["step"]]
        seats = control.open_seats(self.store, run) or ([] if step.each else [self._alone(run, step, at)])
        did = False
        for seat in seats:
            did = self._deed(run, workflow, step, seat) or did
            if did and self._stands(run["run"]):
                break
        return did

    def _alone(self, run: Document, step: Step, at: dict[str, Any]) -> Document:
        from mbox.system.clock import stamp

        return blank(run, step, at["visit"], stamp(at["since"]))

    def _stands(self, run: str) -> bool:
        doc = self.store.read(places.run(run))
        return doc is None or doc["status"] != "running"

    def _left(self, run: Document) -> float:
        """Seconds that the run may still take."""
        root = run if runs.root_of(run) == run["run"] else runs.require(self.store, runs.root_of(run))
        limit = ((root["settings"] or {}).get("limits") or {}).get("time")
        at = run["at"] or {}
        if limit is None or at.get("state") != "open":
            return inf
        spent: float = (root["spent"] or budget.BLANK)["seconds"]
        return float(limit) - spent - (self.store.host.wall() - float(at["since"]))

    def _is_over_time(self, run: Document, workflow: Workflow, at: dict[str, Any]) -> bool:
        """Stop a run whose time is over."""
        if at.get("state") != "open" or workflow.steps[at["step"]].kind in ("ask", "wait", "call"):
            return False
        left = self._left(run)
        if left > 0:
            self.at(left)
            return False

        def stop(made: Move) -> None:
            if made.run["status"] == "running" and made.is_here(at["step"], at["visit"]):
                made.count_time()
                made.stop("exceeded", budget.refusal(made.limits, made.root["spent"], {}) or "time")

        return move(self.store, run, stop, operations.RUN_STOP)

    def _deed(self, run: Document, workflow: Workflow, step: Step, seat: Document) -> bool:
        act = {
            "agent": self._agent, "run": self._command, "git": self._git, "ask": self._question, "wait": self._wait,
            "call": self._call,
        }[step.kind]  # fmt: skip
        return act(run, workflow, step, seat)

    def _leave(self, run: Document, seat: Document, result: Result) -> bool:
        """Leave a seat; a command that is entered by it starts with the same record, for it is run at once."""
        last = list[Move]()

        def change(made: Move) -> None:
            made.starts = run["parent"] is None
            last[:] = [made]
            made.leave(seat, result)

        did = move(self.store, run, change, operations.RUN_STEP)
        at = (last[0].run["at"] or {}) if did and last else {}
        if at.get("started"):
            self.mine.add(f"{run['run']}.{runs.seat(at['step'], at['visit'])}")
        return did

    def _not_started(self, run: Document) -> None:
        """A step whose command this engine was to run at once, and did not because the run stands: it has not started."""
        at = run["at"] or {}
        if not at.get("started") or f"{run['run']}.{runs.seat(at['step'], at['visit'])}" not in self.mine:
            return

        def change(made: Move) -> None:
            if made.is_here(at["step"], at["visit"]):
                made.run["at"] = {name: value for name, value in made.at.items() if name != "started"}
                made.is_made = True

        move(self.store, run, change, operations.RUN_STOP)

    # -- agents --------------------------------------------------------------------------------------------------

    def _agent(self, run: Document, workflow: Workflow, step: Step, seat: Document) -> bool:
        task = self.store.read(places.task(seat["task"]))
        found = verdicts.verdict(task, seat, step.retry)
        if found.act == "wait":
            assert task is not None
            if task["status"] in ACTIVE and self.staff.settle_dead(run, task):
                return True
            return self._is_late(run, step, seat, task)
        if found.act == "start":
            assert task is not None
            return self._start(run, step, seat, task)
        if found.act == "judge":
            assert task is not None
            return self._judge(run, workflow, seat, task)

        if found.act != "took":
            commands.end_left_over(self.store, f"{run['run']}.{runs.seat_of(seat)}")  # what a worker that was killed left

        def change(made: Move) -> None:
            self._carry_out(made, seat)

        did = move(self.store, run, change, attempts.OPERATIONS.get(found.act, operations.RUN_STEP))
        if found.act == "closed":
            self._pause_if_far(run["run"])
        return did

    def _carry_out(self, made: Move, seat: Document) -> None:
        """What the task means now, under the lock."""
        now = made.seat(seat["step"], seat["visit"], seat["item"])
        if now is None or now["status"] != "open" or not made.is_here(seat["step"], seat["visit"]):
            return
        task = made.tx.read(places.task(seat["task"]))
        found = verdicts.verdict(task, now, made.workflow.steps[seat["step"]].retry)
        if found.act == "took":
            attempts.took(made, now, task or {})
        elif found.act == "closed":
            attempts.closed(made, now, task or {}, found.detail, found.reset)
        elif found.act == "again":
            attempts.again(made, now, task or {}, found.kind, found.detail)
        elif found.act == "failed":
            attempts.failed(made, now, task, found.kind, found.detail)

    def _is_unattended(self, run: Document) -> bool:
        """Whether nobody is there, as was said of the run that a person began."""
        root = runs.require(self.store, runs.root_of(run))
        return bool((root["settings"] or {}).get("unattended"))

    def _pause_if_far(self, run: str) -> None:
        """An unattended run does not wait for a reset that is far."""
        doc = runs.require(self.store, run)
        last = [seat["attempts"][-1] for seat in control.open_seats(self.store, doc)]
        until_ = [row["until"] for row in last if row.get("until")]
        is_far = len(until_) >= max(1, len(last)) and min(until_) - self.store.host.wall() >= FAR
        if not is_far or not self._is_unattended(doc):
            return
        from mbox.system.clock import stamp

        def change(made: Move) -> None:
            if made.run["status"] == "running":
                made.run["at"] = {**made.at, "until": min(until_)}
                made.stop("paused", f"every host is closed by its quota until {stamp(min(until_))[:19]}Z")

        move(self.store, doc, change, operations.RUN_PAUSE)

    def _start(self, run: Document, step: Step, seat: Document, task: Document) -> bool:
        settings, row = run["settings"], seat["attempts"][-1]
        if settings.get("team") or settings.get("workers") == 0:
            return self._is_late(run, step, seat, task)
        root = runs.require(self.store, runs.root_of(run))
        closed = ((root["memory"] or {}).get("closed") or {}).get(row["host"], 0.0)
        wall = self.store.host.wall()
        waits = row.get("until", 0.0) if not row["host"] else closed
        if waits > wall:
            self.at(waits - wall)
            if row["host"]:
                return self._reassign(run, seat)
            self._pause_if_far(run["run"])
            return self._stands(run["run"])
        if not row["host"]:
            return self._reassign(run, seat)
        try:
            if self.staff.start(run, seat, task):
                self.at(SOON)
                return False
        except MboxError as error:
            return self._leave_agent(run, seat, "config", str(error))
        return self._leave_agent(run, seat, "lost", "its worker was started three times and never claimed the task")

    def _reassign(self, run: Document, seat: Document) -> bool:
        def change(made: Move) -> None:
            now = made.seat(seat["step"], seat["visit"], seat["item"])
            task = made.tx.read(places.task(seat["task"]))
            if now is None or task is None or now["status"] != "open" or verdicts.verdict(task, now, {}).act != "start":
                return
            before = now["attempts"][-1]
            attempts.reassign(made, made.workflow.steps[seat["step"]], now, task)
            after = made.seat(seat["step"], seat["visit"], seat["item"])
            same = after is not None and after["attempts"][-1:] == [before]
            if same:
                made.is_made = False

        return move(self.store, run, change, operations.RUN_RETRY)

    def _leave_agent(self, run: Document, seat: Document, kind: str, detail: str) -> bool:
        def change(made: Move) -> None:
            now = made.seat(seat["step"], seat["visit"], seat["item"])
            task = made.tx.read(places.task(seat["task"]))
            if now is not None and now["status"] == "open" and task is not None and task["status"] in ("queued", *ACTIVE):
                attempts.failed(made, now, task, kind, detail)

        return move(self.store, run, change, operations.RUN_STEP)

    def _is_late(self, run: Document, step: Step, seat: Document, task: Document) -> bool:
        """End an attempt that is over its time: what its worker does not see itself."""
        from mbox.system.clock import seconds

        age = self.store.host.wall() - seconds(seat["entered_at"])
        times = step.timeout
        limits = [(times.schedule_to_close, age, "not finished")]
        limits += [(times.schedule_to_start, age, "not begun")] if task["status"] == "queued" else []
        if times.heartbeat is not None and task["status"] in ACTIVE:
            limits.append((max(times.heartbeat, self.store.config.dead_after), self.staff.silence(task), "no heartbeat"))
        for limit, passed, what in limits:
            if limit is None:
                continue
            if passed >= limit:
                return self._leave_agent(run, seat, "timeout", f"{what} within {limit:.0f} s")
            self.at(limit - passed)
        return False

    def _judge(self, run: Document, workflow: Workflow, seat: Document, task: Document) -> bool:
        site = self._site(run, workflow, seat)
        if site.key not in self.mine:
            commands.end_left_over(self.store, site.key)  # gates of an engine that was killed
            self.mine.add(site.key)
        rows = deeds.gates(site)
        if rows is None:
            return True

        def change(made: Move) -> None:
            now = made.seat(seat["step"], seat["visit"], seat["item"])
            found = made.tx.read(places.task(seat["task"]))
            if now is None or found is None or found["status"] != "review" or found["round"] != task["round"]:
                return
            attempts.gated(made, now, found, rows)

        return move(self.store, run, change, operations.RUN_STEP)

    # -- what the engine does itself ---------------------------------------------------------------------------------

    def _site(self, run: Document, workflow: Workflow, seat: Document) -> deeds.Site:
        """Where the seat's commands run: until the run has ended, or its time is over; a pause lets them end."""

        def wanted() -> bool:
            doc = self.store.read(places.run(run["run"]))
            return doc is not None and doc["status"] not in runs.ENDED and self._left(doc) > 0

        return deeds.Site(self.store, run, workflow, seat, self.environ, wanted)

    def _command(self, run: Document, workflow: Workflow, step: Step, seat: Document) -> bool:
        answer = self._scripted(run, seat)
        if answer is not None:
            return self._leave(run, seat, _as_said(step, answer))
        key, at = f"{run['run']}.{runs.seat_of(seat)}", run["at"]
        state = (seat["state"] or {}) if seat["item"] is not None else at
        given = (seat["state"] or {}).get("answer")
        if given and given["choice"] in ("done", "failed"):
            how = f"{given['by']} says so"
            is_done = given["choice"] == "done"
            told = deeds.said(step, given["text"].encode(), how) if is_done else Result(failed="exit", detail=how)
            return self._leave(run, seat, told)
        is_begun = bool(state.get("started")) and key not in self.mine and not (given and given["choice"] == "again")
        if not step.idempotent and not is_begun and key not in self.mine:
            self._begin_command(run, seat)
        if key not in self.mine and (is_begun or step.idempotent):
            commands.end_left_over(self.store, key)
        self.mine.add(key)
        site = self._site(run, workflow, seat)
        try:
            result, tries = deeds.command(site, is_begun), 0
            while result and step.idempotent and result.failed in ("killed", "timeout") and tries < step.retry[result.failed]:
                result, tries = deeds.command(site, False), tries + 1
        except deeds.Unsure:
            self.mine.discard(key)
            return self._ask_whether(run, seat)
        except Usage as error:
            result = Result(failed="config", detail=str(error))
        self.mine.discard(key)
        if result is None:
            return True
        return self._leave(run, seat, result)

    def _begin_command(self, run: Document, seat: Document) -> None:
        """Note that the command may have happened from here on."""

        def change(made: Move) -> None:
            if not made.is_here(seat["step"], seat["visit"]):
                return
            now = made.seat(seat["step"], seat["visit"], seat["item"])
            if seat["item"] is not None or now is not None:
                made.put({**(now or seat), "state": {**((now or seat)["state"] or {}), "started": True}})
            made.run["at"] = {**made.at, "started": True}
            made.is_made = True

        move(self.store, run, change, operations.RUN_START)

    def _ask_whether(self, run: Document, seat: Document) -> bool:
        """Nobody knows whether it happened: a person is asked."""
        text = f"{seat['step']} was killed midway, and nobody knows whether it has happened: again, or is it done, or failed?"

        def change(made: Move) -> None:
            now = made.seat(seat["step"], seat["visit"], seat["item"]) or seat
            state = {**(now["state"] or {}), "question": {"text": text, "choices": list(control.UNKNOWN)}, "started": True}
            made.put({**now, "state": state})
            made.stop("needs_human", f"{runs.seat_of(seat)}: outcome unknown")

        return move(self.store, run, change, operations.RUN_STOP)

    def _git(self, run: Document, workflow: Workflow, _step: Step, seat: Document) -> bool:
        try:
            result = deeds.effect(self._site(run, workflow, seat))
        except Usage as error:
            result = Result(failed="config", detail=str(error))
        return self._leave(run, seat, result)

    def _wait(self, run: Document, _workflow: Workflow, _step: Step, seat: Document) -> bool:
        left = seat["state"]["until"] - self.store.host.wall()
        if left > 0:
            self.at(left)
            return False
        return self._leave(run, seat, Result())

    def _call(self, run: Document, _workflow: Workflow, _step: Step, seat: Document) -> bool:
        child = runs.require(self.store, seat["state"]["child"])
        if child["status"] == "running":
            return self.round(child)
        if child["status"] in runs.ENDED:
            staffing.retire(self.store, child["run"])
            if child["status"] == "succeeded":
                return self._leave(run, seat, Result(child["output"]))
            return self._leave(run, seat, Result(failed="call", detail=f"{child['run']} {child['status']}: {child['reason']}"))

        def stop(made: Move) -> None:
            if made.run["status"] == "running":
                made.stop(child["status"], f"{child['run']}: {child['reason']}")

        return move(self.store, run, stop, operations.RUN_STOP)

    # -- people ------------------------------------------------------------------------------------------------------

    def _question(self, run: Document, _workflow: Workflow, step: Step, seat: Document) -> bool:
        from mbox.system.clock import seconds

        answer = self._scripted(run, seat)
        if answer is not None and "choice" in answer:
            more = {"by": "the scenario"}
            return self._leave(run, seat, Result({"choice": answer["choice"], "text": answer.get("text", "")}, more=more))
        if self._is_unattended(run):
            if step.default is not None:
                return self._leave(run, seat, Result({"choice": step.default, "text": ""}, more={"by": "default"}))

            def stop(made: Move) -> None:
                if made.run["status"] == "running":
                    made.stop("needs_human", f"{seat['step']} asks, and nobody attends")

            return move(self.store, run, stop, operations.RUN_STOP)
        limit, question = step.timeout.start_to_close or step.timeout.schedule_to_close, seat["state"]["question"]
        if limit is not None:
            age = self.store.host.wall() - seconds(seat["entered_at"])
            if age >= limit:
                return self._leave(run, seat, Result(failed="timeout", detail=f"no answer within {limit:.0f} s"))
            self.at(limit - age)
            question = {**question, "until": seconds(seat["entered_at"]) + limit}
        name = seat["step"] if seat["item"] is None else f"{seat['step']}/{seat['item']}"
        return self._ask_person(run, name, question)

    def _ask_person(self, run: Document, step: str, question: dict[str, Any]) -> bool:
        given = self.ask({"run": run["run"], "step": step, **question})
        if given is None:
            return False
        try:
            control.answer(self.store, Actor(run["by"] if ":" in run["by"] else "user:terminal"), run["run"], step, *given)
        except MboxError as error:
            self.store.say(str(error))
        return True

    def _scripted(self, run: Document, seat: Document) -> dict[str, Any] | None:
        """What the scenario answers instead of a person or a command."""
        root = runs.root_of(run)
        if not run["settings"].get("scripted"):
            return None
        made = self.answers = self.answers or runs.answers(self.store.read, root)
        nth = seat["visit"] - 1
        if seat["item"] is not None and f"{seat['step']}/{seat['item']}" not in made.answers:
            nth += seat["item"]
        return made.answer(seat["step"], seat["item"], nth)


def _as_said(step: Step, answer: dict[str, Any]) -> Result:
    """What a scenario says that a command came to."""
    from mbox.workflow import types

    from . import course

    status = int(answer.get("exit", 0))
    if answer.get("fail"):
        return Result(failed=answer["fail"], detail="as the scenario says", exit=status)
    if status and not course.takes_exit(step):
        return Result(failed="exit", detail=f"exited with {status}", exit=status)
    if step.output is None:
        return Result(exit=status)
    value = answer.get("text") if step.output.is_text and "output" not in answer else answer.get("output")
    try:
        types.check(step.output.schema(), value)
    except Usage as error:
        return Result(failed="invalid_output", detail=str(error), exit=status)
    return Result(value, exit=status)
