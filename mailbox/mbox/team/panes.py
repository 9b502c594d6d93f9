"""Panes and processes of a team: a tmux session with a pane for each member, each under ``mbox run``.

What a member's pane runs is one argument list from end to end, with no shell in it:

    mbox run --as NAME --root ROOT [--sandbox LINE] -- COMMAND…    (in an isolated interpreter: `system.interpreter`)

so a model's name, a path or a prompt with quotes, newlines or ``$(…)`` in it arrives as it is.  A host that takes a first
instruction gets the primer of the member's role, and its own ``prompt`` behind that (`instruction`).  The member's variables
are its pane's environment (``-e``) and no other's; what is the caller's own goes to its wrapper alone (`handover`).  A
pane stays when its program ends, and says what it said last.

Promised: `start` starts only members that have no living program, in the pane they had if it is still there, and leaves
one alone that is only just coming up; `tell_to_stop` ends a member by its wrapper, which ends the whole process group,
and `kill` both by SIGKILL where the wrapper does not.  A member is found by its heartbeat (pid, start time, boot),
never by a name in a process list.  A session is ours only if its ``MBOX_ROOT`` is this store's: two stores that share a
tmux server may have teams of the same name, and none touches the other's panes (`choose`).  A pane says itself whose it
is (`of_team`), so that it is found where a person has moved it, or has named the session otherwise; a pane that a person
opened in our session is never ended.  Of several processes that
start or end a team at the same time one goes on at a time (`team_turn`).

Without tmux a member's wrapper runs on its own, detached, and writes to ``.mailbox/cache/logs/<name>.log``.

What a crash leaves: members that run without a pane being noted in the team's document; the next `team up` finds them
alive and starts only the others.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mbox.agents import presence, registry
from mbox.errors import MboxError, Refused, TimedOut
from mbox.format import places
from mbox.format.documents import Document
from mbox.hosts import programs
from mbox.report.primer import primer
from mbox.store import mutex
from mbox.system import executables, interpreter, processes
from mbox.system.host import Clock
from mbox.system.processes import Identity

from . import access, handover, sandboxes
from .handover import Values
from .tmux import NoRoom, PaneGone, Tmux

if TYPE_CHECKING:
    from mbox.store.store import Store

TURN = 20.0
"""Seconds for which another command that starts or ends members of the same team is waited for."""

LAST = 4096
"""Bytes of a log that are looked at for a member's last words."""

STARTED = b"--- started ---\n"
"""The line of a log behind which the words of one start begin."""

PER_WINDOW = 6
"""Panes of one window; more members get more windows."""

PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM_PROGRAM", "SSH_AUTH_SOCK", "VIRTUAL_ENV", "TMPDIR",
          "XDG_STATE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")  # fmt: skip
"""Variables of the caller that a member gets, whatever the tmux server was started with."""


def words(store: Store, member: Document, given: Values | None = None, terminal: bool = False) -> list[str]:
    """The argument list that a member's pane (or without a ``terminal``, its wrapper) runs.

    ``given`` is what it is handed of its caller's variables.
    """
    host = programs.get(member.get("host") or "")
    prompt = instruction(store, member) if host.takes_prompt(member) else ""
    folders = access.needed(store, folder(store, member)) if host.may_write else []
    line = host.command(member.get("command"), member.get("model") or "", prompt, folders)
    before = wrapping(store, member, given or {}, terminal)
    sandbox = ["--sandbox", shlex.join(before)] if before else []
    return [*interpreter.words("mbox", "run", "--as", member["name"], "--root", store.root), *sandbox, "--", *line]


def wrapping(store: Store, member: Document, given: Values, terminal: bool = False) -> list[str]:
    """The words that stand before a member's command: its sandbox; none where it has none."""
    environ = {**os.environ, **environment(store, member), **given}
    return sandboxes.words(store, member, folder(store, member), environ, [*given, *member.get("env", {})], terminal)


