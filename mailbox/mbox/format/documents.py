"""The schema of every document: its fields, their order, types and defaults; how it is written, read and checked.

Promised: a document written here and read back is equal, byte for byte the same when written again, safe to ``cat``
(no control or bidi character stands in it unescaped), one field a line, and keeps fields this version does not know.
A document that does not fit its schema is never half believed: `decode` raises `Unfit` and the caller decides
(journal, quarantine, refusal).  A document of a newer schema raises `Newer` and is left alone.

One table (`KINDS`) drives encoding, checking, output defaults and the JSON Schema of ``mbox schema``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from json.encoder import encode_basestring as _quote
from typing import Any

from mbox.errors import LeftAlone

FORMAT = 1
"""The ``schema`` of documents that this version writes, and the highest it reads.  A store has a format of its own:
`journal.record.FORMAT`."""

Document = dict[str, Any]


DEEPEST = 100
"""How deep JSON in a document may be nested; Python's own limit depends on who calls."""


FREE = 1 << 20
"""Bytes of JSON that is parsed as it is: of what is longer it is first asked what it would cost (`budget`)."""


class Unfit(ValueError):
    """The bytes are not a document of that kind; the message says where and why."""


class Newer(LeftAlone):
    """The document was written by a newer version; it is left as it is."""


class Field:
    """One field of a document's schema.  No NamedTuple: every command would wait 0.1 ms for the class to be made."""

    __slots__ = ("choices", "default", "name", "required", "sparse", "type")

    def __init__(
        self, name: str, type_: str, default: Any, choices: tuple[str, ...], required: bool, sparse: bool = False
    ) -> None:
        self.sparse = sparse
        """Whether it stands only in documents that have it: what was written before there was such a field is as it was."""
        self.name = name
        self.type = type_
        self.default = default
        self.choices = choices
        self.required = required


def _f(name: str, type_: str, default: Any = None, choices: tuple[str, ...] = ()) -> Field:
    return Field(name, type_, default, choices, False)


def _s(name: str, type_: str) -> Field:
    return Field(name, type_, None, (), False, True)


def _r(name: str, type_: str, choices: tuple[str, ...] = ()) -> Field:
    return Field(name, type_, None, choices, True)


MESSAGE_STATES = ("unread", "read", "acked", "expired", "dead")
TASK_STATES = ("queued", "claimed", "running", "review", "done", "failed", "deadletter", "cancelled")
RUN_STATES = ("running", "paused", "needs_human", "exceeded", "succeeded", "failed", "cancelled")
STEP_STATES = ("open", "done", "failed", "skipped")
ACTIVE = ("claimed", "running")
"""Task states in which somebody holds the task."""
FINAL = frozenset(["done", "failed", "deadletter", "cancelled"])
"""Task states that nothing leaves by itself."""

