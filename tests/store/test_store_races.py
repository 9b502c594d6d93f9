"""Many real processes on one store, killed, stopped and interrupted at random; forks, interrupts and waits."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kit import (
    ANN,
    USER,
    FakeHost,
    FaultyDisk,
    Killed,
    RecordingDisk,
    bodies,
    configured,
    journaled,
    make,
    read,
    register,
    reopen,
    send,
)
from mbox.doctor import repair, survey
from mbox.errors import LockTimeout, StoreError, Unknown, WentBack
from mbox.format import places
from mbox.journal.segments import Journal
from mbox.store.lock import Lock
from mbox.store.store import Store, Transaction
from mbox.system import flock
from mbox.system.disk import Disk
from mbox.system.host import Clock, Host
from teamkit import until

AGENTS = 4

WORKER = '''
import os, random, sys
from pathlib import Path
from kit import configured, send, read
from mbox.format import documents, places
from mbox.errors import MboxError
from mbox.system.host import Host
from mbox.system.disk import Disk
from mbox.store.store import Actor, Store

root, out, name, seed, backend = sys.argv[1:6]
random.seed(seed)
config = configured(segment_size=60_000, lock_wait=60.0, durability=sys.argv[6])
log = open(f"{out}/{name}.{os.getpid()}", "a", buffering=1)
me = Actor(name, 1)

def work(tx, to, body):
    ident = f"m{tx.take()}"
    doc = documents.new("message", msg_id=ident, thread_id=ident, from_=name, to=[to], body=body, created_at=tx.now)
    tx.put(doc, places.new(to, ident), places.outbox(name, ident))
    tx.record("mail.send", [ident])
    return ident

def take(tx):
    ident = tx.index.next_message(name)
    if ident is None:
        return None
    doc = tx.read(places.new(name, ident))
    assert doc is not None, ident
    tx.put({**doc, "state": "acked"}, places.archive(name, tx.now, ident))
    tx.delete(places.new(name, ident))
    tx.grant(places.read_lease(name, ident), me, 600)
    tx.record("mail.read", [ident])
    return ident

def main():
    n = 0
    store = Store.open(root, config, Host(), Disk(), backend)
    store.say = lambda text: log.write(f"said {text}\\n")
    while True:
        n += 1
        if random.random() < 0.1:
            store.close()
            store = Store.open(root, config, Host(), Disk(), backend)
            store.say = lambda text: log.write(f"said {text}\\n")
        if random.random() < 0.6:
            to = f"a{random.randrange(4)}"
            body = f"{name} {os.getpid()} {n}"
            log.write(f"try {to} {body}\\n")
            log.write(f"sent {store.transact(lambda tx: work(tx, to, body), me)} {to} {body}\\n")
        else:
            ident = store.transact(take, me)
            if ident:
                os.mkdir(f"{out}/read-{name}-{ident}")

try:
    main()
except KeyboardInterrupt:
    os._exit(130)
except BaseException as error:
    line = f"ended by {type(error).__module__}.{type(error).__name__}: {error}\\n"
    os.write(2, line.encode())
    os._exit(1)
'''


class Crowd:
    """Worker processes on one root, started again as they die."""

    def __init__(self, root: Path, out: Path, size: int, durability: str = "full") -> None:
        self.root, self.out, self.durability = root, out, durability
        out.mkdir()
        self.errors = os.open(out / "errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.running = [self.start(n) for n in range(size)]
        self.ended: Counter[int] = Counter()

    def start(self, n: int) -> subprocess.Popen[bytes]:
        """Start the ``n``-th worker."""
        backend = "portalocker" if n % 3 == 0 else ""
        words = [str(self.root), str(self.out), f"a{n % AGENTS}", str(random.random()), backend, self.durability]
        return subprocess.Popen([sys.executable, "-c", WORKER, *words], env=self.env, stderr=self.errors)

    def worry(self, seconds: float) -> None:
        """Kill, stop, interrupt and terminate workers at random for ``seconds``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            n = random.randrange(len(self.running))
            victim = self.running[n]
            number = random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP])
            victim.send_signal(number)
            time.sleep(random.random() * 0.05)  # the random moment is what is tried
            if number == signal.SIGSTOP:
                victim.send_signal(signal.SIGCONT)
            elif victim.poll() is not None or number == signal.SIGKILL:
                self.ended[victim.wait(20)] += 1
                self.running[n] = self.start(n)

    def stop(self) -> None:
        """End them all."""
        for worker in self.running:
            worker.kill()
        for worker in self.running:
            worker.wait(20)
        os.close(self.errors)

    def lines(self) -> list[list[str]]:
        """What they wrote down, a list of words a line."""
        paths = [path for path in self.out.iterdir() if path.is_file() and path.name != "errors"]
        return [line.split() for path in paths for line in path.read_text().splitlines()]


