"""What every test may use: ``--long``, a scrubbed environment, ``run``, ``repo``, ``host``, ``socket`` and ``shared_data``."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

import mbox.cli.main  # noqa: F401 - which tells the collector to wait, as suits a short command
from kit import FakeHost

gc.set_threshold(700, 10, 10)  # a run of tests is none: what they leave open is closed by the collector

CHECKOUT = Path(__file__).resolve().parents[1]

#: What the caller's environment must not lend to a test.
SCRUBBED = (
    *("MBOX_", "GIT_", "XDG_", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"),
)
KEPT = ("MBOX_LONG", "MBOX_REAL_CLIENTS")


class Run(Protocol):
    """The type of the ``run`` fixture."""

    def __call__(
        self,
        *command: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        check: bool = False,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--long``."""
    parser.addoption("--long", action="store_true", help="also run what takes minutes or the whole machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``long`` unless ``--long`` is given; the summary counts it as deselected."""
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say again, right above the last line, which checks of ``scripts/test`` failed before the tests began."""
    failed = os.environ.get("CHECKS_FAILED", "").split()
    if failed:
        terminalreporter.section(f"FAILED before the tests, see the top: {', '.join(failed)}", red=True)


@pytest.fixture(scope="session", autouse=True)
def scrubbed_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting, home folder, git configuration or ignored signal of whoever runs the tests reaches one."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:  # the tests run in the background of a shell
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SCRUBBED) and name not in KEPT:
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Tess Tester")
            patch.setenv(f"GIT_{role}_EMAIL", "tess@example.org")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real-world data beside the checkout; the test is skipped where there is none."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout: real input is not tried")
    return folder


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command as a real process; ``mbox``, ``task`` and ``reserve`` are those installed beside this Python.

    ``env`` is added to the test's own environment, and a value of None takes the name out of it.  stdin is empty unless
    given; text is UTF-8 as it came, newlines untouched.  An ``internal error`` fails the test: its exit status is that of a
    store that cannot be used, which a test may expect.
    """
    bin_folder = Path(sys.executable).parent

    def run(
        *command: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        check: bool = False,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        if words[0] in ("mbox", "task", "reserve", "team", "workflow"):
            words[0] = str(bin_folder / words[0])
        merged = {name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None}
        done = subprocess.run(
            words, input=stdin.encode(), capture_output=True, env=merged, cwd=cwd, timeout=timeout, check=False
        )
        result = subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())
        if "internal error:" in result.stderr:
            raise AssertionError(f"{' '.join(words)}: {result.stderr}")
        if check and result.returncode:
            raise AssertionError(f"{' '.join(words)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    return run


@pytest.fixture
def repo(tmp_path: Path, run: Run) -> Path:
    """A scratch git repository on branch ``main`` with one commit that holds ``README.md``."""
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "README.md").write_text("# Scratch\n", encoding="utf-8")
    run("git", "init", "--quiet", "--initial-branch=main", cwd=folder, check=True)
    run("git", "add", "README.md", cwd=folder, check=True)
    run("git", "commit", "--quiet", "--message=Begin", cwd=folder, check=True)
    return folder


@pytest.fixture
def staffed(tmp_path: Path, run: Run) -> Path:
    """A folder with a store, and agents ann and bob in it."""
    folder = tmp_path / "root"
    folder.mkdir()
    run("mbox", "init", cwd=folder, check=True)
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=folder, check=True)
    return folder


@pytest.fixture
def host() -> FakeHost:
    """Clocks that move only when told."""
    return FakeHost()


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    """A private tmux server; the test is skipped where there is no tmux."""
    from teamkit import HAVE_TMUX, NO_TMUX, server

    if not HAVE_TMUX:
        pytest.skip(NO_TMUX)
    with server(tmp_path) as path:
        yield path
