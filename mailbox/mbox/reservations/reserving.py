"""Reservations: no two agents hold what one path can be, unless both only share it.

Promised: of two reservations that stand and whose patterns some path could match both, either both are of
one agent or both are shared; several patterns are taken together or not at all.  A reservation stands while
its document is there and its lease is live.  Not promised: that anybody keeps to it.  Files are not locked;
`guard` answers whether a path may be changed.

Files: ``reservations/<id>.json`` is made and removed by a transaction together with its lease,
``leases/<id>.json``; what a crash in between leaves is told in `store`.  Renewing writes the lease file
only. Who gives back one pattern of several rewrites the document without it, under the same lease and
token.

Decisions ask the index for the patterns whose literal prefix lies on the same way, and believe only the
document and its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import ceil
from os.path import isdir, isfile
from typing import Any, NamedTuple

from mbox.agents import registry as agents
from mbox.format import documents
from mbox.format import patterns
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import MboxError, NotFound, NotYours, Usage, meant_id
from mbox.system.host import stamp
from mbox.index.queries import Held
from mbox.format.lease import Lease
from mbox.format.patterns import Pattern
from mbox.store.store import Actor, Store, Transaction

EXCLUSIVE, SHARED = "exclusive", "shared"


class Blocked(NotYours):
    """Somebody else's reservation is in the way: ``left`` seconds still, ``who`` says it in words."""

    def __init__(self, held: Held, left: float, who: str, command: str) -> None:
        super().__init__(f"held: {who}; `{command} --wait {patience(left)}`")
        self.held = held
        self.left = left
        self.who = who


class Gone(NotFound):
    """The reservation ``rid`` is not there: it ended, or there never was one."""

    def __init__(self, rid: str, message: str) -> None:
        super().__init__(message)
        self.rid = rid


class Wanted(NamedTuple):
    """What an agent asks for.  ``seconds`` is the lease; ``fresh``: not one that it holds already."""

    patterns: list[str]
    seconds: float
    shared: bool = False
    reason: str = ""
    task_id: str | None = None
    fresh: bool = False

    @property
    def mode(self) -> str:
        return SHARED if self.shared else EXCLUSIVE

    def command(self) -> str:
        """The command line that asks for it."""
        from shlex import join

        words = ["reserve", *self.patterns, *(["--shared"] if self.shared else [])]
        return join([*words, *(["--task", self.task_id] if self.task_id else [])])


# -- patterns and words ------------------------------------------------------------------------------------


def parsed(store: Store, text: str) -> Pattern:
    """``text`` as a pattern, with case as this store's file system has it; `Usage` if it is none."""
    return patterns.parse(text, bool(getattr(store.prefix, "fold", False)))


def stored(store: Store, text: str) -> Pattern:
    """A pattern that stands in a document; one that a person has spoilt there means the path of that name."""
    try:
        return parsed(store, text)
    except Usage:
        return parsed(store, patterns.escape(text))


def canonical(store: Store, texts: Iterable[str]) -> list[str]:
    """Patterns as they are stored: in NFC, each of them once; `Usage` if one is none."""
    found: dict[Any, str] = {}
    for text in texts:
        if not text.isascii():
            from unicodedata import normalize

            text = normalize("NFC", text)
        found.setdefault(parsed(store, text).alternatives, text)
    if not found:
        raise Usage("which paths? name at least one pattern ('**' is all of the repository)")
    return list(found.values())


def meet(store: Store, a: Pattern, b: Pattern) -> bool:
    """Whether some path could match both: what makes two patterns conflict.

    Below a plain path that is a file now there can be none: ``src/a.py`` and ``**/*.md`` do not meet in
    ``src/a.py/x.md``.  Where nothing is yet, a plain path may become a folder, and they do.
    """
    if not patterns.intersect(a, b):
        return False
    pairs = ((a, b), (b, a))
    return all(
        other.matches(one.prefix) for one, other in pairs if _is_plain(one) and isfile(_place(store, one))
    )


