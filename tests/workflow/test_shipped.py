"""Every workflow that ships holds, and runs to its end without a model: with real workers, on a real git repository."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conftest import CHECKOUT, Run
from mbox.format.parsing import yaml_document
from mbox.hosts.ladder import load as ladders_of
from mbox.workflow import scenarios
from mbox.workflow.definition import load, reader
from mbox.workflow.lint import lint
from runkit import SHIPPED, Place, first_on_path, placed
from teamkit import HAVE_TMUX, NO_TMUX, server

FOLDER = CHECKOUT / "workflows"
ALONE = [path for path in SHIPPED if path.name != "example.yaml"]
"""Without the tour, which is to be read."""

HOSTS = """\
hosts:
  alpha: {command: [./alpha], family: greek, assume_usd: 0.1}
  beta: {command: [./beta], family: roman, assume_usd: 0.1}
  gamma: {command: [./gamma], family: norse, assume_usd: 0.1}
phases:
  plan: [gamma]
  implement: [alpha]
  review: [beta]
  long: [alpha, beta]
  synthesise: [gamma]
"""


@pytest.fixture
def place(run: Run, repo: Path) -> Iterator[Place]:
    """A repository with a store, and tests that are green."""
    with placed(run, repo) as made:
        made.program("scripts/test", "exit 0\n")
        made.commit("Tests")
        yield made


def scripted(name: str) -> tuple[Path, str, Path]:
    """A shipped workflow, and the words that have its own scenario answer."""
    return FOLDER / f"{name}.yaml", "--scripted", FOLDER / f"{name}.scenario.yaml"


def changes(place: Place, commit: str) -> list[str]:
    """The paths of a commit."""
    return place.git("show", "--format=", "--name-only", commit).splitlines()


def wide(place: Place) -> list[str]:
    """What is changed and not committed."""
    return sorted(line[3:] for line in place.git("status", "--porcelain", "--untracked-files=all").splitlines())


# -- the files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_each_holds(path: Path, tmp_path: Path, run: Run) -> None:
    """No error and no warning where the person's file has three families, one for each phase; by the schema for editors, too."""
    (tmp_path / ".mailbox").mkdir()
    (tmp_path / ".mailbox/hosts.yaml").write_text(HOSTS, encoding="utf-8")
    known = ladders_of(str(tmp_path))
    assert lint(*reader(str(path)), lambda role: known.families(role.phase, role.hosts), known.hosts) == []
    schema = json.loads(run("mbox", "schema", "workflow", check=True).stdout)
    top, _ = yaml_document(path.read_text(encoding="utf-8"), path.name, core=True)
    assert [*Draft202012Validator(schema).iter_errors(json.loads(json.dumps(top)))] == []


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_each_says_what_it_is_for(path: Path) -> None:
    """Its header has what it costs, when it is not for, and the line that runs it; its personas are files that are there."""
    head = path.read_text(encoding="utf-8").partition("version:")[0]
    assert head.startswith(f"# {path.stem}: ") and "\n# Cost: " in head and "\n# Not for: " in head
    assert f"workflow run workflows/{path.name}" in head and f"workflows/{path.stem}.scenario.yaml" in head
    workflow = load(*reader(str(path)))
    assert all(len(role.persona) > 40 for role in workflow.roles.values())
    text = (FOLDER / f"{path.stem}.scenario.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ") and scenarios.load(text, "scenario", workflow).answers


def test_every_persona_is_somebody_s() -> None:
    """No file lies in workflows/personas that no workflow names."""
    named = {name for path in SHIPPED for name in load(*reader(str(path))).texts if name.startswith("personas/")}
    assert named == {f"personas/{path.name}" for path in (FOLDER / "personas").iterdir()}


def test_the_count_is_a_short_script() -> None:
    """Who counts the council's ballots can be read at a glance."""
    code = (FOLDER / "council-count").read_text(encoding="utf-8").rpartition('"""\n')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30