KINDS: dict[str, tuple[Field, ...]] = {
    "message": (
        _r("msg_id", "str"), _r("thread_id", "str"), _f("parent_id", "str?"), _f("task_id", "str?"),
        _f("round_id", "str?"), _r("from", "str"), _r("to", "strs"), _f("type", "str", "note"),
        _f("subject", "str", ""), _f("body", "str", ""), _f("payload", "any"), _f("state_version", "int", 0),
        _f("priority", "int", 5), _f("needs_ack", "bool", False), _f("hops", "int", 0), _f("key", "str?"),
        _f("state", "str", "unread", MESSAGE_STATES), _f("deliveries", "int", 0), _f("read_by", "str?"),
        _f("read_at", "time?"), _f("done_at", "time?"), _r("created_at", "time"), _f("expires_at", "time?"),
    ),
    "task": (
        _r("task_id", "str"), _r("title", "str"), _f("description", "str", ""), _f("stage", "str", ""),
        _f("status", "str", "queued", TASK_STATES), _f("hold", "str", ""), _f("owner", "str?"),
        _f("incarnation", "int", 0), _f("reviewer", "str?"), _f("round", "int", 1), _f("depends_on", "strs", []),
        _f("touched_paths", "strs", []), _f("requires", "strs", []), _f("labels", "strs", []),
        _f("priority", "int", 5), _f("attempt_count", "int", 0), _f("max_attempts", "int", 3),
        _f("token", "int", 0), _f("reason", "str", ""), _f("payload", "any"), _f("result", "any"),
        _r("created_at", "time"), _f("finished_at", "time?"), _s("order", "dict"), _s("gates", "strs"),
    ),
    "reservation": (
        _r("reservation_id", "str"), _r("agent", "str"), _f("incarnation", "int", 0), _r("patterns", "strs"),
        _f("mode", "str", "exclusive", ("exclusive", "shared")), _f("reason", "str", ""), _f("task_id", "str?"),
        _f("lease_s", "num", 0), _f("token", "int", 0), _r("created_at", "time"), _f("expires_at", "time?"),
    ),
    "lease": (
        _r("id", "str"), _r("holder", "str"), _f("incarnation", "int", 0), _r("token", "int"),
        _r("machine", "str"), _r("mono_until", "num"), _r("wall_until", "num"), _r("seconds", "num"),
        _f("at", "str", ""),
    ),
    "agent": (
        _r("agent", "str"), _f("role", "str", "worker"), _f("host", "str", ""), _f("model", "str", ""),
        _f("capabilities", "strs", []), _f("incarnation", "int", 1), _f("reports_to", "str?"), _f("team", "str?"),
        _r("registered_at", "time"), _f("retired_at", "time?"), _f("incarnation_since", "time?"),
    ),
    "heartbeat": (
        _r("pid", "int"), _r("start_ticks", "int"), _r("machine", "str"), _r("incarnation", "int"),
        _r("mono", "num"), _f("child", "int", 0), _f("child_ticks", "int", 0), _f("pidns", "str", ""),
        _f("active", "num", 0), _s("hook", "bool"),
    ),
    "status": (
        _r("agent", "str"), _f("state", "str", "idle", ("busy", "idle", "waiting", "ended")), _f("since", "time?"),
        _f("event", "str", ""), _f("seq_seen", "int", 0), _f("offered", "strs", []), _f("task", "str?"),
        _f("pane", "str?"), _f("server", "str?"), _f("incarnation", "int", 0), _f("why", "str", ""),
        _s("at", "time?"), _s("session", "str"), _s("host", "str"), _s("held", "strs"),
        _s("failures", "dict"), _s("subs", "strs"), _s("told", "int"),
    ),
    "team": (
        _r("team", "str"), _f("state", "str", "up", ("up", "draining", "down")), _f("members", "rows", []),
        _f("policy", "dict?"), _f("session", "str", ""), _f("parent", "str?"), _f("orchestrator", "str?"),
        _r("created_at", "time"), _f("file", "str", ""),
    ),
    "run": (
        _r("run", "str"), _r("workflow", "str"), _f("file", "str", ""), _f("status", "str", "running", RUN_STATES),
        _f("reason", "str", ""), _f("by", "str", ""), _f("settings", "dict?"), _f("inputs", "dict?"), _f("tree", "dict?"),
        _f("parent", "dict?"), _f("at", "dict?"), _f("visits", "dict?"), _f("last", "dict?"), _f("memory", "dict?"),
        _f("spent", "dict?"), _f("failure", "dict?"), _f("output", "any"), _r("started_at", "time"), _f("ended_at", "time?"),
    ),
    "definition": (_r("run", "str"), _r("main", "str"), _r("files", "dict")),
    "step": (
        _r("run", "str"), _r("step", "str"), _r("visit", "int"), _f("item", "any"), _f("nth", "int", 0), _r("kind", "str"),
        _f("status", "str", "open", STEP_STATES), _f("task", "str?"), _f("failed", "str?"), _f("detail", "str", ""),
        _f("exit", "any"), _f("output", "any"), _f("value", "any"), _f("edge", "dict?"), _f("gates", "any", []),
        _f("attempts", "any", []), _f("rounds", "int", 0), _f("items", "any"), _f("by", "str?"), _f("cost", "dict?"),
        _f("seconds", "num", 0), _f("state", "dict?"), _r("entered_at", "time"), _f("ended_at", "time?"),
    ),
    "deadletter": (
        _r("reason", "str"), _f("detail", "str", ""), _f("from_path", "str", ""), _r("first_at", "time"),
        _f("count", "int", 1), _f("original", "any"),
    ),
    "note": (
        _r("ts", "time"), _r("by", "str"), _f("kind", "str", "note", ("note", "checkpoint")), _f("text", "str", ""),
        _f("state", "any"),
    ),
    "record": (
        _r("v", "int"), _r("seq", "int"), _r("ts", "time"), _r("by", "str"), _f("inc", "int", 0), _r("op", "str"),
        _f("on", "strs", []), _f("why", "str", ""), _f("key", "any"), _f("put", "any", []), _f("mv", "any", []),
        _f("del", "strs", []), _f("lease", "any", []), _r("crc", "str"),
    ),
}  # fmt: skip

