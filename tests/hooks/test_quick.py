"""The quick answer: what it says is what the store would have said, it writes nothing, and it loads next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import everything
from mbox.format import patterns
from mbox.hooks import calls, codecs, quick

from .hookkit import SCRIPT, Desk, reason

PATHS = ["src/a.py", "src/b.py", "src/deep/c.py", "lib/x.py", "README", "src", "other/y", "/tmp/outside"]
PATTERNS = ["src/a.py", "src/**", "src/*.py", "lib/**", "**/*.py", "src/deep", "l?b/x.py", "{lib,other}/**", "README", "über/**"]
NEVER = {"json", "re", "enum", "typing", "dataclasses", "datetime", "click", "yaml", "shlex", "subprocess", "site", "argparse"}


def settled(desk: Desk) -> None:
    """Let the settings be remembered: as of a time that is past."""
    past = os.stat(desk.root / ".mailbox/config.yaml").st_mtime - 100
    os.utime(desk.root / ".mailbox/config.yaml", (past, past))
    desk.ask("claude", "PreToolUse", "Write", {"file_path": "/tmp/outside"})
    assert (desk.root / ".mailbox/cache/hook.json").is_file()


@pytest.mark.parametrize("seed", range(4))
def test_it_says_what_the_store_says(desk: Desk, seed: int) -> None:
    """Random reservations of two agents, random writes by three callers: where there is a quick answer it is the store's."""
    chance, answered = Random(seed), 0
    settled(desk)
    for _ in range(4):
        who = chance.choice(["ann", "bob"])
        desk.mbox("reserve", "add", chance.choice(PATTERNS), *chance.choice([(), ("--shared",)]), agent=who, fine=False)
    for _ in range(60):
        agent, path = chance.choice(["ann", "bob", ""]), chance.choice(PATHS)
        data = desk.said("claude", "PreToolUse", "Write", {"file_path": path})
        call = codecs.read("claude", "PreToolUse", data, str(desk.root))
        fast = quick.answer(call, desk.environ(agent))
        slow = calls.answer(call, desk.environ(agent))
        if fast is not None:
            answered += 1
            assert bool(reason("claude", fast)) == bool(reason("claude", slow)), (agent, path)
            assert reason("claude", fast).split(" until")[0] == reason("claude", slow).split(" until")[0]
    assert answered > 2


@given(st.text("a*?b/", min_size=1, max_size=8), st.text("ab/", min_size=1, max_size=8))
def test_simple_patterns_as_the_store_has_them(pattern: str, path: str) -> None:
    """Where a quick look says whether a pattern covers a path, the store's own matching says so too."""
    if "" in pattern.split("/") or "" in path.split("/"):
        return
    try:
        said = quick.covers(pattern, path)
    except quick.NotPlain:
        return
    assert said == patterns.parse(pattern).matches(path)


def test_it_writes_nothing(desk: Desk) -> None:
    """Own, held and outside paths, reading lines, no news: not a byte of the store changes."""
    settled(desk)
    desk.mbox("reserve", "add", "lib/**", agent="ann")
    for _ in range(2):
        desk.ask("claude", "PreToolUse", "Write", {"file_path": "src/a.py"})
    before = everything(desk.root)
    own, held = {"file_path": "src/a.py"}, {"file_path": "lib/x"}
    for event, tool, asked in (
        ("PreToolUse", "Write", own), ("PreToolUse", "Write", held), ("PreToolUse", "Bash", {"command": "ls"}),
        ("PostToolUse", "Write", own), ("PreToolUse", "Read", {}),
    ):  # fmt: skip
        call = codecs.read("claude", event, desk.said("claude", event, tool, asked), str(desk.root))
        assert quick.answer(call, desk.environ("bob")) is not None, (event, tool)
    assert everything(desk.root) == before


