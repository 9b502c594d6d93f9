"""`mbox me`: what others said before what is held, each with sender and subject, and nothing dropped without a count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Run

BOB = {"MBOX_AGENT": "bob"}


@pytest.fixture
def root(staffed: Path) -> Path:
    """A store with agents ann and bob."""
    return staffed


def me(run: Run, root: Path, name: str = "bob") -> dict[str, Any]:
    """What `mbox me` prints, which is 1,500 bytes at most."""
    done = run("mbox", "me", "--as", name, cwd=root, check=True)
    assert len(done.stdout.encode()) <= 1500, done.stdout
    answer: dict[str, Any] = json.loads(done.stdout)
    assert "more" not in answer
    return answer


def test_mail_and_questions_come_before_the_work(root: Path, run: Run) -> None:
    """What somebody said may change what is to be done: read and reply before done and approve, in `next` and in the answer."""
    run("task", "add", "write it", "--id", "it", cwd=root, check=True)
    run("task", "add", "judge it", "--id", "judged", cwd=root, check=True)
    run("task", "claim", "it", "--start", cwd=root, env=BOB, check=True)
    run("task", "claim", "judged", "--as", "ann", cwd=root, check=True)
    question = ("mbox", "ask", "bob", "--as", "ann", "--subject", "which?", "--body", "x", "--timeout", "0.1s")
    asked = json.loads(run(*question, cwd=root).stdout)
    run("mbox", "read", cwd=root, env=BOB, check=True)
    run("task", "submit", "judged", "--to", "bob", "--as", "ann", cwd=root, check=True)
    run("mbox", "send", "bob", "--as", "ann", "--subject", "stop", "--body", "x", cwd=root, check=True)
    answer = me(run, root)
    assert [command.split()[1] for command in answer["next"]] == ["read", "reply", "done", "approve"]
    assert answer["to_answer"] == [{"msg_id": asked["thread_id"], "from": "ann", "subject": "which?"}]
    assert [(row["from"], row["subject"]) for row in answer["mail"]] == [("ann", "review judged: judge it"), ("ann", "stop")]
    order = list(answer)
    assert order.index("mail") < order.index("tasks") and order.index("to_answer") < order.index("tasks")


def test_what_was_read_and_is_not_acknowledged_says_whose_it_is(root: Path, run: Run) -> None:
    """Sender, subject and the time that is left."""
    run("mbox", "send", "bob", "--as", "ann", "--subject", "sign this", "--body", "x", "--needs-ack", cwd=root, check=True)
    run("mbox", "read", cwd=root, env=BOB, check=True)
    (row,) = me(run, root)["unacknowledged"]
    assert (row["from"], row["subject"], row["left"]) == ("ann", "sign this", "10m") or row["left"].startswith("9m")


def test_what_does_not_fit_is_counted_by_kind(root: Path, run: Run) -> None:
    """Nothing goes silently: what is shown and what is left out is all there is, and of each kind the first is shown."""
    for number in range(9):
        run("mbox", "send", "bob", "--as", "ann", "--subject", f"{number} {'s' * 90}", "--body", "x", cwd=root, check=True)
        run("task", "add", f"{number} {'t' * 90}", "--id", f"job-{number}", "--path", f"src/{number}", cwd=root, check=True)
        run("task", "claim", f"job-{number}", cwd=root, env=BOB, check=True)
    answer = me(run, root)
    assert answer["unread"] == 9
    for kind, count in (("mail", 9), ("tasks", 9), ("reservations", 9), ("next", 10)):
        assert answer[kind] and len(answer[kind]) + answer["left_out"].get(kind, 0) == count, kind
    assert answer["mail"][0]["subject"].startswith("0 s") and answer["next"][0] == "mbox read"


def test_long_names_and_texts_fit_too(root: Path, run: Run) -> None:
    """Names of 64 letters, texts as long as may be, patterns without end: 1,500 bytes all the same, and each thing is named."""
    long = "n" * 64
    run("mbox", "agent", "add", long, "--role", "r" * 64, cwd=root, check=True)
    run("task", "add", "t" * 200, "--id", "i" * 64, "--path", "p" * 200, "--path", "q" * 200, cwd=root, check=True)
    run("task", "claim", "i" * 64, "--as", long, cwd=root, check=True)
    run("task", "checkpoint", "i" * 64, "--state", json.dumps("c" * 9000), "--as", long, cwd=root, check=True)
    run("task", "note", "i" * 64, "é" * 9000, cwd=root, check=True)
    run("mbox", "send", long, "--as", "ann", "--subject", "ü" * 200, "--body", "x", cwd=root, check=True)
    answer = me(run, root, long)
    assert answer["mail"][0]["from"] == "ann" and answer["tasks"][0]["task_id"] == "i" * 64
    assert answer["tasks"][0]["checkpoint"].startswith('"ccc') and answer["mail"][0]["subject"].endswith("…")


def test_no_row_repeats_the_caller(root: Path, run: Run) -> None:
    """Its name stands once."""
    run("reserve", "src/a.py", cwd=root, env=BOB, check=True)
    run("mbox", "send", "bob", "--as", "ann", "--body", "x", cwd=root, check=True)
    answer = me(run, root)
    assert answer["agent"] == "bob" and json.dumps(answer).count('"bob"') == 1


@pytest.mark.parametrize(
    ("role", "next_one"),
    [("worker", "task claim"), ("tester", "task claim"), ("reviewer", "task review"), ("orchestrator", "mbox status")],
)
def test_who_has_nothing_to_do_is_told_what_its_role_does(role: str, next_one: str, root: Path, run: Run) -> None:
    """Only who does tasks claims one: a reviewer looks for reviews, an orchestrator for what stands still."""
    run("mbox", "agent", "add", "eve", "--role", role, cwd=root, check=True)
    assert json.loads(run("mbox", "me", "--as", "eve", cwd=root).stdout)["next"] == [next_one]
