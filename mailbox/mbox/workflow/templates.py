"""Templates: the texts of ``prompt message title body subject thread ask with env branch worktree``.  Pure functions, by jinja2.

Promised: a template reads plain values, and nothing of Python: a name, a field or an index of what it is given, never an
attribute or a method; what it puts in is text, and no template again.  `parse` takes a closed list of jinja2's parts and raises
`Mistake` with the line; `render` raises `Usage` for what is not there and where it becomes too much.
Not promised: that a name exists when it renders (`lint` sees to that, by `Template.reads`).

What it costs is bounded thus.  Calls, arithmetic, ``~``, assignments, macros, includes, imports and blocks are not in the
list, so that nothing multiplies, and constants are not worked out; depth is at most `DEEPEST`; every item of a loop, every
filter and all that is put in spend of one `_Fuel` (the loops are rewritten, before they are compiled, to go through a filter
that no template can name), and past `MOST` it ends.

jinja2 is imported here only, and where a template is read or rendered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from mbox.errors import Usage, did_you_mean
from mbox.format import checks

from .expressions import COMPARED, CONTEXT, Mistake

LONGEST = 64 * 1024
"""Characters of a template."""

MOST = 1_000_000
"""What a rendering may spend: a unit for each item of a loop, and for each character that is put in or made by a filter."""

DEEPEST = 16
"""Levels of a template's parts in each other."""

FILTERS = ("tojson", "join", "length", "default", "map")
TESTS = ("defined", "none")
ITEM = -1
"""In a path: an item of a list, whichever."""

LOOP = ("index", "index0", "first", "last", "length")
"""What a loop knows of itself."""

_SPENT, _COMPARE = " spent", " compare"  # filters and a name that no template can say
_FUEL = " fuel"

Path = tuple[str | int, ...]


class Read(NamedTuple):
    """A value that a template reads: ``("steps", "review", "output", "findings", ITEM, "text")``.

    ``certain`` are paths that are there, and not empty, where it is read (``{% if steps.review %}``); ``use`` is ``list`` where
    it must be one, ``size`` where it must have a length.  ``name`` is how the first ``bound`` steps of the path are called, where
    that is the name of a loop.
    """

    path: Path
    line: int
    certain: frozenset[Path]
    use: str = ""
    name: str = ""
    bound: int = 0

    def said(self, end: int | None = None) -> str:
        """The path, or its first ``end`` steps, as it is written in the template."""
        path = self.path[:end]
        if self.name and len(path) >= self.bound:
            return dotted((self.name, *path[self.bound :]))
        return dotted(path)


