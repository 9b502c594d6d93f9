"""Questions: those that an agent asked and those that it was asked, the answers, and handing these out to all.

A question is answered by a message to its asker that is a reply to it or, where it began its thread, a later one of that
thread (as `Answers` counts); its asker has done with it once ``gather --send`` has handed the answers out (`share`).
That somebody merely stopped waiting is known to nobody.

What waits for an answer (`asked_by`, `asked_of`) is for display, without the lock, from the documents alone; nothing is
changed for it.  The bound: of what an agent has sent, of its unread mail, of its read mail and of its archive (by
month), the newest `LOOKED` each are looked at.  A question from before what was looked at for its answer is passed
over, so that none is named that was answered long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mbox.agents import registry
from mbox.errors import MboxError, NotFound, Usage
from mbox.format import keys, operations, places
from mbox.format.documents import Document
from mbox.journal.record import Tail
from mbox.store.store import Actor, Store

from . import lookup, reading

if TYPE_CHECKING:
    from .sending import MailDraft

ANSWERS = "answers"
"""The type of the message that hands the answers out."""

_HANDED_OUT = (f'"{ANSWERS}"', '"gather-')
"""What stands in the bytes of one, of this version or an older one."""

SOME = 16
"""Answers that are read in one record at most."""

LOOKED = 200
"""Files looked at, of the newest, in each of outbox, unread, read and archived mail."""


def asked_by(store: Store, name: str) -> dict[str, list[str]]:
    """Questions of ``name`` that still wait, oldest first: its thread → who has not answered."""
    sent, _ = _sent(store, name)
    found = {doc["thread_id"]: doc for doc in _holding(store, sent, "question") if doc["type"] == "question"}
    if not found:
        return {}
    missing = {thread: set(doc["to"]) for thread, doc in found.items()}
    for doc in _holding(store, sent, *_HANDED_OUT):
        if (question := found.get(doc["thread_id"])) and _hands_out(doc, question):
            missing[doc["thread_id"]].clear()
    got, since = _got(store, name)
    for doc in _holding(store, got, *found):
        if (question := found.get(doc["thread_id"])) and _answers(doc, question):
            missing[doc["thread_id"]].discard(doc["from"])
    waiting = sorted((thread for thread, names in missing.items() if names), key=places.number)
    return {one: sorted(missing[one]) for one in waiting if places.number(found[one]["msg_id"]) > since}


def asked_of(store: Store, name: str) -> tuple[list[Document], list[Document]]:
    """Questions to ``name`` that it has not answered, oldest first: those that are unread, and those that it has read."""
    got, _ = _got(store, name)
    sent, since = _sent(store, name)
    found = {
        doc["msg_id"]: doc for doc in _holding(store, got, "question")
        if doc["type"] == "question" and doc["state"] != "expired" and places.number(doc["msg_id"]) > since
    }  # fmt: skip
    if not found:
        return [], []
    open_ = set(found)
    for doc in _holding(store, sent, *(doc["thread_id"] for doc in found.values())):
        open_ -= {ident for ident in open_ if _answers(doc, found[ident])}
    for doc in _holding(store, got, *_HANDED_OUT):
        open_ -= {ident for ident in open_ if _hands_out(doc, found[ident])}
    here = set(registry.active(store))
    left = [found[ident] for ident in sorted(open_, key=places.number) if found[ident]["from"] in here]
    return [doc for doc in left if doc["state"] == "unread"], [doc for doc in left if doc["state"] != "unread"]


def _answers(doc: Document, question: Document) -> bool:
    """Whether a message of whoever was asked answers ``question``."""
    if question["from"] not in doc["to"] or places.number(doc["msg_id"]) <= places.number(question["msg_id"]):
        return False
    first = question["thread_id"] == question["msg_id"]
    return bool(doc["parent_id"] == question["msg_id"] or (first and doc["thread_id"] == question["thread_id"]))


def _hands_out(doc: Document, question: Document) -> bool:
    """Whether this is what ``gather --send`` sent (`share`): from who asked, about the question, to all who were asked."""
    if (doc["from"], doc["parent_id"], doc["to"]) != (question["from"], question["msg_id"], question["to"]):
        return False
    return bool(doc["type"] == ANSWERS) or _is_of_older_version(doc)


def _is_of_older_version(doc: Document) -> bool:
    """Whether an older version handed out answers with this: it named them in the key, and they are in the payload."""
    ids = _handed_out(doc)
    return bool(ids) and doc["key"] == "-".join(["gather", doc["parent_id"], *ids])


def _handed_out(doc: Document) -> list[str]:
    """The ids of the answers in the payload of a message that hands them out."""
    rows = doc["payload"] if isinstance(doc["payload"], list) else []
    return [str(row.get("msg_id")) for row in rows if isinstance(row, dict)]


def _sent(store: Store, name: str) -> tuple[list[str], int]:
    """The newest paths of an outbox, and the number up to which others were left out (0: none)."""
    store.whole(places.outbox_folder(name))
    return _newest(store, [places.outbox_folder(name)])


def _got(store: Store, name: str) -> tuple[list[str], int]:
    """The newest paths of an inbox and of its archive, and the number up to which others were left out (0: none)."""
    folder = places.archive_folder(name)
    store.whole(folder)
    months = [f"{folder}/{month}" for month in places.months(store.names(folder))]
    looked = [_newest(store, some) for some in ([places.new_folder(name)], [places.cur_folder(name)], months)]
    return [path for paths, _ in looked for path in paths], max(since for _, since in looked)


def _newest(store: Store, folders: list[str]) -> tuple[list[str], int]:
    """Of folders, the newest first: the newest `LOOKED` paths, and the highest number that was left out (0: none)."""
    found: list[tuple[int, str]] = []
    for folder in folders:
        found += [(places.number(ident), f"{folder}/{ident}.json") for ident in places.idents(store.names(folder))]
        if len(found) > LOOKED:
            break
    found.sort(reverse=True)
    return [path for _, path in found[:LOOKED]], found[LOOKED][0] if len(found) > LOOKED else 0


def _holding(store: Store, paths: list[str], *words: str) -> Iterator[Document]:
    """The messages at ``paths`` in whose bytes one of ``words`` stands; only these are parsed."""
    needles = [word.encode() for word in words]
    for path in paths:
        try:
            data = store.bytes_of(path)
        except (MboxError, OSError):
            continue
        if any(needle in data for needle in needles) and (doc := _letter(store, path)):
            yield doc


def _letter(store: Store, path: str) -> Document | None:
    return lookup.sent(store, places.ident(path)) if path.startswith(f"{places.OUTBOX}/") else store.glance(path)


def ask(store: Store, actor: Actor, to: Iterable[str], draft: MailDraft) -> Document:
    """Send a question; its thread is where the answers are gathered."""
    from .sending import send

    return send(store, actor, to, draft, op=operations.MAIL_ASK)


def question(store: Store, agent: str, thread: str) -> Document:
    """The question that ``agent`` asked and that ``thread``, or any message in it, belongs to."""
    doc = lookup.sent(store, thread)
    if doc is None or doc["thread_id"] != thread:
        doc = lookup.sent(store, lookup.find(store, thread, agent)["thread_id"])
    if doc is None or doc["from"] != agent or doc["thread_id"] != doc["msg_id"]:
        names = places.idents(store.names(places.outbox_folder(agent)))
        raise NotFound(f"{agent} asked no question {thread}{lookup.meant(thread, names)}")
    return doc


def check_need(need: int | None, asked: Iterable[str]) -> None:
    """`Usage` if fewer than ``need`` were asked."""
    count = len(set(asked))
    if need is not None and not 0 < need <= count:
        raise Usage(f"--need {need}: {count} {'was' if count == 1 else 'were'} asked")


class Answers:
    """The answers to a question: messages in its thread to the asker from those who were asked.

    ``need``: how many of those must have answered; whoever answers twice counts once.  ``handed_out``: what gave answers
    to all who were asked.
    """

    def __init__(self, store: Store, question: Document, need: int | None = None) -> None:
        asked: list[str] = list(question["to"])
        check_need(need, asked)
        self.question, self.asked = question, asked
        self.need = need or len(asked)
        self.found: list[Document] = []
        self.handed_out: list[Document] = []
        self._store = store
        self._place: Tail | None = None

    @property
    def missing(self) -> list[str]:
        """Who has not answered."""
        answered = {doc["from"] for doc in self.found}
        return [name for name in self.asked if name not in answered]

    def look(self) -> list[Document] | None:
        """All answers, once enough have come; None until then."""
        end = self._store.end()
        if end != self._place:
            for doc in lookup.in_thread(self._store, self.question["msg_id"], end, self._place):
                if doc["msg_id"] == self.question["msg_id"]:
                    continue
                if _hands_out(doc, self.question):
                    self.handed_out.append(doc)
                elif doc["from"] in self.asked and self.question["from"] in doc["to"]:
                    self.found.append(doc)
            self._place = end
        return self.found if len(self.asked) - len(self.missing) >= self.need else None

    def collect(self, actor: Actor) -> list[Document]:
        """The asker's copies of the answers; those that are unread are read, for `reading.finish` to acknowledge."""
        store, agent = self._store, actor.name
        waiting = [doc["msg_id"] for doc in self.found if store.read(places.new(agent, doc["msg_id"]))]
        some = (waiting[at : at + SOME] for at in range(0, len(waiting), SOME))
        taken = {doc["msg_id"]: doc for ids in some for doc in reading.read(store, actor, ids)}
        return [taken.get(doc["msg_id"]) or lookup.copy(store, agent, doc["msg_id"]) or doc for doc in self.found]


