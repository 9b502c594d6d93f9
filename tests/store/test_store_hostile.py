"""Hostile and broken files: whatever stands in the store is exit 6 with one line, or mended; nothing outside is touched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit import ANN, USER, FakeHost, bodies, journaled, make, read, reopen, send, tree
from mbox.doctor import repair, survey
from mbox.errors import Corrupt, StoreError, WentBack
from mbox.format import documents, places
from mbox.journal.record import Tail, encode
from mbox.report import history
from mbox.store import files, stamps
from mbox.store.store import Store, Transaction
from mbox.system.disk import Disk

SEGMENT = f"{places.LOGS}/000001.jsonl"


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about what survives a power cut: fsync would only take time."""
    monkeypatch.setattr(Disk, "sync", lambda self, fd: None)


def clean(store: Store) -> None:
    """The store is as its journal says, after one command took the lock."""
    store.catch_up()
    found = survey.survey(store)
    assert found.clean, found.findings


def append(root: Path, record: dict[str, Any]) -> None:
    """Put a record with a right checksum behind the mark, as a hostile clone or another program would."""
    with open(root / SEGMENT, "ab") as file:
        file.write(encode({name: value for name, value in record.items() if name != "crc"}))


def lease(token: int = 9) -> dict[str, Any]:
    """A lease document that is right."""
    return {"schema": 1, "id": "m4", "holder": "bob", "incarnation": 1, "token": token, "machine": "x",
            "mono_until": 1.0, "wall_until": 1.0, "seconds": 60}  # fmt: skip


WRONG: dict[str, Any] = {
    "seq text": {"seq": "7"}, "seq negative": {"seq": -3}, "seq behind": {"seq": 1}, "seq huge": {"seq": 10**30},
    "seq bool": {"seq": True}, "put text": {"put": "x"}, "put number": {"put": 3}, "put flat": {"put": [1]},
    "put no paths": {"put": [[{"schema": 1}]]}, "put path number": {"put": [[{"schema": 1}, [7]]]},
    "put doc text": {"put": [["text", [".mailbox/agents/eve.json"]]]},
    "put doc list": {"put": [[[1], [".mailbox/agents/eve.json"]]]},
    "put unfit": {"put": [[{"schema": 1, "agent": 4}, [".mailbox/agents/eve.json"]]]},
    "put as text": {"put": [[{"schema": 1, "agent": "eve"}, ".mailbox/agents/eve.json"]]},
    "mv text": {"mv": "x"}, "mv one": {"mv": [[".mailbox/agents/ann.json"]]},
    "mv outside": {"mv": [[".mailbox/agents/ann.json", "../evil.json"]]},
    "mv from outside": {"mv": [["../evil.json", ".mailbox/agents/eve.json"]]},
    "mv numbers": {"mv": [[1, 2]]}, "del outside": {"del": ["../precious.json"]}, "del number": {"del": [5]},
    "del text": {"del": ".mailbox/agents/ann.json"}, "lease text": {"lease": "x"}, "lease flat": {"lease": [1]},
    "lease outside": {"lease": [["../leases/evil.json", lease()]]},
    "lease end outside": {"lease": [["../precious.json", None]]},
    "lease no document": {"lease": [[".mailbox/leases/r1.json", {"token": 1}]]},
    "lease number": {"lease": [[".mailbox/leases/r1.json", 5]]}, "key text": {"key": "k"}, "key short": {"key": ["k"]},
    "key numbers": {"key": [1, 2]}, "op number": {"op": 5}, "by null": {"by": None}, "on text": {"on": "m4"},
    "on numbers": {"on": [1]}, "ts nonsense": {"ts": "yesterday"}, "why number": {"why": 4}, "inc text": {"inc": "1"},
}  # fmt: skip


