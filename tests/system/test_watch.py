"""Waiting: nothing missed, nothing burnt, a store that vanishes is told; on each of the three back ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbox.errors import StoreError, Usage
from mbox.system import filesystem, watch
from mbox.system.watch import Watcher

QUICK = (0.01, 0.02)
"""A backoff for tests that poll a real folder."""

LONG = 20.0
"""Seconds after which a wait that should have ended has failed."""

SHORT = 0.25
"""Seconds in which a wait that should go on is seen to go on."""

BACKENDS = [
    pytest.param("inotify", marks=pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")),
    "watchfiles",
    "poll",
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each back end in turn."""
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file, unchanged since long ago."""
    made = tmp_path.resolve() / "store" / "new"
    made.mkdir(parents=True)
    (made / "m1.json").write_text("{}\n")
    age(made / "m1.json")
    age(made)
    return made


def age(path: Path) -> None:
    """Let ``path`` have been changed last so long ago that any later change shows in its mtime."""
    os.utime(path, ns=(1_700_000_000_500_000_000, 1_700_000_000_500_000_000))


def watcher(backend: str, *paths: Path) -> Watcher:
    """A watcher of ``paths`` that polls quickly if it polls."""
    return Watcher([str(path) for path in paths], backend, QUICK)


def deliver(folder: Path, name: str = "m2.json") -> None:
    """Put a document into ``folder`` as the store does: a temporary file, renamed."""
    (folder / ".tmp-x").write_text("{}\n")
    (folder / ".tmp-x").rename(folder / name)


def settle(watcher: Watcher) -> None:
    """Wait until ``watcher`` has nothing more to tell of what was changed before."""
    assert not all(watcher.wait(SHORT) for _ in range(50)), "it wakes for ever"


def vanished(watcher: Watcher, timeout: float) -> StoreError:
    """The error with which waiting ends, perhaps after some wakes."""
    with pytest.raises(StoreError, match="vanished") as caught:
        for _ in range(50):
            watcher.wait(timeout)
    return caught.value


# -- waking --------------------------------------------------------------------------------------------------


def test_a_delivery_while_waiting_wakes(backend: str, folder: Path) -> None:
    """A document that is renamed into the folder ends the wait."""
    with watcher(backend, folder) as w:
        assert w.backend == backend
        thread = threading.Thread(target=deliver, args=(folder,))
        thread.start()
        assert w.wait(LONG)
        thread.join()


def test_what_happens_between_making_and_waiting_is_not_missed(backend: str, folder: Path) -> None:
    """The watch stands when the constructor returns: whoever lists then has seen or will see everything."""
    with watcher(backend, folder) as w:
        deliver(folder)
        assert w.wait(LONG)


def test_every_delivery_wakes_again(backend: str, folder: Path) -> None:
    """One watcher serves many deliveries, each either seen by a listing or followed by a wake."""
    with watcher(backend, folder) as w:
        for number in range(2, 6):
            deliver(folder, f"m{number}.json")
            assert w.wait(LONG)
            settle(w)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "m1.json").unlink(),
        lambda folder: (folder / "m1.json").rename(folder.parent / "m1.json"),
        lambda folder: deliver(folder, "m1.json"),
        lambda folder: os.link(folder / "m1.json", folder / "m9.json"),
        lambda folder: (folder / "sub").mkdir(),
    ],
    ids=["unlinked", "moved out", "replaced", "linked", "folder made"],
)
def test_every_change_of_a_name_wakes(backend: str, folder: Path, change: Callable[[Path], None]) -> None:
    """A name that goes, is replaced, or comes in any other way is a change."""
    with watcher(backend, folder) as w:
        change(folder)
        assert w.wait(LONG)


def test_any_of_several_folders_wakes(backend: str, folder: Path, tmp_path: Path) -> None:
    """Every one of the paths is watched."""
    other = tmp_path.resolve() / "other"
    other.mkdir()
    age(other)
    for place in (folder, other):
        with watcher(backend, folder, other) as w:
            deliver(place, "m7.json")
            assert w.wait(LONG)


def test_an_append_to_a_watched_file_wakes(backend: str, folder: Path) -> None:
    """Whoever follows a journal names its segment."""
    with watcher(backend, folder, folder / "m1.json") as w:
        with open(folder / "m1.json", "a") as file:
            file.write("more\n")
        assert w.wait(LONG)


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_an_append_wakes_who_watches_the_folder(backend: str, folder: Path) -> None:
    """Where events come, naming the folder is enough."""
    with watcher(backend, folder) as w:
        with open(folder / "m1.json", "a") as file:
            file.write("more\n")
        assert w.wait(LONG)


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_temporary_files_wake_nobody(backend: str, folder: Path) -> None:
    """Staging a document is no news; its rename is."""
    with watcher(backend, folder) as w:
        (folder / ".tmp-m2.json").write_text("{}\n")
        assert not w.wait(SHORT)
        (folder / ".tmp-m2.json").rename(folder / "m2.json")
        assert w.wait(LONG)


def test_no_change_is_false_at_the_timeout(backend: str, folder: Path) -> None:
    """Nothing happens: False, also at once for a timeout of 0, and again for the next wait."""
    with watcher(backend, folder) as w:
        assert not w.wait(0)
        assert not w.wait(0.05)
        assert not w.wait(0.05)


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_wait_without_end_looks_for_the_folder_now_and_then(
    backend: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a timeout too, a folder above that is moved away, of which no event tells, ends the wait."""
    monkeypatch.setattr(watch, "LOOK", 0.05)
    with watcher(backend, folder) as w:
        folder.parent.rename(folder.parent.with_name("elsewhere"))
        with pytest.raises(StoreError, match="vanished"):
            w.wait(None)


