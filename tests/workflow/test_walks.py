"""What lint passes never ends in an error of the language: walked with random answers, without an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from conftest import CHECKOUT
from flows import BASE, STEPS, linted, loaded
from mbox.workflow import expressions, templates, types
from mbox.workflow.definition import load, reader
from mbox.workflow.expressions import Expression
from mbox.workflow.flow import mentions
from mbox.workflow.lint import output_type
from mbox.workflow.parts import ENDS, KINDS_OF_FAILURE, Step, Workflow
from mbox.workflow.types import Type

SHIPPED = [path for path in sorted((CHECKOUT / "workflows").glob("*.yaml")) if not path.name.endswith(".scenario.yaml")]
TEXTS = st.sampled_from(["", "a", "{{ inputs.goal }}", "$(touch x)", "\x1b[31m", "é\n{% raw %}"])
ANYTHING = st.recursive(st.none() | st.booleans() | st.integers(-3, 3) | TEXTS, lambda one: st.lists(one, max_size=3)
                        | st.dictionaries(st.sampled_from(["id", "a", "ok"]), one, max_size=3), max_leaves=5)  # fmt: skip


def values(kind: Type) -> st.SearchStrategy[Any]:
    """Values of a type."""
    plain: dict[str, st.SearchStrategy[Any]] = {
        "string": TEXTS, "command": TEXTS, "integer": st.integers(-3, 9), "number": st.integers(0, 3) | st.floats(0, 3),
        "boolean": st.booleans(), "any": ANYTHING, "null": st.none(), "words": st.sampled_from(kind.words or ("",)),
    }  # fmt: skip
    if kind.kind == "list":
        found = st.lists(values(kind.items or types.ANY), max_size=3)
    elif kind.kind == "record":
        found = st.fixed_dictionaries({name: values(one) for name, one in kind.fields})
    else:
        found = plain[kind.kind]
    return st.none() | found if kind.nullable else found


class Walk:
    """A run of a workflow, in which every answer is drawn."""

    def __init__(self, workflow: Workflow, data: st.DataObject) -> None:
        self.workflow, self.data = workflow, data
        kinds = {name: one.type for name, one in workflow.inputs.items()}
        self.names: dict[str, Any] = {
            "inputs": {name: self.draw(values(kind)) for name, kind in kinds.items()}, "steps": {}, "failure": None,
            "git": {"base": "b", "head": "h", "changed": self.draw(st.lists(TEXTS, max_size=2)), "commits": []},
        }  # fmt: skip

    def draw(self, from_: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(from_)

    def run(self) -> str:
        at = next(iter(self.workflow.steps))
        for _ in range(25):
            if at in ENDS:
                break
            at = self.step(self.workflow.steps[at])
        if at == "succeeded":
            for one in self.workflow.output.values():
                self.value(one, self.names)
        return at

    def value(self, expression: Expression, names: dict[str, Any]) -> Any:
        return expressions.evaluate(expression, names, lambda _: self.draw(st.booleans()))

    def step(self, step: Step) -> str:
        before = {**self.names, "visits": self.names["steps"].get(step.id, {}).get("visits", 0) + 1,
        "stuck": self.draw(st.booleans())}
        items = [{}]
        if step.each is not None:
            found = self.value(step.each.items, before)
            assert isinstance(found, list)
            items = [{"item": one} for one in found]
        for item in items:
            self.texts(step, {**before, **item})
        failed = self.draw(st.none() | st.sampled_from(KINDS_OF_FAILURE))
        output = None if failed else self.draw(values(output_type(self.workflow, step)))
        for one in output or () if step.each else ():
            one["ok"] = one["output"] is not None  # what the engine promises of an item
        status = self.draw(st.integers(0, 2)) if step.kind == "run" and not step.each and not failed else None
        ran = {"output": output, "exit": status, "failed": failed, "visits": before["visits"]}
        self.names["steps"][step.id] = ran
        return self.after(step, {**before, **ran})

    def texts(self, step: Step, names: dict[str, Any]) -> None:
        for one in templates_of(step):
            assert isinstance(templates.render(one, names), str)
            templates.value(one, names)
        if isinstance(step.reserve, Expression):
            found = self.value(step.reserve, names)
            assert isinstance(found, list) and all(isinstance(one, str) for one in found)

    def after(self, step: Step, names: dict[str, Any]) -> str:
        for rule in step.next:
            if names["failed"] and not mentions(rule.when, "failed"):
                continue
            if rule.when is None or expressions.decide(rule.when, names, lambda _: self.draw(st.booleans()))[0]:
                return rule.go
        if not names["failed"]:
            return self.workflow.below(step.id)
        if self.workflow.on_failure is None or self.names["failure"]:
            return "failed"
        self.names["failure"] = {"step": step.id, "kind": names["failed"], "detail": "d"}
        return self.workflow.on_failure


def templates_of(step: Step) -> Iterator[templates.Template]:
    """Every template of a step."""
    for one in (*step, *step.env.values(), *step.with_.values()):
        if isinstance(one, templates.Template):
            yield one


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_is_decided_whatever_is_answered(path: Path) -> None:
    """Every rule is true or false, every template renders, every list is one: on any way, with any answers of the types."""
    workflow = load(*reader(str(path)))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.data())
    def walked(data: st.DataObject) -> None:
        Walk(workflow, data).run()

    walked()


RULES = st.sampled_from(
    ["output.ok", "not output.ok", "output.verdict == 'approve'", "output.note != null and len(output.note) > 1",
    "failed == 'exit'",
     "failed != null", "output.ok == true or failed == 'gate'", "visits > 2 or stuck", "any(x == 'a' for x in output.list)",
     "inputs.level == 'low' and not exists(inputs.goal)", "steps.last.exit == 1", "steps.work.output.n <= 3",
     "steps.work.output.ok",
     "count(x in inputs.names for x in output.list if x != '') >= 1", "output.who.name in output.list", "steps.last.visits > 1",
     "failure.step == 'work'", "output.list[0] == 'a'", "failed != null and output.ok", "all(x < 'b' for x in git.changed)"],
)  # fmt: skip
PROMPTS = st.sampled_from(
    ["{{ inputs.goal }}", "{{ steps.work.output.note }}", "{% if steps.work %}{{ steps.work.output.note }}{% endif %}",
     "{% if steps.work.output %}{{ steps.work.output.who.name }}{% endif %}", "{% for x in inputs.names %}{{ x }}{% endfor %}",
     "{% if steps.last %}{{ steps.last.exit }}{% endif %}", "{{ git.changed | join }}{{ inputs.maybe | default('x') }}",
     "{{ visits }}",
     "{% if failure %}{{ failure.kind }}{% endif %}", "{% if steps.last.failed == 'exit' %}x{% endif %}", "{{ inputs | tojson }}",
     "{% if inputs.maybe and steps.work %}{{ steps.work.failed }}{% endif %}",
     "{{ inputs.names[3] }}{{ inputs.maybe | length }}"],
)  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_random_files_that_lint_passes(data: st.DataObject) -> None:
    """Steps, rules and prompts put together at random: what has no error is walked without one."""
    targets = st.sampled_from(["work", "last", "more", "succeeded", "failed", "needs_human"])

    def rules() -> str:
        lines = [f"      - {{when: \"{data.draw(RULES)}\", go: {data.draw(targets)}}}\n" for _ in range(data.draw(st.integers(0,
        2)))]
        return "    next:\n" + "".join(lines) + f"      - {{else: {data.draw(targets)}}}\n" if lines else ""

    work, last = STEPS.split("  - id: last\n")
    more = f'  - {{id: more, agent: coder, prompt: "{data.draw(PROMPTS)}"}}\n'
    head = BASE.replace("steps:\n", "on_failure: more\nsteps:\n") if data.draw(st.booleans()) else BASE
    text = head + work.replace("{{ inputs.goal }}", data.draw(PROMPTS)) + rules() + "  - id: last\n" + last + rules() + more
    assume(not [one for one in linted(text) if one.level == "error"])
    Walk(loaded(text), data).run()
