"""What a member's new working tree has beside what was committed, and what is said of what it has not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.errors import Usage
from mbox.team import teamfile
from teamkit import CONFIG, end_all, environment, until


class Team:
    """A repository with a store and an ignored ``.env``, and calls in it."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root, self.tree = run, root, root.parent / "repo.worktrees/blue-w"
        self.repository(root)
        (root / ".gitignore").write_text(".env\n/lib/\nconf/key\n")
        self.commit(root)
        (root / ".env").write_text("KEY=value\n")
        (root / ".env").chmod(0o640)
        run("mbox", "init", cwd=root, check=True)
        (root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")

    def git(self, at: Path, *words: str) -> str:
        return self.run("git", "-c", "protocol.file.allow=always", *words, cwd=at, check=True).stdout

    def repository(self, at: Path) -> None:
        at.mkdir()
        self.git(at, "init", "--quiet", "--initial-branch=main")
        (at / "file").write_text(at.name)

    def commit(self, at: Path) -> None:
        self.git(at, "add", "--all")
        self.git(at, "commit", "--quiet", "--message=All")

    def up(self, **member: Any) -> subprocess.CompletedProcess[str]:
        row = {"name": "w", "host": "shell", "command": ["sleep", "1000"], "worktree": True, **member}
        (self.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [row]}))
        return self("team", "up", "blue.yaml", "--no-tmux")

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(*words, cwd=self.root, env={"PATH": environment()["PATH"]}, timeout=90, check=False)

    def refuses(self, said: str, **member: Any) -> str:
        """Exit 2 with these words; no agent, no tree, no branch; what was said."""
        done = self.up(**member)
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert json.loads(self("mbox", "agent", "list", "-o", "json").stdout) == []
        assert not self.tree.exists() and "blue" not in self.git(self.root, "branch")
        return done.stderr


@pytest.fixture
def team(run: Run, tmp_path: Path) -> Iterator[Team]:
    """A team's place, in which nothing is left running."""
    made = Team(run, tmp_path / "repo")
    yield made
    end_all(made.root)


def test_ignored_files_are_copied_or_named(team: Team) -> None:
    """Content and mode; a clean tree goes with them; without ``copy`` it is said what the new tree has not, once."""
    assert team.up(copy=[".env"]).returncode == 0
    assert (team.tree / ".env").read_text() == "KEY=value\n" and (team.tree / ".env").stat().st_mode & 0o777 == 0o640
    assert json.loads(team("team", "down", "--force").stdout)["trees_removed"] == [str(team.tree)]
    assert "w: its new working tree has no .env, which git ignores; say copy: [.env]" in team.up().stderr
    assert ".env" not in team.up().stderr
    team("team", "down", "--force")
    assert ".env" not in team.up(copy=[]).stderr


def test_copies_by_a_pattern(team: Team) -> None:
    """Ignored files alone, and never the store's; one that nothing meets is refused, and so is a link that leads out."""
    (team.root / "conf").mkdir()
    for name in ("conf/key", "lib", ".env.local"):
        (team.root / name).write_text(name)
    (team.root / ".gitignore").write_text(".env*\nlib\nconf/key\n")
    team.commit(team.root)
    assert team.up(copy=[".env*", "**/key", "li[b]"]).returncode == 0
    assert {path.name for path in team.tree.rglob("*") if path.is_file()} == {".git", ".gitignore", "file", ".env", ".env.local",
                                                                              "key", "lib"}  # fmt: skip
    assert not (team.tree / ".mailbox").exists()


@pytest.mark.parametrize(("path", "said"), [("*.none", "ignores no such file"), ("**/config.yaml", "ignores no such file"),
                                            ("fil?", "ignores no such file"), (".en*", "is no file")])  # fmt: skip
def test_a_pattern_for_nothing_is_refused(team: Team, path: str, said: str) -> None:
    """No such file, the store's own, one of a commit; a link, which may lead out."""
    (team.root / ".env").unlink()
    (team.root / ".env").symlink_to("/etc/passwd")
    team.refuses(said, copy=[path])


