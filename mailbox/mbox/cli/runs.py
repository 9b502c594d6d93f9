"""`workflow run` and what is said to and asked of runs.  Reading a file and drawing it are in `workflow`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import Usage
from mbox.system.clock import inf

from . import output
from .context import Context
from .options import argument, changes, command, lists, option, shows
from .values import DURATION, LINE, RUN, TEXT

if TYPE_CHECKING:
    from mbox.engine.engine import Ask
    from mbox.format.documents import Document
    from mbox.store.store import Store
    from mbox.workflow.definition import Workflow

EXITS = {
    10: "the run failed", 11: "it needs a person", 12: "it was cancelled", 13: "a limit is reached", 14: "it is paused",
}  # fmt: skip
MISSING = {3: "no such run"}

LOOK = 0.5
"""Seconds between two looks at whether a question on the terminal still waits for its answer."""

BEGINS = 2.0
"""Seconds in which a run that was begun gets its engine."""


run_id = argument("run", metavar="RUN", type=RUN)


def _pairs(given: tuple[str, ...], what: str) -> dict[str, str]:
    """``NAME=VALUE`` each; `Usage` for what is none, or said twice."""
    found: dict[str, str] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Usage(f"{what} {word!r}: say NAME=VALUE")
        if name in found:
            raise Usage(f"{what} {name} is said twice")
        found[name] = value
    return found


@command(
    examples=[
        "workflow run workflows/review-loop.yaml --input goal='mend the parser'",
        "workflow run flow.yaml --scripted flow.scenario.yaml",
        "workflow run flow.yaml --dry-run --input goal=x",
        "workflow run flow.yaml --detach --unattended --id nightly",
    ],
    exits={**EXITS, 5: "it has an engine already"},
)
@changes
@argument("file", metavar="FILE")
@option("--id", "ident", type=RUN, metavar="ID", help="what the run is called (default: wN)")
@option("--input", "inputs", metavar="K=V", multiple=True, help="an input; of another type than text as JSON")
@option("--workers", type=int, metavar="N", help="how many work at once (4); 0: whoever claims the tasks does them")
@option("--team", metavar="T", help="members of this team do the tasks")
@option("--scripted", metavar="FILE", help="a scenario answers, and no program is asked")
@option("--detach", is_flag=True, help="go on in the background; the watchdog sees to it")
@option("--unattended", is_flag=True, help="nobody is there: questions take their default, or stop the run")
def run(context: Context, file: str, ident: str | None, inputs: tuple[str, ...], workers: int | None, team: str | None,
        scripted: str | None, detach: bool, unattended: bool) -> int | None:  # fmt: skip
    """Take a workflow from its first step to its end.

    On a terminal it shows how it goes, and asks; it ends with one JSON object. What lint refuses, a missing input or an id
    that is there starts nothing.
    """
    from mbox.engine import beginning
    from mbox.engine import inputs as read

    store, by = context.store, context.actor(required=False)
    workflow = _linted(context, file)
    given = read.checked(workflow, read.read(workflow, _pairs(inputs, "--input")), "--input")
    scenario = _scenario(scripted, workflow)
    if workers is not None and not 0 <= workers <= 64:
        raise Usage("--workers must be a number from 0 to 64")
    if workers is not None and team:
        raise Usage("--workers, or --team: not both")
    if team:
        from mbox.agents import roster

        roster.require(store, store.read, team)
    if context.dry_run:
        context.emit(_plan(context, workflow, given, scenario is not None))
        return None
    wishes = beginning.Wishes(ident or "", workers, team, scenario, unattended, detach)
    doc = beginning.begin(store, by, workflow, given, wishes)
    if detach:
        _detach(context, doc["run"])
        context.emit({"run": doc["run"], "workflow": workflow.name, "status": doc["status"]})
        return None
    return _drive(context, doc["run"])


def _linted(context: Context, file: str) -> Workflow:
    """The workflow of a file that lint has no error for; else `Usage` with the first, and how many more."""
    from mbox.hosts import ladder
    from mbox.workflow import definition, lint

    path = os.path.join(context.cwd, file)
    errors = [one for one in lint.remarks(path, ladder.load(context.store.root)) if one.level == "error"]
    if errors:
        first, more = errors[0], len(errors) - 1
        said = f" (and {more} more: workflow lint {file})" if more else ""
        raise Usage(f"{first.file}:{first.line}:{first.column}: {first.text}{said}")
    return definition.load(*definition.reader(path))


def _scenario(path: str | None, workflow: Workflow) -> str | None:
    if path is None:
        return None
    from mbox.format.parsing import decoded
    from mbox.system.given import read_given
    from mbox.workflow import scenarios

    try:
        text = decoded(read_given(path, 1 << 20), path)
    except OSError as error:
        raise Usage(f"{path}: {error.strerror or error}") from None
    scenarios.load(text, path, workflow)
    return text


def _plan(context: Context, workflow: Workflow, inputs: Mapping[str, Any], scripted: bool) -> dict[str, Any]:
    from mbox.report.plans import plan

    return plan(context.store, workflow, inputs, scripted)


def _drive(context: Context, run: str) -> int:
    """Be the engine of a run, here; the exit status that its end has."""
    from mbox.engine import runs
    from mbox.engine.engine import Engine
    from mbox.report import runs as told

    ask, seen = _terminal(context)
    try:
        doc = Engine(context.store, run, dict(os.environ), ask, seen).drive()
    except KeyboardInterrupt:
        context.say(f"{run} stands still, its workers go on: `workflow resume {run}` goes on with it")
        raise
    _forget(context, doc)
    context.emit(_end(told.shown(context.store, run)))
    return runs.EXITS[doc["status"]]


def _forget(context: Context, doc: Document) -> None:
    """A run that has ended is not started by itself any more."""
    if doc["ended_at"] and doc["settings"].get("detached"):
        from mbox.liveness import engines

        engines.forget(context.store, doc["run"])


def _end(shown: dict[str, Any]) -> dict[str, Any]:
    """What is left of a run to be said in one line."""
    names = ("run", "workflow", "status", "reason", "waiting", "output", "tree", "cost")
    return {name: shown[name] for name in names if shown[name] not in (None, "", [])}


def _terminal(context: Context) -> tuple[Ask, Callable[[Document], None]]:
    """How a person at the terminal is asked and told; without one nobody is, and an agent's terminal is none."""
    from mbox.engine.engine import nobody

    told: dict[str, Any] = {}
    can_answer = not context.actor(required=False).incarnation and sys.stdin.isatty() and sys.stderr.isatty()

    def seen(doc: Document) -> None:
        at = doc["at"] or {}
        now = (doc["run"], at.get("step"), at.get("visit"), doc["status"], at.get("state"))
        if told.get("last") != now:
            told["last"] = now
            where = f" {at['step']} ({at['visit']})" if at else ""
            context.say(f"{doc['run']}: {doc['status']}{where}{': ' + doc['reason'] if doc['reason'] else ''}")

    def ask(question: dict[str, Any]) -> tuple[str, str] | None:
        key = (question["run"], question["step"], question["text"])
        if not can_answer or told.get("asked") == key:
            if told.get("asked") != key:
                told["asked"] = key
                choices = " | ".join(question["choices"]) or "TEXT"
                context.say(f"{question['text']}\n  workflow answer {question['run']} {question['step']} {choices}")
            return None
        return _prompted(question, lambda: _is_asked(context.store, question))

    return ask if not context.quiet else nobody, seen


