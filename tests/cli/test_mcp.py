"""`mbox mcp`: a client of the SDK, over stdin and stdout, against the real program."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conftest import Run

pytest.importorskip("mcp_types", reason="the MCP SDK (pip install 'mbox-agents[mcp]') is not installed")

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from mbox.cli import mcp as tools

MBOX = str(Path(sys.executable).with_name("mbox"))
NAMES = ["me", "inbox", "read", "send", "claim", "task", "reserve", "release"]

Answer = tuple[bool, list[str]]
"""Whether it is an error, and its texts."""

Call = Callable[..., Awaitable[Answer]]


def serve(root: Path, script: Callable[[Call, ClientSession], Awaitable[None]], **env: str) -> None:
    """Start the server as ann in ``root``, run ``script`` with a way to call its tools, and end it."""

    async def session() -> None:
        surroundings = {**os.environ, "MBOX_AGENT": "ann", **env}
        started = StdioServerParameters(command=MBOX, args=["mcp"], cwd=root, env=surroundings)
        async with stdio_client(started) as (incoming, outgoing), ClientSession(incoming, outgoing) as client:
            await client.initialize()

            async def call(name: str, **given: Any) -> Answer:
                answer = await client.call_tool(name, given)
                return answer.is_error, [getattr(one, "text", "") for one in answer.content]

            with anyio.fail_after(60):
                await script(call, client)

    anyio.run(session)


def called(root: Path, *calls: tuple[str, dict[str, Any]], **env: str) -> list[Answer]:
    """What the server says to these calls, one after the other."""
    answers = list[Answer]()

    async def script(call: Call, _client: ClientSession) -> None:
        for name, given in calls:
            answers.append(await call(name, **given))

    serve(root, script, **env)
    return answers


def as_ann(run: Run, root: Path, *words: str) -> Answer:
    """What the command line says as ann, in the form that the server would give it."""
    done = run(*words, "-o", "json", cwd=root, env={"MBOX_AGENT": "ann"})
    end = f"exit {done.returncode}" if done.returncode else ""
    return done.returncode != 0, [one for one in (done.stdout, done.stderr + end) if one]


class Wire:
    """The server as a bare process, line by line."""

    def __init__(self, root: Path, **env: str) -> None:
        self.process = subprocess.Popen(
            [MBOX, "mcp"], cwd=root, env={**os.environ, "MBOX_AGENT": "ann", **env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def say(self, *lines: bytes) -> None:
        """Send lines."""
        assert self.process.stdin
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next line of the server; every one is JSON."""
        assert self.process.stdout
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert heard["jsonrpc"] == "2.0"
        return heard

    def begin(self) -> None:
        """Shake hands."""
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        self.say(request(0, "initialize", client), b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        assert self.hear()["result"]["serverInfo"]["name"] == "mbox"

    def answer(self, number: int) -> dict[str, Any]:
        """The answer to a request; what comes before it is passed over."""
        while (heard := self.hear()).get("id") != number:
            pass
        return heard


def request(number: int, method: str, params: dict[str, Any]) -> bytes:
    """A line that asks."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def tool(number: int, name: str, **given: Any) -> bytes:
    """A line that calls a tool."""
    return request(number, "tools/call", {"name": name, "arguments": given})


@pytest.fixture
def wire(staffed: Path) -> Iterator[Wire]:
    """The server as a bare process, ended at the end."""
    made = Wire(staffed)
    yield made
    made.process.kill()
    made.process.wait()
    for stream in (made.process.stdin, made.process.stdout, made.process.stderr):
        assert stream
        with suppress(OSError):
            stream.close()


# -- what it offers ----------------------------------------------------------------------------------------------------


def test_eight_tools_in_few_bytes(wire: Wire) -> None:
    """The whole answer to ``tools/list`` on the wire has at most 2,400 bytes; its schemas are schemas."""
    wire.begin()
    wire.say(request(1, "tools/list", {}))
    assert wire.process.stdout
    line = wire.process.stdout.readline()
    assert len(line) <= tools.LISTED == 2400
    offered = json.loads(line)["result"]["tools"]
    assert [one["name"] for one in offered] == NAMES
    for one in offered:
        assert one["description"]
        Draft202012Validator.check_schema(one["inputSchema"])
        assert one["inputSchema"]["type"] == "object"


def test_the_newest_protocol_too(wire: Wire) -> None:
    """A client that speaks the protocol of 2026, without a handshake, is offered the same in as few bytes."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}, "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }  # fmt: skip
    wire.say(request(1, "tools/list", {"_meta": meta}))
    assert wire.process.stdout
    line = wire.process.stdout.readline()
    assert [one["name"] for one in json.loads(line)["result"]["tools"]] == NAMES
    assert len(line) <= tools.LISTED


