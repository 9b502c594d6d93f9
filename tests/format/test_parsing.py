"""YAML that nobody vouches for: every value with its place, every refusal with file, line and column, nothing costs more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbox.errors import Usage
from mbox.format import parsing
from mbox.format.parsing import Place, PlacedList, PlacedMapping, yaml_document

PACKAGE = Path(parsing.__file__).parents[1]

TEXT = """\
# a comment
name: é x
steps:
  - {id: a, ids: [1, 2]}
  - id: b
    note: |
      long
"""


def test_every_key_and_item_has_its_place() -> None:
    """Keys, their values and items of lists, in block and in flow style; lines and columns count from 1, in characters."""
    top, start = yaml_document(TEXT, "f.yaml")
    assert top == {"name": "é x", "steps": [{"id": "a", "ids": [1, 2]}, {"id": "b", "note": "long\n"}]}
    assert start == top.start == Place("f.yaml", 2, 1)
    assert (top.key_at["steps"], top.at["steps"]) == (Place("f.yaml", 3, 1), Place("f.yaml", 4, 3))
    steps = top["steps"]
    assert steps.at == [Place("f.yaml", 4, 5), Place("f.yaml", 5, 5)]
    assert steps[0].key_at["ids"][1:] == (4, 13)
    assert [str(place) for place in steps[0]["ids"].at] == ["f.yaml:4:19", "f.yaml:4:22"]
    assert (steps[1].key_at["note"][1:], steps[1].at["note"][1:]) == ((6, 5), (6, 11))


def test_an_alias_stands_where_it_is_written() -> None:
    """What it stands for knows its own place; the place of the value is the alias's."""
    top, _ = yaml_document("a: &x [1]\nb: *x\n", "f.yaml")
    assert top["b"] is top["a"]
    assert (top.at["a"][1:], top.at["b"][1:]) == ((1, 4), (2, 4))


