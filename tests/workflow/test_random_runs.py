"""Random workflows with random answers: what lint passes ends in a closed state, within its limits, and can be explained.

The clock is the kit's: waits, quotas and questions that run out cost no time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

from enginekit import HOSTS, RUN, TESS, Office, git
from kit import Killed
from mbox.doctor import survey
from mbox.engine import control, runs
from mbox.errors import Refused
from mbox.format.documents import FINAL, Document
from mbox.report import runs as told
from mbox.workflow import definition, lint
from mbox.workflow.parts import KINDS_OF_FAILURE, RETRY

CLOSED = runs.ENDED | runs.STOPPED
ENDS = ["succeeded", "failed", "needs_human"]
MOST = 3
"""How often a run that stands is resumed."""

CHECKED = {"verdict": "good | bad", "n": "integer", "names": ["string"]}
"""The output of a random agent's step, if it has one."""

INNER = """version: 1
name: inner
roles: {helper: {phase: verify}}
inputs: {word: {type: string, default: x}}
steps:
  - {id: aid, agent: helper, prompt: "{{ inputs.word }}", output: {n: integer}, gates: ["test ! -e src/red"]}
  - {id: sure, ask: "Sure?", choices: [yea, nay], default: yea, timeout: 1d, next: [{when: output.choice == 'nay', go: failed}, {else: succeeded}]}
output: {n: steps.aid.output.n}
"""  # noqa: E501 - a step in a line

Draw = Any


def maybe(draw: Draw, strategy: st.SearchStrategy[Any], chance: int = 3) -> Any:
    """A value once in ``chance`` times, else None."""
    return draw(strategy) if draw(st.sampled_from(range(chance))) == chance - 1 else None


@st.composite
def agents(draw: Draw, step: str) -> dict[str, Any]:
    """A step for an agent."""
    prompts = ["Do it.", "{{ git.changed | join(', ') }} {{ visits }} {{ git.commits | length }}",
               f"{{% if steps.{step} %}}{{{{ steps.{step}.visits }}}}{{% endif %}}"]  # fmt: skip
    lines = ["true", "false", "test ! -e src/red", "echo same; test -e src/green"]
    gates = st.lists(st.sampled_from(lines), min_size=1, max_size=2)
    retry = st.dictionaries(st.sampled_from([*RETRY]), st.integers(0, 2), max_size=3)
    more = {
        "output": maybe(draw, st.just(CHECKED), 2), "gates": maybe(draw, gates), "retry": maybe(draw, retry),
        "reserve": maybe(draw, st.sampled_from([["src/**"], ["src/a"], ["docs/**", "src/b"]]), 2),
        "access": maybe(draw, st.sampled_from(["read", "write"]), 4),
        "session": maybe(draw, st.just("continue"), 5),
        "timeout": maybe(draw, st.sampled_from(["1h", {"schedule_to_close": "1h", "schedule_to_start": "30m"}]), 4),
    }  # fmt: skip
    return {"agent": draw(st.sampled_from(["coder", "reviewer", "planner"])), "prompt": draw(st.sampled_from(prompts)), **more}


@st.composite
def commands(draw: Draw) -> dict[str, Any]:
    """A step with a command."""
    line = draw(st.sampled_from([
        "true", "false", "exit 3", "echo '{\"n\": 2}'", "mkdir -p src; echo x >src/log", "kill -9 $$", ["no-such-program"],
        "cat >/dev/null", "printf no-json", "touch src/red; rm -f src/green",
    ]))  # fmt: skip
    output = maybe(draw, st.sampled_from([{"n": "integer"}, "string", "any"]))
    return {"run": line, "output": output, "idempotent": maybe(draw, st.just(True), 2), "probe": None}


