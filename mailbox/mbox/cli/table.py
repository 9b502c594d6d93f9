"""The table of commands: program, group and verb to the function that is its body, the line that tells what it does.

Promised: a command's module is imported when the command is asked for, and not before; the shared options may stand
before a command's name too (`Commands.arrange` moves them behind it).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from . import options, output
from .context import Context

PROGRAMS = ("mbox", "task", "reserve", "team", "workflow")


UNLISTED = "Programs"
"""The heading of commands that only programs call: `mbox --help` only names them."""

Entry = tuple[str, str, str]
"""Where the command is (``module:attribute``, or the name of another table), its help, its heading."""


TABLES: dict[str, dict[str, Entry]] = {
    "mbox": {
        "send": ("mbox.cli.mail:send", "send a message", "Mail"),
        "broadcast": ("mbox.cli.mail:broadcast", "send to everybody (orchestrators)", "Mail"),
        "reply": ("mbox.cli.mail:reply", "answer a message", "Mail"),
        "ask": ("mbox.cli.mail:ask", "send, and wait for the answers", "Mail"),
        "gather": ("mbox.cli.mail:gather", "go on waiting for answers", "Mail"),
        "inbox": ("mbox.cli.inbox:inbox", "list what is unread", "Mail"),
        "read": ("mbox.cli.inbox:read", "take messages out of the inbox", "Mail"),
        "ack": ("mbox.cli.inbox:ack", "acknowledge what was read", "Mail"),
        "show": ("mbox.cli.inbox:show", "show a message again", "Mail"),
        "wait": ("mbox.cli.inbox:wait", "wait for mail", "Mail"),
        "watch": ("mbox.cli.inbox:watch", "a line, or a command, per delivery", "Mail"),
        "thread": ("mbox.cli.inbox:thread", "a conversation in order", "Mail"),
        "search": ("mbox.cli.inbox:search", "find messages by words", "Mail"),
        "deadletter": ("deadletter", "what was not delivered", "Mail"),
        "task": ("task", "tasks: add, claim, done, …", "Tasks and files"),
        "reserve": ("reserve", "reserve files by pattern", "Tasks and files"),
        "lock": ("mbox.cli.lock:lock", "run under a named lock", "Tasks and files"),
        "me": ("mbox.cli.store:me", "who am I, what do I hold, what next", "Agents"),
        "primer": ("mbox.cli.store:primer", "what a new agent must know", "Agents"),
        "card": ("mbox.cli.hook:card", "what an agent needs to go on", "Agents"),
        "hooks": ("hooks", "make agent programs obey", "Agents"),
        "agent": ("agent", "register, list, beat, retire", "Agents"),
        "run": ("mbox.cli.run:run", "run an agent's program", "Agents"),
        "nudge": ("mbox.cli.nudge:nudge", "ring an agent's doorbell", "Agents"),
        "team": ("team", "teams in tmux: up, status, down, …", "Agents"),
        "workflow": ("workflow", "workflows: run, show, answer, …", "Agents"),
        "watchdog": ("mbox.cli.watchdog:watchdog", "wake and restart what needs it", "Agents"),
        "init": ("mbox.cli.store:init", "make the store here", "Store"),
        "status": ("mbox.cli.store:status", "what goes on, and what does not", "Store"),
        "log": ("mbox.cli.store:log", "who did what, when and why", "Store"),
        "doctor": ("mbox.cli.store:doctor", "check the store and the machine", "Store"),
        "rebuild": ("mbox.cli.store:rebuild", "make all files from the journal", "Store"),
        "schema": ("mbox.cli.store:schema", "JSON Schemas", "Store"),
        "config": ("config", "settings", "Store"),
        "audit": ("audit", "the history in git", "Store"),
        "trust": ("mbox.cli.trust:trust", "what the store may start by itself", "Store"),
        "completion": ("mbox.cli.store:completion", "for your shell", "Store"),
        "hook": ("mbox.cli.hook:hook", "answer an agent program's hook", UNLISTED),
        "mcp": ("mbox.cli.mcp:mcp", "tools for agents without a shell", UNLISTED),
    },
    "task": {
        "add": ("mbox.cli.planning:add", "add a task", "Plan"),
        "import": ("mbox.cli.planning:import_", "add all tasks of a file", "Plan"),
        "update": ("mbox.cli.planning:update", "change a task", "Plan"),
        "list": ("mbox.cli.planning:list_", "tasks that are not final", "Look"),
        "show": ("mbox.cli.planning:show", "one task, with its notes", "Look"),
        "ready": ("mbox.cli.planning:ready", "what can be claimed, and why not", "Look"),
        "graph": ("mbox.cli.planning:graph", "what depends on what", "Look"),
        "wait": ("mbox.cli.planning:wait", "wait until tasks have ended", "Look"),
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
    "workflow": {
        "run": ("mbox.cli.runs:run", "take a workflow from its first step to its end", "Go"),
        "resume": ("mbox.cli.runs:resume", "go on after a crash, a pause, an answer, a limit", "Go"),
        "pause": ("mbox.cli.runs:pause", "start nothing more", "Go"),
        "cancel": ("mbox.cli.runs:cancel", "end a run and its tasks", "Go"),
        "answer": ("mbox.cli.runs:answer", "answer what a run asks", "Go"),
        "tell": ("mbox.cli.runs:tell", "say something to whoever does a step", "Go"),
        "list": ("mbox.cli.runs:list_", "runs that go on or stand still", "Look"),
        "show": ("mbox.cli.runs:show", "how a run stands", "Look"),
        "watch": ("mbox.cli.runs:watch", "a line for each step that is left", "Look"),
        "logs": ("mbox.cli.runs:logs", "the journal's records of a run", "Look"),
        "explain": ("mbox.cli.runs:explain", "why a step went where it went", "Look"),
        "report": ("mbox.cli.runs:report", "what steps took and cost", "Look"),
        "replay": ("mbox.cli.runs:replay", "decide every edge once more", "Look"),
        "lint": ("mbox.cli.workflow:lint", "what does not hold in a file", "Files"),
        "graph": ("mbox.cli.workflow:graph", "the steps, and where each may lead", "Files"),
        "compile": ("mbox.cli.workflow:compile_", "what hooks alone can hold an agent to", "Files"),
        "work": ("mbox.cli.runs:work", "do one task of a run (for its workers)", "Programs"),
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
    "hooks": {
        "install": ("mbox.cli.hooks:install", "into programs' settings, or git's hooks", ""),
        "remove": ("mbox.cli.hooks:remove", "take them out again", ""),
        "status": ("mbox.cli.hooks:status", "how they stand", ""),
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
    "workflow": "Workflows: steps that agents take, and what comes next.",
    "agent": "Agents: who is registered, who is alive.",
    "deadletter": "Mail that could not be delivered or read.",
    "hooks": "Our lines in the settings of agent programs, and in git's hooks.",
    "config": "Settings, kept in .mailbox/config.yaml.",
    "audit": "The history on a git ref of its own.",
}

TAKES = (
    "Every command takes --help, --as AGENT (else MBOX_AGENT), --root DIR (else MBOX_ROOT), --quiet and "
    f"-o {'|'.join(output.FORMATS)} (--json)."
)
"""What the help of every group ends with."""

ENDS = (
    "Exit: 0 done, 1 nothing there or check says no, 2 wrong call or refused, 3 not found, 4 time ran out, "
    "5 not yours, 6 the store, 74 done but the answer could not be written."
)
"""What every command's exit status means; it stands once, in the help of `mbox`."""


