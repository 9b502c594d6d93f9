"""Teams: agents that were called together, from the call to the end.  The domain part; panes are `panes`'.

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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mbox.agents import registry
from mbox.agents.roster import DEEPEST, everybody, present, require
from mbox.errors import NotFound, Refused, Usage, did_you_mean
from mbox.format import documents, keys, operations, places
from mbox.format.documents import Document
from mbox.store.transaction import Actor, Transaction
from mbox.tasks import planning
from mbox.tasks.drafts import TaskDraft, cycle_of

from .teamfile import Member, Team

if TYPE_CHECKING:
    from mbox.store.store import Store


Answer = dict[str, Any]


LISTED = 500
"""How many unread messages a list names at most."""


# -- calling together ------------------------------------------------------------------------------------------------


def up(store: Store, by: Actor, spec: Team, drafts: Sequence[TaskDraft], trees: dict[str, tuple[str, str]],
       session: str, server: str | None = None) -> Answer:  # fmt: skip
    """Register the members, import ``drafts``, and write the team, in one transaction, the record ``team.up``.

    ``trees`` holds path and branch of each member that has a working tree of its own.  The answer: the team, which
    agents are new, which changed, which are no longer in the file, and what was imported.
    """
    _check_plan(store, drafts)
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
        tx.record(operations.TEAM_UP, [spec.name, *fresh, *changed, *tasks])
        return answer

    return store.transact(decide, by)


def _check_plan(store: Store, drafts: Sequence[TaskDraft]) -> None:
    """`Usage` or `Refused` for a plan that cannot be imported, before the lock is taken."""
    planning.check_drafts(store, drafts)
    if circle := cycle_of(drafts):
        where = next(draft.where for draft in drafts if draft.id == circle[0])
        raise Refused(f"{where} is in a cycle: {' → '.join(circle)}; mend it")


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
            found[name] = (registry.ORCHESTRATOR, above if above != new else None)
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
    fresh, changed, wanted = [], [], []
    names = {member.name for member in spec.members}
    if spec.parent and spec.parent not in names:
        registry.require(tx.store, tx.read, spec.parent)
    for member in spec.members:
        if member.name in registry.RESERVED:
            raise Usage(f"{spec.file}: {member.name} is the toolkit's own name in the journal; take another")
        if member.reports_to and member.reports_to not in names:
            registry.require(tx.store, tx.read, member.reports_to)
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
        registry.refuse_role(tx, doc, made)
        wanted.append(made)
    for made in wanted:  # once nothing is refused: who calls may be one of them
        tx.put(made, places.agent(made["agent"]))
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


def lead(store: Store, by: Actor, name: str, agent: str) -> Answer:
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
        docs = {member: registry.require(store, tx.read, member) for member in rows}
        stand = {member: (doc["role"], doc["reports_to"]) for member, doc in docs.items()}
        moved = _moved(stand, old, agent, team["parent"])
        changed = [member for member in rows if moved[member] != stand[member]]
        fresh = {member: {**docs[member], "role": moved[member][0], "reports_to": moved[member][1]} for member in changed}
        for member, doc in fresh.items():
            registry.refuse_role(tx, docs[member], doc)
        for member, doc in fresh.items():
            tx.put(doc, places.agent(member))
            rows[member].update(role=doc["role"], reports_to=doc["reports_to"])
        policy = dict(team["policy"] or {})
        said = policy.pop("led", {}).get("file", old)
        if said != agent:
            policy["led"] = {"file": said, "now": agent}
        team.update(orchestrator=agent, members=[rows.get(row["name"], row) for row in team["members"]], policy=policy or None)
        tx.put(team, places.team(name))
        tx.record(operations.TEAM_LEAD, [name, agent, *[one for one in changed if one != agent]], f"{old or 'nobody'} led before")
        return {"team": name, "orchestrator": agent, "before": old, "changed": changed}

    return store.transact(decide, by)


def take_out(store: Store, by: Actor, name: str, agent: str) -> Answer:
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
        tx.record(operations.TEAM_UP, [name, agent], f"{agent} was removed")
        return {"team": name, "removed": agent}

    return store.transact(decide, by)


def change_state(store: Store, by: Actor, name: str, state: str, why: str = "") -> Answer:
    """Let a team drain, or be down."""
    op = {"draining": operations.TEAM_DRAIN, "down": operations.TEAM_DOWN}[state]

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

    return store.transact(decide, by)


def hand_over(store: Store, by: Actor, name: str) -> Answer | None:
    """What members have not read goes to the orchestrator, or to whom the team reports, as one list; None if all is read.

    The same list is sent once; it is made without the lock, for it may be long.  Without ``to`` in the answer there is
    nobody who could get it.
    """

    if not store.is_in_order():
        store.catch_up()
    members = everybody(store.read, require(store, store.read, name))
    unread = {row["name"]: _unread(store, row["name"]) for row in members}

    def decide(tx: Transaction) -> Answer | None:
        team = require(store, tx.read, name)
        to = team["orchestrator"] or team["parent"]
        lines = [line for who, lines in unread.items() if who != team["orchestrator"] for line in lines]
        if not lines:
            return None
        answer = {"to": to, "messages": len(lines)}
        more = [f"… and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        body = "\n".join([*lines[:LISTED], *more, "", "`mbox show ID` prints one of them."])
        fingerprint = keys.fingerprint([operations.MAIL_SEND, body])
        key, former = keys.own("unread", name, team["created_at"], fingerprint), _former_key(team, body)
        if known := tx.index.key(tx.actor.name, key, 0.0) or tx.index.key(tx.actor.name, former, 0.0):
            return {**answer, "msg_id": known.id}
        ident = sending.system(tx, to, f"unread when team {name} ended: {len(lines)}", body) if to else ""
        if not ident:
            return {"messages": len(lines)}
        tx.record(operations.MAIL_SEND, [ident], key=[key, fingerprint])
        return {**answer, "msg_id": ident}

    from mbox.mail import sending

    return store.transact(decide, by)


def _former_key(team: Document, body: str) -> str:
    """The key under which an older version handed over the list ``body``."""
    return f"unread of {team['team']}, called {team['created_at']}: {crc32(body.encode()):08x}-{len(body)}"


def _unread(store: Store, agent: str) -> list[str]:
    """A line for each unread message, the first to be read first."""
    from mbox.mail import inbox

    docs = inbox.unread(store, agent)
    return [f"{agent}: {doc['msg_id']} from {doc['from']}: {doc['subject'] or '(no subject)'}" for doc in docs]
