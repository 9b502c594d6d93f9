"""``mbox run``: real wrappers over real programs, ended, killed, stopped, taken over; what they held goes back."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kit import FakeHost, make
from mbox import opening
from mbox.agents import presence
from mbox.errors import LockTimeout, StoreError
from mbox.format import places
from mbox.liveness import supervisor
from mbox.store.store import Actor
from mbox.system.disk import Disk
from mbox.system.processes import identity
from teamkit import ended, readable, until

BIN = Path(sys.executable).parent
CONFIG = """
heartbeat: 0.2s
dead_after: 1.5s
renew_every: 0.3s
renewed_lease: 2s
watchdog_scan: 0.3s
stop_grace: 0.5s
"""


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with ann and bob whose times are short."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    (tmp_path / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=tmp_path, check=True)
    return tmp_path


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Start a wrapper in the background; it and its program's group are killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, name: str = "ann", options: tuple[str, ...] = ("--no-watchdog",)) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [str(BIN / "mbox"), "run", "--as", name, *options, "--", *words], cwd=root, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        )  # fmt: skip
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
    for beat in (told(root, "ann"), told(root, "bob")):
        if beat:
            try:
                os.killpg(beat["child"], signal.SIGKILL)
            except ProcessLookupError:
                pass
    for one in started:
        one.communicate(timeout=20)


def told(root: Path, name: str) -> dict[str, Any] | None:
    """The heartbeat."""
    try:
        beat: dict[str, Any] = json.loads((root / f".mailbox/heartbeat/{name}").read_text())
    except FileNotFoundError:
        return None
    return beat


def line(one: subprocess.Popen[str]) -> str:
    """The next line that the program prints."""
    assert one.stdout is not None
    return one.stdout.readline().strip()


def records(run: Run, root: Path, *words: str) -> list[dict[str, Any]]:
    """Rows of the log."""
    rows: list[dict[str, Any]] = json.loads(run("mbox", "log", "--limit", "0", *words, cwd=root, check=True).stdout)
    return rows


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_the_program_is_a_new_incarnation_and_its_end_is_journaled(root: Path, run: Run) -> None:
    """Environment, exit status, arguments as they are, and what it held is free again."""
    run("task", "add", "a job", "--id", "job", "--path", "a/**", cwd=root, check=True)
    words = ["it's", '"$(touch hacked)"', "a\nb", "--", "-x", "$HOME"]
    code = (
        "import json,os,sys\n"
        "seen = {k: v for k, v in os.environ.items() if k.startswith('MBOX_') and k not in ('MBOX_LONG', 'MBOX_REAL_CLIENTS')}\n"
        "print(json.dumps([sys.argv[1:], seen]), flush=True)\nos.system('task claim >/dev/null')\nsys.exit(7)"
    )
    path = f"{BIN}:{os.environ['PATH']}"
    done = run("mbox", "run", "--as", "ann", "--no-watchdog", "--", sys.executable, "-c", code, *words,
               cwd=root, env={"PATH": path})  # fmt: skip
    assert done.returncode == 7, done.stderr
    arguments, environ = json.loads(done.stdout)
    assert arguments == words
    assert environ == {"MBOX_AGENT": "ann", "MBOX_ROOT": str(root), "MBOX_INCARNATION": "2"}
    assert not (root / "hacked").exists()
    last = records(run, root)[-1]
    assert (last["op"], last["by"], last["on"][:2]) == ("agent.end", "ann", ["ann", "job"])
    assert "exited with 7 after" in last["why"]
    task = json.loads(run("task", "show", "job", "--full", cwd=root, check=True).stdout)
    assert (task["status"], task["attempt_count"]) == ("queued", 1)
    assert json.loads(run("reserve", "list", cwd=root, check=True).stdout) == []
    assert json.loads(run("mbox", "agent", "show", "ann", cwd=root, check=True).stdout)["state"] == "ended"
    assert run("mbox", "doctor", cwd=root).returncode == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [(["sh", "-c", "kill -9 $$"], 137), (["true"], 0), (["/nowhere/x"], 127), (["/etc/passwd"], 126)],
)
def test_the_exit_status_is_the_programs(root: Path, run: Run, words: list[str], status: int) -> None:
    """128+N for a signal, 126 and 127 as shells say it."""
    assert run("mbox", "run", "--as", "ann", "--no-watchdog", "--", *words, cwd=root).returncode == status
    assert records(run, root)[-1]["op"] == "agent.end"


def test_wrong_calls(root: Path, run: Run) -> None:
    """No agent, an unknown one, no command."""
    assert run("mbox", "run", "--", "true", cwd=root).returncode == 2
    assert run("mbox", "run", "--as", "ann", cwd=root).returncode == 2
    unknown = run("mbox", "run", "--as", "anna", "--", "true", cwd=root)
    assert (unknown.returncode, "did you mean ann" in unknown.stderr) == (3, True)


def test_what_stands_before_the_program(root: Path, run: Run) -> None:
    """``--sandbox`` words are put in front, one by one."""
    done = run("mbox", "run", "--as", "ann", "--no-watchdog", "--sandbox", "env", "--sandbox", "BOX=a b", "--",
               "sh", "-c", 'echo "$BOX"', cwd=root)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "a b\n")


def test_it_beats_and_renews(root: Path, run: Run, start: Start) -> None:
    """A lease of 2 s outlives 4 s under the wrapper; the agent is alive; the beat names the program."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    one = start("sh", "-c", "task claim >/dev/null && echo claimed && cat /dev/zero >/dev/null")
    assert line(one) == "claimed"
    first = told(root, "ann")
    assert first is not None and runs(first["child"]) and first["pid"] == one.pid
    beats = root / places.HEARTBEATS
    until(lambda: (told(root, "ann") or first)["mono"] > first["mono"] + 4, "four seconds of beats", at=beats)
    assert json.loads(run("task", "list", "--owner", "ann", cwd=root, check=True).stdout)[0]["status"] == "claimed"
    assert run("task", "claim", "job", "--as", "bob", cwd=root).returncode == 5
    assert "alive" in run("task", "claim", "job", "--as", "bob", cwd=root).stderr
    one.terminate()
    assert one.wait(20) == 128 + signal.SIGTERM
    assert "was stopped (SIGTERM)" in records(run, root)[-1]["why"]


