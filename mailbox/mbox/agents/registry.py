"""Agents: who is registered, in which incarnation, and whether it is alive.

An agent is a name with a role, capabilities and an *incarnation*: a number that goes up when a new process takes the
name over, so that a process of an older one is told so (exit 5) instead of acting with a stranger's leases.  Alive is
judged by the heartbeat: same machine, same pid with the same start time, last beat within ``dead_after`` seconds of
CLOCK_MONOTONIC; an agent that never beat is neither alive nor dead (None).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mbox.format import documents
from mbox.format import places
from mbox.format.documents import Document, Unfit
from mbox.errors import NotFound, NotYours, Refused, Usage, did_you_mean
from mbox.system.host import pid_namespace, start_ticks
from mbox.system.processes import Identity, is_running
from mbox.store.store import Actor, Store, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore

ROLES = ("worker", "orchestrator", "reviewer")
"""Roles the toolkit knows something about; any other word is a role too."""

ORCHESTRATOR = "orchestrator"

RESERVED = frozenset(["sweep", "store", "system"])
"""Names that stand in the journal for the toolkit itself."""

Read = Callable[[str], Document | None]


def known(store: Store) -> list[str]:
    """Names of the registered agents, retired ones too."""
    return sorted(name[:-5] for name in store.names(places.AGENTS) if name.endswith(".json"))


def require(store: Store, read: Read, name: str) -> Document:
    """The document of agent ``name``; `NotFound` with the nearest names if it is not registered or retired."""
    if not places.is_name(name):
        raise Usage(f"not an agent's name: {name!r} (a-z, 0-9, '.', '_', '-', starting with a letter or digit)")
    doc = read(places.agent(name))
    if doc is None or doc["retired_at"]:
        state = "is retired" if doc else "is not registered"
        raise NotFound(f"agent {name!r} {state}{did_you_mean(name, active(store, but=name))}")
    return doc


def active(store: Store, but: str = "") -> list[str]:
    """Names of the agents that are registered and not retired."""
    return sorted(doc["agent"] for doc in store.documents(places.AGENTS) if not doc["retired_at"] and doc["agent"] != but)


def actor(store: Store, name: str, incarnation: int | None = None) -> Actor:
    """The agent ``name`` as an actor; its current incarnation unless given.

    `NotFound` if it is not registered, `NotYours` if ``incarnation`` is not the current one.
    """
    doc = require(store, store.read, name)
    current = doc["incarnation"]
    if incarnation is not None and incarnation != current:
        raise NotYours(
            f"{name} is in incarnation {current} now, you are {incarnation}: another process took the name over"
        )
    return Actor(name, current)


def still_current(tx: Transaction) -> Document:
    """The acting agent's document, checked again under the lock; `NotYours` if it has a newer incarnation."""
    doc = require(tx.store, tx.read, tx.actor.name)
    if doc["incarnation"] != tx.actor.incarnation:
        raise NotYours(
            f"{tx.actor.name} is in incarnation {doc['incarnation']} now, you are {tx.actor.incarnation}: "
            "another process took the name over"
        )
    return doc


def add(store: Store, by: Actor, name: str, changes: dict[str, Any], new: bool = False,
        dry_run: bool = False) -> Document:  # fmt: skip
    """Register ``name``, or change what is said of it; ``new`` starts a new incarnation.  The document.

    ``changes`` holds any of role, host, model, capabilities, reports_to, team.  A retired name comes back in a new
    incarnation.
    """
    if not places.is_name(name):
        raise Usage(f"not an agent's name: {name!r} (a-z, 0-9, '.', '_', '-', at most 64)")
    if name in RESERVED:
        raise Usage(f"{name} is the toolkit's own name in the journal; take another, such as {name}-1")

    def decide(tx: Transaction) -> Document:
        if by.incarnation:
            still_current(tx)
        doc = tx.read(places.agent(name))
        op = "agent.add"
        if doc is None:
            fresh = documents.new("agent", agent=name, registered_at=tx.now, incarnation_since=tx.now, **changes)
        else:
            fresh = {**doc, **changes, "retired_at": None}
            if new or doc["retired_at"]:
                fresh["incarnation"] += 1
                fresh["incarnation_since"] = tx.now
                op = "agent.new"
        if fresh == doc:
            return {**doc, "already": True}
        if fresh["reports_to"]:
            require(store, tx.read, fresh["reports_to"])
        tx.put(fresh, places.agent(name))
        tx.record(op, [name])
        return fresh

    return store.transact(decide, by, dry_run)