def _is_asked(store: Store, question: Mapping[str, Any]) -> bool:
    """Whether the run still waits for this answer: nobody has given it, paused or cancelled the run, and it is in time."""
    from mbox.engine import control, runs

    doc = runs.require(store, question["run"])
    root = runs.require(store, runs.root_of(doc))
    still = any(one["step"] == question["step"] and "run" not in one for one in control.questions(store, doc))
    return still and root["status"] == doc["status"] == "running" and store.host.wall() < question.get("until", inf)


def _prompted(question: dict[str, Any], is_asked: Callable[[], bool]) -> tuple[str, str] | None:
    """Ask on the terminal until one of the choices is said; None where it is not asked any more."""
    from select import select

    choices = question["choices"]
    while True:
        output.say(question["text"] + (f" [{'/'.join(choices)}]" if choices else ""))
        while not select([sys.stdin], [], [], LOOK)[0]:
            if not is_asked():
                return None
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        word, _, rest = line.strip().partition(" ")
        if not choices:
            return line.strip(), line.strip()
        if word in choices:
            return word, rest


def _detach(context: Context, run: str) -> None:
    """Have an engine go on in the background, and a watchdog that sees to it."""
    from mbox.format import places
    from mbox.liveness import engines
    from mbox.liveness.watchdog import start_watchdog
    from mbox.store import mutex

    engines.remember(context.store, run)
    engines.start(context.store.root, run)
    if not mutex.is_held(context.store, places.WATCHDOG_LOCK):
        start_watchdog(context.store.root)


