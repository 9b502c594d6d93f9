"""The journal: numbered records in append-only segments; the port that everything else stands on.

Port: `append(expected, record)` adds a record if the journal still ends at ``expected``, else raises `Moved`;
`read(since)` yields the records after a sequence; `tail()` is where it ends.  Today it is a local file written under
the store's lock; a replicated log could stand behind the same three calls.

One record is one line of JSON, with a CRC-32 of everything before its last field.  ``seq`` is the last of the numbers
that the record takes.  A segment is ``logs/NNNNNN.jsonl``; its first record is a header that names the format, the
lowest version that may write, and the store.

What a crash leaves: after the write and before the newline is on disk, bytes without a newline at the end, which are
*torn* and are cut by the next writer; a whole line whose CRC is wrong is corruption and is never cut silently, except
after a machine's death, where a page of the file can be missing (``store.md``, Recovery).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any, BinaryIO, NamedTuple

from mbox.system.disk import Disk, exists, open_regular
from mbox.format.documents import compact, is_time
from mbox.errors import Corrupt, StoreError, Unknown, WentBack

WRITER = 1
"""The format of records this version writes; a segment whose ``writer_min`` is higher is refused."""

LAST = 1 << 53
"""Numbers stay below this, so that every reader of JSON, and SQLite, can hold them."""

WINDOW = 5000
"""Numbers that ``fast`` may give out without an fsync.  After a machine's death numbering goes on this far above what
was found, so that no number that was lost with its record and its documents is given twice."""

Record = dict[str, Any]


class Tail(NamedTuple):
    """A place in the journal: sequence of the record before it, segment number, byte offset."""

    seq: int
    segment: int
    offset: int


class Moved(Exception):
    """The journal no longer ends where the decision was taken; read again and decide again."""


class BadLine(ValueError):
    """A whole line that is no record: corruption."""


class Unsound(BadLine):
    """Its checksum is right and it is no record all the same: no crash left it."""


def encode(record: Record) -> bytes:
    """The line of a record; ``crc`` is computed here."""
    data = compact(record)[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (data, crc32(data))


_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The decoder without what surrounds it, which costs as much again: whole journals are read."""


def decode(line: bytes) -> Record:
    """The object in a whole line, its CRC checked; `BadLine` otherwise.  Whether it is a record: `sound`."""
    line = line.rstrip(b"\n")
    body, found, tail = line.rpartition(b',"crc":"')
    if not found or tail != b'%08x"}' % crc32(body):
        raise BadLine("its checksum is wrong")
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
    """``record`` if its fields are what a record's fields are; the documents in it are checked where they are used."""
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


def segment_name(number: int) -> str:
    return f"{number:06d}.jsonl"