def prove(store: Store, member: Document) -> None:
    """`Refused` where a member that is not up could not write what it must (`access`)."""
    if not is_up(store, member["name"]):
        given = handover.values(member, os.environ)
        environ = {**environment(store, member), **given}
        access.prove(store, member, folder(store, member), environ, wrapping(store, member, given))


def instruction(store: Store, member: Document) -> str:
    """A member's first instruction: the primer of its role, with its own ``prompt`` behind it."""
    doc = store.glance(places.agent(member["name"])) or {}
    search = _path(member)
    text = primer(member["name"], doc.get("role") or member.get("role") or registry.USUAL, executables.ours("mbox", search))
    return f"{text}\n{member['prompt']}" if member.get("prompt") else text


def environment(store: Store, member: Document) -> dict[str, str]:
    """What a member's pane has in its environment beside tmux's own."""
    caller = {name: os.environ[name] for name in PASSED if name in os.environ}
    path, ours = _path(member), interpreter.commands()
    found = f"{path}{os.pathsep}{ours}" if ours and executables.ours("mbox", path) else path
    return {**caller, **member.get("env", {}), "PATH": found, "MBOX_ROOT": store.root, "MBOX_AGENT": member["name"]}


def _path(member: Document) -> str:
    """A member's ``PATH`` as it is said for it; the folder of our commands comes last where they are not found there."""
    return str(member.get("env", {}).get("PATH") or os.environ.get("PATH") or os.defpath)


def folder(store: Store, member: Document) -> str:
    """Where a member works: in its own working tree, else in the root."""
    return str(member.get("tree") or store.root)


# -- starting --------------------------------------------------------------------------------------------------------


def is_up(store: Store, name: str) -> bool:
    """Whether a member's wrapper is alive, or at least there."""
    beat = presence.heartbeat(store, name)
    return bool(beat and beat["machine"] == store.host.machine and beat["child"] and not presence.is_gone(beat))


def is_here(store: Store, name: str) -> bool:
    """Whether the pids of a member's last heartbeat are those that count here, and not in another namespace."""
    beat = presence.heartbeat(store, name)
    return beat is None or presence.counts_here(beat)


def team_turn(store: Store, team: str, wait: float) -> AbstractContextManager[int]:
    """Be the only one who starts or ends members of ``team``; `TimedOut` if another does for so long."""
    return mutex.exclusively(
        store, places.team_lock(team), wait, lambda: TimedOut(f"somebody else starts or ends team {team} since {wait:g} s")
    )


def choose(store: Store, team: str, server: Tmux) -> str:
    """The name of the team's session: ``mbox-<team>``, with a number behind it where that is another's."""
    first, taken = f"mbox-{team}".replace(".", "_"), _sessions_but_of(store, team)
    for name in (first, *(f"{first}-{number}" for number in range(2, 100))):
        if name not in taken and (not server.has_session(name) or is_ours(store, name, server)):
            return name
    raise Refused(f"{first} to {first}-99 are sessions of others; give the team another name, or pass --socket")


def _sessions_but_of(store: Store, team: str) -> set[str]:
    """Sessions of the other teams of this store (``a.b`` and ``a_b`` would have one)."""
    return {doc["session"] for doc in store.documents(places.TEAMS) if doc["team"] != team and doc["state"] != "down"}


def is_ours(store: Store, session: str, server: Tmux) -> bool:
    """Whether a session is there and belongs to this store."""
    return server.owner(session) == store.root


def is_members(store: Store, team: Document, name: str, pane: str, server: Tmux) -> bool:
    """Whether ``pane`` is one that was made for member ``name`` of this store's team."""
    return of_team(store, team, server).get(pane, {}).get("agent") == name


def of_team(store: Store, team: Document, server: Tmux) -> dict[str, dict[str, str]]:
    """The panes that were made for members of a team, wherever a person has moved them, whatever its session is called.

    A pane that does not say its team is a member's where it stands in the team's session (an older version made it).
    """
    key, named = _key(store, team["team"]), team["session"]
    every = server.every_pane()
    old = server.panes(named) if is_ours(store, named, server) else {}
    return {pane: row for pane, row in every.items() if row["team"] == key or (row["agent"] and not row["team"] and pane in old)}


