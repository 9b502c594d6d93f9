"""Lint: a table of files with the one thing that is wrong in each, and where; and that nothing else is."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CHECKOUT
from flows import BASE, FILE, STEPS, everybody, linted, loaded
from mbox.errors import Usage
from mbox.hosts.ladder import Ladders
from mbox.workflow import parts
from mbox.workflow.definition import Faults, load, reader
from mbox.workflow.lint import lint
from mbox.workflow.parts import Remark, Role

CALLED = """\
version: 1
name: called
inputs: {goal: string, tests: command, level: {type: low | high, default: low}, n: {type: integer, default: 1}}
steps: [{id: a, run: make, output: {sum: integer}}]
output: {sum: steps.a.output.sum, twice: inputs.goal}
"""


def by_programs(role: Role) -> frozenset[str] | None:
    """The families of a role by what is known of the programs alone."""
    return Ladders({}, {}).families(role.phase, role.hosts)


def errors(text: str, **more: str) -> list[tuple[int, int, str]]:
    """Line, column and text of what lint says; lines count from the first behind the head that all share."""
    head = BASE.count("\n") if text.startswith(BASE) else 0
    found = linted(text, {"called.yaml": CALLED, **more})
    return [(one.line - head if one.file == FILE else one.line, one.column, f"{one.level}: {one.text}") for one in found]


def test_what_holds_has_nothing() -> None:
    """The head and the steps that the table below changes, as they are."""
    assert errors(BASE + STEPS) == []


def steps(**change: str) -> str:
    """The file with what is added to, or replaced in, its steps; ``work`` and ``last`` are lines of these steps."""
    text = STEPS
    for key, lines in change.items():
        at = "  - id: last\n" if key == "work" else ""
        added = "".join(f"    {line}\n" for line in lines.split("\n"))
        text = text.replace(at, added + at) if at else text + added
    return BASE + text


def work(lines: str) -> str:
    """With more keys of the agent's step, from line 5 on."""
    return steps(work=lines)


def last(lines: str) -> str:
    """With more keys of the last step, from line 7 on."""
    return steps(last=lines)


def more(lines: str) -> str:
    """With more steps, from line 7 on."""
    return BASE + STEPS + "".join(f"  {line}\n" for line in lines.split("\n"))


def rule(when: str) -> str:
    """With a rule of the agent's step, at 6:13."""
    return work(f"next:\n  - when: {when}\n    go: last\n  - else: last")


def prompt(text: str) -> str:
    """With another prompt, whose text begins at 3:14."""
    return BASE + STEPS.replace("{{ inputs.goal }}", text)


