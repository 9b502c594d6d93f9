"""Whether a workflow holds: everything that can be known of it without running it.  Pure functions.

Promised: `lint` never raises for what stands in files, and tells each fault once, by file, line and column.  What has no
error here runs without an error of the language: every target, role, name and field is there, every rule is true or false, and
every template can be rendered, whatever agents and commands answer within their types.  Not promised: that nothing becomes
too much (`templates.MOST`, `expressions.STEPS`), or that the run gets anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

from mbox.errors import Usage, did_you_mean
from mbox.format import checks
from mbox.format.parsing import Place
from mbox.hosts import programs
from mbox.hosts.ladder import Ladders

from . import templates, types
from .definition import load, reader, spot
from .expressions import Expression
from .flow import Flow, mentions, sees_exit
from .inference import BOOLEAN, INTEGER, NULL, TEXT, Inference, called, comparable, record
from .parts import ENDS, KINDS_OF_FAILURE, MISSING, USER, CommandLine, Faults, Input, Remark, Role, Step, Workflow
from .templates import Read, Template
from .types import ANY, Type

Finding = Remark
"""As it is called outside."""

Families = Callable[[Role], frozenset[str] | None]
"""The families that the models of a role's hosts may be of; None where one is not known."""

KIND = Type("words", words=KINDS_OF_FAILURE)
FAILURE = record(step=TEXT, kind=KIND, detail=TEXT)
GIT = record(base=TEXT, head=TEXT, changed=Type("list", items=TEXT), commits=Type("list", items=TEXT))
_TEMPLATE = re.compile(r"\{\{-?\s*(inputs|steps|output|git|item|visits|failure|failed|exit|stuck)\b|\{%-?\s*(if|for|raw|set)\b")


def lint(file: str, read: Callable[[str], str], families: Families, own: Collection[str] = ()) -> list[Remark]:
    """What is to be said of the workflow in ``file`` and of those it calls, by place.

    ``own`` are the hosts that the person's ``hosts.yaml`` describes, beside those that are known anyway.
    """
    try:
        workflow = load(file, read)
    except Faults as error:
        return sorted(error.findings)
    except Usage as error:
        where = re.match(r"(?s)(?P<file>.*?):(?P<line>\d+):(?P<column>\d+): (?P<text>.*)", str(error))
        found = Remark(where["file"], int(where["line"]), int(where["column"]), "error", where["text"]) if where else None
        return [found or Remark(file, 1, 1, "error", str(error))]
    return of(workflow, families, own)


def remarks(path: str, known: Ladders) -> list[Remark]:
    """`lint` of a file on disk, by what the person's ``hosts.yaml`` says."""
    return lint(*reader(path), lambda role: known.families(role.phase, role.hosts), known.hosts)


def of(workflow: Workflow, families: Families, own: Collection[str] = ()) -> list[Remark]:
    """`lint` of what was loaded."""
    found, seen = list[Remark](), set[str]()
    queue = [workflow]
    for one in queue:  # grows while it is read
        if one.file not in seen:
            seen.add(one.file)
            found += _Lint(one, families, one is workflow, own).remarks()
            queue += one.calls.values()
    return sorted(set(found))


# -- types of what is there ------------------------------------------------------------------------------------------


def output_type(workflow: Workflow, step: Step) -> Type:
    """The type of a step's output, if it did not fail."""
    one = _of_one(workflow, step)
    if step.each is None:
        return one._replace(nullable=True) if sees_exit(step) else one
    shape = record(item=ANY, ok=BOOLEAN, output=one._replace(nullable=True), failed=KIND._replace(nullable=True))
    return Type("list", items=shape)


def _of_one(workflow: Workflow, step: Step) -> Type:
    if step.kind in ("agent", "run"):
        return step.output or NULL
    if step.kind == "ask":
        choice = Type("words", words=step.choices) if step.choices else TEXT._replace(nullable=True)
        return record(choice=choice, text=TEXT)
    if step.kind == "git":
        return {"commit": record(commit=TEXT._replace(nullable=True)), "pull-request": record(url=TEXT, number=INTEGER)}.get(
            step.action, record(branch=TEXT)
        )
    if step.kind == "call" and step.id in workflow.calls:
        inner = workflow.calls[step.id]
        scope = Scope(inner, Flow(inner))
        names = scope.at("succeeded")
        return record(**{name: Inference(names, _deaf).of(one.root) for name, one in inner.output.items()})
    return NULL


def _deaf(_text: str, _line: int, _column: int) -> None:
    pass


