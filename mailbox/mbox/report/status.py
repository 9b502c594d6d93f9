"""How things stand: the whole store for a person (`status`), one agent's own affairs for itself (`me`).

Both only read, without the lock; what has run out is shown as expired.  For what does not move, `status` names the
one reason; `me` ends with the commands that would move what the agent holds, in at most `ME` bytes, because it is
what an agent reads when its context has been compacted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mbox.report import history
from mbox.tasks import notes
from mbox.tasks import ready
from mbox.reservations import reserving as reservations
from mbox.mail import lookup as letters
from mbox.mail import questions
from mbox.mail import reading
from mbox.agents import registry as agents
from mbox.format import places
from mbox.format.documents import FINAL, Document, compact, defaults
from mbox.report.history import age
from mbox.system.host import stamp

if TYPE_CHECKING:
    from mbox.opening import OpenStore
    from mbox.store.store import Actor, Store

Answer = dict[str, Any]

ME = 1500
"""Bytes of `me`'s answer at most, as JSON."""

MOST = 20
"""Lines of one kind under `why` at most."""

SLOW = 600.0
"""Seconds of unread mail after which `status` says whose it is."""


# -- the whole store -----------------------------------------------------------------------------------------------


def status(store: OpenStore) -> Answer:
    """Root, journal, mail, tasks, claims, reservations, and why what does not move does not."""
    view = ready.View(store)
    counts = Counter(doc["status"] for doc in view.tasks.values())
    mail = _mail(store)
    last = history.newest(store, history.Filter(), 1)[0]
    return {
        "root": store.root,
        "seq": store.end().seq,
        "last": f"{last[0]['op']} by {last[0]['by']} {reservations.span(age(store, last[0]['ts']))} ago" if last else "",
        "durability": store.config.durability,
        "watcher": store.watch_backend,
        "watchdog": _watchdog(store),
        "agents": _agents(store),
        "tasks": {name: counts[name] for name in sorted(counts)},
        "unread": {name: count for name, (count, _) in mail.items() if count},
        "oldest_unread": _text(max((_oldest(store, name, ident) for name, (_, ident) in mail.items() if ident), default=None)),
        "claims": [_claim(store, doc) for doc in ready.by_rank(view.tasks.values()) if _is_held(doc)],
        "reservations": [_reservation(store, doc) for doc in store.documents(places.RESERVATIONS)],
        "dead_letters": len(store.names(places.DEADLETTER)),
        "why": _why(store, view, mail),
    }


def _watchdog(store: OpenStore) -> str:
    """Whether one is alive, and when it last looked."""
    from mbox.liveness import watchdog
    from mbox.store import mutex as locks

    doc = watchdog.last(store)
    when = f", last scan {reservations.span(age(store, doc['scan_at']))} ago" if doc and doc.get("scan_at") else ""
    if locks.is_held(store, places.WATCHDOG_LOCK):
        return f"pid {doc['pid']}{when}" if doc else "alive"
    return f"none{when}: what runs out is swept by the next command that writes; `mbox watchdog` starts one"


def _is_held(doc: Document) -> bool:
    return doc["status"] in ("claimed", "running") or (doc["status"] == "review" and bool(doc["token"]))


def _agents(store: OpenStore) -> dict[str, str]:
    return {name: agents.liveness(store, name) for name in agents.active(store)}


def _mail(store: Store) -> dict[str, tuple[int, str]]:
    """Per agent how many messages are unread, and the one with the lowest number; by the files' names alone."""
    found = {}
    for name in sorted(store.names(places.INBOX)):
        idents = [file[:-5] for file in store.names(places.new_folder(name)) if file.endswith(".json")]
        found[name] = (len(idents), min(idents, key=places.number, default=""))
    return found


def _text(oldest: tuple[float, str] | None) -> str:
    return f"{oldest[1]}, for {reservations.span(oldest[0])}" if oldest else ""


def _oldest(store: Store, name: str, ident: str) -> tuple[float, str]:
    doc = store.glance(places.new(name, ident))
    seconds = age(store, doc["created_at"]) if doc else 0.0
    return round(seconds, 1), f"{ident} to {name}"


