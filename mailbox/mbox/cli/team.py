"""`team`: agents called together in tmux, looked at, changed, dismissed.

What is done in which order, and what a crash leaves, stands in `launch` and `dismissal`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mbox.agents import roster
from mbox.errors import NotFound, Nothing, TimedOut, Usage
from mbox.team import lifecycle

from .context import Context
from .options import argument, changes, command, option, shows
from .values import AGENT, DURATION, LINE, TEAM, TEXT, name

ANY = ("up", "draining", "down")

REFRESH = 2.0
"""Seconds between two tables of `team status --watch`."""

NARROW = ("agent", ("says", "role", "unread", "since", "doing"))
"""What stays readable of `team status` on a narrow terminal, and what goes first."""

TIMEOUT = 60.0
"""Seconds that running tasks may take to finish, unless said."""


# -- calling together ------------------------------------------------------------------------------------------------


@command(
    examples=["team up team.yaml", "team up team.yaml --tasks plan.yaml    # again: only what is missing"],
    exits={1: "a member ended within its first seconds", 4: "a member did not come up"},
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
    from mbox.team import launch, teamfile

    from .plans import plan_of

    spec = teamfile.load(_absolute(context, file))
    store, by = context.store, context.actor(required=False)
    drafts, at = plan_of(context, plan) if plan else [], _absolute(context, socket) if socket else None
    made = launch.up(store, by, spec, drafts, context.say, at, no_tmux)
    context.emit(made.answer)
    _refuse_ended(made.failed)
    if made.late:
        raise TimedOut(f"not up after {launch.UP:g} s: {', '.join(made.late)}; `team status` shows their last words")


def _refuse_ended(failed: Mapping[str, str]) -> None:
    """`Nothing` where members ended within their first seconds."""
    if failed:
        raise Nothing(f"did not stay up: {'; '.join(f'{who} ({why})' for who, why in failed.items())}")


def _absolute(context: Context, path: str) -> str:
    return os.path.normpath(path if os.path.isabs(path) else os.path.join(context.cwd, path))


# -- looking ---------------------------------------------------------------------------------------------------------


@command(examples=["team status", "team status blue --watch"], exits={3: "no such team"})
@shows
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--watch", is_flag=True, help="again and again, until you interrupt it")
def status(context: Context, team: str | None, watch: bool) -> None:
    """Who is alive, busy or idle, with which task since when, unread mail, last words of the pane."""
    from mbox.team import members

    store, doc = context.store, roster.the_one(context.store, team, ANY)
    while True:
        rows = members.rows(store, doc["team"])
        if not watch:
            context.emit(rows, "agent", *NARROW)
            return
        context.redraw(rows, "agent", *NARROW)
        store.host.sleep(REFRESH)


@command(examples=["team attach blue"], exits={3: "no such team, or it has no panes"})
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
def attach(context: Context, team: str | None) -> None:
    """Look at the team's panes: this terminal becomes its tmux session (leave with your prefix and d)."""
    from mbox.team import panes

    doc = roster.the_one(context.store, team)
    server = panes.server_of(doc)
    session = panes.session_of(context.store, doc, server) if server else None
    if server is None or session is None:
        raise NotFound(f"team {doc['team']} has no panes; `team status` shows its members")
    words, environ = server.attaching(session)
    context.close()
    os.execve(words[0], words, environ)


@command(examples=["team lead blue worker-2"], exits={3: "no such team or member"})
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="AGENT", type=AGENT)
def lead(context: Context, team: str, member: str) -> None:
    """Make AGENT the orchestrator of TEAM: role, and who reports to whom, change at once."""
    context.emit(lifecycle.lead(context.store, context.actor(required=False), team, member))


@command(examples=["team report", "team report blue --since 2h"], exits={3: "no such team"})
@shows
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--since", metavar="D", help="2h, a time, or a record's number; else since it was called together")
def report(context: Context, team: str | None, since: str | None) -> None:
    """By member and stage: done, failed, retried, dead, time waiting and working, mails, conflicts.

    Each number is a sum over the member's tasks; `sums` says of what. Waiting counts from when a task was ready.
    `left_running` names what members that ended have left running.
    """
    from mbox.report import history
    from mbox.team.dismissal import outlived
    from mbox.team.report import report

    store = context.store
    doc = roster.the_one(store, team, ANY)
    made = report(store, doc, history.since(since, store.host.wall()) if since else None)
    running = [str(job) for job in outlived(store, [doc["members"] or []])]
    context.emit({**made, **({"left_running": running} if running else {})})