def _is_plain(pattern: Pattern) -> bool:
    return not patterns.has_wildcard(pattern.text)


def _place(store: Store, plain: Pattern) -> str:
    return store.absolute(plain.prefix)


def is_one_path(store: Store, wanted: Pattern) -> bool:
    """Whether ``wanted`` is a plain path that is no folder now, so that nothing is below it."""
    return _is_plain(wanted) and not isdir(_place(store, wanted))


def covered(store: Store, mine: list[Pattern], wanted: Pattern) -> bool:
    """Whether one of ``mine`` covers ``wanted``."""
    if is_one_path(store, wanted):
        return any(pattern.matches(wanted.prefix) for pattern in mine)
    return any(patterns.contains(pattern, wanted) for pattern in mine)


def span(seconds: float) -> str:
    """A time as people say it: ``45s``, ``12m``, ``3h``."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)}{unit}"
    return f"{max(0, ceil(seconds))}s"


def patience(left: float) -> str:
    """How long to wait for what has ``left`` seconds, as the value of ``--wait``."""
    return f"{ceil(left / 60)}m" if left > 90 else f"{max(1, ceil(left))}s"


def said(store: Store, held: Held, reason: str, left: float) -> str:
    """Who holds a pattern, whether it is alive, how long it has, and why."""
    alive = agents.liveness(store, held.agent)
    why = f", '{reason}'" if reason else ""
    return f"{held.rid} of {held.agent} ({alive}, {span(left)} left): {held.pattern}{why}"


def time_left(store: Store, doc: Document, lease: Lease | None) -> float:
    """Seconds that ``doc`` still stands: 0 or less if its lease ran out or is void, all if it is missing."""
    if lease is None:
        return store.settings.lease
    return lease.left(store.host) if lease.token == doc["token"] else 0.0


def is_of(doc: Document, who: Actor) -> bool:
    """Whether ``who`` holds the reservation ``doc``, in the same incarnation."""
    return bool(doc["agent"] == who.name and doc["incarnation"] == who.incarnation)


# -- inside a transaction ----------------------------------------------------------------------------------


def stands(tx: Transaction, rid: str) -> Document | None:
    """The document of ``rid``, if it is there and its lease is live."""
    doc = tx.read(places.reservation(rid))
    return doc if doc is not None and tx.live(places.lease(rid), doc["token"]) else None


def blockers(tx: Transaction, agent: str, wanted: Iterable[str], shared: bool = False) -> Iterator[Held]:
    """Every pattern of another agent that is in the way of ``agent``'s taking ``wanted``."""
    for text in wanted:
        pattern = stored(tx.store, text)
        for held in tx.index.near(text):
            if held.agent == agent or (shared and held.shared):
                continue
            if not meet(tx.store, pattern, stored(tx.store, held.pattern)):
                continue
            doc = stands(tx, held.rid)
            if doc is not None and held.pattern in doc["patterns"]:
                yield held


def blocker(tx: Transaction, agent: str, wanted: Iterable[str], shared: bool = False) -> Held | None:
    """The first pattern of another agent that is in the way of ``agent``'s taking ``wanted``, or None."""
    return next(blockers(tx, agent, wanted, shared), None)


def blocked(tx: Transaction, held: Held, command: str = "reserve …") -> Blocked:
    """The error that says what is in the way; ``command`` is what the caller would call, to wait."""
    doc = tx.read(places.reservation(held.rid)) or {"token": 0, "reason": ""}
    left = time_left(tx.store, doc, tx.lease(places.lease(held.rid)))
    return Blocked(held, left, said(tx.store, held, doc["reason"], left), command)


def describe(tx: Transaction, held: Held, command: str = "reserve …") -> str:
    """Who holds it, whether it is alive, how long, what, why, and the ``command`` that would wait."""
    return str(blocked(tx, held, command)).removeprefix("held: ")


