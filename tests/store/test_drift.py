"""Documents that moved behind the journal's back: each command asked first is right, whatever git, a copy or a person did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kit import ANN, BOB, USER, FakeHost, FaultyDisk, Killed, make, register, reopen, send
from mbox.doctor import survey
from mbox.errors import NotYours, StoreError
from mbox.format import places
from mbox.reservations import reserving
from mbox.reservations.reserving import ReservationRequest
from mbox.store import reconciliation, stamps
from mbox.store.files import Files
from mbox.store.store import Store
from mbox.tasks import claims, planning
from mbox.tasks.drafts import TaskDraft
from taskkit import World
from teamkit import until

Ask = Callable[..., Any]

GIT = ("git", "-c", "core.fsync=none")


class Office:
    """A repository with a store, ann and bob, and a task; commands by real processes."""

    def __init__(self, root: Path, run: Run) -> None:
        self.root, self._run = root, run
        self.env: dict[str, str | None] = {}
        self.before: tuple[str, ...] = ()
        self("mbox", "init")
        for name in ("ann", "bob"):
            self("mbox", "agent", "add", name)
        self.task = self("task", "add", "first", "-o", "id")

    def call(self, *words: str | Path, env: dict[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
        if self.before:
            words = (*self.before, Path(sys.executable).parent / words[0] if words[0] != "true" else words[0], *words[1:])
        return self._run(*words, cwd=self.root, env={**self.env, **(env or {})})

    def __call__(self, *words: str | Path) -> str:
        """What a command that must succeed prints."""
        done = self.call(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def keep(self) -> None:
        """Commit the documents, as somebody does who forces git to take them."""
        self(*GIT, "add", "-f", ".tasks", ".mailbox/agents", ".mailbox/inbox", ".mailbox/reservations")
        self(*GIT, "commit", "-qm", "documents")

    def clean(self) -> None:
        found = self.call("mbox", "doctor", "-o", "json")
        assert found.returncode == 0, found.stdout


@pytest.fixture
def office(repo: Path, run: Run) -> Office:
    """With its store made and its agents registered."""
    return Office(repo, run)


MOVES: dict[str, list[tuple[str, ...]]] = {
    "stash": [(*GIT, "stash", "-q")],
    "checkout": [(*GIT, "checkout", "-q", "--", ".")],
    "reset": [(*GIT, "reset", "-q", "--hard")],
    "another branch": [(*GIT, "stash", "-q"), (*GIT, "checkout", "-q", "HEAD~1")],
    "sparse": [(*GIT, "reset", "-q", "--hard"), (*GIT, "sparse-checkout", "set", "--no-cone", "/README.md")],
    "removed": [("rm", "-rf", ".tasks", ".mailbox/agents", ".mailbox/inbox", ".mailbox/reservations")],
}


def asked(office: Office, letter: str, task: str) -> dict[str, Callable[[], bool]]:
    """Each question, and whether its answer is right: ann has the task and a reservation, bob an unread and no other letter."""
    return {
        "list": lambda: [(row["task_id"], row["status"], row["owner"]) for row in office.json("task", "list")]
        == [(task, "claimed", "ann")],
        "show": lambda: office.json("task", "show", task)["owner"] == "ann",
        "ready": lambda: office.json("task", "ready") == [],
        "claim": lambda: office.call("task", "claim", task, "--as", "bob").returncode == 5,
        "done by another": lambda: office.call("task", "done", task, "--as", "bob").returncode == 5,
        "inbox": lambda: [row["msg_id"] for row in office.json("mbox", "inbox", "--as", "bob")] == [letter],
        "wait": lambda: office.json("mbox", "wait", "--as", "bob", "--timeout", "1s")[0]["msg_id"] == letter,
        "me": lambda: office.json("mbox", "me", "--as", "bob")["unread"] == 1,
        "status": lambda: office.json("mbox", "status")["tasks"]["claimed"] == 1,
        "check": lambda: office.call("reserve", "check", "src/a.py", "--as", "bob").returncode == 1,
        "agents": lambda: [row["agent"] for row in office.json("mbox", "agent", "list")] == ["ann", "bob"],
        "incarnation": lambda: office.json("mbox", "agent", "add", "ann").get("already"),
        "doctor": lambda: office.call("mbox", "doctor").returncode == 0,
    }


QUESTIONS = ("list", "show", "ready", "claim", "done by another", "inbox", "wait", "me", "status", "check", "agents",
             "incarnation", "doctor")  # fmt: skip


def settled(office: Office) -> tuple[str, str]:
    """Documents are committed; then ann claims the task, reserves, and bob reads one of two letters."""
    read = office("mbox", "send", "bob", "--as", "ann", "--body", "to be read", "-o", "id")
    office.keep()
    office("task", "claim", office.task, "--as", "ann")
    office("reserve", "src/**", "--as", "ann")
    office("mbox", "read", read, "--as", "bob")
    office("mbox", "ack", read, "--as", "bob")
    return office("mbox", "send", "bob", "--as", "ann", "--body", "unread", "-o", "id"), office.task


@pytest.mark.parametrize("move", MOVES)
def test_whoever_is_asked_first_is_right(office: Office, move: str) -> None:
    """After each move of git's, every question first, on a store of its own in the end state."""
    letter, task = settled(office)
    for words in MOVES[move]:
        office.call(*words)
    assert set(asked(office, letter, task)) == set(QUESTIONS)
    whole = office.root
    for question in QUESTIONS:
        office.root = whole.with_name(f"copy of {question}")
        subprocess.run(["cp", "-a", whole, office.root], check=True)
        assert asked(office, letter, task)[question](), question
        office.clean()
    office.root = whole
    for question, is_right in asked(office, letter, task).items():  # and in the very folder, one after the other
        assert is_right(), question
    office.clean()


