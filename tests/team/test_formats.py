"""tmux runs what stands in a format as ``#(…)``: no word of a store, a folder or a message of ours is one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run
from mbox import opening
from mbox.format import documents, places
from mbox.liveness import trust
from mbox.store.store import Actor
from mbox.store.transaction import Transaction
from mbox.team.tmux import PaneGone, Tmux
from teamkit import BIN, HAVE_TMUX, NO_TMUX, begin, end_all, environment, until

pytestmark = pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path, run: Run) -> Call:
    """Run a command with a home of the test's own."""

    def call(*words: str | Path, at: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(*words, cwd=at, env={**environment(), "HOME": str(tmp_path)}, check=check)

    return call


@pytest.fixture
def root(repo: Path, call: Call) -> Iterator[Path]:
    """A repository with a store."""
    begin(call, repo)
    yield repo
    end_all(repo)


def planted(root: Path, socket: str, session: str, **more: Any) -> None:
    """A record that says that a team is up, in that session, whose member is started again."""
    store = opening.assemble(str(root))
    row = {"name": "eve", "host": "shell", "command": ["sleep", "60"], "respawn": {"times": 3}, **more}
    said = {"team": "evil", "members": [row], "session": session, "file": "", "policy": {"server": socket}}

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("agent", agent="eve", team="evil", registered_at=tx.now), places.agent("eve"))
        tx.put(documents.new("team", created_at=tx.now, **said), places.team("evil"))
        tx.record("team.up", ["evil", "eve"])

    store.transact(decide, Actor("user:tess"))
    store.close()


def test_a_sessions_name_from_a_document_runs_nothing(root: Path, call: Call, socket: str, tmp_path: Path) -> None:
    """It is shown before a person says yes, and after that it is refused as a name."""
    mark = tmp_path / "ran"
    planted(root, socket, f"#(touch {mark})x")
    assert f'session: "#(touch {mark})x"' in call("mbox", "trust", "--show", at=root).stderr
    call("mbox", "trust", "--yes", at=root)
    deeds = json.loads(call("mbox", "watchdog", "--once", at=root).stdout)
    assert any("is no name of a tmux session of ours" in deed.get("why", "") for deed in deeds), deeds
    assert not mark.exists()


def test_another_session_is_not_what_was_said_yes_to(root: Path, call: Call, socket: str) -> None:
    """The name of the session is among what a yes is for."""
    planted(root, socket, "mbox-evil")
    store = opening.assemble(str(root))
    team = store.read(places.team("evil"))
    assert team is not None
    assert trust.member(team, team["members"][0]) != trust.member({**team, "session": "other"}, team["members"][0])


@pytest.mark.parametrize("name", ["a:b", "a.b", "", "-t", "#{x}", "%H", "$1", "@1", "a b", "x\n", "é"])
def test_what_tmux_reads_more_in_is_no_sessions_name(socket: str, tmp_path: Path, name: str) -> None:
    """Neither made, asked for nor ended under such a name."""
    one = Tmux(socket)
    with pytest.raises(PaneGone, match="is no name of a tmux session of ours"):
        one.new_session(name, ["sleep", "9"], str(tmp_path), {})
    assert one.panes(name) == {} and not one.has_session(name) and one.owner(name) is None
    one.close_session(name)


@pytest.mark.parametrize("text", ["#(touch {mark})", "##(touch {mark})", "#[#(touch {mark})]", "%H %% #S", "a;"])
def test_titles_and_folders_are_no_formats(socket: str, tmp_path: Path, text: str) -> None:
    """A role of a planted member and the folder that a pane is made or started again in are what they say."""
    mark = tmp_path / "ran"
    said = text.format(mark=str(mark).replace("/", "⧸"))
    folder = tmp_path / said
    folder.mkdir()
    one = Tmux(socket)
    wait = ["sh", "-c", "pwd > $OUT; exec sleep 99"]
    pane = one.new_session("s", wait, str(folder), {"OUT": str(tmp_path / "one")})
    until(lambda: (tmp_path / "one").exists() and (tmp_path / "one").read_text() == f"{folder}\n", folder)
    one.mark(pane, "eve", text.format(mark=mark))
    if "#[" not in text:
        assert one.run("display-message", "-p", "-t", pane, "#{pane_title}") == text.format(mark=mark) + "\n"
    one.respawn(pane, wait, str(folder), {"OUT": str(tmp_path / "two")})
    until(lambda: (tmp_path / "two").exists() and (tmp_path / "two").read_text() == f"{folder}\n", folder)
    assert not mark.exists()


# -- scripts/ --------------------------------------------------------------------------------------------------------


@pytest.fixture
def inside(socket: str, tmp_path: Path) -> Iterator[Callable[[str, Path], str]]:
    """Run one of scripts/ in a pane that stands in a folder, with a person at the terminal; what the terminal showed."""
    around: list[subprocess.Popen[bytes]] = []

    def inside(script: str, folder: Path, fake: str = "") -> str:
        programs = tmp_path / "programs"
        programs.mkdir()
        for name in ("mbox", "team"):
            (programs / name).write_text(f"#!/bin/sh\n{fake}")
            (programs / name).chmod(0o755)
        env = {"PATH": f"{programs}:{BIN}:{os.environ['PATH']}"}
        one = Tmux(socket)
        pane = one.new_session("s", ["sleep", "99"], str(folder), env, (200, 30))
        one.run("set-option", "-g", "display-time", "0")
        one.mark(pane, "eve", "eve")
        ours, theirs = os.openpty()
        attach = ["tmux", "-S", socket, "attach-session", "-t", "=s"]
        around.append(subprocess.Popen(attach, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                       env={**os.environ, "TERM": "xterm"}))  # fmt: skip
        os.close(theirs)
        until(lambda: one.run("list-clients"), "a client")
        done = tmp_path / "done"
        line = f"{shlex.quote(str(CHECKOUT / 'scripts' / script))}; touch {shlex.quote(str(done))}"
        subprocess.Popen(["tmux", "-S", socket, "run-shell", "-b", "-t", pane, line], env={**os.environ, **env})
        seen = b""
        os.set_blocking(ours, False)

        def shown() -> bool:
            nonlocal seen
            try:
                seen += os.read(ours, 65536)
            except BlockingIOError:
                pass
            if b"to be read" in seen and not done.exists():
                os.write(ours, b"q")
            return done.exists() and b"to be read" in seen

        until(shown, lambda: seen)
        os.close(ours)
        return seen.decode(errors="replace")

    yield inside
    for process in around:
        process.kill()
        process.wait()


def test_what_nudge_says_is_no_format(inside: Callable[..., str], tmp_path: Path) -> None:
    """What `mbox nudge` says of a store, which may quote a file of it."""
    mark = tmp_path / "ran"
    seen = inside("tmux-nudge", tmp_path, f"echo 'to be read: %H #(touch {mark})'")
    assert "(touch" in seen and "%H" in seen and not mark.exists()


@pytest.mark.parametrize("name", ["#(touch ran)", "a;", "%H"])
def test_a_folders_name_is_no_format(inside: Callable[..., str], tmp_path: Path, name: str) -> None:
    """The popup stands in the folder of the pane, whatever that is called."""
    folder = tmp_path / name
    folder.mkdir()
    inside("tmux-team", folder, f"echo to be read; pwd > {tmp_path}/stood")
    assert (tmp_path / "stood").read_text() == f"{folder}\n"
    assert not list(tmp_path.rglob("ran")) and not Path("ran").exists()
