"""When a doorbell is rung: for which mail, how often, and never twice for the same before its time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mbox.liveness.nudges import TAKEN, Bell, Rules, is_due, next_at, rung, seen

RULES = Rules(again=30, longest=900, tries=5)


def ids(*names: str) -> frozenset[str]:
    """Ids of messages."""
    return frozenset(names)


def test_new_mail_rings_at_once_and_only_once() -> None:
    """One bell stands for any number of messages, until its time."""
    bell = Bell()
    assert is_due(bell, ids("m1", "m2", "m3"), 0)
    bell = rung(bell, ids("m1", "m2", "m3"), TAKEN, 0, RULES)
    assert not is_due(seen(bell, ids("m1", "m2", "m3")), ids("m1", "m2", "m3"), 29)
    assert is_due(bell, ids("m1", "m2", "m3"), 30)


def test_no_mail_no_bell() -> None:
    """Nothing unread is nothing to ring for."""
    assert not is_due(Bell(), ids(), 0)
    assert next_at(Bell(), ids()) is None


def test_the_same_number_of_other_messages_is_new_mail() -> None:
    """Keyed on which, not on how many."""
    bell = rung(Bell(), ids("m1"), TAKEN, 0, RULES)
    assert is_due(seen(bell, ids("m2")), ids("m2"), 1)
    assert is_due(seen(bell, ids("m1", "m2")), ids("m1", "m2"), 1)


def test_times_double_up_to_the_longest() -> None:
    """30, 60, 120, … and never more than the longest."""
    bell, now, waits = Bell(), 0.0, []
    for _ in range(8):
        bell = rung(bell, ids("m1"), "busy", now, RULES)
        waits.append(bell.next_at - now)
        now = bell.next_at
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert not bell.held, "a bell that could not be rung is no try"


def test_new_mail_for_a_busy_agent_waits_for_the_look_that_is_planned() -> None:
    """A flood of mail to somebody who types does not make anybody look more often."""
    bell = rung(Bell(), ids("m1"), "typing", 0, RULES)
    assert not is_due(seen(bell, ids("m1", "m2")), ids("m1", "m2"), 10)
    assert is_due(bell, ids("m1", "m2"), 30)
    assert rung(bell, ids("m1", "m2"), "typing", 30, RULES).delay == 60


def test_after_so_many_tries_it_is_held_to_the_longest_time_until_something_is_read_or_new() -> None:
    """Held: bells for the same mail at the longest time only; a read or a new message frees it."""
    bell, now = Bell(), 0.0
    for n in range(RULES.tries):
        assert not bell.held and is_due(bell, ids("m1", "m2"), now), n
        bell = rung(bell, ids("m1", "m2"), TAKEN, now, RULES)
        now = bell.next_at
    assert bell.held
    assert bell.delay == RULES.longest and next_at(bell, ids("m1", "m2")) == now
    assert not is_due(bell, ids("m1", "m2"), now - 1) and is_due(bell, ids("m1", "m2"), now)
    assert rung(bell, ids("m1", "m2"), TAKEN, now, RULES).delay == RULES.longest
    assert is_due(seen(bell, ids("m2")), ids("m2"), now)
    assert is_due(seen(bell, ids("m1", "m2", "m3")), ids("m1", "m2", "m3"), now)


def test_a_bell_survives_a_file() -> None:
    """On another clock, the time that is left stays."""
    bell = rung(Bell(), ids("m2", "m1"), TAKEN, 100, RULES)
    again = Bell.of(bell.doc(110), 5000)
    assert again == bell._replace(next_at=5020)


STEPS = st.lists(
    st.tuples(
        st.frozensets(st.sampled_from("abcd"), max_size=4), st.floats(0, 60),
        st.sampled_from([TAKEN, "busy", "typing", "dialog", "copy-mode", "gone"]),
    ),
    max_size=60,
)  # fmt: skip


@given(STEPS)
def test_whatever_happens_the_same_mail_is_not_rung_twice_before_its_time(
    steps: list[tuple[frozenset[str], float, str]],
) -> None:
    """By an account of its own: bells for a set that the last bell covered are at least 30 s apart, and 15 min after 5."""
    bell, now, last, covered, count = Bell(), 0.0, -1e9, ids(), 0
    for unread, passed, outcome in steps:
        now += passed
        bell = seen(bell, unread)
        if not covered <= unread:
            covered, count, last = ids(), 0, -1e9
        if is_due(bell, unread, now):
            if unread <= covered:
                assert now - last >= (RULES.again if count < RULES.tries else RULES.longest)
            else:
                count = 0
            bell = rung(bell, unread, outcome, now, RULES)
            covered, last = unread, now
            count += outcome == TAKEN
        elif unread and unread - covered and bell.outcome in ("", TAKEN):
            raise AssertionError("new mail was not rung for at once")
