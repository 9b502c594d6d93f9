"""Console blocks of the pages: read, run for real in a shell for each agent, compared, and written anew.

In a ```` ```console ```` block a line ``ann$ COMMAND`` is typed by ann, a line ``$ COMMAND`` by whoever sets things up.
What follows, up to the next such line, is what the command prints (stdout and stderr), with ``(exit N)`` where that is
not 0.  ``COMMAND &`` goes on in the background, and ``wait`` prints what it printed.

``python tests/transcript.py docs/jobs.md`` (or README.md) runs a page and writes what came out into it.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from teamkit import until

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
PROMPT = re.compile(r"^([a-z]*)\$ (.*)$")
AGO = re.compile(r"\d+s ago")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
A_TIME = "2026-01-02T03:04:05.678Z"
A_ROOT = "/home/you/project"


class Step(NamedTuple):
    """A command, who types it, and what the page says that it prints."""

    who: str
    command: str
    shown: str


def steps(block: str) -> list[Step]:
    """The steps of a block's text."""
    found: list[Step] = []
    for line in block.splitlines(keepends=True):
        typed = PROMPT.match(line.rstrip("\n"))
        if typed:
            found.append(Step(typed[1], typed[2], ""))
        else:
            found[-1] = found[-1]._replace(shown=found[-1].shown + line)
    return found


def normal(text: str, root: Path) -> str:
    """``text`` with every time and the root's path as a page writes them."""
    return AGO.sub("1s ago", TIME.sub(A_TIME, text.replace(str(root), A_ROOT)))


class Shells:
    """One bash for each agent, in the same folder; a context manager."""

    def __init__(self, root: Path, terminal: bool = False) -> None:
        self.root, self.terminal = root, terminal
        self._shells: dict[str, Shell] = {}

    def __call__(self, step: Step) -> str:
        """Run a step; what it printed."""
        if step.who not in self._shells:
            env = {"MBOX_AGENT": step.who} if step.who and not self.terminal else {}
            self._shells[step.who] = Shell(self.root, env, self.terminal)
        return normal(self._shells[step.who].call(step.command), self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for shell in self._shells.values():
            shell.close()


class Shell:
    """A bash that is given one command after the other."""

    END = re.compile(rb"\x01(\d+)\x01\r?\n")

    def __init__(self, root: Path, env: Mapping[str, str], terminal: bool) -> None:
        own, its = pty.openpty() if terminal else os.pipe()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._out = own
        self._later = tempfile.NamedTemporaryFile("r")  # noqa: SIM115
        self._bash = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, stdout=its, stderr=its, cwd=root, start_new_session=True,
            env={**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1", **env},
        )  # fmt: skip
        os.close(its)
        self._rest = b""

    def call(self, command: str) -> str:
        """What ``command`` printed, and its status if that is not 0."""
        assert self._bash.stdin is not None
        if command.endswith(" &"):
            command = f"{{ {command[:-2]}; }} >{self._later.name} 2>&1 &"
        elif command == "wait":
            command = f"wait $!; (exit_status=$?; cat {self._later.name}; exit $exit_status)"
        self._bash.stdin.write(f"{command}\nprintf '\\001%s\\001\\n' $? </dev/null\n".encode())
        self._bash.stdin.flush()
        while not (end := self.END.search(self._rest)):
            data = os.read(self._out, 65536)
            if not data:
                raise AssertionError(f"the shell ended in {command!r}: {self._rest!r}")
            self._rest += data
        if command.endswith("&"):
            self._begun()
        printed, self._rest = self._rest[: end.start()], self._rest[end.end() :]
        text = printed.decode().replace("\r\n", "\n")
        return text if end[1] == b"0" else f"{text}(exit {int(end[1])})\n"

    def _begun(self) -> None:
        """Return when what goes on in the background has said that it waits."""
        until(lambda: os.path.getsize(self._later.name), "it says nothing", 60, Path(self._later.name))

    def close(self) -> None:
        """End it."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(10)
        except subprocess.TimeoutExpired:
            self._bash.kill()
        os.close(self._out)
        self._later.close()


def rewritten(text: str, run: Callable[[int, list[Step]], list[str]]) -> str:
    """``text`` with what each step of each block really prints: ``run`` runs the block of that number."""
    count = iter(range(1_000_000))

    def again(match: re.Match[str]) -> str:
        block = steps(match[1])
        printed = run(next(count), block)
        typed = [f"{step.who}$ {step.command}\n{out}" for step, out in zip(block, printed, strict=True)]
        return f"```console\n{''.join(typed)}```"

    return BLOCK.sub(again, text)


def fresh(folder: Path) -> Path:
    """A repository in ``folder`` such as the pages begin in."""
    root = folder / "project"
    (root / "src").mkdir(parents=True)
    (root / "src/parse.py").write_text("x = 1\n", encoding="utf-8")
    who = ["-c", "user.name=You", "-c", "user.email=you@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def page(path: Path, folder: Path) -> str:
    """The text of a page with what its blocks really print now.

    README.md is one session on two terminals; of other pages the first block sets up each of the others.
    """
    text = path.read_text(encoding="utf-8")
    first = steps(BLOCK.findall(text)[0])

    def run(number: int, block: list[Step]) -> list[str]:
        with Shells(fresh(folder / str(number)), terminal=path.name == "README.md") as shells:
            if number:
                for step in first:
                    shells(step)
            return [shells(step) for step in block]

    return counted(rewritten(text, run))


COUNT = re.compile(r"\d+ commands?, [\d,]+ bytes")


def counted(text: str) -> str:
    """``text`` with each job's ``N commands, M bytes`` as its block has them."""
    parts = re.split(r"^(?=## )", text, flags=re.M)
    return "".join(map(_counted, parts))


def _counted(part: str) -> str:
    blocks = BLOCK.findall(part)
    if not blocks or not COUNT.search(part):
        return part
    found = [step for block in blocks for step in steps(block)]
    size = sum(len(step.shown.encode()) for step in found)
    return COUNT.sub(f"{len(found)} commands, {size:,} bytes", part, count=1)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            made = page(Path(name), Path(scratch))
        Path(name).write_text(made, encoding="utf-8")
