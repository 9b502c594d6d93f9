"""The repository around a folder, read by hand, and why it may not be used: nothing here starts git.

Promised: `doubt` names what git would read or write for us that is not the caller's own, or leads out of the repository:

- the owner of the work tree's top, of ``.git``, of the git folder, and in it of what git takes as given (`GIVEN`).  git
  itself looks at the first three, and at none where it is handed its folder;
- a ``.git`` that leads to a repository which does not name this work tree back (`worktrees/*/gitdir`, ``core.worktree``):
  in a folder that was unpacked or copied it may name any other one of the same person's;
- a symlink in the git folder on the way of an object, a ref or a log, which git would write through.

What it names may still be used: where the ``safe.directory`` of the person's own configuration says so (`plumbing`).  Never
used is a bare repository that lies in the work tree of another (`is_embedded`): a clone brings it as content, and git calls
it a repository only because of its shape (``safe.bareRepository``).  A bare repository with linked work trees is found
through these, or beside the store, where no repository is around it.  A FIFO or a device among git's files, or those of a
repository that it borrows objects from, would stop git for ever, and a file that it reads whole may be as long as a disk:
`StoreError`.

Not promised: anything against whoever can write in the git folder between this look and git's own.
"""

from __future__ import annotations

import os
import stat
from codecs import escape_decode
from collections.abc import Iterator
from typing import NamedTuple

from mbox import root as roots
from mbox.errors import StoreError
from mbox.system.filesystem import upward

GIVEN = ("", "config", "config.worktree", "commondir", "gitdir", "refs", "objects", "objects/info/alternates")
"""What tells git, in a git folder, what to do and where to look."""

PASSED_OVER = frozenset(("lfs", "annex", "hooks", "modules", "fsmonitor--daemon"))
"""Folders of a git folder that none of our calls looks into."""


READ_WHOLE = frozenset(
    ("HEAD", "config", "config.worktree", "commondir", "gitdir", "alternates", "exclude", "attributes", "shallow", "grafts",
     "packed-refs", "sparse-checkout", "head-name", "BISECT_START", "BISECT_LOG", "MERGE_HEAD", "MERGE_RR", "MERGE_MODE")
)
"""Files of a git folder that git takes into memory, as it does each one below ``refs``."""

LONGEST = 32 << 20
"""Bytes of such a file at most; the longest that git makes, ``shallow`` and ``packed-refs``, have 41 and some 80 a line."""


LONGEST_LIST = 1 << 20
"""Bytes of a list of such folders at most: millions of lines would fill the memory."""

MOST_BORROWED = 100
"""Folders of other repositories' objects that are looked at."""


class Repository(NamedTuple):
    """A work tree's top (of a bare repository: where its store stands), its own git folder, and the common one."""

    top: str
    folder: str
    common: str


def around(folder: str) -> Repository | None:
    """The repository that ``folder`` is in, or the bare one that it stands beside."""
    found = roots.repository(folder)
    if found:
        top, common = found
        return Repository(top, os.path.realpath(roots.gitfile(top) or common), common)
    return next((Repository(folder, bare, bare) for bare in sorted(roots.bare_in(folder))), None)


def inside(common: str) -> Iterator[str]:
    """The git folders of a repository's submodules, and of those inside them, as git keeps them in its own."""
    for folder, names, _ in os.walk(f"{common}/modules"):
        if roots.is_gitdir(folder):
            yield folder
            names[:] = [name for name in names if name == "modules"]


def is_embedded(found: Repository) -> bool:
    """Whether it is a bare repository among the files of another one's work tree."""
    if os.path.realpath(roots.gitfile(found.top) or f"{found.top}/.git") in (found.folder, os.path.realpath(found.common)):
        return False
    return any(os.path.lexists(f"{above}/.git") or roots.is_gitdir(above) for above in upward(found.top))


def doubt(found: Repository) -> str:
    """Why it may not be the caller's own, in words that begin with a path; empty if nothing speaks against it."""
    return stranger(found) or _led_away(found) or next(_links(found), "")


def stranger(found: Repository) -> str:
    """What of it belongs to another user; empty if nothing does."""
    trusted = {os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))  # as git has it
    entry = f"{found.top}/.git"
    paths = [found.top, entry] if os.path.lexists(entry) else []
    for folder in dict.fromkeys((found.folder, found.common)):
        paths += [f"{folder}/{name}".rstrip("/") for name in GIVEN]
    for path in paths:
        uid = owner(path)
        if uid is not None and uid not in trusted:
            return f"{path} belongs to another user (uid {uid})"
    return ""


