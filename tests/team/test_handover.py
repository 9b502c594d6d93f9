"""What a member gets of its caller's own variables: the values reach it alone, and stand nowhere."""

from __future__ import annotations

import json
import os
import signal
import socket as sockets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.errors import Refused, Usage
from mbox.format import places
from mbox.team import handover, teamfile
from teamkit import BIN, CONFIG, end_all, environment, until, watchdogs

PROBE = """\
#!/usr/bin/env python3
import json, os, signal
path = os.environ["MBOX_ROOT"] + "/seen." + os.environ["MBOX_AGENT"]
names = ("ANTHROPIC_API_KEY", "CODEX_HOME", "MY_KEY", "HTTPS_PROXY", "MBOX_HANDOVER", "MINE")
open(path + ".new", "w").write(json.dumps({name: os.environ[name] for name in names if name in os.environ}))
os.rename(path + ".new", path)
signal.pause()
"""
SECRETS = {"ANTHROPIC_API_KEY": "sk-one-5e1f", "CODEX_HOME": "/home-two-5e1f", "MY_KEY": "three-5e1f\n'\";",
           "HTTPS_PROXY": "http://u:four-5e1f@127.0.0.1:1"}  # fmt: skip
MARK = b"5e1f"


class Team:
    """A repository with a store, and calls in it as somebody who has `SECRETS`."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root = run, root
        root.mkdir()
        run("git", "init", "--quiet", "--initial-branch=main", cwd=root, check=True)
        run("mbox", "init", cwd=root, check=True)
        (root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
        (root / "probe").write_text(PROBE)
        (root / "probe").chmod(0o755)

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": environment()["PATH"], **environ}
        return self.run(*words, cwd=self.root, env=given, check=True, timeout=90)

    def file(self, *members: dict[str, Any]) -> str:
        rows = [{"command": ["./probe"], "respawn": True, **member} for member in members]
        (self.root / "blue.yaml").write_text(json.dumps({"team": "blue", "members": rows}))
        return str(self.root / "blue.yaml")

    def saw(self, name: str) -> dict[str, str]:
        """What a member's program had, which is then forgotten."""
        path = self.root / f"seen.{name}"
        found: dict[str, str] = json.loads(until(lambda: path.exists() and path.read_text(), f"{name} saw nothing", at=self.root))
        path.unlink()
        return found

    def kill(self, name: str) -> None:
        os.kill(json.loads((self.root / places.heartbeat(name)).read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def team(run: Run, tmp_path: Path) -> Iterator[Team]:
    """A team's place, in which nothing is left running."""
    made = Team(run, tmp_path / "repo")
    yield made
    end_all(made.root)


def lines() -> list[bytes]:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found


def refuse_traces(team: Team, home: Path) -> None:
    """No value stands in a file of the repository, its store, the person's state, or a command line."""
    for top in (team.root, home):
        for path in top.rglob("*"):
            if path.is_file() and not path.name.startswith("seen."):
                assert MARK not in path.read_bytes(), path
    assert not [line for line in lines() if MARK in line]


@pytest.mark.parametrize("runs_before", [True, False])
def test_a_callers_variables_reach_their_member_alone(team: Team, socket: str, tmp_path: Path, runs_before: bool) -> None:
    """Whether the server runs before or not: each has its own, also when it is started again; they stand nowhere."""
    if runs_before:
        subprocess.run(["tmux", "-S", socket, "new-session", "-d", "-s", "mine"], check=True, env={**os.environ, "MINE": "1"})
    file = team.file({"name": "one", "host": "claude"}, {"name": "two", "host": "codex"},
                     {"name": "three", "host": "shell", "pass_env": ["MY_KEY", "NOT_SET"]})  # fmt: skip
    team("team", "up", file, "--socket", socket, **SECRETS)
    server_has = {"MINE": "1"} if runs_before else {}
    proxy = {"HTTPS_PROXY": SECRETS["HTTPS_PROXY"], **server_has}
    wanted = {"one": {"ANTHROPIC_API_KEY": SECRETS["ANTHROPIC_API_KEY"], **proxy},
              "two": {"CODEX_HOME": SECRETS["CODEX_HOME"], **proxy}, "three": {"MY_KEY": SECRETS["MY_KEY"], **proxy}}  # fmt: skip
    assert {name: team.saw(name) for name in wanted} == wanted
    for words in (["-g"], ["-t", "=mbox-blue"]):
        shown = subprocess.run(["tmux", "-S", socket, "show-environment", *words], capture_output=True, check=True).stdout
        assert MARK not in shown and b"MBOX_HANDOVER=" not in shown
    refuse_traces(team, Path(os.environ["HOME"]))
    until(lambda: watchdogs(team.root), "no watchdog")
    team.kill("three")
    assert team.saw("three") == wanted["three"]
    team("team", "down", "--force")
    team("team", "up", file, "--socket", socket)  # by somebody who has none of them
    assert {name: team.saw(name) for name in wanted} == dict.fromkeys(wanted, server_has)


def test_without_tmux_too(team: Team) -> None:
    """A member that runs detached has its own and no other's; started again, it has them again."""
    file = team.file({"name": "one", "host": "claude"}, {"name": "three", "pass_env": ["MY_KEY"]})
    team("team", "up", file, "--no-tmux", **SECRETS)
    proxy = {"HTTPS_PROXY": SECRETS["HTTPS_PROXY"]}
    assert team.saw("one") == {"ANTHROPIC_API_KEY": SECRETS["ANTHROPIC_API_KEY"], **proxy}
    assert team.saw("three") == {"MY_KEY": SECRETS["MY_KEY"], **proxy}
    refuse_traces(team, Path(os.environ["HOME"]))
    team.kill("three")
    assert team.saw("three") == {"MY_KEY": SECRETS["MY_KEY"], **proxy}


def test_what_one_team_is_handed_is_not_in_a_server_that_another_starts(team: Team, socket: str) -> None:
    """Nor with its members: the caller has the variable, and no member of this team is to have it."""
    first = team.file({"name": "one", "host": "shell", "pass_env": ["MY_KEY"]})
    team("team", "up", first, "--no-tmux", **SECRETS)
    assert team.saw("one")["MY_KEY"] == SECRETS["MY_KEY"]
    rows = [{"name": "two", "command": ["./probe"]}]
    (team.root / "red.yaml").write_text(json.dumps({"team": "red", "members": rows}))
    team("team", "up", "red.yaml", "--socket", socket, **SECRETS)
    assert team.saw("two") == {"HTTPS_PROXY": SECRETS["HTTPS_PROXY"]}
    shown = subprocess.run(["tmux", "-S", socket, "show-environment", "-g"], capture_output=True, check=True).stdout
    assert MARK not in shown


def test_a_path_that_is_passed_has_our_commands(team: Team) -> None:
    """A member's PATH is made for it; that of whoever calls ``team`` by its own path may have none of them."""
    file = team.file({"name": "one", "pass_env": ["PATH"], "command": ["sh", "-c", "command -v task >found; sleep 1000"]})
    team(str(BIN / "team"), "up", file, "--no-tmux", PATH="/usr/bin:/bin")
    until(lambda: (team.root / "found").exists() and (team.root / "found").read_text().endswith("/task\n"), "no task on its PATH")


def test_a_watchdog_that_does_not_know_them_starts_nobody(team: Team) -> None:
    """It names what is missing and who gives it; `team up` starts the member with it."""
    file = team.file({"name": "three", "pass_env": ["MY_KEY"]})
    team("team", "up", file, "--no-tmux", MY_KEY="x")
    team.saw("three")
    for pid in watchdogs(team.root):
        os.kill(pid, signal.SIGKILL)
    beat = json.loads((team.root / places.heartbeat("three")).read_text())
    os.kill(beat["pid"], signal.SIGKILL)
    os.kill(-beat["child"], signal.SIGKILL)
    team("mbox", "run", "--as", "three", "--no-watchdog", "--", "true")  # what it last ran as, is not the team's any more
    subprocess.Popen(["mbox", "watchdog", "--quiet"], cwd=team.root, env={**os.environ, "PATH": environment()["PATH"]})

    def told() -> str:
        done = team.run("mbox", "watchdog", "--status", cwd=team.root, env={"PATH": environment()["PATH"]})
        return done.stdout  # exit 1 as long as none is up

    until(lambda: "does not know the MY_KEY that it was given" in told(), told)
    team("team", "up", file, "--no-tmux", MY_KEY="y")
    assert team.saw("three")["MY_KEY"] == "y"


def test_who_finds_nobody_does_not_begin(team: Team) -> None:
    """A pane that a person starts again by hand: the wrapper says what does start it, and the program never ran."""
    team("mbox", "agent", "add", "one")
    done = team.run("mbox", "run", "--as", "one", "--", "touch", "ran", cwd=team.root, check=False,
                    env={"PATH": environment()["PATH"], "MBOX_HANDOVER": "00"})  # fmt: skip
    assert done.returncode == 2 and "`team up` starts it again" in done.stderr and not (team.root / "ran").exists()


def test_another_users_process_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says who asks; a stranger is turned away, and the wrapper that comes after it is served."""
    users = iter([os.geteuid() + 1, os.geteuid(), os.geteuid()])
    real: Callable[[Any], int] = handover._user
    monkeypatch.setattr(handover, "_user", lambda peer: next(users) if real(peer) == os.geteuid() else -1)
    environ = handover.offer({"KEY": "value"})
    with sockets.socket(sockets.AF_UNIX) as stranger:
        stranger.connect(f"\0mbox-{environ[handover.VARIABLE]}")
        assert stranger.recv(100) == b""
    assert handover.taken(environ) == {"KEY": "value"} and not environ
    with pytest.raises(Refused, match="is gone"):
        handover.taken({handover.VARIABLE: "00"})


@pytest.mark.parametrize(("value", "said"), [(["A B"], "no name of a variable"), (["MBOX_X"], "set by `mbox run`"),
                                             (["A", "A"], "twice"), ("A", "must be a list"), ([1], "pass_env")])  # fmt: skip
def test_a_wrong_name_is_refused(value: Any, said: str) -> None:
    """With the place and the mend."""
    with pytest.raises(Usage, match=said):
        teamfile.parse(json.dumps({"team": "b", "members": [{"name": "x", "pass_env": value}]}), "/b.yaml")