def take(tx: Transaction, holder: Actor, wanted: Iterable[str], mode: str, reason: str, task_id: str | None,
         seconds: float, command: str = "reserve …") -> Document:  # fmt: skip
    """Reserve all of ``wanted`` for ``holder``, or raise `Blocked`; the document.

    Takes a number and then the transaction's token: the caller takes its own numbers before, and records.
    """
    texts = canonical(tx.store, wanted)
    held = blocker(tx, holder.name, texts, mode == SHARED)
    if held is not None:
        raise blocked(tx, held, command)
    rid = f"r{tx.take()}"
    doc = documents.new(
        "reservation", reservation_id=rid, agent=holder.name, incarnation=holder.incarnation, patterns=texts,
        mode=mode, reason=reason, task_id=task_id, lease_s=seconds, created_at=tx.now,
        token=tx.grant(places.lease(rid), holder, seconds), expires_at=stamp(tx.wall + seconds),
    )  # fmt: skip
    tx.put(doc, places.reservation(rid))
    return doc


def end(tx: Transaction, rid: str) -> None:
    """End a reservation: its document and its lease.  One that is gone stays gone."""
    if tx.read(places.reservation(rid)) is not None:
        tx.delete(places.reservation(rid))
        tx.end(places.lease(rid))


def covers(tx: Transaction, agent: str, wanted: Iterable[str]) -> bool:
    """Whether the live reservations of ``agent``, in its present incarnation, cover all of ``wanted``."""
    doc = tx.read(places.agent(agent))
    who = Actor(agent, doc["incarnation"] if doc else 0)
    docs = [stands(tx, rid) for rid in tx.index.reservations_of(agent)]
    mine = [stored(tx.store, text) for doc in docs if doc and is_of(doc, who) for text in doc["patterns"]]
    return all(covered(tx.store, mine, stored(tx.store, text)) for text in wanted)


def lease_ran_out(tx: Transaction, rid: str, lease: Lease | None) -> bool:
    """Called by the sweep: end what has run out; False if the lease is void."""
    doc = tx.read(places.reservation(rid))
    if doc is None or (lease is not None and lease.token != doc["token"]):
        return False
    if lease is None:
        tx.first_look(places.lease(rid), doc["agent"], doc["incarnation"], doc["token"])
        return True
    end(tx, rid)
    tx.record("reserve.expire", [rid], f"the lease of {doc['agent']} ran out")
    return True


# -- what an agent does ------------------------------------------------------------------------------------


def reserve(store: Store, actor: Actor, wanted: Wanted, dry_run: bool = False,
            waiting: Callable[[Transaction], None] | None = None) -> Document:  # fmt: skip
    """Reserve what is ``wanted``; the document, with ``already`` where it was held before and is renewed.

    `Blocked` if another agent holds any of it.  Who will wait then has ``waiting`` called first, locked.
    """
    wanted = wanted._replace(patterns=canonical(store, wanted.patterns))

    def decide(tx: Transaction) -> Document:
        agents.still_current(tx)
        if wanted.task_id:
            _require_task(tx, wanted.task_id)
        held = None if wanted.fresh else _already(tx, wanted)
        if held is not None:
            return {**held, **({} if dry_run else _renewed(tx, held, wanted.seconds)), "already": True}
        try:
            doc = take(
                tx, actor, wanted.patterns, wanted.mode, wanted.reason, wanted.task_id, wanted.seconds,
                wanted.command(),
            )  # fmt: skip
        except Blocked:
            if waiting is not None:
                waiting(tx)
            raise
        tx.record("reserve.add", [doc["reservation_id"], *filter(None, [wanted.task_id])], wanted.reason)
        return doc

    return store.transact(decide, actor, dry_run)


def renew(
    store: Store, actor: Actor, ids: list[str], texts: list[str], dry_run: bool = False
) -> list[Document]:
    """Renew the actor's reservations with these ``ids``, and those that hold these patterns."""

    def decide(tx: Transaction) -> list[Document]:
        agents.still_current(tx)
        found = [*(_own(tx, rid) for rid in ids), *(doc for doc, _ in _holding(tx, texts))]
        docs = {doc["reservation_id"]: doc for doc in found}.values()
        new = docs if dry_run else [{**doc, **_renewed(tx, doc)} for doc in docs]
        return [{name: doc[name] for name in ("reservation_id", "expires_at")} for doc in new]

    try:
        return store.transact(decide, actor, dry_run)
    except Gone as gone:
        raise _ended(store, gone) from None


