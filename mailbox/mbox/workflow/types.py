"""Types: what inputs and outputs may be, as JSON Schema, and whether a value is one.  Pure functions.

Promised: `parse` takes the forms of the language, or raises `Usage` with the place; `Type.schema` is JSON Schema (2020-12) in
which everything is required and nothing else taken.  `check` names the first field that does not fit, in words; it looks at
`LARGEST` bytes at most, and no schema that `parse` or `given` took makes it hang: no regular expressions, no references out of
the file or in a circle, and of references written out no more than `PARTS`.
Not promised: that a JSON Schema that was given can be walked by `lint` (what it does not understand there is ``any``).

``jsonschema`` is imported here only, where a value or a schema is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from keyword import kwlist
from typing import Any, NamedTuple

from mbox.errors import Usage, did_you_mean
from mbox.format import checks, fields
from mbox.format.parsing import Place, loads, why_not

LARGEST = 64 * 1024
"""Bytes of an output, as JSON."""

DEEPEST = 32
"""Levels of a type, and of a value."""

PARTS = 2000
"""Schemas in a JSON Schema, references written out."""

PLAIN = ("string", "integer", "number", "boolean", "any")
WORDS = (*PLAIN, "command")

NAME = re.compile("[a-z][a-z0-9_]*")
KEYWORDS = frozenset([*(word.lower() for word in kwlist), "null", "succeeded", "failed", "needs_human"])


class Type(NamedTuple):
    """A type.  ``kind`` is a word of `PLAIN`, ``command``, ``words`` (a closed list), ``list`` (of ``items``) or ``record``.

    ``given`` is the JSON Schema that was handed in; then the rest is what could be understood of it.
    """

    kind: str
    nullable: bool = False
    words: tuple[str, ...] = ()
    items: Type | None = None
    fields: tuple[tuple[str, Type], ...] = ()
    given: str = ""
    is_open: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it is declared as ``string``: a command's stdout is taken as it is."""
        return self.kind == "string" and not self.given

    def field(self, name: str) -> Type | None:
        """The type of a field of a record; None where it has none of that name."""
        return dict(self.fields).get(name)

    def schema(self) -> dict[str, Any]:
        """The type as JSON Schema."""
        if self.given:
            made: dict[str, Any] = json.loads(self.given)
            return made
        if self.kind == "any":
            return {}
        if self.kind == "record":
            inner = {name: one.schema() for name, one in self.fields}
            return {"type": "object", "properties": inner, "required": [*inner], "additionalProperties": False}
        if self.kind == "list":
            return {"type": "array", "items": self.items.schema() if self.items else {}}
        if self.kind == "words":
            words: list[str | None] = [*self.words, *([None] if self.nullable else [])]
            return {"enum": words} if self.nullable else {"type": "string", "enum": words}
        word = "string" if self.kind == "command" else self.kind
        return {"type": [word, "null"] if self.nullable else word}


ANY = Type("any", nullable=True)


def is_name(text: Any) -> bool:
    """Whether it names a step, a role, an input or a field."""
    return isinstance(text, str) and bool(NAME.fullmatch(text)) and len(text) <= fields.WORD and text not in KEYWORDS


def name(field: str, value: Any) -> str:
    """The name of a step, input or field; `Usage` says why it is none."""
    if is_name(value):
        return str(value)
    if isinstance(value, str) and value in KEYWORDS:
        raise Usage(f"{field} {value} is a word with a meaning: take another name")
    raise Usage(f"{field} must be small letters, digits and _, a letter first, not {checks.shown(value)}")


Files = Callable[[str, Place | None], str]
"""The text of a file that is named at a place."""


def parse(value: Any, place: Place | None, files: Files, commands: bool = False, depth: int = 0) -> Type:
    """The type that a file says at ``place``; ``commands``: whether ``command`` may be one here."""
    if depth > DEEPEST:
        raise fields.Misfit(f"a type nested deeper than {DEEPEST}", place)
    if isinstance(value, str):
        try:
            return _word(value, place, files, commands and not depth)
        except Usage as error:
            raise error if isinstance(error, fields.Misfit) and error.place else fields.Misfit(str(error), place) from None
    if isinstance(value, list):
        if len(value) != 1:
            raise fields.Misfit("a list's type has one item: [string]", place)
        return Type("list", items=parse(value[0], fields.place_in(value, 0) or place, files, False, depth + 1))
    if isinstance(value, dict):
        inner = []
        for key, one in value.items():
            fields.placed("a field", key, name, fields.place_in(value, key, "key_at"))
            inner.append((key, parse(one, fields.place_in(value, key) or place, files, False, depth + 1)))
        return Type("record", fields=tuple(inner))
    raise fields.Misfit(f"a type is a word, [T], {{field: T}} or a | b, not {checks.shown(value)}", place)


