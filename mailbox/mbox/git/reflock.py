"""git's lock on the audit ref: one process of ours moves the ref at a time, and what a dead one left is taken away.

git moves a ref under a file of its own, ``REF.lock``, beside the ref.  A git that is killed leaves it, and from then on no
git moves that ref.  Whose it is, and whether that one still lives, the file does not say; so, in the order of the system
calls, and what a death after each leaves:

1.  flock(2) the git folder itself: no file is made for it.  git's process has the same descriptor, so that the lock is had
    until both have ended, however they do.  *Nothing.*
2.  Note in ``.mailbox/cache/auditing`` which ref is moved to which object, and when.  *A note of what did not happen.*
3.  ``git update-ref``.  *Perhaps git's lock: empty, or with the name of that object in it.*
4.  Remove the note, close the descriptor.

Whoever has the lock of 1 and finds git's, knows that no process of ours is in it.  It is a dead one's if an earlier note
speaks of this ref, the file is not older than that note, and there stands in it what our git would have written.  That one is
taken away.  Any other is a foreign git's: that is waited for, `PATIENCE` seconds, and then named with the mend.

Where the refs are kept in tables (git-init(1), ``--ref-format=reftable``) git's lock is one for all of them,
``reftable/tables.list.lock``: any git may have left it, and what stands in it does not tell, so it is nobody's of ours.

Promised: a lock of a living process is never taken away.  Not promised: that a dead one's is known for ours once the note
is gone (the cache was emptied), or where another store (a copy) left it: then it is named, as a foreign one.

The note is also where the last failure stands, for `mbox status`: it is removed by the next commit that succeeds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from mbox.errors import LockTimeout, MboxError, StoreError, doing
from mbox.format import documents, places
from mbox.store.store import Store
from mbox.system import clock, flock
from mbox.system.disk import disk_for, read_bytes

from .repository import around

PATIENCE = 2.0
"""Seconds that a lock of git's must have stood before it is anybody's but a living git's, which has one for milliseconds."""

OID = 256
"""Bytes of what git writes into its lock at most."""


TABLES = "/reftable/tables.list.lock"
"""git's lock on all refs, where they are kept in tables."""


class Try(NamedTuple):
    """The last try: which ref was to point to which object, since when, and why it failed."""

    ref: str = ""
    new: str = ""
    at: float = 0.0
    why: str = ""

    @classmethod
    def noted(cls, store: Store) -> Try:
        """What was noted; nothing where there is no note that can be read."""
        doc = store.remembered(places.AUDITING) or {}
        try:
            return cls(str(doc["ref"]), str(doc["new"]), float(doc["at"]), str(doc["why"]))
        except (LookupError, TypeError, ValueError):
            return cls()

    def note(self, store: Store) -> None:
        store.put_ephemeral(places.AUDITING, documents.compact(self._asdict()).encode())

    def left(self, lock: str, ref: str) -> bool:
        """Whether the file ``lock`` is one that this try of moving ``ref`` left, if it has died."""
        try:
            told, made = read_bytes(lock, OID).decode("ascii", "replace").strip(), os.lstat(lock).st_mtime
        except OSError:
            return False
        is_of_ref = not lock.endswith(TABLES)
        return is_of_ref and self.ref == ref and bool(self.new) and told in ("", self.new) and made >= self.at - _grain(made)


def _grain(made: float) -> float:
    """Seconds by which a file's time may lie before the clock's: a tick, or what a file system of whole seconds cuts off."""
    return 1.0 if made == int(made) else 0.02


class Stale(NamedTuple):
    """A lock of git's that has stood too long: its path, and whether it is one of ours, whose process has died."""

    path: str
    ours: bool

    @property
    def problem(self) -> str:
        if self.ours:
            return "git's lock on the audit ref, left by an audit commit that died"
        what = "all refs" if self.path.endswith(TABLES) else "the audit ref, which no audit commit of this store left"
        return (
            f"git's lock on {what}: no audit commit can be made until it is gone; "
            f"once no git runs there: `rm {self.path}`"
        )


