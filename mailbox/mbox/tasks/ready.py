"""What can be claimed, and why the rest cannot: looking at tasks without the lock.

Promised: nothing here writes or takes the lock; each document is seen whole.  What has run out is shown as expired.
Not promised: that a task listed as ready is still there for whoever claims it; `claims` decides that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.agents import presence, registry
from mbox.format import places
from mbox.format.checks import few
from mbox.format.documents import ACTIVE, FINAL, Document
from mbox.format.globs import Effort
from mbox.reservations import conflicts, guard
from mbox.system import clock

from . import notes
from .orders import is_of_run

if TYPE_CHECKING:
    from mbox.store.store import Store

    from .graph import Urgency
    from .lifecycle import Answer


EXAMPLES = 5
"""Tasks that `explain` names for each reason."""

FAILED = FINAL - {"done"}
"""States of a dependency that block its dependents for good."""

EXPIRED = "expired"
"""The state of work whose lease has run out and that nobody has swept yet."""

IN_WORK = "in work"
"""The one reason that goes away by itself, while somebody is at it."""

REASONS = ("ready", IN_WORK, "held", "blocked", "waiting", "incapable", "reserved")
"""Every reason of `explain`, in the order in which it is told."""


class Why(NamedTuple):
    """One reason why a task cannot be claimed, for programs in fields and for people in words.

    ``kind`` is one of `REASONS`; ``subject`` who or what it is about: an agent, a task, a reservation, capabilities, or
    nobody; ``state`` how that stands: a task's status, an agent's liveness, or `EXPIRED`.
    """

    kind: str
    subject: str
    state: str
    text: str

    @property
    def is_moving(self) -> bool:
        """Whether somebody is at work on the task, as far as can be seen."""
        return self.kind == IN_WORK and bool(self.subject) and self.state not in (EXPIRED, presence.DEAD, presence.ENDED)


# -- documents ---------------------------------------------------------------------------------------------------------


def every(store: Store) -> dict[str, Document]:
    """Every task's document by id; one that cannot be read is said and passed over."""
    return _documents(store, places.idents(store.names(places.TASKS)))


def _documents(store: Store, ids: Iterable[str]) -> dict[str, Document]:
    docs = (store.glance(places.task(task_id)) for task_id in ids)
    return {doc["task_id"]: doc for doc in docs if doc is not None}


def is_expired(store: Store, doc: Document) -> bool:
    """Whether the task's lease has run out and nobody has swept it yet."""
    if doc["status"] not in ACTIVE:
        return False
    lease = store.load_lease(places.task_lease(doc["task_id"]))
    return lease is not None and lease.token == doc["token"] and lease.left(store.host) <= 0


def by_rank(docs: Iterable[Document], urgent: Mapping[str, Urgency] | None = None) -> list[Document]:
    """By priority, or where ``urgent`` says (`urgencies`) by how urgent they are, then by age."""
    def rank(doc: Document) -> tuple[int, str, int, str]:
        ident = doc["task_id"]
        priority = urgent[ident].priority if urgent and ident in urgent else doc["priority"]
        return -priority, doc["created_at"], places.number(ident), ident

    return sorted(docs, key=rank)


def urgencies(docs: Mapping[str, Document]) -> dict[str, Urgency]:
    """How urgent each of all tasks ``docs`` is that is not final: as `claims` has it from the index, of the documents alone."""
    from .graph import urgencies

    open_ = {ident: doc for ident, doc in docs.items() if doc["status"] not in FINAL}
    edges = {ident: doc["depends_on"] for ident, doc in open_.items()}
    return urgencies({ident: doc["priority"] for ident, doc in open_.items()}, edges)


def _more_urgent(doc: Document, urgent: Mapping[str, Urgency]) -> Answer:
    """``urgency``, if what waits for the task makes it more urgent than its own priority does."""
    own = urgent.get(doc["task_id"])
    return {"urgency": own.priority} if own and own.priority > doc["priority"] else {}


def rows(store: Store, statuses: Sequence[str] = (), owner: str | None = None, stage: str | None = None,
         label: str | None = None, everything: bool = False) -> list[Answer]:  # fmt: skip
    """Header rows ``task_id status stage owner priority title``; of tasks that are not final, unless said.

    A run's tasks are among them only where their owner or label is named, else `of_runs` counts them.
    """
    found, docs = [], every(store)
    urgent = urgencies(docs)
    for doc in by_rank(docs.values(), urgent):
        wanted = doc["status"] in statuses if statuses else everything or doc["status"] not in FINAL
        if (
            wanted
            and owner in (None, doc["owner"])
            and stage in (None, doc["stage"])
            and (label is None or label in doc["labels"])
            and not (label is owner is None and is_of_run(doc))
        ):
            found.append(_row(store, doc, urgent))
    return found


