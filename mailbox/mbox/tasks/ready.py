"""What can be claimed, and why the rest cannot: looking at tasks without the lock.

Promised: nothing here writes or takes the lock; each document is seen whole.  What has run out is shown as expired.
Not promised: that a task listed as ready is still there for whoever claims it; `claims` decides that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.tasks import notes
from mbox.tasks import lifecycle as tasks
from mbox.reservations import guard
from mbox.reservations import reserving as reservations
from mbox.agents import registry as agents
from mbox.format import places
from mbox.format.documents import FINAL, Document
from mbox.errors import MboxError
from mbox.tasks.lifecycle import Answer

if TYPE_CHECKING:
    from mbox.store.store import Store

EXAMPLES = 5
"""Tasks that `explain` names for each reason."""

DEAD = FINAL - {"done"}
"""States of a dependency that block its dependents for good."""

REASONS = ("ready", "in work", "held", "blocked", "waiting", "incapable", "reserved")
"""Every reason of `explain`, in the order in which it is told."""


class Why(NamedTuple):
    """One reason why a task cannot be claimed: its kind, one of `REASONS`, and the words."""

    kind: str
    text: str


# -- documents ---------------------------------------------------------------------------------------------------------


def every(store: Store) -> dict[str, Document]:
    """Every task's document by id; one that cannot be read is said and passed over."""
    return _documents(store, (name[:-5] for name in store.names(places.TASKS) if name.endswith(".json")))


def _documents(store: Store, ids: Iterable[str]) -> dict[str, Document]:
    found = {}
    for task_id in ids:
        try:
            doc = store.read(places.task(task_id))
        except MboxError as error:
            store.say(str(error))
            continue
        if doc is not None:
            found[doc["task_id"]] = doc
    return found


def is_expired(store: Store, doc: Document) -> bool:
    """Whether the task's lease has run out and nobody has swept it yet."""
    if doc["status"] not in tasks.ACTIVE:
        return False
    lease = store.load_lease(places.task_lease(doc["task_id"]))
    return lease is not None and lease.token == doc["token"] and lease.left(store.host) <= 0


def by_rank(docs: Iterable[Document]) -> list[Document]:
    """By priority, then age."""
    def rank(doc: Document) -> tuple[int, str, int, str]:
        return -doc["priority"], doc["created_at"], places.number(doc["task_id"]), doc["task_id"]

    return sorted(docs, key=rank)


def rows(store: Store, statuses: Sequence[str] = (), owner: str | None = None, stage: str | None = None,
         label: str | None = None, everything: bool = False) -> list[Answer]:  # fmt: skip
    """Header rows ``task_id status stage owner priority title``; of tasks that are not final, unless said."""
    found = []
    for doc in by_rank(every(store).values()):
        wanted = doc["status"] in statuses if statuses else everything or doc["status"] not in FINAL
        if (
            wanted
            and owner in (None, doc["owner"])
            and stage in (None, doc["stage"])
            and (label is None or label in doc["labels"])
        ):
            found.append(_row(store, doc))
    return found


def _row(store: Store, doc: Document) -> Answer:
    row = {name: doc[name] for name in ("task_id", "status", "stage", "owner", "priority", "title")}
    return {**row, "expired": True} if is_expired(store, doc) else row


def show(store: Store, task_id: str, count: int) -> Answer:
    """A task's document, with its time left, what it waits for, and its newest ``count`` notes."""
    doc = store.read(places.task(task_id))
    if doc is None:
        raise tasks.missing(store, task_id)
    answer = dict(doc)
    path = places.review_lease(task_id) if doc["status"] == "review" else places.task_lease(task_id)
    lease = store.load_lease(path) if doc["token"] else None
    if lease and lease.token == doc["token"]:
        left = lease.left(store.host)
        answer.update({"left": reservations.span(left)} if left > 0 else {"expired": True})
    if doc["status"] == "queued":
        answer["waits_for"] = [why.text for why in _dependencies(doc, store.read)]
    answer["notes"] = notes.last(store, task_id, count)
    return answer


# -- reasons -----------------------------------------------------------------------------------------------------------


def _dependencies(doc: Document, read: Any) -> Iterator[Why]:
    for dep in doc["depends_on"]:
        other = read(places.task(dep))
        state = other["status"] if other else "gone"
        if state != "done":
            yield Why("blocked" if state in DEAD or other is None else "waiting", f"depends on {dep} ({state})")


