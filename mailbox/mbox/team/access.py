"""What a member must be able to write, and whether it can: tried before its program is started.

The folders (`needed`): ``.mailbox`` and ``.tasks`` of the root, the repository's common git folder, and the git folder of
the member's own tree, which a sandbox may close again although it lies in the common one.

How it is tried (`prove`):

- where words stand before the member's command (`sandboxes`), or its host has a sandbox that `hosts.yaml` knows how to
  enter (``probe``), a shell makes and removes a file in each folder, in that very sandbox, with the member's environment,
  where the member will stand;
- else by access(2), which is true of the user and the mount, and says nothing of a sandbox that the program makes for itself.

Promised: nothing is left in the folders (killed in between, one empty file ``.mbox-probe.PID``).  Not promised: what the
program's settings change later, nor what a host that cannot be asked does; where a host's settings name no mode of its sandbox,
the one of ``probe`` is tried.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mbox import root
from mbox.errors import Refused
from mbox.format.documents import Document
from mbox.hosts import programs

if TYPE_CHECKING:
    from mbox.store.store import Store

PATIENCE = 20.0
"""Seconds for which a sandbox may take to come up."""

_SILENT = "it gave no answer"

_TRY = 'if ! command -v "$0" >/dev/null; then echo "no program $0 in it"; exit 1; fi; ' \
       'for folder; do file="$folder/.mbox-probe.$$"; : >"$file" || exit 1; rm -f "$file" || exit 1; done'


def needed(store: Store, where: str) -> list[str]:
    """The folders in which a member that works in ``where`` must be able to write, beside that one."""
    found = [store.absolute(".mailbox"), store.absolute(".tasks")]
    repository = root.repository(where)
    if repository is not None:
        top, common = repository
        own = root.gitfile(top)
        found += [common, *([os.path.realpath(own)] if own else [])]
    return list(dict.fromkeys(found))


def prove(store: Store, member: Document, where: str, environ: Mapping[str, str], sandbox: Sequence[str]) -> None:
    """`Refused`, with the last words of the sandbox, where the member could not write what it must.

    ``sandbox`` are the words that stand before its command.
    """
    folders, name = needed(store, where), member["name"]
    host = programs.get(member.get("host") or "")
    command = host.command(member.get("command"), folders=folders)
    test = ["/bin/sh", "-c", _TRY, command[0] if sandbox else "sh", *folders]
    lines = host.probes(command, test)
    if not lines and not sandbox:
        closed = next((folder for folder in folders if not os.access(folder, os.W_OK | os.X_OK)), None)
        if closed:
            raise Refused(f"{name} could not write {closed}: it is read-only here, or another user's")
        return
    said = ""
    for line in lines or [test]:
        said = _said([*sandbox, *line], where, environ)
        if not said:
            return
        if said.startswith(_SILENT):
            break
    if said.startswith("no program "):
        raise Refused(f"{name} could not be started in its sandbox: {said}")
    raise Refused(f"{name} could not work, its sandbox does not let it write ({said}): it needs {', '.join(folders)}")


def _said(line: Sequence[str], where: str, environ: Mapping[str, str]) -> str:
    """The last line of what a command that failed said; empty where it did not fail."""
    try:
        done = subprocess.run(
            line, cwd=where, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{_SILENT} within {PATIENCE:g} s"
    except OSError as error:
        return f"{line[0]}: {error.strerror}"
    words = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else words[-1] if words else f"exit {done.returncode}"
