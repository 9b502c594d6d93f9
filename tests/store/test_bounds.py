"""One decision, one record, one wait: nobody makes the others wait for long, however much an agent has made."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import ANN, BOB, journaled, looked, make, read, send, tree
from mbox.agents import registry
from mbox.errors import Refused
from mbox.format import operations, places
from mbox.index.updates import Updates
from mbox.liveness import departure
from mbox.mail import deadletters, reading, sending
from mbox.mail.sending import MailDraft
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store import replay, transaction
from mbox.store.lock import held_back
from mbox.store.store import Actor, Store, Transaction
from mbox.system.disk import TEMP
from mbox.system.host import Host
from mbox.tasks import batches, planning
from mbox.tasks.drafts import TaskDraft
from taskkit import USER, World
from teamkit import until

LARGE = "x" * 20_000
BIN = Path(sys.executable).parent


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


def bounded(patch: pytest.MonkeyPatch, **bounds: int) -> None:
    """Let transactions be small."""
    for name, value in bounds.items():
        patch.setattr(transaction, name, value)



# -- what one transaction may look at and write ------------------------------------------------------------------------


def test_a_decision_looks_at_so_much_and_no_more(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 with the mend, long before all of it is read, and nothing happened."""
    ids = [sending.send(w.store, ANN, ["bob"], MailDraft(body=LARGE))["msg_id"] for _ in range(40)]
    before = tree(w.root)
    bounded(monkeypatch, MOST=100_000)
    sizes = looked(monkeypatch)
    with pytest.raises(Refused, match="too much for one transaction"):
        reading.read(w.store, BOB, ids)
    assert max(sizes) < 150_000 and tree(w.root) == before


