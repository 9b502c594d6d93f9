"""Teams: the domain on a clock that stands still, and real ones in a private tmux (or without)."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run
from mbox.agents import roster
from mbox.doctor import survey
from mbox.errors import MboxError, NotFound, Refused
from mbox.format import keys, operations, places
from mbox.mail import inbox, sending
from mbox.mail.sending import MailDraft
from mbox.store.store import Actor
from mbox.store.transaction import Transaction
from mbox.tasks.drafts import TaskDraft as Task
from mbox.team import lifecycle, report, teamfile
from taskkit import ANN, BOB, RAE, USER, World
from teamkit import CONFIG, end_all, environment, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


def spec(*members: dict[str, Any], name: str = "blue", **more: Any) -> teamfile.Team:
    """A team as its file would say it."""
    text = json.dumps({"team": name, "members": [{"host": "claude", **member} for member in members], **more})
    return teamfile.parse(text, f"/{name}.yaml")


def call(world: World, *members: dict[str, Any], tasks: list[Task] | None = None, **more: Any) -> dict[str, Any]:
    """Call a team together."""
    return lifecycle.up(world.store, USER, spec(*members, **more), tasks or [], {}, "mbox-blue")


BLUE = ({"name": "boss", "role": "orchestrator"}, {"name": "w1"}, {"name": "w2", "capabilities": ["gpu"]})


def agent(world: World, name: str) -> dict[str, Any]:
    """An agent's document."""
    doc = world.store.read(places.agent(name))
    assert doc is not None
    return doc


# -- calling together ------------------------------------------------------------------------------------------------


def test_agents_and_plan_come_in_one_record(world: World) -> None:
    """Members registered with who reports to whom, tasks there, the team's document; twice is once."""
    before = world.records()
    answer = call(world, *BLUE, tasks=[Task(id="a", title="A"), Task(id="b", title="B", depends_on=("a",))])
    assert world.records() == before + 1
    assert (answer["new"], answer["imported"]) == (["boss", "w1", "w2"], 2)
    assert world.last()["op"] == "team.up" and {"blue", "boss", "w1", "w2", "a", "b"} == set(world.last()["on"])
    assert (agent(world, "w2")["reports_to"], agent(world, "w2")["capabilities"]) == ("boss", ["gpu"])
    assert agent(world, "boss")["reports_to"] is None and agent(world, "w1")["team"] == "blue"
    again = call(world, *BLUE, tasks=[Task(id="a", title="A"), Task(id="b", title="B", depends_on=("a",))])
    assert again["already"] and world.records() == before + 1
    assert survey.survey(world.store).clean


def test_a_change_of_the_file_changes_what_it_says(world: World) -> None:
    """A new member, another capability, one that is gone: marked, not forgotten."""
    call(world, *BLUE)
    answer = call(world, BLUE[0], {"name": "w1", "capabilities": ["py"]}, {"name": "w3"})
    assert (answer["new"], answer["changed"], answer["not_in_file"]) == (["w3"], ["w1"], ["w2"])
    team = roster.require(world.store, world.store.read, "blue")
    assert [row["name"] for row in roster.present(team)] == ["boss", "w1", "w3"]


@pytest.mark.parametrize(
    ("members", "more", "error"),
    [
        ([{"name": "sweep"}], {}, "own name"),
        ([{"name": "x", "reports_to": "nobody"}], {}, "not registered"),
        ([{"name": "x"}], {"parent": "nobody"}, "not registered"),
    ],
)
def test_what_cannot_be_is_refused_whole(world: World, members: list[Any], more: Any, error: str) -> None:
    """Nothing is registered."""
    before = world.records()
    with pytest.raises(MboxError, match=error):
        call(world, {"name": "fine"}, *members, **more)
    assert world.records() == before and world.store.read(places.agent("fine")) is None


def test_a_bad_plan_registers_nobody(world: World) -> None:
    """One transaction: the task that depends on nothing known keeps the agents out too."""
    with pytest.raises(MboxError, match="neither in the plan"):
        call(world, *BLUE, tasks=[Task(id="a", title="A", depends_on=("zz",), where="p: a")])
    assert world.store.read(places.agent("boss")) is None


