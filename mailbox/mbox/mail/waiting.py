"""Waiting for mail: `wait`, `watch`, and the answers to a question.

Promised: what is in the inbox when the waiting begins, and all that comes after, is seen: the watch is registered
before the first listing (`Bell`).  What was committed by a command that died before publishing is not slept over: at
each wake, and every `LOOK` seconds, the mark is compared with the journal, and if they differ the lock is taken once.
A root that vanishes ends the wait with exit 6.  Nothing here changes a message: waiting leaves mail unread.

Answers are found in the journal, not in the inbox, so that it makes no difference who has read them meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from mbox.mail import lookup as letters
from mbox.mail import sending as mail
from mbox.mail import reading
from mbox.format import places
from mbox.format.documents import Document
from mbox.errors import NotFound, Usage
from mbox.system.host import stamp
from mbox.journal.segments import Tail
from mbox.mail.lookup import ANY, Wanted
from mbox.mail.sending import Draft
from mbox.store.store import Actor, Store
from mbox.system.watch import BACKOFF, Watcher

T = TypeVar("T")

LOOK = 5.0
"""Seconds between looks at the mark while nothing rings."""

SHOWN = 20
"""Headers that `wait` prints at most."""


class Bell:
    """Rings when a name in an agent's ``new/`` changes.  A context manager, standing once it is made.

    An inbox that nobody has written to yet has no folder; then the nearest folder above is watched until it has.
    ``.mailbox`` itself is not, for the lock in it changes with every command; that it was moved away shows in `LOOK`.
    """

    def __init__(self, store: Store, agent: str, backend: str = "auto", backoff: Sequence[float] = BACKOFF) -> None:
        self._store = store
        self._target = store.absolute(places.new_folder(agent))
        self._top = store.absolute(places.MAILBOX)
        self._backend, self._backoff = backend, backoff
        self._say: Callable[[str], None] = store.say
        self._watch()

    def _watch(self) -> None:
        path = self._nearest()
        self._watcher = Watcher([path], self._backend, self._backoff, self._say)
        self._say, self._path = (lambda text: None), path
        if self._nearest() != path:
            self._again()

    def _again(self) -> None:
        self._watcher.close()
        self._watch()

    def _nearest(self) -> str:
        path = self._target
        while path != self._top and not os.path.isdir(path):
            path = os.path.dirname(path)
        return path

    def wait(self, seconds: float) -> bool:
        """Whether it rang within ``seconds``; StoreError if the store vanished."""
        rang = self._watcher.wait(seconds)
        if self._path != self._target and self._nearest() != self._path:
            self._again()
            return True
        return rang

    def __enter__(self) -> Bell:
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.close()


def until(store: Store, bell: Bell, look: Callable[[], T | None], timeout: float) -> T | None:
    """What ``look`` finds, or None after ``timeout`` seconds (0: never)."""
    end = store.host.mono() + timeout if timeout else None
    while True:
        found = look()
        if found is None and store.is_behind():
            store.catch_up()
            found = look()
        if found is not None:
            return found
        left = LOOK if end is None else end - store.host.mono()
        if left <= 0:
            return None
        bell.wait(min(LOOK, left))


# -- wait and watch ----------------------------------------------------------------------------------------------


class Arrivals:
    """The unread mail of ``agent`` that is ``wanted``, as `look` first sees it; with ``new`` only from now on.

    Mail that comes back (a lease ran out, a dead letter was retried) arrives again.
    """

    def __init__(self, store: Store, agent: str, wanted: Wanted = ANY, new: bool = False, limit: int = 0) -> None:
        self._store, self._agent, self._wanted, self._limit = store, agent, wanted, limit
        self._since = (store.read(places.agent(agent)) or {}).get("incarnation_since") or ""
        self._known = self._standing() if new else set()

    def _standing(self) -> set[str]:
        return {name[:-5] for name in self._store.names(places.new_folder(self._agent))}

    def look(self) -> list[Document] | None:
        """The headers of what has arrived since the last look, by priority, then age; None if nothing has."""
        there = self._standing()
        fresh = there - self._known
        if not fresh:
            self._known = there
            return None
        found = letters.unread(self._store, self._agent, self._wanted, self._known, self._limit)
        self._known = there | {doc["msg_id"] for doc in found}
        now = stamp(self._store.host.wall())
        return [letters.header(doc, now, self._since) for doc in found] or None


def wait(store: Store, agent: str, bell: Bell, wanted: Wanted = ANY, new: bool = False,
         timeout: float = 100) -> list[Document] | None:  # fmt: skip
    """The headers of unread mail that is ``wanted``: at once if there is some; None when time ran out."""
    return until(store, bell, Arrivals(store, agent, wanted, new, SHOWN).look, timeout)


def watch(store: Store, agent: str, bell: Bell, wanted: Wanted = ANY, new: bool = False) -> Iterator[Document]:
    """The header of each message as it is delivered, for ever; those that are unread already come first."""
    arrivals = Arrivals(store, agent, wanted, new)
    while True:
        yield from until(store, bell, arrivals.look, 0) or []


def take(store: Store, actor: Actor, bell: Bell, wanted: Wanted, limit: int, timeout: float) -> list[Document] | None:
    """Read up to ``limit`` messages that are ``wanted`` as soon as there are any; None when time ran out."""
    arrivals = Arrivals(store, actor.name, wanted)

    def look() -> list[Document] | None:
        there = arrivals.look()
        return (reading.read_many(store, actor, limit, wanted) or None) if there else None

    return until(store, bell, look, timeout)


# -- questions and their answers ---------------------------------------------------------------------------------


def ask(store: Store, actor: Actor, to: Iterable[str], draft: Draft, dry_run: bool = False) -> Document:
    """Send a question; its thread is where the answers are gathered."""
    return mail.send(store, actor, to, draft, dry_run=dry_run, op="mail.ask")


def question(store: Store, agent: str, thread: str) -> Document:
    """The question that ``agent`` asked and that ``thread``, or any message in it, belongs to."""
    doc = store.read(places.outbox(agent, thread))
    if doc is None:
        doc = store.read(places.outbox(agent, letters.find(store, thread, agent)["thread_id"]))
    if doc is None or doc["thread_id"] != doc["msg_id"]:
        names = [name[:-5] for name in store.names(places.outbox_folder(agent))]
        raise NotFound(f"{agent} asked no question {thread}{letters.meant(thread, names)}")
    return doc


def check_need(need: int | None, asked: Iterable[str]) -> None:
    """`Usage` if fewer than ``need`` were asked."""
    count = len(set(asked))
    if need is not None and not 0 < need <= count:
        raise Usage(f"--need {need}: {count} {'was' if count == 1 else 'were'} asked")


class Answers:
    """The answers to a question: messages in its thread to the asker from those who were asked.

    ``need``: how many of those must have answered; whoever answers twice counts once.
    """

    def __init__(self, store: Store, question: Document, need: int | None = None) -> None:
        asked: list[str] = list(question["to"])
        check_need(need, asked)
        self.question, self.asked = question, asked
        self.need = need or len(asked)
        self.found: list[Document] = []
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
            for doc in letters.in_thread(self._store, self.question["msg_id"], end, self._place):
                own = doc["msg_id"] == self.question["msg_id"]
                if not own and doc["from"] in self.asked and self.question["from"] in doc["to"]:
                    self.found.append(doc)
            self._place = end
        return self.found if len(self.asked) - len(self.missing) >= self.need else None

    def collect(self, actor: Actor) -> list[Document]:
        """The asker's copies of the answers; those that are unread are read, for `mail.finish` to acknowledge."""
        store, agent = self._store, actor.name
        waiting = [doc["msg_id"] for doc in self.found if store.read(places.new(agent, doc["msg_id"]))]
        taken = {doc["msg_id"]: doc for doc in mail.read(store, actor, waiting)} if waiting else {}
        return [taken.get(doc["msg_id"]) or letters.copy(store, agent, doc["msg_id"]) or doc for doc in self.found]