_UNVERSIONED = frozenset(["heartbeat", "note", "record"])
"""Kinds without a ``schema`` field: lines of a file whose version stands elsewhere, or ephemeral."""

STANDING = {"message": "state", "task": "status"}
"""The field of a kind that is always shown, also at its default: what programs ask for first."""

_COMPARED = {"task": ("stage", "requires", "labels"), "agent": ("capabilities",), "message": ("type",)}
"""Fields of words that are looked for: in NFC wherever they are read."""

_ID_FIELD = {"message": "msg_id", "task": "task_id", "reservation": "reservation_id", "agent": "agent", "team": "team"}

STEPS: dict[tuple[str, int], Callable[[Document], Document]] = {}
"""``(kind, schema) → function`` that makes a document of that schema one of the next.  Empty while `FORMAT` is 1."""


def is_time(value: Any) -> bool:
    """Whether ``value`` is a time as it stands in documents: ``2026-01-02T03:04:05.000006Z``."""
    if not isinstance(value, str) or len(value) != 27 or value[4::3][:5] != "--T::" or value[19::7] != ".Z":
        return False
    try:
        datetime.fromisoformat(value[:26])
    except ValueError:
        return False
    return True


def _is_int(value: int) -> bool:
    """Whether SQLite and every other reader of JSON can hold it."""
    return -(2**63) <= value < 2**63


def _is_num(value: float) -> bool:
    return -1e300 < value < 1e300


def is_strs(value: Any) -> bool:
    """Whether ``value`` is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_rows(value: list[Any]) -> bool:
    """Whether ``value`` is a list of members, each with its name."""
    from .places import is_name

    return all(isinstance(row, dict) and isinstance(row.get("name"), str) and is_name(row["name"]) for row in value)


_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "str?": (str, _NONE), "int": (int,), "num": (int, float), "bool": (bool,), "strs": (list,),
    "time": (str,), "time?": (str, _NONE), "rows": (list,), "dict": (dict,), "dict?": (dict, _NONE),
    "any": (_NONE, bool, int, float, str, list, dict),
}  # fmt: skip
_CLOSER: dict[str, Callable[[Any], bool]] = {
    "int": _is_int,
    "num": _is_num,
    "strs": is_strs,
    "rows": _is_rows,
    "time": is_time,
    "time?": lambda value: value is None or is_time(value),
}
_PLANS = {
    kind: [
        (field.name, _TYPES[field.type], _CLOSER.get(field.type), field.choices, field.required, field.default, field)
        for field in fields
    ]
    for kind, fields in KINDS.items()
}
"""`KINDS` made ready for `check`, which every document passes on its way in."""

_BLANKS: dict[str, tuple[Document, list[str]]] = {
    kind: (
        {
            **({} if kind in _UNVERSIONED else {"schema": FORMAT}),
            **{field.name: field.default for field in fields if not field.sparse},
        },
        [field.name for field in fields if field.default == []],
    )
    for kind, fields in KINDS.items()
}
"""A document of each kind with nothing but defaults, and which of them are lists, to be made anew."""


def _encoder(between: str, after_name: str) -> Callable[[Any], str]:
    """An encoder of JSON, made once: the library's makes its parts anew at every call, which costs more than a mark."""
    library = json.JSONEncoder(ensure_ascii=False, separators=(between, after_name), allow_nan=False)
    sample = ["\"é\x7f", {"a": [1.5, None, True, {}], "b": "\n"}]
    try:
        make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        parts = make(None, library.default, _quote, None, after_name, between, False, False, False)
        if "".join(parts(sample, 0)) == library.encode(sample):
            return lambda value: "".join(parts(value, 0))
    except (AttributeError, TypeError):  # another Python makes them in another way
        pass
    return library.encode


_compact = _encoder(",", ":")
_spaced = _encoder(", ", ": ")
_lines = _encoder(",\n  ", ": ")
_UNSAFE = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F))}
_UNSAFE.update({code: f"\\u{code:04x}" for code in (*range(0x2066, 0x206A), 0xFEFF)})


_FLAT = frozenset([str, int, float, bool, _NONE])
_NESTED = frozenset([list, dict])


