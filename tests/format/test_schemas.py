"""`mbox schema`: every document on disk and every command's output is what it says, and nothing is without one."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from clikit import Program
from conftest import Run
from mbox.cli.table import described
from mbox.format import documents, places, schemas
from mbox.system.host import Host
from teamkit import end_all

TIME = "2026-01-02T03:04:05.000006Z"
WORDS = [entry["command"].removeprefix("mbox ") for entry in described()]
"""Every command there is, named as its schema is."""


def valid(name: str, value: Any) -> None:
    """Fail unless ``value`` is what the schema called ``name`` promises."""
    jsonschema.Draft202012Validator(schemas.schema(name)).validate(value)


def is_valid(name: str, value: Any) -> bool:
    """Whether ``value`` is what the schema called ``name`` promises."""
    return bool(jsonschema.Draft202012Validator(schemas.schema(name)).is_valid(value))


# ---- the schemas themselves


def test_every_command_has_a_schema_or_prints_text() -> None:
    """A new command cannot be forgotten, nor can the schema of one that is gone stay."""
    named = set(schemas.OUTPUTS) | schemas.TEXT
    assert named == set(WORDS)
    assert not set(schemas.OUTPUTS) & schemas.TEXT


def test_every_kind_of_document_has_a_schema() -> None:
    """The kind whose name is a command's too is found under another."""
    for kind in documents.KINDS:
        name = next((new for new, old in schemas.RENAMED.items() if old == kind), kind)
        assert name in schemas.names()
        properties = schemas.schema(name)["properties"]
        assert [field.name for field in documents.KINDS[kind]] == [one for one in properties if one != "schema"]
    assert len(set(schemas.names())) == len(schemas.names())


@pytest.mark.parametrize("name", schemas.names())
def test_each_is_a_schema(name: str) -> None:
    """Each is valid 2020-12, requires nothing that it does not describe, and is not open to everything."""
    made = schemas.schema(name)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["$schema"] == schemas.DIALECT and name in made["title"]
    for one in _objects(made):
        assert set(one["required"]) <= set(one["properties"])
        assert one["properties"]
    for wrong in (None, 1, "x", [1], [[]], {"msg_id": 5}):
        assert not is_valid(name, wrong)


def _objects(made: Any) -> Iterator[dict[str, Any]]:
    if isinstance(made, dict):
        if "properties" in made and "required" in made:
            yield made
        for value in made.values():
            yield from _objects(value)
    elif isinstance(made, list):
        for value in made:
            yield from _objects(value)


def test_a_wrong_output_does_not_pass() -> None:
    """A field that is missing, of another type, misspelt or outside its words is noticed, in nested rows too."""
    claim = {"task_id": "t1", "status": "claimed", "title": "x", "token": 4, "left": "30m"}
    valid("task claim", claim)
    for wrong in ({"token": "4"}, {"status": "open"}, {"tittle": "x"}, {"touched_paths": "a"}, {"token": None}):
        assert not is_valid("task claim", {**claim, **wrong})
    for field in claim:
        assert not is_valid("task claim", {name: value for name, value in claim.items() if name != field})
    assert not is_valid("gather", {"thread_id": "m1", "answers": [{"msg_id": "m2", "from": "bob", "said": "x"}]})
    assert not is_valid("task list", claim)
    assert not is_valid("log", [{"seq": 1, "ts": "yesterday", "by": "ann", "op": "mail.send"}])


# ---- `mbox schema`


def test_the_command(run: Run, tmp_path: Path) -> None:
    """Lists its names, prints each on a line that parses, takes a command as it is typed, and needs no store."""
    names = run("mbox", "schema", "-o", "id", cwd=tmp_path, check=True).stdout.split("\n")
    assert names == [*schemas.names(), "workflow", "commands", ""]
    for words in (["task", "claim"], ["task claim"], ["mbox", "task", "claim"]):
        printed = run("mbox", "schema", *words, cwd=tmp_path, check=True).stdout
        assert json.loads(printed) == schemas.schema("task claim") and printed.count("\n") == 1
    wrong = run("mbox", "schema", "task", "clam", cwd=tmp_path)
    assert wrong.returncode == 3 and "did you mean task claim" in wrong.stderr


