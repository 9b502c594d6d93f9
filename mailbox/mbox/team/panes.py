"""Panes and processes of a team: a tmux session with a pane for each member, each under ``mbox run``.

What a member's pane runs is one argument list from end to end, with no shell in it:

    python -m mbox.cli.main mbox run --as NAME --root ROOT [--sandbox WORD]… -- COMMAND…

so a model's name, a path or a prompt with quotes, newlines or ``$(…)`` in it arrives as it is.  The member's variables
are its pane's environment (``-e``) and no other's.  A pane stays when its program ends, and says what it said last.

Promised: `start` starts only members that have no living program, in the pane they had if it is still there, and leaves
one alone that is only just coming up; `stop` ends a member by its wrapper, which ends the whole process group, and by
SIGKILL of both if the wrapper does not.  A member is found by its heartbeat (pid, start time, boot), never by a name in
a process list.  A session is ours only if its ``MBOX_ROOT`` is this store's: two stores that share a tmux server may have
teams of the same name, and none touches the other's panes (`choose`).  Of several processes that start or end a team at
the same time one goes on at a time (`alone`).

Without tmux a member's wrapper runs on its own, detached, and writes to ``.mailbox/cache/logs/<name>.log``.

What a crash leaves: members that run without a pane being noted in the team's document; the next `team up` finds them
alive and starts only the others.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mbox.team import tmux
from mbox.hosts import programs as hosts
from mbox.agents import registry as agents
from mbox.store import mutex as locks
from mbox.format import places
from mbox.system import processes
from mbox.format.documents import Document
from mbox.errors import MboxError, Refused, TimedOut
from mbox.system.processes import Identity
from mbox.team.tmux import Tmux

if TYPE_CHECKING:
    from mbox.opening import OpenStore

PER_WINDOW = 6
"""Panes of one window; more members get more windows."""

PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM_PROGRAM", "SSH_AUTH_SOCK", "VIRTUAL_ENV", "TMPDIR")
"""Variables of the caller that a member gets, whatever the tmux server was started with."""


def words(store: OpenStore, member: Document) -> list[str]:
    """The argument list that a member's pane runs."""
    host = hosts.get(member.get("host") or "")
    line = host.command(member.get("command"), member.get("model") or "", member.get("prompt") or "")
    sandbox = [word for part in member.get("sandbox") or [] for word in ("--sandbox", part)]
    python = [sys.executable, "-m", "mbox.cli.main", "mbox", "run"]
    return [*python, "--as", member["name"], "--root", store.root, *sandbox, "--", *line]


def environment(store: OpenStore, member: Document) -> dict[str, str]:
    """What a member's pane has in its environment beside tmux's own."""
    caller = {name: os.environ[name] for name in PASSED if name in os.environ}
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.environ.get("PYTHONPATH")
    own = {"PYTHONPATH": path} if path else {"PYTHONPATH": source} if f"{os.sep}site-packages{os.sep}" not in source else {}
    return {**caller, **own, **member.get("env", {}), "MBOX_ROOT": store.root, "MBOX_AGENT": member["name"]}


def folder(store: OpenStore, member: Document) -> str:
    """Where a member works: in its own working tree, else in the root."""
    return str(member.get("tree") or store.root)


# -- starting --------------------------------------------------------------------------------------------------------


def is_up(store: OpenStore, name: str) -> bool:
    """Whether a member's wrapper is alive, or at least there."""
    beat = agents.heartbeat(store, name)
    return bool(beat and beat["machine"] == store.host.machine and beat["child"] and not agents.is_gone(beat))


def alone(store: OpenStore, team: str, wait: float) -> AbstractContextManager[int]:
    """Be the only one who starts or ends members of ``team``; `TimedOut` if another does for so long."""
    return locks.alone(
        store, places.team_lock(team), wait, lambda: TimedOut(f"somebody else starts or ends team {team} since {wait:g} s")
    )


def choose(store: OpenStore, team: str, server: Tmux) -> str:
    """The name of the team's session: ``mbox-<team>``, with a number behind it where that is another's."""
    first, taken = f"mbox-{team}".replace(".", "_"), _sessions_but_of(store, team)
    for name in (first, *(f"{first}-{number}" for number in range(2, 100))):
        if name not in taken and (not server.has_session(name) or is_ours(store, name, server)):
            return name
    raise Refused(f"{first} to {first}-99 are sessions of others; give the team another name, or pass --socket")


def _sessions_but_of(store: OpenStore, team: str) -> set[str]:
    """Sessions of the other teams of this store (``a.b`` and ``a_b`` would have one)."""
    return {doc["session"] for doc in store.documents(places.TEAMS) if doc["team"] != team and doc["state"] != "down"}


def is_ours(store: OpenStore, session: str, server: Tmux) -> bool:
    """Whether a session is there and belongs to this store."""
    return server.owner(session) == store.root


def start(store: OpenStore, team: Document, members: Sequence[Document], server: Tmux | None) -> dict[str, str]:
    """Start every one of ``members`` that is not up; the pane of each that was started (empty without tmux)."""
    started: dict[str, str] = {}
    for member in members:
        if is_up(store, member["name"]):
            continue
        if server is None:
            _detached(store, member)
            started[member["name"]] = ""
        elif (pane := _in_pane(store, team, member, server)) is not None:
            started[member["name"]] = pane
    return started


