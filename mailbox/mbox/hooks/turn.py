"""An agent's turn as its own hooks see it: its status, the mail that is offered, the stop that is held once.

States of an agent in ``status/NAME.json``, by the moments of its host (`codecs`), each written whole, without a journal:

    start ──▶ idle   prompt, a tool ──▶ busy   stop ──▶ idle, or still busy where it is kept going   end ──▶ ended

``offered`` are the ids of unread mail that was shown to the agent, by whichever hook came first; ``held`` what a stop was held
for already (``t4/17``: a task under its token; a message); ``failures`` how often the gates of a task failed; ``subs`` the
subagents that were seen to start; ``seq_seen`` the last record at the end of its last turn.  The pane and its server are the
wrapper's, and kept as they are.

Order of one call: take the agent's hook lock; read the status; decide; write the status; give the lock up; print.  So of
two hooks at once one offers a message.  Killed between writing and printing: a message counts as offered and was not shown;
it is still unread, so the doorbell rings for it, and the card shows it.  A status that is lost is begun anew: mail is
offered once more.

Promised: what others wrote stands as JSON strings on one line, no markup of any host; at most `OFFER` bytes.  Not promised:
that the agent reads what it was shown: only its inbox says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mbox.agents import presence
from mbox.errors import TimedOut
from mbox.format import documents, operations, places
from mbox.format.documents import ACTIVE, Document
from mbox.mail import inbox, reading
from mbox.store import mutex
from mbox.store.store import Actor, Store, Transaction
from mbox.system.clock import stamp

from .codecs import HostCall, inert

OFFER = 1200
"""Bytes of what is said of new mail, at most."""

PREVIEWS, LETTERS, SUBJECT = 3, 120, 80
"""Messages that are shown, letters of each body, and of each subject, at most."""

URGENT = 8
"""The priority from which on a message holds a stop."""

REMEMBERED = 500
"""Ids that are kept of what a stop was held for, and of subagents, at most: the newest."""

REASONS = 5
"""Reasons that hold one stop, at most; the others hold the next."""

PATIENCE = 3.0
"""Seconds for which another hook of the same agent is waited for."""


class Seat:
    """The status of one agent, as its hooks keep it."""

    def __init__(self, store: Store, who: Actor, call: HostCall) -> None:
        self.store = store
        self.who = who
        self.call = call
        before = presence.status(store, who.name) or {}
        is_same = before.get("incarnation", who.incarnation) in (0, who.incarnation)
        self.before: Document = before if is_same else {key: before[key] for key in ("pane", "server") if key in before}
        self.offered: list[str] = [*self.before.get("offered", [])]
        self.held: list[str] = [*self.before.get("held", [])]
        self.subs: list[str] = [*self.before.get("subs", [])]
        self.failures: dict[str, Any] = {**self.before.get("failures", {})}
        self.seen = int(self.before.get("seq_seen", 0))
        self.told = int(self.before.get("told", 0))
        """The last record of which it was said what that did to the agent."""

    def write(self, state: str) -> None:
        """Say what the agent does now."""
        before, call = self.before, self.call
        since = before.get("since") if before.get("state") == state and before.get("event") else None
        tasks = [task["task_id"] for task in in_hand(self.store, self.who)]
        doc = documents.new(
            "status", agent=self.who.name, state=state, since=since or stamp(self.store.host.wall()), event=call.event,
            seq_seen=self.seen, offered=self.offered, task=tasks[0] if tasks else None, pane=before.get("pane"),
            server=before.get("server"), incarnation=self.who.incarnation, session=call.session or before.get("session", ""),
            host=call.host.name, at=stamp(self.store.host.wall()), held=self.held[-REMEMBERED:], failures=self.failures,
            subs=self.subs[-REMEMBERED:], told=self.told,
        )  # fmt: skip
        self.store.put_ephemeral(places.status(self.who.name), documents.encode("status", doc))

    # -- mail ------------------------------------------------------------------------------------------------------

    def offer(self, budget: int = OFFER) -> str:
        """What to say of mail that nobody has offered yet, which counts as offered from here on; empty where there is none."""
        unread = inbox.unread(self.store, self.who.name)
        ids = {doc["msg_id"] for doc in unread}
        fresh = [doc for doc in unread if doc["msg_id"] not in self.offered]
        self.offered = [ident for ident in self.offered if ident in ids] + [doc["msg_id"] for doc in fresh]
        return said(fresh, len(unread), self.who.name, budget) if fresh else ""

    # -- the end of a turn -----------------------------------------------------------------------------------------

    def reasons(self) -> list[str]:
        """Why the agent should not stop yet, each said once: urgent mail, a task in hand."""
        found: list[str] = []
        for doc in inbox.unread(self.store, self.who.name):
            if doc["priority"] >= URGENT and len(found) < REASONS and self._first(doc["msg_id"]):
                found.append(f"{doc['msg_id']} from {doc['from']} is urgent and unread: `mbox read {doc['msg_id']}` shows it.")
        for task in in_hand(self.store, self.who):
            ident, token = task["task_id"], task["token"]
            if not task.get("order") and len(found) < REASONS and self._first(f"{ident}/{token}"):
                found.append(
                    f"Task {ident} is still {task['status']}, and nobody has it but {self.who.name}: "
                    f"`task done {ident} --token {token}` finishes it, `task submit {ident} --token {token}` hands it in for "
                    f"review, `task release {ident}` gives it back."
                )
        return found

    def _first(self, what: str) -> bool:
        if what in self.held:
            return False
        self.held.append(what)
        return True


@contextmanager
def seat(store: Store, who: Actor, call: HostCall) -> Iterator[Seat]:
    """The agent's `Seat`, for one hook at a time; `TimedOut` if another has it for `PATIENCE` seconds."""

    def refusal() -> TimedOut:
        return TimedOut(f"another hook of {who.name} is at work")

    with mutex.exclusively(store, places.hook_lock(who.name), PATIENCE, refusal):
        yield Seat(store, who, call)


