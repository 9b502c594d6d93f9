"""Whose each field of a document is: only what people write is taken from a file, and only what a command would take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mbox.format import documents, ownership
from mbox.format.documents import KINDS, Document

AT = "2027-01-15T08:00:00.000000Z"
FRESH: dict[str, Document] = {
    "task": documents.new("task", task_id="t4", title="x", created_at=AT),
    "agent": documents.new("agent", agent="ann", registered_at=AT),
    "reservation": documents.new("reservation", reservation_id="r5", agent="ann", patterns=["a"], created_at=AT),
    "message": documents.new("message", msg_id="m3", thread_id="m3", from_="ann", to=["bob"], created_at=AT),
    "team": documents.new("team", team="web", created_at=AT),
    "deadletter": documents.new("deadletter", reason="r", first_at=AT),
}
EDITS: dict[str, dict[str, Any]] = {
    "task": {"title": "other", "description": "why", "depends_on": ["t2"], "touched_paths": ["src/**"], "requires": ["gpu"],
             "labels": ["ui"], "priority": 9, "payload": {"a": [1]}},
    "agent": {"host": "codex", "model": "big", "capabilities": ["gpu"]},
    "reservation": {"reason": "because"},
    "message": {}, "team": {}, "deadletter": {},
}  # fmt: skip
OTHER: dict[str, Any] = {"dict": {"a": 1},
    "str": "other", "str?": "other", "int": 7, "num": 7.5, "bool": True, "strs": ["z"], "time": "2028-01-15T08:00:00.000000Z",
    "time?": "2028-01-15T08:00:00.000000Z", "rows": [{"name": "eve"}], "dict?": {"a": 1}, "any": {"a": 1},
}  # fmt: skip


def knows(ident: str) -> list[str] | None:
    """A store with t1, t2, which waits for t1, and t3, which waits for t4."""
    return {"t1": [], "t2": ["t1"], "t3": ["t4"], "t4": []}.get(ident)


@pytest.mark.parametrize("kind", FRESH)
def test_every_field_of_every_kind_has_one_owner(kind: str) -> None:
    """What people may edit is adopted by name, each other field stays as the journal has it, also one of no schema."""
    for field in KINDS[kind]:
        edit = EDITS[kind].get(field.name)
        value = edit if edit is not None else OTHER[field.type]
        if edit is None and field.choices:
            value = next(one for one in field.choices if one != FRESH[kind][field.name])
        doc, adopted, refused = ownership.adoptable(kind, FRESH[kind], {**FRESH[kind], field.name: value}, False, knows)
        assert (doc.get(field.name) == value, adopted) == ((True, [field.name]) if edit is not None else (False, [])), field.name
        assert list(refused) == ([] if edit is not None else [field.name])
    doc, adopted, refused = ownership.adoptable(kind, FRESH[kind], {**FRESH[kind], "unheard": 1})
    assert (doc, adopted, refused) == (FRESH[kind], [], {"unheard": ownership.OWNED})


def test_a_mixed_edit_is_taken_apart() -> None:
    """The editable part is adopted, the rest refused, both in the order of the schema; the inputs stay as they were."""
    before = dict(FRESH["task"])
    found = {**before, "status": "done", "labels": ["ui"], "owner": "eve", "title": "other"}
    doc, adopted, refused = ownership.adoptable("task", before, found)
    assert (adopted, refused) == (["title", "labels"], {"status": ownership.OWNED, "owner": ownership.OWNED})
    assert doc == {**FRESH["task"], "title": "other", "labels": ["ui"]} and before == FRESH["task"]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("title", "", "empty"), ("title", "a\nb", "line break"), ("title", "x" * 300, "at most"), ("priority", 10, "0 to 9"),
        ("priority", True, "0 to 9"), ("labels", ["a b"], "one word"), ("labels", ["a", "a"], "twice"),
        ("touched_paths", ["/etc/passwd"], "relative"), ("touched_paths", ["../x"], "relative"),
        ("touched_paths", ["a/../../x"], "'..'"), ("touched_paths", ["[b-a]"], "b-a"),
        ("touched_paths", ["a"] * 1, ""), ("touched_paths", [f"f{n}" for n in range(1001)], "1000"),
        ("depends_on", ["t9"], "no task 't9'"), ("depends_on", ["t4"], "wait for itself"),
        ("depends_on", ["t3"], "wait for itself"), ("depends_on", ["T 1"], "not an id"),
        ("depends_on", [f"x{n}" for n in range(501)], "at most 500"), ("payload", "x" * 300_000, "over"),
    ],
)  # fmt: skip
def test_what_a_command_would_refuse_is_refused(field: str, value: Any, why: str) -> None:
    """The checks of `task add` and `task update` hold for what stands in a file, with the reason."""
    doc, adopted, refused = ownership.adoptable("task", FRESH["task"], {**FRESH["task"], field: value}, False, knows)
    if not why:
        assert adopted == [field]
        return
    assert (doc, adopted, list(refused)) == (FRESH["task"], [], [field])
    assert why in refused[field]


def test_a_dependency_that_stands_is_not_asked_for_again() -> None:
    """As with the command: what the task waits for already may be gone."""
    before = {**FRESH["task"], "depends_on": ["gone"]}
    assert ownership.adoptable("task", before, {**before, "depends_on": ["gone", "t2"]}, False, knows).adopted == ["depends_on"]


def test_a_final_task_is_not_edited() -> None:
    """`task update` refuses it, and so is a file's edit refused."""
    before = {**FRESH["task"], "status": "done"}
    doc, adopted, refused = ownership.adoptable("task", before, {**before, "title": "other"})
    assert (doc, adopted) == (before, []) and "`task requeue` first" in refused["title"]


def test_numbers_that_only_look_alike_differ() -> None:
    """1, 1.0 and true are three payloads; the form of a file alone is no difference."""
    before = {**FRESH["task"], "payload": 1}
    for value in (1.0, True):
        assert ownership.differing("task", before, {**before, "payload": value}) == (["payload"], [])
    assert ownership.differing("task", before, dict(reversed(before.items()))) == ([], [])


def test_notes_are_history() -> None:
    """No entry is taken from the file."""
    note = {"ts": AT, "by": "ann", "kind": "note", "text": "x", "state": None}
    assert ownership.adoptable("notes", [note], [note, note]) == ([note], [], {"entries": ownership.OWNED})


def test_the_page_says_whose_a_field_is() -> None:
    """The table in docs/format.md names the editable fields of each kind, in the order of the schema, and no others."""
    page = (Path(__file__).resolve().parents[2] / "docs/format.md").read_text()
    table = page.partition("## Whose a field is")[2].partition("## ")[0]
    for kind, fields in ownership.EDITABLE.items():
        row = next(line for line in table.splitlines() if line.startswith("|") and (DOCUMENT.get(kind) or kind) in line)
        assert re.findall("`([a-z_]+)`", row) == [field.name for field in KINDS.get(kind, ()) if field.name in fields]
    assert set(ownership.EDITABLE) == {kind for kind in KINDS if kind in FRESH} | {"notes", "run", "definition", "step"}


DOCUMENT = {"deadletter": "dead letter"}
"""How the page calls a kind."""
