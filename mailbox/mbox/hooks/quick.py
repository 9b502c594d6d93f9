"""The quick answer: what a hook can say after reading a few files, without the store's own modules; or that it can't.

Promised: nothing is written here, nothing locked, no program started; `answer` is None wherever anything is not plain, and
then `calls` answers with the store itself: a reservation to be taken or renewed, a denial by rules, mail, a name that is no
plain ASCII, a pattern with ``**`` before its end, classes or alternatives, a journal that the files may not follow, another
life of the machine, a store that was moved, damaged, of another owner.  So an answer from here is what the store would have
said.  Not promised: that it is always quick: the first write to a file reserves it, and every ``renew_every`` an agent's
call renews and beats.

What costs the interpreter time is not loaded: neither `json` nor `re` (``tests/whole/test_imports.py``).  What settings say
stands resolved in ``cache/hook.json`` (`settings`), with the size, time and inode of the ``config.yaml`` that it was made
from.

Order of what is read, each None as soon as it is not as expected: the root (by ``.git`` and ``.mailbox`` above the call's
``cwd``); the settings; the mark and the size of the journal's last segment, so that a record that was committed and not
published yet is waited for by `calls`; the agent, its status (which is also when it last beat); the reservations, and of
those that matter the lease.
"""

from __future__ import annotations

import os
import time
from binascii import crc32

from . import codecs
from .codecs import AFTER, BEFORE, FILE, OPAQUE, PATCH, PROMPT, SHELL, STEP, HostCall, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from . import shell

SETTINGS = ".mailbox/cache/hook.json"
_WILD = frozenset("*?[{\\")
LEAST = 30.0
"""Seconds that the lease on an own reservation must still run: less is renewed first."""


class NotPlain(Exception):
    """Something is not plain: the store itself is asked."""


def answer(call: HostCall, environ: Mapping[str, str]) -> Reply | None:
    """The answer to ``call``, or None where only the store knows it."""
    if call.error or environ.get("MBOX_LOCK"):
        return None
    if not call.moment or (call.moment == PROMPT and not call.is_real):
        return codecs.silent(call)
    try:
        root = find(call.cwd)
        if not root:
            return codecs.silent(call) if not environ.get("MBOX_ROOT") else None
        if call.moment not in (BEFORE, AFTER, STEP):
            return None
        return _answer(call, Glimpse(root, environ))
    except (NotPlain, OSError, ValueError, LookupError, TypeError):
        return None


def fails_closed(cwd: str) -> bool:
    """What the settings said last of calls that cannot be judged, where the store itself cannot be asked."""
    try:
        return bool(codecs.decoded(_bytes(f"{find(cwd)}/{SETTINGS}"))["closed"])
    except Exception:  # noqa: BLE001 - it is asked where something went wrong already
        return True


def find(cwd: str) -> str:
    """The root of the store for the folder ``cwd``; empty where there is none.  As `mbox.root.find`, where it is plain."""
    folder, store = os.path.realpath(cwd), ""
    while True:
        if not store and _is_folder(f"{folder}/.mailbox"):
            store = folder
        mode = _mode(f"{folder}/.git")
        if mode == _DIR and store:
            return _owned(store)
        if mode not in (0, _DIR):
            if store:
                raise NotPlain
            return _main(folder)
        above = os.path.dirname(folder)
        if above == folder:
            return _owned(store) if store else ""
        folder = above


_DIR = 0o040000


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode & 0o170000
    except OSError:
        return 0


def _is_folder(path: str) -> bool:
    mode = _mode(path)
    if mode not in (0, _DIR):
        raise NotPlain
    return mode == _DIR


def _owned(root: str) -> str:
    if os.lstat(f"{root}/.mailbox").st_uid != os.geteuid():
        raise NotPlain
    return root


def _main(top: str) -> str:
    """The root for the linked worktree ``top``: its main one, which names it back."""
    gitdir = _line(f"{top}/.git").removeprefix("gitdir: ")
    main, found, _ = gitdir.rpartition("/.git/worktrees/")
    if not found or os.path.realpath(_line(f"{gitdir}/gitdir")) != f"{top}/.git" or _line(f"{gitdir}/commondir") != "../..":
        raise NotPlain
    main = os.path.realpath(main)
    if not _is_folder(f"{main}/.mailbox"):
        raise NotPlain
    return _owned(main)


def _line(path: str) -> str:
    return _bytes(path, 4096).decode("utf-8", "surrogateescape").rstrip("\r\n")


