"""Waiting for mail: `wait`, `watch`, and the answers to a question.

Promised: what is in the inbox when the waiting begins, and all that comes after, is seen (`mbox.store.waiting`).
Nothing here changes a message: waiting leaves mail unread.

Answers are found in the journal, not in the inbox, so that it makes no difference who has read them meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbox.format import places
from mbox.format.documents import Document
from mbox.store.store import Actor, Store
from mbox.store.waiting import Waker, Watch, until
from mbox.system.clock import inf, stamp

from . import inbox, reading
from .inbox import ANY, MailFilter

if TYPE_CHECKING:
    from .questions import Answers

SHOWN = 20
"""Headers that `wait` prints at most."""


def inbox_watch(store: Store, agent: str) -> Watch:
    """A watch that wakes when a name in an agent's ``new/`` changes.

    An inbox that nobody has written to yet has no folder; then the nearest folder above is watched until it has.
    """
    top, target = store.absolute(places.MAILBOX), store.absolute(places.new_folder(agent))

    def nearest() -> list[str]:
        path = target
        while path != top and not os.path.isdir(path):
            path = os.path.dirname(path)
        return [path]

    return Watch(store, nearest)


# -- wait and watch ----------------------------------------------------------------------------------------------


class Arrivals:
    """The unread mail of ``agent`` that is ``wanted``, as `look` first sees it; with ``new`` only from now on.

    Mail that comes back (a lease ran out, a dead letter was retried) arrives again.
    """

    def __init__(self, store: Store, agent: str, wanted: MailFilter = ANY, new: bool = False, limit: int = 0) -> None:
        self._store, self._agent, self._wanted, self._limit = store, agent, wanted, limit
        self._since = (store.read(places.agent(agent)) or {}).get("incarnation_since") or ""
        self._known = self._standing() if new else set()

    def _standing(self) -> set[str]:
        return set(places.idents(self._store.names(places.new_folder(self._agent))))

    def look(self) -> list[Document] | None:
        """The headers of what has arrived since the last look, by priority, then age; None if nothing has."""
        there = self._standing()
        fresh = there - self._known
        if not fresh:
            self._known = there
            return None
        found = inbox.unread(self._store, self._agent, self._wanted, self._known, self._limit)
        self._known = there | {doc["msg_id"] for doc in found}
        now = stamp(self._store.host.wall())
        return [inbox.header(doc, now, self._since) for doc in found] or None


def wait(store: Store, agent: str, waker: Waker, wanted: MailFilter = ANY, new: bool = False,
         timeout: float = 100) -> list[Document] | None:  # fmt: skip
    """The headers of unread mail that is ``wanted``: at once if there is some; None after ``timeout`` seconds (0: never)."""
    return until(store, waker, Arrivals(store, agent, wanted, new, SHOWN).look, timeout or inf)


def watch(store: Store, agent: str, waker: Waker, wanted: MailFilter = ANY, new: bool = False) -> Iterator[Document]:
    """The header of each message as it is delivered, for ever; those that are unread already come first."""
    arrivals = Arrivals(store, agent, wanted, new)
    while True:
        yield from until(store, waker, arrivals.look) or []


def take(store: Store, actor: Actor, waker: Waker, wanted: MailFilter, limit: int, timeout: float) -> list[Document] | None:
    """Read up to ``limit`` messages that are ``wanted`` as soon as there are any; None when time ran out."""
    arrivals = Arrivals(store, actor.name, wanted)

    def look() -> list[Document] | None:
        there = arrivals.look()
        return (reading.read_many(store, actor, limit, wanted) or None) if there else None

    return until(store, waker, look, timeout or inf)


def gather(store: Store, waker: Waker, answers: Answers, timeout: float) -> list[Document] | None:
    """All answers to a question once enough have come; None after ``timeout`` seconds (0: never)."""
    return until(store, waker, answers.look, timeout or inf)
