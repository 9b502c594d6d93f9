"""The modules of the commands, taken together: what they know of each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

import mbox.cli
from mbox.cli.completing import NAMES
from mbox.cli.options import Command
from mbox.cli.table import TABLES, group
from mbox.cli.values import Kind, Value

FOLDER = Path(mbox.cli.__file__).parent
COMMANDS = sorted({target.partition(":")[0] for entries in TABLES.values() for target, _, _ in entries.values() if ":" in target})
"""Every module that holds a command."""


CALLED = [(home, word) for home, entries in TABLES.items() for word, (target, _, _) in entries.items() if ":" in target]
"""Every command: its table and its word there."""


def imported(source: str, package: str = "mbox.cli") -> Iterator[str]:
    """Every module, or name in one, that ``source`` imports: at load, in functions, for its types."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            yield home
            yield from (f"{home}.{one.name}" for one in node.names)


@pytest.mark.parametrize("module", COMMANDS)
def test_no_command_knows_another(module: str) -> None:
    """A module of commands imports none of the others, nor the entry points: what they share stands apart.

    But for `mcp`, which is an entry of its own: its tools are the commands.
    """
    source = (FOLDER / f"{module.rpartition('.')[2]}.py").read_text(encoding="utf-8")
    own = {module, "mbox.cli.main"} if module == "mbox.cli.mcp" else {module}
    assert not {*imported(source)} & {*COMMANDS, "mbox.cli.main"} - own


def test_an_import_of_any_kind_is_seen() -> None:
    """At load and in a function, relative and absolute, of a module and of a name in it."""
    code = "from .mail import says\ndef f():\n    from . import inbox\n    from mbox.cli import run\n    import mbox.cli.tasks\n"
    assert {"mbox.cli.mail", "mbox.cli.inbox", "mbox.cli.run", "mbox.cli.tasks"} <= {*imported(code)}


# -- completion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("home", "word"), CALLED, ids=[f"{home} {word}" for home, word in CALLED])
def test_what_is_named_says_what_completes_it(home: str, word: str) -> None:
    """A parameter whose value is an id or the name of an agent, a team or a thread declares of what: nothing is guessed."""
    commands = group(home)
    command = commands.get_command(click.Context(commands), word)
    assert isinstance(command, Command)
    for one in command.params:
        if (one.metavar or "").strip("[].") in ("AGENT", "ID", "TEAM", "THREAD", "TO"):
            assert isinstance(one.type, Value) and one.type.completes, one.opts


def test_every_kind_of_name_is_offered() -> None:
    """What a type may say that it names is what the shell can ask for."""
    assert {*NAMES} == {*get_args(Kind)}
