"""`team status --watch`: a table that is drawn over itself, on a real screen of tmux; in a pipe one after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox.team.tmux import Tmux
from teamkit import BIN, HAVE_TMUX, NO_TMUX, begin, end_all, environment, until

pytestmark = pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)

TEAM = """
team: blue
members:
  - {{role: worker, count: {count}, host: shell, command: [sleep, "1000"]}}
"""


@pytest.fixture
def team(repo: Path, run: Run) -> Iterator[Callable[[int], Path]]:
    """Call a team of so many together, without panes."""

    def called(count: int) -> Path:
        begin(lambda *words, at: run(*words, cwd=at, check=True), repo)
        (repo / "team.yaml").write_text(TEAM.format(count=count))
        run("team", "up", "team.yaml", "--no-tmux", cwd=repo, check=True, timeout=120)
        return repo

    yield called
    run("team", "down", "--force", "--all", cwd=repo, timeout=120)
    end_all(repo)


def watching(socket: str, root: Path, size: tuple[int, int], given: str = "") -> Callable[[], list[str]]:
    """Start it in a pane of ``size`` (columns, lines); what the pane shows, asked again and again."""
    one = Tmux(socket)
    words = ["bash", "--norc", "-c", f"echo before; {given} {BIN}/team status --watch; exec sleep 1000"]
    pane = one.new_session("s", words, str(root), {}, size)
    return lambda: one.run("capture-pane", "-p", "-t", pane).splitlines()


def test_it_clears_and_redraws(socket: str, team: Callable[[int], Path], run: Run) -> None:
    """The table stands at the top of the pane, once, also after it was drawn again; no escape is to be read."""
    root = team(2)
    shown = watching(socket, root, (100, 20))
    until(lambda: any("worker-2" in line for line in shown()), shown)
    assert shown()[0].startswith("agent") and "before" not in "\n".join(shown())
    run("task", "add", "Dig", "--id", "dig", cwd=root, check=True)
    run("task", "claim", "dig", "--as", "worker-2", cwd=root, check=True)
    until(lambda: any("dig" in line for line in shown()), shown)
    page = "\n".join(shown())
    assert page.count("worker-1") == 1 and page.count("agent") == 1
    assert "x1b" not in page and "[H" not in page


def test_it_keeps_to_the_terminal(socket: str, team: Callable[[int], Path]) -> None:
    """More members than lines, and a narrow pane: the first stay in sight, the last line says how many are left out.

    Whatever the environment remembers of the size of another terminal.
    """
    shown = watching(socket, team(14), (40, 8), "LINES=50 COLUMNS=200")
    until(lambda: any("more" in line for line in shown()), shown)
    page = shown()
    assert page[0].startswith("agent") and page[1].startswith("worker-1 ")
    assert "9 more" in "\n".join(page) and len(page) <= 8 and all(len(line) <= 40 for line in page)


def test_a_pipe_and_a_dumb_terminal_get_no_escapes(socket: str, team: Callable[[int], Path]) -> None:
    """One list after the other, as it was asked for; a terminal that cannot move gets a table each time."""
    root = team(1)
    with subprocess.Popen(["team", "status", "--watch"], cwd=root, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline()[:10] for _ in range(6)] == [b"[\n", b'{"agent":"', b"]\n"] * 2
        finally:
            process.kill()
    shown = watching(socket, root, (100, 20), "TERM=dumb")
    until(lambda: sum(line.startswith("agent") for line in shown()) > 1, shown)
    assert "x1b" not in "\n".join(shown()) and shown()[0] == "before"
