"""Power cuts: a loop-mounted ext4 is shut down under load; without root, documents and the journal's tail are cut."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import ANN, USER, FakeHost, FaultyDisk, Killed, bodies, journaled, make, reopen, send, tree
from mbox.doctor import survey
from mbox.format import places
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.tasks import claims, planning
from mbox.tasks.claims import ClaimRequest
from mbox.tasks.drafts import TaskDraft
from teamkit import until

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2

WRITER = """
import os, sys
from pathlib import Path
from kit import ANN, FakeHost, reopen, send
root, name, log = sys.argv[1:4]
host = FakeHost()
host.reboot(sys.argv[5])
store = reopen(Path(root), host, durability=sys.argv[4], segment_size=200_000)
with open(log, "a", buffering=1) as done:
    for n in range(100_000):
        ident = store.transact(send(f"{name} {n}"), ANN)
        done.write(f"{ident} {name} {n}\\n")
"""


def run(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted ext4 in a file; skipped where that cannot be had."""
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or mkfs is None:
        pytest.skip("a loop-mounted ext4 needs root and mkfs.ext4: the truncation test stands in for it")
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(256 << 20)
    run(mkfs, "-q", "-F", str(image))
    try:
        run("mount", "-o", "loop", str(image), str(mount))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device here ({error.stderr.decode().strip()}): the truncation test stands in for it")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


def cut_power(mount: Path) -> None:
    """Shut the file system down without flushing its log: what was not synced is gone."""
    fd = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    finally:
        os.close(fd)


