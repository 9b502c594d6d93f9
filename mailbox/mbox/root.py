"""Everybody who works on one repository finds one root: the folder that holds ``.mailbox/`` and ``.tasks/``.

Promised (`design.md` section 3, `store.md` "Who shares what"): ``--root``, then ``MBOX_ROOT``, then the
nearest parent that has ``.mailbox/``; inside a linked git worktree that of the main worktree, even if the
linked one has its own (with a warning); where the main one is bare, beside the common directory; where it
cannot be reached, StoreError.  The path is absolute and free of symlinks.  A store of another user is refused
unless ``--root`` names it; a store that is a symlink is always refused.  Not promised: that it is whole.

Git's files are read by hand (gitrepository-layout(5)): a linked worktree's ``.git`` is a file that names its
git directory, whose ``commondir`` names the repository's; there, ``worktrees/*/gitdir`` name the linked ones.
Neither git nor its ``GIT_*`` variables are asked: two shells with two environments must not have two roots.

Files: only ``.git/info/exclude`` is changed, by one append of `exclude`; a crash leaves it as it was or done.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from mbox.system.disk import Disk
from mbox.errors import NoStore, Refused, StoreError, Usage

MAILBOX = ".mailbox"
FOLDERS = (MAILBOX, ".tasks")


class Root(NamedTuple):
    """The root's path, how it was found (flag, env, parent or worktree), and what the caller should say."""

    path: str
    how: str
    warnings: list[str]


# -- finding -------------------------------------------------------------------------------------------------


def find(root_arg: str | None, env_root: str | None, cwd: str) -> Root:
    """The root for a command called in ``cwd`` with this ``--root`` and this ``MBOX_ROOT``.

    NoStore names where it looked; StoreError says why a store that is there cannot be used.
    """
    if root_arg == "":
        raise Usage(f"--root is empty; name the folder that holds {MAILBOX}/")
    if root_arg is not None:
        return _named(root_arg, cwd, "--root", "flag")
    if env_root:
        return _named(env_root, cwd, "MBOX_ROOT", "env")
    store, starts, warnings = _search(os.path.realpath(cwd))
    if store is None:
        for start in starts:
            _refuse_bereft(start)
        looked = ", nor in ".join(f"{start} or a folder above it" for start in starts)
        raise NoStore(
            f"no {MAILBOX}/ in {looked}; `mbox init` makes one, --root and MBOX_ROOT name another, "
            "`mbox audit restore` brings back one that `git clean` took"
        )
    return _usable(Root(store, "worktree" if len(starts) > 1 else "parent", warnings))


def _named(folder: str, cwd: str, by: str, how: str) -> Root:
    path = os.path.realpath(os.path.join(cwd, folder))
    if _has_store(path):
        return _usable(Root(path, how, []))
    if os.path.basename(path) == MAILBOX and os.path.isdir(path):
        raise NoStore(f"{by} {folder}: name the folder that holds {MAILBOX}/, {os.path.dirname(path)}")
    _refuse_bereft(path, above=False)
    raise NoStore(f"{by} {folder}: no {MAILBOX}/ in {path}; `mbox init` there makes one")


def _refuse_bereft(start: str, above: bool = True) -> None:
    """`NoStore` where a store was: ``.tasks/`` with documents and no ``.mailbox/``, up to the repository's top."""
    for folder in _upward(start):
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
    for folder in _upward(start):
        if store is None and _has_store(folder):
            store = folder
        linked = _linked(folder)
        if linked or (store and os.path.lexists(f"{folder}/.git")):
            return store, linked
    return store, None


def _upward(folder: str) -> Iterator[str]:
    while True:
        yield folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return
        folder = parent


def _has_store(folder: str) -> bool:
    """Whether ``folder`` holds a store.  A symlink in its place is an error, not a reason to look on."""
    try:
        mode = os.lstat(f"{folder}/{MAILBOX}").st_mode
    except OSError:
        return False
    if stat.S_ISLNK(mode):
        raise StoreError(f"{folder}/{MAILBOX} is a symlink; a store is a real folder")
    return stat.S_ISDIR(mode)


