"""tmux by argument lists: what the doorbell and the teams need of it, and nothing that goes through a shell.

Promised: a pane is only ever named by its id (``%7``), because ``-t name`` matches prefixes; text is typed with
``send-keys -l --``, so that no word of it is taken for a key or an option; a program is started from several words,
which tmux then runs without a shell.  Every word arrives as it is: a ``;`` at a word's end, which would end tmux's command,
is escaped, and so is ``#`` in a title, where ``#(…)`` would be run; folders are never formats, because a new pane starts
where this process stands when it calls tmux.  Failures are one line: `Gone` where the pane, session or server is not
there, `TmuxError` for everything else.

`FEATURES` lists each thing of tmux that is used here, with the version that brought it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from mbox.errors import MboxError, NotFound

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
    ("set-environment, show-environment NAME", "1.7", "whose a session is; a member's variables are its own"),
    ("new-session, new-window, split-window with several words", "2.0", "starting a program without a shell"),
    ("new-session -P -F, new-window -P -F, split-window -P -F", "1.8", "learning the id of a new pane"),
    ("select-layout tiled", "1.3", "panes of one size"),
    ("remain-on-exit", "1.0", "a member's last words stay readable"),
    ("respawn-pane -k", "1.5", "starting a member again where it was"),
    ("select-pane -T", "2.6", "titles of panes"),
    ("set-option -p, @options of panes", "3.0", "which agent a pane belongs to"),
    ("new-session -e, new-window -e, split-window -e, respawn-pane -e", "3.2", "a member's own environment"),
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


class TmuxError(MboxError):
    """tmux is not there, too old, or refused something."""

    exit = 1


class Gone(NotFound):
    """The pane, its session or its server is not there."""


class Tmux:
    """One tmux server: the one at the socket ``server``, else the caller's default one."""

    __slots__ = ("server",)

    def __init__(self, server: str | None = None) -> None:
        self.server = server

    def run(self, *words: str, folder: str | None = None) -> str:
        """Run one tmux command, standing in ``folder``; what it printed.  `Gone`, `TmuxError`."""
        return self._call(words[0], list(map(_whole, words)), folder)

    def _call(self, what: str, words: list[str], folder: str | None = None) -> str:
        import subprocess

        if folder is not None and not os.path.isdir(folder):
            raise TmuxError(f"{folder} is no folder")
        other = self.server is not None and self.server != default()
        line = ["tmux", *(["-S", str(self.server)] if other else []), *words]
        environ = {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL,
                encoding="utf-8", errors="replace", env=environ if other else None, cwd=folder,
            )  # fmt: skip
        except FileNotFoundError:
            raise TmuxError("tmux is not installed; everything but panes and nudges works without it") from None
        except subprocess.TimeoutExpired:
            raise TmuxError(f"tmux {what} did not answer within {TIMEOUT:g} s") from None
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
            kind = Gone if _LACKING.search(said) else TmuxError
            raise kind(f"tmux {what}: {said}")
        return done.stdout

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
            lines = self.run("list-panes", "-s", "-t", f"={session}:", "-F", shown).splitlines()
        except Gone:
            return {}
        names = ("agent", "dead", "pid", "window")
        return {pane: dict(zip(names, said, strict=True)) for pane, *said in (line.split("\t") for line in lines)}

    def has_session(self, session: str) -> bool:
        """Whether exactly that session is there."""
        try:
            self.run("has-session", "-t", f"={session}")
        except Gone:
            return False
        return True

    def owner(self, session: str) -> str | None:
        """``MBOX_ROOT`` in the environment of a session: whose it is; None if it is nobody's, or not there."""
        try:
            said = self.run("show-environment", "-t", f"={session}", "MBOX_ROOT")
        except (TmuxError, Gone):
            return None
        return said.rstrip("\n").partition("=")[2]

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
                    size: tuple[int, int] = (220, 60)) -> str:  # fmt: skip
        """A detached session whose first pane runs ``words``; the id of that pane.

        tmux keeps ``environ`` for every pane that comes later (`forget`).
        """
        return self.run(
            "new-session", "-d", "-P", "-F", "#{pane_id}", "-s", session, "-x", str(size[0]), "-y", str(size[1]),
            *_environment(environ), "--", *_without_shell(words), folder=folder,
        ).strip()  # fmt: skip

    def forget(self, session: str, environ: Mapping[str, str], names: Iterable[str]) -> None:
        """Take variables ``names`` out of a session's environment, or back to what ``environ`` says."""
        for name in names:
            known = name in environ
            words = [name, environ[name]] if known else [name]
            self.run("set-environment", "-t", f"={session}", *([] if known else ["-u"]), "--", *words)

    def split(self, pane: str, words: Sequence[str], folder: str, environ: Mapping[str, str]) -> str:
        """One more pane in the window of ``pane``; its id."""
        made = self.run(
            "split-window", "-d", "-P", "-F", "#{pane_id}", "-t", checked(pane),
            *_environment(environ), "--", *_without_shell(words), folder=folder,
        ).strip()  # fmt: skip
        self.run("select-layout", "-t", made, "tiled")
        return made

    def new_window(self, session: str, words: Sequence[str], folder: str, environ: Mapping[str, str]) -> str:
        """One more window in a session; the id of its pane."""
        return self.run(
            "new-window", "-d", "-P", "-F", "#{pane_id}", "-t", f"={session}:",
            *_environment(environ), "--", *_without_shell(words), folder=folder,
        ).strip()  # fmt: skip

    def respawn(self, pane: str, words: Sequence[str], folder: str, environ: Mapping[str, str]) -> None:
        """Run ``words`` in a pane whose program has ended, or is ended by this.

        A folder with ``#`` in its name, which tmux would read as a format, is the one that the pane had.
        """
        where = [] if "#" in folder else ["-c", folder]
        self.run(
            "respawn-pane", "-k", "-t", checked(pane), *where, *_environment(environ), "--", *_without_shell(words),
        )  # fmt: skip

    def mark(self, pane: str, agent: str, title: str) -> None:
        """Say whose the pane is, give it a title, and let it stay when its program ends."""
        self.run("set-option", "-p", "-t", checked(pane), "@mbox_agent", agent)
        self.run("set-option", "-p", "-t", pane, "remain-on-exit", "on")
        self.run("select-pane", "-t", pane, "-T", title.replace("#", "##"))

    def close_pane(self, pane: str) -> None:
        """Remove a pane; one that is gone is gone."""
        try:
            self.run("kill-pane", "-t", checked(pane))
        except Gone:
            pass

    def close_session(self, session: str) -> None:
        """Remove a session and its panes; one that is gone is gone."""
        try:
            self.run("kill-session", "-t", f"={session}")
        except Gone:
            pass


def default() -> str:
    """The socket of the server that tmux uses unless told: the one around this process, else the user's own."""
    folder = os.path.realpath(os.environ.get("TMUX_TMPDIR") or "/tmp")
    return around() or f"{folder}/tmux-{os.getuid()}/default"


def around() -> str | None:
    """The socket of the server in one of whose panes this process runs; None outside of tmux."""
    return os.environ.get("TMUX", "").rpartition(",")[0].rpartition(",")[0] or None


def checked(pane: str) -> str:
    """``pane`` if it is a pane's id; a name would match prefixes."""
    if not re.fullmatch(r"%[0-9]{1,9}", pane):
        raise Gone(f"{pane!r} is no pane id such as %7")
    return pane


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


def _environment(environ: Mapping[str, str]) -> list[str]:
    return [word for name, value in environ.items() for word in ("-e", f"{name}={value}")]


def _without_shell(words: Sequence[str]) -> list[str]:
    """Several words, which tmux runs as they are; a single one it would hand to a shell, so `env` goes before it."""
    return list(words) if len(words) > 1 else ["env", *words]
