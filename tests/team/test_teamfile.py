"""The team file: what it says, what is wrong with it and on which line, and edits that change nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mbox.errors import Usage
from mbox.team import teamfile, tmux

CHECKOUT = Path(__file__).resolve().parents[2]

GOOD = """\
# our team
team: blue
defaults: {host: claude, respawn: {times: 2, within: 5m}, env: {A: b}}
members:
  # the boss
  - name: boss
    role: orchestrator   # leads
    model: o'pus
  - role: worker
    count: 3  # three
    host: codex
    worktree: true
    respawn: false
"""


def test_what_it_says() -> None:
    """Members expanded, defaults taken, everybody reports to the orchestrator unless said."""
    team = teamfile.parse(GOOD, "/x/blue.yaml")
    assert [member.name for member in team.members] == ["boss", "worker-1", "worker-2", "worker-3"]
    boss, one = team.members[:2]
    assert (team.name, team.orchestrator, boss.reports_to, one.reports_to) == ("blue", "boss", None, "boss")
    assert (boss.host, boss.respawn, one.host, one.respawn) == ("claude", {"times": 2, "within": 300.0}, "codex", None)
    assert one.row() == {
        "name": "worker-1", "role": "worker", "host": "codex", "reports_to": "boss", "worktree": True, "env": {"A": "b"},
    }  # fmt: skip


def test_it_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the text gives values, lines and what is refused."""
    made = []

    class Counting(yaml.SafeLoader):
        """Remembers that it was made."""

        def __init__(self, text: str) -> None:
            made.append(text)
            super().__init__(text)

    monkeypatch.setattr(yaml, "CSafeLoader", Counting)
    teamfile.parse(GOOD, "/x/blue.yaml")
    assert made == [GOOD]


