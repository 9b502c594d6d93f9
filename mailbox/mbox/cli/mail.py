"""Mail: send, ask, read, wait, look again.  What a reader gets is acknowledged only after it has left the process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mbox.checks import ident
from mbox.checks import name as checked
from mbox.cli import output
from mbox.cli.options import (
    AGENT,
    DURATION,
    ID,
    JSON,
    LINE,
    PRIORITY,
    TEXT,
    Context,
    F,
    argument,
    changes,
    command,
    lists,
    name,
    option,
    shows,
    words,
)  # fmt: skip
from mbox.errors import Nothing, TimedOut, Usage

if TYPE_CHECKING:
    from mbox.asks import Answers, Bell
    from mbox.documents import Document
    from mbox.letters import Wanted
    from mbox.mail import Draft
    from mbox.store import Actor

TIMEOUT = 100.0
"""Seconds that a waiting command waits unless said: less than the two minutes that agents give a command."""

SENDS = {2: "wrong call or refused by a rule", 3: "no such agent, message or task", 5: "not your incarnation"}

_SAID = (
    option("--body", type=TEXT, metavar="B", help="the text; - is stdin, @FILE a file"),
    option("--subject", type=LINE, metavar="S", help="one line"),
    option("--type", type=LINE, metavar="T", help="note (unless said), question, review_request, …"),
    option("--payload", type=JSON, metavar="JSON", help="data for programs"),
    option("--task", "task_id", type=ID, metavar="ID", help="the task it is about"),
    option("--round", "round_id", type=LINE, metavar="R", help="the round it belongs to"),
    option("--priority", type=PRIORITY, metavar="0-9", help="9 first (5); urgent is 8"),
    option("--ttl", type=DURATION, metavar="D", help="archived as expired if unread by then"),
    option("--needs-ack", is_flag=True, default=None, help="the reader must `ack` or reply"),
    option("--key", type=LINE, metavar="K", help="the same call again sends nothing new"),
)
_WANTED = (
    option("--from", "sender", type=AGENT, metavar="A", help="only from this agent"),
    option("--type", type=LINE, metavar="T", help="only of this type"),
    option("--thread", type=ID, metavar="ID", help="only of this thread"),
)
_timeout = option(
    "--timeout", type=DURATION, default=TIMEOUT, metavar="D", help="how long to wait (100s); 0 is for ever"
)
_need = option("--need", type=int, metavar="N", help="enough answers (one of each)")
_agent = partial(checked, "agent")


def _says(function: F) -> F:
    """The options of what a message says."""
    for one in reversed(_SAID):
        function = one(function)
    return function


def _filters(function: F) -> F:
    """The options of which messages are wanted."""
    for one in reversed(_WANTED):
        function = one(function)
    return function


def _draft(said: dict[str, Any]) -> Draft:
    from mbox.mail import Draft

    draft = Draft(**{field: value for field, value in said.items() if value is not None})
    if not (draft.body or draft.subject or draft.payload is not None):
        raise Usage("an empty message: say something with --body, --subject or --payload")
    return draft


def _sent(context: Context, answer: Document, *more: str) -> None:
    fields = ("msg_id", *more, "acked", "already")
    shown = {field: answer[field] for field in fields if field in answer}
    if answer["thread_id"] != answer["msg_id"]:
        shown["thread_id"] = answer["thread_id"]
    context.emit(shown)


def _bell(context: Context, agent: str) -> Bell:
    from mbox.asks import Bell

    store = context.store
    return Bell(store, agent, store.watch_backend, store.config.poll)


# -- sending -----------------------------------------------------------------------------------------------------------


@command(
    examples=[
        "mbox send bob --subject 'parser done' --body 'src/parse.py, see t12'",
        "mbox send bob cat --body @report.md --task t12",
        "./measure | mbox send bob --body - --key run-17",
    ],
    exits=SENDS,
)
@changes
@words("names", "TO", _agent, required=False)
@option("--to", "more", type=AGENT, multiple=True, metavar="A", help="as TO; may be repeated")
@option("--up", is_flag=True, help="to whom you report to")
@option("--down", is_flag=True, help="to everybody who reports to you")
@option("--reply-to", type=ID, metavar="ID", help="the message it continues")
@_says
def send(context: Context, names: tuple[str, ...], more: tuple[str, ...], up: bool, down: bool, reply_to: str | None,
         **said: Any) -> None:  # fmt: skip
    """Send a message to every TO, or to none. More than max_recipients is a broadcast."""
    from mbox import mail

    actor, to = context.actor(), [*names, *more]
    if up or down:
        to += _related(context, actor.name, up, down)
    fields = ["to"] if up or down else []
    _sent(context, mail.send(context.store, actor, to, _draft(said), reply_to, context.dry_run), *fields)


def _related(context: Context, name: str, up: bool, down: bool) -> list[str]:
    """Whom ``name`` reports to, and who reports to it."""
    from mbox import teams

    store = context.store
    return [*([teams.superior(store, store.read, name)] if up else []), *(teams.reports(store, name) if down else [])]


@command(
    examples=["mbox broadcast --subject 'freeze at noon' --body commit", "mbox broadcast --role reviewer --body @x.md"],
    exits=SENDS,
)
@changes
@option("--team", type=name("team"), metavar="T", help="only to members of this team")
@option("--role", type=name("role"), metavar="R", help="only to agents of this role")
@_says
def broadcast(context: Context, team: str | None, role: str | None, **said: Any) -> None:
    """Send to every other agent. Only an orchestrator may; replies go to it alone."""
    from mbox import mail

    actor = context.actor()
    _sent(context, mail.broadcast(context.store, actor, _draft(said), team, role, context.dry_run), "to")


@command(examples=["mbox reply m12 --body 'yes, src/parse.py'", "mbox reply m12 --body -   # from stdin"], exits=SENDS)
@changes
@argument("msg_id", metavar="ID", type=ID)
@_says
def reply(context: Context, msg_id: str, **said: Any) -> None:
    """Answer the sender of ID, alone. Acknowledges ID if it wants that and you have read it."""
    from mbox import mail

    _sent(context, mail.reply(context.store, context.actor(), msg_id, _draft(said), context.dry_run), "to")


# -- asking ------------------------------------------------------------------------------------------------------------


@command(
    examples=["mbox ask bob cat --body 'which parser?'", "mbox ask bob cat --body 'who?' --need 1 --timeout 5m"],
    exits={**SENDS, 4: "time ran out; what came is printed, `gather` goes on"},
)
@changes
@words("names", "TO", _agent)
@_timeout
@_need
@_says
def ask(context: Context, names: tuple[str, ...], timeout: float, need: int | None, **said: Any) -> None:
    """Send a question, wait for an answer of every TO, and print them together."""
    from mbox import asks, letters

    store, actor, draft = context.store, context.actor(), _draft(said)
    asks.check_need(need, names)
    answer = asks.ask(store, actor, names, draft, context.dry_run)
    if context.dry_run:
        _sent(context, answer)
        return
    context.say(f"thread {answer['msg_id']}: waiting; `mbox gather {answer['msg_id']}` goes on with it")
    _gather(context, actor, asks.Answers(store, letters.find(store, answer["msg_id"], actor.name), need), timeout)


@command(
    examples=["mbox gather m12", "mbox gather m12 --need 2 --timeout 5m", "mbox gather m12 --send   # to all asked"],
    exits={3: "no such question of yours", 4: "time ran out; what came is printed"},
)
@changes
@argument("thread", metavar="THREAD", type=ID)
@_timeout
@_need
@option("--send", "share", is_flag=True, help="then give the answers to everybody that was asked")
def gather(context: Context, thread: str, timeout: float, need: int | None, share: bool) -> None:
    """Go on waiting for the answers to a question that you asked, and print all of them."""
    from mbox import asks

    store, actor = context.store, context.actor()
    answers = asks.Answers(store, asks.question(store, actor.name, thread), need)
    if context.dry_run:
        answers.look()
        context.emit(asks.summary(answers, answers.found))
        return
    docs = _gather(context, actor, answers, timeout)
    if share:
        sent = asks.share(store, actor, answers, docs)
        context.say(f"sent to {', '.join(sent['to'])} as {sent['msg_id']}{', before' if 'already' in sent else ''}")


def _gather(context: Context, actor: Actor, answers: Answers, timeout: float) -> list[Document]:
    """Wait for answers, print those that came, and acknowledge what was printed; `TimedOut` if some are missing."""
    from mbox import asks, mail

    store = context.store
    with _bell(context, actor.name) as bell:
        complete = asks.until(store, bell, answers.look, timeout)
        docs = answers.collect(actor)
        context.emit(asks.summary(answers, docs))
        context.flush()
    mail.finish(store, actor, docs)
    if complete is None:
        thread = answers.question["msg_id"]
        came = len(answers.asked) - len(answers.missing)
        late = ", ".join(answers.missing)
        raise TimedOut(f"{came} of {answers.need} answered in time, not {late}; `mbox gather {thread}` goes on")
    return docs


# -- the inbox ---------------------------------------------------------------------------------------------------------


@command(examples=["mbox inbox", "mbox inbox --all --limit 50"], exits={3: "you are not registered"})
@lists(20)
@option("--all", "every", is_flag=True, help="also what is archived (acknowledged) or expired")
def inbox(context: Context, every: bool) -> None:
    """List unread and unacknowledged mail by priority, then age. Changes nothing.

    --all also lists what has expired and, behind all that, what is archived, newest first.
    """
    from mbox import letters

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
    from mbox import mail

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


def _wanted(sender: str | None, type: str | None, thread: str | None) -> Wanted:
    from mbox.letters import Wanted

    return Wanted(sender or "", type or "", thread or "")


def _unread(context: Context, actor: Actor, wanted: Wanted, every: bool, wait: float | None) -> list[Document]:
    """What to read without IDs: the next, or all up to ``--limit``; `Nothing` or `TimedOut` if there is none."""
    from mbox import reading

    store, limit = context.store, context.limit if every else 1
    docs = reading.read_many(store, actor, limit, wanted, context.dry_run)
    if every and limit and len(docs) == limit:
        context.say(f"no more than {limit} at a time; `mbox read --all` again for the rest, or --limit 0")
    if not docs and wait is not None and not context.dry_run:
        from mbox import asks

        with _bell(context, actor.name) as bell:
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
    from mbox import mail

    rows = mail.acknowledge(context.store, context.actor(), ids, token, context.dry_run)
    context.emit(rows[0] if len(rows) == 1 else rows)


@command(examples=["mbox show m12", "mbox show m12 --full"], exits={3: "no such message"})
@shows
@argument("msg_id", metavar="ID", type=ID)
def show(context: Context, msg_id: str) -> None:
    """Show any message again, with the state of each receiver's copy. Changes nothing."""
    from mbox import letters

    actor = context.actor(required=False)
    agent = actor.name if actor.incarnation else None
    found = (letters.find if context.full else letters.show)(context.store, msg_id, agent)
    context.emit(found, "message")


