"""The inbox: list, read, wait, look again.  What a reader gets is acknowledged only after it has left the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mbox.format.checks import ident
from mbox.cli import output
from mbox.cli.context import Context
from mbox.cli.options import (
    AGENT,
    DURATION,
    ID,
    LINE,
    F,
    argument,
    changes,
    command,
    lists,
    option,
    shows,
    words,
)  # fmt: skip
from mbox.errors import Nothing, TimedOut, Usage

if TYPE_CHECKING:
    from mbox.mail.waiting import Bell
    from mbox.format.documents import Document
    from mbox.mail.lookup import Wanted
    from mbox.store.store import Actor

TIMEOUT = 100.0
"""Seconds that a waiting command waits unless said: less than the two minutes that agents give a command."""

_WANTED = (
    option("--from", "sender", type=AGENT, metavar="A", help="only from this agent"),
    option("--type", type=LINE, metavar="T", help="only of this type"),
    option("--thread", type=ID, metavar="ID", help="only of this thread"),
)
timeout = option(
    "--timeout", type=DURATION, default=TIMEOUT, metavar="D", help="how long to wait (100s); 0 is for ever"
)


def _filters(function: F) -> F:
    """The options of which messages are wanted."""
    for one in reversed(_WANTED):
        function = one(function)
    return function


def _wanted(sender: str | None, type: str | None, thread: str | None) -> Wanted:
    from mbox.mail.lookup import Wanted

    return Wanted(sender or "", type or "", thread or "")


def bell_at(context: Context, agent: str) -> Bell:
    """A bell at the inbox of ``agent``, as the store's configuration wants it."""
    from mbox.mail.waiting import Bell

    store = context.store
    return Bell(store, agent, store.watch_backend, store.config.poll)


# -- the inbox ---------------------------------------------------------------------------------------------------------


@command(examples=["mbox inbox", "mbox inbox --all --limit 50"], exits={3: "you are not registered"})
@lists(20)
@option("--all", "every", is_flag=True, help="also what is archived (acknowledged) or expired")
def inbox(context: Context, every: bool) -> None:
    """List unread and unacknowledged mail by priority, then age. Changes nothing.

    --all also lists what has expired and, behind all that, what is archived, newest first.
    """
    from mbox.mail import lookup as letters

    agent, store = context.actor().name, context.store
    rows, left = letters.inbox(store, agent, context.limit, every)
    context.emit(rows, "message")
    if left:
        context.say(f"{left} more: --limit {len(rows) + left}, or 0 for all")
    if not rows:
        context.say(f"the inbox of {agent} is empty; looked in {store.root}")


@command(
    examples=["mbox read", "mbox read m12 m15", "mbox read --all --from bob", "mbox read --wait 90s --thread m12"],
    exits={1: "nothing unread", 3: "no such message for you", 4: "time ran out while waiting",
           5: "not your incarnation"},
)  # fmt: skip
@changes
@shows
@lists(100)
@words("ids", "[ID]", ident, required=False)
@option("--next", "one", is_flag=True, help="the next by priority, then age (the default)")
@option("--all", "every", is_flag=True, help="all that is unread")
@option("--wait", type=DURATION, metavar="D", help="wait that long if there is none")
@_filters
def read(context: Context, ids: tuple[str, ...], one: bool, every: bool, wait: float | None,
         sender: str | None, type: str | None, thread: str | None) -> None:  # fmt: skip
    """Take messages out of the inbox and print them whole.

    They are acknowledged once printed; those that say needs_ack only by `ack` or `reply`. What is not acknowledged
    in time comes back.
    """
    from mbox.mail import sending as mail

    wanted = _wanted(sender, type, thread)
    if ids and (one or every or wait is not None or any(wanted)):
        raise Usage("IDs, or --next, --all and filters: not both")
    store, actor = context.store, context.actor()
    if ids:
        docs = mail.read(store, actor, ids, dry_run=context.dry_run)
    else:
        docs = _unread(context, actor, wanted, every, wait)
    _show(context, docs, every or len(ids) > 1)
    context.flush()
    if not context.dry_run:
        mail.finish(store, actor, docs)


def _unread(context: Context, actor: Actor, wanted: Wanted, every: bool, wait: float | None) -> list[Document]:
    """What to read without IDs: the next, or all up to ``--limit``; `Nothing` or `TimedOut` if there is none."""
    from mbox.mail import reading

    store, limit = context.store, context.limit if every else 1
    docs = reading.read_many(store, actor, limit, wanted, context.dry_run)
    if every and limit and len(docs) == limit:
        context.say(f"no more than {limit} at a time; `mbox read --all` again for the rest, or --limit 0")
    if not docs and wait is not None and not context.dry_run:
        from mbox.mail import waiting as asks

        with bell_at(context, actor.name) as bell:
            docs = asks.take(store, actor, bell, wanted, limit, wait) or []
        if not docs:
            raise TimedOut(f"no such mail for {actor.name} within the time")
    if not docs:
        raise Nothing(f"nothing unread for {actor.name}{' that fits' if any(wanted) else ''}; looked in {store.root}")
    return docs


