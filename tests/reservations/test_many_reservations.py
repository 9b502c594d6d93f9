"""Very many reservations: so many and no more, and those of older versions are renewed in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit import ANN, BOB
from mbox.errors import NotYours, Refused
from mbox.format import places
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store.store import Store, Transaction
from mbox.tasks import lifecycle
from taskkit import USER, World


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


def reserve(w: World, path: str, task: str | None = None) -> str:
    """Let ann reserve a path, in a reservation of its own."""
    wanted = ReservationRequest([path], 600, task_id=task, fresh=True)
    return str(reserving.reserve(w.store, ANN, wanted)["reservation_id"])


def renewals(patch: pytest.MonkeyPatch) -> list[int]:
    """How many leases each transaction renews, from now on."""
    found: list[int] = []
    transact, renew = Store.transact, Transaction.renew

    def counted(self: Store, *args: Any) -> Any:
        found.append(0)
        return transact(self, *args)

    def renewed(self: Transaction, *args: Any) -> Any:
        found[-1] += 1
        return renew(self, *args)

    patch.setattr(Store, "transact", counted)
    patch.setattr(Transaction, "renew", renewed)
    return found


def left(w: World, rid: str) -> float:
    """Seconds that a reservation's lease has."""
    lease = w.store.load_lease(places.lease(rid))
    assert lease is not None
    return lease.left(w.host)


def test_an_agent_has_so_many_reservations_and_no_more(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few patterns they hold; giving back makes room, and others are not touched by it."""
    monkeypatch.setattr(reserving, "RESERVATIONS", 2)
    first, _ = reserve(w, "a"), reserve(w, "b")
    with pytest.raises(Refused, match="ann has 2 reservations, the most"):
        reserve(w, "c")
    reserving.reserve(w.store, BOB, ReservationRequest(["c"], 60))
    reserving.release(w.store, ANN, [first], [])
    reserve(w, "d")


def test_a_task_has_so_many_reservations_whoever_holds_them(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some may be kept from a round before, by somebody else."""
    task = w.add()
    w.claim(BOB, task)
    reserving.reserve(w.store, BOB, ReservationRequest(["b"], 600, task_id=task))
    lifecycle.submit(w.store, BOB, task, keep=True)
    w.verb("review", ANN, task)
    w.verb("reject", ANN, task)
    w.claim(ANN, task)
    reserve(w, "a", task)
    monkeypatch.setattr(reserving, "RESERVATIONS", 2)
    with pytest.raises(Refused, match=f"{task} has 2 reservations"):
        reserve(w, "c", task)


def test_those_of_a_task_are_renewed_in_parts(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is free in between, and all of them run from now."""
    task = w.add()
    w.claim(ANN, task)
    rids = [reserve(w, f"d{n}", task) for n in range(9)]
    monkeypatch.setattr(reserving, "RENEWED", 4)
    w.host.advance(100)
    found = renewals(monkeypatch)
    lifecycle.renew(w.store, ANN, task)
    assert found == [5, 5, 2] and all(left(w, rid) > 599 for rid in rids)


def test_reservations_are_renewed_in_parts_too(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By id and by pattern, each once and in order; where one is not the actor's, none is."""
    rids = [reserve(w, f"d{n}") for n in range(9)]
    other = reserving.reserve(w.store, BOB, ReservationRequest(["b"], 600))["reservation_id"]
    monkeypatch.setattr(reserving, "RENEWED", 4)
    w.host.advance(100)
    found = renewals(monkeypatch)
    with pytest.raises(NotYours):
        reserving.renew(w.store, ANN, [*rids, other], [])
    assert sum(found) == 0
    rows = reserving.renew(w.store, ANN, [*rids[:7], rids[0]], ["d8", "d7", "d0"])
    assert [row["reservation_id"] for row in rows] == rids and found[1:] == [4, 4, 1]
    assert all(left(w, rid) > 599 for rid in rids)
    assert len(reserving.renew(w.store, ANN.trial(), rids, [])) == 9


def test_who_loses_the_task_while_it_is_renewed_is_told(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest belongs to nobody any more."""
    task = w.add()
    w.claim(ANN, task)
    for n in range(9):
        reserve(w, f"d{n}", task)
    monkeypatch.setattr(reserving, "RENEWED", 4)
    plain, calls = Store.transact, list[int]()

    def transact(self: Store, *args: Any) -> Any:
        answer = plain(self, *args)
        calls.append(1)
        if len(calls) == 1:
            w.verb("cancel", USER, task)
        return answer

    monkeypatch.setattr(Store, "transact", transact)
    with pytest.raises(NotYours, match="cancelled"):
        lifecycle.renew(w.store, ANN, task)


def test_what_many_end_with_costs_no_more_each(w: World) -> None:
    """Each document is deleted, and each lease ended, once, in the order in which that was asked for."""
    paths = [places.reservation(f"r{n}") for n in range(30_000)]

    def decide(tx: Transaction) -> None:
        for _ in range(2):
            for path in paths:
                tx.delete(path)
                tx.end(places.lease(places.ident(path)))
        assert list(tx.deletions) == paths == tx.as_record()["del"] and len(tx.as_record()["lease"]) == len(paths)

    w.store.transact(decide, USER)
