"""Sandboxes by a word, run for real: a member can do its work in one, and can write nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.errors import Usage
from mbox.team import sandboxes, teamfile
from taskkit import World
from teamkit import CONFIG, end_all, environment, has_bwrap, until

WORK = """\
#!/usr/bin/env bash
cd "$PWD" && claimed=$(task claim --start -o env) && eval "$claimed"
echo mine >file && git add file && git commit -q -m mine && task done "$TASK_ID" -o id
echo x >"$HOME/.claude/settings" || true
for path in "$MBOX_ROOT/README" "$HOME/other" "$MBOX_ROOT/.git/hooks/post-commit" "$MBOX_ROOT/.git/config"; do
    if echo x >>"$path"; then echo "wrote $path"; fi
done
touch /tmp/only-mine && ls /tmp >seen
echo "pid $$"; cat /proc/net/route >net; git add seen net; git commit -q -m seen; echo finished
exec sleep 1000
"""


def has_docker() -> bool:
    """Whether a daemon answers."""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


class Team:
    """A repository with a commit, a task and a store, a home, and calls in it."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.root, self.home, self.tree = run, folder / "repo", folder / "home", folder / "repo.worktrees/blue-w"
        (self.home / ".claude").mkdir(parents=True)
        self.root.mkdir()
        (self.home / ".gitconfig").write_text("[user]\n name = w\n email = w@w\n")
        self.environ = {"PATH": environment()["PATH"], "HOME": str(self.home)}
        (self.root / "README").write_text("read me\n")
        (self.root / "work").write_text(WORK)
        (self.root / "work").chmod(0o755)
        for words in ("init -q", "add README work", "commit -q -m All"):
            self("git", *words.split())
        (self.root / ".git/hooks").mkdir(exist_ok=True)
        self("mbox", "init")
        self("task", "add", "a job")
        (self.root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*words, cwd=self.root, env=self.environ, check=check, timeout=90)

    def up(self, sandbox: Any, command: str = "./work", check: bool = True) -> subprocess.CompletedProcess[str]:
        row = {"name": "w", "host": "claude", "command": [command], "worktree": True, "sandbox": sandbox}
        (self.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [row]}))
        return self("team", "up", "blue.yaml", "--no-tmux", check=check)

    def does(self, script: str) -> str:
        """What a member says that runs ``script`` in its tree, before ``finished``."""
        (self.root / "work").write_text(f"#!/bin/sh\n{script}\necho finished; exec sleep 1000\n")
        self("git", "commit", "-qam", "script")
        self.up("bwrap")
        return str(until(lambda: "finished" in (text := self.log()) and text, self.log))

    def log(self) -> str:
        path = self.root / ".mailbox/cache/logs/w.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def team(run: Run, tmp_path: Path) -> Iterator[Team]:
    """A team's place, in which nothing is left running."""
    made = Team(run, tmp_path)
    yield made
    end_all(made.root)


@pytest.mark.skipif(not has_bwrap(), reason="bubblewrap is not installed, or may make no namespaces here")
@pytest.mark.parametrize("network", [True, False])
def test_a_member_works_in_bwrap_and_writes_nowhere_else(team: Team, network: bool) -> None:
    """It claims, commits, finishes; its pids are its own; what a hook would run outside is not its to write."""
    team.up("bwrap" if network else {"bwrap": True, "network": False})
    until(lambda: "finished" in team.log(), team.log)
    assert json.loads(team("task", "list", "--status", "done", "-o", "json").stdout)[0]["status"] == "done"
    assert "wrote" not in team.log() and team.log().count("Read-only file system") == 4
    assert int(team.log().partition("pid ")[2].split()[0]) < 20
    assert (team.home / ".claude/settings").read_text() == "x\n"
    assert "only-mine" in (team.tree / "seen").read_text() and not Path("/tmp/only-mine").exists()
    assert ("eth" in (team.tree / "net").read_text()) <= network
    assert team("git", "log", "--format=%s", "mbox/blue/w").stdout.startswith("seen\nmine\n")
    done = json.loads(team("team", "down", "--force").stdout)
    assert "unmerged" in done["trees_kept"][0]
    left = subprocess.run(["pgrep", "-xa", "bwrap"], capture_output=True, text=True, check=False).stdout
    assert str(team.root) not in left


