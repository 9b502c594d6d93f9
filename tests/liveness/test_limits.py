"""When a limit is reset, by the words that the programs show."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mbox.hosts import limits

NOON = datetime(2026, 7, 20, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("You've hit your session limit · resets 2:30pm (UTC)", 9000),
        ("You've hit your limit · resets 3pm (Europe/Berlin)", 3600),
        ("You've hit your limit · resets 11am (UTC)", 0),
        ("You've hit your limit · resets 1am (UTC)", 0),
        ("You've hit your weekly limit · resets Jul 26, 5:59am (UTC)", 6 * 86400 - 6 * 3600 - 60),
        ("You've hit your weekly limit · resets Jan 2 at 5am (UTC)", None),
        ("You've hit your limit · resets 12am (Asia/Tokyo)", 3 * 3600),
        ("or try again in 2 days 17 hours 14 minutes.", 2 * 86400 + 17 * 3600 + 14 * 60),
        ("visit https://x/ / settings to purchase more credits or try again at / Jul 21st, 2026 12:00 PM (UTC).", 86400),
        ("Access resets after 3h20m12s", 3 * 3600 + 20 * 60 + 12),
        ("resets 25:00pm (UTC)", None),
        ("resets 3pm (Nowhere/AtAll)", None),
        ("try again later", None),
        ("API Error: Request rejected (429)", None),
        ("limit will reset at 3pm (America/New_York)", 7 * 3600),
        ("resets in about 3 hours", 3 * 3600),
        ("resets in an hour", 3600),
        ("try again in 1 hour and 30 minutes", 5400),
        ("retry in 3h", 3 * 3600),
        ("retry after 1.5s", 1.5),
        ("resets in 2 weeks", 14 * 86400),
        ("resets in 2 months", None),
        ("resets 3 p.m. (UTC)", 3 * 3600),
        ("resets at 15:00 UTC", 3 * 3600),
        ("Access resets at 3:04 PM GMT+2.", 3600 + 240),
        ("Access resets at 3:04 PM PDT.", 10 * 3600 + 240),
        ("resets 3pm (Asia/ / Tokyo)", 0),
        ("resets at midnight (UTC)", 12 * 3600),
        ("resets tomorrow at 3am (UTC)", 15 * 3600),
        ("resets at 3pm (UTC) tomorrow", 27 * 3600),
        ("resets Tuesday 9am (UTC)", 21 * 3600),
        ("resets on Fri at 17:00 (UTC)", 4 * 86400 + 5 * 3600),
        ("resets Mon 9am (UTC)", 0),
        ("resets Sunday 9am (UTC)", 6 * 86400 - 3 * 3600),
        ("resets 21 Jul, 03:00 (UTC)", 15 * 3600),
        ("resets on July 25 (UTC)", 4 * 86400 + 12 * 3600),
        ("resets 21.07.2026, 03:00 (UTC)", 15 * 3600),
        ("resets 7/21/2026, 3:00 AM (UTC)", 15 * 3600),
        ("resets 8/7/2026, 3:00 AM (UTC)", None),
        ("resets 21 juil. 03:00 (UTC)", None),
        ("resets le 21 à 03:00 (UTC)", None),
        ("try again at 2026-07-21 03:00 (UTC)", 15 * 3600),
        ("resets at 2026-07-21T05:00:00+02:00", 15 * 3600),
        ("Upgrade, try again later, or wait: it resets in 3h", 3 * 3600),
        ("⚠ Usage limit reached · limit resets 3:30pm UTC / Continuing automatically at 3:30pm", 3.5 * 3600),
    ],
)
def test_the_reset_that_a_screen_names(words: str, seconds: float | None) -> None:
    """The nearest such moment; one that is over is now; what cannot be read is none."""
    assert limits.left(words, NOON) == seconds


def test_without_a_zone_it_is_the_machines_own() -> None:
    """Codex says no zone."""
    now = datetime(2026, 7, 20, 9, 4).astimezone()
    assert limits.left("or try again at 11:45 AM.", now.timestamp()) == (2 * 60 + 41) * 60


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("resets 1am (UTC)", 13 * 3600), ("resets 11am (UTC)", 0), ("resets 8am (UTC)", 20 * 3600),
        ("resets Mon 8am (UTC)", 7 * 86400 - 4 * 3600),
    ],
)  # fmt: skip
def test_a_limit_that_was_seen_to_come_lies_ahead(words: str, seconds: float) -> None:
    """Past midnight, too: only a reset that is just over may still stand there."""
    assert limits.left(words, NOON, ago=2 * 3600) == seconds
