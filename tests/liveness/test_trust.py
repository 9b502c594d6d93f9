"""A store that came from elsewhere starts nothing by itself: by clone, copy and restore, with what its journal says."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox import opening
from mbox.errors import StoreError
from mbox.format import documents, places
from mbox.liveness import trust
from mbox.store.store import Actor, Store, Transaction
from teamkit import BIN, begin, end_all, until, watchdogs

Call = Callable[..., subprocess.CompletedProcess[str]]

PERSON = Actor("user:tess")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def call(home: Path, run: Run) -> Call:
    """Run a command with that home."""

    def call(*words: str | Path, at: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{BIN}:{os.environ['PATH']}"
        return run(*words, cwd=at, env={"HOME": str(home), "PATH": path, **env}, check=check)

    return call


@pytest.fixture
def root(repo: Path, call: Call) -> Iterator[Path]:
    """A repository with a store."""
    begin(call, repo)
    yield repo
    for folder in repo.parent.iterdir():
        end_all(folder)


def planted(root: Path, *words: str, **more: Any) -> None:
    """A record with a right checksum that says that a team is up, whose member runs ``words`` and is started again."""
    store = opening.assemble(str(root))
    row = {"name": "eve", "host": "shell", "command": list(words), "respawn": {"times": 3}, **more}
    said = {"team": "evil", "state": "up", "members": [row], "session": "", "file": str(root / "evil.yaml")}

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("agent", agent="eve", team="evil", registered_at=tx.now), places.agent("eve"))
        tx.put(documents.new("team", created_at=tx.now, **said), places.team("evil"))
        tx.record("team.up", ["evil", "eve"])

    store.transact(decide, PERSON)
    store.close()


def team_file(root: Path) -> Path:
    """A team of one, which lives on and is started again."""
    path = root / "blue.yaml"
    one = {"name": "w", "host": "shell", "command": ["sleep", "1000"], "respawn": {"times": 3, "within": "10m"}}
    path.write_text(json.dumps({"team": "blue", "members": [one]}), encoding="utf-8")
    return path


def beat(root: Path, name: str = "w") -> Any:
    """A heartbeat, or None."""
    path = root / places.heartbeat(name)
    return json.loads(path.read_text()) if path.exists() else None


def opened(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, with that home."""
    monkeypatch.setenv("HOME", str(home))
    return opening.assemble(str(root))


# -- what a journal says starts nothing ------------------------------------------------------------------------------


def test_a_planted_team_is_not_started(root: Path, call: Call) -> None:
    """By a watchdog's round, by the one that a wrapper starts, and by one that stays; it is said that it waits."""
    mark = root.parent / "ran"
    planted(root, "touch", str(mark))
    done = json.loads(call("mbox", "watchdog", "--once", at=root).stdout)
    assert [(deed["what"], deed["on"]) for deed in done] == [("not respawned", "eve")]
    assert "not called here" in done[0]["why"]
    call("mbox", "agent", "add", "ann", at=root)
    call("mbox", "run", "--as", "ann", "--", "sleep", "1", at=root)
    until(lambda: watchdogs(root), "a watchdog")
    until(lambda: "not respawned" in (root / places.WATCHDOG).read_text(), (root / places.WATCHDOG).read_text)
    assert not mark.exists() and beat(root, "eve") is None
    why = json.loads(call("mbox", "status", at=root).stdout)["why"]
    assert any(line.startswith("team evil was not called here") for line in why)
    assert json.loads(call("team", "status", "evil", at=root).stdout)[0]["called"] == "not here"


def test_its_file_is_not_touched(root: Path, call: Call) -> None:
    """The file that a planted team names may be anybody's: adding and removing members needs a call here."""
    planted(root, "true")
    text = "members: [{name: eve, host: shell}]\n"
    (root / "evil.yaml").write_text(text)
    for words in (("add", "evil", "zed", "--command", "true"), ("remove", "evil", "eve")):
        done = call("team", *words, at=root, check=False)
        assert done.returncode == 2 and "refused: team evil was not called here" in done.stderr
    assert (root / "evil.yaml").read_text() == text


