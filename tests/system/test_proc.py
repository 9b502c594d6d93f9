"""Reading /proc/PID/stat: whatever a process calls itself, its fields are the kernel's.  Real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbox.system.proc import start_ticks, stat
from mbox.system.processes import identity, is_running

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")

Start = Callable[[str], "subprocess.Popen[bytes]"]

NAMES = ["cat", "a b", ") Z 1 1 (", "(x", "y)", "x\ny) R 7", ") "]
"""The last bracket of the line is not the first, a blank separates no field, and a state in a name is no state."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``cat`` under another name, in a group of its own; it is killed afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    program = shutil.which("cat")
    assert program is not None

    def start(name: str) -> subprocess.Popen[bytes]:
        path = tmp_path / name
        path.symlink_to(os.path.realpath(program))
        one = subprocess.Popen(["cat"], executable=path, process_group=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(one)
        assert one.stdin is not None and one.stdout is not None
        one.stdin.write(b".")  # it answers once it bears the name
        one.stdin.flush()
        one.stdout.read(1)
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_blanks_and_brackets_shifts_no_field(start: Start, name: str) -> None:
    """State, parent, group and start time are those of the process, not pieces of its name."""
    one = start(name)
    with open(f"/proc/{one.pid}/comm", "rb") as file:
        assert file.read() == os.fsencode(name) + b"\n"
    found = stat(one.pid)
    assert found is not None
    assert (found.parent, found.group, found.is_zombie) == (os.getpid(), one.pid, False)
    assert found.state in "RSD"
    assert found.ticks == start_ticks(one.pid) >= start_ticks(os.getpid()) > 0
    assert is_running(identity(one.pid))


def test_a_stopped_process_a_zombie_and_nobody(start: Start) -> None:
    """Each is told from the others; who is gone has no start time."""
    one = start("cat")
    one.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, one.pid, os.WSTOPPED)
    found = stat(one.pid)
    assert found is not None and found.is_stopped and not found.is_zombie
    one.kill()
    os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
    found = stat(one.pid)
    assert found is not None and found.is_zombie and not found.is_stopped
    one.wait()
    assert stat(one.pid) is None
    assert start_ticks(one.pid) == 0
