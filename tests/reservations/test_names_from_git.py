"""The names that git prints are the paths they mean: quoted, ended by NUL, and one bad one spoils no other."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.format import checks

NAMES = ["docs/設計.md", "docs/é.md", "a b.md", 'quo"te.md', "back\\slash.md", "plain.md", "app/[id]/page.tsx"]


@pytest.fixture
def made(repo: Path, run: Run) -> Path:
    """A store in a repository with odd names, each changed; everything in docs/ is ann's."""
    run("mbox", "init", cwd=repo, check=True)
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=repo, check=True)
    for name in NAMES:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text("x")
    run("git", "add", ".", cwd=repo, check=True)
    run("git", "commit", "--quiet", "--message=odd", cwd=repo, check=True)
    for name in NAMES:
        (repo / name).write_text("y")
    run("reserve", "docs/**", "--as", "ann", cwd=repo, check=True)
    return repo


def check(made: Path, run: Run, listing: list[str], *words: str, code: int = 1) -> dict[str, str]:
    """What `reserve check` says of what git lists: path → state."""
    listed = subprocess.run(["git", *listing], cwd=made, capture_output=True, check=True).stdout
    done = subprocess.run(
        [_reserve(run), "check", *words, "--as", "bob"], cwd=made, input=listed, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
    return {row["path"]: row["state"] for row in json.loads(done.stdout)}


def _reserve(run: Run) -> Path:
    return Path(run("reserve", "--version").args[0])


@pytest.mark.parametrize("quoting", ["true", "false"])
@pytest.mark.parametrize(("end", "told"), [((), ()), (("-z",), ()), (("-z",), ("-z",))], ids=["lines", "nul", "nul-told"])
def test_every_way_of_git(made: Path, run: Run, quoting: str, end: tuple[str, ...], told: tuple[str, ...]) -> None:
    """The example of the help, with names of any alphabet, blanks, quotes and brackets, quoted or not, by line or NUL."""
    found = check(made, run, ["-c", f"core.quotePath={quoting}", "diff", "--name-only", *end], "-", *told)
    expected = {name: "held" if name.startswith("docs/") else "free" for name in NAMES if name != "back\\slash.md"}
    assert found.pop("back\\slash.md") == "free"
    assert found == expected


def test_a_bad_name_is_a_row(made: Path, run: Run) -> None:
    """Control characters, bytes that are no UTF-8, a way out of the root: each has its reason, the others their answer."""
    names = [b"plain.md", b'"tab\\there.md"', b'"latin-\\351.md"', b"../out", b"/etc/passwd", b"docs/x.md", b"raw-\xe9.md"]
    done = subprocess.run([_reserve(run), "check", "-", "--as", "bob"], cwd=made, input=b"\n".join(names),
                          capture_output=True, check=False)  # fmt: skip
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert [row["state"] for row in rows] == ["free", "bad", "bad", "bad", "bad", "held", "bad"]
    assert all(row["reason"] for row in rows if row["state"] == "bad")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 6)
    assert b"Traceback" not in done.stderr
    assert rows[2]["path"] == "latin-\\xe9.md"
    assert "UTF-8" in rows[2]["reason"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_a_bad_staged_name_is_a_row(made: Path, run: Run) -> None:
    """--staged answers for the others as well."""
    (made / "tab\there.md").write_text("x")
    with open(os.fsencode(made) + b"/latin-\xe9.md", "wb") as file:
        file.write(b"x")
    run("git", "add", ".", cwd=made, check=True)
    done = run("reserve", "check", "--staged", "--as", "bob", cwd=made)
    states = {row["path"]: row["state"] for row in json.loads(done.stdout)}
    assert states.pop("tab\there.md") == "bad"
    assert states.pop("latin-\\xe9.md") == "bad"
    assert states["docs/設計.md"] == "held"
    assert states["plain.md"] == "free"
    assert done.returncode == 2


def test_reserving_what_git_lists(made: Path, run: Run) -> None:
    """Reserving and releasing read the same names, all or none."""
    listed = '"docs/\\350\\250\\255\\350\\250\\210.md"\nplain.md\n'
    run("reserve", "add", "-", "--as", "ann", cwd=made, stdin=listed, check=True)
    assert run("reserve", "check", "--mine", "-", "--as", "ann", cwd=made, stdin=listed).returncode == 0
    run("reserve", "release", "-", "--as", "ann", cwd=made, stdin=listed, check=True)
    assert run("reserve", "add", "-", "--as", "ann", cwd=made, stdin=listed + '"a\\tb"\n').returncode == 2
    assert run("reserve", "check", "--mine", "plain.md", "--as", "ann", cwd=made).returncode == 1


@pytest.mark.parametrize(("line", "path"), [
    ('"docs/\\350\\250\\255.md"', "docs/設.md"), ('"a\\"b"', 'a"b'), ('"a\\\\b"', "a\\b"), ('"a\\tb"', "a\tb"),
    ('"plain"', '"plain"'), ('"half\\', '"half\\'), ('"bad\\q"', '"bad\\q"'), ("docs/設.md", "docs/設.md"), ('"', '"'),
    ('"\\000"', "\0"), ('"\\351"', "\udce9"), ('"a"b\\n"', '"a"b\\n"'), ('"é\\303\\251"', "éé"),
])  # fmt: skip
def test_a_line_of_git(line: str, path: str) -> None:
    """What git quotes is read; what only looks so is left."""
    assert checks.unquoted(line) == path
