"""What an installation, a wheel and a bare checkout hold, and whose ``import mailbox`` is."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import mailbox
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import mbox

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "mailbox" / "mbox"
COMMANDS = ("mbox", "task", "reserve", "team", "workflow")
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
PRINT_OWNER = "import mailbox; print(mailbox.__file__, mailbox.Maildir.__name__)"


def _assert_standard(printed: str) -> None:
    file, _, name = printed.strip().splitlines()[-1].rpartition(" ")
    assert Path(file).resolve() == STANDARD_LIBRARY / "mailbox.py"
    assert name == "Maildir"


# ---- `import mailbox` stays the standard library's


def test_mailbox_is_the_standard_library_in_this_very_run() -> None:
    """However pytest was started, tests see the standard library's ``mailbox`` and this checkout's ``mbox``."""
    _assert_standard(f"{mailbox.__file__} {mailbox.Maildir.__name__}")
    assert Path(mbox.__file__).resolve() == PACKAGE / "__init__.py"


def test_source_root_is_no_package() -> None:
    """``mailbox/`` has no ``__init__.py`` and no module of its own: it would take the standard library's name."""
    assert [path.name for path in (CHECKOUT / "mailbox").glob("*.py")] == []


@pytest.mark.parametrize(
    ("folder", "path"),
    [
        (".", None),
        ("bin", None),
        ("mailbox", None),
        ("mailbox/mbox", None),
        ("scripts", None),
        ("tests", None),
        (".", "."),
        (".", "mailbox"),
        ("bin", "..:../mailbox"),
        ("/", "CHECKOUT"),
        ("/", "CHECKOUT/mailbox"),
    ],
)
@pytest.mark.parametrize("how", ["-c", "-", "-m"])
def test_mailbox_is_the_standard_library_from(folder: str, path: str | None, how: str, run: Any) -> None:
    """From every folder of a checkout, with every sensible PYTHONPATH: ``python -c``, ``python -``, ``python -m``."""
    words = {"-c": ["-c", PRINT_OWNER], "-": ["-"], "-m": ["-m", "timeit", "-n1", "-r1", PRINT_OWNER]}[how]
    environment = {"PYTHONPATH": path and path.replace("CHECKOUT", str(CHECKOUT))}
    stdin = PRINT_OWNER if how == "-" else ""
    done = run(sys.executable, *words, cwd=CHECKOUT / folder, env=environment, stdin=stdin, check=True)
    _assert_standard(next(line for line in done.stdout.splitlines() if "Maildir" in line))


@pytest.mark.parametrize("pytest_command", [["-m", "pytest"], ["pytest"]], ids=["python -m pytest", "pytest"])
def test_mailbox_is_the_standard_library_under_pytest(pytest_command: list[str], tmp_path: Path, run: Any) -> None:
    """A test run started from the root by either name, with this project's configuration, sees it too."""
    probe = tmp_path / "test_probe.py"
    probe.write_text(f"{PRINT_OWNER}\ndef test_it(): import mbox\n", encoding="utf-8")
    first = sys.executable if pytest_command[0] == "-m" else Path(sys.executable).parent / "pytest"
    words = [first, *pytest_command[pytest_command[0] != "-m" :]]
    done = run(*words, "-qs", "-p", "no:cacheprovider", "-c", CHECKOUT / "pyproject.toml", probe, cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    _assert_standard(next(line for line in done.stdout.splitlines() if "Maildir" in line))


# ---- what is installed


def _names(requirements: Iterable[str], system: str) -> set[str]:
    """What of it is installed on a system."""
    found = [Requirement(one) for one in requirements]
    return {one.name for one in found if one.marker is None or one.marker.evaluate({"sys_platform": system})}


def test_the_declared_packages_are_the_eight_of_the_design() -> None:
    """An installation brings the eight packages, all of them always (inotify on Linux; on macOS psutil), and nothing else."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everywhere = {"click", "jinja2", "jsonschema", "pyyaml", "ruamel.yaml", "watchfiles", "portalocker"}
    for system, own in (("linux", "inotify-simple"), ("darwin", "psutil")):
        assert _names(project["dependencies"], system) == {*everywhere, own}
    assert set(project["scripts"]) == set(COMMANDS)


def test_the_version_is_said_once() -> None:
    """The installed distribution's version is the package's own."""
    assert importlib.metadata.version("mbox-agents") == mbox.__version__


@pytest.mark.parametrize("command", COMMANDS)
def test_installed_command_answers(command: str, run: Any, tmp_path: Path) -> None:
    """Each of the commands is installed beside this Python and prints its help under its own name."""
    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {command} ")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist of a copy of this checkout, built without the network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "checkout"
    unwanted = shutil.ignore_patterns(".git", ".venv*", ".mailbox", ".tasks", "__pycache__", ".*_cache")
    shutil.copytree(CHECKOUT, copy, ignore=unwanted)
    (copy / ".venv").mkdir()
    (copy / ".venv" / "stray.py").touch()
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    return folder


def test_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    """The wheel has ``mbox`` with its ``py.typed`` and license at the top level, and no folder named ``mailbox``."""
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mbox/__init__.py", "mbox/py.typed"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"mbox"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_is_a_checkout(built: Path) -> None:
    """The sdist has what a checkout runs, tests and explains itself with, and no environment or cache."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {f"bin/{command}" for command in COMMANDS}
    wanted |= {"mailbox/mbox/py.typed", "scripts/test", "tests/conftest.py", "LICENSE", "CHANGELOG.md"}
    assert wanted <= names
    assert not [name for name in names if ".venv" in name or "__pycache__" in name]


def test_installed_wheel(built: Path, tmp_path: Path, run: Any) -> None:
    """The wheel installed in an environment of its own: three commands that run, and the standard ``mailbox``."""
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "venv"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, check=True)
    (site,) = place.glob("lib/python*/site-packages")
    # What it depends on is lent by this environment; the editable installation in there is not seen through a .pth.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    where = run(python, "-c", f"import mbox; print(mbox.__file__); {PRINT_OWNER}", cwd=tmp_path, check=True)
    assert Path(where.stdout.splitlines()[0]) == site / "mbox" / "__init__.py"
    _assert_standard(where.stdout)
    for command in COMMANDS:
        done = run(place / "bin" / command, "--help", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


# ---- bin/ runs from a checkout


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout that has nothing installed, whose commands print how they were called and what they see."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(CHECKOUT / "bin", checkout / "bin")
    package = checkout / "mailbox" / "mbox"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli" / "__init__.py").touch()
    (package / "cli" / "main.py").write_text(
        "import mailbox, os, sys\n"
        "def show():\n"
        "    print(repr([sys.argv, mailbox.__file__, __file__, os.environ['PYTHONPATH'], sys.path]))\n"
        "    return 7\n"
        "mbox = task = reserve = team = workflow = show\n",
        encoding="utf-8",
    )
    return checkout


def _python_at(place: Path, *options: str) -> None:
    """Make ``place`` a command that becomes this Python."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(options)} "$@"\n', encoding="utf-8")
    place.chmod(0o755)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "way", ["absolute", "relative", "beside", "on the PATH", "link", "link to link", "linked folder"]
)
def test_bin_runs_from_anywhere(command: str, way: str, bare: Path, run: Any) -> None:
    """By any path or link, from any folder: the arguments and status untouched, ``mailbox`` the standard library's."""
    _python_at(bare / ".venv" / "bin" / "python")
    outside = bare.parent
    (outside / "click.py").write_text("raise SystemExit('the caller\\'s click.py was imported')", encoding="utf-8")
    (outside / "one").symlink_to(Path("a checkout") / "bin" / command)
    (outside / "two").symlink_to(outside / "one")
    (outside / "three").symlink_to("a checkout/bin")
    cwd, words = {
        "absolute": (outside, [str(bare / "bin" / command)]),
        "relative": (outside, [f"a checkout/bin/{command}"]),
        "beside": (bare / "bin", ["bash", command]),
        "on the PATH": (outside, [command]),
        "link": (outside, ["./one"]),
        "link to link": (Path("/"), [str(outside / "two")]),
        "linked folder": (bare, [f"../three/{command}"]),
    }[way]
    arguments = ["send", "", "two words", "$HOME", "*", "--", "-x", "a\nb", "'"]
    # env looks the name up in the new PATH, where Popen would use the old one
    done = run("env", *words, *arguments, cwd=cwd, env={"PATH": f"{bare / 'bin'}:{os.environ['PATH']}"})
    assert done.returncode == 7, done.stderr
    argv, owner, main, pythonpath, path = ast.literal_eval(done.stdout)
    assert argv == [command, *arguments]
    assert Path(owner).resolve() == STANDARD_LIBRARY / "mailbox.py"
    assert Path(main).resolve() == bare / "mailbox" / "mbox" / "cli" / "main.py"
    assert Path(pythonpath) == bare / "mailbox"
    assert "" not in path
    assert not {outside, bare, bare / "bin"} & {Path(entry).resolve() for entry in path}


def test_bin_keeps_the_callers_pythonpath(bare: Path, run: Any) -> None:
    """The source root goes first, once, however deep commands start each other; the rest stays."""
    _python_at(bare / ".venv" / "bin" / "python")
    root = str(bare / "mailbox")
    for given, expected in [("/x:/y", f"{root}:/x:/y"), ("", root), (f"{root}:/x", f"{root}:/x"), (None, root)]:
        done = run(bare / "bin" / "mbox", env={"PYTHONPATH": given})
        assert ast.literal_eval(done.stdout)[3] == expected


def test_bin_becomes_python(bare: Path, run: Any, tmp_path: Path) -> None:
    """Nothing stays between the caller and Python, and nothing else is started on the way."""
    python = bare / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PPID $$"\n', encoding="utf-8")
    python.chmod(0o755)
    done = run("sh", "-c", '"$0" & echo "$$ $!"; wait', bare / "bin" / "mbox", check=True)
    first, second = done.stdout.splitlines()
    assert first == second
    trace = tmp_path / "trace"
    tracer = ["strace", "-f", "-qq", "-e", "trace=clone,clone3,fork,vfork", "-o", str(trace)]
    if shutil.which("strace") is None or run(*tracer, "true").returncode:
        pytest.skip("no strace here: whether other processes are started on the way is not tried")
    run(*tracer, bare / "bin" / "mbox", check=True)
    assert trace.read_text(encoding="utf-8") == ""


def test_bin_without_an_environment_uses_python3(bare: Path, run: Any, tmp_path: Path) -> None:
    """With no ``.venv`` the python3 on the PATH runs it, if that one has click."""
    _python_at(tmp_path / "path" / "python3")
    done = run(bare / "bin" / "task", "list", env={"PATH": f"{tmp_path / 'path'}:{os.environ['PATH']}"})
    assert ast.literal_eval(done.stdout)[0] == ["task", "list"]


def test_bin_says_how_to_set_up(bare: Path, run: Any, tmp_path: Path) -> None:
    """Without click, and without any Python, one line names the scripts that set up; the status is 127."""
    _python_at(tmp_path / "path" / "python3", "-I", "-S")
    without_click = {"PATH": f"{tmp_path / 'path'}:{os.environ['PATH']}"}
    (tmp_path / "nothing").mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    for words, environment in [
        ([bare / "bin" / "mbox"], without_click),
        ([bash, bare / "bin" / "mbox"], {"PATH": str(tmp_path / "nothing")}),
    ]:
        done = run(*words, "inbox", env=environment)
        assert done.returncode == 127
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert f"{bare}/scripts/demo" in done.stderr
        assert f"{bare}/scripts/test" in done.stderr


# ---- scripts/setup says what is missing


def _setup_with(python: str, tmp_path: Path, run: Any) -> subprocess.CompletedProcess[str]:
    """Run ``scripts/setup`` of a scratch checkout on a python3 made of this shell text."""
    (tmp_path / "checkout" / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "scripts/setup"):
        shutil.copy(CHECKOUT / name, tmp_path / "checkout" / name)
    fake = tmp_path / "python3"
    fake.write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
    fake.chmod(0o755)
    done: subprocess.CompletedProcess[str] = run(tmp_path / "checkout" / "scripts" / "setup", env={"PYTHON": str(fake)})
    assert not (tmp_path / "checkout" / ".venv").exists()
    return done


def test_setup_names_the_package_that_holds_venv(tmp_path: Path, run: Any) -> None:
    """A Python without ``ensurepip`` (Debian's, as it comes) is refused with the command that mends it."""
    done = _setup_with(f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"', tmp_path, run)
    assert done.returncode == 1
    assert "has no venv module; install it with: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_setup_refuses_an_old_python(tmp_path: Path, run: Any) -> None:
    """A Python before 3.11, or one that does not run, is refused with its version and where to get a newer one."""
    old = _setup_with('case "$*" in *platform*) echo 3.9.2;; *) echo False;; esac', tmp_path / "old", run)
    assert old.returncode == 1
    assert "3.9.2); install it with: " in old.stderr
    broken = _setup_with("echo no such version >&2; exit 127", tmp_path / "broken", run)
    assert broken.returncode == 1
    assert "found none; install it with: " in broken.stderr


# ---- one module writes


PATH_WRITERS = {"write_text", "write_bytes", "symlink_to", "hardlink_to"}
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}


def _named(tree: ast.AST) -> dict[str, ast.expr]:
    """What a module gives a name once, at its top: flags that are spelled out there are known where they are used."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _is_writing(call: ast.Call, named_values: dict[str, ast.expr]) -> bool:
    """Whether ``call`` opens a file for writing, may do so, or changes one by a method of a path."""
    named = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(call.func.value, "id", "?") if isinstance(call.func, ast.Attribute) else ""
    modes = call.args[1:2] + [keyword.value for keyword in call.keywords if keyword.arg in ("mode", "flags")]
    if named == "open" and owner == "os" and ast.unparse(call.args[0]) in ("os.devnull", "'/dev/tty'"):
        return False  # devices, no files
    if named == "open" and owner == "os":
        modes = [named_values.get(mode.id, mode) if isinstance(mode, ast.Name) else mode for mode in modes]
        words = {part.attr for mode in modes for part in ast.walk(mode) if isinstance(part, ast.Attribute)}
        return not words or bool(words & WRITING_FLAGS)
    if named in ("open", "fdopen") and owner in ("", "io", "os"):
        return any(not isinstance(mode, ast.Constant) or bool(set("wax+") & set(str(mode.value))) for mode in modes)
    if named == "open":
        first = call.args[0] if call.args else None
        return isinstance(first, ast.Constant) and str(first.value).strip("bt+") in ("w", "a", "x")
    return named in PATH_WRITERS and owner != "formatter"  # click has a write_text too, of help


def _writes(tree: ast.AST) -> list[str]:
    named = _named(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_writing(node, named)]
    return [f"line {call.lineno}: {ast.unparse(call)}" for call in calls]


@pytest.mark.parametrize(
    "text",
    [
        "open(p, 'w')",
        "open(p, 'r+b')",
        "open(p, mode='ab')",
        "io.open(p, m)",
        "p.open('x')",
        "p.write_text('')",
        "os.fdopen(n, 'wb')",
        "os.open(p, flags)",
        "os.open(p, os.O_RDWR)",
        "F = os.O_RDWR\nos.open(p, F)",
        "F = os.O_RDONLY\nF = os.O_RDWR\nos.open(p, F)",
        "os.open(p, os.O_RDONLY | os.O_CREAT)",
    ],
)
def test_the_search_for_writers_finds(text: str) -> None:
    """The guard below can fail: it knows these as writing."""
    assert _writes(ast.parse(text))


def test_only_disk_changes_files() -> None:
    """No module but ``disk`` opens a file for writing (the linter bans the rest: rename, unlink, fsync and so on)."""
    for text in ("open(p)", "open(p, 'rb')", "F = os.O_RDONLY\nos.open(p, F)", "p.open()", "Store.open(root)"):
        assert not _writes(ast.parse(text)), text
    found = {
        str(path.relative_to(PACKAGE)): places
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "system/disk.py" and (places := _writes(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


# ---- what is pinned


def test_what_is_locked_has_hashes_and_is_all_that_is_needed() -> None:
    """Every requirement of pyproject.toml on Linux stands in the lock; each entry has one version and hashes."""
    text = (CHECKOUT / "scripts/locks/requirements.txt").read_text()
    entries = re.split(r"(?m)^(?=[a-z])", "".join(line for line in text.splitlines(True) if not line.startswith("#")))
    pinned = {re.split("==", entry)[0]: entry for entry in entries if entry.strip()}
    assert all(re.match(r"[a-z0-9-]+==[0-9][^ ]* ", entry) and "--hash=sha256:" in entry for entry in pinned.values())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    wanted += project["build-system"]["requires"]
    names = {re.sub(r"[._]", "-", one).lower() for one in _names(wanted, "linux")}
    assert names <= pinned.keys()


def test_the_agent_programs_have_exact_versions_and_hashes() -> None:
    """What `npm ci` installs is what the lock file says: by hash, from the registry."""
    wanted = json.loads((CHECKOUT / "scripts/locks/package.json").read_text())["dependencies"]
    packages = json.loads((CHECKOUT / "scripts/locks/package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert {packages[f"node_modules/{name}"]["version"] for name in wanted} == set(wanted.values())
    assert all(one["integrity"].startswith("sha512-") and one["resolved"].startswith("https://registry.npmjs.org/")
               for one in packages.values())  # fmt: skip
