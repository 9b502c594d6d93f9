"""Mail at rest, sent or archived, whose files are gone, edited or not ours: every question is answered by the journal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kit import FakeHost, tree
from mailkit import ANN, BOB, office, opened, said, send
from mbox.doctor import survey
from mbox.format import places
from mbox.mail import inbox, lookup, questions, reading, sending
from mbox.mail.sending import MailDraft
from mbox.report import history, search
from mbox.store.store import Store
from mbox.system.disk import Disk

Ask = Callable[[Store], Any]
FIRST, SECOND, ASKED = "m6", "m7", "m8"
NOTE = MailDraft(body="hello", subject="number 0", priority=4, key="k0")


class Desk:
    """Bob has three letters of ann's archived; she waits for an answer to the last of them, a question."""

    def __init__(self, root: Path) -> None:
        self.root, self.host = root, FakeHost()
        store = office(root, self.host)
        assert sending.send(store, ANN, ["bob"], NOTE)["msg_id"] == FIRST
        assert send(store, ANN, "bob", subject="number 1") == SECOND
        assert questions.ask(store, ANN, ["bob"], MailDraft(body="well?"))["msg_id"] == ASKED
        reading.finish(store, BOB, reading.read_many(store, BOB, 0))
        store.close()

    def opened(self) -> Store:
        """As the next command has it."""
        store = opened(self.root, self.host)
        store.bring_up()
        return store

    def asked(self, question: Ask) -> Any:
        store = self.opened()
        try:
            return question(store)
        finally:
            store.close()

    @property
    def month(self) -> Path:
        return next((self.root / places.ARCHIVE / "bob").iterdir())

    def clean(self) -> None:
        found = survey.survey(self.opened())
        assert found.clean, found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """In an office of its own."""
    return Desk(tmp_path)


GONE = {
    "archive": [places.ARCHIVE], "agent": [f"{places.ARCHIVE}/bob"], "month": [f"{places.ARCHIVE}/bob/*"],
    "letter": [f"{places.ARCHIVE}/bob/*/{FIRST}.json"], "outbox": [places.OUTBOX], "sender": [f"{places.OUTBOX}/ann"],
    "both": [places.ARCHIVE, places.OUTBOX],
}  # fmt: skip


def _titles(store: Store) -> list[str]:
    titles = history.Titles(store)
    return [titles.of(record) for _, record in store.journal.records(store.journal.find(0, store.end()), store.end())
            if record["op"] == "mail.ack"]  # fmt: skip


def _listed(store: Store) -> list[tuple[str, str, str]]:
    return [(row["msg_id"], row["state"], row["subject"]) for row in inbox.inbox(store, "bob", 20, True)[0]]


