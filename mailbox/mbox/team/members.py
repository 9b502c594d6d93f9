"""How each member of a team does now: alive, busy or idle, with which task, what its pane says.

Promised: nothing is changed, and nobody's lock is taken.  Not promised: that what is told still holds when it is read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mbox.agents import presence, roster
from mbox.errors import MboxError
from mbox.format import operations, places
from mbox.format.documents import ACTIVE, Document
from mbox.hosts import programs
from mbox.liveness import trust, watchdog
from mbox.report import history
from mbox.system.clock import span
from mbox.tasks import ready

from . import doorbell, panes
from .tmux import checked

if TYPE_CHECKING:
    from mbox.store.store import Store

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
"""What moves a cursor or colours."""

WORDS = 60
"""Characters of the last line of a pane that are told."""


def rows(store: Store, team: str) -> list[dict[str, Any]]:
    """A row for each member of a team; `NotFound` where there is no such team."""
    doc = roster.require(store, store.read, team)
    held = [task for task in ready.every(store).values() if task["status"] in ACTIVE]
    foreign = doc["state"] == "up" and not trust.was_called_here(store, doc)
    more = {"state": doc["state"]} if doc["state"] == "draining" else {"called": "not here"} if foreign else {}
    broken = (watchdog.last(store) or {}).get("broken") or {}
    return [{**_row(store, doc, row, held), **_broken(store, doc, row["name"], broken), **more} for row in roster.present(doc)]


def _row(store: Store, team: Document, row: Document, held: list[Document]) -> dict[str, Any]:
    who = row["name"]
    mine = [task for task in held if task["owner"] == who]
    since = ""
    if mine:
        found, _ = history.newest(store, history.RecordFilter(task=mine[0]["task_id"], op=operations.TASK_CLAIM), 1)
        since = span(history.age(store, found[0]["ts"])) if found else ""
    return {
        "agent": who,
        "role": row.get("role", "worker"),
        "alive": presence.liveness(store, who),
        **({"ended": end} if (end := presence.ended(store, who)) else {}),
        "doing": doing(store, who, row.get("host", "")),
        "task": mine[0]["task_id"] if mine else None,
        "since": since or None,
        "unread": len(places.idents(store.names(places.new_folder(who)))),
        "says": last_words(store, team, who)[:WORDS],
    }


def _broken(store: Store, team: Document, name: str, broken: dict[str, str]) -> dict[str, str]:
    """Why a member that does not run is left for a person: the watchdog's word, else how it ended."""
    if team["state"] != "up" or presence.alive(store, name):
        return {}
    why = broken.get(name) or _end(store, name)
    return {"broken": why} if why else {}


def failure(store: Store, team: Document, name: str, since: int) -> str:
    """How a member ended after record ``since``, with its last words; empty where it did not, or had nothing more to do.

    One that runs again was started a second time.
    """
    ends = history.newest(store, history.RecordFilter(agent=name, op=operations.AGENT_END, since_seq=since), 1)[0]
    why = _out_of_order(ends[0], name) if ends else ""
    why = why or ("" if presence.alive(store, name) else _end(store, name, since))
    words = last_words(store, team, name) if why else ""
    return f"{why}: {words}" if words else why


def _end(store: Store, name: str, since: int = 0) -> str:
    """How an agent's last run ended, where that was not in order (with 0, or because it was told to)."""
    found, _ = history.newest(store, history.RecordFilter(agent=name, op=operations.AGENT, since_seq=since), 1)
    return _out_of_order(found[0], name) if found else ""


def _out_of_order(record: dict[str, Any], name: str) -> str:
    """How ``name`` ended, as a record says; empty where it says nothing of it, or that it was in order."""
    if record["op"] not in (operations.AGENT_END, operations.AGENT_DEAD) or record["on"][0] != name:
        return ""
    why = str(record["why"])
    return "" if " exited with 0 " in why or " was stopped (" in why else why


def last_words(store: Store, team: Document, name: str) -> str:
    """The last line of text that a member's pane (or its log, where it has none) shows, for people; empty without any.

    What tmux itself says of a pane whose program has ended is nobody's words.
    """
    try:
        rows = _shown(store, team, name)
    except (MboxError, OSError):
        return ""
    said = [" ".join(row.split()) for row in rows if any(char.isalnum() for char in row)]
    return said[-1] if said else ""


def _shown(store: Store, team: Document, name: str) -> list[str]:
    doc, server = presence.status(store, name), panes.server_of(team)
    if server is None:
        text = panes.log_of(store, name).decode("utf-8", "replace")
        return ["".join(filter(str.isprintable, _ESCAPES.sub("", row))) for row in text.splitlines()]
    if doc is None or not doc["pane"] or not panes.is_members(store, team, name, doc["pane"], server):
        return []
    return server.text(checked(doc["pane"]))


def doing(store: Store, name: str, host: str) -> str:
    """``busy``, ``idle``, … by the agent's own hooks, else by what its pane shows; ``ended`` or empty if unknown."""
    doc = presence.status(store, name)
    if doc is None:
        return ""
    if said := presence.said_by_hooks(doc) or (doc["state"] if doc["state"] == "ended" else ""):
        return str(said)
    known = programs.get(host)
    if not doc["pane"] or known.prompt is None:
        return ""
    try:
        return doorbell.of(store, name, doc, known).glance().state
    except MboxError:
        return ""
