"""The audit ref's commands: commit, log, grep, restore."""

from __future__ import annotations

import os
import sys

import click

from mbox.errors import Refused

from .context import Context
from .options import argument, changes, command, lists, option, shows
from .values import Value


def _ref(word: str, what: str, context: Context) -> str:
    from mbox.config.settings import REF

    return str(REF.parse(what, word))


REF = Value("ref", _ref)


@command(examples=["mbox audit commit"], exits={2: "no git here, or the ref belongs to something else"})
@changes
def commit(context: Context) -> None:
    """Put the journal and the documents on their own git ref; your branches, index and hooks stay as they are.

    Only what is new since the last commit is added.  Nothing is pushed.
    """
    from mbox.git import audit

    made = audit.commit(context.store, context.dry_run)
    if made.get("already"):
        context.say(f"nothing new since record {made['seq']}: {made['ref']} is at {made['commit'][:12]}")
    context.emit(made)


@command(examples=["mbox audit log --limit 5"], exits={2: "no git here"})
@lists(100)
def log(context: Context) -> None:
    """The commits of the audit ref, newest last: how far each reaches, and what happened."""
    from mbox.git import audit

    rows, left = audit.log(context.store, context.limit)
    context.emit(rows)
    _say_left(context, rows, left)
    if not rows:
        context.say("no audit commit yet: `mbox audit commit` makes one")


@command(
    examples=[
        "mbox audit grep 'the parser'           # in the documents, as they are on the ref",
        "mbox audit grep --history parser drops # in every record that ever was: both words",
        "mbox audit grep -E 'm1[0-9]{2}'",
    ],
    exits={2: "no git here, or no such pattern"},
)
@option("--history", is_flag=True, help="search the whole journal, not the documents")
@option("-E", "--regexp", is_flag=True, help="words are extended regular expressions")
@option("-i", "--ignore-case", is_flag=True, help="upper and lower case are the same")
@argument("words", metavar="WORD...", nargs=-1, required=True)
@shows
@lists(100)
def grep(context: Context, words: tuple[str, ...], history: bool, regexp: bool, ignore_case: bool) -> None:
    """Find lines on the audit ref that contain all the words.

    Long lines are cut around what was found, unless --full.
    """
    from mbox.git import audit

    wanted = audit.GrepQuery(words, history, regexp, ignore_case)
    rows, left = audit.grep(context.store, wanted, context.limit, context.full)
    context.emit(rows)
    _say_left(context, rows, left)
    if not rows and not history:
        context.say("not in the documents as of the last audit commit; --history searches every record")


@command(
    examples=[
        "mbox audit restore --dry-run           # how far it reaches, and what of config.yaml and hosts.yaml would come",
        "mbox audit restore --with-config",
        "git fetch origin refs/mbox/audit:refs/mbox/audit && mbox audit restore   # in a fresh clone",
    ],
    exits={1: "no audit ref", 2: "no git here, or a store is there already", 6: "the store, or what is on the ref"},
)
@option("--ref", metavar="REF", type=REF, help="the ref, if config.yaml is gone and named another")
@option("--with-config/--without-config", "config", default=None, help="bring its config.yaml and hosts.yaml, or not")
@changes
def restore(context: Context, ref: str | None, config: bool | None) -> None:
    """Fill an empty store from the audit ref: after `git clean -fdx`, or in a fresh clone.

    Nothing that is there is written over.  What was recorded after the last audit commit is lost.  If config.yaml or
    hosts.yaml there say more than the defaults, that is shown, and asked before it is brought.
    """
    from mbox.git.restore import place, restore
    from mbox.opening import unbegun
    from mbox.store.store import Actor

    where = place(context.root or os.environ.get("MBOX_ROOT") or None, context.stand)
    by = Actor(context.agent, dry_run=context.dry_run) if context.agent else context.actor(required=False)

    def agree(lines: list[str]) -> bool:
        for line in lines:
            context.say(f"on the ref: {line}")
        return _agreed(context, config)

    context.emit(restore(where, by, ref, context.say, unbegun, agree, context.along()))


def _agreed(context: Context, told: bool | None) -> bool:
    """Whether a person's files may come: as told, else as answered on the terminal; `Refused` where nobody can answer."""
    if told is not None or context.dry_run:
        return bool(told)
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused("config.yaml or hosts.yaml on the ref say more than the defaults (above): "
                      "--with-config brings them, --without-config leaves them; nothing was restored")  # fmt: skip
    return click.confirm("Bring these settings and programs?", err=True)


def _say_left(context: Context, rows: list[dict[str, object]], left: int) -> None:
    if left:
        context.say(f"{left} more: --limit {len(rows) + left}, or 0 for all")
