"""The supervisor, or *wrapper*: the process above an agent's program, which says that it is alive, and cleans up after it.

States and their order; what a SIGKILL of the wrapper after each leaves:

1. *refused* while another wrapper of that name is alive, unless told to take the name over.
2. A new incarnation (``agent.new``): whoever acts in an older one is refused from here on, and a live wrapper that
   was taken over ends its program by itself, at its next beat at the latest.  – Killed here: an incarnation that
   holds nothing; the heartbeat is still the older one's.
3. What an older incarnation left running is ended and seen to be dead, and what it held goes back (``agent.dead``).
   – Killed here: as before, or settled; the next run or the watchdog goes on.
4. *running*: a process is made for the program, as the leader of its own group, in the foreground of the terminal if
   this process had that.  It becomes the program only when the first beat, which names it, is written.
   – Killed before that beat: it ends by itself, and never was the program.  After: the program goes on alone; its
   heartbeat is dead at once (the pid is gone), so the watchdog ends the group and settles.
5. Every ``heartbeat`` a beat; every ``renew_every`` a transaction that renews what the agent holds, and sweeps; every
   ``watchdog_scan`` a look for a live watchdog.  The first look is at once, and starts one where none is alive; after
   that, two looks without one do.  A program that has given no sign for ``stall_limit`` has nothing renewed (`stall`).  A
   beat that is late, because everything stood still, comes after a renewal (`freeze`).
6. *ending*: the program ended, or this process was told to (SIGTERM, SIGHUP), or another process took the name over
   (exit 5), or this process met an error that it does not know.
   What is left of the group gets SIGTERM, after ``stop_grace`` SIGKILL, and is seen to be dead.
   – Killed here: as in 4; the leader's zombie goes with its parent.
7. Everything that it still held goes back, and the journal says how it ended (``agent.end``), in one transaction.
   – Killed before: the watchdog does it.  After: nothing is left to do.

The heartbeat stands from then on as a dead one's, because its pid is gone.

Signals: SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 and SIGWINCH are passed on to the group.  None comes twice: what a terminal
sends goes to its foreground group, which is the program's or this one, never both.  A program that a terminal stops
(Ctrl-Z, or it reads in the background) stops its wrapper too, as one job, for a shell to continue; it then counts as
dead after ``dead_after``.  Where no shell can (a pane of its own), Ctrl-Z has no effect.

Promised: the program's arguments reach it as they are, with no shell in between; its exit status is the wrapper's (128+N
for signal N).  Not promised: anything about processes that left the group (setsid), or inside a ``sandbox`` that does
not hand on the environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mbox.agents import presence, registry
from mbox.errors import LockTimeout, MboxError, NotYours, Usage, told
from mbox.format import documents, operations, places
from mbox.store import mutex
from mbox.store.transaction import SWEEP, Actor, Transaction
from mbox.system import command, processes, terminal
from mbox.system.clock import span, stamp
from mbox.system.command import CannotRun, Chore
from mbox.system.processes import Identity

from . import departure
from .freeze import Awake
from .stall import Signs

if TYPE_CHECKING:
    from mbox.store.store import Store

PASSED = (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
STOPPING = (signal.SIGTERM, signal.SIGHUP)
WATCHED = frozenset((*PASSED, *STOPPING, signal.SIGCHLD))

LOOKS = 2
"""Looks in a row without a live watchdog after which one is started; the first look alone is enough."""

PAUSE = 0.1
"""Seconds between two looks for the beat of a wrapper that was silent."""

_BEAT = "the heartbeat of {} could not be written"
_RENEW = "what {} holds could not be renewed"
_LOOK = "no watchdog could be started for {}"
_STATUS = "the status of {} could not be written"


class Order(NamedTuple):
    """What to run: the program's words, what stands before them, where its pane is, and what may be done for it."""

    words: Sequence[str]
    sandbox: Sequence[str] = ()
    pane: str | None = None
    server: str | None = None
    take_over: bool = False
    watchdog: Callable[[], None] | None = None
    """Starts a watchdog; None leaves that to others."""