def _is_flat(doc: Document) -> bool:
    """Whether no separator stands in the text of a value: no object, and no list of more than one text."""
    nested = {*map(type, doc.values())} - _FLAT
    if not nested:
        return True
    lists = [value for value in doc.values() if type(value) is list]
    return nested == {list} and all(not one or (len(one) == 1 and type(one[0]) is str) for one in lists)


def _safe(text: str) -> str:
    """JSON text with every character that a terminal might obey written as an escape."""
    return text.translate(_UNSAFE) if not text.isascii() or "\x7f" in text else text


def compact(value: Any) -> str:
    """One-line JSON, safe to show."""
    return _safe(_compact(value))


def ordered(kind: str, doc: Mapping[str, Any]) -> Document:
    """``doc`` with its fields in the order of the schema, missing ones with their defaults, unknown ones last."""
    blank, lists = _BLANKS[kind]
    out: Document = {**blank, **doc}
    if "schema" in blank:
        out["schema"] = FORMAT
    for name in lists:
        if out[name] is blank[name]:
            out[name] = []
    return out


def new(kind: str, **fields: Any) -> Document:
    """A document of ``kind`` with ``fields`` and defaults.  A trailing ``_`` is dropped (``from_``)."""
    return ordered(kind, {name if name[-1] != "_" else name[:-1]: value for name, value in fields.items()})


def encode(kind: str, doc: Any) -> bytes:
    """The bytes of a document: UTF-8, two-space indent, one field a line, final newline; notes: a line an entry."""
    return render(doc if kind == "notes" else ordered(kind, doc))


