"""How things stand: the whole store for a person (`status`), one agent's own affairs for itself (`me`).

Both only read, without the lock; what has run out is shown as expired.  For what does not move, `status` names the
one reason, and `look` says beside it which of these reasons wait for a person; `me` ends with the commands that would
move what the agent holds, in at most `ME` bytes, because it is what an agent reads when its context has been compacted.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.agents import presence, registry
from mbox.format import places
from mbox.format.documents import ACTIVE, FINAL, Document, compact, defaults
from mbox.mail import inbox, questions, reading
from mbox.reservations import guard
from mbox.store.files import folders_in
from mbox.system import clock
from mbox.system.clock import stamp
from mbox.tasks import notes, ready
from mbox.tasks.orders import is_of_run

from . import history
from .history import age

if TYPE_CHECKING:
    from mbox.store.store import Actor, Store


Answer = dict[str, Any]

ME = 1500
"""Bytes of `me`'s answer at most, as JSON."""

SHOWN = 5
"""Headers of unread mail that `me` shows at most."""

LONG, SHORT = 160, 64
"""Letters that `me` shows of a title, a subject, a note or a checkpoint, and where that is too much; no name is longer."""

MOST = 20
"""Lines of one kind under `why` at most."""

SLOW = 600.0
"""Seconds of unread mail after which `status` says whose it is."""


# -- the whole store -----------------------------------------------------------------------------------------------


class Reason(NamedTuple):
    """Why something does not move, and whether it will not before a person has done something."""

    needs_person: bool
    text: str


class Look(NamedTuple):
    """What `status` answers, and its ``why`` once more with who is waited for."""

    answer: Answer
    why: list[Reason]


FOR_PERSONS = frozenset(["held", "blocked", "incapable"])
"""Reasons of a task that no agent's work takes away."""


def status(store: Store) -> Answer:
    """Root, journal, mail, tasks, claims, reservations, and why what does not move does not."""
    return look(store).answer


def look(store: Store) -> Look:
    """As `status`, and which of the reasons wait for a person."""
    view = ready.View(store)
    counts = Counter(doc["status"] for doc in view.tasks.values())
    mail = _mail(store)
    last = history.newest(store, history.RecordFilter(), 1)[0]
    why = _why(store, view, mail)
    answer = {
        "root": store.root,
        "seq": store.end().seq,
        "last": f"{last[0]['op']} by {last[0]['by']} {clock.span(age(store, last[0]['ts']))} ago" if last else "",
        "durability": store.config.durability,
        "watcher": store.watching,
        "watchdog": _watchdog(store),
        "agents": _agents(store),
        "ended": {name: end for name in registry.active(store) if (end := presence.ended(store, name))},
        "tasks": {name: counts[name] for name in sorted(counts)},
        "unread": {name: count for name, (count, _) in mail.items() if count},
        "oldest_unread": _text(max((_oldest(store, name, ident) for name, (_, ident) in mail.items() if ident), default=None)),
        "claims": [_claim(store, doc) for doc in ready.by_rank(view.tasks.values()) if _is_held(doc)],
        "reservations": [_reservation(store, doc) for doc in guard.every(store)],
        "dead_letters": len(places.idents(store.names(places.DEADLETTER))),
        "why": [reason.text for reason in why],
    }
    return Look(answer, why)


def _watchdog(store: Store) -> str:
    """Whether one is alive, and when it last looked."""
    from mbox.liveness import watchdog
    from mbox.store import mutex

    doc = watchdog.last(store)
    when = f", last scan {clock.span(age(store, doc['scan_at']))} ago" if doc and doc.get("scan_at") else ""
    if mutex.is_held(store, places.WATCHDOG_LOCK):
        return f"pid {doc['pid']}{when}" if doc else "alive"
    return f"none{when}: what runs out is swept by the next command that writes; `mbox watchdog` starts one"


def _is_held(doc: Document) -> bool:
    return doc["status"] in ACTIVE or (doc["status"] == "review" and bool(doc["token"]))


def _agents(store: Store) -> dict[str, str]:
    return {name: presence.liveness(store, name) for name in registry.active(store)}


def _mail(store: Store) -> dict[str, tuple[int, str]]:
    """Per agent how many messages are unread, and the one with the lowest number; by the files' names alone."""
    found = {}
    for name in filter(places.is_name, folders_in(store, places.INBOX)):
        idents = places.idents(store.names(places.new_folder(name)))
        found[name] = (len(idents), min(idents, key=places.number, default=""))
    return found


