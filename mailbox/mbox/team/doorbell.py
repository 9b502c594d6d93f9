"""The doorbell: one fixed line typed into an agent's pane, or not.

States of one ring, and what each look at the screen may turn it into:

    look ──gone, copy-mode, dialog, typing, busy──▶ that is the outcome; nothing was typed
      │ idle, twice, `TWICE` seconds apart; from here it is remembered that the line may stand in the box
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
is never doubled; if there is nothing to ring for any more, `Doorbell.tidy` takes it away.  Two ringers of one agent take
turns (`turn`).

Promised: nothing from a message is ever typed; Escape, Ctrl-C and clear commands are never sent; no Enter goes into a
dialog, into an empty box, or onto a line that is not exactly ours as the last look showed it.  Between that look and
the key lie some milliseconds in which a screen can change: what a terminal does not tell, nobody can know.

*taken* means that the program took the line.  Only the inbox says whether the mail was read.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from mbox.store import mutex as locks
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import TimedOut
from mbox.hosts.programs import Host
from mbox.store.store import Store
from mbox.team.tmux import Gone, Tmux

LINE = "mbox: there is mail for you. Run: mbox read"
"""What is typed: always this, never anything of a message."""

TAKEN, BUSY, TYPING, DIALOG, COPY, GONE, STRANDED = (
    "taken", "busy", "typing", "dialog", "copy-mode", "gone", "stranded",
)  # fmt: skip
IDLE = "idle"

TWICE = 0.2
SEEN = 3.0
APART = 0.7
SWALLOWED = 1.5
ENTERS = 3
POLL = 0.05

_SGR = re.compile(r"\x1b\[([0-9;:]*)m|\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b[()][0-9A-B]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x0e\x0f]")


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Cell(NamedTuple):
    """One character on the screen."""

    char: str
    dim: bool
    inverse: bool


class Screen(NamedTuple):
    """What a pane showed at one moment: its state, and what stands in the input box."""

    state: str
    typed: str = ""


class Memory:
    """Whether the line may stand in the input box: set before it is typed, until it is seen to be gone."""

    left = False


class Doorbell:
    """The doorbell at one pane of one host program."""

    def __init__(self, tmux: Tmux, pane: str, host: Host, memory: Memory | None = None, clock: Clock = time) -> None:
        self.tmux = tmux
        self.pane = pane
        self.host = host
        self.memory = memory or Memory()
        self.clock = clock

    # -- looking -------------------------------------------------------------------------------------------------

    def glance(self) -> Screen:
        """What the pane shows now."""
        try:
            (dead, mode), rows = self.tmux.look(self.pane, "#{pane_dead}", "#{pane_in_mode}")
        except Gone:
            return Screen(GONE)
        if dead == "1":
            return Screen(GONE)
        return Screen(COPY) if mode not in ("", "0") else read(rows, self.host)

    def look(self) -> Screen:
        """What the pane shows, twice: idle only if both looks say so, with the same in its input box."""
        first = self.glance()
        if first.state != IDLE and not first.typed:
            return first
        self.clock.sleep(TWICE)
        second = self.glance()
        return second if second == first else Screen(BUSY if second.state == IDLE else second.state, second.typed)

    def _until(self, seconds: float, good: Callable[[Screen], bool]) -> Screen:
        """The first look that is ``good``, or the last within ``seconds``."""
        until = self.clock.monotonic() + seconds
        while True:
            screen = self.glance()
            if good(screen) or self.clock.monotonic() >= until:
                return screen
            self.clock.sleep(POLL)

    def _steady(self) -> Screen | None:
        """What two looks in a row agree on about the line; a dialog is waited for.

        After `SEEN` without that: the dialog, else None.
        """
        before: Screen | None = None
        until = self.clock.monotonic() + SEEN
        while True:
            now = self.glance()
            if before and now.state != DIALOG and is_ours(before.typed) == is_ours(now.typed):
                return now
            if self.clock.monotonic() >= until:
                return now if now.state == DIALOG else None
            before = now if now.state != DIALOG else None
            self.clock.sleep(POLL)

    # -- ringing -------------------------------------------------------------------------------------------------

    def ring(self) -> str:
        """Ring once; the outcome."""
        if not self.host.nudge or self.host.prompt is None:
            return BUSY
        screen = self.look()
        try:
            if screen.state == TYPING and is_ours(screen.typed):
                outcome = self._enter()  # left there by an earlier ring
            elif screen.state == TYPING and self.memory.left and _is_left(screen.typed):
                outcome = self._take_back()
            elif screen.state == IDLE:
                self.memory.left = True
                self.tmux.type(self.pane, LINE)
                outcome = self._typed()
            else:
                return screen.state
        except Gone:
            outcome = GONE
        if outcome in (TAKEN, GONE):
            self.memory.left = False
        return outcome

    def tidy(self) -> str:
        """Take away a line that was left in the box, if it is still there; what the pane shows then, or stranded."""
        screen = self.look()
        if screen.state == TYPING and _is_left(screen.typed):
            if self._take_back() == STRANDED:
                return STRANDED
            screen = self.glance()
        if screen.state in (IDLE, GONE, TYPING):
            self.memory.left = False
        return screen.state

    def _typed(self) -> str:
        """The line was typed: wait until the box holds it."""
        screen = self._until(SEEN, lambda now: now.state in (GONE, COPY, DIALOG) or _has_ours(now.typed))
        if screen.state == TYPING and not is_ours(screen.typed) and _has_ours(screen.typed):
            self.tmux.press(self.pane, "BSpace", len(LINE))  # a person began to type at that moment: theirs stays
            self.memory.left = False
            return TYPING
        if is_ours(screen.typed):
            self.clock.sleep(APART)
            return self._enter()
        return BUSY if screen.state == IDLE or _is_left(screen.typed) else screen.state

    def _enter(self) -> str:
        """The box holds the line: press Enter until it is taken, else take it back."""
        for pressed in range(ENTERS + 1):
            screen = self._steady()
            if screen is None:
                return BUSY
            if screen.state in (GONE, COPY, DIALOG):
                return screen.state
            if not is_ours(screen.typed):  # without an Enter of ours nobody knows who took it, or whether
                return TAKEN if pressed else TYPING if screen.typed else BUSY
            if pressed < ENTERS:
                self.tmux.press(self.pane, "Enter")
                self._until(SWALLOWED, lambda now: now.state in (GONE, COPY) or not is_ours(now.typed))
        return self._take_back()

    def _take_back(self) -> str:
        """The line was not taken: remove it, and nothing else."""
        for _ in range(ENTERS):  # a dialog can swallow some of the keys
            screen = self.glance()
            if screen.state != TYPING or not _is_left(screen.typed):
                break
            self.tmux.press(self.pane, "BSpace", _length(screen.typed))
            screen = self._until(SWALLOWED, lambda now: not now.typed)
        return STRANDED if _is_left(screen.typed) else BUSY


# -- reading a screen ------------------------------------------------------------------------------------------------


def read(rows: list[str], host: Host) -> Screen:
    """What the rows of a pane, with their escape sequences, say."""
    cells = _cells(rows)
    texts = ["".join(cell.char for cell in row).rstrip() for row in cells]
    if any(pattern.search(text) for pattern in host.dialog for text in texts):
        return Screen(DIALOG)
    typed = _input(cells, texts, host)
    if any(pattern.search(text) for pattern in host.busy for text in texts):
        return Screen(TYPING if typed and is_ours(typed) else BUSY, typed or "")
    if typed is None:
        return Screen(BUSY)
    return Screen(TYPING, typed) if typed else Screen(IDLE)


def _input(cells: list[list[Cell]], texts: list[str], host: Host) -> str | None:
    """The text in the input box; None where there is no box to be seen."""
    if host.prompt is None:
        return None
    raw = ["".join(cell.char for cell in row) for row in cells]
    found = next((n for n in range(len(raw) - 1, -1, -1) if host.prompt.match(raw[n] + "\u0020")), None)
    if found is None:
        return None
    match = host.prompt.match(raw[found] + "\u0020")
    assert match is not None
    lines = [_typed_in(cells[found][match.end():])]
    for row, text in zip(cells[found + 1:], texts[found + 1:], strict=True):
        if host.until is not None and host.until.search(text):
            break
        lines.append(_typed_in(row))
    text = " ".join(line.strip() for line in lines if line.strip())
    return "" if host.hint is not None and host.hint.match(text) else text


def _typed_in(row: list[Cell]) -> str:
    """What a person or a ringer typed in this part of a row: dim text is a placeholder, also under the cursor."""
    solid = [cell for cell in row if not cell.dim and not cell.char.isspace()]
    if len(solid) == 1 and solid[0].inverse and any(cell.dim and not cell.char.isspace() for cell in row):
        return ""
    return "".join(" " if cell.dim else cell.char for cell in row).rstrip()


def _cells(rows: list[str]) -> list[list[Cell]]:
    dim = inverse = False
    found = []
    for row in rows:
        cells, at = [], 0
        for match in _SGR.finditer(row):
            cells += [Cell(char, dim, inverse) for char in row[at:match.start()]]
            at = match.end()
            if match[1] is not None:
                dim, inverse = _looks(match[1], dim, inverse)
        cells += [Cell(char, dim, inverse) for char in row[at:]]
        found.append(cells)
    return found


def _looks(codes: str, dim: bool, inverse: bool) -> tuple[bool, bool]:
    """Dim and inverse after a sequence that selects graphic renditions (ECMA-48, SGR)."""
    words = iter(codes.split(";"))
    for word in words:
        match word:
            case "" | "0":
                dim = inverse = False
            case "2":
                dim = True
            case "22":
                dim = False
            case "7":
                inverse = True
            case "27":
                inverse = False
            case "38" | "48" | "58":
                for _ in range({"5": 1, "2": 3}.get(next(words, ""), 0)):
                    next(words, "")
    return dim, inverse


def _flat(text: str) -> str:
    return re.sub(r"\s", "", text)


def is_ours(text: str) -> bool:
    """Whether that is exactly the doorbell's line, wrapped as the box may have it."""
    return _flat(text) == _flat(LINE)


