"""Who works for a role: the person's own ``.mailbox/hosts.yaml``, which hosts there are and which of them for which phase.

    hosts:
      alpha: {command: [./agents/alpha.sh, --quick], family: alpha, cost: unknown, assume_usd: 0.40}
      claude: {model: [--model, opus]}             # one that the toolkit knows needs no command
    phases:
      implement: [{host: alpha, model: small}, alpha/large, codex]
      review: [codex, alpha]

A phase's list is a *ladder*: its first rung is asked first; who goes round in circles climbs.  ``NAME/MODEL`` is short for
``{host: NAME, model: MODEL}``.  ``family`` is who made the model: the host's name unless said.  A phase that is not there has
the ladder of ``implement``, and that, where it is not there, every host of ``hosts`` in its order.

Promised: `Usage` with file, line and column for what is wrong in it; a host that is named and nowhere described is refused.
No file: no ladder, and a step for an agent fails as ``config``.  Not promised: that a host's program is installed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mbox.errors import StoreError, Usage, did_you_mean
from mbox.format import fields
from mbox.system.disk import read_bytes

FILE = ".mailbox/hosts.yaml"

PHASES = ("plan", "implement", "review", "verify", "long", "synthesise", "chore")

COSTS = ("usd", "tokens", "unknown")


class Worker(NamedTuple):
    """A host as a person's file describes it."""

    name: str
    command: tuple[str, ...] = ()
    family: str | None = None
    cost: str = "unknown"
    assume_usd: float | None = None


class Rung(NamedTuple):
    """One step of a ladder: a host, and the model it is asked for."""

    host: str
    model: str = ""

    def shown(self) -> str:
        return f"{self.host}/{self.model}" if self.model else self.host


class Ladders(NamedTuple):
    """What the file says: every host by name, and the ladder of each phase."""

    hosts: dict[str, Worker]
    phases: dict[str, tuple[Rung, ...]]

    def rungs(self, phase: str | None, hosts: tuple[str, ...] = ()) -> tuple[Rung, ...]:
        """The ladder of a role: its own list of ``hosts``, else that of its ``phase``."""
        if hosts:
            return tuple(_rung(word) for word in hosts)
        found = self.phases.get(phase or "implement") or self.phases.get("implement")
        return found or tuple(Rung(name) for name in self.hosts)

    def family(self, host: str) -> str | None:
        """Who made the model that a host runs; None where nobody says."""
        from . import programs

        known = self.hosts.get(host)
        return (known.family if known else None) or programs.get(host).family or (host if known else None)

    def families(self, phase: str | None, hosts: tuple[str, ...] = ()) -> frozenset[str] | None:
        """The families that a role may be of: without a ladder all that are known; None where that of one host is not."""
        from . import programs

        found = {self.family(rung.host) for rung in self.rungs(phase, hosts)}
        found = found or {one.family for one in programs.load().values() if one.family}
        return frozenset(one for one in found if one) if found and None not in found else None


def _rung(word: str) -> Rung:
    host, _, model = word.partition("/")
    return Rung(host, model)


def _said_rung(field: str, value: Any) -> Rung:
    if isinstance(value, str):
        return Rung(fields.name("host")(field, value.partition("/")[0]), value.partition("/")[2])
    said = _RUNG(field, value)
    return Rung(said["host"], said.get("model", ""))


def _usd(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise Usage(f"{field} must be a number of dollars, at least 0")
    return float(value)


_RUNG = fields.mapping({"host": fields.name("host"), "model": fields.text}, ("host",), "such as {host: codex, model: X}")
_HOST = fields.mapping({
    "command": fields.list_of(fields.text, least=1, repeats=True, such="of words such as [./agents/a.sh, --quick]"),
    "family": fields.label, "cost": fields.choice(COSTS), "assume_usd": _usd,
})  # fmt: skip
_FILE = fields.mapping({
    "hosts": fields.mapping_of(fields.name("host"), _HOST),
    "phases": fields.mapping_of(fields.choice(PHASES), fields.list_of(_said_rung, least=1)),
})  # fmt: skip


def load(root: str) -> Ladders:
    """What ``.mailbox/hosts.yaml`` of ``root`` says; nothing where it is not there."""
    from mbox.format.parsing import decoded, yaml_document

    path = f"{root}/{FILE}"
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return Ladders({}, {})
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    document, start = yaml_document(decoded(data, FILE), FILE)
    said = fields.placed("the file", {} if document is None else document, _FILE, start)
    hosts = {name: Worker(name, **one) for name, one in said.get("hosts", {}).items()}
    for phase, rungs in said.get("phases", {}).items():
        for rung in rungs:
            _check(rung.host, hosts, f"{FILE}: phases: {phase}")
    return Ladders(hosts, dict(said.get("phases", {})))


def _check(host: str, hosts: dict[str, Worker], where: str) -> None:
    from . import programs

    if host not in hosts and host not in programs.load():
        raise Usage(f"{where}: no host {host!r}{did_you_mean(host, [*hosts, *programs.load()])}; describe it under hosts:")
