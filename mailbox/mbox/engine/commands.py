"""Running a workflow's commands: gates, ``run`` steps, probes, and the programs of hosts.

A command runs in the run's tree, in a session of its own; stdout and stderr go to files of the attempt's work folder.  It
and all that it starts carry ``MBOX_STEP``, the key of their seat; so whoever comes after an engine or a worker that was killed
finds what that left running, and ends it (`end_left_over`) before anything is run again.

stdin is a prompt, as it stands, or the step's data as JSON, made only for a command that reads: the pipe is filled with blanks,
which JSON allows at its beginning, and only when some are taken out git is asked and the rest is written (`Stdin`).

Promised: a command that runs over its time, or whose run is stopped, is ended with its whole group.  Not promised: anything of a
process that left the group.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import termios
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.system import processes

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.system.host import Host
    from mbox.workflow.definition import CommandLine

LARGEST = 64 << 10
"""Bytes of stdout that are an output at most."""

TAIL = 40
"""Last lines of a log that are told."""

LOOK = 0.5
"""Seconds between two looks at whether the command is still wanted."""

GRACE = 5.0
"""Seconds that a command has between SIGTERM and SIGKILL."""

CHUNK = 1 << 16
"""Bytes of what a command prints that are taken at once."""

PIPE = 4096
"""Bytes of the pipe to a command's stdin, where the system lets one choose."""

MARK = "MBOX_STEP"
"""The variable that the processes of a seat carry."""


class Finished(NamedTuple):
    """How a command ended: its exit status (128+N by a signal), whether by signal, out of time, or because it was stopped."""

    exit: int
    killed: bool = False
    timed_out: bool = False
    stopped: bool = False
    seconds: float = 0.0
    missing: bool = False
    """Whether there is no such program, or it cannot be run."""


