"""The store's own commands: init, status, log, doctor, rebuild, schema, config, completion."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from mbox.errors import MboxError, NotFound, Nothing, Refused, StoreError, did_you_mean

from .context import Context
from .options import argument, changes, command, gone, lists, option, shows
from .table import PROGRAMS, described, group
from .values import as_given, name

if TYPE_CHECKING:
    from mbox.doctor.repair import Mended
    from mbox.doctor.survey import Finding
    from mbox.journal.record import Record
    from mbox.store.store import Actor, Store


@command(examples=["mbox init", "mbox init --here     # in a folder of its own"])
@changes
@option("--here", is_flag=True, help="in this folder, not in the repository's root")
@gone("--track", "documents that follow a branch go back with each checkout, stash and reset, and a task could be claimed "
      "twice; `mbox init` keeps them off your branches, `mbox audit commit` keeps the trail in git")
def init(context: Context, here: bool) -> None:
    """Make .mailbox/ and .tasks/ in the repository's root; running it twice is harmless."""
    from mbox import opening
    from mbox.format import places
    from mbox.git.placement import init_place, tracked

    if context.dry_run:
        folder = init_place(context.cwd, here)
        context.emit({"root": folder, "made": not os.path.isdir(f"{folder}/{places.LOGS}")})
        return
    made = opening.init(context.cwd, here, say=context.say)
    context.closing.append(made.store.close)
    if made.excluded:
        context.say("the store stays out of your branches (.git/info/exclude); `git clean -x` deletes it, "
                    "`mbox audit restore` brings it back as of the last `mbox audit commit`")  # fmt: skip
    if made.adopted:
        context.say(f"{made.adopted} documents that stood there without a journal were adopted")
    if off := tracked(made.store.root):
        context.say(f"your branch holds documents of the store, which must not follow it: `{off}`, then commit that; "
                    "the files stay")  # fmt: skip
    context.emit({"root": made.store.root, "made": made.fresh})


@command(examples=["mbox status"])
def status(context: Context) -> None:
    """What is going on, and the one reason for each thing that does not move. On a terminal what needs you comes first."""
    from mbox.report.status import look

    found = look(context.store)
    if not context.for_person:
        context.emit(found.answer)
        return
    from .screens import status

    context.write(status(found.answer, [(one.needs_person, one.text) for one in found.why]))


@command(examples=["mbox me", "mbox me --as ann"], exits={3: "not registered"})
def me(context: Context) -> None:
    """Who I am, my mail, questions that I owe an answer (`to_answer`) and that I asked (`asks`), what I hold, and the
    next command for each; in 1,500 bytes, `left_out` counts what is not shown."""
    from mbox.report.status import me

    context.emit(me(context.store, context.actor()))


@command(examples=["mbox primer --as ann", "mbox primer --role reviewer"], exits={3: "not registered"})
@option("--role", type=name("role"), metavar="R", help="for this role instead of your own: worker, reviewer, orchestrator, …")
def primer(context: Context, role: str | None) -> None:
    """What a new agent must know: who it is, its ten commands, the rules. At most 2,500 bytes; each role has its own."""
    from mbox.agents import registry
    from mbox.report.primer import primer
    from mbox.system import executables

    agent = context.agent or ""
    own = registry.require(context.store, context.store.read, agent)["role"] if agent else registry.USUAL
    text = primer(agent or "NAME", role or own, executables.ours("mbox"))
    if context.output in ("auto", "table"):
        context.write(text)
    else:
        context.emit({"agent": agent, "role": role or own, "text": text})


@command(
    examples=["mbox log --task t45", "mbox log --since 2h --op task.", "mbox log --follow --agent ann"],
    exits={6: "the store, or it vanished while following"},
)
@option("--follow", is_flag=True, help="go on with what comes")
@option("--since", metavar="D|SEQ|TIME", help="2h, 1200, or 2026-01-02T03:04:05Z")
@option("--agent", "about", metavar="A", help="by, or about, this agent")
@option("--task", "task", type=as_given("task"), metavar="T", help="about this task")
@option("--op", metavar="O", help="an operation, or its beginning: task.")
@shows
@lists(100)
def log(context: Context, follow: bool, since: str | None, about: str, task: str, op: str) -> None:
    """Who did what, when and why: the journal, newest last; on a terminal with the titles of tasks and messages."""
    from mbox.report import history

    store = context.store
    start = history.since(since, store.host.wall()) if since else history.RecordFilter()
    wanted = start._replace(agent=about or "", task=task or "", op=_op(op))
    place = store.end()
    found, more = history.newest(store, wanted, context.limit)
    titles = history.Titles(store) if context.for_person and not context.full else None

    def row(record: Record) -> dict[str, object]:
        """What is printed of a record: for a person also what it is about is called."""
        if context.full:
            return record
        return history.row(record) | ({"title": titles.of(record)} if titles else {})

    rows = list(map(row, found))
    if not follow:
        context.emit(rows, "", "title")
    for one in rows if follow else ():
        context.stream(one, "", "title")
    if more:
        context.say(
            f"older records were left out: --limit 0 for all, --since {found[0]['seq'] - 1} for these"
        )
    if follow:
        from mbox.store.waiting import Watch, journal_paths

        with Watch(store, lambda: journal_paths(store)) as watch:
            for record in history.follow(store, wanted, place, watch):
                context.stream(row(record), "", "title")


