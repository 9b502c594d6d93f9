"""git's lock on the audit ref: a dead process's is taken away, a living one's is waited for, a foreign one's is named."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from teamkit import until

LOCK = ".git/refs/mbox/audit.lock"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def audited(repo: Path, run: Run) -> Path:
    """A repository with a store, an agent and one audit commit."""
    run("mbox", "init", cwd=repo, check=True)
    run("mbox", "agent", "add", "ann", cwd=repo, check=True)
    run("mbox", "audit", "commit", cwd=repo, check=True)
    run("task", "add", "one", cwd=repo, check=True)
    return repo


def wrapped(folder: Path, script: str) -> dict[str, str]:
    """An environment whose git is ``script``, which has the real one as ``$GIT``."""
    import shutil

    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/bash\nGIT={shutil.which('git')}\n{script}\nexec $GIT \"$@\"\n")
    (folder / "git").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


KILLED = """if [ "$1" = update-ref ] && [ ! -e {once} ]; then
  : > {once}; [ {full} = 1 ] && echo $6 > "$GIT_DIR/$5.lock" || : > "$GIT_DIR/$5.lock"
  [ {parent} = 1 ] && kill -9 $PPID; kill -9 $$
fi"""


@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize("parent", [0, 1])
def test_a_killed_git_stops_no_trail(audited: Path, run: Run, tmp_path: Path, full: int, parent: int) -> None:
    """Killed with the lock made, empty or written into, alone or with its parent: the next try takes it away and goes on."""
    killing = wrapped(tmp_path / "bin", KILLED.format(full=full, parent=parent, once=tmp_path / "once"))
    done = run("mbox", "audit", "commit", cwd=audited, env=killing)
    if parent:
        assert done.returncode == -9
        assert (audited / LOCK).exists()
        assert "did not come to its end" in run("mbox", "status", cwd=audited, check=True).stdout
        done = run("mbox", "audit", "commit", cwd=audited)
    assert done.returncode == 0, done.stderr
    assert "left by an audit commit that died" in done.stderr
    assert json.loads(done.stdout)["records"] == 1
    assert not (audited / LOCK).exists()
    assert run("mbox", "doctor", cwd=audited).returncode == 0
    assert "audit commit" not in run("mbox", "status", cwd=audited, check=True).stdout


def test_the_doctor_finds_and_removes_it(audited: Path, run: Run, tmp_path: Path) -> None:
    """Before anybody commits: `doctor` says no and why, `--repair` removes it and says so, a dry run leaves it."""
    killing = wrapped(tmp_path / "bin", KILLED.format(full=1, parent=1, once=tmp_path / "once"))
    run("mbox", "audit", "commit", cwd=audited, env=killing)
    asked = run("mbox", "doctor", cwd=audited)
    assert asked.returncode == 1
    assert [(f["kind"], Path(f["path"])) for f in json.loads(asked.stdout)["findings"]] == [("ref", audited / LOCK)]
    assert run("mbox", "doctor", "--repair", "--dry-run", cwd=audited).returncode == 1
    assert (audited / LOCK).exists()
    mended = run("mbox", "doctor", "--repair", cwd=audited)
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout)["did"] == [{"kind": "ref", "path": str(audited / LOCK), "did": "removed"}]
    assert not (audited / LOCK).exists()
    run("mbox", "audit", "commit", cwd=audited, check=True)


def test_a_foreign_lock_is_named_and_left(audited: Path, run: Run) -> None:
    """No audit commit left it: it stays, also by `--repair`; who commits, `doctor` and `status` say what to do about it."""
    (audited / LOCK).touch()
    done = run("mbox", "audit", "commit", cwd=audited)
    assert done.returncode == 6
    assert f"`rm {audited / LOCK}`" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for words in (["doctor"], ["doctor", "--repair"]):
        said = run("mbox", *words, cwd=audited)
        assert said.returncode == 1
        assert f"`rm {audited / LOCK}`" in said.stdout
    assert (audited / LOCK).exists()
    assert "the last audit commit failed" in run("mbox", "status", cwd=audited, check=True).stdout
    (audited / LOCK).unlink()
    run("mbox", "audit", "commit", cwd=audited, check=True)
    assert "audit commit" not in run("mbox", "status", cwd=audited, check=True).stdout


def test_a_foreign_lock_that_goes_is_waited_for(audited: Path, run: Run) -> None:
    """A git of somebody else's that is in the middle of it delays, and does not fail, a commit."""
    (audited / LOCK).touch()
    with subprocess.Popen(["bash", "-c", f"sleep 0.5; rm {audited / LOCK}"]):
        run("mbox", "audit", "commit", cwd=audited, check=True)


def test_a_living_git_keeps_its_lock(audited: Path, run: Run, tmp_path: Path) -> None:
    """The parent alone is killed while its git is in it: nobody takes the lock away, or says that it is left over."""
    go = tmp_path / "go"
    script = f"""if [ "$1" = update-ref ]; then
      echo $6 > "$GIT_DIR/$5.lock"; kill -9 $PPID; : > {tmp_path / "in"}; while [ ! -e {go} ]; do sleep 0.02; done
      rm "$GIT_DIR/$5.lock"
    fi"""
    assert run("mbox", "audit", "commit", cwd=audited, env=wrapped(tmp_path / "bin", script)).returncode == -9
    until((tmp_path / "in").exists, "git is not in it", at=tmp_path)
    assert run("mbox", "doctor", "--repair", cwd=audited).returncode == 0
    assert (audited / LOCK).exists()
    assert "come to its end" not in run("mbox", "status", cwd=audited, check=True).stdout
    go.touch()
    done = run("mbox", "audit", "commit", cwd=audited)
    assert done.returncode == 0, done.stderr
    assert "left by" not in done.stderr


def test_one_moves_a_ref_at_a_time(audited: Path, run: Run) -> None:
    """Who has it for long is waited for as the store's lock is, then it is said; nothing is changed."""
    run("mbox", "config", "set", "lock_wait", "1s", cwd=audited, check=True)
    fd = os.open(audited / ".git", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    done = run("mbox", "audit", "commit", cwd=audited)
    os.close(fd)
    assert done.returncode == 6
    assert "another audit commit" in done.stderr
    run("mbox", "audit", "commit", cwd=audited, check=True)
