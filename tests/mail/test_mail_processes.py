"""Mail between real processes: several readers of one inbox, and the commands as a shell calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, Run
from kit import journaled
from mailkit import ANN, BOB, USER, configure, send, unread
from mbox.agents import registry
from mbox.format import places
from mbox.mail import inbox, reading
from mbox.opening import init
from mbox.store.store import Store

# -- several processes ---------------------------------------------------------------------------------------

READER = """
import os, sys
from mbox.mail import sending as mail; from mbox.mail import reading
from mbox.opening import open_store
from mbox.store.store import Actor
store = open_store(sys.argv[1], os.getcwd())
who = Actor("bob", 1)
print("ready", flush=True)
sys.stdin.readline()
while docs := reading.read(store, who):
    print(docs[0]["msg_id"], flush=True)
    reading.finish(store, who, docs)
"""


def readers(root: Path, count: int) -> list[list[str]]:
    """What ``count`` processes read from bob's inbox, each until it was empty."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "mailbox")}
    command = [sys.executable, "-c", READER, str(root)]
    made = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for one in made:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
    out = []
    for one in made:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in made:
        text, _ = one.communicate(timeout=120)
        assert one.returncode == 0
        out.append(text.split())
    return out


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Store]:
    """A store on the real clocks, with ann and bob."""
    store = init(str(tmp_path), here=True).store
    for name in ("ann", "bob"):
        registry.add(store, USER, name, {})
    yield store
    store.close()


def test_two_processes_read_one_inbox(real: Store, tmp_path: Path) -> None:
    """Each message is shown to exactly one of them, in order in each, and all end up acknowledged."""
    sent = [send(real, ANN, "bob") for _ in range(60)]
    out = readers(tmp_path, 2)
    assert sorted(out[0] + out[1]) == sorted(sent)
    for one in out:
        assert one == sorted(one, key=places.number)
    assert len(inbox.archive(real, "bob")) == 60
    assert real.names(places.cur_folder("bob")) == real.names(places.LEASES) == []


def test_processes_read_what_dead_readers_left(real: Store, tmp_path: Path) -> None:
    """Forty expired read leases, met by three processes at once: each message comes back once and is read once."""
    sent = [send(real, ANN, "bob") for _ in range(40)]
    configure(real, read_lease=1e-6)
    assert len(reading.read(real, BOB, limit=40)) == 40
    assert unread(real, "bob") == []
    out = readers(tmp_path, 3)
    assert sorted(msg_id for one in out for msg_id in one) == sorted(sent)
    returned = [record["on"][0] for record in journaled(real) if record["op"] == "mail.return"]
    assert sorted(returned) == sorted(sent)


# -- the commands --------------------------------------------------------------------------------------------