BWRAP = pytest.mark.skipif(not has_bwrap(), reason="bubblewrap is not installed, or may make no namespaces here")


@BWRAP
def test_what_git_runs_outside_is_closed(team: Team) -> None:
    """Also where there are no hooks yet, those and the configuration of a submodule, and a configuration by work tree."""
    (team.home / "lib").mkdir()
    for words in ("init -q", "commit -q --allow-empty -m lib"):
        team("git", "-C", str(team.home / "lib"), *words.split())
    team("git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(team.home / "lib"), "lib")
    team("git", "config", "extensions.worktreeConfig", "true")
    for folder in (team.root / ".git", team.root / ".git/modules/lib"):
        shutil.rmtree(folder / "hooks", ignore_errors=True)
    common = team.root / ".git"
    paths = [common / "hooks/post-commit", common / "config.worktree", common / "worktrees/blue-w/config.worktree",
             common / "modules/lib/hooks/post-checkout", common / "modules/lib/config"]  # fmt: skip
    said = team.does("\n".join(f"mkdir -p {path.parent}; echo x >>{path} && echo wrote {path}" for path in paths))
    assert "wrote" not in said and said.count("Read-only file system") >= len(paths), said


@BWRAP
def test_links_lead_to_what_is_writable(team: Team) -> None:
    """Settings that stand in a folder of dotfiles, and a home that has another name."""
    (team.home / ".claude").rmdir()
    (team.home / "dotfiles").mkdir()
    (team.home / ".claude").symlink_to(team.home / "dotfiles")
    (team.home.parent / "me").symlink_to(team.home)
    team.environ["HOME"] = str(team.home.parent / "me")
    assert "wrote" in team.does("echo x >~/.claude/settings && echo wrote") and (team.home / "dotfiles/settings").exists()


@BWRAP
def test_a_program_that_is_not_in_the_sandbox(team: Team, tmp_path: Path) -> None:
    """Nothing is recorded. One that stands in /tmp, in a folder with a blank, is there."""
    done = team.up("bwrap", "no-such-program", check=False)
    assert done.returncode == 2 and "no program no-such-program in it" in done.stderr
    assert json.loads(team("mbox", "agent", "list", "-o", "json").stdout) == [] and not team.tree.exists()
    done = team.up(["env", "PATH=/nowhere"], "sleep", check=False)
    assert done.returncode == 2 and "no program sleep in it" in done.stderr
    (tmp_path / "my tools").mkdir()
    (tmp_path / "my tools/agent").write_text("#!/bin/sh\necho finished; exec sleep 1000\n")
    (tmp_path / "my tools/agent").chmod(0o755)
    team.up("bwrap", str(tmp_path / "my tools/agent"))
    until(lambda: "finished" in team.log(), team.log)


@BWRAP
def test_one_word_for_one_agent(team: Team) -> None:
    """``bwrap`` alone is the preset: where the agent stands it writes, and nowhere else."""
    team("mbox", "agent", "add", "w")
    script = "echo x >mine && echo wrote; echo x >~/other; mbox me -o id"
    done = team("mbox", "run", "--as", "w", "--no-watchdog", "--sandbox", "bwrap", "--", "sh", "-c", script)
    assert "wrote" in done.stdout and "Read-only file system" in done.stderr and (team.root / "mine").exists()


@pytest.mark.skipif(not has_docker(), reason="no docker daemon answers: containers are not tried")
def test_a_member_runs_in_a_container(team: Team) -> None:
    """Of an image that is here already; nothing is pulled."""
    images = subprocess.run(["docker", "images", "-q"], capture_output=True, text=True, check=True).stdout.split()
    if not images:
        pytest.skip("docker has no image here")
    (team.root / "work").write_text("#!/bin/sh\necho in >seen\nexec sleep 1000\n")
    team("git", "commit", "-qam", "simple")
    team.up({"docker": images[0], "network": False})
    until((team.tree / "seen").exists, team.log)
    team("team", "down", "--force")


def test_a_containers_words(tmp_path: Path) -> None:
    """Variables by name alone, no network where none is wanted, the image behind all options."""
    world = World(tmp_path)
    row = {"name": "w", "host": "codex", "sandbox": {"docker": "some/image:1", "network": False}}
    (tmp_path / "codex").mkdir()
    line = sandboxes.words(world.store, row, "/tree", {"HOME": "/h", "CODEX_HOME": f"{tmp_path}/codex"}, ["MY_KEY"])
    assert line[:2] == ["docker", "run"] and line[-3:] == ["--workdir", "/tree", "some/image:1"]
    pairs = list(pairwise(line))
    assert ("--network", "none") in pairs and ("--env", "MY_KEY") in pairs and ("--env", "MBOX_INCARNATION") in pairs
    for path in ("/tree", f"{world.root}/.mailbox", f"{world.root}/.tasks", f"{tmp_path}/codex"):
        assert ("--volume", f"{path}:{path}") in pairs


def test_a_container_has_a_terminal_where_the_member_has_one(tmp_path: Path) -> None:
    """And what git knows of the person, to read: a commit needs a name."""
    world = World(tmp_path)
    (tmp_path / ".gitconfig").write_text("[user]\n name = w\n")
    row = {"name": "w", "host": "codex", "sandbox": {"docker": "some/image:1"}}
    for terminal in (True, False):
        line = sandboxes.words(world.store, row, "/tree", {"HOME": str(tmp_path)}, [], terminal)
        assert ("--tty" in line) == terminal
        assert ("--volume", f"{tmp_path}/.gitconfig:{tmp_path}/.gitconfig:ro") in pairwise(line)


@pytest.mark.parametrize("value", ["firejail", {"docker": ""}, {"docker": "--privileged"}, {"bwrap": False}, {"network": False},
                                   {"bwrap": True, "docker": "x"}, [], 7])  # fmt: skip
def test_what_is_no_sandbox_is_refused(value: Any) -> None:
    """With the mend."""
    with pytest.raises(Usage, match=r"sandbox|docker is empty"):
        teamfile.parse(json.dumps({"team": "b", "members": [{"name": "w", "sandbox": value}]}), "/b.yaml")


@pytest.mark.parametrize(("line", "said"), [("env 'BOX=a b' X=1", "a b 1"), ("env BOX=a\\ b", "a b "),
                                            ("env BOX=a \\\n  X=1", "a 1"), ("env 'BOX=a\\\nb'", "a\\\nb ")])  # fmt: skip
def test_one_line_is_split_as_a_shell_splits(team: Team, line: str, said: str) -> None:
    """Quotes and backslashes, and nothing else of a shell."""
    team("mbox", "agent", "add", "w")
    done = team("mbox", "run", "--as", "w", "--no-watchdog", "--sandbox", line, "--", "sh", "-c", 'echo "$BOX $X"')
    assert done.stdout == f"{said}\n"


@pytest.mark.parametrize("line", ["env 'x", ""])
def test_a_line_that_is_none(team: Team, line: str) -> None:
    """An open quote, nothing at all: exit 2, and nothing runs."""
    team("mbox", "agent", "add", "w")
    done = team("mbox", "run", "--as", "w", "--sandbox", line, "--", "touch", "ran", check=False)
    assert done.returncode == 2 and "--sandbox" in done.stderr and not (team.root / "ran").exists()
