"""Plans and beads files: what becomes of every field, what is refused and how it is said, and the real issue files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mbox.errors import Usage
from mbox.tasks import planfile
from mbox.tasks.beads import hold_for, parse_beads
from mbox.tasks.drafts import TaskDraft, cycle_of, outside, without_cycles

FULL: dict[str, Any] = {
    "id": "build-1.x",
    "title": "Build it, for $5",
    "description": "'''C:\\new\\table\n{{x}} $HOME 100%\n",
    "stage": "impl",
    "depends_on": ["plan", "t7"],
    "touched_paths": ["src/**", "app/[id]/$x.tsx"],
    "priority": 8,
    "requires": ["gpu"],
    "labels": ["gh:788", "äpfel"],
    "max_attempts": 5,
    "payload": {"a": [1, None, True, 0.5, {"b": "\x00"}]},
}
FULL_DRAFT = TaskDraft(
    id="build-1.x",
    title="Build it, for $5",
    description="'''C:\\new\\table\n{{x}} $HOME 100%\n",
    stage="impl",
    depends_on=("plan", "t7"),
    touched_paths=("src/**", "app/[id]/$x.tsx"),
    priority=8,
    requires=("gpu",),
    labels=("gh:788", "äpfel"),
    max_attempts=5,
    payload={"a": [1, None, True, 0.5, {"b": "\x00"}]},
)


def parse(text: str, name: str = "plan.yaml") -> list[TaskDraft]:
    """The drafts in a plan, without where they came from."""
    return [draft._replace(where="") for draft in planfile.parse_plan(text.encode(), name)]


def refusal(data: bytes | str, name: str = "plan.yaml", beads: bool = False) -> str:
    """What the user is told; always one line that starts with the file, in YAML with line and column, exit 2."""
    read = parse_beads if beads else planfile.parse_plan
    with pytest.raises(Usage) as caught:
        read(data if isinstance(data, bytes) else data.encode(), name)
    said = str(caught.value)
    assert "\n" not in said
    assert re.match(rf"{re.escape(name)}(:[0-9]+:[0-9]+)?: ", said)
    assert caught.value.exit == 2
    return said.removeprefix(f"{name}:").lstrip()


# Our plan: what is taken


@pytest.mark.parametrize("name", ["plan.json", "plan", "-"])
def test_a_json_plan_carries_every_field(name: str) -> None:
    """Every field arrives as it was written, from a file of any name; what is left out has its default."""
    assert parse(json.dumps({"tasks": [FULL, {"title": "b"}]}, indent=1), name) == [FULL_DRAFT, TaskDraft(None, "b")]


@pytest.mark.parametrize("name", ["plan.yaml", "plan.YML", "plan", "-"])
def test_a_yaml_plan_carries_every_field(name: str) -> None:
    """YAML says the same as JSON, in block and in flow style."""
    tasks = {"tasks": [FULL, {"title": "b"}]}
    for flow in (False, True):
        text = yaml.safe_dump(tasks, allow_unicode=True, default_flow_style=flow)
        assert parse(text, name) == [FULL_DRAFT, TaskDraft(None, "b")]


@pytest.mark.parametrize("name", ["plan.jsonl", "plan.ndjson", "plan.json", "plan", "-"])
def test_json_lines_carry_every_field(name: str) -> None:
    """One task a line; blank lines, a byte order mark and Windows line ends do no harm, nor does U+2028 in a string."""
    lines = [json.dumps(FULL), "", json.dumps({"title": "b", "description": "x\u2028y"}, ensure_ascii=False)]
    assert parse("\ufeff" + "\r\n".join(lines), name) == [FULL_DRAFT, TaskDraft(None, "b", "x\u2028y")]


@pytest.mark.parametrize("name", ["plan.jsonl", "plan.json", "-"])
def test_a_single_line_is_a_task(name: str) -> None:
    """A JSON Lines file of one task is not taken for a plan without tasks."""
    assert parse('{"title": "a"}\n', name) == [TaskDraft(None, "a")]


def test_every_draft_says_where_it_stands() -> None:
    """``where`` is the file and the entry's number, in JSON Lines the line's, to start the caller's own messages."""
    plan = planfile.parse_plan(b"tasks: [{title: a}, {title: b}]", "p.yaml")
    lines = planfile.parse_plan(b'{"title":"a"}\n\n{"title":"b"}\n', "p.jsonl")
    assert [draft.where for draft in plan] == ["p.yaml: task 1", "p.yaml: task 2"]
    assert [draft.where for draft in lines] == ["p.jsonl: line 1", "p.jsonl: line 3"]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@given(values, st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_yaml_and_json_mean_the_same(payload: Any, description: str) -> None:
    """Whatever payload and description a program dumps as YAML, shared parts as aliases, is read as from JSON."""
    task = {"title": "a", "description": description, "payload": {"once": payload, "again": payload}}
    from_yaml = parse(yaml.safe_dump({"tasks": [task, task]}, width=1000))
    assert from_yaml == parse(json.dumps({"tasks": [task, task]}), "p.json")
    assert from_yaml[1].payload == task["payload"]
    assert from_yaml[1].description == description


def test_json_is_read_without_loading_yaml() -> None:
    """A plan in JSON Lines or a beads file does not pay for the import of a YAML parser."""
    code = (
        "import sys; from mbox.tasks import beads; from mbox.tasks import planfile as plans; "
        "plans.parse_plan(b'{\"title\": \"a\"}', 'p.jsonl');"
        'beads.parse_beads(b\'{"id": "a-1", "title": "a"}\', "b"); assert "yaml" not in sys.modules'
    )
    env = {**os.environ, "PYTHONPATH": str(Path(str(planfile.__file__)).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


# Our plan: what is refused

REFUSED_FIELDS = [
    ("title: yes", "title must be text, not true: write it in quotes"),
    ("title: 12", "title must be text, not 12: write it in quotes"),
    ("title: null", "title must be text, not null: write some, or leave the field out"),
    ("title: [a]", "title must be text, not a list"),
    ("title: ''", "title is empty"),
    ('title: "a\\nb"', "title contains a line break"),
    ('title: "a\\x1b[1m"', "title contains a control or bidi character (\\x1b)"),
    ("title: fix $HOME", "title: the shell did not expand $HOME"),
    ("stage: impl", "title is missing"),
    ("titel: a", "unknown key 'titel'; did you mean title?"),
    ("xyzzy: a", "unknown key 'xyzzy'; known: id, title,"),
    ("issue_type: bug", "unknown key 'issue_type'; a beads file needs --from beads"),
    ("title: a, id: 3", "id must be text, not 3"),
    ("title: a, id: Build It", "id: task name 'Build It': use a-z 0-9"),
    ("title: a, id: t12", "id: task id 't12'"),
    ("title: a, id: r0", "id: task id 'r0'"),
    ("title: a, id: con", "id: task name 'con'"),
    ("title: a, depends_on: b", "depends_on must be a list such as [a, b], not 'b'"),
    ("title: a, depends_on: [b, b]", "depends_on has 'b' twice"),
    ("title: a, depends_on: [7]", "depends_on must be text, not 7"),
    ("title: a, depends_on: ['../b']", "depends_on: not an id: '../b'"),
    ("title: a, touched_paths: [a, '']", "touched_paths has an empty pattern"),
    ("title: a, priority: urgent", "priority must be a number from 0 to 9 (9 first; 8 and 9 are urgent), not 'urgent'"),
    ("title: a, priority: 10", "priority must be a number from 0 to 9 (9 first; 8 and 9 are urgent), not 10"),
    ("title: a, priority: -1", "priority must be a number from 0 to 9 (9 first; 8 and 9 are urgent), not -1"),
    ("title: a, priority: 5.0", "priority must be a number from 0 to 9 (9 first; 8 and 9 are urgent), not 5.0"),
    ("title: a, priority: true", "priority must be a number from 0 to 9 (9 first; 8 and 9 are urgent), not true"),
    ("title: a, max_attempts: 0", "max_attempts must be a number from 1 to 1000, not 0"),
    ("title: a, labels: {}", "labels must be a list such as [a, b], not a mapping"),
    ("title: a, labels: [two words]", "labels 'two words' is not one word"),
    ("title: a, requires: ['a,b']", "requires 'a,b' is not one word"),
    ("title: a, stage: in work", "stage 'in work' is not one word"),
    ("title: a, payload: .nan", "payload has a number that JSON has not"),
    ("title: a, payload: {x: [-.inf]}", "payload has a number that JSON has not"),
]


@pytest.mark.parametrize(("fields", "said"), REFUSED_FIELDS)
def test_a_field_that_does_not_fit_is_named_with_its_entry(fields: str, said: str) -> None:
    """File, line, entry number and field, on one line, with the mend; nothing is coerced, no unknown field is skipped."""
    place, _, told = refusal(f"tasks:\n- {{title: fine}}\n- {{{fields}}}\n").partition(": ")
    assert re.fullmatch(r"3:[0-9]+", place)
    assert told.startswith(f"task 2: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: [{title: a, title: b}]", "1:20: 'title' stands twice in one mapping: take one of the two out"),
        (
            "tasks:\n- title: a\n  payload: {due: 2026-01-14}",
            "3:18: YAML reads '2026-01-14' as timestamp: use quotes",
        ),
        ("tasks:\n- title: a\n  payload: {at: 12:30}", "3:17: YAML reads '12:30' as int: use quotes"),
        ("tasks: [{title: a, payload: {1: x}}]", "1:30: the key 1 is not text: write it in quotes"),
        ("tasks: [{title: !!python/name:os.system x}]", "1:17: YAML reads 'x' as python/name:os.system"),
        ("tasks: [{title: a, payload: !!set {a}}]", "1:29: tag 'tag:yaml.org,2002:set'"),
        ("tasks: [{title: a, payload: !!int ''}]", "1:29: '' is no int"),
        ("tasks: [{title: a}]\nname: x", "2:1: unknown key 'name'; known: tasks"),
        ("tasks: []", "1:1: no task in it"),
        ("", "empty; a plan is {tasks: [...]}"),
        (" \n", "empty; a plan is {tasks: [...]}"),
        ("- title: a", "1:1: a plan is {tasks: [...]}"),
        ("tasks:\n\t- a", "2:1: not YAML: "),
        ("tasks: [{title: a}]\n---\ntasks: []", "2:1: a second document: a file is one"),
        ("tasks: [{title: a, id: x}, {title: b}, {title: c, id: x}]", "task 3: id x is taken by task 1"),
        ("tasks: [a]", "1:9: task 1: a task must be a mapping with at least a title, not 'a'"),
        ("tasks: [\x00]", "1:9: not YAML: "),
    ],
)
def test_a_yaml_file_that_does_not_fit_is_refused(text: str, said: str) -> None:
    """Duplicate keys, tags, dates, odd keys, several documents and duplicate ids are refused, with line or entry."""
    assert refusal(text).startswith(said)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ('{"tasks":[{"title":"a","title":"b"}]}', "p.json", "'title' stands twice in one object"),
        (
            '{"tasks":[\n{"title" "a"}]}',
            "p.json",
            "not JSON: Expecting ':' delimiter at line 2, column 10",
        ),
        ('{"tasks":[{"title":"a","payload":NaN}]}', "p.json", "NaN is not JSON"),
        ('{"tasks":[{"title":"a","payload":1e999}]}', "p.json", "task 1: payload has a number that JSON has not"),
        ('{"tasks":[{"title":"\\ud800"}]}', "p.json", "task 1: title is not UTF-8: '\\ud800' is half a character; leave it out"),
        ('{"tasks":[{"title":"a","payload":' + "1" * 5000 + "}]}", "p.json", "a number of more than 4300 digits: write"),
        ('{"tasks":[{"title":"a","payload":["\\ud800"]}]}', "p.json", "task 1: payload is not UTF-8"),
        ('{"tasks":[{"title":"a","description":"\\u0000"}]}', "p.json", "task 1: description contains NUL"),
        ('[{"title":"a"}]', "p.json", "a plan is {tasks: [...]}"),
        ('{"title":"a"}\n\n{"title":"b"', "-", "line 3: not JSON: "),
        ('{"title":"a"}\n{"titel":"b"}', "p.jsonl", "line 2: unknown key 'titel'; did you mean title?"),
        ('{"title":"a","id":"x"}\n{"title":"b","id":"x"}', "p.jsonl", "line 2: id x is taken by line 1"),
        ('{"title":"a"}\n7', "p.jsonl", "line 2: a task must be a mapping"),
        ("\n\n", "p.jsonl", "empty; a plan is"),
    ],
)
def test_a_json_file_that_does_not_fit_is_refused(text: str, name: str, said: str) -> None:
    """JSON is read strictly: no field twice, no NaN, no half characters; JSON Lines name the line."""
    assert refusal(text, name).startswith(said)


