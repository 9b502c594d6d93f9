"""Gates of an engine that is killed: the next one ends them, and runs them from the beginning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from conftest import Run
from runkit import placed
from teamkit import ended, until

FLOW = """\
version: 1
name: flow
roles: {coder: {phase: implement}}
steps:
  - {id: work, agent: coder, prompt: x, gates: [./gate]}
"""

GATE = """\
if [[ ! -e .git/pid ]]; then
    echo $$ >.git/pid.new
    mv .git/pid.new .git/pid
    sleep 300
fi
"""


def test_a_gate_of_a_dead_engine_does_not_run_on(run: Run, repo: Path) -> None:
    """Two of the same gate at once would judge each other's files."""
    with placed(run, repo) as place:
        place.program("gate", GATE)
        place.write("flow.yaml", FLOW)
        place.write("s.yaml", "work: [{text: done}]\n")
        words = [f"{Path(sys.executable).parent}/workflow", "run", "flow.yaml", "--id", "r", "--scripted", "s.yaml"]
        with subprocess.Popen(words, cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
            until((repo / ".git/pid").exists, "the gate begins", 60, repo / ".git")
            engine.send_signal(signal.SIGKILL)
        gate = int((repo / ".git/pid").read_text())
        os.kill(gate, 0)
        place.call("workflow", "resume", "r")
        ended(gate, 5)
        assert [row["ok"] for row in place.step("work")["gates"]] == [True]
