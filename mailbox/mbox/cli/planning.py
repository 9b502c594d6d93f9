"""``task``: planning (add, import, update) and looking (list, show, ready, graph).  Working is in `tasks`."""

from __future__ import annotations

from typing import Any

from mbox.errors import Usage
from mbox.format import checks
from mbox.format.documents import TASK_STATES

from . import output
from .context import Context
from .options import argument, asked, changes, command, lists, option, shows, timeout, words
from .values import AGENT, JSON, KEY, LINE, NEW_TASK_ID, PRIORITY, SHELL_LINE, TASK, TEXT, WORD, Value, as_given

MISSING = {3: "no such task"}


def _attempts(word: str, what: str, context: Context) -> int:
    if not (word.isascii() and word.isdecimal() and 0 < int(word) <= 1000):
        raise Usage(f"{what}: {checks.quoted(word)} is no number from 1 to 1000")
    return int(word)


ATTEMPTS = Value("n", _attempts)

NARROW = ("title", ("stage", "expired", "urgency", "priority"))
"""What stays readable of a list of tasks on a narrow terminal, and what goes first."""


# -- planning ----------------------------------------------------------------------------------------------------------


@command(
    examples=[
        "task add 'Write the parser' --path src/parser.py --stage impl",
        "task add 'Test it' --depends-on t45 --requires pytest --priority 7",
        "task add 'Nightly' --key nightly-2026-01-02",
    ],
    exits={3: "no such task (a dependency)"},
)
@changes
@argument("title", metavar="TITLE", type=LINE)
@option("--id", "given", type=NEW_TASK_ID, metavar="ID", help="not of the form t45")
@option("--description", type=TEXT, metavar="D", default="", help="- is stdin, @FILE a file")
@option("--stage", type=WORD, metavar="S", default="")
@option("--depends-on", type=TASK, metavar="ID", multiple=True, help="done first; repeatable")
@option("--path", "paths", metavar="GLOB", multiple=True, help="what it will change; repeatable")
@option("--priority", type=PRIORITY, metavar="0-9", default=5, help="9 first; 5 is the default")
@option("--requires", type=WORD, metavar="CAP", multiple=True, help="what its agent must be able to do")
@option("--label", "labels", type=WORD, metavar="L", multiple=True)
@option("--payload", type=JSON, metavar="JSON")
@option("--max-attempts", type=ATTEMPTS, metavar="N", help="leases that may run out (config: max_attempts)")
@option("--gate", "gates", type=SHELL_LINE, metavar="CMD", multiple=True, help="must succeed before its agent stops; repeatable")
@option("--key", type=KEY, metavar="K", help="the same key is the same task")
def add(context: Context, title: str, given: str | None, description: str, stage: str,
        depends_on: tuple[str, ...], paths: tuple[str, ...], priority: int, requires: tuple[str, ...],
        labels: tuple[str, ...], payload: Any, max_attempts: int | None, gates: tuple[str, ...],
        key: str | None) -> None:  # fmt: skip
    """Add a task; prints its id."""
    from mbox.tasks import planning
    from mbox.tasks.drafts import TaskDraft

    draft = TaskDraft(
        id=given, title=title, description=description, stage=stage, depends_on=_once(depends_on),
        touched_paths=_once(context.patterns(paths)), priority=priority, requires=_some(requires),
        labels=_some(labels), max_attempts=max_attempts, payload=payload, gates=_once(gates),
    )  # fmt: skip
    answer = planning.add(context.store, context.actor(required=False), draft, key)
    _may_run(context, draft.gates)
    context.emit(answer)


def _may_run(context: Context, gates: Any) -> None:
    """Remember that these gates may be run: who types them on this machine has said yes to them."""
    if gates and not context.dry_run:
        from mbox.errors import StoreError
        from mbox.hooks.gates import starts
        from mbox.liveness import trust

        try:
            trust.allow(context.store, starts(gates))
        except StoreError as error:
            context.say(f"the gates are not run before a person says yes (`mbox trust`): {error}")


def _once(given: Any) -> tuple[str, ...]:
    """Each of them once, in order."""
    return tuple(dict.fromkeys(given))


def _some(given: Any) -> tuple[str, ...]:
    """Each of them once, without the empty one that clears a list."""
    return tuple(word for word in _once(given) if word)


