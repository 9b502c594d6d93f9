"""What the tests of hooks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .hookkit import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository with a store and the agents ann and bob."""
    return Desk(tmp_path)
