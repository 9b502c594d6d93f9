"""How far long work is: one line on stderr, for a person, gone when the work is over.

Promised: nothing in a pipe, on a terminal that cannot clear a line, or with ``--quiet`` (`Context.store` asks); nothing
before work has taken `PATIENCE`, so that short work is silent, also of a command that lives long; the line is shorter than
the terminal is wide, it is taken away at the end and before anything else is said (`output.say`).  Work may hold the store's
lock: where the terminal takes nothing at the moment (Ctrl-S), nothing is drawn and nobody waits for it.  Not promised: that a
killed process takes its line away.  The domain has a callable, `store.files.Along`, and knows nothing of this.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from . import output

T = TypeVar("T")

PATIENCE, AGAIN = 0.3, 0.1
"""Seconds before the first line, and between two."""

CLEAR = "\r\x1b[K"


class Progress:
    """The one line of a process; `along` is a `store.files.Along`."""

    def __init__(self) -> None:
        self._worked = self._next = 0.0
        self._stands = False
        output.before_saying.append(self.clear)

    def along(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """``items``, one by one; now and then it is said how many of ``total`` there were."""
        if monotonic() >= self._worked + PATIENCE:  # it is not what was done a moment ago that goes on
            self._next = monotonic() + PATIENCE
        for number, item in enumerate(items, 1):
            if monotonic() >= self._next:
                self._draw(f"{number} of {total} {what}")
            yield item
        self._worked = monotonic()
        self.clear()

    def _draw(self, text: str) -> None:
        self._next = monotonic() + AGAIN
        if self._put(CLEAR + output.cut(text, self._columns() - 1) + "\r"):
            self._stands = True

    def clear(self) -> None:
        """Take the line away, if it stands."""
        if self._stands and self._put(CLEAR):
            self._stands = False

    def _put(self, text: str) -> bool:
        """Whether the terminal took ``text``; it is not waited for."""
        look = select.poll()
        look.register(2, select.POLLOUT)
        if not look.poll(0):
            return False
        try:
            print(text, end="", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return False
        return True

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(2).columns or 80
        except OSError:
            return 80
