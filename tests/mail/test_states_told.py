"""How a thing stands is told wherever it is named: in the answer to whoever sends, and in what a search finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import Run


def test_a_sender_is_told_the_state(staffed: Path, run: Run) -> None:
    """Unread at first; the same call again tells what became of it, if that is one state for all."""
    run("mbox", "agent", "add", "boss", "--role", "orchestrator", cwd=staffed, check=True)

    def answer(*words: str) -> Any:
        return json.loads(run("mbox", *words, cwd=staffed, check=True).stdout)

    sent = answer("send", "bob", "--as", "ann", "--body", "x", "--key", "k")
    assert sent == {"msg_id": "m5", "state": "unread"}
    assert answer("reply", "m5", "--as", "bob", "--body", "y")["state"] == "unread"
    assert answer("broadcast", "--as", "boss", "--body", "z", "--key", "all")["state"] == "unread"
    answer("read", "m5", "--as", "bob")
    again = answer("send", "bob", "--as", "ann", "--body", "x", "--key", "k")
    assert (again["already"], again["state"]) == (True, "acked")
    answer("read", "m7", "--as", "bob")
    assert "state" not in answer("broadcast", "--as", "boss", "--body", "z", "--key", "all")


def test_what_is_found_says_how_it_stands(staffed: Path, run: Run) -> None:
    """A task its status, a letter its state, least far of all receivers."""
    run("task", "add", "a turnip", cwd=staffed, check=True)
    run("task", "claim", "t4", "--as", "ann", cwd=staffed, check=True)
    run("mbox", "send", "bob", "ann", "--as", "ann", "--body", "turnip", cwd=staffed, check=True)
    run("mbox", "read", "--as", "bob", cwd=staffed, check=True)
    rows = json.loads(run("mbox", "search", "turnip", cwd=staffed, check=True).stdout)
    assert {row["id"]: (row.get("status"), row.get("state")) for row in rows} == {
        "t4": ("claimed", None), rows[0]["id"] if rows[0]["kind"] == "message" else rows[1]["id"]: (None, "unread"),
    }  # fmt: skip