def _left(store: Store, path: str, token: int) -> str:
    lease = store.load_lease(path)
    if lease is None or lease.token != token:
        return "unknown"
    left = lease.left(store.host)
    return reservations.span(left) if left > 0 else "expired"


def _brief(row: Answer, kind: str = "") -> Answer:
    """A row inside an answer, without what is empty or at the default of its ``kind``."""
    usual = defaults(kind) if kind else {}
    return {
        name: value
        for name, value in row.items()
        if value not in (None, "") and (name not in usual or value != usual[name])
    }


def _claim(store: Store, doc: Document) -> Answer:
    review = doc["status"] == "review"
    path = places.review_lease(doc["task_id"]) if review else places.task_lease(doc["task_id"])
    row = {
        "task_id": doc["task_id"],
        "status": doc["status"],
        "holder": doc["reviewer"] if review else doc["owner"],
        "left": _left(store, path, doc["token"]) if doc["token"] else None,
        "title": doc["title"],
    }
    return _brief(row)


def _reservation(store: Store, doc: Document) -> Answer:
    row = {
        "reservation_id": doc["reservation_id"],
        "agent": doc["agent"],
        "patterns": doc["patterns"],
        "left": _left(store, places.lease(doc["reservation_id"]), doc["token"]),
        "task_id": doc["task_id"],
    }
    return _brief(row)


def _why(store: OpenStore, view: ready.View, mail: dict[str, tuple[int, str]]) -> list[str]:
    """One line for each kind of thing that does not move."""
    lines = []
    for name, (count, ident) in mail.items():
        if count:
            seconds, _ = _oldest(store, name, ident)
            if seconds >= SLOW:
                state = agents.liveness(store, name)
                lines.append(f"{name} ({state}) has {count} unread, the oldest for {reservations.span(seconds)}")
    found: dict[str, list[str]] = {}
    for doc in ready.by_rank(view.tasks.values()):
        if doc["status"] in FINAL:
            continue
        why = next(view.why(doc), None)
        if why is None:
            found.setdefault("ready, and nobody claims it", []).append(doc["task_id"])
        elif why.kind != "in work" or "run out" in why.text or "dead" in why.text or "nobody" in why.text:
            found.setdefault(why.text, []).append(doc["task_id"])
    lines += [f"{_named(tasks)}: {reason}" for reason, tasks in list(found.items())[:MOST]]
    if len(found) > MOST:
        lines.append(f"{len(found) - MOST} more reasons: `task ready --explain`")
    lines += _unanswered(store)
    lines += [f"{ident}: {why}" for ident, why in _buried(view)]
    dead = len(store.names(places.DEADLETTER))
    if dead:
        lines.append(f"{dead} dead letter{'s' * (dead > 1)}: `mbox deadletter list`")
    lines += _left_alone(store)
    if store.is_behind():
        lines.append("the files do not follow the journal yet; the next command that writes brings them")
    return lines


def _unanswered(store: OpenStore) -> list[str]:
    """Who waits for whose answer."""
    lines = [
        f"{name} waits for {', '.join(missing)} ({thread})"
        for name in agents.active(store)
        for thread, missing in questions.asked_by(store, name).items()
    ]
    return [*lines[:MOST], f"{len(lines) - MOST} more questions wait for an answer"] if len(lines) > MOST else lines


def _left_alone(store: OpenStore) -> list[str]:
    """Agents that the watchdog has given up on."""
    from mbox.liveness import watchdog

    doc = watchdog.last(store) or {}
    lines = [f"{name} is broken: {why}" for name, why in doc.get("broken", {}).items()]
    held = [name for name, bell in doc.get("bells", {}).items() if bell["held"]]
    return lines + [f"{name} does not react to its doorbell: look at its pane" for name in held]


def _buried(view: ready.View) -> list[tuple[str, str]]:
    """Tasks that ended badly: those that others wait for first, then the newest; cancelled ones only if waited for."""
    waited = {dep for doc in view.tasks.values() if doc["status"] == "queued" for dep in doc["depends_on"]}
    ended = [
        doc
        for doc in view.tasks.values()
        if doc["status"] in ("failed", "deadletter") or (doc["status"] == "cancelled" and doc["task_id"] in waited)
    ]
    ended.sort(key=lambda doc: (doc["task_id"] not in waited, doc["finished_at"] or ""))
    lines = [(doc["task_id"], _end(doc)) for doc in ended[:MOST]]
    if len(ended) > MOST:
        lines.append((f"{len(ended) - MOST} more tasks", "ended badly; `task list --status failed,deadletter`"))
    return lines


