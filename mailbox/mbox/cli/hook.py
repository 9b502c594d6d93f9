"""`mbox hook`, which agent programs call, and `mbox card`, which tells an agent what the first of them tells it."""

from __future__ import annotations

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
    from mbox.hooks import hook as script

    return script.main([host, event])


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