def _has_ours(text: str) -> bool:
    """Whether the line is there, with something before it or not."""
    return _flat(text).endswith(_flat(LINE))


def _is_left(text: str) -> bool:
    """Whether that is the line, or a beginning of it that no person types."""
    return len(_flat(text)) >= len("mbox:") and _flat(LINE).startswith(_flat(text))


def _length(text: str) -> int:
    """How many letters of the line ``text`` is, with the space that may stand behind it unseen."""
    return max(n for n in range(len(LINE) + 1) if _flat(LINE[:n]) == _flat(text))


# -- turns -----------------------------------------------------------------------------------------------------------


class _InLock(Memory):
    """The memory in an agent's bell lock; it outlives whoever rings."""

    def __init__(self, store: Store, fd: int) -> None:
        self._store, self._fd = store, fd

    @property
    def left(self) -> bool:
        return bool(os.pread(self._fd, len(_LEFT), 0).strip())

    @left.setter
    def left(self, left: bool) -> None:
        self._store.disk.pwrite(self._fd, _LEFT if left else b" " * len(_LEFT), 0)


_LEFT = b"typed\n"


@contextmanager
def turn(store: Store, agent: str, status: Document, host: Host, wait: float = 15.0) -> Iterator[Doorbell]:
    """The doorbell at the pane that ``status`` names, for one ringer at a time; `TimedOut` if another rings so long."""

    def refusal() -> TimedOut:
        return TimedOut(f"somebody else rings for {agent}")

    with locks.alone(store, places.bell_lock(agent), wait, refusal) as fd:
        yield Doorbell(Tmux(status["server"]), status["pane"], host, _InLock(store, fd))


def left(store: Store, agent: str) -> bool:
    """Whether the line may still stand in the agent's input box, left there by a ring that could not end."""
    try:
        return bool(store.bytes_of(places.bell_lock(agent)).strip())
    except OSError:
        return False
