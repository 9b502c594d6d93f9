"""What a task produced, for whoever claims what depends on it, and for whoever judges it.

Promised: `produced` shows the results of a task's dependencies in at most `RESULTS` bytes, the first that fit, and counts
what it leaves out; `request` is at most that and a few lines more.  Not promised: that what is shown is all that is known;
`task show` has the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbox.format import places
from mbox.format.checks import few
from mbox.format.documents import Document, compact

RESULTS = 1000
"""Bytes of the dependencies' results that a claim shows, as JSON."""

LOOKED = 50
"""Dependencies whose results are looked at."""

Read = Callable[[str], Document | None]


def produced(deps: list[str], read: Read) -> dict[str, Any]:
    """``results``, what each of the dependencies ``deps`` produced, and ``left_out``, how many results are not shown."""
    shown: dict[str, Any] = {}
    left, room = 0, RESULTS
    for dep in deps[:LOOKED]:
        other = read(places.task(dep))
        if other is None or other["result"] is None:
            continue
        size = len(compact({dep: other["result"]}).encode())
        if size > room:
            left += 1
            continue
        room -= size
        shown[dep] = other["result"]
    left += len(deps[LOOKED:])
    return {**({"results": shown} if shown else {}), **({"left_out": {"results": left}} if left else {})}


def request(doc: Document) -> str:
    """The body of a review request: what a reviewer needs to begin, so that nobody has to look the task up, and the verbs."""
    ident, result = doc["task_id"], "" if doc["result"] is None else compact(doc["result"])
    lines = []
    if result:
        fits = len(result.encode()) <= RESULTS
        lines.append(f"result: {result if fits else f'{len(result)} letters, `task show {ident}`'}")
    if doc["touched_paths"]:
        lines.append(f"paths: {few(doc['touched_paths'])}")
    if doc["round"] > 1 and doc["reason"]:
        lines.append(f"rejected before: {doc['reason']}")
    return "\n".join([*lines, *([""] if lines else []), f"task approve {ident}", f"task reject {ident} --reason …"])
