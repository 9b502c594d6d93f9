"""A configuration that is broken ends the command; it is never replaced by defaults.

Promised: `load` gives what ``.mailbox/config.yaml`` says, each key it leaves out at its default, or raises
StoreError (exit 6) with file, line, column and the mend.  No file at all is all defaults (``doctor`` says
so); an empty one is broken, because that is what a power cut leaves.  `set_value` writes only what `load`
would take, and keeps comments.  Not promised: that a running command sees a change; each command reads the
file once.

Files: ``config.yaml`` is a person's; `set_value` replaces it by temporary file and rename, so that a crash
leaves the old one or the new one.  ``cache/config.json`` holds its texts with the size, mtime and inode
they were read at, so that a command need not import a YAML parser.  Texts, not values: they are checked
again at every load, and a later version reads them its own way.  It may be deleted at any time.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

from mbox.errors import StoreError, Usage, failure
from mbox.system.disk import Disk, is_link, read_bytes

from .settings import OPTIONS, Config, Text, Wrong, build, named

if TYPE_CHECKING:
    from mbox.format.parsing import Place

FILE = "config.yaml"
CACHE = "cache/config.json"

LARGEST = 1 << 20
"""Bytes of a configuration at most, in either file."""


def load(mailbox_dir: str, disk: Disk, now: float) -> Config:
    """What ``config.yaml`` in ``mailbox_dir`` says; StoreError names the place and the mend if it is broken.

    ``now`` is the wall time: a file that was changed only just before is not remembered as it is.
    """
    path = f"{mailbox_dir}/{FILE}"
    stamp = _stamp(path)
    if stamp is None:
        return build({})
    config = _cached(mailbox_dir, stamp)
    if config is None:
        from . import text as configtext

        texts, places = configtext.texts(path, _read(path))
        config = _checked(path, texts, places)
        if is_settled(stamp[1], now):
            _remember(mailbox_dir, stamp, texts, disk)
    return config


def _stamp(path: str) -> list[int] | None:
    """Size, mtime and inode of ``path``: while they are the same, so is the file.  None if there is none."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return [state.st_size, state.st_mtime_ns, state.st_ino]


def _cached(mailbox_dir: str, stamp: list[int]) -> Config | None:
    """The configuration from the cache if that was made from the file as it is now, else None."""
    try:
        if is_link(f"{mailbox_dir}/{os.path.dirname(CACHE)}"):
            return None
        cache = json.loads(read_bytes(f"{mailbox_dir}/{CACHE}", LARGEST))
        texts = cache["texts"]
        if cache["stamp"] != stamp or not OPTIONS.keys() >= texts.keys() or not all(map(_is_text, texts.values())):
            return None
        return build(texts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, Wrong):
        return None  # whatever is wrong with a cache is mended by reading the file


def _is_text(text: object) -> bool:
    return isinstance(text, str) or (isinstance(text, list) and all(isinstance(part, str) for part in text))


def is_settled(mtime_ns: int, now: float) -> bool:
    """Whether a change after ``now`` must show in the mtime.

    Not within the tick of the clock that stamped it (10 ms; 2 s where only even seconds are kept): a second
    change of the same length could carry the same mtime, and the cache of the first would be believed for
    ever.
    """
    tick = 2.0 if mtime_ns % 1_000_000_000 == 0 else 0.02
    return abs(now - mtime_ns / 1e9) > tick


UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOENT}
"""Why a cache may stay unwritten (EEXIST, ENOENT: others make its folder, or take it away): reading works all the same."""


def _remember(mailbox_dir: str, stamp: list[int], texts: dict[str, Text], disk: Disk) -> None:
    path = f"{mailbox_dir}/{CACHE}"
    folder = os.path.dirname(path)
    if is_link(folder):
        return  # it leads elsewhere: whoever takes the lock is told
    try:
        if not os.path.isdir(folder):
            disk.mkdir(folder)
        disk.replace(path, json.dumps({"stamp": stamp, "texts": texts}).encode())
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise StoreError(f"{path} cannot be written: {failure(error, path)}") from error


def _read(path: str) -> str:
    from mbox.format.parsing import decoded

    try:
        return decoded(read_bytes(path, LARGEST), path)
    except Usage as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> StoreError:
    if error.errno == errno.ELOOP:
        return StoreError(f"{path} is a symlink; put the file itself there")
    return StoreError(f"{path} cannot be read: {error.strerror}")


def checked(path: str, data: bytes) -> Config:
    """What ``data`` says, which is to stand at ``path``; StoreError, as by `load`, if it is broken."""
    from mbox.format.parsing import decoded

    from . import text as configtext

    try:
        return _checked(path, *configtext.texts(path, decoded(data, path)))
    except Usage as error:
        raise StoreError(str(error)) from None


def differing(config: Config) -> list[str]:
    """The settings in ``config`` that are not at their default, as ``key: value``."""
    usual, shown = build({}).shown(), config.shown()
    found = {key: value for key, value in shown.items() if value != usual[key]}
    return [f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in found.items()]


def _checked(path: str, texts: dict[str, Text], places: dict[str, Place]) -> Config:
    try:
        return build(texts)
    except Wrong as wrong:
        at = places.get(wrong.name, path)
        raise StoreError(f"{at}: {wrong}; mend it, or take the line out for the default") from None


def set_value(mailbox_dir: str, key: str, text: str, disk: Disk, dry_run: bool = False) -> Config:
    """Set ``key`` in ``config.yaml`` to ``text`` (a list is ``a,b`` or ``[a, b]``) and return the whole.

    Usage if ``key`` or ``text`` is wrong; StoreError if the file is broken or changes meanwhile; nothing is
    written then.  The caller holds the store's lock if others may do the same at this moment.
    """
    from ruamel.yaml.error import YAMLError

    from . import text as configtext

    option = named(key)
    key = option.name
    path = f"{mailbox_dir}/{FILE}"
    before = _stamp(path)
    source = configtext.default_text() if before is None else _read(path)
    texts, places = configtext.texts(path, source)
    _checked(path, texts, places)
    texts[key] = configtext.given(option, text)
    try:
        wanted = build(texts)
    except Wrong as wrong:
        raise Usage(str(wrong)) from None
    try:
        edited = configtext.edited(source, option, wanted.get(key))
        kept = _checked(path, *configtext.texts(path, edited)).shown() == wanted.shown()
    except YAMLError:
        kept = False
    if not kept:
        raise StoreError(f"{path} cannot be edited without changing more than {key}; edit it by hand")
    if _stamp(path) != before:
        raise StoreError(f"{path} was changed by somebody else just now; nothing was written, try again")
    if not dry_run:
        disk.replace(path, edited.encode())
    return wanted
