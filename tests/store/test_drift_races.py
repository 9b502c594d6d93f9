"""Two agents claim and finish while git moves the documents under them: every task is done once, and no token is given twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from conftest import Run
from kit import journaled
from mbox.opening import open_store

BIN = Path(sys.executable).parent

WORKER = """
import json, subprocess, sys
program, agent, out = sys.argv[1:4]
while True:
    done = subprocess.run([program, "claim", "--as", agent, "-o", "json"], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"claim: {done.returncode} {done.stderr}")
    if done.returncode:
        break
    task = json.loads(done.stdout)
    with open(out, "a") as file:
        file.write(json.dumps([task["task_id"], task["token"]]) + "\\n")
    done = subprocess.run([program, "done", task["task_id"], "--as", agent], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"done: {done.returncode} {done.stderr}")
"""

MOVES = (["stash", "-q"], ["stash", "pop", "-q"], ["checkout", "-q", "--", "."], ["reset", "-q", "--hard"])


def churn(repo: Path, run: Run, tasks: int) -> None:
    """Work ``tasks`` off in two processes beside a third that lets git move the documents at random."""
    for words in (["init"], ["agent", "add", "ann"], ["agent", "add", "bob"]):
        run("mbox", *words, cwd=repo, check=True)
    plan = repo.parent / "plan.jsonl"
    plan.write_text("".join(f'{{"title": "task {n}"}}\n' for n in range(tasks)))
    run("task", "import", plan, cwd=repo, check=True)
    run("git", "add", "-f", ".tasks", ".mailbox/agents", cwd=repo, check=True)
    run("git", "commit", "-qm", "documents", cwd=repo, check=True)
    dice = random.Random(tasks)
    words = [sys.executable, "-c", WORKER, str(BIN / "task")]
    workers = [
        subprocess.Popen([*words, name, str(repo.parent / name)], cwd=repo, stderr=subprocess.PIPE, text=True)
        for name in ("ann", "bob")
    ]
    moves: Counter[str] = Counter()
    end = time.monotonic() + 300
    while any(worker.poll() is None for worker in workers) and time.monotonic() < end:
        move = dice.choice(MOVES)
        done = subprocess.run(["git", "-c", "core.fsync=none", *move], cwd=repo, capture_output=True, check=False)
        moves[" ".join(move)] += done.returncode == 0
    said = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert min(moves[" ".join(move)] for move in MOVES if move != ["stash", "pop", "-q"]) > 0, moves
    given = [json.loads(line) for name in ("ann", "bob") for line in (repo.parent / name).read_text().splitlines()]
    assert len(given) == tasks and len({task for task, _ in given}) == tasks and len({token for _, token in given}) == tasks
    store = open_store(str(repo), str(repo))
    done_once = Counter(record["on"][0] for record in journaled(store) if record["op"] == "task.done")
    store.close()
    assert len(done_once) == tasks and set(done_once.values()) == {1}
    rows = json.loads(run("task", "list", "--all", "--limit", "0", "-o", "json", cwd=repo, check=True).stdout)
    assert Counter(row["status"] for row in rows) == {"done": tasks}
    found = run("mbox", "doctor", cwd=repo)
    assert found.returncode == 0, found.stdout


def test_every_task_is_done_once_while_git_moves_the_documents(repo: Path, run: Run) -> None:
    """A few seconds of it."""
    churn(repo, run, 12)


@pytest.mark.long
def test_every_task_is_done_once_for_longer(repo: Path, run: Run) -> None:
    """A minute or two of it."""
    churn(repo, run, 150)