def _show(context: Context, docs: Sequence[Document], several: bool) -> None:
    """Print messages whole: one as an object, several as a list; for a person one below the other, nothing cut.

    Without ``--full`` what every reader knows is left out: that, by whom and when they were read.
    """
    if not context.full:
        known = {"state": "read", "deliveries": 1, "read_by": None, "read_at": None, "state_version": None, "key": None}
        docs = [
            {field: value for field, value in doc.items() if field not in known or known[field] not in (None, value)}
            for doc in docs
        ]
    if several and not (context.output in ("auto", "table") and output.on_terminal()):
        context.limit = 0
        context.emit(docs, "message")
        return
    for number, doc in enumerate(docs):
        if number:
            context.write("\n")
        context.emit(doc, "message")


@command(
    examples=["mbox ack m12", "mbox ack m12 --token 40"],
    exits={3: "no such message", 5: "the lease on it is lost: it came back, or was read again"},
)
@changes
@words("ids", "ID", ident)
@option("--token", type=int, metavar="N", help="the token that `read` printed")
def ack(context: Context, ids: tuple[str, ...], token: int | None) -> None:
    """Acknowledge what you have read: all of the IDs, or none."""
    from mbox.mail import sending as mail

    rows = mail.acknowledge(context.store, context.actor(), ids, token, context.dry_run)
    context.emit(rows[0] if len(rows) == 1 else rows)


@command(examples=["mbox show m12", "mbox show m12 --full"], exits={3: "no such message"})
@shows
@argument("msg_id", metavar="ID", type=ID)
def show(context: Context, msg_id: str) -> None:
    """Show any message again, with the state of each receiver's copy. Changes nothing."""
    from mbox.mail import lookup as letters

    actor = context.actor(required=False)
    agent = actor.name if actor.incarnation else None
    found = (letters.find if context.full else letters.show)(context.store, msg_id, agent)
    context.emit(found, "message")


# -- waiting -----------------------------------------------------------------------------------------------------------


@command(
    examples=["mbox wait && mbox read", "mbox wait --thread m12 --timeout 10m", "mbox wait --new --from bob"],
    exits={3: "you are not registered", 4: "time ran out"},
)
@timeout
@option("--new", is_flag=True, help="only mail that comes from now on")
@_filters
def wait(context: Context, timeout: float, new: bool, sender: str | None, type: str | None, thread: str | None) -> None:
    """Wait until mail is unread, and print its headers; it stays unread."""
    from mbox.mail import waiting as asks

    agent, wanted = context.actor().name, _wanted(sender, type, thread)
    with bell_at(context, agent) as bell:
        rows = asks.wait(context.store, agent, bell, wanted, new, timeout)
        if rows is None:
            raise TimedOut(f"no mail for {agent} within the time; looked in {context.store.root}")
        context.emit(rows, "message")
        context.flush()


@command(
    examples=["mbox watch", "mbox watch -- ./on-mail.sh   # a header as JSON on its stdin"],
    exits={3: "you are not registered", 126: "CMD cannot be run", 127: "no such CMD"},
    tail="CMD...",
)
@option("--new", is_flag=True, help="only mail that comes from now on")
@_filters
def watch(context: Context, new: bool, sender: str | None, type: str | None, thread: str | None) -> None:
    """Print the header of each message as it is delivered, a JSON line each, or run CMD for it; it stays unread.

    What is unread already comes first. CMD gets the line on stdin, never in its arguments, and is not stopped by the
    next one.
    """
    from mbox.mail import waiting as asks

    agent, wanted = context.actor().name, _wanted(sender, type, thread)
    context.output = "jsonl" if context.output == "auto" else context.output
    with bell_at(context, agent) as bell:
        for row in asks.watch(context.store, agent, bell, wanted, new):
            if context.tail:
                _run(context, agent, row)
            else:
                context.stream(row, "message")


def _run(context: Context, agent: str, row: Document) -> None:
    """Run the caller's command with a header on its stdin; that it fails is said, and ends nothing."""
    import os
    import subprocess

    from mbox.system.command import CannotRun

    line = output.formatter("jsonl", "message").item(row).encode()
    environment = {**os.environ, "MBOX_AGENT": agent, "MBOX_ROOT": context.store.root}
    try:
        status = subprocess.run(context.tail, input=line, env=environment, check=False).returncode
    except OSError as error:
        raise CannotRun(context.tail[0], error) from None
    if status:
        ended = f"was ended by signal {-status}" if status < 0 else f"exited {status}"
        context.say(f"{context.tail[0]} {ended} for {row['msg_id']}, which stays unread")


# -- looking again -----------------------------------------------------------------------------------------------------


@command(examples=["mbox thread m12"], exits={3: "no such message"})
@lists(100)
@argument("msg_id", metavar="ID", type=ID)
def thread(context: Context, msg_id: str) -> None:
    """List the conversation that a message belongs to, oldest first; ID is any message of it."""
    from mbox.mail import lookup as letters

    context.emit(letters.thread(context.store, msg_id), "message")


@command(examples=["mbox search parser error", "mbox search 'off by one' pars*"])
@lists(100)
@words("terms", "WORD")
def search(context: Context, terms: tuple[str, ...]) -> None:
    """Find messages and tasks that hold all WORDs, the best first.

    Looks at subject, body and payload of messages, title and description of tasks. A quoted phrase is one WORD;
    pars* is any ending.
    """
    from mbox.report.search import search

    rows, left = search(context.store, terms, context.limit)
    context.emit(rows)
    if left:
        context.say(f"{left} more: --limit {len(rows) + left}, or 0 for all")
