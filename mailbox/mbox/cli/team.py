"""`team`: agents called together in tmux, watched, dismissed.

`up`: everything is checked (file, plan, programs, tmux, working trees), then one transaction, then working trees, panes,
watchdog.  `down`: drain, then end each member, then the list of unread mail, the session, the trees, the record
``team.down``, the audit commit, the report.  What a crash in between leaves stands in `teams`.  Whoever starts or ends
members holds the team's lock meanwhile (`session.alone`); draining, which takes long, does not.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from mbox.team import lifecycle as teams
from mbox.format import places
from mbox.cli.context import Context
from mbox.cli.options import AGENT, DURATION, LINE, TEXT, argument, changes, command, name, option, shows
from mbox.format.documents import Document
from mbox.errors import MboxError, NotFound, Refused, TimedOut, Usage

if TYPE_CHECKING:
    from mbox.opening import OpenStore
    from mbox.team.teamfile import Team
    from mbox.team.tmux import Tmux

TEAM = name("team")
ANY = ("up", "draining", "down")

UP, FIRST = 15.0, 3.0
"""Seconds within which members come up; and those for which nobody else may start or end some meanwhile."""

TURN = 20.0
"""Seconds for which another command that starts or ends members of the same team is waited for."""

REFRESH = 2.0
"""Seconds between two tables of `team status --watch`."""

TIMEOUT = 60.0
"""Seconds that running tasks may take to finish, unless said."""

GRACE = 2.5
"""Seconds that members have at most to end by themselves: `team down` takes no more than 5 beyond its time."""


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
    from mbox.team import panes as session
    from mbox.team import teamfile
    from mbox.team import tmux
    from mbox.cli.planning import plan_of

    path = os.path.abspath(os.path.join(context.cwd, file))
    spec = teamfile.load(path)
    store, by = context.store, context.actor(required=False)
    before = store.read(places.team(spec.name))
    _refuse_another_file(before, path)
    _check_programs(store, spec)
    drafts = plan_of(context, plan) if plan else []
    server = None if no_tmux else _tmux(context, before, socket)
    trees = _trees(store, spec)
    with session.alone(store, spec.name, TURN):
        panes = session.choose(store, spec.name, server) if server else ""
        where = (server.server or tmux.default()) if server else None
        answer = teams.up(store, by, spec, drafts, trees, panes, where, context.dry_run)
        if context.dry_run:
            context.emit(answer)
            return
        started, coming = _start(store, spec.name)
    _watchdog(store)
    late = session.wait_up(store, coming, UP - FIRST)
    _tell_changed(context, [who for who in answer["changed"] if who not in started], answer["not_in_file"])
    context.emit({**answer, "started": started})
    if late:
        raise TimedOut(f"not up after {UP:g} s: {', '.join(late)}; `team status` shows their last words")


def _refuse_another_file(before: Document | None, path: str) -> None:
    """`Refused` where a team of that name is up from another file: its members would be taken for removed ones."""
    if before is None or before["state"] == "down" or not os.path.exists(before["file"]):
        return
    if not os.path.samefile(before["file"], path):
        name = before["team"]
        raise Refused(f"team {name} is {before['state']} from {before['file']}; `team down {name}` first, or say team: NAME")


def _check_programs(store: OpenStore, spec: Team) -> None:
    """`Usage` for a member whose program is not on the PATH, before anything is begun."""
    import shutil

    from mbox.hosts import programs as hosts

    for member in spec.members:
        try:
            host = hosts.get(member.host) if member.command else hosts.require(member.host) if member.host else None
        except Usage as error:
            raise Usage(f"{spec.file}: {member.name}: {error}") from None
        if host is None:
            raise Usage(f"{spec.file}: {member.name}: say host: or command:, so that it can be started")
        line = [*member.sandbox, *host.command(member.command or None)]
        search = member.env.get("PATH") or os.environ.get("PATH")
        if shutil.which(os.path.join(store.root, line[0]) if "/" in line[0] else line[0], path=search) is None:
            raise Usage(f"{spec.file}: {member.name}: no program {line[0]} on the PATH")


def _tmux(context: Context, before: Document | None, socket: str | None) -> Tmux | None:
    """The tmux server to use: where the team is already; None, said, where there is no tmux that can do it."""
    from mbox.team import panes as session
    from mbox.team import tmux

    try:
        tmux.require()
    except tmux.TmuxError as error:
        context.say(f"{error}; members run without panes, their output is in .mailbox/cache/logs/")
        return None
    wanted = os.path.abspath(os.path.join(context.cwd, socket)) if socket else None
    known = session.server_of(before) if before and before["state"] != "down" else None
    if before and known and known.server and wanted not in (None, known.server) and known.has_session(before["session"]):
        raise Refused(f"its panes are at the socket {known.server}; leave --socket out, or `team down` first")
    return tmux.Tmux(wanted) if wanted else known or tmux.Tmux()


def _trees(store: OpenStore, spec: Team) -> dict[str, tuple[str, str]]:
    """Path and branch of each member that has a working tree; `Refused` where one could not be made."""
    from mbox.git import worktrees

    found = {}
    for member in spec.members:
        if member.worktree:
            branch = member.worktree if isinstance(member.worktree, str) else f"mbox/{spec.name}/{member.name}"
            worktrees.ensure(store.root, spec.name, member.name, branch, dry_run=True)
            found[member.name] = (worktrees.place(store.root, spec.name, member.name), branch)
    return found


def _start(store: OpenStore, name: str, only: str | None = None) -> tuple[dict[str, str], dict[str, int]]:
    """Make and start what is missing of a team (or one member), under its lock.

    The panes of those who were started, and those who are not up yet, with the incarnation that they had before.
    """
    from mbox.team import panes as session
    from mbox.git import worktrees

    team = teams.require(store, store.read, name)
    rows = [row for row in teams.present(team) if only in (None, row["name"])]
    for row in rows:
        if row.get("tree"):
            worktrees.ensure(store.root, name, row["name"], row["branch"])
    before = {row["name"]: session.incarnation(store, row["name"]) for row in rows}
    started = session.start(store, team, rows, session.server_of(team))
    late = session.wait_up(store, {who: before[who] for who in started}, FIRST)
    return started, {who: before[who] for who in late}


def _tell_changed(context: Context, changed: list[str], gone: list[str]) -> None:
    """Say who still runs as it was."""
    from mbox.team import panes as session

    for names, what in ((changed, "run with what they were started with"), (gone, "are not in the file any more, and still run")):
        if running := [name for name in names if session.is_up(context.store, name)]:
            context.say(f"{', '.join(running)}: {what}; `team remove` ends a member")


def _watchdog(store: OpenStore) -> None:
    from mbox.store import mutex as locks
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
    from mbox.tasks import ready

    doc = teams.the_one(context.store, team, ANY)
    store = context.store
    while True:
        held = [task for task in ready.every(store).values() if task["status"] in ("claimed", "running")]
        rows = [_row(store, row, held) for row in teams.present(teams.require(store, store.read, doc["team"]))]
        if watch and sys.stdout.isatty():
            context.write("\x1b[H\x1b[2J")
        context.emit(rows, "agent")
        if not watch:
            return
        context.flush()
        time.sleep(REFRESH)


def _row(store: OpenStore, row: Document, held: list[Document]) -> dict[str, Any]:
    from mbox.report import history
    from mbox.team import panes as session
    from mbox.agents import registry as agents
    from mbox.reservations.reserving import span

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
    from mbox.team import panes as session
    from mbox.team import tmux

    doc = teams.the_one(context.store, team)
    server = session.server_of(doc)
    if server is None or not session.is_ours(context.store, doc["session"], server):
        raise NotFound(f"team {doc['team']} has no panes; `team status` shows its members")
    own = server.server in (None, tmux.default())
    here = own and bool(os.environ.get("TMUX"))
    environ = {key: value for key, value in os.environ.items() if here or key not in ("TMUX", "TMUX_PANE")}
    socket = [] if own else ["-S", str(server.server)]
    context.close()
    words = ["tmux", *socket, "switch-client" if here else "attach-session", "-t", f"={doc['session']}"]
    os.execvpe(words[0], words, environ)


@command(examples=["team lead blue worker-2"], exits={3: "no such team or member"})
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="AGENT", type=AGENT)
def lead(context: Context, team: str, member: str) -> None:
    """Make AGENT the orchestrator of TEAM: role, and who reports to whom, change at once."""
    context.emit(teams.lead(context.store, context.actor(required=False), team, member, context.dry_run))


@command(examples=["team report", "team report blue --since 2h"], exits={3: "no such team"})
@shows
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--since", metavar="D", help="2h, a time, or a record's number; else since it was called together")
def report(context: Context, team: str | None, since: str | None) -> None:
    """By member and stage: done, failed, retried, dead, time waiting and working, mails, conflicts."""
    from mbox.report import history
    from mbox.team import report as reports
    from mbox.config.settings import seconds

    store = context.store
    doc = teams.the_one(store, team, ANY)
    context.emit(reports.report(store, doc, history.since(since, store.host.wall(), seconds) if since else None))


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
@option("--reports-to", type=AGENT, metavar="A", help="the orchestrator unless said")
@option("--prompt", type=TEXT, metavar="P", help="its first instruction; - is stdin, @FILE a file")
def add(
    context: Context, team: str, member: str, role: str | None, host: str | None, model: str | None,
    words: tuple[str, ...], capabilities: tuple[str, ...], worktree: bool, reports_to: str | None, prompt: str | None,
) -> None:  # fmt: skip
    """Add a member to the team's file, comments kept, and start it if the team is up."""
    from mbox.team import panes as session
    from mbox.team import teamfile

    store, by = context.store, context.actor(required=False)
    doc = teams.require(store, store.read, team)
    if member in {one.name for one in teamfile.load(doc["file"]).members}:
        raise Usage(f"{member} is in {doc['file']} already: change it there, `team up FILE` starts it")
    first = f"@{prompt}" if prompt and prompt.startswith("@") else prompt
    said = {"name": member, "role": role, "host": host, "model": model, "command": list(words),
            "capabilities": list(capabilities), "worktree": worktree, "reports_to": reports_to, "prompt": first}  # fmt: skip
    text = teamfile.with_member(doc["file"], {key: value for key, value in said.items() if value})
    spec = teamfile.parse(text, doc["file"])
    _check_programs(store, spec)
    trees, server = _trees(store, spec), session.server_of(doc)
    with session.alone(store, team, TURN):
        answer = {"team": team, "state": doc["state"], "new": [member]}
        if doc["state"] == "up":
            answer = teams.up(store, by, spec, [], trees, doc["session"], server.server if server else None, context.dry_run)
        if context.dry_run:
            context.emit(answer)
            return
        store.disk.rewrite(doc["file"], text.encode())
        started, coming = _start(store, team, member) if doc["state"] == "up" else ({}, {})
    if doc["state"] != "up":
        context.say(f"team {team} is {doc['state']}: {member} starts with the next `team up`")
    late = session.wait_up(store, coming, UP - FIRST)
    context.emit({**answer, "started": started})
    if late:
        raise TimedOut(f"{member} is not up after {UP:g} s; `team status` shows its last words")