def _bytes(path: str, most: int = 1 << 20) -> bytes:
    """The bytes of a regular file, never reached through a symlink."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        data = os.read(fd, most)
    finally:
        os.close(fd)
    if len(data) >= most:
        raise NotPlain
    return data


class Glimpse:
    """What a few files say of a store, as far as they are plain."""

    __slots__ = ("agent", "environ", "life", "machine", "name", "root", "settings", "status")

    def __init__(self, root: str, environ: Mapping[str, str]) -> None:
        self.root = root
        self.environ = environ
        self.settings = self._doc(SETTINGS)
        if self.settings["config"] != stamp(f"{root}/.mailbox/config.yaml") or self.settings["fold"]:
            raise NotPlain
        self.machine = f"{environ.get('MBOX_BOOT_ID') or _line('/proc/sys/kernel/random/boot_id')}:{_time_namespace()}"
        word = self.machine.encode()
        self.life = f"{crc32(word):08x}{crc32(word[::-1]):08x}"
        self._check_order()
        self.name = self._whose()
        self.agent: dict[str, Any] = {}
        self.status: dict[str, Any] = {}
        if self.name:
            self._know()

    def _doc(self, path: str) -> dict[str, Any]:
        return codecs.decoded(_bytes(f"{self.root}/{path}"))

    def _whose(self) -> str:
        """The agent that the environment names; empty where it is one of another store."""
        name, at = self.environ.get("MBOX_AGENT", ""), self.environ.get("MBOX_ROOT", "")
        letters = name.replace(".", "").replace("_", "").replace("-", "")
        if name and not (name.isascii() and letters.isalnum() and name[0].isalnum()):
            raise NotPlain
        return name if not at or os.path.realpath(at) == self.root else ""

    def _check_order(self) -> None:
        """`NotPlain` unless the files follow the journal: `State.is_behind`, and nobody has been among the reservations."""
        fd = os.open(f"{self.root}/.mailbox/lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            text, _, crc = os.read(fd, 512).rstrip().rpartition(b" ")
            inode = os.fstat(fd).st_ino
        finally:
            os.close(fd)
        if crc != b"%08x" % crc32(text):
            raise NotPlain
        mark = codecs.decoded(text)
        _, segment, offset = mark["tail"]
        path = f"{self.root}/.mailbox/logs/{segment:06d}.jsonl"
        after = f"{self.root}/.mailbox/logs/{segment + 1:06d}.jsonl"
        if mark["machine"] != self.machine or mark["inode"] != inode or os.lstat(path).st_size != offset or _mode(after):
            raise NotPlain
        info = os.lstat(f"{self.root}/.mailbox/reservations")
        milli = info.st_mtime_ns // 10**6
        if info.st_mtime_ns != stamped(f"{self.machine}:{inode}", info.st_ino, milli):
            raise NotPlain

    def _know(self) -> None:
        """Read who the agent is and what its hooks last said, which is lately enough that nothing is to be renewed."""
        self.agent = self._doc(f".mailbox/agents/{self.name}.json")
        given = self.environ.get("MBOX_INCARNATION", "")
        if self.agent.get("retired_at") or (given and given != str(self.agent.get("incarnation", 1))):
            raise NotPlain
        path = f"{self.root}/.mailbox/status/{self.name}.json"
        age = time.time() - os.lstat(path).st_mtime
        self.status = self._doc(f".mailbox/status/{self.name}.json")
        if not 0 <= age < self.settings["renew_every"]:
            raise NotPlain

    @property
    def incarnation(self) -> int:
        return int(self.agent.get("incarnation", 1))

    def role(self) -> str:
        return str(self.agent.get("role", "worker")) if self.name else ""

    def is_known_busy(self, call: HostCall) -> bool:
        """Whether the status says already what this call would say: busy, in this session."""
        said = self.status
        return said.get("state") == "busy" and said.get("session", "") == call.session and bool(said.get("event"))

    def has_news(self) -> bool:
        """Whether mail is unread that nobody has offered to the agent yet."""
        try:
            names = os.listdir(f"{self.root}/.mailbox/inbox/{self.name}/new")
        except FileNotFoundError:
            return False
        offered = self.status.get("offered") or []
        return any(name.endswith(".json") and name[:-5] not in offered for name in names)

    def reservations(self) -> list[dict[str, Any]]:
        folder = ".mailbox/reservations"
        names = [name for name in os.listdir(f"{self.root}/{folder}") if name.endswith(".json") and name[0] != "."]
        return [self._doc(f"{folder}/{name}") for name in sorted(names, key=_age)]

    def left(self, doc: dict[str, Any]) -> float:
        """Seconds that a reservation still stands, by its lease."""
        try:
            lease = self._doc(f".mailbox/leases/{doc['reservation_id']}.json")
        except FileNotFoundError:
            raise NotPlain from None
        if lease["token"] != doc["token"] or lease.get("at") or lease["machine"] not in (self.life, self.machine):
            raise NotPlain
        return float(lease["mono_until"]) - time.monotonic()


def _age(name: str) -> tuple[int, str]:
    """Sorts the names of reservations, oldest first."""
    return len(name), name


def stamp(path: str) -> list[int] | None:
    """Size, mtime and inode of a file; None where there is none."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    return [info.st_size, info.st_mtime_ns, info.st_ino]