# -- changing --------------------------------------------------------------------------------------------------------


@command(
    examples=["team add blue eve --host gemini --role reviewer", "team add blue w9 --command ./worker --command --fast"],
    exits={1: "it ended within its first seconds", 3: "no such team", 4: "it did not come up"},
)
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="NAME", type=AGENT)
@option("--role", type=name("role"), metavar="R", help="worker is the default")
@option("--host", type=name("host"), metavar="H", help="its program: claude, codex, …")
@option("--model", type=LINE, metavar="M", help="its model")
@option("--command", "words", multiple=True, metavar="WORD", help="its command, word by word")
@option("--can", "capabilities", type=LINE, multiple=True, metavar="CAP", help="what it is able to do")
@option("--worktree", is_flag=True, help="a working tree of its own")
@option("--reports-to", type=AGENT, metavar="A", help="the orchestrator is the default")
@option("--prompt", type=TEXT, metavar="P", help="its first instruction; - is stdin, @FILE a file")
def add(
    context: Context, team: str, member: str, role: str | None, host: str | None, model: str | None,
    words: tuple[str, ...], capabilities: tuple[str, ...], worktree: bool, reports_to: str | None, prompt: str | None,
) -> None:  # fmt: skip
    """Add a member to the team's file, comments kept, and start it if the team is up."""
    from mbox.team import launch

    store, by = context.store, context.actor(required=False)
    first = f"@{prompt}" if prompt and prompt.startswith("@") else prompt
    said = {"name": member, "role": role, "host": host, "model": model, "command": list(words),
            "capabilities": list(capabilities), "worktree": worktree, "reports_to": reports_to, "prompt": first}  # fmt: skip
    made = launch.add(store, by, team, {key: value for key, value in said.items() if value}, context.say)
    context.emit(made.answer)
    _refuse_ended(made.failed)
    if made.late:
        raise TimedOut(f"{member} is not up after {launch.UP:g} s; `team status` shows its last words")


@command(examples=["team remove blue worker-6"], exits={3: "no such team or member"})
@changes
@argument("team", metavar="TEAM", type=TEAM)
@argument("member", metavar="NAME", type=AGENT)
def remove(context: Context, team: str, member: str) -> None:
    """Take a member out of the team's file, comments kept, and stop it; what it held goes back."""
    from mbox.team import dismissal, errands

    dismissal.step_out(context.store)
    context.emit(errands.remove(context.store, context.actor(required=False), team, member))


# -- ending ----------------------------------------------------------------------------------------------------------


@command(examples=["team drain", "team drain blue --timeout 30m"], exits={3: "no such team", 4: "members are still at work"})
@changes
@argument("team", metavar="[TEAM]", type=TEAM, required=False)
@option("--timeout", type=DURATION, metavar="D", help="how long to wait for it (60s)")
def drain(context: Context, team: str | None, timeout: float | None) -> None:
    """Let the members finish what they do and take nothing new; each is stopped when its inbox is empty.

    What is unread at the time limit goes to the orchestrator as one list.
    """
    from mbox.team import dismissal, errands

    dismissal.step_out(context.store)
    doc, by = roster.the_one(context.store, team), context.actor(required=False)
    seconds = TIMEOUT if timeout is None else timeout
    made = errands.drain(context.store, by, doc, seconds, context.say)
    context.emit(made.answer)
    if made.left:
        raise TimedOut(f"still at work: {', '.join(made.left)}; `team down {doc['team']}` ends them")


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
    from mbox.team import dismissal, errands

    if every and team:
        raise Usage("a team or --all: not both")
    dismissal.step_out(context.store)
    store, by = context.store, context.actor(required=False)
    docs = roster.live(store) if every else [roster.the_one(store, team)]
    seconds = 0.0 if force else TIMEOUT if timeout is None else timeout
    answers = errands.down(store, by, docs, seconds, context.say)
    context.emit(answers if every else answers[0])
