"""Stores that older versions wrote: read as they are, stepped up at the first record, nothing lost on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kit import USER, FakeHost, journaled, reopen, send, tree
from mbox import opening
from mbox.doctor import survey
from mbox.errors import StoreError
from mbox.format import documents, places
from mbox.git import restore
from mbox.journal.record import FORMAT
from mbox.mail import reading, sending
from mbox.mail.sending import MailDraft
from mbox.store import checkpoint, mark
from mbox.store.store import Actor, Store
from mbox.tasks import lifecycle

KEPT = Path(__file__).parents[1] / "stores" / "format-1"
ANN = Actor("ann", 1)
SIZE = 16 << 10
"""The size of a segment in that store."""


class Recorded(FakeHost):
    """The machine that wrote the store, shortly afterwards."""

    __slots__ = ()

    @property
    def machine(self) -> str:
        """As the store's mark has it, until it is rebooted."""
        return "boot-of-the-recording:4026531834" if self.boot == "boot-1" else super().machine


@pytest.fixture
def host() -> Recorded:
    """By the clocks of the recording, a minute later."""
    last = journal_end()
    return Recorded(wall=last["wall"] + 60, mono=2500.0)


def journal_end() -> dict[str, float]:
    """What the mark of the recorded store says."""
    found = mark.parsed((KEPT / "mailbox/lock").read_bytes()[: mark.SIZE])
    assert found
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the recorded store that takes itself for the original: the mark names the lock file's new inode."""
    folder = tmp_path / "root"
    shutil.copytree(KEPT / "mailbox", folder / ".mailbox")
    shutil.copytree(KEPT / "tasks", folder / ".tasks")
    for path in places.FOLDERS:
        (folder / path).mkdir(parents=True, exist_ok=True)
    lock = folder / places.LOCK
    found = mark.of(journal_end())
    assert found
    whole = lock.read_bytes()
    lock.write_bytes(found._replace(inode=lock.stat().st_ino).line() + whole[mark.SIZE :])
    return folder


def formats(store: Store) -> list[int]:
    """The format in the header of each segment."""
    return [store.journal.header(segment)["format"] for segment in store.journal.segments()]


def test_looking_changes_nothing(root: Path, host: Recorded) -> None:
    """A store of format 1 is read as it is: no file is written, no segment begun."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    store = reopen(root, host, segment_size=SIZE)
    assert formats(store) == [1, 1, 1] and not store.is_behind()
    assert survey.survey(store).clean
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_the_first_record_steps_it_up(root: Path, host: Recorded) -> None:
    """A segment of this format is begun before the first record; every document and lease is as it was."""
    before = tree(root)
    store = reopen(root, host, segment_size=SIZE)
    last = store.end().seq
    new = store.transact(send("after"), ANN)
    assert formats(store) == [1, 1, 1, FORMAT] and places.number(new) == last + 2, "one number for the header"
    after = tree(root)
    assert {path: data for path, data in after.items() if path in before} == before
    assert survey.survey(store).clean
    store.transact(send("more"), ANN)
    assert formats(store) == [1, 1, 1, FORMAT], "it is stepped up once"


def test_what_was_held_is_held(root: Path, host: Recorded) -> None:
    """Leases without a machine's name are this machine's: the holder of a task finishes it under its token."""
    store = opening.assemble(str(root), clock=host)
    doc = store.read(places.task("t13"))
    assert doc and doc["status"] == "claimed"
    assert lifecycle.done(store, ANN, "t13", token=doc["token"])["status"] == "done"
    assert sending.send(store, ANN, ["bob"], MailDraft(body="x"))["msg_id"]
    assert reading.read(store, Actor("bob", 1))


def test_its_recorded_checkpoints_are_believed(root: Path, host: Recorded) -> None:
    """A machine's death before the step: the replay begins where the newest checkpoint record says."""
    store = reopen(root, host, segment_size=SIZE)
    segments = store.journal.segments()
    assert checkpoint.first(store, segments, True) == segments[-1] == 3
    recent = store.journal.header(3)["seq"]
    before = tree(root)
    for path in before:
        if places.number(places.ident(path)) > recent:
            os.truncate(root / path, 0)
    host.reboot()
    store = reopen(root, host, segment_size=SIZE)
    store.catch_up()
    assert tree(root) == before


def test_the_step_takes_the_checkpoint_over(root: Path, host: Recorded) -> None:
    """After the step only the file counts, and it says no less than the records did; without it all is replayed."""
    store = reopen(root, host, segment_size=SIZE)
    store.begun = 0
    store.sync_files = lambda: (_ for _ in ()).throw(OSError(5, "no"))  # type: ignore[method-assign]
    store.transact(send("after"), ANN)
    segments = store.journal.segments()
    assert checkpoint.first(store, segments, True) == 3, "the new segment's own checkpoint failed; the old one stands"
    (root / places.CHECKPOINT).unlink()
    assert checkpoint.first(store, segments, True) == 1


def test_a_death_at_the_step_is_harmless(root: Path, host: Recorded) -> None:
    """The checkpoint was taken over and no segment begun yet: the next one does both."""
    store = reopen(root, host, segment_size=SIZE)
    with store.locked():
        checkpoint.take_over(store)
    store.close()
    store = reopen(root, host, segment_size=SIZE)
    assert checkpoint.first(store, store.journal.segments(), True) == 3
    store.transact(send("after"), ANN)
    assert formats(store)[-1] == FORMAT


def test_no_older_tool_writes_into_it_any_more(root: Path, host: Recorded) -> None:
    """The new segment asks for this version's writer at least, which the one before refuses to stand beside."""
    store = reopen(root, host, segment_size=SIZE)
    store.transact(send("after"), ANN)
    assert store.journal.header(4)["writer_min"] == 2 > store.journal.header(3)["writer_min"]


def test_a_newer_store_is_refused(root: Path, host: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a store of a format to come is not written by this version: exit 6, which says what to do."""
    store = reopen(root, host, segment_size=SIZE)
    store.transact(send("after"), ANN)
    store.close()
    monkeypatch.setattr("mbox.journal.segments.WRITER", 1)
    with pytest.raises(StoreError, match="update the toolkit"):
        reopen(root, host, segment_size=SIZE).transact(send("no"), ANN)


def test_its_audit_ref_is_restored(tmp_path: Path) -> None:
    """The ref of a store of format 1 fills an empty store; the first record there steps it up."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    bundle = str(KEPT / "audit.bundle")
    subprocess.run(["git", "-C", str(tmp_path), "fetch", "-q", bundle, "refs/mbox/audit:refs/mbox/audit"], check=True)
    restore.restore(str(tmp_path), USER, None, lambda text: None, opening.unbegun)
    store = opening.open_store(str(tmp_path), "/")
    assert survey.survey(store).clean
    recorded = tree(tmp_path)
    kept = {f".{path.relative_to(KEPT).as_posix()}": path.read_bytes() for path in KEPT.rglob("*.json")}
    assert recorded == {path: data for path, data in kept.items() if "/leases/" not in path}
    store.transact(send("after"), ANN)
    assert formats(store)[-1] == FORMAT and survey.survey(store).clean
    ops = [record["op"] for record in journaled(store)]
    assert ops[ops.index("store.restore") + 1] == "store.segment", "the step comes before any other record"
    assert ops[-1] == "mail.send", "after what has run out since the recording"


def test_a_document_of_format_1_is_a_document(root: Path) -> None:
    """What stands in the files is what this version would write: the step rewrites none of them."""
    for path, data in tree(root).items():
        kind = places.kind(path)
        assert documents.encode(kind, documents.decode(kind, data)) == data
