"""A journal record, and the line that holds it: nobody else knows how a line is spelled.  (``format.md``, The journal.)

A record has these fields, in this order, all of them:

| field | |
|---|---|
| ``v`` | the format of a record: `RECORD` |
| ``seq`` | the last of the numbers that it takes: above that of the record before it, below `LAST` |
| ``ts`` | when, in UTC, to the microsecond: ``2026-01-02T03:04:05.000006Z`` |
| ``by``, ``inc`` | an agent, ``user:LOGIN``, ``sweep`` or ``store``; the agent's incarnation, 0 for the others |
| ``op``, ``on``, ``why`` | what it was, as ``task.claim``; the ids that it is about; the reason, ``""`` for none |
| ``key`` | ``[key, fingerprint]`` of a call with an idempotency key, else null |
| ``put`` | ``[document, [path, …]]`` for each document that is written; a notes file is a list of documents |
| ``mv`` | ``[from, to]`` for each document that is moved as it is, after all of ``put`` |
| ``del`` | the paths of the documents that are removed, after all of ``mv`` |
| ``lease`` | ``[path, lease]`` for each lease that is granted, ``[path, null]`` for one that ends |

A segment's first record also has ``format``, ``writer_min`` and ``store``, in this order, behind ``lease``.

A line is the record as `compact` spells it, with ``,"crc":"XXXXXXXX"`` before the last brace, and a newline: CRC-32 of
every byte before that comma, as eight hexadecimal digits in lower case.  A quote inside a text is escaped, so that
``,"op":"`` and the like stand outside of all texts.  A field's first occurrence is the record's own for ``v`` to ``op``,
before which only texts can stand; the last one is for ``mv`` to ``lease``, behind which only paths and leases can.
"""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Sequence
from types import NoneType
from typing import Any, NamedTuple

from mbox.format.documents import FREE, compact, is_time

RECORD = 1
"""The format of a record: its ``v``."""

FORMAT, WRITER = 2, 2
"""The format of a store that this version writes, and of the oldest version that may write beside it.  They stand in
the header of each segment as ``format`` and ``writer_min``; a ``writer_min`` above this version's is refused."""


LAST = 1 << 53
"""Numbers stay below this, so that every reader of JSON, and SQLite, can hold them."""


Record = dict[str, Any]


LONGEST = 32 << 20
"""Bytes of a record's line at most, its newline among them.  Nothing longer is written, and none is read: a hole in a
segment, or what another program made of it, costs no more memory than that."""


class Tail(NamedTuple):
    """A place in the journal: sequence of the record before it, segment number, byte offset."""

    seq: int
    segment: int
    offset: int


class Moved(Exception):
    """Another record came first: the journal, or the log in front of it, does not end where the decision was taken."""


class BadLine(ValueError):
    """A whole line that is no record, as its checksum is not right: corruption."""


class Unsound(BadLine):
    """Its checksum is right and it is no record all the same: no crash left it."""


# -- the whole of it -------------------------------------------------------------------------------------------------


