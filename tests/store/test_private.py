"""A private store is its owner's alone, whatever made its files; and what stands in it must be the owner's."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from conftest import Run
from mbox.format import places


def loose(root: Path) -> list[str]:
    """What others can get at."""
    paths = [root / top for top in (places.MAILBOX, places.TASKS)]
    paths += [path for top in paths for path in top.rglob("*")]
    return [str(path) for path in paths if not path.is_symlink() and stat.S_IMODE(os.lstat(path).st_mode) & 0o077]


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store in which everything happened once, made under a umask that closes nothing."""
    folder = tmp_path / "root"
    folder.mkdir()
    before = os.umask(0)
    try:
        run("git", "init", "--quiet", cwd=folder, check=True)
        run("mbox", "init", cwd=folder, check=True)
        for name in ("ann", "bob"):
            run("mbox", "agent", "add", name, cwd=folder, check=True)
        run("mbox", "send", "bob", "--as", "ann", "--body", "a turnip", cwd=folder, check=True)
        run("task", "add", "peel it", "--id", "peel", cwd=folder, check=True)
        run("task", "claim", "--as", "bob", cwd=folder, check=True)
        run("task", "note", "peel", "x", "--as", "bob", cwd=folder, check=True)
        for words in (["search", "turnip"], ["agent", "beat", "--as", "ann"], ["lock", "one", "--", "true"],
                      ["watchdog", "--once"], ["audit", "commit"],
                      ["run", "--no-watchdog", "--as", "ann", "--", "true"]):  # fmt: skip
            run("mbox", *words, cwd=folder, check=True)
    finally:
        os.umask(before)
    return folder


def test_nothing_of_it_is_open(root: Path) -> None:
    """Folders, documents, lock, journal, indexes, beats: 0700 and 0600."""
    assert loose(root) == []


@pytest.mark.parametrize("mask", [0o777, 0o277, 0o700])
def test_a_umask_that_takes_the_owners_rights_does_not_count(repo: Path, run: Run, mask: int) -> None:
    """What is made has 0700 and 0600, by `init`, by a letter and by `audit restore`: else nobody could use it."""
    before = os.umask(mask)
    try:
        run("mbox", "init", cwd=repo, check=True)
        run("mbox", "agent", "add", "ann", cwd=repo, check=True)
        run("mbox", "audit", "commit", cwd=repo, check=True)
        for top in (places.MAILBOX, places.TASKS):
            shutil.rmtree(repo / top)
        run("mbox", "audit", "restore", cwd=repo, check=True)
    finally:
        os.umask(before)
    made = [path for top in (places.MAILBOX, places.TASKS) for path in [repo / top, *(repo / top).rglob("*")]]
    assert len(made) > 15
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_file()} == {"0o600"}


