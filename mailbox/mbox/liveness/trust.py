"""What a store may start by itself on this machine, as somebody here has said: remembered outside every repository.

A store's documents name programs: members of a team that are started again.  A store may have come from elsewhere, in a
clone, a copy, a restore, and its journal can say anything, that a team is up too.  So what a store says is never enough:
before a program is started that nobody has just asked for, `may_start` is asked whether exactly that was said yes to here.

Where: ``<state>/mbox/may-start/<key>.json``, the folders 0700, the file 0600; ``<state>`` is ``XDG_STATE_HOME``, else
``~/.local/state``.  The key is the store's id, the inode of its lock and the user: a clone, a copy and a restore have
another lock, so nothing is remembered of them; a reboot changes none of it.  The file says, for each thing that may be
started (``team blue: boss``), all that names its program, word for word: another word is another program.

In this order: a team is written, as a record (``team.up``); what it starts is remembered; it is started.  Killed between
the first two: a team that is up and was not called here, which `team up` again calls.  The file is replaced by a rename
under a lock of its own (``<state>/mbox/lock``), so that two calls at once both count.

Promised: what is not there word for word may not start; a file that another user may write, or a folder inside the
repository that the root is in, is as good as none.  Not promised: anything about what those words name (a script that a
pull has changed), nor against this user's own processes, which can write the file as they can start a program.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mbox import root as roots
from mbox.agents import roster
from mbox.errors import Refused, StoreError, failure
from mbox.format import places
from mbox.format.documents import Document, compact
from mbox.system import flock
from mbox.system.disk import Disk, read_bytes
from mbox.system.filesystem import within

if TYPE_CHECKING:
    from mbox.store.state import State

PATIENCE = 10.0
"""Seconds for which another who remembers something is waited for."""

UNSEEN = ("role", "reports_to", "removed")
"""Fields of a member that `team lead` and `team remove` change, and that its program is not started with."""


_HANDED = ": variables"
"""What the name of an entry about variables ends with; it starts nothing."""


class Start(NamedTuple):
    """Something that a store would start: what it is, and all that names its program, a line for each part."""

    what: str
    content: str


def may_start(store: State, what: str, content: str) -> bool:
    """Whether ``what`` may be started with exactly this ``content``."""
    return remembered(store).get(what) == content


def refused(store: State, starts: Iterable[Start]) -> list[Start]:
    """Those of ``starts`` that may not be started."""
    known = remembered(store)
    return [one for one in starts if known.get(one.what) != one.content]


def remembered(store: State) -> dict[str, str]:
    """What may be started in this store, with what names its program; nothing where that cannot be believed."""
    return {what: text for what, text in _all(store).items() if not what.endswith(_HANDED)}


def _all(store: State) -> dict[str, str]:
    """That, and the names of the variables that members were handed."""
    try:
        path = _path(store)
        info = os.stat(path, follow_symlinks=False)
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            return {}
        said = json.loads(read_bytes(path))["starts"]
    except (OSError, StoreError, ValueError, LookupError, TypeError):
        return {}
    return {what: text for what, text in said.items() if isinstance(text, str)} if isinstance(said, dict) else {}


def allow(store: State, starts: Iterable[Start], instead: str = "") -> None:
    """Remember that ``starts`` may be started, in the place of all that begins with ``instead``, where that is given.

    `StoreError` where it could not be written.
    """
    fresh = dict(starts)
    _rewrite(store, lambda known: {**(_without(known, instead) if instead else known), **fresh})


def forget(store: State, beginning: str = "") -> list[str]:
    """Forget all that begins with ``beginning``, everything unless it is given; what that was.

    `StoreError` where it could not be written.
    """
    gone = [what for what in remembered(store) if what.startswith(beginning)]
    if gone:
        _rewrite(store, lambda known: _without(known, beginning))
    return gone


def differences(store: State, starts: Iterable[Start]) -> list[str]:
    """For people: what a yes to ``starts`` would change, as ``+`` and ``-`` lines below the name of each."""
    from difflib import ndiff

    known, lines = remembered(store), list[str]()
    for one in starts:
        before = known.get(one.what, "").splitlines()
        changed = [line for line in ndiff(before, one.content.splitlines()) if line[0] in "+-"]
        lines += [one.what, *(f"  {line}" for line in changed)] if changed else []
    return lines


# -- teams -----------------------------------------------------------------------------------------------------------


def members(team: Document) -> list[Start]:
    """What starting the members of a team again would start."""
    return [member(team, row) for row in roster.present(team)]


def member(team: Document, row: Document) -> Start:
    """What starting one of them again would start."""
    fields = {**row, "server": (team["policy"] or {}).get("server"), "session": team["session"]}
    told = {field: value for field, value in sorted(fields.items()) if value and field not in UNSEEN}
    lines = [f"{compact(field)[1:-1]}: {compact(value)}" for field, value in told.items()]
    return Start(f"{called(team['team'])}{row['name']}", "\n".join(lines))


def handed(team: Document, row: Document, names: Iterable[str] = ()) -> Start:
    """The ``names`` of the variables that a member was handed by whoever called it; never their values."""
    return Start(f"{called(team['team'])}{row['name']}{_HANDED}", "\n".join(sorted(names)))


def names_handed(store: State, team: Document, row: Document) -> str:
    """Those names as they are remembered, a line each."""
    return _all(store).get(handed(team, row).what, "")


def file(team: Document) -> Start:
    """What changing the file of a team is."""
    return Start(f"team {team['team']}", f"file: {compact(team.get('file'))}")


def called(team: str) -> str:
    """What the name of each `Start` of a team's members begins with."""
    return f"team {team}: "


