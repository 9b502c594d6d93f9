"""The watchdog: the one process of a store that wakes, expires, gives back, restarts and commits.

Nothing depends on it for being right: whoever writes sweeps, and every lease runs out by itself.  It makes the store
lively.  Each round (`Watchdog.scan`) does, in this order:

1. *dead*: an agent whose heartbeat is dead (another boot, its process gone, or silent for ``dead_after``).  What is left
   of its program's group is ended and seen to be dead, then everything that it held goes back in one transaction,
   ``agent.dead`` with the reason.  – Killed between the two: the group is gone, the next watchdog settles.
2. *expired*: leases and mail whose time has run out, a record each, as any command's sweep does.
3. *respawn*: a member of a team that is up, whose policy asks for it and whose program is gone, is started again, at
   most ``times`` ``within`` a time; then it is *broken*: left for a person, which is told once.
4. *bells*: agents with unread mail and a pane are rung for (`bells` decides when).  One that does not react is held and
   reported to its superior, once, as mail.  A line that an earlier ring had to leave in an input box is taken away
   where nothing is unread any more.
5. *audit*: every ``audit.interval`` a commit, if there is something new.
6. What was done, and why, is written to ``cache/watchdog.json``, for people and for the next watchdog.

It sleeps until the journal or a file in ``status/`` changes (then only bells are looked at), or until the next lease,
bell or scan is due.  A scan that finds nothing writes nothing to the journal.

What a SIGKILL leaves: at any point what one of those transactions left, whole or not at all; a line typed into a pane
and not yet taken, which the next look at that pane finds (`doorbell`); and the memory of the last written round, so that
at most one bell is rung, or one report sent, a second time.

One for a store: a kernel lock on ``locks/@watchdog``, for as long as the process lives.  A failure of one step is noted,
said once, and does not keep the others from their work; only a store that is gone ends it.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mbox.liveness import nudges as bells
from mbox.liveness import departure as estate
from mbox.mail import sending as mail
from mbox.agents import registry as agents
from mbox.store import mutex as locks
from mbox.format import places
from mbox.liveness.nudges import Bell
from mbox.format.documents import Document, compact
from mbox.errors import MboxError, NoStore, NotYours, Refused, WentBack
from mbox.system.host import stamp, start_ticks
from mbox.reservations.reserving import span
from mbox.store.transaction import SWEEP, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore

KEPT = 50
"""How many of the last deeds are kept."""

ROUNDS = 200
"""How many expiries one scan handles at most."""

PATIENCE = 1.0
"""Seconds for which the lock is waited for: somebody may only be looking whether it is held."""

CALM = 0.2
"""Seconds between two looks, whatever happens."""


class Hands(Protocol):
    """What is done outside the store; handed in, because the domain knows no terminal."""

    def nudge(self, agent: Document, status: Document) -> str:
        """Ring; what came of it: `bells.TAKEN`, busy, typing, …; empty where its program is never typed into."""

    def left(self, agent: str) -> bool:
        """Whether a ring that could not end may have left its line in the agent's input box."""

    def tidy(self, agent: Document, status: Document) -> str:
        """Take such a line away; idle once it is gone, else what is in the way."""

    def respawn(self, team: Document, member: Document) -> str:
        """Start a member's program again; empty, or why that could not be done."""

    def end_program(self, agent: str, beat: Document) -> list[int]:
        """End what is left of a dead agent's process group; the pids that were ended."""

    def audit(self) -> str:
        """Make an audit commit; what was committed, or empty if nothing was new."""


class Deed(NamedTuple):
    """One thing that was done: when, what, to whom, and why."""

    ts: str
    what: str
    on: str
    why: str


