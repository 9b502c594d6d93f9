"""Expressions: what they mean, and what is refused before it could mean anything."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbox.errors import Usage
from mbox.workflow.expressions import (
    CONTEXT,
    LONGEST,
    STEPS,
    EvalError,
    Mistake,
    decide,
    evaluate,
    literal,
    parse,
    path,
)  # fmt: skip

NAMES: dict[str, Any] = {
    "output": {
        "verdict": "approve", "n": 3, "half": 0.5, "flag": True, "none": None, "empty": [], "words": ["a", "b"],
        "findings": [{"severity": "high", "state": "new"}, {"severity": "low", "state": "fixed"}], "flags": [True, False, True],
    },
    "exit": 0, "failed": None, "visits": 1, "stuck": False, "inputs": {"goal": "mend it"}, "steps": {}, "item": {"id": "x"},
}  # fmt: skip


def value(text: str, **more: Any) -> Any:
    """What a text gives with the names above."""
    return evaluate(parse(text), {**NAMES, **more}, lambda name: name == "there")


MEANINGS = [
    ("output.verdict == 'approve'", True), ("output.verdict != 'approve'", False), ('output.verdict == "approve"', True),
    ("output.n == 3", True), ("output.n == 3.0", True), ("output.n == '3'", False), ("output.n < 4", True), ("output.n <= 3",
     True),
    ("output.n > 3", False), ("output.n >= 3", True), ("-1 < output.n", True), ("output.half < 1", True), ("'a' < 'b'", True),
    # nothing is coerced
    ("1 == true", False), ("0 == false", False), ("true == true", True), ("output.flags == [true, false, true]", True),
    ("output.flags == [1, 0, 1]", False), ("1 in [true]", False), ("true in [1]", False), ("'1' < 2", False), ("2 < '3'", False),
    ("true < 2", False), ("false <= false", False), ("'3' == 3", False),
    # null goes through
    ("output.none == null", True), ("output.none.deeper == null", True), ("output.missing == null", True), ("null == null", True),
    ("steps.never.output.x == null", True), ("steps.never.failed == null", True), ("nothing == null", True),
    ("output.none < 1", False), ("1 < output.none", False), ("output.none <= output.none", False), ("null in ['a']", False),
    ("null in [null]", True), ("'a' in output.none", False), ("'a' not in output.none", True), ("output.none != 1", True),
    ("len(output.none)", 0), ("any(output.none)", False), ("all(output.none)", True), ("count(output.none)", 0),
    ("any(f.x for f in output.none)", False), ("all(f.x for f in output.none)", True), ("exists(output.none)", False),
    # and, or, not; the second is not asked if the first decides
    ("true and false", False), ("true or false", True), ("not false", True), ("false and output.n", False),
    ("true or output.n", True), ("not (true and false)", True), ("true and true and true", True), ("false or false or true",
     True),
    ("not false == true", True),
    # lists
    ("'a' in output.words", True), ("'c' not in output.words", True), ("output.n in [1, 2, 3]", True), ("3.0 in [3]", True),
    ("output.verdict in ['approve', 'revise']", True), ("'prov' in output.verdict", True), ("1 in output.verdict", False),
    ("output.words[0]", "a"), ("output.words[2]", None), ("output.findings[0].severity", "high"), ("output.findings[9].x", None),
    ("output.words == ['a', 'b']", True), ("output.words == ['b', 'a']", False), ("[]", []), ("['a', 1, null]", ["a", 1, None]),
    ("output.words[1]", "b"), ("output.verdict[0]", None), ("output.findings.x", None),
    # functions
    ("len(output.findings)", 2), ("len(output.verdict)", 7), ("len(output.n)", None), ("len(output.empty)", 0),
    ("count(output.flags)", 2), ("any(output.flags)", True), ("all(output.flags)", False), ("all([])", True), ("any([])", False),
    ("any(f.severity == 'high' for f in output.findings)", True), ("all(f.severity == 'high' for f in output.findings)", False),
    ("count(f.severity == 'high' for f in output.findings)", 1), ("len(f for f in output.findings if f.state == 'new')", 1),
    ("any(f.severity == 'high' for f in output.findings if f.state == 'fixed')", False),
    ("count(w in ['a'] for w in output.words)", 1),
    ("any(any(w == v for v in ['b']) for w in output.words)", True), ("exists('there')", True), ("exists('gone')", False),
    ("exists(output.n)", False), ("any(true for a in output.words) and item.id == 'x'", True),
    # layout
    ("output.n\n  == 3\n", True), ("(output.n) == (3)", True), ("  output.n==3", True), ("'é' == 'é'", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), MEANINGS)
def test_what_it_means(text: str, wanted: Any) -> None:
    """The table of meanings: equality of JSON, order of numbers and of texts, null, lists, the five functions."""
    found = value(text)
    assert found == wanted and type(found) is type(wanted)


REFUSED = [
    ("verdict = 'approve'", "compare with ==", 9), ("().__class__", "_", 1), ("output.__class__", "begins with _", 1),
    ("10**9", "arithmetic", 1), ("'a' * 3", "arithmetic", 1), ("output.n + 1 == 4", "arithmetic", 1), ("+1", "arithmetic", 1),
    ("~1", "arithmetic", 1), ("-output.n", "arithmetic", 1), ("1 < 2 < 3", "in a row", 1), ("a == b in c", "in a row", 1),
    ("(x := 1)", "assigned", 4), ("lambda: 1", "functions", 1), ("f'{output.n}'", "letter before", 1), ("b'a'", "letter before",
     1),
    ("r'a'", "letter before", 1), ("u'a'", "letter before", 1), ("'a' 'b'", "comma is missing", 4), ("'a' if x else 'b'",
     "rules", 1),
    ("{}", "mappings", 1), ("{'a': 1}", "mappings", 1), ("{1}", "grammar", 1), ("('a', 'b')", "[a, b]", 1),
    ("x in ('a', 'b')", "[a, b]", 6), ("[x for x in y]", "any, all", 1), ("(x for x in y)", "any, all", 1), ("{x for x in y}",
     "", 1),
    ("output.items()", "methods", 1), ("'a'.upper()", "methods", 1), ("print(1)", "no such function", 1),
    ("counts(x)", "did you mean count", 1), ("len()", "one argument", 1), ("len(a, b)", "one argument", 1), ("len(a=1)",
     "one argument", 1),
    ("len(*a)", "no *", 5), ("len", "is a function", 1), ("any(x for x in a for y in b)", "one for", 5),
    ("any(x for x in a if b if c)", "one for", 5), ("any(x for x, y in a)", "one for", 5), ("any(x async for x in a)", "", 1),
    ("any(x for output in a)", "a meaning already", 11), ("any(x for true in a)", "", 11), ("any(x for _ in a)", "a meaning", 11),
    ("exists(x for x in a)", "any, all", 8), ("a[-1]", "from 0 on", 3), ("a['b']", "from 0 on", 3), ("a[b]", "from 0 on", 3),
    ("a[0:1]", "from 0 on", 3), ("a[True]", "from 0 on", 3), ("True", "write true", 1), ("x == None", "write null", 6),
    ("x is null", "compare with ==", 1), ("x && y", "and, or, not", 3), ("x || y", "and, or, not", 3), ("!x", "and, or, not", 1),
    ("x <> y", "not an expression", 3), ("0x10", "a number", 1), ("1_000", "a number", 1), ("007", "", 1), ("1j", "a number", 1),
    ("1e999", "a number", 1), (".5", "a number", 1), ("...", "a number", 1), ("'a\\x41'", "backslash", 3), ("a # b", "comments",
     3),
    ("a == 1 # b\nand c", "comments", 8), ("ｏutput.n == 3", "ASCII", 1), ("é", "ASCII", 1), ("a\u00a0== b", "ASCII", 2),
    ("a\x00", "ASCII", 2), ("'a", "without its end", 1), ('"a', "without its end", 1), ("", "empty", 1), ("   ", "empty", 1),
    ("a)", "closes nothing", 2), ("a) == (b", "closes nothing", 2), ("(a", "", 1), ("a.", "", 3), ("a b", "", 1), ("a.class", "",
     3),
    ("yield", "grammar", 1), ("yield x", "grammar", 1), ("await x", "", 1), ("import os", "", 1), ("a; b", "", 2), ("@a", "", 1),
    ("`a`", "", 1), ("'''a'''", "comma", 3), ("a.b = 1", "compare with ==", 5), ("'%s' % a", "arithmetic", 1), ("not", "", 1),
    ("a or", "", 1), ("in a", "", 1), ("*a", "", 1), ("a == 'b'c", "write a space", 9), ("x ==== y", "", 5),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says", "column"), REFUSED)
def test_what_is_refused(text: str, says: str, column: int) -> None:
    """What is not in the grammar does not parse; the line says the mend, and the column where."""
    with pytest.raises(Mistake) as told:
        parse(text)
    assert says in told.value.problem
    assert "\n" not in str(told.value)
    assert told.value.line >= 1 and abs(told.value.column - column) <= 3, told.value.column


@pytest.mark.parametrize(
    "text",
    ["(" * 200 + "1" + ")" * 200, "[" * 100 + "]" * 100, "not " * 120 + "true", "a" + ".b" * 240, "a" + "[0]" * 160,
     "len(" * 100 + "a" + ")" * 100, "-" * 400 + "1", "a" * (LONGEST + 1), "(" * 500, "1 " * 200, "not(" * 31 + "a" + ")" * 31],
)  # fmt: skip
def test_deep_and_long(text: str) -> None:
    """However deep and long, it is refused, at once and without running into Python's own bounds."""
    began = time.process_time()
    with pytest.raises(Mistake):
        parse(text)
    assert time.process_time() - began < 1


