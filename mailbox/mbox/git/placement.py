"""Where `init` and `restore` put a root in a repository, and how git is told to leave it out of the user's branches.

Live state that follows branches keeps no promise, so no store is kept on one (decision 20).  Both folders are always
named in ``info/exclude``: git refuses to overwrite files that it does not know, and overwrites those that it ignores,
so that a branch on which somebody put documents (``git add -f``, an old clone) can be switched to and left again.  What
stands on a branch already is the person's to take off it: `tracked` has the command, and nothing here runs it.

Promised: no root is made in a repository of another user's, unless ``--here`` names the folder or the person's own
``safe.directory`` the repository; the store of another user is never taken for one's own.  ``info/exclude`` gets its lines by
one append, through no symlink, and only in a repository that may be used (`repository`); where it does not, that is said.

Files: ``.git/info/exclude`` alone; a crash leaves it as it was or done.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from shlex import quote

from mbox import root as roots
from mbox.errors import MboxError, Refused, told
from mbox.format import places
from mbox.system.disk import Disk, read_bytes

from . import plumbing, repository


def init_place(cwd: str, here: bool) -> str:
    """Where `init` makes the store (`root.init_place`); `Refused` where that is somebody else's."""
    folder = roots.init_place(cwd, here)
    if here:
        return folder
    found = repository.around(os.path.realpath(cwd))
    instead = "`mbox init --here` makes it in this folder"
    if found and repository.is_embedded(found):
        raise Refused(f"{plumbing.embedded(found)}, so the root is not made in {folder}; {instead}")
    why = repository.stranger(found) if found else ""
    if found and why and not plumbing.accepted(found):
        raise Refused(f"{why}, so the root is not made in {folder}; {instead}, or, if you trust it: {plumbing.trusting(found)}")
    if os.path.isdir(f"{folder}/{roots.MAILBOX}"):
        roots.usable(roots.Root(folder, "parent", []))
    return folder


def exclude(root: str, disk: Disk, say: Callable[[str], object]) -> list[str]:
    """Keep the store out of the user's branches by ``.git/info/exclude``; the lines that were added.

    None are outside of git, or where they stand already.  Lines are only ever added.  ``say`` is told why none could be.
    """
    found = repository.around(root) if roots.repository(root) else None
    if found is None:
        return []
    folder = f"{found.common}/info"
    try:
        plumbing.check(found)
        if os.path.islink(folder):
            raise Refused(f"{folder} is a symlink and is not followed")
        return _append(folder, disk)
    except OSError as error:
        why = told(error, folder)
        if os.path.islink(f"{folder}/exclude"):
            why = f"{folder}/exclude is a symlink and is not followed"
    except MboxError as error:
        why = str(error).removeprefix("refused: ")
    say(f"{why}; git is not told to ignore .mailbox/ and .tasks/: keep them out of your commits")
    return []


def _append(folder: str, disk: Disk) -> list[str]:
    """Add the lines that are missing."""
    try:
        before = read_bytes(f"{folder}/exclude")
    except FileNotFoundError:
        before = b""
        if not os.path.isdir(folder):
            disk.mkdir(folder)
    there = {line.strip() for line in before.decode("utf-8", "replace").splitlines()}
    missing = [f"{name}/" for name in roots.FOLDERS if f"{name}/" not in there]
    if missing:
        start = "" if before.endswith(b"\n") or not before else "\n"
        disk.append(f"{folder}/exclude", (start + "\n".join(missing) + "\n").encode())
    return missing


def include(root: str, disk: Disk, lines: list[str]) -> None:
    """Take back the ``lines`` that `exclude` added just now, where they are still the last ones."""
    found = repository.around(root) if lines else None
    if found is None:
        return
    path = f"{found.common}/info/exclude"
    before, added = read_bytes(path), ("\n".join(lines) + "\n").encode()
    if before == added:
        disk.unlink(path)
    elif before.endswith(b"\n" + added):
        disk.rewrite(path, before[: -len(added)])


def tracked(root: str) -> str:
    """The command that takes documents off the user's branch; empty if there are none on it, or git cannot be asked.

    The person's own files (`audit.PERSONS`, ``.gitignore``) may be there: they are no live state.
    """
    try:
        git = plumbing.Git.in_tree(root, "so that nobody can say what is on your branch")
        listed = git.run("ls-files", "-z", "--", *roots.FOLDERS).stdout.decode("utf-8", "surrogateescape") if git else ""
    except MboxError:
        return ""
    paths = listed.split("\0")
    if not any(map(places.is_place, paths)):
        return ""
    folders = [name for name in roots.FOLDERS if any(path.startswith(f"{name}/") for path in paths)]
    return f"git -C {quote(root)} rm -r --cached --quiet {' '.join(folders)}"
