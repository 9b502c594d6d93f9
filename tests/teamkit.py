"""Tools for tests with tmux: a private server that is always ended, a store with short times, waiting for things."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mbox import places

BIN = Path(sys.executable).parent
HAVE_TMUX = shutil.which("tmux") is not None
NO_TMUX = "tmux is not installed: panes are not tried"

CONFIG = """
heartbeat: 0.3s
dead_after: 3s
renew_every: 0.5s
renewed_lease: 5s
watchdog_scan: 0.5s
stop_grace: 0.5s
nudge_again: 1s
nudge_longest: 8s
"""


def until(look: Callable[[], Any], what: object, seconds: float = 20) -> Any:
    """What ``look`` finds, waited for."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.02)
    return found


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The socket of a private tmux server, which is ended afterwards."""
    socket = str(folder / "tmux.sock")
    try:
        yield socket
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], check=False, capture_output=True)


def end_all(root: Path) -> None:
    """Kill the watchdog and every wrapper and program of the store."""
    groups = watchdogs(root)
    for path in (root / places.HEARTBEATS).glob("*"):
        try:
            beat = json.loads(path.read_text())
            groups += [beat["pid"], -beat["child"]]
        except (OSError, ValueError, KeyError):
            continue
    for pid in groups:
        try:
            if pid:
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def watchdogs(root: Path) -> list[int]:
    """Pids of the watchdogs of the store in ``root``; one that has only just begun has written nothing yet."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"watchdog" in words and os.fsencode(root) in words:
            found.append(int(folder.name))
    return found


def environment() -> dict[str, str]:
    """The caller's environment with the installed commands first on the PATH."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
