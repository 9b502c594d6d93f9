"""A folder of waiters full of what is none: whoever waits neither reads nor removes all of it with the lock held."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kit import ANN, BOB
from mbox.errors import Refused
from mbox.format import places
from mbox.reservations import reserving, waiting
from mbox.reservations.reserving import ReservationRequest
from taskkit import USER, World


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann, bob and rae, in which ann holds a."""
    found = World(tmp_path)
    reserving.reserve(found.store, ANN, ReservationRequest(["a"], 600))
    return found


def junk(w: World, count: int, form: str, data: str = "{}") -> Path:
    """So many files where waiters' stand."""
    folder = w.root / places.WAITS
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (folder / form.format(n=n)).write_text(data)
    return folder


def stand(w: World) -> None:
    """Let bob, who holds b, wait for a."""
    wish = waiting.Waiter("bob", ["a"], False)
    w.store.transact(waiting.Line(w.store, wish).stand, BOB)


@pytest.mark.parametrize("form", ["x{n}@{n}.json", "ann@{n}.json"])
def test_a_look_comes_to_so_many_files(w: World, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And removes so many; the next goes on, until all that is dead is gone."""
    monkeypatch.setattr(waiting, "LOOKED", 40 * 4096)
    folder = junk(w, 100, form)
    left = [100]
    while left[-1] > 0 and len(left) < 9:
        stand(w)
        left.append(len(os.listdir(folder)) - 1)
        assert left[-2] - left[-1] <= 41
    assert left[-1] == 0 and len(left) <= 5


def test_large_files_count_for_what_they_are(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large for any waiter is removed unread."""
    monkeypatch.setattr(waiting, "LOOKED", 100_000)
    folder = junk(w, 20, "x@{n}.json", json.dumps({"a": ["x"] * 8000}))
    stand(w)
    assert len(os.listdir(folder)) > 15
    large = junk(w, 1, "y@{n}.json", "[" * (waiting.REMEMBERED + 1))
    w.store.transact(waiting.waiting, USER)
    assert len(os.listdir(large)) < 20


def test_a_circle_is_seen_through_any_number_of_others(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose reservations are in the way are looked at first."""
    monkeypatch.setattr(waiting, "LOOKED", 40 * 4096)
    reserving.reserve(w.store, BOB, ReservationRequest(["b"], 600))
    stand(w)
    junk(w, 200, "aaa{n}@{n}.json")
    junk(w, 200, "zzz{n}@{n}.json")
    with pytest.raises(Refused, match="circular wait"):
        w.store.transact(waiting.Line(w.store, waiting.Waiter("ann", ["b"], False)).stand, ANN)
