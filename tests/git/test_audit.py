"""The audit ref, with real git: what it leaves alone, what it holds, how it is searched, what comes back from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit import ANN, USER, FaultyDisk, Killed, bodies, journaled, read, register, send, tree
from mbox import opening
from mbox.config import file as configuration
from mbox.doctor import survey
from mbox.errors import Corrupt, MboxError, Nothing, Refused, StoreError, Usage, WentBack
from mbox.format import documents, places
from mbox.git import audit, plumbing, reminder, restore
from mbox.git import changes as delta
from mbox.journal import record as segments
from mbox.journal.projection import Fold
from mbox.journal.record import Tail, encode
from mbox.journal.segments import WINDOW, Journal
from mbox.store.store import Actor, Store, Transaction
from mbox.system.disk import Disk

CHECKOUT = Path(__file__).resolve().parents[2]
REF = "refs/mbox/audit"
FETCH = f"git fetch origin {REF}:{REF}"


def mbox(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, from this checkout."""
    command = [sys.executable, "-m", "mbox.cli.main", "mbox", *words]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "mailbox"), **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert "internal error" not in done.stderr, done.stderr
    return done


def call(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What git, or another program, prints; it must succeed."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


def blob(repo: Path, data: bytes) -> str:
    """Put ``data`` into the repository; its object."""
    words = ["git", "hash-object", "-w", "--stdin"]
    done = subprocess.run(words, cwd=repo, input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def made(folder: Path, **config: str) -> Store:
    """A store in ``folder`` with the agents ann and bob and one message."""
    store = opening.init(str(folder)).store
    for key, value in config.items():
        configuration.set_value(store.absolute(places.MAILBOX), key.replace("__", "."), value, store.disk)
    store.close()
    store = opened(Path(store.root))
    for name in ("ann", "bob"):
        store.transact(register(name), USER)
    store.transact(send("first"), ANN)
    return store


def opened(folder: Path) -> Store:
    """The store in ``folder``, as another process would open it."""
    return opening.open_store(str(folder), "/")


def on_ref(repo: Path, ref: str = REF) -> dict[str, bytes]:
    """Every file on the ref, by path."""
    names = call("git", "ls-tree", "-r", "--name-only", ref, cwd=repo).splitlines()
    return {
        name: subprocess.run(["git", "show", f"{ref}:{name}"], cwd=repo, capture_output=True, check=True).stdout
        for name in names
    }


def journal_on(repo: Path) -> bytes:
    """The journal on the ref, put together from its slices."""
    return b"".join(data for path, data in sorted(on_ref(repo).items()) if path.startswith(places.LOGS))


def journal_of(root: Path) -> bytes:
    """The journal on disk."""
    return b"".join(path.read_bytes() for path in sorted((root / places.LOGS).iterdir()))


def restored(folder: Path, dry_run: bool = False) -> dict[str, Any]:
    """Restore into ``folder``."""
    by = USER.trial() if dry_run else USER
    return restore.restore(restore.place(None, str(folder)), by, None, lambda text: None, opening.unbegun)


def is_clean(folder: Path) -> bool:
    """Whether the doctor finds nothing, after one command took the lock."""
    store = opened(folder)
    store.catch_up()
    found = survey.survey(store)
    assert found.clean, found.findings
    return True


# -- what it leaves alone --------------------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, bytes]:
    """Every file of a repository and its work tree but objects, the audit ref, the store and its witness."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = (Path(at) / name).relative_to(folder).as_posix()
            if not path.startswith((".git/objects/", ".git/refs/mbox/", ".git/mbox-seen", ".mailbox/", ".tasks/")):
                found[path] = (folder / path).read_bytes()
    return found


HOOKS = (
    "pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "reference-transaction", "post-checkout",
    "post-index-change", "post-rewrite", "pre-push", "pre-auto-gc", "update", "post-update",
)  # fmt: skip


def test_nothing_of_the_users_is_touched(repo: Path) -> None:
    """Index with staged and other changes, HEAD, branches, reflogs, config, work tree: byte for byte; no hook runs."""
    store = made(repo)
    (repo / "README.md").write_text("staged\n")
    call("git", "add", "README.md", cwd=repo)
    (repo / "README.md").write_text("not staged\n")
    (repo / "untracked").write_text("x")
    called = repo.parent / "called"
    for hook in HOOKS:
        path = repo / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\necho {hook} >>{called}\nexit 1\n")
        path.chmod(0o755)
    call("git", "config", "commit.gpgSign", "true", cwd=repo)
    call("git", "config", "core.logAllRefUpdates", "true", cwd=repo)
    before = everything(repo)
    for _ in range(2):
        store.transact(send("more"), ANN)
        assert mbox("audit", "commit", cwd=repo).returncode == 0
    assert everything(repo) == before
    assert not called.exists()
    assert call("git", "diff", "--cached", "--name-only", cwd=repo) == "README.md"
    assert call("git", "rev-list", "--count", REF, cwd=repo) == "2"


def test_the_callers_git_variables_lead_nowhere(repo: Path, tmp_path: Path) -> None:
    """Called from a hook of another repository, with its GIT_DIR, index and identity, it commits to the store's own."""
    made(repo)
    other = tmp_path / "other"
    call("git", "init", "--quiet", str(other), cwd=tmp_path)
    lent = {
        "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(other / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / "objects"), "GIT_AUTHOR_NAME": "Mallory", "GIT_NAMESPACE": "x",
    }  # fmt: skip
    assert mbox("audit", "commit", cwd=repo, env=lent).returncode == 0
    assert call("git", "for-each-ref", cwd=other) == ""
    assert not (other / "index").exists()
    assert call("git", "log", "-1", "--format=%an %cn", REF, cwd=repo) == "mbox audit mbox audit"


def test_no_push_carries_it(repo: Path, tmp_path: Path) -> None:
    """Neither `git push --all` nor `--tags` nor a plain push sends the ref, and no branch or tag names it."""
    remote = tmp_path / "remote.git"
    call("git", "init", "--quiet", "--bare", str(remote), cwd=tmp_path)
    call("git", "remote", "add", "origin", str(remote), cwd=repo)
    audit.commit(made(repo))
    call("git", "push", "--quiet", "--all", "origin", cwd=repo)
    call("git", "push", "--quiet", "--tags", "origin", cwd=repo)
    call("git", "push", "--quiet", "--set-upstream", "origin", "main", cwd=repo)
    assert call("git", "for-each-ref", "--format=%(refname)", cwd=remote) == "refs/heads/main"
    assert "mbox" not in call("git", "branch", "--all", cwd=repo) + call("git", "tag", cwd=repo)


def test_objects_are_sound_and_survive_gc(repo: Path) -> None:
    """git's own check finds nothing wrong, and its garbage collection takes nothing that the ref needs."""
    store = made(repo)
    for text in ("one", "two"):
        store.transact(send(text), ANN)
        audit.commit(store)
    call("git", "fsck", "--strict", "--no-dangling", cwd=repo)
    call("git", "gc", "--quiet", "--prune=now", cwd=repo)
    call("git", "fsck", "--strict", cwd=repo)
    assert audit.commit(store)["already"]
    assert journal_on(repo) == journal_of(repo)


# -- where it works --------------------------------------------------------------------------------------------------


def test_an_empty_repository(tmp_path: Path) -> None:
    """A repository without any commit keeps the audit ref, and stays without a branch."""
    call("git", "init", "--quiet", str(tmp_path), cwd=tmp_path)
    assert audit.commit(made(tmp_path))["records"] == 4
    assert call("git", "for-each-ref", "--format=%(refname)", cwd=tmp_path) == REF
    assert call("git", "fsck", "--strict", cwd=tmp_path) == ""


def test_a_sha256_repository(tmp_path: Path) -> None:
    """Object names of another length are only names: committed twice, searched and restored."""
    call("git", "init", "--quiet", "--object-format=sha256", str(tmp_path), cwd=tmp_path)
    store = made(tmp_path)
    assert len(audit.commit(store)["commit"]) == 64
    store.transact(send("needle"), ANN)
    audit.commit(store)
    assert len(audit.grep(store, audit.GrepQuery(("needle",)), 0)[0]) == 2
    before = tree(tmp_path)
    call("git", "clean", "-fdxq", cwd=tmp_path)
    restored(tmp_path)
    assert tree(tmp_path) == before


def test_a_linked_worktree(repo: Path, tmp_path: Path) -> None:
    """From a linked worktree the commit goes on the ref of the one repository, and restore fills the main worktree."""
    made(repo)
    call("git", "worktree", "add", "--quiet", str(tmp_path / "wt"), cwd=repo)
    assert mbox("audit", "commit", cwd=tmp_path / "wt").returncode == 0
    assert audit.commit(opened(repo))["already"]
    call("git", "clean", "-fdxq", cwd=repo)
    assert mbox("audit", "restore", cwd=tmp_path / "wt").returncode == 0
    assert bodies(opened(repo)) == ["first"]


def test_beside_a_bare_repository(repo: Path, tmp_path: Path) -> None:
    """Where the main repository is bare, the store stands beside it, and so does its ref: in it."""
    place = tmp_path / "place"
    call("git", "clone", "--quiet", "--bare", str(repo), str(place / ".bare"), cwd=tmp_path)
    call("git", "worktree", "add", "--quiet", str(place / "wt"), "main", cwd=place / ".bare")
    store = made(place / "wt")
    assert store.root == str(place)
    assert mbox("audit", "commit", cwd=place / "wt").returncode == 0
    assert call("git", "rev-list", "--count", REF, cwd=place / ".bare") == "1"


NOT_OURS = ["refs/replace/{}", "refs/heads/main", "refs/stash", "refs/notes/x", "refs/mbox/../replace/{}", "HEAD"]


@pytest.mark.parametrize("ref", NOT_OURS)
def test_the_ref_lies_below_refs_mbox(ref: str, repo: Path) -> None:
    """In a config.yaml, by `config set` and by ``--ref``: refused with file, line and mend; ``HEAD`` is what it was."""
    made(repo)
    head = call("git", "cat-file", "-p", "HEAD", cwd=repo)
    name = ref.format(call("git", "rev-parse", "HEAD", cwd=repo))
    assert mbox("config", "set", "audit.ref", name, cwd=repo).returncode == 2
    (repo / places.CONFIG).write_text(f"# mine\naudit:\n  ref: {name}\n")
    for words in (("commit",), ("log",), ("grep", "x")):
        done = mbox("audit", *words, cwd=repo)
        assert done.returncode == 6
        assert re.search(rf"{places.CONFIG}:3:\d+: audit.ref must be .* below refs/mbox/, such as", done.stderr)
    done = mbox("audit", "restore", "--ref", name, cwd=repo)
    assert (done.returncode, "below refs/mbox/" in done.stderr) == (2, True)
    assert call("git", "cat-file", "-p", "HEAD", cwd=repo) == head


@pytest.mark.parametrize("words", [("commit",), ("log",), ("grep", "x"), ("restore",)], ids=lambda words: str(words[0]))
def test_no_git(words: tuple[str, ...], tmp_path: Path) -> None:
    """Outside of a repository, and on a machine without git: one line that points at the journal, exit 2."""
    plain, inside = tmp_path / "plain", tmp_path / "inside"
    plain.mkdir()
    call("git", "init", "--quiet", str(inside), cwd=tmp_path)
    if words[0] != "restore":
        made(plain)
        made(inside)
    for folder, path, what in (
        (plain, os.environ["PATH"], "is in no git repository"),
        (inside, "/nowhere", "is not installed"),
    ):
        done = mbox("audit", *words, cwd=folder, env={"PATH": path})
        assert (done.returncode, done.stdout) == (2, "")
        assert what in done.stderr and ".mailbox/logs/" in done.stderr
        assert len(done.stderr.splitlines()) == 1


# -- what stands on it -----------------------------------------------------------------------------------------------


def test_the_ref_is_the_store(repo: Path) -> None:
    """After any commit the ref holds every document at its path, byte for byte, the whole journal, and the config."""
    store = made(repo)
    audit.commit(store)
    store.transact(send("second"), ANN)
    store.transact(read(), Actor("bob", 1))

    def move(tx: Transaction) -> None:
        """One that the ref has, and one that is new."""
        tx.move(places.outbox("ann", "m4"), places.archive("ann", tx.now, "m4"))
        tx.move(places.new("bob", "m5"), places.archive("bob", tx.now, "m5"))
        tx.record("test.move", ["m4", "m5"])

    store.transact(move, USER)
    audit.commit(store)
    found = on_ref(repo)
    assert {path: data for path, data in found.items() if path.endswith(".json")} == tree(repo)
    assert journal_on(repo) == journal_of(repo)
    assert found[places.CONFIG] == (repo / places.CONFIG).read_bytes()


def test_each_commit_adds_only_what_is_new(repo: Path) -> None:
    """A second commit adds one slice that starts where the first ended, and touches no other file of the journal."""
    store = made(repo)
    audit.commit(store)
    first = (repo / places.LOGS / "000001.jsonl").stat().st_size
    store.transact(send("second"), ANN)
    audit.commit(store)
    changed = call("git", "diff", "--name-status", f"{REF}~", REF, "--", places.LOGS, cwd=repo)
    assert changed == f"A\t{places.LOGS}/000001/{first:012d}.jsonl"


def test_nothing_new(repo: Path) -> None:
    """Without a new record nothing is written; a changed config.yaml is something new."""
    store = made(repo)
    audit.commit(store)
    objects = call("git", "count-objects", cwd=repo)
    done = mbox("audit", "commit", cwd=repo)
    assert (done.returncode, json.loads(done.stdout)["already"]) == (0, True)
    assert "nothing new since record 4" in done.stderr
    assert call("git", "count-objects", cwd=repo) == objects
    configuration.set_value(store.absolute(places.MAILBOX), "max_hops", "9", store.disk)
    made_now = audit.commit(store)
    assert (made_now["records"], call("git", "diff", "--name-only", f"{REF}~", REF, cwd=repo)) == (0, places.CONFIG)
    assert audit.commit(store)["already"]


def test_a_message_says_how_far_it_reaches(repo: Path) -> None:
    """The summary counts records by operation; the trailers name store, sequence, segment and offset."""
    audit.commit(made(repo))
    said = call("git", "log", "-1", "--format=%s%n%(trailers:only,unfold)", REF, cwd=repo).splitlines()
    assert said[0] == "4 records to 4: 2 agent.add, 1 store.segment, 1 mail.send"
    trailers = dict(line.split(": ") for line in said[1:] if line)
    size = (repo / places.LOGS / "000001.jsonl").stat().st_size
    assert (trailers["Mbox-Seq"], trailers["Mbox-Segment"], trailers["Mbox-Offset"]) == ("4", "1", str(size))
    assert len(trailers["Mbox-Store"]) == 16


def test_dry_run(repo: Path) -> None:
    """A dry run says what would be added, and adds neither ref nor object."""
    made(repo)
    objects = call("git", "count-objects", cwd=repo)
    done = mbox("audit", "commit", "--dry-run", cwd=repo)
    told = json.loads(done.stdout)
    assert (done.returncode, told["records"], told["documents"], told["seq"]) == (0, 4, 4, 4)
    assert (call("git", "for-each-ref", "refs/mbox", cwd=repo), call("git", "count-objects", cwd=repo)) == ("", objects)


def test_the_first_commit_over_a_moved_document(repo: Path) -> None:
    """What was put and moved stands at its new place; of what no record put nothing is known, and it is left out."""
    store = made(repo)
    target = store.absolute(places.new("bob", "m99"))
    Path(target).write_bytes(Path(store.absolute(places.new("bob", "m4"))).read_bytes().replace(b"m4", b"m99"))

    def decide(tx: Transaction) -> None:
        for name in ("m4", "m99"):
            tx.move(places.new("bob", name), places.cur("bob", name))
        tx.record("test.move", ["m4", "m99"])

    store.transact(decide, ANN)
    audit.commit(store)
    mail = [path for path in on_ref(repo) if "/inbox/" in path]
    assert mail == [places.cur("bob", "m4")]
    assert journal_on(repo) == journal_of(repo)
    store.transact(lambda tx: (tx.move(places.cur("bob", "m4"), places.new("bob", "m4")), tx.record("test.move", ["m4"]))[1], ANN)
    audit.commit(store)
    assert [path for path in on_ref(repo) if "/inbox/" in path] == [places.new("bob", "m4")]


def test_segments_and_long_journals(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals of many segments, slices smaller than a record, commits at any point: the ref is still the store."""
    monkeypatch.setattr(delta, "BLOCK", 700)
    store = made(repo, segment_size="4 KiB")
    for n in range(24):
        store.transact(send(f"message {n}"), ANN)
        if n % 7 == 0:
            audit.commit(store)
    audit.commit(store)
    assert len(store.journal.segments()) > 3
    found = on_ref(repo)
    assert {path: data for path, data in found.items() if path.endswith(".json")} == tree(repo)
    assert journal_on(repo) == journal_of(repo)
    before = tree(repo)
    call("git", "clean", "-fdxq", cwd=repo)
    restored(repo)
    assert tree(repo) == before
    assert is_clean(repo)


def test_only_up_to_the_mark(repo: Path) -> None:
    """A record that is in the journal and not published yet is not on the ref; after the next command it is."""
    store = made(repo)
    record = {**journaled(store)[-1], "seq": 5, "op": "test.unpublished", "put": [], "on": []}
    record.pop("crc")
    with open(repo / places.LOGS / "000001.jsonl", "ab") as file:
        file.write(segments.encode(record))
    assert audit.commit(opened(repo))["seq"] == 4
    store.catch_up()
    assert audit.commit(opened(repo))["seq"] == 5


# -- whose ref it is -------------------------------------------------------------------------------------------------


def test_another_stores_ref_is_refused(repo: Path) -> None:
    """A second store in the repository does not write on the first one's ref; the mend is in the line, and works."""
    audit.commit(made(repo))
    (repo / "sub").mkdir()
    other = opening.init(str(repo / "sub"), here=True).store
    with pytest.raises(Refused, match=r"belongs to another store .* `mbox config set audit\.ref refs/mbox/NAME`"):
        audit.commit(other)
    assert mbox("config", "set", "audit.ref", "refs/mbox/sub", cwd=repo / "sub").returncode == 0
    assert audit.commit(opened(repo / "sub"))["ref"] == "refs/mbox/sub"


def test_a_ref_of_something_else_is_refused(repo: Path) -> None:
    """A ref that audit did not write is left as it is."""
    call("git", "update-ref", REF, "HEAD", cwd=repo)
    with pytest.raises(Refused, match="is not an audit ref"):
        audit.commit(made(repo))
    assert call("git", "rev-parse", REF, cwd=repo) == call("git", "rev-parse", "HEAD", cwd=repo)


def test_a_store_that_went_back_is_not_committed(repo: Path, tmp_path: Path) -> None:
    """A journal that is shorter than the ref, or says something else before it, ends with the mend and no commit."""
    store = made(repo)
    call("cp", "-a", str(repo / ".mailbox"), str(tmp_path / "kept"), cwd=repo)
    store.transact(send("second"), ANN)
    audit.commit(store)
    tip = call("git", "rev-parse", REF, cwd=repo)
    call("rm", "-rf", ".mailbox", cwd=repo)
    call("cp", "-a", str(tmp_path / "kept"), ".mailbox", cwd=repo)
    Path(store.witness.path).unlink()  # then nothing but the ref tells it
    with pytest.raises(WentBack, match="reaches to record 5 and this journal to 4"):
        audit.commit(opened(repo))
    for text in ("another", "and another"):
        opened(repo).transact(send(text), ANN)
    with pytest.raises(Refused, match="have parted before record 5"):
        audit.commit(opened(repo))
    assert call("git", "rev-parse", REF, cwd=repo) == tip


# -- several at once -------------------------------------------------------------------------------------------------


def is_linear(repo: Path) -> bool:
    """One line of history, whose commits add up to the journal, and whose tip is the store as its journal says."""
    commits = [audit.Commit.of(oid, plumbing.Git(str(repo), str(repo / ".git")).run("cat-file", "commit", oid).stdout)
               for oid in call("git", "rev-list", REF, cwd=repo).split()]  # fmt: skip
    assert all(commits)
    records = journal_on(repo).splitlines()
    assert sum(commit.records for commit in commits if commit) == len(records)
    assert call("git", "rev-list", "--min-parents=2", REF, cwd=repo) == ""
    assert call("git", "rev-list", "--max-parents=0", "--count", REF, cwd=repo) == "1"
    return True


def test_a_lost_race_starts_over(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another commit between reading the ref and moving it: the loser goes on from there and adds the rest."""
    store = made(repo)
    audit.commit(store)
    store.transact(send("second"), ANN)
    move = plumbing.Git.move
    raced: list[object] = []

    def racing(self: plumbing.Git, name: str, new: str, old: str | None) -> str:
        if not raced:
            raced.append(True)
            rival = opened(repo)
            raced.append(audit.commit(rival))
            rival.transact(send("third"), ANN)
        return move(self, name, new, old)

    monkeypatch.setattr(plumbing.Git, "move", racing)
    assert audit.commit(store)["seq"] == 6
    assert call("git", "rev-list", "--count", REF, cwd=repo) == "3"
    assert is_linear(repo)
    assert journal_on(repo) == journal_of(repo)


def test_a_ref_that_cannot_be_moved_is_said(repo: Path) -> None:
    """A lock that a dead git left on the ref ends in one line that names it, exit 6, and nothing is changed."""
    store = made(repo)
    (repo / ".git" / "refs" / "mbox").mkdir()
    (repo / ".git" / "refs" / "mbox" / "audit.lock").touch()
    with pytest.raises(StoreError, match=r"could not be moved: .*audit\.lock"):
        audit.commit(store)
    (repo / ".git" / "refs" / "mbox" / "audit.lock").unlink()
    assert audit.commit(store)["records"] == 4


def test_many_processes_commit_at_once(repo: Path) -> None:
    """Eight processes: each succeeds or says that there is nothing new; the history is one line and complete."""
    store = made(repo)
    command = [sys.executable, "-m", "mbox.cli.main", "mbox", "audit", "commit", "-o", "jsonl"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "mailbox")}
    answers = []
    for n in range(3):
        store.transact(send(f"round {n}"), ANN)
        running = [
            subprocess.Popen(command, cwd=repo, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(8)
        ]
        for process in running:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            answers.append(json.loads(out))
    assert sum(answer["records"] for answer in answers) == len(journal_of(repo).splitlines())
    assert is_linear(repo)
    assert journal_on(repo) == journal_of(repo)


WRITER = """
import sys
from kit import ANN, read, send
from mbox import opening
from mbox.store.store import Actor
for n in range(40):
    store = opening.open_store(sys.argv[1], "/")
    store.transact(send(f"{sys.argv[2]} {n}"), ANN)
    store.transact(read(), Actor("bob", 1))
    store.close()
"""


def test_a_commit_under_writers_is_a_prefix(repo: Path, tmp_path: Path) -> None:
    """While two processes write, each commit is the store after some record: documents are what the journal says."""
    made(repo)
    env = {**os.environ, "PYTHONPATH": f"{CHECKOUT / 'mailbox'}:{CHECKOUT / 'tests'}"}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(repo), name], env=env) for name in ("x", "y")]
    while any(writer.poll() is None for writer in writers):
        audit.commit(opened(repo))
    assert [writer.wait() for writer in writers] == [0, 0]
    audit.commit(opened(repo))
    commits = call("git", "rev-list", "--reverse", REF, cwd=repo).split()
    assert len(commits) > 3
    for commit in (commits[1], commits[len(commits) // 2], commits[-1]):
        folder = tmp_path / commit[:12]
        call("git", "init", "--quiet", str(folder), cwd=tmp_path)
        call("git", "fetch", "--quiet", str(repo), f"{commit}:{REF}", cwd=folder)
        restored(folder)
        found = {path: data for path, data in on_ref(folder).items() if path.endswith(".json")}
        assert tree(folder) == found
        assert journal_of(repo).startswith(journal_on(folder))
    assert is_linear(repo)


# -- the fold --------------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    ['x', ',"mv":[', '"],"mv":[],"del":[],"lease":[', ']],[', '"]],[{', ',["', '\\', '\\"', '","', ',"put":[', "\x1b"]
) | st.text(max_size=8)  # fmt: skip
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.sampled_from(["mv", "put", "del"]), inner),
    max_leaves=8,
)
PATHS = st.sampled_from([f".tasks/t{n}.json" for n in range(6)])
DOCS = st.fixed_dictionaries({"schema": st.just(1), "title": TEXTS, "payload": VALUES})
RECORDS = st.fixed_dictionaries(
    {
        "by": TEXTS,
        "op": st.sampled_from(["task.add", "test.odd"]),
        "on": st.lists(TEXTS, max_size=2),
        "why": TEXTS,
        "key": st.none() | st.tuples(TEXTS, TEXTS),
        "put": st.lists(st.tuples(DOCS | st.lists(DOCS, max_size=2), st.lists(PATHS, max_size=3)), max_size=3),
        "mv": st.lists(st.tuples(PATHS, PATHS), max_size=2),
        "del": st.lists(PATHS, max_size=2),
        "lease": st.lists(st.tuples(st.just(".tasks/leases/t1.json"), st.none() | DOCS), max_size=1),
    }
)


TRICKY: list[tuple[Any, list[str]]] = [
    ({"body": "plain"}, [".tasks/t1.json"]),
    ({"body": "plain too"}, [".tasks/t2.json"]),
    ({"payload": {"a": [[1, ["q"]]], "mv": [], "del": ["boo"], "lease": []}}, [".tasks/t3.json"]),
    ({"payload": {"a": 1, "mv": [["x", "y"]], "put": [["b", ["c"]]], "del": ["d"], "lease": []}}, [".tasks/t1.json"]),
    ({"payload": {"a": [["x"]], "mv": [], "del": [], "lease": [], "z": [1, ["c"], [["d"]]]}}, [".tasks/t2.json"]),
    ({"payload": [[["a"]], [{"b": 1}], ["c"]], "x": [["d"]]}, [".tasks/t3.json", ".tasks/t4.json"]),
    ({"payload": [1, ["a"]]}, []),
    ({"body": ',["x"]]],"mv":[],"del":["y"],"lease":[],"crc":"'}, [".tasks/t5.json"]),
    ([{"ts": "x"}, {"text": ',["'}], [".tasks/notes/t1.jsonl"]),
]


@pytest.mark.parametrize("puts", [*([one] for one in TRICKY), TRICKY[:2], TRICKY[2:4], TRICKY[4:6], TRICKY[:3], TRICKY[3:]])
@pytest.mark.parametrize("gone", [[], [".tasks/t1.json"], [".tasks/t0.json", ".tasks/t2.json"]])
def test_payloads_that_look_like_records_deceive_nobody(puts: Any, gone: list[str]) -> None:
    """A payload may hold the very words of a record: what is cut out of the bytes is what is parsed, or nothing is."""
    lease = [[".tasks/leases/t1.json", {"schema": 1, "id": "t1", "holder": "ann"}], [".tasks/leases/t2.json", None]]
    for leases in ([], lease):
        record = {"v": 1, "seq": 7, "ts": "x", "by": 'a",\"op\":\"b', "inc": 1, "op": "task.add", "on": ['"put":['],
                  "why": ',"put":[', "key": ["k", '"'], "put": puts, "mv": [], "del": gone, "lease": leases}  # fmt: skip
        found = segments.skim(segments.encode(record).rstrip(b"\n"))
        if found is not None:
            assert found[0] == b"task.add"
            assert list(found[1]) == [path for _doc, paths in puts for path in paths]
            assert list(found[2]) == gone
        assert found is not None or len(puts) > 1 or "]]," in json.dumps(puts) or not puts[0][1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(given_records=st.lists(RECORDS, max_size=8), block=st.sampled_from([1, 100, 1 << 20]))
def test_the_fold_is_that_of_recovery(tmp_path: Path, given_records: list[dict[str, Any]], block: int) -> None:
    """Cutting records as bytes finds what parsing finds, whatever stands in texts and payloads."""
    lines = []
    for seq, body in enumerate(given_records, 1):
        head = {"v": 1, "seq": seq, "ts": "2026-01-02T03:04:05.000006Z"}
        fields = {name: body[name] for name in ("op", "on", "why", "key", "put", "mv", "del", "lease")}
        lines.append(segments.encode({**head, "by": body["by"], "inc": 0, **fields}))
    (tmp_path / "000001.jsonl").write_bytes(b"".join(lines))
    port = Journal(str(tmp_path), Disk())
    folded, offset = Fold(), 0
    for line in lines:
        folded.take(1, offset, segments.decode(line))
        offset += len(line)
    found = delta.Delta()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "BLOCK", block)
        found.read(port, Tail(0, 1, 0), Tail(len(lines), 1, offset))
    assert found.records == found.ops.total() == len(lines)
    assert found.fold.states == folded.states
    rendered = {path: data for data, paths in found.documents(port) for path in paths}
    assert rendered == {path: documents.render(doc) for path, doc in folded.documents(port)}


def test_most_records_are_not_parsed(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What send, read, ack and the like write is folded as bytes; else a long journal would take many times as long."""
    store = made(repo)
    store.transact(read(), Actor("bob", 1))
    parsed: list[str] = []
    monkeypatch.setattr(Fold, "_change", lambda self, segment, offset, record: parsed.append(record["op"]))
    found = delta.Delta()
    found.read(store.journal, Tail(0, 1, 0), store.end())
    assert (parsed, found.records) == ([], 5)


def test_a_bad_record_is_not_committed(repo: Path) -> None:
    """A line that fails its checksum ends the commit, exit 6, with file and byte; the ref does not move."""
    store = made(repo)
    path = repo / places.LOGS / "000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"first", b"worst"))
    with pytest.raises(Corrupt, match=r"000001\.jsonl at byte \d+: not a record"):
        audit.commit(store)
    assert call("git", "for-each-ref", "refs/mbox", cwd=repo) == ""


# -- log and grep ----------------------------------------------------------------------------------------------------


def test_log(repo: Path) -> None:
    """Newest last, with how far each reaches; --limit says what it left out; no ref yet is an empty list."""
    store = made(repo)
    done = mbox("audit", "log", cwd=repo)
    assert (done.returncode, done.stdout, "no audit commit yet" in done.stderr) == (0, "[]\n", True)
    for n in range(3):
        store.transact(send(f"{n}"), ANN)
        audit.commit(store)
    rows = json.loads(mbox("audit", "log", cwd=repo).stdout)
    assert [(row["seq"], row["records"]) for row in rows] == [(5, 5), (6, 1), (7, 1)]
    assert set(rows[0]) == {"commit", "ts", "seq", "records", "summary"}
    assert rows[-1]["commit"] == call("git", "rev-parse", REF, cwd=repo)[:12]
    last = mbox("audit", "log", "--limit", "1", cwd=repo)
    assert [row["seq"] for row in json.loads(last.stdout)] == [7]
    assert "2 more" in last.stderr


def test_grep(repo: Path) -> None:
    """All words in one line; quotes as they were typed; words that look like options are words; rows path line text."""
    store = made(repo)
    store.transact(send('he said "stop -v"\nC:\\new\\table --cached'), ANN)
    audit.commit(store)

    def found(*words: str) -> list[dict[str, Any]]:
        done = mbox("audit", "grep", *words, cwd=repo)
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    paths = [".mailbox/inbox/bob/new/m5.json", ".mailbox/outbox/ann/m5.json"]
    assert [row["path"] for row in found('said "stop')] == paths
    assert [row["path"] for row in found("--", "--cached", "-v", "C:\\new")] == paths
    assert found("said", "first") == found("nowhere") == found("--", "-Ofile") == []
    assert [row["path"] for row in found("-E", "st[op]+ -v")] == paths
    assert [row["path"] for row in found("-i", "SAID")] == paths
    row = found("he said")[0]
    lines = (repo / paths[0]).read_text().splitlines()
    assert (set(row), lines[row["line"] - 1].strip()) == ({"path", "line", "text"}, row["text"])
    assert len(json.loads(mbox("audit", "grep", "said", "--limit", "1", cwd=repo).stdout)) == 1
    bad = mbox("audit", "grep", "-E", "x[", cwd=repo)
    assert (bad.returncode, len(bad.stderr.splitlines())) == (2, 1), bad.stderr


def test_grep_history(repo: Path) -> None:
    """What is gone from the documents is still found in the history, as the record that said it; long lines are cut."""
    store = made(repo)
    path = places.task("t9")

    def add(tx: Transaction) -> None:
        title = "x" * 400 + " needle " + "y" * 400
        tx.put(documents.new("task", task_id="t9", title=title, created_at=tx.now), path)
        tx.record("task.add", ["t9"])

    def remove(tx: Transaction) -> None:
        tx.delete(path)
        tx.record("test.gone", ["t9"])

    store.transact(add, USER)
    store.transact(remove, USER)
    audit.commit(store)
    nothing = mbox("audit", "grep", "needle", cwd=repo)
    assert (nothing.returncode, nothing.stdout, "--history" in nothing.stderr) == (0, "[]\n", True)
    (row,) = json.loads(mbox("audit", "grep", "--history", "needle", cwd=repo).stdout)
    assert (row["seq"], row["op"], row["on"]) == (5, "task.add", ["t9"])
    assert "needle" in row["text"] and len(row["text"]) <= audit.TEXT + 2
    (full,) = json.loads(mbox("audit", "grep", "--history", "--full", "needle", cwd=repo).stdout)
    assert json.loads(full["text"])["seq"] == 5


# -- restore ---------------------------------------------------------------------------------------------------------


def test_restore_after_git_clean(repo: Path) -> None:
    """`git clean -fdx` takes all; restore brings every document back, byte for byte, and the store goes on."""
    store = made(repo)
    store.transact(send("keyed", key="k"), ANN)
    store.transact(read(), Actor("bob", 1))
    (repo / ".mailbox" / "hosts.yaml").write_text("codex: codex exec\n")
    configuration.set_value(store.absolute(places.MAILBOX), "max_hops", "9", store.disk)
    audit.commit(store)
    before, config = tree(repo), (repo / places.CONFIG).read_bytes()
    store.transact(send("lost"), ANN)
    call("git", "clean", "-fdxq", cwd=repo)
    assert not (repo / ".mailbox").exists()

    asked = mbox("audit", "restore", cwd=repo, env={"MBOX_AGENT": "ann"})
    assert (asked.returncode, asked.stdout) == (2, "") and "max_hops: 9" in asked.stderr, asked.stderr
    assert "--with-config" in asked.stderr and not (repo / ".mailbox").exists()
    done = mbox("audit", "restore", "--with-config", cwd=repo, env={"MBOX_AGENT": "ann"})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["seq"], told["records"], told["documents"]) == (6, 6, len(before))
    assert "up to record 6" in done.stderr and "hosts.yaml" in done.stderr
    assert tree(repo) == before
    assert (repo / places.CONFIG).read_bytes() == config
    assert (repo / ".mailbox" / "hosts.yaml").read_text() == "codex: codex exec\n"
    assert json.loads(mbox("doctor", cwd=repo).stdout)["clean"]
    assert call("git", "status", "--porcelain", cwd=repo) == ""

    lease = documents.decode("lease", (repo / places.read_lease("bob", "m4")).read_bytes())
    assert (lease["holder"], lease["token"]) == ("bob", 6)
    again = opened(repo)
    mark = again.mark()
    assert mark and (mark.tail.seq, mark.tail) == (6 + WINDOW, again.end())
    record = journaled(again)[-1]
    assert (record["op"], record["by"], record["seq"]) == ("store.restore", "ann", 6 + WINDOW)
    assert again.transact(send("keyed", key="k"), ANN) == "m5"
    assert again.transact(send("new"), ANN) == f"m{7 + WINDOW}"
    assert bodies(again) == ["keyed", "new"]
    assert is_clean(repo)
    assert audit.commit(again)["records"] == 2


def test_restore_without_the_settings_on_the_ref(repo: Path) -> None:
    """`--without-config` brings the documents, and neither settings nor programs."""
    store = made(repo)
    (repo / ".mailbox" / "hosts.yaml").write_text("codex: codex exec\n")
    configuration.set_value(store.absolute(places.MAILBOX), "private", "false", store.disk)
    audit.commit(store)
    before = tree(repo)
    call("git", "clean", "-fdxq", cwd=repo)
    told = mbox("audit", "restore", "--dry-run", cwd=repo)
    assert told.returncode == 0 and "private: false" in told.stderr and "hosts.yaml: 1 lines" in told.stderr
    assert mbox("audit", "restore", "--without-config", cwd=repo).returncode == 0
    assert tree(repo) == before
    assert not (repo / ".mailbox" / "hosts.yaml").exists()
    assert json.loads(mbox("config", "get", "private", cwd=repo).stdout)["value"] in (True, "true")


def test_a_restore_that_a_clone_says_broke_off(repo: Path) -> None:
    """A folder in the cache that the repository brought does not let a restore write over what stands there."""
    store = made(repo)
    audit.commit(store)
    shutil.rmtree(repo / places.LOGS)
    (repo / restore.SHADOW).mkdir(parents=True)
    (repo / restore.SHADOW_OF).write_text("a-boot-id:1:12")
    with pytest.raises(Refused, match="without a journal"):
        restored(repo)


def test_the_advice_after_the_mailbox_is_gone_leads_back(repo: Path) -> None:
    """`rm -rf .mailbox`: what every command, and a restore that is refused, says first does bring all of it back."""
    mbox("init", cwd=repo)
    mbox("agent", "add", "ann", cwd=repo)
    mbox("task", "add", "Write it", "--id", "parser", cwd=repo)
    path = {"PYTHONPATH": str(CHECKOUT / "mailbox")}
    audit.commit(opened(repo))
    for words in (("status",), ("audit", "restore"), ("inbox", "--as", "ann", "--root", str(repo))):
        before = tree(repo)
        shutil.rmtree(repo / places.MAILBOX)
        done = mbox(*words, cwd=repo)
        assert done.returncode in (2, 6) and "mbox init" in done.stderr.partition("mbox audit restore")[2], done.stderr
        for command in re.findall("`(.*?)`", done.stderr)[:2]:
            call("bash", "-c", command.replace("mbox", f"{sys.executable} -m mbox.cli.main mbox"), cwd=repo, env=path)
        assert tree(repo) == before
        shutil.rmtree(repo / ".tasks.old")


def test_init_says_what_it_put_among_the_dead_letters(repo: Path) -> None:
    """A damaged task that stands there without a journal is named; nothing is moved in silence."""
    mbox("init", cwd=repo)
    mbox("task", "add", "Write it", "--id", "parser", cwd=repo)
    shutil.rmtree(repo / places.MAILBOX)
    (repo / places.task("parser")).write_text("no JSON")
    done = mbox("init", cwd=repo)
    assert done.returncode == 0 and "parser.json" in done.stderr and "moved to the dead letters" in done.stderr


def test_restore_in_a_fresh_clone(repo: Path, tmp_path: Path) -> None:
    """A clone lacks the ref: the message is the very command that fetches it; then the clone has the same store."""
    store = made(repo)
    audit.commit(store)
    clone = tmp_path / "clone"
    call("git", "clone", "--quiet", str(repo), str(clone), cwd=tmp_path)
    done = mbox("audit", "restore", cwd=clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`{FETCH}`" in done.stderr
    assert not (clone / ".mailbox").exists()
    call(*FETCH.split(), cwd=clone)
    for who in ((), ("--as", "ann")):
        assert mbox("audit", "restore", "--dry-run", *who, cwd=clone).returncode == 0
        assert not (clone / ".mailbox").exists()
    assert mbox("audit", "restore", cwd=clone).returncode == 0
    assert tree(clone) == tree(repo)
    assert is_clean(clone)
    assert call("git", "status", "--porcelain", cwd=clone) == ""


def test_restore_into_a_full_store_is_refused(repo: Path) -> None:
    """A journal, or documents without one, are never written over; nothing changes."""
    store = made(repo)
    audit.commit(store)
    before = tree(repo), journal_of(repo)
    with pytest.raises(Refused, match="has a journal already"):
        restored(repo)
    assert (tree(repo), journal_of(repo)) == before
    call("rm", "-rf", ".mailbox/logs", ".mailbox/lock", cwd=repo)
    for dry_run in (True, False):
        with pytest.raises(Refused, match="stands there without a journal; to restore, move them away first"):
            restored(repo, dry_run)
    assert tree(repo) == before[0]


def test_restore_from_another_ref(repo: Path) -> None:
    """Where the lost config.yaml named another ref, --ref says it; what is no ref of its own is refused."""
    store = made(repo, audit__ref="refs/mbox/other")
    audit.commit(store)
    before = tree(repo)
    call("git", "clean", "-fdxq", cwd=repo)
    with pytest.raises(Nothing, match=f"no {REF} in this repository"):
        restored(repo)
    assert mbox("audit", "restore", "--ref", "refs/heads/main", cwd=repo).returncode == 2
    assert mbox("audit", "restore", "--ref", "refs/mbox/other", cwd=repo).returncode == 0
    assert tree(repo) == before
    assert opened(repo).config.audit_ref == "refs/mbox/other"


def test_a_restore_that_dies_anywhere_is_finished_by_the_next(
    repo: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """Killed at every call that changes a file: either the store is there and whole, or another restore makes it so.

    Without ``--long`` at every third one, and at the last ten.
    """
    store = made(repo)
    store.transact(read(), Actor("bob", 1))
    audit.commit(store)
    before = tree(repo)
    store.close()
    disks: list[FaultyDisk] = []

    def dying_at(at: int) -> Callable[..., Disk]:
        shared = FaultyDisk(at=at, half=True)
        disks.append(shared)
        return lambda folder, private=True: shared

    def try_at(at: int) -> bool:
        """Whether it died."""
        call("git", "clean", "-fdxq", cwd=repo)
        monkeypatch.setattr(restore, "disk_for", dying_at(at))
        try:
            restored(repo)
        except Killed:
            return True
        finally:
            monkeypatch.undo()
        return False

    assert not try_at(-1)
    calls = disks[0].calls
    assert calls > 50
    again = 0
    points = range(calls) if pytestconfig.getoption("--long") else [*range(0, calls - 10, 3), *range(calls - 10, calls)]
    for at in points:
        assert try_at(at), at
        if not os.path.isdir(repo / places.LOGS) or not os.listdir(repo / places.LOGS):
            again += 1
            restored(repo)
        assert is_clean(repo)
        assert tree(repo) == before, f"killed at {at}: {disks[-1].log[-1]}"
        assert journaled(opened(repo))[-1]["op"] == "store.restore"
    assert again > len(points) // 2


def test_a_broken_off_restore_goes_on_from_a_newer_commit(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first try had written and the ref has moved or deleted since does not stay behind."""
    store = made(repo)
    audit.commit(store)
    tip = call("git", "rev-parse", REF, cwd=repo)
    store.transact(read(), Actor("bob", 1))
    audit.commit(store)
    newest, before = call("git", "rev-parse", REF, cwd=repo), tree(repo)
    call("git", "update-ref", REF, tip, cwd=repo)
    call("git", "clean", "-fdxq", cwd=repo)
    with monkeypatch.context() as patch:
        patch.setattr(Disk, "sync_filesystem", lambda self, fd: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            restored(repo)
    assert (repo / places.new("bob", "m4")).exists()
    call("git", "update-ref", REF, newest, cwd=repo)
    restored(repo)
    assert tree(repo) == before
    assert is_clean(repo)


# -- a hostile ref ---------------------------------------------------------------------------------------------------

Forgery = Callable[[list[dict[str, Any]]], None]


def forged(repo: Path, change: Forgery) -> None:
    """Point the ref at a commit whose journal is ``change``'d, with right checksums and a message that fits."""
    records = [json.loads(line) for line in journal_on(repo).splitlines()]
    change(records)
    lines = [segments.encode({name: value for name, value in one.items() if name != "crc"}) for one in records]
    data = b"".join(lines)
    name, seq = opened(repo).journal.header(1)["store"], records[-1]["seq"]
    said = audit.message("forged", name, Tail(seq, 1, len(data)), len(lines), "0")
    rewrite(repo, {audit.slice_path(1, 0): ("100644", blob(repo, data))}, said)


def rewrite(repo: Path, changes: dict[str, tuple[str, str] | None], said: str = "") -> None:
    """Point the ref at a commit with these files, by mode and object, in place of, or beside, what it has."""
    index = {"GIT_INDEX_FILE": str(repo.parent / "forger")}
    call("git", "read-tree", REF, cwd=repo, env=index)
    for path, entry in changes.items():
        words = ["--add", "--cacheinfo", f"{entry[0]},{entry[1]},{path}"] if entry else ["--force-remove", path]
        call("git", "update-index", *words, cwd=repo, env=index)
    tree_oid = call("git", "write-tree", cwd=repo, env=index)
    said = said or call("git", "log", "-1", "--format=%B", REF, cwd=repo)
    call("git", "update-ref", REF, call("git", "commit-tree", tree_oid, "-m", said, cwd=repo), cwd=repo)


def put(path: str, **changes: Any) -> Forgery:
    """The last record also puts a document at ``path``."""

    def change(records: list[dict[str, Any]]) -> None:
        records[-1]["put"].append([{"schema": 1, "title": "hostile"}, [path]])
        records[-1].update(changes)

    return change


def _set(**fields: Any) -> Forgery:
    return lambda records: records[-1].update(fields)


def _again(records: list[dict[str, Any]]) -> None:
    records.append(dict(records[-1]))


def _other_store(records: list[dict[str, Any]]) -> None:
    records[0]["store"] = "another"


def _newer(records: list[dict[str, Any]]) -> None:
    records[0].update(writer_min=99, format=99)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("../evil.json"), "not a place"),
        (put("/tmp/evil.json"), "not a place"),
        (put(".mailbox/inbox/../../../evil.json"), "not a place"),
        (put(".git/hooks/evil.json"), "not a place"),
        (put(".mailbox/config.yaml"), "not a place"),
        (put(".mailbox/runs/x/y.json"), "not a place"),
        (put(".tasks/notes/t1.jsonl"), "not a list of notes"),
        (put(".tasks/t1.json"), "field 'task_id' is missing"),
        (_set(mv=[["../../evil.json", ".tasks/t1.json"]]), "not a place"),
        (_set(mv=[[".tasks/t1.json", "../../evil.json"]]), "not a place"),
        (_set(**{"del": ["../../README.md"]}), "not a place"),
        (_set(lease=[["../../evil.json", None]]), "not a place of a lease"),
        (_set(lease=[[".tasks/leases/t1.json", {"schema": 1}]]), "not a record"),
        (_set(put=7), "not a record"),
        (_set(put=[[1, 2, 3]]), "not a record"),
        (lambda records: records[-2].update(seq=1 << 60), "does not follow"),
        (_set(seq="9"), "not a record"),
        (_again, "its number is 4, after 4"),
        (_other_store, "another store"),
        (_newer, "was written by format 99"),
    ],
)
def test_a_hostile_journal_on_the_ref_is_refused(repo: Path, change: Forgery, said: str) -> None:
    """What a journal on the ref names outside the layout, or cannot be replayed: refused, and nothing is made."""
    audit.commit(made(repo))
    forged(repo, lambda records: None)
    forged_ok = call("git", "rev-parse", REF, cwd=repo)
    forged(repo, change)
    hostile = call("git", "rev-parse", REF, cwd=repo)
    call("git", "clean", "-fdxq", cwd=repo)
    before = everything(repo.parent)
    with pytest.raises(MboxError, match=said):
        restored(repo)
    assert everything(repo.parent) == before
    assert not (repo / ".mailbox").exists() and not (repo / ".tasks").exists()
    assert hostile != forged_ok
    call("git", "update-ref", REF, forged_ok, cwd=repo)
    restored(repo)  # the forger's hand alone is not what is refused


@pytest.mark.parametrize(
    ("path", "mode", "said"),
    [
        (".mailbox/evil.sh", "100644", "is not a place"),
        ("README.md", "100644", "is not a place"),
        (".mailbox/logs/000001.jsonl", "100644", "is no slice"),
        (".mailbox/logs/000001/5.jsonl", "100644", "is no slice"),
        (".mailbox/logs/one/000000000000.jsonl", "100644", "is no slice"),
        (".mailbox/logs/000001/nothing.jsonl", "100644", "is no slice"),
        (".mailbox/logs/\u00b2/000000000000.jsonl", "100644", "is no slice"),
        (".mailbox/agents/ann.json", "120000", "no plain file"),
        (".mailbox/config.yaml", "120000", "no plain file"),
        (".mailbox/agents/ann.json", "100755", "no plain file"),
        (".mailbox/inbox", "120000", "no plain file"),
        (".tasks/sub", "160000", "no plain file"),
    ],
)
def test_a_hostile_tree_on_the_ref_is_refused(repo: Path, path: str, mode: str, said: str) -> None:
    """Anything on the ref that audit never writes there, a link, a program or a stranger, refuses it whole."""
    audit.commit(made(repo))
    if path == ".mailbox/inbox":
        rewrite(repo, {".mailbox/inbox/bob/new/m4.json": None})
    object_ = call("git", "rev-parse", "HEAD", cwd=repo) if mode == "160000" else blob(repo, b"/etc/passwd")
    rewrite(repo, {path: (mode, object_)})
    call("git", "clean", "-fdxq", cwd=repo)
    with pytest.raises(Corrupt, match=said):
        restored(repo)
    assert not (repo / ".mailbox").exists()


@pytest.mark.parametrize("which", ["first", "middle", "end of a segment", "last"])
def test_a_gap_in_the_slices_is_refused(repo: Path, which: str) -> None:
    """A slice that is missing anywhere is noticed: by its bytes, by the numbers, or by the commit's own word."""
    store = made(repo, segment_size="4 KiB")
    while len(store.journal.segments()) < 3:
        store.transact(send("text"), ANN)
        audit.commit(store)
    slices = sorted(path for path in on_ref(repo) if path.startswith(places.LOGS))
    second = [path for path in slices if "/000002/" in path]
    path = {"first": slices[0], "middle": second[1], "end of a segment": second[-1], "last": slices[-1]}[which]
    rewrite(repo, {path: None})
    call("git", "clean", "-fdxq", cwd=repo)
    with pytest.raises(Corrupt, match=r"a gap before|something is missing|the journal ends at"):
        restored(repo)
    assert not (repo / ".mailbox").exists()


def test_a_slice_that_was_changed_is_refused(repo: Path) -> None:
    """A byte of the journal that is not as it was written fails its line's checksum."""
    audit.commit(made(repo))
    data = journal_on(repo).replace(b"first", b"worst")
    rewrite(repo, {audit.slice_path(1, 0): ("100644", blob(repo, data))})
    call("git", "clean", "-fdxq", cwd=repo)
    with pytest.raises(Corrupt, match="its checksum is wrong"):
        restored(repo)


def test_a_record_that_names_a_place_outside_is_not_committed(repo: Path) -> None:
    """A journal that names a path outside the layout does not get on the ref either."""
    store = made(repo)
    record = {**journaled(store)[-1], "seq": 5, "put": [[{"schema": 1}, ["../evil.json"]]]}
    record.pop("crc")
    tail = store.journal.append(store.end(), 5, encode(record), True)
    mark = store.mark()
    assert mark
    store.lock.set_mark(mark._replace(tail=tail))
    with pytest.raises(Corrupt, match="is not a place"):
        audit.commit(opened(repo))


# -- the reminder ----------------------------------------------------------------------------------------------------


def said_by(store: Store, decide: Callable[[Transaction], Any]) -> list[str]:
    """What a command that makes one record says of audit."""
    said: list[str] = []
    store.say = said.append
    store.transact(decide, ANN)
    return [line for line in said if "audit" in line]


def test_the_nth_record_says_that_a_commit_is_due(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many records since the last audit commit, the command that made the last of them says so, once."""
    store = made(repo, audit__every="10")
    told = [bool(said_by(opened(repo), send("x"))) for _ in range(21)]  # 4 records stand there already
    assert [at for at, due in enumerate(told, 5) if due] == [10, 20]
    audit.commit(store)
    with monkeypatch.context() as patch:
        patch.setattr(plumbing.Git, "start", lambda *words: pytest.fail("git is not called for this"))
        same = opened(repo)
        told = [bool(said_by(same if at % 2 else opened(repo), send("x"))) for at in range(1, 23)]
    assert [at for at, due in enumerate(told, 1) if due] == [10, 20]
    assert said_by(same, send("x")) == []


def test_a_record_that_takes_many_numbers_is_one_record(repo: Path) -> None:
    """Records are counted, not numbers."""
    made(repo, audit__every="10")

    def many(tx: Transaction) -> None:
        for _ in range(50):
            tx.take()
        tx.record("task.import", [])

    assert said_by(opened(repo), many) == []
    told = [bool(said_by(opened(repo), send("x"))) for _ in range(8)]
    assert told == [False] * 4 + [True] + [False] * 3


def test_the_command_line_says_it_on_stderr(repo: Path) -> None:
    """The line names the number of records and the command, goes to stderr, and changes no exit status."""
    made(repo, audit__every="5")
    done = mbox("send", "bob", "--body", "x", cwd=repo, env={"MBOX_AGENT": "ann"})
    assert (done.returncode, json.loads(done.stdout)["msg_id"]) == (0, "m5")
    assert done.stderr == "5 records since the last audit commit; it is time for `mbox audit commit`\n"
    assert mbox("send", "bob", "--body", "x", cwd=repo, env={"MBOX_AGENT": "ann"}).stderr == ""


def test_when_nothing_is_said(repo: Path, tmp_path: Path) -> None:
    """Not outside of git, not with ``every: 0``, not in a dry run, and a lost note starts counting anew."""
    (tmp_path / "plain").mkdir()
    plain = made(tmp_path / "plain", audit__every="5")
    assert [said_by(plain, send("x")) for _ in range(8)] == [[]] * 8
    store = made(repo, audit__every="0")
    assert [said_by(store, send("x")) for _ in range(8)] == [[]] * 8
    configuration.set_value(store.absolute(places.MAILBOX), "audit.every", "5", store.disk)
    assert [bool(said_by(opened(repo), send("x"))) for _ in range(6)] == [False] * 5 + [True]
    store = opened(repo)
    for _ in range(4):
        store.transact(send("x"), ANN)
    store.transact(send("x"), ANN.trial())
    (repo / places.AUDITED).write_text("rubbish")
    assert [bool(said_by(opened(repo), send("x"))) for _ in range(6)] == [False] * 5 + [True]


def test_a_note_that_cannot_be_written_does_no_harm(repo: Path) -> None:
    """The command whose record makes a commit due succeeds, whatever becomes of the note."""
    made(repo, audit__every="5")
    (repo / places.AUDITED).mkdir()
    store = opened(repo)
    assert store.transact(send("x"), ANN) == "m5"
    assert reminder.Reminder.load(store) is None
    assert audit.commit(store)["seq"] == 5


# -- the contract's small print --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["commit", "log", "grep", "restore"])
def test_help_is_short(verb: str, tmp_path: Path) -> None:
    """Each help is at most 2,000 bytes, with an example; what every command's exit status can be stands in `mbox --help`."""
    done = mbox("audit", verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.encode()) <= 2000
    assert "Examples:" in done.stdout and "0 done" not in done.stdout


def test_search_needs_a_word(repo: Path) -> None:
    """An empty word, or one of two lines, is refused: git would take it for any line, or for two words."""
    store = made(repo)
    audit.commit(store)
    for words in ((), ("",), ("a", "")):
        with pytest.raises(Usage, match="one or more words"):
            audit.grep(store, audit.GrepQuery(words), 0)
    with pytest.raises(Usage, match="one or more words"):
        audit.grep(store, audit.GrepQuery(("a\nb",), regexp=True), 0)
