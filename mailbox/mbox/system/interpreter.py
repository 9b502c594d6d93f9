"""How a process of ours is started: this very interpreter, isolated from where it stands.

Promised: what it imports comes from the interpreter's own folders and from the folder that this package stands in, never
from the folder that it is started in and never from ``PYTHON…`` variables: no ``click.py``, ``json.py`` or
``sitecustomize.py`` of a repository is loaded.  (``-P``: the folder is not put on the path; ``-E``: variables are not
asked.)  The same from a checkout that was never installed (``bin/``): the file that is run puts its own folder on the
path, and nothing has to be handed over in the environment.  Not promised: anything of a command that a person types; what
stands in their ``PYTHONPATH`` is theirs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of this package; what stands beside it in its folder is what it imports."""


PROGRAM = sys.executable
"""The interpreter by its own path, so that a virtual environment's stays that."""


def words(*command: str) -> Sequence[str]:
    """The argument list that runs ``command``, such as ``mbox watchdog``, in a process of its own."""
    return script(f"{PACKAGE}/cli/__main__.py", *command)


def script(path: str, *words: str) -> list[str]:
    """The argument list that runs a file of ours by its path, in a process of its own."""
    return [sys.executable, "-P", "-E", path, *words]


def commands() -> str:
    """The absolute folder where ``mbox`` and its sisters stand: this interpreter's, or the checkout's; empty if in neither."""
    checkout = os.path.join(os.path.dirname(os.path.dirname(PACKAGE)), "bin")
    for folder in (os.path.dirname(os.path.abspath(sys.executable)), checkout):
        if os.access(f"{folder}/mbox", os.X_OK):
            return folder
    return ""


COMMANDS = frozenset(["mbox", "task", "reserve", "team", "workflow"])
"""What the commands are called."""


def is_ours(words: Sequence[str]) -> bool:
    """Whether a command line is one of our commands: by name, or as what a Python runs."""
    first, *others = words or [""]
    if os.path.basename(first) in COMMANDS:
        return True
    script = next((word for word in others if not word.startswith("-")), "")
    is_script = os.path.basename(script).partition(".")[0] in COMMANDS or script == f"{PACKAGE}/cli/__main__.py"
    return os.path.basename(first).startswith("python") and is_script
