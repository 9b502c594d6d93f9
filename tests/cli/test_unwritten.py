"""Answers that could not be written: whether anything happened is told by the exit status, so that nobody sends twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from mbox.cli.options import Command
from mbox.cli.table import TABLES, group

BIN = Path(sys.executable).parent

Call = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Run a command in a store with ann and bob; ``to``: where stdout goes, as a shell says it."""

    def call(words: str, to: str = "") -> subprocess.CompletedProcess[str]:
        program, _, rest = words.partition(" ")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MBOX_AGENT": "ann"}
        return subprocess.run(
            ["bash", "-c", f"'{BIN / program}' {rest} {to}"], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for words in ("mbox init", "mbox agent add ann", "mbox agent add bob"):
        done = call(words)
        assert done.returncode == 0, done.stderr
    return call


def last(call: Call) -> int:
    """The number of the store's last record."""
    return int(json.loads(call("mbox log --limit 1 -o jsonl").stdout)["seq"])


WRITES = {
    "mbox send bob --body hi": 1, "mbox send ann --body hi": 1, "mbox read": 1, "task add T": 1, "task add U --id u": 1,
    "task claim u": 1, "task start u": 1, "task renew u": 0, "task note u hello": 1, "task checkpoint u --state 1": 1,
    "task update u --title V": 1, "task done u": 1, "reserve 'src/**'": 1, "reserve renew 'src/**'": 0, "task cancel u": 0,
    "reserve release 'src/**'": 1, "mbox agent add eve": 1, "mbox agent beat": 0, "mbox config set lease 1h": 0,
    "mbox audit commit": 0, "mbox rebuild": 0, "mbox doctor --repair": 0, "mbox agent retire eve --as eve": 1,
}  # fmt: skip
"""Calls in an order in which each goes well, and whether it makes a record."""


def test_what_happened_is_told_as_such(call: Call) -> None:
    """Whatever writes ends with 74 where its answer is refused: it happened, once; a full disk and a closed stdout alike."""
    for words, records in WRITES.items():
        before = last(call)
        done = call(words, "> /dev/full")
        if words == "task cancel u":  # refused: nothing was to be written
            assert done.returncode == 2
            continue
        said = done.stderr.splitlines()[-1]
        assert (done.returncode, last(call) - before >= records) == (74, True), (words, done)
        assert "it happened, but the answer could not be written: stdout: No space left on device" in said, words
    closed = call("mbox send bob --body gone", ">&-")
    assert closed.returncode == 74
    assert len(json.loads(call("mbox inbox --as bob").stdout)) == 2


def test_long_answers_too(call: Call) -> None:
    """An answer larger than the buffer fails while it is written, not when it is flushed: the same status."""
    ids = " ".join(f"'{'x' * 30}{n}'" for n in range(400))
    done = call(f"reserve add {ids}", "> /dev/full")
    assert done.returncode == 74


LOOKS = ("mbox inbox", "mbox status", "mbox me", "task list", "task ready", "reserve list", "reserve check a", "mbox log",
         "mbox doctor", "mbox rebuild --dry-run", "mbox send bob --body x --dry-run", "task add X --dry-run", "mbox send --help",
         "mbox trust --show", "mbox search x")  # fmt: skip


def test_nothing_happened_is_told_as_such(call: Call) -> None:
    """What only looks, or only tries, ends with 6, which says that nothing happened; and nothing has."""
    call("mbox send ann --body x")
    call("task add T")
    before = last(call)
    for words in LOOKS:
        done = call(words, "> /dev/full")
        assert (done.returncode, "stdout: No space left on device" in done.stderr) == (6, True), (words, done)
    assert last(call) == before


def test_a_reader_that_went_away_is_no_failure(call: Call) -> None:
    """A pipe whose reader is gone ends a command as SIGPIPE would, whether it wrote or looked."""
    for words in ("mbox send bob --body hi", "mbox inbox"):
        assert call(words, "| :; exit ${PIPESTATUS[0]}").returncode in (0, 141)


CALLED = [(home, word) for home, entries in TABLES.items() for word, (target, _, _) in entries.items() if ":" in target]


@pytest.mark.parametrize(("home", "word"), CALLED, ids=[f"{home} {word}" for home, word in CALLED])
def test_help_says_it(home: str, word: str) -> None:
    """Whatever can be tried with ``--dry-run`` changes something: its statuses have this one, and no reader's have."""
    commands = group(home)
    command = commands.get_command(click.Context(commands), word)
    assert isinstance(command, Command)
    can_be_tried = any(param.name == "dry_run" for param in command.params)
    acts = can_be_tried or f"{home} {word}" in ("agent beat", "mbox nudge", "mbox watchdog")
    assert (74 in command.body.exits) == acts