def release(
    store: Store, actor: Actor, ids: list[str], texts: list[str], every: bool = False, dry_run: bool = False
) -> list[Document]:
    """Give back the reservations with these ``ids``, these patterns of any, or ``every`` one of the actor's.

    A row for each that is touched: what of it is ``released``, and what is ``kept``; ``already`` for one that
    the actor gave back before.
    """
    given, before = list(dict.fromkeys(ids)), list[Document]()

    def decide(tx: Transaction) -> list[Document]:
        agents.still_current(tx)
        docs = [*(_own(tx, rid) for rid in given), *(_all_of(tx) if every else [])]
        whole = {doc["reservation_id"]: (doc, doc["patterns"]) for doc in docs}
        parts = {doc["reservation_id"]: (doc, held) for doc, held in _holding(tx, texts)}
        rows = [_shrunk(tx, doc, gone) for doc, gone in {**parts, **whole}.values()]
        if rows:
            tx.record("reserve.release", [row["reservation_id"] for row in rows])
        return rows

    while True:
        try:
            return [*before, *store.transact(decide, actor, dry_run)]
        except Gone as gone:
            record = ended(store, gone.rid)
            if record is None or (record["by"], record["inc"]) != actor:
                raise _ended(store, gone, record) from None
            given.remove(gone.rid)
            before.append({"reservation_id": gone.rid, "already": True})


def _require_task(tx: Transaction, task_id: str) -> None:
    """`NotYours` unless the acting agent holds the task live, `NotFound` if there is none."""
    doc = tx.read(places.task(task_id))
    if doc is None:
        known = [places.ident(name) for name in tx.names(places.TASKS) if name.endswith(".json")]
        raise NotFound(f"no task {task_id}{meant_id(task_id, known)}")
    mine = (doc["owner"], doc["incarnation"]) == (tx.actor.name, tx.actor.incarnation)
    leased = doc["status"] in ("claimed", "running") and tx.live(places.task_lease(task_id), doc["token"])
    if not (mine and leased):
        owner = f" by {doc['owner']}" if doc["owner"] else ""
        raise NotYours(f"{task_id} is {doc['status']}{owner}, not held by you; `task claim {task_id}` first")


def _already(tx: Transaction, wanted: Wanted) -> Document | None:
    """The live reservation of the actor that holds every wanted pattern in that mode (and for that task)."""
    keys = {parsed(tx.store, text).alternatives for text in wanted.patterns}
    near = tx.index.near(wanted.patterns[0])
    for rid in dict.fromkeys(held.rid for held in near if held.agent == tx.actor.name):
        doc = stands(tx, rid)
        if doc is None or not is_of(doc, tx.actor) or doc["mode"] != wanted.mode:
            continue
        if wanted.task_id in (None, doc["task_id"]) and keys <= set(_keys(tx.store, doc)):
            return doc
    return None


def _keys(store: Store, doc: Document) -> dict[Any, str]:
    """The patterns of ``doc`` by what tells whether two are the same, letter by letter."""
    return {stored(store, text).alternatives: text for text in doc["patterns"]}


def _renewed(tx: Transaction, doc: Document, seconds: float = 0) -> Document:
    """Renew the lease of ``doc`` (for ``seconds``, if given); when it ends now, never sooner than before."""
    path, host = places.lease(doc["reservation_id"]), tx.store.host
    lease = tx.lease(path)
    if lease is None:
        lease = Lease.granted(
            doc["reservation_id"], doc["agent"], doc["incarnation"], doc["token"], doc["lease_s"], host
        )
    lease = tx.store.renew_lease(path, lease._replace(seconds=seconds or lease.seconds))
    return {"expires_at": stamp(host.wall() + lease.left(host))}


