"""Waiting for what others have reserved, never in a circle.

Promised: a circle of agents that all wait, each for a reservation of the next, does not come about: whoever
would close it is refused, with the circle named (exit 2, ``refused:``).  Who waits is woken when the
reservation in its way ends, and when its lease runs out.  Who waits to claim a given task waits for its
paths.  Not promised: an order among waiters; and agents that wait for something else than a reservation (a
message, a named lock, a task without paths) are not seen.

Files: ``cache/waits/<agent>@<pid>.json``, one for each process that waits: agent, patterns, mode; and pid,
start time, pid namespace, machine and CLOCK_MONOTONIC, by which others tell a dead waiter.  It is written
by the waiter itself, under the store's lock, in the same decision that found it blocked; so of two that
would block each other the second sees the first.  It is removed when waiting ends.  Nothing else is kept:
what each waiter waits for is worked out anew from its patterns and the reservations that stand, at each
look, under the lock.  Reservations that came with a task are like any other.

A circle can also close while nobody starts to wait (an agent that waits, in another process, takes
something): so every waiter looks again at each wake, at least every `LOOK` seconds, and the first that sees
the circle is refused. These looks are commands of the waiter too: they renew what it holds.

What a crash leaves: the file of a dead waiter.  It does not count from the moment its process is gone
(where that can be seen, else `STALE` seconds after its last look), and the next waiter that meets it
removes it.  The folder may be deleted at any time; every waiter writes its file again at its next look.

A look reads the files of those agents first that are in its way, and of the others as many as it may
(`LOOKED`): of a folder full of what is no waiter each look removes a part, and the lock is not held for
all of it.  So a circle through an agent with hundreds of such files may be seen a few looks later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mbox.errors import MboxError, Refused, TimedOut
from mbox.format import places
from mbox.index.answers import Held
from mbox.store.files import FILE, REMEMBERED
from mbox.store.state import State
from mbox.store.store import Actor, Store, Transaction
from mbox.system.clock import span
from mbox.system.proc import start_ticks

from .conflicts import Blocked, blockers, canonical, each_once, guessed
from .guard import is_held
from .reserving import ReservationRequest, reserve

if TYPE_CHECKING:
    from mbox.store.waiting import Waker, Watch

LOOK = 20.0
"""Seconds after which a waiter looks again, whatever it is told."""

STALE = 3 * LOOK
"""Seconds after its last look at which a waiter does not count any more."""

LOOKED = 2 << 20
"""Bytes of waiters' files that one look reads, a file counting as `FILE` more."""


class Waiter(NamedTuple):
    """What an agent waits for: to reserve ``patterns``."""

    agent: str
    patterns: list[str]
    shared: bool


class Line:
    """One process that waits for its ``wish``.  A context manager, entered before the first try.

    It is woken by ``waker``; unless one is given, by a watch on the reservations, made when the first try is blocked.
    """

    __slots__ = ("_path", "_registered", "_waker", "_watch", "store", "wish")

    def __init__(self, store: Store, wish: Waiter, waker: Waker | None = None) -> None:
        self.store = store
        self.wish = wish
        self._path = places.waits(wish.agent, os.getpid())
        self._waker = waker
        self._watch: Watch | None = None
        self._registered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if self._watch is not None:
            self._watch.close()

    def until(self, attempt: Callable[[], Any], timeout: float) -> Any:
        """What ``attempt`` returns once it is not `Blocked` any more; `TimedOut` after ``timeout`` seconds.

        ``attempt`` must call `stand` under the lock when it is blocked.
        """
        from mbox.store.waiting import until

        store, mono = self.store, self.store.host.mono
        end = mono() + timeout
        blocked: Blocked | None = None
        again = 0.0

        def look() -> tuple[Any] | None:
            nonlocal blocked, again
            if blocked and mono() < again and is_held(store, blocked.held):
                return None
            try:
                return (attempt(),)
            except Blocked as error:
                if mono() < end and (blocked is None or blocked.held.rid != error.held.rid):
                    store.say(f"waiting for {error.who}")
                blocked, again = error, min(end, mono() + LOOK, mono() + max(error.left, 0.0) + 0.001)
                return None

        found = look() or until(store, self._woken_by(), look, end - mono(), lambda: again)
        if found is None:
            assert blocked is not None
            raise TimedOut(f"not had within {span(timeout)}: {blocked.who}")
        return found[0]

    def stand_for(self, tx: Transaction, patterns: list[str]) -> None:
        """`stand`, for ``patterns`` that are known only now; who waits for none cannot be in a circle."""
        if not patterns:
            tx.discard(self._path)
            return
        self.wish = self.wish._replace(patterns=each_once(self.store, patterns, tx.effort))
        self.stand(tx)

    def stand(self, tx: Transaction) -> None:
        """Under the lock: refuse to close a circle, else register as one who waits, until the wait is left."""
        found = circle(tx, self.wish)
        if found:
            steps = ", ".join(
                f"{who} waits for {held.rid} of {held.agent} ({held.pattern})" for who, held in found
            )
            raise Refused(f"a circular wait: {steps}; release what the others wait for, then try again")
        host = self.store.host
        doc = {**self.wish._asdict(), **host.process(), "machine": host.machine, "mono": host.mono()}
        tx.post(self._path, json.dumps(doc).encode() + b"\n")
        self._registered = True

    def leave(self) -> None:
        """Wait no more."""
        if self._registered:
            self.store.disk.discard(self.store.absolute(self._path))
            self._registered = False

    def _woken_by(self) -> Waker:
        """Who waits watches from here on; another look before it sleeps sees what ended meanwhile."""
        if self._waker is None:
            from mbox.store.waiting import Watch

            self._waker = self._watch = Watch(self.store, lambda: [self.store.absolute(places.RESERVATIONS)])
        return self._waker