@pytest.mark.parametrize("dead", ["process", "machine"])
def test_a_record_with_a_wrong_field_is_corruption(tmp_path: Path, dead: str) -> None:
    """Whichever field of a record is wrong: exit 6 naming segment and byte; no document changes, in the root or out."""
    root = tmp_path / "root"
    host = FakeHost()
    store = make(root, host)
    store.transact(send("one"), ANN)
    good = {**journaled(store)[-1], "seq": store.tail.seq + 1, "put": [], "on": ["m4"], "key": None}
    at = store.tail.offset
    store.close()
    (tmp_path / "precious.json").write_text("{}")
    (root / places.INDEX).unlink()
    whole, before = (root / SEGMENT).read_bytes(), tree(root)
    if dead == "machine":
        host.reboot()
    for name, fields in WRONG.items():
        (root / SEGMENT).write_bytes(whole)
        append(root, {**good, **fields})
        store = reopen(root, host)
        with pytest.raises(Corrupt, match=rf"000001\.jsonl at byte {at}|not a place"):
            store.transact(lambda tx: tx.index.next_message("bob"), USER)
            pytest.fail(name)
        store.close()
        assert tree(root) == before, name
    assert sorted(os.listdir(tmp_path)) == ["precious.json", "root"]


def test_log_and_index_name_a_bad_line(tmp_path: Path) -> None:
    """Whoever reads a line before the mark that is no record says where it is: log, rebuild, the index, doctor."""
    store = make(tmp_path)
    store.transact(send("one", key="k"), ANN)
    store.transact(send("two", key="l"), ANN)
    data = (tmp_path / SEGMENT).read_bytes()
    (tmp_path / SEGMENT).write_bytes(data.replace(b'"body":"one"', b'"body":"eno"'))
    for ask in (
        lambda: history.newest(store, history.RecordFilter(), 0),
        lambda: repair.rebuild(store),
        lambda: list(store.journal.records(Tail(0, 1, 0))),
    ):
        with pytest.raises(Corrupt, match=r"000001\.jsonl at byte"):
            ask()
    found = survey.survey(store)
    assert not found.clean and "at byte" in found.findings[0].problem


def hostile(path: Path, what: str) -> None:
    """Put something that is no document at ``path``."""
    path.unlink(missing_ok=True)
    if what == "symlink":
        path.symlink_to("/etc/passwd")
    elif what == "dangling":
        path.symlink_to("/nowhere/at/all")
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "sparse":
        with open(path, "wb") as file:
            file.truncate(1 << 30)
    elif what == "device":
        if os.geteuid() != 0:
            pytest.skip("making a device needs root")
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    else:
        path.write_bytes(TEXTS[what])


def message(**fields: Any) -> bytes:
    """A message document, changed."""
    doc = documents.new(
        "message", msg_id="m4", thread_id="m4", from_="ann", to=["bob"], body="x",
        created_at="2027-01-15T08:00:00.000000Z",
    )  # fmt: skip
    return json.dumps({**doc, **fields}).encode()


TEXTS = {
    "empty": b"", "text": b"hello", "nested": b'{"schema":1,"payload":' + b"[" * 900 + b"]" * 900 + b"}",
    "very nested": b"[" * 200_000, "twice": b'{"schema":1,"schema":1}', "bom": b"\xef\xbb\xbf" + message(),
    "nan": message().replace(b'"payload": null', b'"payload": NaN'),
    "infinite": message().replace(b'"payload": null', b'"payload": 1e999'),
    "surrogate": message(body="\ud800"), "wrong id": message(msg_id="m5"), "latin": message()[:-1] + b'"\xff"}',
    "huge number": message(priority=10**40), "number": message(hops=2**63),
    "no date": message(expires_at="XXXXXXXXXXTXXXXXXXXXXXXXXXZ"),
    "no day": message(expires_at="2027-02-31T00:00:00.000000Z"), "list": b"[]", "deep key": message(payload={"a" * 10: "\udfff"}),
}  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("what", ["symlink", "dangling", "fifo", "sparse", "device", *TEXTS])
def test_a_document_that_is_none(tmp_path: Path, what: str, known: bool) -> None:
    """Whatever stands where a message should: it is restored or set aside, and everything else goes on."""
    root = tmp_path / "root"
    store = make(root)
    first = store.transact(send("first"), ANN)
    (root / places.outbox("ann", first)).unlink()
    path = root / places.new("bob", first if known else "m99")
    store.close()
    hostile(path, what)
    store = reopen(root)
    said: list[str] = []
    store.say = said.append
    assert [doc["msg_id"] for doc in store.documents(places.new_folder("bob"))] == [first], said
    assert len(said) == (2 if known else 1) and str(path) in said[0]  # what was sent is brought back with it
    second = store.transact(send("second"), ANN)
    if known:
        assert [store.transact(read(), ANN), store.transact(read(), ANN)] == [first, second]
    else:
        def decide(tx: Transaction) -> object:
            return tx.read(places.new("bob", "m99"))

        assert store.transact(decide, USER) is None
    assert not path.exists()
    (root / places.outbox("ann", first)).unlink(missing_ok=True)
    repair.repair(store, USER)
    clean(store)
    assert Path("/etc/passwd").stat().st_size > 0


