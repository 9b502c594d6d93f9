"""Runs by real commands and worker processes: what people say to them, what a kill leaves, what an answer may not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.system.proc import stat
from teamkit import BIN, end_all, until

HEAD = "version: 1\nname: flow\nroles: {coder: {hosts: [alpha]}}\n"
HOSTS = "hosts: {alpha: {command: [cat], family: greek}, beta: {command: [cat], family: latin}}\n"


class Shop:
    """A repository with a store, and commands in it."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root = run, root
        run("mbox", "init", cwd=root, check=True)
        (root / ".mailbox/hosts.yaml").write_text(HOSTS)

    def file(self, name: str, text: str) -> str:
        (self.root / name).write_text(text)
        return name

    def flow(self, steps: str, head: str = HEAD) -> str:
        return self.file("flow.yaml", f"{head}steps:\n{steps}")

    def __call__(self, *words: str, exits: int = 0, agent: str | None = None) -> Any:
        """What a command of `workflow` or `task` prints; its exit status is ``exits``."""
        program = () if words[0] in ("task", "mbox") else ("workflow",)
        done = self.run(*program, *words, cwd=self.root, env={"MBOX_AGENT": agent})
        assert done.returncode == exits, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.said = done.stderr
        return json.loads(done.stdout) if done.stdout.strip()[:1] in ("{", "[") else done.stdout

    def begun(self, *words: str) -> subprocess.Popen[bytes]:
        """A `workflow run` in the background."""
        return subprocess.Popen([str(BIN / "workflow"), "run", *words], cwd=self.root, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def state(self, ident: str) -> str:
        """How the last step of a run stands; empty before there is one."""
        done = self.run("workflow", "show", ident, cwd=self.root)
        steps = json.loads(done.stdout)["steps"] if done.returncode == 0 else []
        return str(steps[-1]["status"]) if steps else ""

    def killed(self, engine: subprocess.Popen[bytes]) -> None:
        """SIGKILL, and its end."""
        engine.kill()
        engine.wait()


@pytest.fixture
def shop(run: Run, repo: Path) -> Any:
    """A shop, in which nothing goes on afterwards."""
    made = Shop(run, repo)
    yield made
    for row in made("list"):
        if row["status"] not in ("succeeded", "failed", "cancelled"):
            run("workflow", "cancel", row["run"], cwd=repo)
    end_all(repo)


def gone(pid: int) -> bool:
    """Whether there is no such process, or it only waits for its parent."""
    found = stat(pid)
    return found is None or found.is_zombie


# -- before anything starts --------------------------------------------------------------------------------------------


def test_what_is_refused_starts_nothing(shop: Shop) -> None:
    """A file that lint refuses, an input that is missing, unknown or of another type, an id that is there: exit 2."""
    good = shop.flow('  - {id: a, run: "true"}\n', HEAD + "inputs: {n: integer, why: {type: string, default: x}}\n")
    shop("run", good, "--id", "one", "--input", "n=3")
    for words in ("--id one --input n=3", "", "--input n=x", "--input m=3", "--input n", "--input n=1 --workers 65",
                  "--input n=1 --id A_b", f"--input n=1 --id {'x' * 30}"):  # fmt: skip
        shop("run", good, *words.split(), exits=2)
    bad = shop.file("bad.yaml", HEAD + "steps:\n  - {id: a, agent: codr, prompt: x}\n")
    shop("run", bad, exits=2)
    assert "bad.yaml:5:" in shop.said and "did you mean coder" in shop.said
    assert [row["run"] for row in shop("list", "--all")] == ["one"]
    shop("show", "two", exits=3)


def test_a_dry_run_says_who_what_and_how_much(shop: Shop) -> None:
    """Agents, gates, commands, the most dispatches, and that nobody knows what it costs; nothing is begun."""
    flow = shop.flow('  - {id: a, agent: coder, prompt: x, gates: ["make test"], retry: {gate: 1}}\n  - {id: b, run: "ls"}\n')
    plan = shop("run", flow, "--dry-run")
    assert plan["steps"][0]["who"] == ["alpha"] and plan["steps"][0]["gates"] == ["make test"]
    assert plan["steps"][0]["cost"] == "unknown" and plan["steps"][1]["command"] == "ls" and plan["most_dispatches"] > 1
    assert shop("list", "--all") == []


# -- people ------------------------------------------------------------------------------------------------------------

ASKS = """
  - id: agree
    ask: go on?
    choices: ["yes", "no"]
    next: [{when: "output.choice == 'yes'", go: done}, {else: failed}]
  - {id: done, run: "true"}
"""


def test_a_question_is_a_persons(shop: Shop) -> None:
    """It waits; an agent's answer is refused, and so is a word that is no choice; the answer moves the run."""
    shop("mbox", "agent", "add", "ann")
    engine = shop.begun(shop.flow(ASKS), "--id", "q")
    try:
        until(lambda: [row["status"] for row in shop("list")] == ["waiting"], lambda: str(shop("list")), 60)
        shop("answer", "q", "agree", "yes", exits=2, agent="ann")
        shop("answer", "q", "agree", "perhaps", exits=2)
        shop("answer", "q", "done", "yes", exits=3)
        shop("resume", "q", exits=5)
        shop("answer", "q", "agree", "yes")
        assert engine.wait(60) == 0
    finally:
        shop.killed(engine)
    assert [row["go"] for row in shop("explain", "q")] == ["done", "succeeded"]
    shop("answer", "q", "agree", "yes", exits=1)


def test_status_says_what_a_run_needs(shop: Shop) -> None:
    """A run that asks, then one that nobody drives, then none: with the command that moves it."""
    engine = shop.begun(shop.flow(ASKS), "--id", "q")
    try:
        until(lambda: [row["status"] for row in shop("list")] == ["waiting"], lambda: "", 60)
        assert [line for line in shop("mbox", "status", "-o", "json")["why"] if "`workflow answer q agree yes | no`" in line]
    finally:
        shop.killed(engine)
    shop("answer", "q", "agree", "yes")
    assert [line for line in shop("mbox", "status", "-o", "json")["why"] if "`workflow resume q`" in line]
    shop("resume", "q")
    assert shop("mbox", "status", "-o", "json").get("why", []) == []


def test_an_agent_hears_of_the_run_that_it_detached(shop: Shop) -> None:
    """That it has failed, and that it stands still: by mail, once; who stays with it sees the end."""
    shop("mbox", "agent", "add", "ann")
    flow = shop.flow('  - {id: a, run: "exit 3"}\n')
    shop("run", flow, "--id", "near", exits=10, agent="ann")
    shop("run", flow, "--id", "far", "--detach", agent="ann")
    heard = shop("mbox", "read", "--wait", "30s", agent="ann")
    assert (heard["subject"], heard["from"]) == ("far: failed", "system") and "exited with 3" in heard["body"]
    shop("run", shop.flow(ASKS), "--id", "asks", "--detach", "--unattended", agent="ann")
    assert shop("mbox", "read", "--wait", "30s", agent="ann")["subject"] == "asks: needs_human"


def test_a_run_is_stopped_whatever_hosts_yaml_says(shop: Shop) -> None:
    """A slip in it keeps nobody from pausing and cancelling; with the run its worker leaves the list, and what it called ends."""
    shop.file("sub.yaml", "version: 1\nname: sub\nsteps:\n  - {id: s, wait: 1h}\n")
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n  - {id: b, call: sub.yaml}\n")
    engine = shop.begun(flow, "--id", "c", "--scripted", shop.file("s.yaml", "a: [{seconds: 0}]\n"))
    try:
        until(lambda: "c.b.1" in [row["run"] for row in shop("list")], lambda: "", 60)
    finally:
        shop.killed(engine)
    shop.file(".mailbox/hosts.yaml", HOSTS.replace("family", "famly"))
    assert shop("pause", "c")["status"] == "paused"
    assert [row["agent"] for row in shop("mbox", "agent", "list")] == ["c.coder"]
    assert shop("cancel", "c")["status"] == "cancelled"
    assert shop("show", "c.b.1")["status"] == "cancelled"
    assert shop("mbox", "agent", "list") == []
    shop("cancel", "c", exits=1)


def test_what_a_run_gave_up_is_nobodys_to_queue_again(shop: Shop) -> None:
    """Its failed task is not told as what needs a person, is not queued again, and its worker has no mail that nobody reads."""
    flow = shop.flow("  - {id: make, agent: coder, prompt: build, gates: [\"exit 3\"], retry: {gate: 1}}\n")
    shop("run", flow, "--id", "g", exits=10)
    assert shop("task", "show", "g.make.1")["status"] == "failed"
    shop("task", "requeue", "g.make.1", exits=2)
    assert "workflow explain g" in shop.said
    said = shop("mbox", "status", "-o", "json")
    assert (said.get("why", []), said.get("unread", {})) == ([], {})


def test_an_agents_terminal_is_no_persons(shop: Shop) -> None:
    """Agents sit in panes: where one of them is the engine, nothing that is typed there answers; a person's does."""
    shop("mbox", "agent", "add", "ann")
    flow = shop.flow(ASKS)
    words = [str(BIN / "workflow"), "run", flow, "--id"]
    for name, agent, exits in (("hers", "ann", None), ("ours", None, 0)):
        master, slave = os.openpty()
        env = {key: value for key, value in os.environ.items() if key != "MBOX_AGENT"} | ({"MBOX_AGENT": agent} if agent else {})
        os.write(master, b"yes\n")
        engine = subprocess.Popen([*words, name], cwd=shop.root, stdin=slave, stdout=subprocess.DEVNULL, stderr=slave, env=env)
        try:
            if exits is not None:
                assert engine.wait(60) == exits
                continue
            until(lambda: [row["status"] for row in shop("list")] == ["waiting"], lambda: "", 60)
            with pytest.raises(subprocess.TimeoutExpired):
                engine.wait(2)
        finally:
            shop.killed(engine)
            os.close(master)
            os.close(slave)


def test_nobody_attends(shop: Shop) -> None:
    """Without a default the run stops and needs a person; with one that is taken; the answer counts after `resume`."""
    shop("run", shop.flow(ASKS), "--id", "stops", "--unattended", exits=11)
    shop("resume", "stops", "--unattended", exits=11)
    shop("answer", "stops", "agree", "no")
    shop("resume", "stops", exits=10)
    shop("run", shop.flow(ASKS.replace('"no"]', '"no"]\n    default: "yes"')), "--id", "takes", "--unattended")
    assert shop("show", "takes")["steps"][0]["by"] == "default"


def test_pause_and_go_on(shop: Shop) -> None:
    """What is under way is finished, nothing more is started; a cancelled run ends its worker and cannot go on."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n  - {id: b, agent: coder, prompt: y}\n")
    slow = shop.file("s.yaml", "a: [{seconds: 1.5}]\nb: [{seconds: 60}]\n")
    engine = shop.begun(flow, "--id", "p", "--scripted", slow)
    until(lambda: shop.state("p") == "running", lambda: "", 60)
    shop("pause", "p")
    assert engine.wait(60) == 14
    until(lambda: shop("task", "show", "p.a.1")["status"] == "done", lambda: "", 60)
    engine = subprocess.Popen([str(BIN / "workflow"), "resume", "p", "--quiet"], cwd=shop.root, stdout=subprocess.DEVNULL)
    until(lambda: shop.state("p") == "running", lambda: "", 60)
    shop("cancel", "p", "--reason", "enough")
    assert engine.wait(60) == 12
    assert shop("task", "show", "p.b.1")["status"] == "cancelled"
    shop("cancel", "p", exits=1)
    assert shop("resume", "p", exits=12)["status"] == "cancelled"


def test_what_a_person_tells_reaches_the_prompt(shop: Shop) -> None:
    """Of a step that has not been: in its prompt; of no such step: exit 3."""
    engine = shop.begun(shop.flow(ASKS + "  - {id: make, agent: coder, prompt: build}\n"), "--id", "t", "--workers", "0")
    try:
        until(lambda: [row["status"] for row in shop("list")] == ["waiting"], lambda: "", 60)
        shop("tell", "t", "make", "leave {{ inputs }} alone")
        shop("tell", "t", "done", "x", exits=3)
        shop("answer", "t", "agree", "yes")
        until(lambda: shop.state("t") == "queued", lambda: "", 60)
        assert shop("task", "show", "t.make.1")["description"] == "build\n\nFrom a person:\nleave {{ inputs }} alone"
    finally:
        shop.killed(engine)


def test_a_program_gets_its_prompt_and_nothing_else(shop: Shop) -> None:
    """A host reads the prompt from its first letter on: the blanks that JSON may begin with are for commands alone."""
    shop.file(".mailbox/hosts.yaml", "hosts: {alpha: {command: [bash, -c, cat >seen], family: greek}}\n")
    long = "x" * 50_000
    shop("run", shop.flow(f"  - {{id: make, agent: coder, prompt: 'build {long} it'}}\n"), "--id", "p")
    assert (shop.root / "seen").read_text() == f"build {long} it"


def test_gates_are_nobodys_to_approve(shop: Shop) -> None:
    """What they judge is handed to no reviewer, taken by none, and approved by none: an agent cannot turn a gate green."""
    for name in ("ann", "bob"):
        shop("mbox", "agent", "add", name)
    gate = '["while ! test -e go; do sleep 0.1; done; exit 3"]'
    flow = shop.flow(f"  - {{id: make, agent: coder, prompt: x, gates: {gate}, retry: {{gate: 0}}}}\n")
    engine = shop.begun(flow, "--id", "g", "--workers", "0")
    try:
        until((shop.root / ".tasks/g.make.1.json").is_file, lambda: "", 60)
        shop("task", "claim", "g.make.1", agent="ann")
        shop("task", "submit", "g.make.1", "--to", "bob", exits=2, agent="ann")
        assert shop("task", "done", "g.make.1", agent="ann")["status"] == "review"
        shop("task", "review", "g.make.1", exits=2, agent="bob")
        assert "gates" in shop.said
        shop("task", "review", exits=1, agent="bob")
        shop("task", "approve", "g.make.1", exits=5, agent="bob")
        shop.file("go", "")
        assert engine.wait(60) == 10
    finally:
        shop.killed(engine)


def test_an_answer_that_is_too_large_is_called_so(shop: Shop) -> None:
    """Not JSON that is broken: its size, and what to do; and a dry run says whom it finds no host for."""
    shop.file(".mailbox/hosts.yaml", "hosts: {alpha: {command: [bash, -c, 'yes 1234567 | head -c 70000 >$MBOX_RESULT']}}\n")
    flow = shop.flow("  - {id: make, agent: coder, prompt: x, output: {n: integer}, retry: {invalid_output: 0}}\n")
    assert "over 64 KiB" in shop("run", flow, exits=10)["reason"]
    shop.file(".mailbox/hosts.yaml", "{}\n")
    flow = shop.flow("  - {id: make, agent: coder, prompt: x}\n", HEAD.replace("hosts: [alpha]", "phase: plan"))
    assert "no host for role coder" in shop("run", flow, "--dry-run")["steps"][0]["refused"]


def test_a_person_does_the_task(shop: Shop) -> None:
    """``--workers 0``: the list names it only when asked; a result of another shape is refused and changes nothing."""
    flow = shop.flow("  - {id: make, agent: coder, prompt: build, output: {n: integer}, gates: [\"test -e made\"]}\n")
    shop("mbox", "agent", "add", "ann")
    engine = shop.begun(flow, "--id", "h", "--workers", "0")
    try:
        until((shop.root / ".tasks/h.make.1.json").is_file, lambda: "", 60)
        assert shop("task", "list") == [] and "run:RUN" in shop.said
        assert [row["task_id"] for row in shop("task", "list", "--label", "run:h")] == ["h.make.1"]
        shop("task", "claim", "h.make.1", agent="ann")
        shop("task", "done", "h.make.1", "--result", '{"n": "3"}', exits=2, agent="ann")
        assert "output.n" in shop.said and shop("task", "show", "h.make.1")["status"] == "claimed"
        assert shop("task", "done", "h.make.1", "--result", '{"n": 3}', agent="ann")["status"] == "review"
        until(lambda: shop("task", "show", "h.make.1").get("round") == 2, lambda: "", 60)
        assert "test -e made" in shop("mbox", "read", agent="ann")["body"]
        (shop.root / "made").write_text("")
        shop("task", "claim", "h.make.1", agent="ann")
        shop("task", "done", "h.make.1", "--result", '{"n": 4}', agent="ann")
        assert engine.wait(60) == 0
    finally:
        shop.killed(engine)
    shown = shop("show", "h")["steps"][0]
    assert (shown["output"], shown["rounds"], shown["by"]) == ({"n": 4}, 1, "ann")


# -- kills -------------------------------------------------------------------------------------------------------------


def test_an_engine_that_dies_harms_no_worker(shop: Shop) -> None:
    """SIGKILL in the middle of an agent's turn: the worker finishes, `resume` keeps that, and nobody is asked twice."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x, output: {n: integer}}\n  - {id: b, agent: coder, prompt: y}\n")
    script = shop.file("s.yaml", "a: [{seconds: 1, output: {n: 7}}]\nb: [{}]\n")
    engine = shop.begun(flow, "--id", "k", "--scripted", script)
    until(lambda: shop.state("k") == "running", lambda: "", 60)
    shop.killed(engine)
    until(lambda: shop("task", "show", "k.a.1")["status"] == "done", lambda: "", 60)
    assert [row["status"] for row in shop("list")] == ["stalled"]
    end = shop("resume", "k")
    assert end["cost"]["dispatches"] == 2 and shop("show", "k")["steps"][0]["output"] == {"n": 7}
    assert [row["attempts"] for row in shop("show", "k")["steps"]] == [1, 1]
    assert shop("resume", "k") == end
    assert shop("mbox", "doctor")["clean"]


def test_a_worker_that_falls_silent_is_out_of_time(shop: Shop) -> None:
    """A supervisor that stands still beats no more: `timeout: {heartbeat}`, and the program of that attempt is ended."""
    shop("mbox", "config", "set", "heartbeat", "1s")
    shop("mbox", "config", "set", "dead_after", "3s")
    flow = shop.flow("  - {id: a, agent: coder, prompt: x, timeout: {heartbeat: 4s}}\n")
    script = shop.file("s.yaml", "a: [{seconds: 300, write: {half.txt: x}}]\n")
    engine = shop.begun(flow, "--id", "q", "--scripted", script)
    beat: dict[str, int] = {}
    try:
        until(lambda: [*(shop.root / ".mailbox").glob("**/prompt.md")], lambda: "", 60)
        beat = json.loads((shop.root / ".mailbox/heartbeat/q.coder").read_text())
        os.kill(beat["pid"], signal.SIGSTOP)
        assert engine.wait(60) == 10
    finally:
        if beat:
            os.kill(beat["pid"], signal.SIGCONT)
        shop.killed(engine)
    failure = shop("show", "q")["failure"]
    assert (failure["kind"], failure["detail"]) == ("timeout", "no heartbeat within 4 s")
    until(lambda: gone(beat["child"]), lambda: "the program lives", 20)


def test_a_worker_whose_supervisor_dies_is_replaced(shop: Shop) -> None:
    """SIGKILL of `mbox run`: its program is ended, the task given back, and the next prompt says so."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n")
    script = shop.file("s.yaml", "a: [{seconds: 60, write: {half.txt: x}}, {}]\n")
    engine = shop.begun(flow, "--id", "w", "--scripted", script)
    try:
        until(lambda: shop.state("w") == "running", lambda: "", 60)
        beat = json.loads((shop.root / ".mailbox/heartbeat/w.coder").read_text())
        os.kill(beat["pid"], signal.SIGKILL)
        assert engine.wait(90) == 0
        until(lambda: gone(beat["child"]), lambda: "the program lives", 10)
    finally:
        shop.killed(engine)
    rows = shop("explain", "w", "a")[0]["attempts"]
    assert [row.rpartition(" → ")[2] for row in rows] == ["killed", "done"]
    assert "attempt 2; the one before was killed midway" in shop("task", "show", "w.a.1")["description"]


@pytest.mark.parametrize(("answer", "end"), [("again", "2 succeeded"), ("done", "1 succeeded"), ("failed", "1 failed")])
def test_a_command_that_was_killed_midway(answer: str, end: str, shop: Shop) -> None:
    """Nobody knows whether it happened: the run stops, and a person's answer decides."""
    flow = shop.flow("  - {id: a, run: 'echo x >>times; test -e go || sleep 60'}\n")
    engine = shop.begun(flow, "--id", "u")
    until((shop.root / "times").is_file, lambda: "", 60)
    shop.killed(engine)
    (shop.root / "go").write_text("")
    shop("resume", "u", exits=11)
    assert shop("show", "u")["waiting"][0]["choices"] == ["again", "done", "failed"]
    shop("resume", "u", exits=11)
    shop("answer", "u", "a", answer)
    word = end.split()[1]
    shop("resume", "u", exits=0 if word == "succeeded" else 10)
    assert f"{len((shop.root / 'times').read_text().split())} {word}" == end


def test_idempotent_and_probe(shop: Shop) -> None:
    """A command that may run again does; one whose probe says that it had happened does not; what was left running is ended."""
    steps = "  - {id: a, idempotent: true, run: 'echo $$ >>a; test -e go || sleep 60'}\n" \
            "  - {id: b, probe: 'test -e b', run: 'echo $$ >>b; test -e went || sleep 60'}\n"  # fmt: skip
    engine = shop.begun(shop.flow(steps), "--id", "i")
    until((shop.root / "a").is_file, lambda: "", 60)
    shop.killed(engine)
    first = int((shop.root / "a").read_text())
    (shop.root / "go").write_text("")
    engine = subprocess.Popen([str(BIN / "workflow"), "resume", "i", "--quiet"], cwd=shop.root)
    until((shop.root / "b").is_file, lambda: "", 60)
    assert gone(first) and len((shop.root / "a").read_text().split()) == 2
    shop.killed(engine)
    shop("resume", "i")
    assert len((shop.root / "b").read_text().split()) == 1


def test_the_watchdog_goes_on_with_a_detached_run(shop: Shop) -> None:
    """Its engine is killed, another takes over; a run that nobody here detached starts nothing."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n  - {id: b, run: 'echo y >>b'}\n")
    script = shop.file("s.yaml", "a: [{seconds: 3}]\n")
    shop("mbox", "config", "set", "watchdog_scan", "1s")
    shop("run", flow, "--id", "d", "--scripted", script, "--detach")
    until(lambda: shop.state("d") == "running", lambda: "", 60)
    engines = subprocess.run(["pgrep", "-f", "workflow resume d "], capture_output=True, text=True, check=True).stdout.split()
    for pid in engines:
        if os.readlink(f"/proc/{pid}/cwd") == "/":
            os.kill(int(pid), signal.SIGKILL)
    shop.run("workflow", "watch", "d", "--timeout", "60s", cwd=shop.root, check=True)
    assert (shop.root / "b").read_text() == "y\n"
    assert not shop("mbox", "trust", "--show").get("may_start")


def test_what_a_called_run_asks_is_answered(shop: Shop) -> None:
    """A called run whose command was killed midway, one that goes round too often: `answer`, then `resume`."""
    child = "version: 1\nname: child\nsteps:\n  - {id: x, run: 'echo x >>times; test -e go || sleep 60'}\n" \
            "  - {id: y, run: 'true', visits: {stop: 2},\n" \
            "     next: [{when: \"exists('ok')\", go: succeeded}, {else: y}]}\n"  # fmt: skip
    shop.file("child.yaml", child)
    engine = shop.begun(shop.flow("  - {id: sub, call: child.yaml}\n"), "--id", "p")
    until((shop.root / "times").is_file, lambda: "", 60)
    shop.killed(engine)
    (shop.root / "go").write_text("")
    shop("resume", "p", exits=11)
    assert shop("answer", "p.sub.1", "x", "again")["reason"].endswith("workflow resume p")
    shop("resume", "p", exits=11)
    assert "y was visited 1 times" in shop("show", "p")["reason"]
    shop("resume", "p", exits=2)
    shop("answer", "p.sub.1", "y", "go")
    (shop.root / "ok").write_text("")
    shop("resume", "p")
    assert (shop.root / "times").read_text() == "x\nx\n"


def test_names_that_somebody_has_already(shop: Shop) -> None:
    """A run, a task and an agent bear the names that a run would give: each stays as it is, and the run gets on without them."""
    shop.file("child.yaml", "version: 1\nname: child\nsteps:\n  - {id: x, run: 'echo x >>times'}\n")
    flow = shop.flow("  - {id: sub, call: child.yaml}\n  - {id: a, agent: coder, prompt: x}\n")
    before = shop("run", "child.yaml", "--id", "r.sub.1")
    shop("task", "add", "mine", "--id", "r.a.1")
    shop("mbox", "agent", "add", "r.coder", "--role", "reviewer")
    shop("run", flow, "--id", "r", "--scripted", shop.file("s.yaml", "a: [{}]\n"))
    assert shop("resume", "r.sub.1") == before and (shop.root / "times").read_text() == "x\nx\n"
    assert (shop("task", "show", "r.a.1")["title"], shop("task", "show", "r.a.1")["status"]) == ("mine", "queued")
    assert shop("mbox", "agent", "show", "r.coder")["role"] == "reviewer"
    assert [row["agent"] for row in shop("mbox", "agent", "list")] == ["r.coder"]


def test_a_hosts_file_that_is_broken_stops_nobody_from_stopping(shop: Shop) -> None:
    """What an agent or an editor left in it: `pause` and `cancel` need no host, and work."""
    shop("run", shop.flow(ASKS), "--id", "b", "--unattended", exits=11)
    (shop.root / ".mailbox/hosts.yaml").write_text("hosts: [")
    shop("pause", "b")
    shop("cancel", "b")
    (shop.root / ".mailbox/hosts.yaml").write_text(HOSTS)


# -- limits, and what an agent writes ----------------------------------------------------------------------------------


def test_a_limit_is_kept_and_raised(shop: Shop) -> None:
    """The second dispatch cannot be paid: the run stops; the limit is only raised above what is spent."""
    head = HEAD + "limits: {dispatches: 1}\n"
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n  - {id: b, agent: coder, prompt: y}\n", head)
    script = shop.file("s.yaml", "a: [{}]\nb: [{}]\n")
    assert "dispatches: 1 of 1 spent" in shop("run", flow, "--id", "l", "--scripted", script, exits=13)["reason"]
    for words in (["--limit", "dispatches=1"], ["--limit", "dollars=3"], ["--limit", "dispatches"]):
        shop("resume", "l", *words, exits=2)
    assert shop("resume", "l", "--limit", "dispatches=2")["cost"]["dispatches"] == 2


def test_a_far_reset_pauses_who_is_unattended(shop: Shop) -> None:
    """Nothing is started before the reset, and nothing is charged."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n")
    script = shop.file("s.yaml", "a: [{fail: rate_limited, reset: 2h}]\n")
    end = shop("run", flow, "--id", "r", "--scripted", script, "--unattended", exits=14)
    assert end["status"] == "paused" and "closed by its quota" in end["reason"]
    assert shop("task", "show", "r.a.1").get("attempt_count", 0) == 0


