"""An issue file of beads (JSON Lines) as drafts.  Pure functions.

Promised: every issue is checked before anything is returned, by the rules of `parsing` and `fields`; what does not fit
raises `Usage` with one line that names the file, the line and the field, and nothing that an issue says is lost.
Not promised: what `drafts` does not.

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

import re
from collections.abc import Collection, Iterable
from typing import Any

from mbox.errors import Usage
from mbox.format import checks, fields
from mbox.format.checks import TITLE, one_line, shown
from mbox.format.documents import composed
from mbox.format.parsing import decoded, entry_of, json_lines

from .drafts import TASKS, TaskDraft

_DONE = frozenset(["closed", "completed", "complete", "tombstone"])
_PRIORITIES = (9, 7, 5, 3, 1)
_HOMES = ("title", "description", "priority", "labels", "dependencies")


def parse_beads(data: bytes, name: str) -> list[TaskDraft]:
    """The issues of a beads file as drafts with ids, in the file's order; the mapping is in this module's docstring."""
    issues = []
    for where, issue in json_lines(decoded(data, name), checks.on_one_line(name), "issue", TASKS):
        if not isinstance(issue, dict):
            raise Usage(f"{where}: an issue is an object, not {shown(issue)}")
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
            theirs = _has(issue, "id", fields.plain_text)
            ours = fields.given_id("id", _task_id(theirs))
        except Usage as error:
            raise Usage(f"{where}: {error}") from None
        if ours in whose:
            line, other = whose[ours]
            also = f"{theirs} is" if theirs == other else f"{theirs} and {other} both become {ours},"
            raise Usage(f"{where}: id {also} taken by {entry_of(line)}; rename one")
        ids[theirs], whose[ours] = ours, (where, theirs)
    return ids


def _task_id(theirs: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", theirs.lower())


def _issue(issue: dict[str, Any], ids: dict[str, str]) -> TaskDraft:
    status = _has(issue, "status", fields.plain_text, "open") or "open"
    done = status in _DONE
    depends_on, links = _dependencies(issue, ids)
    beads = {field: value for field, value in issue.items() if field not in _HOMES}
    title = one_line(_has(issue, "title", fields.plain_text), TITLE)
    if not title:
        raise Usage("title is empty")
    labels = _has(issue, "labels", fields.plain_list, [])
    words = tuple(dict.fromkeys(_as_word(label) for label in labels))
    beads |= {"title": issue["title"]} if title != issue["title"] else {}
    beads |= {"labels": labels} if list(words) != labels else {}
    beads |= {"links": links} if links else {}
    ended = _has(issue, "closed_at", fields.plain_text, "") or _has(issue, "deleted_at", fields.plain_text, "")
    said = _has(issue, "close_reason", fields.plain_text, "") or _has(issue, "delete_reason", fields.plain_text, "")
    return TaskDraft(
        id=ids[issue["id"]],
        title=title,
        description=fields.text("description", _has(issue, "description", fields.plain_text, "")),
        depends_on=depends_on,
        priority=_PRIORITIES[fields.number(0, 4)("priority", issue.get("priority", 2))],
        labels=words,
        payload=fields.payload("payload", {"beads": beads}),
        status="done" if done else "queued",
        hold="" if done or status == "open" else one_line(status, TITLE) or "blank status",
        reason=one_line(said, TITLE) if done else "",
        created_at=_utc("created_at", _has(issue, "created_at", fields.plain_text, "")),
        finished_at=_utc("closed_at", ended) if done else None,
    )


def _dependencies(issue: dict[str, Any], ids: dict[str, str]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The ids that block this issue, and its other links."""
    blockers: dict[str, None] = {}
    links = []
    for dep in _has(issue, "dependencies", fields.plain_list, []):
        if not isinstance(dep, dict):
            raise Usage(f"dependencies has {shown(dep)}, not an object")
        other = _has(dep, "depends_on_id", fields.plain_text)
        if dep.get("issue_id", issue["id"]) != issue["id"]:
            raise Usage(f"dependencies has {shown(dep['issue_id'])} as issue_id, which is not this issue")
        ours = ids.get(other) or _task_id(other)
        if _has(dep, "type", fields.plain_text) == "blocks":
            blockers[fields.known_id("dependencies", ours)] = None
        else:
            more = {key: value for key, value in dep.items() if key not in ("issue_id", "depends_on_id", "type")}
            links.append({"type": dep["type"], "id": ids.get(other, other), **more})
    return tuple(blockers), links


def _has(holder: dict[str, Any], field: str, check: fields.Check, otherwise: Any = None) -> Any:
    """``holder[field]`` as ``check`` takes it; without it, or null, ``otherwise``, or `Usage` if that is None."""
    value = holder.get(field)
    if value is None and otherwise is not None:
        return otherwise
    if field not in holder:
        raise Usage(f"{field} is missing")
    return check(field, value)


def _as_word(label: Any) -> str:
    if not isinstance(label, str) or not label.strip():
        raise Usage(f"labels has {shown(label)}, not text")
    return re.sub(r"[\s,]+", "-", composed(one_line(label)))[: fields.WORD]


def _utc(field: str, stamp: str) -> str | None:
    """An RFC 3339 time as UTC with microseconds, as documents have it; one without a zone is UTC."""
    from datetime import UTC, datetime

    if not stamp:
        return None
    try:
        when = datetime.fromisoformat(stamp)
        when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Usage(f"{field} is {shown(stamp)}, not an RFC 3339 time") from None
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def hold_for(drafts: Iterable[TaskDraft], missing: Collection[str]) -> list[TaskDraft]:
    """Issues whose blockers ``missing`` are nowhere: the edge becomes a link, and a queued task is held.

    Nobody knows whether such a blocker was done; a held task says so, one set free in silence would be started.
    """
    return [_held(draft, [dep for dep in draft.depends_on if dep in missing]) for draft in drafts]


def _held(draft: TaskDraft, gone: list[str]) -> TaskDraft:
    if not gone:
        return draft
    beads = (draft.payload or {}).get("beads", {})
    links = [*beads.get("links", []), *({"type": "blocks", "id": dep} for dep in gone)]
    why = one_line(f"blocked by {', '.join(gone)}, which is not here", TITLE)
    return draft._replace(
        depends_on=tuple(dep for dep in draft.depends_on if dep not in gone),
        hold=(draft.hold or why) if draft.status == "queued" else "",
        payload={**(draft.payload or {}), "beads": {**beads, "links": links}},
    )
