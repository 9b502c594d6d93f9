"""What the git knows that runs us as its hook: what it is about to commit, and what it is about to push.

Promised: it is asked in the environment that it gave the hook, so that a commit of single paths (which has an index of its own),
a linked worktree, a submodule and a ``--git-dir`` come out as git means them.  Of a merge count the paths that are as on no
side of it: what one side has was committed before.  Both names of what is renamed count.  Not promised: what a `git am` or
plumbing commits, which run no such hook.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from mbox.errors import StoreError

from .plumbing import as_called

MOST_COMMITS = 2_000
"""Commits of one push that are looked at, the newest."""

REFS = 4 << 20
"""Bytes of a push's list of refs that are read."""

_NAMES = ("--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "-z")


class Caller:
    """The git that runs a hook in ``folder``, with this environment."""

    __slots__ = ("_environ", "_folder")

    def __init__(self, environ: Mapping[str, str], folder: str) -> None:
        self._environ, self._folder = environ, folder

    def _ask(self, *words: str, given: bytes = b"") -> str:
        return os.fsdecode(as_called(self._environ, self._folder, *words, given=given))

    def top(self) -> str | None:
        """The top of its work tree, free of symlinks; None where it has none."""
        try:
            return os.path.realpath(self._ask("rev-parse", "--show-toplevel").removesuffix("\n"))
        except StoreError:
            return None

    def _state(self, name: str) -> str:
        """The file or folder ``name`` of its git folder: what is under way in this work tree."""
        folder = self._environ.get("GIT_DIR") or self._ask("rev-parse", "--git-dir").removesuffix("\n")
        return os.path.join(self._folder, folder, name)

    def is_rebasing(self) -> bool:
        """Whether a rebase is under way: it makes commits anew that were made before."""
        return any(os.path.isdir(self._state(name)) for name in ("rebase-merge", "rebase-apply"))

    def staged(self) -> list[str]:
        """The paths, from the top, that the commit would change; of a merge those that are as in none of its parents."""
        found = self._changed()
        for other in self._merged() if found else ():
            found &= self._changed(other)
        return sorted(found)

    def _changed(self, *commit: str) -> set[str]:
        return set(_split(self._ask("diff", "--cached", *_NAMES, *commit, "--")))

    def _merged(self) -> list[str]:
        """The commits that a merge under way takes in."""
        try:
            with open(self._state("MERGE_HEAD"), encoding="ascii") as file:
                return file.read(REFS).split()
        except (OSError, UnicodeDecodeError):
            return []

    def pushed(self, refs: bytes) -> tuple[list[str], bool]:
        """The paths that commits change which ``refs``, as `pre-push` is given them, bring; and whether that is all.

        What is on some remote already, as far as this repository knows, is not new.
        """
        new, old = _ends(refs)
        if not new:
            return [], True
        asked = ("rev-list", f"--max-count={MOST_COMMITS + 1}", "--ignore-missing", "--stdin", "--not", "--remotes")
        wanted = "".join(f"{word}\n" for word in (*new, *(f"^{oid}" for oid in old)))
        commits = self._ask(*asked, given=wanted.encode()).split()
        given = "".join(f"{oid}\n" for oid in commits[:MOST_COMMITS]).encode()
        told = self._ask("diff-tree", "--stdin", "-r", "-c", "--root", "--no-commit-id", *_NAMES, given=given) if given else ""
        return sorted(set(_split(told))), len(commits) <= MOST_COMMITS


def _split(told: str) -> Iterator[str]:
    return filter(None, told.split("\0"))


def _ends(refs: bytes) -> tuple[list[str], list[str]]:
    """What is pushed, and what the remote has in its place: without what is deleted, and what is not there yet."""
    rows = [line.split(b" ") for line in refs[:REFS].split(b"\n")]
    rows = [row for row in rows if len(row) == 4]
    return _oids(row[1] for row in rows), _oids(row[3] for row in rows)


def _oids(words: Iterable[bytes]) -> list[str]:
    return [word.decode() for word in dict.fromkeys(words) if word.strip(b"0") and word.isalnum()]
