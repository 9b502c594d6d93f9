"""What a member must be able to write: handed to its host, and tried before the program is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox.hosts import programs
from mbox.opening import open_store
from mbox.team import access, panes
from teamkit import BIN, HAVE_TMUX, NO_TMUX, begin, end_all, server, until

CODEX = programs.get("codex")

FAKE = """#!/usr/bin/env python3
import json, os, signal, subprocess, sys
words = sys.argv[1:]
if words and words[0] == "sandbox":
    options, command = words[1:words.index("--")], words[words.index("--") + 1:]
    said = dict(option.split("=", 1) for option in options if "=" in option)
    open(os.environ["SEEN"] + ".probe", "a").write(json.dumps([os.getcwd(), words]) + "\\n")
    roots = json.loads(said.get("sandbox_workspace_write.writable_roots", "[]"))
    if said.get("sandbox_mode") != "workspace-write" or not set(command[4:]) <= set(roots) or "CLOSED" in os.environ:
        sys.exit("sh: 1: cannot create it: Read-only file system")
    sys.exit(subprocess.call(command))
open(os.environ["SEEN"], "w").write(json.dumps([words, os.environ["PATH"]]))
signal.pause()
"""


@pytest.fixture
def team(repo: Path, tmp_path: Path, run: Run) -> Iterator[Run]:
    """A repository with a store, and a ``codex`` on the PATH that notes how it is called; the commands in it."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/codex"
    fake.write_text(FAKE.replace("/usr/bin/env python3", sys.executable))
    fake.chmod(0o755)
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "SEEN": str(tmp_path / "seen")}

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run(words[0], *words[1:], cwd=repo, env={**environ, **more})

    begin(lambda *words, at: call(*map(str, words)), repo)
    yield call  # type: ignore[misc]
    end_all(repo)


def write(repo: Path, **member: object) -> str:
    """A team of one."""
    path = repo.parent / "blue.json"
    path.write_text(json.dumps({"team": "blue", "members": [{"name": "ann", "host": "codex", "prompt": "Go.", **member}]}))
    return str(path)


def test_a_member_in_a_tree_gets_every_folder_that_it_needs(repo: Path, tmp_path: Path, team: Run) -> None:
    """The store's, the common git folder and the tree's own; tried in its sandbox, where it will stand; nothing is left."""
    done = team("team", "up", write(repo, worktree=True), "--no-tmux")
    assert done.returncode == 0, done.stderr
    words, path = json.loads(until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text(), "the program"))
    tree = repo.parent / f"{repo.name}.worktrees/blue-ann"
    wanted = [str(repo / ".mailbox"), str(repo / ".tasks"), str(repo / ".git"), str(repo / ".git/worktrees/blue-ann")]
    assert words[:4] == ["-c", "allow_login_shell=false", "-c", f"sandbox_workspace_write.writable_roots={json.dumps(wanted)}"]
    tried = [json.loads(line) for line in (tmp_path / "seen.probe").read_text().splitlines()]
    assert [where for where, _ in tried] == [str(tree)] * 2 and tried[-1][1][-4:] == wanted
    assert not [name for folder in wanted for name in os.listdir(folder) if "probe" in name]
    assert path.endswith(f":{BIN}"), "the commands are found, last"
    assert words[-1].endswith("\nGo.") and "__main__.py mbox" in words[-1], "and named: a shell that makes PATH anew has them not"


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_a_member_in_a_pane_has_the_path_that_its_team_file_says(repo: Path, tmp_path: Path, team: Run) -> None:
    """tmux would give it that of whoever called the team; also when it is started again in its pane."""
    line = ["sh", "-c", 'echo "$PATH" >> "$OUT"; sleep 60']
    environ = {"PATH": "/usr/bin:/bin:/nowhere/of/mine", "OUT": str(tmp_path / "out")}
    file = write(repo, host="shell", command=line, env=environ, prompt="", respawn=True)
    with server(tmp_path) as socket:
        assert team("team", "up", file, "--socket", socket).returncode == 0
        until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text(), "its start")
        team("mbox", "watchdog", "--once")
        os.kill(json.loads((repo / ".mailbox/heartbeat/ann").read_text())["pid"], signal.SIGKILL)
        until(lambda: len((tmp_path / "out").read_text().splitlines()) == 2, "its second start", 30)
        assert set((tmp_path / "out").read_text().splitlines()) == {f"/usr/bin:/bin:/nowhere/of/mine:{BIN}"}
        team("team", "down", "--force")


def test_a_member_that_could_not_write_is_not_started(repo: Path, tmp_path: Path, team: Run) -> None:
    """Exit 2, who and why in one line; nobody runs."""
    done = team("team", "up", write(repo, worktree=True), "--no-tmux", CLOSED="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "ann could not work" in done.stderr and "Read-only file system" in done.stderr and "worktrees/blue-ann" in done.stderr
    assert not (tmp_path / "seen").exists()
    done = team("team", "up", write(repo, worktree=True, command=["codex", "-s", "read-only"]), "--no-tmux")
    assert done.returncode == 2, "what the member says counts"
    done = team("team", "up", write(repo, host="shell", command=["sleep", "9"], sandbox=["false"], prompt=""), "--no-tmux")
    assert done.returncode == 2 and "ann could not work" in done.stderr, "its sandbox words are tried, whatever the host"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["codex"], []),
        (["/opt/codex", "-s", "read-only", "-c", 'model="x"'], ["-c", "sandbox_mode=read-only", "-c", 'model="x"']),
        (["codex", "--sandbox=workspace-write", "--search"], ["-c", "sandbox_mode=workspace-write"]),
        (["codex", "--yolo", "Go -c x"], ["-c", "sandbox_mode=danger-full-access"]),
    ],
)
def test_the_options_of_a_member_go_along_into_the_probe(words: list[str], options: list[str]) -> None:
    """First by its settings, then in the mode that a trusted folder has, which the member's own words overrule."""
    mode = ["-c", "sandbox_mode=workspace-write"]
    assert CODEX.probes(words, ["true"]) == [
        [words[0], "sandbox", *options, "--", "true"], [words[0], "sandbox", *mode, *options, "--", "true"],
    ]  # fmt: skip


def test_a_command_of_the_persons_own_is_left_as_it_is(repo: Path, run: Run) -> None:
    """Options of the host's program would be none of a script's; access is looked at instead."""
    run("mbox", "init", cwd=repo, check=True)
    store = open_store(str(repo), str(repo))
    try:
        member = {"name": "ann", "host": "codex", "command": ["./start", "x"]}
        assert CODEX.probes(["./start", "x"], ["true"]) == []
        assert panes.words(store, member)[-3:] == ["--", "./start", "x"]
        access.prove(store, member, str(repo), {}, [])
    finally:
        store.close()