def test_all_leases_are_short_under_the_wrapper(root: Path, run: Run) -> None:
    """Task, its reservation, a reservation and a review: 2 s each, because they are renewed; not what is asked for."""
    run("task", "add", "a job", "--id", "job", "--path", "a/**", cwd=root, check=True)
    run("task", "add", "of bob", "--id", "seen", cwd=root, check=True)
    run("task", "claim", "seen", "--as", "bob", cwd=root, check=True)
    run("task", "submit", "seen", "--as", "bob", cwd=root, check=True)
    script = "(task claim job; task review seen; reserve 'b/**'; reserve --ttl 7m 'c/**') >/dev/null; " \
        "cat .tasks/leases/*.json .mailbox/leases/*.json"  # fmt: skip
    path = f"{BIN}:{os.environ['PATH']}"
    done = run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "bash", "-c", script, cwd=root, env={"PATH": path})
    found = [json.loads("{" + one)["seconds"] for one in done.stdout.split("{")[1:]]
    assert sorted(found) == [2, 2, 2, 2, 420], (done.stdout, done.stderr)


def test_sigterm_ends_the_whole_group_also_a_stubborn_and_a_stopped_one(root: Path, start: Start) -> None:
    """Children that ignore SIGTERM are seen to be dead before the wrapper ends."""
    code = "trap '' TERM; sleep 1000 & echo $!; echo $$; kill -STOP $$"
    one = start("bash", "-c", code)
    pids = [int(line(one)), int(line(one))]
    one.terminate()
    one.wait(20)
    assert not any(map(runs, pids))


def test_background_children_do_not_outlive_the_program(root: Path, start: Start) -> None:
    """The program ends in order; what it left in its group is ended too."""
    one = start("bash", "-c", "trap '' TERM; (trap '' TERM; sleep 1000) & echo $!; exit 3")
    left = int(line(one))
    assert one.wait(20) == 3
    assert not runs(left)


