"""What a decision may know of the world besides the store: git, and whether a file is there.

A decision under the lock must not wait for git.  So it asks `Facts`, which knows only what was looked up before; for the rest
it raises `Unasked`, the lock is let go, the fact is looked up, and the decision runs again (`deciding`).  Within one decision a
fact stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from mbox.git import history

T = TypeVar("T")

NAMES = ("base", "head", "changed", "commits")
"""What `git.NAME` can be in a workflow; ``print`` and ``branch`` are the engine's own."""


class Unasked(Exception):
    """A decision needs a fact that nobody has looked up yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Facts:
    """What is known of the work tree ``folder`` of a run that began at commit ``base``."""

    def __init__(self, folder: str, base: str | None) -> None:
        self.folder = folder
        self.base = base
        self._known: dict[str, Any] = {"base": base}

    def get(self, name: str) -> Any:
        """The fact ``name``; `Unasked` where it was not looked up."""
        if name not in self._known:
            raise Unasked(name)
        return self._known[name]

    def ask(self, name: str) -> Any:
        """Look ``name`` up, and know it from then on."""
        if name not in self._known:
            self._known[name] = _ASKED[name](self)
        return self._known[name]

    def exists(self, path: str) -> bool:
        """Whether ``path``, relative to the tree, is there and does not lead out of it."""
        if os.path.isabs(path) or "\0" in path:
            return False
        whole = os.path.realpath(os.path.join(self.folder, path))
        top = os.path.realpath(self.folder)
        return (whole == top or whole.startswith(f"{top}/")) and os.path.exists(whole)


_ASKED: dict[str, Callable[[Facts], Any]] = {
    "head": lambda facts: history.head(facts.folder),
    "changed": lambda facts: history.changed(facts.folder, facts.base),
    "commits": lambda facts: history.commits(facts.folder, facts.base),
    "print": lambda facts: history.print_of(facts.folder),
    "branch": lambda facts: history.branch(facts.folder),
}


def deciding(facts: Facts, attempt: Callable[[], T]) -> T:
    """What ``attempt`` comes to, once every fact that it asks for is known."""
    while True:
        try:
            return attempt()
        except Unasked as missing:
            facts.ask(missing.name)