def summary(answers: Answers, docs: list[Document]) -> Document:
    """What `ask` and `gather` print: the thread, who is missing, and the answers."""
    fields = ("msg_id", "from", "subject", "body", "payload")
    rows = [{name: doc[name] for name in fields if doc[name] not in (None, "")} for doc in docs]
    out: dict[str, Any] = {"thread_id": answers.question["msg_id"], "answers": rows}
    return {**out, "missing": answers.missing} if answers.missing else out


def share(store: Store, actor: Actor, answers: Answers, docs: list[Document], dry_run: bool = False) -> Document:
    """Give the collected answers to everybody that was asked: once for the same answers, however often it is called.

    They travel in the payload, byte for byte; the body says who said what in a line each.
    """
    if not docs:
        raise Usage(f"nobody has answered {answers.question['msg_id']} yet; there is nothing to send")
    asked = answers.question
    rows = summary(answers, docs)["answers"]
    said = [f"{doc['from']} ({doc['msg_id']}): {(doc['body'].splitlines() or [''])[0][:200]}" for doc in docs]
    body = "\n".join([f"Answers to {asked['msg_id']}; what each wrote is in the payload.", *said])
    key = f"gather-{asked['msg_id']}-{'-'.join(doc['msg_id'] for doc in docs)}"
    draft = Draft(body=body, subject=f"Answers: {asked['subject']}".rstrip(": "), type="note", payload=rows, key=key)
    return mail.send(store, actor, asked["to"], draft, reply_to=asked["msg_id"], dry_run=dry_run)
