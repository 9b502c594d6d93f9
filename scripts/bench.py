"""Measure the toolkit against what the machine itself can do, in the same run.

Every figure is a median of paired runs, and what matters is its ratio to a baseline measured in turn with it: these
machines are shared, and a single absolute time says nothing.  Nothing here is a test; nothing fails.

usage: bench.py [SECTION]…   (see SECTIONS below); writes bench.json in the current folder.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mbox import opening
from mbox.agents import registry
from mbox.config.settings import Config
from mbox.doctor import repair, survey
from mbox.format import documents, places
from mbox.journal.record import encode
from mbox.mail import reading
from mbox.mail import sending as mail
from mbox.report import history
from mbox.reservations import conflicts, reserving
from mbox.store import checkpoint
from mbox.store.store import Actor, Store, Transaction
from mbox.tasks import claims, planfile, planning

BIN = Path(sys.executable).parent
USER = Actor("user:bench")
ANN, BOB = Actor("ann", 1), Actor("bob", 1)
rows: list[dict[str, Any]] = []


# -- measuring -----------------------------------------------------------------------------------------------------


def took(call: Callable[[], object]) -> float:
    """Seconds that ``call`` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(one: Callable[[], object], other: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Medians of both, run in turn, and the median of the ratios pair by pair."""
    pairs = [(took(one), took(other)) for _ in range(runs)]
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


def report(section: str, what: str, value: str, ratio: float | None, target: str) -> None:
    """Note and print one line of the table."""
    rows.append({"section": section, "what": what, "value": value, "ratio": ratio, "target": target})
    print(f"{section:10} {what:52} {value:>22} {f'{ratio:.2f}' if ratio is not None else '':>7}  {target}", flush=True)


def ms(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that is measured (not a RAM disk), removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="mbox-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        yield Path(folder)


@contextmanager
def fresh() -> Iterator[Path | None]:
    """A new ext4 in a file, mounted; None where that cannot be done (no root, no loop devices, no mkfs)."""
    with scratch() as folder:
        image, place = folder / "image", folder / "mounted"
        place.mkdir()
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        lines = (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)])
        try:
            for line in lines:
                subprocess.run(line, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def changed(config: Config, **fields: Any) -> Config:
    """``config``, but for ``fields``."""
    return Config({**{name: getattr(config, name) for name in config.__slots__}, **fields})


def make(folder: Path, durability: str = "full") -> Store:
    """A store in ``folder`` with agents ann and bob."""
    folder.mkdir(parents=True, exist_ok=True)
    store = opening.init(str(folder), here=True).store
    for name in ("ann", "bob"):
        registry.add(store, USER, name, {})
    store.close()
    store = opening.open_store(str(folder), str(folder))
    store.config = changed(store.config, send_rate=1_000_000, durability=durability)
    return store


def command(root: Path, *words: str, agent: str = "ann") -> Callable[[], object]:
    """A whole process of an installed command."""
    env = {**os.environ, "MBOX_ROOT": str(root), "MBOX_AGENT": agent}
    line = [str(BIN / words[0]), *words[1:]]
    return lambda: subprocess.run(line, env=env, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def baseline() -> object:
    """What a process costs that imports click and json and does nothing."""
    return subprocess.run([sys.executable, "-c", "import click, json"], check=True)


# -- sections ------------------------------------------------------------------------------------------------------


def process() -> None:
    """Whole processes against `python -c "import click, json"`."""
    with scratch() as folder:
        store = make(folder)
        store.close()
        for words in (
            ("mbox", "send", "bob", "--body", "hello"),
            ("mbox", "inbox"),
            ("reserve", "check", "src/a.py"),
            ("mbox", "me"),
            ("task", "list"),
        ):
            call = command(folder, *words)
            call()
            one, _, ratio = paired(call, baseline, 25)
            report("process", " ".join(words), ms(one), ratio, "≤ 1.25" if words[0] != "task" else "")


def sender(store: Store, to: str = "bob") -> Callable[[], object]:
    """One send in process."""
    draft = mail.MailDraft(body="hello " * 20)
    return lambda: mail.send(store, ANN, [to], draft)


def bare(folder: Path, files: bool, sync: bool = True) -> Callable[[], object]:
    """Append and fsync, and with ``files`` the same files as a send of ann's to bob makes, made and renamed.

    They are made in the store's own folders: what a new file costs depends on the folder (ext4 takes 20 µs in a group of
    blocks that has free inodes at hand, 500 µs in one that has few).
    """
    kept = folder / ".mailbox"
    folders = (kept / "inbox/bob/new", kept / "outbox/ann")
    fd = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    line, body, count = b"x" * 900 + b"\n", b"y" * 700, [0]

    def call() -> None:
        os.write(fd, line)
        if sync:
            os.fsync(fd)
        if files:
            count[0] += 1
            names = [f"{place}/bare{count[0]}.json" for place in folders]
            out = os.open(names[0] + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(out, body)
            os.close(out)
            os.link(names[0] + ".tmp", names[1] + ".tmp")
            for name in names:
                os.rename(name + ".tmp", name)

    return call


def inprocess() -> None:
    """Sends in process against the same system calls done bare, on this disk and on a file system that is new.

    ext4 passes over inodes that were freed in the last minutes, one by one: where a test suite has just removed its
    folders a new file costs 0.9 ms instead of 0.03, and "append and fsync" makes none.
    """
    with scratch() as folder:
        sending(folder, "this disk")
    with fresh() as folder:
        if folder:
            sending(folder, "new ext4")


def sending(folder: Path, where: str) -> None:
    """The rows of `inprocess` for one place."""
    for durability, files, target in (("full", True, "≥ 0.65"), ("fast", False, "≥ 0.80")):
        store = make(folder / durability, durability)
        send, floor = sender(store), bare(folder / durability, files)
        for call in (send, floor):
            for _ in range(50):
                call()
        one, other, ratio = paired(send, floor, 600)
        name = f"send, {durability}, {where}: rate / bare (bare {ms(other)})"  # most of it what an fsync costs here
        report("inprocess", name, f"{1 / one:.0f} /s", 1 / ratio, target)
        if durability == "fast":  # what of it are the files
            floor = bare(folder / durability, files=True, sync=False)
            one, other, ratio = paired(send, floor, 600)
            name = f"send, fast, {where}: rate / bare files (bare {ms(other)})"
            report("inprocess", name, f"{1 / one:.0f} /s", 1 / ratio, "")
        store.close()


def fill_tasks(store: Store, count: int, **fields: Any) -> None:
    """Import ``count`` queued tasks."""
    lines = "".join(json.dumps({"title": f"task {n}", **{k: v(n) for k, v in fields.items()}}) + "\n" for n in range(count))
    drafts = planfile.parse_plan(lines.encode(), "plan.jsonl")
    for at in range(0, count, 5000):
        planning.import_drafts(store, USER, drafts[at : at + 5000])


def claim_one(store: Store) -> Callable[[], object]:
    """Claim a task and put it back."""
    wish = claims.ClaimRequest()

    def call() -> None:
        claims.claim(store, ANN, wish)

    return call


UNDER = "10,000 under somebody's reservation"


def scale() -> None:
    """Small against large: claims, reservations, inboxes."""
    with scratch() as folder:
        small = make(folder / "small")
        fill_tasks(small, 200)
        big = {}
        for name, count, fields in (
            ("10,000 queued", 10_000, {}),
            ("100,000 queued", 100_000, {}),
            ("10,000 that need a capability", 10_000, {"requires": lambda n: ["gpu"], "priority": lambda n: 9}),
            ("10,000 of another kind each stage", 10_000, {"requires": lambda n: [f"cap{n % 20}"]}),
            (UNDER, 10_000, {"touched_paths": lambda n: [f"src/f{n}.py"], "priority": lambda n: 9}),
        ):
            store = make(folder / name.replace(" ", "-"))
            fill_tasks(store, count, **fields)
            if fields:
                fill_tasks(store, 200)
            if "touched_paths" in fields:
                wanted = reserving.ReservationRequest(["src/**"], 3600)
                reserving.reserve(store, BOB, wanted)
            big[name] = store
        claims.claim(small, ANN, claims.ClaimRequest())
        for name, store in big.items():
            first = took(claim_one(store))
            one, _, ratio = paired(claim_one(store), claim_one(small), 25)
            report("scale", f"claim: {name}", f"{ms(one)} first {ms(first)}", ratio, "≤ 1.5")
            fill_tasks(small, 40)
        reserve_scale(folder)
        pattern_scale(folder)
        inbox_scale(folder)


def reserve_scale(folder: Path) -> None:
    """`reserve` among 1,000 against among few."""
    few, many = make(folder / "few"), make(folder / "many")
    for n in range(1000):
        reserving.reserve(many, BOB, reserving.ReservationRequest([f"lib/m{n}/**"], 3600))
    count = [0]

    def one(store: Store) -> Callable[[], object]:
        def call() -> None:
            count[0] += 1
            reserving.reserve(store, ANN, reserving.ReservationRequest([f"src/f{count[0]}.py"], 3600))

        return call

    mine, _, ratio = paired(one(many), one(few), 60)
    report("scale", "reserve among 1,000", ms(mine), ratio, "≤ 2")


def pattern_scale(folder: Path) -> None:
    """`reserve` of forty of the worst patterns, refused when the steps are spent, against forty ordinary ones."""
    store = make(folder / "patterns")
    worst = [f"{'{*a*b,*c*d}' * 7}{'*a*b' * 3}*{n}" for n in range(40)]
    reserving.reserve(store, BOB, reserving.ReservationRequest([f"{text}x" for text in worst], 3600))
    ordinary = [f"src/m{n}/**/*.py" for n in range(40)]

    def trial(texts: list[str]) -> Callable[[], object]:
        def call() -> None:
            try:
                reserving.reserve(store, ANN.trial(), reserving.ReservationRequest(texts, 3600))
            except conflicts.Blocked:
                pass

        return call

    mine, _, ratio = paired(trial([f"{text}y" for text in worst]), trial(ordinary), 5)
    report("scale", "reserve: the worst patterns", ms(mine), ratio, "≤ 2 s")


def inbox_scale(folder: Path) -> None:
    """`send` into and `read` from an inbox of 10,000 against an empty one."""
    few, many = make(folder / "fewmail"), make(folder / "manymail", "fast")
    for _ in range(10_000):
        sender(many)()
    many.config = changed(many.config, durability="full")
    sender(few)()
    one, _, ratio = paired(sender(many), sender(few), 60)
    report("scale", "send into an inbox of 10,000", ms(one), ratio, "≤ 2")
    one, _, ratio = paired(lambda: reading.read(many, BOB), lambda: reading.read(few, BOB), 50)
    report("scale", "read --next from an inbox of 10,000", ms(one), ratio, "≤ 2")


def grow(store: Store, records: int) -> None:
    """Write ``records`` records onto the journal of a store: the same 1,000 notes again and again."""
    store.catch_up()
    seq, segment, mark = store.tail.seq, store.tail.segment, store.mark()
    assert mark is not None
    store.close()
    out = open(store.journal.path(segment), "ab")  # noqa: SIM115 - changed in the loop
    for n in range(records):
        if out.tell() >= store.config.segment_size:
            out.close()
            segment, seq = segment + 1, seq + 1
            out = open(store.journal.path(segment), "ab")  # noqa: SIM115
            out.write(encode(store.segment_header(seq, segment, mark.store)))
        seq += 1
        name = f"grown-{n % 1000}"
        doc = documents.new("agent", agent=name, host=f"change {n}", registered_at=NOW)
        out.write(encode(record(seq, "agent.add", [name], [[doc, [places.agent(name)]]])))
    out.close()
    (Path(store.root) / places.LOCK).write_bytes(b"")
    reopened = opening.open_store(store.root, store.root)
    reopened.catch_up()
    repair.rebuild(reopened)
    reopened.sync_files()
    with reopened.locked():
        checkpoint.note(reopened, segment)
    reopened.close()


NOW = "2026-01-02T03:04:05.000006Z"


def record(seq: int, op: str, on: list[str], put: list[Any]) -> dict[str, Any]:
    """A record as the store writes it."""
    return {"v": 1, "seq": seq, "ts": NOW, "by": "user:bench", "inc": 0, "op": op, "on": on, "why": "", "key": None,
            "put": put, "mv": [], "del": [], "lease": []}  # fmt: skip


SCRIPT = (
    ("mbox", "send", "bob", "--body", "x"), ("mbox", "inbox"), ("mbox", "wait", "--timeout", "1s"),
    ("mbox", "read"), ("reserve", "src/a.py"), ("reserve", "check", "src/a.py"), ("task", "claim"), ("task", "list"),
)  # fmt: skip


def journal() -> None:
    """Each command with 1,000,000 records behind it against the same in a new store."""
    count = int(os.environ.get("BENCH_RECORDS", "1000000"))
    with scratch() as folder:
        small, big = make(folder / "small"), make(folder / "big")
        grow(big, count)
        big = opening.open_store(big.root, big.root)
        big.config = small.config
        for store in (small, big):
            fill_tasks(store, 200)
        calls: dict[str, Callable[[Store], object]] = {
            "send": lambda s: sender(s)(),
            "inbox": opening_inbox,
            "read": lambda s: reading.read(s, BOB),
            "claim": lambda s: claims.claim(s, ANN, claims.ClaimRequest()),
            "reserve": lambda s: reserving.reserve(s, ANN, reserving.ReservationRequest([f"x/{time.perf_counter_ns()}"], 3600)),
        }
        for name, call in calls.items():
            one, _, ratio = paired(partial(call, big), partial(call, small), 40)
            report("journal", f"{name} after {count:,} records, in process", ms(one), ratio, "≤ 1.5")
        small.close()
        big.close()
        for words in SCRIPT:
            agent = "bob" if words[1] in ("inbox", "wait", "read") else "ann"
            for root in (small.root, big.root):
                command(Path(root), "mbox", "send", "bob", "--body", "y")()
            one, _, ratio = paired(
                command(Path(big.root), *words, agent=agent), command(Path(small.root), *words, agent=agent), 12
            )
            report("journal", f"{' '.join(words[:2])} after {count:,} records, process", ms(one), ratio, "≤ 1.1")
        rates(big.root, count)


def opening_inbox(store: Store) -> Any:
    """Bob's inbox, as `mbox inbox` reads it."""
    from mbox.mail import inbox

    return inbox.inbox(store, "bob")[0]


