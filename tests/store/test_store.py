"""The transaction and its recovery, by hazard: faults and deaths at every call, torn tails, reboots, rewinds."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from kit import ANN, USER, FakeHost, FaultyDisk, Killed, bodies, journaled, make, read, reopen, send, set_aside, tree
from mbox.doctor import repair, survey
from mbox.errors import Corrupt, LockTimeout, MboxError, NoStore, StoreError, Unknown, WentBack
from mbox.format import documents, places
from mbox.journal.record import decode, encode
from mbox.store import checkpoint, quarantine
from mbox.store.lock import Lock
from mbox.store.store import Store, Transaction


def clean(store: Store) -> None:
    """The store is as its journal says, after one command took the lock."""
    store.catch_up()
    found = survey.survey(store)
    assert found.clean, found.findings


def overwrite(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` as an editor does: as a new file, for the outbox may be a hard link."""
    path.unlink()
    path.write_text(text)


def test_a_transaction_is_one_record_and_its_documents(tmp_path: Path) -> None:
    """A send appends one record and puts the same document in the inbox and the outbox."""
    store = make(tmp_path)
    ident = store.transact(send("hello"), ANN)
    record = journaled(store)[-1]
    assert (record["op"], record["on"], record["by"]) == ("mail.send", [ident], "ann")
    assert record["seq"] == int(ident[1:])
    assert bodies(store) == ["hello"]
    assert store.read(places.outbox("ann", ident)) == store.read(places.new("bob", ident))
    clean(store)


def test_a_decision_that_raises_changes_nothing(tmp_path: Path) -> None:
    """What a decision put before it raised is dropped, and the number it took is free again."""
    store = make(tmp_path)
    before = tree(tmp_path), len(journaled(store))

    def decide(tx: Transaction) -> None:
        send("lost")(tx)
        raise StoreError("changed my mind")

    with pytest.raises(StoreError, match="changed my mind"):
        store.transact(decide, ANN)
    assert (tree(tmp_path), len(journaled(store))) == before


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    """A dry run returns what would be, and neither journal nor documents move."""
    store = make(tmp_path)
    before = tree(tmp_path), len(journaled(store))
    assert store.transact(send("maybe"), ANN.trial()).startswith("m")
    assert (tree(tmp_path), len(journaled(store))) == before


def calls_of_a_send(tmp_path: Path) -> int:
    """How many calls of the disk one send makes in a store that has been used before."""
    disk = FaultyDisk()
    store = make(tmp_path, disk=disk)
    store.transact(send("first"), ANN)
    before = disk.calls
    store.transact(send("second"), ANN)
    return disk.calls - before


@pytest.mark.parametrize("half", [False, True])
def test_death_at_every_call_of_a_send(tmp_path: Path, half: bool) -> None:
    """Wherever a send dies, the next command finds it done or not done, whole either way, and agrees with the journal."""
    total = calls_of_a_send(tmp_path / "count")
    assert total > 6
    happened = []
    for at in range(total):
        root = tmp_path / str(at)
        store = make(root)
        store.transact(send("first"), ANN)
        dying = reopen(root, disk=FaultyDisk(at, half=half))
        with pytest.raises(Killed):
            dying.transact(send("second"), ANN)
        dying.close()
        after = reopen(root)
        clean(after)
        done = "second" in bodies(after)
        happened.append(done)
        assert done == any(r["op"] == "mail.send" and r["put"][0][0]["body"] == "second" for r in journaled(after))
        after.transact(send("third"), ANN)
        assert bodies(after) == ["first", *(["second"] if done else []), "third"]
        clean(after)
    assert True in happened and False in happened
    assert happened == sorted(happened), "once committed it stays so at every later call"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_at_every_call_of_a_read(tmp_path: Path, code: int) -> None:
    """Whatever call fails: exit 6 exactly if it is not in the journal, success exactly if it is."""
    probe = FaultyDisk()
    store = make(tmp_path / "count", disk=probe)
    store.transact(send("first"), ANN)
    before = probe.calls
    store.transact(read(), ANN)
    outcomes = set()
    for at in range(probe.calls - before):
        root = tmp_path / str(at)
        store = make(root)
        store.transact(send("first"), ANN)
        failing = reopen(root, disk=FaultyDisk(at, OSError(code, os.strerror(code))))
        said: list[str] = []
        failing.say = said.append
        try:
            failing.transact(read(), ANN)
            outcome = True
        except Unknown:
            outcome = None
        except StoreError as error:
            assert "nothing happened" in str(error) or "nothing was written" in str(error), error
            outcome = False
        in_journal = journaled(store)[-1]["op"] == "mail.read"
        if outcome is not None:
            assert outcome == in_journal, (at, said)
        outcomes.add(outcome)
        failing.close()
        clean(reopen(root))
    assert {True, False} <= outcomes


