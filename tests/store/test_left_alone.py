"""A document that cannot be read here stops no queue: it is left alone and said, and everything else is served."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.format import places

Spoil = Callable[[Path], None]


def newer(path: Path) -> None:
    """Write the document as a version after this one would."""
    doc = json.loads(path.read_text())
    path.write_text(json.dumps({**doc, "schema": 2, "colour": "red"}))


def a_folder(path: Path) -> None:
    """Put a folder in the place of the document, which nobody can read; its bytes are kept in it."""
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    (path / "kept").write_bytes(data)


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with agents ann, bob and cyd."""
    folder = tmp_path / "root"
    folder.mkdir()
    run("mbox", "init", cwd=folder, check=True)
    for name in ("ann", "bob", "cyd"):
        run("mbox", "agent", "add", name, cwd=folder, check=True)
    return folder


class Call:
    """Calls that must succeed, and say of ``bad`` that it is left alone, in one line and nothing else."""

    def __init__(self, root: Path, run: Run) -> None:
        self.root, self.run = root, run
        self.bad = ""

    def __call__(self, *words: str, code: int = 0, quiet: bool = False) -> Any:
        done = self.run(*words, cwd=self.root)
        assert done.returncode == code, (words, done.returncode, done.stderr)
        if not quiet:
            said = [line for line in done.stderr.splitlines() if self.bad in line]
            assert len(said) == 1, (words, done.stderr)
            assert "left alone" in said[0]
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture
def call(root: Path, run: Run) -> Call:
    """Calls in the store."""
    return Call(root, run)


def spoilt(call: Call, path: str, spoil: Spoil) -> None:
    """Spoil a document, before the index is made anew as well."""
    spoil(call.root / path)
    call.bad = path


SPOILS = pytest.mark.parametrize("spoil", [newer, a_folder])
INDEXED = pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "index-lost"])


def lose_index(call: Call) -> None:
    """Take the index away, as a reboot does."""
    for path in (call.root / places.CACHE).glob("index*"):
        path.unlink()


@SPOILS
@INDEXED
def test_a_task(call: Call, spoil: Spoil, indexed: bool) -> None:
    """The next ready one is claimed; lists show the others; what depends on it waits; readable again, it is claimed."""
    for name, priority in (("bad", "9"), ("good", "5"), ("low", "1")):
        call("task", "add", name, "--id", name, "--priority", priority, quiet=True)
    call("task", "add", "after", "--id", "after", "--depends-on", "bad", "--priority", "9", quiet=True)
    before = (call.root / places.task("bad")).read_bytes()
    spoilt(call, places.task("bad"), spoil)
    if not indexed:
        lose_index(call)
    assert [row["task_id"] for row in call("task", "list")] == ["after", "good", "low"]
    assert [row["task_id"] for row in call("task", "ready")] == ["good", "low"]
    assert call("task", "claim", "--as", "ann")["task_id"] == "good"
    call("task", "done", "good", "--as", "ann", quiet=True)
    assert "unreadable" in json.dumps(call("task", "show", "after"))
    call("mbox", "status")
    call("mbox", "me", "--as", "ann")
    assert call("task", "claim", "--as", "ann")["task_id"] == "low"
    call("task", "claim", "--as", "bob", code=1)
    call("task", "cancel", "bad", code=6, quiet=True)
    call("task", "claim", "bad", "--as", "bob", code=6, quiet=True)
    (call.root / places.task("bad") / "kept").unlink(missing_ok=True) if spoil is a_folder else None
    if spoil is a_folder:
        (call.root / places.task("bad")).rmdir()
    (call.root / places.task("bad")).write_bytes(before)
    assert call("task", "claim", "--as", "bob", quiet=True)["task_id"] == "bad"


@SPOILS
@INDEXED
def test_mail(call: Call, spoil: Spoil, indexed: bool) -> None:
    """The next message is read, the inbox lists the others; sending goes on."""
    first = call("mbox", "send", "bob", "--as", "ann", "--body", "one", "--priority", "9", quiet=True)["msg_id"]
    second = call("mbox", "send", "bob", "--as", "ann", "--body", "two", quiet=True)["msg_id"]
    third = call("mbox", "send", "bob", "--as", "ann", "--body", "three", quiet=True)["msg_id"]
    spoilt(call, places.new("bob", first), spoil)
    if not indexed:
        lose_index(call)
    assert [row["msg_id"] for row in call("mbox", "inbox", "--as", "bob")] == [second, third]
    call("mbox", "wait", "--as", "bob", "--timeout", "1s")
    assert call("mbox", "read", "--as", "bob")["msg_id"] == second
    assert call("mbox", "read", "--from", "ann", "--as", "bob")["msg_id"] == third
    call("mbox", "read", "--as", "bob", code=1)
    call("mbox", "me", "--as", "bob")
    call("mbox", "send", "bob", "--as", "ann", "--body", "four", quiet=True)
    assert (call.root / places.new("bob", first)).exists()


