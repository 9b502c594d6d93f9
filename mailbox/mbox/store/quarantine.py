"""Mending: what is done with a document that cannot be read while a decision needs it.

It is restored from the journal where the journal has it, else taken away; what a person had written into it goes into
the dead letters with the reason.  One record says which, and the decision runs again.  (``store.md``, Recovery.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.format import documents
from mbox.format import places
from mbox.store.files import Damage
from mbox.journal.segments import Journal, Tail
from mbox.store.transaction import SWEEP, Transaction

if TYPE_CHECKING:
    from mbox.store.store import Store


def last_state(journal: Journal, path: str, end: Tail) -> tuple[bool, Any]:
    """Whether the journal names ``path``, and the last document there (None if it was deleted or moved away)."""
    needle = documents.compact(path).encode()
    for segment, offset, line in journal.backwards(end):
        if needle not in line:
            continue
        record = journal.decoded(segment, offset, line)
        if path in record["del"] or any(path == source for source, _ in record["mv"]):
            return True, None
        for doc, paths in record["put"]:
            if path in paths:
                return True, doc
        for source, target in record["mv"]:
            if target == path:
                return last_state(journal, source, Tail(record["seq"], segment, offset))
    return False, None


def envelop(tx: Transaction, path: str, reason: str, detail: str, data: bytes) -> None:
    """Put what stood at ``path`` into the dead letters."""
    text = data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    envelope = documents.new(
        "deadletter", reason=reason, detail=detail, from_path=path, first_at=tx.now, original=text
    )
    tx.put(envelope, places.deadletter(f"d{tx.take()}"))


def mend(store: Store, damage: Damage, warnings: list[str]) -> None:
    """Restore a damaged document from the journal, or quarantine it; one record says which."""
    path = damage.path
    named, doc = last_state(store.journal, path, store.tail)
    tx = Transaction(store, SWEEP)
    try:
        original = store.bytes_of(path)
    except OSError:
        original = b""
    if original or doc is None:
        envelop(tx, path, "damaged document", damage.detail, original)
    if named and doc is not None:
        tx.put(doc, path)
        done = "restored from the journal"
    else:
        tx.delete(path)
        done = "moved to the dead letters"
    tx.record("store.quarantine", [places.ident(path)], f"{damage.detail}; {done}")
    store.commit(tx)
    warnings.append(f"{store.absolute(path)}: {damage.detail}; {done}" + (" (your text is in the dead letters)"
                    if original and doc is not None else ""))  # fmt: skip
