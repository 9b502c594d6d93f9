"""What a workflow asks of git in its tree, and the few things it does there: commit, branch, push.

Asked: the commit that is checked out, the paths that differ from a base (untracked ones too), the commits since, and a
*print* of all that is not committed, by which a tree is known again.

A commit is made by plumbing, in an index of its own beside the person's: no hook runs, nothing of the person's staging is
taken or lost (``docs/decisions/0039``).  Its message bears a trailer ``Mbox-Step: KEY``, by which it is found again: whoever
dies after ``update-ref`` and comes back makes no second one.  Order: 1. read-tree of HEAD into the other index, 2. add the
paths, 3. write-tree, commit-tree, 4. ``update-ref HEAD NEW OLD`` (that is the commit; refused where somebody else committed
meanwhile), 5. the person's index takes over those paths.  Killed before 4: objects that nobody names.  Killed after 4: found
by the trailer; 5 is done again by whoever finds it.

`push` goes through the person's own git, with their credentials and hooks: they asked for it by name in the workflow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from mbox.errors import Refused, StoreError
from mbox.format import places
from mbox.system.disk import LARGEST, read_bytes

from .plumbing import Git, persons_own

if TYPE_CHECKING:
    from mbox.format.patterns import Pattern

TRAILER = "Mbox-Step"
TRIES = 3
"""How often a commit is built anew on what somebody else committed meanwhile."""

MOST = 50_000
"""Paths that are told of at most."""

PUSHING = 300.0
"""Seconds that a push may take."""

_OWN = (f"{places.MAILBOX}/", f"{places.TASKS}/")


def tree(folder: str) -> Git:
    """The work tree that ``folder`` is in; `Refused` where there is none."""
    git = Git.in_tree(folder, "which a workflow needs")
    if git is None:
        raise Refused(f"{folder} is in no git working tree, which a workflow with git.* or git: needs")
    return git


def is_tree(folder: str) -> bool:
    """Whether ``folder`` is in a work tree of git."""
    return Git.in_tree(folder, "which a workflow needs") is not None


def head(folder: str) -> str | None:
    """The commit that is checked out; None where there is none, or no git."""
    git = Git.in_tree(folder, "which a workflow needs")
    if git is None:
        return None
    done = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", fine=(0, 1, 128))
    return done.stdout.decode().strip() or None


def branch(folder: str) -> str | None:
    """The branch that is checked out; None where HEAD is detached."""
    done = tree(folder).run("symbolic-ref", "--quiet", "--short", "HEAD", fine=(0, 1, 128))
    return done.stdout.decode().strip() or None


def changed(folder: str, base: str | None) -> list[str]:
    """Paths that differ from ``base`` in the tree, untracked ones too, ignored ones and the store's own not; sorted.

    They are relative to ``folder``, and only those in it; what is no UTF-8 in a name stands there as ``\\xff``.
    """
    git = tree(folder)
    found = set(uncommitted(git))
    if base:
        words = ("diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "-z", base, "--")
        found.update(_inside(git, git.run(*words).stdout.split(b"\0")[:-1]))
    return sorted(shown(path) for path in found if not path.startswith(_OWN))[:MOST]


def shown(path: str) -> str:
    """A path as text that can be written anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _inside(git: Git, paths: Iterable[bytes]) -> list[str]:
    """Those of git's ``paths`` that are in the folder which was asked about, relative to it."""
    at = os.path.relpath(os.path.realpath(git.root), os.path.realpath(git.top))
    start = "" if at == "." else f"{at}/"
    return [path.removeprefix(start) for path in map(os.fsdecode, paths) if path.startswith(start)]


def uncommitted(git: Git, limit: float | None = None) -> list[str]:
    """Paths that are not as the checked-out commit has them, untracked ones too; git may take ``limit`` seconds."""
    words = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")
    fields = _inside(git, (field[3:] for field in git.run(*words, limit=limit).stdout.split(b"\0")[:-1]))
    return [path for path in fields if not path.startswith(_OWN)]


def commits(folder: str, base: str | None, tip: str | None = None) -> list[str]:
    """The commits after ``base`` up to ``tip`` (what is checked out), oldest first."""
    if not base:
        return []
    git = tree(folder)
    return git.run("rev-list", "--reverse", f"--max-count={MOST}", f"{base}..{tip or 'HEAD'}").stdout.decode().split()


def print_of(folder: str) -> str:
    """By what the tree is known again: the commit, and every path that is not committed with what stands in it."""
    from hashlib import sha256

    git = tree(folder)
    made = sha256((head(folder) or "").encode())
    for path in sorted(uncommitted(git))[:MOST]:
        made.update(b"\0" + os.fsencode(path) + b"\0")
        at = os.path.join(git.root, path)
        try:
            made.update(os.fsencode(os.readlink(at)) if os.path.islink(at) else sha256(read_bytes(at, LARGEST)).digest())
        except OSError:
            made.update(b"gone")
    return made.hexdigest()[:24]


