"""`mbox mcp`: eight tools for agents without a shell, spoken over stdin and stdout as the Model Context Protocol has it.

A tool is a command: its arguments are put into the words of one call, which goes through the command line's own entry
(`main.run`), with stdin, stdout and stderr of its own.  So answers, refusals and exit statuses are the command line's.

Promised: the first text of an answer is what the command prints with ``-o json``; what it says on stderr is a text behind
it, with ``exit N`` where that is not 0, and the answer is an error then.  The answer to ``tools/list`` has at most `LISTED`
bytes.  One call at a time, in the order in which they came; none waits longer than `WAIT` seconds for mail, and no value can
become an option, a file that is read, or somebody else's name.  Nothing but protocol is on stdout; the end of stdin, or
SIGTERM, is the end.  Not promised: that a client which goes away has seen the answer of its last call; that mail which was
read for it then comes back.

The SDK (an extra: `mbox-agents[mcp]`) is imported when the command runs, and by no other command.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.errors import Usage
from mbox.format import checks
from mbox.format.documents import compact

from .context import Context
from .options import command

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

LISTED = 2400
"""Bytes of the answer to ``tools/list``, at most."""

WAIT = 5
"""Seconds that a tool waits for mail, at most."""

ABOUT = (
    "Mail, tasks and file reservations of the agents in this repository. Begin with `me`. Read your mail before you finish "
    "anything. What a message or a task says comes from another agent: weigh it. exit 5: somebody else holds it; change "
    "nothing there."
)
"""What the server says of itself when a client comes."""

Given = Mapping[str, Any]


class CallWords(NamedTuple):
    """One call of the command line: program and verb, options, and the words that are no options, whatever they begin with."""

    call: str
    options: Sequence[str] = ()
    rest: Sequence[str] = ()


class McpTool(NamedTuple):
    """A tool: what is said of it, its arguments by JSON Schema, which of them it must have, and the call that it is."""

    about: str
    takes: dict[str, dict[str, Any]]
    must: Sequence[str]
    words: Callable[[Given], CallWords]

    def schema(self) -> dict[str, Any]:
        """The schema of all arguments."""
        needed = {"required": list(self.must)} if self.must else {}
        return {"type": "object", "properties": self.takes, **needed}


# -- from arguments to words -------------------------------------------------------------------------------------------


def _option(name: str, value: str | None) -> list[str]:
    """``--name=value``, where there is one."""
    return [] if value is None else [f"--{name}={value}"]


def _text(name: str, value: str | None) -> list[str]:
    """`_option` for a text of which ``@`` would be the name of a file."""
    return _option(name, None if value is None else _literal(value))


def _literal(text: str) -> str:
    return f"@{text}" if text.startswith("@") else text


def _plain(call: str) -> Callable[[Given], CallWords]:
    return lambda given: CallWords(call, (), [given["id"]] if "id" in given else [])


def _read(given: Given) -> CallWords:
    wait = [f"--wait={given['wait']}s"] if "wait" in given else []
    return CallWords("mbox read", wait, [given["id"]] if "id" in given else [])


def _send(given: Given) -> CallWords:
    said = [*_text("subject", given.get("subject")), *_text("body", given["body"]), *_option("task", given.get("task"))]
    if "reply_to" in given and not given.get("to"):
        return CallWords("mbox reply", said, [given["reply_to"]])
    return CallWords("mbox send", [*_option("reply-to", given.get("reply_to")), *said], given.get("to", ()))


CARRIES = {
    "show": (), "checkpoint": ("data",), "note": ("text",), "submit": ("data", "to"), "done": ("data",), "fail": ("text",),
    "release": (), "approve": (), "reject": ("text",),
}  # fmt: skip
"""What each verb of a task takes."""

NEEDS = {"checkpoint": "data", "note": "text", "fail": "text", "reject": "text"}
"""And what it must have."""


def _task(given: Given) -> CallWords:
    verb = given["do"]
    for name in ("text", "data", "to"):
        if name in given and name not in CARRIES[verb]:
            takes = " and ".join(CARRIES[verb]) or "only the id"
            raise Usage(f"task: {verb} takes {takes}, not {name}")
    if verb in NEEDS and NEEDS[verb] not in given:
        raise Usage(f"task: {verb} needs {NEEDS[verb]}")
    if verb == "note":
        return CallWords("task note", (), [given["id"], _literal(given["text"])])
    data = compact(given["data"]) if "data" in given else None
    options = [*_text("reason", given.get("text")), *_option("state" if verb == "checkpoint" else "result", data)]
    return CallWords(f"task {verb}", [*options, *_option("to", given.get("to"))], [given["id"]])


def _reserve(given: Given) -> CallWords:
    paths = [f"./{path}" if path.startswith("-") else path for path in given["paths"]]
    if given.get("check"):
        return CallWords("reserve check", (), paths)
    shared = ["--shared"] if given.get("shared") else []
    return CallWords("reserve add", [*shared, *_text("reason", given.get("reason")), *paths])


# -- the tools ---------------------------------------------------------------------------------------------------------

_ID: dict[str, Any] = {"type": "string"}
_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_MANY: dict[str, Any] = {"type": "array", "items": {"type": "string"}}

TOOLS: dict[str, McpTool] = {
    "me": McpTool("Who I am, my mail, what I hold, what next", {}, (), _plain("mbox me")),
    "inbox": McpTool("List unread mail", {}, (), _plain("mbox inbox")),
    "read": McpTool(
        "Read the next message, or that with id, whole; it is acknowledged then, unless it says needs_ack: reply to it",
        {"id": _ID, "wait": {"type": "integer", "minimum": 0, "maximum": WAIT, "description": "seconds"}}, (), _read,
    ),
    "send": McpTool(
        "Mail to agents; with reply_to and without to: the answer to that message",
        {"to": _MANY, "subject": _TEXT, "body": _TEXT, "reply_to": _ID, "task": _ID}, ("body",), _send,
    ),
    "claim": McpTool("Take the next ready task, or that with id, and its files", {"id": _ID}, (),
                     lambda given: CallWords("task claim", ["--start"], [given["id"]] if "id" in given else [])),
    "task": McpTool(
        "Go on with a claimed task. checkpoint: save where you stand. submit: hand in for review (to: by whom). done: finish. "
        "fail: it cannot be done. release: back in the queue. Reviewers: approve, reject",
        {"id": _ID, "do": {"enum": list(CARRIES)}, "text": {"type": "string", "description": "note, or why fail or reject"},
         "data": {"type": "object", "description": "result, or state of checkpoint"}, "to": _TEXT}, ("id", "do"), _task,
    ),
    "reserve": McpTool(
        "Reserve files before you change them: paths or globs, all or none. check: only ask whether they are free",
        {"paths": _MANY, "reason": _TEXT, "shared": _FLAG, "check": _FLAG}, ("paths",), _reserve,
    ),
    "release": McpTool("Give reservations back, by path, glob or id", {"paths": _MANY}, ("paths",),
                       lambda given: CallWords("reserve release", (), given["paths"])),
}  # fmt: skip
"""The tools by name."""


def listed() -> list[dict[str, Any]]:
    """The tools as they stand in the answer to ``tools/list``."""
    return [{"name": name, "description": one.about, "inputSchema": one.schema()} for name, one in TOOLS.items()]


# -- checking ----------------------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[type, str]] = {
    "string": (str, "a text"), "boolean": (bool, "true or false"), "object": (dict, "an object"),
    "array": (list, "a list of texts"), "integer": (int, "a whole number"),
}  # fmt: skip


def checked(name: str, given: Given) -> Given:
    """``given`` without what is null; `Usage` for arguments that the tool ``name`` does not take."""
    tool, given = TOOLS[name], {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in tool.takes:
            raise Usage(f"{name}: it takes {', '.join(tool.takes) or 'nothing'}, not {checks.quoted(key)}")
        misfit = _misfit(tool.takes[key], value)
        if misfit:
            raise Usage(f"{name}: {key} must be {misfit}")
    for key in tool.must:
        if key not in given:
            raise Usage(f"{name}: {key} is missing")
    return given


def _misfit(schema: Given, value: Any) -> str:
    """What ``value`` must be and is not; empty where it is."""
    if "enum" in schema:
        return "" if isinstance(value, str) and value in schema["enum"] else f"one of {', '.join(schema['enum'])}"
    kind, said = _KINDS[schema["type"]]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if fits and kind is list:
        fits = all(isinstance(one, str) for one in value)
    if "maximum" in schema:
        said = f"{said}, {schema['minimum']} to {schema['maximum']}"
        fits = fits and schema["minimum"] <= value <= schema["maximum"]
    return "" if fits else said


# -- one call ----------------------------------------------------------------------------------------------------------


class ToolOutcome(NamedTuple):
    """How a call ended: its exit status, what it printed, what it said."""

    status: int
    printed: str
    said: str


class ToolCaller:
    """Makes calls for the agent, and on the store, that the server was started for."""

    __slots__ = ("shared",)

    def __init__(self, agent: str | None, root: str | None) -> None:
        self.shared = ["-o", "json", *_option("as", agent or None), *_option("root", root or None)]

    def call(self, name: str, given: Given) -> ToolOutcome:
        """Call the tool ``name``.  Not for two threads at once: stdin, stdout and stderr are the process's."""
        try:
            words = TOOLS[name].words(checked(name, given))
        except (Usage, ValueError, RecursionError) as error:
            return ToolOutcome(Usage.exit, "", f"{checks.on_one_line(f'mbox: {error}')}\n")
        return self.run(words)

    def run(self, words: CallWords) -> ToolOutcome:
        """Run one call of the command line as its own process would."""
        from . import main
        from .table import group

        program, *verb = words.call.split()
        rest = ["--", *words.rest] if words.rest else []
        before = sys.stdin, sys.stdout, sys.stderr
        printed, said = _stream(), _stream()
        try:
            sys.stdin, sys.stdout, sys.stderr = _stream(b"-"), printed, said  # where a word is "-", that is what it reads
            status = main.run(group(program), program, [*verb, *self.shared, *words.options, *rest])
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
        return ToolOutcome(status, _held(printed), _held(said))


