"""Stamps: whether anybody but the store has been in a folder, or at a file.

A folder's time changes with every name that is made, moved or removed in it, whoever does it.  The commit gives each
folder that it has changed a time that no clock gives by chance: the millisecond of the change, and below it a checksum of
that millisecond, of the folder's inode and of whose life this is (`State.whose`).  A folder that bears another time
was changed by somebody else: git, a person, a restored copy; or by a process that died, or in another life of this machine.
What was there before counts as well: a time that is set back is found out by the inode's change time, which nobody sets.
So whoever only looks knows by one stat for each folder whether its names are the store's, without lock or index.  A
document's file is stamped likewise once it is published, for it can be changed in its place, which its folder does not show.

In the order of the commit's system calls (`Touched`), and what a change by somebody else between two of them does:

1.  Look whether the folder bears a stamp, before the first name is made in it.  *It is not stamped again.*
2.  Stage, and stamp.  *What came between 1 and the stamp is not seen: 20 to 50 µs.*
3.  Append to the journal, which takes nearly all of the time.  *Seen by 4.*
4.  Look again whether it bears the stamp; publish, and stamp.  *As in 2.*

A death anywhere leaves a folder without a stamp, which costs whoever comes next a look at each file (`drift`).

The folders of what is archived and what was sent (`AT_REST`) are stamped likewise, and looked at by nobody but who lists them.

Promised: a stamp never stands where a change was seen.  Not promised: that every change is seen, so a decision does not
rely on it: it asks the index of each document that it reads (`Store.load`).  Where a file system keeps whole seconds
only, everything counts as stamped.
"""

from __future__ import annotations

import os
import stat
from binascii import crc32
from collections.abc import Iterable
from contextlib import suppress

from mbox.format import places

from .files import Files, print_of

KEPT = (places.TASKS, places.NOTES, places.AGENTS, places.RESERVATIONS, places.TEAMS, places.DEADLETTER, places.INBOX)
"""Folders whose names the journal decides; those in `places.INBOX` are agents, each with ``new`` and ``cur``."""

AT_REST = (places.ARCHIVE, places.OUTBOX)
"""Likewise, with folders of agents, and in the archive of months in those; looked at by whoever lists what is in them."""

SOON = 20
"""Milliseconds within which a stamp is set after the change that it tells of; what is set back later is seen."""

UNDER_WAY = 1001
"""The time, in nanoseconds, of what is being compared."""

TRIES = 5

_SECOND, _MILLI = 10**9, 10**6
_INBOX, _ARCHIVE = f"{places.INBOX}/", f"{places.ARCHIVE}/"
_BELOW = (_INBOX, _ARCHIVE, f"{places.OUTBOX}/")
_SINGLE = frozenset(KEPT + AT_REST)


def is_kept(folder: str) -> bool:
    """Whether ``folder`` is one that is stamped."""
    return folder in _SINGLE or folder.startswith(_BELOW)


def is_stamped_file(path: str) -> bool:
    """Whether the document at ``path`` is stamped: what is live, and mail; what was sent is not, for a letter shares its file."""
    return path.startswith((_INBOX, _ARCHIVE)) or places.is_indexed(path)


def kept(files: Files) -> list[str]:
    """Every folder that is stamped and there, parents first."""
    found = list(KEPT)
    try:
        agents = os.listdir(files.absolute(places.INBOX))
    except OSError:
        return found
    for agent in agents:
        if places.is_name(agent):
            found += [f"{_INBOX}{agent}", f"{_INBOX}{agent}/new", f"{_INBOX}{agent}/cur"]
    return found


def unstamped(files: Files, whose: str) -> list[str]:
    """Those of them in which somebody else has been; an agent's that is not there is known by the one above it.

    A symlink is none of them, nor is what lies behind one: the store is never followed out of itself.
    """
    return _unstamped(files, kept(files), whose)


def are_names_ours(files: Files, folder: str, whose: str) -> bool:
    """Whether nobody else has been in ``folder``, an agent's of `AT_REST`, nor in those above and below it."""
    try:
        below = os.listdir(files.absolute(folder)) if folder.startswith(_ARCHIVE) else []
    except OSError:
        below = []
    months = [f"{folder}/{month}" for month in below if places.is_month(month)]
    return not _unstamped(files, [folder.rpartition("/")[0], folder, *months], whose)


def _unstamped(files: Files, folders: Iterable[str], whose: str) -> list[str]:
    found, links = list[str](), list[str]()
    for folder in folders:
        if links and folder.startswith(tuple(links)):
            continue
        try:
            info = os.lstat(files.absolute(folder))
        except OSError:
            if folder in _SINGLE:
                found.append(folder)
            continue
        if stat.S_ISLNK(info.st_mode):
            links.append(f"{folder}/")
        elif not is_stamped(files, info, whose):
            found.append(folder)
    return found


