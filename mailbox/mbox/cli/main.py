"""The entry points, the table of commands, and the one place that turns errors into lines and exit statuses.

Promised: whatever happens ends in a status of the contract's table (or 130 for an interrupt, 141 for a reader
that went away), and an error in exactly one line on stderr that starts with the name of the program; what a
command printed has left the process before it ends.  Not promised: cleaning up by the interpreter (`os._exit`
saves that time); what must be closed waits in `Context.closing`.

Only the module of the command that runs is imported; all that is known of the others is the table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from mbox.format.checks import on_one_line
from mbox.cli import options, output
from mbox.cli.context import Context
from mbox.errors import MboxError, StoreError, did_you_mean

PROGRAMS = ("mbox", "task", "reserve", "team")

Entry = tuple[str, str, str]
"""Where the command is (``module:attribute``, or the name of another table), its help, its heading."""

TABLES: dict[str, dict[str, Entry]] = {
    "mbox": {
        "send": ("mbox.cli.mail:send", "send a message", "Mail"),
        "broadcast": ("mbox.cli.mail:broadcast", "send to everybody (orchestrators)", "Mail"),
        "reply": ("mbox.cli.mail:reply", "answer a message", "Mail"),
        "ask": ("mbox.cli.asks:ask", "send, and wait for the answers", "Mail"),
        "gather": ("mbox.cli.asks:gather", "go on waiting for answers", "Mail"),
        "inbox": ("mbox.cli.inbox:inbox", "list what is unread", "Mail"),
        "read": ("mbox.cli.inbox:read", "take messages out of the inbox", "Mail"),
        "ack": ("mbox.cli.inbox:ack", "acknowledge what was read", "Mail"),
        "show": ("mbox.cli.inbox:show", "show a message again", "Mail"),
        "wait": ("mbox.cli.inbox:wait", "wait for mail", "Mail"),
        "watch": ("mbox.cli.inbox:watch", "a line, or a command, per delivery", "Mail"),
        "thread": ("mbox.cli.inbox:thread", "a conversation in order", "Mail"),
        "search": ("mbox.cli.inbox:search", "find messages by words", "Mail"),
        "deadletter": ("deadletter", "mail that could not be delivered", "Mail"),
        "task": ("task", "tasks: add, claim, done, …", "Tasks and files"),
        "reserve": ("reserve", "reserve files by pattern", "Tasks and files"),
        "lock": ("mbox.cli.lock:lock", "run a command under a named lock", "Tasks and files"),
        "me": ("mbox.cli.store:me", "who am I, what do I hold, what next", "Agents"),
        "agent": ("agent", "register, list, beat, retire", "Agents"),
        "run": ("mbox.cli.run:run", "run an agent's program, and keep it alive", "Agents"),
        "nudge": ("mbox.cli.nudge:nudge", "ring an agent's doorbell in its pane", "Agents"),
        "team": ("team", "teams in tmux: up, status, drain, down, …", "Agents"),
        "watchdog": ("mbox.cli.watchdog:watchdog", "wake, expire and restart what needs it", "Agents"),
        "init": ("mbox.cli.store:init", "make the store in this repository", "Store"),
        "status": ("mbox.cli.store:status", "what goes on, and what does not", "Store"),
        "log": ("mbox.cli.store:log", "who did what, when and why", "Store"),
        "doctor": ("mbox.cli.store:doctor", "check the store and the machine", "Store"),
        "rebuild": ("mbox.cli.store:rebuild", "make all files from the journal", "Store"),
        "schema": ("mbox.cli.store:schema", "JSON Schemas, the list of commands", "Store"),
        "config": ("config", "read and change settings", "Store"),
        "audit": ("audit", "the history in git", "Store"),
        "completion": ("mbox.cli.store:completion", "completion for your shell", "Store"),
    },
    "task": {
        "add": ("mbox.cli.planning:add", "add a task", "Plan"),
        "import": ("mbox.cli.planning:import_", "add all tasks of a file", "Plan"),
        "update": ("mbox.cli.planning:update", "change a task", "Plan"),
        "list": ("mbox.cli.planning:list_", "tasks that are not final", "Look"),
        "show": ("mbox.cli.planning:show", "one task, with its notes", "Look"),
        "ready": ("mbox.cli.planning:ready", "what can be claimed, and why not", "Look"),
        "graph": ("mbox.cli.planning:graph", "what depends on what", "Look"),
        "claim": ("mbox.cli.tasks:claim", "take a ready task", "Work"),
        "renew": ("mbox.cli.tasks:renew", "keep the lease", "Work"),
        "start": ("mbox.cli.tasks:start", "say that work has begun", "Work"),
        "note": ("mbox.cli.tasks:note", "leave a note", "Work"),
        "checkpoint": ("mbox.cli.tasks:checkpoint", "save the state of the work", "Work"),
        "submit": ("mbox.cli.tasks:submit", "hand in for review", "Work"),
        "done": ("mbox.cli.tasks:done", "finish", "Work"),
        "fail": ("mbox.cli.tasks:fail", "give up, with a reason", "Work"),
        "release": ("mbox.cli.tasks:release", "put back in the queue", "Work"),
        "review": ("mbox.cli.tasks:review", "take a task in review", "Review"),
        "approve": ("mbox.cli.tasks:approve", "accept: the task is done", "Review"),
        "reject": ("mbox.cli.tasks:reject", "send back, with a reason", "Review"),
        "requeue": ("mbox.cli.tasks:requeue", "queue again what failed", "Mend"),
        "cancel": ("mbox.cli.tasks:cancel", "end without a result", "Mend"),
        "deadletter": ("task deadletter", "tasks that failed too often", "Mend"),
    },
    "task deadletter": {
        "list": ("mbox.cli.tasks:deadletter_list", "tasks that failed too often", ""),
        "retry": ("mbox.cli.tasks:deadletter_retry", "queue them again", ""),
    },
    "reserve": {
        "add": ("mbox.cli.reserve:add", "reserve patterns (the verb may be left out)", ""),
        "list": ("mbox.cli.reserve:list_", "who holds what", ""),
        "check": ("mbox.cli.reserve:check", "may these paths be changed?", ""),
        "renew": ("mbox.cli.reserve:renew", "keep reservations", ""),
        "release": ("mbox.cli.reserve:release", "give them back", ""),
        "show": ("mbox.cli.reserve:show", "one reservation", ""),
    },
    "team": {
        "up": ("mbox.cli.team:up", "call a team together, or start what is missing", "Lead"),
        "status": ("mbox.cli.team:status", "who is alive, and doing what", "Lead"),
        "attach": ("mbox.cli.team:attach", "look at its panes", "Lead"),
        "lead": ("mbox.cli.team:lead", "make a member the orchestrator", "Lead"),
        "add": ("mbox.cli.team:add", "one more member, also in the file", "Change"),
        "remove": ("mbox.cli.team:remove", "one less, also in the file", "Change"),
        "drain": ("mbox.cli.team:drain", "let it finish, and take no new tasks", "End"),
        "down": ("mbox.cli.team:down", "drain, stop, report", "End"),
        "report": ("mbox.cli.team:report", "what it did, from the journal", "End"),
    },
    "agent": {
        "add": ("mbox.cli.agents:agent_add", "register an agent, or change it", ""),
        "list": ("mbox.cli.agents:agent_list", "who is registered, who is alive", ""),
        "show": ("mbox.cli.agents:agent_show", "one agent", ""),
        "beat": ("mbox.cli.agents:agent_beat", "say that it is alive", ""),
        "retire": ("mbox.cli.agents:agent_retire", "take it out: no mail, no claims", ""),
    },
    "deadletter": {
        "list": ("mbox.cli.deadletters:deadletter_list", "dead letters, with the reason", ""),
        "show": ("mbox.cli.deadletters:deadletter_show", "one dead letter", ""),
        "retry": ("mbox.cli.deadletters:deadletter_retry", "deliver again", ""),
        "purge": ("mbox.cli.deadletters:deadletter_purge", "remove for good", ""),
    },
    "config": {
        "get": ("mbox.cli.store:config_get", "a setting, or all, explained", ""),
        "set": ("mbox.cli.store:config_set", "change a setting", ""),
    },
    "audit": {
        "commit": ("mbox.cli.audit:commit", "put the journal and documents on the git ref", ""),
        "log": ("mbox.cli.audit:log", "the commits of that ref", ""),
        "grep": ("mbox.cli.audit:grep", "search in them", ""),
        "restore": ("mbox.cli.audit:restore", "fill an empty store from them", ""),
    },
}

ABOUT = {
    "mbox": "Mail, tasks and file reservations for agents that share a repository.",
    "task": "Tasks: added, claimed by exactly one, done.",
    "task deadletter": "Tasks that failed too often.",
    "reserve": "Reserve files by pattern, so that no two agents change them at once.",
    "team": "Teams of agents in tmux: called together, watched, dismissed.",
    "agent": "Agents: who is registered, who is alive.",
    "deadletter": "Mail that could not be delivered or read.",
    "config": "Settings, kept in .mailbox/config.yaml.",
    "audit": "The history on a git ref of its own.",
}

EVERY = (
    "Every command takes --help, --as AGENT (else MBOX_AGENT), --root DIR (else MBOX_ROOT), --quiet and "
    f"-o {'|'.join(output.FORMATS)}."
)
EXITS = (
    "Exit: 0 done, 1 nothing there or check says no, 2 wrong call or refused, 3 not found, 4 time ran out, "
    "5 not yours, 6 the store."
)


# -- groups --------------------------------------------------------------------------------------------------


class Table(click.Group, options.Helpful):
    """The commands of a table; each is imported when it is called, and not before."""

    def __init__(self, name: str) -> None:
        super().__init__(name.rpartition(" ")[2], help=ABOUT.get(name))
        self.table = name

    @property
    def entries(self) -> dict[str, Entry]:
        return TABLES[self.table]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.entries:
            return None
        module, colon, attribute = self.entries[cmd_name][0].partition(":")
        if not colon:
            return table(module)
        __import__(module)
        body: options.Body = getattr(sys.modules[module], attribute)
        return body.command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.entries and ctx.resilient_parsing:
            return None, None, []
        if args[0] not in self.entries and not args[0].startswith("-"):
            raise click.UsageError(f"no such command '{args[0]}'{self.nearest(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The commands; the values of a shared option that stands before them; files, where it is neither."""
        from mbox.cli.completing import files, values

        wants = ctx.meta.get("mbox.wants")
        for kind, names, settings in options.EVERY if wants else ():
            if wants in names:
                return values(ctx, kind(names, **settings), incomplete)
        return super().shell_complete(ctx, incomplete) or files(incomplete)

    def nearest(self, name: str) -> str:
        """Where the command ``name`` might be instead."""
        homes = [home for home, entries in TABLES.items() if name in entries and " " not in home]
        paths = [f"{home} {name}" if home in PROGRAMS else f"mbox {home} {name}" for home in homes]
        if name == "help":
            return "; --help lists them"
        return f"; did you mean {', '.join(paths)}?" if paths else did_you_mean(name, list(self.entries))

    def arrange(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``args`` with the command first, and the shared options that stood before it behind it."""
        before, rest = leading(args, options.WORDS)
        if ctx.resilient_parsing and not rest and before and options.WORDS.get(before[-1]):
            ctx.meta["mbox.wants"] = before[-1]
        rest = rest[1:] if rest[:1] == ["--"] else rest
        return rest if not rest or rest[0].startswith("-") else [rest[0], *before, *rest[1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = self.arrange(ctx, args)
        if not args and not ctx.resilient_parsing:
            if sys.stdout is not None and sys.stdout.isatty():  # a person; a program gets the one line
                output.write(ctx.get_help() + "\n")
                raise click.UsageError("which command?", ctx)
            raise click.UsageError(f"which command? {', '.join(self.entries)}", ctx)
        return super().parse_args(ctx, args)

    def main(self, args: Any = None, prog_name: str | None = None, **_: Any) -> NoReturn:  # type: ignore[override]
        """As `click.Group.main`, with this module's errors and statuses: what click's test runner calls."""
        words = sys.argv[1:] if args is None else list(args)
        raise SystemExit(run(self, prog_name or self.name or "mbox", words))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        wide = max(map(len, self.entries))
        heading = None
        for name, (_, about, under) in self.entries.items():
            if under != heading:
                heading = under
                formatter.write(f"\n{under or 'Commands'}:\n")
            formatter.write(f"  {name:{wide}}  {about}\n")
        formatter.write_paragraph()
        formatter.write_text(f"{EVERY}\n\n{EXITS}")


class Reserve(Table):
    """``reserve PATTERN…`` is ``reserve add PATTERN…`` unless the first word is exactly one of the verbs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.subcommand_metavar = "[add] PATTERN... | COMMAND [ARGS]..."

    def arrange(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args == ["--help"]:
            return args
        add = self.get_command(ctx, "add")
        assert add is not None
        before, rest = leading(args, {**options.WORDS, **_words_of(add)})
        if rest[:1] == ["--help"]:
            return rest
        return [rest[0], *before, *rest[1:]] if rest and rest[0] in self.entries else ["add", *before, *rest]


def table(name: str) -> Table:
    """The group of the commands in ``TABLES[name]``."""
    return Reserve(name) if name == "reserve" else Table(name)


def described(name: str = "mbox") -> list[dict[str, Any]]:
    """Every command in ``TABLES[name]`` and the tables below it: its call, and what its help says."""
    group = table(name)
    found: list[dict[str, Any]] = []
    for word, (target, about, heading) in group.entries.items():
        if ":" not in target:
            found += described(target)
            continue
        made = group.get_command(click.Context(group), word)
        assert isinstance(made, options.Command)
        home = name if name.split()[0] in PROGRAMS else f"mbox {name}"
        found.append({"command": f"{home} {word}", "about": about, "heading": heading, **made.described()})
    return found


def leading(args: list[str], words: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The options that ``args`` starts with, and the rest; ``words``: how many words follow each option."""
    at = 0
    while at < len(args):
        word = args[at]
        name = word if word in words else word.partition("=")[0] if word.startswith("--") else word[:2]
        if name not in words:
            break
        at += 1 + (words[name] if word == name else 0)
    return args[:at], args[at:]


def _words_of(command: click.Command) -> dict[str, int]:
    made = [one for one in command.params if isinstance(one, click.Option)]
    return {
        name: 0 if one.is_flag else one.nargs for one in made for name in (*one.opts, *one.secondary_opts)
    }


# -- one call ------------------------------------------------------------------------------------------------


def run(group: Table, program: str, args: list[str]) -> int:
    """Run one call; its exit status, once its output has left and what it opened is closed.  Never raises."""
    context = Context()
    status = _step(program, lambda: _perform(group, program, args, context))
    status = _step(program, context.close, status)
    return _step(program, output.flush, status)


def _step(program: str, step: Callable[[], int | None], status: int = 0) -> int:
    """Do ``step``; ``status``, or its own if that is 0.  Of a call only the first error is told."""
    try:
        own = step() or 0
    except BaseException as error:  # noqa: BLE001 - everything that is raised ends up here and is told
        own = 0 if status else _report(program, error)
    return status or own


def _perform(group: Table, program: str, args: list[str], context: Context) -> int:
    variable = f"_{program.upper()}_COMPLETE"
    asked = os.environ.get(variable)
    if asked:
        from click.shell_completion import shell_complete

        return shell_complete(group, {"obj": context}, program, variable, asked)
    if args == ["--version"]:
        from mbox import __version__

        output.write(f"{program} {__version__}\n")
        return 0
    with group.make_context(program, args, obj=context) as ctx:
        return _status(group.invoke(ctx))


def _status(returned: Any) -> int:
    """What a command returned as an exit status: None is 0, and -N, from `subprocess`, death by signal N."""
    if type(returned) is not int:
        return 0
    return 128 - returned if returned < 0 else returned & 0xFF


# -- errors --------------------------------------------------------------------------------------------------


def _report(program: str, error: BaseException) -> int:
    """Tell ``error`` in one line; its exit status."""
    status, line = explained(error, program)
    if os.environ.get("MBOX_DEBUG") and status == StoreError.exit:
        from traceback import format_exception

        output.say("".join(format_exception(error)))
    if line:
        output.say(on_one_line(f"{program}: {line}"))
    return status


def explained(error: BaseException, program: str = "") -> tuple[int, str]:
    """The exit status for ``error`` and the line that tells it; no line where there is nothing to tell."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code, ""
        case SystemExit():
            return _status(error.code), ""
        case MboxError():
            return error.exit, str(error)
        case click.ClickException():
            return 2, _usage(error, program)
        case BrokenPipeError():
            return 141, ""
        case KeyboardInterrupt() | click.Abort():
            return 130, ""
        case OSError():
            return StoreError.exit, _system(error)
        case _:
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            return StoreError.exit, (
                f"internal error: {what}; what was done is in `mbox log`; MBOX_DEBUG=1 shows the traceback"
            )


def _usage(error: click.ClickException, program: str) -> str:
    """A wrong call, with the command it was for and where its help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    ctx = getattr(error, "ctx", None)
    if ctx is None:
        return message
    command = ctx.command_path.removeprefix(program).strip()
    return f"{f'{command}: ' if command else ''}{message} ({ctx.command_path} --help)"


def _system(error: OSError) -> str:
    """What the system refused, on which file, and the mend."""
    from mbox.faults import failure

    where = f"{error.filename}: " if error.filename else ""
    after = "; what was done stays done" if error.filename == output.STDOUT else ""
    return f"{where}{failure(error)}{after}"


# -- entry points --------------------------------------------------------------------------------------------


def enter(program: str, args: list[str]) -> NoReturn:
    """Be the process ``program``."""
    _occupy_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    status = run(table(program), program, args)
    os._exit(status)


def _occupy_descriptors() -> None:
    """Open what the caller closed of stdin, stdout, stderr: no file of the store may become one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)


def mbox() -> NoReturn:
    """The command ``mbox``."""
    enter("mbox", sys.argv[1:])


def task() -> NoReturn:
    """The command ``task``."""
    enter("task", sys.argv[1:])


def reserve() -> NoReturn:
    """The command ``reserve``."""
    enter("reserve", sys.argv[1:])


def team() -> NoReturn:
    """The command ``team``."""
    enter("team", sys.argv[1:])


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PROGRAMS:
        enter(sys.argv[1], sys.argv[2:])
    output.say(f"python -m mbox.cli.main {'|'.join(PROGRAMS)} …")
    sys.exit(2)
