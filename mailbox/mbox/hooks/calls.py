"""A host's call answered with the store itself: who calls, what its tool may do, what it is told.

What happens at each moment (`codecs`), for a caller with a name; one without is only guarded, and told so once:

    start   the card; mail counts as offered; idle
    prompt  mail that nobody has offered; busy
    before  rules, the write guard, or a denial; before a command that cannot be read, how others' files stand
    after   what such a command did to others' files; mail; in mode ``warn`` who holds what was written
    stop    the gates; what holds the stop once; what was reserved by writing goes back; idle
    end     mail that was read goes back; likewise; ended.  Tasks and reservations wait for their lease

and with each: the heartbeat, and leases that have used a third, renewed (`turn.renew`).

Promised: whatever is wrong with call, input or store, there is an answer: a line in the log of hooks and no opinion, or,
before a tool that may write, the denial, unless ``guard.fail`` is ``open``.  An agent with an older incarnation is denied
writes and told.  Where no store is, nothing is said.  Not promised: that what is logged is ever read: ``mbox doctor
--hooks`` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from mbox import opening
from mbox import root as roots
from mbox.config.settings import Config
from mbox.errors import MboxError, NoStore, failure
from mbox.format import places
from mbox.format.documents import Document
from mbox.store.store import Actor, Store

from . import aftermath, card, codecs, complaints, denials, gates, quick, rules, shell, terms, turn, writes
from .codecs import (
    AFTER,
    BEFORE,
    DONE,
    END,
    FILE,
    IDLE,
    OPAQUE,
    PATCH,
    PROMPT,
    SHELL,
    START,
    STEP,
    STOP,
    SUB_START,
    SUB_STOP,
    HostCall,
    Reply,
)
from .terms import Terms


class Asker(NamedTuple):
    """Who calls: the agent and its document, or nobody; ``stale`` why it may not write any more; ``note`` why it has no name."""

    who: Actor | None
    doc: Document
    stale: str = ""
    note: str = ""

    @property
    def role(self) -> str:
        return str(self.doc.get("role", ""))


class Desk(NamedTuple):
    """One call and all that it takes to answer it."""

    call: HostCall
    store: Store
    caller: Asker
    terms: Terms
    environ: Mapping[str, str]

    @property
    def home(self) -> str:
        return self.environ.get("HOME", "")


def answer(call: HostCall, environ: Mapping[str, str]) -> Reply:
    """The answer to ``call``."""
    if not call.moment or (call.moment == PROMPT and not call.is_real):
        return codecs.silent(call)
    try:
        store = _open(call.cwd, environ, call.moment == END)
        if store is None:
            return codecs.silent(call)
        with closing(store):
            return _answered(call, store, environ)
    except (MboxError, OSError) as error:
        return failed(call, str(error) if isinstance(error, MboxError) else failure(error), environ, quick.fails_closed(call.cwd))


def failed(call: HostCall, why: str, environ: Mapping[str, str], closed: bool = True) -> Reply:
    """The answer where something is wrong, which is logged."""
    complaints.log(f"{call.host.name} {call.event}: {why}", environ)
    if call.moment != BEFORE or not closed or not _may_write(call):
        return codecs.silent(call)
    said = denials.plain(why)[:250]
    return codecs.denied(call, f"mbox cannot judge this call, so it was not made: {said}")


def _may_write(call: HostCall) -> bool:
    """Whether the tool may write, as far as the call itself tells; a line that only reads goes on."""
    if call.error:
        return True
    if call.kind != SHELL:
        return call.kind in (FILE, PATCH, OPAQUE)
    line = codecs.command(call)
    reading = shell.read(line, codecs.stand(call), "", os.path.isdir) if line is not None else None
    if reading is None or reading.writes or reading.patches:
        return True
    return not reading.certain and not all(words[:1] in _OURS for words in reading.commands)


_OURS = [["mbox"], ["task"], ["reserve"], ["team"], ["workflow"]]
"""Commands that mend the store, or say what is wrong with it: they refuse by themselves what may not be."""


WAIT, LAST = 1.5, 0.4
"""Seconds for which a hook waits for a lock that does not move, six times as long for one that does: its host waits 15, at a
session's end 3 to 5."""


def patient(config: Config, wait: float) -> Config:
    """``config``, with no more patience than a host has."""
    said = {name: getattr(config, name) for name in config.__slots__}
    return Config({**said, "lock_wait": min(config.lock_wait, wait)})


