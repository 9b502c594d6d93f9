"""Task drafts from a file: our plan (YAML, JSON or JSON Lines), or a beads issue file.  Pure functions.

Promised: every field of every entry is checked before anything is returned; what does not fit raises `Usage` with one
line that names the file, the entry and the field.  Nothing is coerced (``title: yes`` is no text), nothing unknown is
skipped, no field may stand twice, and no file, however made, costs more than its size (aliases that multiply,
bottomless nesting).
Not promised: that dependencies outside the file exist (`outside` names them), that there is no cycle (`cycle_of`), or
that a touched path is a good pattern; only the caller knows the store.

What `parse_beads` makes of an issue:

- ``blocks`` dependencies → depends_on; all others → ``payload.beads.links``, as ``{type, id, …}``
- closed, completed, complete, tombstone → done, with reason and finished_at; open → queued; any other status →
  queued with it as ``hold``
- a ``blocks`` dependency that is nowhere (`hold_for`) → a link, and the issue is held
- P0 … P4 → priority 9 7 5 3 1
- an id that is no task id (uppercase, ``:`` …): lowercase, other characters ``-``; two that become one are refused
- a title with line breaks or over 200 characters → one line; a label with spaces or commas → ``-`` for them
- everything else, and the original of whatever changed, → ``payload.beads`` under its own name
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from . import checks, graph
from .errors import Usage, did_you_mean

LARGEST = 64 * 1024 * 1024
"""The most bytes of a file."""

_NODE = 64  # bytes that a value of a YAML file counts as, beside its text; an alias counts as what it stands for
_DEEPEST = 64
_WORD = 64
_TITLE = 200


class Draft(NamedTuple):
    """A task that is not yet one.  ``where`` is the file and entry it came from, to start an error message with."""

    id: str | None
    title: str
    description: str = ""
    stage: str = ""
    depends_on: tuple[str, ...] = ()
    touched_paths: tuple[str, ...] = ()
    priority: int = 5
    requires: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    max_attempts: int | None = None
    payload: Any = None
    status: str = "queued"  # or done
    hold: str = ""
    reason: str = ""
    created_at: str | None = None
    finished_at: str | None = None
    where: str = ""


Entry = tuple[str, Any]  # where it stands, and what was found there


# The graph of drafts


def cycle_of(drafts: Iterable[Draft]) -> list[str] | None:
    """One cycle ``[a, b, c, a]`` among the drafts, or None."""
    return graph.cycle(_edges(drafts))


def without_cycles(drafts: Sequence[Draft]) -> tuple[list[Draft], list[tuple[str, str]]]:
    """The drafts without cycles, and the dropped edges ``(task, dependency)``; see `graph.all_cycles_broken`."""
    _, dropped = graph.all_cycles_broken(_edges(drafts))
    gone = set(dropped)
    kept = [
        draft._replace(depends_on=tuple(dep for dep in draft.depends_on if (draft.id, dep) not in gone))
        for draft in drafts
    ]
    return kept, dropped


def _edges(drafts: Iterable[Draft]) -> dict[str, tuple[str, ...]]:
    return {draft.id: draft.depends_on for draft in drafts if draft.id}


def outside(drafts: Sequence[Draft]) -> list[tuple[Draft, str]]:
    """``(draft, dependency)`` for each dependency that is no draft's id: it must exist already."""
    ids = {draft.id for draft in drafts}
    return [(draft, dep) for draft in drafts for dep in draft.depends_on if dep not in ids]


def hold_for(drafts: Iterable[Draft], missing: Collection[str]) -> list[Draft]:
    """Issues whose blockers ``missing`` are nowhere: the edge becomes a link, and a queued task is held.

    Nobody knows whether such a blocker was done; a held task says so, one set free in silence would be started.
    """
    return [_held(draft, [dep for dep in draft.depends_on if dep in missing]) for draft in drafts]


def _held(draft: Draft, gone: list[str]) -> Draft:
    if not gone:
        return draft
    beads = (draft.payload or {}).get("beads", {})
    links = [*beads.get("links", []), *({"type": "blocks", "id": dep} for dep in gone)]
    why = graph.one_line(f"blocked by {', '.join(gone)}, which is not here", _TITLE)
    return draft._replace(
        depends_on=tuple(dep for dep in draft.depends_on if dep not in gone),
        hold=(draft.hold or why) if draft.status == "queued" else "",
        payload={**(draft.payload or {}), "beads": {**beads, "links": links}},
    )


# Our plan