ROWS: list[tuple[str, str, tuple[int, int, str]]] = [
    # shape
    ("key", work("promt: x"), (5, 5, "error: unknown key 'promt'; did you mean prompt?")),
    ("foreign key", work("env: {A: b}"), (5, 5, "error: unknown key 'env': is of run, this is agent")),
    ("two kinds", work("run: make"), (5, 5, "error: work: is agent and run: a step is one")),
    ("no kind", more("- id: odd"), (7, 5, "error: odd: what does it do?")),
    ("no id", more("- run: make"), (7, 5, "error: id is missing")),
    ("bad id", more("- {id: Two-Words, run: make}"), (7, 10, "error: id must be small letters")),
    ("keyword", more("- {id: class, run: make}"), (7, 10, "error: id class is a word with a meaning")),
    ("an end as id", more("- {id: failed, run: make}"), (7, 10, "error: id failed is a word with a meaning")),
    ("id twice", more("- {id: last, run: make}"), (7, 10, "error: two steps are called last")),
    ("no prompt", more("- {id: x, agent: coder}"), (7, 5, "error: prompt is missing")),
    ("not text", more("- {id: x, agent: coder, prompt: 3}"), (7, 35, "error: prompt must be text, not 3: write it in quotes")),
    ("session", work("session: old"), (5, 14, "error: session must be new or continue, not 'old'")),
    ("retry key", work("retry: {gates: 1}"), (5, 13, "error: unknown key 'gates'; did you mean gate?")),
    ("retry value", work("retry: {gate: many}"), (5, 19, "error: gate must be a number from 0 to 100")),
    ("timeout", work("timeout: 30"), (5, 14, "error: timeout must be a duration such as 90s")),
    ("heartbeat", more("- {id: x, run: make, timeout: {heartbeat: 5m}}"), (7, 34, "error: heartbeat: is of agent, this is run")),
    ("timeout key", work("timeout: {close: 3m}"), (5, 15, "error: unknown key 'close'")),
    ("visits", work("visits: 3"), (5, 13, "error: visits must be false or {stronger: 3")),
    ("stop", work("visits: {stop: false}"), (5, 20, "error: stop: false: a step has a last visit")),
    ("stronger of run", last("visits: {stronger: 2}"), (7, 14, "error: unknown key 'stronger': is for agents")),
    ("output", last("output: strng"), (7, 13, "error: 'strng' is no type; did you mean string?")),
    ("type and field", last("output: {a: {b: int}}"), (7, 21, "error: 'int' is no type; did you mean")),
    ("command type", last("output: command"), (7, 13, "error: command is the type of an input alone")),
    ("probe and idempotent", last("probe: make x\nidempotent: true"), (7, 5, "error: probe, or idempotent: true: not both")),
    ("env name", last("env: {INPUT_GOAL: x}"), (7, 11, "error: env: 'INPUT_GOAL' is no name for a variable of yours")),
    ("gate", work("gates: make"), (5, 12, "error: gates must be a list of commands")),
    ("gate inside", work("gates: [{inptu: tests}]"), (5, 13, "error: a gate must be a command")),
    ("reserve", work("reserve: []"), (5, 14, "error: reserve must be a list of patterns")),
    ("pattern", work("reserve: ['src/{a']"), (5, 14, "error: pattern src/{a: '{' without '}'")),
    ("git action", more("- {id: x, git: rebase}"), (7, 18,
     "error: git must be commit or push or branch or pull-request, not 'rebase'")),
    ("git key", more("- {id: x, git: push, message: m}"), (7, 24, "error: message: is not for git: push")),
    ("git needs", more("- {id: x, git: commit}"), (7, 5, "error: message is missing: git: commit needs it")),
    ("send needs", more("- {id: x, send: user, subject: s}"), (7, 5, "error: body is missing")),
    ("choice", more("- {id: x, ask: q, choices: [go, stop], default: halt}"), (7, 51,
     "error: default 'halt' is none of the choices")),
    ("wait", more("- {id: x, wait: soon}"), (7, 19, "error: wait must be a duration")),
    ("need alone", last("need: 2"), (7, 5, "error: need: is for a step with each")),
    ("need", last("each: inputs.names\nneed: most"), (8, 11, "error: need must be all or a number")),
    ("after", last("each: inputs.names\nafter: item"), (8, 12, "error: after must be item.FIELD")),
    ("each", last("each: [[a]]"), (7, 11, "error: each must be an expression, or a list of words and numbers")),
    ("else missing", work("next: [{when: output.ok, go: last}]"), (5, 11, "error: else is missing")),
    ("else first", work("next: [{else: last}, {when: output.ok, go: last}, {else: last}]"), (5, 12, "error: else stands last")),
    ("else and when", work("next: [{when: output.ok, else: last}]"), (5, 12, "error: else has its target with it")),
    ("go missing", work("next: [{when: output.ok}, {else: last}]"), (5, 12, "error: go is missing")),
    ("rule key", work("next: [{if: output.ok, go: last}, {else: last}]"), (5, 13, "error: unknown key 'if'")),
    # the top
    ("version", "version: 2\nname: x\nsteps: [{id: a, run: make}]\n", (1, 10, "error: version must be 1, not 2")),
    ("version as text", "version: '1'\nname: x\nsteps: [{id: a, run: make}]\n", (1, 10, "error: version must be 1, not '1'")),
    ("no version", "name: x\nsteps: [{id: a, run: make}]\n", (1, 1, "error: version is missing")),
    ("no steps", "version: 1\nname: x\nsteps: []\n", (3, 8, "error: steps must be a list of steps")),
    ("a list", "- a\n", (1, 1, "error: a workflow is a mapping")),
    ("empty", "", (1, 1, "error: a workflow is a mapping")),
    ("no YAML", "version: 1\nname: [\n", (3, 1, "error: not YAML")),
    ("key twice", "version: 1\nversion: 1\n", (2, 1, "error: 'version' stands twice")),
    ("alias", "version: 1\nname: &a x\ndescription: *a\n", (3, 14, "error: aliases (*name) are not taken here")),
    ("tag", "version: !!set 1\n", (1, 10, "error: YAML reads '1' as set")),
    ("name", "version: 1\nname: a b\nsteps: [{id: a, run: make}]\n", (2, 7, "error: name must be a name such as review-loop")),
    ("top key", "version: 1\nname: x\nstep: 1\nsteps: [{id: a, run: make}]\n", (3, 1,
     "error: unknown key 'step'; did you mean steps?")),
    ("limit", "version: 1\nname: x\nlimits: {time: 3}\nsteps: [{id: a, run: make}]\n", (3, 16, "error: time must be a duration")),
    ("limit of nothing", "version: 1\nname: x\nlimits: {tokens: 0}\nsteps: [{id: a, run: make}]\n", (3, 18,
     "error: tokens must be a number")),
    ("yes is a word", "version: 1\nname: x\nworktree: yes please\nsteps: [{id: a, run: make, idempotent: yes}]\n",
     (4, 40, "error: idempotent must be true or false, not 'yes'")),
    ("input", "version: 1\nname: x\ninputs: {a: strin}\nsteps: [{id: a, run: make}]\n", (3, 13, "error: 'strin' is no type")),
    ("default", "version: 1\nname: x\ninputs: {a: {type: low | high, default: mid}}\nsteps: [{id: a, run: make}]\n",
     (3, 41, "error: default must be low or high, not 'mid'")),
    ("phase", "version: 1\nname: x\nroles: {a: {phase: code}}\nsteps: [{id: a, run: make}]\n", (3, 20,
     "error: phase must be plan or implement")),
    ("phase and hosts", "version: 1\nname: x\nroles: {a: {persona: x}}\nsteps: [{id: a, run: make}]\n", (3, 12,
     "error: a: a role has a phase, or hosts")),
    ("family", "version: 1\nname: x\nroles: {a: {phase: plan, family: b}}\nsteps: [{id: a, run: make}]\n", (3, 34,
     "error: family must be not ROLE")),
    ("persona file", "version: 1\nname: x\nroles: {a: {phase: plan, persona: '@gone.md'}}\nsteps: [{id: a, run: make}]\n",
     (3, 35, "error: gone.md: is not there")),
    # names
    ("step", work("next: lst"), (5, 11, "error: no step 'lst'; did you mean last")),
    ("step of a rule", work("next: [{when: output.ok, go: nowhere}, {else: last}]"), (5, 34, "error: no step 'nowhere'")),
    ("step of else", work("next: [{when: output.ok, go: last}, {else: sucseeded}]"), (5, 48,
     "error: no step 'sucseeded'; did you mean succeeded")),
    ("role", more("- {id: x, agent: codr, prompt: p}"), (7, 20, "error: no role codr, and no host; did you mean coder")),
    ("template for a role", more("- {id: x, agent: '{{ inputs.goal }}', prompt: p}"), (7, 20,
     "error: agent: a template only in a step with each")),
    ("family of nobody", BASE.replace("not coder", "not codr") + STEPS, (-2, 37,
     "error: family: no role codr; did you mean coder")),
    ("own family", BASE.replace("not coder", "not reviewer") + STEPS, (-2, 37, "error: family: reviewer is of its own family")),
    ("host", BASE.replace("{phase: implement}", "{hosts: [cloude]}") + STEPS, (-3, 18,
     "error: host cloude is not known; did you mean claude")),
    ("on_failure", BASE.replace("steps:\n", "on_failure: lst\nsteps:\n") + STEPS, (0, 13,
     "error: on_failure: no step lst; did you mean last")),
    ("unreachable", more("- {id: x, run: make}").replace("    run: make\n", "    run: make\n    next: succeeded\n", 1), (8, 5,
     "error: nothing leads to x")),
    ("no end", more("- {id: x, run: make, next: failed}"), (-12, 7, "warning: nothing leads to succeeded")),
    # expressions
    ("assignment", rule("output.verdict = 'approve'"), (6, 30, "error: when: = assigns: compare with ==")),
    ("call", rule("output.verdict.upper() == 'A'"), (6, 15, "error: when: no methods here")),
    ("quoted", rule('"output.ok and 1 + 1"'), (6, 30, "error: when: no arithmetic here")),
    ("in a block", rule("|\n      output.ok\n      and output.nope == 1"), (8, 15, "error: output has no field nope")),
    ("name", rule("otput.ok"), (6, 15, "error: no such name here: otput; did you mean output")),
    ("field", rule("output.verdct == 'approve'"), (6, 15, "error: output has no field verdct; did you mean verdict")),
    ("word", rule("output.verdict == 'aprove'"), (6, 33, "error: 'aprove' is none of approve | revise; did you mean approve")),
    ("word in a list", rule("output.verdict in ['approve', 'reject']"), (6, 45, "error: 'reject' is none of approve | revise")),
    ("word of a failure", rule("failed == 'gates'"), (6, 25, "error: 'gates' is none of gate | exit")),
    ("kinds", rule("output.n == '3'"), (6, 15, "error: compares a number with text: they are never equal")),
    ("order of words", rule("output.verdict < 'b'"), (6, 15,
     "error: < needs numbers or texts, and output.verdict is a word of a closed list")),
    ("order of kinds", rule("output.n < 'b'"), (6, 15, "error: < of a number and text: never true")),
    ("truthy text", rule("output.verdict"), (6, 15, "error: a rule needs true or false, and output.verdict is text: compare it")),
    ("truthy number", rule("output.ok and output.n"), (6, 29, "error: and needs true or false, and output.n is a number")),
    ("null as truth", rule("not output.ok or failed == 'exit'"), (6, 19,
     "error: not needs true or false, and output.ok may be null: write output.ok == true")),
    ("field of text", rule("output.verdict.x == 1"), (6, 15, "error: output.verdict is text: it has no field x")),
    ("item of a record", rule("output.who[0] == 1"), (6, 15, "error: output.who is a record, no list")),
    ("in a number", rule("1 in output.n"), (6, 20, "error: in needs a list or a text, and output.n is a number")),
    ("in a list of others", rule("3 in output.list"), (6, 15, "error: compares a number with text")),
    ("loop over text", rule("any(x == 'a' for x in output.verdict)"), (6, 37,
     "error: for needs a list, and output.verdict is text")),
    ("any of texts", rule("any(output.list)"), (6, 19,
     "error: any needs a list of true and false: write any(X for a in output.list)")),
    ("len of a number", rule("len(output.n) == 1"), (6, 19, "error: len needs a list or a text")),
    ("exists of a number", rule("exists(output.n)"), (6, 22, "error: exists needs a path")),
    ("item outside each", rule("item == 1"), (6, 15, "error: no such name here: item")),
    ("input", rule("inputs.gaol == 'x'"), (6, 15, "error: no input gaol; did you mean goal")),
    ("step's name", rule("steps.wrok.output.ok"), (6, 15, "error: no step wrok; did you mean work")),
    ("step's key", rule("steps.work.outptu.ok == true"), (6, 15, "error: steps.work has no field outptu; did you mean output")),
    ("not yet", rule("steps.last.exit == 0 and not steps.last.exit == 1 and steps.last.output == 1 and steps.last.output.x == 1"),
     (6, 96, "error: steps.last.output is always null: the step declares no output")),
    ("git", rule("git.hash == 'x'"), (6, 15, "error: git has no field hash")),
    ("each over a number", last("each: inputs.count"), (7, 11,
     "error: each needs a list, and 'inputs.count' is a number, no list")),
    ("each over what may be null",
     last("each: steps.work.output.list\nnext: [{when: failed != null, go: work}, {else: succeeded}]").replace(
        "  - id: work\n", "  - id: work\n    next: [{when: failed == 'gate', go: last}, {else: last}]\n"),
     (8, 11, "error: each needs a list, and steps.work.output.list may be null here")),
    ("more than max", last("each: [a, b, c]\nmax: 2"), (7, 11, "error: 3 items, and max is 2")),
    ("need of fewer", last("each: [a, b]\nneed: 3"), (8, 11, "error: need: 3 of 2 items")),
    ("after no field", last("each: steps.work.output.list\nafter: item.needs"), (8, 12,
     "error: after: an item is text: it has no id, and no needs")),
    ("a value as a pattern", work("reserve: [inputs.goal]"), (5, 14, "warning: inputs.goal is a pattern here")),
    ("reserve", work("reserve: inputs.goal"), (5, 14, "error: reserve needs a list of patterns, and 'inputs.goal' is text")),
    ("output of the file", BASE + STEPS + "output: {x: steps.work.output.nope}\n", (7, 13,
     "error: steps.work.output has no field nope")),
    # templates
    ("syntax", prompt("{{ inputs.goal"), (3, 14, "error: prompt: not a template")),
    ("method", prompt("{{ inputs.goal.upper() }}"), (3, 14, "error: prompt: nothing is called in a template")),
    ("filter", prompt("{{ inputs.goal | upper }}"), (3, 14, "error: prompt: no such filter: 'upper'; there are tojson")),
    ("name", prompt("a {{ goal }}"), (3, 19, "error: no such name here: goal")),
    ("field", prompt("{{ inputs.gaol }}"), (3, 17, "error: no input gaol; did you mean goal")),
    ("before it is there", prompt("{{ steps.last.exit }}"), (3, 17,
     "error: steps.last may be null here: put it in {% if steps.last %}")),
    ("of itself", prompt("{{ steps.work.output.note }}"), (3, 17, "error: steps.work may be null here")),
    ("null", more('- {id: x, agent: coder, prompt: "{{ inputs.maybe.x }}"}'), (7, 39, "error: inputs.maybe may be null here")),
    ("in a loop", more('- {id: x, agent: coder, prompt: "{% for w in steps.work.output.list %}{{ w.x }}{% endfor %}"}'),
     (7, 76, "error: w is text: it has no field x")),
    ("loop over text", prompt("{% for x in inputs.goal %}{{ x }}{% endfor %}"), (3, 26,
     "error: inputs.goal is text: a list is needed here")),
    ("join of text", prompt("{{ inputs.goal | join }}"), (3, 17, "error: inputs.goal is text: a list is needed here")),
    ("a block's line", prompt("x").replace('"x"', "|\n      first\n      second {{ inputs.gaol }}"), (5, 17,
     "error: no input gaol")),
    ("item", prompt("{{ item }}"), (3, 17, "error: no such name here: item")),
    ("output in a prompt", prompt("{{ output.ok }}"), (3, 17, "error: no such name here: output")),
    ("worktree", BASE.replace("steps:\n", 'worktree: "x-{{ visits }}"\nsteps:\n') + STEPS, (0, 17,
     "error: no such name here: visits")),
    # commands
    ("template in a command", more("- {id: x, run: 'echo {{ inputs.goal }}'}"), (7, 18,
     "error: no template in a command ({{ inputs …)")),
    ("template in a word", more("- {id: x, run: [echo, '{{ item }}']}"), (7, 18, "error: no template in a command")),
    ("template in a gate", work("gates: ['test {{ git.base }}']"), (5, 13, "error: no template in a command")),
    ("template in a probe", last("probe: '{% if x %}'"), (7, 12, "error: no template in a command")),
    ("input of a command", work("gates: [{input: tets}]"), (5, 13, "error: no input tets; did you mean tests")),
    ("no command", more("- {id: x, run: {input: goal}}"), (7, 18, "error: input goal is text: declare it as command")),
    # calls
    ("no file", more("- {id: x, call: gone.yaml}"), (7, 19, "error: gone.yaml: is not there")),
    ("out of the folder", more("- {id: x, call: /etc/passwd}"), (7, 19,
     "error: '/etc/passwd' must name a file from this one's folder on")),
    ("itself", more(f"- {{id: x, call: {FILE}}}"), (7, 19, "error: call: a circle of calls: flow.yaml → flow.yaml")),
    ("input of the called", more("- {id: x, call: called.yaml, with: {gaol: x, goal: y, tests: make}}"), (7, 45,
     "error: called.yaml has no input gaol; did you mean goal")),
    ("input missing", more("- {id: x, call: called.yaml, with: {goal: x}}"), (7, 38, "error: called.yaml needs input tests")),
    ("kind of input", more("- {id: x, call: called.yaml, with: {goal: 3, tests: make}}"), (7, 45,
     "error: goal must be text, not 3")),
    ("word of input", more("- {id: x, call: called.yaml, with: {goal: a, tests: make, level: mid}}"), (7, 68,
     "error: level must be low or high, not 'mid'")),
    ("text for a number", more("- {id: x, call: called.yaml, with: {goal: a, tests: make, n: '1 {{ visits }}'}}"), (7, 64,
     "error: input n is a number, and this is text")),
    ("a value of another kind", more("- {id: x, call: called.yaml, with: {goal: a, tests: make, n: '{{ inputs.goal }}'}}"), (7,
     64, "error: input n is a number, and this is text")),
    ("null for text", more("- {id: x, call: called.yaml, with: {goal: '{{ inputs.maybe }}', tests: make}}"), (7, 45,
     "error: input goal is text, and this is text that may be null")),
    ("a command by template", more("- {id: x, call: called.yaml, with: {goal: a, tests: 'make {{ inputs.goal }}'}}"), (7, 55,
     "error: input tests is a command: only a literal")),
    ("an agent's command", more("- {id: x, call: called.yaml, with: {goal: a, tests: '{{ inputs.goal }}'}}"), (7, 55,
     "error: input tests is a command: only a literal")),
    ("output of the called",
     more("- {id: x, call: called.yaml, with: {goal: a, tests: make}, next: [{when: output.sun, go: succeeded}, {else: last}]}"),
     (7, 76, "error: output has no field sun; did you mean sum")),
    # cycles
    ("visits: false", work("visits: false\nnext: work").replace("  - id: last\n    run: make\n", ""), (5, 13,
     "error: visits: false on a cycle")),
    ("no limits", BASE.replace("limits: {dispatches: 9}\n",
     "") + steps(last="next: [{when: exit == 1, go: work}, {else: succeeded}]")[len(BASE):],
     (0, 5, "error: a cycle, and no limits")),
    # who looks at whose work
    ("writers", more("- {id: x, each: inputs.names, agent: coder, prompt: p}"), (7, 19,
     "warning: x: several writers in one tree")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_one_finding(text: str, wanted: tuple[int, int, str]) -> None:
    """Each file has its one finding, at its line and column."""
    found = errors(text)
    assert len(found) == 1, found
    line, column, said = found[0]
    assert said.startswith(wanted[2]), said
    if text.startswith(BASE[:60]) and not text.startswith(BASE):
        line -= BASE.count("\n")
    assert (line, column) == wanted[:2], found


def test_the_table_is_large() -> None:
    """As many faults as a person makes."""
    assert len(ROWS) >= 60


# -- several at once, calls, who looks at whose work -----------------------------------------------------------------


def test_every_fault_of_shape_is_told_at_once() -> None:
    """A person mends a file once: what is wrong in each step, in order of place; and `load` raises the same."""
    text = work("promt: x\nsession: old") + "  - {id: X, run: make}\n  - {id: b, wait: soon, retry: {gate: x}}\n"
    found = linted(text)
    assert [one.line - BASE.count("\n") for one in found] == [5, 6, 9, 10, 10]
    with pytest.raises(Faults) as told:
        loaded(text)
    assert told.value.findings == found and str(told.value).endswith("(and 4 more: workflow lint)")
    assert str(told.value).startswith(f"{FILE}:{found[0].line}:{found[0].column}: ")


def test_what_is_called_is_linted_too() -> None:
    """A fault in a called file stands at its place there, once, however often it is called."""
    bad = CALLED.replace("steps.a.output.sum", "steps.a.output.sun")
    text = more("- {id: x, call: sub/called.yaml, with: {goal: a, tests: make}}\n"
                "- {id: y, call: ./sub/called.yaml, with: {goal: a, tests: make}}")  # fmt: skip
    found = linted(text, {"sub/called.yaml": bad})
    assert [(one.file, one.line, one.column) for one in found] == [("sub/called.yaml", 5, 15)]
    broken = linted(text, {"sub/called.yaml": "version: 1\nname: x\n"})
    assert [(one.file, one.line, one.text) for one in broken] == [("sub/called.yaml", 1, "steps is missing")] * len(broken)


def test_how_deep_calls_go() -> None:
    """Five below each other; a circle is refused by its names, and files that are named from a folder are found from there."""
    def chain(most: int) -> dict[str, str]:
        head = "version: 1\nname: x\nsteps: [{id: a, "
        return {f"f{n}.yaml": head + (f"call: f{n + 1}.yaml}}]\n" if n < most else "run: make}]\n") for n in range(most + 1)}

    five, six = chain(5), chain(6)
    assert lint("f0.yaml", five.__getitem__, everybody) == []
    assert "6 calls below each other: at most 5" in str(lint("f0.yaml", six.__getitem__, everybody)[0])
    round_trip = {"a/f.yaml": "version: 1\nname: x\nsteps: [{id: a, call: ../b.yaml}]\n",
    "b.yaml": "version: 1\nname: x\nsteps: [{id: a, call: a/f.yaml}]\n"}
    assert "a/f.yaml → b.yaml → a/f.yaml" in str(lint("a/f.yaml", round_trip.__getitem__, everybody)[0])


@pytest.mark.parametrize(
    ("family", "known", "says"),
    [("family: not coder, ", {"coder": "a", "reviewer": "b"}, ""), ("", {"coder": "a", "reviewer": "b"}, ""),
     ("", {"coder": "ab", "reviewer": "ab"}, "reviewer may be of the family of coder, whose work it looks at: family: not coder"),
     ("family: not coder, ", {"coder": "ab", "reviewer": "ab"}, ""),
     ("family: not coder, ", {"coder": "a", "reviewer": "a"}, "both can only be of a"),
     ("family: not coder, ", {"coder": "a"}, "the family of reviewer is not known (hosts.yaml)"),
     ("", {"reviewer": "a"}, "the family of coder is not known (hosts.yaml)")],
)  # fmt: skip
def test_who_looks_at_whose_work(family: str, known: dict[str, str], says: str) -> None:
    """A reviewer who may be of the writer's family, or whose family is not known, is warned of; it is no error."""
    text = BASE.replace("family: not coder, ", family) + STEPS + '  - {id: look, agent: reviewer, prompt: "look"}\n'
    found = linted(text, families=lambda role: frozenset(known[role.name]) if role.name in known else None)
    assert [(one.level, says in one.text) for one in found] == ([("warning", True)] if says else [])


def test_null_by_the_ways_of_a_run() -> None:
    """What has surely run is there; what may have failed, or not run on one of the ways, may be null."""
    text = BASE + """\
  - id: one
    agent: coder
    prompt: p
    output: {ok: boolean, list: [string]}
    next:
      - {when: failed == 'gate', go: three}
      - {when: output.ok, go: two}
      - {else: three}
  - id: two
    run: make
    output: {n: integer}
  - id: three
    agent: coder
    prompt: "PROMPT"
  - id: four
    agent: coder
    prompt: "{% if steps.two %}{{ steps.two.output.n }}{% endif %}{% for x in steps.three.output | default([]) %}{% endfor %}"
""".replace("{% for x in steps.three.output | default([]) %}{% endfor %}", "")

    def says(prompt: str) -> str:
        found = linted(text.replace("PROMPT", prompt))
        return found[0].text if found else ""

    assert says("{{ steps.one.visits }}") == ""
    assert "steps.one.output may be null" in says("{{ steps.one.output.ok }}")
    assert "steps.two may be null" in says("{{ steps.two.output.n }}")
    assert says("{% if steps.two %}{{ steps.two.output.n }}{% endif %}") == ""
    assert "steps.one.output may be null" in says("{% if steps.one %}{{ steps.one.output.ok }}{% endif %}")
    assert says("{% if steps.one.output %}{{ steps.one.output.ok }}{% endif %}") == ""
    assert "steps.two may be null" in says("{% if steps.one.output %}{{ steps.two.output.n }}{% endif %}")
    assert says("{% if not steps.two %}none{% else %}{{ steps.two.output.n }}{% endif %}") == ""


def test_on_failure_knows_the_failure() -> None:
    """`failure` is there where only failures lead, and may be null elsewhere."""
    text = BASE.replace("steps:\n", "on_failure: tell\nsteps:\n") + STEPS
    text += '  - {id: tell, send: user, subject: "{{ failure.step }}", body: "{{ failure.kind }}"}\n'
    assert linted(text) == []
    assert loaded(text).below("last") == "succeeded"
    there = linted(text.replace("    run: make\n", "    run: make\n    next: tell\n"))
    assert [one.text.partition(" here")[0] for one in there] == ["failure may be null"] * 2


# -- files -----------------------------------------------------------------------------------------------------------


def test_real_files(tmp_path: Path) -> None:
    """Only regular UTF-8 files of some size are read; nothing waits, and each refusal is one finding."""
    import os

    (tmp_path / "good.yaml").write_text("version: 1\nname: x\nsteps: [{id: a, run: make}]\n", encoding="utf-8")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "latin").write_bytes(b"name: \xe9")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 30)
    assert lint(*reader(str(tmp_path / "good.yaml")), everybody) == []
    began = time.process_time()
    for name in ("fifo", "latin", "large", "gone", ".", "no\0name"):
        found = lint(*reader(str(tmp_path / name)), everybody)
        assert [one.level for one in found] == ["error"], name
        caller = f"version: 1\nname: x\nroles: {{r: {{phase: plan, persona: '@{name}'}}}}\n"
        caller += "steps: [{id: a, agent: r, prompt: p}]\n"
        if name.isprintable():
            (tmp_path / "caller.yaml").write_text(caller, encoding="utf-8")
            assert [one.line for one in lint(*reader(str(tmp_path / "caller.yaml")), everybody)] == [3], name
    assert time.process_time() - began < 2


