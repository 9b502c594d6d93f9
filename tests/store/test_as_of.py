"""Answers as of a record: a writer died before it published, nobody can bring the files up; every part speaks of one record."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.format import places

BIN = Path(sys.executable).parent
AS_OF = "answered from the journal, as of record"


class Left:
    """A store in which a writer died, and that cannot be brought up; commands run in it."""

    def __init__(self, root: Path, within: list[str]) -> None:
        self.root, self.within = root, within

    def __call__(self, *words: str, limit: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        line = [*self.within, str(BIN / words[0]), *words[1:]]
        done = subprocess.run(line, cwd=self.root, capture_output=True, text=True, check=False, timeout=limit)
        assert "internal error" not in done.stderr, done.stderr
        return done

    def json(self, *words: str) -> Any:
        """What it prints."""
        done = self(*words)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def stream(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        line = [*self.within, str(BIN / words[0]), *words[1:]]
        return subprocess.Popen(line, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def die(root: Path, *words: str) -> None:
    """Run a command that is killed at its first rename: its record stands, its files do not follow.

    Python itself renames where it keeps a module that it has compiled: it keeps none here.
    """
    inject = ["strace", "-qq", "-f", "-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=1"]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*inject, str(BIN / words[0]), *words[1:]], cwd=root, env=environ, capture_output=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 137), done.stderr


@pytest.fixture(params=["read-only", "held"])
def left(request: pytest.FixtureRequest, staffed: Path, run: Run) -> Iterator[Callable[..., Left]]:
    """Makes it: after the words of the writer that dies."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: nothing kills at a call")
    run("mbox", "config", "set", "lock_wait", "1s", cwd=staffed, check=True)
    run("mbox", "status", cwd=staffed, check=True)  # the settings are remembered by a rename, too
    holders: list[subprocess.Popen[str]] = []

    def make(*words: str) -> Left:
        die(staffed, *words)
        if request.param == "read-only":
            bind = "mount --bind . . && mount -o remount,ro,bind . && cd \"$PWD\" && exec \"$@\""
            made = Left(staffed, ["unshare", "--mount", "sh", "-c", bind, "sh"])
            if subprocess.run([*made.within, "true"], cwd=staffed, check=False, capture_output=True).returncode:
                pytest.skip("no mount name space can be made here: there is no read-only store")
            return made
        script = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print('had', flush=True); sys.stdin.read()"
        line = [sys.executable, "-c", script, str(staffed / places.LOCK)]
        holder = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout and holder.stdout.readline()
        holders.append(holder)
        return Left(staffed, [])

    yield make
    for holder in holders:
        holder.communicate("")


def test_whoever_waits_goes_on(left: Callable[..., Left], run: Run, staffed: Path) -> None:
    """With mail there `wait` and `watch` show it; without, time runs out, exit 4, and nothing ends with the lock's words."""
    run("mbox", "send", "ann", "--as", "bob", "--type", "question", "--body", "why?", cwd=staffed, check=True)
    store = left("mbox", "send", "bob", "--as", "ann", "--subject", "late")
    shown = store.json("mbox", "wait", "--as", "bob", "--timeout", "3s")
    assert [row["subject"] for row in shown] == ["late"]
    for words in (["wait", "--as", "bob", "--new"], ["gather", "m4", "--as", "bob"]):
        done = store("mbox", *words, "--timeout", "1s")
        assert done.returncode == 4, done.stderr
        assert AS_OF in done.stderr
    for words in (["watch", "--as", "bob"], ["log", "--follow", "--op", "mail."]):
        with store.stream("mbox", *words) as process:
            assert process.stdout
            assert json.loads(process.stdout.readline())
            with pytest.raises(subprocess.TimeoutExpired):  # it is not ended by a try to take the lock, which takes less
                process.wait(3.5)
            process.terminate()


def test_a_follower_goes_on_once_the_store_can_be_written(staffed: Path) -> None:
    """It is told of what comes then, and answers from the files again."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: nothing kills at a call")
    die(staffed, "mbox", "send", "bob", "--as", "ann", "--subject", "late")
    script = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print('had', flush=True); sys.stdin.read()"
    line = [sys.executable, "-c", script, str(staffed / places.LOCK)]
    store = Left(staffed, [])
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdin and holder.stdout.readline()
        with store.stream("mbox", "watch", "--as", "bob") as process:
            assert process.stdout
            assert json.loads(process.stdout.readline())["subject"] == "late"
            holder.stdin.close()
            holder.wait()
            assert store("mbox", "send", "bob", "--as", "ann", "--subject", "next").returncode == 0
            assert json.loads(process.stdout.readline())["subject"] == "next"
            process.terminate()


def test_every_part_speaks_of_that_record(left: Callable[..., Left], run: Run, staffed: Path) -> None:
    """The number, the last record, the log, the tasks and the claims of `status`; `doctor` says what it compares."""
    task = run("task", "add", "one", "-o", "id", cwd=staffed, check=True).stdout.strip()
    letter = run("mbox", "send", "bob", "--as", "ann", "--task", task, "--body", "x", "-o", "id", cwd=staffed, check=True)
    store = left("task", "claim", task, "--as", "ann")
    done = store("mbox", "status")
    seq = int(done.stderr.split(AS_OF)[1].split()[0])
    told = json.loads(done.stdout)
    assert told["seq"] == seq
    assert told["last"].startswith("task.claim by ann")
    assert told["tasks"] == {"claimed": 1}
    assert told["claims"][0]["left"] not in ("unknown", "expired")
    assert store.json("mbox", "log", "--limit", "1")[0]["seq"] == seq
    assert store.json("mbox", "show", letter.stdout.strip(), "--as", "bob")["stale"] is True
    doctor = store("mbox", "doctor")
    assert AS_OF not in doctor.stderr
    assert "compared as they stand" in doctor.stderr
    assert json.loads(doctor.stdout)["seq"] == seq - 1


def test_what_is_reserved_by_that_record_is_held(left: Callable[..., Left]) -> None:
    """Its lease is that of the record, though no file has it yet."""
    store = left("reserve", "src/**", "--as", "ann")
    done = store("reserve", "check", "src/a", "--as", "bob")
    assert done.returncode == 1, done.stdout
    assert json.loads(done.stdout)[0]["state"] == "held"
    assert store.json("reserve", "list")[0]["left"] not in ("unknown", "expired")
