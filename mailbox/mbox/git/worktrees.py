"""A working tree for a member: ``git worktree`` on a branch of its own, beside the repository, never inside it.

Where: ``<repository>.worktrees/<team>-<member>`` in the folder that holds the repository.  Every command in it finds the
one store, that of the main working tree (`root`).

Promised: `ensure` makes it or finds it, and says which branch it is on; `remove` removes only a tree that is *clean*:
nothing uncommitted, nothing untracked, no commit that is not in the branch it came from.  What is kept is named with
the reason.  The folder of the trees goes with the last of them.  A branch is deleted only together with its clean tree,
and only if all of it is merged (``git branch -d``).

A crash in between leaves a tree without its branch's removal, or an entry of git's whose folder is gone; both are found
by the next `ensure` (which prunes the entry) or `remove`.  git's own hooks run as they do for anybody.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from mbox.system.disk import Disk
from mbox.errors import Refused, StoreError

if TYPE_CHECKING:
    from subprocess import CompletedProcess


class Tree(NamedTuple):
    """A member's working tree."""

    path: str
    branch: str
    made: bool


def place(root: str, team: str, member: str) -> str:
    """Where the tree of a member stands."""
    top = _top(root)
    return f"{os.path.dirname(top)}/{os.path.basename(top)}.worktrees/{team}-{member}"


def _top(root: str) -> str:
    found = _git(root, "rev-parse", "--show-toplevel")
    if found is None:
        raise Refused(f"{root} has no git working tree, so no member can have one of its own; say worktree: false")
    return found.rstrip("\n")


def ensure(root: str, team: str, member: str, branch: str | None = None, dry_run: bool = False) -> Tree:
    """The tree of a member, made from the present commit if it is not there; `Refused` says what is in the way."""
    path, name = place(root, team, member), branch or f"mbox/{team}/{member}"
    trees = _trees(root)
    real = os.path.realpath(path)
    if real in trees:
        if os.path.isdir(path):
            return Tree(path, trees[real] or name, False)
        del trees[real]
        if not dry_run:
            _must(root, "worktree", "prune")
    if os.path.lexists(path):
        raise Refused(f"{path} is there and is no working tree of this repository; move it away")
    if _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        raise Refused(f"{root} has no commit yet, and a working tree needs one: commit something first")
    exists = _git(root, "show-ref", "--verify", "--quiet", f"refs/heads/{name}") is not None
    if exists and name in trees.values():
        where = next(tree for tree, on in trees.items() if on == name)
        raise Refused(f"branch {name} is checked out in {where}; give {member} another")
    if not dry_run:
        _must(root, "worktree", "add", "--quiet", *([] if exists else ["-b", name]), path, name if exists else "HEAD")
    return Tree(path, name, True)


def remove(root: str, path: str, branch: str) -> str:
    """Remove a clean tree, and its branch if all of it is merged; empty, or why it was kept."""
    trees = _trees(root)
    real = os.path.realpath(path)
    if real not in trees:
        return "" if not os.path.lexists(path) else "is no working tree of this repository"
    if not os.path.isdir(path):
        _must(root, "worktree", "prune")
        return ""
    why = unfinished(root, path)
    if why:
        return why
    if _git(root, "worktree", "remove", path) is None:
        return "git does not remove it (is it locked? `git worktree list`)"
    if trees[real] == branch:
        _git(root, "branch", "--quiet", "-d", branch)
    Disk().remove_empty(os.path.dirname(path))
    return ""


def unfinished(root: str, path: str) -> str:
    """What would be lost with the tree: files that are not committed, commits that the main tree has not; or empty."""
    status = _git(path, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
    if status is None:
        return "git does not answer there"
    files = [line for line in status.splitlines() if line.strip()]
    said = []
    if files:
        said.append(f"{len(files)} uncommitted file{'s' * (len(files) > 1)}")
    ahead = _git(path, "rev-list", "--count", "HEAD", "--not", _head(root))
    if ahead is None:
        said.append("commits that git cannot count")
    elif int(ahead):
        said.append(f"{int(ahead)} unmerged commit{'s' * (int(ahead) > 1)}")
    return ", ".join(said)


def _head(root: str) -> str:
    found = _git(root, "rev-parse", "HEAD")
    return found.strip() if found else "HEAD"


def _trees(root: str) -> dict[str, str]:
    """Every working tree of the repository, by its real path, with its branch (empty if detached)."""
    listing = _git(root, "worktree", "list", "--porcelain", "-z")
    if listing is None:
        raise Refused(f"{root} is in no git repository; say worktree: false")
    found, path = {}, ""
    for field in listing.split("\0"):
        word, _, rest = field.partition(" ")
        if word == "worktree":
            path = os.path.realpath(rest)
            found[path] = ""
        elif word == "branch":
            found[path] = rest.removeprefix("refs/heads/")
    return found


def _must(root: str, *words: str) -> str:
    out = _run(root, *words)
    if out.returncode:
        said = " ".join(out.stderr.split()) or f"exit {out.returncode}"
        raise StoreError(f"git {words[0]} {words[1]}: {said}")
    return out.stdout


def _git(root: str, *words: str) -> str | None:
    """What git prints; None where it fails."""
    out = _run(root, *words)
    return out.stdout if out.returncode == 0 else None


def _run(root: str, *words: str) -> CompletedProcess[str]:
    import subprocess

    from mbox.git.plumbing import environment

    try:
        return subprocess.run(
            ["git", "-C", root, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            env=environment(os.environ), errors="surrogateescape",
        )  # fmt: skip
    except FileNotFoundError:
        raise Refused("git is not installed, so no member can have a working tree of its own") from None
