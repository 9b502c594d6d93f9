"""The JSON Schema (2020-12) of a workflow's file, for editors: ``mbox schema workflow``.  Pure functions.

Promised: every file that `definition.load` takes validates; it knows every key of the language and no other.  Not promised: that
what validates is a workflow: expressions, templates, names and what goes together are `lint`'s.
"""

from __future__ import annotations

from typing import Any

from . import parts
from .expressions import LONGEST

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_SPAN: Schema = {"type": "string", "pattern": r"^[0-9.]+ ?[smhd]$", "description": "90s, 15m, 2h, 3d"}
_EXPRESSION: Schema = {"type": "string", "maxLength": LONGEST, "description": "an expression"}
_WORDS: Schema = {"type": "array", "items": _TEXT, "minItems": 1}
_COMMAND: Schema = {"anyOf": [_TEXT, _WORDS, {"type": "object", "properties": {"input": _NAME}, "required": ["input"],
                                              "additionalProperties": False}]}  # fmt: skip
_TYPE: Schema = {"$ref": "#/$defs/type"}
_ACCESS: Schema = {"enum": ["read", "write"]}
_FALSE: Schema = {"const": False}

_OF_STEP: dict[str, Schema] = {
    "id": _NAME, "agent": _TEXT, "run": _COMMAND, "ask": _TEXT, "git": {"enum": [*parts.ACTIONS]}, "send": _TEXT, "call": _TEXT,
    "wait": _SPAN, "prompt": _TEXT, "output": _TYPE, "gates": {"type": "array", "items": _COMMAND, "minItems": 1},
    "reserve": {"anyOf": [_EXPRESSION, _WORDS]}, "session": {"enum": ["new", "continue"]}, "access": _ACCESS,
    "env": {"type": "object", "additionalProperties": _TEXT}, "idempotent": {"type": "boolean"}, "probe": _COMMAND,
    "choices": _WORDS, "default": _TEXT, "to": _TEXT, "message": _TEXT, "branch": _TEXT, "title": _TEXT, "body": _TEXT,
    "base": _TEXT, "subject": _TEXT, "thread": _TEXT, "with": {"type": "object", "propertyNames": _NAME},
    "next": {"$ref": "#/$defs/next"},
    "each": {"anyOf": [_EXPRESSION, {"type": "array"}]}, "need": {"anyOf": [{"const": "all"}, {"type": "integer", "minimum": 0}]},
    "parallel": _COUNT, "max": _COUNT, "after": _EXPRESSION, "timeout": {"$ref": "#/$defs/timeout"},
    "retry": {"$ref": "#/$defs/retry"}, "visits": {"$ref": "#/$defs/visits"},
}  # fmt: skip
_OF_ROLE: dict[str, Schema] = {
    "phase": {"enum": [*parts.PHASES]}, "hosts": _WORDS, "family": {"anyOf": [_TEXT, _WORDS]}, "access": _ACCESS,
    "persona": _TEXT, "policy": _TEXT, "knowledge": _TEXT, "capabilities": _WORDS,
}  # fmt: skip


def schema() -> Schema:
    """The schema."""
    top: dict[str, Schema] = {
        "version": {"const": 1}, "name": _TEXT, "description": _TEXT, "inputs": _named(_TYPE),
        "roles": _named(_record(_OF_ROLE)), "limits": {"$ref": "#/$defs/limits"},
        "worktree": {"anyOf": [{"type": "boolean"}, _TEXT]}, "on_failure": _NAME,
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1, "maxItems": parts.STEPS},
        "output": _named(_EXPRESSION),
    }  # fmt: skip
    whole = _record(top, "version", "name", "steps")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "workflow", **whole, "$defs": _defs()}


def _defs() -> dict[str, Schema]:
    rule = {"anyOf": [_record({"when": _EXPRESSION, "go": _TEXT}, "when", "go"), _record({"else": _TEXT}, "else")]}
    visit: Schema = {"anyOf": [_COUNT, _FALSE]}
    one_kind = [{"required": [kind]} for kind in parts.KINDS]
    retry = {key: {"type": "integer", "minimum": 0} for key in parts.RETRY}
    return {
        "type": {"anyOf": [_TEXT, {"type": "array", "items": _TYPE, "minItems": 1, "maxItems": 1}, _OF_TYPES]},
        "next": {"anyOf": [_TEXT, {"type": "array", "items": rule, "minItems": 1}]},
        "timeout": {"anyOf": [_SPAN, _record(dict.fromkeys(parts.TIMEOUTS, _SPAN))]},
        "retry": _record(retry),
        "visits": {"anyOf": [_FALSE, _record(dict.fromkeys(parts.Visits._fields, visit))]},
        "limits": _record({"dispatches": _COUNT, "time": _SPAN, "cost_usd": {"type": "number"}, "tokens": _COUNT}),
        "step": {**_record(_OF_STEP, "id"), "oneOf": one_kind},
    }


_OF_TYPES: Schema = {"type": "object", "propertyNames": _NAME, "properties": {"default": {}}, "additionalProperties": _TYPE}
"""A record of types; also ``{type, default}`` of an input."""


def _record(fields: dict[str, Schema], *required: str) -> Schema:
    made: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**made, "required": [*required]} if required else made


def _named(values: Schema) -> Schema:
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": values}