HOSTILE = "{{ inputs }} {% for x in y %} $(touch pwned) `touch pwned` \x1b]0;evil\x07 '; touch pwned #"


def test_an_agents_text_is_data(shop: Shop) -> None:
    """It is rendered once, runs in no shell, and comes through as it was; words outside the list and extra fields are refused."""
    head = HEAD.replace("name", "description: x\nname")
    flow = shop.flow(
        "  - {id: a, agent: coder, prompt: x, output: {word: ok | bad, text: string}}\n"
        "  - id: b\n    run: 'printf %s \"$TEXT\"'\n    env: {TEXT: '{{ steps.a.output.text }}'}\n    output: string\n"
        "  - {id: c, agent: coder, prompt: 'Look at {{ steps.a.output.text }}'}\n", head)  # fmt: skip
    answer = {"word": "ok", "text": HOSTILE}
    script = shop.file("s.yaml", json.dumps({"a": [{"output": {**answer, "word": "great"}}, {"output": answer}], "c": [{}]}))
    shop("run", flow, "--id", "x", "--scripted", script)
    steps = shop("show", "x")["steps"]
    assert steps[0]["attempts"] == 2 and steps[1]["output"] == HOSTILE
    assert shop("task", "show", "x.c.1")["description"] == f"Look at {HOSTILE}"
    assert not (shop.root / "pwned").exists()
    assert "\x1b" not in shop.run("workflow", "show", "x", cwd=shop.root).stdout
    extra = shop.file("s.yaml", json.dumps({"a": [{"output": {**answer, "more": 1}}]}))
    shop("run", flow, "--id", "y", "--scripted", extra, exits=10)
    assert shop("show", "y")["failure"]["kind"] == "invalid_output"


