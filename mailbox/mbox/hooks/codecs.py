"""What each agent program says to its hooks, and what it wants to hear: one table, `HOSTS`.

Promised: an answer has the one form that its host reads, and no field more: one that a host does not know lets the write
pass (Codex any unknown field, Claude Code the form of another host).  No opinion is silence, never ``allow``, which would
skip the person's own prompts, but where silence denies (agy, Cursor).  A denial is JSON and exit 0.  `decoded` raises
ValueError, and nothing else, for whatever is no JSON object.  Not promised: that a host's next version reads what this one
reads: ``mbox doctor --hooks`` fires a probe.

Facts: Claude Code 2.1.332, Codex 0.171.0, Gemini CLI 0.61.0, Copilot 1.0.102, Qwen Code 0.24.4, OpenCode 1.18.33, run;
Cursor and agy from their documentation.  No `json` here: it costs as much as the interpreter's start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# -- moments: what an event means, whatever a host calls it ------------------------------------------------------------

START, PROMPT, BEFORE, AFTER, STOP = "start", "prompt", "before", "after", "stop"
SUB_START, SUB_STOP, DONE, IDLE, END, STEP = "sub-start", "sub-stop", "done", "idle", "end", "step"
"""STEP: before each call of the model (agy), which is its only place for context."""

SHELL, PATCH, OPAQUE = "shell", "patch", "opaque"
"""Kinds of tools beside those that name the files they write: OPAQUE runs something in a language that is not read here."""

FILE = "file"
LONGEST = 16 << 20
"""Bytes of a call at most; the content of a written file stands in it."""


class Reply:
    """What the process leaves: one line on stdout, a text on stderr, and its exit status."""

    __slots__ = ("status", "stderr", "stdout")

    def __init__(self, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.status = status


class HostCall:
    """One call of a hook, in words of no host."""

    __slots__ = (
        "agent_id",
        "call_id",
        "cwd",
        "error",
        "event",
        "host",
        "input",
        "is_real",
        "keys",
        "kind",
        "moment",
        "session",
        "source",
        "tool",
    )  # fmt: skip

    def __init__(self, host: Codec, event: str) -> None:
        self.host = host
        self.event = event
        """As the host calls it."""
        self.moment = host.events.get(event, "")
        self.cwd = ""
        self.tool = ""
        self.kind = ""
        """FILE, SHELL, PATCH or OPAQUE for what may write; empty for any other tool."""
        self.keys: tuple[str, ...] = ()
        """Where a FILE tool's paths stand in its input."""
        self.input: dict[str, Any] = {}
        self.session = ""
        self.call_id = ""
        self.agent_id = ""
        """The subagent's, if it is one that calls."""
        self.source = ""
        """Why a session starts or ends, as the host says it."""
        self.is_real = True
        """Not: an event that this host fires without its occasion (Qwen's prompts in the middle of a turn)."""
        self.error = ""
        """Why the call cannot be read."""


class Codec:
    """One agent program: its events, its tools, the forms of its answers."""

    __slots__ = ("asks", "deny", "events", "folder", "inject", "keep", "name", "silence", "tools")

    def __init__(self, name: str, events: Mapping[str, str], tools: Mapping[str, object], deny: Callable[[str, str, str], object],
                 inject: Callable[[str, str], object], keep: Callable[[str], object], silence: Mapping[str, str] | None = None,
                 asks: tuple[str, ...] = (), folder: str = "") -> None:  # fmt: skip
        self.name = name
        self.events = events
        """Its name of an event → the moment."""
        self.tools = tools
        """Its name of a tool → SHELL, PATCH, OPAQUE, or the keys of the paths that it writes."""
        self.deny = deny
        """(event, ``deny`` or ``ask``, reason) → the object that says so."""
        self.inject = inject
        """(event, text) → the object that puts text before the model."""
        self.keep = keep
        """(reason) → the object that keeps the agent going."""
        self.silence = silence or {}
        """Moments at which no answer denies, and what means *no opinion* there."""
        self.asks = asks
        """Events at which it can ask the person."""
        self.folder = folder
        """Where the folder of a SHELL tool stands in its input; empty where it has none."""


# -- the forms -----------------------------------------------------------------------------------------------------


def _inner_deny(event: str, decision: str, reason: str) -> object:
    return {"hookSpecificOutput": {"hookEventName": event, "permissionDecision": decision, "permissionDecisionReason": reason}}


def _inner_context(event: str, text: str) -> object:
    return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}


def _block(reason: str) -> object:
    return {"decision": "block", "reason": reason}