def test_bytes_that_are_no_text_are_named_by_line() -> None:
    """Not UTF-8: the line that is not."""
    assert refusal(b"tasks:\n- title: \xff", "p.yaml") == "2:10: not UTF-8: convert the file"


def test_the_name_of_a_file_cannot_break_the_line() -> None:
    """A newline or an escape in the file's name is shown in the message, not obeyed."""
    with pytest.raises(Usage, match=r"^a\\nb\\x1b: empty; a plan is"):
        planfile.parse_plan(b"", "a\nb\x1b")


def test_a_file_costs_no_more_than_its_size() -> None:
    """Aliases that multiply, bottomless nesting and values that hold themselves are refused at once."""
    letters = "abcdefghijkl"
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(letters)
    )
    assert "too much, with each alias written out" in refusal(bomb)
    echo = f"tasks:\n- {{title: a, description: &d {'x' * 200_000}}}\n" + "- {title: a, description: *d}\n" * 1000
    assert "too much, with each alias written out" in refusal(echo)
    assert "stands for nothing before it" in refusal("tasks: &x [{title: a, payload: *x}]")
    for deep in ("[" * 100_000, "- " * 100_000, "{a: " * 100_000):
        assert "nested deeper than 64" in refusal(deep)
    assert "nested too deep" in refusal("[" * 100_000, "p.json")
    nested = json.dumps({"tasks": [{"title": "a", "payload": json.loads("[" * 65 + "]" * 65)}]})
    assert "task 1: payload is nested deeper than 64" in refusal(nested, "p.json")
    assert "task 1: description is over" in refusal(f'{{"tasks":[{{"title":"a","description":"{"x" * 300_000}"}}]}}')


