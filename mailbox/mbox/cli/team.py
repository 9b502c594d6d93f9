"""`team`: agents called together in tmux, watched, dismissed."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from mbox import places, teams
from mbox.cli.options import AGENT, DURATION, LINE, Context, argument, changes, command, name, option, shows
from mbox.documents import Document
from mbox.errors import MboxError, NotFound, Refused, TimedOut, Usage

if TYPE_CHECKING:
    from mbox.opening import OpenStore
    from mbox.teamfile import Team
    from mbox.tmux import Tmux

TEAM = name("team")
STEP = 0.1
"""Seconds between two looks at members that are to end."""

AFTER = 5.0
"""Seconds that `team down` takes at most beyond its time."""

REFRESH = 2.0

TURN = 20.0
"""Seconds for which another `team up` or `team down` of the same team is waited for."""


# -- calling together ------------------------------------------------------------------------------------------------


@command(
    examples=["team up team.yaml", "team up team.yaml --tasks plan.yaml    # again: only what is missing"],
    exits={4: "a member did not come up"},
)
@changes
@argument("file", metavar="FILE")
@option("--tasks", "plan", metavar="PLAN", help="import these tasks too, as `task import` does")
@option("--socket", metavar="PATH", help="a tmux server of its own, at this socket")
@option("--no-tmux", is_flag=True, help="no panes: programs run detached, and write to .mailbox/cache/logs/")
def up(context: Context, file: str, plan: str | None, socket: str | None, no_tmux: bool) -> None:
    """Call the team in FILE together: agents, tasks, working trees, panes, watchdog; or start what is missing.

    FILE is YAML: `members: [{name, role, count, host, model, …}]`, docs/teams.md has all of it.
    """
    from mbox import session, teamfile
    from mbox.cli.planning import plan_of

    path = os.path.abspath(os.path.join(context.cwd, file))
    spec = teamfile.load(path)
    store, by = context.store, context.actor(required=False)
    _check_programs(store, spec)
    server = None if no_tmux else _tmux(context, socket)
    drafts = plan_of(context, plan) if plan else []
    trees = _trees(store, spec)
    with session.alone(store, spec.name, TURN):
        panes = session.choose(store, spec.name, server) if server else ""
        answer = teams.up(store, by, spec, drafts, trees, panes, socket if server else None, context.dry_run)
        if context.dry_run:
            context.emit(answer)
            return
        team = teams.require(store, store.read, spec.name)
        _make_trees(store, team)
        before = {row["name"]: session.incarnation(store, row["name"]) for row in teams.present(team)}
        started = session.start(store, team, teams.present(team), server)
        _watchdog(store)
        late = session.wait_up(store, {who: before[who] for who in started}, 15)
    context.emit({**answer, "started": started})
    if late:
        raise TimedOut(f"not up after 15 s: {', '.join(late)}; `team status` shows their last words")


def _check_programs(store: OpenStore, spec: Team) -> None:
    """`Usage` for a member whose program is not on the PATH, before anything is begun."""
    import shutil

    from mbox import hosts

    for member in spec.members:
        host = hosts.get(member.host) if member.command else hosts.require(member.host) if member.host else None
        if host is None:
            raise Usage(f"{spec.file}: {member.name}: say host: or command:, so that it can be started")
        line = [*member.sandbox, *host.command(member.command or None)]
        search = member.env.get("PATH") or os.environ.get("PATH")
        if shutil.which(os.path.join(store.root, line[0]) if "/" in line[0] else line[0], path=search) is None:
            raise Usage(f"{spec.file}: {member.name}: no program {line[0]} on the PATH")


def _tmux(context: Context, socket: str | None) -> Tmux | None:
    """The tmux server to use; None, said, where there is no tmux that can do it."""
    from mbox import tmux

    try:
        tmux.require()
    except tmux.TmuxError as error:
        context.say(f"{error}; members run without panes, their output is in .mailbox/cache/logs/")
        return None
    return tmux.Tmux(socket)


def _trees(store: OpenStore, spec: Team) -> dict[str, tuple[str, str]]:
    from mbox import worktrees

    found = {}
    for member in spec.members:
        if member.worktree:
            branch = member.worktree if isinstance(member.worktree, str) else f"mbox/{spec.name}/{member.name}"
            found[member.name] = (worktrees.place(store.root, spec.name, member.name), branch)
    return found


def _make_trees(store: OpenStore, team: Document) -> None:
    from mbox import worktrees

    for row in teams.present(team):
        if row.get("tree"):
            worktrees.ensure(store.root, team["team"], row["name"], row["branch"])


def _watchdog(store: OpenStore) -> None:
    from mbox import locks
    from mbox.cli.run import start_watchdog

    if not locks.is_held(store, places.WATCHDOG_LOCK):
        start_watchdog(store.root)


# -- looking ---------------------------------------------------------------------------------------------------------


@command(examples=["team status", "team status blue --watch"], exits={3: "no such team"})
@shows
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--watch", is_flag=True, help="again and again, until you interrupt it")
def status(context: Context, team: str | None, watch: bool) -> None:
    """Who is alive, busy or idle, with which task since when, unread mail, last words of the pane."""
    from mbox import ready

    doc = teams.the_one(context.store, team, ("up", "draining", "down"))
    store = context.store
    while True:
        held = [task for task in ready.View(store).tasks.values() if task["status"] in ("claimed", "running")]
        rows = [_row(store, row, held) for row in teams.present(teams.require(store, store.read, doc["team"]))]
        if watch and sys.stdout.isatty():
            context.write("\x1b[H\x1b[2J")
        context.emit(rows)
        if not watch:
            return
        context.flush()
        time.sleep(REFRESH)


def _row(store: OpenStore, row: Document, held: list[Document]) -> dict[str, Any]:
    from mbox import agents, history, session
    from mbox.reservations import span

    who = row["name"]
    mine = [task for task in held if task["owner"] == who]
    since = ""
    if mine:
        found, _ = history.newest(store, history.Filter(task=mine[0]["task_id"], op="task.claim"), 1)
        since = span(history.age(store, found[0]["ts"])) if found else ""
    return {
        "agent": who,
        "role": row.get("role", "worker"),
        "alive": agents.liveness(store, who),
        "doing": session.screen_state(store, who, row.get("host", "")),
        "task": mine[0]["task_id"] if mine else None,
        "since": since or None,
        "unread": len(store.names(places.new_folder(who))),
        "says": session.last_words(store, who)[:60],
    }


@command(examples=["team attach blue"], exits={3: "no such team, or it has no panes"})
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
def attach(context: Context, team: str | None) -> None:
    """Look at the team's panes: this terminal becomes its tmux session (leave with your prefix and d)."""
    from mbox import session

    doc = teams.the_one(context.store, team)
    server = session.server_of(doc)
    if server is None or not server.has_session(doc["session"]):
        raise NotFound(f"team {doc['team']} has no panes; `team status` shows its members")
    socket = ["-S", server.server] if server.server else []
    verb = "switch-client" if os.environ.get("TMUX") and not server.server else "attach-session"
    context.close()
    os.execvp("tmux", ["tmux", *socket, verb, "-t", f"={doc['session']}"])