def test_signals_are_passed_on(root: Path, start: Start) -> None:
    """SIGUSR1 and SIGINT reach the program; it decides."""
    one = start("bash", "-c", "trap 'echo usr1' USR1; trap 'echo int; exit 9' INT; echo up; while :; do sleep 0.05; done")
    assert line(one) == "up"
    one.send_signal(signal.SIGUSR1)
    assert line(one) == "usr1"
    one.send_signal(signal.SIGINT)
    assert line(one) == "int"
    assert one.wait(20) == 9


def test_a_second_wrapper_is_refused_or_takes_over(root: Path, run: Run, start: Start) -> None:
    """Refused with the pid of the first; with --take-over that ends, and its task goes back."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    one = start("sh", "-c", "task claim >/dev/null; echo up; exec sleep 1000")
    assert line(one) == "up"
    beat = told(root, "ann")
    assert beat is not None
    refused = run("mbox", "run", "--as", "ann", "--", "true", cwd=root)
    assert refused.returncode == 5 and str(one.pid) in refused.stderr and "--take-over" in refused.stderr
    assert runs(beat["child"])
    taken = run("mbox", "run", "--as", "ann", "--take-over", "--no-watchdog", "--", "true", cwd=root)
    assert taken.returncode == 0, taken.stderr
    assert not runs(beat["child"])
    assert one.wait(20) == 5
    assert one.stderr is not None and "taken the name ann over" in one.stderr.read()
    state = json.loads((root / ".mailbox/status/ann.json").read_text())
    assert (state["state"], records(run, root)[-1]["by"]) == ("ended", "ann")
    task = json.loads(run("task", "show", "job", "--full", cwd=root, check=True).stdout)
    assert (task["status"], task["attempt_count"]) == ("queued", 1)


def test_whoever_lost_the_name_is_ended(root: Path, run: Run, start: Start) -> None:
    """``agent add --new`` from elsewhere: the wrapper notices, ends its program, gives back what it held, exits 5."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    one = start("sh", "-c", "task claim >/dev/null; echo $$; exec sleep 1000")
    pid = int(line(one))
    run("mbox", "agent", "add", "ann", "--new", cwd=root, check=True)
    assert one.wait(20) == 5
    assert not runs(pid)
    assert one.stderr is not None and "incarnation" in one.stderr.read()
    last = records(run, root)[-1]
    assert (last["op"], last["on"]) == ("agent.end", ["ann", "job"]) and "is in incarnation 3 now" in last["why"]
    assert json.loads((root / ".mailbox/status/ann.json").read_text())["state"] == "idle", "that is another's now"