def _usable(root: Root) -> Root:
    """``root``, if its folders are real ones and the caller's own (or named by ``--root``)."""
    for name in FOLDERS:
        path = f"{root.path}/{name}"
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        if stat.S_ISLNK(state.st_mode):
            raise StoreError(f"{path} is a symlink; a store is a real folder")
        if state.st_uid != os.geteuid() and root.how != "flag":
            who = f"another user (uid {state.st_uid})"
            raise StoreError(f"{path} belongs to {who}; if you trust it, say so: --root {root.path}")
    return root


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
    gitdir = _gitfile(top)
    if gitdir is None:
        return None
    try:
        common = os.path.realpath(os.path.join(gitdir, _text(f"{gitdir}/commondir")))
        core = _core(common)
    except OSError as error:
        if os.path.basename(os.path.dirname(gitdir)) != "worktrees":
            return None  # a submodule or a separate git directory: this worktree is the main one
        raise StoreError(
            f"{top} is a linked worktree, but its repository cannot be reached ({error.filename}: "
            f"{error.strerror}); run `git worktree repair` in the repository, or name the root by --root"
        ) from error
    bare = core.get("bare", "").lower() in ("true", "yes", "on", "1")
    if bare or os.path.basename(common) == ".git":
        return Linked(top, os.path.dirname(common), bare)
    if "worktree" in core:
        return Linked(top, os.path.realpath(os.path.join(common, core["worktree"])), False)
    raise StoreError(
        f"{top} is a linked worktree, but {common} does not say where its main one is; "
        "name the root by --root or MBOX_ROOT"
    )


def _gitfile(top: str) -> str | None:
    """The git directory that the file ``.git`` in ``top`` names; None if there is no such file."""
    try:
        text = _text(f"{top}/.git")
    except OSError:
        return None
    return os.path.join(top, text.removeprefix("gitdir: ")) if text.startswith("gitdir: ") else None


def _text(path: str) -> str:
    """The text of one of git's own files, without the last line's end."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(65536).rstrip("\r\n")


def _core(common: str) -> dict[str, str]:
    """What the ``[core]`` sections of a repository's configuration say (git-config(1), "Syntax")."""
    source = _text(f"{common}/config")
    if os.path.exists(f"{common}/config.worktree"):
        source += "\n" + _text(f"{common}/config.worktree")
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


def _repository(folder: str) -> tuple[str, str] | None:
    """The top of the worktree around ``folder`` and its repository's common directory; None outside of git.

    Inside a bare repository the "top" is the folder beside it.
    """
    for top in _upward(folder):
        gitdir = _gitfile(top)
        if gitdir:
            shared = f"{gitdir}/commondir"
            common = os.path.join(gitdir, _text(shared)) if os.path.exists(shared) else gitdir
            return top, os.path.realpath(common)
        if os.path.isdir(f"{top}/.git"):
            return top, f"{top}/.git"
        if _is_gitdir(top):
            return os.path.dirname(top), top
    return None


def _is_gitdir(folder: str) -> bool:
    return all(os.path.lexists(f"{folder}/{name}") for name in ("HEAD", "objects", "refs"))


def worktrees(root: str) -> list[str]:
    """The folders that stand for ``root`` in the linked worktrees: paths in them are made relative."""
    found = _repository(root)
    top, commons = (found[0], [found[1]]) if found else (root, _bare_in(root))
    inside = os.path.relpath(root, top)
    folders = []
    for common in commons:
        for entry in _names(f"{common}/worktrees"):
            back = f"{common}/worktrees/{entry}"
            try:
                linked = os.path.dirname(os.path.join(back, _text(f"{back}/gitdir")))
            except OSError:
                continue  # git is making or pruning it at this moment
            folders.append(os.path.normpath(f"{os.path.realpath(linked)}/{inside}"))
    return sorted(folders)


def _bare_in(folder: str) -> list[str]:
    """The bare repositories in ``folder`` that have linked worktrees."""
    paths = [f"{folder}/{name}" for name in _names(folder)]
    return [path for path in paths if os.path.isdir(f"{path}/worktrees") and _is_gitdir(path)]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


# -- making --------------------------------------------------------------------------------------------------


