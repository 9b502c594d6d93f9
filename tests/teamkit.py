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


def has_bwrap() -> bool:
    """Whether bubblewrap is there and may make namespaces here."""
    line = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--", "true"]
    return bool(shutil.which("bwrap")) and subprocess.run(line, capture_output=True, check=False).returncode == 0


def begin(call: Callable[..., object], repo: Path) -> None:
    """Make a store for a team in ``repo``, by the caller's own way to call a command."""
    call("mbox", "init", at=repo)
    (repo / places.CONFIG).write_text(CONFIG, encoding="utf-8")


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


def readable(fd: int, seconds: float) -> bool:
    """Whether there is something to read within ``seconds``; select(2) takes no descriptor above 1023."""
    watch = select.poll()
    watch.register(fd, select.POLLIN | select.POLLHUP)
    return bool(watch.poll(seconds * 1000))


def ended(pid: int, seconds: float = 20) -> None:
    """Return when the process, which need not be a child, has ended; it may be a zombie then."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert readable(process, seconds), f"{pid} still runs after {seconds} s"
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
    """Kill every command of ours that has to do with the store in ``root``, and every program under a wrapper of its.

    Also a watchdog that a command has forked and that is not itself yet (it still has the command's words), one that finds its
    root by where it stands, and what a program has left there in a session of its own.
    """
    groups = []
    for path in (root / places.HEARTBEATS).glob("*"):
        try:
            groups.append(-json.loads(path.read_text())["child"])
        except (OSError, ValueError, KeyError):
            continue
    while found := ours(root) + standing(root) + [group for group in groups if group]:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        groups = []


def standing(root: Path) -> list[int]:
    """Pids of the processes that stand in ``root`` or a tree of its members', or below; a tmux server may stand anywhere."""
    own = os.path.realpath(root)
    below, found = (f"{own}/", f"{own}.worktrees/"), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            at, name = os.readlink(folder / "cwd"), (folder / "comm").read_text()
        except OSError:
            continue
        is_there = at == own or at.startswith(below)
        if is_there and not name.startswith("tmux") and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def ours(root: Path) -> list[int]:
    """Pids of the commands of ours that have ``root``, or what is in it, among their words."""
    own, below = os.fsencode(root), os.fsencode(f"{root}/")
    return [pid for pid, words in _pythons() if any(word == own or word.startswith(below) for word in words)]


def _pythons() -> list[tuple[int, list[bytes]]]:
    """Pid and words of every Python that runs, but this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"python" in os.path.basename(words[0]) and int(folder.name) != os.getpid():
            found.append((int(folder.name), words))
    return found


def watchdogs(root: Path) -> list[int]:
    """Pids of the watchdogs of the store in ``root``; one that has only just begun has written nothing yet."""
    return [pid for pid, words in _pythons() if b"watchdog" in words and os.fsencode(root) in words]


def environment() -> dict[str, str]:
    """The caller's environment with the installed commands first on the PATH."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
