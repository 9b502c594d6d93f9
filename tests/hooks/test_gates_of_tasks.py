"""Gates: no agent with a task in hand ends its turn while one fails, three times at most."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Run

from .hookkit import Desk, context

GATE = "test -f ok || { echo broken '<b>'; exit 3; }"


def claimed(desk: Desk, *gates: str) -> str:
    """A task with these gates in bob's hand; its id."""
    words = [word for gate in gates for word in ("--gate", gate)]
    desk.mbox("task", "add", "do it", *words)
    return str(desk.mbox("task", "claim", "--start", agent="bob")["task_id"])


def stopped(desk: Desk, host: str = "claude", event: str = "Stop", **more: Any) -> str:
    """Why the stop was held; empty where it was not."""
    reply = desk.ask(host, event, **more)
    if reply.status == 2:
        return reply.stderr
    return str(json.loads(reply.stdout)["reason"]) if reply.stdout else ""


STOPS = [("claude", "Stop"), ("codex", "Stop"), ("gemini", "AfterAgent"), ("copilot", "Stop"), ("qwen", "Stop"),
         ("claude", "TaskCompleted"), ("claude", "TeammateIdle")]  # fmt: skip


@pytest.mark.parametrize(("host", "event"), STOPS)
def test_a_failing_gate_holds_and_a_mended_one_ends(desk: Desk, host: str, event: str) -> None:
    """The agent is told the command, the last lines and where the whole output is; once it passes, it passes."""
    task = claimed(desk, GATE)
    said = stopped(desk, host, event)
    assert f"A gate of {task} failed (exit 3, failure 1 of 3)" in said and "broken \\u003cb\\u003e" in said and "<b>" not in said
    log = said.split("Whole output: ")[1].split("/stdout")[0]
    assert (desk.root / log / "stdout").read_text(encoding="utf-8") == "broken <b>\n"
    (desk.root / "ok").write_text("", encoding="utf-8")
    assert "failed" not in stopped(desk, host, event)


@pytest.mark.parametrize("active", [True, False])
def test_one_that_never_passes_ends_after_three(desk: Desk, active: bool) -> None:
    """Whatever the host says of earlier stops: two are held, the third passes, and the task is handed in as failed."""
    task = claimed(desk, "false")
    held = [bool(stopped(desk, stop_hook_active=active)) for _ in range(4)]
    assert held == [True, True, False, False]
    doc = desk.mbox("task", "show", task)
    assert doc["status"] == "review" and doc["result"]["gate"] == "failed" and doc["result"]["command"] == "false"
    assert (desk.root / doc["result"]["log"]).is_dir()


def test_a_success_starts_the_count_anew(desk: Desk) -> None:
    """What counts are failures one after the other."""
    claimed(desk, GATE)
    for _ in range(2):
        assert stopped(desk)
    (desk.root / "ok").write_text("", encoding="utf-8")
    stopped(desk)
    (desk.root / "ok").unlink()
    assert "failure 1 of 3" in stopped(desk)


def test_gates_of_the_settings(desk: Desk) -> None:
    """They hold for every task, beside its own, and for nobody without a task."""
    desk.mbox("config", "set", "gates", "test -f lint")
    assert stopped(desk) == ""
    claimed(desk, GATE)
    assert '"test -f lint"' in stopped(desk)
    (desk.root / "lint").write_text("", encoding="utf-8")
    assert "broken" in stopped(desk)


def test_what_nobody_here_said_yes_to_is_not_run(desk: Desk) -> None:
    """Gates that came with a configuration are not run before a person says yes; then they are."""
    claimed(desk)
    config = desk.root / ".mailbox/config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("gates: []", "gates: [touch ran; false]"), encoding="utf-8")
    assert "gate" not in stopped(desk) and not (desk.root / "ran").exists()
    assert "mbox trust" in (desk.home / ".local/state/mbox/hook.log").read_text(encoding="utf-8")
    assert desk.mbox("trust", "--show")["waits"] == ["gate: touch ran; false"]
    desk.mbox("trust", "--yes")
    assert "failed" in stopped(desk) and (desk.root / "ran").exists()


def test_time_runs_out(desk: Desk) -> None:
    """All gates of a stop share one time; what runs over it is ended, with what it started."""
    desk.mbox("config", "set", "gate_time", "1s")
    claimed(desk, "sleep 600 & sleep 500; true")
    assert "out of time" in stopped(desk)


