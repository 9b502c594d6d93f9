"""What we start is a program of this machine: never one of the folder that the caller happens to stand in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox.system import executables
from teamkit import BIN, HAVE_TMUX, NO_TMUX, end_all, server


@pytest.fixture
def root(repo: Path, run: Run) -> Iterator[Path]:
    """A repository that has programs of the names that we start, and a store."""
    run("mbox", "init", cwd=repo)
    for name in ("git", "git-mark", "tmux", "dot", "env", "sysctl", "ps", "mbox", "python", "python3"):
        (repo / name).write_text(f"#!/bin/sh\necho {name} >> '{repo.parent}/ran'\nexit 1\n")
        (repo / name).chmod(0o755)
    yield repo
    end_all(repo)


@pytest.mark.parametrize("entry", ["", "."])
@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_no_program_of_the_repository_runs(root: Path, run: Run, tmp_path: Path, entry: str) -> None:
    """Teams with panes, pictures, git and the programs that git starts, with an entry of PATH that means *here*."""
    person = tmp_path / "gitconfig"
    person.write_text('[filter "mark"]\n\tclean = git-mark\n')
    (root / ".gitattributes").write_text("*.txt filter=mark\n")
    (root / "a.txt").write_text("a")
    env = {"PATH": f"{entry}:{BIN}:{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": str(person), "HOME": str(tmp_path)}
    team = {"team": "blue", "members": [{"name": "w", "host": "shell", "command": ["sleep", "99"], "worktree": True}]}
    (root / "blue.json").write_text(json.dumps(team))
    mbox = BIN / "mbox"
    with server(tmp_path) as socket:
        for words in (
            [BIN / "team", "up", "blue.json", "--socket", socket], [BIN / "team", "status"], [BIN / "team", "attach"],
            [BIN / "task", "add", "x"], [BIN / "task", "graph", "--format", "svg"], [mbox, "nudge", "w"],
            [mbox, "audit", "commit"], [mbox, "guard"], [mbox, "doctor"],
            [BIN / "team", "down", "--force"],
        ):  # fmt: skip
            done = run(*words, cwd=root, env=env)
            assert done.returncode == 0 or words[1] in ("attach", "nudge", "guard", "doctor"), (words, done.stderr)
    assert not (root.parent / "ran").exists(), (root.parent / "ran").read_text()


def test_only_absolute_folders_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there and may be run; FileNotFoundError where there is nothing else."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    (tmp_path / "there" / "x").chmod(0o755)
    monkeypatch.chdir(tmp_path / "there")
    monkeypatch.setenv("PATH", f":.:../there:{tmp_path}/here:{tmp_path}/there")
    assert executables.find("x") == f"{tmp_path}/there/x"
    monkeypatch.setenv("PATH", ":.:../there")
    with pytest.raises(FileNotFoundError):
        executables.find("x")
