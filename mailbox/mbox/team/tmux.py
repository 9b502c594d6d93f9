"""tmux by argument lists: what the doorbell and the teams need of it, and nothing that goes through a shell.

Promised: a pane is only ever named by its id (``%7``), because ``-t name`` matches prefixes; text is typed with
``send-keys -l --``, so that no word of it is taken for a key or an option; a program is started from several words,
which tmux then runs without a shell.  A server other than the caller's default one is asked only at a socket of
the caller's, in folders where nobody else can put another in its place (`_own`).  Failures are one line: `PaneGone` where
the pane, session or server is not there, `TmuxError` for everything else.

tmux reads more in a word than what it says, and every word arrives as it is all the same.  A ``;`` at its end would end the
command: it is escaped (`_whole`).  What follows ``-s``, ``-T`` and ``-c`` is a *format*, where ``#(…)`` is run by a
shell: a title is escaped (`_literal`); a folder that would be one is not handed over, and a new pane starts where this
process stands when it calls tmux.  In a session's name ``:`` and ``.`` end it too, so one that comes out
of a document is taken only if it is letters, digits, ``_`` and ``-`` (`_named`).  Texts that tmux prints for us (``-F``,
``-p``) are constants of this module and of `doorbell`.  tmux itself is the one of an absolute folder of ``PATH``.

`FEATURES` lists each thing of tmux that is used here, with the version that brought it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence

from mbox.errors import MboxError, NotFound
from mbox.format.checks import quoted
from mbox.system import executables

FEATURES: tuple[tuple[str, str, str], ...] = (
    ("-S socket-path", "1.0", "the server that a pane belongs to"),
    ("display-message -p", "1.2", "asking for one pane's values"),
    ("pane ids (%7)", "1.5", "naming a pane for sure"),
    ("list-panes -s", "1.5", "every pane of a session"),
    ("has-session, kill-session, kill-pane", "1.0", "what is there, and ending it"),
    ("=name", "2.1", "naming a session for sure: without it, names match prefixes"),
    ("send-keys -l", "1.7", "typing a line without reading keys in it"),
    ("capture-pane -p -e", "1.8", "reading what a pane shows, with colours: a dim placeholder is not text"),
    ("#{pane_in_mode}, #{pane_dead}, #{pane_pid}", "1.8", "copy mode, and whether a pane's program has ended"),
    ("#{pane_synchronized}, #{pane_title}", "1.9", "whether keys go into other panes too; what a program says of itself"),
    ("set-environment, show-environment NAME", "1.7", "whose a session is; a member's variables are its own"),
    ("new-session, new-window, split-window with several words", "2.0", "starting a program without a shell"),
    ("new-session -P -F, new-window -P -F, split-window -P -F", "1.8", "learning the id of a new pane"),
    ("select-layout tiled", "1.3", "panes of one size"),
    ("remain-on-exit", "1.0", "a member's last words stay readable"),
    ("respawn-pane -k", "1.5", "starting a member again where it was"),
    ("select-pane -T", "2.6", "titles of panes"),
    ("set-option -p, @options of panes", "3.0", "which agent a pane belongs to"),
    ("new-session -e, new-window -e, split-window -e, respawn-pane -e", "3.2", "a member's own environment"),
    ("list-panes -a", "1.5", "a team's panes, in whatever session a person has put them"),
    ("session ids ($3)", "1.8", "naming a session whose name was changed"),
    ("destroy-unattached", "1.4", "a team's session stays, whatever the configuration says"),
    ("start-server, show-options -sv exit-unattached", "1.8", "whether the server would end at once"),
    ("send-keys -X, #{pane_mode}", "2.4", "leaving the mode in which tmux shows errors of its configuration"),
    ("attach-session, switch-client", "1.0", "`team attach`, `scripts/tmux-next`"),
    ("display-popup", "3.2", "`scripts/tmux-team`"),
)
"""What is used, the version that brought it, and what for."""

NEEDED = (3, 2)
"""The oldest version that has all of `FEATURES`."""

TIMEOUT = 10.0
"""Seconds for which a tmux command may take."""

_LACKING = re.compile(
    "can't find|no server running|no current|error connecting|server exited|lost server|no such (session|window|pane)"
)

_SMALL = re.compile("no space for|too small")


class TmuxError(MboxError):
    """tmux is not there, too old, or refused something."""

    exit = 1


class PaneGone(NotFound):
    """The pane, its session or its server is not there."""


class NoRoom(TmuxError):
    """A window is too small for one more pane."""


class Tmux:
    """One tmux server: the one at the socket ``server``, else the caller's default one."""

    __slots__ = ("server",)

    def __init__(self, server: str | None = None) -> None:
        self.server = server

    def run(self, *words: str, folder: str | None = None) -> str:
        """Run one tmux command, standing in ``folder``; what it printed.  `PaneGone`, `TmuxError`."""
        return self._call(words[0], list(map(_whole, words)), folder)

    def _call(self, what: str, words: list[str], folder: str | None = None, around: Mapping[str, str] | None = None) -> str:
        import subprocess

        if folder is not None and not os.path.isdir(folder):
            raise TmuxError(f"{folder} is no folder")
        try:
            done = subprocess.run(
                self._line(words), capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL,
                encoding="utf-8", errors="replace", env=self._environ(os.environ if around is None else around), cwd=folder,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TmuxError(f"tmux {what} did not answer within {TIMEOUT:g} s") from None
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
            kind = PaneGone if _LACKING.search(said) else TmuxError
            raise kind(f"tmux {what}: {said}")
        return done.stdout

    def _line(self, words: Iterable[str]) -> list[str]:
        try:
            program = executables.find("tmux")
        except FileNotFoundError:
            raise TmuxError("tmux is not installed; everything but panes and nudges works without it") from None
        return [program, *(["-S", _own(str(self.server))] if self._is_other() else []), *words]

    def _environ(self, given: Mapping[str, str]) -> dict[str, str]:
        return _outside(given) if self._is_other() else dict(given)

    def _is_other(self) -> bool:
        """Whether it is not the server that tmux asks unless told."""
        return self.server is not None and self.server != default()

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self, pane: str, *formats: str) -> tuple[list[str], list[str]]:
        """At one moment: the values of formats such as ``#{pane_in_mode}``, and the lines that a pane shows.

        The lines come with escape sequences for their looks.
        """
        asked = ["display-message", "-p", "-t", checked(pane), "\t".join(formats)]
        answer, *rows = self._call("capture-pane", [*asked, ";", "capture-pane", "-p", "-e", "-t", pane]).split("\n")
        return answer.split("\t"), rows[:-1]

    def panes(self, session: str) -> dict[str, dict[str, str]]:
        """Every pane of a session by its id: ``agent`` (our option), ``dead``, ``pid``, ``window``; empty if there is none."""
        shown = "#{pane_id}\t#{@mbox_agent}\t#{pane_dead}\t#{pane_pid}\t#{window_id}"
        try:
            lines = self.run("list-panes", "-s", "-t", f"{_target(session)}:", "-F", shown).splitlines()
        except PaneGone:
            return {}
        names = ("agent", "dead", "pid", "window")
        return {pane: dict(zip(names, said, strict=True)) for pane, *said in (line.split("\t") for line in lines)}

    def every_pane(self) -> dict[str, dict[str, str]]:
        """What `panes` says of every pane of the server, and which ``team`` it was made for, and its ``session`` by its id."""
        names = ("pane", "agent", "team", "dead", "pid", "window", "session")
        shown = "#{pane_id}\t#{@mbox_agent}\t#{@mbox_team}\t#{pane_dead}\t#{pane_pid}\t#{window_id}\t#{session_id}"
        try:
            lines = [line.split("\t") for line in self.run("list-panes", "-a", "-F", shown).splitlines()]
        except PaneGone:
            return {}
        rows = [dict(zip(names, said, strict=True)) for said in lines if len(said) == len(names)]
        return {row.pop("pane"): row for row in rows}

    def ends_alone(self, around: Mapping[str, str]) -> bool:
        """Whether the server ends where nobody looks at it, by its configuration; it is read if the server does not run.

        `TmuxError` where no server can be at its socket.
        """
        line = ["start-server", ";", "show-options", "-sv", "exit-unattached"]
        try:
            said = self._call("start-server", line, None, around).strip()
        except PaneGone:
            return False
        if not said:
            raise TmuxError(f"no tmux server can be at the socket {self.server or default()}")
        return said == "on"

    def text(self, pane: str) -> list[str]:
        """The rows that a pane shows; where its program has ended without the last, and with the one above.

        That last one is tmux's own, and has pushed all others one up.  Above a program that runs stand an earlier one's words.
        """
        asked = ["display-message", "-p", "-t", checked(pane), "#{pane_dead}#{?history_size,,-}"]
        said, *rows = self._call("capture-pane", [*asked, ";", "capture-pane", "-p", "-S", "-1", "-t", pane]).split("\n")
        return rows[:-2] if said[0] == "1" else rows[said == "0":-1]

    def has_session(self, session: str) -> bool:
        """Whether exactly that session is there."""
        try:
            self.run("has-session", "-t", _target(session))
        except PaneGone:
            return False
        return True

    def owner(self, session: str) -> str | None:
        """``MBOX_ROOT`` in the environment of a session: whose it is; None if it is nobody's, or not there."""
        try:
            said = self.run("show-environment", "-t", _target(session), "MBOX_ROOT")
        except (TmuxError, PaneGone):
            return None
        return said.rstrip("\n").partition("=")[2]

    def attaching(self, session: str) -> tuple[list[str], dict[str, str]]:
        """The argument list and the environment of a tmux by which this terminal becomes ``session``."""
        here = bool(os.environ.get("TMUX")) and not self._is_other()
        line = self._line(["switch-client" if here else "attach-session", "-t", _target(session)])
        return line, dict(os.environ) if here else _outside(os.environ)

    # -- typing --------------------------------------------------------------------------------------------------

    def type(self, pane: str, text: str) -> None:
        """Type ``text`` as it is; no Enter."""
        self.run("send-keys", "-t", checked(pane), "-l", "--", text)

    def press(self, pane: str, key: str, times: int = 1) -> None:
        """Press Enter, or BSpace so many times; nothing else is ever pressed."""
        if key not in ("Enter", "BSpace"):
            raise AssertionError(f"{key} is never sent")
        self.run("send-keys", "-t", checked(pane), *[key] * times)

    # -- making --------------------------------------------------------------------------------------------------

    def new_session(self, session: str, words: Sequence[str], folder: str, environ: Mapping[str, str],
                    size: tuple[int, int] = (220, 60), around: Mapping[str, str] | None = None) -> str:  # fmt: skip
        """A detached session whose first pane runs ``words``; the id of that pane, for a hook may give the session a name.

        tmux keeps ``environ`` for every pane that comes later (`forget`), and ``around`` (else the caller's) for all of a
        server that this starts.  `PaneGone` for a name that no session can have.
        """
        line = (
            "new-session", "-d", "-P", "-F", "#{pane_id}", "-s", _named(session), "-x", str(size[0]), "-y", str(size[1]),
            *_environment(environ), "--", *_line_of(words, environ),
        )  # fmt: skip
        stays = ("set-option", "destroy-unattached", "off")  # at once, before this client goes; of the newest session
        nowhere = {name: value for name, value in (os.environ if around is None else around).items() if name != "TMUX_PANE"}
        return self._call(line[0], [*map(_whole, line), ";", *stays], folder, nowhere).strip()

    def forget(self, pane: str, environ: Mapping[str, str], names: Iterable[str]) -> None:
        """Take variables ``names`` out of the environment of a pane's session, or back to what ``environ`` says."""
        for name in names:
            known = name in environ
            words = [name, environ[name]] if known else [name]
            self.run("set-environment", "-t", checked(pane), *([] if known else ["-u"]), "--", *words)

    def leave_mode(self, pane: str) -> None:
        """Leave the mode in which a server shows what its configuration has to say: no key reaches the program.

        A person who scrolls is left alone.
        """
        if self.run("display-message", "-p", "-t", checked(pane), "#{pane_mode}").strip() == "view-mode":
            self.run("send-keys", "-X", "-t", pane, "cancel")

    def split(self, pane: str, words: Sequence[str], folder: str, environ: Mapping[str, str]) -> str:
        """One more pane in the window of ``pane``; its id.  `NoRoom` where it is too small."""
        try:
            made = self.run(
                "split-window", "-d", "-P", "-F", "#{pane_id}", "-t", checked(pane),
                *_environment(environ), "--", *_line_of(words, environ), folder=folder,
            ).strip()  # fmt: skip
        except TmuxError as error:
            raise (NoRoom if _SMALL.search(str(error)) else TmuxError)(str(error)) from None
        self.run("select-layout", "-t", made, "tiled")
        return made

    def new_window(self, session: str, words: Sequence[str], folder: str, environ: Mapping[str, str]) -> str:
        """One more window in a session; the id of its pane."""
        return self.run(
            "new-window", "-d", "-P", "-F", "#{pane_id}", "-t", f"{_target(session)}:",
            *_environment(environ), "--", *_line_of(words, environ), folder=folder,
        ).strip()  # fmt: skip

    def respawn(self, pane: str, words: Sequence[str], folder: str, environ: Mapping[str, str]) -> None:
        """Run ``words`` in a pane whose program has ended, or is ended by this.

        A folder that tmux would read as a format is the one that the pane had.
        """
        where = ["-c", folder] if folder == _literal(folder) else []
        self.run(
            "respawn-pane", "-k", "-t", checked(pane), *where, *_environment(environ), "--", *_line_of(words, environ),
        )  # fmt: skip

    def mark(self, pane: str, agent: str, title: str, team: str = "") -> None:
        """Let the pane stay when its program ends, say whose it is, and of which team, and give it a title: in one call."""
        option = ("set-option", "-p", "-t", checked(pane))
        asked = [(*option, "remain-on-exit", "on"), (*option, "@mbox_agent", agent), (*option, "@mbox_team", team),
                 ("select-pane", "-t", pane, "-T", _literal(title))]  # fmt: skip
        self._call("set-option", [word for line in asked for word in (*map(_whole, line), ";")][:-1])

    def close_pane(self, pane: str) -> None:
        """Remove a pane; one that is gone is gone."""
        try:
            self.run("kill-pane", "-t", checked(pane))
        except PaneGone:
            pass

    def close_session(self, session: str) -> None:
        """Remove a session and its panes; one that is gone is gone."""
        try:
            self.run("kill-session", "-t", _target(session))
        except PaneGone:
            pass