def _key(store: Store, team: str) -> str:
    """What a pane says of its team: its name and the store's, in one word."""
    from hashlib import sha256

    return f"{sha256(os.fsencode(store.root)).hexdigest()[:16]}.{team}"


def session_of(store: Store, team: Document, server: Tmux) -> str | None:
    """The id of the session in which a team's panes are, those that are in the most; None if there are none."""
    rows = [row["session"] for row in of_team(store, team, server).values()]
    return max(rows, key=rows.count) if rows else None


def start(store: Store, team: Document, members: Sequence[Document], server: Tmux | None,
          given: Values | None = None) -> dict[str, str]:  # fmt: skip
    """Start every one of ``members`` that is not up; the pane of each that was started (empty without tmux).

    Each is handed ``given``, else what it is to have of this process's variables (`handover`).
    """
    started: dict[str, str] = {}
    for member in members:
        if is_up(store, member["name"]):
            continue
        values = handover.values(member, os.environ) if given is None else given
        if server is None:
            _detached(store, team, member, values)
            started[member["name"]] = ""
        elif (pane := _in_pane(store, team, member, server, values)) is not None:
            started[member["name"]] = pane
    return started


def _in_pane(store: Store, team: Document, member: Document, server: Tmux, given: Values) -> str | None:
    """Start a member in its old pane, else in a new one; None where its wrapper is there and has only not beaten yet."""
    session, name = team["session"], member["name"]
    line, where = words(store, member, given, terminal=True), folder(store, member)
    panes = of_team(store, team, server)
    others = not panes and server.has_session(session)
    if others and not is_ours(store, session, server):
        raise Refused(f"tmux session {session} is not one of this store; `team down {team['team']}`, then `team up`")
    old = next((pane for pane, said in panes.items() if said["agent"] == name), None)
    if old and panes[old]["dead"] != "1" and processes.is_running(processes.identity(int(panes[old]["pid"]))):
        return None
    environ = {**environment(store, member), **handover.offer(given)}
    if old is not None:
        server.respawn(old, line, where, environ)
        return old
    if not panes and not others:
        pane = server.new_session(session, line, where, environ, around=handover.without(os.environ, members_of_all(store, team)))
        own = [*member.get("env", {}), "MBOX_AGENT", *([handover.VARIABLE] if given else [])]
    else:
        pane = _one_more(panes, next((said["session"] for said in panes.values()), session), server, line, where, environ)
        own = []
    try:
        server.mark(pane, name, f"{name} ({member.get('role') or 'worker'})", _key(store, team["team"]))
        common = {key: value for key, value in environment(store, {"name": name}).items() if key != "MBOX_AGENT"}
        server.forget(pane, common, own)
        server.leave_mode(pane)
    except PaneGone:
        pass  # its program has ended before the pane was told to stay
    return pane


def members_of_all(store: Store, team: Document) -> list[Document]:
    """The members of ``team`` and of every other team of the store: what any of them is handed is no other's."""
    return [member for doc in [team, *store.documents(places.TEAMS)] for member in doc["members"] or []]


def listening(team: Document, started: Mapping[str, str]) -> None:
    """Let the programs in the panes ``started`` hear keys, where tmux has something of its configuration to show there."""
    server = server_of(team)
    for pane in started.values() if server else ():
        assert server is not None
        try:
            server.leave_mode(pane)
        except PaneGone:
            continue


def _one_more(panes: Mapping[str, Mapping[str, str]], session: str, server: Tmux, line: list[str], where: str,
              environ: Mapping[str, str]) -> str:  # fmt: skip
    """A pane beside the others of the team, where a window has room for it; else in a window of its own."""
    every, windows = server.every_pane(), [said["window"] for said in panes.values()]
    for window in dict.fromkeys(windows):
        there = [pane for pane, said in every.items() if said["window"] == window]
        if len(there) < PER_WINDOW:
            try:
                return server.split(there[-1], line, where, environ)
            except NoRoom:
                continue
    return server.new_window(session, line, where, environ)


