"""A whole folder moved away and back: its own time tells it, and not that of the folders in it, so those are compared too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Run


@pytest.fixture
def task(staffed: Path, run: Run) -> str:
    """A task with a note."""
    ident = run("task", "add", "one", "-o", "id", cwd=staffed, check=True).stdout.strip()
    run("task", "note", ident, "first", "--as", "ann", cwd=staffed, check=True)
    return ident


def moved(root: Path, folder: str, meanwhile: list[list[str]], run: Run) -> None:
    """Away with a folder; commands, which make it anew; and back with it."""
    shutil.move(root / folder, root.parent / "away")
    for words in meanwhile:
        run(*words, cwd=root, check=True)
    shutil.rmtree(root / folder)
    shutil.move(root.parent / "away", root / folder)


@pytest.mark.parametrize("folder", [".tasks", ".tasks/notes"])
def test_notes_of_a_folder_that_was_away_are_not_stale(staffed: Path, task: str, run: Run, folder: str) -> None:
    """What was written meanwhile is there, and that something was put right is said, once."""
    moved(staffed, folder, [["task", "note", task, "second", "--as", "ann"]], run)
    done = run("task", "show", task, cwd=staffed, check=True)
    assert [note["text"] for note in json.loads(done.stdout)["notes"]] == ["first", "second"]
    assert "notes" in done.stderr
    assert run("task", "show", task, cwd=staffed, check=True).stderr == ""
    assert run("mbox", "doctor", cwd=staffed).returncode == 0


@pytest.mark.parametrize("folder", [".mailbox/inbox", ".mailbox/inbox/bob", ".mailbox/inbox/bob/new"])
def test_mail_of_a_folder_that_was_away(staffed: Path, run: Run, folder: str) -> None:
    """What was read meanwhile is not unread again, what came is there."""
    run("mbox", "send", "bob", "--as", "ann", "--body", "1", cwd=staffed, check=True)
    moved(staffed, folder, [["mbox", "read", "--as", "bob"], ["mbox", "send", "bob", "--as", "ann", "--body", "2"]], run)
    found = json.loads(run("mbox", "inbox", "--as", "bob", cwd=staffed, check=True).stdout)
    assert [row["msg_id"] for row in found] == ["m5"] or [row["state"] for row in found] == ["unread"]
    assert run("mbox", "doctor", cwd=staffed).returncode == 0
