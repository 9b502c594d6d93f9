"""The wrapper: the process above an agent's program, which says that it is alive and cleans up when it is not.

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
   that, two looks without one do.
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
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mbox.liveness import departure as estate
from mbox.agents import registry as agents
from mbox.store import mutex as locks
from mbox.format import documents
from mbox.format import places
from mbox.system import processes
from mbox.system.command import CannotRun
from mbox.errors import LockTimeout, MboxError, NotYours, Usage
from mbox.system.host import stamp
from mbox.system.processes import Identity
from mbox.reservations.reserving import span
from mbox.store.transaction import Actor, Transaction

if TYPE_CHECKING:
    from mbox.opening import OpenStore

PASSED = (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
STOPPING = (signal.SIGTERM, signal.SIGHUP)
WATCHED = frozenset((*PASSED, *STOPPING, signal.SIGCHLD))

LOOKS = 2
"""Looks in a row without a live watchdog after which one is started; the first look alone is enough."""

Say = Callable[[str], None]


class Order(NamedTuple):
    """What to run: the program's words, what stands before them, where its pane is, and what may be done for it."""

    words: Sequence[str]
    sandbox: Sequence[str] = ()
    pane: str | None = None
    server: str | None = None
    take_over: bool = False
    watchdog: Callable[[], None] | None = None
    """Starts a watchdog; None leaves that to others."""


def run(store: OpenStore, by: Actor, name: str, order: Order, environ: Mapping[str, str]) -> int:
    """Run a program as agent ``name`` until it ends; its exit status, or 128+N where signal N ended it.

    `NotFound` if the agent is not registered, `NotYours` if another wrapper of that name is alive (or took it over
    later), `CannotRun` if there is no such program.
    """
    if not order.words:
        raise Usage("which command? mbox run -- CMD...")
    agents.require(store, store.read, name)
    beat = agents.heartbeat(store, name)
    lives = beat is not None and agents.is_fresh(store, beat)
    if beat and lives and beat["child"] and not order.take_over:
        raise NotYours(
            f"{name} runs already, under pid {beat['pid']}; stop that (kill {beat['pid']}), or take the name over "
            "with --take-over"
        )
    who = Actor(name, agents.add(store, by, name, {}, new=True)["incarnation"])
    if beat:
        end_program(store, name, beat)
        why = "another process took the name over" if lives else "its wrapper had died"
        older = beat["incarnation"]
        store.transact(lambda tx: estate.settle(tx, name, min(older, who.incarnation - 1), estate.DEAD, why), who)
    return _Wrapper(store, who, order, environ).run()


def end_program(store: OpenStore, name: str, beat: documents.Document, grace: float | None = None) -> list[int]:
    """End what is left of the group of the program that ``beat`` names; the pids that were ended.

    ``grace`` is how many seconds SIGTERM has (``stop_grace`` unless given) before SIGKILL.
    """
    if not beat["child"] or beat["machine"] != store.host.machine:
        return []
    return _end_group(store, Actor(name, beat["incarnation"]), Identity(beat["child"], beat["child_ticks"]), grace)


def _end_group(store: OpenStore, who: Actor, leader: Identity, grace: float | None = None) -> list[int]:
    """End the group of ``leader``, and whoever left it but carries the variables that ``who``'s wrapper set."""
    marks = variables(store, who)
    seconds = store.config.stop_grace if grace is None else grace
    return processes.end_group(leader, seconds, lambda pid: processes.carries(pid, marks))


def variables(store: OpenStore, who: Actor) -> dict[str, str]:
    """What the wrapper sets in the environment of its program."""
    return {"MBOX_AGENT": who.name, "MBOX_ROOT": store.root, "MBOX_INCARNATION": str(who.incarnation)}