def _text(oldest: tuple[float, str] | None) -> str:
    return f"{oldest[1]}, for {clock.span(oldest[0])}" if oldest else ""


def _oldest(store: Store, name: str, ident: str) -> tuple[float, str]:
    doc = store.glance(places.new(name, ident))
    seconds = age(store, doc["created_at"]) if doc else 0.0
    return round(seconds, 1), f"{ident} to {name}"


def _left(store: Store, path: str, token: int) -> str:
    lease = store.load_lease(path)
    if lease is None or lease.token != token:
        return "unknown"
    left = lease.left(store.host)
    return clock.span(left) if left > 0 else "expired"


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


def _why(store: Store, view: ready.View, mail: dict[str, tuple[int, str]]) -> list[Reason]:
    """A reason for each kind of thing that does not move."""
    why = [Reason(False, line) for line in _unread(store, mail)]
    found: dict[Reason, list[str]] = {}
    for doc in ready.by_rank(view.tasks.values()):
        if doc["status"] in FINAL:
            continue
        first = next(view.why(doc), None)
        if first is None:
            found.setdefault(Reason(False, "ready, and nobody claims it"), []).append(doc["task_id"])
        elif not first.is_moving:
            found.setdefault(Reason(first.kind in FOR_PERSONS, first.text), []).append(doc["task_id"])
    why += [Reason(reason.needs_person, f"{_named(tasks)}: {reason.text}") for reason, tasks in list(found.items())[:MOST]]
    if len(found) > MOST:
        why.append(Reason(False, f"{len(found) - MOST} more reasons: `task ready --explain`"))
    why += [Reason(False, line) for line in _unanswered(store)]
    lines = [f"{ident}: {end}" for ident, end in _buried(view)]
    dead = len(places.idents(store.names(places.DEADLETTER)))
    if dead:
        lines.append(f"{dead} dead letter{'s' * (dead > 1)}: `mbox deadletter list`")
    lines += [*_left_alone(store), *_stalled(store, view, mail), *_draining(store), *_outlived(store)]
    lines += [*_from_elsewhere(store), *_untrailed(store)]
    why += [*(Reason(True, line) for line in lines), *_runs(store)]
    if store.view is None and not store.is_in_order():
        why.append(Reason(False, "the files may not be what the journal says; the next command that can lock looks at them"))
    return why


def _runs(store: Store) -> list[Reason]:
    """Runs of workflows that wait for a person, or that nobody drives."""
    if not folders_in(store, places.RUNS):
        return []
    from mbox.engine import control

    from . import runs

    found = []
    for row in runs.rows(store):
        run, state = row["run"], row["status"]
        doc = store.glance(places.run(run)) or {}
        asked = control.questions(store, doc) if doc and state != "paused" else []
        for one in (one for one in asked if "run" not in one):  # what a called run asks stands under that run
            text = one["ask"] if len(one["ask"]) <= LONG else f"{one['ask'][: LONG - 1]}…"
            answers = " | ".join(one["choices"]) or "TEXT"
            found.append(Reason(True, f"run {run} asks: {text} `workflow answer {run} {one['step']} {answers}`"))
        if not asked and state != "running" and not doc.get("parent"):
            is_seen_to = state == "paused" or (state == "stalled" and bool(doc["settings"].get("detached")))
            reason = "nobody drives it" if state == "stalled" else row["reason"]
            found.append(Reason(not is_seen_to, f"run {run} is {state}: {reason}; `workflow resume {run}`"))
    return [*found[:MOST], Reason(True, f"{len(found) - MOST} more runs: `workflow list`")] if len(found) > MOST else found


def _unread(store: Store, mail: dict[str, tuple[int, str]]) -> list[str]:
    """Whose mail has been unread for long."""
    lines = []
    for name, (count, ident) in mail.items():
        seconds = _oldest(store, name, ident)[0] if count else 0.0
        if seconds >= SLOW:
            state = presence.liveness(store, name)
            lines.append(f"{name} ({state}) has {count} unread, the oldest for {clock.span(seconds)}")
    return lines


def _unanswered(store: Store) -> list[str]:
    """Who waits for whose answer."""
    lines = [
        f"{name} waits for {', '.join(missing)} ({thread})"
        for name in registry.active(store)
        for thread, missing in questions.asked_by(store, name).items()
    ]
    return [*lines[:MOST], f"{len(lines) - MOST} more questions wait for an answer"] if len(lines) > MOST else lines


