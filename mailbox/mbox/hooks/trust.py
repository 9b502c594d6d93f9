"""Codex' trust in our hooks, which is a person's to give: asked of Codex itself, by ``codex app-server``, and given by it.

Codex skips a hook that nobody has said yes to, without a word.  It knows each by its place in its file and the hash of its
text; what ``hooks/list`` says is what a session would do.  Promised: only our own hooks are said yes to, as they stand now,
and only when a person at a terminal asks for it; nothing of Codex' files is written by us.  Not promised: that Codex' next
version speaks so: then None, *not known*.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mbox.errors import MboxError, Refused
from mbox.system import executables
from mbox.system.disk import read_bytes

from .entries import OURS, PLACES, is_ours

PATIENCE = 20.0
"""Seconds for which Codex' answers are waited for, in all."""

STEP = "in codex, started in this project, `/hooks` shows them and asks; or at a terminal: `mbox hooks install codex --trust`"
"""How a person says yes."""


PROJECT = "codex does not trust this project, and runs none of its hooks: start `codex` here once and say yes to the folder"
"""What a person does before that."""


class _Server:
    """One ``codex app-server``: a line of JSON out, a line in."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._last = process, 0

    def ask(self, method: str, params: Any) -> Any:
        """The result of a call; LookupError where Codex does not give one."""
        self._last += 1
        self._send({"id": self._last, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if said.get("id") == self._last:
                return said["result"]
        raise LookupError(method)

    def tell(self, method: str) -> None:
        """A call without an answer."""
        self._send({"method": method})

    def _send(self, doc: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(doc) + "\n")
        self._process.stdin.flush()


@contextmanager
def _served(folder: str) -> Iterator[_Server]:
    from threading import Timer

    line = [executables.find("codex"), "app-server"]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(line, cwd=folder, stdin=pipe, stdout=pipe, stderr=nothing, encoding="utf-8") as process:
        timer = Timer(PATIENCE, process.kill)
        timer.start()
        try:
            server = _Server(process)
            server.ask("initialize", {"clientInfo": {"name": "mbox", "version": "1"}})
            server.tell("initialized")
            yield server
        finally:
            timer.cancel()
            process.kill()


def _ours(server: _Server, folder: str) -> list[dict[str, Any]]:
    found = server.ask("hooks/list", {"cwds": [folder]})["data"]
    return [hook for one in found for hook in one["hooks"] if is_ours(str(hook.get("command")))]


def _skipped(hooks: list[dict[str, Any]]) -> list[str]:
    """The events of those that are not run."""
    return [hook["eventName"] for hook in hooks if not hook["isManaged"] and hook["trustStatus"] != "trusted"]


def untrusted(folder: str) -> list[str] | None:
    """The events of our hooks that Codex would skip in ``folder``; None where it does not say, or is not installed."""
    try:
        with _served(folder) as server:
            ours = _ours(server, folder)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return [PROJECT] if not ours and is_guarded(folder) else _skipped(ours)


def give(folder: str) -> list[str]:
    """Say yes, in Codex, to our hooks as they stand in ``folder``; their events.  `Refused` where Codex does not take it."""
    try:
        with _served(folder) as server:
            hooks = _ours(server, folder)
            if not hooks:
                raise Refused(PROJECT)
            states = {hook["key"]: {"enabled": True, "trusted_hash": hook["currentHash"]} for hook in hooks}
            edit = {"keyPath": "hooks.state", "value": states, "mergeStrategy": "upsert"}
            server.ask("config/batchWrite", {"edits": [edit]})
            left = _skipped(_ours(server, folder))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Refused(f"codex did not take it ({type(error).__name__}): {STEP}") from None
    if left:
        raise Refused(f"codex does not trust {', '.join(left)}: {STEP}")
    return [hook["eventName"] for hook in hooks]


def require_person(agent: str) -> None:
    """`Refused` unless a person at a terminal calls."""
    if agent:
        raise Refused(f"{agent} is an agent, and codex' trust is a person's to give: without MBOX_AGENT, at a terminal")
    if not (sys.stdin and sys.stdin.isatty()):
        raise Refused("--trust is a person's yes: run it at a terminal")


def after_install(folder: str, trust: bool, say: Callable[[str], None]) -> None:
    """After our hooks were written for Codex: name the person's step, or take it for one who asked for it (`require_person`)."""
    if trust:
        say(f"codex trusts {len(give(folder))} hooks of this project now")
        return
    left = untrusted(folder)
    if left is None or left:
        say(f"codex runs no hook that a person has not said yes to: {STEP}")


def is_guarded(folder: str) -> bool:
    """Whether our hooks stand in the project's settings for Codex."""
    try:
        return OURS.encode() in read_bytes(os.path.realpath(f"{folder}/{PLACES['codex'].local}"), 4 << 20)
    except (OSError, MboxError):
        return False


def require(folder: str, who: str) -> None:
    """`Refused` where ``who`` would run Codex in ``folder`` with our hooks skipped."""
    if is_guarded(folder) and (left := untrusted(folder)):
        raise Refused(f"{who}: codex would skip {len(left)} hooks of {folder}, and guard nothing; {STEP}")
