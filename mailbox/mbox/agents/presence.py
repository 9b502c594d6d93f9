"""Who is alive: the heartbeat, and what an agent's own hooks said.

Alive is judged by the last beat: this machine and boot, that very process (pid and start time), and no longer ago than
``dead_after`` seconds of CLOCK_MONOTONIC.  An agent that never beat is neither alive nor dead (None).

Promised: looking writes nothing and takes no lock; a beat or a status that cannot be read counts as none; a beat by hand
leaves that of a live wrapper alone.  Not promised: that an agent which is alive does anything; nor that more than the
silence of a process in another pid namespace (a container) is noticed.

Files: ``heartbeat/<agent>`` is replaced whole, outside the journal; one that is lost is made by the next beat.
``status/<agent>.json`` is only read here.
"""

from __future__ import annotations

from mbox.format import documents, places
from mbox.format.documents import Document, Unfit
from mbox.store.state import State
from mbox.store.store import Actor, Store
from mbox.system.clock import seconds, span
from mbox.system.host import pid_namespace
from mbox.system.proc import start_ticks
from mbox.system.processes import Identity, is_running, is_stopped

from .registry import END, RUN

DEAD, ENDED = "dead", "ended"
"""The `liveness` of an agent whose last heartbeat is too old, or whose process has ended; and where its wrapper said how."""


def beat(store: Store, who: Actor, pid: int, child: Identity = Identity(0, 0), active: float = 0,  # noqa: B008 - immutable
         hook: bool = False) -> None:  # fmt: skip
    """Write a heartbeat of ``who`` for process ``pid``; ephemeral, without the lock.

    ``child`` is the program under a wrapper, which leads its process group: whoever finds the wrapper dead ends that.
    A ``hook``'s beat says that its agent is alive, and its silence says nothing: between two tools a program may think for long.
    ``active`` is when that last gave a sign.  So a beat without one leaves that of a live wrapper alone, which says more.
    """
    if not child.pid and is_wrapped(store, who):
        return
    doc = documents.new(
        "heartbeat", pid=pid, start_ticks=start_ticks(pid), machine=store.host.machine, incarnation=who.incarnation,
        mono=round(store.host.mono(), 3), child=child.pid, child_ticks=child.ticks, pidns=pid_namespace(),
        active=round(active, 3), **({"hook": True} if hook else {}),
    )  # fmt: skip
    store.put_ephemeral(places.heartbeat(who.name), documents.encode("heartbeat", doc))


def heartbeat(store: State, name: str) -> Document | None:
    """The last beat of ``name``; None if it never beat or the beat cannot be read, or was a hook's and is old."""
    found = _ephemeral(store, "heartbeat", places.heartbeat(name))
    return None if found is not None and found.get("hook") and not is_fresh(store, found) else found


def status(store: State, name: str) -> Document | None:
    """What the agent's own hooks, or its wrapper, last said; None if nothing was said or it cannot be read."""
    return _ephemeral(store, "status", places.status(name))


def _ephemeral(store: State, kind: str, path: str) -> Document | None:
    """A document that no journal has, or None: who wrote it may write it again at any time."""
    try:
        found: Document = documents.decode(kind, store.bytes_of(path))
    except (OSError, Unfit):
        return None
    return found


BELIEVED = 120.0
"""Seconds for which it is believed that an agent is in a turn: hooks say it with every tool, and of a turn that a person broke
off nothing says that it is over.  After that its screen is looked at."""


def said_by_hooks(status: Document) -> str:
    """The state that the agent's own hooks last said; empty where the last word is its wrapper's, which knows less."""
    return "" if status["event"] in ("", RUN, END) else str(status["state"])


def is_in_turn(store: State, name: str) -> bool:
    """Whether the agent's own hooks have said lately that it is in a turn."""
    said = status(store, name)
    if said is None or said_by_hooks(said) != "busy":
        return False
    at = said.get("at") or said["since"]
    return not at or store.host.wall() - seconds(at) < BELIEVED


