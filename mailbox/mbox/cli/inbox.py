"""The inbox: list, read, wait, look again.  What a reader gets is acknowledged only after it has left the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mbox.errors import Nothing, TimedOut, Usage

from . import output
from .context import Context
from .options import F, argument, changes, command, lists, option, shows, timeout, words
from .values import AGENT, DURATION, MESSAGE, TYPE

if TYPE_CHECKING:
    from mbox.format.documents import Document
    from mbox.mail.inbox import MailFilter
    from mbox.store.store import Actor


_WANTED = (
    option("--from", "sender", type=AGENT, metavar="A", help="only from this agent"),
    option("--type", type=TYPE, metavar="T", help="only of this type"),
    option("--thread", type=MESSAGE, metavar="ID", help="only of this thread"),
)


NARROW = ("subject", ("thread_id", "parent_id", "created_at", "before_you", "needs_ack", "priority", "state", "type", "task_id"))
"""What stays readable of a list of mail on a narrow terminal, and what goes first."""


def _filters(function: F) -> F:
    """The options of which messages are wanted."""
    for one in reversed(_WANTED):
        function = one(function)
    return function


def _wanted(sender: str | None, type: str | None, thread: str | None) -> MailFilter:
    from mbox.mail.inbox import MailFilter

    return MailFilter(sender or "", type or "", thread or "")


# -- the inbox ---------------------------------------------------------------------------------------------------------


@command(examples=["mbox inbox", "mbox inbox --all --limit 50"], exits={3: "you are not registered"})
@lists(20)
@option("--all", "every", is_flag=True, help="also what is archived (acknowledged) or expired")
def inbox(context: Context, every: bool) -> None:
    """List unread and unacknowledged mail by priority, then age. Changes nothing.

    --all also lists what has expired and, behind all that, what is archived, newest first.
    """
    from mbox.mail.inbox import inbox

    agent, store = context.actor().name, context.store
    rows, left = inbox(store, agent, context.limit, every)
    context.emit(rows, "message", *NARROW)
    context.left_out(len(rows), left)
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
@words("ids", "[ID]", MESSAGE, required=False)
@option("--next", "one", is_flag=True, help="the next by priority, then age (the default)")
@option("--all", "every", is_flag=True, help="all that is unread")
@option("--wait", type=DURATION, metavar="D", help="wait that long if there is none; 0 does not wait")
@_filters
def read(context: Context, ids: tuple[str, ...], one: bool, every: bool, wait: float | None,
         sender: str | None, type: str | None, thread: str | None) -> None:  # fmt: skip
    """Take messages out of the inbox and print them whole.

    They are acknowledged once printed; those that say needs_ack only by `ack` or `reply`. What is not acknowledged
    in time comes back.
    """
    from mbox.mail import reading

    wanted = _wanted(sender, type, thread)
    if ids and (one or every or wait is not None or any(wanted)):
        raise Usage("IDs, or --next, --all and filters: not both")
    store, actor = context.store, context.actor()
    if ids:
        docs = reading.read(store, actor, ids)
    else:
        docs = _unread(context, actor, wanted, every, wait)
    _show(context, docs, every or len(ids) > 1)
    context.flush()
    if not context.dry_run:
        reading.finish(store, actor, docs)


def _unread(context: Context, actor: Actor, wanted: MailFilter, every: bool, wait: float | None) -> list[Document]:
    """What to read without IDs: the next, or all up to ``--limit``; `Nothing` or `TimedOut` if there is none."""
    from mbox.mail import reading

    store, limit = context.store, context.limit if every else 1
    docs = reading.read_many(store, actor, limit, wanted)
    if every and limit and len(docs) == limit:
        context.say(f"no more than {limit} at a time; `mbox read --all` again for the rest, or --limit 0")
    if not docs and wait and not context.dry_run:
        from mbox.mail import waiting

        with waiting.inbox_watch(store, actor.name) as watch:
            docs = waiting.take(store, actor, watch, wanted, limit, wait) or []
        if not docs:
            fits = " that fits" if any(wanted) else ""
            raise TimedOut(f"no mail{fits} came for {actor.name} in time")
    if not docs:
        raise Nothing(f"nothing unread for {actor.name}{' that fits' if any(wanted) else ''}; looked in {store.root}")
    return docs


def _show(context: Context, docs: Sequence[Document], several: bool) -> None:
    """Print messages whole: one as an object, several as a list; for a person one below the other, nothing cut.

    Without ``--full`` what every reader knows is left out: that, by whom and when they were read.
    """
    if not context.full:
        known = {"deliveries": 1, "read_by": None, "read_at": None, "state_version": None, "key": None}
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
@words("ids", "ID", MESSAGE)
@option("--token", type=int, metavar="N", help="the token that `read` printed")
def ack(context: Context, ids: tuple[str, ...], token: int | None) -> None:
    """Acknowledge what you have read: all of the IDs, or none."""
    from mbox.mail import reading

    rows = reading.acknowledge(context.store, context.actor(), ids, token)
    context.emit(rows[0] if len(rows) == 1 else rows)


@command(examples=["mbox show m12", "mbox show m12 --full"], exits={3: "no such message"})
@shows
@argument("msg_id", metavar="ID", type=MESSAGE)
def show(context: Context, msg_id: str) -> None:
    """Show any message again, with the state of each receiver's copy. Changes nothing."""
    from mbox.mail import lookup

    actor = context.actor(required=False)
    agent = actor.name if actor.incarnation else None
    found = (lookup.find if context.full else lookup.show)(context.store, msg_id, agent)
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
    from mbox.mail import waiting

    agent, wanted = context.actor().name, _wanted(sender, type, thread)
    with waiting.inbox_watch(context.store, agent) as watch:
        rows = waiting.wait(context.store, agent, watch, wanted, new, timeout)
        if rows is None:
            raise TimedOut(f"no mail for {agent} within the time; looked in {context.store.root}")
        context.emit(rows, "message", *NARROW)
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
    from mbox.mail import waiting

    agent, wanted = context.actor().name, _wanted(sender, type, thread)
    context.output = "jsonl" if context.output == "auto" else context.output
    with waiting.inbox_watch(context.store, agent) as watch:
        for row in waiting.watch(context.store, agent, watch, wanted, new):
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
@argument("msg_id", metavar="ID", type=MESSAGE)
def thread(context: Context, msg_id: str) -> None:
    """List the conversation that a message belongs to, oldest first; ID is any message of it."""
    from mbox.mail import lookup

    context.emit(lookup.thread(context.store, msg_id), "message", *NARROW)


@command(examples=["mbox search parser error", "mbox search 'off by one' pars*"])
@lists(100)
@words("terms", "WORD")
def search(context: Context, terms: tuple[str, ...]) -> None:
    """Find messages and tasks that hold all WORDs, the best match first.

    Looks at subject, body and payload of messages, title and description of tasks. A quoted phrase is one WORD;
    pars* is any ending; Japanese, Chinese and Korean text is found by any piece of it.
    """
    from mbox.report.search import search, standing

    rows, left = search(context.store, terms, context.limit)
    context.emit(standing(context.store, rows))
    context.left_out(len(rows), left)
