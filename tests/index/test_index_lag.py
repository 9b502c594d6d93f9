"""The index may be behind by mail that was delivered, and the mark says when it has to be asked: both must be bounds."""

from __future__ import annotations

import json
import random
from binascii import crc32
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import ANN, BOB, USER, FakeHost, FaultyDisk, Killed, bodies, make, read, reopen, send
from mailkit import CYD, configure, office, opened, take, unread
from mailkit import send as post
from mbox.agents import registry
from mbox.doctor import repair
from mbox.errors import MboxError, NotFound, Refused, StoreError
from mbox.format import documents, places
from mbox.index.queries import NEVER, Index
from mbox.index.updates import LAG
from mbox.mail import inbox, reading, sending
from mbox.mail.sending import MailDraft
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store import mark
from mbox.store.mark import SIZE, Mark
from mbox.store.store import Actor, Store, Transaction
from mbox.tasks import claims, planning
from mbox.tasks.claims import ClaimRequest
from mbox.tasks.drafts import TaskDraft


def mark_of(store: Store) -> Mark:
    """The mark as it stands in the file."""
    mark = store.mark()
    assert mark is not None
    return mark


def indexed(store: Store) -> int:
    """How far the index on disk is, whatever the mark says; -1 without one."""
    index = Index(store.absolute(places.INDEX), store.host, store.prefix)
    try:
        return index.seq if index.tables.open(mark_of(store).store, store.whose) else -1
    finally:
        index.close()


def next_id(store: Store) -> str | None:
    """What the index says is bob's next message."""
    return store.transact(lambda tx: tx.index.next_message("bob"), USER)


# -- lagging -------------------------------------------------------------------------------------------------------


def test_a_send_leaves_the_index_alone(tmp_path: Path) -> None:
    """Sends do not touch the index until `LAG` numbers are missing; then all of them are taken in at once."""
    store = make(tmp_path)
    store.transact(send("the first, which asks whether anything is to be renewed"), ANN)
    start = indexed(store)
    for _ in range(LAG - 1):
        store.transact(send("x"), ANN)
    assert indexed(store) == start < mark_of(store).tail.seq
    assert mark_of(store).indexed == start
    for _ in range(3):
        store.transact(send("x"), ANN)
    assert mark_of(store).indexed == indexed(store) >= start + LAG - 1


def test_whoever_asks_is_told_of_all_mail(tmp_path: Path) -> None:
    """A process that noted its sends, one that never opened the index, and one that comes later find the same."""
    store = make(tmp_path)
    first = store.transact(send("one"), ANN)
    other, late = reopen(tmp_path), reopen(tmp_path)
    other.transact(send("two"), ANN)
    assert next_id(late) == next_id(store) == next_id(other) == first
    assert late.transact(read(), BOB) == first
    assert next_id(store) == next_id(other) != first


def test_notes_of_two_processes_do_not_mix(tmp_path: Path) -> None:
    """A note that does not follow what the index knows, or that another process took in, is not taken in again.

    Taken in again it would bring back the row of a message that was read since.
    """
    store = make(tmp_path)
    other = reopen(tmp_path)
    for asking in (store, other):
        next_id(asking)
    noted = store.transact(send("noted here"), ANN)
    assert other.transact(read(), BOB) == noted
    assert store.transact(send("after"), ANN) == next_id(store) != noted
    for n in range(3 * LAG):
        (store, other, store)[n % 3].transact(send(f"body {n}"), ANN)
        if n % 7 == 0:
            assert (other, store)[n % 2].transact(read(), BOB)
    there = unread_ids(store)
    for asking in (other, reopen(tmp_path), store):
        assert asking.transact(lambda tx: tx.index.unread("bob", 0), USER) == there


def unread_ids(store: Store) -> list[str]:
    """The ids in bob's ``new/``, by number: what the files say."""
    found = [doc["msg_id"] for doc in store.documents(places.new_folder("bob"))]
    return sorted(found, key=places.number)


def test_a_new_segment_does_not_hide_what_is_missing(tmp_path: Path) -> None:
    """A segment begun while the index is behind: its header is not taken for all that was before it."""
    store = make(tmp_path, segment_size=1500)
    next_id(store)
    sent = [store.transact(send(f"body {n}"), ANN) for n in range(20)]
    assert len(store.journal.segments()) > 3
    assert store.transact(lambda tx: tx.index.unread("bob", 0), USER) == sent
    assert reopen(tmp_path).transact(lambda tx: tx.index.unread("bob", 0), USER) == sent


