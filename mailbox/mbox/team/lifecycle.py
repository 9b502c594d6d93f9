"""Teams: agents that were called together, from the call to the end.  The domain part; panes are `session`'s.

States of a team, each change one record:

    (none), down --team.up--> up --team.drain--> draining --team.down--> down
                               up --team.up--> up (what changed in its file)      draining --team.up--> up
                               up --team.lead--> up, another orchestrator         up, draining --team.down--> down

Promised: `up` registers every member and imports the plan in one transaction, or nothing; again it changes only what is
different.  While a team drains, its members' ``task claim`` finds nothing ("draining"), also those of a team that one of
its members leads.  `lead` moves the orchestrator's role, and who reports to whom, at once; `up` again leaves it moved,
until the team is called after it was down, or its file names another orchestrator.  A member that is no longer in the
file stays registered and is marked ``removed``: it is not started again, but ended with the others.

Not promised: that a member runs.

What a crash leaves, and what repeating the command does.  Of `team up`: before the record nothing, after it a team that
is up, of whose members (working trees, panes) some are missing; `up` again makes what is missing, and the tasks of its plan
that are there already are passed over.  Of `team down`: a team that is draining, of whose members some have ended; again
it ends the rest.  What members held goes back as each is ended (``agent.end``, or ``agent.dead`` by whoever finds it
dead), and the list of what was unread is sent once (a key).  The record ``team.down`` comes after all of that, and before
the audit commit, which `team down NAME` again, or the watchdog, makes.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mbox.tasks import planning
from mbox.agents import registry as agents
from mbox.format import documents
from mbox.format import places
from mbox.format.documents import Document
from mbox.tasks.drafts import Draft, cycle_of
from mbox.errors import NotFound, Refused, Usage, did_you_mean
from mbox.team.teamfile import Member, Team
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore
    from mbox.store.store import Store

Answer = dict[str, Any]
Read = Callable[[str], Document | None]

DEEPEST = 100
"""How many superiors, or teams above a team, are looked at."""

LISTED = 500
"""How many unread messages a list names at most."""


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
    """Register the members, import ``drafts``, and write the team, in one transaction, the record ``team.up``.

    ``trees`` holds path and branch of each member that has a working tree of its own.  The answer: the team, which
    agents are new, which changed, which are no longer in the file, and what was imported.
    """
    if circle := cycle_of(drafts):
        where = next(draft.where for draft in drafts if draft.id == circle[0])
        raise Refused(f"{where} is in a cycle: {' → '.join(circle)}; mend it")
    given = spec

    def decide(tx: Transaction) -> Answer:
        before = tx.read(places.team(given.name))
        spec, led = _as_led(_resolved(tx, given), before)
        rows = [_row(member, trees) for member in spec.members]
        imported: Answer = {}
        if drafts:
            again = before is not None and before["state"] != "down"
            nameless = next((draft for draft in drafts if draft.id is None), None)
            if again and nameless:
                raise Refused(f"{nameless.where}: a task without an id would be added a second time; give it one")
            imported = planning.imported(store, tx, drafts, skip_existing=True)
        tasks = list(tx.header["on"]) if imported.get("imported") else []
        fresh, changed = _register(tx, spec)
        gone = [row for row in (before["members"] if before else []) if row["name"] not in {one["name"] for one in rows}]
        gone = [{**row, "removed": True} for row in gone]
        policy = {name: value for name, value in (("server", server), ("led", led)) if value}
        doc = {
            **(before or documents.new("team", team=spec.name, created_at=tx.now)),
            "state": "up", "members": [*rows, *gone], "session": session, "parent": spec.parent,
            "orchestrator": spec.orchestrator, "file": spec.file, "policy": policy or None,
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
        tx.record("team.up", [spec.name, *fresh, *changed, *tasks])
        return answer

    return store.transact(decide, by, dry_run)


def _resolved(tx: Transaction, spec: Team) -> Team:
    """The team with an agent as its parent, where its file names the team that this agent leads."""
    over = tx.read(places.team(spec.parent)) if spec.parent and tx.read(places.agent(spec.parent)) is None else None
    if over is None:
        return spec
    head = over["orchestrator"] or over["parent"]
    if head is None:
        raise Usage(f"{spec.file}: nobody leads team {spec.parent}; say parent: and one of its members")
    members = [one._replace(reports_to=head) if one.reports_to == spec.parent else one for one in spec.members]
    return spec._replace(parent=head, members=members)


def _as_led(spec: Team, before: Document | None) -> tuple[Team, Document | None]:
    """The team as `lead` left it, and what `lead` noted; as its file says where that is another now."""
    led = (before["policy"] or {}).get("led") if before and before["state"] != "down" else None
    members = {one.name: one for one in spec.members}
    if not isinstance(led, dict) or led.get("now") not in members:
        return spec, None
    if spec.orchestrator not in (None, led.get("file")) or spec.orchestrator == led["now"]:
        return spec, None
    stand = {name: (one.role, one.reports_to) for name, one in members.items()}
    moved = _moved(stand, spec.orchestrator, led["now"], spec.parent)
    rows = [one._replace(role=moved[one.name][0], reports_to=moved[one.name][1]) for one in spec.members]
    return spec._replace(members=rows, orchestrator=led["now"]), led


Stand = dict[str, tuple[str, str | None]]
"""Role of each member, and whom it reports to."""


def _moved(stand: Stand, old: str | None, new: str, parent: str | None) -> Stand:
    """How members stand when ``new`` leads instead of ``old``, which becomes a worker under it."""
    above = stand[old][1] if old in stand else parent
    found: Stand = {}
    for name, (role, reports_to) in stand.items():
        if name == new:
            found[name] = (agents.ORCHESTRATOR, above if above != new else None)
        elif name == old:
            found[name] = ("worker", new)
        else:
            found[name] = (role, new if old is not None and reports_to == old else reports_to)
    return found


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
    for member in spec.members:
        _refuse_circle(tx, spec, member.name)
    return fresh, changed


def _refuse_circle(tx: Transaction, spec: Team, name: str) -> None:
    """Nobody reports to himself, also not by way of other teams."""
    way = [name]
    while len(way) <= DEEPEST:
        doc = tx.read(places.agent(way[-1]))
        above = doc["reports_to"] if doc else None
        if above is None:
            return
        if above in way:
            raise Usage(f"{spec.file}: who reports to whom is a circle: {' → '.join([*way, above])}")
        way.append(above)


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
        rows = {row["name"]: dict(row) for row in present(team)}
        if agent not in rows:
            raise NotFound(f"{agent} is no member of team {name}{did_you_mean(agent, list(rows))}")
        old = team["orchestrator"]
        if old == agent:
            return {"team": name, "orchestrator": agent, "already": True}
        docs = {member: agents.require(store, tx.read, member) for member in rows}
        stand = {member: (doc["role"], doc["reports_to"]) for member, doc in docs.items()}
        moved = _moved(stand, old, agent, team["parent"])
        changed = [member for member in rows if moved[member] != stand[member]]
        for member in changed:
            role, above = moved[member]
            tx.put({**docs[member], "role": role, "reports_to": above}, places.agent(member))
            rows[member].update(role=role, reports_to=above)
        policy = dict(team["policy"] or {})
        said = policy.pop("led", {}).get("file", old)
        if said != agent:
            policy["led"] = {"file": said, "now": agent}
        team.update(orchestrator=agent, members=[rows.get(row["name"], row) for row in team["members"]], policy=policy or None)
        tx.put(team, places.team(name))
        tx.record("team.lead", [name, agent, *[one for one in changed if one != agent]], f"{old or 'nobody'} led before")
        return {"team": name, "orchestrator": agent, "before": old, "changed": changed}

    return store.transact(decide, by, dry_run)


def take_out(store: OpenStore, by: Actor, name: str, agent: str, dry_run: bool = False) -> Answer:
    """Mark a member as removed: it is not started again.  `Refused` while it leads others."""

    def decide(tx: Transaction) -> Answer:
        team = require(store, tx.read, name)
        rows = {row["name"]: dict(row) for row in team["members"] or []}
        if agent not in rows:
            raise NotFound(f"{agent} is no member of team {name}{did_you_mean(agent, list(rows))}")
        if rows[agent].get("removed"):
            return {"team": name, "removed": agent, "already": True}
        if agent == team["orchestrator"] and team["state"] != "down" and len(present(team)) > 1:
            raise Refused(f"{agent} leads team {name}; `team lead {name} AGENT` lets another lead first")
        rows[agent]["removed"] = True
        tx.put({**team, "members": list(rows.values())}, places.team(name))
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


def hand_over(store: OpenStore, by: Actor, name: str) -> Answer | None:
    """What members have not read goes to the orchestrator, or to whom the team reports, as one list; None if all is read.

    The same list is sent once.  Without ``to`` in the answer there is nobody who could get it.
    """

    def decide(tx: Transaction) -> Answer | None:
        team = require(store, tx.read, name)
        to = team["orchestrator"] or team["parent"]
        lines = [line for row in everybody(tx.read, team) if row["name"] != team["orchestrator"]
                 for line in _unread(tx, row["name"])]  # fmt: skip
        if not lines:
            return None
        answer = {"to": to, "messages": len(lines)}
        more = [f"… and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        body = "\n".join([*lines[:LISTED], *more, "", "`mbox show ID` prints one of them."])
        fingerprint = f"{crc32(body.encode()):08x}-{len(body)}"
        key = f"unread of {name}, called {team['created_at']}: {fingerprint}"
        if known := tx.index.key(tx.actor.name, key, 0.0):
            return {**answer, "msg_id": known.id}
        ident = mail.system(tx, to, f"unread when team {name} ended: {len(lines)}", body) if to else ""
        if not ident:
            return {"messages": len(lines)}
        tx.record("mail.send", [ident], key=[key, fingerprint])
        return {**answer, "msg_id": ident}

    from mbox.mail import sending as mail

    return store.transact(decide, by)


def _unread(tx: Transaction, agent: str) -> list[str]:
    """A line for each unread message, the first to be read first."""
    from mbox.mail import lookup as letters

    paths = [places.new(agent, name[:-5]) for name in tx.names(places.new_folder(agent)) if name.endswith(".json")]
    docs = [doc for doc in map(tx.read, paths) if doc and doc["state"] == "unread" and not letters.is_expired(doc, tx.now)]
    return [f"{agent}: {doc['msg_id']} from {doc['from']}: {doc['subject'] or '(no subject)'}"
            for doc in sorted(docs, key=letters.rank)]  # fmt: skip
