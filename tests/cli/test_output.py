"""What is printed reads back equal, is safe to `eval` and to look at, and fits what was asked for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mbox.cli import output
from mbox.format import checks, documents

ODD = "\n\t :#-'\"{}[]&*!|>%@`\\\x85\u2028\u2029\ufeff\x07\x1b\x9b\u202e\r =<~.0e1$"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
DOCS = st.dictionaries(st.sampled_from(["task_id", "title", "status", "body", "x"]), VALUES)
TRAPS = [
    *(
        "1e5",
        "0o7",
        "0x1F",
        "1_000",
        "12:30:45",
        "2026-01-02",
        "y",
        "N",
        "yes",
        "Off",
        "null",
        "~",
        "=",
        "<<",
    ),
    *(".inf", "- a", "a: b", "# c", "a #b", " a", "a ", "\ta", "a\n", "\na", "a\n\n b\n", "'''", "{{x}}"),
    *("%a", "@a", "&a", "", "\n\x85", "a\u2028\nb", "a\r\nb", "\ufeff"),
]

TASK = documents.new(
    "task", task_id="t45", title="Fix it", created_at="2026-01-02T03:04:05.000006Z", token=17
)


def made(name: str, kind: str = "", full: bool = False, terminal: bool = False) -> output.Formatter:
    """A formatter as a command gets it."""
    return output.formatter(name, kind, full, terminal)


# ---- which one


def test_auto_is_a_table_on_a_terminal_and_json_elsewhere() -> None:
    """`auto` looks at stdout; every other format is what it says, wherever it goes."""
    assert type(made("auto", terminal=True)) is output.Table
    assert type(made("auto", terminal=False)) is output.Formatter
    assert type(made("json", terminal=True)) is output.Formatter
    kinds = {type(made(name, terminal=False)) for name in output.FORMATS}
    assert len(kinds) == len(output.FORMATS) - 1


# ---- json


@given(DOCS)
def test_json_reads_back_equal(doc: dict[str, Any]) -> None:
    """One object is one line of JSON that says the same, less what is empty."""
    line = made("json").one(doc)
    assert line.count("\n") == 1
    assert json.loads(line) == {name: value for name, value in doc.items() if value not in (None, "", [], {})}


@given(st.lists(DOCS, max_size=4))
def test_a_list_is_an_array_with_a_row_a_line(docs: list[dict[str, Any]]) -> None:
    """A list is valid JSON and can be grepped: as many lines as rows, and the brackets."""
    text = made("json").many(docs)
    assert json.loads(text) == [output.short(doc, {}) for doc in docs]
    assert text.count("\n") == (len(docs) + 2 if docs else 1)


@given(st.lists(DOCS, max_size=4))
def test_json_lines(docs: list[dict[str, Any]]) -> None:
    """`jsonl` has an object a line and nothing else; the lines of a stream are the same."""
    text = made("jsonl").many(docs)
    assert [json.loads(line) for line in text.splitlines()] == [output.short(doc, {}) for doc in docs]
    assert text == "".join(made("json").item(doc) for doc in docs)


def test_json_is_compact_and_keeps_letters() -> None:
    """No space is spent on separators, and letters of any alphabet are themselves."""
    assert made("json").one({"task_id": "t45", "unblocked": ["t46"], "x": "é漢"}) == (
        '{"task_id":"t45","unblocked":["t46"],"x":"é漢"}\n'
    )


@given(VALUES)
@example("\x1b[2J\x9b\u202e\x7f")
def test_json_is_safe_to_look_at(value: Any) -> None:
    """No format of JSON lets a control or bidi character through, on a terminal or not."""
    for full in (False, True):
        text = made("json", "task", full).one({**TASK, "payload": value})
        assert not set(text) & {chr(code) for code in checks.HIDDEN if code != 10}


def test_defaults_are_left_out_of_a_document() -> None:
    """Fields at their default, empty ones and the schema number are left out; a changed one is not, nor ever the status."""
    assert json.loads(made("json", "task").one(TASK)) == {
        "task_id": "t45",
        "title": "Fix it",
        "status": "queued",
        "token": 17,
        "created_at": "2026-01-02T03:04:05.000Z",
    }
    changed = {**TASK, "priority": 0, "status": "done", "payload": False}
    assert {"priority": 0, "status": "done", "payload": False}.items() <= json.loads(
        made("json", "task").one(changed)
    ).items()


def test_without_a_kind_only_what_is_empty_is_left_out() -> None:
    """An answer that tells a change back to a default value shows it."""
    assert output.short(
        {"task_id": "t1", "status": "queued", "n": 0, "ok": False, "why": "", "on": []}, {}
    ) == {
        "task_id": "t1",
        "status": "queued",
        "n": 0,
        "ok": False,
    }


def test_times_are_shown_to_the_millisecond() -> None:
    """In every format, in rows and in the rows of a field; with ``--full``, and in what is somebody's own data, as they are."""
    whole, shown = "2026-01-02T03:04:05.678901Z", "2026-01-02T03:04:05.678Z"
    notes = [{"ts": whole, "by": "ann", "kind": "checkpoint", "state": {"ts": whole}}]
    doc = {"task_id": "t1", "created_at": whole, "title": whole, "payload": {"done_at": whole}, "notes": notes}
    for name in ("json", "jsonl", "yaml", "table", "env"):
        for text in (made(name).one(doc), made(name).many([doc, doc])):
            assert text.count(whole) == 3 * text.count("t1"), (name, text)
            assert text.count(shown) == 2 * text.count("t1"), (name, text)
        assert shown not in made(name, full=True).one(doc) + made(name, full=True).many([doc])
    odd = {"created_at": "yesterday", "ts": whole + "x", "x": whole}
    assert json.loads(made("json").one(odd)) == odd