def test_a_member_of_another_team_that_is_up_is_not_taken(world: World) -> None:
    """Two teams live in one store, not in one agent."""
    call(world, *BLUE)
    with pytest.raises(Refused, match="belongs to team blue"):
        call(world, {"name": "w1"}, name="red")
    lifecycle.change_state(world.store, USER, "blue", "down")
    assert call(world, {"name": "w1"}, name="red")["changed"] == ["w1"]


# -- lead ------------------------------------------------------------------------------------------------------------


def test_lead_moves_the_role_and_who_reports_at_once(world: World) -> None:
    """One record; the old leader reports to the new one, and the new one to whom the old did."""
    call(world, {"name": "boss", "role": "orchestrator", "reports_to": "ann"}, {"name": "w1"}, {"name": "w2"})
    before = world.records()
    assert lifecycle.lead(world.store, USER, "blue", "w2")["before"] == "boss"
    assert world.records() == before + 1
    seen = {name: (agent(world, name)["role"], agent(world, name)["reports_to"]) for name in ("boss", "w1", "w2")}
    assert seen == {"boss": ("worker", "w2"), "w1": ("worker", "w2"), "w2": ("orchestrator", "ann")}
    assert lifecycle.lead(world.store, USER, "blue", "w2")["already"]
    with pytest.raises(NotFound, match="did you mean w1"):
        lifecycle.lead(world.store, USER, "blue", "w11")


# -- draining --------------------------------------------------------------------------------------------------------


def test_members_of_a_draining_team_claim_nothing_others_do(world: World) -> None:
    """Also members of a team that one of its members leads; what runs goes on."""
    call(world, *BLUE)
    call(world, {"name": "x1"}, {"name": "x2"}, name="red", parent="w1")
    mine, other = world.add("mine"), world.add("other")
    world.claim(Actor("w2", 1), mine)
    lifecycle.change_state(world.store, USER, "blue", "draining")
    for who in (Actor("w1", 1), Actor("x1", 1)):
        with pytest.raises(MboxError, match=r"^draining: team blue") as refused:
            world.claim(who)
        assert refused.value.exit == 1
        with pytest.raises(MboxError, match=r"^draining"):
            world.claim(who, other)
    world.verb("done", Actor("w2", 1), mine)
    assert world.claim(ANN)["task_id"] == other
    call(world, *BLUE)
    assert world.exit_of("release", ANN, other) == 0
    assert world.claim(Actor("w1", 1))["task_id"] == other


def test_up_and_down_know_superior_and_reports(world: World) -> None:
    """And refuse where there is none."""
    call(world, *BLUE)
    store = world.store
    assert roster.superior(store, store.read, "w1") == "boss"
    assert roster.reports(store, "boss") == ["w1", "w2"]
    with pytest.raises(Refused, match="reports to nobody"):
        roster.superior(store, store.read, "boss")
    with pytest.raises(Refused, match="nobody reports to w1"):
        roster.reports(store, "w1")


def test_what_is_unread_goes_to_the_orchestrator_as_one_list(world: World) -> None:
    """One message with a line for each; nothing if all is read."""
    call(world, *BLUE)
    assert lifecycle.hand_over(world.store, USER, "blue") is None
    sent = [sending.send(world.store, BOB, [to], MailDraft(body="x", subject=f"for {to}"))["msg_id"] for to in ("w1", "w1", "w2")]
    handed = lifecycle.hand_over(world.store, USER, "blue")
    assert handed is not None and (handed["to"], handed["messages"]) == ("boss", 3)
    assert lifecycle.hand_over(world.store, USER, "blue") == handed
    (doc,) = inbox.unread(world.store, "boss")
    assert all(f"{msg_id} from bob: for w" in doc["body"] for msg_id in sent)
    assert world.last()["key"][1] == keys.fingerprint([operations.MAIL_SEND, doc["body"]])


