"""A program that reads ``.status`` of a task, or ``.state`` of a letter, finds it, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clikit import Program
from mbox.opening import init

Call = Callable[[str], Any]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """A call in a store with ann and bob: what it prints, read as JSON."""

    def call(words: str) -> Any:
        program, *rest = words.split()
        done = CliRunner().invoke(Program(program), [*rest, "--root", str(tmp_path), "-o", "json"])
        assert done.exit_code == 0, (words, done.output)
        return json.loads(done.stdout)

    init(str(tmp_path), here=True).store.close()
    call("mbox agent add ann")
    call("mbox agent add bob")
    return call


def rows(answer: Any) -> list[Any]:
    """The rows of a list, or the one object."""
    return answer if isinstance(answer, list) else [answer]


def test_every_task_says_its_status(call: Call) -> None:
    """Also a queued one, in whatever shows it; and a claimed one."""
    call("task add T --id t")
    for words in ("task show t", "task show t --full", "task list", "task list --all", "task ready", "task ready --explain t"):
        assert [row["status"] for row in rows(call(words))] == ["queued"], words
    assert call("task graph")["nodes"][0]["status"] == "queued"
    assert call("task claim t --as ann")["status"] == "claimed"
    assert call("mbox me --as ann")["tasks"][0]["status"] == "claimed"
    assert call("task show t")["status"] == "claimed"


def test_every_letter_says_its_state(call: Call) -> None:
    """Also an unread one; of one that others got, the state of the copy that is least far."""
    call("mbox send bob ann --as ann --body hi")
    for words in ("mbox inbox --as bob", "mbox wait --as bob", "mbox thread m4", "mbox show m4", "mbox show m4 --as bob"):
        assert [row["state"] for row in rows(call(words))] == ["unread"], words
    assert call("mbox me --as bob")["mail"][0]["state"] == "unread"
    assert call("mbox read --as bob")["state"] == "read"
    assert call("mbox show m4 --as bob")["state"] == "acked"
    assert [call("mbox show m4")["state"], call("mbox thread m4")[0]["state"]] == ["unread", "unread"]  # ann has not read it
    assert call("mbox read --all --as ann")[0]["state"] == "read"
    assert [call("mbox show m4")["state"], call("mbox thread m4")[0]["state"]] == ["acked", "acked"]


def test_the_schemas_promise_it(call: Call) -> None:
    """Who reads the schema of an answer learns that the field always stands."""
    for name in ("task show", "task list", "task ready", "task claim", "read", "show", "inbox", "wait", "watch", "thread"):
        made = call(f"mbox schema {name}")
        found = made.get("items", made)
        while "anyOf" in found:
            found = found["anyOf"][0]
        assert {"status", "state"} & set(found["required"]), name
