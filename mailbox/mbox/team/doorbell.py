"""The doorbell: one fixed line typed into an agent's pane, or not.

States of one ring, and what each look at the screen may turn it into:

    look ──gone, copy-mode, synchronize, dialog, typing, busy──▶ that is the outcome; nothing was typed
      │ idle (also at a limit), twice, `TWICE` seconds apart; from here it is remembered that the line may stand in the box
    typed (send-keys -l) ──not to be seen within `SEEN`──▶ busy (the keys were lost, or come late), dialog, or typing
      │ the input box holds exactly the line
    rest for `APART` (a program that sees a burst of keys takes it for a paste, and Enter for a part of it)
      │ two looks agree that the box holds exactly the line; a dialog that has come is waited for, `SEEN` seconds
    Enter ──two looks agree that the box does not hold the line──▶ taken
      │ still there after `SWALLOWED`: a redraw swallowed the Enter; again, `ENTERS` times in all
    taken back (BSpace, as many as letters are there, only while the box holds the line or its beginning) ──▶ busy,
                                                                                                      else stranded

A line that could not be entered, because a dialog or copy mode came between, stays in the box; so does the line of a
ringer that was killed.  That is remembered in the agent's bell lock (`left`), written before the line is typed and
taken out once the line is seen to be gone.  The next ring finds exactly its own line and goes on with Enter, so that it
is never doubled; if there is nothing to ring for any more, `Doorbell.tidy` takes it away.  A program that hangs shows nothing
of what is typed, so each ring types anew; what it reads late is taken back, however many lines.  Two ringers of one agent
take turns (`turn`).

A ring stands for everybody who came while it went on: who waited for it types nothing if the line was taken (`turn`).

Where tmux's ``synchronize-panes`` is on, for the window or the pane, every key goes into all of its panes, and into their
dialogs: nothing is typed, and what was typed before it was switched on is left.

A pane is named by a file of the store, which may have come with a clone, and its number may be a stranger's by now.  It is
the agent's while the process that beats for it, here and alive, is the pane's first process or below that; every look
asks anew, and anything else is *gone*.  Without /proc no process can be told to be below another, so nothing is typed
but into a pane whose first process is the wrapper itself, as `team up` makes them.

Promised: nothing from a message is ever typed; Escape, Ctrl-C and clear commands are never sent; no Enter goes into a
dialog, into an empty box, or onto a line that is not exactly ours as the last look showed it.  Between that look and
the key lie some milliseconds in which a screen can change: what a terminal does not tell, nobody can know.

Where the host has a door of its own (`door`) and the agent's hooks have said which session it is, the line goes through
that, also while a person types: nothing is typed then.

*taken* means that the program took the line.  Only the inbox says whether the mail was read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mbox.agents import presence
from mbox.errors import TimedOut
from mbox.format import places
from mbox.format.documents import Document
from mbox.hosts.programs import Program
from mbox.hosts.screen import (
    BUSY,
    COPY,
    DIALOG,
    GONE,
    IDLE,
    LIMIT,
    LINE,
    STRANDED,
    SYNCHRONIZE,
    TAKEN,
    TYPING,
    Screen,
    has_ours,
    is_left,
    is_ours,
    last_words,
    length_of_line,
    read,
)
from mbox.store import mutex
from mbox.store.store import Store
from mbox.system import processes
from mbox.system.host import Clock

from . import door
from .door import Door
from .tmux import PaneGone, Tmux

TWICE = 0.2
SEEN = 3.0
APART = 0.7
SWALLOWED = 1.5
ENTERS = 3
POLL = 0.05

SIGNS = ("#{pane_dead}", "#{pane_in_mode}", "#{pane_pid}", "#{pane_synchronized}", "#{pane_title}")
"""What tmux is asked beside the screen, in the same call; a title may hold anything, so it is the last."""

AWAY = (GONE, COPY, SYNCHRONIZE)
"""Where nothing that is typed would reach the agent, and it alone."""


class Memory:
    """What is remembered of one agent's bell.

    ``left``: whether the line may stand in the input box: set before it is typed, until it is seen to be gone.  ``taken``:
    when it was last taken, by CLOCK_MONOTONIC.
    """

    left = False
    taken = 0.0


Lives = Callable[[int], bool]
"""Whether it is still the agent that lives in a pane which began with that process."""


class Doorbell:
    """The doorbell at one pane of one host program, for as long as its agent ``lives`` there."""

    def __init__(self, tmux: Tmux, pane: str, host: Program, clock: Clock, memory: Memory | None = None,
                 lives: Lives = lambda pid: True, door: Door | None = None) -> None:  # fmt: skip
        self.tmux = tmux
        self.pane = pane
        self.host = host
        self.memory = memory or Memory()
        self.clock = clock
        self.lives = lives
        self.door = door

    # -- looking -------------------------------------------------------------------------------------------------

    def glance(self) -> Screen:
        """What the pane shows now."""
        return self._seen()[0]

    def overheard(self) -> Screen:
        """What the pane shows now, with the words of a dialog or limit, else the last words above the input box."""
        screen, rows = self._seen()
        return screen if screen.words else screen._replace(words=last_words(rows, self.host))

    def _seen(self) -> tuple[Screen, list[str]]:
        try:
            (dead, mode, pid, synchronized, *title), rows = self.tmux.look(self.pane, *SIGNS)
        except PaneGone:
            return Screen(GONE), []
        if dead == "1" or not self.lives(int(pid or 0)):
            return Screen(GONE), []
        if mode not in ("", "0"):
            return Screen(COPY), rows
        screen = read(rows, self.host, "\t".join(title))
        return Screen(SYNCHRONIZE) if synchronized == "1" else screen, rows

    def look(self) -> Screen:
        """What the pane shows, twice: idle only if both looks say so, with the same in its input box and above it.

        An answer that grows is a turn, also where neither the screen nor the title says so.
        """
        first, before = self._seen()
        if first.state not in (IDLE, LIMIT) and not first.typed:
            return first
        self.clock.sleep(TWICE)
        second, now = self._seen()
        stands = second == first and (first.typed or last_words(now, self.host) == last_words(before, self.host))
        return second if stands else Screen(BUSY if second.state in (IDLE, LIMIT) else second.state, second.typed)

    def _until(self, seconds: float, good: Callable[[Screen], bool]) -> Screen:
        """The first look that is ``good``, or the last within ``seconds``."""
        until = self.clock.mono() + seconds
        while True:
            screen = self.glance()
            if good(screen) or self.clock.mono() >= until:
                return screen
            self.clock.sleep(POLL)

    def _steady(self) -> Screen | None:
        """What two looks in a row agree on about the line; a dialog is waited for.

        After `SEEN` without that: the dialog, else None.
        """
        before: Screen | None = None
        until = self.clock.mono() + SEEN
        while True:
            now = self.glance()
            if before and now.state != DIALOG and is_ours(before.typed) == is_ours(now.typed):
                return now
            if self.clock.mono() >= until:
                return now if now.state == DIALOG else None
            before = now if now.state != DIALOG else None
            self.clock.sleep(POLL)

    # -- ringing -------------------------------------------------------------------------------------------------

    def ring(self) -> str:
        """Ring once; the outcome."""
        if not self.host.nudge or self.host.prompt is None:
            return BUSY
        screen = self.look()
        is_left_over = screen.state == TYPING and (is_ours(screen.typed) or self.memory.left)
        if self.door and screen.state in (IDLE, LIMIT, TYPING) and not is_left_over:
            if self.door():
                self.memory.taken = self.clock.mono()
                return TAKEN
            screen = self.look()  # it may have taken a while to say no
        try:
            if screen.state == TYPING and is_ours(screen.typed):
                outcome = self._enter()  # left there by an earlier ring
            elif screen.state == TYPING and self.memory.left and is_left(screen.typed):
                outcome = self._take_back()
            elif screen.state in (IDLE, LIMIT):
                self.memory.left = True
                self.tmux.type(self.pane, LINE)
                outcome = self._typed()
            else:
                return screen.state
        except PaneGone:
            outcome = GONE
        if outcome in (TAKEN, GONE):
            self.memory.left = False
        if outcome == TAKEN:
            self.memory.taken = self.clock.mono()
        return outcome

    def tidy(self) -> str:
        """Take away a line that was left in the box, if it is still there; what the pane shows then, or stranded."""
        screen = self.look()
        if screen.state == TYPING and is_left(screen.typed):
            if self._take_back() == STRANDED:
                return STRANDED
            screen = self.glance()
        if screen.state in (IDLE, LIMIT, GONE, TYPING):
            self.memory.left = False
        return screen.state

    def _typed(self) -> str:
        """The line was typed: wait until the box holds it."""
        screen = self._until(SEEN, lambda now: now.state in (*AWAY, DIALOG) or has_ours(now.typed))
        if screen.state == TYPING and not is_ours(screen.typed) and has_ours(screen.typed):
            self.tmux.press(self.pane, "BSpace", len(LINE))  # a person began to type at that moment: theirs stays
            self.memory.left = False
            return TYPING
        if is_ours(screen.typed):
            self.clock.sleep(APART)
            return self._enter()
        return BUSY if screen.state in (IDLE, LIMIT) or is_left(screen.typed) else screen.state

    def _enter(self) -> str:
        """The box holds the line: press Enter until it is taken, else take it back."""
        for pressed in range(ENTERS + 1):
            screen = self._steady()
            if screen is None:
                return BUSY
            if screen.state in (*AWAY, DIALOG):
                return screen.state
            if not is_ours(screen.typed):  # without an Enter of ours nobody knows who took it, or whether
                return TAKEN if pressed else TYPING if screen.typed else BUSY
            if pressed < ENTERS:
                self.tmux.press(self.pane, "Enter")
                self._until(SWALLOWED, lambda now: now.state in AWAY or not is_ours(now.typed))
        return self._take_back()

    def _take_back(self) -> str:
        """The line was not taken: remove it, and nothing else."""
        for _ in range(ENTERS):  # a dialog can swallow some of the keys
            screen = self.glance()
            if screen.state != TYPING or not is_left(screen.typed):
                break
            self.tmux.press(self.pane, "BSpace", length_of_line(screen.typed))
            screen = self._until(SWALLOWED, lambda now: not now.typed)
        return STRANDED if is_left(screen.typed) else BUSY


# -- turns -----------------------------------------------------------------------------------------------------------


class _InLock(Memory):
    """The memory in an agent's bell lock; it outlives whoever rings.  Blank, ``typed``, or ``taken`` and when."""

    def __init__(self, store: Store, fd: int) -> None:
        self._store, self._fd = store, fd

    def _write(self, text: str) -> None:
        self._store.disk.pwrite(self._fd, text.ljust(_LONG).encode() + b"\n", 0)

    @property
    def left(self) -> bool:
        return _is_typed(os.pread(self._fd, _LONG, 0))

    @left.setter
    def left(self, left: bool) -> None:
        self._write(_TYPED if left else "")

    @property
    def taken(self) -> float:
        word, _, when = os.pread(self._fd, _LONG, 0).decode("ascii", "replace").partition(" ")
        try:
            return float(when) if word == _TAKEN else 0.0
        except ValueError:
            return 0.0

    @taken.setter
    def taken(self, when: float) -> None:
        self._write(f"{_TAKEN} {when!r}")  # to the last digit: rounded up, it would be later than the look of who comes next


