"""The watchdog: on a clock that stands still with hands that only note; and real ones, killed while work goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.agents import presence, registry
from mbox.doctor import survey
from mbox.errors import Refused, StoreError
from mbox.format import documents, places
from mbox.format.documents import Document
from mbox.liveness import watchdog
from mbox.liveness.watchdog import Watchdog
from mbox.mail import reading, sending
from mbox.mail.sending import MailDraft
from mbox.report import status
from mbox.system.clock import stamp
from mbox.system.processes import Identity, identity, is_running
from taskkit import ANN, BOB, USER, World
from teamkit import end_all, until

BIN = Path(sys.executable).parent


class Noted:
    """Hands that note what they are asked, and answer as they are told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.outcome: str | Exception = "taken"
        self.lines: set[str] = set()
        self.foreign: set[str] = set()
        self.way = "idle"
        self.ended: list[int] = []
        self.failed = ""
        self.audited: str | Exception = ""
        self.screens: dict[str, tuple[str, str]] = {}

    def look(self, agent: Document, status: Document) -> tuple[str, str]:
        """As the test says; to look is no deed."""
        return self.screens.get(agent["agent"], ("idle", "All is done."))

    def nudge(self, agent: Document, status: Document) -> str:
        """Note it."""
        self.calls.append(("nudge", agent["agent"]))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def left(self, agent: str) -> bool:
        """As the test says."""
        return agent in self.lines

    def tidy(self, agent: Document, status: Document) -> str:
        """Note it; the line is gone if nothing is in the way."""
        self.calls.append(("tidy", agent["agent"]))
        if self.way == "idle":
            self.lines.discard(agent["agent"])
        return self.way

    def may_respawn(self, team: Document, member: Document) -> bool:
        """As the test says."""
        return member["name"] not in self.foreign

    def see(self, member: Document) -> None:
        """Nothing is handed over."""

    def respawn(self, team: Document, member: Document) -> str:
        """Note it."""
        self.calls.append(("respawn", member["name"]))
        return self.failed

    def end_program(self, agent: str, beat: Document) -> list[int]:
        """Note it."""
        self.calls.append(("end", agent))
        return self.ended

    def audit(self) -> str:
        """Note it."""
        self.calls.append(("audit", ""))
        if isinstance(self.audited, Exception):
            raise self.audited
        return self.audited

    def take(self) -> list[tuple[str, str]]:
        """What was asked since."""
        calls, self.calls = self.calls, []
        return calls


