"""`mbox hooks install|remove|status`: each program's own file, and the launcher; and OpenCode's plugin, run by node."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.errors import Refused, StoreError, Usage
from mbox.hooks import edits, entries, installing, launcher
from mbox.hooks.entries import PLACES, PLUGIN, HostFile
from mbox.system.disk import Disk

from .hookkit import Desk

JSONS = [place for place in PLACES.values() if not place.whole]
DISK = Disk(private=False)

each = pytest.mark.parametrize("place", PLACES.values(), ids=lambda place: place.host)
each_json = pytest.mark.parametrize("place", JSONS, ids=lambda place: place.host)

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def install(top: Path, place: HostFile, shared: bool = False, dry_run: bool = False) -> installing.Row:
    """What was done to the one file."""
    return installing.install(str(top), [place], shared, DISK, dry_run)[0]


def remove(top: Path, place: HostFile, dry_run: bool = False) -> list[installing.Row]:
    """What was done."""
    return installing.remove(str(top), [place], DISK, dry_run)


def state(top: Path, place: HostFile) -> str:
    """How ours stand."""
    return installing.status(str(top), [place])[0]["state"]


def laid(top: Path, place: HostFile, data: bytes, shared: bool = False) -> Path:
    """A person's file with ``data``."""
    path = top / place.file(shared)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def told(caught: pytest.ExceptionInfo[Usage], path: Path, data: bytes) -> str:
    """What was said of a file, which is as it was, with nothing beside it."""
    assert path.read_bytes() == data and [*path.parent.iterdir()] == [path]
    return str(caught.value)


# -- a file ------------------------------------------------------------------------------------------------------------


@each
def test_a_file_is_made_and_goes_again(place: HostFile, tmp_path: Path) -> None:
    """Where there is none: it is made, readable as the person's umask lets; twice is once; it goes, and its folders with it."""
    for shared in (False, True):
        assert install(tmp_path, place, shared)["did"] == "made"
        path = tmp_path / place.file(shared)
        data, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
        mask = os.umask(0)
        os.umask(mask)
        assert mode == 0o666 & ~mask and state(tmp_path, place) == installing.INSTALLED
        assert install(tmp_path, place, shared)["did"] == "nothing" and path.read_bytes() == data
        assert [row["did"] for row in remove(tmp_path, place)] == ["removed"]
        assert [*tmp_path.iterdir()] == [] and state(tmp_path, place) == installing.NONE
        assert remove(tmp_path, place) == []


@each
def test_what_is_made_is_laid_out_as_by_a_person(place: HostFile, tmp_path: Path) -> None:
    """Each key and list on lines of their own, with all our lines, and nothing that the host does not ask for."""
    install(tmp_path, place)
    text = (tmp_path / place.local).read_text(encoding="utf-8")
    if place.whole:
        assert text == PLUGIN
        return
    doc = json.loads(text)
    assert text.replace("\n\n", "\n") == json.dumps(doc, indent=2) + "\n"
    assert set(doc) == {place.keys[0], *(["version"] if place.host in ("cursor", "copilot") else [])}
    assert sorted(installing.commands(place, text)) == sorted(entries.line(place.host, event) for event, _ in place.events)


@each_json
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_a_file_keeps_mode_and_bytes(place: HostFile, tmp_path: Path, mode: int) -> None:
    """A person's file: its mode is kept, and out again its bytes are as they were."""
    data = b'{\r\n\t"description": "x",\r\n\t"hooks": {}\r\n}'
    path = laid(tmp_path, place, data)
    path.chmod(mode)
    assert install(tmp_path, place)["did"] == "changed" and stat.S_IMODE(path.stat().st_mode) == mode
    there = path.read_bytes()
    assert install(tmp_path, place)["did"] == "nothing" and path.read_bytes() == there != data
    assert [row["did"] for row in remove(tmp_path, place)] == ["changed"]
    assert path.read_bytes() == data and stat.S_IMODE(path.stat().st_mode) == mode and [*path.parent.iterdir()] == [path]


