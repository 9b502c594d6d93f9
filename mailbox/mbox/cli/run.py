"""`mbox run`: the wrapper under which any agent program runs."""

from __future__ import annotations

import os
import signal
import sys

from mbox.cli.context import Context
from mbox.cli.options import command, option
from mbox.errors import Usage


@command(
    examples=[
        "mbox run --as ann -- claude --model opus",
        "mbox run --as bob --sandbox bwrap --sandbox --dev-bind --sandbox / --sandbox / -- codex",
    ],
    exits={3: "no such agent", 5: "it runs already, or another process took the name over", 126: "CMD cannot be run",
           127: "no such CMD"},
    tail="CMD...",
)  # fmt: skip
@option("--sandbox", multiple=True, metavar="WORD", help="a word that stands before CMD; repeat it for each")
@option("--take-over", is_flag=True, help="end whoever runs under that name now")
@option("--no-watchdog", is_flag=True, help="start no watchdog where none is alive")
def run(context: Context, sandbox: tuple[str, ...], take_over: bool, no_watchdog: bool) -> int:
    """Run an agent's program: say that it is alive, renew what it holds, give that back when it ends.

    Begins a new incarnation and sets MBOX_AGENT, MBOX_ROOT and MBOX_INCARNATION. SIGTERM ends the whole
    process group. The exit status is CMD's (128+N where signal N ended it).
    """
    from mbox.team import tmux
    from mbox.liveness import supervisor as wrapper
    from mbox.agents import registry as agents
    from mbox.store.store import Actor

    if not context.tail:
        raise Usage("which command? mbox run -- CMD...")
    if not context.agent:
        raise Usage("which agent? pass --as NAME or set MBOX_AGENT")
    agents.require(context.store, context.store.read, context.agent)
    order = wrapper.Order(
        words=context.tail,
        sandbox=sandbox,
        pane=os.environ.get("TMUX_PANE") or None,
        server=tmux.around(),
        take_over=take_over,
        watchdog=None if no_watchdog else lambda: start_watchdog(context.store.root),
    )
    return wrapper.run(context.store, Actor(context.agent), context.agent, order, os.environ)


def start_watchdog(root: str) -> None:
    """Start `mbox watchdog` on its own; of several that are started at once the lock lets one go on.

    It is nobody's child, so that none has to wait for it, and it gets none of the signals that are blocked here.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            own = ("MBOX_AGENT", "MBOX_INCARNATION")
            environ = {name: value for name, value in os.environ.items() if name not in own}
            words = [sys.executable, "-m", "mbox.cli.main", "mbox", "watchdog", "--root", root, "--quiet"]
            os.execve(words[0], words, environ)
    finally:
        os._exit(0)