def render(doc: Any) -> bytes:
    """`encode` for a document that is in order already."""
    if isinstance(doc, list):
        return "".join([compact(line) + "\n" for line in doc]).encode()
    if _is_flat(doc):
        body = _lines(doc)[1:-1]  # a separator stands between fields and nowhere else
    else:
        body = ",\n  ".join([f"{_quote(name)}: {_spaced(value)}" for name, value in doc.items()])
    return _safe(f"{{\n  {body}\n}}\n").encode()


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    out = dict(pairs)
    if len(out) != len(pairs):
        names = [name for name, _ in pairs]
        raise Unfit(f"field {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return out


def _no_constant(text: str) -> Any:
    raise Unfit(f"{text} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if _is_num(value) else _no_constant(text)


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite).decode


def _loads(data: bytes) -> Any:
    if len(data) > FREE:
        _weigh(data)
    try:
        value = _decode(data.decode("utf-8"))
        if b"\\ud" in data.lower():
            _compact(value).encode()  # half of a surrogate pair can be escaped, and then nothing can write it
    except Unfit:
        raise
    except (ValueError, RecursionError) as error:
        from .parsing import why_not

        raise Unfit(f"not JSON: {why_not(error)}" if data else "the file is empty") from None
    if data.count(b"[") + data.count(b"{") > DEEPEST and is_deep(value):
        raise Unfit(f"nested deeper than {DEEPEST}")
    return value


def composed(text: str) -> str:
    """``text`` in NFC: what looks the same and is found by it, whichever keyboard or file system spelt it."""
    if text.isascii():
        return text
    from unicodedata import normalize

    return normalize("NFC", text)


def _weigh(data: bytes) -> None:
    from . import budget

    if budget.is_costly(data, budget.DOCUMENT):
        raise Unfit(f"as values it would take more memory than the {budget.DOCUMENT >> 20} MiB that a document may")


def status_in(data: bytes, ident: str) -> str:
    """The status of the task ``ident`` in its file's bytes, found by its line; "" where they are not as `render` has them."""
    if not (data.startswith(b'{\n  "schema": %d,\n  "task_id": "%b",\n' % (FORMAT, ident.encode())) and data.endswith(b"\n}\n")):
        return ""
    at = data.find(_STATUS) + len(_STATUS)
    word = data[at : data.find(b'",\n', at)] if at >= len(_STATUS) else b""
    return next((state for state in TASK_STATES if state.encode() == word), "")


_STATUS = b'\n  "status": "'


def is_deep(value: Any, limit: int = DEEPEST) -> bool:
    """Whether ``value`` is nested deeper than ``limit``."""
    if type(value) not in _NESTED:
        return False
    if limit == 0:
        return True
    items = value.values() if type(value) is dict else value
    nested = [item for item in items if type(item) in _NESTED]
    return bool(nested) and any(is_deep(item, limit - 1) for item in nested)


def decode(kind: str, data: bytes, ident: str = "") -> Any:
    """The document in ``data``, in schema order, with defaults, its words in NFC; `Unfit` or `Newer` if it cannot be believed.

    ``ident`` is the id that the file's name promises.  For notes: the list of entries.
    """
    if kind == "notes":
        return [check("note", _loads(line)) for line in data.splitlines()]
    doc = check(kind, _loads(data))
    field = _ID_FIELD.get(kind)
    if ident and field and doc[field] != ident:
        raise Unfit(f"{field} is {doc[field]!r} but the file is named {ident!r}")
    for name in _COMPARED.get(kind, ()):
        found = doc[name]
        doc[name] = composed(found) if type(found) is str else list(map(composed, found))
    return doc


def check(kind: str, value: Any) -> Document:
    """``value`` as a document of ``kind``: stepped up to this format, complete and of the right types, or `Unfit`."""
    if not isinstance(value, dict):
        raise Unfit(f"not a JSON object but {type(value).__name__}")
    doc = value if kind in _UNVERSIONED else _stepped(kind, value)
    out: Document = {} if kind in _UNVERSIONED else {"schema": FORMAT}
    for name, types, closer, choices, required, default, field in _PLANS[kind]:
        if name in doc:
            found = doc[name]
            if type(found) not in types or (closer and not closer(found)) or (choices and found not in choices):
                raise Unfit(f"field {name!r} is {_spaced(found)[:40]}, not {_said(field)}")
            out[name] = found
        elif required:
            raise Unfit(f"field {name!r} is missing")
        elif not field.sparse:
            out[name] = list(default) if type(default) is list else default
    if not doc.keys() <= out.keys():
        for name in doc:
            if name not in out:
                out[name] = doc[name]
    return out


def check_at(kind: str, doc: Any) -> None:
    """Raise `Unfit` unless ``doc``, from a record, is what a file of ``kind`` holds; for notes a list of entries."""
    if kind == "notes":
        if not isinstance(doc, list):
            raise Unfit(f"not a list of notes but {type(doc).__name__}")
        for entry in doc:
            check("note", entry)
    else:
        check(kind, doc)


def _stepped(kind: str, doc: Document) -> Document:
    schema = doc.get("schema")
    if type(schema) is not int:
        raise Unfit("field 'schema' is missing or no number")
    if schema > FORMAT:
        raise Newer(f"written by format {schema}, this version knows {FORMAT}; update the toolkit")
    while schema < FORMAT:
        step = STEPS.get((kind, schema))
        if step is None:
            raise Unfit(f"schema {schema} of {kind} is not known")
        doc, schema = step(doc), schema + 1
    return doc


def _said(field: Field) -> str:
    if field.choices:
        return f"one of {', '.join(field.choices)}"
    said = {"str": "text", "int": "a whole number", "num": "a number", "bool": "true or false",
            "strs": "a list of texts", "rows": "a list of members", "dict": "an object",
            "time": "a UTC time", "any": "JSON"}  # fmt: skip
    return said[field.type.rstrip("?")] + (" or null" if field.type.endswith("?") else "")


def defaults(kind: str) -> Document:
    """The default of each field that has one: what short output leaves out."""
    stands = STANDING.get(kind)
    return {field.name: field.default for field in KINDS[kind] if not field.required and field.name != stands}


def json_schema(kind: str) -> Document:
    """The JSON Schema (2020-12) of a document kind, for ``mbox schema``."""
    types: dict[str, Document] = {
        "str": {"type": "string"}, "int": {"type": "integer"}, "num": {"type": "number"}, "any": {},
        "bool": {"type": "boolean"}, "strs": {"type": "array", "items": {"type": "string"}},
        "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}, "dict": {"type": "object"},
        "rows": {"type": "array", "items": {
            "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
        }},
    }  # fmt: skip
    properties: Document = {} if kind in _UNVERSIONED else {"schema": {"const": FORMAT}}
    for field in KINDS[kind]:
        one = dict(types[field.type.rstrip("?")])
        if field.choices:
            one["enum"] = list(field.choices)
        properties[field.name] = {"anyOf": [one, {"type": "null"}]} if field.type.endswith("?") else one
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name == "schema" or _field(kind, name).required],
    }


def _field(kind: str, name: str) -> Field:
    return next(field for field in KINDS[kind] if field.name == name)