def _op(op: str | None) -> str:
    """An operation, or its beginning: a word alone is a noun."""
    return f"{op}." if op and "." not in op and not op.endswith("*") else op or ""


@command(
    examples=["mbox doctor", "mbox doctor --repair", "mbox doctor --hooks"],
    exits={1: "something is wrong", 6: "the store cannot be read"},
)
@changes
@option("--repair", "wanted", is_flag=True, help="put back what is the toolkit's own, adopt edits, quarantine the rest")
@option("--hooks", is_flag=True, help="try each program's hooks, and say what is in their way")
def doctor(context: Context, wanted: bool, hooks: bool) -> None:
    """Compare documents and journal; find foreign, corrupt and missing files; look at the machine.

    --hooks runs each hook that stands in an agent program's settings, and looks for what keeps it from running.
    """
    from mbox.doctor import machine
    from mbox.doctor.repair import foreseen, repair
    from mbox.doctor.survey import survey

    context.as_it_stands = True
    store = context.store
    context.acts = context.acts and wanted
    if not wanted and not context.dry_run:
        try:
            if not store.is_in_order():
                store.catch_up(store.patience)
        except StoreError as error:  # the survey says how the files stand
            context.say(f"{error}; the files are compared as they stand")
    would = foreseen(store) if wanted and context.dry_run else []
    for finding in would:
        context.say(f"would be mended: {finding.kind} {finding.path}")
    mended = repair(store, _mender(context)) if wanted and not context.dry_run else []
    mended += _freed(store) if wanted and not context.dry_run else []
    mended += _launcher(store) if wanted and not context.dry_run else []
    for done in mended:
        context.say(f"{done.path}: {done.did}")
    found = survey(store)
    findings = [*machine.look(store, context.found.warnings), *(one for one in found.findings if one not in would),
                *_repository(store), *_hooks(store, hooks)]  # fmt: skip
    answer = {"root": store.root, "found_by": context.found.how, "clean": not any(f.bad for f in findings),
              "records": found.records, "documents": found.documents, "seq": found.tail.seq,
              "mended": len(mended) + len(would), "did": [done.row() for done in mended],
              "findings": [finding.row() for finding in findings]}  # fmt: skip
    context.emit(answer)
    if not answer["clean"]:
        bad = [finding for finding in findings if finding.bad]
        for finding in bad[1:] if hooks else ():  # whole: a table cuts what is to be done
            context.say(f"{finding.path}: {finding.problem}")
        raise Nothing(f"{len(bad)} findings, the first: {bad[0].path or store.root}: {bad[0].problem}"
                      + ("" if wanted else "; `mbox doctor --repair` mends what has one right answer"))  # fmt: skip


def _repository(store: Store) -> list[Finding]:
    """What of the repository is in the store's way, or has what is the store's."""
    from mbox.doctor.survey import Finding
    from mbox.git import reflock
    from mbox.git.placement import tracked

    found = []
    if stale := reflock.look(store):
        found.append(Finding("ref", stale.path, stale.problem))
    if off := tracked(store.root):
        found.append(Finding("place", "", f"your branch holds documents of the store: `{off}`, then commit that", False))
    return found


def _hooks(store: Store, everything: bool) -> list[Finding]:
    """What is the matter with the hooks in this project's settings; ``everything`` that is to be said of them."""
    from mbox.doctor.survey import Finding
    from mbox.hooks import probe

    home = os.path.expanduser("~")
    found = probe.look(store.root, home, os.environ) if everything else probe.launched(store.root, home)
    return [Finding("hooks", one.file, f"{one.host}: {one.text}" if one.host else one.text, one.bad) for one in found]


def _launcher(store: Store) -> list[Mended]:
    """The launcher of the hooks, written again where this project's settings call it."""
    from mbox.doctor.repair import Mended
    from mbox.hooks import launcher, probe
    from mbox.system.disk import Disk

    home = os.path.expanduser("~")
    if not probe.launched(store.root, home):
        return []
    launcher.write(home, Disk())
    return [Mended("hooks", launcher.path(home), "written")]


