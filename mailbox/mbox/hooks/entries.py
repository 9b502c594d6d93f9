"""What is written into the settings of each agent program so that it calls our hooks: which file, which events, which form.

Promised: the command of an entry is one line, the same on every machine and after every upgrade (Codex trusts a hook by its
text and place), with no secret in it (models see it): `line`.  Where a host can be told to fail closed it is.  The time
limits are above those of the hooks themselves (``gate_time``).  Not promised: that a host which was not run (agy, Cursor)
takes them.

Facts: ``docs/hooks.md``.
"""

from __future__ import annotations

import os
import zlib
from typing import Any, NamedTuple

LAUNCHER = ".local/share/mbox/hook"
"""Below the home of whoever runs the program."""

OURS = f"/{LAUNCHER}"
"""Stands in each command of ours; a file without it has none."""

TOOL, TURN, GATES, LAST = 15, 15, 660, 5
"""Seconds that a host waits for a hook: at a tool, at a prompt or start, where gates run, and at a session's end."""


VERSIONED = '{\n  "version": 1\n}\n'
"""How a file is begun of whose version its program wants to know."""


class HostFile(NamedTuple):
    """The settings of one host: the project's own file for this machine and the team's, and what stands in them.

    ``keys`` lead to the events; ``whole`` is the text of a file that is all ours, ``fresh`` of one that is begun.  ``comments``
    and a byte order ``mark``: whether the host reads a file that has them, as was seen (of agy and Cursor it is not known);
    ``only``: the keys beside which it reads none of a file that has another.
    """

    host: str
    local: str
    shared: str
    comments: bool = False
    mark: bool = False
    only: tuple[str, ...] = ()
    keys: tuple[str, ...] = ("hooks",)
    events: tuple[tuple[str, Any], ...] = ()
    whole: str = ""
    fresh: str = "{\n}\n"

    def file(self, shared: bool) -> str:
        """Where it is, relative to the project."""
        return self.shared if shared else self.local


def line(host: str, event: str) -> str:
    """What a host runs."""
    return f'[ ! -x "$HOME{OURS}" ] || {_RUNS} {host} {event}'


_RUNS = f'exec "$HOME{OURS}"'


def is_ours(command: str) -> bool:
    """Whether a command is one of ours, also where a person has put something before or behind it."""
    return f"{_RUNS} " in command


def _group(host: str, event: str, seconds: float, matcher: str | None = None, **more: Any) -> tuple[str, Any]:
    handler = {"type": "command", "command": line(host, event), "timeout": seconds, **more}
    return event, {**({"matcher": matcher} if matcher is not None else {}), "hooks": [handler]}


def _claude() -> tuple[tuple[str, Any], ...]:
    late = ("Stop", "SubagentStop", "TaskCompleted", "TeammateIdle")
    return (
        _group("claude", "SessionStart", TURN), _group("claude", "UserPromptSubmit", TURN),
        _group("claude", "PreToolUse", TOOL, "*", onFailure="block"), _group("claude", "PostToolUse", TOOL, "*"),
        _group("claude", "PostToolUseFailure", TOOL, "*"), _group("claude", "SubagentStart", TURN),
        *(_group("claude", event, GATES) for event in late), _group("claude", "SessionEnd", LAST),
    )  # fmt: skip


def _codex() -> tuple[tuple[str, Any], ...]:
    return (
        _group("codex", "SessionStart", TURN), _group("codex", "UserPromptSubmit", TURN), _group("codex", "PreToolUse", TOOL),
        _group("codex", "PostToolUse", TOOL), _group("codex", "SubagentStart", TURN), _group("codex", "Stop", GATES),
        _group("codex", "SubagentStop", GATES), _group("codex", "SessionEnd", 3),
    )  # fmt: skip


def _gemini() -> tuple[tuple[str, Any], ...]:
    def group(event: str, seconds: int, matcher: str | None = None) -> tuple[str, Any]:
        return _group("gemini", event, seconds * 1000, matcher, name="mbox")

    return (group("SessionStart", TURN), group("BeforeAgent", TURN), group("BeforeTool", TOOL, ".*"),
            group("AfterTool", TOOL, ".*"), group("AfterAgent", GATES), group("SessionEnd", LAST))  # fmt: skip


