"""docs/hooks.md: every command line of it runs, to the letter, in a fresh repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from conftest import CHECKOUT

from .hookkit import Desk

PAGE = (CHECKOUT / "docs/hooks.md").read_text(encoding="utf-8")


def test_its_lines_run(desk: Desk) -> None:
    """All bash blocks, in order, as a person: none fails."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
    script = desk.home / "page.sh"
    script.write_text("".join(blocks), encoding="utf-8")
    done = subprocess.run(["bash", "-euo", "pipefail", script], cwd=desk.root, env=desk.environ(), capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (desk.root / ".claude/settings.local.json").exists() and (desk.root / ".git/hooks/pre-commit").exists()


def test_the_line_is_the_one_that_is_written() -> None:
    """What the page shows of an entry is what `install` writes; its table has every host and its file."""
    from mbox.hooks.entries import PLACES, line

    assert f"    {line('claude', 'PreToolUse')}\n" in PAGE
    for place in PLACES.values():
        assert f"`{place.local}`" in PAGE, place.host


def test_its_figures() -> None:
    """Bytes and tries that it names are those of the code."""
    from mbox.config.settings import build
    from mbox.hooks import card, turn

    config = build({})
    assert f"{card.CARD:,} bytes, as of a record" in PAGE and f"{turn.OFFER:,} bytes" in PAGE
    assert f"`gate_tries` ({config.gate_tries})" in PAGE and config.guard_ttl == 300 and "`guard.ttl` (5m)" in PAGE
    assert Path(CHECKOUT / "docs/decisions/0043-cli-and-mcp.md").exists()
