"""What every command shares: its declaration, the options of "Every command", and value types.

A command is a function that takes a `Context` and its own arguments, under a stack of decorators:

    @command(examples=["mbox ack m12"], exits={3: "no such message"})
    @changes
    @words("ids", "ID")
    def ack(context: Context, ids: tuple[str, ...]) -> None:
        '''Acknowledge messages that were read.'''

It prints with `Context.emit`, raises `errors`, and may return an exit status.  The decorators only note what
is wanted; click's objects are made for the one command that runs (`Body.command`), because a module of twenty
commands would spend more on them than the command does.

Shared options are accepted before the command's name too (`main` moves them behind it); the later one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mbox.format import checks
from mbox.cli import output
from mbox.cli.context import STDIN, Context
from mbox.errors import Usage

F = TypeVar("F", bound=Callable[..., Any])

LONGEST = 3650 * 86400
"""The longest duration, in seconds."""


# -- declaring a command -------------------------------------------------------------------------------------

Wanted = tuple[type[click.Parameter], tuple[str, ...], dict[str, Any]]

EXITS = {0: "done", 2: "wrong call or refused", 6: "the store"}
"""What every command's exit status can be; a command adds its own."""


def _wants(function: Any, kind: type[click.Parameter], names: tuple[str, ...], **settings: Any) -> None:
    """Note a parameter of ``function``; decorators run from the bottom up, so each new one comes first."""
    vars(function).setdefault("wanted", []).insert(0, (kind, names, settings))


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """As `click.option`."""

    def decorate(function: F) -> F:
        _wants(function, click.Option, names, **settings)
        return function

    return decorate


