"""A change in a watched folder wakes who waits for it; none that comes after the watcher is made is missed.

Promised (`design.md` section 4, "Wake-up"): the watch stands when the constructor returns, so that a caller
who lists afterwards has every change in the listing or in `Watcher.wait`.  A folder changes when a name in it
comes, goes or is replaced; a file when it is written to.  Where events come, a write to a file wakes who
watches its folder, too; polling sees it only of a file that is named itself.  Names that start with a dot are
temporary and wake nobody.  Not promised: that every wake is a change; look, and wait again.

Three back ends: ``inotify`` (Linux; milliseconds, nothing to do while idle), ``watchfiles`` (elsewhere; the
system's own events, fetched every `STEP` ms), ``poll`` (1 → 2 → 4 → 5 s, where events do not come: network
file systems, drives of a virtual machine's host, watch limit reached; said once).  What a signal handler
raises (KeyboardInterrupt) ends a wait; a signal without a handler ends the process, as ever.

A watched folder that is deleted, moved or unmounted ends the wait with StoreError, at once where an event
tells, else within `LOOK` seconds.  Nothing is ever made anew.  This module writes nothing.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from mbox.errors import StoreError, Usage

from .host import REAL, Clock

BACKENDS = ("auto", "inotify", "watchfiles", "poll")
BACKOFF = (1.0, 2.0, 4.0, 5.0)

LOOK = 5.0
"""Seconds between looks at whether all is still there, where no event tells (a folder above was moved)."""

LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}
"""What inotify(7) says when the user has too many watches or watchers."""

STEP = 100
"""Milliseconds between looks of `watchfiles` at its events.  It wakes after one or two; idle, each costs CPU:
at 100 it is 0.03 to 0.05 s a minute, at 20 five times as much."""


class Backend(Protocol):
    """One way to wait.  Made, it is registered."""

    def wait(self, timeout: float | None, also: Sequence[int] = ()) -> bool:
        """Whether something may have changed; False at the timeout, or before it for no reason."""
        ...

    def close(self) -> None: ...


class Watcher:
    """Waits for a change of any of ``paths``, which must exist.  A context manager; `wait` may be repeated.

    ``say`` is called at most once, with the reason, where the back end that was asked for cannot be had.
    Leaving takes some 10 ms with inotify (the kernel waits for its readers): print first.
    """

    __slots__ = ("_backend", "_clock", "_paths", "_seen", "backend")

    def __init__(
        self,
        paths: Sequence[str],
        backend: str = "auto",
        backoff: Sequence[float] = BACKOFF,
        say: Callable[[str], object] = lambda text: None,
        clock: Clock = REAL,
    ) -> None:
        if backend not in BACKENDS:
            raise Usage(f"MBOX_WATCH={backend}: must be {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}")
        self._clock = clock
        self._paths = list(paths)
        self._seen = [_identity(path) for path in self._paths]
        self.backend, reason = _choice(self._paths, backend)
        try:
            self._backend = _made(self.backend, self._paths, backoff, clock)
        except (OSError, ImportError, RuntimeError) as error:
            limit = LIMITS.get(getattr(error, "errno", None) or 0)
            reason = f"watch limit reached, raise {limit}" if limit else f"{self.backend}: {error}"
            self.backend, self._backend = "poll", _Polling(self._paths, backoff, clock)
        if reason:
            say(f"changes are looked for every {backoff[0]:g} to {backoff[-1]:g} s ({reason})")

    def wait(self, timeout: float | None, also: Sequence[int] = ()) -> bool:
        """True when something changed or may have; False after ``timeout`` seconds (None: never).

        A descriptor in ``also`` that can be read counts as a change (`watchfiles`: within a second).  StoreError if
        something that is watched is gone.
        """
        end = None if timeout is None else self._clock.mono() + timeout
        while True:
            left = None if end is None else max(0.0, end - self._clock.mono())
            changed = self._backend.wait(left, also)
            self._still_there()
            if changed:
                return True
            if end is not None and self._clock.mono() >= end:
                return False

    def _still_there(self) -> None:
        for path, seen in zip(self._paths, self._seen, strict=True):
            if _identity(path) != seen:
                raise _vanished(path)

    def close(self) -> None:
        """Give back what the watch holds.  Twice is harmless."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _state(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise _vanished(path) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be watched: {error.strerror}") from error


def _identity(path: str) -> tuple[int, int]:
    state = _state(path)
    return state.st_dev, state.st_ino


def _vanished(path: str) -> StoreError:
    return StoreError(
        f"the store at {path} vanished (deleted, moved or unmounted; git clean, checkout and stash do that); "
        "put it back, or `mbox audit restore`"
    )


def _choice(paths: list[str], backend: str) -> tuple[str, str]:
    """The back end to use, and why it is polling although nobody asked for that."""
    if backend != "auto":
        return backend, ""
    from .filesystem import filesystem, is_network

    for path in paths:
        kind = filesystem(path)
        if is_network(kind):
            return "poll", f"{path} is on {kind}, which does not report every change"
    return ("inotify" if sys.platform == "linux" else "watchfiles"), ""


