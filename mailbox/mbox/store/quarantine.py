"""Quarantine: what is done with a document that cannot be read while a decision needs it.

Where the journal names it, it is put back as the journal has it, and what stood there is kept `aside`: this is about
this disk, and makes no record.  What the journal does not name goes into the dead letters with the reason, by a record.
Then the decision runs again.  (``store.md``, Recovery.)
"""

from __future__ import annotations

from mbox.format import documents, operations, places
from mbox.journal.projection import last_state

from .aside import keep, put_back
from .commit import commit
from .files import Damage
from .state import State
from .transaction import SWEEP, Transaction

ENVELOPE = 1 << 20
"""Bytes of a damaged document that a dead letter holds at most: a record has room for them in any spelling."""


def envelop(tx: Transaction, path: str, reason: str, detail: str, data: bytes) -> None:
    """Put what stood at ``path`` into the dead letters; of more than `ENVELOPE` bytes only the first, and all of them aside."""
    if len(data) > ENVELOPE:
        detail += f"; all {len(data)} bytes are kept as {keep(tx.store, path)}"
        data = data[:ENVELOPE]
    text = data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    envelope = documents.new(
        "deadletter", reason=reason, detail=detail, from_path=path, first_at=tx.now, original=text
    )
    tx.put(envelope, places.deadletter(f"d{tx.take()}"))


def mend(state: State, damage: Damage, warnings: list[str]) -> None:
    """Put a damaged document back as the journal has it, or quarantine what the journal does not know."""
    path = damage.path
    named, doc = last_state(state.journal, path, state.tail)
    if named:
        kept = keep(state, path)
        put_back(state, path, doc)
        done = "restored from the journal" if doc is not None else "removed, as the journal says"
        done += f"; what stood there is kept as {kept}" if kept else ""
    else:
        try:
            original = state.bytes_of(path)
        except PermissionError:
            kept = keep(state, path)
            put_back(state, path, None)
            warnings.append(f"{state.absolute(path)}: {damage.detail}; taken out of the store, and kept as {kept}")
            return
        except FileNotFoundError:  # somebody took it away just then
            return
        except OSError:
            original = b""
        tx = Transaction(state, SWEEP)
        envelop(tx, path, "damaged document", damage.detail, original)
        tx.delete(path)
        tx.record(operations.STORE_QUARANTINE, [places.ident(path)], f"{damage.detail}; moved to the dead letters")
        commit(state, tx)
        done = "moved to the dead letters"
    warnings.append(f"{state.absolute(path)}: {damage.detail}; {done}")