def was_called_here(store: State, team: Document) -> bool:
    """Whether the team was called in this store, on this machine, with the members that its document says."""
    return not refused(store, members(team))


def require_called_here(store: State, team: Document) -> None:
    """`Refused` where the file that the team's document names was not the one of a call in this store."""
    if refused(store, [file(team)]):
        raise Refused(f"team {team['team']} was not called here, so its file is not touched; `team up FILE` calls it")


def waiting(store: State) -> list[Start]:
    """What would be started by itself in this store, were it said yes to here: members of teams that are up."""
    teams = [doc for doc in store.documents(places.TEAMS) if doc["state"] == "up"]
    return [one for doc in teams for one in members(doc)]


# -- where it stands -------------------------------------------------------------------------------------------------


def _without(known: Mapping[str, str], beginning: str) -> dict[str, str]:
    return {what: text for what, text in known.items() if not what.startswith(beginning)}


def _path(store: State) -> str:
    """The file of this store; `StoreError` where it would stand in the repository that the root is in (`root.grounds`)."""
    from hashlib import sha256

    home = f"{store.host.state_folder()}/mbox"
    if any(within(os.path.realpath(home), os.path.realpath(folder)) for folder in roots.grounds(store.root)):
        raise StoreError(f"{home} is in the repository: set XDG_STATE_HOME to a folder outside it")
    name = store.journal.header(store.end().segment)["store"]
    key = compact([name, os.stat(store.lock.path, follow_symlinks=False).st_ino, os.geteuid()])
    return f"{home}/may-start/{sha256(key.encode()).hexdigest()[:32]}.json"


def _rewrite(store: State, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Replace what is remembered, one process at a time."""
    path, disk = _path(store), Disk()
    try:
        disk.folders(os.path.dirname(path))
        with _turn(store, f"{os.path.dirname(os.path.dirname(path))}/lock", disk):
            said = {"root": store.root, "starts": change(_all(store))}
            disk.replace(path, (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise StoreError(f"{path}: {failure(error)}") from None


@contextmanager
def _turn(store: State, path: str, disk: Disk) -> Iterator[None]:
    fd = disk.open(path, os.O_RDWR | os.O_CREAT)
    try:
        if not flock.acquire(fd, PATIENCE, store.host, portable=not flock.HAVE_FLOCK):
            raise StoreError(f"{path} is held by another process for {PATIENCE:g} s")
        yield
    finally:
        os.close(fd)
