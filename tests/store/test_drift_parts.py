"""Very many documents that are none of ours: brought to order in parts, with the lock free in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit import ANN, make, set_aside
from mbox.errors import NotFound
from mbox.format import places
from mbox.store import aside, reconciliation
from mbox.store.lock import Lock
from mbox.store.store import TURN
from mbox.system.host import Host
from mbox.tasks import planning
from taskkit import USER, World, opened
from teamkit import until

FOLDERS = [
    places.TASKS, places.NOTES, places.AGENTS, places.RESERVATIONS, places.TEAMS, places.DEADLETTER, f"{places.INBOX}/ann/new",
]  # fmt: skip
BIN = Path(sys.executable).parent


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann, bob and rae, and a letter."""
    found = World(tmp_path)
    found.store.catch_up()
    return found


def junk(root: Path, folder: str, count: int) -> None:
    """So many files that the journal does not know."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        name = f"m{9000 + n}.json" if "/inbox/" in folder else f"x{n}.jsonl" if folder == places.NOTES else f"x{n}.json"
        (root / folder / name).write_text(f'{{"n": {n}}}')


def left(root: Path, folder: str) -> int:
    """How many of them are still there."""
    return sum(name[0] == "x" or name.startswith("m9") for name in os.listdir(root / folder))


def holds(w: World, patch: pytest.MonkeyPatch) -> list[int]:
    """How much each hold of the lock looks at, from now on."""
    found: list[int] = []
    plain, before = Lock.give_up, [w.store.looked]

    def give_up(self: Lock) -> None:
        if w.store.looked != before[0]:
            found.append(w.store.looked - before[0])
            before[0] = w.store.looked
        plain(self)

    patch.setattr(Lock, "give_up", give_up)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_who_looks_gives_up_the_lock_between_the_parts(w: World, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on until all is done: kept aside, the folder stamped, said in few lines."""
    junk(w.root, folder, 60)
    monkeypatch.setattr(reconciliation, "LADEN", 10 * reconciliation.MOVED)
    said: list[str] = []
    w.store.say = said.append
    sizes = holds(w, monkeypatch)
    w.store.bring_up()
    assert len(sizes) >= 6 and max(sizes) <= 12 * reconciliation.MOVED
    assert left(w.root, folder) == 0 and len(set_aside(w.root)) == 60
    assert w.store.is_in_order() and len(said) == reconciliation.SAID + 1 and "52 more likewise" in said[-1]


