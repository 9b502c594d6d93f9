"""Where a program that we start by ourselves stands: in an absolute folder of ``PATH``, and nowhere else.

Promised: a relative or empty entry of ``PATH`` is passed over, since from where the caller stands it is a folder of the
repository.  Not promised: anything of a command that a person names (a member's, the one after ``--``), which is searched as
it would be if they typed it.
"""

from __future__ import annotations

import errno
import os


def find(name: str) -> str:
    """The absolute path of the program ``name``; FileNotFoundError where there is none."""
    for folder in folders():
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, "no such program in an absolute folder of PATH", name)


def ours(name: str, search: str | None = None) -> str:
    """What to type for our command ``name`` where no folder of ``search`` (else of ``PATH``) has it; empty where one has."""
    for folder in os.get_exec_path() if search is None else search.split(os.pathsep):
        if os.access(os.path.join(folder or ".", name), os.X_OK):
            return ""
    from shlex import join

    from .interpreter import words

    return join(words(name))


def folders() -> list[str]:
    """The absolute entries of ``PATH``, in their order."""
    return [folder for folder in os.get_exec_path() if os.path.isabs(folder)]
