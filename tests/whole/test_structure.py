"""The house: which module stands where, and which way the arrows point.  Read from the code and from docs/structure.md."""

from __future__ import annotations

import ast
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import CHECKOUT

Graph = dict[str, set[str]]

LONGEST = 46
"""Lines of a function at most."""


class House:
    """The modules below ``source``, a folder that holds ``mbox/``, and every import between them.

    Every import: as a module is loaded, inside a function, and under ``TYPE_CHECKING``.
    """

    def __init__(self, source: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.packages: set[str] = set()
        for path in sorted((source / "mbox").rglob("*.py")):
            name = ".".join(path.relative_to(source).with_suffix("").parts)
            if path.name == "__init__.py":
                name = name.removesuffix(".__init__")
                self.packages.add(name)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = {name: set(self._imports(name)) - {name, "mbox"} for name in self.trees}

    def _imports(self, name: str) -> Iterator[str]:
        at = name if name in self.packages else name.rpartition(".")[0]
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                yield from (self._module(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                parts = at.split(".")[: len(at.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*parts, *([node.module] if node.module else [])])
                yield from (self._module(f"{base}.{alias.name}") for alias in node.names)

    def _module(self, dotted: str) -> str:
        """The module of this house that an imported name stands in; ``mbox`` for none."""
        while dotted and dotted not in self.trees:
            dotted = dotted.rpartition(".")[0]
        return dotted or "mbox"

    def room(self, name: str) -> str:
        """The package directly below ``mbox`` that a module stands in; a module there is a room of its own."""
        return ".".join(name.split(".")[:2])

    def rooms(self) -> Graph:
        """The imports between packages."""
        found: Graph = defaultdict(set)
        for name, others in self.imports.items():
            if name != "mbox":
                found[self.room(name)] |= {self.room(other) for other in others} - {self.room(name)}
        return found


def circle(graph: Graph) -> list[str]:
    """One circle of ``graph``, as the way round it; empty if there is none."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            found = walk(other, [*way, node])
            if found:
                return found
        done.add(node)
        return []

    return next(filter(None, (walk(node, []) for node in sorted(graph))), [])


def levels(page: str) -> dict[str, int]:
    """The level of each package, by the list of levels on the page: 0 is the topmost."""
    listed = page.split("## Levels\n", 1)[1].split("```")[1].strip().splitlines()
    named = [re.findall(r"[a-z]+", line.partition("#")[0]) for line in listed]
    return {f"mbox.{name}": level for level, names in enumerate(named) for name in names}


def upwards(house: House, page: str) -> list[str]:
    """Every import that does not point downwards, from one package to another."""
    at = levels(page)
    return [
        f"{name} imports {other}"
        for name, others in house.imports.items()
        if name != "mbox"
        for other in sorted(others)
        if house.room(name) != house.room(other) and at[house.room(name)] >= at[house.room(other)]
    ]


@pytest.fixture(scope="module")
def house() -> House:
    """The house as it stands."""
    return House(CHECKOUT / "mailbox")


@pytest.fixture(scope="module")
def page() -> str:
    """The map for newcomers."""
    return (CHECKOUT / "docs/structure.md").read_text(encoding="utf-8")


def test_no_circle(house: House) -> None:
    """Neither files nor packages import each other round in a circle, also not inside functions or for types."""
    assert circle(house.imports) == []
    assert circle(house.rooms()) == []


def test_no_arrow_points_upwards(house: House, page: str) -> None:
    """A package imports only what stands below it in the list of levels, which names every package once."""
    assert sorted(levels(page)) == sorted({house.room(name) for name in house.trees if name != "mbox"})
    assert upwards(house, page) == []


PLANTED = [
    ("system/disk.py", "def planted() -> None:\n    from mbox.cli import main\n", "packages"),
    ("format/places.py", "if TYPE_CHECKING:\n    from mbox.store.store import Store\n", "packages"),
    ("mail/lookup.py", "def planted() -> None:\n    from . import sending\n", "files"),
    ("store/state.py", "from mbox.store import store as planted\n", "files"),
    ("git/plumbing.py", "import mbox.doctor.machine\n", "up"),
    ("mail/lookup.py", "def planted() -> None:\n    from mbox.tasks.graph import cycles\n", "up"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "text", "what"), PLANTED)
def test_a_planted_import_is_seen(tmp_path: Path, page: str, where: str, text: str, what: str) -> None:
    """At load, in a function, for types only: each of the three checks fails on what it is there for."""
    shutil.copytree(CHECKOUT / "mailbox", tmp_path / "mailbox", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "mailbox/mbox" / where, "a", encoding="utf-8") as file:
        file.write(f"\n\n{text}")
    planted = House(tmp_path / "mailbox")
    if what == "files":
        assert circle(planted.imports)
    elif what == "packages":
        assert circle(planted.rooms()) and upwards(planted, page)
    else:
        assert upwards(planted, page)


def test_few_modules_stand_outside_a_package(house: House) -> None:
    """Directly below ``mbox`` stand at most six modules, and packages are one level deep."""
    assert sum(name.count(".") == 1 and name not in house.packages for name in house.trees) <= 6
    assert max(name.count(".") for name in house.trees) == 2


def test_the_page_of_a_package_is_all_it_holds(house: House) -> None:
    """``__init__.py`` says what the package promises and what it does not, and imports nothing."""
    for name in house.packages - {"mbox"}:
        (only,) = house.trees[name].body
        text = ast.get_docstring(house.trees[name]) or ""
        assert isinstance(only, ast.Expr), name
        assert "Promised" in text and "Not promised" in " ".join(text.split()), name


def test_each_module_is_on_the_map(house: House, page: str) -> None:
    """The picture of the packages names every module that there is, in its package, and no other."""
    picture = page.split("## Packages\n", 1)[1].split("```")[1]
    named: dict[str, list[str]] = {}
    at = "mbox"
    for line in picture.strip().splitlines():
        head = re.match(r"^([a-z]+)/ +", line)
        at = f"mbox.{head[1]}" if head else at
        rest = line[head.end() :] if head else line
        named.setdefault(at, []).extend(re.findall(r"[a-z_]+", rest.partition("#")[0]))
    there: dict[str, list[str]] = {}
    for name in sorted(house.trees.keys() - house.packages):
        there.setdefault(name.rpartition(".")[0], []).append(name.rpartition(".")[2])
    assert {package: sorted(modules) for package, modules in named.items()} == there


def test_a_name_that_grep_finds(house: House) -> None:
    """No class name is given twice."""
    nodes = (node for tree in house.trees.values() for node in ast.walk(tree))
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_functions_fit_a_screen(house: House) -> None:
    """No function is longer than the screen of a person who reads it."""
    long = [
        f"{name}.{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for name, tree in house.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > LONGEST
    ]
    assert long == []


WRITES = frozenset(["disk", "renew_lease", "note_lease", "write_lease", "drop_index", "lock", "journal", "updates", "tables"])
"""What of a store changes something, or could."""


def decisions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Every function that is given a transaction."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(arg.arg == "tx" for arg in node.args.args):
            yield node


def test_a_decision_changes_nothing_behind_the_transactions_back(house: House) -> None:
    """Outside the store, what a decision does at once goes through a method of the transaction, also by a store it knows."""
    found = [
        f"{name}.{decision.name}: .{node.attr}"
        for name, tree in house.trees.items()
        if house.room(name) not in ("mbox.store", "mbox.index")
        for decision in decisions(tree)
        for node in ast.walk(decision)
        if isinstance(node, ast.Attribute) and node.attr in WRITES and not isinstance(node.ctx, ast.Store)
    ]
    assert found == []
