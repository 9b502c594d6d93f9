"""Repositories whose own configuration, hooks, links and missing objects want git to run something or to leave them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial

from hostile.world import World, remove

CONFIGS = {
    "core": ("fsmonitor", "sshCommand", "pager", "editor", "askPass", "gitProxy", "alternateRefsCommand"),
    "sequence": ("editor",), "diff": ("external",), 'diff "evil"': ("command", "textconv"), "pager": ("log", "grep"),
    'filter "evil"': ("clean", "smudge", "process"), "gpg": ("program",), 'gpg "ssh"': ("program",),
    "credential": ("helper",), 'merge "evil"': ("driver",), "interactive": ("diffFilter",), "uploadpack": ("packObjectsHook",),
    'remote "origin"': ("uploadpack", "receivepack", "vcs", "proxy"), "man": ("viewer",), "trace2": ("eventTarget",),
    'browser "x"': ("cmd",), "init": ("templateDir",), 'submodule "x"': ("update",), "fsck": ("skipList",),
}  # fmt: skip
"""Settings of git that name programs, or files that it opens."""


def config(text: str, world: World) -> None:
    """Lines at the end of the repository's configuration."""
    with open(world.root / ".git/config", "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"\n{text}\n")


def program(section: str, name: str, world: World) -> None:
    """One setting that names a program."""
    config(f'[{section}]\n\t{name} = "{world.evil} #"', world)


def attributes(world: World) -> None:
    """Every file passes through a filter and a diff program, and is there to be looked at."""
    for name in ("clean", "smudge", "process"):
        program('filter "evil"', name, world)
    for name in ("command", "textconv"):
        program('diff "evil"', name, world)
    config('[filter "evil"]\n\trequired = true\n[diff "evil"]\n\tcachetextconv = true', world)
    (world.root / ".gitattributes").write_text("* filter=evil diff=evil merge=evil ident text=auto\n.mailbox/** diff=evil\n")
    os.utime(world.root / "src/a.py", (1, 1))


HOOKS = (
    *("post-index-change", "reference-transaction", "pre-commit", "post-checkout", "post-commit", "fsmonitor-watchman"),
    *("pre-auto-gc", "post-rewrite", "prepare-commit-msg", "commit-msg", "pre-push", "post-merge", "sendemail-validate"),
)


def hooks(where: str, world: World) -> None:
    """Every hook, in the folder ``where``."""
    folder = world.root / where
    folder.mkdir(parents=True, exist_ok=True)
    for name in HOOKS:
        (folder / name).write_text(f"#!/bin/sh\n{world.evil}\n")
        (folder / name).chmod(0o755)
    if where != ".git/hooks":
        config(f"[core]\n\thooksPath = {where}", world)


def promisor(url: str, gone: str, world: World) -> None:
    """Objects are missing, and a remote that names a program promises to have them."""
    git = world.root / ".git"
    config(
        f'[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n[remote "origin"]\n\turl = {url}\n'
        f'\tpromisor = true\n\tpartialclonefilter = blob:none\n\tuploadpack = "{world.evil} #"\n[protocol]\n\tallow = always',
        world,
    )
    if gone == "all":
        remove(git / "objects/pack")
        (git / "objects/pack").mkdir()
    else:
        (git / "refs/mbox/audit").write_text("1" * 40 + "\n")
        for path in (".mailbox/cache/audit",):
            remove(world.root / path)


def alternates(world: World) -> None:
    """Objects are sought in a folder outside."""
    info = world.root / ".git/objects/info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{world.sibling}\n/dev/zero\n../../../../sibling\n")
    program("core", "alternateRefsCommand", world)


def include(path: str, world: World) -> None:
    """The configuration includes another file."""
    config(f"[include]\n\tpath = {path}\n[includeIf \"gitdir:**\"]\n\tpath = {path}", world)


def gitfile(text: Callable[[World], str], world: World) -> None:
    """``.git`` is a file that leads elsewhere."""
    remove(world.root / ".git")
    (world.root / ".git").write_text(text(world))


