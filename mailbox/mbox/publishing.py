"""Publishing: bringing the files to what one record says.

Promised: doing it twice changes nothing; a document is written beside its place and renamed.  The order is that of the
store's commit: documents, moves, deletions, leases.  A record's places were checked before (`places.check_record`).
"""

from __future__ import annotations

import errno
import os
from typing import Any

from mbox.format import documents
from mbox.format import places
from mbox.system.disk import temporary
from mbox.store.files import Files
from mbox.journal.segments import Record
from mbox.format.lease import Lease


def check_documents(record: Record) -> None:
    """Raise `Unfit` if a document or lease in ``record`` is not what its place holds."""
    for doc, paths in record["put"]:
        for path in paths:
            documents.check_at(places.kind(path), doc)
    for _path, lease in record["lease"]:
        if lease is not None:
            documents.check("lease", lease)


def publish(files: Files, record: Record) -> None:
    """Bring the files to what ``record`` says; doing it twice changes nothing."""
    for doc, paths in record["put"]:
        for path in paths:
            write(files, path, doc)
    publish_rest(files, record)


def write(files: Files, path: str, doc: Any) -> bool:
    """Put ``doc`` at ``path`` if it is not there already; whether it was written."""
    kind = places.kind(path)
    data = documents.encode(kind, documents.ordered(kind, doc) if isinstance(doc, dict) else doc)
    try:
        if files.bytes_of(path) == data:
            return False
    except OSError:
        pass
    target = files.absolute(path)
    files.disk.folders(os.path.dirname(target))
    unlink(files, temporary(path))
    files.disk.create(temporary(target), data)
    files.disk.rename(temporary(target), target)
    return True


def publish_rest(files: Files, record: Record) -> None:
    """The steps of publishing after the documents: moves, deletions, leases."""
    for source, target in record["mv"]:
        _move(files, source, target)
    for path in record["del"]:
        remove(files, path)
    for path, lease in record["lease"]:
        if lease is None:
            places.lease_kind(path)
            files.check_folder(path.rpartition("/")[0])
            unlink(files, path)
        else:
            files.write_lease(path, Lease.of(documents.check("lease", lease)))


def _move(files: Files, source: str, target: str) -> None:
    for path in (source, target):
        places.kind(path)
        files.check_folder(path.rpartition("/")[0])
    files.disk.folders(os.path.dirname(files.absolute(target)))
    try:
        files.disk.rename(files.absolute(source), files.absolute(target))
    except FileNotFoundError:
        if not os.path.lexists(files.absolute(target)):
            files.say(f"{files.absolute(source)} and {target} are both gone, though the journal moves one to the other")


def remove(files: Files, path: str) -> None:
    """Remove the document at ``path`` if it is there."""
    places.kind(path)
    files.check_folder(path.rpartition("/")[0])
    unlink(files, path)


def unlink(files: Files, path: str) -> None:
    """Remove whatever file is at ``path``; not even a folder has to be there."""
    try:
        files.disk.unlink(files.absolute(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTDIR:
            raise
