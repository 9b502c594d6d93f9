"""The engine killed at every record that it writes and every effect that it has: what was finished is not done again.

Five workflows (those which ship, and two beside this file with steps that these have not), each run once undisturbed, and then
killed at one moment after the other (by default every ninth, all with ``--long``) and resumed: same end, seats, commits, mail,
pushes, pull requests and programs that were run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import CHECKOUT
from enginekit import RUN, TESS, Answers, Office, Shop, commits, git, keys
from kit import Killed
from mbox.doctor import survey
from mbox.engine import control, runs
from teamkit import BIN

FLOWS = Path(__file__).parent / "flows"

GH = """#!/bin/sh
here=$(dirname "$0")
echo "$1 $2" >>"$here/called"
case "$1 $2" in
"pr create") echo '[{"url": "https://example.org/pull/1", "number": 1}]' >"$here/made" ;;
"issue view") echo '{"number": 7, "title": "Mend it", "body": "$(touch broken)", "url": "https://example.org/7"}' ;;
"pr list") cat "$here/made" 2>/dev/null || echo '[]' ;;
esac
"""

REVIEW_LOOP = """
implement:
  - {fail: transport}
  - {write: {src/a.py: "one"}, usage: {cost_usd: 0.2}}
review:
  - output:
      {verdict: revise, findings: [{id: f1, state: new, severity: high, file: src/a.py, line: 1, text: "no {{ inputs.goal }}"}]}
    usage: {cost_usd: 0.1}
  - {output: {verdict: approve}}
  - {output: {verdict: approve, findings: []}, usage: {cost_usd: 0.1}}
fix:
  - {write: {src/a.py: "two"}}
  - {write: {src/a.py: "three", src/ok: "x"}, usage: {tokens: 10}}
"""

PIPELINE = """
plan:
  - {output: {parts: [all of it]}}
  - {output: {parts: [first, second]}, usage: {cost_usd: 0.5}}
build:
  - {write: {src/app.txt: "not yet"}}
  - {write: {src/app.txt: "tested"}}
  - {write: {src/app.txt: "tested twice"}}
review:
  - {output: {verdict: revise}}
  - {output: {verdict: approve}}
"""

PLAN = """
plan:
  - output:
      parts:
        - {id: c, files: [src/c.txt], after: [a, b]}
        - {id: a, files: [src/a.txt], after: []}
        - {id: b, files: [src/b.txt], after: []}
