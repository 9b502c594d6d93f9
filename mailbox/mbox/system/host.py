"""The machine as the toolkit sees it: clocks, machine identity, process identity.

Everything that is different at every run comes from here and is handed in, so that a test can stop the clock, reboot
the machine or reuse a pid without waiting for any of it.

A *machine* is boot id + time namespace (``store.md``, "Who shares what"): within one, CLOCK_MONOTONIC values can be
compared, and a kernel lock reaches every process.  CLOCK_MONOTONIC and not CLOCK_BOOTTIME, because it stands still
in a suspend: nobody loses a lease by closing a laptop.
"""

from __future__ import annotations

import os
import sys
import time
from binascii import crc32
from typing import Protocol

from .disk import Owner


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _boot_id() -> str:
    try:
        return _read("/proc/sys/kernel/random/boot_id")
    except OSError:
        return _boot_id_elsewhere()


def _boot_id_elsewhere() -> str:
    """A boot id where there is no /proc: macOS and the BSDs name the boot session or its time."""
    import subprocess

    from . import executables

    for name in ("kern.bootsessionuuid", "kern.boottime"):
        done = subprocess.run([executables.find("sysctl"), "-n", name], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip().split(", usec")[0]
    return f"{sys.platform}-unknown"


def _namespace(kind: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{kind}").rpartition("[")[2].rstrip("]")
    except OSError:
        return "0"


class Clock(Protocol):
    """Where time comes from; `Host` is the real one."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def mono(self) -> float:
        """Seconds on a clock that is never set back."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Return after that time."""
        ...


class Host:
    """The real clocks and identities.  Tests subclass it.

    ``boot`` replaces the kernel's boot id (the tests' ``MBOX_BOOT_ID``).  A host with a given boot id counts as
    booted just now, so that a changed id always looks like a reboot and never like a second kernel.
    """

    __slots__ = ("_given", "_machine", "_process")

    def __init__(self, boot: str | None = None) -> None:
        self._given = boot
        self._machine = ""
        self._process: dict[str, object] = {"pid": 0}

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def mono(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Return after ``seconds`` of that clock."""
        time.sleep(seconds)

    def state_folder(self) -> str:
        """Where programs remember what this user said: ``XDG_STATE_HOME``, else ``~/.local/state``; an absolute path.

        What root says is never kept in the home of another user, whose environment ``sudo -E`` keeps: root's own is taken.
        """
        given = os.environ.get("XDG_STATE_HOME", "")
        folder = given if os.path.isabs(given) else os.path.abspath(os.path.expanduser("~/.local/state"))
        if Owner.of(folder) is None:
            return folder
        from pwd import getpwuid

        return f"{getpwuid(0).pw_dir}/.local/state"

    name: str = ""
    """What this machine is called in a store that several share; empty in a store of one machine."""

    @property
    def machine(self) -> str:
        """Boot id and time namespace, as one word."""
        if not self._machine:
            self._machine = f"{self._given or _boot_id()}:{_namespace('time')}"
        return self._machine

    @property
    def life(self) -> str:
        """`machine` as a word from which it cannot be told: for what others may come to read.

        These 64 bits leave as many of a boot id's open.  Who could tell it could pass a heartbeat or a cache of his own
        off as made here.
        """
        word = self.machine.encode()
        return f"{crc32(word):08x}{crc32(word[::-1]):08x}"

    def booted_at(self) -> float:
        """Wall time of this machine's boot (now, for a host with a given boot id)."""
        if self._given:
            return time.time()
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.time() - time.clock_gettime(clock)

    def process(self) -> dict[str, object]:
        """Who holds the lock, for people: pid, pid namespace and start time in ticks."""
        pid = os.getpid()
        if self._process["pid"] != pid:
            from .proc import start_ticks

            self._process = {"pid": pid, "pidns": pid_namespace(), "start": start_ticks(pid)}
        return self._process


REAL = Host()
"""The clock where none is handed in."""


def pid_namespace() -> str:
    """In which namespace this process's pids count; "0" where that is not known."""
    return _namespace("pid")