class Scope:
    """What names stand for, by where a run is."""

    def __init__(self, workflow: Workflow, flow: Flow) -> None:
        self.workflow, self.flow = workflow, flow
        self.inputs = record(**{name: one.type for name, one in workflow.inputs.items()})
        self.outputs = {name: output_type(workflow, step) for name, step in workflow.steps.items()}

    def at(self, at: str) -> dict[str, Type]:
        """The names where a run comes to ``at``, a step or an end."""
        steps = {name: self.ran(name, self.flow.has_run(name, at), self.flow.was_fine(name, at)) for name in self.workflow.steps}
        failure = FAILURE._replace(nullable=not self.flow.has_failure(at))
        found = {"inputs": self.inputs, "steps": record(**steps), "git": GIT, "failure": failure}
        return found | ({"visits": INTEGER, "stuck": BOOLEAN} if at in self.workflow.steps else {})

    def ran(self, name: str, surely: bool, fine: bool) -> Type:
        output = self.outputs[name]
        step = self.workflow.steps[name]
        status = Type("integer", nullable=not fine or step.kind != "run" or step.each is not None)
        fields = record(
            output=output._replace(nullable=output.nullable or not fine), exit=status,
            failed=KIND._replace(nullable=True), visits=INTEGER,
        )  # fmt: skip
        return fields._replace(nullable=not surely)

    def before(self, step: Step, names: dict[str, Type]) -> dict[str, Type]:
        """The names for what is evaluated before the step's work, item by item under ``each``."""
        if step.each is None:
            return names
        items = Inference(names, _deaf).of(step.each.items.root)
        item = (items.items or ANY) if items.kind == "list" else ANY
        return {**names, "item": item}

    def after(self, step: Step, names: dict[str, Type], with_failure: bool) -> dict[str, Type]:
        """The names for a rule, which is asked after the step's work."""
        output = self.outputs[step.id]
        steps = dict(names["steps"].fields)
        steps[step.id] = self.ran(step.id, True, not with_failure)
        status = Type("integer", nullable=step.kind != "run" or with_failure or step.each is not None)
        own = {"output": output._replace(nullable=output.nullable or with_failure), "exit": status}
        return {**names, "steps": record(**steps), **own, "failed": KIND._replace(nullable=True)}


# -- one file --------------------------------------------------------------------------------------------------------