def parse_plan(data: bytes, name: str) -> list[Draft]:
    """The tasks in ``data``: ``{tasks: [...]}`` in YAML or JSON, or one task a line in JSON Lines.

    ``name`` is the file's, for messages and its ending; what the ending leaves open, the content decides.
    """
    drafts = [_draft(where, entry) for where, entry in _entries(_decoded(data, name), _file(name))]
    first: dict[str, str] = {}
    for draft in drafts:
        if draft.id and first.setdefault(draft.id, draft.where) != draft.where:
            raise Usage(f"{draft.where}: id {draft.id} is taken by {_entry_of(first[draft.id])}; ids are unique")
    return drafts


def _draft(where: str, entry: Any) -> Draft:
    if not isinstance(entry, dict):
        raise Usage(f"{where}: a task is a mapping with at least a title, not {_shown(entry)}")
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


def _text(field: str, value: Any) -> str:
    if isinstance(value, str):
        return checks.text(field, value)
    mend = "write some, or leave the field out" if value is None else "write it in quotes"
    raise Usage(f"{field} is {_shown(value)}, not text" + ("" if isinstance(value, dict | list) else f": {mend}"))


def _line(field: str, value: Any) -> str:
    return checks.line(field, _text(field, value), _TITLE)


def _word(field: str, value: Any) -> str:
    """One word of a filter: a stage, label or capability."""
    word = checks.line(field, _text(field, value), _WORD)
    if re.search(r"[\s,]", word):
        raise Usage(f"{field} {checks.quoted(word)} is not one word: use - for spaces and commas")
    return word


def _id_by(rule: Callable[[str], str]) -> Callable[[str, Any], str]:
    def checked(field: str, value: Any) -> str:
        text = _text(field, value)
        try:
            return rule(text)
        except Usage as error:
            raise Usage(f"{field}: {error}") from None

    return checked


_given_id = _id_by(checks.given_task_id)
_known_id = _id_by(checks.ident)


def _path(field: str, value: Any) -> str:
    if not _text(field, value):
        raise Usage(f"{field} has an empty pattern")
    return str(value)


