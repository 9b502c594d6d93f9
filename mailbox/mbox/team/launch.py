"""The call of a team: what is proved before anything is begun, then its trees, its members and the watchdog.

`up` goes through these states, and each can be the last if the process dies:

1. *proved*: no team of that name is up from another file, every program is there, tmux can do it or is not used, every
   working tree is made, and each member that does not run can write where it must (`proofs`).  What is wrong raises `Usage`
   or `Refused`; nothing is left of it.  – Killed here: trees without a team, which the next call finds.
2. *called*: one transaction registers the members, imports the tasks and writes the team (`lifecycle.up`).  – Killed
   here: a team that is up and of which nobody runs.
3. *remembered*, outside the store, as called here: the watchdog may start its members again (`trust`).  – Killed before:
   a team that was not called here; `team up` again calls it.
4. *started*: panes (or detached programs), one member after the other, each with the caller's variables that are meant for
   it (`handover`).  – Killed here: some run; a pane that its tmux server knows and the answer does not.
5. *watched*: a watchdog runs.  – Killed before: any member's wrapper has started one.

`up` again finds all of that and makes only what is missing.  `add` does the same for one more member, which it writes into
the team's file after the transaction; killed in between, the member is registered and not in the file, and `add` again
writes it.

Promised: of two that call the same team at once one goes on at a time; whoever was started is in the answer; who does not
beat within `UP` seconds is named, and so is, with its last words, who ends within `FIRST` seconds otherwise than with 0.  Not
promised: that a member works, or that it still runs when this returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.agents import presence, roster
from mbox.errors import Refused, StoreError, Usage
from mbox.format import places
from mbox.format.documents import Document
from mbox.git import worktrees
from mbox.liveness import trust
from mbox.liveness.watchdog import start_watchdog
from mbox.store import mutex
from mbox.tasks.drafts import TaskDraft

from . import handover, lifecycle, members, panes, proofs, teamfile, tmux
from .lifecycle import Answer
from .teamfile import Team
from .tmux import Tmux

if TYPE_CHECKING:
    from mbox.store.store import Actor, Store

UP, FIRST = 15.0, 3.0
"""Seconds within which members come up; and those for which nobody else may start or end some, and they are looked at."""

Say = Callable[[str], None]


class Launch(NamedTuple):
    """A team that was called: what was done, and the members that did not come up in time."""

    answer: Answer
    late: list[str]
    failed: Mapping[str, str] = {}
    """Who ended within its first seconds, and how."""


def up(store: Store, by: Actor, spec: Team, drafts: Sequence[TaskDraft], say: Say, socket: str | None = None,
       detached: bool = False) -> Launch:  # fmt: skip
    """Call the team of a file together with ``drafts`` as its tasks, or start what is missing of it.

    ``socket``: the absolute path of a tmux server of its own; ``detached``: no tmux.  ``say`` is told what a person should
    know and no program needs.  `Usage` and `Refused` where it cannot be; `TimedOut` where another starts or ends members
    for `panes.TURN` seconds.
    """
    before = store.read(places.team(spec.name))
    _refuse_another_file(before, spec.file)
    trees = proofs.trees(store, spec)
    proofs.check_programs(store, spec, trees)
    known = before if before and trust.was_called_here(store, before) else None
    server = None if detached else _server(known, socket, say)
    if server:
        proofs.refuse_server(server)
    with panes.team_turn(store, spec.name, panes.TURN):
        session = panes.choose(store, spec.name, server) if server else ""
        where = (server.server or tmux.default()) if server else None
        with proofs.made(store, spec, trees, by.dry_run, say):
            answer = lifecycle.up(store, by, spec, drafts, trees, session, where)
        if by.dry_run:
            return Launch(answer, [])
        _remember(store, spec.name, say)
        since = store.end().seq
        started, coming = _start(store, spec.name)
    began = store.host.mono()
    _watch(store)
    _tell_watchdog(store, spec.name, started)
    late = panes.wait_up(store, coming, UP - FIRST)
    _tell_changed(store, [who for who in answer["changed"] if who not in started], answer["not_in_file"], say)
    if started:
        answer.pop("already", None)  # somebody was missing
    return Launch({**answer, "started": started}, late, _failed(store, spec.name, started, since, began, coming))


def add(store: Store, by: Actor, team: str, member: dict[str, Any], say: Say) -> Launch:
    """Add a member, given as its team's file would say it, to that file, and start it if the team is up.

    `Usage` where the file has that name already or the member could not be started; `TimedOut` as for `up`.
    """
    doc, name = roster.require(store, store.read, team), member["name"]
    trust.require_called_here(store, doc)
    if name in {one.name for one in teamfile.load(doc["file"]).members}:
        raise Usage(f"{name} is in {doc['file']} already: change it there, `team up FILE` starts it")
    text = teamfile.with_member(doc["file"], member)
    spec = teamfile.parse(text, doc["file"])
    trees, server, is_up = proofs.trees(store, spec), panes.server_of(doc), doc["state"] == "up"
    proofs.check_programs(store, spec, trees)
    with panes.team_turn(store, team, panes.TURN):
        answer: Answer = {"team": team, "state": doc["state"], "new": [name]}
        if is_up:
            where = server.server if server else None
            with proofs.made(store, spec, trees, by.dry_run, say):
                answer = lifecycle.up(store, by, spec, [], trees, doc["session"], where)
        if by.dry_run:
            return Launch(answer, [])
        store.disk.rewrite(doc["file"], text.encode())
        if is_up:
            _remember(store, team, say)
        since = store.end().seq
        started, coming = _start(store, team, name) if is_up else ({}, {})
    began = store.host.mono()
    if is_up:
        _tell_watchdog(store, team, started)
    if not is_up:
        say(f"team {team} is {doc['state']}: {name} starts with the next `team up`")
    late = panes.wait_up(store, coming, UP - FIRST)
    return Launch({**answer, "started": started}, late, _failed(store, team, started, since, began, coming))


# -- what is proved first --------------------------------------------------------------------------------------------


def _refuse_another_file(before: Document | None, path: str) -> None:
    """`Refused` where a team of that name is up from another file: its members would be taken for removed ones."""
    if before is None or before["state"] == "down" or not os.path.exists(before["file"]):
        return
    if not os.path.samefile(before["file"], path):
        name = before["team"]
        raise Refused(f"team {name} is {before['state']} from {before['file']}; `team down {name}` first, or say team: NAME")


def _server(before: Document | None, socket: str | None, say: Say) -> Tmux | None:
    """The tmux server to use: where the team is already; None, said, where there is no tmux that can do it."""
    try:
        tmux.require()
    except tmux.TmuxError as error:
        say(f"{error}; members run without panes, their output is in .mailbox/cache/logs/")
        return None
    known = panes.server_of(before) if before and before["state"] != "down" else None
    if before and known and known.server and socket not in (None, known.server) and known.has_session(before["session"]):
        raise Refused(f"its panes are at the socket {known.server}; leave --socket out, or `team down` first")
    return Tmux(socket) if socket else known or Tmux()


# -- starting --------------------------------------------------------------------------------------------------------


def _start(store: Store, name: str, only: str | None = None) -> tuple[dict[str, str], dict[str, int]]:
    """Make and start what is missing of a team (or one member), under its lock.

    The panes of those who were started, and those who are not up yet, with the incarnation that they had before.
    """
    team = roster.require(store, store.read, name)
    rows = [row for row in roster.present(team) if only in (None, row["name"])]
    for row in rows:
        if row.get("tree"):
            worktrees.ensure(store.root, name, row["name"], row["branch"])
    before = {row["name"]: panes.incarnation(store, row["name"]) for row in rows}
    started = panes.start(store, team, rows, panes.server_of(team))
    late = panes.wait_up(store, {who: before[who] for who in started}, FIRST)
    return started, {who: before[who] for who in late}


def _failed(store: Store, name: str, started: Mapping[str, str], since: int, began: float,
            coming: Container[str]) -> dict[str, str]:  # fmt: skip
    """Who of those that were ``started`` ended within its first `FIRST` seconds, and how; looked at as long as some run.

    All were up when it ``began``, but for those that were still ``coming``, and are up by now.
    """
    team = roster.require(store, store.read, name)
    names = [row["name"] for row in roster.present(team) if row["name"] in started]
    until = FIRST + (store.host.mono() if any(who in coming for who in names) else began)
    found: dict[str, str] = {}
    while left := [who for who in names if who not in found]:
        over = store.host.mono() >= until
        found |= {who: members.failure(store, team, who, since) for who in left if over or not presence.alive(store, who)}
        if len(found) < len(names):
            store.host.sleep(0.05)
    panes.listening(team, started)
    return {who: why for who, why in found.items() if why}


def _remember(store: Store, name: str, say: Say) -> None:
    """Remember that the team was called here, with the members that its document says now."""
    team = roster.require(store, store.read, name)
    try:
        handed = [_handed(store, team, row) for row in roster.present(team)]
        trust.allow(store, [trust.file(team), *trust.members(team), *(one for one in handed if one.content)], trust.called(name))
    except StoreError as error:
        say(f"that team {name} was called here cannot be remembered, so nobody is started again by itself: {error}")


def _handed(store: Store, team: Document, row: Document) -> trust.Start:
    """The names of what a member is handed now; or was, where it runs."""
    now = trust.handed(team, row, handover.values(row, os.environ))
    return now._replace(content=trust.names_handed(store, team, row)) if panes.is_up(store, row["name"]) else now


def _watch(store: Store) -> None:
    """See that a watchdog runs."""
    if not mutex.is_held(store, places.WATCHDOG_LOCK):
        start_watchdog(store.root)


def _tell_watchdog(store: Store, name: str, started: Container[str]) -> None:
    """Let the watchdog know what those who were ``started``, and that it may start again, were handed."""
    rows = [row for row in roster.present(roster.require(store, store.read, name)) if row["name"] in started]
    given = {row["name"]: handover.values(row, os.environ) for row in rows if row.get("respawn")}
    handover.tell(store, {who: values for who, values in given.items() if values})


def _tell_changed(store: Store, changed: list[str], gone: list[str], say: Say) -> None:
    """Say who still runs as it was."""
    for names, what in ((changed, "run with what they were started with"), (gone, "are not in the file any more, and still run")):
        if running := [name for name in names if panes.is_up(store, name)]:
            say(f"{', '.join(running)}: {what}; `team remove` ends a member")
