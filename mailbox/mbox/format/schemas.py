"""The JSON Schema (2020-12) of every document on disk and of what every command prints, for ``mbox schema``.

Promised: a document that `documents` writes, and the JSON that a command prints, validates against the schema of its
name; ``required`` names what always stands, for short output leaves out what is empty or at its default.  Not
promised: that a future version prints no further field of a document; one that this version does not know is kept.

A document is named by its kind (``task``), a command's output by its command (``task claim``, ``inbox``).  The fields
of all outputs share one vocabulary (`_TYPES`), so that a name means one thing wherever it stands.
"""

from __future__ import annotations

from typing import Any

from . import documents
from .documents import KINDS, MESSAGE_STATES, RUN_STATES, TASK_STATES, Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"

RENAMED = {"agent-status": "status"}
"""Documents whose kind is the name of a command's output: name here → kind."""

_BOOL: Document = {"type": "boolean"}
_COUNT: Document = {"type": "integer", "minimum": 0}
_STRS: Document = {"type": "array", "items": {"type": "string"}}
_TIME: Document = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(\d{3})?Z$"}
"""A time as it is printed: to the millisecond, with ``--full`` as on disk."""


def _enum(*words: str) -> Document:
    return {"type": "string", "enum": list(words)}


def _map(values: Document, keys: Document | None = None) -> Document:
    return {"type": "object", **({"propertyNames": keys} if keys else {}), "additionalProperties": values}


def _all(words: str, type_: Document) -> dict[str, Document]:
    return dict.fromkeys(words.split(), type_)


_LIFE = _enum("alive", "dead", "ended", "no heartbeat", "retired")
_TYPES: dict[str, Document] = {
    **_all("already expired stale before_you needs_ack made clean bad ready purged", _BOOL),
    **_all("seq token round attempt_count incarnation records written removed mended count dead_letters", _COUNT),
    **_all("imported skipped held done line", _COUNT),
    **_all("to capabilities patterns touched_paths released kept on examples unblocked changed task_ids", _STRS),
    **_all("dropped missing next waits_for", _STRS),
    **_all("created_at expires_at retired_at first_at ts", _TIME),
    **_all("value payload result original", {}),
    "asks": _map(_STRS),
    "results": _map({}),
    "dead_after_s": {"type": "number"},
    "durability": _enum("full", "fast"),
    "mode": _enum("exclusive", "shared"),
    **_all("priority urgency", {"type": "integer", "minimum": 0, "maximum": 9}),
    "place": {"type": "integer", "minimum": 1},
    "receivers": _map(_enum(*MESSAGE_STATES)),
    "status": _enum(*TASK_STATES),
    # what has another type elsewhere, by `=`
    "any": {}, "bool": _BOOL, "int": _COUNT, "strs": _STRS, "str": {"type": "string"},
    "counts": _map(_COUNT),
    "of_agents": _map(_LIFE),
    "of_life": _LIFE,
    "of_message": _enum(*MESSAGE_STATES),
    "of_note": _enum("note", "checkpoint"),
    "of_path": _enum("free", "own", "held"),
    "of_remark": _enum("error", "warning"),
    "of_team": _enum("up", "draining", "down"),
    "texts": _map({"type": "string"}),
    "of_run": _enum(*RUN_STATES, "waiting", "stalled"),
    "costs": _map({"type": "number"}),
    "num": {"type": "number"},
    "rows": {"type": "array", "items": {"type": "object"}},
    "of_tasks": _map(_COUNT, _enum(*TASK_STATES)),
    "only_expired": _enum("expired"),
    "what_was_found": _enum("message", "task"),
    "why_not": _enum("ready", "in work", "held", "blocked", "waiting", "incapable", "reserved"),
}  # fmt: skip
"""The type of each field that is no plain text."""