class Standing:
    """The reservations that stand now, found by literal prefix; ``agent``'s own are in nobody's way."""

    def __init__(self, store: Store, agent: str | None) -> None:
        self.store = store
        found = [
            (reservations.stored(store, text), doc)
            for doc in store.documents(places.RESERVATIONS)
            if doc["agent"] != agent and guard.left(store, doc) > 0
            for text in doc["patterns"]
        ]
        self.held = sorted(found, key=lambda pair: pair[0].prefix)
        self.prefixes = [pattern.prefix for pattern, _ in self.held]

    def blocker(self, paths: Iterable[str]) -> tuple[str, Document] | None:
        """The first pattern that meets one of ``paths``, with its reservation."""
        for text in paths:
            wanted = reservations.stored(self.store, text)
            for at in self._near(wanted.prefix):
                pattern, doc = self.held[at]
                if reservations.meet(self.store, wanted, pattern):
                    return pattern.text, doc
        return None

    def _near(self, prefix: str) -> Iterator[int]:
        """Where patterns stand whose prefix is above, at or below ``prefix``."""
        if not prefix:
            yield from range(len(self.held))
            return
        parts = prefix.split("/")
        for above in ["", *("/".join(parts[:n]) for n in range(1, len(parts) + 1))]:
            at = bisect_left(self.prefixes, above)
            while at < len(self.held) and self.prefixes[at] == above:
                yield at
                at += 1
        yield from range(bisect_left(self.prefixes, f"{prefix}/"), bisect_left(self.prefixes, f"{prefix}0"))


class View:
    """All tasks, agents' capabilities and reservations as they stand now, seen by ``agent`` (None: by anybody).

    With ``ids`` only these tasks, and what they depend on as far as it is asked for.
    """

    def __init__(self, store: Store, agent: str | None = None, ids: Iterable[str] | None = None) -> None:
        self.store = store
        self.agent = agent
        self.tasks = every(store) if ids is None else _documents(store, ids)
        self.others: dict[str, Document] | None = None if ids is None else {}
        self.able = self._able()
        self.standing = Standing(store, agent)

    def _able(self) -> set[str]:
        if self.agent is not None:
            return set(agents.require(self.store, self.store.read, self.agent)["capabilities"])
        docs = self.store.documents(places.AGENTS)
        return {word for doc in docs if not doc["retired_at"] for word in doc["capabilities"]}

    def _read(self, path: str) -> Document | None:
        ident = places.ident(path)
        if self.others is None or ident in self.tasks:
            return self.tasks.get(ident)
        if ident not in self.others:
            self.others.update(_documents(self.store, [ident]))
        return self.others.get(ident)

    def why(self, doc: Document) -> Iterator[Why]:
        """Every reason why the task cannot be claimed."""
        if doc["status"] != "queued":
            yield Why("in work", self._in_work(doc))
            return
        if doc["hold"]:
            yield Why("held", f"on hold: {doc['hold']}")
        yield from sorted(_dependencies(doc, self._read))
        lacking = [word for word in doc["requires"] if word not in self.able]
        if lacking:
            who = f"{self.agent} cannot" if self.agent else "no registered agent can"
            yield Why("incapable", f"{who} {', '.join(lacking)}")
        blocked = self.standing.blocker(doc["touched_paths"])
        if blocked:
            pattern, held = blocked
            left = reservations.span(guard.left(self.store, held))
            alive = agents.liveness(self.store, held["agent"])
            yield Why("reserved", f"{held['reservation_id']} of {held['agent']} ({alive}, {left} left): {pattern}")

    def _in_work(self, doc: Document) -> str:
        status, who = str(doc["status"]), str(doc["owner"])
        if status == "review":
            return f"in review by {doc['reviewer']}" if doc["reviewer"] else "in review; nobody has taken it"
        if status in FINAL:
            return status + (f": {doc['reason']}" if doc["reason"] else "")
        if is_expired(self.store, doc):
            return f"the lease of {who} has run out; the next command that writes gives the task back"
        return f"{status} by {who} ({agents.liveness(self.store, who)})"

    def ready(self) -> list[Document]:
        """The tasks that can be claimed, in the order in which they would be."""
        queued = (doc for doc in self.tasks.values() if doc["status"] == "queued")
        return by_rank(doc for doc in queued if next(self.why(doc), None) is None)


def ready(store: Store, agent: str | None = None) -> list[Answer]:
    """Rows of the tasks that ``agent`` (None: anybody) could claim now, next first."""
    names = ("task_id", "stage", "priority", "title")
    return [{name: doc[name] for name in names} for doc in View(store, agent).ready()]