@pytest.mark.parametrize(("path", "said"), [("none", "No such file"), ("file", "is not ignored by git"), ("lib", "is no file")])
def test_what_cannot_be_copied_is_refused(team: Team, path: str, said: str) -> None:
    """Nothing there, a file of a commit, a folder."""
    (team.root / "lib").mkdir()
    team.refuses(said, copy=[path])


def test_nothing_is_copied_out_of_the_tree(team: Team, tmp_path: Path) -> None:
    """A link of the commit that leads elsewhere is not followed."""
    (tmp_path / "elsewhere").mkdir()
    (team.root / "conf").symlink_to(tmp_path / "elsewhere")
    team.git(team.root, "add", "conf")
    team.commit(team.root)
    (team.root / "conf").unlink()
    (team.root / "conf").mkdir()
    (team.root / "conf/key").write_text("x")
    team.refuses("would stand outside of", copy=["conf/key"])
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", ".git/config", "a/../b", "", ".mailbox/config.yaml"])
def test_a_path_out_of_the_main_tree(path: str) -> None:
    """Refused as the file is read."""
    row = {"name": "w", "worktree": True, "copy": [path]}
    with pytest.raises(Usage, match="copy"):
        teamfile.parse(json.dumps({"team": "b", "members": [row]}), "/b.yaml")


def test_who_has_no_tree_is_not_set_up() -> None:
    """Said of the member it is refused; from the defaults it is for those that have one."""
    with pytest.raises(Usage, match="setup: is for a member's own working tree"):
        teamfile.parse(json.dumps({"team": "b", "members": [{"name": "w", "setup": ["make"]}]}), "/b.yaml")
    rows = [{"name": "a"}, {"name": "b", "worktree": True}]
    made = teamfile.parse(json.dumps({"team": "b", "defaults": {"setup": ["make"]}, "members": rows}), "/b.yaml")
    assert [one.setup for one in made.members] == [(), ("make",)]


def test_setup_runs_once_in_the_tree_before_the_program(team: Team) -> None:
    """It makes the program that the member runs; a tree that is there already is not set up again."""
    script = "test $MBOX_AGENT = w; pwd >>../ran; printf '#!/bin/sh\\nexec sleep 1000\\n' >run; chmod +x run"
    for _ in range(2):
        done = team.up(setup=["bash", "-ec", script], command=["./run"])
        assert done.returncode == 0, done.stderr
    assert (team.tree.parent / "ran").read_text() == f"{team.tree}\n"


def test_a_setup_that_fails_says_why(team: Team) -> None:
    """Its output, and nothing is recorded or left."""
    said = team.refuses("setup: bash ended with 3 (see above)", setup=["bash", "-c", "echo out; echo no compiler >&2; exit 3"])
    assert "out" in said and "no compiler" in said
    team.refuses("setup: no-such: No such file", setup=["no-such"])


def test_what_a_setup_leaves_running_is_not_waited_for(team: Team) -> None:
    """A server that it began has its output too."""
    wait = ["sh", "-c", f"sleep 300 & echo $! >{team.root}/pid; test -z \"$FAIL\" || exit 3"]
    try:
        assert team.up(setup=wait).returncode == 0
    finally:
        os.kill(int((team.root / "pid").read_text()), signal.SIGKILL)


def test_a_call_that_is_killed_in_a_setup(team: Team) -> None:
    """The next one makes the tree anew, with all that it is to have; a branch that was there before stays."""
    team.git(team.root, "branch", "old")
    script = 'test -e "$MBOX_ROOT/on" || exec sleep 300; touch whole'
    row = {"name": "w", "host": "shell", "command": ["sleep", "1000"], "setup": ["sh", "-c", f"echo $$ >part; {script}"]}
    for worktree, kept in ((True, False), ("old", True)):
        (team.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [{**row, "worktree": worktree}]}))
        call = subprocess.Popen(["team", "up", "blue.yaml", "--no-tmux"], cwd=team.root, env=environment())
        until((team.tree / "part").exists, "no setup")
        until((team.tree / "part").read_text, "no pid")
        os.kill(int((team.tree / "part").read_text()), signal.SIGSTOP)
        call.kill()
        call.wait()
        os.kill(int((team.tree / "part").read_text()), signal.SIGKILL)
        (team.root / "on").touch()
        done = team("team", "up", "blue.yaml", "--no-tmux")
        assert done.returncode == 0 and (team.tree / "whole").exists(), done.stderr
        team("team", "down", "--force")
        team.git(team.root, "worktree", "remove", "--force", str(team.tree))
        assert ("old" in team.git(team.root, "branch")) and kept == (worktree == "old")
        (team.root / "on").unlink()


