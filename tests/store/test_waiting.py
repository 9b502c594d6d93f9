"""The one wait loop, by a clock and a watcher with a script: what it sees, when it looks, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from kit import ANN, FakeHost, FaultyDisk, Killed, make, reopen, send
from mbox.errors import LockTimeout, StoreError
from mbox.format import places
from mbox.store import waiting
from mbox.store.store import Store
from mbox.store.waiting import CHECK, SOON, Watch, journal_paths, until


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Iterator[Store]:
    """A store with ann and bob."""
    made = make(tmp_path, host)
    yield made
    made.close()


class Script:
    """Wakes at given times, or lets the time pass; what happens then is run first."""

    def __init__(self, host: FakeHost, *events: tuple[float, bool, Callable[[], object]]) -> None:
        self.host, self.began = host, host.mono()
        self.events = list(events)
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        """Whether an event of the script wakes within ``seconds``."""
        self.waits.append(seconds)
        now = self.host.mono() - self.began
        if self.events and self.events[0][0] <= now + seconds:
            when, wakes, event = self.events.pop(0)
            self.host.advance(max(0.0, when - now))
            event()
            if wakes:
                return True
            seconds -= max(0.0, when - now)
        self.host.advance(seconds)
        return False


class Look:
    """What is looked for: nothing until ``there`` is set; and when it was looked."""

    def __init__(self, host: FakeHost) -> None:
        self.host, self.began = host, host.mono()
        self.times: list[float] = []
        self.there: str | None = None

    def __call__(self) -> str | None:
        """What is there."""
        self.times.append(self.host.mono() - self.began)
        return self.there

    def come(self) -> None:
        """From now on it is there."""
        self.there = "it"


def test_what_is_there_is_had_without_waiting(store: Store, host: FakeHost) -> None:
    """One look, no wait; also with no time at all."""
    for seconds in (0, 10, inf):
        look, script = Look(host), Script(host)
        look.come()
        assert until(store, script, look, seconds) == "it"
        assert (look.times, script.waits) == ([0], [])


def test_a_wake_makes_it_look_at_once(store: Store, host: FakeHost) -> None:
    """At the moment of the change, not at the next time that is due; a wake without a reason is waited over."""
    look = Look(host)
    script = Script(host, (1.5, True, lambda: None), (3.25, True, look.come))
    assert until(store, script, look, 60) == "it"
    assert look.times == [0, 1.5, 3.25]


def test_what_no_event_tells_is_seen_within_five_seconds(store: Store, host: FakeHost) -> None:
    """Where a change makes no event, it is looked every `CHECK` seconds."""
    look = Look(host)
    assert until(store, Script(host, (7, False, look.come)), look, 60) == "it"
    assert look.times == [0, CHECK, 2 * CHECK]


def test_the_deadline_is_kept_and_looked_at(store: Store, host: FakeHost) -> None:
    """None at the deadline by the host's clock, after a last look; what came just before it is found."""
    look = Look(host)
    assert until(store, Script(host), look, 12) is None
    assert look.times == [0, 5, 10, 12]
    look = Look(host)
    assert until(store, Script(host, (11.9, False, look.come)), look, 12) == "it"
    assert look.times[-1] == 12


def test_without_a_deadline_it_waits_for_ever(store: Store, host: FakeHost) -> None:
    """Hours in which nothing happens."""
    look = Look(host)
    assert until(store, Script(host, (9000, False, look.come)), look) == "it"


def test_it_looks_when_something_is_due_and_not_before(store: Store, host: FakeHost) -> None:
    """Who says when a look is due is not asked every five seconds; only mark and journal are compared then."""
    look, began = Look(host), host.mono()
    script = Script(host, (43, True, look.come))
    assert until(store, script, look, 600, lambda: began + (17 if host.mono() < began + 17 else 100)) == "it"
    assert look.times == [0, 17, 43]
    assert max(script.waits) <= CHECK


def test_what_is_due_and_cannot_be_done_does_not_spin(store: Store, host: FakeHost) -> None:
    """A due time in the past is looked at again after `SOON`, not at once and for ever."""
    look = Look(host)
    assert until(store, Script(host), look, 1, lambda: 0.0) is None
    assert len(look.times) <= 1 / SOON + 2


def dies_before_publishing(root: Path, host: FakeHost) -> None:
    """A command that commits a message to bob and is killed before anybody can see it."""
    with pytest.raises(Killed):
        reopen(root, host, FaultyDisk(0, only="rename")).transact(send("x", to="bob"), ANN)


@pytest.mark.parametrize("when", [None, 8.0])
def test_what_a_dead_command_committed_is_not_slept_over(
    store: Store, host: FakeHost, tmp_path: Path, when: float | None
) -> None:
    """Committed before the wait or during it, with no event at all: it is published by who waits, within `CHECK`."""
    began = host.mono()

    def look() -> list[str] | None:
        return store.names(places.new_folder("bob")) or None

    if when is None:
        dies_before_publishing(tmp_path, host)
    assert store.names(places.new_folder("bob")) == []
    events = [] if when is None else [(when, False, lambda: dies_before_publishing(tmp_path, host))]
    assert until(store, Script(host, *events), look, 600, lambda: inf)
    assert host.mono() - began <= (0 if when is None else when + CHECK)
    assert not store.is_behind()