def test_a_default_of_another_type_is_not_the_default() -> None:
    """0 is not false, 1 is not true, 0.0 is not 0."""
    assert output.short({"a": 0, "b": True, "c": 0.0}, {"a": False, "b": 1, "c": 0}) == {
        "a": 0,
        "b": True,
        "c": 0.0,
    }


def test_full_prints_the_document_as_on_disk() -> None:
    """`--full` is byte for byte the file; a list of them is an array."""
    assert made("json", "task", full=True).one(TASK).encode() == documents.encode("task", TASK)
    assert json.loads(made("json", "task", full=True).many([TASK, TASK])) == [TASK, TASK]


# ---- yaml


@settings(max_examples=300)
@given(VALUES)
@example(TRAPS)
@example([f"{text}\n{text}" for text in TRAPS])
@example(["\ud800", "a\ud800\n"])
def test_yaml_reads_back_equal(value: Any) -> None:
    """Whatever stands in a text, YAML 1.1 reads back what was written."""
    assert yaml.safe_load(made("yaml").one({"payload": [value]})) == {"payload": [value]}


@settings(max_examples=300)
@given(st.lists(TEXTS))
@example(TRAPS)
@example([f"{text}\n{text}" for text in TRAPS])
def test_yaml_reads_back_equal_in_the_other_version(texts: list[str]) -> None:
    """A parser of YAML 1.2 reads every text as the same text."""
    assert YAML(typ="safe", pure=True).load(made("yaml").one({"texts": ["x", *texts]})) == {
        "texts": ["x", *texts]
    }


@settings(max_examples=300)
@given(TEXTS)
@example("ship\u202eelif\u2066")
@example("one\u202e\ntwo\x1b[2J\x9b\u200f\n")
def test_yaml_lets_no_control_or_bidi_character_through(text: str) -> None:
    """In a pipe as on a terminal, in values and in names of fields."""
    said = made("yaml").one({"texts": [text], "payload": {text: {"deep": text}}})
    assert not set(said) & {chr(code) for code in checks.HIDDEN if code != 10}
    assert yaml.safe_load(said) == {"texts": [text], "payload": {text: {"deep": text}}}


