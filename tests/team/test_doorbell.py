"""The doorbell: screens that were seen, and real panes with small programs that behave like agents'."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Run
from mbox.team import doorbell
from mbox.team import tmux
from mbox.hosts import programs as hosts
from mbox.format import places
from mbox.team.doorbell import LINE, Doorbell
from mbox.opening import OpenStore, init, open_store
from mbox.team.tmux import Gone, Tmux
from teamkit import CONFIG, HAVE_TMUX, NO_TMUX, end_all, environment, server, until

HERE = Path(__file__).parent
SCREENS = sorted((HERE / "screens").glob("*.txt"))
FAKE = HERE / "fakes/agent.py"
CLAUDE = hosts.get("claude")


@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_screens_that_were_seen(path: Path) -> None:
    """State, and the text in the box: a dim placeholder is none."""
    head, _, text = path.read_text(encoding="utf-8").partition("\n")
    state, _, typed = head.partition("|")
    found = doorbell.read(text.split("\n"), hosts.get(path.stem.partition("-")[0]))
    assert (found.state, found.typed) == (state, typed)


@pytest.mark.parametrize("columns", [24, 30, 40, 80])
def test_our_line_is_known_however_the_box_wraps_it(columns: int) -> None:
    """Rows of the box are one text; what is not exactly ours is not."""
    rule = "─" * columns
    rows = [LINE[at:at + columns] for at in range(0, len(LINE), columns)]
    screen = doorbell.read([rule, "❯\u00a0" + rows[0], *("  " + row for row in rows[1:]), rule], CLAUDE)
    assert screen.state == "typing" and doorbell.is_ours(screen.typed)
    assert not doorbell.is_ours(screen.typed + "x") and not doorbell.is_ours(LINE[:-1])


def test_a_screen_without_a_box_is_never_idle() -> None:
    """Unknown is busy; a host that is not known is never typed into."""
    assert doorbell.read(["", "hello", "$ "], CLAUDE).state == "busy"
    assert doorbell.read(["❯\u00a0"], hosts.get("nobody-knows-it")).state == "busy"


def test_the_line_is_fixed_and_names_no_content() -> None:
    """One line, printable ASCII, so that every program shows it as it was typed."""
    assert LINE.isascii() and LINE.isprintable() and "mbox read" in LINE


def test_every_host_can_be_read() -> None:
    """The data file: words, and patterns that compile; a shell is never typed into."""
    known = hosts.load()
    assert {"claude", "codex", "gemini", "shell"} <= known.keys()
    assert not known["shell"].nudge and all(host.nudge and host.prompt for host in known.values() if host.name != "shell")
    assert known["gemini"].command(None, "m'x", "do $(it)") == ["gemini", "--model", "m'x", "--prompt-interactive", "do $(it)"]
    assert known["claude"].command(["my", "claude"], prompt="-x") == ["my", "claude", "-x"]


def test_only_pane_ids_name_panes() -> None:
    """A name would match prefixes."""
    for word in ("worker", "mbox-blue", "%", "%7;kill-server", "=x", "%1234567890"):
        with pytest.raises(Gone, match="no pane id"):
            tmux.checked(word)
    assert tmux.checked("%7") == "%7"


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
        self.bell = Doorbell(self.tmux, self.id, CLAUDE)
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


def test_a_line_left_by_a_ringer_that_was_killed_is_entered_not_doubled(pane: Open) -> None:
    """Our line stands in the box: the next ring goes on with Enter."""
    one = pane()
    one.tmux.type(one.id, LINE)
    until(lambda: doorbell.is_ours(one.bell.glance().typed), "the line")
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
    assert Doorbell(Tmux(str(tmp_path / "no-server")), "%1", CLAUDE).ring() == "gone"


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
    assert one.bell.glance() == doorbell.Screen("idle") and one.taken() == []


def rings(pane: Open, count: int, seed: int) -> None:
    """Ring at random moments, with a person typing now and then, over fakes of every kind; then count."""
    dice = random.Random(seed)
    kinds = [("redraw", "busy"), ("swallow", "redraw"), ("dialog", "redraw"), ("placeholder", "busy", "dialog"), ("half",)]
    panes = [pane(*modes, seed=seed) for modes in kinds]
    outcomes: dict[int, Counter[str]] = {n: Counter() for n in range(len(panes))}
    for _ in range(count):
        n = dice.randrange(len(panes))
        time.sleep(dice.uniform(0, 0.15))  # the random moment is what is tried
        outcomes[n][panes[n].bell.ring()] += 1
    for n, one in enumerate(panes):
        said = (kinds[n], outcomes[n], one.lines()[-20:])
        assert set(one.taken()) <= {LINE}, said
        assert len(one.taken()) == outcomes[n]["taken"], said
        assert not [line for line in one.lines() if line.startswith("forbidden")] + one.blind_enters(), said
        until(lambda: one.bell.glance().state != "dialog", "the end of the dialog")  # noqa: B023
        typed = one.bell.glance().typed
        assert typed == ("half a line" if "half" in kinds[n] else LINE if one.bell.memory.left and typed else ""), said
        until(lambda: one.bell.tidy() and not one.bell.memory.left, said)  # noqa: B023
        until(lambda: one.bell.glance().state != "dialog", "the end of the dialog")  # noqa: B023
        assert one.bell.glance().typed == ("half a line" if "half" in kinds[n] else ""), said
        assert outcomes[n]["stranded"] == outcomes[n]["gone"] == 0, said
    assert sum(outcomes[n]["taken"] for n in range(4)) > count / 4
    assert outcomes[4].keys() <= {"typing"}


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
    bell = Doorbell(one, pane, CLAUDE)
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


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_a_line_that_a_dialog_kept_in_the_box_is_taken_away_by_the_watchdog(root: Path, tmp_path: Path, run: Run) -> None:
    """The question stays, the mail is read meanwhile: nothing is entered, and nothing is left for a person to find."""
    with server(tmp_path) as socket:
        one, pane = in_pane(root, socket, "asks")
        bell = Doorbell(one, pane, CLAUDE)
        run("mbox", "send", "ann", "--body", "x", "--as", "bob", cwd=root, check=True)
        done = run("mbox", "nudge", "ann", cwd=root)
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (1, "dialog")
        assert "waits in the box" in done.stderr
        run("mbox", "read", "--all", "--as", "ann", cwd=root, check=True)
        until(lambda: bell.glance().typed == LINE, "the line, after the question")
        run("mbox", "watchdog", "--once", cwd=root, check=True)
        assert bell.glance() == doorbell.Screen("idle")
        assert "took" not in (root / "log").read_text() and not (root / ".mailbox/locks/@bell-ann").read_text().strip()


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
        return f"0\t0\n{'─' * 60}\n{shown}\n{'─' * 60}\n"

    monkeypatch.setattr(Tmux, "_call", call)
    return calls


class Still:
    """A clock that only goes on when somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        """Now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """No time passes but this."""
        self.now += seconds


Sent = list[tuple[str, ...]]


def done(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Doorbell], str], screens: list[str], left: bool = False
) -> tuple[str, bool, Sent]:
    """The outcome, whether its line may be left then, and all that was typed and pressed."""
    calls = drawn(monkeypatch, *screens)
    bell = Doorbell(Tmux(), "%7", CLAUDE, clock=Still())
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
def store(tmp_path: Path) -> Iterator[OpenStore]:
    """An empty store."""
    init(str(tmp_path), here=True).store.close()
    opened = open_store(str(tmp_path), str(tmp_path))
    yield opened
    opened.close()


def test_a_line_that_was_left_outlives_its_ringer(store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is remembered in the agent's bell lock, for the next who rings, whoever that is."""
    status = {"server": "/nowhere", "pane": "%7"}
    assert not doorbell.left(store, "ann")
    drawn(monkeypatch, EMPTY, EMPTY, DIALOG)
    with doorbell.turn(store, "ann", status, CLAUDE) as bell:
        bell.clock = Still()
        assert bell.ring() == "dialog"
    assert doorbell.left(store, "ann") and not doorbell.left(store, "bob")
    drawn(monkeypatch, OURS, OURS, OURS, OURS, EMPTY)
    with doorbell.turn(store, "ann", status, CLAUDE) as bell:
        bell.clock = Still()
        assert bell.ring() == "taken"
    assert not doorbell.left(store, "ann")
