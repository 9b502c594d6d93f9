"""Sandboxes by a word: the words that stand before a member's command, so that it writes where a member has to and nowhere else.

    sandbox: bwrap                               # bubblewrap, with a pid namespace
    sandbox: {bwrap: true, network: false}       # … without a network
    sandbox: {docker: IMAGE}                     # a container of that image; network: false as well
    sandbox: [bwrap, --dev-bind, /, /]           # words, as they stand

Writable are the member's tree (its root where it has none), the store (``.mailbox``, ``.tasks``), the common git folder but for
what git runs, or is told to run, outside of the sandbox (`_closed`), and the settings of its host (``settings`` in
`hosts.yaml`).  All else is read-only under bwrap, and ``/tmp`` its own, but for what the member needs of it: its home, its
program, and what stands on its ``PATH``; in a container nothing else of this machine is there but our commands and what git
knows of the person.  Links are followed before anything is bound: nothing can be bound onto one.  The wrapper stays outside:
it beats and renews, and ends the group.  A container gets variables by their names alone (``-e NAME``), and a terminal where
the member has one.

Not promised: that an image has git and a Python that runs our commands; anything about a container whose client was killed by
SIGKILL (``docker ps`` shows it by the label ``mbox``); that a host can replace a single file of its settings in a folder that
is read-only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mbox import root
from mbox.format import places
from mbox.format.documents import Document
from mbox.git import repository
from mbox.hosts import programs
from mbox.system import interpreter
from mbox.system.disk import Disk
from mbox.system.filesystem import upward, within

if TYPE_CHECKING:
    from mbox.store.store import Store

BWRAP, DOCKER = "bwrap", "docker"

ANEW = "/tmp"
"""The one folder of the system that bwrap's sandbox has anew, empty; what a member needs of it is bound one by one."""

GITS = ("~/.gitconfig", "~/.config/git")
"""What git knows of the person: a commit needs a name."""


def program(said: Any) -> str | None:
    """The program that a member's ``sandbox`` starts first; None for a member without one."""
    if isinstance(said, str | Mapping):
        return DOCKER if DOCKER in said else BWRAP
    return said[0] if said else None


def words(store: Store, member: Document, folder: str, environ: Mapping[str, str], names: Iterable[str],
          terminal: bool = False) -> list[str]:  # fmt: skip
    """What stands before the command of a member that works in ``folder``, in a ``terminal`` or without one.

    ``names`` of variables are its program's.
    """
    said = member.get("sandbox") or []
    if not isinstance(said, str | Mapping):
        return [*said]
    options = said if isinstance(said, Mapping) else {}
    writable, closed = _writable(store, member, folder, environ)
    network: list[str] = []
    if DOCKER in options:
        closed += [path for path in (_expanded(one, environ) for one in GITS) if path and os.path.exists(path)]
        if not options.get("network", True):
            network = ["--network", "none"]
        return _docker(str(options[DOCKER]), [*(["--tty"] if terminal else []), *network], writable, closed, folder, names)
    if not options.get("network", True):
        network = ["--unshare-net"]
    asked = [*environ.get("PATH", "").split(os.pathsep), environ.get("HOME", ""), *_programs(member)]
    return _bwrap([*asked, *_commands(), store.root], network, writable, closed, folder)


def _writable(store: Store, member: Document, folder: str, environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What is writable; and what of that is read-only again, because it says what runs outside of the sandbox."""
    found = repository.around(folder) or repository.around(store.root)
    git = [found.common] if found else []
    host = programs.get(member.get("host") or "")
    settings = [path for path in (_expanded(one, environ) for one in host.settings) if path and os.path.exists(path)]
    ours = [store.absolute(places.MAILBOX), store.absolute(places.TASKS)]
    return [folder, *ours, *git, *settings], [path for common in git for path in _closed(common)]


def _closed(common: str) -> list[str]:
    """Hooks and configurations of a repository, its submodules and its work trees.

    What is not there cannot be closed, so a folder of hooks is made, empty, and a work tree's configuration where git would
    read it.
    """
    disk, found = Disk(private=False), []
    by_tree = "worktreeconfig" in root.text_of(f"{common}/config").lower()
    inner = list(repository.inside(common))
    for folder in (common, *inner):
        if not os.path.lexists(f"{folder}/hooks"):
            disk.folders(f"{folder}/hooks")
        found += [f"{folder}/hooks", f"{folder}/config"]
    trees = [entry.path for entry in os.scandir(f"{common}/worktrees")] if os.path.isdir(f"{common}/worktrees") else []
    for folder in (common, *inner, *trees):
        path = f"{folder}/config.worktree"
        if by_tree and not os.path.lexists(path):
            disk.create(path, b"")
        found.append(path)
    return [path for path in found if os.path.exists(path)]


def _expanded(path: str, environ: Mapping[str, str]) -> str:
    """``~/…`` and ``$NAME`` by the variables of ``environ``; empty where one is not set."""
    if path.startswith("~/"):
        return f"{environ['HOME']}{path[1:]}" if environ.get("HOME") else ""
    return environ.get(path[1:], "") if path.startswith("$") else path


def _commands() -> list[str]:
    """Where our commands and their interpreter stand."""
    return [*dict.fromkeys((sys.base_prefix, sys.prefix, os.path.dirname(interpreter.PACKAGE)))]


def _programs(member: Document) -> list[str]:
    """Where the paths in `ANEW` stand that a member's command names, but for that itself: a script, and what is beside it."""
    paths = [word for word in member.get("command") or [] if _is_hidden(word)]
    return [path if os.path.dirname(path) == ANEW else os.path.dirname(path) for path in paths]


def _is_hidden(path: str) -> bool:
    """Whether something is there that bwrap's sandbox has not unless it is bound."""
    return path.startswith(f"{ANEW}/") and os.path.exists(path)


def _bwrap(seen: list[str], more: list[str], writable: list[str], closed: list[str], folder: str) -> list[str]:
    line = [BWRAP, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", ANEW, "--setenv", "TMPDIR", ANEW,
            "--unshare-pid", "--die-with-parent", *more]  # fmt: skip
    there: list[str] = []
    """What is in the sandbox by now."""
    hidden = [path for path in seen if _is_hidden(path)]
    for option, paths in (("--ro-bind", hidden), ("--bind", writable), ("--ro-bind", closed)):
        for path in paths:
            link = next((one for one in [*upward(path)][::-1] if os.path.islink(one)), None)
            if link and link.startswith(f"{ANEW}/") and not any(within(link, one) for one in there):
                line += ["--symlink", os.path.realpath(link), link]
                there.append(link)
            real = os.path.realpath(path)
            line += [option, real, real]
            there.append(real)
    return [*line, "--chdir", folder, "--"]


def _docker(image: str, more: list[str], writable: list[str], closed: list[str], folder: str, names: Iterable[str]) -> list[str]:
    line = [DOCKER, "run", "--rm", "--init", "--interactive", "--label", "mbox", "--user", f"{os.getuid()}:{os.getgid()}", *more]
    for path in _commands():
        line += ["--volume", f"{path}:{path}:ro"]
    for path in writable:
        line += ["--volume", f"{path}:{path}"]
    for path in closed:
        line += ["--volume", f"{path}:{path}:ro"]
    for name in dict.fromkeys(("MBOX_AGENT", "MBOX_ROOT", "MBOX_INCARNATION", "HOME", "TERM", *names)):
        line += ["--env", name]
    return [*line, "--workdir", folder, image]
