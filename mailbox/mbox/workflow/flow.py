"""Where a run of a workflow may go: from step to step, by success and by failure.  Pure functions.

Promised: every way that a run can take is among the edges here (some that it cannot take may be too), so that what is
certain by them is certain in every run.  A step's failure is seen by the rules that mention `failed`, else by `on_failure`.
"""

from __future__ import annotations

from functools import cached_property

from .expressions import Expression
from .parts import Step, Workflow, reached

START = ""


def mentions(expression: Expression | None, name: str) -> bool:
    """Whether an expression reads the name, or something of it."""
    return expression is not None and any(path == name or path.startswith((f"{name}.", f"{name}[")) for path in expression.names)


def sees_failure(step: Step) -> bool:
    """Whether a rule of the step looks at how it failed."""
    return any(mentions(rule.when, "failed") for rule in step.next)


def sees_exit(step: Step) -> bool:
    """Whether a rule of the step looks at its command's exit status, so that one that is not 0 is no failure."""
    return step.kind == "run" and any(mentions(rule.when, "exit") for rule in step.next)


class Flow:
    """The edges of one workflow, and what follows of them.  Targets that are no step and no end lead nowhere."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.first = next(iter(workflow.steps), "succeeded")
        self.successes = {name: set(workflow.targets(name)) for name in workflow.steps}
        self.failures = {name: self._failures(step) for name, step in workflow.steps.items()}
        self.edges = {name: self.successes[name] | self.failures[name] for name in workflow.steps}

    def _failures(self, step: Step) -> set[str]:
        found = {rule.go for rule in step.next if mentions(rule.when, "failed")}
        return found | {self.workflow.on_failure or "failed"}

    def from_(self, starts: set[str], without: str = START) -> set[str]:
        """All that can be reached from ``starts`` by ways that do not lead through the step ``without``."""
        return reached(starts, lambda name: () if name == without else self.edges.get(name, ()))

    @cached_property
    def reachable(self) -> set[str]:
        """Every step and end that a run may come to."""
        return self.from_({self.first})

    @cached_property
    def _before(self) -> dict[str, set[str]]:
        """By step: where a run may be without having been in that step."""
        return {name: self.from_({self.first}, name) for name in self.workflow.steps}

    @cached_property
    def _failed(self) -> dict[str, set[str]]:
        """By step: where a run may be after that step's last visit failed."""
        return {name: self.from_(self.failures[name], name) for name in self.workflow.steps}

    def has_run(self, step: str, at: str) -> bool:
        """Whether ``step`` has surely run when a run comes to ``at``."""
        return at not in self._before[step]

    def was_fine(self, step: str, at: str) -> bool:
        """Whether the last visit of ``step``, if it has run, surely did not fail, when a run comes to ``at``."""
        return at not in self._failed[step]

    def has_failure(self, at: str) -> bool:
        """Whether a run surely comes to ``at`` by way of ``on_failure``."""
        return at not in reached({self.first}, lambda name: self.successes.get(name, ()))
