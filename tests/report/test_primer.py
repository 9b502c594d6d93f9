"""What a new agent reads first: for its role, in 2,500 bytes, and true."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT, Run
from mbox.cli.table import TABLES
from mbox.report import primer
from teamkit import end_all, until

ROLES = ("worker", "reviewer", "orchestrator", "architect", "r" * 64)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("command", ["", "c" * primer.COMMAND, "c" * 5000])
def test_it_is_short(role: str, command: str) -> None:
    """2,500 bytes at most, for the longest names too."""
    for name in ("a", "n" * 64):
        text = primer.primer(name, role, command)
        assert len(text.encode()) <= 2500
        assert text.startswith(f"You are {name}, {role}, ") and f"--as {name}" in text


@pytest.mark.parametrize("role", ROLES)
def test_it_names_ten_commands_that_are_there(role: str) -> None:
    """Ten lines begin with a command; each is one of the table, and each word in backticks that is ours is, too."""
    text = primer.primer("ann", role)
    called = re.findall(r"^(mbox|task|reserve) ([a-zA-Z]+)", text, re.M)
    assert len(called) == 10 and len(set(called)) == 10
    for program, word in called:
        assert word in TABLES[program] or (program, word) == ("reserve", "PATH")


def test_each_command_is_one_that_help_knows(run: Run, tmp_path: Path) -> None:
    """The options that a primer names are those of the command."""
    for line in primer.SAYS:
        program, verb, *rest = line.partition(" -- ")[0].split()
        words = [program, "add"] if verb == "PATH" else [program, verb]
        shown = run(*words, "--help", cwd=tmp_path, check=True).stdout
        assert all(word in shown for word in rest if word.startswith("--")), line
    assert {one for ten in primer.COMMANDS.values() for one in ten} == set(primer.SAYS)


def test_roles_differ() -> None:
    """A reviewer and an orchestrator are told other things than a worker; a role without words of its own works."""
    worker, reviewer, lead, other = (primer.primer("ann", role) for role in ("worker", "reviewer", "orchestrator", "tester"))
    assert "task approve" in reviewer and "task claim" not in reviewer
    assert "task add" in lead and "task claim" not in lead and "task claim" in worker
    assert other == worker.replace("worker", "tester", 1)


def test_the_command(staffed: Path, run: Run, tmp_path: Path) -> None:
    """Of the caller's role; without an agent a worker's, also where no store is; --role shows another; 3 for nobody."""
    run("mbox", "agent", "add", "rae", "--role", "reviewer", cwd=staffed, check=True)
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    assert run("mbox", "primer", "--as", "rae", cwd=staffed, env=path).stdout == primer.primer("rae", "reviewer")
    assert run("mbox", "primer", cwd=staffed, env=path).stdout == primer.primer("NAME", "worker")
    assert run("mbox", "primer", "--role", "orchestrator", cwd=tmp_path.parent, env=path).stdout.startswith("You are NAME, orch")
    told = json.loads(run("mbox", "primer", "--as", "ann", "--json", cwd=staffed, env=path).stdout)
    assert told == {"agent": "ann", "role": "worker", "text": primer.primer("ann", "worker")}
    assert run("mbox", "primer", "--as", "nobody", cwd=staffed).returncode == 3


def test_where_the_commands_are_not_on_the_path(staffed: Path, run: Run) -> None:
    """The words name a command that works from there."""
    text = run("mbox", "primer", "--as", "ann", cwd=staffed, env={"PATH": "/usr/bin:/bin"}, check=True).stdout
    (command,) = re.findall(r"Where `mbox` is not found, type `(.*?)` for it", text)
    done = run(*shlex.split(command), "me", "--as", "ann", cwd=staffed, env={"PATH": "/usr/bin:/bin"}, check=True)
    assert json.loads(done.stdout)["agent"] == "ann"
    assert run(*shlex.split(command), "task", "list", cwd=staffed, env={"PATH": "/usr/bin:/bin"}, check=True).stdout == "[]\n"


def test_a_team_hands_it_over(staffed: Path, run: Run) -> None:
    """At the head of the first instruction of whoever's host takes one, for its role; its own prompt stands behind it."""
    tools = staffed / "tools"
    tools.mkdir()
    for name in ("claude", "codex", "bash", "other"):
        probe = "sys.argv[1:2] == ['sandbox'] and sys.exit()"  # by which `team up` asks whether it can write
        note = "open(os.environ['MBOX_AGENT'] + '.json', 'w').write(json.dumps(sys.argv[1:]))"
        (tools / name).write_text(f"#!{sys.executable}\nimport sys, os, json, signal\n{probe}\n{note}\nsignal.pause()\n")
        (tools / name).chmod(0o755)
    (staffed / "t.yaml").write_text(
        "team: t\norchestrator: boss\nmembers:\n- {name: boss, role: orchestrator, host: claude, prompt: Lead us.}\n"
        "- {name: rev, host: codex, role: reviewer, command: [tools/codex, --search]}\n"
        "- {name: sh, host: shell, command: [tools/bash]}\n- {name: own, host: claude, command: [tools/other]}\n"
        "- {name: told, host: claude, command: [tools/other], prompt: Go.}\n"
    )
    path = {"PATH": f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin"}
    try:
        run("team", "up", "t.yaml", "--no-tmux", cwd=staffed, env=path, check=True)
        said = {}
        for name in ("boss", "rev", "sh", "own", "told"):
            file = staffed / f"{name}.json"
            said[name] = json.loads(until(lambda file=file: file.exists() and file.read_text(), f"{name} said nothing"))
    finally:
        end_all(staffed)
    assert said["boss"] == [f"{primer.primer('boss', 'orchestrator')}\nLead us."]
    roots = f"sandbox_workspace_write.writable_roots={json.dumps([str(staffed / '.mailbox'), str(staffed / '.tasks')])}"
    assert said["rev"] == ["-c", "allow_login_shell=false", "-c", roots, "--search", primer.primer("rev", "reviewer")]
    assert said["sh"] == [] and said["own"] == [], "a host that takes none; a program that is not the host's and asks for none"
    assert said["told"] == [f"{primer.primer('told', 'worker')}\nGo."]


def test_the_pages_show_it() -> None:
    """The README says how an agent begins, and docs/jobs.md has a worker's, as the command prints it."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert "`mbox run --as NAME -- claude`" in readme and "`mbox primer --as NAME`" in readme
    shown = "\n".join(f"    {line}".rstrip() for line in primer.primer("NAME", "worker").splitlines())
    assert f"\n\n{shown}\n\n" in (CHECKOUT / "docs/jobs.md").read_text(encoding="utf-8")