def in_hand(store: Store, who: Actor) -> list[Document]:
    """The tasks that ``who`` works on: by the leases, of which there are as many as tasks in work."""
    found = []
    for ident in sorted(places.idents(store.names(places.TASK_LEASES)), key=places.number):
        lease = store.load_lease(places.task_lease(ident))
        if lease is not None and lease.holder == who.name:
            task = store.glance(places.task(ident))
            if task and task["owner"] == who.name and task["status"] in ACTIVE and task["incarnation"] == who.incarnation:
                found.append(task)
    return found


def said(fresh: list[Document], unread: int, name: str, budget: int = OFFER) -> str:
    """What there is of new mail, in at most ``budget`` bytes: how many, from whom, about what, and how to read it."""
    senders = list(dict.fromkeys(doc["from"] for doc in fresh))
    named = ", ".join(senders[:5]) + (f" and {len(senders) - 5} more" if len(senders) > 5 else "")
    count = f"{len(fresh)} new message{'s' * (len(fresh) > 1)} for {name}, from {named}"
    head = f"{count}; {unread} unread in all. `mbox read` takes the next. Strings in quotes are other agents' words:"
    for shown, letters in ((PREVIEWS, LETTERS), (PREVIEWS, 60), (PREVIEWS, 20), (1, 20), (1, 0), (0, 0)):
        lines = [head if shown else f"{count}; `mbox read` takes the next."]
        lines += [_line(doc, letters) for doc in fresh[:shown]]
        text = "\n".join(lines)
        if len(text.encode()) <= budget:
            return text
    return f"{unread} unread messages: `mbox read`"[:budget]


def _line(doc: Document, letters: int) -> str:
    urgent = f", priority {doc['priority']}" if doc["priority"] != 5 else ""
    preview = f" {inert(short(doc['body'], letters))}" if letters and doc["body"] else ""
    return f"{doc['msg_id']} from {doc['from']}{urgent}: {inert(short(doc['subject'], min(SUBJECT, letters * 2)))}{preview}"


def short(text: str, letters: int) -> str:
    """``text`` on one line, of at most so many letters."""
    flat = " ".join(text[: 8 * letters + 8].split())
    return flat if len(flat) <= letters else f"{flat[: max(0, letters - 1)]}…"


# -- leases ----------------------------------------------------------------------------------------------------------


def renew(store: Store, who: Actor) -> None:
    """Beat, and renew what ``who`` holds and has used a third of."""
    presence.beat(store, who, 0, hook=True)
    mark = store.mark()
    if mark is None or store.host.mono() >= min(mark.renew, mark.due):
        store.transact(lambda tx: None, who)


def give_mail_back(store: Store, who: Actor, why: str) -> list[str]:
    """Put what ``who`` has read and not acknowledged back among the unread; the ids."""
    if not places.idents(store.names(places.cur_folder(who.name))):
        return []

    def decide(tx: Transaction) -> list[str]:
        found = []
        for msg_id in places.idents(tx.names(places.cur_folder(who.name))):
            lease = tx.lease(places.read_lease(who.name, msg_id))
            is_mine = lease is None or lease.incarnation == who.incarnation
            if is_mine and reading.reader_gone(tx, who.name, msg_id, why) is not None:
                found.append(msg_id)
        if found:
            tx.record(operations.MAIL_RETURN, found, why)
        return found

    return store.transact(decide, who)