# -- waiting -----------------------------------------------------------------------------------------------------------


@command(
    examples=["mbox wait && mbox read", "mbox wait --thread m12 --timeout 10m", "mbox wait --new --from bob"],
    exits={3: "you are not registered", 4: "time ran out"},
)
@_timeout
@option("--new", is_flag=True, help="only mail that comes from now on")
@_filters
def wait(context: Context, timeout: float, new: bool, sender: str | None, type: str | None, thread: str | None) -> None:
    """Wait until mail is unread, and print its headers; it stays unread."""
    from mbox import asks

    agent, wanted = context.actor().name, _wanted(sender, type, thread)
    with _bell(context, agent) as bell:
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
    from mbox import asks

    agent, wanted = context.actor().name, _wanted(sender, type, thread)
    context.output = "jsonl" if context.output == "auto" else context.output
    with _bell(context, agent) as bell:
        for row in asks.watch(context.store, agent, bell, wanted, new):
            if context.tail:
                _run(context, agent, row)
            else:
                context.stream(row, "message")


def _run(context: Context, agent: str, row: Document) -> None:
    """Run the caller's command with a header on its stdin; that it fails is said, and ends nothing."""
    import os
    import subprocess

    from mbox.child import CannotRun

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
    from mbox import letters

    context.emit(letters.thread(context.store, msg_id), "message")


