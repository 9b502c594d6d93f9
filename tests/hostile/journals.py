"""Journals whose checksums are right and whose contents want to leave the root, start programs or never end."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from hostile.world import World
from mbox.format import documents
from mbox.format.documents import compact
from mbox.journal.record import encode
from mbox.store import mark

SEGMENT = ".mailbox/logs/000001.jsonl"
NOW = "2027-01-15T08:00:00.000000Z"


def last(world: World) -> dict[str, Any]:
    """The journal's last record."""
    line = (world.root / SEGMENT).read_bytes().splitlines()[-1]
    found: dict[str, Any] = json.loads(line)
    return found


def append(fields: dict[str, Any], world: World) -> None:
    """Put a record with a right checksum at the journal's end."""
    before = last(world)
    record = {
        "v": 1, "seq": before["seq"] + 1, "ts": NOW, "by": "ann", "inc": 1, "op": "mail.send", "on": [], "why": "",
        "key": None, "put": [], "mv": [], "del": [], "lease": [], **fields,
    }  # fmt: skip
    with open(world.root / SEGMENT, "ab") as file:
        file.write(encode(record))


def put(kind: str, path: str, world: World, /, **fields: Any) -> None:
    """A record that puts a document of ``kind``."""
    append({"op": f"{kind}.add", "put": [[documents.new(kind, **fields), [path]]]}, world)


def outside(world: World) -> list[str]:
    """Paths that lead out of the layout."""
    up = "../sibling/precious.json"
    return [up, f".mailbox/{up}", f".mailbox/agents/../../{up}", str(world.sibling / "precious.json"), ".git/config",
            ".git/hooks/post-commit", ".mailbox/agents/con.json", ".tasks/\n.json", ".mailbox/inbox/../../x.json"]  # fmt: skip


def put_outside(at: int, world: World) -> None:
    """A document for a place outside."""
    append({"put": [[documents.new("agent", agent="eve", registered_at=NOW), [outside(world)[at]]]]}, world)


def move_outside(at: int, world: World) -> None:
    """A document that moves outside, and one that comes from there."""
    append({"mv": [[".mailbox/agents/ann.json", outside(world)[at]]]}, world)


def delete_outside(at: int, world: World) -> None:
    """A file outside is removed."""
    append({"del": [outside(world)[at]]}, world)


def lease(**fields: Any) -> dict[str, Any]:
    """A lease that is right, but for ``fields``."""
    return {"schema": 1, "id": "r28", "holder": "bob", "incarnation": 1, "token": 28, "machine": "x", "mono_until": 1.0,
            "wall_until": 1.0, "seconds": 60, "at": "", **fields}  # fmt: skip


def lease_outside(at: int, world: World) -> None:
    """A lease outside."""
    append({"lease": [[outside(world)[at], lease()]]}, world)


def foreign_lease(fields: dict[str, Any], world: World) -> None:
    """A lease of another machine, or one that never ends."""
    append({"lease": [[".mailbox/leases/r28.json", lease(**fields)]]}, world)


def team(state: str, world: World, session: str = "mbox-crew", **more: Any) -> None:
    """A team that was called elsewhere, with programs that nobody here has seen."""
    evil = world.evil.split()
    members = [
        {"name": "hand", "role": "worker", "command": evil, "respawn": {"times": 9}} | more,
        {"name": "boss", "role": "orchestrator", "host": "claude", "sandbox": evil, "respawn": {"times": 9}} | more,
    ]
    put("team", ".mailbox/team/crew.json", world, team="crew", state=state, members=members, session=session,
        orchestrator="boss", created_at=NOW, file=str(world.root / "team.yaml"))  # fmt: skip


def team_environment(world: World) -> None:
    """Members whose environment has Python and the loader run something."""
    team("up", world, env={"PYTHONSTARTUP": "x.py", "LD_PRELOAD": "./x.so", "PATH": "."})


def far_away(world: World) -> None:
    """Members that report elsewhere, in a session whose name tmux would run."""
    team("up", world, f"#({world.evil})", reports_to="eve", prompt="@/etc/passwd")


def odd_members(world: World) -> None:
    """Members whose fields are of other kinds than a team file's."""
    team("up", world, respawn={"times": "x", "within": "5m"}, env=[1], command="sleep 1", sandbox={"a": 1}, prompt=["x"])


def number(seq: int, world: World) -> None:
    """A record with a number at the end of all numbers."""
    append({"seq": seq}, world)


def many(world: World) -> None:
    """Tasks that depend on each other in a ring, and on what is not there."""
    put_all = []
    for n in range(200):
        doc = documents.new("task", task_id=f"q{n}", title="x" * 500, depends_on=[f"q{(n + 1) % 200}", "nowhere"],
                            touched_paths=["{*a*b,*c*d}" * 8], created_at=NOW)  # fmt: skip
        put_all.append([doc, [f".tasks/q{n}.json"]])
    append({"op": "task.add", "put": put_all}, world)


def stars(world: World) -> None:
    """A reservation whose patterns take for ever to compare."""
    patterns = ["{*a*b,*c*d}" * 8 + f"/{n}" for n in range(40)]
    put("reservation", ".mailbox/reservations/r90.json", world, reservation_id="r90", agent="bob", patterns=patterns,
        token=28, created_at=NOW, lease_s=9999)  # fmt: skip


