"""A ref that somebody else wrote: an object of a gigabyte in a few bytes, folders without end, a line without end."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run

BIN = Path(sys.executable).parent
HUGE = 400 << 20
MOST = 200_000
"""Kilobytes that a command and what it starts may take."""

MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
sys.stderr.buffer.write(done.stderr)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def git(repo: Path, *words: str, given: bytes = b"", env: dict[str, str] | None = None) -> str:
    """What git prints."""
    env = {**os.environ, **(env or {})}
    done = subprocess.run(["git", *words], cwd=repo, input=given, env=env, capture_output=True, check=True)
    return done.stdout.decode().strip()


def loose(repo: Path, kind: str, size: int, start: bytes = b"") -> str:
    """A loose object of that size, written without ever having it in memory; its name."""
    packer, name = zlib.compressobj(1), hashlib.sha1()
    path = repo / ".git/objects/huge"
    left = size - len(start)
    with path.open("wb") as file:
        for part in (f"{kind} {size}\0".encode() + start, *(b"\n" * min(1 << 20, left - at) for at in range(0, left, 1 << 20))):
            name.update(part)
            file.write(packer.compress(part))
        file.write(packer.flush())
    target = repo / ".git/objects" / name.hexdigest()[:2] / name.hexdigest()[2:]
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    return name.hexdigest()


def commit_with(repo: Path, tree: str) -> None:
    """Let the audit ref point to a commit as its newest one, of another tree."""
    text = git(repo, "cat-file", "commit", "refs/mbox/audit").replace(git(repo, "rev-parse", "refs/mbox/audit^{tree}"), tree)
    made = git(repo, "hash-object", "-t", "commit", "-w", "--stdin", given=f"{text}\n".encode())
    git(repo, "update-ref", "refs/mbox/audit", made)


def at(path: str) -> Callable[[Path], None]:
    """A blob of `HUGE` bytes at ``path``."""

    def made(repo: Path) -> None:
        env = {"GIT_INDEX_FILE": str(repo.parent / "index")}
        git(repo, "read-tree", "refs/mbox/audit", env=env)
        git(repo, "update-index", "--add", "--cacheinfo", f"100644,{loose(repo, 'blob', HUGE)},{path}", env=env)
        commit_with(repo, git(repo, "write-tree", env=env))

    return made


def a_message(repo: Path) -> None:
    """A commit of `HUGE` bytes."""
    text = f"{git(repo, 'cat-file', 'commit', 'refs/mbox/audit')}\n".encode()
    git(repo, "update-ref", "refs/mbox/audit", loose(repo, "commit", HUGE, text))


def a_folder(repo: Path) -> None:
    """A folder of `HUGE` bytes."""
    entry = b"100644 m1.json\0" + bytes(20)
    commit_with(repo, git(repo, "mktree", given=f"040000 tree {loose(repo, 'tree', HUGE, entry)}\t.mailbox\n".encode()))


def bomb(repo: Path) -> None:
    """Ten folders in each of ten levels of folders, ten thousand million documents, each at a place of the format."""
    blob = git(repo, "hash-object", "-w", "--stdin", given=b"x\n")
    tree = git(repo, "mktree", given="".join(f"100644 blob {blob}\tm{n}.json\n" for n in range(1, 3000)).encode())
    tree = git(repo, "mktree", given=f"040000 tree {tree}\tnew\n".encode())
    tree = git(repo, "mktree", given="".join(f"040000 tree {tree}\ta{n}\n" for n in range(5000)).encode())
    tree = git(repo, "mktree", given=f"040000 tree {tree}\tinbox\n".encode())
    commit_with(repo, git(repo, "mktree", given=f"040000 tree {tree}\t.mailbox\n".encode()))


@pytest.fixture
def kept(repo: Path, run: Run) -> Path:
    """A repository with a store that has an audit ref."""
    for words in (("init",), ("agent", "add", "ann"), ("audit", "commit"), ("agent", "add", "bob")):
        run("mbox", *words, cwd=repo, check=True)
    return repo


ENDLESS = {
    "slice": at(".mailbox/logs/000001/000000000000.jsonl"), "document": at(".mailbox/agents/ann.json"),
    "settings": at(".mailbox/config.yaml"), "message": a_message, "folder": a_folder, "bomb": bomb,
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="what another process may take cannot be said here")
@pytest.mark.parametrize("what", ENDLESS)
def test_a_ref_is_refused_before_it_fills_the_memory(what: str, kept: Path, run: Run) -> None:
    """Every command that reads it: little memory, soon, an exit status of the table, no traceback."""
    ENDLESS[what](kept)
    failed = 0
    for words in (["commit"], ["log"], ["grep", "hello"], ["grep", "--history", "hello"], ["restore"]):
        if words == ["restore"]:
            for name in (".mailbox", ".tasks"):
                (kept / name).rename(kept.parent / name)
        line = [sys.executable, "-c", MEASURE, str(BIN / "mbox"), "audit", *words]
        done = subprocess.run(line, cwd=kept, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-500:]
        status, kilobytes = map(int, done.stdout.split())
        assert kilobytes < MOST, (words, kilobytes, done.stderr)
        assert status in (0, 1, 2, 6), (words, done.stderr)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, (words, done.stderr)
        failed += status == 6
    assert failed


def test_refs_that_would_be_read_whole_are_refused(kept: Path, run: Run) -> None:
    """A sparse ``packed-refs`` of three gigabytes costs nothing but its holder's disk."""
    with (kept / ".git/packed-refs").open("wb") as file:
        file.truncate(3 << 30)
    done = run("mbox", "audit", "log", cwd=kept)
    assert done.returncode == 6 and "packed-refs" in done.stderr and "move it away" in done.stderr
