"""Planning: adding tasks, importing a plan, changing what a task says.

Promised: a plan is imported whole or not at all, in one record; its tasks are one microsecond apart, so that their age
follows the file.  A dependency that is nowhere is refused with the nearest ids, a cycle with its members named, when
it is made.  The same ``key`` from the same caller is the same task, also after a crash; with other content it is
refused.

Who holds a task is told by mail of a dependency that is added meanwhile.  Not promised: that any other change reaches who
works on it already; the answer's warning says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mbox.errors import NotFound, Refused, Usage
from mbox.format import documents, keys, operations, places
from mbox.format.documents import ACTIVE, FINAL, Document
from mbox.format.fields import DEPENDENCIES, check_words
from mbox.reservations import conflicts
from mbox.store.transaction import Actor, Transaction
from mbox.system.clock import stamp

from . import graph, lifecycle
from .drafts import TASKS, TaskDraft, cycle_of, outside, without_cycles
from .lifecycle import Answer
from .orders import is_of_run

if TYPE_CHECKING:
    from mbox.store.store import Store

DEPENDENTS = 100_000
"""Tasks that may depend on one: its end has to be noted for each of them."""

EDGES = 50_000
"""Dependencies that the tasks of one plan may have together: what one record brings into the index in a second."""

FOLLOWED = 250_000
"""Dependencies that are followed to see whether a new one closes a cycle: half a second."""

NAMED = 100
"""Ids that the answer of an import names at most; more are in the journal."""


def _document(store: Store, draft: TaskDraft, ident: str, created_at: str) -> Document:
    more = {"gates": list(draft.gates)} if draft.gates else {}
    return documents.new(
        "task", task_id=ident, title=draft.title, description=draft.description, stage=draft.stage,
        status=draft.status, hold=draft.hold, depends_on=list(draft.depends_on),
        touched_paths=list(draft.touched_paths), requires=list(draft.requires), labels=list(draft.labels),
        priority=draft.priority, max_attempts=draft.max_attempts or store.config.max_attempts, reason=draft.reason,
        payload=draft.payload, created_at=created_at,
        finished_at=(draft.finished_at or created_at) if draft.status in FINAL else None, **more,
    )  # fmt: skip


def _check_paths(store: Store, paths: Sequence[str]) -> None:
    try:
        conflicts.check(store, paths)
    except Usage as error:
        raise Usage(f"touched_paths: {error}") from None


def check_drafts(store: Store, drafts: Sequence[TaskDraft]) -> None:
    """`Usage` for what is wrong with a draft by itself, or with the size of the plan; before the lock is taken."""
    if len(drafts) > TASKS:
        raise Usage(f"the plan has {len(drafts)} tasks, at most {TASKS} go in one: import it in parts")
    for draft in store.along(drafts, "tasks checked", len(drafts)):
        try:
            _check_draft(store, draft)
        except Usage as error:
            raise Usage(f"{draft.where}: {error}") from None
    edges = sum(len(draft.depends_on) for draft in drafts)
    if edges > EDGES:
        raise Usage(f"the plan has {edges} dependencies, at most {EDGES} go in one: import it in parts")


def _check_draft(store: Store, draft: TaskDraft) -> None:
    _check_count(draft.depends_on)
    check_words(draft._asdict())
    _check_paths(store, draft.touched_paths)


def _check_count(deps: Sequence[str]) -> None:
    if len(deps) > DEPENDENCIES:
        raise Usage(
            f"depends_on: {len(deps)} tasks, at most {DEPENDENCIES}: put a task between that stands for a part of them"
        )


def _check_deps(tx: Transaction, ident: str, deps: Sequence[str]) -> None:
    for dep in deps:
        if dep == ident:
            raise Refused(f"{ident} cannot depend on itself ({ident} → {ident})")
        if not tx.status(dep):
            raise lifecycle.missing(tx.store, dep)
    _check_dependents(tx, deps)


def _check_dependents(tx: Transaction, deps: Iterable[str]) -> None:
    """`Refused` where one more that depends on each of ``deps``, as often as it stands there, would be too many."""
    for dep, fresh in Counter(deps).items():
        if tx.index.count_dependents(dep) + fresh > DEPENDENTS:
            raise Refused(f"{dep} would have more than {DEPENDENTS} tasks that depend on it: put a task between")


# -- one task ----------------------------------------------------------------------------------------------------------


def add(store: Store, actor: Actor, draft: TaskDraft, key: str | None = None) -> Answer:
    """Add one task; its id.  `Usage` if the id is taken, or the key with other content; `NotFound` for a dependency."""
    _check_draft(store, draft)
    fingerprint = _fingerprint(draft) if key is not None else ""

    def decide(tx: Transaction) -> Answer:
        lifecycle.acting(tx)
        if key is not None:
            known = tx.index.key(actor.name, key, tx.wall - store.config.keys_kept)
            if known:
                return _known(tx, key, known.id, known.print == fingerprint)
        ident = draft.id or _fresh(tx)
        if tx.read(places.task(ident)) is not None:
            raise Usage(f"task {ident} is there already; `task update {ident}` changes it")
        _check_deps(tx, ident, draft.depends_on)
        doc = _document(store, draft, ident, tx.now)
        lifecycle.put(tx, doc)
        tx.record(operations.TASK_ADD, [ident], key=[key, fingerprint] if key is not None else None)
        return lifecycle.answer(doc)

    return store.transact(decide, actor)


def _fresh(tx: Transaction) -> str:
    """The id of a new task; none that stands there, though the journal may not know it."""
    while tx.read(places.task(ident := f"t{tx.take()}")) is not None:
        pass
    return ident


def _fingerprint(draft: TaskDraft) -> str:
    """What tells this task from any other under the same key, wherever it came from; without gates as before there were any."""
    *said, gates = draft._replace(where="")
    return keys.fingerprint([operations.TASK_ADD, *said, *([gates] if gates else [])])


def _known(tx: Transaction, key: str, ident: str, same: bool) -> Answer:
    """The answer to a key that was used before."""
    if not same:
        raise Usage(f"--key {key} made {ident} from other content; take another key for another task")
    doc = tx.read(places.task(ident))
    if doc is None:
        raise NotFound(f"--key {key} made {ident}, which is gone")
    return lifecycle.answer(doc, already=True)


# -- a plan ------------------------------------------------------------------------------------------------------------


def import_drafts(store: Store, actor: Actor, drafts: Sequence[TaskDraft], drop_cycles: bool = False,
                  skip_existing: bool = False, hold_missing: bool = False) -> Answer:  # fmt: skip
    """Add every draft in one record.  ``hold_missing``: a dependency that is nowhere holds its task (beads)."""
    check_drafts(store, drafts)
    dropped: list[tuple[str, str]] = []
    if circle := cycle_of(drafts):
        if not drop_cycles:
            where = next(draft.where for draft in drafts if draft.id == circle[0])
            raise Refused(f"{where} is in a cycle: {' → '.join(circle)}; mend it, or --drop-cycles")
        drafts, dropped = without_cycles(drafts)
    answer = store.transact(lambda tx: imported(store, tx, drafts, skip_existing, hold_missing), actor)
    if dropped:
        answer["dropped"] = [f"{ident} → {dep}" for ident, dep in dropped]
    return answer


def imported(store: Store, tx: Transaction, drafts: Sequence[TaskDraft], skip_existing: bool = False,
             hold_missing: bool = False) -> Answer:  # fmt: skip
    """Add every draft inside a transaction, with the record ``task.import`` unless there is nothing new.

    The drafts have passed `check_drafts`.
    """
    lifecycle.acting(tx)
    status_of = cache(tx.status)  # read once, however many depend on it
    fresh = [draft for draft in drafts if not (draft.id and tx.status(draft.id))]
    if len(fresh) < len(drafts) and not skip_existing:
        raise _there_already(drafts, fresh)
    unknown = [(draft, dep) for draft, dep in outside(fresh) if not status_of(dep)]
    if unknown and hold_missing:
        from .beads import hold_for

        fresh = hold_for(fresh, {dep for _, dep in unknown})
    elif unknown:
        raise _unknown(tx, unknown, fresh)
    _check_dependents(tx, (dep for _, dep in outside(fresh)))
    start, made, ready = round(tx.wall * 1e6), [], 0
    done = {draft.id for draft in fresh if draft.status == "done"}
    for number, draft in enumerate(store.along(fresh, "tasks added", len(fresh))):
        if draft.id:
            tx.take()  # a number for each thing that a record makes
        doc = _document(store, draft, draft.id or _fresh(tx), stamp((start + number) / 1e6))
        lifecycle.put(tx, doc)
        made.append(doc["task_id"])
        ready += doc["status"] == "queued" and not doc["hold"] and all(
            dep in done or status_of(dep) == "done" for dep in doc["depends_on"]
        )  # fmt: skip
    if made:
        tx.record(operations.TASK_IMPORT, made)
    return {
        "imported": len(made),
        "skipped": len(drafts) - len(made),
        "ready": ready,
        "held": sum(1 for draft in fresh if draft.hold),
        "done": len(done),
        "task_ids": made if len(made) <= NAMED else [],
    }


def _there_already(drafts: Sequence[TaskDraft], fresh: Sequence[TaskDraft]) -> Usage:
    new = {draft.id for draft in fresh}
    there = [draft for draft in drafts if draft.id not in new]
    first, more = there[0], len(there) - 1
    they = f"{first.id} and {more} more are there already; --skip-existing passes them over"
    it = f"{first.id} is there already; --skip-existing passes it over"
    return Usage(f"{first.where}: task {they if more else it}")


def _unknown(tx: Transaction, unknown: list[tuple[TaskDraft, str]], drafts: Sequence[TaskDraft]) -> Usage:
    draft, dep = unknown[0]
    from mbox.errors import meant_id

    hint = meant_id(dep, [other.id for other in drafts if other.id]) or lifecycle.nearest(tx.store, dep)
    more = f" ({len(unknown) - 1} more like it)" if len(unknown) > 1 else ""
    return Usage(f"{draft.where}: depends on {dep}, which is neither in the plan nor a task{hint}{more}")


# -- changing ----------------------------------------------------------------------------------------------------------


def update(store: Store, actor: Actor, task_id: str, changes: Mapping[str, Any], add_deps: Sequence[str] = (),
           rm_deps: Sequence[str] = ()) -> Answer:  # fmt: skip
    """Set the fields in ``changes`` and change the dependencies; the fields that are different now.

    `Refused`, with the cycle named, where a new dependency would close one, and for a task that is final.
    """
    _check_paths(store, changes.get("touched_paths", ()))
    check_words(changes)
    gone, wished = frozenset(rm_deps), dict.fromkeys(add_deps)

    def decide(tx: Transaction) -> Answer:
        lifecycle.acting(tx)
        doc = lifecycle.find(tx, task_id)
        if is_of_run(doc) and {*changes} - {"priority"} | {*wished, *gone}:
            raise Refused(f"{task_id} is what its run makes it, but for its priority; `workflow tell` says something to it")
        deps = {dep: None for dep in doc["depends_on"] if dep not in gone}
        fresh = [dep for dep in wished if dep not in deps]
        _check_count([*deps, *fresh] if fresh else [])
        _check_deps(tx, task_id, fresh)
        circle = graph.cycle_through(task_id, _counted(tx.index.dependencies), fresh) if fresh else None
        if circle:
            raise Refused(f"that would be a cycle: {' → '.join(circle)}")
        wanted = {**doc, **changes, "depends_on": [*deps, *fresh]}
        changed = [name for name in doc if doc[name] != wanted[name]]
        if not changed:
            return lifecycle.answer(doc, already=True)
        if doc["status"] in FINAL:
            raise Refused(f"{task_id} is {doc['status']}; `task requeue` first, or add another task")
        told = _tell_holder(tx, wanted, fresh) if doc["status"] in ACTIVE else ""
        lifecycle.put(tx, wanted)
        tx.record(operations.TASK_UPDATE, [task_id], ", ".join(changed))
        return lifecycle.answer(wanted, changed=changed, msg_id=told)

    return store.transact(decide, actor)


def _tell_holder(tx: Transaction, doc: Document, fresh: Sequence[str]) -> str:
    """Tell who holds the task by mail that it waits for ``fresh`` now, as far as those are not done; the message's id.

    Of other changes the caller is warned: nobody reads a task again while at work on it.
    """
    ident, owner = doc["task_id"], doc["owner"] or ""
    waits = [f"{dep} ({status})" for dep in fresh if (status := lifecycle.find(tx, dep)["status"]) != "done"]
    told = ""
    if waits and (owner, doc["incarnation"]) != tx.actor.who:
        from mbox.mail import sending

        body = f"{ident} depends on {', '.join(waits)} since now\n\ntask show {ident}\ntask release {ident}"
        told = sending.system(tx, owner, f"{ident} waits for {', '.join(waits)}", body, ident, "task_update")
    rest = f"{owner} was told by {told}; the reservations it holds" if told else f"{owner} and the reservations it holds"
    tx.warn(f"{ident} is {doc['status']}: {rest} know nothing of this")
    return told


def _counted(deps_of: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """``deps_of``, which asks of the store for at most `FOLLOWED` dependencies."""
    left = FOLLOWED

    def counted(task_id: str) -> list[str]:
        nonlocal left
        found = deps_of(task_id)
        left -= len(found) + 1
        if left < 0:
            raise Refused(
                f"more than {FOLLOWED} dependencies lead on from there, too many to see whether one is a cycle: "
                "depend on a task with fewer before it"
            )
        return found

    return counted