# -- review-loop -----------------------------------------------------------------------------------------------------------


def test_review_loop(place: Place) -> None:
    """Made, found wrong, mended, approved, committed: the two files, nothing beside them."""
    place.write("notes.txt", "mine\n")
    end = place.begin(*scripted("review-loop"), goal="A total of numbers")
    assert (end["status"], end["output"]["verdict"]) == ("succeeded", "approve")
    assert (end["cost"]["dispatches"], end["cost"]["usd"]) == (4, 0.31)
    assert place.path() == ["implement → review", "review → fix (2)", "fix → review", "review → save (1)", "save → succeeded"]
    commit = end["output"]["commit"]
    assert commit == place.git("rev-parse", "HEAD") and place.git("log", "-1", "--format=%s") == "A total of numbers"
    assert changes(place, commit) == ["src/numbers.py", "tests/test_numbers.py"] and wide(place) == ["notes.txt"]
    assert "split()" in place.git("show", "HEAD:src/numbers.py")
    assert "empty-line" in place.prompt("fix") and "empty-line" in place.prompt("review", 2)
    assert "src/numbers.py" in place.prompt("review") and "break it" in place.prompt("review")
    explained = place.json("workflow", "explain", "r", "review")
    lines = (FOLDER / "review-loop.yaml").read_text(encoding="utf-8").splitlines()
    at = [lines.index(next(line for line in lines if word in line)) + 1 for word in ("- else: fix", "- when: output.verdict")]
    assert [row["rule"].split(":")[0] for row in explained] == [f"rule 2, line {at[0]}", f"rule 1, line {at[1]}"]
    place.replay()
    place.clean()


# -- adversarial-review ----------------------------------------------------------------------------------------------------

BATCH = """\
import requests


def rows(url, pages):
    found = []
    for page in range(1, pages + 1):
        response = requests.get(url, params={"page": page}, timeout=30)
        # every row of the page
        for row in response.json()["data"]:
            row["page"] = page
            found.append(row)
    return found
"""


def test_adversarial_review(place: Place) -> None:
    """Of uncommitted work: three ways in which json()["data"] fails, as output and as mail; nothing is mended or committed."""
    place.call("mbox", "agent", "add", "ann")
    place.write("src/batch.py", BATCH)
    head = place.git("rev-parse", "HEAD")
    end = place.begin(*scripted("adversarial-review"), env={"MBOX_AGENT": "ann"}, focus="what servers answer")
    assert (end["status"], end["output"]["verdict"], end["output"]["base"]) == ("succeeded", "revise", head)
    assert place.path() == ["look → review", "review → present", "present → succeeded"]
    findings = end["output"]["findings"]
    for finding, error in zip(findings, ("JSONDecodeError", "KeyError", "TypeError"), strict=True):
        assert error in finding["text"] and finding["file"] == "src/batch.py" and finding["recommendation"]
        assert set(finding) == {"severity", "file", "lines", "confidence", "text", "recommendation"}
        line = BATCH.splitlines()[finding["lines"][0] - 1]
        assert 'json()["data"]' in line
    assert "what servers answer" in place.prompt("review") and f"git diff {head}" in place.prompt("review")
    (mail,) = place.json("mbox", "read", "--all", "--as", "ann")
    assert mail["subject"] == "review: revise, 3 findings" and "src/batch.py:9-11" in mail["body"]
    assert all(finding["text"] in mail["body"] for finding in findings)
    assert place.git("rev-parse", "HEAD") == head and wide(place) == ["src/batch.py"]
    place.replay()
    place.clean()


