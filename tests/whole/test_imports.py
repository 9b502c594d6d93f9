"""What a command imports: of the standard library and other packages only what it needs, seen in a real process.

The yardstick is what ``import click, json`` loads; what a command loads beyond that must stand in its row below.  A new
import on the path of a small command has to be put there on purpose, with its price in mind.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from transcript import fresh

PLAIN = frozenset(["gc", "binascii"])
"""Needed by every command: the collector, to be told to wait; checksums."""

STORE = PLAIN | {"fcntl", "encodings.ascii"}
"""To open a store and to look at it."""

WHO = STORE | {"pwd"}
"""Who calls, where no agent does."""

LOCKED = STORE | {"_sqlite3", "sqlite3", "sqlite3.dbapi2"}
"""To decide under the lock: the index."""

SORTED = STORE | {"_bisect", "bisect"}
"""To look for reservations by prefix."""

INOTIFY = STORE | frozenset(
    ["signal", "locale", "_locale",
     "inotify_simple", "_ctypes", "ctypes", "ctypes._endian", "ctypes.util", "_struct", "struct", "select",
     # what ctypes.util brings along
     "selectors", "subprocess", "_posixsubprocess", "msvcrt", "termios", "tempfile", "random", "_random", "math", "_bisect",
     "bisect", "_sha512", "_sha2", "shutil", "fnmatch", "bz2", "_bz2", "_compression", "lzma", "_lzma", "zlib", "errno"]
)  # fmt: skip
"""To be woken; it waits anyway."""

NEEDS: list[tuple[str, frozenset[str]]] = [
    ("mbox send bob --as ann --body x --key k", LOCKED),
    ("mbox inbox --as bob", STORE),
    ("mbox read --as bob", LOCKED),
    ("mbox reply m5 --as bob --body x", LOCKED),
    ("mbox ack m5 --as bob", LOCKED),
    ("mbox show m5", WHO),
    ("mbox thread m5", STORE),
    ("mbox wait --as ann", INOTIFY),
    ("mbox me --as ann", SORTED),
    ("mbox status", SORTED),
    ("mbox log --limit 5", STORE),
    ("mbox log --task t4", STORE),
    ("mbox agent list", STORE),
    ("mbox agent beat --as ann", LOCKED),
    ("mbox search x", LOCKED),
    ("mbox lock free -- true", STORE | {"signal", "select", "_posixsubprocess", "subprocess", "selectors"}),
    ("mbox schema task", PLAIN),
    ("task add x --as ann --path a --description d", LOCKED),
    ("task list", SORTED),
    ("task ready", SORTED),
    ("task show t4", SORTED),
    ("task claim t4 --as bob", LOCKED | {"_heapq", "heapq"}),
    # click looks for a long option -o, and for a translation of what it says
    ("task claim t4 --as bob -o env", LOCKED | {"_heapq", "heapq", "difflib", "locale", "_locale"}),
    ("task renew t4 --as bob", LOCKED),
    ("task start t4 --as bob", LOCKED),
    ("task note t4 x --as bob", LOCKED),
    ("task done t4 --as bob", LOCKED),
    ("reserve check src/parse.py --as ann", STORE),
    ("reserve check src/parse.py", WHO),
    ("reserve src/parse.py --as ann", LOCKED | {"shlex"}),
    ("reserve list", STORE),
    ("reserve renew src/parse.py --as ann", LOCKED),
    ("reserve release --all --as ann", LOCKED),
]
"""Calls in this order, in one store, and what each may load beyond ``import click, json``."""

NEVER = frozenset(
    ["yaml", "ruamel", "watchfiles", "portalocker", "importlib.metadata", "asyncio", "hashlib", "subprocess",
     "tempfile", "unittest", "http", "email", "logging", "ssl", "socket", "dataclasses", "pathlib", "xml", "ctypes",
     "sqlite3", "random", "shutil", "decimal", "jinja2", "markupsafe", "jsonschema"]
)  # fmt: skip
"""What none of the calls above may load but where it is said (``wait``, ``lock``, the index)."""


def loaded(*words: str, cwd: Path | None = None) -> tuple[set[str], int]:
    """Every module that a process imports, and its exit status."""
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}, capture_output=True, text=True, cwd=cwd, check=False,
        stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}, done.returncode


@pytest.fixture(scope="module")
def yardstick() -> set[str]:
    """What ``import click, json`` loads."""
    modules, status = loaded(sys.executable, "-c", "import click, json")
    assert status == 0 and {"click", "json"} <= modules
    return modules


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Iterator[Path]:
    """A store with agents ann and bob and a task; whose configuration is cached, as it is after any command."""
    root = fresh(tmp_path_factory.mktemp("imports"))
    for words in ("mbox init", "mbox agent add ann", "mbox agent add bob", "task add x --path src/parse.py"):
        run(*words.split(), cwd=root, check=True)
    yield root


@pytest.fixture(scope="module")
def seen(yardstick: set[str], store: Path) -> dict[str, set[str]]:
    """By call of `NEEDS`, each made once and in order: what it loads beyond the yardstick."""
    bin_folder, found = Path(sys.executable).parent, {}
    for call, _ in NEEDS:
        program, *rest = shlex.split(call)
        modules, status = loaded(str(bin_folder / program), *rest, cwd=store)
        assert status == 0, call
        found[call] = modules - yardstick
    return found


def test_each_command_loads_what_it_needs_and_no_more(seen: dict[str, set[str]]) -> None:
    """A command that loads a module outside its row fails here with that module's name."""
    for call, allowed in NEEDS:
        own = {name for name in seen[call] if name.partition(".")[0] == "mbox"}
        assert {"mbox.cli.main", "mbox.errors"} <= own, call
        assert not seen[call] - own - allowed, f"{call} loads {sorted(seen[call] - own - allowed)}"


def test_what_only_reads_opens_no_index(seen: dict[str, set[str]]) -> None:
    """No command that only looks loads SQLite, none but those that wait or run a heavy module, whatever its row says."""
    for call, modules in seen.items():
        verb = call.split()[1]
        looks = verb in ("inbox", "show", "thread", "wait", "me", "status", "log", "list", "ready", "check")
        heavy = NEVER if looks else NEVER - {"sqlite3"}
        assert verb in ("wait", "lock") or not modules & heavy, f"{call} loads {sorted(modules & heavy)}"
        assert not looks or "sqlite3" not in modules, call
    assert any("sqlite3" in modules for modules in seen.values()), "the look sees no SQLite where there is"


def test_help_and_errors_load_no_store(yardstick: set[str], tmp_path: Path) -> None:
    """What does not need a store does not load it: help, a wrong call, a schema."""
    bin_folder = Path(sys.executable).parent
    for call in ("mbox --help", "mbox send --help", "mbox send --bodi x", "task clam", "mbox schema task"):
        program, *rest = call.split()
        modules, _ = loaded(str(bin_folder / program), *rest, cwd=tmp_path)
        assert not modules & {"mbox.store.store", "mbox.index.queries", "mbox.store.lock", "sqlite3", "yaml"}, call


def test_the_check_can_fail(yardstick: set[str]) -> None:
    """A module too much is seen, also one of a package and one that is written in C."""
    modules, _ = loaded(sys.executable, "-c", "import click, json, tempfile, email.message, sqlite3")
    assert {"tempfile", "email.message", "_sqlite3"} <= modules - yardstick
