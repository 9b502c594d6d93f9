"""Teams in the tmux that a person has: its configuration, sessions and panes that the person moved, panes of the person's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.format import places
from teamkit import CONFIG, HAVE_TMUX, NO_TMUX, end_all, environment, server, until

PROBE = "#!/bin/sh\necho up; while read -r line; do echo \"$line\" >>\"$MBOX_ROOT/heard.$MBOX_AGENT\"; done\n"


class Team:
    """A repository with a store, a home with a tmux configuration, and a private server."""

    def __init__(self, run: Run, folder: Path, socket: str) -> None:
        self.run, self.root, self.home, self.socket = run, folder / "repo", folder / "home", socket
        self.root.mkdir()
        self.home.mkdir()
        self.environ = {"PATH": environment()["PATH"], "HOME": str(self.home)}
        run("git", "init", "--quiet", cwd=self.root, check=True)
        self("mbox", "init")
        (self.root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
        (self.root / "probe").write_text(PROBE)
        (self.root / "probe").chmod(0o755)

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*words, cwd=self.root, env=self.environ, check=check, timeout=90)

    def configured(self, text: str) -> None:
        (self.home / ".tmux.conf").write_text(text)

    def up(self, count: int = 2, check: bool = True, **more: Any) -> dict[str, str]:
        """The pane of each member that was started."""
        row = {"role": "w", "count": count, "host": "shell", "command": ["./probe"], **more}
        (self.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": [row]}))
        started: dict[str, str] = json.loads(self("team", "up", "blue.yaml", "--socket", self.socket).stdout)["started"]
        return started

    def slow(self, what: str, seconds: float) -> None:
        """Have tmux take so long for each command whose first word begins with ``what``."""
        folder = self.root.parent / "slow"
        folder.mkdir()
        line = f'for word; do case "$word" in {what}*) sleep {seconds};; esac; done; exec {shutil.which("tmux")} "$@"'
        (folder / "tmux").write_text(f"#!/bin/sh\n{line}\n")
        (folder / "tmux").chmod(0o755)
        self.environ["PATH"] = f"{folder}:{self.environ['PATH']}"

    def tmux(self, *words: str) -> str:
        line = ["tmux", "-S", self.socket, *words]
        return subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, **self.environ}).stdout

    def panes(self) -> list[str]:
        try:
            return self.tmux("list-panes", "-a", "-F", "#{pane_id}").split()
        except subprocess.CalledProcessError:
            return []

    def hears(self, name: str, pane: str) -> None:
        """What is typed into the pane reaches the member's program."""
        self.tmux("send-keys", "-t", pane, "hello", "Enter")
        path = self.root / f"heard.{name}"
        until(lambda: path.exists() and path.read_text() == "hello\n", f"{name} is deaf", at=self.root)
        path.unlink()

    def killed(self, name: str) -> str:
        """Kill a member's wrapper; the pane in which the watchdog starts it again."""
        path = self.root / places.heartbeat(name)
        before = json.loads(path.read_text())
        os.kill(before["pid"], signal.SIGKILL)
        until(lambda: json.loads(path.read_text())["incarnation"] > before["incarnation"], "a respawn", at=path.parent)
        status = self.root / places.status(name)
        until(lambda: json.loads(status.read_text())["state"] != "ended", "its status", at=status.parent)
        return str(json.loads(status.read_text())["pane"])


@pytest.fixture
def team(run: Run, tmp_path: Path) -> Iterator[Team]:
    """A place for a team."""
    if not HAVE_TMUX:
        pytest.skip(NO_TMUX)
    with server(tmp_path) as socket:
        made = Team(run, tmp_path, socket)
        yield made
        end_all(made.root)


def test_a_bad_line_leaves_nobody_deaf(team: Team) -> None:
    """tmux shows what is wrong in the first pane, in a mode that takes every key."""
    team.configured("set -g no-such-option on\nfrobnicate\n")
    for name, pane in team.up().items():
        team.hears(name, pane)


def test_what_a_configuration_says_later_leaves_nobody_deaf(team: Team) -> None:
    """A job that it began in the background fails when the pane is long there."""
    team.configured('run-shell -b "sleep 0.8; exit 3"\n')
    for name, pane in team.up(1).items():
        team.hears(name, pane)


@pytest.mark.parametrize("hook", ["after-new-session", "session-created"])
def test_a_hook_that_names_sessions(team: Team, hook: str) -> None:
    """The session has another name as soon as it is made: it is known by its panes."""
    team.configured(f'set-hook -g {hook} "rename-session work"\nset -g destroy-unattached on\n')
    started = team.up(2)
    for name, pane in started.items():
        team.hears(name, pane)
    assert set(team.tmux("list-panes", "-a", "-F", "#{session_name}").split()) == {"work"}
    assert team("team", "down", "--force").returncode == 0 and team.panes() == []