class Kennel(World):
    """A world with a watchdog."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hands = Noted()
        self.dog = self.new_dog()

    def new_dog(self) -> Watchdog:
        """Another watchdog, as after a death of the first."""
        return Watchdog(self.store, self.hands)

    def beat(self, name: str, child: bool = False) -> None:
        """A heartbeat of this very process."""
        doc = self.store.read(places.agent(name))
        assert doc is not None
        who = registry.actor(self.store, name, doc["incarnation"])
        presence.beat(self.store, who, os.getpid(), identity(os.getpid()) if child else identity(0))

    def pane(self, name: str, state: str = "idle", event: str = "run") -> None:
        """What the wrapper, or a hook, says of its pane."""
        doc = documents.new("status", agent=name, state=state, event=event, pane="%7")
        self.store.disk.replace(self.store.absolute(places.status(name)), documents.encode("status", doc))

    def send(self, to: str) -> str:
        """A message."""
        return str(sending.send(self.store, BOB, [to], MailDraft(body="x"))["msg_id"])

    def team(self, *members: dict[str, Any], state: str = "up", orchestrator: str | None = None) -> None:
        """A team that was called together."""
        doc = documents.new("team", team="blue", state=state, members=list(members), orchestrator=orchestrator,
                            created_at="2026-01-01T00:00:00.000000Z")  # fmt: skip

        def decide(tx: Any) -> None:
            tx.put(doc, places.team("blue"))
            tx.record("team.up", ["blue"])

        self.store.transact(decide, USER)


@pytest.fixture
def kennel(tmp_path: Path) -> Kennel:
    """A store with agents, and a watchdog that has done nothing."""
    return Kennel(tmp_path)


# -- the dead --------------------------------------------------------------------------------------------------------


def test_a_dead_agents_program_is_ended_before_its_things_go_back(kennel: Kennel) -> None:
    """The order matters: nobody may get the task while the old program can still write."""
    task = kennel.add("a", "a/**")
    kennel.claim(ANN, task)
    kennel.beat("ann", child=True)
    kennel.dog.scan()
    assert (kennel.hands.take(), kennel.status(task)) == ([], "claimed")
    kennel.host.advance(46)
    statuses = []
    kennel.hands.end_program = lambda agent, beat: statuses.append(kennel.status(task)) or [4711]  # type: ignore[assignment,func-returns-value]
    kennel.dog.scan()
    assert statuses == ["claimed"] and kennel.status(task) == "queued"
    record = kennel.last()
    assert (record["op"], record["by"]) == ("agent.dead", "sweep")
    assert "no heartbeat for 46s" in record["why"] and "4711" in record["why"]
    count = kennel.records()
    kennel.dog.scan()
    kennel.new_dog().scan()
    assert kennel.records() == count, "it is settled once"
    assert survey.survey(kennel.store).clean


def test_who_never_beat_is_left_to_its_lease(kennel: Kennel) -> None:
    """No heartbeat is no death."""
    task = kennel.add()
    kennel.claim(ANN, task)
    kennel.host.advance(600)
    kennel.dog.scan()
    assert kennel.status(task) == "claimed"
    kennel.host.advance(1300)
    kennel.dog.scan()
    assert (kennel.status(task), kennel.last()["op"]) == ("queued", "task.expire")
    assert kennel.dog.did[-1].what == "expired"


def test_a_failing_hand_does_not_keep_the_others_from_their_work(kennel: Kennel) -> None:
    """Said once, noted, and the rest goes on."""
    spoken: list[str] = []
    kennel.store.say = spoken.append
    kennel.beat("ann"), kennel.pane("ann"), kennel.send("ann")
    kennel.hands.outcome = StoreError("tmux is not here")
    kennel.host.advance(301)
    kennel.beat("ann")
    kennel.dog.scan()
    kennel.host.advance(31)
    kennel.beat("ann")
    kennel.dog.scan()
    assert spoken == ["ring: tmux is not here"]
    assert ("audit", "") in kennel.hands.take()
    assert kennel.dog.doc()["errors"] == {"ring": "tmux is not here"}


# -- bells -----------------------------------------------------------------------------------------------------------


def test_one_bell_for_any_number_then_growing_times_then_held_and_told_once(kennel: Kennel) -> None:
    """30, 60, 120, 240 s between five bells, then the longest time; its superior has one message after the second."""
    registry.add(kennel.store, USER, "ann", {"reports_to": "rae"})
    kennel.beat("ann"), kennel.pane("ann"), kennel.send("ann"), kennel.send("ann")
    rung, start = [], kennel.host.mono()
    for _ in range(4000):
        kennel.beat("ann")
        kennel.dog.look()
        rung += [round(kennel.host.mono() - start) for _ in kennel.hands.take()]
        kennel.host.advance(1)
    assert rung == [0, 30, 90, 210, 450, 1350, 2250, 3150]
    told = list(kennel.store.documents(places.new_folder("rae")))
    assert len(told) == 1 and "ann does not react" in told[0]["subject"] and "All is done." in told[0]["body"]
    assert [line for line in status.status(kennel.store)["why"] if "ann does not react" in line and "All is done." in line]
    kennel.new_dog().look()
    assert kennel.hands.take() == [] and len(kennel.store.names(places.new_folder("rae"))) == 1
    kennel.send("ann")
    kennel.dog.look()
    assert kennel.hands.take() == [("nudge", "ann")]


def told(kennel: Kennel) -> list[tuple[str, str]]:
    """What ann's superior has heard."""
    return [(doc["subject"], doc["body"]) for doc in kennel.store.documents(places.new_folder("rae"))]


def scans(kennel: Kennel, count: int = 1) -> None:
    """So many scans, 30 s apart; ann lives."""
    for _ in range(count):
        kennel.host.advance(30), kennel.beat("ann")
        kennel.dog.scan()


