"""What stands in a host's settings: one line, the host's own fields, and limits of time above ours."""

from __future__ import annotations

from typing import Any

import pytest

from mbox.config.settings import TABLE
from mbox.hooks import codecs, entries
from mbox.hooks.entries import PLACES, HostFile

JSONS = [place for place in PLACES.values() if not place.whole]

each = pytest.mark.parametrize("place", JSONS, ids=lambda place: place.host)

LATE = {codecs.STOP, codecs.SUB_STOP, codecs.DONE, codecs.IDLE}
"""Where gates run."""


def handlers(place: HostFile) -> list[tuple[str, dict[str, Any]]]:
    """Each event of a host with what is run at it."""
    return [(event, entry["hooks"][0] if "hooks" in entry else entry) for event, entry in place.events]


@each
def test_every_entry_runs_the_one_line(place: HostFile) -> None:
    """With its host, and an event that the codec knows; nothing of this machine, this version or this person is in it."""
    for event, handler in handlers(place):
        line = handler["bash" if place.host == "copilot" else "command"]
        assert line == ('[ ! -x "$HOME/.local/share/mbox/hook" ] || exec "$HOME/.local/share/mbox/hook" '
                        f"{place.host} {event}")  # fmt: skip
        assert event in codecs.HOSTS[place.host].events and entries.is_ours(line)
    assert len({event for event, _ in place.events}) == len(place.events)


@each
def test_the_moments_that_hooks_are_for_are_asked_for(place: HostFile) -> None:
    """Before and after a tool, and where an agent stops, at every host; prompt and start where it has them."""
    known = codecs.HOSTS[place.host].events
    moments = {known[event] for event, _ in place.events}
    assert moments >= {codecs.BEFORE, codecs.AFTER, codecs.STOP} | ({codecs.START, codecs.PROMPT} & {*known.values()})


@each
def test_the_host_waits_longer_than_the_gates(place: HostFile) -> None:
    """Where gates run its limit is above ours by default, in its own unit; elsewhere nobody waits for long."""
    assert next(option for option in TABLE if option.name == "gate_time").default == "10m"
    for event, handler in handlers(place):
        limit = handler["timeoutSec" if place.host == "copilot" else "timeout"] / (1000 if place.host == "gemini" else 1)
        if codecs.HOSTS[place.host].events[event] in LATE:
            assert limit > 600
        else:
            assert 3 <= limit <= 15


def test_hosts_that_can_fail_closed_are_told_to() -> None:
    """Before a tool, Claude Code and Cursor; no other event or host has the word."""
    told = {(place.host, event) for place in JSONS for event, handler in handlers(place)
            if handler.get("onFailure") == "block" or handler.get("failClosed") is True}  # fmt: skip
    assert told == {("claude", "PreToolUse"), ("cursor", "preToolUse")}


def test_codex_gets_no_field_that_it_does_not_know() -> None:
    """Nor more than the 3 s that it allows at a session's end."""
    fields = {key for _, entry in PLACES["codex"].events for key in (*entry, *entry["hooks"][0])}
    assert fields <= {"matcher", "hooks", "type", "command", "timeout"}
    assert dict(handlers(PLACES["codex"]))["SessionEnd"]["timeout"] <= 3


def test_no_event_that_comes_with_every_call_of_the_model() -> None:
    """Gemini's PreCompress and BeforeModel would each cost a process a call."""
    names = {event for event, _ in PLACES["gemini"].events}
    assert names == {"SessionStart", "BeforeAgent", "BeforeTool", "AfterTool", "AfterAgent", "SessionEnd"}


def test_which_files() -> None:
    """This machine's own where the host has one, and another for the team there only."""
    assert {place.host: (place.local, place.shared) for place in PLACES.values() if place.local != place.shared} == {
        "claude": (".claude/settings.local.json", ".claude/settings.json")}  # fmt: skip
    assert len({place.local for place in PLACES.values()}) == len(PLACES) == len(codecs.HOSTS)
