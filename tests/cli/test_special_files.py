"""What is no regular file never hangs a command: in a place of the format, as a body, a plan, a team file, git's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places

BIN = Path(sys.executable).parent
SOON = 8
"""Seconds after which a command hangs."""


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    if os.geteuid():
        pytest.skip("making a device needs root")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero


KINDS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo, "socket": _socket, "device": _device, "folder": Path.mkdir,
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with two agents, a letter and a task."""
    folder = tmp_path / "root"
    folder.mkdir()
    run("git", "init", "--quiet", cwd=folder, check=True)
    run("mbox", "init", cwd=folder, check=True)
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=folder, check=True)
    run("mbox", "send", "bob", "--as", "ann", "--body", "a turnip", cwd=folder, check=True)
    run("task", "add", "peel it", "--id", "peel", cwd=folder, check=True)
    run("reserve", "a.py", "--as", "ann", cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_person_names(root: Path, run: Run, kind: str) -> None:
    """A body, a plan, a team file, an instruction in one: exit 2 in one line that names it."""
    path = root / "odd.yaml"
    KINDS[kind](path)
    (root / "team.yaml").write_text("members:\n- {name: cyd, host: claude, prompt: '@odd.yaml'}\n")
    for words in (
        ["mbox", "send", "bob", "--as", "ann", "--body", "@odd.yaml"], ["task", "import", "odd.yaml"],
        ["mbox", "send", "bob", "--as", "ann", "--body", "x", "--payload", "@odd.yaml"],
        ["team", "up", "odd.yaml"], ["team", "up", "team.yaml"], ["team", "up", "team.yaml", "--tasks", "odd.yaml"],
    ):  # fmt: skip
        done = run(*words, cwd=root, timeout=SOON)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "odd.yaml" in done.stderr, (words, done)


def test_a_pipe_with_a_writer_goes_on_working(root: Path) -> None:
    """`@<(command)` and `task import <(command)`, a slow writer, one that says nothing, and a FIFO that is written to."""
    script = """
        set -e
        mbox send bob --as ann --body @<(sleep 0.3; echo slow; sleep 0.3; echo ly)
        mbox send bob --as ann --body @<(head -c 200000 /dev/zero | tr '\\0' x)
        mbox send bob --as ann --subject s --body @<(true)
        mbox send bob --as ann --subject s --body @/dev/null
        mkfifo named; (sleep 0.3; echo late > named) & mbox send bob --as ann --body @named; wait
        task import <(echo '{tasks: [{id: piped, title: from a pipe}]}')
        echo from stdin | mbox send bob --as ann --body @/dev/stdin
    """
    path = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=root, env=path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (root / places.task("piped")).exists()
    bodies = [path.read_text() for path in (root / places.new_folder("bob")).iterdir()]
    for said in ('"slow\\nly\\n"', "x" * 200_000, '"late\\n"', '"from stdin\\n"'):
        assert any(said in body for body in bodies), said[:20]


PLACES = [
    ".mailbox/config.yaml", ".mailbox/hosts.yaml", ".mailbox/lock", ".mailbox/checkpoint", ".mailbox/.gitignore",
    ".mailbox/logs/000001.jsonl", ".mailbox/logs/000002.jsonl", ".mailbox/agents/ann.json", ".mailbox/agents/bob.json",
    ".mailbox/inbox/bob/new/m4.json", ".mailbox/outbox/ann/m4.json", ".mailbox/reservations/r6.json",
    ".mailbox/leases/r6.json", ".mailbox/heartbeat/ann", ".mailbox/status/ann.json", ".mailbox/locks/one",
    ".mailbox/locks/@watchdog", ".mailbox/team/crew.json", ".mailbox/cache/index.sqlite", ".mailbox/cache/search.sqlite",
    ".mailbox/cache/rebuild.lock", ".mailbox/cache/rebuild", ".mailbox/cache/waits", ".mailbox/cache/logs",
    ".mailbox/agents", ".mailbox/inbox/bob", ".mailbox/inbox/bob/new", ".mailbox/reservations", ".mailbox/leases",
    ".mailbox/heartbeat", ".mailbox/status", ".mailbox/locks", ".mailbox/cache", ".mailbox/team", ".mailbox/logs",
    ".mailbox/deadletter/d9.json", ".tasks/peel.json", ".tasks/notes/peel.jsonl", ".tasks/leases/peel.json", ".tasks/leases",
    ".git/config", ".git/info/exclude", ".git/commondir",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["fifo", pytest.param("socket", marks=pytest.mark.long), "folder"])
@pytest.mark.parametrize("place", PLACES)
def test_in_a_place_of_the_format(root: Path, run: Run, place: str, kind: str) -> None:
    """Every command ends, without a traceback, with an exit status of the table."""
    path = root / place
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path)
    for words in (
        ["mbox", "status"], ["mbox", "inbox", "--as", "bob"], ["mbox", "me", "--as", "ann"], ["mbox", "init"],
        ["mbox", "send", "bob", "--as", "ann", "--body", "x"], ["mbox", "read", "--as", "bob"], ["mbox", "search", "x"],
        ["task", "claim", "peel", "--as", "bob"], ["task", "note", "peel", "x", "--as", "bob"], ["reserve", "check", "a.py"],
        ["mbox", "agent", "beat", "--as", "ann"], ["mbox", "lock", "one", "--wait", "1s", "--", "true"],
        ["mbox", "watchdog", "--once"], ["mbox", "doctor"], ["mbox", "rebuild"], ["mbox", "audit", "commit"],
        ["mbox", "agent", "list"], ["mbox", "deadletter", "list"], ["mbox", "run", "--no-watchdog", "--as", "ann", "--", "true"],
        ["team", "status"], ["mbox", "config", "set", "poll", "1s"],
    ):  # fmt: skip
        if words[1] == "audit" and place.startswith(".git/"):
            continue  # git itself opens it
        done = run(*words, cwd=root, timeout=SOON)
        assert done.returncode in (0, 1, 2, 3, 5, 6), (words, done.stderr[-600:])
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, (words, done.stderr[-600:])
