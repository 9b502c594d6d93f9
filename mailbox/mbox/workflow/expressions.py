"""Expressions: what ``when each after reserve output`` say.  Pure functions; docs/workflows.md has the grammar and its meaning.

Promised: `parse` takes the closed grammar and nothing else, or raises `Mistake` with line and column; what it returns holds no
object of Python's parser, only `Part`s.  `evaluate` reads what it is given by ``[]``, ``get`` and ``in`` and never calls it;
it takes at most `STEPS` steps.  Nothing is truthy, nothing is coerced: ``1 == true`` is false.
Not promised: that the names exist (`lint` knows the types; here what is not there is null).

`EvalError` is raised only where ``and or not``, an element of ``any all count`` or a `decide` meets what is no boolean, and
past `STEPS`; lint refuses what could lead to the first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mbox.errors import Usage, did_you_mean
from mbox.format import checks

LONGEST = 500
"""Characters of an expression at most."""

DEEPEST = 30
"""Levels of an expression at most."""

STEPS = 2_000_000
"""Parts that are looked at in one evaluation at most: a loop in a loop over what agents wrote could take hours."""

CONTEXT = ("output", "exit", "failed", "visits", "stuck", "inputs", "item", "failure", "steps", "git")
"""The names that an expression may begin with."""

FUNCTIONS = ("any", "all", "count", "len", "exists")
CONSTANTS = {"true": True, "false": False, "null": None}


class Mistake(Usage):
    """A text is none of the grammar; ``line`` and ``column`` count from 1 in the text."""

    def __init__(self, problem: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{problem} (line {line}, column {column})" if line > 1 else f"{problem} (column {column})")
        self.problem, self.line, self.column = problem, line, column


class EvalError(Usage):
    """An expression that cannot be decided with these values."""


class Part(NamedTuple):
    """A part of an expression: ``op`` and what it is of.

    ``value`` (a constant), ``name``, ``field`` (.value of its part), ``index`` ([value]), ``list``, ``and``, ``or``, ``not``,
    a comparison by its sign, ``call`` (of the function ``value``), ``loop`` (X, LIST, maybe a condition; ``value`` is the name).
    """

    op: str
    line: int
    column: int
    value: Any = None
    parts: tuple[Part, ...] = ()


class Expression(NamedTuple):
    """An expression: its text, its parts, and the dotted paths that it reads."""

    text: str
    root: Part
    names: tuple[str, ...]


# -- parsing ---------------------------------------------------------------------------------------------------------

_NUMBER = "a number is written 3 or 0.5"
_STRING = re.compile("'[^']*'|\"[^\"]*\"")
_SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_REFUSED: dict[type[ast.AST], str] = {
    ast.BinOp: "no arithmetic here", ast.Lambda: "no functions of your own here", ast.NamedExpr: "nothing is assigned here",
    ast.JoinedStr: "no f-strings here", ast.Tuple: "write a list: [a, b]", ast.IfExp: "write two rules, or and/or",
    ast.Dict: "no mappings here", ast.ListComp: "X for a in LIST stands in any, all, count or len only",
    ast.GeneratorExp: "X for a in LIST stands in any, all, count or len only", ast.Starred: "no * here",
}  # fmt: skip


def parse(text: str) -> Expression:
    """The expression that ``text`` is; `Mistake` says where it is none, and the mend."""
    if len(text) > LONGEST:
        raise Mistake(f"an expression of {len(text)} characters: at most {LONGEST}")
    outside = _STRING.sub(lambda found: "\x01" + " " * (len(found[0]) - 2) + "\x02", text)
    _refuse_letters(text, outside)
    try:
        tree = ast.parse(f"({text}\n)", mode="eval").body
    except SyntaxError as error:
        raise _not_one(text, outside, error) from None
    except (ValueError, RecursionError, MemoryError):
        raise Mistake("nested too deep: say it in parts") from None
    root = _Parser(text).part(tree, 0)
    return Expression(text, root, tuple(dict.fromkeys(_paths(root, frozenset()))))


def _refuse_letters(text: str, outside: str) -> None:
    """`Mistake` for what Python would take and the grammar has not, as the text shows; ``outside`` has blanks for strings."""
    for pattern, problem in (
        (r"\\", "a backslash: texts have no escapes here"),
        (r"[^\x01\x02\n\x20-\x7e]", "only ASCII outside of texts"),
        (r"#", "no comments inside an expression"),
        (r"\x02\s*\x01", "two texts in a row: a comma is missing"),
        (r"\w\x01|\x02\w", "a text has no letter before it or behind it: write a space"),
        (r"(?<![\w.])(?!(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))\.?\d", _NUMBER),
        (r"['\"]", "a text without its end"),
    ):
        if found := re.search(pattern, text if pattern == r"\\" else outside):
            raise _at(text, found.start(), problem)
    opened = 0
    for found in re.finditer(r"[()\[\]{}]", outside):
        opened += 1 if found[0] in "([{" else -1
        if opened < 0:
            raise _at(text, found.start(), f"{found[0]} closes nothing")
        if opened > DEEPEST:
            raise _at(text, found.start(), f"nested deeper than {DEEPEST}: say it in parts")
    if not outside.strip():
        raise Mistake("an empty expression")


def _at(text: str, offset: int, problem: str) -> Mistake:
    return Mistake(problem, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _not_one(text: str, outside: str, error: SyntaxError) -> Mistake:
    found = re.search(r"(?<![=!<>])=(?!=)", outside)
    if found and ":=" in outside:
        return _at(text, outside.index(":="), "nothing is assigned here")
    if found:
        return _at(text, found.start(), "= assigns: compare with ==")
    if found := re.search(r"&&|\|\||!(?!=)", outside):
        return _at(text, found.start(), "write and, or, not")
    line, column = error.lineno or 1, (error.offset or 1) - (error.lineno == 1)
    lines = text.split("\n")
    line = min(line, len(lines))
    return Mistake(f"not an expression: {checks.one_line(error.msg, 80)}", line, max(1, min(column, len(lines[line - 1]) + 1)))


class _Parser:
    """Python's tree, walked over a closed list of its nodes."""

    def __init__(self, text: str) -> None:
        self.lines = [line.encode() for line in text.split("\n")]

    def where(self, node: ast.AST) -> tuple[int, int]:
        """Line and column of ``node`` in the text, which stands in a parenthesis."""
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) - (getattr(node, "lineno", 1) == 1)
        return line, len(self.lines[line - 1][: max(0, offset)].decode(errors="replace")) + 1

    def refused(self, node: ast.AST, problem: str) -> Mistake:
        return Mistake(problem, *self.where(node))

    def part(self, node: ast.expr, depth: int) -> Part:
        if depth > DEEPEST:
            raise self.refused(node, f"nested deeper than {DEEPEST}: say it in parts")
        method = getattr(self, f"of_{type(node).__name__.lower()}", None)
        if method is None:
            raise self.refused(node, _REFUSED.get(type(node), f"{type(node).__name__}: not in the grammar of expressions"))
        made: Part = method(node, depth + 1)
        return made

    def of_constant(self, node: ast.Constant, _depth: int) -> Part:
        value = node.value
        if value is None or isinstance(value, bool):
            right = {None: "null", True: "true", False: "false"}[value]
            raise self.refused(node, f"{value} is Python's: write {right}")
        if isinstance(value, str):
            return Part("value", *self.where(node), value)
        if not isinstance(value, int | float) or value == float("inf") or not self.is_plain(node):
            raise self.refused(node, _NUMBER)
        return Part("value", *self.where(node), value)

    def is_plain(self, node: ast.Constant) -> bool:
        """Whether a number is written as JSON has it."""
        first = node.lineno == 1
        word = self.lines[node.lineno - 1][node.col_offset - first : (node.end_col_offset or 0) - first]
        return bool(re.fullmatch(rb"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", word))

    def of_name(self, node: ast.Name, _depth: int) -> Part:
        if node.id in CONSTANTS:
            return Part("value", *self.where(node), CONSTANTS[node.id])
        if node.id in FUNCTIONS:
            raise self.refused(node, f"{node.id} is a function: {node.id}(…)")
        return Part("name", *self.where(node), node.id)

    def of_attribute(self, node: ast.Attribute, depth: int) -> Part:
        if node.attr.startswith("_"):
            raise self.refused(node, f"no field begins with _: {checks.quoted(node.attr)}")
        return Part("field", *self.where(node), node.attr, (self.part(node.value, depth),))

    def of_subscript(self, node: ast.Subscript, depth: int) -> Part:
        number = node.slice
        if not isinstance(number, ast.Constant) or type(number.value) is not int or not self.is_plain(number):
            raise self.refused(number, "in [] stands a number from 0 on")
        return Part("index", *self.where(node), number.value, (self.part(node.value, depth),))

    def of_list(self, node: ast.List, depth: int) -> Part:
        return Part("list", *self.where(node), None, tuple(self.part(one, depth) for one in node.elts))

    def of_boolop(self, node: ast.BoolOp, depth: int) -> Part:
        op = "and" if isinstance(node.op, ast.And) else "or"
        return Part(op, *self.where(node), None, tuple(self.part(one, depth) for one in node.values))

    def of_unaryop(self, node: ast.UnaryOp, depth: int) -> Part:
        inner = self.part(node.operand, depth)
        if isinstance(node.op, ast.Not):
            return Part("not", *self.where(node), None, (inner,))
        if isinstance(node.op, ast.USub) and inner.op == "value" and isinstance(inner.value, int | float):
            return Part("value", *self.where(node), -inner.value)
        raise self.refused(node, "no arithmetic here")

    def of_compare(self, node: ast.Compare, depth: int) -> Part:
        if len(node.ops) > 1:
            raise self.refused(node, "two comparisons in a row: join them with and")
        sign = _SIGNS.get(type(node.ops[0]))
        if sign is None:
            raise self.refused(node, "is: compare with ==")
        return Part(sign, *self.where(node), None, (self.part(node.left, depth), self.part(node.comparators[0], depth)))

    def of_call(self, node: ast.Call, depth: int) -> Part:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute):
            raise self.refused(node, f"no methods here: {checks.quoted(node.func.attr)}; there are {', '.join(FUNCTIONS)}")
        if name not in FUNCTIONS:
            raise self.refused(node, f"no such function{did_you_mean(name, [*FUNCTIONS])}; there are {', '.join(FUNCTIONS)}")
        if len(node.args) != 1 or node.keywords:
            raise self.refused(node, f"{name} takes one argument")
        only = node.args[0]
        looped = isinstance(only, ast.GeneratorExp) and name != "exists"
        inner = self.loop(only, depth) if looped and isinstance(only, ast.GeneratorExp) else self.part(only, depth)
        return Part("call", *self.where(node), name, (inner,))

    def loop(self, node: ast.GeneratorExp, depth: int) -> Part:
        one = node.generators[0]
        if len(node.generators) > 1 or len(one.ifs) > 1 or one.is_async or not isinstance(one.target, ast.Name):
            raise self.refused(node, "write X for a in LIST if Y, with one for and one if")
        name = one.target.id
        if name in CONTEXT or name in FUNCTIONS or name in CONSTANTS or name.startswith("_"):
            raise self.refused(one.target, f"{name} has a meaning already: take another name")
        parts = (node.elt, one.iter, *one.ifs)
        return Part("loop", *self.where(node), name, tuple(self.part(part, depth) for part in parts))


