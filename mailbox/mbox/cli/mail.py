"""Sending: to some, to everybody, to who wrote; asking, and gathering the answers.

What every message can say is declared here once.  An answer is acknowledged only after it has left the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.errors import TimedOut, Usage

from .context import Context
from .options import F, argument, changes, command, option, timeout, words
from .values import DURATION, JSON, KEY, LINE, MESSAGE, PRIORITY, RECEIVER, TASK, TEXT, TYPE, name

if TYPE_CHECKING:
    from mbox.format.documents import Document
    from mbox.mail.questions import Answers
    from mbox.mail.sending import MailDraft
    from mbox.store.store import Actor


SENDS = {2: "wrong call or refused by a rule", 3: "no such agent, message or task", 5: "not your incarnation"}

_SAID = (
    option("--body", type=TEXT, metavar="B", help="the text; - is stdin, @FILE a file"),
    option("--subject", type=LINE, metavar="S", help="one line"),
    option("--type", type=TYPE, metavar="T", help="note (the default), question, review_request, …"),
    option("--payload", type=JSON, metavar="JSON", help="data for programs"),
    option("--task", "task_id", type=TASK, metavar="ID", help="the task it is about"),
    option("--round", "round_id", type=LINE, metavar="R", help="the round it belongs to"),
    option("--priority", type=PRIORITY, metavar="0-9", help="9 first (5); urgent is 8"),
    option("--ttl", type=DURATION, metavar="D", help="archived as expired if unread by then"),
    option("--needs-ack", is_flag=True, default=None, help="the reader must `ack` or reply"),
    option("--key", type=KEY, metavar="K", help="the same call again sends nothing new"),
)


def _says(function: F) -> F:
    """The options of what a message says."""
    for one in reversed(_SAID):
        function = one(function)
    return function


def _drafted(said: dict[str, Any]) -> MailDraft:
    """The message that these options make; `Usage` for an empty one."""
    from mbox.mail.sending import MailDraft

    draft = MailDraft(**{field: value for field, value in said.items() if value is not None})
    if not (draft.body or draft.subject or draft.payload is not None):
        raise Usage("an empty message: say something with --body, --subject or --payload")
    return draft


def _confirm(context: Context, answer: Document, *more: str) -> None:
    """Print what a sender gets: the id, how it stands if that is one state for all, the fields ``more``, what is not as usual."""
    from mbox.mail import lookup

    told = {**answer, **(lookup.in_one_state(context.store, answer) if "already" in answer else {"state": lookup.SENT})}
    fields = ("msg_id", "state", *more, "acked", "already")
    shown = {field: told[field] for field in fields if field in told}
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
@words("names", "TO", RECEIVER, required=False)
@option("--to", "more", type=RECEIVER, multiple=True, metavar="A", help="as TO; may be repeated")
@option("--up", is_flag=True, help="to whoever you report to")
@option("--down", is_flag=True, help="to everybody who reports to you")
@option("--reply-to", type=MESSAGE, metavar="ID", help="the message it continues")
@_says
def send(context: Context, names: tuple[str, ...], more: tuple[str, ...], up: bool, down: bool, reply_to: str | None,
         **said: Any) -> None:  # fmt: skip
    """Send a message to every TO, or to none. More than max_recipients is a broadcast."""
    from mbox.mail import sending

    actor, to = context.actor(), [*names, *more]
    if up or down:
        to += _related(context, actor.name, up, down)
    fields = ["to"] if up or down else []
    _confirm(context, sending.send(context.store, actor, to, _drafted(said), reply_to), *fields)


def _related(context: Context, name: str, up: bool, down: bool) -> list[str]:
    """Whom ``name`` reports to, and who reports to it."""
    from mbox.agents import roster

    store = context.store
    return [*([roster.superior(store, store.read, name)] if up else []), *(roster.reports(store, name) if down else [])]


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
    from mbox.mail import sending

    actor = context.actor()
    _confirm(context, sending.broadcast(context.store, actor, _drafted(said), team, role), "to")


@command(examples=["mbox reply m12 --body 'yes, src/parse.py'", "mbox reply m12 --body -   # from stdin"], exits=SENDS)
@changes
@argument("msg_id", metavar="ID", type=MESSAGE)
@_says
def reply(context: Context, msg_id: str, **said: Any) -> None:
    """Answer the sender of ID, alone. Acknowledges ID if it wants that and you have read it."""
    from mbox.mail import sending

    _confirm(context, sending.reply(context.store, context.actor(), msg_id, _drafted(said)), "to")


# -- questions -----------------------------------------------------------------------------------------------------------

_need = option("--need", type=int, metavar="N", help="how many answers are enough (one from each)")


@command(
    examples=["mbox ask bob cat --body 'which parser?'", "mbox ask bob cat --body 'who?' --need 1 --timeout 5m"],
    exits={**SENDS, 4: "time ran out; what came is printed, `gather` goes on"},
)
@changes
@words("names", "TO", RECEIVER)
@timeout
@_need
@_says
def ask(context: Context, names: tuple[str, ...], timeout: float, need: int | None, **said: Any) -> None:
    """Send a question, wait for an answer from every TO, and print them together."""
    from mbox.mail import lookup, questions

    store, actor, draft = context.store, context.actor(), _drafted(said)
    questions.check_need(need, names)
    answer = questions.ask(store, actor, names, draft)
    if context.dry_run:
        _confirm(context, answer)
        return
    context.say(f"thread {answer['msg_id']}: waiting; `mbox gather {answer['msg_id']}` goes on with it")
    _gather(context, actor, questions.Answers(store, lookup.find(store, answer["msg_id"], actor.name), need), timeout)


@command(
    examples=["mbox gather m12", "mbox gather m12 --need 2 --timeout 5m", "mbox gather m12 --send   # to all asked"],
    exits={3: "no such question of yours", 4: "time ran out; what came is printed"},
)
@changes
@argument("thread", metavar="THREAD", type=MESSAGE)
@timeout
@_need
@option("--send", "share", is_flag=True, help="then send the answers to everybody who was asked")
def gather(context: Context, thread: str, timeout: float, need: int | None, share: bool) -> None:
    """Go on waiting for the answers to a question that you asked, and print all of them."""
    from mbox.mail import questions

    store, actor = context.store, context.actor()
    answers = questions.Answers(store, questions.question(store, actor.name, thread), need)
    if context.dry_run:
        answers.look()
        context.emit(questions.summary(answers, answers.found))
        return
    docs = _gather(context, actor, answers, timeout)
    if share:
        sent = questions.share(store, actor, answers, docs)
        context.say(f"sent to {', '.join(sent['to'])} as {sent['msg_id']}{', before' if 'already' in sent else ''}")


def _gather(context: Context, actor: Actor, answers: Answers, timeout: float) -> list[Document]:
    """Wait for answers, print those that came, and acknowledge what was printed; `TimedOut` if some are missing."""
    from mbox.mail import questions, reading, waiting

    store = context.store
    with waiting.inbox_watch(store, actor.name) as watch:
        complete = waiting.gather(store, watch, answers, timeout)
        docs = answers.collect(actor)
        context.emit(questions.summary(answers, docs))
        context.flush()
    reading.finish(store, actor, docs)
    if complete is None:
        thread = answers.question["msg_id"]
        came = len(answers.asked) - len(answers.missing)
        late = ", ".join(answers.missing)
        raise TimedOut(f"{came} of {answers.need} answered in time; no answer from {late}; `mbox gather {thread}` goes on")
    return docs
