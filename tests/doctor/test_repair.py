"""Mending by what the journal says: no field of the toolkit's own is ever taken from a file, and what was done is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kit import ANN, USER, journaled, make, read, send, set_aside, tree
from mbox.doctor import repair, survey
from mbox.errors import Refused
from mbox.format import places
from mbox.store.earlier import earlier


@pytest.fixture
def root(tmp_path: Path, run: Run) -> Path:
    """A store with agents a and b, a task t that a holds, and a queued task u."""
    folder = tmp_path / "r"
    folder.mkdir()
    for words in (("mbox", "init"), ("mbox", "agent", "add", "a"), ("mbox", "agent", "add", "b"),
                  ("task", "add", "T", "--id", "t"), ("task", "claim", "t", "--as", "a"),
                  ("task", "add", "U", "--id", "u")):  # fmt: skip
        run(*words, cwd=folder, check=True)
    return folder


def edit(root: Path, path: str, **changes: Any) -> Path:
    """Change fields of a document by hand."""
    file = root / path
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}, indent=2) + "\n")
    return file


def mended(root: Path, run: Run, *words: str, **env: str) -> tuple[dict[str, str], str]:
    """What ``doctor --repair`` did, by path, and its stderr; the store is clean after it."""
    done = run("mbox", "doctor", "--repair", *words, cwd=root, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(run("mbox", "doctor", cwd=root, check=True).stdout)["clean"]
    return {row["path"]: row["did"] for row in json.loads(done.stdout).get("did", [])}, done.stderr


def last(root: Path, run: Run) -> dict[str, Any]:
    """The newest record."""
    rows: list[dict[str, Any]] = json.loads(run("mbox", "log", "--limit", "1", "-o", "json", cwd=root).stdout)
    return rows[-1]


OWNED = {"status": "queued", "owner": None, "token": 0, "attempt_count": 2, "round": 7, "reviewer": "b", "result": {"x": 1}}


@pytest.mark.parametrize("field", OWNED)
def test_what_the_toolkit_owns_comes_from_the_journal(field: str, root: Path, run: Run) -> None:
    """Whatever the file says: it is put back, what stood there is kept and said, and no record is made."""
    before, newest = (root / ".tasks/t.json").read_bytes(), last(root, run)
    edit(root, ".tasks/t.json", **{field: OWNED[field]})
    did, said = mended(root, run)
    assert (root / ".tasks/t.json").read_bytes() == before and last(root, run) == newest
    assert list(did) == [".tasks/t.json"]
    for word in ("restored as the journal has it", f"{field} (the toolkit's own)", f"{root}/.mailbox/aside/t-1.json"):
        assert word in did[".tasks/t.json"] and word in said
    assert list(set_aside(root)) == ["t-1.json"]
    assert (root / ".tasks/leases/t.json").exists(), "the lease that holds is not void by a file"
    assert run("task", "done", "t", "--as", "a", cwd=root).returncode == 0


def test_an_edit_is_adopted_by_name_and_the_rest_put_back(root: Path, run: Run) -> None:
    """The record names what changed; the holder stays the holder."""
    edit(root, ".tasks/t.json", title="better", labels=["ui"], status="done", owner=None)
    edit(root, ".mailbox/agents/b.json", host="codex", role="orchestrator")
    did, _ = mended(root, run)
    assert did[".tasks/t.json"].startswith("adopted title, labels; put back status, owner (the toolkit's own); what stood there")
    assert did[".mailbox/agents/b.json"].startswith("adopted host; put back role (the toolkit's own); ")
    record = last(root, run)
    assert (record["op"], sorted(record["on"])) == ("store.adopt", ["b", "t"])
    assert record["why"] == ".mailbox/agents/b.json: host; .tasks/t.json: title, labels" or record["why"].endswith(": host")
    task = json.loads((root / ".tasks/t.json").read_text())
    assert (task["title"], task["labels"], task["status"], task["owner"]) == ("better", ["ui"], "claimed", "a")
    assert json.loads((root / ".mailbox/agents/b.json").read_text())["role"] == "worker"
    assert run("task", "done", "t", "--as", "a", cwd=root).returncode == 0


@pytest.mark.parametrize("back", ["a task", "a letter", "a final task"])
def test_a_document_that_came_back_older_is_no_edit(back: str, root: Path, run: Run) -> None:
    """Its bytes are those of an earlier state: put back whole, nothing adopted, nothing to be kept."""
    if back == "a letter":
        run("mbox", "send", "b", "--body", "hello", "--as", "a", cwd=root, check=True)
        file = next((root / ".mailbox/inbox/b/new").iterdir())
        after = [("mbox", "read", "--as", "b")]
    else:
        file = root / ".tasks/u.json"
        after = [("task", "update", "u", "--title", "newer")]
        after += [("task", "claim", "u", "--as", "b"), ("task", "done", "u", "--as", "b")] if back == "a final task" else []
    old = file.read_bytes()
    for words in after:
        run(*words, cwd=root, check=True)
    before, newest = tree(root), last(root, run)
    file.write_bytes(old)
    did, _ = mended(root, run)
    word = "removed, as the journal says" if back == "a letter" else "restored as the journal has it"
    assert did == {file.relative_to(root).as_posix(): f"{word}: it was older than its last record"}
    assert (tree(root), last(root, run), set_aside(root)) == (before, newest, {})


def test_edits_that_a_command_would_refuse_are_refused(root: Path, run: Run) -> None:
    """A circle through two files, an unknown dependency, a bad path; what stands in the other fields is adopted."""
    run("task", "add", "V", "--id", "v", cwd=root, check=True)
    edit(root, ".tasks/u.json", depends_on=["v"], title="U2")
    edit(root, ".tasks/v.json", depends_on=["u"], priority=8)
    edit(root, ".tasks/t.json", depends_on=["nowhere"], touched_paths=["../x"])
    did, _ = mended(root, run)
    docs = {name: json.loads((root / f".tasks/{name}.json").read_text()) for name in "tuv"}
    assert [len(docs[name]["depends_on"]) for name in "tuv"] in ([0, 1, 0], [0, 0, 1])
    assert (docs["u"]["title"], docs["v"]["priority"], docs["t"]["touched_paths"]) == ("U2", 8, [])
    assert "no task 'nowhere'" in did[".tasks/t.json"] and "does not start at the root" in did[".tasks/t.json"]
    assert sum("would wait for itself" in done for done in did.values()) == 1
    assert len(set_aside(root)) == 2


@pytest.mark.parametrize("how", ["gone", "damaged", "unheard of"])
def test_mending_needs_no_registered_agent(how: str, root: Path, run: Run) -> None:
    """``MBOX_AGENT`` may name one whose file is what is to be mended: the user mends, and that is said."""
    file = root / ".mailbox/agents/a.json"
    if how == "gone":
        file.unlink()
    elif how == "damaged":
        file.write_text("{")
    edit(root, ".tasks/u.json", title="U2")
    agent = "nobody-of-that-name" if how == "unheard of" else "a"
    did, said = mended(root, run, MBOX_AGENT=agent)
    assert f"not by {agent}" in said and last(root, run)["by"].startswith("user:")
    assert file.exists() and (how == "unheard of" or ".mailbox/agents/a.json" in did)


def test_rebuild_needs_no_registered_agent(root: Path, run: Run) -> None:
    """The file of the very agent that calls comes back."""
    (root / ".mailbox/agents/a.json").unlink()
    done = run("mbox", "rebuild", cwd=root, env={"MBOX_AGENT": "a"})
    assert (done.returncode, json.loads(done.stdout)["did"]) == (
        0, [{"kind": "missing", "path": ".mailbox/agents/a.json", "did": "restored as the journal has it"}]
    )  # fmt: skip


@pytest.mark.parametrize("command", [("doctor", "--repair"), ("rebuild",)])
@pytest.mark.parametrize("tasks", ["empty", "gone"])
def test_folders_that_git_did_not_keep_are_made(command: tuple[str, ...], tasks: str, root: Path, run: Run) -> None:
    """Also ``.tasks`` itself; the doctor names them before."""
    for path in sorted((root / ".mailbox").rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    shutil.rmtree(root / (".tasks" if tasks == "gone" else ".tasks/notes"))
    found = json.loads(run("mbox", "doctor", cwd=root).stdout)
    assert {"kind": "folder", "path": ".mailbox/archive", "problem": "missing: git keeps no empty folder", "bad": False} in (
        found["findings"]
    )
    assert run("mbox", *command, cwd=root).returncode == 0
    assert all((root / path).is_dir() for path in places.FOLDERS)
    assert (root / ".tasks/t.json").exists()
    assert run("mbox", "doctor", cwd=root, check=True).stderr == ""


def test_a_rebuild_loses_nothing_that_it_was_not_told_to(root: Path, run: Run) -> None:
    """Refused while an edit of a person stands; what differs in the toolkit's own fields is put back and kept."""
    before = tree(root)
    edit(root, ".tasks/t.json", status="queued", owner=None)
    done = run("mbox", "rebuild", cwd=root)
    assert done.returncode == 0 and tree(root) == before
    assert "kept as" in json.loads(done.stdout)["did"][0]["did"] and '"queued"' in set_aside(root)["t-1.json"]
    edit(root, ".tasks/t.json", title="mine", status="queued")
    refused = run("mbox", "rebuild", cwd=root)
    assert (refused.returncode, ".tasks/t.json" in refused.stderr) == (2, True)
    dropped = run("mbox", "rebuild", "--drop-edits", cwd=root)
    assert json.loads(dropped.stdout)["did"][0]["did"] == "restored as the journal has it: the edit is dropped"
    assert tree(root) == before