def run(store: Store, by: Actor, name: str, order: Order, environ: Mapping[str, str]) -> int:
    """Run a program as agent ``name`` until it ends; its exit status, or 128+N where signal N ended it.

    `NotFound` if the agent is not registered, `NotYours` if another wrapper of that name is alive (or took it over
    later), `CannotRun` if there is no such program.
    """
    if not order.words:
        raise Usage("which command? mbox run -- CMD...")
    registry.require(store, store.read, name)
    beat = _heard(store, name)
    lives = beat is not None and presence.is_fresh(store, beat)
    if beat and lives and beat["child"] and not order.take_over:
        raise NotYours(
            f"{name} runs already, under pid {beat['pid']}; stop that (kill {beat['pid']}), or take the name over "
            "with --take-over"
        )
    who = Actor(name, registry.add(store, by, name, {}, new=True)["incarnation"])
    if beat:
        end_program(store, name, beat)
        why = "another process took the name over" if lives else "its wrapper had died"
        older = beat["incarnation"]
        departure.give_back(store, who, name, min(older, who.incarnation - 1), operations.AGENT_DEAD, why)
    return _Wrapper(store, who, order, environ).run()


def _heard(store: Store, name: str) -> documents.Document | None:
    """The last beat of ``name``; where that is silent and its process is there, a ``heartbeat`` is waited for another."""
    host, config = store.host, store.config
    until = host.mono() + config.heartbeat
    while True:
        beat = presence.heartbeat(store, name)
        stands_still = (
            beat is not None and beat["child"] and beat["machine"] == host.machine and not presence.is_fresh(store, beat)
            and presence.counts_here(beat) and not presence.is_gone(beat)
        )  # fmt: skip
        if not stands_still or host.mono() >= until:
            return beat
        host.sleep(PAUSE)


def end_program(store: Store, name: str, beat: documents.Document, grace: float | None = None) -> list[int]:
    """End what is left of the group of the program that ``beat`` names; the pids that were ended.

    ``grace`` is how many seconds SIGTERM has (``stop_grace`` unless given) before SIGKILL.
    """
    if not beat["child"] or beat["machine"] != store.host.machine or not presence.counts_here(beat):
        return []
    return _end_group(store, Actor(name, beat["incarnation"]), Identity(beat["child"], beat["child_ticks"]), grace)


def _end_group(store: Store, who: Actor, leader: Identity, grace: float | None = None) -> list[int]:
    """End the group of ``leader``, and whoever left it but carries the variables that ``who``'s wrapper set."""
    marks = variables(store, who)
    seconds = store.config.stop_grace if grace is None else grace
    return processes.end_group(leader, seconds, store.host, lambda pid: processes.carries(pid, marks))


def variables(store: Store, who: Actor) -> dict[str, str]:
    """What the wrapper sets in the environment of its program."""
    return {"MBOX_AGENT": who.name, "MBOX_ROOT": store.root, "MBOX_INCARNATION": str(who.incarnation)}


