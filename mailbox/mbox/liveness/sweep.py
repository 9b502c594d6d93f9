"""Expiry without a daemon: whoever writes next, sweeps.

One transaction handles one thing that has run out, so that each has a record of its own in the journal; a command
handles at most `store.SWEEPS`.  The index says what may be due; the lease file, or the message, decides.  A lease
with nothing leased under it is void and is only forgotten; a leased document whose lease file is gone, or carries
another token than it, is given the default time from now, the first look (design, "Leases").  What ran out only because
everything stood still is spared for a moment (`freeze`).
"""

from __future__ import annotations

from mbox.format import places
from mbox.mail import reading
from mbox.reservations import reserving
from mbox.store.store import Transaction
from mbox.tasks import lifecycle

from .freeze import spared


def sweep(tx: Transaction) -> bool:
    """Handle one expiry; whether there was one."""
    due = tx.index.due(1)
    if not due:
        return False
    path = due[0]
    if path.startswith(places.INBOX):
        agent = path.split("/")[2]
        if not reading.expire(tx, agent, places.ident(path)):
            tx.forget_lease(path)
        return True
    lease = tx.lease(path)
    if lease is not None and lease.left(tx.store.host) > 0:
        tx.still_runs(path, lease)
        return True
    if lease is not None and (seconds := spared(tx.store, lease)):
        tx.spare(path, lease, seconds)
        return True
    kind, first, second = places.lease_kind(path), *_split(path)
    if kind == "task":
        handled = lifecycle.lease_ran_out(tx, first, lease)
    elif kind == "review":
        handled = lifecycle.review_ran_out(tx, first, lease)
    elif kind == "reservation":
        handled = reserving.lease_ran_out(tx, first, lease)
    else:
        handled = reading.lease_ran_out(tx, second, first, lease)
    if not handled:
        tx.forget_lease(path)
    return True


def _split(path: str) -> tuple[str, str]:
    first, _, second = places.ident(path).partition("@")
    return first, second