def test_the_table_of_commands(run: Run, tmp_path: Path) -> None:
    """`mbox schema commands` is a line for each, so that one of them can be looked for."""
    printed = run("mbox", "schema", "commands", cwd=tmp_path, check=True).stdout
    rows = json.loads(printed)
    assert [row["command"].removeprefix("mbox ") for row in rows] == WORDS
    assert len(printed.splitlines()) == len(rows) + 2
    assert all({"about", "help", "examples", "exits", "shared"} <= set(row) for row in rows)


# ---- everything that is printed


class Session:
    """Calls commands in a store, checks each output against its schema, and notes whose it has seen.

    In this process, for speed, but for those that run another program.
    """

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root, self.seen = run, root, set[str]()

    def __call__(self, words: str | list[str], agent: str = "", exits: int = 0, stdin: str = "") -> Any:
        args = words if isinstance(words, list) else words.split()
        name = self.name(args)
        status, printed, said = self.done(args, agent, stdin, here="--" not in args and args[0] != "team")
        assert status == exits, f"{args}: exit {status}: {said}"
        if not printed:
            assert exits or name in schemas.TEXT, f"{args} prints nothing"
            return None
        self.seen.add(name)
        if name in schemas.TEXT or (name == "task graph" and "-o" not in args):
            return printed
        answer = json.loads(printed)
        try:
            valid(name, answer)
        except jsonschema.ValidationError as error:
            pytest.fail(f"{' '.join(args)}\n{printed}\n{error.message} at {error.json_path}")
        return answer

    def done(self, args: list[str], agent: str, stdin: str, here: bool) -> tuple[int, str, str]:
        """Status, stdout and stderr of a call."""
        if not here:
            done = self.run(*args, cwd=self.root, stdin=stdin, env={"MBOX_AGENT": agent or None})
            return done.returncode, done.stdout, done.stderr
        with contextlib.chdir(self.root):
            result = CliRunner().invoke(Program(args[0]), args[1:], input=stdin, env={"MBOX_AGENT": agent or None})
        return result.exit_code, result.stdout, result.stderr

    @staticmethod
    def name(args: list[str]) -> str:
        words = args[1:] if args[0] == "mbox" else args
        for count in (3, 2, 1):
            if " ".join(words[:count]) in WORDS:
                return " ".join(words[:count])
        return "reserve add"


@pytest.fixture
def call(run: Run, repo: Path) -> Session:
    """A session in a fresh repository."""
    return Session(run, repo)


def test_every_output_is_what_its_schema_says(call: Session) -> None:
    """Each command that prints JSON, in several states, with and without ``--full`` and ``--dry-run``."""
    try:
        for part in (_begin, _mail, _tasks, _reviews, _plans, _files, _dead, _store, _workflows, _hooks, _alive):
            part(call)
    finally:
        end_all(call.root)
    unending = {"hook", "mcp", "watch", "team attach", "workflow watch", "workflow work"}
    assert call.seen == (set(schemas.OUTPUTS) | schemas.TEXT) - unending
    _on_disk(call.root)


def _begin(call: Session) -> None:
    call("mbox init")
    assert call("mbox init")["made"] is False
    for who in ("ann --role orchestrator", "bob --can python --can gpu --host x --model y", "cat"):
        call(f"mbox agent add {who}")
    call("mbox agent add bob --can python", "ann")
    call("mbox agent add cat --new")
    call("mbox agent list --all")
    call("mbox agent beat --pid 1", "bob")
    for more in ("", " --full"):
        call(f"mbox agent show bob{more}")
    call("mbox status")
    call("mbox me", "bob")
    call("mbox primer -o json", "bob")
    call("mbox inbox", "bob")
    call("mbox log")
    call("task list")
    call("reserve list")


