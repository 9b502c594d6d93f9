"""What an expression or a reading of a template gives, by the types of what it reads.  Pure functions.

Promised: what passes here can be evaluated, whatever the values are, as long as they are of their types: a rule gives true or
false, and nothing is read of what may be null but where null is said to go through (in expressions it does, in templates it
does not).  Each fault is told once, with its line and column in the text; the rest is looked at as if it were `any`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mbox.errors import did_you_mean

from .expressions import Part, path
from .templates import ITEM, Read
from .types import ANY, Type

BOOLEAN, INTEGER, TEXT, NULL = Type("boolean"), Type("integer"), Type("string"), Type("null", nullable=True)

Tell = Callable[[str, int, int], None]
"""Told of a fault: its text, and the line and column of the text that was looked at."""

_CALLED = {"string": "text", "words": "text", "command": "text", "integer": "a number", "number": "a number", "null": "null",
           "boolean": "true or false", "list": "a list", "record": "a record", "any": "anything"}  # fmt: skip


def record(**fields: Type) -> Type:
    """The type of a record of these fields."""
    return Type("record", fields=tuple(fields.items()))


def called(kind: Type) -> str:
    """A type in words."""
    return _CALLED[kind.kind]


def comparable(one: Type, other: Type) -> bool:
    """Whether two values of these types may be equal at all."""
    kinds = {_CALLED[one.kind], _CALLED[other.kind]}
    return len(kinds) == 1 or "anything" in kinds or "null" in kinds


def step_into(base: Type, step: str | int, where: str) -> tuple[Type | None, str]:
    """The type of a field or an item of ``base``, which is called ``where``; or None and what is wrong."""
    if base.kind == "any":
        return ANY, ""
    if base.kind == "null":
        output = where.startswith("steps.") or where == "output"
        return None, f"{where} is always null{': the step declares no output' if output else ''}"
    if isinstance(step, int):
        if base.kind != "list":
            return None, f"{where} is {called(base)}, no list: it has no items"
        return (base.items or ANY), ""
    if base.kind != "record":
        return None, f"{where} is {called(base)}: it has no field {step}"
    found = base.field(step)
    if found is not None or base.is_open:
        return found or ANY, ""
    names = [name for name, _ in base.fields]
    kind = {"steps": "step", "inputs": "input"}.get(where)
    near = did_you_mean(step, names) or (f"; there are {', '.join(names[:12])}" if names else "; there are none")
    return None, f"no {kind} {step}{near}" if kind else f"{where} has no field {step}{near}"


class Inference:
    """The types of one text's parts, in a scope of names."""

    def __init__(self, names: Mapping[str, Type], tell: Tell) -> None:
        self.names = dict(names)
        self.tell = tell

    def fault(self, part: Part, text: str) -> Type:
        self.tell(text, part.line, part.column)
        return ANY

    # -- expressions ------------------------------------------------------------------------------------------------

    def of(self, part: Part) -> Type:
        if part.op == "value":
            return _of_constant(part.value)
        if part.op == "name":
            return self.names[part.value] if part.value in self.names else self.fault(part, self.no_name(part.value))
        if part.op in ("field", "index"):
            return self.inside(part)
        if part.op == "list":
            return Type("list", items=_joined([self.of(one) for one in part.parts]))
        if part.op in ("and", "or", "not"):
            for one in part.parts:
                self.boolean(one, part.op)
            return BOOLEAN
        return self.call(part) if part.op == "call" else self.compare(part)

    def no_name(self, name: str) -> str:
        known = [*self.names]
        return f"no such name here: {name}{did_you_mean(name, known) or '; there are ' + ', '.join(known)}"

    def inside(self, part: Part) -> Type:
        base = self.of(part.parts[0])
        found, problem = step_into(base, part.value, path(part.parts[0]) or "it")
        if found is None:
            return self.fault(part, problem)
        nullable = base.nullable or part.op == "index" or found.nullable
        return found._replace(nullable=nullable)

    def boolean(self, part: Part, what: str) -> None:
        """Tell of what is not surely true or false."""
        found = self.of(part)
        said = path(part) or "what stands here"
        if found == ANY and part.op != "value":
            if not self.is_faulty(part):
                self.fault(part, f"{what} needs true or false, and {said} may be anything: write {said} == true")
        elif found.kind != "boolean":
            self.fault(part, f"{what} needs true or false, and {said} is {called(found)}: compare it")
        elif found.nullable:
            self.fault(part, f"{what} needs true or false, and {said} may be null: write {said} == true")

    def is_faulty(self, part: Part) -> bool:
        """Whether something in ``part`` was told of already: what is `any` for that reason is not told again."""
        told: list[str] = []
        Inference(self.names, lambda text, _line, _column: told.append(text)).of(part)
        return bool(told)

    def compare(self, part: Part) -> Type:
        left, right = part.parts
        one, other = self.of(left), self.of(right)
        if part.op in ("in", "not in"):
            self.among(part, one, other)
        elif part.op in ("==", "!="):
            self.equal(part, left, right, one, other)
        else:
            self.ordered(part, one, other)
        return BOOLEAN

    def ordered(self, part: Part, one: Type, other: Type) -> None:
        for kind, inner in ((one, part.parts[0]), (other, part.parts[1])):
            if kind.kind == "words" or _CALLED[kind.kind] not in ("text", "a number", "anything", "null"):
                what = "a word of a closed list" if kind.kind == "words" else called(kind)
                self.fault(inner, f"{part.op} needs numbers or texts, and {path(inner) or 'this'} is {what}")
                return
        if not comparable(one, other):
            self.fault(part, f"{part.op} of {called(one)} and {called(other)}: never true")

    def equal(self, at: Part, left: Part, right: Part, one: Type, other: Type) -> None:
        if not comparable(one, other):
            self.fault(at, f"compares {called(one)} with {called(other)}: they are never equal")
            return
        for kind, constant in ((one, right), (other, left)):
            if kind.kind == "words" and constant.op == "value" and isinstance(constant.value, str):
                self.word(kind, constant)
        if one.kind == other.kind == "words" and not set(one.words) & set(other.words):
            self.fault(at, f"compares {' | '.join(one.words)} with {' | '.join(other.words)}: they are never equal")

    def word(self, kind: Type, constant: Part) -> None:
        if constant.value not in kind.words:
            near = did_you_mean(constant.value, [*kind.words])
            self.fault(constant, f"{constant.value!r} is none of {' | '.join(kind.words)}{near}")

    def among(self, part: Part, one: Type, many: Type) -> None:
        left, right = part.parts
        if right.op == "list":
            for constant in right.parts:
                self.equal(constant, left, constant, one, self.of(constant))
        elif many.kind == "list":
            self.equal(part, left, right, one, many.items or ANY)
        elif _CALLED[many.kind] == "text":
            if _CALLED[one.kind] not in ("text", "null", "anything"):
                self.fault(part, f"in: {path(right) or 'this'} is text, and {called(one)} is looked for in it")
        elif many.kind not in ("any", "null"):
            self.fault(right, f"{part.op} needs a list or a text, and {path(right) or 'this'} is {called(many)}")

    def call(self, part: Part) -> Type:
        name, (only,) = part.value, part.parts
        result = BOOLEAN if name in ("any", "all", "exists") else INTEGER
        if only.op == "loop":
            self.loop(only, name)
            return result
        found = self.of(only)
        if name == "exists":
            if _CALLED[found.kind] not in ("text", "anything", "null"):
                self.fault(only, f"exists needs a path, and {path(only) or 'this'} is {called(found)}")
        elif name == "len":
            if found.kind not in ("list", "string", "words", "command", "null", "any"):
                self.fault(only, f"len needs a list or a text, and {path(only) or 'this'} is {called(found)}")
            return result._replace(nullable=found.kind == "any")
        elif not (found.kind == "list" and found.items == BOOLEAN) and (found.kind != "any" or not self.is_faulty(only)):
            self.fault(only, f"{name} needs a list of true and false: write {name}(X for a in {path(only) or 'LIST'})")
        return result

    def loop(self, part: Part, name: str) -> None:
        first, among, *conditions = part.parts
        found = self.of(among)
        if found.kind not in ("list", "any", "null"):
            self.fault(among, f"for needs a list, and {path(among) or 'this'} is {called(found)}")
        outer = self.names
        self.names = {**outer, part.value: (found.items or ANY) if found.kind == "list" else ANY}
        for one in conditions:
            self.boolean(one, "if")
        if name == "len":
            self.of(first)
        else:
            self.boolean(first, name)
        self.names = outer

    # -- templates --------------------------------------------------------------------------------------------------

    def read(self, read: Read) -> Type:
        """The type of what a template reads."""
        root = str(read.path[0])
        if root not in self.names:
            self.tell(self.no_name(root), read.line, 0)
            return ANY
        kind = self.names[root]
        for end, step in enumerate(read.path[1:], 1):
            before = read.path[:end]
            if kind.nullable and kind.kind != "any" and before not in read.certain and step != ITEM:
                said = read.said(end)
                self.tell(f"{said} may be null here: put it in {{% if {said} %}} … {{% endif %}}", read.line, 0)
                return ANY
            if step == ITEM and kind.kind not in ("list", "any"):
                return ANY  # told where the list is read
            found, problem = step_into(kind, step, read.said(end))
            if found is None:
                self.tell(problem, read.line, 0)
                return ANY
            if kind.kind == "any":
                self.tell(f"{read.said(end)} may be anything: declare its type, or put in the whole with tojson", read.line, 0)
                return ANY
            kind = found._replace(nullable=True) if isinstance(step, int) and step != ITEM else found
        self.used(read, kind)
        return kind

    def used(self, read: Read, kind: Type) -> None:
        fit = {"list": ("list",), "size": ("list", "string", "words", "command", "record")}.get(read.use)
        if fit and kind.kind not in (*fit, "null"):
            self.tell(f"{read.said()} is {called(kind)}: {'a list' if read.use == 'list' else 'a length'} is needed here",
                      read.line, 0)  # fmt: skip


def _of_constant(value: Any) -> Type:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOLEAN
    return TEXT if isinstance(value, str) else INTEGER if isinstance(value, int) else Type("number")


def _joined(kinds: list[Type]) -> Type:
    """The type of the items of a list that is written out."""
    named = {_CALLED[kind.kind]: kind for kind in kinds if kind.kind != "null"}
    if len(named) != 1:
        return ANY
    (only,) = named.values()
    return only if all(kind == only for kind in kinds) else Type("string" if only.kind == "words" else only.kind)