def test_two_never_hold_one_task_after_a_stash(office: Office) -> None:
    """The claim stands, whatever git put there; what it put there is kept, and it is said once."""
    office.keep()
    office("task", "claim", office.task, "--as", "ann")
    office(*GIT, "stash", "-q")
    refused = office.call("task", "claim", office.task, "--as", "bob")
    assert refused.returncode == 5 and "held by ann" in refused.stderr
    assert refused.stderr.count("put back from the journal; what stood there is kept as") == 1
    assert office.call("task", "list").stderr.count("put back") == 0
    office.clean()


def test_an_old_file_that_is_copied_back_is_not_believed(office: Office) -> None:
    """With its old time and in its old place: a done task stays done, a letter that was read stays read."""
    letter = office("mbox", "send", "bob", "--as", "ann", "--body", "x", "-o", "id")
    at = [office.root / path for path in (places.task(office.task), places.new("bob", letter))]
    for n, path in enumerate(at):
        shutil.copy2(path, office.root.parent / str(n))
    office("task", "claim", office.task, "--as", "ann")
    office("task", "done", office.task, "--as", "ann")
    office("mbox", "read", letter, "--as", "bob")
    for n, path in enumerate(at):
        subprocess.run(["cp", "-p", office.root.parent / str(n), path], check=True)
    assert office.call("mbox", "wait", "--as", "bob", "--timeout", "0.1s").returncode == 4
    assert office.json("task", "show", office.task)["status"] == "done"
    assert office.call("task", "claim", "--as", "bob").returncode == 1
    office.clean()


def test_a_folder_that_is_put_back_with_its_time_is_seen(office: Office) -> None:
    """A copy with all its times: nothing in the folder is younger, but its inode was changed since."""
    subprocess.run(["cp", "-a", office.root / ".tasks", office.root.parent / "kept"], check=True)
    office("task", "claim", office.task, "--as", "ann")
    subprocess.run(["cp", "-a", f"{office.root.parent}/kept/.", office.root / ".tasks"], check=True)
    assert office.json("task", "list")[0]["status"] == "claimed"


def test_documents_of_a_branch_take_no_part(office: Office) -> None:
    """What the journal never heard of is kept aside; ids go on above it, and nothing is lost."""
    text = (office.root / places.task(office.task)).read_text()
    for ident in ("t900", "t7x"):
        (office.root / places.task(ident)).write_text(text.replace(f'"{office.task}"', f'"{ident}"'))
    assert [row["task_id"] for row in office.json("task", "list")] == [office.task]
    assert office.call("task", "show", "t900").returncode == 3
    assert places.number(office("task", "add", "next", "-o", "id")) > 900
    assert {path.name for path in (office.root / places.ASIDE).iterdir()} == {"t900-1.json", "t7x-1.json"}
    office.clean()


