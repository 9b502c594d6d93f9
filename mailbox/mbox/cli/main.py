"""The entry points, and the one place that turns errors into lines and exit statuses.

Promised: whatever happens ends in a status of the contract's table (or 130 for an interrupt, 141 for a reader
that went away), and an error in exactly one line on stderr that starts with the name of the program; what a
command printed has left the process before it ends.  Not promised: cleaning up by the interpreter (`os._exit`
saves that time); what must be closed waits in `Context.closing`.
"""

from __future__ import annotations

import gc

gc.set_threshold(100_000)  # before anything is loaded: what a short command makes is not worth looking through for circles

# isort: split
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from mbox.errors import MboxError, StoreError, Unwritten, told
from mbox.format.checks import on_one_line

from . import output
from .context import Context
from .table import PROGRAMS, Commands, group

# -- one call ------------------------------------------------------------------------------------------------


def run(commands: Commands, program: str, args: list[str]) -> int:
    """Run one call; its exit status, once its output has left and what it opened is closed.  Never raises."""
    context = Context()
    status = _step(context, program, lambda: _perform(commands, program, args, context))
    status = _step(context, program, context.close, status)
    return _step(context, program, output.flush, status)


def _step(context: Context, program: str, step: Callable[[], int | None], status: int = 0) -> int:
    """Do ``step``; ``status``, or its own if that is 0.  Of a call only the first error is told."""
    try:
        own = step() or 0
    except BaseException as error:  # noqa: BLE001 - everything that is raised ends up here and is told
        own = 0 if status else _report(program, _meant(error, context.acts))
    return status or own


def _meant(error: BaseException, acts: bool) -> BaseException:
    """``error``; or, where stdout refused the answer of a command that ``acts``, that it happened all the same."""
    if acts and isinstance(error, OSError) and error.filename == output.STDOUT and not isinstance(error, BrokenPipeError):
        return Unwritten(told(error))
    return error


def _perform(commands: Commands, program: str, args: list[str], context: Context) -> int:
    variable = f"_{program.upper()}_COMPLETE"
    asked = os.environ.get(variable)
    if asked:
        from click.shell_completion import shell_complete

        return shell_complete(commands, {"obj": context}, program, variable, asked)
    if args == ["--version"]:
        from mbox import __version__

        output.write(f"{program} {__version__}\n")
        return 0
    with commands.make_context(program, args, obj=context) as ctx:
        return _status(commands.invoke(ctx))


def _status(returned: Any) -> int:
    """What a command returned as an exit status: None is 0, and -N, from `subprocess`, death by signal N."""
    if type(returned) is not int:
        return 0
    return 128 - returned if returned < 0 else returned & 0xFF


# -- errors --------------------------------------------------------------------------------------------------


def _report(program: str, error: BaseException) -> int:
    """Tell ``error`` in one line; its exit status."""
    status, line = explained(error, program)
    if os.environ.get("MBOX_DEBUG") and status == StoreError.exit:
        from traceback import format_exception

        output.say("".join(format_exception(error)))
    if line:
        output.say(on_one_line(f"{program}: {line}"))
    return status


def explained(error: BaseException, program: str = "") -> tuple[int, str]:
    """The exit status for ``error`` and the line that tells it; no line where there is nothing to tell."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code, ""
        case SystemExit():
            return _status(error.code), ""
        case MboxError():
            return error.exit, str(error)
        case click.ClickException():
            return 2, _usage(error, program)
        case BrokenPipeError():
            return 141, ""
        case KeyboardInterrupt() | click.Abort():
            return 130, ""
        case OSError():
            return StoreError.exit, told(error)
        case ImportError():
            return StoreError.exit, f"{error}: a part of the program could not be loaded; try again, else install it anew"
        case MemoryError():
            return StoreError.exit, "out of memory; `mbox doctor` says whether anything is left to be done"
        case _:
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            return StoreError.exit, (
                f"internal error: {what}; what was done is in `mbox log`; MBOX_DEBUG=1 shows the traceback"
            )


def _usage(error: click.ClickException, program: str) -> str:
    """A wrong call, with the command it was for and where its help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    ctx = getattr(error, "ctx", None)
    if ctx is None:
        return message
    command = ctx.command_path.removeprefix(program).strip()
    return f"{f'{command}: ' if command else ''}{message} ({ctx.command_path} --help)"


# -- entry points --------------------------------------------------------------------------------------------


def enter(program: str, args: list[str]) -> NoReturn:
    """Be the process ``program``."""
    _occupy_descriptors()
    _keep_own_rights()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    status = run(group(program), program, args)
    os._exit(status)


def _occupy_descriptors() -> None:
    """Open what the caller closed of stdin, stdout, stderr: no file of the store may become one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)


def _keep_own_rights() -> None:
    """A umask that takes the owner's own rights does not count: nobody could read what is made, its owner neither."""
    before = os.umask(0o077)
    if before != 0o077:
        os.umask(before & 0o077)


def mbox() -> NoReturn:
    """The command ``mbox``."""
    enter("mbox", sys.argv[1:])


def task() -> NoReturn:
    """The command ``task``."""
    enter("task", sys.argv[1:])


def reserve() -> NoReturn:
    """The command ``reserve``."""
    enter("reserve", sys.argv[1:])


def team() -> NoReturn:
    """The command ``team``."""
    enter("team", sys.argv[1:])


def workflow() -> NoReturn:
    """The command ``workflow``."""
    enter("workflow", sys.argv[1:])


def named(words: list[str]) -> NoReturn:
    """The command whose name is the first of ``words``."""
    if words and words[0] in PROGRAMS:
        enter(words[0], words[1:])
    output.say(f"python -m mbox.cli {'|'.join(PROGRAMS)} …")
    sys.exit(2)


if __name__ == "__main__":
    named(sys.argv[1:])