def _made(backend: str, paths: list[str], backoff: Sequence[float], clock: Clock) -> Backend:
    if backend == "inotify":
        return _Inotify(paths)
    if backend == "watchfiles":
        return _Watchfiles(paths)
    return _Polling(paths, backoff, clock)


def _readable(descriptors: Sequence[int], seconds: float) -> bool:
    """Whether any of them can be read within that time."""
    import select

    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return bool(descriptors and poll.poll(-(-seconds * 1000 // 1)))


class _Inotify:
    """inotify(7): the kernel queues what happens, and waiting is one poll(2)."""

    __slots__ = ("_inotify", "_paths")

    def __init__(self, paths: list[str]) -> None:
        from inotify_simple import INotify, flags

        mask = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.MODIFY
        mask |= flags.DELETE_SELF | flags.MOVE_SELF
        self._inotify = INotify()
        try:
            self._paths = {self._inotify.add_watch(path, mask): path for path in paths}
        except BaseException:
            self._inotify.close()
            raise

    def wait(self, timeout: float | None, also: Sequence[int] = ()) -> bool:
        from inotify_simple import flags

        seconds = LOOK if timeout is None else min(timeout, LOOK)
        changed = False
        if also:
            _readable([self._inotify.fileno(), *also], seconds)
            changed, seconds = _readable(also, 0), 0
        for event in self._inotify.read(timeout=-(-seconds * 1000 // 1)):
            if event.mask & (flags.DELETE_SELF | flags.IGNORED | flags.UNMOUNT):
                raise _vanished(self._paths[event.wd])
            changed = changed or not event.name.startswith(".")
        return changed

    def close(self) -> None:
        self._inotify.close()


class _Watchfiles:
    """The package `watchfiles`, whose loop runs in a thread of ours.

    In a thread, because that loop makes a KeyboardInterrupt of whatever a signal handler raises.  It asks at
    each step whether to stop; that it asks says that the watch stands.
    """

    __slots__ = ("_changed", "_closed", "_error", "_paths", "_registered", "_thread")

    def __init__(self, paths: list[str]) -> None:
        from threading import Event, Thread

        self._paths = paths
        self._closed = False
        self._error: Exception | None = None
        self._changed = Event()
        self._registered = Event()
        self._thread = Thread(target=self._run, name="mbox-watch", daemon=True)
        self._thread.start()
        try:
            self._registered.wait()
        except BaseException:
            self._closed = True
            raise
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            self._error = error
        self._registered.set()
        self._changed.set()

    def _loop(self) -> None:
        from watchfiles import watch

        for _ in watch(
            *self._paths, watch_filter=self._counts, stop_event=self, debounce=STEP, step=STEP,
            rust_timeout=0, recursive=False, force_polling=False, ignore_permission_denied=False, debug=False,
        ):  # fmt: skip
            self._changed.set()

    def _counts(self, change: object, path: str) -> bool:
        return path in self._paths or not os.path.basename(path).startswith(".")

    def is_set(self) -> bool:
        """Asked by `watchfiles` at each step: whether to stop."""
        if not self._registered.is_set():
            self._registered.set()
        return self._closed

    def wait(self, timeout: float | None, also: Sequence[int] = ()) -> bool:
        longest = 1.0 if also else LOOK
        changed = self._changed.wait(longest if timeout is None else min(timeout, longest)) or _readable(also, 0)
        if self._error:
            raise StoreError(f"watchfiles: {self._error}; set MBOX_WATCH=poll to do without") from self._error
        self._changed.clear()
        return changed

    def close(self) -> None:
        self._closed = True
        self._thread.join()


class _Polling:
    """Looks at size, mtime and inode of what is watched, at growing intervals until something changes."""

    __slots__ = ("_backoff", "_clock", "_last", "_paths", "_step")

    def __init__(self, paths: list[str], backoff: Sequence[float], clock: Clock) -> None:
        self._paths = paths
        self._backoff = backoff
        self._clock = clock
        self._step = 0
        self._last = self._look()

    def wait(self, timeout: float | None, also: Sequence[int] = ()) -> bool:
        if self._last is not None and self._changed():
            return True
        pause = self._backoff[self._step]
        if timeout is None or pause <= timeout:
            self._step = min(self._step + 1, len(self._backoff) - 1)
        else:
            pause = timeout
        if not also:
            self._clock.sleep(pause)
        elif _readable(also, pause):
            return True
        return self._changed()

    def _changed(self) -> bool:
        before, self._last = self._last, self._look()
        if before == self._last and before is not None:
            return False
        self._step = 0
        return True

    def _look(self) -> list[tuple[int, int, int]] | None:
        """What is there now; None if a change after this look might not show."""
        now = self._clock.wall()
        states = []
        for path in self._paths:
            state = _state(path)
            tick = 2.0 if state.st_mtime_ns % 1_000_000_000 == 0 else 0.02
            if abs(now - state.st_mtime_ns / 1e9) <= tick:
                return None
            states.append((state.st_size, state.st_mtime_ns, state.st_ino))
        return states

    def close(self) -> None:
        pass
