"""Types: the forms and their JSON Schema, what a given schema may not have, and what is said of a value that does not fit."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mbox.errors import Usage
from mbox.format.parsing import yaml_document
from mbox.workflow.types import LARGEST, Type, check, given, is_name, parse


def typed(text: str, **files: Any) -> Type:
    """The type that a value of YAML says."""
    top, _ = yaml_document(f"t: {text}", "f.yaml", core=True)
    return parse(top["t"], top.at["t"], lambda name, _place: json.dumps(files[name.removesuffix(".json")]), commands=True)


FORMS = [
    ("string", {"type": "string"}), ("integer", {"type": "integer"}), ("number", {"type": "number"}), ("boolean",
     {"type": "boolean"}),
    ("any", {}), ("command", {"type": "string"}), ("string?", {"type": ["string", "null"]}), ("integer ?", {"type": ["integer",
     "null"]}),
    ("a | b", {"type": "string", "enum": ["a", "b"]}), ("a | b?", {"enum": ["a", "b", None]}), ("any?", {}),
    ("new|not-fixed|x.y_z+1", {"type": "string", "enum": ["new", "not-fixed", "x.y_z+1"]}),
    ("[string]", {"type": "array", "items": {"type": "string"}}), ("[any]", {"type": "array", "items": {}}),
    ("[[integer?]]", {"type": "array", "items": {"type": "array", "items": {"type": ["integer", "null"]}}}),
    ("{a: string, b: [c | d]}", {
        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "string",
        "enum": ["c", "d"]}}},
        "required": ["a", "b"], "additionalProperties": False}),
    ("{}", {"type": "object", "properties": {}, "required": [], "additionalProperties": False}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "schema"), FORMS)
def test_the_forms(text: str, schema: dict[str, Any]) -> None:
    """Each form as JSON Schema: everything required, nothing else taken; and the schema is one."""
    found = typed(text)
    assert found.schema() == schema
    Draft202012Validator.check_schema(found.schema())
    assert found.is_text is (text in ("string", "string?"))
    assert typed(text) == found


@pytest.mark.parametrize(
    ("text", "says", "column"),
    [("strng", "did you mean string", 4), ("a |", "closed list", 4), ("a | a", "twice", 4), ("a | b c", "closed list", 4), ("[]",
    "one item", 4),
     ("[string, integer]", "one item", 4), ("3", "a type is", 4), ("true", "a type is", 4), ("~", "a type is", 4), ("{a: [x]}",
      "no type", 9),
     ("{A: string}", "small letters", 5), ("{class: string}", "a meaning", 5), ("{a: command}", "input alone", 8), ("[command]",
      "input alone", 5),
     ("command?", "input alone", 4), ("{true: string}", "not text", 4), ('"?"', "no type", 4), ("string??", "no type", 4),
     ("{a: {b: nope}}", "no type", 12), ("[" * 40 + "string" + "]" * 40, "deeper", 37)],
)  # fmt: skip
def test_what_is_no_type(text: str, says: str, column: int) -> None:
    """Refused with line and column, and what there is."""
    with pytest.raises(Usage, match=says) as told:
        typed(text)
    assert f"f.yaml:1:{column}:" in str(told.value) or says == "not text"


@pytest.mark.parametrize(
    ("schema", "says"),
    [({"type": "string", "pattern": "(a+)+$"}, "pattern"), ({"properties": {"a": {"items": {"pattern": "x"}}}}, "pattern"),
     ({"patternProperties": {"^a": {}}}, "patternProperties"), ({"propertyNames": {"pattern": "x"}}, "pattern"),
     ({"$ref": "https://example.org/x.json"}, "only into this file"), ({"$ref": "other.json"}, "only into this file"),
     ({"$ref": "file:///etc/passwd"}, "only into this file"), ({"$ref": "#/$defs/gone"}, "nothing stands there"), ({"$ref": "#"},
      "circle"),
     ({"$ref": 3}, "only into this file"), ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "circle"),
     ({"$defs": {"t": {"properties": {"kids": {"items": {"$ref": "#/$defs/t"}}}}}, "$ref": "#/$defs/t"}, "circle"),
     ({"$dynamicRef": "#a"}, "dynamicRef"), ({"$id": "https://x"}, "id"), ({"$anchor": "a"}, "anchor"), ({"uniqueItems": True},
      "uniqueItems"),
     ({"format": "email"}, "format"), ({"type": "strin"}, "no JSON Schema"), ({"required": "a"}, "no JSON Schema"),
     ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"), ([], "object"), ("x", "object"), ({"$schema": 3},
      "schema"),
     ({"if": {"pattern": "x"}}, "pattern"), ({"dependentSchemas": {"a": {"pattern": "x"}}}, "pattern"),
      ({"allOf": [{"pattern": "x"}]}, "pattern")],
)  # fmt: skip
def test_what_a_given_schema_may_not_have(schema: Any, says: str) -> None:
    """No regular expressions, nothing out of the file or in a circle, nothing that is no schema: one line each."""
    with pytest.raises(Usage, match=says.replace("$", r"\$")) as told:
        given(json.dumps(schema), "s.json")
    assert str(told.value).startswith("s.json: ") and "\n" not in str(told.value)


def test_a_schema_that_multiplies_is_refused() -> None:
    """References that double at each level, and a schema as deep as a file can make it, end at once."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)} | {"d60": {}}
    began = time.process_time()
    with pytest.raises(Usage, match="written out"):
        given(json.dumps({"$defs": defs, "$ref": "#/$defs/d0"}), "s.json")
    deep = '{"items":' * 5000 + "{}" + "}" * 5000
    with pytest.raises(Usage, match="nested"):
        given(deep, "s.json")
    for text in ('{"a": 1, "a": 2}', "{", "NaN", "\ud800"):
        with pytest.raises(Usage):
            given(text, "s.json")
    assert time.process_time() - began < 5