def stamped(whose: str, inode: int, milli: int) -> int:
    """The time, in nanoseconds, that the store gives a folder it alone has changed in that millisecond (`store.stamps`)."""
    return milli * 10**6 + crc32(f"{whose} {inode} {milli}".encode()) % 10**6


def _time_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/time").rpartition("[")[2].rstrip("]")
    except OSError:
        return "0"


# -- deciding --------------------------------------------------------------------------------------------------------


def _answer(call: HostCall, view: Glimpse) -> Reply | None:
    if view.name and not view.is_known_busy(call):
        return None
    if call.moment == BEFORE:
        return _before(call, view)
    if call.moment == STEP and not view.name:
        return codecs.silent(call)
    writes = call.kind in (FILE, PATCH)
    if view.name and view.has_news():
        return None
    if call.kind in (SHELL, OPAQUE) and _has_aftermath(call, view):
        return None
    return None if writes and view.settings["mode"] == "warn" else codecs.silent(call)


def _has_aftermath(call: HostCall, view: Glimpse) -> bool:
    """Whether `aftermath` may have something to tell of the command that has just run."""
    path = snapshot(view.root, view.name, call)
    if not _mode(path):
        return False
    from . import gitlook, spelling

    before = codecs.decoded(_bytes(path))
    tops = spelling.tops(view.root)
    real = os.path.realpath(call.cwd)
    top = next((top for top in sorted(tops or (), key=len, reverse=True) if real == top or real.startswith(f"{top}/")), "")
    others = [doc["patterns"] for doc in view.reservations() if doc["agent"] != view.name and view.left(doc) > 0]
    patterns = [pattern for found in others for pattern in found]
    if not top or not patterns:
        return bool(patterns)
    by_head: dict[str, list[str]] = {}
    for pattern in patterns:
        head = pattern.split("/", 1)[0]
        by_head.setdefault(head if head.isascii() and _WILD.isdisjoint(head) else "", []).append(pattern)
    return gitlook.differs(top, f"{view.root}/.git", before["files"], lambda path: any(
        covers(one, path) for head in ("", path.split("/", 1)[0]) for one in by_head.get(head, ())))  # fmt: skip


def snapshot(root: str, name: str, call: HostCall) -> str:
    """Where it stands how the files were before this call of a command that could not be read."""
    word = f"{call.session}\0{call.call_id}\0{call.tool}\0{codecs.command(call)}".encode("utf-8", "replace")
    return f"{root}/.mailbox/cache/before-{name or '@'}-{crc32(word):08x}.json"


def _before(call: HostCall, view: Glimpse) -> Reply | None:
    settings = view.settings
    if any(is_tool(rule, call.tool) for rule in _rules(view)):
        return None
    keys = settings["tools"].get(call.tool)
    if keys:
        call.kind, call.keys = FILE, tuple(keys)
    if call.kind in (FILE, PATCH):
        texts = codecs.written(call)
        if texts is None:
            return None
        return _verdict(call, view, texts, call.cwd)
    if call.kind == SHELL:
        return _line_before(call, view)
    if call.kind == OPAQUE and settings["mode"] != "off" and _others_hold(view):
        return None
    return codecs.silent(call)


def is_tool(rule: list[str], tool: str) -> bool:
    """Whether a rule is the name of this tool."""
    return rule == [tool]


def outside(reading: shell.Reading, tops: list[str]) -> list[str]:
    """What a line removes, with all that is in it, outside of every worktree of the repository."""
    from . import rules

    first, *more = tops
    return [path for path in rules.outside(reading, first) if all(path in rules.outside(reading, top) for top in more)]


def _others_hold(view: Glimpse) -> bool:
    return any(doc["agent"] != view.name and view.left(doc) > 0 for doc in view.reservations())


def _rules(view: Glimpse) -> list[list[str]]:
    """The rules of ``guard.deny`` and ``guard.ask`` that hold for the caller's role."""
    return [words for role, words in view.settings["rules"] if role in ("", view.role())]


