"""`mbox lock`: run a command under a named kernel lock."""

from __future__ import annotations

import os

from mbox.errors import Usage
from mbox.system.clock import inf

from .context import Context
from .options import argument, command, option
from .values import DURATION, name


@command(
    examples=[
        "mbox lock git -- git commit --only src/a.py -m 'Rename x'",
        "mbox lock port-8000 --wait 2m -- ./serve-and-test",
        "mbox lock db --shared -- ./read-only-tests",
    ],
    exits={4: "time ran out", 126: "CMD cannot be run", 127: "no such CMD"},
    tail="CMD...",
)
@argument("lock", metavar="NAME", type=name("lock"))
@option("--wait", type=DURATION, metavar="D", help="how long to wait for it (as long as it takes)")
@option("--shared", is_flag=True, help="together with others that said --shared")
def lock(context: Context, lock: str, wait: float | None, shared: bool) -> int:
    """Run CMD while nobody else runs one under NAME: a port, a database, `git commit`.

    The exit status is CMD's (128+N where signal N ended it). The lock ends with this process, however it
    ends. If this process or CMD is killed, whoever takes the lock next is told: CMD may be half done.
    """
    from mbox.store import mutex
    from mbox.system.command import run, was_killed

    if not context.tail:
        raise Usage(f"which command? mbox lock {lock} -- CMD...")
    runs = os.path.basename(context.tail[0])
    with mutex.held(
        context.store, lock, shared, inf if wait is None else wait, context.say, context.agent or "", runs
    ) as turn:
        status = run(context.tail, context.store.host)
        turn.broken = was_killed(status)
        return status