class _Wrapper:
    """One run; not to be used twice."""

    def __init__(self, store: OpenStore, who: Actor, order: Order, environ: Mapping[str, str]) -> None:
        self.store = store
        self.who = who
        self.order = order
        self.program = os.path.basename(order.words[0])
        self.environ = {**environ, **variables(store, who)}
        self.began = store.host.mono()
        self.lonely = LOOKS - 1
        self.said = ""
        self.leader = Identity(0, 0)
        self.wants = False
        self.stopped_by: signal.Signals | None = None

    # -- from the start to the end -------------------------------------------------------------------------------

    def run(self) -> int:
        """Start the program, keep it alive, clean up after it."""
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        try:
            try:
                self._start(before)
                self._status("idle", agents.RUN)
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
        finally:
            while signal.sigtimedwait(WATCHED, 0):
                pass  # it was meant for the program, which has ended
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            signal.signal(signal.SIGCHLD, handler)

    def _keep(self) -> int:
        """Beat, renew and pass signals on until the program has ended; how it ended, as `waitstatus_to_exitcode`."""
        config, mono = self.store.config, time.monotonic
        tasks = ((self._beat, config.heartbeat), (self._renew, config.renew_every), (self._look, config.watchdog_scan))
        due = [mono(), mono() + config.renew_every, mono()]
        while True:
            for n, (task, every) in enumerate(tasks):
                if mono() >= due[n]:
                    task()
                    due[n] = mono() + every
            info = signal.sigtimedwait(WATCHED, max(0.0, min(due) - mono()))
            number = info.si_signo if info else 0
            if number in STOPPING:
                self.stopped_by = signal.Signals(number)
                return self._reaped()
            if number in PASSED:
                self._pass_on(number)
            if self._ended():
                return self._reaped()

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
        _give_terminal(self.leader.pid, os.getpgrp())
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
        name, incarnation = self.who

        def decide(tx: Transaction) -> bool:
            doc = tx.read(places.agent(name))
            estate.settle(tx, name, incarnation, estate.END, why)
            return doc is None or doc["incarnation"] == incarnation

        try:
            doc = self.store.read(places.agent(name))
            if doc is not None and doc["incarnation"] == incarnation:
                self._status("ended", agents.END)
            return self.store.transact(decide, self.who)
        except (MboxError, OSError) as error:
            self._say(f"what {name} held is left to the watchdog: {error}")
            return True

    # -- the program ---------------------------------------------------------------------------------------------

    def _start(self, mask: set[int | signal.Signals]) -> None:
        """Start the program in a group of its own, once a beat names it."""
        words = [*self.order.sandbox, *self.order.words]
        terminal = _in_front()
        sys.stdout.flush()
        sys.stderr.flush()
        (gate, go), (read, report) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os.close(go)
            _become(words, self.environ, terminal, mask, gate, report)
        os.close(report)
        os.close(gate)
        try:
            os.setpgid(pid, pid)  # whichever of the two comes first
        except OSError:
            pass
        self.leader = processes.identity(pid)
        with os.fdopen(read, "rb") as pipe:
            try:
                self._beat()
                os.write(go, b".")
            finally:
                os.close(go)
            failed = pipe.read()
        if failed:
            os.waitpid(pid, 0)
            _give_terminal(pid, os.getpgrp())
            raise CannotRun(words[0], OSError(int(failed), os.strerror(int(failed))))

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
        if not wants or not _give_terminal(ours, program):
            _give_terminal(program, ours)
            stopped = _stop(ours)
            self._beat()
            if not _give_terminal(ours, program) and wants and not stopped:
                self.wants = True
                return
        self._pass_on(signal.SIGCONT)

    # -- what is done in time ------------------------------------------------------------------------------------

    def _beat(self) -> None:
        if self.wants and _give_terminal(os.getpgrp(), self.leader.pid):
            self.wants = False
            self._pass_on(signal.SIGCONT)
        try:
            agents.actor(self.store, *self.who)  # two wrappers never beat in turns
            agents.beat(self.store, self.who, os.getpid(), self.leader)
        except NotYours:
            raise
        except (MboxError, OSError) as error:
            self._once(f"the heartbeat of {self.who.name} could not be written: {error}")

    def _renew(self) -> None:
        """A transaction that changes nothing, made by the holder: it renews, and sweeps what has run out."""
        try:
            self.store.transact(_still_mine, self.who)
        except NotYours:
            raise
        except LockTimeout:
            pass  # the next one will do: a lease outlives two of these
        except (MboxError, OSError) as error:
            self._once(f"what {self.who.name} holds could not be renewed: {error}")

    def _look(self) -> None:
        """Start a watchdog where none is; of several that are started at the same time its lock lets one go on."""
        if self.order.watchdog is None:
            return
        try:
            lives = locks.is_held(self.store, places.WATCHDOG_LOCK)
        except (MboxError, OSError):
            return
        self.lonely = 0 if lives else self.lonely + 1
        if self.lonely >= LOOKS:
            self.lonely = 0
            try:
                self.order.watchdog()
            except OSError as error:
                self._once(f"no watchdog could be started: {error}")

    def _status(self, state: str, event: str) -> None:
        """Say where the pane is, and that the program runs or has ended."""
        store = self.store
        doc = documents.new(
            "status", agent=self.who.name, state=state, since=stamp(store.host.wall()), event=event,
            pane=self.order.pane, server=self.order.server,
        )  # fmt: skip
        try:
            store.check_folder(places.STATUS)
            store.disk.folders(store.absolute(places.STATUS))
            store.disk.replace(store.absolute(places.status(self.who.name)), documents.encode("status", doc))
        except (MboxError, OSError) as error:
            self._once(f"the status of {self.who.name} could not be written: {error}")

    def _once(self, text: str) -> None:
        if text != self.said:
            self._say(text)
        self.said = text

    def _say(self, text: str) -> None:
        try:
            self.store.say(text)
        except (OSError, ValueError):
            pass  # the terminal is gone, and what has to be done here is not


def _still_mine(tx: Transaction) -> None:
    agents.still_current(tx)


def _in_front() -> bool:
    """Whether stdin is a terminal and this process is in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _give_terminal(old: int, new: int) -> bool:
    """Give the controlling terminal to group ``new`` if ``old`` has it, or nobody who lives; whether ``new`` has it."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        front = os.tcgetpgrp(fd)
        if front not in (old, new) and processes.group_members(front):
            return False
        os.tcsetpgrp(fd, new)
        return True
    except OSError:
        return False  # the terminal, or the group, is gone
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(fd)


def _stop(group: int) -> bool:
    """Stop this process's group as Ctrl-Z does; whether it was stopped, once it is continued.

    The kernel does not stop a group that no shell could continue (an orphaned one).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
    try:
        os.killpg(group, signal.SIGTSTP)
        return signal.sigtimedwait([signal.SIGCONT], 0) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become(words: Sequence[str], environ: Mapping[str, str], terminal: bool,
            mask: set[int | signal.Signals], gate: int, report: int) -> None:  # fmt: skip
    """In the forked child: wait at the gate, then be the program, or tell the errno through ``report`` and end."""
    try:
        os.setpgid(0, 0)
        if not os.read(gate, 1):
            os._exit(127)  # the wrapper is gone, and nobody knows of this process
        if terminal:
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(words[0], list(words), dict(environ))
    except OSError as error:
        os.write(report, str(error.errno or 1).encode())
    except BaseException:  # noqa: BLE001 - nothing of the parent's may go on in the child
        os.write(report, b"8")
    finally:
        os._exit(127)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
