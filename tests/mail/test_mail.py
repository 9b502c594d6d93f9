"""Mail by promise: sending, reading under a lease, acknowledging, coming back, expiring, listing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import FakeHost, FaultyDisk, Killed, journaled, make, tree
from mailkit import ANN, BOB, CYD, ORC, USER, Row, configure, last, office, opened, said, send, take, unread
from mbox import errors
from mbox.agents import presence, registry
from mbox.errors import NotFound, NotYours, Refused, Usage
from mbox.format import documents, places
from mbox.liveness import departure
from mbox.mail import deadletters, inbox, lookup, questions, reading, sending
from mbox.mail.inbox import MailFilter
from mbox.mail.sending import MailDraft
from mbox.report import status
from mbox.store import redress
from mbox.store.store import Actor, Store, Transaction


@pytest.fixture
def store(tmp_path: Path, host: FakeHost) -> Iterator[Store]:
    """A store with ann and bob, cyd, and orc, an orchestrator."""
    made = office(tmp_path, host)
    yield made
    made.close()


# -- sending -------------------------------------------------------------------------------------------------


def test_one_message_to_several(store: Store) -> None:
    """One id, one `to`, one record; a copy in each inbox and one in the outbox; a name said twice counts once."""
    before = len(journaled(store))
    answer = sending.send(store, ANN, ["bob", "cyd", "bob"], MailDraft(body="x", subject="s"))
    msg_id = answer["msg_id"]
    assert len(journaled(store)) == before + 1
    assert last(store)["op"] == "mail.send"
    assert last(store)["on"] == [msg_id]
    paths = [places.new("bob", msg_id), places.new("cyd", msg_id), places.outbox("ann", msg_id)]
    assert last(store)["put"][0][1] == paths
    docs = [store.read(path) for path in paths]
    assert docs[0] == docs[1] == docs[2]
    assert docs[0] is not None
    assert docs[0]["to"] == ["bob", "cyd"]
    assert docs[0]["state_version"] == last(store)["seq"] - 1


def test_an_unknown_receiver_is_named_with_the_nearest(store: Store, tmp_path: Path) -> None:
    """Exit 3, the name that was meant, and nobody gets anything."""
    before = tree(tmp_path)
    with pytest.raises(NotFound, match=r"'bop' is not registered; did you mean bob\?"):
        send(store, ANN, "bob", "bop")
    assert tree(tmp_path) == before
    departure.retire(store, USER, "cyd")
    with pytest.raises(NotFound, match="is retired"):
        send(store, ANN, "bob", "cyd")
    assert unread(store, "bob") == []


def test_mail_to_oneself(store: Store) -> None:
    """It is mail like any other, and a reply to it comes back too."""
    msg_id = send(store, ANN, "ann")
    assert take(store, ANN)["msg_id"] == msg_id
    assert sending.reply(store, ANN, msg_id, MailDraft(body="y"))["to"] == ["ann"]


def test_a_reply_takes_over_what_it_does_not_say(store: Store) -> None:
    """Thread, task, round and subject are the parent's unless the reply has its own."""
    asked = sending.send(store, ANN, ["bob"], MailDraft(body="x", subject="s", round_id="r1"))["msg_id"]
    take(store, BOB)
    plain = sending.reply(store, BOB, asked, MailDraft(body="y"))["msg_id"]
    own = sending.reply(store, BOB, asked, MailDraft(body="y", subject="t", round_id="r2"))["msg_id"]
    docs = [store.read(places.outbox("bob", msg_id)) for msg_id in (plain, own)]
    assert [(doc["thread_id"], doc["round_id"], doc["subject"]) for doc in docs if doc] == [
        (asked, "r1", "Re: s"), (asked, "r2", "t"),
    ]  # fmt: skip


def test_a_task_must_exist(store: Store) -> None:
    """A message about a task that is not there is a mistake: exit 3."""
    with pytest.raises(NotFound, match="no task t99"):
        send(store, ANN, "bob", task_id="t99")


def test_more_than_max_recipients_is_a_broadcast(store: Store) -> None:
    """A worker is refused with the rule, which the journal keeps; an orchestrator may."""
    configure(store, max_recipients=2)
    with pytest.raises(Refused, match="refused: 3 receivers are more than max_recipients 2") as refusal:
        send(store, ANN, "bob", "cyd", "orc")
    assert refusal.value.exit == 2
    assert (last(store)["op"], last(store)["by"], last(store)["why"]) == ("mail.refused", "ann", str(refusal.value))
    assert unread(store, "bob") == []
    send(store, ORC, "bob", "cyd", "ann")
    assert len(unread(store, "bob")) == 1


def test_only_orchestrators_broadcast(store: Store) -> None:
    """To everybody active but oneself, or to a team or role; a worker is refused even where few would get it."""
    with pytest.raises(Refused, match="orchestrator may broadcast, and ann is worker"):
        sending.broadcast(store, ANN, MailDraft(body="x"))
    registry.add(store, USER, "gone", {})
    departure.retire(store, USER, "gone")
    assert sending.broadcast(store, ORC, MailDraft(body="x"))["to"] == ["ann", "bob", "cyd"]
    assert sending.broadcast(store, ORC, MailDraft(body="x"), team="blue")["to"] == ["cyd"]
    assert sending.broadcast(store, ORC, MailDraft(body="x"), role="worker")["to"] == ["ann", "bob"]
    with pytest.raises(NotFound, match="of role cook"):
        sending.broadcast(store, ORC, MailDraft(body="x"), role="cook")
    assert take(store, CYD)["type"] == "broadcast"


def test_the_rate_of_a_sender(store: Store, host: FakeHost) -> None:
    """The message over the rate is refused and journaled with its rule; a minute later the sender may again."""
    configure(store, send_rate=3)
    for _ in range(3):
        send(store, ANN, "bob")
    with pytest.raises(Refused, match="send_rate allows no more"):
        send(store, ANN, "bob")
    assert last(store)["op"] == "mail.refused"
    assert "3 messages within a minute" in last(store)["why"]
    send(store, BOB, "ann")
    host.advance(130)
    send(store, ANN, "bob")
    configure(store, send_rate=0)
    for _ in range(5):
        send(store, ANN, "bob")