_CLAUDE = {
    "SessionStart": START, "UserPromptSubmit": PROMPT, "PreToolUse": BEFORE, "PostToolUse": AFTER, "PostToolUseFailure": AFTER,
    "Stop": STOP, "SubagentStart": SUB_START, "SubagentStop": SUB_STOP, "TaskCompleted": DONE, "TeammateIdle": IDLE,
    "SessionEnd": END,
}  # fmt: skip

_PATHS = ("file_path", "path")

HOSTS: dict[str, Codec] = {
    host.name: host
    for host in (
        Codec("claude", _CLAUDE,
             {"Write": ("file_path",), "Edit": ("file_path",), "MultiEdit": ("file_path",), "NotebookEdit": ("notebook_path",),
              "Bash": SHELL, "Monitor": SHELL, "PowerShell": OPAQUE},
             _inner_deny, _inner_context, _block, asks=("PreToolUse",)),
        Codec("codex", {**_CLAUDE, "Interrupt": END},
             {"apply_patch": PATCH, "Bash": SHELL, "shell": SHELL, "exec_command": SHELL, "unified_exec": SHELL,
              "write_stdin": OPAQUE},
             _inner_deny, _inner_context, _block, folder="workdir"),
        Codec("gemini", {"SessionStart": START, "BeforeAgent": PROMPT, "BeforeTool": BEFORE, "AfterTool": AFTER,
                        "AfterAgent": STOP, "SessionEnd": END},
             {"write_file": ("file_path",), "replace": ("file_path",), "run_shell_command": SHELL},
             lambda event, decision, reason: {"decision": "deny", "reason": reason}, _inner_context,
             lambda reason: {"decision": "deny", "reason": reason}, folder="dir_path"),
        Codec("agy", {"PreToolUse": BEFORE, "PostToolUse": AFTER, "PreInvocation": STEP, "Stop": STOP},
             {"write_to_file": ("TargetFile",), "replace_file_content": ("TargetFile",),
              "multi_replace_file_content": ("TargetFile",), "run_command": SHELL},
             lambda event, decision, reason: {"decision": decision, "reason": reason},
             lambda event, text: {"injectSteps": [{"ephemeralMessage": text}]},
             lambda reason: {"decision": "continue", "reason": reason},
             {BEFORE: '{"decision":"allow"}', AFTER: "{}"}, asks=("PreToolUse",), folder="Cwd"),
        Codec("cursor", {"sessionStart": START, "beforeSubmitPrompt": PROMPT, "preToolUse": BEFORE,
                        "beforeShellExecution": BEFORE, "postToolUse": AFTER, "postToolUseFailure": AFTER,
                        "stop": STOP, "subagentStart": SUB_START, "subagentStop": SUB_STOP, "sessionEnd": END},
             {"Write": (*_PATHS, "target_file"), "Edit": (*_PATHS, "target_file"), "StrReplace": (*_PATHS, "target_file"),
              "Delete": (*_PATHS, "target_file"), "EditNotebook": ("target_notebook", "notebook_path", *_PATHS),
              "ApplyPatch": PATCH, "Shell": SHELL},
             lambda event, decision, reason: {"permission": decision, "user_message": reason, "agent_message": reason},
             lambda event, text: {"additional_context": text}, lambda reason: {"followup_message": reason},
             {BEFORE: '{"permission":"allow"}', PROMPT: '{"continue":true}', SUB_START: '{"permission":"allow"}'},
             asks=("beforeShellExecution",), folder="working_directory"),
        Codec("copilot", {**_CLAUDE, "sessionStart": START, "userPromptSubmitted": PROMPT, "preToolUse": BEFORE,
                         "postToolUse": AFTER, "agentStop": STOP, "subagentStart": SUB_START, "subagentStop": SUB_STOP,
                         "sessionEnd": END},
             {"Write": _PATHS, "Edit": _PATHS, "create": _PATHS, "edit": _PATHS, "str_replace_editor": _PATHS,
              "apply_patch": PATCH, "Bash": SHELL, "bash": SHELL, "powershell": OPAQUE, "PowerShell": OPAQUE},
             lambda event, decision, reason: {"permissionDecision": decision, "permissionDecisionReason": reason},
             lambda event, text: {"additionalContext": text}, _block),
        Codec("qwen", _CLAUDE,
             {"write_file": ("file_path",), "edit": ("file_path",), "replace": ("file_path",),
              "notebook_edit": ("notebook_path",), "run_shell_command": SHELL},
             _inner_deny, _inner_context, _block, folder="directory"),
        Codec("opencode", {"session.created": START, "session.compacted": START, "chat.message": PROMPT,
                          "tool.execute.before": BEFORE, "tool.execute.after": AFTER, "session.idle": STOP,
                          "session.deleted": END},
             {"write": ("filePath",), "edit": ("filePath",), "multiedit": ("filePath",), "patch": PATCH, "apply_patch": PATCH,
              "bash": SHELL},
             lambda event, decision, reason: {"deny": reason}, lambda event, text: {"inject": text},
             lambda reason: {"inject": reason}, {BEFORE: "{}", AFTER: "{}"}, folder="workdir"),
    )
}  # fmt: skip
"""Every host that is known, by the word that stands in its hook's line."""