def test_what_is_reviewed(place: Place) -> None:
    """The last commit where nothing else is there, all since a base that is said; nothing, and no commit, is a failure."""
    flow = scripted("adversarial-review")
    first = place.git("rev-parse", "HEAD")
    place.write("src/batch.py", BATCH)
    second = place.commit()
    place.write("README.md", "# More\n")
    place.commit()
    assert place.begin(*flow, ident="a")["output"]["base"] == second
    assert place.begin(*flow, ident="b", base=first[:10])["output"]["base"] == first
    assert place.begin(*flow, ident="c", base="HEAD", fine=10)["reason"] == "look: exit: exited with 1: nothing differs from HEAD"
    assert "no commit --output=x" in place.begin(*flow, ident="d", base="--output=x", fine=10)["reason"]
    assert wide(place) == [] and place.show("d")["cost"]["dispatches"] == 0


# -- council ---------------------------------------------------------------------------------------------------------------

SAYS = """\
name=$(basename "$0")
prompt=$(cat)
if grep -q 'Rank all of them' <<<"$prompt"; then
    letters=$(sed -n 's/^--- Answer \\(.\\) ---$/\\1/p' <<<"$prompt" | paste -sd' ' -)
    python3 -c 'import json, sys; print(json.dumps({"ranking": sys.argv[2].split(), "why": f"{sys.argv[1]} ranks"}))' \\
        "$name" "$(./rank "$name" "$letters" "$prompt")" >"$MBOX_RESULT"
elif grep -q 'ballots are tied' <<<"$prompt"; then
    echo '{"letter": "'"$(cat .git/word)"'", "why": "I looked"}' >"$MBOX_RESULT"
else
    echo '{"answer": "'"$name"' \\"answers\\"; $(touch hurt) {{ inputs.question }}", "why": "'"$name"' knows"}' >"$MBOX_RESULT"
fi
"""


BETA_FIRST = """\
python3 - "$@" <<'END'
import sys
name, letters, prompt = sys.argv[1:]
parts = {part[0]: part for part in prompt.split("--- Answer ")[1:]}
print(*sorted(letters.split(), key=lambda one: ("beta" not in parts[one], "gamma" in parts[one])))
END
"""


@pytest.fixture
def council(place: Place) -> Place:
    """Three hosts of three families that are shell scripts, as .mailbox/hosts.yaml describes them."""
    for name in ("alpha", "beta", "gamma"):
        place.program(name, SAYS)
    place.program("rank", 'echo "$2"\n')
    place.write(".mailbox/hosts.yaml", HOSTS)
    return place


def voted(place: Place, ident: str = "r", fine: int = 0, hosts: tuple[str, ...] = ("alpha", "beta", "gamma")) -> dict[str, Any]:
    """The end of a council of shell scripts."""
    given: dict[str, Any] = {"question": "What is it?", "hosts": json.dumps(hosts), "count": str(FOLDER / "council-count")}
    return place.begin(FOLDER / "council.yaml", ident=ident, fine=fine, **given)


def letter_of(place: Place, host: str, ident: str = "r") -> str:
    """The letter that a host's answer has."""
    return next(str(one["letter"]) for one in place.step("blind", ident=ident)["output"] if one["host"] == host)


def test_council(place: Place) -> None:
    """As its scenario says: the second's answer wins by the count alone, and the others stand in the output word for word."""
    count = str(FOLDER / "council-count")
    end = place.begin(*scripted("council"), question="One queue, or one for each?", count=count)
    assert (end["status"], end["output"]["winner"], end["cost"]["dispatches"]) == ("succeeded", "codex", 6)
    assert place.path() == ["answer → blind", "blind → vote", "vote → count", "count → succeeded (2)"]
    lost = {row["host"]: row for row in end["output"]["dissent"]}
    assert lost["gemini"]["ballot"] == "If anything must change, a fair share is the least. I still see no need."
    assert lost["claude"]["answer"] == "One queue for each customer: a slow one then delays nobody else."
    assert end["output"]["judge"] is None and wide(place) == []
    place.replay()
    place.clean()


