"""Whether the hooks do anything: each line that stands in a program's settings is run as the program runs it, and what is
known of each program to be in the way is looked for.

Promised: the probe is a write to ``.mailbox/``, which the guard denies whoever asks; so an answer that is no denial tells
that a session goes on unguarded.  No model is asked, no session is begun, nothing is written but the log of hooks.  Not
promised: that the program itself runs the line: no program but Codex says so without a model.

What is looked at, for each program whose settings have our lines: its version; switches that silence hooks; managed
settings that do; the trust it wants; whether it goes on where a hook fails; and whether its own shell finds `mbox`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mbox.errors import Usage
from mbox.system import executables
from mbox.system.disk import read_bytes

from . import codecs, complaints, entries, installing, launcher, personal, trust
from .codecs import BEFORE
from .entries import OURS, PLACES, HostFile

LIMIT = 20.0
"""Seconds that a line or a program's answer to ``--version`` may take."""

FAILS_OPEN = {
    "codex": "it goes on where a hook fails or is too late",
    "gemini": "it goes on where a hook fails or is too late",
    "qwen": "it goes on where a hook fails or is too late",
    "copilot": "it goes on where a hook is too late",
    "agy": "what it does where a hook fails is not documented",
}
"""Hosts that cannot be told to fail closed, and how they fail."""

SILENCED = "disableAllHooks"

MANAGED = ("/etc/claude-code/managed-settings.json", "/Library/Application Support/ClaudeCode/managed-settings.json")


class Noted(NamedTuple):
    """One thing about a host's hooks; ``bad`` where they do not do what they are there for."""

    host: str
    file: str
    text: str
    bad: bool


def launched(top: str, home: str) -> list[Noted]:
    """What is wrong with the launcher, where a project's settings have our lines."""
    hosts = [row["host"] for row in installing.status(top, PLACES.values()) if row["state"] != installing.NONE]
    state = launcher.state(home)
    if not hosts or state == launcher.FINE:
        return []
    said = f"sessions of {', '.join(dict.fromkeys(hosts))} go on unguarded: `mbox hooks install`"
    return [Noted("", launcher.path(home), f"the launcher is {state}; {said}" if state == launcher.MISSING
                  else f"the launcher {state}; {said}", True)]  # fmt: skip


def look(top: str, home: str, environ: Mapping[str, str]) -> list[Noted]:
    """All that is to be said of the hooks in the project ``top``."""
    found = launched(top, home)
    for place in PLACES.values():
        for path in dict.fromkeys([f"{top}/{place.local}", f"{top}/{place.shared}"]):
            text = _read(path)
            if OURS in text:
                found += _host(place, path, text, top, home, environ)
    lines = complaints.last(environ, 3)
    return [*found, *(Noted("", complaints.place(environ), line, False) for line in lines)]


def _host(place: HostFile, path: str, text: str, top: str, home: str, environ: Mapping[str, str]) -> Iterator[Noted]:
    """What is to be said of one host."""
    def said(what: str, bad: bool = False) -> Noted:
        return Noted(place.host, os.path.relpath(path, top), what, bad)

    state = installing.status(top, [place])[0]["state"]
    if state != installing.INSTALLED:
        yield said(f"our lines are there {state}: `mbox hooks install {place.host}`" if state == installing.PART
                   else f"our lines: {state}", state.startswith("cannot") or state == installing.PART)  # fmt: skip
    version = _version(installing.PROGRAMS.get(place.host, place.host), environ)
    yield said(version or "its program does not say its version: is it on the PATH, and does it start?")
    yield said(*_probed(place, text, top, environ))
    if why := FAILS_OPEN.get(place.host):
        yield said(f"fails open: {why}")
    for what, bad in _more(place.host, top, home, environ):
        yield said(what, bad)


