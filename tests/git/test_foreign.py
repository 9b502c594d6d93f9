"""What a repository names to run does not run, and a repository that is not the caller's own is not used."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import CHECKOUT, Run
from mbox.errors import MboxError, Refused, StoreError
from mbox.git import placement, plumbing, repository, staged, worktrees
from mbox.system.disk import Disk

SCRIPT = "#!/bin/sh\necho \"$0 $*\" >>{ran}\ncat\n"
Evil = Callable[[Path], str]


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The file that stands there once anything of the repository's has run."""
    return tmp_path / "ran"


@pytest.fixture
def program(tmp_path: Path, ran: Path) -> str:
    """A program that leaves `ran` behind."""
    path = tmp_path / "program"
    path.write_text(SCRIPT.format(ran=ran))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a ``.gitconfig`` of the person's own."""
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    (folder / ".gitconfig").write_text("[user]\n\tname = T\n\temail = t@example.org\n")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "none"))
    return folder


def git(folder: Path, *words: str) -> str:
    """What git prints; it must succeed."""
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {words}: {done.stderr}"
    return done.stdout.strip()


def store(folder: Path, run: Run) -> None:
    """A store in ``folder`` with one agent and one audit commit."""
    run("mbox", "init", cwd=folder, check=True)
    run("mbox", "agent", "add", "ann", cwd=folder, check=True)
    run("mbox", "audit", "commit", cwd=folder, check=True)
    run("mbox", "agent", "add", "bob", cwd=folder, check=True)


def arm(folder: Path, program: str) -> None:
    """Let the configuration, the hooks and the attributes of the repository name ``program`` wherever git knows to."""
    included = folder / ".git/included"
    included.write_text(f'[filter "other"]\n\tclean = {program} included\n\tsmudge = {program} included\n')
    settings = {
        "core.sshCommand": program, "core.pager": program, "core.editor": program, "core.fsmonitor": program,
        "core.askPass": program, "core.gitProxy": program, "core.alternateRefsCommand": program, "diff.external": program,
        "diff.evil.command": program, "diff.evil.textconv": program, "merge.evil.driver": program, "gpg.program": program,
        "commit.gpgSign": "true", "log.showSignature": "true", "credential.helper": f"!{program}", "pager.grep": program,
        "filter.evil.clean": program, "filter.evil.smudge": program, "sequence.editor": program,
        "alias.rev-list": f"!{program}", "alias.status": f"!{program}", "alias.grep": f"!{program}",
        "hook.evil.command": program, "include.path": str(included), "submodule.recurse": "true",
        "uploadpack.packObjectsHook": program, "core.hooksPath": str(folder / ".git/other-hooks"),
    }  # fmt: skip
    for key, value in settings.items():
        git(folder, "config", key, value)
    for event in ("reference-transaction", "post-checkout", "post-index-change"):
        git(folder, "config", "--add", "hook.evil.event", event)
    for place in ("hooks", "other-hooks"):
        for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit", "fsmonitor-watchman"):
            path = folder / ".git" / place / hook
            path.parent.mkdir(exist_ok=True)
            shutil.copy(program, path)
    (folder / ".git/info/attributes").write_text("* diff=evil merge=evil filter=evil\n*.x filter=other\n")


def missing(folder: Path, oid: str) -> None:
    """Take the object away, as a partial clone has it."""
    if (folder / ".git/objects/pack").is_dir():
        for pack in list((folder / ".git/objects/pack").glob("*.pack")):
            moved = folder / pack.name
            pack.rename(moved)
            for left in (folder / ".git/objects/pack").glob(f"{pack.stem}.*"):
                left.unlink()
            with moved.open("rb") as file:
                subprocess.run(["git", "unpack-objects", "-q"], stdin=file, cwd=folder, check=True)
            moved.unlink()
    (folder / ".git/objects" / oid[:2] / oid[2:]).unlink()