def bells(world: World) -> None:
    """A message full of what a terminal, a shell and a format string would take for theirs."""
    text = "\x1b]0;x\x07\x1b[2J$(touch x)`touch x`;touch x;#{pane_id}#(touch x)%s\u202e\r\n" * 50
    put("message", ".mailbox/inbox/bob/new/m95.json", world, msg_id="m95", thread_id="m95", **{"from": "ann"}, to=["bob"],
        subject="\x1b[31m", body=text, created_at=NOW)  # fmt: skip


def header(fields: dict[str, Any], world: World) -> None:
    """A first record that says something else of the store."""
    path = world.root / SEGMENT
    first, rest = path.read_bytes().split(b"\n", 1)
    record = {name: value for name, value in json.loads(first).items() if name != "crc"}
    path.write_bytes(encode({**record, **fields}) + rest)


def checkpoint(fields: dict[str, Any], world: World) -> None:
    """A checkpoint that lies."""
    lock = world.root / ".mailbox/lock"
    lock.touch()
    store = json.loads((world.root / SEGMENT).read_bytes().split(b"\n", 1)[0])["store"]
    said = {"store": store, "inode": lock.stat().st_ino, "segment": 1, "floor": 0, **fields}
    (world.root / ".mailbox/checkpoint").write_bytes(mark.line(compact(said), 128 + len(compact(said))))


def marked(fields: dict[str, Any], world: World) -> None:
    """A mark with a right checksum that lies."""
    lock = world.root / ".mailbox/lock"
    lock.touch()
    data = lock.read_bytes()
    said = mark.parsed(data[: mark.SIZE]) or {"tail": [1, 1, 0]}
    text = compact({**said, "inode": lock.stat().st_ino, **fields})
    lock.write_bytes(mark.line(text, mark.SIZE) + data[mark.SIZE :])


def status(fields: dict[str, Any], world: World) -> None:
    """What an agent's wrapper is said to have said."""
    path = world.root / ".mailbox/status/ann.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"schema": 1, "agent": "ann", "state": "idle", "event": "run", "pane": "%1", **fields}))


def beat(fields: dict[str, Any], world: World) -> None:
    """A heartbeat of a process that is not ours."""
    path = world.root / ".mailbox/heartbeat/hand"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"pid": 1, "start_ticks": 1, "machine": "x", "incarnation": 1, "mono": 1e9, **fields}))


def sparse_tail(size: int, world: World) -> None:
    """A journal with a hole at its end."""
    path = world.root / SEGMENT
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + size)


def second_segment(size: int, world: World) -> None:
    """A segment that is all hole, behind the real one."""
    with open(world.root / ".mailbox/logs/000002.jsonl", "wb") as file:
        file.truncate(size)


ENTRIES = {
    **{
        f"the journal {what} at {at}": partial(move, at)
        for what, move in (("puts", put_outside), ("moves", move_outside), ("deletes", delete_outside),
                           ("grants", lease_outside))
        for at in range(9)
    },
    **{f"a lease with {fields}": partial(foreign_lease, fields) for fields in (
        {"at": "elsewhere"}, {"machine": "elsewhere:0", "wall_until": 1e300}, {"mono_until": 1e300, "token": 2**53},
        {"seconds": -1}, {"seconds": 1e-9, "wall_until": -1e300}, {"holder": "../x"}, {"id": "t-one"})},
    **{f"a team in state {state}": partial(team, state) for state in ("up", "draining", "down")},
    "a team with an environment": team_environment,
    "a team of odd members": odd_members, "a team of numbers": partial(team, "up", host=5, model=[], respawn=7, worktree=3),
    "a team with a tree": partial(team, "up", worktree="mbox/--upload-pack=x"),
    "a team far away": far_away,
    **{f"the number {seq}": partial(number, seq) for seq in (2**53 - 1, 2**53, 2**63, 10**30, -1, 0)},
    "a ring of tasks": many, "patterns of stars": stars, "a message for terminals": bells,
    **{f"a header with {fields}": partial(header, fields) for fields in (
        {"store": "another"}, {"store": "../x"}, {"format": 99}, {"writer_min": 99}, {"format": -1}, {"store": 5})},
    **{f"a checkpoint with {fields}": partial(checkpoint, fields) for fields in (
        {"segment": 10**9}, {"segment": -1}, {"segment": "x"}, {"floor": 2**53}, {"floor": -1}, {"store": "x" * 9000})},
    **{f"a mark with {fields}": partial(marked, fields) for fields in (
        {"tail": [10**9, 10**9, 10**9]}, {"tail": [-1, -1, -1]}, {"tail": "x"}, {"tail": [1, 1, 2**62]},
        {"store": "../.."}, {"wall": 1e300}, {"due": 1e300}, {"indexed": 2**60}, {"floor": 2**53})},
    **{f"a status with {fields}": partial(status, fields) for fields in (
        {"server": "/tmp/x"}, {"server": "-f/dev/zero"}, {"pane": ";kill-server"}, {"pane": "%1", "server": "a\nb"})},
    **{f"a beat with {fields}": partial(beat, fields) for fields in (
        {"child": 1, "child_ticks": 1}, {"pid": -1}, {"pid": 2**31}, {"child": -1}, {"child": 2**70})},
    **{f"a journal with a hole of {size >> 20} MB": partial(sparse_tail, size) for size in (300 << 20, 1 << 33)},
    **{f"a segment that is a hole of {size >> 20} MB": partial(second_segment, size) for size in (300 << 20, 1 << 33)},
}  # fmt: skip
