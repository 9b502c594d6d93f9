"""Everybody who works on one repository finds one root: the folder that holds ``.mailbox/`` and ``.tasks/``.

Promised (`design.md` section 3, `store.md` "Who shares what"): ``--root``, then ``MBOX_ROOT``, then the
nearest parent that has ``.mailbox/``; inside a linked git worktree that of the main worktree, even if the
linked one has its own (with a warning); where the main one is bare, beside the common directory; where it
cannot be reached, or does not name the linked one back, StoreError: a folder that was unpacked may have a ``.git`` that
names any other place of the same person's.  The path is absolute and free of symlinks.  A store of another user, or
with something of another user's directly in ``.mailbox/``, is refused unless ``--root`` names it; a store that
is a symlink, or no folder, is always refused, and the search does not go past it.  Not promised: that it is whole.

Git's files are read by hand (gitrepository-layout(5)): a linked worktree's ``.git`` is a file that names its
git directory, whose ``commondir`` names the repository's; there, ``worktrees/*/gitdir`` name the linked ones.
Neither git nor its ``GIT_*`` variables are asked: two shells with two environments must not have two roots.
Nothing is changed here.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from mbox.system.filesystem import names, upward, within
from mbox.system.given import read_plain

from .errors import NoStore, Refused, StoreError, Usage

MAILBOX = ".mailbox"
FOLDERS = (MAILBOX, ".tasks")


class NoFolder(StoreError):
    """Something else than a folder stands where a store would."""


class Root(NamedTuple):
    """The root's path, how it was found (flag, env, parent or worktree), and what the caller should say."""

    path: str
    how: str
    warnings: list[str]


# -- finding -------------------------------------------------------------------------------------------------


def find(root_arg: str | None, env_root: str | None, cwd: str) -> Root:
    """The root for a command called in ``cwd`` with this ``--root`` and this ``MBOX_ROOT``.

    ``cwd`` is empty where that folder is gone, which does not matter to an absolute path.  NoStore names where it looked;
    StoreError says why a store that is there cannot be used.
    """
    if root_arg == "":
        raise Usage(f"--root is empty; name the folder that holds {MAILBOX}/")
    if root_arg is not None:
        return _named(root_arg, cwd, "--root", "flag")
    if env_root:
        return _named(env_root, cwd, "MBOX_ROOT", "env")
    refuse_gone(cwd)
    store, starts, warnings = _search(os.path.realpath(cwd))
    if store is None:
        for start in starts:
            _refuse_bereft(start)
        looked = ", nor in ".join(f"{start} or a folder above it" for start in starts)
        raise NoStore(
            f"no {MAILBOX}/ in {looked}; `mbox init` makes one, --root and MBOX_ROOT name another, "
            "`mbox audit restore` brings back one that `git clean` took"
        )
    return usable(Root(store, "worktree" if len(starts) > 1 else "parent", warnings))


def _named(folder: str, cwd: str, by: str, how: str) -> Root:
    if not os.path.isabs(folder):
        refuse_gone(cwd)
    path = os.path.realpath(os.path.join(cwd, folder))
    if has_store(path):
        return usable(Root(path, how, []))
    if os.path.basename(path) == MAILBOX and os.path.isdir(path):
        raise NoStore(f"{by} {folder}: name the folder that holds {MAILBOX}/, {os.path.dirname(path)}")
    _refuse_bereft(path, above=False)
    raise NoStore(f"{by} {folder}: no {MAILBOX}/ in {path}; `mbox init` there makes one")


def refuse_gone(cwd: str) -> None:
    """`NoStore` where the folder in which the caller stands is gone: ``cwd`` is empty."""
    if not cwd:
        raise NoStore("the folder you stand in is gone: cd to one that is there, or name the root by an absolute --root")


