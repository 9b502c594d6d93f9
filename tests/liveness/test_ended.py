"""An agent whose program ended in order is not dead: how and when it ended is told wherever agents are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from teamkit import environment


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with ann."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    run("mbox", "agent", "add", "ann", cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(("program", "how"), [("exit 0", "bash exited with 0"), ("exit 3", "bash exited with 3"),
                                              ("kill -KILL $$", "bash was killed by SIGKILL")])  # fmt: skip
def test_an_end_is_told_with_its_status_and_when(root: Path, run: Run, program: str, how: str) -> None:
    """In the list of agents and in `mbox status`, until it is started again; one that was only killed is dead."""
    def call(*words: str) -> Any:
        return json.loads(run(*words, cwd=root, check=True).stdout)

    run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "bash", "-c", program, cwd=root)
    (row,) = call("mbox", "agent", "list")
    assert row["state"] == "ended" and row["ended"].startswith(f"{how} after ") and row["ended"].endswith("s ago")
    answer = call("mbox", "status")
    assert answer["agents"] == {"ann": "ended"} and answer["ended"]["ann"].startswith(f"{how} after ")
    inner = run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "mbox", "agent", "list", cwd=root, env=environment())
    assert json.loads(inner.stdout)[0]["state"] == "alive"
    kill = "kill -KILL $PPID; exec sleep 100 </dev/null >/dev/null 2>&1"
    run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "bash", "-c", kill, cwd=root)
    (row,) = call("mbox", "agent", "list")
    assert (row["state"], row.get("ended")) == ("dead", None)
    run("mbox", "watchdog", "--once", cwd=root, check=True)


def test_a_members_end_is_told(repo: Path, run: Run) -> None:
    """In `team status`, and on the page for a person."""
    run("mbox", "init", cwd=repo, check=True)
    env = {"PATH": environment()["PATH"]}
    member = {"name": "w", "host": "shell", "command": ["sleep", "1000"]}
    (repo / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [member]}))
    run("team", "up", "blue.yaml", "--no-tmux", cwd=repo, env=env, check=True)
    run("team", "down", "--force", cwd=repo, env=env, check=True)
    (row,) = json.loads(run("team", "status", "blue", cwd=repo, check=True).stdout)
    assert row["alive"] == "ended" and row["ended"].startswith("sleep was stopped (SIGTERM) after ")
    page = run("mbox", "status", "-o", "table", cwd=repo, check=True).stdout
    assert "w (sleep was stopped (SIGTERM) after " in page
