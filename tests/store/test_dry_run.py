"""A dry run over documents that do not follow the journal: nothing is put back or brought up, and the answer is the journal's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from kit import ANN, FakeHost, Killed, make, reopen, send
from mbox.errors import Corrupt
from mbox.format import places
from mbox.opening import assemble
from mbox.store.store import Actor
from mbox.system.disk import Disk
from mbox.tasks import claims
from mbox.tasks.claims import ClaimRequest


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """What stands in the store but for its caches and the lock: inode, time and content."""
    found = [path for top in (".mailbox", ".tasks") for path in (root / top).rglob("*")]
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in found
        if "cache" not in path.parts and path.name != "lock"
    }


def gone(root: Path, before: bytes) -> None:
    """The task's file is taken away."""
    (root / ".tasks/t4.json").unlink()


def older(root: Path, before: bytes) -> None:
    """An older one is in its place."""
    (root / ".tasks/t4.json").unlink()
    (root / ".tasks/t4.json").write_bytes(before)


def rewritten(root: Path, before: bytes) -> None:
    """The older one's bytes are in the file itself, so that its folder shows nothing."""
    (root / ".tasks/t4.json").write_bytes(before)


def away(root: Path, before: bytes) -> None:
    """All of `.tasks` is gone."""
    (root / ".tasks").rename(root / "tasks")


@pytest.mark.parametrize("move", [gone, older, rewritten, away])
def test_nothing_is_put_back(staffed: Path, run: Run, move: Callable[[Path, bytes], None]) -> None:
    """Each verb says what it would do by the journal, that it did nothing, and does nothing; then all is put back as ever."""
    run("task", "add", "one", cwd=staffed, check=True)
    before = (staffed / ".tasks/t4.json").read_bytes()
    run("task", "claim", "t4", "--as", "ann", cwd=staffed, check=True)
    run("mbox", "send", "bob", "--as", "ann", "--body", "x", cwd=staffed, check=True)
    run("mbox", "inbox", "--as", "bob", cwd=staffed, check=True)
    move(staffed, before)
    there = tree(staffed)
    for words, status in (
        (["task", "claim", "t4", "--as", "bob"], 5), (["task", "done", "t4", "--as", "ann"], 0),
        (["task", "claim", "--as", "bob"], 1), (["task", "note", "t4", "hm", "--as", "ann"], 0),
        (["mbox", "read", "--as", "bob"], 0), (["task", "cancel", "t4"], 0),
    ):  # fmt: skip
        done = run(*words, "--dry-run", cwd=staffed)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        assert "put back from the journal" not in done.stderr, done.stderr
        assert tree(staffed) == there, words
    told = json.loads(run("task", "show", "t4", cwd=staffed, check=True).stdout)
    assert (told["status"], told["owner"]) == ("claimed", "ann")
    assert run("mbox", "doctor", cwd=staffed).returncode == 0


class Dying(Disk):
    """A disk of a process that dies as it puts a document in its place."""

    def rename(self, source: str, target: str) -> None:
        """The record stands by then."""
        if "/.tasks/" in target:
            raise Killed
        super().rename(source, target)


def dead(root: Path) -> None:
    """Somebody claims the task, and dies between the record and its publication."""
    with pytest.raises(Killed):
        claims.claim_id(assemble(str(root), Dying()), Actor("ann", 1), "t4", ClaimRequest())


VERBS = [
    (["task", "claim", "t4", "--as", "bob"], 5), (["task", "claim", "--as", "bob"], 1), (["task", "cancel", "t4"], 0),
    (["task", "add", "more"], 0), (["mbox", "send", "bob", "--as", "ann", "--body", "x"], 0),
    (["mbox", "read", "--as", "bob"], 0),
    (["task", "done", "t4", "--as", "ann"], 0), (["task", "renew", "t4", "--as", "ann"], 0),
    (["reserve", "src/b.py", "--as", "bob"], 0), (["reserve", "src/a.py", "--as", "bob"], 5),
]  # fmt: skip


@pytest.mark.parametrize("end", ["killed", "rebooted"])
def test_what_a_dead_one_left_is_seen_and_not_brought_up(staffed: Path, run: Run, end: str) -> None:
    """Each verb decides as of the journal's end, and leaves every file as it was; the next command brings them up as ever."""
    run("task", "add", "one", "--path", "src/a.py", cwd=staffed, check=True)
    run("mbox", "send", "bob", "--as", "ann", "--body", "x", cwd=staffed, check=True)
    dead(staffed)
    env = {"MBOX_BOOT_ID": "another"} if end == "rebooted" else {}
    there, lock = tree(staffed), (staffed / ".mailbox/lock").read_bytes()
    mark = lock.split(b"\n")[0]
    for words, status in VERBS:
        done = run(*words, "--dry-run", cwd=staffed, env=env)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        assert done.stderr.count("answered from the journal, as of record 6") == 1, done.stderr
        assert tree(staffed) == there, words
        assert (staffed / ".mailbox/lock").read_bytes().split(b"\n")[0] == mark, words
    told = json.loads(run("task", "show", "t4", cwd=staffed, check=True, env=env).stdout)
    assert (told["status"], told["owner"]) == ("claimed", "ann")
    assert run("mbox", "doctor", cwd=staffed, env=env).returncode == 0


@pytest.mark.parametrize("rest", [b"no record\n", b'{"v":1,"seq":6,', b"\0" * 100, b"no record\nnor this\n"])
@pytest.mark.parametrize("rebooted", [False, True])
def test_what_would_be_refused_is_refused(tmp_path: Path, rest: bytes, rebooted: bool) -> None:
    """Bytes behind the journal's last record: a dry run ends as the call itself does, but leaves them."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("one"), ANN)
    store.close()
    if rebooted:
        host.reboot()
    segment = tmp_path / places.LOGS / "000001.jsonl"
    segment.write_bytes(segment.read_bytes() + rest)
    there = segment.read_bytes()

    def outcome(dry_run: bool) -> tuple[str, str]:
        store = reopen(tmp_path, host)
        store.dry_run = dry_run
        try:
            return "done", store.transact(send("two"), ANN.trial() if dry_run else ANN)
        except Corrupt as error:
            return "refused", str(error)

    tried = outcome(True)
    assert segment.read_bytes() == there
    assert tried == outcome(False)


def test_a_trial_in_a_store_that_is_in_order_asks_its_files(tmp_path: Path) -> None:
    """The whole journal is read only where they do not follow it."""
    host = FakeHost()
    make(tmp_path, host).close()
    store = reopen(tmp_path, host)
    store.dry_run = True
    assert store.transact(send("two"), ANN.trial())
    assert store.view is None
