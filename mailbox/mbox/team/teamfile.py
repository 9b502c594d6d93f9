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
                                  # in this one's folder ("@@…" for a text that begins with @)
      - role: worker              # … or several of a role: worker-1 to worker-6
        count: 6
        host: codex
        command: [codex, --full-auto]   # instead of the host's own words
        reports_to: boss          # the orchestrator unless said
        worktree: true            # a working tree of its own, on branch mbox/<team>/<name>; or the branch's name
        setup: [make, deps]       # run once in a new working tree, before the program begins
        copy: [.env, "conf/*.key"]  # files of the main tree that git ignores, for a new working tree
        sandbox: bwrap            # or {docker: IMAGE}, {bwrap: true, network: false}, or words: [firejail, --quiet]
        respawn: {times: 3, within: 10m}    # or false; how often it is started again
        nudge: false              # its doorbell is never rung
        env: {KEY: value}         # stands in this file and in the store: nothing secret
        pass_env: [KEY]           # variables of whoever calls the team, beside those that its host reads (hosts.yaml)

Promised: what cannot be used is refused with file, line, column and the mend, before anything is begun; nothing is
coerced.  `with_member` and `without_member` change only what they are told, comments and order stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from typing import Any, NamedTuple

from mbox.agents.registry import RESERVED
from mbox.errors import Usage, did_you_mean
from mbox.format import fields, places
from mbox.format.checks import shown
from mbox.format.parsing import Place, decoded, yaml_document
from mbox.git import filling
from mbox.system.given import read_given

LARGEST = 1 << 20
IN_TREES = ("setup", "copy")
"""Fields that only a member with a working tree has."""

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
    sandbox: tuple[str, ...] | str | dict[str, Any] = ()
    respawn: dict[str, Any] | None = None
    nudge: bool = True
    prompt: str = ""
    env: dict[str, str] = {}  # noqa: RUF012 - never changed
    pass_env: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    copy: tuple[str, ...] | None = None

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


# -- values ----------------------------------------------------------------------------------------------------------


_agent_name = fields.name("agent")
_words = fields.list_of(fields.text, 1, repeats=True, such="of words such as [claude, --verbose]")


def _member_name(field: str, value: Any) -> str:
    name = _agent_name(field, value)
    if name in RESERVED:
        raise Usage(f"{field} {name} is the toolkit's own name in the journal; take another, such as {name}-1")
    return name