def look_over(root: Path, crowd: Crowd) -> None:
    """Nothing lost, doubled or out of order; the store is clean; nobody ended in an error of his own."""
    store = Store.open(str(root), configured(), Host(), Disk())
    store.say = print
    store.catch_up()
    found = survey.survey(store)
    assert found.clean, found.findings
    records = journaled(store)
    numbers = [record["seq"] for record in records]
    assert numbers == sorted(set(numbers))
    there = [(record["on"][0], record["put"][0][0]["body"]) for record in records if record["op"] == "mail.send"]
    assert len(dict(there)) == len(there) == len({body for _, body in there}), "something was done twice"
    lines = crowd.lines()
    told = {line[1]: " ".join(line[3:]) for line in lines if line[0] == "sent"}
    assert told and told.items() <= set(there) | told.items() and set(told.items()) <= set(there), "lost"
    tried = {" ".join(line[2:]) for line in lines if line[0] == "try"}
    assert {body for _, body in there} <= tried
    for line in lines:
        assert line[0] != "said" or "checkpoint" in line or "do not follow" in " ".join(line), line
    reads = Counter((record["by"], record["on"][0]) for record in records if record["op"] == "mail.read")
    assert reads and set(reads.values()) == {1}, "a message was handed out twice"
    seen = {tuple(path.name.split("-")[1:]) for path in crowd.out.iterdir() if path.name.startswith("read-")}
    assert seen <= set(reads)
    unread = {(f"a{n}", doc["msg_id"]) for n in range(AGENTS) for doc in store.documents(places.new_folder(f"a{n}"))}
    delivered = {(record["put"][0][0]["to"][0], record["on"][0]) for record in records if record["op"] == "mail.send"}
    assert unread == delivered - set(reads)
    errors = (crowd.out / "errors").read_text()
    crashes = [line for line in errors.splitlines() if line.startswith("ended by")]
    assert not crashes, errors[-3000:]
    store.close()


def begin(root: Path) -> None:
    """A store with the crowd's agents."""
    make(root, Host(), segment_size=60_000).close()
    store = Store.open(str(root), configured(), Host(), Disk())
    for n in range(AGENTS):
        store.transact(register(f"a{n}"), USER)
    store.close()


def monkey(tmp_path: Path, seconds: float, durability: str) -> None:
    """Sixteen processes send and read while a monkey kills, stops and interrupts them."""
    begin(tmp_path / "root")
    crowd = Crowd(tmp_path / "root", tmp_path / "out", 16, durability)
    try:
        crowd.worry(seconds)
    finally:
        crowd.stop()
    assert crowd.ended[-signal.SIGKILL]
    look_over(tmp_path / "root", crowd)


def test_a_crowd_that_is_killed_at_random(tmp_path: Path) -> None:
    """Whoever is killed, stopped or interrupted wherever: nothing is lost, done twice or out of order."""
    monkey(tmp_path, 6, "full")


@pytest.mark.long
@pytest.mark.parametrize("durability", ["full", "fast"])
def test_a_crowd_that_is_killed_for_a_minute(tmp_path: Path, durability: str) -> None:
    """The same for longer, and in ``fast``: only a machine's death may lose anything there."""
    monkey(tmp_path, 60, durability)


def test_doctor_and_rebuild_beside_a_crowd(tmp_path: Path) -> None:
    """Beside writers the doctor finds nothing, repairs nothing, and a rebuild changes nothing."""
    begin(tmp_path / "root")
    crowd = Crowd(tmp_path / "root", tmp_path / "out", 6)
    store = Store.open(str(tmp_path / "root"), configured(lock_wait=60), Host(), Disk())
    rounds = 0
    try:
        until = time.monotonic() + 6
        while time.monotonic() < until:
            found = survey.survey(store)
            assert found.clean, found.findings
            assert [f for f in repair.repair(store, USER) if f.kind not in ("leftover", "lease")] == []
            repair.rebuild(store)
            rounds += 1
    finally:
        crowd.stop()
    assert rounds
    look_over(tmp_path / "root", crowd)


# -- the lock ------------------------------------------------------------------------------------------------------


