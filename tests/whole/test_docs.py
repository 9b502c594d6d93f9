"""The command reference is what --help says, every command has help and examples that parse, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from conftest import CHECKOUT, Run
from mbox.cli import options, output, values
from mbox.cli.context import Context
from mbox.cli.table import PROGRAMS, TABLES, Commands, group
from mbox.format import schemas

PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("workflows/*.md")])
TABLE_OF = {
    f"{name} {word}": (name, word)
    for name, entries in TABLES.items()
    for word, (target, _, _) in entries.items()
    if ":" in target
}
"""Every command: how it is told apart → its table and word."""


def made(called: str) -> options.Command:
    """The command object."""
    table, word = TABLE_OF[called]
    commands = group(table)
    command = commands.get_command(click.Context(commands), word)
    assert isinstance(command, options.Command)
    return command


# ---- docs/commands.md


def test_the_reference_is_what_help_says(run: Run) -> None:
    """`scripts/docs --check` is content; a change of a help wants `scripts/docs` run again."""
    import sys

    done = run(sys.executable, CHECKOUT / "scripts/docs", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_of_the_reference_can_fail(run: Run, tmp_path: Path) -> None:
    """A page that is missing or differs exits 1 with the difference; writing it mends that."""
    import shutil
    import sys

    for part in ("scripts/docs", "docs/commands.md", "docs/workflows.md"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / part, tmp_path / part)
    shutil.copytree(CHECKOUT / "workflows", tmp_path / "workflows")
    page = tmp_path / "docs/commands.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("#### `mbox send`", "#### `mbox post`"), encoding="utf-8")
    done = run(sys.executable, tmp_path / "scripts/docs", "--check")
    assert done.returncode == 1 and "-#### `mbox post`" in done.stdout and "./scripts/docs" in done.stderr
    run(sys.executable, tmp_path / "scripts/docs", check=True)
    assert page.read_text(encoding="utf-8") == right
    flow = tmp_path / "workflows/rescue.yaml"
    text = flow.read_text(encoding="utf-8")
    flow.write_text(text.replace("id: lost", "id: gone").replace("on_failure: lost", "on_failure: gone"), encoding="utf-8")
    done = run(sys.executable, tmp_path / "scripts/docs", "--check")
    assert done.returncode == 1 and '+  n3["gone' in done.stdout
    assert "docs/workflows.md is not what the workflows say" in done.stderr


def test_every_command_is_in_the_reference() -> None:
    """Each has a heading of its own, in the order of the tables."""
    text = (CHECKOUT / "docs/commands.md").read_text(encoding="utf-8")
    wanted = [called if called.split()[0] in PROGRAMS else f"mbox {called}" for called in TABLE_OF]
    assert re.findall(r"^#### `(.*)`$", text, re.M) == wanted


# ---- what each help says


@pytest.mark.parametrize("called", TABLE_OF)
def test_help_of_each_command(called: str) -> None:
    """A sentence, an example for each job, its own exit statuses, at most 2,000 bytes at any width."""
    command = made(called)
    assert command.help and command.help[0].isupper() and command.help.rstrip()[-1] in ".)`"
    assert command.body.examples
    assert {0, 2, 6} <= set(command.body.exits)
    for width in (60, 80, 100, 200):
        with click.Context(command, info_name=called, terminal_width=width, max_content_width=width) as ctx:
            text = command.get_help(ctx)
        assert len(text.encode()) <= 2000
        assert "Examples:" in text and text.startswith("Usage: ")
        assert ("Exit: " in text) == bool(command.body.own_exits) and "0 done" not in text


@pytest.mark.parametrize("name", TABLES)
def test_help_of_each_group(name: str) -> None:
    """At most 2,000 bytes, too, and every word of it said."""
    commands = group(name)
    with click.Context(commands, info_name=name, terminal_width=80) as ctx:
        text = commands.get_help(ctx)
    assert len(text.encode()) <= 2000
    assert all(f"  {word} " in text for word in commands.entries)


@pytest.mark.parametrize("called", TABLE_OF)
def test_every_option_says_what_it_is(called: str) -> None:
    """An option has help, or a name that is all there is to say; the reader can tell what value it takes."""
    for one in made(called).params:
        if isinstance(one, click.Option) and one.expose_value:
            assert one.is_flag or one.metavar, one.opts
            assert one.help or one.opts[0] in SAYS_ITSELF, one.opts


SAYS_ITSELF = frozenset(
    ["--stage", "--label", "--priority", "--title", "--description", "--payload", "--no-hold", "--max-attempts",
     "--add-dep", "--rm-dep"]
)  # fmt: skip
"""Options without a help: their name, or the argument's, is all there is to say."""