def _mail(call: Session) -> None:
    call("mbox send bob --body x --dry-run", "ann")
    words = ["mbox", "send", "bob", "cat", "--subject", "parser", "--body", "a parser", "--payload", '{"a": [1, null]}',
             "--needs-ack", "--ttl", "1h", "--priority", "urgent", "--key", "k", "--round", "r1"]  # fmt: skip
    sent = call(words, "ann")
    assert call(words, "ann") == {**sent, "already": True}
    first = sent["msg_id"]
    call("mbox broadcast --body hello", "ann")
    call("mbox broadcast --body hello --role worker --dry-run", "ann")
    for agent in ("bob", "cat"):
        call("mbox inbox", agent)
    call("mbox agent add cat --new")
    assert call("mbox inbox", "cat")[0]["before_you"]
    call("mbox wait --timeout 5s", "bob")
    call("mbox wait --timeout 1s --from cat", "bob", exits=4)
    call("mbox me", "bob")
    call("mbox read --dry-run", "bob")
    token = call("mbox read", "bob")["token"]
    call(f"mbox read {first}", "bob")
    call(f"mbox ack {first} --token {token} --dry-run", "bob")
    call(f"mbox ack {first} --token {token}", "bob")
    assert call(f"mbox ack {first}", "bob")["already"]
    assert call(f"mbox read {first} --full", "cat")["needs_ack"]
    assert call(f"mbox reply {first} --body done", "cat")["acked"]
    for one in call("mbox read --all", "bob"):
        call(f"mbox ack {one['msg_id']} {first}", "bob")
    call("mbox read", "bob", exits=1)
    for more in ("", " --full"):
        call(f"mbox show {first}{more}", "bob")
    call(f"mbox thread {first}")
    call("mbox search parser")
    thread = call("mbox ask bob cat --body which? --timeout 1s", "ann", exits=4)["thread_id"]
    call("mbox ask bob --body which? --dry-run", "ann")
    call("mbox me", "ann")
    call("mbox read --type question", "bob")
    call(f"mbox reply {thread} --body yaml", "bob")
    call(f"mbox gather {thread} --timeout 1s", "ann", exits=4)
    call(["mbox", "reply", thread, "--payload", "[1]"], "cat")
    call(f"mbox gather {thread} --dry-run", "ann")
    call(f"mbox gather {thread} --send", "ann")
    call("mbox inbox --all", "cat")
    call("mbox deadletter list")


def _tasks(call: Session) -> None:
    added = call(["task", "add", "Write the parser", "--path", "src/**", "--stage", "impl", "--payload", "[1]"])
    task = added["task_id"]
    call(["task", "add", "Test it", "--id", "test-it", "--depends-on", task, "--requires", "python", "--label", "v1",
          "--priority", "8", "--description", "all of it", "--key", "k"])  # fmt: skip
    call(["task", "add", "Dry", "--dry-run"])
    call(["task", "update", task, "--priority", "7", "--title", "Write the parser now"])
    call(["task", "update", task, "--priority", "7"])
    call("task list --all")
    call("task graph")
    assert call("task graph --all -o json")["edges"]
    call("task ready")
    call("task ready --explain")
    call("task ready --explain test-it")
    call("task claim --dry-run", "bob")
    claimed = call("task claim", "bob")
    assert claimed["reservation_id"]
    assert call(f"task claim {task}", "bob")["already"]
    call("task claim --stage nothing", "cat", exits=1)
    call("task ready --explain")
    call("task list --mine", "bob")
    call(["task", "note", task, "the parser is in lib/"], "cat")
    call(["task", "checkpoint", task, "--state", '{"step": 1}'], "bob")
    call("mbox me", "bob")
    call("mbox status")
    call(["mbox", "send", "cat", "--body", "about it", "--task", task], "bob")
    call(f"task start {task}", "bob")
    call(f"task start {task}", "bob")
    assert call("mbox read", "cat")
    call(f"task renew {task}", "bob")
    call("reserve list")
    for more in ("", " --notes 1", " --full"):
        call(f"task show {task}{more}")
    call(f"task submit {task} --result {{}} --dry-run", "bob")
    call(["task", "submit", task, "--to", "cat", "--keep", "--result", '{"ok": true}'], "bob")
    call("mbox me", "cat")