def argument(*names: str, **settings: Any) -> Callable[[F], F]:
    """As `click.argument`."""

    def decorate(function: F) -> F:
        _wants(function, click.Argument, names, **settings)
        return function

    return decorate


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Put a shared option where it belongs, in the `Context`."""
    setattr(context.ensure_object(Context), parameter.name or "", value)


def _shared(*names: str, **settings: Any) -> Wanted:
    return click.Option, names, {"expose_value": False, "callback": _keep, **settings}


# -- value types ---------------------------------------------------------------------------------------------

Read = Callable[[str, str, Context], Any]
"""Turns a word into a value; also gets what to call it in an error, and the `Context`."""

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType


class Value(_Type):
    """A checked value: what ``read`` makes of the word on the command line, or `Usage`."""

    def __init__(self, name: str, read: Read) -> None:
        self.name = name
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or (ctx and ctx.resilient_parsing):
            return value  # the shell completes: what stands there is not read
        return self.read(value, _called(param), ctx.ensure_object(Context) if ctx else Context())


def _called(param: click.Parameter | None) -> str:
    if param is None:
        return "value"
    return param.opts[0] if isinstance(param, click.Option) else param.metavar or param.opts[0].upper()


def _source(word: str, what: str, context: Context, limit: int) -> str | bytes:
    """A literal, stdin for ``-``, a file for ``@file``; ``@@`` is a literal ``@``."""
    if word == "-":
        return context.stdin(what, limit)
    if not word.startswith("@"):
        return word
    if word.startswith("@@"):
        return word[1:]
    try:
        with open(word[1:], "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        why = f"{checks.quoted(word[1:])}: {error.strerror}"
        raise Usage(f"{what}: {why}; @ names a file, a literal @ is written @@") from None


def _text(word: str, what: str, context: Context) -> str:
    return checks.text(what, _source(word, what, context, checks.BODY))


def _line(word: str, what: str, context: Context) -> str:
    said = checks.text(what, _source(word, what, context, checks.BODY))
    return checks.line(what, said if said == word else said.rstrip("\r\n"))


def _json(word: str, what: str, context: Context) -> Any:
    from json import loads

    from mbox.format.documents import compact

    said = _text(word, what, context)
    try:
        value = loads(said, object_pairs_hook=_unique)
        compact(value).encode()  # refuses what no document can hold: infinite numbers, half characters
    except (ValueError, RecursionError) as error:
        raise Usage(f'{what} is not JSON: {checks.on_one_line(str(error))}; a text needs its ""') from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(word: str, what: str, context: Context) -> float:
    number, unit = word[:-1], word[-1:]
    if word == "0":
        return 0
    if unit not in _SECONDS or not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise Usage(f"{what}: {checks.quoted(word)} is no duration: say 90s, 15m, 2h or 1d")
    seconds = float(number) * _SECONDS[unit]
    if seconds > LONGEST:
        raise Usage(f"{what}: {checks.quoted(word)} is more than ten years")
    return int(seconds) if seconds.is_integer() else seconds


def _count(word: str, what: str, context: Context) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 10):
        raise Usage(f"{what}: {checks.quoted(word)} is no number of rows: say 20, or 0 for all")
    return int(word)


def _priority(word: str, what: str, context: Context) -> int:
    if word == "urgent":
        return 8
    if len(word) == 1 and word in "0123456789":
        return int(word)
    raise Usage(f"{what}: {checks.quoted(word)} is no priority: 0 to 9 (9 first, 5 unless said), or urgent")


TEXT = Value("text", _text)
"""A body: any UTF-8, byte for byte; ``-`` and ``@file`` too."""

LINE = Value("text", _line)
"""A subject, title or reason: one line; ``-`` and ``@file`` too."""

JSON = Value("json", _json)
"""Any JSON value; ``-`` and ``@file`` too."""

DURATION = Value("d", _duration)
"""Seconds."""

PRIORITY = Value("0-9", _priority)

ID = Value("id", lambda word, what, context: checks.ident(word))

NEW_TASK_ID = Value("id", lambda word, what, context: checks.given_task_id(word))


def name(kind: str) -> Value:
    """The name of a ``kind``: an agent, a team, a lock."""
    return Value(kind, lambda word, what, context: checks.name(kind, word))


AGENT = name("agent")


def words(
    into: str, metavar: str, check: Callable[[str], str] = str, required: bool = True
) -> Callable[[F], F]:
    """Any number of ids or paths as the argument ``into``, each as ``check`` returns it; ``-`` reads stdin.

    Nothing on stdin is nothing to do: the command ends there, with 0.
    """

    def expanded(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
        if ctx.resilient_parsing:
            return tuple(given)
        context = ctx.ensure_object(Context)
        found = [word for one in given for word in (_lines(context, metavar) if one == "-" else [one])]
        if given and not found:
            context.say("nothing on stdin, nothing to do")
            ctx.exit(0)
        return tuple(map(check, found))

    return argument(into, metavar=f"{metavar}...", nargs=-1, required=required, callback=expanded)


def _lines(context: Context, what: str) -> list[str]:
    said = checks.text(what, context.stdin(what), STDIN)
    return [line.rstrip("\r") for line in said.split("\n") if line.strip()]


# -- the options of every command ----------------------------------------------------------------------------

EVERY = (
    _shared("--as", "agent", metavar="AGENT", envvar="MBOX_AGENT", type=AGENT),
    _shared("--root", metavar="DIR"),
    _shared("-o", "--output", metavar="FORMAT", type=click.Choice(output.FORMATS), default="auto"),
    _shared("--quiet", is_flag=True),
)
DRY_RUN = _shared("--dry-run", is_flag=True)
FULL = _shared("--full", is_flag=True)
LIMIT = _shared("--limit", metavar="N", type=Value("n", _count))

WORDS = {
    "--as": 1,
    "--root": 1,
    "-o": 1,
    "--output": 1,
    "--limit": 1,
    "--quiet": 0,
    "--dry-run": 0,
    "--full": 0,
}
"""Every spelling of a shared option, with the words that follow it."""


def changes(function: F) -> F:
    """The command changes state: ``--dry-run``."""
    vars(function).setdefault("wanted", []).append(DRY_RUN)
    return function


def shows(function: F) -> F:
    """The command shows documents: ``--full``."""
    vars(function).setdefault("wanted", []).append(FULL)
    return function


def lists(limit: int) -> Callable[[F], F]:
    """The command lists: ``--limit``, that many unless said."""
    kind, names, settings = LIMIT

    def decorate(function: F) -> F:
        vars(function).setdefault("wanted", []).append((kind, names, {**settings, "default": limit}))
        return function

    return decorate


def command(
    examples: Sequence[str], exits: Mapping[int, str] | None = None, tail: str = ""
) -> Callable[[Callable[..., Any]], Body]:
    """Make a function a command; its docstring is the help.

    ``examples``: one call for each job.  ``exits``: what each status of its own means.  ``tail``: the name of
    the words after ``--``, where the command takes them (`Context.tail`).
    """
    return lambda function: Body(function, examples, {**EXITS, **(exits or {})}, tail)


class Body:
    """A declared command: its function and what it wants, before click's objects are made."""

    __slots__ = ("examples", "exits", "function", "tail")

    def __init__(
        self, function: Callable[..., Any], examples: Sequence[str], exits: Mapping[int, str], tail: str
    ) -> None:
        self.function = function
        self.examples = examples
        self.exits = exits
        self.tail = tail

    def command(self, name: str) -> Command:
        """The click command."""
        return Command(name, self)