def test_what_is_published_during_the_look_is_not_slept_over(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look just before a writer's mark, which nothing wakes for: the files did not follow before it, so it is repeated."""
    look = Look(host)
    monkeypatch.setattr(Store, "is_behind", lambda store: look.there is None)

    def just_before() -> str | None:
        found = look()
        look.come()
        return found

    assert until(store, Script(host), just_before, 60) == "it"
    assert look.times == [0, 0]


def test_the_lock_is_taken_only_for_what_is_not_published(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wakes, whatever their number, take no lock while the files follow the journal."""
    taken: list[int] = []
    monkeypatch.setattr(Store, "catch_up", lambda store: taken.append(1))
    events = [(n / 4, True, lambda: None) for n in range(40)]
    assert until(store, Script(host, *events), Look(host), 20) is None
    assert taken == []


def busy(store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on the files do not follow and the lock is not to be had; what the store says."""
    said: list[str] = []
    store.say = said.append

    def catch_up(_store: Store) -> None:
        host.advance(10)
        raise LockTimeout("lock: held by pid 77 (stopped)")

    monkeypatch.setattr(Store, "is_behind", lambda store: True)
    monkeypatch.setattr(Store, "catch_up", catch_up)
    return said


def test_a_lock_that_is_not_had_ends_a_wait_that_has_an_end(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LockTimeout`, which names the holder, and not a time that ran out."""
    busy(store, host, monkeypatch)
    with pytest.raises(LockTimeout, match="pid 77"):
        until(store, Script(host), Look(host), 600)


def test_who_waits_for_ever_is_told_once_and_goes_on(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog and `log --follow` outlive a stopped writer."""
    said, look = busy(store, host, monkeypatch), Look(host)
    assert until(store, Script(host, (95, False, look.come)), look) == "it"
    assert said == ["lock: held by pid 77 (stopped)"]


def test_a_root_that_vanishes_ends_it(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """Exit 6 at the next comparison, though no event came, and nothing is made in its place."""

    def vanish() -> None:
        os.rename(tmp_path / ".mailbox", tmp_path / "elsewhere")

    with pytest.raises(StoreError) as gone:
        until(store, Script(host, (2, False, vanish)), Look(host), 600, lambda: inf)
    assert gone.value.exit == 6
    assert not (tmp_path / ".mailbox").exists()


# -- the watch -----------------------------------------------------------------------------------------------------


class Watchers:
    """Stands for `Watcher`: notes who is made and closed, and wakes when told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, list[str]]] = []
        self.wakes: list[bool] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, paths: list[str], *_: Any) -> Any:
        self.log.append(("made", paths))
        self.meanwhile()
        outer = self

        class Made:
            def wait(self, seconds: float) -> bool:
                return outer.wakes.pop(0)

            def close(self) -> None:
                outer.log.append(("closed", paths))

        return Made()


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> Watchers:
    """In the place of the real ones."""
    made = Watchers()
    monkeypatch.setattr("mbox.system.watch.Watcher", made)
    return made


def test_other_paths_are_watched_from_then_on(store: Store, watchers: Watchers) -> None:
    """When what is to be watched is another file by now, that is a change, and the old watch is given back."""
    paths = ["a"]
    with Watch(store, lambda: list(paths)) as watch:
        watchers.wakes = [False, True, False, False]
        assert [watch.wait(5), watch.wait(5)] == [False, True]
        paths[:] = ["b"]
        assert [watch.wait(5), watch.wait(5)] == [True, False]
    assert watchers.log == [("made", ["a"]), ("closed", ["a"]), ("made", ["b"]), ("closed", ["b"])]


def test_paths_that_change_while_the_watch_is_made(store: Store, watchers: Watchers) -> None:
    """The folder came to be between the look for it and the watch: it is watched all the same."""
    paths = ["a"]
    watchers.meanwhile = lambda: paths.__setitem__(0, "b")
    Watch(store, lambda: list(paths)).close()
    assert [path for what, path in watchers.log if what == "made"] == [["a"], ["b"]]
    assert watchers.log[-1] == ("closed", ["b"])


def test_how_changes_are_learned_of_is_said_once(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """Also where one watch follows another; and polling goes by the host's clock."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    said: list[str] = []
    store.say, store.watching = said.append, "auto"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mbox.system.filesystem.is_network", lambda kind: True)
        paths = [str(folders[0])]
        with Watch(store, lambda: list(paths)) as watch:
            began = host.mono()
            assert not watch.wait(12)
            assert host.mono() - began == 12
            paths[:] = [str(folders[1])]
            assert watch.wait(1)
    assert len(said) == 1 and "changes are looked for every 1 to 5 s" in said[0]


def test_a_new_segment_is_watched(store: Store, tmp_path: Path) -> None:
    """Of the journal, the segment that is written to is named itself: polling sees a write only in a named file."""
    folder = f"{tmp_path}/{places.LOGS}"
    end = store.end()
    assert journal_paths(store) == [folder, store.journal.path(end.segment)]
    store.end = lambda: end._replace(segment=end.segment + 1)  # type: ignore[method-assign]
    assert journal_paths(store) == [folder, store.journal.path(end.segment + 1)]


def test_the_loop_is_cheap_to_import() -> None:
    """What waits loads its back end when it waits, and not before."""
    import subprocess
    import sys

    script = (
        "import sys, mbox.store.waiting; heavy = {'mbox.system.watch', 'inotify_simple', 'watchfiles', 'ctypes', "
        "'subprocess', 'threading', 'pathlib', 'mbox.store.store'}; print(sorted(heavy & set(sys.modules)))"
    )
    package = str(Path(waiting.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": package}
    )
    assert done.stdout == "[]\n"