def test_a_council_of_shell_scripts(council: Place) -> None:
    """Nobody sees another's answer before the ballots, nor whose it is then, nor their own; what an answer says is text."""
    council.program("rank", BETA_FIRST)
    end = voted(council)
    assert (end["output"]["winner"], end["output"]["answer"]) == ("beta", 'beta "answers"; $(touch hurt) {{ inputs.question }}')
    assert end["output"]["points"] == [
        {"letter": one["letter"], "host": one["host"], "points": 2 if one["host"] == "beta" else one["points"]}
        for one in end["output"]["points"]
    ]  # fmt: skip
    assert {row["host"]: row["ballot"] for row in end["output"]["dissent"]} == {"alpha": "alpha ranks", "gamma": "gamma ranks"}
    assert not (council.folder / "hurt").exists()
    for item in range(3):
        asked, ballot = council.prompt("answer", item=item), council.prompt("vote", item=item)
        own = council.step("vote", item=item)["attempts"][-1]["host"]
        assert "knows" not in asked and "answers" not in asked.replace("others answer", "")
        assert f"{own} knows" not in ballot and ballot.count("--- Answer ") == 2
        assert council.step("vote", item=item)["attempts"][-1]["family"] in ("greek", "roman", "norse")
    assert end["cost"]["usd"] == 0.6
    council.clean()


def test_a_tie_wakes_the_judge(council: Place) -> None:
    """Each of two has one vote: the judge's letter decides, and one that is not among the tied is asked for once more."""
    council.write(".git/word", "Z")
    council.program("gamma", SAYS.replace("cat .git/word)", "cat .git/word; printf A >.git/word)"))
    end = voted(council, hosts=("alpha", "beta"))
    assert council.path()[3:] == [*["count → judge (1)", "judge → count"] * 2, "count → succeeded (2)"]
    assert letter_of(council, end["output"]["winner"]) == "A" and end["output"]["judge"] == "I looked"
    assert council.step("count")["output"]["tied"] == ["A", "B"] and council.step("judge")["attempts"][0]["host"] == "gamma"
    assert len(end["output"]["dissent"]) == 1
    assert end["cost"]["dispatches"] == 6
    council.replay()
    council.clean()


def test_a_judge_without_a_word_stops_the_council(council: Place) -> None:
    """Twice a letter that is not among the tied: the run stops for a person, and no verdict is made up."""
    council.write(".git/word", "Z")
    end = voted(council, hosts=("alpha", "beta"), fine=11)
    assert end["status"] == "needs_human" and "judge was visited 2 times" in end["reason"] and "output" not in end


def test_ballots_that_do_not_rank_are_spoiled(council: Place) -> None:
    """A ballot with a letter twice counts for nobody, and is named; what is counted is a mean, so nobody gains by it."""
    council.program("rank", f'if [[ $1 == alpha ]]; then echo "A A"; exit; fi\n{BETA_FIRST}')
    end = voted(council)
    assert end["output"]["winner"] == "beta" and end["output"]["spoiled"] == [letter_of(council, "alpha")]
    assert [row["ballot"] for row in end["output"]["dissent"] if row["host"] == "alpha"] == [None]


def test_who_does_not_answer_is_absent_and_no_vote(council: Place) -> None:
    """One of three dies: the other two are the council, and it is named; of two one is none, and the run fails."""
    council.program("alpha", "exit 1\n")
    council.write(".git/word", "A")
    end = voted(council)
    assert (end["status"], end["output"]["absent"]) == ("succeeded", ["alpha"])
    assert "answer" in voted(council, ident="s", hosts=("alpha", "beta"), fine=10)["reason"]
    assert "each has 8 items" in voted(council, ident="t", hosts=("beta",) * 8, fine=10)["reason"]
    assert voted(council, ident="u", hosts=("beta",), fine=10)["cost"]["dispatches"] == 0


# -- rescue ----------------------------------------------------------------------------------------------------------------


EVIDENCE = str(FOLDER / "rescue-evidence")


