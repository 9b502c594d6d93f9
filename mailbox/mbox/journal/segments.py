"""The journal: numbered records in append-only segments; the port that everything else stands on.

`Journal.append` adds a record if the journal still ends where that was decided, else raises `Moved`; `Journal.records`
yields those between two places; `scan_end` says where it ends.  It is a local file, written under the store's lock; where
several machines share a store, a log in front of it is asked first (`log`).

A segment is ``logs/NNNNNN.jsonl``, a record a line (`record`); its first record is a header that names the format, the
lowest version that may write, and the store.

Whatever a segment's file holds, reading it costs no more memory than a few of the longest records (`LONGEST`): a longer
line is corruption, at the place where it begins.

What a crash leaves: after the write and before the newline is on disk, bytes without a newline at the end, which are
*torn* and are cut by the next writer; a whole line whose CRC is wrong is corruption and is never cut silently, except
after a machine's death, where a page of the file can be missing (``store.md``, Recovery).
"""

from __future__ import annotations

import os
import stat
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from mbox.errors import Corrupt, StoreError, Unknown, WentBack
from mbox.format.documents import Unfit
from mbox.system.disk import Disk, exists, open_regular

from .record import LONGEST, WRITER, BadLine, Moved, Record, Tail, decode, has_crc, sound

WINDOW = 5000
"""Numbers that ``fast`` may give out without an fsync.  After a machine's death numbering goes on this far above what
was found, so that no number that was lost with its record and its documents is given twice."""


LOOKED_THROUGH = 1 << 30
"""Bytes at most that are looked through, for what a person could want, before they are cut."""


def segment_name(number: int) -> str:
    return f"{number:06d}.jsonl"


