"""The team file: a person's YAML that says which agents a team has.

    team: parser                  # the file's name unless said
    parent: lead-1                # an agent of another team that this one reports to, or that team (who leads it)
    orchestrator: boss            # the member with role orchestrator unless said
    defaults: {…}                 # what holds for every member that does not say otherwise
    members:
      - name: boss                # one agent …
        role: orchestrator
        host: claude              # the program: claude, codex, gemini, … (how it starts: hosts.yaml)
        model: opus
        capabilities: [plan]
        prompt: You lead …        # the first instruction, handed over as an argument; "@FILE" is what stands in FILE,
                                  # beside this one ("@@…" for a text that begins with @)
      - role: worker              # … or several of a role: worker-1 to worker-6
        count: 6
        host: codex
        command: [codex, --full-auto]   # instead of the host's own words
        reports_to: boss          # the orchestrator unless said
        worktree: true            # a working tree of its own, on branch mbox/<team>/<name>; or the branch's name
        sandbox: [bwrap, …]       # words that stand before the command
        respawn: {times: 3, within: 10m}    # or false; how often it is started again
        nudge: false              # its doorbell is never rung
        env: {KEY: value}

Promised: what cannot be used is refused with the file, the line and the mend, before anything is begun; nothing is
coerced.  `add` and `remove` change only what they are told, comments and order stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from typing import Any, NamedTuple

from mbox.format import places
from mbox.agents.registry import RESERVED
from mbox.errors import Usage, did_you_mean
from mbox.config.settings import seconds

LARGEST = 1 << 20
MOST = 100
"""Members of one team."""


class Member(NamedTuple):
    """One agent of a team, everything said."""

    name: str
    role: str = "worker"
    host: str = ""
    model: str = ""
    command: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    reports_to: str | None = None
    worktree: bool | str = False
    sandbox: tuple[str, ...] = ()
    respawn: dict[str, Any] | None = None
    nudge: bool = True
    prompt: str = ""
    env: dict[str, str] = {}  # noqa: RUF012 - never changed

    def row(self) -> dict[str, Any]:
        """The member as it stands in the team's document: what is not said is left out."""
        doc = {key: list(value) if isinstance(value, tuple) else value for key, value in self._asdict().items()}
        return {key: value for key, value in doc.items() if value not in (None, "", [], {}) and (key, value) != ("nudge", True)}


class Team(NamedTuple):
    """A team file, expanded."""

    name: str
    members: list[Member]
    orchestrator: str | None
    parent: str | None
    file: str


Check = Callable[[Any], Any]


class _Wrong(Exception):
    """What is wrong with a value."""


# -- values ----------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be text, not {_kind(value)}; put it in quotes")
    if "\0" in value:
        raise _Wrong("must not hold NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Wrong("must not hold half a character") from None
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not places.is_name(value):
        raise _Wrong(f"must be a name (a-z, 0-9, '.', '_', '-', at most 64), not {value!r}")
    return value


def _member(value: Any) -> str:
    if _name(value) in RESERVED:
        raise _Wrong(f"{value} is the toolkit's own name in the journal; take another, such as {value}-1")
    return str(value)


def _word(value: Any) -> str:
    text = _text(value)
    if not text or not text.isprintable() or len(text) > 64:
        raise _Wrong(f"must be 1 to 64 printable characters, not {value!r}")
    return text


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _Wrong(f"must be a list of words such as [claude, --verbose], not {_kind(value)}")
    return tuple(_text(item) for item in value)


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"must be a list, not {_kind(value)}")
    return tuple(dict.fromkeys(_word(item) for item in value))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"must be true or false, not {value!r}")
    return value


