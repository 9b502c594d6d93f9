"""A model server on loopback that plays a list of turns for whichever agent program asks, and keeps every request.

Speaks as much as the programs need of Anthropic's Messages, OpenAI's Responses and chat completions, and Gemini's
generateContent.  A turn says what is to be done; it is put in the words of the tools that the request offers.  What the
programs ask beside the conversation (a router, a title, a summary) gets an answer and takes no turn.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

Doc = dict[str, Any]
Event = tuple[str, Doc]

TOOLS = {
    "write": ("Write", "write_file", "create", "write"),
    "edit": ("Edit", "replace", "edit"),
    "shell": ("Bash", "run_shell_command", "exec_command", "bash"),
    "patch": ("apply_patch",),
}
FIELDS = {
    "write": (("file_path", "filePath", "path"), ("content", "file_text")),
    "edit": (("file_path", "filePath", "path"), ("old_string", "oldString", "old_str"), ("new_string", "newString", "new_str")),
    "shell": (("command", "cmd"),),
    "patch": (("input", "patchText"),),
}
FILLING = {"description": "run it", "instruction": "change it", "is_background": False}
SUMMARY = "All was read; the work goes on."
ASKED_FOR_SUMMARY = ("CONTEXT CHECKPOINT COMPACTION", "detailed summary of the conversation", "state_snapshot")
BESIDE = {"complexity_reasoning": "x", "complexity_score": 1, "reasoning": "x", "next_speaker": "user"}


@dataclass(frozen=True)
class Turn:
    """What the model does next: a tool by our name for it, with what it is given, or a text.

    ``before`` runs when the turn is asked for, before it is answered.  ``tokens``: how long it says the request was.
    """

    tool: str = ""
    given: tuple[str, ...] = ()
    before: Callable[[], object] | None = None
    tokens: int = 10

    @property
    def patch(self) -> str:
        """The same as a patch in Codex's form."""
        if self.tool == "patch":
            return self.given[0]
        path, *texts = self.given
        if self.tool == "write":
            lines = [f"*** Add File: {path}", *(f"+{line}" for line in texts[0].splitlines())]
        else:
            lines = [f"*** Update File: {path}", "@@", f"-{texts[0]}", f"+{texts[1]}"]
        return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


def write(path: object, text: str, before: Callable[[], object] | None = None) -> Turn:
    """A new file by the program's own tool."""
    return Turn("write", (str(path), text), before)


def edit(path: object, old: str, new: str) -> Turn:
    """One text of a file for another, by the program's own tool."""
    return Turn("edit", (str(path), old, new))


def shell(line: str, before: Callable[[], object] | None = None, tokens: int = 10) -> Turn:
    """A line for the program's shell tool."""
    return Turn("shell", (line,), before, tokens)


def say(text: str, before: Callable[[], object] | None = None) -> Turn:
    """Words, which end the turn."""
    return Turn("", (text,), before)


@dataclass(frozen=True)
class Request:
    """One request: ``kind`` is ``turn``, ``summary`` or ``beside``; ``texts``, every string in it but the tools'."""

    kind: str
    texts: list[str]
    tools: list[str]
    body: Doc = field(repr=False)

    def __contains__(self, words: str) -> bool:
        return any(words in text for text in self.texts)

    def count(self, words: str) -> int:
        """How often ``words`` stand in it."""
        return sum(text.count(words) for text in self.texts)


def strings(value: object) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


class Played(ThreadingHTTPServer):
    """Listens on a free port of loopback and plays ``turns``, one a request; then it says "done"."""

    daemon_threads = True

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.turns = list(turns)
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[Request]:
        """The requests of the conversation, in order."""
        return [request for request in self.requests if request.kind == "turn"]

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()

    def heard(self, words: str) -> int:
        """How often ``words`` came newly into the conversation."""
        counts = [0, *(request.count(words) for request in self.asked)]
        return sum(max(0, now - before) for before, now in pairwise(counts))

    def next(self, body: Doc, tools: dict[str, Doc], is_main: bool) -> Turn | None:
        """Keep the request; the turn to play, or None where it is not one of the conversation."""
        texts = list(strings({name: value for name, value in body.items() if name != "tools"}))
        is_summary = any(words in text for text in texts[-40:] for words in ASKED_FOR_SUMMARY)
        kind = "summary" if is_summary else "turn" if is_main else "beside"
        with self.lock:
            self.requests.append(Request(kind, texts, list(tools), body))
            if kind == "summary":
                return say(SUMMARY)
            if kind == "beside":
                return None
            turn = self.turns.pop(0) if self.turns else say("done")
            if turn.before:
                turn.before()
            return turn


