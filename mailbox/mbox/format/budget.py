"""What a text would cost as values, before it is parsed.  Pure functions.

A parser makes of two bytes (``[]``) a value of eighty, and of an ASCII text with one emoji in it a string of four bytes a
letter.  So a size alone bounds no memory: what is over its budget is refused unparsed, by whoever reads a file, a document
or a record, and by whoever writes a record, so that nothing is written that cannot be read.

Promised: what passes takes no more memory than its budget says, text and values together, within a fifth.  Documents and
records are asked about only where they are long (`documents.FREE`): others cost a comparison.  Not promised: what many
texts cost that are kept at the same time.

The bound is of counted characters, each at what the value that needs it takes at most in CPython; those inside strings are
left out only where counting them too is over the budget.  A text with more quotes than `QUOTES` is not looked into.
"""

from __future__ import annotations

QUOTES = 1_500_000
"""More of them than the longest record that is written has."""

DOCUMENT, RECORD, INPUT = 80 << 20, 160 << 20, 150 << 20
"""Bytes of memory for a document of the store, for a record of its journal, and for a file that somebody hands in."""

COSTS = {",": 80, "[": 60, "{": 100, ":": 100}
"""Bytes of the value that a character of JSON stands before or in, at most."""


def is_costly(text: bytes | str, most: int) -> bool:
    """Whether JSON ``text`` would take more than ``most`` bytes of memory, itself included."""
    left = most - text_cost(text)
    if left < 0:
        return True
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _values(data) > left and _values(_without_strings(data)) > left


def text_cost(text: bytes | str) -> int:
    """The bytes of memory of ``text``, decoded, and as strings once more."""
    return len(text) * (1 + 2 * _width(text))


def _width(text: bytes | str) -> int:
    """Bytes of a letter of a string that is made of ``text``, at most."""
    import re

    data = text if isinstance(text, bytes) else b""
    word = text if isinstance(text, str) else ""
    if b"\\u" in data or "\\u" in word:
        return 4
    if text.isascii():
        return 1
    return 4 if re.search(rb"[\xf0-\xf4]", data) or re.search("[\U00010000-\U0010ffff]", word) else 2


def _values(data: bytes) -> int:
    return sum(data.count(char.encode()) * cost for char, cost in COSTS.items())


def _without_strings(data: bytes) -> bytes:
    """``data`` without what stands in quotes; as it is where there are too many of them."""
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in data else data
    return data if plain.count(b'"') > QUOTES else b"".join(plain.split(b'"')[::2])
