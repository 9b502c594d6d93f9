"""Mail: a message is one file in each receiver's inbox; it goes from ``new/`` to ``cur/`` to the archive.

Promised (design, "Mail"): at least once; to all receivers or to none; for one sender, receiver and priority in the
order sent; the same key is the same message; shown once unless its reader failed to acknowledge it.  Not promised:
exactly once; a reader that dies between printing and acknowledging sees the message again.

Here is sending: ``mail.send``, ``reply``, ``ask`` and ``broadcast`` put ``inbox/R/new/ID`` for each receiver R, and
``outbox/SENDER/ID``, which is last, in one record (the module of the store says what a crash leaves: all of them, or
none).  ``mail.refused`` puts nothing: it says which limit refused what.

`reading` takes messages out of the inbox, `letters` finds and lists them without the lock, `asks` waits for them,
`deadletters` mends.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mbox.mail import lookup as letters
from mbox.agents import registry as agents
from mbox.format import documents
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import NotFound, Refused, Usage
from mbox.system.host import stamp
from mbox.mail.reading import acknowledge, archive, config_of, expire, finish, lease_ran_out, lost, read
from mbox.store.store import Actor, Store, Transaction

if TYPE_CHECKING:
    from mbox.index.queries import Key
    from mbox.opening import OpenStore

__all__ = [
    "Draft", "acknowledge", "broadcast", "expire", "finish", "lease_ran_out", "read", "reply", "send", "system",
]  # fmt: skip

SYSTEM = "system"
"""The sender of mail that no agent sent."""


class Draft(NamedTuple):
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
    draft: Draft
    to: tuple[str, ...]
    parent_id: str | None
    receivers: Callable[[Transaction, Document, Document | None], list[str]]

    def fingerprint(self) -> str:
        """What tells this content from any other under the same key: two CRCs, of the text and of its reverse."""
        content = [self.op, sorted(self.to), self.parent_id, *self.draft._replace(key=None)]
        data = documents.compact(content).encode()
        return f"{crc32(data):08x}{crc32(data[::-1]):08x}-{len(data)}"


# -- sending -----------------------------------------------------------------------------------------------------


def send(store: Store, actor: Actor, to: Iterable[str], draft: Draft, reply_to: str | None = None,
         dry_run: bool = False, op: str = "mail.send") -> Document:  # fmt: skip
    """Send to every one of ``to`` (named twice is named once) or to none; ``{"msg_id": …}``.

    `NotFound` with the nearest names for an unknown receiver, `Refused` by the rules of role, hops and rate.
    """
    names = tuple(dict.fromkeys(to))
    if not names:
        raise Usage("to whom? name at least one agent")
    sending = Sending(op, draft, names, reply_to, lambda tx, me, parent: list(names))
    return _sent(store, actor, sending, dry_run)


def reply(store: Store, actor: Actor, msg_id: str, draft: Draft, dry_run: bool = False) -> Document:
    """Answer ``msg_id``, to its sender alone; acknowledges it if it wants that and the caller has read it."""
    return _sent(store, actor, Sending("mail.reply", draft, (), msg_id, _sender_of), dry_run)


def broadcast(store: Store, actor: Actor, draft: Draft, team: str | None = None, role: str | None = None,
              dry_run: bool = False) -> Document:  # fmt: skip
    """Send to every other active agent (of ``team``, with ``role``); orchestrators only."""

    def everybody(tx: Transaction, me: Document, parent: Document | None) -> list[str]:
        paths = [f"{places.AGENTS}/{name}" for name in sorted(tx.names(places.AGENTS)) if name.endswith(".json")]
        found = [
            doc["agent"]
            for doc in map(tx.read, paths)
            if doc and not doc["retired_at"] and doc["agent"] != me["agent"]
            and team in (None, doc["team"]) and role in (None, doc["role"])
        ]  # fmt: skip
        if not found:
            those = f"{f' of role {role}' if role else ''}{f' in team {team}' if team else ''}"
            raise NotFound(f"no other agent{those} is registered; `mbox agent list`")
        return found

    to = (f"team {team}", f"role {role}")
    return _sent(store, actor, Sending("mail.broadcast", draft, to, None, everybody), dry_run)


def system(tx: Transaction, to: str, subject: str, body: str, task_id: str | None = None,
           type: str = "system") -> str:  # fmt: skip
    """Put a message from the acting agent, or ``system``, to one agent inside another transaction; its id.

    Takes a number.  Nobody there to get it (not registered, retired): nothing is sent, and the id is empty.
    """
    receiver = tx.read(places.agent(to))
    if receiver is None or receiver["retired_at"]:
        return ""
    sender = tx.actor.name if tx.actor.incarnation else SYSTEM
    draft = Draft(body=body, subject=subject, type=type, task_id=task_id)
    return str(_deliver(tx, sender, [to], draft, None)["msg_id"])


def _sent(store: Store, actor: Actor, sending: Sending, dry_run: bool) -> Document:
    draft = sending.draft
    size = len(draft.body.encode())
    size += len(documents.compact(draft.payload).encode()) if draft.payload is not None else 0
    limit = cast("OpenStore", store).config.message_limit
    if size > limit:
        raise Usage(f"the message has {size} bytes, at most {limit} go in one: put it in a file and send the path")
    return store.transact(lambda tx: _send(tx, sending), actor, dry_run)


def _send(tx: Transaction, sending: Sending) -> Document:
    me = agents.still_current(tx)
    draft = sending.draft
    fingerprint = sending.fingerprint() if draft.key else ""
    if draft.key:
        known = tx.index.key(me["agent"], draft.key, tx.wall - config_of(tx).keys_kept)
        if known:
            return _same(tx, me, known, draft.key, fingerprint)
    parent = letters.find(tx, sending.parent_id, me["agent"]) if sending.parent_id else None
    receivers = sending.receivers(tx, me, parent)
    for name in receivers:
        agents.require(tx.store, tx.read, name)
    if draft.task_id and tx.read(places.task(draft.task_id)) is None:
        ids = [name[:-5] for name in tx.names(places.TASKS) if name.endswith(".json")]
        raise NotFound(f"no task {draft.task_id}{letters.meant(draft.task_id, ids)}")
    rule = _rule(tx, me, sending.op, receivers, parent)
    if rule:
        tx.refuse(Refused(rule), "mail.refused", [sending.parent_id] if sending.parent_id else receivers)
        return {}
    answer = parent is not None and parent["from"] in receivers
    message = _deliver(tx, me["agent"], receivers, _completed(sending, parent), parent)
    out = {name: message[name] for name in ("msg_id", "thread_id", "to")}
    acked = parent is not None and answer and _answered(tx, me["agent"], parent)
    if acked:
        out["acked"] = sending.parent_id
    op = "mail.reply" if answer and sending.op == "mail.send" else sending.op
    on = [message["msg_id"], *([sending.parent_id] if acked and sending.parent_id else [])]
    tx.record(op, on, key=[draft.key, fingerprint] if draft.key else None)
    return out


def _same(tx: Transaction, me: Document, known: Key, key: str, fingerprint: str) -> Document:
    """The answer to a call whose key was used before."""
    if known.print != fingerprint:
        raise Usage(f"--key {key!r} was used for {known.id} with other content; use a new key for a new message")
    message = tx.read(places.outbox(me["agent"], known.id)) or {"msg_id": known.id, "thread_id": known.id, "to": []}
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
    config = config_of(tx)
    many = len(receivers) > config.max_recipients
    if (many or op == "mail.broadcast") and me["role"] != agents.ORCHESTRATOR:
        why = f"{len(receivers)} receivers are more than max_recipients {config.max_recipients}, " if many else ""
        return f"{why}only an agent with role {agents.ORCHESTRATOR} may broadcast, and {me['agent']} is {me['role']}"
    if parent and parent["hops"] >= config.max_hops:
        return (
            f"a reply to {parent['msg_id']} would be hop {parent['hops'] + 1} of its chain, max_hops is "
            f"{config.max_hops}: end this conversation, or start a new one"
        )
    rate = config.send_rate
    if rate and tx.store.made_lately() >= rate and tx.index.rate(me["agent"], tx.wall) >= rate:
        return f"{me['agent']} has sent {rate} messages within a minute, send_rate allows no more: slow down"
    return ""


def _completed(sending: Sending, parent: Document | None) -> Draft:
    """The draft with what it left open: its type, and what a reply takes over from its parent."""
    draft = sending.draft
    own = {"mail.ask": "question", "mail.broadcast": "broadcast"}.get(sending.op, "note")
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


def _deliver(tx: Transaction, sender: str, to: list[str], draft: Draft, parent: Document | None) -> Document:
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
