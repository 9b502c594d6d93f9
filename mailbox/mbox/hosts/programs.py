"""The agent programs: how each is started, and how its screen is read.  All that is known of them is in `hosts.yaml`.

Promised: the model's name and the first instruction reach a program as words of their own, whatever stands in them; a
program without a way to take a first instruction as an argument gets none (nothing is typed for it).  A host that is
not known has no patterns, and nothing is ever typed into it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from mbox.errors import Usage, did_you_mean
from mbox.format import fields

if TYPE_CHECKING:
    from mbox.format.parsing import Place

FILE = "hosts.yaml"


class Program(NamedTuple):
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
    busy_below: tuple[re.Pattern[str], ...] = ()
    dialog: tuple[re.Pattern[str], ...] = ()
    answer: tuple[re.Pattern[str], ...] = ()
    limit: tuple[re.Pattern[str], ...] = ()
    limit_below: tuple[re.Pattern[str], ...] = ()
    title_busy: tuple[re.Pattern[str], ...] = ()
    title_dialog: tuple[re.Pattern[str], ...] = ()
    may_write: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()
    probe_options: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    daemon: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    family: str = ""
    door: tuple[str, ...] = ()

    def command(self, words: Sequence[str] | None, model: str = "", prompt: str = "", folders: Sequence[str] = ()) -> list[str]:
        """The words that start it: ``words`` (else its own) with model and first instruction where they are given.

        Its own program is told that it may write in ``folders``, first, so that ``words`` can say otherwise.
        """
        line = [*(words or self.start)]
        if not line:
            raise Usage(f"host {self.name!r} is not known, and no command is given for it; say command: [WORD, …]")
        if folders and self.is_own(line):
            line[1:1] = [word.replace("{folders}", json.dumps(list(folders), ensure_ascii=False)) for word in self.may_write]
        if model:
            line += [word.replace("{model}", model) for word in self.model]
        if prompt:
            line += [word.replace("{prompt}", prompt) for word in self.prompt_words]
        return line

    def is_own(self, line: Sequence[str]) -> bool:
        """Whether a command line starts this host's own program, and none of the person's around it."""
        return bool(self.start and line) and os.path.basename(line[0]) == self.start[0]

    def probes(self, line: Sequence[str], test: Sequence[str]) -> list[list[str]]:
        """Command lines that run ``test`` in the sandbox which ``line`` would make; none where the host has no way to.

        By its settings and the options of ``line`` that its way knows; then, as long as these say nothing else, in the mode
        that ``probe`` names last.
        """
        if not self.probe or not self.is_own(line):
            return []
        enter, *mode = self.probe
        options, words = [], iter(line[1:])
        for word in words:
            name, equals, value = word.partition("=")
            known = self.probe_options.get(name, ())
            if any("{value}" in one for one in known) and not equals:
                value = next(words, "")
            options += [one.replace("{value}", value) for one in known]
        return [[line[0], enter, *some, *options, "--", *test] for some in ([], mode)]

    def takes_prompt(self, member: Mapping[str, Any]) -> bool:
        """Whether a member gets a first instruction: its host takes one, and it runs that host or has a ``prompt`` of its own.

        A command that is not the host's (a script that stands in for it) is not handed words that it did not ask for.
        """
        words = member.get("command") or self.start
        return bool(self.prompt_words and (member.get("prompt") or self.is_own(words)))


_WORDS = fields.list_of(fields.text, repeats=True, such="of words such as [claude, --verbose]")
_EXPRESSIONS = fields.list_of(fields.expression)
_HOSTS = fields.mapping_of(fields.name("host"), fields.mapping({
    "start": _WORDS, "model": _WORDS, "prompt_words": _WORDS, "nudge": fields.flag, "prompt": fields.expression,
    "until": fields.expression, "hint": fields.expression, "busy": _EXPRESSIONS,
    "busy_below": _EXPRESSIONS, "dialog": _EXPRESSIONS, "answer": _EXPRESSIONS, "limit": _EXPRESSIONS,
    "limit_below": _EXPRESSIONS, "title_busy": _EXPRESSIONS,
    "title_dialog": _EXPRESSIONS, "may_write": _WORDS, "probe": _WORDS, "probe_options": fields.mapping_of(fields.text, _WORDS),
    "daemon": _WORDS, "door": _WORDS, "env": _WORDS, "settings": _WORDS,
    "family": fields.label,
}))  # fmt: skip

_known: dict[str, Program] = {}


def load() -> dict[str, Program]:
    """Every host that is known, by name."""
    if not _known:
        from importlib.resources import files

        from mbox.format.parsing import yaml_document

        _known.update(parse(*yaml_document(files("mbox.hosts").joinpath(FILE).read_text(encoding="utf-8"), FILE)))
    return _known


def parse(document: Any, start: Place) -> dict[str, Program]:
    """The hosts that a file describes; `Usage` names the place and the mend.  One that has a prompt is nudged."""
    said = fields.placed("the file", document, _HOSTS, start)
    return {name: Program(name, **{"nudge": "prompt" in host, **host}) for name, host in said.items()}


def get(name: str) -> Program:
    """The host of that name; one that nothing is known of where there is none."""
    return load().get(name) or Program(name or "unknown")


def require(name: str) -> Program:
    """The host of that name; `Usage` with the nearest names where there is none."""
    found = load().get(name)
    if found is None:
        raise Usage(f"host {name!r} is not known{did_you_mean(name, list(load()))}; known: {', '.join(load())}")
    return found