class Helpful(click.Command):
    """Prints its help as data is printed, so that a full disk behind stdout is told as one."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        found = super().get_help_option(ctx)
        if found is not None:
            found.callback = _help
        return found


def _help(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        output.write(ctx.get_help() + "\n")
        ctx.exit()


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """What the shell completes a value with."""
    from mbox.cli.completing import values

    return values(ctx, param, incomplete)


class Command(Helpful):
    """A command with a compact help (at most 2,000 bytes): own options, examples, exit statuses."""

    def __init__(self, name: str, body: Body) -> None:
        wanted: list[Wanted] = [*getattr(body.function, "wanted", []), *EVERY]
        made = [kind(names, shell_complete=_complete, **settings) for kind, names, settings in wanted]
        super().__init__(name, params=made, help=body.function.__doc__)
        self.body = body

    def described(self) -> dict[str, Any]:
        """What the help says, for programs; the shared options apart."""
        own = [one for one in self.params if one.expose_value]
        return {
            "help": self.help,
            "arguments": [_described(one) for one in own if isinstance(one, click.Argument)],
            "options": [_described(one) for one in own if isinstance(one, click.Option)],
            "shared": [one.opts[0] for one in self.params if not one.expose_value],
            "tail": self.body.tail or None,
            "examples": list(self.body.examples),
            "exits": {str(status): said for status, said in sorted(self.body.exits.items())},
        }

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.body.tail and "--" in args:
            at = args.index("--")
            ctx.ensure_object(Context).tail = tuple(args[at + 1 :])
            args = args[:at]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        context = ctx.ensure_object(Context)
        returned = self.body.function(context, **ctx.params)
        if context.dry_run:
            context.say("dry run: nothing was changed")
        return returned

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [*pieces, f"[-- {self.body.tail}]"] if self.body.tail else pieces

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [one for one in self.params if isinstance(one, click.Option)]
        own = [record for one in options if one.expose_value and (record := one.get_help_record(ctx))]
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own, col_max=24)
        shared = [_spelled(one) for one in options if not one.expose_value]
        formatter.write_paragraph()
        formatter.write_text(f"Also {' '.join(shared)} --help")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.body.examples:
                formatter.write(f"  {example}\n")
        formatter.write_paragraph()
        formatter.write_text(
            "Exit: " + ", ".join(f"{n} {said}" for n, said in sorted(self.body.exits.items()))
        )


def _described(one: click.Parameter) -> dict[str, Any]:
    many = one.nargs == -1 or one.multiple
    described = {"names": one.opts, "value": one.metavar, "required": one.required, "many": many}
    return (
        {**described, "help": one.help, "flag": one.is_flag} if isinstance(one, click.Option) else described
    )


def _spelled(one: click.Option) -> str:
    return f"[{one.opts[0]}{f' {one.metavar}' if one.metavar else ''}]"
