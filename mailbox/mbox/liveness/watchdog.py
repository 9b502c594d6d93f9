"""The watchdog: the one process of a store that wakes, expires, gives back, restarts and commits.

Nothing depends on it for being right: whoever writes sweeps, and every lease runs out by itself.  It makes the store
lively.  Each round (`Watchdog.scan`) does, in this order:

1. *dead*: an agent whose heartbeat is dead (another boot, its process gone, or silent for ``dead_after``; silence counts
   only once this process has been awake for a ``heartbeat``: `freeze`).  What is left of its program's group is ended and
   seen to be dead, then everything that it held goes back in one transaction, ``agent.dead`` with the reason.  – Killed
   between the two: the group is gone, the next watchdog settles.
2. *expired*: leases and mail whose time has run out, a record each, as any command's sweep does.
3. *respawn*: a member of a team that is up and was called here (`trust`), whose policy asks for it and whose program is
   gone, is started again, at most ``times`` ``within`` a time; then it is *broken*: left for a person, which is told once.
   A try that started nothing does not count.
4. *screens*: of an agent that sits at a question or a limit its superior hears, once, as mail (`stuck`).
5. *bells*: agents with unread mail and a pane are rung for (`nudges` decides when).  One that does not react is
   reported to its superior, once, as mail.  A line that an earlier ring had to leave in an input box is taken away
   where nothing is unread any more.
6. *stalled*: an agent that has something to do and gives no sign (`presence.stalled`) is reported to its superior, once.
7. *errands*: what a command in a sandbox cannot do is started outside of it.
8. *audit*: every ``audit.interval`` a commit, if there is something new.
9. What was done, and why, is written to ``cache/watchdog.json``, for people and for the next watchdog.

It sleeps until the journal or a file in ``status/`` changes (then only bells and errands are looked at), a wrapper ends
(`vigil`), or the next lease, bell or scan is due.  One that was started by a wrapper or `team up` ends when no team is up and
nobody runs under a wrapper; one that a person started stays.  A scan that finds nothing writes nothing to the journal.

What a SIGKILL leaves: at any point what one of those transactions left, whole or not at all; a line typed into a pane
and not yet taken, which the next look at that pane finds (`doorbell`); and the memory of the last written round, so that
at most one bell is rung, or one report sent, a second time.

One for a store: a kernel lock on ``locks/@watchdog``, for as long as the process lives.  A failure of one step is noted,
said once, and does not keep the others from their work; only a store that is gone ends it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mbox.agents import presence, registry, roster
from mbox.errors import MboxError, NoStore, NotYours, Refused, WentBack, told
from mbox.format import keys, operations, places
from mbox.format.documents import Document, compact
from mbox.mail import sending
from mbox.store import mutex
from mbox.store.transaction import SWEEP, Transaction
from mbox.store.waiting import Watch, journal_paths, until
from mbox.system import interpreter
from mbox.system.clock import span, stamp
from mbox.system.proc import start_ticks

from . import departure, nudges, stuck
from .freeze import Awake
from .nudges import Bell
from .stuck import Stuck
from .vigil import Vigil

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.system.host import Clock


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
        """Ring; what came of it: `nudges.TAKEN`, busy, typing, …; empty where its program is never typed into."""

    def look(self, agent: Document, status: Document) -> tuple[str, str]:
        """What its pane shows, idle, busy, dialog, limit, …, and the words there; both empty where no screen is known."""

    def left(self, agent: str) -> bool:
        """Whether a ring that could not end may have left its line in the agent's input box."""

    def tidy(self, agent: Document, status: Document) -> str:
        """Take such a line away; idle once it is gone, else what is in the way."""

    def may_respawn(self, team: Document, member: Document) -> bool:
        """Whether somebody called exactly this member, here: what a store from elsewhere says starts nothing."""

    def see(self, member: Document) -> None:
        """Take in what a member that may be started again was handed when it was started, while it runs."""

    def respawn(self, team: Document, member: Document) -> str:
        """Start a member's program again; empty, or why that could not be done."""

    def end_program(self, agent: str, beat: Document) -> list[int]:
        """End what is left of a dead agent's process group; the pids that were ended."""

    def errand(self, note: Document) -> str:
        """Start what somebody cannot do from where it stands; empty, or why that could not be."""

    def drive(self, run: Document) -> bool:
        """Start an engine of a run that goes on in the background; False where nobody here detached it."""

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

    def __init__(self, store: Store, hands: Hands) -> None:
        self.store = store
        self.hands = hands
        config = store.config
        self.rules = nudges.Rules(config.nudge_again, config.nudge_longest, config.nudge_tries)
        self.bells: dict[str, Bell] = {}
        self.deaf: dict[str, str] = {}
        """Who does not react to its bell, and what its screen says."""
        self.stuck: dict[str, Stuck] = {}
        self.moved: set[str] = set()
        """Whose screen was seen to be neither."""
        self.stalled: set[str] = set()
        self.spawned: dict[str, list[float]] = {}
        self.broken: dict[str, str] = {}
        self.foreign: set[str] = set()
        """Members that were not called here, of which that was noted."""
        self.failed: dict[str, str] = {}
        """Why members could not be started again, as it was noted."""
        self.awake = Awake(store.host, config.heartbeat)
        self._doubtful = False
        """Whether somebody is silent of whom that does not count yet."""
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
        self.awake.go_on()
        self._doubtful = False
        for step in (self._see, self._dead, self._expired, self._respawn, self._screens, self._ring, self._stalled,
                     self._errands, self._runs, self._audit):  # fmt: skip
            with self._noted(step.__name__.strip("_")):
                step()
        self.scanned_at = stamp(self.store.host.wall())
        self.write()
        return self.next_at()

    def once(self) -> None:
        """One whole round; where somebody is only silent, another after a ``heartbeat``, when that counts."""
        self.scan()
        if self._doubtful:
            self.store.host.sleep(self.store.config.heartbeat)
            self.scan()

    def finish(self) -> None:
        """The last thing to do: what would have been committed in time."""
        self.audited = self.store.host.mono() - self.store.config.audit_interval
        with self._noted("audit"):
            self._audit()
        self.write()

    def look(self) -> float:
        """Only the bells: something happened; CLOCK_MONOTONIC at which the next round or look is due."""
        before = list(self.did), dict(self.bells)
        for step in (self._see, self._ring, self._errands):
            with self._noted(step.__name__.strip("_")):
                step()
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
            due = nudges.next_at(bell, self._unread(name))
            if due is not None:
                times.append(due)
        if self._doubtful:
            times.append(self.awake.since + self.store.config.heartbeat)
        return max(min(times), host.mono() + CALM)

    @contextmanager
    def _noted(self, step: str) -> Iterator[None]:
        """A failure of one step is said once, and leaves the others alone; a store that is gone ends all."""
        try:
            yield
        except (NoStore, WentBack):
            raise
        except (MboxError, OSError) as error:
            why = told(error)
            if self.errors.get(step) != why:
                self.store.say(f"{step}: {why}")
                self._did("failed", step, why)
            self.errors[step] = why
        else:
            self.errors.pop(step, None)

    def _did(self, what: str, on: str, why: str) -> None:
        self.did.append(Deed(stamp(self.store.host.wall()), what, on, why))

    def _agents(self) -> list[Document]:
        return [doc for doc in self.store.documents(places.AGENTS) if not doc["retired_at"]]

    # -- the dead ------------------------------------------------------------------------------------------------

    def _dead(self) -> None:
        for doc in self._agents():
            beat = presence.heartbeat(self.store, doc["agent"])
            if beat is None or not self._is_dead(beat):
                continue
            seen = (beat["incarnation"], self.store.end().seq)
            if self._settled.get(doc["agent"]) != seen:
                self._settle(doc["agent"], beat)
                self._settled[doc["agent"]] = (beat["incarnation"], self.store.end().seq)
                self.awake.go_on()

    def _is_dead(self, beat: Document) -> bool:
        """Whether a beat is a dead one's: of mere silence only whoever has been awake himself may say so."""
        self.awake.note()
        if presence.is_fresh(self.store, beat):
            return False
        if beat["machine"] != self.store.host.machine or presence.is_gone(beat):
            return True
        may_judge = self.store.host.mono() - self.awake.since >= self.store.config.heartbeat
        self._doubtful |= not may_judge
        return may_judge

    def _settle(self, name: str, beat: Document) -> None:
        """End what is left of the program, then give back what it held."""
        why = self._cause(beat)
        ended = self.hands.end_program(name, beat)
        if ended:
            why += f"; ended what was left of its program: {', '.join(map(str, ended))}"
        store, incarnation = self.store, beat["incarnation"]

        def beats(_tx: Transaction) -> bool:
            now = presence.heartbeat(store, name)
            return now is not None and now["incarnation"] == incarnation and presence.is_fresh(store, now)

        settled = departure.give_back(store, SWEEP, name, incarnation, operations.AGENT_DEAD, why, beats)
        if settled.ids:
            gone = f"; dead letters: {', '.join(settled.dead + settled.dead_mail)}" if settled.dead or settled.dead_mail else ""
            self._did("gave back", name, f"{why}; {', '.join(settled.ids)}{gone}")
        elif ended:
            self._did("ended", name, why)

    def _cause(self, beat: Document) -> str:
        if beat["machine"] != self.store.host.machine:
            return "the machine was started anew since its last heartbeat"
        if presence.is_gone(beat):
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

    def _see(self) -> None:
        for team in self.store.documents(places.TEAMS):
            if team["state"] == "up":
                for member in team["members"] or []:
                    if member.get("respawn") and not member.get("removed"):
                        self.hands.see(member)

    def _respawn(self) -> None:
        for team in self.store.documents(places.TEAMS):
            if team["state"] == "up":
                for member in team["members"] or []:
                    self._member(team, member)

    def _member(self, team: Document, member: Document) -> None:
        name, policy = member["name"], member.get("respawn")
        if not policy or member.get("removed") or name in self.broken or self._lives(name):
            return
        if not self.hands.may_respawn(team, member):
            if name not in self.foreign:
                self._did("not respawned", name, f"team {team['team']} was not called here: `team up FILE`, or `mbox trust`")
            self.foreign.add(name)
            return
        self.foreign.discard(name)
        now, within = self.store.host.mono(), float(policy.get("within") or self.store.config.respawn_window)
        times = int(policy.get("times", self.store.config.respawns))
        tries = [at for at in self.spawned.get(name, []) if now - at < within]
        if len(tries) >= times:
            why = f"it ended {len(tries) + 1} times within {span(within)}; a person has to look"
            self.broken[name] = why
            self._did("broken", name, why)
            self._report(name, team.get("orchestrator"), f"{name} is broken", f"{name}: {why}")
            return
        failed = self.hands.respawn(team, member)
        if failed:  # nothing ran, so nothing ended
            if self.failed.get(name) != failed:
                self._did("not respawned", name, failed)
            self.failed[name] = failed
            return
        self.failed.pop(name, None)
        self.spawned[name] = [*tries, now]
        self._did("respawned", name, f"{len(tries) + 1} of {times} times")

    def _lives(self, name: str) -> bool:
        """Whether the member's program is there, or has only just been started."""
        beat = presence.heartbeat(self.store, name)
        if beat is not None and not self._is_dead(beat):
            return True
        started = self.spawned.get(name)
        return bool(started and self.store.host.mono() - started[-1] < min(5.0, self.store.config.dead_after))

    # -- screens -------------------------------------------------------------------------------------------------

    def _screens(self) -> None:
        """Note who gets nowhere, and tell its superior at the second scan that sees it."""
        store, names = self.store, set()
        for doc in self._agents():
            name = doc["agent"]
            status = presence.status(store, name)
            if status is None or not status["pane"] or not presence.alive(store, name):
                continue
            names.add(name)
            state, words = self._looked(doc, status)
            if state in (stuck.DIALOG, stuck.LIMIT):
                before, host, moved = self.stuck.get(name), store.host, name in self.moved
                self.stuck[name] = stuck.seen(before, state, words, host.wall(), host.mono(), self.rules.longest, moved)
                if self.stuck[name].scans > 1 and not self.stuck[name].told:
                    self._tell_stuck(doc, self.stuck[name])
            elif state in stuck.MOVES:
                self._moves(name, state)
        for name in self.stuck.keys() - names:
            self._moves(name, stuck.IDLE)

    def _looked(self, doc: Document, status: Document) -> tuple[str, str]:
        try:
            return self.hands.look(doc, status)
        except (MboxError, OSError):  # the bell says why, if there is anything to ring for
            return "", ""

    def _moves(self, name: str, state: str) -> None:
        """It goes on: whatever waited for that is due, once it is idle: a turn may end where it was."""
        self.stuck.pop(name, None)
        self.moved.add(name)
        bell = self.bells.get(name)
        if bell and bell.outcome in (stuck.DIALOG, stuck.LIMIT) and state == stuck.IDLE:
            self.bells[name] = bell._replace(next_at=self.store.host.mono())

    def _tell_stuck(self, doc: Document, at: Stuck) -> None:
        name, mend = doc["agent"], "a person has to answer it in its pane" if at.state == stuck.DIALOG else "it goes on by itself"
        self._did("stuck", name, f"{at.what()}: {stuck.short(at.words)}")
        body = f"{name} {at.what()} since {at.since}; {mend}. Its screen says:\n{at.words}"
        self._report(name, doc["reports_to"], f"{name} {at.what()}", body, keys.own("stuck", name, at.about))
        self.stuck[name] = at._replace(told=True)

    # -- bells ---------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        quiet = self._unnudged()
        for doc in self._agents():
            name, before = doc["agent"], self.bells.pop(doc["agent"], Bell())
            unread = self._unread(name)
            bell = nudges.seen(before, unread)
            if not unread or (before.ids and not bell.ids):
                self.deaf.pop(name, None)
            status = presence.status(self.store, name) if unread and name not in quiet else None
            if status is None or not status["pane"] or not presence.alive(self.store, name):
                continue  # nobody to ring for: what is remembered of it would only keep this process awake
            if not bell.ids and unread <= {*status["offered"]}:
                bell = nudges.offered(unread, self.store.host.mono(), self.rules)
            self._ring_for(doc, status, bell, unread)

    def _ring_for(self, doc: Document, status: Document, bell: Bell, unread: frozenset[str]) -> None:
        """Ring for one agent, if it is time; a failure is looked at again as late as a pane that is busy."""
        name, now = doc["agent"], self.store.host.mono()
        if not nudges.is_due(bell, unread, now):
            self.bells[name] = bell
            return
        at = self.stuck.get(name)
        limited = at is not None and at.state == stuck.LIMIT and unread != nudges.LEFT
        if limited and at is not None and now < at.until:
            waits = nudges.rung(bell, unread, stuck.LIMIT, now, self.rules)._replace(next_at=at.until)
            self._rung(doc, status, waits, bell.outcome)
            return
        try:
            ring = self.hands.tidy if unread == nudges.LEFT else self.hands.nudge
            outcome = "busy" if presence.is_in_turn(self.store, name) else ring(doc, status)
        except (MboxError, OSError):
            self.bells[name] = nudges.rung(bell, unread, "failed", now, self.rules)
            raise
        if limited and outcome == nudges.TAKEN:  # what takes it is the program that says its limit, so that is no try
            rung = nudges.rung(bell, unread, stuck.LIMIT, now, self.rules)._replace(next_at=now + self.rules.longest)
        else:
            rung = nudges.rung(bell, unread, outcome, now, self.rules)
        if outcome:  # else its program is never typed into
            self._rung(doc, status, rung, bell.outcome)

    def _rung(self, doc: Document, status: Document, bell: Bell, before: str) -> None:
        name = doc["agent"]
        self.bells[name] = bell
        if bell.outcome == nudges.TAKEN or bell.outcome != before:
            what = "nudged" if bell.outcome == nudges.TAKEN else "not nudged"
            self._did(what, name, f"{bell.outcome}: {nudges.reason(bell.ids)}")
        if bell.tries >= min(nudges.TOLD, self.rules.tries) and name not in self.deaf:
            words = self.deaf[name] = self._looked(doc, status)[1][-stuck.LONGEST:]
            why = f"{bell.tries} bells were taken and none of {len(bell.ids)} messages was read"
            self._did("deaf", name, why)
            body = f"{name}: {why}; it is rung for again, at most every {span(self.rules.longest)}. Its screen says:\n{words}"
            key = keys.own("deaf", name, keys.fingerprint(sorted(bell.ids)))
            self._report(name, doc["reports_to"], f"{name} does not react", body, key)

    def _unnudged(self) -> set[str]:
        """Members whose team does not want them nudged."""
        teams = [doc for doc in self.store.documents(places.TEAMS) if doc["state"] != "down"]
        return {row["name"] for doc in teams for row in doc["members"] or [] if row.get("nudge") is False}

    def _unread(self, name: str) -> frozenset[str]:
        """What there is to ring for; `nudges.LEFT` where nothing is, but for a line that was typed and not taken."""
        unread = frozenset(places.idents(self.store.names(places.new_folder(name))))
        return unread or (nudges.LEFT if self.hands.left(name) else unread)

    def _report(self, name: str, to: str | None, subject: str, body: str, key: str = "") -> None:
        """Tell a superior by mail, once for a ``key``; where there is none, a person finds it in `mbox status`."""
        if not to or to == name:
            return

        def decide(tx: Transaction) -> None:
            if key and tx.index.key(tx.actor.name, key, 0.0):
                return
            ident = sending.system(tx, to, subject, body)
            if ident:
                tx.record(operations.MAIL_SEND, [ident], key=[key, keys.fingerprint([key])] if key else None)

        self.store.transact(decide, SWEEP)

    # -- who does nothing ----------------------------------------------------------------------------------------

    def _stalled(self) -> None:
        for doc in self._agents():
            name, why = doc["agent"], presence.stalled(self.store, doc["agent"])
            if not why:
                self.stalled.discard(name)
            elif name not in self.stalled and self._has_something_to_do(doc):
                self.stalled.add(name)
                self._did("stalled", name, why)
                self._report(name, doc["reports_to"], f"{name} does nothing", f"{name} {why}; look at its pane")

    def _has_something_to_do(self, doc: Document) -> bool:
        name, incarnation = doc["agent"], doc["incarnation"]
        if places.idents(self.store.names(places.new_folder(name))):
            return True
        return self.store.transact(lambda tx: departure.holds(tx, name, incarnation), SWEEP.trial())

    # -- errands -------------------------------------------------------------------------------------------------

    def _errands(self) -> None:
        """Do what is asked for, once: what is noted is taken away first."""
        for name in self.store.names(places.ERRANDS):
            path = f"{places.ERRANDS}/{name}"
            note = self.store.remembered(path)
            self.store.disk.unlink(self.store.absolute(path))
            if note and note.get("machine") == self.store.host.machine:
                failed = self.hands.errand(note)
                self._did("not started" if failed else "started", str(note.get("verb")), failed or f"asked by {note.get('by')}")

    # -- runs ----------------------------------------------------------------------------------------------------

    def _runs(self) -> None:
        """Runs that go on in the background, and whose engine is gone, get another."""
        from . import engines

        for doc in engines.stalled(self.store):
            if self.hands.drive(doc):
                self._did("resumed", doc["run"], "its engine was gone")

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
            "bells": {name: bell.doc(now) for name, bell in self.bells.items()}, "deaf": self.deaf,
            "stuck": {name: at.doc(now) for name, at in self.stuck.items()},
            "stalled": sorted(self.stalled),
            "spawned": {name: [now - at for at in times] for name, times in self.spawned.items()},
            "broken": self.broken, "did": [deed._asdict() for deed in self.did],
        }  # fmt: skip

    def write(self) -> None:
        """Leave what was done for people and for the next watchdog; a failure costs only that."""
        try:
            self.store.put_ephemeral(places.WATCHDOG, (compact(self.doc()) + "\n").encode())
        except OSError as error:
            self.errors["memory"] = told(error)

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
            self.broken, self.deaf = dict(doc["broken"]), dict(doc["deaf"])
            self.stuck = {name: Stuck.of(at, now - passed) for name, at in doc["stuck"].items()}
            self.stalled = set(doc.get("stalled", ()))
            self.did.extend(Deed(**deed) for deed in doc["did"])
        except (LookupError, TypeError, ValueError, AttributeError):
            self.bells, self.spawned, self.broken, self.deaf, self.stuck = {}, {}, {}, {}, {}

    def mend(self) -> None:
        """Members of a team that was called again are not broken any more."""
        for team in self.store.documents(places.TEAMS):
            for member in team["members"] or []:
                if self._lives(member["name"]):
                    self.broken.pop(member["name"], None)