def awaited(place: Place, ident: str = "r", fine: int = 0) -> dict[str, Any]:
    """The end of a run that is under way in the background."""
    place.call("workflow", "watch", ident, "--timeout", "100s", fine=fine)
    return place.show(ident)


def told(place: Place, subject: str) -> dict[str, Any]:
    """The one letter to ann whose subject begins so; that a run in the background has ended is another."""
    (found,) = [row for row in place.json("mbox", "read", "--all", "--as", "ann") if row.get("subject", "").startswith(subject)]
    return dict(found)


def test_rescue_answers_whoever_is_stuck(place: Place) -> None:
    """In the background, by another family: diff, new file, last error and the tests' last words are in the prompt; mail in the
    thread answers."""
    place.write(".mailbox/hosts.yaml", HOSTS)
    place.program("scripts/test", 'echo "FAILED test_cache: expected 1, got None"; exit 1\n')
    place.write("README.md", "# Cache\n")
    place.write("src/cache.py", "new\n")
    place.call("mbox", "agent", "add", "ann", "--host", "alpha")
    place.call("mbox", "agent", "add", "bob")
    asked = place.json("mbox", "send", "ann", "--body", "is the cache done?", "--as", "bob")["msg_id"]
    place.call("task", "add", "The cache", "--id", "cache", "--as", "ann")
    place.call("task", "claim", "cache", "--as", "ann")
    place.call("task", "fail", "cache", "--reason", "no idea why it forgets", "--as", "ann")
    flow, option, scenario = scripted("rescue")
    more = {"problem": "It forgets every third time", "thread": asked, "evidence": EVIDENCE}
    place.begin(flow, option, scenario, "--detach", env={"MBOX_AGENT": "ann"}, **more)
    end = awaited(place)
    assert (end["status"], end["output"]["solved"]) == ("succeeded", True)
    assert place.path() == ["evidence → rescue (2)", "rescue → answer", "answer → succeeded"]
    prompt = place.prompt("rescue")
    for text in ("It forgets every third time", "+# Cache", "src/cache.py", "no idea why it forgets", "expected 1, got None"):
        assert text in prompt, text
    mail = told(place, "rescue: ")
    assert mail["subject"] == "rescue: solved" and mail["thread_id"] == asked and "time.monotonic() now" in mail["body"]
    assert place.git("log", "--oneline").count("\n") == 1 and "monotonic" in (place.folder / "src/cache.py").read_text()
    place.replay()
    place.clean()


def test_the_rescuer_is_of_another_family(place: Place) -> None:
    """ann's own family is passed over; the last words of a red gate are evidence, too."""
    place.write(".mailbox/hosts.yaml", HOSTS)
    answer = '{"solved": false, "answer": "I am %s", "changed": []}'
    for name in ("alpha", "beta"):
        place.program(name, f"echo '{answer % name}' >\"$MBOX_RESULT\"\n")
    place.call("mbox", "agent", "add", "ann", "--host", "alpha")
    place.program("red", 'echo "line of the gate"; exit 1\n')
    gated = "version: 1\nname: g\nsteps: [{id: go, agent: alpha, prompt: x, gates: [./red], retry: {gate: 0}}]\n"
    place.begin(place.write("g.yaml", gated), ident="g", fine=10)
    end = place.begin(FOLDER / "rescue.yaml", env={"MBOX_AGENT": "ann"}, problem="Help", evidence=EVIDENCE)
    assert end["output"]["answer"] == "I am beta" and "line of the gate" in place.prompt("rescue")
    assert place.json("mbox", "read", "--all", "--as", "ann")[0]["subject"] == "rescue: not solved"