def _reviews(call: Session) -> None:
    task = call("task list --status review")[0]["task_id"]
    call("mbox status")
    call("task review", "cat")
    call(["task", "reject", task, "--reason", "no test"], "cat")
    assert call("mbox read --type review_result", "bob")["task_id"] == task
    again = call("task claim --start", "bob")
    assert again["round"] == 2 and again["last_note"] and again["reason"] == "no test"
    call(f"task submit {task}", "bob")
    call("task show test-it")
    call(f"task review {task} --lease 1h", "cat")
    assert call(f"task approve {task}", "cat")["unblocked"] == ["test-it"]
    assert call(f"task approve {task}", "cat")["already"]
    call("task claim", "bob")
    call(["task", "fail", "test-it", "--reason", "the API is gone"], "bob")
    call("task requeue test-it")
    call("task claim test-it", "bob")
    call("task release test-it", "bob")
    call("task release test-it", "bob")
    call(["task", "cancel", "test-it", "--reason", "not wanted"])
    assert call("task requeue --label v1")[0]["status"] == "queued"
    call("task update test-it --hold later")
    call("task ready --explain")
    call("task update test-it --no-hold")
    call(["task", "add", "Another", "--id", "another"])
    call("task claim test-it", "bob")
    assert call("task done test-it --next --result 1", "bob")["next"]["task_id"] == "another"
    call("task wait test-it another --timeout 0.1s", exits=4)
    call(["task", "add", "Last", "--id", "last", "--depends-on", "test-it"])
    assert call("task claim last", "bob")["results"] == {"test-it": 1}
    assert call("task show last")["results"] == {"test-it": 1}
    call("task release --owner bob", "bob")
    call("task cancel another test-it", exits=2)


def _hooks(call: Session) -> None:
    assert call("mbox hooks install claude git skill --dry-run")
    assert call("mbox hooks install claude git skill")
    assert call("mbox hooks status")
    assert call("mbox hooks remove")
    assert call("mbox card -o json", "ann")["agent"] == "ann"
    call("mbox hook claude PreToolUse", "ann")
    call("mbox mcp", "ann")
    (call.root / "flow.yaml").write_text("version: 1\nname: x\nsteps: [{id: a, run: make}]\n")
    assert call("workflow compile flow.yaml --target claude -o json")["workflow"] == "x"


def _alive(call: Session) -> None:
    assert "MBOX_INCARNATION" in call("mbox run --as cat --no-watchdog -- env")
    call("mbox watchdog --once")
    call("mbox watchdog --status", exits=1)
    (call.root / "flow.yaml").write_text("version: 1\nname: x\nsteps: [{id: a, run: make, next: b}]\n")
    assert [row["column"] for row in call("workflow lint flow.yaml -o json", exits=1)] == [34]
    assert call("workflow graph flow.yaml -o json")["edges"] == [{"from": "a", "to": "b"}]
    path = call.root / "team.yaml"
    path.write_text("members:\n  - {name: w, role: orchestrator, host: claude, command: [sleep, '1000']}\n"
                    "  - {name: v, host: shell, command: [sleep, '1000']}\n")  # fmt: skip
    call("team up team.yaml --no-tmux --dry-run")
    assert call("team up team.yaml --no-tmux")["started"]
    assert call("team up team.yaml --no-tmux")["already"]
    call("team status")
    assert call("mbox trust --show")["may_start"] == ["team team", "team team: v", "team team: w"]
    call("team lead team v")
    call("mbox trust --forget")
    assert call("mbox trust --yes")["may_start"] == ["team team: v", "team team: w"]
    call("team up team.yaml --no-tmux")
    assert call("team lead team v")["already"]
    call("team add team u --host shell --command sleep --command 1000")
    call("team remove team u")
    status = documents.new("status", agent="w", event="run", pane="%9999", server=str(call.root / "no-server"))
    (call.root / places.status("w")).write_bytes(documents.encode("status", status))
    call("mbox nudge w", exits=3)
    call("mbox send v --body x --subject y", "w")
    call("team drain --timeout 1s", exits=4)
    call("team report")
    call("team down --dry-run")
    call("team down --timeout 1s")
    call("team down team")


