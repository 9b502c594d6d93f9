"""`mbox hooks install|remove|status`: our lines in the settings of the agent programs, in git's hooks, and what agents read."""

from __future__ import annotations

import os

from mbox.errors import Refused, Usage

from .context import Context
from .options import argument, changes, command, option

MORE = ("git", "skill")
"""What stands for no host: git's own hooks, and the files that agents read."""


def _home() -> str:
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise Usage("HOME is not set: set it to your home folder")
    return home


def _split(hosts: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The hosts, and what else is named."""
    return [host for host in hosts if host not in MORE], [host for host in hosts if host in MORE]


@command(
    examples=["mbox hooks install claude codex", "mbox hooks install --dry-run", "mbox hooks install git skill",
              "mbox hooks install codex --trust   # at a terminal"],
)  # fmt: skip
@changes
@argument("hosts", metavar="[HOST...]", nargs=-1)
@option("--shared", is_flag=True, help="into the team's file, where a program has one for this machine too")
@option("--trust", is_flag=True, help="say yes to them in Codex: a person's, at a terminal")
def install(context: Context, hosts: tuple[str, ...], shared: bool, trust: bool) -> None:
    """Let agent programs call the hooks: claude, codex, gemini, agy, cursor, copilot, qwen, opencode; without a name those that
    are used here. `git` puts them into git's own hooks, `skill` writes what agents read.

    Your settings keep every byte; ours come last. Where no store is, hooks say nothing.
    """
    from mbox.hooks import githooks, installing, skill
    from mbox.hooks import trust as trusting
    from mbox.system.disk import Disk

    named, more = _split(hosts)
    top, disk, home = installing.project(context.cwd), Disk(private=False), _home()
    places = installing.meant(named, top) if named or not more else []
    if not places and not more:
        raise Usage("no agent program is found here: name it, such as `mbox hooks install claude`")
    codex = any(place.host == "codex" for place in places)
    if trust:
        if not codex:
            raise Usage("--trust is about codex: name it")
        trusting.require_person(context.agent or "")
    rows = installing.install(top, places, shared, disk, context.dry_run)
    rows += [installing.launched(home, disk, context.dry_run)]
    if "git" in more:
        rows += githooks.install(context.cwd, context.dry_run, disk)
    if "skill" in more:
        rows += skill.install(top, context.dry_run, disk)
    _emit(context, rows)
    if codex and not context.dry_run:
        trusting.after_install(top, trust, context.say)
    _say_store(context)


def _say_store(context: Context) -> None:
    from mbox.errors import MboxError
    from mbox.opening import find

    try:
        find(context.root, context.stand)
    except MboxError:
        context.say("no store is here yet: the hooks say nothing until `mbox init`")


@command(examples=["mbox hooks remove claude", "mbox hooks remove --dry-run"])
@changes
@argument("hosts", metavar="[HOST...]", nargs=-1)
def remove(context: Context, hosts: tuple[str, ...]) -> None:
    """Take our lines out of the settings of agent programs: of all of them, unless some are named. Yours keep every byte."""
    from mbox.hooks import githooks, installing, skill
    from mbox.hooks.entries import PLACES
    from mbox.system.disk import Disk

    if context.agent:
        raise Refused(f"{context.agent} is an agent, and whether it is guarded is a person's to say: without MBOX_AGENT")
    named, more = _split(hosts)
    top, disk = installing.project(context.cwd), Disk(private=False)
    places = installing.meant(named, top) if named else [] if more else [*PLACES.values()]
    rows = installing.remove(top, places, disk, context.dry_run)
    if "git" in more or not hosts:
        rows += githooks.remove(context.cwd, context.dry_run, disk)
    if "skill" in more or not hosts:
        rows += skill.remove(top, context.dry_run, disk)
    _emit(context, rows)
    context.say(f"the launcher {_home()}/.local/share/mbox/hook stays: other repositories may run it")


@command(examples=["mbox hooks status"])
@argument("hosts", metavar="[HOST...]", nargs=-1)
def status(context: Context, hosts: tuple[str, ...]) -> None:
    """How our lines stand in the settings of each program, in git's hooks, and the launcher. `mbox doctor --hooks` tries them."""
    from mbox.hooks import githooks, installing, launcher, skill
    from mbox.hooks.entries import PLACES

    named, more = _split(hosts)
    top = installing.project(context.cwd)
    places = installing.meant(named, top) if named else [] if more else [*PLACES.values()]
    rows = installing.status(top, places)
    if "git" in more or not hosts:
        rows += githooks.status(context.cwd)
    if "skill" in more or not hosts:
        rows += skill.status(top)
    rows.append({"host": "launcher", "file": launcher.path(_home()), "state": launcher.state(_home())})
    context.emit(rows, keeps="file", gives=("way", "event"))


def _emit(context: Context, rows: list[dict[str, str]]) -> None:
    """The rows; the differences, where it was only tried, as text on stderr."""
    for row in rows:
        if row.get("diff"):
            context.say(row["diff"].rstrip("\n"))
    shown = [{key: value for key, value in row.items() if key != "diff"} for row in rows]
    context.emit(shown, keeps="file", gives=("way", "event", "state"))