# -- groups --------------------------------------------------------------------------------------------------


class Commands(click.Group, options.Helpful):
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
            return group(module)
        __import__(module)
        body: options.Body = getattr(sys.modules[module], attribute)
        return body.command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.entries and ctx.resilient_parsing:
            return None, None, []
        if args[0] not in self.entries and not args[0].startswith("-"):
            raise click.UsageError(f"no such command '{args[0]}'{self.nearest(args[0], ctx.command_path)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The commands; the values of a shared option that stands before them; files, where it is neither."""
        from .completing import files, values

        wants = ctx.meta.get("mbox.wants")
        for kind, names, settings in options.EVERY if wants else ():
            if wants in names:
                return values(ctx, kind(names, **settings), incomplete)
        return super().shell_complete(ctx, incomplete) or files(incomplete)

    def nearest(self, name: str, program: str) -> str:
        """Where the command ``name`` might be instead: what it means here, a command elsewhere, the nearest by spelling."""
        from . import meanings

        homes = [home for home, entries in TABLES.items() if name in entries and " " not in home]
        paths = [f"{home} {name}" if home in PROGRAMS else f"mbox {home} {name}" for home in homes]
        meant = meanings.verb(name, program, self.entries) or meanings.elsewhere(name)
        calls = [meant] if meant else paths
        return options.asked(", ".join(calls or meanings.misspelt(name, self.entries)))

    def spelled(self) -> list[str]:
        return [*options.WORDS, "--help", "--version"]

    def asks_for_help(self, args: list[str]) -> bool:
        """Whether the first word is ``help``: ``mbox help task claim`` is ``mbox task claim --help``."""
        return args[:1] == ["help"]

    def arrange(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``args`` with the command first, and the shared options that stood before it behind it."""
        before, rest = leading(args, options.WORDS)
        if ctx.resilient_parsing and not rest and before and options.WORDS.get(before[-1]):
            ctx.meta["mbox.wants"] = before[-1]
        rest = rest[1:] if rest[:1] == ["--"] else rest
        if self.asks_for_help(rest) and not ctx.resilient_parsing:
            return [*rest[1:], "--help"]
        return rest if not rest or rest[0].startswith("-") else [rest[0], *before, *rest[1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = self.arrange(ctx, args)
        if not args and not ctx.resilient_parsing:
            if sys.stdout is not None and sys.stdout.isatty():  # a person; a program gets the one line
                output.write(ctx.get_help() + "\n")
                raise click.UsageError("which command?", ctx)
            raise click.UsageError(f"which command? {', '.join(self.entries)}", ctx)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        wide = max(map(len, self.entries))
        heading = None
        for name, (_, about, under) in self.entries.items():
            if under == UNLISTED and self.table == "mbox":
                continue
            if under != heading:
                heading = under
                formatter.write(f"\n{under or 'Commands'}:\n")
            formatter.write(f"  {name:{wide}}  {about}\n")
        if unlisted := [name for name, (_, _, under) in self.entries.items() if under == UNLISTED and self.table == "mbox"]:
            formatter.write(f"\n{UNLISTED}:\n" + "".join(f"  {name:4}  call this\n" for name in unlisted))
        formatter.write_paragraph()
        formatter.write_text(f"{TAKES}\n\n{ENDS}" if self.table == "mbox" else TAKES)


class Reserve(Commands):
    """``reserve PATTERN…`` is ``reserve add PATTERN…`` unless the first word is exactly one of the verbs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.subcommand_metavar = "[add] PATTERN... | COMMAND [ARGS]..."

    def arrange(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args == ["--help"]:
            return args
        if self.asks_for_help(args) and not ctx.resilient_parsing:
            return [*args[1:], "--help"]
        add = self.get_command(ctx, "add")
        assert add is not None
        before, rest = leading(args, {**options.WORDS, **_words_of(add)})
        if rest[:1] == ["--help"]:
            return rest
        if rest and rest[0] in self.entries:
            return [rest[0], *before, *rest[1:]]
        ctx.ensure_object(Context).verbless = True
        return ["add", *before, *rest]

    def asks_for_help(self, args: list[str]) -> bool:
        return super().asks_for_help(args) and not os.path.lexists("help")


def group(name: str) -> Commands:
    """The commands in ``TABLES[name]``."""
    return Reserve(name) if name == "reserve" else Commands(name)


def described(name: str = "mbox") -> list[dict[str, Any]]:
    """Every command in ``TABLES[name]`` and the tables below it: its call, and what its help says."""
    commands = group(name)
    found: list[dict[str, Any]] = []
    for word, (target, about, heading) in commands.entries.items():
        if ":" not in target:
            found += described(target)
            continue
        made = commands.get_command(click.Context(commands), word)
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
