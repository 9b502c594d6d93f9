"""The text of ``config.yaml``: what each key says and on which line, and the edit that changes nothing else.

Promised: what does not read as keys and values raises StoreError with the file, the line and the mend; `edited` keeps
comments, order, quotes and line ends.  No file is touched here.  Not promised: that a value is one its option takes.

For whoever has no cache (`config`): a YAML parser is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mbox.errors import StoreError, did_you_mean
from mbox.config.settings import NAMES, OPTIONS, TABLE, Option, Shown, Text

if TYPE_CHECKING:
    from yaml.nodes import Node


def default_text() -> str:
    """``config.yaml`` as ``mbox init`` writes it: every key at its default below its explanation."""
    lines = ["# Configuration of the store in this folder.  Edit it, or use `mbox config set KEY VALUE`.\n"]
    section = ""
    for option in TABLE:
        outer, _, key = option.name.rpartition(".")
        indent = "  " if outer else ""
        lines.append(f"\n{outer}:\n" if outer != section else "\n")
        section = outer
        lines += (f"{indent}# {line}\n" for line in option.why.splitlines())
        value = option.default if isinstance(option.default, str) else f"[{', '.join(option.default)}]"
        lines.append(f"{indent}{key}: {value}\n")
    return "".join(lines)


def schema() -> dict[str, Any]:
    """JSON Schema of ``config.yaml``."""
    top: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for option in TABLE:
        outer, _, key = option.name.rpartition(".")
        place = top["properties"]
        if outer:
            inner = {"type": "object", "additionalProperties": False, "properties": {}}
            place = place.setdefault(outer, inner)["properties"]
        shown = option.kind.show(option.kind.parse(option.default))
        place[key] = {"description": option.why, **option.kind.schema, "default": shown}
    return top


# -- reading ----------------------------------------------------------------------------------------------------------


def texts(path: str, source: str) -> tuple[dict[str, Text], dict[str, int]]:
    """Each key's text in the YAML ``source``, and its line.

    The parser's nodes are read and not its values: they have lines, they show a key that stands there
    twice, and a stage called ``on`` stays a stage.
    """
    import yaml

    try:
        top = yaml.compose(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "broken"
        raise StoreError(f"{path}{place}: not YAML: {problem}; mend the line") from error
    if top is None and not source.strip("\0 \t\r\n"):
        raise StoreError(f"{path} is empty, as a power cut leaves it; delete it to have all defaults")
    found: dict[str, Text] = {}
    lines: dict[str, int] = {}
    for name, node, line in _pairs(path, top):
        if name not in OPTIONS:
            hint = did_you_mean(name, NAMES)
            raise StoreError(f"{path} line {line}: unknown key {name!r}{hint}; mend the line or take it out")
        if name in found:
            raise StoreError(f"{path} line {line}: {name} stands here a second time; take one of the two out")
        found[name], lines[name] = _text(path, name, node), line
    return found, lines


def _pairs(path: str, node: Node | None, outer: str = "") -> Iterator[tuple[str, Node, int]]:
    """Name, value and line of each key; the keys below ``audit:`` as ``audit.…``."""
    import yaml

    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise StoreError(f"{path} line {node.start_mark.line + 1}: must be lines of `key: value`")
    for key, value in node.value:
        name, line = f"{outer}{key.value}", key.start_mark.line + 1
        if not outer and name in OPTIONS and "." in name:
            section, _, inner = name.partition(".")
            raise StoreError(f"{path} line {line}: write {name} as `{section}:` and `  {inner}:` below it")
        if isinstance(value, yaml.MappingNode) and not outer:
            yield from _pairs(path, value, f"{name}.")
        else:
            yield name, value, line


def _text(path: str, name: str, node: Node) -> Text:
    import yaml

    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for part in parts:
        if not isinstance(part, yaml.ScalarNode) or part.tag == "tag:yaml.org,2002:null":
            line = part.start_mark.line + 1
            raise StoreError(f"{path} line {line}: {name} has no value that can be read; give it one")
    return [part.value for part in parts] if isinstance(node, yaml.SequenceNode) else str(node.value)


# -- editing ----------------------------------------------------------------------------------------------------------


def given(option: Option, text: str) -> Text:
    """What ``text`` on a command line says of ``option``: a list is ``a,b`` or ``[a, b]``."""
    if isinstance(option.default, str):
        return text
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [part.strip() for part in inner.split(",")] if inner.strip() else []


def edited(source: str, option: Option, value: Shown) -> str:
    """``source`` with ``option`` set to ``value``; comments, order, quotes and line ends stay."""
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.util import load_yaml_guess_indent

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 1 << 30  # never fold a person's long line
    _, indent, offset = load_yaml_guess_indent(source)
    if offset is not None:
        editor.indent(mapping=2, sequence=indent, offset=offset)
    document = editor.load(source.replace("\r\n", "\n"))
    if document is None:  # comments only, which the editor would drop
        document, kept = CommentedMap(), source.rstrip() + "\n"
    else:
        kept = ""
    outer, _, key = option.name.rpartition(".")
    place = document.setdefault(outer, CommentedMap()) if outer else document
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    known = key in place
    place[key] = value
    if not known:
        place.yaml_set_comment_before_after_key(key, before=option.why, indent=2 if outer else 0)
    edited = StringIO()
    editor.dump(document, edited)
    text = kept + edited.getvalue()
    return text.replace("\n", "\r\n") if "\r\n" in source else text
