"""What agents read: every command line in it runs, and it comes into a person's files and out again without a trace."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from mbox.errors import Refused, Usage
from mbox.hooks import personal, skill
from mbox.report.primer import SAYS
from mbox.system.disk import Disk

from .hookkit import BIN, Desk

DISK = Disk()
PROGRAMS = ("mbox", "task", "reserve")


def lines(text: str) -> list[str]:
    """The command lines of a text in their order: all in its fences, then those between backticks that are whole calls."""
    fences = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```sh\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [code for code in re.findall(r"`([^`\n]+)`", prose) if code.split()[0] in PROGRAMS and " " in code]
    return [line for fence in fences for line in fence.splitlines()] + inline


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, every folder with None."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository in which ann has mail and there is work."""
    desk = Desk(tmp_path)
    for title in ("Write the parser", "Test it", "Say so"):
        desk.mbox("task", "add", title, agent="bob")
    for subject in ("first", "second"):
        desk.mbox("send", "ann", "--subject", subject, "--body", "look at src", agent="bob")
    return desk


def test_every_command_line_runs(desk: Desk) -> None:
    """The lines of skill and block, to the letter and in their order, in one shell of an agent: each ends with 0."""
    typed = [*lines(skill.skill().decode()), *lines(skill.block().decode())]
    script = "".join(f"{line}\n[ $? = 0 ] || {{ echo {at} >&2; exit 9; }}\n" for at, line in enumerate(typed))
    shell, environ = ["bash", "-c", script], desk.environ("ann")
    done = subprocess.run(shell, cwd=desk.root, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{[*enumerate(typed)]}"
    assert len(typed) >= 25
    states = {row["title"]: row["status"] for row in desk.mbox("task", "list", "--all")}
    assert (states["Write the parser"], states["Test it"]) == ("done", "review")
    assert desk.git("log", "-1", "--format=%s") == "Say what is next\n"
    assert not desk.held()


def test_ten_commands_with_the_words_of_the_primer() -> None:
    """It names ten commands, each typed in its lines and said as the primer says it."""
    text = skill.skill().decode()
    heading = re.search(r"## Ten commands.*?\n\n(.*?):\n", text)
    assert heading
    named = heading[1].split(", ")
    assert len(named) == 10
    typed = "\n".join(lines(text))
    for name in named:
        assert re.search(rf"\b{name}\b", typed), name
    for said in ("mbox me", "reserve PATH", "task claim --start", "mbox reply ID --body B", "task done ID --result JSON --next"):
        assert SAYS[said] in text


def test_the_skill_keeps_the_rules_of_its_format() -> None:
    """Front matter with a name that is its folder's and a description within the limit; sizes within ours."""
    text = skill.skill().decode()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["name"] == "mbox"
    assert all(name.split("/")[-2] == front["name"] for name in skill.SKILLS)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert 50 < len(front["description"]) <= 1024
    assert set(front) <= {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
    assert all(isinstance(value, str) for value in front["metadata"].values())
    assert len(text.encode()) <= 6000
    assert len(skill.block()) <= 1200
    assert len(text.splitlines()) < 500


NOTES = {
    "none": {},
    "agents": {"AGENTS.md": b"# Notes\n\nUse tabs.\n"},
    "claude": {"CLAUDE.md": b"# Notes\n"},
    "both": {"AGENTS.md": b"a\n", "CLAUDE.md": b"c\n"},
    "no last line's end": {"AGENTS.md": b"a\nb"},
    "blank lines": {"AGENTS.md": b"a\n\n\n"},
    "one line's end": {"AGENTS.md": b"\n"},
    "empty": {"AGENTS.md": b""},
    "of windows": {"AGENTS.md": b"a\r\n\r\nb\r\n"},
    "of windows, no end": {"CLAUDE.md": b"a\r\nb"},
    "not utf-8": {"AGENTS.md": b"\xff\xfe caf\xe9\n"},
    "mark": {"AGENTS.md": b"\xef\xbb\xbf# Notes\n"},
    "skills of theirs": {".claude/skills/own/SKILL.md": b"x", ".agents/notes": b"y"},
}


@pytest.mark.parametrize("notes", [*NOTES])
def test_in_and_out_leaves_every_byte(tmp_path: Path, notes: str) -> None:
    """Install twice is as once; remove gives the bytes back, and takes away what was made."""
    for name, data in NOTES[notes].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    before = tree(tmp_path)
    top = str(tmp_path)
    rows = skill.install(top, False, DISK)
    there = tree(tmp_path)
    assert all(row["did"] in ("made", "changed") for row in rows)
    assert {name for name in skill.NOTES if name in there} == ({name for name in skill.NOTES if name in before} or {"AGENTS.md"})
    assert {row["did"] for row in skill.install(top, False, DISK)} == {"nothing"}
    assert tree(tmp_path) == there
    assert {row["state"] for row in skill.status(top)} == {"installed"}
    for name in skill.NOTES:
        if name in before:
            own = there[name]
            assert own is not None and own.startswith(before[name] or b"")
            assert b"\n" not in own.replace(b"\r\n", b"") or b"\r\n" not in (before[name] or b"")
    assert {row["did"] for row in skill.remove(top, False, DISK)} <= {"removed", "changed"}
    assert tree(tmp_path) == before
    assert skill.remove(top, False, DISK) == []
    assert {row["state"] for row in skill.status(top)} == {"none"}


def test_which_notes_are_written(tmp_path: Path) -> None:
    """AGENTS.md is made where there are none; CLAUDE.md never is, and is left alone where it takes AGENTS.md in."""
    def files(**notes: str) -> list[str]:
        folder = tmp_path / f"d{len([*tmp_path.iterdir()])}"
        folder.mkdir()
        for name, text in notes.items():
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
        skill.install(str(folder), False, DISK)
        return sorted(path.name for path in folder.glob("*.md") if skill.BEGIN in path.read_text(encoding="utf-8"))

    assert files() == ["AGENTS.md"]
    assert files(AGENTS="a\n") == ["AGENTS.md"]
    assert files(CLAUDE="c\n") == ["CLAUDE.md"]
    assert files(AGENTS="a\n", CLAUDE="c\n") == ["AGENTS.md", "CLAUDE.md"]
    assert files(AGENTS="a\n", CLAUDE="see\n@AGENTS.md\n") == ["AGENTS.md"]


def test_a_link_is_written_through_once(tmp_path: Path) -> None:
    """CLAUDE.md that is a link to AGENTS.md: one block, the link and the mode stay, and all is as before afterwards."""
    notes = tmp_path / "AGENTS.md"
    notes.write_bytes(b"a\n")
    notes.chmod(0o644)
    (tmp_path / "CLAUDE.md").symlink_to("AGENTS.md")
    skill.install(str(tmp_path), False, DISK)
    assert notes.read_bytes().count(skill.BEGIN.encode()) == 1
    assert notes.stat().st_mode & 0o777 == 0o644
    skill.remove(str(tmp_path), False, DISK)
    assert notes.read_bytes() == b"a\n"
    assert os.readlink(tmp_path / "CLAUDE.md") == "AGENTS.md"


def test_changes_of_a_person_stay(tmp_path: Path) -> None:
    """What was written around the block stays when it is brought up to date, and when it goes."""
    notes = tmp_path / "AGENTS.md"
    notes.write_bytes(b"a\n")
    skill.install(str(tmp_path), False, DISK)
    notes.write_bytes(b"before\n" + notes.read_bytes().replace(b"Other agents", b"OTHER AGENTS") + b"\nafter\n")
    assert skill.status(str(tmp_path))[-1] == {"host": "skill", "file": "AGENTS.md", "state": "changed"}
    skill.install(str(tmp_path), False, DISK)
    assert notes.read_bytes() == b"before\na\n\n" + skill.block() + b"\n\nafter\n"
    skill.remove(str(tmp_path), False, DISK)
    assert notes.read_bytes() == b"before\na\n\nafter\n"


def test_half_a_block_and_a_foreign_skill_are_refused(tmp_path: Path) -> None:
    """A marker alone, a skill of another's, and ours changed by hand: exit 2, and nothing at all is written."""
    top, notes, own = str(tmp_path), tmp_path / "AGENTS.md", tmp_path / skill.SKILLS[1]
    notes.write_text(f"a\n{skill.BEGIN}\nb\n", encoding="utf-8")
    before = tree(tmp_path)
    with pytest.raises(Usage, match=r"AGENTS.md:2: "):
        skill.install(top, False, DISK)
    assert tree(tmp_path) == before
    notes.write_text("a\n", encoding="utf-8")
    own.parent.mkdir(parents=True)
    own.write_text("---\nname: mbox\ndescription: mine\n---\n", encoding="utf-8")
    before = tree(tmp_path)
    with pytest.raises(Usage, match="move it away"):
        skill.install(top, False, DISK)
    assert skill.remove(top, False, DISK) == []
    assert tree(tmp_path) == before
    own.unlink()
    skill.install(top, False, DISK)
    own.write_bytes(own.read_bytes() + b"and my own line\n")
    before = tree(tmp_path)
    with pytest.raises(Usage, match="changed by hand"):
        skill.remove(top, False, DISK)
    assert tree(tmp_path) == before


def test_an_earlier_version_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skill that another version wrote, and nobody changed, is brought up to date, and removed."""
    monkeypatch.setattr(skill, "_BODY", "\nan earlier text\n")
    skill.install(str(tmp_path), False, DISK)
    monkeypatch.undo()
    assert {row["state"] for row in skill.status(str(tmp_path)) if "SKILL" in row["file"]} == {"changed"}
    assert {row["did"] for row in skill.install(str(tmp_path), False, DISK) if "SKILL" in row["file"]} == {"changed"}
    assert (tmp_path / skill.SKILLS[0]).read_bytes() == skill.skill()
    skill.remove(str(tmp_path), False, DISK)
    assert tree(tmp_path) == {}


def test_a_trial_says_the_difference_and_writes_nothing(desk: Desk) -> None:
    """`hooks install skill --dry-run` shows the lines, `hooks install skill` writes, `hooks remove skill` takes out."""
    before = {name: data for name, data in tree(desk.root).items() if not name.startswith((".mailbox", ".tasks", ".git"))}
    folder, environ = desk.root / "src", desk.environ()

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        line = [str(BIN / "mbox"), "hooks", *words]
        return subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, check=True)

    tried = call("install", "skill", "--dry-run")
    assert "+++ b/AGENTS.md" in tried.stderr and "+name: mbox" in tried.stderr
    assert not (desk.root / "AGENTS.md").exists()
    call("install", "skill")
    assert (desk.root / "AGENTS.md").read_bytes() == skill.block() + b"\n"
    assert '"installed"' in call("status", "skill").stdout
    call("remove", "skill")
    after = {name: data for name, data in tree(desk.root).items() if not name.startswith((".mailbox", ".tasks", ".git"))}
    assert after == before


def test_a_trial_is_a_patch(tmp_path: Path) -> None:
    """Applied, it is what an install writes, also where a person's last line has no end."""
    (tmp_path / "AGENTS.md").write_bytes(b"one\r\nlast")
    patch = "".join(row["diff"] for row in skill.install(str(tmp_path), True, Disk(False)))
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=tmp_path, check=True)
    assert {row["did"] for row in skill.install(str(tmp_path), False, Disk(False))} == {"nothing"}


def test_what_changes_meanwhile_is_left(tmp_path: Path) -> None:
    """A person writes the notes between our look and our writing."""
    notes = tmp_path / "AGENTS.md"
    notes.write_bytes(b"mine\n")

    change = notes.read_bytes(), skill.with_block(notes.read_bytes(), str(notes))
    notes.write_bytes(b"later\n")
    with pytest.raises(Refused, match="changed while this ran"):
        personal.written("skill", str(tmp_path), str(notes), *change, Disk(False), False)
    assert notes.read_bytes() == b"later\n"
