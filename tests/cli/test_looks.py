"""Colour: on a terminal that can, for states, urgency and the dead; nowhere else, and never by what somebody wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Run
from terminalkit import COLOUR, bare, seen

ESCAPE = "\x1b"
LOOKS = (["task", "list"], ["mbox", "status"], ["mbox", "agent", "list"], ["mbox", "inbox", "--as", "bob"], ["mbox", "log"],
         ["task", "show", "t4"], ["task", "graph"], ["mbox", "thread", "m6"], ["reserve", "list"])  # fmt: skip
"""Commands that show something; the ids are those of `busy`."""


@pytest.fixture
def busy(staffed: Path, run: Run) -> Path:
    """A store with a task in work, one that is blocked, an urgent letter, and escape sequences in what people wrote."""
    for words in (
        ["task", "add", "Write it", "--path", "src/**", "--priority", "9"],
        ["task", "add", "Test it", "--depends-on", "t4", "--description", "\x1b[31mred\x1b[0m"],
        ["mbox", "send", "bob", "--as", "ann", "--subject", "now", "--body", "\x1b[2J\x1b[31m", "--priority", "9"],
        ["task", "claim", "t4", "--as", "ann"],
    ):
        run(*words, cwd=staffed, check=True)
    return staffed


@pytest.mark.parametrize("words", [LOOKS[0], LOOKS[1], LOOKS[2], LOOKS[3]], ids=" ".join)
def test_a_terminal_gets_colour(words: list[str], busy: Path) -> None:
    """States, urgency and who is dead are coloured, each colour ends in its own line, and the text is as without."""
    text = seen(*words, cwd=busy)
    assert COLOUR.search(text), text
    assert bare(text) == seen(*words, cwd=busy, env={"NO_COLOR": "1"})
    for line in text.splitlines():
        found = COLOUR.findall(line)
        assert not found or found[-1] == "\x1b[0m"


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}], ids=str)
def test_no_colour_where_it_is_not_wanted(env: dict[str, str], busy: Path) -> None:
    """NO_COLOR, or a terminal that cannot: not one escape."""
    for words in (["mbox", "status"], ["task", "list"]):
        assert ESCAPE not in seen(*words, cwd=busy, env=env), words


@pytest.mark.parametrize("form", ["auto", "table", "json"])
def test_no_colour_in_a_pipe(form: str, busy: Path, run: Run) -> None:
    """Whatever TERM says, and whatever the format is."""
    for words in LOOKS:
        done = run(*words, "-o", form, cwd=busy, env={"TERM": "xterm-256color", "NO_COLOR": None})
        assert done.stdout and ESCAPE not in done.stdout + done.stderr, words


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_data_has_no_colour_on_a_terminal(form: str, busy: Path) -> None:
    """What is asked for as data is data on a terminal too."""
    assert ESCAPE not in seen("task", "list", "-o", form, cwd=busy)


@pytest.mark.parametrize("words", ["task show t5", "mbox show m6 --as bob", "task show t5 --full"])
def test_nobodys_text_brings_its_own(words: str, busy: Path) -> None:
    """Escape sequences in a body or a description are shown, beside colours of ours."""
    text = seen(*words.split(), cwd=busy)
    bare(text)
    lines = [line for line in text.splitlines() if "\\x1b[31m" in line]
    assert lines and not any(ESCAPE in line for line in lines)


def test_colour_is_loaded_on_a_terminal_only(busy: Path, run: Run) -> None:
    """In a pipe no command loads looks, screens or progress; on a terminal it is seen that this would be noticed."""
    for words in LOOKS:
        said = run(*words, cwd=busy, env={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
        assert "mbox.cli.main" in said
        assert not {name for name in ("mbox.cli.looks", "mbox.cli.screens", "mbox.cli.progress") if name in said}, words


def test_the_dead_and_the_urgent_stand_out(busy: Path, run: Run) -> None:
    """A dead agent is red, an urgent letter too, what is done is not."""
    run("mbox", "agent", "beat", "--as", "ann", cwd=busy, check=True)
    for row in json.loads(run("mbox", "agent", "list", cwd=busy).stdout):
        assert row["state"] in ("alive", "no heartbeat", "dead")
    text = seen("mbox", "agent", "list", cwd=busy)
    assert "\x1b[32malive" in text
    assert "\x1b[31m9" in seen("mbox", "inbox", "--as", "bob", cwd=busy)
