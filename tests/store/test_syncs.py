"""What is synced before what: the calls of the disk are written down, and no path shows what a power cut could take back.

One rule for every path (commit, redo, replay, cut, roll, init, in any of which a process may have died before):

- a document is published, and the mark moved, only when every byte of the journal that was written is synced, and with
  it the folder's entry of a segment that was made (in ``full``);
- a segment is begun only when the one before it is synced (in ``fast`` too).

The same log goes on from a process that dies to the one that recovers: it is one kernel that has not synced.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kit import ANN, FakeHost, Killed, RecordingDisk, bodies, make, read, reopen, send
from mbox import opening
from mbox.doctor import survey
from mbox.format import places
from mbox.git import audit, plumbing
from mbox.store import aside
from mbox.store.store import Store
from mbox.system.disk import TEMP, Disk

Done = list[tuple[str, str]]

ROLLS = 900
"""Bytes of a segment in which there is room for two or three records."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is synced is only written down here: fsync itself would take time."""
    monkeypatch.setattr(Disk, "sync", lambda self, fd: None)


def is_published(call: str, path: str, root: Path) -> bool:
    """Whether a call shows something of a record: a document comes or goes, or the mark says that it has."""
    if call == "mark":
        return True
    relative = path.removeprefix(f"{root}/")
    return call in ("rename", "unlink") and places.is_place(relative) and TEMP not in relative


def too_early(done: Done, root: Path, fast: bool = False) -> list[str]:
    """What was shown, or begun, before what it stands on was synced."""
    logs = str(root / places.LOGS)
    unsynced: set[str] = set()
    wrong = []
    for n, (call, path) in enumerate(done):
        if call == "sync":
            unsynced.discard(path)
        elif call == "made" and path.startswith(f"{logs}/"):
            wrong += [f"{n}: {path} begun before {other} was synced" for other in unsynced - {logs}]
            unsynced |= {path, logs}
        elif call in ("write", "cut") and path.startswith(f"{logs}/"):
            unsynced.add(path)
        elif call == "unlink" and path in unsynced:
            unsynced.discard(path)
        elif not fast and unsynced and is_published(call, path, root):
            wrong.append(f"{n}: {call} {path} before {sorted(unsynced)} was synced")
    return wrong


def filled(root: Path, host: FakeHost) -> None:
    """A store whose first segment is full."""
    store = make(root, host)
    store.transact(send(f"before {'x' * ROLLS}"), ANN)
    store.close()


def worked(store: Store) -> None:
    """Begins a segment, and makes two records."""
    store.transact(send("one"), ANN)
    store.transact(read(), ANN)


def same_file(root: Path, host: FakeHost) -> None:
    """A process died."""


def another_boot(root: Path, host: FakeHost) -> None:
    """The machine died, and lost nothing."""
    host.reboot()


def another_lock(root: Path, host: FakeHost) -> None:
    """git took the lock file away as well."""
    (root / places.LOCK).unlink()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("then", [same_file, another_boot, another_lock])
def test_nothing_is_shown_before_it_is_synced(tmp_path: Path, then: Callable[[Path, FakeHost], None], half: bool) -> None:
    """Wherever a process died, in a record or in a roll: what it had not synced is synced before it is published."""
    probe = RecordingDisk()
    filled(tmp_path / "count", FakeHost())
    first = reopen(tmp_path / "count", disk=probe, segment_size=ROLLS)
    worked(first)
    assert len(first.journal.segments()) > 1
    assert too_early(probe.done, tmp_path / "count") == []
    for at in range(probe.calls):
        root, host, done = tmp_path / str(at), FakeHost(), list[tuple[str, str]]()
        filled(root, host)
        dying = reopen(root, host, RecordingDisk(done, at, half), segment_size=ROLLS)
        with pytest.raises(Killed):
            worked(dying)
        dying.close()
        then(root, host)
        after = reopen(root, host, RecordingDisk(done), segment_size=ROLLS)
        after.catch_up()
        after.transact(send("after"), ANN)
        assert bodies(after)[-1] == "after"
        after.close()
        assert too_early(done, root) == [], at


def test_in_fast_a_segment_is_begun_when_the_one_before_is_synced(tmp_path: Path) -> None:
    """A segment that is not the last is durable whole: else a power cut leaves a hole in the middle of the journal."""
    host = FakeHost()
    make(tmp_path, host, durability="fast").close()
    disk = RecordingDisk()
    store = reopen(tmp_path, host, disk, durability="fast", segment_size=ROLLS)
    for n in range(8):
        store.transact(send(f"body {n} {'x' * 60}"), ANN)
    assert len(store.journal.segments()) > 2
    synced = [path for call, path in disk.done if call == "sync" and path.endswith("000001.jsonl")]
    assert too_early(disk.done, tmp_path, fast=True) == []
    assert synced, "the clock stood still: only the roll can have synced it"