def test_the_rate_is_one_for_all_processes(store: Store, tmp_path: Path, host: FakeHost) -> None:
    """Two processes that stay open and take turns count each message once, not once each."""
    other = opened(tmp_path, host)
    for _ in range(10):
        send(store, ANN, "bob")
        send(other, ANN, "bob")
    assert store.transact(lambda tx: tx.index.rate("ann", tx.wall), USER) == 20
    other.close()


def test_a_large_message_goes_by_path(store: Store) -> None:
    """Body and payload together fit the limit or are refused with what to do instead."""
    configure(store, message_limit=1000)
    send(store, ANN, "bob", body="é" * 490)
    with pytest.raises(Usage, match="put it in a file and send the path"):
        send(store, ANN, "bob", body="é" * 490, payload="x" * 30)


def test_dry_run_sends_nothing(store: Store, tmp_path: Path) -> None:
    """It answers as the real call would, also with a refusal, and changes nothing."""
    before, records = tree(tmp_path), len(journaled(store))
    sending.send(store, ANN.trial(), ["bob"], MailDraft(body="x"))
    with pytest.raises(Refused):
        sending.broadcast(store, ANN.trial(), MailDraft(body="x"))
    assert (tree(tmp_path), len(journaled(store))) == (before, records)


@pytest.mark.parametrize(
    "body",
    [
        "'''\"\"\"`$HOME` ${X} $(rm -rf x) {{x}} 100% %20",
        "C:\\new\\table\\u0041\\",
        "key: [1, 2]\n- *anchor\n---\n!!python/object",
        '{"schema": 9, "msg_id": "m1"}\n  "priority": 9,\n',
        "\x1b[31mred\x1b]0;title\x07\x1b[2J\x7f\x9b1m",
        "\r\n\r\ttabs \u2028 \u202e bidi \ufeff",
        "  leading and trailing \n\n",
        "".join(chr(n) for n in range(1, 0x500)),
        "x" * 100_000,
        "😀é漢" * 10_000,
    ],
)
def test_bodies_come_back_byte_for_byte(store: Store, body: str) -> None:
    """Whatever a body or payload holds is read as it was sent; on disk it is safe to `cat`."""
    msg_id = send(store, ANN, "bob", body=body, payload={"a": [body]})
    data = store.bytes_of(places.new("bob", msg_id))
    assert not {0x1B, 0x7F, 0x0D} & set(data)
    doc = take(store, BOB)
    assert doc["body"] == body
    assert doc["payload"] == {"a": [body]}
    reading.finish(store, BOB, [doc])
    assert lookup.show(store, msg_id, "bob")["body"] == body
    assert doc["priority"] == 5


# -- keys ----------------------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_message(store: Store, host: FakeHost) -> None:
    """Repeated with the same content: the same id, `already`, nothing new; also when much time has passed."""
    first = sending.send(store, ANN, ["bob", "cyd"], MailDraft(body="x", key="k"))
    records = len(journaled(store))
    host.advance(29 * 86400)
    again = sending.send(store, ANN, ["cyd", "bob"], MailDraft(body="x", key="k"))
    assert again == {**first, "already": True}
    assert len(journaled(store)) == records
    assert sending.send(store, BOB, ["cyd"], MailDraft(body="x", key="k"))["msg_id"] != first["msg_id"]


@pytest.mark.parametrize(
    "other",
    [
        {"body": "y"}, {"subject": "y"}, {"type": "y"}, {"payload": {"a": 1}}, {"priority": 6}, {"ttl": 9},
        {"needs_ack": True}, {"round_id": "2"}, {"to": ["bob", "cyd"]}, {"to": ["cyd"]}, {"reply_to": True},
    ],
)  # fmt: skip
def test_a_key_with_other_content_is_refused(store: Store, other: Row) -> None:
    """Whatever differs, the key was used for something else: exit 2, and nothing is sent."""
    parent = send(store, BOB, "ann")
    sending.send(store, ANN, ["bob"], MailDraft(body="x", key="k"))
    records = len(journaled(store))
    to = other.pop("to", ["bob"])
    reply_to = parent if other.pop("reply_to", False) else None
    with pytest.raises(Usage, match=r"was used for m\d+ with other content"):
        sending.send(store, ANN, to, MailDraft(**{"body": "x", "key": "k", **other}), reply_to)
    assert len(journaled(store)) == records


def test_a_key_holds_where_the_receiver_has_left(store: Store) -> None:
    """A repeated call is answered by what happened, not refused by what has changed since."""
    first = sending.send(store, ANN, ["bob"], MailDraft(body="x", key="k"))
    departure.retire(store, USER, "bob")
    assert sending.send(store, ANN, ["bob"], MailDraft(body="x", key="k")) == {**first, "already": True}


@pytest.mark.parametrize("call", ["write", "sync", "rename", "link", "pwrite"])
def test_a_key_holds_across_a_crash(tmp_path: Path, host: FakeHost, call: str) -> None:
    """Killed before any such call of a send, and sent again: there is one message, and the inbox has it."""
    make(tmp_path, host).close()
    for at in range(8):
        key = f"k{at}"
        dying = opened(tmp_path, host, FaultyDisk(at, only=call))
        try:
            sending.send(dying, ANN, ["bob"], MailDraft(body=key, key=key))
        except Killed:
            pass
        store = opened(tmp_path, host)
        sending.send(store, ANN, ["bob"], MailDraft(body=key, key=key))
        found = [doc for doc in inbox.unread(store, "bob") if doc["body"] == key]
        assert len(found) == 1, (call, at)
        store.close()


# -- replies -------------------------------------------------------------------------------------------------


def test_a_reply_goes_to_the_sender_alone(store: Store) -> None:
    """Also to a broadcast; with its thread, parent, hops, subject, task and the type of an answer."""
    question = sending.broadcast(store, ORC, MailDraft(body="x", subject="when", type="question"))["msg_id"]
    answer = sending.reply(store, BOB, question, MailDraft(body="now"))
    doc = store.read(places.new("orc", answer["msg_id"]))
    assert doc is not None
    assert (doc["to"], doc["thread_id"], doc["parent_id"], doc["hops"]) == (["orc"], question, question, 1)
    assert (doc["subject"], doc["type"]) == ("Re: when", "answer")
    assert unread(store, "ann") == unread(store, "cyd") == [question]
    again = sending.reply(store, ORC, answer["msg_id"], MailDraft(body="why"))
    doc = store.read(places.new("bob", again["msg_id"]))
    assert doc is not None
    assert (doc["hops"], doc["subject"], doc["thread_id"], doc["type"]) == (2, "Re: when", question, "note")