@command(examples=["team lead blue worker-2"], exits={3: "no such team or member"})
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="AGENT", type=AGENT)
def lead(context: Context, team: str, member: str) -> None:
    """Make AGENT the orchestrator of TEAM: role, and who reports to whom, change at once."""
    context.emit(teams.lead(context.store, context.actor(required=False), team, member, context.dry_run))


@command(examples=["team report", "team report blue --since 1200"], exits={3: "no such team"})
@shows
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--since", type=int, metavar="SEQ", help="only records after this one (else since it was called)")
def report(context: Context, team: str | None, since: int | None) -> None:
    """By member and stage: done, failed, retried, dead, time waiting and working, mails, conflicts."""
    from mbox import report as reports

    doc = teams.the_one(context.store, team, ("up", "draining", "down"))
    context.emit(reports.report(context.store, doc, since))


# -- changing --------------------------------------------------------------------------------------------------------


@command(
    examples=["team add blue eve --host gemini --role reviewer", "team add blue w9 --command ./worker --command --fast"],
    exits={3: "no such team"},
)
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="NAME", type=AGENT)
@option("--role", type=name("role"), metavar="R", help="worker unless said")
@option("--host", type=name("host"), metavar="H", help="its program: claude, codex, …")
@option("--model", type=LINE, metavar="M", help="its model")
@option("--command", "words", multiple=True, metavar="WORD", help="its command, word by word")
@option("--can", "capabilities", type=LINE, multiple=True, metavar="CAP", help="what it is able to do")
@option("--worktree", is_flag=True, help="a working tree of its own")
def add(
    context: Context, team: str, member: str, role: str | None, host: str | None, model: str | None,
    words: tuple[str, ...], capabilities: tuple[str, ...], worktree: bool,
) -> None:  # fmt: skip
    """Add a member to the team's file, comments kept, and start it."""
    from mbox import session, teamfile

    store, by = context.store, context.actor(required=False)
    doc = teams.require(store, store.read, team)
    said = {"name": member, "role": role, "host": host, "model": model, "command": list(words),
            "capabilities": list(capabilities), "worktree": worktree}  # fmt: skip
    text = teamfile.with_member(doc["file"], {key: value for key, value in said.items() if value})
    spec = teamfile.parse(text, doc["file"])
    _check_programs(store, spec)
    server = session.server_of(doc)
    answer = teams.up(store, by, spec, [], _trees(store, spec), doc["session"], server.server if server else None,
                      context.dry_run)  # fmt: skip
    if not context.dry_run:
        store.disk.replace(doc["file"], text.encode())
        team_doc = teams.require(store, store.read, team)
        _make_trees(store, team_doc)
        row = next(row for row in teams.present(team_doc) if row["name"] == member)
        answer["started"] = session.start(store, team_doc, [row], server)
    context.emit(answer)


