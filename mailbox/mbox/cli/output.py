"""What a command prints: data on stdout in one of six formats, prose on stderr.

Promised: stdout gets what a formatter made, whole, or `flush` raises; JSON and YAML read back equal whatever
stands in the texts; ``env`` is safe to ``eval``; on a terminal, and in all prose, control and bidi characters
are shown, not obeyed.  Not promised: that anything was written before `flush` returned.

A formatter is chosen once for a call (`formatter`) and asked for text: ``one`` object, ``many`` rows, or an
``item`` of a stream that has no end.  None of them writes.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mbox.format import documents
from mbox.format.checks import on_one_line, visible

Doc = Mapping[str, Any]

FORMATS = ("auto", "json", "jsonl", "yaml", "table", "id", "env")

STDOUT = "stdout"
"""The file name in an OSError of `write` and `flush`."""


# -- streams -------------------------------------------------------------------------------------------------


def on_terminal() -> bool:
    """Whether a person sees stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def write(text: str) -> None:
    """Write data to stdout; OSError that names `STDOUT` if it does not take it."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.write(visible(text) if on_terminal() else text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from None


def flush() -> None:
    """Return when everything written is with the system; OSError that names `STDOUT` otherwise."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from None


def say(text: str) -> None:
    """Write prose to stderr.  Never fails: that nobody can read it is no reason to stop."""
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


# -- what is shown -------------------------------------------------------------------------------------------


def short(doc: Doc, defaults: Doc) -> dict[str, Any]:
    """``doc`` without its ``schema``, empty fields, and fields that are as ``defaults`` says."""
    return {
        name: value
        for name, value in doc.items()
        if name != "schema"
        and value not in (None, "", [], {})
        and (name not in defaults or type(value) is not type(defaults[name]) or value != defaults[name])
    }


def id_field(doc: Doc, kind: str = "") -> str:
    """The field that identifies ``doc``: ``KIND_id``, ``KIND``, the first ``…_id``, ``id``, ``seq``, ``team`` or ''."""
    names = (f"{kind}_id", kind, *(name for name in doc if name.endswith("_id")), "id", "seq", "team")
    return next((name for name in names if name in doc), "")


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
        named = {_variable(prefix, name): cell(doc[name]) for name in doc if name != "schema"}
        return " ".join(f"{name}={_quoted(value)}" for name, value in named.items() if name) + "\n"


class Table(Formatter):
    """For people: aligned columns, cut to the terminal's width if there is one."""

    def one(self, doc: Doc) -> str:
        fields = {name: visible(self._told(value)) for name, value in self.fields(doc).items()}
        wide = max((len(name) for name, text in fields.items() if "\n" not in text), default=0)
        return "".join(
            f"{name}\n{_indented(text.removeprefix(chr(10)))}" if "\n" in text else f"{name:{wide}}  {text}\n"
            for name, text in fields.items()
        )

    def _told(self, value: Any) -> str:
        """A field's value: rows as a table of their own, several texts a line each."""
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return "\n" + Table(width=max(self.width - 2, 0)).many(value).rstrip("\n")
        if isinstance(value, list) and len(value) > 1 and any(" " in str(item) for item in value):
            return "\n" + "\n".join(cell(item) for item in value)
        return cell(value)

    def many(self, docs: Sequence[Doc]) -> str:
        names = [name for name in dict.fromkeys(name for doc in docs for name in doc) if name != "schema"]
        rows = [[on_one_line(cell(doc.get(name))) for name in names] for doc in docs]
        used = [at for at in range(len(names)) if any(row[at] for row in rows)]
        lines = [[row[at] for at in used] for row in (names, *rows)]
        return _aligned(lines, self.width) if docs else ""

    def item(self, doc: Doc) -> str:
        return "  ".join(on_one_line(cell(value)) for value in self.fields(doc).values()) + "\n"


def formatter(output: str, kind: str = "", full: bool = False, terminal: bool | None = None) -> Formatter:
    """The formatter for ``-o OUTPUT``; ``auto`` is a table on a terminal, else JSON.

    ``terminal``: whether a person sees stdout, if that is known better than from stdout itself.
    """
    seen = on_terminal() if terminal is None else terminal
    name = ("table" if seen else "json") if output == "auto" else output
    made = {"json": Formatter, "jsonl": Lines, "yaml": Yaml, "table": Table, "id": Ids, "env": Env}[name]
    return made(kind, full, _columns() if seen else 0)


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
        plain = value.replace("\n", "").isprintable()
        risky = value[:1] in "0123456789+-.=" or value.lower() in ("y", "n") or not plain
        style = "|" if plain and "\n" in value else '"' if risky else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(value, Dumper=Dumper, allow_unicode=True, sort_keys=False, width=1 << 20))


# -- table ---------------------------------------------------------------------------------------------------


def _columns() -> int:
    """The terminal's width."""
    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(1).columns or 80
    except (OSError, ValueError):
        return 80


def _width(text: str) -> int:
    """How many columns ``text`` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in ("Mn", "Me", "Cf") else 2 if east_asian_width(char) in "WF" else 1
        for char in text
    )


def _cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, with an ellipsis where something is missing."""
    if _width(text) <= width:
        return text
    while text and _width(text) >= width:
        text = text[: min(len(text) - 1, width)]
    return f"{text}…"


def _aligned(rows: Sequence[Sequence[str]], room: int) -> str:
    """``rows`` in columns two spaces apart; where ``room`` is given, the widest columns give way."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    if room:
        widths = _fitted(widths, room - 2 * (len(widths) - 1))
    return "".join(
        "  ".join(_padded(_cut(text, width), width) for text, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


def _fitted(widths: Sequence[int], room: int, least: int = 8) -> list[int]:
    """``widths``, the widest made smaller until they fit in ``room`` or none is wider than ``least``."""
    fitted = [min(width, max(room, least)) for width in widths]
    while sum(fitted) > room and max(fitted, default=0) > least:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.split("\n"))


def limited(rows: Iterable[Doc], limit: int) -> tuple[list[Doc], int]:
    """The first ``limit`` of ``rows`` (all for 0), and how many are left out."""
    every = list(rows)
    return (every[:limit], len(every) - limit) if 0 < limit < len(every) else (every, 0)
