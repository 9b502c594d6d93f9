"""``task``: working on tasks (claim to done), reviews, and mending.  Planning and looking are in `planning`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mbox.errors import Nothing, Usage
from mbox.format import checks

from .context import Context
from .options import argument, changes, command, lists, option, words
from .values import AGENT, DURATION, JSON, LINE, TASK, TEXT, WORD

if TYPE_CHECKING:
    from mbox.tasks import claims
    from mbox.tasks.batches import Outcome, TaskFilter


HELD = {3: "no such task", 5: "not yours, or not yours any more"}
"""Exit statuses of the holder's verbs."""

task_id = argument("task_id", metavar="ID", type=TASK)
token = option("--token", type=int, metavar="N", help="the token that the claim printed")
lease = option("--lease", type=DURATION, metavar="D", help="how long the lease lasts (config: lease)")


# -- work --------------------------------------------------------------------------------------------------------------


@command(
    examples=[
        "task claim",
        "task claim t45",
        "task claim --stage impl --wait 10m",
        'eval "$(task claim --start -o env)" && work on "$TASK_ID"',
    ],
    exits={1: "nothing ready, or a dependency or capability is missing", 3: "no such task",
           4: "time ran out while waiting", 5: "it or its paths are held"},
)  # fmt: skip
@changes
@argument("task_id", metavar="[ID]", type=TASK, required=False)
@option("--stage", type=WORD, metavar="S", help="only of this stage")
@option("--label", type=WORD, metavar="L", help="only with this label")
@lease
@option("--no-reserve", is_flag=True, help="do not reserve its paths")
@option("--wait", type=DURATION, metavar="D", help="wait for one, at most so long")
@option("--start", is_flag=True, help="say at once that work has begun")
@option("--token", type=int, metavar="N", help="claim again what you claimed under it")
def claim(context: Context, task_id: str | None, stage: str | None, label: str | None, lease: float | None,
          no_reserve: bool, wait: float | None, start: bool, token: int | None) -> None:  # fmt: skip
    """Take a task: the next ready one by priority, then age, or the one with this ID.  One that a more urgent task waits
    for is as urgent as that.

    Owner, lease and a reservation of its paths are taken at once, or nothing is.  The answer has the token.
    """
    from mbox.tasks import claims

    store, actor, dry_run = context.store, context.actor(), context.dry_run
    if task_id is None and token is not None:
        raise Usage("--token goes with the ID of a task")
    if task_id is not None and (stage or label):
        raise Usage("an ID, or --stage and --label: not both")
    wish = claims.ClaimRequest(stage, label, _time("--lease", lease), not no_reserve, start)

    if task_id is None:
        if wait and not dry_run:
            answer = claims.wait(store, partial(claims.claim_next, store, actor, wish), actor, wait)
        else:
            answer = claims.claim(store, actor, wish)
    elif wait and not dry_run:
        answer = _in_line(context, task_id, wish, token, wait)
    else:
        answer = claims.claim_id(store, actor, task_id, wish, token)
    context.emit(answer)


def _in_line(context: Context, task_id: str, wish: claims.ClaimRequest, token: int | None, seconds: float) -> dict[str, Any]:
    """The claim of a given task, waited for without closing a circle."""
    from mbox.reservations import waiting
    from mbox.tasks import claims

    store, actor = context.store, context.actor()
    with waiting.Line(store, waiting.Waiter(actor.name, [], False)) as line:
        attempt = partial(claims.claim_id, store, actor, task_id, wish, token, waiting=line.stand_for)
        return claims.wait(store, attempt, actor, seconds, by_id=True)


def _time(what: str, seconds: float | None) -> float | None:
    if seconds == 0:
        raise Usage(f"{what}: a lease of no time holds nothing; say 15m or 2h")
    return seconds


@command(examples=["task renew t45"], exits=HELD)
@changes
@task_id
@token
def renew(context: Context, task_id: str, token: int | None) -> None:
    """Start the lease on a task, and on the reservations tied to it, afresh.

    Every command of its holder does that too, when a third of the time is used.
    """
    from mbox.tasks import lifecycle

    context.emit(lifecycle.renew(context.store, context.actor(), task_id, token))


@command(examples=["task start t45"], exits=HELD)
@changes
@task_id
@token
def start(context: Context, task_id: str, token: int | None) -> None:
    """Say that work on a claimed task has begun."""
    from mbox.tasks import lifecycle

    context.emit(lifecycle.start(context.store, context.actor(), task_id, token))


@command(
    examples=["task submit t45", "task submit t45 --to rae --result '{\"commit\":\"1f2e\"}'"],
    exits={3: "no such task or agent", 5: HELD[5]},
)
@changes
@task_id
@option("--to", type=AGENT, metavar="AGENT", help="who is to review it; gets a message")
@option("--keep", is_flag=True, help="keep the reservations until it is accepted")
@option("--result", type=JSON, metavar="JSON", help="what came out; - and @FILE too")
@token
def submit(context: Context, task_id: str, to: str | None, keep: bool, result: Any, token: int | None) -> None:
    """Hand a task in for review."""
    from mbox.tasks import lifecycle

    context.emit(lifecycle.submit(context.store, context.actor(), task_id, to, keep, result, token))