def test_who_cannot_be_replied_to(store: Store) -> None:
    """The toolkit itself, and oneself: exit 2 with what to do."""

    def decide(tx: Transaction) -> str:
        msg_id = sending.system(tx, "bob", "s", "b")
        tx.record("task.note", ["t1"])
        return msg_id

    msg_id = store.transact(decide, USER)
    with pytest.raises(Usage, match="nobody would read a reply"):
        sending.reply(store, BOB, msg_id, MailDraft(body="x"))
    own = send(store, ANN, "bob")
    with pytest.raises(Usage, match="is your own"):
        sending.reply(store, ANN, own, MailDraft(body="x"))
    more = sending.send(store, ANN, ["bob"], MailDraft(body="x"), reply_to=own)
    assert more["thread_id"] == own
    with pytest.raises(NotFound, match="no message m99"):
        sending.reply(store, ANN, "m99", MailDraft(body="x"))


def test_a_chain_of_replies_ends(store: Store) -> None:
    """The reply over max_hops is refused, and the journal says which limit refused the reply to what."""
    configure(store, max_hops=3)
    msg_id = send(store, ANN, "bob")
    for who in (BOB, ANN, BOB):
        msg_id = sending.reply(store, who, msg_id, MailDraft(body="x"))["msg_id"]
    with pytest.raises(Refused, match="max_hops is 3"):
        sending.reply(store, ANN, msg_id, MailDraft(body="x"))
    assert (last(store)["op"], last(store)["on"]) == ("mail.refused", [msg_id])
    assert "max_hops is 3" in last(store)["why"]
    with pytest.raises(Refused, match="max_hops"):
        send(store, ANN, "cyd", reply_to=msg_id)


def test_a_reply_acknowledges_what_was_read(store: Store) -> None:
    """In the same record: a needs_ack parent that the replier has read; not one that it only saw listed."""
    seen, got = send(store, ANN, "bob", needs_ack=True), send(store, ANN, "bob", needs_ack=True, priority=9)
    assert take(store, BOB)["msg_id"] == got
    answer = sending.reply(store, BOB, got, MailDraft(body="x"))
    assert answer["acked"] == got
    assert last(store)["on"] == [answer["msg_id"], got]
    done = lookup.archived(store, "bob", got)
    assert done is not None
    assert done["state"] == "acked"
    assert "acked" not in sending.reply(store, BOB, seen, MailDraft(body="x"))
    assert unread(store, "bob") == [seen]


def test_forwarding_is_no_answer(store: Store) -> None:
    """A message in the thread to somebody else leaves the parent to be acknowledged."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    answer = sending.send(store, BOB, ["cyd"], MailDraft(body="see"), reply_to=msg_id)
    assert "acked" not in answer
    assert store.read(places.cur("bob", msg_id))


def test_a_late_reply_is_sent_and_acknowledges_nothing(store: Store, host: FakeHost) -> None:
    """The lease ran out while it was written: the answer goes out, the message is unread again, and that is said."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    host.advance(601)
    answer = sending.reply(store, BOB, msg_id, MailDraft(body="x"))
    assert "acked" not in answer
    assert unread(store, "bob") == [msg_id]
    assert any("was not acknowledged by this reply" in line for line in said(store))


# -- reading and acknowledging -------------------------------------------------------------------------------


def test_reading_takes_a_message_under_a_lease(store: Store) -> None:
    """new/ → cur/, who and when, one delivery; the token is the record's number, and its lease file says so."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    doc = take(store, BOB)
    assert store.names(places.new_folder("bob")) == []
    there = store.read(places.cur("bob", msg_id))
    assert there is not None
    assert (there["state"], there["read_by"], there["deliveries"]) == ("read", "bob", 1)
    lease = store.load_lease(places.read_lease("bob", msg_id))
    assert lease is not None
    assert lease.token == doc["token"] == last(store)["seq"]
    assert reading.read(store, BOB) == []


def test_the_order_of_reading(store: Store) -> None:
    """By priority, then age, alike for `read --next`, `read --all` and the inbox; never by the text of the number."""
    sent = [send(store, ANN, "bob", priority=priority) for priority in (5, 9, 0, 5, 9, 8, 5, 5, 5)]
    order = [sent[n] for n in (1, 4, 5, 0, 3, 6, 7, 8, 2)]
    assert [row["msg_id"] for row in inbox.inbox(store, "bob")[0]] == order
    assert take(store, BOB)["msg_id"] == order[0]
    assert [doc["msg_id"] for doc in reading.read_many(store, BOB, 0)] == order[1:]


def test_reading_is_not_acknowledging(store: Store) -> None:
    """What was printed is acknowledged by a second record; what needs an ack waits for one."""
    plain, asked = send(store, ANN, "bob"), send(store, ANN, "bob", needs_ack=True)
    docs = reading.read_many(store, BOB, 0)
    assert {name[:-5] for name in store.names(places.cur_folder("bob"))} == {plain, asked}
    reading.finish(store, BOB, docs)
    assert last(store)["op"] == "mail.ack"
    assert store.names(places.cur_folder("bob")) == [f"{asked}.json"]
    archived = lookup.archived(store, "bob", plain)
    assert archived is not None
    assert archived["state"] == "acked"
    assert store.load_lease(places.read_lease("bob", plain)) is None
    assert reading.acknowledge(store, BOB, [asked]) == [{"msg_id": asked, "state": "acked"}]
    records = len(journaled(store))
    assert reading.acknowledge(store, BOB, [asked]) == [{"msg_id": asked, "state": "acked", "already": True}]
    assert len(journaled(store)) == records


def test_each_receiver_acknowledges_its_own(store: Store) -> None:
    """bob's acknowledgement leaves cyd's copy unread."""
    msg_id = send(store, ANN, "bob", "cyd")
    reading.finish(store, BOB, [take(store, BOB)])
    assert unread(store, "cyd") == [msg_id]
    assert lookup.show(store, msg_id)["receivers"] == {"bob": "acked", "cyd": "unread"}


def test_ack_is_all_or_none(store: Store) -> None:
    """One id of several that cannot be acknowledged, and none is."""
    got = send(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    waiting = send(store, ANN, "bob", needs_ack=True)
    with pytest.raises(Usage, match=f"{waiting} is unread and was never read"):
        reading.acknowledge(store, BOB, [got, waiting])
    assert store.read(places.cur("bob", got))


def test_ack_of_what_is_not_yours(store: Store) -> None:
    """Somebody else's message, and one that never was: exit 3 that says which."""
    msg_id = send(store, ANN, "bob")
    with pytest.raises(NotFound, match="was not sent to cyd"):
        reading.acknowledge(store, CYD, [msg_id])
    with pytest.raises(NotFound, match=r"no message m77.*; did you mean m7\?|no message m77"):
        reading.acknowledge(store, BOB, ["m77"])