def _open(cwd: str, environ: Mapping[str, str], ends: bool = False) -> Store | None:
    """The store for the folder ``cwd``, else the one that ``MBOX_ROOT`` names; None where there is none."""
    for named, start in ((None, cwd), (environ.get("MBOX_ROOT") or None, cwd)):
        try:
            found = roots.find(None, named, start)
        except NoStore:
            continue
        store = opening.assemble(found.path)
        store.config = patient(store.config, LAST if ends else WAIT)
        store.say = lambda text: complaints.log(text, environ)
        store.bring_up(True)
        return store
    return None


def _answered(call: HostCall, store: Store, environ: Mapping[str, str]) -> Reply:
    agreed = terms.of(store)
    terms.remember(store, agreed)
    try:
        desk = Desk(call, store, _caller(store, environ), agreed, environ)
        if call.error:
            return failed(call, call.error, environ, agreed.fails_closed)
        return _ANSWERS[call.moment](desk)
    except (MboxError, OSError) as error:
        why = str(error) if isinstance(error, MboxError) else failure(error)
        return failed(call, why, environ, agreed.fails_closed)


def _caller(store: Store, environ: Mapping[str, str]) -> Asker:
    name, at = environ.get("MBOX_AGENT", ""), environ.get("MBOX_ROOT", "")
    if not name or (at and os.path.realpath(at) != store.root):
        return Asker(None, {}, note="" if name else "MBOX_AGENT is not set")
    doc = store.read(places.agent(name)) if places.is_name(name) else None
    if doc is None or doc["retired_at"]:
        return Asker(None, {}, note=f"{denials.cut(name)} is not registered: `mbox agent add NAME`")
    given = environ.get("MBOX_INCARNATION", "")
    who = Actor(name, doc["incarnation"])
    if given and given != str(doc["incarnation"]):
        stale = (f"This session is incarnation {denials.cut(given)} of {name}, and incarnation {doc['incarnation']} has taken "
                 "over: another process works under this name. Nothing of it is this session's any more.")  # fmt: skip
        return Asker(None, doc, stale)
    return Asker(who, doc)


# -- before a tool ---------------------------------------------------------------------------------------------------


def _before(desk: Desk) -> Reply:
    call, agreed = desk.call, desk.terms
    if call.tool in agreed.tools:
        call.kind, call.keys = FILE, tuple(agreed.tools[call.tool])
    reading = None
    if call.kind == SHELL:
        line = codecs.command(call)
        if line is None:
            return failed(call, "the call has no command line", desk.environ, agreed.fails_closed)
        reading = shell.read(line, codecs.stand(call), desk.home, os.path.isdir)
    if refused := _by_rules(desk, reading):
        return refused
    if desk.caller.stale and _may_write(call):
        return codecs.denied(call, desk.caller.stale)
    why = _by_guard(desk, reading)
    if why:
        return codecs.denied(call, why)
    if agreed.mode != "off" and (call.kind == OPAQUE or (reading is not None and not reading.certain)):
        known = writes.ground(desk.store, desk.home)
        aftermath.note(desk.store, desk.caller.who, call, known, codecs.command(call) or call.tool)
    _keep_up(desk)
    return codecs.silent(call)


def _by_rules(desk: Desk, reading: shell.Reading | None) -> Reply | None:
    """The denial of a tool or a command that nobody in this role may run, or only after a person was asked."""
    call, role = desk.call, desk.caller.role
    for asks, found in ((False, desk.terms.deny), (True, desk.terms.ask)):
        for of, words in found:
            commands = reading.commands if reading else []
            if of in ("", role) and (quick.is_tool(words, call.tool) or any(rules.matches(words, one) for one in commands)):
                rule = denials.cut(" ".join(words))
                if asks:
                    return codecs.denied(call, f"`{rule}` is for a person to say yes to: ask the one you work for.", "ask")
                return codecs.denied(call, f"`{rule}` is not run by agents here (guard.deny in .mailbox/config.yaml). "
                                           "Ask the person you work for.")  # fmt: skip
    tops = writes.ground(desk.store, "").tops
    outside = quick.outside(reading, tops) if reading and desk.terms.mode != "off" else []
    if outside:
        return codecs.denied(call, f"{denials.cut(outside[0])} is outside this repository, and no agent removes a folder there. "
                                   "Ask the person you work for.")  # fmt: skip
    return None


