"""What a text would cost is known before it is parsed: a small file is not a large one in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from mbox.errors import Usage
from mbox.format import budget, documents, places
from mbox.format.documents import Unfit
from mbox.journal import record
from mbox.tasks.beads import parse_beads
from mbox.tasks.drafts import TASKS
from mbox.tasks.planfile import parse_plan
from teamkit import BIN

PIECES = ["[]", "{}", "0", "12345", '"abc"', '{"a":0}', "[[]]", "[0,0]", '"\u00e9"', '"\\ud83d\\ude00"', '"\U0001f600"', "1.5"]

PEAK = 200_000
"""Kilobytes of memory that no command takes."""


def filled(piece: str, count: int) -> bytes:
    """A task with so many values in it."""
    head = '{"schema":1,"task_id":"t1","title":"x","created_at":"2026-01-02T03:04:05.000006Z","payload":['
    return f"{head}{f'{piece},' * count}0]}}\n".encode()


def line(piece: str, count: int) -> bytes:
    """A record with the right checksum, and so many values in it."""
    return record.encode({"v": 1, "seq": 1, "put": [[json.loads(f"[{f'{piece},' * count}0]"), ["x"]]]})


@pytest.mark.parametrize("piece", PIECES)
def test_what_would_cost_too_much_is_not_parsed(piece: str) -> None:
    """A document, a record, and a file that somebody hands in: one line each."""
    count = 2_500_000
    data = filled(piece, count)
    with pytest.raises(Unfit, match="more memory"):
        documents.decode("task", data)
    with pytest.raises(Usage, match="more memory"):
        parse_plan(b'{"tasks":[%b0]}' % (f"{piece},".encode() * count), "plan.json")
    body = b'{"v":1,"put":[%b0]' % (f"{piece},".encode() * count)
    with pytest.raises(record.Unsound, match="more memory"):
        record.decode(b'%b,"crc":"%08x"}\n' % (body, record.crc32(body)))


@pytest.mark.parametrize("piece", PIECES)
def test_what_passes_takes_no_more_than_it_may(piece: str) -> None:
    """The largest document of each kind of value that is taken, in a process of its own."""
    few, many = 1, 5_000_000
    while many - few > 10_000:
        middle = (few + many) // 2
        few, many = (few, middle) if budget.is_costly(filled(piece, middle), budget.RECORD) else (middle, many)
    code = "import sys; from mbox.journal import record; record._scan(sys.stdin.buffer.read().decode(), 0)"
    assert peak([sys.executable, "-c", code], filled(piece, few)) < PEAK * 1.2


MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
assert b"Traceback" not in done.stdout and len(done.stdout) < 10_000, done.stdout[:1000]
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(words: list[str], data: bytes = b"", folder: Path | None = None) -> int:
    """Kilobytes that a command takes at most; ``data`` comes to it by a pipe.

    A small process starts it: what this one takes would count for its children.
    """
    line = [sys.executable, "-c", MEASURE, *words]
    return int(subprocess.run(line, input=data, cwd=folder, check=True, capture_output=True).stdout)


PLANS: dict[str, Callable[[], bytes]] = {
    "values.json": lambda: b'{"tasks":[' + b"[]," * 20_000_000 + b"0]}",
    "block.yaml": lambda: b"tasks:\n" + b"- []\n" * 1_000_000,
    "flow.yaml": lambda: b"tasks: [" + b"[]," * 1_000_000 + b"0]",
    "lines.jsonl": lambda: b'{"title":"x"}\n' * 1_000_000,
    "blank.jsonl": lambda: b"\n" * 20_000_000 + b'{"title":"x"}\n' * 20_000,
    "text.jsonl": lambda: b'{"title":"x","description":"' + "\U0001f600".encode() * 15_000_000 + b'"}\n',
    "letters.json": lambda: b'{"tasks":[{"title":"' + b"x" * 60_000_000 + b'\xf0\x9f\x98\x80"}]}',
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_that_would_fill_the_memory_is_one_line(name: str, repo: Path, run: Run) -> None:
    """2, the file and the mend; far below 200 MB."""
    run("mbox", "init", cwd=repo, check=True)
    (repo / name).write_bytes(PLANS[name]())
    done = run("task", "import", name, cwd=repo, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and name in done.stderr, done.stderr[:500]
    assert peak([str(BIN / "task"), "import", name], folder=repo) < PEAK


def test_a_document_that_would_fill_the_memory_is_passed_over(repo: Path, run: Run) -> None:
    """Commands that read every task: they end, soon, and say which file is none."""
    run("mbox", "init", cwd=repo, check=True)
    for title in ("one", "two"):
        run("task", "add", title, cwd=repo, check=True)
    (repo / places.task("t1")).write_bytes(filled("[]", 20_000_000))
    for words in (("task", "list"), ("task", "show", "t1"), ("mbox", "doctor")):
        assert peak([str(BIN / words[0]), *words[1:]], folder=repo) < PEAK, words


def test_a_plan_of_too_many_lines_says_how_many(tmp_path: Path) -> None:
    """Without reading them all; so does a beads file."""
    data = b'{"id":"a","title":"x"}\n' * (TASKS + 1)
    for parse in (parse_plan, parse_beads):
        with pytest.raises(Usage, match=f"at most {TASKS} go in one"):
            parse(data, "x.jsonl")


def test_what_is_written_in_earnest_is_taken() -> None:
    """A body full of commas and brackets; a record of a plan of 10,000 tasks with all their fields."""
    text = json.dumps({"body": '[{"a": 1, "b": [2, 3]},\\n' * 300_000})
    assert not budget.is_costly(text, budget.DOCUMENT) and not budget.is_costly(text.encode(), budget.DOCUMENT)
    task = documents.new("task", task_id="t1", title="x" * 60, description="words, " * 300, depends_on=["t1", "t2"],
                         touched_paths=["a/**"], labels=["x"], created_at="2026-01-02T03:04:05.000006Z")  # fmt: skip
    data = record.encode({"v": 1, "put": [[task, [".tasks/t1.json"]]] * TASKS})
    assert len(data) > 24 << 20 and not record.is_costly(data)
    assert len(record.decode(data)["put"]) == TASKS