# -- a whole job -------------------------------------------------------------------------------------------------------


def test_a_whole_job(staffed: Path, run: Run) -> None:
    """Mail in and out, a task with its files, a conflict, a result: without a shell, beside one who has a shell."""
    run("task", "add", "Write it", "--path", "src/a.py", "--as", "bob", cwd=staffed, check=True)
    run("reserve", "docs/**", "--as", "bob", cwd=staffed, check=True)
    run("mbox", "send", "ann", "--as", "bob", "--subject", "go", "--body", "src/a.py is yours", cwd=staffed, check=True)

    async def script(call: Call, _client: ClientSession) -> None:
        async def got(name: str, **given: Any) -> Any:
            is_error, texts = await call(name, **given)
            assert not is_error, texts
            return json.loads(texts[0])

        mail = (await got("inbox"))[0]["msg_id"]
        assert (await got("read", id=mail))["body"] == "src/a.py is yours"
        await got("send", reply_to=mail, body="begun")
        task = await got("claim")
        assert (task["status"], task["touched_paths"]) == ("running", ["src/a.py"])
        await got("task", id=task["task_id"], do="checkpoint", data={"next": "tests"})
        is_error, texts = await call("reserve", paths=["docs/a.md"])
        assert is_error and texts[-1].endswith("exit 5") and "bob" in texts[-1]
        assert (await got("reserve", paths=["notes/**"], reason="why"))["patterns"] == ["notes/**"]
        assert (await got("me"))["agent"] == "ann"
        assert (await got("task", id=task["task_id"], do="show"))["notes"][0]["state"] == {"next": "tests"}
        await got("task", id=task["task_id"], do="done", data={"lines": 3})
        assert (await got("release", paths=["notes/**"]))[0]["released"] == ["notes/**"]
        await got("send", to=["bob"], subject="done", body="see the result", task=task["task_id"])

    serve(staffed, script)
    said = json.loads(run("mbox", "read", "--all", "--as", "bob", "-o", "json", cwd=staffed, check=True).stdout)
    assert [one["body"] for one in said] == ["begun", "see the result"]
    shown = json.loads(run("task", "list", "--all", "-o", "json", cwd=staffed, check=True).stdout)
    assert [(one["status"], one["owner"]) for one in shown] == [("done", "ann")]


def test_a_review(staffed: Path, run: Run) -> None:
    """A reviewer without a shell sends back with a reason, and then accepts."""
    task = run("task", "add", "x", "--as", "bob", "-o", "id", cwd=staffed, check=True).stdout.strip()

    def hand_in() -> None:
        run("task", "claim", task, "--as", "bob", cwd=staffed, check=True)
        run("task", "submit", task, "--to", "ann", "--as", "bob", cwd=staffed, check=True)

    hand_in()
    rejected = called(staffed, ("task", {"id": task, "do": "reject", "text": "no test"}))
    hand_in()
    approved = called(staffed, ("task", {"id": task, "do": "approve"}))
    assert [json.loads(texts[0])["status"] for _, texts in rejected + approved] == ["queued", "done"]


# -- as the command line -----------------------------------------------------------------------------------------------

TIMES = re.compile(r'"(?:created|expires)_at":"[^"]*"|no heartbeat|[0-9]+m left|"left":"[^"]*"')