# The graph of drafts


def test_a_cycle_in_a_file_is_named_and_can_be_dropped() -> None:
    """`cycle_of` names a cycle; `without_cycles` leaves all drafts, in order, without the edges that it reports."""
    tasks = (
        "{title: x, depends_on: [a, b, c]}, {id: a, title: a, depends_on: [c, o]}, {id: b, title: b, depends_on: [a]}"
    )
    drafts = parse(f"tasks: [{tasks}, {{id: c, title: c, depends_on: [b]}}]")
    assert cycle_of(drafts) == ["a", "c", "b", "a"]
    kept, dropped = without_cycles(drafts)
    assert len(dropped) == 1
    assert cycle_of(kept) is None
    assert [draft.id for draft in kept] == [None, "a", "b", "c"]
    before = {(draft.id, dep) for draft in drafts for dep in draft.depends_on}
    assert {(draft.id, dep) for draft in kept for dep in draft.depends_on} == before - set(dropped)


def test_dependencies_outside_the_file_are_named() -> None:
    """`outside` lists them with their draft, for the caller who knows what exists."""
    drafts = parse("tasks: [{id: a, title: a, depends_on: [b, t7]}, {id: b, title: b}]")
    assert [(draft.id, dep) for draft, dep in outside(drafts)] == [("a", "t7")]


