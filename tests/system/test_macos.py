"""Processes on macOS, with a psutil that tells what the kernel here does: a reused pid is another process there too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from conftest import CHECKOUT
from mbox.system import proc, processes
from mbox.system.processes import Identity, identity, is_running

REAL = proc.stat


class Gone(Exception):
    """What psutil raises for a process that is not there."""


class Process:
    """As `psutil.Process`."""

    def __init__(self, pid: int) -> None:
        proc.MACOS = False
        found = REAL(pid)
        proc.MACOS = True
        if found is None:
            raise Gone
        self.found = found

    def status(self) -> str:
        """In psutil's words."""
        return {"Z": "zombie", "T": "stopped"}.get(self.found.state, "running")

    def ppid(self) -> int:
        """The parent."""
        return self.found.parent

    def create_time(self) -> float:
        """Seconds."""
        return self.found.ticks / 100

    def cpu_times(self) -> Any:
        """Some."""
        return SimpleNamespace(user=1.5, system=0.5)

    def cmdline(self) -> list[str]:
        """Some."""
        return ["sleep", "1000"]

    def environ(self) -> dict[str, str]:
        """Some."""
        return {"MBOX_ROOT": "/r", "MBOX_AGENT": "ann"}


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads its group, on what looks like macOS."""
    one = subprocess.Popen(["sleep", "1000"], process_group=0)
    fake = ModuleType("psutil")
    vars(fake).update(Process=Process, Error=Gone, STATUS_ZOMBIE="zombie", STATUS_STOPPED="stopped", pids=lambda: [one.pid])
    monkeypatch.setitem(sys.modules, "psutil", fake)
    monkeypatch.setattr(proc, "MACOS", True)
    yield one
    one.kill()
    one.wait()


def test_a_pid_that_was_given_out_again_is_another_process(child: subprocess.Popen[bytes]) -> None:
    """It has a start time, and one with another is not it."""
    who = identity(child.pid)
    assert who.ticks > 0 and is_running(who)
    assert not is_running(Identity(child.pid, who.ticks - 1))
    assert processes.end_group(Identity(child.pid, who.ticks - 1), 0.1, Clock()) == [] and child.poll() is None


def test_what_is_asked_of_processes_is_told(child: subprocess.Popen[bytes]) -> None:
    """Group, command line, CPU time, environment; and nothing of one that is gone."""
    assert processes.group_members(child.pid) == [child.pid]
    assert processes.words(child.pid) == ["sleep", "1000"] and proc.cpu_ticks(child.pid) == 2 * proc.TICKS
    assert processes.carries(child.pid, {"MBOX_AGENT": "ann"}) and not processes.carries(child.pid, {"MBOX_AGENT": "bob"})
    assert [pid for pid, _ in processes.carriers("MBOX_ROOT", "/r")] == [child.pid]
    assert processes.end_group(identity(child.pid), 2, Clock()) == [child.pid]
    child.wait()
    assert proc.stat(child.pid) is None and processes.words(child.pid) == [] and not is_running(Identity(child.pid, 1))


def test_of_a_group_whose_leader_is_gone_only_its_own_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are known there as well, though there is no /proc."""
    lines = "sleep 1000 & echo $!; sleep 1001 & echo $!"
    with subprocess.Popen(["bash", "-c", lines], process_group=0, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        ours, other = (int(leader.stdout.readline()) for _ in range(2))
        who = identity(leader.pid)
        leader.wait()
        fake = ModuleType("psutil")
        vars(fake).update(Process=Process, Error=Gone, STATUS_ZOMBIE="zombie", STATUS_STOPPED="stopped")
        vars(fake).update(pids=lambda: [ours, other])
        monkeypatch.setitem(sys.modules, "psutil", fake)
        monkeypatch.setattr(proc, "MACOS", True)
        is_folder = os.path.isdir
        monkeypatch.setattr(os.path, "isdir", lambda path: path != "/proc/self" and is_folder(path))
        try:
            assert processes.end_group(who, 2, Clock(), lambda pid: pid == ours) == [ours]
            assert is_running(identity(other)) and not is_running(identity(ours))
        finally:
            for pid in (ours, other):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_program_s_variables_are_told(child: subprocess.Popen[bytes]) -> None:
    """A watchdog that comes later reads them there too."""
    assert proc.environ(child.pid) == {"MBOX_ROOT": "/r", "MBOX_AGENT": "ann"}


class Clock:
    """The real time."""

    def wall(self) -> float:
        """Seconds."""
        return os.times().elapsed

    mono = wall

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        subprocess.run(["sleep", f"{seconds}"], check=True)


def test_only_macos_depends_on_psutil() -> None:
    """The marker of the dependency."""
    needs = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [line.partition("; ")[2] for line in needs if line.startswith("psutil")] == ['sys_platform == "darwin"']
