"""A repository with a store and two agents, and hooks called in it as a host calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conftest import CHECKOUT
from mbox import opening
from mbox.hooks import calls, codecs, quick
from mbox.hooks.codecs import Reply
from mbox.store.store import Store

SCRIPT = CHECKOUT / "mailbox/mbox/hooks/hook.py"
BIN = Path(sys.executable).parent

WRITERS = [
    ("claude", "PreToolUse", "Write", "file_path"),
    ("claude", "PreToolUse", "Edit", "file_path"),
    ("claude", "PreToolUse", "NotebookEdit", "notebook_path"),
    ("gemini", "BeforeTool", "write_file", "file_path"),
    ("gemini", "BeforeTool", "replace", "file_path"),
    ("agy", "PreToolUse", "write_to_file", "TargetFile"),
    ("agy", "PreToolUse", "replace_file_content", "TargetFile"),
    ("cursor", "preToolUse", "Write", "file_path"),
    ("cursor", "preToolUse", "Delete", "path"),
    ("copilot", "PreToolUse", "Edit", "path"),
    ("copilot", "preToolUse", "create", "path"),
    ("qwen", "PreToolUse", "edit", "file_path"),
    ("opencode", "tool.execute.before", "write", "filePath"),
]
"""A file tool of each host: the host, its event, the tool, and where the path stands."""


class Desk:
    """A repository with a store, the agents ann and bob, and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.root, self.home = folder / "repo", folder / "home"
        self.root.mkdir(), self.home.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        (self.root / "src").mkdir()
        (self.root / "src/a.py").write_text("1\n", encoding="utf-8")
        self.git("add", "."), self.git("commit", "--quiet", "--message=Begin")
        self.mbox("init")
        for name in ("ann", "bob"):
            self.mbox("agent", "add", name)

    def git(self, *words: str, cwd: Path | None = None) -> str:
        """What git prints."""
        return subprocess.run(["git", *words], cwd=cwd or self.root, check=True, capture_output=True, text=True).stdout

    def environ(self, agent: str = "", **more: str) -> dict[str, str]:
        """The environment of a session of ``agent``."""
        return {**os.environ, "HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}",
                **({"MBOX_AGENT": agent} if agent else {}), **more}  # fmt: skip

    def mbox(self, *words: str, agent: str = "", fine: bool = True) -> Any:
        """A command of the toolkit, its answer as it is printed."""
        program = words[0] if words[0] in ("task", "reserve") else "mbox"
        line = [str(BIN / program), *words[program != "mbox" :]]
        done = subprocess.run([*line, "-o", "json"], cwd=self.root, env=self.environ(agent), capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert not fine or done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def said(self, host: str, event: str, tool: str = "", given: object = None, **more: Any) -> bytes:
        """What a host sends."""
        doc: dict[str, Any] = {"session_id": "s1", "cwd": str(self.root), "hook_event_name": event, **more}
        if host == "agy":
            doc = {"conversationId": "s1", "workspacePaths": [str(self.root)], **more}
            if tool:
                doc["toolCall"] = {"name": tool, "args": given}
        elif tool:
            doc |= {"tool_name": tool, "tool_input": given, "tool_use_id": more.get("tool_use_id", "c1")}
        return json.dumps(doc).encode()

    def ask(self, host: str, event: str, tool: str = "", given: object = None, agent: str = "bob",
            env: Mapping[str, str] | None = None, **more: Any) -> Reply:  # fmt: skip
        """The answer to one call, in this process, as `hook.py` finds it."""
        call = codecs.read(host, event, self.said(host, event, tool, given, **more), str(self.root))
        environ = self.environ(agent, **(env or {}))
        return quick.answer(call, environ) or calls.answer(call, environ)

    def process(self, host: str, event: str, data: bytes, agent: str = "bob") -> subprocess.CompletedProcess[str]:
        """One call as a process."""
        line = [sys.executable, "-I", "-S", str(SCRIPT), host, event]
        done = subprocess.run(line, input=data, cwd=self.root, env=self.environ(agent), capture_output=True, check=False,
                              timeout=60)  # fmt: skip
        return subprocess.CompletedProcess(line, done.returncode, done.stdout.decode(), done.stderr.decode())

    def store(self) -> Store:
        """The store, opened."""
        return opening.assemble(str(self.root))

    def held(self) -> dict[str, list[str]]:
        """Who holds what."""
        found: dict[str, list[str]] = {}
        for row in self.mbox("reserve", "list"):
            found.setdefault(row["agent"], []).extend(row["patterns"])
        return found


def reason(host: str, reply: Reply) -> str:
    """Why the call was denied, read as that host reads it; empty where it was not."""
    if not reply.stdout:
        return ""
    doc = json.loads(reply.stdout)
    if host in ("claude", "codex", "qwen"):
        inner = doc.get("hookSpecificOutput", {})
        return str(inner["permissionDecisionReason"]) if inner.get("permissionDecision") == "deny" else ""
    if host == "copilot":
        return str(doc["permissionDecisionReason"]) if doc.get("permissionDecision") == "deny" else ""
    if host == "cursor":
        return str(doc["agent_message"]) if doc["permission"] == "deny" else ""
    if host == "opencode":
        return str(doc.get("deny", ""))
    return str(doc["reason"]) if doc["decision"] == "deny" else ""


def context(reply: Reply) -> str:
    """What was put before the model, as Claude Code and Codex read it."""
    return str(json.loads(reply.stdout)["hookSpecificOutput"]["additionalContext"]) if reply.stdout else ""