def test_the_last_record_cut_at_every_byte(tmp_path: Path) -> None:
    """A torn tail of any length is cut, and the store is what it was before that record."""
    store = make(tmp_path / "whole")
    store.transact(send("first"), ANN)
    mark = store.lock.mark()
    assert mark is not None
    before = tree(tmp_path / "whole")
    line = encode({**journaled(store)[-1], "seq": mark.tail.seq + 1, "op": "mail.send", "put": []})
    store.close()
    segment = tmp_path / "whole" / places.LOGS / "000001.jsonl"
    whole = segment.read_bytes()
    for cut in range(len(line)):
        segment.write_bytes(whole + line[:cut])
        after = reopen(tmp_path / "whole")
        after.catch_up()
        assert segment.read_bytes() == whole
        assert tree(tmp_path / "whole") == before
        after.close()
    segment.write_bytes(whole + line)
    after = reopen(tmp_path / "whole")
    after.catch_up()
    assert segment.read_bytes() == whole + line
    assert after.tail.seq == mark.tail.seq + 1


def test_a_whole_line_that_fails_its_crc_is_corruption(tmp_path: Path) -> None:
    """A flipped byte behind the mark is exit 6 and is not cut."""
    store = make(tmp_path)
    line = encode({**journaled(store)[-1], "seq": store.tail.seq + 1}).replace(b"bob", b"bib")
    store.close()
    segment = tmp_path / places.LOGS / "000001.jsonl"
    segment.write_bytes(segment.read_bytes() + line)
    before = segment.read_bytes()
    with pytest.raises(Corrupt, match=r"000001\.jsonl at byte"):
        reopen(tmp_path).catch_up()
    assert segment.read_bytes() == before


def test_machine_death_replays_since_the_checkpoint(tmp_path: Path) -> None:
    """After a reboot, documents cut to length zero come back from the journal, and removed ones stay removed."""
    host = FakeHost()
    store = make(tmp_path, host)
    for n in range(5):
        store.transact(send(f"body {n}"), ANN)
    store.transact(read(), ANN)
    before = tree(tmp_path)
    store.close()
    for path in before:
        os.truncate(tmp_path / path, 0)
    host.reboot()
    after = reopen(tmp_path, host)
    clean(after)
    assert tree(tmp_path) == before
    assert after.transact(lambda tx: tx.index.next_message("bob"), ANN) == "m5"


