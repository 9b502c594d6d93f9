"""The demo's worker goes on where another was killed in the middle of `git commit`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from conftest import CHECKOUT, Run
from teamkit import environment

SOURCES = {
    "a.py": ("x = 1\n", "compiles"),
    "b": ("#!/usr/bin/env python3\nx = (\n    1\n)\n", "compiles"),
    "c": ("#!/usr/bin/env bash\ntrue\n", "compiles"),
    "d.bash": ("true\n", "compiles"),
    "e.json": ('{\n  "a": {}\n}\n', "no program"),
    "f.txt": ("one (\n", "no program"),
}
"""What may stand in `scripts/`, and what is said of it."""


def test_whatever_the_plan_names_is_measured(repo: Path, run: Run) -> None:
    """Programs by their first line, too, and what is none: no worker falls over it, one after the other."""
    run("mbox", "init", cwd=repo, check=True)
    for name in ("w1", "reviewer"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)
    (repo / "report").mkdir()
    (repo / "scripts").mkdir()
    for name, (text, _) in SOURCES.items():
        (repo / "scripts" / name).write_text(text)
    run("git", "add", "scripts", cwd=repo, check=True)
    run("git", "commit", "--quiet", "--message", "Begin", cwd=repo, check=True)
    plan = run(str(CHECKOUT / "scripts/demos/plan"), cwd=repo, check=True).stdout.splitlines()
    measures = [line for line in plan if '"stage":"measure"' in line]
    assert len(measures) == len(SOURCES)
    (repo / "plan.jsonl").write_text("\n".join(measures))
    run("task", "import", "plan.jsonl", cwd=repo, check=True)
    worker = [str(CHECKOUT / "scripts/demos/worker"), "w1"]
    one = subprocess.Popen(worker, cwd=repo, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        ids = [json.loads(line)["id"] for line in measures]
        run("task", "wait", *ids, "--status", "review", "--timeout", "100s", cwd=repo)
    finally:
        one.terminate()
        said = one.communicate(timeout=20)[1]
    found = {json.loads(line)["description"]: (repo / json.loads(line)["touched_paths"][0]) for line in measures}
    told = {source.removeprefix("scripts/"): page.read_text().rstrip().rpartition(", ")[2] for source, page in found.items()}
    assert told == {name: what for name, (_, what) in SOURCES.items()}, said


def test_a_worker_stays_while_others_have_work_in_hand(repo: Path, run: Run) -> None:
    """A long review holds back what depends on it for longer than a claim waits: then it is done all the same."""
    run("mbox", "init", cwd=repo, check=True)
    for name in ("w1", "w2", "reviewer"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)
    (repo / "report").mkdir()
    (repo / "a.sh").write_text("true\n")
    run("git", "add", "a.sh", cwd=repo, check=True)
    run("git", "commit", "--quiet", "--message", "Begin", cwd=repo, check=True)
    run("task", "add", "Long", "--id", "long", cwd=repo, check=True)
    run("task", "claim", "long", "--as", "w2", cwd=repo, check=True)
    run("task", "submit", "long", "--as", "w2", "--to", "reviewer", cwd=repo, check=True)
    run("task", "add", "Measure a.sh", "--id", "last", "--stage", "measure", "--description", "a.sh", "--path", "report/a.txt",
        "--depends-on", "long", cwd=repo, check=True)  # fmt: skip
    worker = [str(CHECKOUT / "scripts/demos/worker"), "w1"]
    one = subprocess.Popen(worker, cwd=repo, env={**environment(), "DEMO_WAIT": "1s"}, stderr=subprocess.PIPE, text=True)
    try:
        assert one.stderr is not None and "after 1s" in one.stderr.readline()
        run("task", "review", "long", "--as", "reviewer", cwd=repo, check=True)
        run("task", "approve", "long", "--as", "reviewer", cwd=repo, check=True)
        run("task", "wait", "last", "--status", "review", "--timeout", "60s", cwd=repo)
        assert json.loads((repo / ".tasks/last.json").read_text())["status"] == "review"
        run("task", "review", "last", "--as", "reviewer", cwd=repo, check=True)
        run("task", "approve", "last", "--as", "reviewer", cwd=repo, check=True)
        assert one.wait(timeout=60) == 0  # nothing is queued or in work
    finally:
        one.terminate()
        one.communicate(timeout=20)


def test_what_a_killed_git_left_stops_nobody(repo: Path, run: Run) -> None:
    """Its lock files stand there; the page is committed all the same, and the task handed in."""
    run("mbox", "init", cwd=repo, check=True)
    for name in ("w1", "reviewer"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)
    (repo / "a.sh").write_text("true\n")
    (repo / "report").mkdir()
    run("task", "add", "Measure a.sh", "--id", "one", "--stage", "measure", "--description", "a.sh", "--path", "report/a.txt",
        cwd=repo, check=True)  # fmt: skip
    run("git", "add", "a.sh", cwd=repo, check=True)
    run("git", "commit", "--quiet", "--message", "Begin", cwd=repo, check=True)
    branch = run("git", "branch", "--show-current", cwd=repo, check=True).stdout.strip()
    for left in ("index.lock", "HEAD.lock", f"refs/heads/{branch}.lock"):
        (repo / ".git" / left).touch()
    worker = [str(CHECKOUT / "scripts/demos/worker"), "w1"]
    one = subprocess.Popen(worker, cwd=repo, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        run("task", "wait", "one", "--status", "review", "--timeout", "20s", cwd=repo)
        assert json.loads((repo / ".tasks/one.json").read_text())["status"] == "review"
        assert run("git", "log", "-n", "1", "--format=%s", cwd=repo, check=True).stdout == "one: Measure a.sh\n"
    finally:
        one.terminate()
        said = one.communicate(timeout=20)[1]
    assert "fatal" not in said and os.listdir(repo / "report") == ["a.txt"]