def _freed(store: Store) -> list[Mended]:
    """The lock of git's that a dead audit commit left, removed."""
    from mbox.doctor.repair import Mended
    from mbox.git import reflock

    stale = reflock.look(store, repair=True)
    return [Mended("ref", stale.path, "removed")] if stale and stale.ours else []


def _mender(context: Context) -> Actor:
    """Who mends: the caller's agent, or the user where that one's document is itself among what is to be mended."""
    try:
        return context.actor(required=False)
    except MboxError as error:
        agent, context.agent = context.agent, None
        by = context.actor(required=False)
        context.say(f"{error}: mended by {by.name}, not by {agent}")
        return by


@command(examples=["mbox rebuild"], exits={2: "there are edits by hand"})
@changes
@option("--drop-edits", is_flag=True, help="lose what was edited by hand")
def rebuild(context: Context, drop_edits: bool) -> None:
    """Make all documents again from the journal alone.

    It may take minutes. Others can write meanwhile; Ctrl-C or SIGTERM leaves every document whole.
    """
    from mbox.doctor import repair

    context.as_it_stands = True
    make = repair.rebuilt if context.dry_run else repair.rebuild
    done = make(context.store, drop_edits)
    context.emit({**done._asdict(), "did": [one.row() for one in done.did]})


@command(
    examples=["mbox schema", "mbox schema task", "mbox schema task claim", "mbox schema commands"],
    exits={3: "no such schema"},
)
@argument("words", nargs=-1, metavar="[NAME|commands]")
def schema(context: Context, words: tuple[str, ...]) -> None:
    """The JSON Schema of a document (task), of what a command prints (task claim) or of a workflow's file (workflow), or the
    table of all commands.
    """
    from mbox.format import documents, schemas

    name = " ".join(words).removeprefix("mbox ")
    if name == "commands":
        context.emit(described(), "command")
        return
    known = [*schemas.names(), "workflow", "commands"]
    if not name:
        context.emit([{"name": one} for one in known], "name")
        return
    if name == "workflow":
        from mbox.workflow.schema import schema as of_workflow

        context.write(documents.compact(of_workflow()) + "\n")
        return
    if name not in known:
        raise NotFound(f"no schema {name!r}{did_you_mean(name, known)}")
    context.write(documents.compact(schemas.schema(name)) + "\n")


@command(examples=["mbox config get", "mbox config get lease"], exits={3: "no such setting"})
@argument("key", type=as_given("setting"), required=False)
def config_get(context: Context, key: str | None) -> None:
    """A setting, or all of them, with what they mean."""
    from mbox.config.settings import MAIN, OPTIONS

    current = context.store.config
    keys = [MAIN.get(key, key)] if key else list(OPTIONS)
    rows = [{"key": one, "value": current.get(one), "why": OPTIONS[one].why} for one in keys if one in OPTIONS]
    if not rows:
        raise NotFound(f"no setting {key!r}{did_you_mean(str(key), list(OPTIONS))}")
    context.emit(rows[0] if key else rows, "key")


@command(examples=["mbox config set lease 1h", "mbox config set require_reservation impl,review"])
@changes
@argument("key", type=as_given("setting"))
@argument("value")
def config_set(context: Context, key: str, value: str) -> None:
    """Change a setting; your comments in config.yaml are kept."""
    from mbox.config import file
    from mbox.format import places

    store = context.store
    if context.agent and key.startswith(("guard", "gate")):
        raise Refused(f"{context.agent} is an agent, and what guards it is a person's to say: without MBOX_AGENT")
    with store.locked():
        changed = file.set_value(store.absolute(places.MAILBOX), key, value, store.disk, context.dry_run)
    if key == "guard.deny":
        from mbox.config.settings import OPTIONS

        gone = [rule for rule in OPTIONS[key].default if rule not in changed.guard_deny]
        if gone:
            context.say(f"no longer denied, for the list takes the place of the shipped one: {', '.join(gone)}")
    if key == "gates" and not context.dry_run:
        from mbox.hooks.gates import starts
        from mbox.liveness import trust

        if not context.agent:
            trust.allow(store, starts(changed.gates))
    if key == "private" and changed.private and not context.dry_run:
        store.close_to_others(thoroughly=True)
    context.emit({"key": key, "value": changed.get(key)})


@command(
    examples=['eval "$(mbox completion bash)"', "mbox completion fish > ~/.config/fish/completions/mbox.fish"]
)
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(context: Context, shell: str) -> None:
    """The script that completes mbox, task, reserve, team and workflow in your shell."""
    from click.shell_completion import get_completion_class

    from .completing import Bash

    found = Bash if shell == "bash" else get_completion_class(shell)
    assert found is not None
    for program in PROGRAMS:
        made = found(group(program), {}, program, f"_{program.upper()}_COMPLETE")
        context.write(made.source() + "\n")
