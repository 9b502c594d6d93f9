"""A log in front of the journal: where the order of records comes from when it is not this machine's lock alone.

A store that lives on one machine has none, and its journal is the order.  A store that several machines share asks the
log first: the commit appends a line there, and only then the same line, byte for byte, to its own journal; the
documents, the index, the audit and recovery read the journal and know of no log.  (``store.md``, A transaction.)
"""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """What orders the records of a store."""

    def append(self, prev: int, seq: int, line: bytes) -> None:
        """Take ``line``, the record numbered ``seq``, if the last one here is ``prev``, and keep it for good.

        `Moved` if another record stands after ``prev``: then nothing of this one was kept.  `StoreError` where it
        cannot be had: nothing happened, or, as `Unknown`, that cannot be told.
        """