@each_json
def test_a_symlink_stays_one(place: HostFile, tmp_path: Path) -> None:
    """What it leads to is changed, there; also where that is what we would begin a file with, which goes only if it was made."""
    top = tmp_path / "top"
    for text in ('{"description": "x"}', place.fresh):
        target = tmp_path / "dotfiles.json"
        target.write_text(text, encoding="utf-8")
        path = top / place.local
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        install(top, place)
        assert path.is_symlink() and state(top, place) == installing.INSTALLED and entries.OURS in target.read_text()
        remove(top, place)
        assert path.is_symlink() and target.read_text(encoding="utf-8") == text
        path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(Usage, match="a symlink to nothing"):
        install(top, place)
    assert os.readlink(path) == "nowhere"


@each
def test_a_dry_run_writes_nothing(place: HostFile, tmp_path: Path) -> None:
    """The difference is in the answer, as `patch` takes it: applied, it is what an install makes."""
    row = install(tmp_path, place, dry_run=True)
    assert row["did"] == "made" and [*tmp_path.iterdir()] == []
    assert row["diff"].startswith(f"--- /dev/null\n+++ b/{place.local}\n")
    if not place.whole:
        path = laid(tmp_path, place, b'{\n  "description": "x"\n}\n')
        row = install(tmp_path, place, dry_run=True)
        assert path.read_bytes() == b'{\n  "description": "x"\n}\n' and [*path.parent.iterdir()] == [path]
        subprocess.run(["git", "apply", "-"], input=row["diff"].encode(), cwd=tmp_path, check=True)
        assert install(tmp_path, place)["did"] == "nothing"
        row = remove(tmp_path, place, dry_run=True)[0]
        assert row["did"] == "changed" and entries.OURS in path.read_text(encoding="utf-8")
        assert '-  "description": "x",\n' in row["diff"] and '+  "description": "x"\n' in row["diff"]


def test_this_machine_s_file_and_the_team_s(tmp_path: Path) -> None:
    """Claude Code reads two: by default ours come into the one that is this machine's; `remove` looks into both."""
    claude = PLACES["claude"]
    install(tmp_path, claude)
    assert not (tmp_path / ".claude/settings.json").exists()
    install(tmp_path, claude, shared=True)
    assert [row["file"] for row in installing.status(str(tmp_path), [claude])] == [claude.local, claude.shared]
    assert [row["did"] for row in remove(tmp_path, claude)] == ["removed", "removed"]


# -- what is refused ---------------------------------------------------------------------------------------------------

BAD = {
    b'{"hooks": [], "mbox": []}': "is not an object", b'{"a": 1, "a": 2}': "1:10: the key 'a' is there twice",
    b"": "1:1: the text ends",
    b'{"a": 1,}': "1:8: a comma", b'{"a": "\xff"}': "not UTF-8 at byte 7", "{}".encode("utf-16"): "not UTF-8 at byte 0",
}  # fmt: skip


@each_json
@pytest.mark.parametrize("data", BAD, ids=lambda data: str(data[:14]))
def test_what_cannot_be_read_is_refused_untouched(place: HostFile, tmp_path: Path, data: bytes) -> None:
    """Exit status 2, with file and place; nothing is written, no other program's file either."""
    path = laid(tmp_path, place, data)
    with pytest.raises(Usage, match=str(path)) as caught:
        installing.install(str(tmp_path), [PLACES["opencode"], place], False, DISK)
    assert BAD[data] in told(caught, path, data) and caught.value.exit == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [place.local.split("/")[0]]
    if b"hooks" in data:  # which is read, and has none of ours
        return
    laid(tmp_path, place, data + b"// /.local/share/mbox/hook")
    with pytest.raises(Usage, match=str(path)):
        remove(tmp_path, place)
    assert state(tmp_path, place).startswith("cannot be read: ")


def test_a_key_with_which_codex_reads_nothing(tmp_path: Path) -> None:
    """It runs no hook of a file with a key of its own kind; so one is refused, and told where it came in later."""
    place = PLACES["codex"]
    path = laid(tmp_path, place, b'{\n  "$schema": "x"\n}')
    with pytest.raises(Usage, match=r":2:3: .* a key '\$schema': take it out") as caught:
        install(tmp_path, place)
    told(caught, path, b'{\n  "$schema": "x"\n}')
    path.unlink()
    install(tmp_path, place)
    laid(tmp_path, place, path.read_bytes().replace(b"{", b'{"x": 1,', 1))
    assert state(tmp_path, place).startswith("cannot be read: 1:2: ")
    assert [row["did"] for row in remove(tmp_path, place)] == ["changed"] and json.loads(path.read_bytes()) == {"x": 1}


