"""A working tree for a member: ``git worktree`` on a branch of its own, beside the repository, never inside it.

Where: ``<repository>.worktrees/<team>-<member>`` in the folder that holds the repository.  Every command in it finds the
one store, that of the main working tree (`root`).

Promised: `ensure` makes it or finds it, and says which branch it is on; `remove` removes only a tree that is *clean*:
nothing uncommitted, nothing untracked, no commit that is not in the branch it came from.  What is kept is named with
the reason.  The folder of the trees goes with the last of them.  A branch is deleted only together with its clean tree,
and only if all of it is merged (``git branch -d``).

What a configuration says may depend on the tree and the branch that it is asked for (``includeIf``).  So a tree is made
empty, its own configuration looked at, and then its files are checked out there; and who removes it has looked at both.

Who fills a new tree (`filling`, a ``setup``) notes that in its git folder, by `begin` and `complete`, so that a tree that
was left half filled is known by its note (`begun`), and is made anew.

A crash in between leaves a tree without files and index, a tree without its branch's removal, or an entry of git's whose
folder is gone; all are found by the next `ensure` (which checks out, and prunes the entry) or `remove`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from mbox import root as roots
from mbox.errors import Refused, StoreError
from mbox.system.disk import Disk, read_bytes

from .plumbing import Git
from .repository import around, inside

if TYPE_CHECKING:
    from subprocess import CompletedProcess

NO_TREE = "so no member can have a working tree of its own"


class Tree(NamedTuple):
    """A member's working tree."""

    path: str
    branch: str
    made: bool


def place(root: str, team: str, member: str) -> str:
    """Where the tree of a member stands."""
    return _place(_repository(root), team, member)


def _place(git: Git, team: str, member: str) -> str:
    top = git.top
    return f"{os.path.dirname(top)}/{os.path.basename(top)}.worktrees/{team}-{member}"


def _repository(root: str) -> Git:
    git = Git.in_tree(root, NO_TREE)
    if git is None or git_says(git, "rev-parse", "--is-bare-repository") != "false\n":
        raise Refused(f"{root} has no git working tree, so no member can have one of its own; say worktree: false")
    return git


