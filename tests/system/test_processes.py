"""Processes by pid and start time; a group is ended, and nothing else is ever signalled.  Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit import FakeHost
from mbox.system.host import Host
from mbox.system.processes import Identity, carries, end_group, group_members, identity, is_running, send
from teamkit import ended

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc: start times are not known here")

WAITER = "import sys; print('up', flush=True); sys.stdin.read()"

STUBBORN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    pass
print("up", os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code as the leader of a new group, stdin an open pipe; whatever is left is killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *words: str, **more: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [sys.executable, "-c", code, *words], process_group=0, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **more},
        )  # fmt: skip
        started.append(one)
        return one

    yield start
    for one in started:
        try:
            os.killpg(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        one.wait()
        assert one.stdin is not None and one.stdout is not None
        one.stdin.close()
        one.stdout.close()


def up(one: subprocess.Popen[str], lines: int = 1) -> list[str]:
    """Wait until ``one`` has printed so many lines."""
    assert one.stdout is not None
    return [one.stdout.readline().strip() for _ in range(lines)]


Start = Callable[..., "subprocess.Popen[str]"]


def test_a_process_is_its_pid_and_its_start_time(start: Start) -> None:
    """The same pid with another start time is somebody else; a zombie is nobody."""
    one = start(WAITER)
    up(one)
    who = identity(one.pid)
    assert who.ticks > 0 and is_running(who)
    assert not is_running(Identity(who.pid, who.ticks + 1))
    one.kill()
    ended(one.pid)
    assert not is_running(who)
    one.wait()
    assert not is_running(who)


def test_a_group_that_ignores_sigterm_is_killed_with_its_children(start: Start) -> None:
    """After the grace every member is gone, and seen to be."""
    one = start(STUBBORN)
    up(one, 2)
    members = group_members(one.pid)
    assert len(members) == 2
    ended = end_group(identity(one.pid), 0.2, Host())
    assert ended == sorted(members)
    assert group_members(one.pid) == []


def test_a_group_that_heeds_sigterm_has_its_grace(start: Start, tmp_path: Path) -> None:
    """What a program does at SIGTERM, it has time for, while it is looked at again and again."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    class Patient(Host):
        """A clock at whose fifth pause the program has tidied."""

        pauses = 0

        def sleep(self, seconds: float) -> None:
            self.pauses += 1
            if self.pauses == 5:
                gate.write_bytes(b"")
            super().sleep(seconds)

    one = start(
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nprint('up', flush=True)\n"
        f"signal.sigwait([signal.SIGTERM])\nopen({str(gate)!r}).read()\nprint('tidied', flush=True)"
    )
    up(one)
    host = Patient()
    assert end_group(identity(one.pid), 30, host) == [one.pid]
    assert host.pauses >= 5
    assert up(one) == ["tidied"]
    assert one.wait() == 0


def test_the_grace_is_measured_by_the_clock_that_is_handed_in(start: Start) -> None:
    """SIGKILL comes when that clock says so: after the whole grace, and without any other time passing."""
    one = start(STUBBORN)
    up(one, 2)
    host = FakeHost()
    began = host.mono()
    assert len(end_group(identity(one.pid), 2, host)) == 2
    assert host.mono() - began == pytest.approx(2, abs=1.1)


def test_a_stopped_program_is_ended_too(start: Start) -> None:
    """It is continued, so that it sees the SIGTERM."""
    one = start(WAITER)
    up(one)
    os.kill(one.pid, signal.SIGSTOP)
    assert end_group(identity(one.pid), 30, Host()) == [one.pid]
    assert one.wait() == -signal.SIGTERM


def test_another_process_with_the_same_pid_is_left_alone(start: Start) -> None:
    """A reused pid: the start time differs, so neither it nor its group is touched."""
    one = start(WAITER)
    up(one)
    who = identity(one.pid)
    assert end_group(Identity(who.pid, who.ticks - 1), 0.1, Host(), ours=lambda pid: True) == []
    assert one.poll() is None and is_running(who)


def test_a_name_without_a_start_time_is_nobodys(start: Start) -> None:
    """A file can name any pid; where the kernel tells start times, no time is not every time."""
    one = start(WAITER)
    up(one)
    who = Identity(one.pid, 0)
    assert not is_running(who)
    assert end_group(who, 0.1, Host(), ours=lambda pid: True) == []
    assert not send(who, signal.SIGKILL) and not send(Identity(one.pid, identity(one.pid).ticks + 1), signal.SIGKILL)
    assert one.poll() is None
    assert send(identity(one.pid), signal.SIGTERM, signal.SIGCONT)
    assert one.wait() == -signal.SIGTERM


def test_what_is_left_of_a_group_without_its_leader_is_ended_if_it_is_ours(start: Start) -> None:
    """The leader is gone: only members whose environment names the agent are touched."""
    code = "import os, sys\nif os.fork(): os._exit(0)\nprint('up', flush=True)\nsys.stdin.read()"
    one = start(code, MBOX_AGENT="ann")
    who = identity(one.pid)
    up(one)
    one.wait()
    (left,) = group_members(one.pid)
    assert end_group(who, 0.1, Host()) == []
    assert end_group(who, 0.1, Host(), ours=lambda pid: carries(pid, {"MBOX_AGENT": "bob"})) == []
    assert group_members(one.pid) == [left]
    assert end_group(who, 5, Host(), ours=lambda pid: carries(pid, {"MBOX_AGENT": "ann"})) == [left]
    assert group_members(one.pid) == []


def test_its_own_group_and_nobody_are_refused() -> None:
    """Neither this process nor pid 0 or 1 can be meant."""
    for pid in (0, 1, -1, os.getpgrp()):
        assert end_group(Identity(pid, 0), 0.1, Host(), ours=lambda pid: True) == []