@pytest.mark.parametrize("mail", [False, True], ids=["no-mail", "mail"])
def test_who_sits_at_a_question_is_told_of_within_two_scans_and_once(kennel: Kennel, mail: bool) -> None:
    """With the words on the screen, also without mail; it is in the status at once; another question is told of again."""
    registry.add(kennel.store, USER, "ann", {"reports_to": "rae"})
    kennel.beat("ann"), kennel.pane("ann")
    if mail:
        kennel.send("ann")
        kennel.hands.outcome = "dialog"
    kennel.hands.screens["ann"] = ("dialog", "Do you trust this folder? / 1. Yes")
    scans(kennel)
    assert told(kennel) == []
    assert any("ann waits at a question" in line and "trust this" in line for line in status.status(kennel.store)["why"])
    scans(kennel)
    assert [subject for subject, _ in told(kennel)] == ["ann waits at a question"]
    assert "Do you trust this folder?" in told(kennel)[0][1]
    scans(kennel, 5)
    kennel.dog = kennel.new_dog()
    scans(kennel, 5)
    assert len(told(kennel)) == 1
    kennel.hands.take()
    kennel.hands.screens["ann"], kennel.hands.outcome = ("idle", ""), "taken"
    scans(kennel)
    assert (("nudge", "ann") in kennel.hands.take()) == mail, "the bell goes on at once"
    assert not any("ann waits" in line for line in status.status(kennel.store)["why"])
    kennel.hands.screens["ann"] = ("dialog", "Do you want to proceed?")
    scans(kennel, 3)
    assert len([subject for subject, _ in told(kennel) if "question" in subject]) == 2


def test_a_report_is_sent_once_by_a_watchdog_that_dies_after_it(kennel: Kennel) -> None:
    """The memory of the round that sent it is lost: its key is found."""
    registry.add(kennel.store, USER, "ann", {"reports_to": "rae"})
    kennel.beat("ann"), kennel.pane("ann")
    kennel.hands.screens["ann"] = ("dialog", "Do you want to proceed?")
    scans(kennel)
    memory = (kennel.root / places.WATCHDOG).read_bytes()
    scans(kennel)
    assert len(told(kennel)) == 1
    (kennel.root / places.WATCHDOG).write_bytes(memory)
    kennel.dog = kennel.new_dog()
    scans(kennel, 3)
    assert len(told(kennel)) == 1