def test_dead_letters_are_retried_up_to_a_size(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or none stays true: too many are none."""
    config = w.store.config
    object.__setattr__(config, "max_deliveries", 1)
    ids = [sending.send(w.store, ANN, ["bob"], MailDraft(body=LARGE, needs_ack=True))["msg_id"] for _ in range(20)]
    reading.read_many(w.store, BOB, 0)
    departure.give_back(w.store, USER, "bob", 1, operations.AGENT_DEAD, "it was killed")
    bounded(monkeypatch, MOST=100_000)
    with pytest.raises(Refused, match="name fewer at a time"):
        deadletters.retry(w.store, USER, ids)
    assert len(w.store.names(places.DEADLETTER)) == 20
    assert len(deadletters.retry(w.store, USER, ids[:2])) == 2


def test_a_record_writes_so_much_and_no_more(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is in the journal, with every temporary file taken back."""
    before = tree(w.root)
    bounded(monkeypatch, ROOM=100_000)
    with pytest.raises(Refused, match="do it in parts"):
        planning.import_drafts(w.store, USER, [TaskDraft(f"x{n}", "t", description=LARGE) for n in range(5)])
    assert tree(w.root) == before
    assert planning.import_drafts(w.store, USER, [TaskDraft("x", "t", description=LARGE)])["imported"] == 1


def test_a_record_that_is_too_long_is_refused_before_a_file_is_written(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length is known by then."""
    from mbox.store import commit

    monkeypatch.setattr(commit, "LONGEST", 1000)
    monkeypatch.setattr(commit, "_stage", lambda *_: pytest.fail("a file was written"))
    with pytest.raises(Refused, match="do it in parts"):
        w.add("large", description=LARGE)


# -- what goes on in the next transaction ------------------------------------------------------------------------------


def test_a_filter_reads_no_task_to_find_it(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tasks are found by the index and changed over several records; one that changed meanwhile is left."""
    ids = [w.add("large", description=LARGE, labels=("l",), priority=n % 10) for n in range(10)]
    bounded(monkeypatch, LADEN=50_000)
    count, plain, tries = w.records(), Store.transact, list[Actor]()

    def meddled(self: Store, decide: Callable[[Transaction], Any], actor: Actor) -> Any:
        before, answer = self.looked, plain(self, decide, actor)
        if not tries:
            assert actor.dry_run and self.looked == before
            tries.append(actor)
            planning.update(self, USER, ids[9], {"labels": []})
        return answer

    monkeypatch.setattr(Store, "transact", meddled)
    done = batches.cancel(w.store, USER, where=batches.TaskFilter(label="l"))
    assert [row["task_id"] for row in done.changed] == ids[8::-1]
    assert w.status(ids[9]) == "queued"
    assert w.records() > count + 4


def test_a_cascade_asks_the_index_alone(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever depends on what, however far, in slices, and nothing that is final."""
    first = w.add()
    layers = [[w.add(f"{depth}", after=[first]) for _ in range(3)] for depth in range(1)]
    for depth in range(3):
        layers.append([w.add(f"{depth}", after=layers[-1]) for _ in range(3)])
    final = w.add("final", after=[first])
    batches.cancel(w.store, USER, [final])
    monkeypatch.setattr(batches, "SLICE", 2)
    reads = looked(monkeypatch)
    done = batches.cancel(w.store, USER, [first], cascade=True)
    assert sorted(row["task_id"] for row in done.changed) == sorted([first, *(one for layer in layers for one in layer)])
    assert len(reads) > 4 and not any(reads[:-1])


def test_a_claim_gives_up_the_lock_when_it_has_read_enough(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among large tasks under a reservation the one that is free is found, over several transactions."""
    reserving.reserve(w.store, BOB, ReservationRequest(["src/**"], 3600))
    for n in range(12):
        w.add("held", f"src/{n}.py", priority=9, description=LARGE)
    free = w.add("free")
    bounded(monkeypatch, LADEN=50_000)
    sizes = looked(monkeypatch)
    assert w.claim(ANN)["task_id"] == free
    assert len(sizes) > 3 and max(sizes) < 100_000


def test_a_claim_reads_no_dependency(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their status is enough, however large they are; one that cannot be read so is read."""
    after = [w.add("done", status="done", description=LARGE) for _ in range(10)]
    task = w.add("next", after=after)
    path = w.root / places.task(after[0])
    path.write_text(path.read_text().replace("\n", " \n"))
    monkeypatch.setattr(w.store, "_cache", {})
    sizes = looked(monkeypatch)
    assert w.claim(ANN, task)["task_id"] == task
    assert sizes[0] < 2 * len(LARGE) + 30 * 4096


def test_what_a_dead_agent_held_goes_back_in_parts(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tasks, reservations and mail: all of it, over several records, each of which says so."""
    tasks = [w.add("large", f"a{n}/**", description=LARGE) for n in range(6)]
    for task in tasks:
        w.claim(ANN, task)
    mail = [sending.send(w.store, BOB, ["ann"], MailDraft(body=LARGE, needs_ack=True))["msg_id"] for _ in range(4)]
    reading.read_many(w.store, ANN, 0)
    reserving.reserve(w.store, ANN, ReservationRequest(["z/**"], 60))
    bounded(monkeypatch, LADEN=50_000)
    count, sizes = w.records(), looked(monkeypatch)
    settled = departure.give_back(w.store, USER, "ann", 1, operations.AGENT_DEAD, "it was killed")
    assert (set(settled.requeued), settled.returned, len(settled.released)) == (set(tasks), mail, 7)
    assert {record["op"] for record in journaled(w.store)[count:]} == {operations.AGENT_DEAD}
    assert w.records() > count + 2 and max(sizes) < 160_000
    assert not departure.give_back(w.store, USER, "ann", 1, operations.AGENT_DEAD, "again").ids


# -- what an agent may make many of ------------------------------------------------------------------------------------


def test_tasks_of_very_many_kinds_are_claimed_in_order(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each is of a stage of its own, all that is ready is walked over; what cannot be taken is passed over."""
    from mbox.index import queries

    monkeypatch.setattr(queries, "CLASSES", 3)
    ids = [w.add("t", stage=f"s{n}", priority=n % 5, labels=("l",) if n == 2 else ()) for n in range(10)]
    w.add("t", stage="s", priority=9, requires=("cobol",))
    assert w.claim(ANN)["task_id"] == ids[4]
    assert w.claim(ANN, stage="s3")["task_id"] == ids[3]
    assert w.claim(ANN, label="l")["task_id"] == ids[2]
    assert w.claim(BOB)["task_id"] == ids[9]


def test_a_cycle_is_not_looked_for_without_end(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past so many dependencies the new one is refused, and says why."""
    monkeypatch.setattr(planning, "FOLLOWED", 6)
    last = w.add()
    for _ in range(8):
        last = w.add(after=[last])
    with pytest.raises(Refused, match="more than 6 dependencies lead on from there"):
        planning.update(w.store, USER, w.add(), {}, add_deps=[last])


def test_an_urgency_is_not_passed_on_without_end(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past so many tasks and dependencies they keep what they had; an index that is made anew has all of it."""
    from mbox.index import updates

    chain = [w.add(priority=1)]
    for _ in range(9):
        chain.append(w.add(after=[chain[-1]], priority=1))
    monkeypatch.setattr(updates, "SPREAD", 8)
    w.add(after=[chain[-1]], priority=9)

    def urgencies() -> list[int]:
        return w.store.transact(lambda tx: [tx.index.urgency(one) for one in chain], USER.trial())

    assert urgencies() == [1] * 5 + [9] * 5 or urgencies() == [1] * 6 + [9] * 4
    with w.store.locked():
        w.store.drop_index()
    assert urgencies() == [9] * 10


@pytest.mark.parametrize("how", ["add", "import", "update"])
def test_so_many_tasks_depend_on_one_and_no_more(w: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever command they come."""
    monkeypatch.setattr(planning, "DEPENDENTS", 2)
    one, free = w.add(), w.add()
    for _ in range(2):
        w.add(after=[one])
    with pytest.raises(Refused, match="more than 2 tasks that depend on it"):
        if how == "add":
            w.add(after=[one])
        elif how == "import":
            planning.import_drafts(w.store, USER, [TaskDraft("x", "t", depends_on=(one,))])
        else:
            planning.update(w.store, USER, free, {}, add_deps=[one])


def test_an_agent_holds_so_many_patterns_and_no_more(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all its reservations together; giving back makes room, and another agent is not touched by it."""
    monkeypatch.setattr(reserving, "HELD", 3)
    first = reserving.reserve(w.store, ANN, ReservationRequest(["a", "b"], 60))
    with pytest.raises(Refused, match="ann holds 2 patterns, at most 3"):
        reserving.reserve(w.store, ANN, ReservationRequest(["c", "d"], 60))
    reserving.reserve(w.store, BOB, ReservationRequest(["c", "d"], 60))
    reserving.release(w.store, ANN, [first["reservation_id"]], [])
    reserving.reserve(w.store, ANN, ReservationRequest(["e", "f"], 60))


# -- signals -----------------------------------------------------------------------------------------------------------


def test_a_signal_ends_the_building_of_an_index(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work that any death leaves to be done again lets it strike; afterwards all is as before."""
    for _ in range(20):
        w.add()

    class Ended(BaseException):
        pass

    def ended(*_: object) -> None:
        raise Ended

    read: list[str] = []
    plain = Updates._put

    def put(self: Updates, path: str, *args: Any, **kwargs: Any) -> None:
        read.append(path)
        signal.raise_signal(signal.SIGUSR1)  # to this very thread: kill lets the kernel choose one
        plain(self, path, *args, **kwargs)

    before = signal.signal(signal.SIGUSR1, ended)
    try:
        with w.store.locked():
            w.store.drop_index()
        monkeypatch.setattr(Updates, "_put", put)
        with pytest.raises(Ended):
            w.claim(ANN)
        assert len(read) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
        monkeypatch.undo()
    assert w.claim(ANN)["status"] == "claimed"


def test_a_replay_lets_signals_strike_at_each_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is put there or taken away: that may be all that the store ever held."""
    store = make(tmp_path)
    for body in ("one", "two", "three"):
        store.transact(send(body), ANN)
    store.transact(read(), BOB)
    store.transact(read(), BOB)
    store.close()
    os.truncate(tmp_path / places.LOCK, 0)
    seen: list[str] = []
    for name in ("write", "remove"):
        plain = getattr(replay, name)
        monkeypatch.setattr(replay, name, lambda *args, name=name, plain=plain: (seen.append(name), plain(*args)))
    monkeypatch.setattr(held_back, "strike", lambda _held: seen.append("strike"))
    store.catch_up()
    assert seen.count("remove") == 2 and seen.count("write") > 6
    assert all(seen[n - 1] == "strike" for n, what in enumerate(seen) if what in ("write", "remove"))


@pytest.mark.parametrize("ends", [True, False])
def test_a_signal_while_many_files_are_staged(w: World, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """All of them are taken back before it strikes; where it ends nothing, the decision is taken again."""

    class Ended(BaseException):
        pass

    def struck(*_: object) -> None:
        assert not any(name.startswith(TEMP) for name in os.listdir(w.root / places.TASKS))
        if ends:
            raise Ended

    made: list[str] = []
    plain = w.store.disk.create

    def create(path: str, data: bytes) -> None:
        made.append(path)
        if len(made) == 1:
            signal.raise_signal(signal.SIGUSR1)
        plain(path, data)

    monkeypatch.setattr(type(w.store.disk), "create", lambda _, *args: create(*args))
    before = signal.signal(signal.SIGUSR1, struck)
    drafts = [TaskDraft(id=f"x{n}", title="t") for n in range(200)]
    try:
        if ends:
            with pytest.raises(Ended):
                planning.import_drafts(w.store, USER, drafts)
            assert len(made) < 100 and not list(places.idents(w.store.names(places.TASKS)))
        else:
            planning.import_drafts(w.store, USER, drafts)
            assert len(list(places.idents(w.store.names(places.TASKS)))) == 200 < len(made) < 300
    finally:
        signal.signal(signal.SIGUSR1, before)


def is_held(root: Path) -> bool:
    """Whether somebody has the lock of the store in ``root``."""
    with open(root / places.LOCK, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def waiters() -> str:
    """The kernel's lines on those who wait for a lock."""
    return "".join(line for line in Path("/proc/locks").read_text().splitlines(keepends=True) if "->" in line)


def spent(pid: int) -> float:
    """Seconds of processor that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_sigterm_ends_who_is_inside_the_longest_decision_and_who_waits_behind(tmp_path: Path) -> None:
    """Who is inside comes to its end first, which takes less than two seconds of processor; who waits ends at once."""
    store = make(tmp_path, Host())
    registry.add(store, USER, "ann", {})
    plan = tmp_path / "plan.jsonl"
    plan.write_text("".join(f'{{"id": "x{n}", "title": "t", "description": "{"d" * 200}"}}\n' for n in range(planning.TASKS)))
    env = {**os.environ, "MBOX_ROOT": str(tmp_path)}
    inside = subprocess.Popen([BIN / "task", "import", plan], env=env, stdout=subprocess.DEVNULL)
    until(lambda: is_held(tmp_path), inside.poll, 60, tmp_path / places.LOCK)
    behind = subprocess.Popen([BIN / "task", "add", "t"], env=env, stdout=subprocess.DEVNULL)
    before = spent(inside.pid)
    inside.send_signal(signal.SIGTERM)
    _, status, used = os.wait4(inside.pid, 0)
    inside.returncode = status
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert used.ru_utime + used.ru_stime - before < 2
    behind.wait(60)
    store.catch_up()
    planned = [name for name in places.idents(store.names(places.TASKS)) if name.startswith("x")]
    assert len(planned) in (0, planning.TASKS), "a plan is imported whole, or, where the signal was sooner, not at all"


@pytest.mark.parametrize("words", [["task", "add", "t"], ["mbox", "rebuild"], ["mbox", "doctor", "--repair"]])
def test_sigterm_ends_who_waits_for_the_lock(tmp_path: Path, words: list[str]) -> None:
    """At once: nothing is held back before the lock is had."""
    make(tmp_path, Host()).close()
    with open(tmp_path / places.LOCK, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = subprocess.Popen([BIN / words[0], *words[1:]], env={**os.environ, "MBOX_ROOT": str(tmp_path)})
        until(lambda: f" {waiting.pid} " in waiters(), waiting.poll)
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(30) == -signal.SIGTERM
