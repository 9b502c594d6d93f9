"""The layout of ``format.md`` as functions: where each document lives, and what lives at a path.

A path is a string relative to the root, with ``/``.  Nothing else in the package pastes one together, and what a
journal or an index says is checked here like input before anything is written (`kind`): a record of a cloned store
cannot name a place outside the layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from mbox.errors import Corrupt, Usage

MAILBOX = ".mailbox"
TASKS = ".tasks"
CONFIG = ".mailbox/config.yaml"
LOCK = ".mailbox/lock"
CHECKPOINT = ".mailbox/checkpoint"
ASIDE = ".mailbox/aside"
LOGS = ".mailbox/logs"
CACHE = ".mailbox/cache"
INDEX = ".mailbox/cache/index.sqlite"
SEARCH = ".mailbox/cache/search.sqlite"
INBOX = ".mailbox/inbox"
OUTBOX = ".mailbox/outbox"
AGENTS = ".mailbox/agents"
ARCHIVE = ".mailbox/archive"
RESERVATIONS = ".mailbox/reservations"
LEASES = ".mailbox/leases"
DEADLETTER = ".mailbox/deadletter"
HEARTBEATS = ".mailbox/heartbeat"
TASK_LEASES = ".tasks/leases"
NOTES = ".tasks/notes"
LOCKS = ".mailbox/locks"
STATUS = ".mailbox/status"
TEAMS = ".mailbox/team"
RUNS = ".mailbox/runs"
WATCHDOG = ".mailbox/cache/watchdog.json"
"""What the watchdog last did; not in status/, which it watches."""
WATCHDOG_LOCK = ".mailbox/locks/@watchdog"
"""Held by the one watchdog of the store; no `mbox lock` has that name."""
WAITS = ".mailbox/cache/waits"
ERRANDS = ".mailbox/cache/errands"
"""What the watchdog is asked to do by who cannot see the processes that it is about."""

FOLDERS = (
    *(f".mailbox/{name}" for name in ("logs", "agents", "inbox", "archive", "outbox", "deadletter", "reservations")),
    *(f".mailbox/{name}" for name in ("leases", "heartbeat", "status", "locks", "cache", "team", "runs")),
    *(".tasks", ".tasks/notes", ".tasks/leases"),
)
"""What `mbox init` makes, in this order, below ``.mailbox`` itself."""

EPHEMERAL = ("lock", "leases/", "heartbeat/", "status/", "locks/", "cache/", "logs/", "checkpoint", "aside/", "runs/*/work/")
"""Below ``.mailbox``, never in git (the journal goes to the audit ref, never to a branch)."""

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))]
)


_SHAPE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}").fullmatch


@lru_cache(4096)
def is_name(text: str) -> bool:
    """Whether ``text`` is a name: ``[a-z0-9][a-z0-9._-]{0,63}`` and no device name of any system."""
    return _SHAPE(text) is not None and text.partition(".")[0] not in _DEVICES


HIGHEST = 10**15
"""No store comes to this number; whoever went on above one that a document claims would run out of numbers."""


def number(ident: str) -> int:
    """The number in an id that the toolkit made (``m12`` → 12); 0 for an id that a caller gave."""
    digits = ident[1:]
    ours = ident[:1] in ("m", "t", "r") and digits.isdecimal() and digits.isascii() and len(digits) < 16
    return int(digits) if ours else 0


def shown(path: str, doc: Any = None) -> int:
    """The highest number that the document at ``path`` shows: in its id (a dead letter's too), as token or version.

    Nothing that is numbered from now on may be mistaken for it.  A number that nobody can have come to is none.
    """
    name = ident(path)
    found = [int(name[1:]) if name[:1] in "mtrd" and name[1:].isdecimal() and name.isascii() else 0]
    if isinstance(doc, dict):
        found += [doc.get("token", 0), doc.get("state_version", 0)]
    return max(number if type(number) is int and number < HIGHEST else 0 for number in found)


def _checked(text: str) -> str:
    if not is_name(text):
        raise Usage(f"not a name: {text!r} (a-z, 0-9, '.', '_', '-', at most 64, starting with a letter or digit)")
    return text


def agent(name: str) -> str:
    return f".mailbox/agents/{_checked(name)}.json"


def new(name: str, msg_id: str) -> str:
    return f".mailbox/inbox/{_checked(name)}/new/{_checked(msg_id)}.json"


def cur(name: str, msg_id: str) -> str:
    return f".mailbox/inbox/{_checked(name)}/cur/{_checked(msg_id)}.json"


def new_folder(name: str) -> str:
    return f".mailbox/inbox/{_checked(name)}/new"


def cur_folder(name: str) -> str:
    return f".mailbox/inbox/{_checked(name)}/cur"


def archive(name: str, when: str, msg_id: str) -> str:
    """``when`` is a time stamp; its year and month name the folder."""
    return f".mailbox/archive/{_checked(name)}/{when[:7]}/{_checked(msg_id)}.json"


def archive_folder(name: str) -> str:
    return f".mailbox/archive/{_checked(name)}"


def outbox(name: str, msg_id: str) -> str:
    return f".mailbox/outbox/{_checked(name)}/{_checked(msg_id)}.json"


def outbox_folder(name: str) -> str:
    return f".mailbox/outbox/{_checked(name)}"


def deadletter(ident: str) -> str:
    return f".mailbox/deadletter/{_checked(ident)}.json"


def reservation(ident: str) -> str:
    return f".mailbox/reservations/{_checked(ident)}.json"


def lease(ident: str) -> str:
    """The lease of a reservation."""
    return f".mailbox/leases/{_checked(ident)}.json"


def read_lease(name: str, msg_id: str) -> str:
    """The lease of agent ``name`` on a message it has read; ``@`` is in no name, so no two collide."""
    return f".mailbox/leases/{_checked(msg_id)}@{_checked(name)}.json"


def review_lease(task_id: str) -> str:
    """The reviewer's lease on a task in review."""
    return f".tasks/leases/{_checked(task_id)}@review.json"


def heartbeat(name: str) -> str:
    return f".mailbox/heartbeat/{_checked(name)}"


def status(name: str) -> str:
    """What the agent's own hooks, or its wrapper, last said; ephemeral."""
    return f".mailbox/status/{_checked(name)}.json"


def team(name: str) -> str:
    return f".mailbox/team/{_checked(name)}.json"


def waits(name: str, pid: int) -> str:
    """What process ``pid`` of agent ``name`` waits for; ``@`` is in no name."""
    return f"{WAITS}/{_checked(name)}@{pid}.json"


def named_lock(name: str) -> str:
    return f".mailbox/locks/{_checked(name)}"


def hook_lock(name: str) -> str:
    """Held by the hook that says what agent ``name`` does, and what was offered to it."""
    return f".mailbox/locks/@hook-{_checked(name)}"


def bell_lock(name: str) -> str:
    """Held by whoever rings for agent ``name``."""
    return f".mailbox/locks/@bell-{_checked(name)}"


def errand(by: str) -> str:
    """What ``by`` asks the watchdog to do."""
    return f"{ERRANDS}/{_checked(by)}.json"


def run_folder(run: str) -> str:
    """What there is of a workflow's run."""
    return f".mailbox/runs/{_checked(run)}"


def run(run: str) -> str:
    """Where a run stands."""
    return f"{run_folder(run)}/run.json"


def definition(run: str) -> str:
    """What a run does: its files as they were when it began."""
    return f"{run_folder(run)}/definition.json"


def step_folder(run: str) -> str:
    return f"{run_folder(run)}/steps"


def step(run: str, seat: str) -> str:
    """How one visit of a step stands, or one item of it: ``seat`` is ``STEP.VISIT[.ITEM]``."""
    return f"{step_folder(run)}/{_checked(seat)}.json"


def work(run: str, seat: str, attempt: int) -> str:
    """Where one attempt's prompt and output are; ephemeral."""
    return f"{run_folder(run)}/work/{_checked(seat)}.{attempt}"


def run_lock(run: str) -> str:
    """Held by the one engine of a run."""
    return f".mailbox/locks/@run-{_checked(run)}"


def team_lock(name: str) -> str:
    """Held by whoever starts or ends members of team ``name``."""
    return f".mailbox/locks/@team-{_checked(name)}"


def task(task_id: str) -> str:
    return f".tasks/{_checked(task_id)}.json"


def task_lease(task_id: str) -> str:
    return f".tasks/leases/{_checked(task_id)}.json"


def notes(task_id: str) -> str:
    return f".tasks/notes/{_checked(task_id)}.jsonl"


def ident(path: str) -> str:
    """The id in a document's file name: the last segment without its ending."""
    return path.rpartition("/")[2].rpartition(".")[0]


def idents(names: Iterable[str]) -> list[str]:
    """The ids of the documents among the ``names`` in a folder, in their order; what is no document is left out."""
    return [name[:-5] for name in names if name.endswith(".json") and is_name(name[:-5])]


def months(names: Iterable[str]) -> list[str]:
    """The months among the ``names`` in an archive, the newest first; whatever else stands there is left out."""
    return sorted(filter(is_month, names), reverse=True)


def is_month(text: str) -> bool:
    """Whether ``text`` names a month's folder in an archive: ``2026-01``."""
    return len(text) == 7 and text.isascii() and text[4] == "-" and text[:4].isdecimal() and text[5:].isdecimal()


def _flat(parts: list[str]) -> str | None:
    kinds = {
        "agents": "agent",
        "reservations": "reservation",
        "deadletter": "deadletter",
        "team": "team",
    }
    return kinds.get(parts[1]) if len(parts) == 3 else None


def _mail(parts: list[str]) -> str | None:
    match parts[1:-1]:
        case ["inbox", who, "new" | "cur"] | ["outbox", who]:
            return "message" if is_name(who) else None
        case ["archive", who, month]:
            return "message" if is_name(who) and is_month(month) else None
        case ["runs", run]:
            return {"run.json": "run", "definition.json": "definition"}.get(parts[-1]) if is_name(run) else None
        case ["runs", run, "steps"]:
            return "step" if is_name(run) else None
        case _:
            return _flat(parts)


def _task(parts: list[str]) -> str | None:
    match parts[1:-1]:
        case []:
            return "task"
        case ["notes"]:
            return "notes"
        case _:
            return None


_known: dict[str, str] = {}


def kind(path: str) -> str:
    """Which document kind ``path`` holds; `Corrupt` for a path that is not one of the layout's places."""
    folder, _, name = path.rpartition("/")
    stem, _, ending = name.rpartition(".")
    found = _known.get(folder)
    if found is None:
        parts = path.split("/")
        by_top = {MAILBOX: _mail, TASKS: _task}.get(parts[0])
        found = (by_top(parts) if by_top else None) or ""
        if found and found not in ("run", "definition"):  # two kinds in one folder
            _known[folder] = found
    if not found or not is_name(stem) or ending != ("jsonl" if found == "notes" else "json"):
        raise Corrupt(f"{path!r} is not a place in the store's layout; refused")
    return found


def is_place(path: str) -> bool:
    """Whether ``path`` is one of the layout's places of a document."""
    try:
        return bool(kind(path))
    except Corrupt:
        return False


def is_indexed(path: str) -> bool:
    """Whether the index says which record put the document at ``path``: all that is live, but for unread mail."""
    if path.startswith(INBOX):
        return "/cur/" in path
    return path.startswith(_INDEXED) or (path.startswith(TASKS) and path.count("/") == 1)


_INDEXED = (f"{AGENTS}/", f"{RESERVATIONS}/", f"{TEAMS}/", f"{RUNS}/", f"{DEADLETTER}/", f"{NOTES}/")


def lease_kind(path: str) -> str:
    """``task``, ``review``, ``reservation`` or ``read``: whose lease lives at ``path``; `Corrupt` if it is none."""
    folder, _, name = path.rpartition("/")
    stem, _, ending = name.rpartition(".")
    first, at, second = stem.partition("@")
    if ending == "json" and is_name(first) and (not at or is_name(second)):
        if folder == TASK_LEASES and (not at or second == "review"):
            return "review" if at else "task"
        if folder == LEASES:
            return "read" if at else "reservation"
    raise Corrupt(f"{path!r} is not a place of a lease; refused")


def check_record(record: Mapping[str, Any]) -> None:
    """Raise `Corrupt` if ``record`` names a path that is no place of the layout: before anything of it is done."""
    for _doc, paths in record["put"]:
        for path in paths:
            kind(path)
    for pair in record["mv"]:
        for path in pair:
            kind(path)
    for path in record["del"]:
        kind(path)
    for path, _lease in record["lease"]:
        lease_kind(path)


AUDITED = f"{MAILBOX}/cache/audit"
"""How far the audit ref reaches, and, last, from which sequence on a commit may be due: `reminder.Reminder`."""
AUDITING = f"{MAILBOX}/cache/auditing"
"""Which ref is being moved to which object, and why that failed last: `reflock`."""
