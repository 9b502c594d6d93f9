"""Moves: each is one decision in one transaction, and one record ``run.*`` (`standing.Move`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mbox.format.documents import Document
from mbox.store.transaction import Actor, Transaction

from . import entering, items, runs
from .facts import Facts, deciding
from .standing import Move, Ways, World

if TYPE_CHECKING:
    from mbox.store.store import Store

WAYS = Ways(entering.opened, entering.open_seat, items.ended)


def actor(run: str) -> Actor:
    """By whom the records of a run are made."""
    return Actor(f"run:{run}")


def world(store: Store, run: Document, gives_out: bool = True) -> World:
    """What is known for a move of ``run``: the person's ladders (where work may be given out), and nothing of git yet."""
    from mbox.hosts import ladder

    ladders = ladder.load(store.root) if gives_out else ladder.Ladders({}, {})
    return World(Facts(runs.folder(store.root, run), (run["tree"] or {}).get("base")), ladders)


def move(store: Store, run: Document, change: Callable[[Move], None], op: str, by: Actor | None = None,
         gives_out: bool = True) -> bool:  # fmt: skip
    """Make one move of ``run``; whether it changed anything.  What gives no work out is made whatever ``hosts.yaml`` says."""
    around = world(store, run, gives_out)

    def decide(tx: Transaction) -> bool:
        made = Move(tx, run["run"], around, WAYS)
        change(made)
        return made.close(op)

    return deciding(around.facts, lambda: store.transact(decide, by or actor(run["run"])))