def test_a_tree_that_git_cannot_make_leaves_no_branch(team: Team) -> None:
    """git begins the branch first, and finds then that there is no room for the tree."""
    (team.root.parent / "repo.worktrees").write_text("in the way")
    team.refuses("could not create leading directories")
    (team.root.parent / "repo.worktrees").unlink()


def test_a_filter_that_did_not_run_is_said(team: Team) -> None:
    """It is the repository's own, and not required: the file is as it is stored."""
    team.git(team.root, "config", "filter.big.smudge", "cat")
    (team.root / ".gitattributes").write_text("*.bin filter=big\n")
    (team.root / "a.bin").write_text("pointer")
    team.commit(team.root)
    assert "w: a.bin as stored, because filter.big.smudge of the repository's own configuration" in team.up().stderr


def test_a_submodule_that_goes_again_leaves_nothing(team: Team, tmp_path: Path) -> None:
    """Not even in its own repository; one whose repository stands among its files is named, with the mend."""
    for name in ("outer", "apart"):
        team.repository(tmp_path / name)
        team.commit(tmp_path / name)
    (tmp_path / "apart").rename(team.root / "apart")
    for path in (str(tmp_path / "outer"), "./apart"):
        team.git(team.root, "submodule", "--quiet", "add", path, Path(path).name)
    team.git(team.root, "commit", "--quiet", "--message=Submodules")
    said = team.refuses("setup: false ended with 1", setup=["false"])
    assert "submodule apart is empty: its repository stands among its files: `git submodule absorbgitdirs`" in said
    assert team.git(team.root / "outer", "worktree", "list").count("\n") == 1


def test_submodules_come_from_the_main_tree(team: Team, tmp_path: Path) -> None:
    """Also one in another, without their origin; one that the main tree has not is named. git keeps such a tree, and says why."""
    for name in ("inner", "outer", "other"):
        team.repository(tmp_path / name)
        if name == "outer":
            team.git(tmp_path / name, "submodule", "--quiet", "add", str(tmp_path / "inner"), "in")
        team.commit(tmp_path / name)
    for name in ("outer", "other"):
        team.git(team.root, "submodule", "--quiet", "add", "--name", f"the {name}", str(tmp_path / name), name)
    team.git(team.root, "submodule", "--quiet", "update", "--init", "--recursive")
    team.git(team.root, "commit", "--quiet", "--message=Submodules")
    (team.root / ".git/modules/the other").rename(tmp_path / "kept")
    for name in ("inner", "outer", "other"):
        (tmp_path / name).rename(tmp_path / f"{name}.gone")
    done = team.up()
    assert done.returncode == 0 and "submodule other is empty: the main tree has not initialised it" in done.stderr
    assert (team.tree / "outer/file").read_text() == "outer" and (team.tree / "outer/in/file").read_text() == "inner"
    assert team.git(team.tree, "status", "--porcelain") == ""
    assert team.git(team.tree / "outer", "rev-parse", "HEAD") == team.git(team.root / "outer", "rev-parse", "HEAD")
    assert team.run("mbox", "me", "--as", "w", cwd=team.tree / "outer", env={"MBOX_ROOT": str(team.root)}).returncode == 0
    kept = json.loads(team("team", "down", "--force").stdout)["trees_kept"]
    assert "working trees containing submodules cannot be moved or removed" in kept[0]


def test_a_locked_tree_is_kept_with_gits_own_words(team: Team) -> None:
    """Why it was locked is in them."""
    team.up()
    team.git(team.root, "worktree", "lock", "--reason", "on a stick", str(team.tree))
    kept = json.loads(team("team", "down", "--force").stdout)["trees_kept"]
    assert "git does not remove it: " in kept[0] and "on a stick" in kept[0]
