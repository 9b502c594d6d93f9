"""Claims: taking a ready task, so that of any number that try at once exactly one has it.

Promised: owner, token, lease and the reservation of the task's ``touched_paths`` are taken in one transaction, or
nothing is.  Without an id the task is the first by priority, then age, that this agent can take.  A task under
somebody else's reservation is parked in the index until that reservation ends, so that thousands of them are looked
at once and not at every claim; the lock is given up in between.  The live holder who claims again by id gets the same
token again.

Not promised: order among claims that wait at the same time; whoever has the lock first.

A waiting claim (``wait``) sleeps on the journal and tries again after records about tasks, reservations or agents,
when the next lease runs out, and every `LOOK` seconds, which also renews what the waiter holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.tasks import lifecycle as tasks
from mbox.reservations import reserving as reservations
from mbox.agents import registry as agents
from mbox.format import places
from mbox.format.documents import FINAL, Document
from mbox.errors import MboxError, Nothing, NotYours, TimedOut, Usage
from mbox.tasks.notes import last_checkpoint, shown
from mbox.tasks.lifecycle import Answer
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.index.queries import Held
    from mbox.journal.segments import Tail
    from mbox.opening import OpenStore
    from mbox.format.patterns import Pattern
    from mbox.store.store import Store

LOOKED = 1000
"""Open tasks that are looked at one by one to say why none of them can be claimed."""

PARKED = 512
"""Tasks that one transaction looks at and parks before it gives up the lock and goes on in the next."""

WAKING = ("task.", "reserve.", "agent.", "store.", "team.")
"""Operations after which a waiting claim may find what it did not find before."""


LOOK = 20.0
"""Seconds after which a waiting claim tries again, whatever it is told."""


class Wish(NamedTuple):
    """What a claimer asks for.  ``lease`` is in seconds; None is the configured time."""

    stage: str | None = None
    label: str | None = None
    lease: float | None = None
    reserve: bool = True
    start: bool = False


Stand = Callable[[Transaction, list[str]], None]


class Draining(Nothing):
    """The claimer's team takes no new tasks."""


class NoneReady(Nothing):
    """No task can be claimed; ``open`` are the tasks that are not final, which `told` looks at for the reasons.

    Where there are more than `LOOKED` of them, the index's counts have to do.
    """

    def __init__(self, tx: Transaction, wish: Wish) -> None:
        active, queued = tx.index.open_counts()
        few = active + queued <= LOOKED
        said = "" if few else f": {active} in work, {queued} queued; `task ready --explain` says why"
        super().__init__(f"nothing ready{said}")
        self.wish = wish
        self.open = tx.index.tasks_where() if few else None


class NotNow(Nothing):
    """The task cannot be claimed before something else happens: a dependency, a hold."""


def claim(store: OpenStore, actor: Actor, wish: Wish, dry_run: bool = False) -> Answer:
    """Take the next ready task; `Nothing` with the counts if there is none."""
    try:
        return claim_next(store, actor, wish, dry_run)
    except NoneReady as error:
        raise told(store, actor, error) from None


def told(store: Store, actor: Actor, error: NoneReady) -> Nothing:
    """``error`` with the reasons why nothing is ready, looked up without the lock."""
    from mbox.tasks import ready

    wish = error.wish
    if error.open is None:
        return error
    return Nothing(f"nothing ready: {ready.why_none(store, actor.name, error.open, wish.stage, wish.label)}")


def claim_next(store: OpenStore, actor: Actor, wish: Wish, dry_run: bool = False) -> Answer:
    """Take the next ready task; `NoneReady`, which says no reasons yet, if there is none."""
    while True:
        parked: list[tuple[str, str]] = []
        answer = store.transact(lambda tx: _claim_next(store, tx, wish, parked, dry_run), actor, dry_run)  # noqa: B023
        if answer is not None:
            return answer


def _claim_next(store: OpenStore, tx: Transaction, wish: Wish, parked: list[tuple[str, str]],
                dry_run: bool) -> Answer | None:  # fmt: skip
    """The claim, or None where many tasks were parked, or there is more to sweep, and the search must go on."""
    agent = agents.still_current(tx)
    _refuse_draining(tx, agent)
    name, able = agent["agent"], agent["capabilities"]
    parked.clear()
    standing: list[tuple[str, Pattern]] = []
    found = None
    for task_id in tx.index.candidates(able, wish.stage, wish.label, name):
        doc = tx.read(places.task(task_id))
        if doc is None or obstacle(tx, doc, able):
            continue
        rid = _blocked_by(tx, name, doc, standing)
        if rid is None:
            found = doc
            break
        parked.append((task_id, rid))
        if len(parked) >= PARKED and not dry_run:
            break
    if parked and not dry_run:
        tx.index.park(parked)
    if found:
        return _take(store, tx, found, wish)
    if (len(parked) >= PARKED or _more_to_sweep(tx)) and not dry_run:
        return None
    raise NoneReady(tx, wish)


