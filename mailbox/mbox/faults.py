"""Faults: what the operating system refused, as the one line that a person gets, with its mend."""

from __future__ import annotations

import errno

from mbox.errors import StoreError

MENDS = {
    errno.ENOSPC: "free some space on that file system",
    errno.EDQUOT: "your quota is used up",
    errno.EROFS: "that file system is read-only",
    errno.EACCES: "check the owner and mode of the store",
    errno.EPERM: "check the owner and mode of the store",
    errno.EIO: "the disk reports an error; look at the kernel's log",
    errno.EMFILE: "too many open files; raise `ulimit -n`",
}


def failure(error: OSError) -> str:
    """An OSError as what happened and the mend, without the path."""
    mend = MENDS.get(error.errno or 0)
    return f"{error.strerror or error}{'; ' + mend if mend else ''}"


class said:
    """Turn an OSError of a step before the commit into the one line that a person gets."""

    __slots__ = ("doing", "path")

    def __init__(self, doing: str, path: str = "") -> None:
        self.doing, self.path = doing, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            where = self.path or str(error.filename or "")
            said = f"{where + ': ' if where else ''}{self.doing}: {failure(error)}; nothing happened"
            raise StoreError(said) from error
