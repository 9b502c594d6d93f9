"""The doorbell: screens that were seen, and real panes with small programs that behave like agents'."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from conftest import Run
from kit import FakeHost
from mbox.agents import presence, registry
from mbox.errors import TimedOut, Usage
from mbox.format import places
from mbox.format.parsing import yaml_document
from mbox.hosts import programs, screen
from mbox.hosts.screen import LINE
from mbox.opening import init, open_store
from mbox.store.mutex import exclusively
from mbox.store.store import Actor, Store
from mbox.system.host import REAL
from mbox.team import doorbell, tmux
from mbox.team.doorbell import Doorbell
from mbox.team.tmux import PaneGone, Tmux
from teamkit import CONFIG, HAVE_TMUX, NO_TMUX, end_all, environment, server, until

HERE = Path(__file__).parents[1]
SCREENS = sorted((HERE / "screens").glob("*.txt"))
FAKE = HERE / "fakes/agent.py"
CLAUDE = programs.get("claude")


@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_screens_that_were_seen(path: Path) -> None:
    """State, and the text in the box: a dim placeholder is none."""
    head, _, text = path.read_text(encoding="utf-8").partition("\n")
    state, typed, title = [*head.split("|", 2), ""][:3]
    found = screen.read(text.split("\n"), programs.get(path.stem.partition("-")[0]), title)
    assert (found.state, found.typed) == (state, typed)


QUOTED = [
    "Do you want to proceed?", "❯ 1. Yes", "› 1. Yes", "● 1. first", "  2. No", "Press Enter to confirm", "Esc to cancel",
    "press esc to interrupt", "esc to cancel", "Allow execution of it? (y/n)", "[ . ] Action Required", "⠋ is a spinner",
    "The log says: You've hit your usage limit, try again at 3:04 PM.", "Working (ten minutes, esc to interrupt)",
]  # fmt: skip


@pytest.mark.parametrize("said", QUOTED)
@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
def test_ordinary_words_of_an_answer_are_no_dialog_no_turn_and_no_limit(name: str, said: str) -> None:
    """As the first row of an answer, in the middle, or as its last row above an empty box."""
    sign = {"claude": "● ", "codex": "• ", "gemini": "✦ "}[name]
    text = (HERE / f"screens/{name}-idle.txt").read_text(encoding="utf-8").partition("\n")[2].split("\n")
    host = programs.get(name)
    for answer in ([sign + said, "  and more"], [f"{sign}It says:", f"  {said}", "  and more"], [f"{sign}It says:", f"  {said}"]):
        assert screen.read([*answer, "", *text], host).state == "idle", answer


def test_a_pane_title_tells_a_turn_and_a_question_that_the_screen_does_not_show() -> None:
    """Codex streams an answer under an empty box; its title says that it is in a turn."""
    rows = (HERE / "screens/codex-streams.txt").read_text(encoding="utf-8").split("\n")[1:]
    host = programs.get("codex")
    said = {"work": "idle", "⠼ a task | work": "busy", "[ ! ] Action Required | work": "dialog"}
    assert {title: screen.read(rows, host, title).state for title in said} == said


def test_the_words_of_a_dialog_and_of_a_limit_are_told() -> None:
    """What a person should know; not what stands above it."""
    rows = (HERE / "screens/claude-permission.txt").read_text(encoding="utf-8").split("\n")[1:]
    words = screen.read(rows, CLAUDE).words
    assert words.startswith("Bash command / run it / touch /tmp/zz / Do you want to proceed? / ❯ 1. Yes / ")
    rows = (HERE / "screens/codex-limit.txt").read_text(encoding="utf-8").split("\n")[1:]
    assert screen.read(rows, programs.get("codex")).words.endswith("or try again at 11:45 AM.")
    rule = "─" * 40
    for said in ("You've hit your session limit · resets 8:30pm (Asia/Tokyo)", "You've hit your limit · resets 3pm",
                 "5-hour limit reached ∙ resets 3pm"):  # fmt: skip
        shown = screen.read([f"  ⎿  {said}", "     /upgrade for more", "", "✻ Baked for 0s", rule, "❯\u00a0", rule], CLAUDE)
        assert (shown.state, said in shown.words) == ("limit", True)
        shown = screen.read([f"  ⎿  {said}", "", "❯ go on", "", "● Done.", rule, "❯\u00a0", rule], CLAUDE)
        assert shown.state == "idle", "another turn came after it"


LIMITS = {
    "claude": ["  ⎿  You've hit your {} limit · resets 3pm (UTC)",
               "  ⎿  You're out of usage credits · resets 3pm (UTC) · progress saved",
               "  ⎿  You've reached your Fable 5 limit. /model to switch models.", "  ⎿  You're out of extra usage · resets 3pm",
               "  ⎿  Your org is out of usage · contact your admin", "  ⎿  Limit reached · resets 3pm (UTC)",
               "  ⎿  Claude usage limit reached. Your limit will reset at 3pm (America/New_York).",
               "  ⎿  Opus 5 requires usage credits. /model to switch models."],
    "codex": ["■ You’ve hit your usage limit. Visit https://chatgpt.com/ or try again at Dec 2nd, 2026 8:06 PM.",
              "■ You've reached your usage limit. Increase your limits to continue using codex.",
              "■ Your workspace is out of credits. Add credits to continue."],
}  # fmt: skip


@pytest.mark.parametrize("columns", [22, 30, 44, 110])
@pytest.mark.parametrize(("name", "said"), [(name, said) for name in LIMITS for said in LIMITS[name]])
def test_a_limit_is_known_in_its_programs_words_however_narrow_the_pane_is(name: str, said: str, columns: int) -> None:
    """The row wraps as the program wraps it, and all of it is told."""
    from textwrap import wrap

    said = said.format("weekly")
    inside = " " * (len(said) - len(said.lstrip())) + "   " if said.startswith(" ") else ""
    rows = wrap(said, columns, subsequent_indent=inside, break_long_words=False, break_on_hyphens=False, drop_whitespace=True)
    text = (HERE / f"screens/{name}-idle.txt").read_text(encoding="utf-8").partition("\n")[2].split("\n")
    below = text[{"claude": 3, "codex": 2}[name]:]
    shown = screen.read([*rows, "", *below], programs.get(name))
    assert shown.state == "limit" and " ".join(shown.words.replace(" / ", " ").split()) == " ".join(said.split())


@pytest.mark.parametrize("said", [
    ["● Bash(grep -r limit .)", "  ⎿  You've hit your limit", "", "● It is in errors.py."],
    ["● You've hit your limit is what it says."], ["● Rate limit reached: that row is done."],
    ["● Done.", "  ⎿  You've hit your stride. No limit"], ["● It says:", "  You've hit your usage limit, resets 3pm"],
])  # fmt: skip
def test_words_about_a_limit_are_no_limit(said: list[str]) -> None:
    """In an answer, or in what a command printed before one."""
    rule = "─" * 40
    assert screen.read([*said, "", "✻ Baked for 3s", rule, "❯\u00a0", rule], CLAUDE).state == "idle"


def test_the_words_of_a_question_are_those_below_its_rule() -> None:
    """Claude draws the rule above a menu of its own with another sign."""
    rows = (HERE / "screens/claude-limit-menu.txt").read_text(encoding="utf-8").split("\n")[1:]
    assert screen.read(rows, CLAUDE).words.startswith("What do you want to do? / ❯ 1. Stop and wait")


@pytest.mark.parametrize("row", ["✻ Onioning… (5s · ↓ 63 tokens)", "✻ Transfiguring…"])
@pytest.mark.parametrize("footer", ["  ⏵⏵ bypass permissions on ·", ""])
def test_a_turn_is_seen_where_the_footer_has_no_room(row: str, footer: str) -> None:
    """In a narrow pane, or a low one, its own row above the box is all there is."""
    rule = "─" * 30
    assert screen.read(["● Some words", "", row, "", rule, "❯\u00a0", rule, footer], CLAUDE).state == "busy"


def test_a_footer_that_is_cut_short_still_tells_a_turn() -> None:
    """As a pane of 44 columns shows it."""
    rule = "─" * 44
    for cut in ("esc to inter…", "esc to i…", "esc to interrupt"):
        shown = screen.read(["● Some words", rule, "❯\u00a0", rule, f"  ⏵⏵ bypass permissions on · {cut}"], CLAUDE)
        assert shown.state == "busy", cut


@pytest.mark.parametrize("glyph", "⠋⠙⠿⡀⣾⢿")
def test_any_braille_sign_is_a_spinner_of_a_title(glyph: str) -> None:
    """Programs change their frames from one version to the next."""
    rows = (HERE / "screens/codex-streams.txt").read_text(encoding="utf-8").split("\n")[1:]
    assert screen.read(rows, programs.get("codex"), f"{glyph} a task | work").state == "busy"


@pytest.mark.parametrize("columns", [24, 30, 40, 80])
def test_our_line_is_known_however_the_box_wraps_it(columns: int) -> None:
    """Rows of the box are one text; what is not exactly ours is not."""
    rule = "─" * columns
    rows = [LINE[at:at + columns] for at in range(0, len(LINE), columns)]
    shown = screen.read([rule, "❯\u00a0" + rows[0], *("  " + row for row in rows[1:]), rule], CLAUDE)
    assert shown.state == "typing" and screen.is_ours(shown.typed)
    assert not screen.is_ours(shown.typed + "x") and not screen.is_ours(LINE[:-1])


def test_a_screen_without_a_box_is_never_idle() -> None:
    """Unknown is busy; a host that is not known is never typed into."""
    assert screen.read(["", "hello", "$ "], CLAUDE).state == "busy"
    assert screen.read(["❯\u00a0"], programs.get("nobody-knows-it")).state == "busy"


def test_the_line_is_fixed_and_names_no_content() -> None:
    """One line, printable ASCII, so that every program shows it as it was typed."""
    assert LINE.isascii() and LINE.isprintable() and "mbox read" in LINE


def test_every_host_can_be_read() -> None:
    """The data file: words, and patterns that compile; a shell is never typed into."""
    known = programs.load()
    assert {"claude", "codex", "gemini", "shell"} <= known.keys()
    assert not known["shell"].nudge and all(host.nudge and host.prompt for host in known.values() if host.name != "shell")
    assert known["gemini"].command(None, "m'x", "do $(it)") == ["gemini", "--model", "m'x", "--prompt-interactive", "do $(it)"]
    assert known["claude"].command(["my", "claude"], prompt="-x") == ["my", "claude", "-x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x:\n  prompt: '('\n", "h.yaml:2:11: prompt must be a regular expression, not '(': "),
        ("x:\n  busy: [a, '[']\n", "h.yaml:2:13: busy must be a regular expression, not '[': "),
        ("x: {nudge: never}\n", "h.yaml:1:12: nudge must be true or false, not 'never'"),
        ("x: {strat: [x]}\n", "h.yaml:1:5: unknown key 'strat'; did you mean start"),
        ("x: {start: x}\n", "h.yaml:1:12: start must be a list of words such as [claude, --verbose], not 'x'"),
    ],
)
def test_a_host_that_is_described_wrongly_is_named_with_its_place(text: str, said: str) -> None:
    """A line that somebody added for another program is checked as every other file is."""
    with pytest.raises(Usage) as error:
        programs.parse(*yaml_document(text, "h.yaml"))
    assert str(error.value).startswith(said)


def test_only_pane_ids_name_panes() -> None:
    """A name would match prefixes."""
    for word in ("worker", "mbox-blue", "%", "%7;kill-server", "=x", "%1234567890"):
        with pytest.raises(PaneGone, match="no pane id"):
            tmux.checked(word)
    assert tmux.checked("%7") == "%7"


def test_a_socket_of_another_user_is_never_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that came with a clone may name one; its server would tell the client to write files and run programs."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.settimeout(0.2)
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        for ask in (lambda: Tmux(str(tmp_path / "s")).look("%1", "#{pane_dead}"), lambda: Tmux(str(tmp_path / "s")).run("ls")):
            with pytest.raises(PaneGone, match="another user"):
                ask()
        with pytest.raises(TimeoutError):
            listening.accept()


def test_a_socket_that_others_could_exchange_is_never_connected_to(tmp_path: Path) -> None:
    """In a folder that others can write it is theirs a moment later, by its name or by a symlink's on the way."""
    (tmp_path / "open").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "open/s"))
        listening.listen()
        listening.settimeout(0.2)
        (tmp_path / "link").symlink_to("open")
        (tmp_path / "open").chmod(0o777)
        for path in ("open/s", "link/s"):
            with pytest.raises(PaneGone, match="chmod go-w"):
                Tmux(str(tmp_path / path)).run("ls")
        with pytest.raises(TimeoutError):
            listening.accept()