def test_a_list_that_an_older_version_handed_over_is_not_sent_again(world: World) -> None:
    """Its key, as it stands in that version's journal, is still known."""
    call(world, *BLUE)
    for to in ("w1", "w1", "w2"):
        sending.send(world.store, BOB, [to], MailDraft(body="x", subject=f"for {to}"))

    def older(tx: Transaction) -> None:
        ident = sending.system(tx, "boss", "unread when team blue ended: 3", "as it was then")
        key = ["unread of blue, called 2027-01-15T08:00:00.000000Z: c84764c1-107", "c84764c1-107"]
        tx.record(operations.MAIL_SEND, [ident], key=key)

    world.store.transact(older, USER)
    (doc,) = inbox.unread(world.store, "boss")
    assert lifecycle.hand_over(world.store, USER, "blue") == {"to": "boss", "messages": 3, "msg_id": doc["msg_id"]}
    assert len(inbox.unread(world.store, "boss")) == 1


# -- report ----------------------------------------------------------------------------------------------------------


def test_the_report_adds_up(world: World) -> None:
    """By member and stage, from the journal alone, with times on the wall."""
    call(world, *BLUE)
    w1, w2 = Actor("w1", 1), Actor("w2", 1)
    for n in range(3):
        world.add(f"job {n}", id=f"j{n}", stage="impl", max_attempts=1 if n == 2 else 3)
    world.host.advance(60)
    world.claim(w1, "j0")
    world.host.advance(30)
    world.verb("done", w1, "j0")
    world.claim(w2, "j1")
    world.host.advance(10)
    world.verb("fail", w2, "j1")
    world.claim(w2, "j2", lease=5.0)
    world.pass_time(6)
    sending.send(world.store, w1, ["w2"], MailDraft(body="x"))
    sending.send(world.store, ANN, ["w2"], MailDraft(body="not of the team"))
    made = report.report(world.store, roster.require(world.store, world.store.read, "blue"))
    rows = {row["member"]: row for row in made["members"]}
    assert rows["boss"] == {"member": "boss"}
    assert rows["w1"] == {"member": "w1", "claimed": 1, "done": 1, "mails": 1, "waiting": "60s", "working": "30s"}
    assert {key: rows["w2"][key] for key in ("claimed", "failed", "dead", "conflicts")} == {
        "claimed": 2, "failed": 1, "dead": 1, "conflicts": 1,
    }  # fmt: skip
    (stage,) = made["stages"]
    assert (stage["stage"], stage["claimed"], stage["done"]) == ("impl", 3, 1)
    assert RAE.name not in rows


def test_a_review_counts_for_whose_task_it_was(world: World) -> None:
    """Approved is done by the owner."""
    call(world, *BLUE)
    world.add("job", id="j", stage="impl")
    world.claim(Actor("w1", 1), "j")
    world.verb("submit", Actor("w1", 1), "j")
    world.verb("review", Actor("w2", 1), "j")
    world.verb("approve", Actor("w2", 1), "j")
    made = report.report(world.store, roster.require(world.store, world.store.read, "blue"))
    rows = {row["member"]: row for row in made["members"]}
    assert (rows["w1"]["submitted"], rows["w1"]["done"], rows["w2"].get("done")) == (1, 1, None)


# -- real ones -------------------------------------------------------------------------------------------------------

WORKER = """#!/bin/bash
# claims, works a little, and reads its mail; ends by SIGTERM
while :; do
    if task claim --start --wait 1s -o env >env.$MBOX_AGENT 2>/dev/null; then
        . ./env.$MBOX_AGENT
        echo "working on $TASK_ID"
        sleep "${PACE:-0.1}"
        task done "$TASK_ID" >/dev/null
    else
        mbox read >/dev/null 2>&1 || sleep 0.1
    fi
done
"""