def test_a_message_by_its_id_is_where_the_journal_says(office: Office) -> None:
    """Archived, or in nobody's inbox any more: shown by its id although its files are gone."""
    letter = office("mbox", "send", "bob", "--as", "ann", "--body", "turnip", "-o", "id")
    office("mbox", "read", letter, "--as", "bob")
    office("mbox", "ack", letter, "--as", "bob")
    for folder in (places.ARCHIVE, places.OUTBOX, places.INBOX):
        shutil.rmtree(office.root / folder)
    assert office.json("mbox", "show", letter)["body"] == "turnip"


# -- after a death -------------------------------------------------------------------------------------------------


def cut_power(office: Office) -> None:
    """What no document survived: each is of no length, and the machine has begun another life."""
    for path in office.root.rglob("*.json"):
        if ".mailbox/cache" not in str(path) and "lease" not in str(path):
            os.truncate(path, 0)
    office.env["MBOX_BOOT_ID"] = "the-next-boot"


@pytest.mark.parametrize("question", QUESTIONS)
def test_after_a_power_cut_whoever_is_asked_first_is_right(office: Office, question: str) -> None:
    """Another boot, and every document at length zero, as a power cut leaves it."""
    letter, task = settled(office)
    cut_power(office)
    assert asked(office, letter, task)[question]()
    office.clean()


@pytest.mark.parametrize("question", ("list", "show", "inbox", "me", "status", "check", "agents"))
def test_a_store_that_nobody_may_write_answers_from_the_journal(office: Office, question: str) -> None:
    """As of which record is said; nothing changes."""
    letter, task = settled(office)
    cut_power(office)
    before = {path: path.read_bytes() for path in office.root.rglob("*") if path.is_file()}
    within = "mount --bind . . && mount -o remount,ro,bind . && cd \"$PWD\" && exec \"$@\""
    office.before = ("unshare", "--mount", "sh", "-c", within, "sh")
    if office.call("true").returncode:
        pytest.skip("no mount name space can be made here: there is no read-only store")
    assert asked(office, letter, task)[question]()
    assert "answered from the journal, as of record" in office.call("mbox", "status").stderr
    assert {path: path.read_bytes() for path in office.root.rglob("*") if path.is_file()} == before


def test_a_lock_that_is_not_had_is_answered_from_the_journal(office: Office) -> None:
    """A writer that was stopped with the lock, after another one died: readers say up to which record they speak."""
    (office.root / places.task(office.task)).unlink()
    script = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print('had', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, str(office.root / places.LOCK)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdin and holder.stdout.readline()
        done = office.call("task", "list", "-o", "json")
        holder.stdin.close()
    assert [row["task_id"] for row in json.loads(done.stdout)] == [office.task]
    assert "answered from the journal, as of record" in done.stderr
    assert office.json("task", "list")[0]["task_id"] == office.task


def test_a_writer_that_died_before_it_published(office: Office, run: Run) -> None:
    """Killed at the rename, right after the append: whoever is asked first knows the claim."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: nothing kills at a call")
    program = str(Path(sys.executable).parent / "task")
    for question in ("list", "show", "doctor", "status", "ready"):
        task = office("task", "add", question, "-o", "id")
        words = ["strace", "-qq", "-f", "-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=1", program, "claim", task]
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # Python renames, too, where it keeps a compiled module
        done = subprocess.run([*words, "--as", "ann"], cwd=office.root, env=environ, capture_output=True, check=False)
        assert done.returncode in (-signal.SIGKILL, 137)
        right = {
            "list": lambda task=task: {"task_id": task, "status": "claimed"}.items()
            <= next(row for row in office.json("task", "list") if row["task_id"] == task).items(),
            "show": lambda task=task: office.json("task", "show", task)["owner"] == "ann",
            "doctor": lambda: office.call("mbox", "doctor").returncode == 0,
            "status": lambda: office.json("mbox", "status")["tasks"]["claimed"] >= 1,
            "ready": lambda task=task: task not in [row["task_id"] for row in office.json("task", "ready")],
        }[question]
        assert right(), question


# -- a store that is in order ----------------------------------------------------------------------------------------


def test_reading_a_store_that_is_in_order_takes_no_lock_and_writes_nothing(office: Office) -> None:
    """Nor does it open the index."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: the calls are not seen")
    office("mbox", "send", "bob", "--as", "ann", "--body", "x")
    office("task", "claim", office.task, "--as", "ann")
    office("mbox", "status")
    calls = "flock,fcntl,rename,unlink,mkdir,utimensat,pwrite64,fsync,openat"
    for words in (["mbox", "inbox", "--as", "bob"], ["task", "list"], ["reserve", "check", "x", "--as", "bob"],
                  ["mbox", "me", "--as", "bob"], ["task", "show", office.task]):  # fmt: skip
        program = str(Path(sys.executable).parent / words[0])
        done = subprocess.run(["strace", "-f", "-qq", "-e", f"trace={calls}", program, *words[1:]], cwd=office.root,
                              capture_output=True, text=True, check=True)  # fmt: skip
        seen = [line for line in done.stderr.splitlines() if f"{office.root}/." in line or line.startswith("flock")]
        assert not [line for line in seen if "O_RDONLY" not in line and not line.startswith("openat")], words
        assert not [line for line in seen if "flock(" in line or "O_CREAT" in line or "index.sqlite" in line], words


