"""What the tests of hooks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .hookkit import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A repository with a store and the agents ann and bob; this process has their home."""
    made = Desk(tmp_path)
    monkeypatch.setenv("HOME", str(made.home))
    return made