class _Lint:  # a check a method: what it says stands beside what it looks for
    """The remarks on one file."""

    def __init__(self, workflow: Workflow, families: Families, is_main: bool, own: Collection[str] = ()) -> None:
        self.workflow, self.families, self.is_main = workflow, families, is_main
        self.hosts = [*own, *programs.load()]
        self.lines = workflow.texts[workflow.file].split("\n")
        self.flow = Flow(workflow)
        self.scope = Scope(workflow, self.flow)
        self.found: list[Remark] = []

    def remarks(self) -> list[Remark]:
        self.roles()
        self.ways()
        self.whole()
        for step in self.workflow.steps.values():
            self.step(step)
        self.reviewers()
        return self.found

    def say(self, text: str, place: Place, level: str = "error") -> None:
        self.found.append(Remark(*place, level, text))

    def place(self, *keys: str) -> Place:
        """Where the first of ``keys`` that is known stands."""
        known = self.workflow.places
        return next((known[key] for key in keys if key in known), Place(self.workflow.file, 1, 1))

    def start_of(self, step: Step) -> Place:
        return Place(self.workflow.file, step.line, step.column)

    # -- names and ways ---------------------------------------------------------------------------------------------

    def roles(self) -> None:
        for role in self.workflow.roles.values():
            for other in role.family:
                place = self.place(f"roles.{role.name}.family")
                if other == role.name:
                    self.say(f"family: {role.name} is of its own family", place)
                elif other not in self.workflow.roles and other != USER:
                    self.say(f"family: no role {other}{did_you_mean(other, [*self.workflow.roles, USER])}", place)
            for host in role.hosts:
                if host not in self.hosts:
                    near = did_you_mean(host, self.hosts)
                    self.say(f"host {host} is not known{near}", self.place(f"roles.{role.name}.hosts"))

    def ways(self) -> None:
        steps = self.workflow.steps
        targets = [*steps, *ENDS]
        for step in steps.values():
            for n, rule in enumerate(step.next):
                if rule.go not in targets:
                    near = did_you_mean(rule.go, targets) or f"; there are {', '.join(targets[:12])}"
                    self.say(f"no step {checks.quoted(rule.go)}{near}", self.place(f"{step.id}.next[{n}].go", f"{step.id}.next"))
        failing = self.workflow.on_failure
        if failing is not None and failing not in steps:
            self.say(f"on_failure: no step {failing}{did_you_mean(failing, [*steps])}", self.place("on_failure"))
        if self.found:  # where a name is wrong, what it leads to is not known
            return
        for step in steps.values():
            if step.id not in self.flow.reachable:
                self.say(f"nothing leads to {step.id}", self.start_of(step))
        if "succeeded" not in self.flow.reachable:
            self.say("nothing leads to succeeded: no run of this can succeed", self.place("name"), "warning")

    def whole(self) -> None:
        """What is of no step: output, worktree, cycles without limits, commands that are defaults."""
        for name, one in self.workflow.output.items():
            self.expression(one, self.scope.at("succeeded"), self.place(f"output.{name}"))
        if isinstance(self.workflow.worktree, str):
            self.template(templates.parse(self.workflow.worktree), {"inputs": self.scope.inputs}, self.place("worktree"))
        cyclic = [step for step in self.workflow.steps.values() if self.workflow.on_cycle(step.id)]
        if self.is_main and cyclic and not any(value is not None for value in self.workflow.limits):
            self.say(f"a cycle, and no limits: say limits: {{dispatches: 30}} or the like ({cyclic[0].id} is on it)",
                     self.start_of(cyclic[0]))  # fmt: skip
        for given in self.workflow.inputs.values():
            if given.is_command and given.default is not MISSING:
                self.plain(str(given.default), self.place(f"inputs.{given.name}"))

    # -- steps ------------------------------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        outer = self.scope.at(step.id)
        names = self.scope.before(step, outer)
        if step.each is not None:
            self.each(step, outer, names)
        for key, template in self.templates_of(step):
            self.template(template, names, self.place(f"{step.id}.{key}"))
        if isinstance(step.reserve, Expression):
            self.reserve(step, step.reserve, names)
        else:
            self.patterns(step, step.reserve, names)
        for key, command in self.commands_of(step):
            self.command(command, self.place(f"{step.id}.{key}"))
        if step.kind == "agent" and isinstance(step.role, str):
            self.worker(step, step.role)
        if step.kind == "call" and step.id in self.workflow.calls:
            self.call(step, names)
        for n, rule in enumerate(step.next):
            if rule.when is not None:
                with_failure = mentions(rule.when, "failed")
                self.rule(rule.when, self.scope.after(step, outer, with_failure), self.place(f"{step.id}.next[{n}].when"))
        self.writers(step)

    def templates_of(self, step: Step) -> Iterator[tuple[str, Template]]:
        named = {"prompt": step.prompt, "ask": step.text, "message": step.message, "branch": step.branch, "title": step.title,
                 "body": step.body, "base": step.base, "subject": step.subject, "thread": step.thread}  # fmt: skip
        if isinstance(step.role, Template):
            named["agent"] = step.role
        yield from ((key, one) for key, one in named.items() if one is not None)
        yield from ((f"env.{key}", one) for key, one in step.env.items())

    def commands_of(self, step: Step) -> Iterator[tuple[str, CommandLine]]:
        if step.command is not None:
            yield "run", step.command
        if step.probe is not None:
            yield "probe", step.probe
        yield from ((f"gates[{n}]", one) for n, one in enumerate(step.gates))

    def command(self, command: CommandLine, place: Place) -> None:
        for text in (command.text or "", *(command.words or ())):
            self.plain(text, place)
        if command.input is None:
            return
        found = self.workflow.inputs.get(command.input)
        if found is None:
            near = did_you_mean(command.input, [*self.workflow.inputs])
            self.say(f"no input {command.input}{near}", place)
        elif not found.is_command:
            self.say(f"input {command.input} is {called(found.type)}: declare it as command", place)

    def plain(self, text: str, place: Place) -> None:
        if found := _TEMPLATE.search(text):
            self.say(f"no template in a command ({found[0]} …): values come as $INPUT_NAME, by env and on stdin", place)

    def worker(self, step: Step, name: str) -> None:
        known = [*self.workflow.roles, *self.hosts]
        if name not in known:
            self.say(f"no role {name}, and no host{did_you_mean(name, known)}", self.place(f"{step.id}.agent"))

    def each(self, step: Step, outer: dict[str, Type], names: dict[str, Type]) -> None:
        each, place = step.each, self.place(f"{step.id}.each")
        assert each is not None
        before = len(self.found)
        kind = self.expression(each.items, outer, place)
        if len(self.found) > before:
            return
        if kind.kind != "list":
            anything = "anything: declare its type" if kind.kind == "any" else f"{called(kind)}, no list"
            self.say(f"each needs a list, and {checks.quoted(each.items.text)} is {anything}", place)
        elif kind.nullable:
            self.say(f"each needs a list, and {each.items.text} may be null here", place)
        if each.items.root.op == "list":
            count = len(each.items.root.parts)
            if count > each.max:
                self.say(f"{count} items, and max is {each.max}", place)
            if each.need is not None and each.need > count:
                self.say(f"need: {each.need} of {count} items", self.place(f"{step.id}.need"))
        if each.after is not None:
            self.after(step, each.after, names["item"])

    def after(self, step: Step, field: str, item: Type) -> None:
        place = self.place(f"{step.id}.after")
        if item.kind not in ("record", "any"):
            self.say(f"after: an item is {called(item)}: it has no id, and no {field}", place)
            return
        for name, right in (("id", "text"), (field, "a list of ids")):
            found = ANY if item.kind == "any" else item.field(name)
            if found is None:
                known = [one for one, _ in item.fields]
                self.say(f"after: an item has no field {name}{did_you_mean(name, known)}", place)
            elif called(found) != "text" if name == "id" else not (found.kind == "list" and called(found.items or ANY) == "text"):
                self.say(f"after: item.{name} is {called(found)}: {right} is needed", place)

    def reserve(self, step: Step, reserve: Expression, names: dict[str, Type]) -> None:
        place = self.place(f"{step.id}.reserve")
        before = len(self.found)
        kind = self.expression(reserve, names, place)
        right = kind.kind == "list" and called(kind.items or ANY) == "text" and not kind.nullable
        if not right and len(self.found) == before:
            of = f" of {called(kind.items or ANY)}" if kind.kind == "list" else ""
            null = " that may be null" if kind.kind == "list" and kind.nullable else ""
            self.say(f"reserve needs a list of patterns, and {checks.quoted(reserve.text)} is {called(kind)}{of}{null}", place)

    def patterns(self, step: Step, reserve: Sequence[str], names: dict[str, Type]) -> None:
        """A pattern that is the name of a value: it stands for itself."""
        for text in reserve:
            head, _, name = text.partition(".")
            item = names.get("item", ANY)
            known = {"item": item.kind == "record" and item.field(name) is not None, "inputs": name in self.workflow.inputs}
            if (text == "item" and step.each) or known.get(head):
                mend = f"""the value is reserve: "[{text}]\""""
                self.say(f"{text} is a pattern here, for files of that name: {mend}", self.place(f"{step.id}.reserve"), "warning")

    def writers(self, step: Step) -> None:
        """Several agents that write at once in one tree, and nothing keeps them apart."""
        role = self.workflow.roles.get(step.role) if isinstance(step.role, str) else None
        access = step.access or (role.access if role else "write")
        if step.kind == "agent" and step.each and step.each.parallel != 1 and access == "write" and not step.reserve:
            self.say(f"{step.id}: several writers in one tree: reserve: item.FIELD, parallel: 1 or access: read",
                     self.place(f"{step.id}.each"), "warning")  # fmt: skip

    # -- calls ------------------------------------------------------------------------------------------------------

    def call(self, step: Step, names: dict[str, Type]) -> None:
        inner = self.workflow.calls[step.id]
        place = self.place(f"{step.id}.with", f"{step.id}.call")
        for name in step.with_:
            if name not in inner.inputs:
                near = did_you_mean(name, [*inner.inputs]) or f"; it has {', '.join(inner.inputs) or 'none'}"
                self.say(f"{step.file} has no input {name}{near}", self.place(f"{step.id}.with.{name}"))
        for name, one in inner.inputs.items():
            if name in step.with_:
                self.given(step, one, names)
            elif one.default is MISSING:
                self.say(f"{step.file} needs input {name}: say it under with", place)

    def given(self, step: Step, wanted: Input, names: dict[str, Type]) -> None:
        """Whether what ``with`` says fits an input of the called workflow."""
        value, place = step.with_[wanted.name], self.place(f"{step.id}.with.{wanted.name}")
        if not isinstance(value, Template) or value.is_plain:
            try:
                types.check(wanted.type.schema(), value.text if isinstance(value, Template) else value, wanted.name)
            except Usage as error:
                self.say(str(error), place)
            return
        before = len(self.found)
        kinds = self.template(value, names, place)
        if len(self.found) > before:
            return
        kind = kinds[0] if value.is_value and len(kinds) == 1 and re.fullmatch(r"\{\{-?\s*[\w.]+\s*-?\}\}", value.text) else None
        if wanted.is_command and (kind is None or kind.kind != "command"):
            self.say(f"input {wanted.name} is a command: only a literal, or an input that is one, alone", place)
        elif kind is None and called(wanted.type) not in ("text", "anything") and not value.is_value:
            self.say(f"input {wanted.name} is {called(wanted.type)}, and this is text", place)
        elif kind is not None and not fits(kind, wanted.type):
            null = " that may be null" if kind.nullable else ""
            self.say(f"input {wanted.name} is {called(wanted.type)}, and this is {called(kind)}{null}", place)

    # -- texts ------------------------------------------------------------------------------------------------------

    def expression(self, expression: Expression, names: dict[str, Type], place: Place) -> Type:
        return Inference(names, self.teller(expression.text, place)).of(expression.root)

    def rule(self, when: Expression, names: dict[str, Type], place: Place) -> None:
        Inference(names, self.teller(when.text, place)).boolean(when.root, "a rule")

    def template(self, template: Template, names: dict[str, Type], place: Place) -> list[Type]:
        """The types of all that a template reads."""
        found = []
        for read in template.reads:
            column = _column(template.text, read)

            def tell(text: str, line: int, _column: int, at: int = column) -> None:
                self.say(text, spot(self.lines, place, template.text, line, at))

            found.append(Inference(names, tell).read(read))
        return found

    def teller(self, text: str, place: Place) -> Callable[[str, int, int], None]:
        return lambda problem, line, column: self.say(problem, spot(self.lines, place, text, line, column))

    # -- who looks at whose work ------------------------------------------------------------------------------------

    def reviewers(self) -> None:
        """Reviewers that may be of the family of those whose work they look at."""
        roles = self.workflow.roles
        at_work = {step.role for step in self.workflow.steps.values() if isinstance(step.role, str)} & roles.keys()
        writing = [one for name, one in sorted(roles.items()) if name in at_work and one.access == "write"]
        writers = [one for one in writing if one.phase != "review"]
        for name in sorted(at_work):
            looks = roles[name].phase == "review"
            others = [one for one in writers if one.name != name and (looks or one.name in roles[name].family)]
            problem = next(filter(None, (self.too_near(roles[name], one) for one in others)), "")
            if problem:
                self.say(problem, self.place(f"roles.{name}.family", f"roles.{name}"), "warning")

    def too_near(self, reviewer: Role, writer: Role) -> str:
        mine, theirs = self.families(reviewer), self.families(writer)
        if mine is None or theirs is None:
            unknown = (reviewer if mine is None else writer).name
            return f"{reviewer.name} looks at the work of {writer.name}, and the family of {unknown} is not known (hosts.yaml)"
        if writer.name not in reviewer.family and mine & theirs:
            return f"{reviewer.name} may be of the family of {writer.name}, whose work it looks at: family: not {writer.name}"
        if writer.name in reviewer.family and len(mine | theirs) == 1:
            return f"{reviewer.name} is to be of another family than {writer.name}, and both can only be of {min(mine)}"
        return ""


def _column(text: str, read: Read) -> int:
    """The column of a reading in its line; 1 where it is not spelled as its path."""
    line = text.split("\n")[read.line - 1] if read.line <= text.count("\n") + 1 else ""
    steps = read.said().split(".")
    found = (line.find(".".join(steps[:end])) for end in range(len(steps), 0, -1))
    return next((at for at in found if at >= 0), 0) + 1


def fits(kind: Type, wanted: Type) -> bool:
    """Whether every value of ``kind`` is one of ``wanted``, as far as plain types tell."""
    if wanted.kind == "any":
        return True
    if kind.nullable and not wanted.nullable:
        return False
    if wanted.kind == "words":
        return kind.kind == "words" and set(kind.words) <= set(wanted.words)
    if wanted.kind == "list" and kind.kind == "list":
        return fits(kind.items or ANY, wanted.items or ANY)
    if wanted.kind == "record" and kind.kind == "record":
        theirs = dict(kind.fields)
        return theirs.keys() == dict(wanted.fields).keys() and all(fits(theirs[name], one) for name, one in wanted.fields)
    return comparable(kind, wanted) and kind.kind not in ("any", "null") and (kind.kind, wanted.kind) != ("number", "integer")
