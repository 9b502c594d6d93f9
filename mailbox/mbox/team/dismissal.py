"""The end of a team: its members told when they have nothing to do, ended when their time is over, and what they leave.

`down` takes a team through these states, and each can be the last if the process dies:

1. *draining*, a record: its members claim nothing new; who has nothing to read and holds nothing is told to end, the
   orchestrator last, until the time is over (`drain` does only this).  – Killed here: a team that drains; members end as
   the watchdog and their own wrappers know how.
2. *ended*: whoever is left, by its wrapper, else by SIGKILL; what is still held goes back (`end`).  – Killed here: some
   run; who is gone is gone, what was given back is nobody's.
3. the list of unread mail to the orchestrator, once; the tmux session; clean working trees.  – Killed here: a team that
   drains, without members.
4. *down*, a record; that it was called here is forgotten; the audit commit.  – Killed between: the watchdog, or the next,
   commits; what is still remembered starts nothing, because the team is down.

`down` again does what is left of it.  `remove` ends one member: killed before the end, it is out of the team's document,
and perhaps not yet of the file; `remove` again goes on.

Promised: `down` ends within its time and 5 seconds, and says what was queued again, what is dead, which trees were
kept. Draining, which takes long, holds no lock; ending holds the team's (`panes.team_turn`), and goes on without it
where another holds it.  Who calls may be a member, and be ended by it: the command has stepped out of that member's group
before (`step_out`), and goes on.  What left its process group is not ended but named (`jobs`), and the tree of its
member is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from mbox.agents import presence, registry, roster
from mbox.errors import MboxError, Refused, TimedOut
from mbox.format import operations, places
from mbox.format.documents import Document
from mbox.git import audit, worktrees
from mbox.liveness import departure, jobs, trust
from mbox.report import history
from mbox.store.transaction import SWEEP

from . import lifecycle, panes, teamfile
from .lifecycle import Answer
from .report import report

if TYPE_CHECKING:
    from mbox.store.store import Actor, Store

GRACE = 2.5
"""Seconds that members have at most to end by themselves: `down` takes no more than 5 beyond its time."""

STEP = 0.1
"""Seconds between two looks at members that are to end."""

Say = Callable[[str], None]


class Drained(NamedTuple):
    """A team that drains: what was done, and the members that are still at work."""

    answer: Answer
    left: list[str]


def drain(store: Store, by: Actor, doc: Document, seconds: float, say: Say) -> Drained:
    """Let the members of a team finish what they do for ``seconds``, and take nothing new.

    What is unread at that time goes to the orchestrator as one list, if somebody is still at work.
    """
    answer = lifecycle.change_state(store, by, doc["team"], "draining")
    if by.dry_run:
        return Drained(answer, [])
    left = drained(store, [doc], store.host.mono() + seconds, say)
    handed = _handed_over(store, by, doc["team"], say) if left else None
    return Drained({**answer, "at_work": left, "handed_over": handed}, left)


def down(store: Store, by: Actor, docs: Sequence[Document], seconds: float, say: Say) -> list[Answer]:
    """End teams, all of them within ``seconds`` and 5 more; of each what happened to it, and its report."""
    live = [doc for doc in docs if doc["state"] != "down"]
    if by.dry_run:
        return [_would_stop(store, doc) if doc in live else _already(doc) for doc in docs]
    since, until = store.end().seq, store.host.mono() + seconds
    for doc in live:
        lifecycle.change_state(store, by, doc["team"], "draining")
    left = set(drained(store, live, until, say))
    found: dict[str, Answer] = {doc["team"]: {} for doc in docs}
    with ExitStack() as stack:
        for doc in docs:
            try:
                stack.enter_context(panes.team_turn(store, doc["team"], 0.5))
            except TimedOut as error:
                say(f"{error}; going on")
        live = [roster.require(store, store.read, doc["team"]) for doc in live]
        names = {doc["team"]: [row["name"] for row in roster.everybody(store.read, doc)] for doc in live}
        end(store, [who for some in names.values() for who in some], GRACE)
        left_running = outlived(store, (doc["members"] or [] for doc in docs))
        for doc in docs:
            mine = found[doc["team"]]
            if doc["team"] in names:
                mine["requeued"], mine["dead"] = given_back(store, names[doc["team"]], since)
                mine["handed_over"] = _handed_over(store, by, doc["team"], say)
            if panes.close(store, doc, panes.server_of(doc)):
                say(f"the tmux session {doc['session']} stays, because panes of yours are in it")
            mine.update(removed_trees(store, doc["team"], doc["members"] or [], left_running))
        for doc in live:
            busy = [who for who in names[doc["team"]] if who in left]
            lifecycle.change_state(store, by, doc["team"], "down", f"stopped at work: {', '.join(busy)}" if busy else "")
            _forget(store, doc["team"], say)
    _commit(store, say)
    return [_ended(store, doc, doc["team"] in names, found[doc["team"]], say) for doc in docs]


def remove(store: Store, by: Actor, team: str, member: str) -> Answer:
    """Take a member out of a team and its file, and end it; what it held goes back.

    `TimedOut` where another starts or ends members for `panes.TURN` seconds.
    """
    doc = roster.require(store, store.read, team)
    trust.require_called_here(store, doc)
    in_file = member in {one.name for one in teamfile.load(doc["file"]).members}
    text = teamfile.without_member(doc["file"], member) if in_file else None
    answer = lifecycle.take_out(store, by, team, member)
    if by.dry_run:
        return answer
    with panes.team_turn(store, team, panes.TURN):
        if text is not None:
            store.disk.rewrite(doc["file"], text.encode())
        rows = [row for row in roster.everybody(store.read, doc) if row["name"] == member]
        if rows and doc["state"] != "down":
            end(store, [member], GRACE, f"it was removed from team {team}")
        server, last = panes.server_of(doc), presence.status(store, member)
        if server and rows and last and last["pane"] and panes.is_members(store, doc, member, last["pane"], server):
            server.close_pane(last["pane"])
        answer.update(removed_trees(store, team, rows, outlived(store, [rows])))
    return answer


def step_out(store: Store) -> None:
    """Go on where the end of a member does not end this process (`command.step_out`), if a member's program called it.

    That is seen by its variables, or, where somebody cleared them, by its group and by the processes above it.
    """
    from mbox.system import command, processes

    group, pid = os.getpgrp(), os.getpid()
    beats = (presence.heartbeat(store, name) for name in registry.known(store))
    programs = (beat["child"] for beat in beats if beat and beat["child"] and presence.counts_here(beat))
    if os.environ.get("MBOX_INCARNATION") or any(one == group or processes.descends(pid, one) for one in programs):
        command.step_out()


# -- what is told of it ----------------------------------------------------------------------------------------------


def _handed_over(store: Store, by: Actor, team: str, say: Say) -> Answer | None:
    """Send the list of unread mail; say how much there is where nobody could get it."""
    handed = lifecycle.hand_over(store, by, team)
    if handed and "to" not in handed:
        say(f"{handed['messages']} unread messages stay in the inboxes of team {team}, which nobody leads")
        return None
    return handed


def _ended(store: Store, doc: Document, was_up: bool, more: Answer, say: Say) -> Answer:
    """The answer for one team; teams that its members lead are named."""
    name = doc["team"]
    made = report(store, roster.require(store, store.read, name)) if was_up else _already(doc)
    if others := roster.below(store, doc):
        say(f"{', '.join(others)}: led by members of {name}, and still up; `team down {others[0]}`")
    made.pop("sums", None)  # `team report` explains
    return {**made, **{key: value for key, value in more.items() if value}}


def _would_stop(store: Store, doc: Document) -> Answer:
    running = [row["name"] for row in roster.everybody(store.read, doc) if panes.is_up(store, row["name"])]
    return {"team": doc["team"], "state": "down", "stopped": running}


def _already(doc: Document) -> Answer:
    return {"team": doc["team"], "state": "down", "already": True}


def _forget(store: Store, team: str, say: Say) -> None:
    """A team that was ended is not called here any more; its file is still its file."""
    try:
        trust.forget(store, trust.called(team))
    except MboxError as error:
        say(f"that team {team} was called here is still remembered: {error}")


def _commit(store: Store, say: Say) -> None:
    try:
        audit.commit(store)
    except Refused:
        pass  # no git here
    except MboxError as error:
        say(f"the audit trail was not committed: {error}")


# -- the steps -------------------------------------------------------------------------------------------------------


def drained(store: Store, docs: Sequence[Document], until: float, say: Say) -> list[str]:
    """Stop every member that has nothing to do, orchestrators last; who is still up at ``until``, by the store's clock.

    Who is waited for, and until when, is said at the start and when that changes.
    """
    told: set[str] = set()
    said = ""
    host = store.host
    limit = time.strftime("%H:%M:%S", time.localtime(host.wall() + until - host.mono()))
    rows = [(row["name"], doc) for doc in docs for row in roster.everybody(store.read, doc)]
    while True:
        running = [(who, doc) for who, doc in rows if panes.is_up(store, who)]
        if not running or host.mono() >= until:
            return [who for who, _ in running]
        busy = []
        for who, doc in running:
            last = who == doc["orchestrator"] and sum(other is doc for _, other in running) > 1
            if who in told or last:
                continue
            if _is_done(store, who):
                panes.tell_to_stop(store, who)
                told.add(who)
            else:
                busy.append(f"{who} ({'unread mail' if _has_mail(store, who) else 'at work'})")
        text = f"waiting until {limit} for {', '.join(busy)}"
        if busy and text != said:
            say(text)
            said = text
        host.sleep(STEP)


def _is_done(store: Store, who: str) -> bool:
    """Whether a member has nothing to read and holds nothing."""
    agent = store.read(places.agent(who))
    if agent is None or _has_mail(store, who):
        return agent is None
    return not store.transact(lambda tx: departure.holds(tx, who, agent["incarnation"]), SWEEP.trial())


def _has_mail(store: Store, who: str) -> bool:
    return bool(places.idents(store.names(places.new_folder(who))))


def end(store: Store, names: list[str], seconds: float, why: str = "its team was dismissed") -> None:
    """End members within ``seconds``, then at once, and give back what is still held."""
    for who in names:
        panes.tell_to_stop(store, who)
    for who in panes.wait_down(store, names, min(seconds, store.config.stop_grace + 0.5)):
        panes.kill(store, who)
    for who in names:
        if (agent := store.read(places.agent(who))) is not None:
            departure.give_back(store, SWEEP, who, agent["incarnation"], operations.AGENT_DEAD, why)


def given_back(store: Store, names: list[str], since: int) -> tuple[list[str], list[str]]:
    """Tasks that members held and gave back since ``since``: those queued again, and those that are dead now."""
    records, _ = history.newest(store, history.RecordFilter(since_seq=since), 0)
    ends = (operations.AGENT_END, operations.AGENT_DEAD)
    ids = [ident for record in records if record["op"] in ends and record["on"][0] in names
           for ident in record["on"][1:]]  # fmt: skip
    docs = [doc for ident in dict.fromkeys(ids) if (doc := store.read(places.task(ident)))]
    return (
        [doc["task_id"] for doc in docs if doc["status"] == "queued"],
        [f"{doc['task_id']}: {doc['reason']}" for doc in docs if doc["status"] == "deadletter"],
    )


def outlived(store: Store, rows: Iterable[list[Document]]) -> list[jobs.Job]:
    """What members left running."""
    names = [row["name"] for some in rows for row in some]
    return jobs.left(store, [doc for name in names if (doc := store.read(places.agent(name)))])


def removed_trees(store: Store, team: str, rows: list[Document], left_running: list[jobs.Job]) -> dict[str, list[str]]:
    """Remove clean working trees; which were kept, and why, and what members left running.

    Kept is a tree that does not stand where a member's stands, one whose member left something running, and one in which
    anybody's job stands.
    """
    removed, kept, names = [], [], {row["name"] for row in rows}
    running = [job for job in left_running if job.agent in names]
    for row in rows:
        if not row.get("tree"):
            continue
        busy = [str(job) for job in running if job.agent == row["name"]]
        if busy := busy or [f"{job.agent}'s pid {job.pid} works in it ({job.runs})" for job in jobs.inside(store, row["tree"])]:
            kept.append(f"{row['tree']} ({row['branch']}): {'; '.join(busy)}")
            continue
        try:
            ours = row["tree"] == worktrees.place(store.root, team, row["name"])
            why = worktrees.remove(store.root, row["tree"], row["branch"]) if ours else "is not where its tree would stand"
        except MboxError as error:
            why = str(error)
        (kept.append(f"{row['tree']} ({row['branch']}): {why}") if why else removed.append(row["tree"]))
    return {"trees_removed": removed, "trees_kept": kept, "left_running": [str(job) for job in running]}