def test_a_killed_wrapper_leaves_a_dead_heartbeat_and_the_next_run_cleans_up(root: Path, run: Run, start: Start) -> None:
    """SIGKILL of the wrapper: dead at once, although its program goes on; the next run ends that first."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    one = start("sh", "-c", "task claim >/dev/null; echo $$; exec sleep 1000")
    pid = int(line(one))
    one.kill()
    one.wait()
    assert json.loads(run("mbox", "agent", "show", "ann", cwd=root, check=True).stdout)["state"] == "dead"
    assert runs(pid)
    done = run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "task", "claim", "-o", "id", cwd=root,
               env={"PATH": f"{BIN}:{os.environ['PATH']}"})  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "job"), done.stderr
    assert not runs(pid)
    ops = [row["op"] for row in records(run, root)]
    assert ops[-4:] == ["agent.new", "agent.dead", "task.claim", "agent.end"]


def test_a_pid_that_was_given_out_again_is_neither_alive_nor_killed(root: Path, run: Run) -> None:
    """The heartbeat names a living process with another start time: dead, and that process is left alone."""
    bystander = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        run("mbox", "agent", "list", cwd=root)  # so that the wrapper starts in another clock tick
        run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "true", cwd=root, check=True)
        beat = told(root, "ann")
        assert beat is not None
        beat.update(pid=bystander.pid, child=bystander.pid, mono=time.monotonic())
        (root / ".mailbox/heartbeat/ann").write_text(json.dumps(beat, indent=2) + "\n")
        assert json.loads(run("mbox", "agent", "show", "ann", cwd=root, check=True).stdout)["state"] == "ended"
        assert run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "true", cwd=root).returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_stopped_holder_longer_than_its_lease_comes_back_to_nothing(root: Path, run: Run, start: Start) -> None:
    """SIGSTOP of wrapper and program: the task is another's; the returning holder's ``done`` exits 5, bob's goes on.

    Nobody else's lease falls meanwhile.
    """
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    os.mkfifo(root / "go")
    go = os.open(root / "go", os.O_RDWR)  # opened so, neither end waits for the other
    script = "task claim -o json; read -r <go; task done job; echo status $?; exec sleep 1000"
    one = start("bash", "-c", script)
    token = json.loads(line(one))["token"]
    beat = told(root, "ann")
    assert beat is not None
    run("task", "add", "of bob", "--id", "kept", "--path", "kept/**", cwd=root, check=True)
    other = start("bash", "-c", "task claim kept -o json; exec sleep 1000", name="bob")
    kept = json.loads(line(other))["token"]
    for group in (one.pid, beat["child"]):
        os.killpg(group, signal.SIGSTOP)
    taken = run("task", "claim", "job", "--as", "bob", "--wait", "20s", cwd=root)
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["token"] > token
    os.write(go, b"\n")
    for group in (beat["child"], one.pid):
        os.killpg(group, signal.SIGCONT)
    assert line(one) == "status 5"
    os.close(go)
    task = json.loads(run("task", "show", "job", "--full", cwd=root, check=True).stdout)
    assert (task["status"], task["owner"], task["attempt_count"]) == ("claimed", "bob", 1)
    assert run("task", "done", "job", "--as", "bob", cwd=root).returncode == 0
    assert run("task", "done", "kept", "--as", "bob", "--token", str(kept), cwd=root).returncode == 0
    assert not [row for row in records(run, root) if row["op"].endswith(".expire") and "kept" in row["on"]]
    for wrapper in (one, other):
        wrapper.terminate()


def test_a_watchdog_is_started_at_once_where_none_is(root: Path, start: Start) -> None:
    """Before there is a second look there is one; it holds the lock, and SIGTERM ends it although wrappers block that."""
    config = root / places.CONFIG
    config.write_text(config.read_text().replace("watchdog_scan: 0.3s", "watchdog_scan: 1h"))
    one = start("sleep", "1000", options=())
    pid = int(json.loads(until(lambda: _read(root / places.WATCHDOG), "its status", at=root / places.CACHE))["pid"])
    try:
        with pytest.raises(BlockingIOError), open(root / places.WATCHDOG_LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert os.getsid(pid) not in (os.getsid(one.pid), os.getsid(0))
        one.terminate()
        one.wait(20)
        os.kill(pid, signal.SIGTERM)
        ended(pid)
    finally:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


# -- inside the process --------------------------------------------------------------------------------------------


def wrap(root: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``words`` as ann under a wrapper in a process whose ``order`` and modules ``code`` changes first."""
    script = f"""
import os, signal, sys
from mbox import opening
from mbox.agents import presence
from mbox.liveness import supervisor as wrapper
from mbox.store import mutex as locks
from mbox.store.store import Actor
store = opening.open_store({str(root)!r}, "/")
order = wrapper.Order(sys.argv[1:])
{code}
sys.exit(wrapper.run(store, Actor("user:x"), "ann", order, os.environ))
"""
    return subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, timeout=30)


def read(path: Path) -> bytes:
    """What is there; nothing where the process is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        ([False, False, False, True, True, True], ["look", "start", "look", "look", "start"]),
        ([True, False, True, False, False, True], ["look", "look", "look", "look", "look", "start"]),
    ],
)
def test_the_first_look_starts_a_watchdog_later_ones_only_two_in_a_row(
    root: Path, looks: list[bool], wanted: list[str]
) -> None:
    """Later, one look without a watchdog is none too many; a failure to start one harms nobody."""
    code = f"""
looks = iter([*{looks}, True, True, True])
locks.is_held = lambda *_: print("look", flush=True) or next(looks)
def watchdog():
    print("start", flush=True)
    raise OSError("no memory")
