"""The fold: one rule, from wherever it begins, for recovery and for what is put on the audit ref."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kit import ANN, USER, FakeHost, bodies, make, reopen, send
from mbox.doctor import survey
from mbox.format import places
from mbox.git.changes import Delta
from mbox.journal.projection import Fold, fold
from mbox.journal.record import Record, Tail, encode
from mbox.journal.segments import Journal, segment_name
from mbox.store.store import Store, Transaction
from mbox.system.disk import Disk

A, B, C = (f".tasks/t{n}.json" for n in range(3))
PATHS = st.sampled_from([A, B, C])
CHANGES = st.fixed_dictionaries(
    {
        "put": st.lists(st.tuples(st.just({"schema": 1}), st.lists(PATHS, max_size=2)), max_size=2),
        "mv": st.lists(st.tuples(PATHS, PATHS).filter(lambda pair: pair[0] != pair[1]), max_size=2),
        "del": st.lists(PATHS, max_size=1),
    }
)
PUT: dict[str, Any] = {"put": [({"schema": 1}, [A])], "mv": [], "del": []}


def moved(*pairs: tuple[str, str], gone: str = "") -> dict[str, Any]:
    """What changes in a record that moves, and removes ``gone``."""
    return {"put": [], "mv": list(pairs), "del": [gone] if gone else []}


def written(folder: Path, changes: list[dict[str, Any]], split: int) -> tuple[Journal, Tail, Tail]:
    """A journal of ``changes``, of which those from number ``split`` on are in a second segment; both places' ends."""
    ends = []
    for segment, part in enumerate((changes[:split], changes[split:]), 1):
        first = 1 if segment == 1 else split + 1
        lines = [encode(record(seq, **fields)) for seq, fields in enumerate(part, first)]
        (folder / segment_name(segment)).write_bytes(b"".join(lines))
        ends.append(Tail(first + len(part) - 1, segment, sum(map(len, lines))))
    return Journal(str(folder), Disk()), ends[0], ends[1]


def record(seq: int, **fields: Any) -> Record:
    """A record of ``fields``."""
    return {
        "v": 1, "seq": seq, "ts": "2026-01-02T03:04:05.000006Z", "by": "ann", "inc": 1, "op": "task.add", "on": [],
        "why": "", "key": None, **fields, "lease": [],
    }  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(CHANGES, max_size=8), split=st.integers(0, 8))
@example(changes=[PUT, moved((A, B))], split=1)
@example(changes=[PUT, moved((A, B)), moved((B, A))], split=1)
@example(changes=[PUT, moved(gone=B), moved((A, B))], split=1)
@example(changes=[PUT, moved((A, B), (B, C)), moved(gone=A)], split=1)
@example(changes=[moved((A, B))], split=0)
def test_a_fold_knows_the_same_wherever_it_begins(tmp_path: Path, changes: list[dict[str, Any]], split: int) -> None:
    """From a checkpoint or from the start, by recovery or for the audit ref: the same state of each path that is named."""
    journal, middle, end = written(tmp_path, changes, min(split, len(changes)))
    whole, earlier = fold(journal, 1, end)[0], fold(journal, 1, middle)[0]
    later, delta = fold(journal, 2, end)[0], Delta()
    delta.read(journal, Tail(middle.seq, 2, 0), end)
    for path in {A, B, C} & {*later.states, *delta.fold.states}:
        known = whole.states.get(path)
        assert later.states.get(path) == known
        state = delta.fold.states.get(path)
        assert (earlier.states.get(state) if isinstance(state, str) else state) == known
    standing = {path for _doc, paths in delta.fold.standing(journal) for path in paths}
    assert standing == {path for path, state in delta.fold.states.items() if isinstance(state, tuple)}
    assert not [state for state in (*whole.states.values(), *later.states.values()) if isinstance(state, str)]


def test_what_no_record_put_is_not_said_to_be_gone() -> None:
    """A move from what is in no journal: neither of its paths is known, so that nobody removes the only copy."""
    folded = Fold()
    folded.take(1, 0, record(1, **moved((A, B), (B, C))))
    assert folded.states == {A: None, B: None, C: A}
    folded.settle({})
    assert (folded.states, folded.gone()) == ({B: None}, [B])


def archived(store: Store, ident: str) -> str:
    """Move a message from bob's inbox into the archive; where it is now."""

    def decide(tx: Transaction) -> str:
        target = places.archive("bob", tx.now, ident)
        tx.move(places.new("bob", ident), target)
        tx.record("test.move", [ident])
        return target

    return store.transact(decide, USER)


def checkpointed(root: Path, host: FakeHost) -> tuple[Store, str]:
    """A store with a message that is older than the checkpoint."""
    store = make(root, host, segment_size=1500)
    ident = store.transact(send("the first"), ANN)
    while len(store.journal.segments()) < 4:
        store.transact(send("filler"), ANN)
    return store, ident


def test_a_move_that_a_power_cut_took_back_is_made_again(tmp_path: Path) -> None:
    """A document older than the checkpoint, moved since; the rename is lost with the power, the record is not."""
    host = FakeHost()
    store, ident = checkpointed(tmp_path, host)
    target = archived(store, ident)
    content = (tmp_path / target).read_bytes()
    store.close()
    (tmp_path / target).rename(tmp_path / places.new("bob", ident))
    host.reboot()
    after = reopen(tmp_path, host, segment_size=1500)
    after.catch_up()
    assert (tmp_path / target).read_bytes() == content
    assert not (tmp_path / places.new("bob", ident)).exists()
    assert survey.survey(after).clean


def test_a_move_there_and_back_leaves_the_document(tmp_path: Path) -> None:
    """Both moves are younger than the checkpoint: the document stands where it stood."""
    host = FakeHost()
    store, ident = checkpointed(tmp_path, host)
    target = archived(store, ident)

    def back(tx: Transaction) -> None:
        tx.move(target, places.new("bob", ident))
        tx.record("test.move", [ident])

    store.transact(back, USER)
    before = bodies(store)
    store.close()
    host.reboot()
    after = reopen(tmp_path, host, segment_size=1500)
    after.catch_up()
    assert bodies(after) == before and "the first" in before
    assert survey.survey(after).clean