_ALREADY = "already? "
_TASK = "task_id status "
_MESSAGE_ROW = (
    "msg_id from type? subject? priority? task_id? thread_id? state=of_message needs_ack? created_at before_you?"
)
_HELD = "reservation_id agent patterns left task_id?"
_NOTE = "ts by kind=of_note text? state=any?"
_RUN = "run workflow status=of_run reason?"
_LINE = "seq ts by op on? why?"
_NESTED = {
    "last_note": ("one", _NOTE),
    "last_checkpoint": ("one", _NOTE),
    "notes": ("many", _NOTE),
    "next_claim": ("one", "task_id status title stage? token left touched_paths? reservation_id? description? round? "
                          "attempt_count? reason? last_note? last_checkpoint? results? left_out=counts?"),
    "answers": ("many", "msg_id from subject? body? payload?"),
    "findings": ("many", "kind path? problem bad"),
    "claims": ("many", "task_id status holder? left? title"),
    "holdings": ("many", _HELD),
    "my_holdings": ("many", _HELD.replace("agent ", "")),
    "to_answer": ("many", "msg_id from subject?"),
    "unacknowledged": ("many", "msg_id from? subject? left"),
    "nodes": ("many", "task_id status stage? owner? priority urgency? title expired? hold?"),
    "edges": ("many", "task_id depends_on"),
    "questions": ("many", "run? step ask choices=strs"),
    "boxes": ("many", "id kind does"),
    "ways": ("many", "from to=str when?"),
    "mine": ("many", "task_id status token left title note? checkpoint?"),
    "mail": ("many", _MESSAGE_ROW),
    "handed_over": ("one", "to=str msg_id messages=int"),
    "mendings": ("many", "kind path did=str"),
    "deeds": ("many", "ts what on=str why"),
    "tallies": ("many", "member? stage? claimed=int? submitted=int? done=int? approved=int? rejected=int? approvals=int? "
                        "rejections=int? failed=int? released=int? "
                        "retried=int? dead=int? conflicts=int? mails=int? waiting? working?"),
}  # fmt: skip
"""Fields that hold objects."""

ONE, MANY, EITHER = "one", "many", "either"