def test_machine_death_cuts_a_hole_in_the_journals_last_page(tmp_path: Path) -> None:
    """After a reboot a bad line and what follows it are cut; before it everything stands."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("kept"), ANN)
    good = (tmp_path / places.LOGS / "000001.jsonl").read_bytes()
    store.close()
    with open(tmp_path / places.LOGS / "000001.jsonl", "ab") as file:
        file.write(b"\0" * 300 + b"\n" + b'{"half":')
    os.truncate(tmp_path / places.LOCK, 0)
    host.reboot()
    after = reopen(tmp_path, host)
    clean(after)
    assert bodies(after) == ["kept"]
    assert (tmp_path / places.LOGS / "000001.jsonl").read_bytes() == good


def test_segments_roll_over_and_a_checkpoint_moves_the_replay(tmp_path: Path) -> None:
    """A full segment is followed by another whose header names format, writer and store; a checkpoint names it."""
    host = FakeHost()
    store = make(tmp_path, host, segment_size=4000)
    for n in range(20):
        store.transact(send(f"body {n}"), ANN)
    segments = store.journal.segments()
    assert len(segments) > 2
    for segment in segments:
        header = store.journal.header(segment)
        assert (header["format"], header["writer_min"], header["store"]) == (2, 2, "store-of-the-tests")
    assert checkpoint.load(store, "store-of-the-tests").segment == checkpoint.first(store, segments, True) == segments[-1]
    assert not any(record["op"] == "store.checkpoint" for record in journaled(store)), "it is of this disk alone"
    numbers = [record["seq"] for record in journaled(store)]
    assert numbers == sorted(set(numbers))
    last = store.journal.header(segments[-1])["seq"]
    recent = {path for path in tree(tmp_path) if places.number(places.ident(path)) > last}
    before = tree(tmp_path)
    store.close()
    for path in recent:
        os.truncate(tmp_path / path, 0)
    host.reboot()
    clean(reopen(tmp_path, host, segment_size=4000))
    assert tree(tmp_path) == before


def test_death_while_a_segment_begins(tmp_path: Path) -> None:
    """Whichever call of a rollover dies, nothing is lost, nothing is numbered twice."""
    probe = FaultyDisk()
    store = make(tmp_path / "count", disk=probe, segment_size=1500)
    while store.tail.offset < 1500:
        store.transact(send("fill"), ANN)
    before = probe.calls
    store.transact(send("over"), ANN)
    for at in range(probe.calls - before):
        root = tmp_path / str(at)
        store = make(root, segment_size=1500)
        while store.tail.offset < 1500:
            store.transact(send("fill"), ANN)
        store.close()
        dying = reopen(root, disk=FaultyDisk(at), segment_size=1500)
        with pytest.raises(Killed):
            dying.transact(send("over"), ANN)
        dying.close()
        after = reopen(root, segment_size=1500)
        clean(after)
        after.transact(send("next"), ANN)
        numbers = [record["seq"] for record in journaled(after)]
        assert numbers == sorted(set(numbers))
        clean(after)


def test_fast_sets_aside_what_the_journal_lost(tmp_path: Path) -> None:
    """In ``fast``, documents numbered above a journal that lost its tail are set aside, and numbers go on above them."""
    host = FakeHost()
    store = make(tmp_path, host, durability="fast")
    store.transact(send("kept"), ANN)
    size = store.tail.offset
    lost = [store.transact(send(f"lost {n}"), ANN) for n in range(3)]
    store.close()
    os.truncate(tmp_path / places.LOGS / "000001.jsonl", size)
    host.reboot()
    after = reopen(tmp_path, host, durability="fast")
    clean(after)
    assert bodies(after) == ["kept"]
    assert {name.partition("-")[0] for name in set_aside(tmp_path)} == set(lost)
    assert not any("store.aside" in record["op"] for record in journaled(after)), "it is of this disk alone"
    fresh = after.transact(send("new"), ANN)
    assert places.number(fresh) > max(places.number(ident) for ident in lost)


def test_a_rewound_journal_is_exit_6(tmp_path: Path) -> None:
    """A journal shorter than the mark is a store that went back in time, and is not written to."""
    store = make(tmp_path)
    size = store.tail.offset
    store.transact(send("one"), ANN)
    os.truncate(tmp_path / places.LOGS / "000001.jsonl", size)
    before = tree(tmp_path)
    for again in (store, reopen(tmp_path)):
        with pytest.raises(WentBack, match="back in time"):
            again.transact(send("two"), ANN)
    assert tree(tmp_path) == before


def test_a_deleted_lock_under_a_running_command_is_exit_6(tmp_path: Path) -> None:
    """Whoever holds the lock of a file that was replaced writes nothing."""
    store = make(tmp_path)

    def decide(tx: Transaction) -> str:
        (tmp_path / places.LOCK).unlink()
        (tmp_path / places.LOCK).touch()
        return send("never")(tx)

    before = len(journaled(store))
    with pytest.raises(WentBack, match="deleted or replaced"):
        store.transact(decide, ANN)
    assert len(journaled(store)) == before


def test_a_store_that_was_cleaned_away_is_never_made_anew(tmp_path: Path) -> None:
    """Without its folder, its lock and its journal, a store is reported, and no file appears."""
    store = make(tmp_path)
    shutil.rmtree(tmp_path / ".mailbox")
    with pytest.raises(StoreError, match="git clean, checkout or stash"):
        store.transact(send("two"), ANN)
    assert not (tmp_path / ".mailbox").exists()
    with pytest.raises(NoStore):
        reopen(tmp_path)


def test_two_kernels_on_one_folder(tmp_path: Path) -> None:
    """A mark of another machine that is younger than this one's boot is refused."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("here"), ANN)
    store.close()
    other = FakeHost(wall=host.w + 3, boot="other-kernel")
    other.started = host.w - 10_000
    with pytest.raises(StoreError, match="shared by two kernels"):
        reopen(tmp_path, other).transact(send("there"), ANN)
    other.advance(120)
    reopen(tmp_path, other).transact(send("later"), ANN)