def rates(root: str, count: int) -> None:
    """Records a second of what reads the whole journal."""
    from mbox.report import search

    store = opening.open_store(root, root)
    for name, call in (
        ("log --limit 0 --op x", lambda: history.newest(store, history.RecordFilter(op="no.such"), 0)),
        ("search, first (index is made)", lambda: search.search(store, "nothing", 5)),
        ("search, again", lambda: search.search(store, "nothing", 5)),
        ("doctor", lambda: survey.survey(store)),
        ("rebuild", lambda: repair.rebuild(store)),
    ):
        seconds = took(call)
        report("rates", name, f"{seconds:.2f} s {count / seconds:,.0f} /s", None, "≥ 100,000 /s")
    seconds = took(command(Path(root), "mbox", "log", "--limit", "20"))
    report("rates", "mbox log --limit 20, process", ms(seconds), None, "from the end")
    store.close()


def wake() -> None:
    """From a delivery to the waiter's line, and to its end; the CPU of waiting."""
    with scratch() as folder:
        store = make(folder)
        env = {**os.environ, "MBOX_ROOT": str(folder), "MBOX_AGENT": "bob"}
        shown, gone = [], []
        for _ in range(15):
            reading.read(store, BOB, limit=100)
            waiter = subprocess.Popen([BIN / "mbox", "wait", "--new", "--timeout", "30s"], env=env, stdout=subprocess.PIPE)
            time.sleep(0.6)
            sender(store)()
            sent = time.perf_counter()
            assert waiter.stdout
            waiter.stdout.read(1)
            shown.append(time.perf_counter() - sent)
            waiter.wait()
            gone.append(time.perf_counter() - sent)
        report("wake", "mbox wait: line printed after the delivery", ms(statistics.median(shown)), None, "≤ 5 ms")
        report("wake", "mbox wait: process gone", ms(statistics.median(gone)), None, "≤ 20 ms")
        short, long = (waiting(env, seconds) for seconds in (1, 61))
        report("wake", "mbox wait: CPU of 60 s of waiting", f"{max(0.0, long - short):.3f} s", None, "≤ 0.05 s")