SAME: list[tuple[str, dict[str, Any], str]] = [
    ("me", {}, "mbox me"),
    ("inbox", {}, "mbox inbox"),
    ("task", {"id": "job", "do": "show"}, "task show job"),
    ("read", {}, "mbox read"),
    ("read", {"id": "m99"}, "mbox read m99"),
    ("read", {"wait": 0}, "mbox read --wait 0s"),
    ("read", {"wait": 1}, "mbox read --wait 1s"),
    ("send", {"to": ["bob"], "body": "x"}, "mbox send bob --body x"),
    ("send", {"to": ["nobody"], "body": "x"}, "mbox send nobody --body x"),
    ("send", {"to": ["bob", "ann"], "subject": "s", "body": "x"}, "mbox send bob ann --subject s --body x"),
    ("send", {"reply_to": "m99", "body": "x"}, "mbox reply m99 --body x"),
    ("claim", {"id": "t99"}, "task claim --start t99"),
    ("claim", {}, "task claim --start"),
    ("claim", {}, "task claim --start"),
    ("task", {"id": "job", "do": "note", "text": "hm"}, "task note job hm"),
    ("task", {"id": "job", "do": "checkpoint", "data": {"a": [1, "ä"]}}, """task checkpoint job --state '{"a": [1, "ä"]}'"""),
    ("task", {"id": "job", "do": "approve"}, "task approve job"),
    ("reserve", {"paths": ["docs/a.md", "x"]}, "reserve docs/a.md x"),
    ("reserve", {"paths": ["docs/a.md", "x"], "check": True}, "reserve check docs/a.md x"),
    ("reserve", {"paths": ["src/**"], "shared": True, "reason": "r"}, "reserve 'src/**' --shared --reason r"),
    ("reserve", {"paths": ["../x"]}, "reserve ../x"),
    ("release", {"paths": ["src/**"]}, "reserve release 'src/**'"),
    ("release", {"paths": ["src/**"]}, "reserve release 'src/**'"),
    ("task", {"id": "job", "do": "done", "data": {}}, "task done job --result {}"),
    ("task", {"id": "job", "do": "fail", "text": "late"}, "task fail job --reason late"),
    ("task", {"id": "job", "do": "release"}, "task release job"),
    ("me", {}, "mbox me"),
]  # fmt: skip
"""Calls in this order, and the same on the command line."""


def test_answers_are_those_of_the_command_line(run: Run, tmp_path: Path) -> None:
    """Two stores of one history, the same calls by server and by shell: the same answers, texts of errors and statuses."""
    for folder in ("served", "typed"):
        (tmp_path / folder).mkdir()
        for line in ("mbox init", "mbox agent add ann", "mbox agent add bob", "mbox send ann --as bob --body hello",
                     "reserve docs/** --as bob", "task add t --id job --path lib/a.py --as bob"):  # fmt: skip
            run(*line.split(), cwd=tmp_path / folder, check=True)
    served = called(tmp_path / "served", *((name, given) for name, given, _ in SAME))
    typed = [as_ann(run, tmp_path / "typed", *shlex.split(line)) for _, _, line in SAME]
    for call, by_server, by_shell in zip(SAME, served, typed, strict=True):
        assert plain(by_server, tmp_path / "served") == plain(by_shell, tmp_path / "typed"), call
    assert {is_error for is_error, _ in served} == {True, False}


def plain(answer: Answer, root: Path) -> Answer:
    """``answer`` without what differs between two stores: times, and the folder."""
    return answer[0], [TIMES.sub("…", text.replace(str(root), "ROOT")) for text in answer[1]]


def test_a_replaced_agent_is_told(staffed: Path, run: Run) -> None:
    """A server of another life of its agent is refused what a shell of that life would be, in the same words."""
    typed = run("mbox", "send", "bob", "--body", "x", cwd=staffed, env={"MBOX_AGENT": "ann", "MBOX_INCARNATION": "7"})
    (is_error, texts), = called(staffed, ("send", {"to": ["bob"], "body": "x"}), MBOX_INCARNATION="7")  # fmt: skip
    assert typed.returncode and is_error
    assert texts == [f"{typed.stderr}exit {typed.returncode}"]


def test_no_agent_is_an_error_of_the_call(staffed: Path) -> None:
    """Started without a name, the server runs, and each call says what is missing."""
    (is_error, texts), = called(staffed, ("me", {}), MBOX_AGENT="")  # fmt: skip
    assert is_error and "MBOX_AGENT" in texts[0] and texts[0].endswith("exit 2")


# -- what is sent to it ------------------------------------------------------------------------------------------------

HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("me", {"as": "bob"}, "it takes nothing"),
    ("inbox", {"limit": 5}, "it takes nothing"),
    ("send", {"body": 5, "to": ["bob"]}, "body must be a text"),
    ("send", {"body": "x", "to": "bob"}, "to must be a list of texts"),
    ("send", {"body": "x", "to": [["bob"]]}, "to must be a list of texts"),
    ("send", {"to": ["bob"]}, "body is missing"),
    ("send", {"body": None, "to": ["bob"]}, "body is missing"),
    ("send", {"body": "x", "to": ["--as=bob"]}, "exit "),
    ("send", {"body": "x", "to": ["-"]}, "exit "),
    ("send", {"body": "x\0y", "to": ["bob"]}, "NUL"),
    ("send", {"body": "x" * 2_000_000, "to": ["bob"]}, "exit 2"),
    ("send", {"subject": "two\nlines", "body": "x", "to": ["bob"]}, "exit 2"),
    ("read", {"id": "--all"}, "not an id"),
    ("read", {"id": "../../etc/passwd"}, "not an id"),
    ("read", {"wait": 3600}, "0 to 5"),
    ("read", {"wait": True}, "a whole number"),
    ("read", {"wait": -1}, "0 to 5"),
    ("read", {"wait": "5s"}, "a whole number"),
    ("claim", {"id": "--help"}, "not an id"),
    ("claim", {"id": ["t1"]}, "id must be a text"),
    ("claim", {"id": ""}, "exit "),
    ("task", {"id": "t1"}, "do is missing"),
    ("task", {"id": "t1", "do": "add"}, "do must be one of"),
    ("task", {"id": "t1", "do": ["done"]}, "do must be one of"),
    ("task", {"id": "--help", "do": "show"}, "not an id"),
    ("task", {"id": "t1", "do": "fail"}, "fail needs text"),
    ("task", {"id": "t1", "do": "show", "data": {}}, "show takes only the id"),
    ("task", {"id": "t1", "do": "done", "data": []}, "data must be an object"),
    ("task", {"id": "t1", "do": "done", "data": "@/etc/passwd"}, "data must be an object"),
    ("task", {"id": "t1", "do": "submit", "to": "--keep"}, "exit "),
    ("reserve", {"paths": []}, "exit 2"),
    ("reserve", {"paths": ["--", "touch", "/tmp/x"]}, "exit 2"),
    ("reserve", {"paths": ["/etc/passwd"]}, "exit 2"),
    ("reserve", {"paths": ["x"], "check": "yes"}, "check must be true or false"),
    ("reserve", {"paths": ["x" * 100_000]}, "exit 2"),
    ("release", {"paths": ["--all"]}, "exit "),
    ("release", {"paths": "x"}, "paths must be a list of texts"),
]  # fmt: skip


def test_hostile_arguments(staffed: Path, run: Run) -> None:
    """No argument becomes an option, another agent or a file that is read; each gets one line and a status; nothing changes."""
    before = run("mbox", "log", "-o", "id", cwd=staffed, check=True).stdout
    answers = called(staffed, *((name, given) for name, given, _ in HOSTILE))
    for (name, given, what), (is_error, texts) in zip(HOSTILE, answers, strict=True):
        where = name, str(given)[:80], texts
        assert is_error and what in texts[-1], where
        assert re.search(r"(?m)^exit [1-9]\d*\Z", texts[-1]), where
        assert len(texts) == 1 and len(texts[0].splitlines()) == 2 and len(texts[0]) < 1000, where
        assert "internal error" not in texts[0] and "Traceback" not in texts[0], where
    assert run("mbox", "log", "-o", "id", cwd=staffed, check=True).stdout == before


TEXTS = ["-", "--", "--as=bob", "@/etc/passwd", "@@x", "-o table", "ä\u202e\x1b[31m", "'; echo $HOME"]


def test_a_text_stays_a_text(staffed: Path, run: Run) -> None:
    """What means something else on a command line arrives as it was written."""
    run("task", "add", "t", "--id", "job", cwd=staffed, check=True)
    send = [("send", {"to": ["bob"], "subject": "s", "body": text}) for text in TEXTS]
    note = [("task", {"id": "job", "do": "note", "text": text}) for text in TEXTS]
    called(staffed, ("claim", {}), *send, *note)
    mail = json.loads(run("mbox", "read", "--all", "--as", "bob", "-o", "json", cwd=staffed, check=True).stdout)
    shown = json.loads(run("task", "show", "job", "--notes", "20", "-o", "json", cwd=staffed, check=True).stdout)
    assert [one["body"] for one in mail] == TEXTS
    assert [one["text"] for one in shown["notes"]] == TEXTS


def test_paths_that_look_like_options(staffed: Path) -> None:
    """A file may be called as an option is: it is reserved, asked for and given back."""
    paths = ["-x", "--help", "--"]
    reserved, checked, released = called(
        staffed, ("reserve", {"paths": paths}), ("reserve", {"paths": paths, "check": True}), ("release", {"paths": paths})
    )
    assert sorted(json.loads(reserved[1][0])["patterns"]) == sorted(paths)
    assert {one["state"] for one in json.loads(checked[1][0])} == {"own"}
    assert sorted(json.loads(released[1][0])[0]["released"]) == sorted(paths)


def test_an_unknown_tool_is_an_error_of_the_protocol(staffed: Path) -> None:
    """The client is told which tools there are."""

    async def script(call: Call, _client: ClientSession) -> None:
        with pytest.raises(MCPError, match="no tool 'trust'; there are me, inbox"):
            await call("trust", yes=True)
        assert not (await call("me"))[0]

    serve(staffed, script)