class Stdin:
    """What a command gets on stdin: nothing, a text as it stands, or JSON that is made when it reads."""

    def __init__(self, given: Callable[[], bytes] | bytes | None) -> None:
        self.make = given if callable(given) else None
        self._rest = given if isinstance(given, bytes) else b""
        self._blanks = 0
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.write_end, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, PIPE)
        if self.make is not None:
            self._fill()
        elif not self._rest:
            self.end()

    def _fill(self) -> None:
        try:
            while True:
                self._blanks += os.write(self.write_end, b" " * PIPE)
        except BlockingIOError:
            return

    def _is_read(self) -> bool:
        """Whether some of the blanks were taken out; a pipe whose reader is gone can be written to as well."""
        left = array("i", [0])
        fcntl.ioctl(self.write_end, termios.FIONREAD, left)
        return left[0] < self._blanks

    def feed(self) -> None:
        """Write on, if somebody reads."""
        if self.make is not None:
            if not self._is_read():
                self.end()
                return
            self._rest, self.make = self.make(), None
        try:
            while self._rest:
                self._rest = self._rest[os.write(self.write_end, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._rest = b""
        self.end()

    def end(self) -> None:
        """Let the reader come to the end."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def hand_over(self) -> None:
        """The command has its end."""
        os.close(self.read_end)
        self.read_end = -1

    def close(self) -> None:
        """Give both ends back."""
        self.end()
        if self.read_end >= 0:
            self.hand_over()


def words_of(command: CommandLine, inputs: Mapping[str, Any]) -> list[str]:
    """The argument list of a command; of a text, and of an input that is one, by bash with its safeguards on."""
    if command.words is not None:
        return [*command.words]
    text = command.text if command.text is not None else inputs[command.input or ""]
    return [*text] if isinstance(text, list) else ["bash", "-euo", "pipefail", "-c", str(text)]


def environment(environ: Mapping[str, str], inputs: Mapping[str, Any], item: Any, more: Mapping[str, str]) -> dict[str, str]:
    """What a command finds in its environment: the caller's but for who that is, the inputs, the item, the step's ``env``."""
    out = {key: value for key, value in environ.items() if key not in ("MBOX_AGENT", "MBOX_INCARNATION")}
    out |= {f"INPUT_{name.upper()}": as_text(value) for name, value in inputs.items()}
    if item is not None:
        out["ITEM"] = as_text(item)
    return out | {name: value.replace("\0", "") for name, value in more.items()}


def as_text(value: Any) -> str:
    """A value as a variable: a text as it is, all else as JSON."""
    return value.replace("\0", "") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def run(store: Store, key: str, words: Sequence[str], folder: str, environ: Mapping[str, str], logs: str,
        stdin: Callable[[], bytes] | bytes | None = None, seconds: float | None = None,
        wanted: Callable[[], bool] = lambda: True) -> Finished:  # fmt: skip
    """Run a command of the seat ``key`` to its end, ``seconds`` at most, while it is ``wanted``.

    ``logs`` is the folder where stdout and stderr go, as far as something is printed.  A program that is not there ends with
    127, one that cannot be run with 126, as a shell has it.
    """
    store.check_folder(logs)
    began = store.host.mono()
    given, printed = Stdin(stdin), [Outlet(store, f"{logs}/{name}") for name in ("stdout", "stderr")]
    try:
        try:
            child = subprocess.Popen(
                words, cwd=folder, env={**environ, MARK: mark(store, key)}, start_new_session=True,
                stdin=given.read_end, stdout=printed[0].write_end, stderr=printed[1].write_end,
            )  # fmt: skip
        except OSError as error:
            printed[1].put(f"{words[0]}: {error.strerror}\n".encode())
            return Finished(127 if isinstance(error, FileNotFoundError) else 126, missing=True)
        given.hand_over()
        for outlet in printed:
            outlet.hand_over()
        return _attend(child, given, printed, store.host, began, seconds, wanted)
    finally:
        given.close()
        for outlet in printed:
            outlet.close()


def mark(store: Store, key: str) -> str:
    """What the processes of the seat ``key`` carry."""
    return f"{store.root}:{key}"


def _attend(child: subprocess.Popen[bytes], given: Stdin, printed: Sequence[Outlet], host: Host, began: float,
            seconds: float | None, wanted: Callable[[], bool]) -> Finished:  # fmt: skip
    leader = processes.identity(child.pid)
    end = None if seconds is None else began + seconds
    with _Ending(child, printed) as ending:
        while child.poll() is None:
            left = LOOK if end is None else min(LOOK, max(0.0, end - host.mono()))
            if ending.wait(left, given) and child.poll() is None:
                given.feed()
            if child.poll() is not None:
                break
            timed_out = end is not None and host.mono() >= end
            if timed_out or not wanted():
                processes.end_group(leader, GRACE, host)
                child.wait()
                return Finished(_status(child), True, timed_out, not timed_out, host.mono() - began)
        for outlet in printed:
            outlet.drain()
    if _has_members(child.pid):  # what it left running
        processes.end_group(leader, GRACE, host)
    return Finished(_status(child), child.returncode < 0, seconds=host.mono() - began)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Outlet:
    """Where one stream of a command goes: a file, which is made with the first that is printed.

    What was there of a try before is taken away.
    """

    def __init__(self, store: Store, path: str) -> None:
        self.store, self.path = store, store.absolute(path)
        self.file = -1
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        store.disk.discard(self.path)

    def hand_over(self) -> None:
        """The command has its end."""
        os.close(self.write_end)
        self.write_end = -1

    def take(self) -> bool:
        """Take what is there into the file; False at the end of the stream, or where nothing is there now."""
        try:
            data = os.read(self.read_end, CHUNK)
        except BlockingIOError:
            return False
        if data:
            self.put(data)
        return bool(data)

    def drain(self) -> None:
        """Take all that is there now: whoever else has the stream open is not waited for."""
        while self.take():
            pass

    def put(self, data: bytes) -> None:
        """Write on."""
        if self.file < 0:
            self.store.disk.folders(os.path.dirname(self.path))
            self.file = self.store.disk.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.store.disk.write(self.file, data)

    def close(self) -> None:
        """Give everything back."""
        for fd in (self.read_end, self.write_end, self.file):
            if fd >= 0:
                os.close(fd)


class _Ending:
    """Wakes when the child has ended, prints, or takes from its stdin."""

    def __init__(self, child: subprocess.Popen[bytes], printed: Sequence[Outlet]) -> None:
        self.child = child
        self.selector = selectors.DefaultSelector()
        self.fd = os.pidfd_open(child.pid) if hasattr(os, "pidfd_open") else -1
        if self.fd >= 0:
            self.selector.register(self.fd, selectors.EVENT_READ)
        for outlet in printed:
            self.selector.register(outlet.read_end, selectors.EVENT_READ, outlet)

    def wait(self, seconds: float, given: Stdin) -> bool:
        """Take in what is printed within ``seconds``, or until the child ends; whether its stdin can be written to."""
        fd = given.write_end
        if fd >= 0:
            self.selector.register(fd, selectors.EVENT_WRITE)
        try:
            found = self.selector.select(seconds if self.fd >= 0 else min(seconds, 0.02))
        finally:
            if fd >= 0:
                self.selector.unregister(fd)
        for key, _ in found:
            if isinstance(key.data, Outlet) and not key.data.take():
                self.selector.unregister(key.fd)
        return any(key.fd == fd for key, _ in found)

    def __enter__(self) -> _Ending:
        return self

    def __exit__(self, *_: object) -> None:
        self.selector.close()
        if self.fd >= 0:
            os.close(self.fd)


def _status(child: subprocess.Popen[bytes]) -> int:
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def end_left_over(store: Store, key: str) -> list[int]:
    """End what an engine or worker that was killed left running for the seat ``key``; the pids."""
    found = []
    for pid, _ in [*processes.carriers(MARK, mark(store, key))]:
        if pid != os.getpid():
            who = processes.identity(pid)
            found += processes.end_group(who, GRACE, store.host) or ([pid] if processes.send(who, signal.SIGKILL) else [])
    return found


def output_of(logs: str) -> bytes:
    """What was printed, at most a byte more than an output may have."""
    try:
        with open(f"{logs}/stdout", "rb") as file:
            return file.read(LARGEST + 1)
    except OSError:
        return b""


def tail_of(path: str, lines: int = TAIL, most: int = 4000) -> str:
    """The last lines of a log."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4 * most))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])[-most:]


def signal_name(status: int) -> str:
    """``SIGKILL`` for 137; the number where there is no such signal."""
    try:
        return signal.Signals(status - 128).name
    except ValueError:
        return str(status)
