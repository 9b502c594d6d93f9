"""`mbox run`: the wrapper under which any agent program runs."""

from __future__ import annotations

import os

from mbox.errors import Usage
from mbox.liveness.watchdog import start_watchdog

from .context import Context
from .options import command, option


@command(
    examples=[
        "mbox run --as ann -- claude --model opus",
        "mbox run --as bob --sandbox 'bwrap --dev-bind / /' -- codex",
    ],
    exits={3: "no such agent", 5: "it runs already, or another process took the name over", 126: "CMD cannot be run",
           127: "no such CMD"},
    tail="CMD...",
)  # fmt: skip
@option("--sandbox", multiple=True, metavar="LINE", help="bwrap, or a line that stands before CMD, split as a shell does")
@option("--take-over", is_flag=True, help="end whoever runs under that name now")
@option("--no-watchdog", is_flag=True, help="start no watchdog where none is alive")
def run(context: Context, sandbox: tuple[str, ...], take_over: bool, no_watchdog: bool) -> int:
    """Run an agent's program: say that it is alive, renew what it holds, give that back when it ends.

    Begins a new incarnation and sets MBOX_AGENT, MBOX_ROOT and MBOX_INCARNATION. SIGTERM ends the whole
    process group. The exit status is CMD's (128+N where signal N ended it).
    """
    from mbox.agents import registry
    from mbox.liveness import supervisor
    from mbox.store.store import Actor
    from mbox.team import handover, sandboxes, tmux

    if not context.tail:
        raise Usage("which command? mbox run -- CMD...")
    if not context.agent:
        raise context.which_agent()
    agent = registry.require(context.store, context.store.read, context.agent)
    given = handover.taken(os.environ)
    before = _split(sandbox)
    if before == [sandboxes.BWRAP]:  # alone it would have nothing to show its command: the preset is meant
        row = {"sandbox": sandboxes.BWRAP, "host": agent["host"], "command": context.tail}
        before = sandboxes.words(context.store, row, context.cwd, {**os.environ, **given}, given)
    order = supervisor.Order(
        words=context.tail,
        sandbox=before,
        pane=os.environ.get("TMUX_PANE") or None,
        server=tmux.around(),
        take_over=take_over,
        watchdog=None if no_watchdog else lambda: start_watchdog(context.store.root),
    )
    return supervisor.run(context.store, Actor(context.agent), context.agent, order, {**os.environ, **given})


def _split(sandbox: tuple[str, ...]) -> list[str]:
    """The words of one line, which may go on behind a ``\\`` at a line's end; of several ``--sandbox`` each is a word."""
    import re
    import shlex

    if len(sandbox) != 1:
        return [*sandbox]
    try:
        words = shlex.split(re.sub(r"('[^']*'|\\[^\n])|\\\n", r"\1", sandbox[0]))
    except ValueError as error:
        raise Usage(f"--sandbox {sandbox[0]!r}: {str(error).lower()}") from None
    if not words:
        raise Usage("--sandbox: which program? --sandbox 'bwrap --dev-bind / /'")
    return words
