"""Surgery on the text of a person's JSON: something is put at the end of a list or object, or taken out, and nothing else
changes.

Promised: every byte that was there stays: comments, order, indentation, line ends, a byte order mark, a missing last line's
end.  What is put in is laid out like its neighbours.  Taking out everything that was put in gives the text back as it was,
also where keys and lists were made for it; where a person has changed the text in between, theirs minus
ours.  `Unreadable`, with line and column, for what is no JSON, or, unless ``comments`` are allowed, has comments or a comma
too many; the text is not touched then.

What was made for an item, a list, a key, is written down nowhere: taking out tries what could have been there before, and
takes that of which putting in makes exactly the text (`taken_out`).  So that this is one text only, an empty container of a
person's is filled behind a blank, which one that is made here does not have.  Where a person has changed so much that none
does, what is empty goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from mbox.errors import Usage

DEEPEST = 200
"""Levels of nesting that are read; no settings of a program have more."""


class Unreadable(Usage):
    """The text is not what its program can read; the message begins with line and column."""


class Node:
    """A value in the text, from ``start`` to ``end``; of a container its items, each with its key where it is an object."""

    __slots__ = ("end", "items", "key", "key_start", "kind", "parent", "start", "value")

    def __init__(self, kind: str, start: int, parent: Node | None) -> None:
        self.kind, self.start, self.parent = kind, start, parent
        self.end = start
        self.items: list[Node] = []
        self.value: Any = None
        self.key = ""
        self.key_start = start
        """Where the item begins in its container: its key, or the value itself."""

    def get(self, key: str) -> Node | None:
        """The value of a key; None where it is missing."""
        return next((item for item in self.items if item.key == key), None)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for item in self.items:
            yield from item.walk()


# -- reading -----------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, text: str, comments: bool) -> None:
        self.text, self.comments, self.at = text, comments, 1 if text.startswith("\ufeff") else 0

    def refuse(self, what: str) -> Unreadable:
        before = self.text[: self.at]
        return Unreadable(f"{before.count(chr(10)) + 1}:{self.at - before.rfind(chr(10))}: {what}")

    def skip(self) -> str:
        """Go to the next token; its first letter."""
        text = self.text
        while self.at < len(text):
            if text[self.at] in " \t\r\n":
                self.at += 1
            elif text.startswith(("//", "/*"), self.at):
                if not self.comments:
                    raise self.refuse("a comment, with which its program reads none of the file: take it out")
                end = text.find("\n" if text[self.at + 1] == "/" else "*/", self.at + 2)
                if end < 0 and text[self.at + 1] == "*":
                    raise self.refuse("a comment that does not end")
                self.at = len(text) if end < 0 else end + (2 if text[self.at + 1] == "*" else 0)
            else:
                return text[self.at]
        return ""

    def read(self, parent: Node | None, depth: int = 0) -> Node:
        first = self.skip()
        if depth > DEEPEST:
            raise self.refuse("nested too deep")
        if first in ("{", "["):
            return self._container(first, parent, depth)
        node = Node("value", self.at, parent)
        try:
            node.value, node.end = json.JSONDecoder().raw_decode(self.text, self.at)
        except ValueError:
            raise self.refuse("no JSON value" if first else "the text ends too early") from None
        self.at = node.end
        return node

    def _container(self, bracket: str, parent: Node | None, depth: int) -> Node:
        node, closing = Node(bracket, self.at, parent), {"{": "}", "[": "]"}[bracket]
        self.at += 1
        while (found := self.skip()) != closing:
            if not found:
                raise self.refuse(f"the text ends before a {closing}")
            node.items.append(self._item(node, depth))
            if self.skip() == ",":
                self.at += 1
                if self.skip() == closing and not self.comments:
                    raise self.refuse("a comma behind the last item: take it out")
            elif self.skip() != closing:
                raise self.refuse(f"neither a comma nor a {closing}")
        self.at += 1
        node.end = self.at
        return node

    def _item(self, node: Node, depth: int) -> Node:
        start, key = self.at, ""
        if node.kind == "{":
            name = self.read(node, depth + 1)
            if not isinstance(name.value, str):
                raise self.refuse("a key must be a text in quotes")
            key = name.value
            if node.get(key):
                self.at = start
                raise self.refuse(f"the key {key!r} is there twice")
            if self.skip() != ":":
                raise self.refuse("no : behind a key")
            self.at += 1
        item = self.read(node, depth + 1)
        item.key, item.key_start = key, start
        return item


def parsed(text: str, comments: bool) -> Node:
    """The object that the text is; `Unreadable` where it is none."""
    reader = _Reader(text, comments)
    node = reader.read(None)
    if node.kind != "{":
        raise Unreadable("1:1: not an object: { … }")
    if reader.skip():
        raise reader.refuse("something follows the object")
    return node


# -- putting in ----------------------------------------------------------------------------------------------------------


def put(text: str, path: list[str], entry: object, comments: bool) -> str:
    """``text`` with ``entry`` as the last item of the list at ``path``; keys and the list are made where they are missing."""
    node = parsed(text, comments)
    for depth, key in enumerate(path):
        found = node.get(key)
        if found is None:
            made: object = [entry]
            for inner in reversed(path[depth + 1 :]):
                made = {inner: made}
            return _appended(text, node, made, key)
        node = found
        if node.kind != ("[" if depth == len(path) - 1 else "{"):
            line = text.count("\n", 0, node.start) + 1
            raise Unreadable(f"{line}:1: {'.'.join(path[: depth + 1])} is not {'a list' if depth == len(path) - 1 else 'an object'}")
    return _appended(text, node, entry, "")


def put_key(text: str, key: str, value: object, comments: bool) -> str:
    """``text`` with one key more at its end."""
    return _appended(text, parsed(text, comments), value, key)


def _appended(text: str, node: Node, value: object, key: str) -> str:
    """``text`` with one item more at the end of a container."""
    head = f"{json.dumps(key, ensure_ascii=False)}: " if key else ""
    if not node.items:
        inside = text[node.start + 1 : node.end - 1]
        at, indent = node.start + 1, _indent_of_line(text, node.start)
        if node.parent is not None:  # by the blank it is known that the container was there, and empty
            return f"{text[:at]} {head}{_laid_out(text, value, indent)}{text[at:]}"
        if "\n" not in inside or inside.strip():
            return text[:at] + head + _laid_out(text, value, indent) + text[at:]
        indent += _unit(text)
        return text[:at] + _ending(text) + indent + head + _laid_out(text, value, indent) + text[at:]
    last = node.items[-1]
    before = text[node.items[-2].end if len(node.items) > 1 else node.start + 1 : last.key_start]
    blank = before[len(before.rstrip(" \t\r\n")) :]
    between = blank[blank.rfind("\r\n" if "\r\n" in blank else "\n") :] if "\n" in blank else blank
    indent = between.lstrip("\r\n") if "\n" in between else None
    laid = head + _laid_out(text, value, _indent_of_line(text, node.start) if indent is None else indent)
    rest = text[last.end :]
    if _trailing(rest):
        at = last.end + _trailing(rest)
        return f"{text[:at]}{between}{laid},{text[at:]}"
    return f"{text[: last.end]},{between or ' ' * (len(node.items) == 1)}{laid}{rest}"


def _trailing(rest: str) -> int:
    """How far behind a last item its own comma ends, past blanks and comments; 0 where it has none."""
    reader = _Reader(rest, True)
    return reader.at + 1 if reader.skip() == "," else 0


def _indent_of_line(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at].lstrip("\ufeff")
    return line[: len(line) - len(line.lstrip(" \t"))]


def _laid_out(text: str, value: object, indent: str) -> str:
    """``value`` as JSON, as the text is laid out: on one line where that is, else indented by its unit."""
    if "\n" not in text.strip():
        return json.dumps(value, ensure_ascii=False)
    lines = json.dumps(value, ensure_ascii=False, indent=_unit(text)).split("\n")
    return f"{_ending(text)}{indent}".join(lines)


def _ending(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _unit(text: str) -> str:
    """By what the text indents one level: of its first line that begins with blanks."""
    for line in text.splitlines():
        blank = line[: len(line) - len(line.lstrip(" \t"))]
        if blank and line.strip():
            return "\t" if blank[0] == "\t" else blank[:8]
    return "  "


# -- taking out ------------------------------------------------------------------------------------------------------------


def taken_out(text: str, is_ours: Callable[[str], bool], comments: bool) -> str:
    """``text`` without the handlers whose command ``is_ours``, the last first, and without what was made for them."""
    while True:
        ours = [node for node in parsed(text, comments).walk() if node.kind == "{" and _is_handler(node, is_ours)]
        if not ours:
            return text
        text = _step_back(text, ours[-1], comments)


def _is_handler(node: Node, is_ours: Callable[[str], bool]) -> bool:
    return any(isinstance(item.value, str) and is_ours(item.value) for item in node.items)


def _step_back(text: str, handler: Node, comments: bool) -> str:
    """``text`` as it was before `put` put the entry of ``handler`` in; if it cannot have been so, without it and what is empty."""
    entry, group = handler, handler.parent
    if group is not None and group.key == "hooks" and group.parent is not None and group.parent.kind == "{" and group.parent.parent is not None:
        if len(group.items) > 1 or group.parent.parent.kind != "[":  # a person has put a handler of theirs beside ours
            return _removals(text, handler)[-1]
        entry = group.parent
    said, path = json.loads(_bare(text[entry.start : entry.end], comments)), _path(entry)
    found = text
    whole: Node = entry
    while True:
        for found in _removals(text, whole):
            if put(found, path, said, comments) == text:
                return found
        above = whole.parent
        if above is None or above.parent is None or len(above.items) > 1:
            return found
        whole = above


def _path(node: Node) -> list[str]:
    """The keys that lead to the list in which ``node`` stands."""
    found: list[str] = []
    at = node.parent
    while at is not None and at.parent is not None:
        found.insert(0, at.key)
        at = at.parent
    return found


def _bare(text: str, comments: bool) -> str:
    """``text``, a value, as JSON without comments and commas too many."""
    return json.dumps(_plain(_Reader(text, comments).read(None)))


def _plain(node: Node) -> Any:
    if node.kind == "value":
        return node.value
    return {item.key: _plain(item) for item in node.items} if node.kind == "{" else [_plain(item) for item in node.items]


def _removals(text: str, node: Node) -> list[str]:
    """``text`` without one item of a container and its comma, in the ways in which it can have been put in; the thorough one last."""
    above = node.parent
    assert above is not None
    at = above.items.index(node)
    start = above.items[at - 1].end if at else above.start + 1
    lead, own = text[start : node.key_start], _trailing(text[node.end :])
    blank = len(lead) - len(lead.rstrip(" \t\r\n"))
    if own:  # a comma follows: it goes, and the one before stays
        return [text[: node.key_start - blank] + text[node.end + own :]]
    if at:
        comma = start + _trailing(text[start:]) - 1
        return [text[:comma] + text[comma + 1 : node.key_start].rstrip(" \t\r\n") + text[node.end :]]
    rest = text[node.end : above.end - 1]
    return [text[: node.key_start] + text[node.end :], text[: node.key_start - blank] + text[node.end :],
            text[: node.key_start - blank] + rest.strip(" \t\r\n") + text[above.end - 1 :]]  # fmt: skip
