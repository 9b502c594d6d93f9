"""Every error a person can see, with the exit status it ends a command with.

The exit codes are the table of the command line's contract.  One place (``cli.main``) turns an exception into its
line on stderr and its status; everything else raises.  A message is one line: what happened, the file or argument,
the mend.
"""

from __future__ import annotations

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
        super().__init__(message if message.startswith("refused:") else f"refused: {message}")


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


class NoStore(StoreError):
    """No folder with a usable ``.mailbox/`` was found."""


class LockTimeout(StoreError):
    """The store's lock could not be had in time; the message names its holder."""


class Corrupt(StoreError):
    """Something on disk is not what the toolkit writes, and cannot be mended without a decision."""


class WentBack(StoreError):
    """The journal is shorter than the mark: checkout, clean, stash or a restored copy took the store back in time."""


class Unknown(StoreError):
    """The outcome is unknown: the commit may or may not be durable; repeating with the same key is safe."""


def nearest(word: str, choices: list[str], most: int = 3) -> list[str]:
    """The up to ``most`` choices closest to ``word``, best first, for "did you mean"."""
    from difflib import get_close_matches

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