class Watchdog:
    """The rounds over one store, and what is remembered between them."""

    def __init__(self, store: OpenStore, hands: Hands) -> None:
        self.store = store
        self.hands = hands
        config = store.config
        self.rules = bells.Rules(config.nudge_again, config.nudge_longest, config.nudge_tries)
        self.bells: dict[str, Bell] = {}
        self.reported: set[str] = set()
        self.spawned: dict[str, list[float]] = {}
        self.broken: dict[str, str] = {}
        self.did: deque[Deed] = deque(maxlen=KEPT)
        self.errors: dict[str, str] = {}
        self.started_at = stamp(store.host.wall())
        self.scanned_at = ""
        self.audited = store.host.mono()
        self._settled: dict[str, tuple[int, int]] = {}
        self._next_lease: float | None = None
        self._recall()

    # -- a round -------------------------------------------------------------------------------------------------

    def scan(self) -> float:
        """One whole round; CLOCK_MONOTONIC at which the next is due."""
        for step in (self._dead, self._expired, self._respawn, self._ring, self._audit):
            with self._noted(step.__name__.strip("_")):
                step()
        self.scanned_at = stamp(self.store.host.wall())
        self.write()
        return self.next_at()

    def look(self) -> float:
        """Only the bells: something happened; CLOCK_MONOTONIC at which the next round or look is due."""
        before = list(self.did), dict(self.bells)
        with self._noted("ring"):
            self._ring()
        if (list(self.did), self.bells) != before:
            self.write()
        return self.next_at()

    def next_at(self) -> float:
        """When something is due if nothing changes, but for the regular scan."""
        host = self.store.host
        times = [host.mono() + self.store.config.watchdog_scan]
        if self._next_lease is not None:
            times.append(self._next_lease)
        for name, bell in self.bells.items():
            due = bells.next_at(bell, self._unread(name))
            if due is not None:
                times.append(due)
        return max(min(times), host.mono() + CALM)

    @contextmanager
    def _noted(self, step: str) -> Iterator[None]:
        """A failure of one step is said once, and leaves the others alone; a store that is gone ends all."""
        try:
            yield
        except (NoStore, WentBack):
            raise
        except (MboxError, OSError) as error:
            if self.errors.get(step) != str(error):
                self.store.say(f"{step}: {error}")
                self._did("failed", step, str(error))
            self.errors[step] = str(error)
        else:
            self.errors.pop(step, None)

    def _did(self, what: str, on: str, why: str) -> None:
        self.did.append(Deed(stamp(self.store.host.wall()), what, on, why))

    def _agents(self) -> list[Document]:
        return [doc for doc in self.store.documents(places.AGENTS) if not doc["retired_at"]]

    # -- the dead ------------------------------------------------------------------------------------------------

    def _dead(self) -> None:
        for doc in self._agents():
            beat = agents.heartbeat(self.store, doc["agent"])
            if beat is None or agents.is_fresh(self.store, beat):
                continue
            seen = (beat["incarnation"], self.store.end().seq)
            if self._settled.get(doc["agent"]) != seen:
                self._settle(doc["agent"], beat)
                self._settled[doc["agent"]] = (beat["incarnation"], self.store.end().seq)

    def _settle(self, name: str, beat: Document) -> None:
        """End what is left of the program, then give back what it held."""
        why = self._cause(beat)
        ended = self.hands.end_program(name, beat)
        if ended:
            why += f"; ended what was left of its program: {', '.join(map(str, ended))}"
        store, incarnation = self.store, beat["incarnation"]

        def decide(tx: Transaction) -> estate.Settled | None:
            now = agents.heartbeat(store, name)
            if now is not None and now["incarnation"] == incarnation and agents.is_fresh(store, now):
                return None  # it beats again
            return estate.settle(tx, name, incarnation, estate.DEAD, why)

        settled = store.transact(decide, SWEEP)
        if settled:
            gone = f"; dead letters: {', '.join(settled.dead + settled.dead_mail)}" if settled.dead or settled.dead_mail else ""
            self._did("gave back", name, f"{why}; {', '.join(settled.ids)}{gone}")
        elif ended:
            self._did("ended", name, why)

    def _cause(self, beat: Document) -> str:
        if beat["machine"] != self.store.host.machine:
            return "the machine was started anew since its last heartbeat"
        if agents.is_gone(beat):
            return f"its process {beat['pid']} is gone"
        return f"no heartbeat for {span(self.store.host.mono() - beat['mono'])}"

    # -- what has run out ----------------------------------------------------------------------------------------

    def _expired(self) -> None:
        store, seq = self.store, self.store.end().seq
        for _ in range(ROUNDS):
            due = store.transact(lambda tx: tx.index.next_due(), SWEEP)  # which sweeps first
            if due is None or due > store.host.mono():
                break
        self._next_lease = due
        count = store.end().seq - seq
        if count:
            self._did("expired", "store", f"{count} records: `mbox log --since {seq}`")

    # -- starting again ------------------------------------------------------------------------------------------

    def _respawn(self) -> None:
        for team in self.store.documents(places.TEAMS):
            if team["state"] == "up":
                for member in team["members"] or []:
                    self._member(team, member)

    def _member(self, team: Document, member: Document) -> None:
        name, policy = member["name"], member.get("respawn")
        if not policy or member.get("removed") or name in self.broken or self._lives(name):
            return
        now, within = self.store.host.mono(), float(policy.get("within") or self.store.config.respawn_window)
        times = int(policy.get("times", self.store.config.respawns))
        tries = [at for at in self.spawned.get(name, []) if now - at < within]
        if len(tries) >= times:
            why = f"it ended {len(tries) + 1} times within {span(within)}; a person has to look"
            self.broken[name] = why
            self._did("broken", name, why)
            self._report(name, team.get("orchestrator"), f"{name} is broken", f"{name}: {why}")
            return
        self.spawned[name] = [*tries, now]
        failed = self.hands.respawn(team, member)
        self._did("not respawned" if failed else "respawned", name, failed or f"{len(tries) + 1} of {times} times")

    def _lives(self, name: str) -> bool:
        """Whether the member's program is there, or has only just been started."""
        if agents.alive(self.store, name):
            return True
        started = self.spawned.get(name)
        return bool(started and self.store.host.mono() - started[-1] < min(5.0, self.store.config.dead_after))

    # -- bells ---------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        quiet = self._unnudged()
        for doc in self._agents():
            name, before = doc["agent"], self.bells.pop(doc["agent"], Bell())
            unread = self._unread(name)
            bell = bells.seen(before, unread)
            if not (unread and bell.held):
                self.reported.discard(name)
            status = agents.status(self.store, name) if unread and name not in quiet else None
            if status is None or not status["pane"] or agents.alive(self.store, name) is False:
                continue  # nobody to ring for: what is remembered of it would only keep this process awake
            self._ring_for(doc, status, bell, unread)

    def _ring_for(self, doc: Document, status: Document, bell: Bell, unread: frozenset[str]) -> None:
        """Ring for one agent, if it is time; a failure is looked at again as late as a pane that is busy."""
        name, now = doc["agent"], self.store.host.mono()
        if not bells.is_due(bell, unread, now):
            self.bells[name] = bell
            return
        try:
            ring = self.hands.tidy if unread == bells.LEFT else self.hands.nudge
            outcome = "busy" if agents.said_by_hooks(status) == "busy" else ring(doc, status)
        except (MboxError, OSError):
            self.bells[name] = bells.rung(bell, unread, "failed", now, self.rules)
            raise
        if outcome:  # else its program is never typed into
            self._rung(doc, bells.rung(bell, unread, outcome, now, self.rules), bell.outcome)

    def _rung(self, doc: Document, bell: Bell, before: str) -> None:
        name = doc["agent"]
        self.bells[name] = bell
        if bell.outcome == bells.TAKEN or bell.outcome != before:
            what = "nudged" if bell.outcome == bells.TAKEN else "not nudged"
            self._did(what, name, f"{bell.outcome}: {bells.told(bell.ids)}")
        if bell.held and name not in self.reported:
            self.reported.add(name)
            why = f"{bell.tries} bells were taken and none of {len(bell.ids)} messages was read"
            self._did("held", name, why)
            self._report(name, doc["reports_to"], f"{name} does not react", f"{name}: {why}; it is left alone until then")

    def _unnudged(self) -> set[str]:
        """Members whose team does not want them nudged."""
        teams = [doc for doc in self.store.documents(places.TEAMS) if doc["state"] != "down"]
        return {row["name"] for doc in teams for row in doc["members"] or [] if row.get("nudge") is False}

    def _unread(self, name: str) -> frozenset[str]:
        """What there is to ring for; `bells.LEFT` where nothing is, but for a line that was typed and not taken."""
        unread = frozenset(entry[:-5] for entry in self.store.names(places.new_folder(name)))
        return unread or (bells.LEFT if self.hands.left(name) else unread)

    def _report(self, name: str, to: str | None, subject: str, body: str) -> None:
        """Tell a superior by mail; where there is none, a person finds it in `mbox status`."""
        if not to or to == name:
            return

        def decide(tx: Transaction) -> None:
            ident = mail.system(tx, to, subject, body)
            if ident:
                tx.record("mail.send", [ident])

        self.store.transact(decide, SWEEP)

    # -- audit ---------------------------------------------------------------------------------------------------

    def _audit(self) -> None:
        now = self.store.host.mono()
        if now - self.audited < self.store.config.audit_interval:
            return
        self.audited = now
        try:
            made = self.hands.audit()
        except Refused:  # there is no git here
            return
        if made:
            self._did("committed", "audit", made)

    # -- memory --------------------------------------------------------------------------------------------------

    def doc(self) -> dict[str, Any]:
        """What is written after each round."""
        now = self.store.host.mono()
        return {
            "pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "machine": self.store.host.machine,
            "started_at": self.started_at, "scan_at": self.scanned_at, "mono": now, "errors": self.errors,
            "bells": {name: bell.doc(now) for name, bell in self.bells.items()}, "reported": sorted(self.reported),
            "spawned": {name: [now - at for at in times] for name, times in self.spawned.items()},
            "broken": self.broken, "did": [deed._asdict() for deed in self.did],
        }  # fmt: skip

    def write(self) -> None:
        """Leave what was done for people and for the next watchdog; a failure costs only that."""
        try:
            self.store.check_folder(places.CACHE)
            self.store.disk.replace(self.store.absolute(places.WATCHDOG), (compact(self.doc()) + "\n").encode())
        except OSError as error:
            self.errors["memory"] = str(error)

    def _recall(self) -> None:
        """Go on where the last watchdog ended, if it was on this machine in this life."""
        doc = last(self.store)
        if doc is None or doc.get("machine") != self.store.host.machine:
            return
        now = self.store.host.mono()
        passed = now - doc["mono"]
        try:
            self.bells = {name: Bell.of(bell, now - passed) for name, bell in doc["bells"].items()}
            self.spawned = {name: [now - passed - ago for ago in times] for name, times in doc["spawned"].items()}
            self.broken, self.reported = dict(doc["broken"]), set(doc["reported"])
            self.did.extend(Deed(**deed) for deed in doc["did"])
        except (LookupError, TypeError, ValueError, AttributeError):
            self.bells, self.spawned, self.broken, self.reported = {}, {}, {}, set()

    def mend(self) -> None:
        """Members of a team that was called again are not broken any more."""
        for team in self.store.documents(places.TEAMS):
            for member in team["members"] or []:
                if self._lives(member["name"]):
                    self.broken.pop(member["name"], None)


