"""Teams: agents that were called together, from the call to the end.  The domain part; panes are `session`'s.

States of a team, each change one record:

    (none), down --team.up--> up --team.drain--> draining --team.down--> down
                               up --team.up--> up (what changed in its file)      draining --team.up--> up
                               up --team.lead--> up, another orchestrator         up, draining --team.down--> down

Promised: `up` registers every member and imports the plan in one transaction, or nothing; again it changes only what is
different.  While a team drains, its members' ``task claim`` finds nothing ("draining"), also those of a team that one of
its members leads.  `lead` moves the orchestrator's role, and who reports to whom, at once.  A member that is no longer in
the file stays registered and is marked ``removed``: it is not started again.

Not promised: that a member runs.  A crash after `up` leaves a team whose members are not started; `up` again starts
what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import agents, documents, places, planning
from .documents import Document
from .errors import NotFound, Refused, Usage, did_you_mean
from .plans import Draft, cycle_of
from .teamfile import Member, Team
from .transaction import Actor, Transaction

if TYPE_CHECKING:
    from .opening import OpenStore
    from .store import Store

Answer = dict[str, Any]
Read = Callable[[str], Document | None]

DEEPEST = 16
"""How many teams above a team are looked at."""


# -- looking ---------------------------------------------------------------------------------------------------------


def known(store: Store) -> list[str]:
    """Names of the teams, those that are down too."""
    return sorted(name[:-5] for name in store.names(places.TEAMS) if name.endswith(".json"))


def require(store: Store, read: Read, name: str) -> Document:
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
    there = [doc for doc in store.documents(places.TEAMS) if doc["state"] in states]
    if len(there) == 1:
        return there[0]
    if not there:
        raise NotFound("no team is up; `team up FILE` calls one together")
    raise Usage(f"which team? {', '.join(sorted(doc['team'] for doc in there))} are up")


def present(team: Document) -> list[Document]:
    """The members that belong to the team now."""
    return [row for row in team["members"] or [] if not row.get("removed")]


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
    above = agents.require(store, read, name)["reports_to"]
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


# -- calling together ------------------------------------------------------------------------------------------------


def up(store: OpenStore, by: Actor, spec: Team, drafts: Sequence[Draft], trees: dict[str, tuple[str, str]],
       session: str, server: str | None = None, dry_run: bool = False) -> Answer:  # fmt: skip
    """Register the members, import ``drafts``, and write the team, in one transaction.

    ``trees`` holds path and branch of each member that has a working tree of its own.  The answer: the team, which
    agents are new, which changed, which are no longer in the file, and what was imported.
    """
    if circle := cycle_of(drafts):
        raise Refused(f"the plan has a cycle: {' → '.join(circle)}; mend it")
    rows = [_row(member, trees) for member in spec.members]

    def decide(tx: Transaction) -> Answer:
        before = tx.read(places.team(spec.name))
        imported: Answer = {}
        if drafts:
            again = before is not None and before["state"] != "down"
            nameless = next((draft for draft in drafts if draft.id is None), None)
            if again and nameless:
                raise Refused(f"{nameless.where}: a task without an id would be added a second time; give it one")
            imported = planning.imported(store, tx, drafts, skip_existing=True)
        fresh, changed = _register(tx, spec)
        gone = [row for row in (before["members"] if before else []) if row["name"] not in {one["name"] for one in rows}]
        gone = [{**row, "removed": True} for row in gone]
        doc = {
            **(before or documents.new("team", team=spec.name, created_at=tx.now)),
            "state": "up", "members": [*rows, *gone], "session": session, "parent": spec.parent,
            "orchestrator": spec.orchestrator, "file": spec.file, "policy": {"server": server} if server else None,
        }  # fmt: skip
        if before is not None and before["state"] == "down":
            doc["created_at"] = tx.now
        answer = {
            "team": spec.name, "state": "up", "session": session, "new": fresh, "changed": changed,
            "not_in_file": [row["name"] for row in gone], "imported": imported.get("imported", 0),
        }  # fmt: skip
        if doc == before and not fresh and not changed and not imported.get("imported"):
            return {**answer, "already": True}
        tx.put(doc, places.team(spec.name))
        tx.record("team.up", [spec.name, *fresh, *changed, *imported.get("task_ids", [])])
        return answer

    return store.transact(decide, by, dry_run)


def _row(member: Member, trees: dict[str, tuple[str, str]]) -> Document:
    row = member.row()
    if member.name in trees:
        row["tree"], row["branch"] = trees[member.name]
    return row


def _register(tx: Transaction, spec: Team) -> tuple[list[str], list[str]]:
    """Register every member, or change what is said of it; who is new, and who changed."""
    fresh, changed = [], []
    names = {member.name for member in spec.members}
    if spec.parent and spec.parent not in names:
        agents.require(tx.store, tx.read, spec.parent)
    for member in spec.members:
        if member.name in agents.RESERVED:
            raise Usage(f"{spec.file}: {member.name} is the toolkit's own name in the journal; take another")
        if member.reports_to and member.reports_to not in names:
            agents.require(tx.store, tx.read, member.reports_to)
        doc = tx.read(places.agent(member.name))
        said = {
            "role": member.role, "host": member.host, "model": member.model, "capabilities": list(member.capabilities),
            "reports_to": member.reports_to, "team": spec.name,
        }  # fmt: skip
        _refuse_stranger(tx, spec, doc)
        if doc is None:
            made = documents.new("agent", agent=member.name, registered_at=tx.now, incarnation_since=tx.now, **said)
            fresh.append(member.name)
        else:
            made = {**doc, **said, "retired_at": None}
            if made == doc:
                continue
            changed.append(member.name)
        tx.put(made, places.agent(member.name))
    return fresh, changed


def _refuse_stranger(tx: Transaction, spec: Team, doc: Document | None) -> None:
    """An agent of another team that is up is not taken away from it."""
    if doc is None or doc["retired_at"] or doc["team"] in (None, spec.name):
        return
    other = tx.read(places.team(doc["team"]))
    if other is not None and other["state"] != "down" and any(row["name"] == doc["agent"] for row in present(other)):
        raise Refused(f"{doc['agent']} belongs to team {doc['team']}, which is {other['state']}; take another name")


# -- changing --------------------------------------------------------------------------------------------------------


def lead(store: OpenStore, by: Actor, name: str, agent: str, dry_run: bool = False) -> Answer:
    """Make a member the orchestrator; who led before becomes a worker and reports to it."""

    def decide(tx: Transaction) -> Answer:
        team = require(store, tx.read, name)
        if team["state"] == "down":
            raise Refused(f"team {name} is down; `team up` calls it together")
        rows = {row["name"]: row for row in present(team)}
        if agent not in rows:
            raise NotFound(f"{agent} is no member of team {name}{did_you_mean(agent, list(rows))}")
        old = team["orchestrator"]
        if old == agent:
            return {"team": name, "orchestrator": agent, "already": True}
        above = agents.require(store, tx.read, old)["reports_to"] if old in rows else team["parent"]
        changed = []
        for member in rows:
            doc = agents.require(store, tx.read, member)
            fresh = dict(doc)
            if member == agent:
                fresh.update(role=agents.ORCHESTRATOR, reports_to=above if above != agent else None)
            elif member == old:
                fresh.update(role="worker", reports_to=agent)
            elif doc["reports_to"] == old:
                fresh["reports_to"] = agent
            if fresh != doc:
                tx.put(fresh, places.agent(member))
                changed.append(member)
            rows[member].update(role=fresh["role"], reports_to=fresh["reports_to"])
        team["orchestrator"] = agent
        tx.put(team, places.team(name))
        tx.record("team.lead", [name, agent, *[one for one in changed if one != agent]], f"{old or 'nobody'} led before")
        return {"team": name, "orchestrator": agent, "before": old, "changed": changed}

    return store.transact(decide, by, dry_run)


def take_out(store: OpenStore, by: Actor, name: str, agent: str, dry_run: bool = False) -> Answer:
    """Mark a member as removed: it is not started again."""

    def decide(tx: Transaction) -> Answer:
        team = require(store, tx.read, name)
        rows = {row["name"]: row for row in present(team)}
        if agent not in rows:
            raise NotFound(f"{agent} is no member of team {name}{did_you_mean(agent, list(rows))}")
        rows[agent]["removed"] = True
        tx.put(team, places.team(name))
        tx.record("team.up", [name, agent], f"{agent} was removed")
        return {"team": name, "removed": agent}

    return store.transact(decide, by, dry_run)


def change_state(store: OpenStore, by: Actor, name: str, state: str, why: str = "", dry_run: bool = False) -> Answer:
    """Let a team drain, or be down."""
    op = {"draining": "team.drain", "down": "team.down"}[state]

    def decide(tx: Transaction) -> Answer:
        team = require(store, tx.read, name)
        if team["state"] == state:
            return {"team": name, "state": state, "already": True}
        if state == "draining" and team["state"] == "down":
            raise Refused(f"team {name} is down")
        team["state"] = state
        tx.put(team, places.team(name))
        tx.record(op, [name], why)
        return {"team": name, "state": state}

    return store.transact(decide, by, dry_run)


def hand_over(store: OpenStore, by: Actor, team: Document) -> Answer | None:
    """What members have not read goes to the orchestrator, or to whom it reports, as one list; None if all is read."""
    from . import letters, mail

    lines = []
    for row in present(team):
        if row["name"] == team["orchestrator"]:
            continue
        lines += [
            f"{row['name']}: {doc['msg_id']} from {doc['from']}: {doc['subject'] or '(no subject)'}"
            for doc in letters.unread(store, row["name"])
        ]
    to = team["orchestrator"] or team["parent"]
    if not lines or not to:
        return None

    def decide(tx: Transaction) -> str:
        body = "\n".join([*lines, "", "`mbox show ID` prints one of them."])
        ident = mail.system(tx, to, f"unread when team {team['team']} went down: {len(lines)}", body)
        if ident:
            tx.record("mail.send", [ident])
        return ident

    ident = store.transact(decide, by)
    return {"to": to, "msg_id": ident, "messages": len(lines)} if ident else None