def _line_before(call: HostCall, view: Glimpse) -> Reply | None:
    from . import rules, spelling
    from . import shell as lines

    line = codecs.command(call)
    if line is None:
        return None
    where = codecs.stand(call)
    reading = lines.read(line, where, view.environ.get("HOME", ""), os.path.isdir)
    tops = spelling.tops(view.root)
    if reading.patches or tops is None or outside(reading, tops):
        return None
    if not reading.certain and view.settings["mode"] != "off" and _others_hold(view):
        return None
    if any(rules.matches(rule, command) for rule in _rules(view) for command in reading.commands):
        return None
    return _verdict(call, view, reading.writes, where, lines.follows(reading)) if reading.writes else codecs.silent(call)


def _verdict(call: HostCall, view: Glimpse, texts: list[str], where: str, follows: bool = True) -> Reply | None:
    """Silence where nobody holds the paths, or the caller itself does; None for anything else."""
    from . import spelling

    tops = spelling.tops(view.root)
    if tops is None:
        return None
    ground = spelling.Ground(tops, view.environ.get("HOME", ""))
    if any(ground.is_launcher(text, where) for text in texts):
        return None
    found = [ground.places(text, where, follows) for text in texts]
    paths = [place for places in found for place in places]
    if any(not path.isascii() or is_protected(path) for path in paths) or is_settings(paths):
        return None
    if not paths or view.settings["mode"] in ("off", "warn"):
        return codecs.silent(call)
    return _standing(call, view, paths, found)


def _standing(call: HostCall, view: Glimpse, paths: list[str], found: list[list[str]]) -> Reply | None:
    """The denial where somebody else holds one of ``paths``; silence where nobody does, and a named caller holds each itself."""
    own: set[str] = set()
    for doc in view.reservations():
        mine = doc["agent"] == view.name and doc.get("incarnation", 0) == view.incarnation
        for pattern in doc["patterns"]:
            for path in paths:
                if covers(pattern, path):
                    left = view.left(doc)
                    if not mine and doc["agent"] != view.name and left > 0:
                        return _denied(call, path, doc, left)
                    if mine and doc.get("mode", "exclusive") == "exclusive" and left > LEAST:
                        own.add(path)
    is_own = not view.name or all(own.issuperset(places) for places in found)
    return codecs.silent(call) if is_own else None


def _denied(call: HostCall, path: str, doc: dict[str, Any], left: float) -> Reply:
    from . import denials

    return codecs.denied(call, denials.held(path, doc["agent"], doc["reservation_id"], left, time.time()))


def covers(pattern: str, path: str) -> bool:
    """Whether a reserved pattern covers a path; `NotPlain` where that takes the store's own matching."""
    if not pattern.isascii():
        raise NotPlain
    if _WILD.isdisjoint(pattern):
        if pattern.startswith(f"{path}/"):
            raise NotPlain  # the path is a folder above what is held
        return path == pattern or path.startswith(f"{pattern}/")
    names = pattern.split("/")
    plain = next(at for at, name in enumerate(names) if not _WILD.isdisjoint(name))
    head = "/".join(names[:plain])
    if head and path != head and not path.startswith(f"{head}/"):
        if head.startswith(f"{path}/"):
            raise NotPlain
        return False
    if names[plain:] == ["**"]:
        return path != head
    if not _HARD.isdisjoint(pattern) or "**" in pattern:
        raise NotPlain
    return _level_by_level(names, path.split("/"))


_HARD = frozenset("[{\\")


def _level_by_level(pattern: list[str], path: list[str]) -> bool:
    """Whether a path is one that a pattern of ``*`` and ``?`` means, or lies below it where its last name is plain."""
    if not all(map(_matches, pattern, path)):
        return False
    if len(path) < len(pattern):
        raise NotPlain  # a folder above what may be held
    return len(path) == len(pattern) or _WILD.isdisjoint(pattern[-1])


def _matches(pattern: str, name: str) -> bool:
    """Whether one name matches one of ``*`` and ``?``."""
    at, star, back = 0, -1, 0
    n = 0
    while n < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, back, at = at, n, at + 1
        elif at < len(pattern) and pattern[at] in ("?", name[n]):
            at, n = at + 1, n + 1
        elif star >= 0:
            back += 1
            at, n = star + 1, back
        else:
            return False
    return not pattern[at:].strip("*")


PROTECTED = (".mailbox", ".tasks", ".git")


def is_protected(path: str) -> bool:
    """Whether only the toolkit and git write there, in whatever case a file system may fold."""
    names = path.lower().split("/")
    return names[0] in PROTECTED or ".git" in names or path == ""


def is_settings(paths: list[str]) -> bool:
    """Whether one of ``paths`` may be a file in which hooks stand: the store's own modules look into it."""
    return any(f"{path}/".startswith(_SETTINGS) or path == ".github" for path in paths)


_SETTINGS = (".claude/", ".codex/", ".gemini/", ".qwen/", ".cursor/", ".agents/", ".opencode/", ".github/hooks/")
