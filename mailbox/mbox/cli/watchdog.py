"""`mbox watchdog`: wake, expire, give back, restart, commit."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from mbox.errors import Nothing, Usage
from mbox.team.hands import RealHands

from .context import Context
from .options import acts, command, option

if TYPE_CHECKING:
    from types import FrameType


@command(
    examples=[
        "mbox watchdog           # stays; a wrapper starts one where none is",
        "mbox watchdog --once    # one round, for cron",
        "mbox watchdog --status",
    ],
    exits={1: "--status: none is alive", 5: "another one runs already"},
)
@acts
@option("--once", is_flag=True, help="one round, then end")
@option("--while-needed", is_flag=True, help="end when no team is up and nobody runs under `mbox run`")
@option("--status", "asked", is_flag=True, help="whether one is alive, what it last did, and why")
def watchdog(context: Context, once: bool, while_needed: bool, asked: bool) -> None:
    """Give back what the dead held, ring for unread mail, start members again, commit the audit trail.

    A store has one. It sleeps until something happens. Nothing goes wrong without it: leases run out all
    the same, and whoever writes next sweeps.
    """
    from mbox.liveness.watchdog import Watchdog, keep, serve, sole_watchdog

    if once and asked:
        raise Usage("--once or --status: not both")
    store = context.store
    context.acts = not asked
    if asked:
        _tell(context)
        return
    if once:
        with sole_watchdog(store):
            dog = Watchdog(store, RealHands(store))
            dog.once()
        context.emit([deed._asdict() for deed in dog.did if deed.ts >= dog.started_at])
        return
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    if while_needed:
        keep(store, RealHands(store))
        return
    with sole_watchdog(store):
        serve(store, Watchdog(store, RealHands(store)))


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _tell(context: Context) -> None:
    from mbox.format import places
    from mbox.liveness import nudges
    from mbox.liveness.watchdog import last
    from mbox.store import mutex

    store = context.store
    doc = last(store)
    alive = mutex.is_held(store, places.WATCHDOG_LOCK)
    answer: dict[str, Any] = {"alive": alive}
    if doc:
        answer.update({name: doc[name] for name in ("pid", "started_at", "scan_at", "broken", "errors", "bells", "did")})
        answer["bells"] = {name: f"{bell['outcome']}, {nudges.reason(bell['ids'])}" for name, bell in doc["bells"].items()}
        answer["did"] = doc["did"][-10:]
    context.emit(answer)
    if not alive:
        raise Nothing("no watchdog is alive; `mbox watchdog` starts one")