def explain(store: Store, agent: str | None = None) -> list[Answer]:
    """For each reason how many tasks it keeps from being claimed, and five of them; final tasks are left out.

    A task that has several reasons counts for the first of them.
    """
    found = {
        reason: [f"{doc['task_id']}: {why}" if why else doc["task_id"] for doc, why in those]
        for reason, those in _by_reason(View(store, agent)).items()
    }
    return [
        {"reason": reason, "count": len(examples), "examples": examples[:EXAMPLES]}
        for reason, examples in found.items()
    ]


def _by_reason(view: View) -> dict[str, list[tuple[Document, str]]]:
    """The tasks that are not final by the first reason of each, in the order of `REASONS`, each with its words."""
    found: dict[str, list[tuple[Document, str]]] = {reason: [] for reason in REASONS}
    for doc in by_rank(view.tasks.values()):
        if doc["status"] not in FINAL:
            why = next(view.why(doc), Why("ready", ""))
            found[why.kind].append((doc, why.text))
    return {reason: those for reason, those in found.items() if those}


def why_none(store: Store, agent: str, ids: Iterable[str], stage: str | None = None, label: str | None = None) -> str:
    """Why ``agent`` finds none of the open tasks ``ids`` to claim, in the words of `explain`, on one line.

    A task that is ready is counted as one that does not fit the ``stage`` or ``label`` that was asked for, with its
    own; a stage or label that no task has at all is named.
    """
    found = _by_reason(View(store, agent, ids))
    if not found:
        return "no task is open"
    counts = [f"{len(those)} {reason}" for reason, those in found.items() if reason != "ready"]
    free = [doc for doc, _ in found.get("ready", ())]
    others = [doc for doc in free if stage not in (None, doc["stage"]) or label not in (None, *doc["labels"])]
    every_open = [doc for those in found.values() for doc, _ in those]
    known = [doc for doc in every_open if stage in (None, doc["stage"]) and label in (None, *doc["labels"])]
    if not known and (unknown := _unknown(store, stage, label)):
        return unknown
    if others:
        counts.insert(0, f"{len(others)} ready {'do' if len(others) > 1 else 'does'} not fit ({_theirs(others, stage)})")
    if len(free) > len(others):
        counts.insert(0, f"{len(free) - len(others)} ready by now: claim again")
    return ", ".join(counts)


def _unknown(store: Store, stage: str | None, label: str | None) -> str:
    """That no task, open or final, has the stage, or the label; with those that there are."""
    docs = every(store).values()
    for what, plural, asked, there in (
        ("stage", "stages", stage, {doc["stage"] for doc in docs if doc["stage"]}),
        ("label", "labels", label, {word for doc in docs for word in doc["labels"]}),
    ):
        if asked and asked not in there:
            known = f"{plural} are {_few(there)}" if there else f"no task has a {what}"
            return f"no task has {what} '{asked}'; {known}"
    return ""


def _theirs(docs: Sequence[Document], stage: str | None) -> str:
    """The other stages of tasks that do not fit, or their labels where it is not for the stage."""
    if stages := {doc["stage"] or "none" for doc in docs} - {stage} if stage is not None else None:
        return f"stage {_few(stages)}"
    return f"label {_few({word for doc in docs for word in doc['labels'] or ['none']})}"


def _few(words: set[str], most: int = 8) -> str:
    listed = sorted(words)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def explain_one(store: Store, task_id: str, agent: str | None = None) -> Answer:
    """Whether this task could be claimed, and every reason why not."""
    view = View(store, agent)
    doc = view.tasks.get(task_id)
    if doc is None:
        raise tasks.missing(store, task_id)
    why = [reason.text for reason in view.why(doc)]
    return {"task_id": task_id, "status": doc["status"], "ready": not why, "why": why}


def nodes(store: Store, everything: bool = False) -> Answer:
    """The graph of `graph` as data: ``nodes``, a row a task, and ``edges``, each a task and one that it depends on."""
    docs = by_rank(doc for doc in every(store).values() if everything or doc["status"] not in FINAL)
    rows = [{**_row(store, doc), "hold": doc["hold"]} for doc in docs]
    return {
        "nodes": [{name: value for name, value in row.items() if value not in (None, "")} for row in rows],
        "edges": [{"task_id": doc["task_id"], "depends_on": dep} for doc in docs for dep in doc["depends_on"]],
    }


def graph(store: Store, fmt: str, everything: bool = False) -> str:
    """The dependency graph of the tasks that are not final (``everything``: of all), drawn as ``fmt``."""
    from mbox.tasks import graph as drawing

    docs = [doc for doc in every(store).values() if everything or doc["status"] not in FINAL]
    edges = {doc["task_id"]: doc["depends_on"] for doc in docs}
    if fmt == "svg":
        return drawing.svg(drawing.render(docs, edges, "dot"))
    return drawing.render(docs, edges, fmt)
