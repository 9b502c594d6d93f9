"""Tools for tests of tasks: a store with three agents, and short names for what is done with tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit import ANN, BOB, USER, FakeHost, journaled, make
from mbox.agents import registry
from mbox.errors import MboxError
from mbox.format import places
from mbox.format.documents import Document
from mbox.opening import assemble
from mbox.store.store import Actor, Store
from mbox.system.disk import Disk
from mbox.tasks import batches, claims, lifecycle, planning, reviews
from mbox.tasks.drafts import TaskDraft

RAE = Actor("rae", 1)
LEASE = 1800.0

__all__ = ["ANN", "BOB", "LEASE", "RAE", "USER", "FakeHost", "World", "opened"]


def opened(root: Path, host: FakeHost, config: str = "") -> Store:
    """The store in ``root`` as a command has it: with its configuration, its sweep, and patterns in the index."""
    if config:
        (root / places.CONFIG).write_text(config, encoding="utf-8")
    store = assemble(str(root), Disk(), host)
    store.say = lambda text: None
    return store


class World:
    """A store with ann (who can py and gpu), bob and rae, its clock, and short names."""

    def __init__(self, root: Path, config: str = "") -> None:
        self.root = root
        self.host = FakeHost()
        make(root, self.host).close()
        self.store = opened(root, self.host, config)
        registry.add(self.store, USER, "ann", {"capabilities": ["py", "gpu"]})
        registry.add(self.store, USER, "rae", {"role": "reviewer"})

    def add(self, title: str = "a task", *paths: str, **fields: Any) -> str:
        """Add a task that touches ``paths``; its id."""
        if "after" in fields:
            fields["depends_on"] = tuple(fields.pop("after"))
        draft = TaskDraft(id=fields.pop("id", None), title=title, touched_paths=paths, **fields)
        return str(planning.add(self.store, USER, draft)["task_id"])

    def claim(self, who: Actor, task_id: str | None = None, token: int | None = None, **wish: Any) -> dict[str, Any]:
        """Claim ``task_id``, or the next."""
        if task_id is None:
            return claims.claim(self.store, who, claims.ClaimRequest(**wish))
        return claims.claim_id(self.store, who, task_id, claims.ClaimRequest(**wish), token)

    def verb(self, name: str, who: Actor, task_id: str, token: int | None = None) -> dict[str, Any]:
        """Do the verb ``name`` of the command line as ``who``."""
        store = self.store
        match name:
            case "claim":
                return self.claim(who, task_id, token)
            case "start" | "done" | "submit" | "renew":
                return getattr(lifecycle, name)(store, who, task_id, token=token)  # type: ignore[no-any-return]
            case "fail":
                return lifecycle.fail(store, who, task_id, "too hard", token)
            case "review":
                return reviews.take(store, who, task_id)
            case "approve":
                return reviews.approve(store, who, task_id, token)
            case "reject":
                return reviews.reject(store, who, task_id, "no tests", token)
            case "release":
                return self._one(batches.release(store, who, [task_id], token=token))
            case "cancel":
                return self._one(batches.cancel(store, who, [task_id], reason="not wanted"))
            case "requeue":
                return self._one(batches.requeue(store, who, [task_id]))
        raise ValueError(name)

    @staticmethod
    def _one(outcome: batches.Outcome) -> dict[str, Any]:
        if outcome.errors:
            raise outcome.errors[0]
        return outcome.changed[0]

    def doc(self, task_id: str) -> Document:
        """The task's document as on disk."""
        doc = self.store.read(places.task(task_id))
        assert doc is not None
        return doc

    def status(self, task_id: str) -> str:
        """The task's status as on disk."""
        return str(self.doc(task_id)["status"])

    def is_leased(self, task_id: str) -> bool:
        """Whether there is a lease file of the task's holder."""
        return self.store.load_lease(places.task_lease(task_id)) is not None

    def reserved(self) -> list[str]:
        """Ids of the reservations that stand."""
        return sorted(name[:-5] for name in self.store.names(places.RESERVATIONS))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and one command of somebody else sweep."""
        self.host.advance(seconds)
        self.store.transact(lambda tx: None, USER)

    def last(self) -> dict[str, Any]:
        """The newest record of the journal."""
        return journaled(self.store)[-1]

    def records(self) -> int:
        """How many records the journal has."""
        return len(journaled(self.store))

    def exit_of(self, name: str, who: Actor, task_id: str, token: int | None = None) -> int:
        """The exit status that the verb ends with."""
        try:
            self.verb(name, who, task_id, token)
        except MboxError as error:
            return error.exit
        return 0