@pytest.mark.parametrize("where", ["put", "delete"])
def test_a_folder_in_the_place_of_a_document(tmp_path: Path, where: str) -> None:
    """A folder where a document is to be written or removed: exit 6 naming it, before anything happened."""
    store = make(tmp_path)
    ident = store.transact(send("first"), ANN)
    path = tmp_path / (places.cur("bob", ident) if where == "put" else places.outbox("ann", "m77"))
    path.mkdir(parents=True)

    def delete(tx: Transaction) -> None:
        tx.delete(places.outbox("ann", "m77"))
        tx.record("test", [])

    before = len(journaled(store))
    with pytest.raises(StoreError, match=f"{path}.*nothing happened"):
        store.transact(read() if where == "put" else delete, ANN)
    assert len(journaled(store)) == before
    path.rmdir()
    assert store.transact(read(), ANN) == ident
    clean(store)


ODD = ("Foo Bar", "Bob", "line\nbreak", "esc\x1b[31m", "naïve", "README.md")


@pytest.mark.parametrize("folder", [places.INBOX, places.TASKS, places.NOTES, places.RESERVATIONS, places.AGENTS,
                                    places.OUTBOX, places.ARCHIVE, places.DEADLETTER, places.LEASES,
                                    f"{places.INBOX}/bob/new", f"{places.INBOX}/bob/cur"])  # fmt: skip
@pytest.mark.parametrize("kind", ["folder", "file", "document"])
def test_odd_names_stop_nothing(tmp_path: Path, folder: str, kind: str) -> None:
    """Files or folders with names that no document has, anywhere: commands go on, the doctor names the files."""
    store = make(tmp_path)
    for body in ("x", "y", "z"):
        store.transact(send(body), ANN)
    store.transact(read(), ANN)
    store.close()
    (tmp_path / places.INDEX).unlink()
    odd = [f"{folder}/{name}{'.json' if kind == 'document' else ''}" for name in ODD]
    for path in odd:
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        if kind == "folder":
            (tmp_path / path).mkdir()
        else:
            (tmp_path / path).write_text("{}")
    store = reopen(tmp_path)
    assert store.transact(read(), ANN)
    assert not set(files.every_document(store)) & set(odd)
    found = {finding.path for finding in survey.survey(store).findings}
    assert kind == "folder" or found >= set(odd)
    repair.repair(store, USER)
    assert store.transact(read(), ANN)


def test_an_odd_name_among_the_inboxes_is_no_inbox(tmp_path: Path) -> None:
    """What is called as no agent can be is looked at once, and reading takes no lock from then on."""
    store = make(tmp_path)
    (tmp_path / places.INBOX / ".DS_Store").write_text("")
    assert not store.is_in_order()
    store.catch_up()
    assert store.is_in_order()


def test_a_folder_that_is_a_link_hides_no_other(tmp_path: Path) -> None:
    """The one that comes first in the look is none of ours; that somebody was in a later one is seen all the same."""
    store = make(tmp_path / "root")
    notes = tmp_path / "root" / places.NOTES
    notes.rename(tmp_path / "notes")
    notes.symlink_to(tmp_path / "notes")
    (tmp_path / "root" / places.AGENTS / "eve.json").write_text("{}")
    found = stamps.unstamped(store, store.whose)
    assert places.AGENTS in found and places.NOTES not in found