@command(examples=["team remove blue worker-6"], exits={3: "no such team or member"})
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="NAME", type=AGENT)
def remove(context: Context, team: str, member: str) -> None:
    """Take a member out of the team's file, comments kept, and stop it; what it held goes back."""
    from mbox.team import dismissal
    from mbox.team import panes as session
    from mbox.team import teamfile
    from mbox.agents import registry as agents

    store, by = context.store, context.actor(required=False)
    doc = teams.require(store, store.read, team)
    in_file = member in {one.name for one in teamfile.load(doc["file"]).members}
    text = teamfile.without_member(doc["file"], member) if in_file else None
    answer = teams.take_out(store, by, team, member, context.dry_run)
    if context.dry_run:
        context.emit(answer)
        return
    with session.alone(store, team, TURN):
        if text is not None:
            store.disk.rewrite(doc["file"], text.encode())
        rows = [row for row in teams.everybody(store.read, doc) if row["name"] == member]
        if rows and doc["state"] != "down":
            dismissal.end(store, [member], GRACE, f"it was removed from team {team}")
        server, last = session.server_of(doc), agents.status(store, member)
        if server and rows and last and last["pane"] in server.panes(doc["session"]):
            server.close_pane(last["pane"])
        answer.update(dismissal.removed_trees(store, rows))
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
    from mbox.team import dismissal

    store, by = context.store, context.actor(required=False)
    doc = teams.the_one(store, team)
    answer = teams.change_state(store, by, doc["team"], "draining", dry_run=context.dry_run)
    if context.dry_run:
        context.emit(answer)
        return
    until = time.monotonic() + (TIMEOUT if timeout is None else timeout)
    left = dismissal.drained(store, [doc], until)
    handed = _handed_over(context, doc["team"]) if left else None
    context.emit({**answer, "at_work": left, "handed_over": handed})
    if left:
        raise TimedOut(f"still at work: {', '.join(left)}; `team down {doc['team']}` ends them")