def summary(answers: Answers, docs: list[Document]) -> Document:
    """What `ask` and `gather` print: the thread, who is missing, and the answers."""
    fields = ("msg_id", "from", "subject", "body", "payload")
    rows = [{name: doc[name] for name in fields if doc[name] not in (None, "")} for doc in docs]
    out: dict[str, Any] = {"thread_id": answers.question["msg_id"], "answers": rows}
    return {**out, "missing": answers.missing} if answers.missing else out


def share(store: Store, actor: Actor, answers: Answers, docs: list[Document]) -> Document:
    """Give the collected answers to everybody that was asked: once for the same answers, however often it is called.

    They travel in the payload of a message of type `ANSWERS`, byte for byte; the body says who said what in a line each.
    """
    if not docs:
        raise Usage(f"nobody has answered {answers.question['msg_id']} yet; there is nothing to send")
    asked, ids = answers.question, [doc["msg_id"] for doc in docs]
    before = next((doc for doc in answers.handed_out if _handed_out(doc) == ids), None)
    if before:
        return {name: before[name] for name in ("msg_id", "thread_id", "to")} | {"already": True}
    rows = summary(answers, docs)["answers"]
    said = [f"{doc['from']} ({doc['msg_id']}): {(doc['body'].splitlines() or [''])[0][:200]}" for doc in docs]
    body = "\n".join([f"Answers to {asked['msg_id']}; what each wrote is in the payload.", *said])
    key = keys.own(ANSWERS, asked["msg_id"], *ids)
    from .sending import MailDraft, send

    draft = MailDraft(body=body, subject=f"Answers: {asked['subject']}".rstrip(": "), type=ANSWERS, payload=rows, key=key)
    return send(store, actor, asked["to"], draft, reply_to=asked["msg_id"])
