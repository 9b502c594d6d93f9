"""A call of the installed program, seen by strace: what it and everything that it starts changes or starts.

The guard's audit events see what Python does; this sees also what SQLite's and git's own code does, by one rule: nothing
outside the root is opened to write, made, moved, removed or given other modes, and nothing is started but Python, git
and what stands beside them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostile.world import FINE, World

CHANGES = "unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,mknod,mknodat,chmod," \
          "fchmodat,chown,lchown,fchownat,truncate,utimensat,setxattr,removexattr,creat"  # fmt: skip
LINE = re.compile(r"(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)")
PATH = re.compile(r'(?:AT_FDCWD<([^>]*)>|\d+<([^>]*)>)?(?:, )?"((?:[^"\\]|\\.)*)"')
ENDED_AFTER, LONGEST = 2.0, 30.0
"""Seconds after which a command that runs for ever, and any other, is ended."""

STARTS = re.compile(
    r"/(git|git-[a-z-]+|python[0-9.]*|true|bash|tmux|sh|ldconfig|ldconfig.real|sleep|mbox|task|reserve|team|workflow|dot)$"
)


def judge(world: World, job: dict[str, Any]) -> dict[str, Any]:
    """Make the call; ``wrong``, as `guard.Guard.call` has it."""
    log = world.folder / "strace"
    program = Path(sys.executable).parent / job["words"][0]
    words = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", "signal=none", "-e", f"trace=open,openat,execve,{CHANGES}",
             "-o", str(log), str(program), *job["words"][1:]]  # fmt: skip
    strace = shutil.which("strace")
    assert strace
    call = subprocess.Popen(
        words, executable=strace, cwd=world.root, env={**world.environment(), **job.get("env", {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        call.wait(ENDED_AFTER if job["endless"] else LONGEST)
    except subprocess.TimeoutExpired:
        call.terminate()  # whether it hangs is asked where nothing slows it down
    try:
        call.wait(ENDED_AFTER)
    except subprocess.TimeoutExpired:  # strace passes the signal on, and waits for who does not take it
        os.killpg(call.pid, signal.SIGKILL)
    call.wait()
    lines = log.read_text(errors="replace").splitlines()
    log.unlink()
    wrong = sorted({what for line in lines for what in judged(world, job, line)}) + world.changes(job["words"])
    if wrong:
        world.restore()
    return {"wrong": wrong}


def judged(world: World, job: dict[str, Any], line: str) -> Iterator[str]:
    """What is wrong with a line of strace."""
    match = LINE.match(line)
    if not match or int(match[3]) < 0:
        return
    name, said = match[1], match[2]
    if name in ("open", "openat") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", said):
        return
    for at, folder, path in PATH.findall(said)[: 1 if name in ("execve", "open", "openat") else 2]:
        real = os.path.join(at or folder or str(world.root), path.encode().decode("unicode_escape"))
        if name == "execve":
            if not STARTS.search(real):
                yield f"starts {real}"
            return
        real = os.path.join(os.path.realpath(os.path.dirname(real)), os.path.basename(real))
        inside = tuple(f"{path}/" for path in (world.root, *world.typed(job["words"])))
        if real not in FINE and not f"{real}/".startswith(inside) and not name.startswith("symlink"):
            yield f"{name} {real}"