class _Wrapper:
    """One run; not to be used twice."""

    def __init__(self, store: Store, who: Actor, order: Order, environ: Mapping[str, str]) -> None:
        self.store = store
        self.who = who
        self.order = order
        self.program = os.path.basename(order.words[0])
        self.environ = {**environ, **variables(store, who)}
        self.began = store.host.mono()
        self.lonely = LOOKS - 1
        self.awake = Awake(store.host, 0.5 * store.config.heartbeat)
        self.said: dict[str, str] = {}
        """What could not be done when it was last due, and why; empty where it could."""
        self.late = False
        """Whether the lock was not had for the last renewal."""
        self.leader = Identity(0, 0)
        self.signs: Signs | None = None
        self.wants = False
        self.stopped_by: signal.Signals | None = None

    # -- from the start to the end -------------------------------------------------------------------------------

    def run(self) -> int:
        """Start the program, keep it alive, clean up after it."""
        with command.holding_signals(WATCHED) as before:
            try:
                self._start(before)
                self._status("idle", registry.RUN)
                self.signs = Signs(self.store, self.who, self.leader)
                status = self._keep()
                why = self._told(status)
            except CannotRun as error:
                self._close(f"could not run {self.program}: {error}")
                raise
            except NotYours as error:
                self._reaped()
                status, why = error.exit, f"{self.program} was ended: {error}"
            except BaseException as error:
                self._reaped()
                self._close(f"{self.program} was ended, because its wrapper failed: {type(error).__name__}: {error}")
                raise
            if not self._close(why):
                self._say(f"{why}; another process has taken the name {self.who.name} over")
                return NotYours.exit
            return status if status >= 0 else 128 - status

    def _keep(self) -> int:
        """Beat, renew and pass signals on until the program has ended; how it ended, as `waitstatus_to_exitcode`."""
        config = self.store.config
        chores = [
            Chore(self._beat, config.heartbeat, 0), Chore(self._renew, config.renew_every, config.renew_every),
            Chore(self._look, config.watchdog_scan, 0),
        ]  # fmt: skip
        return command.attend(WATCHED, self._heard, chores, self.store.host)

    def _heard(self, info: signal.struct_siginfo | None) -> int | None:
        number = info.si_signo if info else 0
        if number in STOPPING:
            self.stopped_by = signal.Signals(number)
            return self._reaped()
        if number in PASSED:
            self._pass_on(number)
        return self._reaped() if self._ended() else None

    def _ended(self) -> bool:
        """Whether the program has ended (it is not reaped: its pid still names its group); one that stopped goes on."""
        found = os.waitid(os.P_PID, self.leader.pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return False
        if found.si_code != os.CLD_STOPPED:
            return True
        os.waitid(os.P_PID, self.leader.pid, os.WSTOPPED | os.WNOHANG)
        if found.si_status in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            self._suspended(found.si_status)
        return False

    def _reaped(self) -> int:
        """End what is left of the group, and take the program's status."""
        _end_group(self.store, self.who, self.leader)
        _, status = os.waitpid(self.leader.pid, 0)
        terminal.give(self.leader.pid, os.getpgrp())
        return os.waitstatus_to_exitcode(status)

    def _told(self, status: int) -> str:
        """How the program ended, for the journal."""
        after = f"after {span(self.store.host.mono() - self.began)}"
        if self.stopped_by is not None:
            return f"{self.program} was stopped ({self.stopped_by.name}) {after}"
        if status < 0:
            return f"{self.program} was killed by {_signal_name(-status)} {after}"
        return f"{self.program} exited with {status} {after}"

    def _close(self, why: str) -> bool:
        """Everything that is still held goes back; a failure is left to the watchdog.  Whether the name is still ours."""
        name, incarnation = self.who.who

        ours = True

        def look(tx: Transaction) -> bool:
            nonlocal ours
            doc = tx.read(places.agent(name))
            ours = doc is None or doc["incarnation"] == incarnation
            return False

        try:
            doc = self.store.read(places.agent(name))
            if doc is not None and doc["incarnation"] == incarnation:
                self._status("ended", registry.END, why)
            departure.give_back(self.store, self.who, name, incarnation, operations.AGENT_END, why, look)
            return ours
        except (MboxError, OSError) as error:
            self._say(f"what {name} held is left to the watchdog: {told(error)}")
            return True

    # -- the program ---------------------------------------------------------------------------------------------

    def _start(self, mask: set[int | signal.Signals]) -> None:
        """Start the program in a group of its own, once a beat names it."""
        words = [*self.order.sandbox, *self.order.words]
        try:
            command.start_group(words, self.environ, mask, terminal.is_in_front(), self._named)
        except CannotRun:
            terminal.give(self.leader.pid, os.getpgrp())
            raise

    def _named(self, pid: int) -> None:
        self.leader = processes.identity(pid)
        self._beat()

    def _pass_on(self, number: int) -> None:
        try:
            os.killpg(self.leader.pid, number)
        except ProcessLookupError:
            pass

    def _suspended(self, number: int) -> None:
        """The terminal stopped the program: this job stops, if a shell waits for that; then the program goes on.

        Where no shell does, a program that wants the terminal goes on when that is free: before, it would stop again
        at once, for ever.
        """
        ours, program = os.getpgrp(), self.leader.pid
        wants = number != signal.SIGTSTP
        if not wants or not terminal.give(ours, program):
            terminal.give(program, ours)
            stopped = terminal.stop(ours)
            self._beat()
            if not terminal.give(ours, program) and wants and not stopped:
                self.wants = True
                return
        self._pass_on(signal.SIGCONT)

    # -- what is done in time ------------------------------------------------------------------------------------

    def _beat(self) -> None:
        if self.wants and terminal.give(os.getpgrp(), self.leader.pid):
            self.wants = False
            self._pass_on(signal.SIGCONT)
        if self.awake.note(self.store.config.heartbeat):  # everything stood still: its old beat tells everybody so
            if self.signs:
                self.signs.stood_still()
            self._renew()
            self.awake.go_on()
        try:
            registry.actor(self.store, *self.who.who)  # two wrappers never beat in turns
            presence.beat(self.store, self.who, os.getpid(), self.leader, self.signs.active if self.signs else 0)
            self._tell(_BEAT)
        except NotYours:
            raise
        except (MboxError, OSError) as error:
            self._tell(_BEAT, error)

    def _renew(self) -> None:
        """A transaction that changes nothing, made by the holder: it renews, and sweeps what has run out.

        Where its program has given no sign for ``stall_limit`` it only sweeps.

        A lock that is not had once is not worth a line, for a lease outlives two of these; the second time in a row is.
        """
        try:
            if self.signs and self.signs.quiet() >= self.store.config.stall_limit:
                self.store.transact(_nothing, SWEEP)
            else:
                self.store.transact(_still_mine, self.who)
            self.late = False
            self._tell(_RENEW)
        except NotYours:
            raise
        except (MboxError, OSError) as error:
            if self.late or not isinstance(error, LockTimeout):
                self._tell(_RENEW, error)
            self.late = isinstance(error, LockTimeout)

    def _look(self) -> None:
        """Start a watchdog where none is; of several that are started at the same time its lock lets one go on."""
        if self.order.watchdog is None:
            return
        try:
            lives = mutex.is_held(self.store, places.WATCHDOG_LOCK)
        except (MboxError, OSError):
            return
        self.lonely = 0 if lives else self.lonely + 1
        if self.lonely >= LOOKS:
            self.lonely = 0
            try:
                self.order.watchdog()
                self._tell(_LOOK)
            except OSError as error:
                self._tell(_LOOK, error)

    def _status(self, state: str, event: str, why: str = "") -> None:
        """Say where the pane is, and that the program runs or has ended."""
        store = self.store
        doc = documents.new(
            "status", agent=self.who.name, state=state, since=stamp(store.host.wall()), event=event,
            pane=self.order.pane, server=self.order.server, incarnation=self.who.incarnation, why=why,
        )  # fmt: skip
        try:
            store.put_ephemeral(places.status(self.who.name), documents.encode("status", doc))
            self._tell(_STATUS)
        except (MboxError, OSError) as error:
            self._tell(_STATUS, error)

    def _tell(self, what: str, error: Exception | None = None) -> None:
        """Say why it could not be done, once while it stays the same; without an error it could be."""
        why = str(error or "")
        if why and why != self.said.get(what):
            self._say(f"{what.format(self.who.name)}: {why}")
        self.said[what] = why

    def _say(self, text: str) -> None:
        try:
            self.store.say(text)
        except (OSError, ValueError):
            pass  # the terminal is gone, and what has to be done here is not


def _nothing(_tx: Transaction) -> None:
    pass


def _still_mine(tx: Transaction) -> None:
    registry.still_current(tx)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