FLOW = """
version: 1
name: flow
roles: {coder: {hosts: [alpha]}}
steps:
  - {id: make, agent: coder, prompt: make it, output: {done: boolean}}
  - {id: look, run: "true"}
  - {id: agree, ask: "go on?", choices: ['yes', 'no']}
"""


def _workflows(call: Session) -> None:
    (call.root / ".mailbox/hosts.yaml").write_text("hosts: {alpha: {command: [cat], family: greek}}\n")
    (call.root / "flow.yaml").write_text(FLOW)
    (call.root / "answers.yaml").write_text("make: [{output: {done: true}}]\nagree: [{choice: 'yes'}]\n")
    assert call("workflow lint flow.yaml -o json") == []
    assert call("workflow graph flow.yaml -o json")["nodes"]
    call("workflow run flow.yaml --dry-run")
    call("workflow run flow.yaml --scripted answers.yaml --id all")
    (call.root / "answers.yaml").write_text("make: [{output: {done: true}}]\n")
    call("workflow run flow.yaml --scripted answers.yaml --unattended --id stops", exits=11)
    call("workflow tell stops make softly")
    call("workflow answer stops agree yes")
    call("workflow resume stops")
    call("workflow run flow.yaml --workers 0 --unattended --detach --id waits")
    call("workflow pause waits")
    for words in ("list", "list --all", "show waits", "show all", "explain all", "explain all make", "logs all",
                  "logs all --full", "report", "report all", "replay all"):  # fmt: skip
        call(f"workflow {words}")
    call("workflow cancel waits")
    call("workflow work waits.make.1", "ann", exits=1)


def _plans(call: Session) -> None:
    plan = {"tasks": [{"id": "p1", "title": "P"}, {"id": "p2", "title": "Q", "depends_on": ["p1"], "labels": ["late"]}]}
    call("task import - --dry-run", stdin=json.dumps(plan))
    call("task import -", stdin=json.dumps(plan))
    call("task import - --skip-existing", stdin=json.dumps(plan))
    circle = [{"id": "c1", "title": "C", "depends_on": ["c2"]}, {"id": "c2", "title": "D", "depends_on": ["c1"]}]
    call("task import - --drop-cycles", stdin=json.dumps({"tasks": circle}))
    assert "c1" in call("task graph --format mermaid")
    call("task cancel p1 --cascade")
    call("task deadletter list")


def _files(call: Session) -> None:
    mine = call(["reserve", "docs/**", "README.md", "--reason", "rename"], "ann")["reservation_id"]
    assert call(["reserve", "docs/**", "README.md"], "ann")["already"]
    call(["reserve", "add", "x/**", "--shared", "--ttl", "1h"], "bob")
    call(["reserve", "y", "--dry-run"], "bob")
    call("reserve check docs/a x/b z", "ann", exits=1)
    call("reserve check --mine docs/a", "ann")
    call("reserve list")
    call("mbox status")
    call("mbox me", "ann")
    for more in ("", " --full"):
        call(f"reserve show {mine}{more}")
    call(f"reserve renew {mine}", "ann")
    call("reserve release README.md", "ann")
    call(f"reserve release {mine}", "ann")
    call(f"reserve release {mine}", "ann")
    call("reserve release --all", "bob")
    assert call("mbox lock db -- echo hi") == "hi\n"


