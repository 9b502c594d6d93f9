"""Reservations against a model of a few lines: what any sequence of calls must answer and leave."""

from __future__ import annotations

import re
import shutil
import tempfile
from itertools import product
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from kit import USER, FakeHost, journaled, make, register
from mbox.agents import registry
from mbox.doctor import survey
from mbox.errors import NotFound, NotYours
from mbox.opening import assemble
from mbox.reservations import guard, reserving
from mbox.reservations.conflicts import Blocked
from mbox.reservations.reserving import ReservationRequest
from mbox.store.store import Actor
from mbox.system.disk import Disk

MEANS = {
    "a": r"a(/.*)?",
    "a/x.py": r"a/x\.py(/.*)?",
    "a/*": r"a/[^/]+",
    "a/**": r"a/.+",
    "**/x.py": r"(.*/)?x\.py(/.*)?",
    "**/*.md": r"(.*/)?[^/]*\.md",
    "{a,c}/[wx].py": r"[ac]/[wx]\.py",
    "c": r"c(/.*)?",
    "c/?.py": r"c/[^/]\.py",
    "d": r"d(/.*)?",
}
"""Patterns, with what each means as a regular expression: translated by hand."""

SEGMENTS = ("a", "b", "c", "d", "x.py", "w.py", "y.md")
PATHS = ["/".join(names) for n in (1, 2, 3) for names in product(SEGMENTS, repeat=n)]
MATCHED = {
    pattern: frozenset(path for path in PATHS if re.fullmatch(regex, path))
    for pattern, regex in MEANS.items()
}
"""All the paths of a small world that each matches; enough for any two that meet to meet here."""

ASKED = ["a", "a/x.py", "a/y.md", "a/b/x.py", "b", "c/x.py", "c/w.py", "d", "x.py/y.md"]
NAMES = ("ann", "bob", "cyd")


class Held(NamedTuple):
    """The model's reservation: who, which patterns, shared, until when, how long a renewal lasts."""

    agent: str
    patterns: frozenset[str]
    shared: bool
    until: float
    lease: float