def stamp(files: Files, folders: Iterable[str], whose: str) -> None:
    """Stamp ``folders``, in which nothing is yet."""
    for folder in folders:
        begin(files, files.absolute(folder))
        finish(files, files.absolute(folder), whose)


def begin(files: Files, where: str | int) -> None:
    """Before a file or folder is compared, by its absolute path or open: give it a time that is no stamp.

    Whoever changes it from here on takes that time away, and a death leaves it without a stamp.  What is somebody else's
    can be given no time: it is compared at each look.
    """
    with suppress(OSError):
        files.disk.date(where, UNDER_WAY)


def finish(files: Files, where: str | int, whose: str) -> str:
    """Stamp what was compared, unless somebody has changed it since `begin`; what a file is known by then, or nothing.

    Of a file only as a descriptor: at its path another one may stand by now.
    """
    with suppress(OSError):
        if _stat(where).st_mtime_ns == UNDER_WAY:
            return stamp_new(files, where, whose)
    return ""


def stamp_new(files: Files, where: str | int, whose: str) -> str:
    """The same of what was changed just now.  A process may be halted in the middle of it: then it is done again."""
    info = _stat(where)
    for _ in range(TRIES):
        files.disk.date(where, _time(whose, info.st_ino, info.st_ctime_ns // _MILLI))
        info = _stat(where)
        if is_stamped(files, info, whose):
            break
    return print_of(info)


def stamp_once(files: Files, fd: int, whose: str) -> str:
    """The same of one of many open files, in two calls: one that a halt came between is compared by whoever reads it."""
    info = os.fstat(fd)
    ns = _time(whose, info.st_ino, info.st_ctime_ns // _MILLI)
    files.disk.date(fd, ns)
    return f"{info.st_ino} {info.st_size} {ns}"


def _stat(where: str | int) -> os.stat_result:
    return os.fstat(where) if isinstance(where, int) else os.lstat(where)


def _time(whose: str, inode: int, milli: int) -> int:
    """The stamp as nanoseconds since the epoch; right to the millisecond, so that two of one file differ as its times do."""
    return milli * _MILLI + crc32(f"{whose} {inode} {milli}".encode()) % _MILLI


def is_stamped(files: Files, info: os.stat_result, whose: str) -> bool:
    """Whether what ``info`` is of bears a stamp, and nobody has changed it since."""
    milli = info.st_mtime_ns // _MILLI
    if info.st_mtime_ns == _time(whose, info.st_ino, milli):
        return 0 <= info.st_ctime_ns // _MILLI - milli <= SOON
    return not info.st_mtime_ns % _SECOND and not os.lstat(files.absolute(places.LOCK)).st_mtime_ns % _SECOND


class Touched:
    """The folders that one commit changes."""

    __slots__ = ("_clean", "_files", "_new", "_staged", "whose")

    def __init__(self, files: Files, whose: str) -> None:
        self._files = files
        self.whose = whose
        self._clean: dict[str, bool] = {}
        self._staged: list[str] = []
        self._new: list[str] = []

    def enter(self, folder: str, staging: bool = False) -> None:
        """Before ``folder`` is changed (by ``staging``, or when it is published): note whether nobody else has been in it."""
        if staging and folder not in self._staged and is_kept(folder):
            self._staged.append(folder)
        if folder in self._clean or not is_kept(folder):
            return
        try:
            info = os.lstat(self._files.absolute(folder))
        except OSError:  # it will be made; that it was never there is known by the one above it, if that is stamped
            above = folder.rpartition("/")[0]
            self.enter(above, staging)
            self._clean[folder] = self._clean.get(above, False)
            self._new.append(folder)
            return
        self._clean[folder] = is_stamped(self._files, info, self.whose)

    def lost(self, folder: str) -> None:
        """``folder`` is to be made: if it stood before, somebody has just taken it away, with all that was in it."""
        if folder in self._clean and folder not in self._new:
            self._clean[folder] = False

    def staged(self) -> None:
        """Stamp those in which files were staged."""
        self._stamp(self._staged)

    def look(self) -> None:
        """Whether anybody has been in them since."""
        files, clean = self._files, self._clean
        for folder, is_clean in clean.items():
            if is_clean:
                try:
                    clean[folder] = is_stamped(files, os.lstat(files.absolute(folder)), self.whose)
                except OSError:
                    clean[folder] = False

    def published(self) -> None:
        """Stamp all in which nobody else has been."""
        self._stamp(self._clean)

    def _stamp(self, folders: Iterable[str]) -> None:
        for folder in folders:
            if self._clean[folder]:
                path = self._files.absolute(folder)
                try:
                    stamp_new(self._files, path, self.whose)
                except OSError:
                    pass
