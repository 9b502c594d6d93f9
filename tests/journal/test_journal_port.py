"""The journal as a port: append where I read to, read from a place on, follow.  What another log behind it must do too."""

from __future__ import annotations

import itertools
from binascii import crc32
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import ANN, FaultyDisk, Killed, make, reopen, send
from mbox.format import places
from mbox.journal.record import BadLine, Moved, Record, Tail, Unsound, decode, encode
from mbox.journal.segments import Journal
from mbox.report import history
from mbox.system.disk import Disk


def record(seq: int, op: str = "task.add", by: str = "ann", on: tuple[str, ...] = ()) -> Record:
    """A record that changes no file."""
    fields: Record = {
        "v": 1, "seq": seq, "ts": f"2026-01-01T00:00:{seq:02d}.000000Z", "by": by, "inc": 1, "op": op, "on": list(on),
        "why": "", "key": None, "put": [], "mv": [], "del": [], "lease": [],
    }  # fmt: skip
    return fields


def append(journal: Journal, expected: Tail, record: Record, sync: bool) -> Tail:
    """Append a record's line, as the commit does."""
    return journal.append(expected, record["seq"], encode(record), sync)


def begin(journal: Journal, segment: int, header: Record) -> Tail:
    """Begin a segment with a record."""
    return journal.begin(segment, header["seq"], encode(header))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal that was begun, and nothing in it."""
    folder = tmp_path / "logs"
    folder.mkdir()
    made = Journal(str(folder), Disk())
    begin(made, 1, record(1, "store.segment"))
    yield made
    made.close()


def end_of(journal: Journal) -> Tail:
    """The place behind the last record."""
    *_, (last, _) = journal.records(Tail(0, 1, 0))
    return last


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b' {"a":1', "at its beginning"), (b'{"a":1}x{"b":1', "not a JSON object"), (b"[1", "not JSON"),
        (b"x", "at its beginning"), (b'{"a":"\xff"', "utf-8"), (b"[" * 100_000, "not JSON"), (b'{"a":"\xed\xa0\x80"', "utf-8"),
    ],
)  # fmt: skip
def test_what_has_a_checksum_and_is_no_record(body: bytes, why: str) -> None:
    """Exactly one JSON object from the first byte to the last, or it is said what is wrong."""
    with pytest.raises(Unsound, match=why):
        decode(b'%b,"crc":"%08x"}\n' % (body, crc32(body)))
    with pytest.raises(BadLine, match="checksum"):
        decode(b'%b,"crc":"%08x"}\n' % (body, crc32(body) ^ 1))


def test_append_returns_the_place_that_the_next_append_expects(journal: Journal) -> None:
    """A chain of appends is read back in order, and each place is the one before which the next record stands."""
    place, places_seen = end_of(journal), []
    for seq in (2, 3, 7):
        place = append(journal, place, record(seq), sync=True)
        places_seen.append(place)
    assert [place.seq for place in places_seen] == [2, 3, 7]
    back = [(at, found["seq"]) for at, found in journal.records(Tail(0, 1, 0))]
    assert back[1:] == list(zip(places_seen, (2, 3, 7), strict=True))


def test_whoever_read_less_than_the_journal_holds_appends_nothing(journal: Journal) -> None:
    """Append if the journal still ends where I read it; else it is `Moved`, and I decide again."""
    mine = end_of(journal)
    theirs = append(journal, mine, record(2, by="bob"), sync=True)
    with pytest.raises(Moved):
        append(journal, mine, record(2), sync=True)
    assert end_of(journal) == theirs
    append(journal, theirs, record(3), sync=True)
    assert [found["by"] for _, found in journal.records(mine)] == ["bob", "ann"]


def test_read_from_a_place_is_what_came_after_it_and_up_to_another(journal: Journal) -> None:
    """Every place that an append returned can be read from and up to, across segments."""
    ends = [end_of(journal)]
    for seq in range(2, 6):
        ends.append(append(journal, ends[-1], record(seq), sync=False))
    ends.append(begin(journal, 2, record(6, "store.segment")))
    ends.extend([append(journal, ends[-1], record(7), sync=True)])
    for first, last in itertools.combinations(range(len(ends)), 2):
        between = [found["seq"] for _, found in journal.records(ends[first], ends[last])]
        assert between == list(range(first + 2, last + 2)), (first, last)


def test_backwards_is_forwards_from_its_end(journal: Journal) -> None:
    """The same lines, each at its own place, across segments, and also where a line is longer than what is read at once."""
    place = end_of(journal)
    for seq in (2, 3, 4):
        place = append(journal, place, record(seq, on=("x" * (300_000 if seq == 3 else seq),)), sync=False)
    last = append(journal, begin(journal, 2, record(5, "store.segment")), record(6), sync=False)
    assert list(journal.backwards(last)) == list(journal.between(Tail(0, 1, 0), last))[::-1]


def test_a_line_that_is_finished_while_it_is_read_is_not_there_yet(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader without the lock sees half of it, and by its next look the rest: that is no line of its own."""
    whole, plain = encode(record(2)), Journal.lines
    path = Path(journal.path(1))
    with open(path, "ab") as file:
        file.write(whole[:20])

    def lines(self: Journal, *place: int) -> Iterator[tuple[int, bytes]]:
        for at, line in plain(self, *place):
            if not line.endswith(b"\n"):
                with open(path, "ab") as file:
                    file.write(whole[20:])
            yield at, line

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "lines", lines)
        assert [found["seq"] for _, found in journal.records(Tail(0, 1, 0))] == [1]
    assert [found["seq"] for _, found in journal.records(Tail(0, 1, 0))] == [1, 2]


