"""Running a command for somebody: by argument list, never through a shell; its exit status is the caller's.

Promised: the command gets this process's stdin, stdout, stderr, environment and signal mask, and nothing
else that is open here.  While it runs, a signal that ends a process is passed on to it and does not end
this one; what a terminal sends reaches the whole foreground group by itself and is not sent twice.
``tick`` is called in time.  Not promised: anything once this process is killed with SIGKILL; the command
then goes on alone.

Where there is no sigtimedwait(2), all signals are passed on, also those of a terminal.

`run` is all of that.  Who wants a command in a process group of its own, or to hear of signals itself, puts it together
from the parts: `holding_signals` around all, `start_group`, `attend` until it has ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mbox.errors import MboxError

from .clock import inf

if TYPE_CHECKING:
    from .host import Clock

T = TypeVar("T")

Signals = Set[signal.Signals]

PASSED = frozenset(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Signals that are passed on."""

_RESTORED = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
"""Signals that Python ignores and a command expects at their default."""


_LONGEST = 3600.0
"""Seconds that one sigtimedwait(2) waits at most: for ever is more than it takes."""


class Chore(NamedTuple):
    """What is done ``every`` so many seconds while a command runs, for the first time after ``first``."""

    act: Callable[[], object]
    every: float
    first: float


class CannotRun(MboxError):
    """The command is not there (127) or cannot be run (126), as shells say it."""

    def __init__(self, command: str, error: OSError) -> None:
        super().__init__(f"{command}: {error.strerror}")
        self.exit = 127 if isinstance(error, FileNotFoundError) else 126


def run(words: Sequence[str], clock: Clock, tick: Callable[[], object] | None = None, every: float = inf) -> int:
    """Run the command ``words``, and ``tick`` in between; its status, or -N if signal N ended it."""
    chores = [Chore(tick, every, every)] if tick else []
    if not hasattr(signal, "sigtimedwait") or not hasattr(os, "posix_spawnp"):
        return _run_elsewhere(words, chores)
    watched = PASSED | {signal.SIGCHLD}
    with holding_signals(watched) as before:
        flush()
        try:
            pid = os.posix_spawnp(words[0], list(words), os.environ, setsigmask=before, setsigdef=_RESTORED)
        except OSError as error:
            raise CannotRun(words[0], error) from None

        def heard(info: signal.struct_siginfo | None) -> int | None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if info is not None and info.si_signo != signal.SIGCHLD and info.si_code <= 0:
                os.kill(pid, info.si_signo)  # a process sent it (kill(2)); a terminal's has a code above 0
            return None

        return attend(watched, heard, chores, clock)


def was_killed(status: int) -> bool:
    """Whether a command with that status, as `run` gives it, or what it ran as shells say it (128+N), was killed.

    Not by one of the signals that ask for an end, `PASSED`: whatever heard it could put things in order.
    """
    number = -status if status < 0 else status - 128
    return number in signal.valid_signals() and number not in PASSED


@contextmanager
def holding_signals(watched: Signals) -> Iterator[set[Any]]:
    """Hold ``watched``, SIGCHLD among them, back for `attend` while a command runs; the mask from before.

    What is still held back at the end was meant for the command, which has ended, and is dropped.
    """
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        yield before
    finally:
        while signal.sigtimedwait(watched, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGCHLD, handler)


def attend(watched: Signals, heard: Callable[[signal.struct_siginfo | None], T | None],
           chores: Sequence[Chore], clock: Clock) -> T:  # fmt: skip
    """Do the ``chores`` in time and tell ``heard`` each signal, until that returns something, which is returned.

    ``heard`` is told None when a chore is due.  Signals of one kind that come while one is held back are one.
    """
    due = [clock.mono() + chore.first for chore in chores]
    while True:
        for n, chore in enumerate(chores):
            if clock.mono() >= due[n]:
                chore.act()
                due[n] = clock.mono() + chore.every
        left = max(0.0, min(due, default=inf) - clock.mono())
        found = heard(signal.sigtimedwait(watched, min(left, _LONGEST)))
        if found is not None:
            return found


def _run_elsewhere(words: Sequence[str], chores: Sequence[Chore]) -> int:
    import subprocess

    every = min((chore.every for chore in chores), default=inf)
    flush()
    try:
        child = subprocess.Popen(words)
    except OSError as error:
        raise CannotRun(words[0], error) from None
    handlers = {one: signal.signal(one, lambda number, frame: child.send_signal(number)) for one in PASSED}
    try:
        while True:
            try:
                return child.wait(None if every == inf else every)
            except subprocess.TimeoutExpired:
                for chore in chores:
                    chore.act()
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)


def flush() -> None:
    """Let what was printed before a command come before what it prints."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def start_group(words: Sequence[str], environ: Mapping[str, str], mask: Set[Any], front: bool,
                ready: Callable[[int], object]) -> int:  # fmt: skip
    """Start ``words`` in a process group of its own, with the signals of ``mask`` blocked; the pid, which leads it.

    The process is made, ``ready`` is called with its pid, and only then it becomes the program: if this process dies
    before, or ``ready`` raises, it ends by itself and never was the program.  With ``front`` it takes the foreground of
    its terminal.  `CannotRun` if there is no such program; then no process is left.
    """
    flush()
    (gate, go), (read, report) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.close(go)
        _become(words, environ, mask, front, gate, report)
    os.close(report)
    os.close(gate)
    try:
        os.setpgid(pid, pid)  # whichever of the two comes first
    except OSError:
        pass
    with os.fdopen(read, "rb") as pipe:
        try:
            ready(pid)
            os.write(go, b".")
        finally:
            os.close(go)
        failed = pipe.read()
    if failed:
        os.waitpid(pid, 0)
        raise CannotRun(words[0], OSError(int(failed), os.strerror(int(failed))))
    return pid


def _become(words: Sequence[str], environ: Mapping[str, str], mask: Set[Any], front: bool,
            gate: int, report: int) -> None:  # fmt: skip
    """In the forked child: wait at the gate, then be the program, or tell the errno through ``report`` and end."""
    try:
        os.setpgid(0, 0)
        if not os.read(gate, 1):
            os._exit(127)  # its parent is gone, and nobody knows of this process
        if front:
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(words[0], list(words), dict(environ))
    except OSError as error:
        os.write(report, str(error.errno or 1).encode())
    except BaseException:  # noqa: BLE001 - nothing of the parent's may go on in the child
        os.write(report, b"8")
    finally:
        os._exit(127)


def step_out() -> None:
    """Go on in a session of its own: who ends the process group that this process was in does not end what it does.

    This process itself stays where it is, for whoever waits for it: it passes an interrupt on, any other
    signal ends it alone, and it ends as the one that went on does.  That one alone returns from here.
    """
    flush()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        return
    signal.signal(signal.SIGINT, lambda number, frame: os.kill(pid, number))
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def start_detached(words: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start ``words``, a program by its path, in a session of its own, in ``/``, without stdin, stdout and stderr.

    It is nobody's child, so that none has to wait for it, and gets none of the signals that are blocked here.  Nobody
    hears whether it could be started.
    """
    flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.execve(words[0], list(words), dict(environ))
    finally:
        os._exit(0)