def last(store: Store) -> dict[str, Any] | None:
    """What the last watchdog wrote; None if there is none, or it cannot be read."""
    doc = store.remembered(places.WATCHDOG) or {}
    return doc if isinstance(doc.get("did"), list) and isinstance(doc.get("mono"), (int, float)) else None


def sole_watchdog(store: Store) -> AbstractContextManager[int]:
    """Be the one watchdog of the store; `NotYours`, naming the other, if there is one."""

    def refusal() -> NotYours:
        doc = last(store)
        who = f" under pid {doc['pid']}" if doc else ""
        return NotYours(f"a watchdog of {store.root} runs already{who}; `mbox watchdog --status` tells what it does")

    return mutex.exclusively(store, places.WATCHDOG_LOCK, PATIENCE, refusal)


class _Gathering:
    """Wakes a little later than ``watch``: several records often come together, and the files follow meanwhile.

    A wait that was overrun is noted, and so is work that took much too long.
    """

    def __init__(self, clock: Clock, watch: Watch, vigil: Vigil, awake: Awake) -> None:
        self._clock, self._watch, self._vigil, self._awake = clock, watch, vigil, awake

    def wait(self, seconds: float) -> bool:
        self._awake.note(self._awake.gap)
        changed = self._watch.wait(seconds, self._vigil.descriptors)
        if changed:
            self._clock.sleep(CALM / 4)
        self._awake.note(seconds)
        return changed


