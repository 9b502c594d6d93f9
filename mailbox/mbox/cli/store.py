"""The store's own commands: init, status, log, doctor, rebuild, schema, config, completion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from mbox.cli.context import Context
from mbox.cli.options import argument, changes, command, lists, option, shows
from mbox.errors import NotFound, Nothing, Usage, did_you_mean
from mbox.journal.segments import Record


@command(examples=["mbox init", "mbox init --track    # documents are committed like any other file"])
@changes
@option("--here", is_flag=True, help="in this folder, not in the repository's root")
@option("--track", is_flag=True, help="leave the documents to be committed on your branches")
def init(context: Context, here: bool, track: bool) -> None:
    """Make .mailbox/ and .tasks/ in the repository's root; twice is harmless."""
    from mbox import opening, root
    from mbox.format import places

    if context.dry_run:
        folder = root.init_place(context.cwd, here)
        context.emit({"root": folder, "made": not os.path.isdir(f"{folder}/{places.LOGS}")})
        return
    made = opening.init(context.cwd, here, track, say=context.say)
    context.closing.append(made.store.close)
    if made.excluded:
        context.say("the store stays out of your branches (.git/info/exclude); `git clean -x` deletes it, "
                    "`mbox audit restore` brings it back as of the last `mbox audit commit`")  # fmt: skip
    if made.adopted:
        context.say(f"{made.adopted} documents that stood there without a journal were adopted")
    context.emit({"root": made.store.root, "made": made.fresh})


@command(examples=["mbox status"])
def status(context: Context) -> None:
    """What goes on, and for what does not move the one reason why."""
    from mbox.report.status import status as look

    context.emit(look(context.store))


@command(examples=["mbox me", "mbox me --as ann"], exits={3: "not registered"})
def me(context: Context) -> None:
    """Who I am, what I hold, my mail, questions that I owe an answer (`to_answer`) and that I asked (`asks`), and the
    next command for each."""
    from mbox.report.status import me as look

    context.emit(look(context.store, context.actor()))


@command(
    examples=["mbox log --task t45", "mbox log --since 2h --op task.", "mbox log --follow --agent ann"],
    exits={6: "the store, or it vanished while following"},
)
@option("--follow", is_flag=True, help="go on with what comes")
@option("--since", metavar="D|SEQ|TIME", help="2h, 1200, or 2026-01-02T03:04:05Z")
@option("--agent", "about", metavar="A", help="by, or about, this agent")
@option("--task", "task", metavar="T", help="about this task")
@option("--op", metavar="O", help="an operation, or its beginning: task.")
@shows
@lists(100)
def log(context: Context, follow: bool, since: str | None, about: str, task: str, op: str) -> None:
    """Who did what, when and why: the journal, newest last."""
    from mbox.report import history

    store = context.store
    start = history.since(since, store.host.wall(), _seconds) if since else history.Filter()
    wanted = start._replace(agent=about or "", task=task or "", op=op or "")
    place = store.end()
    found, more = history.newest(store, wanted, context.limit)
    rows = [record if context.full else history.row(record) for record in found]
    if not follow:
        context.emit(rows)
    for row in rows if follow else ():
        context.stream(row)
    if more:
        context.say(
            f"older records were left out: --limit 0 for all, --since {found[0]['seq'] - 1} for these"
        )
    if follow:
        for record in _followed(context, history.follow, place, wanted):
            context.stream(record if context.full else history.row(record))


def _followed(context: Context, follow: Any, place: Any, wanted: Any) -> Iterator[Record]:
    from mbox.format import places
    from mbox.system.watch import Watcher

    store = context.store
    folders = [store.absolute(places.LOGS), store.absolute(places.MAILBOX)]
    with Watcher(folders, store.watch_backend, store.config.poll, context.say) as journal:
        yield from follow(store, wanted, place, lambda: journal.wait(5.0))


def _seconds(text: str) -> float:
    from mbox.config.settings import seconds

    return seconds(text)


