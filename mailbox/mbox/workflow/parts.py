"""What a workflow consists of: plain values, immutable, and the words of the language.

Promised: a `Workflow` is what its file says with every default said, and equal to another of the same texts; it holds
nothing of a parser.  Not promised: that what it names exists (`lint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mbox.errors import Usage
from mbox.format import checks
from mbox.format.parsing import Place

from .expressions import Expression
from .templates import Template
from .types import Type

STEPS = 200
"""Steps of a file at most."""

DEEPEST = 5
"""Workflows that call each other, one below the other."""

ITEMS = 1000
"""What ``max`` of an ``each`` may say."""

ENDS = ("succeeded", "failed", "needs_human")
PHASES = ("plan", "implement", "review", "verify", "long", "synthesise", "chore")
KINDS_OF_FAILURE = ("gate", "exit", "invalid_output", "timeout", "transport", "rate_limited", "killed", "lost", "call", "gave_up",
                    "config", "skipped")  # fmt: skip
RETRY = {"gate": 2, "invalid_output": 1, "transport": 3, "killed": 1, "timeout": 0, "lost": 1}
ACTIONS = {"commit": ("message",), "push": ("branch",), "branch": ("branch",), "pull-request": ("title", "body", "base")}
NEEDED = {"commit": "message", "branch": "branch", "pull-request": "title"}
KINDS = {
    "agent": ("prompt", "output", "gates", "reserve", "session", "access"),
    "run": ("output", "env", "idempotent", "probe"),
    "ask": ("choices", "default", "to"),
    "git": ("message", "branch", "title", "body", "base"),
    "send": ("subject", "body", "thread"),
    "call": ("with",),
    "wait": (),
}
OF_EACH = ("need", "parallel", "max", "after")
COMMON = ("next", "each", *OF_EACH, "timeout", "retry", "visits")
TOP = ("version", "name", "description", "inputs", "roles", "limits", "worktree", "on_failure", "steps", "output")
ROLE = ("phase", "hosts", "family", "access", "persona", "policy", "knowledge", "capabilities")
TIMEOUTS = ("schedule_to_start", "start_to_close", "schedule_to_close", "heartbeat")

USER = "user"
"""Whoever started the run: whom ``send: user`` and ``to: user`` mean, and ``family: not user``."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()
"""The default of an input that has none."""


class Remark(NamedTuple):
    """What is to be said of a place in a file: an ``error``, or a ``warning``."""

    file: str
    line: int
    column: int
    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.level}: {self.text}"


class Faults(Usage):
    """A file is none of the language: ``findings`` has every `Remark`, the message the first."""

    def __init__(self, findings: list[Remark]) -> None:
        first = findings[0]
        more = f" (and {len(findings) - 1} more: workflow lint)" if len(findings) > 1 else ""
        super().__init__(f"{first.file}:{first.line}:{first.column}: {first.text}{more}")
        self.findings = findings


class Input(NamedTuple):
    name: str
    type: Type
    default: Any
    is_command: bool


class Role(NamedTuple):
    """``family``: the roles of whose family it must not be, and `USER`."""

    name: str
    phase: str | None = None
    hosts: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    access: str = "write"
    persona: str = ""
    policy: str = ""
    knowledge: str = ""
    capabilities: tuple[str, ...] = ()


class Limits(NamedTuple):
    """``time`` in seconds; None is no limit."""

    dispatches: int | None = None
    time: float | None = None
    cost_usd: float | None = None
    tokens: int | None = None


class CommandLine(NamedTuple):
    """A command: a text for the shell, words, or the input that has one."""

    text: str | None = None
    words: tuple[str, ...] | None = None
    input: str | None = None

    def shown(self) -> str:
        """The command in a line, for people."""
        if self.text is not None:
            return checks.one_line(self.text, 200)
        return checks.one_line(" ".join(self.words), 200) if self.words else f"{{input: {self.input}}}"


Command = CommandLine
"""As it is called outside: the command line has a class of that name."""


class Timeout(NamedTuple):
    schedule_to_start: float | None = None
    start_to_close: float | None = None
    schedule_to_close: float | None = None
    heartbeat: float | None = None


class Visits(NamedTuple):
    """From which visit on the role climbs, before which a person is asked, instead of which the run stops."""

    stronger: int | None = None
    ask: int | None = None
    stop: int | None = None


class Each(NamedTuple):
    """``need`` None is all; ``after`` the field of an item that lists the ids it waits for."""

    items: Expression
    need: int | None = None
    parallel: int | None = None
    max: int = 16
    after: str | None = None


class Rule(NamedTuple):
    """Where it goes if ``when`` is true; without one always (``else``, or a bare ``next``)."""

    when: Expression | None
    go: str
    line: int


class Step(NamedTuple):
    """A step; fields that are not of its kind are empty."""

    id: str
    kind: str
    line: int
    column: int
    next: tuple[Rule, ...] = ()
    each: Each | None = None
    timeout: Timeout = Timeout()
    retry: Mapping[str, int] = RETRY
    visits: Visits = Visits()
    role: str | Template = ""
    prompt: Template | None = None
    output: Type | None = None
    gates: tuple[CommandLine, ...] = ()
    reserve: tuple[str, ...] | Expression = ()
    session: str = "new"
    access: str | None = None
    command: CommandLine | None = None
    env: Mapping[str, Template] = {}
    idempotent: bool = False
    probe: CommandLine | None = None
    text: Template | None = None
    choices: tuple[str, ...] = ()
    default: str | None = None
    to: str | None = None
    action: str = ""
    message: Template | None = None
    branch: Template | None = None
    title: Template | None = None
    body: Template | None = None
    base: Template | None = None
    subject: Template | None = None
    thread: Template | None = None
    file: str = ""
    with_: Mapping[str, Any] = {}
    seconds: float = 0.0


class Workflow(NamedTuple):
    """A workflow, everything said.

    ``worktree``: whether, or the branch's template; ``calls``: by step, the workflow that it calls; ``places``: where what is
    said stands.
    """

    name: str
    description: str
    file: str
    inputs: dict[str, Input]
    roles: dict[str, Role]
    limits: Limits
    worktree: bool | str
    on_failure: str | None
    steps: dict[str, Step]
    output: dict[str, Expression]
    calls: dict[str, Workflow]
    texts: dict[str, str]
    places: dict[str, Place]

    def below(self, step_id: str) -> str:
        """Where ``step_id`` leads without ``next``: to the step below, or ``succeeded``."""
        names = [*self.steps]
        after = names.index(step_id) + 1
        return "succeeded" if after == len(names) or names[after] == self.on_failure else names[after]

    def targets(self, step_id: str) -> tuple[str, ...]:
        """Where ``step_id`` may lead by its rules, or without any."""
        return tuple(dict.fromkeys(rule.go for rule in self.steps[step_id].next)) or (self.below(step_id),)

    def on_cycle(self, step_id: str) -> bool:
        """Whether a run may come from ``step_id`` back to it (``on_failure`` is taken once, and closes no cycle)."""
        return step_id in reached(self.targets(step_id), lambda one: self.targets(one) if one in self.steps else ())


def reached(starts: Iterable[str], targets: Callable[[str], Iterable[str]]) -> set[str]:
    """All that can be reached from ``starts``, themselves included."""
    found = set(starts)
    queue = [*found]
    for here in queue:  # grows while it is read
        fresh = set(targets(here)) - found
        found |= fresh
        queue += fresh
    return found