def test_an_inbox_that_is_a_link_hides_no_other(tmp_path: Path) -> None:
    """What lies behind the link is passed over; that somebody was in the inbox listed after it is seen all the same."""
    store = make(tmp_path / "root")
    for name in ("ann", "bob"):
        store.transact(send("one", to=name), ANN)
    inboxes = tmp_path / "root" / places.INBOX
    behind, seen = os.listdir(inboxes)
    (inboxes / behind).rename(tmp_path / behind)
    (inboxes / behind).symlink_to(tmp_path / behind)
    (inboxes / seen / "new/m9.json").write_text("{}")
    found = stamps.unstamped(store, store.whose)
    assert places.new_folder(seen) in found and not [path for path in found if behind in path]


@pytest.mark.parametrize("name", ["", "logs", "cache", "inbox/bob/new", "leases"])
def test_symlinked_folders_lead_nowhere(tmp_path: Path, name: str) -> None:
    """With any folder of the store replaced by a symlink: exit 6 naming it, and not a byte is written behind it."""
    root = tmp_path / "root"
    host = FakeHost()
    store = make(root, host)
    store.transact(send("one"), ANN)
    store.transact(read(), ANN)
    store.transact(send("two"), ANN)
    store.close()
    outside = tmp_path / "outside"
    inside = root / ".mailbox" / name if name else root / ".mailbox"
    shutil.copytree(inside, outside)
    shutil.rmtree(inside)
    inside.symlink_to(outside)
    host.reboot()
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
    with pytest.raises(StoreError, match="symlink"):
        reopen(root, host).transact(read(), ANN)
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("what", ["truncated", "zeros", "garbage", "right sum, no object", "right sum, wrong fields",
                                  "right sum, wrong types", "right sum, unknown field", "wrong sum, good JSON"])  # fmt: skip
def test_a_mark_that_cannot_be_read(tmp_path: Path, what: str) -> None:
    """Whatever stands in the lock file, the journal is replayed and nothing is lost."""
    from mbox.store import mark as mark_module

    def _line(value: object, size: int) -> bytes:
        return mark_module.line(json.dumps(value), size)

    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("one"), ANN)
    mark = store.lock.mark()
    assert mark is not None
    fields = {**mark._asdict(), "tail": list(mark.tail)}
    store.close()
    texts: dict[str, bytes] = {
        "truncated": b"", "zeros": b"\0" * 768, "garbage": os.urandom(768), "right sum, no object": _line([1], 512),
        "right sum, wrong fields": _line({"tail": [1]}, 512),
        "right sum, wrong types": _line({**fields, "tail": ["a", None, {}], "wall": "x"}, 512),
        "right sum, unknown field": _line({**fields, "new": 1}, 512),
        "wrong sum, good JSON": mark.line().replace(b'"wall":1', b'"wall":2'),
    }  # fmt: skip
    (tmp_path / places.LOCK).write_bytes(texts[what])
    after = reopen(tmp_path, host)
    assert after.is_behind() or what == "right sum, unknown field"
    after.transact(send("two"), ANN)
    assert bodies(after) == ["one", "two"]
    clean(after)


@pytest.mark.parametrize("what", ["folder", "symlink", "fifo"])
def test_a_lock_that_is_no_file(tmp_path: Path, what: str) -> None:
    """Something else in the place of the lock: exit 6 naming it, at once, for readers and writers."""
    root = tmp_path / "root"
    make(root).close()
    path = root / places.LOCK
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "symlink":
        (tmp_path / "outside").touch()
        path.symlink_to(tmp_path / "outside")
    else:
        os.mkfifo(path)
    store = reopen(root)
    for act in (lambda: store.transact(send("x"), ANN), store.mark, store.end, store.is_behind):
        with pytest.raises(StoreError, match=r"\.mailbox/lock"):
            act()
    if what == "symlink":
        assert (tmp_path / "outside").read_bytes() == b""


