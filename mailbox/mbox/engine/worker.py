"""A worker: the process under ``mbox run`` that claims one task of a run, runs its host's program, and finishes the task.

1. *claim*, and start at once; where the paths are held it waits.  Killed before: nothing happened.
2. *run*: the prompt goes to ``prompt.md`` in the attempt's work folder, and to the program's stdin.  Killed here: the supervisor
   or the next engine ends the program, and the task costs an attempt.
3. *finish*, in one record, by the claim's own token: done (or handed in, where gates judge it), given up, or handed back with how
   it ended.  Killed before: as in 2.  After: nothing is left to do.
4. Where gates judge it the worker stays, so that the paths stay reserved, until they have, or nobody is there who would.

An engine that dies meanwhile changes nothing of that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mbox.errors import MboxError, Nothing, NotYours, Usage
from mbox.format import places
from mbox.format.documents import ACTIVE, Document, compact
from mbox.hosts import command, ladder
from mbox.hosts.ladder import Worker
from mbox.store import mutex
from mbox.store.transaction import Actor
from mbox.store.waiting import Watch, journal_paths, until
from mbox.system import interpreter
from mbox.system.disk import read_bytes
from mbox.tasks import claims, lifecycle, orders

from . import commands, runs
from .staff import SCRIPTED

if TYPE_CHECKING:
    from mbox.store.store import Store

PATIENCE = 3600.0
"""Seconds that a worker waits for paths which somebody else holds."""

ALONE = 30.0
"""Seconds for which a worker whose task is in review waits for an engine."""

_FILES = {"result": "MBOX_RESULT", "usage": "MBOX_USAGE", "failure": "MBOX_FAILURE"}


def work(store: Store, who: Actor, task_id: str, environ: Mapping[str, str]) -> int:
    """Claim the task, do it, finish it; 0, or the status of why it could not be claimed."""
    token = _claimed(store, who, task_id)
    doc = lifecycle_doc(store, task_id)
    order = doc["order"]
    run = runs.require(store, order["run"])
    began = store.host.mono()
    try:
        outcome = _attempt(store, run, doc, token, environ)
    except Usage as error:
        outcome = {"kind": "transport", "detail": str(error)}
    if outcome["kind"] == "stopped":
        return NotYours.exit
    outcome["seconds"] = round(store.host.mono() - began, 3)
    _finish(store, who, doc, token, outcome)
    if orders.is_judged(doc):
        _stay(store, run["run"], task_id)
    return 0


def lifecycle_doc(store: Store, task_id: str) -> Document:
    """The task, which is an order's."""
    doc = store.read(places.task(task_id))
    if doc is None or not doc.get("order"):
        raise Nothing(f"{task_id} is no task of a run")
    return doc


def _claimed(store: Store, who: Actor, task_id: str) -> int:
    """Claim the task, waiting for its paths; the token."""
    wish = claims.ClaimRequest(start=True)

    def attempt() -> int | None:
        try:
            return int(claims.claim_id(store, who, task_id, wish)["token"])
        except NotYours:
            doc = store.read(places.task(task_id))
            if doc is None or doc["status"] != "queued":
                raise
            return None

    with Watch(store, lambda: journal_paths(store)) as watch:
        token = until(store, watch, attempt, PATIENCE)
    if token is None:
        raise NotYours(f"{task_id}: its paths were held for {PATIENCE:.0f} s")
    return token