def _left_alone(store: Store) -> list[str]:
    """Agents that get nowhere, as the watchdog saw them last: broken, at a question or a limit, deaf to their bell."""
    from mbox.liveness import stuck, watchdog

    doc = watchdog.last(store) or {}
    return [*(f"{name} is broken: {why}" for name, why in doc.get("broken", {}).items()), *stuck.lines(doc)]


def _stalled(store: Store, view: ready.View, mail: dict[str, tuple[int, str]]) -> list[str]:
    """Agents that are alive, have something to do, and do nothing."""
    busy = {doc["reviewer"] if doc["status"] == "review" else doc["owner"] for doc in view.tasks.values() if _is_held(doc)}
    names = [name for name in registry.active(store) if name in busy or mail.get(name, (0, ""))[0]]
    return [f"{name} {why}: look at its pane" for name in names if (why := presence.stalled(store, name))]


def _outlived(store: Store) -> list[str]:
    """What agents left running that are gone."""
    from mbox.liveness import jobs

    return [f"{job}: `kill {job.pid}`, or let it end" for job in jobs.left(store, store.documents(places.AGENTS))][:MOST]


def _draining(store: Store) -> list[str]:
    """Teams that take nothing new, which may be because whoever ended them was ended."""
    names = [doc["team"] for doc in store.documents(places.TEAMS) if doc["state"] == "draining"]
    return [f"team {name} is draining: `team down {name}` ends it" for name in names]


def _untrailed(store: Store) -> list[str]:
    """Why the audit trail stands still."""
    if not os.path.lexists(store.absolute(places.AUDITING)):
        return []
    from mbox.git import reflock

    return [line for line in (reflock.trouble(store),) if line]


def _from_elsewhere(store: Store) -> list[str]:
    """Teams that are up, and that nobody called on this machine, in this store."""
    teams = [doc for doc in store.documents(places.TEAMS) if doc["state"] == "up"]
    if not teams:
        return []
    from mbox.liveness import trust

    return [
        f"team {doc['team']} was not called here, so nobody of it is started by itself: `team up FILE`, or `mbox trust`"
        for doc in teams if not trust.was_called_here(store, doc)
    ]  # fmt: skip