def test_its_end_removes_nobodys_working_tree(root: Path, call: Call) -> None:
    """A planted member's tree may be a person's: only one where the toolkit puts a member's is removed."""
    mine = root.parent / "mine"
    call("git", "worktree", "add", "-q", "-b", "mine", mine, at=root)
    planted(root, "true", worktree=True, tree=str(mine), branch="mine")
    done = json.loads(call("team", "down", "evil", "--force", at=root).stdout)
    assert mine.is_dir() and done["trees_kept"] == [f"{mine} (mine): is not where its tree would stand"]
    assert call("git", "rev-parse", "mine", at=root).returncode == 0


@pytest.mark.parametrize("how", ["copy", "moved lock"])
def test_a_copy_starts_nothing_and_the_original_goes_on(root: Path, call: Call, how: str) -> None:
    """Only the store in which it was called starts a member again; a lock that was made anew is another store."""
    call("team", "up", team_file(root), "--no-tmux", at=root)
    if how == "copy":
        there = root.parent / "copy"
        shutil.copytree(root, there, symlinks=True)
        done = json.loads(call("mbox", "watchdog", "--once", at=there).stdout)
        assert [deed["what"] for deed in done if deed["on"] == "w"][-1] == "not respawned"
    else:
        for pid in watchdogs(root):
            os.kill(pid, signal.SIGKILL)
        os.kill(beat(root)["pid"], signal.SIGKILL)
        lock = (root / places.LOCK).read_bytes()
        (root / places.LOCK).rename(root / "old-lock")
        (root / places.LOCK).write_bytes(lock)
        done = json.loads(call("mbox", "watchdog", "--once", at=root).stdout)
        assert [deed["what"] for deed in done if deed["on"] == "w"][-1] == "not respawned"
        (root / "old-lock").rename(root / places.LOCK)
        done = json.loads(call("mbox", "watchdog", "--once", at=root).stdout)
        assert [deed["what"] for deed in done if deed["on"] == "w"][-1] == "respawned"


def test_a_restored_store_starts_nothing(root: Path, call: Call) -> None:
    """From the audit ref, in a clone; `team up` there is a call, and from then on members live."""
    call("team", "up", team_file(root), "--no-tmux", at=root)
    call("mbox", "audit", "commit", at=root)
    clone = root.parent / "clone"
    call("git", "clone", "-q", root, clone, at=root)
    call("git", "fetch", "-q", "origin", "refs/mbox/audit:refs/mbox/audit", at=clone)
    call("mbox", "audit", "restore", "--with-config", at=clone)
    done = json.loads(call("mbox", "watchdog", "--once", at=clone).stdout)
    assert [deed["what"] for deed in done] == ["not respawned"]
    assert "team blue was not called here" in call("mbox", "status", at=clone).stdout


# -- what was called here lives on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["", "state"])
def test_what_was_called_here_lives_on_after_a_reboot(root: Path, call: Call, home: Path, state: str) -> None:
    """Every process gone, another boot id: the first watchdog starts the member again.  Also with ``XDG_STATE_HOME``."""
    env = {"XDG_STATE_HOME": str(home.parent / state)} if state else {}
    call("team", "up", team_file(root), "--no-tmux", at=root, MBOX_BOOT_ID="one", **env)
    end_all(root)
    before = beat(root)["incarnation"]
    deeds = json.loads(call("mbox", "watchdog", "--once", at=root, MBOX_BOOT_ID="two", **env).stdout)
    assert [deed["what"] for deed in deeds if deed["on"] == "w"][-1] == "respawned"
    until(lambda: beat(root)["incarnation"] > before, "its heartbeat")
    kept = list((home.parent / state if state else home / ".local/state").joinpath("mbox/may-start").iterdir())
    assert [path.stat().st_mode & 0o777 for path in (*kept, kept[0].parent, kept[0].parent.parent)] == [0o600, 0o700, 0o700]