def test_a_forked_child_does_not_share_its_parents_lock(tmp_path: Path) -> None:
    """A child made by fork from a process with an open store has a lock and an index of its own."""
    store = make(tmp_path, Host(), lock_wait=0.05)
    store.transact(send("parent"), ANN)
    outcome = -1
    with store.locked():
        child = os.fork()
        if child == 0:
            store._inside = False
            try:
                store.transact(send("child"), ANN)
            except LockTimeout:
                os._exit(7)
            os._exit(0)
        outcome = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert outcome == 7, "the child had the lock that its parent held"
    child = os.fork()
    if child == 0:
        store.transact(send("child"), ANN)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.transact(send("parent again"), ANN)
    assert bodies(store) == ["parent", "child", "parent again"]
    assert survey.survey(store).clean


@contextmanager
def holding(store: Store) -> Iterator[None]:
    """Somebody else holds the lock."""
    other = Lock(store.lock.path, store.disk, store.host)
    other.open()
    other.take(1)
    try:
        yield
    finally:
        other.give_up()
        other.close()


@pytest.mark.parametrize("hands", [1, 2, 5, 6, 9])
def test_a_queue_that_moves_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hands: int) -> None:
    """A wait that is over goes on where others had the lock meanwhile, five times at most; a reader's does not."""
    store = make(tmp_path, Host())
    other = reopen(tmp_path, Host())
    real = flock.acquire
    waits: list[float] = []

    def others_first(fd: int, seconds: float, clock: Clock, shared: bool = False, portable: bool = False) -> bool:
        waits.append(seconds)
        busy.give_up()
        if len(waits) > hands:
            return real(fd, seconds, clock, shared, portable)
        other.transact(send("sooner"), ANN)
        busy.take(1)
        return False

    busy = Lock(store.lock.path, store.disk, store.host)
    busy.open()
    busy.take(1)
    monkeypatch.setattr(flock, "acquire", others_first)
    if hands <= 5:
        store.transact(send("later"), ANN)
    else:
        with pytest.raises(LockTimeout, match="not had within 60 s"):
            store.transact(send("later"), ANN)
    assert waits == [10.0] * min(hands + 1, 6)
    busy.give_up()
    waits.clear()
    busy.take(1)
    with pytest.raises(LockTimeout, match=r"not had within 0\.5 s"), store.locked(0.5):
        pass
    assert waits == [0.5]
    busy.close()


def test_a_wait_of_no_time_ends(tmp_path: Path) -> None:
    """However short the wait, and wherever its timer strikes, it ends; the caller's own timer and mask stay."""
    store = make(tmp_path, Host())
    store.lock.open()
    struck: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: struck.append(number))
    try:
        with holding(store):
            signal.setitimer(signal.ITIMER_REAL, 30)
            for wait in (0.0, 1e-5, 1e-4, 3e-4) * 100:
                with pytest.raises(LockTimeout):
                    store.lock.take(wait)
            assert 20 < signal.setitimer(signal.ITIMER_REAL, 0)[0] < 30
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            with pytest.raises(LockTimeout):
                store.lock.take(0.01)
            assert signal.SIGALRM in signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not struck


@pytest.mark.parametrize("backend", ["", "portalocker"])
def test_an_interrupted_wait_holds_nothing(tmp_path: Path, backend: str) -> None:
    """Ctrl-C while waiting for the lock ends the wait at once; the lock is free for others afterwards."""
    store = make(tmp_path, Host(), lock_wait=30, lock_backend=backend)
    with holding(store):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            store.transact(send("never"), ANN)
    with holding(store):
        pass
    store.transact(send("one"), ANN)
    assert bodies(store) == ["one"]


@pytest.mark.parametrize("backend", ["", "portalocker"])
def test_waiting_in_a_thread(tmp_path: Path, backend: str) -> None:
    """Beside the main thread the wait polls: it gets the lock when it is free, or ends in time."""
    make(tmp_path, Host()).close()
    outcomes: list[object] = []

    def work(wait: float) -> None:
        store = Store.open(str(tmp_path), configured(lock_wait=wait), Host(), Disk(), backend)
        try:
            outcomes.append(store.transact(send("thread"), ANN))
        except LockTimeout as error:
            outcomes.append(error)
        store.close()

    with holding(reopen(tmp_path, Host())):
        thread = threading.Thread(target=work, args=(0.05,))
        thread.start()
        thread.join()
        assert isinstance(outcomes.pop(), LockTimeout)
        thread = threading.Thread(target=work, args=(30,))
        thread.start()
    thread.join()
    assert isinstance(outcomes[0], str)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_a_transaction_waits_for_its_end(tmp_path: Path, number: int) -> None:
    """What would end the process is held back until the lock is released: the transaction is whole."""
    store = make(tmp_path, Host())
    struck: list[int] = []
    before = signal.signal(number, lambda *_: struck.append(len(journaled(store))))

    def decide(tx: Transaction) -> str:
        signal.pthread_kill(threading.get_ident(), number)  # the runner has threads of its own
        assert not struck
        return send("whole")(tx)

    try:
        count = len(journaled(store))
        store.transact(decide, ANN)
        assert struck == [count + 1]
    finally:
        signal.signal(number, before)


