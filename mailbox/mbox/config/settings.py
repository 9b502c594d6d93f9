"""The settings of a store: what each is called, what it may be, what it is unless said, and why it exists.

Promised: there is one table, `TABLE`.  It makes the file that ``mbox init`` writes, checks the one that people edit, and
gives the schema; `build` takes what it allows and nothing else.  Not promised: where the texts come from (`file`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mbox.errors import Usage, did_you_mean
from mbox.format import fields
from mbox.system.clock import format_duration

Text = str | list[str]
"""A value as the file spells it: one word or phrase, or a list of them."""

Shown = str | int | bool | list[str]
"""A value as YAML and JSON show it to people: ``30m``, ``5``, ``true``."""


# -- kinds of values -----------------------------------------------------------------------------------------

BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _month(field: str, text: str) -> float:
    seconds = fields.duration(field, text)
    if seconds < 30 * 86400:
        raise Usage(f"{field} must be at least 30d, not {text!r}: a repeated --key is known for so long")
    return seconds


def octets(text: str) -> int:
    """``16 MiB``, ``256KiB`` or bare bytes, as bytes: a whole number, at least 1; else ValueError."""
    number, factor = text, 1
    for unit, scale in BYTES.items():
        if text.endswith(unit):
            number, factor = text.removesuffix(unit).rstrip(), scale
    if not (number.isascii() and number.isdigit() and int(number)):
        raise ValueError(f"must be a size such as 256 KiB or 16 MiB, not {text!r}")
    return int(number) * factor


def size(value: int) -> str:
    """The shortest text that `octets` reads as ``value``."""
    for unit, factor in reversed(BYTES.items()):
        if value % factor == 0:
            return f"{value // factor} {unit}"
    return str(value)


def _size(field: str, text: str) -> int:
    try:
        return octets(text)
    except ValueError as error:
        raise Usage(f"{field} {error}") from None


def _flag(field: str, text: str) -> bool:
    return fields.flag(field, FLAGS.get(text.lower(), text))


def _ref(field: str, text: str) -> str:
    """A git ref below ``refs/mbox/``, where none means anything to git (git-check-ref-format(1)).

    Elsewhere one would be a branch, or what git sees in place of another object (``refs/replace/``).
    """
    parts = text.split("/")
    wrong = (
        len(parts) < 3
        or parts[:2] != ["refs", "mbox"]
        or ".." in text
        or "@{" in text
        or any(char in " ~^:?*[\\" or not char.isprintable() for char in text)
        or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
    )
    if wrong:
        raise Usage(f"{field} must be a git ref of its own below refs/mbox/, such as refs/mbox/audit, not {text!r}")
    return text


class Kind:
    """How one kind of value is read (`Usage` says what would be right), shown and described."""

    __slots__ = ("parse", "schema", "show")

    def __init__(
        self, parse: Callable[[str, Text], Any], show: Callable[[Any], Shown], schema: dict[str, Any]
    ) -> None:
        self.parse = parse
        """Gets the option's name, and its text."""
        self.show = show
        self.schema = schema


def _one(parse: fields.Check, show: Callable[[Any], Shown], **schema: object) -> Kind:
    def read(field: str, text: Text) -> object:
        if isinstance(text, list):
            raise Usage(f"{field} must be one value, not a list")
        return parse(field, text)

    return Kind(read, show, schema)


def _list(parse: fields.Check, show: Callable[[Any], str], least: int, item: dict[str, Any]) -> Kind:
    schema = {"type": "array", "items": item, "minItems": least}
    return Kind(fields.list_of(parse, least, repeats=True), lambda values: [show(value) for value in values], schema)


def _count(least: int) -> Kind:
    number = fields.number(least)

    def read(field: str, text: str) -> int:
        return number(field, int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text)

    return _one(read, int, type="integer", minimum=least)