def test_a_copied_store_drops_leases(tmp_path: Path) -> None:
    """A copy has another lock file: what is leased in the original is not leased in the copy."""
    host = FakeHost()
    store = make(tmp_path / "a", host)
    store.transact(send("x"), ANN)
    store.transact(read(), ANN)
    store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    copy = reopen(tmp_path / "b", host)
    said: list[str] = []
    copy.say = said.append
    copy.catch_up()
    assert any("is a copy" in line for line in said)
    assert reopen(tmp_path / "a", host).names(places.LEASES)


def test_a_stopped_holder_is_named(tmp_path: Path) -> None:
    """Waiting longer than ``lock_wait`` ends with exit 6 and the holder's pid."""
    store = make(tmp_path, lock_wait=0.05)
    other = Lock(store.lock.path, store.disk, store.host)
    other.open()
    other.take(1)
    with pytest.raises(LockTimeout, match=f"held by pid {os.getpid()}"):
        store.transact(send("x"), ANN)
    other.give_up()
    store.transact(send("x"), ANN)


@pytest.mark.parametrize("path", ["../evil.json", ".mailbox/../evil.json", "/tmp/evil.json", ".mailbox/evil.json"])
def test_a_journal_that_names_paths_outside_is_refused(tmp_path: Path, path: str) -> None:
    """A record of a cloned store cannot write where the layout has no place."""
    store = make(tmp_path / "root")
    record = {**journaled(store)[-1], "seq": store.tail.seq + 1, "put": [[{"schema": 1}, [path]]]}
    store.close()
    with open(tmp_path / "root" / places.LOGS / "000001.jsonl", "ab") as file:
        file.write(encode(record))
    with pytest.raises(Corrupt, match="not a place"):
        reopen(tmp_path / "root").catch_up()
    assert not list(tmp_path.rglob("evil.json"))


def test_a_symlinked_folder_is_never_followed(tmp_path: Path) -> None:
    """Neither reading nor writing passes a symlink below the root."""
    store = make(tmp_path / "root")
    store.transact(send("one"), ANN)
    outside = tmp_path / "outside"
    os.rename(tmp_path / "root/.mailbox/inbox/bob", outside)
    os.symlink(outside, tmp_path / "root/.mailbox/inbox/bob")
    with pytest.raises(Corrupt, match="symlink"):
        store.transact(send("two"), ANN)
    assert sorted(os.listdir(outside / "new")) == ["m4.json"]


def test_a_store_that_sent_for_long_still_looks_at_its_folders(tmp_path: Path) -> None:
    """The same, once every folder is known from the transactions before: also where the link leads to the very folder."""
    store = make(tmp_path / "root")
    for body in ("one", "two", "three"):
        store.transact(send(body), ANN)
    for folder in ("inbox/bob/new", "outbox", "inbox"):
        place, outside = tmp_path / "root/.mailbox" / folder, tmp_path / "outside"
        os.rename(place, outside)
        os.symlink(outside, place)
        before = tree(outside)
        with pytest.raises(Corrupt, match="symlink"):
            store.transact(send("four"), ANN)
        assert tree(outside) == before
        place.unlink()
        os.rename(outside, place)
    store.transact(send("five"), ANN)
    assert bodies(store) == ["one", "two", "three", "five"]


def test_the_holder_is_named_as_often_as_it_changes(tmp_path: Path) -> None:
    """Two stores in turn, one of them in another process: what stands beside the mark is who has the lock."""
    store = make(tmp_path)
    for _ in range(2):
        with store.locked():
            assert store.lock.holder() == f"held by pid {os.getpid()} (running)"
        child = os.fork()
        if not child:
            other = reopen(tmp_path)
            with other.locked():
                os._exit(other.lock.holder() != f"held by pid {os.getpid()} (running)")
        assert os.waitpid(child, 0)[1] == 0


