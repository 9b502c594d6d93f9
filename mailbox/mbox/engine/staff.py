"""Who works: which host and model a role's next attempt is given to, and why.  Pure, over the person's ladders.

Promised: the first rung that is open, from where the role has climbed to upwards, whose family is not one that worked for a role
which this one must not be of; a family that nobody knows is none that may.  The decision comes with its reason and is kept in
the step's document.  Not promised: that the program is there; then the attempt fails and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.hosts.ladder import Ladders, Rung

if TYPE_CHECKING:
    from mbox.workflow.definition import Role

SCRIPTED = "scripted"
"""The host that answers from a scenario."""


class Decision(NamedTuple):
    """Who is asked.  Without a host: ``until`` (wall time) is when one opens again, else nobody can, and ``why`` says it."""

    host: str = ""
    model: str = ""
    family: str | None = None
    why: str = ""
    until: float = 0.0
    rung: int = 0

    def doc(self) -> dict[str, Any]:
        return {"host": self.host, "model": self.model, "family": self.family, "why": self.why, "rung": self.rung}


def choose(role: Role, ladders: Ladders, climbed: int, families: Mapping[str, Sequence[str]], closed: Mapping[str, float],
           now: float) -> Decision:  # fmt: skip
    """Who is asked next for ``role``, which has ``climbed`` so many rungs; ``closed`` are hosts until when (wall time)."""
    rungs = ladders.rungs(role.phase, role.hosts)
    if not rungs:
        return Decision(why=f"no host for role {role.name}: describe one under hosts: in .mailbox/hosts.yaml")
    start = min(climbed, len(rungs) - 1)
    shunned = shuns(role, families)
    reasons, until = [], 0.0
    for at in [*range(start, len(rungs)), *range(start)]:
        rung = rungs[at]
        family = ladders.family(rung.host)
        if shunned and (family is None or family in shunned):
            reasons.append(f"{rung.shown()} is of family {family or 'unknown'}")
            continue
        if closed.get(rung.host, 0.0) > now:
            until = min(until or closed[rung.host], closed[rung.host])
            reasons.append(f"{rung.shown()} is closed by its quota")
            continue
        return Decision(rung.host, rung.model, family, _why(rungs, at, start, reasons), rung=at)
    return Decision(why=f"nobody can do it: {'; '.join(reasons)}", until=until)


def _why(rungs: Sequence[Rung], at: int, start: int, reasons: Sequence[str]) -> str:
    said = f"rung {at + 1} of {len(rungs)}"
    said += f", climbed {start}" if start else ""
    return f"{said}; {'; '.join(reasons)}" if reasons else said


def shuns(role: Role, families: Mapping[str, Sequence[str]]) -> list[str]:
    """The families that ``role`` must not be of: those of every agent that worked for the roles it is not to be of."""
    return sorted({family for other in role.family for family in families.get(other, ())})


def may_be_paid(role: Role, ladders: Ladders, limits: Mapping[str, Any]) -> str:
    """Why ``cost_usd`` cannot be kept with the hosts of ``role``; empty if it can."""
    if limits.get("cost_usd") is None:
        return ""
    for rung in ladders.rungs(role.phase, role.hosts):
        worker = ladders.hosts.get(rung.host)
        if worker is None or (worker.cost == "unknown" and worker.assume_usd is None):
            return f"limits.cost_usd: host {rung.host} reports neither cost nor tokens; say assume_usd in .mailbox/hosts.yaml"
    return ""