def test_the_longest_is_told_of_in_time(shop: Shop) -> None:
    """A step's time and the run's own end what takes longer; nothing of it is left running."""
    flow = shop.flow("  - {id: a, run: 'echo $$ >pid; sleep 60', timeout: 1s}\n")
    before = time.monotonic()
    shop("run", flow, "--id", "t1", exits=10)
    assert shop("show", "t1")["failure"]["kind"] == "timeout"
    flow = shop.flow("  - {id: a, run: 'echo $$ >pid; sleep 60', idempotent: true}\n", HEAD + "limits: {time: 1s}\n")
    shop("run", flow, "--id", "t2", exits=13)
    assert time.monotonic() - before < 60 and gone(int((shop.root / "pid").read_text()))


@pytest.mark.parametrize("text", ['"\\ud800"', "1e999"])
def test_what_no_document_can_hold_is_an_invalid_output(text: str, shop: Shop) -> None:
    """Half a character and an infinite number: the worker says so, and does not die of it; no failure's words do either."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x, output: any, retry: {invalid_output: 0}}\n")
    hosts = "hosts: {alpha: {command: [sh, -c, 'cat answer >$MBOX_RESULT; test ! -e failure || cat failure >$MBOX_FAILURE']}}\n"
    (shop.root / ".mailbox/hosts.yaml").write_text(hosts)
    (shop.root / "answer").write_text(text)
    shop("run", flow, "--id", "i", exits=10)
    assert shop("show", "i")["failure"]["kind"] == "invalid_output"
    (shop.root / "failure").write_text('{"kind": "gave_up", "detail": "no \\ud800"}')
    shop("run", flow, "--id", "f", exits=10)
    assert shop("show", "f")["failure"]["kind"] == "gave_up"


def test_an_agents_text_has_a_nul_byte(shop: Shop) -> None:
    """In a command's environment and in a commit's message: it is left out there, and the run gets on."""
    flow = shop.flow(
        "  - {id: a, agent: coder, prompt: x, output: {t: string}, reserve: [src/**]}\n"
        "  - {id: b, run: 'printf %s \"$T\"', env: {T: '{{ steps.a.output.t }}'}, output: string}\n"
        "  - {id: c, git: commit, message: '{{ steps.a.output.t }}'}\n")  # fmt: skip
    script = shop.file("s.yaml", json.dumps({"a": [{"output": {"t": "one\0two"}, "write": {"src/new": "x"}}]}))
    shop("run", flow, "--id", "n", "--scripted", script)
    assert shop("show", "n")["steps"][1]["output"] == "onetwo"


def test_names_that_are_no_utf8(shop: Shop) -> None:
    """A file whose name no text can hold: it is told of as it can be, and committed; nothing dies of it."""
    (shop.root / "src").mkdir(exist_ok=True)
    (shop.root / os.fsdecode(b"src/\xff")).write_text("x")
    (shop.root / os.fsdecode(b"\xfe")).write_text("x")
    flow = shop.flow(
        "  - {id: a, agent: coder, prompt: \"{{ git.changed | join(' ') }}\", reserve: [src/**]}\n"
        "  - {id: b, run: 'cat >/dev/null'}\n  - {id: c, git: commit, message: x}\n")  # fmt: skip
    shop("run", flow, "--id", "u", "--scripted", shop.file("s.yaml", "a: [{}]\n"))
    assert "src/\\xff" in shop("task", "show", "u.a.1")["description"]
    assert shop.run("git", "show", "--name-only", "--format=", cwd=shop.root).stdout == '"src/\\377"\n'


def test_a_store_in_a_folder_of_a_larger_repository(run: Run, repo: Path) -> None:
    """Patterns and ``git.changed`` are relative to the folder with the store; what is beside it is not committed."""
    (repo / "pkg/src").mkdir(parents=True)
    run("mbox", "init", "--here", cwd=repo / "pkg", check=True)
    shop = Shop.__new__(Shop)
    shop.run, shop.root = run, repo / "pkg"
    (shop.root / ".mailbox/hosts.yaml").write_text(HOSTS)
    run("git", "init", "-q", "pkg/src/clone", cwd=repo, check=True)
    (repo / "beside").write_text("x")
    flow = shop.flow("  - {id: a, agent: coder, prompt: \"{{ git.changed | join(' ') }}\", reserve: [src/**]}\n"
                     "  - {id: b, agent: coder, prompt: \"{{ git.changed | join(' ') }}\"}\n"
                     "  - {id: c, git: commit, message: x}\n")  # fmt: skip
    script = shop.file("s.yaml", "a: [{write: {'src/*': x}}]\nb: [{}]\n")
    shop("run", flow, "--id", "s", "--scripted", script)
    assert shop("task", "show", "s.b.1")["description"].split() == ["flow.yaml", "s.yaml", "src/*", "src/clone/"]
    shown = run("git", "show", "--name-only", "--format=", cwd=repo).stdout
    assert shown.split() == ["pkg/src/*"]
    assert "src/*" not in run("git", "status", "--porcelain", cwd=repo).stdout


@pytest.mark.parametrize("called", [False, True])
def test_time_is_that_of_work(called: bool, shop: Shop) -> None:
    """What a step took before the run stood still counts, also in a called run; what it stood still for does not."""
    steps = "  - {id: a, agent: coder, prompt: x}\n"
    shop.file("child.yaml", f"{HEAD}steps:\n{steps}")
    flow = shop.flow("  - {id: sub, call: child.yaml}\n" if called else steps, HEAD + "limits: {time: 4s}\n")
    engine = shop.begun(flow, "--id", "t", "--workers", "0")
    run = "t.sub.1" if called else "t"
    try:
        until((shop.root / f".tasks/{run}.a.1.json").is_file, lambda: "", 60)
        shop("pause", "t")
        assert engine.wait(60) == 14
    finally:
        shop.killed(engine)
    stood = time.monotonic()
    until(lambda: time.monotonic() > stood + 4.5, lambda: "", 60)
    assert called or shop("show", "t")["cost"]["seconds"] > 0
    shop("mbox", "agent", "add", "ann")
    shop("task", "claim", f"{run}.a.1", agent="ann")
    shop("task", "done", f"{run}.a.1", agent="ann")
    shop("resume", "t")


def test_nothing_is_committed_in_the_middle_of_a_merge(shop: Shop) -> None:
    """The conflict's marks would be committed, as a change of one parent: the step fails and says what is in the way."""
    git = lambda *words: shop.run("git", *words, cwd=shop.root)  # noqa: E731 - short for what is said often
    for word, branch in (("base", ""), ("other", "other"), ("mine", "")):
        git("checkout", "-q", *(["-b", branch] if branch else ["-"] if word == "mine" else []))
        (shop.root / "src").mkdir(exist_ok=True)
        (shop.root / "src/both").write_text(word)
        git("add", "src")
        git("commit", "-qm", word)
    git("merge", "other")
    flow = shop.flow("  - {id: a, agent: coder, prompt: x, reserve: [src/**]}\n  - {id: c, git: commit, message: x}\n")
    shop("run", flow, "--id", "m", "--scripted", shop.file("s.yaml", "a: [{}]\n"), exits=10)
    assert "in the middle of a merge" in shop("show", "m")["failure"]["detail"]
    assert git("ls-files", "--unmerged").stdout


