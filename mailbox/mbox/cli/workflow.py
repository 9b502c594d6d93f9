"""`workflow`: what a file says, looked at without running it: lint and graph."""

from __future__ import annotations

import os

from mbox.errors import Nothing, Usage
from mbox.format import checks

from .context import Context
from .options import argument, command, option

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
    from mbox.workflow.definition import reader
    from mbox.workflow.lint import lint as remarks_of

    rows = []
    for path in files:
        where = os.path.join(context.cwd, path)
        found = remarks_of(*reader(where), families)
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


def families(role: object) -> frozenset[str] | None:
    """The families that a role's hosts may be of; a role without hosts may be of any that is known."""
    from mbox.hosts import programs

    hosts = getattr(role, "hosts", ())
    found = [programs.get(host).family for host in hosts] or [one.family for one in programs.load().values() if one.family]
    return frozenset(found) if all(found) else None


@command(
    examples=["workflow graph review-loop.yaml", "workflow graph review-loop.yaml --format svg >loop.svg"],
)
@argument("file", metavar="FILE")
@option("--format", "form", metavar="F", help="text (the default), mermaid, dot or svg (by Graphviz)")
def graph(context: Context, file: str, form: str | None) -> None:
    """Draw the steps and where each may lead, by which rule; -o json, jsonl and yaml give nodes and edges as data."""
    from mbox.format import drawing
    from mbox.workflow import graph as graphs
    from mbox.workflow.definition import load, reader

    if form not in (None, *GRAPHS):
        raise Usage(f"--format {checks.quoted(form)}: {', '.join(GRAPHS[:-1])} or {GRAPHS[-1]}")
    workflow = load(*reader(os.path.join(context.cwd, file)))
    if context.output in ("auto", "table"):
        text = graphs.graph(workflow, None, "dot" if form == "svg" else form or "text")
        context.write(drawing.svg(text) if form == "svg" else text)
        return
    if form is not None:
        raise Usage(f"--format draws, -o {context.output} gives data: not both")
    if context.output == "env":
        raise Usage("-o env: a graph is no variables; json, jsonl and yaml give it as data")
    found = graphs.data(workflow)
    context.emit(found["nodes"] if context.output == "id" else found)