def test_a_clone_is_closed_by_the_first_who_takes_the_lock(root: Path, run: Run) -> None:
    """Git makes files as the umask says: the first command that takes the lock closes them, and says so, once."""
    there = root.parent / "clone"
    shutil.copytree(root, there)
    for path in [there / places.MAILBOX, there / places.TASKS, *there.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (there / "mine.txt").write_text("x")
    (there / "mine.txt").chmod(0o644)
    link = there / places.MAILBOX / "agents" / "link"
    link.symlink_to(there / "mine.txt")
    done = run("mbox", "send", "bob", "--as", "ann", "--body", "x", cwd=there, check=True)
    assert "open to other users" in done.stderr
    assert loose(there) == []
    assert stat.S_IMODE(os.stat(there / "mine.txt").st_mode) == 0o644
    assert not os.stat(there / places.CONFIG).st_mode & 0o111
    again = run("mbox", "send", "bob", "--as", "ann", "--body", "y", cwd=there, check=True)
    assert "open to other users" not in again.stderr


def test_private_is_about_what_is_there_too(root: Path, run: Run) -> None:
    """`config set private false` leaves what there is, new files are as the umask says; `true` closes them all."""
    run("mbox", "config", "set", "private", "false", cwd=root, check=True)
    run("mbox", "agent", "add", "cyd", cwd=root, check=True)
    assert str(root / places.agent("cyd")) in loose(root)
    run("mbox", "config", "set", "private", "true", cwd=root, check=True)
    assert loose(root) == []


@pytest.mark.parametrize("place", [places.CONFIG, places.LOGS, places.LOCK, places.CACHE, ".mailbox/hosts.yaml"])
def test_the_owner_is_looked_at_inside(root: Path, run: Run, place: str) -> None:
    """A configuration, journal or lock of another user: exit 6 naming it, unless --root says that it is trusted."""
    if os.geteuid():
        pytest.skip("giving a file away needs root")
    path = root / place
    if not path.exists():
        path.write_text("")
    os.chown(path, 1234, -1)
    done = run("mbox", "status", cwd=root)
    assert done.returncode == 6 and str(path) in done.stderr and "another user" in done.stderr
    assert done.stderr.count("\n") == 1
    if place != ".mailbox/hosts.yaml":
        assert run("mbox", "status", "--root", root, cwd=root).returncode == 0


FOLDERS = [path for path in places.FOLDERS if path not in (places.LOGS, places.TASKS, ".mailbox/runs")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_git_did_not_keep_is_made_again(root: Path, run: Run, folder: str) -> None:
    """Git keeps no empty folder: whoever needs one makes it."""
    shutil.rmtree(root / folder)
    for words in (
        ["mbox", "agent", "beat", "--as", "ann"], ["mbox", "run", "--no-watchdog", "--as", "ann", "--", "true"],
        ["mbox", "send", "bob", "--as", "ann", "--body", "x"], ["mbox", "read", "--as", "bob"],
        ["task", "add", "y", "--id", "slice"], ["task", "claim", "slice", "--as", "ann"], ["mbox", "wait", "--as", "ann",
        "--timeout", "0.1s"], ["task", "note", "slice", "x", "--as", "ann"], ["reserve", "b.py", "--as", "ann"],
        ["mbox", "lock", "one", "--", "true"], ["mbox", "search", "x"], ["mbox", "watchdog", "--once"],
        ["mbox", "audit", "commit"], ["mbox", "rebuild"], ["mbox", "inbox", "--as", "bob"],
    ):  # fmt: skip
        done = run(*words, cwd=root)
        registered = folder != ".mailbox/agents"
        assert done.returncode in ((0, 4) if registered else (0, 3, 4, 5)), (words, done.stderr)
    if folder == places.HEARTBEATS:
        assert (root / places.heartbeat("ann")).exists()


@pytest.mark.parametrize("spoil", ["link", "link to a folder", "file", "config", "lock", "logs", "plain file system"])
def test_a_failed_init_leaves_nothing(tmp_path: Path, run: Run, spoil: str) -> None:
    """Whatever it fails at: what stood there stands there, and nothing else."""
    run("git", "init", "--quiet", cwd=tmp_path, check=True)
    exclude = tmp_path / ".git" / "info" / "exclude"
    told = {"link": "is a symlink", "link to a folder": "is a symlink", "file": "is no folder, and one belongs there"}
    if spoil.startswith("link"):
        (tmp_path / places.TASKS).symlink_to(tmp_path / "elsewhere")
        if spoil != "link":
            (tmp_path / "elsewhere").mkdir()
    elif spoil == "file":
        (tmp_path / places.TASKS).mkdir()
        (tmp_path / places.NOTES).write_text("a file")
    elif spoil == "config":
        (tmp_path / places.MAILBOX).mkdir()
        (tmp_path / places.CONFIG).write_text("lease: [")
    elif spoil == "lock":
        (tmp_path / places.MAILBOX).mkdir()
        os.mkfifo(tmp_path / places.LOCK)
    elif spoil == "logs":
        (tmp_path / places.LOGS).mkdir(parents=True)
        (tmp_path / places.LOGS / "000001.jsonl").mkdir()
    else:
        exclude.parent.chmod(0o700)
        os.environ["MBOX_LOCK"] = "no such"

    def standing() -> dict[str, object]:
        found = sorted(path for path in tmp_path.rglob("*") if ".git/" not in str(path) or "info" in str(path))
        return {str(path): path.read_bytes() if path.is_file() else os.lstat(path).st_mode for path in found}

    before = standing()
    try:
        done = run("mbox", "init", cwd=tmp_path)
    finally:
        os.environ.pop("MBOX_LOCK", None)
    if spoil == "plain file system" and done.returncode == 0:
        return
    assert done.returncode in (2, 6) and done.stderr.count("\n") == 1, done
    assert told.get(spoil, "") in done.stderr
    assert standing() == before


def test_an_exclude_that_is_no_file_is_said_and_left(tmp_path: Path, run: Run) -> None:
    """`init` goes on without it, in one line, and waits for no FIFO."""
    run("git", "init", "--quiet", cwd=tmp_path, check=True)
    exclude = tmp_path / ".git" / "info" / "exclude"
    exclude.unlink()
    os.mkfifo(exclude)
    done = run("mbox", "init", cwd=tmp_path)
    assert done.returncode == 0 and "git is not told to ignore" in done.stderr, done
    assert stat.S_ISFIFO(exclude.lstat().st_mode)


def test_init_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Refused at any call that changes a file: nothing is left, and the next one makes the store."""
    from kit import FaultyDisk
    from mbox import opening

    counting = FaultyDisk()
    (tmp_path / "counted").mkdir()
    opening.init(str(tmp_path / "counted"), disk=counting).store.close()
    for at in range(counting.calls):
        folder = tmp_path / f"at-{at}"
        folder.mkdir()
        disk = FaultyDisk(at, OSError(28, "No space left on device"))
        try:
            opening.init(str(folder), disk=disk).store.close()
        except Exception:  # noqa: BLE001 - whatever it is, nothing may be left
            assert not any(folder.iterdir()), (at, disk.log[at], sorted(folder.rglob("*")))


@pytest.mark.parametrize("where", ["end", "middle", "whole"])
def test_a_hole_in_the_journal_costs_no_memory(root: Path, run: Run, where: str) -> None:
    """300 MB of nothing: every command ends in words, in a fraction of that."""
    path = root / places.LOGS / "000001.jsonl"
    size = path.stat().st_size
    last = path.read_bytes().splitlines(keepends=True)[-1]
    with open(path, "r+b") as file:
        if where == "whole":
            file.truncate(0)
        file.truncate(size + (300 << 20))
        if where == "middle":
            file.seek(0, 2)
            file.write(last)
    (root / places.LOCK).write_bytes(b"")
    for words in (["mbox", "log"], ["mbox", "search", "x"], ["mbox", "status"], ["mbox", "doctor"], ["mbox", "send", "bob",
                  "--as", "ann", "--body", "x"], ["mbox", "log", "--task", "peel"], ["mbox", "audit", "commit"]):  # fmt: skip
        limited = ["bash", "-c", 'ulimit -v 450000; exec "$@"', "bash", str(Path(sys.executable).parent / words[0])]
        done = run(*limited, *words[1:], cwd=root, timeout=20)
        assert done.returncode in (0, 1, 6) and "Traceback" not in done.stderr and "Memory" not in done.stderr, (words, done)


def test_more_than_a_crash_leaves_is_not_waited_for(root: Path, run: Run) -> None:
    """A terabyte of nothing behind the last record, after a machine's death: one line with the mend, which mends it."""
    path = root / places.LOGS / "000001.jsonl"
    size = path.stat().st_size
    os.truncate(path, size + (1 << 40))
    (root / places.LOCK).write_bytes(b"")
    done = run("mbox", "send", "bob", "--as", "ann", "--body", "x", cwd=root, timeout=30)
    mend = f"truncate -s {size} {path}"
    assert done.returncode == 6 and f"at byte {size}: " in done.stderr and mend in done.stderr, done
    run(*mend.split(), check=True)
    run("mbox", "send", "bob", "--as", "ann", "--body", "x", cwd=root, check=True)
