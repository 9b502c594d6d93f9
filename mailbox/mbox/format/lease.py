"""Leases: data with an expiry and a token, never a lock.

A lease names the machine that granted it (``at``; empty in a store of one machine), and only that machine's clock judges
it: anywhere else it runs, for as long as its document carries its token.  On that machine it is live while
CLOCK_MONOTONIC has not reached ``mono_until``; under another boot wall time is all there is, and ``wall_until`` decides.
A lease whose token is not its document's is void, whatever its time.
Journals are pushed, and a boot id is a secret of the machine until the next one: ``machine`` is `Host.life`, from which it
cannot be told (older leases have `Host.machine`, and are judged as well).  (design, "Leases"; store.md, "Who shares what".)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mbox.system.host import Host

ELSEWHERE = 1e9
"""Seconds left of a lease that is not for this machine to judge: more than any lease has."""


class Lease(NamedTuple):
    """One lease file.  ``seconds`` is how long each renewal lasts."""

    id: str
    holder: str
    incarnation: int
    token: int
    machine: str
    mono_until: float
    wall_until: float
    seconds: float
    at: str = ""

    @classmethod
    def of(cls, doc: dict[str, Any]) -> Lease:
        """The lease in a document that was checked."""
        return cls(*(doc[name] for name in cls._fields))

    @classmethod
    def granted(cls, ident: str, holder: str, incarnation: int, token: int, seconds: float, host: Host) -> Lease:
        """A lease of ``seconds`` from now."""
        mono, wall = host.mono() + seconds, host.wall() + seconds
        return cls(ident, holder, incarnation, token, host.life, round(mono, 6), round(wall, 6), seconds,
                   host.name)  # fmt: skip

    def is_here(self, host: Host) -> bool:
        """Whether this machine granted it, and so may judge and renew it."""
        return self.at == host.name

    def left(self, host: Host) -> float:
        """Seconds until it runs out; 0 or less when it has; `ELSEWHERE` where another machine's clock judges it."""
        if self.at != host.name:
            return ELSEWHERE
        if self.machine == host.life or self.machine == host.machine:
            return self.mono_until - host.mono()
        return self.wall_until - host.wall()

    def renewed(self, host: Host) -> Lease:
        """The same lease from now on; never shorter than it was."""
        fresh = Lease.granted(self.id, self.holder, self.incarnation, self.token, self.seconds, host)
        return max(self, fresh, key=lambda lease: lease.left(host))

    def spared(self, host: Host, seconds: float) -> Lease:
        """The same lease, with ``seconds`` from now until it runs out."""
        return self._replace(mono_until=round(host.mono() + seconds, 6), wall_until=round(host.wall() + seconds, 6))

    def doc(self) -> dict[str, Any]:
        return {"schema": 1, **self._asdict()}
