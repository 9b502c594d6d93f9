"""A careful reading of a shell command line: which files it would write, by its words.  Nothing is run, no disk is touched.

Promised: `read` never raises and takes well under a second, whatever it is given.  Where ``certain`` is true, every file of
a work tree that the line writes, moves or removes stands in ``writes`` or below one of ``trees``, provided that the programs it
names are what their names say and that repositories' own hooks and filters write nothing.  ``writes`` may name more than a run
changes: both ways of an ``if``, what a failed ``&&`` would have skipped.  Folders that are made are no writes.
Not promised: that all is found where ``certain`` is false; whoever asks looks at the disk afterwards.  Symlinks are not
followed.  Variables of the environment but ``HOME`` and ``PWD`` are unknown.

Here: what is given back, and the programs that write nothing.  `shellsyntax` goes from text to commands, `shellwords` from words
to fields, `shellwalk` along the commands; `shellstarters`, `shelltools` and `shellgit` know what programs write, and are loaded
when a line names one of theirs.  It may import only what costs nothing (it runs before every shell call of an agent).
"""

from __future__ import annotations

import os
import posixpath

from .shellsyntax import HOLE, Unread
from .shellwalk import Walker
from .shellwords import Surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .shellwalk import Call, Handler


class Reading:
    """What a line would do, as far as its words tell.

    ``writes``: absolute, lexically normalised paths.  ``trees``: those of them below which everything is meant.  ``removed``:
    what ``rm -r`` is given, a pattern as it stands.  ``patches``: folder and text of each ``apply_patch``.  ``commands``: every
    command that is started, as words, wrappers (``sudo``, ``sh -c``) both as they stand and peeled; ``$`` is what is unknown.
    """

    __slots__ = ("certain", "commands", "patches", "removed", "trees", "writes")

    def __init__(self, walker: Walker) -> None:
        self.writes = list(walker.found)
        self.trees = [path for path, below in walker.found.items() if below]
        self.patches, self.removed, self.commands = walker.patches, walker.removed, walker.commands
        self.certain = walker.certain


def read(line: str, cwd: str, home: str, is_folder: Callable[[str], bool] | None = None) -> Reading:
    """What ``line``, run by bash in ``cwd``, would write.

    ``is_folder`` tells ``mv a folder`` from ``mv a file``; without it both readings stand in ``writes``.
    """
    walker = Walker(home, is_folder, handler)
    clean = line
    for letter in "\0\1\2\3":
        if letter in clean:
            clean = clean.replace(letter, HOLE)
            walker.doubt()
    try:
        walker.script(clean, Surroundings(posixpath.normpath(cwd) if cwd.startswith("/") else None))
    except (Unread, RecursionError):
        walker.doubt()
    found = Reading(walker)
    found.certain = found.certain and not is_odd(line, cwd, found.commands)
    return found


NAMES = (["rm"], ["mv"], ["unlink"], ["ln"], ["cd"], ["pushd"])


def follows(reading: Reading) -> bool:
    """Whether something of a line writes through a symlink; not if all of it moves and removes names."""
    return not all(words[:1] in NAMES for words in reading.commands)


ODD = (
    "/dev/fd/", "/proc/", "/dev/stdin", "${!", "@P}", ":-", ":=", ":+", ":?", "<(", ">(", "((", "$[", "\\\n", "trap ", "PS4",
    "IFS", "PATH=", "PATH in", "export -f", "unset ", "mapfile", "readarray", "coproc", "-v ", "wait -", "set -x",
)  # fmt: skip
"""Parts of a line that can do something else than they show: open files again, run a text as a command, be read in two ways."""

UNSURE = frozenset(("tar", "xxd", "patch", "perl", "ruby", "curl", "wget", "ss", "pip", "pip3", "uniq"))
"""Programs of so many ways to name a file they write that what is read of one is never called all."""