def test_a_long_chain_holds() -> None:
    """A chain of as many parts as fit is an expression."""
    text = " or ".join(["visits == 1"] * 33)
    assert len(text) <= LONGEST and value(text) is True


def test_the_place_of_a_mistake_in_lines() -> None:
    """In a text of several lines the line counts, also behind letters of more than a byte."""
    for text, line, column in (("true\nand 1 + 1\nand true", 2, 5), ("'éé' == 1 + 1", 1, 9), ("a and\n  f.__x", 2, 3)):
        with pytest.raises(Mistake) as told:
            parse(text)
        assert (told.value.line, told.value.column) == (line, column)


@pytest.mark.parametrize(
    "text",
    ["output.n", "output.none", "output.verdict", "not output.n", "output.n and true", "true and output.none", "output.words",
     "any(output.words)", "any(f.severity for f in output.findings)", "all(f.gone for f in output.findings)", "count([1])",
     "any(true for f in output.findings if f.state)", "not not output.n", "false or output.empty"],
)  # fmt: skip
def test_nothing_is_truthy(text: str) -> None:
    """What must be true or false and is neither is an error that says what it was, never a guess."""
    with pytest.raises(EvalError, match=r"true or false"):
        decide(parse(text), NAMES, lambda _: False)


def test_what_a_decision_looked_at() -> None:
    """The values by path of what was read, and of what was not asked nothing."""
    found = decide(parse("output.verdict == 'approve' and output.n > 2 or output.flag"), NAMES, lambda _: False)
    assert found == (True, {"output.verdict": "approve", "output.n": 3})
    found = decide(parse("any(f.severity == 'low' for f in output.findings) and steps.a.output.b == null"), NAMES,
    lambda _: False)
    assert found == (True, {"output.findings": NAMES["output"]["findings"], "steps.a.output.b": None})


