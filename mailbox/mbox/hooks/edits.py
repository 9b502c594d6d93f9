"""Surgery on the text of a person's JSON: something is put at the end of a list or object, or taken out, and nothing else
changes.

Promised: every byte that was there stays: comments, order, indentation, line ends, a byte order mark, a missing last line's
end.  What is put in is laid out like its neighbours, behind the comment on the last one's line.  Taking out everything that
was put in gives the text back as it was, also where keys and lists were made for it; where a person has changed the text in
between, theirs minus ours.  `Unreadable`, with line and column, for what is no JSON, has a key twice or, unless ``comments``
are allowed, a comment; no program was seen to read a comma behind the last item.  The text is not touched then.

What was made for an item, a list, a key, is written down nowhere: taking out tries what could have been there before, and
takes that of which putting in makes exactly the text (`taken_out`).  So that this is one text only, an empty container of a
person's is filled behind a blank, which one that is made here does not have.  Where a person has changed so much that none
does, what is empty goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mbox.errors import Usage

DEEPEST = 200
"""Levels of nesting that are read; no settings of a program have more."""

BLANK = " \t\r\n"

COMMAND = ("command", "bash")
"""The keys under which a handler says what is run."""


class Unreadable(Usage):
    """The text is not what its program can read; the message begins with line and column."""

    def __init__(self, text: str, at: int, what: str) -> None:
        before = text[:at]
        super().__init__(f"{before.count(chr(10)) + 1}:{at - before.rfind(chr(10))}: {what}")


class Node:
    """A value in the text, from ``start`` to ``end``; of a container its items, each with its key where it is in an object."""

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

    @property
    def command(self) -> str:
        """What a handler runs; empty where this is none."""
        return next((item.value for item in self.items if item.key in COMMAND and isinstance(item.value, str)), "")


def plain(node: Node) -> Any:
    """What the text says there."""
    if node.kind == "value":
        return node.value
    return {item.key: plain(item) for item in node.items} if node.kind == "{" else [plain(item) for item in node.items]


# -- reading -----------------------------------------------------------------------------------------------------------


def _no_number(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_number)


class _Reader:
    def __init__(self, text: str, comments: bool) -> None:
        self.text, self.comments, self.at = text, comments, 1 if text.startswith("\ufeff") else 0

    def refuse(self, what: str) -> Unreadable:
        return Unreadable(self.text, self.at, what)

    def skip(self) -> str:
        """Go to the next token; its first letter."""
        text = self.text
        while self.at < len(text):
            if text[self.at] in BLANK:
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
            node.value, node.end = _DECODER.raw_decode(self.text, self.at)
        except ValueError:
            raise self.refuse("no JSON value" if first else "the text ends too early") from None
        self.at = node.end
        return node

    def _container(self, bracket: str, parent: Node | None, depth: int) -> Node:
        node, closing = Node(bracket, self.at, parent), {"{": "}", "[": "]"}[bracket]
        self.at += 1
        more = self.skip() != closing
        while more:
            node.items.append(self._item(node, depth))
            found, comma = self.skip(), self.at
            more = found == ","
            if not more and found != closing:
                raise self.refuse(f"neither a comma nor a {closing}" if found else f"the text ends before a {closing}")
            self.at += more
            if more and self.skip() == closing:
                self.at = comma
                raise self.refuse("a comma behind the last item, with which its program reads none of the file: take it out")
        self.at += 1
        node.end = self.at
        return node

    def _item(self, node: Node, depth: int) -> Node:
        start, key = self.at, ""
        if node.kind == "{":
            name = self.read(node, depth + 1)
            key = name.value
            if not isinstance(key, str) or node.get(key):
                self.at = start
                raise self.refuse(f"the key {key!r} is there twice" if isinstance(key, str) else "no key in quotes")
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
        raise Unreadable(text, node.start, "not an object: { … }")
    if reader.skip():
        raise reader.refuse("something follows the object")
    return node


# -- putting in ----------------------------------------------------------------------------------------------------------

_TAIL = re.compile(r"(?:[ \t]*/\*[^\n]*?\*/)*(?:[ \t]*//[^\n]*)?")
"""The comments behind an item that are on its line."""


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
        kind, name = ("[", "a list") if depth == len(path) - 1 else ("{", "an object")
        if node.kind != kind:
            raise Unreadable(text, node.start, f"{'.'.join(path[: depth + 1])} is not {name}")
    return _appended(text, node, entry, "")


def _appended(text: str, node: Node, value: object, key: str) -> str:
    """``text`` with one item more at the end of a container."""
    head = f"{json.dumps(key, ensure_ascii=False)}: " if key else ""
    if not node.items:
        inside = text[node.start + 1 : node.end - 1]
        at, indent = node.start + 1, _indent_of_line(text, node.start)
        if node.parent is not None:  # by the blank it is known that the container was there, and empty
            return f"{text[:at]} {head}{_laid_out(text, value, indent)}{text[at:]}"
        if "\n" not in inside or inside.strip(BLANK):
            return text[:at] + head + _laid_out(text, value, indent) + text[at:]
        indent += _unit(text)
        return text[:at] + _ending(text) + indent + head + _laid_out(text, value, indent) + text[at:]
    last = node.items[-1]
    tail = _tail(text, last.end)
    between = _between(text, node, "//" in tail)
    indent = between.lstrip("\r\n") if "\n" in between else _indent_of_line(text, node.start)
    return f"{text[: last.end]},{tail}{between}{head}{_laid_out(text, value, indent)}{text[last.end + len(tail) :]}"


def _tail(text: str, at: int) -> str:
    found = _TAIL.match(text, at)
    return found[0].rstrip(BLANK) if found else ""


def _between(text: str, node: Node, fresh_line: bool) -> str:
    """What stands between two items of a container, as it does before its last one; at the least a line's end if one must."""
    last = node.items[-1]
    before = text[node.items[-2].end if len(node.items) > 1 else node.start + 1 : last.key_start]
    blank = before[len(before.rstrip(BLANK)) :]
    if "\n" in blank:
        return blank[blank.rfind("\r\n" if "\r\n" in blank else "\n") :]
    if fresh_line:
        return _ending(text) + _indent_of_line(text, node.start) + _unit(text)
    return blank or " " * (len(node.items) == 1)


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
    for line in text.split("\n"):
        blank = line[: len(line) - len(line.lstrip(" \t"))]
        if blank and line.strip(BLANK):
            return "\t" if blank[0] == "\t" else blank[:8]
    return "  "


