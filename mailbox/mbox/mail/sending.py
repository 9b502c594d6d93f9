"""Mail: a message is one file in each receiver's inbox; it goes from ``new/`` to ``cur/`` to the archive.

Promised (design, "Mail"): at least once; to all receivers or to none; for one sender, receiver and priority in the
order sent; the same key is the same message; shown once unless its reader failed to acknowledge it.  Not promised:
exactly once; a reader that dies between printing and acknowledging sees the message again.

Here is sending: ``mail.send``, ``reply``, ``ask`` and ``broadcast`` put ``inbox/R/new/ID`` for each receiver R, and
``outbox/SENDER/ID``, which is last, in one record (the module of the store says what a crash leaves: all of them, or
none).  ``mail.refused`` puts nothing: it says which limit refused what.

`reading` takes messages out of the inbox, `lookup` finds and `inbox` lists them without the lock, `waiting` waits for
them, `questions` gathers answers, `deadletters` delivers again what was dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.agents import registry
from mbox.errors import NotFound, Refused, Usage
from mbox.format import documents, keys, operations, places
from mbox.format.documents import Document
from mbox.store.store import Actor, Store, Transaction
from mbox.system.clock import stamp

from . import lookup

if TYPE_CHECKING:
    from mbox.index.answers import Key


SYSTEM = "system"
"""The sender of mail that no agent sent."""


class MailDraft(NamedTuple):
    """What a sender says.  An empty ``type`` is the operation's own: note, answer, question or broadcast."""

    body: str = ""
    subject: str = ""
    type: str = ""
    payload: Any = None
    task_id: str | None = None
    round_id: str | None = None
    priority: int = 5
    ttl: float = 0
    needs_ack: bool = False
    key: str | None = None


class Sending(NamedTuple):
    """One call to send: the operation, what it says, to whom as the caller said it, and what it answers."""

    op: str
    draft: MailDraft
    to: tuple[str, ...]
    parent_id: str | None
    receivers: Callable[[Transaction, Document, Document | None], list[str]]

    def fingerprint(self) -> str:
        """What tells this call from any other under the same key."""
        return keys.fingerprint([self.op, sorted(self.to), self.parent_id, *self.draft._replace(key=None)])


# -- sending -----------------------------------------------------------------------------------------------------


def send(
    store: Store, actor: Actor, to: Iterable[str], draft: MailDraft, reply_to: str | None = None,
    op: str = operations.MAIL_SEND,
) -> Document:  # fmt: skip
    """Send to every one of ``to`` (named twice is named once) or to none; ``{"msg_id": …}``.

    `NotFound` with the nearest names for an unknown receiver, `Refused` by the rules of role, hops and rate.
    """
    names = tuple(dict.fromkeys(to))
    if not names:
        raise Usage("to whom? name at least one agent")
    sending = Sending(op, draft, names, reply_to, lambda tx, me, parent: list(names))
    return _sent(store, actor, sending)


def reply(store: Store, actor: Actor, msg_id: str, draft: MailDraft) -> Document:
    """Answer ``msg_id``, to its sender alone; acknowledges it if it wants that and the caller has read it."""
    return _sent(store, actor, Sending(operations.MAIL_REPLY, draft, (), msg_id, _sender_of))


def broadcast(
    store: Store, actor: Actor, draft: MailDraft, team: str | None = None, role: str | None = None
) -> Document:
    """Send to every other active agent (of ``team``, with ``role``); orchestrators only."""

    def everybody(tx: Transaction, me: Document, parent: Document | None) -> list[str]:
        found = [name for name in tx.index.agents(team, role) if name != me["agent"] and _is_there(tx, name)]
        if not found:
            those = f"{f' of role {role}' if role else ''}{f' in team {team}' if team else ''}"
            raise NotFound(f"no other agent{those} is registered; `mbox agent list`")
        return found

    to = (f"team {team}", f"role {role}")
    return _sent(store, actor, Sending(operations.MAIL_BROADCAST, draft, to, None, everybody))