def alive(store: State, name: str) -> bool | None:
    """Whether ``name`` is alive by its last heartbeat; None if it never beat or the beat cannot be read."""
    beat = heartbeat(store, name)
    return None if beat is None else is_fresh(store, beat)


def is_fresh(store: State, beat: Document) -> bool:
    """Whether a beat tells of somebody alive: this machine and boot, that very process, and not too long ago."""
    if beat["machine"] != store.host.machine:
        return False
    if is_gone(beat):
        return False
    return bool(store.host.mono() - beat["mono"] < store.config.dead_after)


def is_gone(beat: Document) -> bool:
    """Whether the process that beat has ended, or its pid is another's now; a zombie has ended.

    Not where its pids count in another namespace (a container), nor where it names no process (a beat by hand): from here
    only its silence can be noticed.
    """
    who = Identity(beat["pid"], beat["start_ticks"])
    return counts_here(beat) and bool(who.ticks) and not is_running(who)


def counts_here(beat: Document) -> bool:
    """Whether the pids of a beat are those of this process's namespace."""
    return beat["pidns"] in ("", pid_namespace())


def process(store: State, name: str) -> Identity | None:
    """The process that beats for ``name``, if it is alive and its pid counts here; else None."""
    beat = heartbeat(store, name)
    if beat is None or not counts_here(beat) or not is_fresh(store, beat):
        return None
    return Identity(beat["pid"], beat["start_ticks"])


def stalled(store: State, name: str) -> str:
    """``does nothing: …`` of an agent that is alive, but whose wrapper has seen no sign for ``stalled_after``; else empty."""
    beat = heartbeat(store, name)
    if beat is None or not beat["active"] or not is_fresh(store, beat):
        return ""
    quiet = store.host.mono() - beat["active"]
    if quiet < store.config.stalled_after:
        return ""
    stopped = "; its program is stopped" if counts_here(beat) and is_stopped(beat["child"]) else ""
    return f"does nothing: no output, no CPU time, no command and no hook for {span(quiet)}{stopped}"


def is_wrapped(store: Store, who: Actor) -> bool:
    """Whether ``who`` runs under a live wrapper, which renews what it holds."""
    beat = heartbeat(store, who.name) if who.incarnation else None
    return bool(beat and beat["child"] and beat["incarnation"] == who.incarnation and is_fresh(store, beat))


def is_under_wrapper(store: State, name: str) -> bool:
    """Whether a live wrapper, of whatever incarnation, beats for ``name``."""
    beat = heartbeat(store, name)
    return bool(beat and beat["child"] and is_fresh(store, beat))


def lease_time(store: Store, who: Actor, by_hand: float) -> float:
    """Seconds for which a lease is granted to ``who``: short where a wrapper renews it, else ``by_hand``."""
    return min(store.config.renewed_lease, by_hand) if is_wrapped(store, who) else by_hand


def liveness(store: State, name: str) -> str:
    """``alive``, ``ended``, ``dead`` or ``no heartbeat``, for people."""
    found = {True: "alive", False: DEAD, None: "no heartbeat"}[alive(store, name)]
    return ENDED if found == DEAD and _end(store, name) else found


def has_ended(store: State, name: str) -> bool:
    """Whether the wrapper of the program that last beat has said that it ended."""
    return _end(store, name) is not None


def ended(store: State, name: str) -> str:
    """How and when the program of an agent that is `ENDED` ended, for people; empty of any other."""
    end = _end(store, name) if alive(store, name) is False else None
    return f"{end['why']}, {span(store.host.wall() - seconds(end['since']))} ago" if end and end["since"] else ""


def _end(store: State, name: str) -> Document | None:
    """What the wrapper said at the end of the program that last beat."""
    said, beat = status(store, name), heartbeat(store, name)
    ours = said is not None and beat is not None and said["event"] == END and said["incarnation"] == beat["incarnation"]
    return said if ours and said and said["why"] else None
