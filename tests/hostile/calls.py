"""The calls of every command of the tree, made from what it declares: a new command is covered by being in the tree."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import click

from mbox.cli import table
from mbox.cli.options import Command
from mbox.cli.values import Value

ENDLESS = {"mbox watch", "mbox watchdog", "mbox log --follow", "team status --watch"}
"""What runs until it is told to end; `calls` tells it."""

SHORT = "0.05s"

ALWAYS = ("timeout", "wait", "body", "reason")
"""Options without which a call would wait long, or have nothing to say."""

OWN_WAIT = {"team up": 15.0}
"""Seconds that a command waits for others by itself, where it has no option for that."""

BY_KIND = {"setting": ["heartbeat", "audit.ref"], "deadletter": ["m7"]}
"""Names by what a value is a name of; those of the template are added (`know`)."""


def know(names: dict[str, list[str]]) -> None:
    """Take the names of what the template holds."""
    BY_KIND.update(names)


BY_TYPE = {
    "d": [SHORT], "json": ['{"a": 1}', "@plan.json"], "0-9": ["5", "urgent"], "n": ["3", "0"],
    "text": ["hello", "@note.txt"], "word": ["impl", "x"],
}  # fmt: skip

BY_METAVAR = {
    "FILE": ["team.yaml", "plan.json"], "FILE...": ["team.yaml", "plan.json"],
    "PLAN": ["plan.json"], "N": ["1"], "PID": ["1"], "NAME": ["web", "eve"],
    "PATTERN...": ["src/**", "*.md", "new/*"], "PATH...": ["src/a.py", "docs/b.md"], "GLOB": ["src/**"],
    "REF": ["refs/mbox/audit", "refs/heads/main"], "WORD...": ["needle", "task"], "PATH": ["tmux.sock"],
    "ID|PATTERN...": ["lib/**", "src/a.py", "data/*.csv"], "D|SEQ|TIME": ["1h", "3"], "O": ["mail."], "WORD": ["true"],
    "STEP": ["agree", "look"], "[STEP]": ["agree", "look"], "CHOICE": ["yes", "go"], "K=V": ["dispatches=9", "n=1"],
    "HOST": ["claude", "git"], "[HOST...]": ["claude", "codex"], "EVENT": ["PreToolUse", "Stop"], "CMD": ["true"],
    "TASK": ["t-one", "asks.agree.1"], "[FILE]": ["flow.yaml"],
    "[NAME|commands]": ["task", "commands"], "S,…": ["queued"], "VALUE": ["5s"], "SHELL": ["bash"],
}  # fmt: skip

HANDED = {
    "team up": ["team.yaml"], "task import": ["plan.json"], "workflow run": ["flow.yaml"],
    "workflow lint": ["flow.yaml", "asks.yaml"], "workflow graph": ["flow.yaml", "asks.yaml"],
}  # fmt: skip

OUTLIVES = {("workflow run", "--detach"), ("workflow resume", "--detach")}
"""Options that start a process which outlives the call; tests/workflow/test_runs.py has them."""


def commands(name: str = "mbox") -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command of ``TABLES[name]`` and below, as the words that call it."""
    group = table.group(name)
    for word, (target, _, _) in group.entries.items():
        if ":" not in target:
            yield from commands(target)
            continue
        made = group.get_command(click.Context(group), word)
        assert isinstance(made, Command)
        home = name.split() if name.split()[0] in table.PROGRAMS else ["mbox", *name.split()]
        yield (*home, word), made


ALL = dict(commands())
"""By the words that call it."""


def values(param: click.Parameter, words: Sequence[str]) -> list[str]:
    """What ``param`` of the command ``words`` may be given."""
    if isinstance(param.type, click.Choice):
        return [str(one) for one in param.type.choices]
    if " ".join(words) in HANDED and param.metavar in ("FILE", "FILE...", "[FILE]"):
        return HANDED[" ".join(words)]
    metavar = param.metavar or (param.name or "").upper()
    if metavar in BY_METAVAR:
        return BY_METAVAR[metavar]
    if isinstance(param.type, Value):
        if param.type.completes:
            return BY_KIND[param.type.completes]
        return BY_TYPE.get(param.type.name, ["x"])
    return ["1"] if param.type is click.INT else ["hello"]


def call(words: tuple[str, ...], dice: random.Random, full: bool) -> dict[str, Any]:
    """A call of the command: what it needs, and, if ``full``, some of what it may be given."""
    command = ALL[words]
    options, arguments = list[str](), list[str]()
    for param in command.params:
        offered = values(param, words)
        if isinstance(param, click.Argument):
            if param.required or dice.random() < 0.7:
                many = min(len(offered), dice.choice((1, 2))) if param.nargs == -1 else 1
                arguments += dice.sample(offered, many)
        elif (" ".join(words), param.opts[0]) in OUTLIVES:
            continue
        elif param.expose_value and (param.required or param.name in ALWAYS or (full and dice.random() < 0.35)):
            options += [param.opts[0]] if param.is_flag else [param.opts[0], dice.choice(offered)]
    shared = [param.opts[-1] for param in command.params if isinstance(param, click.Option) and not param.expose_value]
    for name, offered in (("--as", ["ann", "bob"]), ("--output", ["json", "table", "yaml", "jsonl", "env", "id"])):
        if name in shared and dice.random() < (0.95 if name == "--as" else 0.3):
            options += [name, dice.choice(offered)]
    for name, chance in (("--dry-run", 0.1), ("--full", 0.2)):
        if name in shared and dice.random() < chance:
            options.append(name)
    line = [*words, *options, *arguments]
    if command.body.tail:
        line += ["--", "true"] if words[-1] not in ("add", "watch") or dice.random() < 0.5 else []
    follows = {f"{' '.join(words)} {option}" for option in options} | {" ".join(words)}
    endless = bool(follows & ENDLESS) and "--once" not in options and "--status" not in options
    own = OWN_WAIT.get(" ".join(words), 0.0)
    return {"words": line, "endless": endless, "waits": own, "stdin": "src/a.py\n" if dice.random() < 0.2 else ""}


SHELLS = ("bash", "zsh", "fish")


def tab(words: tuple[str, ...], dice: random.Random) -> dict[str, Any]:
    """Tab after the command, or after one of its options."""
    program, *rest = words
    options = [param.opts[0] for param in ALL[words].params if isinstance(param, click.Option) and not param.is_flag]
    typed = [program, *rest, "--as", "bob", *([dice.choice(options)] if options and dice.random() < 0.5 else [])]
    shell = dice.choice(SHELLS)
    return {
        "words": [program],
        "env": {f"_{program.upper()}_COMPLETE": f"{shell}_complete", "COMP_WORDS": "\n".join([*typed, ""])
                if shell == "fish" else " ".join([*typed, ""]), "COMP_CWORD": "" if shell == "fish" else str(len(typed))},
    }  # fmt: skip
