"""Edges of the store that an attack found: each of these once lost something, or stopped every command."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from kit import FakeHost, FaultyDisk, make, send
from mailkit import ANN, BOB, configure, office, opened, take
from mailkit import send as post
from mbox.doctor import survey
from mbox.errors import Corrupt, Unknown
from mbox.format import documents, places
from mbox.index.answers import Damaged
from mbox.index.queries import Index
from mbox.mail import inbox, reading
from mbox.store import mark
from mbox.store.store import Store, Transaction
from mbox.system.disk import Disk
from mbox.tasks import claims, planning
from mbox.tasks.claims import ClaimRequest
from mbox.tasks.drafts import TaskDraft


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Store:
    """A store with ann, bob, cyd and orc."""
    return office(tmp_path / "root", host)


def spoil(index: Path, page_of: str) -> None:
    """Write zeros over the first page of a table or an index of an SQLite file that nobody has open."""
    with sqlite3.connect(index) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = dict(db.execute("SELECT name, rootpage FROM sqlite_master"))[page_of]
    db.close()
    with open(index, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\0" * 4096)


@pytest.mark.parametrize("what", ["lease", "renewal", "due", "inbox", "rate"])
def test_a_damaged_index_is_built_anew_also_where_only_the_bounds_are_asked(
    store: Store, host: FakeHost, what: str
) -> None:
    """After a redo for a dead process nothing is known ahead, and the first command asks before its own decision."""
    post(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    with store.locked():
        store.forget_ahead()
    store.close()
    spoil(Path(store.absolute(places.INDEX)), what)
    again = opened(Path(store.root), host)
    for _ in range(2):
        post(again, ANN, "bob")
    assert take(again, BOB)
    assert survey.survey(again).clean


@pytest.mark.parametrize("ahead", [300, 365 * 86400])
def test_a_reboot_after_the_clock_was_ahead_is_no_second_kernel(store: Store, host: FakeHost, ahead: float) -> None:
    """A mark from the future is as old as one from the past: no machine that shares the folder wrote it just now."""
    host.w += ahead
    post(store, ANN, "bob")
    host.w -= ahead
    store.close()
    host.advance(5)
    host.reboot()
    post(opened(Path(store.root), host), ANN, "bob")


def test_unknown_fields_are_kept_whatever_else_is_missing(store: Store) -> None:
    """As many known fields missing as unknown ones there: the count is the same, the fields are not."""
    place = places.task(planning.add(store, BOB, TaskDraft(None, "work"))["task_id"])
    path = Path(store.absolute(place))
    doc = json.loads(path.read_text())
    del doc["payload"]
    doc["estimate"] = {"hours": 3}

    def newer(tx: Transaction) -> None:
        tx.put(doc, place)
        tx.record("task.update", [doc["task_id"]])

    store.transact(newer, BOB)
    claims.claim(store, BOB, ClaimRequest())
    assert json.loads(path.read_text())["estimate"] == {"hours": 3}


@pytest.mark.parametrize("kind", documents.KINDS)
def test_every_kind_keeps_what_it_does_not_know(kind: str) -> None:
    """However many fields are left out and added."""
    samples: dict[str, Any] = {"str": "x", "int": 1, "num": 1, "strs": [], "dict": {}, "time": "2026-01-02T03:04:05.000006Z"}
    whole = {field.name: samples[field.type] for field in documents.KINDS[kind] if field.required}
    whole["schema"] = documents.FORMAT
    for count in range(len(documents.KINDS[kind]) + 2):
        unknown = {f"x{n}": n for n in range(count)}
        assert documents.check(kind, {**whole, **unknown}).items() >= unknown.items()


# -- symlinks under a process that goes on -------------------------------------------------------------------------


def test_a_reader_that_goes_on_follows_no_symlink(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """`watch` looks at the folders anew at each listing."""
    ident = post(store, ANN, "bob", body="inside")
    reader = opened(Path(store.root), host)
    assert [doc["body"] for doc in inbox.unread(reader, "bob")] == ["inside"]
    folder, outside = Path(store.absolute(places.new_folder("bob"))), tmp_path / "outside"
    folder.rename(outside)
    file = outside / f"{ident}.json"
    file.write_text(file.read_text().replace("inside", "outside"))
    folder.symlink_to(outside)
    with pytest.raises(Corrupt, match="new is a symlink"):
        inbox.unread(reader, "bob")


def test_a_journal_that_became_a_symlink_is_not_appended_to(store: Store, tmp_path: Path) -> None:
    """Nor is one line written outside the root."""
    post(store, ANN, "bob")
    folder, outside = Path(store.absolute(places.LOGS)), tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = (outside / "000001.jsonl").read_bytes()
    with pytest.raises(Corrupt, match="symlink"):
        post(store, ANN, "bob")
    assert (outside / "000001.jsonl").read_bytes() == before


def test_a_cache_that_became_a_symlink_is_not_built_in(store: Store, tmp_path: Path) -> None:
    """Somebody else's file of the index's name stays what it was."""
    post(store, ANN, "bob")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "index.sqlite").write_text("somebody else's")
    shutil.rmtree(store.absolute(places.CACHE))
    os.symlink(outside, store.absolute(places.CACHE))
    with pytest.raises(Corrupt, match="symlink"):
        take(store, BOB)
    assert os.listdir(outside) == ["index.sqlite"]
    assert (outside / "index.sqlite").read_text() == "somebody else's"


# -- what comes between the last look and the write ----------------------------------------------------------------


def test_the_lock_that_goes_between_the_look_and_the_append(store: Store, host: FakeHost) -> None:
    """Two records with one number: the second's writer was told that it is unknown; it is kept aside, and all goes on."""
    root = Path(store.root)
    store.close()

    class Late(Disk):
        done = False

        def write(self, fd: int, data: bytes) -> None:
            if not Late.done and data.startswith(b'{"v":'):
                Late.done = True
                (root / places.LOCK).unlink()
                post(opened(root, host), ANN, "bob", body="first")
            super().write(fd, data)

    with pytest.raises(Unknown, match="repeating the command with the same --key"):
        post(opened(root, host, Late()), ANN, "bob", key="k", body="second")
    again = opened(root, host)
    told: list[str] = []
    again.say = told.append
    post(again, ANN, "bob", key="k", body="second")
    assert "without a number of its own" in told[0] and "kept as" in told[0]
    assert len(list((root / places.LOGS).glob("*.cut-*"))) == 1
    assert [doc["body"] for doc in inbox.unread(again, "bob")] == ["first", "second"]
    assert survey.survey(again).clean