def _detached(store: Store, team: Document, member: Document, given: Values) -> None:
    """Start a member without a pane."""
    import subprocess

    logs, around = f"{places.CACHE}/logs", handover.without(os.environ, members_of_all(store, team))
    store.check_folder(logs)
    store.disk.folders(store.absolute(logs))
    fd = store.disk.open(store.absolute(f"{logs}/{member['name']}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        store.disk.write(fd, STARTED)
        subprocess.Popen(
            words(store, member, given), stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, start_new_session=True,
            cwd=folder(store, member), env={**around, **environment(store, member), **handover.offer(given)},
        )  # fmt: skip
    finally:
        os.close(fd)


def log_of(store: Store, name: str) -> bytes:
    """The end of what a member without a pane has written since it was started."""
    with open(store.absolute(f"{places.CACHE}/logs/{name}.log"), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LAST))
        return file.read(LAST).rpartition(STARTED)[2]


def respawn(store: Store, team: Document, member: Document, given: Values) -> str:
    """Start a member again, where it was, and hand it ``given``; empty, or why that could not be done."""
    try:
        with team_turn(store, team["team"], 0.0):
            now = store.read(places.team(team["team"]))
            if now is None or now["state"] != "up":
                return f"team {team['team']} is being ended"
            started = start(store, team, [member], server_of(team), given)
    except (MboxError, OSError) as error:
        return str(error)
    return "" if started else "it is coming up already"


def server_of(team: Document) -> Tmux | None:
    """The tmux server that has the team's panes; None where it runs without."""
    return Tmux((team["policy"] or {}).get("server")) if team["session"] else None


def incarnation(store: Store, name: str) -> int:
    """The incarnation of a member's last heartbeat; 0 if it never beat."""
    beat = presence.heartbeat(store, name)
    return int(beat["incarnation"]) if beat else 0


def wait_up(store: Store, before: Mapping[str, int], seconds: float) -> list[str]:
    """Wait until each member has beaten in an incarnation after ``before``; those that did not within ``seconds``."""

    def late() -> list[str]:
        return [name for name, older in before.items() if incarnation(store, name) <= older]

    return _waited(store.host, late, seconds)


def _waited(clock: Clock, left: Callable[[], list[str]], seconds: float) -> list[str]:
    """Who is ``left`` after ``seconds``; nobody, as soon as there is nobody."""
    until = clock.mono() + seconds
    while (names := left()) and clock.mono() < until:
        clock.sleep(0.05)
    return names


# -- stopping --------------------------------------------------------------------------------------------------------


def tell_to_stop(store: Store, name: str) -> bool:
    """Tell a member's wrapper to end; whether there was one."""
    beat = presence.heartbeat(store, name)
    if beat is None or not is_up(store, name):
        return False
    if not presence.counts_here(beat):
        return False
    return processes.send(Identity(beat["pid"], beat["start_ticks"]), signal.SIGTERM, signal.SIGCONT)


def wait_down(store: Store, names: Sequence[str], seconds: float) -> list[str]:
    """Wait until none of ``names`` is up; those that still are after ``seconds``."""
    return _waited(store.host, lambda: [name for name in names if is_up(store, name)], seconds)


def kill(store: Store, name: str) -> None:
    """End a member's wrapper and its program's group at once, and see them dead."""
    from mbox.liveness import supervisor

    beat = presence.heartbeat(store, name)
    if beat is None or beat["machine"] != store.host.machine or not presence.counts_here(beat):
        return
    processes.send(Identity(beat["pid"], beat["start_ticks"]), signal.SIGKILL)
    supervisor.end_program(store, name, beat, 0.0)


def close(store: Store, team: Document, server: Tmux | None) -> bool:
    """Remove the panes of a team's members; its session goes with the last pane.  Whether panes of a person's are left in it."""
    if server is None or team["session"] in _sessions_but_of(store, team["team"]):
        return False
    for pane in of_team(store, team, server):
        server.close_pane(pane)
    return is_ours(store, team["session"], server)