# -- nothing runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    ("audit", "commit"), ("audit", "log"), ("audit", "grep", "ann"), ("audit", "restore"),
], ids=lambda words: words[1])  # fmt: skip
@pytest.mark.parametrize("what", ["commit", "tree", "blob"])
def test_a_missing_object_is_not_fetched(
    words: tuple[str, ...], what: str, repo: Path, run: Run, ran: Path, program: str
) -> None:
    """In a promisor remote's repository it is missing, and said to be: ``remote.X.uploadpack`` does not run."""
    store(repo, run)
    name = {"commit": "", "tree": "^{tree}", "blob": ":.mailbox/agents/ann.json"}[what]
    missing(repo, git(repo, "rev-parse", f"refs/mbox/audit{name}"))
    url = repo.parent / "other"
    git(repo.parent, "clone", "--quiet", "--bare", "--no-local", "--single-branch", str(repo), str(url))
    for key, value in {"remote.o.url": str(url), "remote.o.promisor": "true", "remote.o.uploadpack": program,
                       "extensions.partialClone": "o", "core.repositoryFormatVersion": "1",
                       "protocol.allow": "always", "protocol.file.allow": "always"}.items():  # fmt: skip
        git(repo, "config", key, value)
    if words[1] == "restore":
        for folder in (".mailbox", ".tasks"):
            shutil.rmtree(repo / folder)
    done = run("mbox", *words, cwd=repo)
    assert not ran.exists()
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 6)


def test_no_command_runs_what_the_repository_names(repo: Path, run: Run, ran: Path, program: str, home: Path) -> None:
    """Audit, restore, staged paths and lockable ones, with every program that a configuration can name."""
    store(repo, run)
    arm(repo, program)
    (repo / "README.md").write_text("changed\n")
    (repo / ".gitattributes").write_text("* lockable diff=evil filter=evil\n")
    staged.staged(str(repo), [], str(repo))
    for words in (
        ("audit", "commit"), ("audit", "log"), ("audit", "grep", "ann"), ("audit", "grep", "--history", "ann"), ("status",),
    ):  # fmt: skip
        assert run("mbox", *words, cwd=repo).returncode == 0
    assert run("reserve", "check", "--staged", cwd=repo).returncode == 0
    assert "lockable" in run("reserve", "add", "README.md", "--as", "ann", cwd=repo, check=True).stderr
    for folder in (".mailbox", ".tasks"):
        shutil.rmtree(repo / folder)
    assert run("mbox", "audit", "restore", cwd=repo).returncode == 0
    assert not ran.exists(), ran.read_text()


def test_a_members_tree_runs_nothing_of_the_repositorys(repo: Path, ran: Path, program: str, home: Path) -> None:
    """Made, looked at and removed: no hook, no filter, no monitor that the repository's own files name."""
    (repo / "a.x").write_text("x\n")
    git(repo, "add", "a.x")
    git(repo, "commit", "--quiet", "-m", "more")
    arm(repo, program)
    tree = worktrees.ensure(str(repo), "blue", "w")
    assert (Path(tree.path) / "a.x").read_text() == "x\n"
    os.utime(f"{tree.path}/README.md", (1, 1))
    assert worktrees.unfinished(str(repo), tree.path) == ""
    assert worktrees.remove(str(repo), tree.path, tree.branch) == ""
    assert not ran.exists(), ran.read_text()