@pytest.mark.parametrize("what", ["fifo", "symlink", "folder"])
@pytest.mark.parametrize("segment", [1, 2])
def test_a_segment_that_is_no_file(tmp_path: Path, what: str, segment: int) -> None:
    """A FIFO, symlink or folder in the place of a segment: exit 6 naming it; nobody hangs under the lock."""
    root = tmp_path / "root"
    make(root).close()
    path = root / places.LOGS / f"{segment:06d}.jsonl"
    kept = path.read_bytes() if segment == 1 else b""
    path.unlink(missing_ok=True)
    if what == "fifo":
        os.mkfifo(path)
    elif what == "symlink":
        (tmp_path / "outside").write_bytes(kept)
        path.symlink_to(tmp_path / "outside")
    else:
        path.mkdir()
    (root / places.LOCK).write_bytes((root / places.LOCK).read_bytes() if segment == 2 else b"")
    store = reopen(root)
    with pytest.raises(StoreError, match=rf"{segment:06d}\.jsonl"):
        store.transact(send("x"), ANN)
    if what == "symlink":
        assert (tmp_path / "outside").read_bytes() == kept


@pytest.mark.parametrize("name", ["1.jsonl", "0000001.jsonl", "٠٠٠٠٠١.jsonl", "000001 (copy).jsonl", "-00001.jsonl"])
def test_strangers_beside_the_segments_are_no_segments(tmp_path: Path, name: str) -> None:
    """Only names of six digits or more that the journal itself would give are segments."""
    store = make(tmp_path)
    shutil.copy(tmp_path / SEGMENT, tmp_path / places.LOGS / name)
    store.transact(send("x"), ANN)
    assert store.journal.segments() == [1]
    repair.rebuild(store)


@pytest.mark.parametrize("what", ["folder", "garbage", "other schema", "read-only"])
def test_a_damaged_index(tmp_path: Path, what: str) -> None:
    """The index is a cache: damaged in any way, it is made again, or exit 6 names it."""
    store = make(tmp_path)
    ident = store.transact(send("x"), ANN)
    store.transact(lambda tx: tx.index.next_message("bob"), USER)
    store.close()
    path = tmp_path / places.INDEX
    if what == "folder":
        path.unlink()
        path.mkdir()
        with pytest.raises(StoreError, match=r"index\.sqlite"):
            reopen(tmp_path).transact(read(), ANN)
        path.rmdir()
    elif what == "garbage":
        path.write_bytes(path.read_bytes()[:100] + os.urandom(8000))
    elif what == "other schema":
        import sqlite3

        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE lease")
        db.close()
    else:
        path.chmod(0o400)
    after = reopen(tmp_path)
    assert after.transact(read(), ANN) == ident
    clean(after)


def test_an_index_that_another_program_holds(tmp_path: Path) -> None:
    """A foreign lock on the SQLite file delays and does not stop."""
    import sqlite3

    store = make(tmp_path)
    ident = store.transact(send("x"), ANN)
    store.transact(lambda tx: tx.index.next_message("bob"), USER)
    other = sqlite3.connect(tmp_path / places.INDEX, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.transact(read(), ANN) == ident
    other.close()
    clean(store)


def test_what_is_taken_back_is_not_looked_for_through_a_link(tmp_path: Path) -> None:
    """A folder of the store that leads outside: nothing is made there, and nothing of that name is removed."""
    root = tmp_path / "root"
    store = make(root)
    theirs = tmp_path / "theirs/new" / f".tmp-m{store.tail.seq + 1}.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    shutil.rmtree(root / ".mailbox/inbox/bob", ignore_errors=True)
    (root / ".mailbox/inbox/bob").symlink_to(tmp_path / "theirs")
    with pytest.raises(Corrupt, match="is a symlink"):
        store.transact(send("one"), ANN)
    assert theirs.read_text() == "mine" and os.listdir(theirs.parent) == [theirs.name]


def test_a_mark_beyond_the_journal_is_not_read_up_to(tmp_path: Path) -> None:
    """A mark with a right checksum that names a byte nobody wrote: whoever reads backwards from it says so at once."""
    store = make(tmp_path)
    with pytest.raises(WentBack, match=r"000001\.jsonl ends before byte"):
        next(store.journal.backwards(Tail(9, 1, 1 << 62)))
