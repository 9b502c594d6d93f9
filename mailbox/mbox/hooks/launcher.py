"""The launcher: two lines of sh in the home, which every host's line runs, and which know where this installation is.

Promised: it is written whole, by a temporary file and a rename, and only if it says something else; with it gone, every
session goes on unguarded and in silence, which `state` tells.  An upgrade in the same place changes nothing; one elsewhere
is noticed (`state`).
"""

from __future__ import annotations

import os
from shlex import quote, split

from mbox.system import interpreter
from mbox.system.disk import Disk, read_bytes

from .entries import LAUNCHER

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hook.py")

FINE, MISSING = "fine", "missing"


def path(home: str) -> str:
    """Where it is."""
    return f"{home}/{LAUNCHER}"


def text(program: str = "", script: str = "") -> str:
    """What stands in it: the interpreter by its own path, so that a virtual environment's stays that."""
    return f'#!/bin/sh\nexec {quote(program or interpreter.PROGRAM)} -I -S {quote(script or SCRIPT)} "$@"\n'


def state(home: str) -> str:
    """`FINE`, `MISSING`, or what is wrong with it, in words."""
    at = path(home)
    try:
        found = os.fsdecode(read_bytes(at, 1 << 16))
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not os.access(at, os.X_OK):
        return "is not executable"
    if found == text():
        return FINE
    try:
        words = split(found.split("\n")[1])
    except (IndexError, ValueError):
        return "is not ours"
    if len(words) != 6 or words[0] != "exec":
        return "is not ours"
    gone = next((word for word in (words[1], words[4]) if not os.path.exists(word)), "")
    return f"runs {gone}, which is gone" if gone else f"runs another installation, {words[4]}"


def write(home: str, disk: Disk) -> bool:
    """Write it, if it says something else; whether it did."""
    if state(home) == FINE:
        return False
    at = path(home)
    disk.folders(os.path.dirname(at))
    disk.rewrite(at, os.fsencode(text()), 0o755)
    return True
