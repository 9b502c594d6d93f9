"""The log of hooks: what went wrong where nobody can be told, a line each.

Promised: ``<state>/mbox/hook.log`` (`Host.state_folder`), outside every repository, so that it can be written where the
store cannot; a line has no control letters and at most `LINE` bytes; of more than `MOST` bytes the older half
goes.  Nothing raises.  Not promised: that two who write at once both stand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mbox.errors import MboxError
from mbox.system.clock import stamp
from mbox.system.disk import Disk, read_bytes
from mbox.system.host import Host

LINE, MOST = 500, 256 << 10


def place(environ: Mapping[str, str]) -> str:
    """Where the log is."""
    given, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    folder = given if os.path.isabs(given) else f"{home}/.local/state" if os.path.isabs(home) else Host().state_folder()
    return f"{folder}/mbox/hook.log"


def log(text: str, environ: Mapping[str, str]) -> None:
    """Add a line."""
    path, host, disk = place(environ), Host(), Disk()
    shown = "".join(letter if letter.isprintable() else " " for letter in text)[:LINE]
    try:
        try:
            before = read_bytes(path, 4 * MOST)
        except FileNotFoundError:
            before = b""
            disk.folders(os.path.dirname(path))
        before = before if len(before) < MOST else before[len(before) // 2 :].partition(b"\n")[2]
        disk.replace(path, before + f"{stamp(host.wall())} {shown}\n".encode("utf-8", "backslashreplace"))
    except (OSError, MboxError):
        pass


def last(environ: Mapping[str, str], count: int = 10) -> list[str]:
    """The newest lines."""
    try:
        return read_bytes(place(environ), 4 * MOST).decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []
