"""A file of the store that has another name is not written: the other name may be anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Run


@pytest.fixture
def store(repo: Path, run: Run) -> Path:
    """A store with a letter in it."""
    run("mbox", "init", "--here", cwd=repo, check=True)
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)
    run("mbox", "send", "bob", "--body", "one", "--as", "ann", cwd=repo, check=True)
    return repo


@pytest.mark.parametrize("name", [".mailbox/lock", ".mailbox/logs/000001.jsonl"])
def test_what_is_written_appears_nowhere_else(store: Path, tmp_path: Path, run: Run, name: str) -> None:
    """6 with the mend, and the other file is as it was; whoever only reads goes on; mended, all goes on."""
    theirs = tmp_path / "theirs"
    os.link(store / name, theirs)
    before = theirs.read_bytes()
    for body in ("two", "three"):
        done = run("mbox", "send", "bob", "--body", body, "--as", "ann", cwd=store)
        assert done.returncode == 6 and "hard link" in done.stderr and "cp -p" in done.stderr, done.stderr
    assert theirs.read_bytes() == before
    assert run("mbox", "inbox", "--as", "bob", cwd=store).returncode == 0
    mend = done.stderr.partition("its own: ")[2].partition(";")[0].strip()
    subprocess.run(["sh", "-c", mend], cwd=(store / name).parent, check=True)
    assert run("mbox", "send", "bob", "--body", "four", "--as", "ann", cwd=store).returncode == 0
    assert theirs.read_bytes() == before


def test_a_copy_of_links_writes_nothing_into_the_original(store: Path, tmp_path: Path, run: Run) -> None:
    """``cp -al``, as programs for backups do: neither writes into the other."""
    copy = tmp_path / "copy"
    shutil.copytree(store, copy, copy_function=os.link)
    files = [path for path in (store / ".mailbox").rglob("*") if path.is_file() and "cache" not in path.parts]
    before = {path: path.read_bytes() for path in files}
    done = run("mbox", "send", "bob", "--body", "two", "--as", "ann", cwd=copy)
    assert done.returncode == 6 and "hard link" in done.stderr
    assert {path: path.read_bytes() for path in files} == before


def test_a_letter_and_what_was_sent_are_one_file(store: Path) -> None:
    """Each is there under both names, and takes room once."""
    (sent,) = (store / ".mailbox/outbox/ann").rglob("*.json")
    assert sent.samefile(store / ".mailbox/inbox/bob/new" / sent.name)