def _refuse_bereft(start: str, above: bool = True) -> None:
    """`NoStore` where a store was: ``.tasks/`` with documents and no ``.mailbox/``, up to the repository's top."""
    for folder in upward(start):
        try:
            left = any(name.endswith(".json") for name in os.listdir(f"{folder}/.tasks"))
        except OSError:
            left = False
        if left:
            raise NoStore(
                f"{folder}/{MAILBOX} is gone, and its .tasks/ still there: in {folder}, `mv .tasks .tasks.old`, then "
                "`mbox audit restore` brings all back as of the last `mbox audit commit`; `mbox init` would keep only "
                "these tasks: no mail, no agents, no journal"
            )
        if not above or os.path.lexists(f"{folder}/.git"):
            return


def _search(start: str) -> tuple[str | None, list[str], list[str]]:
    """The nearest store above ``start``, the folders from which it was searched, and warnings.

    From a linked worktree the search goes on at the folder's counterpart in the main one.
    """
    starts, warnings, crossed = [start], list[str](), set[str]()
    while True:
        store, linked = _climb(starts[-1])
        if linked is None or linked.top in crossed:
            return store, starts, warnings
        if store:
            warnings.append(
                f"{store}/{MAILBOX} is not used: {linked.top} is a linked worktree, "
                f"and all worktrees share the store of {linked.main}"
            )
        crossed.add(linked.top)
        starts.append(linked.counterpart(starts[-1]))


def _climb(start: str) -> tuple[str | None, Linked | None]:
    """The nearest folder with a store, and the linked worktree that this (or ``start``) is in, if any."""
    store = None
    for folder in upward(start):
        if store is None and has_store(folder):
            store = folder
        linked = _linked(folder)
        if linked or (store and os.path.lexists(f"{folder}/.git")):
            return store, linked
    return store, None


def has_store(folder: str) -> bool:
    """Whether ``folder`` holds a store.  Something else in its place is an error, not a reason to look on."""
    path = f"{folder}/{MAILBOX}"
    try:
        mode = os.lstat(path).st_mode
    except PermissionError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except OSError:
        return False
    _check_folder(path, mode)
    return True


def _check_folder(path: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise StoreError(f"{path} is a symlink; a store is a real folder")
    if not stat.S_ISDIR(mode):
        raise NoFolder(f"{path} is no folder, and a store is one: move it away, or name another root by --root")


def usable(root: Root) -> Root:
    """``root``, if its folders are real ones and the caller's own (or named by ``--root``)."""
    for name in FOLDERS:
        path = f"{root.path}/{name}"
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        _check_folder(path, state.st_mode)
        if root.how != "flag":
            _check_owner(path, state.st_uid, root.path)
    if root.how != "flag":
        _check_owners(root.path)
    return root


def _check_owners(root: str) -> None:
    """Refuse a store in whose folder something is another user's: its configuration, lock or journal, for one."""
    folder = f"{root}/{MAILBOX}"
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _check_owner(entry.path, entry.stat(follow_symlinks=False).st_uid, root)
    except FileNotFoundError:
        pass  # renamed or removed at this moment
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}") from error


def _check_owner(path: str, owner: int, root: str) -> None:
    if owner != os.geteuid():
        raise StoreError(f"{path} belongs to another user (uid {owner}); if you trust it, say so: --root {root}")


# -- git -----------------------------------------------------------------------------------------------------


class Linked:
    """A linked worktree's top, and where its store belongs: in the main worktree, or beside a bare one."""

    __slots__ = ("bare", "main", "top")

    def __init__(self, top: str, main: str, bare: bool) -> None:
        self.top = top
        self.main = main
        self.bare = bare

    def counterpart(self, folder: str) -> str:
        """The folder that stands for ``folder`` where the store belongs."""
        inside = "." if self.bare else os.path.relpath(folder, self.top)
        return os.path.normpath(f"{self.main}/{inside}")