@pytest.mark.parametrize(("words", "seconds"), [("You've hit your limit · try again in 2 hours", 7200), ("429", 900)])
def test_at_a_limit_bells_go_on_after_the_reset(kennel: Kennel, words: str, seconds: float) -> None:
    """The one that the screen names, else the longest time; new mail changes nothing; told once, however often it is met."""
    registry.add(kennel.store, USER, "ann", {"reports_to": "rae"})
    kennel.beat("ann"), kennel.pane("ann")
    kennel.hands.screens["ann"] = ("limit", words)
    scans(kennel)
    start, rung = kennel.host.mono(), []
    for n in range(int(seconds) // 30 + 40):
        if n in (1, 5):
            kennel.send("ann")
        scans(kennel)
        rung += [kennel.host.mono() - start for what, _ in kennel.hands.take() if what == "nudge"]
    assert rung == pytest.approx([seconds, seconds + 900], abs=31), "and then at the longest time, while the screen says so"
    assert [subject for subject, _ in told(kennel)].count("ann has come to a limit") == 1 and words in told(kennel)[0][1]


@pytest.mark.parametrize("said", ["again in 0 minutes", "later"])
def test_a_bell_that_only_meets_the_limit_again_is_no_reason_for_the_next(kennel: Kennel, said: str) -> None:
    """The turn that it starts ends at the same limit; also where its reset has passed by then: one bell each longest time."""
    kennel.beat("ann"), kennel.pane("ann"), kennel.send("ann")
    limit = "limit", f"You've hit your limit · {said}"
    kennel.hands.screens["ann"] = limit
    start, rung = kennel.host.mono(), []
    for _ in range(120):
        scans(kennel)
        if ("nudge", "ann") in kennel.hands.take():
            rung.append(kennel.host.mono() - start)
            kennel.hands.screens["ann"] = "busy", ""
        else:
            kennel.hands.screens["ann"] = limit
    assert rung[0] == (30 if "0" in said else 930)
    assert len(rung) >= 3 and min(later - one for one, later in pairwise(rung)) >= 900, rung
    kennel.hands.screens["ann"] = "idle", ""
    scans(kennel)
    assert ("nudge", "ann") in kennel.hands.take(), "it goes on: at once"


def test_a_reset_that_the_watchdog_saw_come_is_ahead(kennel: Kennel) -> None:
    """Tomorrow at two, said in the morning; a screen that stood there before it looked may be an old one."""
    kennel.beat("ann"), kennel.pane("ann")
    limit = "limit", f"You've hit your weekly limit · resets {stamp(kennel.host.wall() + 14 * 3600)[11:16]} (UTC)"
    kennel.hands.screens["ann"] = limit
    scans(kennel)
    assert kennel.dog.stuck["ann"].until - kennel.host.mono() < 60
    kennel.hands.screens["ann"] = "busy", ""
    scans(kennel)
    kennel.hands.screens["ann"] = limit
    scans(kennel)
    assert kennel.dog.stuck["ann"].until - kennel.host.mono() == pytest.approx(14 * 3600, abs=300)


def test_a_limit_whose_screen_says_more_later_is_the_same_limit(kennel: Kennel) -> None:
    """A notice comes or goes beside it, the reset stays: told once, at the second scan."""
    registry.add(kennel.store, USER, "ann", {"reports_to": "rae"})
    kennel.beat("ann"), kennel.pane("ann")
    said = f"You've hit your limit · resets {stamp(kennel.host.wall() + 3 * 3600)[11:16]} (UTC)"
    for more in ("", " / Automatic continue cancelled", "", " / a notice", ""):
        kennel.hands.screens["ann"] = "limit", said + more
        scans(kennel)
    assert [subject for subject, _ in told(kennel)] == ["ann has come to a limit"]
    since = kennel.dog.stuck["ann"].since
    assert kennel.dog.stuck["ann"].scans == 5 and since < stamp(kennel.host.wall() - 60)


def test_a_busy_agent_is_not_looked_at(kennel: Kennel) -> None:
    """Its own hooks say that it is in a turn; the wrapper's word does not count as theirs."""
    kennel.beat("ann"), kennel.pane("ann", "busy", "UserPromptSubmit"), kennel.send("ann")
    kennel.dog.look()
    assert kennel.hands.take() == []
    kennel.host.advance(31)
    kennel.beat("ann"), kennel.pane("ann", "idle", "Stop")
    kennel.dog.look()
    assert kennel.hands.take() == [("nudge", "ann")]


@pytest.mark.parametrize("missing", ["pane", "life", "wish"])
def test_who_cannot_or_need_not_be_rung(kennel: Kennel, missing: str) -> None:
    """No pane, a dead heartbeat, or a team that does not want it."""
    kennel.beat("ann"), kennel.pane("ann"), kennel.send("ann")
    if missing == "pane":
        (kennel.root / places.status("ann")).unlink()
    elif missing == "life":
        kennel.host.advance(46)
    else:
        kennel.team({"name": "ann", "nudge": False})
    kennel.dog.look()
    assert kennel.hands.take() == []


@pytest.mark.parametrize("why", ["never", "quiet", "pane", "life"])
def test_mail_that_cannot_be_rung_for_does_not_keep_it_awake(kennel: Kennel, why: str) -> None:
    """Nothing is due because of it until something changes: the next regular scan is 30 s away."""
    kennel.beat("ann"), kennel.pane("ann"), kennel.send("ann")
    if why == "never":
        kennel.hands.outcome = ""
    elif why == "quiet":
        kennel.team({"name": "ann", "nudge": False})
    else:
        kennel.hands.outcome = "busy"
        kennel.dog.look()
        if why == "pane":
            (kennel.root / places.status("ann")).unlink()
            kennel.host.advance(31)
            kennel.beat("ann")
        else:
            kennel.host.advance(46)
    assert kennel.dog.scan() == kennel.host.mono() + 30
    assert kennel.dog.look() == kennel.host.mono() + 30


def test_a_line_that_was_left_is_taken_away_once_nothing_is_unread(kennel: Kennel) -> None:
    """A dialog came between the line and its Enter, and the mail was read meanwhile: nobody would ring again."""
    kennel.beat("ann"), kennel.pane("ann")
    kennel.send("ann")
    kennel.hands.outcome = kennel.hands.way = "dialog"
    kennel.hands.lines.add("ann")
    kennel.dog.look()
    assert kennel.hands.take() == [("nudge", "ann")]
    reading.read(kennel.store, ANN)
    kennel.dog.look(), kennel.dog.look()
    assert kennel.hands.take() == [("tidy", "ann")], "once, then after a time"
    kennel.host.advance(30), kennel.beat("ann")
    kennel.hands.way = "idle"
    kennel.dog.look()
    assert kennel.hands.take() == [("tidy", "ann")] and kennel.hands.lines == set()
    assert kennel.dog.look() == kennel.host.mono() + 30 and kennel.hands.take() == []


def test_a_bell_is_written_down_at_once(kennel: Kennel) -> None:
    """Also when as many deeds are kept as can be, and when a bell is no deed: the next watchdog knows of it."""
    kennel.dog.did.extend(watchdog.Deed("", "expired", "store", str(n)) for n in range(watchdog.KEPT))
    kennel.beat("ann"), kennel.pane("ann")
    for outcome, waited in (("taken", 0), ("busy", 0), ("busy", 60)):
        kennel.host.advance(waited), kennel.beat("ann")
        kennel.hands.outcome = outcome
        if not waited:
            kennel.send("ann")
        kennel.dog.look()
        assert kennel.hands.take() == [("nudge", "ann")]
        assert Watchdog(kennel.store, kennel.hands).bells == kennel.dog.bells


def test_read_mail_ends_it(kennel: Kennel) -> None:
    """Only the inbox emptying counts as read."""
    kennel.beat("ann"), kennel.pane("ann"), kennel.send("ann")
    kennel.dog.look()
    reading.read(kennel.store, ANN)
    kennel.host.advance(31)
    kennel.beat("ann")
    kennel.dog.look()
    assert kennel.hands.take() == [("nudge", "ann")]
    assert kennel.dog.bells == {}


# -- starting again --------------------------------------------------------------------------------------------------


def test_a_member_is_started_again_so_often_and_then_broken(kennel: Kennel) -> None:
    """Two times within ten minutes; then a person has to look, and the orchestrator is told once."""
    kennel.team({"name": "ann", "respawn": {"times": 2, "within": 600}}, {"name": "bob"}, orchestrator="rae")
    spawned = []
    for _ in range(20):
        kennel.dog.scan()
        spawned += kennel.hands.take()
        kennel.host.advance(10)
    assert spawned == [("respawn", "ann")] * 2
    assert kennel.dog.broken.keys() == {"ann"}
    assert len(kennel.store.names(places.new_folder("rae"))) == 1
    again = kennel.new_dog()
    again.scan()
    assert kennel.hands.take() == [] and len(kennel.store.names(places.new_folder("rae"))) == 1
    kennel.beat("ann")
    again.mend()
    assert again.broken == {}


def test_a_member_that_ends_now_and_then_is_always_started_again(kennel: Kennel) -> None:
    """What counts is how often within the time."""
    kennel.team({"name": "ann", "respawn": {"times": 2, "within": 600}})
    for _ in range(6):
        kennel.host.advance(301)
        kennel.dog.scan()
    assert kennel.hands.take().count(("respawn", "ann")) == 6


@pytest.mark.parametrize("state", ["draining", "down"])
def test_a_team_that_ends_is_not_started_again(kennel: Kennel, state: str) -> None:
    """Nor is a member that was removed."""
    kennel.team({"name": "ann", "respawn": {"times": 2, "within": 600}}, state=state)
    kennel.dog.scan()
    kennel.team({"name": "ann", "removed": True, "respawn": {"times": 2, "within": 600}})
    kennel.dog.scan()
    assert kennel.hands.take() == []


def test_a_member_that_was_not_called_here_waits(kennel: Kennel) -> None:
    """It is said once, counts as no try, and ends with the call."""
    kennel.team({"name": "ann", "respawn": {"times": 2, "within": 600}})
    kennel.hands.foreign = {"ann"}
    for _ in range(5):
        kennel.host.advance(10)
        kennel.dog.scan()
    assert kennel.hands.take() == [] and not kennel.dog.spawned and not kennel.dog.broken
    assert [(deed.what, deed.on) for deed in kennel.dog.did] == [("not respawned", "ann")]
    kennel.hands.foreign = set()
    kennel.dog.scan()
    assert kennel.hands.take() == [("respawn", "ann")]


# -- audit and memory ------------------------------------------------------------------------------------------------


def test_audit_commits_at_their_time(kennel: Kennel) -> None:
    """Every five minutes; a place without git is no error."""
    kennel.dog.scan()
    assert kennel.hands.take() == []
    kennel.host.advance(301)
    kennel.hands.audited = Refused("no git")
    kennel.dog.scan()
    kennel.host.advance(100)
    kennel.dog.scan()
    assert kennel.hands.take() == [("audit", "")] and kennel.dog.errors == {}
    kennel.host.advance(201)
    kennel.hands.audited = "12 records"
    kennel.dog.scan()
    assert kennel.dog.did[-1][1:] == ("committed", "audit", "12 records")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"did": []}', '{"did": [1], "mono": 1, "machine": "?"}', "null"])
