"""Kernel locks on open files: taken if free, or waited for within a time.

Promised: flock(2) where it exists, waited for in the kernel's queue under an interval timer, because polling is unfair
(64 writers waited up to 5.3 s against 0.97 s); a timer of the caller's goes on afterwards.  In another thread than the
main one, or with ``portable`` (portalocker, where there is no flock), the lock is asked for again and again, 0.5 to
20 ms apart.  Not promised: an order among those who poll.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from mbox.errors import Usage

from .clock import inf

try:
    import fcntl
except ImportError:  # no flock on this platform: portalocker does it
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from .host import Clock

HAVE_FLOCK = hasattr(fcntl, "flock")

BACKENDS = ("flock", "portalocker")

AGAIN = 0.2
"""Seconds after which the timer of a wait strikes again: a first strike between two instructions can be missed."""


def is_portable(backend: str) -> bool:
    """Whether ``backend`` (what ``MBOX_LOCK`` says; empty: what this platform has) is portalocker; `Usage` if it is none."""
    if backend and backend not in BACKENDS:
        raise Usage(f"MBOX_LOCK={backend}: must be {' or '.join(BACKENDS)}")
    return backend == "portalocker" or not HAVE_FLOCK


def attempt(fd: int, shared: bool = False, portable: bool = False) -> bool:
    """Lock ``fd`` if that can be done at once; whether it was."""
    if portable:
        return _attempt_portalocker(fd, shared)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _attempt_portalocker(fd: int, shared: bool) -> bool:
    import portalocker

    flags = portalocker.LockFlags
    try:
        portalocker.lock(fd, (flags.SHARED if shared else flags.EXCLUSIVE) | flags.NON_BLOCKING)
    except portalocker.exceptions.LockException:
        return False
    return True


def acquire(fd: int, seconds: float, clock: Clock, shared: bool = False, portable: bool = False) -> bool:
    """Lock ``fd`` within ``seconds`` (`inf` for ever); whether that was done."""
    if attempt(fd, shared, portable):
        return True
    if seconds <= 0:
        return False
    if portable or threading.current_thread() is not threading.main_thread():
        return _poll(fd, seconds, clock, shared, portable)
    if seconds == inf:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        return True
    return _block(fd, seconds, clock, shared)


def _block(fd: int, seconds: float, clock: Clock, shared: bool) -> bool:
    import signal  # who gets the lock at once needs no timer

    waiting = True

    def out_of_time(_signal: int, _frame: object) -> None:
        if waiting:
            raise TimeoutError

    left, interval = signal.getitimer(signal.ITIMER_REAL)
    since = clock.mono()
    before = signal.signal(signal.SIGALRM, out_of_time)
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-4), AGAIN)
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        waiting = False
        return True
    except TimeoutError:
        waiting = False
        return attempt(fd, shared)
    finally:
        waiting = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGALRM, before)
        if left:  # the caller's own timer goes on
            signal.setitimer(signal.ITIMER_REAL, max(left - (clock.mono() - since), 1e-4), interval)


def _poll(fd: int, seconds: float, clock: Clock, shared: bool, portable: bool) -> bool:
    until, pause = clock.mono() + seconds, 0.0005
    while not attempt(fd, shared, portable):
        if clock.mono() >= until:
            return False
        clock.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def release(fd: int, portable: bool = False) -> None:
    """Give the lock on ``fd`` up, if it is had."""
    if not portable:
        fcntl.flock(fd, fcntl.LOCK_UN)
        return
    portalocker = sys.modules.get("portalocker")
    if portalocker is None:  # its import was interrupted, and is not begun again on the way out: nothing was locked
        return
    try:
        portalocker.unlock(fd)
    except portalocker.exceptions.LockException:  # it was not had
        pass