def test_each_has_its_own_first_seconds(team: Team) -> None:
    """Also where it took longer than those until the last of them was started."""
    team.slow("split-window", 1.2)
    rows = [{"name": f"w{n}", "host": "shell", "command": ["./probe"]} for n in range(3)]
    rows.append({"name": "last", "host": "shell", "command": ["sh", "-c", "sleep 1; exit 3"]})
    (team.root / "blue.yaml").write_text(json.dumps({"members": rows}))
    done = team("team", "up", "blue.yaml", "--socket", team.socket, check=False)
    assert done.returncode == 1 and "did not stay up: last (sh exited with 3" in done.stderr, done.stderr


def test_a_pane_that_has_gone_before_it_was_told_to_stay(team: Team) -> None:
    """On a machine that is slow a program may end first; both are named, and the second is started all the same."""
    team.slow("set-", 1)
    rows = [{"name": name, "host": "shell", "command": ["sh", "-c", f"exit {n}"]} for n, name in enumerate("ab", 3)]
    (team.root / "blue.yaml").write_text(json.dumps({"members": rows}))
    done = team("team", "up", "blue.yaml", "--socket", team.socket, check=False)
    assert done.returncode == 1, done.stderr
    assert "a (sh exited with 3" in done.stderr and "b (sh exited with 4" in done.stderr


def test_a_session_that_nobody_looks_at_stays(team: Team) -> None:
    """``destroy-unattached on`` holds for the person's sessions, not for ours."""
    team.configured("set -g destroy-unattached on\n")
    started = team.up()
    assert sorted(started.values()) == sorted(team.panes())
    assert team("team", "down", "--force").returncode == 0 and team.panes() == []


def test_a_server_that_ends_at_once_is_refused(team: Team) -> None:
    """``exit-unattached on``: nothing is recorded, and the mend is named."""
    team.configured("set -s exit-unattached on\n")
    (team.root / "blue.yaml").write_text(json.dumps({"members": [{"name": "w", "command": ["./probe"]}]}))
    done = team("team", "up", "blue.yaml", "--socket", team.socket, check=False)
    assert done.returncode == 2 and "exit-unattached off" in done.stderr
    assert json.loads(team("mbox", "agent", "list", "-o", "json").stdout) == []


def test_a_window_without_room(team: Team) -> None:
    """Who finds no room in a window that a person looks at, and that is small, gets a window of its own."""
    team.configured("set -g default-size 20x4\n")
    started = team.up(1)
    team.tmux("resize-window", "-t", started["w-1"], "-x", "20", "-y", "4")
    started |= team.up(5)
    assert sorted(started) == [f"w-{n}" for n in range(1, 6)]
    for name, pane in started.items():
        team.hears(name, pane)
    assert team.tmux("list-windows", "-a").count("\n") > 1


def test_a_session_of_another_name_and_a_pane_that_was_moved(team: Team) -> None:
    """Members are started again where they were, new ones join them, `attach` and `down` find them."""
    started = team.up(2, respawn=True)
    team.tmux("new-session", "-d", "-s", "mine", "sleep", "1000")
    mine = team.tmux("list-panes", "-t", "=mine:", "-F", "#{pane_id}").strip()
    team.tmux("rename-session", "-t", "=mbox-blue", "work")
    team.tmux("join-pane", "-d", "-s", started["w-2"], "-t", "=mine:")
    assert team.killed("w-1") == started["w-1"] and team.killed("w-2") == started["w-2"]
    assert team.up(3, respawn=True).keys() == {"w-3"}
    assert "mbox-blue" not in team.tmux("list-sessions")
    rows = json.loads(team("team", "status", "-o", "json").stdout)
    assert [row.get("says") for row in rows] == ["up"] * 3
    team("team", "down", "--force")
    assert team.panes() == [mine]


def test_a_persons_own_pane_is_left_alone(team: Team) -> None:
    """It stays in our session when the team goes, which is said; the next call joins it."""
    pane = team.up(1)["w-1"]
    mine = team.tmux("split-window", "-d", "-P", "-F", "#{pane_id}", "-t", pane, "sleep", "1000").strip()
    done = team("team", "down", "--force")
    assert team.panes() == [mine] and "mbox-blue stays, because panes of yours are in it" in done.stderr
    assert team.up(1).keys() == {"w-1"} and mine in team.panes()
    team("team", "down", "--force")
    assert team.panes() == [mine]