@each
@pytest.mark.parametrize("kind", ["folder", "fifo", "a file as its folder", "too large"])
def test_something_else_in_its_place(place: HostFile, tmp_path: Path, kind: str) -> None:
    """A folder, a FIFO, a file where its folder should be, gigabytes: told in one line, and left alone."""
    path = tmp_path / place.local
    if kind == "a file as its folder":
        path = tmp_path / place.local.split("/")[0]
        path.write_bytes(b"")
    else:
        path.parent.mkdir(parents=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            with path.open("wb") as file:
                file.truncate(3 << 30)
    kind_before = path.stat().st_mode
    with pytest.raises(StoreError, match=str(path)) as caught:
        install(tmp_path, place)
    assert "\n" not in str(caught.value) and path.stat().st_mode == kind_before


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
@each
def test_an_unreadable_file(place: HostFile, tmp_path: Path) -> None:
    """Told with its name; left alone."""
    path = laid(tmp_path, place, b"{}")
    path.chmod(0)
    with pytest.raises(StoreError, match=str(path)):
        install(tmp_path, place)


def test_a_plugin_that_is_not_ours(tmp_path: Path) -> None:
    """A file of OpenCode's of that name without our launcher is not written over; one of ours, changed, not taken away."""
    place = PLACES["opencode"]
    path = laid(tmp_path, place, b"export const Mbox = 1\n")
    with pytest.raises(Usage, match="not as mbox wrote it: move it away") as caught:
        install(tmp_path, place)
    told(caught, path, b"export const Mbox = 1\n")
    assert remove(tmp_path, place) == [] and state(tmp_path, place) == installing.NONE
    changed = PLUGIN.encode() + b"// mine\n"
    path.write_bytes(changed)
    assert state(tmp_path, place) == installing.OTHER
    with pytest.raises(Usage, match="changed by hand") as caught:
        remove(tmp_path, place)
    told(caught, path, changed)
    with pytest.raises(Usage, match="not as mbox wrote it"):
        install(tmp_path, place)


@each
def test_what_has_none_of_ours_is_passed_by(place: HostFile, tmp_path: Path) -> None:
    """Out of all programs: a file that cannot be read, or a symlink to nothing, does not stop it, for nothing is to go there."""
    path = laid(tmp_path, place, b"\xff{")
    assert remove(tmp_path, place) == [] and path.read_bytes() == b"\xff{"
    path.unlink()
    path.symlink_to("gone")
    assert remove(tmp_path, place) == [] and path.is_symlink()


@each_json
def test_written_anew_with_other_escapes(place: HostFile, tmp_path: Path) -> None:
    """By a program that writes `/` as JSON may: ours are known, and go."""
    install(tmp_path, place)
    path = laid(tmp_path, place, (tmp_path / place.local).read_bytes().replace(b"/", b"\\/"))
    assert state(tmp_path, place) == installing.INSTALLED and install(tmp_path, place)["did"] == "nothing"
    assert len(remove(tmp_path, place)) == 1 and (not path.exists() or path.read_bytes() == b"{}\n")


class Full(Disk):
    """A disk on which no rename succeeds."""

    def rename(self, source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@each_json
def test_a_full_disk_leaves_all_as_it_was(place: HostFile, tmp_path: Path) -> None:
    """One line about it, and no temporary file."""
    path = laid(tmp_path, place, b"{}")
    with pytest.raises(StoreError, match="No space left"):
        installing.install(str(tmp_path), [place], False, Full())
    assert path.read_bytes() == b"{}" and [*path.parent.iterdir()] == [path]


def test_an_earlier_version_of_the_plugin(tmp_path: Path) -> None:
    """As an earlier version of the toolkit wrote it, and nobody changed it: it is brought up to date, and goes."""
    place = PLACES["opencode"]
    earlier = entries._signed(f"// {entries.OURS}\nexport const Mbox = 0\n")
    path = laid(tmp_path, place, earlier.encode())
    assert state(tmp_path, place) == installing.OTHER
    assert install(tmp_path, place)["did"] == "changed" and path.read_text(encoding="utf-8") == PLUGIN
    laid(tmp_path, place, earlier.encode())
    assert [row["did"] for row in remove(tmp_path, place)] == ["removed"]


@each_json
def test_a_person_s_file_that_is_as_ours_begin(place: HostFile, tmp_path: Path) -> None:
    """A file that says nothing, spelt as the one that we would make: out again it is there, as it was."""
    for text in (place.fresh, place.fresh.replace("{", "{ ", 1), place.fresh.replace("{", "{  ", 1)):
        path = laid(tmp_path, place, text.encode())
        install(tmp_path, place)
        assert install(tmp_path, place)["did"] == "nothing" and state(tmp_path, place) == installing.INSTALLED
        remove(tmp_path, place)
        assert path.read_text(encoding="utf-8") == text


def test_changed_while_we_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that writes its settings between our reading and our writing: refused, and what it wrote is there."""
    place = PLACES["qwen"]
    path = laid(tmp_path, place, b'{"a": 1}')

    def meanwhile(place: HostFile, text: str, path: str) -> str:
        Path(path).write_bytes(b'{"b": 2}')
        return f"{text}\n"

    monkeypatch.setattr(installing, "with_entries", meanwhile)
    with pytest.raises(Refused, match="changed while this ran"):
        install(tmp_path, place)
    assert path.read_bytes() == b'{"b": 2}'


# -- how they stand ----------------------------------------------------------------------------------------------------


@each_json
def test_how_they_stand(place: HostFile, tmp_path: Path) -> None:
    """All; some; all, but one changed, twice or elsewhere; none, also where a file only names the launcher."""
    path = laid(tmp_path, place, b'{"description": "/.local/share/mbox/hook"}')
    assert state(tmp_path, place) == installing.NONE
    install(tmp_path, place)
    assert state(tmp_path, place) == installing.INSTALLED
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(": 15", ": 14", 1), encoding="utf-8")
    assert state(tmp_path, place) == installing.OTHER
    event, entry = place.events[-1]
    path.write_text(edits.put(whole, [*place.keys, event], entry, place.comments), encoding="utf-8")
    assert state(tmp_path, place) == installing.OTHER
    path.write_text(whole.replace(f'"{event}"', '"Elsewhere"'), encoding="utf-8")
    assert state(tmp_path, place) == installing.OTHER
    path.write_text(whole.replace(f"{place.host} {event}", f"{place.host} Never"), encoding="utf-8")
    assert state(tmp_path, place) == installing.PART
    assert install(tmp_path, place)["did"] == "changed"
    assert [row["did"] for row in remove(tmp_path, place)] == ["changed"]
    assert path.read_text(encoding="utf-8") == '{"description": "/.local/share/mbox/hook"}'


# -- the launcher ------------------------------------------------------------------------------------------------------


def test_the_launcher(tmp_path: Path) -> None:
    """Two lines of sh that run the hook's script by this interpreter, alone; executable; written once; mended."""
    home = str(tmp_path)
    path = Path(launcher.path(home))
    assert launcher.state(home) == launcher.MISSING
    assert installing.launched(home, DISK, True)["did"] == "made" and not path.exists()
    assert installing.launched(home, DISK, False)["did"] == "made"
    assert path.read_text() == f'#!/bin/sh\nexec {sys.executable} -I -S {launcher.SCRIPT} "$@"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o755 and launcher.state(home) == launcher.FINE
    before = path.stat()
    assert installing.launched(home, DISK, False)["did"] == "nothing" and path.stat().st_ino == before.st_ino
    path.chmod(0o644)
    assert "executable" in launcher.state(home) and installing.launched(home, DISK, False)["did"] == "changed"
    assert launcher.state(home) == launcher.FINE and [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (launcher.text(program="/gone/python"), "runs /gone/python, which is gone"),
        (launcher.text(script="/gone/hook.py"), "runs /gone/hook.py, which is gone"),
        (launcher.text(script=__file__), f"runs another installation, {__file__}"),
        (launcher.text(program="/bin/sh"), f"runs another installation, {launcher.SCRIPT}"),
        ("", "is not ours"), ("#!/bin/sh\necho 'x\n", "is not ours"), ("#!/bin/sh\nexec x\n", "is not ours"),
    ],
    ids=["interpreter", "script", "elsewhere", "another interpreter", "empty", "quote", "else"],
)  # fmt: skip
def test_a_launcher_of_something_else_is_told_and_mended(tmp_path: Path, text: str, said: str) -> None:
    """Of an interpreter or an installation that is gone, or another: in words; writing it makes it right."""
    home = str(tmp_path)
    path = Path(launcher.path(home))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)
    assert launcher.state(home) == said
    assert launcher.write(home, DISK) and launcher.state(home) == launcher.FINE and not launcher.write(home, DISK)