def test_what_is_not_plain_is_the_store_s(desk: Desk) -> None:
    """A change of anything that it relies on takes the quick answer away: settings, mark, journal, folder, agent, status."""
    settled(desk)
    wanted = {"file_path": "src/a.py"}
    desk.ask("claude", "PreToolUse", "Write", wanted)

    def fast(**env: str) -> bool:
        call = codecs.read("claude", "PreToolUse", desk.said("claude", "PreToolUse", "Write", wanted), str(desk.root))
        return quick.answer(call, desk.environ("bob", **env)) is not None

    assert fast() and not fast(MBOX_BOOT_ID="another") and not fast(MBOX_INCARNATION="9") and not fast(MBOX_LOCK="portable")
    mailbox = desk.root / ".mailbox"
    for file in ("config.yaml", "lock", "agents/bob.json", "status/bob.json", "cache/hook.json", "logs/000001.jsonl"):
        kept = (mailbox / file).read_bytes()
        (mailbox / file).write_bytes(b"x" + kept[1:] if file == "lock" else kept + b" \n")
        if file in ("config.yaml", "lock", "logs/000001.jsonl"):
            assert not fast(), file
        (mailbox / file).write_bytes(b"{")
        assert not fast(), file
        (mailbox / file).write_bytes(kept)
    reservations = mailbox / "reservations"
    os.utime(reservations)
    assert not fast()


def test_mail_and_age_end_it(desk: Desk) -> None:
    """New mail, a status that is older than `renew_every`, another session: the store itself answers."""
    settled(desk)
    desk.ask("claude", "PreToolUse", "Write", {"file_path": "src/a.py"})

    def fast(session: str = "s1") -> bool:
        data = desk.said("claude", "PostToolUse", "Write", {"file_path": "src/a.py"}, session_id=session)
        return quick.answer(codecs.read("claude", "PostToolUse", data, "/"), desk.environ("bob")) is not None

    assert fast() and not fast("another")
    status = desk.root / ".mailbox/status/bob.json"
    now = os.stat(status).st_mtime
    os.utime(status, (now - 60, now - 60))
    assert not fast()
    os.utime(status, (now, now))
    desk.mbox("send", "bob", "--body", "x", agent="ann")
    assert not fast()


def loaded(desk: Desk, event: str, tool: str, given: object) -> set[str]:
    """The modules that answering loads, in a process of its own."""
    line = [sys.executable, "-I", "-S", "-X", "importtime", str(SCRIPT), "claude", event]
    done = subprocess.run(line, input=desk.said("claude", event, tool, given), cwd=desk.root, env=desk.environ("bob"),
                          capture_output=True, check=True)  # fmt: skip
    return {row.rsplit("|", 1)[1].strip() for row in done.stderr.decode().splitlines() if row.startswith("import time:")}


def test_what_it_loads(desk: Desk) -> None:
    """Before and after a file tool, for a denial and a line of a shell: none of what costs a start is loaded."""
    settled(desk)
    desk.mbox("reserve", "add", "lib/**", agent="ann")
    desk.ask("claude", "PreToolUse", "Write", {"file_path": "src/a.py"})
    own, held = {"file_path": "src/a.py"}, {"file_path": "lib/x"}
    for event, tool, asked in (("PreToolUse", "Write", own), ("PostToolUse", "Write", own), ("PreToolUse", "Write", held),
                               ("PreToolUse", "Bash", {"command": "ls -l"})):  # fmt: skip
        found = loaded(desk, event, tool, asked)
        assert not found & NEVER, (event, tool, found & NEVER)
        ours = {name for name in found if name.startswith("mbox")}
        assert ours <= {"mbox", "mbox.hooks", "mbox.system", "mbox.system.clock"} | {
            f"mbox.hooks.{name}" for name in ("codecs", "quick", "spelling", "denials", "rules", *SHELL)
        }, ours


SHELL = tuple(path.stem for path in Path(SCRIPT).parent.glob("shell*.py"))


def test_it_starts_git_once_and_says_nothing(desk: Desk) -> None:
    """After a command that could not be read, where nothing of others changed: git is asked, and the answer is silence."""
    settled(desk)
    desk.mbox("reserve", "add", "src/**", agent="ann")
    (desk.root / "src/a.py").write_text("by its holder\n", encoding="utf-8")
    desk.ask("claude", "PreToolUse", "Bash", {"command": "./x"})
    call = codecs.read("claude", "PostToolUse", desk.said("claude", "PostToolUse", "Bash", {"command": "./x"}), str(desk.root))
    reply = quick.answer(call, desk.environ("bob"))
    assert reply is not None and reply.stdout == ""
    (desk.root / "src/a.py").write_text("by a command\n", encoding="utf-8")
    assert quick.answer(call, desk.environ("bob")) is None
