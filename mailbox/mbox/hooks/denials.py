"""What a denial of a held path says, in so many bytes: the path, who holds it, until when, and the command that waits.

Promised: at most `DENIAL` bytes for every path, name and id that may be.  Facts only; what the holder gave as its reason is not
among them, for its words are another agent's.  Light: `quick` says it too.
"""

from __future__ import annotations

import time

DENIAL, SHOWN = 400, 120
"""Bytes of a denial, and of a path in it, at most."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def held(path: str, agent: str, rid: str, left: float, wall: float) -> str:
    """The denial of ``path``, which ``agent`` holds by ``rid`` for ``left`` seconds more; ``wall`` is the time."""
    from mbox.system.clock import patience, span

    left = max(left, 1.0)
    until = time.strftime("%H:%M:%SZ", time.gmtime(wall + left))
    said = f"{cut(path)} is held by {agent} ({rid}) until {until}, {span(left)} from now. Nothing was written. "
    waits = f"{said}`{command(path, f' --wait {patience(left)}')}` waits for it."
    is_shown = len(waits.encode("utf-8", "replace")) <= DENIAL and plain(path) == path
    return waits if is_shown else f"{said}`reserve show {rid}` says more."


def command(path: str, more: str = "") -> str:
    """The command line that reserves ``path``, letter by letter."""
    pattern = "".join("\\" + letter if letter in "*?[{\\" else letter for letter in path)
    word = pattern if pattern and _PLAIN.issuperset(pattern) else "'" + pattern.replace("'", "'\"'\"'") + "'"
    return f"reserve {word}{more}"


_MARKUP = frozenset("<>&`")


def plain(text: str) -> str:
    """``text`` with ``?`` for what does not show and for what could be a host's markup: names are others' words too."""
    return "".join(letter if letter.isprintable() and letter not in _MARKUP else "?" for letter in text)


def cut(text: str) -> str:
    """``text``, `plain`, in at most `SHOWN` bytes, its end kept: that names the file."""
    shown = plain(text)
    data = shown.encode("utf-8", "replace")
    return shown if len(data) <= SHOWN else f"…{data[-SHOWN + 3 :].decode('utf-8', 'ignore')}"
