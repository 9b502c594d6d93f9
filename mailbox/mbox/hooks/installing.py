"""Putting our hooks into the settings of agent programs, taking them out, and how they stand.

Order of `install`: every file is read and the new text made, so that what cannot be read is refused before anything is
written; then file by file, each by a temporary file and a rename; the launcher (`launched`).  Killed in between, some programs
call our hooks and some do not; again does the rest.  Twice is harmless.

Promised: a person's bytes stay (`edits`), and so do a file's mode and a symlink to it; ours stand last in each list where
they are put in, and stay where they are.  `remove` takes out ours and nothing else; a file that was made here and holds
nothing more goes with them.  What its program cannot read is refused (exit 2) with line and column, untouched.  Not
promised: that a program runs them: `mbox doctor --hooks` tries.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from mbox.errors import StoreError, Usage, did_you_mean, failure
from mbox.system import executables
from mbox.system.disk import Disk, is_link
from mbox.system.filesystem import upward

from . import edits, entries, launcher, personal
from .entries import OURS, PLACES, HostFile
from .personal import Row

INSTALLED, PART, OTHER, NONE = "installed", "in part", "changed", "none"
"""How our entries stand in a file: all; some; all, but not each once, in its place, and as we write it; none."""

PROGRAMS = {"cursor": "cursor-agent"}
"""The command of a host where it is not its name."""


def project(cwd: str) -> str:
    """The folder whose settings are meant: the top of the worktree around ``cwd``, else ``cwd``."""
    real = os.path.realpath(cwd)
    return next((folder for folder in upward(real) if os.path.lexists(f"{folder}/.git")), real)


def meant(hosts: Iterable[str], top: str) -> list[HostFile]:
    """The hosts that are named, else those that are used here: their folder is in the project, or their program on the PATH."""
    named = list(dict.fromkeys(hosts))
    for host in named:
        if host not in PLACES:
            known = [*PLACES, "git", "skill"]
            raise Usage(f"no host {host!r}{did_you_mean(host, known)} (there are {', '.join(known)})")
    return [place for place in PLACES.values() if (place.host in named if named else _is_used(place, top))]


def _is_used(place: HostFile, top: str) -> bool:
    folder = place.shared.split("/", 1)[0]
    if folder not in (".github", ".agents") and os.path.isdir(f"{top}/{folder}"):
        return True
    try:
        return bool(executables.find(PROGRAMS.get(place.host, place.host)))
    except FileNotFoundError:
        return False


# -- putting in --------------------------------------------------------------------------------------------------------


def install(top: str, places: Iterable[HostFile], shared: bool, disk: Disk, dry_run: bool = False) -> list[Row]:
    """Put our entries into the settings of ``places``; a row for each file, with the ``diff`` where it is only tried."""
    planned = [(place, path, *_planned(place, path)) for place in places for path in [f"{top}/{place.file(shared)}"]]
    return [_written(place, top, path, before, after, disk, dry_run) for place, path, before, after in planned]


def _planned(place: HostFile, path: str) -> tuple[str | None, str | None]:
    """The text of a file now, and with our entries."""
    before = _text(path)
    if place.whole:
        if before is not None and not entries.is_as_written(before):
            raise Usage(f"{path} is there and not as mbox wrote it: move it away")
        return before, place.whole
    after = with_entries(place, _begun(place, before), path)
    if before is not None:
        _check_keys(place, before, path)
    return before, after


def _begun(place: HostFile, before: str | None) -> str:
    """What our entries are put into: a person's text that is as ours begin gets a blank, by which `remove` will know it."""
    if before is None:
        return place.fresh
    return f"{{ {before[1:]}" if _is_fresh(place, before) else before


def _is_fresh(place: HostFile, text: str) -> bool:
    """Whether a text is as we begin a file, up to blanks behind its bracket."""
    return text.startswith("{") and f"{{{text[1:].lstrip(' ')}" == place.fresh


def with_entries(place: HostFile, text: str, path: str) -> str:
    """``text`` with those of our entries that are missing."""
    try:
        there = commands(place, text)
        if text.startswith("\ufeff") and not place.mark:
            raise edits.Unreadable(text, 0, "a byte order mark, with which its program reads none of the file: take it out")
        for event, entry in place.events:
            if not any(f"{entries.line(place.host, event)} " in f"{command} " for command in there):
                text = edits.put(text, [*place.keys, event], entry, place.comments)
        edits.parsed(text, place.comments)
    except edits.Unreadable as error:
        raise Usage(f"{path}:{error}") from None
    return text


