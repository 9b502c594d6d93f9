"""The watchdog's hands: what is done for it in panes, to processes and in git, because it knows no terminal.

Promised: what `watchdog.Hands` says of each; what a watchdog without a team never does is not loaded.  Not promised:
that a program which was rung for or started does anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbox.format.documents import Document
    from mbox.store.store import Store

    from .handover import Known


class RealHands:
    """Panes, processes and git."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known: Known | None = None

    def nudge(self, agent: Document, status: Document) -> str:
        """Ring in the agent's pane."""
        from mbox.hosts import programs

        from . import doorbell

        host = programs.get(agent["host"])
        if not host.nudge:
            return ""
        with doorbell.turn(self.store, agent["agent"], status, host) as bell:
            return bell.ring()

    def look(self, agent: Document, status: Document) -> tuple[str, str]:
        """Read the agent's pane; nothing is typed."""
        from mbox.hosts import programs

        from . import doorbell

        host = programs.get(agent["host"])
        if host.prompt is None:
            return "", ""
        seen = doorbell.of(self.store, agent["agent"], status, host).overheard()
        return seen.state, seen.words

    def left(self, agent: str) -> bool:
        """What the bell lock says."""
        from . import doorbell

        return doorbell.left(self.store, agent)

    def tidy(self, agent: Document, status: Document) -> str:
        """Take the line away, if it is there."""
        from mbox.hosts import programs

        from . import doorbell

        with doorbell.turn(self.store, agent["agent"], status, programs.get(agent["host"])) as bell:
            return bell.tidy()

    def may_respawn(self, team: Document, member: Document) -> bool:
        """What is remembered outside the store."""
        from mbox.liveness import trust

        return trust.may_start(self.store, *trust.member(team, member))

    def see(self, member: Document) -> None:
        """Note what the member's program was handed, for when it is started again."""
        from .handover import Known

        self.known = self.known or Known(self.store)
        self.known.see(member)

    def respawn(self, team: Document, member: Document) -> str:
        """Start the member's program again, where it was, with what it was handed."""
        from mbox.liveness import trust

        from . import panes

        given = self.known.given(member) if self.known else None
        names = trust.names_handed(self.store, team, member)
        if names and given is None:
            said = ", ".join(names.split())
            return f"this watchdog does not know the {said} that it was given, which is in no file: `team up FILE` starts it"
        return panes.respawn(self.store, team, member, given or {})

    def end_program(self, agent: str, beat: Document) -> list[int]:
        """End what is left of the group."""
        from mbox.liveness import supervisor

        return supervisor.end_program(self.store, agent, beat)

    def errand(self, note: Document) -> str:
        """Start the same command outside of the sandbox in which it was given."""
        from . import errands

        return errands.run(self.store, note)

    def drive(self, run: Document) -> bool:
        """Start an engine, if what is remembered outside the store says so."""
        from mbox.liveness import engines, trust

        if not trust.may_start(self.store, *engines.start_of(self.store, run["run"])):
            return False
        engines.start(self.store.root, run["run"])
        return True

    def audit(self) -> str:
        """Commit, if there is something new."""
        from mbox.git import audit

        made = audit.commit(self.store)
        return "" if made.get("already") else f"{made['records']} records up to {made['seq']}"
