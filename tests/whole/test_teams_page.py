"""docs/teams.md, followed to the letter in an empty repository: its files as they stand there, its lines as they are typed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import CHECKOUT, Run
from teamkit import end_all, environment
from transcript import BLOCK, steps

PAGE = (CHECKOUT / "docs/teams.md").read_text(encoding="utf-8").partition("\n## The team file\n")[0]
FILES = re.findall(r"^`([\w.]+)` .*?\n\n```\w+ \1\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_readme_has_the_same_team() -> None:
    """Its worker and its team file are those of the page, which are tried below."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^```\w+ ([\w.]+)\n(.*?)^```$", readme, re.M | re.S))
    assert found == {name: text for name, text in FILES if name != "plan.yaml"}


@pytest.fixture
def empty(tmp_path: Path, run: Run) -> Iterator[Path]:
    """A repository without a commit; what runs in it is ended afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    run("git", "init", "--quiet", "--initial-branch=main", cwd=folder, check=True)
    yield folder
    run("team", "down", "--force", "--all", cwd=folder)
    subprocess.run(["tmux", "kill-server"], env={**environment(), "TMUX_TMPDIR": str(tmp_path)}, check=False, capture_output=True)
    end_all(folder)


def test_the_example_works(empty: Path, run: Run) -> None:
    """Every line exits 0, every task is done by a worker in its own tree, and what they made is merged."""
    assert [name for name, _ in FILES] == ["worker", "plan.yaml", "team.yaml"]
    for name, text in FILES:
        (empty / name).write_text(text, encoding="utf-8")
    (session,) = map(steps, BLOCK.findall(PAGE))
    env = {name: value for name, value in environment().items() if name != "TMUX"} | {"TMUX_TMPDIR": str(empty.parent)}
    printed = {}
    for step in session:
        done = subprocess.run(["bash", "-c", step.command], cwd=empty, env=env, capture_output=True, text=True, timeout=120,
                              check=False)  # fmt: skip
        assert done.returncode == 0, (step.command, done.stdout, done.stderr)
        printed[step.command] = done.stdout
    up = json.loads(printed["team up team.yaml --tasks plan.yaml"])
    assert up["new"] == ["boss", "worker-1", "worker-2", "worker-3"] and up["imported"] == 4
    assert json.loads(printed["team up team.yaml"])["already"] is True
    assert {row["agent"] for row in json.loads(printed["team status"])} == set(up["new"])
    assert len(printed["cat job-*.txt"].splitlines()) == 4 and "by worker-" in printed["cat job-*.txt"]
    down = yaml.safe_load(printed["team down --timeout 30s -o yaml"])
    assert down["state"] == "down" and sum(row.get("done", 0) for row in down["members"]) == 4
    tasks = json.loads(run("task", "list", "--all", cwd=empty).stdout)
    assert [task["status"] for task in tasks] == ["done"] * 4
    assert not list((empty.parent / "project.worktrees").glob("*"))