@pytest.mark.parametrize("where", ["includeIf.gitdir:**/worktrees/**.path", "includeIf.onbranch:mbox/**.path", "config.worktree"])
def test_what_a_configuration_says_in_a_members_tree_alone_does_not_run(
    repo: Path, ran: Path, program: str, home: Path, where: str
) -> None:
    """A condition that holds in the new tree, or on its branch, or a file that is the tree's own: made, looked at, removed."""
    evil = repo / ".git/evil"
    evil.write_text(f'[filter "evil"]\n\tclean = {program} clean\n\tsmudge = {program} smudge\n')
    (repo / ".gitattributes").write_text("* filter=evil\n")
    (repo / "a.txt").write_text("x\n")
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "-m", "attributes")
    if where != "config.worktree":
        git(repo, "config", where, str(evil))
    tree = worktrees.ensure(str(repo), "blue", "w")
    assert (Path(tree.path) / "a.txt").read_text() == "x\n"
    if where == "config.worktree":
        git(repo, "config", "extensions.worktreeConfig", "true")
        shutil.copy(evil, repo / ".git/worktrees/blue-w/config.worktree")
    os.utime(f"{tree.path}/a.txt", (1, 1))
    assert worktrees.unfinished(str(repo), tree.path) == ""
    os.utime(f"{tree.path}/a.txt", (2, 2))
    assert worktrees.remove(str(repo), tree.path, tree.branch) == ""
    assert not os.path.lexists(tree.path)
    assert not ran.exists(), ran.read_text()


def test_a_tree_that_was_made_and_not_filled_is_filled(repo: Path) -> None:
    """Whoever made it died before the checkout: it has no index, and the next one goes on."""
    place = worktrees.place(str(repo), "blue", "w")
    git(repo, "worktree", "add", "--quiet", "--no-checkout", "-b", "mbox/blue/w", place)
    assert not (Path(place) / "README.md").exists()
    assert worktrees.ensure(str(repo), "blue", "w") == (place, "mbox/blue/w", False)
    assert (Path(place) / "README.md").read_text() == "# Scratch\n"
    (Path(place) / "README.md").unlink()
    worktrees.ensure(str(repo), "blue", "w")
    assert not (Path(place) / "README.md").exists(), "what its agent removed stays so"


def test_a_persons_own_filter_runs_in_a_members_tree(repo: Path, ran: Path, program: str, home: Path) -> None:
    """As with git-lfs: the driver stands in ``~/.gitconfig``, the repository only names it, or repeats it."""
    (repo / ".gitattributes").write_text("*.big filter=lfs\n")
    (repo / "a.big").write_text("pointer\n")
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "-m", "big")
    git(home, "config", "--global", "filter.lfs.smudge", "sed s/pointer/content/")
    git(home, "config", "--global", "filter.lfs.clean", "sed s/content/pointer/")
    git(home, "config", "--global", "filter.lfs.required", "true")
    git(repo, "config", "filter.lfs.smudge", program)
    git(repo, "config", "filter.lfs.clean", program)
    tree = worktrees.ensure(str(repo), "blue", "w")
    assert (Path(tree.path) / "a.big").read_text() == "content\n"
    os.utime(f"{tree.path}/a.big", (1, 1))
    assert worktrees.unfinished(str(repo), tree.path) == ""
    assert worktrees.remove(str(repo), tree.path, tree.branch) == ""
    assert not ran.exists()


def test_a_filter_that_only_the_repository_has_and_requires_is_named(repo: Path, ran: Path, program: str, home: Path) -> None:
    """No tree with half its files: the mistake says which filter, and where a person can give it."""
    (repo / ".gitattributes").write_text("*.key filter=crypt\n")
    (repo / "a.key").write_text("x\n")
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "-m", "key")
    git(repo, "config", "filter.crypt.smudge", program)
    git(repo, "config", "filter.crypt.required", "true")
    with pytest.raises(StoreError, match=r"git config --global filter\.crypt\.smudge"):
        worktrees.ensure(str(repo), "blue", "w")
    assert not ran.exists()
    assert not os.path.lexists(worktrees.place(str(repo), "blue", "w"))


def test_a_git_beside_the_caller_is_not_the_program(repo: Path, run: Run, ran: Path, program: str) -> None:
    """A relative entry of PATH names a folder of the repository."""
    store(repo, run)
    shutil.copy(program, repo / "git")
    path = f".:{os.environ['PATH']}"
    assert run("mbox", "audit", "commit", cwd=repo, env={"PATH": path}).returncode == 0
    assert not ran.exists()