def of_runs(store: Store) -> int:
    """How many tasks that are not final were given out by workflows: `rows` leaves them out."""
    return sum(1 for doc in every(store).values() if is_of_run(doc) and doc["status"] not in FINAL)


def listed(store: Store, found: Iterable[Mapping[str, Any]]) -> list[Answer]:
    """``found`` (`rows`) with a ``reason`` for each that is queued, ``ready`` or what it is instead, and in words ``why``."""
    view = View(store)
    told = []
    for row in found:
        doc, first = view.tasks.get(row["task_id"]), None
        if doc is not None and doc["status"] == row["status"] == "queued":
            first = next(view.why(doc), Why("ready", "", "", ""))
        names = ("task_id", "status")
        why = first.text if first else ""
        told.append({**{name: row[name] for name in names}, "reason": first.kind if first else None, **row, "why": why})
    return told


def _row(store: Store, doc: Document, urgent: Mapping[str, Urgency]) -> Answer:
    row = {name: doc[name] for name in ("task_id", "status", "stage", "owner", "priority")}
    row |= {**_more_urgent(doc, urgent), "title": doc["title"]}
    return {**row, "expired": True} if is_expired(store, doc) else row


def show(store: Store, task_id: str, count: int) -> Answer:
    """A task's document, with its time left, what it waits for, what its dependencies produced, and ``count`` notes."""
    doc = store.read(places.task(task_id))
    if doc is None:
        from .lifecycle import missing

        raise missing(store, task_id)
    answer = dict(doc)
    path = places.review_lease(task_id) if doc["status"] == "review" else places.task_lease(task_id)
    lease = store.load_lease(path) if doc["token"] else None
    if lease and lease.token == doc["token"]:
        left = lease.left(store.host)
        answer.update({"left": clock.span(left)} if left > 0 else {"expired": True})
    if doc["status"] not in FINAL:
        answer["waits_for"] = [why.text for why in _dependencies(store, doc, store.glance)]
    if doc["depends_on"]:
        from .results import produced

        answer |= produced(doc["depends_on"], store.glance)
    answer["notes"] = notes.last(store, task_id, count)
    return answer


# -- reasons -----------------------------------------------------------------------------------------------------------


def _dependencies(store: Store, doc: Document, read: Any) -> Iterator[Why]:
    for dep in doc["depends_on"]:
        other = read(places.task(dep))
        state = other["status"] if other else store.unseen(places.task(dep))
        if state != "done":
            kind = "blocked" if state in FAILED or other is None else "waiting"
            yield Why(kind, dep, state, f"depends on {dep} ({state})")