def test_a_launcher_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where a folder should be, or a folder in its place: told in one line with the place."""
    (tmp_path / ".local").write_text("")
    with pytest.raises(StoreError, match=r"/\.local/share/mbox/hook: "):
        installing.launched(str(tmp_path), DISK, False)
    (tmp_path / ".local").unlink()
    Path(launcher.path(str(tmp_path))).mkdir(parents=True)
    assert launcher.state(str(tmp_path)).startswith("cannot be read: ")
    with pytest.raises(StoreError, match=r"/\.local/share/mbox/hook: "):
        installing.launched(str(tmp_path), DISK, False)


@pytest.mark.parametrize("name", ["home", "a home's \"own\" $x `y`"])
def test_the_line_is_run_as_a_host_runs_it(desk: Desk, tmp_path: Path, name: str) -> None:
    """By `sh -c`: without the launcher silence and success; with it the denial, also in a home with blanks and quotes."""
    home = tmp_path / name
    data = desk.said("claude", "PreToolUse", "Write", {"file_path": str(desk.root / ".mailbox/x")})

    def ran() -> tuple[int, bytes, bytes]:
        words = ["sh", "-c", entries.line("claude", "PreToolUse")]
        env = desk.environ("bob", HOME=str(home))
        done = subprocess.run(words, input=data, cwd=desk.root, env=env, capture_output=True, check=False, timeout=60)
        return done.returncode, done.stdout, done.stderr

    assert ran() == (0, b"", b"")
    launcher.write(str(home), DISK)
    code, answer, said = ran()
    assert (code, said) == (0, b"") and json.loads(answer)["hookSpecificOutput"]["permissionDecision"] == "deny"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(run: Run, repo: Path, tmp_path: Path) -> Call:
    """Runs `mbox hooks` in a scratch repository without a store, with a home of its own and no agent program on the PATH."""
    home, bare = tmp_path / "home", tmp_path / "bin"
    home.mkdir(), bare.mkdir()
    for name in ("git", "sh"):
        (bare / name).symlink_to(shutil.which(name) or "")

    def call(*words: str, cwd: Path = repo, **env: str) -> subprocess.CompletedProcess[str]:
        return run("mbox", "hooks", *words, cwd=cwd, env={"HOME": str(home), "PATH": str(bare), **env})

    return call


def test_the_command(call: Call, repo: Path, tmp_path: Path, run: Run) -> None:
    """Installed, as status says; that no store is there is told, and not where one is; twice nothing; removed."""
    done = call("install", "claude", "gemini")
    assert done.returncode == 0 and "no store is here yet" in done.stderr, done.stderr
    launched = {"host": "launcher", "file": f"{tmp_path}/home/.local/share/mbox/hook", "did": "made"}
    assert json.loads(done.stdout) == [
        {"host": "claude", "file": ".claude/settings.local.json", "did": "made"},
        {"host": "gemini", "file": ".gemini/settings.json", "did": "made"}, launched,
    ]  # fmt: skip
    run("mbox", "init", cwd=repo, check=True)
    done = call("install", "gemini", "claude")
    assert {row["did"] for row in json.loads(done.stdout)} == {"nothing"} and "store" not in done.stderr
    rows = json.loads(call("status", "claude", "codex").stdout)
    assert [row["state"] for row in rows] == ["installed", "none", "fine"]
    assert [row.get("host", "launcher") for row in json.loads(call("status").stdout)][:8] == [*PLACES]
    done = call("remove", "claude", "codex")
    assert [(row["host"], row["did"]) for row in json.loads(done.stdout)] == [("claude", "removed")] and "stays" in done.stderr
    assert [row["did"] for row in json.loads(call("remove").stdout)] == ["removed"]
    assert sorted(entry.name for entry in repo.iterdir()) == [".git", ".mailbox", ".tasks", "README.md"]
    assert (tmp_path / "home/.local/share/mbox/hook").exists()


def test_only_tried(call: Call, repo: Path, tmp_path: Path) -> None:
    """With --dry-run the difference is on stderr, the answer on stdout, and nothing is written, not even the launcher."""
    done = call("install", "claude", "codex", "--dry-run")
    assert [row["did"] for row in json.loads(done.stdout)] == ["made"] * 3 and "diff" not in done.stdout
    assert "+++ b/.codex/hooks.json\n@@ -0,0 +1," in done.stderr
    assert sorted(entry.name for entry in repo.iterdir()) == [".git", "README.md"] and [*(tmp_path / "home").iterdir()] == []
    call("install", "claude")
    done = call("remove", "--dry-run")
    assert "+++ /dev/null" in done.stderr and (repo / ".claude/settings.local.json").exists()


def test_in_a_subfolder_and_a_linked_worktree(call: Call, repo: Path, tmp_path: Path, run: Run) -> None:
    """From a subfolder the project's settings are meant; in a linked worktree that worktree's; outside of git the folder's."""
    (repo / "a/b").mkdir(parents=True)
    assert call("install", "claude", cwd=repo / "a/b").returncode == 0 and (repo / ".claude/settings.local.json").exists()
    assert [row["state"] for row in json.loads(call("status", "claude", cwd=repo / "a").stdout)] == ["installed", "fine"]
    run("git", "worktree", "add", "--quiet", str(tmp_path / "tree"), cwd=repo, check=True)
    (tmp_path / "tree/c").mkdir()
    assert json.loads(call("status", "claude", cwd=tmp_path / "tree/c").stdout)[0]["state"] == "none"
    call("install", "codex", cwd=tmp_path / "tree/c")
    assert (tmp_path / "tree/.codex/hooks.json").exists() and not (repo / ".codex").exists()
    (tmp_path / "plain").mkdir()
    assert call("install", "qwen", cwd=tmp_path / "plain").returncode == 0 and (tmp_path / "plain/.qwen/settings.json").exists()


