"""A configuration that is broken ends the command; it is never replaced by defaults.

Promised: `load` gives what ``.mailbox/config.yaml`` says, each key it leaves out at its default, or raises
StoreError (exit 6) with the file, the line and the mend.  No file at all is all defaults (``doctor`` says
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
import time

from mbox.system.disk import Disk, read_bytes
from mbox.errors import StoreError, Usage
from mbox.config.settings import OPTIONS, Config, Text, Wrong, build, named

FILE = "config.yaml"
CACHE = "cache/config.json"


def load(mailbox_dir: str, disk: Disk) -> Config:
    """What ``config.yaml`` in ``mailbox_dir`` says; StoreError names file, line and mend if it is broken."""
    path = f"{mailbox_dir}/{FILE}"
    now = time.time()
    stamp = _stamp(path)
    if stamp is None:
        return build({})
    config = _cached(mailbox_dir, stamp)
    if config is None:
        from mbox.config import text as configtext

        texts, lines = configtext.texts(path, _read(path))
        config = _checked(path, texts, lines)
        if _settled(stamp[1], now):
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
        cache = json.loads(read_bytes(f"{mailbox_dir}/{CACHE}"))
        if cache["stamp"] != stamp or not OPTIONS.keys() >= cache["texts"].keys():
            return None
        return build(cache["texts"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, Wrong):
        return None  # whatever is wrong with a cache is mended by reading the file


def _settled(mtime_ns: int, now: float) -> bool:
    """Whether a change after ``now`` must show in the mtime.

    Not within the tick of the clock that stamped it (10 ms; 2 s where only even seconds are kept): a second
    change of the same length could carry the same mtime, and the cache of the first would be believed for
    ever.
    """
    tick = 2.0 if mtime_ns % 1_000_000_000 == 0 else 0.02
    return abs(now - mtime_ns / 1e9) > tick


UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EEXIST}
"""Why a cache may stay unwritten (EEXIST: somebody else is making its folder): reading works all the same."""


def _remember(mailbox_dir: str, stamp: list[int], texts: dict[str, Text], disk: Disk) -> None:
    path = f"{mailbox_dir}/{CACHE}"
    try:
        if not os.path.isdir(os.path.dirname(path)):
            disk.mkdir(os.path.dirname(path))
        disk.replace(path, json.dumps({"stamp": stamp, "texts": texts}).encode())
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _read(path: str) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> StoreError:
    if error.errno == errno.ELOOP:
        return StoreError(f"{path} is a symlink; put the file itself there")
    return StoreError(f"{path} cannot be read: {error.strerror}")


def _checked(path: str, texts: dict[str, Text], lines: dict[str, int]) -> Config:
    try:
        return build(texts)
    except Wrong as wrong:
        line = f" line {lines[wrong.name]}" if wrong.name in lines else ""
        raise StoreError(f"{path}{line}: {wrong}; mend it, or take the line out for the default") from None


def set_value(mailbox_dir: str, key: str, text: str, disk: Disk, dry_run: bool = False) -> Config:
    """Set ``key`` in ``config.yaml`` to ``text`` (a list is ``a,b`` or ``[a, b]``) and return the whole.

    Usage if ``key`` or ``text`` is wrong; StoreError if the file is broken or changes meanwhile; nothing is
    written then.  The caller holds the store's lock if others may do the same at this moment.
    """
    from ruamel.yaml.error import YAMLError

    from mbox.config import text as configtext

    option = named(key)
    path = f"{mailbox_dir}/{FILE}"
    before = _stamp(path)
    source = configtext.default_text() if before is None else _read(path)
    texts, lines = configtext.texts(path, source)
    _checked(path, texts, lines)
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
