"""A model server on loopback that plays a script, so that the real agent programs run without a model.

Speaks as much of Anthropic's Messages, OpenAI's Responses and Gemini's generateContent as the programs need.  The first
answer to each new prompt is a call of the program's shell tool with the given command, the answer to its result is a text;
without a command every answer is a text, in pieces, one each ``pace`` seconds.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

Event = tuple[str, dict[str, Any]]


class Model(ThreadingHTTPServer):
    """Listens on a free port of loopback.  ``command`` is what it wants run; ``asked`` counts its calls of the tool.

    ``heard``: what was asked, as JSON.
    """

    daemon_threads = True

    def __init__(self, command: str, says: Sequence[str] = ("All is read.",), pace: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.command = command
        self.says = says
        self.pace = pace
        self.asked = 0
        self.heard: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Model

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._json({"data": [], "models": []})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = {}
        self.server.heard.append(json.dumps(body))
        path = self.path.split("?")[0]
        if "count_tokens" in path or "countTokens" in path:
            self._json({"input_tokens": 10, "totalTokens": 10})
        elif path.endswith("/messages"):
            self._anthropic(body)
        elif path.endswith("/responses"):
            self._openai(body)
        elif "enerateContent" in path:
            self._gemini(body)
        else:
            self._json({})

    def _json(self, answer: Any) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _said(self) -> Iterator[str]:
        """The pieces of a text, at their pace."""
        for piece in self.server.says:
            yield piece
            time.sleep(self.server.pace)

    def _stream(self, events: Iterable[Event]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for name, data in events:
            head = f"event: {name}\n" if name else ""
            self.wfile.write(f"{head}data: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True

    def _wants_tool(self, able: bool, answered: bool) -> bool:
        """Whether this turn calls the tool: a new prompt does, the result of a call does not."""
        wants = able and not answered and bool(self.server.command)
        self.server.asked += wants
        return wants

    def _anthropic(self, body: dict[str, Any]) -> None:
        tools = [tool.get("name") for tool in body.get("tools", [])]
        last = (body.get("messages") or [{}])[-1].get("content")
        answered = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
        tool = self._wants_tool("Bash" in tools, answered)
        given = {"command": self.server.command, "description": "read mail"}
        block: dict[str, Any] = (
            {"type": "tool_use", "id": f"toolu_{self.server.asked}", "name": "Bash", "input": {}}
            if tool else {"type": "text", "text": ""}
        )  # fmt: skip
        deltas: Iterable[dict[str, Any]] = (
            [{"type": "input_json_delta", "partial_json": json.dumps(given)}] if tool
            else ({"type": "text_delta", "text": piece} for piece in self._said())
        )  # fmt: skip
        stop = "tool_use" if tool else "end_turn"
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model"), "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5},
        }  # fmt: skip
        if not body.get("stream"):
            whole = {**block, "input": given} if tool else {"type": "text", "text": "".join(self.server.says)}
            self._json({**message, "content": [whole], "stop_reason": stop})
            return
        self._stream(chain(
            [("message_start", {"type": "message_start", "message": message}),
             ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block})],
            (("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas),
            [("content_block_stop", {"type": "content_block_stop", "index": 0}),
             ("message_delta", {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
                                "usage": {"output_tokens": 5}}),
             ("message_stop", {"type": "message_stop"})],
        ))  # fmt: skip

    def _openai(self, body: dict[str, Any]) -> None:
        items = [item for item in body.get("input", []) if isinstance(item, dict)]
        answered = bool(items) and str(items[-1].get("type", "")).endswith("_output")
        begun: list[Event] = []
        pieces: Iterable[Event] = []
        if self._wants_tool(True, answered):
            item: dict[str, Any] = {
                "type": "function_call", "id": f"fc_{self.server.asked}", "call_id": f"call_{self.server.asked}",
                "name": "exec_command", "arguments": json.dumps({"cmd": self.server.command}),
            }  # fmt: skip
        else:
            text = {"type": "output_text", "text": "".join(self.server.says)}
            item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
            begun = [("response.output_item.added", {"type": "response.output_item.added", "output_index": 0,
                                                     "item": {**item, "content": []}})]  # fmt: skip
            pieces = (("response.output_text.delta", {"type": "response.output_text.delta", "item_id": "msg_1",
                                                      "output_index": 0, "content_index": 0, "delta": piece})
                      for piece in self._said())  # fmt: skip
        usage = {"input_tokens": 10, "input_tokens_details": None, "output_tokens": 5, "output_tokens_details": None,
                 "total_tokens": 15}  # fmt: skip
        self._stream(chain(
            [("response.created", {"type": "response.created", "response": {"id": "resp_1"}})], begun, pieces,
            [("response.output_item.done", {"type": "response.output_item.done", "output_index": 0, "item": item}),
             ("response.completed", {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}})],
        ))  # fmt: skip

    def _gemini(self, body: dict[str, Any]) -> None:
        tools = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
        last = (body.get("contents") or [{}])[-1].get("parts", [])
        answered = any("functionResponse" in part for part in last)
        part: dict[str, Any]
        if self._wants_tool("run_shell_command" in tools, answered):
            call = {"command": self.server.command, "description": "read mail"}
            part = {"functionCall": {"name": "run_shell_command", "args": call}}
        elif "run_shell_command" in tools:
            part = {"text": "".join(self.server.says)}
        else:
            part = {"text": '{"complexity_reasoning":"x","complexity_score":1}'}
        answer = {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        }  # fmt: skip
        if "stream" in self.path:
            self._stream([("", answer)])
        else:
            self._json(answer)