def _is_there(tx: Transaction, name: str) -> bool:
    """Whether an agent that the index has is served: one whose document somebody else has touched is read, all others not."""
    if tx.is_untouched(places.agent(name)):
        return True
    doc = tx.glance(places.agent(name))
    return doc is not None and not doc["retired_at"]


def system(tx: Transaction, to: str, subject: str, body: str, task_id: str | None = None,
           type: str = "system", parent: Document | None = None) -> str:  # fmt: skip
    """Put a message from the acting agent, or ``system``, to one agent inside another transaction; its id.

    With a ``parent`` it is an answer to that, in its thread.
    Takes a number.  Nobody there to get it (not registered, retired): nothing is sent, and the id is empty.
    """
    receiver = tx.glance(places.agent(to))
    if receiver is None or receiver["retired_at"]:
        return ""
    sender = tx.actor.name if tx.actor.incarnation else SYSTEM
    draft = MailDraft(body=body, subject=subject, type=type, task_id=task_id)
    return str(_deliver(tx, sender, [to], draft, parent)["msg_id"])


def _sent(store: Store, actor: Actor, sending: Sending) -> Document:
    draft = sending.draft
    size = len(draft.body.encode())
    size += len(documents.compact(draft.payload).encode()) if draft.payload is not None else 0
    limit = store.config.message_limit
    if size > limit:
        raise Usage(f"the message has {size} bytes, at most {limit} go in one: put it in a file and send the path")
    return store.transact(lambda tx: _send(tx, sending), actor)


def _send(tx: Transaction, sending: Sending) -> Document:
    me = registry.still_current(tx)
    draft = sending.draft
    fingerprint = sending.fingerprint() if draft.key else ""
    if draft.key:
        known = tx.index.key(me["agent"], draft.key, tx.wall - tx.store.config.keys_kept)
        if known:
            return _same(tx, me, known, draft.key, fingerprint)
    parent = lookup.find(tx, sending.parent_id, me["agent"]) if sending.parent_id else None
    receivers = sending.receivers(tx, me, parent)
    if sending.op != operations.MAIL_BROADCAST:  # which has looked, and need not read everybody
        for name in receivers:
            registry.require(tx.store, tx.read, name)
    if draft.task_id and tx.read(places.task(draft.task_id)) is None:
        ids = places.idents(tx.names(places.TASKS))
        raise NotFound(f"no task {draft.task_id}{lookup.meant(draft.task_id, ids)}")
    rule = _rule(tx, me, sending.op, receivers, parent)
    if rule:
        tx.refuse(Refused(rule), operations.MAIL_REFUSED, [sending.parent_id] if sending.parent_id else receivers)
        return {}
    answer = parent is not None and parent["from"] in receivers
    message = _deliver(tx, me["agent"], receivers, _completed(sending, parent), parent)
    out = {name: message[name] for name in ("msg_id", "thread_id", "to")}
    acked = parent is not None and answer and _answered(tx, me["agent"], parent)
    if acked:
        out["acked"] = sending.parent_id
    op = operations.MAIL_REPLY if answer and sending.op == operations.MAIL_SEND else sending.op
    on = [message["msg_id"], *([sending.parent_id] if acked and sending.parent_id else [])]
    tx.record(op, on, key=[draft.key, fingerprint] if draft.key else None)
    return out


def _same(tx: Transaction, me: Document, known: Key, key: str, fingerprint: str) -> Document:
    """The answer to a call whose key was used before."""
    if known.print != fingerprint:
        raise Usage(f"--key {key!r} was used for {known.id} with other content; use a new key for a new message")
    message = lookup.sent(tx, known.id) or {"msg_id": known.id, "thread_id": known.id, "to": []}
    return {name: message[name] for name in ("msg_id", "thread_id", "to")} | {"already": True}


