"""Our plan: tasks in a file, in YAML, JSON or JSON Lines, as drafts.  Pure functions.

Promised: every field of every entry is checked before anything is returned; what does not fit raises `Usage` with one
line that names the file, the entry and the field.  Nothing is coerced (``title: yes`` is no text), nothing unknown is
skipped, no field may stand twice (`notation`).
Not promised: what `drafts` does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mbox.format import checks
from mbox.format import fields
from mbox.tasks.drafts import Draft
from mbox.errors import Usage, did_you_mean
from mbox.format.parsing import Entry, decoded, entry_of, json_lines, json_value, shown, yaml_value


def parse_plan(data: bytes, name: str) -> list[Draft]:
    """The tasks in ``data``: ``{tasks: [...]}`` in YAML or JSON, or one task a line in JSON Lines.

    ``name`` is the file's, for messages and its ending; what the ending leaves open, the content decides.
    """
    drafts = [_draft(where, entry) for where, entry in _entries(decoded(data, name), checks.on_one_line(name))]
    first: dict[str, str] = {}
    for draft in drafts:
        if draft.id and first.setdefault(draft.id, draft.where) != draft.where:
            raise Usage(f"{draft.where}: id {draft.id} is taken by {entry_of(first[draft.id])}; ids are unique")
    return drafts


def _draft(where: str, entry: Any) -> Draft:
    if not isinstance(entry, dict):
        raise Usage(f"{where}: a task is a mapping with at least a title, not {shown(entry)}")
    for field in entry:
        if field not in _FIELDS:
            beads = "; a beads file needs --from beads" if "issue_type" in entry else ""
            mend = did_you_mean(field, list(_FIELDS)) or f"; a task has {', '.join(_FIELDS)}"
            raise Usage(f"{where}: no field {checks.quoted(field)}{beads or mend}")
    if "title" not in entry:
        raise Usage(f"{where}: title is missing")
    try:
        values = {field: _FIELDS[field](field, value) for field, value in entry.items()}
    except Usage as error:
        raise Usage(f"{where}: {error}") from None
    return Draft(**{"id": None, **values, "where": where})


_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "id": fields.given_id,
    "title": fields.line,
    "description": fields.text,
    "stage": fields.word,
    "depends_on": fields.list_of(fields.known_id),
    "touched_paths": fields.list_of(fields.path),
    "priority": fields.number(0, 9, " (9 first; 8 and 9 are urgent)"),
    "requires": fields.list_of(fields.word),
    "labels": fields.list_of(fields.word),
    "max_attempts": fields.number(1, 1000),
    "payload": fields.payload,
}


def _entries(text: str, file: str) -> list[Entry]:
    if not text.strip():
        raise Usage(f"{file}: empty; a plan is {{tasks: [...]}}, or one task a line in JSON Lines")
    form = _form(text, file)
    if form == "lines":
        return json_lines(text, file, "task")
    plan = json_value(text, file) if form == "json" else yaml_value(text, file)
    if not isinstance(plan, dict) or not isinstance(plan.get("tasks"), list):
        raise Usage(f"{file}: a plan is {{tasks: [...]}} with a task for each entry, or one task a line in JSON Lines")
    for key in plan:
        if key != "tasks":
            raise Usage(f"{file}: no field {checks.quoted(key)}: a plan has tasks and nothing else")
    if not plan["tasks"]:
        raise Usage(f"{file}: no task in it")
    return [(f"{file}: task {number}", entry) for number, entry in enumerate(plan["tasks"], 1)]


def _form(text: str, file: str) -> str:
    """``yaml``, ``json`` or ``lines``, by the file's ending and then by what stands in it."""
    ending = file.rpartition(".")[2].lower()
    known = {"yaml": "yaml", "yml": "yaml", "jsonl": "lines", "ndjson": "lines"}.get(ending)
    if known:
        return known
    otherwise = "json" if ending == "json" or text.lstrip()[:1] == "[" else "yaml"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return "lines" if error.msg == "Extra data" and text.lstrip()[:1] == "{" else otherwise
    except (ValueError, RecursionError):
        return "json"
    lone = isinstance(value, dict) and "title" in value and "tasks" not in value and "\n" not in text.strip()
    return "lines" if lone else "json"
