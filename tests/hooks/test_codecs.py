"""What hosts say and hear: each call is read, each answer has exactly its host's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbox.hooks import codecs
from mbox.hooks.codecs import AFTER, BEFORE, END, PROMPT, START, STOP, HostCall

SAMPLES = Path(__file__).parent / "samples"

MOMENTS = {
    "claude": {"SessionStart": START, "UserPromptSubmit": PROMPT, "PreToolUse": BEFORE, "PostToolUse": AFTER, "Stop": STOP,
               "SessionEnd": END},
    "codex": {"SessionStart": START, "UserPromptSubmit": PROMPT, "PreToolUse": BEFORE, "PostToolUse": AFTER, "Stop": STOP,
              "SessionEnd": END},
    "gemini": {"SessionStart": START, "BeforeAgent": PROMPT, "BeforeTool": BEFORE, "AfterTool": AFTER, "AfterAgent": STOP,
               "SessionEnd": END},
    "agy": {"PreToolUse": BEFORE, "PostToolUse": AFTER, "Stop": STOP},
    "cursor": {"sessionStart": START, "beforeSubmitPrompt": PROMPT, "preToolUse": BEFORE, "postToolUse": AFTER, "stop": STOP,
               "sessionEnd": END},
    "copilot": {"SessionStart": START, "UserPromptSubmit": PROMPT, "PreToolUse": BEFORE, "PostToolUse": AFTER, "Stop": STOP,
                "SessionEnd": END},
    "qwen": {"SessionStart": START, "UserPromptSubmit": PROMPT, "PreToolUse": BEFORE, "PostToolUse": AFTER, "Stop": STOP},
    "opencode": {"session.created": START, "chat.message": PROMPT, "tool.execute.before": BEFORE, "tool.execute.after": AFTER,
                 "session.idle": STOP},
}  # fmt: skip
"""Written from the hosts' pages, not from the table."""

DENIED: dict[str, Any] = {
    "claude": {"hookSpecificOutput": {"hookEventName": "E", "permissionDecision": "deny", "permissionDecisionReason": "R"}},
    "codex": {"hookSpecificOutput": {"hookEventName": "E", "permissionDecision": "deny", "permissionDecisionReason": "R"}},
    "qwen": {"hookSpecificOutput": {"hookEventName": "E", "permissionDecision": "deny", "permissionDecisionReason": "R"}},
    "gemini": {"decision": "deny", "reason": "R"},
    "agy": {"decision": "deny", "reason": "R"},
    "cursor": {"permission": "deny", "user_message": "R", "agent_message": "R"},
    "copilot": {"permissionDecision": "deny", "permissionDecisionReason": "R"},
    "opencode": {"deny": "R"},
}
"""The whole answer, no field more: one that a host does not know un-blocks the write in Codex, and in Claude Code too."""

SILENT = {"cursor": '{"permission":"allow"}', "agy": '{"decision":"allow"}', "opencode": "{}"}

KEPT = {"claude": {"decision": "block", "reason": "R"}, "codex": {"decision": "block", "reason": "R"},
        "copilot": {"decision": "block", "reason": "R"}, "qwen": {"decision": "block", "reason": "R"},
        "gemini": {"decision": "deny", "reason": "R"}, "agy": {"decision": "continue", "reason": "R"},
        "cursor": {"followup_message": "R"}}  # fmt: skip

CONTEXT: dict[str, Any] = {
    **{host: {"hookSpecificOutput": {"hookEventName": "E", "additionalContext": "T"}}
       for host in ("claude", "codex", "qwen", "gemini")},
    "agy": {"injectSteps": [{"ephemeralMessage": "T"}]}, "cursor": {"additional_context": "T"},
    "copilot": {"additionalContext": "T"}, "opencode": {"inject": "T"},
}  # fmt: skip


def call(host: str, event: str, **doc: Any) -> HostCall:
    """A call of a host."""
    return codecs.read(host, event, json.dumps({"cwd": "/r", **doc}).encode(), "/p")


def at(host: str, moment: str) -> str:
    """The host's event for a moment."""
    return next(event for event, one in MOMENTS[host].items() if one == moment)