class Meddler(Disk):
    """A disk on which something happens once before or after an fsync."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None

    def sync(self, fd: int) -> None:
        """fsync, and what was asked for."""
        before, self.before = self.before, None
        if before:
            before()
        super().sync(fd)
        after, self.after = self.after, None
        if after:
            after()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lock_replaced_while_the_record_is_written(tmp_path: Path, when: str) -> None:
    """git takes the lock away in the middle of the append, and another process replays and writes: nothing is claimed."""
    disk = Meddler()
    store = make(tmp_path, Host(), disk)

    def meddle() -> None:
        (tmp_path / places.LOCK).unlink()
        other = reopen(tmp_path, Host())
        other.transact(send("other"), ANN)
        other.close()

    setattr(disk, when, meddle)
    with pytest.raises(Unknown, match="unknown"):
        store.transact(send("mine"), ANN)
    store.close()
    again = reopen(tmp_path, Host())
    again.transact(send("later"), ANN)
    assert bodies(again)[-2:] == ["other", "later"]
    assert survey.survey(again).clean


@pytest.mark.parametrize("replaced", [False, True])
def test_nobody_is_told_that_it_is_done_once_the_lock_is_another(tmp_path: Path, replaced: bool) -> None:
    """The lock file goes, or another comes, after the fsync, and nobody has written yet: whoever comes may cut it off."""
    disk = Meddler()
    store = make(tmp_path, Host(), disk)

    def meddle() -> None:
        (tmp_path / places.LOCK).unlink()
        if replaced:
            (tmp_path / places.LOCK).touch()

    disk.after = meddle
    with pytest.raises(Unknown, match=r"was deleted or replaced while it was locked.*whether record 4 stands"):
        store.transact(send("mine"), ANN)
    assert "mine" not in bodies(store), "it was published though somebody else may have the lock"


def test_a_lock_that_is_another_one_by_now_brings_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git replaces the file between open(2) and flock(2): two have a lock then, and this one touches nothing."""
    store = make(tmp_path, FakeHost())
    store.close()
    dying = reopen(tmp_path, FakeHost(), FaultyDisk(0, only="rename"))
    with pytest.raises(Killed):
        dying.transact(send("unpublished"), ANN)
    dying.close()
    take = Lock.take

    def taking(self: Lock, wait: float) -> None:
        (tmp_path / places.LOCK).rename(tmp_path / "was")
        (tmp_path / places.LOCK).write_bytes((tmp_path / "was").read_bytes())
        take(self, wait)

    monkeypatch.setattr(Lock, "take", taking)
    disk = RecordingDisk()
    late = reopen(tmp_path, FakeHost(), disk)
    with pytest.raises(WentBack, match="nothing was written"):
        late.catch_up()
    assert {call for call, path in disk.done if not path.endswith("/lock")} == set()


def test_a_journal_deleted_while_the_record_is_written(tmp_path: Path) -> None:
    """``git clean -fdx`` between the check and the append: not reported as done."""
    disk = Meddler()
    store = make(tmp_path, Host(), disk)
    disk.after = (tmp_path / places.LOGS / "000001.jsonl").unlink
    with pytest.raises(Unknown, match=r"it was deleted meanwhile"):
        store.transact(send("mine"), ANN)


def test_a_store_removed_while_waiting_for_its_lock(tmp_path: Path) -> None:
    """The whole folder goes while a command waits: exit 6, and nothing is made anew."""
    import shutil

    store = make(tmp_path, Host(), lock_wait=30)
    with holding(store):
        remove = threading.Timer(0.2, shutil.rmtree, (tmp_path / ".mailbox",))
        remove.start()
        release = threading.Timer(0.4, lambda: os.kill(os.getpid(), 0))
        release.start()
        remove.join()
    with pytest.raises(StoreError, match="git clean"):
        store.transact(send("never"), ANN)
    assert not (tmp_path / ".mailbox").exists()


