"""The README's picture is made by `scripts/picture` from a real run; what is printed becomes text, whatever it says."""

from __future__ import annotations

import runpy
import sys
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run

HOSTILE = "</text><script>alert(1)</script> & \" ' ]]> \x1b[31mred\x1b[0m \x07\x00\u202e"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The names of the script."""
    return runpy.run_path(str(CHECKOUT / "scripts/picture"))


def words(svg: str) -> list[str]:
    """The text of a picture, line by line."""
    page = xml.dom.minidom.parseString(svg)
    assert {node.tagName for node in page.getElementsByTagName("*")} == {"svg", "rect", "g", "text"}
    lines: dict[str, str] = {}
    for node in page.getElementsByTagName("text"):
        lines[node.getAttribute("y")] = lines.get(node.getAttribute("y"), "") + getattr(node.firstChild, "data", "")
    return list(lines.values())


def test_the_picture_shows_a_real_run(run: Run, tmp_path: Path) -> None:
    """Made anew it says what the one in docs/ says; the README shows that one."""
    made = tmp_path / "picture.svg"
    run(sys.executable, CHECKOUT / "scripts/picture", made, check=True)
    kept = (CHECKOUT / "docs/picture.svg").read_text(encoding="utf-8")
    assert words(made.read_text(encoding="utf-8")) == words(kept)
    assert "needs you" in words(kept) and "](docs/picture.svg)" in (CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_text_is_text(script: dict[str, Any]) -> None:
    """Markup is escaped, colours become colours, control and bidi characters are left out."""
    svg = script["drawn"](HOSTILE)
    assert words(svg) == ["</text><script>alert(1)</script> & \" ' ]]> red "]
    assert script["COLOURS"]["31"] in svg


def test_a_long_line_goes_on_below(script: dict[str, Any]) -> None:
    """As on a terminal of that width."""
    wide = script["COLUMNS"]
    assert words(script["drawn"]("x" * (2 * wide + 1))) == ["x" * wide, "x" * wide, "x"]