def _list_of(check: Callable[[str, Any], str]) -> Callable[[str, Any], tuple[str, ...]]:
    def checked(field: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise Usage(f"{field} is {_shown(value)}, not a list" + (": put it in [ ]" if value else ""))
        items = [check(field, item) for item in value]
        if len(set(items)) < len(items):
            raise Usage(f"{field} has {_shown(next(item for item in items if items.count(item) > 1))} twice")
        return tuple(items)

    return checked


def _number(low: int, high: int, hint: str = "") -> Callable[[str, Any], int]:
    def checked(field: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Usage(f"{field} is {_shown(value)}, not a number from {low} to {high}{hint}")
        return value

    return checked


def _payload(field: str, value: Any) -> Any:
    """Any JSON value of a sane size and depth."""
    if not _shallow(value, _DEEPEST):
        raise Usage(f"{field} is nested deeper than {_DEEPEST}: put it in a file and name its path")
    try:
        checks.text(field, json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValueError:
        raise Usage(f"{field} has a number that JSON has not (infinite, or none at all)") from None
    return value


def _shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(item, levels - 1) for item in inner)


_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "id": _given_id,
    "title": _line,
    "description": _text,
    "stage": _word,
    "depends_on": _list_of(_known_id),
    "touched_paths": _list_of(_path),
    "priority": _number(0, 9, " (9 first; 8 and 9 are urgent)"),
    "requires": _list_of(_word),
    "labels": _list_of(_word),
    "max_attempts": _number(1, 1000),
    "payload": _payload,
}


# Files


def _entries(text: str, file: str) -> list[Entry]:
    if not text.strip():
        raise Usage(f"{file}: empty; a plan is {{tasks: [...]}}, or one task a line in JSON Lines")
    form = _form(text, file)
    if form == "lines":
        return _lines(text, file, "task")
    plan = _json(text, file) if form == "json" else _yaml(text, file)
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


def _lines(text: str, file: str, what: str) -> list[Entry]:
    """One JSON object a line; blank lines are none."""
    lines = [(f"{file}: line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise Usage(f"{file}: no {what} in it")
    return [(where, _json(line, where)) for where, line in lines]


def _decoded(data: bytes, name: str) -> str:
    if len(data) > LARGEST:
        raise Usage(f"{_file(name)}: over {LARGEST >> 20} MiB: split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Usage(f"{_file(name)}: line {line}: not UTF-8: convert the file") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise Usage(f"{where}: not JSON: {error.msg} at {at}") from None
    except RecursionError:
        raise Usage(f"{where}: nested too deep: put what is so deep in a file of its own") from None
    except ValueError as error:
        raise Usage(f"{where}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"{checks.quoted(key)} stands twice in one object")
        out[key] = value
    return out


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _yaml(text: str, file: str) -> Any:
    import yaml

    try:
        return _Yaml(getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text), file).document()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error.problem):  # newer parsers count for themselves
            raise Usage(f"{file}: nested deeper than {_DEEPEST}") from None
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Usage(f"{file}: {line}not YAML: {graph.one_line(error.problem, _TITLE)}") from None
    except yaml.YAMLError as error:
        raise Usage(f"{file}: not YAML: {graph.one_line(error, _TITLE)}") from None


class _Yaml:
    """One YAML document as plain JSON values, built from the parser's events.

    The loaders of PyYAML let a second key win, make dates and sets, and (the one in C) end the process at deep nesting.
    Here aliases work, and count as what they stand for; merge keys and tags do not.
    """

    def __init__(self, loader: Any, file: str) -> None:
        import yaml

        self.yaml = yaml
        self.loader = loader
        self.file = file
        self.anchors: dict[str, tuple[Any, int]] = {}  # the value, and its size
        self.size = 0

    def document(self) -> Any:
        self.loader.get_event()  # the stream starts
        if self.loader.check_event(self.yaml.StreamEndEvent):
            return None
        self.loader.get_event()  # the document starts
        value = self.node(0)
        self.loader.get_event()  # the document ends
        if not self.loader.check_event(self.yaml.StreamEndEvent):
            raise self.refused(self.loader.peek_event(), "a second document: a plan is one")
        return value

    def refused(self, event: Any, problem: str) -> Usage:
        return Usage(f"{self.file}: line {event.start_mark.line + 1}: {problem}")

    def node(self, depth: int) -> Any:
        event = self.loader.get_event()
        before = self.size
        self.size += _NODE
        if isinstance(event, self.yaml.AliasEvent):
            value = self.alias(event)
        elif depth > _DEEPEST:
            raise self.refused(event, f"nested deeper than {_DEEPEST}")
        elif isinstance(event, self.yaml.ScalarEvent):
            value = self.scalar(event)
        elif event.tag not in (None, "!"):
            raise self.refused(event, f"tag {checks.quoted(event.tag)}: a plan has none")
        elif isinstance(event, self.yaml.SequenceStartEvent):
            value = self.sequence(depth)
        else:
            value = self.mapping(depth)
        if self.size > LARGEST:
            raise self.refused(event, "too much, with each alias written out: split the file")
        if not isinstance(event, self.yaml.AliasEvent) and event.anchor:
            self.anchors[event.anchor] = value, self.size - before
        return value

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            raise self.refused(event, f"alias *{event.anchor} stands for nothing before it")
        value, size = self.anchors[event.anchor]
        self.size += size
        return value

    def scalar(self, event: Any) -> Any:
        self.size += len(event.value)
        tag = event.tag
        if tag in (None, "!"):
            tag = self.loader.resolve(self.yaml.ScalarNode, event.value, event.implicit)
        kind = tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str":
            return event.value
        if kind not in ("null", "bool", "int", "float") or ":" in event.value:  # 12:30 would be 750
            raise self.refused(event, f"YAML reads {checks.quoted(event.value)} as {graph.one_line(kind)}: use quotes")
        try:
            return getattr(self.loader, f"construct_yaml_{kind}")(self.yaml.ScalarNode(tag, event.value))
        except (ValueError, LookupError):
            raise self.refused(event, f"{checks.quoted(event.value)} is no {kind}") from None

    def sequence(self, depth: int) -> list[Any]:
        items = []
        while not self.loader.check_event(self.yaml.SequenceEndEvent):
            items.append(self.node(depth + 1))
        self.loader.get_event()
        return items

    def mapping(self, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while not self.loader.check_event(self.yaml.MappingEndEvent):
            at = self.loader.peek_event()
            key = self.node(depth + 1)
            if not isinstance(key, str):
                raise self.refused(at, f"the key {_shown(key)} is not text: write it in quotes")
            if key in out:
                raise self.refused(at, f"{checks.quoted(key)} stands twice in one mapping")
            out[key] = self.node(depth + 1)
        self.loader.get_event()
        return out


# beads

_DONE = frozenset(["closed", "completed", "complete", "tombstone"])
_PRIORITIES = (9, 7, 5, 3, 1)
_HOMES = ("title", "description", "priority", "labels", "dependencies")


def parse_beads(data: bytes, name: str) -> list[Draft]:
    """The issues of a beads file as drafts with ids, in the file's order; the mapping is in this module's docstring."""
    issues = []
    for where, issue in _lines(_decoded(data, name), _file(name), "issue"):
        if not isinstance(issue, dict):
            raise Usage(f"{where}: an issue is an object, not {_shown(issue)}")
        issues.append((where, issue))
    ids = _task_ids(issues)
    drafts = []
    for where, issue in issues:
        try:
            drafts.append(_issue(issue, ids)._replace(where=where))
        except Usage as error:
            raise Usage(f"{where}: {error}") from None
    return drafts


def _task_ids(issues: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """Their id → ours, for every issue of the file."""
    ids: dict[str, str] = {}
    whose: dict[str, tuple[str, str]] = {}
    for where, issue in issues:
        try:
            theirs = _has(issue, "id", str)
            ours = _given_id("id", _task_id(theirs))
        except Usage as error:
            raise Usage(f"{where}: {error}") from None
        if ours in whose:
            line, other = whose[ours]
            also = f"{theirs} is" if theirs == other else f"{theirs} and {other} both become {ours},"
            raise Usage(f"{where}: id {also} taken by {_entry_of(line)}; rename one")
        ids[theirs], whose[ours] = ours, (where, theirs)
    return ids


def _task_id(theirs: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", theirs.lower())


def _issue(issue: dict[str, Any], ids: dict[str, str]) -> Draft:
    status = _has(issue, "status", str, "open") or "open"
    done = status in _DONE
    depends_on, links = _dependencies(issue, ids)
    beads = {field: value for field, value in issue.items() if field not in _HOMES}
    title = graph.one_line(_has(issue, "title", str), _TITLE)
    if not title:
        raise Usage("title is empty")
    labels = _has(issue, "labels", list, [])
    words = tuple(dict.fromkeys(_as_word(label) for label in labels))
    beads |= {"title": issue["title"]} if title != issue["title"] else {}
    beads |= {"labels": labels} if list(words) != labels else {}
    beads |= {"links": links} if links else {}
    ended = _has(issue, "closed_at", str, "") or _has(issue, "deleted_at", str, "")
    said = _has(issue, "close_reason", str, "") or _has(issue, "delete_reason", str, "")
    return Draft(
        id=ids[issue["id"]],
        title=title,
        description=_text("description", _has(issue, "description", str, "")),
        depends_on=depends_on,
        priority=_PRIORITIES[_number(0, 4)("priority", issue.get("priority", 2))],
        labels=words,
        payload=_payload("payload", {"beads": beads}),
        status="done" if done else "queued",
        hold="" if done or status == "open" else graph.one_line(status, _TITLE) or "blank status",
        reason=graph.one_line(said, _TITLE) if done else "",
        created_at=_utc("created_at", _has(issue, "created_at", str, "")),
        finished_at=_utc("closed_at", ended) if done else None,
    )


def _dependencies(issue: dict[str, Any], ids: dict[str, str]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The ids that block this issue, and its other links."""
    blockers: dict[str, None] = {}
    links = []
    for dep in _has(issue, "dependencies", list, []):
        if not isinstance(dep, dict):
            raise Usage(f"dependencies has {_shown(dep)}, not an object")
        other = _has(dep, "depends_on_id", str)
        if dep.get("issue_id", issue["id"]) != issue["id"]:
            raise Usage(f"dependencies has {_shown(dep['issue_id'])} as issue_id, which is not this issue")
        ours = ids.get(other) or _task_id(other)
        if _has(dep, "type", str) == "blocks":
            blockers[_known_id("dependencies", ours)] = None
        else:
            more = {key: value for key, value in dep.items() if key not in ("issue_id", "depends_on_id", "type")}
            links.append({"type": dep["type"], "id": ids.get(other, other), **more})
    return tuple(blockers), links


def _has(holder: dict[str, Any], field: str, kind: type, otherwise: Any = None) -> Any:
    """``holder[field]``, which must be a ``kind``; without it, or null, ``otherwise``, or `Usage` if that is None."""
    value = holder.get(field)
    if value is None and otherwise is not None:
        return otherwise
    if not isinstance(value, kind):
        what = "text" if kind is str else "a list"
        raise Usage(f"{field} is {_shown(value)}, not {what}" if field in holder else f"{field} is missing")
    return value


def _as_word(label: Any) -> str:
    if not isinstance(label, str) or not label.strip():
        raise Usage(f"labels has {_shown(label)}, not text")
    return re.sub(r"[\s,]+", "-", graph.one_line(label))[:_WORD]


def _utc(field: str, stamp: str) -> str | None:
    """An RFC 3339 time as UTC with microseconds, as documents have it; one without a zone is UTC."""
    from datetime import UTC, datetime

    if not stamp:
        return None
    try:
        when = datetime.fromisoformat(stamp)
        when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Usage(f"{field} is {_shown(stamp)}, not an RFC 3339 time") from None
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


# Messages


def _file(name: str) -> str:
    return checks.on_one_line(name)


def _entry_of(where: str) -> str:
    """``line 3`` of ``plan.jsonl: line 3``: the file is known by then."""
    return where.rpartition(": ")[2]


def _shown(value: Any) -> str:
    """``value`` as a message shows it: JSON, short."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return checks.quoted(value) if isinstance(value, str) else json.dumps(value)[:60]
