"""`team` against what real life does to it: odd words, strangers on the same server, two at once, kills at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from mbox.agents import roster
from mbox.errors import Refused, Usage
from mbox.format import places
from mbox.team import lifecycle, teamfile
from taskkit import USER, World
from teamkit import BIN, CONFIG, end_all, ended, environment, until

SLEEPER: dict[str, Any] = {"host": "shell", "command": ["sleep", "1000"]}

PROBE = """\
#!/usr/bin/env python3
import json, os, signal, sys
seen = [sys.argv[1:], os.getcwd(), {k: v for k, v in os.environ.items() if k.startswith("ODD") or k == "MBOX_AGENT"}]
path = os.environ["MBOX_ROOT"] + "/seen." + os.environ["MBOX_AGENT"]
open(path + ".new", "w").write(json.dumps(seen))
os.rename(path + ".new", path)
signal.pause()
"""


class Place:
    """A repository with a store, and calls in it."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root = run, root
        root.mkdir(parents=True, exist_ok=True)
        run("git", "init", "--quiet", "--initial-branch=main", cwd=root, check=True)
        run("git", "commit", "--quiet", "--allow-empty", "--message=Begin", cwd=root, check=True)
        run("mbox", "init", cwd=root, check=True)
        (root / ".mailbox/config.yaml").write_text(CONFIG, encoding="utf-8")

    def __call__(self, *words: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.run(*words, cwd=self.root, env={"PATH": environment()["PATH"]}, check=check, timeout=90, **more)

    def json(self, *words: str) -> Any:
        return json.loads(self(*words).stdout)

    def file(self, members: list[dict[str, Any]], name: str = "blue", **more: Any) -> str:
        """A team file (JSON is YAML)."""
        path = self.root / f"{name}.yaml"
        path.write_text(json.dumps({"team": name, "members": members, **more}, indent=2), encoding="utf-8")
        return str(path)

    def script(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def beat(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / places.heartbeat(name)).read_text())
        return found

    def beats(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in (self.root / places.HEARTBEATS).glob("*")]

    def saw(self, name: str) -> Any:
        """What the probe of a member saw."""
        path = self.root / f"seen.{name}"
        return json.loads(until(lambda: path.exists() and path.read_text(), f"{name} saw nothing", at=self.root))

    def carriers(self) -> list[str]:
        """Agents of this store in the environment of a process that runs, once for each program (no wrapper, no child)."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environ = (folder / "environ").read_bytes().split(b"\0")
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"MBOX_ROOT={self.root}".encode() in environ and words[0][-5:] == b"sleep" and alive(int(folder.name)):
                found += [word[11:].decode() for word in environ if word.startswith(b"MBOX_AGENT=")]
        return sorted(found)


def alive(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def asked(socket: str, *words: str) -> str:
    """What tmux answers."""
    return subprocess.run(["tmux", "-S", socket, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def places_of(run: Run) -> Iterator[Callable[[Path], Place]]:
    """Makes places, and leaves nothing running in them."""
    made: list[Place] = []

    def make(root: Path) -> Place:
        made.append(Place(run, root))
        return made[-1]

    yield make
    for place in made:
        end_all(place.root)


@pytest.fixture
def place(tmp_path: Path, places_of: Callable[[Path], Place]) -> Place:
    """One place."""
    return places_of(tmp_path / "repo")


# -- words -----------------------------------------------------------------------------------------------------------


def test_what_tmux_reads_in_words_reaches_the_program(tmp_path: Path, places_of: Callable[[Path], Place], socket: str) -> None:
    """A ``;`` at a word's end, ``#(…)`` in the folder's name and in a role, ``#{…}``: also when it is started again."""
    place = places_of(tmp_path / "a #(touch hacked) #{pane_id} $(touch hacked) b;")
    words = [";", "x;", "\\;", "x\\;", "#(touch hacked)", ";;", "-c", "end;"]
    odd = {"ODD": "one;", "ODD2": "#(touch hacked);\n'\""}
    member = {"name": "p", "host": "claude", "role": "lead #(touch hacked) #{pid}", "model": "o;", "prompt": "Go;\nnow;",
              "command": [place.script("probe", PROBE), *words], "env": odd, "respawn": True}  # fmt: skip
    place("team", "up", place.file([member]), "--socket", socket)
    seen = place.saw("p")
    told = seen[0].pop()
    assert told.startswith("You are p, lead #(touch hacked) #{pid}, one of") and told.endswith("\n\nGo;\nnow;")
    wanted = [[*words, "--model", "o;"], str(place.root), {**odd, "MBOX_AGENT": "p"}]
    assert seen == wanted
    (place.root / "seen.p").unlink()
    os.kill(place.beat("p")["pid"], signal.SIGKILL)
    seen = place.saw("p")
    assert (seen[0].pop(), seen) == (told, wanted)
    assert asked(socket, "list-panes", "-a", "-F", "#{pane_title}") == "p (lead #(touch hacked) #{pid})\n"
    asked(socket, "run-shell", "true")  # tmux says when it is done: what it was given before had as long
    assert not list(tmp_path.rglob("hacked"))
    place("team", "down", "--force")


def test_a_members_variables_are_no_others(place: Place, socket: str) -> None:
    """Neither the second member nor a window that a person opens in the session has what the first was given."""
    probe = [place.script("probe", PROBE)]
    one = {"name": "one", "host": "shell", "command": probe, "env": {"ODD": "secret"}}
    two = {"name": "two", "host": "shell", "command": probe}
    place("team", "up", place.file([one, two]), "--socket", socket)
    assert place.saw("one")[2] == {"ODD": "secret", "MBOX_AGENT": "one"}
    assert place.saw("two")[2] == {"MBOX_AGENT": "two"}
    shown = asked(socket, "show-environment", "-t", "=mbox-blue")
    assert "secret" not in shown and "MBOX_AGENT=" not in shown and f"MBOX_ROOT={place.root}\n" in shown
    place("team", "down", "--force")


# -- strangers -------------------------------------------------------------------------------------------------------


def test_two_stores_on_one_server_do_not_touch_each_other(
    tmp_path: Path, places_of: Callable[[Path], Place], socket: str
) -> None:
    """A team of the same name, and a person's session of that name: each keeps its panes."""
    asked(socket, "new-session", "-d", "-s", "mbox-blue", "sleep", "1000")
    here, there = places_of(tmp_path / "here"), places_of(tmp_path / "there")
    up = [one.json("team", "up", one.file([{"name": "w", **SLEEPER}]), "--socket", socket) for one in (here, there)]
    assert [one["session"] for one in up] == ["mbox-blue-2", "mbox-blue-3"]
    pids = [one.beat("w")["pid"] for one in (here, there)]
    again = here.json("team", "up", str(here.root / "blue.yaml"))
    assert again["already"] and not again.get("started")
    here("team", "down", "--force")
    assert not alive(pids[0]) and alive(pids[1])
    assert asked(socket, "ls", "-F", "#S").split() == ["mbox-blue", "mbox-blue-3"]
    there("team", "down", "--force")


def test_two_teams_whose_sessions_would_have_one_name(place: Place, socket: str) -> None:
    """tmux allows no dot in a session's name; the end of one team leaves the other alone."""
    for name, member in (("a.b", "x"), ("a_b", "y")):
        place("team", "up", place.file([{"name": member, **SLEEPER}], name), "--socket", socket)
    assert asked(socket, "ls", "-F", "#S").split() == ["mbox-a_b", "mbox-a_b-2"]
    place("team", "down", "a.b", "--force")
    assert alive(place.beat("y")["child"])
    place("team", "down", "a_b", "--force")


# -- two at once, and kills ------------------------------------------------------------------------------------------


def spawned(place: Place, *words: str) -> subprocess.Popen[str]:
    """A command that runs meanwhile."""
    return subprocess.Popen([str(BIN / words[0]), *words[1:]], cwd=place.root, env=environment(), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.parametrize("tmux", [True, False], ids=["tmux", "detached"])
def test_two_that_call_a_team_at_once_start_each_member_once(place: Place, tmux: bool, request: pytest.FixtureRequest) -> None:
    """The second finds all of them up."""
    how = ["--socket", request.getfixturevalue("socket")] if tmux else ["--no-tmux"]
    file = place.file([{"role": "w", "count": 4, **SLEEPER}])
    both = [spawned(place, "team", "up", file, *how) for _ in range(2)]
    told = [json.loads(one.communicate(timeout=60)[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted(len(answer.get("started", {})) for answer in told) == [0, 4]
    assert place.carriers() == ["w-1", "w-2", "w-3", "w-4"]
    assert {row["incarnation"] for row in place.json("mbox", "agent", "list")} == {2}
    place("team", "down", "--force")


def test_a_member_that_has_not_beaten_yet_is_left_alone(place: Place, socket: str) -> None:
    """Its heartbeat is lost, or is to come: what runs in its pane is not started over."""
    slow = CONFIG.replace("heartbeat: 0.3s", "heartbeat: 30s").replace("dead_after: 3s", "dead_after: 90s")
    (place.root / ".mailbox/config.yaml").write_text(slow, encoding="utf-8")
    file = place.file([{"name": "w", **SLEEPER}])
    place("team", "up", file, "--socket", socket)
    beat = place.beat("w")
    (place.root / places.heartbeat("w")).unlink()
    assert not place.json("team", "up", file, "--socket", socket).get("started")
    assert alive(beat["pid"]) and alive(beat["child"]) and place.carriers() == ["w"]
    place("team", "down", "--force")
    ended(beat["child"])


@pytest.mark.parametrize("tmux", [True, False], ids=["tmux", "detached"])
def test_a_team_up_that_is_killed_is_finished_by_the_next(place: Place, tmux: bool, request: pytest.FixtureRequest) -> None:
    """SIGKILL at moments all over it: then every member once, every task once, nobody's tree missing."""
    how = ["--socket", request.getfixturevalue("socket")] if tmux else ["--no-tmux"]
    members: list[dict[str, Any]] = [
        {"name": "boss", "role": "orchestrator", **SLEEPER},
        {"role": "w", "count": 3, "worktree": True, **SLEEPER},
    ]
    plan = place.root / "plan.jsonl"
    plan.write_text("".join(json.dumps({"id": f"j{n}", "title": f"job {n}"}) + "\n" for n in range(120)))
    words = ["team", "up", place.file(members), "--tasks", str(plan), *how]
    chance = random.Random(7)
    kills = 0
    for moment in (0.15, 0.25, 0.35, 0.5, 0.7, *[0.1] * 20):  # where the late ones come too late, early ones make up for it
        if kills >= 3 and moment == 0.1:
            break
        one = spawned(place, *words)
        time.sleep(moment + chance.random() / 10)  # the moment is what is tried
        kills += one.poll() is None
        one.kill()
        one.communicate()
    assert kills >= 3
    place(*words)
    until(lambda: place.carriers() == ["boss", "w-1", "w-2", "w-3"], place.carriers)
    assert place.json("mbox", "status")["tasks"] == {"queued": 120}
    assert len(place.json("mbox", "log", "--op", "team.up")) == 1
    assert len(place.json("mbox", "log", "--task", "j119")) == 1
    assert all((place.root.parent / f"repo.worktrees/blue-w-{n}/.git").exists() for n in (1, 2, 3))
    assert place.json("mbox", "doctor")["clean"]
    place("team", "down", "--force")


def test_a_team_down_that_is_killed_is_finished_by_the_next(place: Place) -> None:
    """SIGKILL at moments all over it: then nobody runs, nothing is held, the list of unread mail was sent once."""
    text = "#!/bin/bash\ntrap '' TERM HUP\ntask claim --start >/dev/null\nwhile :; do sleep 0.2; done\n"
    stubborn = place.script("stubborn", text)
    file = place.file([{"name": "boss", "role": "orchestrator", **SLEEPER},
                       {"role": "w", "count": 2, "host": "shell", "command": [stubborn]}])  # fmt: skip
    for n in (1, 2):
        place("task", "add", f"job {n}", "--id", f"j{n}")
    place("team", "up", file, "--no-tmux")
    place("mbox", "send", "w-1", "--subject", "read me", "--body", "x", "--as", "boss")
    until(lambda: place.json("mbox", "status")["tasks"] == {"running": 2}, "claims")
    kills = 0
    for moment in (0.2, 0.4, 0.7, 1.0, 1.4):
        one = spawned(place, "team", "down", "blue", "--force")
        time.sleep(moment)  # which is what is tried
        kills += one.poll() is None
        one.kill()
        one.communicate()
    assert kills >= 2
    place("team", "down", "blue", "--timeout", "1s")
    assert place.json("team", "down", "blue") == {"team": "blue", "state": "down", "already": True}
    assert not any(alive(beat["pid"]) or alive(beat["child"]) for beat in place.beats())
    assert place.json("mbox", "status")["tasks"] == {"queued": 2}
    assert [task["attempt_count"] for task in (place.json("task", "show", f"j{n}") for n in (1, 2))] == [1, 1]
    assert len(place.json("mbox", "inbox", "--as", "boss")) == 1
    assert len(place.json("mbox", "log", "--op", "team.down")) == 1
    assert place.json("mbox", "doctor")["clean"]


# -- ending ----------------------------------------------------------------------------------------------------------


def test_down_all_ends_all_teams_in_the_time_of_one(place: Place) -> None:
    """Teams whose members hold tasks for longer: a list of reports, within the time and 5 s."""
    holder = place.script("holder", "#!/bin/bash\ntask claim --start >/dev/null\nexec sleep 1000\n")
    for n in range(3):
        place("task", "add", f"job {n}", "--id", f"j{n}")
        place("team", "up", place.file([{"name": f"w{n}", "host": "shell", "command": [holder]}], f"team{n}"), "--no-tmux")
    until(lambda: place.json("mbox", "status")["tasks"] == {"running": 3}, "claims")
    assert place("team", "down", check=False).returncode == 2
    assert [row["stopped"] for row in place.json("team", "down", "--all", "--dry-run")] == [["w0"], ["w1"], ["w2"]]
    began = time.monotonic()
    told = place.json("team", "down", "--all", "--timeout", "2s")
    assert 2 <= time.monotonic() - began < 7
    assert [(row["team"], row["state"]) for row in told] == [(f"team{n}", "down") for n in range(3)]
    assert sorted(task for row in told for task in row["requeued"]) == ["j0", "j1", "j2"]
    assert place.json("team", "down", "--all") == []


def test_members_that_left_the_file_are_ended_with_the_others(place: Place) -> None:
    """`up` says that they still run, `down` ends them, `remove` also after the file was edited by hand."""
    place("team", "up", place.file([{"role": "w", "count": 3, **SLEEPER}]), "--no-tmux")
    said = place("team", "up", place.file([{"role": "w", "count": 1, **SLEEPER}]), "--no-tmux")
    assert "w-2, w-3: are not in the file any more, and still run" in said.stderr
    assert json.loads(said.stdout)["not_in_file"] == ["w-2", "w-3"]
    assert place.json("team", "remove", "blue", "w-2")["already"]
    assert not alive(place.beat("w-2")["child"]) and alive(place.beat("w-3")["child"])
    place("team", "down", "--force")
    assert not any(alive(beat["child"]) for beat in place.beats())


def test_who_ran_without_a_wrapper_gives_back_too(place: Place) -> None:
    """A member that claimed by hand and never beat."""
    place("team", "up", place.file([{"name": "w", **SLEEPER}]), "--no-tmux")
    place("task", "add", "job", "--id", "j")
    place("mbox", "agent", "add", "hand")
    team = json.loads((place.root / places.team("blue")).read_text())
    assert team["members"][0]["name"] == "w"
    place("task", "claim", "j", "--as", "w")
    assert place.json("team", "down", "--force")["requeued"] == ["j"]


# -- changing --------------------------------------------------------------------------------------------------------


def test_edits_keep_the_files_mode_and_a_symlink(place: Place) -> None:
    """And a member whose team is down only goes into the file."""
    real = place.root / "teams"
    real.mkdir()
    file = Path(place.file([{"name": "boss", "role": "orchestrator", **SLEEPER}, {"name": "w", **SLEEPER}]))
    file.rename(real / "blue.yaml")
    file.symlink_to(real / "blue.yaml")
    (real / "blue.yaml").chmod(0o664)
    place("team", "up", str(file), "--no-tmux")
    assert "boss leads team blue" in place("team", "remove", "blue", "boss", check=False).stderr
    made = place.json("team", "add", "blue", "eve", "--host", "shell", "--command", "sleep", "--command", "9", "--prompt", "@@x")
    assert made["started"] == {"eve": ""} and made["new"] == ["eve"]
    assert "is in" in place("team", "add", "blue", "eve", check=False).stderr
    place("team", "down", "--force")
    said = place("team", "add", "blue", "zed", "--host", "shell")
    assert "zed starts with the next `team up`" in said.stderr
    assert file.is_symlink() and (real / "blue.yaml").stat().st_mode & 0o777 == 0o664
    members = {one.name: one for one in teamfile.load(str(file)).members}
    assert list(members) == ["boss", "w", "eve", "zed"] and members["eve"].prompt == "@x"
    assert [row["agent"] for row in place.json("mbox", "agent", "list")] == ["boss", "eve", "w"]


def test_a_team_of_that_name_from_another_file_is_refused(place: Place) -> None:
    """Its members would be taken for removed ones."""
    place("team", "up", place.file([{"name": "w", **SLEEPER}]), "--no-tmux")
    other = place.root / "other.yaml"
    other.write_text(json.dumps({"team": "blue", "members": [{"name": "x", **SLEEPER}]}))
    done = place("team", "up", str(other), "--no-tmux", check=False)
    assert done.returncode == 2 and "blue.yaml" in done.stderr
    place("team", "down", "--force")
    place("team", "up", str(other), "--no-tmux")
    place("team", "down", "--force")


def test_a_tree_that_cannot_be_made_is_refused_before_anything_is(place: Place) -> None:
    """A branch that is checked out elsewhere: nobody registered."""
    done = place("team", "up", place.file([{"name": "w", "worktree": "main", **SLEEPER}]), "--no-tmux", check=False)
    assert done.returncode == 2 and "branch main is checked out in" in done.stderr
    assert place.json("mbox", "agent", "list") == []


def test_who_ends_at_once_came_up(place: Place, socket: str) -> None:
    """A program that has nothing to do is no member that did not start; the answer does not take 15 s."""
    began = time.monotonic()
    made = place.json("team", "up", place.file([{"name": "w", "host": "shell", "command": ["true"]}]), "--socket", socket)
    assert set(made["started"]) == {"w"} and time.monotonic() - began < 8
    place("team", "down", "--force")


# -- looking ---------------------------------------------------------------------------------------------------------


def test_a_damaged_team_is_set_aside_and_the_watchdog_goes_on(place: Place) -> None:
    """Members that are no members: nothing crashes, the journal restores it."""
    place("team", "up", place.file([{"name": "w", **SLEEPER}]), "--no-tmux")
    path = place.root / places.team("blue")
    good = path.read_text()
    for wrong in ([1], [{"role": "x"}], [{"name": "../x"}], 5):
        path.write_text(json.dumps({**json.loads(good), "members": wrong}))
        for words in (["mbox", "status"], ["team", "status", "blue"], ["mbox", "watchdog", "--status"]):
            assert "internal error" not in place(*words, check=False).stderr
    place("mbox", "doctor", "--repair")
    place("team", "down", "--force")
    assert json.loads(path.read_text())["state"] == "down"


@pytest.mark.parametrize("form", ["json", "jsonl", "yaml", "table", "id", "env"])
def test_every_format_prints_something(place: Place, form: str) -> None:
    """For each of the verbs that look."""
    place("team", "up", place.file([{"name": "boss", "role": "orchestrator", **SLEEPER}]), "--no-tmux", "-o", form)
    for words in (["status"], ["report"], ["down", "--dry-run"]):
        assert place("team", *words, "-o", form).stdout.strip()
    place("team", "down", "--force", "-o", form)


def test_watching_ends_by_an_interrupt(place: Place) -> None:
    """A table again and again; exit 130."""
    place("team", "up", place.file([{"name": "w", **SLEEPER}]), "--no-tmux")
    one = spawned(place, "team", "status", "--watch", "-o", "jsonl")
    assert one.stdout is not None
    assert json.loads(one.stdout.readline())["agent"] == "w" and json.loads(one.stdout.readline())["agent"] == "w"
    one.send_signal(signal.SIGINT)
    assert one.wait(10) == 130
    one.communicate()
    place("team", "down", "--force")




# -- who leads, who reports to whom ----------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store with ann, bob and rae."""
    return World(tmp_path)


def call(world: World, *members: dict[str, Any], name: str = "blue", **more: Any) -> dict[str, Any]:
    """Call a team together, in the domain."""
    text = json.dumps({"team": name, "members": [{"host": "x", **member} for member in members], **more})
    return lifecycle.up(world.store, USER, teamfile.parse(text, f"/{name}.yaml"), [], {}, "")


BLUE = ({"name": "boss", "role": "orchestrator", "reports_to": "ann"}, {"name": "w1", "role": "lead"}, {"name": "w2"})


def stand(world: World) -> dict[str, tuple[str, str | None]]:
    """Role and superior of each member of the team blue."""
    docs = [world.store.read(places.agent(name)) for name in ("boss", "w1", "w2")]
    return {doc["agent"]: (doc["role"], doc["reports_to"]) for doc in docs if doc}


def test_up_again_leaves_the_lead_where_it_was_moved_to(world: World) -> None:
    """Nothing changes; a new call after the end, or another orchestrator in the file, counts."""
    call(world, *BLUE)
    first = stand(world)
    lifecycle.lead(world.store, USER, "blue", "w1")
    moved = stand(world)
    assert moved == {"boss": ("worker", "w1"), "w1": ("orchestrator", "ann"), "w2": ("worker", "w1")}
    assert call(world, *BLUE)["already"] and stand(world) == moved
    call(world, *BLUE, {"name": "w3"})
    assert stand(world) == moved
    found = world.store.read(places.agent("w3"))
    assert found and found["reports_to"] == "w1"
    lifecycle.lead(world.store, USER, "blue", "w2")
    assert stand(world) == {"boss": ("worker", "w2"), "w1": ("worker", "w2"), "w2": ("orchestrator", "ann")}
    lifecycle.change_state(world.store, USER, "blue", "down")
    call(world, *BLUE)
    assert stand(world) == first
    lifecycle.lead(world.store, USER, "blue", "w1")
    call(world, *BLUE, orchestrator="w2")
    doc = roster.require(world.store, world.store.read, "blue")
    assert doc["orchestrator"] == "w2" and doc["policy"] is None


def test_back_to_whom_the_file_names_is_as_before(world: World) -> None:
    """There is nothing more to remember."""
    call(world, *BLUE)
    lifecycle.lead(world.store, USER, "blue", "w1")
    lifecycle.lead(world.store, USER, "blue", "boss")
    assert roster.require(world.store, world.store.read, "blue")["policy"] is None


def test_a_team_below_a_team_reports_to_who_leads_that(world: World) -> None:
    """`parent:` names an agent, or a team; a team that nobody leads is refused."""
    call(world, *BLUE)
    call(world, {"name": "x1", "role": "orchestrator"}, {"name": "x2"}, name="red", parent="blue")
    docs = {name: world.store.read(places.agent(name)) for name in ("x1", "x2")}
    assert {name: doc["reports_to"] for name, doc in docs.items() if doc} == {"x1": "boss", "x2": "x1"}
    red = roster.require(world.store, world.store.read, "red")
    assert red["parent"] == "boss"
    assert roster.below(world.store, roster.require(world.store, world.store.read, "blue")) == ["red"]
    lifecycle.change_state(world.store, USER, "blue", "draining")
    x2 = docs["x2"]
    assert x2 and roster.draining(world.store.read, x2) == "blue"
    call(world, {"name": "y"}, name="none")
    with pytest.raises(Usage, match="nobody leads team none"):
        call(world, {"name": "z"}, name="over", parent="none")


def test_a_circle_by_way_of_another_team_is_refused(world: World) -> None:
    """The one who would close it is refused, whole."""
    call(world, {"name": "b", "reports_to": "ann"}, name="blue")
    call(world, {"name": "r", "reports_to": "b"}, name="red")
    with pytest.raises(Usage, match="circle: b → r → b"):
        call(world, {"name": "b", "reports_to": "r"}, name="blue")
    doc = world.store.read(places.agent("b"))
    assert doc and doc["reports_to"] == "ann"


def test_who_leads_others_is_not_taken_out(world: World) -> None:
    """The last one is."""
    call(world, *BLUE)
    with pytest.raises(Refused, match="boss leads team blue"):
        lifecycle.take_out(world.store, USER, "blue", "boss")
    for name in ("w1", "w2", "boss"):
        assert lifecycle.take_out(world.store, USER, "blue", name) == {"team": "blue", "removed": name}
    assert lifecycle.take_out(world.store, USER, "blue", "w1")["already"]


def test_mail_goes_up_and_down(place: Place) -> None:
    """`--up` to the superior, `--down` to all that report to one, both at once; refused where there is nobody."""
    file = place.file([{"name": "boss", "role": "orchestrator", **SLEEPER}, {"role": "w", "count": 2, **SLEEPER}])
    place("team", "up", file, "--no-tmux")
    assert place.json("mbox", "send", "--up", "--body", "x", "--as", "w-1")["to"] == ["boss"]
    assert place.json("mbox", "send", "--down", "--body", "x", "--as", "boss")["to"] == ["w-1", "w-2"]
    for who, way in (("boss", "--up"), ("w-1", "--down")):
        done = place("mbox", "send", way, "--body", "x", "--as", who, check=False)
        assert done.returncode == 2 and "refused: " in done.stderr
    told = place.json("team", "down", "--force")
    assert told["handed_over"]["to"] == "boss" and told["handed_over"]["messages"] == 2