@pytest.fixture
def desk(run: Run, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a store with ann and bob: ``desk("ann", "send", …)``."""

    def call(agent: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run("mbox", *words, env={"MBOX_AGENT": agent or None, "MBOX_ROOT": str(tmp_path)}, cwd=tmp_path, **more)

    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    for name in ("ann", "bob"):
        call("", "agent", "add", name, check=True)
    return call


Desk = Callable[..., "subprocess.CompletedProcess[str]"]


def test_send_and_read_from_the_shell(desk: Desk) -> None:
    """Ids and what is new on stdout; the inbox empty afterwards; exit 1 where nothing is unread."""
    body = "'''\\n C:\\new $HOME {{x}} 100% \x1b[31m\r\nend  \n"
    sent = json.loads(desk("ann", "send", "bob", "--subject", "s", "--body", "-", stdin=body, check=True).stdout)
    assert sent == {"msg_id": "m4", "state": "unread"}
    rows = json.loads(desk("bob", "inbox", check=True).stdout)
    assert [row["msg_id"] for row in rows] == ["m4"]
    got = json.loads(desk("bob", "read", check=True).stdout)
    assert got["body"] == body
    assert got["state"] == "read"
    empty = desk("bob", "inbox", check=True)
    assert (empty.stdout, "empty; looked in" in empty.stderr) == ("[]\n", True)
    nothing = desk("bob", "read")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert json.loads(desk("bob", "read", "m4", check=True).stdout)["already"]
    assert json.loads(desk("", "show", "m4", check=True).stdout)["receivers"] == {"bob": "acked"}


@pytest.mark.parametrize("call", ["mbox send bob --body x", "mbox ask bob --body x", "task add x"])
def test_a_key_of_the_toolkit_is_refused(repo: Path, run: Run, call: str) -> None:
    """Wherever a caller gives a key, one that begins like the toolkit's own is a wrong call, and the error says why."""
    run("mbox", "init", cwd=repo, check=True)
    done = run(*call.split(), "--key", "mbox:answers m1 m2", cwd=repo)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--key begins with mbox:, as only the toolkit's own keys do: take another key" in done.stderr


def test_exit_statuses(desk: Desk) -> None:
    """2 for a wrong call or a rule, 3 for what is not there, 4 for time, 5 for a lost lease."""
    assert desk("", "send", "bob", "--body", "x").returncode == 2
    assert desk("ann", "send", "bob").returncode == 2
    assert desk("ann", "send", "--body", "x").returncode == 2
    assert desk("ann", "send", "bop", "--body", "x").returncode == 3
    assert desk("cyd", "inbox").returncode == 3
    refused = desk("ann", "broadcast", "--body", "x")
    assert refused.returncode == 2
    assert "refused: only an agent with role orchestrator" in refused.stderr
    assert desk("bob", "wait", "--timeout", "0.01s").returncode == 4
    assert desk("bob", "read", "--wait", "0.01s").returncode == 4
    assert desk("ann", "ask", "bob", "--body", "?", "--timeout", "0.01s").returncode == 4
    assert desk("bob", "ack", "m5").returncode == 2  # unread; the refusal took m4
    assert desk("bob", "ack", "m99").returncode == 3
    desk("ann", "send", "bob", "--body", "x", "--needs-ack", "--priority", "9", check=True)
    token = json.loads(desk("bob", "read", check=True).stdout)["token"]
    assert desk("bob", "ack", f"m{token - 1}", "--token", "1").returncode == 5
    assert desk("bob", "ack", f"m{token - 1}", "--token", str(token)).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_what_could_not_be_printed_is_not_acknowledged(desk: Desk, tmp_path: Path) -> None:
    """stdout is full, or its reader is gone: the message stays leased, to come back when that runs out."""
    store = init(str(tmp_path), here=True).store
    for target in ("> /dev/full", "| :"):
        msg_id = json.loads(desk("ann", "send", "bob", "--body", "-", stdin="x" * 200_000, check=True).stdout)["msg_id"]
        script = f"mbox read {msg_id} {target}; echo ${{PIPESTATUS[0]}}"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "MBOX_AGENT": "bob", "MBOX_ROOT": str(tmp_path), "PATH": path}
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert done.stdout.split()[-1] in ("74", "141")
        there = store.read(places.cur("bob", msg_id))
        assert there is not None
        assert there["state"] == "read"
        assert store.load_lease(places.read_lease("bob", msg_id))
    store.close()


def spawn(tmp_path: Path, agent: str, *words: str) -> subprocess.Popen[str]:
    """A command that goes on in the background."""
    command = [str(Path(sys.executable).parent / "mbox"), *words]
    environment = {**os.environ, "MBOX_AGENT": agent, "MBOX_ROOT": str(tmp_path)}
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_wait_wakes_the_shell(desk: Desk, tmp_path: Path) -> None:
    """A header of what came while it waited, or before; the message stays unread."""
    waiting = spawn(tmp_path, "bob", "wait", "--timeout", "60s")
    desk("ann", "send", "bob", "--subject", "s", "--body", "x", check=True)
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert [(row["subject"], "body" in row) for row in json.loads(out)] == [("s", False)]
    assert json.loads(desk("bob", "read", check=True).stdout)["body"] == "x"


