"""Leases: data with an expiry and a token, never a lock.

A lease is live while CLOCK_MONOTONIC has not reached ``mono_until``, on the machine that wrote it; on another machine
(after a reboot) wall time is all there is, and ``wall_until`` decides.  A lease whose token is not its document's is
void, whatever its time.  (design, "Leases".)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mbox.system.host import Host


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

    @classmethod
    def of(cls, doc: dict[str, Any]) -> Lease:
        return cls(*(doc[name] for name in cls._fields))

    @classmethod
    def granted(cls, ident: str, holder: str, incarnation: int, token: int, seconds: float, host: Host) -> Lease:
        """A lease of ``seconds`` from now."""
        mono, wall = host.mono() + seconds, host.wall() + seconds
        return cls(ident, holder, incarnation, token, host.machine, round(mono, 6), round(wall, 6), seconds)

    def left(self, host: Host) -> float:
        """Seconds until it runs out; 0 or less when it has."""
        if self.machine == host.machine:
            return self.mono_until - host.mono()
        return self.wall_until - host.wall()

    def renewed(self, host: Host) -> Lease:
        """The same lease from now on; never shorter than it was."""
        fresh = Lease.granted(self.id, self.holder, self.incarnation, self.token, self.seconds, host)
        return max(self, fresh, key=lambda lease: lease.left(host))

    def doc(self) -> dict[str, Any]:
        return {"schema": 1, **self._asdict()}