def _handed_over(context: Context, team: str) -> dict[str, Any] | None:
    """Send the list of unread mail; say how much there is where nobody could get it."""
    handed = teams.hand_over(context.store, context.actor(required=False), team)
    if handed and "to" not in handed:
        context.say(f"{handed['messages']} unread messages stay in the inboxes of team {team}, which nobody leads")
        return None
    return handed


@command(
    examples=["team down", "team down blue --timeout 10m", "team down --force", "team down --all"],
    exits={3: "no such team"},
)
@changes
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--timeout", type=DURATION, metavar="D", help="how long running tasks may take to finish (60s)")
@option("--force", is_flag=True, help="do not wait: what was claimed is queued again")
@option("--all", "every", is_flag=True, help="every team that is up, at the same time; the answer is a list")
def down(context: Context, team: str | None, timeout: float | None, force: bool, every: bool) -> None:
    """Drain, stop every member, remove clean working trees, commit the audit trail, report.

    Ends within its time and 5 seconds. Says what was queued again, what became dead letters, which trees were
    kept and why.
    """
    store = context.store
    if every and team:
        raise Usage("a team or --all: not both")
    live = [doc for name in teams.known(store) if (doc := store.read(places.team(name))) and doc["state"] != "down"]
    chosen = live if every else [teams.the_one(store, team)]
    answers = _down(context, chosen, 0.0 if force else TIMEOUT if timeout is None else timeout)
    context.emit(answers if every else answers[0])