OUTPUTS: dict[str, tuple[str, str]] = {
    # mail
    "send": (ONE, "msg_id state=of_message? thread_id? acked? already?"),
    "broadcast": (ONE, "msg_id state=of_message? to? thread_id? already?"),
    "reply": (ONE, "msg_id state=of_message? to? thread_id? acked? already?"),
    "ask": (ONE, "thread_id? msg_id? state=of_message? answers? missing? already?"),
    "gather": (ONE, "thread_id answers? missing?"),
    "inbox": (MANY, _MESSAGE_ROW),
    "read": (EITHER, "@message token? stale? reply_with? before_you? already?"),
    "ack": (EITHER, "msg_id state=of_message already?"),
    "show": (ONE, "@message receivers? stale? reply_with?"),
    "wait": (MANY, _MESSAGE_ROW),
    "watch": (ONE, _MESSAGE_ROW),
    "thread": (MANY, "msg_id parent_id? from to type? subject? state=of_message created_at"),
    "search": (MANY, "id kind=what_was_found status? state=of_message? text?"),
    "deadletter list": (MANY, "id reason msg_id? to=str? from? type? subject? from_path? count first_at"),
    "deadletter show": (EITHER, "id reason detail? from_path? first_at count original?"),
    "deadletter retry": (MANY, "id msg_id to=str state=of_message"),
    "deadletter purge": (MANY, "id purged"),
    # agents
    "me": (ONE, "agent root? role incarnation unread=int mail? to_answer? unacknowledged? asks? tasks=mine? "
                "reservations=my_holdings? next? left_out=counts?"),
    "primer": (ONE, "agent? role text"),
    "hooks install": (MANY, "host=str file did=str event? state=str? way? more=str?"),
    "hooks remove": (MANY, "host=str file did=str event? state=str? way? more=str?"),
    "hooks status": (MANY, "host=str file state=str event? way? did=str? more=str?"),
    "card": (ONE, "agent seq text"),
    "agent add": (ONE, "agent incarnation role host? model? capabilities? already?"),
    "agent list": (MANY, "agent state=of_life ended? role host? model? capabilities? team? incarnation"),
    "agent show": (ONE, "@agent state=of_life? ended?"),
    "agent beat": (ONE, "agent incarnation dead_after_s"),
    "agent retire": (ONE, "agent retired_at already?"),
    "nudge": (ONE, "agent outcome pane"),
    "trust": (ONE, "may_start=strs? waits=strs? forgot=strs?"),
    "watchdog": (EITHER, "alive=bool? pid=int? started_at? scan_at? broken=texts? errors=texts? bells=texts? did=deeds? "
                         "ts? what? on=str? why?"),
    # teams
    "team up": (ONE, "team state=of_team session? new=strs? changed? not_in_file=strs? imported started=texts? already?"),
    "team status": (MANY, "agent role? alive=of_life ended? doing? task? since? unread=int says? broken? called? state=of_team?"),
    "team lead": (ONE, "team orchestrator before? changed? already?"),
    "team add": (ONE, "team state=of_team session? new=strs? changed? not_in_file=strs? imported? started=texts? already?"),
    "team remove": (ONE, "team removed=str trees_removed=strs? trees_kept=strs? left_running=strs? already?"),
    "team drain": (ONE, "team state=of_team at_work=strs? handed_over? already?"),
    "team down": (EITHER, "team state=of_team took? members=tallies? stages=tallies? requeued=strs? dead=strs? handed_over? "
                          "trees_removed=strs? trees_kept=strs? left_running=strs? stopped=strs? already?"),
    "team report": (ONE, "team state=of_team took? members=tallies? stages=tallies? sums=strs? left_running=strs?"),
    # the store
    "init": (ONE, "root made"),
    "status": (ONE, "root seq last? durability watcher watchdog agents=of_agents? ended=texts? tasks=of_tasks? unread=counts? "
                    "oldest_unread? claims? reservations=holdings? dead_letters why=strs?"),
    "log": (MANY, _LINE),
    "doctor": (ONE, "root found_by clean records documents=int seq mended did=mendings? findings?"),
    "rebuild": (ONE, "records documents=int written removed did=mendings?"),
    "config get": (EITHER, "key value? why"),
    "config set": (ONE, "key value?"),
    "audit commit": (ONE, "commit? ref seq records documents=int already?"),
    "audit log": (MANY, "commit ts seq records summary"),
    "audit grep": (MANY, "path? line? seq? ts? by? op? on? text"),
    "audit restore": (ONE, "root ref commit seq records documents=int"),
    # tasks
    "task add": (ONE, _TASK + _ALREADY),
    "task import": (ONE, "imported skipped ready=int held done task_ids? dropped?"),
    "task update": (ONE, _TASK + "changed? msg_id? already?"),
    "task list": (MANY, "task_id status reason=why_not? stage? owner? priority urgency? title expired? why=str?"),
    "task show": (ONE, "@task left? expired? waits_for? results? left_out=counts? notes?"),
    "task wait": (MANY, _TASK + "title reason? result?"),
    "task ready": (EITHER, "task_id status stage? priority urgency? title"),
    "task graph": (ONE, "nodes? edges?"),
    "task claim": (ONE, _NESTED["next_claim"][1] + " already?"),
    "task renew": (ONE, _TASK + "token left"),
    "task start": (ONE, _TASK + _ALREADY),
    "task note": (ONE, _TASK + "notes=int"),
    "task checkpoint": (ONE, _TASK + "notes=int"),
    "task submit": (ONE, _TASK + "waits_for? reviewer? msg_id? already?"),
    "task done": (ONE, _TASK + "unblocked? waits_for? next=next_claim? already?"),
    "task fail": (ONE, _TASK + _ALREADY),
    "task release": (EITHER, _TASK + _ALREADY),
    "task review": (ONE, _TASK + "title owner? token left touched_paths? round? reason? result? already?"),
    "task approve": (ONE, _TASK + "unblocked? waits_for? msg_id? already?"),
    "task reject": (ONE, _TASK + "round? owner? msg_id? already?"),
    "task requeue": (EITHER, _TASK + _ALREADY),
    "task cancel": (EITHER, _TASK + _ALREADY),
    "task deadletter list": (MANY, "task_id status stage? owner? priority title"),
    "task deadletter retry": (EITHER, _TASK + _ALREADY),
    # reservations
    "reserve add": (ONE, "reservation_id patterns task_id? token expires_at already?"),
    "reserve list": (MANY, "reservation_id agent mode patterns left? state=only_expired? task_id? reason?"),
    "reserve check": (MANY, "path state=of_path reservation_id? agent? mode? pattern? left? reason?"),
    "reserve renew": (MANY, "reservation_id expires_at"),
    "reserve release": (MANY, "reservation_id released? kept? already?"),
    "reserve show": (ONE, "@reservation left? state=only_expired?"),
    # workflows
    "workflow lint": (MANY, "file line=int column=int level=of_remark text"),
    "workflow graph": (ONE, "nodes=boxes edges=ways on_failure?"),
    "workflow compile": (ONE, "workflow host file settings=any? config=any? context? left_out=strs?"),
    "workflow run": (ONE, "run? workflow status=of_run? reason? waiting=questions? output=any? tree? cost=costs? inputs=any? "
                          "limits=any? steps=rows? most_dispatches=int?"),
    "workflow resume": (ONE, "run workflow status=of_run reason? waiting=questions? output=any? tree? cost=costs?"),
    "workflow pause": (ONE, _RUN), "workflow cancel": (ONE, _RUN), "workflow answer": (ONE, _RUN), "workflow tell": (ONE, _RUN),
    "workflow list": (MANY, "run workflow status=of_run step? visit=int? dispatches=int? usd=num? started_at reason?"),
    "workflow show": (ONE, "run workflow status=of_run reason? waiting=questions? at? inputs=any? tree? base? parent? "
                           "steps=rows? cost=costs limits=any? failure=any? output=any? started_at ended_at?"),
    "workflow explain": (MANY, "step visit=int item=int? ended detail? attempts=strs? gates=strs? go? rule? values=any? file"),
    "workflow logs": (MANY, _LINE),
    "workflow watch": (ONE, "step visit=int ended go rule"),
    "workflow report": (MANY, "workflow step n=int failed=int rounds=int attempts=int usd=num tokens=int unknown=int "
                              "seconds=num"),
    "workflow replay": (MANY, "step visit=int go again ok=bool"),
    # about this page itself
    "schema": (MANY, "name"),
}  # fmt: skip
"""What each command prints: one object, many rows or either, and its fields: ``name``, or ``name=type`` where the type
is not that of its name; ``?`` where it may be missing; ``@kind``: all fields of that document, the empty left out."""

