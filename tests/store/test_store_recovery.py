"""Recovery under a second misfortune: deaths and full disks during a redo, a replay, a rollover, a mend, an init."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import ANN, USER, FakeHost, FaultyDisk, Killed, bodies, journaled, make, read, reopen, send, set_aside, tree
from mbox import opening
from mbox.doctor import repair, survey
from mbox.errors import Corrupt, StoreError, Usage
from mbox.format import documents, places
from mbox.store import checkpoint
from mbox.store.store import Store, Transaction
from mbox.system.disk import Disk

SEGMENT = f"{places.LOGS}/000001.jsonl"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would survive a power cut is made by hand here: fsync would only take time."""
    monkeypatch.setattr(Disk, "sync", lambda self, fd: None)


def clean(store: Store) -> None:
    """The store is as its journal says, after one command took the lock."""
    store.catch_up()
    found = survey.survey(store)
    assert found.clean, found.findings


def unpublished(root: Path, host: FakeHost) -> None:
    """A store in which a process died right after its commit of a read."""
    store = make(root, host)
    store.transact(send("first"), ANN)
    store.transact(send("second"), ANN)
    store.close()
    probe = reopen(root, host, FaultyDisk(0, only="sync"))
    with pytest.raises(Killed):
        probe.transact(read(), ANN)
    probe.close()


def cut_off(root: Path, host: FakeHost) -> None:
    """A store after a power cut: documents at length zero, a torn tail, another boot id."""
    store = make(root, host)
    store.transact(send("first"), ANN)
    store.transact(send("second"), ANN)
    store.transact(read(), ANN)
    store.close()
    for path in tree(root):
        os.truncate(root / path, 0)
    with open(root / SEGMENT, "ab") as file:
        file.write(b'{"v":1,"seq":9,"body":"\n\0\0half')
    host.reboot()


def lost_in_fast(root: Path, host: FakeHost) -> None:
    """A store after a power cut in ``fast``: the journal lost its last records, their documents did not."""
    store = make(root, host, durability="fast")
    store.transact(send("first"), ANN)
    store.transact(send("second"), ANN)
    size = store.tail.offset
    for n in range(3):
        store.transact(send(f"lost {n}"), ANN)
    store.close()
    os.truncate(root / SEGMENT, size)
    host.reboot()


MISFORTUNES: dict[str, Callable[[Path, FakeHost], None]] = {
    "process": unpublished, "machine": cut_off, "fast": lost_in_fast,
}  # fmt: skip


