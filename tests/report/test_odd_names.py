"""What a person, or a program that syncs, has put beside the documents changes no answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

from conftest import Run

MADE = """
mbox init --here
mbox agent add orc --role orchestrator
mbox agent add ann
mbox agent add bob
mbox ask bob --subject q --body ? --as orc --no-wait
mbox send bob --body one --as ann
mbox send bob --body two --as ann
mbox read m2 --as bob
mbox ack m2 --as bob
mbox read m3 --as bob
mbox send bob --body three --as ann
task add First --id t-one --path a/**
task add Second --id t-two
task claim t-one --as ann
task fail t-one --reason broken --as ann
task add Third --id t-three
task claim t-three --as bob
reserve add src/** --as ann
"""

ASKED = """
mbox status
mbox me --as bob
mbox me --as orc
mbox inbox --as bob
mbox inbox --all --as bob
mbox outbox --as ann
mbox show m2
mbox show m77
mbox agent list --all
mbox agent show nobody
mbox deadletter list
task list
task ready
task show t-77
reserve list
reserve check src/x.py --as bob
reserve show r-77
team status
team status blue
mbox log
mbox search one
mbox broadcast --subject s --body x --as orc --dry-run
mbox nudge bob
"""

ODD = ["m4 (copy).json", "m1;id.json", "con.json", "M1.json", "m1.json.json~", "\u00e9.json", "-x.json", "2026-13 x",
       "Readme", "x\ny.json"]


def asked(run: Run, root: Path) -> list[tuple[str, int, str]]:
    """Each command's status and answer, without the times that go on."""
    found = []
    for line in ASKED.split("\n"):
        if line:
            done = run(*line.split(), cwd=root)
            said = done.stdout or done.stderr.splitlines()[-1]  # what is passed over is said before
            found.append((line, done.returncode, re.sub(r"[0-9.]+ ?(ms|s|m|min)\b|\d\d:\d\d[^\"]*", "T", said)))
    return found


def test_odd_names_change_no_answer(repo: Path, run: Run) -> None:
    """In every folder of documents, of what stands there already: copies with names that are none."""
    for line in MADE.strip().split("\n"):
        run(*line.split(), cwd=repo)
    team = {"schema": 1, "team": "blue", "members": [{"name": "bob"}], "created_at": "2026-01-02T03:04:05.000006Z"}
    (repo / ".mailbox/team/blue.json").write_text(json.dumps(team))
    before = asked(run, repo)
    some = (repo / ".tasks/t-two.json").read_bytes()
    folders = [path for top in (".mailbox", ".tasks") for path in (repo / top).rglob("*") if path.is_dir()]
    for folder in [repo / ".tasks", *folders]:
        if folder.name in ("cache", "logs", "locks", "aside", "runs"):
            continue
        there = next((path.read_bytes() for path in sorted(folder.glob("*.json"))), some)
        for name in ODD:
            (folder / name).write_bytes(there)
    assert len(folders) > 15
    for was, now in zip(before, asked(run, repo), strict=True):
        assert now == was
