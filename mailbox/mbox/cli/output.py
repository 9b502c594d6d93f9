"""What a command prints: data on stdout in one of six formats, prose on stderr.

Promised: stdout gets what a formatter made, whole, or `flush` raises; JSON and YAML read back equal whatever
stands in the texts, and have control and bidi characters as escapes; ``env`` is safe to ``eval``; on a terminal, and
in all prose, such characters are shown, not obeyed: colours and the moves of a screen are ours alone, and nowhere but on
a terminal that can (`is_coloured`, `can_move`).  Not promised: that anything was written before `flush` returned.

A formatter is chosen once for a call (`formatter`) and asked for text: ``one`` object, ``many`` rows, or an
``item`` of a stream that has no end.  None of them writes.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mbox.format import documents
from mbox.format.checks import on_one_line, visible

Doc = Mapping[str, Any]

FORMATS = ("auto", "json", "jsonl", "yaml", "table", "id", "env")

STDOUT = "stdout"
"""The file name in an OSError of `write` and `flush`."""

KEPT = 32
"""Columns of a table that the text which matters most keeps while others give way."""

LEAST, MAIN = 8, 16
"""Columns that any other text is cut down to, and those that the one which matters most keeps, or a third of all."""

MATTERS = ("subject", "title", "patterns", "detail")
"""What matters most where a list does not say it, by the column's name: the first that is there."""

GIVES = ("thread_id", "parent_id", "created_at", "before_you", "needs_ack", "priority", "state", "type", "mode", "task_id")
"""And what goes first for it."""


class Drawn(str):
    """Text for a person whose pieces were made `visible` as they were put in: what escapes it holds are ours.

    Whatever is made of it by other means is a plain string again, and its escapes are shown.
    """

    __slots__ = ()


# -- streams -------------------------------------------------------------------------------------------------


def on_terminal() -> bool:
    """Whether a person sees stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def can_move() -> bool:
    """Whether stdout is a terminal that understands escape sequences."""
    return on_terminal() and os.environ.get("TERM", "") not in ("", "dumb")


def can_show_progress() -> bool:
    """Whether stderr is a terminal on which a line can be taken away again."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def is_coloured() -> bool:
    """Whether stdout is a terminal that shows colours, and nobody has asked for none (no-color.org)."""
    return can_move() and not os.environ.get("NO_COLOR")


def write(text: str) -> None:
    """Write data to stdout; OSError that names `STDOUT` if it does not take it."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.write(visible(text) if on_terminal() and not isinstance(text, Drawn) else text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from None


def flush() -> None:
    """Return when everything written is with the system; OSError that names `STDOUT` otherwise."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from None


before_saying: list[Callable[[], None]] = []
"""What takes away a line of progress, where one stands (`progress`)."""


def say(text: str) -> None:
    """Write prose to stderr.  Never fails: that nobody can read it is no reason to stop."""
    for clear in before_saying:
        clear()
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


# -- what is shown -------------------------------------------------------------------------------------------


CALLERS = frozenset(["payload", "result", "results", "original", "value", "state"])
"""Fields whose data is the caller's own: nothing in it is a time of ours."""


def timely(name: str, value: Any) -> Any:
    """``value`` of the field ``name`` with its times, and those of the rows in it, to the millisecond."""
    if type(value) is str:
        if (name == "ts" or name[-3:] == "_at") and len(value) == len(WHOLE) and value[19] == "." and value[-1] == "Z":
            return f"{value[:23]}Z"
    elif type(value) is list:
        if value and isinstance(value[0], dict) and name not in CALLERS:
            return [timely(name, one) for one in value]
    elif isinstance(value, dict) and name not in CALLERS:
        return {field: timely(field, one) for field, one in value.items()}
    return value


WHOLE = "2026-01-02T03:04:05.678901Z"
"""A time as it stands on disk."""


def short(doc: Doc, defaults: Doc) -> dict[str, Any]:
    """``doc`` without its ``schema``, empty fields, and those that are as ``defaults`` says; times to the millisecond."""
    return {
        name: timely(name, value)
        for name, value in doc.items()
        if name != "schema"
        and value not in (None, "", [], {})
        and (name not in defaults or type(value) is not type(defaults[name]) or value != defaults[name])
    }