@command(examples=["mbox search parser error", "mbox search 'off by one' pars*"])
@lists(100)
@words("terms", "WORD")
def search(context: Context, terms: tuple[str, ...]) -> None:
    """Find messages and tasks that hold all WORDs, the best first.

    Looks at subject, body and payload of messages, title and description of tasks. A quoted phrase is one WORD;
    pars* is any ending.
    """
    from mbox.search import search

    rows, left = search(context.store, terms, context.limit)
    context.emit(rows)
    if left:
        context.say(f"{left} more: --limit {len(rows) + left}, or 0 for all")


# -- dead letters ------------------------------------------------------------------------------------------------------


@command(examples=["mbox deadletter list"])
@lists(100)
def deadletter_list(context: Context) -> None:
    """List what could not be delivered or read, with the reason, oldest first."""
    from mbox import deadletters

    context.emit(deadletters.headers(context.store))


@command(examples=["mbox deadletter show d12", "mbox deadletter show m5"], exits={3: "no such dead letter"})
@argument("which", metavar="ID", type=ID)
def deadletter_show(context: Context, which: str) -> None:
    """Show a dead letter whole; ID is its own, or that of the message in it."""
    from mbox import deadletters

    found = deadletters.show(context.store, which)
    context.emit(found[0] if len(found) == 1 else found)


@command(examples=["mbox deadletter retry d12", "mbox deadletter retry m5"], exits={3: "no such dead letter or agent"})
@changes
@words("ids", "ID", ident)
def deadletter_retry(context: Context, ids: tuple[str, ...]) -> None:
    """Deliver dead mail again, to its old place in the inbox."""
    from mbox import deadletters

    context.emit(deadletters.retry(context.store, context.actor(required=False), ids, context.dry_run))


@command(examples=["mbox deadletter purge d12"], exits={3: "no such dead letter"})
@changes
@words("ids", "ID", ident)
def deadletter_purge(context: Context, ids: tuple[str, ...]) -> None:
    """Remove dead letters for good; the journal still knows them."""
    from mbox import deadletters

    context.emit(deadletters.purge(context.store, context.actor(required=False), ids, context.dry_run))
