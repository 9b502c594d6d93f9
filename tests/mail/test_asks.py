"""Waiting for mail: what wakes, what does not, and questions with their answers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import FakeHost, FaultyDisk, Killed, tree
from mailkit import ANN, BOB, CYD, ORC, configure, office, opened, send, take, unread
from mbox.mail import waiting as asks
from mbox.mail import lookup as letters
from mbox.mail import sending as mail
from mbox.mail import questions
from mbox.agents import registry as agents
from mbox.format import places
from mbox.mail.waiting import Answers, Arrivals, Bell
from mbox.errors import NotFound, StoreError, Usage
from mbox.mail.lookup import Wanted
from mbox.mail.sending import Draft
from mbox.opening import OpenStore
from mbox.report.status import me, status
from mbox.store.store import Actor
from mbox.system.watch import Watcher


@pytest.fixture
def host() -> FakeHost:
    """Clocks that move only when told."""
    return FakeHost()


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Iterator[OpenStore]:
    """A store with ann and bob, cyd, and orc, an orchestrator."""
    made = office(tmp_path, host)
    yield made
    made.close()


# -- waiting -------------------------------------------------------------------------------------------------


class Quiet:
    """A bell that never rings: it only lets the time pass, and runs what happens meanwhile, an entry each wait."""

    def __init__(self, host: FakeHost, *events: Callable[[], object]) -> None:
        self.host, self.events, self.waits = host, list(events), 0

    def wait(self, seconds: float) -> bool:
        """Let the time pass."""
        self.waits += 1
        self.host.advance(seconds)
        if self.events:
            self.events.pop(0)()
        return False


def waited(store: OpenStore, host: FakeHost, *events: Callable[[], object], **more: Any) -> list[str] | None:
    """What bob's `wait` returns while ``events`` happen, one every 5 s."""
    rows = asks.wait(store, "bob", Quiet(host, *events), **more)  # type: ignore[arg-type]
    return None if rows is None else [row["msg_id"] for row in rows]


def test_wait_returns_at_once_for_what_is_unread(store: OpenStore, host: FakeHost, tmp_path: Path) -> None:
    """Without waiting, and without reading it; read mail is not waited for."""
    msg_id = send(store, ANN, "bob")
    before = tree(tmp_path)
    quiet = Quiet(host)
    rows = asks.wait(store, "bob", quiet)  # type: ignore[arg-type]
    assert rows is not None
    assert rows[0]["msg_id"] == msg_id
    assert "body" not in rows[0]
    assert quiet.waits == 0
    assert tree(tmp_path) == before
    take(store, BOB)
    assert waited(store, host, timeout=30) is None


def test_wait_for_what_fits_or_is_new(store: OpenStore, host: FakeHost) -> None:
    """`--new` passes over what stands there, filters over what does not fit; 0 is for ever."""
    old = send(store, ANN, "bob")
    assert waited(store, host, new=True, timeout=20) is None
    assert waited(store, host, lambda: send(store, ANN, "bob"), new=True) == ["m7"]
    wanted = Wanted(sender="cyd")
    events: list[Callable[[], object]] = [lambda: send(store, ANN, "bob"), *([lambda: None] * 100)]
    assert waited(store, host, *events, lambda: send(store, CYD, "bob"), wanted=wanted, timeout=0) == ["m9"]
    assert waited(store, host, wanted=Wanted(thread=old)) == [old]


def test_wait_sees_what_comes_back(store: OpenStore, host: FakeHost) -> None:
    """A message whose lease ran out arrives anew, also for `--new`."""
    msg_id = send(store, ANN, "bob")
    take(store, BOB)
    host.advance(600)
    assert waited(store, host, lambda: send(store, ANN, "cyd"), new=True) == [msg_id]


def test_wait_is_not_woken_by_expired_mail(store: OpenStore, host: FakeHost) -> None:
    """What expired unread is no mail any more."""
    send(store, ANN, "bob", ttl=1)
    host.advance(2)
    assert waited(store, host, timeout=10) is None