def test_the_names_of_an_expression() -> None:
    """The paths that it reads, once each, without those of a loop's own name."""
    found = parse("output.a == 1 and any(f.x == inputs.y for f in output.list if f.z) and output.a < git.changed[0]")
    assert found.names == ("output.a", "output.list", "inputs.y", "git.changed[0]")
    assert parse("1 == 1").names == () and path(parse("item.after").root) == "item.after"


def test_a_name_of_a_loop_ends_with_it() -> None:
    """A loop that stopped early leaves nothing behind."""
    assert value("any(f.state == 'new' for f in output.findings) and f.state == null") is True


class Lazy(dict[str, Any]):
    """A mapping that can be asked for what it has, and for nothing else."""

    def __iter__(self) -> Any:
        raise AssertionError("walked")

    keys = values = items = __iter__  # type: ignore[assignment]


def test_only_what_is_named_is_asked_for() -> None:
    """Lazy mappings are not walked."""
    names = Lazy(steps=Lazy(a=Lazy(output=Lazy(b=1))))
    assert evaluate(parse("steps.a.output.b == 1 and steps.z.output == null"), names, lambda _: False) is True


def test_a_loop_in_a_loop_ends() -> None:
    """A loop over much in a loop over much ends in an error, and within seconds."""
    many = [{"n": number} for number in range(3000)]
    began = time.process_time()
    with pytest.raises(EvalError, match=str(STEPS)):
        value("any(any(a.n == b.n + 0 for b in output) for a in output)".replace(" + 0", ".x"), output=many)
    assert time.process_time() - began < 30


def test_texts_are_compared_within_bounds() -> None:
    """A large list that is looked through again and again ends, too."""
    with pytest.raises(EvalError):
        value("any(a in inputs for a in output)", output=["x"] * 20000, inputs=["y"] * 30000)


def test_the_same_text_is_the_same_expression() -> None:
    """Expressions are plain values: equal if their texts are, and hashable."""
    text = "any(f.x == 'a' for f in output.list if f.y in [1, 2])"
    assert parse(text) == parse(text) and hash(parse(text)) == hash(parse(text)) and parse(text) != parse(text + " ")
    assert evaluate(literal(["a", 1], '["a", 1]'), {}, lambda _: False) == ["a", 1]


def test_python_says_nothing() -> None:
    """No warning of Python's own parser reaches a terminal."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for text in ("1 is 1", "'a' is 'b'", "1in [1]", "0or 1", "(1)(2)", "'a'[0]", "0x1for x in y", "1if x else y", "1_a",
        "1.e"):
            with contextlib.suppress(Mistake):
                parse(text)
    assert [str(one.message) for one in seen] == []


WORDS = st.sampled_from([*CONTEXT, "a", "true", "null", "any(", "len(", ")", "(", "[", "]", ".", "==", "<", "in", "not", "and",
"or",
                         "for", "if", "'x'", '"', "'", "1", "-", "\\", "#", "\n", " ", ",", "=", ":=", "{", "}", "é", "\x00",
                         "*", "f'"])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=25).map(" ".join) | st.lists(WORDS, max_size=25).map("".join) | st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    """Garbage is a mistake or an expression; an expression has a value or is undecided. Nothing else is ever raised."""
    try:
        found = parse(text)
    except Mistake as error:
        assert 1 <= error.line <= text.count("\n") + 1 and error.column >= 1
        return
    try:
        decide(found, NAMES, lambda _: False)
    except EvalError as error:
        assert isinstance(error, Usage)