def test_what_is_no_protocol_ends_nothing(wire: Wire) -> None:
    """Garbage, depth and length on stdin: every line out is JSON, nothing but, and the next call is answered."""
    wire.begin()
    wire.say(
        b"", b"hello", b"\xff\xfe\x00", b'{"jsonrpc":"2.0"', b"[]", b"null", b'{"jsonrpc":"2.0","id":{},"method":5}',
        b"[" * 100_000, b'{"a":' * 100_000, b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[]}',
        request(8, "tools/call", {"name": 5}), request(9, "tools/call", {"name": "me", "arguments": [1]}),
        b'{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"task","arguments":{"id":"t1","do":"done","data":{"a":'
        + b"[" * 50_000 + b"]" * 50_000 + b"}}}}",
        b'{"jsonrpc":"2.0","id":11,"method":"tools/call","params":{"name":"send","arguments":{"to":["bob"],"body":"\\ud800"}}}',
        tool(12, "send", to=["bob"], body="x" * 8_000_000),
    )  # fmt: skip
    wire.say(tool(99, "me"))
    assert json.loads(wire.answer(99)["result"]["content"][0]["text"])["agent"] == "ann"
    out, err = wire.process.communicate(timeout=60)
    assert wire.process.returncode == 0
    assert all(json.loads(line) for line in out.splitlines())
    assert b"Traceback" not in err


def test_calls_at_once(staffed: Path, run: Run) -> None:
    """Twenty calls that do not wait for each other are all answered, each with its own."""

    async def script(call: Call, _client: ClientSession) -> None:
        got = dict[int, str]()

        async def one(number: int) -> None:
            is_error, texts = await call("send", to=["bob"], body=f"no. {number}")
            assert not is_error
            got[number] = json.loads(texts[0])["msg_id"]

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, number)
        for number, ident in got.items():
            sent = json.loads(run("mbox", "show", ident, "-o", "json", cwd=staffed, check=True).stdout)
            assert sent["body"] == f"no. {number}"
        assert len(set(got.values())) == 20

    serve(staffed, script)


# -- its end -----------------------------------------------------------------------------------------------------------


def test_it_ends_with_its_stdin(wire: Wire) -> None:
    """At the end of stdin it ends, with 0, and has said nothing but protocol."""
    wire.begin()
    out, err = wire.process.communicate(timeout=60)
    assert (wire.process.returncode, out, err) == (0, b"", b"")


def test_it_ends_when_it_is_told_to(wire: Wire) -> None:
    """SIGTERM ends it."""
    wire.begin()
    wire.process.send_signal(signal.SIGTERM)
    assert wire.process.wait(timeout=60) == -signal.SIGTERM


def test_it_ends_without_a_word_when_nobody_listens(wire: Wire) -> None:
    """A client that closed its end and asks on: no traceback."""
    wire.begin()
    assert wire.process.stdout and wire.process.stdin and wire.process.stderr
    wire.process.stdout.close()
    wire.say(tool(1, "me"))
    wire.process.stdin.close()
    err = wire.process.stderr.read()
    assert wire.process.wait(timeout=60) == 0
    assert err == b""


def test_closed_descriptors(staffed: Path, run: Run) -> None:
    """With stdin or stdout closed there is nothing to serve: one line, or an end at once."""
    for closed in ("<&-", ">&-"):
        done = run("sh", "-c", f'exec "{MBOX}" mcp {closed}', cwd=staffed, env={"MBOX_AGENT": "ann"})
        assert done.returncode in (0, 2) and len(done.stderr.splitlines()) <= 1, done
        assert "Traceback" not in done.stderr


def test_without_the_sdk(staffed: Path, run: Run, tmp_path: Path) -> None:
    """Where the SDK is missing, one line says how to install it, and no other command misses it."""
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "mcp_types.py").write_text("raise ModuleNotFoundError(\"No module named 'mcp_types'\")\n")
    done = run("mbox", "mcp", cwd=staffed, env={"PYTHONPATH": str(missing), "MBOX_AGENT": "ann"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mbox: mcp: ") and "pip install 'mbox-agents[mcp]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run("mbox", "me", cwd=staffed, env={"PYTHONPATH": str(missing), "MBOX_AGENT": "ann"}).returncode == 0


def test_the_sdk_is_loaded_by_no_other_command(run: Run) -> None:
    """Not even the module of the command loads it: the tables of commands and of tools are there without it."""
    look = "import sys, mbox.cli.main, mbox.cli.mcp; print({'mcp', 'mcp_types', 'anyio', 'pydantic'} & set(sys.modules))"
    assert run(sys.executable, "-c", look, check=True).stdout == "set()\n"
