"""Sending: to some, to everybody, to who wrote.  What every message can say is declared here once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mbox.format.checks import name as checked
from mbox.cli.context import Context
from mbox.cli.options import (
    AGENT,
    DURATION,
    ID,
    JSON,
    LINE,
    PRIORITY,
    TEXT,
    F,
    argument,
    changes,
    command,
    name,
    option,
    words,
)  # fmt: skip
from mbox.errors import Usage

if TYPE_CHECKING:
    from mbox.format.documents import Document
    from mbox.mail.sending import Draft

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

agent_name = partial(checked, "agent")


def says(function: F) -> F:
    """The options of what a message says."""
    for one in reversed(_SAID):
        function = one(function)
    return function


def drafted(said: dict[str, Any]) -> Draft:
    """The message that these options make; `Usage` for an empty one."""
    from mbox.mail.sending import Draft

    draft = Draft(**{field: value for field, value in said.items() if value is not None})
    if not (draft.body or draft.subject or draft.payload is not None):
        raise Usage("an empty message: say something with --body, --subject or --payload")
    return draft


def confirm(context: Context, answer: Document, *more: str) -> None:
    """Print what a sender gets: the id, the fields ``more``, and what is not as usual."""
    fields = ("msg_id", *more, "acked", "already")
    shown = {field: answer[field] for field in fields if field in answer}
    if answer["thread_id"] != answer["msg_id"]:
        shown["thread_id"] = answer["thread_id"]
    context.emit(shown)


@command(
    examples=[
        "mbox send bob --subject 'parser done' --body 'src/parse.py, see t12'",
        "mbox send bob cat --body @report.md --task t12",
        "./measure | mbox send bob --body - --key run-17",
    ],
    exits=SENDS,
)
@changes
@words("names", "TO", agent_name, required=False)
@option("--to", "more", type=AGENT, multiple=True, metavar="A", help="as TO; may be repeated")
@option("--up", is_flag=True, help="to whom you report to")
@option("--down", is_flag=True, help="to everybody who reports to you")
@option("--reply-to", type=ID, metavar="ID", help="the message it continues")
@says
def send(context: Context, names: tuple[str, ...], more: tuple[str, ...], up: bool, down: bool, reply_to: str | None,
         **said: Any) -> None:  # fmt: skip
    """Send a message to every TO, or to none. More than max_recipients is a broadcast."""
    from mbox.mail import sending as mail

    actor, to = context.actor(), [*names, *more]
    if up or down:
        to += _related(context, actor.name, up, down)
    fields = ["to"] if up or down else []
    confirm(context, mail.send(context.store, actor, to, drafted(said), reply_to, context.dry_run), *fields)


def _related(context: Context, name: str, up: bool, down: bool) -> list[str]:
    """Whom ``name`` reports to, and who reports to it."""
    from mbox.team import lifecycle as teams

    store = context.store
    return [*([teams.superior(store, store.read, name)] if up else []), *(teams.reports(store, name) if down else [])]


@command(
    examples=["mbox broadcast --subject 'freeze at noon' --body commit", "mbox broadcast --role reviewer --body @x.md"],
    exits=SENDS,
)
@changes
@option("--team", type=name("team"), metavar="T", help="only to members of this team")
@option("--role", type=name("role"), metavar="R", help="only to agents of this role")
@says
def broadcast(context: Context, team: str | None, role: str | None, **said: Any) -> None:
    """Send to every other agent. Only an orchestrator may; replies go to it alone."""
    from mbox.mail import sending as mail

    actor = context.actor()
    confirm(context, mail.broadcast(context.store, actor, drafted(said), team, role, context.dry_run), "to")


@command(examples=["mbox reply m12 --body 'yes, src/parse.py'", "mbox reply m12 --body -   # from stdin"], exits=SENDS)
@changes
@argument("msg_id", metavar="ID", type=ID)
@says
def reply(context: Context, msg_id: str, **said: Any) -> None:
    """Answer the sender of ID, alone. Acknowledges ID if it wants that and you have read it."""
    from mbox.mail import sending as mail

    confirm(context, mail.reply(context.store, context.actor(), msg_id, drafted(said), context.dry_run), "to")
