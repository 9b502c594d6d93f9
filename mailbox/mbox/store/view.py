"""What the journal says, in place of files that could not be brought to it: for whoever reads a store that nobody may write.

Promised: names and bytes are those that the files would have at the place where the view was made (`end`), and the leases
of records that the files do not follow yet are those records'.  Not promised: anything for what no record names (heartbeats,
what the cache keeps): that is read from the files.
"""

from __future__ import annotations

from mbox.format import documents, places
from mbox.format.documents import Document
from mbox.journal.projection import standing
from mbox.journal.record import Tail
from mbox.journal.segments import Journal


class JournalView:
    """The documents that stand by the journal up to ``end``."""

    __slots__ = ("_folded", "_journal", "_names", "end", "leases")

    def __init__(self, journal: Journal, end: Tail, followed: Tail | None = None) -> None:
        """``followed``: up to where the files follow, as far as that is known."""
        self._journal, self.end = journal, end
        self.leases: dict[str, Document | None] = {}
        """By path, the leases that were granted, or ended, behind ``followed``."""
        if followed and followed < end:
            for _, record in journal.records(followed, end):
                self.leases.update((path, lease) for path, lease in record["lease"])
        self._folded = standing(journal, end)
        self._names: dict[str, set[str]] = {}
        for path, state in self._folded.states.items():
            if state is not None:
                while path:
                    path, _, name = path.rpartition("/")
                    self._names.setdefault(path, set()).add(name)

    def names(self, folder: str, there: list[str]) -> list[str]:
        """The names in ``folder``, in which the files' are ``there``."""
        kept = [name for name in there if not places.is_place(f"{folder}/{name}")]
        return [*kept, *sorted(self._names.get(folder, set()).difference(kept))]

    def bytes_of(self, path: str) -> bytes:
        """The document at ``path`` as it would be written; FileNotFoundError if there is none."""
        doc = self._folded.document(self._journal, path)
        if doc is None:
            raise FileNotFoundError(path)
        return documents.encode(places.kind(path), doc)