class Overlong(Corrupt):
    """A line of the journal is longer than a record can be."""


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

    def append(self, expected: Tail, seq: int, line: bytes, sync: bool) -> Tail:
        """Append the ``line`` of record ``seq`` where the journal is known to end, durable if ``sync``; the new end.

        The commit point of a transaction.  `Moved` if the journal does not end at ``expected``.  OSError if nothing
        was appended; `Unknown` if the record could neither be made durable nor be cut off again.
        """
        fd, size = self._segment_fd(expected.segment)
        if size != expected.offset:
            raise Moved(self.path(expected.segment))
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
        return Tail(seq, expected.segment, end)

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

    def sync_from(self, segment: int) -> None:
        """Make what a dead writer may have left unsynced durable: ``segment``, one begun after it, and its entry."""
        self.sync(segment)
        if not self.is_last(segment):
            self._disk.sync_path(self.path(segment + 1))
        self._disk.sync_folder(self.folder)

    def begin(self, segment: int, seq: int, line: bytes) -> Tail:
        """Start ``segment`` with the ``line`` of its header, record ``seq``, durable, the folder's entry too.

        An existing file with nothing whole in it (a crash in the middle of this call) is written over.
        """
        path = self.path(segment)
        if self.size(segment) >= 0:
            self._disk.unlink(path)
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
        return Tail(seq, segment, len(line))

    def cut(self, segment: int, offset: int) -> None:
        """Cut a torn tail: everything from ``offset`` on."""
        fd, _ = self._segment_fd(segment)
        self._disk.truncate(fd, offset)
        self._disk.sync(fd)

    def drop(self, segment: int) -> None:
        """Remove a segment that holds nothing whole, or of which everything was kept elsewhere."""
        self._disk.unlink(self.path(segment))

    def keep(self, path: str, pieces: Iterator[bytes]) -> None:
        """Put what is to be cut, in ``pieces``, into a file of its own."""
        self._disk.discard(path)
        self._disk.create(path, next(pieces, b""))
        for piece in pieces:
            self._disk.append(path, piece)

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
        """``(offset, line)`` of every line from ``offset`` up to ``end``; the last one may lack its newline.

        `Overlong` at one that no record can have.
        """
        with self.opened(segment) as file:
            file.seek(offset)
            for line in iter(partial(file.readline, LONGEST + 1), b""):
                if len(line) > LONGEST:
                    raise self.overlong(segment, offset)
                if end is not None and offset + len(line) > end:
                    return
                yield offset, line
                offset += len(line)

    def between(self, start: Tail, end: Tail) -> Iterator[tuple[int, int, bytes]]:
        """``(segment, offset, line)`` of every line from ``start`` to ``end``."""
        for segment in range(start.segment, end.segment + 1):
            offset = start.offset if segment == start.segment else 0
            for at, line in self.lines(segment, offset, end.offset if segment == end.segment else None):
                yield segment, at, line

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

    def overlong(self, segment: int, offset: int) -> Overlong:
        """The error for a line that begins at ``offset`` and is longer than a record can be."""
        return Overlong(str(self.corrupt(segment, offset, f"a line of more than {LONGEST >> 20} MiB is no record")))

    def backwards(self, end: Tail) -> Iterator[tuple[int, int, bytes]]:
        """``(segment, offset, line)`` from ``end`` to the start of the journal, newest first.

        `WentBack` where the journal does not reach ``end``.
        """
        first = (self.segments() or [end.segment])[0]
        for segment in range(end.segment, first - 1, -1):
            size = end.offset if segment == end.segment else self.size(segment)
            for offset, line in self._lines_backwards(segment, size):
                yield segment, offset, line

    def _lines_backwards(self, segment: int, size: int) -> Iterator[tuple[int, bytes]]:
        with self.opened(segment) as file:
            if size > os.fstat(file.fileno()).st_size:
                raise WentBack(
                    f"{self.path(segment)} ends before byte {size}, up to which it was read before: the store went back in "
                    "time (git checkout or stash?)"
                )
            parts, length, at = list[bytes](), 0, size  # of the line that begins before `at`, the last part first
            while at > 0:
                step = min(1 << 18, at)
                at -= step
                file.seek(at)
                parts.append(file.read(step))
                length += len(parts[-1])
                if b"\n" in parts[-1]:
                    head, *whole = b"".join(reversed(parts)).splitlines(keepends=True)
                    offset = at + length
                    for line in reversed(whole):
                        offset -= len(line)
                        yield offset, line
                    parts, length = [head], len(head)
                if length > LONGEST:
                    raise self.overlong(segment, at)
            if parts:
                yield 0, b"".join(reversed(parts))

    def header(self, segment: int) -> Record:
        """The first record of a segment, checked for a writer this version can stand beside."""
        for offset, line in self.lines(segment):
            header = self.decoded(segment, offset, line)
            least, store, form = header.get("writer_min"), header.get("store"), header.get("format")
            if type(least) is not int or type(form) is not int or type(store) is not str or len(store) > 64:
                raise self.corrupt(segment, offset, "not the header of a segment")
            if least > WRITER:
                raise StoreError(
                    f"{self.path(segment)} was written by format {form}; "
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
                file.readline(LONGEST)
                at = file.tell()
                line = file.readline(LONGEST)
                if at >= high or not line.endswith(b"\n") or self.decoded(segment, at, line)["seq"] > seq:
                    high = middle
                else:
                    low = at
        return low


def none_left(journal: Journal) -> WentBack:
    return WentBack(
        f"{journal.folder}: no journal segment is left (git clean, checkout or stash?); "
        "`mbox audit restore` brings the store back"
    )


def scan_end(journal: Journal) -> Tail:
    """Where the journal ends, read from its last segment: behind the last whole line, or before one that is no record."""
    segments = journal.segments()
    if not segments:
        raise none_left(journal)
    tail = Tail(0, segments[-1], 0)
    try:
        for place, _ in journal.records(tail):
            tail = place
    except Corrupt:
        pass  # for whoever only looks it ends there; who takes the lock says what follows
    return tail


@contextmanager
def at_place(journal: Journal, segment: int, offset: int) -> Iterator[None]:
    """Say of an error in what a record holds where in the journal it stands."""
    try:
        yield
    except (Unfit, Corrupt) as error:
        raise journal.corrupt(segment, offset, str(error)) from None


def keep_cut(journal: Journal, segment: int, offset: int, why: str = "") -> str:
    """Keep beside the journal what is about to be cut, if a person could want it; the line that says so, else nothing.

    `Corrupt` where that is more than any crash leaves: nobody waits while it is read, and it is a person's to cut.
    """
    path = journal.path(segment)
    behind = journal.size(segment) - offset
    if behind > LOOKED_THROUGH:
        mend = f"`truncate -s {offset} {path}` if nobody wants them"
        raise journal.corrupt(segment, offset, f"{behind >> 20} MiB from there on are no records: {mend}")
    length, crc, seen, end = 0, 0, False, b""
    for piece in _pieces(journal, segment, offset):
        length, crc, seen = length + len(piece), crc32(piece, crc), seen or has_crc(end + piece)
        end = piece[-64:]
    if not seen:
        return ""  # torn bytes, a hole: nothing that a person could want
    kept = f"{path[: -len('.jsonl')]}.cut-{crc:08x}"
    journal.keep(kept, _pieces(journal, segment, offset))
    why = why or f"is damaged at byte {offset}"
    return f"{path} {why}; {length} bytes from there on were cut off and kept as {kept}"


def _pieces(journal: Journal, segment: int, offset: int) -> Iterator[bytes]:
    """What stands in a segment from ``offset`` on, a little at a time."""
    with journal.opened(segment) as file:
        file.seek(offset)
        yield from iter(partial(file.read, 1 << 20), b"")


def cut_after(journal: Journal, tail: Tail) -> None:
    """Cut what stands behind the last whole record: torn bytes, or a segment whose header was never finished."""
    if journal.size(tail.segment + 2) >= 0:
        raise journal.corrupt(tail.segment + 1, 0, "it holds no record and is not the last segment")
    if journal.size(tail.segment) > tail.offset:
        journal.cut(tail.segment, tail.offset)
    if journal.size(tail.segment + 1) >= 0:
        journal.drop(tail.segment + 1)
