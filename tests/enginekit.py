"""Tools for tests of the engine: runs of workflows on a real git repository.

`Office`: the engine in this process, on a clock that jumps to whatever is due next, and which can be killed at any *moment*:
before and after every record that it writes and every effect that it has.  Its workers are no processes: they begin, claim, do
what the scenario says and finish as `engine.worker` does, one after the other while the engine rests; who kills the engine harms
none.

`Shop`: the same with real processes of ``workflow``, for what only those show.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import mbox.engine.engine
import mbox.store.commit
from kit import FakeHost, FaultyDisk, Killed, make
from mbox.agents import registry
from mbox.engine import beginning, commands, control, deeds, runs, worker
from mbox.engine import inputs as inputs_of
from mbox.engine.engine import Engine
from mbox.errors import MboxError, NotYours
from mbox.format import operations, places
from mbox.format.documents import Document, compact
from mbox.git import history, plumbing, worktrees
from mbox.hosts import command as host
from mbox.liveness import departure
from mbox.opening import assemble
from mbox.store.store import Actor, Store
from mbox.system import command
from mbox.system.disk import Disk
from mbox.tasks import claims
from mbox.workflow import definition, lint, scenarios
from teamkit import BIN, end_all

TESS = Actor("user:tess")
RUN = "w1"
NEVER = 1e9
"""Seconds to the engine's next look where nothing is due: only who comes from outside can change anything then."""

TURNS = 5000
"""Looks of an engine in one test at most."""

HOSTS = """
hosts:
  alpha: {command: [alpha], family: alpha, cost: usd}
  beta: {command: [beta], family: beta, cost: usd}
phases:
  implement: [alpha, beta]
  review: [beta, alpha]
"""
"""Two makers' hosts: who writes and who looks at it are of different families."""

Answers = Mapping[str, Sequence[str]]
"""What a person says: by step, the choices by its visits; the last one repeats."""


class Idle(Exception):
    """Nothing is due, nobody works: the run goes on only by what somebody from outside does."""


class Hand:
    """A worker of the kit: what ``mbox run -- workflow work TASK`` does, a stride at a time."""

    def __init__(self, office: Office, name: str, task: str) -> None:
        self.office, self.name, self.task = office, name, task
        self.who = Actor(name)
        self.token = 0
        self.stage = "new"

    def stride(self) -> bool:
        """Go on by one stride; whether there was anything to do."""
        if self.stage == "new":
            return self.begin()
        if self.stage == "working":
            return self.finish()
        return self.stage == "staying" and self.leave()

    def begin(self) -> bool:
        """Take the name, as the supervisor does, and claim the task; False while its paths are held."""
        office, store = self.office, self.office.theirs
        if any(hand.name == self.name and hand.stage != "new" for hand in office.hands if hand is not self):
            return self.end()
        if not self.who.incarnation:
            self.who = Actor(self.name, registry.add(store, TESS, self.name, {}, new=True)["incarnation"])
        try:
            self.token = int(claims.claim_id(store, self.who, self.task, claims.ClaimRequest(start=True))["token"])
        except NotYours:
            return office.task(self.task)["status"] != "queued" and self.end()
        except MboxError:
            return self.end()
        self.stage = "working"
        return True

    def finish(self) -> bool:
        """Do what the scenario says, and say how it ended."""
        office, store = self.office, self.office.theirs
        doc = office.task(self.task)
        office.played.append((self.task, doc["order"]["attempt"]))
        worker._finish(store, self.who, doc, self.token, office.play(doc["order"]))
        self.stage = "staying"
        return True

    def leave(self) -> bool:
        """End, once nobody judges any more what was handed in."""
        return self.office.task(self.task)["status"] != "review" and self.end()

    def end(self) -> bool:
        """The supervisor gives back what is held."""
        if self.who.incarnation:
            departure.give_back(self.office.theirs, self.who, *self.who.who, operations.AGENT_END, "exit 0")
        self.office.hands.remove(self)
        return True


class Played(Engine):
    """An engine that lets the hands of its office work, or the clock jump, instead of sleeping."""

    def __init__(self, office: Office) -> None:
        super().__init__(office.store, RUN, dict(os.environ), office.ask, lambda run: office.turn())
        self.office = office

    def _rest(self, watch: object, at: int) -> None:
        self.office.rest(self.due)


