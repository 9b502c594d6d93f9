"""The one place that starts git: by plumbing alone, on a repository that may be used, and none of its programs.

(But for `hooks.gitlook`, which asks for a status, closed in the same way, where a hook must answer in milliseconds.)

Promised, for every call of ours:

- it is the git of an absolute entry of ``PATH`` (`system.executables`), called by argument list, and has no other entries
  for the programs that it starts itself; with none of the caller's ``GIT_*`` variables (a hook that calls us has its own
  index in them) but those that say where a person's own configuration stands;
- the repository was looked at (`repository`): git gets its folder by name, which switches off git's own refusals;
- nothing is sent or fetched: no transport is allowed, and an object that a promisor remote should bring is *missing*;
- no hook runs, in files or in configuration, the person's own neither; no fsmonitor, pager, editor, askpass or ssh;
- of filters, diff and merge drivers those run that the person's own configuration names (system, global), as git-lfs is
  installed; what the repository's own configuration names does not, and where both name one, the person's counts (`Git.unused`
  lists what was left out);
- root, in a folder of another user's, calls git as that user, in that user's home: what git writes is the owner's, and
  what its configuration names has the owner's rights;
- replaced objects (git-replace(1)) are seen as they were written; nothing is signed;
- what reads objects takes `MEMORY` bytes at most (on Linux), a list of files has an end (`MOST_FILES`), and so has a line: a ref
  that was fetched may hold one of a gigabyte in a few bytes, or a folder of folders without end.

For the audit ref, besides: no index, work tree, branch, ``HEAD``, hook or setting of the user's is read for a decision or
changed.  Not promised: that the user's configuration has no say in how objects are stored.
(What goes in and comes out of a repository is `objects`.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mbox.errors import Corrupt, Refused, StoreError, translated
from mbox.system import executables
from mbox.system.disk import Owner

from .closed import SETTINGS, closed
from .repository import Repository, around, doubt, is_embedded

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from subprocess import CompletedProcess, Popen

PATIENCE = 4.0
"""Seconds for an answer that needs no work: a configuration, or attributes, may lead to a file that never ends."""

MEMORY = 160 << 20
"""Bytes that git may take to read objects: a folder of a million documents takes 90 million."""

READING = frozenset(("cat-file", "for-each-ref", "grep", "ls-tree", "rev-list"))
STREAMED = ("-c", "core.bigFileThreshold=1m")
"""Contents that are longer are handed on, and not taken into memory first."""

MOST_FILES = 5_000_000
"""Files of a commit that are listed."""

LONGEST_LINE = 64 << 20
"""Bytes of a line that git prints at most: a record has half of that."""

PROGRAMS = {"filter": ("clean", "smudge", "process"), "diff": ("command", "textconv"), "merge": ("driver",)}
"""Settings that name a program, by section and last word; between them stands a name of anybody's choice."""

DATA = ("core.attributesfile", "core.excludesfile")
"""Settings that name a file to read."""

NO_AUDIT = "so there is nowhere to keep an audit ref; the record is the journal, .mailbox/logs/ (`mbox log`)"


