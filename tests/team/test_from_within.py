"""A team that one of its own members dismisses: the command outlives the member, and says what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places
from mbox.liveness.watchdog import start_watchdog
from teamkit import BIN, CONFIG, end_all, ended, environment, has_bwrap, until, watchdogs

needs_bwrap = pytest.mark.skipif(not has_bwrap(), reason="bubblewrap is not installed, or may make no namespaces here")

HOW = {
    "a command of its program": "team down --timeout 1s >out 2>err; echo $? >status; sleep 1000",
    "its program itself": "exec team down --timeout 1s >out 2>err",
    "a shell call in a session of its own": "setsid -w bash -c 'team down --timeout 1s >out 2>err'; sleep 1000",
    "without its variables": 'env -i PATH="$PATH" HOME="$HOME" team down --timeout 1s >out 2>err; sleep 1000',
    "without them, in a session of its own": "setsid -w env -u MBOX_INCARNATION team down --timeout 1s >out 2>err; sleep 1000",
    "without them, and left alone": "(env -u MBOX_INCARNATION team down --timeout 1s >out 2>err &); sleep 1000",
}


@pytest.fixture
def root(repo: Path, run: Run) -> Path:
    """A repository with a store whose times are short."""
    run("mbox", "init", cwd=repo, check=True)
    (repo / places.CONFIG).write_text(CONFIG, encoding="utf-8")
    return repo


def team_of(root: Path, run: Run, then: str, sandbox: str | list[str] | None = None) -> list[int]:
    """Call a boss, who does ``then`` once there is a file `go`, and a worker; their programs."""
    wait = "while [ ! -e go ]; do sleep 0.1; done; "
    boss = {"name": "boss", "role": "orchestrator", "host": "shell", "command": ["bash", "-c", wait + then]}
    boss |= {"sandbox": sandbox} if sandbox else {}
    worker = {"name": "w", "host": "shell", "command": ["sleep", "1000"]}
    (root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [boss, worker]}))
    run("team", "up", "blue.yaml", "--no-tmux", cwd=root, env={"PATH": environment()["PATH"]}, check=True)
    return [json.loads((root / places.heartbeat(name)).read_text())["child"] for name in ("boss", "w")]


@pytest.mark.parametrize("how", HOW)
def test_an_orchestrator_ends_its_team_and_is_ended_with_it(root: Path, run: Run, how: str) -> None:
    """The team is down, nobody runs, and the answer is whole, though whoever asked for it is gone."""
    programs = team_of(root, run, HOW[how])
    try:
        (root / "go").touch()
        team = root / places.team("blue")
        until(lambda: json.loads(team.read_text())["state"] == "down", team.read_text)
        for pid in programs:
            ended(pid)
        answer = until((root / "out").read_text, (root / "err").read_text)
        assert json.loads(answer)["state"] == "down"
        assert run("mbox", "doctor", cwd=root).returncode == 0
    finally:
        end_all(root)


BWRAP = ["bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--die-with-parent"]
"""Hides the processes outside of it."""

SANDBOXED = {
    "preset": "bwrap",
    "words": BWRAP,
}


@needs_bwrap
@pytest.mark.parametrize("sandbox", SANDBOXED)
def test_an_orchestrator_in_a_sandbox_ends_its_team(root: Path, run: Run, sandbox: str) -> None:
    """Though it can see nobody's process: nobody runs once the team is down."""
    programs = team_of(root, run, HOW["a command of its program"], SANDBOXED[sandbox])
    try:
        (root / "go").touch()
        team = root / places.team("blue")
        until(lambda: json.loads(team.read_text())["state"] == "down", lambda: (root / "err").read_text() + team.read_text())
        for name, pid in zip(("boss", "w"), programs, strict=True):
            ended(pid)
            assert json.loads((root / places.status(name)).read_text())["state"] == "ended"
        assert run("mbox", "doctor", cwd=root).returncode == 0
        records = run("mbox", "log", "--op", "team.down", cwd=root, check=True).stdout
        assert '"by":"boss"' in records
    finally:
        end_all(root)


@needs_bwrap
def test_what_is_asked_for_in_a_sandbox_is_done_and_answered(root: Path, run: Run) -> None:
    """A member is removed, the other lives; the team drains; then there is nobody to be asked, and that is said."""
    def inside(*words: str) -> subprocess.CompletedProcess[str]:
        return run(*BWRAP, *words, cwd=root, env={"PATH": environment()["PATH"]})

    boss, worker = team_of(root, run, "sleep 1000")
    try:
        assert json.loads(inside("team", "remove", "blue", "w").stdout) == {"team": "blue", "removed": "w"}
        ended(worker)
        assert Path(f"/proc/{boss}").exists() and "w" not in (root / "blue.yaml").read_text().replace("while", "")
        (dog,) = until(lambda: watchdogs(root), "no watchdog")
        os.kill(dog, signal.SIGKILL)
        ended(dog)
        refused = inside("team", "down", "--force")
        assert refused.returncode == 2 and "run `team down blue` outside of this sandbox" in refused.stderr
        assert json.loads((root / places.team("blue")).read_text())["state"] == "up" and Path(f"/proc/{boss}").exists()
        start_watchdog(str(root))
        until(lambda: run("mbox", "watchdog", "--status", cwd=root).returncode == 0, "no watchdog")
        assert json.loads(inside("team", "drain", "--timeout", "10s").stdout) == {"team": "blue", "state": "draining"}
        ended(boss)
        assert json.loads(inside("team", "down", "--force").stdout)["state"] == "down"
    finally:
        end_all(root)


def test_an_interrupt_still_ends_it(root: Path, run: Run) -> None:
    """Ctrl-C reaches the command where it goes on."""
    team_of(root, run, "true; sleep 1000")
    beat = json.loads((root / places.heartbeat("boss")).read_text())
    environ = {**environment(), "MBOX_AGENT": "boss", "MBOX_INCARNATION": str(beat["incarnation"])}
    run("task", "add", "long", cwd=root, check=True)
    run("task", "claim", "--as", "w", cwd=root, check=True)
    one = subprocess.Popen([str(BIN / "team"), "down", "--timeout", "60s"], cwd=root, env=environ, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    try:
        assert one.stderr is not None
        assert "waiting until" in one.stderr.readline()
        assert {row.get("state") for row in json.loads(run("team", "status", cwd=root, check=True).stdout)} == {"draining"}
        why = json.loads(run("mbox", "status", cwd=root, check=True).stdout)["why"]
        assert [line for line in why if "blue" in line] == ["team blue is draining: `team down blue` ends it"]
        os.kill(one.pid, signal.SIGINT)
        assert one.wait(timeout=20) == 130
        assert json.loads((root / places.team("blue")).read_text())["state"] == "draining"
    finally:
        one.kill()
        one.communicate()
        run("team", "down", "--force", cwd=root, check=True)
        end_all(root)