def test_a_lost_lease_acknowledges_nothing(store: Store, host: FakeHost) -> None:
    """Exit 5 after the lease ran out; also under the token of an earlier reading; then with the new one it works."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    old = take(store, BOB)["token"]
    host.advance(601)
    with pytest.raises(NotYours, match="is unread again"):
        reading.acknowledge(store, BOB, [msg_id], old)
    new = take(store, BOB)["token"]
    with pytest.raises(NotYours, match=f"under token {new}"):
        reading.acknowledge(store, BOB, [msg_id], old)
    assert reading.acknowledge(store, BOB, [msg_id], new)[0]["state"] == "acked"


def test_a_token_that_never_was_is_not_an_older_one(store: Store) -> None:
    """Read once: a wrong token, lower or higher, is not told that the message was read again."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    for token in (1, 999):
        with pytest.raises(NotYours, match=f"{msg_id}: token {token} is not its read lease's; `mbox read {msg_id}`"):
            reading.acknowledge(store, BOB, [msg_id], token)


def test_what_is_not_acknowledged_says_how_long_it_may_be(store: Store, host: FakeHost) -> None:
    """As for tasks: the time left, or expired; without a lease file the time that a first look would give."""
    first, second = (send(store, ANN, "bob", needs_ack=True) for _ in range(2))
    reading.read_many(store, BOB, 2)
    Path(store.absolute(places.read_lease("bob", second))).unlink()
    host.advance(540)
    assert reading.pending(store, "bob") == {first: "60s", second: "10m"}
    host.advance(60)
    assert reading.pending(store, "bob") == {first: "expired", second: "10m"}


def test_another_number_is_not_what_was_meant(store: Store) -> None:
    """An id is suggested for another case or letter, or a missing one; never another number."""
    sent = [send(store, ANN, "bob") for _ in range(12)]
    with pytest.raises(NotFound) as wrong:
        lookup.find(store, sent[0][:-1] + "99", "bob")
    assert "did you mean" not in str(wrong.value)
    for near in (sent[3][1:], f"t{sent[3][1:]}"):
        with pytest.raises(NotFound, match=rf"did you mean {sent[3]}\?$"):
            lookup.find(store, near)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("r1", ""), ("18", "m18"), ("M18", "m18"), ("t18", "m18"), ("x", ""), ("m1", ""), ("pars", "parse"), ("mm18", "m18")],
)
def test_the_id_that_was_meant(word: str, meant: str) -> None:
    """Ids that the toolkit gave out are never suggested for another number; names are, as before."""
    said = errors.meant_id(word, ["m18", "m11", "r14", "r11", "parse"])
    assert said == (f"; did you mean {meant}?" if meant else "")


def test_finishing_what_came_back_is_no_error(store: Store, host: FakeHost) -> None:
    """The reader was too slow: its acknowledgement changes nothing, and the message is there to be read again."""
    msg_id = send(store, ANN, "bob")
    doc = take(store, BOB)
    host.advance(601)
    reading.finish(store, BOB, [doc])
    assert unread(store, "bob") == [msg_id]
    again = take(store, BOB)
    reading.finish(store, BOB, [doc])
    assert store.read(places.cur("bob", msg_id))
    reading.finish(store, BOB, [again])
    assert not store.read(places.cur("bob", msg_id))


def test_reading_by_id(store: Store) -> None:
    """In any order; one that was read before is shown again, `already`; all or none if one is not there."""
    one, two = send(store, ANN, "bob", needs_ack=True), send(store, ANN, "bob", needs_ack=True)
    with pytest.raises(NotFound):
        reading.read(store, BOB, [two, "m99"])
    assert unread(store, "bob") == [one, two]
    token = take(store, BOB, ids=[two])["token"]
    again = reading.read(store, BOB, [two, one])
    assert [(doc["msg_id"], doc.get("already", False)) for doc in again] == [(two, True), (one, False)]
    assert again[0]["token"] == token
    reading.acknowledge(store, BOB, [two])
    shown = take(store, BOB, ids=[two])
    assert (shown["state"], shown["already"]) == ("acked", True)


def test_reading_what_fits(store: Store) -> None:
    """By sender, type and thread, in the usual order; what does not fit stays unread."""
    first = send(store, ANN, "bob", type="question")
    other = send(store, CYD, "bob", priority=9)
    more = sending.send(store, ANN, ["bob"], MailDraft(body="x", priority=7), reply_to=first)["msg_id"]
    assert take(store, BOB, wanted=MailFilter(sender="ann"))["msg_id"] == more
    assert take(store, BOB, wanted=MailFilter(thread=first))["msg_id"] == first
    assert reading.read(store, BOB, wanted=MailFilter(type="question")) == []
    assert unread(store, "bob") == [other]


