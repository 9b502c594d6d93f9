"""`mbox nudge`: ring an agent's doorbell in its pane."""

from __future__ import annotations

from mbox.errors import MboxError, NotFound

from .context import Context
from .options import acts, argument, command, option
from .values import AGENT, DURATION

RETRY = 2.0
"""Seconds between two tries within --wait."""


class NotTaken(MboxError):
    """The line was not taken now."""

    exit = 1


@command(
    examples=["mbox nudge ann", "mbox nudge ann --wait 1m    # until it is idle"],
    exits={1: "not taken: busy, typing, dialog, copy-mode, synchronize, stranded", 3: "no such agent, or its pane is gone"},
)
@acts
@argument("named", metavar="AGENT", type=AGENT)
@option("--wait", type=DURATION, metavar="D", help="keep trying for this long")
def nudge(context: Context, named: str, wait: float | None) -> None:
    """Type one fixed line into AGENT's pane, if it is idle and nobody types: `mbox: there is mail for you…`.

    `taken` means that its program took the line; its inbox shows whether the mail was read.
    """
    from mbox.agents import presence, registry
    from mbox.hosts import programs, screen
    from mbox.team import doorbell

    store, agent = context.store, named
    doc = registry.require(store, store.read, agent)
    host, status = programs.get(doc["host"]), presence.status(store, agent)
    if status is None or not status["pane"]:
        raise NotFound(f"no pane of {agent} is known: start its program under `mbox run` in tmux, or by `team up`")
    if not host.nudge:
        known = ", ".join(name for name, one in programs.load().items() if one.nudge)
        why = "is never typed into" if doc["host"] in programs.load() else f"is not known (known: {known})"
        raise NotTaken(f"{agent}: host {doc['host'] or 'unknown'!r} {why}; `mbox agent add {agent} --host H` changes it")
    since = store.host.mono()
    until = since + (wait or 0)
    while True:
        with doorbell.turn(store, agent, status, host, since=since) as bell:
            outcome = screen.BUSY if presence.is_in_turn(store, agent) else bell.ring()
        left = until - store.host.mono()
        if outcome in (screen.TAKEN, screen.GONE) or left <= 0:
            break
        store.host.sleep(min(RETRY, left))
    context.emit({"agent": agent, "outcome": outcome, "pane": status["pane"]})
    if outcome == screen.GONE:
        raise NotFound(f"the pane of {agent} is gone")
    if outcome != screen.TAKEN:
        rest = "; its line waits in the box for the watchdog or the next nudge" if doorbell.left(store, agent) else ""
        raise NotTaken(f"{agent} was not nudged: {outcome}{rest}")
