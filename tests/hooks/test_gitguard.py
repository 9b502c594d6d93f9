"""Git's last word: commits and pushes of what another holds, by real git; and how the guard comes into its hooks and out."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run
from mbox.errors import Refused, Usage
from mbox.hooks import gitguard, githooks
from mbox.system.disk import Disk

HOOK = CHECKOUT / "mailbox/mbox/hooks/hook.py"
OLD, NEW = (2, 39), (2, 54)
PERSON = "echo theirs: \"$0\" \"$@\" >>\"$LOG\"\n"


class Ground:
    """A repository with a store, ann and bob, a home of its own with the launcher, and what hooks wrote down."""

    def __init__(self, top: Path, home: Path, run: Run) -> None:
        self.top, self.home, self.run = top, home, run
        self.log = home / "log"
        self.launcher = home / ".local/share/mbox/hook"
        self.launcher.parent.mkdir(parents=True)
        self.launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {HOOK} "$@"\n')
        self.launcher.chmod(0o755)
        run("mbox", "init", cwd=top, check=True)
        for name in ("ann", "bob"):
            run("mbox", "agent", "add", name, cwd=top, check=True)

    @property
    def hooks(self) -> Path:
        """Where git looks."""
        return self.top / ".git/hooks"

    def env(self, agent: str = "", **more: str) -> dict[str, str | None]:
        """The environment of a call."""
        return {"HOME": str(self.home), "LOG": str(self.log), "MBOX_AGENT": agent or None, **more}

    def git(self, *words: str, agent: str = "", cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Call git."""
        return self.run("git", *words, cwd=cwd or self.top, env=self.env(agent, **more))

    def good(self, *words: str, agent: str = "", cwd: Path | None = None, **more: str) -> str:
        """Call git, which must succeed."""
        done = self.git(*words, agent=agent, cwd=cwd, **more)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def stage(self, name: str = "a.py", text: str = "x\n", cwd: Path | None = None) -> None:
        """Change a file and stage it."""
        path = (cwd or self.top) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
        self.good("add", "-A", "--", name, cwd=cwd)

    def hold(self, *wanted: str, agent: str = "bob") -> None:
        """Reserve for bob."""
        self.run("reserve", *wanted, "--as", agent, cwd=self.top, check=True)

    def release(self) -> None:
        """Give all of bob's back."""
        self.run("reserve", "release", "--all", "--as", "bob", cwd=self.top, check=True)

    def install(self, cwd: Path | None = None) -> list[githooks.Row]:
        """Install as the git here wants it."""
        return githooks.install(str(cwd or self.top), False, Disk(False), OLD)

    def remove(self) -> list[githooks.Row]:
        """Remove."""
        return githooks.remove(str(self.top), False, Disk(False))

    def count(self) -> int:
        """Commits of HEAD."""
        return int(self.good("rev-list", "--count", "HEAD"))

    def overrides(self) -> list[dict[str, Any]]:
        """The records of overrides."""
        import json

        lines = self.run("mbox", "log", "-o", "jsonl", cwd=self.top, check=True).stdout.splitlines()
        return [row for row in map(json.loads, lines) if row["op"] == "guard.override"]


