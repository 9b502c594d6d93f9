"""The agent programs: how each is started, and how its screen is read.  All that is known of them is in `hosts.yaml`.

Promised: the model's name and the first instruction reach a program as words of their own, whatever stands in them; a
program without a way to take a first instruction as an argument gets none (nothing is typed for it).  A host that is
not known has no patterns, and nothing is ever typed into it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mbox.errors import Usage, did_you_mean


class Host(NamedTuple):
    """One agent program."""

    name: str
    start: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    prompt_words: tuple[str, ...] = ()
    nudge: bool = False
    prompt: re.Pattern[str] | None = None
    until: re.Pattern[str] | None = None
    hint: re.Pattern[str] | None = None
    busy: tuple[re.Pattern[str], ...] = ()
    dialog: tuple[re.Pattern[str], ...] = ()

    def command(self, words: Sequence[str] | None, model: str = "", prompt: str = "") -> list[str]:
        """The words that start it: ``words`` (else its own) with model and first instruction where they are given."""
        line = [*(words or self.start)]
        if not line:
            raise Usage(f"host {self.name!r} is not known, and no command is given for it; say command: [WORD, …]")
        if model:
            line += [word.replace("{model}", model) for word in self.model]
        if prompt:
            line += [word.replace("{prompt}", prompt) for word in self.prompt_words]
        return line


_known: dict[str, Host] = {}


def load() -> dict[str, Host]:
    """Every host that is known, by name."""
    if not _known:
        from importlib.resources import files

        import yaml

        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = yaml.load(files("mbox").joinpath("hosts.yaml").read_text(encoding="utf-8"), loader)
        _known.update({name: _host(name, said) for name, said in found.items()})
    return _known


def _host(name: str, said: dict[str, Any]) -> Host:
    def one(key: str) -> re.Pattern[str] | None:
        return re.compile(said[key]) if key in said else None

    def several(key: str) -> tuple[re.Pattern[str], ...]:
        return tuple(map(re.compile, said.get(key, ())))

    def words(key: str) -> tuple[str, ...]:
        return tuple(said.get(key, ()))

    return Host(
        name, words("start"), words("model"), words("prompt_words"), said.get("nudge", "prompt" in said),
        one("prompt"), one("until"), one("hint"), several("busy"), several("dialog"),
    )  # fmt: skip


def get(name: str) -> Host:
    """The host of that name; one that nothing is known of where there is none."""
    return load().get(name) or Host(name or "unknown")


def require(name: str) -> Host:
    """The host of that name; `Usage` with the nearest names where there is none."""
    found = load().get(name)
    if found is None:
        raise Usage(f"host {name!r} is not known{did_you_mean(name, list(load()))}; known: {', '.join(load())}")
    return found