@pytest.mark.parametrize("at", range(12))
def test_death_while_catching_up(tmp_path: Path, at: int) -> None:
    """A process that dies at any write of the record that brings the index up to date leaves nothing out."""
    store = make(tmp_path)
    for n in range(5):
        store.transact(send(f"body {n}"), ANN)
    store.close()
    disk = FaultyDisk(at)
    try:
        reopen(tmp_path, disk=disk).transact(read(), BOB)
    except Killed:
        pass
    assert disk.dead or disk.calls <= at, "nothing died, though there was a call to die at"
    after = reopen(tmp_path)
    after.transact(send("last"), ANN)
    assert after.transact(lambda tx: tx.index.unread("bob", 0), USER) == unread_ids(after)
    assert len(bodies(after)) in (5, 6)


def test_a_cache_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    """Without its index the mark's word is not believed: a mere send builds it, and finds whose lease file is gone."""
    host = FakeHost()
    store = office(tmp_path, host)
    path, seconds = hold(store)
    (tmp_path / path).unlink()
    for file in (tmp_path / places.CACHE).glob("index*"):
        file.unlink()
    assert mark_of(store).due == host.mono() + seconds
    after = opened(tmp_path, host)
    post(after, ANN, "cyd")
    assert indexed(after) > 0 and after.load_lease(path) is not None


def test_the_first_of_a_large_inbox_are_found_behind_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages delivered after the index was brought up to date are ranked with those that it knows."""
    monkeypatch.setattr(inbox, "FEW", 5)
    store = office(tmp_path, FakeHost())
    for _ in range(10):
        post(store, ANN, "bob", priority=5)
    store.transact(lambda tx: tx.index.due(1), USER)
    urgent = post(store, ANN, "bob", priority=9)
    assert indexed(store) < places.number(urgent)
    seen: list[list[str]] = []
    ranked = inbox._by_priority

    def spied(store: Store, agent: str, ids: list[str]) -> list[str]:
        seen.append(ids)
        return ranked(store, agent, ids)

    monkeypatch.setattr(inbox, "_by_priority", spied)
    shown, left = inbox.inbox(store, "bob", 3)
    assert shown[0]["msg_id"] == urgent and left == 8
    assert len(seen[-1]) <= 4, "the files of all messages were read"


# -- what is due ---------------------------------------------------------------------------------------------------


def test_the_mark_says_when_something_runs_out(tmp_path: Path) -> None:
    """`NEVER` without a lease; the end of the first with some; reached, the sweep of a mere sender handles it."""
    host = FakeHost()
    store = office(tmp_path, host)
    sent = post(store, ANN, "bob", needs_ack=True)
    assert mark_of(store).due == NEVER
    take(store, BOB)
    due = mark_of(store).due
    assert due == host.mono() + store.config.read_lease
    post(store, ANN, "bob")
    assert mark_of(store).due == due
    other = opened(tmp_path, host)
    host.advance(store.config.read_lease + 1)
    post(other, ANN, "cyd")
    assert sent in unread(store, "bob"), "the message was not given back"
    assert mark_of(store).due == NEVER


def test_mail_with_a_time_to_live_is_due(tmp_path: Path) -> None:
    """A message that expires is no mere delivery: the mark knows, and whoever writes next expires it."""
    host = FakeHost()
    store = office(tmp_path, host)
    post(store, ANN, "bob", ttl=60)
    assert mark_of(store).due == pytest.approx(host.mono() + 60, abs=0.01)
    host.advance(61)
    post(store, ANN, "cyd")
    assert store.names(places.new_folder("bob")) == []


def test_a_sender_renews_what_it_holds(tmp_path: Path) -> None:
    """An agent whose lease has used a third is renewed by its next send, also by another process than the one it read in."""
    host = FakeHost()
    store = office(tmp_path, host)
    ident = post(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    path = places.read_lease("bob", ident)
    before = store.load_lease(path)
    assert before is not None and mark_of(store).renew == pytest.approx(host.mono() + before.seconds / 3)
    host.advance(before.seconds / 3 + 1)
    post(store, ANN, "cyd")
    assert store.load_lease(path) == before, "another agent renewed it"
    other = opened(tmp_path, host)
    post(other, BOB, "cyd")
    after = store.load_lease(path)
    assert after is not None and after.mono_until == pytest.approx(host.mono() + before.seconds)
    assert mark_of(store).renew == pytest.approx(host.mono() + before.seconds / 3)


def test_what_the_dead_committed_makes_the_mark_unknowing(tmp_path: Path) -> None:
    """A lease granted by a record whose process died before the mark: nobody knows when it is due until they ask."""
    host = FakeHost()
    store = make(tmp_path, host)
    store.transact(send("one"), ANN)
    store.transact(lambda tx: tx.index.due(1), USER)
    store.close()
    disk = FaultyDisk(only="rename", at=0)
    with pytest.raises(Killed):
        reopen(tmp_path, host, disk).transact(read(seconds=30), BOB)
    after = reopen(tmp_path, host)
    with after.locked():
        pass
    assert (mark_of(after).due, mark_of(after).renew, mark_of(after).indexed) == (0, 0, 0)
    swept: list[int] = []

    def sweep(tx: Transaction) -> bool:
        swept.append(len(tx.index.due(9)))
        return False

    after.sweep = sweep
    after.transact(send("two"), ANN)
    assert swept == [0]
    host.advance(31)
    after.transact(send("three"), ANN)
    assert swept == [0, 1]


def test_a_reboot_forgets_it(tmp_path: Path) -> None:
    """CLOCK_MONOTONIC begins anew: no time of the life before is believed."""
    host = FakeHost()
    store = office(tmp_path, host)
    post(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    host.reboot()
    after = opened(tmp_path, host)
    post(after, ANN, "cyd")
    assert mark_of(after).due <= host.mono() + after.config.read_lease


# -- the rate ------------------------------------------------------------------------------------------------------


def test_the_rate_is_exact_though_it_is_seldom_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the limit nobody asks the index; at it, to the message, everybody is refused, in any process."""
    host = FakeHost()
    store = office(tmp_path, host)
    host.advance(200)
    asked: list[str] = []
    rate = Index.rate

    def spied(index: Index, agent: str, wall: float) -> float:
        asked.append(agent)
        return rate(index, agent, wall)

    monkeypatch.setattr(Index, "rate", spied)
    configure(store, send_rate=10)
    for n in range(10):
        post((store, opened(tmp_path, host))[n % 2], ANN, "bob")
    assert asked == []
    for one in (store, opened(tmp_path, host)):
        configure(one, send_rate=10)
        with pytest.raises(Refused, match="send_rate"):
            post(one, ANN, "bob")
    assert len(asked) == 2
    post(store, BOB, "ann")


