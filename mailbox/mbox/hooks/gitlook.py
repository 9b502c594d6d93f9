"""After a command that could not be read: whether a file that another holds is not as it was, asked of git in milliseconds.

Promised: git is started once, by its absolute path, with what `git.closed` tells it; nothing is written, and nothing is
said to anybody: where something changed, or is not plain, the answer is *look closer* (True), and `aftermath` does.  Light,
as `quick`. Not plain: a configuration that names filters, includes another or says where the work tree is (git would run
what it names, or look elsewhere); a repository that is none; git that does not answer within `PATIENCE`.
"""

from __future__ import annotations

import os
from select import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATIENCE = 5.0
MOST = 8 << 20
"""Bytes of git's answer at most."""


def differs(top: str, common: str, before: dict[str, Any], is_others: Callable[[str], bool]) -> bool:
    """Whether a file in the worktree ``top`` that ``is_others`` is not as ``before`` has it; True where that is not plain."""
    if not _is_plain(common):
        return True
    changed = _changed(top)
    if changed is None:
        return True
    for name in dict.fromkeys([*before, *changed]):
        if is_others(name) and (name not in before or print_of(os.path.join(top, name)) != before[name]):
            return True
    return False


def print_of(path: str) -> list[int] | None:
    """By what a file is known again; None where there is none."""
    try:
        info = os.lstat(path)
    except (OSError, ValueError):
        return None
    return [0] if info.st_mode & 0o170000 == 0o040000 else [info.st_mtime_ns, info.st_size, info.st_ino]


def _is_plain(common: str) -> bool:
    try:
        with open(f"{common}/config", "rb") as file:
            text = file.read(1 << 16).lower()
        return len(text) < 1 << 16 and not any(word in text for word in (b"filter", b"include", b"worktree", b"fsmonitor"))
    except OSError:
        return False


def _changed(top: str) -> list[str] | None:
    """The paths that differ from the commit, untracked ones too; None where git does not say."""
    from mbox.git.closed import SETTINGS, closed
    from mbox.system import executables

    words = ["git", "-C", top, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames",
             "--ignore-submodules=dirty"]  # fmt: skip
    read_end, write_end = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, write_end, 1),
                   (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]  # fmt: skip
        pid = os.posix_spawn(executables.find("git"), words, closed(SETTINGS), file_actions=actions)
    except OSError:
        os.close(read_end)
        return None
    finally:
        os.close(write_end)
    data = _all(read_end)
    if data is None:
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    return [os.fsdecode(field[3:]) for field in data.split(b"\0")[:-1]] if data is not None and status == 0 else None


def _all(fd: int) -> bytes | None:
    """What comes until the end, within `PATIENCE` from one piece to the next."""
    found, size = [], 0
    try:
        while select([fd], [], [], PATIENCE)[0]:
            data = os.read(fd, 1 << 16)
            found.append(data)
            size += len(data)
            if not data or size > MOST:
                return b"".join(found) if not data else None
        return None
    finally:
        os.close(fd)
