"""What tasks came to: `task wait`, what a claim shows of its dependencies, and the mail that an approval is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.mail import lookup
from mbox.tasks import lifecycle, ready, results, reviews
from taskkit import ANN, BOB, RAE, World
from teamkit import until

BIN = Path(sys.executable).parent


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    """A store with ann, bob and rae."""
    world = World(tmp_path)
    yield world
    world.store.close()


# -- approvals ---------------------------------------------------------------------------------------------------------


def test_an_approval_is_mail_to_who_did_it(w: World) -> None:
    """From the reviewer, of the type of a rejection, in the same record; repeated it sends nothing more."""
    task_id = w.add("write it")
    w.claim(ANN, task_id)
    lifecycle.submit(w.store, ANN, task_id, "rae")
    before = w.store.end()
    answer = reviews.approve(w.store, RAE, task_id)
    doc = lookup.copy(w.store, "ann", answer["msg_id"])
    assert doc is not None
    assert (doc["from"], doc["to"], doc["type"], doc["task_id"]) == ("rae", ["ann"], "review_result", task_id)
    assert doc["subject"] == f"approved {task_id}: write it" and doc["state"] == "unread"
    assert len([*w.store.journal.records(before, w.store.end())]) == 1
    again = reviews.approve(w.store, RAE, task_id)
    assert again["already"] and "msg_id" not in again
    assert lookup.copy(w.store, "bob", answer["msg_id"]) is None


# -- what dependencies produced ----------------------------------------------------------------------------------------


def finished(w: World, result: Any, **fields: Any) -> str:
    """A task that is done, with ``result``."""
    task_id = w.add(**fields)
    w.claim(BOB, task_id)
    lifecycle.done(w.store, BOB, task_id, result)
    return task_id


def test_a_claim_shows_what_its_dependencies_produced(w: World) -> None:
    """By dependency; one without a result is not there; `task show` says the same; a task without any has no field."""
    first, second, third = finished(w, {"commit": "1f2e"}, id="parse"), finished(w, [1, 2]), finished(w, None)
    task_id = w.add("test it", after=[first, second, third])
    answer = w.claim(ANN, task_id)
    assert answer["results"] == {"parse": {"commit": "1f2e"}, second: [1, 2]} and "left_out" not in answer
    assert ready.show(w.store, task_id, 3)["results"] == answer["results"]
    assert "results" not in w.claim(ANN, w.add())


def test_what_a_claim_shows_is_bounded(w: World) -> None:
    """What does not fit is left out and counted, what is small enough behind it is not; of very many some are looked at."""
    huge, small = finished(w, "x" * 5000), finished(w, "ok")
    answer = w.claim(ANN, w.add(after=[huge, small]))
    assert answer["results"] == {small: "ok"} and answer["left_out"] == {"results": 1}
    many = [finished(w, "y" * 100) for _ in range(results.LOOKED + 3)]
    answer = w.claim(ANN, w.add(after=many))
    assert len(json.dumps(answer["results"])) <= results.RESULTS + 100
    assert answer["left_out"] == {"results": len(many) - len(answer["results"])}


def test_a_review_request_says_what_the_reviewer_needs(w: World) -> None:
    """The result, the paths and what it was rejected for before; of a result that is long only how long it is."""
    task_id = w.add("write it", "src/*.py")
    for result, said in (({"commit": "1f2e"}, 'result: {"commit":"1f2e"}\n'), ("x" * 5000, f"letters, `task show {task_id}`\n")):
        w.claim(ANN, task_id)
        answer = lifecycle.submit(w.store, ANN, task_id, "rae", result=result)
        doc = lookup.copy(w.store, "rae", answer["msg_id"])
        assert doc and said in doc["body"] and "\npaths: src/*.py\n" in doc["body"] and len(doc["body"]) < 1200
        assert doc["body"].endswith(f"\n\ntask approve {task_id}\ntask reject {task_id} --reason …")
        assert ("\nrejected before: no tests\n" in doc["body"]) == (result != {"commit": "1f2e"})
        w.verb("reject", RAE, task_id)


# -- task wait ---------------------------------------------------------------------------------------------------------


def lines(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """The rows of an answer."""
    return json.loads(done.stdout) if done.stdout else []


def test_a_wait_ends_when_all_have(staffed: Path, run: Run) -> None:
    """Nobody wakes it but the journal: it waits until the last is done, then prints how each ended; no agent is needed."""
    for name in ("a", "b"):
        run("task", "add", name, "--id", name, cwd=staffed, check=True)
        run("task", "claim", name, "--as", "ann", cwd=staffed, check=True)
    waiting = subprocess.Popen(
        [BIN / "task", "wait", "a", "b", "--timeout", "50s"], cwd=staffed, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    run("task", "done", "a", "--as", "ann", "--result", '{"x":1}', cwd=staffed, check=True)
    watched = Path(f"/proc/{waiting.pid}/fdinfo")
    until(lambda: any("inotify" in entry.read_text() for entry in [*watched.iterdir()] if entry.exists()), "no watch")
    assert waiting.poll() is None
    begun = time.monotonic()
    run("task", "done", "b", "--as", "ann", cwd=staffed, check=True)
    out, err = waiting.communicate(timeout=30)
    assert time.monotonic() - begun < 4.5, "it polled"
    assert (waiting.returncode, err) == (0, "")
    assert json.loads(out) == [
        {"task_id": "a", "status": "done", "title": "a", "result": {"x": 1}}, {"task_id": "b", "status": "done", "title": "b"}
    ]  # fmt: skip


def test_how_a_wait_ends(staffed: Path, run: Run) -> None:
    """4 when time ran out, with how things stand; 1 where one ended badly; 3 for no such task; 0 at once for what has ended."""
    for name in ("a", "b", "c"):
        run("task", "add", name, "--id", name, cwd=staffed, check=True)
        run("task", "claim", name, "--as", "ann", cwd=staffed, check=True)
    run("task", "done", "a", "--as", "ann", cwd=staffed, check=True)
    done = run("task", "wait", "a", cwd=staffed)
    assert (done.returncode, done.stderr, lines(done)[0]["status"]) == (0, "", "done")
    done = run("task", "wait", "a", "b", "--timeout", "1s", cwd=staffed)
    assert (done.returncode, done.stderr) == (4, "task: time ran out; not ended: b (claimed)\n")
    assert [row["status"] for row in lines(done)] == ["done", "claimed"]
    run("task", "fail", "b", "--reason", "no API", "--as", "ann", cwd=staffed, check=True)
    done = run("task", "wait", "a", "b", cwd=staffed)
    assert (done.returncode, done.stderr) == (1, "task: not done: b failed\n")
    assert lines(done)[1]["reason"] == "no API"
    done = run("task", "wait", "a", "nope", cwd=staffed)
    assert (done.returncode, done.stdout) == (3, "") and "no task 'nope'" in done.stderr


def test_waiting_for_a_state(staffed: Path, run: Run) -> None:
    """Until each is in it, or final; a final one that is in another is not what was waited for."""
    for name in ("a", "b"):
        run("task", "add", name, "--id", name, cwd=staffed, check=True)
        run("task", "claim", name, "--as", "ann", cwd=staffed, check=True)
    run("task", "submit", "a", "--as", "ann", cwd=staffed, check=True)
    assert run("task", "wait", "a", "--status", "review", cwd=staffed).returncode == 0
    run("task", "done", "b", "--as", "ann", cwd=staffed, check=True)
    assert run("task", "wait", "a", "b", "--status", "review", cwd=staffed).returncode == 1
    for wrong in ("open", "review,done", ""):
        assert run("task", "wait", "a", "--status", wrong, cwd=staffed).returncode == 2


def test_a_wait_ends_with_the_store(staffed: Path, run: Run) -> None:
    """A root that vanishes ends it with 6."""
    run("task", "add", "a", "--id", "a", cwd=staffed, check=True)
    waiting = subprocess.Popen([BIN / "task", "wait", "a", "--timeout", "0"], cwd=staffed, stderr=subprocess.PIPE, text=True)
    watched = Path(f"/proc/{waiting.pid}/fdinfo")
    until(lambda: any("inotify" in entry.read_text() for entry in [*watched.iterdir()] if entry.exists()), "no watch")
    os.rename(staffed, f"{staffed}-gone")
    waiting.communicate(timeout=30)
    assert waiting.returncode == 6