@pytest.mark.parametrize("step", [7.0, 20.0, 45.0, 61.0, 121.0])
def test_what_was_made_lately_is_never_less_than_what_was_sent(tmp_path: Path, step: float) -> None:
    """Whatever the clock does, also set back, the bound that is asked first is above the rate by the index."""
    host = FakeHost()
    store = office(tmp_path, host)
    other = opened(tmp_path, host)

    def both(tx: Transaction) -> tuple[int, float]:
        return tx.store.made_lately(), tx.index.rate("ann", tx.wall)

    def unlimited(tx: Transaction) -> None:
        ident = sending._deliver(tx, "ann", ["bob"], MailDraft(type="note"), None)["msg_id"]
        tx.record("mail.send", [ident])

    for n in range(40):
        (store, other)[n % 2].transact(unlimited, BOB if n in (21, 22) else ANN)
        at_most, sent = store.transact(both, USER)
        assert at_most >= sent
        host.advance(step if n != 20 else 0)
        if n == 20:
            host.w -= 90


def test_what_was_noted_is_taken_in_once(tmp_path: Path) -> None:
    """Where another process took in what this one noted, the next note starts anew: no message counts twice."""
    host = FakeHost()
    store, other = office(tmp_path, host), opened(tmp_path, host)
    for n in range(1, 9):
        post(store, ANN, "bob")
        for asking in (other, store):
            assert asking.transact(lambda tx: tx.index.rate("ann", tx.wall), USER) == 2 * n - 1
        post(store, ANN, "bob")
        assert store.transact(lambda tx: tx.index.rate("ann", tx.wall), USER) == 2 * n


def test_the_rate_of_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """A minute that comes a second time is no new minute: the bound stays above what was sent in it."""
    host = FakeHost()
    store = office(tmp_path, host)
    configure(store, send_rate=5)
    host.w += 60 - host.w % 60 + 30
    for _ in range(5):
        post(store, ANN, "bob")
    host.w -= 60
    post(store, BOB, "ann")
    host.advance(31)
    with pytest.raises(Refused, match="send_rate"):
        post(store, ANN, "bob")