def _nearest(desk: Desk) -> str:
    """The worktree in which the caller stands, else the root."""
    return gates.ground(desk.call.cwd, writes.ground(desk.store, "").tops, desk.store.root)


def _by_guard(desk: Desk, reading: shell.Reading | None) -> str:
    """Why the write guard refuses; what is free is reserved."""
    wanted = _wishes(desk, reading)
    return writes.refusal(desk.store, desk.caller.who, desk.terms.mode, wanted) if wanted else ""


def _wishes(desk: Desk, reading: shell.Reading | None) -> list[writes.Wish]:
    """What the call would write, as far as that can be read; `MboxError` where a file tool names no path."""
    call, store, home = desk.call, desk.store, desk.home
    if reading is not None:
        found = writes.wishes(store, reading.writes, call.cwd, home, shell.follows(reading))
        for folder, patch in reading.patches:
            found += writes.wishes(store, codecs.patched(patch) or [], folder, home)
        return found
    if call.kind not in (FILE, PATCH):
        return []
    texts = codecs.written(call)
    if texts is None:
        raise MboxError(f"{call.tool} names no path that can be read")
    return writes.wishes(store, texts, call.cwd, home)


# -- after a tool, and the other moments -------------------------------------------------------------------------------


def _after(desk: Desk) -> Reply:
    call, store = desk.call, desk.store
    said = []
    if call.kind in (SHELL, OPAQUE) and os.path.lexists(quick.snapshot(store.root, _name(desk), call)):
        said.append(aftermath.report(store, desk.caller.who, call, writes.ground(store, desk.home)))
    if desk.terms.mode == "warn":
        said.append(_warning(desk))
    said.append(_keep_up(desk, offers=True))
    text = "\n".join(filter(None, said))
    return codecs.injected(call, text) if text else codecs.silent(call)


def _name(desk: Desk) -> str:
    return desk.caller.who.name if desk.caller.who else ""


def _warning(desk: Desk) -> str:
    """In mode ``warn``: who holds what the call has written."""
    line = codecs.command(desk.call) if desk.call.kind == SHELL else None
    wanted = _wishes(desk, shell.read(line, codecs.stand(desk.call), desk.home, os.path.isdir) if line is not None else None)
    asked = list(dict.fromkeys(place for wish in wanted for place in wish.places))
    rows = [row for row in writes.check(desk.store, desk.caller.who, asked) if row["state"] == "held"] if asked else []
    lines = [f"{denials.cut(row['path'])} was written, and {row['agent']} holds it ({row['reservation_id']})." for row in rows]
    return "\n".join(lines[:5])


def _keep_up(desk: Desk, offers: bool = False, state: str = "busy") -> str:
    """Beat, renew, write the status; the mail to offer, if it ``offers``."""
    who = desk.caller.who
    if who is None:
        return ""
    turn.renew(desk.store, who)  # first: what ran out meanwhile is told
    with turn.seat(desk.store, who, desk.call) as seat:
        said = [_told(desk.store, seat), seat.offer()] if offers else []
        seat.write(state)
    return "\n".join(filter(None, said))


def _told(store: Store, seat: turn.Seat) -> str:
    """What happened to the agent meanwhile, once: a lease that it lost, a task that was taken away."""
    before, seat.told = seat.told, store.end().seq
    return card.news(store, seat.who, before) if 0 < before < seat.told else ""


def _prompt(desk: Desk) -> Reply:
    said = desk.caller.stale or _keep_up(desk, offers=desk.call.host.name != "cursor")
    return codecs.injected(desk.call, said) if said else codecs.silent(desk.call)


def _start(desk: Desk) -> Reply:
    who, call, store = desk.caller.who, desk.call, desk.store
    if who is None:
        said = desk.caller.stale or _unnamed(desk)
        return codecs.injected(call, said) if said else codecs.silent(call)
    turn.renew(store, who)  # first: what ran out meanwhile is on the card
    with turn.seat(store, who, call) as seat:
        text = card.card(store, who, seat.seen)
        seat.told = store.end().seq
        seat.offer()
        seat.write("busy" if call.source == "compact" else "idle")
    return codecs.injected(call, text)


UNNAMED = f"{places.CACHE}/unnamed.json"
"""The sessions that were told that they have no name; the newest hundred."""