class Reservations(RuleBasedStateMachine):
    """Three agents reserve, renew, give back, and let time pass."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.host = FakeHost()
        make(Path(self.folder), self.host).close()
        Path(self.folder, ".mailbox/config.yaml").write_text("durability: fast\n")
        self.store = assemble(self.folder, Disk(), self.host)
        self.store.transact(register("cyd"), USER)
        self.held: dict[str, Held] = {}
        self.given_back: dict[str, str] = {}

    def teardown(self) -> None:
        """The store is clean at the end, whatever happened."""
        self.store.catch_up()
        assert survey.survey(self.store).clean
        self.store.close()
        shutil.rmtree(self.folder)

    # -- the model

    def now(self) -> float:
        return self.host.m

    def live(self) -> dict[str, Held]:
        return {rid: one for rid, one in self.held.items() if one.until > self.now()}

    def touched(self, agent: str) -> None:
        """``agent`` ran a command: what it holds and has used a third of is renewed."""
        for rid, one in self.live().items():
            if one.agent == agent and one.until - self.now() <= one.lease * 2 / 3:
                self.held[rid] = one._replace(until=self.now() + one.lease)

    def in_the_way(self, agent: str, wanted: set[str], shared: bool) -> bool:
        paths = set[str]().union(*(MATCHED[pattern] for pattern in wanted))
        return any(
            one.agent != agent and not (shared and one.shared) and not paths.isdisjoint(MATCHED[mine])
            for one in self.live().values()
            for mine in one.patterns
        )

    # -- what happens

    @rule(
        target=ids, agent=st.sampled_from(NAMES), shared=st.booleans(),
        seconds=st.sampled_from([30.0, 60.0, 200.0]),
        wanted=st.sets(st.sampled_from(sorted(MEANS)), min_size=1, max_size=3),
        dry_run=st.sampled_from([False] * 4 + [True]),
    )  # fmt: skip
    def reserve(self, agent: str, shared: bool, seconds: float, wanted: set[str], dry_run: bool) -> object:
        """Taken, renewed where it is held already, or refused: as the model says."""
        mode = ReservationRequest(sorted(wanted), seconds, shared)
        same = [
            rid
            for rid, one in self.live().items()
            if (one.agent, one.shared) == (agent, shared) and wanted <= one.patterns
        ]
        before = len(journaled(self.store))
        try:
            doc = reserving.reserve(self.store, Actor(agent, 1, dry_run), mode)
        except Blocked:
            assert not same
            assert self.in_the_way(agent, wanted, shared)
            if not dry_run:
                self.touched(agent)
            return multiple()
        rid = doc["reservation_id"]
        assert set(doc["patterns"]) >= wanted
        if same:
            assert doc["already"]
            assert rid in same
        else:
            assert not self.in_the_way(agent, wanted, shared)
            assert rid not in self.held
            assert len(journaled(self.store)) > before or dry_run
        if dry_run:
            assert len(journaled(self.store)) == before
            return multiple()
        if same:
            left = self.held[rid].until
            self.held[rid] = self.held[rid]._replace(until=max(left, self.now() + seconds), lease=seconds)
        else:
            self.held[rid] = Held(agent, frozenset(wanted), shared, self.now() + seconds, seconds)
        self.touched(agent)
        return multiple() if same else rid

    @rule(agent=st.sampled_from(NAMES), rid=ids)
    def renew(self, agent: str, rid: str) -> None:
        """Only the holder of what is live can."""
        one = self.live().get(rid)
        try:
            reserving.renew(self.store, Actor(agent, 1), [rid], [])
        except NotYours:
            assert one is None or one.agent != agent
        else:
            assert one is not None
            assert one.agent == agent
            self.held[rid] = one._replace(until=max(one.until, self.now() + one.lease))
        self.touched(agent)

    @rule(agent=st.sampled_from(NAMES), rid=consumes(ids))
    def release(self, agent: str, rid: str) -> None:
        """The holder can, and may say it twice; nobody else changes anything."""
        one = self.live().get(rid)
        try:
            rows = reserving.release(self.store, Actor(agent, 1), [rid], [])
        except NotYours:
            assert one is None or one.agent != agent
            assert self.given_back.get(rid) != agent
        else:
            assert one is None or one.agent == agent
            assert ("already" in rows[0]) == (one is None)
            assert one is not None or self.given_back[rid] == agent
            if one is not None:
                del self.held[rid]
                self.given_back[rid] = agent
        self.touched(agent)

    @rule(agent=st.sampled_from(NAMES), pattern=st.sampled_from(sorted(MEANS)))
    def release_pattern(self, agent: str, pattern: str) -> None:
        """One pattern goes out of all that hold it; a reservation without patterns is gone."""
        mine = [rid for rid, one in self.live().items() if one.agent == agent and pattern in one.patterns]
        try:
            rows = reserving.release(self.store, Actor(agent, 1), [], [pattern])
        except NotYours:
            assert not mine
            assert self.in_the_way(agent, {pattern}, False)
        except NotFound:
            assert not mine
            assert not self.in_the_way(agent, {pattern}, False)
        else:
            assert sorted(row["reservation_id"] for row in rows) == sorted(mine)
            for rid in mine:
                rest = self.held[rid].patterns - {pattern}
                self.held[rid] = self.held[rid]._replace(patterns=rest)
                if not rest:
                    del self.held[rid]
                    self.given_back[rid] = agent
        self.touched(agent)

    @rule(seconds=st.sampled_from([0.5, 15.0, 45.0, 130.0]))
    def pass_time(self, seconds: float) -> None:
        """Leases run out by the clock alone."""
        self.host.advance(seconds)

    @rule(agent=st.sampled_from(NAMES))
    def anything(self, agent: str) -> None:
        """Any command of an agent renews what it holds."""
        self.store.transact(registry.still_current, Actor(agent, 1))
        self.touched(agent)

    @rule()
    def lose_the_index(self) -> None:
        """The index can go at any time."""
        self.store.drop_index()

    # -- what must hold

    @invariant()
    def the_guard_agrees(self) -> None:
        """For each agent and path: own, held or free, as the model has it."""
        live = self.live().values()
        for agent in NAMES:
            rows = guard.check(self.store, Actor(agent, 1), ASKED)
            for path, row in zip(ASKED, rows, strict=True):
                holders = {one.agent for one in live if any(path in MATCHED[text] for text in one.patterns)}
                expected = "own" if agent in holders else "held" if holders else "free"
                assert row["state"] == expected, (agent, path)

    @invariant()
    def what_stands_is_what_the_model_holds(self) -> None:
        """The live documents are the model's reservations, pattern by pattern."""
        rows = [row for row in guard.listed(self.store) if "state" not in row]
        assert {row["reservation_id"]: set(row["patterns"]) for row in rows} == {
            rid: set(one.patterns) for rid, one in self.live().items()
        }


Reservations.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestReservations = Reservations.TestCase
