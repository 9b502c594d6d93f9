"""What is proved before a team is recorded: its programs, the socket of its tmux, its working trees, by making them, and that
each member can write where it must, by doing it (`access`).

Whether git can make a tree (a filter that fails, a branch's name that collides, a disk without room) and what is in it
then shows only when it is made.  So trees are made before the record, and taken away again where the call is refused after
all: `made` removes those that it made, with the branches that it began, and no other.

Promised: what is wrong raises `Usage` or `Refused`, with the file and the member, and nothing of it is left.  A process that
is killed in between leaves trees without members, which the next `team up` finds, or `git worktree remove` takes away; one that
was not filled yet (``setup``) is made anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mbox.errors import Refused, StoreError, Usage, failure
from mbox.format.checks import exact
from mbox.git import filling, worktrees
from mbox.hosts import programs

from . import handover, panes, sandboxes, tmux

if TYPE_CHECKING:
    from mbox.store.store import Store

    from .teamfile import Member, Team
    from .tmux import Tmux

LONGEST_SOCKET = 107
"""Bytes of a socket's path, by unix(7)."""

Trees = dict[str, tuple[str, str]]
"""Path and branch of each member that has a working tree."""


def refuse_server(server: Tmux) -> None:
    """`Usage` for a socket whose path no kernel takes, `Refused` for a server that would end at once."""
    socket = os.path.realpath(server.server or tmux.default())
    if (size := len(os.fsencode(socket))) > LONGEST_SOCKET:
        raise Usage(f"{socket} has {size} bytes, and a socket's path at most {LONGEST_SOCKET}: --socket with a shorter one")
    if os.path.lexists(socket) and not stat.S_ISSOCK(os.lstat(socket).st_mode):
        raise Usage(f"{socket} is there, and is no socket: --socket with another path")
    try:
        alone = server.ends_alone(handover.without(os.environ, []))
    except tmux.TmuxError as error:
        raise Refused(f"{error}; --socket with a path in a folder of yours, or --no-tmux") from None
    if alone:
        raise Refused("that tmux server ends where nobody looks at it: set -s exit-unattached off in ~/.tmux.conf, or --no-tmux")


def trees(store: Store, spec: Team) -> Trees:
    """Where each member's working tree stands or will; `Refused` where it cannot be made, as far as looking tells."""
    found = {}
    for member in spec.members:
        if member.worktree:
            branch = member.worktree if isinstance(member.worktree, str) else f"mbox/{spec.name}/{member.name}"
            worktrees.ensure(store.root, spec.name, member.name, branch, dry_run=True)
            found[member.name] = (worktrees.place(store.root, spec.name, member.name), branch)
            filling.check_copies(store.root, member.copy or ())
    return found