def test_a_damaged_document_comes_back_from_the_journal(tmp_path: Path) -> None:
    """A document that does not parse is restored under a decision, and what stood there is kept."""
    store = make(tmp_path)
    ident = store.transact(send("whole"), ANN)
    overwrite(tmp_path / places.new("bob", ident), "{ not json")
    said: list[str] = []
    store.say = said.append
    assert store.transact(read(), ANN) == ident
    assert any("restored from the journal" in line for line in said)
    assert list(set_aside(tmp_path).values()) == ["{ not json"]
    assert [record["op"] for record in journaled(store)][-1] == "mail.read", "it is of this disk alone: no record"
    clean(store)


def test_of_a_document_without_a_byte_nothing_is_kept(tmp_path: Path) -> None:
    """As a power cut leaves it: restored, and no file is named that is not there."""
    store = make(tmp_path)
    said: list[str] = []
    store.say = said.append
    overwrite(tmp_path / places.agent("bob"), "")
    assert store.transact(lambda tx: tx.read(places.agent("bob")), USER)
    assert len(said) == 1 and said[0].endswith("restored from the journal")
    assert set_aside(tmp_path) == {}
    clean(store)


def test_a_damaged_document_that_nobody_knows_is_quarantined(tmp_path: Path) -> None:
    """What the journal does not have goes to the dead letters with the reason; everything else goes on."""
    store = make(tmp_path)
    (tmp_path / places.agent("eve")).write_text('{"schema": 1, "agent": "mallory"}')

    def decide(tx: Transaction) -> object:
        return tx.read(places.agent("eve"))

    assert store.transact(decide, USER) is None
    (kept,) = store.documents(places.DEADLETTER)
    assert kept["from_path"] == places.agent("eve")
    clean(store)


def test_a_large_damaged_document_is_kept_whole(tmp_path: Path) -> None:
    """A dead letter has room for its beginning only: where all of it is kept, it says."""
    store = make(tmp_path)
    text = '{"agent": "' + "x" * quarantine.ENVELOPE
    (tmp_path / places.agent("eve")).write_text(text)
    assert store.transact(lambda tx: tx.read(places.agent("eve")), USER) is None
    (letter,) = store.documents(places.DEADLETTER)
    ((name, whole),) = set_aside(tmp_path).items()
    assert letter["original"] == text[: quarantine.ENVELOPE] and whole == text
    assert f"all {len(text)} bytes" in letter["detail"] and name in letter["detail"]
    clean(store)


def test_a_newer_document_is_left_alone(tmp_path: Path) -> None:
    """A document of a newer format is exit 6 with its format named, and stays byte for byte."""
    store = make(tmp_path)
    path = tmp_path / places.agent("bob")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 7'))
    before = path.read_bytes()
    with pytest.raises(documents.Newer, match="format 7"):
        store.transact(lambda tx: tx.read(places.agent("bob")), USER)
    assert path.read_bytes() == before


def test_a_writer_below_writer_min_is_refused(tmp_path: Path) -> None:
    """A segment whose header asks for a newer writer is not appended to."""
    store = make(tmp_path)
    segment = tmp_path / places.LOGS / "000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    header = decode(lines[0])
    header.pop("crc")
    segment.write_bytes(encode({**header, "writer_min": 9}) + b"".join(lines[1:]))
    store.close()
    with pytest.raises(StoreError, match="update the toolkit"):
        reopen(tmp_path).transact(send("x"), ANN)


@pytest.mark.parametrize("records", [0, 1])
def test_a_segment_that_a_newer_writer_died_in_is_not_published(tmp_path: Path, records: int) -> None:
    """The segment after the mark asks for a newer version: what its records mean is not for this one to say."""
    store = make(tmp_path)
    ident = store.transact(send("one"), ANN)
    header = {**store.segment_header(store.tail.seq + 1, 2, "store-of-the-tests"), "writer_min": 9}
    doc = {**(store.read(places.new("bob", ident)) or {}), "msg_id": "m99"}
    letter = {**journaled(store)[-1], "seq": header["seq"] + 1, "on": ["m99"], "put": [[doc, [places.new("bob", "m99")]]]}
    letter.pop("crc", None)
    store.close()
    (tmp_path / places.LOGS / "000002.jsonl").write_bytes(encode(header) + encode(letter) * records)
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="update the toolkit"):
        reopen(tmp_path).transact(lambda tx: pytest.fail("it was asked"), ANN)
    assert tree(tmp_path) == before


