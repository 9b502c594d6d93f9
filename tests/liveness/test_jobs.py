"""Background jobs that outlive their agent are named, and their tree stays; a host's shared daemon is none of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.format import places
from teamkit import CONFIG, end_all, ended, environment, until

JOBS = """\
setsid sleep 4711 & echo $! >job
mkdir -p fake && ln -sf "$(command -v sleep)" fake/codex
setsid bash -c 'exec -a codex bash -c "while :; do sleep 0.2; done" app-server' & echo $! >daemon
setsid mbox watch --as w >/dev/null 2>&1 &
sleep 1000
"""


@pytest.fixture
def root(repo: Path, run: Run) -> Iterator[Path]:
    """A repository with a store, where whatever is left is killed."""
    run("mbox", "init", cwd=repo, check=True)
    (repo / places.CONFIG).write_text(CONFIG, encoding="utf-8")
    yield repo
    for pid in pids(repo).values():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end_all(repo)


def pids(root: Path) -> dict[str, int]:
    """The processes that the member says it started."""
    found = [path for place in ("repo.worktrees/blue-w", "repo") for path in (root.parent / place).glob("*")]
    return {path.name: int(path.read_text()) for path in found if path.name in ("job", "daemon") and path.read_text().strip()}


def test_a_job_of_a_dismissed_member_is_named_and_its_tree_stays(root: Path, run: Run) -> None:
    """By `team down` and by `mbox status`; once it has ended `team down` takes the tree away."""
    def call(*words: str) -> Any:
        return json.loads(run(*words, cwd=root, env={"PATH": environment()["PATH"]}, check=True).stdout)

    member = {"name": "w", "host": "codex", "command": ["bash", "-c", JOBS], "worktree": True}
    (root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [member]}))
    call("team", "up", "blue.yaml", "--no-tmux")
    started = until(lambda: pids(root) if len(pids(root)) == 2 else None, lambda: pids(root))
    assert not [line for line in call("mbox", "status").get("why", []) if "running" in line]
    answer = call("team", "down", "--force")
    line = f"w left pid {started['job']} running (sleep 4711)"
    assert answer["left_running"] == [line]
    assert len(answer["trees_kept"]) == 1 and line in answer["trees_kept"][0] and not answer.get("trees_removed")
    why = [one for one in call("mbox", "status")["why"] if "running" in one]
    assert why == [f"{line}: `kill {started['job']}`, or let it end"]
    assert call("team", "report", "blue")["left_running"] == [line]
    os.kill(started["job"], signal.SIGKILL)
    ended(started["job"])
    tree = root.parent / "repo.worktrees/blue-w"
    for name in ("job", "daemon"):
        (root / f"{name}").write_text((tree / name).read_text())
        (tree / name).unlink()
    (tree / "fake/codex").unlink()
    assert call("team", "down", "blue")["trees_removed"] == [str(tree)]


IN_ANOTHERS = "(cd ../blue-v && exec setsid bash -c 'echo $$ >job; exec sleep 4712') & sleep 1000"
"""A job of w's that stands in the tree of v."""


def test_a_tree_stays_while_somebody_else_works_in_it(root: Path, run: Run) -> None:
    """Where its member is removed and the other lives, and where both are gone; then it goes."""
    def call(*words: str) -> Any:
        return json.loads(run(*words, cwd=root, env={"PATH": environment()["PATH"]}, check=True).stdout)

    rows = [{"name": "v", "host": "shell", "command": ["sleep", "1000"], "worktree": True},
            {"name": "w", "host": "shell", "command": ["bash", "-c", IN_ANOTHERS], "worktree": True}]  # fmt: skip
    (root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": rows}))
    call("team", "up", "blue.yaml", "--no-tmux")
    trees = root.parent / "repo.worktrees"
    note = trees / "blue-v/job"
    job = int(until(lambda: note.exists() and note.read_text(), "no job"))
    note.rename(root / "job")
    line = f"{trees / 'blue-v'} (mbox/blue/v): w's pid {job} works in it (sleep 4712)"
    assert call("team", "remove", "blue", "v")["trees_kept"] == [line]
    answer = call("team", "down", "--force")
    assert answer["left_running"] == [f"w left pid {job} running (sleep 4712)"]
    assert line in answer["trees_kept"] and (trees / "blue-v/f").exists() == (root / "f").exists()
    os.kill(job, signal.SIGKILL)
    ended(job)
    assert call("team", "down", "blue")["trees_removed"] == [str(trees / "blue-v"), str(trees / "blue-w")]
