"""Names of files that are commands, options, lines, or not text at all, in each folder where names are read."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from hostile.world import World

NAMES = {
    "a newline": b"a\nb", "a command": b"t9;touch X;#", "a substitution": b"$(touch X)", "backticks": b"`touch X`",
    "an option": b"-rf", "a long option": b"--upload-pack=x", "an escape": b"\x1b]0;x\x07\x1b[2J", "bidi": "\u202ex".encode(),
    "no UTF-8": b"\xff\xfe", "composed": "\u00e9".encode(), "decomposed": "e\u0301".encode(), "long": b"x" * 249,
    "a quote": b"a'b\"c", "a star": b"*", "a space": b" ", "a tab": b"a\tb", "a device": b"con", "dots": b"...",
    "a tilde": b"~root",
    "a format": b"#{pane_id}#(touch X)", "an at": b"@note.txt", "a file of ours": b".tmp-m10.json", "a carriage return": b"a\rb",
    "a comma": b"a,b", "a colon": b"a:b", "half a pair": b"\xed\xa0\x80", "a null in a name": b"a%00b",
}  # fmt: skip

PLACES = (
    *(".tasks/{}.json", ".tasks/notes/{}.jsonl", ".tasks/leases/{}.json", ".mailbox/agents/{}.json"),
    *(".mailbox/inbox/{}/new/m10.json", ".mailbox/inbox/bob/new/{}.json", ".mailbox/outbox/{}/m10.json"),
    *(".mailbox/archive/bob/{}/m8.json", ".mailbox/deadletter/{}.json", ".mailbox/reservations/{}.json"),
    *(".mailbox/team/{}.json", ".mailbox/locks/{}", ".mailbox/status/{}.json", ".mailbox/heartbeat/{}"),
    *(".mailbox/logs/{}.jsonl", ".mailbox/cache/waits/{}.json", ".mailbox/runs/{}/run.json", ".mailbox/aside/{}"),
    *("src/{}", ".git/refs/mbox/{}", ".git/worktrees/{}/gitdir"),
)


def put(place: str, name: bytes, world: World) -> None:
    """A file at ``place`` with that name, with what stands beside it in it, if anything does."""
    path = os.path.join(os.fsencode(world.root), os.fsencode(place).replace(b"{}", name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = [entry.path for entry in os.scandir(os.path.dirname(path)) if entry.is_file()]
    if beside:
        shutil.copyfile(beside[0], path)
    else:
        Path(os.fsdecode(path)).write_text("{}")


def everywhere(name: bytes, world: World) -> None:
    """The name in every place at once, and staged."""
    for place in PLACES:
        put(place, name, world)
    subprocess.run(["git", "add", "--all", "--force", "--", "src"], cwd=world.root, check=False, capture_output=True)


def twins(world: World) -> None:
    """Two names that some file systems take for one."""
    everywhere(NAMES["composed"], world)
    everywhere(NAMES["decomposed"], world)


ENTRIES = {
    "two spellings of one name everywhere": twins,
    **{f"{what} as a name everywhere": partial(everywhere, name) for what, name in NAMES.items()},
    **{f"a command as a name in {place}": partial(put, place, NAMES["a command"]) for place in PLACES},
}
