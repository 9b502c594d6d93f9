"""An agent's screen, read: is it busy, does a dialog wait, is somebody typing, has it come to a limit.

An answer can say anything, so what a row means depends on where it stands:

    the transcript        nothing in it counts …
    its last rows         … but the program's own signs directly above the box: `busy` and `limit`, each a row's whole beginning;
                          a limit only below the last row that begins something the agent said or did (`answer`)
    ──────────────
    the input box         empty, or what is typed in it
    ──────────────
    what is below         `dialog` and `busy_below`; `limit_below`, which counts for more than a dialog's words there

A dialog takes the place of the box.  Where there is no box, what stands below the last rule counts as one; where an older
prompt of the transcript is taken for the box, the dialog stands below that.  The pane's title is the program's own
word (`title_busy`, `title_dialog`): a program that streams an answer may show nothing else.

Promised: pure functions of the pane's text, its title and what `hosts.yaml` says of the program; where no input box is
recognised the screen counts as busy, so that nothing is typed; dim text, a placeholder, is not taken for something typed.
Not promised: that a program of tomorrow looks like that of today, nor that the screen is still so when a key arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .programs import Program

LINE = "mbox: there is mail for you. Run: mbox read"
"""What is typed: always this, never anything of a message."""


TAKEN, BUSY, TYPING, DIALOG, COPY, GONE, STRANDED = (
    "taken", "busy", "typing", "dialog", "copy-mode", "gone", "stranded",
)  # fmt: skip


IDLE, LIMIT, SYNCHRONIZE = "idle", "limit", "synchronize"

NEAR = 8
"""Rows with text directly above the input box in which a program's own signs are looked for."""

SHOWN = 12
"""Rows of a dialog that are told to people, its last ones."""

WRAPS = 4
"""Rows over which the beginning of a program's own words may wrap in a narrow pane."""

_RULE = re.compile(r"\s*[╭┌]?[─━═▀▄▔]{8,}[╮┐]?\s*")
_PROMPT_ABOVE = re.compile(r"\s?[❯›>] \S")


_SGR = re.compile(r"\x1b\[([0-9;:]*)m|\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b[()][0-9A-B]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x0e\x0f]")


class Cell(NamedTuple):
    """One character on the screen."""

    char: str
    dim: bool
    inverse: bool


class Screen(NamedTuple):
    """What a pane showed at one moment: its state, what stands in the input box, the words of a dialog or a limit."""

    state: str
    typed: str = ""
    words: str = ""


def read(rows: list[str], host: Program, title: str = "") -> Screen:
    """What the rows of a pane, with their escape sequences, and its title say."""
    cells = _cells(rows)
    texts = ["".join(cell.char for cell in row).rstrip() for row in cells]
    box = _box(cells, host)
    above, below = _parts(texts, box)
    limited = _limit(host, above, below if box is not None else [])
    waits = box is not None and _begins(host.limit_below, below) is not None
    if _any(host.title_dialog, [title]) or (not waits and _any(host.dialog, below)):
        return Screen(DIALOG, words=_words(_asked(texts)))
    typed = None if box is None else _input(cells, texts, host, box)
    if _any(host.title_busy, [title]) or _any(host.busy, [*above, *below]) or _any(host.busy_below, below):
        return Screen(TYPING if typed and is_ours(typed) else BUSY, typed or "")
    if typed is None:
        return Screen(BUSY)
    if typed:
        return Screen(TYPING, typed)
    return Screen(LIMIT, words=_words(limited)) if limited else Screen(IDLE)


def last_words(rows: list[str], host: Program) -> str:
    """What stands directly above the input box, else at the end: what a person should hear of an agent that does nothing."""
    cells = _cells(rows)
    return _words(_parts(["".join(cell.char for cell in row).rstrip() for row in cells], _box(cells, host))[0])


def _any(patterns: Iterable[re.Pattern[str]], texts: Iterable[str]) -> bool:
    return any(pattern.search(text) for text in texts for pattern in patterns)


def _limit(host: Program, above: list[str], below: list[str]) -> list[str]:
    """The rows that tell of a limit: above the box, after the agent's last answer, else below it; none where none do."""
    answer = max((n for n, text in enumerate(above) if _any(host.answer, [text])), default=-1)
    since = above[answer + 1:]
    rows = since[n:] if (n := _begins(host.limit, since)) is not None else []
    return rows or (below[n:] if (n := _begins(host.limit_below, below)) is not None else [])


def _begins(patterns: Iterable[re.Pattern[str]], rows: list[str]) -> int | None:
    """The row in which what a pattern says begins, however it wraps; None where it does not stand there."""
    for n in range(len(rows)):
        wrapped = [" ".join([rows[n], *map(str.strip, rows[n + 1:n + count])]) for count in range(1, WRAPS + 1)]
        if _any(patterns, wrapped):
            return n
    return None


def _box(cells: list[list[Cell]], host: Program) -> int | None:
    """The row where the input begins; None where there is no box to be seen."""
    if host.prompt is None:
        return None
    raw = ["".join(cell.char for cell in row) for row in cells]
    return next((n for n in range(len(raw) - 1, -1, -1) if host.prompt.match(raw[n] + "\u0020")), None)


def _parts(texts: list[str], box: int | None) -> tuple[list[str], list[str]]:
    """The last rows with text above the box, since the last prompt; and the rows from the box on, or what is like one."""
    above = [text for text in texts[:box] if text and not _RULE.fullmatch(text)]
    last = max((n for n, text in enumerate(above) if _PROMPT_ABOVE.match(text)), default=-1)
    return above[last + 1:][-NEAR:], _asked(texts) if box is None else texts[box:]


def _asked(texts: list[str]) -> list[str]:
    """What stands below the last rule that has something below it."""
    end = max((n for n, text in enumerate(texts) if text and not _RULE.fullmatch(text)), default=-1) + 1
    start = max((n for n, text in enumerate(texts[:end]) if _RULE.fullmatch(text)), default=-1)
    return texts[start + 1:end]


def _words(texts: list[str]) -> str:
    """Rows as one line for people."""
    rows = [" ".join(text.split()) for text in texts if any(char.isalnum() for char in text)]
    return " / ".join(rows[-SHOWN:])


def _input(cells: list[list[Cell]], texts: list[str], host: Program, box: int) -> str:
    """The text in the input box."""
    assert host.prompt is not None
    match = host.prompt.match("".join(cell.char for cell in cells[box]) + "\u0020")
    assert match is not None
    lines = [_typed_in(cells[box][match.end():])]
    for row, text in zip(cells[box + 1:], texts[box + 1:], strict=True):
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


def has_ours(text: str) -> bool:
    """Whether the line is there, with something before it or not."""
    return _flat(text).endswith(_flat(LINE))


def is_left(text: str) -> bool:
    """Whether that is the line, or a beginning of it that no person types; once, or again and again.

    Several may stand there where a program that hung reads late what was typed.
    """
    line, found = _flat(LINE), _flat(text)
    return len(found) >= len("mbox:") and (line * (len(found) // len(line) + 1)).startswith(found)


def length_of_line(text: str) -> int:
    """How many letters of the line, or of several, ``text`` is, with the space that may stand behind it unseen."""
    lines, found = divmod(len(_flat(text)), len(_flat(LINE)))
    return lines * len(LINE) + max(n for n in range(len(LINE)) if len(_flat(LINE[:n])) == found)
