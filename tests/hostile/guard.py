"""One call of a command in a process of its own, over an entry of the corpus, and everything it did that it must not do.

A `Guard` is a process that has the commands loaded and forks one child a call.  What the child does is seen four times:

- by Python's own audit events: every file it opens to write, makes, renames, removes or changes the mode of, every
  program it starts, every process it signals;
- by a picture of everything around the root, before and after, and of what every canary on the PATH leaves there, for
  what SQLite and git do;
- by its resources: 5 s (more only where the machine is busy with others), 200 MB, for it and what it starts;
- by what it says: no traceback, no `internal error`, and an exit status of the contract.

As root, the child gives up what lets root pass over modes, so that an entry without modes is one.

Started as ``python guard.py FOLDER``: JSON lines in, JSON lines out; `Guard` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hostile.world import FINE, World

SECONDS = 5.0
MEMORY = 200 << 20
ENDED_AFTER = 0.4
"""Seconds after which a command that runs for ever is asked to end."""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.symlink"), (-1,)),
    **dict.fromkeys(("os.chmod", "os.chown", "os.truncate", "os.utime", "os.setxattr", "os.removexattr"), (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
}
"""Audit events of changes, and which of their arguments are the paths."""
TAKEN = {"os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.symlink": 1}
STATUSES = {*range(7), *range(10, 15), 126, 127, 130, 141}

Job = dict[str, Any]


class Guard:
    """The process; `call` has one call made and gives back what was wrong with it."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, str(Path(__file__).resolve()), str(folder)]
        tests = Path(__file__).resolve().parents[1]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tests), *sys.path]))},
        )  # fmt: skip
        self.names: dict[str, list[str]] = self._answer("its start")
        """What the template holds, by kind."""

    def call(self, **job: Any) -> dict[str, Any]:
        """``status``, ``seconds``, ``said``, and ``wrong``: a line for each thing that must not be."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self._answer(job)

    def _answer(self, to: object) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the guard died at {to}"
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(20)


# -- in the child ------------------------------------------------------------------------------------------------


class Hook:
    """Python's audit events of one call, told to the file descriptor ``out``."""

    def __init__(self, world: World, job: Job, out: int) -> None:
        self.inside = tuple(f"{path}/" for path in (world.root, *world.typed(job.get("words", []))))
        self.root, self.out, self.busy = str(world.root), out, False
        self.own = (str(world.bin / "git"), str(world.bin / "tmux"), sys.executable, "git", "tmux", "/sbin/ldconfig")
        self.typed = set(job.get("words", ()))
        if job.get("words", [])[:2] == ["mbox", "hooks"]:
            self.typed.add(str(world.bin / "codex"))  # which is asked whether it trusts what was written for it

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.busy:
            return
        self.busy = True
        try:
            for said in self.judged(event, args):
                os.write(self.out, said.encode("utf-8", "backslashreplace") + b"\n")
        finally:
            self.busy = False

    def judged(self, event: str, args: tuple[Any, ...]) -> Iterator[str]:
        """What is wrong with one event."""
        if event == "open":
            if isinstance(args[0], str | bytes) and args[2] & WRITES and self.outside(args[0], args[2] & os.O_NOFOLLOW):
                yield f"opens {os.fsdecode(args[0])} to write"
        elif event in TAKEN:
            if self.outside(args[TAKEN[event]], True, args[-1]):
                yield f"{event} {os.fsdecode(args[TAKEN[event]])}"
        elif event in CHANGES:
            for path in (args[at] for at in CHANGES[event]):
                if not isinstance(path, int) and self.outside(path, event in ("os.rename", "os.link")):
                    yield f"{event} {os.fsdecode(path)}"
        elif event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"):
            words = [os.fsdecode(word) for word in (args[1] if len(args) > 1 else args)]
            if not self.may_start(words):
                yield f"starts {words}"
        elif event in ("os.kill", "os.killpg") and args[1]:
            if not any(pid == os.getpid() for pid in ancestors(abs(args[0]))):
                yield f"signals {args[0]} with {args[1]}"
        elif event == "socket.connect":
            yield f"connects to {args[1]}"

    def outside(self, path: str | bytes, itself: Any, dir_fd: Any = -1) -> bool:
        """Whether ``path`` (itself, or where it leads) is outside the root."""
        path = os.fsdecode(path)
        if not os.path.isabs(path) and isinstance(dir_fd, int) and dir_fd >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        path = os.path.abspath(path)
        real = os.path.realpath(path)
        if itself:
            real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        return real not in FINE and not f"{real}/".startswith(self.inside)

    def may_start(self, words: list[str]) -> bool:
        """git, tmux, ourselves, what Python finds libraries with and click finds bash with, and what the caller typed."""
        return words[0] in self.own or words[0] in self.typed or words[1:] == ["--norc", "-c", 'echo "${BASH_VERSION}"']


