"""One call, as a command's body sees it: who calls, from where, on which store, and where the answer goes.

Promised: the store is opened, and the caller looked up, when a body first asks, and not before.  Not promised: that an
answer has been written before `Context.flush` returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mbox.errors import MboxError, Usage
from mbox.format import checks

from . import output

if TYPE_CHECKING:
    from mbox.root import Root
    from mbox.store.files import Along
    from mbox.store.store import Actor, Store


STDIN = 16 * 1024 * 1024
"""The most bytes of a list of ids or paths on stdin."""


class Context:
    """One call: who calls, from where, on which store, and where the answer goes."""

    __slots__ = (
        "_actor",
        "_found",
        "_stdin_taken",
        "_store",
        "_worktrees",
        "acts",
        "agent",
        "as_it_stands",
        "closing",
        "dry_run",
        "full",
        "limit",
        "output",
        "quiet",
        "root",
        "tail",
        "verbless",
    )

    def __init__(self) -> None:
        self.agent: str | None = None
        self.root: str | None = None
        self.output = "auto"
        self.quiet = self.full = self.dry_run = False
        self.acts = False
        """Whether the call is one that changes something: where its answer cannot be written, it happened all the same."""
        self.as_it_stands = False
        """Whether the store's files are not to be touched before the command looks: it says itself what is wrong with them."""
        self.limit = 0
        self.tail: tuple[str, ...] = ()
        """The words after ``--``, for a command that runs another."""
        self.verbless = False
        """Whether the verb was left out: ``reserve PATTERN``."""
        self.closing: list[Callable[[], object]] = []
        """What is called, last first, before the process ends."""
        self._store: Store | None = None
        self._found: Root | None = None
        self._actor: Actor | None = None
        self._worktrees: list[str] | None = None
        self._stdin_taken = False

    # -- who and where

    @property
    def cwd(self) -> str:
        """Where the caller stands; `NoStore` where that folder is gone."""
        from mbox.root import refuse_gone

        refuse_gone(self.stand)
        return self.stand

    @property
    def stand(self) -> str:
        """Where the caller stands; empty where that folder is gone."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            return ""

    @property
    def store(self) -> Store:
        """The store, its files brought to what the journal says (`Store.bring_up`); `NoStore` (6) where there is none."""
        if self._store is None:
            from mbox.opening import assemble, find

            self._found = find(self.root, self.stand)
            self._store = assemble(self._found.path)
            self._store.say = self.say
            self._store.along = self.along()
            self.closing.append(self._store.close)
            for warning in self._found.warnings:
                self.say(warning)
            self._store.dry_run, self._store.doubts = self.dry_run, not self.as_it_stands
            if self._store.doubts:
                self._store.bring_up(self.acts)
        return self._store

    @property
    def found(self) -> Root:
        """The root, and how it was found."""
        if self._found is None:
            _ = self.store
        assert self._found is not None
        return self._found

    def actor(self, required: bool = True) -> Actor:
        """Who calls, and whether for real: the agent; without one, `Usage` if it is ``required``, else ``user:<login>``."""
        if self._actor is None:
            found = self._agent() if self.agent else None if required else _user()
            if found is None:
                raise self.which_agent()
            self._actor = found._replace(dry_run=self.dry_run)
        return self._actor

    def which_agent(self) -> Usage:
        """That the call needs to say who it is of, with the names that are registered, where a store is found."""
        from mbox.agents import registry

        try:
            there = registry.some_active(self.store)
        except MboxError:
            there = ""
        return Usage(f"which agent? pass --as NAME or set MBOX_AGENT; {there or '`mbox agent add NAME` registers one'}")

    def _agent(self) -> Actor:
        from mbox.agents import registry

        assert self.agent
        return registry.actor(self.store, self.agent, _incarnation(self.agent))

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
        return self.store.root, self.stand, self._worktrees

    # -- the answer

    def emit(self, answer: output.Doc | Iterable[output.Doc], kind: str = "", keeps: str = "", gives: Sequence[str] = ()) -> None:
        """Print an object, or a list of header rows up to ``--limit``, as ``-o`` says.

        Empty fields are left out, and those at their default in a document of ``kind``, where that is given;
        ``--full`` prints such a document as on disk.  What tells a change (``status`` back to ``queued``) is
        emitted without a kind.  ``keeps`` and ``gives``: which column of a table stays readable on a narrow terminal,
        and which others go for it, the first named first (`output.Table`).
        """
        made = self._formatter(kind, keeps, gives)
        if isinstance(answer, Mapping):
            output.write(made.one(answer))
            return
        rows, left_out = output.limited(answer, self.limit)
        output.write(made.many(rows))
        self.left_out(len(rows), left_out)

    def left_out(self, shown: int, left: int) -> None:
        """Say how many of a list there are besides those ``shown``, and how to see them."""
        if left:
            self.say(f"{left} more: --limit {shown + left}, or 0 for all")

    def stream(self, doc: output.Doc, kind: str = "", keeps: str = "") -> None:
        """Print one object of an endless stream, at once."""
        output.write(self._formatter(kind, keeps).item(doc))
        output.flush()

    def redraw(self, rows: Sequence[output.Doc], kind: str, keeps: str, gives: Sequence[str]) -> None:
        """Print a list once more: over the one before where a person sees it on a terminal that can, else behind it."""
        if not (self.for_person and output.can_move()):
            self.emit(rows, kind, keeps, gives)
        else:
            from .screens import frame

            made, (wide, high) = self._formatter(kind, keeps, gives), output.size()
            made.width = min(made.width, wide)
            output.write(frame(made.many(rows), high))
        output.flush()

    @property
    def for_person(self) -> bool:
        """Whether a person is to read the answer: a table on a terminal, or one that was asked for."""
        return isinstance(self._formatter(), output.Table)

    def _formatter(self, kind: str = "", keeps: str = "", gives: Sequence[str] = ()) -> output.Formatter:
        made = output.formatter(self.output, kind, self.full)
        if isinstance(made, output.Table):
            made.keeps, made.gives = keeps, gives
        return made

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

    def along(self) -> Along:
        """What long work in the domain goes along with, to say how far it is: on a terminal a line, else nothing."""
        from mbox.store.files import straight

        if self.quiet or not output.can_show_progress():
            return straight
        from .progress import Progress

        made = Progress()
        self.closing.append(made.clear)
        return made.along

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