class Template(NamedTuple):
    """A template: its text, the dotted paths that it reads, each reading, and whether it is one ``{{ … }}`` alone."""

    text: str
    names: tuple[str, ...]
    reads: tuple[Read, ...]
    is_value: bool

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to put in."""
        return not self.reads and "{" not in self.text


def parse(text: str) -> Template:
    """The template that ``text`` is; `Mistake` says where it is none, and the mend."""
    if len(text) > LONGEST:
        raise Mistake(f"a template of {len(text)} characters: at most {LONGEST}")
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return Template(text, (), (), False)
    tree = _tree(text)
    reads = tuple(dict.fromkeys(_Walk(text).readings(tree)))
    names = tuple(dict.fromkeys(dotted(read.path) for read in reads))
    _compiled(text)
    return Template(text, names, reads, _only_value(text, tree) is not None)


def dotted(path: Path) -> str:
    """``output.findings[0].text``."""
    steps = ("[]" if step == ITEM else f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps)[1:]


def render(template: Template, names: Mapping[str, Any]) -> str:
    """The text with everything put in: texts as they are, other values as JSON."""
    if template.is_plain:
        return template.text
    fuel = _Fuel()
    return "".join(_run(template.text, names, fuel))


def value(template: Template, names: Mapping[str, Any]) -> Any:
    """As `render`; of one ``{{ … }}`` and nothing else the value itself."""
    if not template.is_value:
        return render(template, names)
    fuel = _Fuel()
    list(_run(template.text, names, fuel))
    return fuel.last


def _run(text: str, names: Mapping[str, Any], fuel: _Fuel) -> Iterator[str]:
    import jinja2

    given = {name: names[name] for name in CONTEXT if name in names}
    given["steps"] = _Ran(given.get("steps") or {})
    try:
        yield from _compiled(text).generate({**given, _FUEL: fuel})
    except jinja2.UndefinedError as error:
        raise Usage(f"{checks.one_line(error.message or error, 200)} (line {_line_of(error)})") from None
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, RecursionError) as error:
        raise Usage(f"{checks.one_line(error, 200)} (line {_line_of(error)})") from None


def _line_of(error: BaseException) -> int:
    """The line of the template in which an error was raised: jinja2 rewrites the trace for that."""
    trace, line = error.__traceback__, 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


class _Fuel:
    """What one rendering has spent, and the last value that it put in."""

    def __init__(self) -> None:
        self.spent = 0
        self.last: Any = None

    def spend(self, units: int) -> None:
        self.spent += units
        if self.spent > MOST:
            raise Usage(f"the text becomes too much: it may take {MOST} characters and items; put in less")


class _Ran(dict[str, Any]):
    """The steps that ran: one that did not is null."""

    def __init__(self, steps: Mapping[str, Any]) -> None:
        super().__init__()
        self.steps = steps

    def __missing__(self, name: str) -> Any:
        return self.steps.get(name)


def as_text(value: Any) -> str:
    """How a value stands in a text: a text as it is, another as JSON."""
    return value if isinstance(value, str) else json.dumps(_listed(value), ensure_ascii=False)


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


# -- reading a template ----------------------------------------------------------------------------------------------


def _tree(text: str) -> Any:
    import jinja2

    try:
        tree = _environment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        line = min(error.lineno, text.count("\n") + 1)
        raise Mistake(f"not a template: {checks.one_line(error.message or '', 160)}", line) from None
    except (RecursionError, MemoryError, ValueError, OverflowError):
        raise Mistake("nested too deep: say it in parts") from None
    _check(tree)
    return tree


_TAKEN = frozenset(
    ["Template", "Output", "TemplateData", "Const", "Name", "Getattr", "Getitem", "List", "And", "Or", "Not", "Compare",
     "Operand", "CondExpr", "If", "For", "Filter", "Test", "Keyword"]
)  # fmt: skip
_MENDS = {
    "Call": "nothing is called in a template; filters are written x | join(', ')",
    "Assign": "nothing is set in a template", "AssignBlock": "nothing is set in a template",
    "Macro": "no macros here", "CallBlock": "no macros here", "FilterBlock": "a filter stands in {{ }}",
    "Include": "nothing is included: persona, policy and knowledge name files", "Import": "nothing is imported",
    "FromImport": "nothing is imported", "Extends": "nothing is extended", "Block": "no blocks here",
    "Concat": "write two {{ }} beside each other", "Dict": "no mappings here", "Tuple": "write a list: [a, b]",
}  # fmt: skip


def _check(tree: Any) -> None:
    """`Mistake` for a part that is not in the list, or stands too deep."""
    level, depth = [tree], 0
    while level:
        if depth > 4 * DEEPEST:
            raise Mistake("nested too deep: say it in parts", level[0].lineno or 1)
        for node in level:
            kind = type(node).__name__
            if kind not in _TAKEN:
                raise Mistake(_MENDS.get(kind, f"{kind}: not in the grammar of templates"), node.lineno or 1)
            _check_one(node, kind)
        level = [child for node in level for child in node.iter_child_nodes()]
        depth += 1
    _check_blocks(tree, 0)


def _check_blocks(node: Any, depth: int) -> None:
    depth += type(node).__name__ in ("If", "For")
    if depth > DEEPEST:
        raise Mistake(f"over {DEEPEST} blocks in each other: say it in parts", node.lineno or 1)
    for child in node.iter_child_nodes():
        _check_blocks(child, depth)


def _check_one(node: Any, kind: str) -> None:
    line = node.lineno or 1
    if kind in ("Filter", "Test"):
        taken = FILTERS if kind == "Filter" else TESTS
        if node.name not in taken:
            near = did_you_mean(node.name, [*taken]) or f"; there are {', '.join(taken)}"
            raise Mistake(f"no such {kind.lower()}: {checks.shown(node.name)}{near}", line)
        if node.dyn_args is not None or node.dyn_kwargs is not None or node.node is None:
            raise Mistake(f"{node.name} takes plain arguments", line)
        words = [one.key for one in node.kwargs]
        mapped = words == ["attribute"] and not node.args and _is_field(node.kwargs[0].value)
        fits = {"map": mapped, "join": len(node.args) <= 1, "default": len(node.args) == 1}
        if not fits.get(node.name, not node.args) or (words and node.name != "map"):
            right = {"map": "map(attribute='name')", "join": "join(', ')", "default": "default('none')"}.get(node.name, node.name)
            raise Mistake(f"write {right}", line)
    if kind in ("Getattr", "Name") and (node.attr if kind == "Getattr" else node.name).startswith("_"):
        raise Mistake("no name begins with _", line)
    if kind == "For" and (type(node.target).__name__ != "Name" or node.recursive or node.target.name in (*CONTEXT, "loop")):
        raise Mistake("write {% for x in LIST %}, with a name that has no meaning yet", line)
    if kind == "Getitem" and not (type(node.arg).__name__ == "Const" and _is_key(node.arg.value)):
        raise Mistake("in [] stands a number from 0 on, or a text", line)
    if kind == "Compare" and len(node.ops) > 1:
        raise Mistake("two comparisons in a row: join them with and", line)
    if kind == "CondExpr" and node.expr2 is None:
        raise Mistake("X if Y else Z: say the else", line)
    listed = node.iter if kind == "For" else node.node if kind == "Filter" and node.name in ("join", "map") else None
    if listed is not None and not _may_be_list(listed):
        raise Mistake("a list is needed here: a value, [a, b], or what map makes", line)


def _is_field(node: Any) -> bool:
    return type(node).__name__ == "Const" and isinstance(node.value, str) and not node.value.startswith("_")


def _is_key(value: Any) -> bool:
    return isinstance(value, str) or (type(value) is int and value >= 0)


def _may_be_list(node: Any) -> bool:
    kind = type(node).__name__
    return kind in ("Name", "Getattr", "Getitem", "List") or (kind == "Filter" and node.name == "map")


class _Walk:
    """Every value that a template reads, with what is certain where it is read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def readings(self, tree: Any) -> Iterator[Read]:
        yield from self.of(tree, {}, frozenset())

    def of(self, node: Any, bound: dict[str, Path | None], certain: frozenset[Path]) -> Iterator[Read]:
        kind = type(node).__name__
        if kind in ("Name", "Getattr", "Getitem"):
            yield from self.path(node, bound, certain)
        elif kind in ("If", "CondExpr"):
            yield from self.of(node.test, bound, certain)
            yes, no = self.when(node.test, bound, True), self.when(node.test, bound, False)
            first, others = (node.body, [*node.elif_, *node.else_]) if kind == "If" else ([node.expr1], [node.expr2])
            for some, more in ((first, yes), (others, no)):
                for one in some:
                    if one is not None:
                        yield from self.of(one, bound, certain | more)
        elif kind in ("And", "Or"):
            yield from self.of(node.left, bound, certain)
            yield from self.of(node.right, bound, certain | self.when(node.left, bound, kind == "And"))
        elif kind == "For":
            yield from self.loop(node, bound, certain)
        elif kind == "Filter":
            yield from self.filtered(node, bound, certain)
        else:
            for child in node.iter_child_nodes():
                yield from self.of(child, bound, certain)

    def filtered(self, node: Any, bound: dict[str, Path | None], certain: frozenset[Path]) -> Iterator[Read]:
        use = {"join": "list", "map": "list", "length": "size"}.get(node.name, "")
        yield from self.used(node.node, bound, certain, use)
        base = self.named(node.node, bound)
        if node.name == "map" and base:
            yield Read((*base, ITEM, node.kwargs[0].value.value), node.lineno, certain)
        for one in node.args:
            yield from self.of(one, bound, certain)

    def used(self, node: Any, bound: dict[str, Path | None], certain: frozenset[Path], use: str) -> Iterator[Read]:
        """The readings of ``node``, which itself must be of that ``use``."""
        mine = self.named(node, bound)
        for read in self.of(node, bound, certain):
            yield read._replace(use=use) if read.path == mine else read

    def loop(self, node: Any, bound: dict[str, Path | None], certain: frozenset[Path]) -> Iterator[Read]:
        yield from self.used(node.iter, bound, certain, "list")
        among = self.named(node.iter, bound)
        inner = {**bound, node.target.name: (*among, ITEM) if among else None, "loop": None}
        if node.test is not None:
            yield from self.of(node.test, inner, certain)
        more = self.when(node.test, inner, True) if node.test is not None else frozenset[Path]()
        for one in node.body:
            yield from self.of(one, inner, certain | more)
        for one in node.else_:
            yield from self.of(one, bound, certain)

    def path(self, node: Any, bound: dict[str, Path | None], certain: frozenset[Path]) -> Iterator[Read]:
        root = node
        while type(root).__name__ in ("Getattr", "Getitem"):
            root = root.node
        if type(root).__name__ != "Name":
            raise Mistake("a field is read of a name: inputs.goal", node.lineno)
        found = self.named(node, bound)
        if found:
            alias = bound.get(root.name)
            yield Read(found, node.lineno, certain, "", root.name if alias else "", len(alias or ()))
        elif root.name == "loop":
            if not (node is not root and node.node is root and getattr(node, "attr", "") in LOOP):
                raise Mistake(f"of loop there is loop.{', loop.'.join(LOOP)}", node.lineno)
        elif node is not root:
            raise Mistake(f"{root.name} has no fields that are known: loop over a value, as in steps.a.output.list", node.lineno)

    def named(self, node: Any, bound: Mapping[str, Path | None]) -> Path | None:
        """The path that a node reads, by way of the names of loops; None for another."""
        kind = type(node).__name__
        if kind == "Name":
            return bound.get(node.name, (node.name,))
        if kind == "Filter" and node.name == "default":
            return None
        base = self.named(node.node, bound) if kind in ("Getattr", "Getitem") else None
        return (*base, node.attr if kind == "Getattr" else node.arg.value) if base else None

    def when(self, test: Any, bound: Mapping[str, Path | None], holds: bool) -> frozenset[Path]:
        """The paths that are surely there where ``test`` holds, or does not; what a path begins with is there too."""
        kind = type(test).__name__
        if kind == "Not":
            return self.when(test.node, bound, not holds)
        if kind == ("And" if holds else "Or"):
            return self.when(test.left, bound, holds) | self.when(test.right, bound, holds)
        if kind == "Test" and not holds and test.name == "none":
            test, holds, kind = test.node, True, type(test.node).__name__
        if kind == "Compare" and holds and len(test.ops) == 1 and test.ops[0].op == "eq":
            other = test.ops[0].expr
            if type(other).__name__ == "Const" and other.value is not None:
                test, kind = test.expr, type(test.expr).__name__
        path = self.named(test, bound) if holds and kind in ("Name", "Getattr", "Getitem") else None
        if path is None:
            return frozenset()
        there = {path[:end] for end in range(1, len(path) + 1)}
        if len(path) == 5 and path[0] == "steps" and path[2:] == ("output", ITEM, "ok"):
            there.add((*path[:4], "output"))  # an item of `each` that is ok has its output
        return frozenset(there)


