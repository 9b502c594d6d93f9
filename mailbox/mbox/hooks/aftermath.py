"""What a command did that could not be read beforehand: files that others hold, as git and the file system have them.

    before the tool: ``cache/before-NAME.json`` says how each file that another holds stood (those that differ from the commit,
                     and those that are reserved by name), and which call it was
    after the tool:  the same files are looked at again; what is another's and not as it was is told to the agent and, by
                     mail, to its holder, in one record (``guard.wrote``); then the file goes

Where nobody else holds anything, nothing is asked and nothing written.  A crash before the end leaves a file of the cache,
which the next such command replaces; nothing is told then.  Promised: git is asked once before and once after.  Not
promised: whose hand it was, where two work in one tree at the same moment: it is said that a file changed while the command
ran; nor files that git ignores and nobody has reserved by name.
"""

from __future__ import annotations

import json
import os
from typing import Any

from mbox.errors import MboxError
from mbox.format import operations, patterns, places
from mbox.format.documents import Document
from mbox.git import history
from mbox.mail import sending
from mbox.reservations import guard
from mbox.store.store import Actor, Store, Transaction

from . import quick
from .codecs import HostCall, inert
from .denials import cut
from .gitlook import print_of
from .spelling import Ground

MOST = 2000
"""Files that are remembered at most."""

OLD = 86400.0
"""Seconds after which a call that never came back is forgotten."""

LIMIT = 4.0
"""Seconds that git may take: a host waits for its hooks no longer than 15."""

TOLD = 5
"""Files that are named to an agent at most."""


def note(store: Store, who: Actor | None, call: HostCall, known: Ground, line: str) -> None:
    """Before a command: how the files stand that others hold."""
    path = _place(store, who, call)
    others = _others(store, who)
    if not others:
        store.disk.discard(store.absolute(path))
        return
    found = _standing(store, call.cwd, known, others)
    doc = {"line": line[:200], "files": dict(list(found.items())[:MOST])}
    store.put_ephemeral(path, json.dumps(doc).encode())
    _forget_old(store)


def _forget_old(store: Store) -> None:
    """Remove what stands there of calls that never came back: denied by somebody else, or broken off."""
    for name in store.names(places.CACHE):
        path = store.absolute(f"{places.CACHE}/{name}")
        if name.startswith("before-") and store.host.wall() - os.lstat(path).st_mtime > OLD:
            store.disk.discard(path)


def report(store: Store, who: Actor | None, call: HostCall, known: Ground) -> str:
    """After the command: what to say of files that others hold and that are not as they were; empty for none."""
    path = _place(store, who, call)
    before = store.remembered(path)
    if before is None:
        return ""
    others = _others(store, who)
    files: Any = before.get("files")
    if not others or not isinstance(files, dict):
        store.disk.discard(store.absolute(path))
        return ""
    now = _standing(store, call.cwd, known, others, list(files))
    changed = [name for name, print_ in now.items() if (print_ != files[name] if name in files else True)]
    found = {name: doc for name in changed if (doc := _holder(store, others, name)) is not None}
    told = _tell(store, who, str(before.get("line", "")), found) if found else ""
    store.disk.discard(store.absolute(path))
    return told


def _place(store: Store, who: Actor | None, call: HostCall) -> str:
    return os.path.relpath(quick.snapshot(store.root, who.name if who else "", call), store.root)


def _others(store: Store, who: Actor | None) -> list[Document]:
    """Live reservations of others."""
    return [doc for doc in guard.every(store) if (who is None or doc["agent"] != who.name) and guard.left(store, doc) > 0]


def _standing(store: Store, cwd: str, known: Ground, others: list[Document], more: list[str] | None = None) -> dict[str, Any]:
    """The files of others in the tree around ``cwd``: path in the repository → what it is known by, None where it is gone."""
    top = next((top for top in known.tops if cwd == top or os.path.realpath(cwd).startswith(f"{top}/")), store.root)
    names = list(more or [])
    try:
        names += history.uncommitted(history.tree(top), LIMIT)
    except MboxError:
        pass  # no repository: what is reserved by name is all that is known
    names += [text for doc in others for pattern in doc["patterns"] if (text := patterns.unescaped(pattern))]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if name in found or len(found) >= MOST or _holder(store, others, name) is None:
            continue
        found[name] = print_of(os.path.join(top, name))
    return found


def _holder(store: Store, others: list[Document], name: str) -> Document | None:
    """The first of ``others`` that holds the path ``name``."""
    from mbox.format.globs import Effort
    from mbox.reservations.conflicts import READING, stored

    effort = Effort(READING)
    for doc in others:
        if any(stored(store, pattern, effort).matches(name, effort) for pattern in doc["patterns"]):
            return doc
    return None


def _tell(store: Store, who: Actor | None, line: str, found: dict[str, Document]) -> str:
    """One record, a letter to each holder, and what the agent is told."""
    by = who or Actor("hook")
    holders = {doc["agent"]: [name for name, one in found.items() if one["agent"] == doc["agent"]] for doc in found.values()}

    def decide(tx: Transaction) -> None:
        for agent, names in holders.items():
            body = (f"Changed while {by.name} ran a command that could not be read beforehand:\n"
                    + "".join(f"  {cut(name)}\n" for name in names[:50]) + f"The command: {inert(line)}")  # fmt: skip
            sending.system(tx, agent, f"{cut(names[0])} changed, and you hold it", body)
        tx.record(operations.GUARD_WROTE, [*holders, *map(history.shown, list(found)[:50])], f"by a command of {by.name}")

    store.transact(decide, by)
    rows = [f"{cut(name)} ({doc['agent']}, {doc['reservation_id']})" for name, doc in list(found.items())[:TOLD]]
    more = f" and {len(found) - TOLD} more" if len(found) > TOLD else ""
    return (f"While the last command ran, files changed that another agent holds: {', '.join(rows)}{more}. "
            "The holders were told. `git diff -- FILE` shows what changed.")  # fmt: skip