def load(root: Path, logs: Path, durability: str, done: int, boot: str) -> list[str]:
    """Three processes that send until the disk goes away; the lines they were told are done before that moment.

    What they are told after it does not count: a machine without power tells nobody anything, but here a process may
    live on for an instant, and an fsync that is under way when the file system is shut down can return success
    (seen with a bare append and fsync, about once in a hundred cuts).
    """
    logs.mkdir(exist_ok=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    paths = [logs / f"{n}-{durability}" for n in range(3)]
    for path in paths:
        path.touch()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, root, path.name, path, durability, boot], env=env,
                         stderr=subprocess.DEVNULL)
        for path in paths
    ]  # fmt: skip

    def written() -> int:
        assert all(writer.poll() is None for writer in writers)
        return sum(path.read_text().count("\n") for path in paths)

    until(lambda: written() >= done, written, 60, logs)
    told = [line for path in paths for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    cut_power(root.parent)
    for writer in writers:
        writer.wait(30)
    return told


def remount(tmp_path: Path, mount: Path) -> None:
    """Bring the file system back as after a power cut."""
    run("umount", str(mount))
    run("mount", "-o", "loop", str(tmp_path / "image"), str(mount))


QUESTIONS: dict[str, tuple[list[str], Callable[[Any, set[str]], bool]]] = {
    "inbox": (["mbox", "inbox", "--as", "bob", "--limit", "0"], lambda said, told: told <= {row["msg_id"] for row in said}),
    "me": (["mbox", "me", "--as", "bob"], lambda said, told: said["unread"] >= len(told)),
    "status": (["mbox", "status"], lambda said, told: said["tasks"]["claimed"] == 1),
    "list": (["task", "list"], lambda said, told: [(row["status"], row["owner"]) for row in said] == [("claimed", "ann")]),
    "show": (["task", "show", "t4"], lambda said, told: (said["status"], said["owner"]) == ("claimed", "ann")),
    "doctor": (["mbox", "doctor"], lambda said, told: bool(said["clean"])),
    "check": (["reserve", "check", "src/a.py", "--as", "bob"], lambda said, told: said[0]["state"] == "held"),
}
"""What is asked before anything else after a power cut, and whether the answer is right."""


def ask_first(tmp_path: Path, told: set[str], boot: str) -> None:
    """Each question first, on a fresh copy of the disk as the power cut left it."""
    env = {**os.environ, "MBOX_BOOT_ID": boot}
    for question, (words, is_right) in QUESTIONS.items():
        image, mount = tmp_path / f"image of {question}", tmp_path / f"mount of {question}"
        mount.mkdir(exist_ok=True)
        run("cp", "--sparse=always", str(tmp_path / "image"), str(image))
        run("mount", "-o", "loop", str(image), str(mount))
        try:
            program = str(Path(sys.executable).parent / words[0])
            done = subprocess.run([program, *words[1:], "-o", "json"], cwd=mount / "root", env=env, capture_output=True,
                                  text=True, check=False)  # fmt: skip
            assert done.returncode in (0, 1) and is_right(json.loads(done.stdout), told), (question, done.stdout, done.stderr)
        finally:
            run("umount", "-l", str(mount))
            image.unlink()


def powercuts(tmp_path: Path, disk: Path, times: int, durability: str) -> None:
    """Cut the power ``times`` times under load and look at what is left each time."""
    root = disk / "root"
    store = make(root, FakeHost(), durability=durability, segment_size=200_000)
    planning.add(store, USER, TaskDraft(None, "work"))
    claims.claim(store, ANN, ClaimRequest())
    reserving.reserve(store, ANN, ReservationRequest(["src/**"], 3600))
    store.close()
    os.sync()
    told: list[str] = []
    for n in range(times):
        told += load(root, tmp_path / f"logs{n}", durability, 40 + 60 * n, f"load-{n}")
        run("umount", str(disk))
        if durability == "full":
            ask_first(tmp_path, {line.split()[0] for line in told}, f"look-{n}")
        run("mount", "-o", "loop", str(tmp_path / "image"), str(disk))
        host = FakeHost()
        host.reboot(f"look-{n}")
        store = reopen(root, host, durability=durability, segment_size=200_000)
        store.catch_up()
        found = survey.survey(store)
        assert found.clean, found.findings
        numbers = [record["seq"] for record in journaled(store)]
        assert numbers == sorted(set(numbers))
        idents = [line.split()[0] for line in told]
        assert len(set(idents)) == len(idents), "a number was given twice"
        if durability == "full":
            there = {ident for record in journaled(store) for ident in record["on"]}
            assert set(idents) <= there, (sorted(set(idents) - there), store.tail, told[-3:])
        store.transact(send("after"), ANN)
        store.close()


def test_power_cut_under_load(tmp_path: Path, disk: Path) -> None:
    """In ``full``, after a power cut under load, everything that was reported as done is there and the store clean."""
    powercuts(tmp_path, disk, 2, "full")


@pytest.mark.long
def test_many_power_cuts_in_full(tmp_path: Path, disk: Path) -> None:
    """Ten power cuts one after the other lose nothing that was acknowledged."""
    powercuts(tmp_path, disk, 10, "full")


@pytest.mark.long
def test_many_power_cuts_in_fast(tmp_path: Path, disk: Path) -> None:
    """Ten power cuts in ``fast`` give no number twice and leave the store clean."""
    powercuts(tmp_path, disk, 10, "fast")


def dies(root: Path, host: FakeHost, only: str, at: int) -> None:
    """A process that dies at its ``at``-th call of ``only``, in a send for which the segment is full."""
    dying = reopen(root, host, FaultyDisk(at, only=only), segment_size=FULL)
    with pytest.raises(Killed):
        dying.transact(send("unfinished"), ANN)
    dying.close()


FULL = 2000
"""Bytes of a segment, in the tests that cut the power right after one is begun."""


@pytest.mark.parametrize(
    ("only", "at"), [("", 0), ("rename", 0), ("rename", 1), ("sync", 0), ("sync", 1)]
)
def test_power_cut_right_after_a_roll_and_a_redo(tmp_path: Path, disk: Path, only: str, at: int) -> None:
    """The first record in a new segment, also one that a process died in beginning: told as done, it is there."""
    root, host = disk / "root", FakeHost()
    store = make(root, host, segment_size=FULL)
    while store.tail.offset < FULL:
        store.transact(send("fill"), ANN)
    store.close()
    os.sync()
    if only:
        dies(root, host, only, at)
    store = reopen(root, host, segment_size=FULL)
    store.catch_up()
    before = bodies(store)
    told = store.transact(send("told"), ANN)
    cut_power(disk)
    store.close()
    remount(tmp_path, disk)
    host.reboot()
    after = reopen(root, host, segment_size=FULL)
    after.catch_up()
    assert survey.survey(after).clean
    assert bodies(after) == [*before, "told"]
    assert after.transact(send("next"), ANN) != told
    after.close()


@pytest.mark.parametrize("cut", range(0, 400, 23))
def test_truncation_stands_in_for_a_power_cut(tmp_path: Path, cut: int) -> None:
    """Every document since the checkpoint at length zero, the last page of the journal gone, another boot id."""
    host = FakeHost()
    store = make(tmp_path, host)
    for n in range(6):
        store.transact(send(f"body {n}"), ANN)
    before = bodies(store)
    store.close()
    for path in tree(tmp_path):
        os.truncate(tmp_path / path, 0)
    segment = tmp_path / places.LOGS / "000001.jsonl"
    whole = segment.read_bytes()
    segment.write_bytes(whole + b"\0" * cut if cut % 2 else whole + whole[-cut - 1 : -1])
    os.truncate(tmp_path / places.LOCK, 0)
    host.reboot()
    after = reopen(tmp_path, host)
    after.catch_up()
    assert survey.survey(after).clean
    assert bodies(after) == before