def test_a_literal_at(tmp_path: Path) -> None:
    """``@@`` is a literal @; a file's text is in the role, and in the texts that a run keeps."""
    (tmp_path / "p.md").write_text("Be kind.\n", encoding="utf-8")
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}',
     encoding="utf-8")
    (tmp_path / "f.yaml").write_text(
        "version: 1\nname: x\nroles: {r: {phase: plan, persona: '@p.md', policy: '@@home'}}\n"
        "steps: [{id: a, agent: r, prompt: p, output: '@s.json',\n"
        "         next: [{when: output.a == 'x', go: failed}, {else: succeeded}]}]\n",
        encoding="utf-8",
    )
    file, read = reader(str(tmp_path / "f.yaml"))
    made = load(file, read)
    assert (made.roles["r"].persona, made.roles["r"].policy) == ("Be kind.\n", "@home")
    assert sorted(made.texts) == ["f.yaml", "p.md", "s.json"] and lint(file, read, everybody) == []
    assert load(file, made.texts.__getitem__) == made


# -- what ships ------------------------------------------------------------------------------------------------------

SHIPPED = [path for path in sorted((CHECKOUT / "workflows").glob("*.yaml")) if not path.name.endswith(".scenario.yaml")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_holds(path: Path) -> None:
    """Every shipped file has no finding, not even a warning; and gives the same from the texts that it read."""
    assert lint(*reader(str(path)), by_programs) == []
    made = load(*reader(str(path)))
    assert load(made.file, made.texts.__getitem__) == made
    head = path.read_text(encoding="utf-8").partition("version:")[0]
    assert path.name == "example.yaml" or ("Cost:" in head and "Not for:" in head)


def test_the_file_in_the_docs_holds() -> None:
    """The whole file that docs/workflows.md shows lints; its tables name every kind and key of a step, role and limit."""
    page = (CHECKOUT / "docs/workflows.md").read_text(encoding="utf-8")
    text = page.split("```yaml small.yaml\n")[1].split("```")[0]
    assert linted(text, families=by_programs) == []
    keys = {*parts.TOP, *parts.ROLE, *parts.KINDS, *parts.COMMON, *sum(parts.KINDS.values(), ()), *parts.Limits._fields,
    *parts.KINDS_OF_FAILURE}
    assert [key for key in keys if not re.search(rf"\b{key}\b", page)] == []


def test_the_tour_has_every_key() -> None:
    """Every key of the language stands in workflows/example.yaml, and the words of its closed lists that are few."""
    from mbox.format.parsing import yaml_document

    text = (CHECKOUT / "workflows/example.yaml").read_text(encoding="utf-8")
    top, _ = yaml_document(text, "example.yaml", core=True)

    def keys_of(value: object) -> set[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (set(value) if isinstance(value, dict) else set()).union(*map(keys_of, inner))

    wanted = {*parts.TOP, *parts.ROLE, *parts.COMMON, *parts.KINDS, *sum(parts.KINDS.values(), ()), *parts.TIMEOUTS, *parts.RETRY,
              *parts.Limits._fields, *parts.Visits._fields, "when", "go", "else", "type", "default", "input"}  # fmt: skip
    assert wanted - keys_of(top) == set()
    assert {step["git"] for step in top["steps"] if "git" in step} == {*parts.ACTIONS}
    assert all(word in text for word in ("exists(", "count(", "all(", "join(", "map(", "tojson", "length", "default(",
    "for part in"))


# -- garbage ---------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from([*parts.TOP, *parts.COMMON, *parts.KINDS, *parts.ROLE, "prompt", "output", "when", "go", "else", "work",
"coder",
                         "{{ inputs.goal }}", "{% if x %}", "output.ok", "steps.work", "string", "a | b", "@x", "not coder",
                         "3m", "",
                         "succeeded", "[", "flow.yaml", "called.yaml", "\x07", "é", "~", "id"])  # fmt: skip
