"""The wrappers that run, each by a descriptor that tells at once when it has ended (pidfd_open(2)).

Promised: whoever polls `Vigil.descriptors` beside other events wakes when one of those wrappers ends, however it ends, and
goes on waking until `Vigil.look` has told of it; a pid that is another's by now is not watched.  Not promised: anything where
there is no pidfd (macOS), nor of a wrapper in another pid namespace: those are noticed by the next scan.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mbox.agents import presence, registry
from mbox.system.processes import Identity, is_running

if TYPE_CHECKING:
    from mbox.store.store import Store


class Vigil:
    """A context manager; `look` says whom to watch from then on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[Identity] = set()
        self._open: dict[Identity, int] = {}

    def look(self) -> bool:
        """Watch every wrapper that is there; whether one has ended since the last look, or before it could be watched.

        So whoever looks at the dead after this misses nobody: who ends later wakes.
        """
        ended = self._ended()
        for one in ended:
            os.close(self._open.pop(one))
        known = {who for name in registry.known(self._store) if (who := self._wrapper(name))}
        gone = [who for who in known - self._known if not self._watch(who)]
        self._known = known
        return bool(ended or gone)

    def _wrapper(self, name: str) -> Identity | None:
        beat = presence.heartbeat(self._store, name)
        if beat is None or not beat["child"] or not beat["start_ticks"] or not presence.counts_here(beat):
            return None
        return Identity(beat["pid"], beat["start_ticks"]) if beat["machine"] == self._store.host.machine else None

    def _watch(self, who: Identity) -> bool:
        """Watch it if it is there, and if that can be done; whether it is there."""
        try:
            fd = os.pidfd_open(who.pid)
        except (AttributeError, OSError):  # there is no such call here, or it has ended
            return is_running(who)
        if is_running(who):
            self._open[who] = fd
            return True
        os.close(fd)
        return False

    @property
    def descriptors(self) -> Sequence[int]:
        """To be polled: each is readable once its process has ended."""
        return list(self._open.values())

    def _ended(self) -> list[Identity]:
        import select  # who only asks how the watchdog does never polls

        poll = select.poll()
        for fd in self._open.values():
            poll.register(fd, select.POLLIN)
        found = {fd for fd, _ in poll.poll(0)} if self._open else set()
        return [who for who, fd in self._open.items() if fd in found]

    def __enter__(self) -> Vigil:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
