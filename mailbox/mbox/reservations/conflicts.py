"""Whose patterns meet, and what is said about it.  Nothing here changes anything.

Promised: two patterns conflict exactly when some path matches both, as long as a decision has steps left
(`format.globs`): ordinary ones by the hundred never come near the end.  Past it, and for a pattern beyond the bounds
that an older version kept, two patterns *count as meeting*, and what says so says why (`guessed`): so nobody keeps the
lock by the patterns that he holds, asks for or puts on a task, and nobody gets what may be another's.  The steps are
counted for each decision anew, and depend on nothing but what it reads.  A reservation is in
the way only where its own document and live lease say so, whatever the index says.  Not promised: that a pattern which a
person has spoilt holds what was meant: it means the path of that name (`stored`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from os.path import isdir, isfile
from typing import Any

from mbox.agents import presence
from mbox.errors import LeftAlone, NotYours, Usage
from mbox.format import documents, globs, patterns, places
from mbox.format.documents import Document, Unfit
from mbox.format.globs import Effort
from mbox.format.lease import Lease
from mbox.format.patterns import Pattern
from mbox.index.answers import Held
from mbox.journal.record import Tail
from mbox.store.state import State
from mbox.store.store import Actor, Transaction
from mbox.system.clock import patience, span, stamp

READING = 4 * globs.STEPS
"""Steps of who only looks, without the lock."""

_ROW = 2
_FILE = 4
"""Steps that a reserved pattern, and a look at the disk, are counted as."""

_SHOWN = 200
"""Characters of a pattern that a message shows at most."""

_COSTLY = 32
"""Steps from which on it is remembered whether two patterns meet."""


class Blocked(NotYours):
    """Somebody else's reservation is in the way: ``left`` seconds still; ``who`` in words, ``said`` with how to wait.

    ``guess`` says why it only counts as in the way, where that could not be told.
    """

    def __init__(self, held: Held, left: float, who: str, command: str, guess: str = "") -> None:
        self.held = held
        self.left = left
        self.who = f"{who}; {guess}" if guess else who
        self.said = f"{self.who}; `{command} --wait {patience(left)}`"
        super().__init__(f"held: {self.said}")


def parsed(store: State, text: str) -> Pattern:
    """``text`` as a pattern, with case as this store's file system has it; `Usage` if it is none."""
    return patterns.parse(text, store.folds())


def stored(store: State, text: str, effort: Effort) -> Pattern:
    """A pattern that stands in a document; one that a person has spoilt there means the path of that name.

    `patterns.unread` where it is beyond the bounds, is no such path either, or ``effort`` is spent.
    """
    known: Pattern | None = effort.known.get(text)
    if known is not None:
        return known
    if effort.is_spent:
        return patterns.unread(text, store.folds())
    found = effort.known[text] = _stored(store, text)
    effort.count(found.size or patterns.LARGEST)
    return found


def _stored(store: State, text: str) -> Pattern:
    try:
        return parsed(store, text)
    except patterns.TooMuch:
        pass
    except Usage:
        try:
            return parsed(store, patterns.escape(text))
        except Usage:
            pass
    return patterns.unread(text, store.folds())


def check(store: State, texts: Collection[str]) -> None:
    """`patterns.check`, with case as this store's file system has it."""
    patterns.check(texts, store.folds())


def canonical(store: State, texts: Collection[str]) -> list[str]:
    """Patterns of a call as they are stored: in NFC, each of them once; `Usage` if one is none, or they are too many."""
    check(store, texts)
    return each_once(store, texts, Effort(globs.ENDLESS))


def each_once(store: State, texts: Iterable[str], effort: Effort) -> list[str]:
    """Patterns as they are stored: in NFC, each of them once."""
    found: dict[Any, str] = {}
    for text in texts:
        if not text.isascii():
            from unicodedata import normalize

            text = normalize("NFC", text)
        found.setdefault(stored(store, text, effort).key, text)
    if not found:
        raise Usage("which paths? name at least one pattern ('**' is all of the repository)")
    return list(found.values())


def meet(store: State, a: Pattern, b: Pattern, effort: Effort) -> bool:
    """Whether some path could match both: what makes two patterns conflict; True, too, when ``effort`` is spent.

    Below a plain path that is a file now there can be none: ``src/a.py`` and ``**/*.md`` do not meet in
    ``src/a.py/x.md``.  Where nothing is yet, a plain path may become a folder, and they do.
    """
    known: bool | None = effort.known.get((a.text, b.text))
    if known is not None:
        effort.count(1)
        return known
    before = effort.left
    if patterns.is_apart(a, b, effort):
        return False
    files = [(one, other) for one, other in ((a, b), (b, a)) if _is_file(store, one, effort)]
    if files:
        found = all(other.matches(one.prefix, effort) for one, other in files)
    else:
        found = patterns.intersect(a, b, effort)
    if before - effort.left > _COSTLY:
        effort.known[a.text, b.text] = found
    return found


def _is_file(store: State, pattern: Pattern, effort: Effort) -> bool:
    """Whether a pattern is a plain path, which is a file now; looked at once."""
    if not pattern.plain:
        return False
    known: bool | None = effort.known.get(("", pattern.prefix))
    if known is None:
        known = effort.known["", pattern.prefix] = isfile(store.absolute(pattern.prefix))
        effort.count(_FILE)
    return known


def is_one_path(store: State, wanted: Pattern) -> bool:
    """Whether ``wanted`` is a plain path that is no folder now, so that nothing is below it."""
    return wanted.plain and not isdir(store.absolute(wanted.prefix))