QUESTIONS: dict[str, Ask] = {
    "inbox": _listed,
    "asked by": lambda store: questions.asked_by(store, "ann"),
    "asked of": lambda store: [[doc["msg_id"] for doc in docs] for docs in questions.asked_of(store, "bob")],
    "search": lambda store: sorted(
        (row["id"], row["state"]) for row in search.standing(store, search.search(store, ["number"])[0])),
    "sent again": lambda store: lookup.in_one_state(store, sending.send(store, ANN, ["bob"], NOTE)),
    "titles": _titles,
    "found": lambda store: lookup.find(store, FIRST, "bob"),
    "shown": lambda store: lookup.show(store, FIRST, "bob"),
    "thread": lambda store: lookup.thread(store, FIRST),
    "question": lambda store: questions.question(store, "ann", ASKED),
    "acked": lambda store: reading.acknowledge(store, BOB, [FIRST]),
    "read": lambda store: reading.read(store, BOB, [FIRST]),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_nothing_is_left_out_that_is_gone(desk: Desk, question: str) -> None:
    """Whoever is asked first says what was said before it was gone; then all is as it was."""
    before = desk.asked(QUESTIONS[question])
    assert before
    for gone in GONE:
        for path in (path for pattern in GONE[gone] for path in desk.root.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert desk.asked(QUESTIONS[question]) == before, gone
        desk.asked(lambda store: (store.whole(places.archive_folder("bob")), store.whole(places.outbox_folder("ann"))))
        desk.clean()


def test_looking_at_the_archive_takes_no_other_folder_for_whole(desk: Desk) -> None:
    """Somebody was there and among the agents: what is compared by its name alone is the mail at rest alone."""
    before = tree(desk.root)
    (desk.month / f"{FIRST}.json").unlink()
    agent = desk.root / places.AGENTS / "bob.json"
    edited = agent.read_text().replace('"incarnation": 1', '"incarnation": 7')
    agent.unlink()
    agent.write_text(edited)
    store = opened(desk.root, desk.host)
    store.whole(places.archive_folder("bob"))
    store.close()
    assert tree(desk.root) == before


def test_an_answer_leads_to_a_question_whose_file_is_gone(desk: Desk) -> None:
    """`gather` by the id of an answer."""
    answer = desk.asked(lambda store: sending.reply(store, BOB, ASKED, MailDraft(body="so")))["msg_id"]
    shutil.rmtree(desk.root / places.OUTBOX)
    assert desk.asked(lambda store: questions.question(store, "ann", answer))["msg_id"] == ASKED


def test_what_is_archived_after_a_loss_hides_nothing(desk: Desk) -> None:
    """A folder that a command makes anew is not taken for whole."""
    for gone in (desk.month, desk.root / places.ARCHIVE / "bob", desk.root / places.ARCHIVE):
        shutil.rmtree(gone)
        store = desk.opened()
        send(store, ANN, "bob")
        reading.finish(store, BOB, reading.read(store, BOB))
        store.close()
        assert len(list(desk.month.iterdir())) == 1
        known = {row[0] for row in desk.asked(_listed)}
        assert known >= {FIRST, SECOND, ASKED} and known == {path.stem for path in desk.month.iterdir()}
    desk.clean()


@pytest.mark.parametrize("question", ["inbox", "asked by", "asked of"])
def test_what_is_in_order_is_listed_without_the_lock(desk: Desk, question: str) -> None:
    """What the store itself has put there is believed: nobody is waited for, and nothing is written."""
    desk.asked(QUESTIONS[question])
    store = desk.opened()
    for _ in range(2):
        send(store, ANN, "bob")
        reading.finish(store, BOB, reading.read(store, BOB))
    store.close()
    before = {path: path.stat().st_mtime_ns for path in (desk.root / ".mailbox").rglob("*")}
    store = desk.opened()
    store.locked = lambda *_: pytest.fail("the lock was taken")  # type: ignore[assignment]
    QUESTIONS[question](store)
    assert {path: path.stat().st_mtime_ns for path in (desk.root / ".mailbox").rglob("*")} == before


@pytest.mark.parametrize("question", ["inbox", "asked by", "asked of"])
def test_it_is_compared_once_in_another_life_of_the_machine(desk: Desk, question: str) -> None:
    """After that a list needs no lock again."""
    desk.host.reboot()
    desk.asked(QUESTIONS[question])
    store = desk.opened()
    store.locked = lambda *_: pytest.fail("the lock was taken")  # type: ignore[assignment]
    QUESTIONS[question](store)


def test_a_letter_that_the_journal_does_not_know_is_not_listed(desk: Desk) -> None:
    """Somebody copied it there: it takes no part, and is kept aside."""
    text = (desk.month / f"{FIRST}.json").read_text()
    (desk.month / "m900.json").write_text(text.replace(FIRST, "m900"))
    assert "m900" not in {row[0] for row in desk.asked(_listed)}
    assert len(list((desk.root / places.ASIDE).iterdir())) == 1
    desk.clean()


class ReadOnly(Disk):
    """A disk on which nothing can be made."""

    def open(self, path: str, flags: int) -> int:
        if flags & 3 or flags & 64:
            raise PermissionError(13, "Permission denied", path)
        return super().open(path, flags)


@pytest.mark.parametrize("question", ["inbox", "asked by", "asked of", "shown"])
def test_a_store_that_nobody_may_write_answers_from_the_journal(desk: Desk, question: str) -> None:
    """Lists and letters; and it is said as of which record."""
    before = desk.asked(QUESTIONS[question])
    shutil.rmtree(desk.root / places.ARCHIVE)
    shutil.rmtree(desk.root / places.OUTBOX)
    store = opened(desk.root, desk.host, ReadOnly())
    store.bring_up()
    assert QUESTIONS[question](store) == before
    assert [line for line in said(store) if "answered from the journal" in line]


EDITS = {
    "subject": ('"subject": "number 0"', '"subject": "EDITED"'), "priority": ('"priority": 4', '"priority": 9'),
    "sender": ('"from": "ann"', '"from": "cyd"'), "body": ('"body": "hello"', '"body": "EDITED"'),
    "state": ('"state": "acked"', '"state": "expired"'), "reader": ('"read_by": "bob"', '"read_by": null'),
    "thread": (f'"thread_id": "{FIRST}"', f'"thread_id": "{SECOND}"'), "hops": ('"hops": 0', '"hops": 32'),
    "receivers": ('"bob"\n', '"cyd"\n'), "task": ('"task_id": null', '"task_id": "t9"'),
    "wants": ('"needs_ack": false', '"needs_ack": true'), "round": ('"round_id": null', '"round_id": "r"'),
    "type": ('"type": "note"', '"type": "question"'),
}  # fmt: skip


def _reply(store: Store) -> Any:
    reply = lookup.find(store, sending.reply(store, BOB, FIRST, MailDraft(body="x"))["msg_id"])
    return {name: reply[name] for name in ("subject", "thread_id", "to", "hops", "task_id", "round_id", "type", "priority")}


def _added(store: Store) -> Any:
    more = lookup.find(store, sending.send(store, ANN, ["bob"], MailDraft(body="x"), FIRST)["msg_id"])
    return {name: more[name] for name in ("subject", "thread_id", "to", "hops", "task_id", "round_id", "type", "priority")}


@pytest.mark.parametrize("question", [*QUESTIONS, "reply", "added"])
def test_an_edited_copy_is_not_believed(desk: Desk, question: str) -> None:
    """Of sent and archived mail nothing is taken from the file: neither shown nor taken over."""
    ask = {**QUESTIONS, "reply": _reply, "added": _added}[question]
    before = desk.asked(ask)
    for edit in EDITS:
        for file in (desk.month / f"{FIRST}.json", desk.root / places.outbox("ann", FIRST)):
            file.write_text(file.read_text().replace(*EDITS[edit]))
        assert desk.asked(ask) == before, edit


def test_an_edited_copy_is_not_believed_in_another_life_of_the_machine(desk: Desk) -> None:
    """Archived mail bears no stamp of it: it is compared where it is asked for."""
    before = desk.asked(QUESTIONS["inbox"]), desk.asked(QUESTIONS["shown"])
    for question, was in zip(("inbox", "shown"), before, strict=True):
        desk.host.reboot(f"boot for {question}")
        (desk.month / f"{FIRST}.json").write_text((desk.month / f"{FIRST}.json").read_text().replace("number 0", "EDITED"))
        assert desk.asked(QUESTIONS[question]) == was


def test_the_commands_agree(staffed: Path, run: Run) -> None:
    """By real processes: what `show` brings back, `inbox --all`, `send` with a key and `search` have found before."""

    def told(*words: str) -> Any:
        return json.loads(run(*words, "-o", "json", cwd=staffed, check=True).stdout)

    send = ("mbox", "send", "bob", "--as", "ann", "--body", "hello", "--key", "k")
    letter = told(*send)["msg_id"]
    run("mbox", "read", "--as", "bob", cwd=staffed, check=True)
    for folder in (places.ARCHIVE, places.OUTBOX):
        shutil.rmtree(staffed / folder)
    assert told(*send) == {"msg_id": letter, "state": "acked", "already": True}
    shutil.rmtree(staffed / places.ARCHIVE)
    assert [(row["msg_id"], row["state"]) for row in told("mbox", "inbox", "--all", "--as", "bob")] == [(letter, "acked")]
    shutil.rmtree(staffed / places.ARCHIVE)
    assert [(row["id"], row["state"]) for row in told("mbox", "search", "hello")] == [(letter, "acked")]
