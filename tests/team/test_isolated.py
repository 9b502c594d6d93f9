"""What a repository holds under the name of a module is never imported by a process that the toolkit starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run
from mbox.format import places
from mbox.system import interpreter
from teamkit import BIN, CONFIG, HAVE_TMUX, NO_TMUX, end_all, server, until, watchdogs

PLANTED = ("click", "json", "sitecustomize", "usercustomize", "mbox", "os", "signal", "ruamel")
"""Modules of ours, of Python, and those that it loads at every start."""


@pytest.fixture
def root(repo: Path, run: Run) -> Iterator[Path]:
    """A repository with a store and with modules that tell when they are loaded."""
    run("mbox", "init", cwd=repo, check=True)
    (repo / places.CONFIG).write_text(CONFIG, encoding="utf-8")
    text = f"open({str(repo / 'loaded')!r}, 'a').write(__name__ + '\\n')\nraise SystemExit(1)\n"
    for name in PLANTED:
        (repo / f"{name}.py").write_text(text, encoding="utf-8")
        (repo / name).mkdir()
        (repo / name / "__init__.py").write_text(text, encoding="utf-8")
    yield repo
    end_all(repo)


def team_file(root: Path) -> str:
    """A member that lives on, and is started again."""
    path = root / "blue.yaml"
    one = {"name": "w", "host": "shell", "command": ["sleep", "1000"], "respawn": {"times": 3, "within": "10m"}}
    path.write_text(json.dumps({"team": "blue", "members": [one]}), encoding="utf-8")
    return str(path)


def beat(root: Path) -> dict[str, Any]:
    """The member's heartbeat."""
    found: dict[str, Any] = json.loads((root / places.heartbeat("w")).read_text())
    return found


@pytest.mark.parametrize("path", [None, ".", "", ":", "REPO"])
@pytest.mark.parametrize("panes", [True, False])
def test_a_team_starts_and_lives_beside_modules_of_such_names(root: Path, run: Run, path: str | None, panes: bool) -> None:
    """The wrapper, the watchdog and a member that is started again: in panes and without, whatever ``PYTHONPATH`` they have."""
    if panes and not HAVE_TMUX:
        pytest.skip(NO_TMUX)
    path = path and path.replace("REPO", str(root))
    # The command that is typed here reads PYTHONPATH as Python does: it stands where that says nothing harmful.
    env = {"PATH": f"{BIN}:{os.environ['PATH']}"} | ({"PYTHONPATH": path} if path is not None and path != str(root) else {})
    with server(root.parent) as socket:
        where = ["--socket", socket] if panes else ["--no-tmux"]
        if panes and path:  # a tmux server that was started with it
            run("tmux", "-S", socket, "new-session", "-d", "sleep 1000", env={"PYTHONPATH": path}, check=True)
        run("team", "--root", root, "up", team_file(root), *where, env=env, cwd=root.parent, check=True)
        first = beat(root)["pid"]
        until(lambda: watchdogs(root), "a watchdog")
        os.kill(first, signal.SIGKILL)
        until(lambda: beat(root)["pid"] != first, (root / places.WATCHDOG).read_text)
        run("team", "--root", root, "down", "--force", env=env, cwd=root.parent, check=True)
    assert not (root / "loaded").exists()


def test_the_words_of_a_process_of_ours_are_isolated(root: Path, run: Run) -> None:
    """From a folder with such modules, with every bad ``PYTHONPATH``, by an absolute interpreter."""
    words = interpreter.words("mbox", "--version")
    assert os.path.isabs(words[0])
    for path in (".", "", str(root), f":{root}"):
        assert run(*words, cwd=root, env={"PYTHONPATH": path}, check=True).stdout.startswith("mbox ")
    assert not (root / "loaded").exists()


def test_a_checkout_that_is_not_installed_starts_its_own(tmp_path: Path, repo: Path, run: Run) -> None:
    """Run from ``bin/``: the watchdog and the wrapper are the checkout's, and no variable says so to the program."""
    checkout = tmp_path / "checkout"
    for name in ("bin", "mailbox"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PATH": f"{checkout}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    mbox, team = checkout / "bin/mbox", checkout / "bin/team"
    run(mbox, "init", cwd=repo, env=env, check=True)
    (repo / places.CONFIG).write_text(CONFIG, encoding="utf-8")
    try:
        run(team, "up", team_file(repo), "--no-tmux", cwd=repo, env=env, check=True)
        for pid in (beat(repo)["pid"], *until(lambda: watchdogs(repo), "a watchdog")):
            told = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            assert str(checkout / "mailbox/mbox/cli/__main__.py") in told
        run(team, "down", "--force", cwd=repo, env=env, check=True)
    finally:
        end_all(repo)


def test_every_start_of_python_goes_through_one_place() -> None:
    """No other module names the interpreter: whoever starts a process of ours asks `system.interpreter`."""
    source = Path(interpreter.__file__).parents[1]
    named = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if "sys.executable" in path.read_text()}
    assert named == {"system/interpreter.py"}
