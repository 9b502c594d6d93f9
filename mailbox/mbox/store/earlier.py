"""Whether a file is older than its last record: git moved it, or a copy of yesterday was put back.

Promised: a file is *earlier* if its bytes are those of a state of that document that the journal had, at this path or at
another one of its life (a letter is moved).  Such a file is no edit, whatever differs, and nothing is lost with it.  The
whole journal is read, once for however many files: this is for who has found that something is wrong.  Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from mbox.format import documents, places
from mbox.journal.record import Tail, skim
from mbox.journal.segments import Journal


def earlier(journal: Journal, found: Mapping[str, bytes], end: Tail) -> set[str]:
    """The paths in ``found``, which has the bytes that stand there, whose bytes the journal had up to ``end``."""
    wanted: dict[tuple[str, str, bytes], list[str]] = {}
    for path, data in found.items():
        wanted.setdefault((places.kind(path), places.ident(path), data), []).append(path)
    idents = {ident for _, ident, _ in wanted}
    known: set[str] = set()
    for segment, offset, line in journal.between(Tail(0, 1, 0), end) if wanted else ():
        told = skim(line.rstrip(b"\n"))
        if told and idents.isdisjoint(map(places.ident, told[1])):
            continue
        for doc, paths in journal.decoded(segment, offset, line)["put"]:
            for kind, ident in {(places.kind(path), places.ident(path)) for path in paths}:
                if ident in idents:
                    known.update(wanted.get((kind, ident, documents.encode(kind, doc)), ()))
    return known
