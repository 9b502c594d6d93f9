"""The teams, and who is in them under whom.

Promised: nothing is changed; what takes ``read`` serves decisions (that of a transaction) and display (that of the store)
alike; no way up is followed further than `DEEPEST`.  Not promised: that a member runs; nor that the documents of several
teams and agents, read one after the other, are of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mbox.errors import NotFound, Refused, Usage, did_you_mean
from mbox.format import places
from mbox.format.documents import Document

from . import registry

if TYPE_CHECKING:
    from mbox.store.state import State
    from mbox.store.store import Store


Read = Callable[[str], Document | None]


DEEPEST = 100
"""How many superiors, or teams above a team, are looked at."""


def known(store: State) -> list[str]:
    """Names of the teams, those that are down too."""
    return sorted(places.idents(store.names(places.TEAMS)))


def live(store: State) -> list[Document]:
    """The teams that are not down, by name."""
    return [doc for name in known(store) if (doc := store.glance(places.team(name))) and doc["state"] != "down"]


def require(store: State, read: Read, name: str) -> Document:
    """The document of a team; `NotFound` with the nearest names."""
    doc = read(places.team(name)) if places.is_name(name) else None
    if doc is None:
        there = known(store)
        hint = did_you_mean(name, there) or (f"; there are {', '.join(there)}" if there else "; `team up FILE` makes one")
        raise NotFound(f"no team {name!r}{hint}")
    return doc


def the_one(store: Store, name: str | None, states: Sequence[str] = ("up", "draining")) -> Document:
    """The team of that name; without a name the only one that is in one of ``states``."""
    if name is not None:
        return require(store, store.read, name)
    docs = [doc for doc in store.documents(places.TEAMS) if doc["state"] in states]
    there = [doc for doc in docs if doc["state"] != "down"] or docs
    if len(there) == 1:
        return there[0]
    if not there:
        raise NotFound("no team is up; `team up FILE` calls one together")
    raise Usage(f"which team? there are {', '.join(sorted(doc['team'] for doc in there))}")


def present(team: Document) -> list[Document]:
    """The members that belong to the team now."""
    return [row for row in team["members"] or [] if not row.get("removed")]


def everybody(read: Read, team: Document) -> list[Document]:
    """The members that belong to the team now, and those that were taken out and are in no other team since."""
    def here(row: Document) -> bool:
        doc = read(places.agent(row["name"])) if row.get("removed") else None
        return not row.get("removed") or (doc is not None and doc["team"] == team["team"])

    return [row for row in team["members"] or [] if here(row)]


def below(store: Store, team: Document) -> list[str]:
    """Teams that are not down and that a member of this one leads."""
    names = {row["name"] for row in present(team)}
    return sorted(doc["team"] for doc in store.documents(places.TEAMS) if doc["parent"] in names and doc["state"] != "down")


def draining(read: Read, agent: Document) -> str | None:
    """The team, of this agent or above it, that is being drained; None if none is."""
    at: Document | None = agent
    for _ in range(DEEPEST):
        team = read(places.team(at["team"])) if at and at["team"] else None
        if team is None:
            return None
        if team["state"] == "draining":
            return str(team["team"])
        at = read(places.agent(team["parent"])) if team["parent"] else None
    return None


def superior(store: Store, read: Read, name: str) -> str:
    """Who ``name`` reports to; `Refused` if nobody is said."""
    above = registry.require(store, read, name)["reports_to"]
    if not above:
        raise Refused(f"{name} reports to nobody, so there is no --up; `team up FILE` says who reports to whom")
    return str(above)


def reports(store: Store, name: str) -> list[str]:
    """Who reports to ``name``; `Refused` if nobody does."""
    found = sorted(doc["agent"] for doc in store.documents(places.AGENTS)
                   if doc["reports_to"] == name and not doc["retired_at"])  # fmt: skip
    if not found:
        raise Refused(f"nobody reports to {name}, so there is no --down")
    return found
