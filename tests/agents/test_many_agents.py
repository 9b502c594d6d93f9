"""Very many agents, or fat ones: nobody who sends waits for their documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit import ANN
from mbox.agents import registry
from mbox.errors import NotFound
from mbox.format import documents, operations, places
from mbox.mail import sending
from mbox.mail.sending import MailDraft
from mbox.store import transaction
from mbox.store.store import Transaction
from taskkit import USER, World


@pytest.fixture
def w(tmp_path: Path) -> World:
    """A store with ann, an orchestrator, bob and rae, and forty agents of an older version that can do very much."""
    found = World(tmp_path)
    registry.add(found.store, USER, "ann", {"role": "orchestrator"})
    can = [f"c{n:05}" for n in range(2000)]

    def forge(tx: Transaction) -> None:
        for n in range(40):
            fields: dict[str, Any] = {"retired_at": tx.now} if n >= 20 else {"team": "blue"} if n < 3 else {}
            fat = documents.new("agent", agent=f"fat{n}", registered_at=tx.now, capabilities=can, **fields)
            tx.put(fat, places.agent(f"fat{n}"))
        tx.record(operations.AGENT_ADD, ["fat0"])

    found.store.transact(forge, USER)
    return found


def test_a_misspelt_name_costs_a_listing(w: World) -> None:
    """The hint is of names; no document but the sender's is read."""
    before = w.store.looked
    with pytest.raises(NotFound, match="did you mean bob"):
        sending.send(w.store, ANN, ["bobb"], MailDraft(body="x"))
    assert w.store.looked - before < 30_000


def test_a_broadcast_asks_the_index(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fat they are, and whoever is retired: it goes to those that are there, of a team or role if that is said."""
    monkeypatch.setattr(transaction, "MOST", 100_000)
    assert sending.broadcast(w.store, ANN, MailDraft(body="x"))["to"] == sorted(
        ["bob", "rae", *(f"fat{n}" for n in range(20))]
    )
    assert sending.broadcast(w.store, ANN, MailDraft(body="x"), team="blue")["to"] == ["fat0", "fat1", "fat2"]
    assert sending.broadcast(w.store, ANN, MailDraft(body="x"), role="reviewer")["to"] == ["rae"]
    with pytest.raises(NotFound, match="no other agent of role cook"):
        sending.broadcast(w.store, ANN, MailDraft(body="x"), role="cook")
    with w.store.locked():
        w.store.drop_index()
    assert len(sending.broadcast(w.store, ANN, MailDraft(body="x"))["to"]) == 22
