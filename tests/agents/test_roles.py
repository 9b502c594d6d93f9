"""An agent does not make itself, or another, orchestrator: by no command, under no name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.agents import registry
from mbox.opening import open_store
from mbox.store.store import Actor
from teamkit import end_all

Call = Callable[..., tuple[int, Any, str]]


def roles(rows: list[dict[str, str]]) -> dict[str, tuple[str, bool]]:
    """Of each agent the role, and whether it is retired."""
    return {row["agent"]: (row.get("role", "worker"), row["state"] == "retired") for row in rows}


ALLOWED = [
    ("user", ["agent", "add", "w1", "--role", "orchestrator"]),
    ("user", ["agent", "add", "new", "--role", "orchestrator"]),
    ("boss", ["agent", "add", "w1", "--role", "orchestrator"]),
    ("boss", ["agent", "add", "boss", "--role", "reviewer"]),
    ("w1", ["agent", "add", "new", "--role", "reviewer"]),
    ("w1", ["agent", "add", "w1", "--model", "m2"]),
    ("w1", ["agent", "add", "w1", "--role", "worker"]),
    ("rev", ["agent", "add", "rev", "--role", "worker"]),
    ("ghost", ["agent", "add", "ghost"]),
    ("ghost", ["agent", "add", "ghost", "--role", "reviewer"]),
    ("w1", ["agent", "add", "gone"]),
    ("gone", ["agent", "add", "gone", "--role", "worker"]),
    ("boss", ["agent", "add", "gone", "--role", "reviewer"]),
    ("w1", ["agent", "retire", "w1"]),
    ("boss", ["agent", "retire", "w1"]),
    ("user", ["agent", "retire", "boss"]),
    ("user", ["agent", "add", "orphan", "--role", "reviewer"]),
    ("boss", ["team", "up", "raised.yaml", "--no-tmux"]),
    ("boss", ["team", "lead", "blue", "w1"]),
    ("user", ["team", "lead", "blue", "w1"]),
]

REFUSED = [
    ("w1", ["agent", "add", "w1", "--role", "orchestrator"]),
    ("w1", ["agent", "add", "w1", "--role", "orchestrator", "--new"]),
    ("w1", ["agent", "add", "w1", "--role", "reviewer"]),
    ("w1", ["agent", "add", "rev", "--role", "orchestrator"]),
    ("w1", ["agent", "add", "boss", "--role", "worker"]),
    ("w1", ["agent", "add", "new", "--role", "orchestrator"]),
    ("w1", ["agent", "add", "old"]),
    ("old", ["agent", "add", "old"]),
    ("rev", ["agent", "add", "rev", "--role", "orchestrator"]),
    ("ghost", ["agent", "add", "ghost", "--role", "orchestrator"]),
    ("ghost", ["agent", "add", "w1", "--role", "orchestrator"]),
    ("w1", ["agent", "add", "gone", "--role", "reviewer"]),
    ("gone", ["agent", "add", "gone", "--role", "reviewer"]),
    ("w1", ["agent", "retire", "boss"]),
    ("w1", ["agent", "retire", "rev"]),
    ("ghost", ["agent", "retire", "w1"]),
    ("w1", ["team", "up", "fresh.yaml", "--no-tmux"]),
    ("w1", ["team", "lead", "blue", "w1"]),
    ("w1", ["team", "up", "raised.yaml", "--no-tmux"]),
]


@pytest.fixture
def call(repo: Path, run: Run) -> Iterator[Call]:
    """A store with an orchestrator, a worker, a reviewer, some who are retired, who reported to one of them, and a team."""

    def call(who: str, words: list[str]) -> tuple[int, Any, str]:
        if words[0] == "team":
            run("team", "up", "blue.yaml", "--no-tmux", cwd=repo, check=True)
        if "raised.yaml" in words:
            (repo / "raised.yaml").replace(repo / "blue.yaml")
            words = [word.replace("raised", "blue") for word in words]
        done = run("mbox", *words, cwd=repo, env={} if who == "user" else {"MBOX_AGENT": who})
        return done.returncode, done.stdout and json.loads(done.stdout), done.stderr

    run("mbox", "init", cwd=repo, check=True)
    for name, role in {"old": "orchestrator", "boss": "orchestrator", "w1": "worker", "rev": "reviewer"}.items():
        run("mbox", "agent", "add", name, "--role", role, cwd=repo, check=True)
    for name, above in {"gone": None, "zed": None, "orphan": "zed"}.items():
        with closing(open_store(str(repo), str(repo))) as store:
            registry.add(store, Actor("user:tess"), name, {"reports_to": above})
    for name in ("old", "gone", "zed"):
        run("mbox", "agent", "retire", name, cwd=repo, check=True)
    fresh = {"name": "fresh", "role": "orchestrator", "host": "shell", "command": ["sleep", "1000"]}
    (repo / "fresh.yaml").write_text(json.dumps({"team": "red", "members": [fresh]}))
    rows = [{"name": name, "host": "shell", "command": ["sleep", "1000"]} for name in ("boss", "w1")]
    for file, roles in {"blue": ("orchestrator", "worker"), "raised": ("worker", "orchestrator")}.items():
        members = [{**row, "role": role} for row, role in zip(rows, roles, strict=True)]
        (repo / f"{file}.yaml").write_text(json.dumps({"team": "blue", "members": members}))
    yield call
    run("team", "down", "--force", cwd=repo)
    end_all(repo)


@pytest.mark.parametrize(("who", "words"), ALLOWED)
def test_what_may_be_said_of_a_role(call: Call, who: str, words: list[str]) -> None:
    """A person and an orchestrator give any; who is new has any but orchestrator; one's own may be laid down."""
    status, _, said = call(who, words)
    assert status == 0, said


@pytest.mark.parametrize(("who", "words"), REFUSED)
def test_what_an_agent_may_not_say_of_a_role(call: Call, who: str, words: list[str]) -> None:
    """2, `refused:` and the rule; nothing is changed."""
    before = call("user", ["agent", "list", "--all"])[1]
    status, _, said = call(who, words)
    after = call("user", ["agent", "list", "--all"])[1]
    assert status == 2 and "refused: " in said
    assert re.search("only (itself, )?an orchestrator, or a person", said)
    assert roles(after) == roles(before)


@pytest.mark.parametrize("who", ["w1", "ghost"])
def test_it_cannot_leave_and_come_back_as_another(call: Call, who: str) -> None:
    """The attack: retire, register anew in a better role."""
    call(who, ["agent", "add", who])
    assert call(who, ["agent", "retire", who])[0] == 0
    for role in ("reviewer", "orchestrator"):
        assert call(who, ["agent", "add", who, "--role", role])[0] == 2
    assert call(who, ["agent", "add", who])[0] == 0
    assert roles(call("user", ["agent", "list"])[1])[who] == ("worker", False)


def test_it_cannot_broadcast_and_step_back(call: Call) -> None:
    """The attack: raise, broadcast, lower."""
    assert call("w1", ["agent", "add", "w1", "--role", "orchestrator"])[0] == 2
    assert call("w1", ["broadcast", "--subject", "x", "--body", "x"])[0] == 2
