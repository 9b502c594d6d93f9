"""``mbox run``: real wrappers over real programs, ended, killed, stopped, taken over; what they held goes back."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox import places

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


def until(look: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """What ``look`` finds, waited for."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return found


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
    code = "import json,os,sys;print(json.dumps([sys.argv[1:],{k:v for k,v in os.environ.items() if k.startswith('MBOX_')}]));" \
        "os.system('task claim >/dev/null');sys.exit(7)"  # fmt: skip
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
    assert json.loads(run("mbox", "agent", "show", "ann", cwd=root, check=True).stdout)["state"] == "dead"
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
    until(lambda: (told(root, "ann") or first)["mono"] > first["mono"] + 4, "four seconds of beats")
    assert json.loads(run("task", "list", "--owner", "ann", cwd=root, check=True).stdout)[0]["status"] == "claimed"
    assert run("task", "claim", "job", "--as", "bob", cwd=root).returncode == 5
    assert "alive" in run("task", "claim", "job", "--as", "bob", cwd=root).stderr
    one.terminate()
    assert one.wait(20) == 128 + signal.SIGTERM
    assert "was stopped (SIGTERM)" in records(run, root)[-1]["why"]


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
    one.wait(20)
    task = json.loads(run("task", "show", "job", "--full", cwd=root, check=True).stdout)
    assert (task["status"], task["attempt_count"]) == ("queued", 1)


def test_whoever_lost_the_name_is_ended(root: Path, run: Run, start: Start) -> None:
    """``agent add --new`` from elsewhere: the wrapper notices, ends its program, exits 5."""
    one = start("sh", "-c", "echo $$; exec sleep 1000")
    pid = int(line(one))
    run("mbox", "agent", "add", "ann", "--new", cwd=root, check=True)
    assert one.wait(20) == 5
    assert not runs(pid)
    assert one.stderr is not None and "incarnation" in one.stderr.read()


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
    assert ops[-4:] == ["agent.dead", "agent.new", "task.claim", "agent.end"]


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
        assert json.loads(run("mbox", "agent", "show", "ann", cwd=root, check=True).stdout)["state"] == "dead"
        assert run("mbox", "run", "--as", "ann", "--no-watchdog", "--", "true", cwd=root).returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_stopped_holder_longer_than_its_lease_comes_back_to_nothing(root: Path, run: Run, start: Start) -> None:
    """SIGSTOP of wrapper and program: the task is another's; the returning holder's ``done`` exits 5, bob's goes on."""
    run("task", "add", "a job", "--id", "job", cwd=root, check=True)
    script = "task claim -o json; while [ ! -e go ]; do sleep 0.05; done; task done job; echo status $?; exec sleep 1000"
    one = start("bash", "-c", script)
    token = json.loads(line(one))["token"]
    beat = told(root, "ann")
    assert beat is not None
    other = start("sleep", "1000", name="bob")
    until(lambda: told(root, "bob"), "bob's beat")
    for group in (one.pid, beat["child"]):
        os.killpg(group, signal.SIGSTOP)
    taken = run("task", "claim", "job", "--as", "bob", "--wait", "20s", cwd=root)
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["token"] > token
    (root / "go").touch()
    for group in (beat["child"], one.pid):
        os.killpg(group, signal.SIGCONT)
    assert line(one) == "status 5"
    task = json.loads(run("task", "show", "job", "--full", cwd=root, check=True).stdout)
    assert (task["status"], task["owner"], task["attempt_count"]) == ("claimed", "bob", 1)
    assert run("task", "done", "job", "--as", "bob", cwd=root).returncode == 0
    for wrapper in (one, other):
        wrapper.terminate()


def test_a_watchdog_is_started_where_none_is_seen_twice(root: Path, start: Start) -> None:
    """After two looks without one there is one; it holds the lock."""
    start("sleep", "1000", options=())

    def watched() -> bool:
        code = f"import sys; from mbox import locks, opening, places; s = opening.open_store({str(root)!r}, '/'); " \
            "sys.exit(not locks.is_held(s, places.WATCHDOG_LOCK))"  # fmt: skip
        return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    until(watched, "a watchdog")
    pid = json.loads(until(lambda: _read(root / places.WATCHDOG), "its status"))["pid"]
    os.kill(pid, signal.SIGKILL)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_in_a_terminal_the_program_has_the_foreground(root: Path) -> None:
    """It reads what is typed, and Ctrl-C is its own to handle."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(root)
        script = "trap 'echo interrupted; exit 4' INT; read -r x; echo got $x; read -r y"
        os.execv(str(BIN / "mbox"), ["mbox", "run", "--as", "ann", "--no-watchdog", "--", "bash", "-c", script])
    seen = b""

    def wait_for(word: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 20
        while word not in seen:
            assert select.select([fd], [], [], end - time.monotonic())[0], seen
            seen += os.read(fd, 4096)

    try:
        until(lambda: told(root, "ann"), "its beat")
        os.write(fd, b"hello\n")
        wait_for(b"got hello")
        os.write(fd, b"\x03")
        wait_for(b"interrupted")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    finally:
        os.close(fd)
