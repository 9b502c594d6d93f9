"""The effort of comparing patterns: counted in steps, the same each time, and erring towards the conflict at its end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbox.errors import Usage
from mbox.format import patterns
from mbox.format.globs import STEPS, Effort, Spent
from mbox.format.patterns import LARGEST, Pattern, TooMuch, contains, intersect, literal_prefix, parse, unread

PIECES = st.sampled_from(["a", "b", "ab", "*", "?", "[ab]", "[!a]", "{a,b}", "{a*,*b}", "/", "**/", "/**/", "\\*"])


def spelt(text: str) -> Pattern | None:
    """The pattern, or None if the text is none."""
    try:
        return parse(text)
    except Usage:
        return None


SOME = st.lists(PIECES, min_size=1, max_size=9).map("".join).map(spelt).filter(bool)


@settings(max_examples=400, deadline=None)
@given(SOME, SOME, st.integers(0, 60))
def test_an_answer_is_exact_or_errs_towards_the_conflict(a: Pattern, b: Pattern, steps: int) -> None:
    """With steps enough every answer is the exact one; with too few it is that, or meets, matches, is not contained."""
    exact = intersect(a, b)
    assert intersect(a, b, Effort()) == exact
    short = Effort(steps)
    assert intersect(a, b, short) in (exact, True)
    assert short.is_spent or intersect(a, b, Effort(steps)) == exact
    for path in ("a", "ab", "a/b", "b/ab/a"):
        short = Effort(steps)
        found = a.matches(path, short)
        assert found == a.matches(path) or (found and short.is_spent)
    short = Effort(steps)
    assert contains(a, b, short) == contains(a, b) or (short.is_spent and not contains(a, b, short))


@settings(max_examples=100, deadline=None)
@given(st.lists(SOME, min_size=2, max_size=4))
def test_the_count_depends_on_nothing_but_what_is_compared(some: list[Pattern]) -> None:
    """The same comparisons take the same steps, whatever was compared or parsed before them in the process."""
    def counted(each: list[Pattern]) -> float:
        effort = Effort()
        for a in each:
            for b in each:
                intersect(a, b, effort)
        return STEPS - effort.left

    first = counted(some)
    patterns.parse.cache_clear()
    assert counted([parse(one.text) for one in some]) == first == counted(some)


def test_a_spent_effort_says_so_to_everybody() -> None:
    """Past the last step nothing is compared any more, not even what would be cheap."""
    effort = Effort(3)
    assert intersect(parse("*a*b*c"), parse("*a*b*d"), Effort()) is False
    assert intersect(parse("*abcdef"), parse("*bbcdef"), effort) is True
    assert effort.is_spent
    assert intersect(parse("x"), parse("y"), effort) is True
    with pytest.raises(Spent):
        effort.spend(0)


@pytest.mark.parametrize("text", ["{a,b}" * 8 + "c" * 200, "{" + "{ab,cd}" * 8 + "x" * 120 + ",y}", "a" * 1025, "{a,b}" * 9])
def test_a_pattern_that_is_too_large_is_refused_with_the_number(text: str) -> None:
    """Length, alternatives and their product are bounded; the refusal has the number."""
    with pytest.raises(TooMuch, match=r"at most \d+|more than \d+"):
        parse(text)


def test_the_largest_pattern_is_taken() -> None:
    """What is just within the bounds is read, in full."""
    assert parse("{a,b}" * 8 + "c" * 120).size == 256 * 128 == LARGEST


@given(st.text("ab.*?[]!-{},/\\^É\N{COMBINING ACUTE ACCENT}ß", max_size=12), st.booleans())
@settings(max_examples=500, deadline=None)
def test_the_literal_prefix_is_at_or_above_all_that_a_text_can_mean(text: str, fold: bool) -> None:
    """The index, which never reads a pattern, looks where the pattern is; also where it stands for one that is not read."""
    head = literal_prefix(text, fold)
    found = [unread(text, fold)]
    for one in (text, patterns.escape(text)):
        try:
            found.append(parse(one, fold))
        except Usage:
            continue
    for pattern in found[:2]:
        assert not head or pattern.prefix == head or pattern.prefix.startswith(head + "/")


def test_one_that_is_not_read_meets_what_may_be_there() -> None:
    """It meets everything at or below where it begins, and nothing that is surely somewhere else."""
    whole, below = unread("{a,b}" * 9, False), unread("src/" + "{a,b}" * 9, False)
    assert intersect(whole, parse("x/y"))
    assert intersect(below, parse("src/a")) and intersect(below, parse("**/*.py"))
    assert not intersect(below, parse("lib/a"))
    assert whole.key == whole.text
