"""A team that cannot be is refused before anything is recorded; who ends within its first seconds is named with its words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from teamkit import CONFIG, end_all, environment, until

SLEEP: dict[str, Any] = {"host": "shell", "command": ["sleep", "1000"]}
FAILS: dict[str, Any] = {"host": "shell", "command": ["bash", "-c", "echo not logged in; sleep 0.3; exit 3"]}


class Team:
    """A repository with a commit and a store, and calls in it."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root = run, root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("commit", "--quiet", "--allow-empty", "--message=Begin")
        run("mbox", "init", cwd=root, check=True)
        (root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")

    def git(self, *words: str) -> str:
        return self.run("git", *words, cwd=self.root, check=True).stdout

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(*words, cwd=self.root, env={"PATH": environment()["PATH"]}, timeout=90, check=False)

    def up(self, member: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        (self.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [{"name": "w", **member}]}))
        return self("team", "up", "blue.yaml", *words)

    def refuses(self, member: dict[str, Any], said: str, *words: str) -> None:
        """Exit 2 with these words; nobody registered, no team, no tree, no branch."""
        before = self.git("for-each-ref"), sorted(os.listdir(self.root.parent))
        done = self.up(member, *(words or ("--no-tmux",)))
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert json.loads(self("mbox", "agent", "list", "-o", "json").stdout) == []
        assert not list((self.root / ".mailbox").glob("teams/*.json"))
        assert (self.git("for-each-ref"), sorted(os.listdir(self.root.parent))) == before
        assert self.git("worktree", "list").count("\n") == 1

    def status(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self("team", "status", "-o", "json").stdout)
        return found[0]


@pytest.fixture
def team(run: Run, tmp_path: Path) -> Iterator[Team]:
    """A team's place, in which nothing is left running."""
    made = Team(run, tmp_path / "repo")
    yield made
    end_all(made.root)


# -- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("branch", "worktree"), [("mbox", True), ("mbox/blue", True), ("a/b", "a"), ("mbox/blue/w/x", True)])
def test_a_branch_that_collides(team: Team, branch: str, worktree: bool | str) -> None:
    """A branch cannot be a folder of others, nor the other way round; both are named."""
    team.git("branch", branch)
    team.refuses({"worktree": worktree, **SLEEP}, f"cannot be beside branch {branch}")


def test_a_filter_that_fails(team: Team) -> None:
    """A required filter that only the repository's configuration names does not run: git's words, and the mend."""
    team.git("config", "filter.big.smudge", "cat")
    team.git("config", "filter.big.clean", "cat")
    team.git("config", "filter.big.required", "true")
    (team.root / ".gitattributes").write_text("*.bin filter=big\n")
    (team.root / "a.bin").write_text("x")
    team.git("add", ".gitattributes", "a.bin")
    team.git("commit", "--quiet", "--message=big")
    team.refuses({"worktree": True, **SLEEP}, "of the repository's own configuration did not run")


def test_a_program_that_is_not_in_the_members_tree(team: Team) -> None:
    """It stands in the root and was never committed; once it is, the member runs. A trial says the same."""
    (team.root / "worker").write_text("#!/bin/sh\nexec sleep 1000\n")
    (team.root / "worker").chmod(0o755)
    member = {"worktree": True, "host": "shell", "command": ["./worker"]}
    team.refuses(member, "no program ./worker in what is committed")
    team.refuses(member, "no program ./worker in what is committed", "--no-tmux", "--dry-run")
    team.refuses({"host": "shell", "command": ["./other"]}, f"no program ./other in {team.root}")
    team.refuses({"host": "shell", "command": ["no-such-program"]}, "no program no-such-program on the PATH")
    team.git("add", "worker")
    team.git("commit", "--quiet", "--message=worker")
    assert team.up(member, "--no-tmux").returncode == 0


def test_a_socket_that_no_kernel_takes(team: Team, socket: str) -> None:
    """107 bytes are the most that the path of a socket has."""
    long = f"{Path(socket).parent}/{'x' * 120}"
    team.refuses(SLEEP, f"has {len(long)} bytes, and a socket's path at most 107", "--socket", long)


