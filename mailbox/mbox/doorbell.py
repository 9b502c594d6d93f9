"""The doorbell: one fixed line typed into an agent's pane, or not.

States of one ring, and what each look at the screen may turn it into:

    look ──gone, copy-mode, dialog, typing, busy──▶ that is the outcome; nothing was typed
      │ idle, twice, `TWICE` seconds apart
    typed (send-keys -l) ──not to be seen within `SEEN`──▶ busy (the keys were lost), dialog, or typing
      │ the input box holds exactly the line
    rest for `APART` (a program that sees a burst of keys takes it for a paste, and Enter for a part of it)
      │ the box still holds exactly the line, and no dialog has come
    Enter ──the box does not hold the line any more──▶ taken
      │ still there after `SWALLOWED`: a redraw swallowed the Enter; again, `ENTERS` times in all
    taken back (BSpace, exactly its length, only while the box holds exactly the line) ──▶ busy, else stranded

Whoever is killed between two of these leaves the line in the box; the next ring finds exactly its own line there and
goes on with Enter, so that it is never doubled.  Two ringers of one agent take turns (`alone`).

Promised: nothing from a message is ever typed; Escape, Ctrl-C and clear commands are never sent; no Enter goes into a
dialog, into an empty box, or onto a line that is not exactly ours as the last look showed it.  Between that look and
the key lie some milliseconds in which a screen can change: what a terminal does not tell, nobody can know.

*taken* means that the program took the line.  Only the inbox says whether the mail was read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from .errors import TimedOut
from .hosts import Host
from .store import Store
from .tmux import Gone, Tmux

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


class Doorbell:
    """The doorbell at one pane of one host program."""

    def __init__(self, tmux: Tmux, pane: str, host: Host, clock: Clock = time) -> None:
        self.tmux = tmux
        self.pane = pane
        self.host = host
        self.clock = clock

    # -- looking -------------------------------------------------------------------------------------------------

    def glance(self) -> Screen:
        """What the pane shows now."""
        try:
            dead, mode = self.tmux.ask(self.pane, "#{pane_dead}", "#{pane_in_mode}")
            if dead == "1":
                return Screen(GONE)
            if mode not in ("", "0"):
                return Screen(COPY)
            return read(self.tmux.capture(self.pane), self.host)
        except Gone:
            return Screen(GONE)

    def look(self) -> Screen:
        """What the pane shows, twice: idle only if both looks say so, with the same in its input box."""
        first = self.glance()
        if first.state != IDLE and first.typed != LINE:
            return first
        self.clock.sleep(TWICE)
        second = self.glance()
        return second if second == first else Screen(BUSY if second.state == IDLE else second.state, second.typed)

    # -- ringing -------------------------------------------------------------------------------------------------

    def ring(self) -> str:
        """Ring once; the outcome."""
        if not self.host.nudge or self.host.prompt is None:
            return BUSY
        screen = self.look()
        if screen.state == TYPING and is_ours(screen.typed):
            return self._enter()  # left there by a ringer that was killed
        if screen.state != IDLE:
            return screen.state
        try:
            self.tmux.type(self.pane, LINE)
            return self._typed()
        except Gone:
            return GONE

    def _typed(self) -> str:
        """The line was typed: wait until the box holds it."""
        screen = self._until(SEEN, lambda now: now.state in (GONE, COPY, DIALOG) or bool(now.typed))
        until = self.clock.monotonic() + SEEN
        while screen.state == TYPING and not is_ours(screen.typed) and _begins(screen.typed):
            if self.clock.monotonic() >= until:
                break
            self.clock.sleep(POLL)
            screen = self.glance()
        if is_ours(screen.typed) and screen.state == TYPING:
            self.clock.sleep(APART)
            return self._enter()
        if screen.state == TYPING and _flat(screen.typed).endswith(_flat(LINE)):
            self.tmux.press(self.pane, "BSpace", len(LINE))  # a person began to type at that moment: theirs stays
            return TYPING
        return screen.state if screen.state in (GONE, COPY, DIALOG, TYPING) else BUSY

    def _enter(self) -> str:
        """The box holds the line: press Enter until it is taken, else take it back."""
        for _ in range(ENTERS):
            screen = self.glance()
            if screen.state != TYPING:
                return TAKEN if screen.state in (IDLE, BUSY) and not screen.typed else screen.state
            if not is_ours(screen.typed):
                return TYPING
            self.tmux.press(self.pane, "Enter")
            screen = self._until(SWALLOWED, lambda now: now.state in (GONE, COPY) or not is_ours(now.typed))
            if screen.state in (GONE, COPY):
                return screen.state
            if not is_ours(screen.typed):
                return TAKEN
        return self._take_back()

    def _take_back(self) -> str:
        """The line was not taken: remove it, and nothing else."""
        screen = self.glance()
        if screen.state == TYPING and is_ours(screen.typed):
            self.tmux.press(self.pane, "BSpace", len(LINE))
            screen = self._until(SWALLOWED, lambda now: not now.typed)
        return STRANDED if is_ours(screen.typed) else BUSY

    def _until(self, seconds: float, good: Callable[[Screen], bool]) -> Screen:
        """The first look that is ``good``, or the last within ``seconds``."""
        until = self.clock.monotonic() + seconds
        while True:
            screen = self.glance()
            if good(screen) or self.clock.monotonic() >= until:
                return screen
            self.clock.sleep(POLL)


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


def _begins(text: str) -> bool:
    return _flat(LINE).startswith(_flat(text))


# -- turns -----------------------------------------------------------------------------------------------------------


@contextmanager
def alone(store: Store, agent: str, wait: float = 15.0) -> Iterator[None]:
    """Be the only one who rings for ``agent``; `TimedOut` if another does for so long."""
    import os

    from . import flock, places

    store.check_folder(places.LOCKS)
    store.disk.folders(store.absolute(places.LOCKS))
    fd = store.disk.open(store.absolute(places.bell_lock(agent)), os.O_RDWR | os.O_CREAT)
    try:
        portable = store.settings.lock_backend == "portalocker" or not flock.HAVE_FLOCK
        if not flock.acquire(fd, wait, portable=portable):
            raise TimedOut(f"somebody else rings for {agent}")
        yield
    finally:
        os.close(fd)
