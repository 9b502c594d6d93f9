"""What the kernel tells of a process in ``/proc/PID/stat`` (proc(5)).

Promised: one process as it was at one moment, read in one go.  The second field, the command's name, is whatever the
process says (blanks, brackets, line ends); what follows the last bracket is the kernel's.  Not promised: that the
process is still there, or that its pid is not another's by now.  There is no /proc but on Linux; on macOS `macos` tells.
"""

from __future__ import annotations

import os
import sys

MACOS: bool = sys.platform == "darwin"
"""Whether `macos` is asked."""

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
"""Clock ticks in a second, in which CPU times are counted."""


class Stat:
    """One process: state letter, parent, process group, and when it started in clock ticks since boot."""

    __slots__ = ("group", "parent", "state", "ticks")

    def __init__(self, state: str, parent: int, group: int, ticks: int) -> None:
        self.state, self.parent, self.group, self.ticks = state, parent, group, ticks

    @property
    def is_zombie(self) -> bool:
        """Whether it has ended, and only waits for its parent."""
        return self.state in "ZX"

    @property
    def is_stopped(self) -> bool:
        """Whether a signal or a debugger stopped it."""
        return self.state in "Tt"


def stat(pid: int) -> Stat | None:
    """Process ``pid``; None if there is no such process, or no /proc (but on macOS)."""
    if MACOS:
        from . import macos

        told = macos.stat(pid)
        return Stat(*told) if told else None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return Stat(chr(fields[0][0]), int(fields[1]), int(fields[2]), int(fields[19]))
    except (OSError, IndexError, ValueError):
        return None


def cpu_ticks(pid: int) -> int:
    """CPU time of process ``pid`` and of its children that it has waited for, in clock ticks; 0 if there is none."""
    if MACOS:
        from . import macos

        return macos.cpu_ticks(pid, TICKS)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
    except (OSError, ValueError):
        return 0


def environ(pid: int) -> dict[str, str]:
    """What process ``pid`` was started with in its environment; empty where that may not be read, or there is none."""
    if MACOS:
        from . import macos

        return macos.environ(pid)
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(word).partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}


def start_ticks(pid: int) -> int:
    """When process ``pid`` started, in clock ticks since boot; 0 if there is no such process or no /proc."""
    found = stat(pid)
    return found.ticks if found else 0
