"""Idempotency keys: a call that is repeated with the same key, by the same caller, is done once.

Promised: the keys that the toolkit makes (`own`) are none that a caller can give (`given`).  The fingerprint of a content is
the same in every version, for the journal of an older one is still asked for it.  Not promised: that a key says what
it is the key of, nor that a fingerprint withstands somebody who looks for two contents with the same one.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable
from typing import Any

from mbox.errors import Usage

from .documents import compact

OWN = "mbox:"
"""How the toolkit's own keys begin."""


def own(*words: str) -> str:
    """The toolkit's own key for what ``words`` name; there is no space in a word."""
    return OWN + " ".join(words)


def given(field: str, text: str) -> str:
    """``text`` as the key of a caller; `Usage` if it is like the toolkit's own."""
    if text.startswith(OWN):
        raise Usage(f"{field} begins with {OWN}, as only the toolkit's own keys do: take another key")
    return text


def fingerprint(content: Iterable[Any]) -> str:
    """What tells ``content`` from any other under the same key: two CRCs, of its JSON and of that reversed; its length."""
    data = compact(list(content)).encode()
    return f"{crc32(data):08x}{crc32(data[::-1]):08x}-{len(data)}"