def last(store: OpenStore) -> dict[str, Any] | None:
    """What the last watchdog wrote; None if there is none, or it cannot be read."""
    try:
        doc = json.loads(store.bytes_of(places.WATCHDOG))
        return doc if isinstance(doc["did"], list) and isinstance(doc["mono"], (int, float)) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def alone(store: OpenStore) -> AbstractContextManager[int]:
    """Be the one watchdog of the store; `NotYours`, naming the other, if there is one."""

    def refusal() -> NotYours:
        doc = last(store)
        who = f" under pid {doc['pid']}" if doc else ""
        return NotYours(f"a watchdog of {store.root} runs already{who}; `mbox watchdog --status` tells what it does")

    return locks.alone(store, places.WATCHDOG_LOCK, PATIENCE, refusal)


def serve(store: OpenStore, dog: Watchdog, pause: Callable[[float], object] = time.sleep) -> None:
    """Scan, and sleep until something happens or is due; ends only by an exception, such as a store that is gone."""
    from mbox.system.watch import Watcher

    host = store.host
    due = 0.0
    while True:
        segment = store.end().segment
        paths = [store.absolute(places.LOGS), store.journal.path(segment), store.absolute(places.STATUS)]
        with Watcher(paths, store.watch_backend, store.config.poll, store.say) as watcher:
            while store.end().segment == segment:
                if host.mono() >= due:
                    dog.mend()
                    due = dog.scan()
                    next_scan = min(due, host.mono() + store.config.watchdog_scan)
                if watcher.wait(max(0.0, due - host.mono())):
                    pause(CALM / 4)  # several records often come together
                    if store.is_behind():
                        store.catch_up()
                    due = min(next_scan, dog.look())
                    pause(CALM)