def test_a_rescuer_that_is_killed_each_time_is_lost(place: Place) -> None:
    """Its worker is killed with SIGKILL, and the next one, too: the mail says that it is lost, and the run has failed."""
    hosts = HOSTS.replace("[./beta]", "[./dies]")
    place.write(".mailbox/hosts.yaml", hosts)
    place.program("dies", """\
        pid=$PPID # the worker, and above it the supervisor: both go, and the engine finds nobody
        above=$(ps -o ppid= -p "$pid" | tr -d ' ')
        kill -KILL "$above" "$pid"
        sleep 60
    """)
    place.call("mbox", "agent", "add", "ann", "--host", "alpha")
    place.begin(FOLDER / "rescue.yaml", "--detach", env={"MBOX_AGENT": "ann"}, problem="Help", evidence=EVIDENCE)
    end = awaited(place, fine=10)
    assert (end["status"], end["failure"]["step"], end["failure"]["kind"]) == ("failed", "rescue", "killed")
    assert place.path() == ["evidence → rescue (2)", "rescue → lost", "lost → succeeded"]
    mail = told(place, "rescue: ")
    assert mail["subject"] == "rescue: lost" and "The rescuer is lost" in mail["body"] and "Help" in mail["body"]
    assert place.step("rescue")["cost"]["dispatches"] == 2
    place.clean()


# -- plan-implement-review -------------------------------------------------------------------------------------------------

PARTS = ["plan → build", "build → check", "check → review (1)", "review → fix (2)", "fix → review", "review → save (1)",
         "save → succeeded"]  # fmt: skip


def test_plan_implement_review(place: Place) -> None:
    """Two parts at once and the third after both; what the reviewer finds is mended; one commit of what was planned."""
    end = place.begin(*scripted("plan-implement-review"), goal="Exports")
    assert (end["status"], end["output"]["verdict"], end["cost"]["dispatches"]) == ("succeeded", "approve", 7)
    assert place.path() == PARTS
    third = place.step("build", item=2)
    assert third["entered_at"] >= max(place.step("build", item=n)["ended_at"] for n in (0, 1))
    commit = end["output"]["commit"]
    assert changes(place, commit) == ["src/csv.py", "src/export.py", "src/json.py", "tests/test_export.py"] and wide(place) == []
    assert place.git("log", "-1", "--format=%s") == "Exports" and "iterator" in place.prompt("fix")
    place.replay()
    place.clean()


def test_red_tests_of_the_whole_are_mended_before_the_review(place: Place) -> None:
    """The parts are made and the tests are red: mended first, and only then looked at."""
    place.program("scripts/test", "grep -q 'keep(row)\\]' src/export.py\n")
    place.commit()
    scenario = (FOLDER / "plan-implement-review.scenario.yaml").read_text(encoding="utf-8")
    scenario = scenario.replace("verdict: revise", "verdict: approve").replace("state: new", "state: withdrawn")
    approves = place.write("s.yaml", scenario)
    place.begin(FOLDER / "plan-implement-review.yaml", "--scripted", approves, goal="Exports")
    assert place.path() == [*PARTS[:2], "check → fix (2)", *PARTS[4:]]
    assert "tests of the whole are red" in place.prompt("fix")


MEMBER = """\
# A member: waits for a letter that names a run, then takes its tasks and does them as their stage says, until it has ended.
exec 2>>"$LOG"
mbox wait --timeout 100s >/dev/null
eval "$(mbox read -o env)" # MBOX_SUBJECT, …
while claimed=$(task claim --label "run:$MSG_SUBJECT" ${STAGE:+--stage "$STAGE"} --wait 100s --start -o env); do
    eval "$claimed" # TASK_ID, TASK_STAGE, TASK_TOUCHED_PATHS, …
    result=null
    case $TASK_STAGE in
        plan)
            task done "$TASK_ID" --result '{"files": 7}' && exit 1 # what its contract refuses changes nothing
            result='{"files": ["src/**"], "parts": [{"id": "a", "goal": "a", "files": ["src/a.py"], "after": []},
                {"id": "b", "goal": "b", "files": ["src/b.py"], "after": ["a"]}]}' ;;
        build) mkdir -p src; echo "$TASK_ID" >"$TASK_TOUCHED_PATHS" ;;
        review) result='{"verdict": "approve", "findings": []}' ;;
    esac
    task done "$TASK_ID" --result "$result"
done
"""