def test_only_one_module_starts_git() -> None:
    """The word ``git`` by itself, or at the head of a line of a shell's, stands in ``git/plumbing.py`` alone.

    It is also a word of the language of workflows, and of hooks: there it stands where no program is named
    (`names_a_program`).  But for `hooks/gitlook`, which starts it with what plumbing says (decision 44).
    """
    found = set()
    for path in (CHECKOUT / "mailbox/mbox").rglob("*.py"):
        where = path.relative_to(CHECKOUT / "mailbox/mbox").as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if where in ("hooks/hook.py", "hooks/rules.py", "cli/hooks.py"):
            continue  # the host called git, and words of lines that others run: nothing is started there
        if where.partition("/")[0] in ("workflow", "engine", "hooks") or where == "report/plans.py":
            found.update(where for node in ast.walk(tree) if names_a_program(node))
        elif any(is_git(node) for node in ast.walk(tree)):
            found.add(where)
    assert found == {"git/plumbing.py", "hooks/gitlook.py"}
    assert names_a_program(ast.parse('run(["git", "push"])').body[0].value.args[0])  # type: ignore[attr-defined]


def is_git(node: ast.AST) -> bool:
    """Whether it is the word by itself."""
    return isinstance(node, ast.Constant) and node.value in ("git", b"git", "/git", "/usr/bin/git")


def names_a_program(node: ast.AST) -> bool:
    """Whether the word stands at the head of a list or tuple, as a command line has it, or is handed to a call."""
    first = node.elts[:1] if isinstance(node, ast.List | ast.Tuple) else node.args[:1] if isinstance(node, ast.Call) else []
    return any(is_git(one) for one in first)


# -- whose it is -----------------------------------------------------------------------------------------------------