def _word(text: str, place: Place | None, files: Files, commands: bool) -> Type:
    if text.startswith("@"):
        return given(files(text[1:], place), text[1:])
    said = text.strip()
    nullable = said.endswith("?")
    said = said.removesuffix("?").rstrip()
    if "|" in said:
        return Type("words", nullable, words=_closed(said))
    if said == "command" and commands and not nullable:
        return Type("command")
    if said == "command":
        raise Usage("command is the type of an input alone: a person, or a literal, gives it")
    if said not in PLAIN:
        near = did_you_mean(said, [*WORDS])
        raise Usage(f"{checks.quoted(text)} is no type{near or ': ' + ', '.join(WORDS) + ', a | b, [T] or {field: T}'}")
    return Type(said, nullable or said == "any")


def _closed(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split("|"))
    if any(not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", word) for word in words):
        raise Usage(f"{checks.quoted(text)}: a closed list is words such as approve | revise")
    if len(set(words)) < len(words):
        raise Usage(f"{checks.quoted(text)} has a word twice")
    return words


# -- JSON Schema that was given --------------------------------------------------------------------------------------

_OF_NAMES = ("properties", "$defs", "definitions", "dependentSchemas")
_NO_SCHEMAS = ("enum", "const", "default", "examples", "required", "dependentRequired", "type", "title", "description",
               "$comment")  # fmt: skip
_REFUSED = {
    "pattern": "a regular expression over an agent's text can hang: use enum, or minLength and maxLength",
    "patternProperties": "a regular expression over an agent's text can hang: name the properties",
    "$dynamicRef": "write it out", "$recursiveRef": "write it out", "$dynamicAnchor": "use $defs", "$anchor": "use $defs",
    "$id": "take it out: nothing refers to it", "$vocabulary": "take it out",
    "uniqueItems": "take it out: it compares each with each",
    "format": "take it out: it is not checked",
}  # fmt: skip


def given(text: str, file: str) -> Type:
    """The type that a file with a JSON Schema is; `Usage` names what is not taken."""
    try:
        schema = loads(text)
        if not isinstance(schema, dict):
            raise Usage(f"{file}: a JSON Schema is an object here")
        if schema.get("$schema", "").rstrip("#") not in ("", "https://json-schema.org/draft/2020-12/schema"):
            raise Usage(f"{file}: $schema: 2020-12 is read here")
        if checks_depth(schema) > DEEPEST * 2:
            raise Usage(f"{file}: nested deeper than {DEEPEST * 2}")
        _Written(schema, file).size(schema, ())
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise Usage(f"{file}: no JSON Schema: {error.json_path}: {checks.one_line(error.message, 120)}") from None
    except (ValueError, RecursionError, AttributeError) as error:
        why = why_not(error) if isinstance(error, ValueError | RecursionError) else "$schema must be text"
        raise Usage(f"{file}: not JSON: {why}") from None
    understood: Type = _understood(schema)
    return understood._replace(given=json.dumps(schema))


def checks_depth(value: Any, most: int = 200) -> int:
    """How deep lists and mappings stand in each other in ``value``, up to ``most``."""
    level, depth = [value], 0
    while level and depth < most:
        level = [one for each in level for one in _inside(each)]
        depth += 1
    return depth


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


class _Written:
    """A JSON Schema, as large as it is with its references written out."""

    def __init__(self, schema: dict[str, Any], file: str) -> None:
        self.top, self.file = schema, file
        self.sizes: dict[int, int] = {}

    def size(self, schema: Any, way: tuple[int, ...]) -> int:
        """How many schemas ``schema`` is; ``way`` is what it is a part of."""
        if not isinstance(schema, dict):
            return 1
        if id(schema) in way:
            raise Usage(f"{self.file}: a $ref in a circle: write out as many levels as are needed")
        if id(schema) not in self.sizes:
            self.refuse(schema)
            total = 1
            for one in self.inner(schema):
                total += self.size(one, (*way, id(schema)))
                if total > PARTS:
                    raise Usage(f"{self.file}: over {PARTS} schemas, each $ref written out: say less")
            self.sizes[id(schema)] = total
        return self.sizes[id(schema)]

    def refuse(self, schema: dict[str, Any]) -> None:
        for key, mend in _REFUSED.items():
            if key in schema:
                raise Usage(f"{self.file}: {key}: {mend}")

    def inner(self, schema: dict[str, Any]) -> Iterator[Any]:
        for key, value in schema.items():
            if key == "$ref":
                yield self.target(value)
            elif key in _OF_NAMES and isinstance(value, dict):
                yield from value.values()
            elif isinstance(value, list) and key not in _NO_SCHEMAS:
                yield from value
            elif key not in _NO_SCHEMAS:
                yield value

    def target(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise Usage(f"{self.file}: $ref {checks.shown(ref)}: only into this file, such as #/$defs/name")
        found: Any = self.top
        for step in ref.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if "%" in key or not isinstance(found, dict) or key not in found:
                raise Usage(f"{self.file}: $ref {checks.quoted(ref)}: nothing stands there")
            found = found[key]
        return found


def _understood(schema: Any) -> Type:
    """What `lint` can walk of a JSON Schema: plain types, closed lists, records and lists; ``any`` for the rest."""
    if not isinstance(schema, dict) or any(key in schema for key in ("$ref", "anyOf", "oneOf", "allOf", "not", "if")):
        return ANY
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    nullable = "null" in kinds
    kinds = [kind for kind in kinds if kind != "null"]
    words = schema.get("enum")
    if isinstance(words, list) and words and all(isinstance(word, str | None) for word in words):
        said = tuple(word for word in words if isinstance(word, str))
        return Type("words", None in words, words=said)
    if "enum" in schema or "const" in schema or len(kinds) != 1:
        return ANY
    if kinds == ["object"] and isinstance(schema.get("properties"), dict):
        must = schema.get("required", [])
        inner = {key: _understood(one) for key, one in schema["properties"].items()}
        found = tuple((key, one if key in must else one._replace(nullable=True)) for key, one in inner.items())
        return Type("record", nullable, fields=found, is_open=schema.get("additionalProperties", True) is not False)
    if kinds == ["array"]:
        return Type("list", nullable, items=_understood(schema.get("items", {})))
    return Type(kinds[0], nullable) if kinds[0] in PLAIN else ANY


# -- values ----------------------------------------------------------------------------------------------------------


def check(schema: dict[str, Any], value: Any, what: str = "output") -> None:
    """`Usage` if ``value`` is not as ``schema``, a `Type.schema`, says; the first field that is not is named from ``what`` on."""
    if checks_depth(value) > DEEPEST * 2:
        raise Usage(f"{what} is nested deeper than {DEEPEST * 2}")
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError) as error:
        raise Usage(f"{what} has {why_not(error)}") from None
    if size > LARGEST:
        raise Usage(f"{what} has {size} bytes: at most {LARGEST}; put the rest in a file and name its path")
    from jsonschema import Draft202012Validator

    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=_order)
    if errors:
        raise Usage(_said(errors[0], what))