def _attempt(store: Store, run: Document, doc: Document, token: int, environ: Mapping[str, str]) -> dict[str, Any]:
    """Run the host's program; how that ended."""
    order = doc["order"]
    at = runs.seat(order["step"], order["visit"], order["item"])
    logs = places.work(run["run"], at, order["attempt"])
    commands.end_left_over(store, f"{run['run']}.{at}")
    store.put_ephemeral(f"{logs}/prompt.md", doc["description"].encode())
    words = _words(store, run, order, logs)
    more = {name: store.absolute(f"{logs}/{key}.json") for key, name in _FILES.items()}
    for path in more.values():
        store.disk.discard(path)
    if order["schema"] is not None:
        store.put_ephemeral(f"{logs}/schema.json", compact(order["schema"]).encode())
        more["MBOX_SCHEMA"] = store.absolute(f"{logs}/schema.json")
    more |= {"MBOX_TASK": doc["task_id"], "MBOX_RUN": run["run"], "MBOX_MODEL": order["model"] or ""}

    def wanted() -> bool:
        now = store.read(places.task(doc["task_id"]))
        return now is not None and now["status"] in ACTIVE and now["token"] == token

    ended = commands.run(store, f"{run['run']}.{at}", words, runs.folder(store.root, run), {**environ, **more}, logs,
                         doc["description"].encode(), order["timeout"], wanted)  # fmt: skip
    if ended.stopped:
        return {"kind": "stopped"}
    if ended.missing:
        return {"kind": "config", "detail": f"host {order['host']}: no program {words[0]!r} here; .mailbox/hosts.yaml names it"}
    if ended.timed_out:
        return {"kind": "timeout", "detail": f"no answer within {order['timeout']:.0f} s"}
    files = {key: _content(more[name]) for key, name in _FILES.items()}
    last = commands.tail_of(store.absolute(f"{logs}/stderr"), 1, 300)
    schema = order["schema"]
    is_text = schema is not None and schema.get("type") == "string" and "enum" not in schema and order["host"] != SCRIPTED
    found = command.outcome(ended.exit, ended.killed, files, schema is not None, is_text, store.host.wall(), last)
    if found["kind"] == "invalid_output" and _size(more["MBOX_RESULT"]) > orders.LARGEST:
        found["detail"] = f"$MBOX_RESULT is over {orders.LARGEST >> 10} KiB: put it in a file and name its path"
    return found


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _content(path: str) -> bytes | None:
    try:
        return read_bytes(path, orders.LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError:
        return b""


def _words(store: Store, run: Document, order: dict[str, Any], logs: str) -> list[str]:
    """The command line of the host that was decided on."""
    if order["host"] == SCRIPTED:
        answer = _answer(store, run, order)
        store.put_ephemeral(f"{logs}/answer.json", json.dumps(answer).encode())
        script = os.path.join(os.path.dirname(os.path.abspath(command.__file__)), "scripted.py")
        return interpreter.script(script, store.absolute(f"{logs}/answer.json"))
    known = ladder.load(store.root).hosts.get(order["host"])
    return command.line(known or Worker(order["host"] or "nobody"), order["model"] or "")


def _answer(store: Store, run: Document, order: dict[str, Any]) -> dict[str, Any]:
    """What the scenario says for this dispatch."""
    made = runs.answers(store.read, runs.root_of(run))
    own = order["item"] is not None and f"{order['step']}/{order['item']}" in made.answers
    found = made.answer(order["step"], order["item"], order["nth"][1 if own else 0])
    if found is None:
        return {"fail": "gave_up"}
    return found


def _finish(store: Store, who: Actor, doc: Document, token: int, outcome: dict[str, Any]) -> None:
    """Say how the attempt ended; who lost the task meanwhile says nothing."""
    ident, kind = doc["task_id"], outcome["kind"]
    usage: dict[str, Any] = {name: outcome[name] for name in ("cost_usd", "tokens", "session", "seconds") if name in outcome}
    try:
        if kind == "done":
            try:
                lifecycle.done(store, who, ident, outcome["result"], token, usage=usage)
                return
            except Usage as error:
                kind, outcome = "invalid_output", {"detail": str(error).removeprefix(f"{ident}: ")}
        if kind == "gave_up":
            lifecycle.fail(store, who, ident, outcome.get("detail") or "given up", token)
            return
        reset = {"reset_at": outcome["reset_at"]} if "reset_at" in outcome else {}
        lifecycle.hand_back(store, who, ident, {"kind": kind, "detail": outcome.get("detail", ""), **reset, **usage}, token)
    except NotYours as error:
        store.say(str(error))


def _stay(store: Store, run: str, task_id: str) -> None:
    """Wait while the task is in review, and an engine is there that may judge it."""
    alone = store.host.mono()

    def look() -> bool | None:
        nonlocal alone
        doc = store.read(places.task(task_id))
        if doc is None or doc["status"] != "review":
            return True
        if mutex.is_held(store, places.run_lock(run)):
            alone = store.host.mono()
        return True if store.host.mono() - alone > ALONE else None

    try:
        with Watch(store, lambda: journal_paths(store)) as watch:
            until(store, watch, look)
    except MboxError:
        return