def test_what_a_given_schema_may_be() -> None:
    """References into the file, names such as `pattern` for properties; what lint can walk of it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["pattern", "kind"],
        "properties": {"pattern": {"type": "string", "maxLength": 9}, "kind": {"enum": ["a", "b"]}, "n": {"$ref": "#/$defs/n"},
                       "list": {"type": "array", "items": {"type": ["integer", "null"]}}},
        "additionalProperties": False, "$defs": {"n": {"type": "integer"}},
    }  # fmt: skip
    found = typed('"@s.json"', s=schema)
    assert found.schema() == schema and not found.is_text
    kinds = {name: (one.kind, one.nullable) for name, one in found.fields}
    assert kinds == {"pattern": ("string", False), "kind": ("words", False), "n": ("any", True), "list": ("list", True)}
    check(found.schema(), {"pattern": "x", "kind": "a", "n": 3})
    with pytest.raises(Usage, match=r"output\.kind must be a or b, not 'c'"):
        check(found.schema(), {"pattern": "x", "kind": "c"})


TYPE = "{verdict: approve | revise, n: integer, half: number, note: string?, ok: boolean, list: [{severity: low | high}]}"
FITS = {"verdict": "approve", "n": 1, "half": 0.5, "note": None, "ok": True, "list": [{"severity": "low"}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [({}, ""), ({"n": 2.0}, ""), ({"half": 2}, ""), ({"note": "x"}, ""), ({"list": []}, ""),
     ({"verdict": "maybe"}, "output.verdict must be approve or revise, not 'maybe'"), ({"verdict": None},
      "output.verdict must be approve or revise"),
     ({"n": "1"}, "output.n must be a whole number, not '1'"), ({"n": True}, "output.n must be a whole number"), ({"n": 1.5},
      "a whole number"),
     ({"ok": 1}, "output.ok must be true or false, not 1"), ({"ok": "true"}, "output.ok must be true or false"), ({"note": 3},
      "text or null"),
     ({"list": None}, "output.list must be a list"), ({"list": [{"severity": "low"}, {"severity": "hi"}]},
      r"output.list[1].severity must be low or high"),
     ({"list": [{}]}, "output.list[0].severity is missing"), ({"more": 1}, "output takes no 'more'"), ({"notes": 1},
      "did you mean note"),
     ({"list": [{"severity": "low", "x\n\x1b[31m": 1}]}, "output.list[0] takes no"), ({"half": None},
      "output.half must be a number, not null")],
)  # fmt: skip
def test_what_is_said_of_a_value(change: dict[str, Any], says: str) -> None:
    """The first field that does not fit, named in words, in one line that can be shown."""
    schema = typed(TYPE).schema()
    if not says:
        check(schema, FITS | change)
        return
    with pytest.raises(Usage) as told:
        check(schema, FITS | change)
    assert says in str(told.value) and str(told.value).isprintable()


def test_a_missing_field_and_another_kind() -> None:
    """A field that is not there, an output that is no record, and one under another name."""
    schema = typed(TYPE).schema()
    with pytest.raises(Usage, match=r"^output\.n is missing$"):
        check(schema, {key: one for key, one in FITS.items() if key != "n"})
    for value in (None, [], "x", 3):
        with pytest.raises(Usage, match="output must be a record"):
            check(schema, value)
    with pytest.raises(Usage, match=r"^inputs\.n "):
        check({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": ""}, "inputs")


def test_an_output_has_a_size() -> None:
    """At most so many bytes as JSON, so deep and no deeper, and JSON at all; whatever the type says."""
    check({}, "é" * ((LARGEST - 2) // 2))
    for value, says in (("é" * (LARGEST // 2), "bytes"), (float("nan"), "number"), (float("inf"), "number"), ("\ud800",
    "character")):
        with pytest.raises(Usage, match=says):
            check({}, value)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Usage, match="nested"):
        check({}, deep)


def test_names() -> None:
    """Small letters, a letter first, no keyword, no end of a run."""
    assert all(map(is_name, ("a", "a_1", "review", "match", "output2")))
    assert not any(map(is_name, ("", "A", "1a", "_a", "a-b", "é", "class", "true", "none", "succeeded", "needs_human", "a" * 65,
    None, 3)))