@pytest.mark.parametrize("host", MOMENTS)
def test_each_event_means_its_moment(host: str) -> None:
    """What a host calls an event is known as what it means; an unknown one means nothing, and is no error."""
    assert {event: call(host, event).moment for event in MOMENTS[host]} == MOMENTS[host]
    assert call(host, "Unheard").moment == "" and not call(host, "Unheard").error


@pytest.mark.parametrize("host", DENIED)
def test_a_denial_is_minimal(host: str) -> None:
    """A denial has its host's fields and no other, on one line, with exit 0."""
    event = at(host, BEFORE)
    reply = codecs.denied(call(host, event), "R")
    wanted = json.loads(json.dumps(DENIED[host]).replace('"E"', json.dumps(event)))
    assert json.loads(reply.stdout) == wanted and reply.status == 0 and not reply.stderr and "\n" not in reply.stdout


@pytest.mark.parametrize("host", MOMENTS)
def test_no_opinion_is_silence(host: str) -> None:
    """Nothing is said, but where silence denies; nothing is ever allowed anywhere else."""
    reply = codecs.silent(call(host, at(host, BEFORE)))
    assert reply.stdout == SILENT.get(host, "") and reply.status == 0
    said = [codecs.silent(call(host, event)).stdout for event in codecs.HOSTS[host].events]
    assert host in ("agy", "cursor") or not any("allow" in one for one in said)


@pytest.mark.parametrize("host", KEPT)
def test_a_stop_is_held_in_its_host_s_form(host: str) -> None:
    """What keeps the agent going is the host's own form of it."""
    reply = codecs.kept_going(call(host, at(host, STOP)), "R")
    assert json.loads(reply.stdout) == KEPT[host] and reply.status == 0


@pytest.mark.parametrize("event", ["TaskCompleted", "TeammateIdle"])
def test_a_teammate_is_held_by_exit_2(event: str) -> None:
    """A task of a Claude team is held by exit 2 and stderr: JSON would end the teammate."""
    reply = codecs.kept_going(call("claude", event), "R")
    assert (reply.stdout, reply.stderr, reply.status) == ("", "R", 2)


@pytest.mark.parametrize("host", CONTEXT)
def test_context_in_its_host_s_form(host: str) -> None:
    """What is put before the model stands where the host looks for it."""
    event = "PreInvocation" if host == "agy" else at(host, AFTER)
    reply = codecs.injected(call(host, event), "T")
    assert json.loads(reply.stdout) == json.loads(json.dumps(CONTEXT[host]).replace('"E"', json.dumps(event)))


def test_who_can_ask_a_person() -> None:
    """`ask` is a denial where the host can't ask: Codex would run the tool."""
    asked = {host: codecs.denied(call(host, at(host, BEFORE)), "R", "ask").stdout for host in MOMENTS}
    assert [host for host, text in asked.items() if '"ask"' in text] == ["claude", "agy"]
    assert all("deny" in text for host, text in asked.items() if host not in ("claude", "agy"))


def test_samples_of_the_programs() -> None:
    """Every call that was captured from a real program is read: its moment, its session, and of a tool its input."""
    files = sorted(SAMPLES.glob("*/*.json"))
    assert files
    for file in files:
        host, event = file.parent.name, file.stem.split("-")[0]
        found = codecs.read(host, event, file.read_bytes(), "/p")
        assert not found.error, file
        if found.moment in (BEFORE, AFTER):
            assert found.tool, file


def test_published_samples(shared_data: Path) -> None:
    """So is every sample in the hosts' documentation."""
    for folder, host in (("claude_code_stdin", "claude"), ("codex_hooks", "codex"), ("gemini", "gemini"), ("cursor", "cursor"),
                         ("copilot", "copilot"), ("agy", "agy")):  # fmt: skip
        for file in (shared_data / "hosts" / folder).glob("*.json"):
            if folder != "claude_code_stdin" and not file.name.startswith("stdin_"):
                continue
            doc = json.loads(file.read_bytes())
            event = doc.get("hook_event_name") or file.stem.removeprefix("stdin_").removeprefix("camel_")
            found = codecs.read(host, event, file.read_bytes(), "/p")
            assert not found.error, file
            if found.kind == codecs.FILE or found.kind == codecs.PATCH:
                assert codecs.written(found), file
            if found.kind == codecs.SHELL:
                assert codecs.command(found), file