order = order._replace(watchdog=watchdog)
"""
    done = wrap(root, code, "sleep", "2")
    said = done.stdout.split()
    assert said[: len(wanted)] == wanted, (done.stdout, done.stderr)
    assert (done.returncode, said.count("start")) == (0, wanted.count("start"))


def test_a_wrapper_that_is_killed_before_its_first_beat_leaves_no_program(root: Path) -> None:
    """The program starts only when a beat names it, because nobody could find it otherwise."""
    done = wrap(root, "presence.beat = lambda *_: os.kill(os.getpid(), signal.SIGKILL)", "touch", str(root / "started"))
    assert done.returncode == -signal.SIGKILL
    mine = os.fsencode(root / "started")
    until(lambda: not any(mine in read(path) for path in Path("/proc").glob("[0-9]*/cmdline")), "the end of its child")
    assert not (root / "started").exists()


def test_a_wrapper_that_fails_ends_its_program_first(root: Path, run: Run) -> None:
    """An error that nobody thought of: the program does not go on alone, and the journal says why."""
    code = "wrapper._still_mine = lambda tx: 1 / 0"
    done = wrap(root, code, "sh", "-c", "echo $$; exec sleep 1000")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert not runs(int(done.stdout))
    last = records(run, root)[-1]
    assert last["op"] == "agent.end" and "its wrapper failed: ZeroDivisionError" in last["why"]


class Lived:
    """A wrapper in this process, on a clock that moves only when told; its program is this process."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = FakeHost()
        make(root, self.host).close()
        self.store = opening.assemble(str(root), Disk(), self.host)
        self.said: list[str] = []
        self.store.say = self.said.append
        self.wrapper = supervisor._Wrapper(self.store, Actor("ann", 1), supervisor.Order(["x"]), {})
        self.wrapper.leader = identity(os.getpid())
        self.ages: list[float] = []
        self.left = 0
        monkeypatch.setattr(signal, "sigtimedwait", self.slept)
        monkeypatch.setattr(self.wrapper, "_heard", lambda info: None if self.left else 0)

    def slept(self, watched: object, seconds: float) -> None:
        """No signal comes, the time passes; how old the beat is then."""
        self.host.advance(seconds)
        self.left -= 1
        if beat := presence.heartbeat(self.store, "ann"):
            self.ages.append(self.host.mono() - beat["mono"])

    def live(self, waits: int) -> list[str]:
        """Let it wait so many times; what it said."""
        self.said.clear()
        self.left = waits
        self.wrapper._keep()
        return self.said


def test_a_running_wrappers_beat_is_never_older_than_two_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last beat is fresh, and names a live wrapper: its own."""
    lived = Lived(tmp_path, monkeypatch)
    assert lived.live(200) == []
    config = lived.store.config
    assert len(lived.ages) >= 199 and max(lived.ages) <= 2 * config.heartbeat < config.dead_after
    assert lived.host.mono() > 1000 + 10 * config.dead_after


@pytest.mark.parametrize(
    ("heartbeats", "wanted"), [(1.0, ["beat"]), (1.4, ["beat"]), (1.6, ["renew", "beat"]), (9.0, ["renew", "beat"])]
)
def test_a_wrapper_that_stood_still_renews_before_it_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heartbeats: float, wanted: list[str]
) -> None:
    """Its old beat is what tells everybody of the pause; a beat that is late by less than half of one is no pause."""
    lived, done = Lived(tmp_path, monkeypatch), list[str]()
    monkeypatch.setattr(lived.wrapper, "_renew", lambda: done.append("renew"))
    monkeypatch.setattr(presence, "beat", lambda *_: done.append("beat"))
    for _ in range(2):
        done.clear()
        lived.host.advance(heartbeats * lived.store.config.heartbeat)
        lived.wrapper._beat()
        assert done == wanted


def test_what_a_wrapper_cannot_do_is_said_once_while_it_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat, and a renewal, that fail: a line each with the cause; another cause, or the same again later, is another."""
    lived = Lived(tmp_path, monkeypatch)
    put, transact = lived.store.put_ephemeral, lived.store.transact

    def full(path: str, data: bytes) -> None:
        raise OSError(28, "No space left on device", path)

    def unusable(*_: object) -> None:
        raise StoreError("the journal is gone")

    monkeypatch.setattr(lived.store, "put_ephemeral", full)
    monkeypatch.setattr(lived.store, "transact", unusable)
    beat, renewed = sorted(lived.live(60), reverse=True), "what ann holds could not be renewed: the journal is gone"
    assert beat[0] == renewed and len(beat) == 2
    assert "the heartbeat of ann could not be written" in beat[1] and "No space left" in beat[1]
    assert lived.live(60) == []
    monkeypatch.setattr(lived.store, "put_ephemeral", put)
    assert lived.live(60) == []
    monkeypatch.setattr(lived.store, "put_ephemeral", full)
    assert lived.live(60) == [beat[1]]
    monkeypatch.setattr(lived.store, "put_ephemeral", put)
    monkeypatch.setattr(lived.store, "transact", transact)
    assert lived.live(60) == []