# beads


def beads(*issues: dict[str, Any]) -> list[TaskDraft]:
    """The drafts of these issues; each has an id and a title if it says nothing else."""
    whole = [{"id": f"bd-{number}", "title": "T", **issue} for number, issue in enumerate(issues, 1)]
    return parse_beads("\n".join(map(json.dumps, whole)).encode(), "issues.jsonl")


@pytest.mark.parametrize(
    ("theirs", "status", "hold"),
    [
        *((word, "done", "") for word in ("closed", "completed", "complete", "tombstone")),
        ("open", "queued", ""),
        ("", "queued", ""),
        ("in_progress", "queued", "in_progress"),
        ("Closed", "queued", "Closed"),
        ("very\nodd", "queued", "very odd"),
        (" ", "queued", "blank status"),
    ],
)
def test_a_status_is_done_open_or_a_hold_with_their_word(theirs: str, status: str, hold: str) -> None:
    """Only the four words mean done and only open is free; every other status holds the task, with their word."""
    (draft,) = beads({"status": theirs})
    assert (draft.status, draft.hold) == (status, hold)
    assert draft.payload["beads"]["status"] == theirs


def test_priorities_are_spread_over_ours() -> None:
    """P0 is 9 and P4 is 1; without one it is P2; anything else is refused."""
    assert [draft.priority for draft in beads(*({"priority": n} for n in range(5)), {})] == [9, 7, 5, 3, 1, 5]
    for bad in (5, -1, "1", True):
        line = json.dumps({"id": "bd-1", "title": "T", "priority": bad})
        assert refusal(line, "i.jsonl", beads=True).startswith("line 1: priority must be a number from 0 to 4, not ")


