"""Agents: who is registered, and in which incarnation.

An agent is a name with a role, capabilities and an *incarnation*: a number that goes up when a new process takes the
name over, so that a process of an older one is told so (exit 5) instead of acting with a stranger's leases.

Promised: `still_current` refuses, under the lock, whoever acts in an older incarnation; a name that is not registered, or
retired, is refused with the nearest names.  Not promised: that a registered agent is alive (`presence` says that).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbox.errors import NotFound, NotYours, Refused, Usage, did_you_mean
from mbox.format import documents, operations, places
from mbox.format.checks import few
from mbox.format.documents import Document
from mbox.format.fields import check_words
from mbox.store.state import State
from mbox.store.store import Actor, Store, Transaction

ORCHESTRATOR, REVIEWER, USUAL = "orchestrator", "reviewer", "worker"
"""The role that may broadcast and give roles, the one that judges, and the one that an agent has where none is said."""

RESERVED = frozenset(["sweep", "store", "system"])
"""Names that stand in the journal for the toolkit itself."""

Read = Callable[[str], Document | None]


def known(store: State) -> list[str]:
    """Names of the registered agents, retired ones too."""
    return sorted(places.idents(store.names(places.AGENTS)))


def require(store: State, read: Read, name: str) -> Document:
    """The document of agent ``name``; `NotFound` with the nearest names if it is not registered or retired.

    Those may be of retired agents: what is meant is looked for among names, for the lock may be held.
    """
    if not places.is_name(name):
        raise Usage(f"not an agent's name: {name!r} (a-z, 0-9, '.', '_', '-', starting with a letter or digit)")
    doc = read(places.agent(name))
    if doc is None or doc["retired_at"]:
        state = "is retired" if doc else "is not registered"
        near = did_you_mean(name, [other for other in known(store) if other != name])
        raise NotFound(f"agent {name!r} {state}{near or f'; `mbox agent add {name}` registers it'}")
    return doc


def active(store: State) -> list[str]:
    """Names of the agents that are registered and not retired.  Reads every document: not for who has the lock."""
    return sorted(doc["agent"] for doc in store.documents(places.AGENTS) if not doc["retired_at"])


LOOKED = 200
"""Documents that are read to name some agents."""


def some_active(store: State, most: int = 8) -> str:
    """``registered are ann, bob and 3 more``, for people; empty where nobody is.  Of many only the first are looked at."""
    names = known(store)
    docs = [store.glance(places.agent(name)) for name in names[:LOOKED]]
    there = [doc["agent"] for doc in docs if doc and not doc["retired_at"]] + names[LOOKED:]
    return f"registered {'is' if len(there) == 1 else 'are'} {few(there, most)}" if there else ""


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


def governs(tx: Transaction, nobody: bool = False) -> bool:
    """Whether the caller has a say over other agents: a person, the toolkit itself, or an orchestrator.

    ``nobody``: the caller says it is an agent, and is none that is registered.
    """
    caller = tx.actor.name
    if caller.startswith("user:") or caller in RESERVED:
        return not nobody
    own = tx.read(places.agent(caller)) if places.is_name(caller) and not nobody else None  # an engine is no agent
    return own is not None and own["role"] == ORCHESTRATOR and not own["retired_at"]


def refuse_role(tx: Transaction, before: Document | None, after: Document, nobody: bool = False) -> None:
    """`Refused` where the caller may not give an agent the role that it has in ``after``.

    Who `governs` may give any.  Another agent may register one in any role but orchestrator, and go back to `USUAL` itself.
    Whoever was retired comes back in the role it had, or as `USUAL`, and not as orchestrator.
    """
    name, role, caller = after["agent"], after["role"], tx.actor.name
    back = before is not None and before["retired_at"] is not None
    if role == (before["role"] if before else USUAL) and not (back and role == ORCHESTRATOR):
        return
    if governs(tx, nobody):
        return
    if role != ORCHESTRATOR and (before is None or (role == USUAL and (back or name == caller))):
        return
    who = "an agent that is not registered" if nobody else caller
    raise Refused(
        f"{who} cannot make {name} {role}: only an orchestrator, or a person (without MBOX_AGENT and --as), changes roles; "
        f"an agent may go back to {USUAL} itself"
    )


def add(store: Store, by: Actor, name: str, changes: dict[str, Any], new: bool = False, nobody: bool = False) -> Document:
    """Register ``name``, or change what is said of it; ``new`` starts a new incarnation.  The document.

    ``changes`` holds any of role, host, model, capabilities, reports_to, team.  A retired name comes back in a new
    incarnation.  `Refused` for a role that ``by``, or an agent that is ``nobody`` yet, may not give (`refuse_role`).
    """
    if not places.is_name(name):
        raise Usage(f"not an agent's name: {name!r} (a-z, 0-9, '.', '_', '-', at most 64)")
    if name in RESERVED:
        raise Usage(f"{name} is the toolkit's own name in the journal; take another, such as {name}-1")
    check_words(changes)

    def decide(tx: Transaction) -> Document:
        if by.incarnation:
            still_current(tx)
        doc = tx.read(places.agent(name))
        op = operations.AGENT_ADD
        if doc is None:
            fresh = documents.new("agent", agent=name, registered_at=tx.now, incarnation_since=tx.now, **changes)
        else:
            fresh = {**doc, **changes, "retired_at": None}
            if new or doc["retired_at"]:
                fresh["incarnation"] += 1
                fresh["incarnation_since"] = tx.now
                op = operations.AGENT_NEW
        if fresh == doc:
            return {**doc, "already": True}
        refuse_role(tx, doc, fresh, nobody)
        _refuse_run(by, doc, fresh)
        if fresh["reports_to"] and fresh["reports_to"] != (doc or {}).get("reports_to"):
            require(store, tx.read, fresh["reports_to"])
        tx.put(fresh, places.agent(name))
        tx.record(op, [name])
        return fresh

    return store.transact(decide, by)


OF_RUN = "run:"
"""How the capability begins that a run gives its own workers, and the name by which it makes its records."""


def _refuse_run(by: Actor, doc: Document | None, fresh: Document) -> None:
    """`Refused` where somebody else than a run says that an agent is a worker of that."""
    before = (doc or {}).get("capabilities") or ()
    given = [word for word in fresh["capabilities"] if word.startswith(OF_RUN) and word not in before and word != by.name]
    if given:
        raise Refused(f"capability {given[0]} is what a run gives to its own workers; say --can with another word")


RUN, END = "run", "end"
"""Events in ``status/`` by which a wrapper says that its program runs, or has ended."""