def test_nobody_makes_themselves_a_worker_of_a_run(shop: Shop) -> None:
    """The capability that a run gives its own workers passes by a role's family: an agent cannot give it to itself."""
    for word in ("run:q", "run:other"):
        shop("mbox", "agent", "add", "eve", "--host", "alpha", "--can", word, exits=2)
    shop("mbox", "agent", "add", "eve", "--host", "alpha", "--can", "run", "--can", "python")


def test_only_gates_judge_what_a_run_was_handed(shop: Shop) -> None:
    """A second agent approves a task whose gates are red: refused, also where it was submitted to that agent by name."""
    flow = shop.flow("  - {id: make, agent: coder, prompt: build, gates: [\"test -e made\"]}\n")
    for name in ("ann", "eve"):
        shop("mbox", "agent", "add", name)
    engine = shop.begun(flow, "--id", "g", "--workers", "0")
    until((shop.root / ".tasks/g.make.1.json").is_file, lambda: "", 60)
    shop.killed(engine)
    shop("task", "claim", "g.make.1", agent="ann")
    shop("task", "submit", "g.make.1", "--to", "eve", exits=2, agent="ann")
    shop("task", "update", "g.make.1", "--description", "easier", exits=2, agent="eve")
    shop("task", "done", "g.make.1", agent="ann")
    shop("task", "review", "g.make.1", exits=2, agent="eve")
    shop("task", "approve", "g.make.1", exits=5, agent="eve")
    shop("task", "reject", "g.make.1", "--reason", "no", exits=5, agent="eve")
    assert shop("task", "show", "g.make.1")["status"] == "review"


