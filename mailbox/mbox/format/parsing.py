"""JSON, JSON Lines and YAML from a file that nobody vouches for, as plain values.  Pure functions.

Promised: what is not such a text raises `Usage` with one line: ``FILE:LINE:COLUMN:``, what is wrong, the mend.  Nothing is
coerced (no dates, no sets, no ``12:30`` that is 750), nothing stands twice in one mapping, and no file, however made, costs
more memory than `budget.INPUT` (small values by the million, aliases that multiply, bottomless nesting).
Of YAML every value has its line and column.
Not promised: what the values mean (`fields`).

Every YAML file is read here, in one of its two versions, but where a person's comments are kept.
A parser is imported for YAML only.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from mbox.errors import Usage

from . import budget, checks

LARGEST = 64 * 1024 * 1024
"""The most bytes of a file."""

DEEPEST = 64
"""The most levels of lists and mappings in each other."""

_NODE = 500  # bytes that a value of a YAML file counts as, beside its text; an alias counts as what it stands for
_PROBLEM = 200  # characters of what the parser says

Entry = tuple[str, Any]  # where it stands, and what was found there


class Place(NamedTuple):
    """Where something stands in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class PlacedMapping(dict[str, Any]):
    """A mapping of YAML that knows where it starts, and where its keys and their values stand."""

    __slots__ = ("at", "key_at", "start")

    def __init__(self, start: Place) -> None:
        super().__init__()
        self.start = start
        self.key_at: dict[str, Place] = {}
        self.at: dict[str, Place] = {}


class PlacedList(list[Any]):
    """A list of YAML that knows where it starts, and where its items stand."""

    __slots__ = ("at", "start")

    def __init__(self, start: Place) -> None:
        super().__init__()
        self.start = start
        self.at: list[Place] = []


# Texts