@command(
    examples=["mbox doctor", "mbox doctor --repair"],
    exits={1: "something is wrong", 6: "the store cannot be read"},
)
@changes
@option("--repair", is_flag=True, help="mend what has one right answer, quarantine the rest")
def doctor(context: Context, repair: bool) -> None:
    """Compare documents and journal; find foreign, corrupt and missing files; look at the machine."""
    from mbox.doctor import survey as module
    from mbox.doctor import machine

    store = context.store
    mended = module.repair(store, context.actor(required=False)) if repair and not context.dry_run else []
    for finding in mended:
        context.say(f"mended: {finding.kind} {finding.path}")
    found = module.survey(store)
    findings = [*machine.look(store), *found.findings]
    answer = {"root": store.root, "found_by": store.found.how, "clean": not any(f.bad for f in findings),
              "records": found.records, "documents": found.documents, "seq": found.tail.seq,
              "mended": len(mended), "findings": [finding.row() for finding in findings]}  # fmt: skip
    context.emit(answer)
    if not answer["clean"]:
        bad = [finding for finding in findings if finding.bad]
        raise Nothing(f"{len(bad)} findings, the first: {bad[0].path or store.root}: {bad[0].problem}"
                      + ("" if repair else "; `mbox doctor --repair` mends what has one right answer"))  # fmt: skip


@command(examples=["mbox rebuild"], exits={2: "edits by hand stand"})
@changes
@option("--drop-edits", is_flag=True, help="lose what was edited by hand")
def rebuild(context: Context, drop_edits: bool) -> None:
    """Make all documents again from the journal alone."""
    from mbox.doctor import survey as module

    if context.dry_run:
        found = module.survey(context.store)
        wrong = [finding.kind for finding in found.findings if finding.bad]
        written, removed = sum(kind != "foreign" for kind in wrong), 0
        context.emit(module.Rebuilt(found.records, found.documents, written, removed)._asdict())
        return
    context.emit(module.rebuild(context.store, drop_edits)._asdict())


@command(
    examples=["mbox schema", "mbox schema task", "mbox schema task claim", "mbox schema commands"],
    exits={3: "no such schema"},
)
@argument("words", nargs=-1, metavar="[NAME|commands]")
def schema(context: Context, words: tuple[str, ...]) -> None:
    """The JSON Schema of a document (task) or of what a command prints (task claim), or the table of all commands."""
    from mbox.format import documents
    from mbox.format import schemas

    name = " ".join(words).removeprefix("mbox ")
    if name == "commands":
        from mbox.cli.main import described

        context.emit(described(), "command")
        return
    if not name:
        context.emit([{"name": one} for one in (*schemas.names(), "commands")], "name")
        return
    if name not in schemas.names():
        raise NotFound(f"no schema {name!r}{did_you_mean(name, [*schemas.names(), 'commands'])}")
    context.write(documents.compact(schemas.schema(name)) + "\n")


@command(examples=["mbox config get", "mbox config get lease"], exits={3: "no such setting"})
@argument("key", required=False)
def config_get(context: Context, key: str | None) -> None:
    """A setting, or all of them, with what they mean."""
    from mbox.config.settings import OPTIONS

    current = context.store.config
    keys = [key] if key else list(OPTIONS)
    rows = [{"key": one, "value": current.get(one), "why": OPTIONS[one].why} for one in keys if one in OPTIONS]
    if not rows:
        raise NotFound(f"no setting {key!r}{did_you_mean(str(key), list(OPTIONS))}")
    context.emit(rows[0] if key else rows, "key")


@command(examples=["mbox config set lease 1h", "mbox config set require_reservation impl,review"])
@changes
@argument("key")
@argument("value")
def config_set(context: Context, key: str, value: str) -> None:
    """Change a setting; your comments in config.yaml are kept."""
    from mbox.config import file as config
    from mbox.format import places

    store = context.store
    with store.locked():
        changed = config.set_value(store.absolute(places.MAILBOX), key, value, store.disk, context.dry_run)
    context.emit({"key": key, "value": changed.get(key)})


@command(
    examples=['eval "$(mbox completion bash)"', "mbox completion fish > ~/.config/fish/completions/mbox.fish"]
)
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(context: Context, shell: str) -> None:
    """The script that completes mbox, task, reserve and team in your shell."""
    from click.shell_completion import get_completion_class

    from mbox.cli.main import table

    found = get_completion_class(shell)
    if found is None:
        raise Usage(f"no completion for {shell}; bash, zsh and fish have one")
    for program in ("mbox", "task", "reserve", "team"):
        made = found(table(program), {}, program, f"_{program.upper()}_COMPLETE")
        script = made.source().replace("complete -o nosort", "complete -o bashdefault -o default -o nosort")
        context.write(script + "\n")