@contextmanager
def moving(store: Store, folder: str, ref: str, new: str) -> Iterator[int]:
    """While ``ref`` of the git ``folder`` is moved to ``new``: a descriptor that git's process is to have too.

    `LockTimeout` where another audit commit is in it for as long as a lock is waited for, `StoreError` where a foreign git's
    lock stands.
    """
    with _alone(store, folder, store.config.lock_wait) as fd:
        if stale := _stale(store, folder, ref):
            if not stale.ours:
                raise StoreError(f"{ref} could not be moved: {stale.path}: {stale.problem}; nothing was changed")
            take_away(store, stale)
        with doing("noting which ref is moved"):
            Try(ref, new, store.host.wall()).note(store)
        yield fd


def take_away(store: Store, stale: Stale) -> None:
    """Remove a dead one's lock, and say so; with the lock on the git folder had."""
    with doing("taking away what a dead git left", stale.path):
        disk_for(os.path.dirname(stale.path)).unlink(stale.path)
    store.say(f"{stale.path}: {stale.problem}; taken away")


def ended(store: Store) -> None:
    """Note that nothing is in the way any more."""
    store.disk.discard(store.absolute(places.AUDITING))


def failed(store: Store, why: str) -> None:
    """Note why a commit failed, as far as there is room for that, and a repository that it could have been made in."""
    with suppress(MboxError, OSError):
        if around(store.root) is not None:
            last = Try.noted(store)
            last._replace(why=why, at=last.at or store.host.wall()).note(store)


def look(store: Store, repair: bool = False) -> Stale | None:
    """The lock on the audit ref that stands too long; ``repair``: one of ours is taken away.

    None where an audit commit of ours is under way, or there is no repository that may be used.
    """
    with suppress(MboxError, OSError):
        found = around(store.root)
        if found is not None and os.path.lexists(_lock_of(found.common, store.config.audit_ref)):
            with _alone(store, found.common, 0.0):
                stale = _stale(store, found.common, store.config.audit_ref)
                if stale and stale.ours and repair:
                    disk_for(found.common).unlink(stale.path)
                return stale
    return None


def trouble(store: Store) -> str:
    """What `mbox status` says where the last audit commit did not succeed; nothing where it did."""
    last = Try.noted(store)
    if not last.at:
        return ""
    ago = clock.span(max(0.0, store.host.wall() - last.at))
    if last.why:
        return f"the last audit commit failed, first {ago} ago: {last.why}"
    return f"an audit commit {ago} ago did not come to its end; `mbox audit commit` goes on" if _is_free(store) else ""


# -- who is in it ------------------------------------------------------------------------------------------------------


@contextmanager
def _alone(store: Store, folder: str, wait: float) -> Iterator[int]:
    """The one process of ours that moves a ref in the git ``folder``: the descriptor to hand on to git."""
    with doing("opening the git folder", folder):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    try:
        if not flock.acquire(fd, wait, store.host, portable=flock.is_portable(store.locking)):
            raise LockTimeout(f"{folder}: another audit commit is moving a ref there since {wait:g} s; nothing was changed")
        yield fd
    finally:
        os.close(fd)


def _is_free(store: Store) -> bool:
    try:
        found = around(store.root)
        if found is None:
            return False
        with _alone(store, found.common, 0.0):
            return True
    except (MboxError, OSError):
        return False


def _stale(store: Store, folder: str, ref: str) -> Stale | None:
    """The lock on ``ref`` if it has stood for `PATIENCE`, or is known for a dead one's; waits until that is known."""
    lock, host = _lock_of(folder, ref), store.host
    last, seen, since = Try.noted(store), _seen(lock), host.mono()
    end = since + 3 * PATIENCE
    while seen and host.mono() < end:
        whole = seen[2] > 0 and last.left(lock, ref)  # an empty one may be a foreign git's, which is about to write into it
        if whole or host.mono() - since >= PATIENCE or host.wall() - seen[1] >= PATIENCE:
            return Stale(lock, last.left(lock, ref))
        host.sleep(0.02)
        now = _seen(lock)
        if now != seen:
            seen, since = now, host.mono()
    return None


def _lock_of(folder: str, ref: str) -> str:
    """Where git locks ``ref`` in its ``folder``."""
    return f"{folder}{TABLES}" if os.path.isdir(f"{folder}/reftable") else f"{folder}/{ref}.lock"


def _seen(lock: str) -> tuple[int, float, int] | None:
    """Which file stands there: inode, time and length; None for none."""
    try:
        info = os.lstat(lock)
    except OSError:
        return None
    return info.st_ino, info.st_mtime, info.st_size