@command(
    examples=["workflow resume w12", "workflow resume w12 --limit dispatches=40"],
    exits={**EXITS, **MISSING, 5: "it has an engine already"},
)
@changes
@run_id
@option("--limit", "limits", metavar="K=V", multiple=True, help="a higher limit: dispatches, time, cost_usd, tokens")
@option("--detach", is_flag=True, help="go on in the background")
@option("--unattended", is_flag=True, help="nobody is there any more")
def resume(context: Context, run: str, limits: tuple[str, ...], detach: bool, unattended: bool) -> int | None:
    """Go on with a run after a crash, a pause, an answer or a limit: what has ended is kept, item by item.

    It says on stderr what is kept and what is done again, and why. Of a run that has ended it prints the end.
    """
    from mbox.engine import control, runs
    from mbox.report import runs as told

    store = context.store
    before = runs.require(store, run)
    for line in _kept(store, before) if before["status"] not in runs.ENDED else ():
        context.say(line)
    if context.dry_run:
        context.emit(_end(told.shown(store, run)))
        return None
    doc = control.resume(store, context.actor(required=False), run, _pairs(limits, "--limit"), detach or None, unattended or None)
    if doc["status"] in runs.ENDED:
        context.emit(_end(told.shown(store, run)))
        return runs.EXITS[doc["status"]]
    if detach:
        _detach(context, run)
        context.emit({"run": run, "workflow": doc["workflow"], "status": doc["status"]})
        return None
    return _drive(context, run)


def _kept(store: Any, doc: Document) -> list[str]:
    """What a resume keeps, and what it does again, and why."""
    from mbox.format import places
    from mbox.report import runs as told

    at = doc["at"] or {}
    lines = []
    for seat in told.seats(store, doc["run"]):
        name = f"{seat['step']}.{seat['visit']}{_item(seat)}"
        if seat["status"] != "open":
            lines.append(f"kept: {name} {seat['failed'] or seat['status']}")
        elif seat["items"] is None:
            task = store.glance(places.task(seat["task"])) if seat["task"] else None
            lines.append(f"goes on: {name}" + (f", its task is {task['status']}" if task else ""))
    if at.get("state") == "pending":
        lines.append(f"goes on: {at['step']}.{at['visit']} is entered")
    elif at.get("state") == "open" and not any(line.startswith("goes on") for line in lines):
        why = "it was begun and not finished" if at.get("started") else "it had not ended"
        lines.append(f"again: {at['step']}.{at['visit']}, because {why}")
    return lines


def _item(seat: Document) -> str:
    return "" if seat["item"] is None else f".{seat['item']}"


