"""What every command shares: its declaration, and the options of "Every command".

A command is a function that takes a `Context` and its own arguments, under a stack of decorators:

    @command(examples=["mbox ack m12"], exits={3: "no such message"})
    @changes
    @words("ids", "ID")
    def ack(context: Context, ids: tuple[str, ...]) -> None:
        '''Acknowledge messages that were read.'''

It prints with `Context.emit`, raises `errors`, and may return an exit status.  The decorators only note what
is wanted; click's objects are made for the one command that runs (`Body.command`), because a module of twenty
commands would spend more on them than the command does.

Shared options are accepted before the command's name too (`table` moves them behind it); the later one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from mbox.errors import Usage
from mbox.format import checks

from . import output
from .context import STDIN, Context
from .values import AGENT, DURATION, GIVEN, Value, as_given, row_count

F = TypeVar("F", bound=Callable[..., Any])


# -- declaring a command -------------------------------------------------------------------------------------

Wanted = tuple[type[click.Parameter], tuple[str, ...], dict[str, Any]]

EXITS = {0: "done", 2: "wrong call or refused", 6: "the store"}
"""What every command's exit status can be; a command adds its own."""

ACTS = {74: "it happened, the answer could not be written"}
"""And that of every command that changes something."""


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


def gone(name: str, why: str) -> Callable[[F], F]:
    """A flag of earlier versions: whoever gives it is refused with ``why``, and no help names it."""

    def refuse(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given and not ctx.resilient_parsing:
            raise Usage(f"{name} is no more: {why}")

    return option(name, is_flag=True, hidden=True, expose_value=False, callback=refuse)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Put a shared option where it belongs, in the `Context`."""
    setattr(context.ensure_object(Context), parameter.name or "", value)


def _keep_json(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    """``--json`` is ``-o json``."""
    if given:
        context.ensure_object(Context).output = "json"


def _keep_given(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """As `_keep`, for an option that has another spelling: nothing is kept where it is not given."""
    if value is not None:
        _keep(context, parameter, value)


def _shared(*names: str, **settings: Any) -> Wanted:
    return click.Option, names, {"expose_value": False, "callback": _keep, **settings}


def words(into: str, metavar: str, each: Value = GIVEN, required: bool = True) -> Callable[[F], F]:
    """Any number of ids or paths as the argument ``into``, each a value of that type; ``-`` reads stdin.

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
        return tuple(each.read(word, metavar, context) for word in found)

    return argument(
        into, type=as_given(each.completes), metavar=f"{metavar}...", nargs=-1, required=required, callback=expanded
    )


def _lines(context: Context, what: str) -> list[str]:
    """The ids or paths on stdin: one a line, as people and git (which quotes some) write them, or each ended by NUL.

    What is no UTF-8 in them is for whoever reads the word to refuse.
    """
    data = context.stdin(what)
    if len(data) > STDIN:
        raise Usage(f"{what} is over {STDIN} bytes: name folders, or call several times")
    said = data.decode("utf-8", "surrogateescape")
    if "\0" in said:
        return [word for word in said.split("\0") if word]
    return [checks.unquoted(line.rstrip("\r")) for line in said.split("\n") if line.strip()]


TIMEOUT = 100.0
"""Seconds that a waiting command waits unless said: less than the two minutes that agents give a command."""

timeout = option(
    "--timeout", type=DURATION, default=TIMEOUT, metavar="D", help="how long to wait (100s); 0 is for ever"
)


# -- the options of every command ----------------------------------------------------------------------------

EVERY = (
    _shared("--as", "agent", metavar="AGENT", envvar="MBOX_AGENT", type=AGENT),
    _shared("--root", metavar="DIR"),
    _shared("-o", "--output", metavar="FORMAT", type=click.Choice(output.FORMATS), callback=_keep_given),
    _shared("--json", is_flag=True, hidden=True, callback=_keep_json),
    _shared("--quiet", is_flag=True),
)
DRY_RUN = _shared("--dry-run", is_flag=True)
FULL = _shared("--full", is_flag=True)
LIMIT = _shared("--limit", metavar="N", type=Value("n", row_count))

WORDS = {
    "--as": 1,
    "--root": 1,
    "-o": 1,
    "--output": 1,
    "--limit": 1,
    "--json": 0,
    "--quiet": 0,
    "--dry-run": 0,
    "--full": 0,
}
"""Every spelling of a shared option, with the words that follow it."""


def acts(function: F) -> F:
    """The command changes something: where its answer cannot be written, it ends with 74 (`Context.acts`)."""
    vars(function)["acts"] = True
    return function


def changes(function: F) -> F:
    """The command changes state, and can be tried: ``--dry-run``."""
    vars(function).setdefault("wanted", []).append(DRY_RUN)
    return acts(function)


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
    return lambda function: Body(function, examples, exits or {}, tail)


class Body:
    """A declared command: its function and what it wants, before click's objects are made."""

    __slots__ = ("acts", "examples", "exits", "function", "own_exits", "tail")

    def __init__(
        self, function: Callable[..., Any], examples: Sequence[str], exits: Mapping[int, str], tail: str
    ) -> None:
        self.function = function
        self.acts = hasattr(function, "acts")
        self.examples = examples
        self.own_exits = exits
        self.exits = {**EXITS, **(ACTS if self.acts else {}), **exits}
        self.tail = tail

    def command(self, name: str) -> Command:
        """The click command."""
        return Command(name, self)


HELP = "Show this message and exit."


class Helpful(click.Command):
    """Prints its help as data is printed, so that a full disk behind stdout is told as one; names what a wrong option means."""

    def spelled(self) -> list[str]:
        """Every option and argument that may stand here, as it is written: those of its own, unless it knows better."""
        there = [name for one in self.params for name in names(one) if not getattr(one, "hidden", False)]
        return [*there, "--help"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from . import meanings

            meant = asked(meanings.option(error.option_name, self.spelled()))
            raise click.UsageError(f"No such option: {error.option_name}{meant}", error.ctx or ctx) from None
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """``--help``, made here: click's own looks for a translation of its one line, which costs a millisecond."""
        names = self.get_help_option_names(ctx)
        if not names:
            return None
        return click.Option(names, is_flag=True, is_eager=True, expose_value=False, callback=_help, help=HELP)


def asked(meant: str) -> str:
    """``; did you mean …?``, or nothing where nothing is meant."""
    return f"; did you mean {meant}?" if meant else ""


def _help(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        output.write(ctx.get_help() + "\n")
        ctx.exit()


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """What the shell completes a value with."""
    from .completing import values

    return values(ctx, param, incomplete)


class Command(Helpful):
    """A command with a compact help (at most 2,000 bytes): own options, examples, and the exit statuses that are its own."""

    allow_extra_args = True
    """click hands back the words that are too many, and they are refused here, with where they belong."""

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
            "shared": [one.opts[0] for one in self.params if not one.expose_value and not getattr(one, "hidden", False)],
            "tail": self.body.tail or None,
            "examples": list(self.body.examples),
            "exits": {str(status): said for status, said in sorted(self.body.exits.items())},
        }

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.body.tail and "--" in args:
            at = args.index("--")
            ctx.ensure_object(Context).tail = tuple(args[at + 1 :])
            args = args[:at]
        extra = super().parse_args(ctx, args)
        if extra and not ctx.resilient_parsing:
            from . import meanings

            hint = meanings.spoken(extra, self.spelled())
            raise click.UsageError(f"Got unexpected extra argument{'s'[: len(extra) > 1]} ({' '.join(extra)}){hint}", ctx)
        return extra

    def invoke(self, ctx: click.Context) -> Any:
        context = ctx.ensure_object(Context)
        context.acts = self.body.acts and not context.dry_run
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
        shared = [_spelled(one) for one in options if not one.expose_value and not one.hidden]
        formatter.write_paragraph()
        formatter.write_text(f"Also {' '.join(shared)} --help")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.body.examples:
                formatter.write(f"  {example}\n")
        if self.body.own_exits:
            formatter.write_paragraph()
            formatter.write_text("Exit: " + ", ".join(f"{n} {said}" for n, said in sorted(self.body.own_exits.items())))


def _described(one: click.Parameter) -> dict[str, Any]:
    many = one.nargs == -1 or one.multiple
    described = {"names": one.opts, "value": one.metavar, "required": one.required, "many": many}
    return (
        {**described, "help": one.help, "flag": one.is_flag} if isinstance(one, click.Option) else described
    )


def names(one: click.Parameter) -> list[str]:
    """How a parameter is written: its options, or the name of the argument in the help."""
    return [*one.opts, *one.secondary_opts] if isinstance(one, click.Option) else [one.metavar or ""]


def _spelled(one: click.Option) -> str:
    return f"[{one.opts[0]}{f' {one.metavar}' if one.metavar else ''}]"
