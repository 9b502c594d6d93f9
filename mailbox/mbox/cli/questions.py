"""Questions: asked, waited for, gathered.  An answer is acknowledged only after it has left the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbox.cli.context import Context
from mbox.cli.inbox import bell_at, timeout
from mbox.cli.mail import SENDS, agent_name, confirm, drafted, says
from mbox.cli.options import ID, argument, changes, command, option, words
from mbox.errors import TimedOut

if TYPE_CHECKING:
    from mbox.mail.waiting import Answers
    from mbox.format.documents import Document
    from mbox.store.store import Actor

_need = option("--need", type=int, metavar="N", help="enough answers (one of each)")


@command(
    examples=["mbox ask bob cat --body 'which parser?'", "mbox ask bob cat --body 'who?' --need 1 --timeout 5m"],
    exits={**SENDS, 4: "time ran out; what came is printed, `gather` goes on"},
)
@changes
@words("names", "TO", agent_name)
@timeout
@_need
@says
def ask(context: Context, names: tuple[str, ...], timeout: float, need: int | None, **said: Any) -> None:
    """Send a question, wait for an answer of every TO, and print them together."""
    from mbox.mail import waiting as asks
    from mbox.mail import lookup as letters

    store, actor, draft = context.store, context.actor(), drafted(said)
    asks.check_need(need, names)
    answer = asks.ask(store, actor, names, draft, context.dry_run)
    if context.dry_run:
        confirm(context, answer)
        return
    context.say(f"thread {answer['msg_id']}: waiting; `mbox gather {answer['msg_id']}` goes on with it")
    _gather(context, actor, asks.Answers(store, letters.find(store, answer["msg_id"], actor.name), need), timeout)


@command(
    examples=["mbox gather m12", "mbox gather m12 --need 2 --timeout 5m", "mbox gather m12 --send   # to all asked"],
    exits={3: "no such question of yours", 4: "time ran out; what came is printed"},
)
@changes
@argument("thread", metavar="THREAD", type=ID)
@timeout
@_need
@option("--send", "share", is_flag=True, help="then give the answers to everybody that was asked")
def gather(context: Context, thread: str, timeout: float, need: int | None, share: bool) -> None:
    """Go on waiting for the answers to a question that you asked, and print all of them."""
    from mbox.mail import waiting as asks

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
    from mbox.mail import waiting as asks
    from mbox.mail import sending as mail

    store = context.store
    with bell_at(context, actor.name) as bell:
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
