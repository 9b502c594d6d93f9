"""A configuration that is broken ends the command; it is never replaced by defaults.

Promised: `load` gives what ``.mailbox/config.yaml`` says, each key it leaves out at its default, or raises
StoreError (exit 6) with the file, the line and the mend.  No file at all is all defaults (``doctor`` says
so); an empty one is broken, because that is what a power cut leaves.  `set_value` writes only what `load`
would take, and keeps comments.  Not promised: that a running command sees a change; each command reads the
file once.

One table, `TABLE`, makes the file that ``mbox init`` writes, checks the one that people edit, and gives the
schema.

Files: ``config.yaml`` is a person's; `set_value` replaces it by temporary file and rename, so that a crash
leaves the old one or the new one.  ``cache/config.json`` holds its texts with the size, mtime and inode
they were read at, so that a command need not import a YAML parser.  Texts, not values: they are checked
again at every load, and a later version reads them its own way.  It may be deleted at any time.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .disk import Disk, read_bytes
from .errors import StoreError, Usage, did_you_mean

if TYPE_CHECKING:
    from yaml.nodes import Node

FILE = "config.yaml"
CACHE = "cache/config.json"

Text = str | list[str]
"""A value as the file spells it: one word or phrase, or a list of them."""

Shown = str | int | bool | list[str]
"""A value as YAML and JSON show it to people: ``30m``, ``5``, ``true``."""


# -- kinds of values -----------------------------------------------------------------------------------------

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
LONGEST = 3650 * 86400.0


def seconds(text: str) -> float:
    """``90s``, ``15m``, ``2h``, ``30d`` or bare seconds: more than 0, at most ten years; else ValueError."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in SECONDS else (text, "s")
    try:
        value = float(number) * SECONDS[unit]
    except ValueError:
        value = 0.0
    if not 0 < value <= LONGEST:
        raise ValueError(f"must be a duration such as 90s, 15m, 2h or 30d, not {text!r}")
    return value


def _month(text: str) -> float:
    if seconds(text) < 30 * 86400:
        raise ValueError(f"must be at least 30d, not {text!r}: a repeated --key is known for so long")
    return seconds(text)


def duration(value: float) -> str:
    """The shortest text that `seconds` reads as ``value``."""
    for unit, factor in reversed(SECONDS.items()):
        if value % factor == 0:
            return f"{int(value // factor)}{unit}"
    return f"{value!r}s"


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


def _flag(text: str) -> bool:
    try:
        return FLAGS[text.lower()]
    except KeyError:
        raise ValueError(f"must be true or false, not {text!r}") from None


def _ref(text: str) -> str:
    """A full git ref outside branches, tags and remotes (git-check-ref-format(1))."""
    parts = text.split("/")
    wrong = (
        text.startswith(("refs/heads/", "refs/tags/", "refs/remotes/"))
        or len(parts) < 3
        or parts[0] != "refs"
        or ".." in text
        or "@{" in text
        or any(char in " ~^:?*[\\" or not char.isprintable() for char in text)
        or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
    )
    if wrong:
        raise ValueError(f"must be a git ref of its own such as refs/mbox/audit, not {text!r}")
    return text


def _word(text: str) -> str:
    if not (0 < len(text) <= 64 and text.isprintable()):
        raise ValueError(f"must be names of 1 to 64 printable characters, not {text!r}")
    return text


class Kind:
    """How one kind of value is read (ValueError says what would be right), shown and described."""

    __slots__ = ("parse", "schema", "show")

    def __init__(
        self, parse: Callable[[Text], Any], show: Callable[[Any], Shown], schema: dict[str, Any]
    ) -> None:
        self.parse = parse
        self.show = show
        self.schema = schema


def _one(parse: Callable[[str], Any], show: Callable[[Any], Shown], **schema: object) -> Kind:
    def read(text: Text) -> object:
        if isinstance(text, list):
            raise ValueError("must be one value, not a list")
        return parse(text)

    return Kind(read, show, schema)


def _list(parse: Callable[[str], Any], show: Callable[[Any], str], least: int, item: dict[str, Any]) -> Kind:
    def read(text: Text) -> object:
        if isinstance(text, str) or len(text) < least:
            raise ValueError("must be a list such as [a, b]" + (", not empty" if least else ""))
        return tuple(parse(part) for part in text)

    schema = {"type": "array", "items": item, "minItems": least}
    return Kind(read, lambda values: [show(value) for value in values], schema)