def test_committed_mail_is_not_slept_over(store: OpenStore, host: FakeHost, tmp_path: Path) -> None:
    """The sender died between its commit and publishing: the waiter sees that mark and journal differ."""
    dying = opened(tmp_path, host, FaultyDisk(0, only="rename"))
    with pytest.raises(Killed):
        send(dying, ANN, "bob")
    assert store.names(places.new_folder("bob")) == []
    assert waited(store, host) == ["m6"]
    take(store, BOB)

    def again() -> None:
        with pytest.raises(Killed):
            send(opened(tmp_path, host, FaultyDisk(0, only="rename")), ANN, "bob")

    assert waited(store, host, again, timeout=30) == ["m8"]


def test_reading_sees_what_was_committed(store: OpenStore, host: FakeHost, tmp_path: Path) -> None:
    """So does a filtered read, which looks without the lock first."""
    dying = opened(tmp_path, host, FaultyDisk(0, only="rename"))
    with pytest.raises(Killed):
        send(dying, ANN, "bob")
    assert take(store, BOB, wanted=Wanted(sender="ann"))["msg_id"] == "m6"


def test_waiting_ends_when_the_store_is_gone(store: OpenStore, host: FakeHost, tmp_path: Path) -> None:
    """Exit 6, and no second store is made."""

    def vanish() -> None:
        os.rename(tmp_path / ".mailbox", tmp_path / "elsewhere")

    with pytest.raises(StoreError):
        waited(store, host, vanish)
    assert not (tmp_path / ".mailbox").exists()


@pytest.mark.parametrize("backend", ["inotify", "watchfiles", "poll"])
def test_the_bell_rings_for_an_inbox_that_is_not_there_yet(store: OpenStore, backend: str) -> None:
    """The first message ever makes the folder: whoever waits is woken by it all the same, with every back end."""
    if backend == "inotify" and sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    assert not os.path.isdir(store.absolute(places.new_folder("bob")))
    with Bell(store, "bob", backend, [0.01]) as bell:
        arrivals = Arrivals(store, "bob")
        assert arrivals.look() is None
        send(store, ANN, "bob")
        while arrivals.look() is None:
            assert bell.wait(20), "it did not ring"
        send(store, ANN, "bob")
        while arrivals.look() is None:
            assert bell.wait(20), "it did not ring again"