def _tree(field: str, value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else ""
    bad = not text or text.startswith(("-", "/")) or text.endswith(("/", ".lock")) or ".." in text
    if bad or any(char in " ~^:?*[\\\x7f" or not char.isprintable() for char in text):
        raise Usage(f"{field} must be true, false or a branch's name, not {shown(value)}")
    return text


_count = fields.number(1, MOST)
_policy = fields.mapping({"times": _count, "within": fields.duration})


def _respawn(field: str, value: Any) -> dict[str, Any] | None:
    if not isinstance(value, bool | dict):
        raise Usage(f"{field} must be false, true or {{times: 3, within: 10m}}, not {shown(value)}")
    said: dict[str, Any] = _policy(field, value) if isinstance(value, dict) else {}
    return None if value is False else said or {"times": 3}


def _variable(field: str, value: str) -> str:
    if not value.isidentifier():
        raise Usage(f"{shown(value)} is no name of a variable")
    if value.startswith("MBOX_"):
        raise Usage(f"{value} is set by `mbox run`")
    return value


def _passed(field: str, value: Any) -> str:
    return _variable(field, fields.text(field, value))


_preset = fields.mapping({"bwrap": fields.flag, "docker": fields.line, "network": fields.flag})


def _sandbox(field: str, value: Any) -> tuple[str, ...] | str | dict[str, Any]:
    if value == "bwrap":
        return "bwrap"
    if isinstance(value, list):
        return _words(field, value)
    said: dict[str, Any] = _preset(field, value) if isinstance(value, dict) else {}
    if (said.get("bwrap") is True) == bool(said.get("docker")) or str(said.get("docker", "")).startswith("-"):
        raise Usage(f"{field} must be bwrap, {{docker: IMAGE}} or words such as [firejail, --quiet], not {shown(value)}")
    return said


def _copied(field: str, value: Any) -> str:
    text = fields.path(field, value)
    if os.path.normpath(text) != text or os.path.isabs(text) or text.split("/")[0] in ("..", ".", ".git", *filling.OURS):
        raise Usage(f"{field} must name a file below the top of the main tree, not {shown(value)}")
    return text


SHARED: dict[str, fields.Check] = {
    "role": fields.label, "host": fields.name("host"), "model": fields.text, "command": _words,
    "capabilities": fields.list_of(fields.label, most=fields.WORDS), "reports_to": _agent_name, "worktree": _tree,
    "sandbox": _sandbox, "respawn": _respawn, "nudge": fields.flag, "prompt": fields.text,
    "env": fields.mapping_of(_variable, fields.text, "of names to texts"),
    "setup": _words, "copy": fields.list_of(_copied, such="of files such as [.env]"),
    "pass_env": fields.list_of(_passed, such="of names of variables such as [MY_API_KEY]"),
}  # fmt: skip
"""Fields of a member that ``defaults`` may hold too."""

MEMBER: dict[str, fields.Check] = {"name": _member_name, "count": _count, **SHARED}
_member = fields.mapping(MEMBER, such="such as {name: ann, host: claude}")
_defaults = fields.mapping(SHARED)

TOP: dict[str, fields.Check] = {
    "team": fields.name("team"), "parent": fields.name("agent or team"), "orchestrator": _agent_name,
    "defaults": lambda field, value: {} if value is None else _defaults(field, value),
    "members": fields.list_of(_member, 1, repeats=True, such="with at least one member", item="a member"),
}  # fmt: skip
_top = fields.mapping(TOP, required=["members"], such="with members: …")


# -- reading ---------------------------------------------------------------------------------------------------------


def load(path: str) -> Team:
    """The team that the file at ``path`` describes; `Usage` names the place and the mend."""
    return parse(_source(path), path)


def _source(path: str) -> str:
    try:
        return decoded(read_given(path, LARGEST + 1), path, LARGEST)
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}") from None


def parse(text: str, path: str) -> Team:
    """`load` for a text."""
    top, start = yaml_document(text, path, aliases="defaults: says what many members share")
    if top is None:
        raise Usage(f"{path}: is empty; it needs members: …")
    said = fields.placed("the file", top, _top, start)
    members: list[Member] = []
    for n, own in enumerate(said["members"]):
        one = {**said.get("defaults", {}), **own}
        if one.get("prompt", "").startswith("@"):
            holder = top["members"][n] if "prompt" in own else top["defaults"]
            one["prompt"] = _prompt(one["prompt"], path, holder.at["prompt"])
        if not one.get("worktree"):
            _refuse_treeless(own, top["members"].at[n])
            one = {key: value for key, value in one.items() if key not in IN_TREES}
        members += _expanded(one, top["members"].at[n])
    name = said.get("team") or _from_path(path)
    return _joined(Team(name, members, said.get("orchestrator"), said.get("parent"), path))


def _refuse_treeless(own: dict[str, Any], where: Place) -> None:
    """What is for working trees is said of a member that has none; from ``defaults`` it is for the others."""
    if said := next((key for key in IN_TREES if key in own), None):
        raise Usage(f"{where}: {said}: is for a member's own working tree; say worktree: true")


def _prompt(word: str, path: str, at: Place) -> str:
    """The instruction that ``@FILE`` names, FILE being in the team file's folder or below, also by way of links.

    ``@@`` is a literal ``@``.
    """
    if word.startswith("@@"):
        return word[1:]
    folder = os.path.dirname(os.path.abspath(path))
    file = os.path.join(folder, word[1:])
    if not os.path.realpath(file).startswith(f"{os.path.realpath(folder).rstrip('/')}/"):
        raise Usage(f"{at}: prompt {shown(word)} is outside {folder}: put the file beside this one; a literal @ is written @@")
    try:
        return fields.text(word, _source(file))
    except Usage as error:
        raise Usage(f"{at}: prompt {error}; @ names a file, a literal @ is written @@") from None


def _from_path(path: str) -> str:
    name = os.path.basename(path).rpartition(".")[0]
    if not places.is_name(name):
        raise Usage(f"{path}: say team: NAME (the file's name is no name of a team)")
    return name


def _expanded(said: dict[str, Any], where: Place) -> list[Member]:
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