def _count(least: int) -> Kind:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
            raise ValueError(f"must be a whole number, at least {least}, not {text!r}")
        return int(text)

    return _one(read, int, type="integer", minimum=least)


def _choice(meaning: Mapping[str, object]) -> Kind:
    shown = {value: word for word, value in meaning.items()}

    def read(text: str) -> object:
        if text.lower() not in meaning:
            raise ValueError(f"must be {' or '.join(meaning)}, not {text!r}")
        return meaning[text.lower()]

    return _one(read, lambda value: _plain(shown[value]), enum=[_plain(word) for word in meaning])


def _plain(word: str) -> Shown:
    return {"true": True, "false": False}.get(word, word)


_DURATION = {"type": ["string", "number"], "pattern": "^[0-9.]+ *[smhd]?$", "exclusiveMinimum": 0}
DURATION = _one(seconds, duration, **_DURATION)
DURATIONS = _list(seconds, duration, 1, _DURATION)
SIZE = _one(octets, size, type=["string", "integer"], pattern="^[0-9]+ *([KMG]iB)?$", minimum=1)
FLAG = _one(_flag, bool, type="boolean")
REF = _one(_ref, str, type="string", pattern="^refs/.+/.+")
STAGES = _list(_word, str, 0, {"type": "string", "minLength": 1, "maxLength": 64})


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
How long a command waits for the store's lock before it gives up (exit 6)."""),
    Option("segment_size", "16 MiB", SIZE, """\
The journal goes on in a new file at this size."""),
    Option("message_limit", "256 KiB", SIZE, """\
Larger messages are refused; what is larger goes in a file, and its path in the message."""),
    Option("checkpoint_limit", "16 KiB", SIZE, """\
The largest state that `task checkpoint` takes."""),
    Option("keys_kept", "30d", _one(_month, duration, **_DURATION), """\
How long a --key is remembered, so that a repeated command is not done twice.  At least 30d."""),
    Option("private", "true", FLAG, """\
true: only you can read the store (0700 and 0600).  false: as your umask says.  New files only."""),
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
    Option("watchdog_scan", "30s", DURATION, """\
How often the watchdog looks for what has run out, besides being woken."""),
    Option("nudge_again", "30s", DURATION, """\
An agent that could not be nudged, or did not read after a nudge, is looked at again after this; then
after twice as long, and so on."""),
    Option("nudge_longest", "15m", DURATION, """\
The longest time between two looks at an agent that does not read its mail."""),
    Option("nudge_tries", "5", _count(1), """\
After so many nudges for the same mail an agent is left alone, and its superior or a person is told."""),
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
The git ref that `mbox audit commit` moves.  Outside refs/heads, `git push` leaves it alone."""),
    Option("audit.every", "500", _count(0), """\
Records since the last audit commit until commands say that one is due; 0 is never."""),
    Option("audit.interval", "5m", DURATION, """\
How often the watchdog makes an audit commit, if there is something new."""),
)  # fmt: skip

OPTIONS = {option.name: option for option in TABLE}
NAMES = list(OPTIONS)

LONGER = (("dead_after", "heartbeat"), ("renewed_lease", "renew_every"), ("nudge_longest", "nudge_again"))
"""Pairs of which the first must be longer: else what is alive would be given away between two beats."""


def _option(key: str) -> Option:
    try:
        return OPTIONS[key]
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

    def __init__(self, values: Mapping[str, Any]) -> None:
        for field in self.__slots__:
            object.__setattr__(self, field, values[field])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config does not change; {FILE} does")

    def get(self, key: str) -> Shown:
        """The value of ``key`` as the file would spell it; Usage if there is no such key."""
        option = _option(key)
        return option.kind.show(getattr(self, option.field))

    def shown(self) -> dict[str, Shown]:
        """Every key and its value as the file would spell it."""
        return {name: self.get(name) for name in OPTIONS}


def default_text() -> str:
    """``config.yaml`` as ``mbox init`` writes it: every key at its default below its explanation."""
    lines = ["# Configuration of the store in this folder.  Edit it, or use `mbox config set KEY VALUE`.\n"]
    section = ""
    for option in TABLE:
        outer, _, key = option.name.rpartition(".")
        indent = "  " if outer else ""
        lines.append(f"\n{outer}:\n" if outer != section else "\n")
        section = outer
        lines += (f"{indent}# {line}\n" for line in option.why.splitlines())
        value = option.default if isinstance(option.default, str) else f"[{', '.join(option.default)}]"
        lines.append(f"{indent}{key}: {value}\n")
    return "".join(lines)


def schema() -> dict[str, Any]:
    """JSON Schema of ``config.yaml``."""
    top: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for option in TABLE:
        outer, _, key = option.name.rpartition(".")
        place = top["properties"]
        if outer:
            inner = {"type": "object", "additionalProperties": False, "properties": {}}
            place = place.setdefault(outer, inner)["properties"]
        shown = option.kind.show(option.kind.parse(option.default))
        place[key] = {"description": option.why, **option.kind.schema, "default": shown}
    return top


# -- reading -------------------------------------------------------------------------------------------------


class _Wrong(Exception):
    """``name``'s text cannot be used; ``problem`` says what would be right."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name


