"""Processes as the kernel names them for sure, and ending a whole group of them.

A process is named by its pid *and* its start time: a pid alone is used again.  Start times are clock ticks since boot
(proc(5), field 22), so a name is good for one boot of one machine; whoever keeps it across boots keeps the boot id too
(`host.Host.machine`).

Promised: nothing that was not meant is ever signalled: a name with the wrong start time, or where the kernel tells
start times with none, is nobody's (`is_running`), whatever file it stands in.  `end_group` touches a group only while its
leader is the very process that was named, or, once the leader is gone, those members that ``ours`` says yes to: the
kernel does not give a pid out again while a process group has that number, so such members can only be the leader's own,
unless the whole group ended and a new one came to the same number.  When it returns, no process of the group is left
running; zombies, which hold nothing and only wait for their parents, do not count.

Not promised: anything about a process that made a session or a group of its own.

On macOS `macos` tells of processes.  Where there is neither, all start times are unknown (0): a pid is then taken at its
word, and a group is ended as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from . import proc
from .proc import start_ticks, stat

if TYPE_CHECKING:
    from .host import Clock

PAUSE = 0.02
"""Seconds between two looks at whether a group has ended."""


DEEPEST = 100
"""How many parents of a process are looked at."""


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
    found = stat(who.pid)
    if found is None:
        return not os.path.isdir("/proc/self") and _exists(who.pid)
    return not found.is_zombie and who.ticks == found.ticks


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped process ``pid``."""
    found = stat(pid)
    return found is not None and found.is_stopped


def send(who: Identity, *numbers: int) -> bool:
    """Send signals to that very process, and to nobody else; whether it was there."""
    if who.pid <= 1 or not is_running(who):
        return False
    try:
        for number in numbers:
            os.kill(who.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def group_members(pgid: int) -> list[int]:
    """The processes of group ``pgid`` that run or are stopped, zombies left out; empty without /proc."""
    found = ((pid, stat(pid)) for pid in _pids())
    return [pid for pid, one in found if one and one.group == pgid and not one.is_zombie]


def descends(pid: int, above: int) -> bool:
    """Whether process ``pid`` is ``above``, or was started below it by processes that are all still there."""
    for _ in range(DEEPEST):
        if pid == above:
            return True
        found = stat(pid)
        if found is None or pid <= 1:
            return False
        pid = found.parent
    return False


def end_group(leader: Identity, grace: float, clock: Clock,
              ours: Callable[[int], bool] = lambda pid: False) -> list[int]:  # fmt: skip
    """End the process group that ``leader`` leads: SIGTERM, after ``grace`` seconds SIGKILL; which pids were ended.

    Stopped processes are continued, so that they see the SIGTERM.  Returns when none is left, within ``grace`` and the
    time that the kernel takes for a SIGKILL (at most a second is waited for it).
    """
    import signal  # most who ask here only look

    if leader.pid <= 1 or leader.pid == os.getpgrp():
        return []
    found = _meant(leader, ours)
    if not found:
        return []
    ended = set(found)
    _signal(leader, found, signal.SIGTERM)
    _signal(leader, found, signal.SIGCONT)
    if not _gone(leader, ours, grace, clock, ended):
        until = clock.mono() + 1.0
        while (left := _meant(leader, ours)) and clock.mono() < until:
            ended.update(left)
            _signal(leader, left, signal.SIGKILL)
            clock.sleep(PAUSE)
    return sorted(ended)


def carries(pid: int, wanted: dict[str, str]) -> bool:
    """Whether process ``pid`` was started with all of the variables ``wanted`` in its environment."""
    return wanted.items() <= proc.environ(pid).items()


def carriers(name: str, value: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Every process that was started with ``name=value`` in its environment, with all of that; none without /proc.

    Of other users' processes nothing can be seen.
    """
    for pid in _pids():
        found = proc.environ(pid)
        if found.get(name) == value:
            yield pid, found


def words(pid: int) -> list[str]:
    """The command line of process ``pid``; empty where there is none, as of a zombie."""
    if proc.MACOS:
        from . import macos

        return macos.words(pid)
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = os.fsdecode(file.read()).rstrip("\0")
    except OSError:
        return []
    return line.split("\0") if line else []


def cwd(pid: int) -> str:
    """The folder in which process ``pid`` stands; empty where that cannot be had."""
    if proc.MACOS:
        from . import macos

        return macos.cwd(pid)
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _pids() -> list[int]:
    if proc.MACOS:
        from . import macos

        return macos.pids()
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _are_told() -> bool:
    """Whether the processes of a group can be known here."""
    return proc.MACOS or os.path.isdir("/proc/self")


def _meant(leader: Identity, ours: Callable[[int], bool]) -> list[int]:
    """The members that may be signalled."""
    found = stat(leader.pid)
    if found is None and not _are_told():
        return [leader.pid] if _exists(leader.pid) else []
    if found is not None and found.ticks != leader.ticks:
        return []  # the pid is another's, so the group is too
    members = group_members(leader.pid)
    if found is not None:
        return members
    return [pid for pid in members if ours(pid)]


def _gone(leader: Identity, ours: Callable[[int], bool], seconds: float, clock: Clock, seen: set[int]) -> bool:
    """Whether the group is gone within ``seconds``."""
    until = clock.mono() + seconds
    while left := _meant(leader, ours):
        seen.update(left)
        if clock.mono() >= until:
            return False
        clock.sleep(PAUSE)
    return True


def _signal(leader: Identity, members: list[int], number: int) -> None:
    """Signal the whole group at once while its leader stands, so that none escapes by forking; else each member."""
    try:
        if is_running(leader) or not members or not _are_told():
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
