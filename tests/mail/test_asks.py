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
from mbox.errors import NotFound, StoreError, Usage
from mbox.format import keys, places
from mbox.liveness import departure
from mbox.mail import inbox, lookup, questions, reading, sending, waiting
from mbox.mail.inbox import MailFilter
from mbox.mail.questions import Answers
from mbox.mail.sending import MailDraft
from mbox.mail.waiting import Arrivals
from mbox.report.status import me, status
from mbox.store.store import Actor, Store
from mbox.system.watch import Watcher


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Iterator[Store]:
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


def waited(store: Store, host: FakeHost, *events: Callable[[], object], **more: Any) -> list[str] | None:
    """What bob's `wait` returns while ``events`` happen, one every 5 s."""
    rows = waiting.wait(store, "bob", Quiet(host, *events), **more)  # type: ignore[arg-type]
    return None if rows is None else [row["msg_id"] for row in rows]


def test_wait_returns_at_once_for_what_is_unread(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """Without waiting, and without reading it; read mail is not waited for."""
    msg_id = send(store, ANN, "bob")
    before = tree(tmp_path)
    quiet = Quiet(host)
    rows = waiting.wait(store, "bob", quiet)  # type: ignore[arg-type]
    assert rows is not None
    assert rows[0]["msg_id"] == msg_id
    assert "body" not in rows[0]
    assert quiet.waits == 0
    assert tree(tmp_path) == before
    take(store, BOB)
    assert waited(store, host, timeout=30) is None


def test_wait_for_what_fits_or_is_new(store: Store, host: FakeHost) -> None:
    """`--new` passes over what stands there, filters over what does not fit; 0 is for ever."""
    old = send(store, ANN, "bob")
    assert waited(store, host, new=True, timeout=20) is None
    assert waited(store, host, lambda: send(store, ANN, "bob"), new=True) == ["m7"]
    wanted = MailFilter(sender="cyd")
    events: list[Callable[[], object]] = [lambda: send(store, ANN, "bob"), *([lambda: None] * 100)]
    assert waited(store, host, *events, lambda: send(store, CYD, "bob"), wanted=wanted, timeout=0) == ["m9"]
    assert waited(store, host, wanted=MailFilter(thread=old)) == [old]


def test_wait_sees_what_comes_back(store: Store, host: FakeHost) -> None:
    """A message whose lease ran out arrives anew, also for `--new`."""
    msg_id = send(store, ANN, "bob")
    take(store, BOB)
    host.advance(600)
    assert waited(store, host, lambda: send(store, ANN, "cyd"), new=True) == [msg_id]


def test_wait_is_not_woken_by_expired_mail(store: Store, host: FakeHost) -> None:
    """What expired unread is no mail any more."""
    send(store, ANN, "bob", ttl=1)
    host.advance(2)
    assert waited(store, host, timeout=10) is None


def test_committed_mail_is_not_slept_over(store: Store, host: FakeHost, tmp_path: Path) -> None:
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


def test_reading_sees_what_was_committed(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """So does a filtered read, which looks without the lock first."""
    dying = opened(tmp_path, host, FaultyDisk(0, only="rename"))
    with pytest.raises(Killed):
        send(dying, ANN, "bob")
    assert take(store, BOB, wanted=MailFilter(sender="ann"))["msg_id"] == "m6"


def test_waiting_ends_when_the_store_is_gone(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """Exit 6, and no second store is made."""

    def vanish() -> None:
        os.rename(tmp_path / ".mailbox", tmp_path / "elsewhere")

    with pytest.raises(StoreError):
        waited(store, host, vanish)
    assert not (tmp_path / ".mailbox").exists()


@pytest.mark.parametrize("backend", ["inotify", "watchfiles", "poll"])
def test_the_bell_rings_for_an_inbox_that_is_not_there_yet(store: Store, backend: str) -> None:
    """The first message ever makes the folder: whoever waits is woken by it all the same, with every back end."""
    if backend == "inotify" and sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    assert not os.path.isdir(store.absolute(places.new_folder("bob")))
    store.watching = backend
    configure(store, poll=(0.01,))
    with waiting.inbox_watch(store, "bob") as bell:
        arrivals = Arrivals(store, "bob")
        assert arrivals.look() is None
        send(store, ANN, "bob")
        while arrivals.look() is None:
            assert bell.wait(20), "it did not ring"
        send(store, ANN, "bob")
        while arrivals.look() is None:
            assert bell.wait(20), "it did not ring again"


def test_a_folder_made_while_the_bell_is_hung(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inbox comes to be after it was looked for and before the watch stood: it is watched all the same."""

    class Late(Watcher):
        def __init__(self, *given: Any) -> None:
            os.makedirs(store.absolute(places.new_folder("bob")), exist_ok=True)
            super().__init__(*given)

    monkeypatch.setattr("mbox.system.watch.Watcher", Late)
    with waiting.inbox_watch(store, "bob") as bell:
        send(store, ANN, "bob")
        started = time.monotonic()
        assert bell.wait(60)
        assert time.monotonic() - started < 30


def test_watch_gives_each_delivery_once(store: Store, host: FakeHost) -> None:
    """What stands there first, then each as it comes; what is read meanwhile and comes back is a delivery again."""
    first = send(store, ANN, "bob")

    def lose() -> None:
        take(store, BOB)
        host.advance(601)

    events = [lambda: send(store, ANN, "bob"), lose, lambda: None, lambda: send(store, ANN, "cyd")]
    stream = waiting.watch(store, "bob", Quiet(host, *events))  # type: ignore[arg-type]
    assert [next(stream)["msg_id"] for _ in range(3)] == [first, "m7", first]


# -- asking --------------------------------------------------------------------------------------------------


def answers(store: Store, msg_id: str, need: int | None = None) -> Answers:
    """What ann's question ``msg_id`` has brought."""
    return Answers(store, questions.question(store, "ann", msg_id), need)


def test_ask_waits_for_everybody(store: Store, host: FakeHost) -> None:
    """Complete when each has answered; who answers twice counts once, and both answers are there."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="why?"))["msg_id"]
    gathered = answers(store, asked)
    events = [
        lambda: sending.reply(store, BOB, asked, MailDraft(body="1")),
        lambda: sending.reply(store, BOB, asked, MailDraft(body="2")),
        lambda: send(store, CYD, "ann", body="something else"),
        lambda: sending.reply(store, CYD, asked, MailDraft(body="3")),
    ]
    quiet = Quiet(host, *events)
    assert waiting.gather(store, quiet, gathered, 0) is not None  # type: ignore[arg-type]
    assert quiet.waits == 4
    docs = gathered.collect(ANN)
    assert [doc["body"] for doc in docs] == ["1", "2", "3"]
    reading.finish(store, ANN, docs)
    assert [doc["body"] for doc in inbox.unread(store, "ann")] == ["something else"]
    assert store.names(places.cur_folder("ann")) == []
    question = take(store, BOB)
    assert question["type"] == "question"


def test_enough_is_enough(store: Store) -> None:
    """`--need N` different agents; more than were asked is a mistake."""
    asked = questions.ask(store, ANN, ["bob", "cyd", "orc"], MailDraft(body="?"))["msg_id"]
    gathered = answers(store, asked, 2)
    sending.reply(store, BOB, asked, MailDraft(body="1"))
    sending.reply(store, BOB, asked, MailDraft(body="2"))
    assert gathered.look() is None
    sending.reply(store, ORC, asked, MailDraft(body="3"))
    assert gathered.look() is not None
    assert gathered.missing == ["cyd"]
    for need in (0, 4):
        with pytest.raises(Usage, match="--need"):
            answers(store, asked, need)


def test_gather_finds_answers_wherever_they_are(store: Store, host: FakeHost) -> None:
    """Read and acknowledged by another process, leased by it, or unread; by the thread's id or that of an answer."""
    asked = questions.ask(store, ANN, ["bob", "cyd", "orc"], MailDraft(body="?"))["msg_id"]
    for who, body in ((BOB, "1"), (CYD, "2"), (ORC, "3")):
        sending.reply(store, who, asked, MailDraft(body=body, needs_ack=who == CYD))
    reading.finish(store, ANN, [take(store, ANN)])
    take(store, ANN)
    (answer,) = unread(store, "ann")
    gathered = answers(store, answer)
    assert gathered.look() is not None
    docs = gathered.collect(ANN)
    assert [doc["body"] for doc in docs] == ["1", "2", "3"]
    reading.finish(store, ANN, docs)
    assert unread(store, "ann") == []
    assert len(store.names(places.cur_folder("ann"))) == 1  # cyd wants an ack
    with pytest.raises(NotFound, match="asked no question"):
        answers(store, send(store, BOB, "ann"))


def test_an_answer_is_any_message_in_the_thread(store: Store) -> None:
    """Also one sent with --reply-to, and a question back; not one by who was not asked, nor one past the asker."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="?"))["msg_id"]
    gathered = answers(store, asked)
    send(store, ORC, "ann", reply_to=asked)
    send(store, CYD, "bob", reply_to=asked)
    assert gathered.look() is None
    assert gathered.found == []
    send(store, BOB, "ann", reply_to=asked)
    sending.reply(store, CYD, asked, MailDraft(body="which?", type="question"))
    assert gathered.look() is not None


def test_the_answers_go_back_to_all(store: Store) -> None:
    """To everybody asked, byte for byte in the payload, once for the same answers; with one more, again."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="?", subject="which"))["msg_id"]
    gathered = answers(store, asked, 1)
    with pytest.raises(Usage, match="nobody has answered"):
        questions.share(store, ANN, gathered, [])
    sending.reply(store, BOB, asked, MailDraft(body="a\n\x1b[2Jb"))
    gathered.look()
    docs = gathered.collect(ANN)
    sent = questions.share(store, ANN, gathered, docs)
    assert sent["to"] == ["bob", "cyd"]
    doc = store.read(places.new("cyd", sent["msg_id"]))
    assert doc is not None
    answer = {"msg_id": docs[0]["msg_id"], "from": "bob", "subject": "Re: which", "body": "a\n\x1b[2Jb"}
    assert doc["payload"] == [answer]
    assert doc["thread_id"] == asked
    assert questions.share(store, ANN, gathered, docs)["already"]
    sending.reply(store, CYD, asked, MailDraft(body="c"))
    gathered.look()
    assert "already" not in questions.share(store, ANN, gathered, gathered.collect(ANN))


# -- dead letters in `status` --------------------------------------------------------------------------------------


def test_status_counts_dead_letters_in_words(store: Store, host: FakeHost) -> None:
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


def owed(store: Store, who: Actor) -> list[str]:
    """What `me` says that an agent has to answer."""
    return [row["msg_id"] for row in me(store, who)["to_answer"]]


def waiters(store: Store) -> list[str]:
    """The lines of `status` about questions."""
    return [line for line in status(store)["why"] if " waits for " in line]


def test_a_question_that_was_read_is_owed_an_answer(store: Store) -> None:
    """Read and acknowledged, so in no inbox: `me` names it with its command, `status` who waits; a reply ends both."""
    note, asked = send(store, ANN, "bob"), questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="why?"))["msg_id"]
    assert owed(store, BOB) == [asked]
    assert not [line for line in me(store, BOB)["next"] if "reply" in line]  # unread: `mbox read` is what comes first
    assert waiters(store) == [f"ann waits for bob, cyd ({asked})"]
    for msg_id in (note, asked):
        reading.finish(store, BOB, [take(store, BOB, ids=[msg_id])])
    assert lookup.copy(store, "bob", asked)["state"] == "acked"  # type: ignore[index]
    assert owed(store, BOB) == [asked] and owed(store, ANN) == []
    assert f"mbox reply {asked} --body TEXT" in me(store, BOB)["next"]
    send(store, BOB, "cyd", reply_to=asked)  # of the thread, but not to who asked
    assert owed(store, BOB) == [asked]
    sending.reply(store, BOB, asked, MailDraft(body="so"))
    assert owed(store, BOB) == [] and owed(store, CYD) == [asked]
    assert waiters(store) == [f"ann waits for cyd ({asked})"]


def test_nothing_is_owed_once_the_answers_were_handed_out(store: Store) -> None:
    """`gather --send` says that its asker has done with it; whoever is retired waits for nothing."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="?"))["msg_id"]
    sending.reply(store, BOB, asked, MailDraft(body="so"))
    gathered = answers(store, asked)
    gathered.look()
    questions.share(store, ANN, gathered, gathered.collect(ANN))
    assert owed(store, CYD) == [] and waiters(store) == [] and me(store, ANN)["asks"] == {}
    asked = questions.ask(store, ORC, ["cyd"], MailDraft(body="?"))["msg_id"]
    assert owed(store, CYD) == [asked]
    departure.retire(store, ORC, "orc")
    assert owed(store, CYD) == [] and waiters(store) == []


@pytest.mark.parametrize("payload", [None, ["x"], [{"msg_id": "x"}], "x", {"msg_id": "x"}])
def test_a_key_says_nothing_about_a_message(store: Store, payload: Any) -> None:
    """What an asker sends about its question under a key that looks like the toolkit's is no handing out of answers."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="?"))["msg_id"]
    for key in (f"gather-{asked}-m7", f"gather-{asked}-y", f"gather-{asked}", "answers"):
        send(store, ANN, "bob", "cyd", reply_to=asked, key=key, payload=payload)
    assert owed(store, BOB) == owed(store, CYD) == [asked]
    assert me(store, ANN)["asks"] == {asked: ["bob", "cyd"]}


def test_a_key_of_the_caller_is_in_nobodys_way(store: Store) -> None:
    """The answers are handed out whatever keys their asker has used."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="?"))["msg_id"]
    answer = sending.reply(store, BOB, asked, MailDraft(body="so"))["msg_id"]
    send(store, ANN, "bob", key=f"gather-{asked}-{answer}")
    gathered = answers(store, asked)
    gathered.look()
    sent = questions.share(store, ANN, gathered, gathered.found)
    assert "already" not in sent
    doc = store.read(places.outbox("ann", sent["msg_id"])) or {}
    assert (doc["type"], doc["parent_id"], doc["to"]) == ("answers", asked, ["bob", "cyd"])
    with pytest.raises(Usage, match="mbox:"):
        keys.given("--key", doc["key"])
    assert keys.given("--key", "an mbox:key") == "an mbox:key"


def test_answers_that_an_older_version_handed_out_are_handed_out(store: Store) -> None:
    """It told them from other mail by their key; they are not asked for, nor sent, again."""
    asked = questions.ask(store, ANN, ["bob", "cyd"], MailDraft(body="?", subject="which"))["msg_id"]
    answer = sending.reply(store, BOB, asked, MailDraft(body="so"))["msg_id"]
    rows = [{"msg_id": answer, "from": "bob", "subject": "Re: which", "body": "so"}]
    sent = send(store, ANN, "bob", "cyd", reply_to=asked, type="note", payload=rows, key=f"gather-{asked}-{answer}")
    assert owed(store, CYD) == [] and waiters(store) == [] and me(store, ANN)["asks"] == {}
    gathered = answers(store, asked)
    gathered.look()
    again = questions.share(store, ANN, gathered, gathered.found)
    assert again == {"msg_id": sent, "thread_id": asked, "to": ["bob", "cyd"], "already": True}
    sending.reply(store, CYD, asked, MailDraft(body="c"))
    gathered.look()
    assert "already" not in questions.share(store, ANN, gathered, gathered.found)


def test_the_same_answers_are_handed_out_once(store: Store) -> None:
    """By whoever gathers, again or at the same time, and by the thread also after keys are forgotten."""
    asked = questions.ask(store, ANN, ["bob"], MailDraft(body="?"))["msg_id"]
    sending.reply(store, BOB, asked, MailDraft(body="so"))
    one, other = answers(store, asked), answers(store, asked)
    one.look(), other.look()
    sent = questions.share(store, ANN, one, one.found)
    assert questions.share(store, ANN, other, other.found) == {**sent, "already": True}
    configure(store, keys_kept=0.0)
    store.host.advance(1)  # type: ignore[attr-defined]
    third = answers(store, asked)
    third.look()
    assert questions.share(store, ANN, third, third.found) == {**sent, "already": True}


def test_a_question_from_before_what_is_looked_at_is_passed_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the answer may be older than what is looked at, neither side is told that one is missing."""
    monkeypatch.setattr(questions, "LOOKED", 3)
    asked = questions.ask(store, ANN, ["bob"], MailDraft(body="?"))["msg_id"]
    sending.reply(store, BOB, asked, MailDraft(body="so"))
    for _ in range(3):
        assert owed(store, BOB) == [] and me(store, ANN)["asks"] == {}
        send(store, BOB, "cyd", "ann")
    assert owed(store, BOB) == [] and me(store, ANN)["asks"] == {}
