"""docs/jobs.md: its six jobs, done for real by several agents, print what the page shows and cost what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import transcript
from conftest import CHECKOUT, Run
from mbox.cli.table import PROGRAMS, TABLES
from teamkit import until
from transcript import BLOCK, COUNT, Shells, Step, fresh, steps

PAGE = CHECKOUT / "docs" / "jobs.md"
TEXT = PAGE.read_text(encoding="utf-8")
SETUP = steps(BLOCK.findall(TEXT)[0])
JOBS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.M)[1:]}
MOST = {
    "Hand off a review": 1750,
    "Claim and finish": 700,
    "Edit a file safely": 600,
    "Ask two agents and gather": 1100,
    "Come back after a compaction": 1100,
    "Find out why nothing happens": 1300,
}
"""Bytes that each job may cost; more wants a reason."""


def test_all_six_jobs_are_there() -> None:
    """The page has these jobs, in this order, each with one block."""
    assert list(JOBS) == list(MOST)
    assert all(len(BLOCK.findall(part)) == 1 for part in JOBS.values())


@pytest.fixture
def shells(tmp_path: Path) -> Shells:
    """A shell for each agent, in a fresh repository that is set up as the page says."""
    made = Shells(fresh(tmp_path))
    for step in SETUP:
        assert made(step) == step.shown
    return made


@pytest.mark.parametrize("name", list(MOST))
def test_a_job(name: str, shells: Shells) -> None:
    """Every command prints what is shown, byte for byte but for times and the root's path, and exits as shown."""
    with shells:
        for step in _job(name):
            assert shells(step) == step.shown, f"{step.who}$ {step.command}"


@pytest.mark.parametrize("name", list(MOST))
def test_what_a_job_costs(name: str) -> None:
    """The number of commands and of bytes printed that the page states are those of its block, and not too many."""
    part = JOBS[name]
    stated = COUNT.findall(part)
    size = sum(len(step.shown.encode()) for step in _job(name))
    assert stated == [f"{len(_job(name))} commands, {size:,} bytes"]
    assert size <= MOST[name]


MOST_COMMANDS, MOST_BYTES, MOST_HELP = 4, 2500, 5000
"""What an agent may type, and read, for its part of a job; and the help that it may have to read to learn that."""

FORGOTTEN = {("Come back after a compaction", "bob"): "mbox me"}
"""Where the context of an agent begins anew: what it typed before is not in it."""


def _parts(name: str) -> dict[str, list[Step]]:
    """The steps of each agent in a job, as far as they are in its context."""
    parts: dict[str, list[Step]] = {}
    for step in _job(name):
        if step.command == FORGOTTEN.get((name, step.who)):
            parts[step.who] = []
        parts.setdefault(step.who, []).append(step)
    return parts


@pytest.mark.parametrize("name", list(MOST))
def test_what_a_job_costs_each_agent(name: str) -> None:
    """At most 4 commands, and 2,500 bytes that they print."""
    for who, own in _parts(name).items():
        assert len(own) <= MOST_COMMANDS, (who, own)
        assert sum(len(step.shown.encode()) for step in own) <= MOST_BYTES, who


@pytest.mark.parametrize("name", list(MOST))
def test_what_a_job_costs_to_learn(name: str, run: Run, tmp_path: Path) -> None:
    """The primer and the help of each command that an agent types: at most 5,000 bytes; every command has a help."""
    for who, own in _parts(name).items():
        called = {called for step in own if (called := _called(step.command))}
        role = "reviewer" if any("reject" in one for one in called) else "worker"
        pages = [run("mbox", "primer", "--role", role, cwd=tmp_path, check=True).stdout]
        pages += [run(*one, "--help", cwd=tmp_path, check=True).stdout for one in called]
        assert sum(len(page.encode()) for page in pages) <= MOST_HELP, (who, called)


def _called(command: str) -> tuple[str, ...]:
    """The command of ours that a line calls; none for another program."""
    words = command.split()
    if words[0] not in PROGRAMS:
        return ()
    table = f"{words[0]}" if words[0] != "mbox" or words[1] not in TABLES else words[1]
    if words[0] == "reserve" and words[1] not in TABLES["reserve"]:
        return ("reserve", "add")
    return (words[0], words[1]) if table == words[0] else ("mbox", words[1], words[2])


@pytest.mark.parametrize("name", list(MOST))
def test_a_job_is_done_by_commands_alone(name: str) -> None:
    """Agents only; each sees JSON that parses, an error in one line, or nothing; nobody needs to look into a file."""
    for step in _job(name):
        assert step.who in ("ann", "bob", "cat")
        assert not re.search(r"\.mailbox|\.tasks|^cat ", step.command)
        if step.command != "wait" and "(exit" not in step.shown:
            data = [line for line in step.shown.splitlines(keepends=True) if line[0] in '[{]"']
            for text in re.findall(r"^\[\n.*?^\]$|^\{.*\}$", "".join(data), re.S | re.M):
                json.loads(text)


def _job(name: str) -> list[Step]:
    return steps(BLOCK.findall(JOBS[name])[0])


def test_what_me_says_next_can_be_done(tmp_path: Path) -> None:
    """Also where the lease has run out: then the next command takes the task again instead of being refused."""
    with Shells(fresh(tmp_path)) as shells:

        def ann(command: str) -> str:
            return shells(Step("ann", command, ""))

        for command in ("mbox init --quiet", "mbox agent add ann", "task add 'Write it' --id it"):
            ann(command)
        ann("task claim it --lease 1s")

        def expired() -> Any:
            me = json.loads(ann("mbox me"))
            return me if me["tasks"][0]["left"] == "expired" else None

        me = until(expired, lambda: ann("mbox me"))
        assert me["next"] == ["task claim it"]
        assert "(exit" not in ann("task claim it")
        (following,) = json.loads(ann("mbox me"))["next"]
        assert following.startswith("task start it --token ") and "(exit" not in ann(following)
        (following,) = json.loads(ann("mbox me"))["next"]
        assert following.startswith("task done it --token ") and "(exit" not in ann(following)
        assert json.loads(ann("mbox me"))["next"] == ["task claim"]


def test_a_page_that_lies_is_noticed(tmp_path: Path) -> None:
    """Another output, another status and another count are differences; what is written anew has none of them."""
    page = tmp_path / "lies.md"
    page.write_text(
        "```console\n$ mbox init\n```\n\n## A job\n\n7 commands, 9 bytes.\n\n"
        "```console\n$ mbox agent add ann\nnothing\n$ mbox agent add ANN\n```\n",
        encoding="utf-8",
    )
    made = transcript.page(page, tmp_path)
    assert '{"agent":"ann","incarnation":1,"role":"worker"}\n' in made and "(exit 2)\n" in made
    assert "nothing" not in made and COUNT.findall(made)[0].startswith("2 commands, ")
    page.write_text(made, encoding="utf-8")
    assert transcript.page(page, tmp_path / "again") == made
