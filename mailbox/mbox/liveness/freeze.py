"""A machine that stood still: what ran out meanwhile says nothing of whoever stood still with it.

A pause of a virtual machine or a container, or a SIGSTOP of everything, stops whoever beats, whoever judges, or both, while
CLOCK_MONOTONIC goes on.  Afterwards every heartbeat looks too old, and every lease that a wrapper renews has run out.

Promised: silence counts against an agent only for whoever has itself been awake for a ``heartbeat`` (`Awake`): in that
time a living wrapper is heard again.  A process that is gone is gone, whoever stood still.  A lease that ran out while its
holder's wrapper was silent, but is there, is spared for a ``heartbeat`` by whoever would have swept it (`spared`): once, or
twice where the pause was hardly longer than the lease.  A wrapper that wakes renews first and beats then, for its old beat
is what tells everybody of the pause.

Not promised: anything for a lease that nobody renews (by hand), since nothing tells whether its holder lives; nor for a
wrapper that wakes more than a ``heartbeat`` later than the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbox.agents import presence

if TYPE_CHECKING:
    from mbox.format.lease import Lease
    from mbox.store.state import State
    from mbox.system.host import Clock


class Awake:
    """Since when this process has been awake: its start, or the end of its last gap of more than ``gap`` seconds."""

    def __init__(self, clock: Clock, gap: float) -> None:
        self._clock, self.gap = clock, gap
        self.since = self.at = clock.mono()
        """CLOCK_MONOTONIC: awake since, and last seen awake."""

    def note(self, asked: float = 0.0) -> bool:
        """Note that this process is awake, after it asked to sleep for ``asked`` seconds; whether there was a gap."""
        now = self._clock.mono()
        gap = now - self.at > asked + self.gap
        if gap:
            self.since = now
        self.at = now
        return gap

    def go_on(self) -> None:
        """As `note`, where what was done since may have taken any time."""
        self.at = self._clock.mono()


def spared(store: State, lease: Lease) -> float:
    """For how many seconds a lease that has run out is left to its holder; 0 if it is not.

    It is where the holder's wrapper is there and had been silent for a heartbeat when the lease ran out, as nobody is who
    only does not renew; and not past the time that one renewal at the next beat would have given it, which ends it.
    """
    beat = presence.heartbeat(store, lease.holder)
    if beat is None or not beat["child"] or beat["incarnation"] != lease.incarnation or not lease.is_here(store.host):
        return 0.0
    if beat["machine"] != store.host.machine or presence.is_gone(beat) or not presence.counts_here(beat):
        return 0.0
    heartbeat = store.config.heartbeat
    silent_at = beat["mono"] + heartbeat
    return heartbeat if silent_at < lease.mono_until <= silent_at + lease.seconds else 0.0