def test_the_one_that_ships() -> None:
    """One orchestrator, two leads, six workers, on three levels; and docs/teams.md names every field."""
    team = teamfile.load(str(CHECKOUT / "workflows/teams/three-levels.yaml"))
    above = {member.name: member.reports_to for member in team.members}
    assert len(above) == 9 and team.orchestrator == "boss" and above["boss"] is None
    assert above["lead-1"] == above["lead-2"] == "boss"
    assert [above[f"{side}-{n}"] for side in ("north", "south") for n in (1, 2, 3)] == ["lead-1"] * 3 + ["lead-2"] * 3
    page = (CHECKOUT / "docs/teams.md").read_text(encoding="utf-8")
    assert all(f"`{field}`" in page for field in (*teamfile.TOP, *teamfile.MEMBER, "defaults", "members"))
    assert all(f"| `{what}` | {since} | {why} |" in page for what, since, why in tmux.FEATURES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("[1]", "must be a mapping"),
        ("members: []", "at least one member"),
        ("members: [1]", ":1:11: a member must be a mapping such as"),
        ("members:\n- name: a\n  nmae: b", ":3:3: unknown key 'nmae'; did you mean name"),
        ("members:\n- name: A", ":2:9: name: agent name 'A': use a-z 0-9 . _ -"),
        ("members:\n- name: a\n- name: a", "two members are called a"),
        ("members:\n- role: w\n  count: 0", ":3:10: count must be a number from 1 to 100, not 0"),
        ("members:\n- name: a\n  count: 2", "say one of them"),
        ("members:\n- host: claude", "needs a name"),
        ("members:\n- {name: a, command: claude}", "command must be a list of words such as [claude, --verbose], not 'claude'"),
        ("members:\n- {name: a, command: [1]}", "command must be text, not 1: write it in quotes"),
        ("members:\n- {name: a, model: no}", ":2:20: model must be text, not false: write it in quotes"),
        ("members:\n- {name: a, nudge: 1}", "must be true or false"),
        ("members:\n- {name: a, worktree: -x}", "a branch's name"),
        ("members:\n- {name: a, worktree: ../x}", "a branch's name"),
        ("members:\n- {name: a, respawn: 3}", "must be false, true or"),
        ("members:\n- {name: a, respawn: {within: soon}}", "within must be a duration"),
        ("members:\n- {name: a, env: {MBOX_ROOT: x}}", "is set by `mbox run`"),
        ("members:\n- {name: a, env: {'a b': x}}", "no name of a variable"),
        ("members:\n- {name: a, reports_to: a}", "cannot report to itself"),
        ("members:\n- {name: a, reports_to: b}\n- {name: b, reports_to: a}", "circle: a → b → a"),
        ("orchestrator: bos\nmembers:\n- name: boss", "is no member; did you mean boss"),
        ("members:\n- name: a\n  name: b", ":3:3: 'name' stands twice in one mapping"),
        ("members: &x\n- name: a\nteam: *x", "aliases"),
        ("members: [", "not YAML"),
        ("team: a b\nmembers: [{name: a}]", ":1:7: team: team name 'a b': use a-z"),
        ("members:\n- {role: w, count: 100}\n- {role: x, count: 100}", "more than 100"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    """`Usage`, one line, the file and the mend."""
    with pytest.raises(Usage) as error:
        teamfile.parse(text, "/x/t.yaml")
    assert said in str(error.value) and "/x/t.yaml" in str(error.value) and "\n" not in str(error.value)


def test_edits_keep_comments_and_order(tmp_path: Path) -> None:
    """A member more, a member less, one of several less; a name that is not there, or is in the middle, is refused."""
    path = tmp_path / "blue.yaml"
    path.write_text(GOOD, encoding="utf-8")
    more = teamfile.with_member(str(path), {"name": "eve", "host": "gemini"})
    assert more.startswith(GOOD) and "name: eve" in more
    assert teamfile.without_member(str(path), "worker-3") == GOOD.replace("count: 3", "count: 2")
    assert "boss" not in teamfile.without_member(str(path), "boss").replace("# the boss", "")
    for name, said in (("worker-1", "remove worker-3 instead"), ("nobody", "no member nobody")):
        with pytest.raises(Usage, match=said):
            teamfile.without_member(str(path), name)
    with pytest.raises(Usage, match="two members are called boss"):
        teamfile.with_member(str(path), {"name": "boss"})
    assert path.read_text(encoding="utf-8") == GOOD


def test_an_instruction_can_stand_in_a_file(tmp_path: Path) -> None:
    """Beside the team file; ``@@`` is a literal @; a file that is not there is named with the line."""
    (tmp_path / "p.txt").write_text("Do\nthis\n", encoding="utf-8")
    path = str(tmp_path / "t.yaml")
    text = "defaults: {prompt: '@p.txt'}\nmembers:\n- name: a\n- name: b\n  prompt: '@@b'\n"
    assert [member.prompt for member in teamfile.parse(text, path).members] == ["Do\nthis\n", "@b"]
    with pytest.raises(Usage, match=r"t.yaml:5:11: prompt .*/nope.txt: No such file or directory; @ names a file"):
        teamfile.parse(text.replace("@@b", "@nope.txt"), path)


@pytest.mark.parametrize("where", ["../secret", "/SECRET", "a/../../secret", "link", "below/link", "linked/secret"])
def test_an_instruction_stays_in_the_folder_of_its_file(tmp_path: Path, where: str) -> None:
    """What a cloned team file names elsewhere is not read into a prompt: not by ``..``, an absolute path or a link."""
    secret, folder = tmp_path / "secret", tmp_path / "repo"
    secret.write_text("token", encoding="utf-8")
    (folder / "below").mkdir(parents=True)
    (folder / "link").symlink_to(secret)
    (folder / "below/link").symlink_to("../../secret")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "below/p.txt").write_text("fine", encoding="utf-8")
    text = "members:\n- name: a\n  prompt: '@below/../below/p.txt'\n"
    path = str(folder / "t.yaml")
    assert teamfile.parse(text, path).members[0].prompt == "fine"
    with pytest.raises(Usage, match=r"t.yaml:3:11: prompt .* is outside .*/repo: put the file beside this one"):
        teamfile.parse(text.replace("below/../below/p.txt", where.replace("/SECRET", str(secret))), path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("? [a]\n: b\n", "a key must be text"),
        ("members:\n- ? {x: y}\n  : z\n", ":2:5: a key must be text, not a mapping"),
        ('members:\n- {name: a, model: "\\ud800"}', ":2:23: not YAML: "),
        ("members:\n- name: sweep", ":2:9: name sweep is the toolkit's own name"),
        ("parent: a\nmembers:\n- name: a\n- name: b", "parent a is a member"),
        ("members:\n- {role: w, count: 2, worktree: x}", "two members have branch x"),
        ("a: 1\n---\nb: 2", ":2:1: a second document"),
        ("members: !!python/object:os.system {}", ":1:10: tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("members: " + "[" * 5000, "nested deeper than 64"),
        ("\t", "not YAML"),
        ("members:\n- {name: a, env: {1: x}}", ":2:19: the key 1 is not text: write it in quotes"),
        ("1: x\nmembers: [{name: a}]", ":1:1: the key 1 is not text: write it in quotes"),
        ("members:\n- {name: a, count: true}", "count must be a number from 1 to 100, not true"),
    ],
)
def test_hostile_yaml_is_one_line_too(text: str, said: str) -> None:
    """No traceback, whatever stands there."""
    with pytest.raises(Usage) as error:
        teamfile.parse(text, "/x/t.yaml")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_edits_keep_line_ends_and_refuse_what_would_change_more(tmp_path: Path) -> None:
    """A file from Windows; a field that others take over from what is edited."""
    path = tmp_path / "blue.yaml"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    more = teamfile.with_member(str(path), {"name": "eve", "host": "gemini"})
    assert more.replace("\r\n", "\n").startswith(GOOD) and more.count("\r\n") == more.count("\n")
