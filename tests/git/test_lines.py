"""Two stores that began as one and audit into one ref: neither is stranded, and nothing is written over."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Run
from kit import tree
from mbox.format import places

REF = "refs/mbox/audit"


def call(*words: str, cwd: Path) -> str:
    """What git prints; it must succeed."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


def journal_on(root: Path) -> str:
    """The journal on the ref, put together from its slices."""
    names = call("git", "ls-tree", "-r", "--name-only", "--full-tree", REF, cwd=root).splitlines()
    slices = sorted(name for name in names if name.startswith(places.LOGS))
    return "\n".join(call("git", "show", f"{REF}:{name}", cwd=root) for name in slices)


def journal_of(root: Path) -> str:
    """The journal on disk."""
    return "\n".join(path.read_text().strip() for path in sorted((root / places.LOGS).iterdir()))


@pytest.fixture
def original(repo: Path, run: Run) -> Path:
    """A store that was committed once."""
    run("mbox", "init", cwd=repo, check=True)
    run("mbox", "agent", "add", "ann", cwd=repo, check=True)
    work(repo, run, "first")
    commit(repo, run)
    return repo


@pytest.fixture
def clone(original: Path, tmp_path: Path, run: Run) -> Path:
    """A clone into which it was restored."""
    folder = tmp_path / "clone"
    call("git", "clone", "-q", str(original), str(folder), cwd=tmp_path)
    call("git", "fetch", "-q", "origin", f"{REF}:{REF}", cwd=folder)
    run("mbox", "audit", "restore", "--without-config", cwd=folder, check=True)
    return folder


def work(root: Path, run: Run, title: str) -> None:
    """Make a record."""
    run("task", "add", title, cwd=root, check=True)


def commit(root: Path, run: Run) -> tuple[str, str]:
    """The commit that ``audit commit`` makes, which is the whole store; and its stderr."""
    done = run("mbox", "audit", "commit", cwd=root)
    assert done.returncode == 0, done.stderr
    assert journal_on(root) == journal_of(root)
    answer = json.loads(done.stdout)
    assert answer["commit"] == tip(root)
    return answer["commit"], done.stderr


def tip(root: Path) -> str:
    """The newest commit on the ref."""
    return call("git", "rev-parse", REF, cwd=root)


def push(clone: Path) -> None:
    """Bring the clone's ref to the original, forward only."""
    call("git", "push", "-q", "origin", f"{REF}:{REF}", cwd=clone)


def fetch(clone: Path) -> None:
    """Bring the original's ref to the clone, forward only."""
    call("git", "fetch", "-q", "origin", f"{REF}:{REF}", cwd=clone)


def leads_to(root: Path, oid: str) -> bool:
    """Whether the ref's newest commit leads back to ``oid``."""
    return oid in call("git", "rev-list", REF, cwd=root).split()


def test_neither_line_is_stranded_or_written_over(original: Path, clone: Path, run: Run) -> None:
    """In turn, three times: each goes on from its own line, leads back to the other's, and only moves the ref forward."""
    made = [tip(original)]
    for turn in range(3):
        work(clone, run, f"there {turn}")
        made.append(commit(clone, run)[0])
        push(clone)
        work(original, run, f"here {turn}")
        oid, said = commit(original, run)
        made.append(oid)
        assert "another store that began as this one did" in said and "`mbox config set audit.ref" in said
        assert len(said.splitlines()) == 1
        work(original, run, f"here again {turn}")
        oid, said = commit(original, run)
        made.append(oid)
        assert said == ""
        fetch(clone)
    assert all(leads_to(original, oid) for oid in made)
    for root in (original, clone):
        assert run("mbox", "doctor", cwd=root).returncode == 0
    assert run("mbox", "audit", "log", cwd=original).returncode == 0


def test_who_has_nothing_new_is_told_so(original: Path, clone: Path, run: Run) -> None:
    """The ref goes on from the very end of the original's journal, by a restore: the original did not go back."""
    work(clone, run, "there")
    theirs, _ = commit(clone, run)
    push(clone)
    done = run("mbox", "audit", "commit", cwd=original)
    assert (done.returncode, json.loads(done.stdout)["already"], tip(original)) == (0, True, theirs)
    work(original, run, "here")
    commit(original, run)
    assert leads_to(original, theirs)


def test_a_store_that_went_back_is_still_told(original: Path, run: Run) -> None:
    """A ref that goes on from here without a restore: exit 6, and the ref stays."""
    kept = original.parent / "kept"
    shutil.copytree(original / ".mailbox", kept)
    work(original, run, "later")
    commit(original, run)
    before = tip(original)
    shutil.rmtree(original / ".mailbox")
    shutil.copytree(kept, original / ".mailbox")
    (original / ".git/mbox-seen").unlink()  # then nothing but the ref tells it
    done = run("mbox", "audit", "commit", cwd=original)
    assert (done.returncode, "went back in time" in done.stderr, tip(original)) == (6, True, before)


def test_two_roots_in_one_repository(original: Path, run: Run) -> None:
    """Restored beside the original, into another folder of the same repository."""
    (original / "sub").mkdir()
    run("mbox", "--root", "sub", "audit", "restore", "--without-config", cwd=original, check=True)
    sub = original / "sub"
    for turn in range(2):
        for root in (sub, original):
            work(root, run, f"turn {turn}")
            done = run("mbox", "audit", "commit", "--root", str(root), cwd=original)
            assert done.returncode == 0, done.stderr
            assert journal_on(original) == journal_of(root)


def test_a_restore_names_the_other_line(original: Path, clone: Path, run: Run) -> None:
    """What was committed last comes back, and the commands for the other one bring that."""
    work(clone, run, "there")
    theirs, _ = commit(clone, run)
    of_clone = documents(clone)
    push(clone)
    work(original, run, "here")
    commit(original, run)
    of_original = documents(original)
    for words, wanted in (((), of_original), (("--ref", "refs/mbox/other"), of_clone)):
        for name in (".mailbox", ".tasks"):
            shutil.rmtree(original / name)
        done = run("mbox", "audit", "restore", "--without-config", *words, cwd=original, check=True)
        assert documents(original) == wanted
        if not words:
            command = f"git update-ref refs/mbox/other {theirs}"
            assert f"`{command}`" in done.stderr and "--ref refs/mbox/other" in done.stderr
            call(*command.split(), cwd=original)
        else:
            assert "update-ref" not in done.stderr


def documents(root: Path) -> dict[str, bytes]:
    """Every document of the store."""
    return {path: data for path, data in tree(root).items() if places.is_place(path)}