def _own(tx: Transaction, rid: str) -> Document:
    """The actor's own live reservation ``rid``; `Gone`, or `NotYours` with who holds it."""
    doc = tx.read(places.reservation(rid))
    if doc is None:
        known = [places.ident(name) for name in tx.names(places.RESERVATIONS)]
        raise Gone(rid, f"no reservation {rid}{meant_id(rid, known)}")
    left = time_left(tx.store, doc, tx.lease(places.lease(rid)))
    if doc["agent"] != tx.actor.name:
        held = Held(rid, doc["agent"], doc["mode"] == SHARED, doc["task_id"], ", ".join(doc["patterns"]))
        raise NotYours(f"not yours: {said(tx.store, held, doc['reason'], left)}")
    if not is_of(doc, tx.actor):
        raise NotYours(
            f"{rid} is of your incarnation {doc['incarnation']}, you are {tx.actor.incarnation}; "
            f"it ends by itself in {span(left)}"
        )
    if left <= 0:
        raise NotYours(f"the lease of {rid} ran out; reserve again")
    return doc


def _all_of(tx: Transaction) -> list[Document]:
    """Every reservation of the actor."""
    docs = [tx.read(places.reservation(rid)) for rid in tx.index.reservations_of(tx.actor.name)]
    return [doc for doc in docs if doc is not None and is_of(doc, tx.actor)]


def _holding(tx: Transaction, texts: list[str]) -> list[tuple[Document, list[str]]]:
    """The actor's live reservations that hold any of ``texts`` letter by letter, and which of them.

    A text also means the path of that name, which was reserved as such while it was there.  `NotFound` if one
    is held by none of them, `NotYours` where it is somebody else who holds it.
    """
    store = tx.store
    wanted = {
        text: {stored(store, one).alternatives for one in (text, patterns.escape(text))} for text in texts
    }
    keys = set[Any]().union(*wanted.values())
    found, met = [], set[Any]()
    for doc in _all_of(tx) if texts else []:
        held = {key: text for key, text in _keys(store, doc).items() if key in keys}
        if held and tx.live(places.lease(doc["reservation_id"]), doc["token"]):
            found.append((doc, list(held.values())))
            met |= held.keys()
    for text, meant in wanted.items():
        if met.isdisjoint(meant):
            other = blocker(tx, tx.actor.name, [text])
            if other is not None:
                raise NotYours(f"you do not hold {text}; {describe(tx, other)}")
            raise NotFound(f"you hold no reservation of {text}; `reserve list` shows what is held")
    return found


def _shrunk(tx: Transaction, doc: Document, gone: list[str]) -> Document:
    """Take the patterns ``gone`` out of a reservation; nothing left ends it."""
    kept = [text for text in doc["patterns"] if text not in gone]
    if kept:
        tx.put({**doc, "patterns": kept}, places.reservation(doc["reservation_id"]))
    else:
        end(tx, doc["reservation_id"])
    return {"reservation_id": doc["reservation_id"], "released": gone, "kept": kept}


# -- what the journal says of one that is gone --------------------------------------------------------------


def ended(store: Store, rid: str) -> Document | None:
    """The journal's record that ended ``rid``, or None.  Reads the journal from its end; for errors only."""
    from mbox.journal import segments as journal

    path = places.reservation(rid)
    needle = documents.compact(path).encode()
    for _, _, line in store.journal.backwards(store.end()):
        if needle in line:
            record = journal.decode(line)
            if path in record["del"]:
                return record
    return None


def told(record: Document) -> str:
    """How a reservation ended, in words."""
    why = f" ({record['why']})" if record["why"] else ""
    return f"ended at {record['ts']}: {record['op']} by {record['by']}{why}"


def _ended(store: Store, gone: Gone, record: Document | None = None) -> MboxError:
    """What to raise for a reservation that is gone: that it ended, and how, or that it never was."""
    record = record or ended(store, gone.rid)
    return NotYours(f"{gone.rid} {told(record)}; reserve again") if record else gone
