"""Documents on a branch of the user's: no store is kept there, and one that was is moved off it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Run
from mbox.git import placement


def git(cwd: Path, *words: str) -> str:
    """What git prints; it must succeed."""
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {words}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture
def tracked(repo: Path, run: Run) -> Path:
    """A store whose documents are on the branch, as ``init --track`` of earlier versions left it."""
    run("mbox", "init", cwd=repo, check=True)
    run("mbox", "agent", "add", "ann", cwd=repo, check=True)
    run("task", "add", "T", cwd=repo, check=True)
    (repo / ".tasks/.gitignore").write_text("/leases/\n.tmp-*\n")
    (repo / ".git/info/exclude").write_text("# mine\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "s")
    return repo


@pytest.mark.parametrize("words", [["--track"], ["--track", "--dry-run"], ["--here", "--track"]])
def test_a_tracked_store_is_not_made(words: list[str], repo: Path, run: Run) -> None:
    """Exit 2 in one line, with the reason and what to do instead; nothing is made, and no help names the option."""
    done = run("mbox", "init", *words, cwd=repo)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    for word in ("--track", "claimed twice", "`mbox init`", "`mbox audit commit`"):
        assert word in done.stderr
    assert sorted(path.name for path in repo.iterdir()) == [".git", "README.md"]
    assert "--track" not in run("mbox", "init", "--help").stdout + run("mbox", "schema", "mbox init").stdout
    assert "--track" not in run("mbox", "schema", "commands").stdout


def test_a_tracked_store_is_moved_off_the_branch(tracked: Path, run: Run) -> None:
    """The next `init` excludes both folders and names the command for the rest, which it does not run itself."""
    before = git(tracked, "ls-files")
    done = run("mbox", "init", cwd=tracked)
    assert (done.returncode, json.loads(done.stdout)["made"]) == (0, False)
    assert (tracked / ".git/info/exclude").read_text() == "# mine\n.mailbox/\n.tasks/\n"
    command = f"git -C {tracked} rm -r --cached --quiet .mailbox .tasks"
    assert f"`{command}`" in done.stderr
    assert git(tracked, "ls-files") == before
    assert command in run("mbox", "doctor", cwd=tracked).stdout
    subprocess.run(command.split(), check=True)
    git(tracked, "commit", "-qm", "the store is nobody's branch")
    assert git(tracked, "ls-files") == "README.md"
    assert git(tracked, "status", "--porcelain") == ""
    for words in (("mbox", "init"), ("mbox", "doctor")):
        after = run(*words, cwd=tracked, check=True)
        assert "--cached" not in after.stdout + after.stderr
    assert [row["title"] for row in json.loads(run("task", "list", "-o", "json", cwd=tracked).stdout)] == ["T"]


def test_a_clone_of_a_tracked_store_is_begun_from_its_documents(tracked: Path, tmp_path: Path, run: Run) -> None:
    """The documents that a branch brings are adopted, kept out of the clone's branches, and the command is named."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(tracked), str(clone))
    done = run("mbox", "init", cwd=clone)
    assert (done.returncode, "2 documents" in done.stderr, f"git -C {clone} rm -r" in done.stderr) == (0, True, True)
    assert (clone / ".git/info/exclude").read_text().endswith(".mailbox/\n.tasks/\n")
    assert run("mbox", "doctor", cwd=clone).returncode == 0


def test_a_persons_files_may_be_on_a_branch(repo: Path, run: Run) -> None:
    """Settings that are shared by `git add -f` are nobody's live state: nothing is said of them."""
    run("mbox", "init", cwd=repo, check=True)
    git(repo, "add", "-f", ".mailbox/config.yaml", ".mailbox/.gitignore")
    git(repo, "commit", "-qm", "settings")
    assert "--cached" not in run("mbox", "init", cwd=repo, check=True).stderr
    assert placement.tracked(str(repo)) == ""


def test_a_branch_that_holds_documents_can_be_switched_to(repo: Path, run: Run) -> None:
    """git refuses to overwrite what it does not know and overwrites what it ignores: both folders are ignored."""
    git(repo, "switch", "-qc", "old")
    (repo / ".tasks").mkdir()
    for name in ("t3", "t4", "t5"):
        (repo / f".tasks/{name}.json").write_text("{}\n")
    git(repo, "add", "-f", ".tasks")
    git(repo, "commit", "-qm", "documents")
    git(repo, "switch", "-q", "main")
    run("mbox", "init", cwd=repo, check=True)
    for title in "abcde":
        run("task", "add", title, cwd=repo, check=True)
    assert (repo / ".tasks/t3.json").exists()
    git(repo, "switch", "-q", "old")
    git(repo, "switch", "-q", "main")


def test_a_restored_store_is_kept_out_of_the_branches(repo: Path, run: Run) -> None:
    """Also where a ``.gitignore`` of a tracked store stands in ``.tasks``."""
    run("mbox", "init", cwd=repo, check=True)
    run("task", "add", "T", cwd=repo, check=True)
    run("mbox", "audit", "commit", cwd=repo, check=True)
    for name in (".mailbox", ".tasks"):
        shutil.rmtree(repo / name)
    (repo / ".tasks").mkdir()
    (repo / ".tasks/.gitignore").write_text("/leases/\n.tmp-*\n")
    (repo / ".git/info/exclude").write_text("")
    run("mbox", "audit", "restore", "--without-config", cwd=repo, check=True)
    assert (repo / ".git/info/exclude").read_text() == ".mailbox/\n.tasks/\n"
    assert run("mbox", "doctor", cwd=repo).returncode == 0