def _in_pane(store: OpenStore, team: Document, member: Document, server: Tmux) -> str | None:
    """Start a member in its old pane, else in a new one; None where its wrapper is there and has only not beaten yet."""
    session, name = team["session"], member["name"]
    line, where, environ = words(store, member), folder(store, member), environment(store, member)
    panes = server.panes(session)
    if panes and not is_ours(store, session, server):
        raise Refused(f"tmux session {session} is not one of this store; `team down {team['team']}`, then `team up`")
    old = next((pane for pane, said in panes.items() if said["agent"] == name), None)
    if old is not None:
        if panes[old]["dead"] != "1" and processes.is_running(Identity(int(panes[old]["pid"]), 0)):
            return None
        server.respawn(old, line, where, environ)
        return old
    if not panes:
        pane = server.new_session(session, line, where, environ)
        common = {key: value for key, value in environment(store, {"name": name}).items() if key != "MBOX_AGENT"}
        server.forget(session, common, [*member.get("env", {}), "MBOX_AGENT"])
    else:
        windows: dict[str, list[str]] = {}
        for one, said in panes.items():
            windows.setdefault(said["window"], []).append(one)
        room = next((there for there in windows.values() if len(there) < PER_WINDOW), None)
        pane = server.split(room[-1], line, where, environ) if room else server.new_window(session, line, where, environ)
    server.mark(pane, name, f"{name} ({member.get('role') or 'worker'})")
    return pane


def _detached(store: OpenStore, member: Document) -> None:
    """Start a member without a pane."""
    import subprocess

    logs = f"{places.CACHE}/logs"
    store.disk.folders(store.absolute(logs))
    fd = store.disk.open(store.absolute(f"{logs}/{member['name']}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        subprocess.Popen(
            words(store, member), stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, start_new_session=True,
            cwd=folder(store, member), env={**os.environ, **environment(store, member)},
        )  # fmt: skip
    finally:
        os.close(fd)


def respawn(store: OpenStore, team: Document, member: Document) -> str:
    """Start a member again, where it was; empty, or why that could not be done."""
    try:
        with alone(store, team["team"], 0.0):
            now = store.read(places.team(team["team"]))
            if now is None or now["state"] != "up":
                return f"team {team['team']} is being ended"
            started = start(store, team, [member], server_of(team))
    except (MboxError, OSError) as error:
        return str(error)
    return "" if started else "it is coming up already"


def server_of(team: Document) -> Tmux | None:
    """The tmux server that has the team's panes; None where it runs without."""
    return Tmux((team["policy"] or {}).get("server")) if team["session"] else None


def incarnation(store: OpenStore, name: str) -> int:
    """The incarnation of a member's last heartbeat; 0 if it never beat."""
    beat = agents.heartbeat(store, name)
    return int(beat["incarnation"]) if beat else 0


def wait_up(store: OpenStore, before: Mapping[str, int], seconds: float) -> list[str]:
    """Wait until each member has beaten in an incarnation after ``before``; those that did not within ``seconds``."""
    return _waited(lambda: [name for name, older in before.items() if incarnation(store, name) <= older], seconds)


def _waited(left: Callable[[], list[str]], seconds: float) -> list[str]:
    """Who is ``left`` after ``seconds``; nobody, as soon as there is nobody."""
    until = time.monotonic() + seconds
    while (names := left()) and time.monotonic() < until:
        time.sleep(0.05)
    return names


# -- stopping --------------------------------------------------------------------------------------------------------


def tell_to_stop(store: OpenStore, name: str) -> bool:
    """Tell a member's wrapper to end; whether there was one."""
    beat = agents.heartbeat(store, name)
    if beat is None or not is_up(store, name):
        return False
    try:
        os.kill(beat["pid"], signal.SIGTERM)
        os.kill(beat["pid"], signal.SIGCONT)
    except ProcessLookupError:
        return False
    return True


def wait_down(store: OpenStore, names: Sequence[str], seconds: float) -> list[str]:
    """Wait until none of ``names`` is up; those that still are after ``seconds``."""
    return _waited(lambda: [name for name in names if is_up(store, name)], seconds)


def kill(store: OpenStore, name: str) -> None:
    """End a member's wrapper and its program's group at once, and see them dead."""
    from mbox.liveness import supervisor as wrapper

    beat = agents.heartbeat(store, name)
    if beat is None or beat["machine"] != store.host.machine:
        return
    who = Identity(beat["pid"], beat["start_ticks"])
    if processes.is_running(who):
        try:
            os.kill(who.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wrapper.end_program(store, name, beat, 0.0)


def close(store: OpenStore, team: Document, server: Tmux | None) -> None:
    """Remove the session of a team, with its panes."""
    if server is None or team["session"] in _sessions_but_of(store, team["team"]):
        return
    if is_ours(store, team["session"], server):
        server.close_session(team["session"])


# -- looking ---------------------------------------------------------------------------------------------------------


def last_words(store: OpenStore, name: str) -> str:
    """The last line of text that a member's pane shows, for people; empty where there is none."""
    doc = agents.status(store, name)
    if doc is None or not doc["pane"]:
        return ""
    try:
        rows = Tmux(doc["server"]).run("capture-pane", "-p", "-t", tmux.checked(doc["pane"])).splitlines()
    except MboxError:
        return ""
    said = [" ".join(row.split()) for row in rows if any(char.isalnum() for char in row)]
    return said[-1] if said else ""


def screen_state(store: OpenStore, name: str, host: str) -> str:
    """``busy``, ``idle``, … by the agent's own hooks, else by what its pane shows; ``ended`` or empty if unknown."""
    from mbox.team import doorbell

    doc = agents.status(store, name)
    if doc is None:
        return ""
    if said := agents.said_by_hooks(doc) or (doc["state"] if doc["state"] == "ended" else ""):
        return str(said)
    known = hosts.get(host)
    if not doc["pane"] or known.prompt is None:
        return ""
    try:
        return doorbell.Doorbell(Tmux(doc["server"]), doc["pane"], known).glance().state
    except MboxError:
        return ""
