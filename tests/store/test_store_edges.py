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

from kit import FakeHost, FaultyDisk
from mailkit import ANN, BOB, configure, office, opened, take
from mailkit import send as post
from mbox.tasks import claims
from mbox.tasks import planning
from mbox.mail import lookup as letters
from mbox.mail import sending as mail
from mbox.doctor import survey as doctor
from mbox.store import mark
from mbox.format import documents
from mbox.format import places
from mbox.tasks.claims import Wish
from mbox.system.disk import Disk
from mbox.errors import Corrupt, Unknown
from mbox.index.queries import Index
from mbox.opening import OpenStore


@pytest.fixture
def host() -> FakeHost:
    """A clock that stands still."""
    return FakeHost()


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> OpenStore:
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
    store: OpenStore, host: FakeHost, what: str
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
    assert doctor.survey(again).clean


@pytest.mark.parametrize("ahead", [300, 365 * 86400])
def test_a_reboot_after_the_clock_was_ahead_is_no_second_kernel(store: OpenStore, host: FakeHost, ahead: float) -> None:
    """A mark from the future is as old as one from the past: no machine that shares the folder wrote it just now."""
    host.w += ahead
    post(store, ANN, "bob")
    host.w -= ahead
    store.close()
    host.advance(5)
    host.reboot()
    post(opened(Path(store.root), host), ANN, "bob")


def test_unknown_fields_are_kept_whatever_else_is_missing(store: OpenStore) -> None:
    """As many known fields missing as unknown ones there: the count is the same, the fields are not."""
    path = Path(store.absolute(places.task(planning.add(store, BOB, planning.Draft(None, "work"))["task_id"])))
    doc = json.loads(path.read_text())
    del doc["payload"]
    doc["estimate"] = {"hours": 3}
    path.write_text(json.dumps(doc, indent=2) + "\n")
    claims.claim(store, BOB, Wish())
    assert json.loads(path.read_text())["estimate"] == {"hours": 3}


@pytest.mark.parametrize("kind", documents.KINDS)
def test_every_kind_keeps_what_it_does_not_know(kind: str) -> None:
    """However many fields are left out and added."""
    samples: dict[str, Any] = {"str": "x", "int": 1, "num": 1, "strs": [], "time": "2026-01-02T03:04:05.000006Z"}
    whole = {field.name: samples[field.type] for field in documents.KINDS[kind] if field.required}
    whole["schema"] = documents.FORMAT
    for count in range(len(documents.KINDS[kind]) + 2):
        unknown = {f"x{n}": n for n in range(count)}
        assert documents.check(kind, {**whole, **unknown}).items() >= unknown.items()


# -- symlinks under a process that goes on -------------------------------------------------------------------------


def test_a_reader_that_goes_on_follows_no_symlink(store: OpenStore, host: FakeHost, tmp_path: Path) -> None:
    """`watch` looks at the folders anew at each listing."""
    ident = post(store, ANN, "bob", body="inside")
    reader = opened(Path(store.root), host)
    assert [doc["body"] for doc in letters.unread(reader, "bob")] == ["inside"]
    folder, outside = Path(store.absolute(places.new_folder("bob"))), tmp_path / "outside"
    folder.rename(outside)
    file = outside / f"{ident}.json"
    file.write_text(file.read_text().replace("inside", "outside"))
    folder.symlink_to(outside)
    told: list[str] = []
    reader.say = told.append
    assert letters.unread(reader, "bob") == []
    assert "symlink" in told[0]


def test_a_journal_that_became_a_symlink_is_not_appended_to(store: OpenStore, tmp_path: Path) -> None:
    """Nor is one line written outside the root."""
    post(store, ANN, "bob")
    folder, outside = Path(store.absolute(places.LOGS)), tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = (outside / "000001.jsonl").read_bytes()
    with pytest.raises(Corrupt, match="symlink"):
        post(store, ANN, "bob")
    assert (outside / "000001.jsonl").read_bytes() == before


def test_a_cache_that_became_a_symlink_is_not_built_in(store: OpenStore, tmp_path: Path) -> None:
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


def test_the_lock_that_goes_between_the_look_and_the_append(store: OpenStore, host: FakeHost) -> None:
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
    assert [doc["body"] for doc in letters.unread(again, "bob")] == ["first", "second"]
    assert doctor.survey(again).clean


def test_a_number_given_twice_further_back_is_refused(store: OpenStore, host: FakeHost) -> None:
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


def test_a_reading_that_cannot_be_acknowledged_stands(store: OpenStore, host: FakeHost) -> None:
    """The message was printed and the record stands, so that no exit 6 may say that nothing happened."""
    ident = post(store, ANN, "bob")
    docs = mail.read(store, BOB)
    full = FaultyDisk(only="write", at=0, error=OSError(errno.ENOSPC, "full"))
    other, told = opened(Path(store.root), host, full), list[str]()
    other.say = told.append
    mail.finish(other, BOB, docs)
    assert told == [line for line in told if line.startswith(f"{ident}: read, but not acknowledged")] != []
    host.advance(store.config.read_lease + 1)
    assert take(opened(Path(store.root), host), BOB)["msg_id"] == ident


def test_a_file_in_the_place_of_leases_is_found_before_the_commit(store: OpenStore, host: FakeHost) -> None:
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
    store: OpenStore, host: FakeHost, monkeypatch: pytest.MonkeyPatch
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


def test_one_store_may_go_from_thread_to_thread(store: OpenStore) -> None:
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
def test_a_forged_mark_is_none(store: OpenStore, host: FakeHost, change: dict[str, Any]) -> None:
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
    assert doctor.survey(again).clean