def test_spelled_scalars_are_what_stands_there() -> None:
    """Words that YAML takes for something else stay words, keys too; what is nothing is None."""
    text = "a: on\nb: [1_0, 12:30, 2026-01-14, '5']\nyes: ~\nc:\n"
    assert yaml_document(text, "f.yaml", spelled=True)[0] == {
        "a": "on", "b": ["1_0", "12:30", "2026-01-14", "5"], "yes": None, "c": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_nothing_is_none_at_the_start(text: str) -> None:
    """A file without a document is None, not an error."""
    assert yaml_document(text, "f.yaml") == (None, Place("f.yaml", 1, 1))


@pytest.mark.parametrize("spelled", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "4:3: 'c' stands twice in one mapping: take one of the two out"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document: a file is one"),
        ("a: !!set {x}\n", "1:4: tag 'tag:yaml.org,2002:set': take it out"),
        ("a: [*b]\n", "1:5: alias *b stands for nothing before it"),
        ("a: {[1]: 2}\n", "1:5: a key must be text, not a list"),
        ("a:\n\t- b\n", "2:1: not YAML: "),
        ("a: é\x01\n", "1:5: not YAML: "),
        ("a: 'open\n", ": not YAML: "),
        ("a: " + "[" * 5000, ": nested deeper than 64"),
        ("a: " + "[" * 70 + "]" * 70, "1:68: nested deeper than 64"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str, said: str, spelled: bool) -> None:
    """One line: file, line, column, what is wrong; the file's name cannot break it."""
    with pytest.raises(Usage) as error:
        yaml_document(text, "f\n.yaml", spelled=spelled)
    assert said in str(error.value)
    assert re.match(r"f\\n\.yaml:[0-9]+:[0-9]+: ", str(error.value))
    assert "\n" not in str(error.value)


def test_aliases_can_be_refused_with_a_mend() -> None:
    """Where a file is edited by program, an alias would change in two places."""
    with pytest.raises(Usage, match=r"f.yaml:2:4: aliases \(\*name\) are not taken here: write it out"):
        yaml_document("a: &x 1\nb: *x\n", "f.yaml", aliases="write it out")


def test_the_parser_in_python_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the one in C the values and places are the same."""
    fast = yaml_document(TEXT, "f.yaml")
    monkeypatch.delattr(yaml, "CSafeLoader")
    slow = yaml_document(TEXT, "f.yaml")
    assert _with_places(fast[0]) == _with_places(slow[0])
    with pytest.raises(Usage, match=r"f.yaml:1:5: not YAML: "):
        yaml_document("a: é\x01\n", "f.yaml")


def _with_places(value: Any) -> Any:
    if isinstance(value, PlacedMapping):
        return value.start, value.key_at, value.at, {key: _with_places(item) for key, item in value.items()}
    return (value.start, value.at, [*map(_with_places, value)]) if isinstance(value, PlacedList) else value


def test_nobody_else_reads_yaml() -> None:
    """PyYAML's loaders are named in one module: what they take and how it is refused is decided once."""
    loads = re.compile(r"yaml\.(load|safe_load|compose|parse|scan)\w*\(|yaml\.\w*Loader")
    assert {path.name for path in PACKAGE.rglob("*.py") if loads.search(path.read_text(encoding="utf-8"))} == {"parsing.py"}


# ---- YAML 1.2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("yes", "yes"), ("on", "on"), ("12:30", "12:30"), ("2001-12-14", "2001-12-14"), ("1_000", "1_000"), ("true", True),
    ("False", False),
     ("010", 10), ("0o17", 15), ("0x1F", 31), ("-3", -3), ("1e3", 1000.0), (".5", 0.5), ("~", None), ("", None), ("'1'", "1"),
      ("+-1", "+-1"),
     ("!!str 3", "3"), ("=", "="), ("<<", "<<"), ("0b1", "0b1"), ("Yes", "Yes"), ("nULL", "nULL")],
)  # fmt: skip
def test_the_core_schema(text: str, wanted: Any) -> None:
    """A plain scalar of 1.2 is what its core schema says, and nothing that 1.1 made of it."""
    top, _ = yaml_document(f"k: {text}\n", "f.yaml", core=True)
    assert top["k"] == wanted and type(top["k"]) is type(wanted)


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: !x 1", "1:4: YAML reads '1' as !x"), ("%YAML 1.1\n---\na: 1", "1:1: a directive"), ("a: 1\n%TAG ! x",
    "2:1: a directive"),
     ("a: *x", "1:4: alias *x stands for nothing"), ("a: 1\na: 2", "2:1: 'a' stands twice"), ("a: [", "1:5: not YAML"),
      ("a:\t- b", "not YAML"),
     ("a: 1\n---\nb: 2", "2:1: a second document"), ("? [a]\n: 1", "1:3: a key must be text"), ("1: a",
      "1:1: the key 1 is not text"),
     ("a: \x07", "1:4: not YAML"), ("a: " + "[" * 100, "nested deeper"), ("a: !!int x", "1:4: 'x' is no int"),
      ("a: " + "9" * 5000, "digits")],
)  # fmt: skip
def test_what_1_2_refuses(text: str, says: str) -> None:
    """With the bounds, places and words of 1.1."""
    with pytest.raises(Usage) as told:
        yaml_document(text, "f.yaml", core=True)
    assert says in str(told.value) and str(told.value).startswith("f.yaml:")


def test_both_readers_find_the_same_places() -> None:
    """What means the same in both versions is the same, with the same places."""
    old, new = yaml_document(TEXT, "f.yaml"), yaml_document(TEXT, "f.yaml", core=True)
    assert old == new and old[0].at == new[0].at and old[0]["steps"][0].key_at == new[0]["steps"][0].key_at
    top, _ = yaml_document("a: &x [1]\nb: *x\n", "f.yaml", core=True)
    assert top == {"a": [1], "b": [1]}