def test_what_others_change_while_a_command_writes_is_seen(tmp_path: Path) -> None:
    """Between the staged files and the published ones, where nearly all of the time goes."""
    store = make(tmp_path, FakeHost())
    store.transact(send("one"), ANN)
    assert not stamps.unstamped(store, store.whose)

    class Meddler(FaultyDisk):
        def sync(self, fd: int) -> None:
            super().sync(fd)
            (tmp_path / places.new_folder("bob") / "m900.json").write_text("{}")

    again = reopen(tmp_path, FakeHost(), Meddler())
    again.transact(send("two"), ANN)
    assert stamps.unstamped(store, store.whose) == [places.new_folder("bob")]
    store.catch_up()
    assert not stamps.unstamped(store, store.whose) and survey.survey(store).clean
    assert not (tmp_path / places.new_folder("bob") / "m900.json").exists()


def test_a_document_that_changes_with_every_look_is_not_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody puts another file there each time between the look and the reading: exit 6, nothing is decided on it."""
    w = World(tmp_path)
    task = w.add()
    path, plain, puts = tmp_path / places.task(task), Files.load, list[Path]()

    def load(self: Files, place: str) -> Any:
        found = plain(self, place)
        if tmp_path / place == path:
            puts.append(path.with_name(f".tmp-{len(puts)}"))
            shutil.copyfile(path, puts[-1])
            puts[-1].replace(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Files, "load", load)
        with pytest.raises(StoreError, match="somebody else changes it all the time"):
            w.claim(ANN, task)
    assert len(puts) > 2
    assert w.claim(ANN, task)["task_id"] == task


def test_what_is_not_there_is_not_untouched(tmp_path: Path) -> None:
    """It bears no stamp: what the index says of it is not taken for what stands."""
    store = make(tmp_path, FakeHost())
    assert store.is_untouched(places.agent("bob"))
    (tmp_path / places.agent("bob")).unlink()
    assert not store.is_untouched(places.agent("bob"))


@pytest.mark.parametrize("name", ["t1.json", ".tmp-x", "note.txt"])
def test_a_stamp_is_lost_with_any_name(tmp_path: Path, name: str) -> None:
    """Made, moved or removed; what is changed in its place leaves the stamp."""
    store = make(tmp_path, FakeHost())
    folder = tmp_path / places.TASKS
    for change in ("touch", "mv", "rm"):
        words = {"touch": [name], "mv": [name, "other"], "rm": ["other"]}[change]
        subprocess.run([change, *words], cwd=folder, check=True)
        assert stamps.unstamped(store, store.whose) == [places.TASKS]
        stamps.stamp(store, [places.TASKS], store.whose)
        assert not stamps.unstamped(store, store.whose)
    assert stamps.unstamped(store, "another life") == [folder for folder in stamps.kept(store)
                                                      if (tmp_path / folder).exists()]  # fmt: skip


def test_what_people_may_edit_is_adopted_by_whoever_looks_first(office: Office) -> None:
    """By a record that names the fields; what is the toolkit's own goes back, and what stood there is kept."""
    path = office.root / places.task(office.task)
    text = path.read_text()
    path.write_text(text.replace('"title": "first"', '"title": "second"'))
    shown = office.call("task", "show", office.task, "-o", "json")
    assert json.loads(shown.stdout)["title"] == "second" and "adopted title" in shown.stderr
    last = json.loads(office("mbox", "log", "--limit", "1", "-o", "jsonl").splitlines()[-1])
    assert last["op"] == "store.adopt" and "title" in last["why"]
    edited = path.read_text().replace('"title": "second"', '"title": "third"').replace('"queued"', '"done"')
    path.write_text(edited)
    assert office.call("task", "claim", office.task, "--as", "ann").returncode == 0
    assert office.json("task", "show", office.task).items() >= {"title": "third", "status": "claimed"}.items()
    path.write_text(text)  # older than its last record: no edit, though its title differs
    assert office.json("task", "show", office.task).items() >= {"title": "third", "owner": "ann"}.items()
    office.clean()