def covered(store: State, mine: list[Pattern], wanted: Pattern, effort: Effort) -> bool:
    """Whether one of ``mine`` surely covers ``wanted``; False, too, when ``effort`` is spent."""
    read = [pattern for pattern in mine if pattern.size]
    if is_one_path(store, wanted):
        found = any(pattern.matches(wanted.prefix, effort) for pattern in read)
    else:
        found = any(patterns.contains(pattern, wanted, effort) for pattern in read)
    return found and not effort.is_spent


def guessed(effort: Effort, steps: int = globs.STEPS) -> str:
    """That patterns count as meeting because ``effort`` of so many ``steps`` is spent; empty if it is not."""
    return (
        f"counts as meeting, because comparing the patterns took more than {steps} steps: "
        "fewer of them, with fewer * ? [] {}, can be told apart"
        if effort.is_spent
        else ""
    )


def holder_in_words(store: State, held: Held, reason: str, left: float) -> str:
    """Who holds a pattern, whether it is alive, how long it has, and why."""
    alive = presence.liveness(store, held.agent)
    why = f", '{reason}'" if reason else ""
    shown = held.pattern if len(held.pattern) <= _SHOWN else f"{held.pattern[:_SHOWN]}…"
    return f"{held.rid} of {held.agent} ({alive}, {span(left)} left): {shown}{why}"


def time_left(store: State, doc: Document, lease: Lease | None) -> float:
    """Seconds that ``doc`` still stands: 0 or less if its lease ran out or is void, all if it is missing."""
    if lease is None:
        return store.config.lease
    return lease.left(store.host) if lease.token == doc["token"] else 0.0


def is_of(doc: Document, who: Actor) -> bool:
    """Whether ``who`` holds the reservation ``doc``, in the same incarnation."""
    return bool(doc["agent"] == who.name and doc["incarnation"] == who.incarnation)


def document(tx: Transaction, rid: str) -> Document | None:
    """The document of ``rid``, or None; where it cannot be read and is left alone, what the journal says (`journaled`)."""
    try:
        return tx.read(places.reservation(rid))
    except LeftAlone as error:
        tx.pass_over(error)
        return journaled(tx.store, rid, tx.store.tail)


def journaled(state: State, rid: str, end: Tail) -> Document:
    """The reservation ``rid``, whose file is there and cannot be read, as the journal up to ``end`` has it.

    Where that does not name it, or not as this version understands, it is everything, by nobody that is known.
    """
    from mbox.journal.projection import last_state

    doc = last_state(state.journal, places.reservation(rid), end)[1]
    try:
        known: Document = documents.check("reservation", doc)
    except (Unfit, LeftAlone):
        known = documents.new("reservation", reservation_id=rid, agent="system", patterns=["**"], created_at=stamp(0))
    return known


def stands(tx: Transaction, rid: str) -> Document | None:
    """The document of ``rid``, if it is there and its lease is live."""
    doc = document(tx, rid)
    return doc if doc is not None and tx.live(places.lease(rid), doc["token"]) else None


def blockers(tx: Transaction, agent: str, wanted: Iterable[str], shared: bool = False) -> Iterator[Held]:
    """Every pattern of another agent that is in the way of ``agent``'s taking ``wanted``.

    The first that only counts as being there is the last.
    """
    store, effort = tx.store, tx.effort
    standing: dict[str, frozenset[str]] = {}
    for text in wanted:
        pattern = stored(store, text, effort)
        for held in tx.index.near(text, agent, shared=not shared):
            effort.count(_ROW)
            if not meet(store, pattern, stored(store, held.pattern, effort), effort):
                continue
            if held.rid not in standing:
                doc = stands(tx, held.rid)
                standing[held.rid] = frozenset(doc["patterns"] if doc else ())
            if held.pattern in standing[held.rid]:
                yield held
                if effort.is_spent:
                    return


def blocker(tx: Transaction, agent: str, wanted: Iterable[str], shared: bool = False) -> Held | None:
    """The first pattern of another agent that is in the way of ``agent``'s taking ``wanted``, or None."""
    return next(blockers(tx, agent, wanted, shared), None)


def blocked(tx: Transaction, held: Held, command: str = "reserve …") -> Blocked:
    """The error that says what is in the way; ``command`` is what the caller would call, to wait."""
    doc = document(tx, held.rid) or {"token": 0, "reason": ""}
    left = time_left(tx.store, doc, tx.lease(places.lease(held.rid)))
    return Blocked(held, left, holder_in_words(tx.store, held, doc["reason"], left), command, guessed(tx.effort))


def describe(tx: Transaction, held: Held, command: str = "reserve …") -> str:
    """Who holds it, whether it is alive, how long, what, why, and the ``command`` that would wait."""
    return blocked(tx, held, command).said


def covers(tx: Transaction, agent: str, wanted: Iterable[str]) -> bool:
    """Whether the live reservations of ``agent``, in its present incarnation, cover all of ``wanted``."""
    doc = tx.read(places.agent(agent))
    who = Actor(agent, doc["incarnation"] if doc else 0)
    docs = [stands(tx, rid) for rid in tx.index.reservations_of(agent)]
    store, effort = tx.store, tx.effort
    mine = [stored(store, text, effort) for doc in docs if doc and is_of(doc, who) for text in doc["patterns"]]
    return all(covered(store, mine, stored(store, text, effort), effort) for text in wanted)


EXCLUSIVE, SHARED = "exclusive", "shared"