def test_a_reader_below_writer_min_decides_nothing(tmp_path: Path) -> None:
    """Also where no record would come of it: leases, and what is due, are written without one."""
    store = make(tmp_path)
    store.close()
    segment = tmp_path / places.LOGS / "000001.jsonl"
    header, rest = segment.read_bytes().split(b"\n", 1)
    newer = {**decode(header), "writer_min": 9}
    newer.pop("crc")
    segment.write_bytes(encode(newer) + rest)
    with pytest.raises(StoreError, match="update the toolkit"):
        reopen(tmp_path).transact(lambda tx: pytest.fail("it was asked"), USER)


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    """A field that this version does not know survives a rewrite."""
    store = make(tmp_path)
    ident = store.transact(send("x"), ANN)
    path = places.new("bob", ident)

    def newer(tx: Transaction) -> None:
        """What a newer version writes."""
        doc = tx.read(path)
        assert doc is not None
        tx.put({**doc, "mood": "calm"}, path)
        tx.record("mail.return", [ident])

    store.transact(newer, ANN)
    assert '"mood": "calm"' in (tmp_path / path).read_text()
    store.transact(read(), ANN)
    doc = store.read(places.cur("bob", ident))
    assert doc is not None and doc["mood"] == "calm"


def test_the_index_is_only_a_cache(tmp_path: Path) -> None:
    """A missing, damaged or stale index is made again and says the same."""
    store = make(tmp_path)
    ident = store.transact(send("x", key="k"), ANN)
    index = tmp_path / places.INDEX
    store.close()
    for damage in ("missing", "garbage", "stale"):
        kept = index.read_bytes()
        if damage == "missing":
            index.unlink()
        elif damage == "garbage":
            index.write_bytes(b"no database" * 100)
        after = reopen(tmp_path)
        assert after.transact(lambda tx: tx.index.next_message("bob"), ANN) == ident
        assert after.transact(send("x", key="k"), ANN) == ident
        if damage == "missing":
            after.transact(send("y"), ANN)
        after.close()
        if damage == "garbage":
            index.write_bytes(kept)


def test_rebuild_makes_every_document_again(tmp_path: Path) -> None:
    """With all documents gone, the journal alone brings each back byte for byte."""
    store = make(tmp_path)
    for n in range(10):
        store.transact(send(f"body {n}"), ANN)
    store.transact(read(), ANN)
    before = tree(tmp_path)
    for path in before:
        (tmp_path / path).unlink()
    done = repair.rebuild(store)
    assert tree(tmp_path) == before
    assert done.written == len(before)
    clean(store)


def test_rebuild_refuses_while_edits_by_hand_stand(tmp_path: Path) -> None:
    """A valid edit is neither dropped nor adopted without being asked."""
    store = make(tmp_path)
    path = tmp_path / places.agent("bob")
    path.write_text(path.read_text().replace('"model": ""', '"model": "mine"'))
    with pytest.raises(MboxError, match="edited by hand"):
        repair.rebuild(store)
    assert '"mine"' in path.read_text()
    repair.repair(store, USER)
    assert '"mine"' in path.read_text()
    assert journaled(store)[-1]["op"] == "store.adopt"
    clean(store)


def test_doctor_finds_and_mends(tmp_path: Path) -> None:
    """Missing, damaged, edited and foreign files are each found by kind, and after the repair nothing is."""
    store = make(tmp_path)
    idents = [store.transact(send(f"body {n}"), ANN) for n in range(4)]
    before = tree(tmp_path)
    (tmp_path / places.new("bob", idents[0])).unlink()
    overwrite(tmp_path / places.new("bob", idents[1]), "")
    edited = tmp_path / places.agent("bob")
    edited.write_text(edited.read_text().replace('"host": ""', '"host": "codex"'))
    (tmp_path / places.agent("eve")).write_bytes(before[places.agent("ann")].replace(b'"ann"', b'"eve"'))
    (tmp_path / ".mailbox/inbox/bob/new/.tmp-m99.json").write_text("half")
    kinds = sorted(finding.kind for finding in survey.survey(store).findings)
    assert kinds == ["damaged", "edited", "foreign", "leftover", "missing"]
    repair.repair(store, USER)
    clean(store)
    assert not (tmp_path / places.agent("eve")).exists()
    assert bodies(store) == [f"body {n}" for n in range(4)]