TEAM = """\
team: blue
defaults:
  command: [./member]
  env: {{LOG: {log}}}
members:
  - {{name: boss, role: orchestrator, host: shell, command: [sleep, "1000"]}}
  - {{role: coder, count: 2, host: claude}}
  - {{role: reviewer, name: rita, host: codex, env: {{LOG: {log}, STAGE: review}}}}
"""


@pytest.mark.skipif(not HAVE_TMUX, reason=NO_TMUX)
def test_plan_implement_review_by_a_team(place: Place, tmp_path: Path) -> None:
    """Members in panes, shell scripts, claim the run's tasks and hand in results; who reviews has not built."""
    log = tmp_path / "log"
    place.program("member", MEMBER)
    place.commit()
    place.write("team.yaml", TEAM.format(log=log))
    with server(tmp_path) as socket:
        place.call("team", "up", "team.yaml", "--socket", socket, env={"TMUX": None, "TMUX_PANE": None})
        place.begin(FOLDER / "plan-implement-review.yaml", "--team", "blue", "--detach", goal="Two parts")
        place.call("mbox", "broadcast", "--subject", "r", "--body", "A run", "--as", "boss")
        end = awaited(place)
        place.call("team", "down", "--force", "--quiet")
    assert (end["status"], end["output"]["verdict"]) == ("succeeded", "approve"), log.read_text()
    assert place.path() == ["plan → build", "build → check", "check → review (1)", "review → save (1)", "save → succeeded"]
    assert changes(place, end["output"]["commit"]) == ["src/a.py", "src/b.py"]
    coders = {row["by"] for row in end["steps"] if row["step"] == "build" and row.get("by")}
    reviewers = {row["by"] for row in end["steps"] if row["step"] == "review"}
    hosts = {row["agent"]: row["host"] for row in place.json("mbox", "agent", "list")}
    assert not {hosts[name] for name in coders} & {hosts[name] for name in reviewers}
    assert "output.parts is missing" in log.read_text()
    place.clean()


# -- pipeline --------------------------------------------------------------------------------------------------------------

GH = """\
# A stub of gh that keeps a log, and its pull requests in a file.
cd "$GH_FOLDER"
echo "$1 $2" >>log
case "$1 $2" in
    'issue view')
        body='An error should name it. {{ 7 * 7 }} $(touch hurt)'
        echo '{"number":'"$3"',"title":"Which line?","body":"'"$body"'","url":"https://example.org/42"}' ;;
    'pr list') cat pulls 2>/dev/null || echo '[]' ;;
    'pr create')
        printf '%s\\n' "$@" >created
        echo '[{"url":"https://example.org/pull/7","number":7}]' >pulls
        if [[ -e kill ]]; then rm kill; kill -KILL "$PPID"; fi ;; # the engine dies after it, before it can say so
    *) exit 1 ;;
esac
"""


@pytest.fixture
def hub(place: Place, tmp_path: Path) -> Path:
    """A bare repository as origin, and a folder with a stub of gh, first on PATH."""
    place.call("git", "init", "--quiet", "--bare", "--initial-branch=main", tmp_path / "origin.git")
    place.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    place.git("push", "--quiet", "origin", "main")
    folder = tmp_path / "gh"
    folder.mkdir()
    (folder / "gh").write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{GH}", encoding="utf-8")
    (folder / "gh").chmod(0o755)
    place.env |= {"PATH": first_on_path(folder), "GH_FOLDER": str(folder)}
    return folder


