"""Tools for tests of mail: a store with four agents on a clock that stands still, and the verbs in short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit import FakeHost, journaled, make
from mbox.agents import registry
from mbox.mail import inbox, reading, sending
from mbox.mail.sending import MailDraft
from mbox.opening import assemble
from mbox.store.store import Actor, Store
from mbox.system.disk import Disk

ANN, BOB, CYD, ORC = (Actor(name, 1) for name in ("ann", "bob", "cyd", "orc"))
USER = Actor("user:tess")
Row = dict[str, Any]


def opened(root: Path, host: FakeHost, disk: Disk | None = None) -> Store:
    """The store in ``root`` as a command has it: with its configuration and its sweep."""
    store = assemble(str(root), disk or Disk(), host)
    spoken: list[str] = []
    store.say = spoken.append
    return store


def office(root: Path, host: FakeHost) -> Store:
    """A new store with ann and bob, cyd, a reviewer in team blue, and orc, an orchestrator."""
    make(root, host).close()
    store = opened(root, host)
    registry.add(store, USER, "cyd", {"role": "reviewer", "team": "blue"})
    registry.add(store, USER, "orc", {"role": "orchestrator"})
    return store


def configure(store: Store, **values: Any) -> None:
    """Change what the configuration says, in this process."""
    for name, value in values.items():
        assert hasattr(store.config, name)
        object.__setattr__(store.config, name, value)


def said(store: Store) -> list[str]:
    """What the store has said on stderr."""
    spoken: list[str] = store.say.__self__  # type: ignore[attr-defined]
    return spoken


def send(store: Store, who: Actor, *to: str, reply_to: str | None = None, **draft: Any) -> str:
    """Send a message; its id."""
    return str(sending.send(store, who, to, MailDraft(**{"body": "hello", **draft}), reply_to)["msg_id"])


def take(store: Store, who: Actor, **more: Any) -> Row:
    """Read one message, which is not acknowledged yet."""
    docs = reading.read(store, who, **more)
    assert len(docs) == 1
    return docs[0]


def unread(store: Store, agent: str) -> list[str]:
    """The ids of what is unread, in the order in which it would be read."""
    return [doc["msg_id"] for doc in inbox.unread(store, agent)]


def last(store: Store) -> Row:
    """The newest record."""
    return journaled(store)[-1]