def is_odd(line: str, cwd: str, commands: list[list[str]]) -> bool:
    """Whether a line that seems to be read whole may not be: then it is looked at afterwards what it did.

    ``..`` behind a folder that is a link leads elsewhere than it reads; an option of one letter may be short for any.
    """
    if any(part in line for part in ODD):
        return True
    if ".." in line and (os.path.realpath(cwd) != cwd or any(word in line for word in ("cd ", "-C", "pushd"))):
        return True
    return any(words[0].rpartition("/")[2] in UNSURE or any(map(_is_short, words)) for words in commands if words)


def _is_short(word: str) -> bool:
    return (word.startswith("--") and len(word) > 2 and (len(word) == 3 or word[3] == "=")) or word.startswith("--output")


def handler(name: str, words: list[str]) -> Handler | None:
    """What notes the writes of a program that is given these words; None if it is not known here."""
    if name in PURE:
        return _idle
    if name in LOOKS:
        verbs = LOOKS[name].split()
        if words in (["--version"], ["-V"]) or any(".".join(words[:n]) in verbs for n in (1, 2)):
            return _idle
    if name == "git":
        from .shellgit import git

        return git
    from .shellstarters import HANDLERS

    if name not in HANDLERS:
        from .shelltools import HANDLERS
    return HANDLERS.get(name)


def _idle(call: Call) -> None:
    """It writes nothing."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PURE = _words(
    ": [ test true false echo pwd type help fg bg disown wait kill ulimit times exit caller logout getconf"
    " printenv getent ls dir vdir eza cat head tail tac rev nl od hexdump hd strings grep egrep fgrep zgrep zcat"
    " bzcat xzcat zstdcat bzgrep xzgrep wc cut tr fold fmt pr expand unexpand paste join comm column colrm look"
    " tsort numfmt seq yes expr factor bc diff diff3 cmp colordiff icdiff stat du df jq gron base32 basenc sum"
    " cksum b2sum md5sum md5 sha1sum sha224sum sha256sum sha384sum sha512sum shasum crc32 basename dirname"
    " realpath readlink pathchk which whereis whatis apropos locate mdfind sleep date cal uptime free vmstat"
    " iostat lscpu lsblk lspci lsusb lsmod lsof ss netstat ping ping6 traceroute dig host nslookup whois ps pgrep"
    " pkill killall pidof pstree top htop nproc arch uname hostname hostnamectl id whoami who w users groups"
    " logname tty stty tput clear reset locale last lastlog finger findmnt sw_vers sysctl dmesg journalctl ip"
    " ifconfig route tokei issues more most cowsay figlet pbcopy pbpaste xclip nm objdump readelf size otool ncal"
    " pinfo sync envsubst gettext ngettext task reserve exa shellcheck yamllint actionlint hadolint lsattr getfacl"
    " getfattr"
)
"""Programs that write no file, whatever their words are."""

LOOKS: dict[str, str] = {
    **dict.fromkeys(("python", "python3", "node", "npx", "yarn", "pnpm", "rustc", "java", "javac", "ruby", "gem", "perl",
                     "gcc", "cc", "clang", "make", "cmake", "git", "ruff", "mypy", "pytest", "black", "uv", "poetry",
                     "deno", "bun", "tsc", "php", "dotnet", "swift"), ""),
    "pip": "list show freeze check", "pip3": "list show freeze check", "npm": "ls list view outdated",
    "cargo": "search", "go": "version doc", "docker": "ps images logs inspect version info",
    "kubectl": "get describe logs version", "systemctl": "status is-active list-units cat show",
    "brew": "list info search deps", "apt": "list show search", "apt-cache": "search show policy",
    "dpkg": "-l -L -s -S --list", "team": "status report", "workflow": "list show logs explain report lint graph watch",
    "gh": "auth.status gist.list gist.view issue.close issue.comment issue.create issue.edit issue.list issue.status"
          " issue.view label.list pr.checks pr.close pr.comment pr.create pr.diff pr.edit pr.list pr.review pr.status pr.view"
          " release.list release.view repo.list repo.view run.list run.view search.code search.issues search.prs"
          " workflow.list workflow.view",
}  # fmt: skip
"""Programs that write nothing while they are asked for their version, or given one of these verbs."""
