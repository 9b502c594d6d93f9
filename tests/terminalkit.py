"""Tools for tests of what a person sees: a command on a terminal of a given size, and a screen of a real tmux."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path

from mbox.format.checks import HIDDEN
from teamkit import environment

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""A change of colour, the only escape sequence that a table or a screen may hold."""

PLAIN = {"NO_COLOR": "", "COLUMNS": "", "LINES": "", "TERM": "xterm-256color"}
"""What makes a terminal an ordinary one, whatever the caller's own is."""


def seen(*words: str, cwd: Path, size: tuple[int, int] = (24, 80), env: Mapping[str, str] | None = None,
         stderr: bool = False) -> str:  # fmt: skip
    """What a command prints on a terminal of ``size`` (lines, columns), with ``stderr`` what it says there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    both = {"stdout": subprocess.DEVNULL, "stderr": theirs} if stderr else {"stdout": theirs, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        words, cwd=cwd, env={**environment(), **PLAIN, **(env or {})}, stdin=subprocess.DEVNULL, start_new_session=True, **both
    )
    os.close(theirs)
    data = b""
    while more := _read(ours):
        data += more
    os.close(ours)
    process.wait(60)
    return data.decode().replace("\r\n", "\n")


def _read(fd: int) -> bytes:
    """What comes next; nothing at the end, which Linux tells by an error."""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


def bare(text: str) -> str:
    """``text`` without its colours; what else is no text in it fails the test."""
    left = COLOUR.sub("", text)
    assert not {char for char in left if ord(char) in HIDDEN and char != "\n"}, repr(left)
    return left
