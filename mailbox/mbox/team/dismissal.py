"""The end of a team's members: told when they have nothing to do, ended when their time is over, what they leave.

`drained` only tells, and changes nothing in the store; `end` ends whoever is left, by the wrapper, else by SIGKILL, and
gives back what is still held.  Both can be done again after a crash: who is gone is gone, what was given back is nobody's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mbox.report import history
from mbox.team import panes as session
from mbox.team import lifecycle as teams
from mbox.liveness import departure as estate
from mbox.git import worktrees
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import MboxError
from mbox.store.transaction import SWEEP

if TYPE_CHECKING:
    from mbox.opening import OpenStore

STEP = 0.1
"""Seconds between two looks at members that are to end."""


def drained(store: OpenStore, docs: list[Document], until: float) -> list[str]:
    """Stop every member that has nothing to do, orchestrators last; who is still up at the time limit.

    Who is waited for, and until when, is said at the start and when that changes.
    """
    told: set[str] = set()
    said = ""
    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + until - time.monotonic()))
    rows = [(row["name"], doc) for doc in docs for row in teams.everybody(store.read, doc)]
    while True:
        running = [(who, doc) for who, doc in rows if session.is_up(store, who)]
        if not running or time.monotonic() >= until:
            return [who for who, _ in running]
        busy = []
        for who, doc in running:
            last = who == doc["orchestrator"] and sum(other is doc for _, other in running) > 1
            if who in told or last:
                continue
            if _is_done(store, who):
                session.tell_to_stop(store, who)
                told.add(who)
            else:
                busy.append(f"{who} ({'unread mail' if store.names(places.new_folder(who)) else 'at work'})")
        text = f"waiting until {clock} for {', '.join(busy)}"
        if busy and text != said:
            store.say(text)
            said = text
        time.sleep(STEP)


def _is_done(store: OpenStore, who: str) -> bool:
    """Whether a member has nothing to read and holds nothing."""
    agent = store.read(places.agent(who))
    if agent is None or store.names(places.new_folder(who)):
        return agent is None
    return not store.transact(lambda tx: estate.holds(tx, who, agent["incarnation"]), SWEEP, dry_run=True)


def end(store: OpenStore, names: list[str], seconds: float, why: str = "its team was dismissed") -> None:
    """End members within ``seconds``, then at once, and give back what is still held."""
    for who in names:
        session.tell_to_stop(store, who)
    for who in session.wait_down(store, names, min(seconds, store.config.stop_grace + 0.5)):
        session.kill(store, who)
    for who in names:
        if (agent := store.read(places.agent(who))) is not None:
            store.transact(lambda tx: estate.settle(tx, who, agent["incarnation"], estate.DEAD, why), SWEEP)  # noqa: B023


def given_back(store: OpenStore, names: list[str], since: int) -> tuple[list[str], list[str]]:
    """Tasks that members held and gave back since ``since``: those queued again, and those that are dead now."""
    records, _ = history.newest(store, history.Filter(since_seq=since), 0)
    ids = [ident for record in records if record["op"] in ("agent.end", "agent.dead") and record["on"][0] in names
           for ident in record["on"][1:]]  # fmt: skip
    docs = [doc for ident in dict.fromkeys(ids) if (doc := store.read(places.task(ident)))]
    return (
        [doc["task_id"] for doc in docs if doc["status"] == "queued"],
        [f"{doc['task_id']}: {doc['reason']}" for doc in docs if doc["status"] == "deadletter"],
    )


def removed_trees(store: OpenStore, rows: list[Document]) -> dict[str, list[str]]:
    """Remove clean working trees; which were kept, and why."""
    removed, kept = [], []
    for row in rows:
        if not row.get("tree"):
            continue
        try:
            why = worktrees.remove(store.root, row["tree"], row["branch"])
        except MboxError as error:
            why = str(error)
        (kept.append(f"{row['tree']} ({row['branch']}): {why}") if why else removed.append(row["tree"]))
    return {"trees_removed": removed, "trees_kept": kept}