def is_needed(store: Store) -> bool:
    """Whether a team is up, somebody runs under a wrapper, or a run goes on in the background."""
    from . import engines

    if any(doc["status"] == "running" or (doc["at"] or {}).get("until") for doc in engines.detached(store)):
        return True
    return bool(roster.live(store)) or any(presence.is_under_wrapper(store, name) for name in registry.known(store))


def keep(store: Store, hands: Hands) -> None:
    """Be the store's watchdog while it is needed; `NotYours` where there is one.

    Who came while this one was about to end saw a watchdog, and started none: so after it has let go it looks again.
    """
    while True:
        with sole_watchdog(store):
            serve(store, Watchdog(store, hands), while_needed=True)
        if not is_needed(store):
            return


def serve(store: Store, dog: Watchdog, while_needed: bool = False) -> None:
    """Scan, and sleep until something happens or is due; ends by an exception, such as a store that is gone.

    ``while_needed``: ends too after a scan when no team is up and nobody runs under a wrapper, with a last audit commit.
    """
    host = store.host
    due = next_scan = 0.0

    def look() -> bool | None:
        nonlocal due, next_scan
        if vigil.look() or host.mono() >= due:
            dog.mend()
            due = dog.scan()
            next_scan = min(due, host.mono() + store.config.watchdog_scan)
        else:
            due = min(next_scan, dog.look())
            host.sleep(CALM)
        if not while_needed or is_needed(store):
            return None
        dog.scan()  # whoever died since the last
        dog.finish()
        return True

    with Vigil(store) as vigil, Watch(store, lambda: [*journal_paths(store), store.absolute(places.STATUS)]) as watch:
        until(store, _Gathering(host, watch, vigil, dog.awake), look, due=lambda: due)


def start_watchdog(root: str) -> None:
    """Start `mbox watchdog` on its own, for as long as it is needed; of several at once the lock lets one go on."""
    from mbox.system.command import start_detached

    own = ("MBOX_AGENT", "MBOX_INCARNATION")
    environ = {name: value for name, value in os.environ.items() if name not in own}
    start_detached(interpreter.words("mbox", "watchdog", "--while-needed", "--root", root, "--quiet"), environ)
