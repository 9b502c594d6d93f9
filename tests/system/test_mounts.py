"""Mount tables of other machines, as recorded files: what is refused for writing, and where changes are polled for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbox import opening
from mbox.errors import StoreError
from mbox.store import state
from mbox.system import filesystem, watch

TABLES = Path(__file__).parent / "mounts"

PLACES = [
    ("wsl1", "/mnt/c/Users/ann/project", "drvfs", True),
    ("wsl1", "/mnt/d drive/project", "drvfs", True),
    ("wsl1", "/home/ann/project", "lxfs", False),
    ("wsl2", "/mnt/c/Users/ann/project", "9p", True),
    ("wsl2", "/mnt/c/cache/project", "tmpfs", False),
    ("wsl2", "/mnt/cd/project", "ext4", False),
    ("wsl2", "/home/ann/project", "ext4", False),
    ("office", "/home/ann/project", "nfs4", True),
    ("office", "/home/ann/scratch/project", "xfs", False),
    ("office", "/home/ann/far away/project", "fuse.sshfs", True),
    ("office", "/media/share/project", "cifs", True),
    ("office", "/work/project", "ext4", False),
    ("container", "/root/project", "overlay", False),
    ("container", "/data/project", "ext4", False),
    ("container", "/host_mnt/project", "fuse.grpcfuse", True),
    ("container", "/shared/project", "virtiofs", True),
]


def everywhere(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Every path is on a file system of this ``kind``."""
    for module in (filesystem, state):
        monkeypatch.setattr(module, "filesystem", lambda _path: kind)


@pytest.mark.parametrize(("table", "path", "kind", "shared"), PLACES)
def test_a_place_on_another_machine(
    table: str, path: str, kind: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file system; refused for writing and polled exactly where another kernel may write too, and said."""
    text = (TABLES / f"{table}.txt").read_text(encoding="utf-8")
    assert filesystem.filesystem(path, text) == kind
    everywhere(monkeypatch, kind)
    backend, why = watch._choice([path], "auto")
    assert (backend == "poll", kind in why) == (shared, shared)
    assert watch._choice([path], "inotify") == ("inotify", "")
    if shared:
        with pytest.raises(StoreError, match=f"network file system \\({kind}\\).*network_fs: true"):
            opening.init(str(tmp_path), here=True)
        assert not (tmp_path / ".mailbox/logs/000001.jsonl").exists()
    else:
        opening.init(str(tmp_path), here=True)


def test_the_setting_allows_it_and_waiting_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`network_fs: true` lets a store on such a place be used; it says that it polls."""
    opening.init(str(tmp_path), here=True).store.close()
    everywhere(monkeypatch, "nfs4")
    said: list[str] = []
    with pytest.raises(StoreError, match="nfs4"):
        opening.open_store(str(tmp_path), "/").catch_up()
    text = (tmp_path / ".mailbox/config.yaml").read_text().replace("network_fs: false", "network_fs: true")
    (tmp_path / ".mailbox/config.yaml").write_text(text)
    opened = opening.open_store(str(tmp_path), "/")
    opened.catch_up()
    with watch.Watcher([str(tmp_path)], "auto", (0.01,), said.append) as watcher:
        assert watcher.backend == "poll"
        (tmp_path / "new").touch()
        assert watcher.wait(5)
    assert len(said) == 1 and "nfs4" in said[0]
