"""An issue file of beads (JSON Lines) as drafts.  Pure functions.

Promised: every issue is checked before anything is returned, by the rules of `notation` and `fields`; what does not fit
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

from mbox.tasks import graph
from mbox.format import checks
from mbox.format import fields
from mbox.tasks.drafts import TITLE, Draft
from mbox.errors import Usage
from mbox.format.parsing import decoded, entry_of, json_lines, shown

_DONE = frozenset(["closed", "completed", "complete", "tombstone"])
_PRIORITIES = (9, 7, 5, 3, 1)
_HOMES = ("title", "description", "priority", "labels", "dependencies")


def parse_beads(data: bytes, name: str) -> list[Draft]:
    """The issues of a beads file as drafts with ids, in the file's order; the mapping is in this module's docstring."""
    issues = []
    for where, issue in json_lines(decoded(data, name), checks.on_one_line(name), "issue"):
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
            theirs = _has(issue, "id", str)
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


def _issue(issue: dict[str, Any], ids: dict[str, str]) -> Draft:
    status = _has(issue, "status", str, "open") or "open"
    done = status in _DONE
    depends_on, links = _dependencies(issue, ids)
    beads = {field: value for field, value in issue.items() if field not in _HOMES}
    title = graph.one_line(_has(issue, "title", str), TITLE)
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
        description=fields.text("description", _has(issue, "description", str, "")),
        depends_on=depends_on,
        priority=_PRIORITIES[fields.number(0, 4)("priority", issue.get("priority", 2))],
        labels=words,
        payload=fields.payload("payload", {"beads": beads}),
        status="done" if done else "queued",
        hold="" if done or status == "open" else graph.one_line(status, TITLE) or "blank status",
        reason=graph.one_line(said, TITLE) if done else "",
        created_at=_utc("created_at", _has(issue, "created_at", str, "")),
        finished_at=_utc("closed_at", ended) if done else None,
    )


def _dependencies(issue: dict[str, Any], ids: dict[str, str]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The ids that block this issue, and its other links."""
    blockers: dict[str, None] = {}
    links = []
    for dep in _has(issue, "dependencies", list, []):
        if not isinstance(dep, dict):
            raise Usage(f"dependencies has {shown(dep)}, not an object")
        other = _has(dep, "depends_on_id", str)
        if dep.get("issue_id", issue["id"]) != issue["id"]:
            raise Usage(f"dependencies has {shown(dep['issue_id'])} as issue_id, which is not this issue")
        ours = ids.get(other) or _task_id(other)
        if _has(dep, "type", str) == "blocks":
            blockers[fields.known_id("dependencies", ours)] = None
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
        raise Usage(f"{field} is {shown(value)}, not {what}" if field in holder else f"{field} is missing")
    return value


def _as_word(label: Any) -> str:
    if not isinstance(label, str) or not label.strip():
        raise Usage(f"labels has {shown(label)}, not text")
    return re.sub(r"[\s,]+", "-", graph.one_line(label))[: fields.WORD]


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
    why = graph.one_line(f"blocked by {', '.join(gone)}, which is not here", TITLE)
    return draft._replace(
        depends_on=tuple(dep for dep in draft.depends_on if dep not in gone),
        hold=(draft.hold or why) if draft.status == "queued" else "",
        payload={**(draft.payload or {}), "beads": {**beads, "links": links}},
    )