@pytest.mark.parametrize(("answer", "limit", "spent"), [
    ("{}", "dispatches: 2", 2), ("{usage: {cost_usd: 0.6}}", "cost_usd: 1", 2),
])  # fmt: skip
def test_items_are_paid_for_one_by_one(answer: str, limit: str, spent: int, shop: Shop) -> None:
    """Items that the limit does not pay for are not begun; what has ended is kept, and the rest is done after `resume`."""
    step = "  - {id: a, agent: coder, each: [v, w, x, y, z], parallel: 1, prompt: '{{ item }}'}\n"
    flow = shop.flow(step, HEAD + f"limits: {{{limit}}}\n")
    script = shop.file("s.yaml", f"a: [{answer}]\n")
    end = shop("run", flow, "--id", "e", "--scripted", script, exits=13)
    assert end["cost"]["dispatches"] == spent and limit.partition(":")[0] in end["reason"]
    assert shop("resume", "e", "--limit", f"{limit.partition(':')[0]}=9")["cost"]["dispatches"] == 5


def test_a_quota_without_an_end_spends_no_more_than_the_limit(shop: Shop) -> None:
    """A host that is refused again and again, with a reset that is at once: each dispatch is counted, and the limit holds."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n", HEAD + "limits: {dispatches: 2}\n")
    script = shop.file("s.yaml", "a: [{fail: rate_limited, reset: 0.1s}, {fail: rate_limited, reset: 0.1s}, {}]\n")
    assert shop("run", flow, "--id", "q", "--scripted", script, exits=13)["cost"]["dispatches"] == 2
    assert shop("resume", "q", "--limit", "dispatches=3")["cost"]["dispatches"] == 3


def test_a_limit_takes_no_try_away(shop: Shop) -> None:
    """The try after a kill, and the round after a red gate, could not be paid for: both are made after `resume`, and counted."""
    flow = shop.flow("  - {id: a, agent: coder, prompt: x}\n  - {id: b, agent: coder, prompt: y, gates: ['test -e made']}\n",
                     HEAD + "limits: {dispatches: 1}\n")  # fmt: skip
    script = shop.file("s.yaml", "a: [{fail: killed}, {}]\nb: [{}, {write: {made: x}}]\n")
    shop("run", flow, "--id", "l", "--scripted", script, exits=13)
    for limit in (2, 3):
        shop("resume", "l", "--limit", f"dispatches={limit}", exits=13)
    assert shop("resume", "l", "--limit", "dispatches=4")["cost"]["dispatches"] == 4
    assert "test -e made" in shop("task", "show", "l.b.1")["description"] and shop("show", "l")["steps"][1]["rounds"] == 1


def test_a_thousand_items_that_end_at_once(shop: Shop) -> None:
    """Each item that nobody can do begins the next: as many as there may be, each in its place."""
    head = HEAD + "inputs: {names: [string]}\n"
    flow = shop.flow("  - {id: a, send: nobody, subject: x, body: '{{ item }}', each: inputs.names, max: 1000, need: 0}\n", head)
    shop("run", flow, "--id", "m", "--input", "names=" + json.dumps([str(n) for n in range(1000)]))
    assert {row["failed"] for row in shop("show", "m")["steps"][0]["output"]} == {"config"}


def test_what_a_called_run_asks_is_seen_at_its_caller(shop: Shop) -> None:
    """`list`, `show` and `answer` of the first name the run that asks; a branch that looks like an option is refused."""
    shop.file("child.yaml", "version: 1\nname: child\nsteps:\n  - {id: agree, ask: ok?, choices: ['yes', 'no']}\n")
    engine = shop.begun(shop.flow("  - {id: sub, call: child.yaml}\n"), "--id", "p")
    try:
        until(lambda: [row["status"] for row in shop("list")] == ["waiting", "waiting"], lambda: str(shop("list")), 60)
        assert shop("show", "p")["waiting"] == [{"run": "p.sub.1", "step": "agree", "ask": "ok?", "choices": ["yes", "no"]}]
        said = shop.run("mbox", "status", "-o", "table", cwd=shop.root).stdout
        assert said.count("`workflow answer ") == said.count("`workflow answer p.sub.1 agree yes | no`") == 1
        shop("answer", "p", "agree", "yes", exits=3)
        assert "workflow answer p.sub.1 agree" in shop.said
        shop.killed(engine)
        shop("resume", "p", "--unattended", exits=11)
        shop("answer", "p.sub.1", "agree", "yes")
        shop("resume", "p")
    finally:
        shop.killed(engine)
    tree = shop.flow('  - {id: a, run: "true"}\n', HEAD + "worktree: '{{ inputs.b }}'\ninputs: {b: string}\n")
    shop("run", tree, "--input", "b=-x", exits=2)


@pytest.mark.parametrize("by", ["probe", "person", "person without"])
def test_what_had_happened_has_its_output(by: str, shop: Shop) -> None:
    """A command of which its probe, or a person, says that it had happened gives what they say; without, it has failed."""
    probe = "probe: 'echo 7', " if by == "probe" else ""
    steps = f"  - {{id: a, {probe}run: 'touch begun; sleep 60', output: integer}}\n" \
            "  - {id: b, run: 'printf %s \"$N\"', env: {N: '{{ steps.a.output }}'}, output: string}\n"  # fmt: skip
    engine = shop.begun(shop.flow(steps), "--id", "h")
    until((shop.root / "begun").is_file, lambda: "", 60)
    shop.killed(engine)
    if by != "probe":
        shop("resume", "h", exits=11)
        shop("answer", "h", "a", "done", *(["--text", "7"] if by == "person" else []))
    shop("resume", "h", exits=10 if by == "person without" else 0)
    steps_ = shop("show", "h")["steps"]
    assert steps_[-1]["output"] == "7" if by != "person without" else steps_[0]["failed"] == "invalid_output"