def _build(texts: Mapping[str, Text]) -> Config:
    """The configuration that ``texts`` and the defaults make."""
    values: dict[str, Any] = {}
    for option in TABLE:
        try:
            values[option.field] = option.kind.parse(texts.get(option.name, option.default))
        except ValueError as error:
            raise _Wrong(option.name, str(error)) from None
    for longer, shorter in LONGER:
        if values[longer] <= values[shorter]:
            raise _Wrong(longer, f"must be longer than {shorter} ({duration(values[shorter])})")
    return Config(values)


def load(mailbox_dir: str, disk: Disk) -> Config:
    """What ``config.yaml`` in ``mailbox_dir`` says; StoreError names file, line and mend if it is broken."""
    path = f"{mailbox_dir}/{FILE}"
    now = time.time()
    stamp = _stamp(path)
    if stamp is None:
        return _build({})
    config = _cached(mailbox_dir, stamp)
    if config is None:
        texts, lines = _texts(path, _read(path))
        config = _checked(path, texts, lines)
        if _settled(stamp[1], now):
            _remember(mailbox_dir, stamp, texts, disk)
    return config


def _stamp(path: str) -> list[int] | None:
    """Size, mtime and inode of ``path``: while they are the same, so is the file.  None if there is none."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return [state.st_size, state.st_mtime_ns, state.st_ino]


def _cached(mailbox_dir: str, stamp: list[int]) -> Config | None:
    """The configuration from the cache if that was made from the file as it is now, else None."""
    try:
        cache = json.loads(read_bytes(f"{mailbox_dir}/{CACHE}"))
        if cache["stamp"] != stamp or not OPTIONS.keys() >= cache["texts"].keys():
            return None
        return _build(cache["texts"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, _Wrong):
        return None  # whatever is wrong with a cache is mended by reading the file


def _settled(mtime_ns: int, now: float) -> bool:
    """Whether a change after ``now`` must show in the mtime.

    Not within the tick of the clock that stamped it (10 ms; 2 s where only even seconds are kept): a second
    change of the same length could carry the same mtime, and the cache of the first would be believed for
    ever.
    """
    tick = 2.0 if mtime_ns % 1_000_000_000 == 0 else 0.02
    return abs(now - mtime_ns / 1e9) > tick


UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EEXIST}
"""Why a cache may stay unwritten (EEXIST: somebody else is making its folder): reading works all the same."""


def _remember(mailbox_dir: str, stamp: list[int], texts: dict[str, Text], disk: Disk) -> None:
    path = f"{mailbox_dir}/{CACHE}"
    try:
        if not os.path.isdir(os.path.dirname(path)):
            disk.mkdir(os.path.dirname(path))
        disk.replace(path, json.dumps({"stamp": stamp, "texts": texts}).encode())
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _read(path: str) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> StoreError:
    if error.errno == errno.ELOOP:
        return StoreError(f"{path} is a symlink; put the file itself there")
    return StoreError(f"{path} cannot be read: {error.strerror}")


def _checked(path: str, texts: dict[str, Text], lines: dict[str, int]) -> Config:
    try:
        return _build(texts)
    except _Wrong as wrong:
        line = f" line {lines[wrong.name]}" if wrong.name in lines else ""
        raise StoreError(f"{path}{line}: {wrong}; mend it, or take the line out for the default") from None


def _texts(path: str, source: str) -> tuple[dict[str, Text], dict[str, int]]:
    """Each key's text in the YAML ``source``, and its line.

    The parser's nodes are read and not its values: they have lines, they show a key that stands there
    twice, and a stage called ``on`` stays a stage.
    """
    import yaml

    try:
        top = yaml.compose(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "broken"
        raise StoreError(f"{path}{place}: not YAML: {problem}; mend the line") from error
    if top is None and not source.strip("\0 \t\r\n"):
        raise StoreError(f"{path} is empty, as a power cut leaves it; delete it to have all defaults")
    texts: dict[str, Text] = {}
    lines: dict[str, int] = {}
    for name, node, line in _pairs(path, top):
        if name not in OPTIONS:
            hint = did_you_mean(name, NAMES)
            raise StoreError(f"{path} line {line}: unknown key {name!r}{hint}; mend the line or take it out")
        if name in texts:
            raise StoreError(f"{path} line {line}: {name} stands here a second time; take one of the two out")
        texts[name], lines[name] = _text(path, name, node), line
    return texts, lines


def _pairs(path: str, node: Node | None, outer: str = "") -> Iterator[tuple[str, Node, int]]:
    """Name, value and line of each key; the keys below ``audit:`` as ``audit.…``."""
    import yaml

    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise StoreError(f"{path} line {node.start_mark.line + 1}: must be lines of `key: value`")
    for key, value in node.value:
        name, line = f"{outer}{key.value}", key.start_mark.line + 1
        if not outer and name in OPTIONS and "." in name:
            section, _, inner = name.partition(".")
            raise StoreError(f"{path} line {line}: write {name} as `{section}:` and `  {inner}:` below it")
        if isinstance(value, yaml.MappingNode) and not outer:
            yield from _pairs(path, value, f"{name}.")
        else:
            yield name, value, line


def _text(path: str, name: str, node: Node) -> Text:
    import yaml

    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for part in parts:
        if not isinstance(part, yaml.ScalarNode) or part.tag == "tag:yaml.org,2002:null":
            line = part.start_mark.line + 1
            raise StoreError(f"{path} line {line}: {name} has no value that can be read; give it one")
    return [part.value for part in parts] if isinstance(node, yaml.SequenceNode) else str(node.value)


# -- writing -------------------------------------------------------------------------------------------------


def set_value(mailbox_dir: str, key: str, text: str, disk: Disk, dry_run: bool = False) -> Config:
    """Set ``key`` in ``config.yaml`` to ``text`` (a list is ``a,b`` or ``[a, b]``) and return the whole.

    Usage if ``key`` or ``text`` is wrong; StoreError if the file is broken or changes meanwhile; nothing is
    written then.  The caller holds the store's lock if others may do the same at this moment.
    """
    from ruamel.yaml.error import YAMLError

    option = _option(key)
    path = f"{mailbox_dir}/{FILE}"
    before = _stamp(path)
    source = default_text() if before is None else _read(path)
    texts, lines = _texts(path, source)
    _checked(path, texts, lines)
    texts[key] = _given(option, text)
    try:
        wanted = _build(texts)
    except _Wrong as wrong:
        raise Usage(str(wrong)) from None
    try:
        edited = _edited(source, option, wanted.get(key))
        kept = _checked(path, *_texts(path, edited)).shown() == wanted.shown()
    except YAMLError:
        kept = False
    if not kept:
        raise StoreError(f"{path} cannot be edited without changing more than {key}; edit it by hand")
    if _stamp(path) != before:
        raise StoreError(f"{path} was changed by somebody else just now; nothing was written, try again")
    if not dry_run:
        disk.replace(path, edited.encode())
    return wanted


def _given(option: Option, text: str) -> Text:
    if isinstance(option.default, str):
        return text
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [part.strip() for part in inner.split(",")] if inner.strip() else []


def _edited(source: str, option: Option, value: Shown) -> str:
    """``source`` with ``option`` set to ``value``; comments, order, quotes and line ends stay."""
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.util import load_yaml_guess_indent

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 1 << 30  # never fold a person's long line
    _, indent, offset = load_yaml_guess_indent(source)
    if offset is not None:
        editor.indent(mapping=2, sequence=indent, offset=offset)
    document = editor.load(source.replace("\r\n", "\n"))
    if document is None:  # comments only, which the editor would drop
        document, kept = CommentedMap(), source.rstrip() + "\n"
    else:
        kept = ""
    outer, _, key = option.name.rpartition(".")
    place = document.setdefault(outer, CommentedMap()) if outer else document
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    known = key in place
    place[key] = value
    if not known:
        place.yaml_set_comment_before_after_key(key, before=option.why, indent=2 if outer else 0)
    edited = StringIO()
    editor.dump(document, edited)
    text = kept + edited.getvalue()
    return text.replace("\n", "\r\n") if "\r\n" in source else text
