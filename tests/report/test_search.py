"""Search by promise: what it finds, that words are words, and that its index is worth nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import normalize

import pytest

from conftest import Run
from kit import FakeHost, tree
from mailkit import ANN, BOB, USER, configure, office, opened, said, send, take
from mbox.errors import StoreError, Usage
from mbox.format import documents, places
from mbox.journal.record import Tail, encode
from mbox.mail import reading
from mbox.report import search
from mbox.store.store import Store, Transaction


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with ann and bob."""
    made = office(tmp_path, FakeHost())
    yield made
    made.close()


def task(store: Store, ident: str, title: str, description: str = "") -> None:
    """Add a task, or change what it says."""

    def decide(tx: Transaction) -> None:
        doc = documents.new("task", task_id=ident, title=title, description=description, created_at=tx.now)
        tx.put(doc, places.task(ident))
        tx.record("task.update", [ident])

    store.transact(decide, USER)


def found(store: Store, *words: str) -> list[str]:
    """The ids that a search finds, sorted."""
    rows, left = search.search(store, words, 0)
    assert left == 0
    return sorted(row["id"] for row in rows)


def test_what_is_looked_at(store: Store) -> None:
    """Subject, body and payload of messages, title and description of tasks; id, kind and one line of context."""
    one = send(store, ANN, "bob", subject="the parsnip", body="x")
    two = send(store, ANN, "bob", body="line one\nwith a turnip in\nit")
    three = send(store, ANN, "bob", payload={"roots": ["a celeriac"]})
    task(store, "t-1", "peel carrots", "and beetroot")
    assert found(store, "parsnip") == [one]
    assert found(store, "TURNIP") == [two]
    assert found(store, "celeriac") == [three]
    assert found(store, "carrots") == found(store, "beetroot") == ["t-1"]
    assert search.search(store, ["turnip"])[0] == [
        {"id": two, "kind": "message", "text": "line one with a turnip in it"}
    ]
    assert search.search(store, ["peel"])[0][0]["kind"] == "task"


def test_a_message_is_found_once(store: Store) -> None:
    """However many receivers have it, and however often it has moved."""
    msg_id = send(store, ANN, "bob", "cyd", body="turnip")
    reading.finish(store, BOB, [take(store, BOB)])
    assert found(store, "turnip") == [msg_id]


def test_context_is_one_line_around_the_hit(store: Store) -> None:
    """Cut on both sides, whatever the length of the body."""
    send(store, ANN, "bob", body="word " * 500 + "turnip\n\n\tcarrot " + "word " * 500)
    ((row,), _) = search.search(store, ["turnip"])
    assert "turnip carrot" in row["text"]
    assert len(row["text"]) < 200
    assert "\n" not in row["text"]


def test_one_word_over_and_over(store: Store) -> None:
    """What is shown around a hit costs no more for the hits that follow; few words are looked for at a time."""
    msg_id = send(store, ANN, "bob", body="a " * 100_000)
    assert search.search(store, ["a"])[0] == [{"id": msg_id, "kind": "message", "text": " ".join("a" * 16) + "…"}]
    assert found(store, *["a"] * 1000) == [msg_id]
    for words in ([f"w{n}" for n in range(33)], ["a " * 251]):
        with pytest.raises(Usage, match="at most 32 words, of 500 letters"):
            found(store, *words)


def test_all_words_in_any_order(store: Store) -> None:
    """A quoted phrase is one word; an asterisk is any ending; no other word is anything but itself."""
    both = send(store, ANN, "bob", body="carrot and turnip soup")
    one = send(store, ANN, "bob", body="carrot cake")
    assert found(store, "turnip", "carrot") == [both]
    assert found(store, "carrot") == [both, one]
    assert found(store, "turnip soup") == [both]
    assert found(store, "soup turnip") == []
    assert found(store, "carr") == []
    assert found(store, "carr*") == [both, one]


@pytest.mark.parametrize(
    "word",
    ["AND", "or", "NOT x", "NEAR(a b)", 'a"b', "'", "(a", "a)", "^a", "a:b", "said:a", "-a", "a+b", "a*b", "{a}", "a-b",
     "foo_bar", "C:\\new\\table", "a;DROP TABLE word", "naïve", "漢字", "100%", "x\ny"],
)  # fmt: skip
def test_words_are_words(store: Store, word: str) -> None:
    """Query syntax, quotes, paths: looked for as they are, never obeyed."""
    msg_id = send(store, ANN, "bob", body=f"before {word} after")
    send(store, ANN, "bob", body="before and after")
    if any(map(str.isalnum, word)):
        assert msg_id in found(store, word)
    else:
        with pytest.raises(Usage, match="name at least one word"):
            found(store, word)


