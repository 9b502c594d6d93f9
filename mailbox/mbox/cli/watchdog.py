"""`mbox watchdog`: wake, expire, give back, restart, commit; and the hands with which it does that."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from mbox.cli.context import Context
from mbox.cli.options import command, option
from mbox.errors import Nothing, Usage

if TYPE_CHECKING:
    from types import FrameType

    from mbox.format.documents import Document
    from mbox.opening import OpenStore


@command(
    examples=[
        "mbox watchdog           # stays; a wrapper starts one where none is",
        "mbox watchdog --once    # one round, for cron",
        "mbox watchdog --status",
    ],
    exits={1: "--status: none is alive", 5: "another one runs already"},
)
@option("--once", is_flag=True, help="one round, then end")
@option("--status", "asked", is_flag=True, help="whether one is alive, what it last did, and why")
def watchdog(context: Context, once: bool, asked: bool) -> None:
    """Give back what the dead held, ring for unread mail, start members again, commit the audit trail.

    One for a store. It sleeps until something happens. Nothing depends on it for being right: leases run
    out without it, whoever writes next sweeps.
    """
    from mbox.liveness import watchdog as watchdogs

    if once and asked:
        raise Usage("--once or --status: not both")
    store = context.store
    if asked:
        _tell(context)
        return
    with watchdogs.alone(store):
        dog = watchdogs.Watchdog(store, RealHands(store))
        if once:
            dog.scan()
            context.emit([deed._asdict() for deed in dog.did if deed.ts >= dog.started_at])
            return
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _stop)
        watchdogs.serve(store, dog)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _tell(context: Context) -> None:
    from mbox.liveness import nudges as bells
    from mbox.store import mutex as locks
    from mbox.format import places
    from mbox.liveness import watchdog as watchdogs

    store = context.store
    doc = watchdogs.last(store)
    alive = locks.is_held(store, places.WATCHDOG_LOCK)
    answer: dict[str, Any] = {"alive": alive}
    if doc:
        answer.update({name: doc[name] for name in ("pid", "started_at", "scan_at", "broken", "errors", "bells", "did")})
        answer["bells"] = {name: f"{bell['outcome']}, {bells.told(bell['ids'])}" for name, bell in doc["bells"].items()}
        answer["did"] = doc["did"][-10:]
    context.emit(answer)
    if not alive:
        raise Nothing("no watchdog is alive; `mbox watchdog` starts one")


class RealHands:
    """Panes, processes and git."""

    def __init__(self, store: OpenStore) -> None:
        self.store = store

    def nudge(self, agent: Document, status: Document) -> str:
        """Ring in the agent's pane."""
        from mbox.team import doorbell
        from mbox.hosts import programs as hosts

        host = hosts.get(agent["host"])
        if not host.nudge:
            return ""
        with doorbell.turn(self.store, agent["agent"], status, host) as bell:
            return bell.ring()

    def left(self, agent: str) -> bool:
        """What the bell lock says."""
        from mbox.team import doorbell

        return doorbell.left(self.store, agent)

    def tidy(self, agent: Document, status: Document) -> str:
        """Take the line away, if it is there."""
        from mbox.team import doorbell
        from mbox.hosts import programs as hosts

        with doorbell.turn(self.store, agent["agent"], status, hosts.get(agent["host"])) as bell:
            return bell.tidy()

    def respawn(self, team: Document, member: Document) -> str:
        """Start the member's program again, where it was."""
        from mbox.team import panes as session

        return session.respawn(self.store, team, member)

    def end_program(self, agent: str, beat: Document) -> list[int]:
        """End what is left of the group."""
        from mbox.liveness import supervisor as wrapper

        return wrapper.end_program(self.store, agent, beat)

    def audit(self) -> str:
        """Commit, if there is something new."""
        from mbox.git import audit

        made = audit.commit(self.store)
        return "" if made.get("already") else f"{made['records']} records up to {made['seq']}"
