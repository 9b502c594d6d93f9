"""Clocks: set back and on by an hour, nobody's lease falls; what is dead by the machine's clock is dead."""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import Run
from mbox.agents import presence
from mbox.format import places
from mbox.mail import reading, sending
from mbox.mail.sending import MailDraft
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from taskkit import ANN, BOB, USER, World
from teamkit import end_all, environment, until

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib*/faketime/libfaketime.so.1")), "")


@pytest.mark.parametrize("hours", [-1, 1, 24])
def test_no_lease_falls_by_the_clock_on_the_wall(tmp_path: Path, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task, reservation, review and read message: all stand; and after their own time, they fall."""
    world = World(tmp_path)
    presence.beat(world.store, ANN, os.getpid())
    mine, reviewed = world.add("mine", "a/**"), world.add("reviewed")
    world.claim(BOB, reviewed)
    world.verb("submit", BOB, reviewed)
    world.claim(ANN, mine)
    world.verb("review", ANN, reviewed)
    rid = reserving.reserve(world.store, ANN, ReservationRequest(["b/**"], 1800, False, "", None))["reservation_id"]
    msg_id = sending.send(world.store, BOB, ["ann"], MailDraft(body="x", needs_ack=True))["msg_id"]
    reading.read(world.store, ANN)
    wall = world.host.wall
    monkeypatch.setattr(type(world.host), "wall", lambda self: wall() + hours * 3600)
    assert presence.alive(world.store, "ann") is True
    count = world.records()
    world.pass_time(1)
    assert world.records() == count, "nothing was swept"
    assert world.status(mine) == "claimed" and rid in world.reserved()
    assert world.doc(reviewed)["reviewer"] == "ann"
    assert world.store.read(places.cur("ann", msg_id)) is not None
    world.verb("renew", ANN, mine)
    world.pass_time(1900)
    assert world.status(mine) == "queued" and world.reserved() == []
    assert world.store.transact(lambda tx: None, USER) is None


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed: whole commands are not run under another clock")
@pytest.mark.parametrize("offset", ["-1h", "+1h"])
def test_whole_commands_under_a_clock_that_was_set(tmp_path: Path, run: Run, offset: str) -> None:
    """One agent's commands see another hour: neither loses what it holds, and both go on."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=tmp_path, check=True)
        run("task", "add", f"of {name}", "--id", f"of-{name}", "--path", f"{name}/**", cwd=tmp_path, check=True)
        run("task", "claim", f"of-{name}", "--as", name, "--lease", "10m", cwd=tmp_path, check=True)
    run("mbox", "send", "ann", "--body", "x", "--needs-ack", "--as", "bob", cwd=tmp_path, check=True)
    run("mbox", "read", "--as", "ann", cwd=tmp_path, check=True)
    other = {"LD_PRELOAD": FAKETIME, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    shown = run("python3", "-c", "import time; print(time.time())", env=other, check=True).stdout
    assert abs(float(shown) - time.time()) > 3000, "the clock is not faked"
    late = run("reserve", "c/**", "--as", "bob", cwd=tmp_path, env=other)
    assert late.returncode == 0, late.stderr
    assert run("task", "claim", "of-ann", "--as", "bob", cwd=tmp_path, env=other).returncode == 5
    assert run("mbox", "watchdog", "--once", cwd=tmp_path, env=other).returncode == 0
    rows = json.loads(run("task", "list", cwd=tmp_path, env=other, check=True).stdout)
    assert {row["status"] for row in rows} == {"claimed"}
    assert run("task", "done", "of-bob", "--as", "bob", cwd=tmp_path, env=other).returncode == 0
    assert run("task", "done", "of-ann", "--as", "ann", cwd=tmp_path).returncode == 0
    ops = [row["op"] for row in json.loads(run("mbox", "log", "--limit", "0", cwd=tmp_path, check=True).stdout)]
    assert not {"task.expire", "reserve.expire", "mail.return", "agent.dead"} & set(ops)
    assert run("mbox", "doctor", cwd=tmp_path, env=other).returncode == 0


def test_a_stopped_process_longer_than_its_lease_is_refused_and_others_keep_theirs(tmp_path: Path, run: Run) -> None:
    """SIGSTOP without a wrapper: the task goes to bob, ann's `done` exits 5, cat's lease stands all the time."""
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    for name in ("ann", "bob", "cat"):
        run("mbox", "agent", "add", name, cwd=tmp_path, check=True)
    for name in ("job", "other"):
        run("task", "add", name, "--id", name, cwd=tmp_path, check=True)
    run("task", "claim", "other", "--as", "cat", cwd=tmp_path, check=True)
    script = ("task claim job --lease 1s -o id; kill -STOP $$; task done job; echo status $?")
    one = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env={**environment(), "MBOX_AGENT": "ann"},
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    try:
        assert one.stdout is not None and one.stdout.readline().strip() == "job"
        until(lambda: Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "the stop")
        taken = run("task", "claim", "job", "--as", "bob", "--wait", "20s", cwd=tmp_path)
        assert taken.returncode == 0, taken.stderr
        os.kill(one.pid, signal.SIGCONT)
        assert one.stdout.readline().strip() == "status 5"
    finally:
        one.kill()
        one.wait()
        end_all(tmp_path)
    rows = {row["task_id"]: row for row in json.loads(run("task", "list", cwd=tmp_path, check=True).stdout)}
    assert (rows["job"]["owner"], rows["other"]["owner"]) == ("bob", "cat")
