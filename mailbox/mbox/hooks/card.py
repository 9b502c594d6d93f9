"""The card: all that an agent must have before it to go on after a start, a compaction or a restart.

Promised: at most `CARD` bytes; it says as of which record it is, for an older one stays in a transcript that is resumed;
facts, no orders; what others wrote stands as JSON strings.  What does not fit is left out from the end of the least
important part, and that is said.  Nothing is written here.  Not promised: that it is the whole story: `mbox me` and `mbox
primer` are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mbox.agents import presence
from mbox.agents.registry import ORCHESTRATOR, REVIEWER
from mbox.format import operations
from mbox.format.documents import Document
from mbox.journal.record import Record
from mbox.report import history, status
from mbox.report.history import RecordFilter
from mbox.store.store import Actor, Store

from .codecs import inert
from .denials import cut
from .turn import short

CARD = 1800
"""Bytes at most."""

CHANGES, RECORDS = 6, 300
"""Changes that are told, and records in which they are looked for, at most: the newest."""

RULES = {
    ORCHESTRATOR: "leads: cuts work into tasks (`task add`, `task import`), and does none of them",
    REVIEWER: "judges what others hand in (`task review`, `task approve`, `task reject`), and changes nothing of it",
}
"""What a role is there for, in one line; any other does tasks."""
_WORKER = "does tasks: `task claim --start`, then `task done` or `task submit`; works on nothing it has not claimed"

_ABOUT = frozenset((
    operations.TASK_EXPIRE, operations.TASK_CANCEL, operations.TASK_REJECT, operations.TASK_REQUEUE, operations.TASK_UPDATE,
    operations.TASK_APPROVE, operations.RESERVE_EXPIRE, operations.AGENT_DEAD, operations.GUARD_WROTE, operations.MAIL_RETURN,
))  # fmt: skip
"""What happens to an agent without its doing."""


def card(store: Store, who: Actor, since: int = 0) -> str:
    """The card of ``who``; with what changed since the record ``since``, where that is known."""
    me = status.me(store, who)
    seq = store.end().seq
    said = presence.status(store, who.name)
    since = since or (int(said["seq_seen"]) if said else 0)
    head = [
        f"mbox: card of {who.name}, as of record {seq}. An older card in this conversation is out of date; `mbox card` prints "
        "it anew.",
        f"{who.name} is {article(me['role'])} in {cut(store.root)}: {RULES.get(me['role'], _WORKER)}.",
        "Exit 5 means that somebody else holds it. Files in .mailbox/ and .tasks/ change by commands only. Strings in quotes "
        "are other agents' words.",
    ]
    parts = [list(_tasks(store, me)), list(_holdings(me)), list(_mail(me)), list(_changes(store, who, since)), _next(me)]
    return fitted(head, parts, sum(me.get("left_out", {}).values()))


def news(store: Store, who: Actor, since: int) -> str:
    """What happened to ``who`` since the record ``since`` without its doing: what is told in the middle of a turn."""
    lines = list(_changes(store, who, since, f"mbox, since record {since}:"))
    return "\n".join(lines)[:CARD]


def article(role: str) -> str:
    """``a worker``, ``an orchestrator``."""
    return f"a{'n' * (role[:1] in 'aeiou')} {role}"


def fitted(head: list[str], parts: list[list[str]], left: int = 0) -> str:
    """Head and parts in at most `CARD` bytes: the longest part gives way first, from its end, and keeps its first line longest.

    It is said how much is left out; ``left`` is so much already.
    """
    parts = [[line for line in part if line] for part in parts]

    def whole() -> str:
        more = [f"{left} more do not fit here: `mbox me`"] if left else []
        return "\n".join([*head, *(line for part in parts for line in part), *more])

    while len(whole().encode()) > CARD and any(parts):
        more = [part for part in parts if len(part) > 1] or parts
        max(more, key=lambda part: len("\n".join(part))).pop()
        left += 1
    text = whole().encode()
    return text[:CARD].decode("utf-8", "ignore")


def _tasks(store: Store, me: dict[str, Any]) -> Iterator[str]:
    for task in me["tasks"]:
        title = inert(short(str(task.get("title", "")), 100))
        yield f"Task {task['task_id']} is {task['status']}, token {task['token']}, {task['left']} left: {title}"
        doc = store.read(f".tasks/{task['task_id']}.json") or {}
        if doc.get("touched_paths"):
            yield f"  its files: {cut(', '.join(doc['touched_paths'][:8]))}"
        if gates := [*store.config.gates, *(doc.get("gates") or ())]:
            yield f"  its gates: {inert(short('; '.join(gates), 120))}"
        if task.get("note"):
            yield f"  last note: {inert(short(str(task['note']), 150))}"
        if task.get("checkpoint"):
            yield f"  checkpoint: {inert(short(str(task['checkpoint']), 200))}"


def _holdings(me: dict[str, Any]) -> Iterator[str]:
    for row in me["reservations"]:
        left = row.get("left") or row.get("state", "")
        yield f"Holds {row['reservation_id']}: {cut(', '.join(row['patterns'][:6]))} ({left} left)"


def _mail(me: dict[str, Any]) -> Iterator[str]:
    if me["unread"]:
        yield f"Unread: {me['unread']}; `mbox read` takes the next."
    for row in me["mail"][:3]:
        yield f"  {row['msg_id']} from {row['from']}: {inert(short(str(row.get('subject', '')), 80))}"
    for row in me["unacknowledged"][:3]:
        yield f"Read, not acknowledged: {row['msg_id']} ({row['left']})"


def _next(me: dict[str, Any]) -> list[str]:
    return [f"Next, by what is held: {'; '.join(f'`{command}`' for command in me['next'][:4])}"]


def _changes(store: Store, who: Actor, since: int, head: str = "") -> Iterator[str]:
    """What happened to the agent since its last turn, newest first."""
    if not since:
        return
    records, _ = history.newest(store, RecordFilter(since_seq=since), RECORDS)
    lines = [line for record in records if record["by"] != who.name and (line := _told(record, who.name))]
    if lines:
        yield head or f"Since its last turn (record {since}):"
    yield from lines[:CHANGES]
    if len(lines) > CHANGES:
        yield f"  and {len(lines) - CHANGES} more: `mbox log --since {since}`"


def _told(record: Record, name: str) -> str:
    """What a record did to the agent ``name``; empty where it did nothing to it."""
    concerns = name in record["on"] or f" {name} " in f" {record['why']} " or _is_owners(record, name)
    if record["op"] not in _ABOUT or not concerns:
        return ""
    on = ", ".join(one for one in record["on"][:4] if one != name)
    why = f": {inert(short(record['why'], 120))}" if record["why"] else ""
    return f"  {record['op']} {cut(on)} by {record['by']}{why}"


def _is_owners(record: Record, name: str) -> bool:
    """Whether one of the documents that the record put is a task of ``name``, or a letter that tells it so."""
    docs: list[Document] = [doc for doc, _ in record["put"] if isinstance(doc, dict)]
    return any(doc.get("owner") == name or name in doc.get("to", ()) for doc in docs)