def test_a_broken_memory_is_forgotten(kennel: Kennel, text: str) -> None:
    """Nothing but a second bell depends on it."""
    (kennel.root / places.WATCHDOG).write_text(text)
    assert kennel.new_dog().bells == {}
    doc = {**kennel.dog.doc(), "bells": {"ann": {"ids": 7}}}
    (kennel.root / places.WATCHDOG).write_text(json.dumps(doc))
    assert kennel.new_dog().bells == {}


def test_it_wakes_for_what_is_due(kennel: Kennel) -> None:
    """The next lease, the next bell or the next scan, whichever is first; never at once again."""
    now = kennel.host.mono()
    assert kennel.dog.scan() == now + 30
    kennel.claim(ANN, kennel.add(), lease=12.0)
    assert kennel.dog.scan() == pytest.approx(now + 12)
    assert kennel.dog.next_at() > now


# -- real ones -------------------------------------------------------------------------------------------------------

CONFIG = """
heartbeat: 0.2s
dead_after: 1s
renew_every: 0.3s
renewed_lease: 60s
watchdog_scan: 0.3s
stop_grace: 0.3s
"""


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with ann, whose times are short."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    (tmp_path / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    run("mbox", "agent", "add", "ann", cwd=tmp_path, check=True)
    return tmp_path


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Start commands in the background; killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]], cwd=root, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        started.append(one)
        return one

    yield start
    end_all(root)
    for one in started:
        one.kill()
        one.wait()
        assert one.stderr is not None
        one.stderr.close()