TEXT = frozenset(["hook", "mcp", "lock", "completion", "run", "team attach", "workflow work"])
"""Commands that print text, or what another command prints."""


def names() -> list[str]:
    """Every name that `schema` knows: the documents, then the outputs."""
    kinds = [kind for kind in KINDS if kind not in RENAMED.values()]
    return [*kinds, *RENAMED, *OUTPUTS]


def schema(name: str) -> Document:
    """The JSON Schema of a document (``task``) or an output (``task claim``)."""
    if name not in OUTPUTS:
        return {**documents.json_schema(RENAMED.get(name, name)), "title": name}
    shape, fields = OUTPUTS[name]
    item = _OTHERS[name](fields) if name in _OTHERS else _object(fields)
    if shape == MANY:
        made: Document = {"type": "array", "items": item}
    else:
        made = item if shape == ONE else {"anyOf": [item, {"type": "array", "items": item}]}
    return {"$schema": DIALECT, "title": f"the output of `{_called(name)}`", **made}


def _called(name: str) -> str:
    return name if name.split()[0] in ("task", "reserve", "team", "workflow") else f"mbox {name}"


def _object(fields: str) -> Document:
    """An object of these ``fields``."""
    words = fields.split()
    if words[:1] and words[0][0] == "@":
        return _shown(words[0][1:], " ".join(words[1:]))
    properties = {name: _typed(type_) for name, type_, _ in map(_parted, words)}
    required = [name for name, _, always in map(_parted, words) if always]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _parted(word: str) -> tuple[str, str, bool]:
    """``state=of_life?`` as its name, its type and whether it always stands."""
    name, _, type_ = word.rstrip("?").partition("=")
    return name, type_ or name, word[-1] != "?"


def _typed(name: str) -> Document:
    if name in _NESTED:
        shape, fields = _NESTED[name]
        item = _object(fields)
        return item if shape == ONE else {"type": "array", "items": item}
    return _TYPES.get(name, {"type": "string"})


def _shown(kind: str, more: str) -> Document:
    """A document of ``kind`` as it is shown: with ``more``, and without its empty fields unless ``--full``."""
    made = documents.json_schema(kind)
    for name, field in made["properties"].items():
        if "pattern" in field:
            made["properties"][name] = _TIME
        elif any("pattern" in one for one in field.get("anyOf", ())):
            made["properties"][name] = {"anyOf": [_TIME, {"type": "null"}]}
    extra = _object(more)["properties"]
    stands = documents.STANDING.get(kind)
    required = [name for name in made["properties"] if name != "schema" and (name in made["required"] or name == stands)]
    return {"type": "object", "properties": {**made["properties"], **extra}, "required": required}


def _log(fields: str) -> Document:
    """A row of the log, or with ``--full`` the record."""
    return {"anyOf": [_object(fields), {k: v for k, v in documents.json_schema("record").items() if k[0] != "$"}]}


def _ready(fields: str) -> Document:
    """A row of what is ready; with ``--explain`` a reason, or with an ID why this task is not."""
    reason = "reason=why_not count examples"
    return {"anyOf": [_object(fields), _object(reason), _object("task_id status ready place? urgency? urgent_for? why=strs?")]}


_OTHERS: dict[str, Any] = {"log": _log, "workflow logs": _log, "task ready": _ready}
"""Outputs whose objects are of several kinds."""