def _order(error: Any) -> tuple[int, str, bool]:
    """The outermost first; of one place what says most."""
    return len(error.absolute_path), str(error.absolute_path), error.validator != "enum"


def _said(error: Any, what: str) -> str:
    """What does not fit, in words."""
    where = what + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    where, rule, found = checks.one_line(where, 200), error.validator_value, checks.shown(error.instance)
    if error.validator == "required":
        missing = next(key for key in rule if key not in error.instance)
        return f"{where}.{missing} is missing"
    if error.validator == "additionalProperties" and rule is False:
        known = list(error.schema.get("properties", {}))
        extra = next(key for key in error.instance if key not in known)
        near = did_you_mean(extra, known) or f"; it has {', '.join(known) or 'no fields'}"
        return f"{where} takes no {checks.quoted(extra)}{near}"
    if error.validator == "enum":
        return f"{where} must be {' or '.join(map(_plainly, rule))}, not {found}"
    if error.validator == "type":
        kinds = rule if isinstance(rule, list) else [rule]
        return f"{where} must be {' or '.join(_KINDS.get(str(kind), str(kind)) for kind in kinds)}, not {found}"
    return f"{where}: {checks.one_line(error.message, 200)}"


_KINDS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list",
          "object": "a record"}  # fmt: skip


def _plainly(word: Any) -> str:
    return word if isinstance(word, str) else json.dumps(word)