_TYPED, _TAKEN, _LONG = "typed", "taken", 31


def _is_typed(data: bytes) -> bool:
    return data.strip() == _TYPED.encode()


class _Answered(Doorbell):
    """A doorbell that somebody else has just rung, and that was taken."""

    def ring(self) -> str:
        return TAKEN


@contextmanager
def turn(store: Store, agent: str, status: Document, host: Program, wait: float = 15.0,
         since: float | None = None) -> Iterator[Doorbell]:  # fmt: skip
    """The doorbell at the pane that ``status`` names, for one ringer at a time; `TimedOut` if another rings so long.

    A bell that was taken after ``since`` (this moment) is this ringer's too: its own types nothing.
    """
    since = store.host.mono() if since is None else since

    def refusal() -> TimedOut:
        return TimedOut(f"somebody else rings for {agent}")

    with mutex.exclusively(store, places.bell_lock(agent), wait, refusal) as fd:
        memory = _InLock(store, fd)
        answered = since < memory.taken <= store.host.mono()
        yield of(store, agent, status, host, memory, _Answered if answered else Doorbell)


def of(store: Store, agent: str, status: Document, host: Program, memory: Memory | None = None,
       kind: type[Doorbell] = Doorbell) -> Doorbell:  # fmt: skip
    """The doorbell at the pane that ``status`` names, believed only while the process that beats for ``agent`` runs in it.

    Where nobody beats for it tmux is not even asked: the pane is gone.
    """
    who = presence.process(store, agent)
    if who is None:
        return kind(_Nowhere(), status["pane"], host, store.host, memory)

    def lives(pid: int) -> bool:
        return processes.is_running(who) and processes.descends(who.pid, pid)

    return kind(Tmux(status["server"]), status["pane"], host, store.host, memory, lives, door.of(store, agent, status, host))


class _Nowhere(Tmux):
    """The server of a pane that is not believed."""

    __slots__ = ()

    def run(self, *words: str, folder: str | None = None) -> str:
        raise PaneGone("no program of this agent is alive here")

    def look(self, pane: str, *formats: str) -> tuple[list[str], list[str]]:
        raise PaneGone("no program of this agent is alive here")


def left(store: Store, agent: str) -> bool:
    """Whether the line may still stand in the agent's input box, left there by a ring that could not end."""
    try:
        return _is_typed(store.bytes_of(places.bell_lock(agent)))
    except OSError:
        return False