def silent(call: HostCall) -> Reply:
    """No opinion."""
    return Reply(call.host.silence.get(call.moment, ""))


def denied(call: HostCall, reason: str, decision: str = "deny") -> Reply:
    """The tool may not run; ``ask`` where the person is to be asked, and the host can."""
    said = "ask" if decision == "ask" and call.event in call.host.asks else "deny"
    return Reply(encoded(call.host.deny(call.event, said, reason)))


def injected(call: HostCall, text: str) -> Reply:
    """``text`` is put before the model, where this host does that at this event; else no opinion."""
    if call.host.name == "cursor" and call.moment == PROMPT:
        return silent(call)
    return Reply(encoded(call.host.inject(call.event, text)))


def kept_going(call: HostCall, reason: str) -> Reply:
    """The agent does not stop yet.  A task of a Claude team is only held by exit 2, which tells it what stands on stderr."""
    if call.moment in (DONE, IDLE):
        return Reply("", reason, 2)
    return Reply(encoded(call.host.keep(reason)))


# -- a call ----------------------------------------------------------------------------------------------------------


def read(host: str, event: str, data: bytes, cwd: str) -> HostCall:
    """What a host asks; LookupError for an unknown host.  ``cwd`` is the process's, where the call names none.

    What cannot be read stands in ``error``: the caller decides whether that denies.
    """
    call = HostCall(HOSTS[host], event)
    call.cwd = cwd
    try:
        doc = decoded(data)
    except ValueError as error:
        call.error = f"what {host} sent is not read: {error}"
        return call
    _take(call, doc, cwd)
    return call


def _take(call: HostCall, doc: dict[str, Any], cwd: str) -> None:
    """Fill ``call`` from the object that the host sent."""
    call.cwd = _folder(doc) or cwd
    call.session = _text(doc, "session_id", "sessionId", "conversationId", "conversation_id", "sessionID")
    call.call_id = _text(doc, "tool_use_id", "tool_call_id", "call_id", "callID")
    call.agent_id = _text(doc, "agent_id", "subagent_id")
    call.source = _text(doc, "source", "reason")
    asked = doc.get("toolCall")
    if isinstance(asked, dict):
        doc = {**doc, "tool_name": asked.get("name"), "tool_input": asked.get("args")}
    call.tool = _text(doc, "tool_name", "toolName", "tool")
    given = next((doc[key] for key in ("tool_input", "toolInput", "toolArgs", "args") if key in doc), None)
    if isinstance(given, str):  # a tool of free form, or arguments that were not parsed
        given = _arguments(given)
    if isinstance(given, dict):
        call.input = given
    if call.event == "beforeShellExecution":
        call.tool, call.input = "Shell", {"command": doc.get("command")}
    looks = call.tool == "str_replace_editor" and call.input.get("command") == "view"
    if call.moment in (BEFORE, AFTER) and not looks:
        kind = call.host.tools.get(call.tool, "")
        call.kind, call.keys = (FILE, kind) if isinstance(kind, tuple) else (str(kind), ())
    if call.host.name == "qwen" and call.moment == PROMPT:
        call.is_real = bool(doc.get("submitted_prompt") or doc.get("prompt"))
    if call.host.name == "agy" and doc.get("invocationNum") == 0:
        call.moment = START
    if call.host.name == "claude" and ("cursor_version" in doc or "timestamp" in doc):
        call.moment = ""  # Cursor and Copilot read Claude's settings as well, and are called in their own words


