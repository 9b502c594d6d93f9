"""No room: no inodes, no space, or nothing may be written; whoever needs some says so in one line, in our words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run

WORDS = {
    "inodes": "no inodes are left on that file system, though there is space; remove files there (`df -i` counts them)",
    "space": "No space left on device; free some space on that file system",
    "read-only": "Read-only file system; that file system is read-only",
}

WRITERS = [
    ["task", "claim", "t4", "--as", "bob"], ["mbox", "send", "bob", "--as", "ann", "--body", "x" * 9000],
    ["mbox", "read", "m5", "--as", "bob"], ["reserve", "src/**", "--as", "ann"], ["mbox", "agent", "add", "cat"],
    ["task", "note", "t4", "hm", "--as", "ann"], ["mbox", "agent", "beat", "--as", "ann"], ["task", "add", "x" * 100],
    ["mbox", "audit", "commit"], ["task", "done", "t7", "--as", "ann"], ["mbox", "ack", "m6", "--as", "bob"],
    ["mbox", "config", "set", "lease", "1h"],
]  # fmt: skip


@pytest.fixture
def full(request: pytest.FixtureRequest, tmp_path: Path, run: Run) -> Iterator[tuple[str, Path]]:
    """A repository with a store on a file system that takes no further file; skipped where none can be mounted."""
    mount = tmp_path / "small"
    mount.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=700", "small", str(mount)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("a small file system needs root")
    try:
        root = mount / "root"
        root.mkdir()
        run("git", "init", "--quiet", "--template=", cwd=root, check=True)
        for command in (
            ["mbox", "init"], ["mbox", "agent", "add", "ann"], ["mbox", "agent", "add", "bob"], ["task", "add", "one"],
            ["mbox", "send", "bob", "--as", "ann", "--body", "1"],
            ["mbox", "send", "bob", "--as", "ann", "--body", "2", "--needs-ack"],
            ["task", "add", "two"], ["task", "claim", "t7", "--as", "ann"], ["mbox", "read", "m6", "--as", "bob"],
        ):  # fmt: skip
            run(*command, cwd=root, check=True)
        if request.param[1] == "no index":
            for path in (root / ".mailbox/cache").glob("index*"):
                path.unlink()
        fill(mount, request.param[0])
        yield request.param[0], root
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


def fill(mount: Path, what: str) -> None:
    """Take all inodes, or all space, or the right to write."""
    if what == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    elif what == "inodes":
        while left := os.statvfs(mount).f_favail:
            (mount / f"x{left}").touch()
    else:
        with open(mount / "ballast", "wb") as file:
            file.write(b"x" * (os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize))


@pytest.mark.parametrize(
    "full", [(what, index) for what in WORDS for index in ("index", "no index")], indirect=True, ids="-".join
)
def test_every_writer_says_it_in_one_line(full: tuple[str, Path], run: Run) -> None:
    """Whichever file it is that cannot be made, SQLite's, git's or ours: one line, exit 6, and what would help."""
    what, root = full
    failed = 0
    for words in WRITERS:
        done = run(*words, cwd=root)
        if done.returncode == 0:
            continue
        failed += 1
        assert done.returncode == 6, (words, done.stderr)
        last = done.stderr.splitlines()[-1]
        assert WORDS[what] in last, (words, done.stderr)
        assert "Errno" not in done.stderr, (words, done.stderr)
        assert "unable to" not in done.stderr.lower(), (words, done.stderr)
        assert last.count(WORDS[what]) == 1, (words, done.stderr)
    assert failed >= 8


@pytest.mark.parametrize("full", [(what, "index") for what in WORDS], indirect=True, ids="-".join)
def test_the_doctor_says_that_no_writer_works(full: tuple[str, Path], run: Run) -> None:
    """It tries what every writer needs, leaves nothing, and says no."""
    what, root = full
    before = sorted(os.listdir(root / ".mailbox/cache"))
    done = run("mbox", "doctor", cwd=root)
    assert done.returncode == 1, done.stdout
    found = json.loads(done.stdout)
    assert not found["clean"]
    assert any(WORDS[what] in finding["problem"] for finding in found["findings"] if finding["bad"])
    assert sorted(os.listdir(root / ".mailbox/cache")) == before


def test_a_lock_of_two_names(staffed: Path, run: Run) -> None:
    """`cp -al` gives every file another name, and no writer works: `doctor` says it as they do, and not only once."""
    subprocess.run(["cp", "-al", ".mailbox", "../bk"], cwd=staffed, check=True)
    assert run("task", "add", "x", cwd=staffed).returncode == 6
    done = run("mbox", "doctor", cwd=staffed)
    assert done.returncode == 1
    bad = [finding for finding in json.loads(done.stdout)["findings"] if finding["bad"]]
    assert {finding["path"] for finding in bad} == {".mailbox/lock", ".mailbox/logs/000001.jsonl"}
    assert all("has another name" in finding["problem"] and "mv " in finding["problem"] for finding in bad)