def test_other_keys_are_never_sent() -> None:
    """Escape, Ctrl-C and clear commands have no way out of here."""
    for key in ("Escape", "C-c", "C-u", "C-l"):
        with pytest.raises(AssertionError, match="never sent"):
            Tmux("/nowhere").press("%1", key)


def test_features_are_listed_up_to_what_is_needed() -> None:
    """The newest one used decides what tmux must be."""
    assert max(tuple(map(int, since.split("."))) for _, since, _ in tmux.FEATURES) == tmux.NEEDED


def test_every_tmux_command_that_is_used_is_listed() -> None:
    """In the modules and in the helper scripts: a command that is not listed may be missing from an old tmux."""
    project = HERE.parent
    used: set[str] = set()
    for path in (project / "mailbox/mbox").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "tmux" in text:
            used |= set(re.findall(r'(?:\.run\(\s*|\[|"tmux", )"([a-z]+-[a-z]+)"', text))
    for path in (project / "scripts").glob("tmux-*"):
        used |= set(re.findall(r"(?:tmux|\\;) ([a-z]+-[a-z]+)", path.read_text(encoding="utf-8")))
    assert {"send-keys", "capture-pane", "respawn-pane", "display-popup", "switch-client"} <= used
    listed = " ".join(what for what, _, _ in tmux.FEATURES)
    assert not {word for word in used if word not in listed}