def test_a_death_in_the_middle_of_a_look_leaves_it_to_be_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stamped before all of it was compared: what was gone is still known to be gone."""
    store = make(tmp_path, FakeHost())
    (tmp_path / places.agent("bob")).unlink()

    def dies(*_: object) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(reconciliation, "_mend", dies)
        with pytest.raises(Killed):
            store.catch_up()
    again = reopen(tmp_path, FakeHost())
    assert stamps.unstamped(again, again.whose)
    again.bring_up()
    assert (tmp_path / places.agent("bob")).exists() and not stamps.unstamped(again, again.whose)


@pytest.mark.parametrize("gone", [places.AGENTS, places.INBOX])
def test_a_folder_that_a_writer_makes_again_hides_nothing(tmp_path: Path, gone: str) -> None:
    """A process that goes on after its folder was taken away stamps no folder in which others are missing."""
    store = make(tmp_path, FakeHost())
    store.transact(send("one"), ANN)
    shutil.rmtree(tmp_path / gone)
    if gone == places.AGENTS:
        store.transact(register("cyd"), USER)
    else:
        store.transact(send("two"), ANN)
    reader = reopen(tmp_path, FakeHost())
    reader.bring_up()
    assert survey.survey(reader).clean


def test_a_decision_does_not_believe_the_status_of_a_dependency(tmp_path: Path) -> None:
    """A file that was changed a moment ago, which the command's first look did not see."""
    w = World(tmp_path)
    first = w.add("first")
    second = w.add("second", after=[first])
    file = tmp_path / places.task(first)
    file.write_text(file.read_text().replace('"status": "queued"', '"status": "done"'))
    with pytest.raises(claims.NotNow, match=f"depends on {first}, which is queued"):
        w.claim(ANN, second)
    assert w.status(first) == "queued"


MEDDLED = ("open", "lstat", "stat", "listdir", "link", "rename", "unlink", "utime", "mkdir", "access")


@pytest.mark.parametrize("gone", ["the file", "the folder", "an older one comes"])
@pytest.mark.parametrize("found", ["older", "edited", "torn"])
def test_others_go_on_while_it_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str, found: str) -> None:
    """At any call of a command that puts a document right somebody takes it away again: the answer is the same."""

    def prepare(w: World) -> tuple[Act, Act]:
        task = w.add("first")
        file = w.root / places.task(task)
        older = file.read_text()
        w.claim(ANN)
        file.write_text({"older": older, "edited": file.read_text().replace("first", "second"), "torn": "{"}[found])

        def meddle(_: Store) -> None:
            with suppress(FileNotFoundError):
                shutil.rmtree(file.parent) if gone == "the folder" else file.unlink()
            if gone.startswith("an older"):
                file.write_text(older)

        def claim(store: Store) -> None:
            with pytest.raises(NotYours, match="ann"):
                claims.claim_id(store, BOB, task, claims.ClaimRequest())

        return meddle, claim

    for store in at_each_call(tmp_path, monkeypatch, prepare):
        (doc,) = store.documents(places.TASKS)
        assert doc.items() >= {"status": "claimed", "owner": "ann"}.items()


Act = Callable[[Store], object]


def at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[World], tuple[Act, Act]]) -> Iterator[Store]:
    """Let the first that ``prepare`` gives happen before the n-th system call of the second, for every n; the store after it."""
    at, calls = 0, 0
    while at <= calls:
        w = World(tmp_path / str(at))
        meddle, act = prepare(w)
        w.store.close()
        store = reopen(w.root, w.host)
        with monkeypatch.context() as patch:
            count = meddling(patch, at, partial(meddle, store))
            store.bring_up()
            act(store)
            calls = count()
        again = reopen(w.root, w.host)
        again.bring_up()
        assert survey.survey(again).clean, at
        yield again
        at += 1
    assert calls > 40