def owner(path: str) -> int | None:
    """Whose ``path`` is, or what a symlink there leads to if that is not the same; None if nothing is there."""
    try:
        uid = os.lstat(path).st_uid
    except OSError:
        return None
    try:
        return uid if uid != os.geteuid() else os.stat(path).st_uid
    except OSError:
        return uid


def _led_away(found: Repository) -> str:
    """How ``.git`` leads to a repository that does not know of this work tree; empty if it does not."""
    entry = f"{found.top}/.git"
    if os.path.islink(entry):
        return f"{entry} is a symlink to another place"
    if not os.path.isfile(entry) or found.folder.startswith(f"{os.path.realpath(found.top)}/"):
        return ""
    named = [os.path.join(found.folder, _read(f"{found.folder}/gitdir"))]
    worktree = _core(found.common).get("worktree") if found.folder == found.common else None
    if worktree:
        named.append(os.path.join(found.common, worktree, ".git"))
    if os.path.realpath(entry) in map(os.path.realpath, named):
        return ""
    return f"{entry} leads to {found.folder}, which does not name it back"


def _core(common: str) -> dict[str, str]:
    try:
        return roots.core_of(common)
    except OSError:
        return {}


def _read(path: str) -> str:
    try:
        return roots.text_of(path)
    except OSError:
        return ""


def _links(found: Repository) -> Iterator[str]:
    """Each symlink that git would write through.  StoreError at what would stop git for ever, or fill its memory."""
    for path in _entries(found):
        if os.path.islink(path):
            inside = path.removeprefix(f"{found.common}/")
            if os.path.isdir(path) or inside.startswith(("refs/mbox/", "logs/")):
                yield f"{path} is a symlink"
        _refuse_endless(path)
    for objects in _borrowed(f"{found.common}/objects"):
        for path in _below([objects]):
            _refuse_endless(path)


def _refuse_endless(path: str) -> None:
    """StoreError at what would stop git for ever, or fill its memory."""
    try:
        info = os.stat(path)
    except OSError:
        return  # it leads to nothing
    if stat.S_ISFIFO(info.st_mode) or stat.S_ISCHR(info.st_mode):
        raise StoreError(f"{path} is no plain file, and git would wait for it; move it away")
    if _is_read_whole(path) and info.st_size > LONGEST:
        raise StoreError(f"{path} has {info.st_size >> 20} MiB, and git would read all of it; move it away")


def _borrowed(objects: str) -> list[str]:
    """Where git looks for objects besides: the folders of ``alternates``, and of theirs (gitrepository-layout(5))."""
    found, todo = [os.path.realpath(objects)], [objects]
    while todo:
        folder = todo.pop(0)
        path = f"{folder}/info/alternates"
        _refuse_endless(path)
        try:
            with open(path, "rb") as file:
                text = file.read(LONGEST_LIST + 1)
        except OSError:
            continue
        if len(text) > LONGEST_LIST:
            raise StoreError(f"{path} has more than {LONGEST_LIST >> 10} KiB, and git would read all of it; move it away")
        for line in text.split(b"\n"):
            if not line or line.startswith(b"#"):
                continue
            there = os.path.realpath(os.path.join(folder, os.fsdecode(_unquoted(line).split(b"\0")[0])))
            if there not in found:
                found.append(there)
                todo.append(there)
            if len(found) > MOST_BORROWED:
                raise StoreError(f"{objects}/info/alternates leads to more than {MOST_BORROWED} folders of objects")
    return found[1:]


def _unquoted(line: bytes) -> bytes:
    """A name as git writes it, in double quotes with escapes of C where it needs them."""
    if not line.startswith(b'"'):
        return line
    try:
        return escape_decode(line.strip(b'"'))[0]
    except ValueError:
        return line


def _is_read_whole(path: str) -> bool:
    return os.path.basename(path) in READ_WHOLE or "/refs/" in path


def _entries(found: Repository) -> Iterator[str]:
    """Every path that our git calls may come to in the git folder, and that is more than a file among many."""
    return _below([found.common] if found.folder.startswith(f"{found.common}/") else list({found.common, found.folder}))


def _below(folders: list[str]) -> Iterator[str]:
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in PASSED_OVER:
                            folders.append(entry.path)
                    elif entry.is_symlink():
                        if entry.name not in PASSED_OVER:
                            yield entry.path
                    elif not entry.is_file(follow_symlinks=False) or _is_read_whole(entry.path):
                        yield entry.path
        except OSError:
            continue
