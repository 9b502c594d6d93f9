"""The world around a root: what must not change, and what must not run, whatever stands in the root.

    world/home/          HOME, with ~/.ssh/authorized_keys
    world/sibling/       somebody else's folder beside the root
    world/bin/           the whole PATH: git, bash, true, sleep, an idle tmux, and canaries under other programs' names
    world/tmp/           TMPDIR
    world/ran/           every program that runs and should not leaves its name here
    world/repo/          the root: a repository with a store in it, spoiled anew for every call

The store that every entry starts from is made once, by the commands themselves.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mbox.format import places
from mbox.store import mark

SECRET = "ssh-ed25519 AAAA-the-key-of-the-victim\n"

FINE = ("/dev/null", "/dev/tty", "/dev/ptmx")
"""What anybody may write to."""

CANARIES = (
    *("sh", "ssh", "scp", "gpg", "gpgv", "vi", "vim", "nano", "editor", "pager", "less", "more", "man", "dot"),
    *("curl", "wget", "nc", "python", "python3", "perl", "touch", "claude", "codex", "gemini", "bwrap"),
    *("git-upload-pack", "git-receive-pack", "git-remote-ext", "git-remote-evil", "git-lfs", "git-credential-evil"),
)
"""Programs that no command starts because of what stands in a repository."""

TMUX = """#!/bin/sh
case "$*" in *{mark}*) echo tmux >>{ran}/tmux; esac
case "$*" in *-V*) echo 'tmux 3.4'; exit 0; esac
echo 'no server running on a socket' >&2
exit 1
"""


class World:
    """One such folder; see the head of the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "repo"
        self.home = folder / "home"
        self.sibling = folder / "sibling"
        self.bin = folder / "bin"
        self.tmp = folder / "tmp"
        self.ran = folder / "ran"
        self.watched = (self.home, self.sibling, self.bin, self.tmp, self.ran)
        self.template = folder / "template"
        self.keys = self.home / ".ssh/authorized_keys"
        self.state = self.home / ".local/state/mbox"
        self.trees = folder / "repo.worktrees"
        self._before: dict[str, tuple[int, ...]] = {}

    @property
    def evil(self) -> str:
        """A command line that nobody may run: it leaves a mark."""
        return f"{shutil.which('touch')} {self.ran}/evil"

    def build(self) -> None:
        """Everything but the root and its template."""
        for path in (self.home / ".ssh", self.state.parent, self.sibling / "sub", self.bin, self.tmp, self.ran):
            path.mkdir(parents=True)
        self.keys.write_text(SECRET)
        (self.home / ".profile").write_text("# mine\n")
        (self.home / ".gitconfig").write_text("[user]\n\tname = Vic\n\temail = vic@example.org\n")
        (self.sibling / "precious.json").write_text('{"precious": true}\n')
        for name in CANARIES:
            self._program(name, f"#!/bin/sh\necho \"$0 $*\" >>{self.ran}/{name}\n")
        self._program("tmux", TMUX.format(mark=self.ran, ran=self.ran))
        for name in ("git", "bash", "true", "sleep"):
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        self.picture()

    def _program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """The whole environment of a call."""
        return {
            "HOME": str(self.home), "PATH": str(self.bin), "TMPDIR": str(self.tmp), "LC_ALL": "C.UTF-8", "TERM": "dumb",
            "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1", "SHELL": "/bin/sh", "USER": "vic",
        }  # fmt: skip

    def typed(self, words: Sequence[str]) -> list[Path]:
        """Folders outside the root that the command ``words`` may write to, as a person asks for just that.

        What this store may start by itself is remembered at home, gates too; working trees of members stand beside the
        repository; hooks have their launcher and their log at home.
        """
        if words[:2] in (["mbox", "hooks"], ["mbox", "hook"]):
            return [self.state, self.home / ".local/share", self.ran]
        gates = words[:2] in (["task", "add"], ["task", "import"], ["mbox", "config"])
        asked = words[:2] == ["mbox", "trust"] or words[:1] == ["team"] or gates
        return [self.state, self.trees] if asked else []

    # -- the root ----------------------------------------------------------------------------------------------------

    def lay(self, spoil: Callable[[World], object], cloned: bool) -> None:
        """Make the root anew and spoil it; ``cloned``: as git, tar or a stick would bring it, without what is ephemeral."""
        for path in (self.root, self.state, self.trees, self.home / ".local/share", *self.ran.iterdir()):
            remove(path)
        shutil.copytree(self.template, self.root, symlinks=True)
        if cloned:
            for path in places.EPHEMERAL:
                if path != "logs/":
                    remove(self.root / places.MAILBOX / path.rstrip("/"))
            remove(self.root / places.TASK_LEASES)
        else:
            self._own()
        spoil(self)

    def _own(self) -> None:
        """Let the copied store be this machine's: its mark names its lock file."""
        path = self.root / places.LOCK
        data = path.read_bytes()
        found = mark.of(mark.parsed(data[: mark.SIZE]) or {})
        assert found is not None
        line = found._replace(inode=path.stat().st_ino).line()
        path.write_bytes(line + data[mark.SIZE :])

    # -- what must not change ----------------------------------------------------------------------------------------

    def picture(self) -> None:
        """Remember how everything around the root looks."""
        self._before = dict(self._looks())

    def changes(self, words: Sequence[str]) -> list[str]:
        """What has changed since then, and what ran, but for what the command ``words`` may write to."""
        now = dict(self._looks())
        fine = tuple(str(path.relative_to(self.folder)) for path in (self.root, *self.typed(words)))
        return [
            f"{'made' if name not in self._before else 'removed' if name not in now else 'changed'} {name}"
            for name in sorted(self._before.keys() | now.keys())
            if self._before.get(name) != now.get(name) and not f"{name}/".startswith(tuple(f"{path}/" for path in fine))
        ]

    def restore(self) -> None:
        """Put everything around the root back."""
        for path in self.watched:
            remove(path)
        self.build()

    def _looks(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for path in self.folder.iterdir():
            yield from self._look(path) if path in self.watched else [(path.name, ())]

    def _look(self, path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
        state = path.lstat()
        folder = stat.S_ISDIR(state.st_mode)
        inside = () if folder else (state.st_size, state.st_mtime_ns)
        yield str(path.relative_to(self.folder)), (state.st_mode, state.st_uid, state.st_ino, *inside)
        for one in path.iterdir() if folder else ():
            yield from self._look(one)


def remove(path: Path) -> None:
    """Remove whatever stands at ``path``, whatever its modes are."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(0o700)
    for folder, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(f"{folder}/{name}"):
                os.chmod(f"{folder}/{name}", 0o700)
    shutil.rmtree(path)
