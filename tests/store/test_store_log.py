"""The place for a log in front of the journal: asked before the journal, once a record, and believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import ANN, FakeHost, bodies, journaled, make, reopen, send, tree
from mbox.doctor import survey
from mbox.errors import StoreError
from mbox.journal.record import Moved
from mbox.store.store import Actor, Store, Transaction
from mbox.system.disk import TEMP


class Memory:
    """A log in memory that keeps the lines it took; refuses the next ``moved`` of them, or fails as told."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.lines: list[bytes] = []
        self.asked: list[tuple[int, int]] = []
        self.moved = 0
        self.error: StoreError | None = None

    def append(self, prev: int, seq: int, line: bytes) -> None:
        """As `Log.append`."""
        self.asked.append((prev, seq))
        if self.error:
            raise self.error
        if self.moved:
            self.moved -= 1
            raise Moved("another record came first")
        assert prev == self.end < seq
        self.end = seq
        self.lines.append(line)


def logged(root: Path, **settings: int) -> tuple[Store, Memory]:
    """A store with such a log in front of its journal."""
    store = make(root, **settings)
    store.log = log = Memory(store.tail.seq)
    return store, log


def lines(store: Store) -> list[bytes]:
    """Every line of the journal."""
    return [line for segment in store.journal.segments() for _, line in store.journal.lines(segment)]


def leftovers(root: Path) -> list[Path]:
    """What staging left."""
    return list(root.rglob(f"{TEMP}*"))


def test_the_log_gets_every_line_before_the_journal(tmp_path: Path) -> None:
    """Also the header of a new segment: byte for byte what the journal then has, each after the one before it."""
    store, log = logged(tmp_path, segment_size=2000)
    before = len(lines(store))
    for n in range(6):
        store.transact(send(f"body {n}"), ANN)
    assert len(store.journal.segments()) > 1
    assert log.lines == lines(store)[before:]
    assert all(b'"op":"store.checkpoint"' not in line for line in log.lines), "a checkpoint is of one disk alone"


@pytest.mark.parametrize("moved", [1, 5])
def test_a_log_that_moved_on_means_decide_again(tmp_path: Path, moved: int) -> None:
    """Nothing of the refused try is left, and the decision is taken anew from what is read then."""
    store, log = logged(tmp_path)
    log.moved, calls = moved, []

    def decide(tx: Transaction) -> str:
        calls.append(1)
        assert leftovers(tmp_path) == []
        return send("once")(tx)

    store.transact(decide, ANN)
    assert len(calls) == moved + 1 and bodies(store) == ["once"]
    assert [record["op"] for record in journaled(store)].count("mail.send") == 1 and len(log.lines) == 1
    assert survey.survey(store).clean


def test_a_segment_that_the_log_refuses_is_not_begun(tmp_path: Path) -> None:
    """The header of a segment is a record like any other."""
    store, log = logged(tmp_path, segment_size=1500)
    while store.tail.offset < 1500:
        store.transact(send("fill"), ANN)
    log.moved = 1
    store.transact(send("over"), ANN)
    assert store.journal.segments() == [1, 2] and len(log.asked) == len(log.lines) + 1
    assert survey.survey(store).clean


def test_a_log_that_never_stands_still(tmp_path: Path) -> None:
    """After so many tries: exit 6, nothing happened, nothing is left."""
    store, log = logged(tmp_path)
    log.moved = 1 << 30
    before, journal = tree(tmp_path), lines(store)
    with pytest.raises(StoreError, match="somebody else wrote first each time; nothing happened"):
        store.transact(send("never"), ANN)
    assert (tree(tmp_path), lines(store), leftovers(tmp_path), log.lines) == (before, journal, [], [])


def test_a_log_that_cannot_be_had(tmp_path: Path) -> None:
    """Its own word reaches the caller, and nothing happened here."""
    store, log = logged(tmp_path)
    log.error = StoreError("db.lan: no answer; nothing happened")
    before, journal = tree(tmp_path), lines(store)
    with pytest.raises(StoreError, match=r"db\.lan"):
        store.transact(send("never"), ANN)
    assert (tree(tmp_path), lines(store), leftovers(tmp_path)) == (before, journal, [])
    log.error = None
    store.transact(send("then"), ANN)
    assert bodies(store) == ["then"]


def test_what_is_of_this_disk_asks_no_log(tmp_path: Path) -> None:
    """A damaged document that the journal has, a checkpoint, a reading without effect: no line."""
    store, log = logged(tmp_path)
    ident = store.transact(send("whole"), ANN)
    path = tmp_path / ".mailbox/inbox/bob/new" / f"{ident}.json"
    path.unlink()
    path.write_text("{ not json")
    log.lines.clear()
    assert store.transact(lambda tx: tx.read(f".mailbox/inbox/bob/new/{ident}.json"), Actor("user:x"))
    assert log.lines == [] and path.read_text() != "{ not json"


def test_a_lease_of_another_machine_is_not_judged_here(tmp_path: Path) -> None:
    """Only the machine that granted it says that it ran out, whatever the clocks of another show."""
    laptop, desk = Named("laptop"), Named("desk")
    store = make(tmp_path, laptop)
    path = ".mailbox/leases/r9.json"
    store.transact(lambda tx: (tx.grant(path, ANN, 60.0), tx.record("test", []))[0], ANN)
    lease = store.load_lease(path)
    assert lease and lease.at == "laptop" and 0 < lease.left(laptop) <= 60
    for host in (laptop, desk):
        host.advance(10 * 3600)
    assert lease.left(laptop) < 0 < lease.left(desk)
    desk.reboot()
    assert lease.left(desk) > 0
    laptop.reboot()
    assert lease.left(laptop) < 0, "another boot of the same machine: by the clock on the wall"
    other = reopen(tmp_path, desk)
    assert not other.transact(lambda tx: tx.live(path, 1), ANN), "the token decides all the same"


class Named(FakeHost):
    """A machine with a name, as in a store that several share."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