OTHERS = st.sampled_from([
    {"ask": "Go on?", "choices": ["go", "stop"], "default": "go"}, {"ask": "Which?", "choices": ["go", "stop"], "timeout": "3d"},
    {"ask": "What?"}, {"wait": "10m"}, {"wait": "2h"}, {"git": "commit", "message": "step {{ visits }}"},
    {"git": "branch", "branch": "b-{{ visits }}"}, {"git": "push"}, {"send": "ann", "subject": "s", "body": "{{ git.head }}"},
    {"send": "user", "subject": "s", "body": "{{ visits }}"}, {"call": "inner.yaml", "with": {"word": "w{{ visits }}"}},
    {"call": "inner.yaml"},
])  # fmt: skip

EACH = st.sampled_from(["['a', 'b']", "[1, 2, 3]", "[]", "git.changed", "['a']"])


def whens(step: dict[str, Any], names: list[str]) -> list[str]:
    """Rules that lint passes for the step."""
    found = ["failed != null", "failed == 'gate'", "failed in ['exit', 'timeout', 'lost']", "visits < 3", "visits > 1",
             'exists("src/green")', "len(git.changed) > 1", "git.head == git.base", "stuck",
             *(f"steps.{name}.failed != null" for name in names)]  # fmt: skip
    if "each" in step:
        return [*found, "any(r.ok for r in output)", "count(r.failed == 'gave_up' for r in output) > 1"]
    if "agent" in step and step.get("output"):
        found += ["output.verdict == 'good'", "output.n > 1", "any(one == 'x' for one in output.names)"]
    return [*found, "exit == 3", "exit == null"] if "run" in step else found


@st.composite
def steps(draw: Draw, n: int, names: list[str]) -> dict[str, Any]:
    """The ``n``-th step."""
    made = draw(st.one_of(agents(names[n]), agents(names[n]), commands(), OTHERS))
    if ("agent" in made or "run" in made) and (items := maybe(draw, EACH, 3)):
        needs = [0, 1, "all"] if items != "[]" else [0, "all"]
        made |= {"each": items, "need": maybe(draw, st.sampled_from(needs), 2)}
        made["parallel"] = maybe(draw, st.sampled_from([1, 2, 3]), 2)
    made = {"id": names[n], **{key: value for key, value in made.items() if value is not None}}
    if stop := maybe(draw, st.integers(2, 4), 3):
        made["visits"] = {"stop": stop, **({"stronger": 2, "ask": 2} if stop > 2 and "agent" in made else {})}
    targets = st.sampled_from([*names, *names[n + 1 :], *ENDS])
    count = draw(st.sampled_from([0, 0, 1, 2]))
    rules = [{"when": draw(st.sampled_from(whens(made, names))), "go": draw(targets)} for _ in range(count)]
    if rules:
        below = names[n + 1] if n + 1 < len(names) else "succeeded"
        made["next"] = [*rules, {"else": draw(st.sampled_from([below, below, below, *names]))}]
    return made


@st.composite
def workflows(draw: Draw) -> dict[str, Any]:
    """A workflow, perhaps with errors."""
    names = [f"s{n}" for n in range(draw(st.sampled_from([1, 2, 3, 3, 4, 4, 5, 6])))]
    made = {
        "version": 1, "name": "random", "steps": [draw(steps(n, names)) for n in range(len(names))],
        "roles": {"planner": {"phase": "plan", "access": "read"}, "coder": {"phase": "implement"},
                  "reviewer": {"phase": "review", "family": draw(st.sampled_from(["not coder", ["not coder", "not planner"]]))}},
        "limits": {"dispatches": draw(st.integers(1, 12)), **(maybe(draw, st.sampled_from([
            {"time": "1h"}, {"tokens": 50}, {"cost_usd": 0.5}]), 2) or {})},
        "output": {"changed": "git.changed"},
    }  # fmt: skip
    if draw(st.booleans()):
        made["steps"].append({"id": "sorry", "send": "ann", "subject": "{{ failure.kind }}", "body": "{{ failure.detail }}"})
        made["on_failure"] = "sorry"
    return _reachable(made)