@contextmanager
def made(store: Store, spec: Team, wanted: Trees, only_look: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Make the trees that are ``wanted``, and see that programs are there and can write what they must.

    The trees stay if what follows does not raise.
    """
    if only_look:
        yield
        return
    fresh: list[tuple[str, str]] = []
    try:
        for member in spec.members:
            if member.name in wanted:
                new = _made(store, spec, member, wanted[member.name][1])
                fresh += new
                for path, branch in new:
                    worktrees.begin(path, branch)
                    _fill(store, spec, member, path, say)
                    worktrees.complete(path)
                check_program(store, spec, member, wanted)
            _prove(store, spec, member, wanted)
        yield
    except BaseException:
        for path, branch in fresh:
            worktrees.discard(store.root, path, branch)
        raise


def _made(store: Store, spec: Team, member: Member, branch: str) -> list[tuple[str, str]]:
    """Make the tree of one; it, with the branch that was begun for it, if it was not there."""
    path = worktrees.place(store.root, spec.name, member.name)
    if (left := worktrees.begun(path)) is not None:
        worktrees.discard(store.root, path, left)
    begun = "" if worktrees.has_branch(store.root, branch) else branch
    try:
        tree = worktrees.ensure(store.root, spec.name, member.name, branch)
    except StoreError as error:
        raise Refused(f"{spec.file}: {member.name}: {error}") from None
    return [(tree.path, begun)] if tree.made else []


def _prove(store: Store, spec: Team, member: Member, wanted: Trees) -> None:
    row = member.row()
    if member.name in wanted:
        row["tree"], row["branch"] = wanted[member.name]
    try:
        panes.prove(store, row)
    except Refused as error:
        raise Refused(f"{spec.file}: {error}") from None


def _fill(store: Store, spec: Team, member: Member, tree: str, say: Callable[[str], None]) -> None:
    """What a new tree has beside what was committed; what it has not is said, and `Refused` is a setup that fails."""
    for missing in (*filling.submodules(store.root, tree), *filling.unfiltered(tree)):
        say(f"{member.name}: {missing}")
    if member.copy is None and (names := filling.left_out(store.root)):
        say(f"{member.name}: its new working tree has no {', '.join(names)}, which git ignores; say copy: [{', '.join(names)}]")
    filling.copy(store.root, tree, member.copy or ())
    if member.setup:
        _set_up(store, spec, member, tree, say)


def _set_up(store: Store, spec: Team, member: Member, tree: str, say: Callable[[str], None]) -> None:
    """Run a member's ``setup`` in its new tree, with what its program will have in its environment.

    What it leaves running (a server of a compiler's) is not waited for, although it has the same output.
    """
    import subprocess
    from tempfile import TemporaryFile

    row = member.row()
    environ = {**os.environ, **panes.environment(store, row)}
    with TemporaryFile() as output:
        try:
            done = subprocess.run(member.setup, cwd=tree, env=environ, stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=subprocess.STDOUT, check=False)  # fmt: skip
        except OSError as error:
            raise Refused(f"{spec.file}: {member.name}: setup: {member.setup[0]}: {failure(error)}") from None
        output.seek(0)
        said = output.read() if done.returncode else b""
    if done.returncode:
        for line in said.decode("utf-8", "replace").splitlines():
            say(exact(line))
        raise Refused(f"{spec.file}: {member.name}: setup: {member.setup[0]} ended with {done.returncode} (see above)")


def check_programs(store: Store, spec: Team, wanted: Trees) -> None:
    """`Usage` for a member whose program is not there, as far as that can be told before its tree is."""
    for member in spec.members:
        check_program(store, spec, member, wanted)
    _check_guards(store, spec, wanted)


def _check_guards(store: Store, spec: Team, wanted: Trees) -> None:
    """`Refused` for a member whose Codex would skip our hooks, which stand in its project: it would be guarded by nothing."""
    from mbox.hooks import trust

    asked = set[str]()
    for member in spec.members:
        folder = wanted.get(member.name, (store.root, ""))[0]
        line = programs.get(member.host).command(member.command or None) if member.host == "codex" else []
        if not line or "--dangerously-bypass-hook-trust" in line or folder in asked or not os.path.isdir(folder):
            continue
        asked.add(folder)
        trust.require(folder, f"{spec.file}: {member.name}")


def check_program(store: Store, spec: Team, member: Member, wanted: Trees) -> None:
    """`Usage` unless the program is on the ``PATH``, or where its path says: in the member's tree, or the tree's commit."""
    import shutil

    try:
        host = programs.get(member.host) if member.command else programs.require(member.host) if member.host else None
    except Usage as error:
        raise Usage(f"{spec.file}: {member.name}: {error}") from None
    if host is None:
        raise Usage(f"{spec.file}: {member.name}: say host: or command:, so that it can be started")
    first = sandboxes.program(member.sandbox) or host.command(member.command or None)[0]
    if "/" not in first or os.path.isabs(first):
        search = member.env.get("PATH") or os.environ.get("PATH")
        if shutil.which(first, path=search) is None:
            raise Usage(f"{spec.file}: {member.name}: no program {first}{'' if '/' in first else ' on the PATH'}")
        return
    where, branch = wanted.get(member.name, (store.root, ""))
    if branch and (not os.path.isdir(where) or worktrees.begun(where) is not None):
        if not member.setup and not worktrees.is_program(store.root, branch, first):
            raise Usage(f"{spec.file}: {member.name}: no program {first} in what is committed, and its working tree has no more")
    elif shutil.which(os.path.join(where, first)) is None:
        raise Usage(f"{spec.file}: {member.name}: no program {first} in {where}")
