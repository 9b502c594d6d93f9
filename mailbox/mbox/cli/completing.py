"""What the shell completes a value with: names that stand in the store, by file names alone; else files.

Of what a value is the name, its type says (`Value.completes`).  Nothing is changed, nothing is said, and where the store
cannot be read none of its names is offered.

Promised: of the store's files only what passes the check of names (`places.is_name`) is offered, so that no file's name
brings a word of the shell, a space or a line break to the command line; what is offered is inserted quoted (zsh and fish
do that, `Bash` says it); and Tab runs the program that the ``PATH`` finds, never one by the path that was typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem

from mbox.errors import MboxError
from mbox.format import places

from .context import Context
from .values import Kind, Value

Items = list["CompletionItem[Any]"]

MOST = 200
"""Names offered at most."""


def values(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """What ``param`` could be that begins with ``incomplete``."""
    if isinstance(param.type, click.Choice):
        return param.type.shell_complete(ctx, param, incomplete)
    kind = param.type.completes if isinstance(param.type, Value) else None
    if kind is None:
        return files(incomplete)
    context = ctx.ensure_object(Context)
    context.quiet = True
    try:
        found = NAMES[kind](context)
    except (MboxError, OSError):
        return []
    return [CompletionItem(word) for word in found if word.startswith(incomplete) and places.is_name(word)][:MOST]


class Bash(BashComplete):
    """click's completion of bash with a script that takes each line as it is and quotes what it inserts."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line value
    COMPREPLY=()
    while read -r line; do
        value=${line#*,}
        case ${line%%%%,*} in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain) printf -v value %%q "$value"; COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete %(prog_name)s)
}

complete -o bashdefault -o default -o nosort -F %(complete_func)s %(prog_name)s
"""


def files(incomplete: str) -> Items:
    """The shell's own files."""
    return [CompletionItem(incomplete, type="file")]


def _names(folder: str) -> Callable[[Context], list[str]]:
    """The names of the documents in ``folder``."""
    return lambda context: sorted(places.idents(context.store.names(folder)))


def _mail(context: Context) -> list[str]:
    """What stands in the caller's inbox, the newest first."""
    from mbox.mail import lookup

    if not context.agent:
        return []
    return sorted(lookup.standing(context.store, context.agent), key=places.number, reverse=True)


def _settings(context: Context) -> list[str]:
    from mbox.config.settings import OPTIONS

    return list(OPTIONS)


NAMES: dict[Kind, Callable[[Context], list[str]]] = {
    "agent": _names(places.AGENTS),
    "deadletter": _names(places.DEADLETTER),
    "message": _mail,
    "reservation": _names(places.RESERVATIONS),
    "run": lambda context: [name for name in context.store.names(places.RUNS) if places.is_name(name)],
    "setting": _settings,
    "task": _names(places.TASKS),
    "team": _names(places.TEAMS),
}
"""What there is of each kind."""