def memory(root: Path) -> dict[str, Any]:
    """What the watchdog wrote."""
    try:
        doc: dict[str, Any] = json.loads((root / places.WATCHDOG).read_text())
    except FileNotFoundError:
        return {}
    return doc


def test_one_for_a_store(root: Path, run: Run, start: Start) -> None:
    """The second says which pid and exits 5; after the first's death the lock is free."""
    first = start("mbox", "watchdog")
    until(lambda: memory(root).get("pid") == first.pid, "its memory", at=root / places.CACHE)
    second = run("mbox", "watchdog", cwd=root)
    assert second.returncode == 5 and str(first.pid) in second.stderr
    assert json.loads(run("mbox", "watchdog", "--status", cwd=root).stdout)["alive"] is True
    first.kill()
    first.wait()
    gone = run("mbox", "watchdog", "--status", cwd=root)
    assert gone.returncode == 1 and json.loads(gone.stdout)["pid"] == first.pid
    assert run("mbox", "watchdog", "--once", cwd=root).returncode == 0


def test_sigterm_ends_it_in_order_and_a_store_that_is_gone_with_6(root: Path, start: Start) -> None:
    """0 when told; 6 when the store is taken away, and none is made anew."""
    import shutil

    first = start("mbox", "watchdog")
    until(lambda: memory(root), "its memory", at=root / places.CACHE)
    first.terminate()
    assert first.wait(20) == 0
    second = start("mbox", "watchdog")
    until(lambda: memory(root).get("pid") == second.pid, "its memory", at=root / places.CACHE)
    shutil.rmtree(root / ".mailbox")
    assert second.wait(20) == 6
    assert not (root / ".mailbox").exists()


