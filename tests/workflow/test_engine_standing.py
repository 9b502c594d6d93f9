"""Runs that stood still and go on: nothing that a person was asked, or that a run called, is a dead end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enginekit import RUN, TESS, Office
from kit import Killed
from mbox.engine import control
from mbox.errors import Refused
from mbox.hosts import command
from mbox.report import runs as told
from mbox.workflow.parts import KINDS_OF_FAILURE

Make = Callable[..., Office]


@pytest.fixture
def office(repo: Path) -> Iterator[Make]:
    """Makes an office in the scratch repository, of the files of a workflow; the first is the main one."""
    made: list[Office] = []

    def make(scenario: str = "", answers: dict[str, list[str]] | None = None, **files: str) -> Office:
        for name, text in files.items():
            (repo.parent / f"{name}.yaml").write_text(f"version: 1\nname: {name}\n{text}")
        made.append(Office(repo, repo.parent / f"{next(iter(files))}.yaml", scenario, answers))
        return made[0]

    yield make
    for one in made:
        one.close()


def killed(office: Office, moment: str) -> None:
    """Begin the run, and kill its engine where it first comes to ``moment``."""
    office.begin()
    office.deadly = moment
    with pytest.raises(Killed):
        office.drive()
    office.restart()


def test_a_called_run_goes_on_once_its_question_is_answered(office: Make) -> None:
    """A command of a called run was killed midway: who answers and resumes is not asked for ever."""
    made = office(outer="steps: [{id: inner, call: inner.yaml}]", inner="steps: [{id: note, run: 'echo x >>../noted'}]")
    killed(made, "after run")
    assert made.resume()["status"] == "needs_human"
    answered = control.answer(made.theirs, TESS, f"{RUN}.inner.1", "note", "done")
    assert answered["reason"] == f"answered done: workflow resume {RUN}"
    assert made.resume()["status"] == "succeeded"
    assert (made.root.parent / "noted").read_text() == "x\n"


def test_a_called_run_is_not_resumed_past_its_question(office: Make) -> None:
    """A called run stands before a step that was visited too often: to go on, its question is to be answered first, and named."""
    spin = "{id: spin, run: 'true', visits: {stop: 2}, next: [{when: visits < 3, go: spin}, {else: succeeded}]}"
    inner = f"limits: {{dispatches: 9}}\nsteps: [{spin}]"
    made = office(outer="steps: [{id: inner, call: inner.yaml}]", inner=inner)
    made.begin()
    assert made.drive()["status"] == "needs_human"
    with pytest.raises(Refused, match=rf"workflow answer {RUN}\.inner\.1 spin go \| stop"):
        made.resume()
    control.answer(made.theirs, TESS, f"{RUN}.inner.1", "spin", "go")
    assert made.resume()["status"] == "needs_human"  # the third visit is asked for as well
    control.answer(made.theirs, TESS, f"{RUN}.inner.1", "spin", "go")
    assert made.resume()["status"] == "succeeded"


def test_what_a_person_says_is_done_has_ended_with_0(office: Make) -> None:
    """A rule that looks at ``exit`` takes the word of a person for a command that is done: it is not null then."""
    rules = "next: [{when: exit == 0, go: succeeded}, {else: failed}]"
    made = office(flow=f"steps: [{{id: note, run: 'echo x >>../noted', {rules}}}]")
    killed(made, "after run")
    assert made.resume()["status"] == "needs_human"
    control.answer(made.theirs, TESS, RUN, "note", "done")
    assert made.resume()["status"] == "succeeded"


# -- limits: nothing is dispatched that cannot be paid, and what could not be is made when it can -------------------------


DO = "{id: do, agent: coder, prompt: x}"
CODER = "roles: {coder: {phase: implement}}\n"


def stood(office: Office, status: str, dispatches: int) -> None:
    """The run stands so, and so many programs were run, each once."""
    doc = office.run
    assert (doc["status"], doc["spent"]["dispatches"], len(set(office.played))) == (status, dispatches, len(office.played))
    assert len(office.played) == dispatches


def test_a_quota_that_never_opens_comes_to_the_limit(office: Make) -> None:
    """Every attempt is refused by the quota: it is tried after each reset, and not for ever."""
    made = office("do: [{fail: rate_limited, reset: 10m}]", flow=f"{CODER}limits: {{dispatches: 3}}\nsteps: [{DO}]")
    made.begin()
    made.drive()
    stood(made, "exceeded", 3)
    made.resume(dispatches="5")
    stood(made, "exceeded", 5)


@pytest.mark.parametrize(("kind", "first"), [
    ("gate", "{write: {red: x}, usage: {tokens: 7}}"), ("transport", "{fail: transport}"), ("killed", "{fail: killed}"),
    ("invalid_output", "{output: {n: x}, usage: {tokens: 7}}"),
])  # fmt: skip
def test_an_attempt_that_could_not_be_paid_is_made_once_it_can(office: Make, kind: str, first: str) -> None:
    """The limit was reached with a try left: after ``--limit`` that is made, and what the one before cost not counted twice."""
    more = "retry: {killed: 1, transport: 1}, gates: ['test ! -e red || test -e green'], output: {n: integer}"
    second = "{write: {green: x}, output: {n: 1}}"
    first = first.replace("write: {red: x}", "write: {red: x}, output: {n: 1}")
    made = office(f"do: [{first}, {second}]", flow=f"{CODER}limits: {{dispatches: 1}}\nsteps: [{DO[:-1]}, {more}}}]")
    made.begin()
    made.drive()
    stood(made, "exceeded", 1)
    spent = made.run["spent"]
    made.resume(dispatches="2")
    stood(made, "succeeded", 2)
    (seat,) = made.seats()
    assert [row["ended"] for row in seat["attempts"]] == [kind, "done"]
    assert made.run["spent"]["tokens"] == spent["tokens"] and made.run["spent"]["unknown"] == spent["unknown"] + 1
    assert seat["rounds"] == (kind == "gate")
    assert "This is attempt 2" in made.task("w1.do.1")["description"]


def test_items_are_dispatched_within_the_limit(office: Make) -> None:
    """A step with more items than can be paid: those that can are done, and the others when the limit is raised."""
    each = "{id: do, each: '[1, 2, 3, 4]', parallel: 3, agent: coder, prompt: x, reserve: [src/**]}"
    made = office("do: [{text: done}]", flow=f"{CODER}limits: {{dispatches: 2}}\nsteps: [{each}]")
    made.begin()
    made.drive()
    stood(made, "exceeded", 2)
    made.resume(dispatches="3")
    stood(made, "exceeded", 3)
    made.resume(dispatches="4")
    stood(made, "succeeded", 4)


# -- workers --------------------------------------------------------------------------------------------------------------


def workers(office: Office) -> list[str]:
    """The run's workers that are not retired."""
    return [name for name, is_retired in office.end()["agents"] if name.startswith(f"{RUN}.") and not is_retired]


