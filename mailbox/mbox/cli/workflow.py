"""`workflow`: what a file says, looked at without running it: lint and graph."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mbox.errors import Nothing, Usage
from mbox.format import checks

from .context import Context
from .options import argument, command, option
from .values import RUN

if TYPE_CHECKING:
    from mbox.hosts.ladder import Ladders
    from mbox.workflow.definition import Workflow
    from mbox.workflow.graph import Happened

GRAPHS = ("text", "mermaid", "dot", "svg")


@command(
    examples=["workflow lint review-loop.yaml", "workflow lint workflows/*.yaml -o json"],
    exits={1: "there is an error"},
)
@argument("files", nargs=-1, metavar="FILE...", required=True)
def lint(context: Context, files: tuple[str, ...]) -> None:
    """Say what does not hold in each FILE, and in those that it calls: FILE:LINE:COLUMN: error|warning: what, and the mend.

    What has no error here runs without an error of the language. docs/workflows.md has all of it.
    """
    from mbox.workflow.lint import remarks

    rows, known = [], _ladders(context)
    for path in files:
        where = os.path.join(context.cwd, path)
        found = remarks(where, known)
        folder, ahead = os.path.dirname(path), f"{where}: "
        rows += [{**one._asdict(), "file": os.path.join(folder, one.file), "text": one.text.removeprefix(ahead)} for one in found]
    if context.output in ("auto", "table"):
        lines = ("{file}:{line}:{column}: {level}: {text}".format(**row) for row in rows)
        context.write("".join(f"{checks.on_one_line(line)}\n" for line in lines))
    else:
        context.emit(rows)
    errors = sum(row["level"] == "error" for row in rows)
    if errors:
        context.flush()
        raise Nothing(f"{errors} error{'s' * (errors > 1)}")


def _ladders(context: Context) -> Ladders:
    """What the store's ``hosts.yaml`` says, where there is a store."""
    from mbox.errors import StoreError
    from mbox.hosts import ladder
    from mbox.opening import find

    try:
        return ladder.load(find(context.root, context.stand).path)
    except StoreError:
        return ladder.Ladders({}, {})


@command(
    examples=["workflow graph review-loop.yaml", "workflow graph review-loop.yaml --format svg >loop.svg",
              "workflow graph --run w12"],
    exits={3: "no such run"},
)  # fmt: skip
@argument("file", metavar="[FILE]", required=False)
@option("--format", "form", metavar="F", help="text (the default), mermaid, dot or svg (by Graphviz)")
@option("--run", "run", type=RUN, metavar="RUN", help="of a run: as it was when it began, coloured by what happened")
def graph(context: Context, file: str | None, form: str | None, run: str | None) -> None:
    """Draw the steps and where each may lead, by which rule; -o json, jsonl and yaml give nodes and edges as data."""
    from mbox.format import drawing
    from mbox.workflow import graph as graphs

    if form not in (None, *GRAPHS):
        raise Usage(f"--format {checks.quoted(form)}: {', '.join(GRAPHS[:-1])} or {GRAPHS[-1]}")
    workflow, happened = _drawn(context, file, run)
    if context.output in ("auto", "table"):
        text = graphs.graph(workflow, happened, "dot" if form == "svg" else form or "text")
        context.write(drawing.svg(text) if form == "svg" else text)
        return
    if form is not None:
        raise Usage(f"--format draws, -o {context.output} gives data: not both")
    if context.output == "env":
        raise Usage("-o env: a graph is no variables; json, jsonl and yaml give it as data")
    found = graphs.data(workflow)
    context.emit(found["nodes"] if context.output == "id" else found)


def _drawn(context: Context, file: str | None, run: str | None) -> tuple[Workflow, Happened]:
    """What is drawn: a file, or a run and what happened in it."""
    from mbox.workflow.definition import load, reader

    if (file is None) == (run is None):
        raise Usage("FILE, or --run RUN: one of them")
    if file is not None:
        return load(*reader(os.path.join(context.cwd, file))), None
    from mbox.engine import runs
    from mbox.report.runs import happened

    return runs.workflow(context.store.read, run or ""), happened(context.store, run or "")


@command(examples=["workflow compile workflows/review-loop.yaml --target claude"])
@argument("file", metavar="FILE")
@option("--target", "host", metavar="HOST", required=True, help="claude, codex, gemini, agy, cursor, copilot, qwen or opencode")
def compile_(context: Context, file: str, host: str) -> None:
    """Print what of FILE the hooks of one agent program can hold an agent to: entries for its settings, gates and rules for
    .mailbox/config.yaml, context for what agents read. What only a run can do is said on stderr.
    """
    from json import dumps

    from mbox.hooks import projecting
    from mbox.workflow.definition import load, reader

    where = projecting.place(host)
    workflow = load(*reader(os.path.join(context.cwd, file)))
    found = projecting.projected(workflow, host)
    for line in found.left_out:
        context.say(f"left out: {line}")
    doc = {"workflow": workflow.name, "host": host, "file": where.shared, **found._asdict()}
    if context.output in ("auto", "table"):
        context.write(f"{dumps(doc, indent=2, ensure_ascii=False)}\n")
    else:
        context.emit(doc)
