"""Words that look the same are the same, however they were composed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places

NFC, NFD = "déjà-設計", unicodedata.normalize("NFD", "déjà-設計")


@pytest.fixture
def root(staffed: Path) -> Path:
    """A store with agents ann and bob."""
    return staffed


@pytest.mark.parametrize(("given", "asked"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_nfc_and_nfd_meet(root: Path, run: Run, given: str, asked: str) -> None:
    """A label, stage, capability or type is the same word however it was composed: in filters, claims and plans."""
    run("task", "add", "x", "--id", "x", "--label", given, "--stage", given, "--requires", given, cwd=root, check=True)
    run("mbox", "agent", "add", "cyd", "--can", asked, cwd=root, check=True)
    plan = json.dumps({"tasks": [{"id": "y", "title": "y", "labels": [given], "stage": given}]}, ensure_ascii=False)
    run("task", "import", "-", cwd=root, stdin=plan, check=True)
    for flag in ("--label", "--stage"):
        listed = json.loads(run("task", "list", flag, asked, cwd=root, check=True).stdout)
        assert [row["task_id"] for row in listed] == ["x", "y"]
    done = run("task", "claim", "--label", asked, "--stage", asked, "--as", "cyd", cwd=root, check=True)
    assert json.loads(done.stdout)["task_id"] == "x"
    run("task", "cancel", "--label", asked, cwd=root, check=True)
    assert json.loads(run("task", "list", cwd=root, check=True).stdout) == []
    run("mbox", "send", "bob", "--as", "ann", "--type", given, "--body", "x", cwd=root, check=True)
    assert run("mbox", "read", "--type", asked, "--as", "bob", cwd=root).returncode == 0


def test_a_task_that_an_older_version_labelled(root: Path, run: Run) -> None:
    """A label that stands decomposed in a file, and in the journal, is found by either spelling."""
    run("task", "add", "x", "--id", "x", "--label", "plain", cwd=root, check=True)
    path = root / places.task("x")
    path.write_text(path.read_text().replace('"plain"', json.dumps(NFD, ensure_ascii=False)))
    for asked in (NFC, NFD):
        assert "x" in run("task", "list", "--label", asked, cwd=root, check=True).stdout
    run("mbox", "doctor", "--repair", cwd=root, check=True)
    assert json.loads(run("task", "claim", "--label", NFD, "--as", "ann", cwd=root, check=True).stdout)["task_id"] == "x"


def test_paths_meet_in_reservations(root: Path, run: Run) -> None:
    """As before: a path reserved in one form is held in the other, for tasks too."""
    run("reserve", f"docs/{NFD}.md", "--as", "ann", cwd=root, check=True)
    assert run("reserve", "check", f"docs/{NFC}.md", "--as", "bob", cwd=root).returncode == 1
    run("task", "add", "x", "--id", "x", "--path", f"docs/{NFC}.md", cwd=root, check=True)
    assert run("task", "claim", "x", "--as", "bob", cwd=root).returncode == 5


def test_an_id_that_is_null_is_none(staffed: Path, run: Run) -> None:
    """``-o id`` of agents are their names, though each has fields that end in ``_id`` and say nothing."""
    assert run("mbox", "agent", "list", "-o", "id", cwd=staffed, check=True).stdout.split() == ["ann", "bob"]
