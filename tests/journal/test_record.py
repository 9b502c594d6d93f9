"""The line of a record: what is read off it without decoding is what decoding says, and one module knows its shape."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mbox
from mbox.journal.record import (
    CRC_END,
    KEYED,
    LAST,
    BadLine,
    Record,
    Unsound,
    crc_of,
    decode,
    encode,
    field_needle,
    has_crc,
    op_needle,
    op_of,
    skim,
    sound,
    stamp_of,
    text_needle,
)

PACKAGE = Path(mbox.__file__).parent
FIELDS = ("v", "seq", "ts", "by", "inc", "op", "on", "why", "key", "put", "mv", "del", "lease", "crc")
STAMP = "2026-01-02T03:04:05.000006Z"

TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"op":"', ',"op":"x","ts":"', ',"crc":"00000000"}', "\\", '"', "\x1b\n"]
)


def record(**fields: Any) -> Record:
    """A record that changes nothing, but for ``fields``; the fields in their order."""
    blank: Record = {
        "v": 1, "seq": 7, "ts": STAMP, "by": "ann", "inc": 1, "op": "task.add", "on": [], "why": "", "key": None,
        "put": [], "mv": [], "del": [], "lease": [],
    }  # fmt: skip
    return {**blank, **fields}


# -- the whole of it -------------------------------------------------------------------------------------------------


def test_a_record_comes_back_with_its_fields_in_order() -> None:
    """`decode` brings back what `encode` was given, in the order of the documentation, with or without the newline."""
    line = encode(record(why='says "so"\n'))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert tuple(decode(line)) == FIELDS
    assert decode(line) == decode(line[:-1]) == {**record(why='says "so"\n'), "crc": crc_of(line)}


def test_the_documentation_names_every_field_in_order() -> None:
    """The module's own page describes the record that is written."""
    page = ast.get_docstring(ast.parse((PACKAGE / "journal/record.py").read_text()))
    assert page is not None
    names = [name for row in re.findall(r"^\| (``.*?) \|", page, re.M) for name in re.findall("``(.*?)``", row)]
    assert (*names, "crc") == FIELDS


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in ("v", "crc")])
def test_a_record_without_a_field_is_unsound(field: str) -> None:
    """`sound` wants every field but ``v`` and ``crc``."""
    whole = record()
    assert sound(whole) is whole
    with pytest.raises(Unsound):
        sound({name: value for name, value in whole.items() if name != field})


@pytest.mark.parametrize("seq", [0, -1, LAST, True, 1.0, "7", None])
def test_a_number_out_of_bounds_is_unsound(seq: object) -> None:
    """Numbers are whole, above 0 and below `LAST`."""
    with pytest.raises(Unsound):
        sound(record(seq=seq))


@pytest.mark.parametrize(
    "fields",
    [
        {"mv": [["a", "b", "c"]]}, {"mv": [["a"]]}, {"mv": [["a", 1]]}, {"mv": [{"a": "b"}]}, {"mv": None},
        {"key": ["k"]}, {"key": ["k", 1]}, {"key": ["k", "p", "q"]}, {"put": [[{}, "path"]]}, {"put": [["text", ["path"]]]},
        {"lease": [[1, {}]]}, {"lease": [["path", "text"]]}, {"on": "m1"}, {"del": [1]}, {"inc": "1"}, {"why": None},
    ],
)  # fmt: skip
def test_a_field_of_another_shape_is_unsound(fields: Record) -> None:
    """Whoever takes it in would end in an error of the program's own, in the middle of a replay."""
    with pytest.raises(Unsound):
        sound(record(**fields))


def test_a_changed_byte_is_a_bad_line() -> None:
    """Every byte of a line but the newline counts."""
    line = encode(record(why="x"))
    for at in range(len(line) - 1):
        with pytest.raises(BadLine):
            decode(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])


# -- what a line shows ----------------------------------------------------------------------------------------------


@given(by=TEXTS, op=st.sampled_from(["mail.send", "task.add", "test.odd"]), why=TEXTS, on=st.lists(TEXTS, max_size=2))
def test_what_is_read_off_a_line_is_what_decoding_says(by: str, op: str, why: str, on: list[str]) -> None:
    """Operation, time and checksum, whatever the record's texts hold."""
    line = encode(record(by=by, op=op, why=why, on=on))
    found = decode(line)
    assert (op_of(line), stamp_of(line), crc_of(line)) == (op.encode(), STAMP.encode(), found["crc"])
    assert crc_of(line[-CRC_END:]) == found["crc"]
    skimmed = skim(line[:-1])
    assert skimmed is None or skimmed == (op.encode(), (), ())