def test_a_crowd_whose_store_is_cleaned_away(tmp_path: Path) -> None:
    """``git clean -fdx`` under running writers: each ends with the name of what happened; no second store appears."""
    begin(tmp_path / "root")
    crowd = Crowd(tmp_path / "root", tmp_path / "out", 6)
    try:
        until(lambda: len(crowd.lines()) >= 60, lambda: crowd.lines()[-3:], 60, crowd.out)
        git = ["git", "-C", str(tmp_path / "root")]
        subprocess.run([*git, "init", "-q"], check=True)
        while (tmp_path / "root/.mailbox/lock").exists():
            subprocess.run([*git, "clean", "-fdxq"], check=False, capture_output=True)
        assert [worker.wait(20) for worker in crowd.running] == [1] * 6
    finally:
        crowd.stop()
    ends = re.findall(r"^ended by mbox\.errors\.(\w+): (.*)", (tmp_path / "out/errors").read_text(), re.MULTILINE)
    assert len(ends) == 6, (tmp_path / "out/errors").read_text()[-3000:]
    assert all(kind == "NoStore" or "git clean" in text for kind, text in ends), "\n".join(map(str, ends))
    assert not (tmp_path / "root/.mailbox/lock").exists()
    assert not list((tmp_path / "root").glob(".mailbox/logs/*"))


def test_a_store_that_goes_while_its_lock_is_made_anew_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is gone and the journal is there, and then neither: between the two looks `git clean` went on."""
    store = make(tmp_path / "root", Host())
    store.transact(send("a"), ANN)
    os.unlink(store.lock.path)
    segments = Journal.segments

    def last_seen(journal: Journal) -> list[int]:
        found = segments(journal)
        shutil.rmtree(tmp_path / "root/.mailbox", ignore_errors=True)
        return found

    monkeypatch.setattr(Journal, "segments", last_seen)
    with pytest.raises(WentBack, match="git clean"):
        store.transact(send("b"), ANN)
    assert not (tmp_path / "root/.mailbox").exists()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; skipped where none can be mounted."""
    mount = tmp_path / "small"
    mount.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=900", "small", str(mount)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("a small file system needs root: faults of single calls stand in for it (test_store.py)")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


def test_a_file_system_without_inodes(small: Path) -> None:
    """Space is left, but no file can be made: the line says inodes, not space, and how to see them; nothing happened."""
    store = make(small / "root", Host())
    store.transact(send("a"), ANN)
    while os.statvfs(small).f_favail:
        (small / f"x{os.statvfs(small).f_favail}").touch()
    with pytest.raises(StoreError, match=r"no inodes are left on that file system.*`df -i`.*nothing happened"):
        store.transact(send("b"), ANN)
    (small / "x1").unlink()
    (small / "x2").unlink()
    (small / "x3").unlink()
    (small / "x4").unlink()
    store.transact(send("c"), ANN)
    assert bodies(store) == ["a", "c"]
    store.close()


def test_a_disk_that_fills_up(small: Path) -> None:
    """On a file system that is filled and freed at random: refused means not in the journal, done means in it."""
    dice = random.Random(7)
    root, ballast = small / "root", small / "ballast"
    store = make(root, Host(), segment_size=60_000)
    done: set[str] = set()
    refused: set[str] = set()
    while (len(done) < 60 or len(refused) < 60) and len(done | refused) < 4000:
        body = f"b{len(done | refused)} " + "y" * dice.choice([10, 10, 3000, 9000])
        if dice.random() < 0.2:
            ballast.unlink(missing_ok=True)
        elif dice.random() < 0.2:
            room = os.statvfs(small).f_bavail * 4096 - dice.choice([0, 0, 4096, 8192, 20_000])
            with pytest.MonkeyPatch.context(), open(ballast, "ab") as file:
                file.write(b"x" * max(room, 0))
        try:
            store.transact(send(body), ANN)
            done.add(body)
            if dice.random() < 0.3:
                store.transact(read(), ANN)
        except StoreError as error:
            assert "\n" not in str(error) and not isinstance(error, (Unknown, WentBack)), error
            if body not in done:
                refused.add(body)
        if dice.random() < 0.05:
            store.close()
            store = Store.open(str(root), configured(segment_size=60_000), Host(), Disk())
    ballast.unlink(missing_ok=True)
    store.catch_up()
    assert survey.survey(store).clean
    sent = {record["put"][0][0]["body"] for record in journaled(store) if record["op"] == "mail.send"}
    assert done and refused and done <= sent and not sent & refused
    store.close()
