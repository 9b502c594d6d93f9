"""The operations of the journal have one table, which the package and ``docs/format.md`` follow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from conftest import CHECKOUT
from mbox.format import operations

PACKAGE = CHECKOUT / "mailbox/mbox"
TABLE = {name: value for name, value in vars(operations).items() if name.isupper() and isinstance(value, str)}
NOUNS = {name for name, value in TABLE.items() if value.endswith(".")}
OPERATIONS = {value for name, value in TABLE.items() if name not in NOUNS}
SHAPE = re.compile(r"(?:mail|task|reserve|agent|team|store)\.(?:[a-z-]+)?")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the package but the table."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "operations.py":
            yield path.relative_to(PACKAGE), ast.parse(path.read_text(encoding="utf-8"))


def spelt(tree: ast.Module) -> list[str]:
    """Operations that stand in a module as text, whole or as the beginning of one."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [str(text) for text in texts if isinstance(text, str) and SHAPE.fullmatch(text)]


def test_a_name_is_what_it_says() -> None:
    """Each constant is named for its value, no two have one value, and the groups are of operations."""
    assert all(value.rstrip(".").upper().replace(".", "_").replace("-", "_") == name for name, value in TABLE.items())
    assert len(OPERATIONS) == len(TABLE) - len(NOUNS)
    for group in (operations.SENDING, operations.BY_HOLDER, operations.BY_REVIEWER):
        assert set(group) <= OPERATIONS


def test_no_other_module_spells_an_operation() -> None:
    """What is recorded, refused, asked of the index or looked for in the journal comes from the table."""
    assert {str(path): found for path, tree in trees() if (found := spelt(tree))} == {}


def test_a_spelt_operation_is_found() -> None:
    """The check sees a literal, and the beginning of one that is put together."""
    assert spelt(ast.parse('tx.record("task.done", [])')) == ["task.done"]
    assert spelt(ast.parse('verb = f"task.{word}"')) == ["task."]


def test_every_record_is_named_by_the_table() -> None:
    """Every operation is used somewhere, and nothing asks the table for what is not there."""
    used = {
        node.attr
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "operations"
    }
    groups = {name for name in vars(operations) if name.isupper()} - set(TABLE)
    grouped = {name for name, value in TABLE.items() for group in groups & used if value in getattr(operations, group)}
    assert used <= set(TABLE) | groups
    assert set(TABLE) - NOUNS == (used | grouped) - NOUNS - groups


def test_the_page_of_the_format_lists_them_all() -> None:
    """The operations in ``docs/format.md`` are those of the table."""
    text = (CHECKOUT / "docs/format.md").read_text(encoding="utf-8")
    journal = text.partition("## The journal")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `([a-z]+)\.` \| (.*) \|$", journal, re.M)
    assert {f"{noun}.{verb}" for noun, verbs in said for verb in re.findall(r"`([a-z-]+)`", verbs)} == OPERATIONS