def test_yaml_repeats_instead_of_referring() -> None:
    """The same list twice is written twice, and field order stays."""
    both = ["a"]
    assert made("yaml").many([{"b": both, "a": both}]) == "- b:\n  - a\n  a:\n  - a\n"
    assert made("yaml").item({"a": 1}) == "---\na: 1\n"


# ---- env and id


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
@settings(max_examples=25, deadline=None)
@example("'; touch /tmp/x; '")
@example("$(id)`id`$HOME\n\\'")
def test_env_is_safe_to_eval(text: str) -> None:
    """The shell that evaluates it gets exactly the text, whatever stands in it."""
    line = made("env").one({"task_id": "t1", "title": text})
    shown = subprocess.run(
        ["sh", "-c", 'eval "$1"; printf %s "$TASK_TITLE"', "sh", line], capture_output=True, check=True
    )
    assert shown.stdout.decode() == text


def test_env_names_are_of_the_object() -> None:
    """`TASK_ID` and `TASK_TOKEN`; empty fields too; nothing that is no variable's name; an object a line."""
    doc = {
        "schema": 1,
        "task_id": "t45",
        "token": 17,
        "reason": "",
        "labels": ["a", "b"],
        "x;y": 1,
        "ok": True,
    }
    line = "TASK_ID='t45' TASK_TOKEN='17' TASK_REASON='' TASK_LABELS='a, b' TASK_OK='true'\n"
    assert made("env").one(doc) == line
    assert made("env").many([doc, doc]) == line * 2
    assert made("env", "agent").one({"agent": "ann", "role": "w"}) == "AGENT='ann' AGENT_ROLE='w'\n"
    assert made("env").one({"path": "/x"}) == "MBOX_PATH='/x'\n"


@pytest.mark.parametrize(
    ("kind", "doc", "expected"),
    [
        ("", {"status": "x", "task_id": "t1", "msg_id": "m1"}, "t1"),
        ("message", {"msg_id": "m1", "task_id": "t1"}, "m1"),
        ("reservation", {"task_id": "t1", "reservation_id": "r1"}, "r1"),
        ("agent", {"agent": "ann", "reports_to": "bob"}, "ann"),
        ("record", {"seq": 7, "by": "ann"}, "7"),
    ],
)
def test_id_prints_the_id(kind: str, doc: dict[str, Any], expected: str) -> None:
    """An id a line, for the next command's stdin."""
    assert made("id", kind).one(doc) == f"{expected}\n"
    assert made("id", kind).many([doc, doc]) == f"{expected}\n" * 2


def test_id_of_what_has_none_is_nothing() -> None:
    """An object without an id adds no empty line."""
    assert made("id").many([{"a": 1}, {"task_id": "t1"}]) == "t1\n"


# ---- table


def test_a_table_is_aligned() -> None:
    """Columns by their widest cell, wide characters count twice, no empty columns, no trailing blanks."""
    rows: list[dict[str, Any]] = [
        {"id": "t1", "who": "漢字", "why": "", "n": 5},
        {"id": "t22", "who": "ann", "why": None, "n": 10, "x": "y"},
    ]
    assert made("table").many(rows).splitlines() == [
        "id   who   n   x",
        "t1   漢字  5",
        "t22  ann   10  y",
    ]


def test_an_empty_table_is_nothing() -> None:
    """No rows, no header."""
    assert made("table").many([]) == ""


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), TEXTS, min_size=1), min_size=1, max_size=4))
def test_a_table_has_a_line_a_row(rows: list[dict[str, str]]) -> None:
    """Nobody's text breaks a row: line breaks, tabs and escapes are shown."""
    text = made("table").many(rows)
    assert text.count("\n") == len(rows) + 1
    assert not set(text) & {chr(code) for code in checks.HIDDEN if code != 10}


