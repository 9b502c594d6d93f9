"""Running a command for somebody: by argument list, never through a shell; its exit status is the caller's.

Promised: the command gets this process's stdin, stdout, stderr, environment and signal mask, and nothing
else that is open here.  While it runs, a signal that ends a process is passed on to it and does not end
this one; what a terminal sends reaches the whole foreground group by itself and is not sent twice.
``tick`` is called in time. Not promised: anything once this process is killed with SIGKILL; the command
then goes on alone.

Where there is no sigtimedwait(2), all signals are passed on, also those of a terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from mbox.errors import MboxError

PASSED = frozenset(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Signals that are passed on."""

_RESTORED = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
"""Signals that Python ignores and a command expects at their default."""

Tick = Callable[[], None]


class CannotRun(MboxError):
    """The command is not there (127) or cannot be run (126), as shells say it."""

    def __init__(self, command: str, error: OSError) -> None:
        super().__init__(f"{command}: {error.strerror}")
        self.exit = 127 if isinstance(error, FileNotFoundError) else 126


def run(words: Sequence[str], tick: Tick | None = None, every: float = 3600.0) -> int:
    """Run the command ``words``, and ``tick`` in between; its status, or -N if signal N ended it."""
    if not hasattr(signal, "sigtimedwait") or not hasattr(os, "posix_spawnp"):
        return _run_elsewhere(words, tick, every)
    watched = PASSED | {signal.SIGCHLD}
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        _flush()
        try:
            pid = os.posix_spawnp(words[0], list(words), os.environ, setsigmask=before, setsigdef=_RESTORED)
        except OSError as error:
            raise CannotRun(words[0], error) from None
        return _wait(pid, watched, tick, every)
    finally:
        while signal.sigtimedwait(watched, 0):
            pass  # it was meant for the command, which has ended
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGCHLD, handler)


def _wait(pid: int, watched: frozenset[signal.Signals], tick: Tick | None, every: float) -> int:
    due = time.monotonic() + every
    while True:
        info = signal.sigtimedwait(watched, max(0.0, due - time.monotonic()))
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if info is not None and info.si_signo != signal.SIGCHLD and info.si_code <= 0:
            os.kill(pid, info.si_signo)  # a process sent it (kill(2)); a terminal's has a code above 0
        if time.monotonic() >= due:
            if tick is not None:
                tick()
            due = time.monotonic() + every


def _run_elsewhere(words: Sequence[str], tick: Tick | None, every: float) -> int:
    import subprocess

    _flush()
    try:
        child = subprocess.Popen(words)
    except OSError as error:
        raise CannotRun(words[0], error) from None
    handlers = {one: signal.signal(one, lambda number, frame: child.send_signal(number)) for one in PASSED}
    try:
        while True:
            try:
                return child.wait(every)
            except subprocess.TimeoutExpired:
                if tick is not None:
                    tick()
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)


def _flush() -> None:
    """Let what was printed before the command come before what it prints."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
