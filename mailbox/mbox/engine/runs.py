"""A run's documents: how they are named, found and read; pure but for the store that is read.

Promised: a run's id, a seat's and a task's name fit in 64 letters, the longer ones by their hash.  A *seat* is one visit of
a step, or one item of it: ``review.2``, ``look.1.3``.  Reading takes no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import NotFound, Usage, did_you_mean
from mbox.format import places
from mbox.format.documents import Document

if TYPE_CHECKING:
    from mbox.store.state import State
    from mbox.workflow.definition import Workflow
    from mbox.workflow.scenarios import Scenario

Read = Callable[[str], Document | None]

ENDED = frozenset(["succeeded", "failed", "cancelled"])
STOPPED = frozenset(["paused", "needs_human", "exceeded"])

EXITS = {"succeeded": 0, "failed": 10, "needs_human": 11, "cancelled": 12, "exceeded": 13, "paused": 14, "running": 14}
"""Exit statuses of `workflow run` and `resume`, which go on while it is running."""

LONGEST = 24
"""The most letters of a run's id: a step's name, a visit and an item go behind it."""

SCRIPT = "@scripted"
"""The key of the scenario among a definition's files."""


def fitted(name: str) -> str:
    """``name``, or where it is longer than a name may be its beginning and a hash of the whole."""
    if len(name) <= 64:
        return name
    from hashlib import sha256

    return f"{name[:51].rstrip('.-_')}-{sha256(name.encode()).hexdigest()[:12]}"


def seat(step: str, visit: int, item: int | None = None) -> str:
    """The name of one visit of a step, or of one item of it (from 0)."""
    return fitted(f"{step}.{visit}" if item is None else f"{step}.{visit}.{item}")


def seat_of(doc: Document) -> str:
    """The seat whose document it is."""
    return seat(doc["step"], doc["visit"], doc["item"])


def task_id(run: str, at: str) -> str:
    """The task of a seat."""
    return fitted(f"{run}.{at}")


def child_id(run: str, at: str) -> str:
    """The run that a ``call`` in a seat begins."""
    from hashlib import sha256

    whole = f"{run}.{at}"
    return whole if len(whole) <= LONGEST else f"{run[: LONGEST - 9]}-{sha256(whole.encode()).hexdigest()[:8]}"


def worker_name(run: str, role: str, item: int | None) -> str:
    """The agent that works for ``role``; of each item of a step its own."""
    return fitted(f"{run}.{role}" if item is None else f"{run}.{role}.{item}")


def check_id(text: str) -> str:
    """A person's id for a run; `Usage` where it is none."""
    if not places.is_name(text) or len(text) > LONGEST or "@" in text:
        raise Usage(f"--id {text!r}: a run's id is a name (a-z, 0-9, '.', '_', '-') of at most {LONGEST} letters")
    return text


def known(store: State) -> list[str]:
    """The ids of all runs."""
    from mbox.store.files import folders_in

    return [name for name in folders_in(store, places.RUNS) if places.is_name(name)]


def require(store: State, run: str, read: Read | None = None) -> Document:
    """The document of a run; `NotFound` with the nearest ids."""
    if not places.is_name(run):
        raise NotFound(f"no run {run!r}; `workflow list` names them")
    doc = (read or store.read)(places.run(run))
    if doc is None:
        raise NotFound(f"no run {run!r}{did_you_mean(run, known(store)) or '; `workflow list` names them'}")
    return doc


_loaded: dict[str, tuple[Any, Workflow]] = {}


def workflow(read: Read, run: str) -> Workflow:
    """What a run does, from its own snapshot of the files; parsed once in a process."""
    from mbox.workflow import definition

    doc = read(places.definition(run))
    if doc is None:
        raise NotFound(f"{places.definition(run)} is missing: the run cannot go on; `mbox doctor` says more")
    texts = {name: one["text"] for name, one in doc["files"].items()}
    before = _loaded.get(run)
    if before is None or before[0] != texts:
        before = _loaded[run] = (texts, definition.load(doc["main"], texts.__getitem__))
    return before[1]


def scenario(read: Read, run: str) -> str | None:
    """The scenario that a scripted run follows, as text."""
    doc = read(places.definition(run))
    return doc["files"][SCRIPT]["text"] if doc is not None and SCRIPT in doc["files"] else None


def answers(read: Read, root: str) -> Scenario:
    """What a scripted run, the one of the budget, is answered by."""
    from mbox.workflow import scenarios

    return scenarios.load(scenario(read, root) or "", "the scenario", workflow(read, root))


def files_of(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """A definition's files: each with its text and the hash of that."""
    from hashlib import sha256

    return {name: {"sha256": sha256(text.encode()).hexdigest(), "text": text} for name, text in sorted(texts.items())}


def root_of(doc: Document) -> str:
    """The run whose budget it has: its own, or of who called it."""
    return str((doc["settings"] or {}).get("root") or doc["run"])


def folder(root: str, doc: Document) -> str:
    """Where the run works: the root, or a tree of its own."""
    return str((doc["tree"] or {}).get("path") or root)
