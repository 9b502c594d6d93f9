"""Every command of the tree over every entry of the corpus: nothing outside changes, nothing of the repository's runs.

See the head of the package.  In the fast run a seed draws the commands of every entry, so that every command is drawn too;
with ``--long`` it draws `LONG` times as many.  With ``HOSTILE=whole`` in the environment, which takes half an hour, every command
passes over every entry, but for those that put something else at a place: of these, which are three quarters of the corpus,
every command passes over every fourth.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import calls, corpus, guard, made, traced
from hostile.world import World

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc: what a call leaves is not seen here")

SEED = 11

WHOLE = os.environ.get("HOSTILE") == "whole"
"""Whether every command passes over every entry."""

LONG = 6
"""How many times as many commands pass over each entry with ``--long``."""

SHARES = 4
AT_ONCE = 2
"""Guards of one test: while one call waits, another runs."""

MEMORY = Path("/dev/shm")


def words_of(entry: str, at: int, times: int) -> list[tuple[str, ...]]:
    """The commands that pass over the ``at``-th ``entry``: all, every fourth, or ``times`` the next few of a shuffled deck."""
    every = list(calls.ALL)
    if WHOLE:
        return every[at % 4 :: 4] if entry in corpus.PLACES else every
    random.Random(SEED).shuffle(every)
    few = times if entry in corpus.PLACES else 2 * times
    return [every[(at * few + n) % len(every)] for n in range(few)]


def planned(share: int, times: int) -> Iterator[dict[str, Any]]:
    """The calls of one share of the corpus."""
    for at, entry in enumerate(corpus.ENTRIES):
        if at % SHARES != share:
            continue
        dice = random.Random(f"{SEED} {entry}")
        for words in words_of(entry, at, times):
            full = dice.random()
            job = calls.tab(words, dice) if full < 0.15 else calls.call(words, dice, full < 0.6)
            yield {"entry": entry, "cloned": dice.random() < 0.5, **job}


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    """Scratch folders for worlds: in memory where there is some, for a root is laid anew for every call."""
    top = Path(tempfile.mkdtemp(prefix="hostile-", dir=MEMORY)) if os.access(MEMORY, os.W_OK) else tmp_path
    made = [top / str(n) for n in range(AT_ONCE)]
    for folder in made:
        folder.mkdir()
    yield made
    shutil.rmtree(top, ignore_errors=True)


@pytest.mark.timeout(7200 if WHOLE else 1800)
@pytest.mark.parametrize("share", range(SHARES))
def test_every_command_over_every_entry(share: int, folders: list[Path], pytestconfig: pytest.Config) -> None:
    """None writes outside the root, runs, hangs, takes too much, ends in a traceback or with a status of its own."""
    times = LONG if pytestconfig.getoption("--long") else 1

    def work(at: int) -> list[str]:
        with guard.Guard(folders[at]) as one:
            calls.know(one.names)
            return [
                f"{job['entry']}: {' '.join(job['words'])}{' (Tab)' if 'env' in job else ''}: {', '.join(wrong)}"
                for n, job in enumerate(planned(share, times))
                if n % AT_ONCE == at and (wrong := one.call(**job)["wrong"])
            ]

    with ThreadPoolExecutor(AT_ONCE) as workers:
        found = [line for lines in workers.map(work, range(AT_ONCE)) for line in lines]
    assert not found, "\n".join([f"{len(found)} calls", *found[:50]])


def test_the_plan_has_every_command_and_entry() -> None:
    """The fast run, too, leaves no command and no entry out; a new command is in it by being in the tree."""
    calls.know({kind: ["x"] for kind in ("agent", "message", "reservation", "run", "task", "team")})
    jobs = [job for share in range(SHARES) for job in planned(share, 1)]
    assert {job["entry"] for job in jobs} == set(corpus.ENTRIES)
    drawn = {words for at, entry in enumerate(corpus.ENTRIES) for words in words_of(entry, at, 1)}
    assert drawn == set(calls.ALL)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: what SQLite and git do is seen less")
def test_calls_under_strace(folders: list[Path]) -> None:
    """What SQLite, git and everything started opens to write, moves or removes is inside the root."""
    long = WHOLE
    dice = random.Random(SEED)
    entries = cycle(dice.sample(sorted(corpus.OTHERS), len(corpus.OTHERS)))
    commands = sorted(calls.ALL) * 3 if long else dice.sample(sorted(calls.ALL), 12)
    found = []
    with guard.Guard(folders[0]) as one:
        calls.know(one.names)
        for words, entry in zip(commands, entries, strict=False):
            job = calls.call(words, dice, full=True)
            wrong = one.call(entry=entry, cloned=dice.random() < 0.5, traced=True, **job)["wrong"]
            found += [f"{entry}: {' '.join(job['words'])}: {wrong}"] if wrong else []
    assert not found, "\n".join(found)


COMMANDS = st.sampled_from(sorted(calls.ALL))


def test_what_hypothesis_makes(folders: list[Path]) -> None:
    """Documents, journals, names, settings of git and databases that nobody thought of."""
    long = WHOLE
    with guard.Guard(folders[0]) as one:
        calls.know(one.names)

        @settings(max_examples=1500 if long else 40, deadline=None, derandomize=not long, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(entry=made.ANY, words=st.lists(COMMANDS, min_size=2, max_size=2), seed=st.integers(0, 999), cloned=st.booleans())
        def over(entry: made.Entry, words: list[tuple[str, ...]], seed: int, cloned: bool) -> None:
            for command in words:
                job = calls.call(command, random.Random(seed), full=True)
                done = one.call(entry=entry, cloned=cloned, **job)
                assert not done["wrong"], (job["words"], done["wrong"], entry)

        over()


BAD = {
    "opens": "open(world.sibling / 'x', 'w')", "os.remove": "import os; os.remove(world.keys)",
    "os.rename": "import os; os.rename('note.txt', world.home / 'note.txt')",
    "os.chmod": "import os; os.chmod(world.keys, 0o644)", "os.symlink": "import os; os.symlink('x', world.home / 'link')",
    "starts": "import subprocess; subprocess.run(['sh', '-c', 'true'])",
    "made ran/ssh": "import subprocess; subprocess.run(['git', '-c', 'core.sshCommand=ssh', 'ls-remote', 'ssh://x/y'])",
    "removed home/.ssh/authorized_keys": "import sqlite3\nfrom hostile import stores\nstores.hot_journal('search', world)\n"
                                         "sqlite3.connect('.mailbox/cache/search.sqlite').execute('SELECT * FROM meta')",
    "hangs": "import os; os.mkfifo('pipe'); open('pipe')", "takes": "x = bytearray(300_000_000)",
    "signals": "import os; os.kill(os.getppid(), 18)", "ends with": "import os; os._exit(77)",
    "Traceback": "import traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()",
    "connects": "import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError: pass",
    "made sibling/deep": "import os; os.open('deep', os.O_WRONLY | os.O_CREAT, dir_fd=os.open(world.sibling, os.O_RDONLY))",
}  # fmt: skip
"""What must not be, and a call that does it."""


def test_the_guard_sees(folders: list[Path]) -> None:
    """Each thing that must not be is seen, and one that is fine is not."""
    with guard.Guard(folders[0]) as one:
        assert one.call(entry="plain", words=["mbox", "status"])["wrong"] == []
        for what, code in BAD.items():
            wrong = one.call(entry="plain", code=code)["wrong"]
            assert any(line.startswith(what) for line in wrong), (what, wrong)
        assert one.call(entry="plain", words=["mbox", "status"])["wrong"] == []


LINES = {
    'unlink("/w/home/.ssh/authorized_keys") = 0': "unlink /w/home/.ssh/authorized_keys",
    '7 openat(AT_FDCWD</w/repo>, "../sibling/x", O_WRONLY|O_CREAT, 0666) = 3</w/sibling/x>': "openat /w/sibling/x",
    'openat(AT_FDCWD</w/repo>, "/w/sibling/x", O_RDONLY) = 3</w/sibling/x>': "",
    'renameat(4</w/repo/.mailbox>, "a", 5</w/sibling>, "b") = 0': "renameat /w/sibling/b",
    'renameat(4</w/repo/.mailbox>, "a", AT_FDCWD</w/repo>, "b") = 0': "",
    'unlink("/w/sibling/x") = -1 ENOENT (No such file or directory)': "",
    'execve("/w/bin/git", ["git"], 0x7ffc /* 9 vars */) = 0': "",
    'execve("/bin/touch", ["touch"], 0x7 /* 9 vars */) = 0': "starts /bin/touch",
}  # fmt: skip
"""Lines of strace, and what is wrong with each."""


def test_what_strace_says_is_understood() -> None:
    """By whatever of its two folders and under whatever name a call changes something outside, it is named."""
    world = World(Path("/w"))
    for line, wrong in LINES.items():
        assert list(traced.judged(world, {"words": ["mbox", "status"]}, line)) == ([wrong] if wrong else []), line
