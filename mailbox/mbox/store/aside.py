"""What this disk lost: a file that the journal knows better is kept beside the store, and the journal's state put back.

Promised: before anything is done to a file that a person could want, the same file stands in ``.mailbox/aside/`` under a
name of its own, durable, or one of the same bytes does that came from there lately; and nothing there is ever written over.
A free name is found in few steps, however many stand there; what is put back is durable, for no replay would bring
it again: the record that made it may lie before the checkpoint.  No record is made: the journal says already what belongs
at that path, on every disk.  Whoever wants the bytes back has the line on stderr that names the file; ``mbox doctor``
names them all.  Not promised: anything for what is no regular file, or empty.

In this order, and what a death after each leaves:

1.  Link the file into ``aside/``, sync it and the folder.  *Two names of one file; the next try finds its name again.*
2.  Rename the journal's state over its place, synced before, or unlink it; sync the folder.  *Done.*

What the journal does not know has no state to put back: it is moved into ``aside/`` in one step (`move`), and both folders are
synced once for many (`settle`).  A death before that leaves each file in the one or the other place, and it is found again.

Where the file system knows no links the bytes are copied, synced and renamed into ``aside/``.  A file of another user's, which
may neither be linked nor read, is moved there as it is: a death after that leaves the document gone, and it is put back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from mbox.errors import doing
from mbox.format import documents, places
from mbox.system.disk import exists, read_bytes

from .files import Files, remove

RECENT, READ = 1000, 16
"""Files that were kept last of one name, among which the same bytes are looked for; and how many of them are read at most."""

_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV)


def keep(files: Files, path: str) -> str:
    """Keep the file that stands at ``path``; the absolute path that it has in ``aside/``, or nothing if it is not worth it.

    `StoreError` where it cannot be kept: then nothing may be done to it.
    """
    source, folder = files.absolute(path), files.absolute(places.ASIDE)
    info = _worth(source)
    if info is None:
        return ""
    files.check_folder(places.ASIDE)
    with doing("making the folder for what is kept", folder):
        files.disk.folders(folder)
    with doing(f"keeping what stands at {source}", folder):
        target, stands = _name(folder, source, info)
        try:
            if not stands:
                _publish(files, source, target)
        except FileNotFoundError:
            if exists(source):
                raise
            return ""  # somebody else took it away just then
    return target


def foreseen(files: Files, path: str) -> str:
    """What `keep` would return now; nothing is changed."""
    source = files.absolute(path)
    info = _worth(source)
    return _name(files.absolute(places.ASIDE), source, info)[0] if info else ""


def _worth(source: str) -> os.stat_result | None:
    """What stands at ``source``, if it is worth keeping: a file that is not empty."""
    try:
        info = os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info if stat.S_ISREG(info.st_mode) and info.st_size else None


def _name(folder: str, source: str, info: os.stat_result) -> tuple[str, bool]:
    """A free path in ``folder`` for the file ``source``, or the one under which it, or its bytes, stand there already."""
    stem, dot, ending = source.rpartition("/")[2].rpartition(".")

    def at(number: int) -> str:
        return f"{folder}/{stem}-{number}{dot}{ending}"

    free = _free(lambda number: exists(at(number)))
    left = READ
    for number in range(free - 1, max(free - 1 - RECENT, 0), -1):
        there = os.lstat(at(number))
        if os.path.samestat(there, info):
            return at(number), True
        if left and stat.S_ISREG(there.st_mode) and there.st_size == info.st_size:
            left -= 1
            if _are_same(at(number), source):
                return at(number), True
    return at(free), False


def _free(is_taken: Callable[[int], bool]) -> int:
    """A number that is not taken, after one that is, if any: found by doubling, then by halves."""
    taken, free = 0, 1
    while is_taken(free):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if is_taken(middle) else (taken, middle)
    return free


def _are_same(one: str, other: str) -> bool:
    """Whether two files hold the same bytes; not what cannot be read here."""
    try:
        return read_bytes(one) == read_bytes(other)
    except OSError:
        return False


def _publish(files: Files, source: str, target: str) -> None:
    disk = files.disk
    try:
        disk.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            disk.replace_synced(target, read_bytes(source))
        except PermissionError:
            disk.rename(source, target)
            disk.sync_folder(os.path.dirname(target))
        return
    try:
        disk.sync_path(target)
    except PermissionError:
        pass
    disk.sync_folder(os.path.dirname(target))


def move(files: Files, path: str) -> str:
    """Take what stands at ``path`` out of the store: the absolute path that it has in ``aside/`` now, or nothing as for `keep`.

    Durable once `settle` was called.  `StoreError` where that fails.
    """
    source, folder = files.absolute(path), files.absolute(places.ASIDE)
    for at in (places.ASIDE, path.rpartition("/")[0]):
        files.check_folder(at)
    with doing(f"keeping what stands at {source}", folder):
        files.disk.folders(folder)
        info = _worth(source)
        target, stands = _name(folder, source, info) if info else ("", False)
        try:
            if info and not stands:
                files.disk.rename(source, target)
            else:
                files.disk.unlink(source)
        except FileNotFoundError:  # somebody else took it away just then
            return target if stands else ""
    return target


def settle(files: Files, folders: Iterable[str]) -> None:
    """Make durable what was moved out of ``folders``."""
    for path in (places.ASIDE, *folders):
        with doing("keeping what was taken out of the store", files.absolute(path)), suppress(FileNotFoundError):
            files.disk.sync_folder(files.absolute(path))


def put_back(files: Files, path: str, doc: Any) -> None:
    """Bring ``path`` to the state that the journal has, ``doc`` or nothing, durable; `StoreError` where that fails."""
    target = files.absolute(path)
    folder = os.path.dirname(target)
    files.check_folder(path.rpartition("/")[0])
    with doing("putting back what the journal has", target):
        if doc is None:
            remove(files, path)
            with suppress(FileNotFoundError):
                files.disk.sync_folder(folder)
            return
        kind = places.kind(path)
        data = documents.encode(kind, documents.ordered(kind, doc) if isinstance(doc, dict) else doc)
        files.placing(target, lambda: files.disk.replace_synced(target, data))
