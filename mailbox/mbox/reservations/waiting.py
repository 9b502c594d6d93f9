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
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mbox.format import places
from mbox.errors import MboxError, Refused, TimedOut
from mbox.reservations.guard import is_held
from mbox.system.host import start_ticks
from mbox.index.queries import Held
from mbox.reservations.reserving import Blocked, Wanted, blockers, canonical, reserve, span
from mbox.store.store import Actor, Store, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore

LOOK = 20.0
"""Seconds after which a waiter looks again, whatever it is told."""

PEEK = 5.0
"""Seconds after which it looks, without the lock, whether something committed is not published yet."""

STALE = 3 * LOOK
"""Seconds after its last look at which a waiter does not count any more."""

Pause = Callable[[Blocked, float], None]


class Wish(NamedTuple):
    """What an agent waits for: to reserve ``patterns``."""

    agent: str
    patterns: list[str]
    shared: bool


class Line:
    """One process that waits for its ``wish``.  A context manager, entered before the first try.

    ``pause`` waits up to so many seconds for a change; the tests hand one in.
    """

    __slots__ = ("_path", "_pause", "_registered", "_watch", "store", "wish")

    def __init__(self, store: OpenStore, wish: Wish, pause: Pause | None = None) -> None:
        self.store = store
        self.wish = wish
        self._path = places.waits(wish.agent, os.getpid())
        self._pause = pause or self._watched
        self._watch: Any = None
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
        end = self.store.host.mono() + timeout
        told = None
        while True:
            try:
                return attempt()
            except Blocked as blocked:
                left = end - self.store.host.mono()
                if left <= 0:
                    raise TimedOut(f"not had within {span(timeout)}: {blocked.who}") from None
                if told != blocked.held.rid:
                    told = blocked.held.rid
                    self.store.say(f"waiting for {blocked.who}")
                self._pause(blocked, min(left, LOOK, max(blocked.left, 0.0) + 0.001))

    def stand_for(self, tx: Transaction, patterns: list[str]) -> None:
        """`stand`, for ``patterns`` that are known only now; who waits for none cannot be in a circle."""
        if not patterns:
            self.leave()
            return
        self.wish = self.wish._replace(patterns=canonical(self.store, patterns))
        self.stand(tx)

    def stand(self, tx: Transaction) -> None:
        """Under the lock: refuse to close a circle, else register as one who waits."""
        found = circle(tx, self.wish)
        if found:
            self.leave()
            steps = ", ".join(
                f"{who} waits for {held.rid} of {held.agent} ({held.pattern})" for who, held in found
            )
            raise Refused(f"a circular wait: {steps}; release what the others wait for, then try again")
        store = self.store
        doc = {
            **self.wish._asdict(),
            **store.host.process(),
            "machine": store.host.machine,
            "mono": store.host.mono(),
        }
        store.check_folder(places.WAITS)
        store.disk.folders(store.absolute(places.WAITS))
        store.disk.replace(store.absolute(self._path), json.dumps(doc).encode() + b"\n")
        self._registered = True

    def leave(self) -> None:
        """Wait no more."""
        if self._registered:
            self.store.disk.discard(self.store.absolute(self._path))
            self._registered = False

    def _watched(self, blocked: Blocked, seconds: float) -> None:
        """Return when the reservation in the way is gone, or after ``seconds``."""
        host = self.store.host
        end = host.mono() + seconds
        if self._watch is None:
            from mbox.system.watch import Watcher

            store, folder = self.store, self.store.absolute(places.RESERVATIONS)
            self._watch = Watcher([folder], store.watch_backend, store.config.poll, store.say)
        while is_held(self.store, blocked.held) and not self.store.is_behind():
            left = end - host.mono()
            if left <= 0:
                return
            self._watch.wait(min(left, PEEK))


def wait_and_reserve(
    store: OpenStore, actor: Actor, wanted: Wanted, timeout: float, pause: Pause | None = None
) -> Any:
    """`reserve`, waiting up to ``timeout`` seconds for what is in the way."""
    wish = Wish(actor.name, canonical(store, wanted.patterns), wanted.shared)
    with Line(store, wish, pause) as line:
        return line.until(lambda: reserve(store, actor, wanted, waiting=line.stand), timeout)


def circle(tx: Transaction, wish: Wish) -> list[tuple[str, Held]]:
    """Who waits for what of whom, from ``wish`` back to its own agent; empty if that closes no circle."""
    others = waiting(tx)
    ways: list[tuple[Wish, list[tuple[str, Held]]]] = [(wish, [])]
    seen = {wish.agent}
    for one, way in ways:  # which grows: breadth first, so the shortest circle is named
        for held in blockers(tx, one.agent, one.patterns, one.shared):
            step = [*way, (one.agent, held)]
            if held.agent == wish.agent:
                return step
            if held.agent not in seen:
                seen.add(held.agent)
                ways += [(other, step) for other in others if other.agent == held.agent]
    return []


def waiting(tx: Transaction) -> list[Wish]:
    """What is waited for at this moment, by every live waiter; the files of dead ones are removed."""
    store, found = tx.store, []
    for name in sorted(tx.names(places.WAITS)):
        path = f"{places.WAITS}/{name}"
        try:
            doc = json.loads(store.bytes_of(path))
            live = _is_live(store, doc)
            wish = Wish(str(doc["agent"]), canonical(store, doc["patterns"]), bool(doc["shared"]))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, LookupError, TypeError, AttributeError, MboxError):
            live = False
        if live:
            found.append(wish)
        else:
            store.disk.discard(store.absolute(path))
    return found


def _is_live(store: Store, doc: dict[str, Any]) -> bool:
    """Whether the process that wrote ``doc`` is still there, as far as this process can tell."""
    host = store.host
    if doc["machine"] != host.machine or not -1 <= host.mono() - doc["mono"] < STALE:
        return False
    mine = host.process()
    if not mine["start"] or doc["pidns"] != mine["pidns"]:
        return True  # no /proc, or another container: its last look has to do
    return bool(start_ticks(doc["pid"]) == doc["start"])
