"""What agents say where we say something else: the verb or the option that is meant is named, and nothing is done."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from conftest import Run
from mbox.cli import meanings, options
from mbox.cli.table import PROGRAMS, TABLES, group
from mbox.format.documents import TASK_STATES

ANN = {"MBOX_AGENT": "ann"}

MEANT = [
    ("task close t1", "task done"), ("task complete t1", "task done"), ("task finish t1", "task done"),
    ("task create x", "task add"), ("task new x", "task add"), ("task next", "task claim"), ("task take", "task claim"),
    ("task ls", "task list"), ("task get t1", "task show"), ("task delete t1", "task cancel"),
    ("task edit t1", "task update"), ("task comment t1 x", "task note"), ("task unlock t1", "task release"),
    ("task stop t1", "task cancel"), ("task reopen t1", "task requeue"),
    ("task CLOSE t1", "task done"),
    ("mbox mail", "mbox inbox"), ("mbox messages", "mbox inbox"), ("mbox whoami", "mbox me"),
    ("mbox register ann", "mbox agent add"), ("mbox close t1", "task done"), ("mbox take", "task claim"),
    ("mbox next", "mbox read"), ("mbox create x", "task add"), ("mbox tell bob", "mbox send"),
    ("mbox unlock src/x.py", "reserve release"), ("mbox version", "mbox --version"),
    ("mbox agent create x", "mbox agent add"), ("mbox agent register x", "mbox agent add"),
    ("mbox agent delete x", "mbox agent retire"), ("mbox agent ls", "mbox agent list"),
    ("mbox agent heartbeat", "mbox agent beat"),
    ("team start t.yaml", "team up"), ("team stop", "team down"), ("team ls", "team status"), ("team kill", "team down"),
    ("mbox task close t1", "mbox task done"),
    ("task abandon t1", "task release"), ("task give-up t1", "task fail"), ("task mark_done t1", "task done"),
    ("task claim-next", "task claim"), ("task read t1", "task show"), ("task stat", "task list"),
    ("task mine", "task list --mine"), ("task pause t1", "task update --hold"), ("task block t1", "task update --hold"),
    ("task unblock t1", "task update --no-hold"), ("task dep add t1 t2", "task update --add-dep"),
    ("task assign t1 bob", "mbox send --task"), ("task reassign t1 bob", "mbox send --task"),
    ("task review-request t1", "task submit"), ("task watch t1", "task wait"),
    ("mbox message bob hi", "mbox send"), ("mbox peek", "mbox inbox"), ("mbox agents", "mbox agent list"),
    ("mbox delete m1", "mbox ack"), ("mbox exit", "mbox agent retire"),
    ("team watch", "team status --watch"), ("team members", "team status"), ("team logs", "mbox log"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "meant"), MEANT)
def test_a_verb_of_another_tool(line: str, meant: str, staffed: Path, run: Run) -> None:
    """It is no command (2); the one that is meant is named whole, the nearest by spelling is not."""
    done = run(*line.split(), cwd=staffed, env=ANN)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"did you mean {meant}?" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("mbox send bob --message hi", "--body"), ("mbox send bob -m hi", "--body"), ("mbox send bob --text hi", "--body"),
        ("mbox send --recipient bob --body x", "TO"), ("mbox reply m1 --message x", "--body"),
        ("mbox ask bob --content x", "--body"), ("mbox inbox -n 5", "--limit"), ("task list -n 5", "--limit"),
        ("mbox log -n 5", "--limit"), ("task show t1 -n 5", "--notes"), ("task add x --wait-for t1", "--depends-on"),
        ("task add --title x", "TITLE"), ("task add x --tag y", "--label"), ("task add x -d y", "--description"),
        ("task note t1 --text x", "TEXT"), ("task note t1 -m x", "TEXT"), ("task fail t1 -m x", "--reason"),
        ("task reject t1 --message x", "--reason"), ("task done t1 --output x", "--result"),
        ("reserve src/a.py --duration 5m", "--ttl"), ("task claim --dryrun", "--dry-run"), ("task show t1 -v", "--full"),
        ("task list --assignee ann", "--owner"), ("mbox me -h", "--help"), ("mbox read --timeout 5s", "--wait"),
        ("mbox inbox --format json", "-o"), ("mbox init --dir .", "--root"),
        ("mbox --format json status", "-o"), ("task --format=json list", "-o"), ("mbox --agent ann me", "--as"),
        ("mbox -h", "--help"), ("mbox -v", "--version"), ("mbox -V", "--version"), ("task claim --to bob", "--as"),
        ("mbox inbox --to ann", "--as"), ("mbox send bob --from ann --body x", "--as"), ("task done t1 -m ok", "--result"),
        ("task done t1 --message ok", "--result"), ("mbox log -f", "--follow"), ("task add -t x", "TITLE"),
        ("task add x --assignee bob", "--requires"), ("task add x --prority 3", "--priority"), ("task claim --dry", "--dry-run"),
    ],
)  # fmt: skip
def test_an_option_of_another_tool(line: str, meant: str, staffed: Path, run: Run) -> None:
    """It is no option of the command (2); the option, or the argument, that is meant is named."""
    done = run(*line.split(), cwd=staffed, env=ANN)
    if line == "task done t1 --output x":  # which every command has
        assert done.returncode == 2 and "is not one of" in done.stderr
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert f"did you mean {meant}" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    ["task dance t1", "task pine t1", "mbox nonsense", "mbox config lease", "task add x --tone y", "task list --zoom",
     "mbox --mask ann me"],
)  # fmt: skip
def test_what_looks_alike_is_not_meant(line: str, staffed: Path, run: Run) -> None:
    """A word that is neither known nor one slip away from ours is only refused: `dance` is not `cancel`."""
    done = run(*line.split(), cwd=staffed, env=ANN)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert "did you mean" not in done.stderr.lower()


@pytest.mark.parametrize(
    ("word", "here", "meant"),
    [
        ("sumbit", "submit", True), ("relese", "release", True), ("inbx", "inbox", True), ("lists", "list", True),
        ("canc", "cancel", True), ("dode", "done", True), ("dance", "cancel", False), ("pause", "release", False),
        ("dep", "done", False), ("abandon", "done", False), ("re", "reject", False), ("enod", "done", False),
        ("--titel", "--title", True), ("--to", "--token", True), ("--to", "--root", False),
    ],
)  # fmt: skip
def test_one_slip(word: str, here: str, meant: bool) -> None:
    """A letter too many, too few or wrong, two that changed places, or the beginning: nothing else is the same word."""
    assert meanings.misspelt(word, [here]) == ([here] if meant else [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mbox", "reply", "m1", "hello"], "did you mean --body?"),
        (["task", "done", "t1", "all good"], "did you mean --result?"),
        (["task", "done", "t1", "fine"], "did you mean --result?"), (["task", "add", "Write", "it"], "put the text in quotes"),
        (["task", "note", "t1", "two", "words"], "put the text in quotes"),
        (["mbox", "send", "bob", "hello there"], "the text goes behind --body"),
        (["mbox", "ask", "bob", "is it done?"], "the text goes behind --body"),
        (["mbox", "send", "--to", "bob and cat", "--body", "x"], "the text goes behind --body"),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)  # fmt: skip
def test_a_text_without_its_option(words: list[str], said: str, staffed: Path, run: Run) -> None:
    """What somebody says stands behind an option or in quotes; where is named."""
    done = run(*words, cwd=staffed, env=ANN)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert said in done.stderr


def test_an_id_too_many_is_no_text(staffed: Path, run: Run) -> None:
    """A second id is only refused."""
    done = run("task", "done", "t1", "t2", cwd=staffed, env=ANN)
    assert done.returncode == 2 and "(t2)" in done.stderr and "did you mean" not in done.stderr


@pytest.mark.parametrize(
    ("given", "meant"),
    [("open", "queued"), ("todo", "queued"), ("pending", "queued"), ("in_progress", "running"), ("wip", "running"),
     ("completed", "done"), ("closed", "done"), ("in-review", "review"), ("rnning", "running"), ("canceled", "cancelled")],
)  # fmt: skip
def test_a_state_of_another_tool(given: str, meant: str, staffed: Path, run: Run) -> None:
    """`pending` is not `running`, however alike they look."""
    for words in (["task", "list"], ["task", "wait", "t1"]):
        done = run(*words, "--status", given, cwd=staffed, env=ANN)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"no such status; did you mean {meant}?" in done.stderr
    unknown = run("task", "list", "--status", "purple", cwd=staffed, env=ANN)
    assert "it is one of queued, claimed" in unknown.stderr


def test_every_state_that_is_meant_is_one() -> None:
    """And no word of the table is a state already."""
    assert set(meanings.STATES.values()) <= set(TASK_STATES) and not set(meanings.STATES) & set(TASK_STATES)


def test_what_is_meant_is_there() -> None:
    """Every call that the table names is a command, every bare verb one of some program, every option one of some command."""
    verbs = {word for entries in TABLES.values() for word in entries}
    for word, candidates in meanings.VERBS.items():
        for one in candidates:
            words = one.split()
            if words[0] == "--version":
                continue
            assert one in verbs or (words[0] in PROGRAMS and words[1] in TABLES[words[0]]), (word, one)
            assert word != one
    commands = [group(home).get_command(click.Context(group(home)), word)
                for home, entries in TABLES.items() for word, (target, _, _) in entries.items() if ":" in target]  # fmt: skip
    names = {name for one in commands if one for param in one.params for name in options.names(param)}
    for word, candidates in meanings.OPTIONS.items():
        assert any(one in names or one == "--help" for one in candidates), word


@pytest.mark.parametrize(
    "word", ["unlock", "lock", "free", "ls", "delete", "get", "take", "status", "create", "claim", "done", "cancel", "hold"]
)
def test_a_verb_of_another_tool_reserves_no_file(word: str, staffed: Path, run: Run) -> None:
    """`reserve unlock src/x.py` is refused, and says what to type; a file of that name, or `add`, makes it a pattern."""
    done = run("reserve", word, "src/x.py", cwd=staffed, env=ANN)
    wanted = meanings.verb(word, "reserve", TABLES["reserve"])
    assert (done.returncode, done.stdout) == (2, "")
    assert f"did you mean {wanted}?" in done.stderr and f"`reserve add {word}`" in done.stderr
    assert json.loads(run("reserve", "list", cwd=staffed).stdout) == []
    done = run("reserve", "add", word, cwd=staffed, env=ANN)
    assert json.loads(done.stdout)["patterns"] == [word] and done.stderr == ""
    run("reserve", "release", "--all", cwd=staffed, env=ANN, check=True)
    (staffed / word).write_text("")
    done = run("reserve", word, cwd=staffed, env=ANN)
    assert json.loads(done.stdout)["patterns"] == [word] and done.stderr == ""


@pytest.mark.parametrize("word", ["submit", "approve", "fail", "start"])
def test_a_verb_of_task_reserves_no_file(word: str, staffed: Path, run: Run) -> None:
    """A verb that is ours in another program is none of reserve's, and no file either."""
    done = run("reserve", word, "src/x.py", cwd=staffed, env=ANN)
    assert done.returncode == 2 and f"did you mean task {word}?" in done.stderr and f"`reserve add {word}`" in done.stderr
    assert json.loads(run("reserve", "list", cwd=staffed).stdout) == []


