"""What a call says with ``--dry-run`` is what it does without: the answer and the exit status; and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clikit import Program
from kit import tree
from mbox.format import places
from mbox.opening import init

Call = Callable[[str], tuple[int, Any]]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """A call in a store with ann: its status, and what it prints, read as JSON."""

    def call(words: str) -> tuple[int, Any]:
        program, *rest = words.split()
        done = CliRunner().invoke(Program(program), [*rest, "--root", str(tmp_path), "-o", "json"])
        return done.exit_code, json.loads(done.stdout) if done.stdout else None

    init(str(tmp_path), here=True).store.close()
    call("mbox agent add ann")
    for name in "abcde":
        call(f"task add T --id {name}")
    yield call


def edited(path: Path) -> None:
    """A valid document that is not as the journal has it."""
    path.write_text(path.read_text(encoding="utf-8").replace('"T"', '"by hand"'), encoding="utf-8")


def damaged(path: Path) -> None:
    """No document."""
    path.write_bytes(b"{")


def foreign(path: Path) -> None:
    """A document that the journal does not know."""
    path.with_name("zz.json").write_bytes(path.read_bytes().replace(path.stem.encode(), b"zz"))


def alien(path: Path) -> None:
    """Not a file of the store's."""
    path.with_name("notes.txt").write_text("not a document", encoding="utf-8")


DEEDS = {"missing": Path.unlink, "damaged": damaged, "edited": edited, "foreign": foreign, "alien": alien}


@pytest.mark.parametrize("words", ["mbox doctor --repair", "mbox rebuild", "mbox rebuild --drop-edits"])
@pytest.mark.parametrize("done", [["missing"], ["damaged"], ["edited"], ["foreign"], ["alien"], [*DEEDS]], ids=str)
def test_what_mends(call: Call, tmp_path: Path, words: str, done: list[str]) -> None:
    """Repair and rebuild, each over what can be wrong with a document, alone and together."""
    for name, one in zip("abcde", done, strict=False):
        DEEDS[one](tmp_path / places.task(name))
    before = tree(tmp_path)
    tried = call(f"{words} --dry-run")
    assert tree(tmp_path) == before
    really = call(words)
    assert tried[0] == really[0]
    if words.startswith("mbox rebuild"):
        assert tried[1] == really[1]
    else:
        assert tried[1]["mended"] == really[1]["mended"]
        kinds = [[(one["kind"], one["path"]) for one in said[1].get("findings", ()) if one["bad"]] for said in (tried, really)]
        assert kinds[0] == kinds[1]


def test_what_was_removed_is_foreseen(call: Call, tmp_path: Path) -> None:
    """A document that the journal says is gone, and that somebody copied back, counts as removed."""
    call("reserve add x/** --as ann")
    (path,) = (tmp_path / places.RESERVATIONS).glob("*.json")
    data = path.read_bytes()
    call("reserve release --all --as ann")
    path.write_bytes(data)
    tried = call("mbox rebuild --dry-run")
    assert tried[1]["removed"] == 1
    assert tried == call("mbox rebuild")


@pytest.mark.parametrize("words", ["mbox read --as ann", "task claim --as ann --stage none", "task claim a --as bob"])
def test_a_wait_of_no_time_is_none(call: Call, words: str) -> None:
    """``--wait 0`` ends as the call without it does, at once."""
    call("mbox agent add bob")
    call("task claim a --as ann")
    assert call(f"{words} --wait 0") == call(words)
