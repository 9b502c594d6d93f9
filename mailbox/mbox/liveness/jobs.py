"""Background jobs that outlive their agent: what its program started in a session of its own, and nobody ended.

A host gives each shell call a session, so the end of the program's group does not reach what such a call left running.
It is found by the variables that the wrapper sets (`supervisor.variables`), in ``/proc/PID/environ``.

Promised: a process is named where it carries this store's root, the agent's name and an incarnation that is no more, and
it is named to people only: nobody ends it.  What stands in a working tree is found whoever started it (`inside`).  Of a job
and what it started the first is named.  Passed over are commands of ours, whoever asks, with those above and below it, and
what a host keeps for all, with what that started (``daemon`` in ``hosts.yaml``: words that tell such a process, as in
``codex app-server``, which carries the variables of whichever agent came first).

Not promised: a process that cleared its environment, is another user's, or counts in another pid namespace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from mbox.agents import presence
from mbox.format import places
from mbox.hosts import programs
from mbox.system import interpreter, processes

if TYPE_CHECKING:
    from mbox.format.documents import Document
    from mbox.store.state import State

SHOWN = 60
"""Characters of a job's command line that are told."""


class Job(NamedTuple):
    """A process that outlived its agent."""

    agent: str
    pid: int
    runs: str

    def __str__(self) -> str:
        return f"{self.agent} left pid {self.pid} running ({self.runs})"


def left(store: State, agents: Iterable[Document]) -> list[Job]:
    """What is left of ``agents``, by the documents of each, whose program is gone; by agent and pid."""
    known = {doc["agent"]: doc for doc in agents}
    beats = {name: beat for name in known if (beat := presence.heartbeat(store, name)) and beat["child"]}

    def is_left(job: Job, incarnation: int) -> bool:
        return job.agent in beats and not _is_under(store, beats[job.agent], incarnation)

    return _found(store, known, is_left) if beats else []


def inside(store: State, folder: str) -> list[Job]:
    """What agents, whoever they are and whether they live or not, run in ``folder`` or below; by agent and pid."""
    known = {doc["agent"]: doc for doc in store.documents(places.AGENTS)}
    return _found(store, known, lambda job, _: f"{processes.cwd(job.pid)}/".startswith(f"{os.path.realpath(folder)}/"))


def _found(store: State, known: dict[str, Document], is_meant: Callable[[Job, int], bool]) -> list[Job]:
    """The processes of ``known`` agents that are meant; ``is_meant`` is told each, with its incarnation."""
    found: list[Job] = []
    over = [os.getpid()]
    for pid, marks in processes.carriers("MBOX_ROOT", store.root):
        name, incarnation = marks.get("MBOX_AGENT", ""), marks.get("MBOX_INCARNATION", "")
        words = processes.words(pid)
        job = Job(name, pid, " ".join(words)[:SHOWN])
        if name not in known or not incarnation.isdecimal() or not words or not is_meant(job, int(incarnation)):
            continue
        if _is_daemon(known[name]["host"], words):
            over.append(pid)
        elif not interpreter.is_ours(words) and not processes.descends(os.getpid(), pid):
            found.append(job)
    tops = [*over, *(job.pid for job in found)]
    return sorted(job for job in found if not any(top != job.pid and processes.descends(job.pid, top) for top in tops))


def _is_under(store: State, beat: Document, incarnation: int) -> bool:
    """Whether the wrapper of that incarnation, or of a newer one that is about to beat, is there."""
    is_there = beat["machine"] == store.host.machine and not presence.is_gone(beat)
    return is_there and incarnation >= int(beat["incarnation"])


def _is_daemon(host: str, words: list[str]) -> bool:
    """Whether a process is one that its host shares among agents."""
    program = programs.get(host)
    if not program.start or not program.daemon:
        return False
    names = {os.path.basename(word).removesuffix(".js") for word in words[:2]}
    return os.path.basename(program.start[0]) in names and any(word in program.daemon for word in words[1:])