@pytest.mark.parametrize("columns", [24, 40, 80])
def test_a_table_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest columns give way, with an ellipsis; short ones are whole.  A file gets all of it."""
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [
        {"id": "t1", "title": "漢" * 50, "reason": "x" * 100},
        {"id": "t2", "title": "short", "reason": "y"},
    ]
    lines = made("auto", terminal=True).many(rows).splitlines()
    assert all(output._width(line) <= columns for line in lines)
    assert lines[1].startswith("t1  ") and lines[1].count("…") == 2
    assert "x" * 100 in made("table", terminal=False).many(rows)


def test_one_object_as_a_table() -> None:
    """Names beside values; a text of several lines stands below its name, line by line."""
    doc = {"task_id": "t1", "labels": ["a", "b"], "body": "one\n\x1b[2Jtwo\n", "payload": {"a": 1}}
    assert made("table").one(doc) == (
        'task_id  t1\nlabels   a, b\nbody\n  one\n  \\x1b[2Jtwo\n  \npayload  {"a":1}\n'
    )
    assert made("table").item(doc) == 't1  a, b  one\\n\\x1b[2Jtwo\\n  {"a":1}\n'


# ---- streams


class Terminal(io.StringIO):
    """A stream that a person sees."""

    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    flush = write  # type: ignore[assignment]


def test_a_terminal_is_shown_escapes_and_a_file_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that is data goes untouched into a file or pipe, and is made visible on a terminal."""
    for stream, expected in [(Terminal(), "\\x1b[2J\n"), (io.StringIO(), "\x1b[2J\n")]:
        monkeypatch.setattr(sys, "stdout", stream)
        output.write("\x1b[2J\n")
        assert stream.getvalue() == expected


def test_prose_is_always_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said on stderr may quote anybody; it is made visible wherever it goes."""
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        output.say("ann says \x1b]0;x\x07\nbye")
        assert stream.getvalue() == "ann says \\x1b]0;x\\x07\nbye\n"


@pytest.mark.parametrize("stream", [Full(), None])
def test_a_failing_stdout_is_named(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a closed stdout is an OSError that says `stdout`; a failing stderr is nothing."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(OSError) as caught:
        output.write("x")
    assert caught.value.filename == "stdout"
    output.say("nobody hears this")


def test_limited() -> None:
    """The first rows, and how many were left out; 0 is all."""
    rows = [{"n": n} for n in range(5)]
    assert output.limited(iter(rows), 2) == (rows[:2], 3)
    assert output.limited(rows, 0) == (rows, 0)
    assert output.limited(rows, 5) == (rows, 0)


HOSTILE = "\x1b]0;evil\x07\u202e\x9b2J\r"


@pytest.mark.parametrize("width", [0, 20, 80])
@given(name=st.text(min_size=1), text=st.text())
@example(name=HOSTILE, text=HOSTILE)
@settings(max_examples=50)
def test_what_is_drawn_has_no_escapes_but_ours(width: int, name: str, text: str) -> None:
    """A field may have any name, too: a newer version's, or a hostile one's. None reaches a terminal as it is."""
    docs: list[dict[str, Any]] = [{name: text}, {name: [{name: text}]}, {name: [text, f"{text} b"]}, {name: {name: [text]}}]
    table = output.Table(width=width)
    for drawn in (*map(table.one, docs), table.many(docs), *map(table.item, docs)):
        assert isinstance(drawn, output.Drawn)
        assert checks.visible(drawn) == drawn


def test_a_table_shows_what_belongs_to_names_in_pairs() -> None:
    """Not as JSON, but where the data is the caller's own; escapes in it are shown."""
    shown = output.formatter("table", terminal=True).one({"started": {"boss": "%0", "w\x1b": "a\nb"}, "result": {"lines": 3}})
    assert shown == "started  boss %0, w\\x1b a\\nb\nresult   {\"lines\":3}\n"