def test_unlock_names_release(staffed: Path, run: Run) -> None:
    """Also through `mbox reserve`, and with options before the word."""
    for line in ("reserve unlock src/x.py", "mbox reserve unlock src/x.py", "reserve --as ann unlock src/x.py"):
        done = run(*line.split(), cwd=staffed, env=ANN)
        assert done.returncode == 2 and "did you mean reserve release?" in done.stderr, line


@pytest.mark.parametrize("line", ["task list --json", "task --json list", "mbox --json task list", "task list -o yaml --json"])
def test_json_is_o_json(line: str, staffed: Path, run: Run) -> None:
    """Accepted everywhere, the later one wins; no help of a command spends a line on it."""
    assert run(*line.split(), cwd=staffed, check=True).stdout == "[]\n"
    assert run("task", "list", "--json", "-o", "id", cwd=staffed, check=True).stdout == ""
    assert "--json" not in run("task", "list", "--help", cwd=staffed).stdout
    assert "--json" in run("mbox", "--help", cwd=staffed).stdout


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("mbox help", "mbox --help"), ("mbox help task claim", "mbox task claim --help"),
        ("mbox help send", "mbox send --help"), ("task help claim", "task claim --help"), ("task help", "task --help"),
        ("mbox task help claim", "mbox task claim --help"), ("mbox help reserve check", "mbox reserve check --help"),
        ("reserve help", "reserve --help"), ("reserve help check", "reserve check --help"),
        ("mbox help agent", "mbox agent --help"), ("mbox --as ann help me", "mbox me --help"), ("team help up", "team up --help"),
    ],
)  # fmt: skip
def test_help_is_a_word_too(line: str, same: str, run: Run, tmp_path: Path) -> None:
    """`mbox help X Y` is `mbox X Y --help`, for every program and group."""
    done, wanted = (run(*words.split(), cwd=tmp_path) for words in (line, same))
    assert (done.returncode, done.stdout) == (0, wanted.stdout) and done.stdout.startswith("Usage: ")


