"""Expiry without a daemon: whoever writes next, sweeps.

One transaction handles one thing that has run out, so that each has a record of its own in the journal; a command
handles at most `store.SWEEPS`.  The index says what may be due; the lease file, or the message, decides.  A lease
whose document no longer carries its token is void and is only forgotten; a leased document whose lease file is gone
is given the default time from now, the first look (design, "Leases").
"""

from __future__ import annotations

from mbox.tasks import lifecycle as tasks
from mbox.reservations import reserving as reservations
from mbox.mail import sending as mail
from mbox.format import places
from mbox.store.store import Store, Transaction


def sweep(tx: Transaction) -> bool:
    """Handle one expiry; whether there was one."""
    due = tx.index.due(1)
    if not due:
        return False
    path = due[0]
    if path.startswith(places.INBOX):
        _, _, agent, _, name = path.split("/")
        if not mail.expire(tx, agent, name[:-5]):
            tx.index.forget_lease(path)
        return True
    lease = tx.lease(path)
    if lease is not None and lease.left(tx.store.host) > 0:
        tx.store.note_lease(path, lease)
        return True
    kind, first, second = places.lease_kind(path), *_split(path)
    if kind == "task":
        handled = tasks.lease_ran_out(tx, first, lease)
    elif kind == "review":
        handled = tasks.review_ran_out(tx, first, lease)
    elif kind == "reservation":
        handled = reservations.lease_ran_out(tx, first, lease)
    else:
        handled = mail.lease_ran_out(tx, second, first, lease)
    if not handled:
        _forget(tx.store, path)
        tx.index.forget_lease(path)
    return True


def _split(path: str) -> tuple[str, str]:
    first, _, second = places.ident(path).partition("@")
    return first, second


def _forget(store: Store, path: str) -> None:
    """Remove a void lease file: its document is not leased, or under another token."""
    store.disk.discard(store.absolute(path))