# -- vanishing -----------------------------------------------------------------------------------------------


def empty(folder: Path) -> None:
    """Delete ``folder``."""
    (folder / "m1.json").unlink()
    folder.rmdir()


def swap(folder: Path) -> None:
    """Put another folder of the same name in the place of ``folder``."""
    folder.rename(folder.with_name("old"))
    folder.mkdir()


@pytest.mark.parametrize(
    "go",
    [empty, lambda folder: folder.rename(folder.with_name("old")), swap],
    ids=["deleted", "moved", "another in its place"],
)
def test_a_folder_that_vanishes_ends_the_wait(backend: str, folder: Path, go: Callable[[Path], None]) -> None:
    """Exit 6 that names the folder; it is not made anew; and so says every later wait."""
    with watcher(backend, folder) as w:
        thread = threading.Thread(target=go, args=(folder,))
        thread.start()
        error = vanished(w, LONG)
        thread.join()
        assert f"the store at {folder} vanished" in str(error)
        assert error.exit == 6
        assert folder.exists() == (go is swap)
        vanished(w, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_folder_made_anew_under_its_old_inode_has_vanished(folder: Path) -> None:
    """ext4 gives a new folder the inode of the one just deleted; the kernel's event tells them apart."""
    with watcher("inotify", folder) as w:
        empty(folder)
        folder.mkdir()
        with pytest.raises(StoreError, match="vanished"):
            w.wait(LONG)


def test_what_is_not_there_cannot_be_watched(backend: str, folder: Path) -> None:
    """A missing folder is StoreError at once, on every back end, and nothing is left open."""
    before = resources()
    with pytest.raises(StoreError, match="missing vanished"):
        watcher(backend, folder, folder / "missing")
    assert returned(before)


# -- resources and signals -----------------------------------------------------------------------------------


def resources() -> tuple[int, int]:
    """Open descriptors and threads of this process, Rust's among them where the system tells."""
    tasks = "/proc/self/task"
    return len(os.listdir("/dev/fd")), (
        len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()
    )


def returned(before: tuple[int, int]) -> bool:
    """Whether no more is held than ``before``; another language's threads get some time to end."""
    for _ in range(200):
        if all(now <= then for now, then in zip(resources(), before, strict=True)):
            return True
        threading.Event().wait(0.02)
    return False


def test_nothing_is_left_after_closing(backend: str, folder: Path) -> None:
    """Watchers leave no descriptor and no thread; closing twice is harmless."""
    watcher(backend, folder).close()  # whatever the first one keeps for good, such as a loaded library
    before, threads = resources(), threading.active_count()
    for _ in range(5):
        with watcher(backend, folder) as w:
            assert w.backend == backend
        w.close()
        assert threading.active_count() == threads
    assert returned(before)


CHILD = """
import os, signal, sys, threading
from mbox.system.watch import Watcher
def leave(number, frame):
    raise SystemExit(42)
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background ignores it
if sys.argv[3] == "handler":
    signal.signal(signal.SIGTERM, leave)
with Watcher([sys.argv[1]], sys.argv[2]) as w:
    print("ready", flush=True)
    try:
        w.wait(None)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
print("woken", flush=True)
"""


@pytest.fixture
def child(backend: str, folder: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that waits on this back end without a timeout; it is waiting or about to."""
    started = []

    def start(word: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), backend, word],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(watch.__file__).parents[2])},
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_passes(child: Callable[[], subprocess.Popen[str]]) -> None:
    """SIGINT while waiting is a KeyboardInterrupt for the caller."""
    process = child()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert "woken" not in out
    assert "KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT


def test_sigterm_ends_the_process(child: Callable[[], subprocess.Popen[str]]) -> None:
    """Without a handler SIGTERM ends a waiting process as it ends any."""
    process = child()
    process.terminate()
    assert process.communicate(timeout=LONG) == ("", "")
    assert process.returncode == -signal.SIGTERM


def test_what_a_signal_handler_raises_is_what_the_caller_gets(
    child: Callable[[str], subprocess.Popen[str]],
) -> None:
    """A handler that raises SystemExit ends the wait with that, not with a KeyboardInterrupt."""
    process = child("handler")
    process.terminate()
    out, err = process.communicate(timeout=LONG)
    assert (out, err, process.returncode) == ("", "", 42)


def test_another_process_wakes_it(child: Callable[[], subprocess.Popen[str]], folder: Path) -> None:
    """Sender and receiver are two processes."""
    process = child()
    deliver(folder)
    assert process.communicate(timeout=LONG)[0] == "woken\n"


# -- choosing ------------------------------------------------------------------------------------------------


def chosen(folder: Path, backend: str) -> tuple[str, list[str]]:
    """The back end that is used for ``folder``, and what is said about it."""
    said: list[str] = []
    with Watcher([str(folder), str(folder)], backend, say=said.append) as w:
        w.wait(0)
        return w.backend, said


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_linux_waits_on_inotify(folder: Path) -> None:
    """On a local Linux file system it is inotify, without a word."""
    assert chosen(folder, "auto") == ("inotify", [])


def test_other_platforms_wait_on_watchfiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no inotify it is watchfiles, without a word."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert chosen(folder, "auto") == ("watchfiles", [])


def test_a_network_file_system_is_polled_and_that_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where other kernels' changes make no events, auto polls and says so once; a named back end is used."""
    monkeypatch.setattr(filesystem, "filesystem", lambda path: "nfs4")
    backend, said = chosen(folder, "auto")
    assert backend == "poll"
    (text,) = said
    assert text.startswith("changes are looked for every 1 to 5 s")
    assert "nfs4" in text
    assert chosen(folder, "watchfiles") == ("watchfiles", [])


def test_polling_that_was_asked_for_is_not_worth_a_word(folder: Path) -> None:
    """MBOX_WATCH=poll polls in silence."""
    assert chosen(folder, "poll") == ("poll", [])


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        (errno.EMFILE, "max_user_instances"),
        (errno.ENOSPC, "max_user_watches"),
        (errno.ENOSYS, "Function not"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "inotify"])
@pytest.mark.filterwarnings("error")  # a descriptor that is left to the garbage collector
def test_at_the_watch_limit_it_is_polled_and_the_limit_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, backend: str, code: int, limit: str
) -> None:
    """When the kernel has no more watches the wait goes on by polling, and says once which limit to raise."""
    inotify_simple = pytest.importorskip("inotify_simple")
    monkeypatch.setattr(sys, "platform", "linux")

    def full(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    before = resources()
    monkeypatch.setattr(inotify_simple.INotify, "__init__" if code == errno.EMFILE else "add_watch", full)
    used, said = chosen(folder, backend)
    assert used == "poll"
    (text,) = said
    assert limit in text
    assert returned(before)


def test_a_back_end_that_is_not_installed_is_replaced_by_polling(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package the wait goes on by polling, and says so."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    used, said = chosen(folder, "watchfiles")
    assert used == "poll"
    assert "watchfiles" in said[0]


def test_an_unknown_back_end_is_refused(folder: Path) -> None:
    """MBOX_WATCH=inotfy is exit 2 with the right words."""
    with pytest.raises(Usage, match="MBOX_WATCH=inotfy: must be auto, inotify, watchfiles or poll"):
        Watcher([str(folder)], "inotfy")


def test_importing_the_module_is_cheap() -> None:
    """No back end, no thread and no parser is imported before it is needed."""
    script = (
        "import sys, mbox.system.watch; heavy = {'inotify_simple', 'watchfiles', 'anyio', 'asyncio', 'ctypes', "
        "'threading', 'subprocess', 'pathlib', 'mbox.system.filesystem', 'yaml'}; print(sorted(heavy & set(sys.modules)))"
    )
    package = str(Path(watch.__file__).parents[2])
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": package})
    assert done.stdout == "[]\n"


# -- polling, by a clock that is handed in -------------------------------------------------------------------


class Clock:
    """Time that passes only in `sleep`, and what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.25
        self.slept: list[float] = []
        self.plan: dict[float, Callable[[], None]] = {}

    def mono(self) -> float:
        """Seconds on a clock of its own."""
        return self.now - 1_799_999_000

    def wall(self) -> float:
        """Wall time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass; what is planned for this time happens."""
        self.slept.append(seconds)
        self.now += seconds
        for when in [when for when in self.plan if when <= sum(self.slept)]:
            self.plan.pop(when)()


@pytest.fixture
def clock() -> Clock:
    """A clock at a quarter past."""
    return Clock()


def polling(folder: Path, clock: Clock) -> Watcher:
    """A watcher that polls ``folder`` at the intervals of the design."""
    return Watcher([str(folder)], "poll", clock=clock)


def touch(folder: Path, clock: Clock) -> None:
    """Add a name to ``folder``, and let its mtime be the clock's."""
    (folder / f"m{clock.now}.json").touch()
    os.utime(folder, (clock.now, clock.now))


def test_polling_backs_off_1_2_4_5(folder: Path, clock: Clock) -> None:
    """It looks after 1, 2 and 4 seconds, then every 5."""
    assert not polling(folder, clock).wait(27)
    assert clock.slept == [1, 2, 4, 5, 5, 5, 5]


def test_a_change_starts_the_backoff_over(folder: Path, clock: Clock) -> None:
    """After a change it looks again after one second, then two, then four."""
    w = polling(folder, clock)
    clock.plan[10] = lambda: touch(folder, clock)
    assert w.wait(100)
    assert clock.slept == [1, 2, 4, 5]
    assert w.wait(100)  # the change was so fresh that there may have been another
    assert not w.wait(7)
    assert clock.slept == [1, 2, 4, 5, 1, 1, 2, 4]


def test_the_backoff_goes_on_over_several_waits(folder: Path, clock: Clock) -> None:
    """A caller who looks up now and then does not make it poll more often."""
    w = polling(folder, clock)
    for _ in range(8):
        assert not w.wait(5)
    assert clock.slept[:3] == [1, 2, 2]
    assert clock.slept[-3:] == [5, 5, 5]


def test_polling_looks_at_the_end_of_a_timeout(folder: Path, clock: Clock) -> None:
    """What changed shortly before the timeout is a change, not a timeout."""
    w = polling(folder, clock)
    clock.plan[5.5] = lambda: touch(folder, clock)
    assert w.wait(5.5)
    assert clock.slept == [1, 2, 2.5]


def test_a_second_change_within_the_same_tick_is_not_slept_over(folder: Path, clock: Clock) -> None:
    """When the mtime is so fresh that a further change could leave it as it is, the next look says: maybe."""
    w = polling(folder, clock)
    clock.plan[1] = lambda: touch(folder, clock)
    assert w.wait(100)
    before = os.stat(folder)
    (folder / "m1.json").rename(folder / "m2.json")  # as long as before
    os.utime(folder, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert os.stat(folder).st_size == before.st_size
    assert w.wait(100)
    assert clock.slept == [1, 1]
    assert not w.wait(30)


def test_a_file_system_that_counts_whole_seconds_gets_two(folder: Path, clock: Clock) -> None:
    """FAT and some servers keep even seconds: a change is settled only after two."""
    w = polling(folder, clock)
    clock.now = float(int(clock.now))
    touch(folder, clock)
    assert w.wait(100)
    assert [w.wait(1) for _ in range(4)] == [True, True, True, False]
