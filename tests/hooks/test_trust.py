"""Codex' trust in our hooks: a person's to give, at a terminal; by the real Codex, and by one that answers otherwise."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.errors import Refused
from mbox.hooks import installing, trust
from mbox.hooks.entries import PLACES
from mbox.system.disk import Disk
from terminalkit import _read

from .hookkit import BIN
from .hostkit import CLIENTS, WANTED

CODEX = PLACES["codex"]
EVENTS = len(CODEX.events)
DISK = Disk(private=False)

real = pytest.mark.skipif(not WANTED, reason="MBOX_REAL_CLIENTS is not 1: the real Codex is not asked")

PERSON = """# mine
model = "x"   # of my own

[hooks.state."/elsewhere/hooks.json:stop:0:0"]
enabled = false
trusted_hash = "sha256:0000"

[projects."{repo}"]
trust_level = "trusted"
"""


def install(repo: Path) -> Path:
    """Codex' hooks in the project."""
    installing.install(str(repo), [CODEX], False, DISK)
    return repo / CODEX.local


def on_terminal(*words: str, cwd: Path, **env: str) -> tuple[int, str]:
    """A command whose three streams are a terminal: its exit status and what is seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(BIN / words[0]), *words[1:]], cwd=cwd, env={**os.environ, **env}, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    data = b""
    while more := _read(ours):
        data += more
    os.close(ours)
    return process.wait(60), data.decode().replace("\r\n", "\n")


# -- who may say yes ---------------------------------------------------------------------------------------------------


def test_an_agent_cannot_say_yes(repo: Path, tmp_path: Path) -> None:
    """With MBOX_AGENT set it is refused, at a terminal too, before anything is written."""
    env = {"HOME": str(tmp_path), "MBOX_AGENT": "ann"}
    code, text = on_terminal("mbox", "hooks", "install", "codex", "--trust", cwd=repo, **env)
    assert code == 2 and "refused: ann is an agent" in text and not (repo / ".codex").exists()


def test_without_a_terminal_nobody_says_yes(repo: Path, tmp_path: Path, run: Run) -> None:
    """Nor without one; and for no other program."""
    done = run("mbox", "hooks", "install", "codex", "--trust", cwd=repo, env={"HOME": str(tmp_path)})
    assert done.returncode == 2 and "refused: --trust is a person's yes" in done.stderr and not (repo / ".codex").exists()
    done = run("mbox", "hooks", "install", "claude", "--trust", cwd=repo, env={"HOME": str(tmp_path)})
    assert done.returncode == 2 and "name it" in done.stderr and not (repo / ".claude").exists()


# -- what Codex says ---------------------------------------------------------------------------------------------------

FAKE = """#!{python}
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said: continue
    print("noise" if {mode!r} == "garbage" else json.dumps({{"method": "x/notice"}}), flush=True)
    if {mode!r} == "dies": sys.exit(3)
    answer = {{"initialize": {{}}, "hooks/list": {answer}, "config/batchWrite": {{}}}}[said["method"]]
    kind = "error" if {mode!r} == "refuses" and said["method"] == "hooks/list" else "result"
    print(json.dumps({{"id": said["id"], kind: answer}}), flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a program named codex on the PATH that answers as it is told."""

    def make(mode: str, answer: Any = None) -> None:
        folder = tmp_path / "fake"
        folder.mkdir(exist_ok=True)
        (folder / "codex").write_text(FAKE.format(python=sys.executable, mode=mode, answer=repr(answer)))
        (folder / "codex").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return make


@pytest.mark.parametrize("mode", ["garbage", "dies", "refuses", "other"])
def test_a_codex_that_speaks_otherwise(fake: Callable[..., None], repo: Path, mode: str) -> None:
    """Noise, a death, a refusal, another form: it is not known then; a yes is refused with the person's step."""
    fake(mode, [1, 2])
    assert trust.untrusted(str(repo)) is None
    with pytest.raises(Refused, match=r"codex did not take it .*: in codex, started in this project, `/hooks`"):
        trust.give(str(repo))
    said: list[str] = []
    trust.after_install(str(repo), False, said.append)
    assert len(said) == 1 and trust.STEP in said[0]


def test_without_codex(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it is not installed it is not known; a team's member is not refused for that."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trust.untrusted(str(repo)) is None
    install(repo)
    trust.require(str(repo), "team.yaml: ann")


def test_a_codex_that_hangs_is_not_waited_for(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that never answers is ended after a time; it is not known then."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/codex").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "fake/codex").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/fake:/usr/bin:/bin")
    monkeypatch.setattr(trust, "PATIENCE", 0.2)
    assert trust.untrusted(str(repo)) is None


def test_only_ours_count(fake: Callable[..., None], repo: Path) -> None:
    """A person's hook without a yes is theirs to see to; ours that an administrator manages need none."""
    ours = PLACES["codex"].events[0][1]["hooks"][0]["command"]
    row = {"eventName": "stop", "isManaged": False, "trustStatus": "untrusted", "key": "k", "currentHash": "h"}
    rows = [{**row, "command": "./theirs.sh"}, {**row, "command": None}, {**row, "command": ours, "isManaged": True}]
    fake("", {"data": [{"hooks": rows}]})
    assert trust.untrusted(str(repo)) == []
    fake("", {"data": [{"hooks": [*rows, {**row, "command": ours, "trustStatus": "modified"}]}]})
    assert trust.untrusted(str(repo)) == ["stop"]
    with pytest.raises(Refused, match="codex does not trust stop"):
        trust.give(str(repo))
    install(repo)
    with pytest.raises(Refused, match=r"team.yaml: ann: codex would skip 1 hooks"):
        trust.require(str(repo), "team.yaml: ann")


# -- the real one ------------------------------------------------------------------------------------------------------


@pytest.fixture
def codex(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The real Codex on the PATH, in a home with a person's settings, which are what is handed over."""
    assert (CLIENTS / ".bin/codex").exists(), "MBOX_REAL_CLIENTS=1 wants `scripts/setup --test`"
    home = tmp_path / "home"
    (home / ".codex").mkdir(parents=True)
    settings = home / ".codex/config.toml"
    settings.write_text(PERSON.format(repo=repo), encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{CLIENTS}/.bin:{BIN}:{os.environ['PATH']}")
    for kind in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(kind, "http://127.0.0.1:9")
    yield settings


@real
def test_the_real_codex_trusts_what_a_person_said_yes_to(codex: Path, repo: Path) -> None:
    """Untrusted when put in; after the yes all trusted; a person's settings stay, and theirs gets no yes."""
    path = install(repo)
    left = trust.untrusted(str(repo))
    assert left is not None and len(left) == EVENTS
    with pytest.raises(Refused, match=f"codex would skip {EVENTS} hooks"):
        trust.require(str(repo), "team.yaml: ann")
    doc = json.loads(path.read_text())
    theirs = {"hooks": [{"type": "command", "command": "./theirs.sh"}]}
    doc["hooks"]["Stop"].append(theirs)
    path.write_text(json.dumps(doc, indent=2))
    assert len(trust.give(str(repo))) == EVENTS and trust.untrusted(str(repo)) == []
    trust.require(str(repo), "team.yaml: ann")
    text = codex.read_text(encoding="utf-8")
    before = PERSON.format(repo=repo)
    assert all(line in text.splitlines() for line in before.splitlines()), text
    made, was = tomllib.loads(text), tomllib.loads(before)
    states = made["hooks"]["state"]
    assert states.pop("/elsewhere/hooks.json:stop:0:0") == was["hooks"]["state"]["/elsewhere/hooks.json:stop:0:0"]
    assert len(states) == EVENTS and not any(key.endswith(":stop:1:0") for key in states)
    assert {**made, "hooks": 0} == {**was, "hooks": 0}


@real
def test_the_real_codex_after_an_upgrade_and_a_hook_before_ours(codex: Path, repo: Path) -> None:
    """Put in again it is trusted still; one of theirs before ours makes that untrusted, which is told; a yes mends it."""
    path = install(repo)
    trust.give(str(repo))
    installing.remove(str(repo), [CODEX], DISK)
    install(repo)
    assert trust.untrusted(str(repo)) == []
    doc = json.loads(path.read_text())
    doc["hooks"]["PreToolUse"].insert(0, {"hooks": [{"type": "command", "command": "./theirs.sh"}]})
    path.write_text(json.dumps(doc, indent=2))
    assert trust.untrusted(str(repo)) == ["preToolUse"]
    said: list[str] = []
    trust.after_install(str(repo), False, said.append)
    assert len(said) == 1 and trust.STEP in said[0]
    assert len(trust.give(str(repo))) == EVENTS and trust.untrusted(str(repo)) == []
    said.clear()
    trust.after_install(str(repo), False, said.append)
    assert said == []


@real
def test_the_real_codex_of_a_project_that_is_not_trusted(codex: Path, repo: Path) -> None:
    """In a project that the person has not trusted there, Codex reads no hooks of it: a yes is refused with the reason."""
    codex.write_text("", encoding="utf-8")
    install(repo)
    with pytest.raises(Refused, match="does not trust this project"):
        trust.give(str(repo))


@real
def test_a_person_at_a_terminal_says_yes(codex: Path, repo: Path) -> None:
    """`mbox hooks install codex --trust` on a terminal: installed and trusted; without it the step is named."""
    code, text = on_terminal("mbox", "hooks", "install", "codex", cwd=repo)
    assert code == 0 and trust.STEP in " ".join(text.split()), text
    code, text = on_terminal("mbox", "hooks", "install", "codex", "--trust", cwd=repo)
    assert code == 0 and f"codex trusts {EVENTS} hooks of this project now" in text, text
    assert trust.untrusted(str(repo)) == []
    code, text = on_terminal("mbox", "hooks", "install", "codex", cwd=repo)
    assert code == 0 and "`/hooks`" not in text, text