# -- taking out ------------------------------------------------------------------------------------------------------------

_OPEN = re.compile(r"(?s)(?:/\*.*?\*/|//[^\n]*\n|[,\s])*//[^\n]*")
"""What stands between two items and ends within a comment that only a line's end ends."""


def taken_out(text: str, is_ours: Callable[[str], bool], comments: bool) -> str:
    """``text`` without the handlers whose command ``is_ours``, and without what was made for them: each as it was put in, the
    last first, where that order can be seen; what cannot have been put in so goes with what is empty then."""
    while ours := [node for node in parsed(text, comments).walk() if is_ours(node.command)]:
        before = (_before(text, one, comments) for one in reversed(ours))
        text = next((one for one in before if one is not None), None) or [*_steps(text, ours[-1])][-1][-1]
    return text


def _before(text: str, handler: Node, comments: bool) -> str | None:
    """``text`` before `put` put the entry of ``handler`` in; None where it cannot have been so."""
    whole = _entry(handler)
    if whole is None:
        return None
    said, path = plain(whole), _path(whole)
    tried = (one for step in _steps(text, handler) for one in step)
    return next((one for one in tried if put(one, path, said, comments) == text), None)


def _steps(text: str, handler: Node) -> Iterator[list[str]]:
    """``text`` without the entry of a handler, then without what has nothing else in it either; in each way that there is."""
    whole = _entry(handler) or handler
    yield _removals(text, whole)
    while (above := whole.parent) and above.parent and not _has_more(text, above, whole) and _entry(handler):
        whole = above
        yield _removals(text, whole)


def _entry(handler: Node) -> Node | None:
    """The item of an event's list: the handler, or the group that it is in; None where others are in that too."""
    handlers = handler.parent
    group = handlers.parent if handlers and handlers.key == "hooks" else None
    if handlers is None or group is None or group.kind != "{" or group.parent is None:
        return handler
    return group if len(handlers.items) == 1 and group.parent.kind == "[" else None


def _has_more(text: str, node: Node, item: Node) -> bool:
    """Whether a container has more in it than one item: others, or a comment."""
    around = text[node.start + 1 : item.key_start] + text[item.end : node.end - 1]
    return len(node.items) > 1 or bool(around.strip(BLANK))


def _path(node: Node) -> list[str]:
    """The keys that lead to the list in which ``node`` stands."""
    found: list[str] = []
    at = node.parent
    while at is not None and at.parent is not None:
        found.insert(0, at.key)
        at = at.parent
    return found


def _removals(text: str, node: Node) -> list[str]:
    """``text`` without one item and its comma, in each way in which it can have been put in; the thorough one last."""
    above = node.parent
    assert above is not None
    at = above.items.index(node)
    start = above.items[at - 1].end if at else above.start + 1
    if node is not above.items[-1]:  # the comma behind it goes
        comma = _comma(text, node.end)
        return [text[: node.key_start] + text[node.end : comma] + text[comma + 1 :].lstrip(BLANK)]
    if at:
        comma = _comma(text, start)
        return [text[:comma] + _glued(text[comma + 1 : node.key_start], text[node.end :])]
    lead, rest = text[start : node.key_start], text[node.end : above.end - 1]
    bare = rest if rest.strip(BLANK) else ""
    return [text[: node.key_start] + text[node.end :], *(
        text[:start] + _glued(lead, one + text[above.end - 1 :]) for one in (rest, bare))]  # fmt: skip


def _comma(text: str, at: int) -> int:
    """Where the comma behind the item is that ends at ``at``."""
    reader = _Reader(text, True)
    reader.at = at
    reader.skip()
    return reader.at


def _glued(lead: str, rest: str) -> str:
    """``lead``, of blanks and comments, without the blanks at its end, and ``rest``, which is not to become a comment."""
    left = lead.rstrip(BLANK)
    if _OPEN.fullmatch(left) and "\n" not in rest[: len(rest) - len(rest.lstrip(BLANK))]:
        left += _ending(lead)
    return left + rest