def test_read_many_takes_several_records(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full inbox is read in records of bounded size, nothing left out and nothing twice; so is it acknowledged."""
    monkeypatch.setattr(reading, "BATCH", 4)
    sent = [send(store, ANN, "bob") for _ in range(11)]
    docs = reading.read_many(store, BOB, 10)
    assert [doc["msg_id"] for doc in docs] == sent[:10]
    reading.finish(store, BOB, docs)
    assert [record["op"] for record in journaled(store)[-6:]] == ["mail.read"] * 3 + ["mail.ack"] * 3
    assert [len(record["on"]) for record in journaled(store)[-6:]] == [4, 4, 2] * 2
    monkeypatch.setattr(reading, "BATCH_BYTES", 10)
    for _ in range(3):
        send(store, ANN, "bob", body="x" * 11)
    assert len(reading.read(store, BOB, limit=4)) == 2  # "hello" and one long one; the rest by the next record


def test_a_dry_read_changes_nothing(store: Store, tmp_path: Path) -> None:
    """It shows what would be read."""
    msg_id = send(store, ANN, "bob")
    before = tree(tmp_path)
    assert take(store, BOB.trial())["msg_id"] == msg_id
    assert [doc["msg_id"] for doc in reading.read_many(store, BOB.trial(), 0)] == [msg_id]
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "verb",
    [
        lambda store, who: sending.send(store, who, ["ann"], MailDraft(body="x")),
        lambda store, who: sending.reply(store, who, "m6", MailDraft(body="x")),
        reading.read,
        lambda store, who: reading.acknowledge(store, who, ["m6"]),
        lambda store, who: deadletters.purge(store, who, ["d1"]),
    ],
)
def test_an_older_incarnation_changes_nothing(store: Store, tmp_path: Path, verb: Callable[..., Any]) -> None:
    """Another process took the name over: exit 5 for every verb of the old one."""
    assert send(store, ANN, "bob") == "m6"
    registry.add(store, USER, "bob", {}, new=True)
    before = tree(tmp_path)
    with pytest.raises(NotYours, match="bob is in incarnation 2 now, you are 1"):
        verb(store, BOB)
    assert tree(tmp_path) == before


def test_a_new_incarnation_takes_over(store: Store) -> None:
    """It cannot acknowledge what the old one read, but reads it again by id, under a lease of its own."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    old = take(store, BOB)["token"]
    registry.add(store, USER, "bob", {}, new=True)
    again = Actor("bob", 2)
    with pytest.raises(NotYours, match="read by incarnation 1 of bob, you are 2"):
        reading.acknowledge(store, again, [msg_id], old)
    doc = take(store, again, ids=[msg_id])
    assert doc["deliveries"] == 2
    assert doc["token"] > old
    assert reading.acknowledge(store, again, [msg_id], doc["token"])


def test_before_you(store: Store, host: FakeHost) -> None:
    """Mail older than the incarnation says so, listed and read; younger mail does not."""
    send(store, ANN, "bob")
    host.advance(1)
    registry.add(store, USER, "bob", {}, new=True)
    host.advance(1)
    send(store, ANN, "bob")
    rows, _ = inbox.inbox(store, "bob")
    assert [row.get("before_you") for row in rows] == [True, None]
    docs = reading.read_many(store, Actor("bob", 2), 0)
    assert [doc.get("before_you") for doc in docs] == [True, None]


@pytest.mark.parametrize("expired", [0, 2])
def test_the_foremost_of_a_large_inbox_are_enough(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch, expired: int
) -> None:
    """Only so many are read as are asked for; where one of them has expired, all are looked at."""
    monkeypatch.setattr(inbox, "FEW", 5)
    gone = [send(store, ANN, "bob", priority=9, ttl=60.0) for _ in range(expired)]
    sent = [send(store, ANN, "bob") for _ in range(9)]
    store.transact(lambda tx: tx.index.seq, USER.trial())
    store.sweep = None
    host.advance(61)
    looked: list[int] = []
    documents_of = inbox._documents
    monkeypatch.setattr(inbox, "_documents", lambda *given: (looked.append(len(given[2])), documents_of(*given))[1])
    assert [doc["msg_id"] for doc in inbox.unread(store, "bob", limit=3)] == sent[:3]
    assert looked == ([3, len(gone + sent)] if expired else [3])


def test_what_was_written_since_and_is_too_much_to_look_through_counts_as_newer(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`JOURNAL_LOOK` bytes are read for it and no more: then it may be stale, and says so."""

    def decide(tx: Transaction) -> None:
        tx.put(documents.new("task", task_id="t-1", title="t", created_at=tx.now), places.task("t-1"))
        tx.record("task.add", ["t-1"])

    store.transact(decide, USER)
    first = send(store, ANN, "bob", task_id="t-1")
    send(store, ANN, "bob", body="x" * 500)
    os.utime(store.absolute(places.task("t-1")), (host.w + 5, host.w + 5))
    assert "stale" not in lookup.show(store, first, "bob")
    monkeypatch.setattr(lookup, "JOURNAL_LOOK", 1000)
    assert lookup.show(store, first, "bob")["stale"]


def test_stale(store: Store, host: FakeHost) -> None:
    """Set where a record about the message's task is newer than what its sender had seen, else not."""

    def touch(op: str, task: str, **changes: Any) -> None:
        def decide(tx: Transaction) -> None:
            doc = tx.read(places.task(task)) or documents.new("task", task_id=task, title="t", created_at=tx.now)
            tx.put({**doc, **changes}, places.task(task))
            tx.record(op, [task])

        store.transact(decide, USER)
        os.utime(store.absolute(places.task(task)), (host.w, host.w))

    touch("task.add", "t-1")
    touch("task.add", "t-2")
    first = send(store, ANN, "bob", task_id="t-1")
    assert "stale" not in lookup.show(store, first, "bob")
    touch("task.update", "t-2")
    assert "stale" not in lookup.show(store, first, "bob")
    send(store, ANN, "bob", body='{"op":"task.update","on":["t-1"]}', task_id="t-1")
    touch("task.update", "t-2", depends_on=["t-1"])
    os.utime(store.absolute(places.task("t-1")), (host.w, host.w))  # as a copy of the store would have it
    assert "stale" not in lookup.show(store, first, "bob")
    touch("task.update", "t-1")
    second = send(store, ANN, "bob", task_id="t-1")
    os.utime(store.absolute(places.task("t-1")), (host.w, host.w))  # the host's clock is ahead of the file system's
    assert lookup.show(store, first, "bob")["stale"] is True
    assert take(store, BOB)["stale"] is True
    assert "stale" not in take(store, BOB, ids=[second])


def test_a_question_says_how_to_answer(store: Store) -> None:
    """`read` of one carries the reply command."""
    msg_id = questions.ask(store, ANN, ["bob"], MailDraft(body="why?"))["msg_id"]
    assert take(store, BOB)["reply_with"] == f"mbox reply {msg_id} --body TEXT"


# -- what comes back -----------------------------------------------------------------------------------------


def test_unacknowledged_mail_comes_back_to_its_old_place(store: Store, host: FakeHost) -> None:
    """When its lease has run out, at the next writing command; before what came later at the same priority."""
    first = send(store, ANN, "bob")
    take(store, BOB)
    later = send(store, ANN, "bob")
    urgent = send(store, ANN, "bob", priority=8)
    host.advance(599)
    send(store, ANN, "cyd")
    assert unread(store, "bob") == [urgent, later]
    host.advance(2)
    send(store, ANN, "cyd")
    assert unread(store, "bob") == [urgent, first, later]
    returned = next(record for record in journaled(store) if record["op"] == "mail.return")
    assert (returned["by"], returned["on"]) == ("sweep", [first])
    assert "delivery 1 of 5" in returned["why"]
    assert [doc["msg_id"] for doc in reading.read_many(store, BOB, 0)] == [urgent, first, later]


def test_a_plain_message_is_not_kept_by_its_dead_reader(store: Store, host: FakeHost) -> None:
    """A `read` that died before it acknowledged: later commands of the same agent do not renew that lease, while they
    do renew that of a message which wants an ack."""
    plain, wants = send(store, ANN, "bob"), send(store, ANN, "bob", needs_ack=True)
    reading.read_many(store, BOB, 0)
    for _ in range(8):
        host.advance(150)
        send(store, BOB, "ann")
    assert unread(store, "bob") == [plain]
    assert store.read(places.cur("bob", wants))


def test_after_max_deliveries_it_is_dead(store: Store, host: FakeHost) -> None:
    """The dead letter has the reason and the message; only that receiver's copy is dead."""
    configure(store, max_deliveries=2)
    msg_id = send(store, ANN, "bob", "cyd", subject="s")
    for _ in range(2):
        take(store, BOB)
        host.advance(601)
    assert reading.read(store, BOB) == []
    assert last(store)["op"] == "mail.dead"
    assert "delivery 2 of 2" in last(store)["why"]
    (row,) = deadletters.headers(store)
    assert (row["reason"], row["msg_id"], row["to"], row["count"]) == ("max_deliveries", msg_id, "bob", 2)
    assert deadletters.show(store, msg_id)[0]["original"]["state"] == "dead"
    assert lookup.show(store, msg_id)["receivers"] == {"bob": "dead", "cyd": "unread"}
    with pytest.raises(NotFound, match=f"{msg_id} is in the dead letters"):
        reading.acknowledge(store, BOB, [msg_id])
    assert unread(store, "cyd") == [msg_id]


def test_a_dead_copy_is_told_without_the_lock(store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is asked whether it was lost: once for a whole thread, and nobody waits for that."""
    configure(store, max_deliveries=1)
    first = send(store, ANN, "bob")
    for n in range(3):
        sending.reply(store, BOB, first, MailDraft(body=f"{n}"))
    for who in (BOB, ANN, ANN, ANN):
        take(store, who)
        host.advance(601)
    assert reading.read(store, ANN) == []
    asked: list[object] = []
    plain = redress.missed
    monkeypatch.setattr(redress, "missed", lambda *args: (asked.append(args[1]), plain(*args))[1])
    monkeypatch.setattr(Store, "locked", lambda *_: pytest.fail("the lock was taken"))
    assert lookup.show(store, first)["receivers"] == {"bob": "dead"}
    assert [row["state"] for row in lookup.thread(store, first)] == ["dead"] * 4
    assert len(asked) == 2


def beat(store: Store, who: Actor) -> None:
    """A heartbeat of this process for ``who``."""
    presence.beat(store, who, os.getpid())


def test_a_living_reader_has_not_failed(store: Store, host: FakeHost) -> None:
    """Its message comes back, but the delivery does not count; without its heartbeat it does."""
    configure(store, max_deliveries=2)
    msg_id = send(store, ANN, "bob")
    for _ in range(3):
        assert take(store, BOB)["deliveries"] == 1
        host.advance(601)
        beat(store, BOB)
        send(store, ANN, "cyd")
        assert "alive" in next(record["why"] for record in journaled(store)[::-1] if record["op"] == "mail.return")
        assert unread(store, "bob") == [msg_id]
    for left in ([msg_id], []):
        take(store, BOB)
        host.advance(601)
        send(store, ANN, "cyd")
        assert unread(store, "bob") == left
    assert len(deadletters.headers(store)) == 1


def test_the_heartbeat_of_a_successor_does_not_count(store: Store, host: FakeHost) -> None:
    """The reader of an older incarnation is gone, however alive the new one is."""
    configure(store, max_deliveries=1)
    send(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    registry.add(store, USER, "bob", {}, new=True)
    host.advance(601)
    beat(store, Actor("bob", 2))
    send(store, ANN, "cyd")
    assert len(deadletters.headers(store)) == 1


def test_a_missing_lease_gets_time_from_the_first_look(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """A copied store, or a deleted file: the message stays with its reader for the default time, then comes back."""
    msg_id = send(store, ANN, "bob", needs_ack=True)
    token = take(store, BOB)["token"]
    os.unlink(store.absolute(places.read_lease("bob", msg_id)))
    store.drop_index()
    send(store, ANN, "cyd")
    lease = store.load_lease(places.read_lease("bob", msg_id))
    assert lease is not None
    assert lease.left(host) == store.config.lease
    other = opened(tmp_path, host)
    assert reading.acknowledge(other, BOB.trial(), [msg_id], token)
    host.advance(store.config.lease + 1)
    send(store, ANN, "cyd")
    assert unread(store, "bob") == [msg_id]
    other.close()


def test_leases_survive_a_new_index(store: Store, host: FakeHost) -> None:
    """The index is a cache: built anew it still knows what is leased, and until when mail lives."""
    read, expiring = send(store, ANN, "bob"), send(store, ANN, "cyd", ttl=601)
    take(store, BOB)
    store.drop_index()
    host.advance(602)
    send(store, ANN, "ann")
    assert unread(store, "bob") == [read]
    assert lookup.archived(store, "cyd", expiring)


# -- dead letters --------------------------------------------------------------------------------------------


def kill(store: Store, host: FakeHost, *to: str) -> str:
    """A message that died with each of ``to``."""
    configure(store, max_deliveries=1)
    msg_id = send(store, ANN, *to)
    for name in to:
        take(store, Actor(name, 1))
    host.advance(601)
    send(store, ANN, "ann")
    return msg_id


def test_retry_delivers_again(store: Store, host: FakeHost) -> None:
    """By the envelope's id one receiver's copy, by the message's every one; deliveries count anew."""
    msg_id = kill(store, host, "bob", "cyd")
    later = send(store, ANN, "bob")
    first, second = deadletters.headers(store)
    assert deadletters.retry(store, USER, [first["id"]])[0]["to"] == "bob"
    assert unread(store, "bob") == [msg_id, later]
    assert last(store)["op"] == "mail.retry"
    assert take(store, BOB)["deliveries"] == 1
    assert [row["id"] for row in deadletters.headers(store)] == [second["id"]]
    deadletters.retry(store, USER, [msg_id])
    assert unread(store, "cyd") == [msg_id]
    with pytest.raises(NotFound, match="no dead letter"):
        deadletters.retry(store, USER, [msg_id])


def test_retry_to_somebody_who_is_gone_is_refused(store: Store, host: FakeHost, tmp_path: Path) -> None:
    """A retired receiver reads nothing any more: exit 3, and the letter stays where it is found."""
    msg_id = kill(store, host, "bob", "cyd")
    departure.retire(store, USER, "cyd")
    before = tree(tmp_path)
    with pytest.raises(NotFound, match="'cyd' is retired"):
        deadletters.retry(store, USER, [msg_id])
    assert tree(tmp_path) == before, "not bob's copy either: all or none"


@pytest.mark.parametrize("where", [places.new, places.cur])
def test_retry_never_writes_over_a_copy_that_stands(
    store: Store, host: FakeHost, tmp_path: Path, where: Callable[[str, str], str]
) -> None:
    """The same message in the inbox already, read or not (an older tool delivered it again): refused with the mend."""
    msg_id = kill(store, host, "bob")
    (row,) = deadletters.headers(store)
    standing = {**deadletters.show(store, row["id"])[0]["original"], "state": "unread", "body": "it stands"}

    def decide(tx: Transaction) -> None:
        tx.put(standing, where("bob", msg_id))
        tx.record("mail.retry", [msg_id])

    store.transact(decide, USER)
    with pytest.raises(Usage, match=rf"{msg_id} stands in the inbox of bob already; `mbox deadletter purge {row['id']}`"):
        deadletters.retry(store, USER, [row["id"]])
    assert b"it stands" in (tmp_path / where("bob", msg_id)).read_bytes()
    assert len(deadletters.headers(store)) == 1


def test_dead_letters_are_looked_for_without_the_lock(
    store: Store, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the lock only those are read that were named, each once, however many there are and are named."""
    named = kill(store, host, "bob", "cyd")
    for _ in range(3):
        kill(store, host, "bob")
    reads: list[str] = []
    plain = Transaction.read
    monkeypatch.setattr(Transaction, "read", lambda tx, path: (reads.append(path), plain(tx, path))[1])
    rows = deadletters.purge(store, USER, [named, named, *[row["id"] for row in deadletters.headers(store)[:2]]])
    assert [path for path in reads if path.startswith(places.DEADLETTER)] == [places.deadletter(row["id"]) for row in rows]
    assert (len(rows), len(deadletters.headers(store))) == (2, 3)


def test_purge_removes_and_the_journal_remembers(store: Store, host: FakeHost) -> None:
    """The envelope is gone; the record names the message."""
    msg_id = kill(store, host, "bob")
    deadletters.purge(store, USER.trial(), [msg_id])
    assert len(deadletters.headers(store)) == 1
    (row,) = deadletters.purge(store, USER, [msg_id])
    assert row["purged"]
    assert deadletters.headers(store) == []
    assert last(store)["op"] == "mail.purge"


def test_a_damaged_document_is_no_mail(store: Store) -> None:
    """A message damaged beyond the journal's help stands in the dead letters; retrying it says why not."""
    path = places.new("bob", "m999")
    os.makedirs(os.path.dirname(store.absolute(path)), exist_ok=True)
    Path(store.absolute(path)).write_text("not json", encoding="utf-8")
    with pytest.raises(NotFound):
        reading.read(store, BOB, ["m999"])
    (row,) = deadletters.headers(store)
    assert row["from_path"] == path
    with pytest.raises(Usage, match="is no message"):
        deadletters.retry(store, USER, [row["id"]])
    deadletters.purge(store, USER, [row["id"]])


def test_a_damaged_message_does_not_hide_the_others(store: Store) -> None:
    """Whoever lists it mends it from the journal, says it, and goes on; reading has all of it."""
    bad, good = send(store, ANN, "bob", body="first"), send(store, ANN, "bob")
    path = Path(store.absolute(places.new("bob", bad)))
    path.unlink()  # it shares its bytes with the outbox
    path.write_text("{", encoding="utf-8")
    rows, _ = inbox.inbox(store, "bob")
    assert [row["msg_id"] for row in rows] == [bad, good]
    assert any(bad in line and "put back from the journal" in line for line in said(store))
    docs = reading.read_many(store, BOB, 0)
    assert [(doc["msg_id"], doc["body"]) for doc in docs] == [(bad, "first"), (good, "hello")]


# -- expiry --------------------------------------------------------------------------------------------------


def test_expired_mail_is_archived_with_its_reason(store: Store, host: FakeHost) -> None:
    """By whoever writes next; before that it is shown as expired by commands that only read, which change nothing."""
    msg_id = send(store, ANN, "bob", ttl=60)
    host.advance(59)
    assert unread(store, "bob") == [msg_id]
    host.advance(1)
    records = len(journaled(store))
    assert inbox.inbox(store, "bob") == ([], 0)
    assert inbox.inbox(store, "bob", everything=True)[0][0]["state"] == "expired"
    assert lookup.show(store, msg_id)["receivers"] == {"bob": "expired"}
    assert unread(store, "bob") == []
    assert len(journaled(store)) == records
    assert reading.read(store, BOB) == []
    archived = lookup.archived(store, "bob", msg_id)
    assert archived is not None
    assert archived["state"] == "expired"
    assert last(store)["op"] == "mail.expire"
    assert "time to live" in last(store)["why"]
    assert reading.read(store, BOB, [msg_id])[0]["state"] == "expired"
    with pytest.raises(Usage, match="is expired and was never read"):
        reading.acknowledge(store, BOB, [msg_id])


def test_expired_mail_is_not_read(store: Store, host: FakeHost) -> None:
    """Not even where the sweep has not reached it, because much has run out at once."""
    store.sweep = None
    send(store, ANN, "bob", ttl=60)
    alive = send(store, ANN, "bob")
    host.advance(60)
    assert [doc["msg_id"] for doc in reading.read_many(store, BOB, 0)] == [alive]
    assert reading.read(store, BOB, wanted=MailFilter(sender="ann")) == []


def test_what_was_read_in_time_does_not_expire(store: Store, host: FakeHost) -> None:
    """The time to live is that of unread mail; if it comes back after that, it expires."""
    kept, late = (send(store, ANN, "bob", ttl=60, needs_ack=True) for _ in range(2))
    reading.read_many(store, BOB, 0)
    host.advance(300)
    assert reading.acknowledge(store, BOB, [kept])
    registry.add(store, USER, "bob", {}, new=True)  # nobody renews it now
    host.advance(601)
    send(store, ANN, "cyd")
    assert unread(store, "bob") == []
    archived = lookup.archived(store, "bob", late)
    assert archived is not None
    assert archived["state"] == "expired"


def test_a_clock_set_back_does_not_make_mail_immortal(store: Store, host: FakeHost) -> None:
    """The index thought it was due, the wall clock said no: it is looked at again when that clock says yes."""
    msg_id = send(store, ANN, "bob", ttl=60)
    host.m += 61
    host.w -= 30
    send(store, ANN, "cyd")
    assert unread(store, "bob") == [msg_id]
    host.advance(95)
    send(store, ANN, "cyd")
    assert lookup.archived(store, "bob", msg_id)


# -- listing -------------------------------------------------------------------------------------------------


def test_the_inbox_shows_headers(store: Store, tmp_path: Path) -> None:
    """Unread and unacknowledged, never a body; with everything also what is archived; nothing changes."""
    sent = [send(store, ANN, "bob", subject=f"s{n}", needs_ack=True) for n in range(4)]
    reading.read_many(store, BOB, 2)
    reading.acknowledge(store, BOB, [sent[0]])
    before = tree(tmp_path)
    rows, left = inbox.inbox(store, "bob", 2)
    assert [(row["msg_id"], row["state"], row["subject"]) for row in rows] == [
        (sent[1], "read", "s1"),
        (sent[2], "unread", "s2"),
    ]
    assert left == 1
    assert not any({"body", "payload"} & set(row) for row in rows)
    rows, left = inbox.inbox(store, "bob", 0, everything=True)
    assert ([row["msg_id"] for row in rows], left) == ([*sent[1:], sent[0]], 0)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("current", [True, False])
def test_a_large_inbox_is_listed_by_priority(store: Store, monkeypatch: pytest.MonkeyPatch, current: bool) -> None:
    """By the index, or without it where it is not current: the same rows in the same order, also of what was read."""
    monkeypatch.setattr(lookup, "FEW", 3)
    sent = [send(store, ANN, "bob", priority=n % 10, needs_ack=True) for n in range(12)]
    take(store, BOB)
    if not current:
        store.drop_index()
    rows, left = inbox.inbox(store, "bob", 3)
    assert [row["msg_id"] for row in rows] == [sent[9], sent[8], sent[7]]
    assert [row["state"] for row in rows] == ["read", "unread", "unread"]
    assert left == 9
    assert [doc["msg_id"] for doc in inbox.unread(store, "bob", limit=2)] == [sent[8], sent[7]]
    for _ in range(4):
        send(store, ANN, "bob", priority=9, ttl=1)
    store.host.advance(2)  # type: ignore[attr-defined]
    assert [row["msg_id"] for row in inbox.inbox(store, "bob", 3)[0]] == [sent[9], sent[8], sent[7]]
    assert [doc["msg_id"] for doc in inbox.unread(store, "bob", limit=2)] == [sent[8], sent[7]]


def test_a_message_that_moves_while_listing_is_listed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`new/` is listed before `cur/`: read in between, the message is in both lists, and shown once, not never."""
    msg_id = send(store, ANN, "bob")
    names = Store.names

    def moving(self: Store, folder: str) -> list[str]:
        found = names(self, folder)
        monkeypatch.setattr(Store, "names", names)
        take(self, BOB)  # between the first listing, of whichever folder, and the second
        return found

    monkeypatch.setattr(Store, "names", moving)
    rows, _ = inbox.inbox(store, "bob")
    assert [(row["msg_id"], row["state"]) for row in rows] == [(msg_id, "read")]


def test_show_finds_any_message(store: Store, tmp_path: Path) -> None:
    """Anybody's, in any state, from any place; changes nothing; an id that is near is suggested."""
    msg_id = send(store, ANN, "bob", body="b")
    reading.finish(store, BOB, [take(store, BOB)])
    before = tree(tmp_path)
    assert lookup.show(store, msg_id, "bob")["state"] == "acked"
    assert lookup.show(store, msg_id, "cyd")["body"] == "b"
    assert tree(tmp_path) == before
    send(store, ANN, "bob")
    with pytest.raises(NotFound, match="no message m99"):
        lookup.show(store, "m99")


def test_a_thread_in_order(store: Store) -> None:
    """Every message of the conversation once, by whatever id it is asked for, and none that only speaks of it."""
    first = send(store, ANN, "bob", "cyd")
    send(store, ANN, "bob", body=f'"thread_id":"{first}"', payload={"thread_id": first})
    one = sending.reply(store, BOB, first, MailDraft(body="1"))["msg_id"]
    two = sending.reply(store, ANN, one, MailDraft(body="2"))["msg_id"]
    reading.finish(store, BOB, reading.read_many(store, BOB, 0))
    three = sending.reply(store, CYD, first, MailDraft(body="3"))["msg_id"]
    rows = lookup.thread(store, two)
    assert [row["msg_id"] for row in rows] == [first, one, two, three]
    assert [row["from"] for row in rows] == ["ann", "bob", "ann", "cyd"]


def test_me_says_how_long_what_was_read_may_be_acknowledged(tmp_path: Path) -> None:
    """What is timely is to be acknowledged, what has expired to be read again; nothing is written by looking."""
    host = FakeHost()
    store = office(tmp_path, host)
    ident = send(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    host.advance(store.config.read_lease - 1)
    before = store.end()
    me = status.me(store, BOB)
    row = {"msg_id": ident, "from": "ann", "left": "1s"}
    assert (me["unacknowledged"], me["next"]) == ([row], [f"mbox ack {ident}"])
    host.advance(1)
    me = status.me(store, BOB)
    assert (me["unacknowledged"], me["next"]) == ([{**row, "left": "expired"}], [f"mbox read {ident}"])
    assert store.end() == before
