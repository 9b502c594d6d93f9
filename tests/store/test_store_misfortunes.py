"""Misfortunes that come alone: a journal lost or shortened over a reboot, a hole, a writer without the lock, a second init."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit import ANN, USER, FakeHost, FaultyDisk, Killed, bodies, everything, journaled, make, read, reopen, send
from mbox import opening
from mbox.doctor import survey
from mbox.errors import Corrupt, StoreError, Unknown, WentBack
from mbox.format import places
from mbox.journal import segments
from mbox.journal.projection import Fold
from mbox.store import bootstrap, indexing
from mbox.store.store import Store, Transaction
from mbox.system.disk import Disk

SEGMENT = f"{places.LOGS}/000001.jsonl"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on what survives a power cut: fsync would only take time."""
    monkeypatch.setattr(Disk, "sync", lambda self, fd: None)


# -- over a reboot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marked", [True, False])
def test_a_journal_that_is_gone_after_a_reboot(tmp_path: Path, marked: bool) -> None:
    """No segment is left: exit 6 that names git and the way back; nothing is begun anew, no document is touched."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("one"), ANN)
    store.close()
    if not marked:
        os.truncate(tmp_path / places.LOCK, 0)
    host.reboot()
    again = reopen(tmp_path, host)
    (tmp_path / SEGMENT).unlink()
    before = everything(tmp_path)
    with pytest.raises(WentBack, match=r"000001\.jsonl is gone" if marked else "no journal segment is left") as lost:
        again.transact(send("two"), ANN)
    assert "mbox audit restore" in str(lost.value)
    assert everything(tmp_path) == before


def test_a_journal_that_is_shorter_after_a_reboot(tmp_path: Path) -> None:
    """In ``full`` all that the mark covers was synced: a shorter journal went back in time, whatever the machine did."""
    host = FakeHost()
    store = make(tmp_path, host)
    size = store.tail.offset
    store.transact(send("one"), ANN)
    store.close()
    os.truncate(tmp_path / SEGMENT, size)
    host.reboot()
    before = everything(tmp_path)
    with pytest.raises(WentBack, match="back in time"):
        reopen(tmp_path, host).transact(send("two"), ANN)
    assert everything(tmp_path) == before


def test_a_journal_that_lost_what_fast_had_not_synced(tmp_path: Path) -> None:
    """In ``fast`` it may be shorter; also where it was written in ``fast`` and is in ``full`` by now."""
    host = FakeHost()
    store = make(tmp_path, host, durability="fast")
    size = store.tail.offset
    lost = store.transact(send("one"), ANN)
    store.close()
    os.truncate(tmp_path / SEGMENT, size)
    host.reboot()
    after = reopen(tmp_path, host)
    fresh = after.transact(send("two"), ANN)
    assert bodies(after) == ["two"]
    assert places.number(fresh) > places.number(lost) + 4000


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b'{"v":1,"seq":1'])
def test_a_journal_that_holds_no_record_after_a_reboot(tmp_path: Path, data: bytes) -> None:
    """Its only segment lost its bytes: exit 6 naming it; documents that stand there are not taken for removed."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("one"), ANN)
    store.close()
    (tmp_path / SEGMENT).write_bytes(data)
    os.truncate(tmp_path / places.LOCK, 0)
    host.reboot()
    before = everything(tmp_path)
    with pytest.raises(Corrupt, match=r"000001\.jsonl holds no record; `mbox init`"):
        reopen(tmp_path, host).transact(send("two"), ANN)
    assert everything(tmp_path) == before


def rolled(root: Path, host: FakeHost) -> Store:
    """A store with three segments."""
    store = make(root, host, segment_size=1200)
    while len(store.journal.segments()) < 3:
        store.transact(send("fill"), ANN)
    store.transact(send("last"), ANN)
    return store


HOLES: dict[str, Callable[[bytes], bytes]] = {
    "page": lambda data: data[:400] + b"\0" * 200 + data[600:],
    "overlong": lambda data: data.replace(b"\n", b"x"),
    "torn": lambda data: data[:-20],
}


