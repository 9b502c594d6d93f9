"""A program of the command line as click's test runner calls it."""

from __future__ import annotations

from typing import Any

import click

from mbox.cli import main
from mbox.cli.table import group


class Program(click.Command):
    """``mbox``, ``task``, ``reserve`` or ``team``, with the errors and statuses of a process of that name."""

    def __init__(self, program: str) -> None:
        super().__init__(program)
        self.program = program

    def main(self, args: Any = None, prog_name: Any = None, **_: Any) -> Any:
        """Run one call; `SystemExit` with its status."""
        raise SystemExit(main.run(group(self.program), self.program, list(args or ())))