def test_blocks_become_dependencies_and_other_links_stay_in_the_payload() -> None:
    """``blocks`` counts once; every other type is a link with all its fields, under the ids that the tasks have."""
    more = {"created_at": "2026-01-01T00:00:00Z", "created_by": "ann"}
    deps = [
        {"issue_id": "bd-1", "depends_on_id": "BD-2", "type": "blocks", **more},
        {"issue_id": "bd-1", "depends_on_id": "BD-2", "type": "blocks"},
        {"issue_id": "bd-1", "depends_on_id": "BD-2", "type": "parent-child", **more},
        {"depends_on_id": "external:x:y", "type": "related"},
    ]
    draft, other = beads({"dependencies": deps}, {"id": "BD-2"})
    assert draft.depends_on == ("bd-2",)
    assert draft.payload["beads"]["links"] == [
        {"type": "parent-child", "id": "bd-2", **more},
        {"type": "related", "id": "external:x:y"},
    ]
    assert (other.id, other.payload["beads"]["id"]) == ("bd-2", "BD-2")


def test_every_field_has_a_home() -> None:
    """What a task has no field for is in the payload under its own name; times are ours; the rest is not doubled."""
    issue = {
        "description": "Long\nstory",
        "status": "closed",
        "labels": ["gh:7", "two words", "gh:7"],
        "created_at": "2026-01-14T23:30:00.123456789-08:00",
        "closed_at": "2026-01-15T10:00:00Z",
        "close_reason": "Did it.\n\nTwice.",
        "notes": "n",
        "ephemeral": True,
        "comments": [{"id": 1, "text": "hm"}],
    }
    (draft,) = beads(issue)
    assert draft == TaskDraft(
        id="bd-1",
        title="T",
        description="Long\nstory",
        status="done",
        labels=("gh:7", "two-words"),
        reason="Did it. Twice.",
        created_at="2026-01-15T07:30:00.123456Z",
        finished_at="2026-01-15T10:00:00.000000Z",
        payload={"beads": {"id": "bd-1", **{key: value for key, value in issue.items() if key != "description"}}},
        where="issues.jsonl: line 1",
    )


def test_a_tombstone_is_done_since_it_was_deleted() -> None:
    """Reason and time of a deleted issue are those of its deletion; an open one has neither."""
    gone, still = beads(
        {"status": "tombstone", "deleted_at": "2026-01-01T00:00:00Z", "delete_reason": "batch delete"},
        {"status": "open", "deleted_at": "2026-01-01T00:00:00Z", "delete_reason": "batch delete"},
    )
    assert (gone.status, gone.reason, gone.finished_at) == ("done", "batch delete", "2026-01-01T00:00:00.000000Z")
    assert (still.reason, still.finished_at) == ("", None)


@pytest.mark.parametrize("title", ["two\nlines\n", "x" * 300, "esc \x1b[1m"])
def test_a_title_that_does_not_fit_is_shortened_and_kept(title: str) -> None:
    """Titles become one line of at most 200 characters; the original stays in the payload."""
    (draft,) = beads({"title": title})
    assert draft.title.isprintable()
    assert 0 < len(draft.title) <= 200
    assert draft.payload["beads"]["title"] == title