def calls(example: str) -> list[list[str]]:
    """The calls of installed commands in an example: words, without redirections, pipes and other programs."""
    text = re.sub(r"\s#\s.*$|\s#\s*$", "", example)
    text = re.sub(r'^eval "\$\((.*?)\)".*$', r"\1", text)
    tokens = shlex.shlex(text.replace("$$", "1"), posix=True, punctuation_chars="|&<>;")
    tokens.whitespace_split, tokens.commenters = True, ""
    words: list[list[str]] = [[]]
    for token in tokens:
        if set(token) <= set("|&;"):
            words.append([])
        else:
            words[-1].append(token)
    return [without_files(one) for one in words if one and one[0] in PROGRAMS]


def without_files(words: list[str]) -> list[str]:
    """The words of a call without redirections."""
    kept, skip = [], False
    for word in words:
        redirects = set(word) <= set("<>")
        if not skip and not redirects:
            kept.append(word)
        skip = redirects
    return kept


EXAMPLES = [(called, example) for called in TABLE_OF for example in made(called).body.examples]


@pytest.mark.parametrize(("called", "example"), EXAMPLES)
def test_every_example_parses(called: str, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's own parser takes each example in its help, and one call in it is of that command."""
    parsed = [parse(words, monkeypatch) for words in calls(example)]
    assert called in parsed, (example, parsed)


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Parse a call as the program would, without running it; which command it is of."""
    monkeypatch.setattr(values, "_source", lambda word, what, context, limit: "{}" if word[:1] in "-@" else word)
    monkeypatch.setattr(options, "_lines", lambda context, what: ["t1"])
    place: Any = group(words[0])
    context = Context()
    args, name = words[1:], words[0]
    while isinstance(place, Commands):
        with click.Context(place, info_name=name, obj=context) as ctx:
            rest = place.arrange(ctx, list(args))
            word, command, args = place.resolve_command(ctx, rest)
        assert word is not None and command is not None
        if isinstance(command, Commands):
            name = command.table
        else:
            name = f"{place.table} {word}"
        place = command
    with place.make_context(word, list(args), obj=context):
        return name


@pytest.mark.parametrize(
    ("example", "wanted"),
    [
        ("mbox ack m12", [["mbox", "ack", "m12"]]),
        ("mbox wait && mbox read   # both", [["mbox", "wait"], ["mbox", "read"]]),
        ("./measure | mbox send bob --body -", [["mbox", "send", "bob", "--body", "-"]]),
        ("task graph >graph.svg", [["task", "graph"]]),
        ('eval "$(task claim -o env)" && work "$TASK_ID"', [["task", "claim", "-o", "env"]]),
        ("reserve 'a b' -- make x", [["reserve", "a b", "--", "make", "x"]]),
    ],
)
def test_calls_of_an_example(example: str, wanted: list[list[str]]) -> None:
    """What the tests above take from an example."""
    assert calls(example) == wanted


def test_a_wrong_example_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is not there, or a value that does not fit, does not parse."""
    for wrong in ("mbox send bob --bodi x", "task claim --wait soon", "mbox read m12 --token", "task add"):
        with pytest.raises(Exception, match=r"."):
            parse(wrong.split(), monkeypatch)


# ---- all pages


def test_the_rows_of_a_team_are_as_they_are_printed() -> None:
    """docs/teams.md shows what `team status` prints: its fields in their order, without those at their default."""
    text = (CHECKOUT / "docs/teams.md").read_text(encoding="utf-8")
    shown = text.partition("$ team status\n[\n")[2].partition("\n]\n")[0].split(",\n")
    fields = [word.rstrip("?").partition("=")[0] for word in schemas.OUTPUTS["team status"][1].split()]
    assert len(shown) == 4
    for line in shown:
        row = json.loads(line)
        printed = {name: row[name] for name in fields if name in row}
        assert output.formatter("json", "agent", terminal=False).item(printed) == f"{line}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file, and an anchor in it where it has one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_commands_in_pages_exist(page: Path) -> None:
    """What a page calls `mbox …`, `task …` or `reserve …` in its running text is there, but for what is said to be later."""
    text = page.read_text(encoding="utf-8").partition("\n## Not yet\n")[0]
    for span in re.findall(r"`((?:mbox|task|reserve) [a-z][^`]*)`", text):
        words = span.split()
        entries = TABLES[words[0]]
        assert words[1] in entries or words[0] == "reserve", span
