"""Gates: commands that must succeed before an agent with a task in hand ends its turn.

States of a task's gates, by the failures that stand in the agent's status:

    0, 1, … ──all succeed──▶ 0, the turn may end
            ──one fails──▶ one more, and the agent is kept going with the command and its last lines
    ``gate_tries`` failures ──▶ the turn ends; the task is handed in with ``result.gate: failed`` and the log; 0

The count is ours: what the hosts say of a stop that was held before cannot be relied on (Gemini's is false again after tool
work, Codex and Gemini would go on for ever, Claude Code's own limit starts over with every tool).

Order: run the commands, one after the other; then write the count; then, after too many, hand in; then answer.  Killed in
between, the gates run again at the next stop.  A command runs in the worktree where the agent stands, in a session of its
own, and is ended with all that it started when the time is over: ``gate_time`` for all of them, below what the host waits
for this hook.

Which commands: those of the settings (``gates``) and those of the task (``task add --gate``).  Only what somebody on this
machine has said yes to is run (decision 13): a task that was added here, and settings that a person set or `mbox trust` was
told of.  Not run for tasks of a workflow's run, which has gates of its own.

Promised: at most `REASON` bytes are said.  Not promised: that a gate which changes files is undone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mbox.engine import commands
from mbox.errors import MboxError
from mbox.format import places
from mbox.format.documents import FINAL, Document
from mbox.liveness import trust
from mbox.store.store import Actor, Store
from mbox.system.clock import span
from mbox.tasks import lifecycle, ready

from .codecs import inert

REASON = 2000
"""Bytes of what an agent is told of a gate, at most."""

LINES, WIDE = 15, 200
"""Last lines of a gate's output that are told, and letters of each."""


class Failure(NamedTuple):
    """A gate that failed: of which task, which command, how, and where its output is."""

    task: str
    command: str
    how: str
    log: str


def starts(commands: Iterable[str]) -> list[trust.Start]:
    """What must be said yes to before these gates are run."""
    return [trust.Start(f"gate: {command}", command) for command in dict.fromkeys(commands)]


def waiting(store: Store) -> list[trust.Start]:
    """The gates of the settings and of the tasks that are not final: what a yes here would be to."""
    tasks = [task for task in ready.every(store).values() if task["status"] not in FINAL]
    return starts([*store.config.gates, *(gate for task in tasks for gate in task.get("gates") or ())])


def of(store: Store, task: Document) -> tuple[list[str], list[str]]:
    """The gates of a task that is in hand, and those that are not run because nobody here has said yes to them."""
    wanted = starts([*store.config.gates, *(task.get("gates") or ())])
    unsaid = {one.content for one in trust.refused(store, wanted)} if wanted else set()
    return [one.content for one in wanted if one.content not in unsaid], sorted(unsaid)


def failed(store: Store, tasks: list[Document], folder: str, environ: Mapping[str, str]) -> tuple[Failure | None, list[str]]:
    """Run the gates of ``tasks`` in ``folder``; the first that fails, and the gates that nobody has said yes to."""
    until = store.host.mono() + store.config.gate_time
    unsaid, passed = list[str](), set[str]()
    for task in tasks:
        commands.end_left_over(store, _key(task["task_id"]))  # of a hook that was killed
        wanted, left_out = of(store, task)
        unsaid += left_out
        for nth, command in enumerate(wanted):
            if command in passed and command in store.config.gates:
                continue
            passed.add(command)
            failure = _run(store, task["task_id"], nth, command, folder, environ, until - store.host.mono())
            if failure is not None:
                return failure, unsaid
    return None, unsaid


def _key(task: str) -> str:
    """What the processes of a task's gates carry."""
    return f"gate-{task}"


def _run(store: Store, task: str, nth: int, command: str, folder: str, environ: Mapping[str, str], left: float) -> Failure | None:
    logs = f"{places.CACHE}/gates/{task}.{nth}"
    store.disk.folders(store.absolute(logs))
    if left <= 0:
        return Failure(task, command, f"not run: the {span(store.config.gate_time)} for all gates were over", "")
    words = ["bash", "-euo", "pipefail", "-c", command]
    done = commands.run(store, _key(task), words, folder, {**environ, "MBOX_TASK": task}, logs, seconds=left)
    if done.exit == 0:
        return None
    how = f"out of time after {span(done.seconds)}" if done.timed_out else f"exit {done.exit}"
    return Failure(task, command, how, logs)


def reason(store: Store, failure: Failure, count: int) -> str:
    """What the agent is told, in at most `REASON` bytes."""
    tries = store.config.gate_tries
    head = f"A gate of {failure.task} failed ({failure.how}, failure {count} of {tries}): {inert(failure.command[:300])}"
    tail = f"Whole output: {failure.log}/stdout and stderr in {store.root}" if failure.log else ""
    lines = _last(store, failure.log)
    while lines and len("\n".join([head, *lines, tail]).encode()) > REASON:
        lines = lines[1:]
    return "\n".join(filter(None, [head, *lines, tail]))


def shown(store: Store, failure: Failure) -> list[str]:
    """The last lines of a gate that failed, and where the rest is, for who called it."""
    return [*_last(store, failure.log), *([f"whole output: {store.root}/{failure.log}"] if failure.log else [])]


def _last(store: Store, log: str) -> list[str]:
    """The last lines of a gate's output, with no control letters and no markup in them."""
    found: list[str] = []
    for name in ("stdout", "stderr"):
        text = commands.tail_of(store.absolute(f"{log}/{name}"), LINES) if log else ""
        found += [f"  {inert(line[:WIDE])[1:-1]}" for line in text.splitlines() if line.strip()]
    return found[-LINES:]


def hand_in(store: Store, who: Actor, failure: Failure) -> str:
    """Hand the task in as one whose gate fails; what to log."""
    result = {"gate": "failed", "command": failure.command, "how": failure.how, "log": failure.log}
    try:
        lifecycle.submit(store, who, failure.task, result=result, why=f"gate failed: {failure.command}"[:200])
    except MboxError as error:
        return f"{failure.task} could not be handed in: {error}"
    return f"{failure.task} was handed in with its gate failed: {failure.command}"


def ground(folder: str, tops: list[str], root: str) -> str:
    """Where gates run for an agent that stands in ``folder``: the top of its worktree."""
    real = os.path.realpath(folder)
    return next((top for top in tops if real == top or real.startswith(f"{top}/")), root)
