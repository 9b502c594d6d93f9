"""One repository, one root: found alike from every folder and every worktree, and never somebody else's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mbox import root
from mbox.errors import NoStore, Refused, StoreError, Usage
from mbox.git.placement import exclude
from mbox.system import filesystem
from mbox.system.disk import Disk

Git = Callable[..., str]


@pytest.fixture
def git() -> Git:
    """Run git in a folder, with nobody's configuration; its output."""

    def git(folder: Path, *words: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": os.devnull}
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_NAME": "Tess", f"GIT_{role}_EMAIL": "tess@example.org"}
        command = ["git", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", *words]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {words}: {done.stderr}"
        return done.stdout.strip()

    return git


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    """A folder without symlinks above it."""
    return tmp_path.resolve()


@pytest.fixture
def main(tmp: Path, git: Git) -> Path:
    """A repository with one commit, that has a folder ``src``."""
    return repository(tmp / "main", git)


def repository(folder: Path, git: Git, *options: str) -> Path:
    """Make a repository with one commit that holds ``src/a.py``."""
    git(folder.parent, "init", "-q", *options, str(folder))
    (folder / "src").mkdir()
    (folder / "src" / "a.py").write_text("a\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "begin")
    return folder


def linked_worktree(main: Path, name: str, git: Git) -> Path:
    """Add a linked worktree called ``name`` beside ``main``."""
    git(main, "worktree", "add", "-q", str(main.parent / name))
    return main.parent / name


def store(folder: Path) -> Path:
    """Give ``folder``, which is made if need be, a store."""
    (folder / ".mailbox").mkdir(parents=True)
    (folder / ".tasks").mkdir()
    return folder


def find(cwd: Path, flag: str | None = None, env: str | None = None) -> root.Root:
    """`root.find`, with a path for a folder."""
    return root.find(flag, env, str(cwd))


def found(cwd: Path) -> tuple[str, str]:
    """Path and how, where nothing is worth a warning."""
    answer = find(cwd)
    assert answer.warnings == []
    return answer.path, answer.how


# -- named and nearest -------------------------------------------------------------------------------------


def test_the_flag_wins_over_the_environment_and_that_over_the_nearest_parent(tmp: Path) -> None:
    """--root, then MBOX_ROOT, then the nearest parent that has .mailbox/."""
    a, b, c = (store(tmp / name) for name in "abc")
    (c / "x" / "y").mkdir(parents=True)
    assert find(c / "x" / "y", str(a), str(b))[:2] == (str(a), "flag")
    assert find(c / "x" / "y", None, str(b))[:2] == (str(b), "env")
    assert find(c / "x" / "y", None, "")[:2] == (str(c), "parent")
    assert find(c / "x" / "y")[:2] == (str(c), "parent")


def test_a_named_root_is_relative_to_the_caller_and_made_real(tmp: Path) -> None:
    """--root ../there and a symlink on the way become one absolute path."""
    there = store(tmp / "there")
    (tmp / "here").mkdir()
    (tmp / "link").symlink_to(there)
    assert find(tmp / "here", "../there").path == str(there)
    assert find(tmp / "here", "../link").path == str(there)
    assert find(tmp / "link").path == str(there)


def test_a_named_root_is_taken_at_its_word(tmp: Path) -> None:
    """Where the named folder has no store, no other one is used instead."""
    store(tmp)
    (tmp / "sub").mkdir()
    for by in ({"flag": str(tmp / "sub")}, {"env": str(tmp / "sub")}):
        with pytest.raises(NoStore, match=r"no .mailbox/ in .*/sub; `mbox init`"):
            find(tmp, **by)
    with pytest.raises(NoStore, match=f"name the folder that holds .mailbox/, {tmp}"):
        find(tmp, str(tmp / ".mailbox"))
    with pytest.raises(Usage, match="--root is empty"):
        find(tmp, "")


def test_nothing_found_names_where_it_looked(tmp: Path, main: Path, git: Git) -> None:
    """Exit 6 says which folders were searched, and `mbox init`."""
    with pytest.raises(
        NoStore, match=f"no .mailbox/ in {tmp} or a folder above it; `mbox init` makes one"
    ) as caught:
        find(tmp)
    assert caught.value.exit == 6
    linked = linked_worktree(main, "linked", git)
    with pytest.raises(NoStore, match=f"{linked} or a folder above it, nor in {main} or a folder above it;"):
        find(linked)


def test_a_file_called_mailbox_is_no_store(tmp: Path) -> None:
    """Somebody's mail file of that name is named: the store above is not taken in its place."""
    store(tmp)
    (tmp / "sub").mkdir()
    (tmp / "sub" / ".mailbox").write_text("From: x\n")
    with pytest.raises(StoreError, match=f"{tmp}/sub/.mailbox is no folder, .*--root"):
        find(tmp / "sub")
    assert find(tmp / "sub", str(tmp)).path == str(tmp)


@pytest.mark.parametrize("name", [".mailbox", ".tasks"])
@pytest.mark.parametrize("how", ["flag", "env", "parent"])
def test_a_store_that_is_a_symlink_is_refused(tmp: Path, name: str, how: str) -> None:
    """Neither folder may be a symlink, and the search does not go on to another root above."""
    store(tmp)
    (tmp / "sub").mkdir()
    store(tmp / "sub")
    (tmp / "sub" / name).rmdir()
    (tmp / "sub" / name).symlink_to(tmp / name)
    with pytest.raises(StoreError, match=f"sub/{name} is a symlink"):
        find(tmp / "sub", **({} if how == "parent" else {how: str(tmp / "sub")}))


def test_another_users_store_wants_to_be_named(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found on the way up or by MBOX_ROOT it is refused, by --root it is trusted."""
    store(tmp)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    for env in (None, str(tmp)):
        with pytest.raises(StoreError, match=f"another user .*--root {tmp}"):
            find(tmp, None, env)
    assert find(tmp, str(tmp)).path == str(tmp)


# -- worktrees ---------------------------------------------------------------------------------------------


def test_the_main_worktree_and_its_folders(main: Path) -> None:
    """In an ordinary repository it is the nearest parent, as anywhere."""
    store(main)
    assert found(main / "src") == (str(main), "parent")


def test_a_linked_worktree_has_the_store_of_the_main_one(main: Path, git: Git) -> None:
    """From the top and from a folder of a linked worktree, the main worktree's store is found."""
    store(main)
    linked = linked_worktree(main, "linked", git)
    assert found(linked) == (str(main), "worktree")
    assert found(linked / "src") == (str(main), "worktree")


@pytest.mark.parametrize("place", [".", "src"])
def test_a_linked_worktrees_own_store_is_passed_over_with_a_warning(main: Path, git: Git, place: str) -> None:
    """Even where the linked worktree has a .mailbox of its own, in whatever folder, the main one's counts."""
    store(main)
    linked = linked_worktree(main, "linked", git)
    own = store(linked / place)
    answer = find(linked / "src")
    assert answer[:2] == (str(main), "worktree")
    (warning,) = answer.warnings
    assert f"{own}/.mailbox is not used" in warning
    assert str(main) in warning


def test_a_linked_worktrees_own_store_does_not_stand_in_for_a_missing_one(main: Path, git: Git) -> None:
    """Where the main worktree has none, there is none: not a second one in silence."""
    linked = store(linked_worktree(main, "linked", git))
    with pytest.raises(NoStore, match=str(main)):
        find(linked)


def test_a_linked_worktree_can_be_named(main: Path, git: Git) -> None:
    """--root means the folder that it names, whatever git thinks of it."""
    linked = store(linked_worktree(store(main), "linked", git))
    assert find(main, str(linked))[:2] == (str(linked), "flag")


def test_a_worktree_inside_the_main_one(main: Path, git: Git) -> None:
    """Agent programs put worktrees below the repository; they share its store like any other."""
    store(main)
    git(main, "worktree", "add", "-q", ".claude/worktrees/x")
    assert found(main / ".claude" / "worktrees" / "x" / "src") == (str(main), "worktree")


def test_a_store_in_a_folder_of_the_main_worktree(main: Path, git: Git) -> None:
    """A root made by `init --here` in src is found from src of the linked worktree, and not from its top."""
    store(main / "src")
    linked = linked_worktree(main, "linked", git)
    assert found(linked / "src") == (str(main / "src"), "worktree")
    with pytest.raises(NoStore):
        find(linked)


def test_a_store_above_the_main_worktree(tmp: Path, main: Path, git: Git) -> None:
    """A root over several repositories is found from a linked worktree elsewhere."""
    (tmp / "all").mkdir()
    main = main.rename(tmp / "all" / "main")
    store(tmp / "all")
    git(main, "worktree", "add", "-q", str(tmp / "elsewhere"))
    assert found(tmp / "elsewhere" / "src") == (str(tmp / "all"), "worktree")


def test_git_variables_have_no_say(main: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a hook GIT_DIR and GIT_WORK_TREE are set; the root is the same."""
    linked = linked_worktree(store(main), "linked", git)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, "/nowhere")
    assert found(linked) == (str(main), "worktree")


def test_a_moved_worktree(tmp: Path, main: Path, git: Git) -> None:
    """By `git worktree move` or by hand: a worktree that can still reach the repository has its store."""
    linked = linked_worktree(store(main), "linked", git)
    git(main, "worktree", "move", str(linked), str(tmp / "moved"))
    assert found(tmp / "moved") == (str(main), "worktree")
    (tmp / "moved").rename(tmp / "again")
    assert found(tmp / "again" / "src") == (str(main), "worktree")


def test_a_moved_repository_cannot_be_reached(tmp: Path, main: Path, git: Git) -> None:
    """A linked worktree whose .git leads nowhere is exit 6 until repaired, even if it has a store."""
    linked = store(linked_worktree(store(main), "linked", git))
    moved = main.rename(tmp / "moved")
    with pytest.raises(StoreError, match=r"cannot be reached .*git worktree repair") as caught:
        find(linked / "src")
    assert caught.value.exit == 6
    assert not isinstance(caught.value, NoStore)
    assert find(linked, str(moved)).path == str(moved)
    git(moved, "worktree", "repair", str(linked))
    assert find(linked).path == str(moved)


def test_a_repository_that_is_gone_but_for_the_worktrees_own_folder(main: Path, git: Git) -> None:
    """commondir leads to something that is no repository any more: exit 6."""
    linked = linked_worktree(store(main), "linked", git)
    (main / ".git" / "config").unlink()
    with pytest.raises(StoreError, match="cannot be reached"):
        find(linked)


def test_relative_links_between_worktrees(main: Path, git: Git) -> None:
    """git's worktree.useRelativePaths writes both ways relative; they mean the same."""
    linked = linked_worktree(store(main), "linked", git)
    (linked / ".git").write_text("gitdir: ../main/.git/worktrees/linked\n")
    (main / ".git" / "worktrees" / "linked" / "gitdir").write_text("../../../../linked/.git\n")
    assert found(linked / "src") == (str(main), "worktree")
    assert root.worktrees(str(main)) == [str(linked)]


@pytest.mark.parametrize("name", [".git", ".bare", "repo.git"])
def test_beside_a_bare_repository(tmp: Path, main: Path, git: Git, name: str) -> None:
    """Worktrees of a bare repository share the store in the folder that holds it."""
    hub = tmp / "hub"
    hub.mkdir()
    git(hub, "clone", "-q", "--bare", str(main), name)
    if name == ".bare":
        (hub / ".git").write_text("gitdir: ./.bare\n")
    git(hub / name, "worktree", "add", "-q", str(hub / "one"), "-b", "one")
    git(hub / name, "worktree", "add", "-q", str(tmp / "two"), "-b", "two")
    assert root.init_place(str(hub / "one" / "src"), False) == str(hub)
    assert root.init_place(str(hub / name / "refs"), False) == str(hub)
    store(hub)
    (hub / "src").mkdir()
    assert found(hub / "one") == (str(hub), "worktree")
    assert found(tmp / "two" / "src") == (str(hub), "worktree")
    assert root.worktrees(str(hub)) == [str(hub / "one"), str(tmp / "two")]


def test_a_bare_repository_counts_as_bare_by_its_configuration(tmp: Path, main: Path, git: Git) -> None:
    """Beside a bare .git a folder of the worktree's name is another worktree, not its counterpart."""
    hub = tmp / "hub"
    hub.mkdir()
    git(hub, "clone", "-q", "--bare", str(main), ".git")
    git(hub, "worktree", "add", "-q", "one", "-b", "one")
    git(hub, "worktree", "add", "-q", "src", "-b", "two")
    store(hub)
    store(hub / "src")
    assert found(hub / "one" / "src") == (str(hub), "worktree")


def test_a_bare_repository_whose_configuration_is_split(tmp: Path, main: Path, git: Git) -> None:
    """With extensions.worktreeConfig core.bare stands in a file of its own."""
    bare = tmp / "hub" / "repo.git"
    bare.parent.mkdir()
    git(tmp, "clone", "-q", "--bare", str(main), str(bare))
    git(bare, "config", "extensions.worktreeConfig", "true")
    git(bare, "config", "--worktree", "core.bare", "true")
    git(bare, "config", "--file", "config", "--unset", "core.bare")
    git(bare, "worktree", "add", "-q", str(tmp / "one"), "-b", "one")
    store(bare.parent)
    assert found(tmp / "one") == (str(bare.parent), "worktree")


def test_a_submodule_belongs_to_the_repository_around_it(tmp: Path, main: Path, git: Git) -> None:
    """A submodule's .git is a file, too, but it is no linked worktree; a store of its own comes first."""
    library = repository(tmp / "library", git)
    git(main, "submodule", "--quiet", "add", str(library), "lib")
    git(main, "commit", "-qm", "lib")
    store(main)
    assert found(main / "lib" / "src") == (str(main), "parent")
    linked = linked_worktree(main, "linked", git)
    git(linked, "submodule", "--quiet", "update", "--init")
    assert found(linked / "lib" / "src") == (str(main), "worktree")
    git(main / "lib", "worktree", "add", "-q", str(tmp / "lib2"))
    assert found(tmp / "lib2" / "src") == (str(main), "worktree")
    store(main / "lib")
    assert found(main / "lib") == (str(main / "lib"), "parent")
    assert found(tmp / "lib2") == (str(main / "lib"), "worktree")


def test_a_repository_inside_a_linked_worktree_has_its_own_store(tmp: Path, main: Path, git: Git) -> None:
    """A clone that lies in a linked worktree is a main worktree itself."""
    linked = linked_worktree(store(main), "linked", git)
    inner = repository(linked / "vendor", git)
    assert found(inner) == (str(main), "worktree")
    store(inner)
    assert found(inner / "src") == (str(inner), "parent")


def test_a_separate_git_directory_that_does_not_tell(tmp: Path, git: Git) -> None:
    """git does not record whose a separate git directory is: its linked worktrees must name the root."""
    main = repository(tmp / "main", git, f"--separate-git-dir={tmp / 'sep.git'}")
    linked = linked_worktree(store(main), "linked", git)
    assert found(main / "src") == (str(main), "parent")
    with pytest.raises(StoreError, match="does not say where its main one is"):
        find(linked)
    git(main, "config", "core.worktree", str(main))
    assert found(linked / "src") == (str(main), "worktree")


@pytest.mark.parametrize("led", ["core.worktree", "another's worktree", "another's repository"])
def test_a_folder_that_was_unpacked_is_led_nowhere(tmp: Path, main: Path, git: Git, led: str) -> None:
    """Its ``.git`` names a made-up repository, or another one of the same person's, which do not name it back: exit 6."""
    there = store(main)
    linked = linked_worktree(there, "linked", git)
    unpacked, home = tmp / "unpacked", tmp / "home"
    for folder in (unpacked / "fake/.git.d/objects", unpacked / "fake/.git.d/worktrees/w", home):
        folder.mkdir(parents=True)
    if led == "core.worktree":
        (unpacked / "fake/.git.d/config").write_text(f"[core]\n worktree = {home}\n")
        own = unpacked / "fake/.git.d/worktrees/w"
        (own / "commondir").write_text("../..\n")
        (own / "gitdir").write_text(f"{unpacked}/.git\n")
    elif led == "another's worktree":
        own = main / ".git/worktrees/linked"
    else:
        own = unpacked / "fake/.git.d/worktrees/w"
        (own / "commondir").write_text(f"{main}/.git\n")
        (own / "gitdir").write_text(f"{unpacked}/.git\n")
    (unpacked / ".git").write_text(f"gitdir: {own}\n")
    with pytest.raises(StoreError):
        find(unpacked)
    with pytest.raises(StoreError):
        root.init_place(str(unpacked), False)
    assert found(linked) == (str(main), "worktree")
    assert not list(home.iterdir())


def test_worktrees_in_a_circle_end(tmp: Path, git: Git) -> None:
    """Two repositories, each inside a linked worktree of the other: the search ends."""
    a, b = repository(tmp / "a", git), repository(tmp / "b", git)
    git(a, "worktree", "add", "-q", str(tmp / "wa"))
    git(b, "worktree", "add", "-q", str(tmp / "wb"))
    a.rename(tmp / "wb" / "a")
    b.rename(tmp / "wa" / "b")
    git(tmp / "wb" / "a", "worktree", "repair", str(tmp / "wa"))
    git(tmp / "wa" / "b", "worktree", "repair", str(tmp / "wb"))
    with pytest.raises(NoStore):
        find(tmp / "wa" / "b" / "src")


def test_the_folders_that_stand_for_the_root(tmp: Path, main: Path, git: Git) -> None:
    """Linked worktrees by their real path, moved ones at their new one; below them the root's folder."""
    assert root.worktrees(str(main)) == []
    assert root.worktrees(str(tmp)) == []
    for name in ("one", "two"):
        linked_worktree(main, name, git)
    git(main, "worktree", "move", str(tmp / "two"), str(tmp / "three"))
    assert root.worktrees(str(main)) == [str(tmp / "one"), str(tmp / "three")]
    assert root.worktrees(str(main / "src")) == [str(tmp / "one" / "src"), str(tmp / "three" / "src")]
    (main / ".git" / "worktrees" / "one" / "gitdir").unlink()
    assert root.worktrees(str(main)) == [str(tmp / "three")]


# -- init --------------------------------------------------------------------------------------------------


def test_init_goes_to_the_top_of_the_main_worktree(tmp: Path, main: Path, git: Git) -> None:
    """From any folder of any worktree; in that folder only with --here; without git in the current folder."""
    linked = linked_worktree(main, "linked", git)
    assert root.init_place(str(main / "src"), False) == str(main)
    assert root.init_place(str(linked / "src"), False) == str(main)
    assert root.init_place(str(main / "src"), True) == str(main / "src")
    assert root.init_place(str(tmp), False) == str(tmp)
    (tmp / "link").symlink_to(main / "src")
    assert root.init_place(str(tmp / "link"), True) == str(main / "src")


def test_init_twice_is_the_same_place(main: Path, git: Git) -> None:
    """Where the caller's repository has a root already, init goes there, also to one made by --here."""
    linked = linked_worktree(main, "linked", git)
    (main / "src" / "deep").mkdir()
    store(main / "src")
    assert root.init_place(str(main / "src" / "deep"), False) == str(main / "src")
    assert root.init_place(str(linked / "src"), False) == str(main / "src")
    store(main)
    assert root.init_place(str(main), False) == root.init_place(str(linked), False) == str(main)


def test_init_inside_another_root_is_refused_unless_here(tmp: Path, main: Path) -> None:
    """A repository, or a folder without git, below an existing root does not get a second one unasked."""
    store(tmp)
    (tmp / "plain").mkdir()
    for folder in (main / "src", tmp / "plain"):
        with pytest.raises(Refused, match=f"refused: .* is inside the root {tmp};"):
            root.init_place(str(folder), False)
        assert root.init_place(str(folder), True) == str(folder)
    assert root.init_place(str(tmp), False) == str(tmp)


def test_init_here_in_a_linked_worktree_is_refused(main: Path, git: Git) -> None:
    """A store there would never be found, for all worktrees share the main one's."""
    linked = linked_worktree(main, "linked", git)
    with pytest.raises(Refused, match=f"refused: {linked} is a linked worktree.* store of {main}"):
        root.init_place(str(linked / "src"), True)


@pytest.mark.parametrize("before", ["", "# mine\n*.log\n", "*.log", None])
def test_exclude_adds_its_two_lines_once(main: Path, git: Git, before: str | None) -> None:
    """What a user wrote stays, an unfinished last line too; twice is once; git ignores both folders."""
    file = main / ".git" / "info" / "exclude"
    if before is None:
        file.unlink()
        file.parent.rmdir()
    else:
        file.write_text(before)
    for name in (".mailbox", ".tasks"):
        (main / name).mkdir()
        (main / name / "x").touch()
    assert exclude(str(main), Disk(), print) == [".mailbox/", ".tasks/"]
    assert git(main, "status", "--porcelain") == ""
    text = file.read_text()
    assert text == (before or "") + ("\n" if before == "*.log" else "") + ".mailbox/\n.tasks/\n"
    assert exclude(str(main), Disk(), print) == []
    assert file.read_text() == text


def test_exclude_adds_only_what_is_missing(main: Path) -> None:
    """One of the lines may stand there already."""
    file = main / ".git" / "info" / "exclude"
    file.write_text(".tasks/\n")
    assert exclude(str(main), Disk(), print) == [".mailbox/"]
    assert file.read_text() == ".tasks/\n.mailbox/\n"


def test_exclude_serves_all_worktrees_and_roots_in_folders(main: Path, git: Git) -> None:
    """The lines go to the common directory: a stray store in a linked worktree is not committed either."""
    linked = linked_worktree(main, "linked", git)
    exclude(str(main / "src"), Disk(), print)
    for folder in (main / "src", linked):
        store(folder)
        (folder / ".mailbox" / "x").touch()
        assert git(folder, "status", "--porcelain") == ""


def test_exclude_leaves_plain_folders_alone(tmp: Path) -> None:
    """Outside of git there is nothing to exclude from."""
    assert exclude(str(tmp), Disk(), print) == []


# -- file systems ------------------------------------------------------------------------------------------

LINUX = r"""22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
95 28 259:3 / /mnt/my\040disk\011x rw,relatime shared:40 - ext4 /dev/sdb1 rw
96 28 0:51 / /mnt/my rw,relatime - nfs4 filer:/my rw,vers=4.2
97 28 259:4 / /mnt/back\134slash rw - xfs /dev/sdc1 rw
110 28 0:60 / /home/ann/remote rw,nosuid,nodev - fuse.sshfs ann@host: rw,user_id=1000
111 28 0:61 / /srv/share rw shared:99 master:7 propagate_from:2 - cifs //filer/share rw,vers=3.1.1
112 28 0:62 / /srv/auto rw - autofs systemd-1 rw,fd=44
113 112 0:63 / /srv/auto rw - nfs filer:/auto rw,vers=3
"""

WSL2 = """35 65 8:32 / / rw,relatime - ext4 /dev/sdc rw,discard,errors=remount-ro
90 35 0:66 / /mnt/c rw,noatime - 9p C:\\134 rw,dirsync,aname=drvfs;path=C:\\;uid=1000,trans=fd
"""

WSL1 = """1 1 0:2 / / rw,noatime - lxfs rootfs rw
20 1 0:12 / /mnt/c rw,noatime - drvfs C: rw,uid=1000,gid=1000,case=off
"""

DOCKER = """701 640 0:150 / / rw,relatime master:300 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
702 701 0:153 / /proc rw - proc proc rw
710 701 254:1 /work /workspace rw,relatime - ext4 /dev/vda1 rw
711 710 0:44 / /workspace/shared rw - virtiofs host rw
"""


@pytest.mark.parametrize(
    ("table", "path", "fstype", "network"),
    [
        (LINUX, "/", "ext4", False),
        (LINUX, "/home/ann/project", "ext4", False),
        (LINUX, "/home/ann/remote/project", "fuse.sshfs", True),
        (LINUX, "/home/ann/remote2", "ext4", False),
        (LINUX, "/mnt/my disk\tx/project", "ext4", False),
        (LINUX, "/mnt/my/project", "nfs4", True),
        (LINUX, "/mnt/my", "nfs4", True),
        (LINUX, "/mnt/mysql", "ext4", False),
        (LINUX, "/mnt/back\\slash/x", "xfs", False),
        (LINUX, "/srv/share/x", "cifs", True),
        (LINUX, "/srv/auto/x", "nfs", True),
        (WSL2, "/home/ann", "ext4", False),
        (WSL2, "/mnt/c/Users/ann", "9p", True),
        (WSL1, "/home/ann", "lxfs", False),
        (WSL1, "/mnt/c/Users", "drvfs", True),
        (DOCKER, "/root", "overlay", False),
        (DOCKER, "/workspace/x", "ext4", False),
        (DOCKER, "/workspace/shared/x", "virtiofs", True),
    ],
)
def test_the_mount_table_tells_the_file_system(table: str, path: str, fstype: str, network: bool) -> None:
    """The longest mount point above, by whole segments, escapes resolved; the later of two on one point."""
    assert filesystem.filesystem(path, table) == fstype
    assert filesystem.is_network(fstype) is network


def test_no_mount_table_is_no_network() -> None:
    """Where the kernel has no such table the type is unknown, which refuses nobody."""
    assert filesystem.filesystem("/x", "") == ""
    assert not filesystem.is_network("")


def test_the_running_kernels_table_is_understood(tmp: Path) -> None:
    """On this machine /proc is proc, and a folder that does not exist is on what its parent is on."""
    if not os.path.exists("/proc/self/mountinfo"):
        pytest.skip("no /proc/self/mountinfo")
    assert filesystem.filesystem("/proc/self") == "proc"
    (tmp / "link").symlink_to("/proc")
    assert filesystem.filesystem(str(tmp / "link")) == "proc"
    assert filesystem.filesystem(str(tmp / "no" / "such")) == filesystem.filesystem(str(tmp)) != ""


def test_same_file_system(tmp: Path) -> None:
    """A folder and one beside it that is not made yet are on one file system; /proc is on another."""
    assert filesystem.same_filesystem(str(tmp), str(tmp / "not" / "yet"))
    assert not filesystem.same_filesystem(str(tmp), "/proc")


def test_the_same_device_under_two_mounts_is_not_enough(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bind mount has the same device, but nothing can be renamed into it."""
    (tmp / "a").mkdir()
    (tmp / "b").mkdir()
    monkeypatch.setattr(filesystem, "_mount", lambda path: ("/" if path.endswith("a") else path, "ext4"))
    assert not filesystem.same_filesystem(str(tmp / "a"), str(tmp / "b"))


def test_two_devices_are_never_the_same(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two subvolumes of one mount have one mount point and two devices; renaming between them fails, too."""
    monkeypatch.setattr(filesystem, "_mount", lambda path: ("/", "btrfs"))
    assert not filesystem.same_filesystem(str(tmp), "/proc")


def test_case_is_asked_of_the_file_system(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in the other case is the same file, another file, or none."""
    folder = str(tmp)
    (tmp / "123").touch()
    assert not filesystem.case_folds(folder)  # no name that has a case
    (tmp / "Readme").touch()
    folds = filesystem.case_folds(folder)
    assert folds == (tmp / "rEADME").exists()
    if not folds:
        (tmp / "rEADME").touch()
        assert not filesystem.case_folds(folder)
        (tmp / "rEADME").unlink()
        os.link(
            tmp / "Readme", tmp / "rEADME"
        )  # one file under both names, as a folding file system shows it
        assert filesystem.case_folds(folder)
    assert sorted(os.listdir(tmp))[0] == "123"