@command(examples=["workflow pause w12"], exits={**MISSING, 1: "it has ended"})
@changes
@run_id
def pause(context: Context, run: str) -> None:
    """Start nothing more of a run; what is under way is finished. `workflow resume` goes on."""
    from mbox.engine import control

    context.emit(_short(control.pause(context.store, context.actor(required=False), run)))


@command(examples=["workflow cancel w12 --reason 'not wanted any more'"], exits={**MISSING, 1: "it has ended"})
@changes
@run_id
@option("--reason", type=LINE, metavar="R", help="why")
def cancel(context: Context, run: str, reason: str | None) -> None:
    """End a run, its tasks and the runs that it called, for good."""
    from mbox.engine import control

    doc = control.cancel(context.store, context.actor(required=False), run, reason or "")
    _forget(context, doc)
    context.emit(_short(doc))


@command(examples=["workflow answer w12 agree go", "workflow answer w12 agree no --text 'too large'"],
         exits={3: "no such run, or it asks nothing there", 1: "it was answered already"})  # fmt: skip
@changes
@run_id
@argument("step", metavar="STEP")
@argument("choice", metavar="CHOICE")
@option("--text", type=TEXT, metavar="T", help="more words; - is stdin, @FILE a file")
def answer(context: Context, run: str, step: str, choice: str, text: str | None) -> None:
    """Answer what a run asks. An agent's answer is refused: a person is asked."""
    from mbox.engine import control

    context.emit(_short(control.answer(context.store, context.actor(required=False), run, step, choice, text or "")))


@command(examples=["workflow tell w12 implement 'leave the parser alone'"], exits={3: "no such run or step", 1: "it has ended"})
@changes
@run_id
@argument("step", metavar="STEP")
@argument("text", metavar="TEXT", type=TEXT)
def tell(context: Context, run: str, step: str, text: str) -> None:
    """Say something to whoever does a step: by mail where it is under way, and in its next prompt."""
    from mbox.engine import control

    context.emit(_short(control.tell(context.store, context.actor(required=False), run, step, text)))


def _short(doc: Document) -> dict[str, Any]:
    return {"run": doc["run"], "workflow": doc["workflow"], "status": doc["status"], "reason": doc["reason"] or None}


# -- looking ---------------------------------------------------------------------------------------------------------------


@command(examples=["workflow list", "workflow list --all -o id"])
@lists(100)
@option("--all", "everything", is_flag=True, help="those that have ended too")
def list_(context: Context, everything: bool) -> None:
    """List runs, the newest first; without --all those that go on or stand still.

    `waiting` means that a person is asked, `stalled` that nobody drives it: `workflow resume` does.
    """
    from mbox.report import runs

    context.emit(runs.rows(context.store, everything), "", "reason", ("usd", "started_at", "visit"))


@command(examples=["workflow show w12", "workflow show w12 -o yaml"], exits=MISSING)
@run_id
def show(context: Context, run: str) -> None:
    """Show how a run stands, every step that was visited, what it cost, what it waits for."""
    from mbox.report import runs

    shown = runs.shown(context.store, run)
    if context.for_person:
        shown["steps"] = [_line(row) for row in shown["steps"]]
    context.emit({name: value for name, value in shown.items() if value not in (None, "", [])})


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A step that was visited, as it fits into a line: what it gave and what it looked at are in the data, and in `explain`."""
    seat = ".".join(str(row[name]) for name in ("step", "visit", "item") if row[name] is not None)
    return {
        "step": seat, "status": row["failed"] or row["status"], "by": row["by"] or row["child"] or row["kind"],
        "attempts": row["attempts"], "seconds": row["seconds"], "go": (row["edge"] or {}).get("go"), "detail": row["detail"],
    }  # fmt: skip


@command(examples=["workflow explain w12", "workflow explain w12 review"], exits={3: "no such run or step"})
@run_id
@argument("step", metavar="[STEP]", required=False)
def explain(context: Context, run: str, step: str | None) -> None:
    """Say why each visit of a step ended as it did: who did it and why they were asked, gates, the rule and its values."""
    from mbox.report import runs

    rows = runs.explained(context.store, run, step)
    told = [{name: value for name, value in row.items() if value not in (None, "", [], {})} for row in rows]
    if not context.for_person:
        context.emit(told)
        return
    for number, row in enumerate(told):
        context.write("\n" if number else "")
        context.emit(row)


@command(examples=["workflow logs w12", "workflow logs w12 --full -o jsonl"], exits=MISSING)
@lists(100)
@shows
@run_id
def logs(context: Context, run: str) -> None:
    """The journal's records of a run and its tasks: mbox log of it."""
    from mbox.engine import runs
    from mbox.report import history

    runs.require(context.store, run)
    found, more = history.newest(context.store, history.RecordFilter(run=run), context.limit)
    context.emit(found if context.full else [history.row(record) for record in found])
    if more:
        context.say("older ones are left out: --limit 0 for all")


