"""The card: all that an agent must have to go on, at its start, after a compaction and a resume; short, and as of a record."""

from __future__ import annotations

import json

import pytest

from mbox.hooks import card

from .hookkit import Desk, context


@pytest.mark.parametrize("source", ["startup", "resume", "clear", "compact"])
def test_a_start_brings_the_card(desk: Desk, source: str) -> None:
    """Name, role, task with last note and checkpoint, holdings, unread, next; as of a record."""
    desk.mbox("task", "add", "Write <the> parser", "--path", "src/**")
    task = desk.mbox("task", "claim", "--start", agent="bob")["task_id"]
    desk.mbox("task", "note", task, "half done", agent="bob")
    desk.mbox("task", "checkpoint", task, "--state", '{"at": 7}', agent="bob")
    desk.mbox("reserve", "add", "lib/x.py", agent="bob")
    desk.mbox("send", "bob", "--subject", "wait & see", "--body", "b", agent="ann")
    text = context(desk.ask("claude", "SessionStart", source=source))
    for part in ("card of bob, as of record", "a worker", f"Task {task} is running", '"Write \\u003cthe\\u003e parser"',
                 "half done", '\\"at\\":7', "lib/x.py", "src/**", "Unread: 1", '"wait \\u0026 see"',
                 f"`task done {task} --token"):  # fmt: skip
        assert part in text, part
    assert len(text.encode()) <= card.CARD and not set("<>&") & set(text)


def test_mbox_card_prints_it(desk: Desk) -> None:
    """`mbox card` prints what the hook brings, and for programs says as of which record."""
    said = desk.mbox("card", agent="bob")
    assert said["text"] == context(desk.ask("claude", "SessionStart", source="startup"))
    assert said["agent"] == "bob" and f"as of record {said['seq']}." in said["text"]


def test_what_changed_since_the_last_turn(desk: Desk) -> None:
    """Tasks cancelled or rejected, leases lost, own files that others changed; not what the agent itself did."""
    desk.mbox("agent", "add", "boss", "--role", "orchestrator")
    for title in ("one", "two"):
        desk.mbox("task", "add", title)
    one, two = (desk.mbox("task", "claim", agent="bob")["task_id"] for _ in range(2))
    desk.mbox("task", "submit", two, "--to", "ann", agent="bob")
    desk.mbox("reserve", "add", "src/**", agent="bob")
    desk.ask("claude", "Stop"), desk.ask("claude", "Stop")
    desk.mbox("task", "cancel", one, agent="boss")
    desk.mbox("task", "reject", two, "--reason", "no <tests>", agent="ann")
    desk.ask("claude", "PreToolUse", "Bash", {"command": "./x"}, agent="ann")
    (desk.root / "src/a.py").write_text("2\n", encoding="utf-8")
    desk.ask("claude", "PostToolUse", "Bash", {"command": "./x"}, agent="ann")
    desk.mbox("task", "add", "not mine")
    text = context(desk.ask("claude", "SessionStart", source="resume"))
    changed = text.split("Since its last turn")[1]
    assert f"task.cancel {one} by boss" in changed and f"task.reject {two} by ann" in changed
    assert '"no \\u003ctests\\u003e"' in changed
    assert "guard.wrote" in changed and "src/a.py" in changed and "not mine" not in changed


def test_a_full_desk_fits(desk: Desk) -> None:
    """Twelve long tasks, twenty reservations, thirty letters: still 1,800 bytes, and it says what is left out."""
    for n in range(12):
        desk.mbox("task", "add", f"{n} " + "ü" * 150, "--path", f"d{n}/" + "x" * 60 + "/**")
        desk.mbox("task", "claim", agent="bob")
    for n in range(8):
        desk.mbox("reserve", "add", f"e{n}/" + "y" * 80, agent="bob")
        desk.mbox("send", "bob", "--subject", "<" * 100, "--body", "b", agent="ann")
    text = context(desk.ask("codex", "SessionStart", source="compact"))
    assert len(text.encode()) <= card.CARD and "do not fit here: `mbox me`" in text and "Task t" in text and "Unread: 8" in text


def test_roles(desk: Desk) -> None:
    """A role is told what it is there for."""
    for name, role, word in (("boss", "orchestrator", "leads"), ("rev", "reviewer", "judges"), ("tst", "tester", "does tasks")):
        desk.mbox("agent", "add", name, "--role", role)
        assert word in desk.mbox("card", agent=name)["text"]


def test_an_agy_agent_gets_it_before_its_first_model_call(desk: Desk) -> None:
    """Antigravity has no start: the first call of the model is it, and later calls bring mail."""
    first = json.loads(desk.ask("agy", "PreInvocation", invocationNum=0).stdout)
    assert "card of bob" in first["injectSteps"][0]["ephemeralMessage"]
    assert desk.ask("agy", "PreInvocation", invocationNum=1).stdout == ""
    desk.mbox("send", "bob", "--body", "news", agent="ann")
    assert "news" in desk.ask("agy", "PreInvocation", invocationNum=2).stdout