def test_a_number_given_twice_further_back_is_refused(store: Store, host: FakeHost) -> None:
    """Only the last record can be one that nobody built on."""
    before = store.mark()
    assert before is not None
    post(store, ANN, "bob")
    segment = Path(store.journal.path(1))
    last = segment.read_bytes()[before.tail.offset :]
    store.close()
    segment.write_bytes(segment.read_bytes() + last + last)
    with pytest.raises(Corrupt, match="does not follow"):
        post(opened(Path(store.root), host), ANN, "bob")


def test_a_reading_that_cannot_be_acknowledged_stands(store: Store, host: FakeHost) -> None:
    """The message was printed and the record stands, so that no exit 6 may say that nothing happened."""
    ident = post(store, ANN, "bob")
    docs = reading.read(store, BOB)
    full = FaultyDisk(only="write", at=0, error=OSError(errno.ENOSPC, "full"))
    other, told = opened(Path(store.root), host, full), list[str]()
    other.say = told.append
    reading.finish(other, BOB, docs)
    assert told == [line for line in told if line.startswith(f"{ident}: read, but not acknowledged")] != []
    host.advance(store.config.read_lease + 1)
    assert take(opened(Path(store.root), host), BOB)["msg_id"] == ident


def test_a_file_in_the_place_of_leases_is_found_before_the_commit(store: Store, host: FakeHost) -> None:
    """Exit 6, nothing happened, and whoever takes no lease goes on."""
    post(store, ANN, "bob")
    before = store.end()
    folder = Path(store.absolute(places.LEASES))
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(Corrupt, match="a file where a folder should be; move it away; nothing happened"):
        take(store, BOB)
    assert store.end() == before
    post(opened(Path(store.root), host), ANN, "cyd")
    folder.unlink()
    assert take(store, BOB)


# -- clocks, threads, forged marks ---------------------------------------------------------------------------------