def encode(record: Record) -> bytes:
    """The line of ``record``, with its newline; its ``crc`` is computed here.

    `decode` brings back the fields in their order and ``crc`` behind them.  Nothing is checked: whoever made the record
    answers for it.
    """
    data = compact(record)[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (data, crc32(data))


def is_costly(line: bytes) -> bool:
    """Whether a record's line would take more memory as values than a record may: none is written, and none read."""
    from mbox.format import budget

    return budget.is_costly(line, budget.RECORD)


_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The decoder without what surrounds it, which costs as much again: whole journals are read."""


def decode(line: bytes) -> Record:
    """The object in a whole line, with or without its newline, whose checksum is right.  Whether it is a record: `sound`.

    `BadLine` if the checksum is missing or wrong; `Unsound` if it is right and the line is not one JSON object.
    """
    line = line.rstrip(b"\n")
    body, found, tail = line.rpartition(b',"crc":"')
    if not found or tail != b'%08x"}' % crc32(body):
        raise BadLine("its checksum is wrong")
    if len(line) > FREE and is_costly(line):
        raise Unsound("as values it would take more memory than a record may")
    try:
        text = line.decode()
        record, end = _scan(text, 0)
    except StopIteration:
        raise Unsound("not JSON: no value at its beginning") from None
    except (ValueError, RecursionError) as error:
        raise Unsound(f"not JSON: {error}") from None
    if type(record) is not dict or end != len(text):
        raise Unsound("not a JSON object")
    return record


_STR = {str}


def _strs(value: Any) -> bool:
    return type(value) is list and {*map(type, value)} <= _STR


def _leases(value: Any) -> bool:
    return all(type(path) is str and type(doc) in (dict, NoneType) for path, doc in value)


def sound(record: Any) -> Record:
    """``record`` itself, if each of its fields but ``v`` and ``crc`` is there and of its type; `Unsound` otherwise.

    Not promised: that its number follows, that its paths are places (`places.check_record`), that its documents and
    leases are what these places hold (`documents.check_at`): that is checked where they are used.
    """
    try:
        seq, key, moved = record["seq"], record["key"], record["mv"]
        right = (
            type(seq) is int
            and 0 < seq < LAST
            and type(record["inc"]) is int
            and {type(record["op"]), type(record["by"]), type(record["why"])} == _STR
            and is_time(record["ts"])
            and _strs(record["on"])
            and _strs(record["del"])
            and (key is None or (_strs(key) and len(key) == 2))
            and all(type(doc) in (dict, list) and _strs(paths) for doc, paths in record["put"])
            and (moved == [] or all(_strs(pair) and len(pair) == 2 for pair in moved))
            and (record["lease"] == [] or _leases(record["lease"]))
        )
    except (LookupError, TypeError, ValueError):
        right = False
    if not right:
        raise Unsound("a field is missing or not what it should be")
    found: Record = record
    return found


# -- what a line shows without being decoded ---------------------------------------------------------------------------

# A needle is what stands in the line of every record of which something is true: a line without it need not be decoded.
# One with it can still be of another record, in whose texts or documents the same words stand.

KEYED = b'"key":["'
"""The needle of records that were made with an idempotency key."""


def text_needle(text: str) -> bytes:
    """The needle of records that name ``text``, an id, a path or an agent, or hold it as the whole of a text."""
    return compact(text).encode()


def op_needle(op: str, prefix: bool = False) -> bytes:
    """The needle of records whose operation is ``op``, or, with ``prefix``, begins with it."""
    return b'"op":' + (text_needle(op)[:-1] if prefix else text_needle(op))


def field_needle(name: str, text: str) -> bytes:
    """The needle of records with a document in which the field ``name`` is ``text``."""
    return b"%b:%b" % (text_needle(name), text_needle(text))


def seq_of(line: bytes) -> int:
    """The number of the record in ``line``; `decode` looks where it does not stand in its place."""
    if line[:13] == b'{"v":1,"seq":' and (digits := line[13 : line.find(b",", 13)]).isdigit():
        return int(digits)
    return int(decode(line)["seq"])


def op_of(line: bytes) -> bytes:
    """The operation of the record in ``line``; what it is of a line without a record is not said."""
    at = line.find(b',"op":"') + 7
    return line[at : line.find(b'"', at)]


def stamp_of(line: bytes) -> bytes:
    """Likewise its time: stamps sort as bytes."""
    at = line.find(b',"ts":"') + 7
    return line[at : at + 27]


CRC_END = 11
"""How many bytes of a line's end its checksum is in."""


def crc_of(line: bytes) -> str:
    """Likewise its checksum, as text; the end of the line is enough."""
    return line[-CRC_END:-3].decode("ascii", "replace")


def has_crc(data: bytes) -> bool:
    """Whether a record, or the end of one, can stand in ``data``: torn bytes and holes have no checksum."""
    return b',"crc":"' in data


def skim(line: bytes) -> tuple[bytes, Sequence[str], Sequence[str]] | None:
    """The operation of a record, and the paths that it puts and deletes; None where `decode` has to look.

    ``line`` is without its newline.  Its checksum was right if there is an answer, and the record moves nothing and puts
    one document at most.  Such a document's paths stand behind the last ``,["`` before ``,"mv":[``; a record with two
    documents has ``]],[`` between them, and so at least four closing brackets.
    """
    if line[:13] != b'{"v":1,"seq":' or line[-18:] != b',"crc":"%08x"}' % crc32(line[:-18]):
        return None
    op = line.find(b',"op":"') + 7
    puts = line.find(b',"put":[', op) + 8
    moves = line.rfind(b',"mv":[')
    leases = line.find(b'],"lease":[', moves)
    if not 7 < op < puts < moves < leases or line[moves : moves + 16] != b',"mv":[],"del":[':
        return None
    put, gone = line[puts : moves - 1], line[moves + 16 : leases]
    paths: Sequence[str] = ()
    if put:
        names = put.rfind(b',["')
        if names < 0 or put[-3:] != b'"]]' or (put.count(b"]") > 3 and b"]],[" in put):
            return None
        paths = put[names + 3 : -3].decode().split('","')
    return line[op : line.find(b'"', op)], paths, gone[1:-1].decode().split('","') if gone else ()