def test_titles_with_placeholders_are_taken_as_they_are() -> None:
    """``{{version}}`` and ``$USER`` in a real title are no mistake of whoever imports it."""
    (draft,) = beads({"title": "Bump {{version}} for $USER"})
    assert draft.title == "Bump {{version}} for $USER"
    assert "title" not in draft.payload["beads"]


def test_a_blocker_that_is_nowhere_holds_the_issue() -> None:
    """The edge becomes a link; a queued issue is held and says why, in their word if it had one; a done one is done."""
    ends = [("bd-9", "blocks"), ("bd-2", "blocks"), ("bd-2", "related")]
    dep = {"dependencies": [{"depends_on_id": end, "type": kind} for end, kind in ends]}
    drafts = beads(dep, {}, {**dep, "status": "blocked"}, {**dep, "status": "closed"})
    assert {gone for _, gone in outside(drafts)} == {"bd-9"}
    free, other, held, done = hold_for(drafts, {"bd-9"})
    assert (free.hold, held.hold, done.hold) == ("blocked by bd-9, which is not here", "blocked", "")
    assert other == drafts[1]
    for draft in (free, held, done):
        assert draft.depends_on == ("bd-2",)
        assert draft.payload["beads"]["links"] == [{"type": "related", "id": "bd-2"}, {"type": "blocks", "id": "bd-9"}]
        assert draft.payload["beads"]["id"] == draft.id


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "bd-2", "title": ', "not JSON: "),
        ("<<<<<<< HEAD", "not JSON: "),
        ('{"id": "bd-2", "id": "bd-3", "title": "T"}', "'id' stands twice"),
        ("[]", "an issue is an object, not a list"),
        ('{"title": "T"}', "id is missing"),
        ('{"id": 7, "title": "T"}', "id must be text, not 7"),
        ('{"id": "t7", "title": "T"}', "id: task id 't7'"),
        ('{"id": "-x", "title": "T"}', "id: task name '-x'"),
        ('{"id": "bd-1", "title": "T"}', "id bd-1 is taken by line 1; rename one"),
        ('{"id": "BD-1", "title": "T"}', "id BD-1 and bd-1 both become bd-1, taken by line 1; rename one"),
        ('{"id": "bd-2"}', "title is missing"),
        ('{"id": "bd-2", "title": "\\n"}', "title is empty"),
        ('{"id": "bd-2", "title": "T", "status": 3}', "status must be text, not 3: write it in quotes"),
        ('{"id": "bd-2", "title": "T", "labels": "x"}', "labels must be a list such as [a, b], not 'x'"),
        ('{"id": "bd-2", "title": "T", "labels": [1]}', "labels has 1, not text"),
        ('{"id": "bd-2", "title": "T", "created_at": "soon"}', "created_at is 'soon', not an RFC 3339 time"),
        ('{"id": "bd-2", "title": "T", "dependencies": ["bd-1"]}', "dependencies has 'bd-1', not an object"),
        ('{"id": "bd-2", "title": "T", "dependencies": [{"type": "blocks"}]}', "depends_on_id is missing"),
        ('{"id": "bd-2", "title": "T", "dependencies": [{"depends_on_id": "bd-1"}]}', "type is missing"),
        (
            '{"id": "bd-2", "title": "T", "dependencies": [{"issue_id": "x", "depends_on_id": "bd-1", "type": "y"}]}',
            "dependencies has 'x' as issue_id, which is not this issue",
        ),
        ('{"id": "bd-2", "title": "T", "design": "\\ud800"}', "payload is not UTF-8"),
    ],
)
def test_a_corrupt_line_is_named(line: str, said: str) -> None:
    """The first line that is no issue ends the import with its number; nothing is skipped."""
    assert refusal(f'{{"id": "bd-1", "title": "T"}}\n\n{line}\n', "i.jsonl", beads=True).startswith(f"line 3: {said}")


def test_an_empty_issue_file_is_refused() -> None:
    """Nothing to import is said, not done."""
    assert refusal("\n", "i.jsonl", beads=True) == "no issue in it"


# The real issue files; the figures are those of their INDEX