def stranger(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Let ``paths`` belong to somebody else."""
    theirs = {str(path) for path in paths}
    owner = repository.owner

    def told(path: str) -> int | None:
        return 4711 if path in theirs else owner(path)

    monkeypatch.setattr(repository, "owner", told)


OWNED = [".", ".git", ".git/config", ".git/objects", ".git/refs", ".git/objects/info/alternates"]


@pytest.mark.parametrize("name", OWNED)
def test_another_users_repository_is_not_used(
    name: str, repo: Path, monkeypatch: pytest.MonkeyPatch, home: Path, run: Run
) -> None:
    """Neither the folder nor what git reads in it; what the person's own safe.directory names goes on working."""
    (repo / ".git/objects/info/alternates").write_text("/nowhere\n")
    stranger(monkeypatch, repo / name)
    git(repo, "config", "safe.directory", "*")
    for _ in range(2):
        with pytest.raises(Refused, match=r"another user \(uid 4711\).*safe\.directory"):
            plumbing.Git.around(str(repo))
    git(home, "config", "--global", "safe.directory", str(repo))
    assert plumbing.Git.around(str(repo)).ref("refs/heads/main")
    git(home, "config", "--global", "--add", "safe.directory", "")
    with pytest.raises(Refused):
        plumbing.Git.around(str(repo))


@pytest.mark.parametrize("said", ["*", "{}", "{}/../repo", "{parent}/*"])
def test_what_safe_directory_may_say(said: str, repo: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """All, this one, or all below a folder, as git reads it."""
    stranger(monkeypatch, repo)
    git(home, "config", "--global", "safe.directory", said.replace("{parent}", str(repo.parent)).replace("{}", str(repo)))
    assert plumbing.Git.around(str(repo)).ref("refs/heads/main")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_real_owners_are_seen(repo: Path, run: Run, home: Path) -> None:
    """A repository of another user's, with a store of one's own beside: said, exit 2, by every audit command."""
    store(repo, run)
    os.chown(repo / ".git", 12345, 12345)
    for words in (("commit",), ("log",), ("grep", "x")):
        done = run("mbox", "audit", *words, cwd=repo, env={"HOME": str(home)})
        assert (done.returncode, "uid 12345" in done.stderr) == (2, True)
        assert len(done.stderr.splitlines()) == 1
    assert run("reserve", "check", "--staged", cwd=repo, env={"HOME": str(home)}).returncode == 2
    assert run("mbox", "audit", "commit", cwd=repo, env={"HOME": str(home), "SUDO_UID": "12345"}).returncode == 0


def test_init_does_not_go_under_somebody_elses_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """As in /tmp with a ``.git`` of a stranger's: it is said, and ``--here`` makes the root in this folder."""
    git(tmp_path, "init", "--quiet", "shared")
    shared = tmp_path / "shared"
    mine = shared / "mine"
    mine.mkdir()
    stranger(monkeypatch, shared / ".git")
    with pytest.raises(Refused, match=r"uid 4711\).*--here.*safe\.directory"):
        placement.init_place(str(mine), False)
    assert placement.init_place(str(mine), True) == str(mine)
    before = (shared / ".git/info/exclude").read_bytes()
    told: list[str] = []
    assert placement.exclude(str(mine), Disk(), told.append) == []
    assert (shared / ".git/info/exclude").read_bytes() == before
    assert "uid 4711" in told[0]
    git(home, "config", "--global", "safe.directory", str(shared))
    assert placement.init_place(str(mine), False) == str(shared)


def bare(folder: Path) -> None:
    """A bare repository in ``folder``, as a clone can carry it."""
    git(folder.parent, "init", "--quiet", "--bare", folder.name)
    for name in ("objects", "refs"):
        (folder / name / ".keep").touch()


@pytest.mark.parametrize("where", ["inside", "here"])
def test_a_bare_repository_in_a_work_tree_is_not_used(where: str, repo: Path, run: Run, program: str, ran: Path) -> None:
    """What a clone carries as content may look like a repository: git does not find it, and neither do we."""
    sub = repo / "sub"
    bare(sub)
    git(sub, "config", "core.fsmonitor", program)
    git(sub, "config", "core.bare", "false")
    git(sub, "config", "core.worktree", str(repo))
    place = sub if where == "here" else sub / "in"
    place.mkdir(exist_ok=True)
    before = (sub / "info/exclude").read_bytes()
    assert run("mbox", "init", cwd=place).returncode == 2
    assert run("mbox", "init", "--here", cwd=place).returncode == 0
    run("mbox", "agent", "add", "ann", cwd=place, check=True)
    for words in (("mbox", "audit", "commit"), ("mbox", "audit", "log"), ("reserve", "check", "--staged")):
        done = run(*words, cwd=place)
        assert (done.returncode, "bare repository" in done.stderr) == (2, True), done.stderr
    assert (sub / "info/exclude").read_bytes() == before
    assert git(sub, "for-each-ref") == ""
    assert not ran.exists()


def test_bare_mains_and_submodules_are_used(repo: Path, tmp_path: Path, run: Run, home: Path) -> None:
    """A hub with ``.bare`` (and a ``.git`` that names it) and linked trees; a submodule, a linked tree of it."""
    hub = tmp_path / "hub"
    git(tmp_path, "clone", "--quiet", "--bare", str(repo), str(hub / ".bare"))
    git(hub / ".bare", "worktree", "add", "--quiet", str(hub / "wt"), "main")
    store(hub / "wt", run)
    assert "refs/mbox/audit" in git(hub / ".bare", "for-each-ref")
    (hub / ".git").write_text("gitdir: ./.bare\n")
    assert run("mbox", "audit", "commit", cwd=hub / "wt").returncode == 0
    assert run("reserve", "check", "--staged", cwd=hub / "wt").returncode == 0
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(hub / ".bare"), "lib")
    store(repo / "lib", run)
    assert run("mbox", "init", "--here", cwd=repo / "lib").returncode == 0
    assert run("mbox", "audit", "commit", cwd=repo / "lib").returncode == 0
    assert run("reserve", "check", "--staged", cwd=repo / "lib").returncode == 0


@pytest.mark.parametrize("how", ["file", "link"])
def test_a_git_that_leads_away_is_not_used(how: str, repo: Path, tmp_path: Path, run: Run, home: Path) -> None:
    """A copied folder whose ``.git`` names another repository of the same person's: that one stays as it is."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / ".git").write_text(f"gitdir: {repo}/.git\n") if how == "file" else (copy / ".git").symlink_to(repo / ".git")
    before = (repo / ".git/info/exclude").read_bytes()
    env = {"HOME": str(home)}
    done = run("mbox", "init", cwd=copy, env=env)
    assert (done.returncode, ".git" in done.stderr) == (0, True)
    assert (repo / ".git/info/exclude").read_bytes() == before
    done = run("mbox", "audit", "commit", cwd=copy, env=env)
    assert (done.returncode, "safe.directory" in done.stderr) == (2, True)
    assert "refs/mbox" not in git(repo, "for-each-ref")
    git(home, "config", "--global", "safe.directory", str(copy))
    assert run("mbox", "audit", "commit", cwd=copy, env=env).returncode == 0


@pytest.mark.parametrize("name", ["info", "info/exclude"])
def test_where_git_keeps_what_it_ignores_no_link_is_followed(name: str, repo: Path, tmp_path: Path, run: Run) -> None:
    """``.git/info``, or the file in it, as a symlink: what it names stays as it is, and that is said."""
    victim = tmp_path / "victim"
    path = repo / ".git" / name
    if name == "info":
        shutil.rmtree(path)
        victim.mkdir()
        (victim / "exclude").write_text("mine\n")
    else:
        path.unlink()
        victim.write_text("mine\n")
    path.symlink_to(victim)
    done = run("mbox", "init", cwd=repo, check=True)
    file = victim / "exclude" if name == "info" else victim
    assert file.read_text() == "mine\n"
    assert f".git/{name}" in done.stderr and ".mailbox/" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["objects/pack", "refs/mbox", "logs", "refs/mbox/audit", "logs/refs/mbox/audit"])
def test_what_git_writes_for_us_goes_through_no_link(name: str, repo: Path, tmp_path: Path, run: Run, home: Path) -> None:
    """A link on the way of an object, the ref or its log leads nowhere."""
    run("mbox", "init", cwd=repo, check=True)
    run("mbox", "agent", "add", "ann", cwd=repo, check=True)
    victim = tmp_path / "victim"
    path = repo / ".git" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not name.endswith("audit"):
        victim.mkdir()
    path.symlink_to(victim)
    done = run("mbox", "audit", "commit", cwd=repo, env={"HOME": str(home)})
    assert (done.returncode, "symlink" in done.stderr) == (2, True)
    assert not victim.exists() or list(victim.iterdir()) == []


# -- what hangs ------------------------------------------------------------------------------------------------------


PIPES = [".git", ".git/HEAD", ".git/config", ".git/packed-refs", ".git/index", ".git/info/attributes", ".git/info/exclude",
         ".git/refs/mbox/audit", ".git/commondir", ".git/objects/info/alternates", ".gitattributes", "included"]  # fmt: skip


@pytest.mark.parametrize("line", ["../../art", '"../../\\141rt"', "../../first"])
@pytest.mark.parametrize("name", ["info/alternates", f"pack/pack-{'1' * 40}.idx"])
def test_a_pipe_where_objects_are_borrowed_hangs_nothing(line: str, name: str, repo: Path, run: Run) -> None:
    """A FIFO in a folder of the work tree that ``alternates`` lead to, at once or by way of another."""
    store(repo, run)
    (repo / "first/info").mkdir(parents=True)
    (repo / "first/info/alternates").write_text("../art\n")
    path = repo / "art" / name
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    (repo / ".git/objects/info").mkdir(exist_ok=True)
    (repo / ".git/objects/info/alternates").write_text(f"# art\n{line}\n")
    for words in (("mbox", "audit", "commit"), ("reserve", "check", "--staged")):
        done = run(*words, cwd=repo, timeout=15)
        assert done.returncode == 6
        assert "is no plain file" in done.stderr


def test_a_list_of_borrowed_folders_has_a_length(repo: Path, run: Run) -> None:
    """Millions of empty lines are not read into memory: one line, and the file is named."""
    store(repo, run)
    (repo / ".git/objects/info").mkdir(exist_ok=True)
    (repo / ".git/objects/info/alternates").write_bytes(b"\n" * (30 << 20))
    done = run("mbox", "audit", "commit", cwd=repo, timeout=15)
    assert done.returncode == 6 and "alternates has more than" in done.stderr


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_the_repository_hangs_nothing(name: str, repo: Path, run: Run) -> None:
    """A FIFO nobody writes to, in any place that git or we read: one line at most, soon."""
    store(repo, run)
    path = repo / name
    if name == "included":
        git(repo, "config", "include.path", str(path))
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    (repo / "art").write_text("x")
    for words in (("mbox", "audit", "commit"), ("mbox", "audit", "log"), ("reserve", "check", "--staged"),
                  ("reserve", "add", "art", "--as", "ann"), ("mbox", "init"), ("mbox", "status")):  # fmt: skip
        done = run(*words, cwd=repo, timeout=15)
        assert done.returncode in (0, 1, 2, 6)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["commondir", "config", "refs/mbox/audit", "objects/info/alternates"])
def test_a_file_as_long_as_a_disk_fills_no_memory(name: str, repo: Path, run: Run) -> None:
    """What git reads whole is looked at first: one line that names the file, and git does not begin."""
    store(repo, run)
    path = repo / ".git" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, 1 << 33)
    for words in (("mbox", "audit", "commit"), ("mbox", "audit", "log"), ("reserve", "check", "--staged")):
        program = Path(sys.executable).parent / words[0]
        done = run("bash", "-c", 'ulimit -v 600000; exec "$@"', "bash", program, *words[1:], cwd=repo)
        assert done.returncode in (2, 6) and str(path) in done.stderr and "move it away" in done.stderr, done


@pytest.mark.parametrize("text", ["gitdir: a\0b\n", "gitdir: .git/x\n", "gitdir: \n", "gitdir: /dev/null\n"])
def test_a_git_file_that_names_nothing_is_no_repository(text: str, tmp_path: Path, run: Run) -> None:
    """With a NUL, with itself, with nothing or a device: no traceback, and the store works."""
    (tmp_path / ".git").write_text(text)
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    assert run("mbox", "status", cwd=tmp_path).returncode == 0
    for words in (("mbox", "audit", "commit"), ("reserve", "check", "--staged")):
        done = run(*words, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) in ((2, 1), (6, 1)), done.stderr


def test_trees_are_refused_where_the_repository_is_not_ones_own(
    repo: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A member's tree is made from one's own repository only."""
    stranger(monkeypatch, repo / ".git")
    with pytest.raises(MboxError, match="uid 4711"):
        worktrees.ensure(str(repo), "blue", "w")


def test_what_git_calls_dubious_is_told_in_one_line() -> None:
    """Where git itself refuses a repository of another's: whose it is, and the command that says that it is trusted."""
    said = (
        b"warning: x\nfatal: detected dubious ownership in repository at '/home/o x/r'\n"
        b"To add an exception for this directory, call:\n\n\tgit config --global --add safe.directory '/home/o x/r'\n"
    )
    assert str(plumbing.failed("log", said)) == (
        "git log: /home/o x/r belongs to another user; if you trust it: "
        "`git config --global --add safe.directory '/home/o x/r'`; nothing was changed"
    )