def default() -> str:
    """The socket of the server that tmux uses unless told: the one around this process, else the user's own."""
    said = os.environ.get("TMUX_TMPDIR") or "/tmp"
    folder = os.path.realpath(said if os.path.isdir(said) else "/tmp")  # as tmux does
    return around() or f"{folder}/tmux-{os.getuid()}/default"


def around() -> str | None:
    """The socket of the server in one of whose panes this process runs; None outside of tmux."""
    return os.environ.get("TMUX", "").rpartition(",")[0].rpartition(",")[0] or None


def _own(server: str) -> str:
    """Where the socket ``server`` really is; `PaneGone` if another user made it, or could put one of its own there.

    Such a server can have tmux write a file or run a program as the caller.
    """
    try:
        real = os.path.realpath(server)
        uid = os.stat(real).st_uid
    except (OSError, ValueError):
        return server  # nothing to connect to, and tmux says why
    if uid != os.geteuid():
        raise PaneGone(f"{real} belongs to another user (uid {uid}), and a tmux server there is not asked")
    folder = real
    while folder != "/":
        folder = os.path.dirname(folder)
        info = os.stat(folder)
        if info.st_uid not in (0, os.geteuid()) or (info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX):
            raise PaneGone(f"{folder} can be written by other users, so no tmux server in it is asked: chmod go-w {folder}")
    return real