def _sender_of(tx: Transaction, me: Document, parent: Document | None) -> list[str]:
    assert parent is not None
    sender: str = parent["from"]
    if sender == SYSTEM:
        raise Usage(f"{parent['msg_id']} comes from the toolkit itself; nobody would read a reply")
    if sender == me["agent"] and sender not in parent["to"]:
        raise Usage(f"{parent['msg_id']} is your own; `mbox send TO --reply-to {parent['msg_id']}` adds to it")
    return [sender]


def _rule(tx: Transaction, me: Document, op: str, receivers: list[str], parent: Document | None) -> str:
    """The rule that refuses to send this, with its numbers; empty if none does."""
    config = tx.store.config
    many = len(receivers) > config.max_recipients
    if (many or op == operations.MAIL_BROADCAST) and me["role"] != registry.ORCHESTRATOR:
        why = f"{len(receivers)} receivers are more than max_recipients {config.max_recipients}, " if many else ""
        return f"{why}only an agent with role {registry.ORCHESTRATOR} may broadcast, and {me['agent']} is {me['role']}"
    if parent and parent["hops"] >= config.max_hops:
        return (
            f"a reply to {parent['msg_id']} would be hop {parent['hops'] + 1} of its chain, max_hops is "
            f"{config.max_hops}: end this conversation, or start a new one"
        )
    rate = config.send_rate
    if rate and tx.store.made_lately() >= rate and tx.index.rate(me["agent"], tx.wall) >= rate:
        return f"{me['agent']} has sent {rate} messages within a minute, send_rate allows no more: slow down"
    return ""


def _completed(sending: Sending, parent: Document | None) -> MailDraft:
    """The draft with what it left open: its type, and what a reply takes over from its parent."""
    draft = sending.draft
    own = {operations.MAIL_ASK: "question", operations.MAIL_BROADCAST: "broadcast"}.get(sending.op, "note")
    if parent is None:
        return draft._replace(type=draft.type or own)
    if own == "note" and parent["type"] == "question":
        own = "answer"
    subject = parent["subject"]
    return draft._replace(
        type=draft.type or own,
        subject=draft.subject or (f"Re: {subject.removeprefix('Re: ')}" if subject else ""),
        task_id=draft.task_id or parent["task_id"],
        round_id=draft.round_id or parent["round_id"],
    )


def _deliver(tx: Transaction, sender: str, to: list[str], draft: MailDraft, parent: Document | None) -> Document:
    seen = tx.store.tail.seq
    ident = f"m{tx.take()}"
    message = documents.new(
        "message", msg_id=ident, thread_id=parent["thread_id"] if parent else ident,
        parent_id=parent["msg_id"] if parent else None, task_id=draft.task_id, round_id=draft.round_id, from_=sender,
        to=to, type=draft.type, subject=draft.subject, body=draft.body, payload=draft.payload, state_version=seen,
        priority=draft.priority, needs_ack=draft.needs_ack, hops=parent["hops"] + 1 if parent else 0, key=draft.key,
        created_at=tx.now, expires_at=stamp(tx.wall + draft.ttl) if draft.ttl else None,
    )  # fmt: skip
    tx.put(message, *(places.new(name, ident) for name in to), places.outbox(sender, ident))
    return message


def _answered(tx: Transaction, agent: str, parent: Document) -> bool:
    """Acknowledge a message that wants it, because it is being answered; whether that was so."""
    if not parent["needs_ack"]:
        return False
    from .reading import archive, lost

    msg_id = parent["msg_id"]
    mine = tx.read(places.cur(agent, msg_id))
    gone = lost(tx, mine, None) if mine else ""
    if mine is None or gone:
        waiting = tx.read(places.new(agent, msg_id))
        if gone or (waiting and waiting["read_by"]):
            tx.warn(f"{msg_id} was not acknowledged by this reply: {gone or 'its read lease ran out'}")
        return False
    archive(tx, agent, mine, "acked")
    return True
