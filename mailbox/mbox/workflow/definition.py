"""A workflow's file, read: its shape is checked, and every default said.  Pure functions, but for `reader`.

Promised: `load` asks its ``read`` for each file that the workflow names, once, and keeps what it got in `Workflow.texts`; from
these alone it gives the same again.  What is no YAML raises `Usage`, what is none of the language `Faults` with every finding
of shape; both begin with file, line and column.  Nothing is coerced, and what is returned is plain and immutable.
Not promised: that steps, roles, names and fields exist, or that it holds together: that is `lint`.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mbox.errors import Usage, did_you_mean, failure
from mbox.format import checks, fields, places
from mbox.format.parsing import Place, PlacedMapping, decoded, yaml_document
from mbox.system.given import read_plain

from . import expressions, templates, types
from .expressions import Expression, Mistake
from .parts import (
    ACTIONS,
    COMMON,
    DEEPEST,
    ITEMS,
    KINDS,
    MISSING,
    NEEDED,
    OF_EACH,
    PHASES,
    RETRY,
    ROLE,
    STEPS,
    TIMEOUTS,
    TOP,
    Command,
    CommandLine,
    Each,
    Faults,
    Input,
    Limits,
    Remark,
    Role,
    Rule,
    Step,
    Timeout,
    Visits,
    Workflow,
)  # fmt: skip
from .templates import Template
from .types import Type

__all__ = [
    "MISSING", "Command", "CommandLine", "Each", "Faults", "Input", "Limits", "Remark", "Role", "Rule", "Step", "Timeout",
    "Visits", "Workflow", "load", "reader",
]  # fmt: skip

LARGEST = 256 * 1024
"""Bytes of a file."""

ALL = 1024 * 1024
"""Characters of all files of a workflow together."""

Read = Callable[[str], str]
"""The text of a file that is named from the folder of the main one."""


def reader(path: str) -> tuple[str, Read]:
    """The file's own name, and a ``read`` for it and what it names: regular UTF-8 files of at most `LARGEST` bytes."""
    folder, file = os.path.split(path)

    def read(name: str) -> str:
        where = os.path.join(folder, name)
        try:
            return decoded(read_plain(where, LARGEST + 1), where, LARGEST)
        except OSError as error:
            raise Usage(f"{where}: {failure(error, where)}") from None
        except ValueError:
            raise Usage(f"{checks.on_one_line(where)}: no name of a file") from None

    return file, read


def load(file: str, read: Read) -> Workflow:
    """The workflow that ``file`` says; `Usage` and `Faults` as the module promises."""
    return _Loading(read).workflow(file, ())


class _Loading:
    """One workflow, and all that it calls."""

    def __init__(self, read: Read) -> None:
        self.ask = read
        self.texts: dict[str, str] = {}
        self.made: dict[str, Workflow] = {}

    def read(self, name: str) -> str:
        if name not in self.texts:
            try:
                self.texts[name] = self.ask(name)
            except LookupError:
                raise Usage(f"{checks.on_one_line(name)}: is not there") from None
            if sum(map(len, self.texts.values())) > ALL:
                raise Usage(f"{checks.on_one_line(name)}: with it the workflow's files are over {ALL >> 20} MiB: name less")
        return self.texts[name]

    def workflow(self, file: str, above: tuple[str, ...]) -> Workflow:
        if file not in self.made:
            text = self.read(file)
            if len(text) > LARGEST:
                raise Usage(f"{checks.on_one_line(file)}: over {LARGEST >> 10} KiB: split it")
            top, start = yaml_document(text, file, core=True, aliases="say it twice, or give it to both by an input")
            draft = _Draft(self, file, text, above)
            made = draft.workflow(top, start)
            if draft.faults:
                raise Faults(sorted(draft.faults))
            self.made[file] = made
        return self.made[file]


Check = Callable[[str, Any, Place], Any]


def _plain(check: fields.Check) -> Check:
    return lambda field, value, _place: check(field, value)


_label = _plain(fields.label)
_text = _plain(fields.text)
_count = _plain(fields.number(1, 1_000_000_000))
_flag = _plain(fields.flag)