def _dead(call: Session) -> None:
    """What nobody acknowledged and what ran out: leases of a second, two seconds later."""
    call("mbox config set max_deliveries 1")
    call("mbox config set read_lease 1s")
    call("mbox send cat --body x --type dying --needs-ack", "ann")
    dead = call("mbox read --type dying", "cat")["msg_id"]
    gone = call(["task", "add", "Dies", "--max-attempts", "1", "--stage", "dies", "--path", "d/**"])["task_id"]
    call("task claim --stage dies --lease 1s", "bob")
    call(["reserve", "e", "--ttl", "1s"], "bob")
    with pytest.MonkeyPatch.context() as later:
        later.setattr(Host, "mono", lambda self: time.monotonic() + 2)
        assert call("reserve list")[-1]["state"] == "expired"
        call("mbox status")
        call("mbox me", "bob")
        call("task list")
        for more in ("", " --full"):
            call(f"task show {gone}{more}")
        call("mbox send ann --body sweep", "ann")
    rows = call("mbox deadletter list")
    assert rows[0]["msg_id"] == dead
    call(f"mbox deadletter show {dead}")
    call(f"mbox show {dead}", "cat")
    call("mbox status")
    call(f"mbox deadletter retry {dead} --dry-run")
    call(f"mbox deadletter retry {dead}")
    (call.root / ".mailbox/outbox/ann/zz.json").write_text("{", encoding="utf-8")
    call("mbox doctor", exits=1)
    call("mbox doctor --repair", exits=0)
    buried = call("mbox deadletter list")[0]["id"]
    call(f"mbox deadletter show {buried}")
    call(f"mbox deadletter purge {buried}")
    assert call("task deadletter list")[0]["task_id"] == gone
    call("task deadletter retry --stage dies")


def _store(call: Session) -> None:
    for words in ("mbox log --full", "mbox log --limit 3 --op mail.", "mbox doctor", "mbox rebuild", "mbox config get"):
        call(words)
    call("mbox config get lease")
    call("mbox schema")
    assert "complete" in call("mbox completion bash")
    call("mbox audit commit --dry-run")
    call("mbox audit commit")
    call("mbox audit commit")
    call("mbox audit log")
    call("mbox audit grep parser")
    call("mbox audit grep --history parser")
    call("mbox agent retire bob")
    call("mbox agent retire bob")
    call("mbox agent list --all")
    clone = call.root.parent / "clone"
    call.run("git", "clone", "--quiet", call.root, clone, check=True)
    call.run("git", "fetch", "--quiet", "origin", "refs/mbox/audit:refs/mbox/audit", cwd=clone, check=True)
    here, call.root = call.root, clone
    call("mbox audit restore --dry-run --with-config")
    call("mbox audit restore --with-config")
    _on_disk(clone)
    call.root = here


