"""Every error a person can see, with the exit status it ends a command with.

The exit codes are the table of the command line's contract.  One place (``cli.main``) turns an exception into its
line on stderr and its status; everything else raises.  A message is one line: what happened, the file or argument,
the mend.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class MboxError(Exception):
    """Something the caller must know; ``exit`` is the process's exit status."""

    exit = 6


class Nothing(MboxError):
    """There is nothing for a command that was to get one thing, or a check says no."""

    exit = 1


class Usage(MboxError):
    """The call or its input is wrong."""

    exit = 2


class Refused(Usage):
    """A rule refuses the call; the message names the rule and starts with ``refused:``."""

    def __init__(self, message: str) -> None:
        super().__init__(f"refused: {message}")


class NotFound(MboxError):
    """No such message, task, agent or reservation."""

    exit = 3


class TimedOut(MboxError):
    """Time ran out while waiting."""

    exit = 4


class NotYours(MboxError):
    """Somebody else holds it, or the lease is no longer yours."""

    exit = 5


class StoreError(MboxError):
    """The store: lock not had in time, corrupt, full, unreadable, none found.  Nothing happened."""

    exit = 6


class Unwritten(MboxError):
    """It happened, but the answer could not be written: stdout is full or gone.  (74 is EX_IOERR of ``sysexits.h``.)"""

    exit = 74

    def __init__(self, why: str) -> None:
        super().__init__(f"it happened, but the answer could not be written: {why}")


class NoStore(StoreError):
    """No folder with a usable ``.mailbox/`` was found."""


class LockTimeout(StoreError):
    """The store's lock could not be had in time; the message names its holder."""


class Corrupt(StoreError):
    """Something on disk is not what the toolkit writes, and cannot be mended without a decision."""


class LeftAlone(StoreError):
    """A document cannot be read here and is no damage that could be mended: refused, of a newer schema, a folder.

    It is left as it is.  Whoever needs that very document gives up; whoever chooses among many passes it over and says so.
    """


class Unindexed(StoreError):
    """There is no index and none could be made: what needs one is not done."""


class WentBack(StoreError):
    """The journal is shorter than the mark: checkout, clean, stash or a restored copy took the store back in time."""


class Unknown(StoreError):
    """The outcome is unknown: the commit may or may not be durable; repeating with the same key is safe."""


COMPARED = 400
"""Choices that are compared with a word letter by letter; of more, those that begin like it and are about as long."""


def nearest(word: str, choices: list[str], most: int = 3) -> list[str]:
    """The up to ``most`` choices closest to ``word``, best first, for "did you mean"."""
    from difflib import get_close_matches

    if len(choices) > COMPARED:
        def unlike(choice: str) -> tuple[int, int, str]:
            same = next((at for at, pair in enumerate(zip(word, choice, strict=False)) if pair[0] != pair[1]), len(choice))
            return -same, abs(len(choice) - len(word)), choice

        choices = sorted(choices, key=unlike)[:COMPARED]
    return get_close_matches(word, choices, n=most, cutoff=0.5)


def meant_id(word: str, ids: Iterable[str]) -> str:
    """As `did_you_mean`, of ids: of those that the toolkit gave out (``m12``) never one with another number.

    For ``M12``, ``12`` or ``t12`` that is ``m12``, if it is there, and nothing else: the nearest numbers are other
    things, not this one misspelt.
    """
    digits = "".join(filter(str.isdecimal, word))
    same = [one for one in ids if one != word and (not _is_given_out(one) or one[1:] == digits)]
    if digits and len(word) - len(digits) < 2 and word.endswith(digits):
        close = [one for one in same if _is_given_out(one)][:3]
        return f"; did you mean {', '.join(close)}?" if close else ""
    return did_you_mean(word, same)


def _is_given_out(ident: str) -> bool:
    return ident[:1].isalpha() and ident[1:].isdecimal()


def did_you_mean(word: str, choices: list[str]) -> str:
    """``"; did you mean a, b?"`` for the nearest of ``choices``, or nothing."""
    close = nearest(word, choices)
    return f"; did you mean {', '.join(close)}?" if close else ""


# -- what the operating system refused ------------------------------------------------------------------------------

MENDS = {
    errno.ENOSPC: "free some space on that file system",
    errno.EDQUOT: "your quota is used up",
    errno.EROFS: "that file system is read-only",
    errno.EACCES: "check the owner and mode of the store",
    errno.EPERM: "check the owner and mode of the store",
    errno.EIO: "the disk reports an error; look at the kernel's log",
    errno.EISDIR: "a folder stands where a file should be; move it away",
    errno.ENOTDIR: "a file stands where a folder should be; move it away",
    errno.EEXIST: "something else stands in its place; move it away",
    errno.EMFILE: "too many open files; raise `ulimit -n`",
}

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)
"""What refuses every file, whichever it is."""

OTHERS_WORDS = {errno.ENOSPC: ("Out of diskspace", "database or disk is full")}
"""What git and SQLite say of such a refusal, where they do not say what the system does."""


def failure(error: OSError, path: str = "") -> str:
    """An OSError as what happened and the mend, without the path (``path``, where the error does not know it)."""
    if error.errno == errno.ENOSPC and _no_inodes(path or str(error.filename or "")):
        return "no inodes are left on that file system, though there is space; remove files there (`df -i` counts them)"
    mend = MENDS.get(error.errno or 0)
    return f"{error.strerror or error}{'; ' + mend if mend else ''}"


def told(error: Exception, path: str = "") -> str:
    """Any error in a line: an OSError as its file (``path`` where it knows none), what happened and the mend."""
    if not isinstance(error, OSError):
        return str(error)
    where = str(error.filename2 or error.filename or path)
    return f"{where}{': ' if where else ''}{failure(error, where)}"


NEARLY_NONE = 8
"""Inodes, or blocks of space: what was made before the system refused is taken back, so that a few are free again."""


def translated(said: str, path: str) -> str:
    """What another program ``said`` of the system's refusal, about something at ``path``, in our words; empty if of none."""
    for code in REFUSALS:
        if os.strerror(code) in said or any(words in said for words in OTHERS_WORDS.get(code, ())):
            return failure(OSError(code, os.strerror(code)), path)
    return ""


def _no_inodes(path: str) -> bool:
    """Whether the file system of ``path``, which need not be there, has space but may hold no further file."""
    while path.startswith("/"):
        try:
            room = os.statvfs(path)
        except FileNotFoundError:
            path = os.path.dirname(path)
            continue
        except OSError:
            return False
        return room.f_files > 0 and room.f_favail < NEARLY_NONE <= room.f_bavail
    return False


class doing:
    """Turn an OSError of a step before the commit into the one line that a person gets."""

    __slots__ = ("doing", "path")

    def __init__(self, doing: str, path: str = "") -> None:
        self.doing, self.path = doing, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            where = self.path or str(error.filename or "")
            said = f"{where + ': ' if where else ''}{self.doing}: {failure(error, where)}; nothing happened"
            raise StoreError(said) from error
