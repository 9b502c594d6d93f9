"""A person's file in a project, into which something of ours goes: read, written and shown with care.

Promised: a symlink is followed, and stays one; a file's mode stays; what has changed since it was read is left as it is
(`Refused`); what is nothing to read or to write is told with its path (`Usage` for a person to mend, `StoreError` for what the
system said).  Not promised: that nobody writes between the last look and the rename.
"""

from __future__ import annotations

import difflib
import io
import os

from mbox.errors import Refused, StoreError, Usage, failure
from mbox.system.disk import Disk, exists, read_bytes

Row = dict[str, str]

LARGEST = 4 << 20
"""Bytes of a file: at most."""


def read(path: str) -> bytes | None:
    """The bytes of a file; None where there is none, and no folder for it either."""
    try:
        return read_bytes(os.path.realpath(path), LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        if exists(path):
            raise Usage(f"{path} is a symlink to nothing: mend it first") from None
        folder = os.path.dirname(path)
        if os.path.isdir(folder) or not exists(folder):
            return None
        raise StoreError(f"{folder}: is no folder") from None
    except OSError as error:
        raise StoreError(f"{path}: {failure(error)}") from None


def written(host: str, top: str, path: str, before: bytes | None, after: bytes | None, disk: Disk, dry_run: bool) -> Row:
    """Write ``after`` where ``before`` was read, or remove the file where that is None; what was done, or would be."""
    name = os.path.relpath(path, top)
    row = {"host": host, "file": name, "did": _did(before, after)}
    if before == after:
        return row
    if dry_run:
        return {**row, "diff": difference(name, before, after)}
    if read(path) != before:
        raise Refused(f"{path} was changed while this ran, and is left as it is: again")
    try:
        if after is None:
            disk.unlink(path)
            _remove_folders(top, path, disk)
        elif before is None:
            disk.folders(os.path.dirname(path))
            disk.replace(path, after)
        else:
            disk.rewrite(path, after)
    except OSError as error:
        raise StoreError(f"{path}: {failure(error)}") from None
    return row


def _remove_folders(top: str, path: str, disk: Disk) -> None:
    """Remove the folders between ``top`` and a file that is gone where nothing else is in them."""
    while (path := os.path.dirname(path)) != top:
        disk.remove_empty(path)


def _did(before: bytes | None, after: bytes | None) -> str:
    if before == after:
        return "nothing"
    return "removed" if after is None else "made" if before is None else "changed"


def difference(name: str, before: bytes | None, after: bytes | None) -> str:
    """A unified diff that `git apply` takes, of files that are UTF-8; a byte that is not is shown by its number."""
    texts = ((data or b"").decode("utf-8", "backslashreplace") for data in (before, after))
    old, new = (io.StringIO(text, newline="\n").readlines() for text in texts)
    sides = "/dev/null" if before is None else f"a/{name}", "/dev/null" if after is None else f"b/{name}"
    lines = difflib.unified_diff(old, new, *sides)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
