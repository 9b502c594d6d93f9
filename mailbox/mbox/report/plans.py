"""What a run of a workflow would do and could cost, before it is begun: ``workflow run --dry-run``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mbox.engine import course, staff
from mbox.hosts import ladder

from . import runs

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.workflow.definition import Step, Workflow


def plan(store: Store, workflow: Workflow, inputs: Mapping[str, Any], scripted: bool) -> dict[str, Any]:
    """Agents and models, gates, commands, the most dispatches there can be, and what such steps cost before, or ``unknown``."""
    ladders = ladder.load(store.root)
    before = {row["step"]: row for row in runs.report(store) if row["workflow"] == workflow.name}
    steps = [_step(workflow, step, ladders, inputs, scripted, before.get(step.id)) for step in workflow.steps.values()]
    return {
        "workflow": workflow.name, "inputs": dict(inputs), "limits": {
            name: value for name, value in workflow.limits._asdict().items() if value is not None
        }, "steps": steps, "most_dispatches": _most(workflow),
    }  # fmt: skip


def _step(workflow: Workflow, step: Step, ladders: ladder.Ladders, inputs: Mapping[str, Any], scripted: bool,
          before: Mapping[str, Any] | None) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {"step": step.id, "kind": step.kind}
    if step.kind == "agent":
        role = workflow.roles.get(step.role) if isinstance(step.role, str) else None
        if scripted:
            row["who"] = [staff.SCRIPTED]
        elif role is not None:
            row["who"] = [rung.shown() for rung in ladders.rungs(role.phase, role.hosts)]
        else:
            row["who"] = [step.role if isinstance(step.role, str) else "by the item"]
        if row["who"] == []:
            row["refused"] = f"no host for role {step.role}: describe one under hosts: in {ladder.FILE}"
        if role and (why := staff.may_be_paid(role, ladders, workflow.limits._asdict())) and not scripted:
            row["refused"] = why
        row["gates"] = [_command(gate, inputs) for gate in step.gates]
        n = before["n"] if before else 0
        row["cost"] = f"${before['usd'] / n:.2f} a visit, of {n}" if before and n and before["usd"] else "unknown"
    if step.command is not None:
        row["command"] = _command(step.command, inputs)
    if step.kind == "git":
        row["command"] = step.action
    return {name: value for name, value in row.items() if value not in (None, [], "")}


def _command(command: Any, inputs: Mapping[str, Any]) -> str:
    if command.input is not None:
        value = inputs.get(command.input)
        return value if isinstance(value, str) else str(value)
    shown: str = command.shown()
    return shown


def _most(workflow: Workflow) -> int:
    """The most agent programs that a run can start: by its limit, and by visits, items and tries."""
    total = 0
    for step in workflow.steps.values():
        if step.kind == "call":
            visits = (step.visits.stop or 2) - 1 if workflow.on_cycle(step.id) else 1
            total += visits * (step.each.max if step.each else 1) * _most(workflow.calls[step.id])
        if step.kind != "agent":
            continue
        visits = (step.visits.stop or 2) - 1 if course.cycle_of(workflow, step.id) else 1
        tries = 1 + sum(step.retry.values())
        total += visits * tries * (step.each.max if step.each else 1)
    return min(total, workflow.limits.dispatches) if workflow.limits.dispatches else total
