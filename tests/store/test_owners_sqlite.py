"""Root in another user's store: what SQLite does there, it does with that user's rights, whatever they put in its way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")

NOBODY = 1234

COMMANDS = (("mbox", "search", "turnip"), ("task", "claim", "--as", "bob"), ("task", "add", "y", "--as", "bob"))


@pytest.fixture
def root(run: Run) -> Iterator[Path]:
    """A store of another user's, with both indexes, in a folder that everybody can come to: not below pytest's own."""
    with tempfile.TemporaryDirectory(prefix="mbox-test-") as folder:
        os.chmod(folder, 0o711)
        root = Path(folder) / "store"
        root.mkdir()
        run("mbox", "init", "--here", cwd=root, check=True)
        run("mbox", "agent", "add", "bob", cwd=root, check=True)
        run("mbox", "send", "bob", "--as", "bob", "--body", "a turnip", cwd=root, check=True)
        for words in (("task", "add", "x", "--as", "bob"), *COMMANDS[:2]):
            run(*words, cwd=root, check=True)
        for path in (root, *root.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        yield root


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file in a folder of root's alone."""
    folder = tmp_path / "root-only"
    folder.mkdir(0o700)
    (folder / "kept").write_text("kept")
    return folder / "kept"


def journal_that_names(path: Path) -> bytes:
    """A rollback journal for which SQLite deletes the file that it names (sqlite.org/atomiccommit.html, "super-journal")."""
    name = os.fsencode(path)
    tail = len(name).to_bytes(4, "big") + (sum(name) & 0xFFFFFFFF).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    return b"\xd9" + b"x" * 511 + b"\0\0\0\1" + name + tail


RACE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from mbox.system import database
checked = database._check_file
def check_and_lose(path, stamp):
    checked(path, stamp)
    if not os.path.lexists(path + ".was"):
        {act}
database._check_file = check_and_lose
from mbox.cli import main
noun = sys.argv[2]
sys.argv = sys.argv[2:]
sys.exit(getattr(main, noun)())
"""
"""A command between whose look at a file and SQLite's its owner acts, once for each file."""


def raced(root: Path, act: str, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a command as root, with ``act`` of the owner's between look and use."""
    script, package = RACE.format(act=act), str(Path(__file__).parents[2] / "mailbox")
    line = [sys.executable, "-c", script, package, *words, "--root", str(root)]
    return subprocess.run(line, cwd=root, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_journal_put_there_after_the_look_deletes_nothing_of_roots(root: Path, victim: Path, words: tuple[str, ...]) -> None:
    """SQLite deletes what such a journal names: here with the owner's rights."""
    data = root / "hot"
    data.write_bytes(journal_that_names(victim))
    act = f"os.link({str(data)!r}, path + '-journal'); os.chown(path + '-journal', {NOBODY}, {NOBODY}); open(path + '.was', 'w')"
    done = raced(root, act, words)
    assert victim.exists(), done.stderr
    assert list(root.rglob("*.was")), f"nobody raced: exit {done.returncode}, {done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_link_put_there_after_the_look_leads_root_nowhere(root: Path, victim: Path, words: tuple[str, ...]) -> None:
    """A database of root's, in a folder of root's, is not written."""
    for index in (places.INDEX, places.SEARCH):
        data = (root / index).read_bytes()
        (victim.parent / Path(index).name).write_bytes(data)
    before = {path: path.read_bytes() for path in victim.parent.iterdir()}
    there = f"{str(victim.parent)!r} + '/' + os.path.basename(path)"
    done = raced(root, f"os.rename(path, path + '.was'); os.symlink({there}, path)", words)
    assert {path: path.read_bytes() for path in victim.parent.iterdir()} == before, done.stderr
    assert list(root.rglob("*.was")), f"nobody raced: exit {done.returncode}, {done.stderr}"


def test_what_root_leaves_is_the_owners(root: Path, run: Run) -> None:
    """Both indexes are used and made by root, and everything there still belongs to the owner, who goes on."""
    for again in (False, True):
        if again:
            for index in (places.INDEX, places.SEARCH):
                (root / index).unlink()
        for words in COMMANDS:
            assert run(*words, "--root", root, cwd=root).returncode in (0, 1), words
    assert {path.stat().st_uid for path in root.rglob("*")} == {NOBODY}
    assert (root / places.INDEX).exists() and (root / places.SEARCH).exists()


def test_the_owner_is_in_none_of_roots_groups(tmp_path: Path) -> None:
    """What a group of root's may write, the owner may not; afterwards root is in its groups again."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from mbox.system.disk import Owner;"
        "os.setgroups([0, 4]);"
        "who = lambda: (os.geteuid(), os.getegid(), os.getgroups());"
        f"print(Owner({NOBODY}, {NOBODY}).do(who), who())"
    )
    package = str(Path(__file__).parents[2] / "mailbox")
    said = subprocess.run([sys.executable, "-c", script, package], capture_output=True, text=True, check=True).stdout
    assert said == f"({NOBODY}, {NOBODY}, []) (0, 0, [0, 4])\n"