def _end(doc: Document) -> str:
    why = doc["reason"] or "no reason given"
    return f"{doc['status']}: {why}; `task requeue {doc['task_id']}`"


def _named(tasks: list[str]) -> str:
    return ", ".join(tasks[:3]) + (f" and {len(tasks) - 3} more" if len(tasks) > 3 else "")


# -- one agent -----------------------------------------------------------------------------------------------------


def me(store: OpenStore, who: Actor) -> Answer:
    """Who the agent is, what it holds, its mail, questions that it was asked and that it asked, the next command for each.

    Both kinds of questions among the newest messages only: `questions` says the bound.
    """
    doc = agents.require(store, store.read, who.name)
    every = ready.every(store).values()
    tasks = [task for task in every if who.name in (task["owner"], task["reviewer"])]
    now = stamp(store.host.wall())
    unread = letters.unread(store, who.name, limit=5)
    pending = reading.pending(store, who.name)
    held = [_mine(store, task) for task in ready.by_rank(tasks) if _is_mine(task, who.name)]
    own = [_reservation(store, d) for d in store.documents(places.RESERVATIONS) if d["agent"] == who.name]
    count = sum(1 for name in store.names(places.new_folder(who.name)) if name.endswith(".json"))
    open_asks = questions.asked_by(store, who.name)
    unread_questions, to_answer = questions.asked_of(store, who.name)
    answer = {
        "agent": who.name,
        "root": store.root,
        "role": doc["role"],
        "incarnation": doc["incarnation"],
        "tasks": held,
        "reservations": own,
        "unread": count,
        "mail": [_brief(letters.header(message, now, doc["incarnation_since"] or ""), "message") for message in unread],
        "unacknowledged": pending,
        "to_answer": unread_questions + to_answer,
        "asks": open_asks,
        "next": _next(held, count, pending, to_answer, open_asks),
    }
    return _fitted(answer)


def _is_mine(task: Document, name: str) -> bool:
    if task["status"] == "review":
        return bool(task["reviewer"] == name)
    return bool(task["owner"] == name and task["status"] in ("claimed", "running"))


def _mine(store: Store, task: Document) -> Answer:
    claim = _claim(store, task)
    row = {
        "task_id": task["task_id"],
        "status": task["status"],
        "token": task["token"],
        "left": claim["left"],
        "title": task["title"],
        **{name: text[:200] for name, text in notes.newest(store, task["task_id"]).items()},
    }
    return _brief(row)


def _next(
    tasks: list[Answer], unread: int, pending: dict[str, str], to_answer: list[str], asks: dict[str, list[str]]
) -> list[str]:
    """The next command for each thing that waits for this agent."""
    commands = []
    for task in tasks:
        if task["left"] == "expired":
            commands.append(f"task {'review' if task['status'] == 'review' else 'claim'} {task['task_id']}")
            continue
        verb = {"claimed": "start", "running": "done", "review": "approve"}[task["status"]]
        commands.append(f"task {verb} {task['task_id']} --token {task['token']}")
    commands += [f"mbox reply {ident} --body TEXT" for ident in to_answer[:2]]
    late = [ident for ident, left in pending.items() if left == "expired"]
    timely = [ident for ident in pending if ident not in late]
    commands += [f"mbox {verb} {' '.join(ids[:5])}" for verb, ids in (("read", late), ("ack", timely)) if ids]
    if unread:
        commands.append("mbox read")
    commands += [f"mbox gather {thread}" for thread in list(asks)[:2]]
    return commands or ["task claim"]


def _fitted(answer: Answer) -> Answer:
    """``answer`` in at most `ME` bytes: what is long is cut from its end, the counts stay."""
    for name in ("mail", "reservations", "unacknowledged", "asks", "to_answer", "tasks", "next"):
        while answer[name] and len(compact(answer).encode()) > ME - 40:
            items = list(answer[name].items() if isinstance(answer[name], dict) else answer[name])[:-1]
            answer[name] = dict(items) if isinstance(answer[name], dict) else items
            answer["more"] = True
    return answer