def test_which_hosts_are_meant(call: Call, repo: Path, tmp_path: Path) -> None:
    """Named ones; without a name those of which a folder is here or a program on the PATH; none of them is refused."""
    done = call("install", "claud")
    assert done.returncode == 2 and "did you mean claude?" in done.stderr and "opencode" in done.stderr
    done = call("install")
    assert done.returncode == 2 and "no agent program is found here" in done.stderr
    assert not (tmp_path / "home/.local").exists()
    (repo / ".gemini").mkdir(), (repo / ".github").mkdir()
    program = tmp_path / "bin/cursor-agent"
    program.write_text("#!/bin/sh\n"), program.chmod(0o755)
    assert [row.get("host") for row in json.loads(call("install").stdout)] == ["gemini", "cursor", "launcher"]


def test_refused_by_the_command(call: Call, repo: Path, tmp_path: Path) -> None:
    """A file that Claude Code cannot read: exit status 2, line and column, untouched, and so are the others' and the launcher."""
    text = '{\n  // mine\n  "model": "x"\n}\n'
    path = laid(repo, PLACES["claude"], text.encode())
    done = call("install", "claude", "opencode", "gemini")
    assert done.returncode == 2 and "settings.local.json:2:3: a comment" in done.stderr and not done.stdout
    assert path.read_text() == text and not (repo / ".opencode").exists() and not (tmp_path / "home/.local").exists()
    assert json.loads(call("status", "claude").stdout)[0]["state"] == "none"


