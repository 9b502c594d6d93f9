"""A store that was put back whole, journal, mark and lock together, wherever its root stands in a repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit import ANN, FakeHost, bodies, everything, make, reopen, send
from mbox.errors import WentBack
from mbox.format import places
from mbox.root import git_folder
from mbox.store import witness
from mbox.store.mark import line as summed
from mbox.store.store import Store


def git(folder: Path, *words: str) -> str:
    """Run git, and what it said."""
    line = ["git", "-c", "core.fsync=none", "-c", "protocol.file.allow=always", *words]
    return subprocess.run(line, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path) -> Path:
    """A repository with a commit."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "begin")
    return folder


def top(tmp: Path) -> Path:
    """The root is the top of a repository."""
    return repository(tmp / "top")


def subfolder(tmp: Path) -> Path:
    """Below it."""
    return repository(tmp / "top") / "packages/für api"


def worktree(tmp: Path) -> Path:
    """The top of a linked worktree."""
    git(repository(tmp / "top"), "worktree", "add", "-q", "../linked")
    return tmp / "linked"


def below_worktree(tmp: Path) -> Path:
    """In one."""
    return worktree(tmp) / "a/b"


def submodule(tmp: Path) -> Path:
    """The top of a submodule."""
    repository(tmp / "other")
    git(repository(tmp / "top"), "submodule", "--quiet", "add", "../other", "lib/other")
    return tmp / "top/lib/other"


def of_worktree(tmp: Path) -> Path:
    """The top of a submodule of a linked worktree."""
    submodule(tmp)
    git(tmp / "top", "commit", "-qam", "submodule")
    git(tmp / "top", "worktree", "add", "-q", "../linked")
    git(tmp / "linked", "submodule", "--quiet", "update", "--init")
    return tmp / "linked/lib/other"


def beside_bare(tmp: Path) -> Path:
    """Beside a bare repository, which a file names."""
    repository(tmp / "other")
    (tmp / "top").mkdir()
    git(tmp / "top", "clone", "-q", "--bare", "../other", ".bare")
    (tmp / "top/.git").write_text("gitdir: ./.bare\n")
    return tmp / "top"


def long_name(tmp: Path) -> Path:
    """So far below that no file could be called so."""
    return repository(tmp / "top") / "/".join(["a folder of a long name"] * 10)


PLACES = [top, subfolder, worktree, below_worktree, submodule, of_worktree, beside_bare, long_name]
FOLDERS = (".mailbox", ".tasks")


def stored(root: Path, host: FakeHost) -> Store:
    """A store in ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    store = make(root, host)
    store.transact(send("one"), ANN)
    return store


def put_back(root: Path, kept: Path) -> None:
    """Put journal, documents and lock back together."""
    for name in FOLDERS:
        shutil.rmtree(root / name)
        shutil.copytree(kept / name, root / name)


@pytest.mark.parametrize("place", PLACES)
def test_a_store_that_was_put_back_is_refused(tmp_path: Path, place: object) -> None:
    """By who decides and by who looks; and it goes on once the file that the line names is gone."""
    root, host = place(tmp_path), FakeHost()  # type: ignore[operator]
    store = stored(root, host)
    kept = tmp_path / "yesterday"
    for name in FOLDERS:
        shutil.copytree(root / name, kept / name)
    store.transact(send("two"), ANN)
    store.close()
    put_back(root, kept)
    for act in (lambda store: store.transact(send("two"), ANN), lambda store: store.bring_up()):
        with pytest.raises(WentBack, match="took the store back in time") as caught:
            act(reopen(root, host))
    named = str(caught.value).partition("remove ")[2].partition(" to go on")[0]
    os.unlink(named)
    reopen(root, host).transact(send("two"), ANN)


@pytest.mark.parametrize("place", PLACES)
def test_git_sees_nothing_of_it(tmp_path: Path, place: object) -> None:
    """Neither its status nor its check of the repository."""
    root = place(tmp_path)  # type: ignore[operator]
    root.mkdir(parents=True, exist_ok=True)
    bare = place is beside_bare
    before = "" if bare else git(root, "status", "--porcelain", "--ignored")
    stored(root, FakeHost()).close()
    found = git_folder(os.path.realpath(root))
    assert found and any(name.startswith("mbox-seen") for name in os.listdir(found[0]))
    for name in FOLDERS:
        shutil.rmtree(root / name)
    assert bare or git(root, "status", "--porcelain", "--ignored") == before
    git(root, "fsck", "--strict")


def test_two_roots_in_one_repository_have_one_each(tmp_path: Path) -> None:
    """What one store has seen says nothing of another."""
    repo = repository(tmp_path / "top")
    host = FakeHost()
    stores = [stored(root, host) for root in (repo / "a/b", repo / "a%2Fb", repo)]
    assert len({store.witness.path for store in stores}) == 3


def elsewhere(tmp: Path, there: str) -> Path:
    """A folder whose file ``.git`` names a place of somebody else's work."""
    (tmp / "unpacked").mkdir()
    (tmp / "unpacked/.git").write_text(f"gitdir: {there}\n")
    return tmp / "unpacked"