@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("dead", ["process", "machine"])
def test_segments_after_a_hole_are_not_cut(tmp_path: Path, dead: str, hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost in a segment which is not the last is corruption, never the end of the journal."""
    host = FakeHost()
    store = rolled(tmp_path, host)
    store.close()
    second = tmp_path / places.LOGS / "000002.jsonl"
    data = second.read_bytes()
    second.write_bytes(HOLES[hole](data))
    if hole == "overlong":
        monkeypatch.setattr(segments, "LONGEST", max(map(len, data.splitlines())) + 1)
    os.truncate(tmp_path / places.LOCK, 0)
    (tmp_path / places.CHECKPOINT).unlink()
    if dead == "machine":
        host.reboot()
    before = everything(tmp_path)
    with pytest.raises(Corrupt, match=r"000002\.jsonl at byte"):
        reopen(tmp_path, host, segment_size=1200).transact(send("two"), ANN)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("half", [b'{"half', b""])
def test_two_segments_that_were_never_finished_are_nobodys_roll(tmp_path: Path, half: bytes) -> None:
    """A death leaves one without its header; behind two of them something else was at work: exit 6, nothing is dropped."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.close()
    for name in ("000002", "000003"):
        (tmp_path / places.LOGS / f"{name}.jsonl").write_bytes(half)
    before = everything(tmp_path)
    with pytest.raises(Corrupt):
        reopen(tmp_path, host).transact(send("one"), ANN)
    assert everything(tmp_path) == before
    (tmp_path / places.LOGS / "000003.jsonl").unlink()
    after = reopen(tmp_path, host)
    after.transact(send("one"), ANN)
    assert bodies(after) == ["one"] and after.journal.segments() == [1]


def test_a_segment_of_no_length_behind_the_last_goes(tmp_path: Path) -> None:
    """Somebody died before its header stood: the next who has the lock takes it away, and all is in order."""
    store = make(tmp_path)
    (tmp_path / places.LOGS / "000002.jsonl").touch()
    assert store.is_behind()
    store.catch_up()
    assert store.journal.segments() == [1]
    assert store.is_in_order()


# -- a writer without the lock ---------------------------------------------------------------------------------------


def test_a_record_of_somebody_without_the_lock(tmp_path: Path) -> None:
    """The journal is longer than it was read: exit 6 in the words of the cause, nothing written, nothing left lying."""
    store = make(tmp_path)
    line = (tmp_path / SEGMENT).read_bytes().splitlines(keepends=True)[-1]

    def decide(tx: Transaction) -> str:
        with open(tmp_path / SEGMENT, "ab") as file:
            file.write(line)
        return send("mine")(tx)

    with pytest.raises(StoreError, match=r"wrote without the lock.*shared by two kernels.*nothing happened"):
        store.transact(decide, ANN)
    assert bodies(store) == []
    assert not list(tmp_path.rglob(".tmp-*"))
    assert (tmp_path / SEGMENT).read_bytes().endswith(line)


def test_a_record_that_did_not_land_where_it_was_read(tmp_path: Path) -> None:
    """Somebody writes between the look and the append: the outcome is unknown, and is not called done."""

    class Shared(Disk):
        armed = False

        def write(self, fd: int, data: bytes) -> None:
            if Shared.armed and data.startswith(b'{"v":'):
                Shared.armed = False
                super().write(fd, b"\n")
            super().write(fd, data)

    store = make(tmp_path, disk=Shared())
    Shared.armed = True
    with pytest.raises(Unknown, match=r"did not land where it was read.*two kernels"):
        store.transact(send("mine"), ANN)
    assert bodies(store) == []


# -- a second init ---------------------------------------------------------------------------------------------------


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    """Journal, mark and documents stay as they are, byte for byte; it says that nothing is new."""
    made = opening.init(str(tmp_path), here=True)
    made.store.transact(lambda tx: tx.record("test", []), USER)
    made.store.close()
    before = everything(tmp_path), (tmp_path / places.LOCK).read_bytes()[:512]
    again = opening.init(str(tmp_path), here=True)
    assert (again.fresh, again.adopted) == (False, 0)
    again.store.close()
    assert (everything(tmp_path), (tmp_path / places.LOCK).read_bytes()[:512]) == before


def test_an_init_that_finds_the_journal_begun_begins_none(tmp_path: Path) -> None:
    """Two that both saw none: who has the lock second leaves the first one's journal and mark, and takes nothing back."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    store.close()
    before = everything(tmp_path), (tmp_path / places.LOCK).read_bytes()[:512]
    late = reopen(tmp_path)
    undo = bootstrap.Undo(str(tmp_path), late.disk)
    bootstrap.begin_journal(late, undo)
    assert not undo.begun
    assert (everything(tmp_path), (tmp_path / places.LOCK).read_bytes()[:512]) == before


# -- the doctor beside a writer --------------------------------------------------------------------------------------


def test_what_is_written_while_the_doctor_reads_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter is read and another comes after the journal was folded: both are looked at again by the records of since."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    writer = reopen(tmp_path)
    compared = survey._documents

    def meanwhile(looking: Store, folded: Fold) -> Iterator[survey.Finding]:
        writer.transact(read(), ANN)
        writer.transact(send("two"), ANN)
        yield from compared(looking, folded)

    monkeypatch.setattr(survey, "_documents", meanwhile)
    found = survey.survey(store)
    assert [finding for finding in found.findings if finding.bad] == []
    assert found.tail == store.end()


@pytest.mark.parametrize("slept", [1, 5])
def test_what_a_writer_has_published_and_not_marked_is_no_finding(tmp_path: Path, slept: int) -> None:
    """Its documents stand before the mark says so: the doctor waits for the mark, and then they are the journal's."""

    class Slow(FakeHost):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            Slow.naps += 1
            if Slow.naps == slept:
                reopen(tmp_path).catch_up()

        naps = 0

    make(tmp_path).close()

    class Unmarked(FaultyDisk):
        def pwrite(self, fd: int, data: bytes, offset: int) -> None:
            if offset == 0:
                raise Killed
            super().pwrite(fd, data, offset)

    with pytest.raises(Killed):
        reopen(tmp_path, disk=Unmarked()).transact(send("one"), ANN)
    found = survey.survey(reopen(tmp_path, Slow()))
    assert [finding for finding in found.findings if finding.bad] == []
    assert Slow.naps == slept


def test_what_nobody_ever_marks_is_found(tmp_path: Path) -> None:
    """The other way round: after its tries the doctor says what stands there, and it ends."""
    store = make(tmp_path)
    path = tmp_path / places.new("bob", "m99")
    path.parent.mkdir(parents=True, exist_ok=True)
    store.transact(send("one"), ANN)
    path.write_bytes((tmp_path / places.new("bob", "m4")).read_bytes().replace(b'"m4"', b'"m99"'))
    with open(tmp_path / SEGMENT, "ab") as file:
        file.write(b"x")
    found = survey.survey(store)
    assert [(finding.kind, finding.path) for finding in found.findings if finding.bad] == [("foreign", places.new("bob", "m99"))]
    assert journaled(store)[-1]["seq"] == 4


def test_the_doctor_waits_for_nobody_where_nobody_writes(tmp_path: Path) -> None:
    """What is wrong in a store at rest is found at once."""
    store = make(tmp_path)
    stranger = f"{places.MAILBOX}/readme.txt"
    (tmp_path / stranger).touch()
    before = store.host.mono()
    found = survey.survey(store)
    assert [(finding.kind, finding.path) for finding in found.findings] == [("foreign", stranger)]
    assert store.host.mono() == before


# -- an index that is built anew -------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_key_of_an_older_segment_is_known_to_an_index_built_anew(tmp_path: Path, old: bool) -> None:
    """Once a segment has not been written to for longer than a key is kept, it is forgotten; never before."""
    host = FakeHost(wall=time.time())
    store = make(tmp_path, host, segment_size=1200)
    first = store.transact(send("once", key="k"), ANN)
    while len(store.journal.segments()) < 3:
        store.transact(send("fill"), ANN)
    if old:
        for segment in store.journal.segments():
            os.utime(store.journal.path(segment), (host.w - indexing.KEY_AGE - 10,) * 2)
    store.drop_index()
    again = store.transact(send("once", key="k"), ANN)
    assert (again == first) is not old
    assert store.transact(send("once", key="k"), ANN) == again
