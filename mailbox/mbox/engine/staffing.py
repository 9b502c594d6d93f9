"""The workers of a run, as processes: started, found dead, retired.

A worker is an agent ``RUN.ROLE`` with the capability ``run:RUN``, which its tasks require.  It is started in a session of its own
under ``mbox run``, so that it outlives the engine; that two are started for one task does no harm, for one of them claims it.

Promised: a worker whose supervisor was killed is noticed and its task given back within one look of the engine, without a
watchdog.  Not promised: that a program which left its group ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mbox.agents import presence, registry
from mbox.errors import Refused
from mbox.format import operations, places
from mbox.format.documents import Document
from mbox.liveness import departure, supervisor
from mbox.store.transaction import SWEEP
from mbox.system import command, interpreter
from mbox.tasks.orders import label

from . import runs
from .moves import actor

if TYPE_CHECKING:
    from mbox.store.store import Store

STARTS = 3
"""How often a worker is started for one attempt before that is given up."""

SLOW = 20.0
"""Seconds after which a worker that has not claimed is started again."""


class Staffing:
    """What one engine knows of the workers that it started."""

    def __init__(self, store: Store, environ: Mapping[str, str]) -> None:
        self.store = store
        own = ("MBOX_AGENT", "MBOX_INCARNATION", "MBOX_ROOT")
        self.environ = {name: value for name, value in environ.items() if name not in own}
        self.started: dict[tuple[str, int], tuple[float, int]] = {}

    def start(self, run: Document, seat: Document, task: Document) -> bool:
        """See to it that a worker is on its way to the task; False where it was tried `STARTS` times."""
        store, order = self.store, task["order"]
        name = self._name(run["run"], order["role"], seat["item"])
        key = (task["task_id"], order["attempt"])
        when, times = self.started.get(key, (0.0, 0))
        if times and store.host.mono() - when < SLOW:
            return True
        if self._is_there(name):  # one of an attempt before that is about to end, or one that an engine before this has started
            return True
        if times >= STARTS:
            return False
        capabilities = sorted({*task["requires"], label(run["run"])})
        role = order["role"] if order["role"] != registry.ORCHESTRATOR else registry.USUAL
        said = {"role": role, "host": order["host"] or "", "model": order["model"] or "", "capabilities": capabilities}
        registry.add(store, actor(run["run"]), name, said)
        mine = interpreter.words("mbox", "workflow", "work", task["task_id"], "--root", store.root, "--quiet")
        words = interpreter.words("mbox", "run", "--as", name, "--no-watchdog", "--root", store.root, "--quiet", "--", *mine)
        command.start_detached(words, self.environ)
        self.started[key] = (store.host.mono(), times + 1)
        return True

    def _name(self, run: str, role: str, item: int | None) -> str:
        """The agent that works for ``role``: never one that somebody else has registered under such a name."""
        name = first = runs.worker_name(run, role, item)
        number = 1
        while (doc := self.store.glance(places.agent(name))) is not None and label(run) not in doc["capabilities"]:
            number += 1
            name = runs.fitted(f"{first}-{number}")
        return name

    def _is_there(self, name: str) -> bool:
        """Whether a worker of that name runs under its supervisor."""
        beat = presence.heartbeat(self.store, name)
        return beat is not None and bool(beat["child"]) and presence.is_fresh(self.store, beat)

    def silence(self, task: Document) -> float:
        """Seconds since whoever has the task last beat; 0 where nobody beats, or on another machine."""
        beat = presence.heartbeat(self.store, task["owner"] or "")
        if beat is None or beat["machine"] != self.store.host.machine:
            return 0.0
        return max(0.0, self.store.host.mono() - float(beat["mono"]))

    def settle_dead(self, run: Document, task: Document) -> bool:
        """Give back what a worker of this run held whose supervisor is gone; whether there was one."""
        name = task["owner"] or ""
        if not name.startswith(f"{run['run']}."):
            return False
        beat = presence.heartbeat(self.store, name)
        if beat is None or beat["machine"] != self.store.host.machine or not presence.is_gone(beat):
            return False
        supervisor.end_program(self.store, name, beat)
        why = "its supervisor was killed"
        return bool(departure.give_back(self.store, SWEEP, name, beat["incarnation"], operations.AGENT_DEAD, why).ids)


def retire(store: Store, run: str) -> None:
    """Take the workers of a run that has ended, and of all that it called, out of the game; who holds something stays."""
    docs = (store.glance(places.run(one)) for one in runs.known(store))
    labels = {doc["run"]: label(doc["run"]) for doc in docs if doc and run in (doc["run"], runs.root_of(doc))}
    for name in registry.known(store):
        doc = store.glance(places.agent(name)) if any(name.startswith(f"{one}.") for one in labels) else None
        if doc is None or doc["retired_at"] or not {*labels.values()} & {*doc["capabilities"]}:
            continue
        try:
            departure.retire(store, SWEEP, name)
        except Refused as error:
            store.say(str(error))
