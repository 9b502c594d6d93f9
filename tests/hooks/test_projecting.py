"""`workflow compile`: what hooks alone can hold an agent to, and that nothing is dropped in silence."""

from __future__ import annotations

import json

import pytest

from conftest import CHECKOUT, Run
from mbox.hooks.entries import PLACES

FILE = CHECKOUT / "workflows/review-loop.yaml"


@pytest.mark.parametrize("host", PLACES)
def test_the_same_entries_as_install(run: Run, host: str) -> None:
    """The settings are those that `mbox hooks install` writes; gates and rules are settings of the store."""
    done = run("workflow", "compile", FILE, "--target", host, check=True)
    said = json.loads(done.stdout)
    place = PLACES[host]
    found = said["settings"]
    for key in place.keys if not place.whole else ():
        found = found[key]
    assert found == {event: [entry] for event, entry in place.events}
    assert said["config"]["gates"] == ["./scripts/test"]
    rules = said["config"]["guard.deny"]
    assert rules and all(rule.startswith("reviewer: ") for rule in rules)
    for word in ("review: where it leads", "save: a step of kind git", "limits", "family"):
        assert any(word in line for line in done.stderr.splitlines()), word


def test_its_rules_are_taken_and_hold(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What it prints for `guard.deny` is taken by `mbox config set`, and keeps a reviewer from writing."""
    from .hookkit import Desk, reason

    desk = Desk(tmp_path_factory.mktemp("desk"))
    rules = json.loads(run("workflow", "compile", FILE, "--target", "claude", check=True).stdout)["config"]["guard.deny"]
    desk.mbox("config", "set", "guard.deny", ",".join(rules))
    desk.mbox("agent", "add", "rev", "--role", "reviewer")
    assert reason("claude", desk.ask("claude", "PreToolUse", "Write", {"file_path": "x"}, agent="rev"))
    assert reason("claude", desk.ask("claude", "PreToolUse", "Write", {"file_path": "x"}, agent="bob")) == ""


def test_an_unknown_target(run: Run) -> None:
    """Exit 2, with what there is."""
    done = run("workflow", "compile", FILE, "--target", "cluade")
    assert done.returncode == 2 and "did you mean claude" in done.stderr