def test_where_gates_run(desk: Desk) -> None:
    """At the top of the worktree in which the agent stands, with its task's id."""
    desk.git("worktree", "add", "--quiet", "../tree")
    claimed(desk, 'pwd; echo "$MBOX_TASK"; false')
    said = stopped(desk, cwd=str(desk.root.parent / "tree/src"))
    assert str(desk.root.parent / "tree") in said and "/tree/src" not in said.split("Whole")[0] and "\n  t" in said


def test_subagents(desk: Desk) -> None:
    """Gates run when a subagent stops that was seen to start; a host's own chores (a compaction's) are none."""
    claimed(desk, "false")
    assert stopped(desk, event="SubagentStop", agent_id="s1") == ""
    desk.ask("claude", "SubagentStart", agent_id="s1")
    assert "failed" in stopped(desk, event="SubagentStop", agent_id="s1")
    assert stopped(desk, event="SubagentStop", agent_id="s1") == ""


def test_nobody_calls_finished_what_a_gate_says_is_not(run: Run, desk: Desk) -> None:
    """`task done` runs the gates too, and is refused with the output while one fails; handing in for review is not."""
    task = claimed(desk, GATE)
    done = run("task", "done", task, cwd=desk.root, env={"MBOX_AGENT": "bob"})
    assert done.returncode == 2 and "is not done: its gate" in done.stderr and "broken" in done.stderr
    assert desk.mbox("task", "show", task)["status"] == "running"
    (desk.root / "ok").write_text("", encoding="utf-8")
    assert desk.mbox("task", "done", task, agent="bob")["status"] == "done"


def test_the_journal_says_why(desk: Desk) -> None:
    """A task that was handed in with its gate failed says so in the log."""
    task = claimed(desk, "false")
    for _ in range(3):
        stopped(desk)
    (row,) = [row for row in desk.mbox("log", "--op", "task.submit") if task in row["on"]]
    assert row["why"] == "gate failed: false"


def test_a_subagent_hands_nothing_in(desk: Desk) -> None:
    """Three failures when subagents stop let them go; the task stays its agent's, and counts anew at its own stop."""
    task = claimed(desk, "false")
    for n in range(3):
        desk.ask("claude", "SubagentStart", agent_id=f"s{n}")
        assert bool(stopped(desk, event="SubagentStop", agent_id=f"s{n}")) == (n < 2)
    assert desk.mbox("task", "show", task)["status"] == "running"
    assert "failure 1 of 3" in stopped(desk)


def test_a_gate_for_all_runs_once_a_stop(desk: Desk) -> None:
    """However many tasks an agent has in hand."""
    desk.mbox("config", "set", "gates", "echo run >>runs")
    claimed(desk), claimed(desk)
    stopped(desk)
    assert (desk.root / "runs").read_text(encoding="utf-8") == "run\n"


def test_a_time_that_hosts_do_not_wait_is_refused(desk: Desk) -> None:
    """`gate_time` is below what programs are told to wait."""
    assert desk.mbox("config", "set", "gate_time", "30m", fine=False) is None


def test_tasks_of_a_run_have_their_own(desk: Desk) -> None:
    """A task that belongs to a workflow's run is judged there: nothing holds its agent."""
    desk.mbox("config", "set", "gates", "false")
    task = claimed(desk)
    file = desk.root / f".tasks/{task}.json"
    store = desk.store()

    def order(tx: Any) -> None:
        doc = tx.read(f".tasks/{task}.json")
        tx.put({**doc, "order": {"run": "r", "seat": "s.1"}}, f".tasks/{task}.json")
        tx.record("task.update", [task])

    from mbox.store.store import Actor

    store.transact(order, Actor("bob", 1))
    store.close()
    assert "order" in json.loads(file.read_bytes()) and stopped(desk) == ""


def test_a_gate_in_a_plan(desk: Desk) -> None:
    """A plan says a task's gates as well; the card shows them."""
    (desk.root / "plan.yaml").write_text("tasks:\n  - {id: one, title: T, gates: [make check]}\n", encoding="utf-8")
    desk.mbox("task", "import", "plan.yaml")
    assert desk.mbox("task", "show", "one")["gates"] == ["make check"]
    desk.mbox("task", "claim", "one", agent="bob")
    assert '"make check"' in context(desk.ask("claude", "SessionStart", source="startup"))