def _tree(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    text = _text(value)
    bad = not text or text.startswith(("-", "/")) or text.endswith(("/", ".lock")) or ".." in text
    if bad or any(char in " ~^:?*[\\\x7f" or not char.isprintable() for char in text):
        raise _Wrong(f"must be true, false or a branch's name, not {value!r}")
    return text


def _count(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MOST:
        raise _Wrong(f"must be a number from 1 to {MOST}, not {value!r}")
    return value


def _respawn(value: Any) -> dict[str, Any] | None:
    if value is False:
        return None
    if value is True:
        return {"times": 3}
    if not isinstance(value, dict) or not value.keys() <= {"times", "within"}:
        raise _Wrong(f"must be false, true or {{times: 3, within: 10m}}, not {value!r}")
    found: dict[str, Any] = {}
    if "times" in value:
        found["times"] = _count(value["times"])
    if "within" in value:
        try:
            found["within"] = seconds(str(value["within"]))
        except ValueError as error:
            raise _Wrong(f"within {error}") from None
    return found or {"times": 3}


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _Wrong(f"must be a mapping of names to texts, not {_kind(value)}")
    for key, text in value.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise _Wrong(f"{key!r} is no name of a variable")
        if key.startswith("MBOX_"):
            raise _Wrong(f"{key} is set by `mbox run`")
        _text(text)
    return dict(value)


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", bool: "true or false", int: "a number", type(None): "nothing"}.get(
        type(value), repr(value)
    )


SHARED: dict[str, Check] = {
    "role": _word, "host": _name, "model": _text, "command": _words, "capabilities": _labels, "reports_to": _name,
    "worktree": _tree, "sandbox": _words, "respawn": _respawn, "nudge": _flag, "prompt": _text, "env": _environment,
}  # fmt: skip
"""Fields of a member that ``defaults`` may hold too."""

MEMBER: dict[str, Check] = {"name": _member, "count": _count, **SHARED}
TOP: dict[str, Check] = {"team": _name, "parent": _name, "orchestrator": _name}


# -- reading ---------------------------------------------------------------------------------------------------------


def load(path: str) -> Team:
    """The team that the file at ``path`` describes; `Usage` names file, line and mend."""
    return parse(_source(path), path)


def _source(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise Usage(f"{path}: more than {LARGEST} bytes are no team file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Usage(f"{path}: not UTF-8") from None


def parse(text: str, path: str) -> Team:
    """`load` for a text."""
    top, lines = _tree_of(text, path)
    if not isinstance(top, dict):
        raise Usage(f"{path}: must be a mapping with members: …")
    said = _checked(top, {**TOP, "defaults": lambda value: value, "members": lambda value: value}, lines, (), path)
    defaults = _mapping(said.get("defaults") or {}, SHARED, lines, ("defaults",), path)
    entries = said.get("members")
    if not isinstance(entries, list) or not entries:
        raise Usage(f"{path}: members: must be a list with at least one member")
    members: list[Member] = []
    for n, entry in enumerate(entries):
        at = ("members", n)
        one = {**defaults, **_mapping(entry, MEMBER, lines, at, path)}
        if one.get("prompt", "").startswith("@"):
            one["prompt"] = _prompt(one["prompt"], path, lines.get((*at, "prompt")) or lines[("defaults", "prompt")])
        members += _expanded(one, f"{path}:{lines[at]}")
    name = said.get("team") or _from_path(path)
    return _joined(Team(name, members, said.get("orchestrator"), said.get("parent"), path))


def _prompt(word: str, path: str, line: int) -> str:
    """The instruction that ``@FILE`` names, FILE being relative to the team file; ``@@`` is a literal ``@``."""
    if word.startswith("@@"):
        return word[1:]
    file = os.path.join(os.path.dirname(path), word[1:])
    try:
        return str(_text(_source(file)))
    except (Usage, _Wrong) as error:
        raise Usage(f"{path}:{line}: prompt {error}; @ names a file, a literal @ is written @@") from None


def _from_path(path: str) -> str:
    name = os.path.basename(path).rpartition(".")[0]
    if not places.is_name(name):
        raise Usage(f"{path}: say team: NAME (the file's name is no name of a team)")
    return name


def _expanded(said: dict[str, Any], where: str) -> list[Member]:
    count = said.pop("count", None)
    if "name" in said and count is not None:
        raise Usage(f"{where}: name and count: say one of them (several members are named role-1, role-2, …)")
    if "name" in said:
        return [Member(**said)]
    if "role" not in said:
        raise Usage(f"{where}: a member needs a name, or a role and a count")
    role = said["role"]
    if not places.is_name(f"{role}-1"):
        raise Usage(f"{where}: role {role!r} makes no agent's name; give it a name")
    return [Member(**{**said, "name": f"{role}-{n}"}) for n in range(1, (count or 1) + 1)]


def _joined(team: Team) -> Team:
    """Names that stand twice, and who reports to whom."""
    names = [member.name for member in team.members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise Usage(f"{team.file}: two members are called {twice}")
    if len(names) > MOST:
        raise Usage(f"{team.file}: {len(names)} members are more than {MOST}")
    if team.parent in names:
        raise Usage(f"{team.file}: parent {team.parent} is a member; it is an agent of another team, or that team")
    leaders = [member.name for member in team.members if member.role == "orchestrator"]
    head = team.orchestrator or (leaders[0] if leaders else None)
    if head is not None and head not in names:
        raise Usage(f"{team.file}: orchestrator {head} is no member{did_you_mean(head, names)}")
    members = []
    for member in team.members:
        above = member.reports_to or (team.parent if member.name == head else head or team.parent)
        if above == member.name:
            raise Usage(f"{team.file}: {above} cannot report to itself")
        members.append(member._replace(reports_to=above))
    _refuse_circle(team.file, {member.name: member.reports_to for member in members})
    branches = [member.worktree for member in members if isinstance(member.worktree, str)]
    if same := next((branch for branch in branches if branches.count(branch) > 1), None):
        raise Usage(f"{team.file}: two members have branch {same}; say worktree: true, and each gets one of its own")
    return team._replace(members=members, orchestrator=head)


def _refuse_circle(file: str, above: dict[str, str | None]) -> None:
    for name in above:
        way, at = [name], above.get(name)
        while at is not None and at not in way:
            way.append(at)
            at = above.get(at)
        if at is not None:
            circle = " → ".join([*way[way.index(at):], at])
            raise Usage(f"{file}: who reports to whom is a circle: {circle}")


def _mapping(value: Any, known: dict[str, Check], lines: dict[Any, int], at: tuple[Any, ...], path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Usage(f"{path}:{lines.get(at, 1)}: must be a mapping such as {{name: ann, host: claude}}, not {_kind(value)}")
    return _checked(value, known, lines, at, path)


def _checked(value: dict[Any, Any], known: dict[str, Check], lines: dict[Any, int], at: tuple[Any, ...],
             path: str) -> dict[str, Any]:  # fmt: skip
    found = {}
    for key, item in value.items():
        where = f"{path}:{lines.get((*at, key), 1)}"
        if key not in known:
            raise Usage(f"{where}: {key!r} is not known{did_you_mean(str(key), list(known)) or '; known: ' + ', '.join(known)}")
        try:
            found[key] = known[key](item)
        except _Wrong as wrong:
            raise Usage(f"{where}: {key} {wrong}") from None
    return found


def _tree_of(text: str, path: str) -> tuple[Any, dict[Any, int]]:
    """The YAML as plain values, and on which line each stands."""
    import yaml

    lines: dict[Any, int] = {}
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def walk(node: Any, at: tuple[Any, ...]) -> None:
        lines[at] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            odd = next((key for key, _ in node.value if not isinstance(key, yaml.ScalarNode)), None)
            if odd is not None:
                raise Usage(f"{path}:{odd.start_mark.line + 1}: a name must be text")
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise Usage(f"{path}:{node.start_mark.line + 1}: {twice} stands twice")
            for key, value in node.value:
                walk(value, (*at, key.value))
                lines[(*at, key.value)] = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode):
            for n, item in enumerate(node.value):
                walk(item, (*at, n))

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader)):
            raise Usage(f"{path}: aliases (*name) are not taken here; defaults: says what many members share")
        node = yaml.compose(text, loader)
        if node is None:
            raise Usage(f"{path}: is empty; it needs members: …")
        walk(node, ())
        return yaml.load(text, loader), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise Usage(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except (RecursionError, ValueError) as error:
        raise Usage(f"{path}: not YAML: {error}") from None


# -- editing ---------------------------------------------------------------------------------------------------------


def with_member(path: str, fields: dict[str, Any]) -> str:
    """The text of the file with one more member at its end; comments and order stay."""
    return _edited(path, lambda members: members.append(fields), {fields["name"]}, set())


def without_member(path: str, name: str) -> str:
    """The text of the file without the member ``name``; one of several of a role lowers their count."""

    def remove(members: Any) -> None:
        for n, entry in enumerate(members):
            if entry.get("name") == name:
                del members[n]
                return
            role, count = entry.get("role"), entry.get("count") or 1
            if "name" not in entry and name == f"{role}-{count}":
                if count == 1:
                    del members[n]
                else:
                    entry["count"] = count - 1
                return
            if "name" not in entry and any(name == f"{role}-{number}" for number in range(1, count)):
                raise Usage(f"{path}: {name} is one of {count}; remove {role}-{count} instead, the last of them")
        raise Usage(f"{path}: there is no member {name}")

    return _edited(path, remove, set(), {name})


def _edited(path: str, change: Callable[[Any], None], more: set[str], less: set[str]) -> str:
    """The edited text; `Usage` if it cannot be edited without changing anything else."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.util import load_yaml_guess_indent

    text = _source(path)
    before = _said(text, path)
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 1 << 30  # never fold a person's long line
    try:
        _, indent, offset = load_yaml_guess_indent(text)
        editor.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None and indent is None else offset or 0)
        doc = editor.load(text.replace("\r\n", "\n"))
        change(doc["members"])
        out = StringIO()
        editor.dump(doc, out)
        fresh = out.getvalue().replace("\n", "\r\n") if "\r\n" in text else out.getvalue()
    except YAMLError as error:
        raise Usage(f"{path} cannot be edited here ({error}); edit it by hand") from None
    after = _said(fresh, path)
    kept = {name: member for name, member in before.items() if name not in less}
    if after.keys() != kept.keys() | more or any(after[name] != member for name, member in kept.items()):
        raise Usage(f"{path} cannot be edited without changing other members; edit it by hand")
    return fresh


def _said(text: str, path: str) -> dict[str, Member]:
    """The members of a file by name; without whom they report to, which may follow from who else is there."""
    return {member.name: member._replace(reports_to=None) for member in parse(text, path).members}
