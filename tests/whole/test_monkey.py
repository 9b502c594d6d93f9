"""A monkey kills: workers, wrappers and the watchdog, at random, while wrapped shell workers do tasks.

An independent detector: whoever works on a task makes a folder for it, with its pid and start time in a file, and finds
out whether somebody else's folder is there whose maker is still alive.  The toolkit is not asked.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places
from mbox.system.processes import Identity, is_running
from teamkit import BIN, end_all, environment, until

CONFIG = """
heartbeat: 0.5s
dead_after: 3s
renew_every: 0.7s
renewed_lease: 10s
watchdog_scan: 0.5s
stop_grace: 0.3s
send_rate: 0
"""

WORKER = r"""#!/bin/bash
# One worker.  $1: the folder of the detector.
id() { awk '{ print $1, $22 }' "/proc/$$/stat"; }
while :; do
    out=$(task claim --start --wait 1s -o env 2>/dev/null) || { sleep 0.05; continue; }
    eval "$out"
    if ! mkdir "$1/$TASK_ID" 2>/dev/null; then
        read -r pid ticks <"$1/$TASK_ID/who"
        now=$(awk '{ print $22 }' "/proc/$pid/stat" 2>/dev/null)
        state=$(awk '{ print $3 }' "/proc/$pid/stat" 2>/dev/null)
        [[ -n $pid && $now == "$ticks" && $state != [ZX] ]] && echo "$TASK_ID: $(id) while $pid lives" >>"$1/overlaps"
    fi
    id >"$1/$TASK_ID/who"
    echo "$MBOX_AGENT" >>"$1/$TASK_ID/tries"
    sleep 0.0$((RANDOM % 9))
    rm -f "$1/$TASK_ID/who"
    task done "$TASK_ID" --token "$TASK_TOKEN" >/dev/null 2>&1 && echo "$TASK_ID" >>"$1/done"
    rmdir "$1/$TASK_ID" 2>/dev/null
done
"""


def wild(root: Path, run: Run, tasks: int, every: float, seed: int) -> None:
    """Let six workers do ``tasks`` while something is killed every so many seconds; then look at what is left."""
    dice = random.Random(seed)
    run("mbox", "init", "--here", cwd=root, check=True)
    (root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    seen = root / "seen"
    seen.mkdir()
    worker = root / "worker"
    worker.write_text(WORKER, encoding="utf-8")
    worker.chmod(0o755)
    plan = "".join(json.dumps({"id": f"job-{n}", "title": "x", "touched_paths": [f"src/{n}/**"]}) + "\n" for n in range(tasks))
    (root / "plan.jsonl").write_text(plan)
    run("task", "import", "plan.jsonl", cwd=root, check=True)
    names = [f"w{n}" for n in range(6)]
    for name in names:
        run("mbox", "agent", "add", name, cwd=root, check=True)
    running: dict[str, subprocess.Popen[bytes]] = {}

    def keep_alive() -> None:
        """Whatever was killed is started again, as a supervisor or a team would do it."""
        for name in names:
            if name not in running or running[name].poll() is not None:
                running[name] = subprocess.Popen(
                    [str(BIN / "mbox"), "run", "--as", name, "--no-watchdog", "--", str(worker), str(seen)], cwd=root,
                    env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=(root / "errors").open("ab"), start_new_session=True,
                )  # fmt: skip
        if "dog" not in running or running["dog"].poll() is not None:
            running["dog"] = subprocess.Popen(
                [str(BIN / "mbox"), "watchdog"], cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=(root / "errors").open("ab"), start_new_session=True,
            )  # fmt: skip

    def finished() -> bool:
        counts = json.loads(run("mbox", "status", cwd=root, check=True).stdout)["tasks"]
        return bool(counts.get("done", 0) + counts.get("deadletter", 0) == tasks)

    kills = 0
    end = time.monotonic() + 60 + tasks * 0.9
    try:
        while True:
            keep_alive()
            if finished():
                break
            assert time.monotonic() < end, run("mbox", "status", cwd=root).stdout
            time.sleep(every * dice.uniform(0.5, 1.5))  # the random moment is what is tried
            kind = dice.choice(["program", "program", "wrapper", "wrapper", "watchdog"])
            victim = dice.choice(names)
            try:
                beat = json.loads((root / places.heartbeat(victim)).read_text())
                if kind == "watchdog":
                    running["dog"].kill()
                elif kind == "wrapper":
                    running[victim].kill()
                elif is_running(Identity(beat["child"], beat["child_ticks"])):
                    os.kill(beat["child"], signal.SIGKILL)
                kills += 1
            except (OSError, ValueError, ProcessLookupError):
                continue
        for name in names:
            running[name].terminate()
        for name in names:
            running[name].wait(20)
        until(lambda: run("mbox", "watchdog", "--once", cwd=root).returncode in (0, 5), "a last round")
    finally:
        for one in running.values():
            one.kill()
            one.wait()
        end_all(root)
    check(root, run, tasks, kills)


def check(root: Path, run: Run, tasks: int, kills: int) -> None:
    """Exactly one accepted done a task, or a dead letter with a reason; nobody held with another; nothing is held."""
    overlaps = root / "seen/overlaps"
    assert not overlaps.exists(), overlaps.read_text()
    records = json.loads(run("mbox", "log", "--limit", "0", "--op", "task.done", cwd=root, check=True).stdout)
    done = [record["on"][0] for record in records]
    assert len(done) == len(set(done))
    dead = json.loads(run("task", "list", "--status", "deadletter", "--limit", "0", cwd=root, check=True).stdout)
    for row in dead:
        assert "is gone" in json.loads(run("task", "show", row["task_id"], cwd=root, check=True).stdout)["reason"]
    assert len(done) + len(dead) == tasks and not set(done) & {row["task_id"] for row in dead}
    assert set((root / "seen/done").read_text().split()) <= set(done)
    assert json.loads(run("reserve", "list", cwd=root, check=True).stdout) == []
    assert list((root / places.TASK_LEASES).glob("*.json")) == []
    assert run("mbox", "doctor", cwd=root).returncode == 0
    whys = json.loads(run("mbox", "log", "--limit", "0", "--op", "agent.", cwd=root, check=True).stdout)
    ends = [row for row in whys if row["op"] in ("agent.end", "agent.dead")]
    assert kills >= 3 and all(row["why"] for row in ends)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc: start times are not known here")
@pytest.mark.timeout(200)
def test_a_monkey_among_the_workers(tmp_path: Path, run: Run) -> None:
    """Thirty tasks, a kill every half second."""
    wild(tmp_path, run, 30, 0.4, 5)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc: start times are not known here")
@pytest.mark.timeout(600)
def test_a_monkey_among_six_workers_and_two_hundred_tasks(tmp_path: Path, run: Run) -> None:
    """Two hundred tasks, a kill a second."""
    assert sys.platform == "linux"
    wild(tmp_path, run, 200, 1.0, 7)
