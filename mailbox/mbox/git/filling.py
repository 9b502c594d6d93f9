"""What a new working tree gets beside what was committed: its submodules, and files of the main tree that git ignores.

*Submodules* are those that the main tree has initialised: each repository in ``.git/modules`` gets one more working tree (git
worktree) at the commit that the new tree names, with those inside it.  So nothing is fetched or cloned, no transport is
used, and every call has the protections of `plumbing`, in that repository too.  A submodule that the main tree has not, or
whose commit it has not, stays empty and is named.

*Copies* are files that the team's file names, by path or by a pattern as git has them (``conf/*.key``, ``**/.env``): each is
ignored by git, so that it makes no tree dirty and is in no commit.  One that is there already stays.  Nothing is written
through a link that leads out of the tree.

Promised: what is missing is told, and nothing else of the main tree is read.  What a crash leaves: a tree with a part of
it, which stays a part; who takes the tree away gets a whole one from the next `team up`.
"""

from __future__ import annotations

import os
import stat

from mbox.errors import MboxError, Refused, failure
from mbox.format import places
from mbox.system.disk import Disk, read_bytes
from mbox.system.filesystem import within

from .plumbing import Git
from .worktrees import NO_TREE, finish, git_says

DEEPEST = 8
"""Levels of submodules in submodules."""

OURS = (places.MAILBOX, places.TASKS)
"""Folders of the store, which every tree shares."""


def submodules(root: str, tree: str) -> list[str]:
    """Give the new ``tree`` the submodules of the repository that ``root`` is in; what is missing, for people."""
    main, new = Git.in_tree(root, NO_TREE), Git.in_tree(tree, NO_TREE)
    if main is None or new is None:
        return []
    common = git_says(main, "rev-parse", "--path-format=absolute", "--git-common-dir")
    return _submodules(new, f"{common.rstrip()}/modules", tree, main.top, 0) if common else []


def _submodules(git: Git, modules: str, tree: str, main: str, level: int) -> list[str]:
    missing = []
    names = _names(git)
    for entry in (git_says(git, "ls-files", "--stage", "-z") or "").split("\0"):
        about, _, path = entry.partition("\t")
        if not about.startswith("160000 ") or level >= DEEPEST:
            continue
        folder, where, there = os.path.join(modules, names.get(path, path)), os.path.join(tree, path), os.path.join(main, path)
        why = _one(folder, modules, where, about.split()[1], os.path.isdir(f"{there}/.git"))
        if why:
            missing.append(f"submodule {path} is empty: {why}")
        elif (inner := Git.in_tree(where, NO_TREE)) is not None:
            missing += _submodules(inner, f"{folder}/modules", where, there, level + 1)
    return missing


def _one(folder: str, modules: str, where: str, commit: str, apart: bool) -> str:
    """Make the tree of one submodule; empty, or why it could not be made.

    ``apart``: the main tree has its repository in its files, and not in its git folder.
    """
    if not os.path.isfile(f"{folder}/HEAD") or not within(os.path.realpath(folder), os.path.realpath(modules)):
        mend = "its repository stands among its files: `git submodule absorbgitdirs` in the main tree"
        return mend if apart else "the main tree has not initialised it"
    if os.path.islink(where) or not os.path.isdir(where) or os.listdir(where):
        return "its folder is not empty"
    git = Git(folder, folder, where, NO_TREE)
    if git_says(git, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        return f"the main tree has not its commit {commit[:12]}: `git submodule update` there"
    if git_says(git, "worktree", "add", "--quiet", "--detach", "--no-checkout", where, commit) is None:
        return "git makes no working tree of it"
    try:
        finish(where)
    except MboxError as error:
        return str(error)
    return ""


def _names(git: Git) -> dict[str, str]:
    """The name of each submodule by its path, as ``.gitmodules`` of the commit says."""
    said = git_says(git, "config", "--null", "--blob", "HEAD:.gitmodules", "--get-regexp", r"^submodule\..*\.path$") or ""
    rows = (line.partition("\n") for line in said.split("\0") if line)
    return {path: key.removeprefix("submodule.").removesuffix(".path") for key, _, path in rows}


# -- copies ----------------------------------------------------------------------------------------------------------


def check_copies(root: str, paths: tuple[str, ...]) -> None:
    """`Refused` for a path that is no file of the main tree, or that git does not ignore there."""
    git = Git.in_tree(root, NO_TREE)
    for path in _named(git, paths) if git else ():
        assert git is not None
        try:
            mode = os.lstat(os.path.join(git.top, path)).st_mode
        except OSError as error:
            raise Refused(f"copy: {path} in {git.top}: {failure(error)}") from None
        if not stat.S_ISREG(mode):
            raise Refused(f"copy: {path} is no file: a folder or a link is made by setup:")
        if git_says(git, "check-ignore", "--quiet", "--", path) is None:
            raise Refused(f"copy: {path} is not ignored by git: commit it, or add it to .gitignore")


def _named(git: Git, paths: tuple[str, ...]) -> list[str]:
    """The paths that ``paths`` name; `Refused` for a pattern that no ignored file of the main tree meets."""
    found: list[str] = []
    for path in paths:
        if os.path.lexists(os.path.join(git.top, path)) or not any(char in path for char in "*?["):
            found.append(path)
            continue
        asked = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", f":(top,glob){path}")
        names = [name for name in (git_says(git, *asked) or "").split("\0") if name and name.split("/")[0] not in OURS]
        if not names:
            raise Refused(f"copy: {path}: git ignores no such file in {git.top}")
        found += names
    return list(dict.fromkeys(found))


def unfiltered(tree: str) -> list[str]:
    """What is said of files whose filter only the repository's own configuration names: they are as they are stored."""
    git = Git.in_tree(tree, NO_TREE)
    if git is None:
        return []
    git.environ()
    unused = [key for key in git.unused if key.startswith("filter.") and not key.endswith(".clean")]
    keys = {key.removeprefix("filter.").rpartition(".")[0]: key for key in unused}
    told = []
    for name, key in keys.items():
        files = (git_says(git, "ls-files", "-z", "--", f":(top,attr:filter={name})") or "").split("\0")[:-1]
        if files:
            told.append(f"{files[0]}{' …' if len(files) > 1 else ''} as stored, because {key} of the repository's own "
                        f"configuration did not run: if you trust it, `git config --global {key} COMMAND`")  # fmt: skip
    return told


def copy(root: str, tree: str, paths: tuple[str, ...]) -> None:
    """Copy files of the main tree that are not in the new one; `Refused` where one would stand outside of it."""
    git, disk = Git.in_tree(root, NO_TREE), Disk()
    for path in _named(git, paths) if git else ():
        assert git is not None
        target = os.path.join(tree, path)
        if not within(os.path.realpath(os.path.dirname(target)), os.path.realpath(tree)):
            raise Refused(f"copy: {path} would stand outside of {tree}")
        if os.path.lexists(target):
            continue
        source = os.path.join(git.top, path)
        disk.folders(os.path.dirname(target))
        disk.create(target, read_bytes(source))
        disk.chmod(target, stat.S_IMODE(os.lstat(source).st_mode))


def left_out(root: str) -> list[str]:
    """Files at the top of the main tree that git ignores and programs ask for by such a name: ``.env`` and its kind."""
    git = Git.in_tree(root, NO_TREE)
    if git is None:
        return []
    found = [name for name in sorted(os.listdir(git.top)) if name.startswith(".env") and os.path.isfile(f"{git.top}/{name}")]
    return [name for name in found if git_says(git, "check-ignore", "--quiet", "--", name) is not None]
