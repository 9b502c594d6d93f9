"""The Tab key in real shells: what lies in the store under odd file names never becomes words of the command line."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import Run
from teamkit import BIN, readable

HOSTILE = (
    "t9;touch ran;#", "t9$(touch ran)", "t9`touch ran`", "t9|touch ran", "t9&touch ran", "t9\nplain,t9-evil", "t9 x", "t9'x",
    't9"x', "t9*", "t9>ran", "t9,x", "t9\\;touch ran", "-t9", "T9", "t9\x1b[2J", "t9\u202ex", "t9:x", "t9{a,b}",
)  # fmt: skip
"""Names of files as a clone can bring them."""

PLACES = (".tasks", ".mailbox/agents", ".mailbox/team", ".mailbox/deadletter", ".mailbox/reservations", ".mailbox/inbox/ann/new")

LINES = ("task show t9", "task claim t9", "mbox agent show t9", "team status t9", "mbox deadletter show t9",
         "reserve show t9", "mbox --as ann show t9", "mbox send t9", "mbox log --task t9")  # fmt: skip

START: dict[str, tuple[list[str], str]] = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'PS1="READY> "; bind "set enable-bracketed-paste off"'),
    "zsh": (["zsh", "-f", "-i"], "PS1='READY> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D"),
    "fish": (["fish", "--no-config", "-i"], "function fish_prompt; echo 'READY> '; end; set -g fish_autosuggestion_enabled 0"),
}
"""How each shell is started without anybody's settings."""


@pytest.fixture
def root(repo: Path, run: Run) -> Path:
    """A store with one task whose name is a name, and with hostile files in every folder of documents."""
    run("mbox", "init", cwd=repo, check=True)
    run("mbox", "agent", "add", "ann", cwd=repo, check=True)
    run("task", "add", "The right one", "--id", "t9-good", cwd=repo, check=True)
    for place in PLACES:
        (repo / place).mkdir(parents=True, exist_ok=True)
        for name in HOSTILE:
            (repo / place / f"{name.replace('/', '_')}.json").write_text("{}")
    return repo


def needed(shell: str) -> None:
    """Skip where the shell is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its completion is not tried")


class Terminal:
    """A shell at a terminal: what is typed, and what it shows."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen = ""

    def type(self, text: str) -> None:
        """Type, as a person would."""
        os.write(self.fd, text.encode())

    def shows(self, pattern: str, seconds: float = 30) -> None:
        """Return when the screen has shown ``pattern`` since the last one that was waited for."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            assert left > 0 and readable(self.fd, left), f"{pattern} is not shown, but {self.seen!r}"
            more = os.read(self.fd, 65536).decode(errors="replace")
            self.seen += more
            if "\x1b[c" in more or "\x1b[0c" in more:  # fish asks what terminal this is
                self.type("\x1b[?62c")
        self.seen = self.seen[found.end() :]


@contextmanager
def terminal(shell: str, cwd: Path, path: str, programs: list[str]) -> Iterator[Terminal]:
    """The shell in ``cwd`` with the completion of ``programs``."""
    words, settings = START[shell]
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(words[0], words, {**os.environ, "PATH": path, "TERM": "xterm"})
    try:
        at = Terminal(fd)
        source = "mbox completion fish | source" if shell == "fish" else f'eval "$({programs[0]} completion {shell})"'
        at.type(f"{settings}; {source}; echo se''t\n")
        at.shows(r"[\r\n]set\r?\n")
        yield at
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(fd)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("shell", list(START))
def test_tab_and_enter_in_a_real_shell(shell: str, root: Path) -> None:
    """Among all those files only the one whose name is a name is completed; Enter then shows it, and nothing ran."""
    needed(shell)
    with terminal(shell, root, f"{BIN}:{os.environ['PATH']}", ["mbox"]) as at:
        at.type("task show t9\t")
        at.shows("t9-?good|-good")
        at.type("\n")
        at.shows("The right one")
        for line in LINES[2:6]:
            at.type(f"{line}\t\n")
            at.shows(r"(?i)\b(exit|no |not )")
    assert not (root / "ran").exists()


def test_what_is_offered_are_names(root: Path, run: Run) -> None:
    """For every command that takes a name, in the form of every shell."""
    for line in LINES:
        program = line.split()[0]
        for shell in START:
            count = str(len(line.split()) - 1) if shell != "fish" else line.split()[-1]
            env = {f"_{program.upper()}_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": count}
            done = run(program, cwd=root, env=env, check=True).stdout
            assert done.strip() in ("", "plain,t9-good", "plain\nt9-good\n_"), (line, shell, done)


@pytest.mark.parametrize("shell", list(START))
def test_the_script_quotes_what_it_inserts(shell: str, root: Path, run: Run, tmp_path: Path) -> None:
    """Were a word of the shell offered all the same, it is one word on the command line, and one argument."""
    needed(shell)
    folder = tmp_path / "bin"
    folder.mkdir()
    answer = "plain\\nx;touch ran;#\\n_\\n" if shell == "zsh" else "plain,x;touch ran;#\\n"
    own = folder / "task"
    own.write_text(f"#!/bin/sh\n[ -z \"$_TASK_COMPLETE\" ] || {{ printf '{answer}'; exit; }}\nfor a; do echo \"<$a>\"; done\n")
    own.chmod(0o755)
    with terminal(shell, root, f"{folder}:{BIN}:{os.environ['PATH']}", ["mbox"]) as at:
        at.type("task show x\t")
        at.shows("touch")
        at.type("\n")
        at.shows("<x;touch ran;#>")
    assert not (root / "ran").exists()


def test_tab_runs_no_program_of_the_repository(root: Path) -> None:
    """`./task` is somebody's file until Enter: Tab asks the program that the PATH finds."""
    needed("bash")
    own = root / "task"
    own.write_text("#!/bin/sh\ntouch ran\n")
    own.chmod(0o755)
    with terminal("bash", root, f"{BIN}:{os.environ['PATH']}", ["mbox"]) as at:
        at.type("./task show t9\t")
        at.shows("-good")
    assert not (root / "ran").exists()
