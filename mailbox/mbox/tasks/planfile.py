"""Our plan: tasks in a file, in YAML, JSON or JSON Lines, as drafts.  Pure functions.

Promised: every field of every entry is checked before anything is returned; what does not fit raises `Usage` with one
line that names the file (of YAML with line and column), the entry and the field.  Nothing is coerced (``title: yes`` is no
text), nothing unknown is skipped, no field may stand twice (`parsing`).
Not promised: what `drafts` does not.
"""

from __future__ import annotations

import json
from typing import Any

from mbox.errors import Usage
from mbox.format import checks, fields
from mbox.format.parsing import Place, check_cost, decoded, entry_of, json_lines, json_value, yaml_document

from .drafts import TASKS, TaskDraft


def parse_plan(data: bytes, name: str) -> list[TaskDraft]:
    """The tasks in ``data``: ``{tasks: [...]}`` in YAML or JSON, or one task a line in JSON Lines.

    ``name`` is the file's, for messages and its ending; what the ending leaves open, the content decides.
    """
    file = checks.on_one_line(name)
    drafts = [_draft(file, *entry) for entry in _entries(decoded(data, name), file)]
    first: dict[str, str] = {}
    for draft in drafts:
        if draft.id and first.setdefault(draft.id, draft.where) != draft.where:
            raise Usage(f"{draft.where}: id {draft.id} is taken by {entry_of(first[draft.id])}; ids are unique")
    return drafts


def _draft(file: str, where: str, entry: Any, at: Place | None) -> TaskDraft:
    said = _checked(file, "a task", entry, _task, at, f"{entry_of(where)}: ")
    return TaskDraft(**{"id": None, **said, "where": where})


def _checked(file: str, field: str, value: Any, check: fields.Check, at: Place | None, entry: str = "") -> Any:
    try:
        return fields.placed(field, value, check, at)
    except fields.Misfit as error:
        raise Usage(f"{error.place or file}: {entry}{error.problem}") from None


def _task(field: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, dict) and "issue_type" in entry:
        mend = "unknown key 'issue_type'; a beads file needs --from beads"
        raise fields.Misfit(mend, fields.place_in(entry, "issue_type", "key_at"))
    said: dict[str, Any] = _TASK(field, entry)
    return said


GATES = 20
"""Gates of one task at most."""

_FIELDS: dict[str, fields.Check] = {
    "id": fields.given_id,
    "title": fields.line,
    "description": fields.text,
    "stage": fields.word,
    "depends_on": fields.list_of(fields.known_id),
    "touched_paths": fields.list_of(fields.path),
    "priority": fields.number(0, 9, " (9 first; 8 and 9 are urgent)"),
    "requires": fields.list_of(fields.word, most=fields.WORDS),
    "labels": fields.list_of(fields.word, most=fields.WORDS),
    "max_attempts": fields.number(1, 1000),
    "payload": fields.payload,
    "gates": fields.list_of(fields.command, most=GATES),
}
_TASK = fields.mapping(_FIELDS, required=["title"], such="with at least a title")
_PLAN = fields.mapping({"tasks": fields.plain_list})


def _entries(text: str, file: str) -> list[tuple[str, Any, Place | None]]:
    """Each task: the file and which of its entries it is, what is said of it, and its place in YAML."""
    if not text.strip():
        raise Usage(f"{file}: empty; a plan is {{tasks: [...]}}, or one task a line in JSON Lines")
    form = _form(text, file)
    if form == "lines":
        return [(where, entry, None) for where, entry in json_lines(text, file, "task", TASKS)]
    plan, start = (json_value(text, file), None) if form == "json" else yaml_document(text, file)
    tasks = _checked(file, "a plan", plan, _tasks, start)
    return [(f"{file}: task {n}", entry, fields.place_in(tasks, n - 1)) for n, entry in enumerate(tasks, 1)]


def _tasks(field: str, plan: Any) -> list[Any]:
    if not isinstance(plan, dict) or not isinstance(plan.get("tasks"), list):
        raise Usage(f"{field} is {{tasks: [...]}} with a task for each entry, or one task a line in JSON Lines")
    _PLAN(field, plan)
    tasks: list[Any] = plan["tasks"]
    if not tasks:
        raise Usage("no task in it")
    return tasks


def _form(text: str, file: str) -> str:
    """``yaml``, ``json`` or ``lines``, by the file's ending and then by what stands in it."""
    ending = file.rpartition(".")[2].lower()
    known = {"yaml": "yaml", "yml": "yaml", "jsonl": "lines", "ndjson": "lines"}.get(ending)
    if known:
        return known
    otherwise = "json" if ending == "json" or text.lstrip()[:1] == "[" else "yaml"
    if text.lstrip()[:1] in ("[", "{"):
        check_cost(text, file)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return "lines" if error.msg == "Extra data" and text.lstrip()[:1] == "{" else otherwise
    except (ValueError, RecursionError):
        return "json"
    lone = isinstance(value, dict) and "title" in value and "tasks" not in value and "\n" not in text.strip()
    return "lines" if lone else "json"
