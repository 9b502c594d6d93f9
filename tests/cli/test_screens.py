"""What a person sees on a terminal: `mbox status` as a page, lists that keep what matters, a log with titles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Run
from terminalkit import bare, seen

SUBJECT = "which of the two parsers is to stay"
TITLE = "Write the parser of everything"


@pytest.fixture
def office(staffed: Path, run: Run) -> Path:
    """A task in work, one behind it, a held one, a failed one with one behind it, a free one, and mail."""
    for words in (
        ["task", "add", TITLE, "--id", "work", "--path", "src/**", "--stage", "impl"],
        ["task", "add", "Test it", "--id", "behind", "--depends-on", "work"],
        ["task", "add", "Ask", "--id", "on-hold"],
        ["task", "update", "on-hold", "--hold", "waits for the vendor"],
        ["task", "add", "Build", "--id", "broken"],
        ["task", "add", "Ship", "--id", "stuck", "--depends-on", "broken"],
        ["task", "claim", "broken", "--as", "bob"],
        ["task", "fail", "broken", "--as", "bob", "--reason", "no compiler"],
        ["task", "claim", "work", "--as", "ann"],
        ["task", "add", "Free", "--id", "free"],
        ["mbox", "send", "bob", "--as", "ann", "--type", "question", "--subject", SUBJECT, "--body", "x", "--task", "work",
         "--priority", "9", "--needs-ack"],
    ):  # fmt: skip
        run(*words, cwd=staffed, check=True)
    return staffed


def parts(page: str) -> dict[str, str]:
    """The parts of the page by their titles, in order."""
    return {part.split("\n")[0]: part.partition("\n")[2] for part in page.strip().split("\n\n")}


def test_status_begins_with_what_needs_a_person(office: Path) -> None:
    """Then what moves, then what waits, routine last; each thing stands in one part."""
    found = parts(bare(seen("mbox", "status", cwd=office)))
    assert list(found) == ["needs you", "moves", "waits", "reserved", "as usual"]
    assert "on-hold: on hold: waits for the vendor" in found["needs you"]
    assert "broken: failed: no compiler" in found["needs you"] and "stuck: depends on broken" in found["needs you"]
    assert TITLE in found["moves"] and "ann" in found["moves"]
    assert "behind: depends on work" in found["waits"] and "free: ready, and nobody claims it" in found["waits"]
    assert "src/**" in found["reserved"] and "watchdog" in found["as usual"] and str(office)[:20] in found["as usual"]


@pytest.mark.parametrize("columns", [30, 50, 80, 200])
def test_status_keeps_to_the_width(columns: int, office: Path) -> None:
    """Long reasons go on below, further in; nothing is wider than the terminal."""
    page = bare(seen("mbox", "status", cwd=office, size=(24, columns)))
    assert max(map(len, page.splitlines())) <= columns
    assert "waits for the vendor" in " ".join(page.split())


def test_an_empty_store_has_an_empty_page(staffed: Path) -> None:
    """Parts without anything to say are not there."""
    assert list(parts(bare(seen("mbox", "status", cwd=staffed)))) == ["as usual"]


def test_status_as_data_is_as_before(office: Path, run: Run) -> None:
    """The page is for people alone: `-o json` and a pipe get fields, `why` in one list."""
    answer = json.loads(run("mbox", "status", cwd=office).stdout)
    assert list(answer)[:3] == ["root", "seq", "last"] and all(isinstance(line, str) for line in answer["why"])
    assert len(answer["why"]) == 6
    shown = json.loads(seen("mbox", "status", "-o", "json", cwd=office))
    assert list(shown) == list(answer) and shown["why"] == answer["why"]
    assert run("mbox", "status", "-o", "table", cwd=office).stdout.startswith("needs you\n")


def test_ready_is_told_from_blocked(office: Path, run: Run) -> None:
    """`task list` says of each that is queued whether it is ready, and of the others what keeps them."""
    rows = {row["task_id"]: row for row in json.loads(run("task", "list", cwd=office).stdout)}
    assert {name: (row.get("reason"), row.get("why")) for name, row in rows.items()} == {
        "work": (None, None),
        "behind": ("waiting", "depends on work (claimed)"),
        "on-hold": ("held", "on hold: waits for the vendor"),
        "stuck": ("blocked", "depends on broken (failed)"),
        "free": ("ready", None),
    }
    page = bare(seen("task", "list", cwd=office))
    assert max(map(len, page.splitlines())) <= 80
    for line in page.splitlines()[1:]:
        name = line.split()[0]
        assert rows[name].get("reason", "") in line and rows[name]["title"][:16] in line
        assert rows[name].get("why", "")[:16] in line


@pytest.mark.parametrize("command", ["mbox inbox --as bob", "mbox thread m14"])
def test_the_subject_stays_at_80_columns(command: str, office: Path) -> None:
    """Other columns give way; on a wide terminal all are there."""
    narrow = bare(seen(*command.split(), cwd=office)).splitlines()
    assert SUBJECT[:32] in narrow[1] and max(map(len, narrow)) <= 80
    assert "thread_id" not in narrow[0] and narrow[0].startswith("msg_id")
    wide = bare(seen(*command.split(), cwd=office, size=(24, 200))).splitlines()
    assert SUBJECT in wide[1] and "created_at" in wide[0] and "Z" in wide[1]


@pytest.mark.parametrize("columns", [80, 100])
def test_the_log_has_titles(columns: int, office: Path, run: Run) -> None:
    """What a record is about is called by its title or subject, within the width; data has no titles."""
    run("mbox", "read", "--as", "bob", cwd=office, check=True)
    lines = bare(seen("mbox", "log", cwd=office, size=(60, columns))).splitlines()
    assert max(map(len, lines)) <= columns and "title" in lines[0]
    by_op = {op: line for line in lines for op in ("task.claim", "mail.send", "mail.read", "task.fail") if op in line}
    assert TITLE[:8] in by_op["task.claim"] and SUBJECT[:8] in by_op["mail.send"] and SUBJECT[:8] in by_op["mail.read"]
    assert "Build" in by_op["task.fail"] and "no comp" in by_op["task.fail"]
    assert "title" not in run("mbox", "log", cwd=office).stdout


@pytest.mark.parametrize("columns", [20, 40])
def test_no_list_is_wider_than_the_terminal(columns: int, office: Path) -> None:
    """However narrow it is."""
    for words in ("task list", "mbox inbox --as bob", "mbox log", "mbox agent list", "reserve list", "task ready"):
        assert max(map(len, bare(seen(*words.split(), cwd=office, size=(24, columns))).splitlines())) <= columns, words


@pytest.mark.parametrize(
    ("command", "matters"),
    [("task list", TITLE[:12]), ("mbox me --as bob", SUBJECT[:14]), ("mbox log", TITLE[:10]), ("mbox thread m14", SUBJECT[:14])],
)  # fmt: skip
def test_what_matters_is_readable_at_40_columns(command: str, matters: str, office: Path) -> None:
    """Whole columns give way, and no heading is cut."""
    page = bare(seen(*command.split(), cwd=office, size=(60, 40)))
    assert matters in page
    ids = ("task_id", "msg_id", "seq")
    heads = [line for line in page.splitlines() if line.startswith(ids) or line.startswith(tuple(f"  {one}" for one in ids))]
    assert heads and not any("…" in line for line in heads) and max(map(len, heads)) <= 40


def test_a_list_in_a_list_keeps_its_subject(office: Path) -> None:
    """`mbox me` at 80 columns shows the subject, and not the time, of each letter."""
    page = bare(seen("mbox", "me", "--as", "bob", cwd=office))
    assert SUBJECT[:32] in page and "created_at" not in page
    assert "created_at" in bare(seen("mbox", "me", "--as", "bob", cwd=office, size=(24, 200)))