class Journal:
    """The segments in ``folder`` (absolute).  Writing belongs to the holder of the store's lock."""

    __slots__ = ("_disk", "_fd", "_file", "_open", "_paths", "folder")

    def __init__(self, folder: str, disk: Disk) -> None:
        self.folder = folder
        self._disk = disk
        self._fd = -1
        self._file = (0, 0)
        self._open = 0
        self._paths: dict[int, str] = {}

    # -- where it ends -------------------------------------------------------------------------------------------

    def path(self, segment: int) -> str:
        path = self._paths.get(segment)
        if path is None:
            path = self._paths[segment] = f"{self.folder}/{segment_name(segment)}"
        return path

    def segments(self) -> list[int]:
        """The numbers of the segments, ascending; `Corrupt` if one in between is missing."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        numbers = {name: int(name[:-6]) for name in names if name.endswith(".jsonl") and name[:-6].isdecimal()}
        found = sorted(number for name, number in numbers.items() if name == segment_name(number))
        if found and found[-1] - found[0] + 1 != len(found):
            raise Corrupt(f"{self.folder}: a segment between {found[0]:06d} and {found[-1]:06d} is missing")
        return found

    def is_begun(self) -> bool:
        """Whether there is a journal: not if the process that made its first segment died before the header stood."""
        segments = self.segments()
        return bool(segments) and (segments != [1] or any(line.endswith(b"\n") for _, line in self.lines(1)))

    def size(self, segment: int) -> int:
        """Bytes in a segment; -1 if it is not there; `Corrupt` if something else is."""
        try:
            info = os.lstat(self.path(segment))
        except FileNotFoundError:
            return -1
        if not stat.S_ISREG(info.st_mode):
            raise Corrupt(f"{self.path(segment)} is not a regular file; put the journal's segment back in its place")
        return info.st_size

    def is_last(self, segment: int) -> bool:
        """Whether nothing stands where the segment after it would."""
        return not exists(self.path(segment + 1))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # -- writing -------------------------------------------------------------------------------------------------

    def _segment_fd(self, segment: int) -> tuple[int, int]:
        """A descriptor of the segment's file, opened anew when the file at that path is another one; and its size."""
        path = self.path(segment)
        try:
            if self._fd >= 0 and self._open == segment:
                there = os.stat(path)
                if self._file == (there.st_ino, there.st_dev):
                    return self._fd, there.st_size
            self.close()
            self._fd = self._disk.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            raise WentBack(f"{path} is gone (git clean, checkout or stash?); nothing happened") from None
        self._open = segment
        here = os.fstat(self._fd)
        self._file = (here.st_ino, here.st_dev)
        return self._fd, here.st_size

    def append(self, expected: Tail, record: Record, sync: bool) -> Tail:
        """Append ``record`` where the journal is known to end, and make it durable if ``sync``; the new end.

        The commit point of a transaction.  `Moved` if the journal does not end at ``expected``.  OSError if nothing
        was appended; `Unknown` if the record could neither be made durable nor be cut off again.
        """
        fd, size = self._segment_fd(expected.segment)
        if size != expected.offset:
            raise Moved(self.path(expected.segment))
        line = encode(record)
        try:
            self._disk.write(fd, line)
            if sync:
                self._disk.sync(fd)
        except BaseException as error:
            self._take_back(fd, expected, error)
            raise
        end = expected.offset + len(line)
        info = os.fstat(fd)
        if not info.st_nlink:
            raise self._unknown(expected.segment, "it was deleted meanwhile (git clean, checkout or stash?)")
        if info.st_size != end:
            raise self._unknown(
                expected.segment,
                "the record did not land where it was read; this folder is shared by two kernels, and the lock does "
                "not reach, or the lock was replaced",
            )
        return Tail(record["seq"], expected.segment, end)

    def _take_back(self, fd: int, expected: Tail, error: BaseException) -> None:
        try:
            self._disk.truncate(fd, expected.offset)
        except OSError:
            raise self._unknown(expected.segment, f"{error}; the record could not be taken back") from error

    def _unknown(self, segment: int, why: str) -> Unknown:
        return Unknown(
            f"{self.path(segment)}: {why}; the outcome is unknown; "
            "repeating the command with the same --key or --token is safe"
        )

    def sync(self, segment: int) -> None:
        """Make what stands in ``segment`` durable."""
        fd, _ = self._segment_fd(segment)
        self._disk.sync(fd)

    def begin(self, segment: int, header: Record) -> Tail:
        """Start ``segment`` with its header record, durable, the folder's entry too.

        An existing file with nothing whole in it (a crash in the middle of this call) is written over.
        """
        path = self.path(segment)
        if self.size(segment) >= 0:
            self._disk.unlink(path)
        line = encode(header)
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            self._disk.write(fd, line)
            self._disk.sync(fd)
        except BaseException:
            self._disk.discard(path)
            raise
        finally:
            os.close(fd)
        self._disk.sync_folder(self.folder)
        return Tail(header["seq"], segment, len(line))

    def cut(self, segment: int, offset: int) -> None:
        """Cut a torn tail: everything from ``offset`` on."""
        fd, _ = self._segment_fd(segment)
        self._disk.truncate(fd, offset)
        self._disk.sync(fd)

    # -- reading -------------------------------------------------------------------------------------------------

    @contextmanager
    def opened(self, segment: int) -> Iterator[BinaryIO]:
        """The segment's file, to be read; StoreError if it is gone, `Corrupt` if it is no file."""
        path = self.path(segment)
        try:
            fd = open_regular(path)
        except FileNotFoundError:
            raise WentBack(f"{path} is gone: the store was taken away or back in time (git clean, checkout or stash?)") from None
        except OSError as error:
            raise Corrupt(f"{path}: {error.strerror}; the journal cannot be read") from None
        with open(fd, "rb", buffering=1 << 18) as file:
            yield file

    def lines(self, segment: int, offset: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """``(offset, line)`` of every line from ``offset`` up to ``end``; the last one may lack its newline."""
        with self.opened(segment) as file:
            file.seek(offset)
            for line in file:
                if end is not None and offset + len(line) > end:
                    return
                yield offset, line
                offset += len(line)

    def records(self, start: Tail, end: Tail | None = None) -> Iterator[tuple[Tail, Record]]:
        """Every record after ``start`` up to ``end``, with the place behind it.  `Corrupt` at a bad line.

        A torn last line (no newline) ends the iteration: it is not a record yet; in a segment that is not the last
        it is corruption, as is a number that does not follow.
        """
        last = end.segment if end else None
        segment, offset, seq = start.segment, start.offset, 0
        while True:
            stop = end.offset if end and segment == end.segment else None
            torn = -1
            for at, line in self.lines(segment, offset, stop):
                if not line.endswith(b"\n"):
                    torn = at
                    break
                record = self.decoded(segment, at, line, seq)
                seq = record["seq"]
                yield Tail(seq, segment, at + len(line)), record
            if segment == last or (last is None and self.size(segment + 1) < 0):
                return
            if torn >= 0:
                raise self.corrupt(segment, torn, "it ends in the middle of a line")
            segment, offset = segment + 1, 0

    def decoded(self, segment: int, offset: int, line: bytes, after: int = 0) -> Record:
        """The record in ``line``, whose number is above ``after``; `Corrupt`, naming the place, if it is none."""
        try:
            record = sound(decode(line))
        except BadLine as error:
            raise self.corrupt(segment, offset, f"not a record: {error}") from None
        if record["seq"] <= after:
            raise self.corrupt(segment, offset, f"number {record['seq']} does not follow {after}")
        return record

    def corrupt(self, segment: int, offset: int, why: str) -> Corrupt:
        """The error for what stands at a place of the journal."""
        return Corrupt(f"{self.path(segment)} at byte {offset}: {why}")

    def backwards(self, end: Tail) -> Iterator[tuple[int, int, bytes]]:
        """``(segment, offset, line)`` from ``end`` to the start of the journal, newest first."""
        first = (self.segments() or [end.segment])[0]
        for segment in range(end.segment, first - 1, -1):
            size = end.offset if segment == end.segment else self.size(segment)
            for offset, line in self._lines_backwards(segment, size):
                yield segment, offset, line

    def _lines_backwards(self, segment: int, size: int) -> Iterator[tuple[int, bytes]]:
        with self.opened(segment) as file:
            rest, at = b"", size
            while at > 0:
                step = min(1 << 18, at)
                at -= step
                file.seek(at)
                rest = file.read(step) + rest
                head, *whole = rest.splitlines(keepends=True)
                offset = at + len(rest)
                for line in reversed(whole):
                    offset -= len(line)
                    yield offset, line
                rest = head
            if rest:
                yield 0, rest

    def header(self, segment: int) -> Record:
        """The first record of a segment, checked for a writer this version can stand beside."""
        for offset, line in self.lines(segment):
            header = self.decoded(segment, offset, line)
            least, store = header.get("writer_min"), header.get("store")
            if type(least) is not int or type(store) is not str or len(store) > 64:
                raise self.corrupt(segment, offset, "not the header of a segment")
            if least > WRITER:
                raise StoreError(
                    f"{self.path(segment)} was written by format {header.get('format')}; "
                    f"this version writes {WRITER}; update the toolkit"
                )
            return header
        raise Corrupt(f"{self.path(segment)} is empty")

    def find(self, seq: int, end: Tail) -> Tail:
        """A place at or shortly before the first record after ``seq``: where to start reading; by bisection."""
        segments = [number for number in self.segments() if number <= end.segment]
        while len(segments) > 1 and self.header(segments[len(segments) // 2])["seq"] > seq:
            segments = segments[: len(segments) // 2]
        low_segment = segments[0]
        for number in segments[1:]:
            if self.header(number)["seq"] > seq:
                break
            low_segment = number
        size = end.offset if low_segment == end.segment else self.size(low_segment)
        return Tail(seq, low_segment, self._bisect(low_segment, seq, size))

    def _bisect(self, segment: int, seq: int, size: int) -> int:
        low, high = 0, size
        with self.opened(segment) as file:
            while high - low > 1 << 16:
                middle = (low + high) // 2
                file.seek(middle)
                file.readline()
                at = file.tell()
                line = file.readline()
                if at >= high or not line.endswith(b"\n") or self.decoded(segment, at, line)["seq"] > seq:
                    high = middle
                else:
                    low = at
        return low


def space(error: OSError) -> bool:
    """Whether ``error`` says that there is no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
