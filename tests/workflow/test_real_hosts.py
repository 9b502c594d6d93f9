"""The real Claude Code and Codex as the hosts of a run, as docs/workflows.md has it, against scripted models on loopback.

They run when MBOX_REAL_CLIENTS=1; see `team/test_real_clients`, whose settings of the programs these are.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

from conftest import CHECKOUT, Run
from scripted_model import Model

WANTED = os.environ.get("MBOX_REAL_CLIENTS") == "1"

pytestmark = [
    pytest.mark.skipif(not WANTED, reason="MBOX_REAL_CLIENTS is not 1: the real agent programs are not run"),
    pytest.mark.timeout(240),
]

spec = importlib.util.spec_from_file_location("real_clients", CHECKOUT / "tests/team/test_real_clients.py")
assert spec and spec.loader
clients = importlib.util.module_from_spec(spec)
spec.loader.exec_module(clients)

VERDICT = json.dumps({"verdict": "approve", "findings": []})


def hosts() -> str:
    """The file that docs/workflows.md shows."""
    found = re.search(r"```yaml hosts.yaml\n(.*?)```", (CHECKOUT / "docs/workflows.md").read_text(encoding="utf-8"), re.S)
    assert found
    return found[1]


@pytest.mark.parametrize("hooks", [False, True], ids=["plain", "hooks"])
def test_claude_makes_and_codex_looks(repo: Path, tmp_path: Path, run: Run, hooks: bool) -> None:
    """Claude changes a file by its tool, Codex answers by the schema, and the run commits; each is asked once.

    With hooks in both it is the same end and the same commit.
    """
    home = tmp_path / "home"
    home.mkdir()
    run("mbox", "init", cwd=repo, check=True)
    (repo / "src").mkdir()
    (repo / ".mailbox/hosts.yaml").write_text(hosts())
    maker, looker = Model("echo made >src/made.txt"), Model("", says=(VERDICT,))
    try:
        claude, environ = clients.claude(home, repo, maker.url)
        codex, more = clients.codex(home, repo, looker.url)
        bin_ = tmp_path / "bin"
        bin_.mkdir()
        for name, words in (("claude", claude), ("codex", codex)):
            trust = " --dangerously-bypass-hook-trust" if hooks and name == "codex" else ""
            (bin_ / name).write_text(f"#!/bin/bash\nexec {' '.join(words)}{trust} \"$@\"\n")
            (bin_ / name).chmod(0o755)
        env = {**clients.outside(home, {**environ, **more}), "PATH": f"{bin_}:{clients.with_node()}"}
        if hooks:
            run("mbox", "hooks", "install", "claude", "codex", cwd=repo, env={"HOME": str(home)}, check=True)
        flow = CHECKOUT / "workflows/review-loop.yaml"
        inputs = ["--input", "goal=make it", "--input", "tests=grep made src/made.txt"]
        done = run("workflow", "run", str(flow), *inputs, "--id", "real", cwd=repo, env=env)
        assert done.returncode == 0, done.stdout + done.stderr + run("workflow", "explain", "real", cwd=repo).stdout
        shown = json.loads(run("workflow", "show", "real", cwd=repo, check=True).stdout)
        assert [row["step"] for row in shown["steps"] if row["status"] == "done"] == ["implement", "review", "save"]
        assert [row["attempts"] for row in shown["steps"][:2]] == [1, 1]
        files = run("git", "show", "--name-only", "--format=%s", "HEAD", cwd=repo, check=True).stdout.split()
        assert files == ["make", "it", "src/made.txt"]
        cache = repo / ".mailbox/cache"  # hooks ran, and of sessions that have a name
        assert (cache / "hook.json").is_file() == hooks and not (cache / "unnamed.json").exists()
    finally:
        clients.end_under(home)
        for model in (maker, looker):
            model.shutdown()
            model.server_close()