def test_follow_goes_on_with_what_is_appended_while_it_waits(tmp_path: Path) -> None:
    """Each record once, in order, also those that another process wrote between two looks."""
    store = make(tmp_path)
    other = reopen(tmp_path)
    idents = [store.transact(send("before"), ANN)]
    wakes = iter([["one", "two"], ["three"], []])

    class Others:
        def wait(self, seconds: float) -> bool:
            bodies = next(wakes)
            if not bodies:
                raise KeyboardInterrupt
            idents.extend(other.transact(send(body), ANN) for body in bodies)
            return True

    place = Tail(0, 1, 0)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for found in history.follow(store, history.RecordFilter(op="mail.send"), place, Others()):
            seen.extend(found["on"])
    assert seen == idents


def test_follow_shows_what_a_command_committed_that_died_before_publishing(tmp_path: Path) -> None:
    """Whoever follows publishes it, within seconds, though nobody else ever writes again."""
    store = make(tmp_path)
    place = store.end()

    class Nobody:
        def wait(self, seconds: float) -> bool:
            store.host.sleep(seconds)
            return False

    with pytest.raises(Killed):
        reopen(tmp_path, disk=FaultyDisk(0, only="rename")).transact(send("x"), ANN)
    found = next(history.follow(store, history.RecordFilter(op="mail.send"), place, Nobody()))
    assert found["seq"] == place.seq + 1
    assert store.names(places.new_folder("bob")) == [f"m{found['seq']}.json"]


@pytest.mark.parametrize("op", ["", "task.add", "task.", "task*", "task", "mail.*", "task.a", "x"])
@pytest.mark.parametrize("agent", ["", "ann", "bob"])
@pytest.mark.parametrize("task", ["", "t1", "t2"])
def test_a_filter_finds_what_a_look_at_every_record_finds(tmp_path: Path, op: str, agent: str, task: str) -> None:
    """The cheap look at the raw line leaves nothing out."""
    store = make(tmp_path)
    end = store.end()
    ops, agents, tasks = ("task.add", "task.added", "mail.send", "task"), ("ann", "bob"), ((), ("t1",), ("t2", "ann"))
    for seq, (one, by, on) in enumerate(itertools.product(ops, agents, tasks), end.seq + 1):
        end = append(store.journal, end, record(seq, one, by, on), sync=False)
    wanted = history.RecordFilter(agent=agent, task=task, op=op)
    store.end = lambda: end  # type: ignore[method-assign]  # the mark is not what is tested here
    every = [found for _, found in store.journal.records(Tail(0, 1, 0), end) if wanted.wants(found)]
    assert history.newest(store, wanted, 0) == (every, False)