def waiting(env: dict[str, str], seconds: int) -> float:
    """The CPU of an `mbox wait` of so long, the least of some: starting a process costs more than what is measured."""
    waiters = []
    for _ in range(3):
        line = [str(BIN / "mbox"), "wait", "--new", "--timeout", f"{seconds}s"]
        waiters.append(subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.3)
    used = [os.wait4(waiter.pid, 0)[2] for waiter in waiters]
    return min(one.ru_utime + one.ru_stime for one in used)


def big() -> None:
    """A store of 100,000 messages and 10,000 tasks; the first command after a machine's death."""
    with scratch() as folder:
        store = make(folder, "fast")
        fill_tasks(store, 10_000)
        store.config = changed(store.config, segment_size=1 << 40)
        for _ in range(int(os.environ.get("BENCH_MESSAGES", "100000"))):
            sender(store)()
        store.close()
        for words in (("mbox", "status"), ("task", "list")):
            call = command(folder, *words)
            call()
            seconds = statistics.median(took(call) for _ in range(3))
            report("big", f"{' '.join(words)}: 100,000 messages, 10,000 tasks", f"{seconds:.2f} s", None, "≤ 1 s")
    with scratch() as folder:
        store = make(folder, "fast")
        while store.tail.segment == 1:
            sender(store)()
        store.close()
        (folder / places.CONFIG).write_text("send_rate: 0\n")
        env = {**os.environ, "MBOX_BOOT_ID": "after-a-power-cut", "MBOX_ROOT": str(folder), "MBOX_AGENT": "ann"}
        line = [str(BIN / "mbox"), "send", "bob", "--body", "x"]
        seconds = took(lambda: subprocess.run(line, env=env, check=True, stdout=subprocess.DEVNULL))
        report("big", "first command after a machine's death, full segment", f"{seconds:.2f} s", None, "≤ 5 s")