def test_an_older_state_does_not_stop_a_rebuild(root: Path, run: Run) -> None:
    """git moved it; that is no edit."""
    old = (root / ".tasks/u.json").read_bytes()
    run("task", "update", "u", "--title", "newer", cwd=root, check=True)
    before = tree(root)
    (root / ".tasks/u.json").write_bytes(old)
    assert run("mbox", "rebuild", cwd=root).returncode == 0
    assert (tree(root), set_aside(root)) == (before, {})


def test_the_doctor_names_the_fields(root: Path, run: Run) -> None:
    """Nobody is said to have edited what nobody may edit."""
    edit(root, ".tasks/t.json", status="queued")
    edit(root, ".tasks/u.json", title="U2", token=9)
    found = {row["path"]: row["problem"] for row in json.loads(run("mbox", "doctor", cwd=root).stdout)["findings"]}
    assert found[".tasks/t.json"] == "differs from the journal in status, which is the toolkit's own"
    assert found[".tasks/u.json"] == (
        "differs from the journal in title: edited by hand; in token, which is the toolkit's own"
    )


def alien(data: bytes) -> bytes:
    """Bytes that no record ever had."""
    return data.replace(b'"host": ""', b'"host": "codex"')


@pytest.mark.parametrize("change", [lambda data: data, alien])
def test_earlier_is_by_bytes_over_the_whole_life_of_a_document(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """At another path of the same document too, in any segment; other bytes, or another document's, are not."""
    store = make(tmp_path, segment_size=1500)
    ident = store.transact(send("x"), ANN)
    unread = (tmp_path / places.new("bob", ident)).read_bytes()
    store.transact(read(), ANN)
    while len(store.journal.segments()) < 3:
        store.transact(send("fill"), ANN)
    bob = change((tmp_path / places.agent("bob")).read_bytes())
    found = {places.cur("bob", ident): unread, places.new("bob", "m999"): unread, places.agent("bob"): bob}
    wanted = {places.cur("bob", ident)} | ({places.agent("bob")} if change is not alien else set())
    assert earlier(store.journal, found, store.tail) == wanted
    assert earlier(store.journal, {}, store.tail) == set()


def test_repair_in_process_says_what_it_did(tmp_path: Path) -> None:
    """A message edited in transit is its sender's: put back at every place."""
    store = make(tmp_path)
    ident = store.transact(send("pay 10"), ANN)
    path = places.new("bob", ident)
    (tmp_path / path).write_bytes((tmp_path / path).read_bytes().replace(b"pay 10", b"pay 99"))
    count = len(journaled(store))
    did = repair.repair(store, USER)
    assert {done.path for done in did} >= {path} and all("body (the toolkit's own)" in done.did for done in did)
    assert len(journaled(store)) == count and survey.survey(store).clean
    assert b"pay 10" in (tmp_path / path).read_bytes()
    with pytest.raises(Refused):
        edit(tmp_path, places.agent("bob"), model="mine")
        repair.rebuild(store)