@SPOILS
def test_an_agent(call: Call, spoil: Spoil) -> None:
    """Of the others everybody is served: lists, broadcasts, mail, a rejection of what the unreadable one did."""
    call("mbox", "agent", "add", "lead", "--role", "orchestrator", quiet=True)
    call("task", "add", "x", "--id", "x", quiet=True)
    for words in (("claim", "x"), ("submit", "x")):
        call("task", *words, "--as", "cyd", quiet=True)
    call("task", "review", "x", "--as", "bob", quiet=True)
    spoilt(call, places.agent("cyd"), spoil)
    assert [row["agent"] for row in call("mbox", "agent", "list")] == ["ann", "bob", "lead"]
    assert call("mbox", "broadcast", "--as", "lead", "--body", "all")["to"] == ["ann", "bob"]
    call("mbox", "send", "ann", "--as", "bob", "--body", "x", quiet=True)
    call("task", "reject", "x", "--reason", "no", "--as", "bob")
    call("mbox", "status")
    call("mbox", "send", "cyd", "--as", "bob", "--body", "x", code=6, quiet=True)


@SPOILS
@INDEXED
def test_a_reservation_counts_as_held(call: Call, spoil: Spoil, indexed: bool) -> None:
    """Its holder keeps it, by what the journal says; what it does not cover is free, and a task beside it is claimed."""
    rid = call("reserve", "src/**", "--as", "ann", quiet=True)["reservation_id"]
    call("task", "add", "in the way", "--id", "meets", "--path", "src/a.py", "--priority", "9", quiet=True)
    call("task", "add", "beside", "--id", "beside", "--path", "docs/a.md", quiet=True)
    spoilt(call, places.reservation(rid), spoil)
    if not indexed:
        lose_index(call)
    assert [row["state"] for row in call("reserve", "check", "src/a.py", "docs/a.md", "--as", "bob", code=1)] == ["held", "free"]
    assert call("reserve", "check", "src/a.py", "--as", "ann")[0]["state"] == "own"
    call("reserve", "src/b.py", "--as", "bob", code=5)
    assert call("task", "claim", "--as", "bob")["task_id"] == "beside"
    call("task", "claim", "meets", "--as", "bob", code=5)
    assert call("reserve", "list")[0]["reservation_id"] == rid
    call("reserve", "other.md", "--as", "bob", quiet=True)
    assert "reserved" in json.dumps(call("task", "ready", "--explain"))
    call("mbox", "status")


@SPOILS
def test_a_reservation_that_ends_with_its_task(call: Call, spoil: Spoil) -> None:
    """An unreadable reservation stands in nobody's way to end the task that it is tied to, and ends with it."""
    call("task", "add", "x", "--id", "x", "--path", "src/**", quiet=True)
    rid = call("task", "claim", "x", "--as", "ann", quiet=True)["reservation_id"]
    newer(call.root / places.reservation(rid))
    call("task", "done", "x", "--as", "ann", quiet=True)
    assert not (call.root / places.reservation(rid)).exists()
    assert call("reserve", "check", "src/a.py", "--as", "bob", quiet=True)[0]["state"] == "free"


@SPOILS
def test_what_ran_out(call: Call, spoil: Spoil) -> None:
    """The sweep says it, looks again later, and gives back what else has run out."""
    for name in ("bad", "good"):
        call("task", "add", name, "--id", name, quiet=True)
        call("task", "claim", name, "--lease", "1s", "--as", "ann", quiet=True)
    spoilt(call, places.task("bad"), spoil)
    subprocess.run(["sleep", "1.1"], check=True)
    assert call("task", "claim", "--as", "bob", quiet=True)["task_id"] == "good"


@SPOILS
def test_a_team_and_notes(call: Call, spoil: Spoil) -> None:
    """Notes that cannot be read keep nobody from the task."""
    call("task", "add", "x", "--id", "x", quiet=True)
    call("task", "claim", "x", "--as", "ann", quiet=True)
    call("task", "note", "x", "hello", "--as", "ann", quiet=True)
    call("task", "release", "x", "--as", "ann", quiet=True)
    if spoil is newer:
        (call.root / places.notes("x")).write_text('{"ts": 1}\n')
        call("task", "claim", "x", "--as", "ann", quiet=True)
        return
    spoilt(call, places.notes("x"), spoil)
    assert call("task", "claim", "--as", "ann")["task_id"] == "x"
    assert call("task", "show", "x")["task_id"] == "x"
    call("mbox", "me", "--as", "ann")
