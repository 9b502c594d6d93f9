"""JSON, JSON Lines and YAML from a file that nobody vouches for, as plain values.  Pure functions.

Promised: what is not such a text raises `Usage` with one line that names the file and the place.  Nothing is coerced
(no dates, no sets, no ``12:30`` that is 750), nothing stands twice in one mapping, and no file, however made, costs more
than its size (aliases that multiply, bottomless nesting).  Not promised: what the values mean.

A YAML parser is imported for YAML only.
"""

from __future__ import annotations

import json
from typing import Any

from mbox.tasks import graph
from mbox.format import checks
from mbox.errors import Usage

LARGEST = 64 * 1024 * 1024
"""The most bytes of a file."""

DEEPEST = 64
"""The most levels of lists and mappings in each other."""

_NODE = 64  # bytes that a value of a YAML file counts as, beside its text; an alias counts as what it stands for
_PROBLEM = 200  # characters of what the parser says

Entry = tuple[str, Any]  # where it stands, and what was found there


# Texts


def decoded(data: bytes, name: str) -> str:
    """``data`` as text, without a byte order mark; ``name`` is the file's."""
    if len(data) > LARGEST:
        raise Usage(f"{checks.on_one_line(name)}: over {LARGEST >> 20} MiB: split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Usage(f"{checks.on_one_line(name)}: line {line}: not UTF-8: convert the file") from None


def json_lines(text: str, file: str, what: str) -> list[Entry]:
    """One JSON object a line; blank lines are none."""
    lines = [(f"{file}: line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise Usage(f"{file}: no {what} in it")
    return [(where, json_value(line, where)) for where, line in lines]


def json_value(text: str, where: str) -> Any:
    """The one JSON value that ``text`` is."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise Usage(f"{where}: not JSON: {error.msg} at {at}") from None
    except RecursionError:
        raise Usage(f"{where}: nested too deep: put what is so deep in a file of its own") from None
    except ValueError as error:
        raise Usage(f"{where}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"{checks.quoted(key)} stands twice in one object")
        out[key] = value
    return out


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def yaml_value(text: str, file: str) -> Any:
    """The one YAML document that ``text`` is."""
    import yaml

    try:
        return _Yaml(getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text), file).document()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error.problem):  # newer parsers count for themselves
            raise Usage(f"{file}: nested deeper than {DEEPEST}") from None
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Usage(f"{file}: {line}not YAML: {graph.one_line(error.problem, _PROBLEM)}") from None
    except yaml.YAMLError as error:
        raise Usage(f"{file}: not YAML: {graph.one_line(error, _PROBLEM)}") from None


class _Yaml:
    """One YAML document as plain JSON values, built from the parser's events.

    The loaders of PyYAML let a second key win, make dates and sets, and (the one in C) end the process at deep nesting.
    Here aliases work, and count as what they stand for; merge keys and tags do not.
    """

    def __init__(self, loader: Any, file: str) -> None:
        import yaml

        self.yaml = yaml
        self.loader = loader
        self.file = file
        self.anchors: dict[str, tuple[Any, int]] = {}  # the value, and its size
        self.size = 0

    def document(self) -> Any:
        self.loader.get_event()  # the stream starts
        if self.loader.check_event(self.yaml.StreamEndEvent):
            return None
        self.loader.get_event()  # the document starts
        value = self.node(0)
        self.loader.get_event()  # the document ends
        if not self.loader.check_event(self.yaml.StreamEndEvent):
            raise self.refused(self.loader.peek_event(), "a second document: a plan is one")
        return value

    def refused(self, event: Any, problem: str) -> Usage:
        return Usage(f"{self.file}: line {event.start_mark.line + 1}: {problem}")

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
            raise self.refused(event, f"tag {checks.quoted(event.tag)}: a plan has none")
        elif isinstance(event, self.yaml.SequenceStartEvent):
            value = self.sequence(depth)
        else:
            value = self.mapping(depth)
        if self.size > LARGEST:
            raise self.refused(event, "too much, with each alias written out: split the file")
        if not isinstance(event, self.yaml.AliasEvent) and event.anchor:
            self.anchors[event.anchor] = value, self.size - before
        return value

    def alias(self, event: Any) -> Any:
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
        if kind == "str":
            return event.value
        if kind not in ("null", "bool", "int", "float") or ":" in event.value:  # 12:30 would be 750
            raise self.refused(event, f"YAML reads {checks.quoted(event.value)} as {graph.one_line(kind)}: use quotes")
        try:
            return getattr(self.loader, f"construct_yaml_{kind}")(self.yaml.ScalarNode(tag, event.value))
        except (ValueError, LookupError):
            raise self.refused(event, f"{checks.quoted(event.value)} is no {kind}") from None

    def sequence(self, depth: int) -> list[Any]:
        items = []
        while not self.loader.check_event(self.yaml.SequenceEndEvent):
            items.append(self.node(depth + 1))
        self.loader.get_event()
        return items

    def mapping(self, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while not self.loader.check_event(self.yaml.MappingEndEvent):
            at = self.loader.peek_event()
            key = self.node(depth + 1)
            if not isinstance(key, str):
                raise self.refused(at, f"the key {shown(key)} is not text: write it in quotes")
            if key in out:
                raise self.refused(at, f"{checks.quoted(key)} stands twice in one mapping")
            out[key] = self.node(depth + 1)
        self.loader.get_event()
        return out


# Messages


def entry_of(where: str) -> str:
    """``line 3`` of ``plan.jsonl: line 3``: the file is known by then."""
    return where.rpartition(": ")[2]


def shown(value: Any) -> str:
    """``value`` as a message shows it: JSON, short."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return checks.quoted(value) if isinstance(value, str) else json.dumps(value)[:60]
