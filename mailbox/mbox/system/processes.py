"""Processes as the kernel names them for sure, and ending a whole group of them.

A process is named by its pid *and* its start time: a pid alone is used again.  Start times are clock ticks since boot
(proc(5), field 22), so a name is good for one boot of one machine; whoever keeps it across boots keeps the boot id too
(`host.Host.machine`).

Promised: nothing that was not meant is ever signalled.  `end_group` touches a group only while its leader is the very
process that was named, or, once the leader is gone, those members that ``ours`` says yes to: the kernel does not give a
pid out again while a process group has that number, so such members can only be the leader's own, unless the whole
group ended and a new one came to the same number.  When it returns, no process of the group is left running; zombies,
which hold nothing and only wait for their parents, do not count.

Not promised: anything about a process that made a session or a group of its own.

Without /proc (macOS) start times are unknown (0): a pid is then taken at its word, and a group is ended as a whole.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from mbox.system.host import start_ticks

PAUSE = 0.02
"""Seconds between two looks at whether a group has ended."""


class Identity(NamedTuple):
    """One process: pid, and its start time in clock ticks since boot (0: unknown)."""

    pid: int
    ticks: int


def identity(pid: int) -> Identity:
    """The process that has ``pid`` now."""
    return Identity(pid, start_ticks(pid))


def is_running(who: Identity) -> bool:
    """Whether that very process runs or is stopped; not if it is a zombie, or its pid is another's."""
    if who.pid <= 0:
        return False
    found = _stat(who.pid)
    if found is None:
        return not os.path.isdir("/proc/self") and _exists(who.pid)
    state, _group, ticks = found
    return state not in "ZX" and who.ticks in (0, ticks)


def group_members(pgid: int) -> list[int]:
    """The processes of group ``pgid`` that run or are stopped, zombies left out; empty without /proc."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []
    found = ((pid, _stat(pid)) for pid in pids)
    return [pid for pid, stat in found if stat and stat[1] == pgid and stat[0] not in "ZX"]


def end_group(leader: Identity, grace: float, ours: Callable[[int], bool] = lambda pid: False) -> list[int]:
    """End the process group that ``leader`` leads: SIGTERM, after ``grace`` seconds SIGKILL; which pids were ended.

    Stopped processes are continued, so that they see the SIGTERM.  Returns when none is left, within ``grace`` and the
    time that the kernel takes for a SIGKILL (at most a second is waited for it).
    """
    if leader.pid <= 1 or leader.pid == os.getpgrp():
        return []
    found = _meant(leader, ours)
    if not found:
        return []
    ended = set(found)
    _signal(leader, found, signal.SIGTERM)
    _signal(leader, found, signal.SIGCONT)
    if not _gone(leader, ours, grace, ended):
        until = time.monotonic() + 1.0
        while (left := _meant(leader, ours)) and time.monotonic() < until:
            ended.update(left)
            _signal(leader, left, signal.SIGKILL)
            time.sleep(PAUSE)
    return sorted(ended)


def carries(pid: int, wanted: dict[str, str]) -> bool:
    """Whether process ``pid`` was started with all of the variables ``wanted`` in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            found = set(file.read().split(b"\0"))
    except OSError:
        return False
    return all(os.fsencode(f"{name}={value}") in found for name, value in wanted.items())


def _meant(leader: Identity, ours: Callable[[int], bool]) -> list[int]:
    """The members that may be signalled."""
    stat = _stat(leader.pid)
    if stat is None and not os.path.isdir("/proc/self"):
        return [leader.pid] if _exists(leader.pid) else []
    if stat is not None and leader.ticks and stat[2] != leader.ticks:
        return []  # the pid is another's, so the group is too
    members = group_members(leader.pid)
    if stat is not None:
        return members if leader.ticks or leader.pid in members else []
    return [pid for pid in members if ours(pid)]


def _gone(leader: Identity, ours: Callable[[int], bool], seconds: float, seen: set[int]) -> bool:
    """Whether the group is gone within ``seconds``."""
    until = time.monotonic() + seconds
    while left := _meant(leader, ours):
        seen.update(left)
        if time.monotonic() >= until:
            return False
        time.sleep(PAUSE)
    return True


def _signal(leader: Identity, members: list[int], number: int) -> None:
    """Signal the whole group at once while its leader stands, so that none escapes by forking; else each member."""
    try:
        if is_running(leader) or not members or not os.path.isdir("/proc/self"):
            os.killpg(leader.pid, number)
            return
    except (ProcessLookupError, PermissionError):
        return
    for pid in members:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State letter, process group and start time of ``pid``; None if there is no such process, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return chr(fields[0][0]), int(fields[2]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
