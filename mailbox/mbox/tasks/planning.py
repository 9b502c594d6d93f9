"""Planning: adding tasks, importing a plan, changing what a task says.

Promised: a plan is imported whole or not at all, in one record; its tasks are one microsecond apart, so that their age
follows the file.  A dependency that is nowhere is refused with the nearest ids, a cycle with its members named, when
it is made.  The same ``key`` from the same caller is the same task, also after a crash; with other content it is
refused.

Not promised: that a changed task reaches who works on it already; the answer's warning says so.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mbox.tasks import graph
from mbox.tasks import lifecycle as tasks
from mbox.reservations import reserving as reservations
from mbox.format import documents
from mbox.format import places
from mbox.format.documents import FINAL, Document
from mbox.tasks.drafts import Draft, cycle_of, outside, without_cycles
from mbox.errors import NotFound, Refused, Usage
from mbox.system.host import stamp
from mbox.tasks.lifecycle import Answer
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore

NAMED = 100
"""Ids that the answer of an import names at most; more are in the journal."""


def _document(store: OpenStore, draft: Draft, ident: str, created_at: str) -> Document:
    return documents.new(
        "task", task_id=ident, title=draft.title, description=draft.description, stage=draft.stage,
        status=draft.status, hold=draft.hold, depends_on=list(draft.depends_on),
        touched_paths=list(draft.touched_paths), requires=list(draft.requires), labels=list(draft.labels),
        priority=draft.priority, max_attempts=draft.max_attempts or store.config.max_attempts, reason=draft.reason,
        payload=draft.payload, created_at=created_at,
        finished_at=(draft.finished_at or created_at) if draft.status in FINAL else None,
    )  # fmt: skip


def _check_paths(store: OpenStore, paths: Sequence[str]) -> None:
    for path in paths:
        reservations.parsed(store, path)


def _check_deps(tx: Transaction, ident: str, deps: Sequence[str]) -> None:
    for dep in deps:
        if dep == ident:
            raise Refused(f"{ident} cannot depend on itself ({ident} → {ident})")
        tasks.find(tx, dep)


# -- one task ----------------------------------------------------------------------------------------------------------


def add(store: OpenStore, actor: Actor, draft: Draft, key: str | None = None, dry_run: bool = False) -> Answer:
    """Add one task; its id.  `Usage` if the id is taken, or the key with other content; `NotFound` for a dependency."""
    _check_paths(store, draft.touched_paths)
    fingerprint = _fingerprint(draft) if key is not None else ""

    def decide(tx: Transaction) -> Answer:
        tasks.acting(tx)
        if key is not None:
            known = tx.index.key(actor.name, key, tx.wall - store.config.keys_kept)
            if known:
                return _known(tx, key, known.id, known.print == fingerprint)
        ident = draft.id or f"t{tx.take()}"
        if tx.read(places.task(ident)) is not None:
            raise Usage(f"task {ident} is there already; `task update {ident}` changes it")
        _check_deps(tx, ident, draft.depends_on)
        doc = _document(store, draft, ident, tx.now)
        tasks.put(tx, doc)
        tx.record("task.add", [ident], key=[key, fingerprint] if key is not None else None)
        return tasks.said(doc)

    return store.transact(decide, actor, dry_run)


def _fingerprint(draft: Draft) -> str:
    """What tells this content from any other under the same key: two CRCs, of the text and of its reverse."""
    data = documents.compact(["task.add", *draft._replace(where="")]).encode()
    return f"{crc32(data):08x}{crc32(data[::-1]):08x}-{len(data)}"


def _known(tx: Transaction, key: str, ident: str, same: bool) -> Answer:
    """The answer to a key that was used before."""
    if not same:
        raise Usage(f"--key {key} made {ident} from other content; take another key for another task")
    doc = tx.read(places.task(ident))
    if doc is None:
        raise NotFound(f"--key {key} made {ident}, which is gone")
    return tasks.said(doc, already=True)


# -- a plan ------------------------------------------------------------------------------------------------------------


def import_drafts(store: OpenStore, actor: Actor, drafts: Sequence[Draft], drop_cycles: bool = False,
                  skip_existing: bool = False, hold_missing: bool = False,
                  dry_run: bool = False) -> Answer:  # fmt: skip
    """Add every draft in one record.  ``hold_missing``: a dependency that is nowhere holds its task (beads)."""
    dropped: list[tuple[str, str]] = []
    if circle := cycle_of(drafts):
        if not drop_cycles:
            where = next(draft.where for draft in drafts if draft.id == circle[0])
            raise Refused(f"{where} is in a cycle: {' → '.join(circle)}; mend it, or --drop-cycles")
        drafts, dropped = without_cycles(drafts)
    answer = store.transact(lambda tx: imported(store, tx, drafts, skip_existing, hold_missing), actor, dry_run)
    if dropped:
        answer["dropped"] = [f"{ident} → {dep}" for ident, dep in dropped]
    return answer


def imported(store: OpenStore, tx: Transaction, drafts: Sequence[Draft], skip_existing: bool = False,
             hold_missing: bool = False) -> Answer:  # fmt: skip
    """Add every draft inside a transaction, with the record ``task.import`` unless there is nothing new."""
    for draft in drafts:
        try:
            _check_paths(store, draft.touched_paths)
        except Usage as error:
            raise Usage(f"{draft.where}: touched_paths: {error}") from None
    tasks.acting(tx)
    fresh = [draft for draft in drafts if not (draft.id and tx.read(places.task(draft.id)))]
    if len(fresh) < len(drafts) and not skip_existing:
        new = {draft.id for draft in fresh}
        there = [draft for draft in drafts if draft.id not in new]
        first, more = there[0], len(there) - 1
        they = f"{first.id} and {more} more are there already; --skip-existing passes them over"
        it = f"{first.id} is there already; --skip-existing passes it over"
        raise Usage(f"{first.where}: task {they if more else it}")
    unknown = [(draft, dep) for draft, dep in outside(fresh) if tx.read(places.task(dep)) is None]
    if unknown and hold_missing:
        from mbox.tasks.beads import hold_for

        fresh = hold_for(fresh, {dep for _, dep in unknown})
    elif unknown:
        raise _unknown(tx, unknown, fresh)
    start, made, ready = round(tx.wall * 1e6), [], 0
    done = {draft.id for draft in fresh if draft.status == "done"}
    for number, draft in enumerate(fresh):
        taken = tx.take()
        doc = _document(store, draft, draft.id or f"t{taken}", stamp((start + number) / 1e6))
        tasks.put(tx, doc)
        made.append(doc["task_id"])
        ready += doc["status"] == "queued" and not doc["hold"] and all(
            dep in done or (tx.read(places.task(dep)) or {}).get("status") == "done" for dep in doc["depends_on"]
        )  # fmt: skip
    if made:
        tx.record("task.import", made)
    return {
        "imported": len(made),
        "skipped": len(drafts) - len(made),
        "ready": ready,
        "held": sum(1 for draft in fresh if draft.hold),
        "done": len(done),
        "task_ids": made if len(made) <= NAMED else [],
    }


def _unknown(tx: Transaction, unknown: list[tuple[Draft, str]], drafts: Sequence[Draft]) -> Usage:
    draft, dep = unknown[0]
    from mbox.errors import meant_id

    hint = meant_id(dep, [other.id for other in drafts if other.id]) or tasks.nearest(tx.store, dep)
    more = f" ({len(unknown) - 1} more like it)" if len(unknown) > 1 else ""
    return Usage(f"{draft.where}: depends on {dep}, which is neither in the plan nor a task{hint}{more}")


# -- changing ----------------------------------------------------------------------------------------------------------


def update(store: OpenStore, actor: Actor, task_id: str, changes: Mapping[str, Any], add_deps: Sequence[str] = (),
           rm_deps: Sequence[str] = (), dry_run: bool = False) -> Answer:  # fmt: skip
    """Set the fields in ``changes`` and change the dependencies; the fields that are different now.

    `Refused`, with the cycle named, where a new dependency would close one, and for a task that is final.
    """
    _check_paths(store, changes.get("touched_paths", ()))

    def decide(tx: Transaction) -> Answer:
        tasks.acting(tx)
        doc = tasks.find(tx, task_id)
        deps = [dep for dep in doc["depends_on"] if dep not in rm_deps]
        fresh = [dep for dep in dict.fromkeys(add_deps) if dep not in deps]
        _check_deps(tx, task_id, fresh)
        circle = graph.cycle_through(task_id, tx.index.dependencies, fresh) if fresh else None
        if circle:
            raise Refused(f"that would be a cycle: {' → '.join(circle)}")
        wanted = {**doc, **changes, "depends_on": [*deps, *fresh]}
        changed = [name for name in doc if doc[name] != wanted[name]]
        if not changed:
            return tasks.said(doc, already=True)
        if doc["status"] in FINAL:
            raise Refused(f"{task_id} is {doc['status']}; `task requeue` first, or add another task")
        if doc["status"] in tasks.ACTIVE:
            tx.warn(f"{task_id} is {doc['status']}: {doc['owner']} and the reservations it holds know nothing of this")
        tasks.put(tx, wanted)
        tx.record("task.update", [task_id], ", ".join(changed))
        return tasks.said(wanted, changed=changed)

    return store.transact(decide, actor, dry_run)
