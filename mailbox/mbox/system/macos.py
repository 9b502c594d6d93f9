"""What `proc` and `processes` tell of a process where there is no /proc: on macOS, by psutil.

Promised: a process has a start time there too (hundredths of a second since the epoch), so a pid that is another's by now is
noticed.  Loaded on macOS alone, which alone has psutil among its dependencies.  Not promised: anything of other users'
processes, nor an environment that the kernel keeps to itself.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def _psutil() -> Any:
    return import_module("psutil")


def stat(pid: int) -> tuple[str, int, int, int] | None:
    """State letter, parent, group and start of process ``pid``; None if there is none, or it may not be looked at."""
    psutil = _psutil()
    try:
        one = psutil.Process(pid)
        letter = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_STOPPED: "T"}.get(one.status(), "R")
        return letter, one.ppid(), os.getpgid(pid), round(one.create_time() * 100)
    except (psutil.Error, OSError, ValueError):
        return None


def cpu_ticks(pid: int, ticks: int) -> int:
    """CPU time of process ``pid``, in ``ticks`` of a second; 0 if there is none."""
    psutil = _psutil()
    try:
        times = psutil.Process(pid).cpu_times()
    except (psutil.Error, OSError, ValueError):
        return 0
    return int((times.user + times.system) * ticks)


def pids() -> list[int]:
    """Every process."""
    return list(_psutil().pids())


def words(pid: int) -> list[str]:
    """The command line of process ``pid``; empty where it cannot be had."""
    psutil = _psutil()
    try:
        return list(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError, ValueError):
        return []


def cwd(pid: int) -> str:
    """The folder in which process ``pid`` stands; empty where it cannot be had."""
    psutil = _psutil()
    try:
        return str(psutil.Process(pid).cwd())
    except (psutil.Error, OSError, ValueError):
        return ""


def environ(pid: int) -> dict[str, str]:
    """The environment with which process ``pid`` was started; empty where it cannot be had."""
    psutil = _psutil()
    try:
        return dict(psutil.Process(pid).environ())
    except (psutil.Error, OSError, ValueError):
        return {}