def _buried(view: ready.View) -> list[tuple[str, str]]:
    """Tasks that ended badly: those that others wait for first, then the newest; cancelled ones only if waited for.

    Not those of workflows: a run has had its own way with a task that failed, and nothing comes of queueing it again.
    """
    waited = {dep for doc in view.tasks.values() if doc["status"] == "queued" for dep in doc["depends_on"]}
    ended = [
        doc
        for doc in view.tasks.values()
        if not is_of_run(doc)
        and (doc["status"] in ("failed", "deadletter") or (doc["status"] == "cancelled" and doc["task_id"] in waited))
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


def me(store: Store, who: Actor) -> Answer:
    """Who the agent is, its mail, the questions that it owes an answer and those that it asked, what it holds, and the next
    command for each: mail and questions first, for they may change what is to be done with the work.

    At most `ME` bytes; what does not fit is counted by kind in ``left_out``.  Both kinds of questions among the newest
    messages only: `questions` says the bound.
    """
    doc = registry.require(store, store.read, who.name)
    now = stamp(store.host.wall())
    tasks = ready.by_rank(task for task in ready.every(store).values() if _is_mine(task, who.name))
    count = len(places.idents(store.names(places.new_folder(who.name))))
    unread = inbox.unread(store, who.name, limit=SHOWN)
    unread_questions, to_answer = questions.asked_of(store, who.name)
    answer = {
        "agent": who.name,
        "root": store.root,
        "role": doc["role"],
        "incarnation": doc["incarnation"],
        "unread": count,
        "mail": [_brief(inbox.header(message, now, doc["incarnation_since"] or ""), "message") for message in unread],
        "to_answer": [_head(message) for message in unread_questions + to_answer],
        "unacknowledged": _pending(store, who.name),
        "asks": questions.asked_by(store, who.name),
        "tasks": [_mine(store, task) for task in tasks],
        "reservations": [_own(_reservation(store, d)) for d in guard.every(store) if d["agent"] == who.name],
    }
    answer["next"] = _next(answer, [message["msg_id"] for message in to_answer])
    return _fitted(answer, count)


def _own(row: Answer) -> Answer:
    """A reservation among the caller's own, which need not say whose it is."""
    return {name: value for name, value in row.items() if name != "agent"}


def _head(message: Document) -> Answer:
    return _brief({name: message[name] for name in ("msg_id", "from", "subject")})


def _pending(store: Store, name: str) -> list[Answer]:
    """What was read and not acknowledged, each with its sender, its subject and the time that is left."""
    found = []
    for msg_id, left in reading.pending(store, name).items():
        message = store.glance(places.cur(name, msg_id))
        found.append({**(_head(message) if message else {"msg_id": msg_id}), "left": left})
    return found


def _is_mine(task: Document, name: str) -> bool:
    if task["status"] == "review":
        return bool(task["reviewer"] == name)
    return bool(task["owner"] == name and task["status"] in ACTIVE)


def _mine(store: Store, task: Document) -> Answer:
    claim = _claim(store, task)
    row = {
        "task_id": task["task_id"],
        "status": task["status"],
        "token": task["token"],
        "left": claim["left"],
        "title": task["title"],
        **notes.newest(store, task["task_id"]),
    }
    return _brief(row)


IDLE = {registry.REVIEWER: "task review", registry.ORCHESTRATOR: "mbox status"}
"""What a role looks for when nothing waits for it; any other takes a task."""


def _next(answer: Answer, to_answer: list[str]) -> list[str]:
    """The next command for each thing that waits for this agent, what others said before what it holds."""
    commands = ["mbox read"] if answer["unread"] else []
    commands += [f"mbox reply {ident} --body TEXT" for ident in to_answer[:2]]
    late = [row["msg_id"] for row in answer["unacknowledged"] if row["left"] == "expired"]
    timely = [row["msg_id"] for row in answer["unacknowledged"] if row["left"] != "expired"]
    commands += [f"mbox {verb} {' '.join(ids[:5])}" for verb, ids in (("read", late), ("ack", timely)) if ids]
    commands += [f"mbox gather {thread}" for thread in list(answer["asks"])[:2]]
    for task in answer["tasks"]:
        if task["left"] == "expired":
            commands.append(f"task {'review' if task['status'] == 'review' else 'claim'} {task['task_id']}")
            continue
        verb = {"claimed": "start", "running": "done", "review": "approve"}[task["status"]]
        commands.append(f"task {verb} {task['task_id']} --token {task['token']}")
    return commands or [IDLE.get(answer["role"], "task claim")]


# -- in so many bytes ----------------------------------------------------------------------------------------------

KINDS = ("reservations", "asks", "unacknowledged", "mail", "to_answer", "tasks", "next")
"""What is left out of `me` where it is too long, in this order; of each kind the first stays while that is enough."""


def _fitted(answer: Answer, unread: int) -> Answer:
    """``answer`` in at most `ME` bytes: long texts are cut, then what is last of each kind is left out, and counted."""
    whole = {name: len(answer[name]) for name in KINDS} | {"mail": unread}
    fitted = answer
    for letters, least in ((LONG, 1), (SHORT, 1), (SHORT, 0)):
        fitted = {name: _cut(answer[name], letters) if name in KINDS[:-1] else answer[name] for name in answer}
        for name in KINDS:
            while len(fitted[name]) > least and _size(fitted, whole) > ME:
                fitted[name] = _shorter(fitted[name])
        if _size(fitted, whole) <= ME:
            break
    if _size(fitted, whole) > ME:  # a root so long that nothing fits beside it: `mbox status` has it
        del fitted["root"]
    return {**fitted, **_left_out(fitted, whole)}


def _left_out(answer: Answer, whole: dict[str, int]) -> Answer:
    left = {name: count - len(answer[name]) for name, count in whole.items() if count > len(answer[name])}
    return {"left_out": left} if left else {}


def _size(answer: Answer, whole: dict[str, int]) -> int:
    """Bytes of the answer as JSON, with its end of line."""
    return len(compact({**answer, **_left_out(answer, whole)}).encode()) + 1


def _shorter(items: Any) -> Any:
    return dict([*items.items()][:-1]) if isinstance(items, dict) else items[:-1]


def _cut(value: Any, letters: int) -> Any:
    """``value`` with every text in it at most so many letters long."""
    if isinstance(value, str):
        return value if len(value) <= letters else f"{value[: letters - 1]}…"
    if isinstance(value, list):
        return [_cut(one, letters) for one in value]
    return {name: _cut(one, letters) for name, one in value.items()} if isinstance(value, dict) else value
