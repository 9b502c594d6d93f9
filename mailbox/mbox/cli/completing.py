"""What the shell completes a value with: names that stand in the store, by file names alone; else files.

Nothing is changed, nothing is said, and whatever is wrong with the store, only files are offered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mbox.cli.context import Context
from mbox.cli.options import AGENT
from mbox.errors import MboxError

if TYPE_CHECKING:
    from mbox.opening import OpenStore

Items = list["CompletionItem[Any]"]

MOST = 200
"""Names offered at most."""


def values(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """What ``param`` could be that begins with ``incomplete``."""
    if isinstance(param.type, click.Choice):
        return param.type.shell_complete(ctx, param, incomplete)
    context = ctx.ensure_object(Context)
    context.quiet = True
    try:
        found = _known(ctx, param, context)
    except (MboxError, OSError):
        found = []
    if found is None:
        return files(incomplete)
    return [CompletionItem(word) for word in found if word.startswith(incomplete)][:MOST]


def files(incomplete: str) -> Items:
    """The shell's own files."""
    return [CompletionItem(incomplete, type="file")]


def _known(ctx: click.Context, param: click.Parameter, context: Context) -> Iterable[str] | None:
    """Every name that ``param`` could be; None where it is none of the store's."""
    from mbox.format import places

    metavar, home = (param.metavar or "").strip("[].") or str(param.name), ctx.command_path.split()
    if param.name == "key" and home[-2:-1] == ["config"]:
        from mbox.config.settings import OPTIONS

        return list(OPTIONS)
    if param.type is AGENT or metavar == "TO":
        return _stems(context.store, places.AGENTS)
    if metavar == "TEAM":
        return _stems(context.store, places.TEAMS)
    if param.name in ("task", "task_id") or (metavar == "ID" and "task" in home):
        return _stems(context.store, places.TASKS)
    if metavar == "ID" and "reserve" in home:
        return _stems(context.store, places.RESERVATIONS)
    if metavar == "ID" and "deadletter" in home:
        return _stems(context.store, places.DEADLETTER)
    if metavar in ("ID", "THREAD"):
        return _mail(context)
    return None


def _stems(store: OpenStore, folder: str) -> list[str]:
    return sorted(name[:-5] for name in store.names(folder) if name.endswith(".json"))


def _mail(context: Context) -> list[str]:
    """What stands in the caller's inbox, the newest first."""
    from mbox.mail import lookup as letters
    from mbox.format import places

    if not context.agent:
        return []
    return sorted(letters.standing(context.store, context.agent), key=places.number, reverse=True)