INSIDE = [
    ("テスト計画のレビュー依頼", "レビュー", "テスト", "レ", "頼", "計画の", "テスト計画のレビュー依頼", "ュー依"),
    ("关于数据库迁移的问题", "数据库", "迁移", "库", "问题"),
    ("테스트를 실행했습니다", "테스트", "실행", "를", "테스트를 실행"),
    ("pythonスクリプトv2を直す", "python", "スクリプト", "v2", "pythonスクリプト", "リプトv2を", "直"),
    ("𠮷野家", "𠮷野", "𠮷", "野家"), ("ああああ", "あ", "ああ", "あああ"), ("人々の佐々木", "人々", "々木"),
    ("か\u3099んば る", "がん", "が"), ("がんば る", "か\u3099ん", "んば る"),
]  # fmt: skip
"""Texts without spaces, each with what is to be found in it: also from one character on, and in NFC what is in NFD."""


@pytest.mark.parametrize(("text", "pieces"), [(one[0], one[1:]) for one in INSIDE], ids=[one[0] for one in INSIDE])
def test_text_without_spaces(store: Store, text: str, pieces: tuple[str, ...]) -> None:
    """Any piece of Japanese, Chinese or Korean text is found; the context shows the text as it is, not as it is cut."""
    msg_id = send(store, ANN, "bob", subject="x", body=f"before {text}、after")
    task(store, "t-1", f"({text})")
    for word in pieces:
        assert found(store, word) == sorted([msg_id, "t-1"]), word
        assert found(store, "before", word) == [msg_id]
        for row in search.search(store, [word])[0]:
            assert normalize("NFC", text) in row["text"] or "…" in row["text"], row
            assert "\ufdd0" not in row["text"]


def test_text_without_spaces_is_not_found_by_other_text(store: Store) -> None:
    """Pairs that stand in it, but not one after the other, are no hit; nor is what a sign stands between."""
    send(store, ANN, "bob", body="テスト、計画。計画のテスト")
    for word in ("テスト計画", "ト計", "のト", "画テ", "スス"):
        assert found(store, word) == [], word


def test_a_long_text_without_spaces_is_cut_to_context(store: Store) -> None:
    """The line of context is a piece of the text, letter by letter."""
    body = "".join(chr(0x4E00 + n) for n in range(500))
    send(store, ANN, "bob", body=body)
    ((row,), _) = search.search(store, [body[250:252]])
    assert row["text"].strip("…") in body and body[250:252] in row["text"] and len(row["text"]) < 60


def test_nothing_to_look_for(store: Store) -> None:
    """Only signs: exit 2. No hit is an empty list."""
    with pytest.raises(Usage):
        found(store, "--", "...")
    assert found(store, "nowhere") == []


def test_what_changes_is_found_as_it_is_now(store: Store) -> None:
    """The index is caught up at each search; a task's old title is forgotten; messages come and go."""
    task(store, "t-1", "peel carrots")
    assert found(store, "carrots") == ["t-1"]
    task(store, "t-1", "peel turnips")
    assert (found(store, "carrots"), found(store, "turnips")) == ([], ["t-1"])
    task(store, "t-1", "peel turnips slowly")
    assert search.search(store, ["peel"], 1)[1] == 0, "an old text is counted"
    for _ in range(3):
        task(store, "t-1", "peel turnips")
    msg_id = send(store, ANN, "bob", body="turnips")
    assert found(store, "turnips") == [msg_id, "t-1"]


def test_searching_changes_no_document(store: Store, tmp_path: Path) -> None:
    """It only writes its cache."""
    send(store, ANN, "bob", body="turnip")
    before = tree(tmp_path)
    found(store, "turnip")
    assert tree(tmp_path) == before


def test_limit_says_what_it_leaves_out(store: Store) -> None:
    """The best hits, and how many more there are."""
    for n in range(7):
        send(store, ANN, "bob", body="turnip " * (n + 1) + "filler " * (7 - n))
    rows, left = search.search(store, ["turnip"], 3)
    assert (len(rows), left) == (3, 4)
    assert rows[0]["id"] == "m12"  # seven times


def path(store: Store) -> Path:
    """The index's file."""
    return Path(store.absolute(places.SEARCH))


def _meta(at: Store, **values: object) -> None:
    db = sqlite3.connect(path(at))
    with db:
        db.executemany("UPDATE meta SET value = ?2 WHERE name = ?1", values.items())
    db.close()


def _text_of_another(store: Store) -> None:
    """As if the index had been copied from elsewhere: something in it that is not in this journal."""
    db = sqlite3.connect(path(store))
    with db:
        db.execute("INSERT INTO word(rowid, said) VALUES(99, 'turnip ghost')")
        db.execute("INSERT INTO item VALUES('m99', 'message', 0, 99)")
    db.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store: path(store).unlink(),
        lambda store: path(store).write_bytes(b""),
        lambda store: path(store).write_bytes(b"garbage" * 1000),
        lambda store: path(store).write_bytes(path(store).read_bytes()[:3000]),
        lambda store: path(store).write_bytes(path(store).read_bytes()[:8192] + os.urandom(20_000)),
        lambda store: _meta(store, version="0"),
        lambda store: _meta(store, store="another"),
        lambda store: _meta(store, offset=10**9),
        lambda store: _meta(store, segment=7),
        lambda store: _meta(store, offset=50),
    ],
)
def test_the_index_can_be_lost_or_wrong(store: Store, spoil: Callable[[Store], object]) -> None:
    """Damaged, of another store or version, ahead of the journal, at no record's place: it is made again."""
    task(store, "t-1", "peel turnips")
    one = send(store, ANN, "bob", body="turnip")
    assert found(store, "turnip") == [one]
    _text_of_another(store)
    spoil(store)
    two = send(store, ANN, "bob", body="another turnip")
    assert found(store, "turnip") == [one, two]
    assert found(store, "turnips") == ["t-1"]