@command(examples=["task done t45", "task done t45 --result '{\"tests\":12}' --next"], exits=HELD)
@changes
@task_id
@option("--result", type=JSON, metavar="JSON", help="what came out; - and @FILE too")
@option("--next", "and_claim", is_flag=True, help="claim the next ready task (-o env, id: print that)")
@token
def done(context: Context, task_id: str, result: Any, and_claim: bool, token: int | None) -> None:
    """Finish a task.  The answer names the tasks that are ready now because of it."""
    from mbox.tasks import claims, lifecycle

    store, actor = context.store, context.actor()
    if not context.dry_run:
        _pass_gates(context, task_id)
    if not and_claim:
        context.emit(lifecycle.done(store, actor, task_id, result, token))
        return
    answer, following = claims.done_and_next(store, actor, task_id, result, token)
    if isinstance(following, Nothing):
        context.say(str(following))
        following = {"task_id": "", "token": ""}
    else:
        answer["next"] = {name: value for name, value in following.items() if value not in (None, "", [])}
    context.emit(following if context.output in ("env", "id") else answer)


def _pass_gates(context: Context, task_id: str) -> None:
    """`Refused` where a gate of a task that the caller has in hand fails: nobody calls finished what a gate says is not."""
    import os

    from mbox.errors import Refused
    from mbox.format import places
    from mbox.format.documents import ACTIVE

    store = context.store
    doc = store.read(places.task(task_id))
    mine = doc is not None and doc["owner"] == context.actor().name and doc["status"] in ACTIVE and not doc.get("order")
    if doc is None or not mine or not (doc.get("gates") or store.config.gates):
        return
    from mbox.hooks import gates
    from mbox.root import worktrees

    folder = gates.ground(context.cwd, sorted([store.root, *worktrees(store.root)], key=len, reverse=True), store.root)
    failure, unsaid = gates.failed(store, [doc], folder, os.environ)
    for gate in unsaid:
        context.say(f"not run, for nobody here said yes to it (`mbox trust`): gate {gate}")
    if failure is not None:
        context.say("\n".join(gates.shown(store, failure)))
        raise Refused(f"{task_id} is not done: its gate `{failure.command}` failed ({failure.how}); mend that, or hand it in for "
                      f"review: `task submit {task_id}`")  # fmt: skip


@command(examples=["task fail t45 --reason 'the API is gone'"], exits=HELD)
@changes
@task_id
@option("--reason", type=LINE, metavar="R", required=True, help="why, in one line")
@token
def fail(context: Context, task_id: str, reason: str, token: int | None) -> None:
    """Give a task up for good, with a reason.  (To give it back for somebody else: task release.)"""
    from mbox.tasks import lifecycle

    context.emit(lifecycle.fail(context.store, context.actor(), task_id, reason, token))


@command(examples=["task note t45 'the parser is in lib/, not src/'"], exits={3: "no such task"})
@changes
@task_id
@argument("text", metavar="TEXT", type=TEXT)
def note(context: Context, task_id: str, text: str) -> None:
    """Leave a note on a task, for whoever goes on with it.  - is stdin, @FILE a file."""
    from mbox.tasks import notes

    if not text.strip():
        raise Usage("TEXT is empty: say something")
    context.emit(notes.add(context.store, context.actor(required=False), task_id, text))


@command(examples=["task checkpoint t45 --state '{\"step\":3,\"next\":\"write the tests\"}'"], exits=HELD)
@changes
@task_id
@option("--state", metavar="JSON", required=True, help="at most 16 KiB (config: checkpoint_limit); - and @FILE too")
@token
def checkpoint(context: Context, task_id: str, state: str, token: int | None) -> None:
    """Save where the work stands, so that it can go on after a crash or a lost context.  The last one counts."""
    from mbox.tasks import notes

    try:
        value = JSON.read(state, "--state", context)
    except checks.TooLong:
        raise notes.too_large(context.store, f"over {checks.BODY}") from None
    context.emit(notes.checkpoint(context.store, context.actor(), task_id, value, token))


# -- review ------------------------------------------------------------------------------------------------------------


@command(
    examples=["task review", "task review t45 --lease 1h"],
    exits={1: "nothing to review", 3: "no such task", 5: "somebody else reviews it"},
)
@changes
@argument("task_id", metavar="[ID]", type=TASK, required=False)
@lease
def review(context: Context, task_id: str | None, lease: float | None) -> None:
    """Take a task in review that you did not do, under a lease of its own."""
    from mbox.tasks import reviews

    seconds = _time("--lease", lease)
    context.emit(reviews.take(context.store, context.actor(), task_id, seconds))


@command(examples=["task approve t45"], exits={3: "no such task", 5: "its review is not yours"})
@changes
@task_id
@token
def approve(context: Context, task_id: str, token: int | None) -> None:
    """Accept what was handed in: the task is done."""
    from mbox.tasks import reviews

    context.emit(reviews.approve(context.store, context.actor(), task_id, token))


