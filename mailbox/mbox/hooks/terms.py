"""What the settings of a store mean to a hook: resolved, and kept where `quick` finds them without a YAML parser.

Promised: ``cache/hook.json`` is written only where it would say something else than it does, and only from a
``config.yaml`` that has stood for longer than a clock's tick, so that one with the same size and time is the same.  It may
be deleted at any time.  Not promised: that a running hook sees a change.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from mbox.config import file as configuration
from mbox.config.file import UNWRITABLE
from mbox.errors import StoreError
from mbox.format import places
from mbox.format.documents import compact
from mbox.store.store import Store

from . import quick, rules

Rule = tuple[str, list[str]]
"""For which role (empty: all), and its words."""


class Terms(NamedTuple):
    """``fails_closed``: what cannot be judged is denied.  ``tools``: tools of MCP servers, with the inputs that are paths."""

    mode: str
    fails_closed: bool
    deny: list[Rule]
    ask: list[Rule]
    tools: dict[str, list[str]]


def of(store: Store) -> Terms:
    """The terms of ``store``."""
    config = store.config
    tools = {words[0]: words[1:] or ["path"] for words in map(str.split, config.guard_tools) if words}
    deny, ask = (list(filter(None, map(_rule, texts))) for texts in (config.guard_deny, config.guard_ask))
    return Terms(config.guard_mode, config.guard_fail == "closed", deny, ask, tools)


def _rule(text: str) -> Rule | None:
    role, colon, words = text.partition(": ")
    if not colon or " " in role:
        role, words = "", text
    found = rules.split(words)
    return (role, found) if found else None


def remember(store: Store, terms: Terms) -> None:
    """Keep ``terms`` for `quick`."""
    path = store.absolute(places.CONFIG)
    stamp = quick.stamp(path)
    if stamp is not None and not configuration.is_settled(stamp[1], store.host.wall()):
        return
    doc = {
        "config": stamp, "fold": store.folds(), "mode": terms.mode, "renew_every": store.config.renew_every,
        "closed": terms.fails_closed, "rules": [[role, words] for role, words in (*terms.deny, *terms.ask)], "tools": terms.tools,
    }  # fmt: skip
    if store.remembered(quick.SETTINGS) == doc:
        return
    try:
        store.put_ephemeral(quick.SETTINGS, compact(doc).encode())
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise StoreError(f"{store.absolute(quick.SETTINGS)}: {os.strerror(error.errno or 0)}") from None