def test_the_rate_outlives_the_cache(tmp_path: Path) -> None:
    """Deleting cache/ does not give a sender a new minute."""
    host = FakeHost()
    store = office(tmp_path, host)
    configure(store, send_rate=5)
    for _ in range(5):
        post(store, ANN, "bob")
    store.close()
    for path in (tmp_path / places.CACHE).glob("index*"):
        path.unlink()
    after = opened(tmp_path, host)
    configure(after, send_rate=5)
    with pytest.raises(Refused, match="send_rate"):
        post(after, ANN, "bob")


# -- the mark ------------------------------------------------------------------------------------------------------


def write_mark(store: Store, fields: dict[str, object]) -> None:
    """Write a mark by hand."""
    text = json.dumps(fields).encode()
    with open(store.lock.path, "r+b") as file:
        file.write((b"%b %08x" % (text, crc32(text))).ljust(SIZE - 1) + b"\n")


def test_a_mark_of_an_older_version(tmp_path: Path) -> None:
    """Without the newer fields nothing is known, so everything is asked; the journal is not replayed for that."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    fields = mark_of(store)._asdict()
    store.close()
    for name in ("indexed", "due", "renew", "minute", "numbers"):
        del fields[name]
    write_mark(store, fields)
    after = reopen(tmp_path)
    assert mark_of(after) == Mark(**{**fields, "tail": mark_of(after).tail}) and not after.is_behind()
    after.transact(send("two"), ANN)
    assert mark_of(after).indexed == indexed(after) > 0
    assert bodies(after) == ["one", "two"]


@pytest.mark.parametrize("field", ["indexed", "due", "renew", "minute", "numbers"])
def test_a_mark_with_a_field_of_another_shape_is_none(tmp_path: Path, field: str) -> None:
    """What another program wrote there is no mark: the journal is replayed, as for every other."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    fields = mark_of(store)._asdict()
    store.close()
    write_mark(store, {**fields, field: "x"})
    after = reopen(tmp_path)
    assert after.mark() is None
    after.transact(send("two"), ANN)
    assert bodies(after) == ["one", "two"]


def test_the_largest_mark_fits(tmp_path: Path) -> None:
    """With every number at its longest the line still is below 512 bytes."""
    store = make(tmp_path)
    store.transact(send("one"), ANN)
    high, long = 1 << 53, 1234567890123.456
    widest = mark_of(store)._replace(
        machine="c0ffee00-" * 4 + ":4026531834", store="s" * 64, inode=1 << 63, wall=long, synced=long, synced_seq=high,
        floor=high, indexed=high, due=long, renew=NEVER, minute=10**9, numbers=(high, high),
        tail=mark_of(store).tail._replace(seq=high, offset=1 << 40),
    )  # fmt: skip
    store.lock.set_mark(widest)
    assert Path(store.lock.path).stat().st_size == 768
    again = reopen(tmp_path)
    assert again.mark() == widest
    assert mark.parsed(widest.line()) == json.loads(documents.compact(widest._asdict()))


# -- found by reading ----------------------------------------------------------------------------------------------


def hold(store: Store) -> tuple[str, float]:
    """Let bob read a message of ann's under a lease; its lease's path, and how long it lasts."""
    ident = post(store, ANN, "bob", needs_ack=True)
    take(store, BOB)
    path = places.read_lease("bob", ident)
    lease = store.load_lease(path)
    assert lease is not None
    return path, lease.seconds


def test_a_refused_command_tells_what_it_found(tmp_path: Path) -> None:
    """The first command after the index was dropped is refused: what it learned stands in the mark all the same."""
    host = FakeHost()
    store = office(tmp_path, host)
    path, _ = hold(store)
    (tmp_path / path).unlink()
    with store.locked():
        store.drop_index()
    assert mark_of(store).due == 0
    other = opened(tmp_path, host)
    with pytest.raises(NotFound):
        post(other, ANN, "nobody")
    assert mark_of(store).due <= host.mono() + other.config.lease
    host.advance(other.config.lease + 1)
    post(opened(tmp_path, host), ANN, "cyd")
    assert len(unread(store, "bob")) == 1, "it never ran out"


def test_a_first_look_is_renewed_by_its_holder(tmp_path: Path) -> None:
    """A lease given without a record, because its file was gone, is renewed when a third of it is used."""
    host = FakeHost()
    store = office(tmp_path, host)
    rid = reserving.reserve(store, BOB, ReservationRequest(["src/**"], 600))["reservation_id"]
    path = places.lease(rid)
    (tmp_path / path).unlink()
    host.advance(601)
    post(store, ANN, "cyd")
    first = store.load_lease(path)
    assert first is not None
    host.advance(first.seconds / 3 + 1)
    post(opened(tmp_path, host), BOB, "cyd")
    renewed = store.load_lease(path)
    assert renewed is not None and renewed.mono_until > first.mono_until


