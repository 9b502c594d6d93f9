"""Durations as text: one parser, and what each printer prints is read by it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbox.system.clock import LONGEST_DURATION, format_duration, parse_duration, patience, span

ANY = st.floats(min_value=0, max_value=LONGEST_DURATION)


@given(ANY)
@example(0.0)
@example(1e-5)
@example(5e-324)
@example(LONGEST_DURATION)
def test_an_exact_duration_reads_back(seconds: float) -> None:
    """What is printed exactly is parsed to the same number, however small, and with and without bare seconds."""
    assert parse_duration(format_duration(seconds)) == seconds
    assert parse_duration(format_duration(seconds), bare=True) == seconds


@given(ANY)
@example(0.0)
def test_a_rounded_duration_reads_back_as_about_as_long(seconds: float) -> None:
    """A span is at most half of its unit off; whoever waits as `patience` says does not wait too short a time."""
    read = parse_duration(span(seconds))
    assert read == pytest.approx(seconds, abs=1) or read == pytest.approx(seconds, rel=1 / 3)
    assert seconds <= parse_duration(patience(seconds)) <= max(1, seconds + 60)


@pytest.mark.parametrize("text", ["0", "0s", "0m", "0h", "0d", "0.0s"])
@pytest.mark.parametrize("bare", [False, True])
def test_zero_is_zero(text: str, bare: bool) -> None:
    """0 needs no unit, and any unit of it is the same."""
    assert parse_duration(text, bare) == 0
    assert format_duration(parse_duration(text, bare)) == "0s"


@pytest.mark.parametrize("text", ["7", "2.5", "15 m", "7 "])
def test_bare_seconds_are_for_files(text: str) -> None:
    """A number without its unit, and a space before one, are taken only where a file may say so."""
    assert parse_duration(text, bare=True) == {"7": 7, "2.5": 2.5, "15 m": 900, "7 ": 7}[text]
    with pytest.raises(ValueError, match=f"must be a duration such as 90s, 15m, 2h or 30d, not {text!r}"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", " ", "s", ".", ".s", "-5m", "+5m", "nan", "infs", "1e3s", "1_0s", "5M", "1h30m", "٣s", "²s", " 5s", "3651d"]
)
@pytest.mark.parametrize("bare", [False, True])
def test_what_is_no_duration_at_all(text: str, bare: bool) -> None:
    """Signs, exponents, two units, other digits, nothing, more than ten years."""
    with pytest.raises(ValueError, match="must be a duration such as 90s, 15m, 2h or 30d"):
        parse_duration(text, bare)


def test_what_is_refused_is_shown_short() -> None:
    """A megabyte in place of a duration is not thrown back at the person."""
    with pytest.raises(ValueError) as error:
        parse_duration("x" * 100_000)
    assert len(str(error.value)) < 150