def _qwen() -> tuple[tuple[str, Any], ...]:
    def group(event: str, seconds: int, matcher: str | None = None) -> tuple[str, Any]:
        return _group("qwen", event, seconds, matcher, name="mbox")  # in seconds; 1000 and more would be milliseconds

    return (group("SessionStart", TURN), group("UserPromptSubmit", TURN), group("PreToolUse", TOOL, "*"),
            group("PostToolUse", TOOL, "*"), group("PostToolUseFailure", TOOL, "*"), group("SubagentStart", TURN),
            group("Stop", GATES), group("SubagentStop", GATES), group("SessionEnd", LAST))  # fmt: skip


def _copilot() -> tuple[tuple[str, Any], ...]:
    def entry(event: str, seconds: int) -> tuple[str, Any]:
        return event, {"type": "command", "bash": line("copilot", event), "timeoutSec": seconds}

    return (entry("SessionStart", TURN), entry("UserPromptSubmit", TURN), entry("PreToolUse", TOOL),
            entry("PostToolUse", TOOL), entry("SubagentStart", TURN), entry("Stop", GATES), entry("SubagentStop", GATES),
            entry("SessionEnd", LAST))  # fmt: skip


def _cursor() -> tuple[tuple[str, Any], ...]:
    def entry(event: str, seconds: int, **more: Any) -> tuple[str, Any]:
        return event, {"command": line("cursor", event), "timeout": seconds, **more}

    return (entry("sessionStart", TURN), entry("beforeSubmitPrompt", TURN), entry("preToolUse", TOOL, failClosed=True),
            entry("postToolUse", TOOL), entry("subagentStart", TURN), entry("stop", GATES, loop_limit=5),
            entry("subagentStop", GATES), entry("sessionEnd", LAST))  # fmt: skip


def _agy() -> tuple[tuple[str, Any], ...]:
    def handler(event: str, seconds: int) -> dict[str, Any]:
        return {"type": "command", "command": line("agy", event), "timeout": seconds}

    tools = [(event, {"matcher": "*", "hooks": [handler(event, TOOL)]}) for event in ("PreToolUse", "PostToolUse")]
    return (*tools, ("PreInvocation", handler("PreInvocation", TURN)), ("Stop", handler("Stop", GATES)))


def _plugin() -> str:
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "opencode.js"), encoding="utf-8") as file:
        return _signed(file.read())


def _signed(text: str) -> str:
    return f"{text}// mbox {zlib.crc32(text.encode()):08x}\n"


def is_as_written(text: str) -> bool:
    """Whether a file that is all ours is as this version wrote it, or an earlier one: nobody has changed it by hand."""
    return text == _signed(text[: text.rstrip("\n").rfind("\n") + 1])


PLUGIN = _plugin()
"""OpenCode has no hooks but plugins: a file of its own."""

PLACES: dict[str, HostFile] = {
    place.host: place
    for place in (
        HostFile("claude", ".claude/settings.local.json", ".claude/settings.json", mark=True, events=_claude()),
        HostFile("codex", ".codex/hooks.json", ".codex/hooks.json", only=("description", "hooks"), events=_codex()),
        HostFile("gemini", ".gemini/settings.json", ".gemini/settings.json", comments=True, events=_gemini()),
        HostFile("agy", ".agents/hooks.json", ".agents/hooks.json", keys=("mbox",), events=_agy()),
        HostFile("cursor", ".cursor/hooks.json", ".cursor/hooks.json", events=_cursor(),
              fresh=VERSIONED),
        HostFile("copilot", ".github/hooks/mbox.json", ".github/hooks/mbox.json", events=_copilot(),
              fresh=VERSIONED),
        HostFile("qwen", ".qwen/settings.json", ".qwen/settings.json", comments=True, mark=True, events=_qwen()),
        HostFile("opencode", ".opencode/plugins/mbox.js", ".opencode/plugins/mbox.js", whole=PLUGIN),
    )
}  # fmt: skip
"""Where each host looks, by its name."""
