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
from functools import lru_cache


def stamp(seconds: float) -> str:
    """Wall time ``seconds`` since the epoch as RFC 3339 in UTC with microseconds: ``2026-01-02T03:04:05.000006Z``."""
    whole = int(seconds // 1)
    micro = round((seconds - whole) * 1e6)
    if micro == 1_000_000:
        whole, micro = whole + 1, 0
    return f"{_second(whole)}.{micro:06d}Z"


@lru_cache(16)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def seconds(text: str) -> float:
    """The inverse of `stamp`; ValueError for anything else."""
    from datetime import UTC, datetime

    if not text.endswith("Z"):
        raise ValueError(f"not a UTC time: {text!r}")
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC).timestamp()


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

    for name in ("kern.bootsessionuuid", "kern.boottime"):
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip().split(", usec")[0]
    return f"{sys.platform}-unknown"


def _namespace(kind: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{kind}").rpartition("[")[2].rstrip("]")
    except OSError:
        return "0"


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

    @property
    def machine(self) -> str:
        """Boot id and time namespace, as one word."""
        if not self._machine:
            self._machine = f"{self._given or _boot_id()}:{_namespace('time')}"
        return self._machine

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
            self._process = {"pid": pid, "pidns": pid_namespace(), "start": start_ticks(pid)}
        return self._process


def pid_namespace() -> str:
    """In which namespace this process's pids count; "0" where that is not known."""
    return _namespace("pid")


def start_ticks(pid: int) -> int:
    """When process ``pid`` started, in clock ticks since boot; 0 if there is no such process or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
