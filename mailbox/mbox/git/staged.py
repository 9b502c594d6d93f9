"""What git knows of the user's work tree: the staged paths, and the paths that it marks ``lockable``.

Reads only, by git itself (``git diff --cached``, ``git ls-files``, ``git check-attr``), never over the
network. Nothing here decides anything about the store; where git is not there, or does not answer, that is
said or nothing is marked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from mbox.format import places
from mbox.errors import Usage
from mbox.format.patterns import Pattern, has_wildcard

MOST = 10_000
"""Paths of one pattern that are looked at."""


def staged(root: str, worktrees: Sequence[str], cwd: str) -> list[str]:
    """What is staged in the work tree around ``cwd``, relative to the root; both names of what is renamed.

    The store's own documents, and paths outside the root, are left out.  `Usage` where there is no git.
    """
    top = _git(cwd, "rev-parse", "--show-toplevel")
    if top is None:
        raise Usage(f"--staged: git knows no work tree in {cwd}; name the paths instead")
    folder = os.path.realpath(top.rstrip("\n"))
    names = _git(folder, "diff", "--cached", "--name-only", "--no-renames", "--no-ext-diff", "-z")
    if names is None:
        raise Usage(f"--staged: git cannot say what is staged in {folder}; name the paths instead")
    places_of_root = sorted((root, *worktrees), key=len, reverse=True)
    found = []
    for name in names.split("\0")[:-1]:
        path = f"{folder}/{name}"
        base = next((base for base in places_of_root if path.startswith(f"{base.rstrip('/')}/")), None)
        if base is not None:
            relative = path[len(base) :].lstrip("/")
            if relative.split("/")[0] not in (places.MAILBOX, places.TASKS):
                found.append(relative)
    return found


def lockable(root: str, wanted: Iterable[Pattern]) -> list[str]:
    """The paths of ``wanted`` that git marks ``lockable``; asked only if there is a ``.gitattributes``."""
    found: list[str] = []
    for pattern in wanted:
        if not _has_attributes(root, pattern.prefix):
            continue
        plain = not has_wildcard(pattern.text)
        paths = [pattern.prefix] if plain and not os.path.isdir(f"{root}/{pattern.prefix}") else None
        if paths is None:
            listed = _git(root, "--literal-pathspecs", "ls-files", "-z", "--", pattern.prefix or ".") or ""
            paths = [path for path in listed.split("\0")[:-1] if pattern.matches(path)][:MOST]
        answer = (
            _git(root, "check-attr", "-z", "--stdin", "lockable", given="\0".join(paths)) if paths else ""
        )
        fields = (answer or "").split("\0")
        found += [path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "set"]
    return list(dict.fromkeys(found))


def _has_attributes(root: str, path: str) -> bool:
    """Whether a file of attributes lies on the way from the root to ``path``, or in the repository."""
    folders, at = [root], root
    for name in path.split("/"):
        at = f"{at}/{name}"
        folders.append(at)
    files = [f"{folder}/.gitattributes" for folder in folders]
    return any(os.path.exists(file) for file in (*files, f"{root}/.git/info/attributes"))


def _git(cwd: str, *words: str, given: str = "") -> str | None:
    """What git prints, or None where it fails or is not there."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", *words], cwd=cwd, input=os.fsencode(given), capture_output=True, check=False
        )
    except OSError:
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