def _check_keys(place: HostFile, text: str, path: str) -> None:
    """`Usage` for a key with which a program reads none of the file."""
    for item in edits.parsed(text, place.comments).items if place.only else ():
        if item.key not in place.only:
            said = f"its program reads none of a file with a key {item.key!r}: take it out"
            raise Usage(f"{path}:{edits.Unreadable(text, item.key_start, said)}")


def commands(place: HostFile, text: str) -> list[str]:
    """Our commands in ``text``."""
    return [node.command for node in edits.parsed(text, place.comments).walk() if entries.is_ours(node.command)]


# -- taking out --------------------------------------------------------------------------------------------------------


def remove(top: str, places: Iterable[HostFile], disk: Disk, dry_run: bool = False) -> list[Row]:
    """Take our entries out of the settings of ``places``, this machine's and the team's; a row for each file that had some."""
    found = []
    for place in places:
        for path in dict.fromkeys([f"{top}/{place.local}", f"{top}/{place.shared}"]):
            if _may_have_ours(path) and (before := _text(path)):
                found.append((place, path, before, _bare(place, before, path)))
    rows = [_written(place, top, path, before, after, disk, dry_run) for place, path, before, after in found]
    return [row for row in rows if row["did"] != "nothing"]


def _bare(place: HostFile, before: str, path: str) -> str | None:
    """``before`` without our entries; None where nothing is left that was not made here."""
    if place.whole:
        if not entries.is_as_written(before):
            raise Usage(f"{path} was changed by hand: take out of it what is ours, or delete it")
        return None
    try:
        after = edits.taken_out(before, entries.is_ours, place.comments)
    except edits.Unreadable as error:
        raise Usage(f"{path}:{error}") from None
    if not _is_fresh(place, after):
        return after
    if after != place.fresh:  # a person's, marked when ours were put in
        return f"{{{after[2:]}"
    return after if is_link(path) else None


# -- how they stand ----------------------------------------------------------------------------------------------------


def status(top: str, places: Iterable[HostFile]) -> list[Row]:
    """How our entries stand: a row for each file that has some, and one for each host that has none."""
    rows = []
    for place in places:
        paths = dict.fromkeys([f"{top}/{place.local}", f"{top}/{place.shared}"])
        found = [(path, state) for path in paths if (state := _state(place, path)) != NONE]
        rows += [{"host": place.host, "file": os.path.relpath(path, top), "state": state} for path, state in found or [(
            f"{top}/{place.local}", NONE)]]  # fmt: skip
    return rows


def _state(place: HostFile, path: str) -> str:
    try:
        text = _text(path)
        if text is None or not _may_have_ours(path):
            return NONE
        if place.whole:
            return INSTALLED if text == place.whole else OTHER
        there = commands(place, text)
        if not there:
            return NONE
        _check_keys(place, text, path)
        if with_entries(place, text, path) != text:
            return PART
        return INSTALLED if len(there) == len(place.events) and _are_as_written(place, text) else OTHER
    except (Usage, StoreError) as error:
        return f"cannot be read: {str(error).removeprefix(f'{path}:')}"


def _are_as_written(place: HostFile, text: str) -> bool:
    found = edits.plain(edits.parsed(text, place.comments))
    for key in place.keys:
        found = found.get(key, {})
    return all(entry in found.get(event, ()) for event, entry in place.events)


# -- files -------------------------------------------------------------------------------------------------------------


def _text(path: str) -> str | None:
    """The text of a person's file, its line ends as they are; None where there is none."""
    data = personal.read(path)
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"{path}: not UTF-8 at byte {error.start}") from None


def _written(place: HostFile, top: str, path: str, before: str | None, after: str | None, disk: Disk, dry_run: bool) -> Row:
    was, will = (None if text is None else text.encode() for text in (before, after))
    return personal.written(place.host, top, path, was, will, disk, dry_run)


def _may_have_ours(path: str) -> bool:
    """Whether ours are named in a file, also where a program has written `/` as JSON may; one without them need not be read."""
    if is_link(path) and not os.path.exists(path):
        return False
    return OURS.encode() in (personal.read(path) or b"").replace(b"\\/", b"/")


def launched(home: str, disk: Disk, dry_run: bool) -> Row:
    """The launcher, written where it is not as it should be."""
    was = launcher.state(home)
    try:
        if not dry_run:
            launcher.write(home, disk)
    except OSError as error:
        raise StoreError(f"{launcher.path(home)}: {failure(error)}") from None
    did = {launcher.FINE: "nothing", launcher.MISSING: "made"}.get(was, "changed")
    return {"host": "launcher", "file": launcher.path(home), "did": did}
