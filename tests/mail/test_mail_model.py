"""Mail against a model of a few dictionaries: what any sequence of calls, and time, must answer and leave."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit import FakeHost, journaled
from mailkit import ANN, BOB, CYD, ORC, office, opened
from mbox.agents import presence
from mbox.doctor import survey as doctor
from mbox.errors import MboxError, NotYours, Refused, Usage
from mbox.format import places
from mbox.mail import deadletters, inbox, reading, sending
from mbox.mail.sending import MailDraft
from mbox.store.store import Actor

PEOPLE = (ANN, BOB, CYD, ORC)
LEASE, DELIVERIES, HOPS, RECIPIENTS, DEAD_AFTER = 600, 5, 32, 5, 45
people = st.sampled_from(PEOPLE)


@dataclass
class Letter:
    """A message, as the model has it."""

    number: int
    sender: str
    to: list[str]
    body: str
    priority: int
    needs_ack: bool
    hops: int
    expires: float | None


@dataclass
class Copy:
    """A receiver's copy: ``unread``, ``read``, ``acked``, ``expired`` or ``dead``; its lease, while it is read."""

    letter: Letter
    state: str = "unread"
    deliveries: int = 0
    until: float = 0
    token: int = 0
    was_read: bool = False


@dataclass
class Model:
    """Everything there is."""

    now: float = 0
    copies: dict[tuple[str, str], Copy] = field(default_factory=dict)
    letters: dict[str, Letter] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, object]] = field(default_factory=dict)
    beats: dict[str, float] = field(default_factory=dict)

    def of(self, agent: str, *states: str) -> dict[str, Copy]:
        """An agent's copies in one of ``states``."""
        return {msg_id: copy for (name, msg_id), copy in self.copies.items() if name == agent and copy.state in states}

    def sweep(self) -> None:
        """What every command that takes the lock does first."""
        for (agent, _), copy in self.copies.items():
            if copy.state == "read" and copy.until <= self.now:
                alive = self.now - self.beats.get(agent, -1e9) < DEAD_AFTER
                copy.deliveries -= alive
                copy.state = "dead" if not alive and copy.deliveries >= DELIVERIES else "unread"
        for copy in self.copies.values():
            if copy.state == "unread" and copy.letter.expires is not None and copy.letter.expires <= self.now:
                copy.state = "expired"

    def renew(self, agent: str) -> None:
        """What every command of an agent does last, even a refused one: for what wants an ack, from a third on."""
        for copy in self.of(agent, "read").values():
            if copy.letter.needs_ack and self.now >= copy.until - LEASE * 2 / 3:
                copy.until = self.now + LEASE

    def queue(self, agent: str) -> list[str]:
        """What is unread, in the order of reading."""
        found = self.of(agent, "unread")
        return sorted(found, key=lambda msg_id: (-found[msg_id].letter.priority, found[msg_id].letter.number))