# -- panes -----------------------------------------------------------------------------------------------------------


class Watched(Tmux):
    """Notes when each Enter was pressed, and when the pane was looked at before it."""

    __slots__ = ("enters", "looked")

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.looked = 0.0
        self.enters: list[tuple[float, float]] = []

    def look(self, pane: str, *formats: str) -> tuple[list[str], list[str]]:
        self.looked = time.monotonic()
        return super().look(pane, *formats)

    def press(self, pane: str, key: str, times: int = 1) -> None:
        if key == "Enter":
            self.enters.append((time.monotonic(), self.looked))
        super().press(pane, key, times)


class Pane:
    """A pane with a fake agent in it."""

    def __init__(self, folder: Path, socket: str, modes: list[str], seed: int = 1) -> None:
        self.tmux = Watched(socket)
        self.log = folder / f"log-{'-'.join(modes) or 'plain'}"
        words = [sys.executable, str(FAKE), str(self.log), *modes]
        name = f"fake-{'-'.join(modes) or 'plain'}"
        self.id = self.tmux.new_session(name, words, str(folder), {"FAKE_SEED": str(seed)}, (70, 14))
        self.tmux.mark(self.id, "fake", "fake")
        until(self.log.exists, "the fake", at=folder)
        self.bell = Doorbell(self.tmux, self.id, CLAUDE, REAL)
        until(lambda: self.bell.glance().state != "busy", lambda: self.tmux.look(self.id))

    def lines(self) -> list[str]:
        """What the fake noted."""
        return self.log.read_text().splitlines()

    def taken(self) -> list[str]:
        """The lines that it took."""
        return [line.removeprefix("took: ") for line in self.lines() if line.startswith("took: ")]

    def blind_enters(self) -> list[str]:
        """Enters that a dialog got although it was on the screen when the pane was looked at before."""
        found = []
        for line in self.lines():
            if line.startswith("dialog got: '\\r'"):
                drawn_at, got_at = map(float, line.split()[-2:])
                looked = max(looked for pressed, looked in self.tmux.enters if pressed <= got_at)
                found += [line] if looked > drawn_at + 0.05 else []
        return found