def _refuse_draining(tx: Transaction, agent: Document) -> None:
    if agent["team"] is None:
        return
    from mbox.team import lifecycle as teams

    if team := teams.draining(tx.read, agent):
        raise Draining(f"draining: team {team} takes no new tasks")


def _blocked_by(tx: Transaction, name: str, doc: Document, standing: list[tuple[str, Pattern]]) -> str | None:
    """The reservation that is in the way.  ``standing`` are those met before in this transaction: asked first."""
    for text in doc["touched_paths"] if standing else ():
        wanted = reservations.stored(tx.store, text)
        for rid, pattern in standing:
            if reservations.meet(tx.store, wanted, pattern):
                return rid
    found = blocker(tx, name, doc)
    if found is None:
        return None
    standing.append((found.rid, reservations.stored(tx.store, found.pattern)))
    return found.rid


def _more_to_sweep(tx: Transaction) -> bool:
    """Whether something has run out that this command did not come to (a command sweeps so many and no more)."""
    due = tx.index.next_due()
    return due is not None and due <= tx.mono and tx.store.sweep is not None


def claim_id(store: OpenStore, actor: Actor, task_id: str, wish: Wish, token: int | None = None,
             dry_run: bool = False, waiting: Stand | None = None) -> Answer:  # fmt: skip
    """Take this task.  `NotYours` if it or its paths are held, `Nothing` if something else is in the way.

    ``waiting`` is called, under the lock, with the paths for which the caller will wait; it may refuse (`waits`).

    Its live holder gets the same token again; one who had the task before, under another token, must show ``token``,
    for what runs under the older one must not go on.
    """

    def decide(tx: Transaction) -> Answer | None:
        agent = agents.still_current(tx)
        doc = tasks.find(tx, task_id)
        if doc["status"] in tasks.ACTIVE:
            if not dry_run and _more_to_sweep(tx):
                return None
            if waiting and not tasks.is_holder(tx, doc, token):
                waiting(tx, doc["touched_paths"])
            return _again(tx, doc, token)
        if token is not None:
            raise NotYours(tasks.why_not(tx, doc, token))
        _refuse_draining(tx, agent)
        if doc["status"] in FINAL:
            raise Nothing(f"{task_id} is {doc['status']}")
        if why := obstacle(tx, doc, agent["capabilities"]):
            raise NotNow(f"{task_id}: {why}")
        if blocked := blocker(tx, actor.name, doc):
            if waiting:
                waiting(tx, doc["touched_paths"])
            raise NotYours(f"{task_id}: {reservations.describe(tx, blocked, f'task claim {task_id}')}")
        return _take(store, tx, doc, wish)

    while (answer := store.transact(decide, actor, dry_run)) is None:
        pass
    return answer


def _again(tx: Transaction, doc: Document, token: int | None) -> Answer:
    """The same answer again, for the live holder."""
    ident, actor = doc["task_id"], tx.actor
    if not tasks.is_holder(tx, doc, token):
        raise NotYours(tasks.why_not(tx, doc, token))
    if token is None and tx.index.held_before(ident, actor.name, doc["token"]):
        raise Usage(f"{ident}: you held it before under another token; say --token of the claim you mean")
    lease = tx.lease(places.task_lease(ident))
    left = lease.left(tx.store.host) if lease else tx.store.settings.lease
    own = [rid for rid in tx.index.reservations_of(task=ident) if (r := tx.read(places.reservation(rid)))
           and r["agent"] == actor.name]  # fmt: skip
    return {**_answer(tx, doc, own[0] if own else None, left), "already": True}


def blocker(tx: Transaction, name: str, doc: Document) -> Held | None:
    """The pattern of somebody else that is in the way of claiming the task, or None."""
    return reservations.blocker(tx, name, doc["touched_paths"]) if doc["touched_paths"] else None


def obstacle(tx: Transaction, doc: Document, able: list[str]) -> str:
    """Why a task that is not claimed cannot be, but for reservations; "" if it can."""
    if doc["status"] != "queued":
        return f"is {'in review' if doc['status'] == 'review' else doc['status']}"
    if doc["hold"]:
        return f"is on hold: {doc['hold']}"
    lacking = [word for word in doc["requires"] if word not in able]
    if lacking:
        return f"wants an agent that can {', '.join(lacking)}"
    for dep in doc["depends_on"]:
        other = tx.read(places.task(dep))
        if other is None or other["status"] != "done":
            return f"depends on {dep}, which is {other['status'] if other else 'gone'}"
    return ""


