"""What hypothesis makes, as `corpus.spoil` takes it: documents, journals with right checksums, names of files, git's settings.

A made entry is plain JSON, so that it reaches the guard as it is.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from hostile import journals, names, repositories, stores
from mbox.format import documents
from mbox.format.documents import KINDS

Entry = dict[str, Any]


_text = st.text(max_size=30) | st.sampled_from(
    ["../x", "/etc/passwd", "a\nb", "$(touch x)", "-rf", "\x1b[2J", "\u202e", "ann", "t-one", "r28", "m10", "x" * 5000]
)
_number = st.integers(-2, 40) | st.sampled_from([2**31, 2**53 - 1, 2**53, 2**63, -(2**63)])
_any = st.recursive(
    st.none() | st.booleans() | _number | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=6,
)  # fmt: skip
_time = st.sampled_from([journals.NOW, "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "yesterday"])

_ROW = dict.fromkeys(("role", "command", "env", "respawn", "sandbox", "prompt", "worktree", "host"), _any)
_row = st.fixed_dictionaries({"name": st.sampled_from(["hand", "boss"])}, optional=_ROW)

_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": _text, "str?": st.none() | _text, "int": _number, "num": _number, "bool": st.booleans(),
    "strs": st.lists(_text, max_size=4), "time": _time, "time?": st.none() | _time, "any": _any,
    "rows": st.lists(_row, max_size=3), "dict?": st.none() | st.dictionaries(_text, _any, max_size=2),
}  # fmt: skip


@st.composite
def document(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A document of ``kind``, most of it right."""
    fields = {
        field.name: draw(st.sampled_from(field.choices) if field.choices else _BY_TYPE[field.type])
        for field in KINDS[kind]
        if field.required or draw(st.booleans())
    }
    if draw(st.integers(0, 9)) == 0:
        fields[draw(st.sampled_from(sorted(fields)))] = draw(_any)
    return {"schema": 1, **fields}


_KINDS = {
    "message": ".mailbox/inbox/bob/new/m10.json", "task": ".tasks/t-one.json", "agent": ".mailbox/agents/ann.json",
    "reservation": ".mailbox/reservations/r28.json", "lease": ".mailbox/leases/r28.json", "team": ".mailbox/team/crew.json",
    "heartbeat": ".mailbox/heartbeat/ann", "status": ".mailbox/status/ann.json", "deadletter": ".mailbox/deadletter/m7.json",
}  # fmt: skip
_IDS = {"message": "msg_id", "task": "task_id", "agent": "agent", "reservation": "reservation_id", "team": "team"}


@st.composite
def documents_on_disk(draw: st.DrawFn) -> Entry:
    """A document that was changed behind the journal's back."""
    kind = draw(st.sampled_from(sorted(_KINDS)))
    doc = draw(document(kind))
    if kind in _IDS and draw(st.booleans()):
        doc[_IDS[kind]] = documents_id(kind)
    return {"files": [[_KINDS[kind], documents.compact(doc).encode("utf-8", "backslashreplace").decode("latin-1")]]}


def documents_id(kind: str) -> str:
    """The id of the document that stands at the kind's place."""
    return _KINDS[kind].rpartition("/")[2].removesuffix(".json")


@st.composite
def records(draw: st.DrawFn) -> Entry:
    """Records with right checksums at the journal's end."""
    kind = draw(st.sampled_from(sorted(_IDS)))
    doc = {**draw(document(kind)), _IDS[kind]: documents_id(kind)}
    path = st.sampled_from([*_KINDS.values(), "../x", ".git/config", ".mailbox/lock", ".tasks/../x.json"]) | _text
    fields = draw(st.fixed_dictionaries({"put": st.just([[doc, [_KINDS[kind]]]])}, optional={
        "op": st.sampled_from(["mail.send", "task.claim", "team.up", "agent.add", "store.adopt", "store.segment", "x"]),
        "by": st.sampled_from(["ann", "sweep", "store", "user:x"]) | _text, "on": st.lists(_text, max_size=3), "why": _text,
        "key": st.none() | st.lists(_text, max_size=3), "mv": st.lists(st.lists(path, min_size=1, max_size=2), max_size=2),
        "del": st.lists(path, max_size=2), "lease": st.lists(st.tuples(path, st.none() | document("lease")), max_size=2),
    }))  # fmt: skip
    return {"records": [fields]}


@st.composite
def file_names(draw: st.DrawFn) -> Entry:
    """Files under names that nobody checked."""
    raw = st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name)
    name = draw(raw | st.sampled_from(sorted(names.NAMES.values()))).decode("latin-1")
    places = draw(st.lists(st.sampled_from(names.PLACES), min_size=1, max_size=4, unique=True))
    return {"files": [[place.replace("{}", name), "{}"] for place in places if name not in (".", "..")]}


@st.composite
def git_settings(draw: st.DrawFn) -> Entry:
    """Settings of git, some of them programs."""
    section = draw(st.sampled_from(sorted(repositories.CONFIGS)))
    name = draw(st.sampled_from(repositories.CONFIGS[section]))
    value = draw(st.sampled_from(["EVIL", "EVIL #", "!EVIL", "|EVIL", "%(EVIL)", "/dev/zero", "true", "", "=", "\\"]))
    other = draw(_text.filter(lambda text: "\0" not in text))
    said = draw(st.sampled_from([value, '"' + value + '"', other]))
    line = f"[{section}]\n\t{name} = {said}"
    return {"config": [line.encode("utf-8", "backslashreplace").decode()]}


@st.composite
def databases(draw: st.DrawFn) -> Entry:
    """Indexes of some of the right bytes."""
    which = draw(st.sampled_from(["search", "index"]))
    tail = draw(st.sampled_from(["", "-journal", "-wal", "-shm"]))
    head = draw(st.sampled_from([b"SQLite format 3\0", stores.MAGIC, b"\x37\x7f\x06\x82", b""]))
    return {"files": [[f".mailbox/cache/{which}.sqlite{tail}", (head + draw(st.binary(max_size=600))).decode("latin-1")]]}


ANY = documents_on_disk() | records() | file_names() | git_settings() | databases()
