"""A workflow without its engine: what of it a host's own hooks can hold an agent to, as settings, and what they can't.

Projected are the gates (a stop is held while one fails), the tools that a role which only reads may not use, and the
description and personas as context.  Promised: nothing is dropped in silence: each key of a step that hooks know nothing of
is named in what is left out. Not promised: that an agent under hooks takes the same way as a run: order, rules, rounds and
limits are the engine's.
"""

from __future__ import annotations

from shlex import join
from typing import Any, NamedTuple

from mbox.errors import Usage, did_you_mean
from mbox.workflow.parts import CommandLine, Role, Step, Workflow

from . import codecs
from .entries import PLACES, HostFile


class Projection(NamedTuple):
    """``settings`` for the host's file, ``config`` for the store's, ``context`` for what agents read, and what is left out."""

    settings: dict[str, Any]
    config: dict[str, list[str]]
    context: str
    left_out: list[str]


def place(host: str) -> HostFile:
    """Where the settings of ``host`` are; `Usage` for an unknown one."""
    if host not in PLACES:
        raise Usage(f"--target: no host {host!r}{did_you_mean(host, [*PLACES])}; there are {', '.join(PLACES)}")
    return PLACES[host]


def projected(workflow: Workflow, host: str) -> Projection:
    """What of ``workflow`` the hooks of ``host`` can hold an agent to."""
    left_out: list[str] = []
    where = place(host)
    settings: Any = {event: [entry] for event, entry in where.events}
    for key in reversed(where.keys):
        settings = {key: settings}
    if where.whole:
        settings = {}
        left_out.append(f"settings: {host} has a plugin in their place, which `mbox hooks install {host}` writes")
    config = {"gates": _gates(workflow, left_out), "guard.deny": _rules(workflow, host)}
    for step in workflow.steps.values():
        left_out += [f"step {step.id}: {what}" for what in _beyond(step)]
    if any(limit is not None for limit in workflow.limits):
        left_out.append("limits: hooks count nothing but failed gates")
    left_out += [f"role {role.name}: {what}" for role in workflow.roles.values() for what in _beyond_role(role)]
    return Projection(settings, {key: value for key, value in config.items() if value}, _context(workflow), left_out)


def _gates(workflow: Workflow, left_out: list[str]) -> list[str]:
    found: list[str] = []
    for step in workflow.steps.values():
        for gate in step.gates:
            line = _line(workflow, gate)
            if line is None:
                left_out.append(f"step {step.id}: its gate is the input {gate.input}, which has no default: "
                                "`mbox config set gates …`")  # fmt: skip
            elif line not in found:
                found.append(line)
    return found


def _line(workflow: Workflow, gate: CommandLine) -> str | None:
    """A gate as one line for bash; None where only a run knows it."""
    if gate.words is not None:
        return join(gate.words)
    text = gate.text if gate.text is not None else workflow.inputs[gate.input or ""].default
    if isinstance(text, list):
        return join(text)
    lines = [line.strip() for line in text.splitlines()] if isinstance(text, str) else []
    return "; ".join(filter(None, lines)) or None


def _rules(workflow: Workflow, host: str) -> list[str]:
    """What roles that only read may not use: the tools of the host that name the files they write."""
    tools = [tool for tool, kind in codecs.HOSTS[host].tools.items() if isinstance(kind, tuple) or kind == codecs.PATCH]
    return [f"{role.name}: {tool}" for role in workflow.roles.values() if role.access == "read" for tool in tools]


def _context(workflow: Workflow) -> str:
    lines = [f"{workflow.name}: {workflow.description}".strip().rstrip(":")]
    lines += [f"{role.name}: {' '.join(role.persona.split())}" for role in workflow.roles.values() if role.persona.strip()]
    return "\n".join(lines)


def _beyond(step: Step) -> list[str]:
    """What of a step no hook knows of."""
    found = [f"a step of kind {step.kind} is the engine's"] if step.kind != "agent" else []
    known = {
        "where it leads (next)": step.next, "one for each item (each)": step.each, "its output's type (output)": step.output,
        "its prompt": step.prompt, "the access of this step alone (access)": step.access,
        "going on in a session (session)": step.session if step.session != "new" else "",
        "what it reserves (reserve): the first write of a file reserves it": step.reserve,
    }  # fmt: skip
    return found + [what for what, value in known.items() if value and step.kind == "agent"]


def _beyond_role(role: Role) -> list[str]:
    known = {"its phase and hosts": role.phase or role.hosts, "whose family it must not be (family)": role.family,
             "its policy": role.policy, "its knowledge": role.knowledge}  # fmt: skip
    return [what for what, value in known.items() if value]