def test_without_a_cache_that_can_be_written(store: Store, tmp_path: Path) -> None:
    """A folder stands in the index's place: the search is done in memory."""
    one = send(store, ANN, "bob", body="turnip")
    (tmp_path / places.SEARCH).mkdir()
    assert found(store, "turnip") == [one]
    assert said(store) == []


def test_over_segments_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost where the journal or a catch-up goes on in a new part; nothing is there twice."""
    monkeypatch.setattr(search, "BATCH", 3)
    store = office(tmp_path, FakeHost())
    configure(store, segment_size=4000)
    sent = []
    for n in range(20):
        sent.append(send(store, ANN, "bob", body=f"turnip {n}"))
        if n % 7 == 0:
            assert found(store, "turnip") == sorted(sent)
    assert len(store.journal.segments()) > 3
    assert found(store, "turnip") == sorted(sent)
    path(store).unlink()
    assert found(store, "turnip") == sorted(sent)
    store.close()


def test_an_interrupted_catch_up_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken in is kept, and taken in once."""
    monkeypatch.setattr(search, "BATCH", 4)
    sent = [send(store, ANN, "bob", body=f"turnip {n}") for n in range(20)]
    items, seen = search._items, []

    def dying(line: bytes) -> list[search.Item]:
        seen.append(line)
        if len(seen) == 15:
            raise KeyboardInterrupt
        return items(line)

    monkeypatch.setattr(search, "_items", dying)
    with pytest.raises(KeyboardInterrupt):
        found(store, "turnip")
    assert found(store, "turnip") == sorted(sent)
    assert len(seen) == 15 + 25 - 16  # the four batches before the one that died were kept


def test_reads_up_to_the_mark_only(store: Store, tmp_path: Path) -> None:
    """Torn bytes behind the mark are not read, and not taken for damage."""
    one = send(store, ANN, "bob", body="turnip")
    with open(store.journal.path(1), "ab") as file:
        file.write(b'{"v":1,"seq":99,"op":"mail.send"')
    assert found(store, "turnip") == [one]
    two = send(opened(tmp_path, FakeHost()), ANN, "bob", body="turnip")
    assert found(store, "turnip") == [one, two]


def test_from_the_shell(run: Run, tmp_path: Path) -> None:
    """Rows with id, kind, state and text; several searches at once make one index; stderr says what was left out."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    environment = {"MBOX_ROOT": str(tmp_path), "MBOX_AGENT": "ann"}
    run("mbox", "agent", "add", "ann", cwd=tmp_path, env=environment, check=True)
    for n in range(4):
        run("mbox", "send", "ann", "--body", f"turnip {n}", cwd=tmp_path, env=environment, check=True)
    command = [str(Path(sys.executable).parent / "mbox"), "search", "turnip", "--limit", "3"]
    made = [
        subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for one in made:
        out, err = one.communicate(timeout=60)
        rows = json.loads(out)
        assert [set(row) for row in rows] == [{"id", "kind", "state", "text"}] * 3
        assert b"1 more: --limit 4" in err
    assert run("mbox", "search", "--", "--", cwd=tmp_path, env=environment).returncode == 2


@pytest.mark.parametrize("place", [places.task("x"), ".tasks/\n.json", "../x.json", places.outbox("ann", "m9")])
def test_a_record_whose_document_is_none_is_corruption(store: Store, place: str) -> None:
    """A journal from elsewhere, with a right checksum: one line, and no error of our own."""
    last = store.journal.segments()[-1]
    record = {"v": 1, "seq": store.tail.seq + 1, "ts": "2027-01-15T08:00:00.000000Z", "by": "ann", "inc": 1, "op": "mail.send",
              "on": [], "why": "", "key": None, "put": [[documents.new("agent", agent="eve"), [place]]], "mv": [], "del": [],
              "lease": []}  # fmt: skip
    line = encode(record)
    at = store.journal.size(last)
    with open(store.journal.path(last), "ab") as file:
        file.write(line)
    mark = store.mark()
    assert mark
    with open(store.lock.path, "r+b") as file:
        file.write(mark._replace(tail=Tail(record["seq"], last, at + len(line))).line())
    with pytest.raises(StoreError, match=r"no record|not a place"):
        search.search(store, ["turnip"])
