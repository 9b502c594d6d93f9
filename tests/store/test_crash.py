"""Real commands, killed before every system call that touches the store, and with errors injected into each.

strace counts the calls of each name by itself (``when=N``), and SIGKILL strikes before the call; the fixed hash seed
and the warm byte code make the N-th call the same one in every run.  After each death the next command takes the lock,
every document parses, the doctor is content, the transaction happened completely or not at all, and what the command
had printed as done is in the journal.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kit import journaled
from mbox.cli import main
from mbox.cli.table import group
from mbox.doctor import survey
from mbox.opening import open_store
from mbox.store.store import Store

BIN = Path(sys.executable).parent
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
STRACE = ("strace", "-qq", "-y", "-s", "300")
FILTER = ("-f", "--seccomp-bpf")
"""Stop at the traced calls alone, which is twice as fast; an injected error arrives then, an injected signal does not."""


class Case(NamedTuple):
    """A command of an agent, what is prepared for one run of it, and the operations its records have."""

    name: str
    prepare: Callable[[World, int], list[str]]
    ops: tuple[str, ...]


class World:
    """A repository with a store, two agents, and commands run as real processes in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        own = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "MBOX_AGENT": "ann", "MBOX_ROOT": str(root)}
        self.env = {**os.environ, **own}
        root.mkdir()
        for words in (["mbox", "init", "--here"], ["mbox", "agent", "add", "ann"], ["mbox", "agent", "add", "bob"]):
            self.must(words)

    def words(self, words: list[str]) -> list[str]:
        """The command line of an installed command."""
        return [str(BIN / words[0]), *words[1:]]

    def must(self, words: list[str], agent: str = "ann") -> str:
        """Run a command that has to succeed; its stdout."""
        env = {**self.env, "MBOX_AGENT": agent}
        done = subprocess.run(self.words(words), env=env, cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def inside(self, words: list[str], agent: str = "ann") -> str:
        """As `must`, in this process: for what is prepared, and for what is asked once everything is in order."""
        program, *rest = words
        said = io.StringIO()
        with redirect_stdout(said):
            assert main.run(group(program), program, ["--root", str(self.root), "--as", agent, *rest]) == 0, words
        return said.getvalue().strip()

    def traced(self, words: list[str], *options: str) -> tuple[subprocess.CompletedProcess[str], str]:
        """Run a command under strace; how it ended, and the trace."""
        trace = self.root.parent / "trace"
        trace.unlink(missing_ok=True)
        line = [*STRACE, "-o", str(trace), *options, *self.words(words)]
        done = subprocess.run(line, env=self.env, cwd=self.root, capture_output=True, text=True, check=False)
        return done, trace.read_text(errors="replace") if trace.exists() else ""

    def store(self) -> Store:
        """The store, opened as a command would."""
        return open_store(str(self.root), str(self.root))


def points(trace: str, root: Path) -> list[tuple[str, int]]:
    """``(name, N)`` of every call in a trace that touches the store: the N-th of its name."""
    counts: Counter[str] = Counter()
    found = []
    for line in trace.splitlines():
        match = CALL.match(line)
        if not match:
            continue
        name = match[1]
        counts[name] += 1
        if f"{root}/.mailbox" in match[2] or f"{root}/.tasks" in match[2]:
            found.append((name, counts[name]))
    return found


def send(world: World, n: int) -> list[str]:
    """Send a message to bob."""
    return ["mbox", "send", "bob", "--body", f"body {n}"]


def read(world: World, n: int) -> list[str]:
    """Read the message that was just sent to oneself."""
    world.inside(["mbox", "send", "ann", "--body", f"body {n}"], "bob")
    return ["mbox", "read"]


def ack(world: World, n: int) -> list[str]:
    """Acknowledge a message that was read."""
    ident = world.inside(["mbox", "send", "ann", "--needs-ack", "--body", f"body {n}", "-o", "id"], "bob")
    world.inside(["mbox", "read", ident])
    return ["mbox", "ack", ident]


def claim(world: World, n: int) -> list[str]:
    """Claim a task with a path of its own."""
    world.inside(["task", "add", f"work {n}", "--path", f"src/f{n}.py"])
    return ["task", "claim"]


def done(world: World, n: int) -> list[str]:
    """Finish a task that was claimed."""
    ident = world.inside(["task", "add", f"work {n}", "--path", f"src/f{n}.py", "-o", "id"])
    world.inside(["task", "claim", ident])
    return ["task", "done", ident]


def reserve(world: World, n: int) -> list[str]:
    """Reserve a pattern of its own."""
    return ["reserve", f"docs/{n}/**"]


def release(world: World, n: int) -> list[str]:
    """Release a reservation."""
    ident = world.inside(["reserve", f"docs/{n}/**", "-o", "id"])
    return ["reserve", "release", ident]


CASES = {
    case.name: case
    for case in (
        Case("send", send, ("mail.send",)),
        Case("read", read, ("mail.read", "mail.ack")),
        Case("ack", ack, ("mail.ack",)),
        Case("claim", claim, ("task.claim",)),
        Case("done", done, ("task.done",)),
        Case("reserve", reserve, ("reserve.add",)),
        Case("release", release, ("reserve.release",)),
    )
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world, if strace can trace here."""
    probe = [*STRACE, *FILTER, "-o", "/dev/null", "-e", "trace=openat", "true"]
    if not shutil.which("strace") or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("strace is missing or ptrace is forbidden: only the in-process faults of test_store.py were tried")
    yield World(tmp_path / "root")


def warm(world: World, case: Case) -> list[tuple[str, int]]:
    """Run the command twice as it is; the points of the second run."""
    world.must(case.prepare(world, 100_001))
    ended, trace = world.traced(case.prepare(world, 100_002))
    assert ended.returncode == 0, ended.stderr
    found = points(trace, world.root)
    assert {name for name, _ in found} >= {"fsync", "openat", "write", "flock"}, Counter(n for n, _ in found)
    return found


def look(world: World, case: Case, before: int) -> list[str]:
    """After a death or an error: the store is clean; the operations that were recorded since ``before`` records."""
    store = world.store()
    try:
        store.catch_up()
        found = survey.survey(store)
        assert found.clean, found.findings
        with store.locked():  # what a death made unknown is asked for here, so that the next run makes the calls of the first
            store.look_ahead()
        return [record["op"] for record in journaled(store)[before:] if record["by"] == "ann"]
    finally:
        store.close()


def count(world: World) -> int:
    """Whole records in the journal."""
    store = world.store()
    try:
        return len(journaled(store))
    finally:
        store.close()


ASKED: tuple[tuple[list[str], Callable[[Any], Any]], ...] = (
    (["mbox", "inbox", "--as", "bob", "--limit", "0"], lambda said: [row["msg_id"] for row in said]),
    (["task", "list", "--all", "--limit", "0"], lambda said: [(row["task_id"], row["status"]) for row in said]),
    (["mbox", "me"], lambda said: said.get("unread")),
    (["mbox", "status"], lambda said: said.get("tasks")),
    (["task", "ready", "--limit", "0"], lambda said: [row["task_id"] for row in said]),
    (["reserve", "list", "--limit", "0"], lambda said: [(row["reservation_id"], row["patterns"]) for row in said]),
    (["mbox", "doctor"], lambda said: (said["clean"], said["seq"])),
)
"""What may be asked first after a death, and what of the answer may not change once the store was brought up."""


def asked(run: Callable[[list[str]], str], n: int) -> object:
    """The answer to the ``n``-th question, one after the other."""
    words, told = ASKED[n % len(ASKED)]
    return told(json.loads(run([*words, "-o", "json"])))


def killed_everywhere(world: World, case: Case) -> None:
    """Kill the command before each of its calls that touch the store; then a question first, right at once."""
    outcomes = Counter[tuple[str, ...]]()
    where = warm(world, case)
    struck = 0
    for n, (name, nth) in enumerate(where):
        words = case.prepare(world, n)
        before = count(world)
        ended, _ = world.traced(words, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}")
        struck += ended.returncode == -9
        first = asked(world.must, n)
        ops = tuple(look(world, case, before))
        assert asked(world.inside, n) == first, (name, nth, ASKED[n % len(ASKED)][0])
        assert ops == case.ops[: len(ops)], (name, nth, ops)
        if ended.stdout.strip() and ended.returncode == 0:
            assert ops == case.ops, (name, nth, "printed but not done")
        if case.name not in ("read",) and ended.stdout.strip():
            assert ops == case.ops, (name, nth, ended.stdout)
        outcomes[ops] += 1
    assert struck > len(where) * 0.9, (struck, len(where))
    assert outcomes[()] and outcomes[case.ops], outcomes


def failing_everywhere(world: World, case: Case, error: str) -> None:
    """Let each of the command's calls that change the store fail with ``error``."""
    changing = ("openat", "write", "pwrite64", "fsync", "rename", "link", "linkat", "unlink", "ftruncate", "mkdir",
                "utimensat")  # fmt: skip
    outcomes = Counter[int]()
    for n, (name, nth) in enumerate(warm(world, case)):
        if name not in changing:
            continue
        words = case.prepare(world, n)
        before = count(world)
        ended, _ = world.traced(words, "-e", f"trace={name}", *FILTER, "-e", f"inject={name}:error={error}:when={nth}")
        ops = tuple(look(world, case, before))
        outcomes[ended.returncode] += 1
        if ended.returncode == 6 and "unknown" not in ended.stderr:
            assert ops == (), (name, nth, ended.stderr, ops)
        if ended.returncode == 0:  # what was read and printed stands, also where it could not be acknowledged
            said = case.ops[:1] if "read, but not acknowledged" in ended.stderr else case.ops
            assert ops == said, (name, nth, ended.stderr, ops)
        assert ended.returncode in (0, 6), (name, nth, ended.returncode, ended.stderr)
        assert "Traceback" not in ended.stderr and "internal error" not in ended.stderr, (name, nth, ended.stderr)
        if ended.returncode == 6:
            assert len(ended.stderr.strip().splitlines()) <= 2, ended.stderr
    assert outcomes[0] and outcomes[6], outcomes


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["send", "claim"])
def test_killed_before_every_call(world: World, name: str) -> None:
    """Whatever call a kill comes before, the transaction happened completely or not at all."""
    killed_everywhere(world, CASES[name])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["read", "ack", "done", "reserve", "release"])
def test_killed_before_every_call_of_the_others(world: World, name: str) -> None:
    """The same for the other commands that change something."""
    killed_everywhere(world, CASES[name])


@pytest.mark.timeout(900)
def test_a_full_disk_at_every_call_of_send(world: World) -> None:
    """Exit 6 if and only if nothing happened, exit 0 if and only if it is in the journal."""
    failing_everywhere(world, CASES["send"], "ENOSPC")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("name", ["send", "read", "ack", "claim", "done", "reserve", "release"])
def test_errors_at_every_call(world: World, name: str, error: str) -> None:
    """The same for every command and for a failing and a read-only disk."""
    failing_everywhere(world, CASES[name], error)