build/0: [{write: {src/c.txt: "c"}}]
build/1: [{write: {src/a.txt: "broken"}}, {write: {src/a.txt: "a"}}]
build/2: [{fail: transport}, {write: {src/b.txt: "b"}}]
look: [{output: {words: 2}}]
review/0: [{output: {verdict: revise}}, {output: {verdict: approve}}]
review/1: [{output: {verdict: approve}}]
mend: [{write: {src/mended.txt: "m"}}]
"""


class Case(NamedTuple):
    """A workflow, its scenario, its inputs and what a person answers."""

    flow: Path
    scenario: str
    inputs: dict[str, Any]
    answers: Answers | None = None


def shipped(name: str) -> str:
    """The scenario that stands beside a workflow."""
    return (CHECKOUT / f"workflows/{name}.scenario.yaml").read_text()


CASES = {
    "review-loop": Case(CHECKOUT / "workflows/review-loop.yaml", REVIEW_LOOP, {
        "goal": "do it", "tests": "test -e src/a.py && { grep -q one src/a.py || test -e src/ok; }",
    }),
    "pipeline": Case(FLOWS / "pipeline.yaml", PIPELINE, {"issue": 7}, {"agree": ["again", "go"]}),
    "plan": Case(FLOWS / "plan.yaml", PLAN, {"goal": "all"}),
    "pipeline as shipped": Case(CHECKOUT / "workflows/pipeline.yaml", shipped("pipeline"), {
        "issue": 7, "tests": "grep -q enumerate src/parser.py"}, {"agree": ["again", "go"]}),
    "plan as shipped": Case(CHECKOUT / "workflows/plan-implement-review.yaml", shipped("plan-implement-review"), {
        "goal": "all", "tests": "test -e src/export.py"}),
}  # fmt: skip


class World:
    """A repository with a remote that counts what is pushed, ``gh`` that counts what it is asked, and one run."""

    def __init__(self, folder: Path, template: Path, case: Case) -> None:
        self.folder, self.case = folder, case
        shutil.copytree(template, folder)
        git(folder / "repo", "remote", "set-url", "origin", str(folder / "remote.git"))
        self.office = Office(folder / "repo", case.flow, case.scenario, case.answers)

    def finish(self) -> None:
        """Begin the run if it is not there, and go on until it has ended; what nobody can know is answered by the truth."""
        office = self.office
        office.begin(self.case.inputs)
        doc = office.resume()
        while doc["status"] == "needs_human":
            docs = [runs.require(office.theirs, run) for run in runs.known(office.theirs)]
            asked = [(doc["run"], one) for doc in docs for one in control.questions(office.theirs, doc) if "run" not in one]
            assert asked, doc["reason"]
            for run, one in asked:
                control.answer(office.theirs, TESS, run, one["step"], "done" if self.told("noted") else "again")
            doc = office.resume()
        assert doc["status"] in runs.ENDED, (doc["status"], doc["at"])

    def told(self, name: str) -> list[str]:
        """The lines of a file beside the repository."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> dict[str, Any]:
        """All that must come out the same, and be there once."""
        office = self.office
        tree = Path(office.run["tree"]["path"] or office.root)
        assert set(keys(tree, office.run["tree"]["base"]).values()) <= {1}, "a step has one commit"
        assert set(Counter(office.played).values()) == {1}, "what was finished is not run again"
        found = survey.survey(office.theirs)
        assert found.clean, found.findings
        called = Counter(self.told("bin/called"))
        said = {name: self.told(name) for name in ("booked", "noted", "remote.git/pushed")}
        return {**office.end(), **said, "created": called["pr create"], "tree": git(tree, "rev-parse", "HEAD^{tree}"),
                "left": git(tree, "status", "--porcelain")}  # fmt: skip

    def close(self) -> None:
        self.office.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every world is a copy of."""
    folder = tmp_path_factory.mktemp("template") / "world"
    (folder / "repo/issues").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/gh").write_text(GH)
    (folder / "bin/gh").chmod(0o755)
    (folder / "repo/issues/7.json").write_text('{"title": "Mend it", "body": "It $(touch broken) `is` broken."}')
    git(folder, "init", "--quiet", "--bare", "remote.git")
    hook = folder / "remote.git/hooks/post-receive"
    hook.write_text("#!/bin/sh\ncut -d ' ' -f 3 >>pushed\n")
    hook.chmod(0o755)
    git(folder, "init", "--quiet", "--initial-branch=main", "repo")
    git(folder / "repo", "add", ".")
    git(folder / "repo", "commit", "--quiet", "--message=Begin")
    git(folder / "repo", "remote", "add", "origin", "elsewhere")
    return folder


@pytest.fixture
def make_world(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], World]:
    """Makes worlds, whose ``gh`` is theirs."""
    numbers: Iterator[int] = iter(range(1 << 30))
    path = os.environ["PATH"]

    def make(case: Case) -> World:
        folder = tmp_path / str(next(numbers))
        monkeypatch.setenv("PATH", f"{folder}/bin:{path}")
        return World(folder, template, case)

    return make


def undisturbed(make_world: Callable[[Case], World], case: Case) -> tuple[dict[str, Any], list[str]]:
    """How the run ends if nobody kills anything, and its moments."""
    world = make_world(case)
    try:
        world.finish()
        assert world.office.run["status"] == "succeeded", (world.office.run["reason"], world.office.log())
        return world.end(), world.office.moments
    finally:
        world.close()


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What is not the same."""
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def lived(world: World, after: int, again: int = 0) -> None:
    """Finish the run with engines of which the first is killed at its moment ``after``, and each later one ``again`` later."""
    office = world.office
    office.at = after
    while True:
        try:
            return world.finish()
        except Killed:
            before = len(office.moments)
            office.restart()
            if before % 2:  # the workers go on while no engine is there, or with the next one
                office.work_on()
            office.at = before + again if again else -1


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_moment(name: str, make_world: Callable[[Case], World], request: pytest.FixtureRequest) -> None:
    """Killed before and after whatever record or effect: the run ends as it would have, and nothing of it happens twice."""
    case = CASES[name]
    usual, moments = undisturbed(make_world, case)
    step, first = (1, 0) if request.config.getoption("--long") else (9, len(name) % 9)
    for at in range(first, len(moments), step):
        world = make_world(case)
        lived(world, at)
        assert not (found := differences(usual, world.end())), (at, moments[at], found, world.office.log())
        assert world.office.moments[: at + 1] == moments[: at + 1]
        world.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("again", [7, 10, 13])
