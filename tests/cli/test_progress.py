"""Long work says how far it is: on a terminal, on stderr, in one line that is gone at the end; nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run
from terminalkit import bare
from terminalkit import seen as seen_on_terminal

COUNT = 8000

AT_ONCE = "import sys; from mbox.cli import main, progress; progress.PATIENCE = 0; main.named(sys.argv[1:])"
"""Says how far it is from the first step on, however fast the machine is."""


def seen(*words: str, **settings: Any) -> str:
    """What a command writes to its terminal."""
    return seen_on_terminal(sys.executable, "-c", AT_ONCE, *words, **settings)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of thousands of tasks."""
    path = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    jobs = ({"id": f"job-{n}", "title": f"Job {n}", "description": "x" * 500} for n in range(COUNT))
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    return path


def left(text: str) -> str:
    """What a terminal shows in the end of what was written to it: each line from its last clearing on."""
    return "\n".join(line.rpartition("\r\x1b[K")[2] for line in text.split("\n"))


@pytest.mark.parametrize("flags", [(), ("--quiet",)], ids=["", "quiet"])
def test_an_import_of_thousands(flags: tuple[str, ...], plan: Path, staffed: Path, run: Run) -> None:
    """It counts, keeps to one line of the width, and leaves nothing; with --quiet it says nothing."""
    text = seen("task", "import", str(plan), *flags, cwd=staffed, stderr=True, size=(24, 30))
    if flags:
        assert text == ""
    else:
        drawn = [part.removesuffix("\r") for part in text.split("\r\x1b[K") if part]
        assert any(f"of {COUNT}" in part for part in drawn), text
        assert all(0 < len(bare(part)) < 30 for part in drawn)
        assert left(text) == "" and "\n" not in text
    assert len(json.loads(run("task", "list", "--limit", "0", cwd=staffed).stdout)) == COUNT


def test_a_rebuild_and_a_restore(plan: Path, repo: Path, run: Run) -> None:
    """Of the journal that is read, and of the documents that are compared or written; in a pipe there is nothing."""
    for words in (["mbox", "init"], ["task", "import", str(plan)], ["mbox", "audit", "commit"]):
        done = run(*words, cwd=repo, check=True)
        assert "\r" not in done.stderr and "\x1b" not in done.stderr
    text = seen("mbox", "rebuild", cwd=repo, stderr=True)
    assert f"of {COUNT}" in text and left(text) == ""
    shutil.rmtree(repo / ".mailbox")
    shutil.rmtree(repo / ".tasks")
    text = seen("mbox", "audit", "restore", cwd=repo, stderr=True)
    assert f"of {COUNT}" in text and "restored up to record" in left(text) and f"of {COUNT}" not in left(text)


def test_an_error_stands_on_a_line_of_its_own(plan: Path, staffed: Path) -> None:
    """Work that ends in an error takes its line away first."""
    plan_of_two = staffed / "again.jsonl"
    plan_of_two.write_text(plan.read_text() + json.dumps({"id": "last", "title": "L", "depends_on": ["nowhere"]}) + "\n")
    text = seen("task", "import", str(plan_of_two), cwd=staffed, stderr=True)
    assert left(text).startswith("task: ") and left(text).count("\n") == 1


def test_setup_shows_what_it_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the last line of what pip says, gone at the end; pip is one of ours, which needs no network."""
    monkeypatch.delenv("CI", raising=False)  # by which it installs what is pinned
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "scripts/setup", tmp_path / "scripts/setup")
    (tmp_path / "pyproject.toml").write_text("")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "made-in").write_text(f"{tmp_path.resolve()}\n")
    python = venv / "bin/python"
    python.write_text('#!/bin/sh\ncase "$*" in *install*) echo Collecting click; echo "$*" >>args;; -V) echo Python 3;; esac\n')
    python.chmod(0o755)
    text = seen_on_terminal("scripts/setup", cwd=tmp_path, stderr=True)
    assert "Collecting click" in text and left(text) == "setup: installing the toolkit into .venv\n"
    (venv / "setup-run.stamp").unlink()
    assert "--quiet" in os.popen(f"cd {tmp_path}; scripts/setup 2>&1; cat args").read().splitlines()[-1]