def literal(values: list[Any], text: str) -> Expression:
    """The expression that stands for a list of plain values."""
    return Expression(text, Part("list", 1, 1, None, tuple(Part("value", 1, 1, value) for value in values)), ())


def path(part: Part) -> str:
    """``output.findings[0].text`` for what reads just that; else empty."""
    if part.op == "name":
        return str(part.value)
    if part.op in ("field", "index"):
        base = path(part.parts[0])
        return base and (f"{base}.{part.value}" if part.op == "field" else f"{base}[{part.value}]")
    return ""


def _paths(part: Part, bound: frozenset[str]) -> Iterator[str]:
    said = path(part)
    if said:
        if re.split(r"[.\[]", said, maxsplit=1)[0] not in bound:
            yield said
        return
    if part.op == "loop":
        first, among, *conditions = part.parts
        yield from _paths(among, bound)
        for one in (first, *conditions):
            yield from _paths(one, bound | {part.value})
        return
    for one in part.parts:
        yield from _paths(one, bound)


# -- meaning ---------------------------------------------------------------------------------------------------------

Exists = Callable[[str], bool]


def evaluate(expression: Expression, names: Mapping[str, Any], exists: Exists) -> Any:
    """The value of ``expression``: plain JSON values of ``names``, or made of them; what is not there is null."""
    return _Evaluation(names, exists).value(expression.root)