def test_a_link_makes_no_socket_shorter(team: Team, socket: str) -> None:
    """What counts is where it really is."""
    folder = Path(socket).parent / ("x" * 120)
    folder.mkdir()
    (folder.parent / "short").symlink_to(folder)
    team.refuses(SLEEP, "and a socket's path at most 107", "--socket", f"{folder.parent}/short/s")


def test_a_socket_where_none_can_be(team: Team, socket: str) -> None:
    """A folder that is not there; a file of the person's, which stays as it is; a folder."""
    folder = Path(socket).parent / "other"
    team.refuses(SLEEP, "no tmux server can be at the socket", "--socket", f"{folder.parent}/none/s")
    folder.mkdir()
    (folder / "notes").write_text("mine\n")
    team.refuses(SLEEP, "is no socket", "--socket", f"{folder}/notes")
    team.refuses(SLEEP, "is no socket", "--socket", str(folder))
    assert (folder / "notes").read_text() == "mine\n"


def test_a_plan_that_is_refused_leaves_no_tree(team: Team) -> None:
    """The tree was made before the record; it goes with the branch that was begun, and an older branch stays."""
    (team.root / "plan.yaml").write_text("tasks:\n  - {id: a, title: A, depends_on: [nobody]}\n")
    team.refuses({"worktree": True, **SLEEP}, "nobody", "--no-tmux", "--tasks", "plan.yaml")
    team.git("branch", "old")
    team.refuses({"worktree": "old", **SLEEP}, "nobody", "--no-tmux", "--tasks", "plan.yaml")


# -- who does not stay up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tmux", [True, False])
def test_who_ends_within_its_first_seconds_is_named(team: Team, tmux: bool, request: pytest.FixtureRequest) -> None:
    """Exit 1, its status and its last words; `team status` has both, and not what tmux says of a dead pane."""
    words = ("--socket", request.getfixturevalue("socket")) if tmux else ("--no-tmux",)
    done = team.up(FAILS, *words)
    assert done.returncode == 1, done.stderr
    assert "did not stay up: w (bash exited with 3 after" in done.stderr and "not logged in)" in done.stderr
    assert json.loads(done.stdout)["started"].keys() == {"w"}
    row = team.status()
    assert row["says"] == "not logged in" and row["broken"].startswith("bash exited with 3 after")


@pytest.mark.parametrize("tmux", [True, False])
def test_who_was_started_again_meanwhile_is_named(team: Team, tmux: bool, request: pytest.FixtureRequest) -> None:
    """The watchdog was quicker: it runs by now, and ended within its first seconds all the same."""
    words = ("--socket", request.getfixturevalue("socket")) if tmux else ("--no-tmux",)
    once = 'test -e again && exec sleep 1000; touch again; echo not logged in; sleep 0.3; exit 3'
    rows = [{"name": "w", "host": "shell", "command": ["sh", "-c", once], "respawn": True}, {"name": "other", **SLEEP}]
    (team.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": rows}))
    done = team("team", "up", "blue.yaml", *words)
    assert done.returncode == 1 and "did not stay up: w (sh exited with 3 after" in done.stderr, done.stderr
    row = until(lambda: (row := team.status())["alive"] == "alive" and row, team.status)
    assert "broken" not in row and "says" not in row, "these are the words of an earlier start"


@pytest.mark.parametrize("tmux", [True, False])
def test_last_words_are_of_the_last_start(team: Team, tmux: bool, request: pytest.FixtureRequest) -> None:
    """A member that was mended and is silent says nothing."""
    words = ("--socket", request.getfixturevalue("socket")) if tmux else ("--no-tmux",)
    assert team.up(FAILS, *words).returncode == 1
    assert team.up(SLEEP, *words).returncode == 0
    assert "says" not in team.status()


def test_who_has_nothing_to_do_is_not_broken(team: Team) -> None:
    """It ends with 0, as soon as that is known."""
    done = team.up({"host": "shell", "command": ["true"]}, "--no-tmux")
    assert done.returncode == 0, done.stderr
    assert "broken" not in team.status()


def test_who_was_started_too_often_is_broken(team: Team, socket: str) -> None:
    """The watchdog's word for it, with the last words of its pane."""
    team.up({**FAILS, "respawn": {"times": 1, "within": "10m"}}, "--socket", socket)
    row = until(lambda: (row := team.status()) and "a person has to look" in row.get("broken", "") and row, team.status)
    assert row["says"] == "not logged in"