@pytest.mark.parametrize("code", [0, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", MISFORTUNES)
def test_a_second_misfortune_during_recovery(tmp_path: Path, name: str, code: int) -> None:
    """Whichever call of a recovery dies or fails, the next command recovers as if nothing had been."""
    durability = "fast" if name == "fast" else "full"
    misfortune = MISFORTUNES[name]
    error = OSError(code, os.strerror(code)) if code else None

    def after(store: Store) -> tuple[list[str], list[str]]:
        clean(store)
        aside = sorted(set_aside(Path(store.root)))
        fresh = store.transact(send("new"), ANN)
        assert name != "fast" or places.number(fresh) > 5000, "a number may be given twice"
        return bodies(store), aside

    host = FakeHost()
    misfortune(tmp_path / "whole", host)
    probe = FaultyDisk()
    store = reopen(tmp_path / "whole", host, probe, durability=durability)
    store.catch_up()
    total = probe.calls
    assert total > 4
    expected = after(store)
    store.close()
    for at in range(total):
        root = tmp_path / str(at)
        host = FakeHost()
        misfortune(root, host)
        second = reopen(root, host, FaultyDisk(at, error), durability=durability)
        try:
            second.catch_up()
        except Killed:
            pass
        except StoreError as failed:
            assert error and os.strerror(code) in str(failed), failed
        second.close()
        assert after(reopen(root, host, durability=durability)) == expected, at


def test_what_is_due_is_not_known_after_a_death(tmp_path: Path) -> None:
    """A process died right after it had granted a short lease: the bound from before would let that one run out unseen."""
    host = FakeHost()
    store = make(tmp_path, host)
    for name in ("one", "two"):
        store.transact(send(name), ANN)
    store.transact(read(seconds=6000), ANN)
    store.close()
    dying = reopen(tmp_path, host, FaultyDisk(0, only="rename"))
    with pytest.raises(Killed):
        dying.transact(read(seconds=30), ANN)
    dying.close()
    again = reopen(tmp_path, host)
    again.catch_up()
    told = again.mark()
    assert told is not None and told.tail.seq == journaled(again)[-1]["seq"]
    assert told.due <= host.mono() + 30


def test_fast_never_skips_setting_aside_for_a_full_segment(tmp_path: Path) -> None:
    """A machine's death in ``fast`` when the segment is full: what was lost is set aside, numbers go on far above."""
    host = FakeHost()
    lost_in_fast(tmp_path, host)
    after = reopen(tmp_path, host, durability="fast", segment_size=500)
    fresh = after.transact(send("new"), ANN)
    assert places.number(fresh) > 5000
    clean(after)


def test_fast_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    """A document from before the checkpoint, edited by hand before the machine died: the text is kept aside."""
    host = FakeHost()
    store = make(tmp_path, host, durability="fast", segment_size=1000)
    while len(store.journal.segments()) < 3:
        store.transact(send("fill"), ANN)
    path = tmp_path / places.agent("bob")
    path.write_text(path.read_text().replace('"model": ""', '"model": "mine"'))
    os.utime(path, (host.w + 5, host.w + 5))
    store.close()
    host.reboot()
    after = reopen(tmp_path, host, durability="fast", segment_size=1000)
    clean(after)
    assert any('"mine"' in text for text in set_aside(tmp_path).values())
    touched = tmp_path / places.agent("ann")
    os.utime(touched, (host.w + 5, host.w + 5))
    after.close()
    host.reboot("boot-3")
    again = reopen(tmp_path, host, durability="fast", segment_size=1000)
    clean(again)
    assert len(set_aside(tmp_path)) == 1, "what is as the journal has it is left alone"


def test_a_change_to_full_does_not_forget_what_fast_lost(tmp_path: Path) -> None:
    """The machine died in ``fast`` and the configuration says ``full`` since: the same is done."""
    host = FakeHost()
    lost_in_fast(tmp_path, host)
    after = reopen(tmp_path, host, durability="full")
    assert places.number(after.transact(send("new"), ANN)) > 5000
    clean(after)


@pytest.mark.parametrize("payload", [{"op": "store.checkpoint", "on": ["000003"]}])
def test_only_a_checkpoint_is_a_checkpoint(tmp_path: Path, payload: dict[str, object]) -> None:
    """A task named like a segment, with the words of a checkpoint in it, moves no replay."""
    host = FakeHost()
    store = make(tmp_path, host, segment_size=1200)
    store._checkpoint = lambda: None  # type: ignore[method-assign]
    while len(store.journal.segments()) < 3:
        store.transact(send("fill"), ANN)

    def decide(tx: Transaction) -> None:
        task = documents.new("task", task_id="000003", title="x", payload=payload, created_at=tx.now)
        tx.put(task, places.task("000003"))
        tx.record("task.add", ["000003"])

    store.transact(decide, USER)
    before = tree(tmp_path)
    store.close()
    for path in before:
        os.truncate(tmp_path / path, 0)
    host.reboot()
    clean(reopen(tmp_path, host))
    assert tree(tmp_path) == before


def test_two_processes_that_checkpoint_out_of_order(tmp_path: Path) -> None:
    """The checkpoint of an older segment, written late, does not take back that of the newer one."""
    store = make(tmp_path, segment_size=1200)
    while len(store.journal.segments()) < 4:
        store.transact(send("fill"), ANN)
    store.begun = 2
    store._checkpoint()
    segments = store.journal.segments()
    assert checkpoint.first(store, segments, True) == segments[-1]


def test_a_copy_of_a_store_has_no_leases(tmp_path: Path) -> None:
    """In a copy on the same machine no lease of the original is left, nor made again from the journal."""
    host = FakeHost()
    store = make(tmp_path / "a", host)
    store.transact(send("x"), ANN)
    ident = store.transact(read(), ANN)
    assert ident
    store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    copy = reopen(tmp_path / "b", host)
    copy.catch_up()
    assert copy.names(places.LEASES) == []
    assert reopen(tmp_path / "a", host).names(places.LEASES)


def test_a_copy_of_a_store_remembers_nothing(tmp_path: Path) -> None:
    """What the original's cache says is of other files; what programs wrote there is kept for people."""
    host = FakeHost()
    make(tmp_path / "a", host).close()
    cache = tmp_path / "a" / places.CACHE
    (cache / "logs").mkdir(exist_ok=True)
    for name in ("remembered.json", "search.sqlite", "logs/ann.log"):
        (cache / name).write_text("of the original")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    reopen(tmp_path / "b", host).catch_up()
    left = [path.name for path in (tmp_path / "b" / places.CACHE).rglob("*") if path.is_file()]
    assert "ann.log" in left and not {"remembered.json", "search.sqlite"} & {*left}


def test_a_damaged_document_in_a_full_segment(tmp_path: Path) -> None:
    """Mending needs a new segment: it is begun, the document mended, and the decision taken."""
    store = make(tmp_path)
    ident = store.transact(send("whole"), ANN)
    store.close()
    path = tmp_path / places.new("bob", ident)
    path.unlink()
    path.write_text("{ not json")
    after = reopen(tmp_path, segment_size=500)
    assert after.transact(read(), ANN) == ident
    clean(after)


def test_what_is_cut_after_a_machines_death_is_kept(tmp_path: Path) -> None:
    """A flipped byte in the middle of the last segment: what follows is cut, said, and kept beside the journal."""
    host = FakeHost()
    store = make(tmp_path, host)
    for n in range(5):
        store.transact(send(f"body {n}"), ANN)
    store.close()
    data = (tmp_path / SEGMENT).read_bytes()
    at = data.index(b'"body":"body 2"')
    (tmp_path / SEGMENT).write_bytes(data[:at] + b"X" + data[at + 1 :])
    os.truncate(tmp_path / places.LOCK, 0)
    host.reboot()
    after = reopen(tmp_path, host)
    said: list[str] = []
    after.say = said.append
    after.catch_up()
    (kept,) = (tmp_path / places.LOGS).glob("*.cut-*")
    assert b"body 4" in kept.read_bytes() and str(kept) in said[0]
    assert (tmp_path / SEGMENT).read_bytes() + kept.read_bytes() == data[:at] + b"X" + data[at + 1 :]


@pytest.mark.parametrize("half", [False, True])
def test_death_at_every_call_of_an_init(tmp_path: Path, half: bool) -> None:
    """Wherever an init dies, the next one finishes it; documents that stood there are adopted."""
    def place(root: Path) -> Path:
        (root / ".tasks").mkdir(parents=True)
        task = documents.new("task", task_id="t9", title="x", created_at="2027-01-15T08:00:00.000000Z")
        (root / places.task("t9")).write_bytes(documents.encode("task", task))
        return root

    died = True
    at = 0
    while died:
        root, at = place(tmp_path / str(at)), at + 1
        try:
            opening.init(str(root), here=True, disk=FaultyDisk(at, half=half)).store.close()
            died = False
        except Killed:
            pass
        made = opening.init(str(root), here=True)
        made.store.transact(lambda tx: tx.record("test", []), USER)
        assert survey.survey(made.store).clean, at
        numbers = [record["seq"] for record in journaled(made.store)]
        assert numbers == sorted(set(numbers)) and numbers[-1] > 9
        made.store.close()
    assert at > 30


def test_init_after_the_journal_was_taken_away(tmp_path: Path) -> None:
    """With ``logs/`` gone and the lock still there, ``init`` starts a journal from the documents, as it is told."""
    made = opening.init(str(tmp_path), here=True)

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("task", task_id="t50", title="x", created_at=tx.now), places.task("t50"))
        tx.record("task.add", ["t50"])

    made.store.transact(decide, USER)
    made.store.close()
    shutil.rmtree(tmp_path / places.LOGS)
    again = opening.init(str(tmp_path), here=True)
    assert (again.fresh, again.adopted) == (True, 1)
    assert survey.survey(again.store).clean and again.store.tail.seq >= 50


def test_a_clone_with_strange_documents_is_adopted(tmp_path: Path) -> None:
    """A clone whose branch holds documents, without a journal: what is fit is adopted, the rest set aside or left, and said."""
    (tmp_path / ".tasks").mkdir()
    good = documents.new("task", task_id="t9", title="x", created_at="2027-01-15T08:00:00.000000Z")
    for name, text in {
        "t9": documents.encode("task", good).decode(), "t8": "{", "Foo Bar": "{}", "t" + "9" * 40: "{}",
        "t7": documents.encode("task", {**good, "task_id": "t7"}).decode().replace('"schema": 1', '"schema": 9'),
    }.items():  # fmt: skip
        (tmp_path / ".tasks" / f"{name}.json").write_text(text)
    os.symlink("/etc/passwd", tmp_path / ".tasks" / "t6.json")
    made = opening.init(str(tmp_path), here=True)
    assert made.adopted == 1 and made.store.tail.seq < 10_000
    assert (tmp_path / ".tasks" / "t7.json").exists()


def test_crlf_in_the_journal_is_exit_6(tmp_path: Path) -> None:
    """A journal whose line ends something has converted is named, and not written to."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    store.close()
    data = (tmp_path / SEGMENT).read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / SEGMENT).write_bytes(data)
    for lock in ("kept", "gone"):
        if lock == "gone":
            os.truncate(tmp_path / places.LOCK, 0)
        with pytest.raises(Corrupt, match=r"000001\.jsonl"):
            reopen(tmp_path).transact(send("two"), ANN)
        assert (tmp_path / SEGMENT).read_bytes() == data


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_missing_segment_is_named(tmp_path: Path, missing: int) -> None:
    """The doctor and a rebuild name a segment that is gone; nothing is rebuilt from half a journal."""
    store = make(tmp_path, segment_size=1200)
    while len(store.journal.segments()) < 4:
        store.transact(send("fill"), ANN)
    before = tree(tmp_path)
    store.journal.close()
    os.unlink(store.journal.path(missing))
    found = survey.survey(store)
    assert [finding.kind for finding in found.findings if finding.bad] == ["journal"], found.findings
    for act in (lambda: repair.rebuild(store), lambda: repair.repair(store, USER)):
        with pytest.raises(StoreError, match=f"{missing:06d}|between"):
            act()
    assert tree(tmp_path) == before


def test_a_rewound_store_is_what_the_doctor_says(tmp_path: Path) -> None:
    """A journal shorter than its mark is not called an unfinished command."""
    store = make(tmp_path)
    size = store.tail.offset
    store.transact(send("one"), ANN)
    os.truncate(tmp_path / SEGMENT, size)
    found = survey.survey(store)
    assert not found.clean and "back in time" in str(found.findings)


def test_what_runs_out_and_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    """An expired lease on a document of a newer format: said, left alone, and other expiries and commands go on."""
    host = FakeHost()
    store = make(tmp_path, host)
    for n in range(3):
        store.transact(send(f"body {n}"), ANN)
        store.transact(read(seconds=10), ANN)
    path = tmp_path / places.cur("bob", "m4")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 7'))
    handled: list[str] = []

    def sweep(tx: Transaction) -> bool:
        for due in tx.index.due(1):
            first, _, second = places.ident(due).partition("@")
            doc = tx.read(places.cur(second, first))
            assert doc is not None
            tx.end(due)
            tx.record("mail.return", [first])
            handled.append(first)
            return True
        return False

    store.sweep = sweep
    said: list[str] = []
    store.say = said.append
    host.advance(60)
    store.transact(send("on"), ANN)
    assert len(handled) == 2 and sum("format 7" in line for line in said) == 1
    store.transact(send("and on"), ANN)
    assert sum("format 7" in line for line in said) == 1


def test_json_too_deep_to_come_back_is_refused(tmp_path: Path) -> None:
    """What is nested deeper than can be read again, also from inside a dead letter, is never committed."""
    store = make(tmp_path)
    deep: list[object] = []
    for _ in range(95):
        deep = [deep]

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("task", task_id="x", title="x", payload=deep, created_at=tx.now), places.task("x"))
        tx.record("task.add", ["x"])

    before = len(journaled(store))
    with pytest.raises(Usage, match="nested"):
        store.transact(decide, USER)
    assert len(journaled(store)) == before


def test_a_read_only_store_can_be_read(tmp_path: Path) -> None:
    """Where the lock may not be written, readers read, and writers say why they cannot."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    store.close()

    class ReadOnly(Disk):
        """A file system mounted read-only."""

        def open(self, path: str, flags: int) -> int:
            """As the kernel does it."""
            if flags & (os.O_RDWR | os.O_WRONLY):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return super().open(path, flags)

    after = reopen(tmp_path, disk=ReadOnly())
    assert bodies(after) == ["one"]
    assert after.mark() is not None and not after.is_behind()
    assert survey.survey(after).clean
    with pytest.raises(StoreError, match="read-only; nothing happened"):
        after.transact(send("two"), ANN)


def test_a_segment_size_smaller_than_a_header(tmp_path: Path) -> None:
    """However small the segments are to be, each holds a record beside its header."""
    store = make(tmp_path, segment_size=1)
    for n in range(3):
        store.transact(send(f"{n}"), ANN)
    assert bodies(store) == ["0", "1", "2"]
    clean(store)


def test_an_interrupt_at_every_call_of_a_send(tmp_path: Path) -> None:
    """An exception from outside (an alarm's handler, Ctrl-C) at any call: the same process goes on, nothing is half."""
    happened = []
    at, struck = 0, True
    while struck:
        root = tmp_path / str(at)
        disk = FaultyDisk(-1)
        store = make(root, disk=disk)
        store.transact(send("first"), ANN)
        disk.error, disk.at = KeyboardInterrupt(), disk.calls + at  # type: ignore[assignment]
        try:
            store.transact(send("second"), ANN)
            struck = False
        except KeyboardInterrupt:
            pass
        disk.at = -1
        store.transact(send("third"), ANN)
        done = [body for body in bodies(store) if body == "second"]
        assert bodies(store) == ["first", *done, "third"]
        clean(store)
        happened.append(bool(done))
        store.close()
        at += 1
    assert at > 6 and happened == sorted(happened)


def spoilt(root: Path) -> Store:
    """A store with something of every kind to mend."""
    store = make(root)
    idents = [store.transact(send(f"body {n}"), ANN) for n in range(4)]
    store.transact(read(), ANN)
    (root / places.new("bob", idents[1])).unlink()
    (root / places.new("bob", idents[2])).unlink()
    (root / places.new("bob", idents[2])).write_text("{ half")
    edited = root / places.agent("bob")
    edited.write_text(edited.read_text().replace('"host": ""', '"host": "codex"'))
    (root / places.agent("eve")).write_text(edited.read_text().replace('"bob"', '"eve"'))
    store.close()
    return reopen(root)


@pytest.mark.parametrize("mend", ["repair", "rebuild"])
def test_death_at_every_call_of_a_repair_and_a_rebuild(tmp_path: Path, mend: str) -> None:
    """Wherever mending dies, mending again ends where one that was left alone ends; then there is nothing to mend."""
    def run(store: Store) -> None:
        repair.repair(store, USER) if mend == "repair" else repair.rebuild(store, drop_edits=True)

    def end(root: Path) -> dict[str, bytes]:
        store = reopen(root)
        run(store)
        assert [finding for finding in survey.survey(store).findings if finding.bad and mend == "repair"] == []
        before = len(journaled(store))
        if mend == "repair":
            assert repair.repair(store, USER) == [] and len(journaled(store)) == before
        store.close()
        documents_ = {path: data for path, data in tree(root).items() if places.DEADLETTER not in path}
        kept = {documents.decode("deadletter", data)["original"] for path, data in tree(root).items()
                if places.DEADLETTER in path}  # fmt: skip
        return documents_ | dict.fromkeys(kept, b"kept")

    spoilt(tmp_path / "whole").close()
    expected = end(tmp_path / "whole")
    at, died = 0, True
    while died:
        root, at = tmp_path / str(at), at + 1
        spoilt(root).close()
        dying = reopen(root, disk=FaultyDisk(at))
        try:
            run(dying)
            died = False
        except Killed:
            pass
        dying.close()
        assert end(root) == expected, at
    assert at > 5


def test_two_rebuilds_at_once(tmp_path: Path) -> None:
    """A second rebuild is refused while one is under way, with its holder named; the first is not disturbed."""
    store = make(tmp_path)
    store.transact(send("x"), ANN)
    (tmp_path / places.agent("bob")).unlink()
    before = Store.open_lock

    def meddle(self: Store) -> None:
        if self is store and not meddled:
            meddled.append(1)
            with pytest.raises(StoreError, match="held by pid"):
                repair.rebuild(reopen(tmp_path))
        before(self)

    meddled: list[int] = []
    store.__class__ = type("Meddled", (Store,), {"open_lock": meddle})
    assert repair.rebuild(store).written == 1
    assert meddled


def test_a_lease_after_a_reboot(tmp_path: Path) -> None:
    """After a reboot wall time decides: what had time left by the clock on the wall is live, the rest is not."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("short"), ANN)
    store.transact(send("long"), ANN)
    store.transact(read(seconds=100), ANN)
    store.transact(read(seconds=10_000), ANN)
    store.close()
    host.w += 1000
    host.reboot()
    after = reopen(tmp_path, host)
    after.catch_up()
    left = {}
    for name in sorted(after.names(places.LEASES)):
        lease = after.load_lease(f"{places.LEASES}/{name}")
        assert lease is not None
        left[name] = lease.left(host)
    assert left["m4@bob.json"] < 0 < left["m5@bob.json"] < 10_000
    assert after.transact(lambda tx: tx.index.due(9), USER) == [f"{places.LEASES}/m4@bob.json"]