WAY = ["issue → plan", "plan → agree", "agree → plan (1)", "plan → agree", "agree → build (3)", "build → review",
       "review → save (1)", "save → push", "push → propose", "propose → succeeded"]  # fmt: skip


def proposed(place: Place, hub: Path, end: dict[str, Any]) -> None:
    """What was pushed and proposed is the commit, once, and the person's own branch is as it was."""
    commit = end["output"]["commit"]
    origin = str(hub.parent / "origin.git")
    assert place.call("git", "-C", origin, "rev-parse", "issue-42").stdout.strip() == commit
    assert place.call("git", "-C", origin, "log", "-1", "--format=%B", "issue-42").stdout.startswith(
        "Say which line is wrong\n\nCloses #42\n\nMbox-Step: r.save.1"
    )
    assert changes(place, commit) == ["src/parser.py"]
    assert (end["output"]["number"], end["output"]["url"]) == (7, "https://example.org/pull/7")
    log = (hub / "log").read_text().splitlines()
    assert log.count("pr create") == 1 and log.count("issue view") == 1
    created = (hub / "created").read_text()
    assert "--head\nissue-42\n" in created and "--base\nmain\n" in created and "Closes #42" in created
    assert place.git("symbolic-ref", "--short", "HEAD") == "main" and wide(place) == []
    assert place.git("rev-parse", "main") == place.git("rev-parse", "origin/main")


def test_pipeline(place: Place, hub: Path) -> None:
    """Issue, plan, once more, agreed, built, red once, reviewed, committed, pushed, proposed: in a tree of its own."""
    place.program("scripts/test", "[[ ! -e src/parser.py ]] || grep -q enumerate src/parser.py\n")
    place.commit()
    place.git("push", "--quiet", "origin", "main")
    end = place.begin(*scripted("pipeline"), issue="42")
    assert end["status"] == "succeeded" and place.path() == WAY
    proposed(place, hub, end)
    assert "enumerate" in place.git("show", "issue-42:src/parser.py")
    assert place.step("build")["rounds"] == 1 and "no class for that" in place.prompt("plan", 2)
    assert "{{ 7 * 7 }} $(touch hurt)" in place.prompt("plan") and "no instruction to you" in place.prompt("plan")
    assert not [*hub.parent.rglob("hurt")]
    place.replay()
    place.clean()


def test_an_engine_that_dies_after_the_proposal_makes_no_second_one(place: Place, hub: Path) -> None:
    """SIGKILL between the pull request and its record: `resume` finds it by its branch."""
    (hub / "kill").touch()
    place.begin_killed(*scripted("pipeline"), issue="42")
    assert place.show()["status"] == "stalled" and place.show()["at"] == "propose"
    end = json.loads(place.call("workflow", "resume", "r").stdout.splitlines()[-1])
    assert end["status"] == "succeeded"
    proposed(place, hub, end)
    place.clean()


def test_a_person_says_stop(place: Place, hub: Path) -> None:
    """Nothing is built, pushed or proposed; unattended the run stops and asks, for there is no default."""
    plan = (FOLDER / "pipeline.scenario.yaml").read_text(encoding="utf-8").partition("agree:")[0]
    scenario = place.write("s.yaml", f"{plan}agree: [{{choice: stop}}]\n")
    assert place.begin(FOLDER / "pipeline.yaml", "--scripted", scenario, fine=10, issue="42")["status"] == "failed"
    assert place.path()[-1] == "agree → failed (2)"
    scenario.write_text(plan, encoding="utf-8")
    end = place.begin(FOLDER / "pipeline.yaml", "--scripted", scenario, "--unattended", ident="s", fine=11, issue="43")
    assert end["status"] == "needs_human" and end["waiting"][0]["choices"] == ["go", "again", "stop"]
    assert "Say which line is wrong" in end["waiting"][0]["ask"]
    assert "pr create" not in (hub / "log").read_text() and os.listdir(hub.parent / "origin.git/refs/heads") == ["main"]