def chain(world: World) -> None:
    """Git folders that name each other's common folder, round and round."""
    remove(world.root / ".git")
    (world.root / ".git").write_text("gitdir: a\n")
    for name, other in (("a", "b"), ("b", "a")):
        (world.root / name).mkdir()
        (world.root / name / "commondir").write_text(f"../{other}\n")
        (world.root / name / "HEAD").write_text("ref: refs/heads/main\n")


def embedded(world: World) -> None:
    """The root's own files are a bare repository, whose configuration names programs."""
    for path in (world.root / ".git").iterdir():
        shutil.move(path, world.root / path.name)
    remove(world.root / ".git")
    text = f'[core]\n\tbare = true\n\tfsmonitor = "{world.evil} #"\n'
    (world.root / "config").write_text(text + '[remote "origin"]\n\tpromisor = true\n\turl = .\n'
                                       f'\tuploadpack = "{world.evil} #"\n')  # fmt: skip


def bare_inside(world: World) -> None:
    """A bare repository in the root, which a root beside a bare one could be taken for."""
    shutil.move(world.root / ".git", world.root / "evil.git")
    with open(world.root / "evil.git/config", "a") as file:
        file.write(f'[core]\n\tbare = true\n\tfsmonitor = "{world.evil} #"\n[remote "o"]\n\tpromisor = true\n\turl = .\n'
                   f'\tuploadpack = "{world.evil} #"\n')  # fmt: skip
    remove(world.root / "evil.git/objects/pack")
    (world.root / "evil.git/worktrees").mkdir()


def others(path: str, world: World) -> None:
    """Git's folder, or its configuration, is somebody else's, and names programs."""
    for section, names in CONFIGS.items():
        for name in names:
            program(section, name, world)
    if os.geteuid() == 0:
        os.chown(world.root / path, 12345, 12345)


def info_link(world: World) -> None:
    """``.git/info`` leads to a folder outside, where ``exclude`` would be written."""
    remove(world.root / ".git/info")
    (world.root / ".git/info").symlink_to(world.sibling)


def worktree_outside(world: World) -> None:
    """The work tree is said to be a folder outside."""
    config(f"[core]\n\tworktree = {world.sibling}", world)


def linked(text: Callable[[World], str], world: World) -> None:
    """A linked worktree of the repository, which leads where ``text`` says."""
    back = world.root / ".git/worktrees/x"
    back.mkdir(parents=True)
    (back / "gitdir").write_text(text(world))
    (back / "commondir").write_text("../..\n")
    (back / "HEAD").write_text("ref: refs/heads/main\n")


def symbolic(name: str, to: str, world: World) -> None:
    """A ref that leads to another: what moves it would move that."""
    path = world.root / ".git" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"ref: {to}\n")


def replaced(world: World) -> None:
    """The audit commit is replaced by another."""
    git = ["git", "-C", str(world.root)]
    old, new = (subprocess.run([*git, "rev-parse", name], capture_output=True, text=True, check=True).stdout.strip()
                for name in ("refs/mbox/audit", "HEAD"))  # fmt: skip
    folder = world.root / ".git/refs/replace"
    folder.mkdir(parents=True)
    (folder / old).write_text(f"{new}\n")


def audit_tree(path: str, mode: str, world: World) -> None:
    """An audit ref whose tree has an entry that audit never writes, and nothing else: the store is to be brought back."""
    git = ["git", "-C", str(world.root)]

    def run(*words: str, given: str = "") -> str:
        return subprocess.run([*git, *words], input=given, capture_output=True, text=True, check=True).stdout.strip()

    blob = run("hash-object", "-w", "--stdin", given=str(world.keys))
    if mode == "40000":
        blob = run("mktree", given=f"100644 blob {blob}\tx\n")
    tree = blob
    for at, name in enumerate(reversed(path.split("/"))):
        kind = "tree" if at or mode == "40000" else "blob"
        tree = run("mktree", "--missing", given=f"{'040000' if at else mode} {kind} {tree}\t{name}\n")
    commit = run("-c", "user.name=x", "-c", "user.email=x@x", "commit-tree", tree, "-m", "mbox audit")
    (world.root / ".git/refs/mbox/audit").write_text(f"{commit}\n")
    for place in (".mailbox", ".tasks"):
        remove(world.root / place)


