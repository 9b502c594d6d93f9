"""Dead letters: mail that could not be delivered or read."""

from __future__ import annotations

from .context import Context
from .options import argument, changes, command, lists, words
from .values import DEADLETTER


@command(examples=["mbox deadletter list"])
@lists(100)
def deadletter_list(context: Context) -> None:
    """List what could not be delivered or read, with the reason, oldest first."""
    from mbox.mail import deadletters

    context.emit(deadletters.headers(context.store))


@command(examples=["mbox deadletter show d12", "mbox deadletter show m5"], exits={3: "no such dead letter"})
@argument("which", metavar="ID", type=DEADLETTER)
def deadletter_show(context: Context, which: str) -> None:
    """Show a dead letter whole; ID is its own, or that of the message in it."""
    from mbox.mail import deadletters

    found = deadletters.show(context.store, which)
    context.emit(found[0] if len(found) == 1 else found)


@command(examples=["mbox deadletter retry d12", "mbox deadletter retry m5"], exits={3: "no such dead letter or agent"})
@changes
@words("ids", "ID", DEADLETTER)
def deadletter_retry(context: Context, ids: tuple[str, ...]) -> None:
    """Deliver dead mail again, to its old place in the inbox."""
    from mbox.mail import deadletters

    context.emit(deadletters.retry(context.store, context.actor(required=False), ids))


@command(examples=["mbox deadletter purge d12"], exits={3: "no such dead letter"})
@changes
@words("ids", "ID", DEADLETTER)
def deadletter_purge(context: Context, ids: tuple[str, ...]) -> None:
    """Remove dead letters for good; the journal still knows them."""
    from mbox.mail import deadletters

    context.emit(deadletters.purge(context.store, context.actor(required=False), ids))