def _unnamed(desk: Desk) -> str:
    """What a session without a name is told, once."""
    if not desk.caller.note:
        return ""
    store, session = desk.store, desk.call.session
    known = (store.remembered(UNNAMED) or {}).get("sessions")
    told = [one for one in known if isinstance(one, str)] if isinstance(known, list) else []
    if session and session in told:
        return ""
    from mbox.format.documents import compact

    store.put_ephemeral(UNNAMED, compact({"sessions": [*told[-99:], session]}).encode())
    return (f"mbox: this session has no agent's name here ({desk.caller.note}), so it gets no mail, no gates and no "
            "reservations. Files that agents hold are guarded all the same: `reserve list` shows them.")  # fmt: skip


def _stop(desk: Desk) -> Reply:
    who, call, store = desk.caller.who, desk.call, desk.store
    if who is None:
        return codecs.silent(call)
    if call.moment == SUB_STOP and not _is_known_sub(desk, who):
        return codecs.silent(call)
    reason, handed = ("", "") if call.host.name == "opencode" else _gated(desk, who)
    with turn.seat(store, who, call) as seat:
        why = [reason] if reason else seat.reasons() if call.moment == STOP and call.host.name != "opencode" else []
        why = [handed, *why] if handed and why else why
        if not why and call.moment == STOP:
            seat.seen = store.end().seq
        seat.write("idle" if not why and call.moment in (STOP, IDLE) else "busy")
    turn.renew(store, who)
    if why:
        return codecs.kept_going(call, "\n".join(why))
    if call.moment == STOP:
        writes.given_back(store, who)
    return codecs.silent(call)


def _is_known_sub(desk: Desk, who: Actor) -> bool:
    """Whether the subagent that stops was seen to start: a host's own chores are not."""
    with turn.seat(desk.store, who, desk.call) as seat:
        ident = desk.call.agent_id or "?"
        if ident not in seat.subs:
            return False
        seat.subs.remove(ident)
        seat.write("busy")
    return True


def _gated(desk: Desk, who: Actor) -> tuple[str, str]:
    """Run the gates of what is in hand; what keeps the agent going, empty where it may stop, and what was handed in instead.

    Only the end of the agent's own turn hands a task in whose gates never pass: a subagent, or a task of the host's, is let go.
    """
    store, ends = desk.store, desk.call.moment in (STOP, IDLE)
    tasks = [task for task in turn.in_hand(store, who) if not task.get("order")]
    if not tasks:
        return "", ""
    failure, unsaid = gates.failed(store, tasks, _nearest(desk), desk.environ)
    for command in unsaid:
        complaints.log(f"not run, nobody here said yes to it (`mbox trust`): gate {command}", desk.environ)
    with turn.seat(store, who, desk.call) as seat:
        if failure is None:
            seat.failures = {}
            seat.write("busy")
            return "", ""
        key = failure.task if ends else f"{failure.task}@{desk.call.moment}"
        count = int(seat.failures.get(key, 0)) + 1
        seat.failures[key] = count
        if count >= store.config.gate_tries:
            del seat.failures[key]
        seat.write("busy")
    if count < store.config.gate_tries:
        return gates.reason(store, failure, count), ""
    if not ends:
        return "", ""
    handed = gates.hand_in(store, who, failure)
    complaints.log(handed, desk.environ)
    return "", denials.plain(handed)


def _sub_start(desk: Desk) -> Reply:
    who = desk.caller.who
    if who is not None:
        with turn.seat(desk.store, who, desk.call) as seat:
            seat.subs.append(desk.call.agent_id or "?")
            seat.write("busy")
    return codecs.silent(desk.call)


def _end(desk: Desk) -> Reply:
    who, store = desk.caller.who, desk.store
    if who is not None:
        with turn.seat(store, who, desk.call) as seat:
            seat.seen = store.end().seq
            seat.write("ended")
        turn.give_mail_back(store, who, f"the session of {who.name} ended")
        writes.given_back(store, who)
    return codecs.silent(desk.call)


_ANSWERS = {
    START: _start, PROMPT: _prompt, BEFORE: _before, AFTER: _after, STEP: _after, STOP: _stop, SUB_START: _sub_start,
    SUB_STOP: _stop, DONE: _stop, IDLE: _stop, END: _end,
}  # fmt: skip
