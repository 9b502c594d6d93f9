"""What this disk lost is put back without a record: durable, and never at the cost of what stood there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import ANN, USER, FakeHost, FaultyDisk, Killed, make, reopen, send, set_aside, tree
from mbox.doctor import repair, survey
from mbox.errors import Corrupt, StoreError
from mbox.format import documents, places
from mbox.journal.record import FORMAT, LAST, encode
from mbox.store import aside, checkpoint, mark
from mbox.store.store import Store, Transaction
from mbox.system.disk import Disk

MINE = "my precious text { broken"


def add(store: Store, task_id: str) -> str:
    """A task; its document's path."""

    def decide(tx: Transaction) -> None:
        doc = documents.new("task", task_id=task_id, title="precious", created_at=tx.now)
        tx.put(doc, places.task(task_id))
        tx.record("task.add", [task_id])

    store.transact(decide, USER)
    return places.task(task_id)


def look(path: str) -> Callable[[Transaction], object]:
    """A decision that reads the document at ``path``."""
    return lambda tx: tx.read(path)


def rolled(root: Path, host: FakeHost) -> tuple[Store, str]:
    """A store with a task before its checkpoint, and that task's path."""
    store = make(root, host, segment_size=1500)
    path = add(store, "old")
    while len(store.journal.segments()) < 3:
        store.transact(send("fill"), ANN)
    assert checkpoint.first(store, store.journal.segments(), True) > 1
    return store, path


class Unsynced(Disk):
    """A disk that tells what a power cut would leave at length zero: files that were renamed into place unsynced."""

    __slots__ = ("names", "synced", "unsafe")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, str] = {}
        self.synced: set[int] = set()
        self.unsafe: set[str] = set()

    def sync(self, fd: int) -> None:
        """Note the file, then fsync."""
        self.synced.add(os.fstat(fd).st_ino)
        super().sync(fd)

    def rename(self, source: str, target: str) -> None:
        """Note whether what comes to stand at ``target`` was synced."""
        safe = os.lstat(source).st_ino in self.synced
        super().rename(source, target)
        (self.unsafe.discard if safe else self.unsafe.add)(target)


@pytest.mark.parametrize("by", ["decision", "repair", "gone"])
def test_what_is_put_back_survives_a_power_cut(tmp_path: Path, by: str) -> None:
    """Its record lies before the checkpoint, so that no replay would bring it again: it is synced before it stands."""
    host = FakeHost()
    store, path = rolled(tmp_path, host)
    before = tree(tmp_path)[path]
    store.close()
    (tmp_path / path).unlink()
    if by != "gone":
        (tmp_path / path).write_text(MINE)
    disk = Unsynced()
    store = reopen(tmp_path, host, disk, segment_size=1500)
    store.transact(look(path), USER) if by == "decision" else repair.repair(store, USER)
    store.close()
    for unsafe in disk.unsafe:
        if unsafe.endswith(".json"):
            os.truncate(unsafe, 0)
    host.reboot()
    after = reopen(tmp_path, host, segment_size=1500)
    after.catch_up()
    assert tree(tmp_path)[path] == before
    assert survey.survey(after).clean


def test_a_rebuild_survives_a_power_cut(tmp_path: Path) -> None:
    """What is made anew is not synced while it is made: a cut in the middle replays from the journal's beginning."""
    host = FakeHost()
    store, path = rolled(tmp_path, host)
    before = tree(tmp_path)
    (tmp_path / path).unlink()
    store.sync_files = lambda: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign]
    with pytest.raises(Killed):
        repair.rebuild(store)
    store.close()
    os.truncate(tmp_path / path, 0)
    host.reboot()
    after = reopen(tmp_path, host, segment_size=1500)
    after.catch_up()
    assert tree(tmp_path) == before
    (tmp_path / path).unlink()
    repair.rebuild(after)
    assert checkpoint.first(after, after.journal.segments(), True) == after.tail.segment, "and afterwards it is synced"


