"""The wrapper: the process above an agent's program, which says that it is alive and cleans up when it is not.

States and their order; what a SIGKILL of the wrapper after each leaves:

1. *refused* while another wrapper of that name is alive, unless told to take the name over.
2. What an older, dead incarnation left running is ended, and what it held goes back (``agent.dead``).
   – Killed here: as before, or settled; the next run goes on.
3. A new incarnation (``agent.new``).  – Killed here: an incarnation that holds nothing.
4. *running*: the program is started as the leader of its own process group, in the foreground of the terminal if this
   process had that; the first beat follows at once, and names the group's leader.  – Killed here: the program goes on
   alone; its heartbeat is dead at once (the pid is gone), so the watchdog ends the group and settles.
5. Every ``heartbeat`` a beat; every ``renew_every`` a transaction that renews what the agent holds, and sweeps; every
   ``watchdog_scan`` a look for a live watchdog: after two looks without one, one is started.
6. *ending*: the program ended, or this process was told to (SIGTERM, SIGHUP), or another process took the name over.
   What is left of the group gets SIGTERM, after ``stop_grace`` SIGKILL, and is seen to be dead.
   – Killed here: as in 4; the leader's zombie goes with its parent.
7. Everything that it still held goes back, and the journal says how it ended (``agent.end``), in one transaction.
   – Killed before: the watchdog does it.  After: nothing is left to do.

The heartbeat stands from then on as a dead one's, because its pid is gone.

Signals: SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 and SIGWINCH are passed on to the group; what a terminal sends reaches the
foreground group without help.  A program that a terminal stops (Ctrl-Z) stops its wrapper too where a shell can take
over; it then counts as dead after ``dead_after``.  Where nobody can (a pane of its own), it goes on at once.

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

from . import agents, documents, estate, locks, places, processes
from .child import CannotRun
from .errors import LockTimeout, MboxError, NotYours, Usage
from .host import stamp
from .processes import Identity
from .transaction import Actor, Transaction

if TYPE_CHECKING:
    from .opening import OpenStore

PASSED = (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
STOPPING = (signal.SIGTERM, signal.SIGHUP)
WATCHED = frozenset((*PASSED, *STOPPING, signal.SIGCHLD))

LOOKS = 2
"""Looks without a live watchdog after which one is started."""

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
    _predecessor(store, name, order.take_over)
    doc = agents.add(store, by, name, {}, new=True)
    return _Wrapper(store, Actor(name, doc["incarnation"]), order, environ).run()


def _predecessor(store: OpenStore, name: str, take_over: bool) -> None:
    """Refuse while another wrapper of ``name`` is alive; end and settle one that is not, or is taken over."""
    beat = agents.heartbeat(store, name)
    if beat is None or beat["machine"] != store.host.machine:
        return
    if beat["child"] and agents.is_fresh(store, beat) and not take_over:
        raise NotYours(
            f"{name} runs already, under pid {beat['pid']}; stop that (kill {beat['pid']}), or take the name over "
            "with --take-over"
        )
    end_program(store, name, beat)
    why = "another process takes the name over" if take_over else "its wrapper had died"
    store.transact(lambda tx: estate.settle(tx, name, beat["incarnation"], estate.DEAD, why), Actor(name))


def end_program(store: OpenStore, name: str, beat: documents.Document) -> list[int]:
    """End what is left of the group of the program that ``beat`` names; the pids that were ended."""
    if not beat["child"] or beat["machine"] != store.host.machine:
        return []
    marks = {"MBOX_AGENT": name, "MBOX_INCARNATION": str(beat["incarnation"]), "MBOX_ROOT": store.root}
    leader = Identity(beat["child"], beat["child_ticks"])
    return processes.end_group(leader, store.config.stop_grace, lambda pid: processes.carries(pid, marks))


class _Wrapper:
    """One run; not to be used twice."""

    def __init__(self, store: OpenStore, who: Actor, order: Order, environ: Mapping[str, str]) -> None:
        self.store = store
        self.who = who
        self.order = order
        self.program = os.path.basename(order.words[0])
        self.environ = {
            **environ, "MBOX_AGENT": who.name, "MBOX_ROOT": store.root, "MBOX_INCARNATION": str(who.incarnation),
        }  # fmt: skip
        self.began = store.host.mono()
        self.lonely = 0
        self.said = ""
        self.terminal = _has_terminal()
        self.stopped_by: signal.Signals | None = None

    # -- from the start to the end -------------------------------------------------------------------------------

    def run(self) -> int:
        """Start the program, keep it alive, clean up after it."""
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        try:
            try:
                self.leader = self._start(before)
            except CannotRun as error:
                self._close(f"could not run {self.program}: {error}")
                raise
            self._status("idle", "run")
            try:
                status = self._keep()
            except NotYours as error:
                self._reaped()
                self._say(f"{self.program} was ended: {error}")
                return error.exit
            self._close(self._told(status))
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
        due = [mono(), mono() + config.renew_every, mono() + config.watchdog_scan]
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
            if number in PASSED and info is not None and info.si_code <= 0:
                self._pass_on(number)  # a process sent it (kill(2)); a terminal's has a code above 0
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
            self._suspended()
        return False

    def _reaped(self) -> int:
        """End what is left of the group, and take the program's status."""
        self._end_group()
        _, status = os.waitpid(self.leader.pid, 0)
        self._foreground(os.getpgrp())
        return os.waitstatus_to_exitcode(status)

    def _end_group(self) -> None:
        marks = {name: self.environ[name] for name in ("MBOX_AGENT", "MBOX_INCARNATION", "MBOX_ROOT")}
        grace = self.store.config.stop_grace
        processes.end_group(self.leader, grace, lambda pid: processes.carries(pid, marks))

    def _told(self, status: int) -> str:
        """How the program ended, for the journal."""
        after = f"after {_span(self.store.host.mono() - self.began)}"
        if self.stopped_by is not None:
            return f"{self.program} was stopped ({self.stopped_by.name}) {after}"
        if status < 0:
            return f"{self.program} was killed by {_signal_name(-status)} {after}"
        return f"{self.program} exited with {status} {after}"

    def _close(self, why: str) -> None:
        """Everything that is still held goes back; a failure is left to the watchdog."""
        self._status("ended", "end")
        try:
            self.store.transact(
                lambda tx: estate.settle(tx, self.who.name, self.who.incarnation, estate.END, why), self.who
            )
        except MboxError as error:
            self._say(f"what {self.who.name} held is left to the watchdog: {error}")

    # -- the program ---------------------------------------------------------------------------------------------

    def _start(self, mask: set[int | signal.Signals]) -> Identity:
        """Start the program in a group of its own."""
        words = [*self.order.sandbox, *self.order.words]
        sys.stdout.flush()
        sys.stderr.flush()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _become(words, self.environ, self.terminal, mask, write)
        os.close(write)
        try:
            os.setpgid(pid, pid)  # whichever of the two comes first
        except OSError:
            pass
        with os.fdopen(read, "rb") as pipe:
            failed = pipe.read()
        if failed:
            os.waitpid(pid, 0)
            self._foreground(os.getpgrp())
            raise CannotRun(words[0], OSError(int(failed), os.strerror(int(failed))))
        return processes.identity(pid)

    def _pass_on(self, number: int) -> None:
        try:
            os.killpg(self.leader.pid, number)
        except ProcessLookupError:
            pass

    def _suspended(self) -> None:
        """The terminal stopped the program: stop too, if a shell waits for that; then both go on."""
        if self.terminal and os.getsid(0) != os.getpid():
            self._foreground(os.getpgrp())
            os.kill(os.getpid(), signal.SIGSTOP)
            self._beat()
        self._foreground(self.leader.pid)
        self._pass_on(signal.SIGCONT)

    def _foreground(self, group: int) -> None:
        """Give the terminal to ``group``."""
        if not self.terminal:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            os.tcsetpgrp(0, group)
        except OSError:
            pass  # the terminal, or the group, is gone
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # -- what is done in time ------------------------------------------------------------------------------------

    def _beat(self) -> None:
        try:
            agents.beat(self.store, self.who, os.getpid(), self.leader)
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
        """Start a watchdog where none was seen for long."""
        if self.order.watchdog is None:
            return
        try:
            lives = locks.is_held(self.store, places.WATCHDOG_LOCK)
        except (MboxError, OSError):
            return
        self.lonely = 0 if lives else self.lonely + 1
        if self.lonely >= LOOKS:
            self.lonely = 0
            self.order.watchdog()

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
        self.store.say(text)


def _still_mine(tx: Transaction) -> None:
    agents.still_current(tx)


def _has_terminal() -> bool:
    """Whether stdin is a terminal and this process is in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _become(words: Sequence[str], environ: Mapping[str, str], terminal: bool,
            mask: set[int | signal.Signals], report: int) -> None:  # fmt: skip
    """In the forked child: be the program, or tell the errno through ``report`` and end."""
    try:
        os.setpgid(0, 0)
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


def _span(passed: float) -> str:
    from .reservations import span

    return span(passed)