@pytest.mark.parametrize("there", ["top/.git", "top/.git/worktrees/linked", "top/.git/modules/lib/other", "top", "no", "gone"])
def test_nothing_is_written_where_a_file_of_git_s_leads_elsewhere(tmp_path: Path, there: str) -> None:
    """A folder that was unpacked may name any place: only one that names it back is its own."""
    submodule(tmp_path)
    git(tmp_path / "top", "worktree", "add", "-q", "../linked")
    root = elsewhere(tmp_path, str(tmp_path / there))
    if there == "gone":
        (tmp_path / "gone").mkdir()
    before = sorted(map(str, (tmp_path / "top").rglob("*")))
    store = stored(root, FakeHost())
    assert store.witness.seen() == ("", 0)
    assert sorted(map(str, (tmp_path / "top").rglob("*"))) == before
    assert not list((tmp_path / "gone").glob("*"))


@pytest.mark.parametrize("place", [worktree, submodule])
def test_a_copy_of_a_root_tells_nothing_of_the_original(tmp_path: Path, place: object) -> None:
    """It names the original's folder, which does not name it back: a store in it goes on by itself, as without git."""
    root, host = place(tmp_path), FakeHost()  # type: ignore[operator]
    store = stored(root, host)
    shutil.copytree(root, root.parent / "copy", symlinks=True)
    copied = reopen(root.parent / "copy", host)
    store.transact(send("two"), ANN)
    copied.transact(send("three"), ANN)
    assert copied.witness.seen() == ("", 0)
    assert store.witness.seen()[1] == store.tail.seq


def test_a_worktree_that_was_pruned_is_as_without_git(tmp_path: Path) -> None:
    """Its folder is gone, and with it what was noted."""
    root, host = worktree(tmp_path), FakeHost()
    stored(root, host).close()
    shutil.rmtree(tmp_path / "top/.git/worktrees/linked")
    store = reopen(root, host)
    store.transact(send("two"), ANN)
    assert store.witness.seen() == ("", 0)


def test_a_folder_that_may_not_be_written_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending goes on, and says nothing of it."""
    root = subfolder(tmp_path)
    root.mkdir(parents=True)
    store = make(root, FakeHost())
    store.close()
    plain = type(store.disk).open

    def refused(self: object, path: str, flags: int) -> int:
        if "/.git/" in path:
            raise PermissionError(13, "Permission denied", path)
        return plain(self, path, flags)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.disk), "open", refused)
    again = reopen(root, FakeHost())
    again.transact(send("one"), ANN)
    assert again.witness.seen() == ("", 0)


@pytest.mark.parametrize("kind", ["none", "empty", "another owner's"])
def test_nothing_is_noted_in_what_is_no_repository_of_ours(tmp_path: Path, kind: str) -> None:
    """No repository around it, an empty folder of that name, or another owner's: nothing is noted there."""
    (tmp_path / "a/b").mkdir(parents=True)
    if kind != "none":
        (tmp_path / "a/.git").mkdir()
    if kind == "another owner's":
        shutil.rmtree(tmp_path / "a/.git")
        git(tmp_path / "a", "init", "-q")
        if os.geteuid():
            pytest.skip("needs root, to give a folder away")
        os.chown(tmp_path / "a/.git", 1234, 1234)
    stored(tmp_path / "a/b", FakeHost()).close()
    assert not list(tmp_path.rglob("mbox-seen*"))