def test_the_first_segment_of_an_init_is_durable_before_the_mark(tmp_path: Path) -> None:
    """The journal that an init begins, and its folder's entry, before anything says that there is one."""
    disk = RecordingDisk()
    opening.init(str(tmp_path), here=True, disk=disk).store.close()
    begun = [n for n, (call, path) in enumerate(disk.done) if call == "made" and path.endswith("000001.jsonl")]
    assert begun
    assert too_early(disk.done[begun[0] :], tmp_path) == []
    assert ("sync", str(tmp_path / places.LOGS)) in disk.done


def in_order(done: Done, *steps: tuple[str, str]) -> bool:
    """Whether the steps were made in this order, others between them."""
    left = iter(done)
    return all(step in left for step in steps)


def test_a_checkpoint_says_only_what_is_synced(tmp_path: Path) -> None:
    """The segment, then the whole file system, then the checkpoint's own bytes, its name, and its folder."""
    make(tmp_path, FakeHost()).close()
    disk = RecordingDisk()
    store = reopen(tmp_path, disk=disk, segment_size=ROLLS)
    while len(store.journal.segments()) < 2:
        store.transact(send(f"body {'x' * 60}"), ANN)
    target = str(tmp_path / places.CHECKPOINT)
    temp = next(path for call, path in disk.done if call == "made" and ".tmp-checkpoint" in path)
    logs = str(tmp_path / places.LOGS)
    assert in_order(
        disk.done, ("sync", f"{logs}/000002.jsonl"), ("sync", logs), ("syncfs", ""), ("write", temp), ("sync", temp),
        ("rename", target), ("sync", str(tmp_path / places.MAILBOX)),
    )  # fmt: skip


def test_what_is_kept_is_durable_before_its_place_is_taken(tmp_path: Path) -> None:
    """The second name of what stood there, and its folder; then the journal's state, synced before it is renamed."""
    store = make(tmp_path)
    ident = store.transact(send("one"), ANN)
    path = places.new("bob", ident)
    disk = RecordingDisk()
    again = reopen(tmp_path, disk=disk)
    kept = aside.keep(again, path)
    aside.put_back(again, path, store.read(path))
    target = str(tmp_path / path)
    (temp,) = {name for call, name in disk.done if call == "made"}
    assert in_order(
        disk.done, ("link", kept), ("sync", kept), ("sync", str(tmp_path / places.ASIDE)), ("write", temp), ("sync", temp),
        ("rename", target), ("sync", str((tmp_path / path).parent)),
    )  # fmt: skip


@pytest.mark.parametrize(("durability", "synced"), [("fast", True), ("full", False)])
def test_the_journal_is_synced_before_the_ref_moves(
    repo: Path, monkeypatch: pytest.MonkeyPatch, durability: str, synced: bool
) -> None:
    """In ``fast`` the ref says nothing that the journal may lose; in ``full`` there is nothing left to sync."""
    opening.init(str(repo)).store.close()
    (repo / places.CONFIG).write_text(f"durability: {durability}\n", encoding="utf-8")
    disk = RecordingDisk()
    store = opening.assemble(str(repo), disk)
    store.transact(lambda tx: None, ANN._replace(incarnation=0))
    store.transact(send("one"), ANN._replace(incarnation=0))
    store.transact(send("two"), ANN._replace(incarnation=0))
    disk.done.clear()
    move = plumbing.Git.move

    def moving(self: plumbing.Git, name: str, new: str, old: str | None) -> str:
        disk.done.append(("ref", name))
        return move(self, name, new, old)

    monkeypatch.setattr(plumbing.Git, "move", moving)
    audit.commit(store)
    calls = [call for call, path in disk.done if call == "ref" or path.endswith("000001.jsonl")]
    assert calls == (["sync", "ref"] if synced else ["ref"])
    assert survey.survey(store).clean


def test_a_mark_that_only_tells_more_says_nothing_of_what_is_synced(tmp_path: Path) -> None:
    """In ``fast``: who found out what is due, and made no record, synced nothing."""
    host = FakeHost()
    store = make(tmp_path, host, durability="fast")
    host.advance(2)
    store.transact(send("synced"), ANN)
    host.advance(0.5)
    store.transact(send("not synced"), ANN)
    before = store.mark()
    assert before is not None and before.synced_seq < before.tail.seq
    with store.locked():
        store.go_on_above(before.tail.seq + 9)
    after = store.mark()
    assert after is not None and after.floor == before.tail.seq + 9
    assert (after.synced, after.synced_seq) == (before.synced, before.synced_seq)