def _choice(meaning: Mapping[str, object]) -> Kind:
    shown = {value: word for word, value in meaning.items()}
    word_of = fields.choice(meaning)

    def read(field: str, text: str) -> object:
        return meaning[word_of(field, text.lower())]

    return _one(read, lambda value: _plain(shown[value]), enum=[_plain(word) for word in meaning])


def _plain(word: str) -> Shown:
    return {"true": True, "false": False}.get(word, word)


_DURATION = {"type": ["string", "number"], "pattern": "^[0-9.]+ *[smhd]?$", "exclusiveMinimum": 0}
DURATION = _one(fields.duration, format_duration, **_DURATION)
DURATIONS = _list(fields.duration, format_duration, 1, _DURATION)
SIZE = _one(_size, size, type=["string", "integer"], pattern="^[0-9]+ *([KMG]iB)?$", minimum=1)
FLAG = _one(_flag, bool, type="boolean")
REF = _one(_ref, str, type="string", pattern="^refs/mbox/.+")
STAGES = _list(fields.label, str, 0, {"type": "string", "minLength": 1, "maxLength": 64})
LINES = _list(fields.command, str, 0, {"type": "string", "minLength": 1})


# -- the table -----------------------------------------------------------------------------------------------


class Option:
    """One key: its name (a dot is one level of nesting), its default's text, its kind, why it exists."""

    __slots__ = ("default", "field", "kind", "name", "why")

    def __init__(self, name: str, default: Text, kind: Kind, why: str) -> None:
        self.name = name
        self.field = name.replace(".", "_")
        """The attribute of `Config`."""
        self.default = default
        self.kind = kind
        self.why = why