def test_an_index_that_another_process_dropped(tmp_path: Path) -> None:
    """A process that stays open notices that its index is no longer the one at the path, and opens that."""
    host = FakeHost()
    store, other = office(tmp_path, host), opened(tmp_path, host)
    post(store, ANN, "cyd")
    store.transact(lambda tx: tx.index.due(1), USER)
    repair.rebuild(other)
    ident = post(store, ANN, "cyd", ttl=60)
    assert indexed(store) == mark_of(store).indexed == places.number(ident)
    with other.locked():
        other.drop_index()
    assert mark_of(store).indexed == 0
    hold(store)
    assert indexed(opened(tmp_path, host)) == mark_of(store).indexed > 0


@pytest.mark.parametrize("path", [places.outbox_folder("ann"), places.OUTBOX, places.new_folder("bob")])
def test_a_file_in_the_place_of_a_folder_refuses_before_the_commit(tmp_path: Path, path: str) -> None:
    """A copy that cannot be made is found before anything is done: exit 6, and others go on."""
    store = office(tmp_path, FakeHost())
    before = store.end()
    folder = tmp_path / path
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(StoreError):
        post(store, ANN, "bob")
    assert store.end() == before
    registry.add(opened(tmp_path, FakeHost()), USER, "dan", {})


@pytest.mark.parametrize("seed", range(6))
def test_the_bounds_hold_whatever_is_done(tmp_path: Path, seed: int) -> None:
    """After every step of a random day, by processes that stay and come: bounds below the truth, one index for all."""
    random.seed(seed)
    host = FakeHost()
    stores = [office(tmp_path, host), opened(tmp_path, host)]
    for store in stores:
        configure(store, send_rate=20, segment_size=20_000, durability=random.choice(["full", "fast"]))

    def lose_a_lease() -> None:
        files = sorted((tmp_path / places.LEASES).glob("*.json"))
        if files:
            random.choice(files).unlink()

    def lose_the_index() -> None:
        for path in (tmp_path / places.CACHE).glob("index*"):
            path.unlink()

    steps: list[tuple[int, Callable[[Store, Actor], object]]] = [
        (12, lambda store, who: post(store, who, random.choice(["ann", "bob", "cyd"]), ttl=random.choice([0, 0, 90]))),
        (6, reading.read),
        (2, lambda store, who: reading.acknowledge(store, who, [unread(store, who.name)[0]])),
        (3, lambda store, who: reserving.reserve(store, who, ReservationRequest([f"src/{random.randrange(9)}/**"], 300))),
        (2, lambda store, who: planning.add(store, who, TaskDraft(None, "work"))),
        (3, lambda store, who: claims.claim(store, who, ClaimRequest(lease=900))),
        (6, lambda store, who: host.advance(random.choice([1, 20, 70, 400, 2000]))),
        (1, lambda store, who: lose_a_lease()),
        (1, lambda store, who: lose_the_index()),
        (1, lambda store, who: stores.__setitem__(1, opened(tmp_path, host))),
    ]
    refused = 0
    for _ in range(150):
        step = random.choices([call for _, call in steps], [weight for weight, _ in steps])[0]
        store, who = random.choice(stores), random.choice([ANN, BOB, CYD])
        try:
            step(store, who)
        except (MboxError, LookupError):  # nothing unread to acknowledge, a limit, somebody else's
            refused += 1
        look_over(tmp_path, host, random.choice(stores))
    assert refused < 75, "most of the day was refused"


def look_over(root: Path, host: FakeHost, store: Store) -> None:
    """The mark's bounds against an index that is caught up, and that one's mail against the files."""
    told = mark_of(store) if (root / places.INDEX).exists() else mark_of(store).unknowing()
    with store.locked():
        lately, index = store.made_lately(), store.caught_up_index()
        due, renew = index.bounds()
        assert all(lately >= index.rate(name, host.wall()) for name in ("ann", "bob", "cyd"))
        for name in ("ann", "bob", "cyd"):
            there = {path.stem for path in (root / places.new_folder(name)).glob("m*.json")}
            assert set(index.unread(name, 0)) == there
    assert told.due <= due and told.renew <= renew