def test_without_a_home(call: Call) -> None:
    """A HOME that is no absolute path is told."""
    done = call("install", "claude", HOME="x")
    assert done.returncode == 2 and "HOME" in done.stderr


# -- OpenCode's plugin -------------------------------------------------------------------------------------------------

NODE = shutil.which("node", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

PLAY = """
import { Mbox } from "./mbox.mjs"
const hooks = await Mbox({ directory: "/repo" })
const at = { sessionID: "s1", tool: "write", callID: "c1" }
const said = {}
try {
  await hooks["tool.execute.before"](at, { args: { filePath: "a.py" } })
  said.before = "passed"
} catch (error) { said.before = error.message }
const output = { output: "written" }
await hooks["tool.execute.after"]({ ...at, args: { filePath: "a.py" } }, output)
said.after = output.output
const turn = { parts: [{ id: "prt_5", type: "text", text: "hello" }] }
await hooks["chat.message"]({ sessionID: "s1" }, turn)
said.parts = turn.parts
const system = { system: [] }
await hooks["experimental.chat.system.transform"]({ sessionID: "s1" }, system)
said.system = system.system
await hooks.event({ event: { type: "session.idle", properties: { sessionID: "s1" } } })
await hooks.event({ event: { type: "session.updated", properties: {} } })
console.log(JSON.stringify(said))
"""


def played(folder: Path, answer: str) -> Any:
    """What OpenCode sees of the plugin, whose launcher runs ``answer``, lines of sh; none where that is empty."""
    (folder / "mbox.mjs").write_text(PLUGIN, encoding="utf-8")
    (folder / "play.mjs").write_text(PLAY, encoding="utf-8")
    if answer:
        path = Path(launcher.path(str(folder)))
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\necho "$1 $2" >>"$HOME/events"\n{answer}\n')
        path.chmod(0o755)
    words = [NODE or "", "play.mjs"]
    env = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


with_node = pytest.mark.skipif(NODE is None, reason="no node is here: OpenCode's plugin is not run")

NOTHING = {"before": "passed", "after": "written", "parts": [{"id": "prt_5", "type": "text", "text": "hello"}], "system": []}


@with_node
def test_the_plugin_without_the_launcher(tmp_path: Path) -> None:
    """Nothing happens, as with the other hosts; nor where the answer is empty."""
    assert played(tmp_path, "") == NOTHING
    assert played(tmp_path, "cat >in; exit 0") == NOTHING


@with_node
def test_the_plugin_denies(tmp_path: Path) -> None:
    """A denial is thrown with its reason, which OpenCode shows the model; what was asked is the call as it is."""
    said = played(tmp_path, """[ "$2" != tool.execute.before ] || { cat >in; echo '{"deny": "held by ann"}'; }""")
    assert said == {**NOTHING, "before": "held by ann"}
    assert json.loads((tmp_path / "in").read_text()) == {
        "cwd": "/repo", "session_id": "s1", "tool": "write", "call_id": "c1", "args": {"filePath": "a.py"},
    }  # fmt: skip


@with_node
def test_the_plugin_puts_before_the_model(tmp_path: Path) -> None:
    """What is to be said comes behind a tool's output and as a part of the prompt, the card into the system's text; once each."""
    said = played(tmp_path, """cat >in; echo "{\\"inject\\": \\"of $2\\"}" """)
    assert said["before"] == "passed" and said["after"] == "written\n\nof tool.execute.after"
    assert [part["text"] for part in said["parts"]] == ["hello", "of chat.message"] and said["parts"][1]["synthetic"] is True
    assert said["system"] == ["of session.created"]
    assert (tmp_path / "events").read_text().split("\n")[:-1] == [f"opencode {event}" for event in (
        "tool.execute.before", "tool.execute.after", "session.created", "chat.message", "session.idle")]  # fmt: skip


@with_node
@pytest.mark.parametrize("answer", ["cat >in; echo garbage", "exit 3; echo", "cat >in; echo '{\"deny\": '", "kill -9 $$"])
def test_a_plugin_without_an_answer_fails_closed(tmp_path: Path, answer: str) -> None:
    """A launcher that fails, dies or prints what is no answer: the call is not made; after it and elsewhere nothing is said."""
    assert played(tmp_path, answer) == {**NOTHING, "before": "mbox: the guard gave no answer, so the call was not made"}