def decide(expression: Expression, names: Mapping[str, Any], exists: Exists) -> tuple[bool, dict[str, Any]]:
    """Whether ``expression`` is true, and what it looked at by path; `EvalError` where it is neither true nor false."""
    run = _Evaluation(names, exists)
    found = run.boolean(expression.root, "a rule")
    return found, run.seen


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: ``1`` and ``1.0`` are, ``1`` and ``true`` are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _less(one: Any, other: Any) -> bool:
    """Whether the first comes before; false of what has no order together."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    return bool(one < other) if numbers or (isinstance(one, str) and isinstance(other, str)) else False


def _among(one: Any, many: Any) -> bool:
    """Whether a list has the value, or a text the text."""
    if isinstance(many, str):
        return isinstance(one, str) and one in many
    if not isinstance(many, list):
        return False
    return one in many if isinstance(one, str) else any(same(one, other) for other in many)


COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "==": same,
    "!=": lambda one, other: not same(one, other),
    "<": _less,
    ">": lambda one, other: _less(other, one),
    "<=": lambda one, other: _less(one, other) or (_is_ordered(one) and same(one, other)),
    ">=": lambda one, other: _less(other, one) or (_is_ordered(one) and same(one, other)),
    "in": _among,
    "not in": lambda one, many: not _among(one, many),
}
"""What each sign means, of any two values."""


def _is_ordered(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


class _Evaluation:
    """One walk over an expression's parts."""

    def __init__(self, names: Mapping[str, Any], exists: Exists) -> None:
        self.names, self.exists = names, exists
        self.bound: dict[str, Any] = {}
        self.seen: dict[str, Any] = {}
        self.steps = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > STEPS:
            raise EvalError(f"it looked at more than {STEPS} values: loop over less")

    def value(self, part: Part) -> Any:
        self.spend(1)
        if part.op == "value":
            return part.value
        if part.op in ("name", "field", "index"):
            return self.read(part)
        if part.op == "list":
            return [self.value(one) for one in part.parts]
        if part.op in ("and", "or"):
            wanted = part.op == "or"
            return next((wanted for one in part.parts if self.boolean(one, part.op) is wanted), not wanted)
        if part.op == "not":
            return not self.boolean(part.parts[0], "not")
        if part.op == "call":
            return self.call(part)
        one, other = map(self.value, part.parts)
        self.spend(sum(len(value) // 64 for value in (one, other) if isinstance(value, str | list)))
        return COMPARED[part.op](one, other)

    def boolean(self, part: Part, what: str) -> bool:
        value = self.value(part)
        if not isinstance(value, bool):
            where = path(part) or "what stands there"
            raise EvalError(f"{what} needs true or false: {where} is {checks.shown(value)} (column {part.column})")
        return value

    def read(self, part: Part) -> Any:
        value = self.walk(part)
        said = path(part)
        if said and re.split(r"[.\[]", said, maxsplit=1)[0] not in self.bound:
            self.seen[said] = value
        return value

    def walk(self, part: Part) -> Any:
        if part.op == "name":
            return self.bound[part.value] if part.value in self.bound else self.names.get(part.value)
        if part.op not in ("field", "index"):
            return self.value(part)
        base = self.walk(part.parts[0])
        if part.op == "index":
            return base[part.value] if isinstance(base, list | tuple) and part.value < len(base) else None
        return base[part.value] if isinstance(base, Mapping) and part.value in base else None

    def call(self, part: Part) -> Any:
        name, only = part.value, part.parts[0]
        if name == "exists":
            value = self.value(only)
            return isinstance(value, str) and self.exists(value)
        if name == "len" and only.op != "loop":
            value = self.value(only)
            return 0 if value is None else len(value) if isinstance(value, str | list) else None
        if name == "len":
            return sum(1 for _ in self.items(only))
        outer = self.bound
        found = (self.boolean(only.parts[0], name) for _ in self.items(only)) if only.op == "loop" else self.booleans(only, name)
        value = sum(found) if name == "count" else any(found) if name == "any" else all(found)
        self.bound = outer  # any and all may have stopped in the midst of a loop
        return value

    def booleans(self, part: Part, name: str) -> Iterator[bool]:
        """The elements of a list, each true or false."""
        for value in self.listed(part):
            if not isinstance(value, bool):
                raise EvalError(f"{name} needs true or false: {checks.shown(value)} is an element (column {part.column})")
            yield value

    def items(self, loop: Part) -> Iterator[Any]:
        """The items of a loop that its condition takes, each bound to its name while it is looked at."""
        outer = self.bound
        for item in self.listed(loop.parts[1]):
            self.spend(1)
            self.bound = {**outer, loop.value: item}
            if all(self.boolean(one, "if") for one in loop.parts[2:]):
                yield item
            self.bound = outer
        self.bound = outer

    def listed(self, part: Part) -> list[Any]:
        value = self.value(part)
        return value if isinstance(value, list) else []