def id_field(doc: Doc, kind: str = "") -> str:
    """The field that identifies ``doc``: ``KIND_id``, ``KIND``, the first ``…_id``, ``id``, ``seq``, ``team``, ``agent`` or ''.

    One that is null identifies nothing.
    """
    names = (f"{kind}_id", kind, *(name for name in doc if name.endswith("_id")), "id", "seq", "team", "agent")
    return next((name for name in names if doc.get(name) is not None), "")


def cell(value: Any) -> str:
    """A value as people read it: texts as they are, lists of texts with commas, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return documents.compact(value)


# -- formatters ----------------------------------------------------------------------------------------------


class Formatter:
    """JSON, and what the other formats share.

    ``kind`` is the kind of document that is printed, if it is one; its defaults are left out, or, if
    ``full``, it is printed as on disk.  ``width`` is the terminal's, 0 where there is none.
    """

    __slots__ = ("defaults", "full", "kind", "width")

    def __init__(self, kind: str = "", full: bool = False, width: int = 0) -> None:
        self.kind = kind
        self.defaults = documents.defaults(kind) if kind in documents.KINDS else {}
        self.full = full
        self.width = width

    def fields(self, doc: Doc) -> dict[str, Any]:
        """What is printed of ``doc``."""
        return dict(doc) if self.full else short(doc, self.defaults)

    def one(self, doc: Doc) -> str:
        """A single object."""
        if self.full and self.kind in documents.KINDS:
            return documents.encode(self.kind, doc).decode()
        return self.item(doc)

    def many(self, docs: Sequence[Doc]) -> str:
        """A list: an array with each row on a line of its own."""
        rows = ",\n".join(self.one(doc).rstrip("\n") for doc in docs)
        return f"[\n{rows}\n]\n" if docs else "[]\n"

    def item(self, doc: Doc) -> str:
        """One object of an endless stream: a line."""
        return documents.compact(self.fields(doc)) + "\n"


class Lines(Formatter):
    """JSON Lines."""

    def one(self, doc: Doc) -> str:
        return self.item(doc)

    def many(self, docs: Sequence[Doc]) -> str:
        return "".join(map(self.item, docs))


class Yaml(Formatter):
    """YAML, read alike by parsers of 1.1 and 1.2."""

    def one(self, doc: Doc) -> str:
        return _yaml(self.fields(doc))

    def many(self, docs: Sequence[Doc]) -> str:
        return _yaml([self.fields(doc) for doc in docs])

    def item(self, doc: Doc) -> str:
        return "---\n" + self.one(doc)


class Ids(Lines):
    """Only the id of each, one a line; nothing for what has none."""

    def item(self, doc: Doc) -> str:
        name = id_field(doc, self.kind)
        return f"{on_one_line(str(doc[name]))}\n" if name else ""


class Env(Lines):
    """``TASK_ID='t45' TASK_TOKEN='17'`` for ``eval``, a line for each; empty fields too: none stays stale."""

    def item(self, doc: Doc) -> str:
        prefix = id_field(doc, self.kind).removesuffix("_id") or self.kind or "mbox"
        shown = doc if self.full else timely("", doc)
        named = {_variable(prefix, name): cell(shown[name]) for name in doc if name != "schema"}
        return " ".join(f"{name}={_quoted(value)}" for name, value in named.items() if name) + "\n"


Paint = Callable[[str, Any, str], str]
"""Colours a cell: the field's name, its value, and the text that stands for it; the text where it is nothing special."""


def unpainted(name: str, value: Any, text: str) -> str:
    """No colour at all."""
    return text