@command(
    examples=["task reject t45 --reason 'no test for the empty file'"],
    exits={3: "no such task", 5: "its review is not yours"},
)
@changes
@task_id
@option("--reason", type=LINE, metavar="R", required=True, help="why, in one line")
@token
def reject(context: Context, task_id: str, reason: str, token: int | None) -> None:
    """Send a task back to the queue.  The reason goes to the task and, as mail, to whoever did it."""
    from mbox.tasks import reviews

    context.emit(reviews.reject(context.store, context.actor(), task_id, reason, token))


# -- several at once ---------------------------------------------------------------------------------------------------

ids = words("ids", "ID", TASK, required=False)
SEVERAL = {3: "no such task (the others are done)"}


def filters(function: Any) -> Any:
    """``--owner --stage --label``: every task that the verb applies to and that has all of these."""
    for decorate in (
        option("--label", type=WORD, metavar="L", help="every task with this label"),
        option("--stage", type=WORD, metavar="S", help="every task of this stage"),
        option("--owner", type=AGENT, metavar="A", help="every task of this agent"),
    ):
        function = decorate(function)
    return function


def _where(ids: Sequence[str], owner: str | None, stage: str | None, label: str | None) -> TaskFilter | None:
    from mbox.tasks.batches import TaskFilter

    if not ids and owner is stage is label is None:
        raise Usage("which tasks? IDs (- reads them from stdin), or --owner, --stage, --label")
    if ids and not owner is stage is label is None:
        raise Usage("IDs, or --owner, --stage, --label: not both")
    return None if ids else TaskFilter(owner, stage, label)


def _several(context: Context, ids: Sequence[str], outcome: Outcome) -> int:
    """Print what was changed and tell what could not be; the worst status."""
    if len(ids) == 1 and len(outcome.changed) + len(outcome.errors) == 1:
        if outcome.errors:
            raise outcome.errors[0]
        context.emit(outcome.changed[0])
        return 0
    for error in outcome.errors:
        context.say(f"task: {error}")
    if not outcome.changed and not outcome.errors:
        context.say("no such tasks, nothing to do")
    context.emit(outcome.changed)
    return outcome.worst()


@command(examples=["task release t45", "task release t45 t46"], exits={**SEVERAL, 5: HELD[5]})
@changes
@ids
@filters
@token
def release(context: Context, ids: tuple[str, ...], owner: str | None, stage: str | None, label: str | None,
            token: int | None) -> int:  # fmt: skip
    """Put tasks that you hold back in the queue; it costs them no attempt."""
    from mbox.tasks import batches

    if token is not None and len(ids) != 1:
        raise Usage("--token goes with the ID of one task")
    where = _where(ids, owner, stage, label)
    return _several(
        context, ids, batches.release(context.store, context.actor(), ids, where, token)
    )


@command(
    examples=["task requeue t45", "task requeue --stage impl", "task list --status failed -o id | task requeue -"],
    exits=SEVERAL,
)
@changes
@ids
@filters
def requeue(context: Context, ids: tuple[str, ...], owner: str | None, stage: str | None,
            label: str | None) -> int:  # fmt: skip
    """Queue tasks again that failed, were cancelled or are dead letters; they have all their attempts again."""
    from mbox.tasks import batches

    where = _where(ids, owner, stage, label)
    actor = context.actor(required=False)
    return _several(context, ids, batches.requeue(context.store, actor, ids, where))


@command(
    examples=["task cancel t45 --reason 'not wanted any more'", "task cancel --label v1 --cascade"],
    exits={**SEVERAL, 2: "wrong call, or it is final"},
)
@changes
@ids
@filters
@option("--cascade", is_flag=True, help="and every task that depends on them")
@option("--reason", type=LINE, metavar="R", help="why; their holders are told")
def cancel(context: Context, ids: tuple[str, ...], owner: str | None, stage: str | None, label: str | None,
           cascade: bool, reason: str | None) -> int:  # fmt: skip
    """End tasks without a result.  Who holds one is told at their next command (exit 5)."""
    from mbox.tasks import batches

    where = _where(ids, owner, stage, label)
    outcome = batches.cancel(context.store, context.actor(required=False), ids, where, reason or "", cascade)
    return _several(context, ids, outcome)


# -- dead letters ------------------------------------------------------------------------------------------------------


@command(examples=["task deadletter list"])
@lists(100)
def deadletter_list(context: Context) -> None:
    """Tasks whose lease ran out too often; the same as task list --status deadletter."""
    from mbox.tasks import ready

    context.emit(ready.rows(context.store, ["deadletter"]))


@command(examples=["task deadletter retry t45", "task deadletter retry --stage impl"], exits=SEVERAL)
@changes
@ids
@filters
def deadletter_retry(context: Context, ids: tuple[str, ...], owner: str | None, stage: str | None,
                     label: str | None) -> int:  # fmt: skip
    """Queue dead letters again; the same as task requeue, but a filter finds dead letters only."""
    from mbox.tasks import batches

    where = _where(ids, owner, stage, label)
    actor = context.actor(required=False)
    outcome = batches.requeue(context.store, actor, ids, where, ("deadletter",))
    return _several(context, ids, outcome)