def rivals() -> None:
    """The same job, one message in and out, with what else is at hand."""
    import mailbox
    import sqlite3

    text = "hello " * 20
    with scratch() as folder:
        box = mailbox.Maildir(str(folder / "maildir"), create=True)

        def maildir() -> None:
            key = box.add(text)
            box.get_message(key)
            box.remove(key)

        calls: dict[str, Callable[[], object]] = {"mailbox.Maildir": maildir}
        for mode in ("FULL", "NORMAL"):
            db = sqlite3.connect(folder / f"{mode}.sqlite", isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {mode}")
            db.execute("CREATE TABLE m(id INTEGER PRIMARY KEY, body)")

            def sql(db: sqlite3.Connection = db) -> None:
                db.execute("INSERT INTO m(body) VALUES(?)", (text,))
                ident, _ = db.execute("SELECT id, body FROM m ORDER BY id LIMIT 1").fetchone()
                db.execute("DELETE FROM m WHERE id = ?", (ident,))

            calls[f"SQLite WAL, synchronous {mode}"] = sql
        try:
            import persistqueue  # type: ignore[import-not-found,import-untyped,unused-ignore]

            queue = persistqueue.Queue(str(folder / "queue"))

            def persist() -> None:
                queue.put(text)
                queue.get()
                queue.task_done()

            calls["persist-queue"] = persist
        except ImportError:
            print("rivals: persist-queue could not be installed; left out")
        for durability in ("full", "fast"):
            store = make(folder / durability, durability)

            def ours(store: Store = store) -> None:
                sender(store)()
                reading.finish(store, BOB, reading.read(store, BOB))

            ours()
            for name, call in calls.items():
                call()
                one, other, ratio = paired(ours, call, 60)
                report("rivals", f"send, read, ack in {durability} / {name}", f"{ms(one)} / {ms(other)}", ratio, "")
            store.close()


def alive() -> None:
    """The wrapper, the doorbell of an idle agent by the watchdog, and the end of a team, with real tmux."""
    with scratch() as folder:
        make(folder).close()
        wrapped = command(folder, "mbox", "run", "--no-watchdog", "--", "true")
        one, other, ratio = paired(wrapped, command(folder, "mbox", "send", "bob", "--body", "x"), 15)
        report("alive", "mbox run -- true / mbox send", f"{ms(one)} / {ms(other)}", ratio, "")
    if shutil.which("tmux") is None:
        print("alive      without tmux there are no panes to measure", flush=True)
        return
    with scratch() as folder:
        doorbells(folder)
    with scratch() as folder:
        dismissal(folder)


def members(folder: Path, count: int, words: list[str]) -> None:
    """Call a team of ``count`` members together in a tmux server of its own."""
    make(folder).close()
    team = {"team": "bench", "members": [{"role": "m", "count": count, "host": "claude", "command": words}]}
    (folder / "team.yaml").write_text(json.dumps(team))
    command(folder, "team", "up", str(folder / "team.yaml"), "--socket", str(folder / "tmux"), "--quiet")()


def dismissed(folder: Path) -> None:
    """End the team, its watchdog and its tmux server."""
    command(folder, "team", "down", "--force", "--quiet")()
    asked = [str(BIN / "mbox"), "watchdog", "--status", "--root", str(folder)]
    until = time.monotonic() + 30
    while not subprocess.run(asked, check=False, capture_output=True).returncode and time.monotonic() < until:
        time.sleep(0.05)  # it ends by itself, when no team is up; nothing is removed under it
    subprocess.run(["tmux", "-S", str(folder / "tmux"), "kill-server"], check=False, capture_output=True)


def doorbells(folder: Path) -> None:
    """From a delivery until the idle program has taken the line."""
    fake, log = Path(__file__).parent.parent / "tests/fakes/agent.py", folder / "log"
    members(folder, 1, [sys.executable, str(fake), str(log), "redraw"])
    times = []
    try:
        time.sleep(1.5)
        for n in range(15):
            send = command(folder, "mbox", "send", "m-1", "--body", "x", agent="bob")
            before = log.read_text().count("took")
            send()
            start = time.perf_counter()
            while log.read_text().count("took") == before and time.perf_counter() - start < 20:
                time.sleep(0.005)
            times.append(time.perf_counter() - start)
            command(folder, "mbox", "read", "--all", agent="m-1")()
            time.sleep(0.3 + n % 3 / 10)
    finally:
        dismissed(folder)
    report("alive", "delivery → doorbell taken, idle agent: median, worst", f"{ms(statistics.median(times))} {max(times):.2f} s",
           None, "≤ 2 s")  # fmt: skip


def dismissal(folder: Path) -> None:
    """`team down` of six members that have nothing to do."""
    times = []
    for n in range(3):
        place = folder / str(n)
        members(place, 6, ["sleep", "1000"])
        try:
            times.append(took(command(place, "team", "down", "--timeout", "60s")))
        finally:
            dismissed(place)
    report("alive", "team down, six idle members", f"{statistics.median(times):.2f} s", None, "≤ 65 s")


def flow_of(count: int, kind: str = 'run: "true"') -> str:
    """A workflow of so many steps."""
    return "version: 1\nname: bench\nsteps:\n" + "".join(f"  - {{id: s{n}, {kind}}}\n" for n in range(count))


def begun(store: Store, text: str, ident: str) -> None:
    """A run of a workflow, begun."""
    from mbox.engine import beginning
    from mbox.workflow import definition

    workflow = definition.load("bench.yaml", {"bench.yaml": text}.__getitem__)
    beginning.begin(store, Actor("user:bench"), workflow, {}, beginning.Wishes(ident, unattended=True))


def driven(store: Store, ident: str) -> None:
    """The engine takes a run to its end."""
    from mbox.engine.engine import Engine

    assert Engine(store, ident, dict(os.environ)).drive()["status"] == "succeeded"


def after_steps(store: Store, ident: str, count: int) -> None:
    """A run that has ``count`` visits of steps behind it and stands before its last."""
    from mbox.engine import runs

    begun(store, flow_of(2), ident)
    for start in range(0, count, 500):

        def put(tx: Transaction, start: int = start) -> None:
            for n in range(start, min(start + 500, count)):
                doc = documents.new("step", run=ident, step="s0", visit=n + 1, kind_="run", status="done",
                                    entered_at=tx.now, ended_at=tx.now)  # fmt: skip
                tx.put(doc, places.step(ident, runs.seat("s0", n + 1)))
            run = tx.read(places.run(ident)) or {}
            at = {"step": "s1", "visit": 1, "state": "pending", "since": tx.wall}
            run.update(visits={"s0": count}, last={"s0": count}, at=at)
            tx.put(run, places.run(ident))
            tx.record("run.step", [ident])

        store.transact(put, Actor("user:bench"))


def workflows() -> None:
    """A step of the engine against the bare command with two durable appends; going on after many steps."""
    with scratch() as folder:
        store = make(folder)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        steps, runs = 100, 9
        waiting = [f"b{n}" for n in range(runs + 2)]
        for ident in waiting:
            begun(store, flow_of(steps), ident)
        append = bare(folder, files=False)

        def plain() -> None:
            for _ in range(steps):
                subprocess.run(["bash", "-c", "true"], check=True)
                append()
                append()

        def engine() -> None:
            driven(store, waiting.pop())

        one, _, ratio = paired(engine, plain, runs)
        report("workflows", "a run step, of bash -c true and two appends", ms(one / steps), ratio, "≤ 2")
        for n in range(12):
            after_steps(store, f"few{n}", 10)
        after_steps(store, "many0", 10_000)
        few = statistics.median(took(partial(driven, store, f"few{n}")) for n in range(11))
        many = took(lambda: driven(store, "many0"))
        report("workflows", "going on after 10,000 steps, of after 10", ms(many), many / few, "≤ 2")
        store.close()


def hooks() -> None:
    """A host's call against an interpreter that imports json alone, with 100 reservations; asking git against `git status`."""
    script = str(Path(opening.__file__).parent / "hooks/hook.py")
    bare = [sys.executable, "-I", "-S", "-c", "import json"]
    with scratch() as folder:
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        for n in range(2000):
            (folder / f"d{n % 20}").mkdir(exist_ok=True)
            (folder / f"d{n % 20}/f{n}").write_text("x\n")
        who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", "-C", str(folder), "add", "--all"], check=True)
        subprocess.run(["git", "-C", str(folder), *who, "commit", "--quiet", "--message", "files"], check=True)
        for n in range(0, 2000, 40):
            (folder / f"d{n % 20}/f{n}").write_text("changed\n")
        store = make(folder)
        for n in range(100):
            reserving.reserve(store, ANN, reserving.ReservationRequest([f"held{n}/**"], 3600))
        store.close()
        time.sleep(2.1)  # until then the settings are not remembered: their file's time could hide a second change

        def hook(event: str, tool: str, **given: str) -> Callable[[], object]:
            doc = {"session_id": "s", "cwd": str(folder), "hook_event_name": event, "tool_name": tool, "tool_input": given}
            env = {**os.environ, "MBOX_AGENT": "bob"}
            line, data = [sys.executable, "-I", "-S", script, "claude", event], json.dumps(doc).encode()
            return lambda: subprocess.run(line, input=data, env=env, check=True, stdout=subprocess.DEVNULL)

        for what, call in (
            ("before a write of one's own", hook("PreToolUse", "Write", file_path="own.py")),
            ("after it", hook("PostToolUse", "Write", file_path="own.py")),
            ("a denial", hook("PreToolUse", "Write", file_path="held7/x.py")),
            ("before `ls`", hook("PreToolUse", "Bash", command="ls -l")),
        ):
            call(), call()
            one, _, ratio = paired(call, lambda: subprocess.run(bare, check=True), 25)
            report("hooks", what, ms(one), ratio, "≤ 1.6")
        hook("PreToolUse", "Bash", command="make")()
        quiet, asks = hook("PostToolUse", "Write", file_path="own.py"), hook("PostToolUse", "Bash", command="make")
        one, other, _ = paired(asks, quiet, 25)
        git = ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=all"]
        status = statistics.median(took(lambda: subprocess.run(git, check=True, stdout=subprocess.DEVNULL)) for _ in range(25))
        report("hooks", "what asking git adds, of `git status`", ms(one - other), (one - other) / status, "≤ 2")


SECTIONS = {
    "process": process, "inprocess": inprocess, "scale": scale, "journal": journal, "wake": wake, "big": big,
    "rivals": rivals, "alive": alive, "workflows": workflows, "hooks": hooks,
}  # fmt: skip


def main(words: list[str]) -> int:
    """Run the named sections, or all."""
    unknown = [word for word in words if word not in SECTIONS]
    if unknown:
        print(f"bench: no section {unknown[0]}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    for name in words or SECTIONS:
        SECTIONS[name]()
    Path("bench.json").write_text(json.dumps({"at": time.strftime("%Y-%m-%d"), "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    shutil.rmtree("bench.json", ignore_errors=True)
    sys.exit(main(sys.argv[1:]))
