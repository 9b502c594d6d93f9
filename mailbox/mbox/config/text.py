"""The text of ``config.yaml``: what each key says and where, and the edit that changes nothing else.

Promised: what does not read as keys and values raises StoreError with file, line, column and the mend; `edited` keeps
comments, order, quotes and line ends.  No file is touched here.  Not promised: that a value is one its option takes.

For whoever has no cache (`file`): a YAML parser is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mbox.errors import StoreError, Usage
from mbox.format import fields
from mbox.format.parsing import Place, PlacedMapping, yaml_document

from .settings import MAIN, NAMES, OPTIONS, TABLE, Option, Shown, Text


def default_text() -> str:
    """``config.yaml`` as ``mbox init`` writes it: every key at its default below its explanation."""
    lines = ["# Configuration of the store in this folder.  Edit it, or use `mbox config set KEY VALUE`.\n"]
    section = ""
    for option in TABLE:
        outer, _, key = option.name.rpartition(".")
        indent = "  " if outer else ""
        lines.append(f"\n{outer}:\n" if outer and outer != section else "\n")
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
        shown = option.kind.show(option.kind.parse(option.name, option.default))
        place[key] = {"description": option.why, **option.kind.schema, "default": shown}
    return top


# -- reading ----------------------------------------------------------------------------------------------------------


def texts(path: str, source: str) -> tuple[dict[str, Text], dict[str, Place]]:
    """Each key's text in the YAML ``source``, and where it stands; a stage called ``on`` stays a stage."""
    if not source.strip("\0 \t\r\n"):
        raise StoreError(f"{path} is empty, as a power cut leaves it; delete it to have all defaults")
    try:
        top, start = yaml_document(source, path, spelled=True)
        return fields.placed("the file", top, _read, start) if top is not None else ({}, {})
    except Usage as error:
        raise StoreError(str(error)) from None


def _read(field: str, top: Any) -> tuple[dict[str, Text], dict[str, Place]]:
    found: dict[str, Text] = {}
    places: dict[str, Place] = {}
    for name, holder, key in _keys(fields.plain_mapping(field, top, "(lines of `key: value`)")):
        if name not in OPTIONS:
            raise fields.Misfit(fields.unknown(name, NAMES, "; mend the line or take it out"), holder.key_at[key])
        places[name] = holder.at[key]
        found[name] = fields.placed(name, holder[key], _text, places[name])
    return found, places


def _keys(top: Any) -> Iterator[tuple[str, PlacedMapping, str]]:
    """Each key's name, the mapping that it stands in, and what it is called there: below ``audit:`` it is ``audit.…``."""
    for key, value in top.items():
        if isinstance(value, PlacedMapping):
            yield from ((f"{key}.{inner}", value, inner) for inner in value)
            continue
        if key in MAIN:
            yield MAIN[key], top, key
            continue
        outer, dot, inner = key.partition(".")
        if dot and key in OPTIONS:
            raise fields.Misfit(f"write {key} as `{outer}:` and `  {inner}:` below it", top.key_at[key])
        yield key, top, key


def _text(name: str, value: Any) -> Text:
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, str):
            raise Usage(f"{name} has no value that can be read; give it one")
    return [*value] if isinstance(value, list) else str(value)


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
    if outer in document and not isinstance(document[outer], CommentedMap):  # `guard: strict`, for its main key
        document[outer] = CommentedMap({MAIN[outer].rpartition(".")[2]: document[outer]})
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
