"""Running a command: what is done meanwhile, which signals it hears, and what is left where it never began."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kit import FakeHost
from mbox.system import command
from mbox.system.command import CannotRun, Chore
from mbox.system.host import Host

pytestmark = pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="signals are passed on in another way here")


class Info:
    """A signal as sigtimedwait(2) tells it."""

    def __init__(self, number: int) -> None:
        self.si_signo = number


class Signals:
    """sigtimedwait(2) by a script: after so many seconds a signal, or the end of the wait if that is sooner."""

    def __init__(self, host: FakeHost, *script: tuple[float, int]) -> None:
        self.host = host
        self.script = [(host.mono() + after, number) for after, number in script]
        self.waits: list[float] = []

    def __call__(self, watched: Any, seconds: float) -> Info | None:
        """Let the time pass until there is a signal."""
        self.waits.append(seconds)
        when, number = self.script[0]
        if when > self.host.mono() + seconds:
            self.host.advance(seconds)
            return None
        self.host.advance(when - self.host.mono())
        self.script.pop(0)
        return Info(number)


def test_each_chore_is_done_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once or later, again and again, and no oftener for the signals between; it sleeps until the next is due."""
    host = FakeHost()
    start, done, heard = host.mono(), [], []
    script = Signals(host, (3, signal.SIGUSR1), (3, signal.SIGUSR2), (12, signal.SIGCHLD))
    monkeypatch.setattr(command.signal, "sigtimedwait", script)
    chores = [
        Chore(lambda: done.append(("beat", host.mono() - start)), 4, 0),
        Chore(lambda: done.append(("renew", host.mono() - start)), 10, 10),
    ]

    def hear(info: Any) -> str | None:
        heard.append(info and info.si_signo)
        return "over" if info and info.si_signo == signal.SIGCHLD else None

    assert command.attend({signal.SIGCHLD}, hear, chores, host) == "over"
    assert done == [("beat", 0), ("beat", 4), ("beat", 8), ("renew", 10)]
    assert heard == [signal.SIGUSR1, signal.SIGUSR2, None, None, None, signal.SIGCHLD]
    assert script.waits == [4, 1, 1, 4, 2, 2]


def test_without_chores_it_sleeps_until_there_is_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour at a time, because the system call knows no end of time."""
    host = FakeHost()
    script = Signals(host, (2 * 3600 + 60, signal.SIGCHLD))
    monkeypatch.setattr(command.signal, "sigtimedwait", script)
    assert command.attend({signal.SIGCHLD}, lambda info: info and 7, [], host) == 7
    assert len(script.waits) == 3


def test_what_is_held_back_is_dropped_and_all_is_as_before() -> None:
    """A signal meant for the command does not strike who ran it, however late it came; mask and handler come back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGCHLD)
    for fails in (False, True):
        try:
            with command.holding_signals({signal.SIGTERM, signal.SIGCHLD}) as mask:
                assert mask == before[0]
                signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
                assert not fails or 1 // 0
        except ZeroDivisionError:
            assert fails
        assert (signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGCHLD)) == before
        assert not signal.sigpending()


def test_a_command_is_ticked_for_and_its_status_is_returned(tmp_path: Path) -> None:
    """`run` calls its tick until the command has ended; a command that is not there is 127."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"open({str(gate)!r}).read()\nraise SystemExit(3)"
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            gate.write_bytes(b"")  # waits until it is read

    assert command.run([sys.executable, "-c", script], Host(), tick, 0.01) == 3
    assert len(ticks) >= 3
    with pytest.raises(CannotRun) as error:
        command.run([str(tmp_path / "nothing")], Host())
    assert error.value.exit == 127


def test_a_group_begins_only_when_all_is_ready(tmp_path: Path) -> None:
    """Its leader has its pid and its group before it is the program, and is that only after ``ready``."""
    mark = tmp_path / "mark"
    seen: list[tuple[int, int, bool]] = []

    def ready(pid: int) -> None:
        seen.append((pid, os.getpgid(pid), mark.exists()))

    pid = command.start_group(["touch", str(mark)], os.environ, set(), False, ready)
    _, status = os.waitpid(pid, 0)
    assert (seen, status, mark.exists()) == ([(pid, pid, False)], 0, True)


def test_a_group_that_is_not_ready_never_is_the_program(tmp_path: Path) -> None:
    """What ``ready`` raises comes out, and the process that was made ends by itself."""
    mark = tmp_path / "mark"
    made: list[int] = []

    def ready(pid: int) -> None:
        made.append(pid)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        command.start_group(["touch", str(mark)], os.environ, set(), False, ready)
    _, status = os.waitpid(made[0], 0)
    assert os.waitstatus_to_exitcode(status) == 127
    assert not mark.exists()


def test_a_program_that_is_not_there_leaves_no_process(tmp_path: Path) -> None:
    """`CannotRun` as a shell says it, and the process that was made is gone and waited for."""
    plain = tmp_path / "plain"
    plain.touch(0o644)
    for words, code in ((["no-such-program"], 127), ([str(plain)], 126)):
        made: list[int] = []
        with pytest.raises(CannotRun) as error:
            command.start_group(words, os.environ, set(), False, made.append)
        assert error.value.exit == code
        with pytest.raises(ChildProcessError):
            os.waitpid(made[0], 0)