PATCHED = """*** Begin Patch
*** Update File: src/a.py
*** Move to: src/b.py
@@
-x
+*** Add File: not/this
*** Add File: new file.py
+x
*** Delete File: /abs/c.py
*** End Patch
"""


def test_every_file_of_a_patch() -> None:
    """Both ends of a move, what is added and what is deleted; also in a unified diff, without the marks of its sides."""
    assert codecs.patched(PATCHED) == ["src/a.py", "src/b.py", "new file.py", "/abs/c.py"]
    diff = "diff --git a/x b/y\nrename from x\nrename to y\n--- a/x\n+++ b/y\n@@ -1 +1 @@\n-1\n+2\n--- /dev/null\n+++ b/z\n"
    assert codecs.patched(diff) == ["x", "y", "z"]
    assert codecs.patched("nothing of the kind") is None


@pytest.mark.parametrize(
    ("tool", "given", "wanted"),
    [
        ("Bash", {"command": "ls"}, "ls"),
        ("shell", {"command": ["bash", "-lc", "echo x > y"]}, "echo x > y"),
        ("exec_command", {"cmd": "ls -l"}, "ls -l"),
        ("shell", {"command": ["rm", "a b"]}, "'rm' 'a b'"),
        ("Bash", {"command": 7}, None),
        ("Bash", {}, None),
    ],
)
def test_the_line_of_a_shell(tool: str, given: object, wanted: str | None) -> None:
    """A line is a text, or a list of words whose shell is looked through; anything else cannot be read."""
    assert codecs.command(call("codex", "PreToolUse", tool_name=tool, tool_input=given)) == wanted


def test_a_call_in_other_words_is_not_claude_s() -> None:
    """Cursor and Copilot read Claude's settings too; called with their words, the line of Claude says nothing."""
    assert call("claude", "PreToolUse", cursor_version="1", tool_name="Write").moment == ""
    assert call("claude", "PreToolUse", timestamp="2026-01-01T00:00:00Z", tool_name="Write").moment == ""
    assert call("claude", "PreToolUse", transcript_path="/t", tool_name="Write").moment == BEFORE


def test_qwen_s_prompts_in_mid_turn_are_none() -> None:
    """Qwen fires its prompt event before every call of the model; only the one with a prompt is one."""
    assert not call("qwen", "UserPromptSubmit", prompt="").is_real
    assert call("qwen", "UserPromptSubmit", prompt="", submitted_prompt="go").is_real


BAD = [b"", b"{", b"[", b'"', b"[1]", b"null", b"{}{}", b"\xff{}", b'{"a":NaN}', b'{"a":1', b"{" * 100_000, b"[" * 100_000,
       b'{"a":' * 100_000, b"\x00", b'{"a":"' + b"x" * 100, b"{}\0"]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=[str(n) for n in range(len(BAD))])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    """Whatever comes, ValueError or an object: never another exception."""
    with pytest.raises(ValueError, match=""):
        codecs.decoded(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON))
def test_json_is_read_and_written_as_the_library_does(doc: dict[str, Any]) -> None:
    """Our reading of JSON is `json`'s, and what we write it reads."""
    assert codecs.decoded(json.dumps(doc).encode()) == doc
    assert json.loads(codecs.encoded(doc)) == doc


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Any bytes are an object or a ValueError."""
    try:
        assert isinstance(codecs.decoded(data), dict)
    except ValueError:
        pass


@given(st.text())
def test_foreign_words_are_inert(text: str) -> None:
    """What others wrote is a JSON string on one line with no markup, and reads back as it was."""
    said = codecs.inert(text)
    assert json.loads(said) == text and said.isprintable() and not set("<>&`") & set(said)