class Git:
    """The repository whose folder is ``folder``; its processes run in ``root``, in the work tree ``top`` (or ``root``).

    ``without`` says what cannot be where git is not installed.
    """

    __slots__ = ("_environ", "_others", "folder", "moving", "root", "top", "unused", "without")

    def __init__(self, root: str, folder: str, top: str | None = None, without: str = NO_AUDIT) -> None:
        self.root = root
        self.folder = folder
        self.top = top or root
        self.without = without
        self.unused: list[str] = []
        """Settings of the repository's that name programs, and were left out."""
        self.moving: Callable[[str, str], AbstractContextManager[int]] | None = None
        """Held while a ref, by its name, is moved to an object: a descriptor that git's process has too (`reflock`)."""
        self._others: list[Git] = []
        self._environ: dict[str, str] | None = None

    @classmethod
    def around(cls, root: str) -> Git:
        """The repository that ``root`` is in, or stands beside; `Refused` where there is none, or it may not be used."""
        found = around(root)
        if found is None:
            raise Refused(f"{root} is in no git repository, {NO_AUDIT}")
        check(found)
        return cls(root, found.common)

    @classmethod
    def in_tree(cls, folder: str, without: str) -> Git | None:
        """The work tree that ``folder`` is in, with its own index; None where there is none.  `Refused` as `around`."""
        found = around(folder)
        if found is None:
            return None
        check(found)
        return cls(folder, found.folder, found.top, without) if os.path.lexists(f"{found.top}/.git") else None

    def environ(self) -> dict[str, str]:
        """What git is told: which repository, and what holds there whatever its configuration says."""
        if self._environ is None:
            more = {key: value for git in (self, *self._others) for key, value in git._not_to_run().items()}
            self.unused = [key for key, value in more.items() if not value]
            self._environ = closed({**SETTINGS, **more}) | self._here
        return self._environ

    @property
    def _here(self) -> dict[str, str]:
        return {"GIT_DIR": self.folder, "GIT_WORK_TREE": self.top}

    def _not_to_run(self) -> dict[str, str]:
        """What is to hold instead of what the configuration says here."""
        asked = ("config", "--null", "--show-scope", "--list")
        bare = closed(SETTINGS) | self._here
        return _overruled(_configuration(_finish(_popen(asked, self.root, bare, self.without, Owner.of(self.root)))))

    def look_in(self, other: Git) -> None:
        """A call of this one lets git look in the work tree of ``other`` too, where a configuration may say more."""
        self._others.append(other)
        self._environ = None

    def start(self, *words: str, kept: Sequence[int] = ()) -> Popen[bytes]:
        """A git process with pipes to its stdin, stdout and stderr; the descriptors ``kept`` are open in it too."""
        return _popen(words, self.root, self.environ(), self.without, Owner.of(self.root), kept)

    def run(self, *words: str, given: bytes = b"", fine: Container[int] = (0,),
            limit: float | None = None) -> CompletedProcess[bytes]:  # fmt: skip
        """Run git to its end, ``limit`` seconds at most; `StoreError` with its last word if the status is not ``fine``."""
        done = _finish(self.start(*words), words, given, limit)
        if done.returncode not in fine:
            raise failed(words[0], done.stderr, self.folder)
        return done

    def lines(self, *words: str, fine: tuple[int, ...] = (0,)) -> Iterator[bytes]:
        """The lines that git prints, as they come."""
        with self.start(*words) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdin.close()
            while line := process.stdout.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise Corrupt(f"{self.folder}: git {words[0]} finds a line of over {LONGEST_LINE >> 20} MiB there; refused")
                yield line
            err = process.stderr.read()
        if process.returncode not in fine:
            raise failed(words[0], err, self.folder)

    # -- the ref ---------------------------------------------------------------------------------------------------

    def ref(self, name: str) -> str | None:
        """The object that the ref of exactly this name points to."""
        lines = self.run("for-each-ref", "--format=%(objectname) %(refname)", name).stdout.decode().splitlines()
        return next((oid for oid, _, found in (line.partition(" ") for line in lines) if found == name), None)

    def move(self, name: str, new: str, old: str | None) -> str:
        """Point the ref at ``new`` if it still points at ``old`` (None: if there is no such ref); else, why not."""
        words = ("update-ref", "--no-deref", "-m", "mbox audit", name, new, old or "")
        if self.moving is None:
            done = _finish(self.start(*words), words, limit=None)
        else:
            with self.moving(name, new) as fd:
                done = _finish(self.start(*words, kept=(fd,)), words, limit=None)
        if done.returncode < 0:
            return f"git update-ref was ended by signal {-done.returncode}"
        if done.returncode == 0:
            return ""
        return translated(done.stderr.decode("utf-8", "replace"), self.folder) or last_line(done.stderr) or "git failed"

    def commit(self, tree: str, parents: Sequence[str], who: str, seconds: int, message: str) -> str:
        """Write a commit object, byte by byte ours: no identity, encoding or signature from the user's settings."""
        above = "".join(f"parent {parent}\n" for parent in parents)
        text = f"tree {tree}\n{above}author {who} {seconds} +0000\ncommitter {who} {seconds} +0000\n\n{message}"
        done = self.run("hash-object", "-t", "commit", "-w", "--stdin", given=text.encode())
        return done.stdout.decode().strip()

    def listing(self, commit: str) -> Iterator[tuple[str, str, str]]:
        """``(mode, oid, path)`` of every file of ``commit``, as they come; `Corrupt` past `MOST_FILES`."""
        for line in self._fields("ls-tree", "-r", "-z", "--full-tree", commit):
            about, _, path = line.partition(b"\t")
            mode, _kind, oid = about.decode().split(" ")
            yield mode, oid, path.decode("utf-8", "surrogateescape")

    def refuse_endless(self, commit: str) -> None:
        """`Corrupt` where ``commit`` has more than `MOST_FILES` files."""
        for _ in self._fields("ls-tree", "-r", "-z", "--full-tree", commit):
            pass

    def _fields(self, *words: str) -> Iterator[bytes]:
        """What git prints, each ended by NUL, as it comes."""
        count, rest = 0, b""
        with self.start(*words) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdin.close()
            while chunk := process.stdout.read(1 << 20):
                *fields, rest = (rest + chunk).split(b"\0")
                count += len(fields)
                if count > MOST_FILES or len(rest) > LONGEST_LINE:
                    raise Corrupt(f"{self.folder}: {words[-1]} has over {MOST_FILES:,} files, which audit never wrote; refused")
                yield from fields
            err = process.stderr.read()
        if process.returncode:
            raise failed(words[0], err, self.folder)