TABLE = (
    Option("durability", "full", _choice({"full": "full", "fast": "fast"}), """\
full: a command that reported success survives a power cut.
fast: about twice as quick, but the machine's death may take the last second."""),
    Option("lock_wait", "10s", DURATION, """\
How long a command waits for the store's lock before it gives up (exit 6).  It waits longer, at most
six times so long, while the lock goes from hand to hand."""),
    Option("segment_size", "16 MiB", SIZE, """\
The journal goes on in a new file at this size."""),
    Option("message_limit", "256 KiB", SIZE, """\
Larger messages are refused; what is larger goes in a file, and its path in the message."""),
    Option("checkpoint_limit", "16 KiB", SIZE, """\
The largest state that `task checkpoint` takes."""),
    Option("keys_kept", "30d", _one(_month, format_duration, **_DURATION), """\
How long a --key is remembered, so that a repeated command is not done twice.  At least 30d."""),
    Option("private", "true", FLAG, """\
true: only you can read the store (0700 and 0600).  false: as your umask says."""),
    Option("network_fs", "false", FLAG, """\
true allows a store on a network or shared file system.  The lock does not reach other machines:
set it only if every agent runs on this one."""),
    Option("case_fold", "auto", _choice({"auto": None, "true": True, "false": False}), """\
Whether README and readme are one path for reservations.  auto: as the file system has it."""),
    Option("poll", ["1s", "2s", "4s", "5s"], DURATIONS, """\
Where the system does not report changes (network file systems, WSL drives) a waiting command looks
after each of these in turn, and keeps to the last; a change starts over."""),
    Option("heartbeat", "10s", DURATION, """\
How often a wrapped agent says that it is alive."""),
    Option("dead_after", "45s", DURATION, """\
An agent that has been silent for this long counts as dead.  Longer than heartbeat."""),
    Option("stalled_after", "10m", DURATION, """\
A wrapped agent that has something to do, and for this long gave no sign (no output, no CPU time, no
command of ours, no hook), is reported to its superior and in `mbox status`."""),
    Option("stall_limit", "1h", DURATION, """\
After so long without a sign its wrapper no longer renews what it holds.  Longer than stalled_after."""),
    Option("watchdog_scan", "30s", DURATION, """\
How often the watchdog looks for what has run out, besides being woken."""),
    Option("nudge_again", "30s", DURATION, """\
An agent that could not be nudged, or did not read after a nudge, is looked at again after this; then
after twice as long, and so on."""),
    Option("nudge_longest", "15m", DURATION, """\
The longest time between two looks at an agent that does not read its mail."""),
    Option("nudge_tries", "5", _count(1), """\
After so many nudges for the same mail an agent is nudged once in nudge_longest only.  (After the second
its superior, or a person by `mbox status`, is told.)"""),
    Option("respawns", "3", _count(0), """\
How often a team's member is started again within respawn_window, unless the team says otherwise; then
it counts as broken and is left for a person."""),
    Option("respawn_window", "10m", DURATION, """\
The time in which respawns are counted."""),
    Option("stop_grace", "5s", DURATION, """\
How long a program that is told to stop has, until it is killed."""),
    Option("lease", "30m", DURATION, """\
How long a claimed task is held by hand.  Every command of its holder renews it."""),
    Option("reservation_ttl", "30m", DURATION, """\
How long `reserve` holds a path by hand, unless --ttl says otherwise."""),
    Option("renewed_lease", "60s", DURATION, """\
The lease on tasks and reservations where a wrapper or a hook renews them."""),
    Option("renew_every", "20s", DURATION, """\
How often the wrapper or hook renews them.  Shorter than renewed_lease."""),
    Option("read_lease", "10m", DURATION, """\
A message that was read but not acknowledged for this long comes back."""),
    Option("max_deliveries", "5", _count(1), """\
A message that came back this often goes to the dead letters."""),
    Option("max_attempts", "3", _count(1), """\
A task whose lease ran out this often goes to the dead letters, unless it says otherwise."""),
    Option("max_hops", "32", _count(1), """\
The longest chain of replies: it ends agents that answer each other for ever."""),
    Option("max_recipients", "5", _count(1), """\
A message to more agents than this is a broadcast, which only an orchestrator may send."""),
    Option("send_rate", "600", _count(0), """\
Messages a minute that one agent may send; 0 is no limit."""),
    Option("require_reservation", [], STAGES, """\
Stages (such as [impl]) whose tasks can be started and done only under a live reservation."""),
    Option("audit.ref", "refs/mbox/audit", REF, """\
The git ref that `mbox audit commit` moves, below refs/mbox/: `git push` leaves it alone."""),
    Option("audit.every", "500", _count(0), """\
Records since the last audit commit until commands say that one is due; 0 is never."""),
    Option("audit.interval", "5m", DURATION, """\
How often the watchdog makes an audit commit, if there is something new."""),
    Option("guard.mode", "conflict", _choice({word: word for word in ("off", "warn", "conflict", "strict")}), """\
What the hooks of agent programs do about a write.  conflict: deny what another agent holds.  strict: deny
also what the writer has not reserved.  warn: let it through and say so.  off: nothing."""),
    Option("guard.fail", "closed", _choice({word: word for word in ("closed", "open")}), """\
closed: a tool whose call the guard cannot read or judge is denied.  open: it is let through, and logged."""),
    Option("guard.ttl", "5m", DURATION, """\
How long a path is reserved for an agent that writes it without having reserved it; renewed by its hooks,
given back when its turn ends.  Longer than renew_every."""),
    Option("guard.deny", ["git push --force", "git reset --hard", "git clean -x", "git commit|push --no-verify",
                          "git -c core.hooksPath", "git config core.hooksPath"], LINES, """\
What no agent may run: a tool's name, or words of a command, options in any order.  `worker: git push`
is for one role. A list here takes the place of the shipped one."""),
    Option("guard.ask", [], LINES, """\
Likewise, what only a person may say yes to: a denial that says so where the program cannot ask."""),
    Option("guard.tools", [], LINES, """\
Tools of MCP servers that write files, each with the names of its inputs that are paths, such as
[mcp__fs__write_file path]."""),
    Option("gates", [], LINES, """\
Commands that must succeed before an agent with a task in hand may end its turn, beside the task's own."""),
    Option("gate_time", "10m", DURATION, """\
How long all gates of one stop may take; less than the 11m after which its program goes on without them."""),
    Option("gate_tries", "3", _count(1), """\
After so many failures an agent's turn ends all the same, and its task goes to review, marked as failed."""),
)  # fmt: skip

