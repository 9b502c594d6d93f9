"""Who may read a private store: its owner, and nobody else, whatever made the files.

Promised: once a command has been about to take the lock, every folder of a private store is 0700 and every file 0600,
or less where it was less; a clone, which git makes with the umask's modes, too.  The first look is at the two top
folders alone: behind one that is closed nobody gets at anything.  Not promised: anything on a file system without modes,
which is left as it is, or where the files are another user's, which is said.

Without the lock, for nothing depends on it: what was there first, the top folders last, so that a death in the middle
leaves them open, and the next command does it again.  Symlinks are neither followed nor changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from mbox.errors import failure
from mbox.format import places

from .state import State

TOPS = (places.MAILBOX, places.TASKS)

OTHERS = 0o077
"""What a private file's mode has nothing of."""


def tighten(state: State) -> None:
    """Close every file and folder of the store to others; what cannot be closed is said."""
    if not _has_modes(state):
        return
    closed = 0
    try:
        for top in TOPS:
            for path, mode in _open_below(state.absolute(top)):
                try:
                    state.disk.chmod(path, mode)
                    closed += 1
                except FileNotFoundError:
                    continue  # moved or removed at this moment, by somebody who makes it anew
    except OSError as error:
        state.say(f"{error.filename or state.root}: other users can read it, and that could not be mended: {failure(error)}")
    if closed:
        state.say(f"{state.root}: {closed} files and folders of the store were open to other users, and are not any more "
                  "(`private: true` in config.yaml)")  # fmt: skip


def _has_modes(state: State) -> bool:
    """Whether a mode stays as it was set here, tried on the lock file."""
    try:
        state.disk.chmod(state.lock.path, 0o600)
        return not os.stat(state.lock.path).st_mode & OTHERS
    except OSError:
        return os.lstat(state.absolute(places.MAILBOX)).st_uid != os.geteuid()  # then it is said why


def _open_below(folder: str) -> Iterator[tuple[str, int]]:
    """What others could get at in ``folder`` and below, itself last, each with the mode that it is to have."""
    try:
        info = os.lstat(folder)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _open_below(entry.path)
            elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mode & 0o177:
                yield entry.path, stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode) & 0o600
    if info.st_mode & OTHERS:
        yield folder, stat.S_IMODE(info.st_mode) & 0o700
