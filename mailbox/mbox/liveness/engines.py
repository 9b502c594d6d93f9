"""Runs that go on in the background: an engine for each, started again by the watchdog where it died.

Promised: only a run that somebody here detached is started by itself (`trust`): what a store from elsewhere says starts nothing.
Its definition is part of what was said yes to, word for word.  A run that a quota paused goes on after the reset.
Not promised: that a run which stands for another reason goes on; that is a person's to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbox.format import places
from mbox.format.documents import Document, compact
from mbox.store import mutex
from mbox.system import interpreter

from . import trust

if TYPE_CHECKING:
    from mbox.store.state import State
    from mbox.store.store import Store


def start_of(store: State, run: str) -> trust.Start:
    """What starting an engine of the run would start: its files, by their hashes."""
    doc = store.read(places.definition(run)) or {"main": "", "files": {}}
    lines = [f"{name}: {one['sha256']}" for name, one in sorted(doc["files"].items())]
    return trust.Start(f"run {run}", "\n".join([compact(doc["main"]), *lines]))


def remember(store: State, run: str) -> None:
    """Somebody here detached the run: it may be started again."""
    trust.allow(store, [start_of(store, run)])


def forget(store: State, run: str) -> None:
    """The run has ended."""
    trust.forget(store, f"run {run}")


def waiting(store: Store) -> list[trust.Start]:
    """What would be started by itself in this store, were it said yes to here: members of teams, and detached runs."""
    return [*trust.waiting(store), *(start_of(store, doc["run"]) for doc in detached(store))]


def detached(store: Store) -> list[Document]:
    """Runs that are to go on in the background, and have not ended."""
    from mbox.store.files import folders_in

    found = []
    for name in folders_in(store, places.RUNS):
        doc = store.glance(places.run(name)) if places.is_name(name) else None
        if doc is not None and (doc["settings"] or {}).get("detached") and not doc["ended_at"] and not doc["parent"]:
            found.append(doc)
    return found


def stalled(store: Store) -> Iterator[Document]:
    """Those that nobody drives, though they could go on now."""
    for doc in detached(store):
        waits = (doc["at"] or {}).get("until") if doc["status"] == "paused" else None
        is_due = doc["status"] == "running" or (waits is not None and waits <= store.host.wall())
        if is_due and not mutex.is_held(store, places.run_lock(doc["run"])):
            yield doc


def start(root: str, run: str) -> None:
    """Start an engine of the run on its own; of two at once its lock lets one go on."""
    from mbox.system.command import start_detached

    environ = {name: value for name, value in os.environ.items() if name not in ("MBOX_AGENT", "MBOX_INCARNATION")}
    start_detached(interpreter.words("mbox", "workflow", "resume", run, "--root", root, "--quiet"), environ)