Open = Callable[..., Pane]


@pytest.fixture
def pane(tmp_path: Path) -> Iterator[Open]:
    """Open panes in a private tmux."""
    if not HAVE_TMUX:
        pytest.skip(NO_TMUX)
    with server(tmp_path) as socket:
        yield lambda *modes, seed=1: Pane(tmp_path, socket, list(modes), seed)


@pytest.mark.parametrize("modes", [(), ("redraw",), ("placeholder",), ("burst",), ("busy", "redraw")], ids="-".join)
def test_an_idle_program_takes_the_line_once(pane: Open, modes: tuple[str, ...]) -> None:
    """Taken means that it was taken, exactly once, and nothing stays in the box."""
    one = pane(*modes)
    assert one.bell.ring() == "taken"
    until(lambda: one.taken() == [LINE], one.lines, at=one.log)
    assert not one.bell.glance().typed


def test_a_swallowed_enter_is_pressed_again(pane: Open) -> None:
    """Two of three Enters are lost in redraws; the line is neither doubled nor stranded."""
    one = pane("swallow", "redraw")
    assert one.bell.ring() == "taken"
    assert one.taken() == [LINE]


def test_a_program_that_hangs_while_it_is_rung_for_gets_the_line_once(pane: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads nothing for two rings; then both lines are there, are taken away, and the next ring is taken."""
    one = pane("hangs")
    monkeypatch.setattr(doorbell, "SEEN", 0.5)
    assert [one.bell.ring(), one.bell.ring()] == ["busy"] * 2
    os.kill(int(one.tmux.look(one.id, "#{pane_pid}")[0][0]), signal.SIGUSR1)
    until(lambda: screen.is_left(one.bell.glance().typed), lambda: one.tmux.look(one.id))
    assert one.bell.ring() == "busy" and not one.bell.glance().typed
    assert one.bell.ring() == "taken" and one.taken() == [LINE]


def test_an_answer_that_grows_is_a_turn_though_nothing_else_says_so(pane: Open) -> None:
    """No footer, no title (a person's tmux set another): two looks see another transcript; once it stands, it is taken."""
    one = pane("grows")
    assert [one.bell.ring() for _ in range(5)] == ["busy"] * 5
    one.tmux.type(one.id, "stop")
    until(lambda: one.bell.glance().typed == "stop", "a person's word")
    one.tmux.press(one.id, "Enter")
    until(lambda: one.taken() == ["stop"], one.lines, at=one.log)
    assert one.bell.ring() == "taken" and one.taken() == ["stop", LINE]


def test_half_a_line_of_a_person_is_not_touched(pane: Open) -> None:
    """Typing: nothing is typed, nothing is taken away."""
    one = pane("half")
    assert one.bell.ring() == "typing"
    assert one.bell.glance().typed == "half a line" and one.taken() == []


def test_copy_mode_is_left_alone(pane: Open) -> None:
    """Keys would go to the mode; it stays where it is."""
    one = pane()
    one.tmux.run("copy-mode", "-t", one.id)
    assert one.bell.ring() == "copy-mode"
    assert one.tmux.look(one.id, "#{pane_in_mode}")[0] == ["1"]
    one.tmux.run("send-keys", "-t", one.id, "-X", "cancel")
    assert one.bell.ring() == "taken"


@pytest.mark.parametrize("scope", ["-w", "-p"])
def test_synchronized_panes_are_never_typed_into(pane: Open, scope: str) -> None:
    """The line and its Enter would go into every such pane; a window's option or a pane's."""
    one = pane()
    other = one.tmux.split(one.id, [sys.executable, str(FAKE), f"{one.log}-other", "dialog"], str(one.log.parent), {})
    until(lambda: one.bell.glance().state == "idle", lambda: one.tmux.look(one.id))
    for target in (one.id, other):
        one.tmux.run("set-option", scope, "-t", target, "synchronize-panes", "on")
    assert one.bell.ring() == "synchronize" and one.taken() == []
    for target in (one.id, other):
        one.tmux.run("set-option", scope, "-t", target, "synchronize-panes", "off")
    assert one.bell.ring() == "taken"


def test_a_line_left_by_a_ringer_that_was_killed_is_entered_not_doubled(pane: Open) -> None:
    """Our line stands in the box: the next ring goes on with Enter."""
    one = pane()
    one.tmux.type(one.id, LINE)
    until(lambda: screen.is_ours(one.bell.glance().typed), "the line")
    assert one.bell.ring() == "taken"
    assert one.taken() == [LINE]


def test_a_pane_that_is_gone(pane: Open, tmp_path: Path) -> None:
    """Ended, closed, or its server gone: gone."""
    one = pane()
    one.tmux.run("respawn-pane", "-k", "-t", one.id, "--", "env", "true")
    until(lambda: one.tmux.look(one.id, "#{pane_dead}")[0] == ["1"], "its end")
    assert one.bell.ring() == "gone"
    one.tmux.close_pane(one.id)
    assert one.bell.ring() == "gone"
    assert Doorbell(Tmux(str(tmp_path / "no-server")), "%1", CLAUDE, REAL).ring() == "gone"


def test_a_program_that_never_takes_it_has_it_taken_back(pane: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Enter is lost: the line is removed, letter by letter, and only it."""
    one = pane()
    press = one.tmux.press

    class Deaf(Tmux):
        __slots__ = ()

        def press(self, pane: str, key: str, times: int = 1) -> None:
            if key != "Enter":
                press(pane, key, times)

    monkeypatch.setattr(doorbell, "SWALLOWED", 0.3)
    one.bell.tmux = Deaf(one.tmux.server)
    assert one.bell.ring() == "busy"
    assert one.bell.glance() == screen.Screen("idle") and one.taken() == []


def rings(pane: Open, count: int, seed: int) -> None:
    """Ring at random moments, with a person typing now and then, over fakes of every kind; then count."""
    dice = random.Random(seed)
    kinds = [("redraw", "busy"), ("swallow", "redraw"), ("dialog", "redraw"), ("placeholder", "busy", "dialog"), ("half",),
             ("streams", "redraw"), ("quotes", "redraw"), ("synchronised",)]  # fmt: skip
    panes = [pane(*modes, seed=seed) for modes in kinds]
    panes[7].tmux.run("set-option", "-w", "-t", panes[7].id, "synchronize-panes", "on")
    outcomes: dict[int, Counter[str]] = {n: Counter() for n in range(len(panes))}
    for _ in range(count):
        n = dice.randrange(len(panes))
        time.sleep(dice.uniform(0, 0.15))  # the random moment is what is tried
        outcomes[n][panes[n].bell.ring()] += 1
    for n, one in enumerate(panes):
        said = (kinds[n], outcomes[n], one.lines()[-20:])
        assert set(one.taken()) <= {LINE}, said
        assert len(one.taken()) == outcomes[n]["taken"], said
        assert not [line for line in one.lines() if line.startswith(("forbidden", "cut"))] + one.blind_enters(), said
        if kinds[n] == ("synchronised",):
            assert outcomes[n].keys() <= {"synchronize"} and not one.taken(), said
            continue
        until(lambda: one.bell.glance().state != "dialog", "the end of the dialog")  # noqa: B023
        typed = one.bell.glance().typed
        assert typed == ("half a line" if "half" in kinds[n] else LINE if one.bell.memory.left and typed else ""), said
        until(lambda: one.bell.tidy() and not one.bell.memory.left, said)  # noqa: B023
        until(lambda: one.bell.glance().state != "dialog", "the end of the dialog")  # noqa: B023
        assert one.bell.glance().typed == ("half a line" if "half" in kinds[n] else ""), said
        assert outcomes[n]["stranded"] == outcomes[n]["gone"] == 0, said
    assert sum(outcomes[n]["taken"] for n in (0, 1, 2, 3, 5, 6)) > count / 4
    assert outcomes[4].keys() <= {"typing"}
    assert outcomes[6]["dialog"] == 0
    if count >= 100:
        assert all(outcomes[n]["taken"] for n in (5, 6)), outcomes


def test_doorbells_at_random_moments(pane: Open) -> None:
    """None doubled, none left without being known, none into a dialog that could be seen, typed text untouched."""
    rings(pane, 20, 3)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_doorbells_at_random_moments(pane: Open) -> None:
    """The same, two hundred times."""
    rings(pane, 200, 11)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Iterator[Path]:
    """A store with ann, whose program is claude, as far as its screen is concerned."""
    folder = tmp_path / "root"
    folder.mkdir()
    run("mbox", "init", "--here", cwd=folder, check=True)
    (folder / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")
    run("mbox", "agent", "add", "ann", "--host", "claude", cwd=folder, check=True)
    run("mbox", "agent", "add", "bob", cwd=folder, check=True)
    yield folder
    end_all(folder)


def in_pane(root: Path, socket: str, *modes: str) -> tuple[Tmux, str]:
    """Ann's wrapper over a fake, in a pane."""
    from mbox.cli import main

    words = [sys.executable, "-m", main.__name__, "mbox", "run", "--as", "ann", "--root", str(root), "--no-watchdog", "--",
             sys.executable, str(FAKE), str(root / "log"), *modes]  # fmt: skip
    one = Tmux(socket)
    pane = one.new_session("ann", words, str(root), {"PATH": environment()["PATH"]}, (70, 14))
    one.mark(pane, "ann", "ann")
    until((root / "log").exists, "the fake", at=root)
    bell = Doorbell(one, pane, CLAUDE, REAL)
    until(lambda: bell.glance().state != "busy", lambda: one.look(pane))
    return one, pane


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
@pytest.mark.parametrize(
    ("modes", "status", "outcome"), [(("redraw",), 0, "taken"), (("half",), 1, "typing")], ids=["idle", "typing"]
)
def test_nudge(root: Path, tmp_path: Path, run: Run, modes: tuple[str, ...], status: int, outcome: str) -> None:
    """`mbox nudge` finds the pane by what the wrapper said, and its exit status tells what came of it."""
    with server(tmp_path) as socket:
        in_pane(root, socket, *modes)
        done = run("mbox", "nudge", "ann", cwd=root)
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (status, outcome), done.stderr
    gone = run("mbox", "nudge", "ann", cwd=root)
    assert (gone.returncode, json.loads(gone.stdout)["outcome"]) == (3, "gone")


def test_nudge_needs_a_pane_and_a_host(root: Path, run: Run) -> None:
    """No pane is 3 with the mend; an agent that does not exist is 3 with the nearest."""
    done = run("mbox", "nudge", "ann", cwd=root)
    assert (done.returncode, "mbox run" in done.stderr) == (3, True)
    assert run("mbox", "nudge", "annn", cwd=root).returncode == 3


@contextmanager
def held(root: Path) -> Iterator[tuple[Store, int]]:
    """Ann's bell lock."""
    with (
        closing(open_store(str(root), str(root))) as store,
        exclusively(store, places.bell_lock("ann"), 5.0, lambda: TimedOut("held")) as fd,
    ):
        yield store, fd


@pytest.mark.parametrize("when", [0.0001, 80971.7886, 80971.78899999, 12345678.123456789])
def test_when_a_bell_was_taken_is_known_to_the_last_digit(root: Path, when: float) -> None:
    """Rounded up, it would be later than the moment at which the next in turn looks: that one would type again."""
    with held(root) as (store, fd):
        memory = doorbell._InLock(store, fd)
        memory.taken = when
        assert memory.taken == when and not memory.left


def opened(pid: int) -> list[str]:
    """The files that a process has open."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(fd))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_of_two_who_ring_at_once_one_types(root: Path, tmp_path: Path, run: Run) -> None:
    """The watchdog and a hand: both say taken, the line was typed once."""
    line, bell = [str(Path(sys.executable).parent / "mbox"), "nudge", "ann"], str(root / places.bell_lock("ann"))
    with server(tmp_path) as socket:
        in_pane(root, socket, "redraw")
        with held(root):
            both = [subprocess.Popen(line, cwd=root, stdout=subprocess.PIPE) for _ in range(2)]
            until(lambda: all(bell in opened(one.pid) for one in both), "that both wait")  # a slow one would ring after the other
        said = [json.loads(one.communicate()[0])["outcome"] for one in both]
        assert said == ["taken", "taken"]
        assert [line for line in (root / "log").read_text().splitlines() if line.startswith("took")] == [f"took: {LINE}"]


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
@pytest.mark.parametrize("beats", ["nobody", "elsewhere"])
def test_a_pane_that_only_a_file_names_is_never_typed_into(root: Path, tmp_path: Path, run: Run, beats: str) -> None:
    """A status that came with a clone names a stranger's pane: not without a heartbeat, nor with one from outside of it."""
    with server(tmp_path) as socket:
        one = Tmux(socket)
        words = [sys.executable, str(FAKE), str(root / "log"), "redraw"]
        pane = one.new_session("theirs", words, str(root), {"PATH": environment()["PATH"]}, (70, 14))
        bell = Doorbell(one, pane, CLAUDE, REAL)
        until(lambda: bell.glance().state == "idle", lambda: one.look(pane))
        said = {"schema": 1, "agent": "ann", "state": "idle", "event": "run", "pane": pane, "server": socket}
        (root / ".mailbox/status/ann.json").write_text(json.dumps(said))
        run("mbox", "send", "ann", "--body", "x", "--as", "bob", cwd=root, check=True)
        if beats == "elsewhere":
            with closing(open_store(str(root), str(root))) as store:
                presence.beat(store, Actor("ann", 1), subprocess.Popen(["sleep", "1000"]).pid)  # `end_all` ends it
        done = run("mbox", "nudge", "ann", cwd=root)
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (3, "gone")
        run("mbox", "watchdog", "--once", cwd=root, check=True)
        run("mbox", "run", "--as", "bob", "--", "sleep", "1.5", cwd=root, check=True)
        assert bell.glance() == screen.Screen("idle") and LINE not in (root / "log").read_text()


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_a_line_that_a_dialog_kept_in_the_box_is_taken_away_by_the_watchdog(root: Path, tmp_path: Path, run: Run) -> None:
    """The question stays, the mail is read meanwhile: nothing is entered, and nothing is left for a person to find."""
    with server(tmp_path) as socket:
        one, pane = in_pane(root, socket, "asks")
        bell = Doorbell(one, pane, CLAUDE, REAL)
        run("mbox", "send", "ann", "--body", "x", "--as", "bob", cwd=root, check=True)
        done = run("mbox", "nudge", "ann", cwd=root)
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (1, "dialog")
        assert "waits in the box" in done.stderr
        run("mbox", "read", "--all", "--as", "ann", cwd=root, check=True)
        until(lambda: bell.glance().typed == LINE, "the line, after the question")
        run("mbox", "watchdog", "--once", cwd=root, check=True)
        assert bell.glance() == screen.Screen("idle")
        assert "took" not in (root / "log").read_text() and not (root / ".mailbox/locks/@bell-ann").read_text().strip()


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_a_question_in_a_pane_is_told_of_within_two_scans(root: Path, tmp_path: Path, run: Run) -> None:
    """Without any mail for ann: her superior has one message with the words on the screen, and `mbox status` says it."""
    with server(tmp_path) as socket:
        with closing(open_store(str(root), str(root))) as store:
            registry.add(store, Actor("user:me"), "ann", {"reports_to": "bob"})
        in_pane(root, socket, "stays")
        for _ in range(3):
            run("mbox", "watchdog", "--once", cwd=root, check=True)
        (mail,) = json.loads(run("mbox", "inbox", "--as", "bob", cwd=root, check=True).stdout)
        assert mail["subject"] == "ann waits at a question"
        shown = run("mbox", "show", mail["msg_id"], cwd=root, check=True).stdout
        assert "Do you want to make this edit?" in json.loads(shown)["body"]
        why = json.loads(run("mbox", "status", cwd=root, check=True).stdout)["why"]
        assert any("ann waits at a question since" in line and "make this edit?" in line for line in why)


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_a_delivery_rings_an_idle_agent_by_the_watchdog(root: Path, tmp_path: Path, run: Run) -> None:
    """One bell for two messages; the line has nothing of them; read, and it is quiet; unread, and it comes back."""
    with server(tmp_path) as socket:
        in_pane(root, socket, "redraw")
        dog = subprocess.Popen([str(Path(sys.executable).parent / "mbox"), "watchdog"], cwd=root)
        try:
            memory = root / places.WATCHDOG
            until(memory.exists, "the watchdog", at=memory.parent)
            for body in ("SECRET one", "SECRET two"):
                run("mbox", "send", "ann", "--body", body, "--subject", body, "--as", "bob", cwd=root, check=True)
            log = root / "log"
            until(lambda: LINE in log.read_text(), log.read_text, at=log)
            assert "SECRET" not in log.read_text()
            until(lambda: log.read_text().count(LINE) >= 2, "a second bell, for nothing was read", at=log)
            run("mbox", "read", "--all", "--as", "ann", cwd=root, check=True)
            until(lambda: not json.loads(memory.read_text())["bells"], "its memory of the bell gone", at=memory.parent)
            count = log.read_text().count(LINE)
            for _ in range(3):
                scanned = json.loads(memory.read_text())["scan_at"]
                until(lambda: json.loads(memory.read_text())["scan_at"] != scanned, "one more scan", at=memory.parent)  # noqa: B023
            assert log.read_text().count(LINE) == count
        finally:
            dog.kill()
            dog.wait()


def drawn(monkeypatch: pytest.MonkeyPatch, *screens: str) -> list[tuple[str, ...]]:
    """Input boxes as tmux shows them, one a look, the last for ever; every command that reaches tmux, as words."""
    calls: list[tuple[str, ...]] = []
    left = list(screens)

    def call(self: Tmux, what: str, words: list[str], folder: str | None = None) -> str:
        calls.append(tuple(words))
        if what != "capture-pane":
            return ""
        shown = left.pop(0) if len(left) > 1 else left[0]
        return f"0\t0\t{os.getpid()}\t0\ttitle\n{'─' * 60}\n{shown}\n{'─' * 60}\n"

    monkeypatch.setattr(Tmux, "_call", call)
    return calls


Sent = list[tuple[str, ...]]


def done(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Doorbell], str], screens: list[str], left: bool = False
) -> tuple[str, bool, Sent]:
    """The outcome, whether its line may be left then, and all that was typed and pressed."""
    calls = drawn(monkeypatch, *screens)
    bell = Doorbell(Tmux(), "%7", CLAUDE, FakeHost())
    bell.memory.left = left
    outcome = act(bell)
    sent = [words for words in calls if words[0] == "send-keys"]
    assert all(words[:3] == ("send-keys", "-t", "%7") for words in sent)
    assert not re.search("Escape|C-", str(calls))
    return outcome, bell.memory.left, [words[3:] for words in sent]


EMPTY, OURS, DIALOG = "❯\u00a0", f"❯\u00a0{LINE}", "Do you want to make this edit?\n ❯ 1. Yes\n   2. No"
TYPED, ENTER, BACK = ("-l", "--", LINE), ("Enter",), ("BSpace",) * len(LINE)


@pytest.mark.parametrize(
    ("screens", "outcome", "left", "sent"),
    [
        ([EMPTY, EMPTY, OURS, OURS, OURS, EMPTY], "taken", False, [TYPED, ENTER]),
        ([EMPTY, EMPTY, OURS, OURS, OURS, OURS, DIALOG, DIALOG, EMPTY], "taken", False, [TYPED, ENTER]),
        ([EMPTY, EMPTY, OURS, OURS, OURS, DIALOG, *[DIALOG] * 40, OURS, OURS, EMPTY], "taken", False, [TYPED, ENTER, ENTER]),
        ([EMPTY, EMPTY, OURS, DIALOG], "dialog", True, [TYPED]),
        ([EMPTY, EMPTY, DIALOG], "dialog", True, [TYPED]),
        ([EMPTY, EMPTY, EMPTY], "busy", True, [TYPED]),
        ([EMPTY, EMPTY, f"❯\u00a0x{LINE}"], "typing", False, [TYPED, BACK]),
        ([EMPTY, EMPTY, OURS], "stranded", True, [TYPED, *[ENTER] * 3, *[BACK] * 3]),
        ([OURS, OURS, OURS, OURS, EMPTY], "taken", False, [ENTER]),
        ([EMPTY, EMPTY, OURS, OURS, OURS, EMPTY, *[OURS, EMPTY] * 40], "busy", True, [TYPED, ENTER]),
        ([EMPTY, EMPTY, OURS, EMPTY], "busy", True, [TYPED]),
        ([DIALOG], "dialog", False, []),
        (["❯\u00a0x"], "typing", False, []),
    ],
    ids=["idle", "then-a-dialog", "dialog-for-a-time", "dialog-stays", "dialog-at-once", "not-seen", "typing", "deaf", "ours",
         "unsteady", "vanished", "dialog", "half"],
)  # fmt: skip
def test_each_way_of_a_ring(
    monkeypatch: pytest.MonkeyPatch, screens: list[str], outcome: str, left: bool, sent: Sent
) -> None:
    """By the screens that it sees: the outcome, whether its line may be left, and all that is typed and pressed."""
    assert done(monkeypatch, Doorbell.ring, screens) == (outcome, left, sent)


@pytest.mark.parametrize(("shown", "back"), [(OURS + LINE, 2 * len(LINE)), (OURS + LINE + LINE[:9], 2 * len(LINE) + 9)])
def test_a_line_that_came_late_and_stands_twice_is_taken_away(monkeypatch: pytest.MonkeyPatch, shown: str, back: int) -> None:
    """A program that hung showed none of two rings: what it reads then is ours, letter by letter, and the next ring is due."""
    assert done(monkeypatch, Doorbell.ring, [shown, shown, shown, EMPTY], True) == ("busy", True, [("BSpace",) * back])
    assert done(monkeypatch, Doorbell.tidy, [shown, shown, shown, EMPTY], True)[::2] == ("idle", [("BSpace",) * back])
    theirs = done(monkeypatch, Doorbell.ring, [f"{shown} and mine"], True)
    assert theirs == ("typing", True, []), "a person went on behind it: theirs stays"


@pytest.mark.parametrize(
    ("screens", "outcome", "left", "sent"),
    [
        ([OURS, OURS, OURS, EMPTY], "idle", False, [BACK]),
        ([OURS, OURS, OURS, *["❯\u00a0mbox: there"] * 40, EMPTY], "idle", False, [BACK, ("BSpace",) * 12]),
        ([EMPTY], "idle", False, []),
        (["❯\u00a0mb"], "typing", False, []),
        ([DIALOG], "dialog", True, []),
        ([OURS, OURS, OURS, DIALOG], "dialog", True, [BACK]),
        ([OURS], "stranded", True, [BACK] * 3),
    ],
    ids=["ours", "a-part", "gone", "a-person", "dialog", "dialog-meanwhile", "deaf"],
)  # fmt: skip
def test_a_line_that_was_left_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, screens: list[str], outcome: str, left: bool, sent: Sent
) -> None:
    """Only ours, or a beginning of it that nobody types; it is remembered as long as it may be there."""
    assert done(monkeypatch, Doorbell.tidy, screens, True) == (outcome, left, sent)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    init(str(tmp_path), here=True).store.close()
    opened = open_store(str(tmp_path), str(tmp_path))
    yield opened
    opened.close()


def test_a_line_that_was_left_outlives_its_ringer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is remembered in the agent's bell lock, for the next who rings, whoever that is."""
    status = {"server": "/nowhere", "pane": "%7"}
    assert not doorbell.left(store, "ann")
    presence.beat(store, Actor("ann", 1), os.getpid())
    drawn(monkeypatch, EMPTY, EMPTY, DIALOG)
    with doorbell.turn(store, "ann", status, CLAUDE) as bell:
        bell.clock = FakeHost()
        assert bell.ring() == "dialog"
    assert doorbell.left(store, "ann") and not doorbell.left(store, "bob")
    drawn(monkeypatch, OURS, OURS, OURS, OURS, EMPTY)
    with doorbell.turn(store, "ann", status, CLAUDE) as bell:
        bell.clock = FakeHost()
        assert bell.ring() == "taken"
    assert not doorbell.left(store, "ann")