def test_a_lock_that_is_not_had_twice_in_a_row_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once is nothing: a lease outlives two renewals.  Twice in a row, and what it holds may run out."""
    lived = Lived(tmp_path, monkeypatch)
    transact = lived.store.transact
    busy = iter([True, False, True, False, True, True, True, *[False] * 1000])

    def sometimes(*given: Any) -> Any:
        if next(busy):
            raise LockTimeout("held by pid 7 (stopped)")
        return transact(*given)

    monkeypatch.setattr(lived.store, "transact", sometimes)
    assert lived.live(400) == ["what ann holds could not be renewed: held by pid 7 (stopped)"]


def test_a_beat_of_the_program_leaves_the_wrappers_alone(root: Path, start: Start) -> None:
    """``mbox agent beat`` under a wrapper: the heartbeat still names the program that is to be ended."""
    one = start("bash", "-c", "mbox agent beat >/dev/null; echo beaten; exec sleep 1000")
    assert line(one) == "beaten"
    beat = told(root, "ann")
    assert beat is not None and (beat["pid"], runs(beat["child"])) == (one.pid, True)


def test_the_pids_of_another_namespace_are_not_looked_up_here(root: Path, run: Run) -> None:
    """The beat of a wrapper in a container: alive while it beats, whatever has that pid here."""
    run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "true", cwd=root, check=True)
    beat = told(root, "ann")
    assert beat is not None
    for pidns, state in ((beat["pidns"], "ended"), ("4026539999", "alive")):
        beat.update(pidns=pidns, mono=time.monotonic() + 60)
        (root / ".mailbox/heartbeat/ann").write_text(json.dumps(beat))
        assert json.loads(run("mbox", "agent", "show", "ann", cwd=root, check=True).stdout)["state"] == state


# -- in a terminal -------------------------------------------------------------------------------------------------


class Terminal:
    """A process in a session of its own, with a terminal that a test types into."""

    def __init__(self, root: Path, *words: str) -> None:
        self.seen = b""
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(root)
            os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
            os.execvp(words[0], words)

    def type(self, keys: bytes) -> None:
        """As a person does."""
        os.write(self.fd, keys)

    def wait_for(self, word: bytes) -> None:
        """Until ``word`` is shown."""
        end = time.monotonic() + 20
        while word not in self.seen:
            assert readable(self.fd, max(0.0, end - time.monotonic())), (word, self.seen)
            self.seen += os.read(self.fd, 4096)

    def wait(self) -> int:
        """The exit status."""
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        """Hang up."""
        os.close(self.fd)
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(root: Path) -> Iterator[Callable[..., Terminal]]:
    """Start words in a terminal; whatever is left is killed afterwards."""
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(root, *words))
        return opened[-1]

    yield start
    beat = told(root, "ann")
    for one in opened:
        one.close()
    for pid in (beat["pid"], -beat["child"]) if beat else ():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


RUN = ("mbox", "run", "--as", "ann", "--no-watchdog", "--")


def quoted(script: str) -> str:
    """A shell's words for a program under the wrapper."""
    return shlex.join([*RUN, "bash", "-c", script])


