"""An agent that is alive and does nothing: told once, and after a limit what it holds is free; whoever works is let work."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox import opening
from mbox.agents import registry
from mbox.format import places
from mbox.store.store import Actor
from teamkit import end_all, until

BIN = Path(sys.executable).parent
CONFIG = """
heartbeat: 0.3s
dead_after: 5s
renew_every: 0.4s
renewed_lease: 2s
watchdog_scan: 0.5s
stop_grace: 0.5s
stalled_after: {after}
stall_limit: {limit}
"""

QUIET = {
    "stopped": "kill -STOP $$",
    "hung": "exec sleep 1000",
    "at a person's question": "read -r line",
}
BUSY = {
    "computes": "while :; do :; done",
    "computes in a session of its own": "setsid -w bash -c 'while :; do :; done'",
    "acts": "while :; do task note one x >/dev/null; sleep 0.1; done",
    "waits in a command of ours": "while :; do mbox wait --timeout 60s >/dev/null 2>&1; done",
    "is seen by its hooks": "while :; do touch .mailbox/status/ann.json; sleep 0.3; done",
}

Start = Callable[..., None]

WRITES = "while :; do echo .; sleep 0.3; done"


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with ann, who reports to bob, and a task."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    for name in ("bob", "ann"):
        run("mbox", "agent", "add", name, cwd=tmp_path, check=True)
    store = opening.open_store(None, str(tmp_path))
    registry.add(store, Actor("user:me"), "ann", {"reports_to": "bob"})
    store.close()
    run("task", "add", "one", "--id", "one", cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Start ann on a terminal, with a watchdog; she claims the task and then does as she is told."""
    started: list[subprocess.Popen[bytes]] = []
    masters: list[int] = []

    def start(then: str, limit: str, after: str = "2s", log: Path | None = None) -> None:
        (root / places.CONFIG).write_text(CONFIG.format(limit=limit, after=after), encoding="utf-8")
        master, slave = pty.openpty()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if log else os.dup(slave)
        environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        words = [str(BIN / "mbox"), "run", "--as", "ann", "--no-watchdog", "--", "bash", "-c", f"task claim --start; {then}"]
        started.append(subprocess.Popen(words, cwd=root, env=environ, stdin=slave, stdout=out, stderr=out,
                                        start_new_session=True))  # fmt: skip
        os.close(slave)
        os.close(out)
        masters.append(master)
        started.append(subprocess.Popen([str(BIN / "mbox"), "watchdog"], cwd=root, start_new_session=True))
        until(lambda: task(root)["status"] == "running", lambda: task(root))

    yield start
    for one in started:
        one.terminate()
    for one in started:
        one.wait(timeout=20)
    for master in masters:
        os.close(master)
    end_all(root)


def task(root: Path) -> dict[str, Any]:
    """The task's document."""
    doc: dict[str, Any] = json.loads((root / ".tasks/one.json").read_text())
    return doc


def told(root: Path) -> dict[str, Any]:
    """The heartbeat."""
    beat: dict[str, Any] = json.loads((root / places.heartbeat("ann")).read_text())
    return beat


def why(root: Path, run: Run) -> list[str]:
    """What `mbox status` says of ann."""
    lines = json.loads(run("mbox", "status", cwd=root, check=True).stdout).get("why", [])
    return [line for line in lines if line.startswith("ann ")]


@pytest.mark.parametrize("how", QUIET)
def test_who_does_nothing_is_told_of_once_and_keeps_its_task_for_a_while(root: Path, run: Run, start: Start, how: str) -> None:
    """In `why`, and as one message to her superior; she still holds the task."""
    start(QUIET[how], "60s")
    inbox = root / places.new_folder("bob")
    until(lambda: list(inbox.glob("m*.json")), inbox)
    (line,) = why(root, run)
    assert "ann does nothing: no output, no CPU time, no command and no hook for" in line
    assert ("its program is stopped" in line) == (how == "stopped")
    at = told(root)["mono"]
    until(lambda: told(root)["mono"] > at + 2, "beats")
    assert len(list(inbox.glob("m*.json"))) == 1
    assert (task(root)["status"], task(root)["attempt_count"]) == ("running", 0)


def test_past_the_limit_nothing_is_renewed(root: Path, run: Run, start: Start) -> None:
    """The task is free, though its holder's process lives; once that goes on it is told so."""
    start("kill -STOP $$; task done one --json >done 2>&1; echo $? >status; sleep 1000", "3s")
    until(lambda: task(root)["status"] == "queued", lambda: task(root))
    assert task(root)["attempt_count"] == 1
    os.kill(told(root)["child"], signal.SIGCONT)
    until(lambda: (root / "status").exists() and (root / "status").read_text(), "no status")
    assert (root / "status").read_text() == "5\n"


@pytest.mark.parametrize("how", BUSY)
def test_who_does_something_is_left_alone(root: Path, run: Run, start: Start, how: str) -> None:
    """Each sign alone is enough."""
    start(BUSY[how], "3s")
    at = told(root)["mono"]
    until(lambda: told(root)["mono"] > at + 5, "beats")
    assert why(root, run) == [] and not list((root / places.new_folder("bob")).glob("m*.json"))
    assert (task(root)["status"], task(root)["attempt_count"]) == ("running", 0)


@pytest.mark.parametrize(("after", "seconds"), [("2s", 5), ("10s", 14)], ids=["file", "terminal"])
def test_who_writes_is_left_alone(root: Path, run: Run, start: Start, after: str, seconds: int) -> None:
    """Into a file, or on a terminal, whose time the kernel notes every 8 seconds."""
    start(WRITES, "30s", after, root / "log" if after == "2s" else None)
    at = told(root)["mono"]
    until(lambda: told(root)["mono"] > at + seconds, "beats")
    assert why(root, run) == [] and not list((root / places.new_folder("bob")).glob("m*.json"))
