"""A commit on the audit ref, and which of them a journal goes on from.

Usually that is the newest.  But a store that was restored in a clone, or copied, goes on by itself from the commit that it
began with, and may write to the same ref (a shared repository, a push).  Then each of the two has a *line* on it: the first
parent of a commit is the one that its journal goes on from, and a second one is what stood on the ref.  So every commit
leads back to all before it, whoever pushes moves the ref forward, and neither is stranded nor written over (decision 21).

Promised: `goes_on` finds the newest commit on the ref that this journal leads through, by the checksum of the record that
the commit ends with.  Not promised: anything where git's own force took a line off the ref; then the lines part where they
still meet, and what is missing is added again.
"""

from __future__ import annotations

from typing import NamedTuple

from mbox.errors import Refused, StoreError, WentBack
from mbox.format import operations, places
from mbox.format.documents import Document
from mbox.journal.record import CRC_END, BadLine, Tail, crc_of, decode
from mbox.store.store import Store
from mbox.system.clock import stamp

from .objects import COMMIT, Objects
from .plumbing import Git

# -- a commit on the ref ---------------------------------------------------------------------------------------------


class Commit(NamedTuple):
    """A commit on the ref: the store it is of, and the place in its journal that it reaches."""

    oid: str
    tree: str
    seconds: int
    subject: str
    store: str
    tail: Tail
    records: int
    crc: str

    @classmethod
    def of(cls, oid: str, content: bytes) -> Commit | None:
        """The commit in ``content``, or None if audit did not write it."""
        head, _, message = content.decode("utf-8", "replace").partition("\n\n")
        fields = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
        lines = message.rstrip("\n").rpartition("\n\n")[2].splitlines()
        said = dict(line.removeprefix("Mbox-").split(": ", 1) for line in lines if ": " in line)
        numbers = [said.get(name, "") for name in ("Seq", "Segment", "Offset", "Records")]
        if not all(number.isascii() and number.isdecimal() and len(number) < 16 for number in numbers):
            return None
        seq, segment, offset, records = map(int, numbers)
        try:
            seconds = int(fields["committer"].split(" ")[-2])
            subject = message.partition("\n")[0]
            tail = Tail(seq, segment, offset)
            return cls(oid, fields["tree"], seconds, subject, said["Store"], tail, records, said["Crc"])
        except (LookupError, ValueError):
            return None

    def row(self) -> Document:
        return {
            "commit": self.oid[:12], "ts": stamp(self.seconds), "seq": self.tail.seq, "records": self.records,
            "summary": self.subject,
        }  # fmt: skip


def message(subject: str, store: str, tail: Tail, records: int, crc: str) -> str:
    """A commit's message."""
    return (
        f"{subject}\n\nMbox-Store: {store}\nMbox-Seq: {tail.seq}\nMbox-Segment: {tail.segment}\n"
        f"Mbox-Offset: {tail.offset}\nMbox-Records: {records}\nMbox-Crc: {crc}\n"
    )


def tip(git: Git, objects: Objects, ref: str) -> Commit | None:
    """The newest commit on ``ref``, None if there is none; `Refused` if audit did not write it."""
    oid = git.ref(ref)
    if oid is None:
        return None
    found = Commit.of(oid, objects.need(oid, COMMIT))
    if found is None:
        raise Refused(f"{ref} is not an audit ref; give this store another: `mbox config set audit.ref refs/mbox/NAME`")
    return found


def slice_path(segment: int, offset: int) -> str:
    return f"{places.LOGS}/{segment:06d}/{offset:012d}.jsonl"


# -- which one a journal goes on from --------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """The ref, and whose place on it is looked for: the store, and where its journal ends."""

    ref: str
    store: str
    end: Tail


def goes_on(store: Store, objects: Objects, wanted: Wanted, last: Commit | None) -> Commit | None:
    """The newest commit of this journal's line on the ref whose newest commit is ``last``; None if that is None.

    `Refused` where the ref is another store's, or has nothing of this journal's; `WentBack` where it goes on from here.
    """
    ref, name, end = wanted
    if last is None or (last.store == name and _leads_through(store, last, end)):
        return last
    anew = "or begin another: `mbox config set audit.ref refs/mbox/NAME`"
    if last.store != name:
        raise Refused(f"{ref} belongs to another store ({last.store}, this one is {name}); use that store, {anew}")
    if _follower(store, objects, last, end) not in ("", operations.STORE_RESTORE):
        raise WentBack(
            f"{ref} reaches to record {last.tail.seq} and this journal to {end.seq}: the store went back in time; "
            f"`mbox audit restore` in an emptied store brings it back, {anew}"
        )
    for oid in objects.git.run("rev-list", "--topo-order", last.oid, "--").stdout.decode().split():
        found = Commit.of(oid, objects.need(oid, COMMIT))
        if found and found.store == name and _leads_through(store, found, end):
            return found
    raise Refused(f"{ref} and this journal have parted before record {last.tail.seq} (a copied store?); {anew}")


def _leads_through(store: Store, commit: Commit, end: Tail) -> bool:
    """Whether the journal, up to ``end``, holds the record that ``commit`` ends with, where it says."""
    place = commit.tail
    if (place.segment, place.offset) > (end.segment, end.offset):
        return False
    try:
        with store.journal.opened(place.segment) as file:
            file.seek(max(0, place.offset - CRC_END))
            return crc_of(file.read(CRC_END)) == commit.crc
    except StoreError:
        return False


def _follower(store: Store, objects: Objects, commit: Commit, end: Tail) -> str:
    """What the record is, in ``commit``, that follows the one with which this journal ends; nothing if that is not in it."""
    folder = f"{commit.tree}:{places.LOGS}/{end.segment:06d}"
    listed = objects.git.run("ls-tree", "--name-only", folder, fine=(0, 128)).stdout.decode().split()
    offsets = sorted(int(name.partition(".")[0]) for name in listed if name.partition(".")[0].isdecimal())
    before, after = b"", b""
    for offset in offsets:
        data = objects.need(f"{commit.tree}:{slice_path(end.segment, offset)}")
        cut = max(0, end.offset - offset)
        before, after = (data[:cut] or before)[-CRC_END:], data[cut:]
        if after:
            break
    if not after or not _ends_with(store, end, before):
        return ""
    try:
        return str(decode(after.partition(b"\n")[0])["op"])
    except (BadLine, LookupError):
        return ""


def _ends_with(store: Store, end: Tail, before: bytes) -> bool:
    with store.journal.opened(end.segment) as file:
        file.seek(max(0, end.offset - CRC_END))
        return file.read(CRC_END) == before


def joined(ref: str, last: Commit) -> str:
    """What is said when a commit leads back to another line too."""
    return (
        f"{ref} was written by another store that began as this one did (restored, or copied), up to record {last.tail.seq}: "
        "both stay on it; `mbox config set audit.ref refs/mbox/NAME` gives this one a ref of its own"
    )


def other_line(git: Git, objects: Objects, commit: Commit) -> Commit | None:
    """The newest commit of another line that the line of ``commit`` leads back to; None if there is no other."""
    found = git.run("rev-list", "--first-parent", "--min-parents=2", "--max-count=1", "--parents", commit.oid, "--")
    parents = found.stdout.decode().split()[1:]
    return Commit.of(parents[1], objects.need(parents[1], COMMIT)) if len(parents) > 1 else None
