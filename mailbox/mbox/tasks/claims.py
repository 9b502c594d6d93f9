"""Claims: taking a ready task, so that of any number that try at once exactly one has it.

Promised: owner, token, lease and the reservation of the task's ``touched_paths`` are taken in one transaction, or
nothing is; a reservation of them that the claimer kept (``submit --keep``) goes on instead of a second.  Without an id
the task is the first by priority, then age, that this agent can take; one that a more urgent task waits for is as urgent
as that (``docs/decisions/0024``).  A task under somebody else's reservation is parked in the index until that
reservation ends, so that thousands of them are looked at once and not at every claim.  The lock is given up in between,
also when enough was read (`Transaction.is_laden`) or the steps of a decision are spent (`conflicts`): only a task that
alone takes more counts as being under the reservation that it was compared with.  The live holder who claims again by id
gets the same token again.

Not promised: order among claims that wait at the same time; whoever has the lock first.  Nor that a claim which took
several transactions sees what became ready meanwhile and would have come before.

A waiting claim (``wait``) sleeps on the journal and tries again after records about tasks, reservations or agents,
when the next lease runs out, and every `LOOK` seconds, which also renews what the waiter holds.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.agents import presence, registry
from mbox.errors import LeftAlone, MboxError, Nothing, NotYours, TimedOut, Usage
from mbox.format import operations, places
from mbox.format.checks import few
from mbox.format.documents import ACTIVE, FINAL, Document
from mbox.index.answers import Walk
from mbox.reservations import conflicts, reserving
from mbox.store.transaction import Actor, Transaction
from mbox.system import clock

from . import lifecycle
from .lifecycle import Answer
from .notes import last_checkpoint, shown
from .results import Read, produced

if TYPE_CHECKING:
    from mbox.format.patterns import Pattern
    from mbox.index.answers import Held
    from mbox.store.store import Store


LOOKED = 1000
"""Open tasks that are looked at one by one to say why none of them can be claimed."""

PARKED = 512
"""Tasks that one transaction looks at and parks before it gives up the lock and goes on in the next."""

WAKING = (operations.TASK, operations.RESERVE, operations.AGENT, operations.STORE, operations.TEAM, operations.RUN)
"""Operations after which a waiting claim may find what it did not find before."""


LOOK = 20.0
"""Seconds after which a waiting claim tries again, whatever it is told."""


class ClaimRequest(NamedTuple):
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
    """No task can be claimed; ``open`` are the tasks that are not final, which `explained` looks at for the reasons.

    Where there are more than `LOOKED` of them, the index's counts have to do.
    """

    def __init__(self, tx: Transaction, wish: ClaimRequest) -> None:
        active, queued = tx.index.open_counts()
        few = active + queued <= LOOKED
        said = "" if few else f": {active} in work, {queued} queued; `task ready --explain` says why"
        super().__init__(f"nothing ready{said}")
        self.wish = wish
        self.open = tx.index.tasks_where() if few else None


class NotNow(Nothing):
    """The task cannot be claimed before something else happens: a dependency, a hold."""


def claim(store: Store, actor: Actor, wish: ClaimRequest) -> Answer:
    """Take the next ready task; `Nothing` with the counts if there is none."""
    try:
        return claim_next(store, actor, wish)
    except NoneReady as error:
        raise explained(store, actor, error) from None


def explained(store: Store, actor: Actor, error: NoneReady) -> Nothing:
    """``error`` with the reasons why nothing is ready, looked up without the lock."""
    from . import ready

    wish = error.wish
    if error.open is None:
        return error
    return Nothing(f"nothing ready: {ready.why_none(store, actor.name, error.open, wish.stage, wish.label)}")


def claim_next(store: Store, actor: Actor, wish: ClaimRequest) -> Answer:
    """Take the next ready task; `NoneReady`, which says no reasons yet, if there is none."""
    search = _Search()
    while True:
        answer = store.transact(lambda tx: _claim_next(store, tx, wish, search), actor)
        if answer is not None:
            return _shown(answer, store.glance)
        if actor.dry_run:  # which parks nothing
            search.pass_parked()


class _Search:
    """How far the search for a task has come, which may take several transactions."""

    __slots__ = ("parked", "passed", "walk")

    def __init__(self) -> None:
        self.passed: set[str] = set()
        """Tasks of which it is known that they cannot be had."""
        self.parked: list[tuple[str, str]] = []
        """In this transaction: those that are under a reservation, and which."""
        self.walk = Walk()

    def pass_parked(self) -> None:
        """Look no more at what could be parked, where nothing may be."""
        self.passed.update(task_id for task_id, _ in self.parked)


def _claim_next(store: Store, tx: Transaction, wish: ClaimRequest, search: _Search) -> Answer | None:
    """The claim, or None where many tasks were looked at, or there is more to sweep, and the search must go on."""
    agent = registry.still_current(tx)
    _refuse_draining(tx, agent)
    found, goes_on = _find(tx, agent, wish, search)
    if search.parked and not tx.actor.dry_run:
        tx.park(search.parked)
    if found:
        return _take(store, tx, found, wish)
    if goes_on or (not tx.actor.dry_run and _more_to_sweep(tx)):
        return None
    raise NoneReady(tx, wish)


def _find(tx: Transaction, agent: Document, wish: ClaimRequest, search: _Search,
          at_once: bool = False) -> tuple[Document | None, bool]:  # fmt: skip
    """The task that is next for ``agent``, or None, and whether the search was broken off.

    ``at_once``: there is no next transaction in which it could go on, whatever was read.
    """
    name, able = agent["agent"], frozenset(agent["capabilities"])
    parked, passed, walk = search.parked, search.passed, search.walk
    parked.clear()
    standing: list[tuple[str, Pattern]] = []
    found, goes_on, has_moved = None, False, False
    for task_id in tx.index.candidates(able, wish.stage, wish.label, name, walk):
        tx.count(walk.taken())
        if tx.is_laden and has_moved and not at_once:
            goes_on = True
            break
        if not task_id or task_id in passed:
            has_moved = has_moved or not task_id
            continue
        has_moved = True
        doc = tx.glance(places.task(task_id))
        if doc is None or obstacle(tx, doc, able, agent):
            passed.add(task_id)
            continue
        rid = _blocked_by(tx, name, doc, standing)
        if rid is None:
            found = doc
            break
        is_spent = tx.effort.is_spent
        if not (is_spent and parked):  # else the next transaction compares it anew, from the start
            parked.append((task_id, rid))
        if is_spent or len(parked) >= PARKED:
            goes_on = True
            break
    return found, goes_on


def _refuse_draining(tx: Transaction, agent: Document) -> None:
    if agent["team"] is None:
        return
    from mbox.agents import roster

    if team := roster.draining(tx.glance, agent):
        raise Draining(f"draining: team {team} takes no new tasks")


def _blocked_by(tx: Transaction, name: str, doc: Document, standing: list[tuple[str, Pattern]]) -> str | None:
    """The reservation that is in the way.  ``standing`` are those met before in this transaction: asked first."""
    for text in doc["touched_paths"] if standing else ():
        wanted = conflicts.stored(tx.store, text, tx.effort)
        for rid, pattern in standing:
            if conflicts.meet(tx.store, wanted, pattern, tx.effort):
                return rid
    found = blocker(tx, name, doc)
    if found is None:
        return None
    standing.append((found.rid, conflicts.stored(tx.store, found.pattern, tx.effort)))
    return found.rid


def _more_to_sweep(tx: Transaction) -> bool:
    """Whether something has run out that this command did not come to (a command sweeps so many and no more)."""
    due = tx.index.next_due()
    return due is not None and due <= tx.mono


def done_and_next(store: Store, actor: Actor, task_id: str, result: Any = None,
                  token: int | None = None) -> tuple[Answer, Answer | Nothing]:  # fmt: skip
    """End a task and claim the next: what both answer; `Nothing` in place of the claim if nothing is ready.

    Two records: a task that was done stays so, whatever becomes of the claim.  A call that is only tried sees in one
    transaction what the end of the task sets free.
    """
    seen: list[Answer | Nothing] = []

    def then(tx: Transaction, freed: list[str]) -> None:
        seen.append(_or_nothing(lambda: _following(store, tx, freed)))

    answer = lifecycle.done(store, actor, task_id, result, token, then if actor.dry_run else None)
    return answer, seen[-1] if seen else _or_nothing(lambda: claim(store, actor, ClaimRequest()))


def _or_nothing(attempt: Callable[[], Answer]) -> Answer | Nothing:
    try:
        return attempt()
    except Nothing as error:
        return error


def _following(store: Store, tx: Transaction, freed: list[str]) -> Answer:
    """What a claim would answer after what ``tx`` has tried, which made the tasks ``freed`` ready; `Nothing` if none.

    For a trial alone, whose end of a task the index does not know: what that frees is compared with what the index finds.
    """
    agent, wish = registry.still_current(tx), ClaimRequest()
    _refuse_draining(tx, agent)
    search, able = _Search(), frozenset(agent["capabilities"])
    goes_on, found = True, None
    while goes_on:
        found, goes_on = _find(tx, agent, wish, search, at_once=True)
        search.pass_parked()
    docs = [found, *(tx.read(places.task(task_id)) for task_id in freed)]
    fit = [doc for doc in docs if doc and not obstacle(tx, doc, able, agent) and not blocker(tx, agent["agent"], doc)]
    if not fit:
        raise NoneReady(tx, wish)
    tx.go_on()
    first = min(fit, key=lambda doc: (-tx.index.urgency(doc["task_id"]), doc["created_at"], places.number(doc["task_id"])))
    return _shown(_take(store, tx, first, wish), tx.glance)


def claim_id(
    store: Store, actor: Actor, task_id: str, wish: ClaimRequest, token: int | None = None, waiting: Stand | None = None
) -> Answer:
    """Take this task.  `NotYours` if it or its paths are held, `Nothing` if something else is in the way.

    ``waiting`` is called, under the lock, with the paths for which the caller will wait; it may refuse (`Line.stand_for`).

    Its live holder gets the same token again; one who had the task before, under another token, must show ``token``,
    for what runs under the older one must not go on.
    """

    def decide(tx: Transaction) -> Answer | None:
        agent = registry.still_current(tx)
        doc = lifecycle.find(tx, task_id)
        if doc["status"] in ACTIVE:
            if not actor.dry_run and _more_to_sweep(tx):
                return None
            if waiting and not lifecycle.is_holder(tx, doc, token):
                waiting(tx, doc["touched_paths"])
            return _again(tx, doc, token)
        if token is not None:
            raise NotYours(lifecycle.why_not(tx, doc, token))
        _refuse_draining(tx, agent)
        if doc["status"] in FINAL:
            raise Nothing(f"{task_id} is {doc['status']}")
        if why := obstacle(tx, doc, frozenset(agent["capabilities"]), agent):
            raise NotNow(f"{task_id}: {why}")
        if blocked := blocker(tx, actor.name, doc):
            if waiting:
                waiting(tx, doc["touched_paths"])
            raise NotYours(f"{task_id}: {conflicts.describe(tx, blocked, f'task claim {task_id}')}")
        return _take(store, tx, doc, wish)

    while (answer := store.transact(decide, actor)) is None:
        pass
    return _shown(answer, store.glance)


def _again(tx: Transaction, doc: Document, token: int | None) -> Answer:
    """The same answer again, for the live holder."""
    ident, actor = doc["task_id"], tx.actor
    if not lifecycle.is_holder(tx, doc, token):
        raise NotYours(lifecycle.why_not(tx, doc, token))
    if token is None and tx.index.held_before(ident, actor.name, doc["token"]):
        raise Usage(f"{ident}: you held it before under another token; say --token of the claim you mean")
    lease = tx.lease(places.task_lease(ident))
    left = lease.left(tx.store.host) if lease else tx.store.config.lease
    own = [rid for rid in tx.index.reservations_of(task=ident) if (r := conflicts.document(tx, rid))
           and r["agent"] == actor.name]  # fmt: skip
    return {**_answer(tx, doc, own[0] if own else None, left), "already": True}


def blocker(tx: Transaction, name: str, doc: Document) -> Held | None:
    """The pattern of somebody else that is in the way of claiming the task, or None."""
    return conflicts.blocker(tx, name, doc["touched_paths"]) if doc["touched_paths"] else None


def obstacle(tx: Transaction, doc: Document, able: Set[str], agent: Document | None = None) -> str:
    """Why a task that is not claimed cannot be (by ``agent``), but for reservations; "" if it can."""
    if doc["status"] != "queued":
        return f"is {'in review' if doc['status'] == 'review' else doc['status']}"
    if doc["hold"]:
        return f"is on hold: {doc['hold']}"
    lacking = [word for word in doc["requires"] if word not in able]
    if lacking:
        return f"wants an agent that can {few(lacking)}"
    for dep in doc["depends_on"]:
        try:
            state = tx.status(dep)
        except LeftAlone as error:
            tx.pass_over(error)
            state = ""
        if state != "done":
            return f"depends on {dep}, which is {state or tx.store.unseen(places.task(dep))}"
    if doc.get("order"):
        from .orders import obstacle as not_for

        return not_for(doc, agent, tx.store.root)
    return ""


def _take(store: Store, tx: Transaction, doc: Document, wish: ClaimRequest) -> Answer:
    """Owner, reservation, lease and token, in this transaction."""
    ident, actor = doc["task_id"], tx.actor
    seconds = wish.lease or presence.lease_time(store, actor, store.config.lease)
    rid = None
    if wish.reserve and doc["touched_paths"]:
        kept = reserving.ReservationRequest(doc["touched_paths"], seconds, task_id=ident)
        reserved = reserving.again(tx, kept, tx.index.reservations_of(task=ident)) or reserving.take(
            tx, actor, doc["touched_paths"], "exclusive", doc["title"], ident, seconds, is_free=True
        )
        rid = reserved["reservation_id"]
    elif wish.start:
        lifecycle.want_reservation(store, tx, doc)
    token = tx.grant(places.task_lease(ident), actor, seconds)
    doc.update(
        status="running" if wish.start else "claimed", owner=actor.name, incarnation=actor.incarnation, token=token,
        reviewer=None,
    )  # fmt: skip
    lifecycle.put(tx, doc)
    tx.record(operations.TASK_CLAIM, [ident, rid] if rid else [ident])
    return _answer(tx, doc, rid, seconds)


def _answer(tx: Transaction, doc: Document, rid: str | None, left: float) -> Answer:
    """What the claimer needs to begin: empty fields are left out when it is printed."""
    found: Any = tx.glance(places.notes(doc["task_id"])) or []
    return {
        "task_id": doc["task_id"],
        "status": doc["status"],
        "title": doc["title"],
        "stage": doc["stage"],
        "token": doc["token"],
        "left": clock.span(left),
        "touched_paths": doc["touched_paths"],
        "reservation_id": rid,
        "description": doc["description"],
        "round": doc["round"] if doc["round"] > 1 else None,
        "attempt_count": doc["attempt_count"] or None,
        "reason": doc["reason"],
        "last_note": shown(found[-1]) if found else None,
        "last_checkpoint": last_checkpoint(found),
        "results": doc["depends_on"],
    }


def _shown(answer: Answer, read: Read) -> Answer:
    """``answer`` with what the task's dependencies produced; read without the lock where it can be: nothing is decided by it."""
    after = answer.pop("results")
    return {**answer, **(produced(after, read) if after else {})}