def test_others_have_their_turn_in_between(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they change is no reason to begin again, and the folder is stamped all the same."""
    junk(w.root, places.TASKS, 60)
    monkeypatch.setattr(reconciliation, "LADEN", 10 * reconciliation.MOVED)
    other, made = opened(w.root, w.host), list[str]()
    give_up = Lock.give_up

    def meddled(self: Lock) -> None:
        give_up(self)
        if self is w.store.lock and len(made) < 4:
            made.append(str(planning.add(other, USER, planning.TaskDraft(None, "t"))["task_id"]))

    monkeypatch.setattr(Lock, "give_up", meddled)
    w.store.catch_up()
    monkeypatch.undo()
    assert left(w.root, places.TASKS) == 0 and len(made) == 4
    assert all(w.status(task) == "queued" for task in made)
    w.store.catch_up()
    assert w.store.is_in_order()


def test_the_lock_is_free_for_a_moment_between_the_parts(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives it up and takes it at once leaves those that wait no time to have it."""
    junk(w.root, places.TASKS, 60)
    monkeypatch.setattr(reconciliation, "LADEN", 10 * reconciliation.MOVED)
    sizes, began = holds(w, monkeypatch), w.host.mono()
    w.store.bring_up()
    assert len(sizes) >= 6
    assert w.host.mono() - began == pytest.approx(TURN * (len(sizes) - 1))


def test_who_decides_leaves_what_it_verifies_itself_to_others(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part each time, until nothing is left; and what it decides is right before that."""
    task = w.add()
    junk(w.root, places.TASKS, 45)
    monkeypatch.setattr(reconciliation, "LADEN", 10 * reconciliation.MOVED)
    sizes = holds(w, monkeypatch)
    w.store.bring_up(decides=True)
    assert len(sizes) == 1 and 30 < left(w.root, places.TASKS) < 45
    (w.root / places.task("xyz")).write_text(json.dumps({**w.doc(task), "task_id": "xyz"}))
    assert w.claim(ANN)["task_id"] == task
    with pytest.raises(NotFound):
        w.claim(ANN, "xyz")
    for _ in range(6):
        w.store.bring_up(decides=True)
    assert left(w.root, places.TASKS) == 0 and w.store.is_in_order()


@pytest.mark.parametrize("folder", [places.AGENTS, places.TEAMS, places.DEADLETTER])
def test_who_decides_waits_for_what_it_takes_at_its_word(w: World, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is an agent because a file says so; those folders come first."""
    junk(w.root, folder, 45)
    junk(w.root, places.TASKS, 45)
    monkeypatch.setattr(reconciliation, "LADEN", 10 * reconciliation.MOVED)
    w.store.bring_up(decides=True)
    assert left(w.root, folder) == 0 and left(w.root, places.TASKS) > 20


def test_documents_that_are_left_alone_are_looked_at_once(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are of a newer version: each part comes to others."""
    ids = [w.add() for _ in range(30)]
    for task in ids:
        path = w.root / places.task(task)
        path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    (w.root / places.TASKS / "x1.json").write_text("{}")
    monkeypatch.setattr(reconciliation, "LADEN", 8 * 4096)
    sizes = holds(w, monkeypatch)
    w.store.catch_up()
    assert 3 < len(sizes) < 20 and left(w.root, places.TASKS) == 0
    assert all('"schema": 99' in (w.root / places.task(task)).read_text() for task in ids)
    assert w.store.is_in_order()


def test_the_journal_is_read_once_for_all_parts(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands is remembered from hold to hold."""
    junk(w.root, places.TASKS, 100)
    monkeypatch.setattr(reconciliation, "LADEN", 20 * reconciliation.MOVED)
    plain, known = reconciliation.standing, list[object]()

    def standing(journal: object, end: object, before: object = None, at: object = None) -> object:
        known.append(before)
        return plain(journal, end, before, at)  # type: ignore[arg-type]

    monkeypatch.setattr(reconciliation, "standing", standing)
    w.store.catch_up()
    assert len(known) > 3 and known.count(None) == 1


def test_sigterm_strikes_between_the_parts(tmp_path: Path) -> None:
    """Whoever brings back ten thousand files ends when it is told to, and what it had done stays done."""
    make(tmp_path, Host()).close()
    junk(tmp_path, places.DEADLETTER, 4000)
    env = {**os.environ, "MBOX_ROOT": str(tmp_path)}
    looking = subprocess.Popen([BIN / "mbox", "status"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = tmp_path / places.ASIDE
    until(lambda: kept.exists() and any(os.scandir(kept)), looking.poll, 60)
    looking.send_signal(signal.SIGTERM)
    assert looking.wait(60) == -signal.SIGTERM
    assert 0 < left(tmp_path, places.DEADLETTER) < 4000


# -- what is kept aside ------------------------------------------------------------------------------------------------


def test_a_free_name_is_found_in_few_steps(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of that name are kept already."""
    task = w.add()
    folder = w.root / places.ASIDE
    folder.mkdir()
    for n in range(1, 3000):
        (folder / f"{task}-{n}.json").write_text("old")
    looks: list[str] = []
    plain = aside.exists
    monkeypatch.setattr(aside, "exists", lambda path: looks.append(path) or plain(path))  # type: ignore[func-returns-value]
    assert aside.keep(w.store, places.task(task)) == str(folder / f"{task}-3000.json")
    assert len(looks) < 40


def test_the_same_bytes_are_kept_once(w: World) -> None:
    """Put back again and again, by whatever version of it came: one file for each."""
    task = w.add()
    path = w.root / places.task(task)
    for n in range(12):
        path.unlink()
        path.write_text(f'{{"version": {n % 3}}}')
        w.store.catch_up()
    assert len(set_aside(w.root)) == 3
    assert w.doc(task)["title"] == "a task"