@command(
    examples=["task import plan.yaml", "task import issues.jsonl --from beads", "task import - <plan.json"],
)
@changes
@argument("file", metavar="FILE")
@option("--from", "source", metavar="beads", help="an issue file of beads (JSON Lines)")
@option("--drop-cycles", is_flag=True, help="drop dependencies until there is no cycle")
@option("--skip-existing", is_flag=True, help="pass over tasks that are there already")
def import_(context: Context, file: str, source: str | None, drop_cycles: bool, skip_existing: bool) -> None:
    """Add all tasks of a file, or none: {tasks: [{id, title, description, stage, depends_on, touched_paths, priority,
    requires, labels, max_attempts, payload, gates}]} in YAML or JSON, or a task a line in JSON Lines.  - is stdin.
    """
    from mbox.format import parsing
    from mbox.tasks import planning

    from . import plans

    if source not in (None, "beads"):
        raise Usage(f"--from {checks.quoted(source or '')}: it reads beads, or without --from a plan")
    name = "stdin" if file == "-" else file
    data = context.stdin("FILE", parsing.LARGEST) if file == "-" else plans.content(file)
    if source:
        from mbox.tasks.beads import parse_beads

        drafts = parse_beads(data, name)
    else:
        from mbox.tasks.planfile import parse_plan

        drafts = parse_plan(data, name)
    drafts = plans.placed(context, drafts)
    answer = planning.import_drafts(
        context.store, context.actor(required=False), drafts, drop_cycles, skip_existing, source == "beads"
    )  # fmt: skip
    _may_run(context, _once(gate for draft in drafts for gate in draft.gates))
    context.emit(answer)


@command(
    examples=["task update t45 --priority 8 --add-dep t12", "task update t45 --hold 'waits for the vendor'",
              "task update t45 --no-hold"],
    exits={3: "no such task, or dependency"},
)  # fmt: skip
@changes
@argument("task_id", metavar="ID", type=TASK)
@option("--title", type=LINE, metavar="T")
@option("--description", type=TEXT, metavar="D")
@option("--stage", type=WORD, metavar="S")
@option("--priority", type=PRIORITY, metavar="0-9")
@option("--max-attempts", type=ATTEMPTS, metavar="N")
@option("--add-dep", type=TASK, metavar="ID", multiple=True)
@option("--rm-dep", type=TASK, metavar="ID", multiple=True)
@option("--path", "paths", metavar="GLOB", multiple=True, help="all its paths from now on ('': none)")
@option("--label", "labels", type=WORD, metavar="L", multiple=True, help="all its labels from now on")
@option("--requires", type=WORD, metavar="CAP", multiple=True, help="all it requires from now on")
@option("--hold", type=LINE, metavar="R", help="not to be claimed, and why")
@option("--no-hold", is_flag=True)
def update(context: Context, task_id: str, add_dep: tuple[str, ...], rm_dep: tuple[str, ...], paths: tuple[str, ...],
           labels: tuple[str, ...], requires: tuple[str, ...], hold: str | None, no_hold: bool,
           **fields: Any) -> None:  # fmt: skip
    """Change what a task says.  A dependency that would close a cycle is refused."""
    from mbox.tasks import planning

    if hold and no_hold:
        raise Usage("--hold, or --no-hold: not both")
    changed = {name: value for name, value in fields.items() if value is not None}
    if paths:
        changed["touched_paths"] = list(_once(context.patterns(path for path in paths if path)))
    for name, given in (("labels", labels), ("requires", requires)):
        if given:
            changed[name] = list(_some(given))
    if hold or no_hold:
        changed["hold"] = hold or ""
    if not changed and not add_dep and not rm_dep:
        raise Usage("what is to change? see task update --help")
    actor = context.actor(required=False)
    context.emit(planning.update(context.store, actor, task_id, changed, add_dep, rm_dep))


# -- looking -----------------------------------------------------------------------------------------------------------


def _statuses(given: str | None) -> list[str]:
    found = given.split(",") if given else []
    for status in found:
        if status not in TASK_STATES:
            from . import meanings

            hint = asked(meanings.state(status, TASK_STATES)) or f"; it is one of {', '.join(TASK_STATES)}"
            raise Usage(f"--status {checks.quoted(status)}: no such status{hint}")
    return found