class Standing:
    """The reservations that stand now, found by literal prefix; ``agent``'s own are in nobody's way."""

    def __init__(self, store: Store, agent: str | None) -> None:
        self.store = store
        self.effort = Effort(conflicts.READING)
        self.said = False
        found = [
            (conflicts.stored(store, text, self.effort), doc)
            for doc in guard.every(store)
            if doc["agent"] != agent and guard.left(store, doc) > 0
            for text in doc["patterns"]
        ]
        self.held = sorted(found, key=lambda pair: pair[0].prefix)
        self.prefixes = [pattern.prefix for pattern, _ in self.held]

    def blocker(self, paths: Iterable[str]) -> tuple[str, Document] | None:
        """The first pattern that meets one of ``paths``, with its reservation."""
        for text in paths:
            wanted = conflicts.stored(self.store, text, self.effort)
            for at in self._near(wanted.prefix):
                pattern, doc = self.held[at]
                if conflicts.meet(self.store, wanted, pattern, self.effort):
                    self._say()
                    return pattern.text, doc
        return None

    def _say(self) -> None:
        """Say, once, that what was found may be a guess."""
        guess = conflicts.guessed(self.effort, conflicts.READING)
        if guess and not self.said:
            self.store.say(f"what is reserved {guess}")
            self.said = True

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
        self.urgent = urgencies(self.tasks) if ids is None else {}

    def _able(self) -> set[str]:
        if self.agent is not None:
            return set(registry.require(self.store, self.store.read, self.agent)["capabilities"])
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
            yield self._in_work(doc)
            return
        if doc["hold"]:
            yield Why("held", "", "", f"on hold: {doc['hold']}")
        yield from sorted(_dependencies(self.store, doc, self._read), key=lambda why: (why.kind, why.text))
        lacking = [word for word in doc["requires"] if word not in self.able]
        if lacking:
            who = f"{self.agent} cannot" if self.agent else "no registered agent can"
            words = few(lacking)
            yield Why("incapable", words, "", f"{who} {words}")
        blocked = self.standing.blocker(doc["touched_paths"])
        if blocked:
            pattern, held = blocked
            left = clock.span(guard.left(self.store, held))
            alive = presence.liveness(self.store, held["agent"])
            rid = held["reservation_id"]
            yield Why("reserved", rid, alive, f"{rid} of {held['agent']} ({alive}, {left} left): {pattern}")

    def _in_work(self, doc: Document) -> Why:
        status, who = str(doc["status"]), str(doc["owner"])
        if status == "review":
            who = doc["reviewer"] or ""
            waits = "in review by its run's gates" if is_of_run(doc) else "in review; nobody has taken it"
            return Why(IN_WORK, who, status, f"in review by {who}" if who else waits)
        if status in FINAL:
            return Why(IN_WORK, "", status, status + (f": {doc['reason']}" if doc["reason"] else ""))
        if is_expired(self.store, doc):
            text = f"the lease of {who} has run out; the next command that writes gives the task back"
            return Why(IN_WORK, who, EXPIRED, text)
        alive = presence.liveness(self.store, who)
        return Why(IN_WORK, who, alive, f"{status} by {who} ({alive})")

    def ready(self) -> list[Document]:
        """The tasks that can be claimed, in the order in which they would be."""
        queued = (doc for doc in self.tasks.values() if doc["status"] == "queued")
        return by_rank((doc for doc in queued if next(self.why(doc), None) is None), self.urgent)


def ready(store: Store, agent: str | None = None) -> list[Answer]:
    """Rows of the tasks that ``agent`` (None: anybody) could claim now, next first."""
    view, names = View(store, agent), ("task_id", "status", "stage", "priority")
    return [
        {**{name: doc[name] for name in names}, **_more_urgent(doc, view.urgent), "title": doc["title"]} for doc in view.ready()
    ]


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
    for doc in by_rank(view.tasks.values(), view.urgent):
        if doc["status"] not in FINAL:
            why = next(view.why(doc), Why("ready", "", "", ""))
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


def _few(words: set[str]) -> str:
    return few(sorted(words))


def explain_one(store: Store, task_id: str, agent: str | None = None) -> Answer:
    """Whether this task could be claimed, and every reason why not; its ``place`` among those that can, 1 for the next.

    Where another that waits for it makes it more urgent than its own priority, how urgent it is, and which one that is.
    """
    view = View(store, agent)
    doc = view.tasks.get(task_id)
    if doc is None:
        from .lifecycle import missing

        raise missing(store, task_id)
    why = [reason.text for reason in view.why(doc)]
    answer = {"task_id": task_id, "status": doc["status"], "ready": not why, "why": why}
    if not why:
        answer["place"] = 1 + [one["task_id"] for one in view.ready()].index(task_id)
    if more := _more_urgent(doc, view.urgent):
        answer |= {**more, "urgent_for": view.urgent[task_id].by}
    return answer


def nodes(store: Store, everything: bool = False) -> Answer:
    """The graph of `graph` as data: ``nodes``, a row a task, and ``edges``, each a task and one that it depends on."""
    every_task = every(store)
    urgent = urgencies(every_task)
    docs = by_rank((doc for doc in every_task.values() if everything or doc["status"] not in FINAL), urgent)
    rows = [{**_row(store, doc, urgent), "hold": doc["hold"]} for doc in docs]
    return {
        "nodes": [{name: value for name, value in row.items() if value not in (None, "")} for row in rows],
        "edges": [{"task_id": doc["task_id"], "depends_on": dep} for doc in docs for dep in doc["depends_on"]],
    }


def graph(store: Store, fmt: str, everything: bool = False, whole: bool = False) -> str:
    """The dependency graph of the tasks that are not final (``everything``: of all), drawn as ``fmt``; see `graph.render`."""
    from . import graph as drawing

    docs = [doc for doc in every(store).values() if everything or doc["status"] not in FINAL]
    edges = {doc["task_id"]: doc["depends_on"] for doc in docs}
    if fmt == "svg":
        return drawing.svg(drawing.render(docs, edges, "dot", whole))
    return drawing.render(docs, edges, fmt, whole)