def _reachable(made: dict[str, Any]) -> dict[str, Any]:
    """The workflow without the steps that nothing leads to, which lint refuses."""
    order = [step["id"] for step in made["steps"]]
    by_name, found = {step["id"]: step for step in made["steps"]}, ["s0", *([made["on_failure"]] if "on_failure" in made else [])]
    for name in found:  # grows while it is read
        below = order[order.index(name) + 1 :][:1]
        rules = by_name[name].get("next") or [{"go": one} for one in below if one != made.get("on_failure")]
        goes = [rule.get("go", rule.get("else")) for rule in rules]
        found += [one for one in dict.fromkeys(goes) if one in by_name and one not in found]
    made["steps"] = [step for step in made["steps"] if step["id"] in found]
    return made


GOOD = {"verdict": "good", "n": 2, "names": ["x", "{{ inputs }}", "$(touch broken)"]}
FINE = st.sampled_from([
    {"output": GOOD}, {"output": {**GOOD, "verdict": "bad"}}, {"output": {**GOOD, "n": 1}, "usage": {"tokens": 20}},
    {"output": GOOD, "write": {"src/green": "1"}}, {"output": GOOD, "write": {"docs/a": "1"}, "usage": {"cost_usd": 0.2}},
])  # fmt: skip
ODD = st.sampled_from([
    {"output": {**GOOD, "n": "2"}}, {"output": {**GOOD, "more": 1}}, {"output": {"n": 1}}, {"text": "prose"}, {"output": None},
    {"output": GOOD, "write": {"src/red": "1"}}, {"exit": 3}, {"exit": 75}, {"output": GOOD, "exit": 1},
])  # fmt: skip
FAILING = st.sampled_from(KINDS_OF_FAILURE).map(lambda kind: {"fail": kind})
CLOSING = st.sampled_from(["10m", "2h", "3d"]).map(lambda reset: {"fail": "rate_limited", "reset": reset})
ANSWERS = st.sampled_from([FINE] * 5 + [ODD] * 2 + [FAILING] * 2 + [CLOSING]).flatmap(lambda kind: kind)


@st.composite
def scenarios(draw: Draw, made: dict[str, Any]) -> dict[str, Any]:
    """Answers for some of the steps that agents do."""
    answered = [*[step["id"] for step in made["steps"] if "agent" in step],
                *(["aid"] if any("call" in step for step in made["steps"]) else [])]  # fmt: skip
    found = {name: draw(st.lists(ANSWERS, min_size=1, max_size=3)) for name in answered if draw(st.sampled_from(range(8)))}
    each = [step["id"] for step in made["steps"] if "agent" in step and "each" in step]
    return found | {f"{name}/{draw(st.integers(0, 2))}": [draw(ANSWERS)] for name in each if draw(st.booleans())}


# -- what must hold ------------------------------------------------------------------------------------------------------


class Watched(Office):
    """An office that sees that no host is asked before its quota's reset."""

    def hire(self, words: Any, environ: Any) -> None:
        order = self.task(words[words.index("work") + 1])["order"]
        until = (self.run["memory"] or {}).get("closed", {}).get(order["host"], 0.0)
        assert until <= self.host.wall(), (order["host"], until - self.host.wall())
        super().hire(words, environ)


def check(office: Office, doc: Document) -> None:
    """A run that its engine has left: closed, or a person is asked; within its limits, every edge the one that its rules say."""
    seats = office.seats()
    everything = [runs.require(office.theirs, run) for run in runs.known(office.theirs)]
    if doc["status"] == "running":
        assert questions(office), (doc["at"], office.log())
    else:
        assert doc["status"] in CLOSED
    attempts = sum(len(seat["attempts"]) for seat in seats)
    assert attempts == doc["spent"]["dispatches"] <= doc["settings"]["limits"]["dispatches"]
    assert set(Counter(office.played).values()) <= {1}, "what was finished is not run again"
    for seat in seats:
        ends = [row.get("ended") for row in seat["attempts"]]
        assert "done" not in ends[:-1], (seat["step"], ends)
        assert seat["failed"] in (None, *KINDS_OF_FAILURE)
    for run in everything:
        rows = told.replayed(office.theirs, run["run"])
        assert all(row["ok"] for row in rows), rows
        allowed = (run["memory"] or {}).get("allowed") or {}
        for name, visits in run["visits"].items():
            stop = runs.workflow(office.theirs.read, run["run"]).steps[name].visits.stop
            assert not stop or visits < stop or allowed.get(name, 0) >= visits, (name, visits)
    if doc["status"] in runs.ENDED:
        ended(office, everything)
    found = survey.survey(office.theirs)
    assert found.clean, found.findings