def _more(host: str, top: str, home: str, environ: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """What only one host has."""
    if host == "claude":
        yield from _claude(top, home)
    if host == "qwen":
        silent = [path for path in (f"{home}/.qwen/settings.json", f"{top}/.qwen/settings.json") if _flag(path, SILENCED)]
        yield from ((f"{path} has {SILENCED}: no hook runs", True) for path in silent)
    if host == "codex":
        left = trust.untrusted(top)
        if left:
            yield f"skips hooks of ours without a word, for nobody said yes to them: {', '.join(left)}; {trust.STEP}", True
        elif left is None:
            yield "does not say whether it trusts our hooks", False
        if not _finds_mbox(environ):
            yield ("its shell, a login shell, does not find `mbox`: set PATH in ~/.profile, or start it with "
                   "`-c allow_login_shell=false`"), True  # fmt: skip
    if host == "copilot":
        folders = _json(f"{environ.get('COPILOT_HOME') or f'{home}/.copilot'}/config.json").get("trusted_folders")
        if not (isinstance(folders, list) and any(isinstance(one, str) and _within(top, one) for one in folders)):
            yield f"{top} is not among the trusted_folders of Copilot: started with -p it runs no hook of this repository", True


def _claude(top: str, home: str) -> Iterator[tuple[str, bool]]:
    own = (f"{home}/.claude/settings.json", f"{top}/.claude/settings.json", f"{top}/.claude/settings.local.json")
    for path in (*own, *MANAGED):
        if _flag(path, SILENCED):
            yield f"{path} has {SILENCED}: no hook runs", True
    for path in MANAGED:
        if _flag(path, "allowManagedHooksOnly"):
            yield f"{path} allows managed hooks only: ours do not run", True
    yield "a session started with --bare runs no hooks, whatever its settings say", False


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


# -- asking ------------------------------------------------------------------------------------------------------------


def _probed(place: HostFile, text: str, top: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Run the line of the event before a tool as the host does: whether it denies a write to the store."""
    event = next(event for event, moment in codecs.HOSTS[place.host].events.items() if moment == BEFORE)
    named = ((name, keys) for name, keys in codecs.HOSTS[place.host].tools.items() if isinstance(keys, tuple))
    tool, keys = next(named, ("apply_patch", ()))
    target = f"{top}/.mailbox/probe"
    given: dict[str, str] = {keys[0]: target} if keys else {
        "command": f"*** Begin Patch\n*** Add File: {target}\n+x\n*** End Patch\n"}  # fmt: skip
    doc: dict[str, Any] = {"session_id": "probe", "cwd": top, "hook_event_name": event, "tool_name": tool, "tool_input": given}
    if place.host == "agy":
        doc = {"conversationId": "probe", "workspacePaths": [top], "toolCall": {"name": tool, "args": given}}
    line = entries.line(place.host, event)  # as we write it: what else stands in a repository's file is never run
    if line not in _lines(place, text):
        return f"has no line of ours for {event}: it guards nothing", True
    told = {name: value for name, value in environ.items() if name not in ("MBOX_AGENT", "MBOX_INCARNATION", "MBOX_ROOT")}
    try:
        done = subprocess.run(["sh", "-c", line], input=json.dumps(doc).encode(), cwd=top, env=told, capture_output=True,
                              timeout=LIMIT, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"its line for {event} gave no answer: {type(error).__name__}", True
    if b"deny" in done.stdout:
        return f"its line for {event} denies, as it should", False
    if not os.path.isdir(f"{top}/.mailbox"):
        return f"its line for {event} is silent: there is no store in {top}", False
    return f"its line for {event} lets a write to .mailbox/ pass: it guards nothing", True


def _lines(place: HostFile, text: str) -> list[str]:
    """Our lines in the settings; a plugin's is the one that it stands for."""
    if place.whole:
        return [entries.line(place.host, event) for event in codecs.HOSTS[place.host].events]
    try:
        return installing.commands(place, text)
    except Usage:
        return []


def _version(program: str, environ: Mapping[str, str]) -> str:
    try:
        words = [executables.find(program), "--version"]
        done = subprocess.run(words, capture_output=True, text=True, env={**environ}, timeout=LIMIT, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return f"version {next((line for line in said if any(map(str.isdigit, line))), said[0])[:80]}" if said else ""


def _finds_mbox(environ: Mapping[str, str]) -> bool:
    """Whether a login shell finds our commands."""
    try:
        shell = environ.get("SHELL") or "bash"
        words = [shell if os.path.basename(shell) in ("bash", "zsh", "sh", "dash") else "bash", "-lc", "command -v mbox"]
        done = subprocess.run(words, capture_output=True, env={**environ}, timeout=LIMIT, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


# -- reading -----------------------------------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        return read_bytes(os.path.realpath(path), personal.LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _json(path: str) -> dict[str, Any]:
    try:
        found = json.loads(_read(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _flag(path: str, name: str) -> bool:
    return _json(path).get(name) is True
