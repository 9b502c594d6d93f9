"""`mbox trust`: what this store may start by itself; a yes is a person's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mbox.errors import Nothing, Refused, Usage
from mbox.format.checks import exact

from . import output
from .context import Context
from .options import changes, command, option

if TYPE_CHECKING:
    from mbox.liveness.trust import Start


@command(
    examples=["mbox trust           # shows what waits, and asks", "mbox trust --show", "mbox trust --forget"],
    exits={1: "you did not say yes"},
)
@changes
@option("--show", is_flag=True, help="what it may start, and what waits for a yes")
@option("--forget", is_flag=True, help="take every yes back")
@option("--yes", is_flag=True, help="yes to all that waits, from a person who has no terminal")
def trust(context: Context, show: bool, forget: bool, yes: bool) -> None:
    """What this store may start by itself, such as members of a team that are started again.

    What came with a clone, a copy or a restore waits for a person's yes. It is remembered outside the repository, word for
    word: what has changed since is shown (+ and -) and waits again. `team up FILE` is a yes for FILE. An agent's yes does
    not count.
    """
    from mbox.hooks import gates
    from mbox.liveness import engines
    from mbox.liveness import trust as trusted

    if show + forget + yes > 1:
        raise Usage("--show, --forget or --yes: one of them")
    store = context.store
    if forget:
        gone = sorted(trusted.remembered(store)) if context.dry_run else trusted.forget(store)
        context.emit({"forgot": sorted(gone)})
        return
    asked = trusted.refused(store, [*engines.waiting(store), *gates.waiting(store)])
    context.acts = context.acts and not show and bool(asked)
    if not show and asked:
        _refuse_agent(context)
    for line in trusted.differences(store, asked):
        context.say(exact(line))
    if not show and asked and not context.dry_run:
        _ask(asked, yes, context)
        trusted.allow(store, asked)
        asked = []
    context.emit({"may_start": sorted(trusted.remembered(store)), "waits": [one.what for one in asked]})


def _refuse_agent(context: Context) -> None:
    if context.agent:
        raise Refused(
            f"{context.agent} is an agent, and what a store may start is a person's to say; "
            "ask one to run `mbox trust`, without MBOX_AGENT"
        )


def _ask(asked: list[Start], yes: bool, context: Context) -> None:
    """Return if a person says yes; `Nothing` if not, `Refused` where nobody could be asked."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise Refused("a yes is a person's: run `mbox trust` at a terminal, or with --yes")
    what = "this" if len(asked) == 1 else f"these {len(asked)}"
    output.say(f"may this store start {what} by itself? y for yes, anything else for no:")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Nothing("nothing was changed: you did not say yes")