@pytest.fixture
def ground(repo: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A repository with a store, nothing installed yet."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return Ground(repo, home, run)


@pytest.fixture
def guarded(ground: Ground) -> Ground:
    """One with the guard in its hooks."""
    ground.install()
    return ground


def everything(folder: Path) -> dict[str, tuple[int, str | bytes]]:
    """Mode, and bytes or target, of all in a folder."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        what: str | bytes = os.readlink(path) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
        found[str(path.relative_to(folder))] = (mode, what)
    return found


def script(path: Path, text: str, mode: int = 0o755) -> None:
    """Put a program in a place."""
    path.write_text(text)
    path.chmod(mode)


# -- who may commit what ---------------------------------------------------------------------------------------------


def test_what_another_holds_is_not_committed(guarded: Ground) -> None:
    """A held path stops the commit, with holder, time left and the command that waits; after release it goes through."""
    guarded.stage()
    guarded.hold("*.py")
    done = guarded.git("commit", "-m", "x", agent="ann")
    assert done.returncode and guarded.count() == 1
    assert "refused: a.py is held: r" in done.stderr and "of bob (" in done.stderr and " left): *.py" in done.stderr
    assert "`reserve a.py --wait " in done.stderr and "MBOX_OVERRIDE" not in done.stderr
    assert len(done.stderr.encode()) <= 400
    guarded.release()
    guarded.good("commit", "-m", "x", agent="ann")


def test_a_person_is_told_the_same_and_the_way_through(guarded: Ground) -> None:
    """Without MBOX_AGENT a held path is refused too; what one holds oneself, or nobody, passes."""
    guarded.stage()
    guarded.hold("a.py")
    done = guarded.git("commit", "-m", "x")
    assert done.returncode and "of bob" in done.stderr and "MBOX_OVERRIDE='why' git commit" in done.stderr
    guarded.good("commit", "-m", "x", agent="bob")
    guarded.stage("free.txt")
    guarded.good("commit", "-m", "y")


@pytest.mark.parametrize("agent", ["", "ann", "carol"])
def test_an_override_passes_and_is_recorded_once(guarded: Ground, agent: str) -> None:
    """MBOX_OVERRIDE=reason commits a held path; one record says who, which and why, also of an agent that is not registered."""
    guarded.stage()
    guarded.stage("free.txt")
    guarded.hold("*.py")
    guarded.good("commit", "-m", "x", agent=agent, MBOX_OVERRIDE="bob is away")
    [record] = guarded.overrides()
    assert (record["on"], record["why"]) == (["a.py"], "bob is away")
    assert record["by"] == agent or (not agent and record["by"].startswith("user:"))
    assert not guarded.run("mbox", "doctor", cwd=guarded.top).returncode


def test_an_override_of_nothing_is_none(guarded: Ground) -> None:
    """No record where nothing was held; a reason that is no line is refused, and nothing passes on it."""
    guarded.stage()
    guarded.good("commit", "-m", "x", MBOX_OVERRIDE="why not")
    guarded.hold("*.py")
    guarded.stage()
    assert guarded.git("commit", "-m", "x", MBOX_OVERRIDE="two\nlines").returncode
    assert guarded.git("commit", "-m", "x", MBOX_OVERRIDE=" ").returncode
    assert guarded.overrides() == [] and guarded.count() == 2


def test_no_verify_does_not_help_an_agent(guarded: Ground) -> None:
    """--no-verify skips pre-commit; an agent is stopped by prepare-commit-msg, a person is not."""
    guarded.stage()
    guarded.hold("a.py")
    done = guarded.git("commit", "--no-verify", "-m", "x", agent="ann")
    assert done.returncode and "of bob" in done.stderr and guarded.count() == 1
    guarded.good("commit", "--no-verify", "-m", "x", agent="ann", MBOX_OVERRIDE="told to")
    assert len(guarded.overrides()) == 1
    guarded.stage()
    guarded.good("commit", "--no-verify", "-m", "x")


def test_a_stale_incarnation_is_refused(guarded: Ground) -> None:
    """An agent whose name another process took over commits nothing, not even by an override, and is told."""
    guarded.hold("other.py")
    guarded.run("mbox", "agent", "add", "ann", "--new", cwd=guarded.top, check=True)
    guarded.stage()
    for more in ({}, {"MBOX_OVERRIDE": "why"}):
        done = guarded.git("commit", "-m", "x", agent="ann", MBOX_INCARNATION="1", **more)
        assert done.returncode and "another process took the name over" in done.stderr
    guarded.good("commit", "-m", "x", agent="ann", MBOX_INCARNATION="2")


@pytest.mark.parametrize("words", [["-a"], ["a.py"], ["--amend", "-a"]])
def test_a_commit_with_an_index_of_its_own(guarded: Ground, words: list[str]) -> None:
    """commit -a, of single paths and --amend use another index than the usual one: that is the one that is looked at."""
    guarded.stage()
    guarded.stage("free.txt")
    guarded.good("commit", "-m", "x")
    (guarded.top / "a.py").write_text("changed\n")
    guarded.hold("a.py")
    assert guarded.git("commit", "-m", "y", *words, agent="ann").returncode
    guarded.good("add", "a.py")
    (guarded.top / "free.txt").write_text("changed\n")
    guarded.good("commit", "-m", "y", "free.txt", agent="ann")  # a.py is staged, and not what is committed


def test_commits_that_change_nothing_held(guarded: Ground) -> None:
    """An empty commit and an --amend of the message pass while everything is held."""
    guarded.stage()
    guarded.good("commit", "-m", "base")
    guarded.hold("**")
    guarded.good("commit", "--amend", "-m", "x", agent="ann")
    guarded.good("commit", "--allow-empty", "-m", "x", agent="ann")


def test_the_first_commit(tmp_path: Path, run: Run, ground: Ground) -> None:
    """Without a HEAD all that is staged counts."""
    top = tmp_path / "fresh"
    run("git", "init", "-q", top, check=True)
    run("mbox", "init", cwd=top, check=True)
    run("mbox", "agent", "add", "bob", cwd=top, check=True)
    run("reserve", "b/**", "--as", "bob", cwd=top, check=True)
    ground.install(top)
    ground.stage("b/x.py", cwd=top)
    assert ground.git("commit", "-m", "x", cwd=top, agent="ann").returncode
    ground.good("rm", "-q", "--cached", "b/x.py", cwd=top)
    ground.stage("c.py", cwd=top)
    ground.good("commit", "-m", "x", cwd=top, agent="ann")


@pytest.mark.parametrize("name", ["ä ö.py", "new\nline.py", 'quo"te.py', "-dash.py", "[x]*.py", "a b/ü.py"])
def test_names(guarded: Ground, name: str) -> None:
    """Whatever a file is called, it is found held, and not held."""
    guarded.stage(f"free/{name}")
    guarded.stage(f"held/{name}")
    guarded.hold("held/**")
    done = guarded.git("commit", "-m", "x", agent="ann")
    assert done.returncode and "held/" in done.stderr and "free/" not in done.stderr
    guarded.good("reset", "-q", "--", "held")
    guarded.good("commit", "-m", "x", agent="ann")


def test_a_name_that_is_no_text(guarded: Ground) -> None:
    """A name of bytes that are no UTF-8 is judged like any other, and an override of it recorded."""
    folder = os.fsencode(guarded.top / "held")
    os.mkdir(folder)
    try:
        with open(folder + b"/\xe9.py", "w") as file:
            file.write("x")
    except OSError:
        pytest.skip("this file system has no such names")
    guarded.good("add", "-A")
    guarded.hold("held/**")
    assert guarded.git("commit", "-m", "x", agent="ann").returncode
    guarded.good("commit", "-m", "x", agent="ann", MBOX_OVERRIDE="why")
    assert guarded.overrides()[0]["on"] == ["held/\\xe9.py"]


def test_what_goes_counts_too(guarded: Ground) -> None:
    """A deletion, and both ends of a rename, are changes of those paths."""
    for name in ("gone.py", "from.py", "there.py"):
        guarded.stage(name, f"{name} is long enough to be taken for renamed\n" * 9)
    guarded.good("commit", "-m", "x")
    for held, words in (
        ("gone.py", ["rm", "gone.py"]),
        ("from.py", ["mv", "from.py", "to.py"]),
        ("to.py", ["mv", "from.py", "to.py"]),
    ):
        guarded.hold(held)
        guarded.good(*words)
        assert guarded.git("commit", "-m", "x", agent="ann").returncode, held
        guarded.good("reset", "-q", "--hard")
        guarded.release()


def test_in_a_subfolder(guarded: Ground) -> None:
    """Called from a subfolder it is the same commit."""
    guarded.stage("sub/a.py")
    guarded.hold("sub/a.py")
    done = guarded.git("commit", "-m", "x", agent="ann", cwd=guarded.top / "sub")
    assert done.returncode and "sub/a.py is held" in done.stderr


def test_a_store_below_the_top(repo: Path, run: Run, ground: Ground) -> None:
    """A store in a subfolder is about what is below it; a commit at the top has no store around it and passes in silence."""
    shutil.rmtree(repo / ".mailbox")
    shutil.rmtree(repo / ".tasks")
    inner = repo / "inner"
    inner.mkdir()
    run("mbox", "init", "--here", cwd=inner, check=True)
    run("mbox", "agent", "add", "bob", cwd=inner, check=True)
    run("reserve", "a.py", "--as", "bob", cwd=inner, check=True)
    ground.install()
    ground.stage("inner/a.py")
    done = ground.git("commit", "-m", "x", agent="ann", MBOX_ROOT=str(inner))
    assert done.returncode and " a.py is held" in done.stderr
    done = ground.git("commit", "-m", "x", agent="ann")
    assert done.returncode == 0 and "mbox" not in done.stderr


def test_a_linked_worktree(guarded: Ground, tmp_path: Path) -> None:
    """In a linked worktree the same hooks run, on the same store and the same paths."""
    linked = tmp_path / "linked"
    guarded.good("worktree", "add", "-q", str(linked), "-b", "side")
    guarded.hold("sub/a.py")
    guarded.stage("sub/a.py", cwd=linked)
    done = guarded.git("commit", "-m", "x", agent="ann", cwd=linked / "sub")
    assert done.returncode and "refused: sub/a.py is held" in done.stderr
    guarded.good("commit", "-m", "x", agent="bob", cwd=linked)


def test_installed_from_a_linked_worktree(ground: Ground, tmp_path: Path) -> None:
    """Installed from a linked worktree, the main one has the hooks too."""
    linked = tmp_path / "linked"
    ground.good("worktree", "add", "-q", str(linked), "-b", "side")
    ground.install(linked)
    assert (ground.hooks / "pre-commit").exists()
    ground.hold("a.py")
    ground.stage()
    assert ground.git("commit", "-m", "x", agent="ann").returncode


def test_a_submodule(guarded: Ground, tmp_path: Path, run: Run) -> None:
    """A submodule has hooks of its own; a commit in it is judged by the store around it."""
    other = tmp_path / "other"
    run("git", "init", "-q", other, check=True)
    guarded.stage("lib.py", cwd=other)
    guarded.good("commit", "-qm", "x", cwd=other)
    guarded.good("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "vendor")
    guarded.good("commit", "-m", "x")
    sub = guarded.top / "vendor"
    places = {row["file"] for row in guarded.install(sub)}
    assert str(guarded.top / ".git/modules/vendor/hooks/pre-commit") in places
    guarded.hold("vendor/lib.py")
    guarded.stage("lib.py", cwd=sub)
    done = guarded.git("commit", "-m", "x", agent="ann", cwd=sub)
    assert done.returncode and "vendor/lib.py is held" in done.stderr


def test_a_git_folder_elsewhere(ground: Ground, tmp_path: Path) -> None:
    """With --git-dir and --work-tree, as for files of a home folder, git's own idea of the work tree counts."""
    apart = tmp_path / "apart.git"
    (ground.top / ".git").rename(apart)
    both = ("--git-dir", str(apart), "--work-tree", str(ground.top))
    script(apart / "hooks/pre-commit", "#!/bin/sh\n" + githooks.command("pre-commit") + "\n")
    (ground.top / "a.py").write_text("x\n")
    ground.good(*both, "add", "a.py")
    ground.hold("a.py")
    assert "a.py is held" in ground.git(*both, "commit", "-m", "x", agent="ann").stderr


# -- merges and rebases ----------------------------------------------------------------------------------------------


@pytest.fixture
def forked(guarded: Ground) -> Ground:
    """main and side have each a commit of their own: side's is of bob's file, which he holds."""
    guarded.stage("bobs.py", "one\n")
    guarded.stage("both.py", "one\n")
    guarded.good("commit", "-qm", "base")
    guarded.good("checkout", "-qb", "side")
    guarded.stage("bobs.py", "two\n")
    guarded.good("commit", "-qm", "bob's", agent="bob")
    guarded.good("checkout", "-q", "main")
    guarded.stage("mine.py")
    guarded.good("commit", "-qm", "mine", agent="ann")
    guarded.hold("bobs.py")
    return guarded


def test_a_merge_takes_in_what_others_committed(forked: Ground) -> None:
    """Merging a branch that changes a held path passes: the change was its holder's."""
    forked.good("merge", "-q", "--no-edit", "side", agent="ann")
    forked.good("log", "-1", "--merges", "--format=%H", "HEAD")


def test_a_merge_with_changes_of_its_own(forked: Ground) -> None:
    """What a merge changes beyond either side is looked at, with --no-commit and in the commit that ends it."""
    forked.good("merge", "-q", "--no-commit", "side", agent="ann")
    forked.stage("bobs.py", "three\n")
    done = forked.git("commit", "-m", "merged", agent="ann")
    assert done.returncode and "bobs.py is held" in done.stderr
    forked.good("checkout", "side", "--", "bobs.py")
    forked.good("commit", "-m", "merged", agent="ann")


def test_a_rebase_is_not_held_up(forked: Ground) -> None:
    """A rebase of commits that were made before a path was held goes through."""
    forked.stage("late.py")
    forked.good("commit", "-qm", "late", agent="ann")
    forked.hold("late.py", "mine.py")
    forked.good("rebase", "-q", "side", agent="ann")
    assert forked.good("log", "-3", "--format=%s").splitlines() == ["late", "mine", "bob's"]
    forked.good("rebase", "-q", "--force-rebase", "HEAD~2", agent="ann")


def test_a_cherry_pick_is_a_commit(forked: Ground) -> None:
    """A pick of a held path by an agent is refused, and can be aborted."""
    done = forked.git("cherry-pick", "side", agent="ann")
    assert done.returncode and "bobs.py is held" in done.stderr
    forked.good("cherry-pick", "--abort")


# -- pushing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream(guarded: Ground, tmp_path: Path) -> Ground:
    """One with a remote that has its first commit."""
    guarded.good("init", "-q", "--bare", str(tmp_path / "remote.git"))
    guarded.good("remote", "add", "origin", str(tmp_path / "remote.git"))
    guarded.good("push", "-q", "origin", "main")
    return guarded


def test_a_push_of_what_another_holds(upstream: Ground) -> None:
    """Commits that are new to the remote are looked at; one that slipped by is refused, with the way through."""
    upstream.stage()
    upstream.good("commit", "-qm", "x")
    upstream.good("commit", "-qm", "y", "--allow-empty")
    upstream.hold("a.py")
    done = upstream.git("push", "origin", "main", agent="ann")
    assert done.returncode and "refused: a.py is held" in done.stderr
    assert "MBOX_OVERRIDE='why' git push" in upstream.git("push", "origin", "main").stderr
    upstream.good("push", "-q", "origin", "main", MBOX_OVERRIDE="released tonight")
    assert [record["why"] for record in upstream.overrides()] == ["released tonight"]
    upstream.good("push", "-q", "origin", "main:other", agent="ann")


def test_pushes_that_bring_nothing_held(upstream: Ground) -> None:
    """A deletion, a tag of what is there, a tag of no commit, and free paths pass while another path is held."""
    upstream.stage()
    upstream.good("commit", "-qm", "x")
    upstream.good("push", "-q", "origin", "main:gone", "main")
    upstream.hold("**")
    blob = upstream.good("hash-object", "-w", "a.py")
    upstream.good("tag", "old", "HEAD~1")
    upstream.good("tag", "-m", "a blob", "blob", blob)
    upstream.good("push", "-q", "origin", "old", "blob", agent="ann")
    upstream.good("push", "-q", "origin", ":gone", agent="ann")
    upstream.release()
    upstream.hold("b.py")
    upstream.stage()
    upstream.good("commit", "-qm", "y")
    upstream.good("push", "-q", "origin", "main", agent="ann")


def test_a_pushed_merge_counts_what_it_changes_itself(upstream: Ground) -> None:
    """Of a merge those paths count that are as on no side; the commits that it brings count by themselves."""
    upstream.good("checkout", "-qb", "side")
    upstream.stage("side.py")
    upstream.good("commit", "-qm", "side")
    upstream.good("push", "-q", "origin", "side")
    upstream.good("checkout", "-q", "main")
    upstream.stage("main.py")
    upstream.good("commit", "-qm", "main")
    upstream.good("merge", "-q", "--no-edit", "side")
    upstream.hold("side.py")
    upstream.good("push", "-q", "origin", "main", agent="ann")


def test_a_long_push_says_what_was_not_looked_at(upstream: Ground, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Past the bound the newest commits are looked at, and that is said."""
    from mbox.git import caller

    for name in ("first.py", "second.py", "third.py"):
        upstream.stage(name)
        upstream.good("commit", "-qm", name)
    upstream.hold("first.py")
    monkeypatch.setattr(caller, "MOST_COMMITS", 2)
    head = upstream.good("rev-parse", "HEAD")
    given = io.BytesIO(f"refs/heads/main {head} refs/heads/main {'0' * 40}\n".encode())
    environ = {**os.environ, "MBOX_AGENT": "ann"}
    assert gitguard.run("pre-push", ["origin", "url"], environ, str(upstream.top), given) == 0
    assert "only the newest" in capsys.readouterr().err
    monkeypatch.undo()
    given.seek(0)
    assert gitguard.run("pre-push", ["origin", "url"], environ, str(upstream.top), given) == 1


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "busybox"])
def test_a_push_s_refs_reach_both(guarded: Ground, shell: str) -> None:
    """Ours and the person's script get all of standard input, also when it is long or empty, whichever shell runs it."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell} here")
    begin = f"{found} sh" if shell == "busybox" else found
    script(guarded.launcher, '#!/bin/sh\ncat >>"$LOG.ours"\n')
    body = githooks.block(githooks.HookPlace("pre-push", "", False), own=False).decode()
    path = guarded.top / "try"
    script(path, f"#!{begin}\nset -eu\n{body}cat >>\"$LOG\"\n")
    text = "".join(f"refs/heads/b{n} {n:040} refs/heads/b{n} {n:040}\n" for n in range(3000))
    for given in (text, "", "a b c d\n"):
        guarded.run(path, "origin", "url", stdin=given, env=guarded.env(), check=True)
    assert guarded.log.read_text() == text + "a b c d\n"
    assert (guarded.home / "log.ours").read_text() == f"{text}\na b c d\n"


# -- where there is nothing, or something is wrong -------------------------------------------------------------------


def test_mbox_deleted(guarded: Ground) -> None:
    """With the launcher gone commits and pushes pass in silence."""
    guarded.stage()
    guarded.hold("a.py")
    shutil.rmtree(guarded.launcher.parent)
    done = guarded.git("commit", "-m", "x", agent="ann")
    assert done.returncode == 0 and "mbox" not in done.stderr + done.stdout


def test_no_store(guarded: Ground) -> None:
    """With no store around it passes in silence."""
    guarded.stage()
    shutil.rmtree(guarded.top / ".mailbox")
    done = guarded.git("commit", "-m", "x", agent="ann")
    assert done.returncode == 0 and "mbox" not in done.stderr


def test_a_store_that_cannot_be_read(guarded: Ground) -> None:
    """What cannot be judged is refused; an override passes, and says that there is no record; fail: open lets it through."""
    guarded.stage()
    guarded.hold("b.py")
    [path] = (guarded.top / ".mailbox/reservations").glob("*.json")
    whole = path.read_bytes()
    shutil.rmtree(guarded.top / ".mailbox/logs")
    path.write_text("{")
    done = guarded.git("commit", "-m", "x", agent="ann")
    assert done.returncode and "cannot be checked" in done.stderr and "Traceback" not in done.stderr
    guarded.good("commit", "-m", "x", agent="ann", MBOX_OVERRIDE="the store is broken")
    assert whole


def test_modes(guarded: Ground) -> None:
    """guard: off asks nothing, warn says it and passes, strict wants an agent to hold what it commits."""
    config = guarded.top / ".mailbox/config.yaml"
    guarded.hold("held.py")
    for mode, held, free in (("off", 0, 0), ("warn", 0, 0), ("conflict", 1, 0), ("strict", 1, 1)):
        config.write_text(f"guard: {mode}\n")
        for name, fails in (("held.py", held), ("free.py", free)):
            guarded.stage(name)
            done = guarded.git("commit", "-m", "x", agent="ann")
            assert bool(done.returncode) == bool(fails), (mode, name, done.stderr)
            assert ("held" in done.stderr) == (name == "held.py" and mode != "off")
            guarded.good("reset", "-q", "--hard")
    guarded.stage("free.py")
    guarded.good("commit", "-m", "x")


def test_git_s_variables_do_not_lead_to_another_store(guarded: Ground, tmp_path: Path, run: Run) -> None:
    """The store is that around the work tree, whatever GIT_DIR or GIT_WORK_TREE say."""
    other = tmp_path / "other"
    run("git", "init", "-q", other, check=True)
    run("mbox", "init", cwd=other, check=True)
    guarded.stage()
    guarded.hold("a.py")
    done = guarded.git("commit", "-m", "x", agent="ann", cwd=other, GIT_DIR=str(guarded.top / ".git"),
                       GIT_WORK_TREE=str(guarded.top))  # fmt: skip
    assert done.returncode and "a.py is held" in done.stderr


def test_an_unknown_event_passes(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """A hook that is none of ours is let through with a word; prepare-commit-msg of a person asks nothing at all."""
    assert gitguard.run("post-commit", [], dict(os.environ), str(ground.top), None) == 0
    assert "no hook of git" in capsys.readouterr().err
    assert gitguard.run("prepare-commit-msg", [], {}, "/nowhere", None) == 0


# -- coming in and going out -----------------------------------------------------------------------------------------


def test_twice_is_once_and_out_is_as_before(ground: Ground) -> None:
    """Installed twice it is there once; removed, the git folder is as it was, byte for byte; status says which."""
    before = everything(ground.top / ".git")
    assert {row["state"] for row in githooks.status(str(ground.top), OLD)} == {"none"}
    rows = ground.install()
    assert [(row["did"], row["file"]) for row in rows] == [("made", f".git/hooks/{event}") for event in githooks.EVENTS]
    there = everything(ground.top / ".git")
    assert [row["did"] for row in ground.install()] == ["nothing"] * 3
    assert everything(ground.top / ".git") == there != before
    assert [(row["state"], row["way"]) for row in githooks.status(str(ground.top), OLD)] == [("installed", "script")] * 3
    assert [row["did"] for row in ground.remove()] == ["removed"] * 3
    assert everything(ground.top / ".git") == before
    assert ground.remove() == []


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_trial_writes_nothing(ground: Ground, version: tuple[int, int]) -> None:
    """--dry-run says what would be written, and what would be taken out, and touches nothing."""
    script(ground.hooks / "pre-commit", f"#!/bin/sh\n{PERSON}")
    script(ground.hooks / "pre-push", "#!/usr/bin/env python3\n")
    before = everything(ground.top / ".git")
    rows = githooks.install(str(ground.top), True, Disk(False), version)
    assert all("git pre-commit" in row["diff"] for row in rows if row["event"] == "pre-commit")
    assert everything(ground.top / ".git") == before
    githooks.install(str(ground.top), False, Disk(False), version)
    there = everything(ground.top / ".git")
    assert all(row["diff"] for row in githooks.remove(str(ground.top), True, Disk(False)))
    assert everything(ground.top / ".git") == there


def test_in_the_configuration(ground: Ground) -> None:
    """From git 2.54 on the configuration has it, as git-hook(1) says, and no file; the way of older gits is taken out.

    Not run by git: there is none of that version here.  What git would give to sh is run as git would.
    """
    script(ground.hooks / "pre-commit", f"#!/bin/sh\n{PERSON}")
    before = everything(ground.top / ".git")
    ground.install()
    githooks.install(str(ground.top), False, Disk(False), NEW)
    assert everything(ground.hooks) == {key[6:]: value for key, value in before.items() if key.startswith("hooks/")}
    for event in githooks.EVENTS:
        assert ground.good("config", "--local", "--get", f"hook.mbox-{event}.event") == event
        assert ground.good("config", "--local", "--get", f"hook.mbox-{event}.command") == githooks.command(event)
    assert {(row["state"], row["way"]) for row in githooks.status(str(ground.top), NEW)} == {("installed", "config")}
    assert {row["state"] for row in githooks.status(str(ground.top), OLD)} == {"idle"}
    assert {row["did"] for row in githooks.install(str(ground.top), False, Disk(False), NEW)} == {"nothing"}
    line = ground.good("config", "hook.mbox-prepare-commit-msg.command")
    script(ground.launcher, '#!/bin/sh\nprintf "%s|" "$@" >>"$LOG"; exit 3\n')
    done = ground.run("sh", "-c", f'{line} "$@"', line, "a b", "message", env=ground.env())
    assert done.returncode == 0 and not ground.log.exists()  # a person's
    done = ground.run("sh", "-c", f'{line} "$@"', line, "a b", "message", env=ground.env("ann"))
    assert done.returncode == 3 and ground.log.read_text() == "git|prepare-commit-msg|a b|message|"
    ground.launcher.unlink()
    assert ground.run("sh", "-c", f'{line} "$@"', line, "x", env=ground.env()).returncode == 0
    ground.remove()
    assert everything(ground.top / ".git") == before


def test_back_to_an_older_git(ground: Ground) -> None:
    """Installed by an older git, what a newer one left in the configuration goes."""
    before = (ground.top / ".git/config").read_bytes()
    githooks.install(str(ground.top), False, Disk(False), NEW)
    ground.install()
    assert (ground.top / ".git/config").read_bytes() == before
    assert {row["way"] for row in githooks.status(str(ground.top), OLD)} == {"script"}


@pytest.mark.parametrize("version", ["git version 2.39.5", "git version 2.54.0", "git version 2.100.1 (Apple Git-3)"])
def test_the_version_of_git_decides(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """`git version` says which way, by numbers."""
    real = shutil.which("git")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    script(bin_ / "git", f'#!/bin/sh\ncase " $* " in *" version "*) echo "{version}"; exit;; esac\nexec {real} "$@"\n')
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    githooks.install(str(ground.top), False, Disk(False))
    assert {row["way"] for row in githooks.status(str(ground.top))} == {"script" if "39" in version else "config"}


@pytest.mark.parametrize("kind", ["sh", "bash", "env", "python", "no shebang", "symlink", "hard link"])
def test_a_person_s_hook_runs_after_ours(ground: Ground, kind: str, tmp_path: Path) -> None:
    """A plain hook of whatever kind runs after ours, under its own name, and its status counts; removed, it is as it was."""
    place = ground.hooks / "prepare-commit-msg"
    place.unlink(missing_ok=True)
    shells = {"sh": "#!/bin/sh\n", "bash": "#!/bin/bash -e\n", "env": "#!/usr/bin/env bash\n", "no shebang": ""}
    body = PERSON + 'case $LOG in *fail*) exit 7;; esac\n'
    if kind == "python":
        body = "import os, sys\nopen(os.environ['LOG'], 'a').write(' '.join(['theirs:', *sys.argv]) + '\\n')\n"
        script(place, f"#!{sys.executable}\n{body}sys.exit(7 * ('fail' in os.environ['LOG']))\n")
    elif kind == "symlink":
        script(ground.hooks / "dispatch.sh", f"#!/bin/sh\n{body}")
        place.symlink_to("dispatch.sh")
    else:
        script(place, shells.get(kind, "#!/bin/sh\n") + body, 0o755)
    if kind == "hard link":
        (tmp_path / "other").hardlink_to(place)
    place.touch()
    before, inode = everything(ground.hooks), place.lstat().st_ino
    ground.install()
    assert [row["did"] for row in ground.install()] == ["nothing"] * 3
    ground.stage()
    ground.hold("a.py")
    assert ground.git("commit", "-m", "x", agent="ann", GIT_EDITOR="true").returncode and not ground.log.exists()
    ground.release()
    ground.good("commit", "-m", "x", agent="ann")
    said = ground.log.read_text().split()
    assert os.path.basename(said[1]) == "prepare-commit-msg" and said[2:] == [".git/COMMIT_EDITMSG", "message"]
    ground.stage()
    assert ground.git("commit", "-m", "x", LOG=str(tmp_path / "fail")).returncode
    ground.good("reset", "-q", "--hard")
    ground.remove()
    assert everything(ground.hooks) == before
    if kind in ("python", "symlink", "hard link"):
        assert place.lstat().st_ino == inode


def test_a_hook_that_is_switched_off_stays_off(ground: Ground) -> None:
    """A script without x, which git passes over, is not run by ours either, and comes back as it was."""
    place = ground.hooks / "pre-commit"
    script(place, "#!/bin/sh\nexit 1\n", 0o644)
    ground.install()
    ground.stage()
    ground.good("commit", "-m", "x")
    ground.remove()
    assert place.read_text() == "#!/bin/sh\nexit 1\n" and stat.S_IMODE(place.stat().st_mode) == 0o644


def test_changes_of_a_person_stay(ground: Ground) -> None:
    """Lines added meanwhile, to a person's script and to ours, are left by `remove`; what was kept is named."""
    script(ground.hooks / "pre-commit", f"#!/bin/sh\n{PERSON}")
    script(ground.hooks / "pre-push", f"#!{sys.executable}\n")
    ground.install()
    for name in githooks.EVENTS:
        with (ground.hooks / name).open("a") as file:
            file.write("echo added\n")
    rows = {row["event"]: row for row in ground.remove()}
    assert (ground.hooks / "pre-commit").read_text() == f"#!/bin/sh\n{PERSON}echo added\n"
    assert (ground.hooks / "prepare-commit-msg").read_text() == "#!/bin/sh\necho added\n"
    assert (ground.hooks / "pre-push").read_text() == "#!/bin/sh\necho added\n"
    assert rows["pre-push"]["note"].endswith("pre-push.mbox-kept")


def test_our_script_was_deleted(ground: Ground) -> None:
    """Where somebody deleted ours, `remove` still brings back what had made room for it."""
    script(ground.hooks / "pre-commit", f"#!{sys.executable}\n")
    before = everything(ground.hooks)
    ground.install()
    (ground.hooks / "pre-commit").unlink()
    ground.remove()
    assert everything(ground.hooks) == before


def test_an_older_block_is_brought_up(ground: Ground) -> None:
    """A block of another version is said to be one, and replaced where it stands."""
    place = ground.hooks / "pre-commit"
    script(place, "#!/bin/sh\necho first\n# >>> mbox >>> old\nold line\n# <<< mbox <<<\necho last\n")
    assert "another version" in githooks.status(str(ground.top), OLD)[0]["note"]
    ground.install()
    text = place.read_text()
    assert text.startswith("#!/bin/sh\necho first\n# >>> mbox >>>") and "old line" not in text and text.endswith("echo last\n")


def test_core_hookspath(ground: Ground, tmp_path: Path) -> None:
    """It goes where core.hooksPath says, and what that means for others is said; /dev/null, which is none, is refused."""
    ground.good("config", "core.hooksPath", ".githooks")
    notes = {row.get("note") for row in ground.install(ground.top)}
    assert (ground.top / ".githooks/pre-commit").exists() and notes == {"it is in the work tree, for the team"}
    sub = ground.top / "sub"
    sub.mkdir()
    assert {row["did"] for row in ground.install(sub)} == {"nothing"}
    ground.remove()
    ground.good("config", "core.hooksPath", str(tmp_path / "shared"))
    assert {row.get("note") for row in ground.install()} == {"every repository with this core.hooksPath has it"}
    ground.stage()
    ground.hold("a.py")
    assert ground.git("commit", "-m", "x", agent="ann").returncode
    ground.remove()
    ground.good("config", "core.hooksPath", "/dev/null")
    with pytest.raises(Refused, match="no folder"):
        ground.install()
    with pytest.raises(Usage, match="no work tree"):
        ground.install(tmp_path)
    assert githooks.remove(str(tmp_path), False, Disk()) == []
    assert [row["state"] for row in githooks.status(str(tmp_path))] == ["none"]


def test_from_the_command_line(ground: Ground) -> None:
    """`mbox hooks install git` writes launcher and hooks, which then hold; `status git` and `remove git` know them."""
    ground.launcher.unlink()
    trial = ground.run("mbox", "hooks", "install", "git", "--dry-run", cwd=ground.top, env=ground.env(), check=True)
    assert "git pre-commit" in trial.stderr and not (ground.hooks / "pre-commit").exists() and not ground.launcher.exists()
    done = ground.run("mbox", "hooks", "install", "git", cwd=ground.top, env=ground.env(), check=True)
    assert "git pre-commit" not in done.stderr
    ground.stage()
    ground.hold("a.py")
    assert "a.py is held" in ground.git("commit", "-m", "x", agent="ann").stderr
    for verb in ("status", "remove"):
        done = ground.run("mbox", "hooks", verb, "git", cwd=ground.top, env=ground.env(), check=True)
        assert "pre-push" in done.stdout
    ground.good("commit", "-m", "x", agent="ann")


# -- husky -----------------------------------------------------------------------------------------------------------


MINIATURE = """\
n=$(basename "$0")
s=$(dirname "$(dirname "$0")")/$n
[ ! -f "$s" ] && exit 0
sh -e "$s" "$@"
exit $?
"""


def husky(top: Path, home: Path) -> str:
    """Have husky 9 set itself up, or something made like it where npm has none; which."""
    npm = shutil.which("npm")
    (top / "package.json").write_text('{"private": true}\n')
    if npm:
        environ = {**os.environ, "HOME": str(home)}
        words = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline", "--no-save", "husky@9"]
        try:
            done = subprocess.run(words, cwd=top, env=environ, capture_output=True, timeout=60, check=False)
            if done.returncode == 0:
                subprocess.run(["node_modules/.bin/husky"], cwd=top, env=environ, check=True)
                return "real"
        except (OSError, subprocess.SubprocessError):
            pass
    made = top / ".husky/_"
    made.mkdir(parents=True)
    script(made / "h", MINIATURE)
    (made / ".gitignore").write_text("*")
    for event in (*githooks.EVENTS, "commit-msg"):
        script(made / event, '#!/usr/bin/env sh\n. "$(dirname "$0")/h"')
    subprocess.run(["git", "config", "core.hooksPath", ".husky/_"], cwd=top, check=True)
    return "miniature"


def test_husky(ground: Ground, record_property: pytest.RecordProperty) -> None:
    """Beside husky ours stands in .husky/EVENT, first; what husky generates is not written; removed, all is as before."""
    record_property("husky", husky(ground.top, ground.home))
    (ground.top / ".gitignore").write_text("node_modules\n")
    hooks = ground.top / ".husky"
    (hooks / "pre-commit").write_text(PERSON)
    (hooks / "pre-push").write_text("#!/bin/sh\nwhile read -r line; do echo \"ref $line\" >>\"$LOG\"; done")
    before = everything(hooks)
    assert {row["way"] for row in ground.install()} == {"husky"}
    assert {row["did"] for row in ground.install()} == {"nothing"}
    there = everything(hooks)
    assert [there[key] for key in there if key.startswith("_")] == [before[key] for key in before if key.startswith("_")]
    ground.stage()
    ground.hold("a.py")
    assert "a.py is held" in ground.git("commit", "-m", "x", agent="ann").stderr and not ground.log.exists()
    assert "a.py is held" in ground.git("commit", "--no-verify", "-m", "x", agent="ann").stderr
    ground.release()
    ground.good("commit", "-qm", "x", agent="ann")
    assert ground.log.read_text().startswith("theirs:")
    ground.good("init", "-q", "--bare", str(ground.home / "remote.git"))
    ground.good("push", "-q", str(ground.home / "remote.git"), "main", agent="ann")
    assert "ref refs/heads/main " in ground.log.read_text()
    ground.remove()
    assert everything(hooks) == before


# -- the pre-commit framework ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command of the real pre-commit framework; the test is skipped where PyPI has none."""
    folder = tmp_path_factory.mktemp("framework")
    venv.create(folder, with_pip=True)
    words = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "pre-commit"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)
    if done.returncode:
        pytest.skip(f"pre-commit cannot be installed here: {done.stderr[-200:]}")
    yield [str(folder / "bin/pre-commit")]


LOCAL = """\
default_install_hook_types: [pre-commit, pre-push]
repos:
- repo: local
  hooks:
  - {id: note, name: note, language: system, entry: sh -c 'echo framework >>"$LOG"', always_run: true, pass_filenames: false}
"""


@pytest.mark.parametrize("order", ["ours first", "theirs first", "theirs, ours, theirs", "a plain hook, theirs, ours, theirs"])
def test_beside_the_pre_commit_framework(ground: Ground, framework: list[str], order: str) -> None:
    """Whoever came first, both run, and a plain hook that was there; the framework may come again; removed, it is as without."""
    (ground.top / ".pre-commit-config.yaml").write_text(LOCAL)
    ground.good("add", "-A")
    ground.good("commit", "-qm", "config")
    plain = ground.hooks / "pre-commit"
    if order.startswith("a plain"):
        script(plain, f"#!/bin/sh\n{PERSON}")

    def theirs() -> None:
        ground.run(*framework, "install", cwd=ground.top, env=ground.env(), check=True)

    steps = order.removeprefix("a plain hook, ").replace(" first", "").split(", ")
    for step in [*steps, *({"ours", "theirs"} - set(steps))]:
        ground.install() if step == "ours" else theirs()
    assert {row["did"] for row in ground.install()} == {"nothing"}
    assert {row["state"] for row in githooks.status(str(ground.top), OLD)} == {"installed"}
    ground.stage()
    ground.hold("a.py")
    done = ground.git("commit", "-m", "x", agent="ann")
    assert done.returncode and "a.py is held" in done.stderr + done.stdout
    ground.log.unlink(missing_ok=True)
    ground.release()
    ground.good("commit", "-m", "x", agent="ann")
    assert "framework" in ground.log.read_text()
    assert ("theirs:" in ground.log.read_text()) == order.startswith("a plain")
    ground.hold("a.py")
    ground.good("init", "-q", "--bare", str(ground.home / "remote.git"))
    done = ground.git("push", str(ground.home / "remote.git"), "main", agent="ann")
    assert done.returncode and "a.py is held" in done.stderr + done.stdout
    ground.remove()
    left = {name: value for name, value in everything(ground.hooks).items() if not name.endswith(".sample")}
    legacy = {"pre-commit.legacy"} if order.startswith("a plain") else set()
    assert set(left) == {"pre-commit", "pre-push", *legacy}
    assert not any(b"mbox" in what for _, what in left.values() if isinstance(what, bytes))
    ground.run(*framework, "uninstall", cwd=ground.top, env=ground.env(), check=True)
    assert plain.exists() == order.startswith("a plain")