# -- waiting -----------------------------------------------------------------------------------------------------------


def wait(store: Store, attempt: Callable[[], Answer], actor: Actor, seconds: float,
         by_id: bool = False) -> Answer:  # fmt: skip
    """Repeat ``attempt`` (a claim) when something may have changed, for at most ``seconds``, then `TimedOut`.

    `Nothing` at once where nothing is queued or in work any more, unless it is for the tasks of a run that goes on: between two
    of its steps none is open.  ``by_id``: the claim of a given task, which waits
    for its holder and for reservations too.
    """
    from mbox.store.waiting import Watch, journal_paths, until

    claimer = _Claimer(store, attempt, actor, by_id)
    with Watch(store, lambda: journal_paths(store)) as watch:
        answer = until(store, watch, claimer.look, seconds, lambda: claimer.due)
    if answer is None:
        raise TimedOut(f"{_final(store, actor, claimer.why)} (after {seconds:g}s)")
    return answer


class _Claimer:
    """A claim that is tried when it is worth it, by what the journal has said since the last try."""

    __slots__ = ("_actor", "_attempt", "_by_id", "_seen", "_store", "due", "why")

    def __init__(self, store: Store, attempt: Callable[[], Answer], actor: Actor, by_id: bool) -> None:
        self._store, self._attempt, self._actor, self._by_id = store, attempt, actor, by_id
        self._seen = store.end()
        self.due = 0.0
        """CLOCK_MONOTONIC at which it is worth a try, whatever happened."""
        self.why: MboxError = Nothing("nothing ready")

    def look(self) -> Answer | None:
        """What the claim answers; None if it cannot be had now, or would not go otherwise than the last time."""
        if self._store.host.mono() < self.due and not self._is_woken():
            return None
        try:
            return self._attempt()
        except (Nothing, NotYours) as error:
            self._seen = self._store.tail
            self.why = error
            active, queued, lease = _state(self._store, self._actor)
            if not self._may_change(error, bool(active or queued) or self._is_of_run(error)):
                raise _final(self._store, self._actor, error) from None
        look = self._store.host.mono() + LOOK
        self.due = look if lease is None else min(look, lease)
        return None

    def _may_change(self, error: MboxError, is_open: bool) -> bool:
        """Whether the claim may go otherwise later, while tasks are open or not."""
        if isinstance(error, Draining):
            return False
        if isinstance(error, NotNow):
            return True
        return self._by_id if isinstance(error, NotYours) else is_open and not self._by_id

    def _is_of_run(self, error: MboxError) -> bool:
        """Whether it is for the tasks of a run that has not ended."""
        if not isinstance(error, NoneReady) or error.wish.label is None:
            return False
        from .orders import run_of

        run = run_of(error.wish.label)
        doc = self._store.glance(places.run(run)) if run else None
        return doc is not None and not doc["ended_at"]

    def _is_woken(self) -> bool:
        """Whether a record since the last look may change the answer."""
        end, seen = self._store.end(), self._seen
        self._seen = end
        return any(record["op"].startswith(WAKING) for _, record in self._store.journal.records(seen, end))


def _final(store: Store, actor: Actor, why: MboxError) -> MboxError:
    """What a claim that waited in vain is told: the reasons are looked up once, not at each try."""
    return explained(store, actor, why) if isinstance(why, NoneReady) else why


def _state(store: Store, actor: Actor) -> tuple[int, int, float | None]:
    """Tasks in work, tasks queued, and when the next lease runs out."""
    return store.transact(lambda tx: (*tx.index.open_counts(), tx.index.next_due()), actor.trial())