def test_a_killed_wrapper_is_found_and_its_program_ended(root: Path, run: Run, start: Start) -> None:
    """The wrapper is killed; the program goes on until the watchdog ends it, and only then the task is free."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    start("mbox", "watchdog")
    wrapper = start("mbox", "run", "--as", "ann", "--", "sh", "-c", f"{BIN}/task claim job; exec sleep 1000")
    shown = ("task", "show", "job", "--full")
    until(lambda: '"claimed"' in run(*shown, cwd=root).stdout, "the claim")
    beat = json.loads((root / places.heartbeat("ann")).read_text())
    wrapper.kill()
    until(lambda: '"queued"' in run(*shown, cwd=root).stdout, "the end")
    assert not is_running(Identity(beat["child"], beat["child_ticks"]))
    rows = json.loads(run("mbox", "log", "--op", "agent.dead", cwd=root).stdout)
    assert "is gone" in rows[-1]["why"] and str(beat["child"]) in rows[-1]["why"]


@pytest.mark.timeout(120)
def test_killed_at_any_moment_it_loses_nothing_and_tells_nothing_twice(root: Path, run: Run, start: Start) -> None:
    """Thirty kills while leases run out: each task expires exactly as often as it was claimed."""
    for n in range(12):
        run("task", "add", f"job {n}", "--id", f"job{n}", "--max-attempts", "99", cwd=root, check=True)
    claims = 0
    for n in range(24):
        dog = start("mbox", "watchdog")
        if run("task", "claim", "--as", "ann", "--lease", "0.3s", cwd=root).returncode == 0:
            claims += 1
        time.sleep(0.02 * (n % 13))  # the moment is what is tried
        os.kill(dog.pid, signal.SIGKILL)
        dog.wait()

    def expired() -> int:
        run("mbox", "watchdog", "--once", cwd=root, check=True)
        return len(json.loads(run("mbox", "log", "--op", "task.expire", "--limit", "0", cwd=root, check=True).stdout))

    until(lambda: expired() >= claims, "the end of every lease")
    assert expired() == claims > 10
    assert json.loads(run("task", "list", "--status", "claimed", cwd=root).stdout) == []
    assert run("mbox", "doctor", cwd=root).returncode == 0


def test_a_delivery_wakes_it_at_once(root: Path, run: Run, start: Start) -> None:
    """Long before the next scan: with a pane that is gone the bell is noted as such."""
    (root / ".mailbox/config.yaml").write_text(CONFIG.replace("watchdog_scan: 0.3s", "watchdog_scan: 10m"))
    run("mbox", "agent", "add", "ann", "--host", "claude", cwd=root, check=True)
    start("mbox", "run", "--as", "ann", "--no-watchdog", "--", "sleep", "1000")
    until((root / places.status("ann")).exists, "its status", at=root / places.STATUS)
    doc = documents.new("status", agent="ann", event="run", pane="%99999", server=str(root / "no-such-socket"))
    (root / places.status("ann")).write_bytes(documents.encode("status", doc))
    start("mbox", "watchdog")
    until(lambda: memory(root), "its memory", at=root / places.CACHE)
    run("mbox", "agent", "add", "bob", cwd=root, check=True)
    run("mbox", "send", "ann", "--body", "x", "--as", "bob", cwd=root, check=True)
    cache = root / places.CACHE
    until(lambda: memory(root)["bells"].get("ann", {}).get("outcome") == "gone", lambda: memory(root), 5, cache)
