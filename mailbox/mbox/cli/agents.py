"""`mbox agent`: who is registered, who is alive."""

from __future__ import annotations

from mbox.agents import presence, registry
from mbox.errors import NotFound, did_you_mean
from mbox.format import places
from mbox.format.documents import Document
from mbox.liveness import departure
from mbox.store.store import Actor

from .context import Context
from .options import acts, argument, changes, command, lists, option, shows
from .values import AGENT, LINE, WORD, name


@command(
    examples=[
        "mbox agent add ann --role worker --can python --can gpu",
        "mbox agent add ann --new    # a new process takes the name over",
    ],
    exits={5: "your incarnation is not the current one"},
)
@changes
@argument("named", metavar="NAME", type=AGENT)
@option("--role", type=name("role"), metavar="R", help="worker (the default), orchestrator, reviewer, …")
@option("--host", type=LINE, metavar="H", help="the program: claude, codex, …")
@option("--model", type=LINE, metavar="M", help="its model")
@option("--can", "capabilities", type=WORD, multiple=True, metavar="CAP", help="what it is able to do")
@option("--new", is_flag=True, help="start a new incarnation: older processes of that name are told")
def agent_add(
    context: Context, named: str, role: str | None, host: str | None, model: str | None,
    capabilities: tuple[str, ...], new: bool,
) -> None:  # fmt: skip
    """Register NAME, or change what is said of it; then `mbox run --as NAME -- claude`, or --as NAME with each command.

    Only an orchestrator, or a person (without MBOX_AGENT and --as), makes an orchestrator or changes another's role.
    """
    said = {
        "role": role,
        "host": host,
        "model": model,
        "capabilities": list(dict.fromkeys(capabilities)) or None,
    }
    changed = {field: value for field, value in said.items() if value is not None}
    by, nobody = _by(context)
    doc = registry.add(context.store, by, named, changed, new, nobody)
    shown = ("agent", "incarnation", "role", "host", "model", "capabilities", "already")
    context.emit({field: doc[field] for field in shown if field in doc})


def _by(context: Context) -> tuple[Actor, bool]:
    """Who makes the change: the caller's agent, or the user where that is not registered (yet), and whether it is so."""
    try:
        return context.actor(required=False), False
    except NotFound:
        context.agent = None
        return context.actor(required=False), True


def _row(context: Context, doc: Document) -> Document:
    state = (
        "retired" if doc["retired_at"] else presence.liveness(context.store, doc["agent"])
    )
    shown = ("role", "host", "model", "capabilities", "team", "incarnation")
    end = {"ended": presence.ended(context.store, doc["agent"])} if state == presence.ENDED else {}
    return {"agent": doc["agent"], "state": state, **end, **{field: doc[field] for field in shown}}


@command(examples=["mbox agent list", "mbox agent list --all"])
@lists(100)
@option("--all", "every", is_flag=True, help="retired ones too")
def agent_list(context: Context, every: bool) -> None:
    """Who is registered, and who is alive."""
    docs = sorted(context.store.documents(places.AGENTS), key=lambda doc: str(doc["agent"]))
    context.emit([_row(context, doc) for doc in docs if every or not doc["retired_at"]])


@command(examples=["mbox agent show ann", "mbox agent show    # yourself"], exits={3: "no such agent"})
@shows
@argument("named", metavar="[NAME]", type=AGENT, required=False)
def agent_show(context: Context, named: str | None) -> None:
    """One agent."""
    asked = named or context.actor().name
    doc = context.store.read(places.agent(asked))
    if doc is None:
        known = did_you_mean(asked, registry.known(context.store))
        raise NotFound(f"agent {asked!r} is not registered{known}")
    context.emit(doc if context.full else {**doc, **_row(context, doc)}, "agent")


@command(
    examples=["mbox agent beat", "mbox agent beat --pid $$"],
    exits={3: "not registered", 5: "your incarnation is not the current one"},
)
@acts
@option("--pid", type=int, default=0, metavar="PID", help="dead as soon as that process is gone")
def agent_beat(context: Context, pid: int) -> None:
    """Say that you are alive, and renew what you hold."""
    actor = context.actor()
    context.store.transact(registry.still_current, actor)
    presence.beat(context.store, actor, pid)
    dead_after = context.store.config.dead_after
    context.emit({"agent": actor.name, "incarnation": actor.incarnation, "dead_after_s": dead_after})


@command(
    examples=["mbox agent retire ann"],
    exits={2: "wrong call, or it still holds tasks", 3: "no such agent"},
)
@changes
@argument("named", metavar="NAME", type=AGENT)
def agent_retire(context: Context, named: str) -> None:
    """Take NAME out: no mail, no claims, its reservations end. `agent add` brings it back.

    Only an orchestrator, or a person (without MBOX_AGENT and --as), retires another than itself.
    """
    by, nobody = _by(context)
    doc = departure.retire(context.store, by, named, nobody)
    shown = ("agent", "retired_at", "already")
    context.emit({field: doc[field] for field in shown if field in doc})