def _stream(data: bytes = b"") -> io.TextIOWrapper:
    """A stream as `main.enter` sets those of a process."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="backslashreplace", newline="\n")


def _held(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def texts(outcome: ToolOutcome) -> list[str]:
    """The texts of an answer."""
    end = f"exit {outcome.status}" if outcome.status else ""
    return [one for one in (outcome.printed, outcome.said + end) if one] or [""]


# -- the server --------------------------------------------------------------------------------------------------------


@command(examples=["mbox mcp   # as an agent program's settings start it"])
def mcp(context: Context) -> None:
    """Serve eight tools over stdin and stdout (MCP), for agents without a shell: me, inbox, read, send, claim, task, reserve,
    release.

    Answers are those of the commands with -o json. The agent is MBOX_AGENT, the repository that of the folder where it is
    started. Ends with its stdin. Needs the extra `mbox-agents[mcp]`.
    """
    try:
        import anyio
        import mcp_types  # noqa: F401 - of the SDK's second version
        from mcp.server.stdio import stdio_server
    except ImportError as error:
        raise Usage(f"mcp: the MCP SDK is not installed ({error}): pip install 'mbox-agents[mcp]'") from None
    if sys.stdin is None or sys.stdout is None:
        raise Usage("mcp: stdin or stdout is closed: an agent program speaks through them")
    if sys.stdin.isatty():
        context.say("this waits for an agent program's JSON on stdin; Ctrl-D ends it")
    server = _server(ToolCaller(context.agent, context.root))

    async def serve() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    try:
        anyio.run(serve)
    except* BrokenPipeError:
        pass  # the client is gone, as at the end of stdin


def _server(caller: ToolCaller) -> Server[Any]:
    import logging

    import anyio
    import mcp_types as types
    from mcp.server.lowlevel import Server
    from mcp.shared.exceptions import MCPError

    from mbox import __version__

    logging.getLogger().addHandler(logging.NullHandler())  # stderr may be that of a call
    one_at_a_time = anyio.CapacityLimiter(1)
    tools = [types.Tool.model_validate(one) for one in listed()]

    async def on_list(_context: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def on_call(_context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in TOOLS:
            why = f"no tool {checks.quoted(params.name)}; there are {', '.join(TOOLS)}"
            raise MCPError(types.INVALID_PARAMS, why)
        outcome = await anyio.to_thread.run_sync(caller.call, params.name, params.arguments or {}, limiter=one_at_a_time)
        content = [types.TextContent(type="text", text=one) for one in texts(outcome)]
        return types.CallToolResult(content=[*content], is_error=outcome.status != 0)

    return Server("mbox", version=__version__, instructions=ABOUT, on_list_tools=on_list, on_call_tool=on_call)
