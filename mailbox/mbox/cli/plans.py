"""A plan file as the caller names it: read, and its paths relative to the root."""

from __future__ import annotations

from mbox.errors import Usage
from mbox.format import checks
from mbox.format.parsing import LARGEST
from mbox.system.given import read_given
from mbox.tasks.drafts import TaskDraft
from mbox.tasks.planfile import parse_plan

from .context import Context


def plan_of(context: Context, file: str) -> list[TaskDraft]:
    """The tasks of a plan file, with their paths relative to the root; `Usage` for what cannot be read."""
    return placed(context, parse_plan(content(file), file))


def content(path: str) -> bytes:
    """What stands in a file, at most a byte more than a plan may have; `Usage` where it cannot be read."""
    try:
        return read_given(path, LARGEST + 1)
    except OSError as error:
        raise Usage(f"FILE {checks.quoted(path)}: {error.strerror}") from None


def placed(context: Context, drafts: list[TaskDraft]) -> list[TaskDraft]:
    """The drafts with their paths relative to the root, each of them once."""
    there = []
    for draft in drafts:
        try:
            paths = dict.fromkeys(context.patterns(draft.touched_paths))
        except Usage as error:
            raise Usage(f"{draft.where}: {error}") from None
        there.append(draft._replace(touched_paths=tuple(paths)))
    return there
