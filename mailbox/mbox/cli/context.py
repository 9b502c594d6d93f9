"""One call, as a command's body sees it: who calls, from where, on which store, and where the answer goes.

Promised: the store is opened, and the caller looked up, when a body first asks, and not before.  Not promised: that an
answer has been written before `Context.flush` returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from mbox.format import checks
from mbox.cli import output
from mbox.errors import NoStore, Usage

if TYPE_CHECKING:
    from mbox.opening import OpenStore
    from mbox.store.store import Actor

STDIN = 16 * 1024 * 1024
"""The most bytes of a list of ids or paths on stdin."""


class Context:
    """One call: who calls, from where, on which store, and where the answer goes."""

    __slots__ = (
        "_actor",
        "_stdin_taken",
        "_store",
        "_worktrees",
        "agent",
        "closing",
        "dry_run",
        "full",
        "limit",
        "output",
        "quiet",
        "root",
        "tail",
    )

    def __init__(self) -> None:
        self.agent: str | None = None
        self.root: str | None = None
        self.output = "auto"
        self.quiet = self.full = self.dry_run = False
        self.limit = 0
        self.tail: tuple[str, ...] = ()
        """The words after ``--``, for a command that runs another."""
        self.closing: list[Callable[[], object]] = []
        """What is called, last first, before the process ends."""
        self._store: OpenStore | None = None
        self._actor: Actor | None = None
        self._worktrees: list[str] | None = None
        self._stdin_taken = False

    # -- who and where

    @property
    def cwd(self) -> str:
        """Where the caller stands."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            raise NoStore("the folder you stand in is gone: cd to one that is there") from None

    @property
    def store(self) -> OpenStore:
        """The store, opened at first use and closed at the end; `NoStore` (6) where there is none."""
        if self._store is None:
            from mbox.opening import open_store

            self._store = open_store(self.root, self.cwd)
            self._store.say = self.say
            self.closing.append(self._store.close)
            for warning in self._store.found.warnings:
                self.say(warning)
        return self._store

    def actor(self, required: bool = True) -> Actor:
        """The agent that calls; without one, `Usage` if one is ``required``, else ``user:<login>``."""
        if self._actor is None:
            self._actor = self._agent() if self.agent else None if required else _user()
        if self._actor is None:
            raise Usage("which agent? pass --as NAME or set MBOX_AGENT")
        return self._actor

    def _agent(self) -> Actor:
        from mbox.agents import registry as agents

        assert self.agent
        return agents.actor(self.store, self.agent, _incarnation(self.agent))

    def paths(self, texts: Iterable[str]) -> list[str]:
        """Paths as given, relative to the root; `Usage` for what agents get wrong."""
        return [checks.path(text, *self._ground()) for text in texts]

    def patterns(self, texts: Iterable[str]) -> list[str]:
        """Patterns as given, relative to the root; `Usage` for what agents get wrong."""
        return [checks.pattern(text, *self._ground()) for text in texts]

    def _ground(self) -> tuple[str, str, list[str]]:
        """The root, where the caller stands, and the linked worktrees."""
        if self._worktrees is None:
            from mbox.root import worktrees

            self._worktrees = worktrees(self.store.root)
        return self.store.root, self.cwd, self._worktrees

    # -- the answer

    def emit(self, answer: output.Doc | Iterable[output.Doc], kind: str = "") -> None:
        """Print an object, or a list of header rows up to ``--limit``, as ``-o`` says.

        Empty fields are left out, and those at their default in a document of ``kind``, where that is given;
        ``--full`` prints such a document as on disk.  What tells a change (``status`` back to ``queued``) is
        emitted without a kind.
        """
        made = self._formatter(kind)
        if isinstance(answer, Mapping):
            output.write(made.one(answer))
            return
        rows, left_out = output.limited(answer, self.limit)
        output.write(made.many(rows))
        if left_out:
            self.say(f"{left_out} more: --limit {len(rows) + left_out}, or 0 for all")

    def stream(self, doc: output.Doc, kind: str = "") -> None:
        """Print one object of an endless stream, at once."""
        output.write(self._formatter(kind).item(doc))
        output.flush()

    def _formatter(self, kind: str) -> output.Formatter:
        return output.formatter(self.output, kind, self.full)

    def write(self, text: str) -> None:
        """Print text that is data (a graph, a schema, a script) as it is."""
        output.write(text)

    def flush(self) -> None:
        """Return when the caller has what was printed; only then may mail count as read."""
        output.flush()

    def say(self, text: str) -> None:
        """Prose, on stderr; nothing with ``--quiet``."""
        if not self.quiet:
            output.say(text)

    # -- stdin and the end

    def stdin(self, what: str, limit: int = STDIN) -> bytes:
        """All of stdin, for the one ``-`` that a call may have; at most a byte more than ``limit``."""
        if self._stdin_taken:
            raise Usage(f"{what}: stdin is taken already; only one - in a call")
        if sys.stdin is None:
            raise Usage(f"{what}: stdin is closed")
        self._stdin_taken = True
        return sys.stdin.buffer.read(limit + 1)

    def close(self) -> None:
        """Call what waits in ``closing``."""
        while self.closing:
            self.closing.pop()()


def _user() -> Actor:
    from mbox.store.store import Actor

    try:
        from pwd import getpwuid

        login = getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        login = os.environ.get("USER") or os.environ.get("USERNAME") or "unknown"
    return Actor(f"user:{login}")


def _incarnation(agent: str) -> int | None:
    """The caller's incarnation, if it is ``agent`` that the environment speaks of."""
    given = os.environ.get("MBOX_INCARNATION")
    if not given or os.environ.get("MBOX_AGENT", agent) not in ("", agent):
        return None
    if not (given.isascii() and given.isdecimal()):
        raise Usage(f"MBOX_INCARNATION is {checks.quoted(given)}, not a number: unset it")
    return int(given)