def ensure(root: str, team: str, member: str, branch: str | None = None, dry_run: bool = False) -> Tree:
    """The tree of a member, made from the present commit if it is not there; `Refused` says what is in the way."""
    git = _repository(root)
    path, name = _place(git, team, member), branch or f"mbox/{team}/{member}"
    trees = _trees(git)
    real = os.path.realpath(path)
    if real in trees:
        if os.path.isdir(path):
            if not dry_run:
                finish(path)
            return Tree(path, trees[real] or name, False)
        del trees[real]
        if not dry_run:
            _must(git, "worktree", "prune")
    if os.path.lexists(path):
        raise Refused(f"{path} is there and is no working tree of this repository; move it away")
    if git_says(git, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        raise Refused(f"{root} has no commit yet, and a working tree needs one: commit something first")
    exists = _is_branch(git, name)
    if exists and name in trees.values():
        where = next(tree for tree, on in trees.items() if on == name)
        raise Refused(f"branch {name} is checked out in {where}; give {member} another")
    if not exists:
        _refuse_collision(git, name, member)
    if not dry_run:
        new = [] if exists else ["-b", name]
        try:
            _must(git, "worktree", "add", "--quiet", "--no-checkout", *new, path, name if exists else "HEAD")
            finish(path)
        except BaseException:
            discard(root, path, "" if exists else name)
            raise
    return Tree(path, name, True)


def _refuse_collision(git: Git, name: str, member: str) -> None:
    """`Refused` where no branch of that name can be: a branch is a file, and cannot be a folder of others too."""
    if git_says(git, "check-ref-format", f"refs/heads/{name}") is None:
        raise Refused(f"{name} is no name for a branch; say worktree: BRANCH for {member}")
    parts = name.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    taken = next((one for one in above if _is_branch(git, one)), None)
    below = git_says(git, "for-each-ref", "--count=1", "--format=%(refname:short)", f"refs/heads/{name}/") or ""
    if other := taken or below.strip():
        raise Refused(f"branch {name} cannot be beside branch {other}: rename that, or say worktree: BRANCH for {member}")


def discard(root: str, path: str, branch: str = "") -> None:
    """Take away a tree that `ensure` has just made, with all that is in it, and the ``branch`` that was begun for it.

    Also where git had not come so far that there is a tree.
    """
    git = _repository(root)
    git_says(git, "worktree", "remove", "--force", path)
    Disk().remove_empty(os.path.dirname(path))
    if branch:
        git_says(git, "branch", "--quiet", "-D", branch)
    found = around(root)
    for folder in inside(found.common) if found else ():
        git_says(Git(folder, folder, folder, NO_TREE), "worktree", "prune")


def begin(path: str, branch: str) -> None:
    """Note that a tree which was just made has not all yet that it is to have, and the ``branch`` that was begun for it."""
    Disk().create(_note(path), branch.encode())


def complete(path: str) -> None:
    """Note that a tree has all that it is to have."""
    Disk().discard(_note(path))


def begun(path: str) -> str | None:
    """The branch that was begun for a tree (empty: none) whose maker was killed; None for any other tree."""
    try:
        return read_bytes(_note(path)).decode() if os.path.lexists(f"{path}/.git") else None
    except FileNotFoundError:
        return None


def _note(path: str) -> str:
    return f"{roots.gitfile(path)}/mbox-begun"


def has_branch(root: str, name: str) -> bool:
    """Whether the repository has that branch."""
    return _is_branch(_repository(root), name)


def _is_branch(git: Git, name: str) -> bool:
    return git_says(git, "show-ref", "--verify", "--quiet", f"refs/heads/{name}") is not None


def is_program(root: str, branch: str, path: str) -> bool:
    """Whether ``path``, relative to the tree, is a program in what a new tree on ``branch`` gets."""
    git = _repository(root)
    tip = f"refs/heads/{branch}" if _is_branch(git, branch) else "HEAD"
    return (git_says(git, "ls-tree", "--full-tree", tip, "--", os.path.normpath(path)) or "").startswith(("100755 ", "120000 "))


def finish(path: str) -> None:
    """Check out the files of a tree that was only just made."""
    tree = Git.in_tree(path, NO_TREE)
    if tree and not os.path.lexists(f"{tree.folder}/index"):
        _must(tree, "reset", "--hard", "--quiet", "--no-recurse-submodules")


def remove(root: str, path: str, branch: str) -> str:
    """Remove a clean tree, and its branch if all of it is merged; empty, or why it was kept."""
    git = _repository(root)
    trees = _trees(git)
    real = os.path.realpath(path)
    if real not in trees:
        return "" if not os.path.lexists(path) else "is no working tree of this repository"
    if not os.path.isdir(path):
        _must(git, "worktree", "prune")
        return ""
    why = unfinished(root, path)
    if why:
        return why
    if tree := Git.in_tree(path, NO_TREE):
        git.look_in(tree)
    out = _run(git, "worktree", "remove", path)
    if out.returncode:
        return f"git does not remove it: {_said(out)}"
    if trees[real] == branch:
        git_says(git, "branch", "--quiet", "-d", branch)
    Disk().remove_empty(os.path.dirname(path))
    return ""


def unfinished(root: str, path: str) -> str:
    """What would be lost with the tree: files that are not committed, commits that the main tree has not; or empty."""
    tree = Git.in_tree(path, NO_TREE)
    # git does not look into submodules, whose own configuration would count; it keeps every tree that has one
    asked = ("status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty")
    status = git_says(tree, *asked) if tree else None
    if tree is None or status is None:
        return "git does not answer there"
    files = [line for line in status.splitlines() if line.strip()]
    said = []
    if files:
        said.append(f"{len(files)} uncommitted file{'s' * (len(files) > 1)}")
    ahead = git_says(tree, "rev-list", "--count", "HEAD", "--not", _head(_repository(root)))
    if ahead is None:
        said.append("commits that git cannot count")
    elif int(ahead):
        said.append(f"{int(ahead)} unmerged commit{'s' * (int(ahead) > 1)}")
    return ", ".join(said)


def _head(git: Git) -> str:
    found = git_says(git, "rev-parse", "HEAD")
    return found.strip() if found else "HEAD"


def _trees(git: Git) -> dict[str, str]:
    """Every working tree of the repository, by its real path, with its branch (empty if detached)."""
    listing = git_says(git, "worktree", "list", "--porcelain", "-z")
    if listing is None:
        raise Refused(f"{git.root}: git cannot list its working trees; say worktree: false")
    found, path = {}, ""
    for field in listing.split("\0"):
        word, _, rest = field.partition(" ")
        if word == "worktree":
            path = os.path.realpath(rest)
            found[path] = ""
        elif word == "branch":
            found[path] = rest.removeprefix("refs/heads/")
    return found


def _must(git: Git, *words: str) -> str:
    out = _run(git, *words)
    if out.returncode:
        raise StoreError(f"git {' '.join(words[:2])}: {_said(out)}{_left_out(git)}")
    return os.fsdecode(out.stdout)


def _said(out: CompletedProcess[bytes]) -> str:
    """Git's own words, on one line."""
    words = os.fsdecode(out.stderr).encode("utf-8", "replace").decode().split()
    return " ".join(words).removeprefix("fatal: ") or f"exit {out.returncode}"


def _left_out(git: Git) -> str:
    """What did not run, because only the repository names it; for the end of a message."""
    filters = [key for key in git.unused if key.startswith("filter.")]
    told = f"; {', '.join(filters)} of the repository's own configuration did not run: if you trust it, give it in yours"
    return f"{told}, `git config --global {filters[0]} COMMAND`" if filters else ""


def git_says(git: Git, *words: str) -> str | None:
    """What git prints; None where it fails."""
    out = _run(git, *words)
    return os.fsdecode(out.stdout) if out.returncode == 0 else None


def _run(git: Git, *words: str) -> CompletedProcess[bytes]:
    return git.run(*words, fine=range(256))
