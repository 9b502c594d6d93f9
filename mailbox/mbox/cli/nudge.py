"""`mbox nudge`: ring an agent's doorbell in its pane."""

from __future__ import annotations

import time

from mbox.cli.context import Context
from mbox.cli.options import AGENT, DURATION, argument, command, option
from mbox.errors import MboxError, NotFound

RETRY = 2.0
"""Seconds between two tries within --wait."""


class NotTaken(MboxError):
    """The line was not taken now."""

    exit = 1


@command(
    examples=["mbox nudge ann", "mbox nudge ann --wait 1m    # until it is idle"],
    exits={1: "busy, typing, dialog, copy-mode, stranded: nothing was taken", 3: "no such agent, or its pane is gone"},
)
@argument("named", metavar="AGENT", type=AGENT)
@option("--wait", type=DURATION, metavar="D", help="try again for so long")
def nudge(context: Context, named: str, wait: float | None) -> None:
    """Type one fixed line into AGENT's pane, if it is idle and nobody types: `mbox: there is mail for you…`.

    `taken` says that its program took the line; whether the mail is read, its inbox says.
    """
    from mbox.team import doorbell
    from mbox.hosts import programs as hosts
    from mbox.agents import registry as agents

    store, agent = context.store, named
    doc = agents.require(store, store.read, agent)
    host, status = hosts.get(doc["host"]), agents.status(store, agent)
    if status is None or not status["pane"]:
        raise NotFound(f"no pane of {agent} is known: start its program under `mbox run` in tmux, or by `team up`")
    if not host.nudge:
        known = ", ".join(name for name, one in hosts.load().items() if one.nudge)
        why = "is never typed into" if doc["host"] in hosts.load() else f"is not known (known: {known})"
        raise NotTaken(f"{agent}: host {doc['host'] or 'unknown'!r} {why}; `mbox agent add {agent} --host H` changes it")
    until = time.monotonic() + (wait or 0)
    while True:
        with doorbell.turn(store, agent, status, host) as bell:
            said = agents.said_by_hooks(agents.status(store, agent) or status)
            outcome = doorbell.BUSY if said == "busy" else bell.ring()
        left = until - time.monotonic()
        if outcome in (doorbell.TAKEN, doorbell.GONE) or left <= 0:
            break
        time.sleep(min(RETRY, left))
    context.emit({"agent": agent, "outcome": outcome, "pane": status["pane"]})
    if outcome == doorbell.GONE:
        raise NotFound(f"the pane of {agent} is gone")
    if outcome != doorbell.TAKEN:
        rest = "; its line waits in the box for the watchdog or the next nudge" if doorbell.left(store, agent) else ""
        raise NotTaken(f"{agent} was not nudged: {outcome}{rest}")