def test_a_folder_made_while_the_bell_is_hung(store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inbox comes to be after it was looked for and before the watch stood: it is watched all the same."""

    class Late(Watcher):
        def __init__(self, *given: Any) -> None:
            os.makedirs(store.absolute(places.new_folder("bob")), exist_ok=True)
            super().__init__(*given)

    monkeypatch.setattr(asks, "Watcher", Late)
    with Bell(store, "bob") as bell:
        send(store, ANN, "bob")
        started = time.monotonic()
        assert bell.wait(60)
        assert time.monotonic() - started < 30


def test_watch_gives_each_delivery_once(store: OpenStore, host: FakeHost) -> None:
    """What stands there first, then each as it comes; what is read meanwhile and comes back is a delivery again."""
    first = send(store, ANN, "bob")

    def lose() -> None:
        take(store, BOB)
        host.advance(601)

    events = [lambda: send(store, ANN, "bob"), lose, lambda: None, lambda: send(store, ANN, "cyd")]
    stream = asks.watch(store, "bob", Quiet(host, *events))  # type: ignore[arg-type]
    assert [next(stream)["msg_id"] for _ in range(3)] == [first, "m7", first]


# -- asking --------------------------------------------------------------------------------------------------


def answers(store: OpenStore, msg_id: str, need: int | None = None) -> Answers:
    """What ann's question ``msg_id`` has brought."""
    return Answers(store, asks.question(store, "ann", msg_id), need)


def test_ask_waits_for_everybody(store: OpenStore, host: FakeHost) -> None:
    """Complete when each has answered; who answers twice counts once, and both answers are there."""
    asked = asks.ask(store, ANN, ["bob", "cyd"], Draft(body="why?"))["msg_id"]
    gathered = answers(store, asked)
    events = [
        lambda: mail.reply(store, BOB, asked, Draft(body="1")),
        lambda: mail.reply(store, BOB, asked, Draft(body="2")),
        lambda: send(store, CYD, "ann", body="something else"),
        lambda: mail.reply(store, CYD, asked, Draft(body="3")),
    ]
    quiet = Quiet(host, *events)
    assert asks.until(store, quiet, gathered.look, 0) is not None  # type: ignore[arg-type]
    assert quiet.waits == 4
    docs = gathered.collect(ANN)
    assert [doc["body"] for doc in docs] == ["1", "2", "3"]
    mail.finish(store, ANN, docs)
    assert [doc["body"] for doc in letters.unread(store, "ann")] == ["something else"]
    assert store.names(places.cur_folder("ann")) == []
    question = take(store, BOB)
    assert question["type"] == "question"


def test_enough_is_enough(store: OpenStore) -> None:
    """`--need N` different agents; more than were asked is a mistake."""
    asked = asks.ask(store, ANN, ["bob", "cyd", "orc"], Draft(body="?"))["msg_id"]
    gathered = answers(store, asked, 2)
    mail.reply(store, BOB, asked, Draft(body="1"))
    mail.reply(store, BOB, asked, Draft(body="2"))
    assert gathered.look() is None
    mail.reply(store, ORC, asked, Draft(body="3"))
    assert gathered.look() is not None
    assert gathered.missing == ["cyd"]
    for need in (0, 4):
        with pytest.raises(Usage, match="--need"):
            answers(store, asked, need)


def test_gather_finds_answers_wherever_they_are(store: OpenStore, host: FakeHost) -> None:
    """Read and acknowledged by another process, leased by it, or unread; by the thread's id or that of an answer."""
    asked = asks.ask(store, ANN, ["bob", "cyd", "orc"], Draft(body="?"))["msg_id"]
    for who, body in ((BOB, "1"), (CYD, "2"), (ORC, "3")):
        mail.reply(store, who, asked, Draft(body=body, needs_ack=who == CYD))
    mail.finish(store, ANN, [take(store, ANN)])
    take(store, ANN)
    (answer,) = unread(store, "ann")
    gathered = answers(store, answer)
    assert gathered.look() is not None
    docs = gathered.collect(ANN)
    assert [doc["body"] for doc in docs] == ["1", "2", "3"]
    mail.finish(store, ANN, docs)
    assert unread(store, "ann") == []
    assert len(store.names(places.cur_folder("ann"))) == 1  # cyd wants an ack
    with pytest.raises(NotFound, match="asked no question"):
        answers(store, send(store, BOB, "ann"))


def test_an_answer_is_any_message_in_the_thread(store: OpenStore) -> None:
    """Also one sent with --reply-to, and a question back; not one by who was not asked, nor one past the asker."""
    asked = asks.ask(store, ANN, ["bob", "cyd"], Draft(body="?"))["msg_id"]
    gathered = answers(store, asked)
    send(store, ORC, "ann", reply_to=asked)
    send(store, CYD, "bob", reply_to=asked)
    assert gathered.look() is None
    assert gathered.found == []
    send(store, BOB, "ann", reply_to=asked)
    mail.reply(store, CYD, asked, Draft(body="which?", type="question"))
    assert gathered.look() is not None


def test_the_answers_go_back_to_all(store: OpenStore) -> None:
    """To everybody asked, byte for byte in the payload, once for the same answers; with one more, again."""
    asked = asks.ask(store, ANN, ["bob", "cyd"], Draft(body="?", subject="which"))["msg_id"]
    gathered = answers(store, asked, 1)
    with pytest.raises(Usage, match="nobody has answered"):
        asks.share(store, ANN, gathered, [])
    mail.reply(store, BOB, asked, Draft(body="a\n\x1b[2Jb"))
    gathered.look()
    docs = gathered.collect(ANN)
    sent = asks.share(store, ANN, gathered, docs)
    assert sent["to"] == ["bob", "cyd"]
    doc = store.read(places.new("cyd", sent["msg_id"]))
    assert doc is not None
    answer = {"msg_id": docs[0]["msg_id"], "from": "bob", "subject": "Re: which", "body": "a\n\x1b[2Jb"}
    assert doc["payload"] == [answer]
    assert doc["thread_id"] == asked
    assert asks.share(store, ANN, gathered, docs)["already"]
    mail.reply(store, CYD, asked, Draft(body="c"))
    gathered.look()
    assert "already" not in asks.share(store, ANN, gathered, gathered.collect(ANN))


# -- dead letters in `status` --------------------------------------------------------------------------------------


def test_status_counts_dead_letters_in_words(store: OpenStore, host: FakeHost) -> None:
    """One is a letter, two are letters; why each is there says the list, for mail that nobody acknowledged can be read."""
    configure(store, max_deliveries=1)
    said = []
    for _ in range(2):
        send(store, ANN, "bob")
        take(store, BOB)
        host.advance(601)
        send(store, CYD, "ann")
        said += [line for line in status(store)["why"] if "dead letter" in line]
    assert said == ["1 dead letter: `mbox deadletter list`", "2 dead letters: `mbox deadletter list`"]


# -- who owes an answer --------------------------------------------------------------------------------------------


def owed(store: OpenStore, who: Actor) -> list[str]:
    """What `me` says that an agent has to answer."""
    return list(me(store, who)["to_answer"])


def waiting(store: OpenStore) -> list[str]:
    """The lines of `status` about questions."""
    return [line for line in status(store)["why"] if " waits for " in line]


def test_a_question_that_was_read_is_owed_an_answer(store: OpenStore) -> None:
    """Read and acknowledged, so in no inbox: `me` names it with its command, `status` who waits; a reply ends both."""
    note, asked = send(store, ANN, "bob"), asks.ask(store, ANN, ["bob", "cyd"], Draft(body="why?"))["msg_id"]
    assert owed(store, BOB) == [asked]
    assert not [line for line in me(store, BOB)["next"] if "reply" in line]  # unread: `mbox read` is what comes first
    assert waiting(store) == [f"ann waits for bob, cyd ({asked})"]
    for msg_id in (note, asked):
        mail.finish(store, BOB, [take(store, BOB, ids=[msg_id])])
    assert letters.copy(store, "bob", asked)["state"] == "acked"  # type: ignore[index]
    assert owed(store, BOB) == [asked] and owed(store, ANN) == []
    assert f"mbox reply {asked} --body TEXT" in me(store, BOB)["next"]
    send(store, BOB, "cyd", reply_to=asked)  # of the thread, but not to who asked
    assert owed(store, BOB) == [asked]
    mail.reply(store, BOB, asked, Draft(body="so"))
    assert owed(store, BOB) == [] and owed(store, CYD) == [asked]
    assert waiting(store) == [f"ann waits for cyd ({asked})"]


def test_nothing_is_owed_once_the_answers_were_handed_out(store: OpenStore) -> None:
    """`gather --send` says that its asker has done with it; whoever is retired waits for nothing."""
    asked = asks.ask(store, ANN, ["bob", "cyd"], Draft(body="?"))["msg_id"]
    mail.reply(store, BOB, asked, Draft(body="so"))
    gathered = answers(store, asked)
    gathered.look()
    asks.share(store, ANN, gathered, gathered.collect(ANN))
    assert owed(store, CYD) == [] and waiting(store) == [] and me(store, ANN)["asks"] == {}
    asked = asks.ask(store, ORC, ["cyd"], Draft(body="?"))["msg_id"]
    assert owed(store, CYD) == [asked]
    agents.retire(store, ANN, "orc")
    assert owed(store, CYD) == [] and waiting(store) == []


def test_a_question_from_before_what_is_looked_at_is_passed_over(
    store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the answer may be older than what is looked at, neither side is told that one is missing."""
    monkeypatch.setattr(questions, "LOOKED", 3)
    asked = asks.ask(store, ANN, ["bob"], Draft(body="?"))["msg_id"]
    mail.reply(store, BOB, asked, Draft(body="so"))
    for _ in range(3):
        assert owed(store, BOB) == [] and me(store, ANN)["asks"] == {}
        send(store, BOB, "cyd", "ann")
    assert owed(store, BOB) == [] and me(store, ANN)["asks"] == {}
