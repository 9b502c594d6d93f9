"""The demo does what it says, on a clone of this very checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from teamkit import HAVE_TMUX, NO_TMUX

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="the demo clones the checkout, and this is none")
def test_the_workers_demo_proves_its_claims() -> None:
    """Workers, a reviewer and one kill -9: every task is accepted once, and the demo's own proof from the journal holds."""
    if not shutil.which("setsid"):
        pytest.skip("setsid is missing: the demo cannot kill a worker with all it started")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    line = [str(CHECKOUT / "scripts" / "demos" / "workers"), "4"]
    done = subprocess.run(line, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 of 9 done" in done.stdout
    assert "w3 was killed while it held" in done.stdout
    assert "one accepted done a task: 9 of 9" in done.stdout
    assert "never two live holders, no two workers on one path" in done.stdout
    assert "mbox doctor: clean" in done.stdout
    assert done.stdout.strip().endswith("nothing lost, nothing done twice")


@pytest.mark.timeout(600)
@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="the demo clones the checkout, and this is none")
def test_the_workflow_demo_proves_its_claims() -> None:
    """The engine is killed in the first gate, for certain, and another one goes on: one commit, every turn with its rule."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    line = [str(CHECKOUT / "scripts" / "demos" / "workflow")]
    done = subprocess.run(line, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the run is stalled at implement" in done.stdout and "goes on: implement.1, its task is review" in done.stdout
    turns = [line.split(":")[0].strip() for line in done.stdout.splitlines() if line.startswith("   ") and ") → " in line]
    assert turns == [
        "implement (1) → review", "review (1) → fix", "fix (1) → review", "review (2) → save", "save (1) → succeeded"
    ]  # fmt: skip
    assert "review (1) → fix: rule 2, line" in done.stdout and "review (2) → save: rule 1, line" in done.stdout
    assert done.stdout.count("Mbox-Step: demo.save.1") == 1 and "'dispatches': 4" in done.stdout
    assert "mbox doctor: clean" in done.stdout
    assert done.stdout.strip().endswith("nothing done twice, every turn by a rule")


@pytest.mark.timeout(600)
@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="the demo clones the checkout, and this is none")
@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_the_team_demo_proves_its_claims() -> None:
    """Who is killed holds a task then, for certain: the watchdog gives it back, and somebody does it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    line = [str(CHECKOUT / "scripts" / "demos" / "team"), "12"]
    done = subprocess.run(line, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "w3's wrapper was killed while it held" in done.stdout and "agent.dead" in done.stdout
    assert "one accepted done a task: 25 of 25" in done.stdout
    assert "mbox doctor: clean" in done.stdout
    assert done.stdout.strip().endswith("nothing lost, nothing done twice")
