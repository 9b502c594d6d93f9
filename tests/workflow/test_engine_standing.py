"""Runs that stood still and go on: nothing that a person was asked, or that a run called, is a dead end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enginekit import RUN, TESS, Office
from kit import Killed
from mbox.engine import control
from mbox.errors import Refused

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
