"""Waiting for something in the store: one loop for mail, answers, reservations, tasks, the log and the watchdog.

Promised: the watch (`Watch`) stands before the first look, so that whatever comes after is seen, in the look or in a wake,
which comes within milliseconds where the system tells of changes and after 1, 2, 4, then every 5 s where it does not
(`mbox.system.watch`).  What was committed by a command that died before publishing is not slept over: before each look,
and every `CHECK` seconds while nothing wakes, the mark is compared with the journal; if they differ and the look is in
vain, the lock is taken once, for another look.  Nobody looks oftener than something changes or is due, and `SOON` apart
where what is due cannot be done.  A root that vanishes ends every wait with StoreError (exit 6), and nothing is made anew
in its place.

Not promised: that a wake has a reason; an order among those who wait for the same thing.

A deadline is by the host's CLOCK_MONOTONIC: a suspended machine does not use it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from mbox.errors import Corrupt, LockTimeout, NoStore, StoreError, WentBack
from mbox.format import places
from mbox.system.clock import inf

if TYPE_CHECKING:
    from types import TracebackType

    from .store import Store


T = TypeVar("T")

CHECK = 5.0
"""Seconds between two comparisons of mark and journal while nothing wakes."""

SOON = 0.01
"""Seconds after which is looked again for what is due already."""


class Waker(Protocol):
    """What wakes; the tests hand in one with a script."""

    def wait(self, seconds: float) -> bool:
        """Whether something changed, or may have, within ``seconds``; StoreError if the store vanished."""
        ...


class Watch:
    """Wakes when any of ``paths`` changes.  A context manager, standing once it is made.

    ``paths`` is asked again after each wait: where it names others, those are watched from then on, and that counts as a
    change.  How changes are learned of is the store's to say, and said once where that is by polling.
    """

    __slots__ = ("_paths", "_say", "_store", "_watched", "_watcher")

    def __init__(self, store: Store, paths: Callable[[], list[str]]) -> None:
        self._store = store
        self._paths = paths
        self._say = store.say
        self._register()

    def _register(self) -> None:
        from mbox.system.watch import Watcher

        store = self._store
        while True:
            self._watched = self._paths()
            self._watcher = Watcher(self._watched, store.watching, store.config.poll, self._say, store.host)
            self._say = _say_nothing
            if self._paths() == self._watched:
                return
            self._watcher.close()

    def wait(self, seconds: float, also: Sequence[int] = ()) -> bool:
        """Whether something changed, or may have, within ``seconds``, or a descriptor in ``also`` can be read.

        StoreError if the store vanished.
        """
        changed = self._watcher.wait(seconds, also) if also else self._watcher.wait(seconds)
        if self._paths() == self._watched:
            return changed
        self._watcher.close()
        self._register()
        return True

    def close(self) -> None:
        """Give back what the watch holds, which may take 10 ms: print first.  Twice is harmless."""
        self._watcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _say_nothing(_text: str) -> None:
    pass


def journal_paths(store: Store) -> list[str]:
    """What changes with every record, for a `Watch`: polling sees a write only in the segment itself."""
    return [store.absolute(places.LOGS), store.journal.path(store.end().segment)]


def until(store: Store, waker: Waker, look: Callable[[], T | None], seconds: float = inf,
          due: Callable[[], float] | None = None) -> T | None:  # fmt: skip
    """What ``look`` finds, as soon as it is not None; None after ``seconds``, when it was looked for a last time.

    ``look`` is called at once, when something changed, and when it is ``due`` (CLOCK_MONOTONIC; every `CHECK` seconds
    unless said).  A lock that cannot be had to catch up raises `LockTimeout`; who waits for ever, or was answered from the
    journal before, is told and goes on with what the journal says.
    """
    mono = store.host.mono
    end = mono() + seconds
    while True:
        behind = not store.is_in_order()  # before the look: what is published between the two is in the look
        if not behind:
            store.view = None
        found = look()
        if found is None and behind:
            _bring_up(store, seconds)
            found = look()
        if found is not None:
            return found
        now = mono()
        if now >= end:
            return None
        _sleep(store, waker, min(end, max(due() if due else now + CHECK, now + SOON)))


def _bring_up(store: Store, seconds: float) -> None:
    """Have the files brought up; where that cannot be, go on with what the journal says by now, as `until` has it."""
    answered = store.view is not None
    try:
        store.catch_up()
    except StoreError as error:
        if isinstance(error, (WentBack, Corrupt, NoStore)) or (isinstance(error, LockTimeout) and not answered and seconds < inf):
            raise
        store.answer_from_journal()
        if not answered:
            store.say(str(error))


def _sleep(store: Store, waker: Waker, at: float) -> None:
    """Return when something may have changed, at ``at`` at the latest."""
    while (left := at - store.host.mono()) > 0:
        if waker.wait(min(left, CHECK)) or not store.is_in_order():
            return