# -- whose word counts -----------------------------------------------------------------------------------------------


def witnessed(root: Path, host: FakeHost, back: bool, **settings: Any) -> None:
    """A store in a git root, in which two letters were sent; the whole of it was put ``back`` to before the second."""
    (root / ".git").mkdir(parents=True)
    store = make(root, host, **settings)
    store.transact(send("one"), ANN)
    shutil.copytree(root / places.MAILBOX, root / "copy")
    store.transact(send("two"), ANN)
    store.close()
    if back:
        shutil.rmtree(root / places.MAILBOX)
        (root / "copy").rename(root / places.MAILBOX)


@pytest.mark.parametrize("life", ["this", "another"])
def test_a_store_that_went_back_as_a_whole_is_told_by_its_witness(tmp_path: Path, life: str) -> None:
    """Journal, mark and lock agree with each other, and not with what was durable once: exit 6, nothing is touched."""
    host = FakeHost()
    witnessed(tmp_path, host, back=True)
    if life == "another":
        host.reboot()
    before = everything(tmp_path)
    store = reopen(tmp_path, host)
    assert store.is_behind()
    with pytest.raises(WentBack, match=r"ends with record 4, and had record 5 before.*remove .*mbox-seen"):
        store.transact(send("three"), ANN)
    assert everything(tmp_path) == before


def test_what_was_witnessed_in_fast_is_believed_in_that_life_alone(tmp_path: Path) -> None:
    """The machine's death may have taken what was not synced; a process's cannot."""
    host = FakeHost()
    witnessed(tmp_path, host, back=True, durability="fast")
    with pytest.raises(WentBack, match="took the store back in time"):
        reopen(tmp_path, host, durability="fast").transact(send("three"), ANN)
    host.reboot()
    after = reopen(tmp_path, host, durability="fast")
    after.transact(send("three"), ANN)
    assert bodies(after) == ["one", "three"]


@pytest.mark.parametrize("mark", ["there", "lost"])
@pytest.mark.parametrize("store_id", ["store-of-the-tests", "another"])
def test_a_witness_is_in_the_way_of_no_store_that_went_on(tmp_path: Path, mark: str, store_id: str) -> None:
    """Whose journal ends where it was seen to, and whose witness is that of a store that stood here before."""
    host = FakeHost()
    witnessed(tmp_path, host, back=False)
    store = reopen(tmp_path, host)
    store.witness.note(store_id, 5 if store_id == "store-of-the-tests" else 99, False)
    if mark == "lost":
        os.truncate(tmp_path / places.LOCK, 0)
    store.transact(send("three"), ANN)
    assert bodies(store) == ["one", "two", "three"]
    assert store.witness.seen() == ("store-of-the-tests", store.tail.seq)


@pytest.mark.parametrize("odd", [{"store": 5}, {"store": None}, {"seq": "5"}, {"seq": True}, {"life": 1}, {"life": "another"}])
def test_a_line_of_another_shape_is_nobodys_word(tmp_path: Path, odd: dict[str, Any]) -> None:
    """Its sum is right, and one of its fields is none that this version writes: nothing is known, and writing goes on."""
    host = FakeHost()
    witnessed(tmp_path, host, back=False)
    line = {"store": "store-of-the-tests", "seq": 99, "life": "", **odd}
    (tmp_path / ".git/mbox-seen").write_bytes(summed(json.dumps(line), witness.SIZE))
    os.truncate(tmp_path / places.LOCK, 0)
    store = reopen(tmp_path, host)
    assert store.witness.seen() == ("", 0)
    store.transact(send("three"), ANN)
    assert bodies(store) == ["one", "two", "three"]
