"""Screens for a person: how things stand at one look, and a list that is drawn again and again.

`status` is a page in four parts, each left out where there is nothing to say: what needs a person, what moves, what
waits, and at the end what is as usual.  It keeps to the width, and every text in it is on one line.

Promised: a frame has at most the terminal's lines, each of them what a formatter fitted into its width; it stands at the top
and covers what was there.  A line is cleared behind its text and the screen below the last one, nothing before it is
written anew: so nothing flickers.  No mode of the terminal is changed, so that nothing has to be undone when the process is
ended, however that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mbox.format.checks import on_one_line

from . import output
from .output import Doc, Drawn

HOME, END_OF_LINE, BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
"""To the upper left corner; clear to the end of the line; clear to the end of the screen (ECMA-48: CUP, EL, ED)."""


def frame(text: str, lines: int) -> Drawn:
    """``text``, which a formatter made, as it is drawn over the frame before; of too many lines the last says how many more."""
    rows, room = text.splitlines(), max(lines - 1, 2)  # the cursor stands below the last one
    if len(rows) > room:
        rows = [*rows[: room - 1], f"… {len(rows) - room + 1} more"]
    return Drawn(HOME + "".join(f"{row}{END_OF_LINE}\n" for row in rows) + BELOW)


def status(answer: Doc, why: Sequence[tuple[bool, str]]) -> Drawn:
    """The page of `mbox status`; ``why``: the reasons why something does not move, each with whether it needs a person."""
    width = output.columns() if output.on_terminal() else 0
    life = answer["agents"]
    moves = [row for row in answer["claims"] if row.get("left") != "expired" and life.get(row.get("holder")) != "dead"]
    parts = [
        ("needs you", "31", _lines((text for needs, text in why if needs), width)),
        ("moves", "32", _table(moves, width)),
        ("waits", "33", _lines((text for needs, text in why if not needs), width)),
        ("reserved", "", _table(answer["reservations"], width)),
        ("as usual", "2", _routine(answer, width)),
    ]
    return Drawn("\n".join(f"{_headed(title, colour)}\n{text}" for title, colour, text in parts if text))


def _headed(title: str, colour: str) -> str:
    if not output.is_coloured():
        return title
    from .looks import BOLD, tinted

    return tinted(title, f"{BOLD};{colour}" if colour else BOLD)


def _lines(texts: Iterable[str], width: int) -> str:
    """A line each, indented; a long one goes on below, further in."""
    from textwrap import wrap

    rows = []
    for text in map(on_one_line, texts):
        whole = [f"  {text}"]
        rows += wrap(text, width, initial_indent="  ", subsequent_indent="      ") if width > 20 else whole
    return "".join(f"{row}\n" for row in rows)


def _table(rows: Sequence[Doc], width: int) -> str:
    """Rows below each other, indented, without the line of names: what they are is to be seen."""
    made = output.formatter("table", terminal=width > 0)
    assert isinstance(made, output.Table)
    made.headed, made.width, made.keeps, made.gives = False, max(width - 2, 0), "title", ("left", "holder")
    return "".join(f"  {line}\n" for line in made.many(rows).splitlines())


def _with_end(answer: Doc, name: str) -> str:
    end = answer["ended"].get(name)
    return f"{name} ({end})" if end else name


def _routine(answer: Doc, width: int) -> str:
    """What is as it should be, a field a line; agents by how alive they are."""
    by_life: dict[str, list[str]] = {}
    for name, life in sorted(answer["agents"].items()):
        by_life.setdefault(life, []).append(name)
    fields = {
        **{life: ", ".join(_with_end(answer, name) for name in names) for life, names in sorted(by_life.items())},
        "tasks": ", ".join(f"{count} {name}" for name, count in answer["tasks"].items()),
        "unread": ", ".join(f"{name} {count}" for name, count in answer["unread"].items()),
        "oldest": answer["oldest_unread"],
        "last": answer["last"],
        "journal": f"record {answer['seq']}, {answer['durability']}, {answer['watcher']}",
        "watchdog": answer["watchdog"],
        "root": answer["root"],
    }
    shown = {name: on_one_line(text) for name, text in fields.items() if text}
    wide = max(map(len, shown))
    paint = output.painter()
    return "".join(
        f"  {paint('state', name, name)}{' ' * (wide - len(name))}  {output.cut(text, width - wide - 4) if width else text}\n"
        for name, text in shown.items()
    )