def test_a_clock_that_was_ahead_once_does_not_make_every_send_ask(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minute in the mark goes back with a clock that is set back far."""
    configure(store, send_rate=10)
    asked = []
    rate = Index.rate
    monkeypatch.setattr(Index, "rate", lambda *args: (asked.append(1), rate(*args))[1])
    for _ in range(20):
        post(store, ANN, "bob")
        host.advance(100)
    assert not asked
    host.w += 1e9
    post(store, ANN, "bob")
    host.w -= 1e9
    post(store, ANN, "bob")
    asked.clear()
    for _ in range(30):
        post(store, ANN, "bob")
        host.advance(100)
    assert not asked


def test_one_store_may_go_from_thread_to_thread(store: Store) -> None:
    """Not from two at a time, but one after the other."""
    post(store, ANN, "bob")
    take(store, BOB)
    ident = post(store, ANN, "bob")
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(take(store, BOB)))
    thread.start()
    thread.join()
    assert [doc["msg_id"] for doc in got] == [ident]


@pytest.mark.parametrize("change", [{"store": "\ud800"}, {"machine": "é"}, {"tail": [-1, 1, 5]}, {"numbers": [-1, 0]}])
def test_a_forged_mark_is_none(store: Store, host: FakeHost, change: dict[str, Any]) -> None:
    """With a right checksum, and what no store writes: the journal is replayed."""
    post(store, ANN, "bob")
    found = store.mark()
    assert found is not None
    store.close()
    with open(store.absolute(places.LOCK), "r+b") as file:
        file.write(mark.line(json.dumps(found._asdict() | change), mark.SIZE))
    again = opened(Path(store.root), host)
    assert again.mark() is None
    post(again, ANN, "bob")
    assert survey.survey(again).clean


def test_a_mark_that_was_read_once_is_read_again(store: Store) -> None:
    """Whoever knows an older one does not believe it once torn bytes stand in its place."""
    post(store, ANN, "bob")
    assert store.mark() is not None
    with open(store.absolute(places.LOCK), "r+b") as file:
        file.write(b"\0" * mark.SIZE)
    assert store.mark() is None
    assert store.is_behind()


def test_what_is_due_is_not_known_where_the_index_cannot_say_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound from before a lease was granted would let that one run out with nobody looking."""

    def spoilt(_index: Index) -> tuple[float, float]:
        raise Damaged("page 7")

    post(store, ANN, "bob", needs_ack=True)
    with store.locked():
        store.look_ahead()
    before = store.mark()
    assert before is not None and before.due
    with monkeypatch.context() as patch:
        patch.setattr(Index, "bounds", spoilt)
        take(store, BOB)
    told = store.mark()
    assert told is not None and told.due == told.renew == 0.0
    assert survey.survey(store).clean


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no /dev/fd: open files cannot be counted")
def test_a_lock_that_is_another_file_by_now_is_let_go(store: Store) -> None:
    """However often git puts another one there, one is open."""
    path = Path(store.absolute(places.LOCK))
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        copy = path.with_name("copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
        post(store, ANN, "bob")
    assert len(os.listdir("/dev/fd")) == before


def test_a_lease_that_cannot_be_renewed_is_said(store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its holder did is done; that its lease goes on running out is said in a line."""
    ident = post(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    lease = store.load_lease(places.read_lease("bob", ident))
    assert lease is not None
    host.advance(0.6 * lease.left(host))
    said: list[str] = []
    store.say = said.append

    def full(_store: Store, _path: str, _lease: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "renew_lease", full)
    assert post(store, BOB, "ann")
    assert said and all("leases could not be renewed" in line for line in said)


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no /dev/fd: open files cannot be counted")
def test_a_process_that_goes_on_writing_opens_no_more_files(tmp_path: Path) -> None:
    """A watchdog publishes letters, begins segments and notes checkpoints for weeks."""
    store = make(tmp_path, segment_size=1 << 12)
    store.transact(send("x" * 4096), ANN)
    store.transact(send("x"), ANN)
    before, segments = len(os.listdir("/dev/fd")), store.journal.segments()
    for _ in range(3):
        store.transact(send("x" * 4096), ANN)
    assert len(store.journal.segments()) > len(segments)
    assert len(os.listdir("/dev/fd")) == before
    store.close()


def test_a_folder_that_is_gone_holds_what_the_journal_says(store: Store) -> None:
    """Where documents are read from the journal, because the files could not be brought to it."""
    ident = post(store, ANN, "bob")
    shutil.rmtree(store.absolute(places.new_folder("bob")))
    store.answer_from_journal()
    assert store.names(places.new_folder("bob")) == [f"{ident}.json"]
    assert [doc["msg_id"] for doc in store.documents(places.new_folder("bob"))] == [ident]
