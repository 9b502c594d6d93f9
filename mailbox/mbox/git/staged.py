"""What git knows of the user's work tree: the staged paths, and the paths that it marks ``lockable``.

Reads only, by git itself (``git diff --cached``, ``git ls-files``, ``git check-attr``), never over the
network. Nothing here decides anything about the store; where git is not there, or does not answer, that is
said or nothing is marked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from mbox.errors import Refused, StoreError, Usage
from mbox.format import places
from mbox.format.patterns import Pattern, has_wildcard

from .plumbing import PATIENCE, Git

MOST = 10_000
"""Paths of one pattern that are looked at."""


def staged(root: str, worktrees: Sequence[str], cwd: str) -> list[str]:
    """What is staged in the work tree around ``cwd``, relative to the root; both names of what is renamed.

    The store's own documents, and paths outside the root, are left out.  `Usage` where there is no git.
    """
    git = Git.in_tree(cwd, "so it cannot say what is staged; name the paths instead")
    if git is None:
        raise Usage(f"--staged: git knows no work tree in {cwd}; name the paths instead")
    folder = os.path.realpath(git.top)
    words = ("diff", "--cached", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "-z")
    try:
        names = os.fsdecode(git.run(*words).stdout)
    except StoreError as error:
        why = _reason(git, error)
        raise Usage(f"--staged: git cannot say what is staged in {folder} ({why}); name the paths instead") from None
    return within_root(root, worktrees, folder, names.split("\0")[:-1])


def within_root(root: str, worktrees: Sequence[str], folder: str, names: Iterable[str]) -> list[str]:
    """``names``, relative to ``folder``, relative to the root or to what stands for it in a linked worktree.

    The store's own documents, and paths outside the root, are left out.
    """
    places_of_root = sorted((root, *worktrees), key=len, reverse=True)
    found = []
    for name in names:
        path = f"{folder.rstrip('/')}/{name}"
        base = next((base for base in places_of_root if path.startswith(f"{base.rstrip('/')}/")), None)
        if base is not None:
            relative = path[len(base) :].lstrip("/")
            if relative.split("/")[0] not in (places.MAILBOX, places.TASKS):
                found.append(relative)
    return found


def _reason(git: Git, error: StoreError) -> StoreError:
    """Why a diff failed with ``error``: git's may only say that it took no repository for one."""
    try:
        git.run("rev-parse", "--git-dir")
    except StoreError as why:
        return why
    return error


def lockable(root: str, wanted: Iterable[Pattern]) -> list[str]:
    """The paths of ``wanted`` that git marks ``lockable``; asked only if there is a ``.gitattributes``.

    None where git is not there, may not be called (`plumbing`), or does not answer: it is a hint.
    """
    marked = [pattern for pattern in wanted if _has_attributes(root, pattern.prefix)]
    found: list[str] = []
    try:
        git = Git.in_tree(root, "so nothing is marked") if marked else None
        for pattern in marked:
            found += _lockable(git, root, pattern) if git else ()
    except (Refused, StoreError):
        pass
    return list(dict.fromkeys(found))


def _lockable(git: Git, root: str, pattern: Pattern) -> Iterator[str]:
    plain = not has_wildcard(pattern.text)
    paths = [pattern.prefix] if plain and not os.path.isdir(f"{root}/{pattern.prefix}") else None
    if paths is None:
        asked = ("--literal-pathspecs", "ls-files", "-z", "--", pattern.prefix or ".")
        listed = os.fsdecode(git.run(*asked, limit=PATIENCE).stdout)
        paths = [path for path in listed.split("\0")[:-1] if pattern.matches(path)][:MOST]
    given = os.fsencode("\0".join(paths))
    answer = git.run("check-attr", "-z", "--stdin", "lockable", given=given, limit=PATIENCE).stdout if paths else b""
    fields = os.fsdecode(answer).split("\0")
    return (path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "set")


def _has_attributes(root: str, path: str) -> bool:
    """Whether a file of attributes lies on the way from the root to ``path``, or in the repository."""
    folders, at = [root], root
    for name in path.split("/"):
        at = f"{at}/{name}"
        folders.append(at)
    files = [f"{folder}/.gitattributes" for folder in folders]
    return any(os.path.exists(file) for file in (*files, f"{root}/.git/info/attributes"))
