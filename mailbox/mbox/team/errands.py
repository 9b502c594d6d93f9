"""Errands: what ends members, asked for from where their processes cannot be seen, is done by the watchdog's hand.

A sandbox with a pid namespace of its own (a preset, a container) hides every process outside of it.  Who drains or dismisses
a team there, or removes a member, would find nobody to end, and take that for done.  So the command leaves a note,
``cache/errands/<agent>.json``, then makes its own first record, which wakes the watchdog; that starts the same command
outside, once, and here its end is waited for.

Promised: nothing is begun where no watchdog is alive; a note says a verb of `VERBS`, names and a time, and nothing else of it
is heeded; one of another life of this machine is thrown away.  Killed before the record: the watchdog does it at its next look.
Killed after: it is done all the same, as it is where the command ends with the member that gave it.

Not promised: that what the command outside says reaches the caller: the records and `team report` do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mbox.agents import presence, roster
from mbox.errors import Refused, TimedOut
from mbox.format import places
from mbox.format.documents import Document, compact
from mbox.store import mutex
from mbox.store.waiting import Watch, journal_paths, until
from mbox.system import command, interpreter
from mbox.system.clock import LONGEST_DURATION, format_duration

from . import dismissal, lifecycle, panes
from .dismissal import Drained, Say
from .lifecycle import Answer
from .report import report

if TYPE_CHECKING:
    from mbox.store.store import Actor, Store

VERBS = ("down", "drain", "remove")

SPARE = 10.0
"""Seconds beyond the command's own time for which its end is waited for."""


def down(store: Store, by: Actor, docs: Sequence[Document], seconds: float, say: Say) -> list[Answer]:
    """`dismissal.down`, from here or by the watchdog."""
    live = [doc for doc in docs if doc["state"] != "down"]
    if by.dry_run or not _hidden(store, [row for doc in live for row in roster.everybody(store.read, doc)]):
        return dismissal.down(store, by, docs, seconds, say)

    def teams() -> list[Document]:
        return [roster.require(store, store.read, doc["team"]) for doc in docs]

    _leave(store, by, "down", [doc["team"] for doc in live], "", seconds)
    for doc in live:
        lifecycle.change_state(store, by, doc["team"], "draining")
    _wait(store, lambda: all(doc["state"] == "down" for doc in teams()), seconds)
    return [{key: value for key, value in report(store, doc).items() if key != "sums"} for doc in teams()]


def drain(store: Store, by: Actor, doc: Document, seconds: float, say: Say) -> Drained:
    """`dismissal.drain`, from here or by the watchdog."""
    rows = roster.everybody(store.read, doc)
    if by.dry_run or not _hidden(store, rows):
        return dismissal.drain(store, by, doc, seconds, say)
    _leave(store, by, "drain", [doc["team"]], "", seconds)
    answer = lifecycle.change_state(store, by, doc["team"], "draining")
    _wait(store, lambda: not _running(store, rows), seconds)
    return Drained(answer, _running(store, rows))


def remove(store: Store, by: Actor, team: str, member: str) -> Answer:
    """`dismissal.remove`, from here or by the watchdog."""
    rows = [row for row in roster.everybody(store.read, roster.require(store, store.read, team)) if row["name"] == member]
    if by.dry_run or not _hidden(store, rows):
        return dismissal.remove(store, by, team, member)
    _leave(store, by, "remove", [team], member, 0.0)
    answer = lifecycle.take_out(store, by, team, member)
    _wait(store, lambda: not _running(store, rows), 0.0)
    return answer


def run(store: Store, note: Document) -> str:
    """Start what a note asks for, on its own, outside; empty, or why not."""
    verb, member, by, seconds = (note.get(name) for name in ("verb", "member", "by", "seconds"))
    teams = found if isinstance(found := note.get("teams"), list) else []
    names = [*teams, *filter(None, (member, by))]
    if verb not in VERBS or not teams or not all(isinstance(name, str) and places.is_name(name) for name in names):
        return "not a command that ends members"
    docs = [doc for team in teams if (doc := store.read(places.team(team)))]
    if _running(store, [row for doc in docs for row in roster.everybody(store.read, doc)], hidden=True):
        return "their processes cannot be seen from here either"
    is_time = isinstance(seconds, int | float) and 0 <= seconds <= LONGEST_DURATION
    time = ["--timeout", format_duration(float(seconds or 0))] if is_time and verb != "remove" else []
    environ = {name: value for name, value in os.environ.items() if name not in ("MBOX_AGENT", "MBOX_INCARNATION")}
    for team in teams:
        words = [team, *([member] if member else []), *time, *(["--as", by] if by else []), "--root", store.root, "--quiet"]
        command.start_detached(interpreter.words("team", verb, *words), environ)
    return ""


def _leave(store: Store, by: Actor, verb: str, teams: list[str], member: str, seconds: float) -> None:
    """Leave the note; `Refused` where nobody would read it."""
    if not mutex.is_held(store, places.WATCHDOG_LOCK):
        raise Refused(f"the processes of {', '.join(teams)} cannot be seen from here, and no watchdog is alive that could end "
                      f"them: run `team {verb} {' '.join(filter(None, [*teams, member]))}` outside of this sandbox")  # fmt: skip
    note = {"verb": verb, "teams": teams, "member": member, "by": by.name if by.incarnation else "", "seconds": seconds,
            "machine": store.host.machine}  # fmt: skip
    store.put_ephemeral(places.errand(by.name if by.incarnation else "nobody"), (compact(note) + "\n").encode())


def _wait(store: Store, is_over: Callable[[], bool], seconds: float) -> None:
    """Wait until the command outside has done it; `TimedOut` after ``seconds`` and `SPARE`."""
    with Watch(store, lambda: [*journal_paths(store), store.absolute(places.STATUS)]) as watch:
        if until(store, watch, lambda: is_over() or None, seconds + SPARE) is None:
            raise TimedOut("asked for outside of this sandbox, and not done in time; `mbox watchdog --status` says why")


def _hidden(store: Store, rows: Sequence[Document]) -> list[str]:
    return _running(store, rows, hidden=True)


def _running(store: Store, rows: Sequence[Document], hidden: bool = False) -> list[str]:
    """Members whose program has not been seen to end; ``hidden``: those alone whose processes cannot be seen from here."""
    return [row["name"] for row in rows if panes.is_up(store, row["name"]) and not presence.has_ended(store, row["name"])
            and not (hidden and panes.is_here(store, row["name"]))]  # fmt: skip