def decoded(data: bytes, name: str, most: int = LARGEST) -> str:
    """``data`` as text, without a byte order mark; ``name`` is the file's, ``most`` the bytes it may have."""
    file = checks.on_one_line(name)
    if len(data) > most:
        raise Usage(f"{file}: over {most >> 20} MiB: split it")
    if budget.text_cost(data) > budget.INPUT:
        raise Usage(f"{file}: {len(data) >> 20} MiB of such text take more memory than a file may: split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        raise Usage(f"{_place_after(before, file)}: not UTF-8: convert the file") from None


def json_lines(text: str, file: str, what: str, most: int) -> list[Entry]:
    """One JSON object a line, ``most`` of them; blank lines are none."""
    if next(islice(_filled(text), most, None), None) is not None:
        raise Usage(f"{file}: more than {most} {what}s, at most {most} go in one: import it in parts")
    check_cost(text, file)
    found = [(where, json_value(line, where)) for where, line in _lines(text, file)]
    if not found:
        raise Usage(f"{file}: no {what} in it")
    return found


def _filled(text: str) -> Iterator[re.Match[str]]:
    """Each line that is not blank, from its first letter."""
    return re.finditer(r"\S[^\n]*", text)


def _lines(text: str, file: str) -> Iterator[tuple[str, str]]:
    number, behind = 1, 0
    for found in _filled(text):
        number += text.count("\n", behind, found.start())
        behind = found.start()
        yield f"{file}: line {number}", text[text.rfind("\n", 0, behind) + 1 : found.end()]


def check_cost(text: str, where: str) -> None:
    """`Usage` for JSON that would take more memory than a file may."""
    if budget.is_costly(text, budget.INPUT):
        raise Usage(f"{where}: as values it would take more memory than a file may: split it")


def json_value(text: str, where: str) -> Any:
    """The one JSON value that ``text`` is."""
    check_cost(text, where)
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        syntax = "not JSON: " if isinstance(error, json.JSONDecodeError) else ""
        raise Usage(f"{where}: {syntax}{why_not(error)}") from None


def loads(text: str) -> Any:
    """As `json.loads`, but no name twice in an object and no NaN; `why_not` tells what it raises, ValueError or so."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def why_not(error: ValueError | RecursionError) -> str:
    """Why a text is no JSON, or a value none that can be kept, and the mend: in words for whoever wrote it."""
    if isinstance(error, json.JSONDecodeError):
        at = f"line {error.lineno}, column {error.colno}" if "\n" in error.doc else f"column {error.colno}"
        return f"{error.msg} at {at}"
    if isinstance(error, RecursionError):
        return "nested too deep: put what is so deep in a file of its own"
    if isinstance(error, UnicodeEncodeError):
        return f"half a character ({error.object[error.start]!a}): write the whole one, or leave it out"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8: convert it"
    if isinstance(error, _Told):
        return str(error)
    if "digits" in str(error):
        return f"a number of more than {sys.get_int_max_str_digits()} digits: write it as a text, in quotes"
    return f"a number that JSON has not (infinite, or none at all): {_NO_NUMBER}"


_NO_NUMBER = "write null, or a text in quotes"


class _Told(ValueError):
    """Says what it is in words of ours."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise _Told(f"{checks.quoted(key)} stands twice in one object")
        out[key] = value
    return out


def _no_constant(word: str) -> None:
    raise _Told(f"{word} is not JSON: {_NO_NUMBER}")


def yaml_document(text: str, file: str, *, spelled: bool = False, aliases: str = "", core: bool = False) -> tuple[Any, Place]:
    """The one YAML document that ``text`` is, and where it begins; None where there is none.

    Mappings and lists are `PlacedMapping` and `PlacedList`: they know where their keys and items stand.  With ``spelled``
    a scalar is the text that stands there (``on`` stays ``on``), or None.  ``aliases`` is the mend where aliases are refused.
    With ``core`` it is YAML 1.2 (``yes`` and ``12:30`` are texts), else 1.1.
    """
    yaml: Any
    if core:
        import ruamel.yaml as yaml
    else:
        import yaml

    file = checks.on_one_line(file)
    if core and (found := re.search("(?m)^%", text)):
        raise Usage(f"{_place_after(text[: found.start()], file)}: a directive (%…): take it out, the version is 1.2")
    try:
        loader = _Core(text) if core else getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        return _YamlReader(yaml, loader, file, spelled, aliases).document()
    except yaml.error.MarkedYAMLError as error:
        at = f"{_place(file, error.problem_mark)}" if error.problem_mark else file
        if "nesting depth" in str(error.problem):  # newer parsers count for themselves
            raise Usage(f"{at}: nested deeper than {DEEPEST}") from None
        raise Usage(f"{at}: not YAML: {checks.one_line(error.problem, _PROBLEM)}") from None
    except yaml.reader.ReaderError as error:
        found = _UNPRINTED.search(text) if core else yaml.reader.Reader.NON_PRINTABLE.search(text)
        at = str(_place_after(text[: found.start()], file)) if found else file
        raise Usage(f"{at}: not YAML: {checks.one_line(error.reason, _PROBLEM)}") from None


_UNPRINTED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What may not stand in a text of YAML 1.2 (its chapter 5.1)."""


class _Core:
    """The events of a text of YAML 1.2, and its core schema (chapter 10.3): what a plain scalar stands for.

    The schema is said here, letter by letter: the library's own has dates, ``1_000`` and merge keys beside it.
    """

    KINDS = (
        ("null", re.compile("~|null|Null|NULL|")),
        ("bool", re.compile("true|True|TRUE|false|False|FALSE")),
        ("int", re.compile("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
        ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")),
    )

    def __init__(self, text: str) -> None:
        from ruamel.yaml import YAML

        _, parser = YAML(typ="safe", pure=True).get_constructor_parser(text)
        self.get_event, self.check_event, self.peek_event = parser.get_event, parser.check_event, parser.peek_event

    def resolve(self, _node: Any, value: str, implicit: tuple[bool, bool]) -> str:
        return next((kind for kind, form in self.KINDS if form.fullmatch(value)), "str") if implicit[0] else "str"

    def construct_yaml_null(self, _node: Any) -> None:
        return None

    def construct_yaml_bool(self, node: Any) -> bool:
        return bool(node.value.lower() == "true")

    def construct_yaml_int(self, node: Any) -> int:
        return int(node.value, {"0o": 8, "0x": 16}.get(node.value[:2], 10))

    def construct_yaml_float(self, node: Any) -> float:
        return float(node.value.replace(".inf", "inf").replace(".nan", "nan"))


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)


def _place_after(before: str, file: str) -> Place:
    return Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


class _YamlReader:
    """One YAML document as plain JSON values, built from the parser's events.

    The loaders of PyYAML let a second key win, make dates and sets, and (the one in C) end the process at deep nesting.
    Here aliases work, and count as what they stand for; merge keys and tags do not.
    """

    def __init__(self, yaml: Any, loader: Any, file: str, spelled: bool, aliases: str) -> None:
        self.yaml = yaml
        self.loader = loader
        self.file = file
        self.spelled = spelled
        self.aliases = aliases
        self.anchors: dict[str, tuple[Any, int]] = {}  # the value, and its size
        self.size = 0

    def document(self) -> tuple[Any, Place]:
        self.loader.get_event()  # the stream starts
        if self.loader.check_event(self.yaml.StreamEndEvent):
            return None, Place(self.file, 1, 1)
        self.loader.get_event()  # the document starts
        start = self.next_place()
        value = self.node(0)
        self.loader.get_event()  # the document ends
        if not self.loader.check_event(self.yaml.StreamEndEvent):
            raise self.refused(self.loader.peek_event(), "a second document: a file is one")
        return value, start

    def next_place(self) -> Place:
        return _place(self.file, self.loader.peek_event().start_mark)

    def refused(self, event: Any, problem: str) -> Usage:
        return Usage(f"{_place(self.file, event.start_mark)}: {problem}")

    def node(self, depth: int) -> Any:
        event = self.loader.get_event()
        before = self.size
        self.size += _NODE
        if isinstance(event, self.yaml.AliasEvent):
            value = self.alias(event)
        elif depth > DEEPEST:
            raise self.refused(event, f"nested deeper than {DEEPEST}")
        elif isinstance(event, self.yaml.ScalarEvent):
            value = self.scalar(event)
        elif event.tag not in (None, "!"):
            raise self.refused(event, f"tag {checks.quoted(event.tag)}: take it out")
        elif isinstance(event, self.yaml.SequenceStartEvent):
            value = self.sequence(_place(self.file, event.start_mark), depth)
        else:
            value = self.mapping(_place(self.file, event.start_mark), depth)
        if self.size > budget.INPUT:
            raise self.refused(event, "too much, with each alias written out: split the file")
        if not isinstance(event, self.yaml.AliasEvent) and event.anchor:
            self.anchors[event.anchor] = value, self.size - before
        return value

    def alias(self, event: Any) -> Any:
        if self.aliases:
            raise self.refused(event, f"aliases (*name) are not taken here: {self.aliases}")
        if event.anchor not in self.anchors:
            raise self.refused(event, f"alias *{event.anchor} stands for nothing before it")
        value, size = self.anchors[event.anchor]
        self.size += size
        return value

    def scalar(self, event: Any) -> Any:
        self.size += len(event.value)
        tag = event.tag
        if tag in (None, "!"):
            tag = self.loader.resolve(self.yaml.ScalarNode, event.value, event.implicit)
        kind = tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str" or (self.spelled and kind != "null"):
            return event.value
        if kind not in ("null", "bool", "int", "float") or ":" in event.value:  # 12:30 would be 750
            raise self.refused(event, f"YAML reads {checks.quoted(event.value)} as {checks.one_line(kind)}: use quotes")
        try:
            return getattr(self.loader, f"construct_yaml_{kind}")(self.yaml.ScalarNode(tag, event.value))
        except (ValueError, LookupError) as error:
            if kind == "int" and "digits" in str(error):
                raise self.refused(event, why_not(ValueError(*error.args))) from None
            raise self.refused(event, f"{checks.quoted(event.value)} is no {kind}") from None

    def sequence(self, start: Place, depth: int) -> PlacedList:
        items = PlacedList(start)
        while not self.loader.check_event(self.yaml.SequenceEndEvent):
            items.at.append(self.next_place())
            items.append(self.node(depth + 1))
        self.loader.get_event()
        return items

    def mapping(self, start: Place, depth: int) -> PlacedMapping:
        out = PlacedMapping(start)
        while not self.loader.check_event(self.yaml.MappingEndEvent):
            at = self.loader.peek_event()
            key = self.node(depth + 1)
            if isinstance(key, dict | list):
                raise self.refused(at, f"a key must be text, not {checks.shown(key)}")
            if not isinstance(key, str):
                raise self.refused(at, f"the key {checks.shown(key)} is not text: write it in quotes")
            if key in out:
                raise self.refused(at, f"{checks.quoted(key)} stands twice in one mapping: take one of the two out")
            out.key_at[key] = _place(self.file, at.start_mark)
            out.at[key] = self.next_place()
            out[key] = self.node(depth + 1)
        self.loader.get_event()
        return out


# Messages


def entry_of(where: str) -> str:
    """``line 3`` of ``plan.jsonl: line 3``: the file is known by then."""
    return where.rpartition(": ")[2]
