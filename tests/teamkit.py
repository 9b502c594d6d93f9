"""Tools for tests with tmux: a private server that is always ended, a store with short times, waiting for things."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mbox.format import places
from mbox.system.watch import Watcher

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


def until(look: Callable[[], Any], what: object, seconds: float = 20, at: Path | None = None) -> Any:
    """What ``look`` finds, looked for again at each change of the file or in the folder ``at``.

    Without ``at`` it looks every 20 ms, the only sleep that waits for something.  That is for what tells nobody that it
    has changed: the screen of a tmux pane, a process that somebody else started and that stops, a lease whose time runs
    out, the answer of a command that has all of these in it.
    """
    end = time.monotonic() + seconds
    with nullcontext() if at is None else Watcher([str(at)]) as watcher:
        while not (found := look()):
            left = end - time.monotonic()
            assert left > 0, f"not within {seconds} s, seen last: {found!r}: {what() if callable(what) else what}"
            if watcher is None:
                time.sleep(min(left, 0.02))
            else:
                watcher.wait(left)
    return found


def ended(pid: int, seconds: float = 20) -> None:
    """Return when the process, which need not be a child, has ended; it may be a zombie then."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], seconds)[0], f"{pid} still runs after {seconds} s"
    finally:
        os.close(process)


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