def made_before(folder: str, base: str | None, key: str) -> str | None:
    """The commit since ``base`` that bears the trailer of ``key``."""
    git = tree(folder)
    span = f"{base}..HEAD" if base else "HEAD"
    shown = f"--format=%H%x00%(trailers:key={TRAILER},valueonly,separator=%x2C)"
    lines = git.run("log", shown, span, fine=(0, 128)).stdout.decode("utf-8", "replace")
    found = (line.partition("\0") for line in lines.splitlines())
    return next((oid for oid, _, value in found if key in value.split(",")), None)


def commit(folder: str, base: str | None, key: str, message: str, wanted: Callable[[str], bool],
           who: str, now: int) -> tuple[str | None, list[str]]:  # fmt: skip
    """Commit the changed paths that are ``wanted``: the commit (None: nothing to), and the paths that were left."""
    git = tree(folder)
    known = made_before(folder, base, key)
    there = uncommitted(git)
    taken = [path for path in there if not path.endswith("/") and wanted(path)]  # with it: a repository of its own
    left = [shown(path) for path in sorted({*there} - {*taken})]
    if known is not None:
        _follow(git, _of_commit(git, known))
        return known, left
    if not taken:
        return None, left
    if git.run("rev-parse", "--verify", "--quiet", "MERGE_HEAD", fine=(0, 1, 128)).returncode == 0:
        raise Refused(f"{git.top} is in the middle of a merge: end it, and only then can a part of the tree be committed")
    for last in (*[False] * (TRIES - 1), True):
        old = head(folder)
        made = _commit_object(git, old, taken, key, message, who, now)
        if made is None:
            return None, left
        try:
            git.run("update-ref", "-m", f"mbox workflow: {key}", "HEAD", made, old or "0" * len(made))
            break
        except StoreError:
            if last or head(folder) == old:  # else somebody else has committed meanwhile: on top of that
                raise
    _follow(git, taken)
    return made, left


def _commit_object(git: Git, old: str | None, taken: Sequence[str], key: str, message: str, who: str, now: int) -> str | None:
    """A commit of the paths ``taken`` on top of ``old``; None where it would change nothing."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mbox-index.") as scratch:
        other = _Indexed(git, f"{scratch}/index")
        if old:
            other.run("read-tree", old)
        other.run("update-index", "--add", "--remove", "-z", "--stdin", given=os.fsencode("\0".join(taken) + "\0"))
        made = other.run("write-tree").stdout.decode().strip()
    if old and git.run("rev-parse", f"{old}^{{tree}}").stdout.decode().strip() == made:
        return None
    text = f"{message.rstrip()}\n\n{TRAILER}: {key}\n"
    return git.commit(made, [old] if old else [], who, now, text)


class _Indexed(Git):
    """The same repository with an index of its own."""

    __slots__ = ("_index",)

    def __init__(self, git: Git, index: str) -> None:
        super().__init__(git.root, git.folder, git.top, git.without)
        self._index = index

    @property
    def _here(self) -> dict[str, str]:
        return {"GIT_DIR": self.folder, "GIT_WORK_TREE": self.top, "GIT_INDEX_FILE": self._index}


def _of_commit(git: Git, oid: str) -> list[str]:
    words = ("diff-tree", "--root", "--no-commit-id", "--name-only", "-r", "-z", "--no-renames", oid)
    return _inside(git, git.run(*words).stdout.split(b"\0")[:-1])


def _follow(git: Git, paths: Iterable[str]) -> None:
    """Let the person's index have ``paths`` as the commit has them."""
    given = os.fsencode("\0".join(paths))
    if given:
        words = ("reset", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul", "HEAD")
        git.run("--literal-pathspecs", *words, given=given, fine=(0, 1))


def identity(folder: str) -> str:
    """Who commits, ``Name <address>``: the person's own setting; where there is none, the toolkit."""
    git = tree(folder)
    found = [git.run("config", "--get", f"user.{word}", fine=(0, 1)).stdout.decode().strip() for word in ("name", "email")]
    given = [os.environ.get(f"GIT_AUTHOR_{word}") or own for word, own in zip(("NAME", "EMAIL"), found, strict=True)]
    name, address = (" ".join(word.replace("<", "").replace(">", "").split()) for word in given)
    return f"{name or 'mbox workflow'} <{address or 'workflow@mbox.invalid'}>"


def start_branch(folder: str, name: str) -> None:
    """Have the tree on branch ``name``, made from what is checked out if it is not there."""
    git = tree(folder)
    if branch(folder) == name:
        return
    git.run("check-ref-format", "--branch", name)
    there = git.run("show-ref", "--verify", "--quiet", f"refs/heads/{name}", fine=(0, 1)).returncode == 0
    git.run("checkout", "--quiet", *([name] if there else ["-b", name]))


def push(folder: str, name: str, remote: str = "origin") -> None:
    """Have ``remote`` hold branch ``name`` as it is here, by the person's own git; `StoreError` with its last word."""
    persons_own(tree(folder).top, PUSHING, "push", "--quiet", "--", remote, f"refs/heads/{name}:refs/heads/{name}")


def matcher(patterns: Sequence[Pattern]) -> Callable[[str], bool]:
    """Whether a path is under one of ``patterns``."""
    return lambda path: any(pattern.matches(path) for pattern in patterns)