class Table(Formatter):
    """For people: aligned columns, cut to the terminal's width if there is one.

    ``paint`` colours, and ``headed`` says whether the names stand above.  Where there is too little room, times are
    written to the second; then the columns ``gives`` are left out one after the other, until ``keeps`` has `KEPT` columns
    or is whole; what is left gives way from the widest on.  Where even that leaves ``keeps`` less than `MAIN`, columns are
    left out from the last on.  A list in a list, and one that says nothing, keeps what `MATTERS`.
    """

    __slots__ = ("gives", "headed", "keeps", "paint")

    def __init__(self, kind: str = "", full: bool = False, width: int = 0) -> None:
        super().__init__(kind, full, width)
        self.paint: Paint = unpainted
        self.keeps = ""
        self.gives: Sequence[str] = ()
        self.headed = True

    def one(self, doc: Doc) -> str:
        shown = self.fields(doc)
        fields = [(name, on_one_line(name), self._told(name, value)) for name, value in shown.items()]
        wide = max((len(said) for _, said, text in fields if "\n" not in text), default=0)
        return Drawn("".join(
            f"{said}\n{_indented(text.removeprefix(chr(10)))}" if "\n" in text
            else f"{said:{wide}}  {self.paint(name, shown[name], text)}\n"
            for name, said, text in fields
        ))  # fmt: skip

    def _seen(self, name: str, value: Any) -> Any:
        return value if self.full else timely(name, value)

    def _told(self, name: str, value: Any) -> str:
        """A field's value: rows as a table of their own, several texts a line each, what belongs to names in pairs."""
        if isinstance(value, dict) and name not in CALLERS and all(isinstance(one, str | int | float) for one in value.values()):
            return on_one_line(", ".join(f"{key} {item}" for key, item in value.items()))
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            inner = Table(full=self.full, width=max(self.width - 2, 0))
            inner.paint = self.paint
            return "\n" + inner.many(value).rstrip("\n")
        if isinstance(value, list) and len(value) > 1 and any(" " in str(item) for item in value):
            return "\n" + "\n".join(visible(cell(item)) for item in value)
        return visible(cell(value))

    def many(self, docs: Sequence[Doc]) -> str:
        names = [name for name in dict.fromkeys(name for doc in docs for name in doc) if name != "schema"]
        rows = [[on_one_line(cell(self._seen(name, doc.get(name)))) for name in names] for doc in docs]
        heads = list(map(on_one_line, names))
        wide = self._widths(heads, rows)
        main = self.keeps or next((name for name in MATTERS if name in names), "")
        if self.width and main and sum(wide.values()) + 2 * (len(wide) - 1) > self.width:
            rows = [list(map(_short_time, row)) for row in rows]
            wide = self._in_sight(names, self._widths(heads, rows), main)
        if self.width:
            wide = dict(zip(wide, _fitted(list(wide.values()), self.width - 2 * (len(wide) - 1)), strict=True))
        lines = ["  ".join(_padded(cut(heads[at], width), width) for at, width in wide.items())] if self.headed and docs else []
        for doc, row in zip(docs, rows, strict=True):
            cells = ((names[at], row[at], width) for at, width in wide.items())
            lines.append("  ".join(self._cell(name, doc.get(name), text, width) for name, text, width in cells))
        return Drawn("".join(f"{line.rstrip()}\n" for line in lines))

    def _widths(self, heads: list[str], rows: list[list[str]]) -> dict[int, int]:
        """How wide each column is that is not empty, by its number."""
        every = [heads, *rows] if self.headed else rows
        used = (at for at in range(len(heads)) if any(row[at] for row in rows))
        return {at: max(_width(row[at]) for row in every) for at in used}

    def _cell(self, name: str, value: Any, text: str, width: int) -> str:
        short = cut(text, width)
        return self.paint(name, value, short) + " " * (width - _width(short))

    def _in_sight(self, names: Sequence[str], wide: dict[int, int], keeps: str) -> dict[int, int]:
        """The columns that stay, with their widths."""
        main = next((at for at in wide if names[at] == keeps), None)
        if main is None:
            return wide
        least = min(wide[main], KEPT)
        for name in self.gives if self.keeps else GIVES:
            if sum(width + 2 for at, width in wide.items() if at != main) + least <= self.width:
                break
            wide = {at: width for at, width in wide.items() if names[at] != name}
        some = min(least, MAIN, self.width // 3)
        for last in [at for at in reversed(wide) if at != main]:
            room = self.width - sum(min(width, LEAST) + 2 for at, width in wide.items() if at != main)
            if room >= some:
                least = min(least, room)
                break
            del wide[last]
        others = sum(width + 2 for at, width in wide.items() if at != main)
        return {**wide, main: min(wide[main], max(self.width - others, least))}

    def item(self, doc: Doc) -> str:
        shown = self.fields(doc)
        cells = {name: on_one_line(cell(value)) for name, value in shown.items()}
        if self.width and self.keeps in cells:
            room = self.width - sum(_width(text) + 2 for name, text in cells.items() if name != self.keeps)
            cells[self.keeps] = cut(cells[self.keeps], max(room, 8))
        return Drawn("  ".join(self.paint(name, shown[name], text) for name, text in cells.items()) + "\n")


def formatter(output: str, kind: str = "", full: bool = False, terminal: bool | None = None) -> Formatter:
    """The formatter for ``-o OUTPUT``; ``auto`` is a table on a terminal, else JSON.

    ``terminal``: whether a person sees stdout, if that is known better than from stdout itself.
    """
    seen = on_terminal() if terminal is None else terminal
    name = ("table" if seen else "json") if output == "auto" else output
    kinds = {"json": Formatter, "jsonl": Lines, "yaml": Yaml, "table": Table, "id": Ids, "env": Env}
    made = kinds[name](kind, full, columns() if seen else 0)
    if isinstance(made, Table):
        made.paint = painter()
    return made


def painter() -> Paint:
    """What colours cells on stdout: nothing, unless it is a terminal that shows colours."""
    if not is_coloured():
        return unpainted
    from .looks import paint

    return paint


# -- env -----------------------------------------------------------------------------------------------------


def _variable(prefix: str, name: str) -> str:
    """``TASK_STATUS`` for ``status``; '' for a field that cannot be the name of a shell variable."""
    full = name if name == prefix or name.startswith(f"{prefix}_") else f"{prefix}_{name}"
    return full.upper() if full.isidentifier() and full.isascii() else ""


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


# -- yaml ----------------------------------------------------------------------------------------------------


def _yaml(value: Any) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Repeats what occurs twice instead of making it an alias."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        """Quote what some parser would not read as this text: ``1e5``, ``0o7``, ``y``, odd line breaks."""
        plain = value.replace("\n", "").isprintable() and visible(value) == value
        risky = value[:1] in "0123456789+-.=" or value.lower() in ("y", "n") or not plain
        style = "|" if plain and "\n" in value else '"' if risky else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    # What `visible` shows stands in double quotes, where its forms are YAML's own escapes.
    return visible(str(yaml.dump(value, Dumper=Dumper, allow_unicode=True, sort_keys=False, width=1 << 20)))


# -- table ---------------------------------------------------------------------------------------------------


def columns() -> int:
    """How wide a table may be: as COLUMNS says, else as the terminal is."""
    try:
        return int(os.environ.get("COLUMNS") or 0) or size()[0]
    except ValueError:
        return size()[0]


def size() -> tuple[int, int]:
    """How many columns and lines the terminal behind stdout has, whatever the environment remembers of another."""
    try:
        wide, high = os.get_terminal_size(1)
    except (OSError, ValueError):
        wide = high = 0
    return wide or 80, high or 24


def _width(text: str) -> int:
    """How many columns ``text`` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in ("Mn", "Me", "Cf") else 2 if east_asian_width(char) in "WF" else 1
        for char in text
    )


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, with an ellipsis where something is missing."""
    if _width(text) <= width:
        return text
    while text and _width(text) >= width:
        text = text[: min(len(text) - 1, width)]
    return f"{text}…"


def _fitted(widths: Sequence[int], room: int, least: int = LEAST) -> list[int]:
    """``widths`` in ``room``: the widest made smaller down to ``least``; where that does not do, the last ones further."""
    fitted = [min(width, max(room, least)) for width in widths]
    while sum(fitted) > room and max(fitted, default=0) > least:
        fitted[fitted.index(max(fitted))] -= 1
    for at in reversed(range(len(fitted))):
        fitted[at] -= min(max(sum(fitted) - room, 0), fitted[at] - 1)
    return fitted


def _short_time(text: str) -> str:
    """A time stamp without its year and what is less than a second (UTC); any other text as it is."""
    is_time = len(text) in (24, 27) and text[10] == "T" and text[-1] == "Z" and text[:4].isdecimal()
    return f"{text[5:10]} {text[11:19]}" if is_time else text


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.split("\n"))


def limited(rows: Iterable[Doc], limit: int) -> tuple[list[Doc], int]:
    """The first ``limit`` of ``rows`` (all for 0), and how many are left out."""
    every = list(rows)
    return (every[:limit], len(every) - limit) if 0 < limit < len(every) else (every, 0)
