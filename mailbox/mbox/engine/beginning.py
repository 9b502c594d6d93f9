"""The beginning of a run: what is checked before anything starts, its tree, and its first record.

Order: 1. the file is read and linted, the inputs checked: a refusal starts nothing; 2. the run's own tree, where it has one, is
made or found (killed here: a tree without a run, which the next run of that branch finds); 3. ``run.begin``: the documents, and
the first step is entered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.errors import Usage
from mbox.format import documents, operations, places
from mbox.format.documents import Document
from mbox.git import history
from mbox.store.transaction import Actor, Transaction
from mbox.workflow.parts import USER

from . import budget, runs
from .facts import deciding
from .moves import WAYS, move, world
from .standing import Move, World

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.workflow.definition import Workflow


class Wishes(NamedTuple):
    """How a person wants a run to be done."""

    ident: str = ""
    workers: int | None = None
    team: str | None = None
    scenario: str | None = None
    unattended: bool = False
    detached: bool = False


def limits_of(workflow: Workflow) -> dict[str, Any]:
    """The limits that the file says."""
    return {name: value for name, value in workflow.limits._asdict().items() if value is not None}


def begin(store: Store, by: Actor, workflow: Workflow, inputs: dict[str, Any], wishes: Wishes) -> Document:
    """Begin a run: its documents, and the first step entered; the run's document.  `Usage` where its id is taken."""
    if wishes.ident and store.read(places.run(runs.check_id(wishes.ident))) is not None:
        raise _taken(wishes.ident)
    tree = made_tree(store, workflow, inputs, wishes.ident, by)
    settings = {
        "workers": wishes.workers, "team": wishes.team, "scripted": wishes.scenario is not None,
        "unattended": wishes.unattended, "detached": wishes.detached, "limits": limits_of(workflow),
    }  # fmt: skip
    texts = {**workflow.texts, **({runs.SCRIPT: wishes.scenario} if wishes.scenario is not None else {})}
    around = world(store, {"tree": tree})

    def decide(tx: Transaction) -> Document:
        ident = wishes.ident or _fresh(tx)
        if tx.read(places.run(ident)) is not None:
            raise _taken(ident)
        doc = documents.new(
            "run", run=ident, workflow=workflow.name, file=workflow.file, by=by.name, settings=settings, inputs=inputs, tree=tree,
            spent=dict(budget.BLANK), memory=_of_starter(tx, workflow, by.name, around), started_at=tx.now,
        )  # fmt: skip
        tx.put(doc, places.run(ident))
        tx.put(documents.new("definition", run=ident, main=workflow.file, files=runs.files_of(texts)), places.definition(ident))
        return _entered(tx, ident, around)

    return deciding(around.facts, lambda: store.transact(decide, by._replace(dry_run=False)))


def _of_starter(tx: Transaction, workflow: Workflow, by: str, around: World) -> dict[str, Any]:
    """What a run remembers of the agent that started it: its family, which a role may be told not to be of."""
    agent = tx.glance(places.agent(by)) if places.is_name(by) else None
    family = around.ladders.family(agent["host"]) if agent is not None and USER not in workflow.roles else None
    return {"families": {USER: [family]}} if family else {}


def _entered(tx: Transaction, ident: str, around: World) -> Document:
    made = Move(tx, ident, around, WAYS)
    made.begin()
    made.close(operations.RUN_BEGIN)
    return made.run


def _fresh(tx: Transaction) -> str:
    while tx.read(places.run(ident := f"w{tx.take()}")) is not None:
        pass
    return ident


def _taken(ident: str) -> Usage:
    return Usage(f"run {ident} is there already; `workflow show {ident}` tells of it, `workflow resume {ident}` goes on with it")


def made_tree(store: Store, workflow: Workflow, inputs: Mapping[str, Any], ident: str, by: Actor) -> dict[str, Any]:
    """Where a run works, and from which commit: the root, or a tree of its own on the branch that the file names."""
    wanted = workflow.worktree
    if wanted is False or by.dry_run:
        return {"path": None, "base": history.head(store.root)}
    from mbox.git import worktrees

    branch = None if wanted is True else _branch(wanted, inputs)
    name = ident or workflow.name
    made = worktrees.ensure(store.root, "workflow", f"{name}" if branch is None else branch.replace("/", "-"), branch)
    return {"path": made.path, "branch": made.branch, "base": history.head(made.path), "own": True}


def _branch(template: str, inputs: Mapping[str, Any]) -> str:
    from mbox.workflow import templates

    name = templates.render(templates.parse(template), {"inputs": inputs}).strip()
    if not name or name.startswith("-"):
        raise Usage(f"worktree: {name!r} is no name for a branch")
    return name


def prepared(store: Store, run: Document) -> None:
    """Give a called run, which stands before its first step, the tree that its own file asks for."""
    workflow = runs.workflow(store.read, run["run"])
    if run["parent"] is None or workflow.worktree is False or (run["tree"] or {}).get("of") == run["run"]:
        return
    tree = made_tree(store, workflow, run["inputs"] or {}, run["run"], Actor(run["by"]))

    def change(made: Move) -> None:
        made.run["tree"] = {**tree, "of": run["run"]}
        made.is_made = True

    move(store, run, change, operations.RUN_STEP)