def _linked(top: str) -> Linked | None:
    """``top`` as a linked worktree; None if it is none.  StoreError if its main one cannot be reached."""
    gitdir = gitfile(top)
    if gitdir is None:
        return None
    try:
        common = os.path.realpath(os.path.join(gitdir, text_of(f"{gitdir}/commondir")))
        core = core_of(common)
    except OSError as error:
        if os.path.basename(os.path.dirname(gitdir)) != "worktrees":
            return None  # a submodule or a separate git directory: this worktree is the main one
        raise StoreError(
            f"{top} is a linked worktree, but its repository cannot be reached ({error.filename}: "
            f"{error.strerror}); run `git worktree repair` in the repository, or name the root by --root"
        ) from error
    if not _is_named_back(top, gitdir, common):
        raise StoreError(
            f"{top}/.git leads to {common}, which does not name it back: `git worktree repair` in it if that is right, "
            "else name the root by --root"
        )
    bare = core.get("bare", "").lower() in ("true", "yes", "on", "1")
    if bare or os.path.basename(common) == ".git":
        return Linked(top, os.path.dirname(common), bare)
    main = os.path.realpath(os.path.join(common, core["worktree"])) if "worktree" in core else ""
    if main and tuple(map(os.path.realpath, repository(main) or ())) == (main, common):
        return Linked(top, main, False)
    raise StoreError(
        f"{top} is a linked worktree, but {common} does not say where its main one is, or that is none of it; "
        "name the root by --root or MBOX_ROOT"
    )


def _is_named_back(top: str, gitdir: str, common: str) -> bool:
    """Whether the repository ``common`` has ``top`` among its linked worktrees (gitrepository-layout(5)).

    One that was moved by hand is still known by where it was, and nothing is there any more.
    """
    try:
        back = _back(gitdir)
    except OSError:
        return False
    if os.path.realpath(os.path.dirname(gitdir)) != os.path.realpath(f"{common}/worktrees"):
        return False
    return not os.path.lexists(back) or os.path.realpath(back) == os.path.realpath(f"{top}/.git")


def _back(gitdir: str) -> str:
    """The file ``.git`` of the linked worktree whose entry in its repository ``gitdir`` is; OSError if it does not say."""
    return os.path.join(gitdir, text_of(f"{gitdir}/gitdir"))


def gitfile(top: str) -> str | None:
    """The git directory that the file ``.git`` in ``top`` names; None if there is no such file."""
    try:
        text = text_of(f"{top}/.git")
    except OSError:
        return None
    return os.path.join(top, text.removeprefix("gitdir: ")) if text.startswith("gitdir: ") else None


def text_of(path: str) -> str:
    """The text of one of git's own files, without the last line's end; OSError at once if it is none."""
    text = read_plain(path, 65536).decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise OSError(errno.EINVAL, "not a text", path)
    return text.rstrip("\r\n")


def core_of(common: str) -> dict[str, str]:
    """What the ``[core]`` sections of a repository's configuration say (git-config(1), "Syntax")."""
    source = text_of(f"{common}/config")
    if os.path.exists(f"{common}/config.worktree"):
        source += "\n" + text_of(f"{common}/config.worktree")
    core: dict[str, str] = {}
    section = ""
    for line in source.splitlines():
        line = line.strip()
        if line.startswith("["):
            section, _, line = line[1:].partition("]")
        if section.strip().lower() == "core" and line[:1] not in ("#", ";"):
            key, _, value = line.partition("=")
            core[key.strip().lower()] = value.strip().strip('"')
    return core


def repository(folder: str) -> tuple[str, str] | None:
    """The top of the worktree around ``folder`` and its repository's common directory; None outside of git.

    Inside a bare repository the "top" is the folder beside it.
    """
    for top in upward(folder):
        gitdir = gitfile(top)
        if gitdir:
            shared = f"{gitdir}/commondir"
            try:
                return top, os.path.realpath(os.path.join(gitdir, text_of(shared)))
            except OSError:
                return top, os.path.realpath(gitdir)
        if os.path.isdir(f"{top}/.git"):
            return top, f"{top}/.git"
        if is_gitdir(top):
            return os.path.dirname(top), top
    return None


