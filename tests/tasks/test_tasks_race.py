"""Sixteen real processes claim the same tasks: each is taken once, as two independent detectors see it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mbox
from kit import USER, journaled
from mbox.agents import registry
from mbox.format import places
from mbox.opening import init, open_store
from mbox.store.store import Actor, Store
from mbox.tasks import claims, planning
from mbox.tasks.drafts import TaskDraft

SOURCE = str(Path(mbox.__file__).parents[1])
PROCESSES = 16

WORKER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from mbox.tasks import claims; from mbox.tasks import lifecycle as tasks
from mbox.errors import Nothing
from mbox.opening import open_store
from mbox.store.store import Actor

root, me = sys.argv[2], Actor(sys.argv[3], 1)
store = open_store(root, root)
print("ready", flush=True)
sys.stdin.readline()
while True:
    try:
        task = claims.claim(store, me, claims.ClaimRequest())
    except Nothing:
        break
    busy = [f"{root}/busy/{name}" for name in (task["task_id"], *task["touched_paths"])]
    for folder in busy:
        os.mkdir(folder)  # fails if anybody else works on this task, or on this path
    print(task["task_id"], task["token"], flush=True)
    for folder in busy:
        os.rmdir(folder)
    tasks.done(store, me, task["task_id"], token=task["token"])
"""


def prepared(root: Path) -> Store:
    """A store in which a crowd of agents is registered."""
    (root / "busy").mkdir()
    init(str(root), here=True).store.close()
    config = root / places.CONFIG
    config.write_text(config.read_text().replace("durability: full", "durability: fast"))
    store = open_store(str(root), str(root))
    for n in range(PROCESSES):
        registry.add(store, USER, f"w{n}", {})
    return store


def crowd(root: Path) -> list[list[str]]:
    """Let the crowd claim and finish until nothing is left; ``[task, token]`` of every claim."""
    command = [sys.executable, "-c", WORKER, SOURCE, str(root)]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([*command, f"w{n}"], stdin=pipe, stdout=pipe, stderr=pipe, text=True) for n in range(PROCESSES)
    ]
    try:
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        ended = [child.communicate() for child in children]
    finally:
        for child in children:
            child.kill()
    assert [(child.returncode, err) for child, (_, err) in zip(children, ended, strict=True)] == [(0, "")] * PROCESSES
    return [line.split() for out, _ in ended for line in out.splitlines()]


def check(root: Path, claimed: list[list[str]], ids: list[str]) -> None:
    """Each task was claimed once and is done, no folder is left, and the journal tells the same."""
    assert sorted(task_id for task_id, _ in claimed) == sorted(ids)
    assert len({token for _, token in claimed}) == len(ids)
    assert os.listdir(root / "busy") == []
    store = open_store(str(root), str(root))
    assert {store.read(places.task(task_id))["status"] for task_id in ids} == {"done"}  # type: ignore[index]
    ops = Counter((r["op"], r["on"][0]) for r in journaled(store) if r["op"] in ("task.claim", "task.done"))
    crowd_only = {pair: count for pair, count in ops.items() if pair[0] == "task.done"}
    assert crowd_only == {("task.done", task_id): 1 for task_id in ids}
    assert store.names(places.RESERVATIONS) == []
    assert store.names(places.TASK_LEASES) == []
    store.close()


@pytest.mark.parametrize("shared", [False, True], ids=["own-paths", "one-path-for-ten"])
def test_five_hundred_tasks(tmp_path: Path, shared: bool) -> None:
    """16 processes claim from 500 tasks until none is left: each once, nobody together on a task or on a path."""
    store = prepared(tmp_path)
    drafts = [TaskDraft(None, f"{n}", touched_paths=(f"f{n % 50 if shared else n}.py",)) for n in range(500)]
    planning.import_drafts(store, USER, drafts)
    ids = [name[:-5] for name in store.names(places.TASKS) if name.endswith(".json")]
    store.close()
    claimed: list[list[str]] = []
    while len(claimed) < 500:  # a claimer may find everything that is left under others' reservations, and end
        more = crowd(tmp_path)
        assert more
        claimed += more
    check(tmp_path, claimed, ids)


def test_expired_leases(tmp_path: Path) -> None:
    """500 tasks whose holder died: the crowd sweeps, each task is queued again once and claimed once."""
    store = prepared(tmp_path)
    registry.add(store, USER, "ghost", {})
    drafts = [TaskDraft(None, f"{n}", touched_paths=(f"f{n}.py",)) for n in range(500)]
    planning.import_drafts(store, USER, drafts)
    sweep, store.sweep = store.sweep, None
    wish = claims.ClaimRequest(lease=0.001)
    ids = [claims.claim(store, Actor("ghost", 1), wish)["task_id"] for _ in range(500)]
    store.sweep = sweep
    assert len(store.names(places.TASK_LEASES)) == 500
    store.close()
    claimed: list[list[str]] = []
    while len(claimed) < 500:
        more = crowd(tmp_path)
        assert more
        claimed += more
    check(tmp_path, claimed, ids)
    store = open_store(str(tmp_path), str(tmp_path))
    expired = Counter(r["on"][0] for r in journaled(store) if r["op"] == "task.expire")
    assert expired == dict.fromkeys(ids, 1)
    assert {store.read(places.task(task_id))["attempt_count"] for task_id in ids} == {1}  # type: ignore[index]
    store.close()