class Mail(RuleBasedStateMachine):
    """Four agents write, read, acknowledge, die, and let time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.host = FakeHost()
        self.store = office(Path(self.folder), self.host)
        self.model = Model()
        self.seen: dict[Path, bytes] = {}
        """Every letter's file that was there once, for git to bring back."""

    @initialize()
    def begin(self) -> None:
        """The model's clock is the host's."""
        self.model.now = self.host.m

    def teardown(self) -> None:
        """Nothing is lost, nothing is foreign, and every record has its number."""
        survey = doctor.survey(self.store)
        assert [finding for finding in survey.findings if finding.bad] == []
        numbers = [record["seq"] for record in journaled(self.store)]
        assert numbers == sorted(set(numbers))
        self.store.close()
        shutil.rmtree(self.folder)

    def sent(self, who: Actor, to: list[str], draft: MailDraft, msg_id: str, hops: int = 0) -> None:
        """Take a message into the model."""
        expires = self.model.now + draft.ttl if draft.ttl else None
        letter = Letter(places.number(msg_id), who.name, to, draft.body, draft.priority, draft.needs_ack, hops, expires)
        assert msg_id not in self.model.letters
        self.model.letters[msg_id] = letter
        for name in to:
            self.model.copies[name, msg_id] = Copy(letter)
        self.model.renew(who.name)

    # -- sending ---------------------------------------------------------------------------------------------

    @rule(who=people, to=st.lists(people, min_size=1, max_size=5), body=st.text(max_size=5),
          ttl=st.sampled_from([0, 0, 50, 900]), priority=st.sampled_from([5, 5, 0, 9]),
          needs_ack=st.booleans())  # fmt: skip
    def send(self, who: Actor, to: list[Actor], body: str, ttl: int, priority: int, needs_ack: bool) -> None:
        """Everybody gets it, once."""
        draft = MailDraft(body=body, ttl=ttl, priority=priority, needs_ack=needs_ack)
        names = list(dict.fromkeys(one.name for one in to))
        self.model.sweep()
        answer = sending.send(self.store, who, [one.name for one in to], draft)
        assert answer["to"] == names
        self.sent(who, names, draft, answer["msg_id"])

    @rule(who=people, to=people, key=st.sampled_from(["k1", "k2"]), body=st.sampled_from(["x", "y"]))
    def send_with_key(self, who: Actor, to: Actor, key: str, body: str) -> None:
        """The first call sends; the same again is answered with its id, another is refused."""
        draft = MailDraft(body=body, key=key)
        self.model.sweep()
        known = self.model.keys.get((who.name, key))
        try:
            answer = sending.send(self.store, who, [to.name], draft)
        except Usage:
            assert known
            assert known[1] != (to.name, body)
            self.model.renew(who.name)
            return
        if known:
            assert (answer["msg_id"], answer["already"], known[1]) == (known[0], True, (to.name, body))
            self.model.renew(who.name)
            return
        assert "already" not in answer
        self.model.keys[who.name, key] = (answer["msg_id"], (to.name, body))
        self.sent(who, [to.name], draft, answer["msg_id"])

    @rule(who=people)
    def broadcast(self, who: Actor) -> None:
        """orc's goes to all others; anybody else's to nobody."""
        draft = MailDraft(body="all")
        self.model.sweep()
        try:
            answer = sending.broadcast(self.store, who, draft)
        except Refused:
            assert who != ORC
            self.model.renew(who.name)
            return
        assert who == ORC
        self.sent(who, ["ann", "bob", "cyd"], draft, answer["msg_id"])

    @precondition(lambda self: self.model.letters)
    @rule(who=people, data=st.data())
    def reply(self, who: Actor, data: st.DataObject) -> None:
        """To the sender alone; acknowledges what wants it and is held."""
        msg_id = data.draw(st.sampled_from(sorted(self.model.letters)))
        parent = self.model.letters[msg_id]
        self.model.sweep()
        if parent.sender == who.name and who.name not in parent.to:
            try:
                sending.reply(self.store, who, msg_id, MailDraft(body="r"))
            except Usage:
                self.model.renew(who.name)
                return
            raise AssertionError("a reply to oneself")
        answer = sending.reply(self.store, who, msg_id, MailDraft(body="r"))
        copy = self.model.copies.get((who.name, msg_id))
        acked = copy is not None and copy.state == "read" and parent.needs_ack
        assert ("acked" in answer) == acked
        if copy and acked:
            copy.state = "acked"
        self.sent(who, [parent.sender], MailDraft(body="r"), answer["msg_id"], parent.hops + 1)

    # -- reading ---------------------------------------------------------------------------------------------

    @rule(who=people, limit=st.integers(1, 3), finished=st.booleans())
    def read(self, who: Actor, limit: int, finished: bool) -> None:
        """What comes first by priority, then age; acknowledged, or left by a reader that died."""
        self.model.sweep()
        expected = self.model.queue(who.name)[:limit]
        docs = reading.read(self.store, who, limit=limit)
        assert [doc["msg_id"] for doc in docs] == expected
        for doc in docs:
            copy = self.model.copies[who.name, doc["msg_id"]]
            copy.state, copy.until, copy.was_read = "read", self.model.now + LEASE, True
            copy.deliveries += 1
            copy.token = doc["token"]
            assert (doc["body"], doc["deliveries"]) == (copy.letter.body, copy.deliveries)
        self.model.renew(who.name)
        plain = [doc for doc in docs if not doc["needs_ack"]]
        if finished:
            reading.finish(self.store, who, docs)
            for doc in plain:
                self.model.copies[who.name, doc["msg_id"]].state = "acked"
            if plain:
                self.model.sweep()
                self.model.renew(who.name)

    @precondition(lambda self: self.model.copies)
    @rule(data=st.data(), right=st.booleans())
    def ack(self, data: st.DataObject, right: bool) -> None:
        """Only what is held, under its token; a second time changes nothing."""
        agent, msg_id = data.draw(st.sampled_from(sorted(self.model.copies)))
        who = next(one for one in PEOPLE if one.name == agent)
        self.model.sweep()
        copy = self.model.copies[agent, msg_id]
        token = copy.token if right else copy.token + 1
        try:
            (row,) = reading.acknowledge(self.store, who, [msg_id], token)
        except MboxError as error:
            assert copy.state in ("unread", "expired", "dead") or (copy.state == "read" and not right)
            if copy.state in ("unread", "expired"):
                assert isinstance(error, NotYours if copy.was_read else Usage)
            self.model.renew(agent)
            return
        assert (copy.state, "already" in row) in (("read", False), ("acked", True))
        assert copy.state == "acked" or right
        copy.state = "acked"
        self.model.renew(agent)

    @precondition(lambda self: any(copy.state == "dead" for copy in self.model.copies.values()))
    @rule()
    def retry(self) -> None:
        """All dead letters come back."""
        self.model.sweep()
        rows = deadletters.retry(self.store, ANN, [row["id"] for row in deadletters.headers(self.store)])
        for row in rows:
            copy = self.model.copies[row["to"], row["msg_id"]]
            assert copy.state == "dead"
            copy.state, copy.deliveries = "unread", 0
            if copy.letter.expires is not None and copy.letter.expires <= self.model.now:
                copy.letter.expires = None
        self.model.renew("ann")

    # -- the world -------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 30, 49, 50, 199, 200, 401, 600, 900]))
    def advance(self, seconds: int) -> None:
        """Time passes."""
        self.host.advance(seconds)
        self.model.now += seconds

    @rule(who=people)
    def beat(self, who: Actor) -> None:
        """An agent says that it is alive."""
        presence.beat(self.store, who, os.getpid())
        self.model.beats[who.name] = self.model.now

    @rule(index=st.booleans())
    def reopen(self, index: bool) -> None:
        """Another process goes on, perhaps with the index gone."""
        if index:
            self.store.drop_index()
        self.store.close()
        self.store = opened(Path(self.folder), self.host)

    @rule(data=st.data(), how=st.sampled_from(["gone", "back", "all gone"]))
    def git_moves_a_letter(self, data: st.DataObject, how: str) -> None:
        """Letters vanish, or are there again that were read: whoever begins to read sees what the journal says."""
        inboxes = Path(self.folder) / places.INBOX
        there = sorted(inboxes.rglob("*.json"))
        if how == "all gone":
            shutil.rmtree(inboxes, ignore_errors=True)
        elif how == "gone" and there:
            data.draw(st.sampled_from(there)).unlink()
        elif how == "back" and self.seen:
            path = data.draw(st.sampled_from(sorted(self.seen)))
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.seen[path])
        self.store.bring_up()

    @rule(n=st.integers(2, 9))
    def reboot(self, n: int) -> None:
        """The machine starts anew: another boot, leases by the clock on the wall, nobody alive."""
        self.host.reboot(f"boot-{n}-{self.model.now}")
        gone = self.model.now + 1 - self.host.m  # of the clock that starts again
        for copy in self.model.copies.values():
            copy.until -= gone if copy.until else 0
        for letter in self.model.letters.values():
            letter.expires = letter.expires - gone if letter.expires is not None else None
        self.model.beats.clear()
        self.model.now = self.host.m
        self.store.close()
        self.store = opened(Path(self.folder), self.host)
        self.store.bring_up()

    # -- what must always hold -------------------------------------------------------------------------------

    @invariant()
    def folders(self) -> None:
        """Every copy stands where its state says, and nothing else does."""
        for path in (Path(self.folder) / places.INBOX).rglob("*.json"):
            self.seen.setdefault(path, path.read_bytes())
        for who in PEOPLE:
            name = who.name
            new = {entry[:-5] for entry in self.store.names(places.new_folder(name))}
            cur = {entry[:-5] for entry in self.store.names(places.cur_folder(name))}
            archived = {places.ident(path) for path in inbox.archive(self.store, name)}
            assert new == set(self.model.of(name, "unread"))
            assert cur == set(self.model.of(name, "read"))
            assert archived == set(self.model.of(name, "acked", "expired"))
        dead = {(row["to"], row["msg_id"]) for row in deadletters.headers(self.store)}
        assert dead == {key for key, copy in self.model.copies.items() if copy.state == "dead"}

    @invariant()
    def listings(self) -> None:
        """The inbox lists what is unread, but for what has expired since, in the order of reading."""
        for who in PEOPLE:
            queue = [
                msg_id
                for msg_id in self.model.queue(who.name)
                if (expires := self.model.copies[who.name, msg_id].letter.expires) is None or expires > self.model.now
            ]
            assert [doc["msg_id"] for doc in inbox.unread(self.store, who.name)] == queue


TestMail = Mail.TestCase
TestMail.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