def test_watch_ends_with_the_store(desk: Desk, tmp_path: Path) -> None:
    """A line for each delivery, at once; when the folder vanishes, exit 6, and nothing is made anew."""
    desk("ann", "send", "bob", "--body", "1", check=True)
    watching = spawn(tmp_path, "bob", "watch")
    assert watching.stdout
    assert json.loads(watching.stdout.readline())["msg_id"] == "m4"
    desk("ann", "send", "bob", "--body", "2", check=True)
    assert json.loads(watching.stdout.readline())["msg_id"] == "m5"
    os.rename(tmp_path / ".mailbox", tmp_path / "elsewhere")
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 6
    assert len(err.splitlines()) == 1
    assert not (tmp_path / ".mailbox").exists()


def test_watch_gives_a_command_the_header_on_stdin(desk: Desk, tmp_path: Path) -> None:
    """Never in its arguments, whatever the subject says; a command that fails is said, and ends nothing."""
    program = "import sys,json; print(json.dumps([sys.argv[1:], sys.stdin.read()]), flush=True); sys.exit(3)"
    subject = "'; touch owned; echo '$(touch owned)"
    watching = spawn(tmp_path, "bob", "watch", "--", sys.executable, "-c", program, "fixed")
    assert watching.stdout
    for number in (1, 2):
        desk("ann", "send", "bob", "--subject", subject.replace("$(", "`("), "--body", str(number), check=True)
        arguments, text = json.loads(watching.stdout.readline())
        assert arguments == ["fixed"]
        assert json.loads(text)["subject"] == subject.replace("$(", "`(")
    watching.terminate()
    _, err = watching.communicate(timeout=60)
    assert "exited 3 for m4, which stays unread" in err
    assert not (tmp_path / "owned").exists()


def test_ask_and_gather_from_the_shell(desk: Desk, tmp_path: Path) -> None:
    """The thread on stderr before anything else; both answers together; acknowledged once printed."""
    desk("", "agent", "add", "cyd", check=True)
    asking = spawn(tmp_path, "ann", "ask", "bob", "cyd", "--body", "which?", "--timeout", "60s")
    assert asking.stderr
    assert asking.stderr.readline().startswith("thread m5: waiting; `mbox gather m5`")
    for name in ("bob", "cyd"):
        question = json.loads(desk(name, "read", check=True).stdout)
        assert question["reply_with"] == "mbox reply m5 --body TEXT"
        desk(name, "reply", question["msg_id"], "--body", f"{name} says", check=True)
    out, _ = asking.communicate(timeout=60)
    assert asking.returncode == 0
    got = json.loads(out)
    assert [(row["from"], row["body"]) for row in got["answers"]] == [("bob", "bob says"), ("cyd", "cyd says")]
    assert "missing" not in got
    assert json.loads(desk("ann", "inbox", check=True).stdout) == []
    again = desk("ann", "gather", "m5", "--send", check=True)
    assert json.loads(again.stdout) == got
    assert "sent to bob, cyd as m" in again.stderr
    assert json.loads(desk("cyd", "read", check=True).stdout)["payload"] == got["answers"]


def switches(pid: int) -> int:
    """How often a process has gone to sleep by itself."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("voluntary")).split()[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_mail_for_others_wakes_nobody(desk: Desk, tmp_path: Path) -> None:
    """While forty messages go to somebody else, a waiting command stays asleep, but for its look at the mark."""
    waiting = spawn(tmp_path, "bob", "watch")
    desk("ann", "send", "bob", "--body", "x", check=True)
    assert waiting.stdout
    waiting.stdout.readline()
    store = init(str(tmp_path), here=True).store
    before = switches(waiting.pid)
    for _ in range(40):
        send(store, ANN, "ann")
    woken = switches(waiting.pid) - before
    store.close()
    waiting.kill()
    waiting.communicate()
    assert woken < 15