OPTIONS = {option.name: option for option in TABLE}
NAMES = list(OPTIONS)

LONGER = (("dead_after", "heartbeat"), ("renewed_lease", "renew_every"), ("nudge_longest", "nudge_again"),
          ("stall_limit", "stalled_after"), ("guard.ttl", "renew_every"))
"""Pairs of which the first must be longer: else what is alive would be given away between two beats."""


MAIN = {"guard": "guard.mode"}
"""The key that a section's name alone means, with one word behind it: ``guard: strict``."""


GATES = 630.0
"""Seconds that gates may take at most: hosts are told to wait 660."""


def named(key: str) -> Option:
    """The option called ``key``; Usage if there is none."""
    try:
        return OPTIONS[MAIN.get(key, key)]
    except KeyError:
        hint = did_you_mean(key, NAMES) or "; `mbox config get` lists them"
        raise Usage(f"no configuration key {key!r}{hint}") from None


class Config:
    """What the configuration says; durations in seconds, sizes in bytes.  `TABLE` explains each field."""

    __slots__ = tuple(option.field for option in TABLE)

    durability: str
    lock_wait: float
    segment_size: int
    message_limit: int
    checkpoint_limit: int
    keys_kept: float
    private: bool
    network_fs: bool
    case_fold: bool | None
    poll: tuple[float, ...]
    heartbeat: float
    dead_after: float
    stalled_after: float
    stall_limit: float
    watchdog_scan: float
    nudge_again: float
    nudge_longest: float
    nudge_tries: int
    respawns: int
    respawn_window: float
    stop_grace: float
    lease: float
    reservation_ttl: float
    renewed_lease: float
    renew_every: float
    read_lease: float
    max_deliveries: int
    max_attempts: int
    max_hops: int
    max_recipients: int
    send_rate: int
    require_reservation: tuple[str, ...]
    audit_ref: str
    audit_every: int
    audit_interval: float
    guard_mode: str
    guard_fail: str
    guard_ttl: float
    guard_deny: tuple[str, ...]
    guard_ask: tuple[str, ...]
    guard_tools: tuple[str, ...]
    gates: tuple[str, ...]
    gate_time: float
    gate_tries: int

    def __init__(self, values: Mapping[str, Any]) -> None:
        for field in self.__slots__:
            object.__setattr__(self, field, values[field])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Config does not change; config.yaml does")

    def get(self, key: str) -> Shown:
        """The value of ``key`` as the file would spell it; Usage if there is no such key."""
        option = named(key)
        return option.kind.show(getattr(self, option.field))

    def shown(self) -> dict[str, Shown]:
        """Every key and its value as the file would spell it."""
        return {name: self.get(name) for name in OPTIONS}


class Wrong(Exception):
    """``name``'s text cannot be used; ``problem`` names it and says what would be right."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name


def build(texts: Mapping[str, Text]) -> Config:
    """The configuration that ``texts`` and the defaults make; `Wrong` for the first that cannot be used."""
    values: dict[str, Any] = {}
    for option in TABLE:
        try:
            values[option.field] = option.kind.parse(option.name, texts.get(option.name, option.default))
        except Usage as error:
            raise Wrong(option.name, str(error)) from None
    for longer, shorter in LONGER:
        if values[longer.replace(".", "_")] <= values[shorter]:
            raise Wrong(longer, f"{longer} must be longer than {shorter} ({format_duration(values[shorter])})")
    if values["gate_time"] > GATES:
        raise Wrong("gate_time", f"gate_time must be at most {format_duration(GATES)}: programs wait no longer for hooks")
    return Config(values)