def init_place(cwd: str, here: bool) -> str:
    """Where ``mbox init`` makes the store: in the main worktree; with ``--here`` or without git in ``cwd``.

    Where ``cwd`` has a root of its own repository, that root: `init` twice is harmless.  Refused where a
    second store would come about unasked, inside another root; and ``--here`` in a linked worktree, because
    nobody would find that store.
    """
    cwd = os.path.realpath(cwd)
    repository = _repository(cwd)
    linked = _linked(repository[0]) if repository else None
    if here and linked:
        raise Refused(
            f"{linked.top} is a linked worktree, and all worktrees share the store of {linked.main}; "
            "`mbox init` without --here makes it there"
        )
    if here:
        return cwd
    place = linked.main if linked else repository[0] if repository else cwd
    existing = _search(cwd)[0]
    if existing and existing != place and _within(place, existing):
        raise Refused(f"{place} is inside the root {existing}; use that, or make another with --here")
    return existing or place


def exclude(root: str, disk: Disk, track: bool) -> list[str]:
    """Keep the store out of the user's branches by ``.git/info/exclude``; the lines that were added.

    None are with ``track``, outside of git, or where they stand already.  Lines are only ever added.
    """
    found = None if track else _repository(root)
    if found is None:
        return []
    folder = f"{found[1]}/info"
    try:
        with open(f"{folder}/exclude", "rb") as file:
            before = file.read()
    except FileNotFoundError:
        before = b""
        if not os.path.isdir(folder):
            disk.mkdir(folder)
    there = {line.strip() for line in before.decode("utf-8", "replace").splitlines()}
    missing = [f"{name}/" for name in FOLDERS if f"{name}/" not in there]
    if missing:
        start = "" if before.endswith(b"\n") or not before else "\n"
        disk.append(f"{folder}/exclude", (start + "\n".join(missing) + "\n").encode())
    return missing


# -- file systems --------------------------------------------------------------------------------------------

NETWORK = frozenset((
    "9p", "drvfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs",  # shared with the host of a virtual machine
    "afs", "cifs", "coda", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs",
    "acfs", "beegfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "panfs", "pvfs2",
    "fuse.ceph", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.grpcfuse",
    "fuse.mfs", "fuse.osxfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.vmhgfs-fuse",
))  # fmt: skip
"""File systems that another kernel may share: neither its locks nor its changes need reach this one."""


def is_network(fstype: str) -> bool:
    """Whether a file system of this type can be shared with another machine, or with the host of this one."""
    return fstype in NETWORK


def filesystem(path: str, mountinfo_text: str | None = None) -> str:
    """The type of the file system that ``path`` is on, such as ``ext4``; empty where no mount table tells."""
    return _mount(path, mountinfo_text)[1]


def _mount(path: str, mountinfo_text: str | None = None) -> tuple[str, str]:
    """Mount point and type for ``path``: of the mounts above it the longest, of equal ones the last."""
    if mountinfo_text is None:
        path = os.path.realpath(path)
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo_text = file.read()
        except OSError:
            return "", ""
    best = ("", "")
    for line in mountinfo_text.splitlines():
        fields, _, source = line.partition(" - ")
        point = _unescaped(fields.split(" ")[4])
        if len(point) >= len(best[0]) and _within(path, point):
            best = (point, source.split(" ")[0])
    return best


def _unescaped(text: str) -> str:
    """``text`` with the octal escapes of the mount table (blank, tab, newline, backslash) resolved."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def same_filesystem(a: str, b: str) -> bool:
    """Whether a file can be renamed from ``a`` to ``b``; of what is not there yet the nearest folder counts.

    The same device under two mount points is not enough: rename(2) does not cross mounts.
    """
    a, b = _standing(a), _standing(b)
    return os.stat(a).st_dev == os.stat(b).st_dev and _mount(a) == _mount(b)


def _standing(path: str) -> str:
    return next(folder for folder in _upward(os.path.realpath(path)) if os.path.exists(folder))


def case_folds(path: str) -> bool:
    """Whether ``README`` and ``readme`` are one file in the folder ``path``.

    Asked of a name that is there, in the other case; nothing is written.
    """
    for name in (MAILBOX, *_names(path)):
        if name.isascii() and name != name.swapcase() and os.path.lexists(f"{path}/{name}"):
            try:
                return os.path.samestat(os.lstat(f"{path}/{name}"), os.lstat(f"{path}/{name.swapcase()}"))
            except OSError:
                return False
    return False
