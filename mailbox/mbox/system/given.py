"""Files that people name: a body, a plan, a team file, git's own; read without ever waiting for nobody.

Promised: a regular file is read, by whichever way of symlinks it is reached, and so is a pipe that somebody writes to
(``@<(command)``); a FIFO without a writer, a socket, a folder or a device raises OSError that says so, at once or within
`GRACE`.  ``/dev/null`` is an empty file.  Not promised: that a writer ever ends.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from .disk import check_regular

GRACE = 1.0
"""Seconds for which a FIFO with a name in a folder may be without a writer, who may be opening it at this moment."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def read_plain(path: str, most: int) -> bytes:
    """The first ``most`` bytes of the regular file at ``path``, through symlinks; OSError for anything else."""
    fd = os.open(path, _FLAGS)
    try:
        check_regular(fd, path)
        return _read(fd, most)
    finally:
        os.close(fd)


def read_given(path: str, most: int) -> bytes:
    """The first ``most`` bytes of the file, or of what comes through the pipe, that a person named."""
    fd = os.open(path, _FLAGS)
    try:
        info = os.fstat(fd)
        if stat.S_ISFIFO(info.st_mode):
            return _from_pipe(fd, path, most)
        if not (stat.S_ISCHR(info.st_mode) and info.st_rdev == os.stat(os.devnull).st_rdev):
            check_regular(fd, path)
        return _read(fd, most)
    finally:
        os.close(fd)


def _from_pipe(fd: int, path: str, most: int) -> bytes:
    """What comes through a pipe until its writers have closed it, or ``most`` bytes came."""
    named = _has_name(path)
    end = time.monotonic() + GRACE
    while True:
        try:
            first = os.read(fd, most)
        except BlockingIOError:  # somebody has it open for writing
            first = b""
            break
        if first or not named:
            break
        if time.monotonic() > end:
            raise OSError(errno.EINVAL, "a pipe that nobody writes to", path)
        time.sleep(0.01)
    os.set_blocking(fd, True)
    return first + _read(fd, most - len(first))


def _has_name(path: str) -> bool:
    """Whether the pipe stands in a folder, where nobody may ever write to it; one between processes has a writer, or had."""
    try:
        return stat.S_ISFIFO(os.lstat(os.path.realpath(path)).st_mode)
    except OSError:
        return False


def _read(fd: int, most: int) -> bytes:
    parts = []
    while most > 0 and (part := os.read(fd, min(most, 1 << 20))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)