def _seconds(field: str, value: Any, _place: Place | None = None) -> float:
    """A duration with its unit: ``90s 15m 2h 3d``."""
    if not isinstance(value, str) or not value[-1:].isalpha():
        raise Usage(f"{field} must be a duration such as 90s, 15m, 2h or 3d, not {checks.shown(value)}")
    return fields.duration(field, value)


def _money(field: str, value: Any, _place: Place) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise Usage(f"{field} must be a number of dollars, more than 0, not {checks.shown(value)}")
    return float(value)


def _name(field: str, value: Any, _place: Place | None = None) -> str:
    return types.name(field, value)


_command_words = fields.list_of(fields.text, 1, repeats=True, such="of words such as [make, test]")
_patterns = fields.list_of(fields.path, 1, such="of patterns such as [src/**], or an expression")


def _words(field: str, value: Any, _place: Place | None = None) -> tuple[str, ...]:
    found: tuple[str, ...] = fields.list_of(fields.label, 1)(field, value)
    return found


class _Draft:
    """One file while it is read: what is wrong is noted, and reading goes on."""

    def __init__(self, loading: _Loading, file: str, text: str, above: tuple[str, ...]) -> None:
        self.loading, self.file, self.above = loading, file, above
        self.lines = text.split("\n")
        self.faults: list[Remark] = []
        self.places: dict[str, Place] = {}
        self.calls: dict[str, Workflow] = {}
        self.prefix = ""

    # -- noting -----------------------------------------------------------------------------------------------------

    def fault(self, text: str, place: Place | None) -> None:
        where = place or Place(self.file, 1, 1)
        self.faults.append(Remark(where.file, where.line, where.column, "error", text))

    def noted(self, error: Usage, place: Place) -> None:
        if isinstance(error, Faults):
            self.faults += error.findings
        elif isinstance(error, fields.Misfit):
            self.fault(error.problem, error.place or place)
        else:
            self.fault(str(error), place)

    def take(self, holder: PlacedMapping, key: str, check: Check, otherwise: Any = None) -> Any:
        """What ``check`` makes of ``holder[key]``; ``otherwise`` where it is not there, or wrong."""
        if key not in holder:
            return otherwise
        place = holder.at[key]
        self.places[f"{self.prefix}{key}"] = place
        try:
            return check(key, holder[key], place)
        except Usage as error:
            self.noted(error, place)
            return otherwise

    def known(self, holder: PlacedMapping, known: Collection[str], mends: Mapping[str, str] | None = None) -> None:
        """Note each key that is not known."""
        for key in holder:
            if key not in known:
                mend = (mends or {}).get(key)
                self.fault(f"unknown key {checks.shown(key)}: {mend}" if mend else fields.unknown(key, known), holder.key_at[key])

    def mapping(self, field: str, value: Any, place: Place) -> PlacedMapping:
        if not isinstance(value, PlacedMapping):
            raise fields.Misfit(f"{field} must be a mapping, not {checks.shown(value)}", place)
        return value

    # -- texts with a grammar ---------------------------------------------------------------------------------------

    def expression(self, field: str, value: Any, place: Place) -> Expression:
        made: Expression = self.parsed(expressions.parse, field, value, place)
        return made

    def template(self, field: str, value: Any, place: Place) -> Template:
        made: Template = self.parsed(templates.parse, field, value, place)
        return made

    def parsed(self, parse: Callable[[str], Any], field: str, value: Any, place: Place) -> Any:
        text: str = fields.placed(field, value, fields.text, place)
        try:
            return parse(text)
        except Mistake as error:
            raise fields.Misfit(f"{field}: {error.problem}", spot(self.lines, place, text, error.line, error.column)) from None

    def named_file(self, name: str, place: Place | None) -> str:
        """The name of a file from the main file's folder on, which was named in this file."""
        if not name or name.startswith("/") or "\\" in name or not name.isprintable():
            raise fields.Misfit(f"{checks.shown(name)} must name a file from this one's folder on", place)
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.file), name))

    def content(self, name: str, place: Place | None) -> str:
        """The text of a file that was named in this file."""
        try:
            return self.loading.read(self.named_file(name, place))
        except Usage as error:
            raise error if isinstance(error, fields.Misfit) else fields.Misfit(str(error), place) from None

    def prose(self, field: str, value: Any, place: Place) -> str:
        """A text, or the file that ``@FILE`` names; ``@@`` is a literal @."""
        text = fields.text(field, value)
        if text.startswith("@@"):
            return text[1:]
        return self.content(text[1:], place) if text.startswith("@") else text

    def type(self, _field: str, value: Any, place: Place) -> Type:
        return types.parse(value, place, self.content)

    # -- the file ---------------------------------------------------------------------------------------------------

    def workflow(self, top: Any, start: Place) -> Workflow:
        if not isinstance(top, PlacedMapping):
            raise Faults([Remark(*start, "error", "a workflow is a mapping: version, name, steps, …")])
        self.known(top, TOP)
        for key in ("version", "name", "steps"):
            if key not in top:
                self.fault(f"{key} is missing", start)
        if top.get("version", 1) != 1 or isinstance(top.get("version"), bool | float):
            self.fault(f"version must be 1, not {checks.shown(top['version'])}", top.at["version"])
        steps = self.take(top, "steps", self.steps, {})
        on_failure = self.take(top, "on_failure", _name)
        made = Workflow(
            name=self.take(top, "name", self.title, ""), description=self.take(top, "description", _text, ""), file=self.file,
            inputs=self.take(top, "inputs", self.inputs, {}), roles=self.take(top, "roles", self.roles, {}),
            limits=self.take(top, "limits", self.limits, Limits()), worktree=self.take(top, "worktree", self.worktree, False),
            on_failure=on_failure, steps=steps, output=self.take(top, "output", self.results, {}), calls=self.calls,
            texts=self.loading.texts, places=self.places,
        )  # fmt: skip
        for name, step in steps.items():
            steps[name] = step._replace(visits=self.visits(made, step, top))
        return made

    def title(self, field: str, value: Any, _place: Place) -> str:
        if not places.is_name(value if isinstance(value, str) else ""):
            raise Usage(f"{field} must be a name such as review-loop, not {checks.shown(value)}")
        return str(value)

    def named(self, field: str, value: Any, place: Place, one: Callable[[str, Any, Place], Any]) -> dict[str, Any]:
        """A mapping of names to what ``one`` makes of the rest."""
        found = {}
        for key, inner in self.mapping(field, value, place).items():
            try:
                types.name("the name", key)
                self.places[f"{field}.{key}"] = value.key_at[key]
                self.prefix = f"{field}.{key}."
                found[key] = one(key, inner, value.at[key])
            except Usage as error:
                self.noted(error, value.key_at[key] if not types.is_name(key) else value.at[key])
        self.prefix = ""
        return found

    def results(self, field: str, value: Any, place: Place) -> dict[str, Expression]:
        def one(key: str, inner: Any, where: Place) -> Expression:
            self.places[f"output.{key}"] = where
            return self.expression(key, inner, where)

        return self.named(field, value, place, one)

    def worktree(self, field: str, value: Any, place: Place) -> bool | str:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str) or not value.strip():
            raise Usage(f"{field} must be true, false or a branch's name, not {checks.shown(value)}")
        return self.template(field, value, place).text

    def limits(self, field: str, value: Any, place: Place) -> Limits:
        holder = self.mapping(field, value, place)
        self.known(holder, Limits._fields)
        kinds: dict[str, Check] = {"dispatches": _count, "time": _seconds, "cost_usd": _money, "tokens": _count}
        return Limits(**{key: self.take(holder, key, check) for key, check in kinds.items()})

    def inputs(self, field: str, value: Any, place: Place) -> dict[str, Input]:
        return self.named(field, value, place, self.input)

    def input(self, name: str, value: Any, place: Place) -> Input:
        long = isinstance(value, PlacedMapping) and "type" in value and set(value) <= {"type", "default"}
        said, where = (value["type"], value.at["type"]) if long else (value, place)
        kind = types.parse(said, where, self.content, commands=True)
        if not long or "default" not in value:
            return Input(name, kind, MISSING, kind.kind == "command")
        try:
            types.check(kind.schema(), value["default"], "default")
        except Usage as error:
            raise fields.Misfit(str(error), value.at["default"]) from None
        return Input(name, kind, _bare(value["default"]), kind.kind == "command")

    def roles(self, field: str, value: Any, place: Place) -> dict[str, Role]:
        return self.named(field, value, place, self.role)

    def role(self, name: str, value: Any, place: Place) -> Role:
        holder = self.mapping(name, value, place)
        self.known(holder, ROLE)
        if ("phase" in holder) == ("hosts" in holder):
            self.fault(f"{name}: a role has a phase, or hosts: one of the two", holder.start)
        hosts = fields.list_of(fields.name("host"), 1)
        return Role(
            name=name, phase=self.take(holder, "phase", _plain(fields.choice(PHASES))),
            hosts=self.take(holder, "hosts", _plain(hosts), ()), family=self.take(holder, "family", self.family, ()),
            access=self.take(holder, "access", _plain(fields.choice(("read", "write"))), "write"),
            **{key: self.take(holder, key, self.prose, "") for key in ("persona", "policy", "knowledge")},
            capabilities=self.take(holder, "capabilities", _words, ()),
        )  # fmt: skip

    def family(self, field: str, value: Any, _place: Place) -> tuple[str, ...]:
        found = []
        for n, one in enumerate(value if isinstance(value, list) else [value]):
            said = re.fullmatch(r"not +([a-z][a-z0-9_]*)", one) if isinstance(one, str) else None
            if said is None:
                where = fields.place_in(value, n) if isinstance(value, list) else None
                raise fields.Misfit(f"{field} must be not ROLE, or a list of such, not {checks.shown(one)}", where)
            found.append(said[1])
        return tuple(found)

    # -- steps ------------------------------------------------------------------------------------------------------

    def steps(self, field: str, value: Any, place: Place) -> dict[str, Step]:
        found: dict[str, Step] = {}
        such = fields.plain_list(field, value, "of steps such as {id: build, run: make}", 1)
        if len(such) > STEPS:
            raise fields.Misfit(f"{field} has {len(such)} items: at most {STEPS}; call another file for a part", place)
        for n, one in enumerate(such):
            where = value.at[n]
            try:
                step = self.step(self.mapping("a step", one, where), where)
            except Usage as error:
                self.noted(error, where)
                continue
            finally:
                self.prefix = ""
            if step.id in found:
                self.fault(f"two steps are called {step.id}", one.at["id"])
            found.setdefault(step.id, step)
        return found

    def step(self, holder: PlacedMapping, place: Place) -> Step:
        if "id" not in holder:
            raise fields.Misfit("id is missing", place)
        name = fields.placed("id", holder["id"], types.name, holder.at["id"])
        kinds = [kind for kind in KINDS if kind in holder]
        if len(kinds) != 1:
            if kinds:
                raise fields.Misfit(f"{name}: is {' and '.join(kinds)}: a step is one", holder.key_at[kinds[1]])
            of_steps = {"id", *COMMON, *(key for keys in KINDS.values() for key in keys)}
            odd = next((key for key in holder if key not in of_steps and did_you_mean(key, [*KINDS])), None)
            if odd is not None:
                raise fields.Misfit(f"{name}: unknown key {checks.shown(odd)}{did_you_mean(odd, [*KINDS])}", holder.key_at[odd])
            raise fields.Misfit(f"{name}: what does it do? {' '.join(KINDS)}", place)
        (kind,) = kinds
        self.prefix = f"{name}."
        others = {key: f"is of {of}, this is {kind}" for of, keys in KINDS.items() for key in keys}
        self.known(holder, ("id", kind, *COMMON, *KINDS[kind]), others)
        own: dict[str, Any] = getattr(self, f"of_{kind}")(holder)
        each = self.take(holder, "each", self.each_of(holder))
        for key in OF_EACH:
            if key in holder and "each" not in holder:
                self.fault(f"{key}: is for a step with each", holder.key_at[key])
        if isinstance(times := holder.get("timeout"), PlacedMapping) and "heartbeat" in times and kind != "agent":
            self.fault(f"heartbeat: is of agent, this is {kind}", times.key_at["heartbeat"])
        return Step(
            name, kind, place.line, place.column, self.take(holder, "next", self.rules, ()), each,
            self.take(holder, "timeout", self.timeout, Timeout()), self.take(holder, "retry", self.retry, RETRY), **own,
        )  # fmt: skip

    def of_agent(self, holder: PlacedMapping) -> dict[str, Any]:
        if "prompt" not in holder:
            self.fault("prompt is missing", holder.start)
        return {
            "role": self.take(holder, "agent", self.worker(holder), ""), "prompt": self.take(holder, "prompt", self.template),
            "output": self.take(holder, "output", self.type), "gates": self.take(holder, "gates", self.gates, ()),
            "reserve": self.take(holder, "reserve", self.reserve, ()),
            "session": self.take(holder, "session", _plain(fields.choice(("new", "continue"))), "new"),
            "access": self.take(holder, "access", _plain(fields.choice(("read", "write")))),
        }  # fmt: skip

    def worker(self, holder: PlacedMapping) -> Check:
        def check(field: str, value: Any, place: Place) -> str | Template:
            text = fields.text(field, value)
            if "{" in text and "each" not in holder:
                raise Usage(f"{field}: a template only in a step with each; here a role, or a host")
            return self.template(field, text, place) if "{" in text else fields.name("role or host")(field, text)

        return check

    def of_run(self, holder: PlacedMapping) -> dict[str, Any]:
        if "probe" in holder and holder.get("idempotent") is True:
            self.fault("probe, or idempotent: true: not both", holder.key_at["probe"])
        return {
            "command": self.take(holder, "run", self.command, CommandLine("")), "output": self.take(holder, "output", self.type),
            "env": self.take(holder, "env", self.env, {}), "idempotent": self.take(holder, "idempotent", _flag, False),
            "probe": self.take(holder, "probe", self.command),
        }  # fmt: skip

    def of_ask(self, holder: PlacedMapping) -> dict[str, Any]:
        choices = self.take(holder, "choices", _words, ())
        default = self.take(holder, "default", _label)
        if default is not None and default not in choices:
            near = did_you_mean(default, [*choices])
            self.fault(f"default {checks.quoted(default)} is none of the choices{near}", holder.at["default"])
        to = self.take(holder, "to", _plain(fields.name("agent")))
        return {"text": self.take(holder, "ask", self.template), "choices": choices, "default": default, "to": to}

    def of_git(self, holder: PlacedMapping) -> dict[str, Any]:
        action = self.take(holder, "git", _plain(fields.choice(ACTIONS)), "")
        said = {key: self.take(holder, key, self.template) for key in KINDS["git"]}
        for key in KINDS["git"] if action else ():
            if key in holder and key not in ACTIONS[action]:
                self.fault(f"{key}: is not for git: {action}; that has {' '.join(ACTIONS[action])}", holder.key_at[key])
        if (needed := NEEDED.get(action)) and needed not in holder:
            self.fault(f"{needed} is missing: git: {action} needs it", holder.start)
        return {"action": action, **said}

    def of_send(self, holder: PlacedMapping) -> dict[str, Any]:
        for key in ("subject", "body"):
            if key not in holder:
                self.fault(f"{key} is missing", holder.start)
        said = {key: self.take(holder, key, self.template) for key in KINDS["send"]}
        return {"to": self.take(holder, "send", _plain(fields.name("agent"))), **said}

    def of_call(self, holder: PlacedMapping) -> dict[str, Any]:
        name = self.take(holder, "call", self.called, "")
        return {"file": name, "with_": self.take(holder, "with", self.with_, {})}

    def of_wait(self, holder: PlacedMapping) -> dict[str, Any]:
        return {"seconds": self.take(holder, "wait", _seconds, 0.0)}

    def called(self, field: str, value: Any, place: Place) -> str:
        name = self.named_file(fields.text(field, value), place)
        above = (*self.above, self.file)
        if name in above:
            raise Usage(f"{field}: a circle of calls: {' → '.join([*above[above.index(name) :], name])}")
        if len(above) > DEEPEST:
            raise Usage(f"{field}: {len(above)} calls below each other: at most {DEEPEST}")
        self.content(fields.text(field, value), place)
        self.calls[self.prefix[:-1]] = _Loading.workflow(self.loading, name, above)
        return name

    def with_(self, field: str, value: Any, place: Place) -> dict[str, Any]:
        def one(key: str, inner: Any, where: Place) -> Any:
            self.places[f"{outer}with.{key}"] = where
            return self.template(key, inner, where) if isinstance(inner, str) else _bare(inner)

        outer = self.prefix
        found = self.named(field, value, place, one)
        self.prefix = outer
        return found

    def env(self, field: str, value: Any, place: Place) -> dict[str, Template]:
        found = {}
        for key, inner in self.mapping(field, value, place).items():
            where = value.at[key]
            self.places[f"{self.prefix}env.{key}"] = where
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key) or key.startswith(("MBOX_", "INPUT_")) or key == "ITEM":
                raise fields.Misfit(f"{field}: {checks.shown(key)} is no name for a variable of yours", value.key_at[key])
            found[key] = self.template(key, inner, where)
        return found

    def command(self, field: str, value: Any, place: Place) -> CommandLine:
        if isinstance(value, str) and value.strip():
            return CommandLine(text=fields.text(field, value))
        if isinstance(value, list):
            return CommandLine(words=_command_words(field, value))
        if isinstance(value, PlacedMapping) and list(value) == ["input"] and types.is_name(value["input"]):
            return CommandLine(input=value["input"])
        right = f"{field} must be a command: a text, a list of words or {{input: NAME}}"
        raise fields.Misfit(f"{right}, not {checks.shown(value)}", place)

    def gates(self, field: str, value: Any, _place: Place) -> tuple[CommandLine, ...]:
        such = fields.plain_list(field, value, "of commands such as [make test] or [{input: tests}]", 1)
        for n, _ in enumerate(such):
            self.places[f"{self.prefix}gates[{n}]"] = value.at[n]
        return tuple(self.command("a gate", one, value.at[n]) for n, one in enumerate(such))

    def reserve(self, field: str, value: Any, place: Place) -> tuple[str, ...] | Expression:
        if isinstance(value, str):
            return self.expression(field, value, place)
        found: tuple[str, ...] = _patterns(field, value)
        from mbox.format import patterns

        patterns.check(found, False)
        return found

    def each_of(self, holder: PlacedMapping) -> Check:
        def check(field: str, value: Any, place: Place) -> Each:
            if isinstance(value, list):
                if not all(isinstance(one, str | int | float | bool) for one in value):
                    raise Usage(f"{field} must be an expression, or a list of words and numbers")
                items = expressions.literal(_bare(value), json.dumps(value, ensure_ascii=False))
            else:
                items = self.expression(field, value, place)
            need = self.take(holder, "need", self.need)
            parallel = self.take(holder, "parallel", _plain(fields.number(1, ITEMS)))
            most = self.take(holder, "max", _plain(fields.number(1, ITEMS)), 16)
            return Each(items, need, parallel, most, self.take(holder, "after", self.after))

        return check

    def need(self, field: str, value: Any, _place: Place) -> int | None:
        if value == "all":
            return None
        if type(value) is not int or not 0 <= value <= ITEMS:
            raise Usage(f"{field} must be all or a number from 0 to {ITEMS}, not {checks.shown(value)}")
        return value

    def after(self, field: str, value: Any, place: Place) -> str:
        said = expressions.path(self.expression(field, value, place).root)
        if not re.fullmatch(r"item\.[a-z][a-z0-9_]*", said):
            raise Usage(f"{field} must be item.FIELD, a list of ids, not {checks.shown(value)}")
        return said.removeprefix("item.")

    def rules(self, field: str, value: Any, place: Place) -> tuple[Rule, ...]:
        if isinstance(value, str):
            return (Rule(None, value, place.line),)
        such = fields.plain_list(field, value, "of rules such as [{when: …, go: STEP}, {else: STEP}], or a step", 1)
        rules = [self.rule(n, one, value.at[n]) for n, one in enumerate(such)]
        for n, rule in enumerate(rules[:-1]):
            if rule.when is None and "else" in such[n]:
                raise fields.Misfit("else stands last: the rules below it are never asked", value.at[n])
        if isinstance(such[-1], dict) and "else" not in such[-1]:
            self.fault("else is missing: where does it go if no rule is true?", place)
        return tuple(rules)

    def rule(self, n: int, value: Any, place: Place) -> Rule:
        holder = self.mapping("a rule", value, place)
        self.known(holder, ("when", "go", "else"))
        if "else" in holder:
            if "when" in holder or "go" in holder:
                self.fault("else has its target with it, and no when or go", holder.start)
            self.places[f"{self.prefix}next[{n}].go"] = holder.at["else"]
            return Rule(None, self.target(holder, "else"), place.line)
        for key in ("when", "go"):
            if key not in holder and set(holder) <= {"when", "go"}:
                raise fields.Misfit(f"{key} is missing: a rule is {{when: …, go: STEP}} or {{else: STEP}}", place)
        if "when" not in holder or "go" not in holder:
            return Rule(None, "", place.line)  # an unknown key stands in its place, and was noted
        self.places[f"{self.prefix}next[{n}].when"] = holder.at["when"]
        self.places[f"{self.prefix}next[{n}].go"] = holder.at["go"]
        return Rule(self.expression("when", holder["when"], holder.at["when"]), self.target(holder, "go"), place.line)

    def target(self, holder: PlacedMapping, key: str) -> str:
        found: str = fields.placed(key, holder[key], fields.plain_text, holder.at[key])
        return found

    def timeout(self, field: str, value: Any, _place: Place) -> Timeout:
        if not isinstance(value, PlacedMapping):
            return Timeout(start_to_close=_seconds(field, value))
        self.known(value, TIMEOUTS)
        return Timeout(**{key: self.take(value, key, _seconds) for key in TIMEOUTS})

    def retry(self, field: str, value: Any, place: Place) -> dict[str, int]:
        holder = self.mapping(field, value, place)
        self.known(holder, RETRY)
        check = _plain(fields.number(0, 100))
        return {key: self.take(holder, key, check, most) for key, most in RETRY.items()}

    def visits(self, made: Workflow, step: Step, top: PlacedMapping) -> Visits:
        """What a step says of its visits, and what it has without."""
        holder: Any = next(one for one in top["steps"] if isinstance(one, dict) and one.get("id") == step.id)
        cyclic = made.on_cycle(step.id)
        usual = Visits(3, 5, 8) if step.kind == "agent" else Visits(stop=8)
        if "visits" not in holder:
            return usual if cyclic else Visits()
        said = holder["visits"]
        if said is False:
            if cyclic:
                self.fault(f"visits: false on a cycle: {step.id} would be visited without end", holder.at["visits"])
            return Visits()
        if not isinstance(said, PlacedMapping):
            right = "visits must be false or {stronger: 3, ask: 5, stop: 8}"
            self.fault(f"{right}, not {checks.shown(said)}", holder.at["visits"])
            return usual if cyclic else Visits()
        known = Visits._fields if step.kind == "agent" else ("stop",)
        self.known(said, known, dict.fromkeys(("stronger", "ask"), "is for agents"))
        found = {key: self.take(said, key, self.visit, getattr(usual, key)) for key in Visits._fields}
        if found["stop"] is None:
            self.fault("stop: false: a step has a last visit", said.at["stop"])
        return Visits(**found)

    def visit(self, field: str, value: Any, _place: Place) -> int | None:
        if value is False:
            return None
        if type(value) is not int or not 1 <= value <= ITEMS:
            raise Usage(f"{field} must be false or a number from 1 to {ITEMS}, not {checks.shown(value)}")
        return value


def spot(lines: list[str], place: Place, text: str, line: int, column: int) -> Place:
    """Where ``line`` and ``column`` of ``text``, which stands at ``place``, are in the file; ``place`` if that cannot be told."""
    wanted = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    here = lines[place.line - 1] if place.line <= len(lines) else ""
    if here[place.column - 1 : place.column] in ("|", ">"):
        at = place.line + line
        found = lines[at - 1].find(wanted) if wanted and at <= len(lines) else -1
        return Place(place.file, at, found + column) if found >= 0 else place
    start = place.column + (here[place.column - 1 : place.column] in ("'", '"'))
    return Place(place.file, place.line, start + column - 1) if line == 1 and here.startswith(wanted, start - 1) else place


def _bare(value: Any) -> Any:
    """Plain dicts and lists of what YAML gave."""
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in value.items()}
    return [_bare(one) for one in value] if isinstance(value, list) else value
