"""A repository whose refs are in tables (``git init --ref-format=reftable``), for a git that knows them and one that does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places
from mbox.git import reflock
from mbox.opening import assemble


def git_version() -> tuple[int, ...]:
    """Of the git on ``PATH``."""
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


KNOWS = git_version() >= (2, 45)
new = pytest.mark.skipif(not KNOWS, reason=f"git {git_version()} is older than 2.45 and makes no reftable")
old = pytest.mark.skipif(KNOWS, reason="this git knows reftable")


@pytest.fixture
def tabled(tmp_path: Path, run: Run) -> Path:
    """A repository with reftable, a commit and a store."""
    folder = tmp_path / "repo"
    run("git", "init", "-q", "-b", "main", "--ref-format=reftable", folder, check=True)
    run("git", "commit", "-q", "--allow-empty", "-m", "begin", cwd=folder, check=True)
    run("mbox", "init", cwd=folder, check=True)
    run("mbox", "agent", "add", "ann", cwd=folder, check=True)
    return folder


@new
def test_the_trail_is_kept_and_brought_back(tabled: Path, run: Run) -> None:
    """Commit twice, look, lose the store, restore it, also in a clone that fetched the ref."""
    assert json.loads(run("mbox", "audit", "commit", cwd=tabled, check=True).stdout)["records"]
    run("task", "add", "one", "--id", "x1", cwd=tabled, check=True)
    run("mbox", "audit", "commit", cwd=tabled, check=True)
    assert len(run("mbox", "audit", "log", "-o", "jsonl", cwd=tabled, check=True).stdout.splitlines()) == 2
    for name in (".mailbox", ".tasks"):
        shutil.rmtree(tabled / name)
    run("mbox", "audit", "restore", cwd=tabled, check=True)
    assert json.loads(run("task", "show", "x1", "-o", "json", cwd=tabled, check=True).stdout)["status"] == "queued"
    assert run("mbox", "doctor", cwd=tabled).returncode == 0
    run("git", "fsck", "--strict", cwd=tabled, check=True)


@new
def test_a_linked_worktree_has_the_store_of_the_main_one(tabled: Path, run: Run) -> None:
    """Also with tables of its own."""
    run("git", "worktree", "add", "-q", "../linked", cwd=tabled, check=True)
    told = json.loads(run("mbox", "status", "-o", "json", cwd=tabled.parent / "linked", check=True).stdout)
    assert told["root"] == str(tabled)


@new
def test_a_lock_that_was_left_is_named(tabled: Path, run: Run) -> None:
    """With the mend; after that the trail goes on."""
    lock = tabled / ".git/reftable/tables.list.lock"
    lock.touch()
    done = run("mbox", "audit", "commit", cwd=tabled)
    assert done.returncode == 6 and f"rm {lock}" in done.stderr and len(done.stderr.splitlines()) == 1
    assert lock.exists()
    lock.unlink()
    run("mbox", "audit", "commit", cwd=tabled, check=True)


@pytest.fixture
def unknown(repo: Path, run: Run) -> Path:
    """What a newer git made, as this one sees it."""
    run("mbox", "init", cwd=repo, check=True)
    run("mbox", "agent", "add", "ann", cwd=repo, check=True)
    run("git", "config", "core.repositoryformatversion", "1", cwd=repo, check=True)
    run("git", "config", "extensions.refStorage", "reftable", cwd=repo, check=True)
    return repo


@old
@pytest.mark.parametrize("words", [["mbox", "audit", "commit"], ["mbox", "audit", "log"], ["mbox", "audit", "grep", "x"],
                                   ["reserve", "check", "--staged"]])  # fmt: skip
def test_a_git_that_is_too_old_is_named(unknown: Path, run: Run, words: list[str]) -> None:
    """In one line, with what it lacks and the mend, whatever git says of it; mail goes on."""
    done = run(*words, cwd=unknown)
    assert done.returncode in (2, 6) and len(done.stderr.splitlines()) == 1, done.stderr
    assert "too old" in done.stderr and "refstorage" in done.stderr and "newer git" in done.stderr
    run("mbox", "send", "ann", "--as", "ann", "--body", "x", cwd=unknown, check=True)
    assert run("mbox", "doctor", cwd=unknown).returncode == 0


def test_the_lock_of_the_tables_is_anybody_s(repo: Path, run: Run) -> None:
    """It is of all refs: one that a dead commit of ours may have left is not told from a foreign git's, and so is left."""
    run("mbox", "init", cwd=repo, check=True)
    (repo / ".git/reftable").mkdir()
    lock = repo / ".git/reftable/tables.list.lock"
    store = assemble(str(repo))
    reflock.Try("refs/mbox/audit", "0" * 40, time.time() - 60).note(store)
    assert reflock.look(store) is None
    lock.touch()
    os.utime(lock, (time.time() - 10,) * 2)
    stale = reflock.look(store, repair=True)
    assert stale and not stale.ours and f"rm {lock}" in stale.problem and lock.exists()
    found = run("mbox", "doctor", cwd=repo)
    assert found.returncode == 1 and str(lock) in found.stdout
    assert (repo / places.AUDITING).exists()
