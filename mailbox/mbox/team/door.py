"""A host's own door: a command by which its program takes a line from outside, so that nothing is typed (Codex: ``codex
queue``).

It is used where the agent's hooks have said which session it is (`status.session`), and its program still runs: in that
program's own environment, which says where its sessions are.  Promised: the one fixed line, no word of a message.  Not
promised: that the line is read: the door only takes it; the inbox tells.  A door that fails, or takes longer than
`PATIENCE`, is none: the bell types as ever.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from mbox.agents import presence
from mbox.format.documents import Document
from mbox.hosts.programs import Program
from mbox.hosts.screen import LINE
from mbox.store.store import Store
from mbox.system import proc

PATIENCE = 20.0

Door = Callable[[], bool]
"""Put the line through; whether it was taken."""


def of(store: Store, agent: str, status: Document, host: Program) -> Door | None:
    """The door of the session that ``status`` names; None where the host has none, or no session of it is known."""
    session = status.get("session", "")
    if not host.door or not session or status.get("host") != host.name or not _is_plain(session):
        return None
    beat = presence.heartbeat(store, agent)
    if beat is None or not beat["child"] or not presence.counts_here(beat):
        return None
    environ = proc.environ(beat["child"]) or dict(os.environ)
    words = [word.replace("{session}", session).replace("{line}", LINE) for word in host.door]
    return lambda: _through(words, environ)


def _is_plain(session: str) -> bool:
    """Whether a session's id is one, and no option: a status is a file that anybody of this user may have written."""
    return session.isascii() and session.replace("-", "").replace("_", "").isalnum() and session[0] != "-"


def _through(words: list[str], environ: dict[str, str]) -> bool:
    try:
        done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=PATIENCE, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