@pytest.fixture
def root(repo: Path, run: Run) -> Iterator[Path]:
    """A repository with a store whose times are short, a worker script, and nothing left running afterwards."""
    run("mbox", "init", cwd=repo, check=True)
    (repo / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    worker = repo / "worker"
    worker.write_text(WORKER, encoding="utf-8")
    worker.chmod(0o755)
    yield repo
    end_all(repo)


Team = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def team(root: Path, run: Run) -> Team:
    """The command ``team``, and any other, in the root."""

    def team(*words: str, command: str = "team", check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(command, *words, cwd=root, env={"PATH": environment()["PATH"]}, check=check, timeout=90)

    return team


def plan(root: Path, count: int) -> str:
    """A plan of so many jobs."""
    path = root / "plan.jsonl"
    path.write_text("".join(json.dumps({"id": f"job-{n}", "title": f"job {n}", "stage": "impl"}) + "\n" for n in range(count)))
    return str(path)


def write(root: Path, members: list[dict[str, Any]], **more: Any) -> str:
    """A team file (JSON is YAML)."""
    path = root / "team.yaml"
    path.write_text(json.dumps({"team": "blue", "members": members, **more}, indent=2))
    return str(path)


def workers(root: Path, count: int = 3, **more: Any) -> str:
    """A team of an orchestrator that waits and some workers."""
    boss = {"name": "boss", "role": "orchestrator", "host": "shell", "command": ["sleep", "1000"]}
    return write(root, [boss, {"role": "worker", "count": count, "host": "shell", "command": [str(root / "worker")], **more}])


def statuses(team: Team) -> dict[str, int]:
    """Number of tasks by status."""
    found: dict[str, int] = json.loads(team("status", command="mbox").stdout)["tasks"]
    return found


def test_a_team_works_and_goes(root: Path, team: Team, socket: str) -> None:
    """Up with a plan, again only what is missing, status, drained and down with a report; nothing runs afterwards."""
    file = workers(root)
    made = json.loads(team("up", file, "--tasks", plan(root, 9), "--socket", socket).stdout)
    assert set(made["started"]) == {"boss", "worker-1", "worker-2", "worker-3"} and made["imported"] == 9
    words = ["tmux", "-S", socket, "list-panes", "-a", "-F", "#{@mbox_agent} #{pane_title}"]
    panes = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(panes)[:2] == ["boss boss (orchestrator)", "worker-1 worker-1 (worker)"]
    again = json.loads(team("up", file, "--socket", socket).stdout)
    assert again["already"] and not again.get("started")
    rows = {row["agent"]: row for row in json.loads(team("status").stdout)}
    assert {row["alive"] for row in rows.values()} == {"alive"}
    until(lambda: statuses(team).get("done") == 9, lambda: statuses(team))
    assert json.loads(team("watchdog", "--status", command="mbox").stdout)["alive"]
    done = json.loads(team("down", "--timeout", "20s").stdout)
    assert sum(row.get("done", 0) for row in done["members"]) == 9
    assert "requeued" not in done and "dead" not in done
    assert not [pid for pid in beats(root) if Path(f"/proc/{pid}/cmdline").exists() and runs(pid)]
    assert subprocess.run(["tmux", "-S", socket, "ls"], capture_output=True, check=False).returncode
    assert team("doctor", command="mbox").returncode == 0
    audit = team("audit", "log", command="mbox").stdout
    assert json.loads(audit)
    assert json.loads(team("status", "blue").stdout)[0]["alive"] == "ended"
    assert team("down", check=False).returncode == 3


def beats(root: Path) -> list[int]:
    """Pids of wrappers and programs."""
    found = [json.loads(path.read_text()) for path in (root / places.HEARTBEATS).glob("*")]
    return [pid for beat in found for pid in (beat["pid"], beat["child"])]


def runs(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_quotes_and_newlines_reach_the_program(root: Path, team: Team, socket: str) -> None:
    """Model, prompt, words and variables with everything a shell would take for its own."""
    words = ["it's", '"x"', "$(touch hacked)", "`id`", "a\nb", "-x", "--", "é ; & |", "#{pane_id}", "%7", ""]
    probe = root / "probe"
    probe.write_text("#!/usr/bin/env python3\nimport json, os, signal, sys\n"
                     "open('seen', 'w').write(json.dumps([sys.argv[1:], os.environ['ODD']]))\nsignal.pause()\n")  # fmt: skip
    probe.chmod(0o755)
    odd = "v'al\"ue $(touch hacked) \n ;#{x}"
    file = write(root, [{"name": "p", "host": "claude", "command": [str(probe), *words], "model": "o'pus $(id)",
                         "prompt": "Do\n\"this\" `now`", "env": {"ODD": odd}}])  # fmt: skip
    team("up", file, "--socket", socket)
    seen = json.loads(until(lambda: (root / "seen").exists() and (root / "seen").read_text(), "what it saw", at=root))
    told = seen[0].pop()
    assert told.startswith("You are p, worker, one of") and told.endswith('\n\nDo\n"this" `now`')
    assert seen == [[*words, "--model", "o'pus $(id)"], odd]
    assert not (root / "hacked").exists()
    team("down", "--force")


def test_down_force_is_quick_and_says_what_went_back(root: Path, team: Team, socket: str) -> None:
    """Within 5 s, with programs that ignore SIGTERM; claimed tasks are queued again, or dead with a reason."""
    stubborn = root / "stubborn"
    stubborn.write_text("#!/bin/bash\ntrap '' TERM HUP\ntask claim --start >/dev/null\nwhile :; do sleep 0.2; done\n")
    stubborn.chmod(0o755)
    file = write(root, [{"role": "w", "count": 2, "host": "shell", "command": [str(stubborn)]}])
    team("task", "add", "one", "--id", "one", command="mbox")
    team("task", "add", "two", "--id", "two", "--max-attempts", "1", command="mbox")
    team("up", file, "--socket", socket)
    until(lambda: statuses(team).get("running") == 2, lambda: statuses(team))
    began = time.monotonic()
    done = json.loads(team("down", "--force").stdout)
    assert time.monotonic() - began < 5
    assert done["requeued"] == ["one"] and done["dead"][0].startswith("two: ")
    assert not any(map(runs, beats(root)))
    assert statuses(team) == {"deadletter": 1, "queued": 1}


def test_drain_waits_for_work_and_stops_who_is_done(root: Path, team: Team, socket: str) -> None:
    """A long task keeps its member; the rest is stopped; exit 4 names who is at work, and the list is handed over."""
    file = workers(root, 2, env={"PACE": "60"})
    team("task", "add", "long", "--id", "long", command="mbox")
    team("up", file, "--socket", socket)
    busy = until(lambda: [row["agent"] for row in json.loads(team("status").stdout) if row.get("task")], "a claim")[0]
    team("send", busy, "--subject", "read me", "--body", "x", "--as", "boss", command="mbox")
    left = team("drain", "--timeout", "2s", check=False)
    assert left.returncode == 4 and f"still at work: boss, {busy}" in left.stderr
    waits = [line for line in left.stderr.splitlines() if "waiting until " in line]
    assert len(waits) == 1 and waits[0].endswith(f" for {busy} (unread mail)"), left.stderr
    told = json.loads(left.stdout)
    assert told["at_work"] == ["boss", busy] and told["handed_over"]["messages"] == 1
    assert team("task", "claim", "--as", busy, command="mbox", check=False).returncode == 1
    assert json.loads(team("down", "--timeout", "1s").stdout)["requeued"] == ["long"]


def test_a_killed_member_is_started_again_where_it_was(root: Path, team: Team, socket: str) -> None:
    """The watchdog gives its task back and starts it in its own pane; too often, and it is broken."""
    file = workers(root, 1, respawn={"times": 2, "within": "10m"}, env={"PACE": "0.5"})
    team("up", file, "--socket", socket, "--tasks", plan(root, 4))

    def pane() -> str:
        return str(json.loads((root / places.status("worker-1")).read_text())["pane"])

    def dog() -> str:
        return team("watchdog", "--status", command="mbox").stdout

    status = root / places.status("worker-1")
    until(status.exists, "that it says where it is", at=status.parent)  # which comes after its first beat
    first = pane()
    for n in range(3):
        beat = json.loads((root / places.heartbeat("worker-1")).read_text())
        os.kill(beat["pid"], 9)
        if n < 2:
            path = root / places.heartbeat("worker-1")
            until(lambda: json.loads(path.read_text())["pid"] != beat["pid"], dog, at=path.parent)  # noqa: B023
            assert pane() == first
    until(lambda: "broken" in team("status", command="mbox").stdout, dog)
    whys = json.loads(team("log", "--op", "agent.dead", command="mbox").stdout)
    assert all("is gone" in row["why"] for row in whys)
    assert len(json.loads(team("inbox", "--as", "boss", command="mbox").stdout)) == 1
    team("up", file, "--socket", socket)
    until(lambda: statuses(team) == {"done": 4}, lambda: statuses(team))
    team("down", "--force")


def test_working_trees_of_their_own_are_removed_or_kept_and_named(root: Path, team: Team, run: Run, socket: str) -> None:
    """Clean ones go, uncommitted and unmerged ones stay; each member finds the one store from where it stands."""
    script = ("mbox me >/dev/null && case $MBOX_AGENT in w-1) ;; w-2) echo x >new;; "
              "w-3) git commit -q --allow-empty -m more;; esac; pwd >$MBOX_ROOT/at.$MBOX_AGENT; exec sleep 1000")  # fmt: skip
    file = write(root, [{"role": "w", "count": 3, "host": "shell", "command": ["bash", "-c", script], "worktree": True}])
    team("up", file, "--socket", socket)
    for n in (1, 2, 3):
        path = root / f"at.w-{n}"
        at = until(lambda: path.exists() and path.read_text().strip(), f"w-{n}", at=root)  # noqa: B023
        assert at == str(root.parent / f"repo.worktrees/blue-w-{n}")
    done = json.loads(team("down", "--force").stdout)
    assert [path[-1] for path in done["trees_removed"]] == ["1"]
    kept = done["trees_kept"]
    assert "1 uncommitted file" in kept[0] and "1 unmerged commit" in kept[1] and "mbox/blue/w-3" in kept[1]
    branches = run("git", "branch", "--format", "%(refname:short)", cwd=root, check=True).stdout.split()
    assert branches == ["main", "mbox/blue/w-2", "mbox/blue/w-3"]
    again = json.loads(team("up", file, "--socket", socket).stdout)
    assert set(again["started"]) == {"w-1", "w-2", "w-3"}
    team("down", "--force")
    top = root.parent / "repo.worktrees"
    assert sorted(path.name for path in top.iterdir()) == ["blue-w-2", "blue-w-3"]
    for name in ("w-2", "w-3"):
        run("git", "reset", "-q", "--hard", "main", cwd=top / f"blue-{name}", check=True)
        run("git", "clean", "-fdq", cwd=top / f"blue-{name}", check=True)
    team("down", "blue")  # again: what is clean now goes, and the folder with the last of them
    assert not top.exists()


def test_members_come_and_go_with_the_files_comments_kept(root: Path, team: Team, socket: str) -> None:
    """`add` and `remove` edit the file; `lead` moves the role."""
    path = root / "team.yaml"
    path.write_text("# ours\nteam: blue\nmembers:\n  # the boss\n  - name: boss\n    role: orchestrator  # leads\n"
                    "    host: shell\n    command: [sleep, '1000']\n")  # fmt: skip
    team("up", str(path), "--socket", socket)
    made = json.loads(team("add", "blue", "eve", "--host", "shell", "--command", "sleep", "--command", "1000").stdout)
    assert set(made["started"]) == {"eve"}
    assert "# leads" in path.read_text() and "name: eve" in path.read_text()
    assert json.loads(team("lead", "blue", "eve").stdout)["before"] == "boss"
    assert "eve leads team blue" in team("remove", "blue", "eve", check=False).stderr
    assert json.loads(team("lead", "blue", "boss").stdout)["before"] == "eve"
    assert json.loads(team("remove", "blue", "eve").stdout)["removed"] == "eve"
    assert "eve" not in path.read_text() and "# the boss" in path.read_text()
    assert [row["agent"] for row in json.loads(team("status").stdout)] == ["boss"]
    assert json.loads(team("remove", "blue", "eve").stdout)["already"]
    assert team("remove", "blue", "nobody", check=False).returncode == 3
    team("down", "--force")


def test_without_tmux_everything_but_panes_works(root: Path, team: Team) -> None:
    """Programs run detached; it says so, their output is in files, and `team down` ends them."""
    file = workers(root, 2)
    made = team("up", file, "--no-tmux", "--tasks", plan(root, 4))
    assert json.loads(made.stdout)["started"] == {"boss": "", "worker-1": "", "worker-2": ""}
    until(lambda: statuses(team) == {"done": 4}, lambda: statuses(team))
    assert "working on job" in (root / ".mailbox/cache/logs/worker-1.log").read_text()
    assert team("attach", check=False).returncode == 3
    assert team("nudge", "worker-1", command="mbox", check=False).returncode == 3
    team("down", "--timeout", "10s")
    assert not any(map(runs, beats(root)))


def test_a_machine_without_tmux_says_so(root: Path, team: Team, run: Run, tmp_path: Path) -> None:
    """With a PATH that has no tmux: a line on stderr, and the same as --no-tmux."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sleep", "git", "env", "mbox", "task", "team"):
        found = run("bash", "-c", f"command -v {name}", env={"PATH": environment()["PATH"]}).stdout.strip()
        (tools / name).symlink_to(found)
    made = run("team", "up", workers(root, 1), cwd=root, env={"PATH": str(tools)})
    assert made.returncode == 0, made.stderr
    assert "tmux is not installed; everything but panes and nudges works" in made.stderr
    team("down", "--force")


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"name": "x"}, "say host: or command:"),
        ({"name": "x", "host": "clod"}, "did you mean"),
        ({"name": "x", "host": "shell", "command": ["no-such-program"]}, "no program no-such-program"),
        ({"name": "x", "host": "shell", "modell": "y"}, "did you mean model"),
    ],
)
def test_a_wrong_file_begins_nothing(root: Path, team: Team, member: dict[str, Any], said: str) -> None:
    """One line with file and mend, exit 2, nobody registered."""
    done = team("up", write(root, [member]), "--no-tmux", check=False)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "team.yaml" in done.stderr or "host" in done.stderr
    assert json.loads(team("agent", "list", command="mbox").stdout) == []


@pytest.mark.parametrize("name", ["tmux-next", "tmux-team", "tmux-nudge"])
def test_the_helpers_need_tmux_and_say_so(name: str, run: Run) -> None:
    """Outside of tmux: one line, exit 2."""
    done = run(CHECKOUT / "scripts" / name, env={"TMUX": None})
    assert (done.returncode, done.stderr) == (2, f"{name}: not inside tmux\n")


def test_a_helper_jumps_to_who_waits_and_rings_who_is_there(root: Path, team: Team, socket: str) -> None:
    """`tmux-next` finds the agent with unread mail; `tmux-nudge` says what came of it."""
    sleeper = {"host": "claude", "command": ["sleep", "1000"]}
    team("up", write(root, [{"name": "one", **sleeper}, {"name": "two", **sleeper}]), "--socket", socket)
    team("send", "two", "--body", "x", "--as", "one", command="mbox")
    panes = subprocess.run(["tmux", "-S", socket, "list-panes", "-a", "-F", "#{pane_id} #{@mbox_agent}"],
                           capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    where = dict(zip(panes[1::2], panes[::2], strict=True))
    inside = {**environment(), "TMUX": f"{socket},1,0", "TMUX_PANE": where["one"]}
    attached = subprocess.Popen(
        ["script", "-qc", f"tmux -S {socket} attach -t mbox-blue", "/dev/null"], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**environment(), "TERM": "xterm"},
    )  # fmt: skip
    try:
        until(lambda: subprocess.run(["tmux", "-S", socket, "list-clients"], capture_output=True, check=True).stdout, "a client")
        subprocess.run([str(CHECKOUT / "scripts/tmux-next")], check=True, env=inside, cwd=root)
        words = ["tmux", "-S", socket, "display-message", "-p", "-t", "mbox-blue:", "#{@mbox_agent}"]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "two"
        subprocess.run([str(CHECKOUT / "scripts/tmux-nudge")], check=True, env=inside, cwd=root)
    finally:
        attached.kill()
        attached.wait()
    team("down", "--force")