def called(turn: Turn, tools: dict[str, Doc]) -> tuple[str, Doc]:
    """The name of the tool and its input, in the words of those that are offered: name → schema of the input."""
    kind = turn.tool
    name = next((name for name in TOOLS[kind] if name in tools), "")
    if not name and "apply_patch" in tools:
        return "apply_patch", {"input": turn.patch}
    assert name, f"no tool to {kind} among {sorted(tools)}"
    has, needs = tools[name].get("properties", {}), tools[name].get("required", [])
    given = {
        next(one for one in names if one in has): text for names, text in zip(FIELDS[kind], turn.given, strict=True)
    }
    return name, {**{one: FILLING[one] for one in FILLING if one in needs}, **given}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Played

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._json({"object": "list", "data": [{"id": "scripted", "object": "model"}], "models": []})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = {}
        path = self.path.split("?")[0]
        if "count_tokens" in path or "countTokens" in path:
            self._json({"input_tokens": 10, "totalTokens": 10})
        elif path.endswith("/messages"):
            self._anthropic(body)
        elif path.endswith("/responses"):
            self._responses(body)
        elif path.endswith("/chat/completions"):
            self._chat(body)
        elif "enerateContent" in path:
            self._gemini(body)
        else:
            self._json({})

    def _json(self, answer: object) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, events: Iterable[Event], end: str = "") -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for name, data in events:
            head = f"event: {name}\n" if name else ""
            self.wfile.write(f"{head}data: {json.dumps(data)}\n\n".encode())
        if end:
            self.wfile.write(f"data: {end}\n\n".encode())
        self.close_connection = True

    def _anthropic(self, body: Doc) -> None:
        tools = {tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools", []) if "name" in tool}
        turn = self.server.next(body, tools, "Bash" in tools) or say("ok")
        number = len(self.server.requests)
        if turn.tool:
            name, given = called(turn, tools)
            block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}
            begun, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(given)}
        else:
            block = {"type": "text", "text": turn.given[0]}
            begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": turn.given[0]}
        stop = "tool_use" if turn.tool else "end_turn"
        usage = {"input_tokens": turn.tokens, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": body.get("model"),
                   "content": [block], "stop_reason": stop, "stop_sequence": None, "usage": usage}  # fmt: skip
        if not body.get("stream"):
            self._json(message)
            return
        events: list[Doc] = [
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": begun},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        self._stream((event["type"], event) for event in events)

    def _responses(self, body: Doc) -> None:
        offered = [tool for tool in body.get("tools", []) if tool.get("name")]
        tools = {tool["name"]: tool.get("parameters", {}) for tool in offered}
        turn = self.server.next(body, tools, bool(tools)) or say("ok")
        number = len(self.server.requests)
        if not turn.tool:
            item: Doc = {"type": "message", "id": f"msg_{number}", "role": "assistant",
                         "content": [{"type": "output_text", "text": turn.given[0]}]}  # fmt: skip
        elif turn.tool != "shell":
            item = {"type": "custom_tool_call", "id": f"ct_{number}", "call_id": f"call_{number}", "name": "apply_patch",
                    "input": turn.patch}  # fmt: skip
        else:
            name, given = called(turn, tools)
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name,
                    "arguments": json.dumps(given)}  # fmt: skip
        usage = {"input_tokens": turn.tokens, "input_tokens_details": None, "output_tokens": 5,
                 "output_tokens_details": None, "total_tokens": turn.tokens + 5}  # fmt: skip
        response = {"id": f"resp_{number}"}
        events: list[Doc] = [
            {"type": "response.created", "response": response},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**response, "usage": usage}},
        ]
        self._stream((event["type"], event) for event in events)

    def _chat(self, body: Doc) -> None:
        functions = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
        tools = {function["name"]: function.get("parameters", {}) for function in functions}
        turn = self.server.next(body, tools, bool({"task", "agent"} & set(tools))) or say("ok")
        number = len(self.server.requests)
        usage = {"prompt_tokens": turn.tokens, "completion_tokens": 5, "total_tokens": turn.tokens + 5}
        said: Doc = {"role": "assistant"}
        if turn.tool:
            name, given = called(turn, tools)
            call = {"name": name, "arguments": json.dumps(given)}
            said["tool_calls"] = [{"index": 0, "id": f"call_{number}", "type": "function", "function": call}]
        else:
            said["content"] = turn.given[0]
        end = "tool_calls" if turn.tool else "stop"
        base = {"id": f"chatcmpl-{number}", "created": 1, "model": body.get("model")}
        if not body.get("stream"):
            choice = {"index": 0, "message": said, "finish_reason": end}
            self._json({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        chunk = {**base, "object": "chat.completion.chunk"}
        self._stream([
            ("", {**chunk, "choices": [{"index": 0, "delta": said, "finish_reason": None}]}),
            ("", {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": end}], "usage": usage}),
        ], "[DONE]")  # fmt: skip

    def _gemini(self, body: Doc) -> None:
        functions = [one for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
        tools = {one["name"]: one.get("parametersJsonSchema") or one.get("parameters") or {} for one in functions}
        turn = self.server.next(body, tools, "write_file" in tools) or say(json.dumps(BESIDE))
        part: Doc = {"text": turn.given[0]}
        if turn.tool:
            name, given = called(turn, tools)
            part = {"functionCall": {"name": name, "args": given}}
        usage = {"promptTokenCount": turn.tokens, "candidatesTokenCount": 5, "totalTokenCount": turn.tokens + 5}
        content = {"role": "model", "parts": [part]}
        answer = {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}
        if "stream" in self.path:
            self._stream([("", answer)])
        else:
            self._json(answer)
