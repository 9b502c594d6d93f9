"""The audit ref's commands: commit, log, grep, restore."""

from __future__ import annotations

import os

from mbox.cli.context import Context
from mbox.cli.options import Value, argument, changes, command, lists, option, shows
from mbox.errors import Usage


def _ref(word: str, what: str, context: Context) -> str:
    from mbox.config.settings import REF

    try:
        return str(REF.parse(word))
    except ValueError as error:
        raise Usage(f"{what} {error}") from None


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

    wanted = audit.Wanted(words, history, regexp, ignore_case)
    rows, left = audit.grep(context.store, wanted, context.limit, context.full)
    context.emit(rows)
    _say_left(context, rows, left)
    if not rows and not history:
        context.say("not in the documents as of the last audit commit; --history searches every record")


@command(
    examples=[
        "mbox audit restore --dry-run",
        "git fetch origin refs/mbox/audit:refs/mbox/audit && mbox audit restore   # in a fresh clone",
    ],
    exits={1: "no audit ref", 2: "no git here, or a store is there already", 6: "the store, or what is on the ref"},
)
@option("--ref", metavar="REF", type=REF, help="the ref, if config.yaml is gone and named another")
@changes
def restore(context: Context, ref: str | None) -> None:
    """Fill an empty store from the audit ref: after `git clean -fdx`, or in a fresh clone.

    Nothing that is there is written over.  What was recorded after the last audit commit is lost.
    """
    from mbox.git import restore as module
    from mbox.store.store import Actor

    place = module.place(context.root or os.environ.get("MBOX_ROOT") or None, context.cwd)
    by = Actor(context.agent) if context.agent else context.actor(required=False)
    context.emit(module.restore(place, by, ref, context.dry_run, context.say))


def _say_left(context: Context, rows: list[dict[str, object]], left: int) -> None:
    if left:
        context.say(f"{left} more: --limit {len(rows) + left}, or 0 for all")