class Known(NamedTuple):
    """What the INDEX says of a file, in our words."""

    file: str
    done: int
    free: int
    held: dict[str, int]
    edges: int
    links: int
    ready: int


REAL = [
    Known("beads_2026-01-14_3003", 2318 + 346, 311, {"hooked": 28}, 644, 739, 132),
    Known("beads_rust_2026-01-28_513", 494 + 1, 10, {"in_progress": 8}, 289, 175, 8),
    Known("agent-relay_2026-02-16_439_cycle", 223 + 4, 204, {"in_progress": 7, "pending_review": 1}, 93, 4, 172),
    Known("vscode-beads_2025-11-29_63", 29, 32, {"in_progress": 2}, 5, 17, 30),
    Known("beads_viewer_2025-11-27_39", 24, 15, {}, 22, 0, 9),
]
RELAY = "agent-relay_2026-02-16_439_cycle"


def real(shared_data: Path, file: str) -> tuple[list[dict[str, Any]], list[TaskDraft]]:
    """The issues of a real file, and the drafts made of it."""
    data = (shared_data / "beads" / f"{file}.jsonl").read_bytes()
    return [json.loads(line) for line in data.splitlines()], parse_beads(data, file)


@pytest.mark.parametrize("known", REAL, ids=[known.file for known in REAL])
def test_a_real_issue_file_is_what_its_index_says(shared_data: Path, known: Known) -> None:
    """Statuses, edges, links and the set of ready tasks come out as counted by others."""
    issues, drafts = real(shared_data, known.file)
    done = {draft.id for draft in drafts if draft.status == "done"}
    queued = [draft for draft in drafts if draft.status == "queued"]
    assert len(drafts) == len(issues)
    assert len(done) == known.done
    assert Counter(draft.hold for draft in queued) == Counter({"": known.free, **known.held})
    assert sum(len(draft.depends_on) for draft in drafts) == known.edges
    assert sum(len(draft.payload["beads"].get("links", [])) for draft in drafts) == known.links
    assert outside(drafts) == []
    ready = {draft.id for draft in queued if not draft.hold and done.issuperset(draft.depends_on)}
    assert len(ready) == known.ready


@pytest.mark.parametrize("known", REAL, ids=[known.file for known in REAL])
def test_nothing_of_a_real_issue_is_lost(shared_data: Path, known: Known) -> None:
    """From draft and payload together every field of every issue can be told, and ids and titles are their own."""
    for issue, draft in zip(*real(shared_data, known.file), strict=True):
        kept = draft.payload["beads"]
        assert draft.id == issue["id"]
        assert kept.get("title", draft.title) == issue["title"]
        assert draft.description == issue.get("description", "")
        assert draft.priority == 9 - 2 * issue["priority"]
        assert kept.get("labels", list(draft.labels)) == issue.get("labels", [])
        links = Counter((link["type"], link["id"]) for link in kept.get("links", []))
        links.update(("blocks", dep) for dep in draft.depends_on)
        assert links == Counter((dep["type"], dep["depends_on_id"]) for dep in issue.get("dependencies", []))
        for field in issue.keys() - {"title", "description", "priority", "labels", "dependencies"}:
            assert kept[field] == issue[field]


@pytest.mark.parametrize("known", REAL, ids=[known.file for known in REAL])
def test_only_the_file_that_has_a_cycle_is_told_of_one(shared_data: Path, known: Known) -> None:
    """The cycle of agent-relay is named and real, one dropped edge ends it; the other files have none."""
    issues, drafts = real(shared_data, known.file)
    found = cycle_of(drafts)
    assert (found is not None) == (known.file == RELAY)
    kept, dropped = without_cycles(drafts)
    assert cycle_of(kept) is None
    if not found:
        assert (kept, dropped) == (drafts, [])
        return
    blocks = {
        (issue["id"], dep["depends_on_id"])
        for issue in issues
        for dep in issue.get("dependencies", [])
        if dep["type"] == "blocks"
    }
    assert found[0] == found[-1] == "agent-relay-515"
    assert {"agent-relay-516", "agent-relay-520"} <= set(found)
    assert set(pairwise(found)) <= blocks
    assert dropped == [("agent-relay-515", "agent-relay-523")]