def test_a_line_of_watch(call: Session) -> None:
    """Each line of an endless stream is what the schema says."""
    import subprocess

    call("mbox init")
    call("mbox agent add ann")
    call("mbox send ann --body x --type t", "ann")
    command = Path(sys.executable).parent / "mbox"
    with subprocess.Popen([command, "watch", "--as", "ann"], cwd=call.root, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        try:
            valid("watch", json.loads(watching.stdout.readline()))
        finally:
            watching.terminate()


# ---- everything on disk

PLACES = {
    ".mailbox/agents": "agent", ".mailbox/inbox": "message", ".mailbox/outbox": "message",
    ".mailbox/archive": "message", ".mailbox/deadletter": "deadletter",
    ".mailbox/reservations": "reservation", ".mailbox/leases": "lease",
    ".mailbox/heartbeat": "heartbeat", ".tasks/leases": "lease", ".tasks/notes": "note",
    ".mailbox/team": "team", ".mailbox/status": "agent-status",
}  # fmt: skip


def _on_disk(root: Path) -> None:
    """Validate every document and every journal record below ``root``."""
    counts = dict.fromkeys([*PLACES.values(), "task", "record", "run", "definition", "step"], 0)
    for path in sorted(p for top in (".mailbox", ".tasks") for p in (root / top).rglob("*") if p.is_file()):
        relative = path.relative_to(root).as_posix()
        kind = next((kind for place, kind in PLACES.items() if relative.startswith(f"{place}/")), "")
        if relative.startswith(".mailbox/runs/") and "/work/" not in relative:
            kind = _of_run(relative)
        if relative.startswith(".mailbox/logs/"):
            kind = "record"
        elif path.parent == root / ".tasks" and path.suffix == ".json":
            kind = "task"
        if not kind:
            continue
        text = path.read_text(encoding="utf-8")
        for value in map(json.loads, text.splitlines() if path.suffix == ".jsonl" else [text]):
            valid(kind, value)
            counts[kind] += 1
            for doc, paths in value["put"] if kind == "record" else ():
                if paths[0].endswith(".json"):
                    valid(_kind_of(paths[0]), doc)
    assert all(counts[kind] for kind in ("message", "task", "agent", "record", "note")), counts


def _of_run(path: str) -> str:
    return "step" if "/steps/" in path else path.rpartition("/")[2].removesuffix(".json")


def _kind_of(path: str) -> str:
    if path.startswith(".mailbox/runs/"):
        return _of_run(path)
    return next((kind for place, kind in PLACES.items() if path.startswith(f"{place}/")), "task")


@pytest.mark.parametrize("kind", list(documents.KINDS))
def test_a_new_document_validates(kind: str) -> None:
    """A document made of its required fields and defaults is what the schema of its kind says."""
    made = {"str": "x", "int": 1, "num": 1.5, "strs": ["x"], "time": TIME, "bool": True, "any": {"a": 1}, "dict": {"a": 1}}
    given = {field.name: made[field.type] for field in documents.KINDS[kind] if field.required}
    name = next((new for new, old in schemas.RENAMED.items() if old == kind), kind)
    doc = documents.ordered(kind, given)
    valid(name, json.loads(documents.encode(kind, doc)))
    assert is_valid(name, {**doc, "from_the_future": 1})
    for field in given:
        assert not is_valid(name, {one: value for one, value in doc.items() if one != field})


def test_the_checks_of_this_file_can_fail(tmp_path: Path) -> None:
    """A damaged document on disk is found."""
    folder = tmp_path / ".mailbox" / "agents"
    os.makedirs(folder)
    (folder / "ann.json").write_text('{"schema": 1, "agent": 5}', encoding="utf-8")
    with pytest.raises(jsonschema.ValidationError):
        _on_disk(tmp_path)


def test_a_document_of_any_shape_is_json_with_a_field_a_line() -> None:
    """Flat or nested, with names that nobody chose: what is written is read again, and each field begins a line."""
    odd: list[object] = [None, 1.5, True, "x", "a\nb", [], {}, ["one"], ["one", "two"], [["deep"]], {"a": {"b": [1, 2]}}, [1]]
    for value in odd:
        doc = documents.new("message", msg_id="m1", thread_id="m1", from_="ann", to=["bob"], created_at=TIME, payload=value)
        for more in ({}, {'a"b': 1, "é\u2028": ["x", "y"]}):
            data = documents.encode("message", {**doc, **more})
            assert json.loads(data) == {**doc, **more}
            assert documents.decode("message", data, "m1") == {**doc, **more}
            assert data.decode().count('\n  "') == len({**doc, **more})