def test_workers_of_called_runs_are_retired(office: Make) -> None:
    """A run is cancelled while one that it called is at work: that one's workers go too."""
    made = office("aid: [{fail: rate_limited, reset: 2h}]", outer="steps: [{id: inner, call: inner.yaml}]",
                  inner="roles: {helper: {phase: implement}}\nsteps: [{id: aid, agent: helper, prompt: x}]")  # fmt: skip
    made.begin(unattended=True)
    assert made.drive()["status"] == "paused" and workers(made) == ["w1.inner.1.helper"]
    control.cancel(made.theirs, TESS, RUN, "")
    made.drive()
    assert workers(made) == []


def test_workers_are_retired_by_who_resumes_an_ended_run(office: Make) -> None:
    """The engine was killed after the last record, before its workers were retired: ``resume`` of the ended run does that."""
    made = office("do: [{text: done}]", flow=f"{CODER}steps: [{DO}]")
    killed(made, f"before agent.retire {RUN}.coder")
    assert made.run["status"] == "succeeded" and workers(made) == ["w1.coder"]
    control.resume(made.theirs, TESS, RUN)
    assert workers(made) == []


def test_steps_of_one_record_keep_their_order(office: Make) -> None:
    """Steps that are passed in one record have one time: what is told, and `replay`, has the order of the visits."""
    mails = ", ".join(f"{{id: {name}, send: ann, subject: s, body: '{{{{ visits }}}}'}}" for name in ("z", "m", "a"))
    made = office(flow=f"steps: [{mails}, {{id: b, run: 'true', next: [{{when: 'visits < 2', go: m}}, {{else: succeeded}}]}}]"
                       "\nlimits: {dispatches: 1}")  # fmt: skip
    made.begin()
    assert made.drive()["status"] == "succeeded"
    assert [row["step"] for row in told.path(made.theirs, RUN)] == [*"zmabmab"]
    assert all(row["ok"] for row in told.replayed(made.theirs, RUN))


# -- attempts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS_OF_FAILURE)
def test_a_program_that_says_it_failed_has_not_answered(office: Make, kind: str) -> None:
    """Whatever kind of the page's list a program, or a scenario, says: the step has failed as that, and is never done."""
    reset = ", reset: 3d" if kind == "rate_limited" else ""
    made = office(f"do: [{{fail: {kind}{reset}}}]", flow=f"{CODER}limits: {{dispatches: 9}}\nsteps: [{DO}]")
    made.begin(unattended=True)
    doc = made.drive()
    (seat,) = made.seats()
    assert seat["attempts"][0]["ended"] == kind
    if kind != "rate_limited":
        assert (doc["status"], seat["failed"]) == ("failed", kind)


def test_a_failure_of_no_known_kind_is_one_of_transport() -> None:
    """What is written to ``$MBOX_FAILURE`` says that there is no answer, also where it is none of the kinds, or no JSON."""
    for said in (b'{"kind": "tired"}', b"{}", b"no json", b'["gate"]'):
        assert command.outcome(0, False, {"failure": said}, False, False, 0.0)["kind"] == "transport", said
    assert command.outcome(0, False, {"failure": b""}, False, False, 0.0)["kind"] == "done"


def test_who_did_an_attempt_is_told_of_each(office: Make) -> None:
    """An attempt that was handed back, or sent back by a gate, was somebody's too."""
    more = "gates: ['test -e green']"
    made = office("do: [{fail: transport}, {text: red}, {write: {green: x}}]", flow=f"{CODER}steps: [{DO[:-1]}, {more}}}]")
    made.begin()
    assert made.drive()["status"] == "succeeded"
    (seat,) = made.seats()
    assert [(row["ended"], row["by"]) for row in seat["attempts"]] == [
        ("transport", "w1.coder"), ("gate", "w1.coder"), ("done", "w1.coder"),
    ]  # fmt: skip