def _only_value(text: str, tree: Any) -> Any:
    """The one expression that the template is; None for another."""
    if len(tree.body) != 1 or type(tree.body[0]).__name__ != "Output" or len(tree.body[0].nodes) != 1:
        return None
    only = tree.body[0].nodes[0]
    return only if type(only).__name__ != "TemplateData" and text.startswith("{{") and text.endswith("}}") else None


# -- jinja2 ----------------------------------------------------------------------------------------------------------


@cache
def _environment() -> Any:
    """The environment: jinja2's immutable sandbox, in which every look at a value is by key or index."""
    import jinja2
    from jinja2.runtime import LoopContext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Plain(ImmutableSandboxedEnvironment):
        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, LoopContext) and attribute in LOOP:
                return getattr(obj, attribute)
            return self.getitem(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            if isinstance(obj, Mapping) and isinstance(argument, str):
                try:
                    return obj[argument]
                except KeyError:
                    pass
            if isinstance(obj, list | tuple) and type(argument) is int:
                return obj[argument] if argument < len(obj) else None
            return self.undefined(obj=obj, name=argument, hint=f"{argument} is not there: {checks.shown(_listed(obj))} has none")

    made = Plain(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False, cache_size=0)
    made.globals.clear()
    made.filters.clear()
    made.tests = {name: made.tests[name] for name in TESTS}
    made.filters.update(_filters())
    made.finalize = jinja2.pass_context(_put_in)
    return made


def _fuel(context: Any) -> _Fuel:
    found: _Fuel = context.resolve(_FUEL)
    return found


def _put_in(context: Any, value: Any) -> str:
    """What is put in for ``value``; one that is not there raises."""
    fuel = _fuel(context)
    fuel.last = _sound(value)
    text = as_text(value)
    fuel.spend(1 + len(text))
    return text


def _sound(value: Any) -> Any:
    """``value``, if it is there."""
    from jinja2 import StrictUndefined

    if isinstance(value, StrictUndefined):
        str(value)  # raises, and says what is missing
    return value


def _filters() -> dict[str, Any]:
    from jinja2 import StrictUndefined, pass_context

    def spent(context: Any, value: Any) -> Iterator[Any]:
        fuel = _fuel(context)
        for one in _sound(value) if isinstance(value, list | tuple | StrictUndefined) else _no_list(value):
            fuel.spend(1)
            yield one

    def tojson(context: Any, value: Any) -> str:
        text = json.dumps(_listed(_sound(value)), ensure_ascii=False)
        _fuel(context).spend(1 + len(text))
        return text

    def join(context: Any, value: Any, between: str = "") -> str:
        parts = [as_text(one) for one in (value if isinstance(value, list | tuple) else _no_list(_sound(value)))]
        _fuel(context).spend(1 + sum(map(len, parts)) + len(parts) * len(as_text(between)))
        return as_text(between).join(parts)

    def mapped(context: Any, value: Any, attribute: str) -> list[Any]:
        items = value if isinstance(value, list | tuple) else _no_list(_sound(value))
        _fuel(context).spend(1 + len(items))
        return [context.environment.getitem(one, attribute) for one in items]

    def length(context: Any, value: Any) -> int:
        _fuel(context).spend(1)
        return len(value) if isinstance(value, str | list | tuple | Mapping) else len(_no_list(_sound(value)))

    def default(context: Any, value: Any, otherwise: Any) -> Any:
        _fuel(context).spend(1)
        return otherwise if value is None or isinstance(value, StrictUndefined) else value

    def compare(context: Any, value: Any, sign: str, other: Any) -> bool:
        _fuel(context).spend(1)
        return COMPARED[_SIGNS[sign]](_sound(value), _sound(other))

    made = {_SPENT: spent, _COMPARE: compare, "tojson": tojson, "join": join, "map": mapped, "length": length, "default": default}
    return {name: pass_context(one) for name, one in made.items()}  # type: ignore[type-var]


_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">=", "in": "in", "notin": "not in"}


def _no_list(value: Any) -> list[Any]:
    """Null is as an empty list; anything else is none."""
    if value is None:
        return []
    raise Usage(f"a list is needed here, not {checks.shown(value)}")


@lru_cache(maxsize=256)
def _compiled(text: str) -> Any:
    """The program that jinja2 makes of a template: loops go through the filter that spends, comparisons mean what they do in
    expressions, and so never fail.
    """
    from jinja2 import nodes

    environment = _environment()
    tree = _tree(text)
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _SPENT, [], [], None, None, lineno=loop.iter.lineno)
    tree = _compared(tree)
    try:
        return environment.from_string(tree)
    except (SyntaxError, RecursionError, MemoryError):
        raise Mistake("too much in one template: say it in parts") from None


def _compared(tree: Any) -> Any:
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    class Compared(NodeTransformer):
        def visit_Compare(self, node: Any) -> Any:
            self.generic_visit(node)
            (only,) = node.ops
            sign = nodes.Const(only.op, lineno=node.lineno)
            return nodes.Filter(node.expr, _COMPARE, [sign, only.expr], [], None, None, lineno=node.lineno)

    return Compared().visit(tree)
