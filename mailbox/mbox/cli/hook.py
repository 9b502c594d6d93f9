"""`mbox hook`, which agent programs call, and `mbox card`, which tells an agent what the first of them tells it."""

from __future__ import annotations

import os
import sys

from mbox.hooks import codecs

from .context import Context
from .options import argument, command


@command(examples=["mbox hook claude PreToolUse <call.json"])
@argument("host", metavar="HOST")
@argument("event", metavar="EVENT")
def hook(context: Context, host: str, event: str) -> int:
    """Answer the hook of an agent program: its JSON on stdin, the answer in its own form on stdout.

    HOST is claude, codex, gemini, agy, cursor, copilot, qwen or opencode; EVENT is the host's own word. `mbox hooks
    install` writes the lines that call it. No opinion is silence. Whatever is wrong stands in a log, which `mbox doctor
    --hooks` shows.
    """
    from mbox.hooks import calls, complaints

    if host not in codecs.HOSTS:
        complaints.log(f"called with {host!r} {event!r}: no such host", os.environ)
        return 0
    data = sys.stdin.buffer.read(codecs.LONGEST + 1) if sys.stdin is not None else b""
    answer = calls.answer(codecs.read(host, event, data, context.stand or "/"), os.environ)
    if answer.stdout:
        context.write(answer.stdout + "\n")
    if answer.stderr:
        sys.stderr.write(answer.stderr + "\n")
    return answer.status


@command(examples=["mbox card"])
def card(context: Context) -> None:
    """What an agent needs to go on after a compaction or a restart: who it is, its task, what it holds, its mail, what changed.

    At most 1,800 bytes, as of a record. The hooks put it before the agent by themselves.
    """
    from mbox.hooks import card as cards

    who = context.actor()
    text = cards.card(context.store, who)
    if context.output in ("auto", "table"):
        context.write(text + "\n")
    else:
        context.emit({"agent": who.name, "seq": context.store.end().seq, "text": text})