def imports(world: World) -> None:
    """Modules under the names of those that the commands import."""
    text = f"import os\nopen({str(world.ran / 'module')!r}, 'w').close()\n"
    names = ("click", "yaml", "json", "os", "sqlite3", "mbox", "sitecustomize", "usercustomize", "subprocess", "ruamel")
    for name in (*names, "inotify_simple", "portalocker", "watchfiles", "encodings", "random", "signal"):
        (world.root / f"{name}.py").write_text(text)
    for name in ("git", "tmux", "true", "sh", "python3"):
        (world.root / name).write_text(f"#!/bin/sh\n{world.evil}\n")
        (world.root / name).chmod(0o755)


URLS = ("ext::sh -c 'touch x'", ".", "ssh://-oProxyCommand=x/y", "evil::x", "https://127.0.0.1:1/x", "file:///dev/zero")

GITFILES: dict[str, Callable[[World], str]] = {
    "itself": lambda world: "gitdir: .git\n", "a folder outside": lambda world: f"gitdir: {world.sibling}\n",
    "a key": lambda world: f"gitdir: {world.keys}\n", "zero": lambda world: "gitdir: /dev/zero\n",
    "lines": lambda world: "gitdir: x\ny\n", "much": lambda world: "gitdir: " + "x/" * 100_000,
    "nothing": lambda world: "", "an option": lambda world: "gitdir: --upload-pack=x\n",
}  # fmt: skip

ENTRIES = {
    **{f"git's {section}.{name} is a program": partial(program, section, name)
       for section, names in CONFIGS.items() for name in names},
    "git filters everything": attributes,
    **{f"hooks in {where}": partial(hooks, where) for where in (".git/hooks", "hooks")},
    **{f"{gone} objects are promised by {url}": partial(promisor, url, gone) for url in URLS for gone in ("all", "the ref's")},
    "git's objects lie elsewhere": alternates,
    **{f"git's configuration includes {path}": partial(include, path)
       for path in ("config", "/dev/zero", "../pipe", "~/.ssh/authorized_keys", "../../../sibling/precious.json")},
    **{f".git leads to {what}": partial(gitfile, text) for what, text in GITFILES.items()},
    "git folders in a ring": chain, "an embedded bare repository": embedded, "a bare repository inside": bare_inside,
    **{f"{path} is somebody else's": partial(others, path) for path in (".git", ".git/config", ".git/objects")},
    ".git/info leads outside": info_link, "the work tree is outside": worktree_outside,
    "a linked worktree outside": partial(linked, lambda world: f"{world.sibling}/.git\n"),
    "a linked worktree of lines": partial(linked, lambda world: "a\nb\x1b[2J\n"),
    "a linked worktree at zero": partial(linked, lambda world: "/dev/zero\n"),
    **{f"{name} leads to {to}": partial(symbolic, name, to) for name, to in (
        ("refs/mbox/audit", "refs/heads/main"), ("refs/mbox/audit", "refs/mbox/audit"), ("HEAD", "refs/mbox/audit"),
        ("refs/mbox/audit", "../../../sibling/precious.json"))},
    "the audit commit is replaced": replaced,
    **{f"the audit ref holds {mode} {path}": partial(audit_tree, path, mode) for path, mode in (
        (".mailbox/config.yaml", "120000"), (".mailbox/logs", "120000"), (".mailbox", "120000"), (".tasks/x.json", "120000"),
        (".mailbox/hosts.yaml", "100755"), (".mailbox/logs/000001.jsonl", "100644"), (".mailbox/.git/config", "100644"),
        (".git/config", "100644"), ("x.py", "100644"), (".mailbox/logs/000001.jsonl", "40000"))},
    "modules of other people": imports,
}  # fmt: skip