@pytest.mark.parametrize("name", CASES)
def test_killed_again_and_again(name: str, again: int, make_world: Callable[[Case], World]) -> None:
    """One engine after the other dies a few moments after it began: together they come to the same end."""
    case = CASES[name]
    usual, _ = undisturbed(make_world, case)
    world = make_world(case)
    lived(world, again, again)
    assert not (found := differences(usual, world.end())), (found, world.office.log())
    world.close()


# -- with real processes -------------------------------------------------------------------------------------------------

AGREE = """
agree: [{choice: again}, {choice: go}]
"""


def ended(engine: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the engine ended by itself within ``seconds``; else it was killed, and what it ran and whom it hired not."""
    try:
        engine.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()
        return False
    assert engine.returncode == 0, engine.stdout and engine.stdout.read()
    return True


def run_killed(folder: Path, template: Path, case: Case, delays: Iterator[float]) -> dict[str, Any]:
    """Run a workflow by the command line, each engine killed after the next delay; how it ended."""
    shutil.copytree(template, folder)
    git(folder / "repo", "remote", "set-url", "origin", str(folder / "remote.git"))
    answers = AGREE if case.answers else ""
    shop = Shop(folder / "repo", case.flow, case.scenario + answers, {"PATH": f"{folder}/bin:{BIN}:{os.environ['PATH']}"})
    shop.call("mbox", "agent", "add", "ann")
    inputs = [f"{name}={value}" for name, value in case.inputs.items()]
    try:
        engine = shop.start(*inputs)
        while not ended(engine, next(delays, 60)):
            engine = shop.resume() if shop.is_begun() else shop.start(*inputs)
        shown = shop.shown()
        assert shown["status"] == "succeeded"
        assert set(keys(shop.root, shown["base"]).values()) <= {1}
        assert json.loads(shop.call("mbox", "doctor", "-o", "json"))["clean"]
        log = shop.call("workflow", "logs", RUN, "--limit", "0", "-o", "jsonl").splitlines()
        lines = (folder / "bin/called").read_text().split("\n") if (folder / "bin/called").exists() else []
        pushed, booked = folder / "remote.git/pushed", folder / "booked"
        return {
            "steps": [[row[name] for name in ("step", "visit", "status", "failed", "output", "rounds", "attempts") if name in row]
                      for row in shown["steps"] if row["step"] not in ("save", "propose")],
            "commits": commits(shop.root, shown["base"]), "dispatches": shown["cost"]["dispatches"],
            "claims": sum(json.loads(line)["op"] == "task.claim" for line in log), "created": lines.count("pr create"),
            "pushed": pushed.exists() and pushed.read_text(), "booked": booked.exists() and booked.read_text(),
        }  # fmt: skip
    finally:
        shop.close()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["review-loop", "pipeline"])
def test_sigkilled_at_random_moments(name: str, tmp_path: Path, template: Path) -> None:
    """Processes killed whenever: what a worker had begun it finishes, and the next engine goes on from there."""
    began = time.monotonic()
    usual = run_killed(tmp_path / "usual", template, CASES[name], iter(()))
    whole, random_ = time.monotonic() - began, random.Random(name)
    for n in range(8):
        delays = [random_.uniform(0.3, whole / 2) for _ in range(4)]
        found = run_killed(tmp_path / str(n), template, CASES[name], iter(delays))
        assert not differences(usual, found), (n, delays, differences(usual, found))