@given(text=TEXTS, name=st.sampled_from(["thread_id", "task_id"]), prefix=st.integers(0, 8))
def test_a_needle_stands_in_every_line_that_is_meant(text: str, name: str, prefix: int) -> None:
    """A line without the needle may be left out without being decoded."""
    for found in (record(by=text), record(on=["t1", text]), record(**{"del": [text]}), record(key=[text, "print"])):
        assert text_needle(text) in encode(found)
    assert field_needle(name, text) in encode(record(put=[[{"schema": 1, name: text, "z": 1}, ["p"]]]))
    assert op_needle("task.add") in encode(record()) and op_needle("task.add"[:prefix], prefix=True) in encode(record())
    assert op_needle("task.ad") not in encode(record())
    assert KEYED in encode(record(key=[text, "print"])) and KEYED not in encode(record())


@pytest.mark.parametrize(("data", "has"), [(encode(record()), True), (encode(record())[30:], True), (b"\0" * 99, False),
                                           (encode(record())[:60], False), (b"", False)])  # fmt: skip
def test_torn_bytes_have_no_checksum(data: bytes, has: bool) -> None:
    """What a person could want of a cut tail is told from torn bytes and holes."""
    assert has_crc(data) is has


def test_a_record_whose_fields_stand_elsewhere_is_not_skimmed() -> None:
    """Another order of the fields is for `decode`: nothing is read from where a field should stand."""
    fields = record(put=[[{"schema": 1}, ["p"]]], **{"del": ["p"]})
    for name in ("op", "put", "mv", "del", "lease"):
        found = skim(encode({**{key: fields[key] for key in fields if key != name}, name: fields[name]})[:-1])
        assert found is None or found == (b"task.add", ["p"], ["p"])
    assert skim(encode(fields)[:-1]) == (b"task.add", ["p"], ["p"])


ONE = [[{"schema": 1, "x": "a"}, ["p"]]]

PUTS: list[Any] = [
    [], ONE, [[{"x": 1}, ["p", "q"]]], [[[{"x": 1}, {"x": 2}], ["p"]]], [[{"x": [["a"], ["b"]]}, ["p"]]],
    [[{"x": ']],[{"'}, ["p"]]], [[{"x": ',["a"]]'}, ["p"]]], [[{"x": [1, ["a"]]}, ["p"]]], [[{"x": 1}, []]],
    [[{"x": 1}, ["p"]], [{"x": 2}, ["q"]]], [[{"x": 1}, []], [{"x": 2}, ["q"]]], [[{"x": 1}, ["p"]], [{"x": 2}, []]],
]  # fmt: skip
"""No document, one, two; of a kind that makes its brackets hard to tell from those of the record."""


@pytest.mark.parametrize("moved", [[], [["p", "q"]]])
@pytest.mark.parametrize("gone", [[], ["g"], ["g", "h"]])
@pytest.mark.parametrize("put", PUTS)
def test_the_paths_read_off_a_line_are_the_records(put: Any, gone: list[str], moved: list[list[str]]) -> None:
    """Whatever the documents hold; what cannot be told is for `decode`."""
    told = skim(encode(record(put=put, mv=moved, **{"del": gone}))[:-1])
    paths = [path for _doc, to in put for path in to]
    assert told is None or (told[0], [*told[1]], [*told[2]], []) == (b"task.add", paths, gone, moved)
    assert told is not None or moved or put not in ([], ONE), "nearly every record is of these"


# -- nobody else ----------------------------------------------------------------------------------------------------

_PIECE = re.compile(rf'"({"|".join(FIELDS)})\\?":(?! )')
"""A field of a record as a line spells it, without a space behind the colon."""


def pieces(source: str) -> Iterator[tuple[int, str]]:
    """Line number and text of each constant in which a piece of a journal line is spelled, or a line is cut by count."""
    tree = ast.parse(source)
    reads = any(isinstance(node, ast.ImportFrom) and "journal" in (node.module or "") for node in ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if _PIECE.search(text):
                yield node.lineno, text
        cut = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)
        if cut and reads and isinstance(node.value, ast.Name) and node.value.id == "line":
            yield node.lineno, ast.unparse(node)


def test_one_module_knows_how_a_line_is_spelled() -> None:
    """No module but ``journal/record`` spells a piece of a journal line, or cuts one out of it by count."""
    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {text}"
        for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "journal/record.py"
        for number, text in pieces(path.read_text())
    ]  # fmt: skip
    assert not found
    assert len(list(pieces((PACKAGE / "journal/record.py").read_text()))) > 5, "the look finds nothing where there is"