def meddling(patch: pytest.MonkeyPatch, at: int, meddle: Callable[[], None]) -> Callable[[], int]:
    """Let ``meddle`` happen before the ``at``-th system call from here on; how many there were."""
    count, inside = 0, False

    def meddled(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count, inside
            if inside:
                return plain(*args, **kwargs)
            count += 1
            if count == at + 1:
                inside = True
                meddle()
                inside = False
            return plain(*args, **kwargs)

        return call

    for name in MEDDLED:
        patch.setattr(os, name, meddled(getattr(os, name)))
    return lambda: count


WRITERS: dict[str, Callable[[Store, str], object]] = {
    "add": lambda store, _: planning.add(store, USER, TaskDraft(id=None, title="x")),
    "claim": lambda store, task: claims.claim_id(store, BOB, task, claims.ClaimRequest()),
    "send": lambda store, _: store.transact(send("two"), ANN),
    "register": lambda store, _: store.transact(register("cyd"), USER),
    "reserve": lambda store, _: reserving.reserve(store, ANN, ReservationRequest(["a/**"], 60)),
}


@pytest.mark.parametrize("folder", [places.TASKS, places.AGENTS, places.INBOX, places.RESERVATIONS])
@pytest.mark.parametrize("verb", WRITERS)
def test_a_folder_goes_while_a_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, folder: str) -> None:
    """At any call of a command its folder is removed: it succeeds, and whoever looks next finds all of it."""

    def prepare(w: World) -> tuple[Act, Act]:
        task = w.add("first")
        w.store.transact(send("one"), ANN)
        return lambda _: shutil.rmtree(w.root / folder, ignore_errors=True), lambda store: WRITERS[verb](store, task)

    for store in at_each_call(tmp_path, monkeypatch, prepare):
        store.close()


def test_many_that_were_moved_are_not_said_one_by_one(office: Office) -> None:
    """A screen is enough for whatever git did."""
    plan = office.root.parent / "plan.jsonl"
    plan.write_text('{"title": "t"}\n' * 30)
    office("task", "import", plan)
    shutil.rmtree(office.root / places.TASKS)
    done = office.call("task", "list", "-o", "id")
    assert len(done.stdout.split()) == 31
    assert len(done.stderr.splitlines()) == reconciliation.SAID + 1 and "23 more likewise" in done.stderr
    office.clean()


WHOLE: dict[str, Callable[[Office], object]] = {
    "stash": lambda office: office(*GIT, "stash", "-q"),
    "checkout": lambda office: office(*GIT, "checkout", "-q", "--", "."),
    "reset": lambda office: office(*GIT, "reset", "-q", "--hard"),
    "copy": lambda office: office("cp", "-a", "../yesterday/.mailbox", "../yesterday/.tasks", "."),
}


@pytest.mark.parametrize("question", [["task", "claim", "x9", "--as", "bob"], ["task", "list"], ["mbox", "me", "--as", "ann"],
                                      ["mbox", "send", "bob", "--as", "ann", "--body", "x"], ["mbox", "doctor"]])  # fmt: skip
@pytest.mark.parametrize("move", WHOLE)
def test_a_store_that_was_put_back_whole_is_refused(office: Office, move: str, question: list[str]) -> None:
    """Journal, mark and lock agree with each other: nobody gets what somebody has, and nothing is touched."""
    office("task", "add", "second", "--id", "x9")
    office(*GIT, "add", "-f", ".mailbox", ".tasks")
    office(*GIT, "commit", "-qm", "all of it")
    office("mkdir", "../yesterday")
    office("cp", "-a", ".mailbox", ".tasks", "../yesterday")
    office("task", "claim", "x9", "--as", "ann")
    WHOLE[move](office)
    done = office.call(*question)
    assert done.returncode == (1 if question[1] == "doctor" else 6) and "took the store back in time" in done.stdout + done.stderr
    if move == "stash":
        office(*GIT, "stash", "pop", "-q")
        assert office.json("task", "show", "x9")["owner"] == "ann"
        office.clean()


# -- letters: what is unread, and what was sent or is archived -----------------------------------------------------------

EDITS: dict[str, tuple[str, str]] = {
    "body": ('"body": "first"', '"body": "EDITED"'),
    "sender": ('"from": "ann"', '"from": "cyd"'),
    "state": ('"state": "unread"', '"state": "acked"'),
    "ack": ('"needs_ack": true', '"needs_ack": false'),
}