def everywhere(root: Path, text: str) -> bool:
    """Whether ``text`` stands in a file below ``root``, in whatever place."""
    return any(text in path.read_text(errors="replace") for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("by", ["decision", "repair"])
@pytest.mark.parametrize("half", [False, True])
def test_whatever_dies_the_text_stays(tmp_path: Path, by: str, half: bool) -> None:
    """At every call of a mending: what a person wrote stands somewhere, and the next one mends."""

    def broken(root: Path) -> str:
        store = make(root, host)
        path = add(store, "t")
        store.close()
        (root / path).unlink()
        (root / path).write_text(MINE)
        return path

    def mend(root: Path, disk: Disk) -> None:
        store = reopen(root, host, disk)
        store.transact(look(path), USER) if by == "decision" else repair.repair(store, USER)
        store.close()

    host, probe = FakeHost(), FaultyDisk()
    path = broken(tmp_path / "count")
    mend(tmp_path / "count", probe)
    assert probe.calls > 4
    for at in range(probe.calls):
        root = tmp_path / f"{at}"
        broken(root)
        with pytest.raises(Killed):
            mend(root, FaultyDisk(at, half=half))
        assert everywhere(root, MINE), at
        mend(root, Disk())
        assert everywhere(root / places.ASIDE, MINE), at
        assert tree(root)[path] == tree(tmp_path / "count")[path]
        assert len(set_aside(root)) == 1, "one file, however often it was tried"


@pytest.mark.parametrize("there", ["folder", "link", "other"])
def test_nothing_that_is_kept_is_written_over(tmp_path: Path, there: str) -> None:
    """Whatever stands under the first name in aside/: another one is taken."""
    store = make(tmp_path)
    path = add(store, "t")
    first = tmp_path / places.ASIDE / "t-1.json"
    first.parent.mkdir()
    if there == "folder":
        first.mkdir()
    elif there == "link":
        first.symlink_to(tmp_path / "nowhere")
    else:
        first.write_text("kept before")
    (tmp_path / path).unlink()
    (tmp_path / path).write_text(MINE)
    store.transact(look(path), USER)
    assert (first.parent / "t-2.json").read_text() == MINE
    assert there != "other" or first.read_text() == "kept before"
    assert not (tmp_path / "nowhere").exists()


def test_without_links_the_bytes_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no hard links keeps a copy."""
    store = make(tmp_path)
    path = add(store, "t")
    monkeypatch.setattr(Disk, "link", lambda self, a, b: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    (tmp_path / path).unlink()
    (tmp_path / path).write_text(MINE)
    assert aside.keep(store, path) == str(tmp_path / places.ASIDE / "t-1.json")
    assert set_aside(tmp_path) == {"t-1.json": MINE}


def test_where_nothing_can_be_kept_nothing_is_done(tmp_path: Path) -> None:
    """A file in the folder's place: exit 6, which names it and the mend, and the text stays where it was."""
    store = make(tmp_path)
    path = add(store, "t")
    (tmp_path / places.ASIDE).write_text("x")
    (tmp_path / path).unlink()
    (tmp_path / path).write_text(MINE)
    with pytest.raises(StoreError, match=r"\.mailbox/aside: .*move it away"):
        store.transact(look(path), USER)
    assert (tmp_path / path).read_text() == MINE


# -- numbers -------------------------------------------------------------------------------------------------------


def lost_in_fast(root: Path, host: FakeHost) -> int:
    """A store in ``fast`` whose last letters were lost with the machine, healed since without a record; the highest."""
    store = make(root, host, durability="fast")
    size = store.tail.offset
    highest = max(places.number(store.transact(send(f"{n}"), ANN)) for n in range(4))
    store.close()
    os.truncate(root / places.LOGS / "000001.jsonl", size)
    host.reboot()
    healed = reopen(root, host, durability="fast")
    healed.catch_up()
    healed.close()
    return highest


@pytest.mark.parametrize("gone", [(places.CHECKPOINT,), (places.LOCK,)])
def test_no_number_is_given_twice_whatever_file_is_lost(tmp_path: Path, gone: tuple[str, ...]) -> None:
    """After a death in ``fast`` and a change to ``full``: the floor stands in two files, and one of them is enough."""
    host = FakeHost()
    highest = lost_in_fast(tmp_path, host)
    for path in gone:
        (tmp_path / path).unlink()
    host.reboot("boot-3")
    store = reopen(tmp_path, host, durability="full")
    assert places.number(store.transact(send("new"), ANN)) > highest
    assert survey.survey(store).clean


@pytest.mark.parametrize("known", [LAST, 10**300, -1, 1.5, "5", True])
def test_a_floor_that_nobody_can_have_come_to_is_none(tmp_path: Path, known: object) -> None:
    """A checkpoint is checked like input: what no replay can have written counts as no checkpoint."""
    store = make(tmp_path)
    with store.locked():
        identity = store.ahead.store, store.lock.inode
    text = documents.compact({"store": identity[0], "inode": identity[1], "segment": 1, "floor": known})
    (tmp_path / places.CHECKPOINT).write_bytes(mark.line(text, 512))
    assert checkpoint.load(store, identity[0]) == checkpoint.Checkpoint(*identity)
    assert checkpoint.floor(store, identity[0]) == 0


def test_a_checkpoint_nested_too_deep_is_none(tmp_path: Path) -> None:
    """What no parser goes into is no checkpoint, and no traceback."""
    store = make(tmp_path)
    (tmp_path / places.CHECKPOINT).write_bytes(mark.line("[" * 200_000, 10))
    assert checkpoint.floor(store, "store-of-the-tests") == 0


@pytest.mark.parametrize("form", [None, "x", 1.5])
def test_a_header_without_its_format_is_corrupt(tmp_path: Path, form: object) -> None:
    """The first record of a segment says its format as a number, or the segment is named as damaged."""
    store = make(tmp_path)
    header = store.journal.header(1)
    header.pop("crc")
    header["format"] = form
    segment = tmp_path / places.LOGS / "000001.jsonl"
    first, rest = segment.read_bytes().split(b"\n", 1)
    if form is None:
        del header["format"]
    segment.write_bytes(encode(header) + rest)
    with pytest.raises(Corrupt, match="not the header of a segment"):
        store.journal.header(1)
    assert first


def test_a_store_of_format_1_is_stepped_up_before_a_floor_is_noted(tmp_path: Path) -> None:
    """Healed in ``fast`` by a command that makes no record: an older version may not number beside it any more."""
    host = FakeHost()
    root = tmp_path / "root"
    kept = Path(__file__).parents[1] / "stores" / "format-1"
    shutil.copytree(kept / "mailbox", root / ".mailbox")
    shutil.copytree(kept / "tasks", root / ".tasks")
    store = reopen(root, host, durability="fast")
    store.catch_up()
    assert store.journal.header(store.journal.segments()[-1])["format"] == FORMAT
    assert checkpoint.floor(store, store.ahead.store) > store.tail.seq


def test_a_copy_of_a_store_of_format_1_takes_no_checkpoint_over(tmp_path: Path) -> None:
    """What one disk has synced says nothing of another's, also where it stands in a record."""
    host = FakeHost()
    root = tmp_path / "copy"
    kept = Path(__file__).parents[1] / "stores" / "format-1"
    shutil.copytree(kept / "mailbox", root / ".mailbox")
    shutil.copytree(kept / "tasks", root / ".tasks")
    store = reopen(root, host, segment_size=16 << 10)
    store.sync_files = lambda: (_ for _ in ()).throw(OSError(5, "no"))  # type: ignore[method-assign]
    store.transact(send("first"), ANN)
    segments = store.journal.segments()
    assert store.journal.header(segments[-1])["format"] == FORMAT
    assert checkpoint.first(store, segments, True) == segments[0]


@pytest.mark.parametrize("folder", [places.TEAMS, places.AGENTS, places.DEADLETTER, places.TASKS])
def test_much_that_is_none_of_ours_is_moved_and_synced_at_once(tmp_path: Path, folder: str) -> None:
    """Whoever decides waits for no sync a file: each stands in ``aside/`` whole, and both folders are synced once a part."""

    class Counting(Disk):
        """A disk that counts what is synced."""

        __slots__ = ("syncs",)

        def __init__(self) -> None:
            super().__init__()
            self.syncs = 0

        def sync_folder(self, path: str) -> None:
            self.syncs += 1
            super().sync_folder(path)

        def sync_path(self, path: str) -> None:
            self.syncs += 1
            super().sync_path(path)

    disk = Counting()
    store = make(tmp_path / "root", disk=disk)
    for n in range(600):
        (tmp_path / "root" / folder / f"d{n}.json").write_text(f"mine {n}" if n % 2 else "")
    disk.syncs = 0
    store.catch_up()
    assert disk.syncs < 20
    assert not list((tmp_path / "root" / folder).glob("d*.json"))
    kept = sorted(path.read_text() for path in (tmp_path / "root" / places.ASIDE).iterdir())
    assert kept == sorted(f"mine {n}" for n in range(600) if n % 2)
    assert survey.survey(store).clean


def test_what_cannot_be_moved_is_kept_by_its_bytes(tmp_path: Path) -> None:
    """Where ``aside/`` is on another file system a rename and a link are refused: the bytes are kept there all the same."""

    class Elsewhere(Disk):
        """A disk of which ``aside/`` is no part."""

        __slots__ = ()

        def rename(self, source: str, target: str) -> None:
            if places.ASIDE in target and "/.tmp" not in source:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
            super().rename(source, target)

        def link(self, source: str, target: str) -> None:
            if places.ASIDE in target:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
            super().link(source, target)

    store = make(tmp_path / "root", disk=Elsewhere())
    (tmp_path / "root" / places.TEAMS / "crew.json").write_text("mine")
    store.catch_up()
    assert [path.read_text() for path in (tmp_path / "root" / places.ASIDE).iterdir()] == ["mine"]
    assert not (tmp_path / "root" / places.TEAMS / "crew.json").exists()