def test_a_team_that_was_ended_is_not_called_any_more(root: Path, call: Call) -> None:
    """After `team down` a journal that says that it is up starts nothing."""
    call("team", "up", team_file(root), "--no-tmux", at=root)
    call("team", "down", "--force", at=root)
    assert json.loads(call("mbox", "trust", "--show", at=root).stdout) == {"may_start": ["team blue"]}


def test_a_changed_member_waits_again(root: Path, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word: another command, variable, folder or socket under the same name is not what was called."""
    call("team", "up", team_file(root), "--no-tmux", at=root)
    store = opened(root, home, monkeypatch)
    team = store.read(places.team("blue"))
    assert team is not None and trust.was_called_here(store, team)
    (row,) = team["members"]
    others = {"command": ["touch"], "env": {"LD_PRELOAD": "x"}, "tree": "/tmp", "sandbox": ["x"], "prompt": "x"}
    for field, value in others.items():
        assert not trust.may_start(store, *trust.member(team, {**row, field: value}))
    assert not trust.was_called_here(store, {**team, "policy": {"server": "/tmp/other"}})
    assert trust.was_called_here(store, {**team, "members": [{**row, "role": "lead", "reports_to": "boss"}]})


# -- a person's yes --------------------------------------------------------------------------------------------------


def at_terminal(root: Path, home: Path, answer: str, *words: str) -> tuple[int, str]:
    """Run `mbox trust` at a terminal, and type ``answer``; its status and what the terminal shows."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "HOME": str(home)}
    process = subprocess.Popen([BIN / "mbox", "trust", *words], cwd=root, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer.encode())
    seen = b""
    try:
        while more := os.read(ours, 4096):
            seen += more
    except OSError:
        pass
    os.close(ours)
    return process.wait(), seen.decode()


def test_a_yes_at_a_terminal(root: Path, call: Call, home: Path) -> None:
    """What waits is shown; no changes nothing; yes lets it start, here only, until it changes, and only that is shown."""
    mark = root.parent / "ran"
    planted(root, "touch", str(mark))
    status, seen = at_terminal(root, home, "n\n")
    assert status == 1 and "team evil: eve" in seen and f'+ command: ["touch","{mark}"]' in seen
    assert json.loads(call("mbox", "trust", "--show", at=root).stdout)["waits"] == ["team evil: eve"]
    status, _ = at_terminal(root, home, "y\n")
    assert status == 0
    assert json.loads(call("mbox", "trust", "--show", at=root).stdout) == {"may_start": ["team evil: eve"]}
    call("mbox", "watchdog", "--once", at=root)
    until(mark.exists, "the member")
    planted(root, "touch", "other")
    changed = call("mbox", "trust", "--show", at=root)
    assert f'- command: ["touch","{mark}"]' in changed.stderr and '+ command: ["touch","other"]' in changed.stderr
    assert "host" not in changed.stderr
    assert json.loads(call("mbox", "trust", "--forget", at=root).stdout) == {"forgot": ["team evil: eve"]}
    assert "may_start" not in json.loads(call("mbox", "trust", "--show", at=root).stdout)


def test_a_yes_needs_a_person(root: Path, call: Call, home: Path) -> None:
    """Not an agent's, with whatever option, at a terminal too; not from a pipe without `--yes`; `--dry-run` is none."""
    planted(root, "true")
    call("mbox", "agent", "add", "ann", at=root)
    for words in ((), ("--yes",)):
        done = call("mbox", "trust", *words, at=root, check=False, MBOX_AGENT="ann")
        assert done.returncode == 2 and "refused: ann is an agent" in done.stderr
    assert at_terminal(root, home, "y\n", "--as", "ann")[0] == 2
    piped = call("mbox", "trust", at=root, check=False)
    assert piped.returncode == 2 and "refused: a yes is a person's" in piped.stderr
    call("mbox", "trust", "--yes", "--dry-run", at=root)
    assert json.loads(call("mbox", "trust", "--show", at=root).stdout) == {"waits": ["team evil: eve"]}
    assert json.loads(call("mbox", "trust", "--yes", at=root).stdout) == {"may_start": ["team evil: eve"]}


# -- where it is remembered ------------------------------------------------------------------------------------------


def test_what_others_may_write_is_not_believed(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a group may write, a link, rubbish, a folder in the repository: as good as none, and never followed."""
    store = opened(root, home, monkeypatch)
    trust.allow(store, [trust.Start("x", "y")])
    (path,) = (home / ".local/state/mbox/may-start").iterdir()
    assert trust.may_start(store, "x", "y")
    path.chmod(0o620)
    assert not trust.may_start(store, "x", "y")
    path.chmod(0o600)
    text = path.read_text()
    for rubbish in ("", "[]", "{}", '{"starts": 3}', '{"starts": {"x": ["y"]}}', "\0"):
        path.write_text(rubbish)
        assert not trust.may_start(store, "x", "y")
    (home / "elsewhere").write_text(text)
    path.unlink()
    path.symlink_to(home / "elsewhere")
    assert not trust.may_start(store, "x", "y")
    path.unlink()
    os.mkfifo(path)
    assert not trust.may_start(store, "x", "y")
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
    with pytest.raises(StoreError, match="is in the repository"):
        trust.allow(store, [trust.Start("x", "y")])
    assert not (root / "state").exists()


@pytest.mark.parametrize("where", ["top", "root", "git's folder", "worktree", "around the submodule", "link"])
def test_no_folder_of_the_repository_remembers(repo: Path, call: Call, home: Path, where: str) -> None:
    """A clone brings what stands in it, wherever in the repository the root is: a yes there is none, and nothing is made."""
    root = repo / "sub"
    if where == "around the submodule":
        other = repo.parent / "other"
        call("git", "init", "-q", other, at=repo)
        call("git", "-C", other, "-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x", "--allow-empty", at=repo)
        call("git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other, "sub", at=repo)
    root.mkdir(exist_ok=True)
    call("git", "worktree", "add", "-q", repo.parent / "linked", at=repo)
    (repo.parent / "elsewhere").symlink_to(repo)
    places_ = {"git's folder": repo / ".git", "root": root, "worktree": repo.parent / "linked", "link": repo.parent / "elsewhere"}
    state = places_.get(where, repo) / ".state"
    call("mbox", "init", "--here", at=root)
    planted(root, "true")
    done = call("mbox", "trust", "--yes", at=root, check=False, XDG_STATE_HOME=str(state))
    assert done.returncode == 6 and "is in the repository: set XDG_STATE_HOME" in done.stderr, done
    assert not state.exists()
    call("mbox", "trust", "--yes", at=root, XDG_STATE_HOME=str(home / ".state"))


def test_a_home_that_cannot_be_written_calls_a_team_all_the_same(root: Path, call: Call, home: Path) -> None:
    """It is said that nobody is started again by itself."""
    (home / ".local").write_text("no folder")
    done = call("team", "up", team_file(root), "--no-tmux", at=root)
    assert json.loads(done.stdout)["started"] == {"w": ""} and "nobody is started again by itself" in done.stderr
    call("team", "down", "--force", at=root)


def test_two_calls_at_once_are_both_remembered(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever remembers waits for another who does."""
    store = opened(root, home, monkeypatch)
    pids = []
    for number in range(8):
        if (pid := os.fork()) == 0:
            try:
                trust.allow(store, [trust.Start(f"x{number}", "y")])
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert set(trust.remembered(store)) == {f"x{number}" for number in range(8)}
