"""What the doctor says of the machine and the place, not of the documents.

Promised: nothing is changed (a file is made and removed, to see whether that can be done), and nothing here is repaired; only
what breaks a promise of the store, or keeps every writer from writing, is ``bad``.  Not promised: that what it does not look
at is in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from mbox.errors import Corrupt, failure
from mbox.format import places
from mbox.store.state import State
from mbox.store.store import Store
from mbox.system import filesystem

from .survey import Finding


def look(store: Store, warnings: Iterable[str]) -> list[Finding]:
    """Everything about the machine and the place that a person should know; only what breaks a promise is ``bad``.

    ``warnings``: what finding the root warned of.
    """
    return [*_place(store, warnings), *_commands(), *_modes(store), *_refused(store)]


def _refused(store: State) -> Iterator[Finding]:
    """What every writer needs and would not get: the lock and the journal opened to be written, room for a file."""
    last = (store.journal.segments() or [1])[-1]
    for path in (places.LOCK, f"{places.LOGS}/{os.path.basename(store.journal.path(last))}"):
        try:
            os.close(store.disk.open(store.absolute(path), os.O_RDWR))
        except FileNotFoundError:  # the journal's state is the survey's to say; the lock is made anew
            pass
        except OSError as error:
            why = failure(error, store.absolute(path))
            yield Finding("room", path, f"cannot be written, so no command that writes works: {why}")
    try:
        store.check_folder(places.CACHE)
        store.disk.try_room(store.absolute(places.CACHE))
    except FileNotFoundError:  # it is made by whoever needs it
        pass
    except OSError as error:
        why = failure(error, store.absolute(places.CACHE))
        yield Finding("room", places.CACHE, f"there is no room for what a command writes: {why}")
    except Corrupt:  # a symlink, which the survey names
        pass


def _place(store: State, warnings: Iterable[str]) -> list[Finding]:
    found = [Finding("place", "", warning, False) for warning in warnings]
    kind = filesystem.filesystem(store.root)
    if filesystem.is_network(kind):
        found.append(Finding("place", "", f"a network file system ({kind}): one machine only may write", False))
    if not os.path.lexists(store.absolute(places.CONFIG)):
        found.append(Finding("config", places.CONFIG, "missing: every setting is at its default", False))
    stands = os.path.isdir(store.absolute(places.TASKS))
    if stands and not filesystem.same_filesystem(store.absolute(places.MAILBOX), store.absolute(places.TASKS)):
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


def _modes(store: Store) -> list[Finding]:
    """A store that others can read, though the configuration says private."""
    if not store.config.private:
        return []
    folders = (places.MAILBOX, places.TASKS)
    return [
        Finding("mode", folder, "other users can read it; `chmod 700` it, or set `private: false`", False)
        for folder in folders
        if os.path.isdir(store.absolute(folder)) and os.stat(store.absolute(folder)).st_mode & 0o077
    ]