def ancestors(pid: int) -> Iterator[int]:
    """``pid`` and the processes above it."""
    while pid > 1:
        yield pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            return


PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 24, 36
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def give_up_modes() -> None:
    """Be bound by modes, as root too, here and in what is started."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    for at in range(3):
        sets[at] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    libc.capset(header, sets)


def be_the_call(world: World, job: Job, events: int) -> int:
    """The child: the command in the world's environment; its exit status."""
    os.setsid()
    sys.dont_write_bytecode = True
    os.environ.clear()
    os.environ.update({**world.environment(), **job.get("env", {})})
    os.chdir(world.root / job.get("cwd", "."))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
    stdin = os.open(world.folder / "in", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(stdin, job.get("stdin", "").encode("utf-8", "surrogateescape"))
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(world.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if os.geteuid() == 0:
        give_up_modes()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, stream)
    from mbox.cli import main, table

    sys.addaudithook(Hook(world, job, events))
    if "code" in job:
        exec(job["code"], {"world": world})
        return sys.stderr.flush() or 0
    program, *args = job["words"]
    return main.run(table.group(program), program, args)


# -- around it -------------------------------------------------------------------------------------------------------


class Watch:
    """The child from outside: until when it may run, and what it takes."""

    def __init__(self, pid: int, endless: bool, waits: float) -> None:
        self.pid, self.endless = pid, endless
        self.began = time.monotonic()
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        self.limit = waits + SECONDS * busy

    def status(self) -> tuple[int | None, resource.struct_rusage | None]:
        """How it ended, and what it took; None where it had to be killed."""
        with open(os.pidfd_open(self.pid), "rb", buffering=0) as ended:
            if self.endless and not self._ends(ended.fileno(), ENDED_AFTER):
                os.kill(self.pid, signal.SIGTERM)
            if not self._ends(ended.fileno(), self.limit - (time.monotonic() - self.began)):
                os.kill(self.pid, signal.SIGKILL)
                os.wait4(self.pid, 0)
                return None, None
        _, status, used = os.wait4(self.pid, 0)
        return os.waitstatus_to_exitcode(status), used

    def _ends(self, fd: int, seconds: float) -> bool:
        return bool(select.select([fd], [], [], max(0.0, seconds))[0])


def end_strays() -> None:
    """Kill and reap whatever the call has left behind: this process is its reaper.

    What is killed may have left more behind, which comes here only then: nobody is waited for who was not killed.
    """
    while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        for child in children:
            os.waitpid(int(child), 0)


def judge(world: World, job: Job) -> dict[str, Any]:
    """Make one call; see `Guard.call`."""
    reading, events = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os._exit(be_the_call(world, job, events))
        except BaseException as error:  # noqa: BLE001 - a child that cannot begin must not go on as its parent
            os.write(events, f"the call did not begin: {error!r}\n".encode())
            os._exit(99)
    os.close(events)
    status, used = Watch(pid, job.get("endless", False), job.get("waits", 0.0)).status()
    seconds = time.monotonic() - began
    end_strays()
    with open(reading, encoding="utf-8", errors="backslashreplace") as file:
        wrong = sorted(set(file.read().splitlines()))
    said = Path(world.folder, "err").read_bytes().decode("utf-8", "backslashreplace")
    out = Path(world.folder, "out").read_bytes().decode("utf-8", "backslashreplace")
    for name in ("in", "out", "err"):
        Path(world.folder, name).unlink()
    wrong += world.changes(job.get("words", []))
    if wrong:
        world.restore()
    if status is None:
        wrong.append(f"hangs: over {SECONDS:g} s")
    elif status not in STATUSES and not (job.get("endless") and status in (-signal.SIGTERM, 143)):
        wrong.append(f"ends with {status}")
    if used is not None and used.ru_maxrss > MEMORY >> 10:
        wrong.append(f"takes {used.ru_maxrss >> 10} MB")
    wrong += [line for line in said.splitlines() if "Traceback" in line or "internal error" in line][:1]
    return {"status": status, "seconds": round(seconds, 2), "said": said[:2000], "out": out[:2000], "wrong": wrong}


def main(folder: str) -> None:
    """Answer calls until there are no more."""
    from hostile import corpus, template, traced

    world = World(Path(folder))
    world.build()
    template.load_all()
    template.build(world, judge)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    world.picture()
    print(json.dumps(template.names(world.template)), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        world.lay(corpus.spoiler(job["entry"]), job.get("cloned", False))
        look = traced.judge if job.get("traced") else judge
        print(json.dumps(look(world, job)), flush=True)
        end_strays()


if __name__ == "__main__":
    main(sys.argv[1])
