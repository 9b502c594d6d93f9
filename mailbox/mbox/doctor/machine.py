"""What the doctor says of the machine and the place, not of the documents: nothing here is repaired."""

from __future__ import annotations

import os

from mbox import root
from mbox.format import places
from mbox.doctor.survey import Finding
from mbox.opening import OpenStore


def look(store: OpenStore) -> list[Finding]:
    """Everything about this machine that a person should know; only what breaks a promise is ``bad``."""
    return [*_place(store), *_commands(), *_modes(store)]


def _place(store: OpenStore) -> list[Finding]:
    found = [Finding("place", "", warning, False) for warning in store.found.warnings]
    kind = root.filesystem(store.root)
    if root.is_network(kind):
        found.append(Finding("place", "", f"a network file system ({kind}): one machine only may write", False))
    if not os.path.lexists(store.absolute(places.CONFIG)):
        found.append(Finding("config", places.CONFIG, "missing: every setting is at its default", False))
    if not root.same_filesystem(store.absolute(places.MAILBOX), store.absolute(places.TASKS)):
        found.append(Finding("place", places.TASKS, "on another file system than .mailbox"))
    return found


def _commands() -> list[Finding]:
    """Short names that the PATH gives to another program: ``mbox task`` works all the same."""
    from shutil import which

    found = []
    ours = which("mbox")
    for name in ("task", "reserve"):
        path = which(name)
        if path and ours and os.path.dirname(path) != os.path.dirname(ours):
            found.append(Finding("command", path, f"`{name}` is another program here; say `mbox {name}`", False))
    return found


def _modes(store: OpenStore) -> list[Finding]:
    """A store that others can read, though the configuration says private."""
    if not store.config.private:
        return []
    folders = (places.MAILBOX, places.TASKS)
    return [
        Finding("mode", folder, "other users can read it; `chmod 700` it, or set `private: false`", False)
        for folder in folders
        if os.stat(store.absolute(folder)).st_mode & 0o077
    ]