def retire(store: Store, by: Actor, name: str, dry_run: bool = False) -> Document:
    """Take ``name`` out of the game: no mail, no claims, no reservations; its other documents stay.

    Refused while it holds tasks.
    """
    from mbox.reservations import reserving as reservations

    def decide(tx: Transaction) -> Document:
        if by.incarnation:
            still_current(tx)
        doc = tx.read(places.agent(name))
        if doc is None:
            raise NotFound(f"agent {name!r} is not registered{did_you_mean(name, known(store))}")
        if doc["retired_at"]:
            return {**doc, "already": True}
        held = tx.index.active_tasks(name)
        if held:
            raise Refused(f"{name} still holds {', '.join(held)}; release or cancel them first")
        doc["retired_at"] = tx.now
        tx.put(doc, places.agent(name))
        given_back = tx.index.reservations_of(name)
        for rid in given_back:
            reservations.end(tx, rid)
        tx.record("agent.retire", [name, *given_back])
        return doc

    return store.transact(decide, by, dry_run)


def beat(store: Store, who: Actor, pid: int, child: Identity = Identity(0, 0)) -> None:  # noqa: B008 - immutable
    """Write a heartbeat of ``who`` for process ``pid``; ephemeral, without the lock.

    ``child`` is the program under a wrapper, which leads its process group: whoever finds the wrapper dead ends that.
    So a beat without one leaves that of a live wrapper alone, which says more.
    """
    if not child.pid and is_wrapped(store, who):
        return
    store.check_folder(places.HEARTBEATS)
    doc = documents.new(
        "heartbeat", pid=pid, start_ticks=start_ticks(pid), machine=store.host.machine, incarnation=who.incarnation,
        mono=round(store.host.mono(), 3), child=child.pid, child_ticks=child.ticks, pidns=pid_namespace(),
    )  # fmt: skip
    path = store.absolute(places.heartbeat(who.name))
    store.disk.replace(path, documents.encode("heartbeat", doc))


def heartbeat(store: Store, name: str) -> Document | None:
    """The last beat of ``name``; None if it never beat or the beat cannot be read."""
    return _ephemeral(store, "heartbeat", places.heartbeat(name))


def status(store: Store, name: str) -> Document | None:
    """What the agent's own hooks, or its wrapper, last said; None if nothing was said or it cannot be read."""
    return _ephemeral(store, "status", places.status(name))


def _ephemeral(store: Store, kind: str, path: str) -> Document | None:
    """A document that no journal has, or None: who wrote it may write it again at any time."""
    try:
        found: Document = documents.decode(kind, store.bytes_of(path))
    except (OSError, Unfit):
        return None
    return found


RUN, END = "run", "end"
"""Events in ``status/`` by which a wrapper says that its program runs, or has ended."""


def said_by_hooks(status: Document) -> str:
    """The state that the agent's own hooks last said; empty where the last word is its wrapper's, which knows less."""
    return "" if status["event"] in ("", RUN, END) else str(status["state"])


def alive(store: Store, name: str) -> bool | None:
    """Whether ``name`` is alive by its last heartbeat; None if it never beat or the beat cannot be read."""
    beat = heartbeat(store, name)
    return None if beat is None else is_fresh(store, beat)


def is_fresh(store: Store, beat: Document) -> bool:
    """Whether a beat tells of somebody alive: this machine and boot, that very process, and not too long ago."""
    if beat["machine"] != store.host.machine:
        return False
    if is_gone(beat):
        return False
    return bool(store.host.mono() - beat["mono"] < store.settings.dead_after)


def is_gone(beat: Document) -> bool:
    """Whether the process that beat has ended, or its pid is another's now; a zombie has ended.

    Not where its pids count in another namespace (a container): from here only its silence can be noticed.
    """
    if beat["pidns"] not in ("", pid_namespace()):
        return False
    return bool(beat["start_ticks"]) and not is_running(Identity(beat["pid"], beat["start_ticks"]))


def is_wrapped(store: Store, who: Actor) -> bool:
    """Whether ``who`` runs under a live wrapper, which renews what it holds."""
    beat = heartbeat(store, who.name) if who.incarnation else None
    return bool(beat and beat["child"] and beat["incarnation"] == who.incarnation and is_fresh(store, beat))


def lease_time(store: OpenStore, who: Actor, by_hand: float) -> float:
    """Seconds for which a lease is granted to ``who``: short where a wrapper renews it, else ``by_hand``."""
    return min(store.config.renewed_lease, by_hand) if is_wrapped(store, who) else by_hand


def liveness(store: Store, name: str) -> str:
    """``alive``, ``dead`` or ``no heartbeat``, for people."""
    return {True: "alive", False: "dead", None: "no heartbeat"}[alive(store, name)]
