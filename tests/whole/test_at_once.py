"""The same command several times at once, in real processes: one of them does it, and each says what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit import journaled
from mbox.config.settings import Config
from mbox.format import documents, places
from mbox.opening import init
from mbox.store import bootstrap
from mbox.store.store import Actor
from mbox.system.clock import stamp

MBOX = Path(sys.executable).parent / "mbox"


def together(root: Path, count: int, *words: str) -> list[tuple[int, str, str]]:
    """``mbox WORDS``, ``count`` times at once: status, stdout and stderr of each."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
    begun = [
        subprocess.Popen([MBOX, *words], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    ended = [(process, *process.communicate(timeout=120)) for process in begun]
    return [(process.returncode, out, err) for process, out, err in ended]


@pytest.mark.parametrize("leave", ["nothing", "documents"])
def test_one_of_many_inits_makes_the_store(tmp_path: Path, leave: str) -> None:
    """One says that it made it, the others that it was there; what stood there is adopted in one record."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    if leave == "documents":
        assert [status for status, _, _ in together(tmp_path, 1, "init")] == [0]
        together(tmp_path, 1, "agent", "add", "ann")
        for segment in (tmp_path / places.LOGS).iterdir():
            segment.unlink()
        (tmp_path / places.LOCK).unlink()
    done = together(tmp_path, 8, "init")
    assert [status for status, _, _ in done] == [0] * 8, done
    assert sorted(json.loads(out)["made"] for _, out, _ in done) == [False] * 7 + [True]
    ((_, records, _),) = together(tmp_path, 1, "log", "-o", "json", "--limit", "0")
    assert [row["op"] for row in json.loads(records)] == ["store.segment", *(["store.adopt"] if leave == "documents" else [])]


def test_another_init_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever found no store, and another's when it had the lock, did not make it, and adopts nothing a second time."""
    os.makedirs(tmp_path / places.AGENTS)
    ann = documents.new("agent", agent="ann", registered_at=stamp(0), incarnation_since=stamp(0))
    (tmp_path / places.agent("ann")).write_bytes(documents.encode("agent", ann))
    look = bootstrap.check_place

    def behind(folder: str, config: Config) -> None:
        """The other one runs while this one looks at the place."""
        monkeypatch.setattr(bootstrap, "check_place", look)
        first = init(str(tmp_path), here=True)
        assert (first.fresh, first.adopted) == (True, 1)
        first.store.close()

    monkeypatch.setattr(bootstrap, "check_place", behind)
    second = init(str(tmp_path), here=True)
    assert (second.fresh, second.adopted) == (False, 0)
    assert second.store.transact(bootstrap.adopt, Actor("store")) == 0
    assert [record["op"] for record in journaled(second.store)] == ["store.segment", "store.adopt"]
    second.store.close()


def test_two_rebuilds_wait_for_each_other(tmp_path: Path) -> None:
    """Both make the documents anew, one after the other, and leave a clean store."""
    together(tmp_path, 1, "init", "--here")
    together(tmp_path, 1, "agent", "add", "ann")
    for number in range(6):
        together(tmp_path, 1, "task", "add", f"T{number}")
    done = together(tmp_path, 4, "rebuild")
    assert [status for status, _, _ in done] == [0] * 4, done
    assert [status for status, _, _ in together(tmp_path, 1, "doctor")] == [0]