@command(examples=["task list", "task list --mine", "task list --status failed,deadletter -o id"])
@lists(100)
@option("--status", metavar="S,…", help="of these states")
@option("--owner", type=AGENT, metavar="A", help="of this agent")
@option("--mine", is_flag=True, help="of yourself")
@option("--stage", type=WORD, metavar="S")
@option("--label", type=WORD, metavar="L")
@option("--all", "everything", is_flag=True, help="final ones too")
def list_(context: Context, status: str | None, owner: str | None, mine: bool, stage: str | None,
          label: str | None, everything: bool) -> None:  # fmt: skip
    """List tasks by priority (or `urgency`, that of what waits for them), then age; without --all only those that are not final.

    For a queued task `reason` says whether it is ready, blocked, waiting, held, …, and `why` says by what.
    """
    from mbox.tasks import ready

    if mine and owner:
        raise Usage("--mine, or --owner: not both")
    owner = context.actor().name if mine else owner
    store = context.store
    rows, left = output.limited(ready.rows(store, _statuses(status), owner, stage, label, everything), context.limit)
    listed = ready.listed(store, rows)
    if mine:
        listed = [{name: value for name, value in row.items() if name != "owner"} for row in listed]
    context.emit(listed, "", *NARROW)
    context.left_out(len(rows), left)
    if label is owner is None and (count := ready.of_runs(store)):
        context.say(f"{count} of workflows besides: --label run:RUN lists them, `workflow list` names the runs")


@command(examples=["task show t45", "task show t45 --notes 20"], exits=MISSING)
@shows
@argument("task_id", metavar="ID", type=TASK)
@option("--notes", "count", type=int, metavar="N", default=3, help="the newest N notes (3)")
def show(context: Context, task_id: str, count: int) -> None:
    """Show a task, the time left on its lease, what it waits for, and its newest notes."""
    from mbox.format import places
    from mbox.tasks import ready

    answer = ready.show(context.store, task_id, count)
    if context.full:
        answer = context.store.read(places.task(task_id)) or answer
    context.emit(answer, "task")


@command(
    examples=["task wait t45 t46", "task wait t45 --timeout 10m --status review", "task list -o id | task wait -"],
    exits={1: "one ended otherwise than done (or S)", 3: "no such task", 4: "time ran out"},
)
@words("ids", "ID", TASK)
@timeout
@option("--status", metavar="S", help="until it is in this state, or final")
def wait(context: Context, ids: tuple[str, ...], timeout: float, status: str | None) -> None:
    """Wait until every task has ended, and print how each did."""
    from mbox.tasks import outcomes

    if status is not None and (len(_statuses(status)) != 1 or not status):
        raise Usage(f"--status {checks.quoted(status)}: one state, such as review")
    found, in_time = outcomes.wait(context.store, _once(ids), timeout, status)
    context.emit(found)
    context.flush()
    outcomes.refuse(found, in_time, status)


@command(examples=["task ready", "task ready --explain", "task ready --explain t45"], exits=MISSING)
@lists(100)
@option("--explain", "asked", is_flag=False, flag_value="", type=as_given("task"), metavar="[ID]",
        help="why the others (or this one) are not")  # fmt: skip
def ready(context: Context, asked: str | None) -> None:
    """List what could be claimed now (by you, with --as), next first; a task that a more urgent one waits for (`urgency`)
    is as urgent as that.

    --explain counts by reason, with five examples each: in work, held, blocked (a dependency failed), waiting (for a
    dependency), incapable, reserved (by somebody else); for an ID it also says its place in the queue.
    """
    from mbox.tasks.ready import explain, explain_one, ready

    if asked is None:
        context.emit(ready(context.store, context.agent), "", *NARROW)
    elif asked:
        context.emit(explain_one(context.store, checks.ident(asked), context.agent))
    else:
        context.emit(explain(context.store, context.agent))


@command(
    examples=["task graph", "task graph --format mermaid", "task graph --format svg >graph.svg", "task graph -o json"],
)
@option("--format", "form", metavar="F", help="text (the default), mermaid, dot or svg (by Graphviz)")
@option("--all", "everything", is_flag=True, help="final ones too")
@option("--whole", is_flag=True, help="draw each task in dot and svg, however many")
def graph(context: Context, form: str | None, everything: bool, whole: bool) -> None:
    """Draw what depends on what; -o json, jsonl and yaml give nodes and edges as data, -o id the tasks' ids.

    In dot and svg colour and shape are the status. More than 200 tasks are folded by stage, or by label.
    """
    from mbox.tasks import ready

    if form not in (None, "text", "mermaid", "dot", "svg"):
        raise Usage(f"--format {checks.quoted(form)}: text, mermaid, dot or svg")
    if context.output in ("auto", "table"):
        context.write(ready.graph(context.store, form or "text", everything, whole))
        return
    if form is not None:
        raise Usage(f"--format draws, -o {context.output} gives data: not both")
    if context.output == "env":
        raise Usage("-o env: a graph is no variables; json, jsonl and yaml give it as data")
    found = ready.nodes(context.store, everything)
    context.emit(found["nodes"] if context.output == "id" else found)