@command(examples=["workflow watch w12", "workflow watch w12 --timeout 10m"], exits={**EXITS, **MISSING, 4: "time ran out"})
@run_id
@option("--timeout", type=DURATION, metavar="D", default=0, help="for so long at most")
def watch(context: Context, run: str, timeout: float) -> int:
    """Tell of each step that is left, until the run has ended or stands still; its exit status is the run's.

    Where it waits for a person, or nobody drives it, it says so and looks on.
    """
    from mbox.engine import runs
    from mbox.errors import TimedOut
    from mbox.report import runs as told
    from mbox.store.waiting import Watch, journal_paths, until

    store = context.store
    runs.require(store, run)
    shown: set[tuple[str, int]] = set()
    said = ["running"]

    def look() -> Document | None:
        for row in told.path(store, run):
            if (row["step"], row["visit"]) not in shown:
                shown.add((row["step"], row["visit"]))
                context.stream(row)
        doc = runs.require(store, run)
        state = told.status(store, doc)
        if state == "stalled" and store.host.wall() - doc["at"]["since"] < BEGINS:
            state = "running"
        if doc["status"] == "running" and state != said[-1]:
            said.append(state)
            mend = {"waiting": f"`workflow show {run}` has the question", "stalled": f"nobody drives it: `workflow resume {run}`"}
            context.say(f"{run}: {state}" + (f": {mend[state]}" if state in mend else ""))
        return doc if doc["status"] != "running" else None

    with Watch(store, lambda: journal_paths(store)) as waker:
        doc = until(store, waker, look, timeout or inf)
    if doc is None:
        raise TimedOut(f"{run} is {told.status(store, runs.require(store, run))}; `workflow show {run}` tells how it stands")
    context.say(f"{run}: {doc['status']}{': ' + doc['reason'] if doc['reason'] else ''}")
    return runs.EXITS[doc["status"]]


@command(examples=["workflow report", "workflow report w12"], exits=MISSING)
@argument("run", metavar="[RUN]", type=RUN, required=False)
@lists(0)
def report(context: Context, run: str | None) -> None:
    """Count, by workflow and step over all runs or of one: visits, failures, rounds, attempts, what they cost and took."""
    from mbox.report import runs

    context.emit(runs.report(context.store, run))


@command(examples=["workflow replay w12"], exits={**MISSING, 1: "an edge comes out differently"})
@run_id
def replay(context: Context, run: str) -> int:
    """Decide every edge of a run once more from what is written, and say whether it is the one that was taken."""
    from mbox.report import runs

    rows = runs.replayed(context.store, run)
    context.emit(rows)
    return 0 if all(row["ok"] for row in rows) else 1


@command(examples=["workflow work w12.fix.1"], exits={5: "it is somebody else's", 3: "no such task"})
@argument("task_id", metavar="TASK")
def work(context: Context, task_id: str) -> int:
    """Do one task of a run, as the worker that the run's engine has started; for programs."""
    from mbox.engine import worker

    return worker.work(context.store, context.actor(), task_id, dict(os.environ))