def git_folder(root: str) -> tuple[str, str] | None:
    """Git's own folder of the work tree around ``root``, and where in that it stands ("." for its top); None outside of git.

    A folder ``.git``; or what a file ``.git`` names, where that lies in the work tree itself or names it back, as the one of
    a linked worktree and of a submodule does: a folder that was unpacked may have a ``.git`` that names any other place.
    None, too, for one of another owner than ``root``.
    """
    for top in upward(root):
        try:
            mode = os.lstat(f"{top}/.git").st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode) and top != root and not is_gitdir(f"{top}/.git"):
            continue
        try:
            found = f"{top}/.git" if stat.S_ISDIR(mode) else _named_by_file(top)
            is_ours = found is not None and os.stat(found).st_uid == os.stat(root).st_uid
        except OSError:
            return None
        return (found, os.path.relpath(root, top)) if found and is_ours else None
    return None


def _named_by_file(top: str) -> str | None:
    """The git directory that the file ``.git`` in ``top`` names, if it is that of ``top``; None or OSError if it is not."""
    named = gitfile(top)
    if named is None:
        return None
    gitdir = os.path.realpath(named)
    if within(gitdir, top):
        return gitdir
    is_submodule = is_gitdir(gitdir)
    back = os.path.join(gitdir, core_of(gitdir).get("worktree", ""), ".git") if is_submodule else _back(gitdir)
    return gitdir if os.path.realpath(back) == f"{top}/.git" else None


def is_gitdir(folder: str) -> bool:
    return all(os.path.lexists(f"{folder}/{name}") for name in ("HEAD", "objects", "refs"))


def worktrees(root: str) -> list[str]:
    """The folders that stand for ``root`` in the linked worktrees: paths in them are made relative."""
    found = repository(root)
    top, commons = (found[0], [found[1]]) if found else (root, bare_in(root))
    inside = os.path.relpath(root, top)
    return sorted(os.path.normpath(f"{linked}/{inside}") for linked in _linked_tops(commons))


def grounds(root: str) -> list[str]:
    """Every folder in which a file may have come with the repository that ``root`` is in.

    The root, git's folder, the tops of all worktrees, and of a submodule those of the repositories around it too.
    """
    folders, found = [root], repository(root)
    commons = [found[1]] if found else bare_in(root)
    while found:
        top, common = found
        folders.append(top)
        is_submodule = gitfile(top) is not None and "modules" in common.split("/")
        found = repository(os.path.dirname(top)) if is_submodule else None
        commons += [found[1]] if found else []
    return [*folders, *commons, *_linked_tops(commons)]


def _linked_tops(commons: list[str]) -> list[str]:
    """The tops of the linked worktrees of repositories, by their common directories."""
    tops = []
    for common in commons:
        for entry in names(f"{common}/worktrees"):
            try:
                linked = os.path.dirname(_back(f"{common}/worktrees/{entry}"))
            except OSError:
                continue  # git is making or pruning it at this moment
            tops.append(os.path.realpath(linked))
    return tops


def bare_in(folder: str) -> list[str]:
    """The bare repositories in ``folder`` that have linked worktrees."""
    paths = [f"{folder}/{name}" for name in names(folder)]
    return [path for path in paths if os.path.isdir(f"{path}/worktrees") and is_gitdir(path)]


# -- making --------------------------------------------------------------------------------------------------


def init_place(cwd: str, here: bool) -> str:
    """Where ``mbox init`` makes the store: in the main worktree; with ``--here`` or without git in ``cwd``.

    Where ``cwd`` has a root of its own repository, that root: `init` twice is harmless.  Refused where a
    second store would come about unasked, inside another root; and ``--here`` in a linked worktree, because
    nobody would find that store.
    """
    cwd = os.path.realpath(cwd)
    around = repository(cwd)
    linked = _linked(around[0]) if around else None
    if here and linked:
        raise Refused(
            f"{linked.top} is a linked worktree, and all worktrees share the store of {linked.main}; "
            "`mbox init` without --here makes it there"
        )
    if here:
        return cwd
    place = linked.main if linked else around[0] if around else cwd
    try:
        existing = _search(cwd)[0]
    except NoFolder:  # what stands in the place itself is refused where the folders are made
        existing = None
    if existing and existing != place and within(place, existing):
        raise Refused(f"{place} is inside the root {existing}; use that, or make another with --here")
    return existing or place