@command(examples=["team remove blue worker-6"], exits={3: "no such team or member"})
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="NAME", type=AGENT)
def remove(context: Context, team: str, member: str) -> None:
    """Take a member out of the team's file, comments kept, and stop it; what it held goes back."""
    from mbox import session, teamfile

    store, by = context.store, context.actor(required=False)
    doc = teams.require(store, store.read, team)
    text = teamfile.without_member(doc["file"], member)
    answer = teams.take_out(store, by, team, member, context.dry_run)
    if not context.dry_run:
        store.disk.replace(doc["file"], text.encode())
        _end(store, [member], 0.0)
        status_doc, server = session.status_of(store, member), session.server_of(doc)
        if server and status_doc and status_doc["pane"]:
            server.close_pane(status_doc["pane"])
        row = next(row for row in doc["members"] if row["name"] == member)
        answer.update(_removed_trees(store, [row]))
    context.emit(answer)


# -- ending ----------------------------------------------------------------------------------------------------------


@command(examples=["team drain", "team drain blue --timeout 30m"], exits={3: "no such team", 4: "members are still at work"})
@changes
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--timeout", type=DURATION, metavar="D", help="how long to wait for it (60s)")
def drain(context: Context, team: str | None, timeout: float | None) -> None:
    """Let the members finish what they do and take nothing new; each is stopped when its inbox is empty.

    What is unread at the time limit goes to the orchestrator as one list.
    """
    store, by = context.store, context.actor(required=False)
    doc = teams.the_one(store, team)
    answer = teams.change_state(store, by, doc["team"], "draining", dry_run=context.dry_run)
    if context.dry_run:
        context.emit(answer)
        return
    until = time.monotonic() + (60 if timeout is None else timeout)
    left = _drained(store, doc, until)
    handed = teams.hand_over(store, by, doc) if left else None
    context.emit({**answer, "at_work": left, "handed_over": handed})
    if left:
        raise TimedOut(f"still at work: {', '.join(left)}; `team down {doc['team']}` ends them")


def _drained(store: OpenStore, team: Document, until: float) -> list[str]:
    """Stop every member that has nothing to do, the orchestrator last; who is still up at the time limit."""
    from mbox import estate, session
    from mbox.transaction import SWEEP

    told: set[str] = set()
    while True:
        rows = teams.present(team)
        running = [row["name"] for row in rows if session.is_up(store, row["name"])]
        if not running or time.monotonic() >= until:
            return running
        for who in running:
            last = who == team["orchestrator"] and len(running) > 1
            if who in told or last or store.names(places.new_folder(who)):
                continue
            agent = store.read(places.agent(who)) or {"incarnation": 0}
            if not store.transact(lambda tx: estate.holds(tx, who, agent["incarnation"]), SWEEP, dry_run=True):  # noqa: B023
                session.tell_to_stop(store, who)
                told.add(who)
        time.sleep(STEP)