@pytest.mark.parametrize("first", ["inbox", "read", "me"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_unread_letter_is_what_was_sent(office: Office, edit: str, first: str) -> None:
    """Whatever somebody writes into it in its place: neither shown nor taken over into the journal."""
    letter = office("mbox", "send", "bob", "--as", "ann", "--subject", "s", "--body", "first", "--needs-ack", "-o", "id")
    file = office.root / places.new("bob", letter)
    text = file.read_text()
    file.write_text(text.replace(*EDITS[edit]))
    assert file.read_text() != text
    office("mbox", first, "--as", "bob")
    if first != "read":
        assert file.read_text() == text
        office("mbox", "read", "--as", "bob")
    shown = office.json("mbox", "show", letter, "--as", "bob")
    assert shown.items() >= {"body": "first", "from": "ann", "needs_ack": True, "state": "read"}.items()
    office.clean()


def test_an_older_letter_that_is_put_back_counts_its_deliveries(office: Office) -> None:
    """A copy from before it was handed out is no fresh letter."""
    letter = office("mbox", "send", "bob", "--as", "ann", "--body", "x", "--needs-ack", "-o", "id")
    office("mbox", "config", "set", "max_deliveries", "2")
    office("mbox", "config", "set", "read_lease", "1s")
    file = office.root / places.new("bob", letter)
    copy = file.read_bytes()
    deliveries = []

    def came_back() -> bool:
        office("mbox", "watchdog", "--once")
        return file.exists() or bool(office.json("mbox", "deadletter", "list"))

    for _ in range(4):
        until(came_back, "it does not come back")
        if not file.exists():
            break
        file.with_name("copy").write_bytes(copy)
        file.with_name("copy").rename(file)
        office("mbox", "read", letter, "--as", "bob")
        deliveries.append(json.loads((office.root / places.cur("bob", letter)).read_text())["deliveries"])
    assert deliveries == [1, 2]
    office.clean()


LOST = {
    "archive": [places.ARCHIVE], "outbox": [places.OUTBOX], "both": [places.ARCHIVE, places.OUTBOX],
    "everything": [places.ARCHIVE, places.OUTBOX, places.INBOX],
}  # fmt: skip


@pytest.mark.parametrize("gone", LOST)
@pytest.mark.parametrize("question", ["show", "thread", "reply", "ack", "read", "gather", "reply to"])
def test_mail_that_was_dealt_with_is_not_forgotten(office: Office, gone: str, question: str) -> None:
    """Whoever asks for a letter by its id has it, and its state, from the journal where the files are gone."""
    letter = office("mbox", "send", "bob", "--as", "ann", "--type", "question", "--body", "hello", "-o", "id")
    office("mbox", "read", "--as", "bob")
    for folder in LOST[gone]:
        shutil.rmtree(office.root / folder)
    match question:
        case "show":
            shown = office.json("mbox", "show", letter)
            assert (shown["state"], shown["body"], shown["receivers"]) == ("acked", "hello", {"bob": "acked"})
        case "thread":
            assert [(row["msg_id"], row["state"]) for row in office.json("mbox", "thread", letter)] == [(letter, "acked")]
        case "reply":
            office("mbox", "reply", letter, "--as", "bob", "--body", "x")
        case "ack":
            assert office.json("mbox", "ack", letter, "--as", "bob")["already"]
        case "read":
            assert office.json("mbox", "read", letter, "--as", "bob")["body"] == "hello"
        case "gather":
            assert office.call("mbox", "gather", letter, "--as", "ann", "--timeout", "0.1s").returncode == 4
        case "reply to":
            office("mbox", "send", "ann", "--as", "bob", "--reply-to", letter, "--body", "x")


def test_sent_and_archived_mail_that_was_edited_is_shown_as_it_was(office: Office) -> None:
    """In the copy of its sender and in that of its reader."""
    letter = office("mbox", "send", "bob", "--as", "ann", "--body", "alpha", "-o", "id")
    office("mbox", "read", "--as", "bob")
    for file in [*office.root.glob(".mailbox/archive/**/*.json"), *office.root.glob(".mailbox/outbox/**/*.json")]:
        file.write_text(file.read_text().replace("alpha", "OMEGA"))
    for agent in ("ann", "bob"):
        assert office.json("mbox", "show", letter, "--as", agent)["body"] == "alpha"