def _take(store: OpenStore, tx: Transaction, doc: Document, wish: Wish) -> Answer:
    """Owner, reservation, lease and token, in this transaction."""
    ident, actor = doc["task_id"], tx.actor
    seconds = wish.lease or agents.lease_time(store, actor, store.config.lease)
    rid = None
    if wish.reserve and doc["touched_paths"]:
        reserved = reservations.take(tx, actor, doc["touched_paths"], "exclusive", doc["title"], ident, seconds)
        rid = reserved["reservation_id"]
    elif wish.start:
        tasks.want_reservation(store, tx, doc)
    token = tx.grant(places.task_lease(ident), actor, seconds)
    doc.update(
        status="running" if wish.start else "claimed", owner=actor.name, incarnation=actor.incarnation, token=token,
        reviewer=None,
    )  # fmt: skip
    tasks.put(tx, doc)
    tx.record("task.claim", [ident, rid] if rid else [ident])
    return _answer(tx, doc, rid, seconds)


def _answer(tx: Transaction, doc: Document, rid: str | None, left: float) -> Answer:
    """What the claimer needs to begin: empty fields are left out when it is printed."""
    found = tx.notes(places.notes(doc["task_id"]))
    return {
        "task_id": doc["task_id"],
        "status": doc["status"],
        "title": doc["title"],
        "stage": doc["stage"],
        "token": doc["token"],
        "left": reservations.span(left),
        "touched_paths": doc["touched_paths"],
        "reservation_id": rid,
        "description": doc["description"],
        "round": doc["round"] if doc["round"] > 1 else None,
        "attempt_count": doc["attempt_count"] or None,
        "reason": doc["reason"],
        "last_note": shown(found[-1]) if found else None,
        "last_checkpoint": last_checkpoint(found),
    }


# -- waiting -----------------------------------------------------------------------------------------------------------


def wait(store: OpenStore, attempt: Callable[[], Answer], actor: Actor, seconds: float,
         by_id: bool = False) -> Answer:  # fmt: skip
    """Repeat ``attempt`` (a claim) when something may have changed, for at most ``seconds``, then `TimedOut`.

    `Nothing` at once where nothing is queued or in work any more.  ``by_id``: the claim of a given task, which waits
    for its holder and for reservations too.
    """
    from mbox.system.watch import Watcher

    until = store.host.mono() + seconds
    while True:
        segment = store.end().segment
        paths = [store.absolute(places.LOGS), store.journal.path(segment)]
        with Watcher(paths, store.watch_backend, store.config.poll, store.say) as watcher:
            while True:
                try:
                    return attempt()
                except Draining:
                    raise
                except NotNow as error:
                    why: MboxError = error
                except Nothing as error:
                    if by_id or not sum(_state(store, actor)[:2]):
                        raise _final(store, actor, error) from None
                    why = error
                except NotYours as error:
                    if not by_id:
                        raise
                    why = error
                seen = store.tail
                due = _state(store, actor)[2]
                if not _sleep(store, watcher, seen, until, due):
                    raise TimedOut(f"{_final(store, actor, why)} (after {seconds:g}s)")
                if store.end().segment != segment:
                    break


def _final(store: OpenStore, actor: Actor, why: MboxError) -> MboxError:
    """What a claim that waited in vain is told: the reasons are looked up once, not at each try."""
    return told(store, actor, why) if isinstance(why, NoneReady) else why


def _state(store: OpenStore, actor: Actor) -> tuple[int, int, float | None]:
    """Tasks in work, tasks queued, and when the next lease runs out."""
    return store.transact(lambda tx: (*tx.index.open_counts(), tx.index.next_due()), actor, dry_run=True)


def _sleep(store: OpenStore, watcher: Any, seen: Tail, until: float, due: float | None) -> bool:
    """Sleep until a try is worth it; False when the time is over."""
    look = store.host.mono() + LOOK
    if due is not None:
        look = min(look, due)
    while True:
        now = store.host.mono()
        if now >= until:
            return False
        if now >= look:
            return True
        watcher.wait(min(until, look) - now)
        if store.is_behind():
            return True
        end = store.end()
        for _, record in store.journal.records(seen, end):
            if record["op"].startswith(WAKING):
                return True
        seen = end