def _down(context: Context, docs: list[Document], timeout: float) -> list[dict[str, Any]]:
    """End teams, all of them within the time; each with what happened to it, and its report."""
    from contextlib import ExitStack

    from mbox.team import dismissal
    from mbox.team import panes as session

    store, by = context.store, context.actor(required=False)
    live = [doc for doc in docs if doc["state"] != "down"]
    if context.dry_run:
        return [_would_stop(store, doc) if doc in live else _already(doc) for doc in docs]
    since, until = store.end().seq, time.monotonic() + timeout
    for doc in live:
        teams.change_state(store, by, doc["team"], "draining")
    left = set(dismissal.drained(store, live, until))
    found: dict[str, dict[str, Any]] = {doc["team"]: {} for doc in docs}
    with ExitStack() as stack:
        for doc in docs:
            try:
                stack.enter_context(session.alone(store, doc["team"], 0.5))
            except TimedOut as error:
                context.say(f"{error}; going on")
        live = [teams.require(store, store.read, doc["team"]) for doc in live]
        names = {doc["team"]: [row["name"] for row in teams.everybody(store.read, doc)] for doc in live}
        dismissal.end(store, [who for some in names.values() for who in some], GRACE)
        for doc in docs:
            mine = found[doc["team"]]
            if doc["team"] in names:
                mine["requeued"], mine["dead"] = dismissal.given_back(store, names[doc["team"]], since)
                mine["handed_over"] = _handed_over(context, doc["team"])
            session.close(store, doc, session.server_of(doc))
            mine.update(dismissal.removed_trees(store, doc["members"] or []))
        for doc in live:
            busy = [who for who in names[doc["team"]] if who in left]
            teams.change_state(store, by, doc["team"], "down", f"stopped at work: {', '.join(busy)}" if busy else "")
    _commit(context)
    return [_told(context, doc, doc["team"] in names, found[doc["team"]]) for doc in docs]


def _told(context: Context, doc: Document, ended: bool, more: dict[str, Any]) -> dict[str, Any]:
    """The answer for one team; teams that its members lead are named."""
    from mbox.team import report as reports

    store, name = context.store, doc["team"]
    made = reports.report(store, teams.require(store, store.read, name)) if ended else _already(doc)
    if others := teams.below(store, doc):
        context.say(f"{', '.join(others)}: led by members of {name}, and still up; `team down {others[0]}`")
    return {**made, **{key: value for key, value in more.items() if value}}


def _would_stop(store: OpenStore, doc: Document) -> dict[str, Any]:
    from mbox.team import panes as session

    running = [row["name"] for row in teams.everybody(store.read, doc) if session.is_up(store, row["name"])]
    return {"team": doc["team"], "state": "down", "stopped": running}


def _already(doc: Document) -> dict[str, Any]:
    return {"team": doc["team"], "state": "down", "already": True}


def _commit(context: Context) -> None:
    from mbox.git import audit

    try:
        audit.commit(context.store)
    except Refused:
        pass  # no git here
    except MboxError as error:
        context.say(f"the audit trail was not committed: {error}")
