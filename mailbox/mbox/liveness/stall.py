"""Whether an agent that is alive does anything: the signs of life that its wrapper can see from above.

A sign is any of: something written to the terminal or the file that the program's output goes to (its time, as the kernel
keeps it); CPU time of the program and of all that carries its variables, more than `SHARE` of the time since the last look;
a record of its own in the journal; a command of ours that waits for it (not one that only stands above another command);
a word from its hooks.

Promised: looking changes nothing; it costs one fstat(2) where the program writes, and else one look through ``/proc``.
What is seen is written with the next beat (``active``), from which everybody tells for how long there was no sign.
Not promised: anything for a ``stalled_after`` under 10 s, because the kernel notes the time of a terminal only every 8; nor
that an agent without a sign hangs: it may wait for a person, or for something far away.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from mbox.format import places
from mbox.system import interpreter, proc, processes

if TYPE_CHECKING:
    from mbox.store.store import Store
    from mbox.store.transaction import Actor
    from mbox.system.processes import Identity

SHARE = 0.01
"""CPU time, as a share of the time that passed, below which a program only idles."""


class Signs:
    """What was last seen of one program; ``active`` is CLOCK_MONOTONIC of the last sign."""

    def __init__(self, store: Store, who: Actor, leader: Identity) -> None:
        self._store, self._who, self._leader = store, who, leader
        self._output = _written()
        self._hooks = self._heard()
        self._end = store.end()
        self._ticks: dict[int, int] = {}
        self.active = self._looked_at = store.host.mono()

    def quiet(self) -> float:
        """Look; for how many seconds there has been no sign."""
        now = self._store.host.mono()
        output, hooks, acted = _written(), self._heard(), self._acted()
        moved = acted or (output, hooks) != (self._output, self._hooks)
        self._output, self._hooks = output, hooks
        if moved or self._works(now - self._looked_at):
            self.active = now
        self._looked_at = now
        return now - self.active

    def stood_still(self) -> None:
        """Everything did: no sign was to be expected."""
        self.active = self._looked_at = self._store.host.mono()

    def _heard(self) -> int:
        """When its hooks last said something."""
        try:
            return os.stat(self._store.absolute(places.status(self._who.name))).st_mtime_ns
        except OSError:
            return 0

    def _acted(self) -> bool:
        """Whether it made a record."""
        start, self._end = self._end, self._store.end()
        name, incarnation = self._who.who
        records = self._store.journal.records(start, self._end)
        return any((record["by"], record["inc"]) == (name, incarnation) for _, record in records)

    def _works(self, seconds: float) -> bool:
        """Whether it used the CPU for some of these ``seconds``, or a command of ours waits for it."""
        name, incarnation = self._who.who
        found = processes.carriers("MBOX_ROOT", self._store.root)
        ours = {pid for pid, marks in found
                if (marks.get("MBOX_AGENT"), marks.get("MBOX_INCARNATION")) == (name, str(incarnation))}  # fmt: skip
        ours |= set(processes.group_members(self._leader.pid))
        before, self._ticks = self._ticks, {pid: proc.cpu_ticks(pid) for pid in ours}
        used = sum(max(0, ticks - before.get(pid, 0)) for pid, ticks in self._ticks.items()) if before else 0
        return used > SHARE * seconds * proc.TICKS or any(map(_waits, ours))


def _written() -> tuple[int, int]:
    """By what it is seen that something was written to where this process's output, and the program's, goes."""
    try:
        info = os.fstat(1)
    except OSError:
        return 0, 0
    known = stat.S_ISREG(info.st_mode) or stat.S_ISCHR(info.st_mode)
    return (info.st_mtime_ns, info.st_size) if known else (0, 0)


def _waits(pid: int) -> bool:
    words = processes.words(pid)
    return bool(words) and "--" not in words and interpreter.is_ours(words) and not processes.is_stopped(pid)
