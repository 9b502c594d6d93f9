"""What a word on the command line may be: text, one line, JSON, a duration, a name; read and checked.

Promised: a command's body gets a checked value, or `Usage` says which option or argument it is and what would be right;
``-`` is stdin and ``@file`` a file where the value says so; while the shell completes, neither is read.  Not promised:
that what an id or a name stands for is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from mbox.errors import Usage
from mbox.format import checks

from .context import Context

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType


Read = Callable[[str, str, Context], Any]
"""Turns a word into a value; also gets what to call it in an error, and the `Context`."""


Kind = Literal["agent", "deadletter", "message", "reservation", "run", "setting", "task", "team"]
"""What the store has names of."""


class Value(_Type):
    """A checked value: what ``read`` makes of the word on the command line, or `Usage`.

    ``completes``: of what it is the name, so that the shell can offer those there are; None is none of the store's.
    """

    def __init__(self, name: str, read: Read, completes: Kind | None = None) -> None:
        self.name = name
        self.read = read
        self.completes = completes

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
        from mbox.system.given import read_given

        return read_given(word[1:], limit + 1)
    except OSError as error:
        why = f"{checks.quoted(word[1:])}: {error.strerror}"
        raise Usage(f"{what}: {why}; @ names a file, a literal @ is written @@") from None


def _text(word: str, what: str, context: Context) -> str:
    return checks.text(what, _source(word, what, context, checks.BODY))


def _line(word: str, what: str, context: Context) -> str:
    said = checks.text(what, _source(word, what, context, checks.BODY))
    return checks.line(what, said if said == word else said.rstrip("\r\n"))


def _key(word: str, what: str, context: Context) -> str:
    from mbox.format import keys

    return keys.given(what, _line(word, what, context))


def _json(word: str, what: str, context: Context) -> Any:
    from mbox.format import parsing
    from mbox.format.documents import compact

    said = _text(word, what, context)
    try:
        value = parsing.loads(said)
        compact(value).encode()  # refuses what no document can hold: infinite numbers, half characters
    except (ValueError, RecursionError) as error:
        hint = '; a text needs its ""' if hasattr(error, "msg") else ""
        raise Usage(f"{what} is not JSON: {checks.on_one_line(parsing.why_not(error))}{hint}") from None
    return value


def _duration(word: str, what: str, context: Context) -> float:
    from mbox.system.clock import parse_duration

    try:
        seconds = parse_duration(word)
    except ValueError as error:
        raise Usage(f"{what}: {error}") from None
    return int(seconds) if seconds.is_integer() else seconds


def row_count(word: str, what: str, context: Context) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 10):
        raise Usage(f"{what}: {checks.quoted(word)} is no number of rows: say 20, or 0 for all")
    return int(word)


def _priority(word: str, what: str, context: Context) -> int:
    if word == "urgent":
        return 8
    if len(word) == 1 and word in "0123456789":
        return int(word)
    raise Usage(f"{what}: {checks.quoted(word)} is no priority: 0 to 9 (9 first, 5 is the default), or urgent")


def _word(word: str, what: str, context: Context) -> str:
    if word and any(char.isspace() or char == "," for char in checks.line(what, word, 64)):
        raise Usage(f"{what}: {checks.quoted(word)} is not one word: use - for spaces and commas")
    return _composed(word)


def _type(word: str, what: str, context: Context) -> str:
    return _composed(_line(word, what, context))


def _composed(word: str) -> str:
    if word.isascii():
        return word
    from mbox.format.documents import composed

    return composed(word)


TEXT = Value("text", _text)
"""A body: any UTF-8, byte for byte; ``-`` and ``@file`` too."""


LINE = Value("text", _line)
"""A subject, title or reason: one line; ``-`` and ``@file`` too."""


def _shell_line(word: str, what: str, context: Context) -> str:
    from mbox.format import fields

    said = _source(word, what, context, fields.COMMAND)
    if isinstance(said, bytes):
        said = said.decode("utf-8", "replace").rstrip("\r\n")
    return fields.command(what, said)

SHELL_LINE = Value("text", _shell_line)
"""A command that bash will run; ``$`` in it is bash's."""


WORD = Value("word", _word)
"""A stage, label or capability: one word, or nothing; in NFC."""


TYPE = Value("text", _type)
"""The type of a message, in NFC: one line; ``-`` and ``@file`` too."""


KEY = Value("text", _key)
"""An idempotency key: one line that is not like one of the toolkit's own; ``-`` and ``@file`` too."""


JSON = Value("json", _json)
"""Any JSON value; ``-`` and ``@file`` too."""


DURATION = Value("d", _duration)
"""Seconds."""


PRIORITY = Value("0-9", _priority)


def _ident(word: str, what: str, context: Context) -> str:
    return checks.ident(word)


TASK = Value("id", _ident, "task")
MESSAGE = Value("id", _ident, "message")
"""A message, or the thread that it began."""

RESERVATION = Value("id", _ident, "reservation")
DEADLETTER = Value("id", _ident, "deadletter")


NEW_TASK_ID = Value("id", lambda word, what, context: checks.given_task_id(word), "task")


def name(kind: str, completes: Kind | None = None) -> Value:
    """The name of a ``kind``: an agent, a team, a lock."""
    return Value(kind, lambda word, what, context: checks.name(kind, word), completes)


AGENT = name("agent", "agent")


def _receiver(word: str, what: str, context: Context) -> str:
    if any(map(str.isspace, word)):
        raise Usage(f"{what}: {checks.quoted(word)} is no agent: the text goes behind --body")
    return checks.name("agent", word)


RECEIVER = Value("agent", _receiver, "agent")
"""An agent that a message goes to."""

TEAM = name("team", "team")
RUN = name("run", "run")


def as_given(completes: Kind | None = None) -> Value:
    """A word as it stands; what it means is found later."""
    return Value("text", lambda word, what, context: word, completes)


GIVEN = as_given()