# -- the person's own ------------------------------------------------------------------------------------------------


def persons_own(folder: str, limit: float, *words: str) -> None:
    """Run the person's own git in ``folder``, with their settings, hooks, transports and credentials: they named the effect.

    `StoreError` with its last word where it fails, or takes longer than ``limit`` seconds.
    """
    import subprocess

    environ = {key: value for key, value in os.environ.items() if not key.startswith("MBOX_")}
    environ["GIT_TERMINAL_PROMPT"] = "0"
    line = ["git", "-C", folder, *words]
    try:
        done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
    except FileNotFoundError:
        raise Refused(f"git is not installed: {' '.join(words[:1])} needs it") from None
    except subprocess.TimeoutExpired:
        raise StoreError(f"git {words[0]}: no answer within {limit:.0f} s") from None
    if done.returncode:
        raise failed(words[0], done.stderr, folder)


# -- the git that calls us -------------------------------------------------------------------------------------------


def as_called(environ: Mapping[str, str], folder: str, *words: str, given: bytes = b"", limit: float = 60.0) -> bytes:
    """What the git that runs us as its hook says: in the environment that it gave us, so of its repository and its index.

    It has taken the repository for a good one and runs hooks there: it may do here what it does by itself.  `StoreError` with
    its last word where it fails, or takes longer than ``limit`` seconds.
    """
    told = {**environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    line = ("--no-optional-locks", *words)
    done = _finish(_popen(line, folder, told, "so nothing can be checked"), words, given, limit)
    if done.returncode:
        raise failed(words[0], done.stderr, folder)
    return done.stdout


# -- starting it -----------------------------------------------------------------------------------------------------


def check(found: Repository) -> None:
    """`Refused` unless ``found`` may be used: nothing speaks against it, or the person's own configuration names it."""
    if is_embedded(found):
        raise Refused(f"{embedded(found)}; a store is kept beside it or in the work tree around it")
    why = doubt(found)
    if why and not accepted(found):
        raise Refused(f"{why}: git is not called there; if you trust it: {trusting(found)}")


def embedded(found: Repository) -> str:
    return f"{found.folder} is a bare repository among the files of another one, which a clone may have brought"


def trusting(found: Repository) -> str:
    """The command that says that it is trusted."""
    return _trusting(found.top)


def _trusting(top: str) -> str:
    from shlex import quote

    return f"`git config --global --add safe.directory {quote(top)}`"


def accepted(found: Repository) -> bool:
    """Whether ``safe.directory`` of the person's own configuration names it (git-config(1)): never the repository's own."""
    asked = ("config", "--null", "--show-scope", "--type=path", "--get-all", "safe.directory")
    out = _finish(_popen(asked, "/", closed(SETTINGS) | {"GIT_DIR": os.devnull}, NO_AUDIT), asked).stdout
    fields = os.fsdecode(out).split("\0")
    folders: list[str] = []
    for scope, value in zip(fields[::2], fields[1::2], strict=False):
        if scope in ("system", "global"):
            folders = [*folders, value] if value else []
    mine = {os.path.realpath(folder) for folder in (found.top, found.common)}
    for value in folders:
        above = os.path.realpath(value.removesuffix("/*")) if value.endswith("/*") else None
        if value == "*" or os.path.realpath(value) in mine:
            return True
        if above and any(folder.startswith(f"{above.rstrip('/')}/") for folder in mine):
            return True
    return False


def _program(without: str) -> str:
    try:
        return executables.find("git")
    except FileNotFoundError:
        raise Refused(f"git is not installed, {without}") from None


def _popen(
    words: Sequence[str], cwd: str, environ: Mapping[str, str], without: str, owner: Owner | None = None,
    kept: Sequence[int] = (),
) -> Popen[bytes]:  # fmt: skip
    """Git's process, with the rights of ``owner`` (None: the caller's)."""
    from subprocess import PIPE, Popen

    reads = words[0] in READING
    line = [_program(without), *(STREAMED if reads else ()), *words]
    more: dict[str, Any] = {"preexec_fn": _bound} if reads else {}
    if owner is not None:
        environ = {**environ, **_home(owner)}
        more |= {"user": owner.uid, "group": owner.gid, "extra_groups": []}
    try:
        return Popen(line, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd, env=environ, pass_fds=kept, **more)
    except OSError as error:
        raise StoreError(f"git cannot be started in {cwd}: {error.strerror}; nothing was changed") from None


def _bound() -> None:
    """In git's process, before it is git: take `MEMORY` bytes at most, or what was allowed already."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    most = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _home(owner: Owner) -> dict[str, str]:
    """Where the configuration of ``owner`` stands; nowhere for a user of whom the machine knows none."""
    from pwd import getpwuid

    try:
        home = getpwuid(owner.uid).pw_dir
    except KeyError:
        home = os.devnull
    return {"HOME": home, "XDG_CONFIG_HOME": f"{home}/.config"}


def _finish(
    process: Popen[bytes], words: Sequence[str] = ("config",), given: bytes = b"", limit: float | None = PATIENCE
) -> CompletedProcess[bytes]:
    """Its end; `StoreError` if that does not come within ``limit`` seconds."""
    from subprocess import CompletedProcess, TimeoutExpired

    with process:
        try:
            out, err = process.communicate(given, limit)
        except TimeoutExpired:
            process.kill()
            raise StoreError(
                f"git {words[0]} does not answer: its configuration or attributes may name a file that never ends; "
                "nothing was changed"
            ) from None
    return CompletedProcess(words, process.returncode, out, err)


def _configuration(done: CompletedProcess[bytes]) -> list[tuple[str, str, str]]:
    """``(scope, key, value)`` of all that git's configurations say, in their order."""
    if done.returncode:
        raise failed("config", done.stderr)
    fields = os.fsdecode(done.stdout).split("\0")
    pairs = zip(fields[::2], fields[1::2], strict=False)
    return [(scope, *entry.partition("\n")[::2]) for scope, entry in pairs]


def _overruled(said: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """What is to hold instead: the person's own value of each setting of the repository's that names a program, or none."""
    own: dict[str, str] = {}
    theirs: dict[str, str] = {}
    hooks: dict[str, str] = {}
    for scope, key, value in said:
        section, _, rest = key.partition(".")
        name, dot, last = rest.rpartition(".")
        if section == "hook" and dot:
            hooks[f"hook.{name}.enabled"] = "false"
        elif scope in ("system", "global"):
            own[key] = value
        elif scope != "command" and (
            (dot and last in PROGRAMS.get(section, ())) or (key in DATA and not os.path.isfile(os.path.expanduser(value)))
        ):
            theirs[key] = ""
    return {**{key: own.get(key, "") for key in theirs}, **hooks}


def last_line(err: bytes) -> str:
    """The line of git's stderr that says what went wrong; in our words where git's mend stands in lines of its own."""
    if found := re.search(rb"detected dubious ownership in repository at '(.*)'\r?$", err, re.MULTILINE):
        top = found[1].decode("utf-8", "replace")
        return f"{top} belongs to another user; if you trust it: {_trusting(top)}"
    if found := re.search(rb"unknown repository extensions? found:\s+(\S.*?)\s*\Z", err, re.DOTALL):
        lacks = ", ".join(found[1].decode("utf-8", "replace").split())
        return f"it is too old for this repository, which needs {lacks}: use a newer git (2.45 for refstorage)"
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (fatal or lines or [""])[0].strip()


def failed(what: str, err: bytes, folder: str = "") -> StoreError:
    """The error for a git that failed, in the git ``folder``: in our words what the system refused, else git's last."""
    if b"Out of memory" in err or b"out of memory" in err:
        return StoreError(f"{folder}: git {what} would take over {MEMORY >> 20} MiB: an object there is larger than any that "
                          "audit writes; nothing was changed")  # fmt: skip
    if why := translated(err.decode("utf-8", "replace"), folder):
        return StoreError(f"{folder}: git {what}: {why}; nothing was changed")
    return StoreError(f"git {what}: {last_line(err) or 'ended without a word'}; nothing was changed")