def _end(store: OpenStore, names: list[str], seconds: float) -> None:
    """End members within ``seconds``, then at once, and give back what is still held."""
    from mbox import agents, estate, session
    from mbox.transaction import SWEEP

    for who in names:
        session.tell_to_stop(store, who)
    for who in session.wait_down(store, names, seconds):
        session.kill(store, who)
    for who in names:
        beat = agents.heartbeat(store, who)
        if beat is not None:
            store.transact(
                lambda tx: estate.settle(tx, who, beat["incarnation"], estate.DEAD, "its team was dismissed"), SWEEP  # noqa: B023
            )


@command(
    examples=["team down", "team down blue --timeout 10m", "team down --force", "team down --all"],
    exits={3: "no such team"},
)
@changes
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--timeout", type=DURATION, metavar="D", help="how long running tasks may take to finish (60s)")
@option("--force", is_flag=True, help="do not wait: what was claimed is queued again")
@option("--all", "every", is_flag=True, help="every team that is up")
def down(context: Context, team: str | None, timeout: float | None, force: bool, every: bool) -> None:
    """Drain, stop every member, remove clean working trees, commit the audit trail, report.

    Ends within its time and 5 seconds. Says what was queued again, what became dead letters, which trees were
    kept and why.
    """
    store = context.store
    if every and team:
        raise Usage("a team or --all: not both")
    chosen = [doc for doc in store.documents(places.TEAMS) if doc["state"] != "down"] if every else [teams.the_one(store, team)]
    from mbox import session

    for doc in chosen:
        with session.alone(store, doc["team"], TURN):
            answer = _down(context, doc, 0.0 if force else 60.0 if timeout is None else timeout)
        context.emit(answer)


def _down(context: Context, doc: Document, timeout: float) -> dict[str, Any]:
    from mbox import report as reports
    from mbox import session

    store, by, who = context.store, context.actor(required=False), doc["team"]
    if doc["state"] == "down":
        return {"team": who, "state": "down", "already": True}
    if context.dry_run:
        running = [row["name"] for row in teams.present(doc) if session.is_up(store, row["name"])]
        return {"team": who, "state": "down", "stopped": running}
    since, until = store.end().seq, time.monotonic() + timeout
    teams.change_state(store, by, who, "draining")
    names = [row["name"] for row in teams.present(doc)]
    left = _drained(store, doc, until) if timeout else [name for name in names if session.is_up(store, name)]
    _end(store, names, min(store.config.stop_grace + 0.5, AFTER - 2.0))
    handed = teams.hand_over(store, by, doc)
    requeued, dead = _given_back(store, names, since)
    session.close(store, doc, session.server_of(doc))
    trees = _removed_trees(store, teams.present(doc))
    teams.change_state(store, by, who, "down", f"stopped at work: {', '.join(left)}" if left else "")
    _commit(context)
    answer = {"requeued": requeued, "dead": dead, "handed_over": handed, **trees}
    made = reports.report(store, teams.require(store, store.read, who))
    return {**made, **{key: value for key, value in answer.items() if value}}


def _given_back(store: OpenStore, names: list[str], since: int) -> tuple[list[str], list[str]]:
    """Tasks that members held and gave back since ``since``: those queued again, and those that are dead now."""
    from mbox import history

    records, _ = history.newest(store, history.Filter(since_seq=since), 0)
    ids = [ident for record in records if record["op"] in ("agent.end", "agent.dead") and record["on"][0] in names
           for ident in record["on"][1:]]  # fmt: skip
    docs = [doc for ident in dict.fromkeys(ids) if (doc := store.read(places.task(ident)))]
    return (
        [doc["task_id"] for doc in docs if doc["status"] == "queued"],
        [f"{doc['task_id']}: {doc['reason']}" for doc in docs if doc["status"] == "deadletter"],
    )


def _removed_trees(store: OpenStore, rows: list[Document]) -> dict[str, list[str]]:
    """Remove clean working trees; which were kept, and why."""
    from mbox import worktrees

    removed, kept = [], []
    for row in rows:
        if not row.get("tree"):
            continue
        try:
            why = worktrees.remove(store.root, row["tree"], row["branch"])
        except MboxError as error:
            why = str(error)
        (kept.append(f"{row['tree']} ({row['branch']}): {why}") if why else removed.append(row["tree"]))
    return {"trees_removed": removed, "trees_kept": kept}


def _commit(context: Context) -> None:
    from mbox import audit

    try:
        audit.commit(context.store)
    except Refused:
        pass  # no git here
    except MboxError as error:
        context.say(f"the audit trail was not committed: {error}")
