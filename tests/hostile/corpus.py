"""All entries by their names, and what hypothesis describes (`made`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from hostile import journals, names, repositories, stores, texts
from hostile.world import World, remove

Spoiler = Callable[[World], object]


def plain(world: World) -> None:
    """Nothing: the template as it is."""


PLACES: dict[str, Spoiler] = stores.PLACES
"""Something else at each place; so many that not every command passes over each of them."""

OTHERS: dict[str, Spoiler] = {
    "plain": plain, **stores.DATABASES, **journals.ENTRIES, **texts.ENTRIES, **repositories.ENTRIES, **names.ENTRIES,
}  # fmt: skip

ENTRIES = {**PLACES, **OTHERS}


def spoiler(entry: str | dict[str, Any]) -> Spoiler:
    """The entry of that name, or the one that hypothesis described."""
    return ENTRIES[entry] if isinstance(entry, str) else partial(spoil, entry)


def spoil(entry: dict[str, Any], world: World) -> None:
    """What hypothesis made: ``files`` [path, Latin-1 text], ``records`` (fields of each), ``config`` (lines of git's)."""
    for path, text in entry.get("files", ()):
        place = os.fsencode(world.root) + b"/" + path.encode("latin-1")
        with contextlib.suppress(OSError, ValueError):  # a name that the file system does not take harms nobody
            os.makedirs(os.path.dirname(place), exist_ok=True)
            remove(world.root / os.fsdecode(path.encode("latin-1")))
            with open(place, "wb") as file:
                file.write(text.encode("latin-1"))
    for fields in entry.get("records", ()):
        with contextlib.suppress(ValueError):  # what no encoder writes
            journals.append(fields, world)
    for line in entry.get("config", ()):
        repositories.config(line.replace("EVIL", world.evil), world)
