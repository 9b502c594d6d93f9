"""Orders: a task that a step of a workflow gave out, and what whoever does it must hand in.

The task's document has one more field, ``order``: which run, step, visit and item it is of, the JSON Schema of the result,
whether gates judge it, and, from the second try on, how the one before ended.

Promised: a result that the order's schema refuses changes nothing and names the field (`Usage`, exit 2); where gates judge
it, ``done`` hands it in for review and its paths stay reserved; a try that came to nothing is handed back with its reason
(`lifecycle.hand_back`) in one record and costs no attempt, and nobody takes the task before its run has decided (``hold``).
Who the order is not for does not get it: a family of agents that the run excludes, another team than the one that it names.

Not promised: that a person does what the prompt says.  jsonschema is loaded only for an order with a schema.
"""

from __future__ import annotations

from typing import Any

from mbox.errors import Usage
from mbox.format import places
from mbox.format.documents import Document, compact

LABEL = "run:"
"""How the label of a run's tasks begins, and the capability that its own workers alone have."""

HOLD = "its run decides what comes next"
"""The hold of a task that was handed back."""

LARGEST = 64 << 10
"""Bytes of a result at most, as JSON (``workflow-language.md``, Steps)."""


def label(run: str) -> str:
    """The label of the tasks of ``run``."""
    return f"{LABEL}{run}"


def run_of(label: str) -> str:
    """The run whose tasks bear the label; empty where it is no run's."""
    run = label.removeprefix(LABEL)
    return run if run != label and places.is_name(run) else ""


def is_of_run(doc: Document) -> bool:
    """Whether a step of a workflow gave the task out: such tasks are listed only where they are asked for."""
    return doc.get("order") is not None


def check_result(doc: Document, result: Any) -> None:
    """`Usage`, naming the field, where ``result`` is not what the order of the task ``doc`` wants."""
    order = doc.get("order")
    if order is None:
        return
    ident = doc["task_id"]
    try:
        size = len(compact(result).encode())
    except (ValueError, RecursionError) as error:
        from mbox.format.parsing import why_not

        raise Usage(f"{ident}: the result holds {why_not(error)}") from None
    if size > LARGEST:
        raise Usage(f"{ident}: the result is over {LARGEST >> 10} KiB: put it in a file and name its path")
    if order.get("schema") is None:
        return
    from mbox.workflow.types import check

    try:
        check(order["schema"], result)
    except Usage as error:
        raise Usage(f"{ident}: {error}") from None


def is_judged(doc: Document) -> bool:
    """Whether gates judge what is handed in."""
    return bool((doc.get("order") or {}).get("gates"))


def obstacle(doc: Document, agent: Document | None, root: str) -> str:
    """Why ``agent`` is not who the order of the task ``doc`` is for; empty if it is, or nobody asks for one agent.

    Its family is that of its host, by the ``hosts.yaml`` of the store in ``root``.
    """
    order = doc.get("order")
    if order is None or agent is None:
        return ""
    team = order.get("team")
    if team and agent["team"] != team:
        return f"is for team {team}"
    shunned = order.get("shunned") or ()
    if shunned and label(order["run"]) not in agent["capabilities"]:
        from mbox.hosts import ladder

        family = ladder.load(root).family(agent["host"])
        if family is None or family in shunned:
            return f"is for a family other than {', '.join(shunned)}, and yours is {family or 'not known'}"
    return ""