VALUES = st.recursive(
    WORDS | st.integers() | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=25,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(parts.TOP), VALUES, max_size=10), st.lists(st.dictionaries(WORDS, VALUES, max_size=6),
max_size=4))
def test_no_structure_raises(top: dict[str, object], steps: list[dict[str, object]]) -> None:
    """Whatever stands where in a file: findings, each with a place in it, and never anything else."""
    import json

    text = json.dumps({"version": 1, "name": "x", **top, "steps": [{"id": f"s{n}", **step} for n, step in enumerate(steps)]})
    whole(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_mangled_file_raises(data: st.DataObject) -> None:
    """A file that holds, with pieces cut out, doubled or put elsewhere."""
    text = (CHECKOUT / "workflows/example.yaml").read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        put = data.draw(st.sampled_from(["", text[start:end] * 2, "\n", "  ", "{", "}", "'", '"', ": ", "- ", "{{", "%}", "\t",
        "|", "&a ", "%", "\x00"]))
        text = text[:start] + put + text[end:]
    whole(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    """Any text at all."""
    whole(text)


def whole(text: str) -> None:
    """Lint of a text ends in findings that stand in it; what has none loads, and twice the same."""
    found = linted(text, {"called.yaml": CALLED})
    lines = text.split("\n")
    for one in found:
        assert isinstance(one, Remark) and one.level in ("error", "warning") and one.text and "\n" not in one.text
        if one.file == FILE:
            assert 1 <= one.line <= len(lines) + 1 and one.column >= 1
    try:
        made = loaded(text, {"called.yaml": CALLED})
    except Usage:
        assert any(one.level == "error" for one in found)
        return
    assert loaded(text, {"called.yaml": CALLED}) == made