def ended(office: Office, everything: list[Document]) -> None:
    """Nothing of a run that has ended is left open: no called run, no task, no worker."""
    assert all(run["status"] in runs.ENDED for run in everything)
    open_tasks = [one for one in office.tasks() if one[1] not in FINAL]
    assert not open_tasks, open_tasks
    assert not [row for row in office.end()["agents"] if row[0].startswith(f"{RUN}.") and not row[1]]


def questions(office: Office) -> list[tuple[str, dict[str, Any]]]:
    """All that is asked, each with its run."""
    known = [runs.require(office.theirs, run) for run in runs.known(office.theirs)]
    return [(doc["run"], one) for doc in known for one in control.questions(office.theirs, doc) if "run" not in one]


def answer(office: Office, choice: str) -> None:
    """A person answers all that is asked, each by ``choice`` if that is one."""
    for run, one in questions(office):
        said = choice if choice in one["choices"] or not one["choices"] else one["choices"][0]
        control.answer(office.theirs, TESS, run, one["step"], said)


def go_on(office: Office, doc: Document, choice: str) -> Document:
    """What a person does about a run that stands or asks: answers, raises its limits, waits for the quota; then resumes it."""
    answer(office, choice)
    office.host.advance(max(0.0, ((office.run["at"] or {}).get("until") or 0.0) - office.host.wall()))
    spent, limits = doc["spent"], doc["settings"]["limits"]
    more = {"dispatches": str(spent["dispatches"] + 4)}
    more |= {"time": f"{int(spent['seconds']) + 7200}s"} if "time" in limits else {}
    more |= {name: str(spent[name] + 100) for name in ("cost_usd", "tokens") if name in limits}
    try:
        return office.resume(**more)
    except Refused:
        assert "question" in office.run["at"], office.run["at"]  # the answer led on to the next question
        return office.run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a remote, and a folder for workflows."""
    folder = tmp_path_factory.mktemp("template") / "world"
    (folder / "repo/src").mkdir(parents=True)
    (folder / "repo/src/log").write_text("")
    git(folder, "init", "--quiet", "--bare", "remote.git")
    git(folder, "init", "--quiet", "--initial-branch=main", "repo")
    git(folder / "repo", "add", ".")
    git(folder / "repo", "commit", "--quiet", "--message=Begin")
    git(folder / "repo", "remote", "add", "origin", "../remote.git")
    (folder / "inner.yaml").write_text(INNER)
    return folder


def passes(flow: Path) -> bool:
    """Whether lint has no error for the file."""
    name, read = definition.reader(str(flow))
    errors = [one for one in lint.lint(name, read, lambda role: None) if one.level == "error"]
    if errors:
        note(str(errors[0]))
    return not errors


class Drawn(NamedTuple):
    """What was drawn for a run: its file, its scenario, the hosts, what a person says, and how it is begun."""

    flow: Path
    scenario: str
    hosts: str
    answers: dict[str, list[str]]
    wishes: dict[str, Any]

    def office(self, template: Path, folder: Path) -> Watched:
        """An office of its own for the run."""
        shutil.copytree(template, folder)
        return Watched(folder / "repo", self.flow, self.scenario, self.answers, self.hosts)


def drawn(data: st.DataObject, made: dict[str, Any], folder: Path) -> Drawn:
    """The workflow as a file that lint passes, and all else at random."""
    flow = folder / "flow.yaml"
    flow.write_text(json.dumps(made, indent=1))
    (folder / "inner.yaml").write_text(INNER)
    assume(passes(flow))
    scenario = json.dumps(data.draw(scenarios(made)))
    hosts = data.draw(st.sampled_from([HOSTS, HOSTS.replace("beta, alpha", "beta"), HOSTS.replace("alpha, beta", "alpha")]))
    answers = {"s0": ["go"]} if data.draw(st.booleans()) else {}
    wishes = {"scenario": data.draw(st.sampled_from([None, None, None, scenario])), "unattended": data.draw(st.booleans()),
              "workers": data.draw(st.sampled_from([None, 1, 2]))}  # fmt: skip
    return Drawn(flow, scenario, hosts, answers, wishes)


def one_run(template: Path, data: st.DataObject) -> None:
    """Make a workflow and a scenario, run it to where it ends or stands, and go on a few times."""
    with tempfile.TemporaryDirectory() as scratch:
        such = drawn(data, data.draw(workflows()), Path(scratch))
        office = such.office(template, Path(scratch) / "world")
        try:
            office.begin(**such.wishes)
            drive(office, data.draw(st.sampled_from(["go", "stop"])))
        finally:
            office.close()


def one_killed(template: Path, data: st.DataObject) -> None:
    """Make a run, and the same once more whose engine is killed at some moment: both come to the same."""
    made = data.draw(workflows())
    for step in made["steps"]:
        if "each" in step:
            step["parallel"] = 1  # else who comes first may get another's answer
    with tempfile.TemporaryDirectory() as scratch:
        such = drawn(data, made, Path(scratch))
        usual, killed = (such.office(template, Path(scratch) / name) for name in ("usual", "killed"))
        try:
            usual.begin(**such.wishes)
            usual.drive()
            killed.at = data.draw(st.sampled_from(range(len(usual.moments))))
            finish(killed, such)
            one, other = usual.end(), killed.end()
            different = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
            assert not different, (usual.moments[killed.died], different, killed.log())
        finally:
            usual.close()
            killed.close()


def finish(office: Office, such: Drawn) -> None:
    """Drive a run whose engine is killed to where it ends or stands; a command that was killed midway is run again."""
    try:
        office.begin(**such.wishes)
        office.drive()
    except Killed:
        office.restart(0)  # so that its quotas end when those of the other do
        office.begin(**such.wishes)
        office.drive()
    while asked := [(run, one["step"]) for run, one in questions(office) if one["choices"] == [*control.UNKNOWN]]:
        for run, step in asked:
            control.answer(office.theirs, TESS, run, step, "again")
        office.resume()


def drive(office: Office, choice: str) -> None:
    """Drive the run, and resume it at most `MOST` times; who still waits then is paused, or cancelled."""
    doc = office.drive()
    check(office, doc)
    for _ in range(MOST):
        if doc["status"] in runs.ENDED:
            return
        doc = go_on(office, doc, choice)
        check(office, doc)
    if doc["status"] == "running":
        control.pause(office.theirs, TESS, RUN)
        check(office, office.run)
    if doc["status"] not in runs.ENDED:
        control.cancel(office.theirs, TESS, RUN, "enough")
        check(office, office.drive())


SETTINGS = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False,
    report_multiple_bugs=False, phases=(Phase.generate,),
)  # fmt: skip
"""The same examples each time; one that fails is told as it is: to make it smaller takes minutes (add ``Phase.shrink``)."""


def tried(template: Path, one: Callable[[Path, st.DataObject], None], examples: int) -> None:
    """Try so many examples."""
    given(st.data())(settings(SETTINGS, max_examples=examples)(lambda data: one(template, data)))()


@pytest.mark.timeout(900)
def test_random_runs(template: Path) -> None:
    """What lint passes ends closed, within its limits, never in an engine error; each edge comes out again by `replay`."""
    tried(template, one_run, 40)


@pytest.mark.timeout(900)
def test_random_kills(template: Path) -> None:
    """Whatever the workflow, and wherever the engine was killed: the next one brings the run to the same end."""
    tried(template, one_killed, 40)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("one", [one_run, one_killed])
def test_many_random_runs(template: Path, one: Callable[[Path, st.DataObject], None]) -> None:
    """The same for 200 each."""
    tried(template, one, 200)
