"""Where in the repository a path lies that a tool names: every spelling of one file comes out at one path.

Promised: `Ground.places` gives each repository path that the text can mean: with ``..`` and symlinks resolved as the file
system has them, from the folder where the tool runs, relative or absolute, by ``~``, ``file://``, a drive letter or
backslashes; in whichever worktree of the repository it lies, it is the same path.  The name of a symlink itself is one of
them, beside what it leads to.  Nothing for what lies outside the repository.  Only names are looked at, no file is read;
nothing raises but ValueError, for what cannot be a path.  Not promised: that two names of one inode (a hard link) are known
to be one file.

Case and NFC/NFD are no matter of spelling: patterns compare them (`format.patterns`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Ground:
    """The tops of the worktrees of one repository, as real paths, the deepest first."""

    __slots__ = ("home", "tops")

    def __init__(self, tops: Iterable[str], home: str) -> None:
        self.tops = sorted({*tops}, key=len, reverse=True)
        self.home = home

    def places(self, text: str, cwd: str, follows: bool = True) -> list[str]:
        """The paths relative to the root that ``text`` may mean in the folder ``cwd``; "" is the root itself.

        Not what a symlink leads to for who does not ``follow`` one: `rm` takes the link.
        """
        if not text or "\0" in text:
            raise ValueError("the path is empty" if not text else "a NUL in the path")
        found: dict[str, None] = {}
        for spelt in spellings(text, self.home):
            absolute = os.path.normpath(os.path.join(cwd, spelt))
            try:  # the folder's symlinks first, as the kernel takes them: `a/../b` with a symlink `a` is not `b`
                folder, name = os.path.split(os.path.join(cwd, spelt).rstrip("/") or "/")
                beside = os.path.join(os.path.realpath(folder), name) if name not in ("", ".", "..") else absolute
                real = os.path.realpath(os.path.join(cwd, spelt))
            except (OSError, UnicodeEncodeError, ValueError):
                raise ValueError("the path cannot be looked up") from None
            for path in (real, beside) if follows else (beside,):
                place = self.within(os.path.normpath(path))
                if place is not None:
                    found[place] = None
        return list(found)

    def is_launcher(self, text: str, cwd: str) -> bool:
        """Whether ``text`` may mean the launcher of the hooks, or the folder in which it stands: a person's to change."""
        kept = os.path.realpath(f"{self.home}/.local/share/mbox")
        try:
            real = [os.path.realpath(os.path.join(cwd, spelt)) for spelt in spellings(text, self.home)]
        except (OSError, UnicodeEncodeError, ValueError):
            return False
        return bool(self.home) and any(path == kept or path.startswith(f"{kept}/") for path in real)

    def within(self, absolute: str) -> str | None:
        """The real path ``absolute`` relative to the worktree that it lies in; None outside of all."""
        for top in self.tops:
            if absolute == top:
                return ""
            if absolute.startswith(top if top.endswith("/") else f"{top}/"):
                return absolute[len(top) :].lstrip("/")
        return None


def spellings(text: str, home: str) -> list[str]:
    """``text`` as this system reads it, and, where it looks like one, the path that another system's spelling means."""
    found = [text]
    plain = text[7:] if text.startswith("file://") else text
    if plain[:2] in ("~/", "~"):
        plain = home + plain[1:]
    if "\\" in plain or (len(plain) > 2 and plain[1] == ":" and plain[0].isalpha()):
        plain = plain.replace("\\", "/")
        if plain.startswith("//?/"):
            plain = plain[4:]
        if len(plain) > 2 and plain[1] == ":" and plain[0].isalpha():
            plain = plain[2:]
    if plain != text and plain:
        found.append(plain)
    return found


def tops(root: str) -> list[str] | None:
    """The worktrees of the repository whose root with the store is ``root``, as real paths; None where only `mbox.root` can tell.

    That is where git's folder is not simply in it: a store beside a bare repository, below the top, in a submodule.
    """
    try:
        entries = os.listdir(f"{root}/.git/worktrees")
    except FileNotFoundError:
        return [root] if os.path.isdir(f"{root}/.git") else None
    except OSError:
        return None
    found = [root]
    for entry in entries:
        try:
            with open(f"{root}/.git/worktrees/{entry}/gitdir", encoding="utf-8", errors="surrogateescape") as file:
                found.append(os.path.realpath(os.path.dirname(file.read(4096).rstrip("\r\n"))))
        except OSError:
            continue
    return found