def wait_and_reserve(
    store: Store, actor: Actor, wanted: ReservationRequest, timeout: float, waker: Waker | None = None
) -> Any:
    """`reserve`, waiting up to ``timeout`` seconds for what is in the way."""
    wish = Waiter(actor.name, canonical(store, wanted.patterns), wanted.shared)
    with Line(store, wish, waker) as line:
        return line.until(lambda: reserve(store, actor, wanted, waiting=line.stand), timeout)


def circle(tx: Transaction, wish: Waiter) -> list[tuple[str, Held]]:
    """Who waits for what of whom, from ``wish`` back to its own agent; empty if that closes no circle."""
    others = _Others(tx)
    ways: list[tuple[Waiter, list[tuple[str, Held]]]] = [(wish, [])]
    seen = {wish.agent}
    for one, way in ways:  # which grows: breadth first, so the shortest circle is named
        for held in blockers(tx, one.agent, one.patterns, one.shared):
            if guess := guessed(tx.effort):
                raise Refused(f"whether it would be a circular wait {guess}")
            step = [*way, (one.agent, held)]
            if held.agent == wish.agent:
                return step
            if held.agent not in seen:
                seen.add(held.agent)
                ways += [(other, step) for other in others.of(held.agent)]
    for _ in others.all():  # which removes what the dead left
        pass
    return []


def waiting(tx: Transaction) -> list[Waiter]:
    """What is waited for at this moment, by every live waiter that one look comes to."""
    return list(_Others(tx).all())


class _Others:
    """What others wait for at this moment, read as it is asked for; the files of dead waiters are removed."""

    __slots__ = ("_files", "_left", "_tx")

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._left = LOOKED
        self._files: dict[str, list[str]] = {}
        for name in sorted(tx.names(places.WAITS), reverse=True):
            self._files.setdefault(name.rpartition("@")[0], []).append(name)

    def of(self, agent: str) -> Iterator[Waiter]:
        """Each live waiter of ``agent`` that was not looked at yet, as far as this look may read."""
        names = self._files.get(agent, [])
        while names and self._left > 0:
            path = f"{places.WAITS}/{names.pop()}"
            found = self._read(path, agent)
            if found:
                yield found
            else:
                self._tx.discard(path)

    def all(self) -> Iterator[Waiter]:
        """The same of every agent."""
        for agent in self._files:
            yield from self.of(agent)

    def _read(self, path: str, agent: str) -> Waiter | None:
        store = self._tx.store
        self._left -= FILE
        try:
            self._left -= min(os.lstat(store.absolute(path)).st_size, REMEMBERED)
            doc = store.remembered(path) or {}
            if doc["agent"] == agent and _is_live(store, doc):
                return Waiter(agent, each_once(store, doc["patterns"], self._tx.effort), bool(doc["shared"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, MboxError):
            pass
        return None


def _is_live(store: State, doc: dict[str, Any]) -> bool:
    """Whether the process that wrote ``doc`` is still there, as far as this process can tell."""
    host = store.host
    if doc["machine"] != host.machine or not -1 <= host.mono() - doc["mono"] < STALE:
        return False
    mine = host.process()
    if not mine["start"] or doc["pidns"] != mine["pidns"]:
        return True  # no /proc, or another container: its last look has to do
    return bool(start_ticks(doc["pid"]) == doc["start"])