class Office:
    """A store in the git repository ``root``, one run in it, its engine and its workers."""

    def __init__(self, root: Path, flow: Path, scenario: str = "", answers: Answers | None = None, hosts: str = HOSTS) -> None:
        self.root, self.flow, self.host = root, flow, FakeHost()
        self.workflow = load(flow)
        self.scenario = scenarios.load(scenario or "{}", "scenario", self.workflow)
        self.answers = dict(answers or {})
        self.hands: list[Hand] = []
        self.played: list[tuple[str, int]] = []
        """Task and attempt of every program that was run to its end."""
        self.turns = 0
        self.moments: list[str] = []
        self.at, self.deadly, self.died = -1, "", -1
        """Of the moments the one at which the engine is killed, by number or by name; at which it died last."""
        make(root, self.host).close()
        (root / ".git/info/exclude").write_text(".mailbox/\n.tasks/\n")
        (root / ".mailbox/hosts.yaml").write_text(hosts)
        self.theirs = self._opened(Disk())
        self.store = self._opened(self._disk())

    def _disk(self) -> FaultyDisk:
        self.disk = FaultyDisk()
        return self.disk

    def _opened(self, disk: Disk) -> Store:
        store = assemble(str(self.root), disk, self.host)
        store.say = lambda text: None
        return store

    # -- the run -----------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Document:
        """The run's document, as it is on disk."""
        return runs.require(self.theirs, RUN)

    def task(self, ident: str) -> Document:
        """A task's document, as it is on disk."""
        doc = self.theirs.read(places.task(ident))
        assert doc is not None, ident
        return doc

    def begin(self, inputs: Mapping[str, Any] | None = None, **wishes: Any) -> Document:
        """Begin the run, without an engine yet; twice is harmless."""
        if self.theirs.read(places.run(RUN)) is not None:
            return self.run
        given = inputs_of.checked(self.workflow, dict(inputs or {}), "--input")
        with self._watched():
            return beginning.begin(self.store, TESS, self.workflow, given, beginning.Wishes(RUN, **wishes))

    def drive(self) -> Document:
        """Be the run's engine until it has ended, stands, or waits for somebody from outside; its document."""
        with self._watched():
            try:
                return Played(self).drive()
            except Idle:
                return self.run

    def resume(self, **limits: str) -> Document:
        """What ``workflow resume`` does."""
        with self._watched():
            control.resume(self.store, TESS, RUN, limits)
        return self.drive()

    def restart(self, later: float = 1.0) -> None:
        """Another process after the one that was killed, ``later`` in seconds; none of its moments is one to be killed at."""
        self.store.close()
        self.host.advance(later)
        self.at, self.deadly = -1, ""
        self.store = self._opened(self._disk())

    def close(self) -> None:
        self.store.close()
        self.theirs.close()

    # -- moments -----------------------------------------------------------------------------------------------------

    def moment(self, name: str) -> None:
        """The engine may be killed here: from then on nothing of it reaches the disk."""
        self.moments.append(name)
        if len(self.moments) - 1 == self.at or name == self.deadly:
            self.disk.dead, self.died = True, len(self.moments) - 1
        if self.disk.dead:
            raise Killed(name)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Every record and effect of the engine's is a moment, and its workers are hands."""
        with ExitStack() as stack:
            def put(holder: Any, name: str, around: Callable[..., Any]) -> None:
                stack.enter_context(mock.patch.object(holder, name, around))

            commit, git = mbox.store.commit.commit, plumbing.Git.run

            def committed(state: Store, tx: Any) -> Any:
                said = f"{tx.header['op']} {' '.join(tx.header['on'][:2])}"
                return self._around(said, commit, state, tx) if state is self.store else commit(state, tx)

            def asked(self_: Any, *words: str, **more: Any) -> Any:
                changes = words[0] in ("update-ref", "checkout")
                return self._around(f"git {words[0]}", git, self_, *words, **more) if changes else git(self_, *words, **more)

            put(mbox.store.commit, "commit", committed)
            put(plumbing.Git, "run", asked)
            for holder, name in ((history, "push"), (deeds, "_gh"), (commands, "run"), (worktrees, "ensure")):
                put(holder, name, self._effect(name, getattr(holder, name)))
            put(command, "start_detached", self._effect("start", self.hire))
            put(mbox.engine.engine, "LOOK", NEVER)
            yield

    def _effect(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **more: self._around(name, plain, *args, **more)

    def _around(self, name: str, plain: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self.moment(f"before {name}")
        found = plain(*args, **more)
        self.moment(f"after {name}")
        return found

    def turn(self) -> None:
        """The engine looks once more; an engine that looks for ever fails the test."""
        self.turns += 1
        assert self.turns < TURNS, self.log()[-20:]

    # -- who works ---------------------------------------------------------------------------------------------------

    def hire(self, words: Sequence[str], _environ: Mapping[str, str]) -> None:
        """A worker's process was started."""
        self.hands.append(Hand(self, words[words.index("--as") + 1], words[words.index("work") + 1]))

    def rest(self, due: float) -> None:
        """The engine has nothing to do: a worker goes on, else the clock jumps to what is due."""
        self.moment("rest")
        if self.work():
            return
        left = due - self.host.mono()
        if left > NEVER / 2:
            raise Idle
        self.host.advance(max(left, 0.001))

    def work_on(self) -> None:
        """Let the workers go on as far as they can while no engine is there."""
        while self.work():
            pass

    def work(self) -> bool:
        """Let the first worker that can go on by one stride, and be last in line then; whether one could."""
        for hand in [*self.hands]:
            if hand.stride():
                if hand in self.hands:
                    self.hands.remove(hand)
                    self.hands.append(hand)
                return True
        return False

    def play(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """What a program that answers as the scenario says leaves: how the attempt ended."""
        key = f"{order['step']}/{order['item']}"
        nth = order["nth"][1 if order["item"] is not None and key in self.scenario.answers else 0]
        answer = self.scenario.answer(order["step"], order["item"], nth) or {"fail": "gave_up"}
        for path, text in answer.get("write", {}).items():
            target = Path(runs.folder(str(self.root), self.run)) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        left = {"result": answer.get("output"), "usage": answer.get("usage"), "failure": None}
        if "fail" in answer:
            left["failure"] = {"kind": answer["fail"], "detail": "as the scenario says", "reset": answer.get("reset")}
        files = {name: None if value is None else compact(value).encode() for name, value in left.items()}
        declared = order["schema"] is not None
        return host.outcome(answer.get("exit", 0), answer.get("fail") == "killed", files, declared, False, self.host.wall())

    def ask(self, question: dict[str, Any]) -> tuple[str, str] | None:
        """What the person at the terminal says; None where `answers` has nothing for the step."""
        said = self.answers.get(question["step"], ())
        visit = runs.require(self.theirs, question["run"])["visits"].get(question["step"], 1)
        return (said[min(visit, len(said)) - 1], "") if said else None

    # -- what it came to ---------------------------------------------------------------------------------------------

    def seats(self) -> list[Document]:
        """Every seat's document of the run and those that it called, by path."""
        found = []
        for run in sorted(runs.known(self.theirs)):
            folder = places.step_folder(run)
            found += [doc for name in sorted(self.theirs.names(folder)) if (doc := self.theirs.read(f"{folder}/{name}"))]
        return found

    def end(self) -> dict[str, Any]:
        """All that must be the same however often the engine was killed: how the run and each seat ended, commits and mail."""
        run = self.run
        spent = {name: run["spent"][name] for name in ("dispatches", "cost_usd", "tokens", "unknown")}
        return _plain({
            "run": [run[name] for name in ("status", "reason", "visits", "failure")], "spent": spent,
            "seats": [_seat(doc) for doc in self.seats()], "commits": commits(self.root, run["tree"]["base"]),
            "mail": sorted(self.mail()), "tasks": self.tasks(), "played": sorted(self.played),
            "agents": [[name, bool(doc["retired_at"])] for name in registry.known(self.theirs)
                       if (doc := self.theirs.read(places.agent(name)))],
        }, self.root)  # fmt: skip

    def tasks(self) -> list[Any]:
        """Each task of the run, and how it ended."""
        found = (self.theirs.read(places.task(name)) for name in places.idents(self.theirs.names(places.TASKS)))
        return sorted([doc["task_id"], doc["status"], doc["attempt_count"], doc["round"]] for doc in found if doc)

    def mail(self) -> list[list[str]]:
        """Receiver, subject and text of every letter that was ever sent, by the journal."""
        found = []
        for _, record in self.theirs.journal.records(_start(self.theirs)):
            found += [[*doc["to"], doc["subject"], doc["body"]] for doc, paths in record["put"] or ()
                      if any(path.startswith(places.INBOX) and "/new/" in path for path in paths)]  # fmt: skip
        return found

    def log(self) -> list[str]:
        """The journal in a line a record: for a failing test."""
        return [f"{record['by']}: {record['op']} {' '.join(record['on'])}: {record['why']}"
                for _, record in self.theirs.journal.records(_start(self.theirs)) if record.get("op")]  # fmt: skip


def _start(store: Store) -> Any:
    from mbox.journal.record import Tail

    return Tail(0, store.journal.segments()[0], 0)


def _seat(doc: Document) -> list[Any]:
    attempts = [[row.get(name) for name in ("n", "host", "ended", "by")] for row in doc["attempts"]]
    told = [doc[name] for name in ("run", "step", "visit", "item", "status", "failed", "output", "exit", "rounds", "edge")]
    return [*told, attempts, [[row["gate"], row["exit"]] for row in doc["gates"]]]


def _plain(value: Any, root: Path) -> Any:
    """``value`` with trees in place of the commits, whose time of day is their own."""
    text = json.dumps(value)
    for oid in set(git(root, "rev-list", "--all").split()):
        text = text.replace(oid, f"of-{git(root, 'rev-parse', f'{oid}^{{tree}}')}")
    return json.loads(text)


def load(flow: Path) -> definition.Workflow:
    """The workflow in a file that lint has nothing against."""
    name, read = definition.reader(str(flow))
    errors = [str(one) for one in lint.lint(name, read, lambda role: None) if one.level == "error"]
    assert not errors, errors
    return definition.load(name, read)


def git(folder: Path, *words: str) -> str:
    """What git says."""
    return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True).stdout.strip()


def commits(folder: Path, base: str) -> list[list[str]]:
    """Tree and whole message of each commit after ``base``, oldest first."""
    lines = git(folder, "log", "--reverse", "--format=%T%x00%B%x01", f"{base}..HEAD").split("\x01")
    return [line.strip().split("\0") for line in lines if line.strip()]


def keys(folder: Path, base: str) -> Counter[str]:
    """How many commits after ``base`` bear each step's key."""
    lines = git(folder, "log", f"--format=%(trailers:key={history.TRAILER},valueonly)", f"{base}..HEAD")
    return Counter(line for line in lines.splitlines() if line)


# -- with real processes -------------------------------------------------------------------------------------------------


class Shop:
    """A store in the git repository ``root``, driven by the command line alone."""

    def __init__(self, root: Path, flow: Path, scenario: str, environ: Mapping[str, str] | None = None) -> None:
        self.root, self.flow = root, flow
        self.scenario = root.parent / "scenario.yaml"
        self.scenario.write_text(scenario)
        self.environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "MBOX_NO_WATCHDOG": "1", **(environ or {})}
        self.call("mbox", "init")

    def call(self, *words: str | Path, fine: Sequence[int] = (0,), seconds: float = 60) -> str:
        """What a command prints."""
        done = subprocess.run([str(word) for word in words], cwd=self.root, env=self.environ, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=seconds, check=False)  # fmt: skip
        assert done.returncode in fine, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Begin the run, its engine in a process group of its own."""
        inputs = [word for given in more for word in ("--input", given)]
        return self._engine("run", str(self.flow), "--id", RUN, "--scripted", str(self.scenario), *inputs)

    def resume(self) -> subprocess.Popen[bytes]:
        """Another engine for the run."""
        return self._engine("resume", RUN)

    def _engine(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["workflow", *words], cwd=self.root, env=self.environ, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """What ``workflow show`` says of the run."""
        found: dict[str, Any] = json.loads(self.call("workflow", "show", RUN, "-o", "json"))
        return found

    def is_begun(self) -> bool:
        """Whether the run's first record is there."""
        return (self.root / places.run(RUN)).is_file()

    def close(self) -> None:
        """End whatever still runs here."""
        end_all(self.root)