def test_help_of_what_is_not_there(run: Run, tmp_path: Path) -> None:
    """2, with what is meant; and a file called ``help`` can be reserved."""
    done = run("task", "help", "close", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean task done?" in done.stderr


def test_the_exit_statuses_stand_once(run: Run, tmp_path: Path) -> None:
    """In `mbox --help`; the help of a group has none, that of a command those of its own."""
    assert "Exit: 0 done" in run("mbox", "--help", cwd=tmp_path).stdout
    for line in ("task --help", "reserve --help", "mbox agent --help", "mbox status --help", "mbox inbox --help"):
        assert "0 done" not in run(*line.split(), cwd=tmp_path).stdout, line
    assert "\nExit: 1 nothing ready" in run("task", "claim", "--help", cwd=tmp_path).stdout
    assert "Exit:" not in run("mbox", "status", "--help", cwd=tmp_path).stdout


def test_who_is_asked_for_is_named(staffed: Path, run: Run, tmp_path: Path) -> None:
    """Without an agent the error says --as NAME and who is registered: a few, and how many more; not who is retired."""
    done = run("mbox", "me", cwd=staffed)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "mbox: which agent? pass --as NAME or set MBOX_AGENT; registered are ann, bob\n"
    run("mbox", "agent", "retire", "ann", cwd=staffed, check=True)
    assert run("task", "claim", cwd=staffed).stderr.endswith("; registered is bob\n")
    assert "registered is bob" in run("mbox", "run", "--", "true", cwd=staffed).stderr
    for number in range(10):
        run("mbox", "agent", "add", f"w{number}", cwd=staffed, check=True)
    assert run("task", "claim", cwd=staffed).stderr.endswith("; registered are bob, w0, w1, w2, w3, w4, w5, w6 and 3 more\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    run("mbox", "init", "--here", cwd=empty, check=True)
    assert "`mbox agent add NAME` registers one" in run("mbox", "me", cwd=empty).stderr
    assert "`mbox agent add cyd` registers it" in run("mbox", "me", "--as", "cyd", cwd=empty).stderr