FOREGROUND = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # a shell's trap can come between its look and its read(2)
print(os.getpgrp(), os.tcgetpgrp(0), flush=True)
print("got", sys.stdin.readline(), flush=True)
signal.sigwait([signal.SIGINT])
print("interrupted", flush=True)
sys.exit(4)
"""


def test_in_a_terminal_the_program_has_the_foreground(terminal: Callable[..., Terminal]) -> None:
    """It reads what is typed, Ctrl-C is its own to handle, and Ctrl-Z does nothing where no shell is."""
    one = terminal(*RUN, sys.executable, "-c", FOREGROUND)
    one.wait_for(b"\n")
    group, front = one.seen.split()[:2]
    assert group == front and int(group) != one.pid
    one.type(b"\x1a")
    one.type(b"hello\n")
    one.wait_for(b"got hello")
    one.type(b"\x03")
    one.wait_for(b"interrupted")
    assert one.wait() == 4


def test_a_shell_stops_and_continues_it_as_one_job(terminal: Callable[..., Terminal]) -> None:
    """Ctrl-Z gives the terminal back to the shell; ``fg`` gives it to the program again; at the end the shell has it."""
    job = quoted('echo up; read -r x; echo "got $x"')
    one = terminal("bash", "-c", f"set -m; {job}; echo stopped $?; read -r y; echo shell $y; fg; echo ended $?; read -r z")
    one.wait_for(b"up")
    one.type(b"\x1a")
    one.wait_for(b"stopped 148")
    one.type(b"mine\n")
    one.wait_for(b"shell mine")
    one.type(b"yours\n")
    one.wait_for(b"got yours")
    one.wait_for(b"ended 0")
    one.type(b"bye\n")
    assert one.wait() == 0


def test_in_the_background_it_waits_for_the_terminal_and_takes_no_time(
    root: Path, terminal: Callable[..., Terminal]
) -> None:
    """A job that reads in the background stops, wrapper and all, until it is in front."""
    job = quoted('read -r x; echo "got $x"')
    one = terminal("bash", "-c", f"set -m; {job} & read -r y; echo shell $y; fg; echo ended $?")
    beat = until(lambda: told(root, "ann"), "its beat", at=root / places.HEARTBEATS)
    until(lambda: state(beat["pid"])[0] == "T" and state(beat["child"])[0] == "T", "both are stopped")
    before = state(beat["pid"])[1]
    time.sleep(0.5)  # as long as is measured
    assert state(beat["pid"])[1] - before <= 1
    one.type(b"mine\n")
    one.wait_for(b"shell mine")
    one.type(b"yours\n")
    one.wait_for(b"got yours")
    one.wait_for(b"ended 0")
    assert one.wait() == 0


def state(pid: int) -> tuple[str, int]:
    """State letter, and clock ticks of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def test_ctrl_c_reaches_a_program_whose_stdin_is_a_file(terminal: Callable[..., Terminal]) -> None:
    """Then the wrapper is in front, and passes on what the terminal sends."""
    script = "trap 'echo interrupted; exit 4' INT; echo up; while :; do sleep 0.05; done"
    one = terminal("bash", "-c", f"set -m; {quoted(script)} </dev/null; echo ended $?")
    one.wait_for(b"up")
    one.type(b"\x03")
    one.wait_for(b"interrupted")
    one.wait_for(b"ended 4")


def test_a_terminal_that_hangs_up_ends_it(root: Path, run: Run, terminal: Callable[..., Terminal]) -> None:
    """A closed window: the group is ended, although it ignores that, and everything goes back."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    one = terminal(*RUN, "bash", "-c", "trap '' HUP TERM; task claim >/dev/null; echo up; while :; do sleep 0.05; done")
    one.wait_for(b"up")
    beat = told(root, "ann")
    assert beat is not None
    os.close(one.fd)
    one.fd = os.open(os.devnull, os.O_RDONLY)
    assert one.wait() == 128 + signal.SIGKILL
    assert not runs(beat["child"])
    last = records(run, root)[-1]
    assert (last["op"], last["on"]) == ("agent.end", ["ann", "job"]) and "SIGHUP" in last["why"]
