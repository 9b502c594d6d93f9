"""The installed commands from outside: the README's session word for word, and jobs in plain bash (tests/blackbox)."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT, Run
from transcript import BLOCK, Shells, fresh, steps

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
SUITES = sorted((CHECKOUT / "tests/blackbox").glob("*.sh"))


# ---- the README


def test_the_session_of_the_readme(tmp_path: Path) -> None:
    """Two agents on two terminals: every command prints what is shown, but for times and the root's path."""
    (session,) = map(steps, BLOCK.findall(README))
    assert len(session) <= 10 and {step.who for step in session} == {"ann", "bob"}
    with Shells(fresh(tmp_path), terminal=True) as shells:
        for step in session:
            assert shells(step) == step.shown, f"{step.who}$ {step.command}"


def test_the_commands_of_the_readme_are_there() -> None:
    """The two commands can be run, and what `pip install .` is said to give is what the package declares."""
    import tomllib

    for name in re.findall(r"^    \./(scripts/\w+)", README, re.M):
        assert os.stat(CHECKOUT / name).st_mode & stat.S_IXUSR
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "gives `mbox`, `task`, `reserve`, `team` and `workflow`" in README
    assert list(project["scripts"]) == ["mbox", "task", "reserve", "team", "workflow"]
    assert "Python 3.11" in README and project["requires-python"] == ">=3.11"


def test_the_readme_is_read_in_five_minutes() -> None:
    """At most 1,000 words (200 a minute), the session included, and its promises in five lines."""
    assert len(README.split()) <= 1000
    assert len(re.findall(r"^\d\. ", README, re.M)) == 5


def test_what_the_readme_calls_later_is_not_there(run: Run) -> None:
    """When one of these comes, the README has to change."""
    later = README.partition("## Not yet")[2]
    assert re.findall(r"dashboard|several machines", later)
    for word in ("top", "notify", "link"):
        assert run("mbox", word).returncode == 2


# ---- plain bash


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.stem)
def test_a_suite(suite: Path, tmp_path: Path) -> None:
    """The script ends well in a fresh repository; where it does not, it says which line."""
    root = fresh(tmp_path)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(suite)], cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert done.stdout.splitlines()[-1] == f"{suite.stem}: ok"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.stem)
def test_a_suite_is_strict_bash(suite: Path) -> None:
    """It stops at the first failure, and shellcheck finds nothing."""
    text = suite.read_text(encoding="utf-8")
    assert "\nset -euo pipefail\n" in text
    checker = shutil.which("shellcheck") or Path(sys.executable).parent / "shellcheck"
    if Path(checker).exists():
        done = subprocess.run(
            [checker, "--external-sources", suite.name], cwd=suite.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_a_suite_that_fails_is_noticed(tmp_path: Path) -> None:
    """`expect`, on which they are built, fails where the status or the output is another."""
    for line in ("expect 0 mbox inbox", 'is "$(echo a)" b', 'has "abc" d'):
        script = f"source {CHECKOUT}/tests/blackbox/lib.bash; {line}; echo passed"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and "passed" not in done.stdout
