"""Where a call stands, and what stands in a store's place."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places


@pytest.fixture
def root(staffed: Path) -> Path:
    """A store with agents ann and bob."""
    return staffed


# -- what stands in the place of a store ---------------------------------------------------------------------------------


def a_file(path: Path) -> None:
    """A plain file."""
    path.write_text("From: x\n")


def a_fifo(path: Path) -> None:
    """A FIFO."""
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("put", [a_file, a_fifo, a_socket])
def test_something_else_called_mailbox_is_named(root: Path, run: Run, put: Callable[[Path], None]) -> None:
    """The store above is not taken in its place: nobody's mail goes where it was not meant to."""
    inside = root / "sub" / "deeper"
    inside.mkdir(parents=True)
    put(root / "sub" / ".mailbox")
    for words in (("mbox", "inbox", "--as", "bob"), ("mbox", "send", "bob", "--as", "ann", "--body", "x")):
        done = run(*words, cwd=inside)
        assert (done.returncode, done.stderr.count("\n")) == (6, 1)
        assert f"{root}/sub/.mailbox is no folder" in done.stderr
    assert run("mbox", "status", "--root", str(root / "sub"), cwd=inside).returncode == 6
    assert run("mbox", "status", "--root", str(root), cwd=inside).returncode == 0
    assert run("mbox", "init", cwd=root / "sub").returncode == 2


def test_something_else_called_tasks_is_named(root: Path, run: Run) -> None:
    """A store whose .tasks is no folder is not used."""
    shutil.rmtree(root / places.TASKS)
    (root / places.TASKS).write_text("x")
    done = run("task", "list", cwd=root)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert f"{root}/.tasks is no folder" in done.stderr


def test_a_mail_file_above_keeps_nobody_from_a_store(tmp_path: Path, run: Run) -> None:
    """`init` in a folder below somebody's file of that name makes the store there, and it is found."""
    (tmp_path / ".mailbox").write_text("From: x\n")
    (tmp_path / "work").mkdir()
    run("mbox", "init", cwd=tmp_path / "work", check=True)
    run("mbox", "status", cwd=tmp_path / "work", check=True)


# -- a working folder that is gone ---------------------------------------------------------------------------------------


def from_nowhere(run: Run, root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Call from a folder that is removed under the caller."""
    gone = root.parent / "gone"
    gone.mkdir()
    program = run(words[0], "--version").args[0]
    return subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", program, *words[1:]],
        cwd=gone, env={**os.environ, **env}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_folder_that_is_gone_does_not_matter(root: Path, run: Run) -> None:
    """With an absolute root, by --root or MBOX_ROOT, every verb does what it does elsewhere."""
    for words in (
        ("mbox", "status"), ("mbox", "inbox", "--as", "bob"), ("mbox", "send", "bob", "--as", "ann", "--body", "x"),
        ("task", "add", "x", "--path", "src/a.py"), ("task", "claim", "--as", "ann"), ("mbox", "doctor"),
        ("mbox", "me", "--as", "ann"),
        ("reserve", "src/b.py", "docs/*.md", "--as", "ann"), ("reserve", "check", "src/b.py", "--as", "ann"),
        ("reserve", "release", "--all", "--as", "ann"), ("mbox", "search", "x"), ("mbox", "watchdog", "--once"),
        ("mbox", "log"), ("mbox", "config", "get"), ("mbox", "read", "--as", "bob"), ("mbox", "rebuild"),
    ):  # fmt: skip
        done = from_nowhere(run, root, *words, "--root", str(root))
        assert done.returncode == 0, (words, done.stderr)
        assert "shell-init" not in done.stderr
    assert from_nowhere(run, root, "mbox", "status", MBOX_ROOT=str(root)).returncode == 0
    done = from_nowhere(run, root, "mbox", "lock", "x", "--root", str(root), "--", "true")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [
    ("mbox", "status"), ("mbox", "status", "--root", "root"), ("reserve", "check", "./a.py", "--root", "{root}"),
    ("mbox", "init"), ("mbox", "audit", "restore"), ("mbox", "audit", "restore", "--root", "root"),
])  # fmt: skip
def test_what_needs_a_folder_says_that_it_is_gone(root: Path, run: Run, words: tuple[str, ...]) -> None:
    """One line, no traceback: the folder is gone, and what to do."""
    done = from_nowhere(run, root, *(word.format(root=root) for word in words))
    assert done.returncode in (2, 6)
    said = [line for line in done.stderr.splitlines() if "is gone" in line]
    assert len(said) == 1, done.stderr
    assert "internal error" not in done.stderr