def _arguments(text: str) -> dict[str, Any]:
    try:
        return decoded(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return {"input": text}


def _folder(doc: dict[str, Any]) -> str:
    """Where the agent stands, as an absolute path; empty where the call does not say."""
    found = _text(doc, "cwd", "directory")
    if not found:
        roots = doc.get("workspacePaths") or doc.get("workspace_roots")
        found = roots[0] if isinstance(roots, list) and roots and isinstance(roots[0], str) else ""
    return found if found.startswith("/") and "\0" not in found else ""


def _text(doc: dict[str, Any], *names: str) -> str:
    """The first of the fields ``names`` that is there, as a text."""
    for name in names:
        value = doc.get(name)
        if isinstance(value, str) and value:
            return value.encode("utf-8", "replace").decode()  # half a letter is none of anybody's words
        if type(value) is int:
            return str(value)
    return ""


def written(call: HostCall) -> list[str] | None:
    """The paths, as the call spells them, that a FILE tool or patch would write; None where they cannot be read."""
    if call.kind == PATCH:
        text = _text(call.input, "command", "input", "patch", "patchText", "patch_text")
        found = call.input.get("command")
        if not text and isinstance(found, list):
            text = "\n".join(word for word in found if isinstance(word, str))
        return patched(text) if text else None
    found = []
    for key in call.keys:
        value = call.input.get(key)
        values = value if isinstance(value, list) else [value]
        found += [one for one in values if isinstance(one, str) and one]
    return found or None


_HEADS = ("*** Add File:", "*** Update File:", "*** Delete File:", "*** Move to:", "*** Rename to:")


def patched(text: str) -> list[str] | None:
    """Every file that a patch writes, in Codex's form (``*** Update File:``) or as a unified diff, both ends of a move."""
    found = []
    for line in text.replace("\r\n", "\n").split("\n"):
        bare = line.rstrip()
        head = next((head for head in _HEADS if bare.startswith(head)), "")
        if head:
            found.append(bare[len(head) :].strip().strip('"'))
        elif line.startswith(("--- ", "+++ ")) and "*** Begin Patch" not in text:
            name = line[4:].split("\t")[0].strip().strip('"')
            found += [name[2:] if name.startswith(("a/", "b/")) else name] if name != "/dev/null" else []
        elif line.startswith(("rename from ", "rename to ", "copy to ")):
            found.append(line.split(" ", 2)[2].strip().strip('"'))
    return [name for name in dict.fromkeys(found) if name] or None


def command(call: HostCall) -> str | None:
    """The line that a SHELL tool would run; None where it cannot be read."""
    value = call.input.get(_LINES.get(call.tool, "command"))
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        if len(value) == 3 and value[1] in ("-c", "-lc", "-ic") and value[0].rpartition("/")[2] in ("bash", "sh", "zsh", "dash"):
            return str(value[2])
        return " ".join(_quoted(word) for word in value)
    return value if isinstance(value, str) else None


_LINES = {"exec_command": "cmd", "unified_exec": "cmd", "run_command": "CommandLine"}
"""Where the line of a tool stands in its input, if not as ``command``."""


def stand(call: HostCall) -> str:
    """The folder in which a SHELL tool would run its line: what its host reads, and nothing else that may stand there."""
    found = _text(call.input, call.host.folder) if call.host.folder else ""
    if not found:
        return call.cwd
    return found if found.startswith("/") else f"{call.cwd}/{found}"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\"'\"'") + "'"


# -- JSON ------------------------------------------------------------------------------------------------------------


class _Plain:
    """What the interpreter's own scanner of JSON is told: take everything as it stands."""

    strict = False
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int = float, int
    memo: dict[str, str] = {}  # noqa: RUF012 - one call a process

    @staticmethod
    def parse_constant(text: str) -> object:
        raise ValueError(f"{text} is no JSON")


def decoded(data: bytes) -> dict[str, Any]:
    """The JSON object that ``data`` is; ValueError where it is none, whatever it is."""
    if len(data) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff").strip(" \t\r\n")
        try:
            from _json import make_scanner
        except ImportError:
            from json import loads

            found: Any = loads(text)
        else:
            plain: Any = _Plain
            found, end = make_scanner(plain)(text, 0)
            if end != len(text):
                raise ValueError("something follows the JSON")
    except (StopIteration, SystemError):  # how the interpreter's own scanner says so; the latter of a lone brace
        raise ValueError("it is no JSON, or its end is missing") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)[:100] or "it is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def encoded(value: object) -> str:
    """``value``, of dicts, lists, texts, numbers and flags, as JSON on one line of ASCII."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(name)}:{encoded(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(encoded, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def quoted(text: str) -> str:
    """``text`` as a JSON string in ASCII."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json import dumps

        return dumps(text)
    return str(encode_basestring_ascii(text))


_MARKUP = frozenset("<>&`")


def inert(text: str) -> str:
    """What somebody else wrote, as a JSON string that is no markup of any host.

    ``<``, ``>``, ``&``, the backtick and whatever does not show (controls, marks of direction) are escaped; letters of any
    script stay.
    """
    return f'"{"".join(letter if _is_plain(letter) else _escaped(letter) for letter in text)}"'


def _is_plain(letter: str) -> bool:
    return letter.isprintable() and letter not in _MARKUP and letter not in '"\\'


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if letter in _MARKUP else quoted(letter)[1:-1]