def checked(pane: str) -> str:
    """``pane`` if it is a pane's id; a name would match prefixes."""
    if not re.fullmatch(r"%[0-9]{1,9}", pane):
        raise PaneGone(f"{pane!r} is no pane id such as %7")
    return pane


def _named(session: str) -> str:
    """``session`` if a session of ours can have that name; `PaneGone` for what tmux would read more in."""
    if not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]*", session):
        raise PaneGone(f"{quoted(session)} is no name of a tmux session of ours: letters, digits, _ and -")
    return session


def _target(session: str) -> str:
    """What names that session and no other whose name begins so: its name, or its id (``$3``)."""
    return session if re.fullmatch(r"\$[0-9]{1,9}", session) else f"={_named(session)}"


def _outside(given: Mapping[str, str]) -> dict[str, str]:
    """An environment as it is outside of tmux."""
    return {name: value for name, value in given.items() if name not in ("TMUX", "TMUX_PANE")}


def version() -> tuple[int, int]:
    """The version of the tmux on the PATH; `TmuxError` if there is none."""
    found = re.search(r"([0-9]+)\.([0-9]+)", Tmux().run("-V"))
    return (int(found[1]), int(found[2])) if found else NEEDED  # "tmux master" has everything


def require() -> None:
    """`TmuxError` with the mend unless a tmux that can do all of `FEATURES` is there."""
    have = version()
    if have < NEEDED:
        wanted = ", ".join(what for what, since, _ in FEATURES if tuple(map(int, since.split("."))) > have)
        raise TmuxError(f"tmux {have[0]}.{have[1]} is too old, {NEEDED[0]}.{NEEDED[1]} has what is needed: {wanted}")


def _whole(word: str) -> str:
    """A word whose last ``;`` does not end the command."""
    return f"{word[:-1]}\\;" if word.endswith(";") else word


def _literal(text: str) -> str:
    """The format that stands for ``text``."""
    return text.replace("#", "##")


def _environment(environ: Mapping[str, str]) -> list[str]:
    return [word for name, value in environ.items() for word in ("-e", f"{name}={value}")]


def _line_of(words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Several words, which tmux runs as they are; a single one it would hand to a shell, so `env` goes before it.

    It also sets ``PATH``, for which tmux takes that of whoever calls it, and not what ``-e`` says.
    """
    path = [f"PATH={environ['PATH']}"] if "PATH" in environ else []
    return [executables.find("env"), *path, *words] if path or len(words) == 1 else list(words)
